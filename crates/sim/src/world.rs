//! The market under its seed: one clock, one agenda, one thread.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use gristmill_credibility::{Memory, PolicyError};
use gristmill_poco::check::{self, LedgerView, Shown, Violation};
use gristmill_poco::{DealTerms, ReplayError, Revert};
use gristmill_scheduler::index::Demand;
use gristmill_scheduler::rank::{REFERENCE_OPERATIONS_PER_SECOND, Work};
use gristmill_scheduler::{Event, Fence, Scheduler};
use gristmill_types::category::FINAL_DEADLINE_RATIO;
use gristmill_types::{Amount, DealId, TaskId, TaskStatus};

use crate::agenda::{Act, Agenda};
use crate::config::{Config, Jobs};
use crate::dice::{Dice, Domain};
use crate::host::{Host, name};
use crate::ledger::{Ledger, POOL, REQUESTER, Transaction};
use crate::measure::{Measure, Sample};
use crate::trace::Trace;

mod link;
mod pool;
mod settle;
mod worker;

/// The ledger's clock when the run begins: some whole second, so that every deadline is well past zero.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
/// Hosts come and go for so long before the run begins, so that it begins in the middle of their lives.
const WARM_UP_MS: u64 = 90 * 24 * 3_600_000;
/// Points of the series over time.
const SAMPLES: u64 = 240;
/// Workers dial within so much after the start.
const FIRST_DIAL_MS: u64 = 5_000;
/// How often it is shown how far a run is, in simulated time.
const SHOWN_EVERY_MS: u64 = 60_000;
/// After its last deadline an open task may take so many of the pool's attempts to claim it.
const CLAIM_MS: u64 = 600_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is simulated already.
    pub simulated_ms: u64,
    /// What is measured: a run goes on after it until every task has ended.
    pub duration_ms: u64,
    /// Tasks that were ordered and have not ended.
    pub open_tasks: u64,
}

/// A run that cannot be believed. No configuration should lead here: it is a fault of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// One of I1 to I8 does not hold.
    #[error("an invariant does not hold at the end of the run")]
    Invariant(#[from] Violation),
    /// The pool cannot believe as it is to.
    #[error("the section `credibility` of the configuration cannot be used: {0}")]
    Belief(#[from] PolicyError),
    /// The ledger's events cannot be replayed.
    #[error("the ledger's events cannot be replayed")]
    Replay(#[from] ReplayError),
    /// The hub refuses a deal.
    #[error("the hub refuses bag {bag}: are its prices more than the hub can hold?")]
    Refused {
        /// Which, in the order of arrival.
        bag: u32,
        /// Why.
        source: Revert,
    },
    /// The scheduler waits for a time that has passed, or a task outlived its last deadline.
    #[error("seed {seed}: the market stands still at {after_ms} ms: {what}")]
    Stuck {
        /// Of the run.
        seed: u64,
        /// Since its start.
        after_ms: u64,
        /// What is waited for.
        what: String,
    },
}

/// A task.
#[derive(Debug)]
pub(crate) struct Task {
    pub id: TaskId,
    pub bag: u32,
    /// On the reference machine.
    pub work_ms: u64,
    pub ready_ms: u64,
    /// A host took a lease of it.
    pub leased: bool,
    pub ended: bool,
    pub public: bool,
    /// The pool opened an upload of it, and it matched.
    pub opened: bool,
    /// The pool's journal: whose sealed results it holds, with the digest to which they open, and whether since before the
    /// first reveal.
    pub uploads: Vec<Upload>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Upload {
    pub worker: Address,
    pub digest: B256,
    pub held: bool,
}

/// A job.
#[derive(Debug)]
pub(crate) struct Bag {
    /// Its kind in the configuration.
    pub jobs: usize,
    pub deal: Option<DealId>,
    pub ordered_ms: u64,
    pub first_lease_ms: Option<u64>,
    /// When its tasks were completed, in order.
    pub completed_ms: Vec<u64>,
    /// How long each run took that brought a result.
    pub runs_ms: Vec<u64>,
    pub failed: u32,
    pub wrong: u32,
    pub leases: u64,
    pub contributions: u64,
    pub ended_ms: u64,
}

/// The pool's process.
pub(crate) struct Pool {
    /// None while it is down.
    pub scheduler: Option<Scheduler>,
    /// Survives its death, as all that its journal has.
    pub fence: Fence,
    pub life: u32,
    pub heard: VecDeque<Vec<Event>>,
    pub banned: BTreeSet<Address>,
    pub memories: BTreeMap<[u8; 21], Memory>,
}

pub(crate) struct World<'a> {
    pub config: &'a Config,
    pub now_ms: u64,
    pub agenda: Agenda,
    pub hosts: Vec<Host>,
    pub tasks: Vec<Task>,
    /// Looked up only, never walked: its order is not the same in two runs.
    pub task_numbers: HashMap<TaskId, u32>,
    pub open: BTreeSet<u32>,
    pub bags: Vec<Bag>,
    pub bags_to_come: usize,
    /// By kind of job.
    pub demands: Vec<Arc<Demand>>,
    pub pool: Pool,
    pub ledger: Ledger,
    block_due_ms: Option<u64>,
    pub measure: Measure,
    pub trace: Trace,
    /// The first fault, which ends the run.
    pub fault: Option<RunError>,
    crash_dice: Dice,
}

/// What the pool is told of a kind of job: what its tasks take in the mean.
fn demand(jobs: &Jobs) -> Demand {
    let operations = (jobs.work_s.0 * REFERENCE_OPERATIONS_PER_SECOND as f64) as u64;
    let upload_bytes = (jobs.output_mb.0 * 1e6) as u64;
    Demand { work: Work { operations, is_known: true, upload_bytes, ..Work::default() }, ..Demand::any() }
}

impl<'a> World<'a> {
    pub fn new(config: &'a Config) -> Result<Self, RunError> {
        let mut world = Self {
            config,
            now_ms: START_MS,
            agenda: Agenda::default(),
            hosts: (0..config.hosts.count).map(|index| Host::draw(config, index)).collect(),
            tasks: Vec::new(),
            task_numbers: HashMap::new(),
            open: BTreeSet::new(),
            bags: Vec::new(),
            bags_to_come: 0,
            demands: config.jobs.iter().map(|jobs| demand(jobs).into()).collect(),
            pool: Pool {
                scheduler: None,
                fence: Fence(1),
                life: 0,
                heard: VecDeque::new(),
                banned: BTreeSet::new(),
                memories: BTreeMap::new(),
            },
            ledger: Ledger::new(),
            block_due_ms: None,
            measure: Measure::new(),
            trace: Trace::new(),
            fault: None,
            crash_dice: Dice::stream(config.seed, Domain::Crash, u64::MAX),
        };
        world.pool.scheduler = Some(world.new_scheduler()?);
        world.fund()?;
        world.plan_hosts();
        world.plan_jobs();
        world.plan_pool_crash();
        world.agenda.add(START_MS, Act::Sample);
        Ok(world)
    }

    /// Everybody's money, before anything happens.
    fn fund(&mut self) -> Result<(), RunError> {
        let (mut price, mut stake) = (Amount::ZERO, Amount::ZERO);
        for jobs in &self.config.jobs {
            let tasks = u64::from(jobs.bags).saturating_mul(u64::from(jobs.tasks));
            let terms = DealTerms::default();
            let pool = gristmill_poco::Resource { price: jobs.price, ..terms.workerpool };
            let terms = DealTerms { workerpool: pool, ..terms };
            let total = |one: Option<Amount>| one.and_then(|one| one.checked_mul(tasks)).unwrap_or(Amount::MAX);
            price = price.checked_add(total(terms.price())).unwrap_or(Amount::MAX);
            stake = stake.checked_add(total(terms.pool_stake())).unwrap_or(Amount::MAX);
        }
        self.ledger.deposit(self.now_ms, REQUESTER, price)?;
        self.ledger.deposit(self.now_ms, POOL, stake)?;
        for index in 0..self.config.hosts.count {
            self.ledger.deposit(self.now_ms, name(index, 0), self.config.hosts.deposit)?;
        }
        Ok(())
    }

    /// Where each host stands in its life when the run begins.
    fn plan_hosts(&mut self) {
        let laws = &self.config.hosts;
        for (index, host) in (0..).zip(&mut self.hosts) {
            let first_ms = START_MS + host.network.roll(FIRST_DIAL_MS);
            if host.always_on {
                self.agenda.add(first_ms, Act::HostUp { host: index });
                continue;
            }
            let mut up = host.availability.roll(2) == 0;
            let mut at_ms = 0u64;
            while at_ms <= WARM_UP_MS {
                let law = if up { laws.available } else { laws.unavailable };
                at_ms = at_ms.saturating_add(law.draw_ms(&mut host.availability));
                up = !up;
            }
            // The state before the last change lasts until it.
            let changes_ms = START_MS.saturating_add(at_ms - WARM_UP_MS);
            if up {
                self.agenda.add(changes_ms, Act::HostUp { host: index });
            } else {
                self.agenda.add(first_ms.min(changes_ms), Act::HostUp { host: index });
                host.leaves_ms = Some(changes_ms);
            }
        }
    }

    fn plan_jobs(&mut self) {
        for (number, jobs) in self.config.jobs.iter().enumerate() {
            let mut dice = Dice::stream(self.config.seed, Domain::Arrival, number as u64);
            let mut at_ms = START_MS.saturating_add(jobs.first_s.saturating_mul(1000));
            for _ in 0..jobs.bags {
                let after_s = at_ms.saturating_sub(START_MS) / 1000;
                if after_s > self.config.duration_s {
                    break;
                }
                let bag = u32::try_from(self.bags.len()).unwrap_or(u32::MAX);
                self.bags.push(Bag::new(number, at_ms));
                self.agenda.add(at_ms, Act::Order { bag });
                at_ms = at_ms.saturating_add(jobs.between.map_or(0, |law| law.draw_ms(&mut dice)));
            }
        }
        self.bags_to_come = self.bags.len();
    }

    fn plan_pool_crash(&mut self) {
        if self.config.faults.pool_crash_h.0 > 0.0 {
            let after_ms = self.crash_dice.exponential_ms(self.config.faults.pool_crash_h.0);
            self.agenda.add(self.now_ms.saturating_add(after_ms), Act::PoolCrash);
        }
    }

    /// Until the time is over and every task has ended.
    pub fn run(&mut self, show: &mut dyn FnMut(Progress)) -> Result<(), RunError> {
        let limit_ms = self.limit_ms();
        let mut shown_ms = START_MS;
        while !self.is_over() {
            let deadline = self.pool.scheduler.as_ref().and_then(Scheduler::next_deadline);
            match (self.agenda.next_ms(), deadline) {
                (Some(at_ms), deadline) if deadline.is_none_or(|deadline| at_ms <= deadline) => {
                    self.now_ms = self.now_ms.max(at_ms);
                    let Some(act) = self.agenda.pop() else { break };
                    self.measure.acts += 1;
                    self.perform(act);
                }
                (_, Some(deadline)) => {
                    if deadline < self.now_ms {
                        return Err(self.stuck(format!("the scheduler's timer of {deadline} was not served")));
                    }
                    self.now_ms = deadline;
                    self.measure.ticks += 1;
                    self.tell(vec![Event::Tick]);
                    let next = self.pool.scheduler.as_ref().and_then(Scheduler::next_deadline);
                    if next.is_some_and(|next| next <= deadline) {
                        return Err(self.stuck("a timer that was served is due again".to_owned()));
                    }
                }
                (None, None) => break,
                (Some(_), None) => unreachable!("an agenda without a deadline is always taken"),
            }
            if let Some(error) = self.fault.take() {
                return Err(error);
            }
            if self.now_ms >= shown_ms.saturating_add(SHOWN_EVERY_MS) {
                shown_ms = self.now_ms;
                show(Progress {
                    simulated_ms: self.now_ms.saturating_sub(START_MS),
                    duration_ms: self.config.duration_s.saturating_mul(1000),
                    open_tasks: self.open.len() as u64,
                });
            }
            if self.now_ms > limit_ms {
                return Err(self.stuck(format!("{} tasks outlived their last deadline", self.open.len())));
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let is_idle = self.bags_to_come == 0 && self.open.is_empty();
        is_idle && self.now_ms >= self.end_ms() && self.pool.heard.is_empty() && self.pool.scheduler.is_some()
    }

    /// By then the last task must have ended.
    fn limit_ms(&self) -> u64 {
        let longest_s = self.config.jobs.iter().map(|jobs| jobs.work_clock_s()).max().unwrap_or_default();
        let drain_ms = longest_s.saturating_mul((FINAL_DEADLINE_RATIO + 1) * 1000).saturating_add(CLAIM_MS);
        self.end_ms().saturating_add(drain_ms)
    }

    /// When measuring ends.
    pub fn end_ms(&self) -> u64 {
        START_MS.saturating_add(self.config.duration_s.saturating_mul(1000))
    }

    fn stuck(&self, what: String) -> RunError {
        RunError::Stuck { seed: self.config.seed, after_ms: self.now_ms - START_MS, what }
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::HostUp { host } => self.host_up(host),
            Act::HostDown { host } => self.host_down(host),
            Act::WorkerCrash { host, life } => self.worker_crash(host, life),
            Act::WorkerStart { host, life } => self.worker_start(host, life),
            Act::Rename { host } => self.rename(host),
            Act::Dial { host, connection } => self.dial_again(host, connection),
            Act::Offer { host, connection } => self.take_offer(host, connection),
            Act::Answer { host, connection, answer } => self.take_answer(host, connection, answer),
            Act::Arrive { host, connection, way, seq } => self.arrive(host, connection, way, seq),
            Act::AckSent { host, connection, way } => self.send_ack(host, connection, way),
            Act::AckArrives { host, connection, way, ack } => self.take_ack(host, connection, way, ack),
            Act::AckTimeout { host, connection, way, seq } => self.look_for_ack(host, connection, way, seq),
            Act::Silence { host, connection } => self.notice_silence(host, connection),
            Act::Heartbeat { host, life } => self.heartbeat(host, life),
            Act::HeartbeatArrives { host, connection } => self.take_heartbeat(host, connection),
            Act::RunEnds { host, run } => self.run_ends(host, run),
            Act::Order { bag } => self.send(Transaction::Match { bag }),
            Act::Block => self.block(),
            Act::BlockSeen { life } => self.hear_block(life),
            Act::Opened { host, incarnation, task, matches, life } => {
                self.upload_opened(name(host, incarnation), task, matches, life);
            }
            Act::PoolCrash => self.pool_crash(),
            Act::PoolStart => self.pool_start(),
            Act::Sample => self.sample(),
        }
    }

    pub fn plan(&mut self, after_ms: u64, act: Act) {
        self.agenda.add(self.now_ms.saturating_add(after_ms), act);
    }

    /// Sends a transaction. Blocks come only when there is something for them.
    pub fn send(&mut self, transaction: Transaction) {
        self.ledger.send(self.now_ms.saturating_add(self.config.ledger.latency_ms), transaction);
        self.plan_block();
    }

    fn plan_block(&mut self) {
        if self.block_due_ms.is_none()
            && let Some(at_ms) = self.ledger.next_block_ms(self.config.ledger.block_ms)
        {
            let next_ms = (self.now_ms / self.config.ledger.block_ms + 1) * self.config.ledger.block_ms;
            let at_ms = at_ms.max(next_ms);
            self.block_due_ms = Some(at_ms);
            self.agenda.add(at_ms, Act::Block);
        }
    }

    fn sample(&mut self) {
        let every_ms = (self.config.duration_s.saturating_mul(1000) / SAMPLES).max(1);
        if self.now_ms + every_ms <= self.end_ms() || self.now_ms == self.end_ms() || !self.open.is_empty() {
            self.plan(every_ms, Act::Sample);
        }
        let sample = Sample {
            after_ms: self.now_ms - START_MS,
            available: self.measure.available,
            busy: self.measure.busy,
            open: self.open.len() as u64,
            completed: self.measure.completed,
            failed: self.measure.failed,
            transactions: self.ledger.settled.transactions(),
            messages: self.measure.messages.up + self.measure.messages.down,
        };
        self.measure.samples.push(sample);
    }

    /// Ends the accounts of all hosts that are there.
    pub fn rest(&mut self) {
        for index in 0..self.config.hosts.count {
            if self.hosts[index as usize].up {
                self.account(index);
            }
            // A run that still goes on is of a task that has ended.
            let until_ms = self.now_ms.min(self.end_ms());
            let host = &mut self.hosts[index as usize];
            if host.running {
                host.busy_ms += host.runs.iter().map(|run| until_ms.saturating_sub(run.since_ms)).sum::<u64>();
            }
        }
    }

    /// Holds the ledger against I1 to I8, at rest.
    pub fn check(&self) -> Result<(), RunError> {
        let books = self.ledger.model.books();
        let view = LedgerView::of(books, self.now_ms / 1000, self.ledger.volumes());
        let (mut statuses, mut accepted) = (BTreeMap::new(), BTreeMap::new());
        for task in &self.tasks {
            let Some(record) = books.tasks.get(&task.id) else { continue };
            statuses.insert(task.id, record.status);
            if record.status == TaskStatus::Completed {
                // What the store delivers: the upload of somebody who revealed.
                let is_proved = |upload: &&Upload| {
                    record.contributions.get(&upload.worker).is_some_and(|vote| record.is_proved_holder(vote))
                };
                accepted.insert(task.id, task.uploads.iter().find(is_proved).map(|upload| upload.digest));
            }
        }
        let shown = Shown { source: "the pool".to_owned(), statuses, accepted };
        check::all(&self.ledger.replay, &view, &[shown], true)?;
        if let Some(scheduler) = &self.pool.scheduler {
            let (open, leases) = (scheduler.open_tasks().count(), scheduler.live_leases().count());
            if open > 0 || leases > 0 {
                return Err(self.stuck(format!("the scheduler still has {open} tasks and {leases} leases")));
            }
        }
        Ok(())
    }
}

impl Bag {
    fn new(jobs: usize, ordered_ms: u64) -> Self {
        Self {
            jobs,
            deal: None,
            ordered_ms,
            first_lease_ms: None,
            completed_ms: Vec::new(),
            runs_ms: Vec::new(),
            failed: 0,
            wrong: 0,
            leases: 0,
            contributions: 0,
            ended_ms: ordered_ms,
        }
    }
}
