//! The server itself: methods, batches, browsers, addresses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use gristmill_node::{Genesis, Node, StartError};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::BatchRequestBuilder;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn general_questions_are_answered() {
    let node = TestNode::start_with(|config| config.network_info = json!({"hub": "0x01"})).await;
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x6772");
    assert_eq!(node.ok("net_version", json!([])).await, "26482");
    assert_eq!(node.ok("eth_blockNumber", json!([])).await, "0x0");
    assert_eq!(node.ok("eth_accounts", json!([])).await, json!([]));
    assert_eq!(node.ok("eth_syncing", json!([])).await, false);
    let version = node.ok("web3_clientVersion", json!([])).await;
    assert!(version.as_str().is_some_and(|version| version.starts_with("gristmill/v")), "{version}");
    assert_eq!(node.ok("gristmill_network", json!([])).await, json!({"hub": "0x01"}));
    node.node.set_network_info(json!({"hub": "0x02"}));
    assert_eq!(node.ok("gristmill_network", json!([])).await, json!({"hub": "0x02"}));
    for method in ["anvil_nodeInfo", "eth_getAccountInfo", "eth_fillTransaction", "evm_mine"] {
        assert_eq!(node.err(method, json!([])).await.code(), -32601, "{method}");
    }
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_as_a_whole() {
    let node = TestNode::start().await;
    let mut batch = BatchRequestBuilder::new();
    let address = Sender::new(1).address;
    batch.insert("eth_chainId", array(&json!([]))).expect("JSON");
    batch.insert("no_such_method", array(&json!([]))).expect("JSON");
    batch.insert("eth_getBalance", array(&json!([address, "latest"]))).expect("JSON");
    let answers = node.client.batch_request::<Value>(batch).await.expect("answers");
    let answers: Vec<_> = answers.into_iter().collect();
    assert_eq!(answers[0].as_ref().ok(), Some(&json!("0x6772")));
    assert_eq!(answers[1].as_ref().map_err(|error| error.code()), Err(-32601));
    assert_eq!(answers[2].as_ref().ok(), Some(&json!("0xf4240")));
    node.node.shutdown().await;
}

/// Sends raw HTTP and gives the whole answer.
async fn http(address: SocketAddr, request: String) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(request.as_bytes()).expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        answer
    })
    .await
    .expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_may_ask() {
    let node = TestNode::start().await;
    let address = node.node.rpc_addr();
    let preflight = format!(
        "OPTIONS / HTTP/1.1\r\nHost: {address}\r\nOrigin: https://wallet.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\
         Connection: close\r\n\r\n"
    );
    let answer = http(address, preflight).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: *"), "{answer}");
    assert!(answer.contains("access-control-allow-headers: *"), "{answer}");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nOrigin: https://wallet.example\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = http(address, request).await;
    assert!(answer.to_lowercase().contains("access-control-allow-origin: *"), "{answer}");
    assert!(answer.contains(r#""result":"0x6772""#), "{answer}");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_is_refused() {
    let node = TestNode::start().await;
    let data = "00".repeat(gristmill_node::limits::REQUEST_BYTES_MAX as usize / 2 + 1);
    let request = json!([format!("0x{data}")]);
    let answer = node.client.request::<Value, _>("eth_sendRawTransaction", array(&request)).await;
    assert!(answer.is_err(), "8 MiB were taken");
    // The node still answers.
    assert_eq!(node.ok("eth_blockNumber", json!([])).await, "0x0");
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&folder);
    config.listen = address;
    let error = Node::start(config.clone()).await.expect_err("in use");
    assert!(matches!(error, StartError::AddressInUse { address: named } if named == address));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(taken);
    Node::start(config).await.expect("free again").shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_networks_ledger_is_refused() {
    let node = TestNode::start().await;
    let TestNode { node, folder, .. } = node;
    node.shutdown().await;
    let mut config = config(&folder);
    config.genesis = Genesis::new(1);
    let error = Node::start(config).await.expect_err("another chain");
    assert_eq!(error.to_string(), "this ledger belongs to chain 26482, not to chain 1: give another data folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_write_says_so_and_stops_making_blocks() {
    use gristmill_datadir::Db;
    use gristmill_datadir::faults::{Disk, Fault};
    let disk = Disk::new(1);
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open_on(disk.backend()).expect("a database");
    let node = TestNode::start_in(folder, |config| config.db = db).await;
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    node.mine(&a.transfer(b.address, 1)).await;
    disk.fail_after(0, Fault::Full);
    node.ok("eth_sendRawTransaction", json!([a.transfer(b.address, 1)])).await;
    let failure = node.node.failed().await;
    assert_eq!(failure.to_string(), "block 2 could not be made: the ledger's database failed");
    let error = node.err("eth_sendRawTransaction", json!([a.transfer(b.address, 1)])).await;
    assert!(error.message().contains("block 2 could not be made"), "{error}");
    node.node.shutdown().await;
}
