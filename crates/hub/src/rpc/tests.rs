use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::revert::Reason;

/// What the server does with the `n`th request (from 0).
#[derive(Clone)]
enum Reply {
    /// Answers with this body.
    Body(String),
    /// Answers with this status line and an empty body.
    Status(&'static str),
    /// Closes the connection without a word.
    Hang(Hang),
}

#[derive(Clone, Copy)]
enum Hang {
    Up,
    Silent,
    MidBody,
}

/// A server that answers each request as `reply` says; also counts them.
async fn serve(reply: impl Fn(usize, Value) -> Reply + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let (reply, counter) = (Arc::new(reply), count.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, reply.clone(), counter.clone()));
        }
    });
    (url, count)
}

async fn connection(
    mut stream: TcpStream,
    reply: Arc<impl Fn(usize, Value) -> Reply + Send + Sync + 'static>,
    count: Arc<AtomicUsize>,
) {
    while let Some(body) = read_request(&mut stream).await {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let text = match reply(number, body) {
            Reply::Body(text) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
            Reply::Status(line) => format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"),
            Reply::Hang(Hang::Up) => return,
            Reply::Hang(Hang::Silent) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            Reply::Hang(Hang::MidBody) => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
        };
        let _ = stream.write_all(text.as_bytes()).await;
        if text.ends_with('{') {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() >= length {
                return serde_json::from_slice(&bytes[bytes.len() - length..]).ok();
            }
        }
        let mut chunk = [0u8; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn quick() -> RpcOptions {
    RpcOptions { connect_ms: 200, request_ms: 200, retries: 2, backoff_ms: 1, ..RpcOptions::default() }
}

fn client(url: &str) -> RpcClient {
    RpcClient::with_options(url, quick()).unwrap()
}

fn result(request: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}

fn error(request: &Value, code: i64, message: &str, data: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": code, "message": message, "data": data } })
}

#[tokio::test]
async fn a_broken_transport_is_tried_again_and_then_named() {
    for fault in [Reply::Hang(Hang::Up), Reply::Hang(Hang::MidBody), Reply::Status("503 Busy")] {
        let first = fault.clone();
        let (url, count) = serve(move |number, request| match number {
            0 | 1 => first.clone(),
            _ => Reply::Body(result(&request, json!("0x10")).to_string()),
        })
        .await;
        assert_eq!(client(&url).head().await.unwrap(), 16);
        assert_eq!(count.load(Ordering::SeqCst), 3);

        let (url, count) = serve(move |_, _| fault.clone()).await;
        let error = client(&url).head().await.unwrap_err();
        assert!(matches!(&error, LedgerError::Unreachable { url: named, .. } if *named == url), "{error}");
        assert!(count.load(Ordering::SeqCst) <= 6, "retries are bounded");
    }
}

#[tokio::test]
async fn nothing_hangs() {
    let (url, _) = serve(|_, _| Reply::Hang(Hang::Silent)).await;
    let begun = Instant::now();
    let error = client(&url).head().await.unwrap_err();
    assert!(matches!(error, LedgerError::Timeout { limit_ms: 200, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    // Nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).head().await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("is it running"), "{error}");
}

#[tokio::test]
async fn batches_are_cut_and_each_answer_finds_its_question() {
    let (url, count) = serve(|_, request| {
        let asked = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
        assert!(asked.len() <= 3);
        // The answers come in another order, some are errors.
        let answer = |ask: &Value| match ask["params"][0]["data"].as_str().unwrap() {
            "0x02" => error(ask, 3, "execution reverted", json!(Revert::message("no").data)),
            "0x03" => error(ask, -32000, "out of gas", Value::Null),
            data => result(ask, json!(data)),
        };
        let answers: Vec<Value> = asked.iter().rev().map(answer).collect();
        let body = if request.is_array() { json!(answers) } else { answers[0].clone() };
        Reply::Body(body.to_string())
    })
    .await;
    let client = RpcClient::with_options(&url, RpcOptions { batch_max: 3, ..quick() }).unwrap();
    let calls = (0..7u8).map(|byte| Call::view(Address::ZERO, vec![byte])).collect();
    let answers = client.call(calls, None).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    for (byte, answer) in (0..7u8).zip(answers) {
        match (byte, answer) {
            (2, Err(LedgerError::Revert(revert))) => assert_eq!(revert.reason, Reason::Message("no".to_owned())),
            (3, Err(LedgerError::Rpc { code: -32000, message, .. })) => assert_eq!(message, "out of gas"),
            (byte, Ok(bytes)) => assert_eq!(bytes.as_ref(), [byte]),
            (byte, other) => panic!("{byte}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    let nonsense = [
        "nonsense".to_owned(),
        "[]".to_owned(),
        json!({ "jsonrpc": "2.0", "id": 999, "result": "0x1" }).to_string(),
        json!({ "jsonrpc": "2.0", "id": 1, "result": "no number" }).to_string(),
        json!({ "jsonrpc": "2.0", "id": 1, "result": null }).to_string(),
    ];
    for body in nonsense {
        let answer = body.clone();
        let (url, _) = serve(move |_, _| Reply::Body(answer.clone())).await;
        let error = client(&url).head().await.unwrap_err();
        assert!(matches!(error, LedgerError::Malformed { .. }), "{body}: {error:?}");
    }
    let (url, _) = serve(|_, request| Reply::Body(result(&request, json!("0".repeat(1_000))).to_string())).await;
    let small = RpcClient::with_options(&url, RpcOptions { answer_bytes_max: 500, ..quick() }).unwrap();
    let error = small.head().await.unwrap_err();
    assert!(matches!(&error, LedgerError::Malformed { what, .. } if what.contains("500 bytes")), "{error}");
    let (url, _) = serve(|_, _| Reply::Status("404 Not Found")).await;
    assert!(client(&url).head().await.unwrap_err().to_string().contains("JSON-RPC address"));
}

#[tokio::test]
async fn blocks_logs_and_receipts_are_read() {
    let hash = B256::repeat_byte(3);
    let log = json!({ "address": Address::ZERO, "topics": [hash], "data": "0x01", "blockNumber": "0x5",
        "blockTimestamp": "0x64", "transactionHash": hash, "logIndex": "0x2", "removed": false });
    let answer = move |request: &Value| match request["method"].as_str().unwrap() {
        "eth_getLogs" => {
            assert_eq!(request["params"][0]["fromBlock"], "0x1");
            assert_eq!(request["params"][0]["topics"], json!([[hash]]));
            json!([log])
        }
        "eth_getTransactionReceipt" => json!({ "transactionHash": hash, "blockNumber": "0x5", "status": "0x0",
            "gasUsed": "0x5208", "contractAddress": null, "logs": [] }),
        "eth_getBlockByNumber" if request["params"][0] == "0x9" => Value::Null,
        "eth_getBlockByNumber" => {
            json!({ "number": "0x5", "hash": hash, "timestamp": "0x64", "baseFeePerGas": "0x7" })
        }
        "eth_maxPriorityFeePerGas" => json!("0x2"),
        other => panic!("{other}"),
    };
    let (url, _) = serve(move |_, request| {
        let body = match request.as_array() {
            Some(asks) => json!(asks.iter().map(|ask| result(ask, answer(ask))).collect::<Vec<_>>()),
            None => result(&request, answer(&request)),
        };
        Reply::Body(body.to_string())
    })
    .await;
    let client = client(&url);
    let query = LogQuery { from: 1, to: 5, addresses: vec![], events: vec![hash] };
    let logs = client.logs(query).await.unwrap();
    assert_eq!((logs[0].block, logs[0].index, logs[0].timestamp), (5, 2, Some(100)));
    let receipt = client.receipts(vec![hash]).await.unwrap().remove(0).unwrap();
    assert_eq!((receipt.success, receipt.block, receipt.gas_used), (false, 5, 21_000));
    let blocks = client.blocks(vec![5, 9]).await.unwrap();
    assert_eq!(blocks, [Some(BlockHead { number: 5, hash, timestamp: 100 }), None]);
    assert_eq!(client.fees().await.unwrap(), Fees { base: Some(7), tip: 2 });
}

#[test]
fn an_address_that_cannot_be_used_is_refused_at_once() {
    for (url, word) in [
        ("https://example", "https"),
        ("ftp://example", "http://"),
        ("localhost:8545", "http://"),
        ("http://", "URL"),
        ("no url at all", "URL"),
    ] {
        let error = RpcClient::new(url).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(url), "{url}: {error}");
    }
}

/// Servers of others are not asked for what only ours know, and one of ours that does not know it yet is asked once.
#[tokio::test]
async fn only_a_node_of_ours_is_asked_for_news() {
    let query = || NewsQuery { from: 3, blocks_max: 10, addresses: vec![Address::ZERO], wait_ms: 60_000 };
    for (version, is_ours, requests) in [("Geth/v1.15.0", false, 1), ("gristmill/v0.0.1", true, 2)] {
        let (url, count) = serve(move |_, request| {
            Reply::Body(match request["method"].as_str() {
                Some("web3_clientVersion") => result(&request, json!(version)).to_string(),
                _ if is_ours => error(&request, -32601, "Method not found", Value::Null).to_string(),
                _ => error(&request, -32600, "Unsupported method", Value::Null).to_string(),
            })
        })
        .await;
        let client = client(&url);
        for _ in 0..3 {
            assert_eq!(client.news(query()).await.unwrap(), None);
        }
        assert_eq!(count.load(Ordering::SeqCst), requests, "{version}");
    }
    let (url, _) = serve(|_, request| {
        if request["method"] == "web3_clientVersion" {
            return Reply::Body(result(&request, json!("gristmill/v9")).to_string());
        }
        let asked = &request["params"][0];
        assert_eq!((&asked["fromBlock"], &asked["blocks"], &asked["waitMs"]), (&json!("0x3"), &json!(10), &json!(100)));
        let block = |number: u64| json!({"number": quantity(number), "hash": B256::ZERO, "timestamp": "0x1"});
        Reply::Body(
            result(&request, json!({"head": "0x9", "before": block(2), "last": block(5), "logs": []})).to_string(),
        )
    })
    .await;
    let news = client(&url).news(query()).await.unwrap().unwrap();
    assert_eq!((news.head, news.before.unwrap().number, news.last.unwrap().number), (9, 2, 5));
    assert_eq!(news.logs, []);
}
