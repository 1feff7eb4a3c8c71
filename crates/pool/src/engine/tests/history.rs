//! One market with one pool, which dies again and again.

mod checks;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use gristmill_datadir::faults::{Disk, Fault};
use gristmill_hub::{HubClient, LedgerPort, Outbox, OutboxConfig};
use gristmill_protocol::tls::PoolUrl;
use gristmill_store::Client;
use gristmill_types::{Amount, Needs, TaskId, TaskStatus};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::clock;
use super::machine::{Death, Moment};
use super::town::{Door, KEY, PRICE, Random, Town, category};
use super::wire::Wire;
use super::worker::{Vices, Worker};
use crate::config::{PoolConfig, default_credibility};
use crate::control::{Answer, Ask};
use crate::engine::Query;
use crate::error::PoolError;
use crate::journal::Journal;
use crate::service::{Assembled, Ground, assemble};
use crate::settings::Sources;

/// The longest life of a pool that dies at a time, in milliseconds, and of one that is to die of something that does not happen.
const LIFE_MS_MAX: u64 = 350;
const PLANNED_MS_MAX: u64 = 700;
/// Tasks that are open at a time.
const OPEN_MAX: usize = 14;
/// All is quiet when nobody did anything for so long: then the clock is moved.
const QUIET: Duration = Duration::from_millis(150);
const JUMP: Duration = Duration::from_millis(500);
/// How long a market may take to come to its end.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How long a pool whose disk is full may go on: some commits need no more room.
const FAULT_PATIENCE: Duration = Duration::from_secs(2);
/// Workers that make no mistakes, beside one that does.
const HONEST: u64 = 5;
/// Why the operator bans.
const BAN_REASON: &str = "the operator says so";
const JOURNAL: usize = 0;
const OUTBOX: usize = 1;
const MOMENTS: [Moment; 7] =
    [Moment::Write, Moment::Sync, Moment::Send, Moment::Receipt, Moment::Events, Moment::ToWorker, Moment::FromWorker];

/// What histories came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub deaths: u64,
    pub by_moment: BTreeMap<Moment, u64>,
    pub in_start: u64,
    pub faults: u64,
    pub completed: u64,
    pub failed: u64,
    pub bans: u64,
    pub drains: u64,
}

impl Tally {
    pub fn add(&mut self, more: &Self) {
        self.deaths += more.deaths;
        self.in_start += more.in_start;
        self.faults += more.faults;
        self.completed += more.completed;
        self.failed += more.failed;
        self.bans += more.bans;
        self.drains += more.drains;
        for (moment, count) in &more.by_moment {
            *self.by_moment.entry(*moment).or_default() += count;
        }
    }
}

/// A market's plan.
pub struct History {
    seed: u64,
    deaths: u64,
    faults: u64,
}

/// What an operator was told that it is done.
#[derive(Default)]
struct Told {
    banned: BTreeMap<Address, bool>,
    draining: Cell<bool>,
}

/// How a process of the pool ended.
enum End {
    Died,
    Stopped(Result<bool, PoolError>),
}

/// A process of the pool that runs.
struct Running {
    life: u64,
    queries: mpsc::Sender<Query>,
    outbox: Outbox,
    engine: JoinHandle<Result<bool, PoolError>>,
    _stop: oneshot::Sender<()>,
}

struct Market {
    seed: u64,
    random: Random,
    town: Arc<Town>,
    store: Client,
    workerpool: Address,
    workers: Vec<Address>,
    told: Told,
    tally: Tally,
    /// When anybody was last seen to do something.
    since: Instant,
    steps: u64,
}

impl History {
    pub fn with_deaths(seed: u64, deaths: u64) -> Self {
        Self { seed, deaths, faults: 0 }
    }

    pub fn with_faults(seed: u64, faults: u64) -> Self {
        Self { seed, deaths: 0, faults }
    }

    pub async fn run(self) -> Tally {
        let _said = Said(self.seed);
        let mut market = Market::new(self.seed).await;
        let mut others = market.start_workers();
        others.push(tokio::spawn(Arc::clone(&market.town).make_blocks()));
        let mut draining_at = self.deaths.saturating_sub(2);
        while market.tally.deaths < self.deaths {
            let drain = market.tally.deaths >= draining_at;
            if drain {
                draining_at = u64::MAX;
            }
            market.live_and_die(drain).await;
        }
        for _ in 0..self.faults {
            market.live_and_fail().await;
        }
        market.come_to_rest().await;
        market.check_ledger().await;
        others.iter().for_each(JoinHandle::abort);
        market.tally
    }
}

/// Says which seed it was when something fails.
struct Said(u64);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of seed {} failed", self.0);
        }
    }
}

impl Market {
    async fn new(seed: u64) -> Self {
        let town = Town::new(seed).await;
        let store = Client::new(&town.server.url()).unwrap();
        let workerpool = town.hub.predict_workerpool(town.pool.address(), "the pool").await.unwrap();
        let random = Random(seed);
        let steps = 0;
        let (told, tally, since) = (Told::default(), Tally::default(), Instant::now());
        Self { seed, random, town, store, workerpool, workers: Vec::new(), told, tally, since, steps }
    }

    fn start_workers(&mut self) -> Vec<JoinHandle<()>> {
        let mut started = Vec::new();
        for number in 0..=HONEST {
            let vices = match number {
                HONEST => Vices { wrong_percent: 40, silent_percent: 0 },
                _ => Vices { wrong_percent: 0, silent_percent: 2 },
            };
            let worker = Worker::new(&self.town, number, self.seed, vices);
            self.workers.push(worker.address());
            started.push(tokio::spawn(worker.work()));
        }
        started
    }

    fn config(&self) -> PoolConfig {
        PoolConfig {
            data_dir: self.town.folder.path().join("pool"),
            wallet: self.town.pool.clone(),
            rpc_url: "http://127.0.0.1:1".to_owned(),
            hub: self.town.hub.hub,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised_host: None,
            store_url: self.town.server.url(),
            description: "the pool".to_owned(),
            public: None,
            fee_percent: None,
            prices: vec![(category(), PRICE)],
            offers: Needs::default(),
            stake_target: Amount::from_grist(5_000),
            metrics: None,
            policy: gristmill_scheduler::Policy { run_limit_ratio: 6, ..gristmill_scheduler::Policy::default() },
            credibility: default_credibility(self.seed.is_multiple_of(2)),
            private: None,
            founder: None,
            settings: Sources::default(),
            newcomers: None,
            overflow: None,
        }
    }

    /// Starts a process, which may die meanwhile.
    async fn start(&mut self, death: Option<Death>) -> Result<Running, End> {
        let machine = self.town.machine.clone();
        let life = machine.start(death);
        let mut outbox = None;
        let started = tokio::select! {
            () = machine.dead(life) => Err(End::Died),
            started = self.begin(life, &mut outbox) => started.map_err(|error| End::Stopped(Err(error))),
        };
        match started {
            Ok(running) => {
                assert!(outbox.is_some());
                Ok(running)
            }
            Err(end) => {
                if let Some(outbox) = outbox {
                    outbox.shutdown().await;
                }
                if !machine.is_alive(life) {
                    self.tally.in_start += 1;
                    return Err(End::Died);
                }
                machine.kill(false);
                Err(end)
            }
        }
    }

    async fn begin(&self, life: u64, opened: &mut Option<Outbox>) -> Result<Running, PoolError> {
        let Town { chain, waiting, machine, .. } = &*self.town;
        let wire = Wire { chain: chain.clone(), waiting: waiting.clone(), machine: machine.clone(), life };
        let ledger: Arc<dyn LedgerPort> = Arc::new(wire);
        let journal = Journal::open(machine.database(JOURNAL, life)?)?;
        self.check_journal(&journal);
        self.check_drain(&journal).await;
        let config = OutboxConfig { poll_ms: 1, resend_ms: 100, ..OutboxConfig::default() };
        let hub = HubClient::on(Arc::clone(&ledger), self.town.hub.hub).await?;
        let db = machine.database(OUTBOX, life)?;
        let outbox = Outbox::open_on(db, self.town.pool.clone(), ledger, config).await?;
        *opened = Some(outbox.clone());
        let ground = Ground {
            hub,
            outbox: outbox.clone(),
            journal,
            seed: gristmill_credibility::Seed([9; 32]),
            // What a dead process still does in its own folder is nobody's concern: it is of this process all the same.
            scratch: self.town.folder.path().join(format!("scratch-{life}")),
            url: PoolUrl { host: "pool".to_owned(), port: 1, key: KEY },
        };
        let Assembled { engine, follower, links, events, news, .. } =
            assemble(self.config(), ground, &self.store).await?;
        let (queries, query_queue) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel();
        let engine = tokio::spawn(engine.run(follower, events, news, query_queue, stopped));
        self.town.doors.send_replace(Some(Door { life, links }));
        Ok(Running { life, queries, outbox, engine, _stop: stop })
    }

    fn draw_death(&mut self) -> Option<Death> {
        let moment = MOMENTS[self.random.below(MOMENTS.len() as u64) as usize];
        let after = match moment {
            Moment::Write => self.random.below(80),
            Moment::Sync => self.random.below(14),
            Moment::Send | Moment::Receipt => self.random.below(4),
            _ => self.random.below(12),
        };
        // Else it dies at a time, wherever it waits then.
        self.random.chance(88).then(|| Death {
            moment,
            after,
            done: self.random.chance(50),
            power: self.random.chance(70),
        })
    }

    /// A process that lives for a moment.
    async fn live_and_die(&mut self, drain: bool) {
        let death = self.draw_death();
        // One that is told something lives until it has answered, and a little longer.
        let asked = drain || self.random.chance(15);
        let planned = death.filter(|_| !asked);
        let patience = if planned.is_some() { PLANNED_MS_MAX } else { 20 + self.random.below(LIFE_MS_MAX) };
        let until = Instant::now() + Duration::from_millis(patience);
        let mut running = match self.start(planned).await {
            Ok(running) => running,
            Err(End::Died) => return self.died(planned),
            Err(End::Stopped(result)) => {
                panic!("the pool did not start: {:?}", result.err().map(|error| chain(&error)))
            }
        };
        let mut until = until;
        if asked {
            self.command(&mut running, drain).await;
            // Often the answer is the last that it does.
            if self.random.chance(50) {
                until = Instant::now();
            }
        }
        while self.town.machine.is_alive(running.life) && Instant::now() < until && !running.engine.is_finished() {
            self.go_on(drain || self.told.draining.get()).await;
        }
        let cause = planned.filter(|_| !self.town.machine.is_alive(running.life));
        if running.engine.is_finished() && self.town.machine.is_alive(running.life) {
            self.stopped(running).await;
            return;
        }
        self.town.machine.kill(self.random.chance(70));
        self.bury(running).await;
        self.died(cause);
    }

    /// It ended by itself, which only a drained one does.
    async fn stopped(&mut self, running: Running) {
        let life = running.life;
        let result = self.bury(running).await;
        self.town.machine.kill(false);
        assert!(self.told.draining.get(), "the pool of life {life} ended by itself: {result:?}");
        assert!(matches!(result, Some(Ok(true))), "{result:?}");
        self.told.draining.set(false);
        self.died(None);
    }

    fn died(&mut self, death: Option<Death>) {
        self.tally.deaths += 1;
        if let Some(death) = death {
            *self.tally.by_moment.entry(death.moment).or_default() += 1;
        }
        // The node may crash too.
        if self.random.chance(20) {
            self.town.waiting.lose();
        }
        self.check_leases();
    }

    /// Nothing of a dead process goes on. How its loop ended, if it did.
    async fn bury(&mut self, running: Running) -> Option<Result<bool, PoolError>> {
        self.town.doors.send_replace(None);
        let result = match running.engine.is_finished() {
            true => Some(running.engine.await.unwrap()),
            false => {
                running.engine.abort();
                let _ = running.engine.await;
                None
            }
        };
        running.outbox.shutdown().await;
        result
    }

    /// The operator tells the pool something, and remembers what was answered.
    async fn command(&mut self, running: &mut Running, drain: bool) {
        // One at a time: without workers nothing happens.
        let last = self.told.banned.iter().find(|(_, banned)| **banned).map(|(worker, _)| *worker);
        let worker = last.unwrap_or(self.workers[self.random.below(HONEST) as usize]);
        let banned = last.is_some();
        let ask = match (drain, banned) {
            (true, _) => Ask::Drain,
            (false, true) => Ask::Unban { worker },
            (false, false) => Ask::Ban { worker, reason: BAN_REASON.to_owned() },
        };
        let (reply, answer) = oneshot::channel();
        let _ = running.queries.send(Query::Operator(ask.clone(), reply)).await;
        let Ok(answer) = answer.await else {
            // Only one that is drained may end.
            assert!(self.told.draining.get(), "it ended: {:?}", (&mut running.engine).await);
            return;
        };
        let done = matches!(answer, Ok(Answer::Explain(_) | Answer::Status(_)));
        match ask {
            Ask::Drain if done => {
                self.told.draining.set(true);
                self.tally.drains += 1;
            }
            Ask::Ban { .. } if done => {
                self.told.banned.insert(worker, true);
                self.tally.bans += 1;
            }
            Ask::Unban { .. } if done => {
                self.told.banned.insert(worker, false);
                self.town.seen().turned_away.remove(&worker);
            }
            _ => panic!("{ask:?}: {answer:?}"),
        }
    }

    /// A process whose disk fills up or breaks, under load or already when it starts.
    async fn live_and_fail(&mut self) {
        let disk = self.town.machine.disk([JOURNAL, OUTBOX][self.random.below(2) as usize]).clone();
        let early = self.random.chance(20);
        if early {
            self.spoil(&disk);
        }
        match self.start(None).await {
            Ok(running) => self.fail(running, &disk, early).await,
            Err(End::Stopped(Err(error))) => self.check_fault(&error),
            Err(_) => panic!("the pool did not start"),
        }
        disk.heal();
        self.tally.deaths += 1;
        self.check_leases();
    }

    fn spoil(&mut self, disk: &Disk) {
        match self.random.below(3) {
            0 => disk.set_capacity(0),
            1 => disk.fail_after(self.random.below(40), Fault::Full),
            _ => disk.fail_after(self.random.below(40), Fault::Broken),
        }
    }

    async fn fail(&mut self, running: Running, disk: &Disk, early: bool) {
        let until = Instant::now() + Duration::from_millis(20 + self.random.below(LIFE_MS_MAX));
        while Instant::now() < until && !running.engine.is_finished() {
            self.go_on(false).await;
        }
        if !early {
            self.spoil(disk);
        }
        let until = Instant::now() + FAULT_PATIENCE;
        while Instant::now() < until && !running.engine.is_finished() {
            self.go_on(false).await;
        }
        let broken = timeout(Duration::ZERO, running.outbox.stopped()).await.ok();
        assert!(running.engine.is_finished() || broken.is_none(), "the pool goes on without an outbox: {broken:?}");
        let result = self.bury(running).await;
        self.town.machine.kill(false);
        match result {
            Some(Err(error)) => self.check_fault(&error),
            Some(Ok(_)) => panic!("it ended by itself"),
            // Some commits need no more room.
            None => {}
        }
    }

    /// A moment passes.
    async fn go_on(&mut self, draining: bool) {
        if !draining && self.random.chance(25) && self.open().await < OPEN_MAX && self.is_registered().await {
            let (tasks, trust) = (1 + self.random.below(3), [1, 2, 3, 5][self.random.below(4) as usize]);
            self.town.order(self.workerpool, tasks, trust);
        }
        let steps = self.town.machine.steps();
        if steps != self.steps {
            (self.steps, self.since) = (steps, Instant::now());
        } else if self.since.elapsed() >= QUIET {
            clock::jump(JUMP);
        }
        sleep(Duration::from_millis(4)).await;
    }

    async fn is_registered(&self) -> bool {
        let hub = &self.town.hub;
        let account = hub.view_account(self.town.pool.address()).await.unwrap();
        hub.is_registered(hub.workerpool_registry, self.workerpool).await.unwrap()
            && account.stake > Amount::from_grist(100)
    }

    async fn open(&self) -> usize {
        let tasks = self.tasks().await;
        tasks.iter().filter(|(_, status)| !status.is_final()).count()
    }

    /// All tasks that were ever ordered.
    async fn tasks(&self) -> Vec<(TaskId, TaskStatus)> {
        let (hub, deals) = (&self.town.hub, self.town.seen().deals.clone());
        let mut ids = Vec::new();
        for deal in hub.view_deals(&deals).await.unwrap() {
            ids.extend(deal.expect("the deal is there").tasks());
        }
        hub.view_tasks(&ids).await.unwrap().into_iter().map(|task| (task.id, task.status)).collect()
    }

    /// A last process brings everything to its end, is drained, and ends.
    async fn come_to_rest(&mut self) {
        let mut running = match self.start(None).await {
            Ok(running) => running,
            Err(_) => panic!("the pool did not start"),
        };
        if !self.told.draining.get() {
            self.command(&mut running, true).await;
        }
        let until = Instant::now() + END_PATIENCE;
        while !running.engine.is_finished() {
            if Instant::now() > until {
                let open: Vec<_> = self.tasks().await.into_iter().filter(|(_, status)| !status.is_final()).collect();
                let why = self.explain(&running, &open).await;
                panic!("the market did not come to its end: {open:?} {why}");
            }
            self.go_on(true).await;
        }
        let result = timeout(END_PATIENCE, &mut running.engine).await.unwrap().unwrap();
        assert!(matches!(result, Ok(true)), "{result:?}");
        self.town.doors.send_replace(None);
        self.town.machine.kill(false);
    }

    async fn explain(&self, running: &Running, open: &[(TaskId, TaskStatus)]) -> String {
        let mut text = String::new();
        for (task, _) in open {
            let (reply, answer) = oneshot::channel();
            let _ = running.queries.send(Query::ExplainTask(*task, reply)).await;
            text += &format!("{:?}\n", answer.await);
        }
        text
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
