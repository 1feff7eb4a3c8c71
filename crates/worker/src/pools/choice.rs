//! Remember which pool was joined, since when, and which ones turned out to be nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use gristmill_datadir::{DataDir, FileError, write_atomic};
use gristmill_protocol::tls::PoolUrl;
use gristmill_types::Address;
use serde::{Deserialize, Serialize};

use super::rank::Row;
use crate::earnings::LedgerPlace;
use crate::error::WorkerError;
use crate::journal::Journal;
use crate::service::{DATA_VERSION, POOL_DATA_KIND, pool_folder_name};

/// The file in the data folder, beside the worker's key.
pub const CHOICE_FILE: &str = "pool.json";
const CHOICE_BYTES_MAX: u64 = 64 << 10;
/// A pool that was not connected for so long, in seconds, is gone: another is looked for.
pub const GONE_S: u64 = 600;
/// The same while results of its tasks are not settled: until the final deadline of the longest class is over (10 T of XL).
pub const GONE_WITH_WORK_S: u64 = 100 * 3_600;
/// How often it is noted on the disk that the pool is there, in seconds.
pub const NOTE_INTERVAL_S: u64 = 300;
/// A worker that has earned nothing at a pool to which it was connected for so long, in seconds, expects nothing of it.
pub const TRIAL_S: u64 = 86_400;
/// Such a pool, and one that has turned the worker away, is left alone for so long, in seconds.
pub const LEFT_S: u64 = 7 * 86_400;
/// Pools that are left alone, at most: the latest.
const LEFT_MAX: usize = 64;

/// The pool that was joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The ledger that it was found on.
    pub ledger: LedgerPlace,
    /// The pool; nothing once it was left.
    pub pool: Option<Joined>,
    /// Pools that are left alone, and until when in Unix seconds.
    #[serde(default)]
    pub left: BTreeMap<Address, u64>,
}

/// A pool, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Its workerpool on the ledger.
    pub workerpool: Address,
    /// Its name.
    pub name: String,
    /// Where it is dialled.
    pub url: String,
    /// When it was joined, in Unix seconds.
    pub since_unix_s: u64,
    /// When it was there last, in Unix seconds.
    pub seen_unix_s: u64,
    /// How long this worker was connected to it, in seconds.
    pub served_s: u64,
}

impl Choice {
    /// On this ledger nothing was chosen yet.
    pub fn new(ledger: LedgerPlace) -> Self {
        Self { ledger, pool: None, left: BTreeMap::new() }
    }

    /// What was chosen on this ledger, by a worker of this data folder. A file that cannot be read is one that is not there: it is looked
    /// again, which costs nothing but time.
    pub fn remembered(folder: &Path, ledger: &LedgerPlace) -> Self {
        let mut text = Vec::new();
        let file = std::fs::File::open(folder.join(CHOICE_FILE));
        let read = file.and_then(|file| file.take(CHOICE_BYTES_MAX).read_to_end(&mut text));
        let choice = read.ok().and_then(|_| serde_json::from_slice::<Self>(&text).ok());
        match choice.filter(|choice| choice.ledger.hub == ledger.hub) {
            Some(choice) => Self { ledger: ledger.clone(), ..choice },
            None => Self::new(ledger.clone()),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember(&self, folder: &Path) -> Result<(), FileError> {
        write_atomic(folder.join(CHOICE_FILE), &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o600)
    }

    /// Takes this pool. One that was there already keeps its time.
    pub fn take(&mut self, row: &Row, now: u64) {
        let (since_unix_s, served_s) = match &self.pool {
            Some(pool) if pool.workerpool == row.workerpool => (pool.since_unix_s, pool.served_s),
            _ => (now, 0),
        };
        self.pool = Some(Joined {
            workerpool: row.workerpool,
            name: row.name.clone(),
            url: row.url.clone(),
            since_unix_s,
            seen_unix_s: now,
            served_s,
        });
    }

    /// The worker is connected to its pool. True if that is worth noting on the disk: every [`NOTE_INTERVAL_S`].
    pub fn see(&mut self, now: u64) -> bool {
        let Some(pool) = &mut self.pool else { return false };
        let since_s = now.saturating_sub(pool.seen_unix_s);
        if since_s < NOTE_INTERVAL_S {
            return false;
        }
        // Longer than that nobody saw it: not all of it was spent with the pool.
        pool.served_s = pool.served_s.saturating_add(since_s.min(2 * NOTE_INTERVAL_S));
        pool.seen_unix_s = now;
        true
    }

    /// The pool is left alone for a while.
    pub fn leave(&mut self, workerpool: Address, now: u64) {
        self.left.retain(|_, until| *until > now);
        self.left.insert(workerpool, now.saturating_add(LEFT_S));
        while self.left.len() > LEFT_MAX {
            let first = self.left.iter().min_by_key(|(_, until)| **until).map(|(pool, _)| *pool);
            first.and_then(|pool| self.left.remove(&pool));
        }
    }

    /// The pools that are left alone now.
    pub fn left(&self, now: u64) -> impl Iterator<Item = Address> + '_ {
        self.left.iter().filter(move |(_, until)| **until > now).map(|(pool, _)| *pool)
    }

    /// Whether the pool was tried for [`TRIAL_S`] and has paid nothing in the window that the comparison looks at: then it is left. Own
    /// experience goes before what others are said to have been paid.
    pub fn judge(&mut self, rows: &[Row], now: u64) -> bool {
        let Some(pool) = &self.pool else { return false };
        let row = rows.iter().find(|row| row.workerpool == pool.workerpool);
        let paid_nothing = row.is_some_and(|row| row.paid_here.is_zero());
        let is_over = pool.served_s >= TRIAL_S && paid_nothing;
        if is_over {
            let workerpool = pool.workerpool;
            self.leave(workerpool, now);
        }
        is_over
    }
}

/// Results of this pool's tasks that were committed to and are not settled: the stake in them is lost if the worker goes. 0 if it was
/// never there.
///
/// # Errors
/// When the worker's folder cannot be read, or a worker runs in it.
pub fn unsettled(folder: &Path, url: &PoolUrl) -> Result<usize, WorkerError> {
    let folder: PathBuf = folder.join(pool_folder_name(url));
    if !folder.join("journal.redb").exists() {
        return Ok(0);
    }
    let dir = DataDir::open(&folder, POOL_DATA_KIND, DATA_VERSION)?;
    Ok(Journal::open(&dir.database("journal.redb")?)?.len())
}

#[cfg(test)]
mod tests {
    use gristmill_types::Amount;

    use super::*;

    fn place(number: u8) -> LedgerPlace {
        LedgerPlace { rpc: format!("http://127.0.0.1:{number}"), hub: Address::repeat_byte(number) }
    }

    fn row(number: u8, paid_here: u128) -> Row {
        Row {
            workerpool: Address::repeat_byte(number),
            owner: Address::ZERO,
            name: format!("pool {number}"),
            url: format!("grist://h:1/{:064x}", number),
            fee_percent: 1,
            stake_percent: 30,
            workers: None,
            slots: None,
            tasks_waiting: None,
            offers: Vec::new(),
            paid: Amount::ZERO,
            paid_per_task: None,
            paid_here: Amount::from_ngrist(paid_here),
            tasks_completed: 0,
            tasks_failed: 0,
            busy_per_hour: None,
            expected_per_day: Amount::ZERO,
            untried: true,
            objection: None,
        }
    }

    #[test]
    fn a_choice_is_remembered_for_its_hub() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Choice::remembered(folder.path(), &place(1)), Choice::new(place(1)));
        let mut choice = Choice::new(place(1));
        choice.take(&row(7, 0), 1_000);
        choice.leave(Address::repeat_byte(8), 1_000);
        choice.remember(folder.path()).unwrap();
        assert_eq!(Choice::remembered(folder.path(), &place(1)), choice);
        // Another server of the same ledger.
        let moved = LedgerPlace { rpc: "http://other".to_owned(), ..place(1) };
        assert_eq!(Choice::remembered(folder.path(), &moved), Choice { ledger: moved.clone(), ..choice.clone() });
        assert_eq!(Choice::remembered(folder.path(), &place(2)), Choice::new(place(2)));
        // A machine that was off for a day has not served.
        choice.see(100_000);
        choice.take(&row(7, 0), 200_000);
        let times = |choice: &Choice| {
            let pool = choice.pool.as_ref().unwrap();
            (pool.since_unix_s, pool.seen_unix_s, pool.served_s)
        };
        assert_eq!(times(&choice), (1_000, 200_000, 2 * NOTE_INTERVAL_S));
        choice.take(&row(6, 0), 200_000);
        assert_eq!(times(&choice), (200_000, 200_000, 0));
        std::fs::write(folder.path().join(CHOICE_FILE), "{").unwrap();
        assert_eq!(Choice::remembered(folder.path(), &place(1)), Choice::new(place(1)));
    }

    #[test]
    fn a_pool_that_pays_nothing_is_left_for_a_week() {
        let mut choice = Choice::new(place(1));
        choice.take(&row(7, 0), 0);
        let seen: Vec<bool> = (1..TRIAL_S).map(|now| choice.see(now)).collect();
        assert_eq!(seen.iter().filter(|noted| **noted).count() as u64, TRIAL_S / NOTE_INTERVAL_S - 1);
        assert!(!choice.judge(&[row(7, 0)], TRIAL_S));
        assert!(choice.see(TRIAL_S));
        assert!(!choice.judge(&[row(7, 1)], TRIAL_S) && !choice.judge(&[row(6, 0)], TRIAL_S));
        assert!(choice.judge(&[row(7, 0)], TRIAL_S));
        assert_eq!(choice.left(TRIAL_S + LEFT_S - 1).collect::<Vec<_>>(), [Address::repeat_byte(7)]);
        assert_eq!(choice.left(TRIAL_S + LEFT_S).count(), 0);
        for number in 0..=255 {
            choice.leave(Address::repeat_byte(number), TRIAL_S + u64::from(number));
        }
        assert_eq!(choice.left.len(), LEFT_MAX);
        assert!(choice.left.contains_key(&Address::repeat_byte(255)));
    }

    #[test]
    fn where_it_never_was_nothing_is_unsettled() {
        let folder = tempfile::tempdir().unwrap();
        let url: PoolUrl = row(7, 0).url.parse().unwrap();
        assert_eq!(unsettled(folder.path(), &url).unwrap(), 0);
        let pool = folder.path().join(pool_folder_name(&url));
        let dir = DataDir::open(&pool, POOL_DATA_KIND, DATA_VERSION).unwrap();
        Journal::open(&dir.database("journal.redb").unwrap()).unwrap();
        // While a worker holds it nobody counts.
        assert!(unsettled(folder.path(), &url).is_err());
        drop(dir);
        assert_eq!(unsettled(folder.path(), &url).unwrap(), 0);
    }
}
