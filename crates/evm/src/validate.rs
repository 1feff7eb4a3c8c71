//! Checks a signed transaction before it is worth a place in a pool.

use alloy_consensus::TxEnvelope;
use alloy_consensus::crypto::SECP256K1N_HALF;
use alloy_consensus::{Transaction as _, Typed2718};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B512};
use revm::context_interface::cfg::GasParams;
use revm::precompile::secp256k1::ecrecover;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;

use crate::execute::{SignedTransaction, transaction_env};
use crate::spec::SPEC;

/// Why a transaction can never get into a block. The texts are the ones that Ethereum clients match on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTransaction {
    /// The bytes are no transaction.
    #[error("rlp: transaction cannot be decoded: {problem}")]
    Malformed {
        /// What the decoder said.
        problem: String,
    },
    /// Nobody's signature fits.
    #[error("invalid sender")]
    Signature,
    /// A kind that this chain does not take (blobs, or one that is not known).
    #[error("transaction type not supported")]
    Kind,
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {have} want {want}")]
    ChainId {
        /// Chain id in the transaction.
        have: u64,
        /// Chain id of the ledger.
        want: u64,
    },
    /// Not protected against being replayed on another chain.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    /// More gas than a block has.
    #[error("exceeds block gas limit")]
    GasLimit,
    /// Less gas than it costs to begin.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas {
        /// The transaction's gas limit.
        gas: u64,
        /// Gas needed.
        needed: u64,
    },
    /// Less gas than its call data costs at least.
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorGas {
        /// The transaction's gas limit.
        gas: u64,
        /// Gas needed.
        needed: u64,
    },
    /// The code that makes a contract is too long.
    #[error("max initcode size exceeded: code size {size} limit {limit}")]
    InitCode {
        /// Its length, in bytes.
        size: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// The tip is above the whole price.
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFee,
    /// The nonce cannot be followed by another.
    #[error("nonce has max value")]
    NonceMax,
    /// EIP-7702: nothing to set, or it would make a contract.
    #[error("set code transaction must have an authorization list and a destination")]
    Authorizations,
}

/// Reads a signed transaction from its EIP-2718 bytes and finds its sender.
///
/// # Errors
/// [`InvalidTransaction::Malformed`], [`InvalidTransaction::Kind`] or [`InvalidTransaction::Signature`].
pub fn decode_transaction(bytes: &[u8]) -> Result<SignedTransaction, InvalidTransaction> {
    if bytes.first().is_some_and(|kind| *kind == 3 || (5..0xc0).contains(kind)) {
        return Err(InvalidTransaction::Kind);
    }
    let mut rest = bytes;
    let envelope = TxEnvelope::decode_2718(&mut rest)
        .map_err(|error| InvalidTransaction::Malformed { problem: error.to_string() })?;
    if !rest.is_empty() {
        return Err(InvalidTransaction::Malformed { problem: "bytes after the end".into() });
    }
    let sender = signer_of(&envelope).ok_or(InvalidTransaction::Signature)?;
    Ok(SignedTransaction::new_unchecked(envelope, sender))
}

/// Who signed it. By the library of the precompile `ecrecover`, in a third of the time of the one in pure Rust.
fn signer_of(envelope: &TxEnvelope) -> Option<Address> {
    let signature = envelope.signature();
    // EIP-2: of the two signatures that fit, only the one with the low s counts.
    if signature.s() > SECP256K1N_HALF {
        return None;
    }
    let mut compact = B512::ZERO;
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let signer = ecrecover(&compact, u8::from(signature.v()), &envelope.signature_hash()).ok()?;
    Some(Address::from_word(signer))
}

/// Checks everything about a transaction that does not depend on the state.
///
/// # Errors
/// [`InvalidTransaction`].
pub fn check_transaction(
    transaction: &SignedTransaction,
    chain_id: u64,
    block_gas_limit: u64,
) -> Result<(), InvalidTransaction> {
    if transaction.ty() == 3 || transaction.ty() > 4 {
        return Err(InvalidTransaction::Kind);
    }
    match transaction.chain_id() {
        Some(have) if have != chain_id => {
            return Err(InvalidTransaction::ChainId { have, want: chain_id });
        }
        None => return Err(InvalidTransaction::Unprotected),
        Some(_) => {}
    }
    if transaction.nonce() == u64::MAX {
        return Err(InvalidTransaction::NonceMax);
    }
    if transaction.gas_limit() > block_gas_limit {
        return Err(InvalidTransaction::GasLimit);
    }
    let size = transaction.input().len();
    if transaction.is_create() && size > MAX_INITCODE_SIZE {
        return Err(InvalidTransaction::InitCode { size, limit: MAX_INITCODE_SIZE });
    }
    let tip = transaction.max_priority_fee_per_gas().unwrap_or(0);
    if tip > transaction.max_fee_per_gas() {
        return Err(InvalidTransaction::TipAboveFee);
    }
    let authorizations = transaction.authorization_list();
    if authorizations.is_some_and(|list| list.is_empty() || transaction.is_create()) {
        return Err(InvalidTransaction::Authorizations);
    }
    check_gas(transaction)
}

fn check_gas(transaction: &SignedTransaction) -> Result<(), InvalidTransaction> {
    let env = transaction_env(transaction);
    let needed = GasParams::new_spec(SPEC).initial_tx_gas_for_tx(&env, None);
    let gas = transaction.gas_limit();
    if needed.initial_regular_gas > gas {
        return Err(InvalidTransaction::IntrinsicGas { gas, needed: needed.initial_regular_gas });
    }
    if needed.floor_gas > gas {
        return Err(InvalidTransaction::FloorGas { gas, needed: needed.floor_gas });
    }
    Ok(())
}
