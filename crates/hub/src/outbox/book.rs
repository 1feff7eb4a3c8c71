//! What an outbox keeps on the disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_datadir::{DataDir, Db, Table};
use serde::{Deserialize, Serialize};

use super::{OutboxError, Outcome};

const KIND: &str = "outbox";
const VERSION: u32 = 1;

const LEDGER: &[u8] = b"ledger";
const NEXT_NONCE: &[u8] = b"next_nonce";

/// A reserved nonce and what was signed with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub nonce: u64,
    pub key: String,
    /// Everything ever signed at this nonce, the newest last: any of them may get into a block, and only one can.
    pub attempts: Vec<Attempt>,
    /// Why the intent was given up, if it was.
    pub abandoned: Option<String>,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub hash: B256,
    pub raw: Bytes,
    /// A transfer of nothing that fills the nonce.
    pub filler: bool,
}

/// The ledger an outbox is filled for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerName {
    pub chain_id: u64,
    pub genesis: B256,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyState {
    Flying(u64),
    Settled(Outcome),
}

/// What a fresh process finds.
pub(super) struct Contents {
    /// The first nonce never reserved, when one ever was.
    pub next_nonce: Option<u64>,
    pub flights: Vec<Flight>,
}

/// The tables: `meta` (ledger, next nonce), `flights` (nonce -> [`Flight`]), `keys` (key -> [`KeyState`]), `settled` (number ->
/// nonce and key, to forget the oldest). Each change of several is one commit. Clones share them.
#[derive(Clone)]
pub(super) struct Book {
    db: Db,
    meta: Table,
    flights: Table,
    keys: Table,
    settled: Table,
    path: PathBuf,
    /// Held until the last clone is gone, so that a commit under way keeps the folder locked.
    _locks: Arc<(Option<DataDir>, Option<File>)>,
}

impl Book {
    pub fn open(root: &Path, address: Address, key_file: Option<&Path>) -> Result<Self, OutboxError> {
        let key_lock = key_file.map(lock_key).transpose()?;
        let dir = DataDir::open(root.join(format!("outbox-{address:#x}")), KIND, VERSION)?;
        let db = dir.database("outbox.redb")?;
        let path = dir.path().to_path_buf();
        Ok(Self::assemble(db, path, (Some(dir), key_lock)))
    }

    /// A book in a database of the caller's.
    pub fn on(db: Db) -> Self {
        let path = db.path().to_path_buf();
        Self::assemble(db, path, (None, None))
    }

    fn assemble(db: Db, path: PathBuf, locks: (Option<DataDir>, Option<File>)) -> Self {
        Self {
            meta: db.table("meta"),
            flights: db.table("flights"),
            keys: db.table("keys"),
            settled: db.table("settled"),
            path,
            db,
            _locks: Arc::new(locks),
        }
    }

    /// Ties a fresh book to its ledger, and refuses another ledger than the one it is tied to.
    pub fn claim_ledger(&self, found: &LedgerName) -> Result<(), OutboxError> {
        match self.meta.get_json::<LedgerName>(LEDGER)? {
            None => Ok(self.meta.put_json(LEDGER, found)?),
            Some(expected) if expected == *found => Ok(()),
            Some(expected) => Err(OutboxError::OtherLedger {
                path: self.path.clone(),
                expected: expected.to_string(),
                found: found.to_string(),
            }),
        }
    }

    pub fn contents(&self) -> Result<Contents, OutboxError> {
        let mut flights = Vec::new();
        for entry in self.flights.iter()? {
            flights.push(self.flights.parse_json(&entry?.1)?);
        }
        Ok(Contents { next_nonce: self.meta.get_json(NEXT_NONCE)?, flights })
    }

    /// Makes the reservation of these nonces durable. They follow each other, and `next_nonce` follows the last.
    pub fn reserve(&self, flights: &[Flight], next_nonce: u64) -> Result<(), OutboxError> {
        let mut batch = self.db.batch().put_json(&self.meta, NEXT_NONCE, &next_nonce)?;
        for flight in flights {
            batch = batch.put_json(&self.flights, &flight.nonce.to_be_bytes(), flight)?.put_json(
                &self.keys,
                flight.key.as_bytes(),
                &KeyState::Flying(flight.nonce),
            )?;
        }
        Ok(batch.commit()?)
    }

    /// Replaces flights whose attempts grew.
    pub fn amend(&self, flights: &[Flight]) -> Result<(), OutboxError> {
        let mut batch = self.db.batch();
        for flight in flights {
            batch = batch.put_json(&self.flights, &flight.nonce.to_be_bytes(), flight)?;
        }
        Ok(batch.commit()?)
    }

    /// Ends the flights of these outcomes and forgets the oldest outcomes past `outcomes_max`. Not synced.
    pub fn settle(&self, outcomes: &[Outcome], outcomes_max: u64) -> Result<(), OutboxError> {
        let first = self.settled.last()?.map_or(0, |(key, _)| number_of(&key) + 1);
        let mut batch = self.db.batch();
        for (number, outcome) in (first..).zip(outcomes) {
            batch = batch
                .delete(&self.flights, &outcome.nonce.to_be_bytes())
                .put_json(&self.keys, outcome.key.as_bytes(), &KeyState::Settled(outcome.clone()))?
                .put(&self.settled, &number.to_be_bytes(), &named(outcome));
        }
        let surplus = (self.settled.len()? + outcomes.len() as u64).saturating_sub(outcomes_max.max(1));
        for entry in self.settled.iter()?.take(usize::try_from(surplus).unwrap_or(usize::MAX)) {
            let (number, named) = entry?;
            batch = batch.delete(&self.settled, &number);
            let Some((nonce, key)) = named.split_first_chunk::<8>() else { continue };
            // A key whose first try had no effect may have a newer outcome, or be under way again.
            let latest = self.keys.get_json(key)?;
            if matches!(latest, Some(KeyState::Settled(outcome)) if outcome.nonce.to_be_bytes() == *nonce) {
                batch = batch.delete(&self.keys, key);
            }
        }
        // After a crash the ledger is asked again, and answers the same.
        Ok(batch.commit_later()?)
    }

    /// The outcome of a settled key.
    pub fn outcome(&self, key: &str) -> Result<Option<Outcome>, OutboxError> {
        Ok(match self.keys.get_json(key.as_bytes())? {
            Some(KeyState::Settled(outcome)) => Some(outcome),
            Some(KeyState::Flying(_)) | None => None,
        })
    }
}

impl std::fmt::Display for LedgerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with genesis {}", self.chain_id, self.genesis)
    }
}

/// Nonce and key of an outcome.
fn named(outcome: &Outcome) -> Vec<u8> {
    [&outcome.nonce.to_be_bytes(), outcome.key.as_bytes()].concat()
}

fn number_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn lock_key(path: &Path) -> Result<File, OutboxError> {
    let failed = |source| OutboxError::KeyFile { path: path.to_path_buf(), source: Arc::new(source) };
    let file = File::open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OutboxError::KeyInUse { path: path.to_path_buf() }),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}
