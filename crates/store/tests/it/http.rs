use std::time::{Duration, Instant};

use gristmill_store::server::ServerLimits;
use gristmill_store::{StoreLimits, content_id};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    SEGMENT, TestStore, ask, bytes, hasty_server, put, quick_rate, raw, serve, serve_with, store, store_with,
};

/// Waits for what a server does after its answer, for two seconds at most.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(2), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn nothing_is_left(test: &TestStore) {
    eventually("an upload left something", || test.incoming() == 0 && test.store.used_bytes() == 0).await;
}

#[tokio::test]
async fn a_blob_is_put_and_got() {
    let test = store();
    let server = serve(&test.store).await;
    for len in [0, 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT + 7] {
        let data = bytes(len, 1);
        let content = content_id(&data);
        let path = format!("/v1/blobs/{content}");
        ask(server.address(), "GET", &path, "").await.problem(404);
        assert_eq!(ask(server.address(), "HEAD", &path, "").await.status, 404);

        let stored = put(server.address(), content, &data).await;
        assert_eq!(stored.status, 201, "{stored:?}");
        let body: serde_json::Value = serde_json::from_slice(&stored.body).unwrap();
        assert_eq!(body, serde_json::json!({ "content": content.to_string(), "size": len }));
        assert_eq!(put(server.address(), content, &data).await.status, 200, "it was there");

        let got = ask(server.address(), "GET", &path, "").await;
        assert_eq!((got.status, &got.body), (200, &data));
        let head = ask(server.address(), "HEAD", &path, "").await;
        for answer in [&got, &head] {
            assert_eq!(answer.header("content-length"), Some(len.to_string().as_str()));
            assert_eq!(answer.header("etag"), Some(format!("\"{content}\"").as_str()));
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
        assert!(head.body.is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn health_states_use_and_limits() {
    let test = store_with(StoreLimits { blob_max_bytes: 100, total_max_bytes: 1000 });
    test.store.put_bytes(&bytes(42, 1)).unwrap();
    let server = serve(&test.store).await;
    let answer = ask(server.address(), "GET", "/v1/health", "").await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = serde_json::json!({
        "status": "ok", "used_bytes": 42, "total_max_bytes": 1000, "blob_max_bytes": 100,
    });
    assert_eq!((answer.status, body), (200, expected));
}

#[tokio::test]
async fn every_wrong_request_gets_its_status_and_words() {
    let test = store_with(StoreLimits { blob_max_bytes: 1000, total_max_bytes: 1500 });
    let server = serve(&test.store).await;
    let address = server.address();
    let data = bytes(1000, 1);
    let content = content_id(&data);
    let path = format!("/v1/blobs/{content}");

    for id in ["x", "00", &"g".repeat(64), &"0".repeat(65), &format!("0x{}", "0".repeat(62)), "%00"] {
        ask(address, "GET", &format!("/v1/blobs/{id}"), "").await.problem(400);
        ask(address, "PUT", &format!("/v1/blobs/{id}"), "content-length: 0\r\n").await.problem(400);
    }
    ask(address, "GET", "/v1/blobs/../../etc/passwd", "").await.problem(404);
    ask(address, "GET", "/", "").await.problem(404);
    ask(address, "DELETE", &path, "").await.problem(405);
    ask(address, "POST", "/v1/health", "").await.problem(405);
    ask(address, "PUT", &path, "content-length: 0\r\ncontent-range: bytes 0-0/9\r\n").await.problem(400);

    let other = put(address, content, &bytes(1000, 2)).await.problem(422);
    assert!(other.contains(&content_id(&bytes(1000, 2)).to_string()), "{other}");
    nothing_is_left(&test).await;

    assert_eq!(put(address, content, &data).await.status, 201);
    put(address, content, &bytes(1000, 2)).await.problem(422);
    put(address, content_id(&bytes(501, 3)), &bytes(501, 3)).await.problem(507);
    put(address, content_id(&bytes(1001, 3)), &bytes(1001, 3)).await.problem(413);
    let range = ask(address, "GET", &path, "range: bytes=1000-\r\n").await;
    range.problem(416);
    assert_eq!(range.header("content-range"), Some("bytes */1000"));
    assert_eq!(test.store.used_bytes(), 1000);
}

#[tokio::test]
async fn a_blob_that_is_too_large_is_refused_before_its_first_byte() {
    let test = store_with(StoreLimits { blob_max_bytes: 1000, total_max_bytes: 5000 });
    let server = serve(&test.store).await;
    let content = content_id(b"large");
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    // Without a stated length it is refused when it grows past the limit.
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(2);
    let chunked =
        format!("PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    raw(server.address(), chunked.as_bytes()).await.problem(413);
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn a_chunked_upload_is_stored() {
    let test = store();
    let server = serve(&test.store).await;
    let content = content_id(b"hello world");
    let request = format!(
        "PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
    );
    assert_eq!(raw(server.address(), request.as_bytes()).await.status, 201);
    assert_eq!(test.store.get_bytes(content, 99).unwrap(), b"hello world");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let test = store();
    let server = serve(&test.store).await;
    let data = bytes(3 * SEGMENT, 1);
    let content = content_id(&data);
    for sent in [0, 1, SEGMENT + 3, data.len() - 1] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!("PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", data.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&data[..sent]).await.unwrap();
        eventually("the upload never began", || test.incoming() == 1).await;
        drop(stream);
        nothing_is_left(&test).await;
        assert!(!test.store.has(content).unwrap());
    }
    // Nor does one that the server's own end cuts.
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx");
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the upload never began", || test.store.used_bytes() == 9).await;
    server.stop().await;
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn slow_heads_stalled_uploads_and_drips_are_ended() {
    let test = store();
    let limits = ServerLimits { rate_min: quick_rate(), ..hasty_server() };
    let server = serve_with(&test.store, limits).await;
    let started = Instant::now();

    // A head that never ends.
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;

    // A body that stops.
    let content = content_id(b"never");
    let head = format!("PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nbegun");
    let stalled = raw(server.address(), head.as_bytes()).await;
    stalled.problem(408);

    // A body that drips.
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let _ = write.write_all(head.as_bytes()).await;
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = read.read_to_end(&mut answer).await;
    dripping.abort();
    assert!(String::from_utf8_lossy(&answer).contains("the upload is too slow"), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_place() {
    let test = store();
    // More than the sockets' own buffers hold.
    let data = bytes(32 << 20, 1);
    let content = test.store.put_bytes(&data).unwrap();
    let limits = ServerLimits { transfers_max: 1, ..hasty_server() };
    let server = serve_with(&test.store, limits).await;
    let request = format!("GET /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut sleeper = TcpStream::connect(server.address()).await.unwrap();
    sleeper.write_all(request.as_bytes()).await.unwrap();
    sleeper.read_exact(&mut [0; 100]).await.unwrap();

    let path = format!("/v1/blobs/{content}");
    let busy = ask(server.address(), "GET", &path, "range: bytes=0-9\r\n").await;
    busy.problem(503);
    assert_eq!(busy.header("retry-after"), Some("1"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let got = ask(server.address(), "GET", &path, "range: bytes=0-9\r\n").await;
    assert_eq!((got.status, &got.body[..]), (206, &data[..10]));
}

#[tokio::test]
async fn connections_past_the_bound_wait() {
    let test = store();
    let limits = ServerLimits { connections_max: 2, head_timeout: Duration::from_secs(5), ..hasty_server() };
    let server = serve_with(&test.store, limits).await;
    let first = TcpStream::connect(server.address()).await.unwrap();
    let _second = TcpStream::connect(server.address()).await.unwrap();
    let third = tokio::spawn({
        let address = server.address();
        async move { ask(address, "GET", "/v1/health", "").await.status }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!third.is_finished(), "it has no turn yet");
    drop(first);
    assert_eq!(third.await.unwrap(), 200);
}

#[tokio::test]
async fn damage_found_before_the_head_is_an_answer() {
    for len in [1000, 3 * SEGMENT] {
        let test = store();
        let data = bytes(len, 1);
        let content = test.store.put_bytes(&data).unwrap();
        let test = test.damage_closed(content, |stored| stored[500] ^= 0x10);
        let server = serve(&test.store).await;
        let path = format!("/v1/blobs/{content}");
        let damaged = ask(server.address(), "GET", &path, "").await.problem(409);
        assert!(damaged.contains("put the blob again"), "{damaged}");
        assert!(!damaged.contains("quarantine"), "paths of the server are its own: {damaged}");
        ask(server.address(), "GET", &path, "").await.problem(404);
        assert_eq!(put(server.address(), content, &data).await.status, 201);
        assert_eq!(ask(server.address(), "GET", &path, "").await.body, data);
    }
}

#[tokio::test]
async fn damage_found_later_cuts_the_answer() {
    let test = store();
    let server = serve(&test.store).await;
    let data = bytes(6 * SEGMENT, 1);
    let content = test.store.put_bytes(&data).unwrap();
    test.damage(content, |stored| stored[4 * SEGMENT + 77] ^= 1);
    let answer = ask(server.address(), "GET", &format!("/v1/blobs/{content}"), "").await;
    assert_eq!(answer.header("content-length"), Some(data.len().to_string().as_str()));
    assert!(answer.body.len() <= 4 * SEGMENT, "{} bytes came", answer.body.len());
    assert!(data.starts_with(&answer.body), "and those are right");
    eventually("it is set aside", || !test.store.has(content).unwrap()).await;
}

#[tokio::test]
async fn a_damaged_copy_is_healed_by_a_put() {
    let test = store();
    let server = serve(&test.store).await;
    let data = bytes(2 * SEGMENT, 1);
    let content = test.store.put_bytes(&data).unwrap();
    test.damage(content, |stored| stored[2 * SEGMENT - 1] ^= 1);
    assert_eq!(put(server.address(), content, &data).await.status, 201);
    assert_eq!(test.store.get_bytes(content, u64::MAX).unwrap(), data);
}

#[tokio::test]
async fn many_puts_of_one_blob_at_once_are_fine() {
    let test = store();
    let server = serve(&test.store).await;
    let data = bytes(2 * SEGMENT + 1, 1);
    let content = content_id(&data);
    let address = server.address();
    let puts: Vec<_> = (0..12)
        .map(|_| {
            let data = data.clone();
            tokio::spawn(async move { put(address, content, &data).await.status })
        })
        .collect();
    for status in puts {
        assert!(matches!(status.await.unwrap(), 200 | 201));
    }
    assert_eq!(test.store.used_bytes(), data.len() as u64);
    assert_eq!(ask(address, "GET", &format!("/v1/blobs/{content}"), "").await.body, data);
}

#[test]
fn any_range_gives_its_bytes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let test = store();
    let data = bytes(3 * SEGMENT + 100, 9);
    let content = test.store.put_bytes(&data).unwrap();
    let server = runtime.block_on(serve(&test.store));
    let path = format!("/v1/blobs/{content}");
    let len = data.len();
    let place = || prop_oneof![0..len, (SEGMENT - 2)..(SEGMENT + 2), (len - 2)..(len + 3)];
    proptest!(ProptestConfig::with_cases(60), |(first in place(), last in place(), kind in 0..3)| {
        let (header, expected) = match kind {
            0 if first <= last => (format!("{first}-{last}"), first..(last + 1).min(len).max(first)),
            0 | 1 => (format!("{first}-"), first..len.max(first)),
            _ => (format!("-{}", last.max(1)), len.saturating_sub(last.max(1))..len),
        };
        let answer = runtime.block_on(ask(server.address(), "GET", &path, &format!("range: bytes={header}\r\n")));
        if expected.start >= len {
            prop_assert_eq!(answer.status, 416, "{}", header);
        } else {
            prop_assert_eq!(answer.status, 206, "{}", &header);
            let range = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
            prop_assert_eq!(answer.header("content-range"), Some(range.as_str()));
            prop_assert!(answer.body == data[expected], "{}", header);
        }
    });
}
