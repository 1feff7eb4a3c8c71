//! Values within their bounds: what is out of them is refused where it stands, so that the error names line and column.

use std::fmt;

use gristmill_types::Amount;
use gristmill_types::amount::AmountError;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest amount that can be set, in GRIST: more than there is.
pub const AMOUNT_GRIST_MAX: u64 = 1_000_000_000;

/// An amount as people write it: a number of GRIST, in quotes or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grist(pub Amount);

/// An amount that cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GristError {
    /// It is no amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// There is not so much.
    #[error("{amount} is too much: {AMOUNT_GRIST_MAX} GRIST at most")]
    TooMuch {
        /// What was said.
        amount: Amount,
    },
}

impl std::str::FromStr for Grist {
    type Err = GristError;

    fn from_str(text: &str) -> Result<Self, GristError> {
        let amount: Amount = text.parse()?;
        match amount > Amount::from_grist(AMOUNT_GRIST_MAX) {
            true => Err(GristError::TooMuch { amount }),
            false => Ok(Self(amount)),
        }
    }
}

impl fmt::Display for Grist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches(" GRIST"))
    }
}

impl Serialize for Grist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GristVisitor)
    }
}

struct GristVisitor;

impl Visitor<'_> for GristVisitor {
    type Value = Grist;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an amount in GRIST, such as 0.1 or \"0.1\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Grist, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, grist: u64) -> Result<Grist, E> {
        self.visit_str(&grist.to_string())
    }

    fn visit_i64<E: Error>(self, grist: i64) -> Result<Grist, E> {
        self.visit_str(&grist.to_string())
    }

    // The shortest digits that give the number back are those that were written, and have no exponent.
    fn visit_f64<E: Error>(self, grist: f64) -> Result<Grist, E> {
        self.visit_str(&grist.to_string())
    }
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn within<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = i64::deserialize(deserializer)?;
    let refused = || Error::custom(format_args!("{number} is out of its range: {MIN} to {MAX}"));
    let inside = u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number)).ok_or_else(refused)?;
    T::try_from(inside).map_err(|_| refused())
}

/// A percentage, if there is one.
pub(super) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    within::<_, _, 0, 100>(deserializer).map(Some)
}

/// A share of 1, from `MIN` to `MAX` thousandths; with a `MIN` of 0 it must be more than that.
pub(super) fn share<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<f64, D::Error>
where
    D: Deserializer<'de>,
{
    /// What else would be no share.
    const SMALLEST: f64 = 1e-9;
    let number = f64::deserialize(deserializer)?;
    let (min, max) = ((MIN as f64 / 1e3).max(SMALLEST), MAX as f64 / 1e3);
    match (min..=max).contains(&number) {
        true => Ok(number),
        false => Err(Error::custom(format_args!("{number} is out of its range: {min} to {max}"))),
    }
}
