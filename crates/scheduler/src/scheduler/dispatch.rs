//! Match tasks that want a replica with workers that have a free slot, first come first served.

use std::mem;

use gristmill_types::TaskId;

use super::Scheduler;
use crate::id::WorkerId;
use crate::task::{Task, Wants};
use crate::worker::Worker;

/// How far a worker is from being able to take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It may, and never had it.
    New,
    /// It may have it again, if nobody new does.
    Again,
    /// It has or had it.
    Tried,
    /// All its GPUs are taken.
    Gpu,
    /// Another engine.
    Profile,
    /// It does not offer what the task needs.
    Needs,
    /// Too little stake.
    Stake,
}

/// An index of tasks that want something.
#[derive(Clone, Copy)]
enum Queue {
    Needy,
    Spare,
}

impl Queue {
    fn wants(self) -> Wants {
        match self {
            Self::Needy => Wants::Replica,
            Self::Spare => Wants::Reserve,
        }
    }
}

impl Fit {
    pub(super) fn is_possible(self) -> bool {
        matches!(self, Self::New | Self::Again)
    }
}

impl Scheduler {
    /// Hands out what can be handed out. Only fresh workers and fresh tasks are tried: every other pair was tried before,
    /// and nothing about it has changed.
    pub(super) fn dispatch(&mut self) {
        let workers = mem::take(&mut self.fresh_workers);
        let tasks = mem::take(&mut self.fresh_tasks);
        // A task goes to a worker that never had it if there is one, and reserves take only what is left.
        for (queue, fit) in [(Queue::Needy, Fit::New), (Queue::Needy, Fit::Again), (Queue::Spare, Fit::New)] {
            for worker in &workers {
                self.feed(*worker, queue, fit);
            }
            for (_, task) in &tasks {
                self.staff(*task, queue, fit);
            }
        }
        // Granting made workers fresh again, which were just tried.
        self.fresh_workers.clear();
    }

    /// Gives a worker the oldest tasks of a queue, until its slots are full.
    fn feed(&mut self, id: WorkerId, queue: Queue, fit: Fit) {
        while let Some(worker) = self.workers.get(&id).filter(|worker| worker.idle_order.is_some()) {
            let tasks = match queue {
                Queue::Needy => &self.needy,
                Queue::Spare => &self.spare,
            };
            let fits = |task: &TaskId| self.tasks.get(task).is_some_and(|task| self.fit(task, id, worker) == fit);
            let Some(task) = tasks.iter().map(|(_, task)| *task).find(fits) else { return };
            self.grant(task, id);
        }
    }

    /// Gives a task of this queue to the workers longest idle, until it wants no more.
    fn staff(&mut self, id: TaskId, queue: Queue, fit: Fit) {
        while let Some(task) = self.tasks.get(&id).filter(|task| task.wants == queue.wants()) {
            let fits = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| self.fit(task, *id, worker) == fit);
            let Some(worker) = self.idle.iter().map(|(_, worker)| *worker).find(fits) else { return };
            self.grant(id, worker);
        }
    }

    /// Whether this worker, were it free, could take this task.
    pub(super) fn fit(&self, task: &Task, id: WorkerId, worker: &Worker) -> Fit {
        if task.replicas.contains_key(&id) || task.seen.contains_key(&id) {
            return Fit::Tried;
        }
        let fit = match task.attempts.get(&id) {
            None => Fit::New,
            Some(attempt) => match attempt.retry_ms {
                Some(at_ms) if at_ms <= self.now_ms && attempt.leases <= self.policy.host_fault_retries => Fit::Again,
                _ => return Fit::Tried,
            },
        };
        if task.profile.as_ref().is_some_and(|profile| *profile != worker.profile) {
            return Fit::Profile;
        }
        if !task.spec.needs.without(worker.offers.needs()).is_none() {
            return Fit::Needs;
        }
        if !worker.lacks_stake(task.stake()).is_zero() {
            return Fit::Stake;
        }
        if task.spec.needs.gpu && !worker.has_gpu() {
            return Fit::Gpu;
        }
        fit
    }

    /// Sets what a task wants, after something about it changed.
    pub(super) fn reindex(&mut self, id: TaskId) {
        if let Some(mut task) = self.tasks.remove(&id) {
            self.index(&mut task);
            self.tasks.insert(id, task);
        }
    }

    /// The same, of a task that is out of the map.
    pub(super) fn index(&mut self, task: &mut Task) {
        let wants = if self.is_leasable(task) { self.wants(task) } else { Wants::Nothing };
        let key = (task.order, task.id());
        if wants != task.wants {
            self.needy.remove(&key);
            self.spare.remove(&key);
            match wants {
                Wants::Replica => _ = self.needy.insert(key),
                Wants::Reserve => _ = self.spare.insert(key),
                Wants::Nothing => {}
            }
            task.wants = wants;
        }
        if wants == Wants::Nothing {
            self.fresh_tasks.remove(&key);
        } else {
            self.fresh_tasks.insert(key);
        }
        self.arm(task);
    }
}
