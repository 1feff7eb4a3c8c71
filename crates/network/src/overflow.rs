//! Buy on a market what a pool's own machines cannot finish in time.
//!
//! A worker of the pool, in the pool's process, that runs nothing: each task that it is leased it orders on another ledger, as a job of
//! one task that is run as that task of the pool's bag (`gristmill_place`), and hands in what comes back as its own result. It has two
//! keys of its own: one here, with which it contributes, and one on the market, whose account pays. What it orders is written down
//! before it is ordered ([`book`]), and found again on the market's ledger after a crash, so that no task is paid for twice.

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_datadir::DataDir;
use gristmill_hub::HubClient;
use gristmill_pool::{Overflow, OverflowBoard, OverflowStatus};
use gristmill_protocol::tls::PoolUrl;
use gristmill_requester::{Network as Market, Place, RequesterError};
use gristmill_sandbox::ChildCommand;
use gristmill_types::{Address, Amount, Trust};
use gristmill_wallet::Wallet;
use gristmill_worker::{WorkerConfig, WorkerHandle};
use tokio::task::JoinHandle;

use crate::error::NetworkError;
use book::Book;
use buyer::Buyer;

mod book;
mod buyer;
mod order;
mod turn;

/// The folder of all this in a data folder.
pub const OVERFLOW_FOLDER: &str = "overflow";
/// Kind and version of the folder of the book.
const DATA_KIND: &str = "overflow";
const DATA_VERSION: u32 = 1;
/// What is bought unless told otherwise: what would not be done within ten minutes.
pub const AFTER_DEFAULT: Duration = Duration::from_secs(600);
/// The trust that is asked for on the market, at least, unless told otherwise: strangers work there.
pub const TRUST_DEFAULT: u64 = 5;
/// Tasks that are bought at a time, unless told otherwise.
pub const SLOTS_DEFAULT: u32 = 8;
/// The same, whatever is told.
pub const SLOTS_MAX: u32 = 256;

/// How what the pool's machines cannot finish is bought.
#[derive(Clone, Debug)]
pub struct OverflowPlan {
    /// Where.
    pub to: Place,
    /// What a task may cost there, app and pool together. Nothing dearer is ordered.
    pub max_price: Amount,
    /// Key file of the account there that pays; `None`: one in the pool's own folder, made at first.
    pub wallet: Option<PathBuf>,
    /// The least trust that is asked for there.
    pub trust: Trust,
    /// What would be done later than this is bought.
    pub after: Duration,
    /// Tasks at a time, 1 to [`SLOTS_MAX`].
    pub slots: u32,
}

impl OverflowPlan {
    /// The scheduler's part of it.
    pub fn apply(&self, policy: &mut gristmill_scheduler::Policy) {
        policy.overflow_after_ms = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
    }
}

/// What is ready before the pool is there.
pub struct Opened {
    folder: PathBuf,
    worker: Wallet,
    buyer: Arc<Buyer>,
    slots: u32,
    /// Holds the book's lock.
    dir: DataDir,
}

/// The worker that buys, and what looks after its book.
pub struct Running {
    worker: WorkerHandle,
    looking: JoinHandle<()>,
    account: Address,
    board: OverflowBoard,
    _dir: DataDir,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens keys and book below the data folder `root` of the pool on the ledger of `hub`, and looks at the market. One that does not
    /// answer just now is no error.
    ///
    /// # Errors
    /// [`NetworkError::NoMarket`]: there is no market at that place; [`NetworkError::MarketIsOwn`]; a file cannot be used.
    pub async fn open(root: &Path, plan: OverflowPlan, hub: HubClient) -> Result<Self, NetworkError> {
        let folder = root.join(OVERFLOW_FOLDER);
        let io = |source| gristmill_datadir::FileError { action: "make", path: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
        let worker = Wallet::load_or_generate(folder.join("worker.json"))?;
        let wallet_file = match plan.wallet {
            Some(file) => file,
            None => folder.join("wallet.json"),
        };
        let account = match wallet_file.parent() == Some(folder.as_path()) {
            true => Wallet::load_or_generate(&wallet_file)?,
            false => Wallet::load(&wallet_file)?,
        };
        let dir = DataDir::open(folder.join("book"), DATA_KIND, DATA_VERSION)?;
        let book = Book::open(&dir.database("purchases.redb")?)?;
        let market = look(&plan.to, &hub).await?;
        let board = OverflowBoard::default();
        board.say(|status| {
            *status = OverflowStatus {
                to: place_text(&plan.to),
                account: account.address(),
                max_price: plan.max_price,
                trust: plan.trust.value(),
                after_s: plan.after.as_secs(),
                slots: plan.slots,
                ..OverflowStatus::default()
            };
        });
        let buyer = Buyer::new(buyer::Terms {
            place: plan.to,
            wallet_file,
            account: account.address(),
            max_price: plan.max_price,
            trust: plan.trust,
            lab: hub,
            board,
            book,
            market,
        });
        Ok(Self { folder, worker, buyer: Arc::new(buyer), slots: plan.slots, dir })
    }

    /// As the pool is to know it.
    pub fn for_pool(&self) -> Overflow {
        Overflow { worker: self.worker.address(), board: self.buyer.board().clone() }
    }

    /// Begins to take tasks of the pool at `pool`.
    ///
    /// # Errors
    /// The worker's folder cannot be used.
    pub async fn start(self, pool: PoolUrl, child: ChildCommand) -> Result<Running, NetworkError> {
        let Self { folder, worker, buyer, slots, dir } = self;
        let mut config = WorkerConfig::new(folder.join("worker"), worker, vec![pool], child);
        config.slots = slots;
        config.elsewhere = Some(buyer.clone());
        let worker = gristmill_worker::start(config)?;
        let (account, board) = (buyer.account(), buyer.board().clone());
        buyer.look_at_account().await;
        let looking = tokio::spawn(async move { buyer.keep_looking().await });
        Ok(Running { worker, looking, account, board, _dir: dir })
    }
}

impl Running {
    /// What it does, as far as it is known now.
    pub fn status(&self) -> OverflowStatus {
        self.board.status()
    }

    /// Stops it. What is ordered goes on there, and is fetched after the next start.
    pub async fn shutdown(self) {
        if let Err(error) = self.worker.shutdown().await {
            tracing::debug!(%error, "the worker that buys had ended");
        }
        self.looking.abort();
        let _ = self.looking.await;
    }
}

/// Finds the market, if it answers.
async fn look(place: &Place, own: &HubClient) -> Result<Option<Market>, NetworkError> {
    match Market::find(place).await {
        Ok(market) if (market.hub.chain_id(), market.hub.hub) == (own.chain_id(), own.hub) => {
            Err(NetworkError::MarketIsOwn { place: place_text(place) })
        }
        Ok(market) => Ok(Some(market)),
        Err(error) if is_away(&error) => {
            tracing::warn!(%error, "the market at {} does not answer yet: nothing is bought until it does", place_text(place));
            Ok(None)
        }
        Err(source) => Err(NetworkError::NoMarket { place: place_text(place), source: Box::new(source) }),
    }
}

/// Whether asking again later may help.
fn is_away(error: &RequesterError) -> bool {
    match error {
        RequesterError::NotRunning { .. } | RequesterError::OtherChain { .. } => true,
        RequesterError::Hub(error) => error.is_transient(),
        _ => false,
    }
}

/// A place as its user wrote it.
fn place_text(place: &Place) -> String {
    match place {
        Place::DataDir(path) => path.display().to_string(),
        Place::Rpc(url) => url.clone(),
    }
}
