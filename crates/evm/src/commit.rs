//! Writes blocks into the database, each in one commit.

use alloy_eips::eip2718::Encodable2718;
use gristmill_datadir::redb::{ReadableDatabase, TableError, WriteTransaction};
use gristmill_datadir::{Db, DbError, redb};
use std::collections::BTreeSet;

use crate::chain::SealedHeader;
use crate::error::StoreError;
use crate::execute::SignedTransaction;
use crate::root::{StateChanges, slot_entry};
use crate::schema::{
    self, ALL_TABLES, BlockInfo, FORMAT_VERSION, LogTerm, META, META_CHAIN_ID, META_HEAD, META_VERSION, StoredReceipt,
    StoredTransaction, Table,
};
use crate::trie::NodeChanges;

/// A block that is ready to be stored.
pub(crate) struct NewBlock<'a> {
    pub header: &'a SealedHeader,
    /// Length of the block's RLP in bytes.
    pub size: u64,
    pub transactions: &'a [SignedTransaction],
    pub receipts: &'a [StoredReceipt],
    pub changes: &'a StateChanges,
}

/// Format version and chain id of the ledger in `db`; `None` when there is none yet.
pub(crate) fn stored_identity(db: &Db) -> Result<Option<(u64, u64)>, StoreError> {
    let failed = |error: redb::Error| StoreError::Database(db.failed("read", error));
    let transaction = db.redb().begin_read().map_err(|error| failed(error.into()))?;
    let meta = match transaction.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let number = |key: &[u8]| -> Result<Option<u64>, StoreError> {
        let Some(value) = meta.get(key).map_err(|error| failed(error.into()))? else {
            return Ok(None);
        };
        let bytes = value.value().try_into().map_err(|_| StoreError::Damaged {
            table: "meta",
            problem: format!("{} is not a number", String::from_utf8_lossy(key)),
        })?;
        Ok(Some(u64::from_be_bytes(bytes)))
    };
    Ok(number(META_VERSION)?.zip(number(META_CHAIN_ID)?))
}

/// Makes all tables.
pub(crate) fn create_tables(db: &Db) -> Result<(), StoreError> {
    write(db, |transaction| {
        for table in ALL_TABLES {
            transaction.open_table(table)?;
        }
        Ok(())
    })
}

/// Stores block 0 and what tells this ledger from others.
pub(crate) fn write_genesis(db: &Db, chain_id: u64, block: &NewBlock<'_>) -> Result<(), StoreError> {
    write(db, |transaction| {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_VERSION, &FORMAT_VERSION.to_be_bytes()[..])?;
        meta.insert(META_CHAIN_ID, &chain_id.to_be_bytes()[..])?;
        drop(meta);
        put_block(transaction, block)
    })
}

/// Stores a block and makes it the last one.
pub(crate) fn write_block(db: &Db, block: &NewBlock<'_>) -> Result<(), StoreError> {
    write(db, |transaction| put_block(transaction, block))
}

fn write(db: &Db, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), StoreError> {
    db.transaction(|transaction| change(transaction).map_err(|error| db.failed("write to", error)))
        .map_err(|error: DbError| StoreError::Database(error))
}

fn put_block(transaction: &WriteTransaction, block: &NewBlock<'_>) -> Result<(), redb::Error> {
    let number = block.header.number;
    let key = number.to_be_bytes();
    let info =
        BlockInfo { hash: block.header.hash(), transaction_count: block.transactions.len() as u64, size: block.size };
    put(transaction, schema::HEADERS, &key, &schema::encode_header(block.header.inner()))?;
    put(transaction, schema::BLOCK_INFOS, &key, &alloy_rlp::encode(&info))?;
    put(transaction, schema::BLOCK_NUMBERS, info.hash.as_slice(), &key)?;
    put(transaction, META, META_HEAD, &key)?;
    put_transactions(transaction, number, block)?;
    put_logs(transaction, number, block.receipts)?;
    put_state(transaction, number, block.changes)
}

fn put(transaction: &WriteTransaction, table: Table, key: &[u8], value: &[u8]) -> Result<(), redb::Error> {
    transaction.open_table(table)?.insert(key, value)?;
    Ok(())
}

fn put_transactions(transaction: &WriteTransaction, number: u64, block: &NewBlock<'_>) -> Result<(), redb::Error> {
    if block.transactions.is_empty() {
        return Ok(());
    }
    let mut transactions = transaction.open_table(schema::TRANSACTIONS)?;
    let mut receipts = transaction.open_table(schema::RECEIPTS)?;
    let mut places = transaction.open_table(schema::TRANSACTION_PLACES)?;
    for ((index, signed), receipt) in (0u32..).zip(block.transactions).zip(block.receipts) {
        let place = schema::place_key((number, index));
        let stored = StoredTransaction { sender: signed.signer(), encoded: signed.inner().encoded_2718().into() };
        transactions.insert(&place[..], alloy_rlp::encode(&stored).as_slice())?;
        receipts.insert(&place[..], alloy_rlp::encode(receipt).as_slice())?;
        places.insert(signed.inner().tx_hash().as_slice(), &place[..])?;
    }
    Ok(())
}

fn put_logs(transaction: &WriteTransaction, number: u64, receipts: &[StoredReceipt]) -> Result<(), redb::Error> {
    let mut keys = BTreeSet::new();
    for (index, receipt) in (0u32..).zip(receipts) {
        for log in &receipt.logs {
            keys.insert(LogTerm::Any.key((number, index)));
            keys.insert(LogTerm::Address(log.address).key((number, index)));
            for (position, topic) in (0u8..).zip(log.topics()) {
                keys.insert(LogTerm::Topic(position, *topic).key((number, index)));
            }
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let mut terms = transaction.open_table(schema::LOG_TERMS)?;
    for key in keys {
        terms.insert(&key[..], &[][..])?;
    }
    Ok(())
}

fn put_state(transaction: &WriteTransaction, number: u64, changes: &StateChanges) -> Result<(), redb::Error> {
    let mut accounts = transaction.open_table(schema::ACCOUNTS)?;
    let mut account_history = transaction.open_table(schema::ACCOUNT_HISTORY)?;
    for (address, old, new) in &changes.accounts {
        if new.is_empty() {
            accounts.remove(address.as_slice())?;
        } else {
            accounts.insert(address.as_slice(), new.as_slice())?;
        }
        // Nothing can be asked for before block 0.
        if number > 0 {
            let key = schema::account_history_key(*address, number);
            account_history.insert(&key[..], old.as_slice())?;
        }
    }
    let mut storage = transaction.open_table(schema::STORAGE)?;
    let mut storage_history = transaction.open_table(schema::STORAGE_HISTORY)?;
    for (address, slot, old, new) in &changes.storage {
        let key = schema::storage_key(*address, *slot);
        match slot_entry(*new) {
            Some(value) => drop(storage.insert(&key[..], value.as_slice())?),
            None => drop(storage.remove(&key[..])?),
        }
        if number > 0 {
            let key = schema::storage_history_key(*address, *slot, number);
            storage_history.insert(&key[..], slot_entry(*old).unwrap_or_default().as_slice())?;
        }
    }
    let mut codes = transaction.open_table(schema::CODES)?;
    for (hash, code) in &changes.codes {
        codes.insert(hash.as_slice(), code.as_ref())?;
    }
    put_nodes(transaction, changes)
}

fn put_nodes(transaction: &WriteTransaction, changes: &StateChanges) -> Result<(), redb::Error> {
    let mut nodes = transaction.open_table(schema::ACCOUNT_NODES)?;
    let NodeChanges { removed, written } = &changes.account_nodes;
    for path in removed {
        nodes.remove(path.as_slice())?;
    }
    for (path, node) in written {
        nodes.insert(path.as_slice(), node.as_slice())?;
    }
    let mut nodes = transaction.open_table(schema::STORAGE_NODES)?;
    for (hashed, NodeChanges { removed, written }) in &changes.storage_nodes {
        for path in removed {
            nodes.remove(schema::storage_node_key(*hashed, path).as_slice())?;
        }
        for (path, node) in written {
            nodes.insert(schema::storage_node_key(*hashed, path).as_slice(), node.as_slice())?;
        }
    }
    Ok(())
}
