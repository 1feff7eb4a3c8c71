//! Dial a pool.

use futures_util::future::BoxFuture;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    POOL_MESSAGE_BYTES_MAX, WORKER_MESSAGE_BYTES_MAX,
    tls::{KeyHash, PoolUrl, client_config, mismatch_in},
    wire::pool_client::PoolClient,
};

/// How long a client waits for its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For name, TCP connection and TLS handshake together. Default 10 s.
    pub connect: Duration,
    /// Between two signs of life asked for on an open connection. Default 5 s.
    pub keepalive_interval: Duration,
    /// For the answer to such a question, after which the connection is dead. Default 10 s.
    pub keepalive_timeout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// A pool that could not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no pool answers at {url}: check that it runs, that the address is right and that no firewall is between")]
    PoolUnreachable {
        /// The pool's address.
        url: PoolUrl,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Somebody answers, with another key.
    #[error(
        "the pool at {url} has the key {got}, not {expected}: its address is outdated, or somebody else answers in its place; ask the pool's operator for the current address"
    )]
    PoolKeyMismatch {
        /// The key's hash in the address.
        expected: KeyHash,
        /// The hash of the key that was shown.
        got: KeyHash,
        /// The pool's address.
        url: PoolUrl,
    },
    /// Somebody answers, but not as a pool does.
    #[error("what answers at {url} does not speak as a pool does: check host and port")]
    Handshake {
        /// The pool's address.
        url: PoolUrl,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// HTTP/2 could not be set up over the encrypted connection.
    #[error("the connection to the pool at {url} broke while it was set up")]
    Http {
        /// The pool's address.
        url: PoolUrl,
        /// What went wrong.
        #[source]
        source: tonic::transport::Error,
    },
    /// The TLS library could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
}

/// Connects to the pool at `url` and no other. The channel dials again by itself when it breaks, with the same check.
///
/// # Errors
/// [`ConnectError`]. Cancel safe.
pub fn connect<'a>(url: &'a PoolUrl, timeouts: &'a Timeouts) -> BoxFuture<'a, Result<Channel, ConnectError>> {
    Box::pin(async move {
        // The first connection is made here, where its error keeps its type, and handed to the channel as it is built.
        let first = Arc::new(Mutex::new(Some(dial(url, timeouts).await?)));
        let (target, limits) = (url.clone(), *timeouts);
        let connector = tower::service_fn(move |_: Uri| {
            let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (target, limits) = (target.clone(), limits);
            async move {
                match ready {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => dial(&target, &limits).await.map(TokioIo::new),
                }
            }
        });
        // The scheme is http because the connector, not tonic, encrypts.
        Endpoint::from_static("http://gristmill-pool")
            .http2_keep_alive_interval(timeouts.keepalive_interval)
            .keep_alive_timeout(timeouts.keepalive_timeout)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError::Http { url: url.clone(), source })
    })
}

/// The calls of a pool over `channel`, with this protocol's message bounds.
pub fn pool_client(channel: Channel) -> PoolClient<Channel> {
    PoolClient::new(channel)
        .max_decoding_message_size(POOL_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(WORKER_MESSAGE_BYTES_MAX)
}

/// Connects and shakes hands.
async fn dial(url: &PoolUrl, timeouts: &Timeouts) -> Result<TlsStream<TcpStream>, ConnectError> {
    let late = |what| io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {:?}", timeouts.connect));
    let unreachable = |source| ConnectError::PoolUnreachable { url: url.clone(), source };
    let started = tokio::time::Instant::now();
    let tcp = timeout(timeouts.connect, TcpStream::connect((url.host.as_str(), url.port)))
        .await
        .unwrap_or_else(|_| Err(late("no TCP connection")))
        .map_err(unreachable)?;
    // Frames are small and somebody waits for each: delay is worse than a few more packets.
    tcp.set_nodelay(true).map_err(unreachable)?;
    let config = Arc::new(client_config(url.key)?);
    let name = ServerName::try_from("gristmill-pool").expect("a constant that is a valid name");
    let remaining = timeouts.connect.saturating_sub(started.elapsed());
    let stream = timeout(remaining, TlsConnector::from(config).connect(name, tcp))
        .await
        .unwrap_or_else(|_| Err(late("no TLS handshake")))
        .map_err(|source| handshake_error(url, source))?;
    Ok(stream)
}

fn handshake_error(url: &PoolUrl, source: io::Error) -> ConnectError {
    let url = url.clone();
    match mismatch_in(&source) {
        Some(mismatch) => ConnectError::PoolKeyMismatch { expected: mismatch.expected, got: mismatch.got, url },
        None if matches!(source.kind(), io::ErrorKind::TimedOut) => ConnectError::PoolUnreachable { url, source },
        None => ConnectError::Handshake { url, source },
    }
}
