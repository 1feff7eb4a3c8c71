//! What must always hold, I1 to I8, over a replay and what others say.
//!
//! Look only between transactions: in the middle of one, money is on its way.
//!
//! I9 (nothing left on a host) and I10 (kill -9 loses nothing) are about processes: the tests that run them check them,
//! and end with [`all`].

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{Address, B256};
use gristmill_types::{Amount, ContributionStatus, OrderHash, TaskId, TaskStatus};

use crate::bill::{self, Role};
use crate::books::{Account, Books, KITTY, Loan, pot_of};
use crate::replay::Replay;

/// Something that must always hold does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {text}")]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub text: String,
}

/// What must always hold, as the design numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Conservation.
    I1,
    /// The hub's own balance is the sum of all locks.
    I2,
    /// Every task ends.
    I3,
    /// Payments add up, each once.
    I4,
    /// What is accepted can be downloaded.
    I5,
    /// Nobody pays for a failed task; who revealed the accepted digest loses nothing.
    I6,
    /// No order is used past its volume.
    I7,
    /// Every view equals the replay.
    I8,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the ledger's views say at one block: the block of the replay's last event or a later one without events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerView {
    /// The block's time, in seconds since 1970.
    pub now: u64,
    /// `totalSupply` of the hub.
    pub supply: Amount,
    /// The token's `balanceOf` the hub.
    pub tokens: Amount,
    /// `viewAccount` of every account of the replay, the hub's and the kitty's included.
    pub accounts: BTreeMap<Address, Account>,
    /// `viewScore` of every worker of the replay.
    pub scores: BTreeMap<Address, u64>,
    /// `viewConsumed` of every order of the replay.
    pub consumed: BTreeMap<OrderHash, u64>,
    /// `viewLoan` of every worker of the replay that has something of another's, or owes it.
    pub loans: BTreeMap<Address, Loan>,
    /// `viewTask` of every task of the replay.
    pub tasks: BTreeMap<TaskId, TaskView>,
    /// For how many tasks an order was signed, of the orders somebody knows.
    pub volumes: BTreeMap<OrderHash, u64>,
}

/// What `viewTask` and `viewContribution` say of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// Where it stands.
    pub status: TaskStatus,
    /// The accepted hash, zero without one.
    pub consensus: B256,
    /// The digest, zero without one.
    pub digest: B256,
    /// Holders of the consensus, contributed or proved.
    pub winners: u64,
    /// Those that revealed.
    pub proved: u64,
    /// Who contributed, in order, and where each contribution stands.
    pub contributors: Vec<(Address, ContributionStatus)>,
}

/// What a store, an API or a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Who says it, for the message: "pool", "gateway".
    pub source: String,
    /// Where it says each task stands.
    pub statuses: BTreeMap<TaskId, TaskStatus>,
    /// Results it shows as accepted, with the digest to which the bytes it delivers hash; `None` if it delivers none.
    pub accepted: BTreeMap<TaskId, Option<B256>>,
}

type Verdict = Result<(), Violation>;

/// Every invariant that can be seen from here; the first that does not hold. `ended`: the network has come to rest, and
/// every task must have ended, deadlines or not.
pub fn all(replay: &Replay, view: &LedgerView, shown: &[Shown], ended: bool) -> Verdict {
    i1(replay, view)?;
    i2(replay)?;
    i3(replay, view.now, ended)?;
    i4(replay)?;
    i5(replay, shown)?;
    i6(replay)?;
    i7(replay, view)?;
    i8(replay, view, shown)
}

/// Conservation: the sum of all accounts, the hub's own included, is the supply, which its tokens cover.
pub fn i1(replay: &Replay, view: &LedgerView) -> Verdict {
    let books = replay.books();
    let sum = total(books.accounts.values().map(|account| account.stake));
    require(Invariant::I1, sum == Some(books.supply), || {
        format!("the accounts sum up to {sum:?}, the supply is {}", books.supply)
    })?;
    require(Invariant::I1, view.supply == books.supply, || {
        format!("the ledger's supply is {}, the replay's {}", view.supply, books.supply)
    })?;
    require(Invariant::I1, view.supply <= view.tokens, || {
        format!("the supply is {}, but the hub holds only {} in tokens", view.supply, view.tokens)
    })
}

/// The hub's own balance is the sum of all locks, and each lock has an owner: the open tasks explain every locked amount.
pub fn i2(replay: &Replay) -> Verdict {
    let books = replay.books();
    let own = books.account(books.hub).stake;
    let locks = total(books.accounts.values().map(|account| account.locked));
    require(Invariant::I2, locks == Some(own), || {
        format!("the locks sum up to {locks:?}, the hub's own balance is {own}")
    })?;
    let due =
        locks_due(replay).ok_or_else(|| violation(Invariant::I2, "the open tasks lock more than 2^128 nGRIST"))?;
    for owner in books.accounts.keys().chain(due.keys()) {
        let (got, expected) = (books.account(*owner).locked, due.get(owner).copied().unwrap_or_default());
        require(Invariant::I2, got == expected, || {
            format!("{owner} has {got} locked, but the open deals and tasks account for {expected}")
        })?;
    }
    let lent = lent_due(books).ok_or_else(|| violation(Invariant::I2, "the open tasks lend more than 2^128 nGRIST"))?;
    for worker in books.loans.keys().chain(lent.keys()) {
        let got = books.loans.get(worker).map(|loan| loan.locked).unwrap_or_default();
        let expected = lent.get(worker).copied().unwrap_or_default();
        require(Invariant::I2, got == expected, || {
            format!("{worker} has {got} of others' stake under lock, but its votes account for {expected}")
        })?;
    }
    Ok(())
}

/// Every task ends. `now`: none is open past its final deadline plus half a T for the claim; `ended`: none at all is open.
pub fn i3(replay: &Replay, now: u64, ended: bool) -> Verdict {
    for (deal, record) in &replay.books().deals {
        let deadline = record.terms.final_deadline().saturating_add(record.terms.work_clock_s / 2).saturating_add(1);
        for task in record.terms.indexes().map(|index| deal.task(index)) {
            let status = replay.books().tasks.get(&task).map_or(TaskStatus::Unset, |task| task.status);
            let late = now >= deadline;
            require(Invariant::I3, status.is_final() || !(ended || late), || {
                format!("task {task} is {status:?} at {now}; it should have ended by {deadline}")
            })?;
        }
    }
    Ok(())
}

/// A worker is paid for a task once at most; the payments of a task add up to its price, seized stakes and kitty share.
pub fn i4(replay: &Replay) -> Verdict {
    for id in replay.tasks_with_money() {
        let lines = bill::task_lines(replay, id).map_err(|error| violation(Invariant::I4, error))?;
        let mut paid_workers = Vec::new();
        for line in lines.iter().filter(|line| line.role == Role::Worker) {
            require(Invariant::I4, !paid_workers.contains(&line.account), || {
                format!("{} is paid twice for task {id}", line.account)
            })?;
            paid_workers.push(line.account);
        }
        let side = |pays: bool| {
            let counts = lines.iter().filter(|line| line.role.pays() == pays && line.role != Role::PotGives);
            total(counts.map(|line| line.amount)).unwrap_or(Amount::MAX)
        };
        let in_pot = replay.books().account(pot_of(id)).locked;
        let (got_in, went_out) = (side(true), side(false).checked_add(in_pot).unwrap_or(Amount::MAX));
        require(Invariant::I4, got_in == went_out, || format!("task {id}: {got_in} came in and {went_out} went out"))?;
        check_price(replay, id, &lines)?;
    }
    Ok(())
}

fn check_price(replay: &Replay, id: TaskId, lines: &[bill::BillLine]) -> Verdict {
    let books = replay.books();
    let (Some(task), Some(terms)) = (books.tasks.get(&id), books.terms_of(id)) else { return Ok(()) };
    let of = |role: Role| {
        total(lines.iter().filter(|line| line.role == role).map(|line| line.amount)).unwrap_or(Amount::MAX)
    };
    if task.status == TaskStatus::Completed {
        let price = terms.price().unwrap_or(Amount::MAX);
        for (role, due) in [(Role::Payer, price), (Role::App, terms.app.price), (Role::Dataset, terms.dataset.price)] {
            require(Invariant::I4, of(role) == due, || {
                format!("task {id}: {role:?} moved {} instead of {due}", of(role))
            })?;
        }
        require(Invariant::I4, of(Role::KittyGives) <= terms.workerpool.price, || {
            format!("task {id} drew {} from the kitty, more than its pool's price", of(Role::KittyGives))
        })?;
    }
    Ok(())
}

/// A result shown as accepted is of a completed task and has bytes that hash to the digest on the ledger.
pub fn i5(replay: &Replay, shown: &[Shown]) -> Verdict {
    for Shown { source, accepted, .. } in shown {
        for (id, delivered) in accepted {
            let task = replay.books().tasks.get(id);
            let digest = task.filter(|task| task.status == TaskStatus::Completed).and_then(|task| task.digest);
            require(Invariant::I5, digest.is_some(), || {
                format!("{source} shows task {id} as accepted, which the ledger has not completed")
            })?;
            require(Invariant::I5, *delivered == digest, || {
                format!(
                    "{source} shows task {id} as accepted; its bytes hash to {delivered:?}, the ledger has {digest:?}"
                )
            })?;
        }
    }
    Ok(())
}

/// Nobody pays for a failed task; who revealed the accepted digest of a task loses no stake.
pub fn i6(replay: &Replay) -> Verdict {
    for (id, task) in &replay.books().tasks {
        let lines = bill::task_lines(replay, *id).map_err(|error| violation(Invariant::I6, error))?;
        let paid = lines.iter().any(|line| line.role == Role::Payer);
        require(Invariant::I6, !paid || task.status == TaskStatus::Completed, || {
            format!("task {id} is {:?}, and its payer paid", task.status)
        })?;
        for (worker, _) in task.votes().filter(|(_, vote)| task.is_proved_holder(vote)) {
            let lent = replay.money(*id).iter().any(|line| line.lent_to == Some(worker));
            let lost = lent || lines.iter().any(|line| line.role == Role::SlashedWorker && line.account == worker);
            require(Invariant::I6, !lost, || format!("{worker} revealed the digest of task {id} and lost its stake"))?;
        }
    }
    Ok(())
}

/// No order is used past the volume for which it was signed, and what is used is what its deals took.
pub fn i7(replay: &Replay, view: &LedgerView) -> Verdict {
    let books = replay.books();
    let mut taken = BTreeMap::<OrderHash, u64>::new();
    for deal in books.deals.values() {
        for order in deal.orders.iter().filter(|order| !order.0.is_zero()) {
            *taken.entry(*order).or_default() += deal.terms.bot_size;
        }
    }
    require(Invariant::I7, taken == books.consumed, || {
        format!("deals took {taken:?} of their orders, of which {:?} is used", books.consumed)
    })?;
    for (order, volume) in &view.volumes {
        let used = books.consumed.get(order).copied().unwrap_or_default();
        require(Invariant::I7, used <= *volume, || {
            format!("{used} tasks were made of order {order}, signed for {volume}")
        })?;
    }
    Ok(())
}

/// The ledger's views, and every other view, equal the replay.
pub fn i8(replay: &Replay, view: &LedgerView, shown: &[Shown]) -> Verdict {
    let books = replay.books();
    for (owner, account) in &view.accounts {
        let expected = books.account(*owner);
        require(Invariant::I8, *account == expected, || {
            format!("the ledger has {account:?} for {owner}, the replay {expected:?}")
        })?;
    }
    for (worker, score) in &view.scores {
        let expected = books.score(*worker);
        require(Invariant::I8, *score == expected, || {
            format!("the ledger scores {worker} {score}, the replay {expected}")
        })?;
    }
    for (order, used) in &view.consumed {
        let expected = used_up(books, *order, view.volumes.get(order).copied());
        // A closed order counts as used to its volume, which not everybody knows.
        let closed = books.closed.contains(order) && !view.volumes.contains_key(order);
        require(Invariant::I8, *used == expected || closed && *used >= expected, || {
            format!("the ledger has used {used} of order {order}, the replay {expected}")
        })?;
    }
    for (worker, loan) in &view.loans {
        let expected = books.loans.get(worker);
        require(Invariant::I8, Some(loan) == expected, || {
            format!("the ledger has {loan:?} for {worker}, the replay {expected:?}")
        })?;
    }
    for (id, task) in &view.tasks {
        let expected = task_view(books, *id);
        require(Invariant::I8, expected.as_ref() == Some(task), || {
            format!("the ledger has {task:?} for task {id}, the replay {expected:?}")
        })?;
    }
    for Shown { source, statuses, .. } in shown {
        for (id, status) in statuses {
            let expected = books.tasks.get(id).map_or(TaskStatus::Unset, |task| task.status);
            require(Invariant::I8, *status == expected, || {
                format!("{source} shows task {id} as {status:?}, the ledger has {expected:?}")
            })?;
        }
    }
    Ok(())
}

/// What `viewConsumed` should say of an order that was signed for `volume` tasks: of a closed one whose volume nobody knows, the
/// least that it can say.
fn used_up(books: &Books, order: OrderHash, volume: Option<u64>) -> u64 {
    let taken = books.consumed.get(&order).copied().unwrap_or_default();
    volume.filter(|_| books.closed.contains(&order)).unwrap_or(taken)
}

/// What `viewTask` should say of a task; `None` if it was not initialised.
pub fn task_view(books: &Books, id: TaskId) -> Option<TaskView> {
    let task = books.tasks.get(&id)?;
    Some(TaskView {
        status: task.status,
        consensus: task.consensus.unwrap_or_default(),
        digest: task.digest.unwrap_or_default(),
        winners: task.winner_counter,
        proved: task.reveal_counter,
        contributors: task.votes().map(|(worker, vote)| (worker, vote.status)).collect(),
    })
}

impl LedgerView {
    /// What the ledger should say, were it these books: for tests of whoever has no ledger.
    pub fn of(books: &Books, now: u64, volumes: BTreeMap<OrderHash, u64>) -> Self {
        Self {
            now,
            supply: books.supply,
            tokens: books.supply,
            accounts: books.accounts.clone(),
            scores: books.scores.clone(),
            consumed: books
                .consumed
                .keys()
                .map(|order| (*order, used_up(books, *order, volumes.get(order).copied())))
                .collect(),
            loans: books.loans.clone(),
            tasks: books.tasks.keys().filter_map(|id| Some((*id, task_view(books, *id)?))).collect(),
            volumes,
        }
    }
}

/// What each account should have locked: payers and pools for tasks not ended, workers for live contributions to such
/// tasks, pots for what was seized of them, the kitty for what it was given less what it gave.
fn locks_due(replay: &Replay) -> Option<BTreeMap<Address, Amount>> {
    let books = replay.books();
    let mut due = BTreeMap::<Address, Amount>::new();
    let mut add = |owner: Address, amount: Amount| {
        let lock = due.entry(owner).or_default();
        *lock = lock.checked_add(amount)?;
        Some(())
    };
    for (deal, record) in &books.deals {
        let terms = &record.terms;
        for id in terms.indexes().map(|index| deal.task(index)) {
            let task = books.tasks.get(&id);
            if task.is_some_and(|task| task.status.is_final()) {
                continue;
            }
            add(terms.sponsor, terms.price()?)?;
            add(terms.workerpool.owner, terms.pool_stake()?)?;
            for (worker, vote) in task.into_iter().flat_map(|task| task.votes()) {
                let owner = match (vote.status == ContributionStatus::Rejected, vote.lent) {
                    // The kitty has it, which is counted below.
                    (true, true) => continue,
                    (true, false) => pot_of(id),
                    (false, true) => terms.workerpool.owner,
                    (false, false) => worker,
                };
                add(owner, terms.worker_stake)?;
            }
        }
    }
    let (mut given, mut taken) = (Amount::ZERO, Amount::ZERO);
    for id in replay.tasks_with_money() {
        for line in replay.money(id).iter().filter(|line| line.owner == KITTY) {
            let side = if line.kind == crate::replay::MoneyKind::Reward { &mut given } else { &mut taken };
            *side = side.checked_add(line.amount)?;
        }
    }
    add(KITTY, given.checked_sub(taken)?)?;
    Some(due)
}

/// What each worker should have of others' stake under lock: its live lent votes in tasks not ended.
fn lent_due(books: &Books) -> Option<BTreeMap<Address, Amount>> {
    let mut due = BTreeMap::<Address, Amount>::new();
    for (id, task) in books.tasks.iter().filter(|(_, task)| !task.status.is_final()) {
        let stake = books.terms_of(*id).map(|terms| terms.worker_stake).unwrap_or_default();
        let live = |vote: &crate::books::Contribution| vote.lent && vote.status != ContributionStatus::Rejected;
        for (worker, _) in task.votes().filter(|(_, vote)| live(vote)) {
            let lent = due.entry(worker).or_default();
            *lent = lent.checked_add(stake)?;
        }
    }
    Some(due)
}

fn total(amounts: impl Iterator<Item = Amount>) -> Option<Amount> {
    amounts.into_iter().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount))
}

fn require(invariant: Invariant, holds: bool, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(violation(invariant, text())) }
}

fn violation(invariant: Invariant, text: impl ToString) -> Violation {
    Violation { invariant, text: text.to_string() }
}
