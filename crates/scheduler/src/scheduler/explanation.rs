//! Find what binds a task or a worker.

use gristmill_credibility::Role;
use gristmill_poco::consensus::NEWCOMER_WEIGHT;
use gristmill_types::TaskId;

use super::Scheduler;
use super::dispatch::Fit;
use crate::event::Fault;
use crate::explain::{Explanation, TaskCause, WorkerCause};
use crate::id::WorkerId;
use crate::index::{Side, Unmet};
use crate::line::Queue;
use crate::task::{Phase, ReplicaState, Task, Wants};
use crate::worker::Worker;

impl Scheduler {
    /// What a task waits for at this time, and the smallest fix. Looks at every worker: for people, not for loops.
    pub fn explain_task(&self, now_ms: u64, task: TaskId) -> Explanation<TaskCause> {
        let Some(task) = self.tasks.get(&task) else { return because(TaskCause::Unknown) };
        let now_ms = now_ms.max(self.now_ms);
        if let Some(pending) = task.pending.filter(|pending| now_ms < pending.again_ms) {
            return because(TaskCause::Calling { call: pending.call.name() });
        }
        if let Phase::Revealing { hash, .. } = task.phase {
            let holders = task.holders(hash).count();
            let proved = || task.holders(hash).filter(|(_, seen)| seen.is_proved());
            let revealed = proved().count();
            if revealed > 0 && proved().all(|(worker, _)| task.uploads.bad.contains(&worker)) {
                return because(TaskCause::NoBytes);
            }
            return because(TaskCause::Revealing { revealed, holders });
        }
        if let Some(cause) = self.progress(task) {
            return because(cause);
        }
        if let Some(why) = task.spec.refusal.clone() {
            return fixable(TaskCause::Refused { why }, "correct the request and run it again");
        }
        if let (true, Some(explanation)) = (task.stopped, explain_fault(task)) {
            return explanation;
        }
        if task.stopped {
            let (faults, last) = (task.host_faults, task.last_fault.clone());
            return fixable(TaskCause::Stopped { faults, last }, "correct the app or its input and run it again");
        }
        if task.is_public() {
            return because(TaskCause::DigestPublic);
        }
        let last_ms = self.last_lease_ms(task);
        if now_ms > last_ms {
            let left_ms = task.spec.contribution_deadline_ms.saturating_sub(now_ms);
            let cause = TaskCause::TooLate { left_ms, run_ms: self.run_ms(task) };
            return fixable(cause, "run it again, with a larger category or more workers");
        }
        if self.wants(task) == Wants::Nothing {
            return fixable(TaskCause::NoPlaces, "run it again, with less confidence");
        }
        self.explain_missing_worker(now_ms, task)
    }

    fn progress(&self, task: &Task) -> Option<TaskCause> {
        let leases = task.leased();
        let is_authorised = |state: &ReplicaState| matches!(state, ReplicaState::Authorised { .. });
        let authorised = task.replicas.values().filter(|replica| is_authorised(&replica.state)).count();
        match (leases, authorised) {
            (0, 0) => None,
            (0, authorised) => Some(TaskCause::Contributing { authorised }),
            (leases, _) => Some(TaskCause::Running { leases }),
        }
    }

    fn explain_missing_worker(&self, now_ms: u64, task: &Task) -> Explanation<TaskCause> {
        let connected = self.workers.values().filter(|worker| worker.connected && !worker.is_overflow()).count();
        if let Some(explanation) = self.explain_bans(now_ms) {
            return explanation;
        }
        if connected == 0 {
            return fixable(TaskCause::NoWorkers, "start one: `gristmill worker --pool URL`");
        }
        // What is run elsewhere is for the others when they cannot.
        let willing = || self.workers.iter().filter(|(_, worker)| worker.is_willing(now_ms) && !worker.is_overflow());
        if willing().next().is_none() {
            return fixable(TaskCause::NoneUsable { connected }, "start another worker: `gristmill worker --pool URL`");
        }
        let fits = || willing().map(|(id, worker)| (*id, worker, self.fit(task, *id, worker)));
        let possible = || fits().filter(|(_, _, fit)| fit.is_possible());
        if possible().any(|(_, worker, _)| worker.has_slot()) {
            return because(TaskCause::Queued);
        }
        let busy = fits().filter(|(_, _, fit)| fit.is_possible() || *fit == Fit::Gpu).count();
        if busy > 0 {
            return fixable(
                TaskCause::AllBusy { workers: busy },
                "wait, or start another worker: `gristmill worker --pool URL`",
            );
        }
        if let Some(explanation) = self.explain_machines(task, &fits().map(|(_, _, fit)| fit).collect::<Vec<_>>()) {
            return explanation;
        }
        let poor = fits().filter(|(_, _, fit)| *fit == Fit::Stake);
        let nearest = poor.map(|(id, worker, _)| (worker.lacks_stake(task.stake()), id)).min();
        if let Some((missing, worker)) = nearest {
            let fix = format!("deposit {missing} for it");
            return fixable(TaskCause::StakeTooLow { worker, missing }, &fix);
        }
        if let (Some(profile), true) = (&task.profile, fits().any(|(_, _, fit)| fit == Fit::Profile)) {
            let cause = TaskCause::ProfileMismatch { profile: profile.0.clone() };
            return fixable(cause, "start a worker of the same version as the others");
        }
        if fits().any(|(_, _, fit)| fit == Fit::Needs) {
            let needs = task.spec.needs;
            let fix = format!("start a worker that lends {needs} ([lend] in its worker.toml)");
            return fixable(TaskCause::NeedsMissing { needs }, &fix);
        }
        if let Some(explanation) = self.explain_disbelief(task, &fits().map(|(_, _, fit)| fit).collect::<Vec<_>>()) {
            return explanation;
        }
        if let Some(explanation) = explain_fault(task) {
            return explanation;
        }
        let by_hub = task.shortfall(NEWCOMER_WEIGHT, task.leader()).ok().flatten().unwrap_or(1).max(1);
        let by_belief = self.credibility.as_ref().and_then(|credibility| credibility.shortfall(task.id(), None));
        let missing = by_hub.max(by_belief.unwrap_or(0));
        let fix = format!("start {missing} more worker(s), or ask for less confidence");
        let reached = task.outlook(task.leader()).is_ok_and(|outlook| outlook.reached);
        match reached {
            true => fixable(TaskCause::NotBelieved { connected, missing }, &fix),
            false => fixable(TaskCause::AllTried { connected, missing }, &fix),
        }
    }

    /// Whoever was here is banned.
    fn explain_bans(&self, now_ms: u64) -> Option<Explanation<TaskCause>> {
        let (worker, first) = self.workers.first_key_value()?;
        let reason = first.ban.as_ref()?.reason.clone();
        if !self.workers.values().all(|worker| worker.is_banned(now_ms)) {
            return None;
        }
        let fix = format!("let one in again (`gristmill pool unban {worker}`), or start another worker");
        Some(fixable(TaskCause::AllBanned { workers: self.workers.len(), worker: *worker, reason }, &fix))
    }

    /// Nobody is left of those whose machines match and who serve the requester.
    fn explain_machines(&self, task: &Task, fits: &[Fit]) -> Option<Explanation<TaskCause>> {
        let count = |which: Fit| fits.iter().filter(|fit| **fit == which).count();
        let (foreign, slow, unlike) = (count(Fit::Rights), count(Fit::Slow), count(Fit::Machine));
        if foreign + slow + unlike < fits.len() || foreign + slow + unlike == 0 {
            return None;
        }
        if slow > 0 {
            let fix = "start a quicker worker, or ask for a larger category";
            return Some(fixable(TaskCause::TooSlow { workers: slow }, fix));
        }
        if unlike == 0 {
            let fix = "ask the pool's operator for the right to use them: gristmill pool chmod";
            return Some(fixable(TaskCause::NoRights { workers: foreign }, fix));
        }
        let unmet = self.machines.unmet(task.demand?)?;
        let fix = fix_of(&unmet);
        Some(fixable(TaskCause::NoMatch { machines: unmet.machines, text: unmet.to_string() }, &fix))
    }

    /// Those who are free might, but for what is believed of them.
    fn explain_disbelief(&self, task: &Task, fits: &[Fit]) -> Option<Explanation<TaskCause>> {
        let count = |which: Fit| fits.iter().filter(|fit| **fit == which).count();
        let (kin, unwanted) = (count(Fit::Kin), count(Fit::Unwanted));
        if kin > 0 {
            let fix = "start a worker of another owner, in another network";
            return Some(fixable(TaskCause::AllKin { workers: kin }, fix));
        }
        if unwanted > 0 && task.seats.vote {
            let fix = "wait: they get a vote with the tasks they do beside others";
            return Some(fixable(TaskCause::OnProbation { workers: unwanted }, fix));
        }
        None
    }

    /// What a worker waits for at this time, and the smallest fix. Looks at every wanting task: for people, not for loops.
    pub fn explain_worker(&self, now_ms: u64, worker: WorkerId) -> Explanation<WorkerCause> {
        let Some(known) = self.workers.get(&worker) else {
            return fixable(WorkerCause::Unknown, "check the pool's URL that it dials");
        };
        let now_ms = now_ms.max(self.now_ms);
        if let Some(ban) = known.ban.as_ref().filter(|_| known.is_banned(now_ms)) {
            return fixable(WorkerCause::Banned { reason: ban.reason.clone() }, "the pool's operator may pardon it");
        }
        if known.caught {
            let cause = self.credibility.as_ref().and_then(|credibility| credibility.cause(worker.0));
            let reason = cause.map(|cause| cause.to_string()).unwrap_or_default();
            return fixable(WorkerCause::Banned { reason }, "the pool's operator may pardon it");
        }
        if !known.connected {
            return fixable(WorkerCause::Disconnected, "start it");
        }
        if known.draining {
            return fixable(WorkerCause::Draining, "restart it to take part again");
        }
        if known.aside_until_ms > now_ms {
            return because(WorkerCause::Aside { until_ms: known.aside_until_ms });
        }
        if known.busy_until_ms > now_ms {
            return because(WorkerCause::Busy { until_ms: known.busy_until_ms });
        }
        let cooling = known.cooling.iter().map(|cooling| cooling.until_ms).min();
        if let (false, true, Some(until_ms)) = (known.has_slot(), known.leases.is_empty(), cooling) {
            return because(WorkerCause::Paced { until_ms });
        }
        if !known.has_slot() {
            return because(WorkerCause::Working { leases: known.leases.len(), slots: known.slots });
        }
        self.explain_missing_task(worker, known)
    }

    fn explain_missing_task(&self, id: WorkerId, worker: &Worker) -> Explanation<WorkerCause> {
        let queues = || Queue::ALL.into_iter().flat_map(|queue| self.line.all(queue));
        let waiting = || queues().filter_map(|task| self.tasks.get(&task));
        if waiting().next().is_none() {
            return because(WorkerCause::NoTasks);
        }
        let fits = || waiting().map(|task| (task, self.fit(task, id, worker)));
        if fits().any(|(_, fit)| fit.is_possible()) {
            return because(if worker.is_overflow() { WorkerCause::InTime } else { WorkerCause::Ready });
        }
        if fits().all(|(_, fit)| fit == Fit::Rights) {
            return fixable(WorkerCause::NoRights, "the pool's operator may let others use it: gristmill pool chmod");
        }
        if fits().all(|(_, fit)| matches!(fit, Fit::Slow | Fit::Rights)) {
            return because(WorkerCause::TooSlow);
        }
        if fits().all(|(_, fit)| matches!(fit, Fit::Machine | Fit::Slow | Fit::Rights)) {
            return because(WorkerCause::NoMatch);
        }
        let poor = fits().filter(|(_, fit)| *fit == Fit::Stake);
        if let Some(missing) = poor.map(|(task, _)| worker.lacks_stake(task.stake())).min() {
            let fix = format!("deposit {missing}");
            return fixable(WorkerCause::StakeTooLow { missing }, &fix);
        }
        if fits().any(|(_, fit)| fit == Fit::Profile) {
            let cause = WorkerCause::ProfileMismatch { profile: worker.profile.0.clone() };
            return fixable(cause, "run the same version as the other workers");
        }
        if fits().any(|(_, fit)| fit == Fit::Gpu) {
            return because(WorkerCause::GpusTaken { gpus: worker.offers.gpus });
        }
        let lacking = fits().filter(|(_, fit)| *fit == Fit::Needs);
        if let Some(needs) = lacking.map(|(task, _)| task.spec.needs.without(worker.offers.needs())).next() {
            let fix = format!("let it lend {needs} ([lend] in its worker.toml)");
            return fixable(WorkerCause::NeedsMissing { needs }, &fix);
        }
        if fits().any(|(_, fit)| fit == Fit::Kin) {
            return because(WorkerCause::Kin);
        }
        match self.credibility.as_ref().and_then(|credibility| credibility.role_of(id.0)) {
            Some(Role::Probation) if fits().any(|(_, fit)| fit == Fit::Unwanted) => because(WorkerCause::OnProbation),
            // What waits has a place for a newcomer, and for nobody else.
            Some(Role::Vote) if fits().all(|(_, fit)| fit == Fit::Unwanted) => because(WorkerCause::NoTasks),
            _ => because(WorkerCause::AllTried),
        }
    }
}

/// Whoever had the task last failed at something that the next will fail at too.
fn explain_fault(task: &Task) -> Option<Explanation<TaskCause>> {
    let last = task.last_fault.clone();
    match task.fault {
        _ if task.host_faults == 0 => None,
        Fault::Host => None,
        Fault::App => {
            let fix = "put it into the pool's store again: run the job again from where its file is";
            Some(fixable(TaskCause::NotFetched { app: true, last }, fix))
        }
        Fault::Input => {
            let fix = "put it into the pool's store again: run the job again from where its files are";
            Some(fixable(TaskCause::NotFetched { app: false, last }, fix))
        }
        Fault::TooLong => {
            let fix = "run it again with a larger size (--category), or with fewer items a task (--tasks)";
            Some(fixable(TaskCause::CategoryTooShort { last }, fix))
        }
    }
}

/// The smallest change with which the nearest machine would match.
fn fix_of(unmet: &Unmet) -> String {
    let lacks = unmet.nearest.iter().flat_map(|nearest| &nearest.lacks);
    let (own, of_machine): (Vec<_>, Vec<_>) = lacks.partition(|lack| lack.side == Side::Task);
    let own = own.iter().map(|lack| format!("`{}`", lack.conjunct)).collect::<Vec<_>>();
    match (own.is_empty(), of_machine.is_empty()) {
        (true, _) => "start another worker: those there are require something else of a task".to_owned(),
        (false, true) => format!("run it again without {}, or start a worker of which that is true", own.join(" and ")),
        (false, false) => "start a worker that has what it requires".to_owned(),
    }
}

fn because<C>(cause: C) -> Explanation<C> {
    Explanation { cause, fix: None }
}

fn fixable<C>(cause: C, fix: &str) -> Explanation<C> {
    Explanation { cause, fix: Some(fix.to_owned()) }
}
