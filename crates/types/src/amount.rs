//! Count money in nGRIST, the smallest unit, and print it in GRIST.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// Decimals of GRIST: 1 GRIST is 10^9 nGRIST, as RLC.
pub const DECIMALS: u32 = 9;
/// nGRIST in one GRIST.
pub const NGRIST_PER_GRIST: u128 = 1_000_000_000;

/// An amount of money in nGRIST. Arithmetic that could overflow is checked by the caller: `checked_*` only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(u128);

/// An amount could not be read or does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Not a decimal number with at most nine decimals.
    #[error("`{0}` is not an amount: write a number of GRIST such as `1.5` or `1.5 GRIST`, or `1500000000 nGRIST`")]
    Malformed(String),
    /// More than 2^128 - 1 nGRIST.
    #[error("the amount {0} nGRIST is larger than any ledger of ours can hold")]
    TooLarge(String),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be expressed.
    pub const MAX: Self = Self(u128::MAX);

    /// So many nGRIST.
    pub const fn from_ngrist(ngrist: u128) -> Self {
        Self(ngrist)
    }

    /// So many whole GRIST.
    pub const fn from_grist(grist: u64) -> Self {
        Self(grist as u128 * NGRIST_PER_GRIST)
    }

    /// In nGRIST.
    pub const fn ngrist(self) -> u128 {
        self.0
    }

    /// True for nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As the ledger's uint256.
    pub fn to_u256(self) -> U256 {
        U256::from(self.0)
    }

    /// Sum, or `None` past [`Amount::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference, or `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Difference, zero at least.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Product, or `None` past [`Amount::MAX`].
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(u128::from(factor)).map(Self)
    }

    /// `numerator`/`denominator` of it, rounded down. `None` when the product overflows or the denominator is zero.
    pub fn checked_ratio(self, numerator: u128, denominator: u128) -> Option<Self> {
        self.0.checked_mul(numerator)?.checked_div(denominator).map(Self)
    }
}

impl TryFrom<U256> for Amount {
    type Error = AmountError;

    fn try_from(value: U256) -> Result<Self, AmountError> {
        u128::try_from(value).map(Self).map_err(|_| AmountError::TooLarge(value.to_string()))
    }
}

/// Panics past [`Amount::MAX`]: a sum of real amounts never gets there.
impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |total, amount| total.checked_add(amount).expect("sum of amounts overflows"))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / NGRIST_PER_GRIST;
        let fraction = self.0 % NGRIST_PER_GRIST;
        let text = if fraction == 0 {
            format!("{whole} GRIST")
        } else {
            let digits = format!("{fraction:09}");
            format!("{whole}.{} GRIST", digits.trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({} nGRIST)", self.0)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let malformed = || AmountError::Malformed(text.chars().take(80).collect());
        let trimmed = text.trim();
        if let Some(number) = trimmed.strip_suffix("nGRIST") {
            return number.trim().parse().map(Self).map_err(|_| malformed());
        }
        let number = trimmed.strip_suffix("GRIST").unwrap_or(trimmed).trim();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(malformed());
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| malformed())? };
        let fraction: u128 = format!("{fraction:0<9}").parse().map_err(|_| malformed())?;
        whole
            .checked_mul(NGRIST_PER_GRIST)
            .and_then(|ngrist| ngrist.checked_add(fraction))
            .map(Self)
            .ok_or_else(|| AmountError::TooLarge(text.to_owned()))
    }
}

/// Serialized as a decimal string of nGRIST: JSON numbers lose digits past 2^53.
impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
