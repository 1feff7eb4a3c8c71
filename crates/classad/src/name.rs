//! Names of attributes: compared without regard to case, shown as they were written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;

use crate::bounds::NAME_BYTES_MAX;

/// A name that no attribute can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing stands between the quotes.
    #[error("an attribute's name is empty")]
    Empty,
    /// Longer than any name needs to be.
    #[error("an attribute's name has {got} bytes; {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
}

/// What a name means when no attribute has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    /// `toplevel`, `root`: the outermost ad.
    Root,
    /// `self`, `my`: the ad in which the reference stands.
    My,
    /// `parent`: the ad around that one.
    Parent,
    /// `target`, `other`: the ad that this one is matched with.
    Target,
    /// `CurrentTime`: what `time()` gives.
    Time,
}

/// The name of an attribute. Two names are equal if they differ only in the case of ASCII letters.
#[derive(Clone)]
pub struct Name {
    hash: u64,
    special: Special,
    inner: Arc<Inner>,
}

struct Inner {
    text: Box<str>,
    /// The text in lower case: what is compared.
    folded: Box<str>,
}

impl Name {
    /// A name, of any characters: what is no plain identifier is printed in single quotes.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { got: text.len() });
        }
        Ok(Self::known(text))
    }

    /// A name that is known to be within bounds.
    pub(crate) fn known(text: &str) -> Self {
        let folded = text.to_ascii_lowercase();
        let special = match folded.as_str() {
            "toplevel" | "root" => Special::Root,
            "self" | "my" => Special::My,
            "parent" => Special::Parent,
            "target" | "other" => Special::Target,
            "currenttime" => Special::Time,
            _ => Special::None,
        };
        Self { hash: hash_of(&folded), special, inner: Arc::new(Inner { text: text.into(), folded: folded.into() }) }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.inner.text
    }

    /// In lower case: equal for equal names.
    pub fn folded(&self) -> &str {
        &self.inner.folded
    }

    pub(crate) fn hash_value(&self) -> u64 {
        self.hash
    }

    pub(crate) fn special(&self) -> Special {
        self.special
    }
}

/// FNV-1a, mixed once more so that its low bits, which choose the place in an ad's table, depend on all of it. It needs no
/// secret: names that collide on purpose only make one ad slower, and an ad has few names.
pub(crate) fn hash_of(folded: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in folded.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 32)
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.inner.folded == other.inner.folded
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.inner.folded.cmp(&other.inner.folded)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
