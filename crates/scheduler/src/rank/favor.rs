//! What a requester favours.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of criteria.
pub const CRITERIA: usize = 5;
/// The largest weight of a criterion.
pub const WEIGHT_MAX: u32 = 1_000;

/// What machines are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criterion {
    /// What the run costs.
    Cost,
    /// When the result is expected.
    Speed,
    /// How seldom the result is wrong.
    Trust,
    /// How likely the machine stays for the whole run.
    Reliability,
    /// What the run burns.
    Energy,
}

impl Criterion {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; CRITERIA] = [Self::Cost, Self::Speed, Self::Trust, Self::Reliability, Self::Energy];

    /// Its name, as a requester writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Speed => "speed",
            Self::Trust => "trust",
            Self::Reliability => "reliability",
            Self::Energy => "energy",
        }
    }

    /// Its place in [`Criterion::ALL`].
    pub fn place(self) -> usize {
        self as usize
    }
}

/// The weights of the criteria: `cost=3,speed=1` says that cost counts three times as much as speed, and nothing else counts.
///
/// Only the proportion matters: `cost=6,speed=2` is the same wish. One weight at least is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Favor {
    weights: [u32; CRITERIA],
}

/// A wish that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FavorError {
    /// A part without `=`.
    #[error("`{0}` has no weight: write for example `cost=3,speed=1`")]
    NoWeight(String),
    /// No criterion has that name.
    #[error("`{0}` is not a criterion: there are cost, speed, trust, reliability and energy")]
    Unknown(String),
    /// A weight that is no small whole number.
    #[error("`{weight}` is not a weight of {criterion}: write a whole number from 0 to {WEIGHT_MAX}")]
    Weight {
        /// Of what.
        criterion: &'static str,
        /// What stands there.
        weight: String,
    },
    /// A criterion that comes twice.
    #[error("{0} has two weights: name it once")]
    Twice(&'static str),
    /// Nothing counts.
    #[error("nothing is favoured: one weight at least must be above 0, for example `cost=3,speed=1`")]
    Nothing,
}

impl Favor {
    /// Weights in the order of [`Criterion::ALL`], each from 0 to [`WEIGHT_MAX`].
    pub fn new(weights: [u32; CRITERIA]) -> Result<Self, FavorError> {
        for criterion in Criterion::ALL {
            let weight = weights[criterion.place()];
            if weight > WEIGHT_MAX {
                return Err(FavorError::Weight { criterion: criterion.name(), weight: weight.to_string() });
            }
        }
        if weights == [0; CRITERIA] { Err(FavorError::Nothing) } else { Ok(Self { weights }) }
    }

    /// Nothing counts but this.
    pub fn only(criterion: Criterion) -> Self {
        let mut weights = [0; CRITERIA];
        weights[criterion.place()] = 1;
        Self { weights }
    }

    /// The weight as it was written.
    pub fn weight(&self, criterion: Criterion) -> u32 {
        self.weights[criterion.place()]
    }

    /// The weights in lowest terms, so that equal wishes compute the same to the bit.
    pub(crate) fn lowest(&self) -> [u32; CRITERIA] {
        // INVARIANT: one weight is not 0, and so neither is the divisor.
        let divisor = self.weights.into_iter().fold(0, greatest_common_divisor).max(1);
        self.weights.map(|weight| weight / divisor)
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What counts where nobody says anything: price and time alike, and half as much whether it will come to a right result.
impl Default for Favor {
    fn default() -> Self {
        Self { weights: [2, 2, 1, 1, 0] }
    }
}

impl fmt::Display for Favor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for criterion in Criterion::ALL {
            let weight = self.weight(criterion);
            if weight > 0 {
                write!(f, "{comma}{}={weight}", criterion.name())?;
                comma = ",";
            }
        }
        Ok(())
    }
}

impl FromStr for Favor {
    type Err = FavorError;

    fn from_str(text: &str) -> Result<Self, FavorError> {
        let mut weights = [None; CRITERIA];
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, weight) = part.split_once('=').ok_or_else(|| FavorError::NoWeight(part.to_owned()))?;
            let (name, weight) = (name.trim(), weight.trim());
            let criterion = Criterion::ALL
                .into_iter()
                .find(|criterion| criterion.name().eq_ignore_ascii_case(name))
                .ok_or_else(|| FavorError::Unknown(name.to_owned()))?;
            let malformed = || FavorError::Weight { criterion: criterion.name(), weight: weight.to_owned() };
            // `parse` would take a plus sign.
            if !weight.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            let number = weight.parse::<u32>().map_err(|_| malformed())?;
            if weights[criterion.place()].replace(number).is_some() {
                return Err(FavorError::Twice(criterion.name()));
            }
        }
        Self::new(weights.map(Option::unwrap_or_default))
    }
}

impl From<Favor> for String {
    fn from(favor: Favor) -> Self {
        favor.to_string()
    }
}

impl TryFrom<String> for Favor {
    type Error = FavorError;

    fn try_from(text: String) -> Result<Self, FavorError> {
        text.parse()
    }
}
