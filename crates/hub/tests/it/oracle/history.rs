//! One random history of both hubs, compared step by step.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::CallData;
use gristmill_hub::abi::IHub;
use gristmill_types::{DealId, TaskId};
use gristmill_wallet::Wallet;

use super::differences::{Difference, Effects, Kind};
use super::lockstep::{Both, FIRST_DEPOSIT, Lockstep, Log, OURS, Outcome, THEIRS, to};
use super::market::Orders;
use super::package::Package;
use super::shadow::Shadow;
use super::tasks::{Deal, Task};
use crate::differential::Random;

const WORKERS: u8 = 7;
/// The people who have money at the hubs; the requester and the pool's owner come after the workers.
const RICH: usize = WORKERS as usize + 2;
/// Steps between two looks at all accounts and open tasks.
const CHECK_EVERY: u64 = 25;
/// The most votes that our hub takes for a task.
const CROWD: u8 = 32;
/// How often a step is looked for that the state allows.
const TRIES_MAX: usize = 20;

/// How the effects of a step are known to differ, if they do.
pub enum Rule {
    Reopen { silent: Vec<Address> },
    Recount { silent: Vec<Address> },
    Claim { liable: Vec<Address> },
    Kitty { account: Address, ours: U256, theirs: U256 },
    Match,
    Spending,
}

impl Rule {
    fn difference(&self) -> Difference {
        match self {
            Self::Reopen { .. } => Difference::Silent,
            Self::Recount { .. } => Difference::Recount,
            Self::Claim { .. } => Difference::Claimed,
            Self::Kitty { .. } => Difference::Kitty,
            Self::Match => Difference::Matched,
            Self::Spending => Difference::Spent,
        }
    }

    fn explains(&self, effects: &Effects<'_>) -> bool {
        match self {
            Self::Reopen { silent } => effects.is_reopen(silent),
            Self::Recount { silent } => effects.is_recount(silent),
            Self::Claim { liable } => effects.is_claim(liable),
            Self::Kitty { account, ours, theirs } => effects.is_kitty(*account, *ours, *theirs),
            Self::Match => effects.is_match(),
            Self::Spending => effects.is_spending(),
        }
    }
}

/// The same call for both hubs, and how their answers may differ.
pub struct Step {
    pub door: &'static str,
    pub sender: Wallet,
    pub calls: Both<CallData>,
    pub may: Vec<Difference>,
    pub rules: Vec<Rule>,
    /// The call is the token's: what the token itself returns is no matter of the hubs.
    pub through_token: bool,
    /// The deal it makes, and the tasks it opens, if it is done.
    pub deal: Option<Both<DealId>>,
    pub opens: Vec<Task>,
}

impl Step {
    pub fn new(door: &'static str, sender: Wallet, calls: Both<CallData>) -> Self {
        let may = vec![Difference::Named, Difference::Recreated];
        let (rules, deal, opens) = Default::default();
        Self { door, sender, calls, may, rules, through_token: false, deal, opens }
    }
}

/// What was done and met, for the end.
#[derive(Default)]
pub struct Tally {
    pub steps: u64,
    pub histories: u64,
    /// Of each kind of step: done, refused.
    pub doors: BTreeMap<&'static str, [u64; 2]>,
    pub differences: BTreeMap<Difference, u64>,
    pub views: u64,
    /// Steps of which the model said the same: done, refused.
    pub modelled: [u64; 2],
}

pub struct History {
    seed: u64,
    /// Whether nearly everybody does the right thing in time, so that workers get a reputation.
    pub calm: bool,
    pub random: Random,
    pub lockstep: Lockstep,
    /// The model, beside our hub.
    shadow: Shadow,
    pub people: Vec<Wallet>,
    pub orders: Orders,
    pub salt: u64,
    pub deals: Vec<Deal>,
    pub tasks: Vec<Task>,
    pub open: Vec<Task>,
    /// Ids, ours, of the tasks that were initialised.
    pub known: BTreeSet<TaskId>,
}

fn key(number: u8) -> Wallet {
    Wallet::import_hex(&format!("{number:064x}")).expect("a small number is a key")
}

impl History {
    pub async fn new(package: &Package, seed: u64) -> Self {
        let mut people: Vec<Wallet> = (0..WORKERS).map(|number| key(10 + number)).collect();
        people.extend([key(2), key(3)]);
        let lockstep = Lockstep::new(package, &people, &people[RICH - 1]).await;
        let deposits = people.iter().map(|person| (person.address(), FIRST_DEPOSIT));
        let shadow = Shadow::new(lockstep.sides[OURS].client.clone(), deposits);
        people.push(lockstep.owner.clone());
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (orders, deals, tasks, open, known) = Default::default();
        let calm = seed.is_multiple_of(3);
        let mut history =
            Self { seed, calm, random, lockstep, shadow, people, orders, salt: 0, deals, tasks, open, known };
        history.gather();
        history
    }

    /// The group has the requester.
    fn gather(&mut self) {
        alloy_sol_types::sol! {
            function setKeyHasPurpose(bytes32 key, uint256 purpose) external;
        }
        let call = setKeyHasPurposeCall { key: self.requester().address().into_word(), purpose: U256::from(4) };
        let group = self.lockstep.bystanders.group;
        let calls = [OURS, THEIRS].map(|_| to(group, &call));
        self.lockstep.execute(&self.requester(), &calls);
    }

    pub fn requester(&self) -> Wallet {
        self.people[RICH - 2].clone()
    }

    pub fn pool_owner(&self) -> Wallet {
        self.people[RICH - 1].clone()
    }

    /// Anybody; the last one has nothing at the hub, and owns app and dataset.
    pub fn anybody(&mut self) -> Wallet {
        self.random.pick(&self.people.clone())
    }

    pub fn now(&self) -> u64 {
        self.lockstep.chain.now()
    }

    /// Takes up to `steps` steps; fewer when a difference ends the history.
    pub async fn run(&mut self, steps: u64, tally: &mut Tally) {
        tally.histories += 1;
        for number in 0..steps {
            if !self.calm || self.random.chance(3) {
                self.pass_time();
            }
            let step = self.step();
            let context = format!("seed {}, step {number}: {} by {}", self.seed, step.door, step.sender.address());
            tally.steps += 1;
            if self.take(step, &context, tally).await {
                self.shadow.check(&context).await;
                return;
            }
            if number % CHECK_EVERY == CHECK_EVERY - 1 {
                let tasks = self.open.clone();
                self.check(&tasks, tally);
            }
        }
        let tasks = self.tasks.clone();
        self.check(&tasks, tally);
        self.check_records(tally);
        self.shadow.check(&format!("seed {}, at the end", self.seed)).await;
    }

    fn step(&mut self) -> Step {
        for _ in 0..TRIES_MAX {
            let step = match self.random.below(if self.calm { 88 } else { 100 }) {
                0..9 => Some(self.money()),
                9..14 => Some(self.matching()),
                14..16 => Some(self.deposit_and_match()),
                16..18 => self.initialize(),
                18..20 => self.initialize_many(),
                20..23 => self.manage(),
                23..25 => self.broadcast(),
                25..28 => Some(self.assets()),
                28..30 => Some(self.settings()),
                30..33 => Some(self.signatures()),
                33..35 => Some(self.volume()),
                35..37 => Some(self.compatibility()),
                37..85 => self.progress(),
                _ => self.anything(),
            };
            if let Some(step) = step {
                return step;
            }
        }
        self.matching()
    }

    /// Sometimes nothing, sometimes a bit of T, sometimes exactly to a deadline or a second beside it.
    fn pass_time(&mut self) {
        let now = self.now();
        let later = match self.random.below(100) {
            0..88 => now,
            88..98 => now + self.random.below(60),
            _ => {
                let moments = self.moments();
                if moments.is_empty() {
                    return;
                }
                (self.random.pick(&moments) + self.random.below(3)).saturating_sub(1)
            }
        };
        if later > now {
            self.lockstep.chain.set_clock(later);
        }
    }

    /// Takes a step on both sides and compares. Whether the history ends with it.
    pub async fn take(&mut self, step: Step, context: &str, tally: &mut Tally) -> bool {
        let answers = self.lockstep.simulate(step.sender.address(), &step.calls);
        if let Outcome::Refused(refusal) = &answers[OURS] {
            let (sender, now) = (step.sender.address(), self.now());
            let judged = self.shadow.refused(sender, now, &step.calls[OURS], refusal, context);
            tally.modelled[1] += u64::from(judged);
        }
        if answers.iter().all(|answer| matches!(answer, Outcome::Done { .. })) {
            if !self.same_answer(&step, &answers, context, tally) {
                return false;
            }
            return self.done(step, context, tally).await;
        }
        tally.doors.entry(step.door).or_default()[1] += 1;
        if answers[OURS] != answers[THEIRS] {
            self.explain(&step, &answers, context, tally);
        }
        false
    }

    /// Whether both answer the same, so that the step can be taken.
    fn same_answer(&self, step: &Step, answers: &Both<Outcome>, context: &str, tally: &mut Tally) -> bool {
        if step.through_token {
            *tally.differences.entry(Difference::Token).or_default() += 1;
            assert!(
                Difference::Token.explains(&answers[OURS], &answers[THEIRS]),
                "{context}: another token: {answers:?}"
            );
        } else if answers[OURS] != answers[THEIRS] {
            self.explain(step, answers, context, tally);
            return false;
        }
        true
    }

    fn explain(&self, step: &Step, answers: &Both<Outcome>, context: &str, tally: &mut Tally) {
        let known = step.may.iter().find(|difference| difference.explains(&answers[OURS], &answers[THEIRS]));
        let Some(known) = known else {
            panic!("{context}:\n ours   {}\n theirs {}", show(&answers[OURS]), show(&answers[THEIRS]))
        };
        *tally.differences.entry(*known).or_default() += 1;
    }

    /// Runs what both would do, and compares the effects. Whether the history ends with it.
    async fn done(&mut self, step: Step, context: &str, tally: &mut Tally) -> bool {
        let logs = self.lockstep.execute(&step.sender, &step.calls);
        tally.doors.entry(step.door).or_default()[0] += 1;
        let judged = self.shadow.done(step.sender.address(), self.now(), &step.calls[OURS], context).await;
        tally.modelled[0] += u64::from(judged);
        if logs[OURS] != logs[THEIRS] {
            let effects = Effects { ours: &logs[OURS], theirs: &logs[THEIRS] };
            let Some(rule) = step.rules.iter().find(|rule| rule.explains(&effects)) else {
                panic!("{context}:\n ours   {}\n theirs {}", show_logs(&logs[OURS]), show_logs(&logs[THEIRS]))
            };
            *tally.differences.entry(rule.difference()).or_default() += 1;
            if rule.difference().kind() == Kind::Effects {
                return true;
            }
        }
        if let Some(deal) = step.deal {
            self.record(deal);
        }
        for task in step.opens {
            self.known.insert(task.id[OURS]);
            self.tasks.push(task);
            self.open.push(task);
        }
        false
    }

    fn record(&mut self, id: Both<DealId>) {
        let view = self.lockstep.view(IHub::viewDealCall { dealid: id[OURS].0 });
        let deal = Deal {
            id,
            first: view.botFirst.to(),
            size: view.botSize.to(),
            trust: view.trust,
            called_back: view.callback != Address::ZERO,
            enclave: view.tag[31] & 1 == 1,
            pool_price: view.workerpool.price,
        };
        self.deals.push(deal);
    }

    /// Both sides answer the same view alike.
    fn same<C: alloy_sol_types::SolCall>(&self, make: impl Fn(usize) -> C, tally: &mut Tally) {
        let calls = self.lockstep.hubs(|side, _| make(side));
        let answers = self.lockstep.simulate(Address::ZERO, &calls);
        tally.views += 1;
        if let [Outcome::Refused(_), Outcome::Refused(_)] = answers {
            return;
        }
        let marked = answers[OURS] != answers[THEIRS]
            && C::SIGNATURE.starts_with("viewContribution")
            && Difference::Marked.explains(&answers[OURS], &answers[THEIRS]);
        if marked {
            *tally.differences.entry(Difference::Marked).or_default() += 1;
            return;
        }
        assert!(answers[OURS] == answers[THEIRS], "seed {}: {}:\n {answers:?}", self.seed, C::SIGNATURE);
    }

    /// A task with more votes than our hub takes.
    pub async fn crowd(&mut self, tally: &mut Tally) {
        let (steps, context) = (tally.steps, format!("seed {}, the crowd", self.seed));
        let step = self.crowd_deal();
        self.take(step, &context, tally).await;
        let step = self.initialize_this(0, self.deals[0].first);
        self.take(step, &context, tally).await;
        let task = self.tasks[0];
        for number in 0..=CROWD {
            let facts = self.facts(&task);
            let step = self.contribute(task, &facts, key(100 + number), u64::from(number) % 2, true);
            self.take(step, &context, tally).await;
        }
        // They are no random steps.
        tally.steps = steps;
        self.check(&[task], tally);
        assert!(tally.differences.contains_key(&Difference::Crowd), "{context}: every vote was taken");
    }

    /// All accounts, and these tasks.
    fn check(&self, tasks: &[Task], tally: &mut Tally) {
        let kitty = self.lockstep.view(IHub::kitty_addressCall {});
        let mut accounts: Vec<Both<Address>> = self.people.iter().map(|person| [person.address(); 2]).collect();
        accounts.extend([[kitty; 2], self.lockstep.both(|side| side.client.hub)]);
        for account in accounts {
            self.same(|side| IHub::viewAccountCall { account: account[side] }, tally);
            self.same(|side| IHub::viewScoreCall { worker: account[side] }, tally);
        }
        self.same(|_| IHub::totalSupplyCall {}, tally);
        for task in tasks {
            self.check_task(task, tally);
        }
    }

    fn check_task(&self, task: &Task, tally: &mut Tally) {
        let id = |side: usize| task.id[side].0;
        self.same(|side| IHub::viewTaskCall { taskid: id(side) }, tally);
        self.same(|side| IHub::viewTaskABILegacyCall { taskid: id(side) }, tally);
        self.same(|side| IHub::resultForCall { taskid: id(side) }, tally);
        for person in &self.people {
            let worker = person.address();
            self.same(|side| IHub::viewContributionCall { taskid: id(side), worker }, tally);
            self.same(|side| IHub::viewContributionABILegacyCall { taskid: id(side), worker }, tally);
        }
    }

    /// Everything that does not belong to a task.
    fn check_records(&self, tally: &mut Tally) {
        for deal in &self.deals {
            let id = |side: usize| deal.id[side].0;
            self.same(|side| IHub::viewDealCall { dealid: id(side) }, tally);
            self.same(|side| IHub::viewDealABILegacy_pt1Call { dealid: id(side) }, tally);
            self.same(|side| IHub::viewDealABILegacy_pt2Call { dealid: id(side) }, tally);
            self.same(|side| IHub::viewConfigABILegacyCall { dealid: id(side) }, tally);
        }
        let mut hashes: Vec<Both<B256>> = Vec::new();
        hashes.extend(self.orders.apps.iter().map(|order| self.lockstep.hashes(order).map(|hash| hash.0)));
        hashes.extend(self.orders.datasets.iter().map(|order| self.lockstep.hashes(order).map(|hash| hash.0)));
        hashes.extend(self.orders.pools.iter().map(|order| self.lockstep.hashes(order).map(|hash| hash.0)));
        hashes.extend(self.orders.requests.iter().map(|order| self.lockstep.hashes(order).map(|hash| hash.0)));
        for hash in hashes {
            self.same(|side| IHub::viewConsumedCall { orderHash: hash[side] }, tally);
            self.same(|side| IHub::viewPresignedCall { orderHash: hash[side] }, tally);
        }
        self.check_settings(tally);
    }

    fn check_settings(&self, tally: &mut Tally) {
        self.same(|_| IHub::nameCall {}, tally);
        self.same(|_| IHub::symbolCall {}, tally);
        self.same(|_| IHub::decimalsCall {}, tally);
        self.same(|_| IHub::tokenCall {}, tally);
        self.same(|_| IHub::appregistryCall {}, tally);
        self.same(|_| IHub::datasetregistryCall {}, tally);
        self.same(|_| IHub::workerpoolregistryCall {}, tally);
        self.same(|_| IHub::teebrokerCall {}, tally);
        self.same(|_| IHub::callbackgasCall {}, tally);
        self.same(|_| IHub::contribution_deadline_ratioCall {}, tally);
        self.same(|_| IHub::reveal_deadline_ratioCall {}, tally);
        self.same(|_| IHub::final_deadline_ratioCall {}, tally);
        self.same(|_| IHub::workerpool_stake_ratioCall {}, tally);
        self.same(|_| IHub::kitty_ratioCall {}, tally);
        self.same(|_| IHub::kitty_minCall {}, tally);
        self.same(|_| IHub::kitty_addressCall {}, tally);
        self.same(|_| IHub::groupmember_purposeCall {}, tally);
        self.same(|_| IHub::domainCall {}, tally);
        self.same(|_| IHub::eip712domain_separatorCall {}, tally);
        self.same(|_| IHub::ownerCall {}, tally);
        self.same(|_| IHub::countCategoryCall {}, tally);
        let count: u64 = self.lockstep.view(IHub::countCategoryCall {}).to();
        for catid in (0..count).map(U256::from) {
            self.same(|_| IHub::viewCategoryCall { catid }, tally);
            self.same(|_| IHub::viewCategoryABILegacyCall { catid }, tally);
        }
        self.same(|side| IHub::viewAppCall { app: self.lockstep.sides[side].app }, tally);
        self.same(|side| IHub::viewDatasetCall { dataset: self.lockstep.sides[side].dataset }, tally);
        self.same(|side| IHub::viewWorkerpoolCall { workerpool: self.lockstep.sides[side].pool }, tally);
        for (owner, spender) in self.people.iter().zip(self.people.iter().skip(1)) {
            let (account, spender) = (owner.address(), spender.address());
            self.same(|_| IHub::allowanceCall { account, spender }, tally);
            self.same(|_| IHub::viewAccountABILegacyCall { account }, tally);
            self.same(|_| IHub::balanceOfCall { account }, tally);
            self.same(|_| IHub::frozenOfCall { account }, tally);
        }
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { returned } => format!("done: {}", alloy_primitives::hex::encode(returned)),
        Outcome::Refused(refusal) => format!("refused: {refusal}"),
    }
}

fn show_logs(logs: &[Log]) -> String {
    logs.iter().map(|log| format!("\n    {log:?}")).collect()
}
