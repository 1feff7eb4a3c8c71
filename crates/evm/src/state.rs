//! Reads accounts, storage and code as they stood after one block.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_rlp::Decodable;
use gristmill_datadir::Db;
use gristmill_datadir::redb::{self, ReadOnlyTable, ReadTransaction};
use revm::bytecode::Bytecode;
use revm::database_interface::DatabaseRef;
use revm::state::AccountInfo;

use crate::error::StoreError;
use crate::schema::{self, StoredAccount};
use crate::trie::{NodeSource, TrieError};

/// Contracts whose analysed code is kept in memory.
const CODE_CACHE_ENTRIES: usize = 512;

/// A table opened for reading.
pub(crate) type Reader = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Code that has been analysed already, shared by all readers of a ledger.
#[derive(Debug, Default)]
pub(crate) struct CodeCache(Mutex<HashMap<B256, Bytecode>>);

impl CodeCache {
    fn get(&self, hash: B256) -> Option<Bytecode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
    }

    fn put(&self, hash: B256, code: Bytecode) {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= CODE_CACHE_ENTRIES {
            codes.clear();
        }
        codes.insert(hash, code);
    }
}

/// The state after one block. Later blocks do not show in it.
pub struct State {
    db: Db,
    codes: Arc<CodeCache>,
    number: u64,
    /// The last block of the snapshot; older states are found through the history tables.
    head: u64,
    accounts: Reader,
    storage: Reader,
    code: Reader,
    headers: Reader,
    account_history: Reader,
    storage_history: Reader,
    account_nodes: Reader,
    storage_nodes: Reader,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("number", &self.number).field("head", &self.head).finish()
    }
}

impl State {
    pub(crate) fn open(
        db: &Db,
        codes: &Arc<CodeCache>,
        transaction: &ReadTransaction,
        head: u64,
        number: u64,
    ) -> Result<Self, StoreError> {
        if number > head {
            return Err(StoreError::UnknownBlock { number, head });
        }
        let open = |table| open_table(db, transaction, table);
        Ok(Self {
            db: db.clone(),
            codes: Arc::clone(codes),
            number,
            head,
            accounts: open(schema::ACCOUNTS)?,
            storage: open(schema::STORAGE)?,
            code: open(schema::CODES)?,
            headers: open(schema::BLOCK_INFOS)?,
            account_history: open(schema::ACCOUNT_HISTORY)?,
            storage_history: open(schema::STORAGE_HISTORY)?,
            account_nodes: open(schema::ACCOUNT_NODES)?,
            storage_nodes: open(schema::STORAGE_NODES)?,
        })
    }

    /// The block whose state this is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Transactions that `address` has sent (contracts: that it has created).
    pub fn nonce(&self, address: Address) -> Result<u64, StoreError> {
        Ok(self.account(address)?.map_or(0, |account| account.nonce))
    }

    /// Balance in the smallest unit of the chain's coin.
    pub fn balance(&self, address: Address) -> Result<U256, StoreError> {
        Ok(self.account(address)?.map_or(U256::ZERO, |account| account.balance))
    }

    /// The code of a contract; empty for any other account.
    pub fn code(&self, address: Address) -> Result<Bytes, StoreError> {
        match self.account(address)? {
            Some(account) => Ok(self.code_of(account.code_hash)?.original_bytes()),
            None => Ok(Bytes::new()),
        }
    }

    /// A storage slot; zero if it was never set.
    pub fn storage(&self, address: Address, slot: U256) -> Result<U256, StoreError> {
        let old = if self.number < self.head {
            let from = schema::storage_history_key(address, slot, self.number + 1);
            let to = schema::storage_history_key(address, slot, u64::MAX);
            self.first_value(&self.storage_history, &from[..]..=&to[..])?
        } else {
            None
        };
        let value = match old {
            Some(value) => value,
            None => match self.get(&self.storage, &schema::storage_key(address, slot))? {
                Some(value) => value,
                None => return Ok(U256::ZERO),
            },
        };
        schema::decode_value(&value).ok_or_else(|| StoreError::Damaged {
            table: "storage",
            problem: format!("slot {slot} of {address} has {} bytes", value.len()),
        })
    }

    pub(crate) fn account(&self, address: Address) -> Result<Option<StoredAccount>, StoreError> {
        let old = if self.number < self.head {
            let from = schema::account_history_key(address, self.number + 1);
            let to = schema::account_history_key(address, u64::MAX);
            self.first_value(&self.account_history, &from[..]..=&to[..])?
        } else {
            None
        };
        let value = match old {
            Some(value) => Some(value),
            None => self.get(&self.accounts, address.as_slice())?,
        };
        match value {
            Some(value) if !value.is_empty() => StoredAccount::decode(&mut value.as_slice())
                .map(Some)
                .map_err(|error| StoreError::Damaged { table: "accounts", problem: format!("{address}: {error}") }),
            _ => Ok(None),
        }
    }

    /// All slots of an account that are not zero. Only for the state of the last block.
    pub(crate) fn all_storage(&self, address: Address) -> Result<Vec<(U256, U256)>, StoreError> {
        let from = schema::storage_key(address, U256::ZERO);
        let to = schema::storage_key(address, U256::MAX);
        let range = self.storage.range(&from[..]..=&to[..]).map_err(|error| self.failed(error))?;
        let mut slots = Vec::new();
        for entry in range {
            let (key, value) = entry.map_err(|error| self.failed(error))?;
            let slot = U256::from_be_slice(&key.value()[20..]);
            let value = schema::decode_value(value.value()).ok_or_else(|| StoreError::Damaged {
                table: "storage",
                problem: format!("slot {slot} of {address} is too long"),
            })?;
            slots.push((slot, value));
        }
        Ok(slots)
    }

    fn code_of(&self, hash: B256) -> Result<Bytecode, StoreError> {
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.codes.get(hash) {
            return Ok(code);
        }
        let damaged = |problem| StoreError::Damaged { table: "codes", problem };
        let bytes = self.get(&self.code, hash.as_slice())?.ok_or_else(|| damaged(format!("{hash} is missing")))?;
        let code = Bytecode::new_raw_checked(bytes.into()).map_err(|error| damaged(format!("{hash}: {error}")))?;
        self.codes.put(hash, code.clone());
        Ok(code)
    }

    fn get(&self, table: &Reader, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = table.get(key).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn first_value<'a>(
        &self,
        table: &Reader,
        range: impl RangeBounds<&'a [u8]> + 'a,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut range = table.range::<&[u8]>(range).map_err(|error| self.failed(error))?;
        match range.next() {
            Some(entry) => {
                let (_, value) = entry.map_err(|error| self.failed(error))?;
                Ok(Some(value.value().to_vec()))
            }
            None => Ok(None),
        }
    }

    fn failed(&self, error: redb::StorageError) -> StoreError {
        StoreError::Database(self.db.failed("read", error.into()))
    }

    pub(crate) fn account_nodes(&self) -> AccountNodes<'_> {
        AccountNodes(self)
    }

    pub(crate) fn storage_nodes(&self, hashed_address: B256) -> StorageNodes<'_> {
        StorageNodes(self, hashed_address)
    }

    /// Paths of all stored nodes of one account's storage trie.
    pub(crate) fn storage_node_paths(&self, hashed_address: B256) -> Result<Vec<Vec<u8>>, StoreError> {
        let range = self.storage_nodes.range(hashed_address.as_slice()..).map_err(|e| self.failed(e))?;
        let mut paths = Vec::new();
        for entry in range {
            let (key, _) = entry.map_err(|error| self.failed(error))?;
            match key.value().strip_prefix(hashed_address.as_slice()) {
                Some(path) => paths.push(path.to_vec()),
                None => break,
            }
        }
        Ok(paths)
    }
}

pub(crate) fn open_table(db: &Db, transaction: &ReadTransaction, table: schema::Table) -> Result<Reader, StoreError> {
    transaction.open_table(table).map_err(|error| StoreError::Database(db.failed("read", error.into())))
}

impl DatabaseRef for State {
    type Error = StoreError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        Ok(self.account(address)?.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StoreError> {
        self.code_of(hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StoreError> {
        self.storage(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StoreError> {
        let Some(info) = self.get(&self.headers, &number.to_be_bytes())? else {
            return Ok(B256::ZERO);
        };
        schema::BlockInfo::decode(&mut info.as_slice())
            .map(|info| info.hash)
            .map_err(|error| StoreError::Damaged { table: "block_infos", problem: format!("{number}: {error}") })
    }
}

/// The stored nodes of the account trie.
pub(crate) struct AccountNodes<'a>(&'a State);

impl NodeSource for AccountNodes<'_> {
    fn node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, TrieError> {
        self.0.get(&self.0.account_nodes, path).map_err(|error| TrieError::Read(Box::new(error)))
    }
}

/// The stored nodes of one account's storage trie.
pub(crate) struct StorageNodes<'a>(&'a State, B256);

impl NodeSource for StorageNodes<'_> {
    fn node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, TrieError> {
        let key = schema::storage_node_key(self.1, path);
        self.0.get(&self.0.storage_nodes, &key).map_err(|error| TrieError::Read(Box::new(error)))
    }
}
