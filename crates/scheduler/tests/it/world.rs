//! The world of the simulation: a clock, a ledger that is the hub's model, and workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_credibility::{AddressRange, Credibility, Memory, Origin, Policy as Belief, Seed};
use gristmill_poco::model::{SoloProof, result_hash, result_seal};
use gristmill_poco::{DealTerms, HubEvent, Matching, Model, OrderUse, Resource, Revert};
use gristmill_scheduler::index::Demand;
use gristmill_scheduler::{
    Call, DeclineReason, Effect, EngineProfile, Event, Fault, Fence, HeldResult, LeaseId, LedgerState, Offers, Policy,
    Scheduler, SeenConsensus, SeenContribution, TaskSpec, WorkerId, WorkerSpec,
};
use gristmill_types::{Amount, ContributionStatus, Needs, OrderHash, TaskId, TaskStatus, Trust};

/// T of every task.
const T_S: u64 = 20;
const START_MS: u64 = 1_000_000;
/// From a call to its place in a block.
const LATENCY_MS: u64 = 200;
const HEARTBEAT_MS: u64 = 1_000;
const POOL: Address = Address::repeat_byte(0xf1);
const PAYER: Address = Address::repeat_byte(0xf2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Honest,
    /// Contributes an answer of its own.
    Liar,
    /// Contributes the first hash it sees, under a seal of nothing.
    Copier,
    /// Contributes the truth and never reveals.
    Unrevealing,
    /// Sends heartbeats and no result.
    Mute,
    /// Dies in the middle of each task, and comes back.
    Dying,
    /// Fails two runs of three.
    Flaky,
}

/// A small generator of its own, so that a seed means the same for ever.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
enum Act {
    Heartbeat(Address),
    Finish { worker: Address, task: TaskId, lease: LeaseId },
    Die { worker: Address },
    Return { worker: Address },
    Contribute { worker: Address, task: TaskId, solo: bool },
    Reveal { worker: Address, task: TaskId },
    Hub { call: Call, task: TaskId },
    Tell(Event),
}

struct Worker {
    kind: Kind,
    slots: u32,
    gpus: u32,
    alive: bool,
    leases: BTreeMap<LeaseId, TaskId>,
    /// What it computed, by task: survives its death.
    results: BTreeMap<TaskId, B256>,
}

pub struct World {
    seed: u64,
    dice: Dice,
    now_ms: u64,
    /// When the scheduler's deadline was served last.
    rung_ms: u64,
    sequence: u64,
    agenda: BTreeMap<(u64, u64), Act>,
    scheduler: Scheduler,
    policy: Policy,
    /// How far the pool believes; `None`: as far as the hub does.
    belief: Option<Belief>,
    /// What it wrote down of it.
    memories: BTreeMap<[u8; 21], Memory>,
    model: Model,
    workers: BTreeMap<Address, Worker>,
    tasks: BTreeMap<TaskId, u64>,
    /// Tasks that need a GPU.
    gpu_tasks: BTreeSet<TaskId>,
    deals: u64,
    /// Sealed uploads: the digest to which each opens, and whether it came before the first reveal.
    uploads: BTreeMap<(TaskId, Address), (B256, bool)>,
    opened: BTreeSet<TaskId>,
    /// Leases from before the last restart.
    stale: BTreeSet<LeaseId>,
    public: BTreeSet<TaskId>,
    rejected: Vec<Address>,
    /// Who has tasks run elsewhere.
    buyer: Option<Address>,
    bought: u64,
    contributions: u64,
    pub trace: Vec<String>,
}

fn truth(task: TaskId) -> B256 {
    result_hash(task, B256::repeat_byte(1))
}

impl World {
    pub fn new(seed: u64, kinds: &[Kind], policy: Policy, belief: Option<Belief>) -> Self {
        let mut world = Self {
            seed,
            dice: Dice(seed),
            now_ms: START_MS,
            rung_ms: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            scheduler: Scheduler::new(policy.clone(), Fence(1)),
            policy,
            belief,
            memories: BTreeMap::new(),
            model: Model::new(Address::repeat_byte(0xaa)),
            workers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            gpu_tasks: BTreeSet::new(),
            deals: 0,
            uploads: BTreeMap::new(),
            opened: BTreeSet::new(),
            stale: BTreeSet::new(),
            public: BTreeSet::new(),
            rejected: Vec::new(),
            buyer: None,
            bought: 0,
            contributions: 0,
            trace: Vec::new(),
        };
        world.scheduler = world.begin(Fence(1));
        world.model.deposit(PAYER, Amount::from_grist(10_000)).unwrap();
        world.model.deposit(POOL, Amount::from_grist(10_000)).unwrap();
        for (index, kind) in kinds.iter().enumerate() {
            let address = Address::with_last_byte(index as u8 + 1);
            world.model.deposit(address, Amount::from_grist(500)).unwrap();
            let slots = 1 + world.dice.roll(2) as u32;
            let (leases, results) = (BTreeMap::new(), BTreeMap::new());
            world.workers.insert(address, Worker { kind: *kind, slots, gpus: 0, alive: true, leases, results });
            let at_ms = world.dice.roll(500);
            world.plan(at_ms, Act::Return { worker: address });
            world.plan(at_ms + HEARTBEAT_MS, Act::Heartbeat(address));
        }
        world
    }

    /// A pool's process begins, with what an earlier one wrote down.
    fn begin(&self, fence: Fence) -> Scheduler {
        let scheduler = Scheduler::new(self.policy.clone(), fence);
        match &self.belief {
            None => scheduler,
            Some(policy) => {
                let memories = self.memories.values().cloned();
                scheduler.believing(Credibility::recall(policy.clone(), Seed([5; 32]), memories).unwrap())
            }
        }
    }

    /// One more worker, which has tasks run elsewhere: they take as long there as here.
    pub fn buy_elsewhere(&mut self) {
        let address = Address::with_last_byte(0xee);
        self.model.deposit(address, Amount::from_grist(500)).unwrap();
        let (leases, results) = (BTreeMap::new(), BTreeMap::new());
        let buyer = Worker { kind: Kind::Honest, slots: 3, gpus: 0, alive: true, leases, results };
        self.workers.insert(address, buyer);
        self.buyer = Some(address);
        self.plan(0, Act::Return { worker: address });
        self.plan(HEARTBEAT_MS, Act::Heartbeat(address));
    }

    /// Leases that were given to it.
    pub fn bought(&self) -> u64 {
        self.bought
    }

    /// Every other worker lends a GPU, whatever its slots.
    pub fn lend_gpus(&mut self) {
        self.workers.values_mut().step_by(2).for_each(|worker| worker.gpus = 1);
    }

    /// Matches a deal and initialises its tasks.
    pub fn add_deal(&mut self, tasks: u64, trust: u64) {
        self.add_deal_of(tasks, trust, Needs::NONE);
    }

    /// The same of a deal whose tasks need something.
    pub fn add_deal_of(&mut self, tasks: u64, trust: u64, needs: Needs) {
        self.deals += 1;
        let first = self.deals as u8 * 4;
        let order = |kind: u8| OrderUse { hash: OrderHash(B256::with_last_byte(first + kind)), volume: tasks };
        let terms = DealTerms {
            workerpool: Resource { pointer: POOL, owner: POOL, price: Amount::from_grist(10) },
            trust: Trust::new(trust),
            work_clock_s: T_S,
            requester: PAYER,
            sponsor: PAYER,
            worker_stake: Amount::from_grist(3),
            scheduler_reward_percent: 1,
            ..DealTerms::default()
        };
        let matching = Matching { app: order(0), dataset: None, workerpool: order(1), request: order(2), terms };
        let (deal, _) = self.model.match_orders(self.now_ms / 1000, matching).unwrap();
        for index in 0..tasks {
            self.model.initialize(deal, index).unwrap();
            let task = deal.task(index);
            self.tasks.insert(task, trust);
            if needs.gpu {
                self.gpu_tasks.insert(task);
            }
            let spec = self.spec(task, LedgerState::default());
            self.tell(vec![Event::TaskAdded(Box::new(spec))]);
        }
    }

    fn spec(&self, task: TaskId, ledger: LedgerState) -> TaskSpec {
        let terms = self.model.books().terms_of(task).unwrap();
        TaskSpec {
            task,
            deal: self.model.books().tasks[&task].deal,
            requester: PAYER,
            trust: terms.trust,
            work_clock_ms: terms.work_clock_s * 1000,
            contribution_deadline_ms: terms.contribution_deadline() * 1000,
            final_deadline_ms: terms.final_deadline() * 1000,
            stake: terms.worker_stake,
            profile: None,
            needs: Needs { gpu: self.gpu_tasks.contains(&task), network: false },
            demand: Arc::new(Demand::any()),
            refusal: None,
            ledger,
        }
    }

    /// Until every task has ended.
    pub fn run(&mut self) {
        self.run_until(20 * T_S * 1000);
        for (task, _) in self.tasks.clone() {
            let status = self.model.books().tasks[&task].status;
            let why = self.scheduler.explain_task(self.now_ms, task);
            assert!(status.is_final(), "seed {}: task {task} is still {status:?}: {why}", self.seed);
        }
        assert_eq!(self.scheduler.open_tasks().count(), 0, "seed {}", self.seed);
        assert_eq!(self.scheduler.live_leases().count(), 0, "seed {}", self.seed);
    }

    /// Until so long after the start.
    pub fn run_until(&mut self, after_ms: u64) {
        while self.now_ms < START_MS + after_ms {
            let next = self.agenda.first_key_value().map(|(key, _)| *key);
            let deadline = self.scheduler.next_deadline().unwrap_or(u64::MAX);
            match next {
                Some((at_ms, sequence)) if at_ms <= deadline => {
                    self.now_ms = self.now_ms.max(at_ms);
                    let act = self.agenda.remove(&(at_ms, sequence)).unwrap();
                    self.perform(act);
                }
                _ if deadline < u64::MAX => {
                    assert!(deadline > self.rung_ms, "seed {}: a deadline that was served is due again", self.seed);
                    self.now_ms = self.now_ms.max(deadline);
                    self.rung_ms = self.now_ms;
                    self.tell(vec![Event::Tick]);
                }
                _ => return,
            }
        }
    }

    /// The pool dies and is started again: a new scheduler, from the ledger, the store and the workers.
    pub fn restart(&mut self) {
        let fence = self.scheduler.next_fence();
        self.scheduler = self.begin(fence);
        self.agenda.retain(|_, act| !matches!(act, Act::Tell(_)));
        self.stale.extend(self.workers.values().flat_map(|worker| worker.leases.keys().copied()));
        let mut events = Vec::new();
        let books = self.model.books();
        for id in self.tasks.keys().filter(|id| !books.tasks[*id].status.is_final()) {
            let task = &books.tasks[id];
            let vote = |(worker, vote): (Address, &gristmill_poco::Contribution)| SeenContribution {
                worker: WorkerId(worker),
                hash: vote.hash,
                weight: vote.weight,
                status: vote.status,
            };
            let held = |((_, worker), (digest, held)): (&(TaskId, Address), &(B256, bool))| {
                let result_hash = result_hash(*id, *digest);
                (*held && !task.contributions.contains_key(worker))
                    .then_some(HeldResult { worker: WorkerId(*worker), result_hash })
            };
            let reveal_deadline_ms = task.reveal_deadline * 1000;
            let ledger = LedgerState {
                contributions: task.votes().map(vote).collect(),
                consensus: task.consensus.map(|hash| SeenConsensus { hash, reveal_deadline_ms }),
                digest: task.digest,
                earlier_digests: task.revealed.values().copied().collect(),
                recomputed: task.recomputed,
                concede_effective_ms: task.conceded_at.map(|at| at * 1000),
                held: self.uploads.iter().filter(|((of, _), _)| of == id).filter_map(held).collect(),
            };
            events.push(Event::TaskAdded(Box::new(self.spec(*id, ledger))));
        }
        events.extend(self.workers.iter().filter(|(_, worker)| worker.alive).map(|(id, _)| self.joined(*id)));
        self.tell(events);
    }

    /// The operator wants another policy.
    pub fn change_policy(&mut self, policy: Policy) {
        self.policy = policy.clone();
        self.tell(vec![Event::PolicyChanged(Box::new(policy))]);
    }

    pub fn statuses(&self) -> impl Iterator<Item = TaskStatus> {
        self.tasks.keys().map(|task| self.model.books().tasks[task].status)
    }

    pub fn rejected(&self) -> &[Address] {
        &self.rejected
    }

    pub fn contributions(&self) -> u64 {
        self.contributions
    }

    pub fn kind(&self, worker: Address) -> Kind {
        self.workers[&worker].kind
    }

    fn plan(&mut self, after_ms: u64, act: Act) {
        self.sequence += 1;
        self.agenda.insert((self.now_ms + after_ms, self.sequence), act);
    }

    fn joined(&self, worker: Address) -> Event {
        Event::WorkerJoined(WorkerSpec {
            worker: WorkerId(worker),
            origin: Origin { range: AddressRange::V4([10, 0, worker.0[19]]), ..Origin::of(worker) },
            slots: self.workers[&worker].slots,
            free_stake: self.model.books().account(worker).stake,
            score: self.model.books().score(worker),
            profile: EngineProfile("one".to_owned()),
            offers: Offers { gpus: self.workers[&worker].gpus, network: false },
            ad: Arc::default(),
            serves: None,
            overflow: (self.buyer == Some(worker)).then(Arc::default),
        })
    }

    fn tell(&mut self, events: Vec<Event>) {
        let effects = self.scheduler.handle_all(self.now_ms, events);
        for effect in effects {
            self.trace.push(format!("{} {effect:?}", self.now_ms));
            self.take(effect);
        }
        self.memories.extend(self.scheduler.take_memories().into_iter().map(|memory| (memory.key(), memory)));
        for worker in self.workers.keys() {
            self.scheduler.explain_worker(self.now_ms, WorkerId(*worker));
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Lease { lease, task, worker, .. } => self.take_lease(lease, task, worker.0),
            Effect::RevokeLease { lease, worker, .. } => {
                if let Some(worker) = self.workers.get_mut(&worker.0) {
                    worker.leases.remove(&lease);
                }
            }
            Effect::Authorise { task, worker, solo, .. } => {
                self.check_authorisation(task, worker.0);
                self.plan(LATENCY_MS, Act::Contribute { worker: worker.0, task, solo });
            }
            Effect::AskReveal { task, worker } => self.plan(LATENCY_MS, Act::Reveal { worker: worker.0, task }),
            Effect::OpenUpload { task, worker, digest } => {
                let matches = self.uploads.get(&(task, worker.0)).is_some_and(|(opens, _)| *opens == digest);
                if matches && self.model.books().tasks[&task].contributions.contains_key(&worker.0) {
                    self.opened.insert(task);
                }
                self.plan(50, Act::Tell(Event::UploadOpened { task, worker, matches }));
            }
            Effect::Finalize { task, .. } => {
                assert!(self.opened.contains(&task), "seed {}: finalised without bytes", self.seed);
                self.plan(LATENCY_MS, Act::Hub { call: Call::Finalize, task });
            }
            Effect::Reopen { task } => self.plan(LATENCY_MS, Act::Hub { call: Call::Reopen, task }),
            Effect::Claim { task } => self.plan(LATENCY_MS, Act::Hub { call: Call::Claim, task }),
            Effect::Concede { task } => self.plan(LATENCY_MS, Act::Hub { call: Call::Concede, task }),
            Effect::Forget { task, worker } => {
                let contributed = self.model.books().tasks[&task].contributions.contains_key(&worker.0);
                assert!(
                    !contributed || self.model.books().tasks[&task].status.is_final(),
                    "seed {}: forgot a vote",
                    self.seed
                );
            }
            _ => {}
        }
    }

    fn take_lease(&mut self, lease: LeaseId, task: TaskId, address: Address) {
        let seed = self.seed;
        self.bought += u64::from(self.buyer == Some(address));
        let run_ms = 500 + self.dice.roll(6_000);
        let fails = self.dice.roll(3) > 0;
        let worker = self.workers.get_mut(&address).unwrap();
        // Leases of a pool that was restarted since run on until a heartbeat names them: the newer one of a task counts,
        // and who has no slot left says so.
        worker.leases.retain(|old, of| *of != task || !self.stale.contains(old));
        let is_stale = worker.leases.keys().any(|old| self.stale.contains(old));
        if is_stale && worker.leases.len() >= worker.slots as usize {
            let busy = Event::LeaseDeclined { lease, reason: DeclineReason::Busy };
            self.plan(LATENCY_MS, Act::Tell(busy));
            return;
        }
        assert!(
            !worker.leases.values().any(|other| *other == task),
            "seed {seed}: two leases for one task at {address}"
        );
        worker.leases.insert(lease, task);
        assert!(worker.leases.len() <= worker.slots as usize, "seed {seed}: {address} has more leases than slots");
        let with_gpu = worker.leases.values().filter(|task| self.gpu_tasks.contains(*task)).count();
        assert!(with_gpu <= worker.gpus as usize, "seed {seed}: {address} has more leases that need a GPU than GPUs");
        match worker.kind {
            Kind::Mute => {}
            Kind::Dying => self.plan(run_ms, Act::Die { worker: address }),
            Kind::Flaky if fails => {
                worker.leases.remove(&lease);
                self.plan(
                    run_ms,
                    Act::Tell(Event::LeaseFailed { lease, fault: Fault::Host, reason: "host".to_owned() }),
                );
            }
            _ => self.plan(run_ms, Act::Finish { worker: address, task, lease }),
        }
    }

    /// Nobody is authorised in vain, and nobody new once a digest is public.
    fn check_authorisation(&self, task: TaskId, worker: Address) {
        let record = &self.model.books().tasks[&task];
        let trust = Trust::new(self.tasks[&task]);
        let settled = record.tally.leader().is_some_and(|hash| record.tally.reaches(hash, trust).unwrap());
        assert!(!settled, "seed {}: authorised although consensus is there", self.seed);
        let (digest, held) = self.uploads[&(task, worker)];
        if self.public.contains(&task) {
            let known = record.revealed.values().chain(&record.digest).any(|public| *public == digest);
            assert!(held && known, "seed {}: authorised a stranger after the reveal", self.seed);
        }
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Heartbeat(address) => {
                self.plan(HEARTBEAT_MS, Act::Heartbeat(address));
                let worker = &self.workers[&address];
                if worker.alive {
                    let leases = worker.leases.keys().copied().collect();
                    self.tell(vec![Event::Heartbeat { worker: WorkerId(address), leases }]);
                }
            }
            Act::Finish { worker, task, lease } => self.finish(worker, task, lease),
            Act::Die { worker } => {
                let record = self.workers.get_mut(&worker).unwrap();
                if record.alive && !record.leases.is_empty() {
                    record.alive = false;
                    record.leases.clear();
                    let back_ms = 3_000 + self.dice.roll(4_000);
                    self.plan(back_ms, Act::Return { worker });
                    self.tell(vec![Event::WorkerLeft { worker: WorkerId(worker) }]);
                }
            }
            Act::Return { worker } => {
                self.workers.get_mut(&worker).unwrap().alive = true;
                let event = self.joined(worker);
                self.tell(vec![event]);
            }
            Act::Contribute { worker, task, solo } => self.contribute(worker, task, solo),
            Act::Reveal { worker, task } => self.reveal(worker, task),
            Act::Hub { call, task } => self.call(call, task),
            Act::Tell(event) => self.tell(vec![event]),
        }
    }

    fn finish(&mut self, address: Address, task: TaskId, lease: LeaseId) {
        let worker = self.workers.get_mut(&address).unwrap();
        if worker.leases.remove(&lease).is_none() {
            return;
        }
        let copied = self.model.books().tasks[&task].contributions.values().next().map(|vote| vote.hash);
        let (digest, result_hash) = match worker.kind {
            Kind::Liar => (address.into_word(), result_hash(task, address.into_word())),
            Kind::Copier => (B256::ZERO, copied.unwrap_or(truth(task))),
            _ => (B256::repeat_byte(1), truth(task)),
        };
        worker.results.insert(task, result_hash);
        self.uploads.insert((task, address), (digest, !self.public.contains(&task)));
        self.tell(vec![Event::ResultReady { worker: WorkerId(address), task, lease, result_hash }]);
    }

    fn contribute(&mut self, worker: Address, task: TaskId, solo: bool) {
        let now = self.now_ms / 1000;
        let record = &self.workers[&worker];
        let Some(hash) = record.results.get(&task).copied() else { return };
        let (digest, _) = self.uploads[&(task, worker)];
        let honest = matches!(record.kind, Kind::Honest | Kind::Flaky | Kind::Dying);
        let outcome = if solo && honest {
            let proof = SoloProof { digest, results: Bytes::new(), callback: &[] };
            self.model.contribute_and_finalize(worker, now, task, proof, true)
        } else {
            self.model.contribute(worker, now, task, hash, result_seal(worker, task, digest), true)
        };
        if let Err(error) = self.land(outcome)
            && error != Revert::AlreadyContributed(worker)
        {
            let reason = error.to_string();
            self.tell(vec![Event::ContributionFailed { task, worker: WorkerId(worker), reason }]);
        }
    }

    fn reveal(&mut self, worker: Address, task: TaskId) {
        let record = &self.workers[&worker];
        if record.alive && record.kind != Kind::Unrevealing {
            let (digest, _) = self.uploads[&(task, worker)];
            let outcome = self.model.reveal(worker, self.now_ms / 1000, task, digest);
            let _ = self.land(outcome);
        }
    }

    fn call(&mut self, call: Call, task: TaskId) {
        let now = self.now_ms / 1000;
        let outcome = match call {
            Call::Finalize => self.model.finalize(POOL, now, task, Bytes::new(), &[]),
            Call::Reopen => self.model.reopen(now, task),
            Call::Claim => self.model.claim(now, task),
            Call::Concede => self.model.concede(POOL, now, task),
        };
        if let Err(error) = self.land(outcome) {
            self.tell(vec![Event::CallFailed { task, call, reason: error.to_string() }]);
        }
    }

    /// Tells the scheduler what a transaction did, all at once.
    fn land(&mut self, outcome: Result<Vec<HubEvent>, Revert>) -> Result<(), Revert> {
        let mut events = Vec::new();
        let mut concerned = BTreeSet::new();
        for event in outcome? {
            let books = self.model.books();
            match event {
                HubEvent::TaskContribute { task, worker, hash } => {
                    self.contributions += 1;
                    let weight = books.tasks[&task].contributions[&worker].weight;
                    events.push(Event::ContributionSeen { task, worker: WorkerId(worker), hash, weight });
                }
                HubEvent::TaskConsensus { task, hash } => {
                    let reveal_deadline_ms = books.tasks[&task].reveal_deadline * 1000;
                    events.push(Event::ConsensusReached { task, hash, reveal_deadline_ms });
                }
                HubEvent::TaskReveal { task, worker, digest } => {
                    self.public.insert(task);
                    events.push(Event::RevealSeen { task, worker: WorkerId(worker), digest });
                }
                HubEvent::TaskReopen { task } => events.push(Event::TaskReopened { task }),
                HubEvent::TaskFinalize { task, .. } => {
                    let record = &books.tasks[&task];
                    // One newcomer is confidence enough for a trust of 2; those who held another result may have been silent.
                    let hash = record.digest.map(|digest| result_hash(task, digest));
                    let solo = record.contributions.values().filter(|vote| Some(vote.hash) == hash).count() == 1;
                    let right = record.digest == Some(B256::repeat_byte(1));
                    assert!(right || solo || !self.fair(), "seed {}: a wrong result was accepted", self.seed);
                    events.push(Event::TaskCompleted { task });
                }
                HubEvent::TaskClaimed { task } => events.push(Event::TaskFailed { task }),
                HubEvent::TaskConcede { task, effective_at } => {
                    events.push(Event::ConcedeSeen { task, effective_at_ms: effective_at * 1000 });
                }
                HubEvent::FaultyContribution { worker, task } => {
                    self.rejected.push(worker);
                    assert_eq!(books.tasks[&task].contributions[&worker].status, ContributionStatus::Rejected);
                    events.push(Event::ContributionRejected { task, worker: WorkerId(worker) });
                }
                HubEvent::Lock { owner, .. } | HubEvent::Unlock { owner, .. } | HubEvent::Seize { owner, .. } => {
                    concerned.insert(owner);
                }
                _ => {}
            }
        }
        let books = self.model.books();
        let updates = concerned.into_iter().filter(|owner| self.workers.contains_key(owner)).map(|owner| {
            let (score, free_stake) = (books.score(owner), books.account(owner).stake);
            Event::WorkerUpdated { worker: WorkerId(owner), score, free_stake }
        });
        events.extend(updates);
        self.tell(events);
        Ok(())
    }

    /// Liars never agree with each other here, so only copies of a lie could outvote the truth.
    fn fair(&self) -> bool {
        !self.workers.values().any(|worker| worker.kind == Kind::Copier)
    }
}
