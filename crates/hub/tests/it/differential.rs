//! The contracts and the model do the same: random deposits, orders and task steps, right and wrong ones, by everybody,
//! around every deadline. After each step the results and the events are equal, after every few the whole books and all views.
//!
//! `GRISTMILL_STEPS` and `GRISTMILL_SEEDS` make it longer; a failure names its seed and step.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use gristmill_hub::{CallData, ContributeArgs, HubClient, HubEvent, LedgerPort, OrderOperation, Revert, audit, sign};
use gristmill_poco::check::{self, LedgerView};
use gristmill_poco::model::{SoloProof, result_hash, result_seal};
use gristmill_poco::{Matching, Model, OrderUse, Resource};
use gristmill_types::{
    Amount, ContributionStatus, DealId, OrderHash, RequestOrder, Signed, TaskId, TaskStatus, Trust, WorkerpoolOrder,
};
use gristmill_wallet::Wallet;

use crate::market::Market;

const WORKERS: u8 = 7;
const ANSWERS: u64 = 3;
/// The first of the workers have no stake of their own.
const POOR: u64 = 2;
/// Runs of the short test and of the one that `GRISTMILL_SLOW_TESTS` asks for, and the steps of each.
const SEEDS_FAST: u64 = 3;
const SEEDS_SLOW: u64 = 60;
const STEPS: u64 = 500;
/// Steps between two looks at everything.
const FULL_CHECK_EVERY: u64 = 60;

#[tokio::test]
async fn contracts_and_model_agree() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let slow = std::env::var_os("GRISTMILL_SLOW_TESTS").is_some();
    let seeds = number("GRISTMILL_SEEDS", if slow { SEEDS_SLOW } else { SEEDS_FAST });
    let steps = number("GRISTMILL_STEPS", STEPS);
    let mut total = BTreeMap::new();
    for seed in 1..=seeds {
        let mut run = Run::new(seed).await;
        for step in 0..steps {
            run.step(step).await;
        }
        run.end().await;
        run.boast(&mut total);
    }
    // A run that never got anywhere proves nothing.
    let doors = [
        "match",
        "initialize",
        "contribute",
        "reveal",
        "finalize",
        "solo",
        "claim",
        "concede",
        "reopen",
        "lend",
        "repay",
    ];
    for name in doors {
        let [done, refused] = total.get(name).copied().unwrap_or_default();
        assert!(done > 0 && refused > 0, "{name} was never both done and refused: {total:?}");
    }
    for name in ["lent", "lost", "returned", "close"] {
        assert!(total.contains_key(name), "nothing was ever {name}: {total:?}");
    }
    assert!(total["recount"][0] > 0, "no finalize ever failed its recount: {total:?}");
    assert!(total["completed"][0] >= seeds * steps / 40, "too few tasks were completed: {total:?}");
    assert!(seeds < 3 || total["weighty"][0] > 0, "nobody ever weighed more than a newcomer: {total:?}");
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// What a step does on both sides.
struct Step {
    name: &'static str,
    sender: Wallet,
    call: CallData,
    expected: Result<Vec<HubEvent>, gristmill_poco::Revert>,
}

struct Run {
    seed: u64,
    /// Whether the pool's owner and the requester vote too. With equal stakes the events then do not tell in which role an
    /// account was slashed, so that a bill (and with it I4 and I6) cannot be read from them.
    roles_mixed: bool,
    /// Whether nearly everybody does the right thing in time, so that workers get a reputation.
    calm: bool,
    random: Random,
    market: Market,
    model: Model,
    people: Vec<Wallet>,
    requests: Vec<Signed<RequestOrder>>,
    pools: Vec<Signed<WorkerpoolOrder>>,
    deals: Vec<DealId>,
    /// Of each kind of step: done, refused.
    tally: BTreeMap<&'static str, [u64; 2]>,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let market = Market::new(WORKERS).await;
        let mut model = Model::new(market.client.hub);
        let mut people: Vec<Wallet> = market.workers.iter().map(|worker| worker.wallet.clone()).collect();
        people.extend([market.requester.wallet.clone(), market.pool_owner.wallet.clone()]);
        for person in &people {
            model.deposit(person.address(), Amount::from_grist(900)).unwrap();
        }
        for person in &market.workers[..POOR as usize] {
            person.send(market.client.withdraw(Amount::from_grist(900))).await;
            model.withdraw(person.address(), Amount::from_grist(900)).unwrap();
        }
        // One who has nothing at the hub, and owns the app.
        people.push(market.owner.wallet.clone());
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (requests, pools, deals) = Default::default();
        let (roles_mixed, calm) = (seed.is_multiple_of(2), seed.is_multiple_of(3));
        Self { seed, roles_mixed, calm, random, market, model, people, requests, pools, deals, tally: BTreeMap::new() }
    }

    async fn step(&mut self, number: u64) {
        if !self.calm || self.random.chance(3) {
            self.pass_time();
        }
        let disorder = if self.calm { 84 } else { 100 };
        let step = match self.random.below(disorder) {
            0..4 => self.money(),
            4 if self.random.chance(40) => self.close(),
            4..8 => self.matching(),
            8..11 => self.initialize(),
            11..17 => self.loan(),
            17..78 => self.progress(),
            _ => self.anything(),
        };
        let context = format!("seed {}, step {number}: {} by {}", self.seed, step.name, step.sender.address());
        self.compare(step, &context).await;
        if number % FULL_CHECK_EVERY == FULL_CHECK_EVERY - 1 {
            self.check_everything(false).await;
        }
    }

    async fn compare(&mut self, step: Step, context: &str) {
        let found = self.on_ledger(&step).await;
        match (&step.expected, &found) {
            (Ok(expected), Ok(found)) => {
                assert_eq!(expected, found, "{context}: other events");
                self.tally.entry(step.name).or_default()[0] += 1;
                for event in found {
                    let name = match event {
                        HubEvent::StakeLent { .. } => "lent",
                        HubEvent::StakeLost { .. } => "lost",
                        HubEvent::StakeReturned { .. } => "returned",
                        _ => continue,
                    };
                    self.tally.entry(name).or_default()[0] += 1;
                }
                if step.name == "finalize" && found.iter().any(|event| matches!(event, HubEvent::TaskReopen { .. })) {
                    self.tally.entry("recount").or_default()[0] += 1;
                }
            }
            (Err(expected), Err(found)) => {
                assert_eq!(code_of(expected), found.1, "{context}: another refusal than {expected:?}: {:?}", found.0);
                self.tally.entry(step.name).or_default()[1] += 1;
            }
            (expected, found) => panic!("{context}:\n model    {expected:?}\n contract {found:?}"),
        }
    }

    /// Initialises and claims whatever is left once its time is over, so that everything must have ended.
    async fn end(&mut self) {
        let terms = self.model.books().deals.values().map(|deal| deal.terms.final_deadline());
        let last = terms.max().unwrap_or_default().max(self.now());
        self.market.chain.set_clock(last);
        for deal in self.deals.clone() {
            let indexes = self.model.books().deals[&deal].terms.indexes();
            for index in indexes {
                let id = deal.task(index);
                if !self.model.books().tasks.contains_key(&id) {
                    let expected = self.model.initialize(deal, index);
                    let call = self.market.client.initialize(deal, index);
                    let step = Step { name: "initialize", sender: self.anybody(), call, expected };
                    self.compare(step, &format!("seed {}, at the end", self.seed)).await;
                }
                if !self.model.books().tasks[&id].status.is_final() {
                    let step = self.claim(id);
                    self.compare(step, &format!("seed {}, at the end", self.seed)).await;
                }
            }
        }
        self.check_everything(true).await;
    }

    /// The events of the step on the ledger, or its refusal and that refusal's name.
    async fn on_ledger(&self, step: &Step) -> Result<Vec<HubEvent>, (Revert, String)> {
        if let Err(error) = self.market.client.try_call(step.call.clone(), step.sender.address()).await {
            let revert = error.revert().unwrap_or_else(|| panic!("{error}")).clone();
            let code = match &revert.reason {
                gristmill_hub::revert::Reason::Panic(code) => format!("panic {code:#x}"),
                _ => revert.code().to_owned(),
            };
            return Err((revert, code));
        }
        let call = step.call.clone().call(step.sender.address());
        let (success, _) = self.market.chain.execute(&step.sender, &call);
        assert!(success, "seed {}: a call that succeeds fails as a transaction: {}", self.seed, step.name);
        let head = self.market.chain.head().await.unwrap();
        Ok(events_of(&self.market.client, head).await)
    }

    /// Sometimes nothing, sometimes a bit of T, sometimes exactly to a deadline or a second beside it.
    fn pass_time(&mut self) {
        let now = self.now();
        let later = match self.random.below(100) {
            0..85 => now,
            85..96 => now + self.random.below(60),
            _ => {
                let moments = self.moments();
                if moments.is_empty() {
                    return;
                }
                let moment = self.random.pick(&moments);
                (moment + self.random.below(3)).saturating_sub(1)
            }
        };
        if later > now {
            self.market.chain.set_clock(later);
        }
    }

    /// Every moment at which a rule about an open task turns, if it is near.
    fn moments(&self) -> Vec<u64> {
        let now = self.now();
        let books = self.model.books();
        let mut moments = Vec::new();
        for (id, task) in books.tasks.iter().filter(|(_, task)| !task.status.is_final()) {
            let Some(terms) = books.terms_of(*id) else { continue };
            let half = terms.work_clock_s / 2;
            moments.extend([terms.contribution_deadline(), terms.final_deadline()]);
            moments.extend([task.reveal_deadline, task.reveal_deadline + half]);
            moments.extend(task.conceded_at);
        }
        moments.retain(|moment| *moment >= now && *moment < now + 4_000);
        moments
    }

    fn now(&self) -> u64 {
        self.market.chain.now()
    }

    /// Somebody's wallet; the tail of the list is requester, pool owner, app owner.
    fn anybody(&mut self) -> Wallet {
        self.random.pick(&self.people)
    }

    /// Somebody who may vote in this run.
    fn voter(&mut self) -> Wallet {
        if self.roles_mixed { self.anybody() } else { self.worker() }
    }

    fn worker(&mut self) -> Wallet {
        self.people[self.random.below(u64::from(WORKERS)) as usize].clone()
    }

    fn pool_owner(&self) -> Wallet {
        self.market.pool_owner.wallet.clone()
    }

    fn money(&mut self) -> Step {
        let sender = self.anybody();
        let from = sender.address();
        let amount = Amount::from_ngrist(u128::from(self.random.below(2_000)) * 1_000_000_000 / 2);
        let client = self.market.client.clone();
        match self.random.below(3) {
            // More than anybody has left is the token's refusal, not the hub's.
            0 => {
                let amount = Amount::from_ngrist(u128::from(self.random.below(1_000_000)));
                let expected = self.model.deposit(from, amount);
                Step { name: "deposit", sender, call: client.deposit(amount), expected }
            }
            1 => {
                let expected = self.model.withdraw(from, amount);
                Step { name: "withdraw", sender, call: client.withdraw(amount), expected }
            }
            _ => {
                let to = if self.random.chance(10) { client.hub } else { self.anybody().address() };
                let expected = self.model.transfer(from, to, amount);
                Step { name: "transfer", sender, call: client.transfer_stake(to, amount), expected }
            }
        }
    }

    /// The pool's owner lends stake, mostly to one of the two who have none; or somebody repays.
    fn loan(&mut self) -> Step {
        let client = self.market.client.clone();
        let limit = Amount::from_ngrist(u128::from(self.random.below(6)) * 210_000_000_000);
        let loans = &self.model.books().loans;
        let owes = |person: &&Wallet| loans.get(&person.address()).is_some_and(|loan| !loan.debt.is_zero());
        let debtor = self.people.iter().find(owes).cloned();
        if self.random.chance(if debtor.is_some() { 60 } else { 10 }) {
            let sender = debtor.unwrap_or_else(|| self.anybody());
            let from = sender.address();
            let free = self.model.books().account(from).stake;
            if free.is_zero() && self.random.chance(70) {
                let amount = Amount::from_ngrist(1 + u128::from(self.random.below(1_000_000)));
                let expected = self.model.deposit(from, amount);
                return Step { name: "deposit", sender, call: client.deposit(amount), expected };
            }
            let amount = if self.random.chance(70) { free } else { limit };
            let expected = self.model.repay_debt(from, amount);
            return Step { name: "repay", sender, call: client.repay_debt(amount), expected };
        }
        let sender = if self.random.chance(90) { self.pool_owner() } else { self.anybody() };
        let worker = match self.random.below(10) {
            0 => client.hub,
            1 => self.anybody().address(),
            _ => self.people[self.random.below(POOR) as usize].address(),
        };
        let expected = self.model.lend_stake(sender.address(), worker, limit);
        Step { name: "lend", sender, call: client.lend_stake(worker, limit), expected }
    }

    fn matching(&mut self) -> Step {
        let price = self.random.pick(&[0, 1, 99, 1_000_000_000, 3_333_333_333, 700_000_000_000]);
        let fresh_request = self.requests.is_empty() || self.random.chance(80);
        if fresh_request {
            let trust = self.random.pick(&[0, 1, 2, 3, 5, 5, 5, 9, 17]);
            let salt = 1_000 + self.requests.len() as u64;
            let volume = 1 + self.random.below(3);
            let request = self.market.request(0, volume, trust, salt);
            let callback = if self.random.chance(20) { Address::repeat_byte(0xcb) } else { Address::ZERO };
            let order = RequestOrder { callback, ..request.order };
            self.requests.push(sign::order(&self.market.requester.wallet, order, self.market.client.domain()));
        }
        if self.pools.is_empty() || self.random.chance(60) {
            let order = self.market.pool_order(0, price, 100).order;
            let volume = U256::from(1 + self.random.below(6));
            let salt = B256::from(U256::from(self.pools.len()));
            let order = WorkerpoolOrder { volume, salt, ..order };
            self.pools.push(sign::order(&self.market.pool_owner.wallet, order, self.market.client.domain()));
        }
        let request = if fresh_request {
            self.requests[self.requests.len() - 1].clone()
        } else {
            self.random.pick(&self.requests)
        };
        let pool = self.random.pick(&self.pools);
        let sponsored = self.random.chance(20);
        let sender = if sponsored { self.anybody() } else { self.worker() };
        self.match_these(request, pool, sender, sponsored)
    }

    /// Its owner closes an order that may be matched in part.
    fn close(&mut self) -> Step {
        if self.requests.is_empty() {
            return self.matching();
        }
        let (client, sender) = (self.market.client.clone(), self.market.requester.wallet.clone());
        let request = self.random.pick(&self.requests);
        let expected = self.model.close_order(client.order_hash(&request.order));
        Step { name: "close", call: client.manage_request_order(&request, OrderOperation::Close), sender, expected }
    }

    fn match_these(
        &mut self,
        request: Signed<RequestOrder>,
        pool: Signed<WorkerpoolOrder>,
        sender: Wallet,
        sponsored: bool,
    ) -> Step {
        let client = self.market.client.clone();
        let app = self.market.app_order(7);
        let amount = |value: U256| Amount::try_from(value).unwrap();
        let terms = gristmill_poco::DealTerms {
            app: Resource {
                pointer: self.market.app,
                owner: self.market.owner.address(),
                price: amount(app.order.appprice),
            },
            dataset: Resource::default(),
            workerpool: Resource {
                pointer: self.market.pool,
                owner: self.market.pool_owner.address(),
                price: amount(pool.order.workerpoolprice),
            },
            trust: Trust::new(request.order.trust.to()),
            category: request.order.category.to(),
            work_clock_s: 300,
            tag: B256::ZERO,
            requester: request.order.requester,
            beneficiary: request.order.beneficiary,
            callback: request.order.callback,
            worker_stake: amount(pool.order.workerpoolprice).checked_ratio(30, 100).unwrap(),
            scheduler_reward_percent: 1,
            sponsor: if sponsored { sender.address() } else { request.order.requester },
            ..Default::default()
        };
        let usage = |hash, volume: U256| OrderUse { hash, volume: volume.saturating_to() };
        let matching = Matching {
            app: usage(client.order_hash(&app.order), app.order.volume),
            dataset: None,
            workerpool: usage(client.order_hash(&pool.order), pool.order.volume),
            request: usage(client.order_hash(&request.order), request.order.volume),
            terms,
        };
        let now = self.now();
        let expected = self.model.match_orders(now, matching).map(|(deal, events)| {
            self.deals.push(deal);
            events
        });
        let none = sign::no_dataset();
        let call = if sponsored {
            client.sponsor_match_orders(&app, &none, &pool, &request)
        } else {
            client.match_orders(&app, &none, &pool, &request)
        };
        Step { name: "match", sender, call, expected }
    }

    fn initialize(&mut self) -> Step {
        let deal = if self.deals.is_empty() || self.random.chance(3) {
            DealId(keccak256("no deal"))
        } else {
            // Mostly a recent one.
            let back = self.random.below(4).min(self.deals.len() as u64 - 1) as usize;
            self.deals[self.deals.len() - 1 - back]
        };
        let end = self.model.books().deals.get(&deal).map_or(4, |deal| deal.terms.indexes().end);
        let index = self.random.below(end + 1);
        self.initialize_this(deal, index)
    }

    fn initialize_this(&mut self, deal: DealId, index: u64) -> Step {
        let expected = self.model.initialize(deal, index);
        let call = self.market.client.initialize(deal, index);
        Step { name: "initialize", sender: self.anybody(), call, expected }
    }

    /// The step that brings the market further: mostly an open task, else a new task, else a new deal.
    fn progress(&mut self) -> Step {
        let books = self.model.books();
        let tasks = books.tasks.iter();
        let open: Vec<TaskId> = tasks.filter(|(_, task)| !task.status.is_final()).map(|(id, _)| *id).collect();
        if !open.is_empty() {
            let id = self.random.pick(&open);
            return self.advance(id);
        }
        let waiting = self.deals.iter().find_map(|deal| {
            let mut indexes = books.deals[deal].terms.indexes();
            let index = indexes.find(|index| !books.tasks.contains_key(&deal.task(*index)))?;
            Some((*deal, index))
        });
        match waiting {
            Some((deal, index)) => self.initialize_this(deal, index),
            None => self.matching(),
        }
    }

    /// The step that brings an open task further.
    fn advance(&mut self, id: TaskId) -> Step {
        let books = self.model.books();
        let (task, terms) = (books.tasks[&id].clone(), books.terms_of(id).unwrap().clone());
        if task.status == TaskStatus::Revealing && !self.calm && self.random.chance(6) {
            // Somebody keeps silent until it is too late.
            self.market.chain.set_clock(task.reveal_deadline.max(self.now()));
        }
        let now = self.now();
        if now >= terms.final_deadline() {
            return self.claim(id);
        }
        match task.status {
            TaskStatus::Revealing if now >= task.reveal_deadline && task.reveal_counter == 0 => self.reopen(id),
            TaskStatus::Revealing if task.reveal_counter == task.winner_counter || now >= task.reveal_deadline => {
                let owner = self.pool_owner();
                self.finalize(id, owner)
            }
            TaskStatus::Revealing => {
                let is_silent_holder = |vote: &gristmill_poco::Contribution| {
                    Some(vote.hash) == task.consensus && vote.status == ContributionStatus::Contributed
                };
                let votes = task.votes();
                let holders: Vec<Address> =
                    votes.filter(|(_, vote)| is_silent_holder(vote)).map(|(worker, _)| worker).collect();
                let holder = self.random.pick(&holders);
                let sender = self.people.iter().find(|person| person.address() == holder).unwrap().clone();
                let answer = (0..ANSWERS).find(|answer| Some(result_hash(id, digest(*answer))) == task.consensus);
                self.reveal(id, sender, answer.unwrap_or(0))
            }
            _ => {
                // A few workers do most of the work, so that some of them get a reputation.
                let mut fresh = self.people[..4].to_vec();
                fresh.retain(|person| !task.contributions.contains_key(&person.address()));
                let known = !fresh.is_empty() && self.random.chance(85);
                let sender = if known { self.random.pick(&fresh) } else { self.voter() };
                // Who has nothing of its own lies more readily.
                let poor = self.people[..POOR as usize].iter().any(|person| person.address() == sender.address());
                let honest = self.random.chance(if poor { 60 } else { 92 });
                let answer = if self.calm || honest { 0 } else { self.random.below(ANSWERS) };
                if terms.trust.value() == 1 && task.contributors.is_empty() && self.random.chance(50) {
                    return self.solo(id, sender, answer);
                }
                self.contribute(id, sender, answer, true)
            }
        }
    }

    /// Any step on any task by anybody.
    fn anything(&mut self) -> Step {
        let tasks: Vec<TaskId> = self.model.books().tasks.keys().copied().collect();
        let open: Vec<TaskId> =
            tasks.iter().copied().filter(|id| !self.model.books().tasks[id].status.is_final()).collect();
        let id = match (tasks.is_empty(), open.is_empty() || self.random.chance(10)) {
            (true, _) => TaskId(keccak256("no task")),
            (false, true) => self.random.pick(&tasks),
            (false, false) => self.random.pick(&open),
        };
        let sender = self.anybody();
        let answer = self.random.below(ANSWERS);
        match self.random.below(8) {
            0 | 1 => {
                let (sender, authorised) = (self.voter(), self.random.chance(85));
                self.contribute(id, sender, answer, authorised)
            }
            2 => self.reveal(id, sender, answer),
            3 => self.finalize(id, sender),
            4 => {
                let sender = self.voter();
                self.solo(id, sender, answer)
            }
            5 => self.claim(id),
            6 => {
                let owner = self.pool_owner();
                let sender = if self.random.chance(50) { owner } else { sender };
                let now = self.now();
                let expected = self.model.concede(sender.address(), now, id);
                Step { name: "concede", call: self.market.client.concede(id), sender, expected }
            }
            _ => self.reopen(id),
        }
    }

    fn contribute(&mut self, id: TaskId, sender: Wallet, answer: u64, authorised: bool) -> Step {
        let worker = sender.address();
        let hash = result_hash(id, digest(answer));
        // Sometimes a copied commitment: the right hash with another's seal.
        let sealed_for = if !self.calm && self.random.chance(7) { Address::repeat_byte(1) } else { worker };
        let seal = result_seal(sealed_for, id, digest(answer));
        let signer = if authorised { self.pool_owner() } else { self.market.requester.wallet.clone() };
        let args = ContributeArgs {
            task: id,
            result_hash: hash,
            result_seal: seal,
            enclave_challenge: Address::ZERO,
            enclave_sign: Bytes::new(),
            authorization: sign::authorization(&signer, worker, id, Address::ZERO),
        };
        let now = self.now();
        let expected = self.model.contribute(worker, now, id, hash, seal, authorised);
        Step { name: "contribute", call: self.market.client.contribute(&args), sender, expected }
    }

    fn reveal(&mut self, id: TaskId, sender: Wallet, answer: u64) -> Step {
        let now = self.now();
        let expected = self.model.reveal(sender.address(), now, id, digest(answer));
        Step { name: "reveal", call: self.market.client.reveal(id, digest(answer)), sender, expected }
    }

    fn reopen(&mut self, id: TaskId) -> Step {
        let now = self.now();
        let expected = self.model.reopen(now, id);
        Step { name: "reopen", call: self.market.client.reopen(id), sender: self.anybody(), expected }
    }

    fn finalize(&mut self, id: TaskId, sender: Wallet) -> Step {
        let books = self.model.books();
        let called_back = books.terms_of(id).is_some_and(|terms| terms.callback != Address::ZERO);
        let right = books.tasks.get(&id).and_then(|task| task.digest);
        let right = (0..ANSWERS).find(|answer| Some(digest(*answer)) == right).unwrap_or(0);
        let answer = match (called_back, self.random.chance(10)) {
            (true, false) => text(right).into_bytes(),
            (false, false) => Vec::new(),
            (_, true) => text(self.random.below(ANSWERS)).into_bytes(),
        };
        let results = Bytes::from_static(b"somewhere");
        let now = self.now();
        let expected = self.model.finalize(sender.address(), now, id, results.clone(), &answer);
        Step { name: "finalize", call: self.market.client.finalize(id, results, answer.into()), sender, expected }
    }

    fn solo(&mut self, id: TaskId, sender: Wallet, answer: u64) -> Step {
        let called_back = self.model.books().terms_of(id).is_some_and(|terms| terms.callback != Address::ZERO);
        let callback = if called_back != self.random.chance(10) { text(answer).into_bytes() } else { Vec::new() };
        let results = Bytes::from_static(b"alone");
        let proof = SoloProof { digest: digest(answer), results: results.clone(), callback: &callback };
        let now = self.now();
        let expected = self.model.contribute_and_finalize(sender.address(), now, id, proof, true);
        let permission = sign::authorization(&self.pool_owner(), sender.address(), id, Address::ZERO);
        let call = self.market.client.contribute_and_finalize(id, digest(answer), results, callback.into(), permission);
        Step { name: "solo", call, sender, expected }
    }

    fn claim(&mut self, id: TaskId) -> Step {
        let now = self.now();
        let expected = self.model.claim(now, id);
        Step { name: "claim", call: self.market.client.claim(id), sender: self.anybody(), expected }
    }

    /// The books of the model, of a replay of the ledger's events, and the ledger's views are the same; and what must always
    /// hold does.
    async fn check_everything(&self, ended: bool) {
        let seed = self.seed;
        let audit = audit::audit(&self.market.client, self.volumes()).await.unwrap();
        assert_eq!(audit.replay.books(), self.model.books(), "seed {seed}: the replay and the model differ");
        let mut expected = LedgerView::of(self.model.books(), audit.view.now, self.volumes());
        // Accounts without anything are in no books.
        let kitty = self.market.client.kitty_address();
        for address in [self.market.client.hub, kitty] {
            expected.accounts.entry(address).or_default();
        }
        assert_eq!(audit.view, expected, "seed {seed}: the ledger's views and the model differ");
        let broken = |violation: check::Violation| -> () { panic!("seed {seed}: {violation}") };
        // Here nobody claims in time, so that I3 holds at the end only.
        check::i1(&audit.replay, &audit.view).unwrap_or_else(broken);
        check::i2(&audit.replay).unwrap_or_else(broken);
        check::i7(&audit.replay, &audit.view).unwrap_or_else(broken);
        if !self.roles_mixed {
            check::i4(&audit.replay).unwrap_or_else(broken);
            check::i6(&audit.replay).unwrap_or_else(broken);
        }
        if ended && !self.roles_mixed {
            audit.check(&[], true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }

    /// For how many tasks each request was signed: the orders that are closed.
    fn volumes(&self) -> BTreeMap<OrderHash, u64> {
        let volume =
            |request: &Signed<RequestOrder>| (self.market.client.order_hash(&request.order), request.order.volume.to());
        self.requests.iter().map(volume).collect()
    }

    /// Says how far it got, and adds it up.
    fn boast(&mut self, total: &mut BTreeMap<&'static str, [u64; 2]>) {
        let books = self.model.books();
        let count = |status| books.tasks.values().filter(|task| task.status == status).count() as u64;
        let votes = books.tasks.values().flat_map(|task| task.votes());
        let weighty = votes.filter(|(_, vote)| vote.weight > 2).count() as u64;
        let (completed, failed) = (count(TaskStatus::Completed), count(TaskStatus::Failed));
        println!("seed {}: {:?}", self.seed, self.tally);
        println!(
            "seed {}: {} deals, {completed} tasks completed, {failed} failed, scores {:?}, {weighty} weighty votes",
            self.seed,
            books.deals.len(),
            books.scores.values()
        );
        self.tally.insert("completed", [completed, failed]);
        self.tally.insert("weighty", [weighty, 0]);
        for (name, [done, refused]) in &self.tally {
            let sum = total.entry(*name).or_default();
            *sum = [sum[0] + done, sum[1] + refused];
        }
    }
}

fn text(answer: u64) -> String {
    format!("answer {answer}")
}

fn digest(answer: u64) -> B256 {
    keccak256(text(answer))
}

/// What happened at the hub in a block.
pub async fn events_of(client: &HubClient, block: u64) -> Vec<HubEvent> {
    let config = gristmill_hub::FollowerConfig { start_block: block, ..Default::default() };
    let none = gristmill_hub::GivenPosition(None);
    let mut follower = gristmill_hub::Follower::open(client, none, config).await.unwrap();
    let batch = follower.next().await.unwrap();
    batch.events.iter().filter(|event| event.block == block).filter_map(|event| event.event.as_hub().cloned()).collect()
}

/// The contracts' name of a refusal of the model.
pub fn code_of(revert: &gristmill_poco::Revert) -> String {
    use gristmill_poco::Revert as R;
    match revert {
        R::BalanceExceeded | R::NoVolume => revert.to_string(),
        R::Overflow => "panic 0x11".to_owned(),
        R::CannotHold(Address::ZERO) => "ERC20: transfer to the zero address".to_owned(),
        R::CannotHold(_) => "HubCannotHold".to_owned(),
        other => format!("{other:?}").chars().take_while(char::is_ascii_alphanumeric).collect(),
    }
}
