//! The pool's process: it feeds its scheduler and does what it says. It dies, and is built anew from the ledger.

use alloy_primitives::Address;
use gristmill_credibility::{Credibility, Seed};
use gristmill_poco::Contribution;
use gristmill_poco::model::result_hash;
use gristmill_scheduler::{
    Call, DeclineReason, Effect, Event, HeldResult, LedgerState, Scheduler, SeenConsensus, SeenContribution, TaskSpec,
    WorkerId,
};
use gristmill_types::{Needs, TaskId};

use super::{RunError, World};
use crate::agenda::Act;
use crate::config::Kind;
use crate::dice::{Dice, Domain};
use crate::host::{Down, Up, whose};
use crate::ledger::Transaction;

/// A whitewasher that was banned comes back after so long.
const RENAME_MS: u64 = 60_000;

impl World<'_> {
    /// Tells the scheduler, if there is one, and does what it says.
    pub(super) fn tell(&mut self, events: Vec<Event>) {
        let Some(scheduler) = &mut self.pool.scheduler else { return };
        self.measure.scheduler_events += events.len() as u64;
        let effects = scheduler.handle_all(self.now_ms, events);
        for effect in effects {
            self.trace.effect(self.now_ms, &effect);
            self.take_effect(effect);
        }
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Lease { lease, task, worker, heartbeat_ms, .. } => {
                let Some(number) = self.number(task) else { return };
                self.leased(number);
                self.pass_on(worker, Down::Lease { task: number, lease, heartbeat_ms });
            }
            Effect::RevokeLease { lease, worker, .. } => {
                self.measure.revoked += 1;
                self.pass_on(worker, Down::Revoke { lease });
            }
            Effect::Authorise { task, worker, solo, .. } => {
                if let Some(task) = self.number(task) {
                    self.pass_on(worker, Down::Contribute { task, solo });
                }
            }
            Effect::AskReveal { task, worker } => {
                if let Some(task) = self.number(task) {
                    self.pass_on(worker, Down::Reveal { task });
                }
            }
            Effect::OpenUpload { task, worker, digest } => {
                let (Some(task), Some((host, incarnation))) = (self.number(task), whose(worker.0)) else { return };
                let upload = self.tasks[task as usize].uploads.iter().find(|upload| upload.worker == worker.0);
                let matches = upload.is_some_and(|upload| upload.digest == digest);
                let life = self.pool.life;
                self.plan(self.config.network.open_ms, Act::Opened { host, incarnation, task, matches, life });
            }
            Effect::Finalize { task, .. } => {
                let opened = self.number(task).is_some_and(|number| self.tasks[number as usize].opened);
                assert!(opened, "seed {}: task {task} is finalised without bytes", self.config.seed);
                self.call(Call::Finalize, task);
            }
            Effect::Reopen { task } => self.call(Call::Reopen, task),
            Effect::Claim { task } => self.call(Call::Claim, task),
            Effect::Concede { task } => self.call(Call::Concede, task),
            Effect::Ban { worker, .. } => self.banned(worker.0),
            Effect::Forget { .. } | Effect::Note { .. } => {}
        }
    }

    fn call(&mut self, call: Call, task: TaskId) {
        if let Some(task) = self.number(task) {
            self.send(Transaction::Hub { call, task });
        }
    }

    fn number(&self, task: TaskId) -> Option<u32> {
        self.task_numbers.get(&task).copied()
    }

    /// To a worker under its present name.
    fn pass_on(&mut self, worker: WorkerId, message: Down) {
        if let Some(host) = self.host_of(worker.0) {
            self.tell_worker(host, message);
        }
    }

    pub(super) fn host_of(&self, worker: Address) -> Option<u32> {
        let (host, incarnation) = whose(worker)?;
        (self.hosts.get(host as usize)?.incarnation == incarnation).then_some(host)
    }

    fn leased(&mut self, task: u32) {
        let now_ms = self.now_ms;
        let bag = &mut self.bags[self.tasks[task as usize].bag as usize];
        bag.leases += 1;
        bag.first_lease_ms.get_or_insert(now_ms);
        self.measure.leases += 1;
    }

    fn banned(&mut self, worker: Address) {
        self.pool.banned.insert(worker);
        self.measure.bans += 1;
        let Some(index) = self.host_of(worker) else { return };
        self.caught(index);
        if self.hosts[index as usize].kind == Kind::Whitewashing {
            self.plan(RENAME_MS, Act::Rename { host: index });
        }
    }

    /// A worker said something.
    pub(super) fn heard(&mut self, index: u32, message: Up) {
        let worker = WorkerId(crate::host::name(index, self.hosts[index as usize].incarnation));
        let event = match message {
            Up::Ready { task, lease } => {
                let record = &self.tasks[task as usize];
                if record.ended {
                    return;
                }
                let id = record.id;
                let digest = self.keep_upload(index, task);
                Event::ResultReady { worker, task: id, lease, result_hash: result_hash(id, digest) }
            }
            Up::Busy { lease } => Event::LeaseDeclined { lease, reason: DeclineReason::Busy },
            Up::Unable { lease } => {
                let reason = DeclineReason::Unable("too slow for the category".to_owned());
                Event::LeaseDeclined { lease, reason }
            }
            Up::Refused { task } => {
                let (task, reason) = (self.tasks[task as usize].id, "refused".to_owned());
                Event::ContributionFailed { task, worker, reason }
            }
        };
        self.tell(vec![event]);
    }

    pub(super) fn upload_opened(&mut self, worker: Address, task: u32, matches: bool, life: u32) {
        if self.pool.life == life {
            let record = &mut self.tasks[task as usize];
            record.opened |= matches;
            let event = Event::UploadOpened { task: record.id, worker: WorkerId(worker), matches };
            self.tell(vec![event]);
        }
    }

    pub(super) fn hear_block(&mut self, life: u32) {
        if self.pool.life == life
            && let Some(events) = self.pool.heard.pop_front()
        {
            self.tell(events);
        }
    }

    pub(super) fn pool_crash(&mut self) {
        let Some(mut scheduler) = self.pool.scheduler.take() else { return };
        self.pool.memories.extend(scheduler.take_memories().into_iter().map(|memory| (memory.key(), memory)));
        self.measure.pool_crashes += 1;
        // The service keeps it durably ahead.
        self.pool.fence = scheduler.next_fence();
        self.pool.life += 1;
        self.pool.heard.clear();
        for index in 0..self.config.hosts.count {
            self.hosts[index as usize].pool.session = None;
            self.hang_up(index);
            self.plan_dial(index);
        }
        self.plan(self.config.faults.pool_restart_s.saturating_mul(1000), Act::PoolStart);
    }

    /// A scheduler that knows no task and no worker but what the pool's journal has of it.
    pub(super) fn new_scheduler(&self) -> Result<Scheduler, RunError> {
        let scheduler = Scheduler::new(self.config.scheduler.clone(), self.pool.fence);
        if self.config.by_hub_alone {
            return Ok(scheduler);
        }
        let seed = Seed(Dice::stream(self.config.seed, Domain::Credibility, u64::MAX).bytes());
        let memories = self.pool.memories.values().cloned();
        Ok(scheduler.believing(Credibility::recall(self.config.credibility.clone(), seed, memories)?))
    }

    /// A new scheduler, from the ledger and the pool's journal. The workers dial by themselves.
    pub(super) fn pool_start(&mut self) {
        let mut scheduler = match self.new_scheduler() {
            Ok(scheduler) => scheduler,
            Err(error) => {
                self.fault.get_or_insert(error);
                return;
            }
        };
        let bans = self
            .pool
            .banned
            .iter()
            .map(|worker| Event::WorkerBanned { worker: WorkerId(*worker), reason: "banned before".to_owned() });
        scheduler.handle_all(self.now_ms, bans);
        self.pool.scheduler = Some(scheduler);
        let open = self.open.iter().filter_map(|task| self.spec(*task));
        let added = open.map(|spec| Event::TaskAdded(Box::new(spec))).collect();
        self.tell(added);
        if self.now_ms < self.end_ms() {
            self.plan_pool_crash();
        }
    }

    /// A task as the ledger and the pool's journal have it.
    pub(super) fn spec(&self, number: u32) -> Option<TaskSpec> {
        let record = &self.tasks[number as usize];
        let books = self.ledger.model.books();
        let (task, terms) = (books.tasks.get(&record.id)?, books.terms_of(record.id)?);
        let seen = |(worker, vote): (Address, &Contribution)| SeenContribution {
            worker: WorkerId(worker),
            hash: vote.hash,
            weight: vote.weight,
            status: vote.status,
        };
        let held =
            record.uploads.iter().filter(|upload| upload.held && !task.contributions.contains_key(&upload.worker));
        let reveal_deadline_ms = task.reveal_deadline.saturating_mul(1000);
        let ledger = LedgerState {
            contributions: task.votes().map(seen).collect(),
            consensus: task.consensus.map(|hash| SeenConsensus { hash, reveal_deadline_ms }),
            digest: task.digest,
            earlier_digests: task.revealed.values().copied().collect(),
            recomputed: task.recomputed,
            concede_effective_ms: task.conceded_at.map(|at| at.saturating_mul(1000)),
            held: held
                .map(|upload| HeldResult {
                    worker: WorkerId(upload.worker),
                    result_hash: result_hash(record.id, upload.digest),
                })
                .collect(),
        };
        Some(TaskSpec {
            task: record.id,
            deal: task.deal,
            requester: terms.requester,
            trust: terms.trust,
            work_clock_ms: terms.work_clock_s.saturating_mul(1000),
            contribution_deadline_ms: terms.contribution_deadline().saturating_mul(1000),
            final_deadline_ms: terms.final_deadline().saturating_mul(1000),
            stake: terms.worker_stake,
            profile: None,
            needs: Needs::NONE,
            demand: self.demands[self.bags[record.bag as usize].jobs].clone(),
            refusal: None,
            ledger,
        })
    }
}
