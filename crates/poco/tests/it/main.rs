//! Random lives of a market: after every step the replay of the events equals the model, and the invariants hold.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_poco::check::{self, LedgerView, Shown};
use gristmill_poco::model::{SoloProof, result_hash, result_seal};
use gristmill_poco::{DealTerms, HubEvent, Logged, Matching, Model, OrderUse, Replay, Resource, Revert, bill};
use gristmill_types::{Amount, DealId, OrderHash, TaskId, TaskStatus, Trust};

const HUB: Address = Address::repeat_byte(0xaa);
const WORKERS: u64 = 10;
const T: u64 = 10;
/// Workers without stake of their own.
const POOR: std::ops::Range<u64> = 8..10;

/// A small generator of its own, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<'a, V>(&mut self, from: &'a [V]) -> Option<&'a V> {
        if from.is_empty() { None } else { from.get(self.roll(from.len() as u64) as usize) }
    }
}

struct World {
    seed: u64,
    dice: Dice,
    now: u64,
    block: u64,
    model: Model,
    replay: Replay,
    volumes: BTreeMap<OrderHash, u64>,
    orders: Vec<[OrderUse; 4]>,
    deals: Vec<DealId>,
    tasks: Vec<TaskId>,
    /// What happened, for the coverage at the end.
    seen: BTreeMap<&'static str, u64>,
}

fn account(index: u64) -> Address {
    Address::with_last_byte(index as u8 + 1)
}

fn digest(index: u64) -> B256 {
    B256::with_last_byte(index as u8 + 1)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            seed,
            dice: Dice(seed),
            now: 1_000,
            block: 0,
            model: Model::new(HUB),
            replay: Replay::new(HUB),
            volumes: BTreeMap::new(),
            orders: Vec::new(),
            deals: Vec::new(),
            tasks: Vec::new(),
            seen: BTreeMap::new(),
        };
        for index in 0..WORKERS + 4 {
            // Two workers have hardly anything, and need somebody's stake to vote.
            let most = if POOR.contains(&index) { 2 } else { 2_000 };
            let amount = Amount::from_ngrist(u128::from(world.dice.roll(most)) * 100_000_000);
            let events = world.model.deposit(account(index), amount);
            world.take(events);
        }
        world
    }

    /// Feeds the events of one transaction to the replay, and compares.
    fn take(&mut self, outcome: Result<Vec<HubEvent>, Revert>) -> bool {
        let Ok(events) = outcome else { return false };
        self.block += 1;
        for (log_index, event) in (0..).zip(events) {
            match &event {
                HubEvent::TaskFinalize { .. } => *self.seen.entry("finalize").or_default() += 1,
                HubEvent::TaskReopen { .. } => *self.seen.entry("reopen").or_default() += 1,
                HubEvent::TaskClaimed { .. } => *self.seen.entry("claim").or_default() += 1,
                HubEvent::TaskConcede { .. } => *self.seen.entry("concede").or_default() += 1,
                HubEvent::FaultyContribution { .. } => *self.seen.entry("faulty").or_default() += 1,
                HubEvent::AccurateContribution { .. } => *self.seen.entry("accurate").or_default() += 1,
                HubEvent::StakeLent { .. } => *self.seen.entry("lent").or_default() += 1,
                HubEvent::StakeReturned { .. } => *self.seen.entry("returned").or_default() += 1,
                HubEvent::StakeLost { .. } => *self.seen.entry("lost").or_default() += 1,
                HubEvent::DebtRepaid { .. } => *self.seen.entry("repaid").or_default() += 1,
                HubEvent::OrderClosed { .. } => *self.seen.entry("closed").or_default() += 1,
                _ => {}
            }
            let logged = Logged { block: self.block, timestamp: self.now, log_index, event };
            self.replay.apply(logged).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
        assert_eq!(self.replay.books(), self.model.books(), "seed {}", self.seed);
        let view = LedgerView::of(self.model.books(), self.now, self.volumes.clone());
        let verdict = check::i1(&self.replay, &view)
            .and_then(|()| check::i2(&self.replay))
            .and_then(|()| check::i4(&self.replay))
            .and_then(|()| check::i6(&self.replay))
            .and_then(|()| check::i7(&self.replay, &view))
            .and_then(|()| check::i8(&self.replay, &view, &[]));
        verdict.unwrap_or_else(|violation| panic!("seed {}: {violation}", self.seed));
        true
    }

    fn step(&mut self) {
        let before = self.model.books().clone();
        let task = self.dice.pick(&self.tasks).copied().unwrap_or_default();
        let sender = account(self.dice.roll(WORKERS + 4));
        let ok = match self.dice.roll(28) {
            0 if self.dice.roll(8) == 0 => self.step_close(),
            0 => self.step_match(),
            1 | 2 => self.step_initialize(),
            3..=8 => self.step_contribute(task, sender),
            9..=13 => self.step_reveal(task),
            14 => {
                let outcome = self.model.reopen(self.now, task);
                self.take(outcome)
            }
            15..=17 => {
                let owner = self.model.books().terms_of(task).map(|terms| terms.workerpool.owner);
                let sender = owner.filter(|_| self.dice.roll(4) > 0).unwrap_or(sender);
                let outcome = self.model.finalize(sender, self.now, task, Bytes::from_static(b"x"), &[]);
                self.take(outcome)
            }
            18 | 25 => {
                let proof = SoloProof { digest: digest(self.dice.roll(3)), results: Bytes::new(), callback: &[] };
                let outcome = self.model.contribute_and_finalize(sender, self.now, task, proof, true);
                let ok = self.take(outcome);
                *self.seen.entry("alone").or_default() += u64::from(ok);
                ok
            }
            19 => {
                let outcome = self.model.claim(self.now, task);
                self.take(outcome)
            }
            20 => {
                let owner = self.model.books().terms_of(task).map(|terms| terms.workerpool.owner).unwrap_or(sender);
                let outcome = self.model.concede(owner, self.now, task);
                self.take(outcome)
            }
            21 => self.step_money(sender),
            22..=24 => self.step_loan(sender),
            _ => {
                self.now += self.dice.roll(6);
                true
            }
        };
        if !ok {
            assert_eq!(*self.model.books(), before, "seed {}: a revert changed something", self.seed);
        }
    }

    fn step_match(&mut self) -> bool {
        let fresh = self.orders.is_empty() || self.dice.roll(2) == 0;
        if fresh {
            let first = self.orders.len() as u64 * 4;
            let orders = [0, 1, 2, 3].map(|kind| OrderUse {
                hash: OrderHash(B256::from(alloy_primitives::U256::from(first + kind + 1))),
                volume: self.dice.roll(5),
            });
            self.volumes.extend(orders.map(|order| (order.hash, order.volume)));
            self.orders.push(orders);
        }
        let [app, dataset, workerpool, request] = *self.dice.pick(&self.orders).unwrap();
        let dataset = (self.dice.roll(2) == 0).then_some(dataset);
        let mut resource = |sides: u64| Resource {
            pointer: Address::repeat_byte(0xc0),
            owner: account(self.dice.roll(WORKERS + 4)),
            price: Amount::from_ngrist(u128::from(self.dice.roll(sides)) * 333_333_333),
        };
        let terms = DealTerms {
            app: resource(3),
            dataset: if dataset.is_some() { resource(3) } else { Resource::default() },
            workerpool: resource(12),
            trust: Trust::new([1, 1, 2, 4, 5, 9][self.dice.roll(6) as usize]),
            work_clock_s: T,
            requester: account(self.dice.roll(WORKERS + 4)),
            sponsor: account(self.dice.roll(WORKERS + 4)),
            worker_stake: Amount::from_ngrist(u128::from(self.dice.roll(4)) * 777_777_777),
            scheduler_reward_percent: self.dice.roll(101),
            ..DealTerms::default()
        };
        match self.model.match_orders(self.now, Matching { app, dataset, workerpool, request, terms }) {
            Ok((deal, events)) => {
                self.replay.add_deal(deal, self.model.books().deals[&deal].terms.clone());
                self.deals.push(deal);
                self.take(Ok(events))
            }
            Err(_) => false,
        }
    }

    fn step_close(&mut self) -> bool {
        let Some(orders) = self.dice.pick(&self.orders).copied() else { return false };
        let outcome = self.model.close_order(orders[self.dice.roll(4) as usize].hash);
        self.take(outcome)
    }

    fn step_initialize(&mut self) -> bool {
        let Some(deal) = self.dice.pick(&self.deals).copied() else { return false };
        let index = self.model.books().deals[&deal].terms.bot_first + self.dice.roll(4);
        let outcome = self.model.initialize(deal, index);
        let ok = self.take(outcome);
        if ok {
            self.tasks.push(deal.task(index));
        }
        ok
    }

    fn step_contribute(&mut self, task: TaskId, sender: Address) -> bool {
        // The poor have their turn often enough for what they do to be seen.
        let sender = if self.dice.roll(5) == 0 { account(POOR.start + self.dice.roll(2)) } else { sender };
        // Three of four tell the truth, some of the others copy a hash under a seal of nothing.
        let digest = digest(if self.dice.roll(4) > 0 { 0 } else { self.dice.roll(3) });
        let sealed = if self.dice.roll(6) == 0 { B256::ZERO } else { digest };
        let (hash, seal) = (result_hash(task, digest), result_seal(sender, task, sealed));
        let outcome = self.model.contribute(sender, self.now, task, hash, seal, self.dice.roll(20) > 0);
        self.take(outcome)
    }

    /// A holder who would reveal, and now and then somebody else.
    fn step_reveal(&mut self, task: TaskId) -> bool {
        let sender = match self.model.books().tasks.get(&task) {
            Some(task) if self.dice.roll(10) > 0 => self.dice.pick(&task.contributors).copied(),
            _ => None,
        };
        let sender = sender.unwrap_or(account(self.dice.roll(WORKERS)));
        let outcome = self.model.reveal(sender, self.now, task, digest(if self.dice.roll(5) > 0 { 0 } else { 1 }));
        self.take(outcome)
    }

    fn step_money(&mut self, sender: Address) -> bool {
        let amount = Amount::from_ngrist(u128::from(self.dice.roll(20)) * 100_000_000);
        let outcome = match self.dice.roll(3) {
            0 => self.model.deposit(sender, amount),
            1 => self.model.withdraw(sender, amount),
            _ => self.model.transfer(sender, account(self.dice.roll(WORKERS)), amount),
        };
        self.take(outcome)
    }

    /// Somebody lends stake, to one who has little or to anybody, or a debtor repays.
    fn step_loan(&mut self, sender: Address) -> bool {
        let amount = Amount::from_ngrist(u128::from(self.dice.roll(6)) * 777_777_777);
        let loans = self.model.books().loans.iter();
        let debtors: Vec<Address> = loans.filter(|(_, loan)| !loan.debt.is_zero()).map(|(worker, _)| *worker).collect();
        let outcome = if self.dice.roll(if debtors.is_empty() { 12 } else { 2 }) == 0 {
            let debtor = self.dice.pick(&debtors).copied().unwrap_or(sender);
            if self.dice.roll(2) == 0 {
                let brought = self.model.deposit(debtor, amount);
                self.take(brought);
                // That had its effect, whatever becomes of the rest.
                let outcome = self.model.repay_debt(debtor, amount);
                self.take(outcome);
                return true;
            }
            self.model.repay_debt(debtor, amount)
        } else {
            let worker = match self.dice.roll(5) {
                0 => account(self.dice.roll(WORKERS + 4)),
                _ => account(POOR.start + self.dice.roll(POOR.end - POOR.start)),
            };
            // Mostly somebody whose pool has a deal, and enough for a few votes.
            let deal = self.dice.pick(&self.deals).copied();
            let owner = deal.map(|deal| self.model.books().deals[&deal].terms.workerpool.owner);
            let lender = owner.filter(|_| self.dice.roll(8) > 0).unwrap_or(sender);
            self.model.lend_stake(lender, worker, amount)
        };
        self.take(outcome)
    }

    /// Time passes, and everything that is open is claimed.
    fn finish(&mut self) {
        self.now += 20 * T;
        for deal in self.deals.clone() {
            for index in self.model.books().deals[&deal].terms.indexes() {
                let outcome = self.model.initialize(deal, index);
                self.take(outcome);
                let open = !self.model.books().tasks[&deal.task(index)].status.is_final();
                let outcome = self.model.claim(self.now, deal.task(index));
                assert_eq!(self.take(outcome), open, "seed {}: an open task must be claimable", self.seed);
            }
        }
        let books = self.model.books();
        let completed = books.tasks.iter().filter(|(_, task)| task.status == TaskStatus::Completed);
        let shown = Shown {
            source: "test".to_owned(),
            statuses: books.tasks.iter().map(|(id, task)| (*id, task.status)).collect(),
            accepted: completed.map(|(id, task)| (*id, task.digest)).collect(),
        };
        let view = LedgerView::of(books, self.now, self.volumes.clone());
        check::all(&self.replay, &view, &[shown], true)
            .unwrap_or_else(|violation| panic!("seed {}: {violation}", self.seed));
        let bill = bill::bill(&self.replay, &self.deals).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        assert_eq!((bill.open, bill.in_pots), (Amount::ZERO, Amount::ZERO), "seed {}", self.seed);
    }
}

#[test]
fn whatever_happens_the_books_are_right() {
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in 0..250 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
        world.finish();
        for (what, count) in &world.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in
        ["finalize", "reopen", "claim", "concede", "faulty", "accurate", "alone", "lent", "returned", "lost", "closed"]
    {
        assert!(seen.get(what).is_some_and(|count| *count >= 20), "{what} is hardly ever reached: {seen:?}");
    }
    assert!(seen.get("repaid").is_some_and(|count| *count >= 5), "debts are hardly ever repaid: {seen:?}");
}

/// A market of one completed and one open task, to be spoiled.
fn small_world() -> World {
    let mut world = (0..).map(World::new).find_map(|mut world| {
        for _ in 0..400 {
            world.step();
        }
        let done = world.model.books().tasks.values().any(|task| task.status == TaskStatus::Completed);
        (done && world.model.books().tasks.values().any(|task| !task.status.is_final())).then_some(world)
    });
    world.take().unwrap()
}

#[test]
fn the_checks_can_fail() {
    let world = small_world();
    let replay = &world.replay;
    let view = LedgerView::of(world.model.books(), world.now, world.volumes.clone());
    check::all(replay, &view, &[], false).unwrap();
    let one = Amount::from_ngrist(1);
    let invariant = |verdict: Result<(), check::Violation>| verdict.unwrap_err().invariant;

    let poor = LedgerView { tokens: view.supply.saturating_sub(one), ..view.clone() };
    assert_eq!(invariant(check::i1(replay, &poor)), check::Invariant::I1);
    assert_eq!(invariant(check::i3(replay, world.now, true)), check::Invariant::I3);
    assert_eq!(invariant(check::i3(replay, world.now + 20 * T, false)), check::Invariant::I3);

    let (order, used) = world.model.books().consumed.iter().find(|(_, used)| **used > 0).unwrap();
    let small = LedgerView { volumes: BTreeMap::from([(*order, used - 1)]), ..view.clone() };
    assert_eq!(invariant(check::i7(replay, &small)), check::Invariant::I7);

    let mut other = view.clone();
    other.accounts.values_mut().next().unwrap().stake = Amount::from_grist(1_000_000);
    assert_eq!(invariant(check::i8(replay, &other, &[])), check::Invariant::I8);

    let (done, task) = world.model.books().tasks.iter().find(|(_, task)| task.status == TaskStatus::Completed).unwrap();
    let says = |accepted, statuses| [Shown { source: "page".to_owned(), statuses, accepted }];
    check::i5(replay, &says(BTreeMap::from([(*done, task.digest)]), BTreeMap::new())).unwrap();
    for lie in [None, Some(B256::repeat_byte(9))] {
        let verdict = check::i5(replay, &says(BTreeMap::from([(*done, lie)]), BTreeMap::new()));
        assert_eq!(invariant(verdict), check::Invariant::I5);
    }
    let verdict = check::i8(replay, &view, &says(BTreeMap::new(), BTreeMap::from([(*done, TaskStatus::Failed)])));
    assert_eq!(invariant(verdict), check::Invariant::I8);
}

#[test]
fn a_payment_that_no_rule_explains_is_found() {
    let world = small_world();
    let (done, task) = world.model.books().tasks.iter().find(|(_, task)| task.status == TaskStatus::Completed).unwrap();
    let (id, winner) =
        (*done, task.contributors.iter().rev().find(|worker| task.is_proved_holder(&task.contributions[*worker])));
    let winner = *winner.unwrap();
    for event in [
        HubEvent::Reward { owner: winner, amount: Amount::from_ngrist(5), task: id },
        HubEvent::Reward { owner: HUB, amount: Amount::ZERO, task: id },
        HubEvent::Reward { owner: winner, amount: Amount::from_ngrist(5), task: TaskId::default() },
    ] {
        let mut replay = world.replay.clone();
        replay.apply(Logged { block: world.block + 1, timestamp: world.now, log_index: 0, event }).unwrap();
        assert_eq!(check::i4(&replay).unwrap_err().invariant, check::Invariant::I4);
    }
    // Stake that nobody owns.
    let mut replay = world.replay.clone();
    let event = HubEvent::Lock { owner: winner, amount: Amount::from_ngrist(1) };
    replay.apply(Logged { block: world.block + 1, timestamp: world.now, log_index: 0, event }).unwrap();
    assert_eq!(check::i2(&replay).unwrap_err().invariant, check::Invariant::I2);
}

#[test]
fn a_log_that_no_hub_wrote_is_refused() {
    let mut replay = Replay::new(HUB);
    let at = |block, event| Logged { block, timestamp: 1, log_index: 0, event };
    let spent = HubEvent::Transfer { from: account(0), to: account(1), value: Amount::from_grist(1) };
    replay.apply(at(1, spent)).unwrap_err();
    replay.apply(at(1, HubEvent::TaskClaimed { task: TaskId::default() })).unwrap_err();
    replay.apply(at(2, HubEvent::TaskClaimed { task: TaskId::default() })).unwrap_err();
    let deal = DealId(B256::repeat_byte(4));
    let order = OrderHash(B256::repeat_byte(5));
    let matched =
        HubEvent::OrdersMatched { deal, app: order, dataset: order, workerpool: order, request: order, volume: 1 };
    replay.apply(at(3, matched.clone())).unwrap_err();
    replay.add_deal(deal, DealTerms { bot_size: u64::MAX, ..DealTerms::default() });
    replay.apply(at(4, matched.clone())).unwrap_err();
    replay.apply(at(5, HubEvent::OrderClosed { order })).unwrap();
    replay.add_deal(deal, DealTerms { bot_size: 1, ..DealTerms::default() });
    replay.apply(at(6, matched)).unwrap_err();
}
