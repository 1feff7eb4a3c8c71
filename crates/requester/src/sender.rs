//! Send transactions of the requester's key: open its outbox, wait for it when another process has it, close it again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_datadir::DataDirError;
use gristmill_hub::{CallData, Outbox, OutboxConfig, OutboxError, Outcome, TxResult};
use gristmill_types::Address;
use gristmill_wallet::Wallet;
use tokio::time::Instant;

use crate::error::RequesterError;
use crate::find::{Network, load_wallet};

/// How long another process may hold the key before it is an error.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// How long what an earlier process sent may take to have its effect before it is an error.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// A refused transaction may be tried so many times, each under a key of its own.
const ATTEMPTS_MAX: u32 = 8;

/// What happens while a requester works, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Another process sends with this wallet; it is waited for.
    WaitingForWallet(PathBuf),
    /// Something goes into the store.
    Uploading {
        /// What: a file's name, `items 3 of 8`.
        what: String,
        /// Its length in bytes.
        bytes: u64,
    },
    /// An app is put on the ledger.
    Registering {
        /// Its name.
        name: String,
        /// Its address there.
        address: Address,
    },
    /// Money is moved from the wallet into the account.
    Depositing(gristmill_types::Amount),
    /// The job is about to get its id: if this process ends now, the ledger tells whether it did.
    Ordering(gristmill_types::OrderHash),
    /// The job has its id: from now on it can be followed, also by another process.
    Ordered(gristmill_types::OrderHash),
    /// So many of its tasks have a pool now.
    Matched {
        /// Tasks with a pool.
        matched: u64,
        /// Tasks in all.
        volume: u64,
    },
    /// Something worth knowing that does not stop the work.
    Warning(String),
}

/// Who asks for work: a network and a key. Clones are cheap.
#[derive(Clone)]
pub struct Requester {
    pub(crate) network: Network,
    pub(crate) wallet: Wallet,
    wallet_file: PathBuf,
    reporter: std::sync::Arc<dyn Fn(Notice) + Send + Sync>,
}

impl std::fmt::Debug for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requester").field("address", &self.wallet.address()).finish_non_exhaustive()
    }
}

impl Requester {
    /// A requester with the wallet in the file `wallet_file`. What it sends is remembered beside that file.
    ///
    /// # Errors
    /// [`RequesterError::NoWallet`] or [`RequesterError::Wallet`].
    pub fn new(network: Network, wallet_file: &Path) -> Result<Self, RequesterError> {
        let wallet = load_wallet(wallet_file)?;
        let wallet_file = wallet_file.to_path_buf();
        Ok(Self { network, wallet, wallet_file, reporter: std::sync::Arc::new(|_| {}) })
    }

    /// Tells `reporter` what happens.
    pub fn with_reporter(mut self, reporter: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.reporter = std::sync::Arc::new(reporter);
        self
    }

    /// Its address on the ledger.
    pub fn address(&self) -> Address {
        self.wallet.address()
    }

    /// The network it works on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn report(&self, notice: Notice) {
        (self.reporter)(notice);
    }

    /// Sends what an earlier process left of this key's transactions, and waits until each has taken effect, or never will.
    ///
    /// # Errors
    /// The ledger cannot be asked, or another process has the key for too long; [`RequesterError::Unsettled`].
    pub async fn settle(&self) -> Result<(), RequesterError> {
        let sender = self.sender().await?;
        let started = Instant::now();
        let settled = loop {
            match sender.outbox.in_flight().await {
                Ok(0) => break Ok(()),
                Ok(_) if started.elapsed() < SETTLE_PATIENCE => tokio::time::sleep(LOCK_PAUSE).await,
                Ok(count) => {
                    break Err(RequesterError::Unsettled { count: count as u64, seconds: SETTLE_PATIENCE.as_secs() });
                }
                Err(error) => break Err(error.into()),
            }
        };
        sender.close().await;
        settled
    }

    /// Opens the outbox, waiting a while when another process has it.
    pub(crate) async fn sender(&self) -> Result<Sender, RequesterError> {
        let ledger = self.network.hub.ledger();
        let genesis = ledger.blocks(vec![0]).await?.into_iter().next().flatten().map(|block| block.hash);
        // One folder a ledger: a network that was started anew is another ledger, and the old one's transactions stay apart.
        let name = format!("{}-{}", self.network.hub.chain_id(), &format!("{:x}", genesis.unwrap_or_default())[..8]);
        let mut root = self.wallet_file.clone().into_os_string();
        root.push(".outbox");
        let root = PathBuf::from(root).join(name);
        let config = OutboxConfig { key_file: Some(self.wallet_file.clone()), ..OutboxConfig::default() };
        let started = Instant::now();
        let mut told = false;
        loop {
            match Outbox::open(&root, self.wallet.clone(), ledger.clone(), config.clone()).await {
                Ok(outbox) => return Ok(Sender { outbox }),
                Err(error) if is_in_use(&error) && started.elapsed() < LOCK_PATIENCE => {
                    if !std::mem::replace(&mut told, true) {
                        self.report(Notice::WaitingForWallet(self.wallet_file.clone()));
                    }
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_in_use(error: &OutboxError) -> bool {
    match error {
        OutboxError::KeyInUse { .. } => true,
        OutboxError::Folder(error) => matches!(**error, DataDirError::InUse { .. }),
        _ => false,
    }
}

/// An open outbox. Held only while something is sent.
#[derive(Debug)]
pub(crate) struct Sender {
    outbox: Outbox,
}

impl Sender {
    /// Sends `call` once, under `key`, and waits for its effect. A key whose transaction was refused by the contract did
    /// nothing and never will, so the next attempt has a key of its own.
    pub async fn execute(&self, call: CallData, key: &str) -> Result<Outcome, RequesterError> {
        for attempt in 0..ATTEMPTS_MAX {
            let key = if attempt == 0 { key.to_owned() } else { format!("{key}#{attempt}") };
            let outcome = self.outbox.submit(call.clone().intent(key)).await?;
            let failed_before = attempt + 1 < ATTEMPTS_MAX && !matches!(outcome.result, TxResult::Success);
            if !failed_before {
                return Ok(outcome.require_success()?);
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Frees the key for other processes.
    pub async fn close(self) {
        self.outbox.shutdown().await;
    }
}
