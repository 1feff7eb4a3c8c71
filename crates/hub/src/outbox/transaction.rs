//! Make and sign transactions, and read what a ledger says of them.

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use gristmill_wallet::Wallet;

use super::Intent;
use super::book::Attempt;
use crate::ledger::{Call, Fees, LedgerError};

/// What a transfer of nothing costs.
const FILLER_GAS: u64 = 21_000;

/// What a transaction offers for gas.
enum Offer {
    /// EIP-1559: at most, and the tip within.
    Dynamic { max_fee: u128, tip: u128 },
    /// A plain price.
    Legacy { price: u128 },
}

/// The only place that decides on fees: twice the base fee, so that a transaction stays good for several full blocks. On a
/// ledger that charges nothing both are zero.
fn offer(fees: Fees) -> Offer {
    match fees.base {
        Some(base) => Offer::Dynamic { max_fee: base.saturating_mul(2).saturating_add(fees.tip), tip: fees.tip },
        None => Offer::Legacy { price: fees.tip },
    }
}

/// The gas limit that goes with an estimate: the state may change before the transaction runs.
pub(super) fn with_margin(estimate: u64) -> u64 {
    estimate.saturating_add(estimate / 4).saturating_add(20_000)
}

/// Signs what `intent` wants at `nonce`.
pub(super) fn sign(wallet: &Wallet, chain_id: u64, fees: Fees, nonce: u64, intent: &Intent, gas: u64) -> Attempt {
    let to = intent.to.map_or(TxKind::Create, TxKind::Call);
    signed(wallet, chain_id, fees, Body { nonce, gas, to, value: intent.value, input: intent.data.clone() }, false)
}

/// Signs the transfer of nothing that fills `nonce`.
pub(super) fn sign_filler(wallet: &Wallet, chain_id: u64, fees: Fees, nonce: u64) -> Attempt {
    let to = TxKind::Call(wallet.address());
    signed(wallet, chain_id, fees, Body { nonce, gas: FILLER_GAS, to, value: U256::ZERO, input: Bytes::new() }, true)
}

struct Body {
    nonce: u64,
    gas: u64,
    to: TxKind,
    value: U256,
    input: Bytes,
}

fn signed(wallet: &Wallet, chain_id: u64, fees: Fees, body: Body, filler: bool) -> Attempt {
    let Body { nonce, gas: gas_limit, to, value, input } = body;
    let envelope: TxEnvelope = match offer(fees) {
        Offer::Dynamic { max_fee, tip } => {
            let transaction = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list: Default::default(),
                input,
            };
            let signature = wallet.sign_hash_parts(transaction.signature_hash());
            transaction.into_signed(signature).into()
        }
        Offer::Legacy { price } => {
            let transaction =
                TxLegacy { chain_id: Some(chain_id), nonce, gas_price: price, gas_limit, to, value, input };
            let signature = wallet.sign_hash_parts(transaction.signature_hash());
            transaction.into_signed(signature).into()
        }
    };
    Attempt { hash: *envelope.tx_hash(), raw: envelope.encoded_2718().into(), filler }
}

/// The call that a signed transaction makes, to ask again why it was refused.
pub(super) fn call_of(from: Address, raw: &Bytes) -> Option<Call> {
    let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).ok()?;
    Some(Call {
        from: Some(from),
        to: envelope.to(),
        data: envelope.input().clone(),
        value: envelope.value(),
        gas: Some(envelope.gas_limit()),
    })
}

/// What a ledger's refusal of a transaction means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the transaction, or another one of that nonce: the poller will see.
    Taken,
    /// It may take it later.
    Later,
    /// It will never take it.
    Never(String),
}

/// Servers say these things in words only; the words are those of the most common Ethereum clients. `moves_coins`: whether
/// the transaction transfers the ledger's own coin.
pub(super) fn verdict(error: &LedgerError, moves_coins: bool) -> Verdict {
    /// Money for gas may still come; money to send should have been there.
    const POOR: &str = "insufficient funds";
    const TAKEN: [&str; 6] = [
        "already known",
        "already imported",
        "known transaction",
        "already exists",
        "nonce too low",
        "replacement transaction underpriced",
    ];
    const LATER: [&str; 7] =
        ["nonce too high", "nonce gap", "pool is full", "pool full", "too many", "limit exceeded", "shutting down"];
    const LIMIT_EXCEEDED: i64 = -32005;
    const INTERNAL: i64 = -32603;
    match error {
        LedgerError::Revert(revert) => Verdict::Never(revert.to_string()),
        LedgerError::Rpc { code, message, .. } => {
            let text = message.to_ascii_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if says(&TAKEN) {
                Verdict::Taken
            } else if says(&LATER) || (says(&[POOR]) && !moves_coins) || *code == LIMIT_EXCEEDED || *code == INTERNAL {
                Verdict::Later
            } else {
                Verdict::Never(format!("the ledger does not take the transaction: {message}"))
            }
        }
        _ => Verdict::Later,
    }
}
