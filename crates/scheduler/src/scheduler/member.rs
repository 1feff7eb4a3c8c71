//! Workers come, go, fall silent, are banned.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_classad::ClassAd;
use gristmill_credibility::{Event as Belief, Role};
use gristmill_types::{Address, Amount, TaskId};

use super::{Scheduler, Timer};
use crate::event::{Effect, RevokeReason, WorkerSpec};
use crate::id::WorkerId;
use crate::task::ReplicaState;
use crate::worker::{Ban, Idle, Worker};

impl Scheduler {
    pub(super) fn worker_joined(&mut self, spec: WorkerSpec) {
        let id = spec.worker;
        let worker = self.workers.entry(id).or_insert_with(Worker::absent);
        worker.join(spec);
        let (replicas, contributed) = (worker.replicas.clone(), worker.contributed.clone());
        self.tell_of_worker(id);
        self.enter_machine(id);
        self.refresh_worker(id);
        // What it was told before the connection broke may be lost: tell it again.
        for task in replicas {
            self.authorise_again(task, id);
        }
        for task in contributed {
            self.with_task(task, |task| task.asked.remove(&id));
        }
    }

    fn authorise_again(&mut self, task: TaskId, worker: WorkerId) {
        let Some(task) = self.tasks.get(&task) else { return };
        let Some(replica) = task.replicas.get(&worker) else { return };
        if matches!(replica.state, ReplicaState::Authorised { .. }) {
            let solo = task.is_solo();
            self.effects.push(Effect::Authorise { task: task.id(), worker, lease: replica.lease, solo });
        }
    }

    pub(super) fn worker_updated(&mut self, id: WorkerId, score: u64, free_stake: Amount) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.free_stake = free_stake;
            let is_other = worker.score != score;
            worker.set_score(score);
            let is_there = worker.connected;
            if is_other && is_there {
                self.enter_machine(id);
            }
            self.refresh_worker(id);
            if is_other {
                self.weigh_anew(id);
                self.tell(Belief::WorkerScored { worker: id.0, score });
            }
        }
    }

    pub(super) fn worker_described(&mut self, id: WorkerId, ad: Arc<ClassAd>) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.connected) else { return };
        worker.describe(ad);
        self.enter_machine(id);
        self.refresh_worker(id);
    }

    /// Its leases go on, whoever they are for.
    pub(super) fn worker_serves(&mut self, id: WorkerId, serves: Option<Arc<BTreeSet<Address>>>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.serves = serves;
            self.refresh_worker(id);
        }
    }

    /// Its contributions to come will have another weight.
    fn weigh_anew(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (weight, tasks) = (worker.weight(), worker.replicas.iter().copied().collect::<Vec<_>>());
        for task in tasks {
            self.with_task(task, |task| {
                if let Some(replica) = task.replicas.get_mut(&id) {
                    replica.weight = weight;
                }
            });
        }
    }

    pub(super) fn worker_left(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.connected = false;
        let leases = worker.leases.clone();
        self.machines.remove(id);
        self.tell(Belief::WorkerLeft { worker: id.0 });
        self.refresh_worker(id);
        let gone_ms = self.now_ms.saturating_add(self.policy.reconnect_grace_ms);
        for lease in leases {
            let Some((task, _)) = self.leases.get(&lease).copied() else { continue };
            self.with_task(task, |task| {
                if let Some(replica) = task.replicas.get_mut(&id)
                    && let ReplicaState::Leased { expires_ms, .. } = &mut replica.state
                {
                    *expires_ms = gone_ms.min(*expires_ms);
                }
            });
        }
    }

    pub(super) fn worker_draining(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.draining = true;
            self.refresh_worker(id);
        }
    }

    pub(super) fn worker_pardoned(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.ban = None;
            worker.caught = false;
            worker.faulty = 0;
            worker.aside_until_ms = 0;
            worker.answered();
            self.tell(Belief::WorkerPardoned { worker: id.0 });
            self.refresh_worker(id);
        }
    }

    /// No more leases for a worker; what it holds and has not been authorised for is dropped.
    pub(super) fn ban(&mut self, id: WorkerId, reason: String, until_ms: Option<u64>) {
        let worker = self.workers.entry(id).or_insert_with(Worker::absent);
        worker.ban = Some(Ban { reason, until_ms });
        let replicas = worker.replicas.clone();
        for task in replicas {
            self.drop_replica(task, id, Some(RevokeReason::Banned));
        }
        if let Some(until_ms) = until_ms {
            self.timers.insert((until_ms, Timer::Worker(id)));
        }
        self.refresh_worker(id);
    }

    /// The ledger proved a contribution of this worker wrong.
    pub(super) fn worker_lied(&mut self, id: WorkerId, task: TaskId) {
        let worker = self.workers.entry(id).or_insert_with(Worker::absent);
        worker.faulty = worker.faulty.saturating_add(1);
        if worker.faulty < self.policy.faulty_contributions_max || worker.is_banned(self.now_ms) {
            return;
        }
        let reason = format!("the ledger rejected its contribution to task {task}");
        let until_ms = self.policy.ban_duration_ms.map(|duration_ms| self.now_ms.saturating_add(duration_ms));
        self.effects.push(Effect::Ban { worker: id, reason: reason.clone() });
        self.ban(id, reason, until_ms);
    }

    /// A lease, an authorisation or a reveal of this worker went unanswered; `at_once`: no second chance.
    pub(super) fn worker_silent(&mut self, id: WorkerId, at_once: bool) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.silent = worker.silent.saturating_add(1);
        if !at_once && worker.silent < self.policy.silent_leases_max {
            return;
        }
        worker.silent = 0;
        worker.aside_times = worker.aside_times.saturating_add(1);
        worker.aside_until_ms = self.now_ms.saturating_add(self.policy.aside_ms(worker.aside_times));
        self.timers.insert((worker.aside_until_ms, Timer::Worker(id)));
        self.refresh_worker(id);
    }

    /// Puts a worker into the queue of the idle, or out of it, and has it looked at by the next dispatch.
    pub(super) fn refresh_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.cooling.retain(|cooling| cooling.until_ms > self.now_ms);
        let weight = worker.connected.then(|| worker.weight());
        if weight != worker.listed_weight {
            if let Some(old) = worker.listed_weight {
                self.weights.remove(&(old, id));
            }
            if let Some(new) = weight {
                self.weights.insert((new, id));
            }
            worker.listed_weight = weight;
        }
        self.overflow.note(id, worker.is_overflow());
        // Who has tasks run elsewhere is never in line with the others.
        let free = worker.is_willing(self.now_ms) && worker.has_slot() && !worker.is_overflow();
        let role = self.credibility.as_ref().and_then(|credibility| credibility.role_of(id.0));
        let among = usize::from(role == Some(Role::Probation));
        let before = worker.idle;
        worker.idle = free.then(|| {
            let order = before.map_or(self.next_order, |idle| idle.order);
            Idle { among, order, quickness: worker.quickness() }
        });
        self.next_order += u64::from(free && before.is_none());
        if worker.idle != before {
            if let Some(before) = before {
                self.idle[before.among].remove(&(before.quickness, id));
            }
            if let Some(now) = worker.idle {
                self.idle[now.among].insert((now.quickness, id));
            }
        }
        let taken = (worker.leases.len() + worker.cooling.len()) as u64;
        let slots_free = if free { u64::from(worker.slots).saturating_sub(taken) as u32 } else { 0 };
        let since = worker.idle.map_or(0, |idle| idle.order);
        self.tell_machine(id, slots_free, since);
        if free {
            self.fresh_workers.insert(id);
        }
    }
}
