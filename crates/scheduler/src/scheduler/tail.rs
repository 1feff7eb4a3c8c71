//! The end of a deal: who has nothing else to do overtakes the runs on which the rest waits.
//!
//! At the end of a bag most machines are idle and the slowest are still at work, so the last tasks take much longer than their share.
//! As in LATE (Zaharia et al., OSDI 2008) the run that is expected to end last is copied first, to a machine that is expected to end
//! before it; what is expected follows from how quick the machines are taken for and from what tasks of the deal took so far. It is
//! bounded: copies are made only once few tasks of the deal are open, only by who finds no other task, and of a task no more than
//! `end_copies_max` at a time.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_types::{DealId, TaskId};

use super::dispatch::Fit;
use super::{Deal, Scheduler};
use crate::id::WorkerId;
use crate::task::{Outlook, Phase, Replica, ReplicaState, Seats, Task, Wants};
use crate::worker::Worker;

/// Runs that are looked at for one free worker, those that end last.
const LOOKED_AT_MAX: usize = 32;
/// Of so many runs or workers that would do the secret of a public pool draws: nobody can arrange to meet a friend.
const DRAWN: usize = 4;

/// The tasks on which ends of deals wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// By when they are expected to end, with their work.
    // INVARIANT: exactly the tasks with `straggles_until_ms`.
    by_end: BTreeMap<(u64, TaskId), f64>,
    /// Those for which no worker was looked for since that changed.
    fresh: BTreeSet<TaskId>,
}

impl Tail {
    /// Of workers with a free slot, who may be asked for a copy: nobody, while there is nothing to copy.
    pub(super) fn who_may_copy(&self, free: &BTreeSet<WorkerId>) -> BTreeSet<WorkerId> {
        if self.by_end.is_empty() { BTreeSet::new() } else { free.clone() }
    }

    /// Takes a task out.
    pub(super) fn forget(&mut self, task: &mut Task) {
        if let Some(until_ms) = task.straggles_until_ms.take() {
            self.by_end.remove(&(until_ms, task.id()));
            self.fresh.remove(&task.id());
        }
    }
}

impl Scheduler {
    /// How long a run of this deal is expected to take at a worker, by the work of those that ended; `None` while too few have.
    pub(super) fn expected_run_ms(&self, deal: &Deal, worker: WorkerId) -> Option<u64> {
        match (deal.work.median(), self.workers.get(&worker)) {
            (Some(work), Some(worker)) => Some(run_ms(work, worker)),
            _ => deal.median_ms,
        }
    }

    /// A task changed, and stands in line where it belongs.
    pub(super) fn watch_tail(&mut self, task: &mut Task) {
        self.note_end(task.spec.deal);
        let straggles = self.straggles(task);
        let until_ms = straggles.map(|(until_ms, _)| until_ms);
        if until_ms != task.straggles_until_ms {
            self.tail.forget(task);
        }
        if let Some((until_ms, work)) = straggles {
            self.tail.by_end.insert((until_ms, task.id()), work);
            if task.straggles_until_ms.replace(until_ms).is_none() {
                self.tail.fresh.insert(task.id());
            }
            // It is in no queue, so nobody else goes by it.
            task.seats = Seats { vote: true, probation: false };
        }
    }

    /// A task of a deal was added or is over: whether the deal is at its end.
    pub(super) fn note_end(&mut self, deal_id: DealId) {
        let Some(deal) = self.deals.get_mut(&deal_id) else { return };
        let few = u128::from(deal.open_tasks) * 100 <= u128::from(deal.tasks) * u128::from(self.policy.end_percent);
        let is_ending = few && self.policy.late_percent > 0;
        if std::mem::replace(&mut deal.is_ending, is_ending) != is_ending && is_ending {
            let of_deal = |task: &TaskId| self.tasks.get(task).is_some_and(|task| task.spec.deal == deal_id);
            let leased = self.leases.values().map(|(task, _)| *task).filter(of_deal);
            self.dirty.extend(leased.collect::<Vec<_>>());
        }
    }

    /// When enough of a task's runs are expected to have ended, and its work, if its deal waits for it and one more may be made.
    fn straggles(&self, task: &Task) -> Option<(u64, f64)> {
        self.deals.get(&task.spec.deal).filter(|deal| deal.is_ending)?;
        if task.wants != Wants::Nothing || task.phase != Phase::Collecting || !self.is_leasable(task) {
            return None;
        }
        let work = self.expected_work(task)?;
        let ends = task.replicas.iter().filter_map(|(worker, replica)| self.expected_end_ms(work, *worker, replica));
        let mut ends = ends.collect::<Vec<_>>();
        let Outlook { surplus, .. } = task.outlook(task.leader()).ok()?;
        if surplus >= self.policy.end_copies_max {
            return None;
        }
        // Of so many runs all but the surplus are needed.
        ends.sort_unstable();
        Some((*ends.get(ends.len().checked_sub(surplus as usize + 1)?)?, work))
    }

    /// The work of a task under way, as far as its runs and those of its deal tell.
    fn expected_work(&self, task: &Task) -> Option<f64> {
        let mut so_far = 0.0_f64;
        for (worker, replica) in &task.replicas {
            if let (ReplicaState::Leased { since_ms, .. }, Some(worker)) = (replica.state, self.workers.get(worker)) {
                so_far = so_far.max(self.now_ms.saturating_sub(since_ms) as f64 / 1e3 * worker.speed());
            }
        }
        self.deals.get(&task.spec.deal)?.work.of_running(so_far)
    }

    /// When a lease ends, if its task is so much work.
    fn expected_end_ms(&self, work: f64, worker: WorkerId, replica: &Replica) -> Option<u64> {
        let ReplicaState::Leased { since_ms, .. } = replica.state else { return None };
        Some(since_ms.saturating_add(run_ms(work, self.workers.get(&worker)?)))
    }

    /// When more is known of a task that straggles: a run of it should have ended.
    pub(super) fn tail_moment(&self, task: &Task) -> Option<u64> {
        let work = task.straggles_until_ms.and_then(|_| self.expected_work(task))?;
        let ends = task.replicas.iter().filter_map(|(worker, replica)| self.expected_end_ms(work, *worker, replica));
        ends.min().map(|end_ms| end_ms.saturating_add(1))
    }

    /// After dispatch, whoever still has nothing to do overtakes. `free`: whose slots came free.
    pub(super) fn copy_stragglers(&mut self, free: BTreeSet<WorkerId>) {
        for worker in free {
            while let Some(task) = self.slowest_for(worker) {
                self.grant(task, worker);
            }
        }
        for id in std::mem::take(&mut self.tail.fresh) {
            let Some(until_ms) = self.tasks.get(&id).and_then(|task| task.straggles_until_ms) else { continue };
            let Some(work) = self.tail.by_end.get(&(until_ms, id)).copied() else { continue };
            if let Some(worker) = self.quickest_for(id, work, until_ms) {
                self.grant(id, worker);
            }
        }
    }

    /// Who is to overtake a task: of the machines that come first for it, the first that would.
    fn quickest_for(&mut self, id: TaskId, work: f64, until_ms: u64) -> Option<WorkerId> {
        if self.idle[0].is_empty() {
            return None;
        }
        // Only the first of them: whoever stands behind is asked when its slot comes free.
        let candidates = self.machines.candidates(self.tasks.get(&id)?.demand?);
        let task = self.tasks.get(&id)?;
        let credibility = self.credibility.as_ref().filter(|credibility| credibility.policy().public);
        let fitting = candidates.iter().map(|choice| choice.worker).filter(|worker| {
            let known = self.workers.get(worker).filter(|known| is_idle_voter(known));
            known.is_some_and(|known| {
                self.overtakes(known, work, until_ms) && self.fit(task, *worker, known) == Fit::New
            })
        });
        let drawn = fitting.take(credibility.map_or(1, |_| DRAWN));
        drawn.min_by_key(|worker| credibility.map(|credibility| credibility.order(id, worker.0)))
    }

    /// The run that this worker is to overtake: of those that it can, the one that ends last.
    fn slowest_for(&self, id: WorkerId) -> Option<TaskId> {
        let worker = self.workers.get(&id).filter(|worker| is_idle_voter(worker))?;
        let credibility = self.credibility.as_ref().filter(|credibility| credibility.policy().public);
        let latest = self.tail.by_end.iter().rev().take(LOOKED_AT_MAX);
        let fitting = latest.filter(|((until_ms, task), work)| {
            self.overtakes(worker, **work, *until_ms)
                && self.tasks.get(task).is_some_and(|task| self.fit(task, id, worker) == Fit::New)
        });
        let drawn = fitting.map(|((_, task), _)| *task).take(credibility.map_or(1, |_| DRAWN));
        drawn.min_by_key(|task| credibility.map(|credibility| credibility.order(*task, id.0)))
    }

    /// A worker that began now is expected to end so much work before then, by so much that a copy is worth it.
    fn overtakes(&self, worker: &Worker, work: f64, until_ms: u64) -> bool {
        let percent = u128::from(self.policy.gain_percent) + 100;
        u128::from(self.now_ms) + u128::from(run_ms(work, worker)) * percent / 100 < u128::from(until_ms)
    }
}

/// It has a free slot, and its answers count.
fn is_idle_voter(worker: &Worker) -> bool {
    worker.idle.is_some_and(|idle| idle.among == 0)
}

/// How long so much work takes a worker.
fn run_ms(work: f64, worker: &Worker) -> u64 {
    // Within the range: speeds are from a hundredth to a hundred, and work is speed times the seconds of a run.
    (work / worker.speed() * 1e3) as u64
}
