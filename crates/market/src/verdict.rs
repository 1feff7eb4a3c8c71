//! Ask the hub what it thinks of an order: is its asset registered, did its owner sign, is anything left.

use alloy_primitives::{Address, Bytes, U256};
use gristmill_hub::abi::{AppRegistry, IAsset, IHub};
use gristmill_hub::{HubClient, HubError};
use gristmill_types::OrderHash;

use crate::order::{Kind, Order};

/// What the hub says of an order that can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who signed it.
    pub signer: Address,
    /// Tasks left of it.
    pub remaining: U256,
}

/// Why an order cannot be matched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// Nothing of this address is registered.
    #[error("no {} is registered at {asset} on this ledger", kind.subject())]
    NotRegistered {
        /// Of which kind.
        kind: Kind,
        /// Where.
        asset: Address,
    },
    /// Somebody else signed it, or nobody, or it is of another hub.
    #[error("the signature is not that of {signer}, as this hub sees it: was the order signed for this chain and hub?")]
    Signature {
        /// Who should have.
        signer: Address,
    },
    /// Nothing is left.
    #[error("the order is fully consumed, or closed by its owner")]
    Consumed,
    /// It asks for an enclave on a hub that has none.
    #[error(
        "the order's tag asks for an enclave, and this network has none: use tag 0x0 (iExec CLI 8), or a development network that simulates enclaves (`gristmill up --simulated-enclave`)"
    )]
    Enclave,
}

/// What the hub says of each order now. `simulated`: whether it simulates enclaves.
///
/// # Errors
/// When the ledger could not be asked.
pub async fn judge(
    hub: &HubClient,
    simulated: bool,
    orders: &[(OrderHash, &Order, &Bytes)],
) -> Result<Vec<Result<Verdict, Objection>>, HubError> {
    let owners = owners(hub, orders).await?;
    let consumed = orders.iter().map(|(hash, ..)| (hub.hub, IHub::viewConsumedCall { orderHash: hash.0 })).collect();
    let consumed = hub.views(consumed).await?;
    let signatures = orders.iter().zip(&owners).map(|((hash, _, sign), owner)| {
        let identity = owner.unwrap_or_default();
        (hub.hub, IHub::verifyPresignatureOrSignatureCall { identity, hash: hash.0, signature: (*sign).clone() })
    });
    let signatures = hub.views(signatures.collect()).await?;
    let mut verdicts = Vec::with_capacity(orders.len());
    for ((((_, order, _), owner), consumed), signed) in orders.iter().zip(owners).zip(consumed).zip(signatures) {
        let remaining = order.volume().saturating_sub(consumed?);
        let signed = settle(signed)?.unwrap_or(false);
        verdicts.push(match owner {
            None => Err(Objection::NotRegistered { kind: order.kind(), asset: order.subject() }),
            Some(signer) if !signed || signer.is_zero() => Err(Objection::Signature { signer }),
            Some(_) if remaining.is_zero() => Err(Objection::Consumed),
            Some(_) if order.names_enclave() && !simulated => Err(Objection::Enclave),
            Some(signer) => Ok(Verdict { signer, remaining }),
        });
    }
    Ok(verdicts)
}

/// Who must have signed each; `None` when the asset is not registered.
async fn owners(hub: &HubClient, orders: &[(OrderHash, &Order, &Bytes)]) -> Result<Vec<Option<Address>>, HubError> {
    let assets: Vec<(Address, Address)> =
        orders.iter().filter_map(|(_, order, _)| Some((order.registry(hub)?, order.subject()))).collect();
    let registered = assets.iter().map(|&(registry, entry)| (registry, AppRegistry::isRegisteredCall { entry }));
    let registered = hub.views(registered.collect()).await?;
    let owners = hub.views(assets.iter().map(|&(_, asset)| (asset, IAsset::ownerCall {})).collect()).await?;
    let mut of_assets = registered.into_iter().zip(owners);
    let mut found = Vec::with_capacity(orders.len());
    for (_, order, _) in orders {
        if order.kind() == Kind::Request {
            found.push(Some(order.subject()));
            continue;
        }
        let Some((registered, owner)) = of_assets.next() else { break };
        let registered = settle(registered)?.unwrap_or(false);
        let owner = settle(owner)?;
        found.push(owner.filter(|_| registered));
    }
    Ok(found)
}

/// A refusal, or an answer of another shape, is the asset's or the signer's own fault: "no".
fn settle<T>(answer: Result<T, HubError>) -> Result<Option<T>, HubError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.revert().is_some() || matches!(error, HubError::Malformed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
