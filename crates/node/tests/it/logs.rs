//! Logs and filters.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_found_by_range_contract_and_topic() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    let other = node.deploy(&mut sender).await;
    let receipt = node.mine(&sender.call(contract, COUNT)).await;
    node.mine(&sender.call(other, COUNT)).await;
    node.mine(&sender.call(contract, COUNT)).await;

    let found = async |filter: Value| {
        let logs = node.ok("eth_getLogs", json!([filter])).await;
        let logs = logs.as_array().expect("logs").clone();
        logs.iter().map(|log| number(&log["blockNumber"])).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({"fromBlock": "0x0"})).await, [3, 4, 5]);
    assert_eq!(found(json!({})).await, [5]);
    assert_eq!(found(json!({"fromBlock": "earliest", "address": contract})).await, [3, 5]);
    let both = json!({"fromBlock": "0x0", "toBlock": "0x4", "address": [contract, other]});
    assert_eq!(found(both).await, [3, 4]);
    assert_eq!(found(json!({"fromBlock": "0x0", "topics": [COUNTED]})).await, [3, 4, 5]);
    assert_eq!(found(json!({"fromBlock": "0x0", "topics": [[COUNT_AS_TOPIC, COUNTED]]})).await.len(), 3);
    assert_eq!(found(json!({"fromBlock": "0x0", "topics": [COUNT_AS_TOPIC]})).await, [0; 0]);
    assert_eq!(found(json!({"fromBlock": "0x0", "topics": [null, COUNTED]})).await, [0; 0]);
    assert_eq!(found(json!({"blockHash": receipt["blockHash"]})).await, [3]);

    let logs = node.ok("eth_getLogs", json!([{"blockHash": receipt["blockHash"]}])).await;
    assert_eq!(logs, receipt["logs"]);
    let error = node.err("eth_getLogs", json!([{"fromBlock": "0x5", "toBlock": "0x4"}])).await;
    assert_eq!(error.code(), -32602);
    let unknown = json!([{"blockHash": format!("0x{}", "11".repeat(32))}]);
    assert_eq!(node.err("eth_getLogs", unknown).await.message(), "unknown block");
    node.node.shutdown().await;
}

const COUNT_AS_TOPIC: &str = "0x06661abd00000000000000000000000000000000000000000000000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn filters_tell_what_is_new() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    node.mine(&sender.call(contract, COUNT)).await;
    let logs = node.ok("eth_newFilter", json!([{"address": contract, "fromBlock": "0x0"}])).await;
    let blocks = node.ok("eth_newBlockFilter", json!([])).await;
    let changes = async |id: &Value| {
        let changes = node.ok("eth_getFilterChanges", json!([id])).await;
        changes.as_array().expect("changes").clone()
    };
    assert_eq!(changes(&logs).await, [0; 0]);
    let receipt = node.mine(&sender.call(contract, COUNT)).await;
    assert_eq!(json!(changes(&logs).await), receipt["logs"]);
    assert_eq!(changes(&logs).await, [0; 0]);
    assert_eq!(changes(&blocks).await, [receipt["blockHash"].clone()]);
    let all = node.ok("eth_getFilterLogs", json!([logs])).await;
    assert_eq!(all.as_array().map(Vec::len), Some(2));

    assert_eq!(node.ok("eth_uninstallFilter", json!([blocks])).await, true);
    assert_eq!(node.ok("eth_uninstallFilter", json!([blocks])).await, false);
    assert_eq!(node.err("eth_getFilterChanges", json!([blocks])).await.message(), "filter not found");
    // One that nobody asks about is removed in the end.
    node.clock.set(START + 301);
    assert_eq!(node.err("eth_getFilterChanges", json!([logs])).await.message(), "filter not found");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_with_their_blocks_and_are_waited_for() {
    let node = TestNode::start().await;
    let mut sender = Sender::new(1);
    let contract = node.deploy(&mut sender).await;
    let other = node.deploy(&mut sender).await;
    let receipt = node.mine(&sender.call(contract, COUNT)).await;
    node.mine(&sender.call(other, COUNT)).await;
    let events = async |from: &str, blocks: u64, wait_ms: u64| {
        let query = json!({"fromBlock": from, "blocks": blocks, "address": [contract], "waitMs": wait_ms});
        node.ok("gristmill_events", json!([query])).await
    };
    let hash = async |number: &str| node.ok("eth_getBlockByNumber", json!([number, false])).await["hash"].clone();

    let all = events("0x0", 100, 0).await;
    assert_eq!((number(&all["head"]), number(&all["last"]["number"])), (4, 4));
    assert_eq!((&all["before"], &all["logs"]), (&Value::Null, &receipt["logs"]));
    let some = events("0x2", 2, 0).await;
    assert_eq!(some["before"]["hash"], hash("0x1").await);
    assert_eq!((some["last"]["hash"].clone(), number(&some["head"])), (hash("0x3").await, 4));
    assert_eq!(some["logs"], receipt["logs"]);
    assert_eq!(events("0x4", 1, 0).await["logs"], json!([]), "another contract's");
    // Not there yet: at once, after a while, and when it comes.
    for wait_ms in [0, 30] {
        let none = events("0x5", 1, wait_ms).await;
        assert_eq!((&none["last"], none["before"]["hash"].clone()), (&Value::Null, hash("0x4").await));
    }
    let beyond = events("0x9", 1, 0).await;
    assert_eq!((&beyond["last"], &beyond["before"]), (&Value::Null, &Value::Null));
    let transaction = sender.call(contract, COUNT);
    let (came, receipt) = tokio::join!(events("0x5", 1, 10_000), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        node.mine(&transaction).await
    });
    assert_eq!((number(&came["last"]["number"]), &came["logs"]), (5, &receipt["logs"]));

    for (query, word) in [
        (json!({"fromBlock": "0x0", "blocks": 0, "address": [], "waitMs": 0}), "at least 1"),
        (json!({"fromBlock": "0x0", "blocks": 1, "address": vec![contract; 1001], "waitMs": 0}), "1000 addresses"),
        (json!({"fromBlock": "0x0", "blocks": 1, "address": [], "waitMs": 0, "topics": []}), "unknown field"),
    ] {
        let error = node.err("gristmill_events", json!([query])).await;
        assert!(format!("{error:?}").contains(word), "{error:?}");
    }
    // Who waits does not keep a node from stopping.
    let started = std::time::Instant::now();
    let client = node.client.clone();
    let waiting = tokio::spawn(async move {
        let query = json!([{"fromBlock": "0x100", "blocks": 1, "address": [], "waitMs": 10_000}]);
        jsonrpsee::core::client::ClientT::request::<Value, _>(&client, "gristmill_events", array(&query)).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    node.node.shutdown().await;
    assert!(started.elapsed() < std::time::Duration::from_secs(4), "{:?}", started.elapsed());
    let _ = waiting.await;
}
