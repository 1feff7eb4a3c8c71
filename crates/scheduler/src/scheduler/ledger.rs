//! What the ledger did to a task.

use std::sync::Arc;

use alloy_primitives::B256;
use gristmill_credibility::Event as Belief;
use gristmill_types::{ContributionStatus, TaskId};

use super::{Scheduler, Timer};
use crate::event::{Call, Effect, TaskSpec};
use crate::id::{LeaseId, WorkerId};
use crate::task::{Check, Phase, ReplicaState, Seen, Task, Terms, Uploads, hash_of};
use crate::worker::Worker;

impl Scheduler {
    pub(super) fn task_added(&mut self, mut spec: TaskSpec) {
        let (id, deal, held) = (spec.task, spec.deal, std::mem::take(&mut spec.ledger.held));
        if self.tasks.contains_key(&id) {
            return;
        }
        let terms = Terms::of(&spec, self.deals.get(&deal).and_then(|deal| deal.terms.as_ref()));
        let mut task = match Task::new(id, Arc::clone(&terms), spec.ledger, self.next_order, self.now_ms) {
            Ok(task) => task,
            Err(error) => {
                self.effects.push(Effect::Note { task: id, text: error.to_string() });
                return;
            }
        };
        self.numbers.insert(self.next_order, ());
        self.next_order += 1;
        for (worker, seen) in &task.seen {
            let worker = self.workers.entry(*worker).or_insert_with(Worker::absent);
            worker.contributed.insert(id);
            worker.proven |= seen.is_proved();
        }
        let of_deal = self.deals.entry(deal).or_default();
        of_deal.terms.get_or_insert(terms);
        of_deal.open_tasks += 1;
        of_deal.tasks += 1;
        self.open_demand(&mut task);
        self.open_belief(&mut task);
        let contributors = task.seen.keys().copied().collect::<Vec<_>>();
        self.tasks.insert(id, task);
        for worker in contributors {
            self.tell_of_answer(id, worker);
        }
        self.dirty.insert(id);
        for result in held {
            if !self.tasks.get(&id).is_some_and(|task| task.seen.contains_key(&result.worker)) {
                let state = ReplicaState::Ready { hash: result.result_hash, held: true, check: Check::None };
                let lease = LeaseId::derive(self.next_fence, id, result.worker);
                self.adopt(id, result.worker, lease, state);
            }
        }
    }

    pub(super) fn contribution_seen(&mut self, task_id: TaskId, worker_id: WorkerId, hash: B256, weight: u64) {
        let Some(task) = self.tasks.get_mut(&task_id) else { return };
        if task.seen.contains_key(&worker_id) {
            return;
        }
        let stake = task.stake();
        if task.tally.add(hash, weight).is_err() {
            // The hub would have refused it; so this cannot be our hub's log.
            let text = format!("contribution of {worker_id} ignored: the groups would overflow");
            self.effects.push(Effect::Note { task: task_id, text });
            return;
        }
        task.seen.insert(worker_id, Seen { hash, weight, status: ContributionStatus::Contributed });
        // A contribution cancels an announced concession.
        task.concede_effective_ms = None;
        task.pending = task.pending.filter(|pending| pending.call != Call::Concede);
        self.dirty.insert(task_id);
        if self.remove_replica(task_id, worker_id).is_some()
            && let Some(worker) = self.workers.get_mut(&worker_id)
        {
            worker.free_stake = worker.free_stake.saturating_sub(stake);
        }
        self.workers.entry(worker_id).or_insert_with(Worker::absent).contributed.insert(task_id);
        self.tell_of_answer(task_id, worker_id);
    }

    pub(super) fn contribution_failed(&mut self, task_id: TaskId, worker_id: WorkerId, reason: &str) {
        if self.remove_replica(task_id, worker_id).is_none() {
            return;
        }
        self.effects.push(Effect::Note { task: task_id, text: format!("{worker_id} could not contribute: {reason}") });
        self.effects.push(Effect::Forget { task: task_id, worker: worker_id });
        // It may only have come after the others, of whose consensus the ledger tells the pool later than the worker does.
        let known_ms = self.now_ms.saturating_add(self.policy.ledger_slack_ms);
        self.timers.insert((known_ms, Timer::Failed(task_id, worker_id)));
    }

    /// A contribution that was not there a moment ago counts as a silence, unless others had made the consensus without it.
    pub(super) fn judge_failure(&mut self, task_id: TaskId, worker_id: WorkerId) {
        if self.tasks.get(&task_id).is_some_and(|task| task.phase == Phase::Collecting) {
            self.worker_silent(worker_id, false);
        }
    }

    /// A lie, or silence after consensus. A task that we do not know any more can only have been a lie or a silence of
    /// before; the harder verdict is taken.
    pub(super) fn contribution_rejected(&mut self, task_id: TaskId, worker_id: WorkerId) {
        let silent = self.with_task(task_id, |task| {
            let consensus = task.consensus_hash;
            task.seen.get_mut(&worker_id).is_some_and(|seen| {
                seen.status = ContributionStatus::Rejected;
                Some(seen.hash) == consensus
            })
        });
        match silent {
            Some(true) => {
                self.worker_silent(worker_id, true);
                self.tell(Belief::Withheld { task: task_id, worker: worker_id.0 });
            }
            Some(false) | None => self.worker_lied(worker_id, task_id),
        }
    }

    pub(super) fn consensus_reached(&mut self, task_id: TaskId, hash: B256, deadline_ms: u64) {
        let now_ms = self.now_ms;
        self.with_task(task_id, |task| {
            task.phase = Phase::Revealing { hash, deadline_ms, since_ms: now_ms };
            if task.consensus_hash.replace(hash) != Some(hash) {
                task.uploads = Uploads::default();
            }
            task.asked.clear();
            task.pending = None;
        });
    }

    pub(super) fn reveal_seen(&mut self, task_id: TaskId, worker_id: WorkerId, digest: B256) {
        self.with_task(task_id, |task| {
            task.digests.insert(hash_of(task_id, digest), digest);
            if let Some(seen) = task.seen.get_mut(&worker_id) {
                seen.status = ContributionStatus::Proved;
            }
        });
        self.tell(Belief::Revealed { task: task_id });
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.proven = true;
            worker.answered();
        }
    }

    pub(super) fn upload_opened(&mut self, task_id: TaskId, worker_id: WorkerId, matches: bool) {
        let Some(task) = self.tasks.get_mut(&task_id) else {
            // Of a task that completed before its bytes were opened: the worker was paid for bytes it does not give.
            if !matches {
                self.bytes_withheld(task_id, worker_id);
            }
            return;
        };
        self.dirty.insert(task_id);
        if let Some(replica) = task.replicas.get_mut(&worker_id) {
            if let ReplicaState::Ready { check, .. } = &mut replica.state {
                *check = Check::Good;
                if !matches {
                    self.drop_replica(task_id, worker_id, None);
                }
            }
            return;
        }
        if task.uploads.opening == Some(worker_id) {
            task.uploads.opening = None;
        }
        if matches {
            task.uploads.good.get_or_insert(worker_id);
        } else if task.uploads.bad.insert(worker_id) {
            self.bytes_withheld(task_id, worker_id);
        }
    }

    fn bytes_withheld(&mut self, task_id: TaskId, worker_id: WorkerId) {
        let reason = format!("its upload for task {task_id} does not open to the digest it revealed");
        self.effects.push(Effect::Ban { worker: worker_id, reason: reason.clone() });
        self.ban(worker_id, reason, None);
    }

    pub(super) fn task_reopened(&mut self, task_id: TaskId) {
        if let Some(Err(error)) = self.with_task(task_id, Task::reopen) {
            self.effects.push(Effect::Note { task: task_id, text: error.to_string() });
        }
    }

    pub(super) fn task_ended(&mut self, task_id: TaskId, completed: bool) {
        self.with_task(task_id, |task| task.phase = Phase::Ended { completed });
    }

    pub(super) fn concede_seen(&mut self, task_id: TaskId, effective_at_ms: u64) {
        self.with_task(task_id, |task| {
            task.concede_effective_ms = Some(effective_at_ms);
            task.pending = None;
        });
    }

    pub(super) fn call_failed(&mut self, task_id: TaskId, call: Call, reason: &str) {
        let again_ms = self.now_ms.saturating_add(self.policy.call_retry_ms);
        let awaited = self.with_task(task_id, |task| match &mut task.pending {
            Some(pending) if pending.call == call => {
                pending.again_ms = again_ms;
                true
            }
            _ => false,
        });
        if awaited == Some(true) {
            let text = format!("`{}` failed, and is tried again: {reason}", call.name());
            self.effects.push(Effect::Note { task: task_id, text });
        }
    }
}
