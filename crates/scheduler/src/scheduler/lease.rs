//! Leases are given, kept alive, answered and lost.

use alloy_primitives::B256;
use gristmill_credibility::Event as Belief;
use gristmill_types::TaskId;

use super::{Scheduler, Timer};
use crate::event::{DeclineReason, Effect, Fault, RevokeReason};
use crate::id::{Fence, LeaseId, WorkerId};
use crate::task::{Attempt, Check, Replica, ReplicaState, Task};

impl Scheduler {
    /// Leases `task` to `worker`. The caller has seen that both may.
    pub(super) fn grant(&mut self, task_id: TaskId, worker_id: WorkerId) {
        let (Some(task), Some(worker)) = (self.tasks.get_mut(&task_id), self.workers.get_mut(&worker_id)) else {
            return;
        };
        let fence = self.next_fence;
        self.next_fence = Fence(fence.0.saturating_add(1));
        let lease = LeaseId::derive(fence, task_id, worker_id);
        let terms = self.policy.lease_terms(task.spec.work_clock_ms);
        let expires_ms = self.now_ms.saturating_add(terms.lease_ms);
        let stake = task.stake();
        let state = ReplicaState::Leased { since_ms: self.now_ms, expires_ms, terms };
        let deal = task.spec.deal;
        task.replicas.insert(worker_id, Replica { lease, fence, deal, weight: worker.weight(), stake, state });
        if let Some(deal) = self.deals.get_mut(&deal) {
            deal.pace.begin(worker_id);
        }
        let before = task.attempts.get(&worker_id);
        let leases = before.map_or(0, |attempt| attempt.leases).saturating_add(1);
        let attempt = Attempt { leases, is_again: before.is_some(), retry_ms: None };
        task.attempts.insert(worker_id, attempt);
        task.profile.get_or_insert_with(|| worker.profile.clone());
        let heartbeat_ms = self.policy.heartbeat_ms(task.spec.work_clock_ms);
        worker.committed = worker.committed.checked_add(stake).unwrap_or(gristmill_types::Amount::MAX);
        worker.started = worker.started.saturating_add(1);
        worker.tried.insert(task.order);
        worker.again.remove(&(task.order, task_id));
        self.line.give(task.spec.requester, task.spec.deal, task.cost());
        worker.leases.insert(lease);
        if task.spec.needs.gpu {
            worker.gpu_leases.insert(lease);
        }
        worker.replicas.insert(task_id);
        self.leases.insert(lease, (task_id, worker_id));
        self.effects.push(Effect::Lease { lease, fence, task: task_id, worker: worker_id, expires_ms, heartbeat_ms });
        // To the end of the queue, also when slots are left: work spreads over workers before it piles up on one.
        if let Some(idle) = worker.idle.take() {
            self.idle[idle.among].remove(&(idle.quickness, worker_id));
        }
        self.tell(Belief::Leased { task: task_id, worker: worker_id.0 });
        self.refresh_worker(worker_id);
        self.reindex(task_id);
    }

    /// Frees the slot of a lease, if it lives.
    pub(super) fn end_lease(&mut self, lease: LeaseId) {
        let Some((_, worker_id)) = self.leases.remove(&lease) else { return };
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.leases.remove(&lease);
            worker.gpu_leases.remove(&lease);
        }
        self.refresh_worker(worker_id);
    }

    /// Takes a replica away that is not on the ledger and was not authorised; `revoke` tells the worker, if it is working.
    pub(super) fn drop_replica(&mut self, task_id: TaskId, worker_id: WorkerId, revoke: Option<RevokeReason>) {
        let Some(task) = self.tasks.get(&task_id) else { return };
        let Some(replica) = task.replicas.get(&worker_id) else { return };
        let lease = replica.lease;
        match replica.state {
            ReplicaState::Authorised { .. } | ReplicaState::Lapsed { .. } => return,
            ReplicaState::Leased { .. } => {
                if let Some(reason) = revoke {
                    self.effects.push(Effect::RevokeLease { lease, worker: worker_id, reason });
                }
            }
            ReplicaState::Ready { .. } => self.effects.push(Effect::Forget { task: task_id, worker: worker_id }),
        }
        self.remove_replica(task_id, worker_id);
    }

    /// Takes a replica out of every index.
    pub(super) fn remove_replica(&mut self, task_id: TaskId, worker_id: WorkerId) -> Option<Replica> {
        let replica = self.with_task(task_id, |task| task.replicas.remove(&worker_id))??;
        self.forget_replica(task_id, worker_id, &replica);
        Some(replica)
    }

    /// Clears what the indexes and the worker hold for a replica that is already out of its task.
    pub(super) fn forget_replica(&mut self, task_id: TaskId, worker_id: WorkerId, replica: &Replica) {
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.release_stake(replica.stake);
            worker.replicas.remove(&task_id);
            if worker.caught && !worker.is_bound() {
                self.blacklisted.push(worker_id);
            }
        }
        if matches!(replica.state, ReplicaState::Leased { .. }) {
            self.tell(Belief::Released { task: task_id, worker: worker_id.0 });
            self.pace(replica.deal, worker_id, None);
            self.end_lease(replica.lease);
        }
    }

    pub(super) fn extend_lease(&mut self, lease: LeaseId) {
        let Some((task_id, worker_id)) = self.leases.get(&lease).copied() else { return };
        let Some(task) = self.tasks.get_mut(&task_id) else { return };
        if let Some(replica) = task.replicas.get_mut(&worker_id)
            && let ReplicaState::Leased { expires_ms, terms, .. } = &mut replica.state
        {
            // The timer rings at the old time, finds the lease alive and is set anew: cheaper than moving it each time.
            *expires_ms = self.now_ms.saturating_add(terms.lease_ms).max(*expires_ms);
        }
    }

    pub(super) fn heartbeat(&mut self, worker_id: WorkerId, leases: Vec<LeaseId>) {
        for lease in leases {
            match self.leases.get(&lease) {
                Some((_, holder)) if *holder == worker_id => self.extend_lease(lease),
                _ => {
                    let reason = RevokeReason::Unknown;
                    self.effects.push(Effect::RevokeLease { lease, worker: worker_id, reason });
                }
            }
        }
    }

    pub(super) fn lease_declined(&mut self, lease: LeaseId, reason: DeclineReason) {
        let Some((task_id, worker_id)) = self.leases.get(&lease).copied() else { return };
        let now_ms = self.now_ms;
        self.with_task(task_id, |task| match &reason {
            // As if it had never been asked.
            DeclineReason::Busy => {
                if let Some(attempt) = task.attempts.get_mut(&worker_id) {
                    attempt.leases = attempt.leases.saturating_sub(1);
                }
            }
            DeclineReason::Unable(why) => task.last_fault = why.clone(),
        });
        if reason == DeclineReason::Busy {
            self.allow_retry(task_id, worker_id, now_ms);
        }
        if self.is_overflow(worker_id) {
            self.pause_overflow(task_id);
        } else if let (DeclineReason::Busy, Some(worker)) = (&reason, self.workers.get_mut(&worker_id)) {
            worker.busy_until_ms = now_ms.saturating_add(self.policy.busy_ms);
            self.timers.insert((worker.busy_until_ms, Timer::Worker(worker_id)));
        }
        self.drop_replica(task_id, worker_id, None);
    }

    /// A host fault: elsewhere, so often in a row; then the pool stops.
    pub(super) fn lease_failed(&mut self, lease: LeaseId, fault: Fault, reason: String) {
        let Some((task_id, worker_id)) = self.leases.get(&lease).copied() else { return };
        let retries = self.policy.host_fault_retries;
        let lease_ms = self.tasks.get(&task_id).map_or(0, |task| self.policy.lease_ms(task.spec.work_clock_ms));
        self.with_task(task_id, |task| {
            task.host_faults = task.host_faults.saturating_add(1);
            task.last_fault = reason;
            task.fault = fault;
            task.stopped = task.host_faults > retries;
        });
        self.allow_retry(task_id, worker_id, self.now_ms.saturating_add(lease_ms));
        self.drop_replica(task_id, worker_id, None);
    }

    /// The worker may have the task again from then on, if nobody else takes it and its leases of it were not too many.
    pub(super) fn allow_retry(&mut self, task_id: TaskId, worker_id: WorkerId, at_ms: u64) {
        if let Some(mut task) = self.tasks.remove(&task_id) {
            self.note_retry(&mut task, worker_id, at_ms);
            self.tasks.insert(task_id, task);
            self.dirty.insert(task_id);
        }
        if at_ms > self.now_ms {
            self.timers.insert((at_ms, Timer::Worker(worker_id)));
        }
    }

    /// The same of a task that is out of the map, for a worker that somebody else will look at again.
    pub(super) fn note_retry(&mut self, task: &mut Task, worker_id: WorkerId, at_ms: u64) {
        if let Some(attempt) = task.attempts.get_mut(&worker_id) {
            attempt.retry_ms = Some(at_ms);
            if let Some(worker) = self.workers.get_mut(&worker_id) {
                worker.again.insert((task.order, task.id()));
            }
        }
    }

    pub(super) fn result_ready(&mut self, worker_id: WorkerId, task_id: TaskId, lease: LeaseId, hash: B256) {
        let banned = self.workers.get(&worker_id).is_some_and(|worker| worker.is_banned(self.now_ms));
        let Some(task) = self.tasks.get(&task_id) else {
            self.effects.push(Effect::Forget { task: task_id, worker: worker_id });
            return;
        };
        if task.seen.contains_key(&worker_id) {
            return;
        }
        if banned {
            self.effects.push(Effect::Forget { task: task_id, worker: worker_id });
            self.drop_replica(task_id, worker_id, None);
            return;
        }
        let state = ReplicaState::Ready { hash, held: !task.is_public(), check: Check::None };
        match task.replicas.get(&worker_id).map(|replica| replica.state) {
            Some(ReplicaState::Authorised { .. }) => return,
            Some(ReplicaState::Leased { since_ms, .. }) => {
                self.record_run(task_id, worker_id, self.now_ms.saturating_sub(since_ms));
                self.cool(task_id, worker_id, since_ms);
                self.lease_to_state(task_id, worker_id, state);
            }
            Some(ReplicaState::Ready { hash: known, .. }) if known == hash => return,
            Some(_) => self.lease_to_state(task_id, worker_id, state),
            None => self.adopt(task_id, worker_id, lease, state),
        }
        self.with_task(task_id, |task| task.host_faults = 0);
    }

    fn lease_to_state(&mut self, task_id: TaskId, worker_id: WorkerId, state: ReplicaState) {
        let lease = self.with_task(task_id, |task| {
            task.replicas.get_mut(&worker_id).map(|replica| {
                replica.state = state;
                replica.lease
            })
        });
        if let Some(Some(lease)) = lease {
            self.end_lease(lease);
        }
        self.tell_of_answer(task_id, worker_id);
    }

    /// Takes over a result from a lease that ended, or from before a restart.
    pub(super) fn adopt(&mut self, task_id: TaskId, worker_id: WorkerId, lease: LeaseId, state: ReplicaState) {
        let fence = self.next_fence;
        self.next_fence = Fence(fence.0.saturating_add(1));
        let worker = self.workers.entry(worker_id).or_insert_with(crate::worker::Worker::absent);
        let weight = worker.weight();
        let Some(task) = self.tasks.get_mut(&task_id) else { return };
        let stake = task.stake();
        worker.committed = worker.committed.checked_add(stake).unwrap_or(gristmill_types::Amount::MAX);
        worker.replicas.insert(task_id);
        let deal = task.spec.deal;
        task.replicas.insert(worker_id, Replica { lease, fence, deal, weight, stake, state });
        task.attempts.entry(worker_id).or_insert(Attempt { leases: 1, is_again: false, retry_ms: None });
        self.dirty.insert(task_id);
        self.tell_of_answer(task_id, worker_id);
    }

    fn record_run(&mut self, task_id: TaskId, worker: WorkerId, run_ms: u64) {
        if self.is_overflow(worker) {
            // How long it took elsewhere says nothing of the machines here.
            self.note_overflow_run(task_id, worker, run_ms);
            return;
        }
        let deal_id = self.tasks.get(&task_id).map(|task| task.spec.deal);
        let Some(deal) = deal_id.and_then(|deal| self.deals.get_mut(&deal)) else { return };
        let was_unknown = deal.median_ms.is_none();
        deal.record(run_ms);
        if was_unknown && deal.median_ms.is_some() {
            // From now on it can be told when a lease is late.
            let of_deal = |task: &TaskId| self.tasks.get(task).is_some_and(|task| Some(task.spec.deal) == deal_id);
            let leased = self.leases.values().map(|(task, _)| *task).filter(of_deal);
            self.dirty.extend(leased.collect::<Vec<_>>());
        }
        if let Some(deal_id) = deal_id {
            self.pace(deal_id, worker, Some(run_ms));
        }
        self.measure(task_id, worker, run_ms);
    }
}
