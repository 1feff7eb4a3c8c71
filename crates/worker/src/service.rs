//! Serve one pool: a link to it, a few tasks at a time, and an eye on the ledger.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::Bytes;
use gristmill_datadir::DataDir;
use gristmill_hub::{Deal, OutboxError, Outcome};
use gristmill_owner::{Verdict as Allowed, Work};
use gristmill_protocol::convert::{LeaseId, address, fixed};
use gristmill_protocol::link::{self, LinkError, Profile, WorkerEvent, WorkerEvents, WorkerLink};
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::wire::{self, pool_frame, worker_frame};
use gristmill_sandbox::{Control, engine_profile};
use gristmill_store::Client;
use gristmill_types::{DealId, Needs, ResourceLimits, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument;

use crate::about::About;
use crate::attempt::{AttemptError, Progress};
use crate::board::{self, Board, PoolIndex, Seat, held_ms_max, unix_ms};
use crate::conduct::Conduct;
use crate::config::WorkerConfig;
use crate::describe::Description;
use crate::earnings::{self, LedgerPlace};
use crate::error::WorkerError;
use crate::fetch::Fetcher;
use crate::job::{self, JobOutcome, JobSpec};
use crate::journal::{Journal, Phase, Record};
use crate::ledger_side::{LedgerSide, SharedLedger, Verdict};
use crate::plan::Rejection;
use crate::pools;
use crate::runners::Runners;

/// Kind and version of a worker's data folder.
pub const DATA_KIND: &str = "worker";
/// See [`DATA_KIND`].
pub const DATA_VERSION: u32 = 1;
/// Kind of the folder in it that belongs to one pool.
pub(crate) const POOL_DATA_KIND: &str = "worker-pool";
/// The folder of those folders.
const POOLS_FOLDER: &str = "pools";
/// Digits of a pool's key that name its folder.
const POOL_FOLDER_DIGITS: usize = 16;
/// Messages of a worker's own tasks that wait for it.
const NEWS_MAX: usize = 1_024;
/// A worker that has not been allowed to work for so long tells its pool, which then plans without it.
const RETIRE_AFTER: Duration = Duration::from_secs(10);
/// The pause before a ledger that did not answer is asked again.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// How long the last words to a pool are waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Counters of a worker since it started.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Leases taken.
    pub leases: AtomicU64,
    /// Leases declined.
    pub declined: AtomicU64,
    /// Results sealed.
    pub results: AtomicU64,
    /// Contributions on the ledger.
    pub contributions: AtomicU64,
    /// Leases that ended without a result.
    pub failures: AtomicU64,
}

fn dial(shared: &Shared, url: &PoolUrl) -> (WorkerLink, WorkerEvents) {
    let config = &shared.config;
    let profile = Profile {
        address: config.wallet.address(),
        engine_profile: engine_profile(),
        slots: shared.board.slots_offered(),
        memory_bytes: config.memory_bytes,
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        gpus: shared.runners.gpus_lent(),
        network: shared.runners.lent().network,
    };
    let signer = config.wallet.clone();
    let mut link_config = link::WorkerConfig::new(url.clone(), profile);
    // A pool that restarts is back within a second or two; a long pause would idle its workers.
    link_config.backoff.max = Duration::from_secs(5);
    link::start(link_config, move |text: &[u8]| signer.sign_message(text))
}

/// Waits until it is to stop. Cancel safe.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody can say it any more, because nobody holds the handle.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending().await
    }
}

/// Where a pool's part of the worker's folder is, below that.
pub(crate) fn pool_folder_name(url: &PoolUrl) -> PathBuf {
    let key = url.key.to_string();
    PathBuf::from(POOLS_FOLDER).join(key.chars().take(POOL_FOLDER_DIGITS).collect::<String>())
}

/// Makes a pool's part of the worker's folder. What an earlier version, which knew one pool only, left at the top of it becomes
/// the first pool's.
fn pool_folder(dir: &DataDir, url: &PoolUrl) -> Result<PathBuf, WorkerError> {
    dir.subdir(POOLS_FOLDER)?;
    let folder = dir.path().join(pool_folder_name(url));
    let old = dir.path().join("journal.redb");
    if old.exists() {
        let made = DataDir::open(&folder, POOL_DATA_KIND, DATA_VERSION)?;
        // The journal last: until it has moved, the next start goes on where this one broke off.
        for name in ["results", "cache", "journal.redb"] {
            let (from, to) = (dir.path().join(name), made.path().join(name));
            if from.exists() {
                std::fs::rename(&from, &to).map_err(|source| WorkerError::Move { from, to, source })?;
            }
        }
    }
    Ok(folder)
}

/// Removes what tasks of an earlier process left.
fn clear(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(folder = %entry.path().display(), %error, "a folder of an earlier task could not be removed");
        }
    }
}

/// What the services of all pools share.
pub(crate) struct Shared {
    pub config: WorkerConfig,
    /// Holds the folder's lock.
    pub dir: DataDir,
    pub board: Board,
    pub about: About,
    pub runners: Runners,
    pub counters: Arc<WorkerCounters>,
    pub ledger: SharedLedger,
}

/// A pool's own part of the worker's folder.
struct Folders {
    /// Holds the folder's lock.
    _dir: DataDir,
    jobs: PathBuf,
    results: PathBuf,
    cache: PathBuf,
}

/// What the worker knows of its pool, from the welcome.
struct PoolSide {
    ledger: LedgerSide,
    fetcher: Fetcher,
    heartbeat: Duration,
}

/// A welcome that is to be taken in when the pool's ledger answers.
struct Unanswered {
    /// When it is asked again.
    at: Instant,
    welcome: Box<wire::Welcome>,
    new_session: bool,
}

/// Waits until the ledger is to be asked again. Cancel safe.
async fn due(unanswered: &mut Option<Unanswered>) -> (Box<wire::Welcome>, bool) {
    if let Some(waiting) = &*unanswered {
        tokio::time::sleep_until(waiting.at).await;
    }
    match unanswered.take() {
        Some(Unanswered { welcome, new_session, .. }) => (welcome, new_session),
        None => std::future::pending().await,
    }
}

/// What the worker's own tasks report.
enum News {
    Job { lease: LeaseId, outcome: Box<Result<JobOutcome, AttemptError>> },
    JobRefused { lease: LeaseId, task: TaskId, reason: wire::DeclineReason, text: String },
    Contributed { task: TaskId, result: Result<Outcome, OutboxError> },
    Revealed { task: TaskId, result: Result<Outcome, OutboxError> },
    Looked { verdicts: Vec<(TaskId, Verdict)> },
    Acted,
}

/// What serves a pool.
pub(crate) struct Service {
    shared: Arc<Shared>,
    url: PoolUrl,
    board: Seat,
    folders: Folders,
    journal: Journal,
    link: WorkerLink,
    events: WorkerEvents,
    news_sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    pool: Option<PoolSide>,
    /// The welcome of a pool whose ledger did not answer.
    unanswered: Option<Unanswered>,
    description: Description,
    /// Tasks of the journal that the pool wants revealed; it asks again after a restart of either.
    asked: BTreeSet<TaskId>,
    /// Tasks whose contribution is under way.
    contributing: BTreeSet<TaskId>,
    /// Tasks whose reveal is under way.
    revealing: BTreeSet<TaskId>,
    /// A look at the ledger is under way.
    watching: bool,
    /// Since when it may not take tasks.
    idle_since: Option<Instant>,
    /// The pool was told to plan without this worker.
    retired: bool,
    /// It ends: what is cancelled now is given back because of that.
    stopping: bool,
}

impl Service {
    /// A service for the pool at this place of the worker's pools. Dials it.
    ///
    /// # Errors
    /// When the pool's part of the worker's folder cannot be used.
    pub(crate) fn open(shared: Arc<Shared>, index: PoolIndex) -> Result<Self, WorkerError> {
        let url = shared.config.pools[index].clone();
        let dir = DataDir::open(pool_folder(&shared.dir, &url)?, POOL_DATA_KIND, DATA_VERSION)?;
        let journal = Journal::open(&dir.database("journal.redb")?)?;
        let (jobs, results, cache) = (dir.subdir("jobs")?, dir.subdir("results")?, dir.subdir("cache")?);
        let folders = Folders { _dir: dir, jobs, results, cache };
        clear(&folders.jobs);
        let (link, events) = dial(&shared, &url);
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        Ok(Self {
            board: shared.board.seat(index),
            shared,
            url,
            folders,
            journal,
            link,
            events,
            news_sender,
            news,
            pool: None,
            unanswered: None,
            description: Description::default(),
            asked: BTreeSet::new(),
            contributing: BTreeSet::new(),
            revealing: BTreeSet::new(),
            watching: false,
            idle_since: None,
            retired: false,
            stopping: false,
        })
    }

    /// Serves until `stopped` says so, or the worker is drained.
    ///
    /// # Errors
    /// What ended it: the pool turned the worker away for good, is on another ledger than the first, or the disk failed.
    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<(), WorkerError> {
        let mut watch = tokio::time::interval(self.shared.config.watch_interval);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_heartbeat = Instant::now();
        let board = self.board.clone();
        let result = loop {
            tokio::select! {
                () = told(&mut stopped) => break Ok(()),
                event = self.events.recv() => match event {
                    Some(event) => if let Err(error) = self.on_event(event).await { break Err(error) },
                    None => break Ok(()),
                },
                Some(news) = self.news.recv() => if let Err(error) = self.on_news(news).await { break Err(error) },
                _ = watch.tick() => self.watch(),
                () = board.changed() => {}
                (welcome, new_session) = due(&mut self.unanswered), if self.link.is_connected() => {
                    if let Err(error) = self.on_welcome(welcome, new_session).await { break Err(error) }
                }
                () = tokio::time::sleep_until(next_heartbeat) => {
                    self.heartbeat();
                    let pause = self.pool.as_ref().map_or(Duration::from_secs(1), |pool| pool.heartbeat);
                    next_heartbeat = Instant::now() + pause;
                }
            }
            let waiting = self.journal.len();
            board.set_pool(|pool| pool.results_waiting = waiting);
            self.log();
            if self.is_drained() {
                break Ok(());
            }
            if self.obey() {
                self.redial().await;
            }
        };
        self.wind_up().await;
        if let Err(error) = &result {
            tracing::warn!(pool = %self.url, error = %job::chain(error), "this pool is no longer served");
            let trouble = job::chain(error);
            board.set_pool(|pool| (pool.connected, pool.trouble) = (false, Some(trouble)));
        }
        result
    }

    fn log(&self) {
        for line in self.board.board.take_said() {
            tracing::info!(task = line.task.map(tracing::field::display), "{}", line.text);
        }
    }

    /// Gives back what runs, and waits until nothing of it is left.
    async fn wind_up(&mut self) {
        self.stopping = true;
        self.board.cancel_all();
        // The folders of killed tasks are removed by the tasks themselves, once their processes are gone.
        while self.board.jobs() > 0 {
            let done = match tokio::time::timeout(Duration::from_secs(5), self.news.recv()).await {
                Ok(Some(News::Job { lease, outcome })) => self.on_job(lease, *outcome),
                Ok(Some(News::JobRefused { lease, task, reason, text })) => {
                    self.board.remove(lease);
                    self.decline((lease, task), reason, text);
                    Ok(())
                }
                Ok(Some(_)) => Ok(()),
                Ok(None) | Err(_) => break,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "a result that came while the worker ended is lost");
            }
        }
        if self.link.is_connected() {
            // A pool that does not take them in time notices by the silence.
            let _ = tokio::time::timeout(LAST_WORDS, self.link.flush()).await;
        }
    }

    /// Whether the owner drained it and all is done.
    fn is_drained(&self) -> bool {
        let drained = self.shared.board.is_draining() && self.board.jobs() == 0 && self.journal.is_empty();
        if drained {
            tracing::info!(pool = %self.url, "drained: nothing is left to do");
        }
        drained
    }

    /// Does towards the pool what the owner's will asks for. A worker that may not work for a while, or drains, says so, and the
    /// pool plans without it. True when it may work again: a pool takes the word back with a new connection.
    fn obey(&mut self) -> bool {
        if self.shared.board.verdict() == Allowed::Work {
            self.idle_since = None;
            return std::mem::take(&mut self.retired);
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let is_time = self.shared.board.is_draining() || since.elapsed() >= RETIRE_AFTER;
        if is_time && !self.retired && self.link.is_connected() {
            self.retired = true;
            self.send(worker_frame::Body::Draining(wire::Draining {}));
        }
        false
    }

    async fn redial(&mut self) {
        // The old link's last words first; one that is cut has none.
        if self.link.is_connected() {
            let _ = tokio::time::timeout(LAST_WORDS, self.link.flush()).await;
        }
        (self.link, self.events) = dial(&self.shared, &self.url);
    }

    async fn on_event(&mut self, event: WorkerEvent) -> Result<(), WorkerError> {
        match event {
            WorkerEvent::Connected { welcome, new_session } => self.on_welcome(welcome, new_session).await,
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
        tracing::warn!(pool = %self.url, %error, retry_in_ms = pause.as_millis() as u64, "no connection to the pool");
        let trouble = job::chain(error);
        self.board.set_pool(|pool| (pool.connected, pool.trouble) = (false, Some(trouble)));
    }

    async fn on_welcome(&mut self, welcome: Box<wire::Welcome>, new_session: bool) -> Result<(), WorkerError> {
        // What an earlier welcome began, and no ledger let it end.
        let new_session = self.unanswered.take().is_some_and(|earlier| earlier.new_session) || new_session;
        let refuse = |error: gristmill_protocol::convert::FieldError| WorkerError::Welcome(error.to_string());
        let hub = address("welcome.hub_address", &welcome.hub_address).map_err(refuse)?;
        if self.pool.is_none() {
            let place = match &self.shared.config.found_on {
                Some(place) => pools::admit(place, &welcome).await?,
                None => LedgerPlace { rpc: welcome.rpc_url.clone(), hub },
            };
            let ledger = match self.shared.ledger.connect(&place.rpc, hub, &self.shared.config.wallet).await {
                Err(error) if error.is_transient() => {
                    self.ask_again(&error, welcome, new_session);
                    return Ok(());
                }
                ledger => ledger?,
            };
            let client = Client::new(&welcome.store_url).map_err(|error| WorkerError::Welcome(error.to_string()))?;
            let client = client.with_bandwidth(self.shared.config.bandwidth.clone());
            let fetcher = Fetcher::new(client, self.folders.cache.clone());
            let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.clamp(100, 60_000)));
            self.pool = Some(PoolSide { ledger, fetcher, heartbeat });
            if let Err(error) = earnings::remember(self.shared.dir.path(), &place) {
                tracing::warn!(%error, "where the ledger is cannot be noted: `gristmill worker earnings` will not find it");
            }
        }
        tracing::info!(pool = %self.url, new_session, "connected to the pool");
        let address = address("welcome.pool_address", &welcome.pool_address).ok();
        self.board.set_pool(|pool| (pool.connected, pool.trouble, pool.address) = (true, None, address));
        // To the pool a worker that connects is ready; and what it still has must be heard of before the pool gives it up.
        self.retired = false;
        self.description.renew();
        self.heartbeat();
        if new_session {
            let offered: Vec<Record> =
                self.journal.iter().filter(|record| record.phase == Phase::Offered).cloned().collect();
            for record in offered {
                self.offer(&record);
            }
        }
        Ok(())
    }

    /// A pool is not given up because its ledger is away for a moment. It is told of leases that the worker is busy meanwhile.
    fn ask_again(&mut self, error: &WorkerError, welcome: Box<wire::Welcome>, new_session: bool) {
        tracing::warn!(pool = %self.url, error = %job::chain(error), "the pool's ledger does not answer, asking again");
        let trouble = job::chain(error);
        self.board.set_pool(|pool| (pool.connected, pool.trouble) = (false, Some(trouble)));
        self.unanswered = Some(Unanswered { at: Instant::now() + LEDGER_PAUSE, welcome, new_session });
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
                    && let Some(control) = self.board.control(LeaseId(id))
                {
                    let task = self.board.task(LeaseId(id)).map(tracing::field::display);
                    tracing::info!(task, lease = %LeaseId(id), text = cancel.text, "the pool takes a lease back");
                    control.cancel();
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
        if self.shared.config.conduct == Conduct::Mute {
            return;
        }
        if let Some(record) = self.journal.get(task) {
            let record = Record { lease: id.to_string(), ..record.clone() };
            self.send(worker_frame::Body::LeaseAccepted(wire::LeaseAccepted { lease_id: id.to_vec() }));
            self.offer(&record);
            return;
        }
        if let Some((reason, text)) = self.objection(&lease) {
            self.decline((id, task), reason, text);
            return;
        }
        let Some(pool) = &self.pool else { return };
        let cancel = Control::new();
        let progress = Arc::new(Progress::default());
        let rest_s = lease.contribution_deadline.saturating_sub(unix_ms() / 1_000);
        let held_ms_max = held_ms_max(lease.work_clock_s, rest_s);
        self.board.add(id, board::Job::new(task, cancel.clone(), Arc::clone(&progress), held_ms_max));
        let spec = JobSpec {
            task,
            deal,
            index: lease.task_index,
            lease: id.to_string(),
            worker: self.shared.config.wallet.address(),
            conduct: self.shared.config.conduct,
            elsewhere: self.shared.config.elsewhere.clone(),
            progress,
            folder: self.folders.jobs.join(id.to_string()),
            results: self.folders.results.clone(),
        };
        let (ledger, fetcher, runners) = (pool.ledger.clone(), pool.fetcher.clone(), self.shared.runners.clone());
        let news = self.news_sender.clone();
        let admit = self.admission(id, task);
        let span = task_span(task, deal);
        span.record("lease", tracing::field::display(id));
        let working = async move {
            let message = match job::run(spec, &ledger, &fetcher, runners, cancel, &admit).await {
                Ok(outcome) => News::Job { lease: id, outcome: Box::new(outcome) },
                Err(refused) => News::JobRefused { lease: id, task, reason: refused.reason, text: refused.text },
            };
            let _ = news.send(message).await;
        };
        tokio::spawn(working.instrument(span));
    }

    /// Asks the owner's policy of a lease whose deal was read, and tells the pool when it is taken.
    fn admission(
        &self,
        lease: LeaseId,
        task: TaskId,
    ) -> impl Fn(&Deal) -> Result<(), Rejection> + Send + Sync + 'static {
        let (board, link, counters) = (self.board.clone(), self.link.clone(), Arc::clone(&self.shared.counters));
        let lent = self.shared.runners.lent();
        move |deal| {
            let lacking = Needs::of_tag(deal.tag).without(lent);
            if !lacking.is_none() {
                return Err(Rejection::NotLent(lacking));
            }
            let (app, publisher) = (deal.app.address, deal.app.owner);
            let work = Work { pool: deal.workerpool.address, app, publisher, requester: deal.requester };
            board.admit(lease, work)?;
            counters.leases.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%task, %lease, %app, requester = %deal.requester, "a task is taken");
            let accepted = wire::LeaseAccepted { lease_id: lease.to_vec() };
            send(&link, worker_frame::Body::LeaseAccepted(accepted));
            Ok(())
        }
    }

    /// Why this lease is not taken, if so.
    fn objection(&self, lease: &wire::Lease) -> Option<(wire::DeclineReason, String)> {
        use wire::DeclineReason as Reason;
        if self.shared.board.verdict() != Allowed::Work {
            return Some((Reason::Busy, format!("the machine's owner: {}", self.shared.board.reasons())));
        }
        if let Some(broken) = self.shared.about.broken() {
            return Some((Reason::Busy, format!("this machine computes wrongly: {broken}")));
        }
        let slots = self.shared.board.slots_offered();
        if self.shared.board.jobs() >= slots as usize {
            return Some((Reason::Busy, format!("all {slots} slots are taken")));
        }
        if self.results_bytes() >= self.disk_bytes() {
            let text = format!(
                "results that wait fill the {} bytes of disk that this worker lends to a pool",
                self.disk_bytes()
            );
            return Some((Reason::Busy, text));
        }
        if let Some(objection) = self.cannot_run(lease).filter(|_| self.shared.config.elsewhere.is_none()) {
            return Some(objection);
        }
        self.pool.is_none().then(|| (Reason::Busy, "the ledger is not connected yet".to_owned()))
    }

    /// Why this machine cannot run it, if so.
    fn cannot_run(&self, lease: &wire::Lease) -> Option<(wire::DeclineReason, String)> {
        use wire::DeclineReason as Reason;
        let Runners { modules, containers, .. } = &self.shared.runners;
        match (lease.app_type.as_str(), modules, containers) {
            ("wasm", Ok(_), _) | ("oci", _, Ok(_)) => {}
            ("wasm", Err(why), _) => return Some((Reason::AppType, format!("this worker runs no modules: {why}"))),
            ("oci", _, Err(why)) => {
                return Some((Reason::AppType, format!("this worker runs no container images: {why}")));
            }
            (other, ..) => return Some((Reason::AppType, format!("this worker runs wasm and oci, not `{other}`"))),
        }
        let needed = ResourceLimits::of_work_clock(lease.work_clock_s).memory_bytes;
        if needed > self.shared.config.memory_bytes {
            let text = format!(
                "the category grants {needed} bytes of memory, this worker lends {}",
                self.shared.config.memory_bytes
            );
            return Some((Reason::Limits, text));
        }
        None
    }

    /// The disk that it lends to this pool: all get the same.
    fn disk_bytes(&self) -> u64 {
        self.shared.config.disk_bytes / self.shared.config.pools.len().max(1) as u64
    }

    /// Of the sealed results that wait, as far as they lie on this disk.
    fn results_bytes(&self) -> u64 {
        self.journal.iter().filter(|record| record.sealed_file.is_some()).map(|record| record.sealed_size).sum()
    }

    /// Keeps the fetched files within the disk that is lent. Only while no task runs: they use them.
    fn tidy(&self) {
        if let (0, Some(pool)) = (self.board.jobs(), &self.pool)
            && let Err(error) = pool.fetcher.evict(self.disk_bytes().saturating_sub(self.results_bytes()))
        {
            tracing::warn!(%error, "old fetched files could not be removed");
        }
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
        self.journal.authorise(task, signature.clone())?;
        self.contribute(record, signature);
        Ok(())
    }

    fn contribute(&mut self, record: Record, signature: Bytes) {
        let Some(pool) = &self.pool else { return };
        // A pool that was asked again, after a cut, authorises again.
        if !self.contributing.insert(record.task) {
            return;
        }
        let (ledger, news) = (pool.ledger.clone(), self.news_sender.clone());
        let span = span_of(&record);
        let contributing = async move {
            let result = ledger.contribute(&record, signature).await;
            let _ = news.send(News::Contributed { task: record.task, result }).await;
        };
        tokio::spawn(contributing.instrument(span));
    }

    async fn on_news(&mut self, news: News) -> Result<(), WorkerError> {
        match news {
            News::Job { lease, outcome } => self.on_job(lease, *outcome)?,
            News::JobRefused { lease, task, reason, text } => {
                self.board.remove(lease);
                self.decline((lease, task), reason, text);
            }
            News::Contributed { task, result } => self.on_contributed(task, result)?,
            News::Revealed { task, result } => self.on_revealed(task, result)?,
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
        self.note_run(lease);
        let was_held = self.board.was_held(lease);
        let task = self.board.task(lease).map(tracing::field::display);
        let given_back = self.board.remove(lease);
        match outcome {
            Ok(mut outcome) => {
                if was_held {
                    outcome.record.run_us = 0;
                }
                let _span = span_of(&outcome.record).entered();
                tracing::info!(bytes = outcome.record.sealed_size, "the result is sealed");
                // Synced before the pool hears of it, and long before anybody commits.
                self.journal.put(outcome.record.clone())?;
                self.shared.counters.results.fetch_add(1, Ordering::Relaxed);
                self.offer(&outcome.record);
            }
            Err(error) => {
                self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                let text = match (&error, given_back) {
                    (AttemptError::Cancelled, Some(why)) => why,
                    (AttemptError::Cancelled, None) if self.stopping => {
                        "the worker was stopped by its owner".to_owned()
                    }
                    _ => job::chain(&error),
                };
                let text = gristmill_protocol::check::shorten(text);
                tracing::warn!(task, %lease, error = %text, "a task brought no result");
                let reason = job::fail_reason(&error).into();
                self.send(worker_frame::Body::LeaseFailed(wire::LeaseFailed {
                    lease_id: lease.to_vec(),
                    reason,
                    text,
                }));
            }
        }
        self.tidy();
        Ok(())
    }

    /// Takes down what a run has shown of this machine.
    fn note_run(&self, lease: LeaseId) {
        let Some((_, progress)) = self.board.progress().into_iter().find(|(id, _)| *id == lease) else { return };
        if let Some(missing) = progress.missing_guarantees.get() {
            self.shared.board.add_missing_guarantees(missing);
        }
        if let (Some(used), false) = (progress.used.get(), self.board.was_held(lease)) {
            self.shared.about.observe(used.app, used.fuel, used.time);
        }
    }

    fn on_contributed(&mut self, task: TaskId, result: Result<Outcome, OutboxError>) -> Result<(), WorkerError> {
        self.contributing.remove(&task);
        match result {
            Ok(outcome) => {
                self.shared.counters.contributions.fetch_add(1, Ordering::Relaxed);
                let deal = self.journal.get(task).map(|record| tracing::field::display(record.deal));
                tracing::info!(%task, deal, "contributed");
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

    fn on_revealed(&mut self, task: TaskId, result: Result<Outcome, OutboxError>) -> Result<(), WorkerError> {
        self.revealing.remove(&task);
        match result {
            Ok(outcome) => {
                let deal = self.journal.get(task).map(|record| tracing::field::display(record.deal));
                tracing::info!(%task, deal, "the result is revealed");
                self.journal.set_phase(task, Phase::Revealed)?;
                let (task_id, tx_hash) = (task.as_bytes().to_vec(), outcome.tx_hash.to_vec());
                self.send(worker_frame::Body::Revealed(wire::Revealed { task_id, tx_hash }));
            }
            Err(error) => tracing::warn!(%task, %error, "the reveal did not succeed"),
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
            Verdict::Over | Verdict::TooLate => {
                tracing::info!(%task, deal = %record.deal, "the task is over");
                self.journal.remove(task)?;
            }
            Verdict::Contributed => self.journal.set_phase(task, Phase::Contributed)?,
            Verdict::Revealed => self.journal.set_phase(task, Phase::Revealed)?,
            Verdict::Reveal if matches!(self.shared.config.conduct, Conduct::Silent | Conduct::Copier) => {}
            // The ledger is looked at again before it has taken effect.
            Verdict::Reveal if !self.revealing.insert(task) => {}
            Verdict::Reveal => {
                let span = span_of(&record);
                let revealing = async move {
                    let result = ledger.reveal(&record).await;
                    let _ = news.send(News::Revealed { task, result }).await;
                };
                tokio::spawn(revealing.instrument(span));
            }
            Verdict::Finalize | Verdict::Claim => {
                let span = span_of(&record);
                let acting = async move {
                    let result = match verdict {
                        Verdict::Finalize => ledger.finalize(&record).await,
                        _ => ledger.claim(task).await,
                    };
                    if let Err(error) = result {
                        tracing::debug!(%task, %error, "acting in the pool's place did not succeed");
                    }
                    let _ = news.send(News::Acted).await;
                };
                tokio::spawn(acting.instrument(span));
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
            run_us: record.run_us,
            items: record.items,
        }));
    }

    fn decline(&self, (lease, task): (LeaseId, TaskId), reason: wire::DeclineReason, text: String) {
        let text = gristmill_protocol::check::shorten(text);
        self.shared.counters.declined.fetch_add(1, Ordering::Relaxed);
        match self.shared.board.verdict() {
            Allowed::Work => tracing::info!(%task, %lease, "a lease is declined: {text}"),
            // It was said why nothing is taken; a pool asks again and again.
            _ => tracing::debug!(%task, %lease, "a lease is declined: {text}"),
        }
        let declined = wire::LeaseDeclined { lease_id: lease.to_vec(), reason: reason.into(), text };
        self.send(worker_frame::Body::LeaseDeclined(declined));
    }

    fn heartbeat(&mut self) {
        let Shared { about, board, counters, .. } = &*self.shared;
        if let Some(description) = self.pool.as_ref().and_then(|_| self.description.due(about, board, counters)) {
            self.send(description);
        }
        let leases = self
            .board
            .progress()
            .iter()
            .map(|(id, progress)| wire::LeaseProgress {
                lease_id: id.to_vec(),
                items_done: progress.done.load(Ordering::Relaxed),
                items_total: progress.total.load(Ordering::Relaxed).max(1),
            })
            .collect();
        // Without a connection a heartbeat is dropped, which is right.
        let heartbeat = wire::Heartbeat { leases, unix_ms: unix_ms() };
        let _ = self.link.try_send(worker_frame::Body::Heartbeat(heartbeat));
    }

    fn send(&self, body: worker_frame::Body) {
        send(&self.link, body);
    }
}

/// A span of what is done for a task: each line within has its id and its deal's. Errors are logged everywhere, so the span is one: it is
/// there whatever is logged.
fn task_span(task: TaskId, deal: DealId) -> tracing::Span {
    tracing::error_span!("task", %task, %deal, lease = tracing::field::Empty)
}

/// The same of a result.
fn span_of(record: &Record) -> tracing::Span {
    let span = task_span(record.task, record.deal);
    span.record("lease", &record.lease);
    span
}

/// Sends in the background: the window may be full, and the worker's loop must not wait for it.
fn send(link: &WorkerLink, body: worker_frame::Body) {
    if let Err(error) = link.try_send(body.clone()) {
        tracing::debug!(%error, "a message to the pool waits");
        let link = link.clone();
        tokio::spawn(async move {
            let _ = link.send(body).await;
        });
    }
}
