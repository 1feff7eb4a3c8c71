//! A pool's way to the ledger: it is cut when the pool dies, and transactions wait a moment for their block.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use gristmill_hub::ledger::{Answer, BlockHead, Call, Fees, Log, LogQuery, Receipt};
use gristmill_hub::{LedgerError, LedgerPort};

use super::chain_of_hub::chain::TestChain;
use super::machine::{Machine, Moment};

/// Transactions that are in no block. They outlive the process that sent them, unless the node loses them too.
#[derive(Clone, Default)]
pub struct Waiting {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    raw: VecDeque<Bytes>,
    known: HashSet<B256>,
}

impl Waiting {
    fn put(&self, raw: Bytes) -> B256 {
        let hash = keccak256(&raw);
        let mut queue = self.queue.lock().unwrap();
        if queue.known.insert(hash) {
            queue.raw.push_back(raw);
        }
        hash
    }

    /// Puts all that waits into blocks.
    pub async fn mine(&self, chain: &TestChain) -> usize {
        let raw: Vec<Bytes> = self.queue.lock().unwrap().raw.drain(..).collect();
        let count = raw.len();
        for raw in raw {
            // Whatever was sent in vain is its sender's business.
            let _ = chain.send(vec![raw]).await;
        }
        count
    }

    /// The node crashes as well: it forgets what it was handed.
    pub fn lose(&self) {
        let mut queue = self.queue.lock().unwrap();
        let lost: Vec<Bytes> = queue.raw.drain(..).collect();
        for raw in lost {
            queue.known.remove(&keccak256(&raw));
        }
    }
}

/// The wire of one process.
#[derive(Clone)]
pub struct Wire {
    pub chain: TestChain,
    pub waiting: Waiting,
    pub machine: Machine,
    pub life: u64,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

fn cut() -> LedgerError {
    LedgerError::Unreachable { url: "test".to_owned(), cause: "the process is dead".to_owned() }
}

impl Wire {
    /// Asks the ledger, as long as this process lives.
    fn ask<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            match self.machine.is_alive(self.life) {
                true => answer.await,
                false => Err(cut()),
            }
        })
    }

    /// As [`Wire::ask`] for an answer that the process may die of, if it is worth that.
    fn hear<'a, T: Send + 'a>(
        &'a self,
        moment: Moment,
        answer: Answer<'a, T>,
        counts: impl Fn(&T) -> bool + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let answer = self.ask(answer).await?;
            match counts(&answer) {
                true => self.machine.pass(self.life, moment, || answer).map_err(|_| cut()),
                false => Ok(answer),
            }
        })
    }
}

impl LedgerPort for Wire {
    fn chain_id(&self) -> Answer<'_, u64> {
        self.ask(self.chain.chain_id())
    }

    fn head(&self) -> Answer<'_, u64> {
        self.ask(self.chain.head())
    }

    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        self.ask(self.chain.blocks(numbers))
    }

    fn call(&self, calls: Vec<Call>, block: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        self.ask(self.chain.call(calls, block))
    }

    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        self.ask(self.chain.estimate(calls))
    }

    fn nonce(&self, account: Address, pending: bool) -> Answer<'_, u64> {
        self.ask(self.chain.nonce(account, pending))
    }

    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        Box::pin(async move {
            let send = || raw.into_iter().map(|raw| Ok(self.waiting.put(raw))).collect();
            self.machine.pass(self.life, Moment::Send, send).map_err(|_| cut())
        })
    }

    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        self.hear(Moment::Receipt, self.chain.receipts(hashes), |receipts| receipts.iter().any(Option::is_some))
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>> {
        self.hear(Moment::Events, self.chain.logs(query), |logs| !logs.is_empty())
    }

    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        self.ask(self.chain.code(addresses))
    }

    fn balance(&self, account: Address) -> Answer<'_, U256> {
        self.ask(self.chain.balance(account))
    }

    fn fees(&self) -> Answer<'_, Fees> {
        self.ask(self.chain.fees())
    }
}
