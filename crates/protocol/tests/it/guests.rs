//! Guests who do not behave: malformed frames, silence, floods.

use std::time::{Duration, Instant};

use futures_util::stream;
use gristmill_protocol::{
    PROTOCOL_VERSION, SESSION_WINDOW, WORKER_MESSAGE_BYTES_MAX,
    client::{Timeouts, connect, pool_client},
    link::LinkLimits,
    server::ListenLimits,
    tls::ServerTls,
    wire::{
        ContributeFailed, Draining, Hello, LeaseAccepted, PoolFrame, RefuseReason, StatusRequest, WorkerFrame,
        pool_frame, worker_frame::Body,
    },
};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::harness::*;

/// Sends `frames` and gives what the pool answers until it ends the stream.
async fn converse(pool: &TestPool, frames: Vec<WorkerFrame>) -> Result<Vec<pool_frame::Body>, Status> {
    let channel = connect(&pool.url(), &Timeouts::default()).await.unwrap();
    // The guest keeps its own side open: it is the pool that has to end it.
    let outbound = stream::iter(frames).chain(stream::pending());
    let mut inbound = pool_client(channel).session(outbound).await?.into_inner();
    let mut bodies = Vec::new();
    while let Some(PoolFrame { body, .. }) = soon("the end of the stream", inbound.message()).await? {
        bodies.extend(body);
    }
    Ok(bodies)
}

fn frame(seq: u64, body: Body) -> WorkerFrame {
    WorkerFrame { seq, ack: 0, body: Some(body) }
}

fn draining(seq: u64) -> WorkerFrame {
    frame(seq, Body::Draining(Draining {}))
}

#[tokio::test]
async fn bad_hellos_are_refused_with_their_fault() {
    let pool = TestPool::start().await;
    let good = signed_hello(&pool.key, 7);
    let cases = [
        (Hello { worker_address: vec![1; 3], ..good.clone() }, RefuseReason::Malformed, "hello.worker_address"),
        (Hello { slots: 2, ..good.clone() }, RefuseReason::Signature, "signed"),
        (Hello { protocol_version: PROTOCOL_VERSION + 1, ..good.clone() }, RefuseReason::Version, "same release"),
    ];
    for (hello, reason, text) in cases {
        let answer = converse(&pool, vec![frame(0, Body::Hello(hello))]).await.unwrap();
        let [pool_frame::Body::Refuse(refuse)] = answer.as_slice() else { panic!("{answer:?}") };
        assert_eq!(refuse.reason(), reason);
        assert!(refuse.text.contains(text), "{refuse:?}");
    }
    for first in [draining(1), draining(0), WorkerFrame::default(), frame(1, Body::Hello(good))] {
        let answer = converse(&pool, vec![first]).await.unwrap();
        let [pool_frame::Body::Refuse(refuse)] = answer.as_slice() else { panic!("{answer:?}") };
        assert_eq!(refuse.reason(), RefuseReason::Malformed);
    }
    pool.stop().await;
}

#[tokio::test]
async fn bad_frames_end_the_connection_with_their_fault() {
    let pool = TestPool::start().await;
    let lease = |length| frame(1, Body::LeaseAccepted(LeaseAccepted { lease_id: vec![1; length] }));
    let overrun = (1..=SESSION_WINDOW as u64 + 1).map(draining).collect();
    let cases = [
        (vec![lease(15)], RefuseReason::Malformed, "lease_accepted.lease_id has 15 bytes"),
        (vec![draining(0)], RefuseReason::Malformed, "number 0"),
        (vec![frame(1, Body::Heartbeat(Default::default()))], RefuseReason::Malformed, "number 1"),
        (vec![frame(0, Body::Hello(signed_hello(&pool.key, 7)))], RefuseReason::Malformed, "begins or ends"),
        (vec![draining(2)], RefuseReason::Session, "message 2 came where 1 was next"),
        (vec![WorkerFrame { ack: 5, ..draining(1) }], RefuseReason::Session, "acknowledged message 5"),
        (overrun, RefuseReason::Session, "without an acknowledgement"),
    ];
    for (number, (frames, reason, text)) in cases.into_iter().enumerate() {
        let hello = frame(0, Body::Hello(signed_hello(&pool.key, number as u8)));
        let answer = converse(&pool, std::iter::once(hello).chain(frames).collect()).await.unwrap();
        let (Some(pool_frame::Body::Welcome(_)), Some(pool_frame::Body::Refuse(refuse))) =
            (answer.first(), answer.last())
        else {
            panic!("{answer:?}")
        };
        assert_eq!(refuse.reason(), reason, "{refuse:?}");
        assert!(refuse.text.contains(text), "{refuse:?}");
    }
    pool.stop().await;
}

#[tokio::test]
async fn a_kind_of_message_that_is_not_known_is_taken_and_passed_over() {
    let mut pool = TestPool::start().await;
    let url = pool.url();
    let channel = connect(&url, &Timeouts::default()).await.unwrap();
    let frames =
        [frame(0, Body::Hello(signed_hello(&pool.key, 7))), WorkerFrame { seq: 1, ack: 0, body: None }, draining(2)];
    let outbound = stream::iter(frames).chain(stream::pending());
    let mut inbound = pool_client(channel).session(outbound).await.unwrap().into_inner();
    pool.next().await;
    let event = pool.next().await;
    assert!(format!("{event:?}").contains("Draining"), "{event:?}");
    loop {
        let frame = soon("the acknowledgement", inbound.message()).await.unwrap().expect("the stream goes on");
        if frame.ack == 2 {
            break;
        }
    }
    drop(inbound);
    pool.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_before_it_is_kept() {
    let pool = TestPool::start().await;
    let text = "x".repeat(WORKER_MESSAGE_BYTES_MAX);
    let large = frame(1, Body::ContributeFailed(ContributeFailed { task_id: vec![1; 32], text }));
    let channel = connect(&pool.url(), &Timeouts::default()).await.unwrap();
    let hello = frame(0, Body::Hello(signed_hello(&pool.key, 7)));
    let outbound = stream::iter([hello, large]).chain(stream::pending());
    // The guest's own bound is lifted, as a hostile one's would be.
    let mut client = gristmill_protocol::wire::pool_client::PoolClient::new(channel);
    let mut inbound = client.session(outbound).await.unwrap().into_inner();
    while let Ok(Some(_)) = soon("the end of the stream", inbound.message()).await {}
    assert!(!pool.links.is_connected(worker_address(7)));
    pool.stop().await;
}

#[tokio::test]
async fn silence_instead_of_a_hello_is_not_waited_for_long() {
    let tls = ServerTls::ephemeral().unwrap();
    let limits = LinkLimits { hello_timeout: Duration::from_millis(100), ..LinkLimits::default() };
    let pool = TestPool::start_with(&tls, ListenLimits::default(), limits).await;
    let status = converse(&pool, vec![]).await.expect_err("the pool gives up");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    pool.stop().await;
}

#[tokio::test]
async fn slow_handshakes_keep_nobody_out() {
    let tls = ServerTls::ephemeral().unwrap();
    let handshake_grace = Duration::from_millis(50);
    let listen = ListenLimits { handshakes_max: 8, handshake_grace, ..ListenLimits::default() };
    let pool = TestPool::start_with(&tls, listen, LinkLimits::default()).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(TcpStream::connect(pool.addr).await.unwrap());
    }
    let started = Instant::now();
    let channel = connect(&pool.url(), &Timeouts::default()).await.unwrap();
    pool_client(channel).status(StatusRequest {}).await.unwrap();
    assert!(started.elapsed() < listen.handshake_timeout / 2, "it took {:?}", started.elapsed());
    drop(slow);
    pool.stop().await;
}

#[tokio::test]
async fn connections_past_the_limit_are_closed() {
    let tls = ServerTls::ephemeral().unwrap();
    let listen = ListenLimits { connections_max: 1, ..ListenLimits::default() };
    let pool = TestPool::start_with(&tls, listen, LinkLimits::default()).await;
    let first = connect(&pool.url(), &Timeouts::default()).await.unwrap();
    pool_client(first.clone()).status(StatusRequest {}).await.unwrap();
    connect(&pool.url(), &Timeouts::default()).await.expect_err("one is the limit");
    drop(first);
    let again = async {
        while connect(&pool.url(), &Timeouts::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("room for another connection", again).await;
    pool.stop().await;
}
