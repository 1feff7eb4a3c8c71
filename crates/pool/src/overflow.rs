//! What a pool knows of the worker of its own process that has tasks run on a market.
//!
//! It is a worker like any other towards the ledger; the pool knows it by its address, which its operator's program gives to
//! [`crate::start`], never by what a worker says of itself. What it bought, and for how much, it writes on a [`OverflowBoard`].

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::Address;
use gristmill_types::{Amount, TaskId};
use serde::{Deserialize, Serialize};

/// What people call the worker that buys.
pub const MARKET: &str = "market";

/// Who has tasks run on a market for a pool.
#[derive(Clone, Debug)]
pub struct Overflow {
    /// The worker's address on the pool's ledger.
    pub worker: Address,
    /// What it says of what it does.
    pub board: OverflowBoard,
}

/// What is bought on a market, as the operator is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverflowStatus {
    /// Where: a network's folder, or its ledger.
    pub to: String,
    /// The account there that pays.
    pub account: Address,
    /// What a task may cost there, app and pool together.
    pub max_price: Amount,
    /// The least trust that is asked for there.
    pub trust: u64,
    /// A task that the pool's own machines are expected to have ended so long after it came is not bought, in seconds.
    pub after_s: u64,
    /// Tasks that are bought at a time.
    pub slots: u32,
    /// Bought, and not over there.
    pub under_way: u64,
    /// Whose results came from there.
    pub completed: u64,
    /// That the market gave back, with the money.
    pub failed: u64,
    /// What the completed ones cost.
    pub spent: Amount,
    /// What the account has for more, in the hub there and outside; nothing while the market was not reached.
    pub left: Option<Amount>,
    /// What keeps it from buying, if something does.
    pub trouble: Option<String>,
}

impl OverflowStatus {
    /// What the operator should look after.
    pub fn warnings(&self) -> Vec<String> {
        let poor = self.left.filter(|left| *left < self.max_price).map(|left| {
            format!(
                "the account {} has {left} on the market, less than a task may cost ({}): put more in, or nothing may be bought",
                self.account, self.max_price
            )
        });
        let trouble = self.trouble.as_ref().map(|trouble| format!("nothing is bought on the market: {trouble}"));
        poor.into_iter().chain(trouble).collect()
    }
}

#[derive(Debug, Default)]
struct Said {
    status: OverflowStatus,
    begun: BTreeSet<TaskId>,
}

/// Where the one who buys says what it does. Clones share one board.
#[derive(Clone, Debug, Default)]
pub struct OverflowBoard(Arc<RwLock<Said>>);

impl OverflowBoard {
    /// What was said last.
    pub fn status(&self) -> OverflowStatus {
        self.0.read().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// The pool's tasks for which an order stands on the market, or may, and those that it has done: not what it gave back.
    pub fn begun(&self) -> BTreeSet<TaskId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).begun.clone()
    }

    /// Says something else.
    pub fn say(&self, change: impl FnOnce(&mut OverflowStatus)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner).status);
    }

    /// Says which these are.
    pub fn set_begun(&self, begun: BTreeSet<TaskId>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).begun = begun;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_pay_for_one_more_is_told_in_time() {
        let board = OverflowBoard::default();
        board.say(|status| status.max_price = Amount::from_grist(2));
        assert!(board.status().warnings().is_empty(), "nobody has looked yet");
        board.say(|status| status.left = Some(Amount::from_grist(2)));
        assert!(board.status().warnings().is_empty());
        board.say(|status| status.left = Some(Amount::from_grist(1)));
        board.say(|status| status.trouble = Some("it is closed".to_owned()));
        let warnings = board.status().warnings();
        assert!(warnings[0].contains("1 GRIST") && warnings[1].contains("it is closed"), "{warnings:?}");
    }
}
