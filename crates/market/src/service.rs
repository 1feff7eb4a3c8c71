//! Start a market, and stop it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_datadir::DataDir;
use gristmill_hub::HubClient;
use gristmill_hub::abi::IHub;
use gristmill_store::Client;
use gristmill_store::server::{self, ServerLimits};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::auth::Challenges;
use crate::book::Book;
use crate::error::MarketError;
use crate::results::DOWNLOADS_MAX;
use crate::{follow, http};

/// Kind and version of a market's data folder.
pub const DATA_KIND: &str = "market";
/// See [`DATA_KIND`].
pub const DATA_VERSION: u32 = 1;

/// Where a market lives.
#[derive(Debug)]
pub struct MarketConfig {
    /// Its folder: the order book, and results while they are handed out. One process at a time.
    pub data_dir: PathBuf,
    /// Where it listens; port 0 for a free one.
    pub listen: SocketAddr,
    /// The hub.
    pub hub: HubClient,
    /// The store that holds the results.
    pub store: Client,
}

/// What the parts of a market share.
pub(crate) struct Shared {
    pub hub: HubClient,
    pub store: Client,
    /// Whether the hub simulates enclaves.
    pub simulated_enclave: bool,
    /// Results lie here while they are handed out.
    pub scratch: PathBuf,
    /// Bounds the results that are being handed out.
    pub downloads: Semaphore,
    book: Mutex<Book>,
    challenges: Mutex<Challenges>,
}

impl Shared {
    /// The book. Held for one look or one commit, never across a wait.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The challenges. Held for one look.
    pub fn challenges(&self) -> MutexGuard<'_, Challenges> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running market. Dropping the handle does not stop it; [`MarketHandle::shutdown`] does.
pub struct MarketHandle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    following: JoinHandle<Result<(), MarketError>>,
    /// Holds the folder's lock.
    _dir: DataDir,
}

impl fmt::Debug for MarketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarketHandle").field("address", &self.address).finish_non_exhaustive()
    }
}

impl MarketHandle {
    /// Its base, `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// True once it does not follow the ledger any more: its disk failed, or the ledger is another one.
    pub fn is_finished(&self) -> bool {
        self.following.is_finished()
    }

    /// Stops it. The book is on the disk.
    ///
    /// # Errors
    /// What ended it, if it ended before.
    pub async fn shutdown(self) -> Result<(), MarketError> {
        let _ = self.stop.send(());
        let _ = self.serving.await;
        self.following.abort();
        match self.following.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }
}

/// Starts a market inside the current tokio runtime.
///
/// # Errors
/// [`MarketError`].
pub async fn start(config: MarketConfig) -> Result<MarketHandle, MarketError> {
    let dir = DataDir::open(&config.data_dir, DATA_KIND, DATA_VERSION)?;
    let book = Book::open(dir.database("market.redb")?)?;
    let scratch = dir.subdir("scratch")?;
    clear(&scratch);
    let simulated_enclave = config.hub.view(config.hub.hub, IHub::simulatedEnclaveCall {}).await?;
    let listen_error = |source| MarketError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let shared = Arc::new(Shared {
        hub: config.hub,
        store: config.store,
        simulated_enclave,
        scratch,
        downloads: Semaphore::new(DOWNLOADS_MAX),
        book: Mutex::new(book),
        challenges: Mutex::default(),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let router = http::router(Arc::clone(&shared));
    let serving = tokio::spawn(server::serve_router(listener, router, ServerLimits::default(), async {
        let _ = stopped.await;
    }));
    let following = tokio::spawn(async move {
        let result = follow::follow(shared).await;
        if let Err(error) = &result {
            tracing::error!(error = error as &dyn std::error::Error, "the market follows the ledger no more");
        }
        result
    });
    Ok(MarketHandle { address, stop, serving, following, _dir: dir })
}

/// Removes what downloads of an earlier process left.
fn clear(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(file = %entry.path().display(), %error, "a file of an earlier download could not be removed");
        }
    }
}
