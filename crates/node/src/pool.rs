//! Keeps signed transactions until they are in a block.
//!
//! Each sender has its transactions by nonce. Those that follow the sender's last mined nonce without a gap are *ready*
//! and go into blocks in the order they arrived; the others wait for the missing nonce.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, U256};
use gristmill_evm::SignedTransaction;

#[cfg(test)]
mod tests;

/// Bounds of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions in the whole pool.
    pub transactions_max: usize,
    /// Transactions of one sender, and how far a nonce may be ahead of the sender's last mined one.
    pub sender_transactions_max: u64,
    /// Encoded bytes in the whole pool.
    pub bytes_max: usize,
    /// Encoded bytes of one transaction.
    pub transaction_bytes_max: usize,
    /// How long a transaction that is not ready may wait, in milliseconds.
    pub waiting_ms_max: u64,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions_max: 50_000,
            sender_transactions_max: 10_000,
            bytes_max: 64 << 20,
            transaction_bytes_max: 128 << 10,
            waiting_ms_max: 3 * 60 * 60 * 1000,
        }
    }
}

/// A replacement must offer this many percent more, in the price and in the tip.
pub const REPLACEMENT_BUMP_PERCENT: u128 = 10;

/// Why a transaction is not taken. The texts are the ones that Ethereum clients match on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// It is in the pool already.
    #[error("already known")]
    AlreadyKnown,
    /// Its nonce was used in a block.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The sender's next nonce.
        next: u64,
        /// The transaction's nonce.
        nonce: u64,
    },
    /// Its nonce is too far ahead to wait for.
    #[error("nonce too high: next nonce {next}, tx nonce {nonce}")]
    NonceTooHigh {
        /// The sender's next nonce.
        next: u64,
        /// The transaction's nonce.
        nonce: u64,
    },
    /// Another transaction has the nonce, and this one does not offer enough more.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The sender's balance does not cover the values of its waiting transactions.
    #[error("insufficient funds for gas * price + value: balance {balance}, tx cost {cost}")]
    InsufficientFunds {
        /// The sender's balance.
        balance: U256,
        /// What its transactions in the pool and this one move together.
        cost: U256,
    },
    /// It is longer than the pool takes.
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized {
        /// Its length, in bytes.
        size: usize,
        /// The longest taken.
        limit: usize,
    },
    /// The pool has no room.
    #[error("txpool is full")]
    Full,
}

/// What the ledger says about a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderState {
    /// Its next nonce.
    pub nonce: u64,
    /// Its balance.
    pub balance: U256,
}

/// Transactions that wait for a block.
#[derive(Debug, Default)]
pub struct Pool {
    limits: PoolLimits,
    senders: HashMap<Address, Queue>,
    /// INVARIANT: names exactly the transactions in `senders`.
    by_hash: HashMap<B256, (Address, u64)>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Queue {
    /// The sender's next nonce on the ledger, as far as the pool was told.
    next_nonce: u64,
    /// INVARIANT: all nonces from `next_nonce` up to this one (not included) are in `by_nonce`, and this one is not.
    ready_end: u64,
    by_nonce: BTreeMap<u64, Waiting>,
    /// INVARIANT: sum of the values of the transactions. It cannot overflow: it was at most a balance.
    value: U256,
}

impl Queue {
    fn insert(&mut self, nonce: u64, waiting: Waiting) {
        self.value = self.value.saturating_add(waiting.transaction.value());
        self.by_nonce.insert(nonce, waiting);
        self.find_ready_end();
    }

    fn remove(&mut self, nonce: u64) -> Option<Waiting> {
        let waiting = self.by_nonce.remove(&nonce)?;
        self.value = self.value.saturating_sub(waiting.transaction.value());
        if nonce >= self.next_nonce {
            self.ready_end = self.ready_end.min(nonce);
        }
        Some(waiting)
    }

    /// The ledger expects `nonce` next. Returns the transactions before it, which are gone.
    fn advance(&mut self, nonce: u64) -> Vec<Waiting> {
        let later = self.by_nonce.split_off(&nonce);
        let gone: Vec<Waiting> = std::mem::replace(&mut self.by_nonce, later).into_values().collect();
        for waiting in &gone {
            self.value = self.value.saturating_sub(waiting.transaction.value());
        }
        self.next_nonce = self.next_nonce.max(nonce);
        self.ready_end = self.ready_end.max(self.next_nonce);
        self.find_ready_end();
        gone
    }

    fn find_ready_end(&mut self) {
        self.ready_end = self.ready_end.max(self.next_nonce);
        while self.by_nonce.contains_key(&self.ready_end) {
            self.ready_end += 1;
        }
    }
}

#[derive(Debug)]
struct Waiting {
    transaction: SignedTransaction,
    size: usize,
    arrival: u64,
    arrived_ms: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a transaction. `now_ms` is any clock that does not go backwards.
    ///
    /// Returns whether it is ready.
    ///
    /// # Errors
    /// [`PoolError`]; the pool is as before then.
    pub fn add(&mut self, transaction: SignedTransaction, state: SenderState, now_ms: u64) -> Result<bool, PoolError> {
        let hash = *transaction.inner().tx_hash();
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        let size = transaction.inner().encode_2718_len();
        if size > self.limits.transaction_bytes_max {
            let limit = self.limits.transaction_bytes_max;
            return Err(PoolError::Oversized { size, limit });
        }
        let (sender, nonce) = (transaction.signer(), transaction.nonce());
        self.advance(sender, state.nonce);
        if nonce < state.nonce {
            return Err(PoolError::NonceTooLow { next: state.nonce, nonce });
        }
        if nonce - state.nonce >= self.limits.sender_transactions_max {
            return Err(PoolError::NonceTooHigh { next: state.nonce, nonce });
        }
        let replaced = self.check_replacement(&transaction)?;
        self.check_funds(&transaction, state)?;
        let count = self.by_hash.len() - usize::from(replaced.is_some());
        let bytes = self.bytes - replaced.unwrap_or(0);
        if count >= self.limits.transactions_max || bytes + size > self.limits.bytes_max {
            return Err(PoolError::Full);
        }

        self.remove(sender, nonce);
        self.arrivals += 1;
        let waiting = Waiting { transaction, size, arrival: self.arrivals, arrived_ms: now_ms };
        let queue = self.senders.entry(sender).or_default();
        queue.next_nonce = queue.next_nonce.max(state.nonce);
        queue.insert(nonce, waiting);
        self.bytes += size;
        self.by_hash.insert(hash, (sender, nonce));
        Ok(nonce < self.next_nonce(sender, state.nonce))
    }

    /// Size of the transaction that would be replaced.
    fn check_replacement(&self, new: &SignedTransaction) -> Result<Option<usize>, PoolError> {
        let queue = self.senders.get(&new.signer());
        let Some(old) = queue.and_then(|queue| queue.by_nonce.get(&new.nonce())) else {
            return Ok(None);
        };
        let enough = |old: u128, new: u128| {
            new > old && new >= old.saturating_add(old.saturating_mul(REPLACEMENT_BUMP_PERCENT) / 100)
        };
        let tip = |transaction: &SignedTransaction| {
            transaction.max_priority_fee_per_gas().unwrap_or(transaction.max_fee_per_gas())
        };
        let price_rises = enough(old.transaction.max_fee_per_gas(), new.max_fee_per_gas());
        if price_rises && enough(tip(&old.transaction), tip(new)) {
            Ok(Some(old.size))
        } else {
            Err(PoolError::ReplacementUnderpriced)
        }
    }

    fn check_funds(&self, new: &SignedTransaction, state: SenderState) -> Result<(), PoolError> {
        let mut cost = new.value();
        if let Some(queue) = self.senders.get(&new.signer()) {
            let replaced = queue.by_nonce.get(&new.nonce());
            let replaced = replaced.map_or(U256::ZERO, |waiting| waiting.transaction.value());
            cost = cost.saturating_add(queue.value.saturating_sub(replaced));
        }
        if cost > state.balance {
            return Err(PoolError::InsufficientFunds { balance: state.balance, cost });
        }
        Ok(())
    }

    /// The ready transactions in the order they should have in a block, `count_max` at most. They stay in the pool until
    /// [`forget`](Self::forget) or [`advance`](Self::advance) takes them out.
    pub fn ready(&self, count_max: usize) -> Vec<SignedTransaction> {
        let mut heads = BinaryHeap::new();
        for (sender, queue) in &self.senders {
            if let Some(waiting) = queue.by_nonce.get(&queue.next_nonce) {
                heads.push(Reverse((waiting.arrival, *sender, queue.next_nonce)));
            }
        }
        let mut ready = Vec::new();
        while ready.len() < count_max {
            let Some(Reverse((_, sender, nonce))) = heads.pop() else { break };
            let queue = &self.senders[&sender];
            ready.push(queue.by_nonce[&nonce].transaction.clone());
            if let Some(next) = queue.by_nonce.get(&(nonce + 1)) {
                heads.push(Reverse((next.arrival, sender, nonce + 1)));
            }
        }
        ready
    }

    /// Whether a transaction is ready.
    pub fn has_ready(&self) -> bool {
        self.senders.values().any(|queue| queue.ready_end > queue.next_nonce)
    }

    /// The nonce that `sender` should use next: after `state_nonce` and after its ready transactions.
    pub fn next_nonce(&self, sender: Address, state_nonce: u64) -> u64 {
        let Some(queue) = self.senders.get(&sender) else { return state_nonce };
        if state_nonce <= queue.ready_end {
            return queue.ready_end;
        }
        // The pool has not heard of the sender's last block yet.
        let mut nonce = state_nonce;
        while queue.by_nonce.contains_key(&nonce) {
            nonce += 1;
        }
        nonce
    }

    /// Learns that the ledger expects `nonce` next from `sender`: earlier transactions are gone.
    pub fn advance(&mut self, sender: Address, nonce: u64) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        for waiting in queue.advance(nonce) {
            self.bytes -= waiting.size;
            self.by_hash.remove(waiting.transaction.inner().tx_hash());
        }
        if queue.by_nonce.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// Drops one transaction.
    pub fn forget(&mut self, hash: B256) {
        if let Some((sender, nonce)) = self.by_hash.get(&hash).copied() {
            self.remove(sender, nonce);
        }
    }

    /// Drops transactions that are not ready and have waited too long. Returns how many.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let mut expired = Vec::new();
        for (sender, queue) in &self.senders {
            for (nonce, waiting) in queue.by_nonce.range(queue.ready_end..) {
                if now_ms.saturating_sub(waiting.arrived_ms) > self.limits.waiting_ms_max {
                    expired.push((*sender, *nonce));
                }
            }
        }
        for (sender, nonce) in &expired {
            self.remove(*sender, *nonce);
        }
        expired.len()
    }

    /// The transaction with this hash, if it is in the pool.
    pub fn get(&self, hash: B256) -> Option<&SignedTransaction> {
        let (sender, nonce) = self.by_hash.get(&hash)?;
        Some(&self.senders.get(sender)?.by_nonce.get(nonce)?.transaction)
    }

    /// How many transactions there are, ready or not.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there are none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Encoded bytes of all transactions together.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, sender: Address, nonce: u64) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        if let Some(waiting) = queue.remove(nonce) {
            self.bytes -= waiting.size;
            self.by_hash.remove(waiting.transaction.inner().tx_hash());
        }
        if queue.by_nonce.is_empty() {
            self.senders.remove(&sender);
        }
    }
}
