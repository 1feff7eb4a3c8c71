//! Calls, gas estimates and the time they see.

use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use serde_json::json;

use crate::support::*;

fn word(value: u64) -> serde_json::Value {
    json!(B256::from(U256::from(value)))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_estimates_see_the_time_of_the_next_block() {
    let node = TestNode::start().await;
    let contract = node.deploy(&mut Sender::new(1)).await;
    let time = async |tag: &str| node.ok("eth_call", json!([{"to": contract, "data": TIME}, tag])).await;
    assert_eq!(time("latest").await, word(START));
    // Nothing is mined, but the clock goes on: so does the time that calls see.
    node.clock.set(START + 500);
    for tag in ["latest", "pending", "safe", "finalized"] {
        assert_eq!(time(tag).await, word(START + 500), "{tag}");
    }
    assert_eq!(time("0x1").await, word(START));
    let without_tag = node.ok("eth_call", json!([{"to": contract, "data": TIME}])).await;
    assert_eq!(without_tag, word(START + 500));
    // A clock that goes back does not take time along.
    let mut sender = Sender::new(2);
    node.mine(&sender.call(contract, COUNT)).await;
    node.clock.set(START - 500);
    assert_eq!(time("latest").await, word(START + 500));
    let receipt = node.mine(&sender.call(contract, COUNT)).await;
    let block = node.ok("eth_getBlockByHash", json!([receipt["blockHash"], false])).await;
    assert_eq!(number(&block["timestamp"]), START + 500);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reverts_have_code_three_and_their_data() {
    let node = TestNode::start().await;
    let contract = node.deploy(&mut Sender::new(1)).await;
    for method in ["eth_call", "eth_estimateGas"] {
        let error = node.err(method, json!([{"to": contract, "data": FAIL}, "latest"])).await;
        assert_eq!((error.code(), error.message()), (3, "execution reverted: no"));
        let data = error.data().expect("the revert's data").get();
        assert!(data.starts_with("\"0x08c379a0"), "{data}");
        assert_eq!(data.len(), 2 + 2 + 200);
    }
    let error = node.err("eth_call", json!([{"to": contract, "data": "0x12345678"}])).await;
    assert_eq!((error.code(), error.message()), (3, "execution reverted"));
    // A transaction that reverts is mined, and says so.
    let receipt = node.mine(&Sender::new(2).call(contract, FAIL)).await;
    assert_eq!(receipt["status"], "0x0");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_can_be_pretended_and_be_old() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    node.mine(&sender.call(contract, COUNT)).await;
    let request = json!({"to": contract, "input": NUMBER});
    assert_eq!(node.ok("eth_call", json!([request, "latest"])).await, word(1));
    assert_eq!(node.ok("eth_call", json!([request, "0x1"])).await, word(0));
    let slot = json!({"stateDiff": {B256::ZERO.to_string(): B256::with_last_byte(9)}});
    let overrides = json!({contract.to_string(): slot});
    assert_eq!(node.ok("eth_call", json!([request, "latest", overrides])).await, word(9));
    let block = node.ok("eth_getBlockByNumber", json!(["0x1", false])).await;
    let by_hash = json!({"blockHash": block["hash"]});
    assert_eq!(node.ok("eth_call", json!([request, by_hash])).await, word(0));
    assert_eq!(node.ok("eth_getStorageAt", json!([contract, "0x0", "latest"])).await, word(1));
    assert_eq!(node.ok("eth_getStorageAt", json!([contract, "0x0", "0x1"])).await, word(0));
    let code = node.ok("eth_getCode", json!([contract, "latest"])).await;
    assert_eq!(code.as_str().map(str::len), Some(2 + 2 * 148));
    assert_eq!(node.ok("eth_getCode", json!([contract, "0x0"])).await, json!("0x"));
    let error = node.err("eth_call", json!([request, "0x63"])).await;
    assert_eq!((error.code(), error.message()), (-32000, "header not found"));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_are_spaced_take_what_comes_together() {
    const SPACING: Duration = Duration::from_millis(150);
    let node = TestNode::start_with(|config| config.spacing = SPACING).await;
    let mut sender = Sender::new(1);
    let to = Sender::new(2).address;
    let began = Instant::now();
    let transactions: Vec<_> = (0..5).map(|value| sender.transfer(to, value)).collect();
    for transaction in &transactions[..4] {
        node.ok("eth_sendRawTransaction", json!([transaction])).await;
    }
    node.mine(&transactions[4]).await;
    let blocks = number(&node.ok("eth_blockNumber", json!([])).await);
    let spans = began.elapsed().as_millis() / SPACING.as_millis() + 1;
    assert!(blocks >= 1 && u128::from(blocks) <= spans, "{blocks} blocks in {:?}", began.elapsed());
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_ledger_has_a_block_at_every_heartbeat() {
    let node = TestNode::start_with(|config| config.heartbeat = Duration::from_millis(20)).await;
    let head = async || number(&node.ok("eth_blockNumber", json!([])).await);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while head().await < 3 {
        assert!(std::time::Instant::now() < deadline, "no blocks come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let block = node.ok("eth_getBlockByNumber", json!(["0x2", true])).await;
    assert_eq!(block["transactions"], json!([]));
    node.node.shutdown().await;
}
