//! Signatures and who made them.

use alloy_primitives::{Address, B256, Signature, U256, eip191_hash_message};
use alloy_sol_types::{Eip712Domain, SolStruct};
use k256::elliptic_curve::zeroize::Zeroizing;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1, SecretKey};

use crate::key::{KEY_BYTES, Wallet};

/// The length of a signature: r and s (32 bytes each) and v (27 or 28).
pub const SIGNATURE_BYTES: usize = 65;

/// Half of the order of the curve: a greater s has a smaller twin for the same message, and is refused.
const HALF_ORDER: U256 =
    U256::from_limbs([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff]);

/// A signature from which no signer follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Not 65 bytes.
    #[error("a signature has {SIGNATURE_BYTES} bytes, this one has {got}")]
    Length {
        /// Its length in bytes.
        got: usize,
    },
    /// The last byte is neither 27 nor 28.
    #[error("the last byte of a signature is 27 or 28, here it is {got}")]
    RecoveryByte {
        /// The last byte.
        got: u8,
    },
    /// s lies in the upper half: the malleable twin of a signature.
    #[error("the signature is the malleable twin of another one (its s lies in the upper half)")]
    HighS,
    /// r or s is no scalar of the curve, or no point belongs to them.
    #[error("the signature does not belong to any key")]
    NoKey,
}

impl Wallet {
    /// Signs a 32-byte hash: r, s (in the lower half) and v (27 or 28). The same hash gives the same signature (RFC 6979).
    pub fn sign_hash(&self, hash: B256) -> [u8; SIGNATURE_BYTES] {
        self.sign_hash_parts(hash).as_bytes()
    }

    /// Signs a 32-byte hash as [`Wallet::sign_hash`], in the form that a transaction carries.
    pub fn sign_hash_parts(&self, hash: B256) -> Signature {
        let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::from(self.key.to_bytes()));
        let mut key = SecretKey::from_byte_array(*bytes).expect("a wallet holds a key of the curve");
        // In C: a third of the time of Rust's. Nonces follow RFC 6979, and s lies in the lower half, in both.
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
        key.non_secure_erase();
        let (recovery, compact) = signature.serialize_compact();
        let recovery = i32::from(recovery);
        // A point past the order, which v 27/28 cannot say, is met once in 2^127 signatures.
        debug_assert!(recovery < 2);
        Signature::from_bytes_and_parity(&compact, recovery == 1)
    }

    /// Signs a message as wallets do (EIP-191, "personal_sign").
    pub fn sign_message(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.sign_hash(eip191_hash_message(message))
    }

    /// Signs typed data, such as an order, under `domain` (EIP-712).
    pub fn sign_typed<T: SolStruct>(&self, value: &T, domain: &Eip712Domain) -> [u8; SIGNATURE_BYTES] {
        self.sign_hash(value.eip712_signing_hash(domain))
    }
}

/// The address whose key signed `hash`.
///
/// As strict as the hub: 65 bytes, v 27 or 28, s in the lower half.
///
/// # Errors
/// [`RecoverError`] when the bytes are not such a signature. Any well-formed one belongs to *some* address: compare it.
pub fn recover(hash: B256, signature: &[u8]) -> Result<Address, RecoverError> {
    let bytes: &[u8; SIGNATURE_BYTES] =
        signature.try_into().map_err(|_| RecoverError::Length { got: signature.len() })?;
    let recovery_byte = bytes[SIGNATURE_BYTES - 1];
    if !matches!(recovery_byte, 27 | 28) {
        return Err(RecoverError::RecoveryByte { got: recovery_byte });
    }
    if U256::from_be_slice(&bytes[32..64]) > HALF_ORDER {
        return Err(RecoverError::HighS);
    }
    let id = if recovery_byte == 28 { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(&bytes[..64], id).map_err(|_| RecoverError::NoKey)?;
    let signer = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).map_err(|_| RecoverError::NoKey)?;
    Ok(Address::from_raw_public_key(&signer.serialize_uncompressed()[1..]))
}

/// The address whose key signed `message` as [`Wallet::sign_message`] does.
///
/// # Errors
/// As [`recover`].
pub fn recover_message(message: &[u8], signature: &[u8]) -> Result<Address, RecoverError> {
    recover(eip191_hash_message(message), signature)
}

/// The address whose key signed `value` under `domain` as [`Wallet::sign_typed`] does.
///
/// # Errors
/// As [`recover`].
pub fn recover_typed<T: SolStruct>(
    value: &T,
    domain: &Eip712Domain,
    signature: &[u8],
) -> Result<Address, RecoverError> {
    recover(value.eip712_signing_hash(domain), signature)
}
