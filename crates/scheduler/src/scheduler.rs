//! The machine: takes events, changes what is known, then reviews the tasks that changed and hands out leases.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use alloy_primitives::Address;
use gristmill_credibility::{Credibility, Event as Belief, Stance};
use gristmill_types::{DealId, TaskId};

use crate::event::{Effect, Event};
use crate::id::{Fence, LeaseId, WorkerId};
use crate::index::{DemandId, MachineIndex};
use crate::line::Line;
use crate::numbered::Numbered;
use crate::pace::Pace;
use crate::policy::Policy;
use crate::task::{Phase, Task, Terms};
use crate::tasks::Tasks;
use crate::worker::Worker;
use overflow::Overflow;
use tail::Tail;

mod belief;
mod dispatch;
mod explanation;
mod lease;
mod ledger;
mod machine;
mod member;
mod overflow;
mod pacing;
mod review;
mod tail;
mod terms;

pub(crate) use machine::Grades;

/// Run times of a deal that are remembered for its median.
const RUN_TIMES_MAX: usize = 31;
/// Run times from which the median is believed; before that T stands for it.
const RUN_TIMES_MIN: usize = 3;

/// The scheduler of one pool. See the crate's page for what it never does.
///
/// It is level-triggered: an event changes what is known, and a review of the changed tasks asks for whatever is then
/// missing. So an event that comes twice, late or out of turn does no harm.
// INVARIANT: `leases` has exactly the replicas that are `Leased`, and each worker's `leases` those of it. `idle` has exactly
// the workers that are willing and have a free slot. `line` has exactly the tasks that have a `place`.
#[derive(Clone, Debug)]
pub struct Scheduler {
    policy: Policy,
    now_ms: u64,
    next_fence: Fence,
    next_order: u64,
    workers: BTreeMap<WorkerId, Worker>,
    tasks: Tasks,
    deals: BTreeMap<DealId, Deal>,
    leases: BTreeMap<LeaseId, (TaskId, WorkerId)>,
    /// The tasks that want a replica, in the order in which they are served.
    line: Line,
    /// The numbers of the open tasks.
    numbers: Numbered<()>,
    /// The connected workers' machines, by what tasks may ask of them.
    machines: MachineIndex,
    /// Workers with a free slot, slowest first by what they say (see [`Worker::quickness`]), so that those who are too slow for a task
    /// are not looked at one by one: those whose answers count, and those on probation.
    idle: [BTreeSet<(u64, WorkerId)>; 2],
    /// Connected workers by the weight of their next contribution.
    weights: BTreeSet<(u64, WorkerId)>,
    /// What changed since the last dispatch: only these can make a new match, so that no pair is tried over and over.
    fresh_workers: BTreeSet<WorkerId>,
    fresh_tasks: BTreeSet<(u64, TaskId)>,
    dirty: BTreeSet<TaskId>,
    /// Runs on which the ends of deals wait.
    tail: Tail,
    /// Who has tasks run elsewhere.
    overflow: Overflow,
    /// Tasks that wait for a reserve, or for who outvotes a liar, which nobody computes yet.
    holding: BTreeSet<TaskId>,
    timers: BTreeSet<(u64, Timer)>,
    effects: Vec<Effect>,
    /// How far results are believed; `None`: as far as the hub does.
    credibility: Option<Credibility>,
    /// Newcomers have no vote.
    founded: bool,
    /// Workers that it caught, to be banned when the reviews are over.
    blacklisted: Vec<WorkerId>,
    /// Workers of which it learnt something that was not taken down yet.
    learnt: BTreeSet<Address>,
    /// Those of which something was learnt since the last dispatch.
    promoted: BTreeSet<WorkerId>,
    /// The last that was asked for: most tasks share it.
    stance: Option<Arc<Stance>>,
}

/// What is remembered of a deal while tasks of it are open.
#[derive(Clone, Debug, Default)]
struct Deal {
    /// Those of its first task, which the others mostly share.
    terms: Option<Arc<Terms>>,
    /// When the timer of its tasks that wait rings.
    wake_ms: Option<u64>,
    open_tasks: u64,
    /// Those that were opened here, ended ones too.
    tasks: u64,
    /// Few of them are left.
    is_ending: bool,
    run_times_ms: VecDeque<u64>,
    /// Their median, once there are enough.
    median_ms: Option<u64>,
    pace: Pace,
    /// What its tasks ask of a machine.
    demand: Option<DemandId>,
    /// Slower machines are expected to take longer than a run may.
    speed_min: f64,
    work: WorkEstimate,
    /// Workers with slots that wait until more is known of the pace.
    cooling: BTreeSet<WorkerId>,
    /// Nobody who has tasks run elsewhere is asked for one of its before: one was declined.
    overflow_from_ms: u64,
    /// How long those of its tasks took that were run elsewhere, at most.
    overflow_run_ms: Option<u64>,
}

/// What a task of a deal takes, by what those who ran some say of their speed: a multiple of the reference machine's, times seconds.
#[derive(Clone, Debug, Default)]
struct WorkEstimate {
    recent: VecDeque<Run>,
    /// What the recent runs took, ascending, once there are enough.
    works: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    worker: WorkerId,
    seconds: f64,
    /// At the worker's own word.
    work: f64,
}

impl WorkEstimate {
    /// Another run. How quick those were of whom that can be told now, by the median of the recent runs.
    fn add(&mut self, run: Run) -> Vec<(WorkerId, f64)> {
        if self.recent.len() == RUN_TIMES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(run);
        if self.recent.len() < RUN_TIMES_MIN {
            return Vec::new();
        }
        let mut works = self.recent.iter().map(|run| run.work).collect::<Vec<_>>();
        works.sort_by(f64::total_cmp);
        let median = works[works.len() / 2];
        self.works = works;
        // Of the first ones it could not be told when they were through.
        let told = if self.recent.len() == RUN_TIMES_MIN { RUN_TIMES_MIN } else { 1 };
        self.recent.iter().rev().take(told).map(|run| (run.worker, median / run.seconds)).collect()
    }
}

impl WorkEstimate {
    /// The median, once there are enough runs.
    fn median(&self) -> Option<f64> {
        self.works.get(self.works.len() / 2).copied()
    }

    /// What a task takes that has taken so much already: nine in ten of those that took more did not exceed it. Where none took more, a
    /// quarter more. `None` while too few ran.
    ///
    /// Where the ends of runs are guessed by the median, the long ones among them are always about to end, and nobody overtakes them.
    fn of_running(&self, so_far: f64) -> Option<f64> {
        let more = &self.works[self.works.partition_point(|work| *work <= so_far)..];
        let usual = more.get(more.len() * 9 / 10).copied();
        usual.or_else(|| (!self.works.is_empty()).then_some(so_far * 1.25))
    }
}

impl Deal {
    fn record(&mut self, run_ms: u64) {
        if self.run_times_ms.len() == RUN_TIMES_MAX {
            self.run_times_ms.pop_front();
        }
        self.run_times_ms.push_back(run_ms);
        if self.run_times_ms.len() >= RUN_TIMES_MIN {
            let mut times = self.run_times_ms.iter().copied().collect::<Vec<_>>();
            times.sort_unstable();
            self.median_ms = Some(times[times.len() / 2]);
        }
    }

    /// How long its runs take, once one has ended.
    fn known_run_ms(&self) -> Option<u64> {
        let mean_ms = || self.run_times_ms.iter().sum::<u64>().checked_div(self.run_times_ms.len() as u64);
        self.median_ms.or_else(mean_ms)
    }
}

/// What rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Task(TaskId),
    /// Of its tasks that wait in line and that nobody has begun with.
    Deal(DealId),
    Worker(WorkerId),
    /// Of a worker that could not contribute to a task: whether it was only late is known now.
    Failed(TaskId, WorkerId),
    /// What waits is to be looked at: some of it may have to be run elsewhere.
    Overflow,
}

impl Scheduler {
    /// A scheduler without workers and tasks. `first_fence` must be larger than every fence handed out before: keep
    /// [`Scheduler::next_fence`] durably ahead, or derive it from a clock that does not go back.
    pub fn new(policy: Policy, first_fence: Fence) -> Self {
        Self {
            policy,
            now_ms: 0,
            next_fence: first_fence,
            next_order: 0,
            workers: BTreeMap::new(),
            tasks: Tasks::default(),
            deals: BTreeMap::new(),
            leases: BTreeMap::new(),
            line: Line::default(),
            numbers: Numbered::default(),
            machines: MachineIndex::new(),
            idle: [BTreeSet::new(), BTreeSet::new()],
            weights: BTreeSet::new(),
            fresh_workers: BTreeSet::new(),
            fresh_tasks: BTreeSet::new(),
            dirty: BTreeSet::new(),
            tail: Tail::default(),
            overflow: Overflow::default(),
            holding: BTreeSet::new(),
            timers: BTreeSet::new(),
            effects: Vec::new(),
            credibility: None,
            founded: false,
            blacklisted: Vec::new(),
            learnt: BTreeSet::new(),
            promoted: BTreeSet::new(),
            stance: None,
        }
    }

    /// Takes one event. See [`Scheduler::handle_all`].
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        self.handle_all(now_ms, [event])
    }

    /// Takes events that happened together, in order, and decides after the last. `now_ms` is on the scale of the tasks'
    /// deadlines (milliseconds since 1970); a time before the last one counts as the last one.
    pub fn handle_all(&mut self, now_ms: u64, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        self.now_ms = self.now_ms.max(now_ms);
        for event in events {
            self.apply(event);
        }
        self.ring();
        self.review_all();
        self.sort_idle();
        let free = self.tail.who_may_copy(&self.fresh_workers);
        self.take_up();
        self.dispatch();
        self.copy_stragglers(free);
        self.spill();
        // Who found no reserve in this round does not wait for one.
        for task in mem::take(&mut self.holding) {
            self.refuse_reserve(task);
        }
        self.review_all();
        mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is due at the latest; `None` while nothing is waited for.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// The fence that the next lease gets.
    pub fn next_fence(&self) -> Fence {
        self.next_fence
    }

    /// The open tasks, by id.
    pub fn open_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.ids().into_iter()
    }

    /// The connected workers, by id.
    pub fn connected_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, worker)| worker.connected).map(|(id, _)| *id)
    }

    /// The leases that live, by id.
    pub fn live_leases(&self) -> impl Iterator<Item = (LeaseId, TaskId, WorkerId)> {
        self.leases.iter().map(|(lease, (task, worker))| (*lease, *task, *worker))
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::WorkerJoined(spec) => self.worker_joined(spec),
            Event::WorkerUpdated { worker, score, free_stake } => self.worker_updated(worker, score, free_stake),
            Event::WorkerDescribed { worker, ad } => self.worker_described(worker, ad),
            Event::WorkerServes { worker, serves } => self.worker_serves(worker, serves),
            Event::WorkerLeft { worker } => self.worker_left(worker),
            Event::WorkerDraining { worker } => self.worker_draining(worker),
            Event::WorkerBanned { worker, reason } => {
                self.ban(worker, reason, None);
                self.tell(Belief::WorkerBanned { worker: worker.0 });
            }
            Event::WorkerPardoned { worker } => self.worker_pardoned(worker),
            Event::TaskAdded(spec) => self.task_added(*spec),
            // Acceptance changes nothing that a heartbeat would not: the lease runs either way.
            Event::LeaseAccepted { lease } => self.extend_lease(lease),
            Event::LeaseDeclined { lease, reason } => self.lease_declined(lease, reason),
            Event::LeaseFailed { lease, fault, reason } => self.lease_failed(lease, fault, reason),
            Event::Heartbeat { worker, leases } => self.heartbeat(worker, leases),
            Event::ResultReady { worker, task, lease, result_hash } => {
                self.result_ready(worker, task, lease, result_hash)
            }
            Event::ContributionSeen { task, worker, hash, weight } => {
                self.contribution_seen(task, worker, hash, weight)
            }
            Event::ContributionFailed { task, worker, reason } => self.contribution_failed(task, worker, &reason),
            Event::ContributionRejected { task, worker } => self.contribution_rejected(task, worker),
            Event::ConsensusReached { task, hash, reveal_deadline_ms } => {
                self.consensus_reached(task, hash, reveal_deadline_ms);
            }
            Event::RevealSeen { task, worker, digest } => self.reveal_seen(task, worker, digest),
            Event::UploadOpened { task, worker, matches } => self.upload_opened(task, worker, matches),
            Event::TaskReopened { task } => self.task_reopened(task),
            Event::TaskCompleted { task } => self.task_ended(task, true),
            Event::TaskFailed { task } => self.task_ended(task, false),
            Event::ConcedeSeen { task, effective_at_ms } => self.concede_seen(task, effective_at_ms),
            Event::CallFailed { task, call, reason } => self.call_failed(task, call, &reason),
            Event::PolicyChanged(policy) => self.policy_changed(*policy),
            Event::Tick => {}
        }
    }

    /// Takes the timers that are due.
    fn ring(&mut self) {
        while let Some((at_ms, timer)) = self.timers.first().copied() {
            if at_ms > self.now_ms {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Task(id) => {
                    if let Some(task) = self.tasks.get_mut(&id) {
                        task.wake_ms = None;
                        self.dirty.insert(id);
                    }
                }
                Timer::Deal(id) => self.ring_deal(id),
                Timer::Worker(id) => self.refresh_worker(id),
                Timer::Failed(task, worker) => self.judge_failure(task, worker),
                Timer::Overflow => self.overflow.ring(),
            }
        }
    }

    /// Reviews what changed. Each worker is expelled once, so that this ends.
    fn review_all(&mut self) {
        loop {
            for id in mem::take(&mut self.dirty) {
                self.review(id);
            }
            if !self.expel() && self.dirty.is_empty() {
                break;
            }
        }
    }

    /// Changes a task if it is open, and has it reviewed.
    fn with_task<T>(&mut self, id: TaskId, change: impl FnOnce(&mut Task) -> T) -> Option<T> {
        let task = self.tasks.get_mut(&id)?;
        self.dirty.insert(id);
        Some(change(task))
    }

    /// How long a run of this task takes: the median of its deal, or T while too few ran.
    fn run_ms(&self, task: &Task) -> u64 {
        self.deals.get(&task.spec.deal).and_then(|deal| deal.median_ms).unwrap_or(task.spec.work_clock_ms)
    }

    /// The time after which a lease given now would come too late.
    fn last_lease_ms(&self, task: &Task) -> u64 {
        let needed_ms = self.run_ms(task).saturating_add(self.policy.contribution_margin_ms);
        task.spec.contribution_deadline_ms.saturating_sub(needed_ms)
    }

    /// A new replica may be leased, as far as the task is concerned.
    fn is_leasable(&self, task: &Task) -> bool {
        let waiting = match task.phase {
            Phase::Collecting => true,
            Phase::Revealing { .. } => task.asked.is_empty(),
            Phase::Ended { .. } => false,
        };
        waiting
            && !task.is_public()
            && !task.stopped
            && task.concede_effective_ms.is_none()
            && task.free_places() > 0
            && self.now_ms <= self.last_lease_ms(task)
    }

    fn note(&mut self, task: &mut Task, cause: &'static str, text: impl FnOnce() -> String) {
        if task.notes.insert(cause) {
            self.effects.push(Effect::Note { task: task.id(), text: text() });
        }
    }
}

#[cfg(test)]
mod tests;
