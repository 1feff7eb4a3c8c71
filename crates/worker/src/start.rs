//! Start a worker: what the services of its pools share, the services, and who waits for them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address;
use gristmill_datadir::DataDir;
use gristmill_machine::Lent;
use gristmill_owner::Command;
use gristmill_protocol::control::Listening;
use gristmill_protocol::page::Pages;
use gristmill_sandbox::{PoolConfig, Runner, RunnerConfig};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::about::{About, Looking};
use crate::board::{Board, unix_ms};
use crate::config::{POOLS_MAX, WorkerConfig};
use crate::control::{self, COMMAND_FILE};
use crate::error::WorkerError;
use crate::guard::Guard;
use crate::ledger_side::SharedLedger;
use crate::runners::{Runners, RunnersConfig};
use crate::service::{DATA_KIND, DATA_VERSION, Service, Shared, WorkerCounters};
use crate::status::{Reporter, Status};
use crate::status_page;

/// Sandboxes that are started and locked down before a task needs them.
const SANDBOXES_READY: usize = 1;

/// A running worker. Dropping the handle does not stop it; [`WorkerHandle::shutdown`] does.
pub struct WorkerHandle {
    address: Address,
    counters: Arc<WorkerCounters>,
    reporter: Reporter,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("address", &self.address).finish_non_exhaustive()
    }
}

impl WorkerHandle {
    /// Its ledger address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// What it has done since it started.
    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// What it does, and why not more.
    pub fn status(&self) -> Status {
        self.reporter.status()
    }

    /// The owner says something by hand. It holds until something else is said, or the worker ends; what is said through
    /// [`crate::control`] is remembered beyond that.
    pub fn command(&self, command: Command) {
        self.reporter.board.command(command);
    }

    /// Stops it: running tasks are killed and given back to the pool, what is on the disk stays there.
    ///
    /// # Errors
    /// What ended it, if it ended before.
    pub async fn shutdown(mut self) -> Result<(), WorkerError> {
        self.stop.send_replace(true);
        self.join().await
    }

    /// Waits until it ends by itself: when it is drained, all its pools turn it away for good, or its disk fails.
    ///
    /// # Errors
    /// What ended it.
    pub async fn join(&mut self) -> Result<(), WorkerError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }
}

/// What looks after the machine and answers its owner. It ends when it is dropped.
type Watchers = (Option<Guard>, Option<Listening>, Option<Pages>, Option<Looking>);

/// Starts a worker inside the current tokio runtime.
///
/// # Errors
/// [`WorkerError`] when its folder or sandbox cannot be used. A pool that does not answer is no error: it is dialled
/// until it does.
pub fn start(mut config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    let pools = config.pools.len();
    if !(1..=POOLS_MAX).contains(&pools) {
        return Err(WorkerError::Pools(pools));
    }
    let keys: BTreeSet<_> = config.pools.iter().map(|pool| pool.key.to_string()).collect();
    if keys.len() < pools {
        return Err(WorkerError::SamePool);
    }
    let dir = DataDir::open(&config.data_dir, DATA_KIND, DATA_VERSION)?;
    let cache_dir = match &config.modules_dir {
        Some(shared) => shared.clone(),
        None => dir.subdir("modules")?,
    };
    let ready = if config.elsewhere.is_some() { 0 } else { SANDBOXES_READY };
    let children = PoolConfig { ready, ..PoolConfig::default() };
    let runner = Runner::with_pool(RunnerConfig { child: config.child.clone(), cache_dir }, children)?;
    let runners = RunnersConfig {
        container_child: &config.container_child,
        layers: &config.data_dir.join("layers"),
        registries: &config.registries,
        bandwidth: &config.bandwidth,
        lends: &config.lends,
        runtime: &config.runtime,
    };
    let runners = Runners::new(runner, &runners);
    let missing = [runners.modules.as_ref().ok(), runners.containers.as_ref().ok().map(|found| &found.missing)];
    let missing: Vec<String> = missing.into_iter().flatten().flatten().cloned().collect();
    let said = control::remembered(&dir.path().join(COMMAND_FILE));
    let board = Board::new(config.policy.clone(), config.slots.max(1), said, pools);
    board.add_missing_guarantees(&missing);
    let guard = match config.senses.take() {
        Some(senses) => Some(Guard::start(senses, board.clone()).map_err(WorkerError::Guard)?),
        None => None,
    };
    let lent = Lent {
        cores: Some(config.slots.max(1)),
        memory_mib: Some(config.memory_bytes >> 20),
        disk_mib: Some(config.disk_bytes >> 20),
    };
    let about = About::open(dir.path(), config.told.clone(), lent);
    let looking = match config.benchmark {
        true => Some(about.look(board.clone(), dir.path()).map_err(WorkerError::Guard)?),
        false => None,
    };
    let address = config.wallet.address();
    let counters = Arc::new(WorkerCounters::default());
    let reporter = Reporter {
        worker: address,
        pool_urls: config.pools.iter().map(ToString::to_string).collect(),
        since_unix_ms: unix_ms(),
        board: board.clone(),
        counters: Arc::clone(&counters),
        about: about.clone(),
    };
    let control = match config.control_socket {
        true => Some(control::listen(dir.path(), reporter.clone())?),
        false => None,
    };
    let page = config.status_page.map(|port| status_page::serve(port, reporter.clone())).transpose()?;
    let ledger = SharedLedger::new(dir.subdir("outbox")?);
    let shared = Arc::new(Shared { config, dir, board, about, runners, counters: Arc::clone(&counters), ledger });
    let services = (0..pools).map(|index| Service::open(Arc::clone(&shared), index));
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(shared, services, stopped, (guard, control, page, looking)));
    Ok(WorkerHandle { address, counters, reporter, stop, task })
}

/// Serves all pools, until each is over. One that turns the worker away does not end the others.
async fn serve(
    shared: Arc<Shared>,
    services: Vec<Service>,
    stopped: watch::Receiver<bool>,
    watchers: Watchers,
) -> Result<(), WorkerError> {
    let mut running = JoinSet::new();
    for service in services {
        running.spawn(service.run(stopped.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(ended) => result = result.and(ended),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    drop(watchers);
    shared.ledger.shutdown().await;
    if result.is_ok() && shared.board.is_draining() && !*stopped.borrow() {
        // The drain is over: the next start works again.
        if let Err(error) = control::remember(&shared.dir.path().join(COMMAND_FILE), Command::Run) {
            tracing::warn!(%error, "that it was drained cannot be noted: the next start will drain too");
        }
    }
    result
}
