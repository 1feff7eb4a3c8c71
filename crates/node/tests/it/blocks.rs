//! Blocks, fees, proofs and what is remembered over a restart.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_have_what_clients_look_for() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    node.mine(&sender.call(contract, COUNT)).await;
    let block = node.ok("eth_getBlockByNumber", json!(["latest", true])).await;
    let expected = [
        ("number", json!("0x2")),
        ("baseFeePerGas", json!("0x0")),
        ("gasLimit", json!("0x3938700")),
        ("difficulty", json!("0x0")),
        ("withdrawals", json!([])),
        ("blobGasUsed", json!("0x0")),
        ("uncles", json!([])),
    ];
    for (field, value) in expected {
        assert_eq!(block[field], value, "{field}");
    }
    for field in ["hash", "stateRoot", "logsBloom", "size", "mixHash", "nonce", "requestsHash"] {
        assert!(block[field].is_string(), "{field}: {block}");
    }
    assert_eq!(block["transactions"][0]["to"], json!(contract));
    for tag in ["safe", "finalized", "pending", "0x2"] {
        assert_eq!(node.ok("eth_getBlockByNumber", json!([tag, true])).await, block, "{tag}");
    }
    assert_eq!(node.ok("eth_getBlockByHash", json!([block["hash"], true])).await, block);
    assert_eq!(node.ok("eth_getBlockByNumber", json!(["0x3", false])).await, Value::Null);
    let unknown = json!([format!("0x{}", "11".repeat(32)), false]);
    assert_eq!(node.ok("eth_getBlockByHash", unknown).await, Value::Null);
    let count = node.ok("eth_getBlockTransactionCountByNumber", json!(["0x2"])).await;
    assert_eq!(count, "0x1");
    let first = node.ok("eth_getBlockByNumber", json!(["earliest", false])).await;
    assert_eq!((&first["number"], &first["transactions"]), (&json!("0x0"), &json!([])));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gas_is_free() {
    let node = TestNode::start().await;
    node.mine(&Sender::new(1).deploy()).await;
    assert_eq!(node.ok("eth_gasPrice", json!([])).await, "0x0");
    assert_eq!(node.ok("eth_maxPriorityFeePerGas", json!([])).await, "0x0");
    let history = node.ok("eth_feeHistory", json!(["0xa", "latest", [25.0, 75.0]])).await;
    assert_eq!(history["oldestBlock"], "0x0");
    assert_eq!(history["baseFeePerGas"], json!(["0x0", "0x0", "0x0"]));
    assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x0", "0x0"]]));
    assert_eq!(history["gasUsedRatio"].as_array().map(Vec::len), Some(2));
    // A sender that has nothing can still send: nobody asks for a fee.
    let receipt = node.mine(&Sender::new(9).deploy()).await;
    assert_eq!(receipt["status"], "0x1");
    let balance = node.ok("eth_getBalance", json!([Sender::new(1).address, "latest"])).await;
    assert_eq!(number(&balance), 1_000_000);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_are_given_for_the_last_block() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    node.mine(&sender.call(contract, COUNT)).await;
    let proof = node.ok("eth_getProof", json!([contract, ["0x0"], "latest"])).await;
    assert_eq!(proof["storageProof"][0]["value"], "0x1");
    assert!(!proof["accountProof"].as_array().expect("nodes").is_empty());
    let error = node.err("eth_getProof", json!([contract, [], "0x1"])).await;
    assert_eq!(error.message(), "proofs are given for the last block only");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    let receipt = node.mine(&sender.call(contract, COUNT)).await;
    let head = node.ok("eth_getBlockByNumber", json!(["latest", true])).await;
    let node = node.restart().await;
    assert_eq!(node.ok("eth_getBlockByNumber", json!(["latest", true])).await, head);
    let hash = &receipt["transactionHash"];
    assert_eq!(node.ok("eth_getTransactionReceipt", json!([hash])).await, receipt);
    let next = node.mine(&sender.call(contract, COUNT)).await;
    assert_eq!(next["blockNumber"], "0x3");
    node.node.shutdown().await;
}
