//! Stores that lie, stall, drip, flood and vanish.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gristmill_store::{Client, ClientError, ClientLimits, content_id};
use gristmill_types::ContentId;

use crate::support::{Act, answer, bytes, client, hasty_client, quick_rate, scripted};

/// Gets `content` both ways and asserts that neither leaves anything; returns the errors.
async fn both_fail(client: &Client, content: ContentId, max: u64) -> [ClientError; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let errors =
        [client.get_bytes(content, max).await.unwrap_err(), client.get_file(content, &path, max).await.unwrap_err()];
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
    errors
}

#[tokio::test]
async fn other_bytes_are_never_delivered() {
    let data = bytes(10_000, 1);
    let content = content_id(&data);
    for at in [0, 1, 5_000, 9_999] {
        let mut lie = data.clone();
        lie[at] ^= 0x80;
        let got = content_id(&lie);
        let (address, count) = scripted(move |_, _| vec![Act::Send(answer("200 OK", "", &lie))]).await;
        for error in both_fail(&client(address), content, 10_000).await {
            assert!(matches!(error, ClientError::Corrupt { got: g, .. } if g == got), "{at}: {error}");
            assert!(error.to_string().contains("another store"), "{error}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 2, "a lie is not asked for again");
    }
    // Too short or too long, and consistent about it.
    for lie in [data[..9_999].to_vec(), Vec::new(), bytes(10_001, 1)] {
        let (address, _) = scripted(move |_, _| vec![Act::Send(answer("200 OK", "", &lie))]).await;
        for error in both_fail(&client(address), content, 20_000).await {
            assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_flood_is_stopped_at_the_limit() {
    let content = content_id(b"small");
    // A stated length past the limit is refused at once.
    let (address, _) =
        scripted(|_, _| vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx".to_vec())]).await;
    for error in both_fail(&client(address), content, 1000).await {
        assert!(matches!(error, ClientError::TooLarge { len: 99_999_999_999, max: 1000, .. }), "{error}");
    }
    // Without one, when the limit is passed.
    let (address, _) = scripted(|_, _| {
        let mut acts = vec![Act::Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec())];
        acts.extend((0..200).map(|_| Act::Send(format!("400\r\n{}\r\n", "x".repeat(1024)).into_bytes())));
        acts
    })
    .await;
    for error in both_fail(&client(address), content, 5000).await {
        assert!(matches!(error, ClientError::TooLarge { max: 5000, .. }), "{error}");
    }
}

#[tokio::test]
async fn stalls_and_drips_are_given_up() {
    let content = content_id(b"never");
    let started = Instant::now();
    let (silent, _) = scripted(|_, _| vec![Act::Wait(Duration::from_secs(60))]).await;
    let (stalling, _) = scripted(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun".to_vec();
        vec![Act::Send(head), Act::Wait(Duration::from_secs(60))]
    })
    .await;
    let (dripping, _) = scripted(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Drip(vec![0; 1000], Duration::from_millis(10))]
    })
    .await;
    for (address, cause) in
        [(silent, "no answer within"), (stalling, "no progress within"), (dripping, "slower than 100000 bytes")]
    {
        let limits = ClientLimits { rate_min: quick_rate(), ..hasty_client() };
        let client = Client::with_limits(&format!("http://{address}"), limits).unwrap();
        for error in both_fail(&client, content, 1_000_000).await {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(cause), "{error}: {source}");
            assert!(error.to_string().contains("is the store running"), "{error}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_upload_into_a_void_is_given_up() {
    // It reads the head and nothing more.
    let (address, _) = scripted(|_, _| vec![Act::Wait(Duration::from_secs(60))]).await;
    let error = client(address).put_bytes(bytes(200_000, 1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { method: "PUT", attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).get_bytes(content_id(b"x"), 9).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { attempts: 3, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("is the store running"), "{text}");
}

#[tokio::test]
async fn passing_failures_pass() {
    let data = bytes(5000, 1);
    let content = content_id(&data);
    let body = data.clone();
    let (address, count) = scripted(move |number, _| {
        vec![Act::Send(match number {
            0 => answer("503 Service Unavailable", "", br#"{"error":"busy","hint":"wait"}"#),
            1 => b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nonly a little".to_vec(),
            // This one knows no ranges: it sends all of it again.
            _ => answer("200 OK", "", &body),
        })]
    })
    .await;
    // What came in the second attempt was no part of the blob: the end shows it.
    let error = client(address).get_bytes(content, 5000).await.unwrap_err();
    assert!(matches!(error, ClientError::Corrupt { .. }), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 3);

    let body = data.clone();
    let (address, _) = scripted(move |number, head| {
        vec![Act::Send(match number {
            0 => answer("200 OK", "", &body)[..2000].to_vec(),
            1 => {
                assert!(head.contains("range: bytes="), "{head}");
                answer("500 Internal Server Error", "", b"not json")
            }
            _ => answer("200 OK", "", &body),
        })]
    })
    .await;
    assert_eq!(client(address).get_bytes(content, 5000).await.unwrap(), data);
}

#[tokio::test]
async fn refusals_are_shown_but_not_their_tricks() {
    let content = content_id(b"x");
    let words = r#"{"error":"go \u001b[31maway","hint":"line\nbreak"}"#;
    let (address, count) = scripted(move |_, _| vec![Act::Send(answer("403 Forbidden", "", words.as_bytes()))]).await;
    let error = client(address).get_bytes(content, 9).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("status 403: go [31maway; linebreak"), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1, "a refusal is not asked for again");

    let (address, _) = scripted(|_, _| vec![Act::Send(answer("400 Bad Request", "", &[b'<'; 100_000]))]).await;
    let error = client(address).put_bytes("x").await.unwrap_err();
    assert!(error.to_string().contains("status 400: Bad Request"), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_answers_are_said() {
    let content = content_id(b"x");
    let (address, _) =
        scripted(|_, _| vec![Act::Send(answer("206 Partial Content", "content-range: bytes 0-0/1\r\n", b"x"))]).await;
    for error in both_fail(&client(address), content, 9).await {
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
    let (address, _) = scripted(|_, _| vec![Act::Send(b"220 mail.example ESMTP\r\n\r\n".to_vec())]).await;
    let error = client(address).get_bytes(content, 9).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}
