//! Remember every result on the disk before anybody is told of it.
//!
//! A worker that has contributed and lost its digest loses its stake. So a record is written and synced as soon as a
//! result is sealed, before the pool hears of it, and kept until the ledger says that the task is over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use alloy_primitives::{B256, Bytes};
use gristmill_datadir::{Db, DbError, Table};
use gristmill_result::{Commitment, Digest};
use gristmill_types::results::results_hint;
use gristmill_types::{ContentId, DealId, TaskId};
use serde::{Deserialize, Serialize};

/// A result of this worker, and how far it is on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of which task.
    pub task: TaskId,
    /// Of which deal.
    pub deal: DealId,
    /// The lease under which it was computed, in hex.
    pub lease: String,
    /// Trust of the deal: 1 may be contributed and finalised at once.
    pub trust: u64,
    /// T of the category, in seconds.
    pub work_clock_s: u64,
    /// True if the deal has a callback, which is handed the digest's preimage.
    pub has_callback: bool,
    /// True if the deal asks for an enclave to vouch for the contribution.
    #[serde(default)]
    pub enclave: bool,
    /// What is revealed.
    pub digest: Digest,
    /// The digest's preimage.
    pub commitment: Commitment,
    /// What is committed to.
    pub result_hash: B256,
    /// The seal of the commitment.
    pub result_seal: B256,
    /// Content id of the open pack.
    pub pack: ContentId,
    /// Content id of the sealed pack.
    pub sealed: ContentId,
    /// Bytes of the sealed pack.
    pub sealed_size: u64,
    /// The sealed pack on this disk; `None` for a small one, which only the store has.
    #[serde(default)]
    pub sealed_file: Option<PathBuf>,
    /// Fuel used.
    pub fuel_used: u64,
    /// How long the app ran, in microseconds; 0 when that says nothing.
    #[serde(default)]
    pub run_us: u64,
    /// Items that it ran for.
    #[serde(default)]
    pub items: u64,
    /// How far it is.
    pub phase: Phase,
}

/// How far a result is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Sealed, uploaded, offered to the pool.
    Offered,
    /// The pool signed: it is being contributed.
    Authorised {
        /// The pool owner's signature.
        signature: Bytes,
    },
    /// The contribution is on the ledger.
    Contributed,
    /// The reveal is on the ledger.
    Revealed,
}

impl Record {
    /// The ledger's `results` hint for this result.
    pub fn results_hint(&self) -> Bytes {
        results_hint(self.pack).into_bytes().into()
    }

    /// What a callback is handed; empty without one.
    pub fn callback_data(&self) -> Bytes {
        if self.has_callback { self.commitment.encode().into() } else { Bytes::new() }
    }
}

/// The records of all tasks that are not over, on the disk and in memory.
#[derive(Debug)]
pub struct Journal {
    db: Db,
    table: Table,
    records: BTreeMap<TaskId, Record>,
}

impl Journal {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(db: &Db) -> Result<Self, DbError> {
        let table = db.table("results");
        let mut records = BTreeMap::new();
        for entry in table.iter()? {
            let (_, value) = entry?;
            let record: Record = table.parse_json(&value)?;
            records.insert(record.task, record);
        }
        Ok(Self { db: db.clone(), table, records })
    }

    /// The record of a task.
    pub fn get(&self, task: TaskId) -> Option<&Record> {
        self.records.get(&task)
    }

    /// All records, by task.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// How many results are under way.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes and syncs a record. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn put(&mut self, record: Record) -> Result<(), DbError> {
        self.table.put_json(record.task.as_bytes(), &record)?;
        self.records.insert(record.task, record);
        Ok(())
    }

    /// Writes and syncs that the pool has signed: from then on the pool's word no longer makes the worker forget the result.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn authorise(&mut self, task: TaskId, signature: Bytes) -> Result<(), DbError> {
        match self.records.get(&task) {
            Some(record) => self.put(Record { phase: Phase::Authorised { signature }, ..record.clone() }),
            None => Ok(()),
        }
    }

    /// Moves a record on to a phase that the ledger tells again after a crash, so that it need not be synced.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_phase(&mut self, task: TaskId, phase: Phase) -> Result<(), DbError> {
        let Some(record) = self.records.get_mut(&task).filter(|record| record.phase != phase) else { return Ok(()) };
        record.phase = phase;
        self.db.batch().put_json(&self.table, task.as_bytes(), record)?.commit_later()
    }

    /// Forgets a task that is over, and its sealed file. It need not be synced: the ledger says again that it is over.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn remove(&mut self, task: TaskId) -> Result<(), DbError> {
        self.db.batch().delete(&self.table, task.as_bytes()).commit_later()?;
        if let Some(file) = self.records.remove(&task).and_then(|record| record.sealed_file) {
            // A file that is gone already is just as well.
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gristmill_result::{Root, Witness};

    use super::*;

    fn record(byte: u8) -> Record {
        let commitment = Commitment { root: Root::default(), witness: Witness::default(), answer: vec![1] };
        Record {
            task: TaskId(B256::repeat_byte(byte)),
            deal: DealId(B256::ZERO),
            lease: "00".into(),
            trust: 5,
            work_clock_s: 2,
            has_callback: false,
            enclave: false,
            digest: commitment.digest(),
            commitment,
            result_hash: B256::ZERO,
            result_seal: B256::ZERO,
            pack: ContentId([1; 32]),
            sealed: ContentId([2; 32]),
            sealed_size: 3,
            sealed_file: None,
            fuel_used: 9,
            run_us: 0,
            items: 1,
            phase: Phase::Offered,
        }
    }

    #[test]
    fn records_survive_a_restart_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        {
            let mut journal = Journal::open(&Db::open(&path).unwrap()).unwrap();
            journal.put(record(1)).unwrap();
            journal.put(record(2)).unwrap();
            journal.authorise(record(2).task, vec![7].into()).unwrap();
            journal.remove(record(1).task).unwrap();
        }
        let journal = Journal::open(&Db::open(&path).unwrap()).unwrap();
        assert_eq!(journal.len(), 1);
        assert_eq!(journal.get(record(2).task).unwrap().phase, Phase::Authorised { signature: vec![7].into() });
    }
}
