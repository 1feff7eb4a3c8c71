//! Rebuild the hub's books from its events.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use gristmill_types::category::REVEAL_DEADLINE_RATIO;
use gristmill_types::{Amount, ContributionStatus, DealId, OrderHash, TaskId, TaskStatus};

use crate::books::{Account, Books, Contribution, Deal, DealTerms, Loan, Task};
use crate::consensus::{self, WeightOverflow};
use crate::event::{HubEvent, Logged};

/// The most tasks a deal may have to be replayed: their ids are computed one by one.
pub const DEAL_TASKS_MAX: u64 = 1_000_000;

/// The hub's books as its events tell them, and each task's money in order.
///
/// Feed it every event of the hub from its first block, in order. The terms of a deal are not in its events: look them up
/// with `viewDeal` when [`HubEvent::OrdersMatched`] comes and hand them to [`Replay::add_deal`] first.
#[derive(Clone, Debug)]
pub struct Replay {
    books: Books,
    terms: BTreeMap<DealId, DealTerms>,
    /// Which task of which deal an id is.
    indexes: BTreeMap<TaskId, (DealId, u64)>,
    money: BTreeMap<TaskId, Vec<MoneyLine>>,
    position: Option<(u64, u64)>,
    timestamp: u64,
}

/// A payment or a seizure that names a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyLine {
    /// Paid, or taken.
    pub kind: MoneyKind,
    /// Who.
    pub owner: Address,
    /// How much.
    pub amount: Amount,
    /// The worker to which the owner had lent this stake, if it was lost by it; so too of its payment into the kitty.
    pub lent_to: Option<Address>,
}

/// Which way money went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyKind {
    /// `Reward`: paid to the owner.
    Reward,
    /// `Seize`: taken from what the owner had locked.
    Seize,
}

/// Events that no hub of ours could have written. `position` is block and log index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Older than, or the same as, the one before.
    #[error("event {position:?} does not follow {last:?}: feed events in order, each once")]
    OutOfOrder {
        /// Where.
        position: (u64, u64),
        /// The one before.
        last: (u64, u64),
    },
    /// The terms of a deal are missing.
    #[error("the terms of deal {0} are missing: add them before its OrdersMatched")]
    UnknownDeal(DealId),
    /// The deal is larger than a replay handles.
    #[error("deal {deal} has {tasks} tasks, more than {DEAL_TASKS_MAX}")]
    DealTooLarge {
        /// The deal.
        deal: DealId,
        /// Its tasks.
        tasks: u64,
    },
    /// A task that no deal has, or that was not initialised.
    #[error("task {0} is not of any deal, or was not initialised")]
    UnknownTask(TaskId),
    /// A contribution of somebody who did not contribute.
    #[error("{worker} did not contribute to task {task}")]
    UnknownContribution {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
    },
    /// A balance would fall below zero or leave the range.
    #[error("a balance of {account} leaves its range at {position:?}")]
    Balance {
        /// Whose.
        account: Address,
        /// Where.
        position: (u64, u64),
    },
    /// A loan would leave its range, or have two lenders.
    #[error("the loan of {worker} is not what the event at {position:?} says")]
    Loan {
        /// Whose.
        worker: Address,
        /// Where.
        position: (u64, u64),
    },
    /// A deal was made of an order after its owner had closed it.
    #[error("deal {deal} is of order {order}, which was closed before")]
    Closed {
        /// The order.
        order: OrderHash,
        /// The deal.
        deal: DealId,
    },
    /// The groups of a task overflow, which the hub refuses.
    #[error("task {0}: {WeightOverflow}")]
    Overflow(TaskId),
}

impl Replay {
    /// Of the hub at this address, before its first event.
    pub fn new(hub: Address) -> Self {
        Self {
            books: Books::new(hub),
            terms: BTreeMap::new(),
            indexes: BTreeMap::new(),
            money: BTreeMap::new(),
            position: None,
            timestamp: 0,
        }
    }

    /// The books as of the last event.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The payments and seizures of a task, in order.
    pub fn money(&self, task: TaskId) -> &[MoneyLine] {
        self.money.get(&task).map_or(&[], Vec::as_slice)
    }

    /// The tasks for which money moved.
    pub fn tasks_with_money(&self) -> impl Iterator<Item = TaskId> {
        self.money.keys().copied()
    }

    /// The time of the last event's block, in seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Block and log index of the last event.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.position
    }

    /// The terms of a deal whose OrdersMatched is about to come.
    pub fn add_deal(&mut self, deal: DealId, terms: DealTerms) {
        self.terms.insert(deal, terms);
    }

    /// Takes the next event.
    pub fn apply(&mut self, logged: Logged) -> Result<(), ReplayError> {
        let position = (logged.block, logged.log_index);
        if let Some(last) = self.position.filter(|last| *last >= position) {
            return Err(ReplayError::OutOfOrder { position, last });
        }
        self.position = Some(position);
        self.timestamp = logged.timestamp;
        match logged.event {
            HubEvent::Transfer { .. }
            | HubEvent::Lock { .. }
            | HubEvent::Unlock { .. }
            | HubEvent::Reward { .. }
            | HubEvent::Seize { .. } => {
                self.apply_money(logged.event).map_err(|account| ReplayError::Balance { account, position })
            }
            HubEvent::LoanLimit { .. }
            | HubEvent::StakeLent { .. }
            | HubEvent::StakeReturned { .. }
            | HubEvent::StakeLost { .. }
            | HubEvent::DebtRepaid { .. } => self.apply_loan(logged.event, position),
            event => self.apply_life(event),
        }
    }

    /// On an error, the account whose balance would leave its range.
    fn apply_money(&mut self, event: HubEvent) -> Result<(), Address> {
        match event {
            HubEvent::Transfer { from, to, value } => self.transfer(from, to, value)?,
            HubEvent::Lock { owner, amount } => {
                self.change_account(owner, |account| {
                    account.locked = account.locked.checked_add(amount)?;
                    Some(())
                })?;
            }
            HubEvent::Unlock { owner, amount } => self.release(owner, amount)?,
            HubEvent::Reward { owner, amount, task } => {
                let line = MoneyLine { kind: MoneyKind::Reward, owner, amount, lent_to: None };
                self.money.entry(task).or_default().push(line);
            }
            HubEvent::Seize { owner, amount, task } => {
                self.release(owner, amount)?;
                let line = MoneyLine { kind: MoneyKind::Seize, owner, amount, lent_to: None };
                self.money.entry(task).or_default().push(line);
            }
            _ => {}
        }
        Ok(())
    }

    fn transfer(&mut self, from: Address, to: Address, value: Amount) -> Result<(), Address> {
        if from == Address::ZERO {
            self.books.supply = self.books.supply.checked_add(value).ok_or(from)?;
        } else {
            self.change_account(from, |account| {
                account.stake = account.stake.checked_sub(value)?;
                Some(())
            })?;
        }
        if to == Address::ZERO {
            self.books.supply = self.books.supply.checked_sub(value).ok_or(to)?;
        } else {
            self.change_account(to, |account| {
                account.stake = account.stake.checked_add(value)?;
                Some(())
            })?;
        }
        Ok(())
    }

    /// `change` says `None` for an amount out of range.
    fn change_account(
        &mut self,
        owner: Address,
        change: impl FnOnce(&mut Account) -> Option<()>,
    ) -> Result<(), Address> {
        self.books.change_account(owner, |account| change(account).ok_or(owner))
    }

    fn release(&mut self, owner: Address, amount: Amount) -> Result<(), Address> {
        self.change_account(owner, |account| {
            account.locked = account.locked.checked_sub(amount)?;
            Some(())
        })
    }

    /// What is lent and owed. The stakes themselves move by the events of money that go with these.
    fn apply_loan(&mut self, event: HubEvent, position: (u64, u64)) -> Result<(), ReplayError> {
        match event {
            HubEvent::LoanLimit { lender, worker, limit } => self.books.set_loan_limit(lender, worker, limit),
            HubEvent::StakeLent { task, worker, lender, amount } => {
                self.vote(task, worker)?.lent = true;
                self.change_loan(worker, lender, position, |loan| {
                    loan.locked = loan.locked.checked_add(amount)?;
                    Some(())
                })?;
            }
            HubEvent::StakeReturned { worker, lender, amount, .. } => {
                self.change_loan(worker, lender, position, |loan| {
                    loan.locked = loan.locked.checked_sub(amount)?;
                    Some(())
                })?;
            }
            HubEvent::StakeLost { task, worker, lender, amount } => {
                self.change_loan(worker, lender, position, |loan| {
                    loan.locked = loan.locked.checked_sub(amount)?;
                    loan.debt = loan.debt.checked_add(amount)?;
                    Some(())
                })?;
                // The seizure and its payment into the kitty were the two lines before.
                let lines = self.money.entry(task).or_default();
                let first = lines.len().saturating_sub(2);
                for line in &mut lines[first..] {
                    line.lent_to = Some(worker);
                }
            }
            HubEvent::DebtRepaid { worker, lender, amount } => {
                self.change_loan(worker, lender, position, |loan| {
                    loan.debt = loan.debt.checked_sub(amount)?;
                    Some(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// `change` says `None` for an amount out of range; a loan has one lender.
    fn change_loan(
        &mut self,
        worker: Address,
        lender: Address,
        position: (u64, u64),
        change: impl FnOnce(&mut Loan) -> Option<()>,
    ) -> Result<(), ReplayError> {
        let wrong = ReplayError::Loan { worker, position };
        self.books.change_loan(worker, lender, |loan| {
            if loan.lender != lender {
                return Err(wrong.clone());
            }
            change(loan).ok_or(wrong)
        })
    }

    fn apply_life(&mut self, event: HubEvent) -> Result<(), ReplayError> {
        match event {
            HubEvent::OrdersMatched { deal, app, dataset, workerpool, request, volume } => {
                self.matched(deal, [app, dataset, workerpool, request], volume)
            }
            HubEvent::OrderClosed { order } => {
                self.books.closed.insert(order);
                Ok(())
            }
            HubEvent::TaskInitialize { task, .. } => {
                let (deal, index) = self.indexes.get(&task).copied().ok_or(ReplayError::UnknownTask(task))?;
                self.books.tasks.insert(task, Task::new(deal, index));
                Ok(())
            }
            HubEvent::TaskContribute { task, worker, hash } => self.contributed(task, worker, hash),
            HubEvent::TaskConsensus { task, hash } => self.agreed(task, hash),
            HubEvent::TaskReveal { task, worker, digest } => {
                self.vote(task, worker)?;
                self.task(task)?.prove(worker, digest);
                Ok(())
            }
            HubEvent::TaskReopen { task } => self.reopened(task),
            HubEvent::TaskFinalize { task, results } => {
                let task = self.task(task)?;
                task.status = TaskStatus::Completed;
                task.results = results;
                Ok(())
            }
            HubEvent::TaskClaimed { task } => {
                self.task(task)?.status = TaskStatus::Failed;
                Ok(())
            }
            HubEvent::TaskConcede { task, effective_at } => self.conceded(task, effective_at),
            HubEvent::AccurateContribution { worker, .. } => {
                *self.books.scores.entry(worker).or_default() += 1;
                Ok(())
            }
            HubEvent::FaultyContribution { worker, task } => {
                self.vote(task, worker)?.status = ContributionStatus::Rejected;
                let score = self.books.score(worker);
                self.books.scores.insert(worker, consensus::score_after_fault(score));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn matched(&mut self, id: DealId, orders: [OrderHash; 4], volume: u64) -> Result<(), ReplayError> {
        let terms = self.terms.remove(&id).ok_or(ReplayError::UnknownDeal(id))?;
        if terms.bot_size > DEAL_TASKS_MAX {
            return Err(ReplayError::DealTooLarge { deal: id, tasks: terms.bot_size });
        }
        for index in terms.indexes() {
            self.indexes.insert(id.task(index), (id, index));
        }
        if let Some(order) = orders.iter().find(|order| self.books.closed.contains(order)) {
            return Err(ReplayError::Closed { order: *order, deal: id });
        }
        for order in orders.iter().filter(|order| !order.0.is_zero()) {
            *self.books.consumed.entry(*order).or_default() += volume;
        }
        self.books.deals.insert(id, Deal { terms, orders });
        Ok(())
    }

    fn contributed(&mut self, id: TaskId, worker: Address, hash: B256) -> Result<(), ReplayError> {
        let solo = self.is_solo(id)?;
        let weight = if solo { 0 } else { consensus::weight(self.books.score(worker)) };
        let task = self.task(id)?;
        if !solo {
            task.tally.add(hash, weight).map_err(|WeightOverflow| ReplayError::Overflow(id))?;
        }
        task.contributors.push(worker);
        let vote = Contribution { status: ContributionStatus::Contributed, hash, weight, lent: false };
        task.contributions.insert(worker, vote);
        task.conceded_at = None;
        Ok(())
    }

    /// In `contributeAndFinalize` the payment comes before the contribution; in every other life it comes last.
    fn is_solo(&mut self, id: TaskId) -> Result<bool, ReplayError> {
        let untouched = self.task(id)?.contributors.is_empty();
        Ok(untouched && self.money.contains_key(&id))
    }

    fn agreed(&mut self, id: TaskId, hash: B256) -> Result<(), ReplayError> {
        let now = self.timestamp;
        let window =
            self.books.terms_of(id).map_or(0, |terms| terms.work_clock_s.saturating_mul(REVEAL_DEADLINE_RATIO));
        self.task(id)?.agree(hash, now.saturating_add(window));
        Ok(())
    }

    /// A reopening after reveals is a finalize that failed: the proved stay in their group.
    fn reopened(&mut self, id: TaskId) -> Result<(), ReplayError> {
        let task = self.task(id)?;
        let proved = task.votes().filter(|(_, vote)| task.is_proved_holder(vote)).map(|(_, vote)| vote.weight);
        let product = consensus::product(proved).map_err(|WeightOverflow| ReplayError::Overflow(id))?;
        if let (Some(hash), Some(digest), Some(_)) = (task.consensus, task.digest, product) {
            task.recomputed = true;
            task.revealed.insert(hash, digest);
        }
        task.restart(product.unwrap_or_default()).map_err(|WeightOverflow| ReplayError::Overflow(id))
    }

    /// Before the contribution deadline a concession is announced; after it, it is the end at once and nothing is left to
    /// remember.
    fn conceded(&mut self, id: TaskId, effective_at: u64) -> Result<(), ReplayError> {
        let announced = effective_at > self.timestamp
            || self.books.terms_of(id).is_some_and(|terms| self.timestamp < terms.contribution_deadline());
        let task = self.task(id)?;
        if announced {
            task.conceded_at = Some(effective_at);
        }
        Ok(())
    }

    fn task(&mut self, id: TaskId) -> Result<&mut Task, ReplayError> {
        self.books.tasks.get_mut(&id).ok_or(ReplayError::UnknownTask(id))
    }

    fn vote(&mut self, id: TaskId, worker: Address) -> Result<&mut Contribution, ReplayError> {
        let vote = self.task(id)?.contributions.get_mut(&worker);
        vote.ok_or(ReplayError::UnknownContribution { task: id, worker })
    }
}
