//! A ledger whose tasks are the executable model of the hub's rules: what the service takes without an EVM.
//!
//! Registries, orders and deals stand on a real chain, which is left as it is once all deals are made; tasks, votes and accounts are
//! those of [`Model`], whose events are handed out as the logs that the contracts would write.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolInterface};
use gristmill_evm::decode_transaction;
use gristmill_hub::abi::{IHub, IexecLibCore_v5 as wire};
use gristmill_hub::ledger::{Answer, BlockHead, Call, Fees, Log, LogQuery, Receipt};
use gristmill_hub::{HubEvent, LedgerError, LedgerPort};
use gristmill_poco::{Model, Revert, pot_of};
use gristmill_types::{DealId, TaskId};

use crate::chain::{CHAIN_ID, TestChain};

/// Gas of every call: the model has none.
const GAS: u64 = 1_000_000;

/// Clones share it.
#[derive(Clone)]
pub struct ModelLedger {
    chain: TestChain,
    hub: Address,
    state: Arc<Mutex<State>>,
}

struct State {
    model: Model,
    /// The chain's last block, once the model has taken over.
    base: Option<u64>,
    /// Until the model takes over the chain takes no transactions from the pool.
    held: bool,
    /// The blocks after it: their logs.
    blocks: Vec<Block>,
    receipts: HashMap<B256, Receipt>,
    nonces: HashMap<Address, u64>,
}

struct Block {
    timestamp: u64,
    logs: Vec<Log>,
}

impl fmt::Debug for ModelLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelLedger")
    }
}

pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

impl State {
    fn head(&self) -> Option<u64> {
        self.base.map(|base| base + self.blocks.len() as u64)
    }
}

impl ModelLedger {
    pub fn new(chain: TestChain, hub: Address) -> Self {
        let state = State {
            model: Model::new(hub),
            base: None,
            held: false,
            blocks: vec![],
            receipts: HashMap::new(),
            nonces: HashMap::new(),
        };
        Self { chain, hub, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no transaction from the pool until the model has taken over: it could begin with tasks on the chain, of which the model
    /// would know nothing.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Everything from the next block on is the model's, which was made like the chain by `prepare`.
    pub async fn take_over(&self, prepare: impl FnOnce(&mut Model)) {
        let head = self.chain.head().await.expect("the chain answers");
        let mut state = self.state();
        prepare(&mut state.model);
        state.base = Some(head);
    }

    /// How many tasks were begun, and how many are over.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        let tasks = state.model.books().tasks.values();
        tasks.fold((0, 0), |(begun, over), task| (begun + 1, over + u64::from(task.status.is_final())))
    }

    /// What somebody does, in a block of its own.
    pub fn act(&self, act: impl FnOnce(&mut Model, u64) -> Result<Vec<HubEvent>, Revert>) -> Result<(), Revert> {
        let now = unix_s();
        let mut state = self.state();
        let events = act(&mut state.model, now)?;
        self.seal(&mut state, now, &events, B256::ZERO);
        Ok(())
    }

    fn seal(&self, state: &mut State, timestamp: u64, events: &[HubEvent], tx_hash: B256) {
        let Some(number) = state.head().map(|head| head + 1) else { return };
        let log = |(index, data): (usize, LogData)| Log {
            address: self.hub,
            topics: data.topics().to_vec(),
            data: data.data,
            block: number,
            timestamp: Some(timestamp),
            tx_hash,
            index: index as u64,
        };
        let logs = events.iter().filter_map(encode).enumerate().map(log).collect();
        state.blocks.push(Block { timestamp, logs });
    }

    /// Runs a transaction of the pool's.
    fn take(&self, raw: &[u8]) -> Result<B256, LedgerError> {
        let transaction = decode_transaction(raw).map_err(refused)?;
        let (sender, hash) = (transaction.signer(), *transaction.inner().tx_hash());
        let (now, mut state) = (unix_s(), self.state());
        *state.nonces.entry(sender).or_insert(0) = transaction.inner().nonce() + 1;
        let done = apply(&mut state.model, sender, now, transaction.inner().input());
        let success = done.is_ok();
        self.seal(&mut state, now, &done.unwrap_or_default(), hash);
        let block = state.head().unwrap_or_default();
        let receipt = Receipt { tx_hash: hash, block, success, gas_used: GAS, contract: None, logs: Vec::new() };
        state.receipts.insert(hash, receipt);
        Ok(hash)
    }

    /// What the model knows; `None` for what is the chain's.
    fn view(&self, call: &Call) -> Option<Bytes> {
        if call.to != Some(self.hub) {
            return None;
        }
        let state = self.state();
        state.base?;
        let books = state.model.books();
        let answer = match IHub::IHubCalls::abi_decode(&call.data).ok()? {
            IHub::IHubCalls::viewTask(call) => {
                let id = TaskId(call.taskid);
                let Some(task) = books.tasks.get(&id) else { return Some(returned::<IHub::viewTaskCall>(&unset())) };
                let terms = books.terms_of(id)?;
                returned::<IHub::viewTaskCall>(&wire::Task {
                    status: task.status as u8,
                    dealid: task.deal.0,
                    idx: U256::from(task.index),
                    timeref: U256::from(terms.work_clock_s),
                    contributionDeadline: U256::from(terms.contribution_deadline()),
                    revealDeadline: U256::from(task.reveal_deadline),
                    finalDeadline: U256::from(terms.final_deadline()),
                    consensusValue: task.consensus.unwrap_or_default(),
                    revealCounter: U256::from(task.reveal_counter),
                    winnerCounter: U256::from(task.winner_counter),
                    contributors: task.contributors.clone(),
                    resultDigest: task.digest.unwrap_or_default(),
                    results: task.results.clone(),
                    ..unset()
                })
            }
            IHub::IHubCalls::viewTaskState(call) => {
                let id = TaskId(call.taskid);
                let task = books.tasks.get(&id);
                let pot = books.account(pot_of(id)).locked;
                returned::<IHub::viewTaskStateCall>(&IHub::viewTaskStateReturn {
                    recomputed: task.is_some_and(|task| task.recomputed),
                    concededAt: U256::from(task.and_then(|task| task.conceded_at).unwrap_or_default()),
                    potAccount: pot_of(id),
                    pot: pot.to_u256(),
                })
            }
            IHub::IHubCalls::viewWeight(call) => {
                let vote = books.tasks.get(&TaskId(call.taskid)).and_then(|task| task.contributions.get(&call.worker));
                let weight = vote.map_or(0, |vote| vote.weight);
                returned::<IHub::viewWeightCall>(&U256::from(weight))
            }
            IHub::IHubCalls::viewScore(call) => returned::<IHub::viewScoreCall>(&U256::from(books.score(call.worker))),
            IHub::IHubCalls::viewAccount(call) => {
                let account = books.account(call.account);
                let (stake, locked) = (account.stake.to_u256(), account.locked.to_u256());
                returned::<IHub::viewAccountCall>(&wire::Account { stake, locked })
            }
            // Tried before it is sent. Whether the model takes it is seen when it is.
            IHub::IHubCalls::finalize(_) | IHub::IHubCalls::reopen(_) | IHub::IHubCalls::claim(_) => Bytes::new(),
            _ => return None,
        };
        Some(answer)
    }
}

/// A task that nobody has begun.
fn unset() -> wire::Task {
    wire::Task {
        status: 0,
        dealid: B256::ZERO,
        idx: U256::ZERO,
        timeref: U256::ZERO,
        contributionDeadline: U256::ZERO,
        revealDeadline: U256::ZERO,
        finalDeadline: U256::ZERO,
        consensusValue: B256::ZERO,
        revealCounter: U256::ZERO,
        winnerCounter: U256::ZERO,
        contributors: Vec::new(),
        resultDigest: B256::ZERO,
        results: Bytes::new(),
        resultsTimestamp: U256::ZERO,
        resultsCallback: Bytes::new(),
    }
}

/// What a view returns.
fn returned<C: SolCall>(record: &C::Return) -> Bytes {
    C::abi_encode_returns(record).into()
}

/// What the pool calls.
fn apply(model: &mut Model, sender: Address, now: u64, input: &[u8]) -> Result<Vec<HubEvent>, String> {
    let text = |revert: Revert| revert.to_string();
    match IHub::IHubCalls::abi_decode(input).map_err(|error| error.to_string())? {
        IHub::IHubCalls::initializeArray(call) => {
            let mut events = Vec::new();
            for (deal, index) in call.dealids.iter().zip(call.indexes) {
                events.extend(model.initialize(DealId(*deal), index.saturating_to()).map_err(text)?);
            }
            Ok(events)
        }
        IHub::IHubCalls::finalize(call) => {
            model.finalize(sender, now, TaskId(call.taskid), call.results, &call.resultsCallback).map_err(text)
        }
        IHub::IHubCalls::reopen(call) => model.reopen(now, TaskId(call.taskid)).map_err(text),
        IHub::IHubCalls::claim(call) => model.claim(now, TaskId(call.taskid)).map_err(text),
        // Orders are no business of the model's: deals are made of the market's.
        IHub::IHubCalls::broadcastWorkerpoolOrder(_) => Ok(Vec::new()),
        other => Err(format!("the model has no entry point for {:?}", other.selector())),
    }
}

/// As the contracts write it; `None` for events that no pool reads.
fn encode(event: &HubEvent) -> Option<LogData> {
    Some(match event.clone() {
        HubEvent::TaskInitialize { task, workerpool } => {
            IHub::TaskInitialize { taskid: task.0, workerpool }.encode_log_data()
        }
        HubEvent::TaskContribute { task, worker, hash } => {
            IHub::TaskContribute { taskid: task.0, worker, hash }.encode_log_data()
        }
        HubEvent::TaskConsensus { task, hash } => {
            IHub::TaskConsensus { taskid: task.0, consensus: hash }.encode_log_data()
        }
        HubEvent::TaskReveal { task, worker, digest } => {
            IHub::TaskReveal { taskid: task.0, worker, digest }.encode_log_data()
        }
        HubEvent::TaskFinalize { task, results } => IHub::TaskFinalize { taskid: task.0, results }.encode_log_data(),
        HubEvent::TaskReopen { task } => IHub::TaskReopen { taskid: task.0 }.encode_log_data(),
        HubEvent::TaskClaimed { task } => IHub::TaskClaimed { taskid: task.0 }.encode_log_data(),
        HubEvent::AccurateContribution { worker, task } => {
            IHub::AccurateContribution { worker, taskid: task.0 }.encode_log_data()
        }
        HubEvent::FaultyContribution { worker, task } => {
            IHub::FaultyContribution { worker, taskid: task.0 }.encode_log_data()
        }
        _ => return None,
    })
}

fn refused(why: impl ToString) -> LedgerError {
    LedgerError::Rpc { method: "bench".to_owned(), code: -32000, message: why.to_string() }
}

fn now<T: Send + 'static>(answer: Result<T, LedgerError>) -> Answer<'static, T> {
    Box::pin(async move { answer })
}

impl LedgerPort for ModelLedger {
    fn chain_id(&self) -> Answer<'_, u64> {
        now(Ok(CHAIN_ID))
    }

    fn head(&self) -> Answer<'_, u64> {
        match self.state().head() {
            Some(head) => now(Ok(head)),
            None => self.chain.head(),
        }
    }

    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        Box::pin(async move {
            let mut blocks = self.chain.blocks(numbers.clone()).await?;
            let state = self.state();
            let Some(base) = state.base else { return Ok(blocks) };
            for (block, number) in blocks.iter_mut().zip(numbers).filter(|(_, number)| *number > base) {
                let known = state.blocks.get((number - base - 1) as usize);
                *block = known.map(|known| BlockHead {
                    number,
                    hash: keccak256(number.to_be_bytes()),
                    timestamp: known.timestamp,
                });
            }
            Ok(blocks)
        })
    }

    fn call(&self, calls: Vec<Call>, block: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                match self.view(&call) {
                    Some(answer) => answers.push(Ok(answer)),
                    None => answers.append(&mut self.chain.call(vec![call], block).await?),
                }
            }
            Ok(answers)
        })
    }

    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        match self.state().base {
            Some(_) => now(Ok(calls.iter().map(|_| Ok(GAS)).collect())),
            None => self.chain.estimate(calls),
        }
    }

    fn nonce(&self, account: Address, pending: bool) -> Answer<'_, u64> {
        Box::pin(async move {
            let on_chain = self.chain.nonce(account, pending).await?;
            Ok(self.state().nonces.get(&account).copied().unwrap_or(0).max(on_chain))
        })
    }

    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        let (base, held) = {
            let state = self.state();
            (state.base, state.held)
        };
        match base {
            Some(_) => {}
            None if held => {
                let cause = "the model takes over".to_owned();
                return now(Err(LedgerError::Unreachable { url: "here".to_owned(), cause }));
            }
            None => return self.chain.send(raw),
        }
        now(Ok(raw.iter().map(|raw| self.take(raw)).collect()))
    }

    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        Box::pin(async move {
            let mut receipts = self.chain.receipts(hashes.clone()).await?;
            let state = self.state();
            for (receipt, hash) in receipts.iter_mut().zip(hashes) {
                if receipt.is_none() {
                    *receipt = state.receipts.get(&hash).cloned();
                }
            }
            Ok(receipts)
        })
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>> {
        Box::pin(async move {
            let base = self.state().base.unwrap_or(u64::MAX);
            let mut logs = Vec::new();
            if query.from <= base {
                logs = self.chain.logs(LogQuery { to: query.to.min(base), ..query.clone() }).await?;
            }
            if query.to > base {
                let state = self.state();
                let from = (query.from.max(base + 1) - base - 1) as usize;
                let to = ((query.to - base) as usize).min(state.blocks.len());
                let wanted = |log: &&Log| {
                    (query.addresses.is_empty() || query.addresses.contains(&log.address))
                        && (query.events.is_empty()
                            || log.topics.first().is_some_and(|topic| query.events.contains(topic)))
                };
                let found = state.blocks.get(from..to).unwrap_or_default().iter().flat_map(|block| &block.logs);
                logs.extend(found.filter(wanted).cloned());
            }
            Ok(logs)
        })
    }

    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        self.chain.code(addresses)
    }

    fn balance(&self, account: Address) -> Answer<'_, U256> {
        self.chain.balance(account)
    }

    fn fees(&self) -> Answer<'_, Fees> {
        self.chain.fees()
    }
}
