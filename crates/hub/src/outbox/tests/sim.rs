//! A ledger in memory that loses requests, replies and transactions, as its seed says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};

use crate::ledger::{Answer, BlockHead, Call, Fees, Finality, LedgerError, LedgerPort, Log, LogQuery, Receipt};
use crate::revert::Revert;

/// How often things go wrong, each in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A request does not arrive.
    pub lost_request: u64,
    /// A request arrives, its reply does not.
    pub lost_reply: u64,
    /// A transaction is taken and forgotten.
    pub forgotten: u64,
    /// The newest blocks, up to [`DEPTH`], are replaced by others; what was in them waits again, or is forgotten.
    pub reorganised: u64,
}

/// How deep it reorganises, if it does.
pub const DEPTH: u64 = 3;

/// Clones are the same ledger. Call data decides: `dead..` is never taken, `revert..` reverts in its block,
/// `refuse..` also when it is estimated; all else takes effect.
#[derive(Clone, Debug)]
pub struct SimLedger {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub struct State {
    random: u64,
    pub faults: Faults,
    pub genesis: B256,
    /// Takes requests and never answers.
    pub silent: bool,
    used: HashMap<Address, u64>,
    waiting: BTreeMap<(Address, u64), TxEnvelope>,
    receipts: HashMap<B256, Receipt>,
    /// What is in the blocks that may still be replaced.
    recent: Vec<(u64, Address, TxEnvelope)>,
    block: u64,
    /// Who offers less stays out of the blocks; what is said of it is [`State::quoted`].
    pub base_fee: u128,
    pub quoted: u128,
    /// What was offered at each nonce.
    pub offers: BTreeMap<u64, Vec<u128>>,
    pub reorganisations: u64,
    /// How often each call data took effect.
    pub effects: HashMap<Bytes, u32>,
    /// All call data ever seen at a nonce; a filler's is empty.
    pub seen: BTreeMap<u64, Vec<Bytes>>,
    pub requests: u64,
}

impl SimLedger {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            random: seed.wrapping_mul(2).wrapping_add(1),
            faults,
            genesis: B256::repeat_byte(7),
            silent: false,
            used: HashMap::new(),
            waiting: BTreeMap::new(),
            receipts: HashMap::new(),
            recent: Vec::new(),
            block: 0,
            base_fee: 0,
            quoted: 0,
            offers: BTreeMap::new(),
            reorganisations: 0,
            effects: HashMap::new(),
            seen: BTreeMap::new(),
            requests: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction of the key that nobody here sent.
    pub fn use_nonce(&self, address: Address) {
        *self.lock().used.entry(address).or_default() += 1;
    }

    pub fn used(&self, address: Address) -> u64 {
        self.lock().used.get(&address).copied().unwrap_or(0)
    }

    /// One request: it may be lost before or after `work` is done, and blocks may be made meanwhile.
    fn request<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> T) -> Answer<'_, T> {
        let lost = || LedgerError::Unreachable { url: "sim".to_owned(), cause: "lost".to_owned() };
        let mut state = self.lock();
        state.requests += 1;
        let (request, reply) = (state.faults.lost_request, state.faults.lost_reply);
        let answer = if state.chance(request) {
            Err(lost())
        } else {
            let answer = work(&mut state);
            if state.chance(50) {
                state.mine();
            }
            let reorganised = state.faults.reorganised;
            if state.chance(reorganised) {
                state.reorganise();
            }
            if state.chance(reply) { Err(lost()) } else { Ok(answer) }
        };
        if state.silent {
            return Box::pin(std::future::pending());
        }
        Box::pin(async {
            // Other tasks run between a request and its answer.
            tokio::task::yield_now().await;
            answer
        })
    }
}

impl State {
    pub fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    fn take(&mut self, raw: &Bytes) -> Result<B256, LedgerError> {
        let refuse = |message: &str| {
            Err(LedgerError::Rpc { method: "send".to_owned(), code: -32000, message: message.to_owned() })
        };
        let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).expect("a transaction");
        let sender = envelope.recover_signer().expect("a signer");
        let (hash, nonce) = (*envelope.tx_hash(), envelope.nonce());
        let seen = self.seen.entry(nonce).or_default();
        if !seen.contains(envelope.input()) {
            seen.push(envelope.input().clone());
        }
        let used = self.used.get(&sender).copied().unwrap_or(0);
        if nonce < used {
            return refuse("nonce too low: next nonce is another");
        }
        if nonce > used + 50 {
            return refuse("nonce too high: next nonce is another");
        }
        if envelope.input().starts_with(b"dead") {
            return refuse("exceeds block gas limit");
        }
        if let Some(waiting) = self.waiting.get(&(sender, nonce)) {
            if waiting.tx_hash() == &hash {
                return refuse("already known");
            }
            let (fee, offered) = (waiting.max_fee_per_gas(), envelope.max_fee_per_gas());
            // Where gas is free nothing can be outbid.
            if fee == 0 || offered < fee + fee / 10 {
                return refuse("replacement transaction underpriced");
            }
        }
        let offers = self.offers.entry(nonce).or_default();
        if offers.last() != Some(&envelope.max_fee_per_gas()) {
            offers.push(envelope.max_fee_per_gas());
        }
        let forgotten = self.faults.forgotten;
        if !self.chance(forgotten) {
            self.waiting.insert((sender, nonce), envelope);
        }
        Ok(hash)
    }

    pub fn mine(&mut self) {
        self.block += 1;
        let ready: Vec<(Address, u64)> = self.waiting.keys().copied().collect();
        for (sender, nonce) in ready {
            let is_next = self.used.get(&sender).copied().unwrap_or(0) == nonce;
            let offered = self.waiting.get(&(sender, nonce)).map_or(0, Transaction::max_fee_per_gas);
            if !is_next || offered < self.base_fee {
                continue;
            }
            let Some(envelope) = self.waiting.remove(&(sender, nonce)) else { continue };
            self.used.insert(sender, nonce + 1);
            let success = !envelope.input().starts_with(b"revert");
            if success && !envelope.input().is_empty() {
                *self.effects.entry(envelope.input().clone()).or_default() += 1;
            }
            let tx_hash = *envelope.tx_hash();
            let receipt =
                Receipt { tx_hash, block: self.block, success, gas_used: 21_000, contract: None, logs: Vec::new() };
            self.receipts.insert(tx_hash, receipt);
            self.recent.push((self.block, sender, envelope));
        }
        let settled = self.block.saturating_sub(DEPTH);
        self.recent.retain(|(block, ..)| *block > settled);
    }

    fn reorganise(&mut self) {
        let kept = self.block.saturating_sub(1 + self.draw() % DEPTH);
        let (undone, recent) = std::mem::take(&mut self.recent).into_iter().partition(|(block, ..)| *block > kept);
        self.recent = recent;
        let undone: Vec<(u64, Address, TxEnvelope)> = undone;
        for (_, sender, envelope) in undone.into_iter().rev() {
            self.used.insert(sender, envelope.nonce());
            self.receipts.remove(envelope.tx_hash());
            if let Some(effects) = self.effects.get_mut(envelope.input()) {
                *effects -= u32::from(!envelope.input().starts_with(b"revert"));
            }
            if self.chance(50) {
                self.waiting.insert((sender, envelope.nonce()), envelope);
            }
        }
        self.reorganisations += 1;
        // The other branch is longer by a block; what waits comes into its last.
        self.mine();
        self.block += DEPTH;
    }
}

fn refusal(data: &Bytes) -> Option<LedgerError> {
    let refused = data.starts_with(b"refuse") || data.starts_with(b"revert");
    refused.then(|| LedgerError::Revert(Revert::message("the rules say no")))
}

impl LedgerPort for SimLedger {
    fn chain_id(&self) -> Answer<'_, u64> {
        self.request(|_| 5)
    }
    fn head(&self) -> Answer<'_, u64> {
        self.request(|state| state.block)
    }
    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        self.request(move |state| {
            let block = |number| BlockHead { number, hash: state.genesis, timestamp: number };
            numbers.into_iter().map(|number| (number <= state.block).then(|| block(number))).collect()
        })
    }
    fn call(&self, calls: Vec<Call>, _: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        self.request(move |_| calls.iter().map(|call| refusal(&call.data).map_or(Ok(Bytes::new()), Err)).collect())
    }
    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        self.request(move |_| {
            let refused = |call: &Call| call.data.starts_with(b"refuse").then(|| refusal(&call.data)).flatten();
            calls.iter().map(|call| refused(call).map_or(Ok(50_000), Err)).collect()
        })
    }
    fn nonce(&self, account: Address, pending: bool) -> Answer<'_, u64> {
        self.request(move |state| {
            let mut nonce = state.used.get(&account).copied().unwrap_or(0);
            while pending && state.waiting.contains_key(&(account, nonce)) {
                nonce += 1;
            }
            nonce
        })
    }
    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        self.request(move |state| raw.iter().map(|raw| state.take(raw)).collect())
    }
    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        self.request(move |state| hashes.iter().map(|hash| state.receipts.get(hash).cloned()).collect())
    }
    fn logs(&self, _: LogQuery) -> Answer<'_, Vec<Log>> {
        self.request(|_| Vec::new())
    }
    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        self.request(move |_| vec![Bytes::new(); addresses.len()])
    }
    fn balance(&self, _: Address) -> Answer<'_, U256> {
        self.request(|_| U256::ZERO)
    }
    fn fees(&self) -> Answer<'_, Fees> {
        self.request(|state| Fees { base: Some(state.quoted), tip: 0 })
    }
    fn finality(&self) -> Answer<'_, Finality> {
        self.request(|state| Finality {
            confirmations: if state.faults.reorganised > 0 { DEPTH } else { 0 },
            poll_ms: 0,
        })
    }
}
