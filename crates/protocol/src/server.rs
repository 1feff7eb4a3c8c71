//! Listen for workers and clients.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::Stream;
use tonic::transport::{Server, server::Connected};

use crate::{
    POOL_MESSAGE_BYTES_MAX, WORKER_MESSAGE_BYTES_MAX,
    tls::ServerTls,
    wire::pool_server::{Pool, PoolServer},
};

/// Pause after the operating system refused a connection (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Finished handshakes that wait for the server to take them.
const READY_MAX: usize = 64;
/// Descriptors of the process besides those of connections: databases, files, the ledger.
const DESCRIPTORS_SPARE: u64 = 256;
/// Calls at a time over one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Most bytes of the headers of one call.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// What a listener puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenLimits {
    /// For a TLS handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Handshakes at a time. One more ends the one that has taken longest, so that nobody keeps others out by being
    /// slow; but each has [`ListenLimits::handshake_grace`]. Default 256.
    pub handshakes_max: usize,
    /// What a handshake may take before another one ends it. Until then those who come wait in the operating system's queue: where all
    /// workers of a pool come at once, as after its restart, everybody is let in in turn. Default 1 s.
    pub handshake_grace: Duration,
    /// Open connections at a time; one more is closed at once. Default 16384.
    pub connections_max: usize,
    /// Between two signs of life asked for on an open connection. Default 5 s.
    pub keepalive_interval: Duration,
    /// For the answer to such a question, after which the connection is dead. Default 10 s.
    pub keepalive_timeout: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 256,
            handshake_grace: Duration::from_secs(1),
            connections_max: 16_384,
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Connections that have shaken hands. Dropping it stops listening.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<TlsConnection>,
    limits: ListenLimits,
}

/// An encrypted connection from a worker or a client.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: PeerAddr,
    _slot: OwnedSemaphorePermit,
}

/// Where a connection comes from; found in the extensions of a [`tonic::Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Listens on `listener`, with the descriptors that this process needs for that. Handshakes run beside each other, each within its
/// time, so a slow one holds up nobody.
pub fn incoming(listener: TcpListener, tls: &ServerTls, limits: ListenLimits) -> Incoming {
    raise_descriptors(limits.connections_max);
    let (sender, ready) = mpsc::channel(READY_MAX);
    tokio::spawn(accept_loop(listener, TlsAcceptor::from(Arc::clone(&tls.config)), limits, sender));
    Incoming { ready, limits }
}

/// Serves `service` on `incoming` until `shutdown` is done and the calls under way have ended. End the workers'
/// streams ([`crate::link::PoolLinks::shutdown`]) when `shutdown` fires, or they keep it waiting.
///
/// # Errors
/// [`tonic::transport::Error`] when the server itself fails.
pub async fn serve<P: Pool>(
    incoming: Incoming,
    service: P,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = PoolServer::new(service)
        .max_decoding_message_size(WORKER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(POOL_MESSAGE_BYTES_MAX);
    Server::builder()
        .http2_keepalive_interval(Some(incoming.limits.keepalive_interval))
        .http2_keepalive_timeout(Some(incoming.limits.keepalive_timeout))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

async fn accept_loop(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    limits: ListenLimits,
    ready: mpsc::Sender<TlsConnection>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut handshakes = JoinSet::new();
    // By age: the first is the oldest.
    let mut pending: BTreeMap<u64, (Instant, AbortHandle)> = BTreeMap::new();
    let mut number = 0u64;
    loop {
        let is_full = pending.len() >= limits.handshakes_max.max(1);
        let oldest = pending.first_key_value().filter(|_| is_full).map(|(_, (since, _))| *since);
        let turn = oldest.map(|since| since + limits.handshake_grace);
        let accepted = tokio::select! {
            () = ready.closed() => return,
            Some(done) = handshakes.join_next(), if !handshakes.is_empty() => {
                if let Ok(number) = done {
                    pending.remove(&number);
                }
                continue;
            }
            accepted = accept(&listener, turn) => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, limit = limits.connections_max, "too many connections, this one is closed");
            continue;
        };
        if pending.len() >= limits.handshakes_max.max(1)
            && let Some((_, (_, oldest))) = pending.pop_first()
        {
            oldest.abort();
        }
        number += 1;
        let task = handshake(tcp, peer, slot, acceptor.clone(), limits.handshake_timeout, ready.clone());
        let handshake = handshakes.spawn(async move {
            task.await;
            number
        });
        pending.insert(number, (Instant::now(), handshake));
    }
}

/// The next connection, not before it is its turn. Cancel safe.
async fn accept(listener: &TcpListener, turn: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(turn) = turn {
        sleep_until(turn).await;
    }
    listener.accept().await
}

/// Has the operating system give this process the descriptors that so many connections take, as far as it may have them.
fn raise_descriptors(connections_max: usize) {
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_SPARE);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < needed
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)
    {
        tracing::debug!(%error, soft, "the limit of descriptors could not be raised");
    }
    if hard < needed {
        tracing::info!(hard, needed, "more workers need a higher limit of descriptors (`ulimit -Hn`, `LimitNOFILE=`)");
    }
}

async fn handshake(
    tcp: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    acceptor: TlsAcceptor,
    limit: Duration,
    ready: mpsc::Sender<TlsConnection>,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    match timeout(limit, acceptor.accept(tcp)).await {
        // A closed receiver means that the server stops; the connection is dropped with it.
        Ok(Ok(stream)) => drop(ready.send(TlsConnection { stream, peer: PeerAddr(peer), _slot: slot }).await),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, ?limit, "a TLS handshake took too long"),
    }
}

impl Stream for Incoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = PeerAddr;

    fn connect_info(&self) -> PeerAddr {
        self.peer
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
