//! The ledger: the hub's rules in blocks, with every event kept for the check at the end.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{Address, B256, Bytes};
use gristmill_poco::model::{SoloProof, result_hash, result_seal};
use gristmill_poco::{DealTerms, HubEvent, Logged, Matching, Model, OrderUse, Replay, ReplayError, Resource, Revert};
use gristmill_scheduler::Call;
use gristmill_types::{Amount, DealId, OrderHash, TaskId};

use crate::config;

pub(crate) const HUB: Address = Address::repeat_byte(0xaa);
/// Who owns the pool.
pub(crate) const POOL: Address = Address::repeat_byte(0xf1);
/// Who asks for all jobs.
pub(crate) const REQUESTER: Address = Address::repeat_byte(0xf2);
/// The pool owner's part of the workers' reward, in percent.
const POOL_PERCENT: u64 = 5;

/// What is sent to the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transaction {
    Match { bag: u32 },
    Contribute { host: u32, incarnation: u32, task: u32, solo: bool },
    Reveal { host: u32, incarnation: u32, task: u32 },
    Hub { call: Call, task: u32 },
}

/// What was settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settlements {
    /// Blocks with transactions.
    pub blocks: u64,
    /// Transactions of the largest block.
    pub block_max: u64,
    /// Deals made.
    pub deals: u64,
    /// Tasks initialised, each counted as a transaction.
    pub initialized: u64,
    /// Contributions.
    pub contributions: u64,
    /// Reveals.
    pub reveals: u64,
    /// `finalize`.
    pub finalizes: u64,
    /// `reopen`.
    pub reopens: u64,
    /// `claim`.
    pub claims: u64,
    /// `concede`.
    pub concedes: u64,
    /// Transactions that the hub refused.
    pub reverts: u64,
}

impl Settlements {
    /// Transactions, those that reverted too.
    pub fn transactions(&self) -> u64 {
        let Self { deals, initialized, contributions, reveals, finalizes, reopens, claims, concedes, reverts, .. } =
            self;
        deals + initialized + contributions + reveals + finalizes + reopens + claims + concedes + reverts
    }
}

pub(crate) struct Ledger {
    pub model: Model,
    pub replay: Replay,
    pub settled: Settlements,
    /// Waiting transactions and when they arrive; the latency is the same for all, so they stand in order.
    waiting: VecDeque<(u64, Transaction)>,
    block: u64,
    log_index: u64,
    orders: u64,
    volumes: BTreeMap<OrderHash, u64>,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            model: Model::new(HUB),
            replay: Replay::new(HUB),
            settled: Settlements::default(),
            waiting: VecDeque::new(),
            block: 0,
            log_index: 0,
            orders: 0,
            volumes: BTreeMap::new(),
        }
    }

    pub fn send(&mut self, arrives_ms: u64, transaction: Transaction) {
        self.waiting.push_back((arrives_ms, transaction));
    }

    /// When the next block is, if one is due: at a multiple of the block time, once a transaction has arrived.
    pub fn next_block_ms(&self, block_ms: u64) -> Option<u64> {
        let (arrives_ms, _) = self.waiting.front()?;
        Some(arrives_ms.div_ceil(block_ms).saturating_mul(block_ms))
    }

    /// Takes the transactions of the block at this time.
    pub fn begin_block(&mut self, now_ms: u64, max: usize) -> Vec<Transaction> {
        let arrived = self.waiting.iter().take(max).take_while(|(at_ms, _)| *at_ms <= now_ms).count();
        self.block += 1;
        self.log_index = 0;
        self.settled.blocks += 1;
        self.settled.block_max = self.settled.block_max.max(arrived as u64);
        self.waiting.drain(..arrived).map(|(_, transaction)| transaction).collect()
    }

    /// Keeps events of the current block.
    pub fn log(&mut self, now_ms: u64, events: &[HubEvent]) -> Result<(), ReplayError> {
        for event in events {
            self.log_index += 1;
            let (block, timestamp, log_index) = (self.block, now_ms / 1000, self.log_index);
            self.replay.apply(Logged { block, timestamp, log_index, event: event.clone() })?;
        }
        Ok(())
    }

    /// Makes a deal of a bag, and its tasks.
    pub fn match_bag(&mut self, now_ms: u64, jobs: &config::Jobs) -> Result<(DealId, Vec<HubEvent>), Revert> {
        let volume = u64::from(jobs.tasks);
        let mut order = || {
            self.orders += 1;
            let hash = OrderHash(B256::left_padding_from(&self.orders.to_be_bytes()));
            self.volumes.insert(hash, volume);
            OrderUse { hash, volume }
        };
        let terms = DealTerms {
            workerpool: Resource { pointer: POOL, owner: POOL, price: jobs.price },
            trust: jobs.trust,
            work_clock_s: jobs.work_clock_s(),
            requester: REQUESTER,
            sponsor: REQUESTER,
            worker_stake: jobs.stake,
            scheduler_reward_percent: POOL_PERCENT,
            ..DealTerms::default()
        };
        let matching = Matching { app: order(), dataset: None, workerpool: order(), request: order(), terms };
        let (deal, mut events) = self.model.match_orders(now_ms / 1000, matching)?;
        if let Some(record) = self.model.books().deals.get(&deal) {
            self.replay.add_deal(deal, record.terms.clone());
        }
        for index in 0..volume {
            events.extend(self.model.initialize(deal, index)?);
            self.settled.initialized += 1;
        }
        self.settled.deals += 1;
        Ok((deal, events))
    }

    pub fn contribute(
        &mut self,
        now_ms: u64,
        worker: Address,
        task: TaskId,
        digest: B256,
        solo: bool,
    ) -> Result<Vec<HubEvent>, Revert> {
        self.settled.contributions += 1;
        let outcome = if solo {
            let proof = SoloProof { digest, results: Bytes::new(), callback: &[] };
            self.model.contribute_and_finalize(worker, now_ms / 1000, task, proof, true)
        } else {
            let (hash, seal) = (result_hash(task, digest), result_seal(worker, task, digest));
            self.model.contribute(worker, now_ms / 1000, task, hash, seal, true)
        };
        outcome.inspect_err(|_| {
            self.settled.contributions -= 1;
            self.settled.reverts += 1;
        })
    }

    pub fn reveal(
        &mut self,
        now_ms: u64,
        worker: Address,
        task: TaskId,
        digest: B256,
    ) -> Result<Vec<HubEvent>, Revert> {
        let outcome = self.model.reveal(worker, now_ms / 1000, task, digest);
        *(if outcome.is_ok() { &mut self.settled.reveals } else { &mut self.settled.reverts }) += 1;
        outcome
    }

    pub fn call(&mut self, now_ms: u64, call: Call, task: TaskId) -> Result<Vec<HubEvent>, Revert> {
        let now = now_ms / 1000;
        let (outcome, count) = match call {
            Call::Finalize => (self.model.finalize(POOL, now, task, Bytes::new(), &[]), &mut self.settled.finalizes),
            Call::Reopen => (self.model.reopen(now, task), &mut self.settled.reopens),
            Call::Claim => (self.model.claim(now, task), &mut self.settled.claims),
            Call::Concede => (self.model.concede(POOL, now, task), &mut self.settled.concedes),
        };
        if outcome.is_ok() {
            *count += 1;
        } else {
            self.settled.reverts += 1;
        }
        outcome
    }

    /// Deposits, outside of any block.
    pub fn deposit(&mut self, now_ms: u64, target: Address, amount: Amount) -> Result<(), ReplayError> {
        // Refused past the hub's cap only; then the worker has no stake, which the run shows.
        let events = self.model.deposit(target, amount).unwrap_or_default();
        self.log(now_ms, &events)
    }

    pub fn volumes(&self) -> BTreeMap<OrderHash, u64> {
        self.volumes.clone()
    }
}
