//! The machine: takes events, remembers who agreed with whom, and answers.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use gristmill_types::TaskId;
use serde::{Deserialize, Serialize};

use crate::belief::Suspicion;
use crate::event::{Cause, Changes, Event, ObserveError, Refusal, Role, Stance, TaskSpec, Verdict, Wants};
use crate::origin::Origin;
use crate::policy::{Policy, PolicyError};
use crate::seed::{Draw, Seed};
use crate::task::{Latest, Replica, Task};
use crate::tasks::Tasks;
use crate::worker::{Account, Cohort, Worker};

mod learn;
mod memory;
mod weigh;

pub use memory::Memory;

/// The most newcomers on probation that one task takes.
const PROBATION_PLACES_MAX: f64 = 4.0;

/// What a pool believes of its workers and of the results they gave. See the crate's page.
// INVARIANT: `in_flight` of each worker counts its replicas in `tasks`. `cohorts`, `proven`, and `proven` of each account count
// the workers that are there, by `class`.
#[derive(Clone, Debug, PartialEq)]
pub struct Credibility {
    policy: Policy,
    seed: Seed,
    workers: BTreeMap<Address, Worker>,
    accounts: BTreeMap<Address, Account>,
    tasks: Tasks,
    /// Those who were there when the pool was founded, and who came later.
    cohorts: [Cohort; 2],
    /// Workers past their probation that are there, and owners of such.
    proven: u32,
    proven_owners: u32,
    latest: Latest,
}

/// All that is remembered, but for the policy and the seed: these are the caller's to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    workers: BTreeMap<Address, Worker>,
    accounts: BTreeMap<Address, Account>,
    tasks: BTreeMap<TaskId, Task>,
    cohorts: [Cohort; 2],
}

/// What a worker counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It is not there, or gets nothing.
    Out,
    Unproven,
    Proven,
}

/// As what a worker is counted, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    class: Class,
    late: bool,
    owner: Address,
}

impl Standing {
    fn of(worker: &Worker, policy: &Policy) -> Self {
        let class = match worker.joined && worker.ban.is_none() {
            false => Class::Out,
            true if worker.checks >= policy.probation_checks => Class::Proven,
            true => Class::Unproven,
        };
        Self { class, late: worker.late, owner: worker.origin.owner }
    }
}

impl Credibility {
    /// Of a pool that knows nobody.
    pub fn new(policy: Policy, seed: Seed) -> Result<Self, PolicyError> {
        Ok(Self {
            policy: policy.checked()?,
            seed,
            workers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            tasks: Tasks::default(),
            cohorts: [Cohort::default(); 2],
            proven: 0,
            proven_owners: 0,
            latest: Latest::default(),
        })
    }

    /// As it was when the snapshot was taken; everybody who was there is. What changed in the policy holds from now on.
    pub fn restore(policy: Policy, seed: Seed, snapshot: Snapshot) -> Result<Self, PolicyError> {
        let Snapshot { workers, mut accounts, tasks, mut cohorts } = snapshot;
        accounts.values_mut().for_each(|account| account.proven = 0);
        cohorts.iter_mut().for_each(|cohort| cohort.unproven = 0);
        let mut restored = Self::new(policy, seed)?;
        restored.accounts = accounts;
        restored.cohorts = cohorts;
        restored.tasks = Tasks::of_map(tasks);
        for (id, worker) in workers {
            restored.count(Standing::of(&worker, &restored.policy), true);
            restored.workers.insert(id, worker);
        }
        Ok(restored)
    }

    /// All that is remembered now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            workers: self.workers.clone(),
            accounts: self.accounts.clone(),
            tasks: self.tasks.to_map(),
            cohorts: self.cohorts,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes what happened. On an error nothing has changed.
    pub fn observe(&mut self, event: Event) -> Result<Changes, ObserveError> {
        let mut changes = Changes::default();
        match &event {
            Event::WorkerBanned { worker } | Event::WorkerPardoned { worker } | Event::Withheld { worker, .. } => {
                changes.learnt.push(*worker);
            }
            Event::Settled { task, .. } => {
                let replicas = self.tasks.get(task).into_iter().flat_map(|task| &task.replicas);
                changes.learnt.extend(replicas.map(|replica| replica.worker));
            }
            _ => {}
        }
        match event {
            Event::WorkerJoined { worker, origin, score } => self.joined(worker, origin, score)?,
            Event::WorkerScored { worker, score } => self.with_worker(worker, |worker| worker.score = score)?,
            Event::WorkerLeft { worker } => self.left(worker)?,
            Event::WorkerBanned { worker } => self.ban(worker, Cause::Operator, &mut changes)?,
            Event::WorkerPardoned { worker } => self.pardon(worker)?,
            Event::TaskOpened(spec) => self.opened(spec)?,
            Event::Leased { task, worker } => self.leased(task, worker)?,
            Event::Answered { task, worker, hash } => self.answered(task, worker, hash)?,
            Event::Withheld { task, worker } => self.withheld(task, worker, &mut changes)?,
            Event::Released { task, worker } => self.released(task, worker)?,
            Event::Revealed { task } => self.task_mut(task)?.public = true,
            Event::Settled { task, accepted } => self.settled(task, accepted, &mut changes)?,
        }
        changes.learnt.extend(&changes.blacklisted);
        Ok(changes)
    }

    /// Whether a worker may have a task now, and as what: it may join, and the task wants it.
    pub fn may(&self, worker: Address, task: TaskId) -> Result<Role, Refusal> {
        let role = self.may_join(worker, task)?;
        if self.is_wanted(task, role) { Ok(role) } else { Err(Refusal::NotWanted) }
    }

    fn is_wanted(&self, task: TaskId, role: Role) -> bool {
        let wants = self.wants(task);
        match role {
            Role::Vote => wants.vote || wants.check,
            Role::Probation => wants.probation,
        }
    }

    /// Whether a worker may have a replica of a task, wanted or not, and as what. Nobody has a second one; on a public pool nobody
    /// who shares owner, range or stake with who has one, and nobody who asked for the task.
    pub fn may_join(&self, worker: Address, task: TaskId) -> Result<Role, Refusal> {
        let (id, worker) = (worker, self.workers.get(&worker).filter(|worker| worker.joined).ok_or(Refusal::Absent)?);
        let task = self.tasks.get(&task).ok_or(Refusal::UnknownTask)?;
        if let Some(cause) = worker.ban {
            return Err(Refusal::Blacklisted(cause));
        }
        if task.public {
            return Err(Refusal::Public);
        }
        if task.position(id).is_some() {
            return Err(Refusal::Twice);
        }
        if self.policy.public {
            let requester = task.terms.requester;
            if id == requester || worker.origin.accounts().contains(&requester) {
                return Err(Refusal::OwnTask);
            }
            for replica in &task.replicas {
                let shared =
                    self.workers.get(&replica.worker).and_then(|other| other.origin.shared_with(&worker.origin));
                if let Some(shared) = shared {
                    return Err(Refusal::Shares(replica.worker, shared));
                }
            }
        }
        Ok(self.role(worker))
    }

    /// As what a worker takes part in tasks; `None` if it is not there or is blacklisted.
    pub fn role_of(&self, worker: Address) -> Option<Role> {
        let worker = self.workers.get(&worker).filter(|worker| worker.joined && worker.ban.is_none())?;
        Some(self.role(worker))
    }

    /// What a task wants now; nothing if it is not open.
    pub fn wants(&self, task: TaskId) -> Wants {
        self.tasks.open(task).map(|task| self.wants_of(task)).unwrap_or_default()
    }

    /// How many more votes a task needs, checks aside, if all agree and who gives them is as credible as `like`, or as a newcomer
    /// if nobody is named. `None` if the task is not open, or its places would not do.
    pub fn shortfall(&self, task: TaskId, like: Option<Address>) -> Option<u32> {
        let task = self.tasks.get(&task)?;
        let like = like.and_then(|like| self.workers.get(&like));
        let (suspicion, score) = match like {
            Some(worker) => (self.suspicion(worker), worker.score),
            None => (crate::belief::Record::BLANK.suspicion(self.policy.saboteurs), 0),
        };
        self.missing(task, &suspicion, score)
    }

    /// Where a task stands; [`Verdict::Open`] if it is not open.
    pub fn verdict(&self, task: TaskId) -> Verdict {
        self.tasks.open(task).map_or(Verdict::Open, |task| self.verdict_of(task))
    }

    /// [`Credibility::verdict`], the leading result and [`Credibility::wants`] in one go; `None` if the task is not open. `last`: its time
    /// is up, who has not answered is not waited for, and a check that is missing is done without.
    pub fn stance(&self, task: TaskId, last: bool) -> Option<Stance> {
        self.tasks.open(task).map(|task| self.stance_of(task, last))
    }

    /// Whether a verdict of this doubt is enough to call those who answered otherwise liars.
    pub fn is_sure(&self, doubt: f64) -> bool {
        doubt <= self.policy.verdict_error
    }

    /// The answers to a task and the probability, at most, that each is wrong; in the order of their hashes.
    pub fn doubts(&self, task: TaskId) -> Vec<(B256, f64)> {
        self.tasks.get(&task).map(|task| self.doubts_of(task)).unwrap_or_default()
    }

    /// How sure it is that the next result of a worker is right, at least. 0 if it is barred or not known.
    pub fn credibility(&self, worker: Address) -> f64 {
        match self.workers.get(&worker) {
            Some(worker) if worker.ban.is_none() => 1.0 - self.suspicion(worker).doubt(),
            _ => 0.0,
        }
    }

    /// How often the results of a worker that are enough alone are checked for a task of this trust. From 0 to 1.
    pub fn check_rate(&self, worker: Address, task: TaskId) -> f64 {
        match (self.workers.get(&worker), self.tasks.get(&task)) {
            (Some(worker), Some(task)) => self.check_rate_of(worker, task),
            _ => 1.0,
        }
    }

    /// Among workers that may have a task, it should go to the one with the smallest number: an order that nobody can foresee, so
    /// that nobody can arrange to meet a friend.
    pub fn order(&self, task: TaskId, worker: Address) -> u64 {
        self.seed.order(task, worker)
    }

    /// Why a worker is blacklisted; `None` if it is not.
    pub fn cause(&self, worker: Address) -> Option<Cause> {
        self.workers.get(&worker)?.ban
    }

    /// Who is blacklisted, and why.
    pub fn blacklist(&self) -> impl Iterator<Item = (Address, Cause)> {
        self.workers.iter().filter_map(|(id, worker)| Some((*id, worker.ban?)))
    }

    /// Open tasks.
    pub fn tasks_open(&self) -> usize {
        self.tasks.len()
    }

    /// Workers that are remembered.
    pub fn workers_known(&self) -> usize {
        self.workers.len()
    }

    /// Whether an account behind a worker has too many faults.
    fn is_barred(&self, origin: &Origin) -> bool {
        let is_out = |account: &Account| account.faults >= self.policy.owner_faults_max;
        let mut accounts = origin.accounts().into_iter();
        self.policy.public && accounts.any(|account| self.accounts.get(&account).is_some_and(is_out))
    }

    /// There are enough workers with a record: who has none must earn one first.
    pub fn is_founded(&self) -> bool {
        let proven = if self.policy.public { self.proven_owners } else { self.proven };
        proven >= self.policy.founders
    }

    fn role(&self, worker: &Worker) -> Role {
        if worker.checks >= self.policy.probation_checks || !self.is_founded() { Role::Vote } else { Role::Probation }
    }

    fn suspicion(&self, worker: &Worker) -> Suspicion {
        worker.record.suspicion(self.cohorts[usize::from(worker.late)].saboteurs(self.policy.saboteurs))
    }

    /// Counts a worker in, or out.
    fn count(&mut self, Standing { class, late, owner }: Standing, inward: bool) {
        let step = |count: &mut u32| *count = if inward { *count + 1 } else { count.saturating_sub(1) };
        match class {
            Class::Out => {}
            Class::Unproven => step(&mut self.cohorts[usize::from(late)].unproven),
            Class::Proven => {
                step(&mut self.proven);
                let account = self.accounts.entry(owner).or_default();
                let before = account.proven;
                step(&mut account.proven);
                match (before, account.proven) {
                    (0, 1) => self.proven_owners += 1,
                    (1, 0) => self.proven_owners = self.proven_owners.saturating_sub(1),
                    _ => {}
                }
                if *account == Account::default() {
                    self.accounts.remove(&owner);
                }
            }
        }
    }

    /// Changes a worker, and what is counted of it.
    fn with_worker<T>(&mut self, id: Address, change: impl FnOnce(&mut Worker) -> T) -> Result<T, ObserveError> {
        let worker = self.workers.get_mut(&id).ok_or(ObserveError::UnknownWorker(id))?;
        let before = Standing::of(worker, &self.policy);
        let outcome = change(worker);
        let after = Standing::of(worker, &self.policy);
        // Most changes are of what is not counted.
        if before != after {
            self.count(before, false);
            self.count(after, true);
        }
        Ok(outcome)
    }

    fn task_mut(&mut self, id: TaskId) -> Result<&mut Task, ObserveError> {
        self.tasks.get_mut(&id).ok_or(ObserveError::UnknownTask(id))
    }

    fn joined(&mut self, id: Address, origin: Origin, score: u64) -> Result<(), ObserveError> {
        let ban = self.is_barred(&origin).then_some(Cause::Account);
        if self.workers.contains_key(&id) {
            return self.with_worker(id, |worker| {
                worker.origin = origin;
                worker.score = score;
                worker.joined = true;
                worker.ban = worker.ban.or(ban);
            });
        }
        let max = self.policy.workers_max;
        if self.workers.len() as u64 >= u64::from(max) {
            return Err(ObserveError::Full { what: "workers", bound: "workers_max", max });
        }
        let worker = Worker { ban, ..Worker::new(origin, score, self.is_founded()) };
        self.count(Standing::of(&worker, &self.policy), true);
        self.workers.insert(id, worker);
        Ok(())
    }

    fn left(&mut self, id: Address) -> Result<(), ObserveError> {
        if self.with_worker(id, |worker| {
            worker.joined = false;
            worker.is_blank()
        })? {
            self.workers.remove(&id);
        }
        Ok(())
    }

    fn opened(&mut self, spec: TaskSpec) -> Result<(), ObserveError> {
        if self.tasks.contains(&spec.task) {
            return Err(ObserveError::KnownTask(spec.task));
        }
        let max = self.policy.tasks_max;
        if self.tasks.len() as u64 >= u64::from(max) {
            return Err(ObserveError::Full { what: "open tasks", bound: "tasks_max", max });
        }
        let places = self.probation_places(spec.task);
        self.tasks.insert(spec.task, Task::new(self.latest.terms_of(&spec), places));
        Ok(())
    }

    /// As many newcomers take part as there are hopeful ones for each proven worker: none while all may vote anyway, many while
    /// most wait, few when newcomers turned out bad.
    fn probation_places(&self, task: TaskId) -> u8 {
        if !self.is_founded() || self.cohorts.iter().all(|cohort| cohort.unproven == 0) {
            return 0;
        }
        let hopeful = self
            .cohorts
            .iter()
            .map(|cohort| f64::from(cohort.unproven) * (1.0 - cohort.saboteurs(self.policy.saboteurs)));
        let each = hopeful.sum::<f64>() / f64::from(self.proven.max(1));
        let each = each.clamp(self.policy.check_share.min(PROBATION_PLACES_MAX), PROBATION_PLACES_MAX);
        let draw = self.seed.fraction(Draw::Probation, task);
        // Places are counted one by one: as many as fit under a mean of `each`.
        (0..PROBATION_PLACES_MAX as u8).filter(|place| f64::from(*place) + draw < each).count() as u8
    }

    fn leased(&mut self, task: TaskId, worker: Address) -> Result<(), ObserveError> {
        if !self.tasks.contains(&task) {
            return Err(ObserveError::UnknownTask(task));
        }
        let role = self.may_join(worker, task).map_err(|refusal| ObserveError::Refused { task, worker, refusal })?;
        let spare = !self.is_wanted(task, role);
        self.with_worker(worker, |worker| worker.in_flight += 1)?;
        let replicas = &mut self.task_mut(task)?.replicas;
        // Most tasks have one or two: no room for four is taken in advance.
        replicas.reserve_exact(1);
        replicas.push(Replica { worker, role, answer: None, spare });
        Ok(())
    }

    fn answered(&mut self, id: TaskId, worker: Address, hash: B256) -> Result<(), ObserveError> {
        if self.task_mut(id)?.position(worker).is_none() {
            // Under a lease from before a restart, or one that was taken back too late.
            self.leased(id, worker)?;
        }
        let task = self.task_mut(id)?;
        let at = task.position(worker).filter(|at| task.replicas[*at].answer.is_none());
        let at = at.ok_or(ObserveError::NoLease(id, worker))?;
        let replica = task.replicas.remove(at);
        task.replicas.push(Replica { answer: Some(hash), ..replica });
        Ok(())
    }

    fn withheld(&mut self, id: TaskId, worker: Address, changes: &mut Changes) -> Result<(), ObserveError> {
        let task = self.task_mut(id)?;
        let at = task.position(worker).ok_or(ObserveError::NoLease(id, worker))?;
        if task.replicas[at].answer.is_none() {
            task.replicas.remove(at);
            self.with_worker(worker, |worker| worker.in_flight = worker.in_flight.saturating_sub(1))?;
        }
        let withheld_max = self.policy.withheld_max;
        let is_too_much = self.with_worker(worker, |worker| {
            worker.withheld = worker.withheld.saturating_add(1);
            worker.withholds(withheld_max)
        })?;
        if is_too_much { self.ban(worker, Cause::Withheld, changes) } else { Ok(()) }
    }

    fn released(&mut self, id: TaskId, worker: Address) -> Result<(), ObserveError> {
        let task = self.task_mut(id)?;
        let at = task.position(worker).filter(|at| task.replicas[*at].answer.is_none());
        let at = at.ok_or(ObserveError::NoLease(id, worker))?;
        task.replicas.remove(at);
        self.with_worker(worker, |worker| worker.in_flight = worker.in_flight.saturating_sub(1))
    }

    fn ban(&mut self, id: Address, cause: Cause, changes: &mut Changes) -> Result<(), ObserveError> {
        let is_new = self.with_worker(id, |worker| worker.ban.replace(cause).is_none())?;
        if is_new {
            changes.blacklisted.push(id);
        }
        Ok(())
    }

    fn pardon(&mut self, id: Address) -> Result<(), ObserveError> {
        let origin = self.workers.get(&id).ok_or(ObserveError::UnknownWorker(id))?.origin;
        for account in origin.accounts() {
            if let Some(account) = self.accounts.get_mut(&account) {
                account.faults = 0;
            }
        }
        self.forget_passes(id)?;
        self.with_worker(id, |worker| {
            worker.ban = None;
            worker.withheld = 0;
            worker.begin_anew();
        })
    }
}
