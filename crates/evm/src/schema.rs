//! Names the tables of the ledger's database and encodes their keys and values.
//!
//! All integers in keys are big-endian, so that ranges over block numbers are ranges over keys. A change of any encoding
//! here is a change of [`FORMAT_VERSION`].

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, Log, U256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use alloy_trie::EMPTY_ROOT_HASH;
use gristmill_datadir::redb::TableDefinition;

/// Version of the tables and their encodings.
pub const FORMAT_VERSION: u64 = 1;

/// A table of byte keys and byte values.
pub type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// `META_*` key -> value.
pub const META: Table = Table::new("meta");
/// Block number -> header, by [`encode_header`].
pub const HEADERS: Table = Table::new("headers");
/// Block number -> block hash, number of transactions, length of the whole block in bytes: a [`BlockInfo`].
pub const BLOCK_INFOS: Table = Table::new("block_infos");
/// Block hash -> block number.
pub const BLOCK_NUMBERS: Table = Table::new("block_numbers");
/// Block number, index -> sender and EIP-2718 bytes.
pub const TRANSACTIONS: Table = Table::new("transactions");
/// Block number, index -> [`StoredReceipt`].
pub const RECEIPTS: Table = Table::new("receipts");
/// Transaction hash -> block number, index.
pub const TRANSACTION_PLACES: Table = Table::new("transaction_places");
/// Kind and value of a log's term, block number, transaction index -> nothing.
pub const LOG_TERMS: Table = Table::new("log_terms");
/// Address -> [`StoredAccount`].
pub const ACCOUNTS: Table = Table::new("accounts");
/// Address, slot -> value without leading zeros.
pub const STORAGE: Table = Table::new("storage");
/// Code hash -> code.
pub const CODES: Table = Table::new("codes");
/// Address, block number -> what [`ACCOUNTS`] held before that block (empty: nothing).
pub const ACCOUNT_HISTORY: Table = Table::new("account_history");
/// Address, slot, block number -> what [`STORAGE`] held before that block (empty: nothing).
pub const STORAGE_HISTORY: Table = Table::new("storage_history");
/// Path -> node of the account trie.
pub const ACCOUNT_NODES: Table = Table::new("account_nodes");
/// Hash of the address, path -> node of that account's storage trie.
pub const STORAGE_NODES: Table = Table::new("storage_nodes");

/// Every table, so that a fresh database has them all.
pub const ALL_TABLES: [Table; 15] = [
    META,
    HEADERS,
    BLOCK_INFOS,
    BLOCK_NUMBERS,
    TRANSACTIONS,
    RECEIPTS,
    TRANSACTION_PLACES,
    LOG_TERMS,
    ACCOUNTS,
    STORAGE,
    CODES,
    ACCOUNT_HISTORY,
    STORAGE_HISTORY,
    ACCOUNT_NODES,
    STORAGE_NODES,
];

/// Key of [`META`]: the format version, 8 bytes.
pub const META_VERSION: &[u8] = b"version";
/// Key of [`META`]: the chain id, 8 bytes.
pub const META_CHAIN_ID: &[u8] = b"chain_id";
/// Key of [`META`]: the number of the last block, 8 bytes.
pub const META_HEAD: &[u8] = b"head";

/// An account in [`ACCOUNTS`].
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StoredAccount {
    pub nonce: u64,
    pub balance: U256,
    pub storage_root: B256,
    pub code_hash: B256,
}

impl Default for StoredAccount {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, storage_root: EMPTY_ROOT_HASH, code_hash: KECCAK256_EMPTY }
    }
}

/// What [`BLOCK_INFOS`] keeps beside the header.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct BlockInfo {
    pub hash: B256,
    pub transaction_count: u64,
    /// Length of the RLP of the whole block, in bytes.
    pub size: u64,
}

/// A transaction in [`TRANSACTIONS`].
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StoredTransaction {
    pub sender: Address,
    pub encoded: Bytes,
}

/// What a transaction did. The bloom is not kept: it follows from the logs.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct StoredReceipt {
    /// Type of the transaction, as EIP-2718 numbers them.
    pub kind: u8,
    /// Whether it did what it was to do; if not, it changed nothing but its sender's nonce.
    pub success: bool,
    /// Gas that it used.
    pub gas_used: u64,
    /// Gas that it and those before it in the block used.
    pub cumulative_gas_used: u64,
    /// Index in the block of the first log.
    pub first_log_index: u64,
    /// The logs it emitted.
    pub logs: Vec<Log>,
}

/// Where the bloom stands in the RLP of a header: after the list's own 3 bytes, five hashes, the beneficiary and 3 bytes
/// of its own.
const BLOOM_START: usize = 3 + 5 * 33 + 21 + 3;

/// A header, without its bloom when that is zero: most blocks are heartbeats, and a bloom is two fifths of a header.
pub fn encode_header(header: &Header) -> Vec<u8> {
    let mut encoded = alloy_rlp::encode(header);
    if header.logs_bloom.is_zero() {
        encoded.drain(BLOOM_START..BLOOM_START + Bloom::len_bytes());
        encoded.insert(0, 0);
    } else {
        encoded.insert(0, 1);
    }
    encoded
}

/// Reads a header written by [`encode_header`].
pub fn decode_header(bytes: &[u8]) -> alloy_rlp::Result<Header> {
    let (kind, rest) = bytes.split_first().ok_or(alloy_rlp::Error::InputTooShort)?;
    let mut encoded = rest.to_vec();
    if *kind == 0 {
        if encoded.len() < BLOOM_START {
            return Err(alloy_rlp::Error::InputTooShort);
        }
        encoded.splice(BLOOM_START..BLOOM_START, Bloom::ZERO.0);
    }
    Header::decode(&mut encoded.as_slice())
}

/// Where a transaction stands: block number and index.
pub type Place = (u64, u32);

/// Key of a place.
pub fn place_key((number, index): Place) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Reads a key made by [`place_key`].
pub fn parse_place(key: &[u8]) -> Option<Place> {
    let (number, index) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u32::from_be_bytes(index.try_into().ok()?)))
}

/// Key of [`STORAGE`].
pub fn storage_key(address: Address, slot: U256) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

/// Key of [`ACCOUNT_HISTORY`].
pub fn account_history_key(address: Address, number: u64) -> [u8; 28] {
    let mut key = [0; 28];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Key of [`STORAGE_HISTORY`].
pub fn storage_history_key(address: Address, slot: U256, number: u64) -> [u8; 60] {
    let mut key = [0; 60];
    key[..52].copy_from_slice(&storage_key(address, slot));
    key[52..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Key of [`STORAGE_NODES`].
pub fn storage_node_key(hashed_address: B256, path: &[u8]) -> Vec<u8> {
    [hashed_address.as_slice(), path].concat()
}

/// Something that logs are looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogTerm {
    /// Any log at all.
    Any,
    /// The contract that emitted it.
    Address(Address),
    /// A topic at a position from 0 to 3.
    Topic(u8, B256),
}

impl LogTerm {
    /// Key of [`LOG_TERMS`] for this term at `place`.
    pub fn key(&self, place: Place) -> [u8; 45] {
        let mut key = [0; 45];
        match self {
            LogTerm::Any => {}
            LogTerm::Address(address) => {
                key[0] = 1;
                key[1..21].copy_from_slice(address.as_slice());
            }
            LogTerm::Topic(position, topic) => {
                key[0] = 2 + position;
                key[1..33].copy_from_slice(topic.as_slice());
            }
        }
        key[33..].copy_from_slice(&place_key(place));
        key
    }
}

/// A storage value without its leading zeros; empty for zero.
pub fn encode_value(value: U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

/// Reads a value made by [`encode_value`].
pub fn decode_value(bytes: &[u8]) -> Option<U256> {
    U256::try_from_be_slice(bytes)
}
