//! A ledger in the same process, as a port: each request's transactions are one block.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use gristmill_datadir::Db;
use gristmill_datadir::redb::backends::InMemoryBackend;
use gristmill_evm::{
    CallBlock, CallError, CallRequest, Chain, FoundLog, Genesis, SignedTransaction, StateOverrides, StoredReceipt,
    check_transaction, decode_transaction,
};
use gristmill_hub::ledger::{Answer, BlockHead, Call, Fees, Log, LogQuery, Receipt};
use gristmill_hub::{LedgerError, LedgerPort, Revert};
use gristmill_wallet::Wallet;

pub const CHAIN_ID: u64 = 26_482;
/// When the tests' ledger begins.
pub const GENESIS_TIME: u64 = 1_800_000_000;

/// Gas limit of the transactions.
const TRANSACTION_GAS: u64 = 16_000_000;

/// The tests' ledger. Clones share it. Its clock stands until it is moved.
#[derive(Clone)]
pub struct TestChain {
    inner: Arc<Inner>,
}

struct Inner {
    chain: Chain,
    clock: AtomicU64,
    waiting: Mutex<Vec<SignedTransaction>>,
}

impl fmt::Debug for TestChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestChain")
    }
}

impl TestChain {
    pub fn new() -> Self {
        let db = Db::open_on(InMemoryBackend::new()).unwrap();
        let genesis = Genesis { timestamp: GENESIS_TIME, ..Genesis::new(CHAIN_ID) };
        let chain = Chain::open(db, &genesis).unwrap();
        let inner = Inner { chain, clock: AtomicU64::new(GENESIS_TIME), waiting: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    pub fn now(&self) -> u64 {
        self.inner.clock.load(Ordering::SeqCst)
    }

    /// Moves the clock, and makes the block that shows it.
    pub fn set_clock(&self, now: u64) {
        self.inner.clock.store(now, Ordering::SeqCst);
        self.mine(Vec::new());
    }

    /// Runs a transaction of `wallet` in a block of its own and returns whether it succeeded, and its gas.
    pub fn execute(&self, wallet: &Wallet, call: &Call) -> (bool, u64) {
        let transaction = Self::sign(wallet, self.nonce_of(wallet.address()), call);
        let hash = *transaction.inner().tx_hash();
        self.mine(vec![transaction]);
        let view = self.inner.chain.view().unwrap();
        let receipt = view.transaction(hash).unwrap().expect("it is in the block").receipt;
        (receipt.success, receipt.gas_used)
    }

    /// What `call` would answer in a block made now.
    pub fn simulate(&self, call: &Call) -> Result<Bytes, CallError> {
        let view = self.inner.chain.view().unwrap();
        let outcome = view.call(&Self::request(call), CallBlock::Next { clock: self.now() }, &StateOverrides::new());
        outcome.map(|outcome| outcome.output)
    }

    /// Runs transactions of one wallet in one block and returns their receipts.
    pub fn execute_block(&self, wallet: &Wallet, calls: &[Call]) -> Vec<StoredReceipt> {
        let nonce = self.nonce_of(wallet.address());
        let sign = |(nonce, call): (u64, &Call)| Self::sign(wallet, nonce, call);
        self.mine((nonce..).zip(calls).map(sign).collect());
        let view = self.inner.chain.view().unwrap();
        let receipts = view.receipts(view.head()).unwrap().expect("the block was just made");
        assert_eq!(receipts.len(), calls.len(), "the block has not all of the transactions");
        receipts
    }

    fn sign(wallet: &Wallet, nonce: u64, call: &Call) -> SignedTransaction {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: TRANSACTION_GAS,
            to: call.to.map_or(TxKind::Create, TxKind::Call),
            value: call.value,
            input: call.data.clone(),
            ..TxEip1559::default()
        };
        let signature = wallet.sign_hash_parts(transaction.signature_hash());
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        SignedTransaction::new_unchecked(envelope, wallet.address())
    }

    fn mine(&self, transactions: Vec<SignedTransaction>) {
        let mut waiting = self.inner.waiting.lock().unwrap();
        waiting.extend(transactions);
        let block = self.inner.chain.execute_block(std::mem::take(&mut *waiting), self.now()).unwrap();
        assert!(block.rejected.is_empty(), "{:?}", block.rejected);
        *waiting = block.deferred;
    }

    fn take(&self, raw: &[u8]) -> Result<SignedTransaction, LedgerError> {
        let transaction = decode_transaction(raw).map_err(refused)?;
        let head = self.inner.chain.head();
        check_transaction(&transaction, CHAIN_ID, head.gas_limit).map_err(refused)?;
        let nonce = self.nonce_of(transaction.signer());
        if alloy_consensus::Transaction::nonce(transaction.inner()) < nonce {
            return Err(refused("nonce too low"));
        }
        Ok(transaction)
    }

    pub fn nonce_of(&self, account: Address) -> u64 {
        let view = self.inner.chain.view().unwrap();
        view.state(view.head()).unwrap().nonce(account).unwrap()
    }

    fn request(call: &Call) -> CallRequest {
        CallRequest {
            from: call.from,
            to: call.to,
            gas: call.gas,
            value: call.value,
            input: call.data.clone(),
            ..CallRequest::default()
        }
    }
}

fn refused(why: impl ToString) -> LedgerError {
    LedgerError::Rpc { method: "test".to_owned(), code: -32000, message: why.to_string() }
}

fn call_error(error: CallError) -> LedgerError {
    match error {
        CallError::Reverted { data } => Revert::decode(data).into(),
        other => refused(other),
    }
}

fn log(found: FoundLog) -> Log {
    Log {
        address: found.log.address,
        topics: found.log.topics().to_vec(),
        data: found.log.data.data.clone(),
        block: found.block_number,
        timestamp: None,
        tx_hash: found.transaction_hash,
        index: found.log_index,
    }
}

fn now<T: Send + 'static>(answer: Result<T, LedgerError>) -> Answer<'static, T> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        answer
    })
}

impl LedgerPort for TestChain {
    fn chain_id(&self) -> Answer<'_, u64> {
        now(Ok(CHAIN_ID))
    }

    fn head(&self) -> Answer<'_, u64> {
        now(Ok(self.inner.chain.head().number))
    }

    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        let view = self.inner.chain.view().unwrap();
        let block = |number| {
            let header = view.header(number).unwrap()?;
            Some(BlockHead { number, hash: header.hash(), timestamp: header.timestamp })
        };
        now(Ok(numbers.into_iter().map(block).collect()))
    }

    fn call(&self, calls: Vec<Call>, block: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        let view = self.inner.chain.view().unwrap();
        let at = block.map_or(CallBlock::Next { clock: self.now() }, CallBlock::Number);
        let run = |call: &Call| {
            let outcome = view.call(&Self::request(call), at, &StateOverrides::new());
            outcome.map(|outcome| outcome.output).map_err(call_error)
        };
        now(Ok(calls.iter().map(run).collect()))
    }

    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        let view = self.inner.chain.view().unwrap();
        let at = CallBlock::Next { clock: self.now() };
        let run = |call: &Call| view.estimate_gas(&Self::request(call), at, &StateOverrides::new()).map_err(call_error);
        now(Ok(calls.iter().map(run).collect()))
    }

    fn nonce(&self, account: Address, _: bool) -> Answer<'_, u64> {
        now(Ok(self.nonce_of(account)))
    }

    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        let taken: Vec<_> = raw.iter().map(|raw| self.take(raw)).collect();
        self.mine(taken.iter().flatten().cloned().collect());
        now(Ok(taken.into_iter().map(|taken| taken.map(|transaction| *transaction.inner().tx_hash())).collect()))
    }

    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        let view = self.inner.chain.view().unwrap();
        let receipt = |hash| {
            let mined = view.transaction(hash).unwrap()?;
            Some(Receipt {
                tx_hash: hash,
                block: mined.block_number,
                success: mined.receipt.success,
                gas_used: mined.receipt.gas_used,
                contract: mined.created(),
                logs: Vec::new(),
            })
        };
        now(Ok(hashes.into_iter().map(receipt).collect()))
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>> {
        let view = self.inner.chain.view().unwrap();
        let LogQuery { from, to, addresses, events } = query;
        let query = gristmill_evm::LogQuery { addresses, topics: [events, vec![], vec![], vec![]] };
        let found = view.logs(&query, from, to, 100_000).map_err(refused);
        now(found.map(|found| found.into_iter().map(log).collect()))
    }

    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        let view = self.inner.chain.view().unwrap();
        let state = view.state(view.head()).unwrap();
        now(Ok(addresses.into_iter().map(|address| state.code(address).unwrap()).collect()))
    }

    fn balance(&self, account: Address) -> Answer<'_, U256> {
        let view = self.inner.chain.view().unwrap();
        now(Ok(view.state(view.head()).unwrap().balance(account).unwrap()))
    }

    fn fees(&self) -> Answer<'_, Fees> {
        now(Ok(Fees { base: Some(0), tip: 0 }))
    }
}
