//! A store on a socket.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /v1/blobs/{id}` | 201 stored, 200 was there already; 413 too large, 422 other bytes, 507 full |
//! | `GET /v1/blobs/{id}` | 200, or 206 for one `Range: bytes=..`; 404, 409 found damaged, 416 |
//! | `HEAD /v1/blobs/{id}` | as `GET` without the bytes (which are not looked at) |
//! | `GET /v1/health` | 200 with the bytes used and the limits |
//!
//! `{id}` is the BLAKE3 hash of the bytes, 64 hexadecimal digits. Every error has a JSON body
//! `{"error":"what","hint":"what to do"}`. No byte leaves before its segment has been checked; when a later segment
//! turns out damaged the connection is cut, so that the answer is seen to be incomplete.

mod handlers;
mod problem;
mod range;
mod stall;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::disk::Store;
use crate::rate::MinimumRate;
pub(crate) use handlers::BLOB_MAX_HEADER;
use stall::StallIo;

/// How long transfers may go on after the server was told to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// How long to wait before accepting again after the system refused (it has no more file handles, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What one server gives to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Most connections at a time; more wait to be accepted. Default 1024.
    pub connections_max: usize,
    /// Most uploads and downloads at a time; more wait for `queue_timeout`, then get 503. Default 64.
    pub transfers_max: usize,
    /// How long a transfer waits for its turn. Default 10 s.
    pub queue_timeout: Duration,
    /// How long the head of a request may take. Default 10 s.
    pub head_timeout: Duration,
    /// How long a transfer may make no progress at all. Default 20 s.
    pub stall_timeout: Duration,
    /// How long a connection may be idle. Default 120 s.
    pub idle_timeout: Duration,
    /// The least average speed of a transfer.
    pub rate_min: MinimumRate,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            connections_max: 1024,
            transfers_max: 64,
            queue_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            rate_min: MinimumRate::default(),
        }
    }
}

/// Serves `store` on `listener` with the default [`ServerLimits`] until `shutdown` completes.
pub async fn serve(listener: TcpListener, store: Store, shutdown: impl Future<Output = ()>) {
    serve_with(listener, store, ServerLimits::default(), shutdown).await;
}

/// Serves `store` on `listener` until `shutdown` completes; transfers then have three seconds to end.
///
/// Cancel safe: dropping it cuts all connections, and what was half received leaves nothing behind.
pub async fn serve_with(listener: TcpListener, store: Store, limits: ServerLimits, shutdown: impl Future<Output = ()>) {
    serve_router(listener, router(store, limits), limits, shutdown).await;
}

/// Serves any routes with the same bounds on connections, slow clients and the end: for services beside the store. Of
/// `limits` those of transfers are the routes' own affair.
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        // Nagle's algorithm would hold back the last packet of small answers.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(StallIo::new(stream, limits.stall_timeout, limits.idle_timeout));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .serve_connection(io, TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await;
    tasks.shutdown().await;
}

/// The routes of a store, to be served beside others.
pub fn router(store: Store, limits: ServerLimits) -> Router {
    handlers::router(store, limits)
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection can be accepted now");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// A store being served by a task of its own; a convenience for services that embed one.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<Infallible>,
    task: tokio::task::JoinHandle<()>,
}

impl ServerHandle {
    /// Serves `store` on `listener` in a task of its own.
    ///
    /// # Errors
    /// When the listener does not know its own address.
    pub fn start(listener: TcpListener, store: Store, limits: ServerLimits) -> std::io::Result<ServerHandle> {
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(serve_with(listener, store, limits, async move {
            // Completes when the sender is dropped.
            let _ = stopped.await;
        }));
        Ok(ServerHandle { address, stop, task })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the store, for [`crate::Client::new`].
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops accepting, gives transfers three seconds, and returns when all connections are closed.
    pub async fn stop(self) {
        drop(self.stop);
        // A panic in the server has been printed where it happened.
        let _ = self.task.await;
    }
}
