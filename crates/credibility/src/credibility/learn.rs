//! From what came of a task to what is remembered of those who took part.

use alloy_primitives::{Address, B256};
use gristmill_types::TaskId;

use super::Credibility;
use crate::belief::{Scrutiny, Suspicion};
use crate::event::{Cause, Changes, ObserveError, Role};
use crate::task::Task;
use crate::worker::Worker;

/// How likely a cheat was noticed, at least, by what is counted as a check.
const CHECK_MIN: f64 = 0.5;

/// What came of a task for one who took part.
enum Lesson {
    /// Its answer was accepted, and others who might have noticed a cheat gave the same.
    Passed(Scrutiny),
    /// Its answer was accepted unseen.
    Alone,
    /// Its answer is wrong.
    Wrong,
    /// Its answer was not accepted, but that may be a mistake.
    Doubtful,
}

impl Credibility {
    pub(super) fn settled(
        &mut self,
        id: TaskId,
        accepted: Option<B256>,
        changes: &mut Changes,
    ) -> Result<(), ObserveError> {
        let task = self.tasks.remove(&id).ok_or(ObserveError::UnknownTask(id))?;
        // What each is to learn follows from what was known before, whatever the order in which they learn it.
        let lessons = accepted.map(|hash| self.lessons(&task, hash)).unwrap_or_default();
        for replica in &task.replicas {
            self.with_worker(replica.worker, |worker| worker.in_flight = worker.in_flight.saturating_sub(1))?;
        }
        for (worker, lesson) in lessons {
            match lesson {
                Lesson::Passed(scrutiny) => self.passed(worker, &scrutiny)?,
                Lesson::Alone => {
                    self.with_worker(worker, |worker| worker.accepted = worker.accepted.saturating_add(1))?;
                }
                Lesson::Wrong => self.wrong(worker, changes)?,
                Lesson::Doubtful => {
                    self.forget_passes(worker)?;
                    self.with_worker(worker, Worker::begin_anew)?;
                }
            }
        }
        Ok(())
    }

    fn lessons(&self, task: &Task, accepted: B256) -> Vec<(Address, Lesson)> {
        let doubts = self.doubts_of(task);
        let doubt = doubts.iter().find(|(hash, _)| *hash == accepted).map_or(1.0, |(_, doubt)| *doubt);
        let sure = doubt <= self.policy.verdict_error;
        if !sure && doubt > task.error_max() {
            // The hub accepted what is not believed here: nothing is learnt from that.
            return Vec::new();
        }
        let suspicions = |role: Role| {
            let holders = self.counting(task, role).into_iter().filter(|(replica, _)| replica.answer == Some(accepted));
            holders.map(|(replica, worker)| (replica.worker, self.suspicion(worker))).collect::<Vec<_>>()
        };
        let (voters, newcomers) = (suspicions(Role::Vote), suspicions(Role::Probation));
        let mut lessons = Vec::new();
        for (id, _) in &voters {
            let witnesses = voters.iter().chain(&newcomers).filter(|(witness, _)| witness != id);
            lessons.push((*id, Lesson::of(witnesses.map(|(_, suspicion)| suspicion))));
        }
        for (id, _) in &newcomers {
            // A newcomer is no witness for another.
            lessons.push((*id, Lesson::of(voters.iter().map(|(_, suspicion)| suspicion))));
        }
        for replica in &task.replicas {
            if replica.answer.is_some_and(|answer| answer != accepted) {
                lessons.push((replica.worker, if sure { Lesson::Wrong } else { Lesson::Doubtful }));
            }
        }
        // By name: what a lesson does to the others' must not depend on who answered first.
        lessons.sort_by_key(|(worker, _)| *worker);
        lessons
    }

    fn passed(&mut self, id: Address, scrutiny: &Scrutiny) -> Result<(), ObserveError> {
        let (first, late) = self.with_worker(id, |worker| {
            let before = worker.checks;
            worker.record.pass(scrutiny);
            // Witnesses who are likely saboteurs themselves are no check to speak of.
            if scrutiny.of_a_cheat() >= CHECK_MIN {
                worker.checks = worker.checks.saturating_add(1);
            }
            worker.accepted = worker.accepted.saturating_add(1);
            (before == 0 && worker.checks > 0, worker.late)
        })?;
        if first {
            let passed = &mut self.cohorts[usize::from(late)].passed;
            *passed = passed.saturating_add(1);
        }
        Ok(())
    }

    /// The passes of a worker are not counted for its cohort any more.
    pub(super) fn forget_passes(&mut self, id: Address) -> Result<(), ObserveError> {
        let worker = self.workers.get(&id).ok_or(ObserveError::UnknownWorker(id))?;
        // Of who failed they are not counted since then.
        if worker.checks > 0 && worker.ban != Some(Cause::Wrong) {
            let passed = &mut self.cohorts[usize::from(worker.late)].passed;
            *passed = passed.saturating_sub(1);
        }
        Ok(())
    }

    fn wrong(&mut self, id: Address, changes: &mut Changes) -> Result<(), ObserveError> {
        let worker = self.workers.get(&id).ok_or(ObserveError::UnknownWorker(id))?;
        if worker.ban == Some(Cause::Wrong) {
            return Ok(());
        }
        let (late, accounts) = (worker.late, worker.origin.accounts());
        self.forget_passes(id)?;
        let failed = &mut self.cohorts[usize::from(late)].failed;
        *failed = failed.saturating_add(1);
        self.ban(id, Cause::Wrong, changes)?;
        if !self.policy.public {
            return Ok(());
        }
        let different = if accounts[0] == accounts[1] { 1 } else { 2 };
        for account in accounts.into_iter().take(different) {
            let faults = &mut self.accounts.entry(account).or_default().faults;
            *faults = faults.saturating_add(1);
            if *faults >= self.policy.owner_faults_max {
                self.ban_account(account, changes)?;
            }
        }
        Ok(())
    }

    fn ban_account(&mut self, account: Address, changes: &mut Changes) -> Result<(), ObserveError> {
        let its_workers = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.ban.is_none() && worker.origin.accounts().contains(&account));
        for id in its_workers.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.ban(id, Cause::Account, changes)?;
        }
        Ok(())
    }
}

impl Lesson {
    fn of<'a>(witnesses: impl Iterator<Item = &'a Suspicion>) -> Self {
        let scrutiny = Scrutiny::by(witnesses);
        if scrutiny.of_a_cheat() > 0.0 { Self::Passed(scrutiny) } else { Self::Alone }
    }
}
