//! Say how sure a requester wants to be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The trust of an order: t means confidence 1 - 1/t (1: take the first answer, 5: 80 %, 100: 99 %). At least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trust(u64);

/// The text names no trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a confidence: write a percentage from 0% to 99.9999% (such as `80%`) or a trust of 1 or more")]
pub struct TrustError(String);

impl Trust {
    /// The largest trust an order may ask for; past it nobody could ever agree.
    pub const MAX: Self = Self(1_000_000_000);

    /// Trust `value`; 0 counts as 1, as the hub stores it, and [`Trust::MAX`] is the bound.
    pub const fn new(value: u64) -> Self {
        if value == 0 {
            Self(1)
        } else if value > Self::MAX.0 {
            Self::MAX
        } else {
            Self(value)
        }
    }

    /// The trust as the ledger has it.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The confidence in percent, 0 to below 100.
    pub fn confidence_percent(self) -> f64 {
        100.0 * (1.0 - 1.0 / self.0 as f64)
    }

    /// How many newcomers (weight 2) must agree, nobody disagreeing: the least k with 2^k > t - 1.
    pub fn replicas_of_newcomers(self) -> u32 {
        (0..64).find(|&k| (1u64 << k) > self.0 - 1).map_or(64, |k| k.max(1))
    }
}

impl Default for Trust {
    /// 80 %: what a job asks for unless told otherwise.
    fn default() -> Self {
        Self(5)
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:.4}", self.confidence_percent());
        write!(f, "{} %", digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Reads `80%`, `80 %`, `0.8` (a fraction below 1) or a whole trust such as `5`. A percentage is rounded up to the next trust.
impl FromStr for Trust {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let error = || TrustError(text.chars().take(40).collect());
        let trimmed = text.trim();
        if let Ok(trust) = trimmed.parse::<u64>() {
            return (1..=Self::MAX.0).contains(&trust).then_some(Self(trust)).ok_or_else(error);
        }
        let fraction = match trimmed.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map_err(|_| error())? / 100.0,
            None => trimmed.parse::<f64>().map_err(|_| error())?,
        };
        if !(0.0..=0.999_999).contains(&fraction) {
            return Err(error());
        }
        // 1/(1-p) of decimal percentages is off by some 1e-13; the tolerance keeps 80 % at 5 rather than 6.
        Ok(Self::new((1.0 / (1.0 - fraction) - 1e-9).ceil() as u64))
    }
}
