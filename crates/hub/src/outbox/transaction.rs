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
#[derive(Clone, Copy)]
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

impl Offer {
    /// The most that it pays for a unit of gas.
    fn price(self) -> u128 {
        match self {
            Self::Dynamic { max_fee, .. } => max_fee,
            Self::Legacy { price } => price,
        }
    }

    /// At least this, and enough to replace `old`: nodes want 10 % more of both parts, some 12.5 %.
    fn over(self, old: Self) -> Self {
        let more = |old: u128| old.saturating_add(old / 8).saturating_add(1);
        match (self, old) {
            (Self::Dynamic { max_fee, tip }, Self::Dynamic { max_fee: old_fee, tip: old_tip }) => {
                let tip = tip.max(more(old_tip));
                Self::Dynamic { max_fee: max_fee.max(more(old_fee)).max(tip), tip }
            }
            // Within one ledger's life the kind does not change.
            (new, old) => Self::Legacy { price: new.price().max(more(old.price())) },
        }
    }

    fn at_most(self, limit: u128) -> Self {
        match self {
            Self::Dynamic { max_fee, tip } => Self::Dynamic { max_fee: max_fee.min(limit), tip: tip.min(limit) },
            Self::Legacy { price } => Self::Legacy { price: price.min(limit) },
        }
    }
}

fn offer_of(envelope: &TxEnvelope) -> Offer {
    match envelope.max_priority_fee_per_gas() {
        Some(tip) => Offer::Dynamic { max_fee: envelope.max_fee_per_gas(), tip },
        None => Offer::Legacy { price: envelope.max_fee_per_gas() },
    }
}

fn decoded(raw: &Bytes) -> Option<TxEnvelope> {
    TxEnvelope::decode_2718(&mut raw.as_ref()).ok()
}

/// The gas limit that goes with an estimate: the state may change before the transaction runs.
pub(super) fn with_margin(estimate: u64) -> u64 {
    estimate.saturating_add(estimate / 4).saturating_add(20_000)
}

/// Signs with one key, for one ledger, at its fees.
pub(super) struct Signer {
    pub wallet: Wallet,
    pub chain_id: u64,
    pub fees: Fees,
    /// The most that is offered, in wei.
    pub price_max: u128,
}

impl Signer {
    /// What `intent` wants at `nonce`.
    pub fn sign(&self, nonce: u64, intent: &Intent, gas: u64) -> Attempt {
        let to = intent.to.map_or(TxKind::Create, TxKind::Call);
        let body = Body { nonce, gas, to, value: intent.value, input: intent.data.clone() };
        self.signed(body, offer(self.fees).at_most(self.price_max), false)
    }

    /// The transfer of nothing that fills `nonce`, with an offer that replaces `old`.
    pub fn sign_filler(&self, nonce: u64, old: Option<&Attempt>) -> Attempt {
        let to = TxKind::Call(self.wallet.address());
        let body = Body { nonce, gas: FILLER_GAS, to, value: U256::ZERO, input: Bytes::new() };
        let (now, old) = (offer(self.fees), old.and_then(|old| Some(offer_of(&decoded(&old.raw)?))));
        self.signed(body, old.map_or(now, |old| now.over(old)).at_most(self.price_max), true)
    }

    /// The same as `old` with an offer that replaces it; `None` when gas is free, or more may not be offered.
    pub fn outbid(&self, old: &Attempt) -> Option<Attempt> {
        let envelope = decoded(&old.raw)?;
        let before = offer_of(&envelope);
        let now = offer(self.fees).over(before);
        if before.price() == 0 && offer(self.fees).price() == 0 || now.price() > self.price_max {
            return None;
        }
        let body = Body {
            nonce: envelope.nonce(),
            gas: envelope.gas_limit(),
            to: envelope.kind(),
            value: envelope.value(),
            input: envelope.input().clone(),
        };
        Some(self.signed(body, now, old.filler))
    }
}

struct Body {
    nonce: u64,
    gas: u64,
    to: TxKind,
    value: U256,
    input: Bytes,
}

impl Signer {
    fn signed(&self, body: Body, offer: Offer, filler: bool) -> Attempt {
        let Self { wallet, chain_id, .. } = self;
        let chain_id = *chain_id;
        let Body { nonce, gas: gas_limit, to, value, input } = body;
        let envelope: TxEnvelope = match offer {
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
}

/// The call that a signed transaction makes, to ask again why it was refused.
pub(super) fn call_of(from: Address, raw: &Bytes) -> Option<Call> {
    let envelope = decoded(raw)?;
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

/// Whether the account has too few coins. Money for gas may still come; money to send should have been there.
pub(super) fn is_poor(error: &LedgerError) -> bool {
    const POOR: &str = "insufficient funds";
    matches!(error, LedgerError::Rpc { message, .. } if message.to_ascii_lowercase().contains(POOR))
}

/// Servers say these things in words only; the words are those of the most common Ethereum clients. `moves_coins`: whether
/// the transaction transfers the ledger's own coin.
pub(super) fn verdict(error: &LedgerError, moves_coins: bool) -> Verdict {
    const TAKEN: [&str; 6] = [
        "already known",
        "already imported",
        "known transaction",
        "already exists",
        "nonce too low",
        "replacement transaction underpriced",
    ];
    // The base fee rose above the offer since it was made.
    const CHEAP: [&str; 3] = ["less than block base fee", "lower than the block base fee", "underpriced"];
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
            } else if says(&LATER)
                || says(&CHEAP)
                || (is_poor(error) && !moves_coins)
                || *code == LIMIT_EXCEEDED
                || *code == INTERNAL
            {
                Verdict::Later
            } else {
                Verdict::Never(format!("the ledger does not take the transaction: {message}"))
            }
        }
        _ => Verdict::Later,
    }
}
