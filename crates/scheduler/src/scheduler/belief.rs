//! What is believed. Told of every replica, [`Credibility`] says whom a task still needs and when one of its results is to be believed;
//! nobody is authorised before. So on the ledger nobody sees how many compute a task until all of them are bound to what they found.

use std::sync::Arc;

use gristmill_credibility::{Cause, Credibility, Event, Memory, Stance, TaskSpec, Verdict};
use gristmill_poco::consensus::NEWCOMER_WEIGHT;
use gristmill_types::TaskId;

use super::Scheduler;
use crate::event::{Effect, RevokeReason};
use crate::id::WorkerId;
use crate::task::{Phase, Replica, ReplicaState, Seats, Task, Wants};
use crate::worker::Worker;

/// Replicas more, at most, that are asked for so that a liar loses its stake.
const CONVICT_REPLICAS_MAX: u32 = 2;

impl Scheduler {
    /// The same scheduler, which believes a result only as far as `credibility` does, besides the hub's rule. Without this it goes
    /// by the hub alone.
    pub fn believing(mut self, credibility: Credibility) -> Self {
        self.credibility = Some(credibility);
        self
    }

    /// What is believed of whom; `None` if it goes by the hub alone.
    pub fn credibility(&self) -> Option<&Credibility> {
        self.credibility.as_ref()
    }

    /// What was learnt of workers since the last call: to be kept, and given to [`Credibility::recall`] after a restart.
    pub fn take_memories(&mut self) -> Vec<Memory> {
        let learnt = std::mem::take(&mut self.learnt);
        self.credibility.as_ref().map(|credibility| credibility.memories(&learnt)).unwrap_or_default()
    }

    /// Tells what happened. What does not fit came twice or late, and changes nothing.
    pub(super) fn tell(&mut self, event: Event) {
        let Some(Ok(changes)) = self.credibility.as_mut().map(|credibility| credibility.observe(event)) else { return };
        self.blacklisted.extend(changes.blacklisted.into_iter().map(WorkerId));
        for worker in changes.learnt {
            // What it handed in elsewhere may be believed now.
            if let Some(worker) = self.workers.get(&WorkerId(worker)) {
                self.dirty.extend(&worker.replicas);
            }
            self.learnt.insert(worker);
            self.promoted.insert(WorkerId(worker));
        }
    }

    /// A task is there. One that cannot be weighed is given back, since nobody could be believed.
    pub(super) fn open_belief(&mut self, task: &mut Task) {
        let (trust, requester) = (task.spec.trust, task.spec.requester);
        // The hub's rule is looked after here, with what is on the ledger.
        let opened = Event::TaskOpened(TaskSpec { task: task.id(), trust, requester, by_hub: false });
        if let Some(Err(error)) = self.credibility.as_mut().map(|credibility| credibility.observe(opened)) {
            Arc::make_mut(&mut task.spec).refusal = Some(format!("the pool cannot weigh its results: {error}"));
            task.stopped = true;
        }
    }

    /// Who has a vote may have changed: for those of whom something was learnt, or for all newcomers.
    pub(super) fn sort_idle(&mut self) {
        let Some(credibility) = &self.credibility else { return };
        let founded = credibility.is_founded();
        let mut changed = std::mem::take(&mut self.promoted);
        if std::mem::replace(&mut self.founded, founded) != founded {
            changed.extend(self.workers.keys());
        }
        changed.into_iter().for_each(|worker| self.refresh_worker(worker));
    }

    /// A worker is there, with all that it is bound to.
    pub(super) fn tell_of_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id).filter(|_| self.credibility.is_some()) else { return };
        let tasks = worker.replicas.union(&worker.contributed).copied().collect::<Vec<_>>();
        self.tell(Event::WorkerJoined { worker: id.0, origin: worker.origin, score: worker.score });
        for task in tasks {
            self.tell_of_answer(task, id);
        }
        if self.credibility.as_ref().is_some_and(|credibility| credibility.cause(id.0).is_some()) {
            // It was caught before a restart, or others of its account were.
            self.blacklisted.push(id);
        }
    }

    /// A worker is bound to a result.
    pub(super) fn tell_of_answer(&mut self, id: TaskId, worker: WorkerId) {
        let Some(task) = self.tasks.get(&id).filter(|_| self.credibility.is_some()) else { return };
        let seen = task.seen.get(&worker).map(|seen| seen.hash);
        if let Some(hash) = seen.or_else(|| task.replicas.get(&worker).and_then(Replica::hash)) {
            self.tell(Event::Answered { task: id, worker: worker.0, hash });
            self.dirty.insert(id);
        }
    }

    /// Whoever was caught gets nothing more. A liar is still there until what it is bound to is settled: on the ledger it loses its
    /// stake.
    pub(super) fn expel(&mut self) -> bool {
        let blacklisted = std::mem::take(&mut self.blacklisted);
        for id in &blacklisted {
            let cause = self.credibility.as_ref().and_then(|credibility| credibility.cause(id.0));
            let (Some(cause), Some(worker)) = (cause, self.workers.get_mut(id)) else { continue };
            let reason = cause.to_string();
            worker.caught = true;
            self.dirty.extend(worker.replicas.iter().chain(&worker.contributed));
            if worker.is_banned(self.now_ms) {
                continue;
            }
            for lease in worker.leases.clone() {
                if let Some((task, _)) = self.leases.get(&lease).copied() {
                    self.drop_replica(task, *id, Some(RevokeReason::Banned));
                }
            }
            if cause == Cause::Wrong && self.workers.get(id).is_some_and(Worker::is_bound) {
                self.refresh_worker(*id);
                continue;
            }
            self.effects.push(Effect::Ban { worker: *id, reason: reason.clone() });
            self.ban(*id, reason, None);
        }
        !blacklisted.is_empty()
    }

    /// From then on a task is settled with what is there: half a T is left for the contributions.
    pub(super) fn settle_by_ms(&self, task: &Task) -> u64 {
        let needed_ms = (task.spec.work_clock_ms / 2).max(self.policy.contribution_margin_ms);
        task.spec.contribution_deadline_ms.saturating_sub(needed_ms)
    }

    /// What is believed of a task now: asked once a review, since it is the dearest question of all.
    pub(super) fn stance(&self, task: &Task) -> Option<Stance> {
        let credibility = self.credibility.as_ref().filter(|_| task.phase == Phase::Collecting)?;
        let too_late_for_more = self.now_ms > self.last_lease_ms(task) && task.leased() == 0;
        credibility.stance(task.id(), too_late_for_more || self.now_ms >= self.settle_by_ms(task))
    }

    /// The same, in one place for all tasks of which the same is believed.
    pub(super) fn shared_stance(&mut self, task: &Task) -> Option<Arc<Stance>> {
        let stance = self.stance(task)?;
        if let Some(last) = self.stance.as_ref().filter(|last| ***last == stance) {
            return Some(Arc::clone(last));
        }
        let shared = Arc::new(stance);
        self.stance = Some(Arc::clone(&shared));
        Some(shared)
    }

    /// Authorises those who found what is believed, once they are enough for the hub. Before them those who surely lied, if the hub will
    /// outvote them: on the ledger they lose their stakes. One or two replicas more are asked for that, if somebody has time.
    pub(super) fn authorise_believed(&mut self, task: &mut Task, verdict: Verdict) {
        let Verdict::Accept { hash, .. } = verdict else { return };
        if !task.wins(hash, false, (0, 0)) {
            return;
        }
        let liars = self.liars(task, verdict);
        if !liars.is_empty() {
            if task.wins(hash, true, (0, 0)) {
                liars.into_iter().for_each(|liar| self.authorise(task, liar));
            } else {
                task.convict_since_ms.get_or_insert(self.now_ms);
                if self.wants_outvoting(task) || task.leased() > 0 && self.may_convict(task) {
                    if task.leased() == 0 {
                        self.holding.insert(task.id());
                    }
                    return;
                }
            }
        }
        let is_awaited =
            |replica: &Replica| matches!(replica.state, ReplicaState::Authorised { hash: other, .. } if other != hash);
        if !task.replicas.values().any(is_awaited) {
            self.authorise_ready(task, |replica| replica.hash() == Some(hash));
        }
    }

    /// Those who are bound to another result than the one that is surely right, and could be put onto the ledger.
    fn liars(&self, task: &Task, verdict: Verdict) -> Vec<WorkerId> {
        let Verdict::Accept { hash, doubt } = verdict else { return Vec::new() };
        let sure = self.credibility.as_ref().is_some_and(|credibility| credibility.is_sure(doubt));
        let is_liar = |(id, replica): &(&WorkerId, &Replica)| {
            let connected = self.workers.get(id).is_some_and(|worker| worker.connected);
            sure && connected && matches!(replica.state, ReplicaState::Ready { hash: other, .. } if other != hash)
        };
        task.replicas.iter().filter(is_liar).map(|(id, _)| *id).collect()
    }

    /// There is time to outvote a liar.
    fn may_convict(&self, task: &Task) -> bool {
        let since_ms = task.convict_since_ms.unwrap_or(self.now_ms);
        !task.convict_refused && self.now_ms < self.hold_until_ms(task, since_ms)
    }

    /// Whether a replica more would help to outvote a liar: a few would do, and those that run would not.
    pub(super) fn wants_outvoting(&self, task: &Task) -> bool {
        let Some(verdict) = task.verdict().filter(|_| self.may_convict(task)) else { return false };
        let Verdict::Accept { hash, .. } = verdict else { return false };
        if self.liars(task, verdict).is_empty() {
            return false;
        }
        let running = u32::try_from(task.leased()).unwrap_or(u32::MAX);
        let wins_with = |more: u32| task.wins(hash, true, (more, NEWCOMER_WEIGHT));
        (running < CONVICT_REPLICAS_MAX) && !wins_with(running) && (running..=CONVICT_REPLICAS_MAX).any(wins_with)
    }

    /// What a leasable task wants, and whom it takes.
    pub(super) fn wanted(&self, task: &Task) -> (Wants, Seats) {
        let wants = self.wants(task);
        if self.credibility.is_none() {
            return (wants, Seats { vote: true, probation: true });
        }
        let belief = task.believed_wants();
        let seats = match wants {
            Wants::Nothing => Seats::default(),
            Wants::Replica if matches!(task.phase, Phase::Revealing { .. }) => Seats { vote: true, probation: true },
            // Where only the hub lacks weight, anybody's will do.
            Wants::Replica => Seats { vote: true, probation: belief.probation || !belief.vote && !belief.check },
            Wants::Reserve => Seats { vote: true, probation: belief.probation },
            Wants::Probation => Seats { vote: false, probation: true },
        };
        (wants, seats)
    }
}
