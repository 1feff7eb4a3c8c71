//! Send transactions so that each takes effect once, whatever crashes.
//!
//! One outbox serves one key. An [`Intent`] is on the disk, signed, with its nonce, before it is sent; after a restart it is
//! sent again, the same bytes; a nonce is never given to another intent. A transaction that the ledger will never take is
//! replaced, at its nonce, by a transfer of nothing to oneself, so that those after it can go on.
//!
//! On a ledger that charges for gas and may reorganise: one that stays out of the blocks is signed again at its nonce with a
//! higher offer. INVARIANT: everything ever signed at a nonce stays on record until the nonce is settled, any of it may be what
//! gets into a block, and only one can; a nonce is settled by a receipt that is as deep as the ledger may reorganise. So neither
//! a reorganisation nor an outbid transaction that comes back has an intent happen twice, or not at all.
//!
//! What is written for many intents that come together is written at once (one sync of the disk for all), they are sent in
//! one batch, and one poller waits for all of them.

use futures_util::future::BoxFuture;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_datadir::{DataDirError, Db, DbError};
use gristmill_wallet::Wallet;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::ledger::{LedgerError, LedgerPort};
use crate::revert::Revert;

mod book;
mod engine;
mod transaction;

use book::Book;
use engine::{Control, Engine, Submission};

/// The longest key of an intent, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// How long [`Outbox::shutdown`] lets a request to the ledger finish.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Something to do on the ledger, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Names the intent: a second one with the same key is the same intent, whatever it contains. Such as
    /// `contribute:<task id>`. 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// What is called; `None` makes a contract.
    pub to: Option<Address>,
    /// The call data, or the contract's creation code.
    pub data: Bytes,
    /// Coins sent along, in wei.
    pub value: U256,
    /// The gas limit; `None` to have it estimated, and to be told at once when the call would be refused.
    pub gas: Option<u64>,
    /// With a gas limit: whether the call is tried first, to be told at once when it would be refused.
    pub preflight: bool,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The intent's key.
    pub key: String,
    /// The nonce it used.
    pub nonce: u64,
    /// The transaction that used the nonce.
    pub tx_hash: B256,
    /// The block it is in.
    pub block: u64,
    /// Gas it used.
    pub gas_used: u64,
    /// The contract it made, for a creation.
    pub contract: Option<Address>,
    /// How it ended.
    pub result: TxResult,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxResult {
    /// It took effect.
    Success,
    /// The contract refused it; nothing happened.
    Reverted(Revert),
    /// It was given up and its nonce filled; nothing happened.
    Abandoned(String),
    /// Another program with the same key used its nonce; nothing happened.
    Displaced,
}

impl Outcome {
    /// The outcome if it took effect.
    ///
    /// # Errors
    /// [`OutboxError::Reverted`], [`OutboxError::Abandoned`] or [`OutboxError::Displaced`].
    pub fn require_success(self) -> Result<Self, OutboxError> {
        match self.result {
            TxResult::Success => Ok(self),
            TxResult::Reverted(revert) => {
                Err(OutboxError::Reverted { key: self.key, tx_hash: self.tx_hash, revert: Box::new(revert) })
            }
            TxResult::Abandoned(reason) => Err(OutboxError::Abandoned { key: self.key, reason }),
            TxResult::Displaced => Err(OutboxError::Displaced { key: self.key, nonce: self.nonce }),
        }
    }
}

/// How an outbox works.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// How often the ledger is asked what it took, in milliseconds, while something is under way.
    pub poll_ms: u64,
    /// Transactions under way at most; more submissions wait.
    pub in_flight_max: usize,
    /// Intents written to the disk together at most.
    pub batch_max: usize,
    /// A transaction not in a block after so long is sent again, in milliseconds.
    pub resend_ms: u64,
    /// A used nonce whose transaction has no receipt for so long was used by another program, in milliseconds.
    pub displaced_ms: u64,
    /// Blocks after a transaction's own before its outcome counts; `None` for what the ledger needs
    /// ([`LedgerPort::finality`]).
    pub confirmations: Option<u64>,
    /// A transaction that the ledger has had for so long without putting it into a block offers more for gas, in
    /// milliseconds.
    pub outbid_ms: u64,
    /// The most that is offered for a unit of gas, in wei.
    pub gas_price_max: u128,
    /// Outcomes kept; older ones are forgotten, and their keys could be used again.
    pub outcomes_max: u64,
    /// The file of the key: it is locked too, so that no second outbox opens with it from another folder.
    pub key_file: Option<PathBuf>,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            poll_ms: 5,
            in_flight_max: 512,
            batch_max: 256,
            resend_ms: 3_000,
            displaced_ms: 10_000,
            confirmations: None,
            outbid_ms: 20_000,
            gas_price_max: 500_000_000_000,
            outcomes_max: 100_000,
            key_file: None,
        }
    }
}

/// An outbox could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// Its folder could not be opened; another process may have it.
    #[error(transparent)]
    Folder(Arc<DataDirError>),
    /// The key's file is locked by another outbox.
    #[error("the key {} is in use by another process: stop it first, or use another key", path.display())]
    KeyInUse {
        /// The file of the key.
        path: PathBuf,
    },
    /// The key's file could not be opened.
    #[error("cannot lock the key {}", path.display())]
    KeyFile {
        /// The file of the key.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Its database failed.
    #[error(transparent)]
    Database(Arc<DbError>),
    /// The ledger could not be asked; nothing was stored, so the same intent may be submitted again.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The folder belongs to another ledger: one that was started anew, or another chain.
    #[error(
        "the outbox {} was filled for the ledger {expected} and this is the ledger {found}: was the ledger started anew? If its old transactions do not matter any more, remove the folder",
        path.display()
    )]
    OtherLedger {
        /// The outbox's folder.
        path: PathBuf,
        /// Chain id and genesis it was filled for.
        expected: String,
        /// Chain id and genesis of the ledger met.
        found: String,
    },
    /// The ledger knows fewer transactions of this key than it once confirmed.
    #[error(
        "the ledger went back: it took {confirmed} transactions of {address} and now knows only {found}; restore its data or start the network anew"
    )]
    WentBack {
        /// Whose.
        address: Address,
        /// Transactions confirmed once.
        confirmed: u64,
        /// Transactions it knows now.
        found: u64,
    },
    /// The key of an intent is empty or too long.
    #[error("an intent's key has 1 to {KEY_BYTES_MAX} bytes, this one has {got}")]
    BadKey {
        /// Its length.
        got: usize,
    },
    /// The contract would refuse it as things stand; nothing was stored or sent.
    #[error("{revert}")]
    WouldRevert {
        /// The intent's key.
        key: String,
        /// Why.
        revert: Box<Revert>,
    },
    /// The contract refused it.
    #[error("{revert} (transaction {tx_hash})")]
    Reverted {
        /// The intent's key.
        key: String,
        /// The transaction.
        tx_hash: B256,
        /// Why.
        revert: Box<Revert>,
    },
    /// It was given up; nothing happened.
    #[error("`{key}` was given up: {reason}")]
    Abandoned {
        /// The intent's key.
        key: String,
        /// Why.
        reason: String,
    },
    /// Another program sends transactions with the same key; nothing happened.
    #[error(
        "another program used transaction number {nonce} of this key, so `{key}` did not happen: use a key of its own for each program"
    )]
    Displaced {
        /// The intent's key.
        key: String,
        /// The nonce.
        nonce: u64,
    },
    /// No intent of this key is known.
    #[error("no transaction `{key}` is known here")]
    UnknownKey {
        /// The key asked for.
        key: String,
    },
    /// The outbox was shut down.
    #[error("the outbox was shut down")]
    Stopped,
}

impl From<DbError> for OutboxError {
    fn from(error: DbError) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<DataDirError> for OutboxError {
    fn from(error: DataDirError) -> Self {
        Self::Folder(Arc::new(error))
    }
}

impl From<LedgerError> for OutboxError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl OutboxError {
    /// Why the contract refuses, if that is it.
    pub fn revert(&self) -> Option<&Revert> {
        match self {
            Self::WouldRevert { revert, .. } | Self::Reverted { revert, .. } => Some(revert),
            Self::Ledger(error) => error.revert(),
            _ => None,
        }
    }
}

/// A durable queue of transactions of one key. Clones share it; it stops when the last one is dropped, or at
/// [`Outbox::shutdown`]. What was stored and is not settled goes on when it is opened again.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    submissions: mpsc::Sender<Submission>,
    control: mpsc::Sender<Control>,
    /// Why the engine stopped, once it did.
    fate: Arc<OnceLock<OutboxError>>,
    displaced: Arc<AtomicU64>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox of `wallet` in the folder `root` (its own subfolder is named after the address), and sends what an
    /// earlier process left. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another process has this key's outbox open, the ledger cannot be reached, or the folder belongs to another ledger.
    pub async fn open(
        root: impl AsRef<Path>,
        wallet: Wallet,
        ledger: Arc<dyn LedgerPort>,
        config: OutboxConfig,
    ) -> Result<Self, OutboxError> {
        let root = root.as_ref().to_path_buf();
        let (address, key_file) = (wallet.address(), config.key_file.clone());
        let book = blocking(move || Book::open(&root, address, key_file.as_deref())).await?;
        Self::start(book, wallet, ledger, config).await
    }

    /// As [`Outbox::open`], in a database of the caller's: two outboxes of one key in two databases are the caller's to prevent.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    pub async fn open_on(
        db: Db,
        wallet: Wallet,
        ledger: Arc<dyn LedgerPort>,
        config: OutboxConfig,
    ) -> Result<Self, OutboxError> {
        Self::start(Book::on(db), wallet, ledger, config).await
    }

    async fn start(
        book: Book,
        wallet: Wallet,
        ledger: Arc<dyn LedgerPort>,
        config: OutboxConfig,
    ) -> Result<Self, OutboxError> {
        let address = wallet.address();
        let (submissions, submission_queue) = mpsc::channel(config.in_flight_max.max(1) * 2);
        let (control, control_queue) = mpsc::channel(64);
        let engine = Engine::new(book, wallet, ledger, config, submission_queue, control_queue).await?;
        let displaced = engine.displaced();
        let fate = Arc::new(OnceLock::new());
        let task = tokio::spawn(engine.run(fate.clone()));
        let task = std::sync::Mutex::new(Some(task));
        Ok(Self { inner: Arc::new(Inner { address, submissions, control, fate, displaced, task }) })
    }

    /// Whose transactions these are.
    pub fn address(&self) -> Address {
        self.inner.address
    }

    /// How many of this process's transactions did not happen since another program used their numbers.
    pub fn displaced(&self) -> u64 {
        self.inner.displaced.load(Ordering::Relaxed)
    }

    /// Stores and sends `intent`, and waits for what becomes of it. A key that was submitted before gives the first one's outcome.
    ///
    /// Dropping the future does not take the intent back once it is stored.
    ///
    /// # Errors
    /// Before it is stored: [`OutboxError::WouldRevert`], [`OutboxError::Ledger`], [`OutboxError::BadKey`]. Later only when
    /// the outbox stops; a refusal by the contract is an [`Outcome`].
    pub fn submit(&self, intent: Intent) -> BoxFuture<'_, Result<Outcome, OutboxError>> {
        Box::pin(async move { self.submit_as(intent, false).await })
    }

    /// As [`Outbox::submit`], and only an effect is good. A key whose earlier submission is over and had no effect (it was
    /// reverted, given up or displaced) is tried again, so that a caller may repeat itself until the effect is there, once.
    ///
    /// # Errors
    /// As [`Outbox::submit`] and [`Outcome::require_success`].
    pub fn execute(&self, intent: Intent) -> BoxFuture<'_, Result<Outcome, OutboxError>> {
        Box::pin(async move { self.submit_as(intent, true).await?.require_success() })
    }

    async fn submit_as(&self, intent: Intent, again: bool) -> Result<Outcome, OutboxError> {
        let (settled, outcome) = oneshot::channel();
        self.enqueue(intent, Submission::settled(settled, again)).await?;
        self.answer(outcome).await
    }

    /// Stores `intent` and returns; it is sent at once, and again after a restart. [`Outbox::wait`] tells its outcome.
    ///
    /// # Errors
    /// As [`Outbox::submit`] before it is stored.
    pub fn submit_nowait(&self, intent: Intent) -> BoxFuture<'_, Result<(), OutboxError>> {
        Box::pin(async move {
            let (stored, answer) = oneshot::channel();
            self.enqueue(intent, Submission::stored(stored)).await?;
            self.answer(answer).await
        })
    }

    /// Waits for the outcome of an intent that was stored, by this process or an earlier one.
    ///
    /// # Errors
    /// [`OutboxError::UnknownKey`], or the outbox stopped.
    pub fn wait<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Outcome, OutboxError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.control(Control::Wait { key: key.to_owned(), reply }).await?;
            self.answer(answer).await
        })
    }

    /// Tries to give up an intent that is not in a block: its nonce is filled with a transfer of nothing. It may be too late:
    /// [`Outbox::wait`] tells which of the two happened.
    ///
    /// # Errors
    /// [`OutboxError::UnknownKey`] when nothing of this key is under way.
    pub fn abandon<'a>(&'a self, key: &'a str, reason: &'a str) -> BoxFuture<'a, Result<(), OutboxError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.control(Control::Abandon { key: key.to_owned(), reason: reason.to_owned(), reply }).await?;
            self.answer(answer).await
        })
    }

    /// How many intents are under way.
    ///
    /// # Errors
    /// When the outbox stopped.
    pub fn in_flight(&self) -> BoxFuture<'_, Result<usize, OutboxError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.control(Control::Count { reply }).await?;
            answer.await.map_err(|_| self.fate())
        })
    }

    /// Done when it has stopped, with what stopped it: [`OutboxError::Stopped`] if it was shut down, else its disk. Nothing is
    /// sent any more then. Cancel safe.
    pub async fn stopped(&self) -> OutboxError {
        self.inner.submissions.closed().await;
        self.fate()
    }

    /// Stops; what is under way stays stored. Returns when the folder is free for the next one, soon even if the ledger does
    /// not answer.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let task = self.inner.task.lock().ok().and_then(|mut task| task.take());
            let Some(mut task) = task else { return };
            let stop = async {
                let _ = self.inner.control.send(Control::Stop).await;
                let _ = (&mut task).await;
            };
            if tokio::time::timeout(STOP_GRACE, stop).await.is_err() {
                // It waits for the ledger. Nothing is lost: what it does is stored before it has an effect.
                task.abort();
                let _ = task.await;
            }
        })
    }

    async fn enqueue(&self, intent: Intent, reply: impl FnOnce(Intent) -> Submission) -> Result<(), OutboxError> {
        if intent.key.is_empty() || intent.key.len() > KEY_BYTES_MAX {
            return Err(OutboxError::BadKey { got: intent.key.len() });
        }
        self.inner.submissions.send(reply(intent)).await.map_err(|_| self.fate())
    }

    async fn control(&self, control: Control) -> Result<(), OutboxError> {
        self.inner.control.send(control).await.map_err(|_| self.fate())
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, OutboxError>>) -> Result<T, OutboxError> {
        answer.await.unwrap_or_else(|_| Err(self.fate()))
    }

    fn fate(&self) -> OutboxError {
        self.inner.fate.get().cloned().unwrap_or(OutboxError::Stopped)
    }
}

/// Runs what waits for the disk beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutboxError> + Send + 'static,
) -> Result<T, OutboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(OutboxError::Stopped),
    }
}

#[cfg(test)]
mod tests;
