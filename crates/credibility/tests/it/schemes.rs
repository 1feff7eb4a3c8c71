//! The schemes that are compared: voting, BOINC's rule, PoCo's rule, Sarmenta's with an oracle, and this crate, alone and with PoCo's rule.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use gristmill_credibility::adaptive::{Host, QUORUM};
use gristmill_credibility::{
    AddressRange, Changes, Credibility, Event, Origin, Policy, Role, Seed, TaskSpec, Verdict, formula,
};
use gristmill_poco::consensus::{Tally, score_after_fault, weight};
use gristmill_types::{TaskId, Trust};

use crate::market::{Dice, Scheme};

/// Answers to a job, and who still computes one.
#[derive(Clone, Default)]
struct Job {
    answers: Vec<(usize, u64)>,
    held: BTreeSet<usize>,
}

impl Job {
    fn knows(&self, worker: usize) -> bool {
        self.held.contains(&worker) || self.answers.iter().any(|(by, _)| *by == worker)
    }

    fn most(&self) -> Option<(u64, usize)> {
        let mut counts = BTreeMap::<u64, usize>::new();
        self.answers.iter().for_each(|(_, value)| *counts.entry(*value).or_default() += 1);
        counts.into_iter().max_by_key(|(value, count)| (*count, u64::MAX - value))
    }
}

/// The jobs that are not accepted yet; those that were begun come first.
struct Queue {
    jobs: usize,
    begun: usize,
    open: BTreeMap<usize, Job>,
    touched: BTreeSet<usize>,
}

impl Queue {
    fn new(jobs: usize) -> Self {
        Self { jobs, begun: 0, open: BTreeMap::new(), touched: BTreeSet::new() }
    }

    /// The first open job that wants one more and that this worker does not know, or a new one.
    fn take(&mut self, worker: usize, wants: impl Fn(&Job) -> bool) -> Option<usize> {
        let fits = |(_, job): &(&usize, &Job)| !job.knows(worker) && wants(job);
        let id = match self.open.iter().find(fits) {
            Some((id, _)) => *id,
            None if self.begun < self.jobs => {
                self.begun += 1;
                self.begun - 1
            }
            None => return None,
        };
        self.open.entry(id).or_default().held.insert(worker);
        Some(id)
    }

    fn answer(&mut self, worker: usize, id: usize, value: Option<u64>) {
        let Some(job) = self.open.get_mut(&id) else { return };
        job.held.remove(&worker);
        job.answers.extend(value.map(|value| (worker, value)));
        self.touched.insert(id);
    }

    /// Closes what is decided.
    fn close(&mut self, decide: impl Fn(&Job) -> Option<u64>) -> Vec<(usize, u64, Job)> {
        let touched = std::mem::take(&mut self.touched);
        let decided = touched.into_iter().filter_map(|id| Some((id, decide(self.open.get(&id)?)?)));
        let decided = decided.collect::<Vec<_>>();
        decided.into_iter().filter_map(|(id, value)| Some((id, value, self.open.remove(&id)?))).collect()
    }
}

/// m-first voting.
pub struct Voting {
    m: usize,
    queue: Queue,
}

impl Voting {
    pub fn new(jobs: usize, m: usize) -> Self {
        Self { m, queue: Queue::new(jobs) }
    }
}

impl Scheme for Voting {
    fn join(&mut self, _: usize) {}

    fn next(&mut self, worker: usize) -> Option<usize> {
        let m = self.m;
        self.queue.take(worker, |job| job.most().map_or(0, |(_, count)| count) + job.held.len() < m)
    }

    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>) {
        self.queue.answer(worker, job, value);
    }

    fn accepted(&mut self) -> Vec<(usize, u64)> {
        let m = self.m;
        let decided = self.queue.close(|job| job.most().filter(|(_, count)| *count >= m).map(|(value, _)| value));
        decided.into_iter().map(|(id, value, _)| (id, value)).collect()
    }

    fn is_barred(&self, _: usize) -> bool {
        false
    }
}

/// BOINC's adaptive replication.
pub struct Boinc {
    queue: Queue,
    hosts: BTreeMap<usize, Host>,
    /// Jobs whose one result is taken alone.
    single: BTreeSet<usize>,
    dice: Dice,
}

impl Boinc {
    pub fn new(jobs: usize, seed: u64) -> Self {
        Self { queue: Queue::new(jobs), hosts: BTreeMap::new(), single: BTreeSet::new(), dice: Dice(seed ^ 0xb01c) }
    }
}

impl Scheme for Boinc {
    fn join(&mut self, worker: usize) {
        self.hosts.insert(worker, Host::default());
    }

    fn next(&mut self, worker: usize) -> Option<usize> {
        let begun = self.queue.begun;
        let single = &self.single;
        let wants = |job: &Job| job.most().map_or(0, |(_, count)| count) + job.held.len() < QUORUM;
        let open = self.queue.open.iter().filter(|(id, _)| !single.contains(id));
        if let Some(id) = open.clone().find(|(_, job)| !job.knows(worker) && wants(job)).map(|(id, _)| *id) {
            self.queue.open.entry(id).or_default().held.insert(worker);
            return Some(id);
        }
        let id = self.queue.take(worker, |_| false)?;
        if self.queue.begun > begun && !self.hosts[&worker].replicates(self.dice.fraction()) {
            self.single.insert(id);
        }
        Some(id)
    }

    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>) {
        if value.is_none() {
            self.hosts.entry(worker).or_default().invalid();
            // Nobody's any more: the next one decides anew whether it is taken alone.
            self.single.remove(&job);
        }
        self.queue.answer(worker, job, value);
    }

    fn accepted(&mut self) -> Vec<(usize, u64)> {
        let mut decided =
            self.queue.close(|job| job.most().filter(|(_, count)| *count >= QUORUM).map(|(value, _)| value));
        let alone = self.single.iter().filter(|id| self.queue.open.get(id).is_some_and(|job| !job.answers.is_empty()));
        for id in alone.copied().collect::<Vec<_>>() {
            self.single.remove(&id);
            let job = self.queue.open.remove(&id).unwrap();
            decided.push((id, job.answers[0].1, job));
        }
        for (_, value, job) in &decided {
            let replicated = job.answers.len() > 1;
            for (worker, answer) in &job.answers {
                let host = self.hosts.entry(*worker).or_default();
                if answer == value { host.valid(replicated) } else { host.invalid() }
            }
        }
        decided.into_iter().map(|(id, value, _)| (id, value)).collect()
    }

    fn is_barred(&self, _: usize) -> bool {
        false
    }
}

/// Scores as the hub keeps them.
#[derive(Default)]
struct Scores(BTreeMap<usize, u64>);

impl Scores {
    fn of(&self, worker: usize) -> u64 {
        self.0.get(&worker).copied().unwrap_or(0)
    }

    fn settle(&mut self, answers: &[(usize, u64)], accepted: u64) {
        for (worker, value) in answers {
            let score = self.0.entry(*worker).or_default();
            if *value != accepted {
                *score = score_after_fault(*score);
            } else if answers.len() > 1 {
                *score += 1;
            }
        }
    }
}

fn hash(value: u64) -> B256 {
    B256::from(U256::from(value))
}

/// PoCo's rule alone.
pub struct Poco {
    trust: Trust,
    queue: Queue,
    scores: Scores,
}

impl Poco {
    pub fn new(jobs: usize, trust: u64, score: u64, workers: usize) -> Self {
        let scores = Scores((0..workers).map(|worker| (worker, score)).collect());
        Self { trust: Trust::new(trust), queue: Queue::new(jobs), scores }
    }

    fn decided(trust: Trust, scores: &Scores, job: &Job, with_held: bool) -> Option<u64> {
        let mut tally = Tally::new();
        job.answers.iter().for_each(|(worker, value)| tally.add(hash(*value), weight(scores.of(*worker))).unwrap());
        let leader = tally.leader().unwrap_or_default();
        if with_held {
            job.held.iter().for_each(|worker| tally.add(leader, weight(scores.of(*worker))).unwrap());
        }
        let reached = tally.reaches(leader, trust).unwrap();
        reached.then(|| U256::from_be_bytes(leader.0).to::<u64>())
    }
}

impl Scheme for Poco {
    fn join(&mut self, _: usize) {}

    fn next(&mut self, worker: usize) -> Option<usize> {
        let (trust, scores) = (self.trust, &self.scores);
        self.queue.take(worker, |job| Self::decided(trust, scores, job, true).is_none())
    }

    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>) {
        self.queue.answer(worker, job, value);
    }

    fn accepted(&mut self) -> Vec<(usize, u64)> {
        let (trust, scores) = (self.trust, &self.scores);
        // Scores of others who settled meanwhile may have made a job ready that nobody touched.
        self.queue.touched.extend(self.queue.open.keys());
        let decided =
            self.queue.close(|job| if job.held.is_empty() { Self::decided(trust, scores, job, false) } else { None });
        decided.iter().for_each(|(_, value, job)| self.scores.settle(&job.answers, *value));
        decided.into_iter().map(|(id, value, _)| (id, value)).collect()
    }

    fn is_barred(&self, _: usize) -> bool {
        false
    }
}

/// Sarmenta's scheme as published: spotter jobs whose answer an oracle knows, and the credibilities in closed form.
pub struct Spotters {
    error: f64,
    share: f64,
    saboteurs: f64,
    queue: Queue,
    unfinished: Vec<usize>,
    checks: BTreeMap<usize, u32>,
    barred: BTreeSet<usize>,
    blacklisting: bool,
    dice: Dice,
}

/// A job that every worker may get, whose answer is known.
const SPOTTER: usize = usize::MAX;
/// Draws until a worker finds a job that is new to it.
const DRAWS_MAX: usize = 20;

impl Spotters {
    pub fn new(jobs: usize, saboteurs: f64, error: f64, share: f64, blacklisting: bool, seed: u64) -> Self {
        let (mut queue, dice) = (Queue::new(jobs), Dice(seed ^ 0x5907));
        queue.open = (0..jobs).map(|id| (id, Job::default())).collect();
        let (checks, barred, unfinished) = (BTreeMap::new(), BTreeSet::new(), (0..jobs).collect());
        Self { error, share, saboteurs, queue, unfinished, checks, barred, blacklisting, dice }
    }

    fn credibility(&self, worker: usize) -> f64 {
        let checks = self.checks.get(&worker).copied().unwrap_or(0);
        match self.blacklisting {
            true => formula::credibility_blacklisting(self.saboteurs, checks),
            false => formula::credibility_no_blacklisting(self.saboteurs, checks),
        }
    }

    fn decided(&self, job: &Job, with_held: bool) -> Option<u64> {
        let answers = job.answers.iter().filter(|(worker, _)| !self.barred.contains(worker));
        let mut groups = BTreeMap::<u64, Vec<f64>>::new();
        answers.for_each(|(worker, value)| groups.entry(*value).or_default().push(self.credibility(*worker)));
        if with_held {
            let held = job.held.iter().map(|worker| self.credibility(*worker));
            let likely =
                |group: &Vec<f64>| group.iter().map(|credibility| credibility / (1.0 - credibility)).product::<f64>();
            let leader =
                groups.iter().max_by(|a, b| likely(a.1).total_cmp(&likely(b.1))).map_or(0, |(value, _)| *value);
            groups.entry(leader).or_default().extend(held);
        }
        let list = groups.values().cloned().collect::<Vec<_>>();
        let credibilities = formula::group_credibilities(&list);
        let enough = groups.keys().zip(credibilities).find(|(_, credibility)| *credibility >= 1.0 - self.error);
        enough.map(|(value, _)| *value)
    }
}

impl Scheme for Spotters {
    fn join(&mut self, worker: usize) {
        self.checks.insert(worker, 0);
    }

    fn next(&mut self, worker: usize) -> Option<usize> {
        if self.barred.contains(&worker) {
            return None;
        }
        if self.dice.fraction() < self.share {
            return Some(SPOTTER);
        }
        // Any unfinished job, drawn blindly, as in the published simulations; of a few drawn the first that is new to the worker.
        let drawn = (0..DRAWS_MAX).map(|_| self.unfinished[self.dice.below(self.unfinished.len())]).collect::<Vec<_>>();
        let id = drawn.into_iter().find(|id| !self.queue.open[id].knows(worker))?;
        self.queue.open.entry(id).or_default().held.insert(worker);
        Some(id)
    }

    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>) {
        if job != SPOTTER {
            self.queue.answer(worker, job, value);
        } else if value == Some(crate::market::RIGHT) {
            *self.checks.entry(worker).or_default() += 1;
        } else {
            self.checks.insert(worker, 0);
            if self.blacklisting {
                self.barred.insert(worker);
            }
        }
    }

    fn accepted(&mut self) -> Vec<(usize, u64)> {
        let ready = self.queue.open.iter().filter(|(_, job)| job.held.is_empty());
        let decided = ready.filter_map(|(id, job)| Some((*id, self.decided(job, false)?))).collect::<Vec<_>>();
        decided.iter().for_each(|(id, _)| _ = self.queue.open.remove(id));
        self.unfinished = self.queue.open.keys().copied().collect();
        decided
    }

    fn is_barred(&self, worker: usize) -> bool {
        self.barred.contains(&worker)
    }
}

/// This crate.
pub struct Ours {
    pub credibility: Credibility,
    trust: Trust,
    by_hub: bool,
    jobs: usize,
    begun: usize,
    /// Open tasks, and of which attempt at which job they are.
    open: BTreeMap<TaskId, (usize, u32)>,
    /// Those that want something.
    wanting: BTreeSet<TaskId>,
    touched: BTreeSet<TaskId>,
    holds: BTreeMap<(usize, usize), TaskId>,
    answers: BTreeMap<TaskId, Vec<(usize, u64)>>,
    scores: Scores,
    /// What was observed, in order.
    pub log: Vec<Event>,
}

impl Ours {
    pub fn new(jobs: usize, policy: Policy, trust: u64, by_hub: bool, seed: u64) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            credibility: Credibility::new(policy, Seed(bytes)).unwrap(),
            trust: Trust::new(trust),
            by_hub,
            jobs,
            begun: 0,
            open: BTreeMap::new(),
            wanting: BTreeSet::new(),
            touched: BTreeSet::new(),
            holds: BTreeMap::new(),
            answers: BTreeMap::new(),
            scores: Scores::default(),
            log: Vec::new(),
        }
    }

    /// Everybody has this score on the ledger.
    pub fn with_scores(mut self, workers: usize, score: u64) -> Self {
        self.scores = Scores((0..workers).map(|worker| (worker, score)).collect());
        self
    }

    pub fn name(worker: usize) -> Address {
        Address::left_padding_from(&(worker as u64 + 1).to_be_bytes())
    }

    /// Who is behind a worker: somebody of its own.
    pub fn origin(worker: usize) -> Origin {
        let [.., a, b, c] = (worker as u64 + 1).to_be_bytes();
        let account = |part: u8| Address::left_padding_from(&[[part; 8], (worker as u64 + 1).to_be_bytes()].concat());
        Origin { owner: account(1), range: AddressRange::V4([a, b, c]), stake_source: account(2) }
    }

    fn observe(&mut self, event: Event) -> Changes {
        self.log.push(event.clone());
        self.credibility.observe(event).unwrap()
    }

    fn open_next(&mut self, job: usize, attempt: u32) {
        let task = TaskId(B256::from(U256::from(job as u64 + 1) << 32 | U256::from(attempt)));
        let requester = Address::repeat_byte(0xee);
        self.observe(Event::TaskOpened(TaskSpec { task, trust: self.trust, requester, by_hub: self.by_hub }));
        self.open.insert(task, (job, attempt));
        self.wanting.insert(task);
    }

    fn lease(&mut self, worker: usize, task: TaskId) -> usize {
        let role = self.credibility.may(Self::name(worker), task);
        assert!(matches!(role, Ok(Role::Vote | Role::Probation)));
        self.observe(Event::Leased { task, worker: Self::name(worker) });
        self.review(task);
        let job = self.open[&task].0;
        self.holds.insert((worker, job), task);
        job
    }

    fn review(&mut self, task: TaskId) {
        let wants = self.credibility.wants(task);
        if wants.vote || wants.check || wants.probation {
            self.wanting.insert(task);
        } else {
            self.wanting.remove(&task);
        }
    }

    fn settle(&mut self, task: TaskId, value: u64) {
        let answers = self.answers.remove(&task).unwrap_or_default();
        self.observe(Event::Settled { task, accepted: Some(hash(value)) });
        if self.by_hub {
            self.scores.settle(&answers, value);
            for (worker, _) in answers {
                let score = self.scores.of(worker);
                self.observe(Event::WorkerScored { worker: Self::name(worker), score });
            }
        }
    }
}

impl Scheme for Ours {
    fn join(&mut self, worker: usize) {
        let score = self.scores.of(worker);
        self.observe(Event::WorkerJoined { worker: Self::name(worker), origin: Self::origin(worker), score });
    }

    fn next(&mut self, worker: usize) -> Option<usize> {
        let name = Self::name(worker);
        let mut fresh = false;
        for task in &self.wanting {
            match self.credibility.may(name, *task) {
                Ok(_) => return Some(self.lease(worker, *task)),
                Err(gristmill_credibility::Refusal::Blacklisted(_)) => return None,
                Err(_) => fresh |= !self.answers.contains_key(task) && self.credibility.wants(*task).vote,
            }
        }
        if fresh || self.begun == self.jobs {
            return None;
        }
        self.open_next(self.begun, 0);
        self.begun += 1;
        let task = *self.open.last_key_value()?.0;
        self.credibility.may(name, task).ok().map(|_| self.lease(worker, task))
    }

    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>) {
        let task = self.holds.remove(&(worker, job)).unwrap();
        let name = Self::name(worker);
        match value {
            Some(value) => {
                self.observe(Event::Answered { task, worker: name, hash: hash(value) });
                self.answers.entry(task).or_default().push((worker, value));
            }
            None => _ = self.observe(Event::Withheld { task, worker: name }),
        }
        self.touched.insert(task);
    }

    fn accepted(&mut self) -> Vec<(usize, u64)> {
        self.touched.clear();
        let mut accepted = Vec::new();
        let mut parked = Vec::new();
        for task in self.open.keys().copied().collect::<Vec<_>>() {
            match self.credibility.verdict(task) {
                Verdict::Accept { hash, .. } => {
                    let value = U256::from_be_bytes(hash.0).to::<u64>();
                    let (job, _) = self.open.remove(&task).unwrap();
                    self.wanting.remove(&task);
                    self.settle(task, value);
                    accepted.push((job, value));
                }
                Verdict::Undecided => parked.push(task),
                Verdict::Open => {}
            }
        }
        // What is full is looked at again when more is known; when nothing else is left it is begun anew.
        if self.begun == self.jobs && parked.len() == self.open.len() {
            for task in parked {
                let (job, attempt) = self.open.remove(&task).unwrap();
                self.answers.remove(&task);
                self.observe(Event::Settled { task, accepted: None });
                self.open_next(job, attempt + 1);
            }
        }
        self.open.keys().copied().collect::<Vec<_>>().into_iter().for_each(|task| self.review(task));
        accepted
    }

    fn is_barred(&self, worker: usize) -> bool {
        self.credibility.blacklist().any(|(name, _)| name == Self::name(worker))
    }
}
