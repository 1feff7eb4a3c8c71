//! Blocks: transactions take effect, and the pool hears of it.

use std::collections::BTreeSet;

use gristmill_poco::{HubEvent, Revert};
use gristmill_scheduler::{Event, WorkerId};
use gristmill_types::TaskId;

use super::{RunError, Task, World};
use crate::agenda::Act;
use crate::dice::{Dice, Domain, to_ms};
use crate::host::{TRUTH, Up, name, whose};
use crate::ledger::Transaction;

impl World<'_> {
    pub(super) fn block(&mut self) {
        self.block_due_ms = None;
        let max = self.config.ledger.transactions_max as usize;
        let mut heard = Vec::new();
        for transaction in self.ledger.begin_block(self.now_ms, max) {
            self.execute(transaction, &mut heard);
        }
        if self.pool.scheduler.is_some() && !heard.is_empty() {
            self.pool.heard.push_back(heard);
            let life = self.pool.life;
            self.plan(self.config.ledger.latency_ms, Act::BlockSeen { life });
        }
        self.plan_block();
    }

    fn execute(&mut self, transaction: Transaction, heard: &mut Vec<Event>) {
        let (now_ms, seed) = (self.now_ms, self.config.seed);
        match transaction {
            Transaction::Match { bag } => self.execute_match(bag, heard),
            Transaction::Contribute { host, incarnation, task, solo } => {
                let (worker, id) = (name(host, incarnation), self.tasks[task as usize].id);
                let digest = self.hosts[host as usize].digest(seed, host, task);
                let outcome = self.ledger.contribute(now_ms, worker, id, digest, solo);
                if let Err(error) = self.land(outcome, heard)
                    && error != Revert::AlreadyContributed(worker)
                    && self.hosts[host as usize].incarnation == incarnation
                {
                    self.say(host, Up::Refused { task });
                }
            }
            Transaction::Reveal { host, incarnation, task } => {
                let (worker, id) = (name(host, incarnation), self.tasks[task as usize].id);
                let digest = self.hosts[host as usize].digest(seed, host, task);
                let outcome = self.ledger.reveal(now_ms, worker, id, digest);
                // Too late, or told twice: nothing more is to be done.
                let _ = self.land(outcome, heard);
            }
            Transaction::Hub { call, task } => {
                let id = self.tasks[task as usize].id;
                let outcome = self.ledger.call(now_ms, call, id);
                if let Err(error) = self.land(outcome, heard) {
                    heard.push(Event::CallFailed { task: id, call, reason: error.to_string() });
                }
            }
        }
    }

    fn execute_match(&mut self, bag: u32, heard: &mut Vec<Event>) {
        self.bags_to_come -= 1;
        let jobs = &self.config.jobs[self.bags[bag as usize].jobs];
        let made = self.ledger.match_bag(self.now_ms, jobs);
        let (deal, events) = match made {
            Ok(made) => made,
            Err(source) => {
                self.fault.get_or_insert(RunError::Refused { bag, source });
                return;
            }
        };
        self.bags[bag as usize].deal = Some(deal);
        for index in 0..u64::from(jobs.tasks) {
            let number = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
            let mut dice = Dice::stream(self.config.seed, Domain::Work, u64::from(number));
            let work_ms = to_ms(jobs.work_s.0 * 1000.0 * libm::exp(jobs.spread.0 * dice.normal()));
            let id = deal.task(index);
            self.task_numbers.insert(id, number);
            self.open.insert(number);
            self.tasks.push(Task {
                id,
                bag,
                work_ms,
                ready_ms: self.now_ms,
                leased: false,
                ended: false,
                public: false,
                opened: false,
                uploads: Vec::new(),
            });
            let spec = self.spec(number);
            heard.extend(spec.map(|spec| Event::TaskAdded(Box::new(spec))));
        }
        // The hub's word on it is nothing new to the pool.
        let _ = self.land(Ok(events), heard);
    }

    /// What a transaction did, for the pool and for the tables.
    fn land(&mut self, outcome: Result<Vec<HubEvent>, Revert>, heard: &mut Vec<Event>) -> Result<(), Revert> {
        let events = outcome?;
        if let Err(error) = self.ledger.log(self.now_ms, &events) {
            self.fault.get_or_insert(error.into());
        }
        let mut concerned = BTreeSet::new();
        for event in &events {
            self.trace.event(self.now_ms, event);
            match event {
                HubEvent::Lock { owner, .. } | HubEvent::Unlock { owner, .. } => {
                    concerned.insert(*owner);
                }
                HubEvent::Reward { owner, amount, .. } => self.measure.gained(self.kind_of(*owner), *amount),
                HubEvent::Seize { owner, amount, .. } => {
                    concerned.insert(*owner);
                    self.measure.lost(self.kind_of(*owner), *amount);
                }
                event => heard.extend(self.translate(event)),
            }
        }
        let books = self.ledger.model.books();
        for owner in concerned.into_iter().filter(|owner| whose(*owner).is_some()) {
            let (score, free_stake) = (books.score(owner), books.account(owner).stake);
            heard.push(Event::WorkerUpdated { worker: WorkerId(owner), score, free_stake });
        }
        Ok(())
    }

    /// An event of a task, for the scheduler.
    fn translate(&mut self, event: &HubEvent) -> Option<Event> {
        let books = self.ledger.model.books();
        match *event {
            HubEvent::TaskContribute { task, worker, hash } => {
                let weight = books.tasks.get(&task)?.contributions.get(&worker)?.weight;
                self.contributed(task, worker);
                Some(Event::ContributionSeen { task, worker: WorkerId(worker), hash, weight })
            }
            HubEvent::TaskConsensus { task, hash } => {
                let reveal_deadline_ms = books.tasks.get(&task)?.reveal_deadline.saturating_mul(1000);
                Some(Event::ConsensusReached { task, hash, reveal_deadline_ms })
            }
            HubEvent::TaskReveal { task, worker, digest } => {
                self.made_public(task);
                Some(Event::RevealSeen { task, worker: WorkerId(worker), digest })
            }
            HubEvent::TaskReopen { task } => Some(Event::TaskReopened { task }),
            HubEvent::TaskFinalize { task, .. } => {
                self.ended(task, true);
                Some(Event::TaskCompleted { task })
            }
            HubEvent::TaskClaimed { task } => {
                self.ended(task, false);
                Some(Event::TaskFailed { task })
            }
            HubEvent::TaskConcede { task, effective_at } => {
                Some(Event::ConcedeSeen { task, effective_at_ms: effective_at.saturating_mul(1000) })
            }
            HubEvent::FaultyContribution { worker, task } => {
                if let Some(index) = self.host_of(worker) {
                    self.caught(index);
                }
                Some(Event::ContributionRejected { task, worker: WorkerId(worker) })
            }
            _ => None,
        }
    }

    fn kind_of(&self, owner: alloy_primitives::Address) -> Option<usize> {
        let (index, _) = whose(owner)?;
        Some(self.hosts.get(index as usize)?.kind.index())
    }

    fn contributed(&mut self, task: TaskId, worker: alloy_primitives::Address) {
        let (Some(number), Some((index, incarnation))) = (self.task_numbers.get(&task), whose(worker)) else { return };
        self.bags[self.tasks[*number as usize].bag as usize].contributions += 1;
        let host = &mut self.hosts[index as usize];
        host.figures.contributions += 1;
        host.figures.wrong += u64::from(host.digest(self.config.seed, index, *number) != TRUTH);
        if host.incarnation == incarnation {
            host.figures.contributions_now += 1;
        }
    }

    /// The ledger or the pool found a host out; counted once for each of its names.
    pub(super) fn caught(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        if !std::mem::replace(&mut host.figures.caught, true) {
            self.measure.kinds[host.kind.index()].catch(host.figures.contributions_now);
        }
    }

    fn made_public(&mut self, task: TaskId) {
        if let Some(number) = self.task_numbers.get(&task) {
            self.tasks[*number as usize].public = true;
        }
    }

    fn ended(&mut self, task: TaskId, completed: bool) {
        let Some(number) = self.task_numbers.get(&task).copied() else { return };
        let digest = self.ledger.model.books().tasks.get(&task).and_then(|record| record.digest);
        let record = &mut self.tasks[number as usize];
        record.ended = true;
        self.open.remove(&number);
        let bag = &mut self.bags[record.bag as usize];
        bag.ended_ms = self.now_ms;
        if completed {
            bag.completed_ms.push(self.now_ms);
            self.measure.completed += 1;
            if digest != Some(TRUTH) {
                bag.wrong += 1;
                self.measure.wrong += 1;
            }
        } else {
            bag.failed += 1;
            self.measure.failed += 1;
        }
    }
}
