//! Three octal digits, as chmod has them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who may use something: owner, group, others, each an octal digit of which only the x bit (1) means something here. Whoever is further
/// away may do no more than who is nearer.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mode(u16);

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// It is not three octal digits.
    #[error(
        "{0:?} is no mode: three digits from 0 to 7, such as 755 (everybody), 750 (owner and group) or 700 (owner)"
    )]
    Digits(String),
    /// Strangers could do what friends cannot.
    #[error(
        "mode {0} would let some use it who are further away than others who may not: nobody needs that, and it is not allowed"
    )]
    Upside(String),
}

impl Mode {
    /// Everybody may use it.
    pub const PUBLIC: Self = Self(0o755);
    /// Its owner and its group may.
    pub const GROUP: Self = Self(0o750);

    /// Whether its owner may use it.
    pub fn owner_may(self) -> bool {
        self.0 & 0o100 != 0
    }

    /// Whether its group may.
    pub fn group_may(self) -> bool {
        self.0 & 0o010 != 0
    }

    /// Whether everybody else may.
    pub fn others_may(self) -> bool {
        self.0 & 0o001 != 0
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let is_octal = text.len() == 3 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let bits = u16::from_str_radix(text, 8).ok().filter(|_| is_octal);
        let mode = Self(bits.ok_or_else(|| ModeError::Digits(text.chars().take(16).collect()))?);
        let nearer = [mode.owner_may(), mode.group_may(), mode.others_may()];
        match nearer.is_sorted_by(|nearer, further| nearer >= further) {
            true => Ok(mode),
            false => Err(ModeError::Upside(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mode({self})")
    }
}
