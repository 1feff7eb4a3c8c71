//! The ledger itself: opens it, makes blocks, and hands out views.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, TxReceipt, constants::EMPTY_WITHDRAWALS, proofs};
use alloy_eips::eip7685::Requests;
use alloy_evm::block::{BlockExecutionError, InternalBlockExecutionError};
use alloy_primitives::{B64, B256, Bloom, KECCAK256_EMPTY, Sealable, Sealed, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::EMPTY_ROOT_HASH;
use gristmill_datadir::Db;
use revm::bytecode::Bytecode;
use revm::context_interface::result::EVMError;
use revm::database_interface::bal::EvmDatabaseError;

use crate::commit::{self, NewBlock};
use crate::error::{BlockError, OpenError, StoreError};
use crate::execute::{self, Execution, Rejected, SignedTransaction};
use crate::genesis::Genesis;
use crate::root::{AccountChange, Tries, changes_of};
use crate::schema::{FORMAT_VERSION, StoredReceipt};
use crate::spec::{BlockContext, extra_data};
use crate::state::CodeCache;
use crate::view::View;

/// A header with its hash.
pub type SealedHeader = Sealed<Header>;

/// A ledger: an EVM chain in one database.
///
/// Clones are cheap and share it. Reads may go on while a block is made; they see the state before it. One block is one
/// commit of the database: after a crash the ledger stands at the last block that
/// [`execute_block`](Self::execute_block) returned, or at the one it was about to return.
#[derive(Debug, Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    chain_id: u64,
    codes: Arc<CodeCache>,
    /// The last committed block.
    head: RwLock<Arc<SealedHeader>>,
    /// Held while a block is made. INVARIANT: the tries are those of `head`.
    tries: Mutex<Tries>,
}

/// A block that was just made and stored.
#[derive(Debug, Clone)]
pub struct ExecutedBlock {
    /// Its header and hash.
    pub header: SealedHeader,
    /// Its transactions, in order.
    pub transactions: Vec<SignedTransaction>,
    /// Their receipts, in the same order.
    pub receipts: Vec<StoredReceipt>,
    /// Transactions that are not valid and were left out.
    pub rejected: Vec<Rejected>,
    /// Transactions that may get into a later block: this one is full, or an earlier nonce is missing.
    pub deferred: Vec<SignedTransaction>,
}

impl Chain {
    /// Opens the ledger in `db`; an empty database gets the block 0 of `genesis`.
    ///
    /// # Errors
    /// [`OpenError`] when the database holds a ledger of another chain id, another genesis or another format, and when it
    /// cannot be read or written.
    pub fn open(db: Db, genesis: &Genesis) -> Result<Self, OpenError> {
        match commit::stored_identity(&db)? {
            None => create(&db, genesis)?,
            Some((version, _)) if version != FORMAT_VERSION => {
                return Err(OpenError::Version { found: version, expected: FORMAT_VERSION });
            }
            Some((_, chain_id)) if chain_id != genesis.chain_id => {
                return Err(OpenError::ChainId { found: chain_id, expected: genesis.chain_id });
            }
            Some(_) => {}
        }
        let codes = Arc::new(CodeCache::default());
        let view = View::open(&db, &codes, genesis.chain_id)?;
        let head = view.head_header()?;
        let first =
            view.header(0)?.ok_or(StoreError::Damaged { table: "headers", problem: "block 0 is missing".into() })?;
        let expected = genesis_state_root(genesis)?;
        if first.state_root != expected {
            return Err(OpenError::Genesis { found: first.state_root, expected });
        }
        let tries = Mutex::new(Tries::new(head.state_root));
        let head = RwLock::new(Arc::new(head));
        let inner = Inner { db, chain_id: genesis.chain_id, codes, head, tries };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The chain id that transactions must be signed for.
    pub fn chain_id(&self) -> u64 {
        self.inner.chain_id
    }

    /// The last block.
    pub fn head(&self) -> Arc<SealedHeader> {
        Arc::clone(&self.inner.head.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time of a block made when the clock shows `clock` (seconds since 1970): never before the last block's.
    pub fn next_timestamp(&self, clock: u64) -> u64 {
        clock.max(self.head().timestamp)
    }

    /// A view of the whole ledger as it is now. Later blocks do not show in it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn view(&self) -> Result<View, StoreError> {
        View::open(&self.inner.db, &self.inner.codes, self.inner.chain_id)
    }

    /// Makes the next block from `transactions`, in this order, and stores it durably.
    ///
    /// The block's time is `clock` (seconds since 1970), or the last block's when the clock is behind it. Transactions
    /// that are not valid are left out and told about; an empty block is a block. The same transactions and times on the
    /// same genesis make the same blocks, to the hash. Blocks for about a disk sync; calls wait for each other.
    ///
    /// # Errors
    /// [`BlockError`]; nothing of the block is kept then.
    pub fn execute_block(&self, transactions: Vec<SignedTransaction>, clock: u64) -> Result<ExecutedBlock, BlockError> {
        let mut tries = self.lock_tries();
        let parent = self.head();
        let result = self.make_block(&mut tries, &parent, transactions, clock);
        match result {
            Ok(block) => {
                let mut head = self.inner.head.write().unwrap_or_else(PoisonError::into_inner);
                *head = Arc::new(block.header.clone());
                tries.trim();
                Ok(block)
            }
            Err(error) => {
                // The tries may hold changes that were never stored.
                *tries = Tries::new(parent.state_root);
                Err(error)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    fn lock_tries(&self) -> MutexGuard<'_, Tries> {
        self.inner.tries.lock().unwrap_or_else(|poisoned| {
            // A panic in the middle of a block may have left the tries ahead of the store.
            let mut tries = poisoned.into_inner();
            *tries = Tries::new(self.head().state_root);
            self.inner.tries.clear_poison();
            tries
        })
    }

    fn make_block(
        &self,
        tries: &mut Tries,
        parent: &SealedHeader,
        transactions: Vec<SignedTransaction>,
        clock: u64,
    ) -> Result<ExecutedBlock, BlockError> {
        let number = parent.number + 1;
        let store = |source| BlockError::Store { number, source };
        let view = self.view().map_err(store)?;
        let state = view.state(parent.number).map_err(store)?;
        let context = BlockContext::after(parent, parent.hash(), clock);
        let execution = execute::execute(&state, parent.hash(), context, self.inner.chain_id, transactions)
            .map_err(|error| block_error(number, error))?;
        let mut changes = tries.apply(&state, changes_of(&execution.bundle)).map_err(store)?;
        changes.codes = execute::new_codes(&execution.bundle);

        let header = header_of(context, parent.hash(), changes.root, &execution).seal_slow();
        let Execution { included, receipts, rejected, deferred, .. } = execution;
        let size = block_size(&header, &included);
        let new = NewBlock { header: &header, size, transactions: &included, receipts: &receipts, changes: &changes };
        commit::write_block(&self.inner.db, &new).map_err(store)?;
        Ok(ExecutedBlock { header, transactions: included, receipts, rejected, deferred })
    }
}

/// Tells a store that cannot be read from rules that a block breaks.
fn block_error(number: u64, error: BlockExecutionError) -> BlockError {
    let source = match error {
        BlockExecutionError::Internal(InternalBlockExecutionError::EVM { error, .. }) => error,
        other => return BlockError::Execution { number, source: Box::new(other) },
    };
    match source.downcast::<EVMError<EvmDatabaseError<StoreError>>>() {
        Ok(error) => match *error {
            EVMError::Database(EvmDatabaseError::Database(source)) => BlockError::Store { number, source },
            other => BlockError::Execution { number, source: Box::new(other) },
        },
        Err(source) => BlockError::Execution { number, source },
    }
}

fn create(db: &Db, genesis: &Genesis) -> Result<(), OpenError> {
    commit::create_tables(db)?;
    let mut codes = Vec::new();
    for (address, account) in &genesis.alloc {
        if account.code.is_empty() {
            continue;
        }
        if Bytecode::new_raw_checked(account.code.clone()).is_err() {
            return Err(OpenError::GenesisCode { address: *address });
        }
        codes.push((keccak256(&account.code), account.code.clone()));
    }
    let cache = Arc::new(CodeCache::default());
    let empty = View::open_empty(db, &cache, genesis.chain_id)?.state(0)?;
    let mut tries = Tries::new(EMPTY_ROOT_HASH);
    let mut changes = tries.apply(&empty, genesis_changes(genesis))?;
    changes.codes = codes;
    let context =
        BlockContext { number: 0, timestamp: genesis.timestamp, gas_limit: genesis.gas_limit, randomness: B256::ZERO };
    let header = header_with(context, B256::ZERO, changes.root).seal_slow();
    let size = block_size(&header, &[]);
    let block = NewBlock { header: &header, size, transactions: &[], receipts: &[], changes: &changes };
    commit::write_genesis(db, genesis.chain_id, &block)?;
    Ok(())
}

fn genesis_changes(genesis: &Genesis) -> Vec<AccountChange> {
    let mut changes = Vec::new();
    for (address, account) in &genesis.alloc {
        let empty = account.balance.is_zero() && account.nonce == 0 && account.code.is_empty();
        if empty && account.storage.values().all(U256::is_zero) {
            continue;
        }
        let code_hash = if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) };
        changes.push(AccountChange {
            address: *address,
            info: Some((account.nonce, account.balance, code_hash)),
            storage: account.storage.iter().map(|(slot, value)| (*slot, *value)).collect(),
            wiped: false,
        });
    }
    changes
}

/// The state root of block 0, computed from nothing.
fn genesis_state_root(genesis: &Genesis) -> Result<B256, StoreError> {
    let accounts = genesis_changes(genesis).into_iter().filter_map(|change| {
        let (nonce, balance, code_hash) = change.info?;
        let slots = change.storage.into_iter().filter(|(_, value)| !value.is_zero());
        let storage_root =
            alloy_trie::root::storage_root_unhashed(slots.map(|(slot, value)| (B256::from(slot), value)));
        let account = alloy_trie::TrieAccount { nonce, balance, storage_root, code_hash };
        Some((change.address, account))
    });
    Ok(alloy_trie::root::state_root_unhashed(accounts))
}

/// A header of a block without transactions.
fn header_with(block: BlockContext, parent_hash: B256, state_root: B256) -> Header {
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: alloy_primitives::Address::ZERO,
        state_root,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        difficulty: U256::ZERO,
        number: block.number,
        gas_limit: block.gas_limit,
        gas_used: 0,
        timestamp: block.timestamp,
        extra_data: extra_data(),
        mix_hash: block.randomness,
        nonce: B64::ZERO,
        base_fee_per_gas: Some(0),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(Requests::default().requests_hash()),
        ..Header::default()
    }
}

fn header_of(block: BlockContext, parent_hash: B256, state_root: B256, execution: &Execution) -> Header {
    let bloom = execution.envelopes.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    Header {
        transactions_root: proofs::calculate_transaction_root(&execution.included),
        receipts_root: proofs::calculate_receipt_root(&execution.envelopes),
        logs_bloom: bloom,
        gas_used: execution.gas_used,
        requests_hash: Some(execution.requests.requests_hash()),
        ..header_with(block, parent_hash, state_root)
    }
}

/// Length of the RLP of the block: header, transactions, no ommers, no withdrawals.
fn block_size(header: &Header, transactions: &[SignedTransaction]) -> u64 {
    let list = |payload_length| payload_length + alloy_rlp::Header { list: true, payload_length }.length();
    let body = transactions.iter().map(|transaction| transaction.inner().length()).sum();
    list(header.length() + list(body) + list(0) + list(0)) as u64
}
