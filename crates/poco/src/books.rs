//! What the hub knows: accounts, deals, tasks, scores, and how much of each order is used.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, address};
use gristmill_types::category::{CONTRIBUTION_DEADLINE_RATIO, FINAL_DEADLINE_RATIO};
use gristmill_types::{Amount, ContributionStatus, DealId, OrderHash, TaskId, TaskStatus, Trust};

use crate::consensus::{self, Tally, WeightOverflow};

/// The account whose locked balance is the kitty. Nobody holds its key.
pub const KITTY: Address = address!("99c2268479b93fDe36232351229815DF80837e23");
/// The part of its price that a pool stakes on each task, in percent.
pub const POOL_STAKE_PERCENT: u128 = 30;
/// The part of the kitty that a completed task draws, in percent.
pub const KITTY_PERCENT: u128 = 10;
/// The least draw, if the kitty holds it and the pool's price allows it.
pub const KITTY_DRAW_MIN: Amount = Amount::from_grist(1);
/// The hub holds no more than this: prices and stakes are stored in 96 bits.
pub const SUPPLY_MAX: Amount = Amount::from_ngrist((1 << 96) - 1);

/// The account whose locked balance is the pot of a task: stakes seized before the task has ended. The low 20 bytes of the
/// task's id.
pub fn pot_of(task: TaskId) -> Address {
    Address::from_slice(&task.as_bytes()[12..])
}

/// Everything the hub's rules depend on. Equal books behave equally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// The hub's own address: its stake is the sum of all locked amounts.
    pub hub: Address,
    /// Every account that ever had anything.
    pub accounts: BTreeMap<Address, Account>,
    /// The sum of all deposits less all withdrawals.
    pub supply: Amount,
    /// Every deal.
    pub deals: BTreeMap<DealId, Deal>,
    /// Every task that was initialised.
    pub tasks: BTreeMap<TaskId, Task>,
    /// The score of every worker that was ever judged.
    pub scores: BTreeMap<Address, u64>,
    /// How much of each order deals took.
    pub consumed: BTreeMap<OrderHash, u64>,
    /// The orders that their owners closed. The ledger counts all of them as used, whatever deals took.
    pub closed: BTreeSet<OrderHash>,
    /// How much of its stake a lender is ready to have locked for, or owed by, a worker. None where it is zero.
    pub loan_limits: BTreeMap<(Address, Address), Amount>,
    /// What workers have of others' stake, or owe. None for those who have and owe nothing.
    pub loans: BTreeMap<Address, Loan>,
}

/// What a worker has of a pool owner's stake, and owes it. A worker has one lender at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// Whose stake.
    pub lender: Address,
    /// Under lock, for votes of the worker.
    pub locked: Amount,
    /// Lost by the worker, and not yet repaid.
    pub debt: Amount,
}

/// An escrow account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Free.
    pub stake: Amount,
    /// Held by the hub for running deals.
    pub locked: Amount,
}

/// A deal: its terms, and of which orders it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Its terms.
    pub terms: DealTerms,
    /// App, dataset (zero if none), pool and request order.
    pub orders: [OrderHash; 4],
}

/// An asset of a deal, its owner when the deal was made, and its price for one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The asset; zero for no dataset.
    pub pointer: Address,
    /// Who is paid.
    pub owner: Address,
    /// For each task.
    pub price: Amount,
}

/// What `viewDeal` tells of a deal, and the T of its category.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DealTerms {
    /// The app.
    pub app: Resource,
    /// The dataset.
    pub dataset: Resource,
    /// The pool.
    pub workerpool: Resource,
    /// How sure the requester wants to be.
    pub trust: Trust,
    /// The category's index.
    pub category: u64,
    /// T of the category, in seconds.
    pub work_clock_s: u64,
    /// Tag bits.
    pub tag: B256,
    /// Who asked.
    pub requester: Address,
    /// Who gets the result.
    pub beneficiary: Address,
    /// Which contract is called back; zero for none.
    pub callback: Address,
    /// When the deal was made, in seconds since 1970.
    pub start_time: u64,
    /// Index of the first task.
    pub bot_first: u64,
    /// How many tasks.
    pub bot_size: u64,
    /// What each contribution locks.
    pub worker_stake: Amount,
    /// The pool owner's part of the workers' reward, in percent; 100 at most.
    pub scheduler_reward_percent: u64,
    /// Who pays: the requester unless the match was sponsored.
    pub sponsor: Address,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its deal.
    pub deal: DealId,
    /// Its index in the request.
    pub index: u64,
    /// Where it stands.
    pub status: TaskStatus,
    /// A finalize failed the rule over the revealed contributions.
    pub recomputed: bool,
    /// Who contributed, in order.
    pub contributors: Vec<Address>,
    /// What they contributed.
    pub contributions: BTreeMap<Address, Contribution>,
    /// Groups of the live contributions.
    pub tally: Tally,
    /// The accepted hash, while there is one.
    pub consensus: Option<B256>,
    /// The digest behind it, once revealed.
    pub digest: Option<B256>,
    /// Digests revealed in rounds that failed, by their hash.
    pub revealed: BTreeMap<B256, B256>,
    /// Holders may reveal until then; zero without consensus.
    pub reveal_deadline: u64,
    /// An announced concession takes effect then.
    pub conceded_at: Option<u64>,
    /// Where the result lies, once completed: a hint.
    pub results: Bytes,
    /// Live holders of the consensus when it came; zero while there is none. Not touched when the task ends.
    pub winner_counter: u64,
    /// Those of them that revealed.
    pub reveal_counter: u64,
}

/// A contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Where it stands.
    pub status: ContributionStatus,
    /// keccak256(task ++ digest).
    pub hash: B256,
    /// The exact weight; zero for a task done by `contributeAndFinalize`, which nobody weighed.
    pub weight: u64,
    /// Its stake is the pool owner's.
    pub lent: bool,
}

/// The consensus as its PROVED holders alone see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recount {
    /// Product of their exact weights; zero if there are none.
    pub product: U256,
    /// Sum of the logarithms by which rewards are shared.
    pub shares: u64,
    /// Others whose own stake is still locked.
    pub losers: u64,
    /// Whether they carry the consensus when the silent holders leave both sides of the rule.
    pub carried: bool,
}

impl Books {
    /// Of a hub nobody has used.
    pub fn new(hub: Address) -> Self {
        Self {
            hub,
            accounts: BTreeMap::new(),
            supply: Amount::ZERO,
            deals: BTreeMap::new(),
            tasks: BTreeMap::new(),
            scores: BTreeMap::new(),
            consumed: BTreeMap::new(),
            closed: BTreeSet::new(),
            loan_limits: BTreeMap::new(),
            loans: BTreeMap::new(),
        }
    }

    /// An account; empty if it never had anything.
    pub fn account(&self, owner: Address) -> Account {
        self.accounts.get(&owner).copied().unwrap_or_default()
    }

    /// How much of its stake `lender` is ready to have locked for, or owed by, `worker`.
    pub fn loan_limit(&self, lender: Address, worker: Address) -> Amount {
        self.loan_limits.get(&(lender, worker)).copied().unwrap_or_default()
    }

    /// A worker's score; zero if it was never judged.
    pub fn score(&self, worker: Address) -> u64 {
        self.scores.get(&worker).copied().unwrap_or_default()
    }

    /// The terms of a task's deal, if both are known.
    pub fn terms_of(&self, task: TaskId) -> Option<&DealTerms> {
        self.deals.get(&self.tasks.get(&task)?.deal).map(|deal| &deal.terms)
    }

    pub(crate) fn set_loan_limit(&mut self, lender: Address, worker: Address, limit: Amount) {
        if limit.is_zero() {
            self.loan_limits.remove(&(lender, worker));
        } else {
            self.loan_limits.insert((lender, worker), limit);
        }
    }

    /// Changes a worker's loan; one that is used up is forgotten. The error is what `change` found wrong.
    pub(crate) fn change_loan<E>(
        &mut self,
        worker: Address,
        lender: Address,
        change: impl FnOnce(&mut Loan) -> Result<(), E>,
    ) -> Result<(), E> {
        let fresh = Loan { lender, locked: Amount::ZERO, debt: Amount::ZERO };
        let loan = self.loans.entry(worker).or_insert(fresh);
        change(loan)?;
        if loan.locked.is_zero() && loan.debt.is_zero() {
            self.loans.remove(&worker);
        }
        Ok(())
    }

    /// Changes an account. Empty ones are forgotten, so that books which behave equally are equal. The error is what `change` found
    /// wrong.
    pub(crate) fn change_account<E>(
        &mut self,
        owner: Address,
        change: impl FnOnce(&mut Account) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.accounts.entry(owner) {
            Entry::Occupied(mut known) => {
                change(known.get_mut())?;
                if *known.get() == Account::default() {
                    known.remove();
                }
            }
            Entry::Vacant(vacant) => {
                let mut account = Account::default();
                change(&mut account)?;
                if account != Account::default() {
                    vacant.insert(account);
                }
            }
        }
        Ok(())
    }
}

impl DealTerms {
    /// What the payer pays for one task, or `None` past [`Amount::MAX`].
    pub fn price(&self) -> Option<Amount> {
        self.app.price.checked_add(self.dataset.price)?.checked_add(self.workerpool.price)
    }

    /// What the pool stakes on one task: 30 % of its price, rounded down. `None` past [`Amount::MAX`].
    pub fn pool_stake(&self) -> Option<Amount> {
        self.workerpool.price.checked_ratio(POOL_STAKE_PERCENT, 100)
    }

    /// No contribution from then on.
    pub fn contribution_deadline(&self) -> u64 {
        self.start_time.saturating_add(self.work_clock_s.saturating_mul(CONTRIBUTION_DEADLINE_RATIO))
    }

    /// Claimable from then on.
    pub fn final_deadline(&self) -> u64 {
        self.start_time.saturating_add(self.work_clock_s.saturating_mul(FINAL_DEADLINE_RATIO))
    }

    /// The indexes of its tasks.
    pub fn indexes(&self) -> std::ops::Range<u64> {
        self.bot_first..self.bot_first.saturating_add(self.bot_size)
    }
}

impl Task {
    pub(crate) fn new(deal: DealId, index: u64) -> Self {
        Self {
            deal,
            index,
            status: TaskStatus::Active,
            recomputed: false,
            contributors: Vec::new(),
            contributions: BTreeMap::new(),
            tally: Tally::new(),
            consensus: None,
            digest: None,
            revealed: BTreeMap::new(),
            reveal_deadline: 0,
            conceded_at: None,
            results: Bytes::new(),
            winner_counter: 0,
            reveal_counter: 0,
        }
    }

    /// Consensus on `hash`: its live holders may reveal, and those that did in an earlier round count again.
    pub(crate) fn agree(&mut self, hash: B256, reveal_deadline: u64) {
        let count = |status: ContributionStatus| {
            self.contributions.values().filter(|vote| vote.hash == hash && vote.status == status).count() as u64
        };
        let proved = count(ContributionStatus::Proved);
        self.winner_counter = proved + count(ContributionStatus::Contributed);
        self.reveal_counter = proved;
        self.status = TaskStatus::Revealing;
        self.consensus = Some(hash);
        self.reveal_deadline = reveal_deadline;
        // A hash that was proved in an earlier round comes back with the digest it was proved with.
        if proved > 0 {
            self.digest = self.revealed.get(&hash).copied();
        }
    }

    /// A holder opened its commitment.
    pub(crate) fn prove(&mut self, worker: Address, digest: B256) {
        self.digest = Some(digest);
        self.reveal_counter += 1;
        if let Some(vote) = self.contributions.get_mut(&worker) {
            vote.status = ContributionStatus::Proved;
        }
    }

    /// Contributions in the order they came.
    pub fn votes(&self) -> impl Iterator<Item = (Address, &Contribution)> {
        self.contributors.iter().filter_map(|worker| self.contributions.get(worker).map(|vote| (*worker, vote)))
    }

    /// Whether this contribution revealed the accepted digest.
    pub fn is_proved_holder(&self, vote: &Contribution) -> bool {
        vote.status == ContributionStatus::Proved && Some(vote.hash) == self.consensus
    }

    /// The rule over the proved holders alone.
    pub fn recount(&self, trust: Trust) -> Result<Recount, WeightOverflow> {
        let consensus = self.consensus.unwrap_or_default();
        let proved = || self.votes().filter(|(_, vote)| self.is_proved_holder(vote)).map(|(_, vote)| vote.weight);
        let product = consensus::product(proved())?.unwrap_or_default();
        let total = self.tally.total() - self.tally.group(consensus);
        let total = total.checked_add(product).ok_or(WeightOverflow)?;
        Ok(Recount {
            product,
            shares: proved().map(|weight| u64::from(consensus::log2_weight(weight))).sum(),
            losers: self
                .votes()
                .filter(|(_, vote)| !self.is_proved_holder(vote) && vote.status != ContributionStatus::Rejected)
                .filter(|(_, vote)| !vote.lent)
                .count() as u64,
            carried: consensus::reaches(product, total, trust)?,
        })
    }

    /// Back to work after a round that failed; `product` is what the proved holders leave of the group.
    pub(crate) fn restart(&mut self, product: U256) -> Result<(), WeightOverflow> {
        if let Some(hash) = self.consensus.take() {
            self.tally.set_group(hash, Some(product))?;
        }
        self.status = TaskStatus::Active;
        self.digest = None;
        self.reveal_deadline = 0;
        self.winner_counter = 0;
        self.reveal_counter = 0;
        Ok(())
    }
}
