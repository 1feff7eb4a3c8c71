//! Say what a worker does, and why not more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gristmill_owner::{Sensors, Verdict};
use gristmill_types::{Address, TaskId};
use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::board::{self, Board, JobView, PoolView, unix_ms};
use crate::describe;
use crate::service::WorkerCounters;

/// What a worker does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its ledger address.
    pub worker: Address,
    /// Its software.
    pub version: String,
    /// When it started, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// What it may do: `work`, `finish` (nothing new) or `stop` (what runs holds still).
    pub verdict: String,
    /// Why not more, each reason a sentence; empty when everything is allowed.
    pub reasons: Vec<String>,
    /// What the owner said by hand: `run`, `pause` or `drain`.
    pub command: String,
    /// Its pools, in the order in which it was told of them.
    pub pools: Vec<PoolStatus>,
    /// Tasks at a time, of all pools together.
    pub slots: u32,
    /// The tasks it has.
    pub tasks: Vec<TaskStatus>,
    /// Results that are sealed and not settled yet.
    pub results_waiting: u64,
    /// What it has done since it started.
    pub counters: Counters,
    /// What the machine's sensors say; nothing where nobody looks.
    pub sensors: Option<SensorStatus>,
    /// How quick a core is, as a multiple of the reference machine's; nothing before it was measured.
    pub speed: Option<f64>,
    /// What the sandbox could not promise on this machine, as its last run said.
    pub missing_guarantees: Vec<String>,
}

/// A pool that a worker works for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Where it is dialled.
    pub url: String,
    /// The workerpool on the ledger, once it has said so.
    pub address: Option<Address>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none.
    pub trouble: Option<String>,
    /// Results of its tasks that are sealed and not settled yet.
    pub results_waiting: u64,
}

impl PoolStatus {
    /// How the connection is, in words.
    pub fn connection(&self) -> String {
        match (&self.trouble, self.connected) {
            (_, true) => "connected".to_owned(),
            (Some(trouble), false) => format!("not connected: {trouble}"),
            (None, false) => "not connected yet".to_owned(),
        }
    }
}

/// A task that a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Which.
    pub task: TaskId,
    /// Its app, once it was read from the ledger.
    pub app: Option<Address>,
    /// Who asked for it.
    pub requester: Option<Address>,
    /// Whether it is the owner's own.
    pub own: bool,
    /// Items that have ended.
    pub items_done: u64,
    /// Items in all; 0 before it is known.
    pub items_total: u64,
    /// Seconds since it was taken.
    pub seconds: u64,
    /// Whether it holds still.
    pub frozen: bool,
    /// Seconds that it has been held still, in all.
    pub frozen_seconds: u64,
    /// Why it holds still.
    pub frozen_because: Option<String>,
}

/// What a worker has done since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Leases taken.
    pub leases: u64,
    /// Leases declined.
    pub declined: u64,
    /// Results sealed.
    pub results: u64,
    /// Contributions on the ledger.
    pub contributions: u64,
    /// Leases that ended without a result.
    pub failures: u64,
}

/// What the sensors say; nothing for one that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorStatus {
    /// Seconds since somebody touched keyboard or mouse.
    pub untouched_s: Option<u64>,
    /// Part of the cores that other programs use, 0 to 1.
    pub load: Option<f64>,
    /// Whether it runs on mains.
    pub mains: Option<bool>,
    /// Charge of the battery in percent.
    pub charge: Option<u8>,
    /// Of the hottest part, in degrees Celsius.
    pub temperature: Option<f64>,
}

impl From<Sensors> for SensorStatus {
    fn from(sensors: Sensors) -> Self {
        Self {
            untouched_s: sensors.untouched_ms.map(|ms| ms / 1_000),
            load: sensors.load.map(|load| (load * 1_000.0).round() / 1_000.0),
            mains: sensors.mains,
            charge: sensors.charge,
            temperature: sensors.temperature,
        }
    }
}

impl Status {
    /// What it does, in a line.
    pub fn summary(&self) -> String {
        let running = self.tasks.iter().filter(|task| !task.frozen).count();
        let frozen = self.tasks.len() - running;
        let tasks = |count: usize| if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") };
        match (self.verdict.as_str(), running, frozen) {
            ("stop", _, 0) => "paused, nothing runs".to_owned(),
            ("stop", _, frozen) => format!("paused, {} frozen", tasks(frozen)),
            ("finish", 0, 0) => "taking nothing new, nothing runs".to_owned(),
            ("finish", running, frozen) => format!("finishing {}", tasks(running + frozen)),
            (_, 0, 0) if !self.pools.iter().any(|pool| pool.connected) => match self.pools.len() {
                1 => "not connected to its pool".to_owned(),
                _ => "not connected to any of its pools".to_owned(),
            },
            (_, 0, 0) => "waiting for tasks".to_owned(),
            (_, running, 0) => format!("working at {}", tasks(running)),
            (_, running, frozen) => format!("working at {}, {} frozen", tasks(running), tasks(frozen)),
        }
    }
}

/// Whatever is asked for its status.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub worker: Address,
    pub pool_urls: Vec<String>,
    pub since_unix_ms: u64,
    pub board: Board,
    pub counters: Arc<WorkerCounters>,
    pub about: About,
}

impl Reporter {
    /// The machine's ad, or why there is none.
    pub(crate) fn ad(&self) -> Result<String, String> {
        let ad = describe::ad(&self.about, &self.board, &self.counters).map_err(|error| error.to_string())?;
        Ok(ad.to_string())
    }

    pub(crate) fn status(&self) -> Status {
        let view = self.board.view();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let verdict = match view.decision.verdict {
            Verdict::Work => "work",
            Verdict::Finish => "finish",
            Verdict::Stop => "stop",
        };
        Status {
            worker: self.worker,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since_unix_ms: self.since_unix_ms,
            verdict: verdict.to_owned(),
            reasons: view.decision.reasons.iter().map(ToString::to_string).collect(),
            command: board::name(view.command).to_owned(),
            results_waiting: view.pools.iter().map(|pool| pool.results_waiting as u64).sum(),
            pools: self.pool_urls.iter().zip(view.pools).map(pool_status).collect(),
            slots: view.slots,
            tasks: view.jobs.iter().map(task_status).collect(),
            counters: Counters {
                leases: count(&self.counters.leases),
                declined: count(&self.counters.declined),
                results: count(&self.counters.results),
                contributions: count(&self.counters.contributions),
                failures: count(&self.counters.failures),
            },
            sensors: view.sensors.map(Into::into),
            speed: self.about.speed(),
            missing_guarantees: view.missing_guarantees,
        }
    }
}

fn pool_status((url, view): (&String, PoolView)) -> PoolStatus {
    PoolStatus {
        url: url.clone(),
        address: view.address,
        connected: view.connected,
        trouble: view.trouble,
        results_waiting: view.results_waiting as u64,
    }
}

fn task_status(job: &JobView) -> TaskStatus {
    TaskStatus {
        task: job.task,
        app: job.work.map(|work| work.app),
        requester: job.work.map(|work| work.requester),
        own: job.own,
        items_done: job.progress.done.load(Ordering::Relaxed),
        items_total: job.progress.total.load(Ordering::Relaxed),
        seconds: unix_ms().saturating_sub(job.since_unix_ms) / 1_000,
        frozen: job.held.is_some(),
        frozen_seconds: job.held_ms / 1_000,
        frozen_because: job.held.clone(),
    }
}

impl fmt::Display for SensorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.untouched_s {
            Some(seconds) => write!(f, "untouched for {seconds} s")?,
            None => f.write_str("nobody can tell whether somebody is there")?,
        }
        if let Some(load) = self.load {
            write!(f, ", other programs use {:.0} % of the cores", load * 100.0)?;
        }
        match self.mains {
            Some(true) => f.write_str(", on mains")?,
            Some(false) => f.write_str(", on battery")?,
            None => {}
        }
        if let Some(charge) = self.charge {
            write!(f, ", battery at {charge} %")?;
        }
        if let Some(temperature) = self.temperature {
            write!(f, ", {temperature:.0} °C")?;
        }
        Ok(())
    }
}
