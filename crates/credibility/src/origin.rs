//! Say who is behind a worker, as far as a pool can know: replicas of a task go to different ones.

use std::fmt;
use std::net::IpAddr;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Who is behind a worker. Two workers that share one of the three may be one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Whom its owner's account belongs to.
    pub owner: Address,
    /// From where it calls.
    pub range: AddressRange,
    /// Whose money is at stake: the lender of the stake, or the account that paid it in.
    pub stake_source: Address,
}

/// A range of Internet addresses that one customer is commonly given: /24 of IPv4, /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressRange {
    /// The first 24 bits.
    V4([u8; 3]),
    /// The first 48 bits.
    V6([u8; 6]),
    /// This host itself. Two who call from there need not be one: whoever comes through a tunnel or a proxy does.
    Local,
}

impl AddressRange {
    /// The range of an address. An IPv4 address written as IPv6 is one of IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Local,
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("this host"),
            Self::V4([a, b, c]) => write!(f, "{a}.{b}.{c}.0/24"),
            Self::V6([a, b, c, d, e, g]) => write!(f, "{a:02x}{b:02x}:{c:02x}{d:02x}:{e:02x}{g:02x}::/48"),
        }
    }
}

impl Origin {
    /// Of a worker on this host of which nothing else is known: it is its own owner and has paid its stake.
    pub fn of(worker: Address) -> Self {
        Self { owner: worker, range: AddressRange::Local, stake_source: worker }
    }

    /// The accounts behind it.
    pub(crate) fn accounts(&self) -> [Address; 2] {
        [self.owner, self.stake_source]
    }

    /// What two origins have in common, if anything. An account counts whichever part it plays.
    pub fn shared_with(&self, other: &Self) -> Option<Shared> {
        if self.owner == other.owner {
            Some(Shared::Owner)
        } else if self.accounts().iter().any(|account| other.accounts().contains(account)) {
            Some(Shared::StakeSource)
        } else if self.range == other.range && self.range != AddressRange::Local {
            Some(Shared::Range)
        } else {
            None
        }
    }
}

/// What two workers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Shared {
    /// One owner.
    Owner,
    /// One range of Internet addresses.
    Range,
    /// One source of the stake, or one's owner pays the other's.
    StakeSource,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Range => "range of addresses",
            Self::StakeSource => "source of stake",
        })
    }
}
