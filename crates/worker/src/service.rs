//! Be a worker: one link to a pool, a few tasks at a time, and an eye on the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, Bytes};
use gristmill_datadir::DataDir;
use gristmill_hub::{OutboxError, Outcome};
use gristmill_protocol::convert::{LeaseId, address, fixed};
use gristmill_protocol::link::{self, LinkError, Profile, WorkerEvent, WorkerEvents, WorkerLink};
use gristmill_protocol::wire::{self, pool_frame, worker_frame};
use gristmill_sandbox::{Control, Runner, RunnerConfig, engine_profile};
use gristmill_store::Client;
use gristmill_types::{DealId, ResourceLimits, TaskId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::attempt::{AttemptError, Progress};
use crate::conduct::Conduct;
use crate::config::WorkerConfig;
use crate::error::WorkerError;
use crate::fetch::Fetcher;
use crate::job::{self, JobOutcome, JobSpec};
use crate::journal::{Journal, Phase, Record};
use crate::ledger_side::{LedgerSide, Verdict};
use crate::runners::Runners;

/// Kind and version of a worker's data folder.
pub const DATA_KIND: &str = "worker";
/// See [`DATA_KIND`].
pub const DATA_VERSION: u32 = 1;
/// Messages of a worker's own tasks that wait for it.
const NEWS_MAX: usize = 1_024;

/// Counters of a worker since it started.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Leases taken.
    pub leases: AtomicU64,
    /// Results sealed.
    pub results: AtomicU64,
    /// Contributions on the ledger.
    pub contributions: AtomicU64,
    /// Leases that ended without a result.
    pub failures: AtomicU64,
}

/// A running worker. Dropping the handle does not stop it; [`WorkerHandle::shutdown`] does.
pub struct WorkerHandle {
    address: Address,
    counters: Arc<WorkerCounters>,
    stop: Option<oneshot::Sender<()>>,
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

    /// Stops it: running tasks are killed and given back to the pool, what is on the disk stays there.
    ///
    /// # Errors
    /// What ended it, if it ended before.
    pub async fn shutdown(mut self) -> Result<(), WorkerError> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.join().await
    }

    /// Waits until it ends by itself: when its pool turns it away for good, or its disk fails.
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

/// Starts a worker inside the current tokio runtime.
///
/// # Errors
/// [`WorkerError`] when its folder or sandbox cannot be used. A pool that does not answer is no error: it is dialled
/// until it does.
pub fn start(config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    let dir = DataDir::open(&config.data_dir, DATA_KIND, DATA_VERSION)?;
    let folders = Folders {
        jobs: dir.subdir("jobs")?,
        results: dir.subdir("results")?,
        cache: dir.subdir("cache")?,
        outbox: dir.subdir("outbox")?,
    };
    clear(&folders.jobs);
    let cache_dir = match &config.modules_dir {
        Some(shared) => shared.clone(),
        None => dir.subdir("modules")?,
    };
    let runner = Runner::new(RunnerConfig { child: config.child.clone(), cache_dir })?;
    let runners = Runners::new(runner, &config.container_child, &config.data_dir.join("layers"));
    let journal = Journal::open(&dir.database("journal.redb")?)?;
    let profile = Profile {
        address: config.wallet.address(),
        engine_profile: engine_profile(),
        slots: config.slots.max(1),
        memory_bytes: config.memory_bytes,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let signer = config.wallet.clone();
    let mut link_config = link::WorkerConfig::new(config.pool.clone(), profile);
    // A pool that restarts is back within a second or two; a long pause would idle its workers.
    link_config.backoff.max = Duration::from_secs(5);
    let (link, events) = link::start(link_config, move |text: &[u8]| signer.sign_message(text));
    let (news_sender, news) = mpsc::channel(NEWS_MAX);
    let (stop, stopped) = oneshot::channel();
    let counters = Arc::new(WorkerCounters::default());
    let address = config.wallet.address();
    let service = Service {
        config,
        _dir: dir,
        folders,
        runners,
        journal,
        link,
        news_sender,
        counters: Arc::clone(&counters),
        pool: None,
        jobs: BTreeMap::new(),
        asked: BTreeSet::new(),
        watching: false,
    };
    let task = tokio::spawn(service.run(events, news, stopped));
    Ok(WorkerHandle { address, counters, stop: Some(stop), task })
}

/// Removes what tasks of an earlier process left.
fn clear(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(folder = %entry.path().display(), %error, "a folder of an earlier task could not be removed");
        }
    }
}

struct Folders {
    jobs: PathBuf,
    results: PathBuf,
    cache: PathBuf,
    outbox: PathBuf,
}

/// What the worker knows of its pool, from the welcome.
struct PoolSide {
    ledger: LedgerSide,
    fetcher: Fetcher,
    heartbeat: Duration,
}

struct Job {
    cancel: Control,
    progress: Arc<Progress>,
}

/// What the worker's own tasks report.
enum News {
    Job { lease: LeaseId, outcome: Box<Result<JobOutcome, AttemptError>> },
    JobRefused { lease: LeaseId, reason: wire::DeclineReason, text: String },
    Contributed { task: TaskId, result: Result<Outcome, OutboxError> },
    Revealed { task: TaskId, result: Result<Outcome, OutboxError> },
    Looked { verdicts: Vec<(TaskId, Verdict)> },
    Acted,
}

struct Service {
    config: WorkerConfig,
    /// Holds the folder's lock.
    _dir: DataDir,
    folders: Folders,
    runners: Runners,
    journal: Journal,
    link: WorkerLink,
    news_sender: mpsc::Sender<News>,
    counters: Arc<WorkerCounters>,
    pool: Option<PoolSide>,
    jobs: BTreeMap<LeaseId, Job>,
    /// Tasks of the journal that the pool wants revealed; it asks again after a restart of either.
    asked: BTreeSet<TaskId>,
    /// A look at the ledger is under way.
    watching: bool,
}

impl Service {
    async fn run(
        mut self,
        mut events: WorkerEvents,
        mut news: mpsc::Receiver<News>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), WorkerError> {
        let mut watch = tokio::time::interval(self.config.watch_interval);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_heartbeat = tokio::time::Instant::now();
        let result = loop {
            tokio::select! {
                _ = &mut stopped => break Ok(()),
                event = events.recv() => match event {
                    Some(event) => if let Err(error) = self.on_event(event).await { break Err(error) },
                    None => break Ok(()),
                },
                Some(news) = news.recv() => if let Err(error) = self.on_news(news).await { break Err(error) },
                _ = watch.tick() => self.watch(),
                () = tokio::time::sleep_until(next_heartbeat) => {
                    self.heartbeat();
                    let pause = self.pool.as_ref().map_or(Duration::from_secs(1), |pool| pool.heartbeat);
                    next_heartbeat = tokio::time::Instant::now() + pause;
                }
            }
        };
        for job in self.jobs.values() {
            job.cancel.cancel();
        }
        // The folders of killed tasks are removed by the tasks themselves, once their processes are gone.
        while !self.jobs.is_empty() {
            match tokio::time::timeout(Duration::from_secs(5), news.recv()).await {
                Ok(Some(News::Job { lease, .. } | News::JobRefused { lease, .. })) => drop(self.jobs.remove(&lease)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(pool) = &self.pool {
            pool.ledger.outbox.shutdown().await;
        }
        result
    }

    async fn on_event(&mut self, event: WorkerEvent) -> Result<(), WorkerError> {
        match event {
            WorkerEvent::Connected { welcome, new_session } => self.on_welcome(&welcome, new_session).await,
            WorkerEvent::Disconnected { error, retry_in: Some(pause) } => {
                self.report_disconnect(&error, pause);
                Ok(())
            }
            WorkerEvent::Disconnected { error, retry_in: None } => Err(WorkerError::Link(error)),
            WorkerEvent::Message(body) => self.on_message(body),
            _ => Ok(()),
        }
    }

    fn report_disconnect(&self, error: &LinkError, pause: Duration) {
        tracing::warn!(pool = %self.config.pool, %error, retry_in_ms = pause.as_millis() as u64, "no connection to the pool");
    }

    async fn on_welcome(&mut self, welcome: &wire::Welcome, new_session: bool) -> Result<(), WorkerError> {
        let refuse = |error: gristmill_protocol::convert::FieldError| WorkerError::Welcome(error.to_string());
        let hub = address("welcome.hub_address", &welcome.hub_address).map_err(refuse)?;
        if self.pool.is_none() {
            let wallet = self.config.wallet.clone();
            let ledger = LedgerSide::open(&welcome.rpc_url, hub, wallet, &self.folders.outbox).await?;
            let client = Client::new(&welcome.store_url).map_err(|error| WorkerError::Welcome(error.to_string()))?;
            let fetcher = Fetcher::new(client, self.folders.cache.clone());
            let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.clamp(100, 60_000)));
            self.pool = Some(PoolSide { ledger, fetcher, heartbeat });
        }
        tracing::info!(pool = %self.config.pool, new_session, "connected to the pool");
        if new_session {
            let offered: Vec<Record> =
                self.journal.iter().filter(|record| record.phase == Phase::Offered).cloned().collect();
            for record in offered {
                self.offer(&record);
            }
        }
        Ok(())
    }

    fn on_message(&mut self, body: pool_frame::Body) -> Result<(), WorkerError> {
        match body {
            pool_frame::Body::Lease(lease) => self.on_lease(lease),
            pool_frame::Body::Authorise(authorise) => self.on_authorise(&authorise)?,
            pool_frame::Body::Reveal(reveal) => {
                if let Ok(id) = fixed::<32>("reveal.task_id", &reveal.task_id)
                    && let task = TaskId(id.into())
                    && self.journal.get(task).is_some()
                {
                    self.asked.insert(task);
                    self.watch();
                }
            }
            pool_frame::Body::Cancel(cancel) => {
                if let Ok(id) = fixed("cancel.lease_id", &cancel.lease_id)
                    && let Some(job) = self.jobs.get(&LeaseId(id))
                {
                    job.cancel.cancel();
                }
            }
            pool_frame::Body::Forget(forget) => {
                // Only what was never contributed may be dropped on the pool's word: the rest protects the stake.
                if let Ok(id) = fixed("forget.task_id", &forget.task_id)
                    && let task = TaskId(alloy_primitives::B256::from(id))
                    && self.journal.get(task).is_some_and(|record| record.phase == Phase::Offered)
                {
                    self.journal.remove(task)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_lease(&mut self, lease: wire::Lease) {
        let (Ok(id), Ok(task), Ok(deal)) = (
            fixed("lease.lease_id", &lease.lease_id).map(LeaseId),
            fixed::<32>("lease.task_id", &lease.task_id).map(|id| TaskId(id.into())),
            fixed::<32>("lease.deal_id", &lease.deal_id).map(|id| DealId(id.into())),
        ) else {
            tracing::warn!("the pool sent a malformed lease");
            return;
        };
        if self.config.conduct == Conduct::Mute {
            return;
        }
        if let Some(record) = self.journal.get(task) {
            let record = Record { lease: id.to_string(), ..record.clone() };
            self.send(worker_frame::Body::LeaseAccepted(wire::LeaseAccepted { lease_id: id.to_vec() }));
            self.offer(&record);
            return;
        }
        if let Some((reason, text)) = self.objection(&lease) {
            self.decline(id, reason, text);
            return;
        }
        let Some(pool) = &self.pool else { return };
        self.send(worker_frame::Body::LeaseAccepted(wire::LeaseAccepted { lease_id: id.to_vec() }));
        self.counters.leases.fetch_add(1, Ordering::Relaxed);
        let cancel = Control::new();
        let progress = Arc::new(Progress::default());
        self.jobs.insert(id, Job { cancel: cancel.clone(), progress: Arc::clone(&progress) });
        let spec = JobSpec {
            task,
            deal,
            index: lease.task_index,
            lease: id.to_string(),
            worker: self.config.wallet.address(),
            conduct: self.config.conduct,
            progress,
            folder: self.folders.jobs.join(id.to_string()),
            results: self.folders.results.clone(),
        };
        let (ledger, fetcher, runners) = (pool.ledger.clone(), pool.fetcher.clone(), self.runners.clone());
        let news = self.news_sender.clone();
        tokio::spawn(async move {
            let message = match job::run(spec, &ledger, &fetcher, runners, cancel).await {
                Ok(outcome) => News::Job { lease: id, outcome: Box::new(outcome) },
                Err(refused) => News::JobRefused { lease: id, reason: refused.reason, text: refused.text },
            };
            let _ = news.send(message).await;
        });
    }

    /// Why this lease is not taken, if so.
    fn objection(&self, lease: &wire::Lease) -> Option<(wire::DeclineReason, String)> {
        use wire::DeclineReason as Reason;
        if self.jobs.len() >= self.config.slots as usize {
            return Some((Reason::Busy, format!("all {} slots are taken", self.config.slots)));
        }
        match (lease.app_type.as_str(), &self.runners.containers) {
            ("wasm", _) | ("oci", Ok(_)) => {}
            ("oci", Err(why)) => {
                return Some((Reason::AppType, format!("this worker runs no container images: {why}")));
            }
            (other, _) => return Some((Reason::AppType, format!("this worker runs wasm and oci, not `{other}`"))),
        }
        let needed = ResourceLimits::of_work_clock(lease.work_clock_s).memory_bytes;
        if needed > self.config.memory_bytes {
            let text =
                format!("the category grants {needed} bytes of memory, this worker lends {}", self.config.memory_bytes);
            return Some((Reason::Limits, text));
        }
        self.pool.is_none().then(|| (Reason::Busy, "the ledger is not connected yet".to_owned()))
    }

    fn on_authorise(&mut self, authorise: &wire::Authorise) -> Result<(), WorkerError> {
        let Ok(id) = fixed::<32>("authorise.task_id", &authorise.task_id) else { return Ok(()) };
        let task = TaskId(id.into());
        let Some(record) = self.journal.get(task).cloned() else {
            let text = "this worker holds no result of the task".to_owned();
            self.send(worker_frame::Body::ContributeFailed(wire::ContributeFailed { task_id: id.to_vec(), text }));
            return Ok(());
        };
        if !matches!(record.phase, Phase::Offered | Phase::Authorised { .. }) {
            return Ok(());
        }
        let signature = Bytes::copy_from_slice(&authorise.signature);
        self.journal.set_phase(task, Phase::Authorised { signature: signature.clone() })?;
        self.contribute(record, signature);
        Ok(())
    }

    fn contribute(&self, record: Record, signature: Bytes) {
        let Some(pool) = &self.pool else { return };
        let (ledger, news) = (pool.ledger.clone(), self.news_sender.clone());
        tokio::spawn(async move {
            let result = ledger.contribute(&record, signature).await;
            let _ = news.send(News::Contributed { task: record.task, result }).await;
        });
    }

    async fn on_news(&mut self, news: News) -> Result<(), WorkerError> {
        match news {
            News::Job { lease, outcome } => self.on_job(lease, *outcome)?,
            News::JobRefused { lease, reason, text } => {
                self.jobs.remove(&lease);
                self.decline(lease, reason, text);
            }
            News::Contributed { task, result } => self.on_contributed(task, result)?,
            News::Revealed { task, result } => match result {
                Ok(outcome) => {
                    self.journal.set_phase(task, Phase::Revealed)?;
                    let tx_hash = outcome.tx_hash.to_vec();
                    self.send(worker_frame::Body::Revealed(wire::Revealed {
                        task_id: task.as_bytes().to_vec(),
                        tx_hash,
                    }));
                }
                Err(error) => tracing::warn!(%task, %error, "the reveal did not succeed"),
            },
            News::Looked { verdicts } => {
                self.watching = false;
                for (task, verdict) in verdicts {
                    self.on_verdict(task, verdict)?;
                }
            }
            News::Acted => {}
        }
        Ok(())
    }

    fn on_job(&mut self, lease: LeaseId, outcome: Result<JobOutcome, AttemptError>) -> Result<(), WorkerError> {
        self.jobs.remove(&lease);
        match outcome {
            Ok(outcome) => {
                // Synced before the pool hears of it, and long before anybody commits.
                self.journal.put(outcome.record.clone())?;
                self.counters.results.fetch_add(1, Ordering::Relaxed);
                self.offer(&outcome.record);
            }
            Err(error) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                let text = gristmill_protocol::check::shorten(job::chain(&error));
                tracing::warn!(%lease, error = %text, "a task brought no result");
                let reason = job::fail_reason(&error).into();
                self.send(worker_frame::Body::LeaseFailed(wire::LeaseFailed {
                    lease_id: lease.to_vec(),
                    reason,
                    text,
                }));
            }
        }
        Ok(())
    }

    fn on_contributed(&mut self, task: TaskId, result: Result<Outcome, OutboxError>) -> Result<(), WorkerError> {
        match result {
            Ok(outcome) => {
                self.counters.contributions.fetch_add(1, Ordering::Relaxed);
                self.journal.set_phase(task, Phase::Contributed)?;
                let (task_id, tx_hash) = (task.as_bytes().to_vec(), outcome.tx_hash.to_vec());
                self.send(worker_frame::Body::Contributed(wire::Contributed { task_id, tx_hash }));
            }
            // Stopping: the outbox goes on after the restart.
            Err(OutboxError::Stopped) => {}
            Err(error) => {
                tracing::warn!(%task, %error, "the contribution did not succeed");
                self.journal.set_phase(task, Phase::Offered)?;
                let text = gristmill_protocol::check::shorten(error.to_string());
                let task_id = task.as_bytes().to_vec();
                self.send(worker_frame::Body::ContributeFailed(wire::ContributeFailed { task_id, text }));
            }
        }
        Ok(())
    }

    /// Asks the ledger what it wants of the results under way.
    fn watch(&mut self) {
        let Some(pool) = &self.pool else { return };
        if self.watching || self.journal.is_empty() {
            return;
        }
        self.watching = true;
        let records: Vec<Record> = self.journal.iter().cloned().collect();
        self.asked.retain(|task| self.journal.get(*task).is_some());
        let (ledger, news, asked) = (pool.ledger.clone(), self.news_sender.clone(), self.asked.clone());
        tokio::spawn(async move {
            let verdicts = ledger.look(&records, &asked).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the ledger could not be read");
                Vec::new()
            });
            let _ = news.send(News::Looked { verdicts }).await;
        });
    }

    fn on_verdict(&mut self, task: TaskId, verdict: Verdict) -> Result<(), WorkerError> {
        let (Some(record), Some(pool)) = (self.journal.get(task).cloned(), &self.pool) else { return Ok(()) };
        let (ledger, news) = (pool.ledger.clone(), self.news_sender.clone());
        match verdict {
            Verdict::Over | Verdict::TooLate => self.journal.remove(task)?,
            Verdict::Contributed => self.journal.set_phase(task, Phase::Contributed)?,
            Verdict::Revealed => self.journal.set_phase(task, Phase::Revealed)?,
            Verdict::Reveal if matches!(self.config.conduct, Conduct::Silent | Conduct::Copier) => {}
            Verdict::Reveal => {
                tokio::spawn(async move {
                    let result = ledger.reveal(&record).await;
                    let _ = news.send(News::Revealed { task, result }).await;
                });
            }
            Verdict::Finalize | Verdict::Claim => {
                tokio::spawn(async move {
                    let result = match verdict {
                        Verdict::Finalize => ledger.finalize(&record).await,
                        _ => ledger.claim(task).await,
                    };
                    if let Err(error) = result {
                        tracing::debug!(%task, %error, "acting in the pool's place did not succeed");
                    }
                    let _ = news.send(News::Acted).await;
                });
            }
        }
        Ok(())
    }

    /// Tells the pool of a result. What the pool does not hear now it is told again in the next session.
    fn offer(&self, record: &Record) {
        let Ok(lease_id) = alloy_primitives::hex::decode(&record.lease) else { return };
        self.send(worker_frame::Body::ResultReady(wire::ResultReady {
            lease_id,
            task_id: record.task.as_bytes().to_vec(),
            result_hash: record.result_hash.to_vec(),
            result_seal: record.result_seal.to_vec(),
            sealed_cid: record.sealed.as_bytes().to_vec(),
            sealed_size: record.sealed_size,
            fuel_used: record.fuel_used,
        }));
    }

    fn decline(&self, lease: LeaseId, reason: wire::DeclineReason, text: String) {
        let text = gristmill_protocol::check::shorten(text);
        tracing::info!(%lease, %text, "a lease is declined");
        let declined = wire::LeaseDeclined { lease_id: lease.to_vec(), reason: reason.into(), text };
        self.send(worker_frame::Body::LeaseDeclined(declined));
    }

    fn heartbeat(&self) {
        let leases = self
            .jobs
            .iter()
            .map(|(id, job)| wire::LeaseProgress {
                lease_id: id.to_vec(),
                items_done: job.progress.done.load(Ordering::Relaxed),
                items_total: job.progress.total.load(Ordering::Relaxed).max(1),
            })
            .collect();
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        // Without a connection a heartbeat is dropped, which is right.
        let _ = self.link.try_send(worker_frame::Body::Heartbeat(wire::Heartbeat { leases, unix_ms }));
    }

    /// Sends in the background: the window may be full, and the worker's loop must not wait for it.
    fn send(&self, body: worker_frame::Body) {
        if let Err(error) = self.link.try_send(body.clone()) {
            tracing::debug!(%error, "a message to the pool waits");
            let link = self.link.clone();
            tokio::spawn(async move {
                let _ = link.send(body).await;
            });
        }
    }
}
