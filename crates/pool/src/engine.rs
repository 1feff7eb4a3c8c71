//! The pool's loop: what happens goes into the scheduler's core, what it decides is done.

mod clients;
mod effects;
pub(crate) mod found;
mod ledger;
mod members;
mod operator;
mod records;
mod settings;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256};
use futures_util::future::BoxFuture;
use gristmill_classad::ClassAd;
use gristmill_hub::{Batch, FollowError, Follower, HubClient, Outbox};
use gristmill_protocol::link::{PoolEvents, PoolLinks};
use gristmill_scheduler::{Call, Effect, Event, LeaseId, Offers, Scheduler};
use gristmill_store::Client;
use gristmill_types::{Amount, DealId, TaskId};
use gristmill_wallet::Wallet;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::book::{Book, DealBook};
use crate::error::PoolError;
use crate::journal::Journal;
use crate::keeper::Keeping;
use crate::members::Members;
use crate::open::Opening;
use crate::overflow::Overflow;
use crate::reduce::{Reduces, Wait};
use crate::run_time::ItemTimes;
use crate::settings::{Base, Held};
use crate::trace::{Step, Traces};

pub use clients::Query;
use records::Records;

/// Messages of workers, and news, taken together: their uploads share one sync of the disk.
const DRAIN_MAX: usize = 256;
/// Uploads that are opened at a time; more wait.
const OPENINGS_MAX: usize = 32;
/// How often workers' stakes and scores are read again.
const REFRESH: Duration = Duration::from_millis(1_000);
/// How often deals whose tasks were never initialised, and reduces that wait, are looked at without a cause. Tests do not wait.
const REVIEW: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 10_000 });
/// The scheduler's next deadline is looked at no oftener.
const TICK_MIN_MS: u64 = 5;
/// The longest sleep without a deadline.
const TICK_MAX_MS: u64 = 1_000;

/// A worker as the pool knows it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerEntry {
    pub connected: bool,
    pub draining: bool,
    pub slots: u32,
    pub memory_bytes: u64,
    pub offers: Offers,
    pub engine_profile: String,
    pub software_version: String,
    pub score: u64,
    pub free_stake: Amount,
    pub last_seen_unix_ms: u64,
    /// What its machine is, as it says.
    pub ad: Arc<ClassAd>,
}

/// A lease that the pool gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseEntry {
    pub task: TaskId,
    pub worker: Address,
    pub since_ms: u64,
}

/// What the engine's own tasks report.
pub(crate) enum News {
    DealRead { id: DealId, deal: Box<Option<(DealBook, Vec<found::FoundTask>)>> },
    InitializeFailed { deal: DealId, reason: String },
    Opened { task: TaskId, worker: Address, opening: Opening },
    OpenAgain { task: TaskId, worker: Address },
    CallFailed { task: TaskId, call: Call, reason: String },
    Figures { figures: Vec<workers::Figures> },
    Refreshed,
    Reduced { reduces: Box<Reduces>, waiting: usize },
}

/// Mean run time of tasks, for estimates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunTimes {
    pub count: u64,
    pub total_ms: u64,
}

impl RunTimes {
    pub fn add(&mut self, ms: u64) {
        self.count += 1;
        self.total_ms = self.total_ms.saturating_add(ms);
    }

    pub fn mean_s(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total_ms as f64 / self.count as f64 / 1000.0 }
    }
}

/// What the engine works with; made by [`crate::start`].
pub(crate) struct Parts {
    pub hub: HubClient,
    pub outbox: Outbox,
    pub wallet: Wallet,
    pub workerpool: Address,
    pub links: PoolLinks,
    pub store: Client,
    pub journal: Journal,
    pub scheduler: Scheduler,
    pub scratch: PathBuf,
    /// Who is banned, and why.
    pub bans: Arc<RwLock<BTreeMap<Address, String>>>,
    /// Who belongs to the pool; its gate reads it too.
    pub members: Arc<RwLock<Members>>,
    /// Takes work and workers of members only.
    pub is_private: bool,
    pub newcomers: Option<mpsc::Sender<Address>>,
    /// Who buys on a market.
    pub overflow: Option<Overflow>,
    pub stake_needed: Amount,
    /// The same as workers that join are told it.
    pub stake_told: Arc<AtomicU64>,
    pub keeping: Keeping,
    /// From what its settings follow.
    pub base: Base,
    /// Those that hold.
    pub held: Held,
    pub about: About,
}

/// What the operator is told of the pool and never changes.
pub(crate) struct About {
    pub since_unix_ms: u64,
    pub url: String,
    pub rpc: String,
    pub store: String,
}

pub(crate) struct Engine {
    parts: Parts,
    book: Book,
    workers: BTreeMap<Address, WorkerEntry>,
    leases: BTreeMap<LeaseId, LeaseEntry>,
    run_times: RunTimes,
    /// Uploads that are being opened, or will be after a pause, with the digest, and how often it was tried.
    opening: BTreeMap<(TaskId, Address), (B256, u32)>,
    /// The places of those whose bytes are looked at now.
    openings: Arc<Semaphore>,
    /// Deals that could not be read, or some of whose tasks could not be initialised, with the time from which they are
    /// looked at again.
    uninitialised: BTreeMap<DealId, u64>,
    /// `None` while a look is under way.
    reduces: Option<Box<Reduces>>,
    reduce_waits: BTreeMap<B256, Wait>,
    /// Something happened that may let a reduce be matched.
    reduces_dirty: bool,
    reduces_waiting: usize,
    refreshing: bool,
    /// The last worker whose stake and score were read again; `None`: the first is next.
    refreshed: Option<Address>,
    records: Records,
    traces: Traces,
    item_times: ItemTimes,
    /// The first block that was not looked at.
    next_block: u64,
    /// Deals that are being read.
    reading: BTreeSet<DealId>,
    news: mpsc::UnboundedSender<News>,
    /// Scheduler events gathered while a batch is handled.
    pending: Vec<Event>,
    /// What went wrong in the middle of an effect, and ends the pool.
    fault: Option<PoolError>,
}

pub(crate) fn unix_ms() -> u64 {
    #[cfg(test)]
    if let Some(now) = tests::clock::now_ms() {
        return now;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// The next batch of a follower, and the follower. It goes on from turn to turn of the loop: begun anew at each of them, what it
/// asks would be asked again and again, and never answered under load.
fn next_of(mut follower: Follower) -> BoxFuture<'static, (Follower, Result<Batch, FollowError>)> {
    Box::pin(async move {
        let batch = follower.next().await;
        (follower, batch)
    })
}

/// What came, and what else is there already.
fn gather<T>(first: T, more: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::once(first).chain(std::iter::from_fn(more)).take(DRAIN_MAX).collect()
}

impl Engine {
    pub fn new(parts: Parts, news: mpsc::UnboundedSender<News>) -> Self {
        let reduces = Some(Box::new(Reduces::new(parts.hub.clone(), parts.workerpool)));
        Self {
            parts,
            book: Book::default(),
            workers: BTreeMap::new(),
            leases: BTreeMap::new(),
            run_times: RunTimes::default(),
            opening: BTreeMap::new(),
            openings: Arc::new(Semaphore::new(OPENINGS_MAX)),
            uninitialised: BTreeMap::new(),
            reduces,
            reduce_waits: BTreeMap::new(),
            reduces_dirty: true,
            reduces_waiting: 0,
            refreshing: false,
            refreshed: None,
            records: Records::default(),
            traces: Traces::default(),
            item_times: ItemTimes::default(),
            next_block: 0,
            reading: BTreeSet::new(),
            news,
            pending: Vec::new(),
            fault: None,
        }
    }

    /// The pool's address on the ledger.
    pub fn workerpool(&self) -> Address {
        self.parts.workerpool
    }

    /// Runs until `stopped`, or until it is drained: `true`; or until something that it cannot do without fails.
    pub async fn run(
        mut self,
        follower: Follower,
        events: PoolEvents,
        news: mpsc::UnboundedReceiver<News>,
        queries: mpsc::Receiver<Query>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<bool, PoolError> {
        let result = self.work(follower, events, news, queries, stopped).await;
        self.parts.links.shutdown();
        self.parts.keeping.stop();
        self.parts.outbox.shutdown().await;
        result
    }

    async fn work(
        &mut self,
        follower: Follower,
        mut events: PoolEvents,
        mut news: mpsc::UnboundedReceiver<News>,
        mut queries: mpsc::Receiver<Query>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<bool, PoolError> {
        let mut refresh = tokio::time::interval(REFRESH);
        let mut review = tokio::time::interval(REVIEW);
        for interval in [&mut refresh, &mut review] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let outbox = self.parts.outbox.clone();
        let mut following = next_of(follower);
        let drained = loop {
            self.step(Vec::new());
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if self.is_drained() {
                break true;
            }
            let sleep = self.sleep();
            tokio::select! {
                _ = &mut stopped => break false,
                // A pool that cannot send anything must say so, and not look as if it worked.
                error = outbox.stopped() => return Err(error.into()),
                (mut follower, batch) = &mut following => {
                    let taken = match batch {
                        Ok(batch) => self.on_batch(&batch).await.map(|()| batch),
                        Err(error) => Err(error.into()),
                    };
                    match taken {
                        Ok(batch) => {
                            follower.commit(&batch)?;
                            self.next_block = batch.position.next_block;
                        }
                        // Nothing of them was taken in: the same events come again.
                        Err(error) => {
                            tracing::warn!(%error, "the ledger could not be followed");
                            if !error.is_transient() { return Err(error) }
                        }
                    }
                    following = next_of(follower);
                }
                Some(event) = events.recv() => self.on_worker_events(gather(event, || events.try_recv()))?,
                Some(first) = news.recv() => self.on_all_news(gather(first, || news.try_recv().ok()))?,
                Some(query) = queries.recv() => self.answer(query),
                _ = refresh.tick() => {
                    self.refresh_workers();
                    self.write_records()?;
                }
                _ = review.tick() => self.review(),
                () = tokio::time::sleep(sleep) => self.pending.push(Event::Tick),
            }
            self.look_at_reduces();
        };
        self.write_records()?;
        if drained {
            self.parts.journal.set_draining(false)?;
            tracing::info!(seconds = self.uptime_s(), "the pool is drained: no deal of it is open");
        }
        Ok(drained)
    }

    fn sleep(&self) -> Duration {
        let now = unix_ms();
        let due = self.parts.scheduler.next_deadline().map_or(TICK_MAX_MS, |at| at.saturating_sub(now));
        Duration::from_millis(due.clamp(TICK_MIN_MS, TICK_MAX_MS))
    }

    /// Hands what happened to the core and does what it decides, until nothing more follows at once.
    fn step(&mut self, events: Vec<Event>) {
        self.pending.extend(events);
        while !self.pending.is_empty() {
            let events = std::mem::take(&mut self.pending);
            let began = Instant::now();
            let effects = self.parts.scheduler.handle_all(unix_ms(), events);
            self.records.counters.decisions.observe(began.elapsed());
            for effect in effects {
                self.perform(effect);
            }
        }
    }

    fn on_all_news(&mut self, all: Vec<News>) -> Result<(), PoolError> {
        let mut openings = Vec::new();
        for news in all {
            self.on_news(news, &mut openings)?;
        }
        self.on_opened(openings)
    }

    /// Takes in what a task of the engine's own reports; what came of uploads is put to the others.
    fn on_news(&mut self, news: News, openings: &mut Vec<(TaskId, Address, Opening)>) -> Result<(), PoolError> {
        match news {
            News::DealRead { id, deal } => {
                self.reading.remove(&id);
                match *deal {
                    Some((deal, tasks)) => self.on_deal(deal, tasks)?,
                    // A server that lags behind the one that announced it. What is never told of again would be forgotten.
                    None => {
                        tracing::warn!(deal = %id, "the ledger announced a deal and does not know it, looking again");
                        self.uninitialised.insert(id, unix_ms() + 2_000);
                    }
                }
            }
            News::InitializeFailed { deal, reason } => {
                tracing::warn!(%deal, reason, "tasks could not be initialised, looking at them again");
                self.uninitialised.insert(deal, unix_ms() + 2_000);
            }
            News::Opened { task, worker, opening } => openings.push((task, worker, opening)),
            News::OpenAgain { task, worker } => self.open_again(task, worker),
            News::CallFailed { task, call, reason } => {
                self.span(task).in_scope(|| tracing::info!(%task, ?call, reason, "a call did not succeed"));
                self.trace(task, Step::CallFailed, None, &format!("{call:?}: {reason}"));
                if let Some(entry) = self.book.tasks.get_mut(&task) {
                    entry.note(format!("{call:?} did not succeed: {reason}"));
                }
                self.pending.push(Event::CallFailed { task, call, reason });
            }
            News::Figures { figures } => self.on_figures(figures),
            News::Refreshed => self.refreshing = false,
            News::Reduced { reduces, waiting } => {
                self.reduce_waits = reduces.waits();
                self.reduces = Some(reduces);
                self.reduces_waiting = waiting;
            }
        }
        Ok(())
    }

    /// Looks at reduces when something happened that may let one be matched.
    fn look_at_reduces(&mut self) {
        if !self.reduces_dirty {
            return;
        }
        let Some(mut reduces) = self.reduces.take() else { return };
        self.reduces_dirty = false;
        let (hub, outbox, news) = (self.parts.hub.clone(), self.parts.outbox.clone(), self.news.clone());
        tokio::spawn(async move {
            let waiting = match reduces.look(&hub, &outbox).await {
                Ok(waiting) => waiting,
                Err(error) => {
                    tracing::warn!(%error, "the broadcast orders could not be looked at");
                    1
                }
            };
            let _ = news.send(News::Reduced { reduces, waiting });
        });
    }

    fn review(&mut self) {
        self.reduces_dirty |= self.reduces_waiting > 0;
        let now = unix_ms();
        let due: Vec<DealId> = self.uninitialised.iter().filter(|(_, at)| **at <= now).map(|(deal, _)| *deal).collect();
        for deal in due {
            self.uninitialised.remove(&deal);
            self.read_new_deal(deal);
        }
    }

    /// Effects of the core that go beyond a line; see the submodule `effects`.
    fn perform(&mut self, effect: Effect) {
        effects::perform(self, effect);
    }
}

#[cfg(test)]
mod tests;
