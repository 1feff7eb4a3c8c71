//! A consistent view of the ledger: blocks, transactions, receipts, logs and states as of one moment.

use std::fmt;
use std::sync::Arc;

use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Sealed, U256, keccak256};
use alloy_rlp::Decodable;
use gristmill_datadir::Db;
use gristmill_datadir::redb::{ReadTransaction, ReadableDatabase};

use crate::chain::SealedHeader;
use crate::error::StoreError;
use crate::execute::{SignedTransaction, created_address};
use crate::schema::{self, BlockInfo, META, META_HEAD, Place, StoredReceipt, StoredTransaction};
use crate::state::{CodeCache, Reader, State, open_table};
use crate::trie;

/// The ledger as it was when the view was made.
pub struct View {
    db: Db,
    codes: Arc<CodeCache>,
    chain_id: u64,
    head: u64,
    transaction: ReadTransaction,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A transaction with its place on the ledger and its receipt.
#[derive(Debug, Clone)]
pub struct MinedTransaction {
    /// The transaction and its sender.
    pub transaction: SignedTransaction,
    /// Its receipt.
    pub receipt: StoredReceipt,
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Time of its block, in seconds since 1970.
    pub block_timestamp: u64,
    /// Its index in the block, from 0.
    pub index: u32,
}

impl MinedTransaction {
    /// The contract that the transaction made, if it is one that makes a contract.
    pub fn created(&self) -> Option<Address> {
        created_address(&self.transaction)
    }
}

/// A block with its hash and its length.
#[derive(Debug, Clone)]
pub struct StoredBlock {
    /// The header and its hash.
    pub header: SealedHeader,
    /// The transactions, in order.
    pub transactions: Vec<SignedTransaction>,
    /// Length of the block's RLP in bytes.
    pub size: u64,
}

/// An account with the proof that it is (or is not) in the state, as EIP-1186 has it.
#[derive(Debug, Clone)]
pub struct AccountProof {
    /// Transactions sent.
    pub nonce: u64,
    /// Balance.
    pub balance: U256,
    /// Hash of the code.
    pub code_hash: B256,
    /// Root of the account's storage trie.
    pub storage_root: B256,
    /// Nodes from the state root to the account.
    pub account_nodes: Vec<Bytes>,
    /// For each slot asked for: the slot, its value, and the nodes from the storage root to it.
    pub slots: Vec<(U256, U256, Vec<Bytes>)>,
}

impl View {
    pub(crate) fn open(db: &Db, codes: &Arc<CodeCache>, chain_id: u64) -> Result<Self, StoreError> {
        let mut view = Self::open_empty(db, codes, chain_id)?;
        let head = view.get(META, META_HEAD)?.ok_or_else(|| damaged("meta", "no last block"))?;
        let head = head.try_into().map_err(|_| damaged("meta", "the last block is no number"))?;
        view.head = u64::from_be_bytes(head);
        Ok(view)
    }

    /// A view of a database that has its tables and no block yet.
    pub(crate) fn open_empty(db: &Db, codes: &Arc<CodeCache>, chain_id: u64) -> Result<Self, StoreError> {
        let transaction = db.redb().begin_read().map_err(|error| db.failed("read", error.into()))?;
        Ok(Self { db: db.clone(), codes: Arc::clone(codes), chain_id, head: 0, transaction })
    }

    /// The chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Number of the last block of this view.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Header of the last block of this view.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read, as for all queries of a view.
    pub fn head_header(&self) -> Result<SealedHeader, StoreError> {
        self.header(self.head)?.ok_or_else(|| damaged("headers", "the last block is missing"))
    }

    /// Header of block `number`, if there is one.
    pub fn header(&self, number: u64) -> Result<Option<SealedHeader>, StoreError> {
        if number > self.head {
            return Ok(None);
        }
        let Some(bytes) = self.get(schema::HEADERS, &number.to_be_bytes())? else {
            return Ok(None);
        };
        let header = schema::decode_header(&bytes).map_err(|error| damaged("headers", format!("{number}: {error}")))?;
        Ok(Some(Sealed::new_unchecked(header, self.info(number)?.hash)))
    }

    /// Number of the block with this hash.
    pub fn number_of(&self, hash: B256) -> Result<Option<u64>, StoreError> {
        let Some(number) = self.get(schema::BLOCK_NUMBERS, hash.as_slice())? else {
            return Ok(None);
        };
        let number = number.try_into().map_err(|_| damaged("block_numbers", hash))?;
        Ok(Some(u64::from_be_bytes(number)))
    }

    /// Block `number` with its transactions.
    pub fn block(&self, number: u64) -> Result<Option<StoredBlock>, StoreError> {
        let Some(header) = self.header(number)? else { return Ok(None) };
        let info = self.info(number)?;
        let table = self.table(schema::TRANSACTIONS)?;
        let mut transactions = Vec::with_capacity(info.transaction_count as usize);
        for index in 0..info.transaction_count as u32 {
            transactions.push(self.transaction_in(&table, (number, index))?);
        }
        Ok(Some(StoredBlock { header, transactions, size: info.size }))
    }

    /// How many transactions block `number` has.
    pub fn transaction_count(&self, number: u64) -> Result<Option<u64>, StoreError> {
        if number > self.head {
            return Ok(None);
        }
        Ok(Some(self.info(number)?.transaction_count))
    }

    /// The transaction with this hash, if it is in a block.
    pub fn transaction(&self, hash: B256) -> Result<Option<MinedTransaction>, StoreError> {
        let Some(place) = self.get(schema::TRANSACTION_PLACES, hash.as_slice())? else {
            return Ok(None);
        };
        let place = schema::parse_place(&place).ok_or_else(|| damaged("transaction_places", hash))?;
        self.mined(place).map(Some)
    }

    /// The transaction at `index` of block `number`.
    pub fn transaction_at(&self, number: u64, index: u32) -> Result<Option<MinedTransaction>, StoreError> {
        match self.transaction_count(number)? {
            Some(count) if u64::from(index) < count => self.mined((number, index)).map(Some),
            _ => Ok(None),
        }
    }

    /// All transactions of block `number` with their receipts.
    pub fn mined_block(&self, number: u64) -> Result<Option<Vec<MinedTransaction>>, StoreError> {
        let Some(count) = self.transaction_count(number)? else { return Ok(None) };
        (0..count as u32).map(|index| self.mined((number, index))).collect::<Result<_, _>>().map(Some)
    }

    /// The receipts of block `number`, without the transactions.
    pub fn receipts(&self, number: u64) -> Result<Option<Vec<StoredReceipt>>, StoreError> {
        let Some(count) = self.transaction_count(number)? else { return Ok(None) };
        let table = self.table(schema::RECEIPTS)?;
        (0..count as u32).map(|index| self.receipt_in(&table, (number, index))).collect::<Result<_, _>>().map(Some)
    }

    /// The state after block `number`. Every block's state can be read, however old.
    ///
    /// # Errors
    /// [`StoreError::UnknownBlock`] for a block after the view's last.
    pub fn state(&self, number: u64) -> Result<State, StoreError> {
        State::open(&self.db, &self.codes, &self.transaction, self.head, number)
    }

    /// The account and some of its slots in the state of the last block, with proofs.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, StoreError> {
        let state = self.state(self.head)?;
        let header = self.head_header()?;
        let account = state.account(address)?.unwrap_or_default();
        let hashed = keccak256(address);
        let nodes = trie::proof(&state.account_nodes(), header.state_root, hashed)?;
        let mut proved = Vec::with_capacity(slots.len());
        for slot in slots {
            let key = keccak256(slot.to_be_bytes::<32>());
            let nodes = trie::proof(&state.storage_nodes(hashed), account.storage_root, key)?;
            let nodes = nodes.into_iter().map(Bytes::from).collect();
            proved.push((*slot, state.storage(address, *slot)?, nodes));
        }
        Ok(AccountProof {
            nonce: account.nonce,
            balance: account.balance,
            code_hash: account.code_hash,
            storage_root: account.storage_root,
            account_nodes: nodes.into_iter().map(Bytes::from).collect(),
            slots: proved,
        })
    }

    pub(crate) fn table(&self, table: schema::Table) -> Result<Reader, StoreError> {
        open_table(&self.db, &self.transaction, table)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn receipt_in(&self, table: &Reader, place: Place) -> Result<StoredReceipt, StoreError> {
        let bytes = self.get_in(table, &schema::place_key(place))?;
        bytes
            .and_then(|bytes| StoredReceipt::decode(&mut bytes.as_slice()).ok())
            .ok_or_else(|| damaged("receipts", format!("{place:?}")))
    }

    pub(crate) fn transaction_in(&self, table: &Reader, place: Place) -> Result<SignedTransaction, StoreError> {
        let bytes = self.get_in(table, &schema::place_key(place))?;
        bytes
            .and_then(|bytes| {
                let stored = StoredTransaction::decode(&mut bytes.as_slice()).ok()?;
                let envelope = TxEnvelope::decode_2718(&mut stored.encoded.as_ref()).ok()?;
                Some(SignedTransaction::new_unchecked(envelope, stored.sender))
            })
            .ok_or_else(|| damaged("transactions", format!("{place:?}")))
    }

    fn mined(&self, place: Place) -> Result<MinedTransaction, StoreError> {
        let transaction = self.transaction_in(&self.table(schema::TRANSACTIONS)?, place)?;
        let receipt = self.receipt_in(&self.table(schema::RECEIPTS)?, place)?;
        let header = self.header(place.0)?.ok_or_else(|| damaged("headers", place.0))?;
        Ok(MinedTransaction {
            transaction,
            receipt,
            block_number: place.0,
            block_hash: header.hash(),
            block_timestamp: header.timestamp,
            index: place.1,
        })
    }

    fn info(&self, number: u64) -> Result<BlockInfo, StoreError> {
        self.get(schema::BLOCK_INFOS, &number.to_be_bytes())?
            .and_then(|bytes| BlockInfo::decode(&mut bytes.as_slice()).ok())
            .ok_or_else(|| damaged("block_infos", number))
    }

    fn get(&self, table: schema::Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_in(&self.table(table)?, key)
    }

    fn get_in(&self, table: &Reader, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = table.get(key).map_err(|error| self.db.failed("read", error.into()))?;
        Ok(value.map(|value| value.value().to_vec()))
    }
}

pub(crate) fn damaged(table: &'static str, problem: impl ToString) -> StoreError {
    StoreError::Damaged { table, problem: problem.to_string() }
}
