//! Read why a contract refused a call, and say what to do about it.

use std::fmt;

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{Panic, Revert as RevertString, SolError};
use serde::{Deserialize, Serialize};

use crate::abi;

mod advice;

/// A refusal by a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// Why, as far as it can be read.
    pub reason: Reason,
    /// The bytes that the contract returned.
    pub data: Bytes,
}

/// Why a contract refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It said so: `Error(string)`.
    Message(String),
    /// A check that the compiler put in, by its code: 0x11 is an overflow.
    Panic(u64),
    /// A named error of the hub, its token or its registries, such as `IncompatibleDatasetOrder`.
    Custom(String),
    /// An error with this selector, of no contract known here.
    Unknown([u8; 4]),
    /// It returned nothing: most of the hub's rules about times and states say no more.
    Silent,
}

impl Revert {
    /// Reads the bytes that a contract reverted with.
    pub fn decode(data: Bytes) -> Self {
        let reason = match data.first_chunk::<4>() {
            None => Reason::Silent,
            Some(selector) => Reason::decode(*selector, &data),
        };
        Self { reason, data }
    }

    /// A refusal with these words, as a contract's `Error(string)` would be.
    pub fn message(text: &str) -> Self {
        let data = RevertString { reason: text.to_owned() }.abi_encode();
        Self { reason: Reason::Message(text.to_owned()), data: data.into() }
    }

    /// The contract's own words or error name; empty when it has none.
    pub fn code(&self) -> &str {
        match &self.reason {
            Reason::Message(text) | Reason::Custom(text) => text,
            Reason::Panic(_) | Reason::Unknown(_) | Reason::Silent => "",
        }
    }

    /// What it means and what to do, for the refusals that are known.
    pub fn advice(&self) -> Option<String> {
        advice::with_numbers(&self.data).or_else(|| advice::of(self.code()).map(str::to_owned))
    }
}

impl Reason {
    fn decode(selector: [u8; 4], data: &[u8]) -> Self {
        if selector == RevertString::SELECTOR {
            if let Ok(revert) = RevertString::abi_decode(data) {
                return Self::Message(revert.reason);
            }
        } else if selector == Panic::SELECTOR {
            if let Ok(panic) = Panic::abi_decode(data) {
                return Self::Panic(u64::try_from(panic.code).unwrap_or(u64::MAX));
            }
        } else if let Some(name) = abi::error_name(selector) {
            return Self::Custom(name.to_owned());
        }
        Self::Unknown(selector)
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, self.advice()) {
            (Reason::Message(text) | Reason::Custom(text), Some(advice)) => write!(f, "{advice} ({text})"),
            (Reason::Message(text) | Reason::Custom(text), None) => write!(f, "the contract refused: {text}"),
            (Reason::Panic(code), _) => write!(f, "the contract refused: {}", panic_text(*code)),
            (Reason::Unknown(selector), _) => {
                write!(
                    f,
                    "the contract refused with the unknown error {}",
                    alloy_primitives::hex::encode_prefixed(selector)
                )
            }
            (Reason::Silent, _) => {
                f.write_str("the contract refused without a reason: the state or the time does not allow this step")
            }
        }
    }
}

impl std::error::Error for Revert {}

fn panic_text(code: u64) -> String {
    match code {
        0x01 => "an assertion failed".to_owned(),
        0x11 => "a number is too large or would be negative".to_owned(),
        0x12 => "a division by zero".to_owned(),
        0x21 => "a value outside its enumeration".to_owned(),
        0x32 => "an index past the end of a list".to_owned(),
        other => format!("panic {:#x}", U256::from(other)),
    }
}

#[cfg(test)]
mod tests;
