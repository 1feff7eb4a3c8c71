//! Add up what a worker has earned and lost, from the ledger alone.
//!
//! The hub says of each task whom it paid ([`HubEvent::Reward`]) and whose stake it took ([`HubEvent::Seize`]). Nothing is asked of the
//! pool, nor of the running worker, so it works while none runs; where the ledger is, the worker noted when it met its pool.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use gristmill_datadir::{FileError, write_atomic};
use gristmill_hub::{FollowError, Follower, FollowerConfig, GivenPosition, HubClient, HubError, HubEvent};
use gristmill_types::{Address, Amount, DealId, TaskId};
use serde::{Deserialize, Serialize};

/// The file in a worker's folder that says where its pool's ledger is.
pub const LEDGER_FILE: &str = "ledger.json";
const LEDGER_FILE_BYTES_MAX: u64 = 64 << 10;
/// Tasks or deals looked up in one request.
const LOOKUP_MAX: usize = 200;

/// Where a ledger is, and the hub on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerPlace {
    /// JSON-RPC address.
    pub rpc: String,
    /// The hub.
    pub hub: Address,
}

/// What was earned and lost in a day, for a pool, or with an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Paid by the hub, shares of seized stakes included.
    pub rewards: Amount,
    /// Stake that the hub took.
    pub seized: Amount,
    /// Tasks that were paid.
    pub tasks_paid: u64,
    /// Tasks that cost the stake.
    pub tasks_seized: u64,
}

/// What a worker has earned and lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Earnings {
    /// Its address.
    pub worker: Address,
    /// Free in its account: may be withdrawn or staked.
    pub free: Amount,
    /// Locked as stake for what is under way.
    pub locked: Amount,
    /// All together.
    pub total: Sum,
    /// By day of Greenwich, as `2026-11-27`, the first first.
    pub by_day: BTreeMap<String, Sum>,
    /// By pool.
    pub by_pool: BTreeMap<Address, Sum>,
    /// By app.
    pub by_app: BTreeMap<Address, Sum>,
    /// The last block that was read.
    pub block: u64,
}

/// Earnings could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EarningsError {
    /// The worker has never met a pool.
    #[error("{} is missing: the worker notes there where its ledger is, once it has met its pool; it never has", path.display())]
    NeverConnected {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be used.
    #[error("cannot use {}: remove it and start the worker once", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The ledger's events cannot be read.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Notes where the ledger is.
pub(crate) fn remember(folder: &Path, place: &LedgerPlace) -> Result<(), FileError> {
    write_atomic(folder.join(LEDGER_FILE), &serde_json::to_vec(place).unwrap_or_default(), 0o600)
}

/// Where the ledger of the worker in this folder is.
///
/// # Errors
/// [`EarningsError`] when it was never noted.
pub fn ledger_place(folder: &Path) -> Result<LedgerPlace, EarningsError> {
    let path = folder.join(LEDGER_FILE);
    let mut text = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LEDGER_FILE_BYTES_MAX).read_to_end(&mut text));
    match read.and_then(|_| serde_json::from_slice(&text).map_err(std::io::Error::from)) {
        Ok(place) => Ok(place),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(EarningsError::NeverConnected { path }),
        Err(source) => Err(EarningsError::Place { path, source }),
    }
}

/// What moved for a worker in one task at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Movement {
    task: TaskId,
    timestamp: u64,
    reward: Amount,
    seized: Amount,
}

/// Reads everything that the hub ever paid to `worker` or took from it. Takes as long as the ledger is: all events are looked at.
///
/// # Errors
/// [`EarningsError`].
pub async fn read(place: &LedgerPlace, worker: Address) -> Result<Earnings, EarningsError> {
    let hub = HubClient::connect(&place.rpc, place.hub).await?;
    let (movements, block) = movements(&hub, worker).await?;
    let mut tasks: Vec<TaskId> = movements.iter().map(|movement| movement.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let origins = origins(&hub, &tasks).await?;
    let account = hub.view_account(worker).await?;
    let mut earnings = Earnings {
        worker,
        free: account.stake,
        locked: account.locked,
        total: Sum::default(),
        by_day: BTreeMap::new(),
        by_pool: BTreeMap::new(),
        by_app: BTreeMap::new(),
        block,
    };
    for movement in &movements {
        earnings.add(movement, origins.get(&movement.task).copied());
    }
    Ok(earnings)
}

async fn movements(hub: &HubClient, worker: Address) -> Result<(Vec<Movement>, u64), EarningsError> {
    let mut follower = Follower::open(hub, GivenPosition(None), FollowerConfig::default()).await?;
    let mut movements = Vec::new();
    loop {
        let batch = follower.next().await?;
        for event in &batch.events {
            let (owner, task, reward, seized) = match event.event.as_hub() {
                Some(HubEvent::Reward { owner, amount, task }) => (*owner, *task, *amount, Amount::ZERO),
                Some(HubEvent::Seize { owner, amount, task }) => (*owner, *task, Amount::ZERO, *amount),
                _ => continue,
            };
            if owner == worker {
                movements.push(Movement { task, timestamp: event.timestamp, reward, seized });
            }
        }
        follower.commit(&batch)?;
        if batch.caught_up {
            return Ok((movements, batch.head.number));
        }
    }
}

/// Pool and app of each task.
async fn origins(hub: &HubClient, tasks: &[TaskId]) -> Result<BTreeMap<TaskId, (Address, Address)>, EarningsError> {
    let mut deal_of: BTreeMap<TaskId, DealId> = BTreeMap::new();
    for chunk in tasks.chunks(LOOKUP_MAX) {
        deal_of.extend(hub.view_tasks(chunk).await?.iter().map(|task| (task.id, task.deal)));
    }
    let mut deals: Vec<DealId> = deal_of.values().copied().collect();
    deals.sort_unstable();
    deals.dedup();
    let mut origin_of = BTreeMap::new();
    for chunk in deals.chunks(LOOKUP_MAX) {
        for deal in hub.view_deals(chunk).await?.into_iter().flatten() {
            origin_of.insert(deal.id, (deal.workerpool.address, deal.app.address));
        }
    }
    Ok(deal_of.into_iter().filter_map(|(task, deal)| Some((task, *origin_of.get(&deal)?))).collect())
}

impl Earnings {
    fn add(&mut self, movement: &Movement, origin: Option<(Address, Address)>) {
        self.total.add(movement);
        self.by_day.entry(day(movement.timestamp)).or_default().add(movement);
        if let Some((pool, app)) = origin {
            self.by_pool.entry(pool).or_default().add(movement);
            self.by_app.entry(app).or_default().add(movement);
        }
    }
}

impl Sum {
    fn add(&mut self, movement: &Movement) {
        // No ledger holds more than an amount can say.
        let sum = |sum: Amount, more| sum.checked_add(more).unwrap_or(Amount::MAX);
        self.rewards = sum(self.rewards, movement.reward);
        self.seized = sum(self.seized, movement.seized);
        self.tasks_paid += u64::from(movement.reward > Amount::ZERO);
        self.tasks_seized += u64::from(movement.seized > Amount::ZERO);
    }
}

/// The day of a time, in the Gregorian calendar.
fn day(unix_s: u64) -> String {
    const YEAR_MAX: u64 = 9_999;
    let mut days = unix_s / 86_400;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) && year < YEAR_MAX {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if days < length {
            return format!("{year}-{month:02}-{:02}", days + 1);
        }
        days -= length;
    }
    format!("{year}-12-31")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_603_200, "2024-12-31"),
            (1_795_608_000, "2026-11-25"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ];
        for (unix_s, expected) in cases {
            assert_eq!(day(unix_s), expected);
        }
        assert_eq!(day(u64::MAX), "9999-12-31");
    }

    #[test]
    fn movements_add_up_by_day_pool_and_app() {
        let (pool, app) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let zero = Amount::ZERO;
        let mut earnings = Earnings {
            worker: Address::repeat_byte(9),
            free: zero,
            locked: zero,
            total: Sum::default(),
            by_day: BTreeMap::new(),
            by_pool: BTreeMap::new(),
            by_app: BTreeMap::new(),
            block: 0,
        };
        let task = TaskId([7; 32].into());
        let paid = Movement { task, timestamp: 86_399, reward: Amount::from_ngrist(5), seized: zero };
        earnings.add(&paid, Some((pool, app)));
        earnings.add(&Movement { timestamp: 86_400, ..paid }, Some((pool, app)));
        earnings.add(&Movement { timestamp: 86_400, reward: zero, seized: Amount::from_ngrist(3), ..paid }, None);
        let sum = |rewards, seized, tasks_paid, tasks_seized| Sum {
            rewards: Amount::from_ngrist(rewards),
            seized: Amount::from_ngrist(seized),
            tasks_paid,
            tasks_seized,
        };
        assert_eq!(earnings.total, sum(10, 3, 2, 1));
        assert_eq!(earnings.by_day["1970-01-01"], sum(5, 0, 1, 0));
        assert_eq!(earnings.by_day["1970-01-02"], sum(5, 3, 1, 1));
        assert_eq!((earnings.by_pool[&pool], earnings.by_app[&app]), (sum(10, 0, 2, 0), sum(10, 0, 2, 0)));
    }

    #[test]
    fn a_worker_that_never_met_a_pool_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = ledger_place(folder.path()).unwrap_err();
        assert!(matches!(error, EarningsError::NeverConnected { .. }), "{error}");
        let place = LedgerPlace { rpc: "http://127.0.0.1:1".to_owned(), hub: Address::repeat_byte(3) };
        remember(folder.path(), &place).unwrap();
        assert_eq!(ledger_place(folder.path()).unwrap(), place);
        std::fs::write(folder.path().join(LEDGER_FILE), "{}").unwrap();
        assert!(matches!(ledger_place(folder.path()), Err(EarningsError::Place { .. })));
    }
}
