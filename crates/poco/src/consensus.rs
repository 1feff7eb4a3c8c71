//! Decide when contributions agree enough: weights, groups and the trust rule, in the hub's integer arithmetic.
//!
//! A contributor's weight is `w = max(score/3, 3) - 1`; a group is the product of the weights of those who hold one
//! hash, the total is one plus the sum of the groups, and a hash is accepted when `group * trust > total * (trust - 1)`:
//! its credibility `group/total` exceeds `1 - 1/trust` (Sarmenta's credibility-based voting, as PoCo writes it).
//!
//! ```
//! use alloy_primitives::B256;
//! use gristmill_poco::consensus::{Tally, weight};
//! use gristmill_types::Trust;
//! let mut tally = Tally::new();
//! let hash = B256::repeat_byte(1);
//! for _ in 0..3 {
//!     tally.add(hash, weight(0)).unwrap();
//! }
//! assert!(tally.reaches(hash, Trust::new(5)).unwrap());
//! ```

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};
use gristmill_types::Trust;

/// The most contributors a task may have; the hub refuses the next one, so that finalize always fits a block.
pub const CONTRIBUTORS_MAX: usize = 32;
/// The weight of a worker without history.
pub const NEWCOMER_WEIGHT: u64 = 2;
/// A score divided by this, with the same number as its floor, is a worker's weight plus one.
const SCORE_DIVISOR: u64 = 3;

/// A product of weights left the hub's 256 bits: the hub reverts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the weights of this task's contributors overflow 256 bits")]
pub struct WeightOverflow;

/// The exact weight of a contribution by a worker of this score: `max(score/3, 3) - 1`.
pub const fn weight(score: u64) -> u64 {
    let share = score / SCORE_DIVISOR;
    if share < SCORE_DIVISOR { NEWCOMER_WEIGHT } else { share - 1 }
}

/// The weight by which rewards are shared: the logarithm of the exact weight to base two, rounded down.
/// Zero for the impossible weight zero.
pub const fn log2_weight(weight: u64) -> u32 {
    match weight.checked_ilog2() {
        Some(log2) => log2,
        None => 0,
    }
}

/// The score after a rejected contribution: two thirds, rounded down.
pub const fn score_after_fault(score: u64) -> u64 {
    (score as u128 * 2 / 3) as u64
}

/// Whether `group` out of `total` is enough for `trust`: `group * trust > total * (trust - 1)`.
pub fn reaches(group: U256, total: U256, trust: Trust) -> Result<bool, WeightOverflow> {
    let trust = U256::from(trust.value());
    let for_it = group.checked_mul(trust).ok_or(WeightOverflow)?;
    let against = total.checked_mul(trust - U256::ONE).ok_or(WeightOverflow)?;
    Ok(for_it > against)
}

/// The product of exact weights; `None` of an empty list, which is no group at all.
pub fn product(weights: impl IntoIterator<Item = u64>) -> Result<Option<U256>, WeightOverflow> {
    let mut product = None;
    for weight in weights {
        let factor = product.unwrap_or(U256::ONE);
        product = Some(factor.checked_mul(U256::from(weight)).ok_or(WeightOverflow)?);
    }
    Ok(product)
}

/// The groups of one task and their total.
// INVARIANT: `total` is one plus the sum of `groups`, and no group is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    groups: BTreeMap<B256, U256>,
    total: U256,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Of a task without contributions.
    pub fn new() -> Self {
        Self { groups: BTreeMap::new(), total: U256::ONE }
    }

    /// One more contribution of exact weight `weight` to `hash`. On an error nothing has changed.
    pub fn add(&mut self, hash: B256, weight: u64) -> Result<(), WeightOverflow> {
        let group = self.group(hash).max(U256::ONE);
        let grown = group.checked_mul(U256::from(weight)).ok_or(WeightOverflow)?;
        self.set_group(hash, Some(grown))
    }

    /// Replaces the group of `hash`; `None` or zero removes it. On an error nothing has changed.
    pub fn set_group(&mut self, hash: B256, group: Option<U256>) -> Result<(), WeightOverflow> {
        let group = group.unwrap_or_default();
        let rest = self.total - self.group(hash);
        self.total = rest.checked_add(group).ok_or(WeightOverflow)?;
        if group.is_zero() {
            self.groups.remove(&hash);
        } else {
            self.groups.insert(hash, group);
        }
        Ok(())
    }

    /// The group of `hash`, zero if nobody holds it.
    pub fn group(&self, hash: B256) -> U256 {
        self.groups.get(&hash).copied().unwrap_or_default()
    }

    /// One plus the sum of all groups.
    pub fn total(&self) -> U256 {
        self.total
    }

    /// Every group, by hash.
    pub fn groups(&self) -> impl Iterator<Item = (B256, U256)> {
        self.groups.iter().map(|(hash, group)| (*hash, *group))
    }

    /// The heaviest group; of equal ones that of the smallest hash.
    pub fn leader(&self) -> Option<B256> {
        let heavier = |best: (B256, U256), next: (B256, U256)| if next.1 > best.1 { next } else { best };
        self.groups().reduce(heavier).map(|(hash, _)| hash)
    }

    /// Whether the group of `hash` is enough for `trust`. Never, for a hash that nobody holds.
    pub fn reaches(&self, hash: B256, trust: Trust) -> Result<bool, WeightOverflow> {
        let group = self.group(hash);
        Ok(!group.is_zero() && reaches(group, self.total, trust)?)
    }
}

#[cfg(test)]
mod tests;
