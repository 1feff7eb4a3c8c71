//! Add up what a pool did, for whom: from the ledger's events, and from the journal what the ledger does not know.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use gristmill_hub::{Deal, Event, Follower, FollowerConfig, GivenPosition, HubClient, HubEvent};
use gristmill_protocol::join::name_objection;
use gristmill_types::{Amount, DealId, TaskId};
use serde::{Deserialize, Serialize};

use crate::error::PoolError;
use crate::journal::Work;
use crate::members::Names;

/// Apps of which a report has names.
const APP_NAMES_MAX: usize = 200;
/// Deals looked up in one request.
const LOOKUP_MAX: usize = 200;
/// Rows of a report; what more there is stands in one row without an address.
pub const ROWS_MAX: usize = 10_000;

/// By what a report adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Who asked for the work.
    User,
    /// The app that was run.
    App,
    /// The worker that did it.
    Worker,
    /// The group of who asked for it.
    Group,
}

/// What was done for one requester, with one app, or by one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Tasks of the deals. Nothing by worker: a task is the work of several.
    pub tasks: Option<u64>,
    /// Of these: completed.
    pub completed: Option<u64>,
    /// Of these: failed and refunded.
    pub failed: Option<u64>,
    /// What the completed ones cost their requesters: the pool, the app and the data.
    pub cost: Option<Amount>,
    /// Leases that were given and have ended.
    pub leases: u64,
    /// Of these: without a result, since the worker said so or fell silent.
    pub failures: u64,
    /// How long the leases lasted, together, in milliseconds: a lease takes one core, or the GPU, of a worker.
    pub lease_ms: u64,
    /// Contributions on the ledger.
    pub results: u64,
    /// Of these: proven wrong.
    pub rejected: u64,
    /// Bytes of the uploads.
    pub bytes: u64,
    /// What the workers were paid.
    pub paid: Amount,
    /// Stake that the workers lost.
    pub seized: Amount,
}

/// Whose a line is: by name, by address, or by both; by neither for what is nobody's any more.
type Of = (Option<String>, Option<Address>);

/// A line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose, where that is one address; nothing for those that the ledger has forgotten, or past [`ROWS_MAX`].
    pub of: Option<Address>,
    /// What people call that: a member, a group, a member's worker, an app. By group, `none` is of members without a group, and what is
    /// of strangers has no name.
    #[serde(default)]
    pub name: Option<String>,
    /// What was done.
    #[serde(flatten)]
    pub sum: Sum,
}

/// What a pool did since its first deal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By what the rows are.
    pub by: By,
    /// The last block that was read.
    pub block: u64,
    /// Those without a name by address, then by name.
    pub rows: Vec<Row>,
    /// All together. Each column of the rows adds up to it, but for what a report by worker has nothing of.
    pub total: Sum,
}

/// Reads all of the hub's events, and adds up. Takes as long as the ledger is.
pub(crate) async fn read(
    hub: &HubClient,
    workerpool: Address,
    work: &BTreeMap<(TaskId, Address), Work>,
    by: By,
    names: &Names,
) -> Result<Report, PoolError> {
    let mut books = Books::default();
    let mut follower = Follower::open(hub, GivenPosition(None), FollowerConfig::default()).await?;
    let block = loop {
        let batch = follower.next().await?;
        for event in &batch.events {
            if let Event::Hub(event) = &event.event {
                books.take(event, workerpool);
            }
        }
        follower.commit(&batch)?;
        if batch.caught_up {
            break batch.head.number;
        }
    };
    for page in books.deals.clone().chunks(LOOKUP_MAX) {
        books.take_deals(hub.view_deals(page).await?.into_iter().flatten());
    }
    let apps = match by {
        By::App => app_names(hub, books.tasks.values().map(|origin| origin.app).collect()).await?,
        _ => BTreeMap::new(),
    };
    Ok(books.report(work, by, block, &Labels { names, apps }))
}

/// What apps are called on the ledger, of the first [`APP_NAMES_MAX`].
async fn app_names(hub: &HubClient, apps: BTreeSet<Address>) -> Result<BTreeMap<Address, String>, PoolError> {
    let mut names = BTreeMap::new();
    for app in apps.into_iter().take(APP_NAMES_MAX) {
        // Anybody may call an app anything: a name that would need quotes is left out.
        let name = hub.view_app(app).await?.map(|info| info.name).filter(|name| name_objection(name).is_none());
        names.extend(name.map(|name| (app, name)));
    }
    Ok(names)
}

/// What lines are called.
struct Labels<'a> {
    names: &'a Names,
    apps: BTreeMap<Address, String>,
}

impl Labels<'_> {
    fn requester(&self, by: By, requester: Address) -> Of {
        match (by, self.names.users.get(&requester)) {
            (By::Group, Some((_, group))) => (Some(group.clone().unwrap_or_else(|| "none".to_owned())), None),
            (By::Group, None) => (None, None),
            // One user may have several keys.
            (_, Some((user, _))) => (Some(user.clone()), None),
            (_, None) => (None, Some(requester)),
        }
    }

    fn app(&self, app: Address) -> Of {
        (self.apps.get(&app).cloned(), Some(app))
    }

    fn worker(&self, worker: Address) -> Of {
        (self.names.workers.get(&worker).cloned(), Some(worker))
    }
}

/// A task, as the report needs it.
#[derive(Clone, Copy, Debug)]
struct Origin {
    requester: Address,
    app: Address,
    price: Amount,
}

/// What a (task, worker) came to on the ledger.
#[derive(Clone, Copy, Debug, Default)]
struct Vote {
    contributed: u64,
    rejected: u64,
    revealed: bool,
    paid: Amount,
    seized: Amount,
}

/// What was read so far. Other pools' tasks are read too, since only a task's deal says whose it is; they fall out at the end.
#[derive(Debug, Default)]
struct Books {
    deals: Vec<DealId>,
    tasks: BTreeMap<TaskId, Origin>,
    /// Tasks of this pool by their initialisation, so that votes for others' are not kept.
    ours: BTreeSet<TaskId>,
    ended: BTreeMap<TaskId, bool>,
    votes: BTreeMap<(TaskId, Address), Vote>,
}

impl Books {
    fn take(&mut self, event: &HubEvent, pool: Address) {
        match event {
            HubEvent::SchedulerNotice { workerpool, deal } if *workerpool == pool => self.deals.push(*deal),
            HubEvent::TaskInitialize { task, workerpool } if *workerpool == pool => {
                self.ours.insert(*task);
            }
            HubEvent::TaskContribute { task, worker, .. } => self.vote(*task, *worker, |vote| vote.contributed += 1),
            HubEvent::FaultyContribution { task, worker } => self.vote(*task, *worker, |vote| vote.rejected += 1),
            HubEvent::TaskReveal { task, worker, .. } => self.vote(*task, *worker, |vote| vote.revealed = true),
            HubEvent::Reward { owner, amount, task } => {
                self.vote(*task, *owner, |vote| vote.paid = sum(vote.paid, *amount));
            }
            HubEvent::Seize { owner, amount, task } => {
                self.vote(*task, *owner, |vote| vote.seized = sum(vote.seized, *amount));
            }
            HubEvent::TaskFinalize { task, .. } => self.end(*task, true),
            HubEvent::TaskClaimed { task } => self.end(*task, false),
            _ => {}
        }
    }

    fn vote(&mut self, task: TaskId, worker: Address, change: impl FnOnce(&mut Vote)) {
        if self.ours.contains(&task) {
            change(self.votes.entry((task, worker)).or_default());
        }
    }

    fn end(&mut self, task: TaskId, completed: bool) {
        if self.ours.contains(&task) {
            self.ended.insert(task, completed);
        }
    }

    fn take_deals(&mut self, deals: impl Iterator<Item = Deal>) {
        for deal in deals {
            let price = deal.price().unwrap_or(Amount::MAX);
            let origin = Origin { requester: deal.requester, app: deal.app.address, price };
            self.tasks.extend(deal.tasks().map(|task| (task, origin)));
        }
    }

    fn report(self, work: &BTreeMap<(TaskId, Address), Work>, by: By, block: u64, labels: &Labels<'_>) -> Report {
        let mut rows: BTreeMap<Of, Sum> = BTreeMap::new();
        let mut total = Sum::default();
        let of_task = |task: &TaskId| match (by, self.tasks.get(task)) {
            (By::User | By::Group, Some(origin)) => labels.requester(by, origin.requester),
            (By::App, Some(origin)) => labels.app(origin.app),
            (By::Worker, _) | (_, None) => (None, None),
        };
        for (task, origin) in &self.tasks {
            let sum = Sum::of_task(origin, self.ended.get(task).copied());
            total.add(&sum);
            if by != By::Worker {
                rows.entry(of_task(task)).or_default().add(&sum);
            }
        }
        // Whom a task pays besides its workers owns the app, the data or the pool; the payer's price is seized too.
        let votes = self.votes.iter().filter(|(_, vote)| vote.contributed > 0);
        let votes = votes.map(|(at, vote)| (at, Sum::of_vote(vote)));
        for ((task, worker), sum) in votes.chain(work.iter().map(|(at, work)| (at, Sum::of_work(work)))) {
            let of = if by == By::Worker { labels.worker(*worker) } else { of_task(task) };
            total.add(&sum);
            rows.entry(of).or_default().add(&sum);
        }
        Report { by, block, rows: bounded(rows), total }
    }
}

/// At most [`ROWS_MAX`] rows; the last has what did not fit.
fn bounded(sums: BTreeMap<Of, Sum>) -> Vec<Row> {
    let (mut rows, mut rest) = (Vec::new(), Sum::default());
    let mut is_full = false;
    for (of, sum) in sums {
        match of {
            (name, of) if rows.len() < ROWS_MAX && (name.is_some() || of.is_some()) => rows.push(Row { of, name, sum }),
            _ => {
                rest.add(&sum);
                is_full = true;
            }
        }
    }
    if is_full {
        rows.push(Row { of: None, name: None, sum: rest });
    }
    rows
}

fn sum(one: Amount, more: Amount) -> Amount {
    // No ledger holds more than an amount can say.
    one.checked_add(more).unwrap_or(Amount::MAX)
}

impl Sum {
    fn of_task(origin: &Origin, completed: Option<bool>) -> Self {
        let is = |wanted| u64::from(completed == Some(wanted));
        let cost = if completed == Some(true) { origin.price } else { Amount::ZERO };
        Self { tasks: Some(1), completed: Some(is(true)), failed: Some(is(false)), cost: Some(cost), ..Self::default() }
    }

    fn of_vote(vote: &Vote) -> Self {
        let paid = if vote.revealed { vote.paid } else { Amount::ZERO };
        // What the hub takes from one who revealed well is the price of a task that it asked for itself.
        let is_well = vote.revealed && vote.rejected == 0;
        let seized = if is_well { Amount::ZERO } else { vote.seized };
        Self { results: vote.contributed, rejected: vote.rejected, paid, seized, ..Self::default() }
    }

    fn of_work(work: &Work) -> Self {
        Self {
            leases: work.leases,
            failures: work.failures,
            lease_ms: work.lease_ms,
            bytes: work.bytes,
            ..Self::default()
        }
    }

    /// Adds another to it.
    pub fn add(&mut self, other: &Self) {
        fn both<T>(one: Option<T>, two: Option<T>, sum: impl Fn(T, T) -> T) -> Option<T> {
            match (one, two) {
                (Some(one), Some(two)) => Some(sum(one, two)),
                (one, two) => one.or(two),
            }
        }
        let plus = |one: u64, two: u64| one.saturating_add(two);
        self.tasks = both(self.tasks, other.tasks, plus);
        self.completed = both(self.completed, other.completed, plus);
        self.failed = both(self.failed, other.failed, plus);
        self.cost = both(self.cost, other.cost, sum);
        self.leases = plus(self.leases, other.leases);
        self.failures = plus(self.failures, other.failures);
        self.lease_ms = plus(self.lease_ms, other.lease_ms);
        self.results = plus(self.results, other.results);
        self.rejected = plus(self.rejected, other.rejected);
        self.bytes = plus(self.bytes, other.bytes);
        self.paid = sum(self.paid, other.paid);
        self.seized = sum(self.seized, other.seized);
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Bytes};

    use super::*;

    const NGRIST: fn(u128) -> Amount = Amount::from_ngrist;

    fn address(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    fn task(number: u8) -> TaskId {
        TaskId(B256::repeat_byte(number))
    }

    /// Two requesters with an app each; task 1 is completed by two workers, task 2 failed, task 3 is another pool's.
    fn books() -> (Books, BTreeMap<(TaskId, Address), Work>) {
        let (pool, other) = (address(1), address(2));
        let mut books = Books::default();
        let contribute = |task, worker| HubEvent::TaskContribute { task, worker, hash: B256::ZERO };
        let reveal = |task, worker| HubEvent::TaskReveal { task, worker, digest: B256::ZERO };
        let reward = |task, owner, ngrist| HubEvent::Reward { owner, amount: NGRIST(ngrist), task };
        for event in [
            HubEvent::TaskInitialize { task: task(1), workerpool: pool },
            HubEvent::TaskInitialize { task: task(2), workerpool: pool },
            HubEvent::TaskInitialize { task: task(3), workerpool: other },
            contribute(task(1), address(11)),
            contribute(task(1), address(12)),
            contribute(task(2), address(11)),
            contribute(task(3), address(11)),
            reveal(task(1), address(11)),
            HubEvent::Seize { owner: address(21), amount: NGRIST(100), task: task(1) },
            reward(task(1), address(31), 20),
            reward(task(1), address(11), 60),
            HubEvent::FaultyContribution { task: task(1), worker: address(12) },
            HubEvent::Seize { owner: address(12), amount: NGRIST(30), task: task(1) },
            reward(task(1), address(1), 20),
            HubEvent::TaskFinalize { task: task(1), results: Bytes::new() },
            HubEvent::TaskClaimed { task: task(2) },
            HubEvent::TaskFinalize { task: task(3), results: Bytes::new() },
        ] {
            books.take(&event, pool);
        }
        for (number, requester) in [(1, 21), (2, 22)] {
            let origin = Origin { requester: address(requester), app: address(40 + number), price: NGRIST(100) };
            books.tasks.insert(task(number), origin);
        }
        let work = |leases, failures, lease_ms, bytes| Work { leases, failures, lease_ms, bytes };
        let work = BTreeMap::from([
            ((task(1), address(11)), work(1, 0, 1_000, 500)),
            ((task(1), address(12)), work(2, 1, 3_000, 600)),
            ((task(2), address(13)), work(1, 1, 7_000, 0)),
            // Of a deal that the ledger does not know (any more).
            ((task(9), address(13)), work(1, 0, 1, 1)),
        ]);
        (books, work)
    }

    #[test]
    fn every_column_adds_up_to_the_total() {
        let mut totals = Vec::new();
        for by in [By::User, By::App, By::Worker, By::Group] {
            let (books, work) = books();
            let report = books.report(&work, by, 7, &labels(&names()));
            let mut sum = Sum::default();
            report.rows.iter().for_each(|row| sum.add(&row.sum));
            if by == By::Worker {
                let total = report.total;
                (sum.tasks, sum.completed, sum.failed, sum.cost) =
                    (total.tasks, total.completed, total.failed, total.cost);
            }
            assert_eq!(sum, report.total, "{by:?}");
            totals.push(report.total);
        }
        assert!(totals.iter().all(|total| *total == totals[0]));
        let total = totals[0];
        assert_eq!((total.tasks, total.completed, total.failed), (Some(2), Some(1), Some(1)));
        assert_eq!((total.cost, total.paid, total.seized), (Some(NGRIST(100)), NGRIST(60), NGRIST(30)));
        assert_eq!((total.results, total.rejected), (3, 1));
        assert_eq!((total.leases, total.failures, total.lease_ms, total.bytes), (5, 2, 11_001, 1_101));
    }

    #[test]
    fn rows_are_those_of_requesters_and_of_workers() {
        let (books_of_users, work) = books();
        let report = books_of_users.report(&work, By::User, 7, &labels(&Names::default()));
        let of = |of: Option<u8>| report.rows.iter().find(|row| row.of == of.map(address)).unwrap().sum;
        assert_eq!((of(Some(21)).completed, of(Some(21)).paid, of(Some(21)).lease_ms), (Some(1), NGRIST(60), 4_000));
        assert_eq!((of(Some(22)).failed, of(Some(22)).cost, of(Some(22)).failures), (Some(1), Some(Amount::ZERO), 1));
        assert_eq!((of(None).tasks, of(None).lease_ms), (None, 1));
        let report = books().0.report(&work, By::Worker, 7, &labels(&Names::default()));
        let of = |number: u8| report.rows.iter().find(|row| row.of == Some(address(number))).unwrap().sum;
        assert_eq!((of(12).seized, of(12).rejected, of(12).leases, of(12).tasks), (NGRIST(30), 1, 2, None));
        assert_eq!((of(13).results, of(13).lease_ms), (0, 7_001));
    }

    fn labels(names: &Names) -> Labels<'_> {
        Labels { names, apps: BTreeMap::new() }
    }

    /// One user of the two, in a group, and one worker.
    fn names() -> Names {
        let users = [(address(21), ("alice".to_owned(), Some("chem".to_owned())))];
        Names { users: users.into(), workers: [(address(12), "pc-17".to_owned())].into() }
    }

    #[test]
    fn members_stand_in_a_report_by_name_and_strangers_by_address() {
        let names = names();
        let of = |by: By| -> Vec<(Option<String>, Option<Address>)> {
            let (books, work) = books();
            let report = books.report(&work, by, 7, &labels(&names));
            report.rows.into_iter().map(|row| (row.name, row.of)).collect()
        };
        let name = |name: &str| (Some(name.to_owned()), None);
        assert_eq!(of(By::User), [(None, Some(address(22))), name("alice"), (None, None)]);
        assert_eq!(of(By::Group), [name("chem"), (None, None)]);
        assert_eq!(of(By::Worker).last().unwrap(), &(Some("pc-17".to_owned()), Some(address(12))));
    }

    #[test]
    fn a_report_has_a_bound() {
        let one = Sum { leases: 1, ..Sum::default() };
        let address = |number: u64| (None, Some(Address::left_padding_from(&number.to_be_bytes())));
        let rows = bounded((0..ROWS_MAX as u64 + 5).map(|number| (address(number), one)).collect());
        assert_eq!((rows.len(), rows[ROWS_MAX].of, rows[ROWS_MAX].sum.leases), (ROWS_MAX + 1, None, 5));
    }
}
