//! Links that behave, over networks that do not.

use std::time::Duration;

use gristmill_protocol::{
    SESSION_WINDOW,
    client::{ConnectError, Timeouts, connect, pool_client},
    link::{LinkError, LinkLimits, PoolEventKind, QUEUE_MAX, SendError, WorkerEvent, start},
    server::ListenLimits,
    tls::{KeyHash, PoolUrl, ServerTls},
    wire::{
        ContributeFailed, Forget, Heartbeat, LeaseProgress, RefuseReason, Reveal, StatusRequest, pool_frame,
        worker_frame,
    },
};
use tokio::net::TcpListener;

use crate::harness::*;

fn numbered(number: u32) -> [u8; 32] {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id
}

fn number(id: &[u8]) -> u32 {
    u32::from_be_bytes(id[..4].try_into().unwrap())
}

fn up(number: u32) -> worker_frame::Body {
    let text = "x".repeat(number as usize % 300);
    worker_frame::Body::ContributeFailed(ContributeFailed { task_id: numbered(number).to_vec(), text })
}

fn down(number: u32) -> pool_frame::Body {
    pool_frame::Body::Forget(Forget { task_id: numbered(number).to_vec() })
}

#[tokio::test]
async fn both_greet_and_talk() {
    let mut pool = TestPool::start().await;
    let (link, mut events) = start_worker(pool.url(), 7);
    assert_eq!(link.try_send(up(1)), Err(SendError::NoSession));

    let WorkerEvent::Connected { welcome, new_session } = next(&mut events).await else { panic!("no welcome") };
    assert!(new_session && !welcome.resumed);
    assert_eq!((welcome.chain_id, welcome.heartbeat_ms), (26_482, 1_000));
    let event = pool.next().await;
    assert_eq!(event.worker, worker_address(7));
    let PoolEventKind::Connected { hello, new_session: true, peer: Some(peer) } = event.kind else {
        panic!("{event:?}")
    };
    assert_eq!((hello.slots, hello.engine_profile.as_str()), (2, "wasm 1"));
    assert!(peer.ip().is_loopback());

    link.send(up(1)).await.unwrap();
    let PoolEventKind::Message(body) = pool.next().await.kind else { panic!("no message") };
    assert_eq!(body, up(1));
    soon("the acknowledgement", link.flush()).await.unwrap();

    let reveal = pool_frame::Body::Reveal(Reveal { task_id: vec![9; 32] });
    pool.links.send(worker_address(7), reveal.clone()).unwrap();
    let WorkerEvent::Message(body) = next(&mut events).await else { panic!("no message") };
    assert_eq!(body, reveal);

    let progress = LeaseProgress { lease_id: vec![1; 16], items_done: 1, items_total: 2 };
    let heartbeat = Heartbeat { leases: vec![progress], unix_ms: 5 };
    link.send(worker_frame::Body::Heartbeat(heartbeat.clone())).await.unwrap();
    let PoolEventKind::Heartbeat(heard) = pool.next().await.kind else { panic!("no heartbeat") };
    assert_eq!(heard, heartbeat);

    assert_eq!(pool.links.send(worker_address(8), down(1)), Err(SendError::UnknownWorker));
    let bad = pool_frame::Body::Forget(Forget { task_id: vec![1] });
    assert!(matches!(pool.links.send(worker_address(7), bad), Err(SendError::Field(_))));

    drop(events);
    let event = soon("the goodbye", pool.events.recv()).await.unwrap();
    assert!(matches!(event.kind, PoolEventKind::Disconnected { .. }), "{event:?}");
    assert_eq!(link.send(up(2)).await, Err(SendError::Closed));
    pool.stop().await;
}

#[tokio::test]
async fn clients_call_over_the_pinned_channel() {
    let pool = TestPool::start().await;
    let channel = connect(&pool.url(), &Timeouts::default()).await.unwrap();
    let status = pool_client(channel).status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.software_version, "test");
    pool.stop().await;
}

/// Sends `MESSAGES` both ways through a proxy that cuts, and checks that each arrives once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_neither_lose_nor_repeat() {
    const MESSAGES: u32 = 2_000;
    const CUTS: u64 = 40;
    let mut pool = TestPool::start().await;
    let proxy = CutProxy::start(pool.addr, seed(), CUTS, 40_000).await;
    let (link, mut events) = start_worker(pool.url_at(proxy.addr), 7);
    let links = pool.links.clone();

    let worker_speaks = async {
        for number in 0..MESSAGES {
            link.send(up(number)).await.unwrap();
        }
    };
    let pool_speaks = async {
        for number in 0..MESSAGES {
            while let Err(error) = links.send(worker_address(7), down(number)) {
                assert!(matches!(error, SendError::WindowFull { .. } | SendError::UnknownWorker), "{error}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let worker_hears = async {
        let (mut expected, mut new_sessions) = (0, 0);
        while expected < MESSAGES {
            match next(&mut events).await {
                WorkerEvent::Message(pool_frame::Body::Forget(forget)) => {
                    assert_eq!(number(&forget.task_id), expected);
                    expected += 1;
                }
                WorkerEvent::Connected { new_session, .. } => new_sessions += u32::from(new_session),
                WorkerEvent::Disconnected { retry_in: Some(_), .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(new_sessions, 1, "every reconnect resumed");
    };
    let pool_hears = async {
        let mut expected = 0;
        while expected < MESSAGES {
            if let PoolEventKind::Message(body) = pool.next().await.kind {
                assert_eq!(body, up(expected));
                expected += 1;
            }
        }
    };
    tokio::join!(worker_speaks, pool_speaks, worker_hears, pool_hears);
    println!("{} cuts", proxy.cuts_made());
    assert!(proxy.cuts_made() >= 5, "the proxy cut only {} connections", proxy.cuts_made());
    drop(events);
    pool.stop().await;
}

#[tokio::test]
async fn a_pool_that_forgot_begins_anew() {
    let tls = ServerTls::ephemeral().unwrap();
    let mut first = TestPool::start_with(&tls, ListenLimits::default(), LinkLimits::default()).await;
    let proxy = CutProxy::start(first.addr, 0, 0, 1).await;
    let (link, mut events) = start_worker(first.url_at(proxy.addr), 7);
    assert!(matches!(next(&mut events).await, WorkerEvent::Connected { new_session: true, .. }));
    link.send(up(1)).await.unwrap();
    assert!(matches!(first.next().await.kind, PoolEventKind::Connected { .. }));
    assert!(matches!(first.next().await.kind, PoolEventKind::Message(_)));

    let mut second = TestPool::start_with(&tls, ListenLimits::default(), LinkLimits::default()).await;
    *proxy.target.lock().unwrap() = second.addr;
    first.stop().await;
    let WorkerEvent::Disconnected { error, retry_in: Some(_) } = next(&mut events).await else { panic!("no cut") };
    assert!(matches!(error, LinkError::Refused { reason: RefuseReason::Stopping, .. }), "{error:?}");
    assert!(matches!(next(&mut events).await, WorkerEvent::Connected { new_session: true, .. }));
    assert!(matches!(second.next().await.kind, PoolEventKind::Connected { new_session: true, .. }));

    link.send(up(2)).await.unwrap();
    let PoolEventKind::Message(body) = second.next().await.kind else { panic!("no message") };
    assert_eq!(body, up(2), "nothing of the old session comes");
    second.links.send(worker_address(7), down(3)).unwrap();
    assert!(matches!(next(&mut events).await, WorkerEvent::Message(body) if body == down(3)));
    drop(events);
    second.stop().await;
}

#[tokio::test]
async fn a_listener_that_does_not_listen_holds_back_the_speaker() {
    let mut pool = TestPool::start().await;
    let (link, mut events) = start_worker(pool.url(), 7);
    assert!(matches!(next(&mut events).await, WorkerEvent::Connected { .. }));
    for number in 0..SESSION_WINDOW as u32 {
        link.try_send(up(number)).unwrap();
    }
    assert_eq!(link.try_send(up(0)), Err(SendError::WindowFull { window: SESSION_WINDOW }));
    // Even when all has arrived there is no room, until somebody listens.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(link.try_send(up(0)), Err(SendError::WindowFull { window: SESSION_WINDOW }));

    // The pool never waits: what is past the window is kept, up to a bound.
    let most = (SESSION_WINDOW + QUEUE_MAX) as u32;
    for number in 0..most {
        pool.links.send(worker_address(7), down(number)).unwrap();
    }
    let full = pool.links.send(worker_address(7), down(0));
    assert_eq!(full, Err(SendError::WindowFull { window: SESSION_WINDOW + QUEUE_MAX }));

    let waiting = tokio::spawn({
        let link = link.clone();
        async move { link.send(up(SESSION_WINDOW as u32)).await }
    });
    assert!(matches!(pool.next().await.kind, PoolEventKind::Connected { .. }));
    for number in 0..=SESSION_WINDOW as u32 {
        let PoolEventKind::Message(body) = pool.next().await.kind else { panic!("no message") };
        assert_eq!(body, up(number));
    }
    soon("room in the window", waiting).await.unwrap().unwrap();
    for number in 0..most {
        let WorkerEvent::Message(body) = next(&mut events).await else { panic!("no message") };
        assert_eq!(body, down(number), "each once, in order");
    }
    drop(events);
    pool.stop().await;
}

#[tokio::test]
async fn another_key_is_refused() {
    let pool = TestPool::start().await;
    let expected = KeyHash([0xee; 32]);
    let url = PoolUrl { key: expected, ..pool.url() };
    match connect(&url, &Timeouts::default()).await.expect_err("the key is another") {
        ConnectError::PoolKeyMismatch { expected: said, got, url: dialled } => {
            assert_eq!((said, got, dialled), (expected, pool.key, url.clone()));
        }
        other => panic!("{other:?}"),
    }

    let (link, mut events) = start_worker(url, 7);
    let WorkerEvent::Disconnected { error, retry_in: None } = next(&mut events).await else { panic!("it goes on") };
    assert!(matches!(error, LinkError::Connect(ConnectError::PoolKeyMismatch { .. })), "{error:?}");
    assert!(soon("the end of the link", events.recv()).await.is_none());
    assert_eq!(link.send(up(1)).await, Err(SendError::Closed));
    pool.stop().await;
}

#[tokio::test]
async fn nobody_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = PoolUrl { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), key: KeyHash([1; 32]) };
    // Somebody takes the connection and says nothing.
    let short = Timeouts { connect: Duration::from_millis(200), ..Timeouts::default() };
    let error = connect(&url, &short).await.expect_err("nobody speaks TLS");
    assert!(matches!(error, ConnectError::PoolUnreachable { .. }), "{error:?}");
    // Nobody listens at all.
    drop(listener);
    let error = connect(&url, &Timeouts::default()).await.expect_err("nobody listens");
    assert!(matches!(error, ConnectError::PoolUnreachable { .. }), "{error:?}");
    let (_link, mut events) = start_worker(url, 7);
    let event = next(&mut events).await;
    assert!(matches!(event, WorkerEvent::Disconnected { retry_in: Some(_), .. }), "{event:?}");
}

#[tokio::test]
async fn what_is_not_a_pool_is_told() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = PoolUrl { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), key: KeyHash([1; 32]) };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let error = connect(&url, &Timeouts::default()).await.expect_err("not TLS");
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
    drop(server.await);
}

#[tokio::test]
async fn a_second_process_with_the_same_key_takes_over() {
    let mut pool = TestPool::start().await;
    let (_first_link, mut first) = start_worker(pool.url(), 7);
    assert!(matches!(next(&mut first).await, WorkerEvent::Connected { .. }));
    assert!(matches!(pool.next().await.kind, PoolEventKind::Connected { .. }));
    let (_second_link, mut second) = start_worker(pool.url(), 7);
    assert!(matches!(next(&mut second).await, WorkerEvent::Connected { new_session: true, .. }));
    let WorkerEvent::Disconnected { error, retry_in: None } = next(&mut first).await else { panic!("it goes on") };
    assert!(matches!(error, LinkError::Refused { reason: RefuseReason::Replaced, .. }), "{error:?}");
    assert!(matches!(pool.next().await.kind, PoolEventKind::Connected { new_session: true, .. }));
    pool.links.send(worker_address(7), down(1)).unwrap();
    assert!(matches!(next(&mut second).await, WorkerEvent::Message(_)));
    drop((first, second));
    pool.stop().await;
}

#[tokio::test]
async fn a_dismissed_worker_is_told_why() {
    let pool = TestPool::start().await;
    let (_link, mut events) = start_worker(pool.url(), 7);
    assert!(matches!(next(&mut events).await, WorkerEvent::Connected { .. }));
    let why = gristmill_protocol::link::refuse(RefuseReason::Banned, "it lied");
    pool.links.dismiss(worker_address(7), why);
    let WorkerEvent::Disconnected { error, retry_in: None } = next(&mut events).await else { panic!("it goes on") };
    assert_eq!(error.to_string(), "the pool refuses this worker (REFUSE_REASON_BANNED): it lied");
    assert!(!pool.links.is_connected(worker_address(7)));
    pool.stop().await;
}

#[tokio::test]
async fn a_full_pool_drops_who_is_away_longest_and_no_one_who_is_there() {
    let limits = LinkLimits { sessions_max: 2, ..LinkLimits::default() };
    let tls = ServerTls::ephemeral().unwrap();
    let pool = TestPool::start_with(&tls, ListenLimits::default(), limits).await;
    let (_link, mut one) = start_worker(pool.url(), 1);
    let (_link, mut two) = start_worker(pool.url(), 2);
    assert!(matches!(next(&mut one).await, WorkerEvent::Connected { .. }));
    assert!(matches!(next(&mut two).await, WorkerEvent::Connected { .. }));
    let (_link, mut three) = start_worker(pool.url(), 3);
    let WorkerEvent::Disconnected { error, retry_in: Some(_) } = next(&mut three).await else { panic!("no refusal") };
    assert!(matches!(error, LinkError::Refused { reason: RefuseReason::Full, .. }), "{error:?}");
    drop(one);
    while !matches!(next(&mut three).await, WorkerEvent::Connected { .. }) {}
    assert!(pool.links.is_connected(worker_address(2)));
    assert_eq!(pool.links.send(worker_address(1), down(1)), Err(SendError::UnknownWorker));
    drop((two, three));
    pool.stop().await;
}

#[tokio::test]
async fn a_malformed_profile_ends_the_link_with_its_field() {
    let pool = TestPool::start().await;
    let mut config = config(pool.url(), 7);
    config.profile.slots = 0;
    let (_link, mut events) = start(config, sign);
    let WorkerEvent::Disconnected { error: LinkError::Profile(field), retry_in: None } = next(&mut events).await else {
        panic!("it goes on")
    };
    assert!(field.to_string().starts_with("hello.slots"), "{field}");
    pool.stop().await;
}
