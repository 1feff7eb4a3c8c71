//! Steps of a task's life.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use gristmill_hub::abi::{IHub, IexecLibCore_v5 as core};
use gristmill_hub::{CallData, ContributeArgs, sign};
use gristmill_poco::model::{result_hash, result_seal};
use gristmill_types::{ContributionStatus, DealId, TaskId};
use gristmill_wallet::Wallet;

use super::differences::Difference;
use super::history::{History, Rule, Step};
use super::lockstep::{Both, OURS, THEIRS};

/// How many answers are known; the first is the right one.
const ANSWERS: u64 = 3;
const UNSET: u8 = 0;
pub const ACTIVE: u8 = 1;
pub const REVEALING: u8 = 2;
const CONTRIBUTED: u8 = ContributionStatus::Contributed as u8;
const PROVED: u8 = ContributionStatus::Proved as u8;
const REJECTED: u8 = ContributionStatus::Rejected as u8;
/// The most that one step names of deals or tasks.
const ARRAY_MAX: u64 = 3;

/// A deal on both sides.
#[derive(Clone, Debug)]
pub struct Deal {
    pub id: Both<DealId>,
    pub first: u64,
    pub size: u64,
    pub trust: U256,
    pub called_back: bool,
    pub enclave: bool,
    pub pool_price: U256,
}

impl Deal {
    fn task(&self, index: u64) -> Both<TaskId> {
        self.id.map(|id| id.task(index))
    }
}

/// A task that was initialised.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub id: Both<TaskId>,
    pub deal: usize,
}

/// What our side knows of a task before a step.
pub struct Facts {
    pub view: core::Task,
    /// Contributor, its status, its hash, its exact weight.
    votes: Vec<(Address, u8, B256, U256)>,
    trust: U256,
    /// Of the consensus, when there is one: its group and the total.
    group: U256,
    total: U256,
}

impl Facts {
    /// Holders of the consensus that have not revealed.
    fn silent(&self) -> Vec<Address> {
        self.workers(|status, hash| status == CONTRIBUTED && hash == self.view.consensusValue)
    }

    /// Holders of other hashes that still have a stake.
    fn others(&self) -> Vec<Address> {
        self.workers(|status, hash| status != REJECTED && hash != self.view.consensusValue)
    }

    fn workers(&self, is: impl Fn(u8, B256) -> bool) -> Vec<Address> {
        self.votes.iter().filter(|(_, status, hash, _)| is(*status, *hash)).map(|(worker, ..)| *worker).collect()
    }

    /// The rule, for the proved alone.
    fn carried(&self) -> bool {
        let proved =
            self.votes.iter().filter(|(_, status, hash, _)| *status == PROVED && *hash == self.view.consensusValue);
        let weights: Vec<U256> = proved.map(|(.., weight)| *weight).collect();
        let product = if weights.is_empty() { U256::ZERO } else { weights.into_iter().product() };
        product * self.trust > (self.total - self.group + product) * (self.trust - U256::ONE)
    }
}

impl History {
    pub fn facts(&self, task: &Task) -> Facts {
        let taskid = task.id[OURS].0;
        let view = self.lockstep.view(IHub::viewTaskCall { taskid });
        let vote = |worker: &Address| {
            let vote = self.lockstep.view(IHub::viewContributionCall { taskid, worker: *worker });
            let weight = self.lockstep.view(IHub::viewWeightCall { taskid, worker: *worker });
            (*worker, vote.status, vote.resultHash, weight)
        };
        let votes = view.contributors.iter().map(vote).collect();
        let consensus = self.lockstep.view(IHub::viewConsensusCall { taskid, resultHash: view.consensusValue });
        let trust = self.deals[task.deal].trust;
        Facts { votes, trust, group: consensus.group, total: consensus.total, view }
    }

    pub fn status(&self, task: &Task) -> u8 {
        self.lockstep.view(IHub::viewTaskCall { taskid: task.id[OURS].0 }).status
    }

    fn hubs_task(
        &self,
        task: &Both<TaskId>,
        make: impl Fn(&super::lockstep::Side, TaskId) -> CallData,
    ) -> Both<CallData> {
        [OURS, THEIRS].map(|side| make(&self.lockstep.sides[side], task[side]))
    }

    /// A deal, mostly a recent one, and an index, mostly one of it.
    fn index(&mut self) -> Option<(usize, u64)> {
        if self.deals.is_empty() {
            return None;
        }
        let back = self.random.below(4.min(self.deals.len() as u64)) as usize;
        let place = self.deals.len() - 1 - back;
        let deal = &self.deals[place];
        let (first, size) = (deal.first, deal.size);
        Some((place, (first + self.random.below(size + 2)).saturating_sub(1)))
    }

    pub fn initialize(&mut self) -> Option<Step> {
        let (place, index) = self.index()?;
        Some(self.initialize_this(place, index))
    }

    pub fn initialize_this(&mut self, place: usize, index: u64) -> Step {
        let deal = self.deals[place].clone();
        self.lockstep.pair(deal.task(index).map(|task| task.0));
        let calls = [OURS, THEIRS].map(|side| self.lockstep.sides[side].client.initialize(deal.id[side], index));
        let mut step = Step::new("initialize", self.anybody(), calls);
        step.opens.push(Task { id: deal.task(index), deal: place });
        step
    }

    /// Many at once, claimed at once or not.
    pub fn initialize_many(&mut self) -> Option<Step> {
        let claims = self.random.chance(50);
        let mut chosen = Vec::new();
        for _ in 0..self.random.below(ARRAY_MAX + 1) {
            chosen.push(self.index()?);
        }
        let mut opens = Vec::new();
        for (place, index) in &chosen {
            let task = Task { id: self.deals[*place].task(*index), deal: *place };
            self.lockstep.pair(task.id.map(|task| task.0));
            opens.push(task);
        }
        // Sometimes one list is longer than the other.
        let longer = self.random.chance(10);
        let calls = self.lockstep.hubs(|side, _| {
            let dealids: Vec<B256> = chosen.iter().map(|(place, _)| self.deals[*place].id[side].0).collect();
            let mut indexes: Vec<U256> = chosen.iter().map(|(_, index)| U256::from(*index)).collect();
            indexes.extend(longer.then_some(U256::ZERO));
            IHub::initializeArrayCall { dealids, indexes }
        });
        let calls = if claims {
            calls.map(|call| {
                let IHub::initializeArrayCall { dealids, indexes } =
                    alloy_sol_types::SolCall::abi_decode(&call.data).unwrap();
                super::lockstep::to(call.to, &IHub::initializeAndClaimArrayCall { dealids, indexes })
            })
        } else {
            calls
        };
        let mut step =
            Step::new(if claims { "initializeAndClaimArray" } else { "initializeArray" }, self.anybody(), calls);
        step.opens = opens;
        Some(step)
    }

    /// The step that brings the market further: mostly an open task, else a new task, else a new deal.
    pub fn progress(&mut self) -> Option<Step> {
        self.close_finished();
        if self.open.is_empty() || self.open.len() < 3 && self.random.chance(8) {
            let waiting = self.deals.iter().enumerate().rev().take(4).find_map(|(place, deal)| {
                let mut indexes = deal.first..deal.first + deal.size;
                let index = indexes.find(|index| !self.known.contains(&deal.task(*index)[OURS]))?;
                Some((place, index))
            });
            return match waiting {
                Some((place, index)) => Some(self.initialize_this(place, index)),
                None => Some(self.matching()),
            };
        }
        let task = self.random.pick(&self.open.clone());
        Some(self.advance(task))
    }

    fn close_finished(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.open = open.into_iter().filter(|task| matches!(self.status(task), ACTIVE | REVEALING)).collect();
    }

    fn advance(&mut self, task: Task) -> Step {
        let facts = self.facts(&task);
        let now = self.now();
        let view = &facts.view;
        if now >= view.finalDeadline.to::<u64>() {
            return self.claim(task, facts);
        }
        if view.status == ACTIVE {
            return self.vote(task, &facts);
        }
        let over = now >= view.revealDeadline.to::<u64>();
        if over && view.revealCounter.is_zero() {
            return self.reopen(task, &facts);
        }
        // Somebody may keep silent, so that a few tasks wait for their deadline.
        if over || view.revealCounter == view.winnerCounter {
            let proved = facts.workers(|status, hash| status == PROVED && hash == view.consensusValue);
            let mut sender = self.pool_owner();
            if !self.calm && !proved.is_empty() && self.random.chance(10) {
                // Somebody who is paid only then does what the pool has not done.
                let patience = view.revealDeadline.to::<u64>() + view.timeref.to::<u64>() / 2;
                self.lockstep.chain.set_clock(patience.max(now));
                let worker = self.random.pick(&proved);
                sender = self.person(worker);
            }
            return self.finalize(task, &facts, sender);
        }
        if !self.calm && self.random.chance(5) {
            let late = if self.random.chance(70) { view.revealDeadline } else { view.finalDeadline };
            self.lockstep.chain.set_clock(late.to());
        }
        let holder = self.random.pick(&facts.silent());
        let sender =
            self.people.iter().find(|person| person.address() == holder).expect("all voters are people").clone();
        let hash = view.consensusValue;
        let answer = (0..ANSWERS).find(|answer| result_hash(task.id[OURS], digest(*answer)) == hash);
        self.reveal(task, sender, answer.unwrap_or(0))
    }

    fn person(&self, address: Address) -> Wallet {
        self.people.iter().find(|person| person.address() == address).expect("all voters are people").clone()
    }

    fn vote(&mut self, task: Task, facts: &Facts) -> Step {
        let mut fresh: Vec<Wallet> = self.people[..4].to_vec();
        fresh.retain(|person| !facts.view.contributors.contains(&person.address()));
        let known = !fresh.is_empty() && self.random.chance(85);
        let sender = if known { self.random.pick(&fresh) } else { self.anybody() };
        let honest = self.calm || self.random.chance(90);
        let answer = if honest { 0 } else { self.random.below(ANSWERS) };
        if facts.trust == U256::ONE && facts.view.contributors.is_empty() && self.random.chance(60) {
            return self.alone(task, facts, sender, answer);
        }
        self.contribute(task, facts, sender, answer, true)
    }

    /// Any step on any task by anybody.
    pub fn anything(&mut self) -> Option<Step> {
        if self.tasks.is_empty() {
            return None;
        }
        let recent = self.tasks.len().saturating_sub(12);
        let task = if self.open.is_empty() || self.random.chance(15) {
            let place = recent + self.random.below((self.tasks.len() - recent) as u64) as usize;
            self.tasks[place]
        } else {
            self.random.pick(&self.open.clone())
        };
        let (facts, sender, answer) = (self.facts(&task), self.anybody(), self.random.below(ANSWERS));
        Some(match self.random.below(8) {
            0 | 1 => {
                let authorised = self.random.chance(80);
                self.contribute(task, &facts, sender, answer, authorised)
            }
            2 => self.reveal(task, sender, answer),
            3 => self.finalize(task, &facts, sender),
            4 => self.alone(task, &facts, sender, answer),
            5 => self.claim(task, facts),
            6 => self.claim_many(task),
            _ => self.reopen(task, &facts),
        })
    }

    /// The enclave of a vote: its key and whether the deal asks for one. Sometimes it is missing, or not asked for.
    fn enclave(&mut self, task: &Task) -> Option<Wallet> {
        let asked = self.deals[task.deal].enclave;
        let there = asked != self.random.chance(5);
        there.then(|| Wallet::import_hex(&format!("{:064x}", 0xe1)).expect("a key"))
    }

    pub fn contribute(&mut self, task: Task, facts: &Facts, sender: Wallet, answer: u64, authorised: bool) -> Step {
        let worker = sender.address();
        // Sometimes a copied commitment: the right hash with another's seal.
        let sealed_for = if !self.calm && self.random.chance(5) { Address::repeat_byte(1) } else { worker };
        let enclave = self.enclave(&task);
        let signer = if authorised { self.pool_owner() } else { self.anybody() };
        let short = self.random.chance(3);
        let arguments = task.id.map(|id| {
            let (hash, seal) = (result_hash(id, digest(answer)), result_seal(sealed_for, id, digest(answer)));
            let challenge = enclave.as_ref().map_or(Address::ZERO, Wallet::address);
            let mut authorization = sign::authorization(&signer, worker, id, challenge);
            if short {
                authorization.truncate(63);
            }
            ContributeArgs {
                task: id,
                result_hash: hash,
                result_seal: seal,
                enclave_challenge: challenge,
                enclave_sign: enclave.as_ref().map_or(Bytes::new(), |key| sign::enclave(key, hash, seal)),
                authorization,
            }
        });
        self.lockstep.pair(arguments.each_ref().map(|arguments| arguments.result_hash));
        self.lockstep.pair(arguments.each_ref().map(|arguments| arguments.result_seal));
        let calls = [OURS, THEIRS].map(|side| self.lockstep.sides[side].client.contribute(&arguments[side]));
        let mut step = Step::new("contribute", sender, calls);
        if facts.view.contributors.len() >= 32 {
            step.may.push(Difference::Crowd);
        }
        step
    }

    fn reveal(&mut self, task: Task, sender: Wallet, answer: u64) -> Step {
        let calls = self.hubs_task(&task.id, |side, id| side.client.reveal(id, digest(answer)));
        Step::new("reveal", sender, calls)
    }

    fn reopen(&mut self, task: Task, facts: &Facts) -> Step {
        let sender = if self.random.chance(50) { self.pool_owner() } else { self.anybody() };
        let calls = self.hubs_task(&task.id, |side, id| side.client.reopen(id));
        let mut step = Step::new("reopen", sender, calls);
        step.rules.push(Rule::Reopen { silent: facts.silent() });
        if step.sender.address() != self.pool_owner().address() {
            step.may.push(Difference::Reopened);
        }
        step
    }

    pub fn finalize(&mut self, task: Task, facts: &Facts, sender: Wallet) -> Step {
        let answer = self.callback_data(&task, (0..ANSWERS).find(|answer| digest(*answer) == facts.view.resultDigest));
        let results = if self.random.chance(50) { hint() } else { Bytes::from_static(b"somewhere") };
        let calls = self.hubs_task(&task.id, |side, id| side.client.finalize(id, results.clone(), answer.clone()));
        let mut step = Step::new("finalize", sender, calls);
        let carried = facts.carried();
        if !carried {
            step.rules.push(Rule::Recount { silent: facts.silent() });
            let none = !self.deals[task.deal].called_back && answer.is_empty();
            if !none && keccak256(&answer) != facts.view.resultDigest {
                step.may.push(Difference::Uncalled);
            }
        }
        self.bound_kitty(&task, &mut step);
        let half = facts.view.timeref.to::<u64>() / 2;
        let proved = facts.workers(|status, hash| status == PROVED && hash == facts.view.consensusValue);
        if proved.contains(&step.sender.address()) && self.now() >= facts.view.revealDeadline.to::<u64>() + half {
            step.may.push(Difference::Finalized);
        }
        step
    }

    pub fn alone(&mut self, task: Task, facts: &Facts, sender: Wallet, answer: u64) -> Step {
        let callback = self.callback_data(&task, Some(answer));
        let enclave = self.enclave(&task);
        let worker = sender.address();
        let pool_owner = self.pool_owner();
        self.lockstep.pair(task.id.map(|id| result_hash(id, digest(answer))));
        self.lockstep.pair(task.id.map(|id| result_seal(worker, id, digest(answer))));
        let calls = self.hubs_task(&task.id, |side, id| {
            let (hash, seal) = (result_hash(id, digest(answer)), result_seal(worker, id, digest(answer)));
            let challenge = enclave.as_ref().map_or(Address::ZERO, Wallet::address);
            let signed = enclave.as_ref().map_or(Bytes::new(), |key| sign::enclave(key, hash, seal));
            let permission = sign::authorization(&pool_owner, worker, id, challenge);
            side.client.contribute_and_finalize_in_enclave(
                id,
                digest(answer),
                hint(),
                callback.clone(),
                challenge,
                signed,
                permission,
            )
        });
        let mut step = Step::new("contributeAndFinalize", sender, calls);
        if facts.view.status == ACTIVE {
            self.bound_kitty(&task, &mut step);
        }
        step
    }

    /// What goes to a callback: mostly what must.
    fn callback_data(&mut self, task: &Task, right: Option<u64>) -> Bytes {
        let called_back = self.deals[task.deal].called_back;
        match (called_back, self.random.chance(8)) {
            (true, false) => text(right.unwrap_or(0)).into_bytes().into(),
            (false, false) => Bytes::new(),
            (_, true) => text(self.random.below(ANSWERS)).into_bytes().into(),
        }
    }

    fn bound_kitty(&self, task: &Task, step: &mut Step) {
        let account = self.lockstep.view(IHub::kitty_addressCall {});
        let kitty = self.lockstep.view(IHub::frozenOfCall { account });
        let least = self.lockstep.view(IHub::kitty_minCall {});
        let theirs = (kitty / U256::from(10)).max(least).min(kitty);
        let ours = theirs.min(self.deals[task.deal].pool_price);
        if ours != theirs {
            step.rules.push(Rule::Kitty { account, ours, theirs });
        }
    }

    fn claim(&mut self, task: Task, facts: Facts) -> Step {
        let calls = self.hubs_task(&task.id, |side, id| side.client.claim(id));
        let mut step = Step::new("claim", self.anybody(), calls);
        step.rules.extend(Self::liable(&facts));
        step
    }

    fn liable(facts: &Facts) -> Option<Rule> {
        if facts.view.status != REVEALING {
            return None;
        }
        let mut liable = facts.silent();
        if facts.carried() {
            liable.extend(facts.others());
        }
        // In the order of the votes.
        let order = |worker: &Address| facts.view.contributors.iter().position(|contributor| contributor == worker);
        liable.sort_by_key(order);
        (!liable.is_empty()).then_some(Rule::Claim { liable })
    }

    /// Two tasks at once; one that settles alike on both sides first.
    fn claim_many(&mut self, task: Task) -> Step {
        let mut tasks = vec![task];
        let others: Vec<Task> = self.open.iter().copied().filter(|other| other.id != task.id).collect();
        if !others.is_empty() && self.random.chance(70) {
            tasks.push(self.random.pick(&others));
        }
        // A list whose claims differ would have to be compared task by task, as single claims are.
        tasks.retain(|task| Self::liable(&self.facts(task)).is_none());
        let calls = [OURS, THEIRS].map(|side| {
            let ids: Vec<TaskId> = tasks.iter().map(|task| task.id[side]).collect();
            self.lockstep.sides[side].client.claim_many(&ids)
        });
        Step::new("claimArray", self.anybody(), calls)
    }

    /// Every moment at which a rule about an open task turns.
    pub fn moments(&self) -> Vec<u64> {
        let mut moments = Vec::new();
        for task in &self.open {
            let view = self.lockstep.view(IHub::viewTaskCall { taskid: task.id[OURS].0 });
            if view.status == UNSET {
                continue;
            }
            let times = [view.contributionDeadline, view.revealDeadline, view.finalDeadline];
            moments.extend(times.map(|time| time.to::<u64>()));
            moments.push(view.revealDeadline.to::<u64>() + view.timeref.to::<u64>() / 2);
        }
        let now = self.now();
        moments.retain(|moment| *moment >= now);
        moments
    }
}

/// A hint as clients write it, which our hub stores packed.
fn hint() -> Bytes {
    Bytes::from_static(br#"{"storage":"ipfs","location":"/ipfs/QmTzQ1JRkWErjk39mryYw2WVaphAZNAREyMchXzYQ7c9nG"}"#)
}

fn text(answer: u64) -> String {
    format!("answer {answer}")
}

pub fn digest(answer: u64) -> B256 {
    keccak256(text(answer))
}
