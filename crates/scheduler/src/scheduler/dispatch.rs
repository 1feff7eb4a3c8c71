//! Match tasks that want a replica with workers that have a free slot: whose turn it is stands in the line.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use gristmill_credibility::{Credibility, Refusal, Role};
use gristmill_types::TaskId;

use super::Scheduler;
use crate::id::WorkerId;
use crate::index::MachineIndex;
use crate::line::Queue;
use crate::task::{Seats, Task, Wants};
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
    /// It is on probation, or not, and the task takes only the others now.
    Unwanted,
    /// Somebody who may be the same person has it, or asked for it.
    Kin,
    /// All its GPUs are taken.
    Gpu,
    /// It does not serve its requester.
    Rights,
    /// It says of itself that it is too slow: its run would be taken back before it ends.
    Slow,
    /// Its machine and what the task requires, or what it requires and the task, do not match.
    Machine,
    /// Another engine.
    Profile,
    /// It does not offer what the task needs.
    Needs,
    /// Too little stake.
    Stake,
}

/// Runs of numbers that a worker remembers of the tasks it has had; past that it forgets those of tasks that are over, or all.
const TRIED_RUNS_MAX: usize = 4_096;
/// Tasks of a deal that are looked at although somebody who may be the same person has them.
const KIN_MAX: u32 = 64;
/// Of so many tasks that a worker may have next the pool's secret draws: nobody can arrange to meet a friend.
const DRAWN_TASKS: usize = 4;
/// Tasks of a deal that are looked at although the one before asks for what the worker does not have: they nearly always ask for the
/// same.
const UNFIT_MAX: u32 = 4;

/// What decides whether a worker fits a task, besides the two.
#[derive(Clone, Copy)]
pub(super) struct Fitting<'a> {
    pub now_ms: u64,
    /// Leases of a task that a host which failed at it may have once more.
    pub retries: u32,
    pub credibility: Option<&'a Credibility>,
    /// `None`: what they require of each other is known to be met.
    pub machines: Option<&'a MachineIndex>,
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
        let tasks = if self.idle.iter().all(BTreeSet::is_empty) { Vec::new() } else { self.in_turn(tasks) };
        // A task goes to a worker that never had it if there is one, and reserves take only what is left.
        let rounds = [
            (Queue::Needy, Fit::New),
            (Queue::Needy, Fit::Again),
            (Queue::Spare, Fit::New),
            (Queue::Probation, Fit::New),
        ];
        for (queue, fit) in rounds {
            for worker in &workers {
                self.feed(*worker, queue, fit);
            }
            for task in &tasks {
                self.staff(*task, queue, fit);
            }
        }
        // Granting made workers fresh again, which were just tried.
        self.fresh_workers.clear();
    }

    /// Tasks that came together, in the order in which their requesters' turns would come.
    fn in_turn(&self, tasks: BTreeSet<(u64, TaskId)>) -> Vec<TaskId> {
        let mut given = BTreeMap::new();
        let mut turns = Vec::with_capacity(tasks.len());
        for (number, id) in tasks {
            let Some(task) = self.tasks.get(&id) else { continue };
            let requester = task.spec.requester;
            let turn = given.entry(requester).or_insert_with(|| self.line.given(requester));
            turns.push((*turn, number, id));
            *turn = turn.saturating_add(task.cost());
        }
        turns.sort_unstable();
        turns.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Gives a worker the next tasks of a queue, until its slots are full.
    fn feed(&mut self, id: WorkerId, queue: Queue, fit: Fit) {
        while self.workers.get(&id).is_some_and(|worker| worker.idle.is_some()) {
            let next = if fit == Fit::Again { self.next_again(id, queue) } else { self.next_new(id, queue) };
            let Some(task) = next else { return };
            self.grant(task, id);
        }
    }

    /// The next task of a queue that this worker may have and never had.
    fn next_new(&mut self, id: WorkerId, queue: Queue) -> Option<TaskId> {
        let worker = self.workers.get(&id)?;
        // Whether the machine matches is found out once, below.
        let known = Fitting { machines: None, ..self.fitting(worker) };
        let (mut learned, mut asked) = (Vec::new(), None);
        let found = self.line.deals(queue).find_map(|deal| {
            let (mut from, mut unfit, mut kin) = (0, 0, 0);
            // All tasks of a deal ask for the same, and so do those of most deals.
            let of_deal = self.deals.get(&deal.1)?;
            if worker.is_too_slow(of_deal.speed_min) {
                return None;
            }
            if let Some(demand) = of_deal.demand {
                let same = asked.filter(|(before, _)| *before == demand);
                let (_, matches) = *asked.insert(same.unwrap_or_else(|| (demand, self.machines.matches(demand, id))));
                if !matches {
                    return None;
                }
            }
            let mut fitting = Vec::new();
            while unfit < UNFIT_MAX && kin < KIN_MAX && fitting.len() < self.drawn(DRAWN_TASKS) {
                let Some((number, id_of_task)) = self.line.next(queue, deal, &worker.profile, from) else { break };
                from = worker.tried.first_absent(number);
                if from > number {
                    continue;
                }
                from = number + 1;
                let Some(task) = self.tasks.get(&id_of_task) else { continue };
                match known.fit(task, id, worker) {
                    Fit::New => fitting.push(id_of_task),
                    Fit::Again | Fit::Tried => learned.push(number),
                    Fit::Kin => kin += 1,
                    Fit::Unwanted
                    | Fit::Gpu
                    | Fit::Rights
                    | Fit::Slow
                    | Fit::Machine
                    | Fit::Profile
                    | Fit::Needs
                    | Fit::Stake => unfit += 1,
                }
            }
            fitting.into_iter().min_by_key(|task| self.draw(*task, id))
        });
        // A worker that had a task is never new to it again.
        let first_open = self.numbers.first_from(0).map_or(u64::MAX, |(number, ())| number);
        let worker = self.workers.get_mut(&id)?;
        learned.into_iter().for_each(|number| worker.tried.insert(number));
        if worker.tried.len() > TRIED_RUNS_MAX {
            worker.tried.forget_below(first_open);
        }
        if worker.tried.len() > TRIED_RUNS_MAX {
            worker.tried.clear();
        }
        found
    }

    /// The first task of a queue that this worker may have again.
    fn next_again(&self, id: WorkerId, queue: Queue) -> Option<TaskId> {
        let worker = self.workers.get(&id)?;
        let fits = |task: &Task| task.is_in(queue) && self.fit(task, id, worker) == Fit::Again;
        worker.again.iter().map(|(_, task)| *task).find(|task| self.tasks.get(task).is_some_and(fits))
    }

    /// Gives a task of this queue to the best idle workers, until it wants no more.
    fn staff(&mut self, id: TaskId, queue: Queue, fit: Fit) {
        while let Some(task) = self.tasks.get(&id).filter(|task| task.is_in(queue)) {
            let [voters, newcomers] = &self.idle;
            if (voters.is_empty() || !task.seats.vote) && (newcomers.is_empty() || !task.seats.probation) {
                return;
            }
            let Some(worker) = self.best_for(id, fit) else { return };
            self.grant(id, worker);
        }
    }

    /// Among how many is drawn; who goes by the hub alone takes the first.
    fn drawn(&self, among: usize) -> usize {
        if self.credibility.is_some() { among } else { 1 }
    }

    fn draw(&self, task: TaskId, worker: WorkerId) -> u64 {
        self.credibility.as_ref().map_or(0, |credibility| credibility.order(task, worker.0))
    }

    /// Whether this worker, were it free, could take this task.
    pub(super) fn fit(&self, task: &Task, id: WorkerId, worker: &Worker) -> Fit {
        self.fitting(worker).fit(task, id, worker)
    }

    fn fitting(&self, worker: &Worker) -> Fitting<'_> {
        let (now_ms, retries) = (self.now_ms, self.policy.host_fault_retries);
        // What a task requires of a machine is for those to look at who run it elsewhere.
        let (credibility, machines) = (self.credibility.as_ref(), Some(&self.machines));
        let machines = machines.filter(|_| !worker.is_overflow());
        Fitting { now_ms, retries, credibility, machines }
    }
}

impl Fitting<'_> {
    /// Whether this worker, were it free, could take this task.
    pub(super) fn fit(&self, task: &Task, id: WorkerId, worker: &Worker) -> Fit {
        if task.replicas.contains_key(&id) || task.seen.contains_key(&id) {
            return Fit::Tried;
        }
        let fit = match task.attempts.get(&id) {
            None => Fit::New,
            Some(attempt) => match attempt.retry_ms {
                Some(at_ms) if at_ms <= self.now_ms && attempt.leases <= self.retries => Fit::Again,
                _ => return Fit::Tried,
            },
        };
        if worker.serves.as_ref().is_some_and(|served| !served.contains(&task.spec.requester)) {
            return Fit::Rights;
        }
        if worker.is_too_slow(task.speed_min) {
            return Fit::Slow;
        }
        if let (Some(machines), Some(demand)) = (self.machines, task.demand)
            && !machines.matches(demand, id)
        {
            return Fit::Machine;
        }
        if task.profile.as_ref().is_some_and(|profile| *profile != worker.profile) {
            return Fit::Profile;
        }
        if !task.spec.needs.without(worker.offers.needs()).is_none() {
            return Fit::Needs;
        }
        if !worker.lacks_stake(task.stake()).is_zero() {
            return Fit::Stake;
        }
        if let Some(credibility) = self.credibility {
            let takes = |role: Role| match role {
                Role::Vote => task.seats.vote,
                Role::Probation => task.seats.probation,
            };
            match credibility.may_join(id.0, task.id()) {
                Ok(role) if takes(role) => {}
                Err(Refusal::Shares(..) | Refusal::OwnTask) if credibility.role_of(id.0).is_some_and(takes) => {
                    return Fit::Kin;
                }
                _ => return Fit::Unwanted,
            }
        }
        if task.spec.needs.gpu && !worker.has_gpu() {
            return Fit::Gpu;
        }
        fit
    }
}

impl Scheduler {
    /// Sets what a task wants, after something about it changed.
    pub(super) fn reindex(&mut self, id: TaskId) {
        if let Some(mut task) = self.tasks.remove(&id) {
            task.stance = self.shared_stance(&task);
            self.index(&mut task);
            self.tasks.insert(id, task);
        }
    }

    /// The same, of a task that is out of the map.
    pub(super) fn index(&mut self, task: &mut Task) {
        let (wants, seats) =
            if self.is_leasable(task) { self.wanted(task) } else { (Wants::Nothing, Seats::default()) };
        let key = (task.order, task.id());
        let (requester, deal) = (task.spec.requester, task.spec.deal);
        let queue = match wants {
            Wants::Replica => Some(Queue::Needy),
            Wants::Reserve => Some(Queue::Spare),
            Wants::Probation => Some(Queue::Probation),
            Wants::Nothing => None,
        };
        if !task.stands_in(queue) {
            if let Some(place) = task.take_place() {
                self.line.leave(requester, deal, &place, key);
            }
            if let Some(queue) = queue {
                let place = task.give_place(queue);
                self.line.enter(requester, deal, &place, key);
            }
        }
        task.wants = wants;
        task.seats = seats;
        match queue {
            None => self.fresh_tasks.remove(&key),
            Some(_) => self.fresh_tasks.insert(key),
        };
        self.arm(task);
    }
}
