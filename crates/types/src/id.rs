//! Identify tasks, deals, orders and content.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, U256, keccak256};
use serde::{Deserialize, Serialize};

/// A 32-byte id could not be read from text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected {expected}{prefix_hint}")]
pub struct ParseIdError {
    /// What was expected, with its article.
    pub what: &'static str,
    /// The text as given, shortened to 80 characters.
    pub text: String,
    expected: &'static str,
    prefix_hint: &'static str,
}

const HEX_DIGITS: &str = "64 hexadecimal digits";

macro_rules! ledger_id {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl $name {
            /// The 32 bytes of the id.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }

            /// The first eight hexadecimal digits, for people; never for look-ups.
            pub fn short(&self) -> String {
                format!("0x{}", &format!("{:x}", self.0)[..8])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }

        impl From<B256> for $name {
            fn from(value: B256) -> Self {
                Self(value)
            }
        }

        impl From<$name> for B256 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self).map_err(|_| ParseIdError {
                    what: $what,
                    text: text.chars().take(80).collect(),
                    expected: HEX_DIGITS,
                    prefix_hint: ", with or without 0x",
                })
            }
        }
    };
}

ledger_id!(
    /// One unit of a deal's volume: the unit of settlement and verification.
    TaskId, "a task id"
);
ledger_id!(
    /// Matched orders.
    DealId, "a deal id"
);
ledger_id!(
    /// The EIP-712 hash of an order (struct hash under the hub's domain).
    OrderHash, "an order hash"
);

impl DealId {
    /// The deal made of a request order when `consumed_before` units of it were already used:
    /// keccak256(request hash ++ uint256), as the hub computes it.
    pub fn derive(request: OrderHash, consumed_before: u64) -> Self {
        Self(hash_with_number(request.0, consumed_before))
    }

    /// The task at `index` of this deal: keccak256(deal id ++ uint256), as the hub computes it.
    pub fn task(&self, index: u64) -> TaskId {
        TaskId(hash_with_number(self.0, index))
    }
}

fn hash_with_number(hash: B256, number: u64) -> B256 {
    let mut bytes = [0u8; 64];
    bytes[..32].copy_from_slice(hash.as_slice());
    bytes[32..].copy_from_slice(&U256::from(number).to_be_bytes::<32>());
    keccak256(bytes)
}

/// The BLAKE3-256 hash of some bytes: where they are does not matter, what they are does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 32]);

impl ContentId {
    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hexadecimal digits, for people; never for look-ups.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    /// The same id as IPFS writes it: a CID of version 1, codec raw, multihash BLAKE3-256, in base 16: `f01551e20` and the 64
    /// digits. The hub recognises this form in a results hint and stores it as one word.
    pub fn to_cid(&self) -> String {
        format!("{CID_HEX_PREFIX}{self}")
    }

    /// Reads a CID of version 1, codec raw, multihash BLAKE3-256, in base 16 or 32 (`bafkr4i...`, as IPFS's own tools print it).
    /// Other CIDs name bytes by another hash, or a tree of blocks: not ours.
    ///
    /// # Errors
    /// [`ParseIdError`].
    pub fn from_cid(text: &str) -> Result<Self, ParseIdError> {
        let id = match text.strip_prefix(CID_HEX_PREFIX) {
            Some(digits) if digits.bytes().all(|digit| !digit.is_ascii_uppercase()) => digits.parse().ok(),
            Some(_) => None,
            None => from_base32(text),
        };
        id.ok_or_else(|| ParseIdError {
            what: "a CID of ours (version 1, raw, BLAKE3-256)",
            text: text.chars().take(80).collect(),
            expected: "`f01551e20` and 64 hexadecimal digits, or `bafkr4i` and 52 letters and digits",
            prefix_hint: "",
        })
    }
}

fn from_base32(text: &str) -> Option<ContentId> {
    let digits = text.strip_prefix(BASE32_PREFIX).filter(|digits| digits.len() == BASE32_DIGITS)?;
    let mut bytes = Vec::with_capacity(CID_PREFIX.len() + 32);
    let (mut buffer, mut bits) = (0u32, 0);
    for digit in digits.bytes() {
        let value = BASE32.iter().position(|known| *known == digit)?;
        buffer = (buffer << 5 | value as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    // One text for one id: the bits that fill the last digit are zero.
    let padded = buffer & ((1 << bits) - 1) == 0;
    bytes.strip_prefix(&CID_PREFIX).filter(|_| padded)?.try_into().map(ContentId).ok()
}

/// Version 1, codec raw, BLAKE3, 32 bytes.
const CID_PREFIX: [u8; 4] = [0x01, 0x55, 0x1e, 0x20];
/// The same in base 16, with the letter that says so.
const CID_HEX_PREFIX: &str = "f01551e20";
/// The letter that says base 32, lower case.
const BASE32_PREFIX: &str = "b";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Base 32 digits of 36 bytes.
const BASE32_DIGITS: usize = 58;

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloy_primitives::hex::encode(self.0))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl FromStr for ContentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0u8; 32];
        let valid = text.len() == 64 && alloy_primitives::hex::decode_to_slice(text, &mut bytes).is_ok();
        valid.then_some(Self(bytes)).ok_or_else(|| ParseIdError {
            what: "a content id",
            text: text.chars().take(80).collect(),
            expected: HEX_DIGITS,
            prefix_hint: "",
        })
    }
}

impl Serialize for ContentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
