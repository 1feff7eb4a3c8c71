//! Bring one task forward: authorise, ask for reveals, open, finalise, reopen, claim, concede.

use std::sync::Arc;

use alloy_primitives::B256;
use gristmill_credibility::{Event as Belief, Verdict};
use gristmill_poco::consensus::NEWCOMER_WEIGHT;
use gristmill_types::{DealId, TaskId};

use super::dispatch::Fit;
use super::{Scheduler, Timer};
use crate::event::{Call, Effect, RevokeReason};
use crate::id::WorkerId;
use crate::line::Queue;
use crate::task::{Check, Outlook, Pending, Phase, Replica, ReplicaState, Task, Wants};

impl Call {
    /// The hub's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finalize => "finalize",
            Self::Reopen => "reopen",
            Self::Claim => "claim",
            Self::Concede => "concede",
        }
    }
}

impl Scheduler {
    /// Asks for whatever a task misses now.
    pub(super) fn review(&mut self, id: TaskId) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        if let Phase::Ended { completed } = task.phase {
            self.close(task, completed);
            return;
        }
        self.expire(&mut task);
        task.stance = self.shared_stance(&task);
        if self.now_ms >= task.spec.final_deadline_ms.saturating_add(self.policy.ledger_slack_ms) {
            self.withdraw_leases(&mut task, 0);
            self.call(&mut task, Call::Claim, Effect::Claim { task: id });
        } else {
            match task.phase {
                Phase::Collecting => self.review_collecting(&mut task),
                Phase::Revealing { hash, deadline_ms, since_ms } => {
                    self.review_revealing(&mut task, hash, deadline_ms, since_ms);
                }
                Phase::Ended { .. } => {}
            }
        }
        self.index(&mut task);
        self.tasks.insert(id, task);
        // Slots that opened in here made workers fresh; the task itself is settled until something changes.
        self.dirty.remove(&id);
    }

    /// Ends leases and authorisations whose time is over.
    fn expire(&mut self, task: &mut Task) {
        let now_ms = self.now_ms;
        let over = task.replicas.iter().filter_map(|(worker, replica)| match replica.state {
            ReplicaState::Leased { since_ms, terms, .. } if now_ms >= since_ms.saturating_add(terms.run_limit_ms) => {
                Some((*worker, Some(RevokeReason::Overrun)))
            }
            ReplicaState::Leased { expires_ms, .. } if now_ms >= expires_ms => {
                Some((*worker, Some(RevokeReason::Expired)))
            }
            ReplicaState::Authorised { until_ms, .. } if now_ms >= until_ms => Some((*worker, None)),
            _ => None,
        });
        for (worker, reason) in over.collect::<Vec<_>>() {
            // Whoever is gone keeps nothing to itself, and what is run elsewhere may take its time.
            let is_overflow = self.is_overflow(worker);
            if !is_overflow && self.workers.get(&worker).is_some_and(|worker| worker.connected) {
                self.tell(Belief::Withheld { task: task.id(), worker: worker.0 });
            }
            match reason {
                Some(reason) => self.lose_lease(task, worker, reason),
                None => {
                    if let Some(replica) = task.replicas.get_mut(&worker)
                        && let ReplicaState::Authorised { hash, .. } = replica.state
                    {
                        replica.state = ReplicaState::Lapsed { hash };
                    }
                }
            }
            if !is_overflow {
                self.worker_silent(worker, false);
            }
        }
    }

    fn lose_lease(&mut self, task: &mut Task, worker: WorkerId, reason: RevokeReason) {
        let Some(replica) = task.replicas.remove(&worker) else { return };
        self.effects.push(Effect::RevokeLease { lease: replica.lease, worker, reason });
        // A worker that comes back after its death may try again, one that is there and silent later, one that ran for ever never.
        // What is run elsewhere goes on there and is paid for, whatever becomes of the lease: who waits for it may have another.
        let connected = self.workers.get(&worker).is_some_and(|worker| worker.connected);
        let delay_ms = if connected { self.policy.lease_ms(task.spec.work_clock_ms) } else { 0 };
        if reason == RevokeReason::Expired || self.is_overflow(worker) {
            let retry_ms = self.now_ms.saturating_add(delay_ms);
            self.note_retry(task, worker, retry_ms);
            if connected {
                self.timers.insert((retry_ms, Timer::Worker(worker)));
            }
        }
        self.forget_replica(task.id(), worker, &replica);
    }

    fn review_collecting(&mut self, task: &mut Task) {
        let slack_ms = self.policy.ledger_slack_ms;
        if let Some(effective_ms) = task.concede_effective_ms {
            self.withdraw_leases(task, 0);
            if self.now_ms >= effective_ms.saturating_add(slack_ms) {
                self.call(task, Call::Claim, Effect::Claim { task: task.id() });
            }
            return;
        }
        if self.now_ms >= task.spec.contribution_deadline_ms {
            self.withdraw_leases(task, 0);
            if self.now_ms >= task.spec.contribution_deadline_ms.saturating_add(slack_ms) {
                match task.recomputed {
                    true => self.call(task, Call::Claim, Effect::Claim { task: task.id() }),
                    false => self.call(task, Call::Concede, Effect::Concede { task: task.id() }),
                }
            }
            return;
        }
        if task.is_public() {
            self.authorise_reserves(task);
        } else {
            match task.verdict() {
                Some(verdict) => self.authorise_believed(task, verdict),
                None if self.credibility.is_none() => self.authorise_ready(task, |_| true),
                None => {}
            }
        }
        self.stop_if_dead(task);
    }

    /// Authorises, in the order of their leases, until consensus is reached if all that is authorised lands.
    pub(super) fn authorise_ready(&mut self, task: &mut Task, may: impl Fn(&Replica) -> bool) {
        let mut tally = task.tally.clone();
        let mut ready = Vec::new();
        for (worker, replica) in &task.replicas {
            match replica.state {
                ReplicaState::Authorised { hash, .. } => _ = tally.add(hash, replica.weight),
                ReplicaState::Ready { hash, .. } if may(replica) => ready.push((replica.fence, *worker, hash)),
                _ => {}
            }
        }
        ready.sort_unstable();
        for (_, worker, hash) in ready {
            let settled = tally.leader().is_some_and(|leader| tally.reaches(leader, task.spec.trust) == Ok(true));
            let Some(replica) = task.replicas.get(&worker).filter(|_| !settled) else { break };
            if tally.add(hash, replica.weight).is_ok() {
                self.authorise(task, worker);
            }
        }
    }

    /// Authorises one whose result is ready.
    pub(super) fn authorise(&mut self, task: &mut Task, worker: WorkerId) {
        let until_ms = self.now_ms.saturating_add(self.policy.contribution_wait_ms(task.spec.work_clock_ms));
        let Some(replica) = task.replicas.get_mut(&worker) else { return };
        let ReplicaState::Ready { hash, .. } = replica.state else { return };
        replica.state = ReplicaState::Authorised { hash, until_ms };
        let lease = replica.lease;
        self.effects.push(Effect::Authorise { task: task.id(), worker, lease, solo: task.is_solo() });
    }

    /// The digest is public: nobody is trusted but who had handed in a sealed upload before, and only if it opens to it.
    fn authorise_reserves(&mut self, task: &mut Task) {
        let mut useless = Vec::new();
        let (id, course) = (task.id(), task.course_mut());
        for (worker, replica) in &mut course.replicas {
            match &mut replica.state {
                ReplicaState::Ready { hash, held: true, check } if course.digests.contains_key(hash) => {
                    if *check == Check::None {
                        *check = Check::Asked;
                        let digest = course.digests[hash];
                        self.effects.push(Effect::OpenUpload { task: id, worker: *worker, digest });
                    }
                }
                ReplicaState::Ready { .. } | ReplicaState::Leased { .. } => useless.push(*worker),
                ReplicaState::Authorised { .. } | ReplicaState::Lapsed { .. } => {}
            }
        }
        for worker in useless {
            self.give_up(task, worker, RevokeReason::NotNeeded);
        }
        self.authorise_ready(task, |replica| {
            matches!(replica.state, ReplicaState::Ready { held: true, check: Check::Good, .. })
        });
    }

    /// Nothing is in flight and nothing can be leased: says so, and concedes while that is still early.
    fn stop_if_dead(&mut self, task: &mut Task) {
        let undecided = task.verdict() == Some(Verdict::Undecided);
        let alive = task.replicas.values().any(|replica| match replica.state {
            ReplicaState::Leased { .. } | ReplicaState::Authorised { .. } => true,
            ReplicaState::Ready { .. } => !undecided,
            ReplicaState::Lapsed { .. } => false,
        });
        // What is on the ledger may be enough already, and the news of consensus on its way.
        let reached = task.outlook(task.leader()).is_ok_and(|outlook| outlook.reached);
        if alive || reached || (self.is_leasable(task) && self.wants(task) != Wants::Nothing) {
            return;
        }
        if let Some(why) = task.spec.refusal.clone() {
            self.note(task, "refused", || why);
        } else if task.stopped {
            let (faults, last) = (task.host_faults, task.last_fault.clone());
            self.note(task, "stopped", || {
                format!("the pool stops after {faults} host faults in a row, the last: {last}")
            });
        } else if task.is_public() {
            self.note(task, "digest-public", || {
                "its digest is public, and no replica held before the first reveal can make up for the silent ones"
                    .to_owned()
            });
        } else {
            self.note(task, "dead", || "no further replica can be in time, or could still bring consensus".to_owned());
        }
        if task.seen.is_empty() {
            self.call(task, Call::Concede, Effect::Concede { task: task.id() });
        }
    }

    fn review_revealing(&mut self, task: &mut Task, hash: B256, deadline_ms: u64, since_ms: u64) {
        let late = self.now_ms >= deadline_ms.saturating_add(self.policy.ledger_slack_ms);
        self.ask_reveals(task, hash, since_ms);
        if task.is_public() {
            self.drop_late_results(task);
        }
        let holders = task.holders(hash).count();
        let proved =
            task.holders(hash).filter(|(_, seen)| seen.is_proved()).map(|(worker, _)| worker).collect::<Vec<_>>();
        if proved.is_empty() {
            if late {
                self.call(task, Call::Reopen, Effect::Reopen { task: task.id() });
            }
            return;
        }
        let Some(digest) = task.digests.get(&hash).copied() else { return };
        match task.uploads.good {
            Some(worker) if proved.len() == holders || late => {
                self.call(task, Call::Finalize, Effect::Finalize { task: task.id(), worker, digest });
            }
            Some(_) => {}
            None => self.open_next(task, &proved, digest, proved.len() == holders || late),
        }
    }

    /// Tells the holders to reveal, unless a reserve is still being computed and is worth waiting for.
    fn ask_reveals(&mut self, task: &mut Task, hash: B256, since_ms: u64) {
        let missing = self.reserve_target(task).saturating_sub(task.ready_reserves(hash));
        let hold = task.asked.is_empty() && missing > 0 && self.now_ms < self.hold_until_ms(task, since_ms);
        if hold && (task.leased() > 0 || !task.reserve_refused) {
            if task.leased() == 0 {
                self.holding.insert(task.id());
            }
            return;
        }
        let silent = task.holders(hash).filter(|(_, seen)| !seen.is_proved()).map(|(worker, _)| worker);
        for worker in silent.collect::<Vec<_>>() {
            if task.asked.insert(worker) {
                self.effects.push(Effect::AskReveal { task: task.id(), worker });
            }
        }
        self.withdraw_leases(task, missing as usize);
    }

    /// Reveals are held back for half a T at most: the reveal window has two.
    pub(super) fn hold_until_ms(&self, task: &Task, since_ms: u64) -> u64 {
        since_ms.saturating_add(task.spec.work_clock_ms / 2)
    }

    /// After dispatch: a task that waits for a reserve, or for who outvotes a liar, and finds that nobody computes it stops waiting,
    /// unless somebody who could is only busy. That wait ends too (see [`Scheduler::hold_until_ms`]); without it, one silent newcomer
    /// fails a task of a pool whose other workers have their hands full.
    pub(super) fn refuse_reserve(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.leased() == 0) else { return };
        let will_come = self.workers.iter().any(|(id, worker)| {
            let fit = self.fit(task, *id, worker);
            !worker.is_overflow()
                && worker.is_willing(self.now_ms)
                && (fit == Fit::Gpu || fit == Fit::New && !worker.has_slot())
        });
        if !will_come {
            self.with_task(id, |task| match task.phase {
                Phase::Revealing { .. } => task.reserve_refused = true,
                _ => task.convict_refused = true,
            });
        }
    }

    /// How many reserve replicas this task should have: none if no holder is new, or if a silent one would do no harm.
    pub(super) fn reserve_target(&self, task: &Task) -> u32 {
        let reserve = self.policy.reserve_replicas;
        if reserve == 0 || task.spec.trust.value() == 1 || task.is_public() {
            return 0;
        }
        let is_reliable = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.proven && worker.connected);
        // A single holder who stays silent leaves the digest secret: the task reopens and goes on. Then nobody need be looked up.
        let is_needed = match task.phase {
            Phase::Revealing { hash, .. } => {
                task.holders(hash).nth(1).is_some() && !task.holders(hash).all(|(id, _)| is_reliable(&id))
            }
            _ => {
                let live = || task.seen.iter().filter(|(_, seen)| seen.is_live()).map(|(id, _)| id);
                let holders = || live().chain(task.replicas.keys());
                holders().nth(1).is_some() && !holders().all(is_reliable)
            }
        };
        if is_needed { reserve } else { 0 }
    }

    /// After so long a lease of this task becomes late at this worker; `None` while too few ran to tell. At the end of a deal it is
    /// known whom a copy would overtake, and what is late there has come to a stop.
    fn late_ms(&self, task: &Task, worker: WorkerId) -> Option<u64> {
        let deal = self.deals.get(&task.spec.deal)?;
        let run_ms = if deal.is_ending { self.expected_run_ms(deal, worker) } else { deal.median_ms };
        self.policy.late_ms(run_ms?)
    }

    /// Leases that run for much longer than those of their deal do, as far as copies may be made of them.
    fn late_leases(&self, task: &Task) -> u32 {
        let late = task.replicas.iter().filter(|(worker, replica)| match replica.state {
            ReplicaState::Leased { since_ms, .. } => {
                self.late_ms(task, **worker).is_some_and(|late_ms| self.now_ms >= since_ms.saturating_add(late_ms))
            }
            _ => false,
        });
        (late.count() as u32).min(self.policy.copies_max)
    }

    /// What a leasable task wants.
    pub(super) fn wants(&self, task: &Task) -> Wants {
        if let Phase::Revealing { hash, .. } = task.phase {
            let coming = task.ready_reserves(hash) + task.leased() as u32;
            let short = task.asked.is_empty() && coming < self.reserve_target(task) && !task.reserve_refused;
            return if short { Wants::Replica } else { Wants::Nothing };
        }
        let leader = task.leader();
        let Ok(Outlook { reached, surplus, .. }) = task.outlook(leader) else { return Wants::Nothing };
        let belief = task.believed_wants();
        if reached && !belief.vote && !belief.check && !self.wants_outvoting(task) {
            let target = self.reserve_target(task).max(self.late_leases(task));
            return match (surplus < target, belief.probation) {
                (true, _) => Wants::Reserve,
                (false, true) => Wants::Probation,
                (false, false) => Wants::Nothing,
            };
        }
        // Not worth anybody's time if even the heaviest worker in every free place could not bring consensus.
        let heaviest = self.weights.last().map_or(NEWCOMER_WEIGHT, |(weight, _)| *weight);
        if matches!(task.shortfall(heaviest, leader), Ok(Some(_))) { Wants::Replica } else { Wants::Nothing }
    }

    /// Results that came after the first reveal, and work that can only end after it, are of no use.
    fn drop_late_results(&mut self, task: &mut Task) {
        let late = task.replicas.iter().filter(|(_, replica)| {
            matches!(replica.state, ReplicaState::Leased { .. } | ReplicaState::Ready { held: false, .. })
        });
        for worker in late.map(|(worker, _)| *worker).collect::<Vec<_>>() {
            self.give_up(task, worker, RevokeReason::NotNeeded);
        }
    }

    fn open_next(&mut self, task: &mut Task, proved: &[WorkerId], digest: B256, last: bool) {
        if task.uploads.opening.is_some() {
            return;
        }
        match proved.iter().find(|worker| !task.uploads.bad.contains(worker)) {
            Some(worker) => {
                task.uploads.opening = Some(*worker);
                self.effects.push(Effect::OpenUpload { task: task.id(), worker: *worker, digest });
            }
            None if last => self.note(task, "no-bytes", || {
                "no upload of a worker that revealed opens to its digest: the task is not finalised".to_owned()
            }),
            None => {}
        }
    }

    /// Revokes leases, the youngest first, until `keep` are left.
    fn withdraw_leases(&mut self, task: &mut Task, keep: usize) {
        let leased = task.replicas.iter().filter(|(_, replica)| matches!(replica.state, ReplicaState::Leased { .. }));
        let mut leased = leased.map(|(worker, replica)| (replica.fence, *worker)).collect::<Vec<_>>();
        leased.sort_unstable();
        for (_, worker) in leased.split_off(keep.min(leased.len())) {
            self.give_up(task, worker, RevokeReason::NotNeeded);
        }
    }

    /// Drops a replica of a task that is out of the map: a lease is revoked, a result forgotten.
    fn give_up(&mut self, task: &mut Task, worker: WorkerId, reason: RevokeReason) {
        let Some(replica) = task.replicas.remove(&worker) else { return };
        let effect = match replica.state {
            ReplicaState::Leased { .. } => Effect::RevokeLease { lease: replica.lease, worker, reason },
            _ => Effect::Forget { task: task.id(), worker },
        };
        self.effects.push(effect);
        // The worker is not to blame: it may be asked again, should the task be reopened.
        self.note_retry(task, worker, self.now_ms);
        self.forget_replica(task.id(), worker, &replica);
    }

    /// The task ended on the ledger: nothing of it is needed any more but its bytes.
    fn close(&mut self, mut task: Task, completed: bool) {
        let id = task.id();
        let opened = task.uploads.good.is_some() || task.uploads.opening.is_some();
        let hash = task.consensus_hash.unwrap_or_default();
        let revealer = task.holders(hash).find(|(_, seen)| seen.is_proved()).map(|(worker, _)| worker);
        let digest = task.digests.get(&hash).copied();
        if let (true, false, Some(digest), Some(worker)) = (completed, opened, digest, revealer) {
            // Finalised by its worker: the upload is opened after the fact.
            self.effects.push(Effect::OpenUpload { task: id, worker, digest });
        }
        for worker in task.replicas.keys().copied().collect::<Vec<_>>() {
            self.give_up(&mut task, worker, RevokeReason::TaskEnded);
        }
        let accepted = task.consensus_hash.filter(|_| completed);
        self.tell(Belief::Settled { task: id, accepted });
        for worker_id in task.seen.keys() {
            if let Some(worker) = self.workers.get_mut(worker_id) {
                worker.contributed.remove(&id);
                if worker.caught && !worker.is_bound() {
                    self.blacklisted.push(*worker_id);
                }
            }
        }
        let (requester, deal_id, key) = (task.spec.requester, task.spec.deal, (task.order, id));
        if let Some(place) = task.take_place() {
            self.line.leave(requester, deal_id, &place, key);
        }
        self.numbers.remove(task.order);
        for worker in task.attempts.keys() {
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.again.remove(&key);
            }
        }
        self.fresh_tasks.remove(&key);
        self.holding.remove(&id);
        self.tail.forget(&mut task);
        if let Some(wake_ms) = task.wake_ms {
            self.timers.remove(&(wake_ms, Timer::Task(id)));
        }
        if let Some(deal) = self.deals.get_mut(&task.spec.deal) {
            deal.open_tasks = deal.open_tasks.saturating_sub(1);
            if deal.open_tasks == 0 {
                for worker in std::mem::take(&mut deal.cooling) {
                    self.cool_anew(deal_id, worker, Some(0));
                }
                if let Some(deal) = self.deals.remove(&deal_id) {
                    if let Some(wake_ms) = deal.wake_ms {
                        self.timers.remove(&(wake_ms, Timer::Deal(deal_id)));
                    }
                    self.close_demand(&deal);
                }
                self.line.forget(requester, deal_id);
            } else {
                self.note_end(deal_id);
            }
        }
    }

    /// Asks for a call, unless it was asked for and may still take effect.
    fn call(&mut self, task: &mut Task, call: Call, effect: Effect) {
        let waiting = task.pending.is_some_and(|pending| pending.call == call && self.now_ms < pending.again_ms);
        if !waiting {
            let again_ms = self.now_ms.saturating_add(self.policy.call_timeout_ms);
            task.pending = Some(Pending { call, again_ms });
            self.effects.push(effect);
        }
    }

    /// Sets the timer of a task to the next moment at which a review could find something to do.
    pub(super) fn arm(&mut self, task: &mut Task) {
        self.watch_tail(task);
        let wake_ms = self.next_moment(task);
        // The tasks of a deal that wait in line wait for the same moments: one timer does for all of them.
        let of_deal = self.deals.get(&task.spec.deal).and_then(|deal| deal.terms.as_ref());
        let is_shared = task.waits_untouched() && of_deal.is_some_and(|terms| Arc::ptr_eq(terms, &task.spec));
        let own_ms = wake_ms.filter(|_| !is_shared);
        if is_shared {
            self.arm_deal(task.spec.deal, wake_ms);
        }
        if own_ms == task.wake_ms {
            return;
        }
        if let Some(old_ms) = task.wake_ms {
            self.timers.remove(&(old_ms, Timer::Task(task.id())));
        }
        if let Some(new_ms) = own_ms {
            self.timers.insert((new_ms, Timer::Task(task.id())));
        }
        task.wake_ms = own_ms;
    }

    /// The next moment at which a review of a task could find something to do.
    fn next_moment(&self, task: &Task) -> Option<u64> {
        let slack_ms = self.policy.ledger_slack_ms;
        let mut next = None;
        let mut add = |moment_ms: u64| {
            if moment_ms > self.now_ms && next.is_none_or(|next_ms| moment_ms < next_ms) {
                next = Some(moment_ms);
            }
        };
        add(task.spec.contribution_deadline_ms);
        add(task.spec.contribution_deadline_ms.saturating_add(slack_ms));
        add(task.spec.final_deadline_ms.saturating_add(slack_ms));
        add(self.last_lease_ms(task).saturating_add(1));
        if self.credibility.is_some() {
            add(self.settle_by_ms(task));
        }
        let convicts = task.convict_since_ms.map(|since_ms| self.hold_until_ms(task, since_ms));
        let conceded = task.concede_effective_ms.map(|effective_ms| effective_ms.saturating_add(slack_ms));
        let called = task.pending.map(|pending| pending.again_ms);
        [convicts, conceded, called].into_iter().flatten().for_each(&mut add);
        if let Phase::Revealing { deadline_ms, since_ms, .. } = task.phase {
            add(deadline_ms.saturating_add(slack_ms));
            add(self.hold_until_ms(task, since_ms));
        }
        for (worker, replica) in &task.replicas {
            match replica.state {
                ReplicaState::Leased { since_ms, expires_ms, terms } => {
                    if let Some(late_ms) = self.late_ms(task, *worker) {
                        add(since_ms.saturating_add(late_ms));
                    }
                    add(expires_ms.min(since_ms.saturating_add(terms.run_limit_ms)));
                }
                ReplicaState::Authorised { until_ms, .. } => add(until_ms),
                ReplicaState::Ready { .. } | ReplicaState::Lapsed { .. } => {}
            }
        }
        if let Some(moment_ms) = self.tail_moment(task) {
            add(moment_ms);
        }
        next
    }

    /// Has the tasks of a deal that wait in line looked at then, if not before.
    fn arm_deal(&mut self, id: DealId, wake_ms: Option<u64>) {
        let (Some(deal), Some(wake_ms)) = (self.deals.get_mut(&id), wake_ms) else { return };
        if deal.wake_ms.is_some_and(|at_ms| at_ms <= wake_ms) {
            return;
        }
        if let Some(old_ms) = deal.wake_ms.replace(wake_ms) {
            self.timers.remove(&(old_ms, Timer::Deal(id)));
        }
        self.timers.insert((wake_ms, Timer::Deal(id)));
    }

    /// A deal's timer rings: whoever still waits sets it anew.
    pub(super) fn ring_deal(&mut self, id: DealId) {
        let Some(deal) = self.deals.get_mut(&id) else { return };
        deal.wake_ms = None;
        let Some(requester) = deal.terms.as_ref().map(|terms| terms.requester) else { return };
        for queue in Queue::ALL {
            self.dirty.extend(self.line.all_of(queue, (requester, id)));
        }
    }
}
