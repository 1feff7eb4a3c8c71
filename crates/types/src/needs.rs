//! What a task needs of a machine besides a processor: bits of an order's tag.
//!
//! A tag is 32 bytes of flags. A deal's is that of app, dataset and request together, and the hub matches it only with a pool's order
//! whose tag has every one of these flags. iExec names the lowest nine (enclaves in the last byte, a GPU in bit 8); what is ours
//! keeps clear of them.

use std::fmt;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// The byte of a tag, and the flag in it, that asks for a GPU: bit 8, as iExec has it.
const GPU: (usize, u8) = (30, 1);
/// The byte and the flag that ask for a way out to the network: bit 16, which nobody else names.
const NETWORK: (usize, u8) = (29, 1);

/// What a task needs, or what a machine or a pool offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// A graphics processor.
    pub gpu: bool,
    /// A way out to the public network.
    pub network: bool,
}

impl Needs {
    /// Nothing but a processor.
    pub const NONE: Self = Self { gpu: false, network: false };

    /// What a tag asks for. Other flags are not looked at.
    pub fn of_tag(tag: B256) -> Self {
        let has = |(byte, flag): (usize, u8)| tag[byte] & flag != 0;
        Self { gpu: has(GPU), network: has(NETWORK) }
    }

    /// The flags of a tag that ask for this.
    pub fn tag(self) -> B256 {
        let mut tag = B256::ZERO;
        for ((byte, flag), is_needed) in [(GPU, self.gpu), (NETWORK, self.network)] {
            if is_needed {
                tag[byte] |= flag;
            }
        }
        tag
    }

    /// Nothing is needed.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// What of this `offered` does not have.
    pub fn without(self, offered: Self) -> Self {
        Self { gpu: self.gpu && !offered.gpu, network: self.network && !offered.network }
    }

    /// Either's.
    pub fn and(self, other: Self) -> Self {
        Self { gpu: self.gpu || other.gpu, network: self.network || other.network }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.gpu, self.network) {
            (false, false) => "nothing else",
            (true, false) => "a GPU",
            (false, true) => "the network",
            (true, true) => "a GPU and the network",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_is_needed_and_back() {
        for gpu in [false, true] {
            for network in [false, true] {
                let needs = Needs { gpu, network };
                assert_eq!(Needs::of_tag(needs.tag()), needs);
                assert_eq!(needs.tag().is_zero(), needs.is_none());
            }
        }
        // iExec's: `gpu` is 0x100; an enclave (0x1, with a framework in 0xe) is none of these.
        let iexec: B256 = "0x0000000000000000000000000000000000000000000000000000000000000100".parse().unwrap();
        assert_eq!(Needs::of_tag(iexec), Needs { gpu: true, network: false });
        assert!(Needs::of_tag(B256::with_last_byte(0xf)).is_none());
    }

    #[test]
    fn what_is_missing_is_what_is_not_offered() {
        let (gpu, both) = (Needs { gpu: true, network: false }, Needs { gpu: true, network: true });
        assert_eq!(both.without(gpu), Needs { gpu: false, network: true });
        assert!(gpu.without(both).is_none() && Needs::NONE.without(Needs::NONE).is_none());
        assert_eq!(gpu.and(Needs { gpu: false, network: true }), both);
        assert_eq!(both.to_string(), "a GPU and the network");
    }
}
