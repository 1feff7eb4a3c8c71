//! The key and its address.

use std::fmt;
use std::io::{self, Read};

use alloy_primitives::Address;
use k256::ecdsa::SigningKey;
use k256::elliptic_curve::zeroize::{Zeroize, Zeroizing};
use rand::TryRngCore;
use rand::rngs::OsRng;

/// The length of a private key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// The longest text that is looked at for a key, in bytes: 66 characters and generous white space.
const KEY_TEXT_MAX_BYTES: u64 = 1024;

/// A text that is not a private key. The message never repeats any part of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 64 digits.
    #[error("a private key has 64 hexadecimal digits (with or without 0x before them), this text has {digits}")]
    Length {
        /// Characters after an optional `0x`.
        digits: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("character {position} of the private key is not a hexadecimal digit (0-9, a-f)")]
    NotHex {
        /// Its place among the digits, counted from 1.
        position: usize,
    },
    /// Zero, or not below the order of the curve.
    #[error(
        "this number is not a private key: a key lies between 1 and the order of the curve secp256k1; make another one"
    )]
    OutOfRange,
    /// The text could not be read.
    #[error("cannot read the private key")]
    Read(#[source] io::Error),
}

/// A private key of the curve secp256k1, and its address.
///
/// Clones hold the same key, each erased when it is dropped.
#[derive(Clone)]
pub struct Wallet {
    /// `SigningKey` erases its scalar when it is dropped.
    pub(crate) key: SigningKey,
    address: Address,
}

impl Wallet {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: no key could be trusted then.
    pub fn generate() -> Wallet {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        loop {
            OsRng.try_fill_bytes(bytes.as_mut_slice()).expect("the operating system gives randomness");
            // Fails for about one number in 2^128: those past the order of the curve.
            if let Ok(wallet) = Wallet::from_bytes(&bytes) {
                return wallet;
            }
        }
    }

    /// Reads a key from hexadecimal digits, with or without `0x`, with white space around them.
    ///
    /// # Errors
    /// [`KeyError`] when the text is not such a number, or the number is not a key of the curve.
    pub fn import_hex(text: &str) -> Result<Wallet, KeyError> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let count = digits.chars().count();
        if count != 2 * KEY_BYTES {
            return Err(KeyError::Length { digits: count });
        }
        if let Some(index) = digits.chars().position(|c| !c.is_ascii_hexdigit()) {
            return Err(KeyError::NotHex { position: index + 1 });
        }
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| KeyError::Length { digits: count })?;
        Wallet::from_bytes(&bytes)
    }

    /// Reads a key as [`Wallet::import_hex`] from a file or the standard input; the text is erased from memory.
    ///
    /// # Errors
    /// As [`Wallet::import_hex`], and [`KeyError::Read`] when `reader` fails.
    pub fn import_reader(reader: impl Read) -> Result<Wallet, KeyError> {
        // The capacity is given at once: a buffer that grows would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_TEXT_MAX_BYTES as usize + 1));
        reader.take(KEY_TEXT_MAX_BYTES).read_to_end(&mut text).map_err(KeyError::Read)?;
        match std::str::from_utf8(&text) {
            Ok(text) => Wallet::import_hex(text),
            Err(_) => Err(KeyError::Length { digits: text.len() }),
        }
    }

    /// The address of the key.
    pub fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Wallet, KeyError> {
        let key = SigningKey::from_slice(bytes).map_err(|_| KeyError::OutOfRange)?;
        let address = Address::from_private_key(&key);
        Ok(Wallet { key, address })
    }

    /// The digits of the key, for the wallet's file only.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        let mut bytes = self.key.to_bytes();
        let mut digits = Zeroizing::new([0_u8; 2 * KEY_BYTES]);
        let encoded = hex::encode_to_slice(bytes.as_slice(), digits.as_mut_slice());
        bytes.as_mut_slice().zeroize();
        debug_assert!(encoded.is_ok(), "two digits a byte");
        Zeroizing::new(digits.iter().map(|&digit| char::from(digit)).collect())
    }
}

impl fmt::Debug for Wallet {
    /// Shows the address only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address)
    }
}
