//! Know what runs here and what the owner allows: what the service, the guard and whoever asks for the status share.
//!
//! The board decides which jobs run and which hold still, from three things: the owner's [`Decision`], the slots, and whose work a
//! job is. Each change of one of them ends in `settle`, which freezes and thaws at once, from the thread that brought the
//! change: nobody waits for the service's loop, which may be busy with its disk.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use gristmill_owner::{Command, Decision, Moment, Owner, Policy, Reason, Sensors, Verdict, Weekday, Work};
use gristmill_protocol::convert::LeaseId;
use gristmill_sandbox::Control;
use gristmill_types::TaskId;
use tokio::sync::Notify;

use crate::attempt::Progress;
use crate::plan::Rejection;

/// The longest that a job is held still, all its pauses together, before it is given back to the pool.
pub const HELD_MS_MAX: u64 = 300_000;
/// A job is held still for this part of its category's T at most: a pool gives a lease three T, and the work has to fit too.
const HELD_PART_OF_T: u64 = 2;
/// And for this part of the time that was left to the contribution deadline when the lease came.
const HELD_PART_OF_REST: u64 = 4;
/// A job is held still so long at least before it is given back.
const HELD_MS_MIN: u64 = 1_000;

/// Guarantees that can be missing.
const GUARANTEES_MAX: usize = 64;
/// Lines that wait to be logged.
const SAID_MAX: usize = 256;

/// How long a job may be held still: a lease must not rot.
pub fn held_ms_max(work_clock_s: u64, rest_s: u64) -> u64 {
    let part_of_t = work_clock_s.saturating_mul(1_000) / HELD_PART_OF_T;
    let part_of_rest = rest_s.saturating_mul(1_000) / HELD_PART_OF_REST;
    HELD_MS_MAX.min(part_of_t).min(part_of_rest).max(HELD_MS_MIN)
}

/// A pool that this worker works for, by its place among them.
pub(crate) type PoolIndex = usize;

/// A job of this worker: pools give their leases' ids themselves, and two may give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId {
    pub pool: PoolIndex,
    pub lease: LeaseId,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lease.fmt(f)
    }
}

/// A job of this worker.
#[derive(Debug)]
pub(crate) struct Job {
    pub control: Control,
    pub progress: Arc<Progress>,
    pub task: TaskId,
    /// What the ledger says of it; nothing before that was read.
    pub work: Option<Work>,
    /// The owner's own.
    pub own: bool,
    pub since_unix_ms: u64,
    /// How long it may be held still in all.
    pub held_ms_max: u64,
    /// In pauses that are over.
    held_ms: u64,
    held: Option<Hold>,
    /// Why it was given back, once it was.
    given_back: Option<String>,
}

/// A job holds still.
#[derive(Clone, Debug)]
struct Hold {
    since_ms: u64,
    why: String,
}

impl Job {
    pub(crate) fn new(task: TaskId, control: Control, progress: Arc<Progress>, held_ms_max: u64) -> Self {
        Self {
            control,
            progress,
            task,
            work: None,
            own: false,
            since_unix_ms: unix_ms(),
            held_ms_max,
            held_ms: 0,
            held: None,
            given_back: None,
        }
    }

    fn held_ms(&self, now_ms: u64) -> u64 {
        self.held_ms + self.held.as_ref().map_or(0, |hold| now_ms.saturating_sub(hold.since_ms))
    }
}

/// Something to be logged.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Of which task, if it is of one.
    pub task: Option<TaskId>,
    pub text: String,
}

/// A job as others see it.
#[derive(Clone, Debug)]
pub(crate) struct JobView {
    pub task: TaskId,
    pub work: Option<Work>,
    pub own: bool,
    pub progress: Arc<Progress>,
    pub since_unix_ms: u64,
    pub held_ms: u64,
    /// Why it holds still, if it does.
    pub held: Option<String>,
}

/// The connection to a pool, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolView {
    pub connected: bool,
    /// Why not, and when it is tried again.
    pub trouble: Option<String>,
    /// The pool on the ledger.
    pub address: Option<gristmill_types::Address>,
    /// Results of its tasks that are sealed and not settled yet.
    pub results_waiting: usize,
}

/// A moment's view of everything.
pub(crate) struct BoardView {
    pub decision: Decision,
    pub command: Command,
    pub sensors: Option<Sensors>,
    pub jobs: Vec<JobView>,
    pub slots: u32,
    pub pools: Vec<PoolView>,
    pub missing_guarantees: Vec<String>,
}

struct State {
    owner: Owner,
    command: Command,
    slots: u32,
    last: (Moment, Option<Sensors>),
    decision: Decision,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs in the order in which they came.
    order: Vec<JobId>,
    pools: Vec<PoolView>,
    missing_guarantees: Vec<String>,
    /// What people should read of it, and nobody has taken yet.
    said: VecDeque<Line>,
}

/// Clones share one board.
#[derive(Clone)]
pub(crate) struct Board {
    state: Arc<Mutex<State>>,
    /// One for the service of each pool.
    changed: Arc<[Notify]>,
}

/// The board as the service of one pool uses it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub board: Board,
    pub pool: PoolIndex,
}

impl Board {
    /// For so many pools.
    pub(crate) fn new(policy: Policy, slots: u32, command: Command, pools: usize) -> Self {
        let mut owner = Owner::new(policy);
        owner.command(command);
        // Until the guard looks for the first time nothing is known of the machine, nor of the time.
        let moment = Moment { monotonic_ms: 0, weekday: Weekday::Monday, minute: 0 };
        let state = State {
            owner,
            command,
            slots,
            last: (moment, None),
            decision: Decision { verdict: Verdict::Work, reasons: Vec::new() },
            jobs: BTreeMap::new(),
            order: Vec::new(),
            pools: vec![PoolView::default(); pools],
            missing_guarantees: Vec::new(),
            said: VecDeque::new(),
        };
        let board = Self { state: Arc::new(Mutex::new(state)), changed: (0..pools).map(|_| Notify::new()).collect() };
        board.change(|_| ());
        board
    }

    /// The guard has looked at the machine.
    pub(crate) fn look(&self, moment: Moment, sensors: Sensors) {
        self.change(|state| state.last = (moment, Some(sensors)));
    }

    /// The owner says something by hand.
    pub(crate) fn command(&self, command: Command) {
        self.change(|state| {
            state.say(None, format!("the owner says: {}", name(command)));
            state.command = command;
            state.owner.command(command);
        });
    }

    /// Takes what is to be logged. Whoever changes the board does not log it itself: a log may be slow to read, and the guard must not
    /// wait for it.
    pub(crate) fn take_said(&self) -> VecDeque<Line> {
        std::mem::take(&mut self.lock().said)
    }

    /// The board for the service of this pool.
    pub(crate) fn seat(&self, pool: PoolIndex) -> Seat {
        Seat { board: self.clone(), pool }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.lock().decision.verdict
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().command == Command::Drain
    }

    /// What speaks against taking more, in a line.
    pub(crate) fn reasons(&self) -> String {
        text(&self.lock().decision.reasons)
    }

    /// Slots that the pool is told of: one more than there are where the owner's own work goes first, so that it finds one when
    /// strangers have the others.
    pub(crate) fn slots_offered(&self) -> u32 {
        let state = self.lock();
        state.slots + u32::from(!state.owner.policy().own.is_empty())
    }

    /// Of all pools.
    pub(crate) fn jobs(&self) -> usize {
        self.lock().jobs.len()
    }

    /// What the sandboxes cannot promise here; each is said once.
    pub(crate) fn add_missing_guarantees(&self, missing: &[String]) {
        let mut state = self.lock();
        let new: Vec<String> = missing.iter().filter(|one| !state.missing_guarantees.contains(one)).cloned().collect();
        if !new.is_empty() && state.missing_guarantees.len() + new.len() <= GUARANTEES_MAX {
            state.say(None, format!("the sandbox cannot give on this machine: {}", new.join("; ")));
            state.missing_guarantees.extend(new);
        }
    }

    /// Changes what is known of a pool.
    pub(crate) fn set_pool(&self, pool: PoolIndex, change: impl FnOnce(&mut PoolView)) {
        if let Some(view) = self.lock().pools.get_mut(pool) {
            change(view);
        }
    }

    pub(crate) fn view(&self) -> BoardView {
        let state = self.lock();
        let now_ms = state.last.0.monotonic_ms;
        let jobs = state.order.iter().filter_map(|id| {
            let job = state.jobs.get(id)?;
            Some(JobView {
                task: job.task,
                work: job.work,
                own: job.own,
                progress: Arc::clone(&job.progress),
                since_unix_ms: job.since_unix_ms,
                held_ms: job.held_ms(now_ms),
                held: job.held.as_ref().map(|hold| hold.why.clone()),
            })
        });
        BoardView {
            decision: state.decision.clone(),
            command: state.command,
            sensors: state.last.1,
            jobs: jobs.collect(),
            slots: state.slots,
            pools: state.pools.clone(),
            missing_guarantees: state.missing_guarantees.clone(),
        }
    }

    /// Changes something, and does what follows from it at once.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let answer = change(&mut state);
        state.settle();
        if !state.said.is_empty() {
            self.changed.iter().for_each(Notify::notify_one);
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // INVARIANT: what runs under this lock neither blocks nor panics, so a poisoned one is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn id(&self, lease: LeaseId) -> JobId {
        JobId { pool: self.pool, lease }
    }

    /// Waits until what the owner allows may have changed. For one waiter. Cancel safe.
    pub(crate) async fn changed(&self) {
        match self.board.changed.get(self.pool) {
            Some(changed) => changed.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Of this pool.
    pub(crate) fn jobs(&self) -> usize {
        self.board.lock().jobs_of(self.pool).count()
    }

    pub(crate) fn add(&self, lease: LeaseId, job: Job) {
        let id = self.id(lease);
        self.board.change(|state| {
            if state.jobs.insert(id, job).is_none() {
                state.order.push(id);
            }
        });
    }

    /// What the owner thinks of a lease, now that the ledger has said what it is. A job that is taken counts from now on as what it
    /// is, and the owner's own takes its place at once.
    pub(crate) fn admit(&self, lease: LeaseId, work: Work) -> Result<(), Rejection> {
        let id = self.id(lease);
        self.board.change(|state| {
            state.owner.policy().accept(&work)?;
            let own = state.owner.policy().is_own(&work);
            let others = state.jobs.keys().filter(|other| **other != id).count();
            if !own && others >= state.slots as usize {
                return Err(Rejection::Reserved);
            }
            if let Some(job) = state.jobs.get_mut(&id) {
                (job.work, job.own) = (Some(work), own);
            }
            Ok(())
        })
    }

    /// The job is over; why it was given back, if it was.
    pub(crate) fn remove(&self, lease: LeaseId) -> Option<String> {
        let id = self.id(lease);
        self.board.change(|state| {
            state.order.retain(|other| *other != id);
            state.jobs.remove(&id)?.given_back
        })
    }

    /// Whether the job has been held still, ever.
    pub(crate) fn was_held(&self, lease: LeaseId) -> bool {
        let state = self.board.lock();
        state.jobs.get(&self.id(lease)).is_some_and(|job| job.held_ms > 0 || job.held.is_some())
    }

    pub(crate) fn task(&self, lease: LeaseId) -> Option<TaskId> {
        self.board.lock().jobs.get(&self.id(lease)).map(|job| job.task)
    }

    pub(crate) fn control(&self, lease: LeaseId) -> Option<Control> {
        self.board.lock().jobs.get(&self.id(lease)).map(|job| job.control.clone())
    }

    pub(crate) fn cancel_all(&self) {
        let controls: Vec<Control> = self.board.lock().jobs_of(self.pool).map(|(_, job)| job.control.clone()).collect();
        controls.iter().for_each(Control::cancel);
    }

    /// Lease and progress of each job.
    pub(crate) fn progress(&self) -> Vec<(LeaseId, Arc<Progress>)> {
        let state = self.board.lock();
        state.jobs_of(self.pool).map(|(id, job)| (id.lease, Arc::clone(&job.progress))).collect()
    }

    pub(crate) fn set_pool(&self, change: impl FnOnce(&mut PoolView)) {
        self.board.set_pool(self.pool, change);
    }
}

impl State {
    fn jobs_of(&self, pool: PoolIndex) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter().filter(move |(id, _)| id.pool == pool)
    }

    fn say(&mut self, task: Option<TaskId>, text: String) {
        if self.said.len() == SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(Line { task, text });
    }

    /// Decides, freezes, thaws, and gives back what was held for too long.
    fn settle(&mut self) {
        let mut said = Vec::new();
        let (moment, sensors) = self.last;
        let decision = match sensors {
            Some(sensors) => self.owner.decide(moment, &sensors),
            // Without sensors only the owner's word counts.
            None => by_hand(self.command),
        };
        let before = std::mem::replace(&mut self.decision, decision);
        if self.decision.verdict != before.verdict {
            said.push((None, announcement(&self.decision)));
        }
        let stopped = self.decision.verdict == Verdict::Stop;
        let reasons = text(&self.decision.reasons);
        let own = self.jobs.values().filter(|job| job.own).count();
        let mut for_strangers = (self.slots as usize).saturating_sub(own);
        for id in &self.order {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let why = if stopped {
                Some(reasons.as_str())
            } else if job.own {
                None
            } else if for_strangers == 0 {
                Some("the owner's own work goes first")
            } else {
                for_strangers -= 1;
                None
            };
            said.extend(job.settle(why, moment.monotonic_ms).map(|text| (Some(job.task), text)));
        }
        said.into_iter().for_each(|(task, text)| self.say(task, text));
    }
}

impl Job {
    /// Lets it run (`None`), or holds it still, and gives it back when it has been held for too long. What to say of it.
    fn settle(&mut self, why: Option<&str>, now_ms: u64) -> Option<String> {
        match (why, self.held.take()) {
            (None, Some(was)) => {
                self.held_ms += now_ms.saturating_sub(was.since_ms);
                self.control.thaw();
                Some("the task goes on".to_owned())
            }
            (None, None) => None,
            (Some(why), None) => {
                self.control.freeze();
                self.held = Some(Hold { since_ms: now_ms, why: why.to_owned() });
                Some(format!("the task holds still: {why}"))
            }
            (Some(why), Some(was)) => {
                self.held = Some(Hold { since_ms: was.since_ms, why: why.to_owned() });
                let held_ms = self.held_ms(now_ms);
                if held_ms < self.held_ms_max || self.given_back.is_some() {
                    return None;
                }
                let text = format!("given back after {} s of holding still: {why}", held_ms / 1_000);
                self.given_back = Some(format!("the machine's owner: {text}"));
                self.control.cancel();
                Some(format!("the task is {text}"))
            }
        }
    }
}

fn by_hand(command: Command) -> Decision {
    let (verdict, reasons) = match command {
        Command::Run => (Verdict::Work, vec![]),
        Command::Pause => (Verdict::Stop, vec![Reason::Paused]),
        Command::Drain => (Verdict::Finish, vec![Reason::Draining]),
    };
    Decision { verdict, reasons }
}

fn announcement(decision: &Decision) -> String {
    let why = text(&decision.reasons);
    match decision.verdict {
        Verdict::Work => "nothing speaks against working any more".to_owned(),
        Verdict::Finish => format!("no new tasks are taken, what runs is finished: {why}"),
        Verdict::Stop => format!("not working: {why}"),
    }
}

pub(crate) fn text(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

pub(crate) fn name(command: Command) -> &'static str {
    match command {
        Command::Run => "run",
        Command::Pause => "pause",
        Command::Drain => "drain",
    }
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

#[cfg(test)]
mod tests;
