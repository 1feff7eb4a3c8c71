//! What a pool must know after a restart that the ledger does not tell: sealed uploads, opened results, bans, who worked how long.

mod members;

use std::collections::BTreeMap;
use std::time::Instant;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_credibility::Memory;
use gristmill_datadir::{Db, DbError, Table};
use gristmill_types::{ContentId, DealId, TaskId};
use serde::{Deserialize, Serialize};

use crate::metrics::Histogram;
use crate::run_time::{Changes, ItemTimes};

use members::spent_key;
pub use members::{SpentTable, day};

/// A sealed upload that the pool knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// keccak256(task ++ digest), as the worker said.
    pub result_hash: B256,
    /// Content id of the sealed pack.
    pub sealed: ContentId,
    /// Its length in bytes.
    pub sealed_size: u64,
    /// True if it came before the first reveal of the task.
    pub before_reveal: bool,
    /// What it held, once opened and checked.
    pub opened: Option<Opened>,
    /// How long the app ran for it, as the worker says, in microseconds; 0 if that says nothing.
    #[serde(default)]
    pub run_us: u64,
    /// For how many items.
    #[serde(default)]
    pub items: u64,
}

/// A result whose bytes were checked against the revealed digest and lie open in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Content id of the open pack.
    pub pack: ContentId,
    /// The digest's preimage, which a callback is handed.
    pub commitment: Bytes,
}

/// What a worker did for a task, as far as the pool knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Leases that have ended.
    pub leases: u64,
    /// Of these: without a result, since the worker said so or fell silent.
    pub failures: u64,
    /// How long they lasted, in milliseconds.
    pub lease_ms: u64,
    /// Length of its sealed upload in bytes; kept with the upload, not here.
    #[serde(skip)]
    pub bytes: u64,
}

impl Work {
    /// Adds what came later.
    pub fn add(&mut self, more: &Self) {
        self.leases = self.leases.saturating_add(more.leases);
        self.failures = self.failures.saturating_add(more.failures);
        self.lease_ms = self.lease_ms.saturating_add(more.lease_ms);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// What was done by (task, worker).
pub type WorkTable = BTreeMap<(TaskId, Address), Work>;

/// Reads who worked how long while the pool goes on. Clones share the database.
#[derive(Clone, Debug)]
pub struct WorkReader {
    work: Table,
    uploads: Table,
}

impl WorkReader {
    /// All that was ever written. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn read(&self) -> Result<WorkTable, DbError> {
        let mut all = WorkTable::new();
        for entry in self.work.iter()? {
            let (key, value) = entry?;
            all.extend(parse_key(&key).map(|key| Ok((key, self.work.parse_json(&value)?))).transpose()?);
        }
        for entry in self.uploads.iter()? {
            let (key, value) = entry?;
            let Some(key) = parse_key(&key) else { continue };
            let upload: Upload = self.uploads.parse_json(&value)?;
            all.entry(key).or_default().bytes = upload.sealed_size;
        }
        Ok(all)
    }
}

/// The pool's memory on the disk.
#[derive(Debug)]
pub struct Journal {
    db: Db,
    uploads: Table,
    bans: Table,
    work: Table,
    memories: Table,
    apps: Table,
    members: Table,
    spent: Table,
    verdicts: Table,
    /// How long writing takes.
    pub(crate) commits: Histogram,
    finished: Table,
    meta: Table,
    /// INVARIANT: holds exactly what the table `uploads` holds, of deals that are not finished.
    cache: BTreeMap<TaskId, BTreeMap<Address, Upload>>,
}

fn key(task: TaskId, worker: Address) -> [u8; 52] {
    let mut key = [0u8; 52];
    key[..32].copy_from_slice(task.as_bytes());
    key[32..].copy_from_slice(worker.as_slice());
    key
}

fn parse_key(key: &[u8]) -> Option<(TaskId, Address)> {
    (key.len() == 52).then(|| (TaskId(B256::from_slice(&key[..32])), Address::from_slice(&key[32..])))
}

impl Journal {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(db: Db) -> Result<Self, DbError> {
        let (uploads, bans) = (db.table("uploads"), db.table("bans"));
        let (finished, meta, work) = (db.table("finished-deals"), db.table("meta"), db.table("work"));
        let (verdicts, apps) = (db.table("verdicts"), db.table("apps"));
        let (memories, members, spent) = (db.table("memories"), db.table("members"), db.table("spent"));
        let mut cache: BTreeMap<TaskId, BTreeMap<Address, Upload>> = BTreeMap::new();
        for entry in uploads.iter()? {
            let (key, value) = entry?;
            if let Some((task, worker)) = parse_key(&key) {
                cache.entry(task).or_default().insert(worker, uploads.parse_json(&value)?);
            }
        }
        let commits = Histogram::default();
        Ok(Self { db, uploads, bans, work, memories, apps, members, spent, verdicts, commits, finished, meta, cache })
    }

    /// The uploads of a task, by worker.
    pub fn uploads(&self, task: TaskId) -> impl Iterator<Item = (Address, &Upload)> {
        self.cache.get(&task).into_iter().flatten().map(|(worker, upload)| (*worker, upload))
    }

    /// One upload.
    pub fn upload(&self, task: TaskId, worker: Address) -> Option<&Upload> {
        self.cache.get(&task)?.get(&worker)
    }

    /// Writes uploads, all or none, with one sync. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn put_uploads(&mut self, uploads: Vec<(TaskId, Address, Upload)>) -> Result<(), DbError> {
        if uploads.is_empty() {
            return Ok(());
        }
        let mut batch = self.db.batch();
        for (task, worker, upload) in &uploads {
            batch = batch.put_json(&self.uploads, &key(*task, *worker), upload)?;
        }
        let began = Instant::now();
        batch.commit()?;
        self.commits.observe(began.elapsed());
        for (task, worker, upload) in uploads {
            self.cache.entry(task).or_default().insert(worker, upload);
        }
        Ok(())
    }

    /// Remembers that a deal needs no more work. Its uploads leave the memory, not the disk: logs are read from them.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn finish_deal(&mut self, deal: DealId, tasks: impl Iterator<Item = TaskId>) -> Result<(), DbError> {
        let batch = self.db.batch().put(&self.finished, deal.as_bytes(), b"");
        batch.delete(&self.verdicts, deal.as_bytes()).commit()?;
        for task in tasks {
            self.cache.remove(&task);
        }
        Ok(())
    }

    /// True if a deal needs no more work.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn is_finished(&self, deal: DealId) -> Result<bool, DbError> {
        Ok(self.finished.get(deal.as_bytes())?.is_some())
    }

    /// The uploads of a task as they are on the disk, also of finished deals.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn stored_uploads(&self, task: TaskId) -> Result<Vec<(Address, Upload)>, DbError> {
        let mut found = Vec::new();
        for entry in self.uploads.prefix(task.as_bytes())? {
            let (key, value) = entry?;
            if key.len() == 52 {
                found.push((Address::from_slice(&key[32..]), self.uploads.parse_json(&value)?));
            }
        }
        Ok(found)
    }

    /// Adds to what was done, and keeps what was learnt of workers and apps, all or none, with one sync. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn add_work(
        &mut self,
        more: &WorkTable,
        spent: &SpentTable,
        learnt: &[Memory],
        apps: &Changes,
    ) -> Result<(), DbError> {
        if more.is_empty() && spent.is_empty() && learnt.is_empty() && apps.is_empty() {
            return Ok(());
        }
        let mut batch = self.db.batch();
        for (app, time) in apps {
            batch = match time {
                Some(time) => batch.put_json(&self.apps, app.as_slice(), time)?,
                None => batch.delete(&self.apps, app.as_slice()),
            };
        }
        for ((requester, day), total_ms) in spent {
            batch = batch.put_json(&self.spent, &spent_key(*requester, *day), total_ms)?;
        }
        for memory in learnt {
            batch = batch.put_json(&self.memories, &memory.key(), memory)?;
        }
        for ((task, worker), more) in more {
            let key = key(*task, *worker);
            let mut work: Work = self.work.get_json(&key)?.unwrap_or_default();
            work.add(more);
            batch = batch.put_json(&self.work, &key, &work)?;
        }
        let began = Instant::now();
        batch.commit()?;
        self.commits.observe(began.elapsed());
        Ok(())
    }

    /// What was ever learnt of workers.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn memories(&self) -> Result<Vec<Memory>, DbError> {
        self.memories.iter()?.map(|entry| self.memories.parse_json(&entry?.1)).collect()
    }

    /// How long items of apps run.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn item_times(&self) -> Result<ItemTimes, DbError> {
        let mut known = Vec::new();
        for entry in self.apps.iter()? {
            let (key, value) = entry?;
            if key.len() == 20 {
                known.push((Address::from_slice(&key), self.apps.parse_json(&value)?));
            }
        }
        Ok(ItemTimes::recall(known))
    }

    /// For whoever reads what was done in the background.
    pub fn work_reader(&self) -> WorkReader {
        WorkReader { work: self.work.clone(), uploads: self.uploads.clone() }
    }

    /// Remembers a ban.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn ban(&self, worker: Address, reason: &str) -> Result<(), DbError> {
        self.bans.put(worker.as_slice(), reason.as_bytes())
    }

    /// Forgets a ban.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn unban(&self, worker: Address) -> Result<(), DbError> {
        self.bans.delete(worker.as_slice())
    }

    /// Everybody who is banned, and why.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn bans(&self) -> Result<BTreeMap<Address, String>, DbError> {
        let parse = |(key, reason): (Vec<u8>, Vec<u8>)| {
            (key.len() == 20).then(|| (Address::from_slice(&key), String::from_utf8_lossy(&reason).into_owned()))
        };
        self.bans.iter()?.filter_map(|entry| entry.map(parse).transpose()).collect()
    }

    /// Remembers whether the pool is to take no new deals.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_draining(&self, draining: bool) -> Result<(), DbError> {
        self.meta.put_json(b"draining", &draining)
    }

    /// Whether the pool is to take no new deals.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn is_draining(&self) -> Result<bool, DbError> {
        Ok(self.meta.get_json(b"draining")?.unwrap_or(false))
    }

    /// Reserves fences: every fence below the returned bound's start was handed out by nobody.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn next_fence_epoch(&self) -> Result<u64, DbError> {
        let epoch: u64 = self.meta.get_json(b"fence-epoch")?.unwrap_or(0) + 1;
        self.meta.put_json(b"fence-epoch", &epoch)?;
        // 2^40 leases a process: no fence of one process is ever met in the next.
        Ok(epoch << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_bans_and_fences_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.redb");
        let (task, worker) = (TaskId(B256::repeat_byte(1)), Address::repeat_byte(2));
        let upload = Upload {
            result_hash: B256::ZERO,
            sealed: ContentId([1; 32]),
            sealed_size: 5,
            before_reveal: true,
            opened: None,
            run_us: 7,
            items: 2,
        };
        let first = {
            let mut journal = Journal::open(Db::open(&path).unwrap()).unwrap();
            journal.put_uploads(vec![(task, worker, upload.clone())]).unwrap();
            journal.ban(worker, "lied").unwrap();
            journal.set_draining(true).unwrap();
            for (failures, lease_ms) in [(1, 3), (0, 4)] {
                let work = Work { leases: 1, failures, lease_ms, bytes: 0 };
                let mut times = journal.item_times().unwrap();
                times.add(worker, 2, 4_000);
                let (work, apps) = ([((task, worker), work)].into(), times.take_changes());
                journal.add_work(&work, &SpentTable::new(), &[], &apps).unwrap();
            }
            journal.next_fence_epoch().unwrap()
        };
        let mut journal = Journal::open(Db::open(&path).unwrap()).unwrap();
        assert_eq!(journal.upload(task, worker), Some(&upload));
        assert_eq!(journal.bans().unwrap(), [(worker, "lied".to_owned())].into());
        journal.unban(worker).unwrap();
        assert!(journal.bans().unwrap().is_empty());
        assert!(journal.is_draining().unwrap());
        assert_eq!(journal.item_times().unwrap().item_ms(worker), Some(2.0));
        let work = Work { leases: 2, failures: 1, lease_ms: 7, bytes: 5 };
        assert_eq!(journal.work_reader().read().unwrap(), [((task, worker), work)].into());
        assert!(journal.next_fence_epoch().unwrap() > first);
        let deal = DealId(B256::ZERO);
        journal.finish_deal(deal, [task].into_iter()).unwrap();
        assert!(journal.is_finished(deal).unwrap());
        assert_eq!(journal.upload(task, worker), None);
        assert_eq!(journal.stored_uploads(task).unwrap(), [(worker, upload)]);
    }
}
