//! A node, a client and signed transactions for the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex};
use gristmill_datadir::Db;
use gristmill_node::{Clock, Genesis, Node, NodeConfig, NodeHandle};
use jsonrpsee::core::client::{ClientT, Error};
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::types::ErrorObjectOwned;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

pub const CHAIN_ID: u64 = 26482;
/// Where the clock of a test's node stands at first, in seconds since 1970.
pub const START: u64 = 1_700_000_000;

/// Makes this contract:
///
/// ```solidity
/// contract Counter {
///     uint256 public number;
///     event Counted(uint256 value);
///     function count() external { emit Counted(++number); }
///     function time() external view returns (uint256) { return block.timestamp; }
///     function fail() external pure { revert("no"); }
/// }
/// ```
///
/// Assembled by hand: at 0x00 the selector, compared with those of count (0x30), number (0x61), time (0x6a) and fail (0x72).
pub const COUNTER: &[u8] = &hex!(
    "60948060095f395ff3"
    "5f3560e01c"
    "806306661abd14603057" "80638381f58a14606157" "806316ada54714606a57" "8063a9cc471814607257"
    "5f5ffd"
    "5b5f54600101805f555f52"
    "7f15df0a6785153dfd625c8af51397704c7ddaff0690e5076243b5e52f4a0d5409" "60205fa100"
    "5b5f545f5260205ff3"
    "5b425f5260205ff3"
    "5b6308c379a060e01b5f5260206004526002602452616e6f60f01b60445260645ffd"
);
pub const COUNT: &str = "0x06661abd";
pub const NUMBER: &str = "0x8381f58a";
pub const TIME: &str = "0x16ada547";
pub const FAIL: &str = "0xa9cc4718";
/// Topic of `Counted(uint256)`.
pub const COUNTED: &str = "0x15df0a6785153dfd625c8af51397704c7ddaff0690e5076243b5e52f4a0d5409";

/// A clock that a test sets.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1000
    }
}

/// A running node with a client.
pub struct TestNode {
    pub node: NodeHandle,
    pub client: HttpClient,
    pub clock: TestClock,
    pub folder: tempfile::TempDir,
}

impl TestNode {
    /// A node on which nothing happens by itself: its heartbeat is an hour and its clock stands still.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder, change).await
    }

    pub async fn start_in(folder: tempfile::TempDir, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let clock = TestClock(Arc::new(AtomicU64::new(START)));
        let mut config = config(&folder);
        config.heartbeat = Duration::from_secs(3600);
        config.clock = Arc::new(clock.clone());
        change(&mut config);
        let node = Node::start(config).await.expect("starts");
        let client = HttpClientBuilder::default().build(node.rpc_url()).expect("a client");
        Self { node, client, clock, folder }
    }

    pub async fn restart(self) -> Self {
        let Self { node, folder, .. } = self;
        node.shutdown().await;
        Self::start_in(folder, |_| {}).await
    }

    /// Calls a method that must succeed.
    pub async fn ok(&self, method: &str, params: Value) -> Value {
        self.call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    /// Calls a method that must fail.
    pub async fn err(&self, method: &str, params: Value) -> ErrorObjectOwned {
        match self.call(method, params).await {
            Ok(value) => panic!("{method} gave {value}"),
            Err(error) => error,
        }
    }

    pub async fn call(&self, method: &str, params: Value) -> Result<Value, ErrorObjectOwned> {
        match self.client.request(method, array(&params)).await {
            Ok(value) => Ok(value),
            Err(Error::Call(error)) => Err(error),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Sends a transaction and waits for its receipt.
    pub async fn mine(&self, transaction: &Bytes) -> Value {
        self.ok("eth_sendRawTransactionSync", json!([transaction])).await
    }

    /// Makes a counter, and gives its address.
    pub async fn deploy(&self, sender: &mut Sender) -> Address {
        let receipt = self.mine(&sender.deploy()).await;
        assert_eq!(receipt["status"], "0x1");
        serde_json::from_value(receipt["contractAddress"].clone()).expect("an address")
    }
}

pub fn array(params: &Value) -> ArrayParams {
    let mut array = ArrayParams::new();
    for param in params.as_array().expect("an array") {
        array.insert(param).expect("JSON");
    }
    array
}

pub fn config(folder: &tempfile::TempDir) -> NodeConfig {
    let db = Db::open(folder.path().join("ledger.redb")).expect("a database");
    NodeConfig::new(db, genesis(), "127.0.0.1:0".parse().expect("an address"))
}

pub fn genesis() -> Genesis {
    (1..=4).fold(Genesis::new(CHAIN_ID), |genesis, seed| genesis.fund(Sender::new(seed).address, U256::from(1_000_000)))
}

/// A number as JSON-RPC writes it.
pub fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a quantity"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

/// A sender whose nonces count up by themselves.
pub struct Sender {
    key: SigningKey,
    pub address: Address,
    pub nonce: u64,
}

impl Sender {
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).expect("a small number is a key");
        Self { address: Address::from_private_key(&key), key, nonce: 0 }
    }

    pub fn deploy(&mut self) -> Bytes {
        self.send(|transaction| {
            transaction.to = TxKind::Create;
            transaction.input = COUNTER.into();
        })
    }

    pub fn call(&mut self, to: Address, input: &str) -> Bytes {
        let input: Bytes = input.parse().expect("hex");
        self.send(|transaction| {
            transaction.to = TxKind::Call(to);
            transaction.input = input;
        })
    }

    pub fn transfer(&mut self, to: Address, value: u64) -> Bytes {
        self.send(|transaction| {
            transaction.to = TxKind::Call(to);
            transaction.value = U256::from(value);
        })
    }

    pub fn send(&mut self, change: impl FnOnce(&mut TxEip1559)) -> Bytes {
        let mut transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: 300_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: 1,
            ..TxEip1559::default()
        };
        change(&mut transaction);
        self.nonce = transaction.nonce + 1;
        let hash = transaction.signature_hash();
        let (signature, id) = self.key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
        let signed = transaction.into_signed(Signature::from((signature, id)));
        TxEnvelope::from(signed).encoded_2718().into()
    }
}
