//! What is known of the workers' machines, and which is the best for a task.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_types::{Address, ContentId, TaskId};

use super::dispatch::{Fit, Fitting};
use super::pacing::BELIEVED;
use super::{Deal, Run, Scheduler};
use crate::id::WorkerId;
use crate::index::{Demand, MachineIndex, Unmet, with_requirements};
use crate::rank::{Facts, REFERENCE_OPERATIONS_PER_SECOND, Work, exact};
use crate::task::Task;
use crate::worker::{Told, Worker};

/// Of so many idle workers that are best for a task, on a public pool, the pool's secret draws: nobody can arrange to meet a friend.
const DRAWN_WORKERS: usize = 8;
/// So many idle workers are looked at one by one where the most promising will not do.
const FEW_WORKERS: usize = 1_024;
/// Of so few it is found out first who would do.
const HANDFUL: usize = 32;
/// Parts of a factor of two in which facts are told apart: what changes by less changes nobody's place.
const PARTS: f64 = 8.0;
/// How much a new measurement counts against what was measured before.
const NEWEST_SHARE: f64 = 0.25;
/// Contents that a worker is remembered to have.
const CACHED_MAX: usize = 64;

impl Scheduler {
    /// The kind of machine that a task asks for is known to the index while its deal has open tasks.
    pub(super) fn open_demand(&mut self, task: &mut Task) {
        let deal = self.deals.entry(task.spec.deal).or_default();
        let demand = *deal.demand.get_or_insert_with(|| self.machines.open(Demand::clone(&task.spec.demand)));
        task.demand = Some(demand);
        let limit_ms = self.policy.lease_terms(task.spec.work_clock_ms).run_limit_ms;
        task.speed_min = speed_min(&task.spec.demand.work, limit_ms);
        deal.speed_min = task.speed_min;
    }

    /// A run may take another time than before.
    pub(super) fn limit_runs_anew(&mut self) {
        for id in self.tasks.ids() {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let limit_ms = self.policy.lease_terms(task.spec.work_clock_ms).run_limit_ms;
            task.speed_min = speed_min(&task.spec.demand.work, limit_ms);
            if let Some(deal) = self.deals.get_mut(&task.spec.deal) {
                deal.speed_min = task.speed_min;
            }
        }
    }

    /// A deal is over.
    pub(super) fn close_demand(&mut self, deal: &Deal) {
        if let Some(demand) = deal.demand {
            self.machines.close(demand);
        }
    }

    /// A worker is there, or says something else of its machine.
    pub(super) fn enter_machine(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id).filter(|worker| !worker.is_overflow()) else { return };
        let mut ad = with_requirements(worker.ad.as_ref().clone());
        // INVARIANT: a full ad stays as it is, without the score: nothing that asks for it matches.
        let _ = ad.insert("Score", gristmill_classad::Value::from(i64::try_from(worker.score).unwrap_or(i64::MAX)));
        let Some(facts) = self.facts(id, 0) else { return };
        self.machines.insert(id, ad.into(), facts);
    }

    /// Its slots, or what is known of it, changed. `since` grows: of equal machines the one that waits longest is the first.
    pub(super) fn tell_machine(&mut self, id: WorkerId, slots_free: u32, since: u64) {
        if self.workers.get(&id).is_none_or(Worker::is_overflow) {
            return;
        }
        let Some(facts) = self.facts(id, slots_free) else { return };
        self.machines.update_since(id, facts, since);
    }

    fn facts(&mut self, id: WorkerId, slots_free: u32) -> Option<Facts> {
        let worker = self.workers.get_mut(&id)?;
        let believed = self.credibility.as_ref().map(|credibility| (credibility, credibility.credibility(id.0)));
        let mut speed = worker.speed();
        // Whoever is not believed counts as no quicker than the reference machine on a public pool, whatever it says.
        if let Some((credibility, believed)) = believed
            && credibility.policy().public
            && believed < BELIEVED
        {
            speed = speed.min(1.0);
        }
        // The share of its leases that came to nothing, as the number of leases that one result takes.
        let tries = (worker.started as f64 + 1.0) / (worker.completed.min(worker.started) as f64 + 1.0);
        let (defaults, watts) = (Facts::default(), worker.watts());
        let grades = &mut worker.grades;
        Some(Facts {
            slots_free,
            operations_per_second: (grades.speed.of(speed) * REFERENCE_OPERATIONS_PER_SECOND as f64) as u64,
            watts: watts.map_or(defaults.watts, |watts| grades.watts.of(watts)),
            expected_error: believed.map_or(defaults.expected_error, |(_, believed)| grades.error.of(1.0 - believed)),
            tasks_started: (grades.tries.of(tries) * 1_000.0) as u64 - 1,
            tasks_completed: 999,
            cached: Arc::clone(&grades.cached),
            ..defaults
        })
    }

    /// The best idle worker for a task, of those that fit it just so.
    ///
    /// Of equal ones it is who waits longest. A pool that believes draws instead: on a public one of the few best, so that who lies about
    /// its machine gains little, and nobody knows who else will be asked.
    pub(super) fn best_for(&mut self, id: TaskId, fit: Fit) -> Option<WorkerId> {
        let Self { tasks, workers, machines, credibility, policy, now_ms, idle, .. } = self;
        let task = tasks.get(&id)?;
        let credibility = credibility.as_ref();
        let fitting = Fitting { now_ms: *now_ms, retries: policy.host_fault_retries, credibility, machines: None };
        let takes = [task.seats.vote, task.seats.probation];
        let passes = |worker: WorkerId| {
            let is_taken = |known: &&Worker| known.idle.is_some_and(|idle| takes[idle.among]);
            let known = workers.get(&worker).filter(is_taken);
            known.is_some_and(|known| fitting.fit(task, worker, known) == fit)
        };
        // Nobody has a task again who never had it.
        let again =
            (fit == Fit::Again).then(|| task.attempts.keys().copied().filter(|id| passes(*id)).collect::<Vec<_>>());
        if again.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        // Where those whom the task does not take are idle by the thousand, the others are soon looked at.
        let from = (quickness_min(task.speed_min), WorkerId(Address::ZERO));
        let first = |count: usize| {
            let taken = idle.iter().zip(takes).filter(|(_, takes)| *takes);
            let quick = taken.flat_map(|(idle, _)| idle.range(from..));
            let first = quick.take(count + 1).map(|(_, worker)| *worker).collect::<Vec<_>>();
            (first.len() <= count).then_some(first)
        };
        let known = again.or_else(|| first(HANDFUL));
        let demand = task.demand?;
        let count = if credibility.is_some_and(|credibility| credibility.policy().public) { DRAWN_WORKERS } else { 1 };
        let best = match known {
            // Of a handful it is soon known who passes: often nobody, and then no order of machines is asked.
            Some(known) if known.len() <= HANDFUL => {
                let passing = known.into_iter().filter(|worker| passes(*worker)).collect::<Vec<_>>();
                if passing.is_empty() {
                    machines.keep_current(demand);
                    return None;
                }
                machines.best_among(demand, count, || Some(passing.clone()), |worker| passing.contains(&worker))
            }
            known => machines.best_among(demand, count, || known.or_else(|| first(FEW_WORKERS)), passes),
        };
        let order = |worker: &WorkerId| {
            let drawn = credibility.map_or(0, |credibility| credibility.order(id, worker.0));
            (drawn, workers.get(worker).and_then(|known| known.idle).map(|idle| idle.order))
        };
        best.into_iter().map(|choice| choice.worker).min_by_key(order)
    }

    /// A run of a deal took so long at a worker, which has its app and inputs now.
    pub(super) fn measure(&mut self, task: TaskId, id: WorkerId, run_ms: u64) {
        let Some(task) = self.tasks.get(&task) else { return };
        let (Some(deal), Some(worker)) = (self.deals.get_mut(&task.spec.deal), self.workers.get_mut(&id)) else {
            return;
        };
        worker.completed = worker.completed.saturating_add(1);
        for (content, _) in &task.spec.demand.work.inputs {
            worker.has(*content);
        }
        // What the task took at its own word, against what such a task takes at everybody's.
        let seconds = run_ms.max(1) as f64 / 1e3;
        for (worker, speed) in deal.work.add(Run { worker: id, seconds, work: worker.told.speed * seconds }) {
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.measured(speed);
            }
            self.refresh_worker(worker);
        }
    }

    /// Whose machines match this demand, free or not, and what keeps the others from it. For people: it looks at each machine.
    pub fn matching(&mut self, demand: Demand) -> (BTreeSet<WorkerId>, Unmet) {
        let id = self.machines.open(demand);
        let matching = self.machines.matching(id).into_iter().map(|(worker, ..)| worker).collect();
        // INVARIANT: it was opened above.
        let unmet = self.machines.unmet(id).unwrap_or_default();
        self.machines.close(id);
        (matching, unmet)
    }

    /// The machines, as the pool knows them.
    pub fn machines(&self) -> &MachineIndex {
        &self.machines
    }
}

impl Worker {
    /// It says what it is, and that is slower than this. Nobody gains by such a word but the truthful: they are not asked in vain.
    pub(super) fn is_too_slow(&self, speed_min: f64) -> bool {
        self.told.says_speed && self.told.speed < speed_min
    }

    /// A number for that: whoever's is below [`quickness_min`] is too slow. The order of numbers that are not negative is that of their
    /// bits, and who says nothing is never too slow.
    pub(super) fn quickness(&self) -> u64 {
        if self.told.says_speed { self.told.speed.to_bits() } else { u64::MAX }
    }

    /// How quick it is taken for: what it says, unless it was slower than others at the same work.
    pub(super) fn speed(&self) -> f64 {
        self.measured_speed.map_or(self.told.speed, |measured| measured.min(self.told.speed))
    }

    fn measured(&mut self, speed: f64) {
        let speed = speed.clamp(Told::SPEEDS.0, Told::SPEEDS.1);
        let before = self.measured_speed.unwrap_or(speed);
        self.measured_speed = Some(before + (speed - before) * NEWEST_SHARE);
    }

    /// What a slot of it draws, if it says so.
    fn watts(&self) -> Option<f64> {
        self.told.watts.map(|watts| watts / f64::from(self.slots.max(1)))
    }

    /// It fetched this.
    fn has(&mut self, content: ContentId) {
        self.cached.retain(|known| *known != content);
        if self.cached.len() == CACHED_MAX {
            self.cached.pop_front();
        }
        self.cached.push_back(content);
        let mut sorted = self.cached.iter().copied().collect::<Vec<_>>();
        sorted.sort_unstable();
        self.grades.cached = sorted.into();
    }
}

/// What the ranking is told of a worker, as it was worked out last: it is asked at every step, and seldom changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grades {
    speed: Grade,
    watts: Grade,
    error: Grade,
    tries: Grade,
    /// What it has, sorted.
    cached: Arc<[ContentId]>,
}

/// A number and the nearest of those that are told apart.
#[derive(Clone, Copy, Debug)]
struct Grade {
    number: f64,
    nearest: f64,
}

impl Default for Grade {
    fn default() -> Self {
        Self { number: 1.0, nearest: in_parts(1.0) }
    }
}

impl Grade {
    fn of(&mut self, number: f64) -> f64 {
        if number.to_bits() != self.number.to_bits() {
            *self = Self { number, nearest: in_parts(number) };
        }
        self.nearest
    }
}

/// The speed below which so much work takes longer than a run may; 0 if it is not known.
fn speed_min(work: &Work, limit_ms: u64) -> f64 {
    let operations = if work.is_known { work.operations as f64 } else { 0.0 };
    operations / REFERENCE_OPERATIONS_PER_SECOND as f64 / (limit_ms.max(1) as f64 / 1e3)
}

/// See [`Worker::quickness`].
pub(super) fn quickness_min(speed_min: f64) -> u64 {
    speed_min.max(0.0).to_bits()
}

/// The nearest of the numbers that are told apart.
fn in_parts(number: f64) -> f64 {
    const SMALLEST: f64 = 1e-9;
    exact::exp2((exact::log2(number.max(SMALLEST)) * PARTS).round() / PARTS)
}
