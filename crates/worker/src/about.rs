//! Know what this machine is: its ad for pools, how quick a core of it is, what it draws.
//!
//! A thread of its own looks: the benchmark takes a second of a core and runs only while no task does, watts are a mean over minutes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gristmill_classad::ClassAd;
use gristmill_datadir::write_atomic;
use gristmill_machine::{
    AdError, Benchmark, BenchmarkError, Drift, Extras, History, Lent, Machine, Places, Told, Watts, WattsError,
};
use gristmill_owner::Verdict;
use gristmill_sandbox::{EngineProfile, Reach};
use gristmill_types::ContentId;

use crate::board::{Board, unix_ms};

/// The file in a worker's folder with what the last benchmark said.
const BENCHMARK_FILE: &str = "benchmark.json";
/// What a benchmark's file may have.
const BENCHMARK_BYTES_MAX: u64 = 64 << 10;
/// How often it is looked whether the benchmark should be run, and the watts are read.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon it is tried again while tasks run.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A task with less fuel says nothing about speed.
const FUEL_MIN: u64 = 1_000_000_000;
/// Apps whose pace is remembered.
const PACES_MAX: usize = 64;

/// What is known. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    state: Arc<Mutex<State>>,
    places: Places,
    told: Told,
    lent: Lent,
}

#[derive(Debug)]
struct State {
    drift: Drift,
    /// The processor gave a wrong answer: what it computes is worth nothing.
    broken: Option<String>,
    watts: Option<f64>,
    /// Nanoseconds a unit of fuel, as each app was first met here.
    paces: BTreeMap<ContentId, f64>,
}

/// Looks, until it is dropped.
#[derive(Debug)]
pub(crate) struct Looking {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl About {
    /// What the worker in `folder` knew when it ended.
    pub(crate) fn open(folder: &Path, told: Told, lent: Lent) -> Self {
        let stored = read(&folder.join(BENCHMARK_FILE));
        let state = State { drift: Drift::new(stored), broken: None, watts: None, paces: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)), places: Places::of_this_machine(folder), told, lent }
    }

    /// Starts to look.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(crate) fn look(&self, board: Board, folder: &Path) -> std::io::Result<Looking> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (about, file) = (self.clone(), folder.join(BENCHMARK_FILE));
        let thread = std::thread::Builder::new().name("gristmill-about".to_owned()).spawn(move || {
            let mut watts = Watts::begin(&about.places);
            loop {
                let pause = about.benchmark(&board, &file);
                match stopped.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => watts = about.read_watts(watts),
                    _ => return,
                }
            }
        })?;
        Ok(Looking { stop: Some(stop), thread: Some(thread) })
    }

    /// Runs the benchmark if it should be, and may be now. When to look again.
    fn benchmark(&self, board: &Board, file: &Path) -> Duration {
        let fingerprint = Machine::look(&self.places, &self.told).fingerprint();
        let Some(why) = self.lock().drift.rerun(&fingerprint, unix_ms()) else { return LOOK_EVERY };
        // What runs beside it would be measured too, and a machine that its owner uses is not to be bothered.
        if board.jobs() > 0 || board.verdict() != Verdict::Work {
            return AGAIN_AFTER;
        }
        match Benchmark::run(fingerprint, unix_ms()) {
            Ok(benchmark) => {
                let speed = benchmark.speed();
                tracing::info!("a core of this machine does {speed:.2} of the reference machine's work ({why})");
                if let Err(error) = write_atomic(file, benchmark.encode().as_bytes(), 0o600) {
                    tracing::warn!(%error, "the benchmark cannot be kept: it is run again at the next start");
                }
                let mut state = self.lock();
                state.drift.renew(benchmark);
                state.paces.clear();
            }
            Err(error @ BenchmarkError::Wrong { .. }) => {
                tracing::error!(%error, "this machine computes wrongly: it takes no tasks");
                self.lock().broken = Some(error.to_string());
            }
            Err(error) => tracing::warn!(%error, "the benchmark did not come to an end"),
        }
        LOOK_EVERY
    }

    fn read_watts(&self, measured: Result<Watts, WattsError>) -> Result<Watts, WattsError> {
        // A machine without a meter is no news.
        if let Ok(watts) = measured.and_then(Watts::end) {
            self.lock().watts = Some(watts);
        }
        Watts::begin(&self.places)
    }

    /// Why this machine must not work at all, if so.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// How quick a core is, as a multiple of the reference machine's; nothing before the first benchmark.
    pub(crate) fn speed(&self) -> Option<f64> {
        self.lock().drift.benchmark().map(Benchmark::speed)
    }

    /// A task of this app used so much fuel in this time, without a pause.
    pub(crate) fn observe(&self, app: ContentId, fuel: u64, time: Duration) {
        if fuel < FUEL_MIN {
            return;
        }
        let pace = time.as_nanos() as f64 / fuel as f64;
        let mut state = self.lock();
        let State { drift, paces, .. } = &mut *state;
        match paces.get(&app) {
            Some(usual) => drift.observe(pace / usual),
            None if paces.len() < PACES_MAX => drop(paces.insert(app, pace)),
            None => {}
        }
    }

    /// The machine's ad.
    ///
    /// # Errors
    /// [`AdError`].
    pub(crate) fn ad(&self, history: History, guarantees_missing: Vec<String>) -> Result<ClassAd, AdError> {
        let machine = Machine::look(&self.places, &self.told);
        let (benchmark, watts_measured) = {
            let state = self.lock();
            (state.drift.benchmark().cloned(), state.watts)
        };
        let profiles = [Reach::Portable, Reach::SameArchitecture];
        machine.ad(&Extras {
            lent: self.lent,
            benchmark,
            watts_measured,
            history: Some(history),
            profiles: profiles.map(|reach| EngineProfile::reaching(reach).to_string()).to_vec(),
            guarantees_missing,
            ..Extras::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // INVARIANT: what runs under this lock neither blocks nor panics, so a poisoned one is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A benchmark's file; one that cannot be used is as good as none.
fn read(path: &PathBuf) -> Option<Benchmark> {
    let length = fs::metadata(path).ok()?.len();
    let text = (length <= BENCHMARK_BYTES_MAX).then(|| fs::read_to_string(path).ok())??;
    Benchmark::decode(&text).ok()
}

#[cfg(test)]
mod tests {
    use gristmill_classad::Value;
    use gristmill_owner::{Command, Policy};

    use super::*;

    #[test]
    fn the_benchmark_is_run_once_and_remembered_and_not_while_the_owner_says_no() {
        let folder = tempfile::tempdir().unwrap();
        let lent = Lent { cores: Some(1), ..Lent::default() };
        let about = About::open(folder.path(), Told { region: Some("cellar".into()), watts: Some(30.0) }, lent);
        let file = folder.path().join(BENCHMARK_FILE);
        let board = Board::new(Policy::default(), 1, Command::Pause, 1);
        assert_eq!((about.benchmark(&board, &file), about.speed()), (AGAIN_AFTER, None));
        board.command(Command::Run);
        assert_eq!(about.benchmark(&board, &file), LOOK_EVERY);
        let speed = about.speed().unwrap();
        assert!(speed > 0.01, "{speed}");
        assert_eq!(About::open(folder.path(), Told::default(), lent).speed(), Some(speed), "it is on the disk");
        let ad = about.ad(History { tasks_done: 3, tasks_failed: 1 }, vec!["no cgroups".into()]).unwrap();
        let value = |name: &str| ad.evaluate(name);
        assert_eq!(value("Cpus"), Value::Integer(1));
        assert_eq!(value("Region"), Value::String("cellar".into()));
        assert_eq!(value("TasksDone"), Value::Integer(3));
        assert_eq!(value("Speed"), Value::Real(speed));
        fs::write(&file, "{").unwrap();
        assert_eq!(About::open(folder.path(), Told::default(), lent).speed(), None, "a damaged file is none");
    }

    #[test]
    fn an_app_that_takes_longer_than_it_used_to_has_the_benchmark_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let about = About::open(folder.path(), Told::default(), Lent::default());
        let board = Board::new(Policy::default(), 1, Command::Run, 1);
        let file = folder.path().join(BENCHMARK_FILE);
        about.benchmark(&board, &file);
        let app = ContentId([1; 32]);
        let fingerprint = Machine::look(&about.places, &about.told).fingerprint();
        let later = unix_ms() + gristmill_machine::DRIFT_PAUSE_MS + 1;
        let needs = || about.lock().drift.rerun(&fingerprint, later).is_some();
        about.observe(app, FUEL_MIN, Duration::from_secs(1));
        for _ in 0..gristmill_machine::DRIFT_WINDOW {
            about.observe(app, FUEL_MIN - 1, Duration::from_secs(9));
            about.observe(app, 2 * FUEL_MIN, Duration::from_secs(2));
        }
        assert!(!needs(), "the same pace");
        for _ in 0..gristmill_machine::DRIFT_WINDOW {
            about.observe(app, FUEL_MIN, Duration::from_millis(1_500));
        }
        assert!(needs(), "half as long again");
    }
}
