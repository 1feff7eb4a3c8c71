//! Sending transactions.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_mined_at_once() {
    let node = TestNode::start().await;
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let raw = a.transfer(b.address, 7);
    let hash = node.ok("eth_sendRawTransaction", json!([raw])).await;
    assert_eq!(hash, json!(keccak256(&raw)));
    let receipt = loop {
        let receipt = node.ok("eth_getTransactionReceipt", json!([hash])).await;
        if !receipt.is_null() {
            break receipt;
        }
    };
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["blockNumber"], "0x1");
    assert_eq!(receipt["transactionIndex"], "0x0");
    assert_eq!(receipt["gasUsed"], "0x5208");
    assert_eq!(receipt["effectiveGasPrice"], "0x0");
    assert_eq!(receipt["type"], "0x2");
    assert_eq!(receipt["from"], json!(a.address));
    assert_eq!(receipt["to"], json!(b.address));
    assert_eq!(receipt["contractAddress"], Value::Null);
    let balance = node.ok("eth_getBalance", json!([b.address, "latest"])).await;
    assert_eq!(balance, json!(U256::from(1_000_007)));
    let balance = node.ok("eth_getBalance", json!([b.address, "0x0"])).await;
    assert_eq!(balance, json!(U256::from(1_000_000)));

    let transaction = node.ok("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(transaction["blockNumber"], "0x1");
    assert_eq!(transaction["value"], "0x7");
    assert_eq!(transaction["from"], json!(a.address));
    let by_place = node.ok("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x0"])).await;
    assert_eq!(by_place, transaction);
    let block = receipt["blockHash"].clone();
    let by_place = node.ok("eth_getTransactionByBlockHashAndIndex", json!([block, "0x0"])).await;
    assert_eq!(by_place, transaction);
    let none = node.ok("eth_getTransactionByBlockHashAndIndex", json!([block, "0x1"])).await;
    assert_eq!(none, Value::Null);
    assert_eq!(node.ok("eth_getBlockReceipts", json!(["latest"])).await, json!([receipt]));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_gap_waits_until_it_is_filled() {
    let node = TestNode::start().await;
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let (first, second, third) = (a.transfer(b.address, 1), a.transfer(b.address, 2), a.transfer(b.address, 3));
    let count = async |tag: &str| number(&node.ok("eth_getTransactionCount", json!([a.address, tag])).await);
    let waiting = node.ok("eth_sendRawTransaction", json!([third])).await;
    let error = node.err("eth_sendRawTransactionSync", json!([second])).await;
    assert_eq!(error.code(), 6, "{error}");
    assert_eq!(error.data().map(|data| data.get()), Some("\"0x0\""));
    assert_eq!((count("pending").await, count("latest").await), (0, 0));
    let found = node.ok("eth_getTransactionByHash", json!([waiting])).await;
    assert_eq!((&found["blockNumber"], &found["nonce"]), (&Value::Null, &json!("0x2")));
    assert_eq!(node.ok("eth_getTransactionReceipt", json!([waiting])).await, Value::Null);

    let receipt = node.mine(&first).await;
    assert_eq!(receipt["blockNumber"], "0x1");
    // All three went into that block.
    let block = node.ok("eth_getBlockByNumber", json!(["0x1", false])).await;
    assert_eq!(block["transactions"].as_array().map(Vec::len), Some(3));
    assert_eq!((count("pending").await, count("latest").await), (3, 3));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_words_that_clients_match() {
    let node = TestNode::start().await;
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let done = a.transfer(b.address, 1);
    node.mine(&done).await;

    let refuse = async |raw: Bytes, expected: &str| {
        let error = node.err("eth_sendRawTransaction", json!([raw])).await;
        assert_eq!((error.code(), error.message()), (-32000, expected));
    };
    refuse(done, "already known").await;
    a.nonce = 0;
    refuse(a.transfer(b.address, 2), "nonce too low: next nonce 1, tx nonce 0").await;
    let poor = "insufficient funds for gas * price + value: balance 999999, tx cost 1000000";
    refuse(a.transfer(b.address, 1_000_000), poor).await;
    a.nonce = 1;
    let other_chain = a.send(|transaction| transaction.chain_id = 1);
    refuse(other_chain, "invalid chain id for signer: have 1 want 26482").await;
    a.nonce = 1;
    let little_gas = a.send(|transaction| transaction.gas_limit = 20_000);
    refuse(little_gas, "intrinsic gas too low: gas 20000, minimum needed 53000").await;
    a.nonce = 1;
    let much_gas = a.send(|transaction| transaction.gas_limit = 60_000_001);
    refuse(much_gas, "exceeds block gas limit").await;
    refuse(Bytes::from_static(&[3, 0xc0]), "transaction type not supported").await;
    let error = node.err("eth_sendRawTransaction", json!(["0x02ff"])).await;
    assert!(error.message().starts_with("rlp: "), "{error}");
    let error = node.err("eth_sendRawTransaction", json!(["zz"])).await;
    assert_eq!(error.code(), -32602);
    let error = node.err("eth_sendRawTransaction", json!([])).await;
    assert_eq!(error.code(), -32602);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_transaction_is_replaced_by_a_better_offer() {
    let node = TestNode::start().await;
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let first = a.transfer(b.address, 1);
    let offer = |a: &mut Sender, value: u64, price: u128, tip: u128| {
        a.nonce = 1;
        a.send(|transaction| {
            transaction.to = alloy_primitives::TxKind::Call(b.address);
            transaction.value = U256::from(value);
            transaction.max_fee_per_gas = price;
            transaction.max_priority_fee_per_gas = tip;
        })
    };
    let waiting = offer(&mut a, 10, 100, 10);
    node.ok("eth_sendRawTransaction", json!([waiting])).await;
    let error = node.err("eth_sendRawTransaction", json!([waiting])).await;
    assert_eq!(error.message(), "already known");
    for cheap in [offer(&mut a, 20, 109, 11), offer(&mut a, 20, 110, 10)] {
        let error = node.err("eth_sendRawTransaction", json!([cheap])).await;
        assert_eq!(error.message(), "replacement transaction underpriced");
    }
    let better = offer(&mut a, 20, 110, 11);
    let hash = node.ok("eth_sendRawTransaction", json!([better])).await;
    node.mine(&first).await;
    let receipt = node.ok("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1");
    let gone = node.ok("eth_getTransactionByHash", json!([keccak256(&waiting)])).await;
    assert_eq!(gone, Value::Null);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_transactions_from_many_senders_all_get_in_once() {
    let node = TestNode::start().await;
    let mut senders: Vec<Sender> = (1..=4).map(Sender::new).collect();
    let contract = node.deploy(&mut senders[0]).await;
    let mut sent = Vec::new();
    for _ in 0..50 {
        for sender in &mut senders {
            sent.push(sender.call(contract, COUNT));
        }
    }
    // Out of order, so that some have to wait for others.
    for pair in sent.chunks(2).rev() {
        for raw in pair {
            node.ok("eth_sendRawTransaction", json!([raw])).await;
        }
    }
    let last = node.mine(&senders[0].call(contract, COUNT)).await;
    assert_eq!(last["status"], "0x1");
    for raw in &sent {
        let receipt = node.ok("eth_getTransactionReceipt", json!([keccak256(raw)])).await;
        if receipt.is_null() {
            // Another sender's may still be on its way; one more block brings it.
            node.mine(&senders[1].call(contract, NUMBER)).await;
        }
        let receipt = node.ok("eth_getTransactionReceipt", json!([keccak256(raw)])).await;
        assert_eq!(receipt["status"], "0x1");
    }
    let total = node.ok("eth_call", json!([{"to": contract, "data": NUMBER}])).await;
    assert_eq!(total, json!(B256::from(U256::from(201))));
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_receipt_has_an_end() {
    // A sequencer that never makes a block.
    struct Idle;
    impl gristmill_node::Sequencer for Idle {
        fn next_batch<'a>(&'a mut self, _: &'a gristmill_node::BatchSource) -> gristmill_node::BatchFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let node = gristmill_node::Node::start_with(config(&folder), Idle).await.expect("starts");
    let client = jsonrpsee::http_client::HttpClientBuilder::default().build(node.rpc_url()).expect("a client");
    let raw = Sender::new(1).transfer(Sender::new(2).address, 1);
    let request = jsonrpsee::core::client::ClientT::request::<Value, _>(
        &client,
        "eth_sendRawTransactionSync",
        array(&json!([raw, 50])),
    );
    let Err(jsonrpsee::core::client::Error::Call(error)) = request.await else {
        panic!("no answer was possible");
    };
    assert_eq!(error.code(), 4, "{error}");
    assert_eq!(error.data().map(|data| data.get()), Some(json!(keccak256(&raw)).to_string().as_str()));
    // Shutting down does not wait for the block that never comes.
    node.shutdown().await;
}
