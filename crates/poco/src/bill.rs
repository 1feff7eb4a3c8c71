//! Say what a job cost: who was paid what for what, whose stake went where, and whether it adds up.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use gristmill_types::{Amount, DealId, TaskId, TaskStatus};
use serde::Serialize;

use crate::books::{Books, DealTerms, KITTY, Task, pot_of};
use crate::replay::{MoneyKind, MoneyLine, Replay};

/// The bill of a job: one or more deals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// Every movement, task by task, in the order it happened.
    pub lines: Vec<BillLine>,
    /// What the payers paid: the price of every completed task.
    pub price: Amount,
    /// What the payers got back: the price of every failed task.
    pub refunded: Amount,
    /// What is still locked for tasks that have not ended.
    pub open: Amount,
    /// Stakes that votes lost: the workers' own, and what pools had lent them.
    pub slashed: Amount,
    /// Stakes taken from pools, into the kitty.
    pub forfeited: Amount,
    /// What the kitty gave.
    pub from_kitty: Amount,
    /// What the kitty got.
    pub to_kitty: Amount,
    /// What is still in pots of tasks that have not ended.
    pub in_pots: Amount,
    /// What owners of apps, datasets and pools, and workers, were paid.
    pub paid: Amount,
}

/// A movement of money for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BillLine {
    /// The task.
    pub task: TaskId,
    /// Who paid or was paid.
    pub account: Address,
    /// As what.
    pub role: Role,
    /// How much.
    pub amount: Amount,
}

/// As what somebody pays or is paid. The first four take money from an account, the kitty's both ways are told apart, the
/// others give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The payer of the deal, for a completed task.
    Payer,
    /// A worker whose contribution was rejected.
    SlashedWorker,
    /// The pool's owner, whose stake a worker had under a contribution that was rejected.
    SlashedLender,
    /// The pool, for a failed task.
    ForfeitedPool,
    /// The kitty's draw for a completed task.
    KittyGives,
    /// The pot of stakes seized before the task ended.
    PotGives,
    /// The app's owner.
    App,
    /// The dataset's owner.
    Dataset,
    /// The pool's owner, out of the kitty.
    PoolFromKitty,
    /// A worker that revealed the accepted result, or of a failed task, that revealed one.
    Worker,
    /// The pool's owner.
    Pool,
    /// The kitty.
    KittyGets,
}

impl Role {
    /// In words a bill can use.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Payer => "price",
            Self::SlashedWorker => "stake lost: wrong or never revealed",
            Self::SlashedLender => "stake lent to a worker, lost: wrong or never revealed",
            Self::ForfeitedPool => "pool's stake lost: the task failed",
            Self::KittyGives => "from the kitty",
            Self::PotGives => "from stakes seized in earlier rounds",
            Self::App => "app",
            Self::Dataset => "dataset",
            Self::PoolFromKitty => "pool, out of the kitty",
            Self::Worker => "work",
            Self::Pool => "pool",
            Self::KittyGets => "into the kitty",
        }
    }

    /// Money leaves the account (or the pot), rather than reaching it.
    pub fn pays(self) -> bool {
        use Role::{ForfeitedPool, KittyGives, Payer, PotGives, SlashedLender, SlashedWorker};
        matches!(self, Payer | SlashedWorker | SlashedLender | ForfeitedPool | KittyGives | PotGives)
    }
}

/// The money of a task is not what the rules make of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BillError {
    /// The deal is not on the ledger, as far as was replayed.
    #[error("deal {0} is not on the ledger")]
    UnknownDeal(DealId),
    /// A movement that no rule explains.
    #[error("task {task}: {account} {moved} {amount}, which no rule explains", moved = moved(*kind))]
    Unexplained {
        /// The task.
        task: TaskId,
        /// Whose.
        account: Address,
        /// Which way.
        kind: MoneyKind,
        /// How much.
        amount: Amount,
    },
    /// A movement that the rules demand and that is not there.
    #[error("task {task}: the movement of {role:?} is missing")]
    Missing {
        /// The task.
        task: TaskId,
        /// Which.
        role: Role,
    },
    /// The sides of the bill differ.
    #[error("{got_in} came in and {went_out} went out")]
    Unbalanced {
        /// Paid by payers, workers, pools and the kitty.
        got_in: Amount,
        /// Paid to owners, workers and the kitty, or waiting in pots.
        went_out: Amount,
    },
}

fn moved(kind: MoneyKind) -> &'static str {
    match kind {
        MoneyKind::Reward => "was paid",
        MoneyKind::Seize => "lost",
    }
}

/// The bill of these deals, or what does not add up.
pub fn bill(replay: &Replay, deals: &[DealId]) -> Result<Bill, BillError> {
    let books = replay.books();
    let mut bill = Bill {
        lines: Vec::new(),
        price: Amount::ZERO,
        refunded: Amount::ZERO,
        open: Amount::ZERO,
        slashed: Amount::ZERO,
        forfeited: Amount::ZERO,
        from_kitty: Amount::ZERO,
        to_kitty: Amount::ZERO,
        in_pots: Amount::ZERO,
        paid: Amount::ZERO,
    };
    for deal in deals.iter().collect::<BTreeSet<_>>() {
        let terms = &books.deals.get(deal).ok_or(BillError::UnknownDeal(*deal))?.terms;
        for index in terms.indexes() {
            add_task(&mut bill, replay, deal.task(index), terms)?;
        }
    }
    bill.check()?;
    Ok(bill)
}

/// The movements of one task with their roles, or what no rule explains. Empty for a task without money moved.
pub fn task_lines(replay: &Replay, id: TaskId) -> Result<Vec<BillLine>, BillError> {
    let books = replay.books();
    let money = replay.money(id);
    let (Some(task), Some(terms)) = (books.tasks.get(&id), books.terms_of(id)) else {
        return match money.first() {
            Some(line) => Err(unexplained(id, line)),
            None => Ok(Vec::new()),
        };
    };
    let mut reader = Reader { id, task, terms, lines: Vec::new(), rest: money };
    reader.read()?;
    match reader.rest.first() {
        Some(line) => Err(unexplained(id, line)),
        None => Ok(reader.lines),
    }
}

fn unexplained(task: TaskId, line: &MoneyLine) -> BillError {
    BillError::Unexplained { task, account: line.owner, kind: line.kind, amount: line.amount }
}

/// Reads a task's movements in the order in which the hub makes them, so that an account with two roles is told apart.
struct Reader<'a> {
    id: TaskId,
    task: &'a Task,
    terms: &'a DealTerms,
    lines: Vec<BillLine>,
    rest: &'a [MoneyLine],
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), BillError> {
        match self.task.status {
            TaskStatus::Completed => {
                self.read_slashed(|reader| {
                    reader.next_is(MoneyKind::Seize, reader.terms.sponsor, reader.terms.price())
                });
                self.read_completed()
            }
            TaskStatus::Failed => {
                let stake = self.terms.pool_stake();
                self.read_slashed(|reader| reader.next_is(MoneyKind::Seize, reader.terms.workerpool.owner, stake));
                self.read_failed()
            }
            _ => {
                self.read_slashed(|_| false);
                Ok(())
            }
        }
    }

    /// Stakes of rejected workers, until the settlement begins.
    // A worker that is the payer too and whose stake equals the price could be taken for the payer a line early; then a
    // movement is left over, and the bill is refused rather than wrong. Equal amounts of one account read either way.
    fn read_slashed(&mut self, begins: impl Fn(&Self) -> bool) {
        while !begins(self) && self.take_slashed() {}
    }

    fn take_slashed(&mut self) -> bool {
        let Some(line) = self.rest.first().filter(|line| line.kind == MoneyKind::Seize) else { return false };
        if let Some(worker) = line.lent_to {
            return self.take_lent(worker);
        }
        let slashed = self.task.contributions.contains_key(&line.owner) && line.amount == self.terms.worker_stake;
        if slashed {
            self.push(Role::SlashedWorker);
        }
        slashed
    }

    /// A lent stake that was lost, and its way into the kitty.
    fn take_lent(&mut self, worker: Address) -> bool {
        let lent = self.task.contributions.get(&worker).is_some_and(|vote| vote.lent);
        let [taken, given, ..] = self.rest else { return false };
        let explained = lent
            && (taken.owner, taken.amount) == (self.terms.workerpool.owner, self.terms.worker_stake)
            && (given.kind, given.owner, given.amount) == (MoneyKind::Reward, KITTY, taken.amount)
            && given.lent_to == Some(worker);
        if explained {
            self.push(Role::SlashedLender);
            self.push(Role::KittyGets);
        }
        explained
    }

    fn read_completed(&mut self) -> Result<(), BillError> {
        let terms = self.terms;
        self.expect(MoneyKind::Seize, terms.sponsor, Role::Payer)?;
        if !terms.app.price.is_zero() {
            self.expect(MoneyKind::Reward, terms.app.owner, Role::App)?;
        }
        if !terms.dataset.price.is_zero() {
            self.expect(MoneyKind::Reward, terms.dataset.owner, Role::Dataset)?;
        }
        if self.next_is(MoneyKind::Seize, KITTY, None) {
            self.push(Role::KittyGives);
            self.expect(MoneyKind::Reward, terms.workerpool.owner, Role::PoolFromKitty)?;
        }
        self.take_pot();
        for (worker, vote) in self.task.votes() {
            if self.task.is_proved_holder(vote) {
                while self.take_slashed() {}
                self.expect(MoneyKind::Reward, worker, Role::Worker)?;
            }
        }
        while self.take_slashed() {}
        self.expect(MoneyKind::Reward, terms.workerpool.owner, Role::Pool)
    }

    fn read_failed(&mut self) -> Result<(), BillError> {
        self.expect(MoneyKind::Seize, self.terms.workerpool.owner, Role::ForfeitedPool)?;
        self.expect(MoneyKind::Reward, KITTY, Role::KittyGets)?;
        self.take_pot();
        while self.take_slashed() {}
        while let Some(line) = self.rest.first() {
            let role = if line.owner == KITTY { Role::KittyGets } else { Role::Worker };
            if line.kind != MoneyKind::Reward || !(line.owner == KITTY || self.is_unpaid_prover(line.owner)) {
                break;
            }
            self.push(role);
        }
        Ok(())
    }

    fn is_unpaid_prover(&self, worker: Address) -> bool {
        let proved = self.task.contributions.get(&worker).is_some_and(|vote| match self.task.consensus {
            Some(_) => self.task.is_proved_holder(vote),
            None => vote.status == gristmill_types::ContributionStatus::Proved,
        });
        proved && !self.lines.iter().any(|line| line.role == Role::Worker && line.account == worker)
    }

    fn take_pot(&mut self) {
        if self.next_is(MoneyKind::Seize, pot_of(self.id), None) {
            self.push(Role::PotGives);
        }
    }

    fn next_is(&self, kind: MoneyKind, owner: Address, amount: Option<Amount>) -> bool {
        self.rest.first().is_some_and(|line| {
            let known = line.kind == kind && line.owner == owner && line.lent_to.is_none();
            known && amount.is_none_or(|amount| amount == line.amount)
        })
    }

    fn expect(&mut self, kind: MoneyKind, owner: Address, role: Role) -> Result<(), BillError> {
        if !self.next_is(kind, owner, None) {
            return Err(BillError::Missing { task: self.id, role });
        }
        self.push(role);
        Ok(())
    }

    fn push(&mut self, role: Role) {
        if let [line, rest @ ..] = self.rest {
            self.lines.push(BillLine { task: self.id, account: line.owner, role, amount: line.amount });
            self.rest = rest;
        }
    }
}

fn add_task(bill: &mut Bill, replay: &Replay, id: TaskId, terms: &DealTerms) -> Result<(), BillError> {
    let price = terms.price().unwrap_or_default();
    match replay.books().tasks.get(&id).map(|task| task.status) {
        Some(TaskStatus::Completed) => {}
        Some(TaskStatus::Failed) => bill.refunded = sum(bill.refunded, price),
        _ => bill.open = sum(bill.open, price),
    }
    for line in task_lines(replay, id)? {
        let total = match line.role {
            Role::Payer => &mut bill.price,
            Role::SlashedWorker | Role::SlashedLender => &mut bill.slashed,
            Role::ForfeitedPool => &mut bill.forfeited,
            Role::KittyGives => &mut bill.from_kitty,
            Role::KittyGets => &mut bill.to_kitty,
            // What a pot gives was counted when it was slashed.
            Role::PotGives => &mut bill.in_pots,
            Role::App | Role::Dataset | Role::PoolFromKitty | Role::Worker | Role::Pool => &mut bill.paid,
        };
        if line.role != Role::PotGives {
            *total = sum(*total, line.amount);
        }
        bill.lines.push(line);
    }
    bill.in_pots = sum(bill.in_pots, in_pot(replay.books(), id));
    Ok(())
}

fn in_pot(books: &Books, id: TaskId) -> Amount {
    books.account(pot_of(id)).locked
}

impl Bill {
    fn check(&self) -> Result<(), BillError> {
        let got_in = [self.price, self.slashed, self.forfeited, self.from_kitty].into_iter().fold(Amount::ZERO, sum);
        let went_out = [self.paid, self.to_kitty, self.in_pots].into_iter().fold(Amount::ZERO, sum);
        if got_in == went_out { Ok(()) } else { Err(BillError::Unbalanced { got_in, went_out }) }
    }

    /// What an account was paid less what it paid, as (paid to it, taken from it).
    pub fn of(&self, account: Address) -> (Amount, Amount) {
        let total = |pays: bool| {
            let lines = self.lines.iter().filter(|line| line.account == account && line.role.pays() == pays);
            lines.map(|line| line.amount).fold(Amount::ZERO, sum)
        };
        (total(false), total(true))
    }
}

/// Saturating: an amount past the range cannot come from a ledger whose supply is 96 bits, and then nothing adds up.
fn sum(left: Amount, right: Amount) -> Amount {
    left.checked_add(right).unwrap_or(Amount::MAX)
}
