//! The hub's rules as an executable machine.
//!
//! It writes its books directly, as the contracts write their storage, and says what happened in the same events. What it
//! leaves to the contracts: signatures, registries, restrictions and tags of orders, enclaves, callbacks' gas.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use gristmill_types::category::REVEAL_DEADLINE_RATIO;
use gristmill_types::{Amount, ContributionStatus, DealId, OrderHash, TaskId, TaskStatus};

use crate::books::{Account, Books, Contribution, Deal, DealTerms, Task};
use crate::consensus::{self, CONTRIBUTORS_MAX, WeightOverflow};
use crate::event::HubEvent;

mod settlement;

/// The hub, without a chain. Every entry point either returns its events in order, or its revert and changes nothing.
#[derive(Clone, Debug)]
pub struct Model {
    books: Books,
    /// Seals of the contributions: what the events do not tell.
    seals: BTreeMap<(TaskId, Address), B256>,
    events: Vec<HubEvent>,
}

/// Orders that are to become a deal. Their signatures and restrictions are somebody else's concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// The app order.
    pub app: OrderUse,
    /// The dataset order; none without a dataset.
    pub dataset: Option<OrderUse>,
    /// The pool's order.
    pub workerpool: OrderUse,
    /// The request.
    pub request: OrderUse,
    /// What the orders say. `start_time`, `bot_first` and `bot_size` are the model's to set.
    pub terms: DealTerms,
}

/// An order, as far as matching counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderUse {
    /// The order.
    pub hash: OrderHash,
    /// For how many tasks it was signed.
    pub volume: u64,
}

/// Why the hub refuses. Named as the contracts name it; where PoCo has a string, it is that string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Revert {
    /// Free stake is below what is to be locked.
    #[error("IexecEscrow: Transfer amount exceeds balance")]
    BalanceExceeded,
    /// Free stake is below what is to be withdrawn or transferred.
    #[error("the stake {stake} of {account} is below {amount}")]
    InsufficientStake {
        /// Whose.
        account: Address,
        /// What is there.
        stake: Amount,
        /// What was asked for.
        amount: Amount,
    },
    /// The zero address, or the hub, was to receive stake.
    #[error("{0} cannot hold stake")]
    CannotHold(Address),
    /// More would be deposited than the hub can hold.
    #[error("the hub cannot hold that much")]
    SupplyCapExceeded,
    /// An order is used up.
    #[error("iExecV5-matchOrders-0x60")]
    NoVolume,
    /// A sum leaves its range.
    #[error("arithmetic overflow")]
    Overflow,
    /// The deal has no task of this index.
    #[error("deal {deal} has no task {index}")]
    IndexOutOfDeal {
        /// The deal.
        deal: DealId,
        /// The index.
        index: u64,
    },
    /// The task stands elsewhere.
    #[error("the task is {0:?}")]
    WrongTaskStatus(TaskStatus),
    /// Too late since then.
    #[error("the time for this is over since {0}")]
    DeadlinePassed(u64),
    /// Possible from then on.
    #[error("this is possible from {0} on")]
    TooEarly(u64),
    /// A worker contributes once.
    #[error("{0} has contributed already")]
    AlreadyContributed(Address),
    /// All places are taken.
    #[error("the task has {CONTRIBUTORS_MAX} contributors")]
    TooManyContributors,
    /// The task has a contributor.
    #[error("the task has a contributor already")]
    NotFirst,
    /// Only a task of trust 1 can be done alone.
    #[error("the trust is {0}, not 1")]
    TrustNotOne(u64),
    /// The pool did not authorise this worker.
    #[error("{0} is not authorised")]
    InvalidAuthorization(Address),
    /// The caller holds no unproven vote for the consensus.
    #[error("{0} holds no unproven vote for the consensus")]
    NotAHolder(Address),
    /// The digest does not open the commitment.
    #[error("the digest does not open the commitment")]
    DigestMismatch,
    /// The callback's bytes are not the preimage of the digest.
    #[error("the callback's bytes are not the preimage of the digest")]
    CallbackMismatch,
    /// Nobody has revealed.
    #[error("nobody has revealed")]
    NothingRevealed,
    /// Somebody has revealed.
    #[error("somebody has revealed")]
    AlreadyRevealed,
    /// Not the caller's to do.
    #[error("{0} may not do this")]
    NotAllowed(Address),
    /// Nobody lends to itself, to nobody, or to the hub.
    #[error("nothing can be lent to {0}")]
    CannotLend(Address),
    /// More than the hub can hold is to be lent.
    #[error("the hub cannot hold that much")]
    LimitTooLarge,
    /// There is no debt.
    #[error("{0} owes nothing")]
    NothingOwed(Address),
    /// A concession is announced, or effective, from then on.
    #[error("conceded from {0} on")]
    AlreadyConceded(u64),
}

impl From<WeightOverflow> for Revert {
    fn from(_: WeightOverflow) -> Self {
        Self::Overflow
    }
}

type Outcome = Result<Vec<HubEvent>, Revert>;

impl Model {
    /// A hub at this address that nobody has used.
    pub fn new(hub: Address) -> Self {
        Self { books: Books::new(hub), seals: BTreeMap::new(), events: Vec::new() }
    }

    /// What the hub knows.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Tokens come in, as free stake of `target`.
    pub fn deposit(&mut self, target: Address, amount: Amount) -> Outcome {
        if target == Address::ZERO || target == self.books.hub {
            return Err(Revert::CannotHold(target));
        }
        let supply = self.books.supply.checked_add(amount).filter(|supply| *supply <= crate::books::SUPPLY_MAX);
        self.books.supply = supply.ok_or(Revert::SupplyCapExceeded)?;
        self.credit(target, amount);
        self.emit(HubEvent::Transfer { from: Address::ZERO, to: target, value: amount });
        self.done()
    }

    /// Free stake of `sender` goes out as tokens.
    pub fn withdraw(&mut self, sender: Address, amount: Amount) -> Outcome {
        self.require_stake(sender, amount)?;
        self.debit(sender, amount);
        self.books.supply = self.books.supply.saturating_sub(amount);
        self.emit(HubEvent::Transfer { from: sender, to: Address::ZERO, value: amount });
        self.done()
    }

    /// Free stake of `sender` becomes that of `to`.
    pub fn transfer(&mut self, sender: Address, to: Address, amount: Amount) -> Outcome {
        if to == Address::ZERO || to == self.books.hub {
            return Err(Revert::CannotHold(to));
        }
        self.require_stake(sender, amount)?;
        self.shift(sender, to, amount);
        self.done()
    }

    /// `sender` lends `worker` stake for votes on tasks of its pools, `limit` at most; zero ends it.
    pub fn lend_stake(&mut self, sender: Address, worker: Address, limit: Amount) -> Outcome {
        if [Address::ZERO, sender, self.books.hub].contains(&worker) {
            return Err(Revert::CannotLend(worker));
        }
        if limit > crate::books::SUPPLY_MAX {
            return Err(Revert::LimitTooLarge);
        }
        self.books.set_loan_limit(sender, worker, limit);
        self.emit(HubEvent::LoanLimit { lender: sender, worker, limit });
        self.done()
    }

    /// `sender` pays what it owes, `amount` at most, from its free stake.
    pub fn repay_debt(&mut self, sender: Address, amount: Amount) -> Outcome {
        let debt = self.books.loans.get(&sender).map(|loan| loan.debt).unwrap_or_default();
        if debt.is_zero() {
            return Err(Revert::NothingOwed(sender));
        }
        self.require_stake(sender, amount.min(debt))?;
        self.repay(sender, amount);
        self.done()
    }

    /// Makes a deal of as many tasks as every order has left; `terms.sponsor` pays. Anybody may call.
    pub fn match_orders(&mut self, now: u64, matching: Matching) -> Result<(DealId, Vec<HubEvent>), Revert> {
        let Matching { app, dataset, workerpool, request, mut terms } = matching;
        let orders = [Some(app), dataset, Some(workerpool), Some(request)];
        let mut volume = u64::MAX;
        for order in orders.iter().flatten() {
            let left = order.volume.checked_sub(self.consumed(order.hash)).ok_or(Revert::Overflow)?;
            volume = volume.min(if self.books.closed.contains(&order.hash) { 0 } else { left });
        }
        if volume == 0 {
            return Err(Revert::NoVolume);
        }
        terms.start_time = now;
        terms.bot_first = self.consumed(request.hash);
        terms.bot_size = volume;
        let price = terms.price().and_then(|price| price.checked_mul(volume)).ok_or(Revert::Overflow)?;
        let stake = terms.pool_stake().and_then(|stake| stake.checked_mul(volume)).ok_or(Revert::Overflow)?;
        let (payer, owner) = (terms.sponsor, terms.workerpool.owner);
        self.require_lockable(payer, price)?;
        let needed = if payer == owner { price.checked_add(stake).ok_or(Revert::Overflow)? } else { stake };
        self.require_lockable(owner, needed)?;

        for order in orders.iter().flatten() {
            *self.books.consumed.entry(order.hash).or_default() += volume;
        }
        let deal = DealId::derive(request.hash, terms.bot_first);
        let hashes = orders.map(|order| order.map_or(OrderHash::default(), |order| order.hash));
        let pool = terms.workerpool.pointer;
        self.books.deals.insert(deal, Deal { terms, orders: hashes });
        self.lock(payer, price);
        self.lock(owner, stake);
        self.emit(HubEvent::SchedulerNotice { workerpool: pool, deal });
        let [app, dataset, workerpool, request] = hashes;
        self.emit(HubEvent::OrdersMatched { deal, app, dataset, workerpool, request, volume });
        Ok((deal, self.done()?))
    }

    /// Its owner wants nothing more to be made of an order. What deals took of it stays theirs.
    pub fn close_order(&mut self, order: OrderHash) -> Outcome {
        self.books.closed.insert(order);
        self.emit(HubEvent::OrderClosed { order });
        self.done()
    }

    /// Begins a task. Anybody, once.
    pub fn initialize(&mut self, deal: DealId, index: u64) -> Outcome {
        let terms = self.books.deals.get(&deal).map(|deal| &deal.terms);
        let terms = terms.filter(|terms| terms.indexes().contains(&index));
        let workerpool = terms.ok_or(Revert::IndexOutOfDeal { deal, index })?.workerpool.pointer;
        let task = deal.task(index);
        if let Some(task) = self.books.tasks.get(&task) {
            return Err(Revert::WrongTaskStatus(task.status));
        }
        self.books.tasks.insert(task, Task::new(deal, index));
        self.emit(HubEvent::TaskInitialize { task, workerpool });
        self.done()
    }

    /// A worker commits to a digest it keeps secret; `authorised`: the pool owner signed for it.
    pub fn contribute(
        &mut self,
        sender: Address,
        now: u64,
        id: TaskId,
        hash: B256,
        seal: B256,
        authorised: bool,
    ) -> Outcome {
        let (task, terms) = self.require_open(now, id)?;
        if task.contributions.contains_key(&sender) {
            return Err(Revert::AlreadyContributed(sender));
        }
        if task.contributors.len() == CONTRIBUTORS_MAX {
            return Err(Revert::TooManyContributors);
        }
        if !authorised {
            return Err(Revert::InvalidAuthorization(sender));
        }
        let weight = consensus::weight(self.books.score(sender));
        let mut tally = task.tally.clone();
        let lender = terms.workerpool.owner;
        let lent = self.is_lent(lender, sender, terms.worker_stake);
        self.require_lockable(if lent { lender } else { sender }, terms.worker_stake)?;
        tally.add(hash, weight)?;
        let reached = tally.reaches(hash, terms.trust)?;
        let (stake, window_s) = (terms.worker_stake, terms.work_clock_s.saturating_mul(REVEAL_DEADLINE_RATIO));

        let vote = Contribution { status: ContributionStatus::Contributed, hash, weight, lent };
        self.record(sender, id, vote, seal);
        self.lock(if lent { lender } else { sender }, stake);
        self.emit(HubEvent::TaskContribute { task: id, worker: sender, hash });
        if lent {
            self.borrow(sender, lender, stake);
            self.emit(HubEvent::StakeLent { task: id, worker: sender, lender, amount: stake });
        }
        let task = self.task_mut(id);
        task.tally = tally;
        if reached {
            task.agree(hash, now.saturating_add(window_s));
            self.emit(HubEvent::TaskConsensus { task: id, hash });
        }
        self.done()
    }

    /// A holder of the consensus opens its commitment.
    pub fn reveal(&mut self, sender: Address, now: u64, id: TaskId, digest: B256) -> Outcome {
        let (task, _) = self.require_status(id, TaskStatus::Revealing)?;
        if now >= task.reveal_deadline {
            return Err(Revert::DeadlinePassed(task.reveal_deadline));
        }
        let vote = task.contributions.get(&sender).filter(|vote| vote.status == ContributionStatus::Contributed);
        let vote = vote.filter(|vote| Some(vote.hash) == task.consensus).ok_or(Revert::NotAHolder(sender))?;
        let sealed = self.seals.get(&(id, sender)) == Some(&result_seal(sender, id, digest));
        if vote.hash != result_hash(id, digest) || !sealed {
            return Err(Revert::DigestMismatch);
        }
        self.task_mut(id).prove(sender, digest);
        self.emit(HubEvent::TaskReveal { task: id, worker: sender, digest });
        self.done()
    }

    /// Back to work after a window in which nobody revealed. Anybody.
    pub fn reopen(&mut self, now: u64, id: TaskId) -> Outcome {
        let (task, terms) = self.require_status(id, TaskStatus::Revealing)?;
        require_before(now, terms.final_deadline())?;
        if task.reveal_counter != 0 {
            return Err(Revert::AlreadyRevealed);
        }
        if now < task.reveal_deadline {
            return Err(Revert::TooEarly(task.reveal_deadline));
        }
        self.restart(id, Default::default())?;
        self.done()
    }

    /// Pays a task whose revealed holders alone carry its consensus; otherwise slashes the silent and reopens it.
    pub fn finalize(&mut self, sender: Address, now: u64, id: TaskId, results: Bytes, callback: &[u8]) -> Outcome {
        let (task, terms) = self.require_status(id, TaskStatus::Revealing)?;
        require_before(now, terms.final_deadline())?;
        require_finalizer(sender, now, task, terms)?;
        let recount = task.recount(terms.trust)?;
        if recount.carried {
            require_callback(terms, task.digest.unwrap_or_default(), callback)?;
            self.complete(id, recount, results);
        } else {
            let task = self.task_mut(id);
            task.recomputed = true;
            if let (Some(hash), Some(digest)) = (task.consensus, task.digest) {
                task.revealed.insert(hash, digest);
            }
            self.restart(id, recount.product)?;
        }
        self.done()
    }

    /// Commit, proof and payment in one: trust 1, first contributor. No stake, no score.
    pub fn contribute_and_finalize(
        &mut self,
        sender: Address,
        now: u64,
        id: TaskId,
        proof: SoloProof<'_>,
        authorised: bool,
    ) -> Outcome {
        let (task, terms) = self.require_open(now, id)?;
        if !task.contributors.is_empty() {
            return Err(Revert::NotFirst);
        }
        if terms.trust.value() != 1 {
            return Err(Revert::TrustNotOne(terms.trust.value()));
        }
        let SoloProof { digest, results, callback } = proof;
        require_callback(terms, digest, callback)?;
        if !authorised {
            return Err(Revert::InvalidAuthorization(sender));
        }
        let reveal_deadline = now.saturating_add(terms.work_clock_s.saturating_mul(REVEAL_DEADLINE_RATIO));
        let hash = result_hash(id, digest);
        let vote = Contribution { status: ContributionStatus::Contributed, hash, weight: 0, lent: false };
        self.record(sender, id, vote, result_seal(sender, id, digest));
        let task = self.task_mut(id);
        task.agree(hash, reveal_deadline);
        task.prove(sender, digest);
        self.complete_alone(sender, id, results);
        self.done()
    }

    /// Fails and refunds a task whose time is over. Anybody.
    pub fn claim(&mut self, now: u64, id: TaskId) -> Outcome {
        let task = self.books.tasks.get(&id).ok_or(Revert::WrongTaskStatus(TaskStatus::Unset))?;
        let active = task.status == TaskStatus::Active;
        if !active && task.status != TaskStatus::Revealing {
            return Err(Revert::WrongTaskStatus(task.status));
        }
        let terms = self.terms(task);
        let from = match task.conceded_at.filter(|_| active) {
            Some(conceded_at) => conceded_at,
            None if active && task.recomputed => terms.contribution_deadline(),
            None => terms.final_deadline(),
        };
        if now < from {
            return Err(Revert::TooEarly(from));
        }
        self.fail(id)?;
        self.done()
    }

    /// The pool owner gives a task up.
    pub fn concede(&mut self, sender: Address, now: u64, id: TaskId) -> Outcome {
        let task = self.books.tasks.get(&id).ok_or(Revert::NotAllowed(sender))?;
        let terms = self.terms(task);
        if sender != terms.workerpool.owner {
            return Err(Revert::NotAllowed(sender));
        }
        let (task, terms) = self.require_status(id, TaskStatus::Active)?;
        let deadline = terms.contribution_deadline();
        if now >= deadline {
            self.emit(HubEvent::TaskConcede { task: id, effective_at: now });
            self.fail(id)?;
            return self.done();
        }
        if !task.contributors.is_empty() {
            return Err(Revert::TooEarly(deadline));
        }
        if let Some(conceded_at) = task.conceded_at {
            return Err(Revert::AlreadyConceded(conceded_at));
        }
        let effective_at = now.saturating_add(terms.work_clock_s / 2);
        self.task_mut(id).conceded_at = Some(effective_at);
        self.emit(HubEvent::TaskConcede { task: id, effective_at });
        self.done()
    }

    fn consumed(&self, order: OrderHash) -> u64 {
        self.books.consumed.get(&order).copied().unwrap_or_default()
    }

    /// The terms of a task. Every task has a deal.
    fn terms(&self, task: &Task) -> &DealTerms {
        &self.books.deals.get(&task.deal).expect("a task is initialised of a deal that exists").terms
    }

    /// A task that was looked up before.
    fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.books.tasks.get_mut(&id).expect("the caller has seen that the task exists")
    }

    fn require_status(&self, id: TaskId, expected: TaskStatus) -> Result<(&Task, &DealTerms), Revert> {
        let task = self.books.tasks.get(&id).ok_or(Revert::WrongTaskStatus(TaskStatus::Unset))?;
        if task.status != expected {
            return Err(Revert::WrongTaskStatus(task.status));
        }
        Ok((task, self.terms(task)))
    }

    fn require_open(&self, now: u64, id: TaskId) -> Result<(&Task, &DealTerms), Revert> {
        let (task, terms) = self.require_status(id, TaskStatus::Active)?;
        require_before(now, terms.contribution_deadline())?;
        match task.conceded_at {
            Some(conceded_at) if now >= conceded_at => Err(Revert::AlreadyConceded(conceded_at)),
            _ => Ok((task, terms)),
        }
    }

    fn require_stake(&self, account: Address, amount: Amount) -> Result<(), Revert> {
        let Account { stake, .. } = self.books.account(account);
        if stake < amount { Err(Revert::InsufficientStake { account, stake, amount }) } else { Ok(()) }
    }

    fn require_lockable(&self, account: Address, amount: Amount) -> Result<(), Revert> {
        if self.books.account(account).stake < amount { Err(Revert::BalanceExceeded) } else { Ok(()) }
    }

    /// Whether the stake of a vote of `worker` is to be the lender's: the worker has too little of its own, the lender's
    /// limit covers it, and nobody else has lent to the worker.
    fn is_lent(&self, lender: Address, worker: Address, amount: Amount) -> bool {
        if self.books.account(worker).stake >= amount {
            return false;
        }
        let outstanding = match self.books.loans.get(&worker) {
            Some(loan) if loan.lender != lender => return false,
            Some(loan) => loan.locked.checked_add(loan.debt),
            None => Some(Amount::ZERO),
        };
        let needed = outstanding.and_then(|outstanding| outstanding.checked_add(amount));
        needed.is_some_and(|needed| needed <= self.books.loan_limit(lender, worker))
    }

    fn record(&mut self, sender: Address, id: TaskId, vote: Contribution, seal: B256) {
        let task = self.task_mut(id);
        task.contributors.push(sender);
        task.contributions.insert(sender, vote);
        // A vote that lands in time takes back an announced concession.
        task.conceded_at = None;
        self.seals.insert((id, sender), seal);
    }

    fn emit(&mut self, event: HubEvent) {
        self.events.push(event);
    }

    fn done(&mut self) -> Outcome {
        Ok(std::mem::take(&mut self.events))
    }
}

/// What a worker hands in to finish a task alone.
#[derive(Clone, Debug)]
pub struct SoloProof<'a> {
    /// The digest of its result.
    pub digest: B256,
    /// Where the result lies: a hint.
    pub results: Bytes,
    /// The callback's bytes; empty without a callback.
    pub callback: &'a [u8],
}

/// keccak256(task ++ digest): what a worker commits to.
pub fn result_hash(task: TaskId, digest: B256) -> B256 {
    let mut bytes = [0u8; 64];
    bytes[..32].copy_from_slice(task.as_bytes());
    bytes[32..].copy_from_slice(digest.as_slice());
    keccak256(bytes)
}

/// keccak256(worker ++ task ++ digest): what makes the commitment the worker's own.
pub fn result_seal(worker: Address, task: TaskId, digest: B256) -> B256 {
    let mut bytes = [0u8; 84];
    bytes[..20].copy_from_slice(worker.as_slice());
    bytes[20..52].copy_from_slice(task.as_bytes());
    bytes[52..].copy_from_slice(digest.as_slice());
    keccak256(bytes)
}

fn require_before(now: u64, deadline: u64) -> Result<(), Revert> {
    if now >= deadline { Err(Revert::DeadlinePassed(deadline)) } else { Ok(()) }
}

/// A callback gets the preimage of the digest; without one, none may be given unless it is that preimage.
fn require_callback(terms: &DealTerms, digest: B256, callback: &[u8]) -> Result<(), Revert> {
    let none_due = callback.is_empty() && terms.callback == Address::ZERO;
    if none_due || keccak256(callback) == digest { Ok(()) } else { Err(Revert::CallbackMismatch) }
}

/// The pool owner when all holders revealed, or one did and the window is over; a revealed holder T/2 later.
fn require_finalizer(sender: Address, now: u64, task: &Task, terms: &DealTerms) -> Result<(), Revert> {
    if task.reveal_counter == 0 {
        return Err(Revert::NothingRevealed);
    }
    let mut from = task.reveal_deadline;
    if sender == terms.workerpool.owner {
        if task.reveal_counter == task.winner_counter {
            return Ok(());
        }
    } else {
        let vote = task.contributions.get(&sender).filter(|vote| task.is_proved_holder(vote));
        vote.ok_or(Revert::NotAllowed(sender))?;
        from = from.saturating_add(terms.work_clock_s / 2);
    }
    if now >= from { Ok(()) } else { Err(Revert::TooEarly(from)) }
}

#[cfg(test)]
mod tests;
