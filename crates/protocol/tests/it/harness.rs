//! A small pool, a signer, and a TCP proxy that cuts.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gristmill_protocol::{
    hello::signing_text,
    link::{
        Admission, Backoff, LinkLimits, PoolEvent, PoolEvents, PoolFrames, PoolLinks, Profile, WorkerConfig,
        WorkerEvent, WorkerEvents, WorkerLink, refuse, start,
    },
    server::{ListenLimits, incoming, serve},
    tls::{KeyHash, PoolUrl, ServerTls},
    wire::{self, Hello, Refuse, RefuseReason, Welcome, WorkerFrame, pool_server::Pool},
};
use gristmill_types::Address;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// Stands in for the ledger key: what matters here is that both ends see the same text.
pub fn sign(text: &[u8]) -> [u8; 65] {
    let mut signature = [0; 65];
    blake3::Hasher::new_derive_key("test signature").update(text).finalize_xof().fill(&mut signature);
    signature
}

struct Door;

#[tonic::async_trait]
impl Admission for Door {
    async fn admit(&self, hello: &Hello, text: &[u8], _peer: Option<SocketAddr>) -> Result<Welcome, Refuse> {
        if hello.signature != sign(text) {
            return Err(refuse(RefuseReason::Signature, "the hello is not signed by the worker"));
        }
        Ok(Welcome {
            hub_address: vec![1; 20],
            pool_address: vec![2; 20],
            pool_owner: vec![3; 20],
            chain_id: 26_482,
            heartbeat_ms: 1_000,
            rpc_url: "http://127.0.0.1:1".into(),
            store_url: "http://127.0.0.1:2".into(),
            ..Welcome::default()
        })
    }
}

struct Service {
    links: PoolLinks,
}

#[tonic::async_trait]
impl Pool for Service {
    type SessionStream = PoolFrames;

    async fn session(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<PoolFrames>, Status> {
        self.links.session(request).await
    }

    async fn status(&self, _: Request<wire::StatusRequest>) -> Result<Response<wire::StatusReply>, Status> {
        Ok(Response::new(wire::StatusReply { software_version: "test".into(), ..Default::default() }))
    }

    async fn workers(&self, _: Request<wire::WorkersRequest>) -> Result<Response<wire::WorkersReply>, Status> {
        Err(Status::unimplemented("workers"))
    }

    async fn explain(&self, _: Request<wire::ExplainRequest>) -> Result<Response<wire::ExplainReply>, Status> {
        Err(Status::unimplemented("explain"))
    }

    async fn logs(&self, _: Request<wire::LogsRequest>) -> Result<Response<wire::LogsReply>, Status> {
        Err(Status::unimplemented("logs"))
    }

    async fn quote(&self, _: Request<wire::QuoteRequest>) -> Result<Response<wire::QuoteReply>, Status> {
        Err(Status::unimplemented("quote"))
    }

    async fn join(&self, _: Request<wire::JoinRequest>) -> Result<Response<wire::JoinReply>, Status> {
        Err(Status::unimplemented("join"))
    }
}

pub struct TestPool {
    pub links: PoolLinks,
    pub events: PoolEvents,
    pub addr: SocketAddr,
    pub key: KeyHash,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl TestPool {
    pub async fn start() -> Self {
        Self::start_with(&ServerTls::ephemeral().unwrap(), ListenLimits::default(), LinkLimits::default()).await
    }

    pub async fn start_with(tls: &ServerTls, listen: ListenLimits, limits: LinkLimits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (links, events) = PoolLinks::new(Door, tls.key_hash(), limits);
        let (stop, stopped) = oneshot::channel::<()>();
        let (incoming, service) = (incoming(listener, tls, listen), Service { links: links.clone() });
        let served = tokio::spawn(async move {
            serve(incoming, service, async { drop(stopped.await) }).await.unwrap();
        });
        Self { links, events, addr, key: tls.key_hash(), stop: Some(stop), served }
    }

    pub fn url(&self) -> PoolUrl {
        self.url_at(self.addr)
    }

    pub fn url_at(&self, addr: SocketAddr) -> PoolUrl {
        PoolUrl { host: addr.ip().to_string(), port: addr.port(), key: self.key }
    }

    pub async fn next(&mut self) -> PoolEvent {
        soon("an event at the pool", self.events.recv()).await.expect("the pool runs")
    }

    /// Stops in an orderly way.
    pub async fn stop(mut self) {
        self.links.shutdown();
        drop(self.stop.take());
        soon("the end of the server", self.served).await.unwrap();
    }
}

pub fn worker_address(number: u8) -> Address {
    Address::from([number; 20])
}

pub fn profile(number: u8) -> Profile {
    Profile {
        address: worker_address(number),
        engine_profile: "wasm 1".into(),
        slots: 2,
        memory_bytes: 1 << 30,
        software_version: "0.1.0".into(),
        gpus: 0,
        network: false,
    }
}

pub fn config(pool: PoolUrl, number: u8) -> WorkerConfig {
    let backoff =
        Backoff { min: Duration::from_millis(2), max: Duration::from_millis(20), reset_after: Duration::from_secs(5) };
    WorkerConfig { backoff, ..WorkerConfig::new(pool, profile(number)) }
}

pub fn start_worker(pool: PoolUrl, number: u8) -> (WorkerLink, WorkerEvents) {
    start(config(pool, number), sign)
}

pub async fn next(events: &mut WorkerEvents) -> WorkerEvent {
    soon("an event at the worker", events.recv()).await.expect("the link lives")
}

/// A hello that the pool takes.
pub fn signed_hello(key: &KeyHash, number: u8) -> Hello {
    let mut hello = Hello {
        new_session_id: vec![number; 16],
        worker_address: worker_address(number).to_vec(),
        protocol_version: gristmill_protocol::PROTOCOL_VERSION,
        engine_profile: "wasm 1".into(),
        slots: 1,
        ..Hello::default()
    };
    hello.signature = sign(&signing_text(&hello, key)).to_vec();
    hello
}

/// A seed, printed so that a failure can be repeated with `GRISTMILL_TEST_SEED`.
pub fn seed() -> u64 {
    let seed =
        std::env::var("GRISTMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("GRISTMILL_TEST_SEED={seed}");
    seed
}

/// Passes connections on to a target that can be changed, and cuts each after a random number of bytes.
pub struct CutProxy {
    pub addr: SocketAddr,
    pub target: Arc<Mutex<SocketAddr>>,
    cuts_left: Arc<AtomicU64>,
    cuts: u64,
    accepting: JoinHandle<()>,
}

impl CutProxy {
    /// The first `cuts` connections are cut after at most `bytes_max` bytes in either direction, the others never.
    pub async fn start(target: SocketAddr, seed: u64, cuts: u64, bytes_max: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let cuts_left = Arc::new(AtomicU64::new(cuts));
        let (shared, left) = (Arc::clone(&target), Arc::clone(&cuts_left));
        let accepting = tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while let Ok((near, _)) = listener.accept().await {
                let target = *shared.lock().unwrap();
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let cut = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                let mut budget = || if cut { random.random_range(1..bytes_max) } else { u64::MAX };
                tokio::spawn(pass(near, far, budget(), budget()));
            }
        });
        Self { addr, target, cuts_left, cuts, accepting }
    }

    pub fn cuts_made(&self) -> u64 {
        self.cuts - self.cuts_left.load(Ordering::SeqCst)
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Copies both ways until one side ends or a budget is used up; then both connections are dropped.
async fn pass(near: TcpStream, far: TcpStream, up: u64, down: u64) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = copy(near_read, far_write, up) => {}
        () = copy(far_read, near_write, down) => {}
    }
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mut budget: u64) {
    let mut buffer = [0; 4096];
    while budget > 0 {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let pass = (read as u64).min(budget);
        budget -= pass;
        if to.write_all(&buffer[..pass as usize]).await.is_err() {
            return;
        }
    }
}
