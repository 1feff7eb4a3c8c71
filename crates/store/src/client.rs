//! The other end: fetch blobs from a store and send blobs to one, and trust nothing it says.

mod error;
mod get;
mod http;
mod put;
mod retry;
mod target;

use futures_util::future::BoxFuture;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use gristmill_types::ContentId;

use crate::rate::{Bandwidth, MinimumRate};
pub use error::ClientError;
use http::Http;

/// How patient a [`Client`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// How long connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long the store may take to begin its answer; it may have to read a large blob first. Default 60 s.
    pub response_timeout: Duration,
    /// How long a transfer may make no progress at all. Default 20 s.
    pub stall_timeout: Duration,
    /// The least average speed of a transfer.
    pub rate_min: MinimumRate,
    /// How many times in a row an operation is tried without progress. Default 5.
    pub attempts_max: u32,
    /// The wait after the first failure; it doubles with each further one. Default 100 ms.
    pub backoff_first: Duration,
    /// The longest wait between attempts. Default 5 s.
    pub backoff_max: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(20),
            rate_min: MinimumRate::default(),
            attempts_max: 5,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// A client of one store. Clones are cheap and share its connections.
///
/// Cut connections, stalls and passing failures of the store are retried within [`ClientLimits`]; a download goes on
/// where it was cut. All methods are cancel safe: dropped, they leave no file behind.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
}

impl Client {
    /// A client of the store at `base_url`, such as `http://127.0.0.1:4000`, with the default [`ClientLimits`].
    ///
    /// # Errors
    /// [`ClientError::Url`] when it is not such a URL. Nothing is connected yet.
    pub fn new(base_url: &str) -> Result<Client, ClientError> {
        Client::with_limits(base_url, ClientLimits::default())
    }

    /// A client with other limits.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_limits(base_url: &str, limits: ClientLimits) -> Result<Client, ClientError> {
        Ok(Client { http: Http::new(base_url, limits)? })
    }

    /// The same client under a ceiling, which others may share.
    pub fn with_bandwidth(mut self, bandwidth: Bandwidth) -> Client {
        self.http.bandwidth = bandwidth;
        self
    }

    /// The URL of the store, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.http.base_url()
    }

    /// The URL of a blob of this store.
    pub fn blob_url(&self, content: ContentId) -> String {
        self.http.blob_url(content)
    }

    /// Whether the store says that it has the blob.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Refused`].
    pub fn has(&self, content: ContentId) -> BoxFuture<'_, Result<bool, ClientError>> {
        Box::pin(async move { Ok(self.len(content).await?.is_some()) })
    }

    /// The length in bytes that the store states for the blob, `None` when it does not have it.
    ///
    /// # Errors
    /// As [`Client::has`].
    pub fn len(&self, content: ContentId) -> BoxFuture<'_, Result<Option<u64>, ClientError>> {
        Box::pin(async move { Ok(put::head(&self.http, content).await?.len) })
    }

    /// Sends `bytes` and returns their content id. They are durable in the store when this returns.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Refused`] (too large, store full).
    pub async fn put_bytes(&self, bytes: impl Into<Bytes>) -> Result<ContentId, ClientError> {
        put::put_bytes(&self.http, bytes.into()).await
    }

    /// Sends the file at `path`, unless the store has it already, and returns its content id.
    ///
    /// # Errors
    /// As [`Client::put_bytes`]; [`ClientError::File`] when it cannot be read, [`ClientError::FileChanged`] when it was
    /// changed meanwhile.
    pub async fn put_file(&self, path: impl AsRef<Path>) -> Result<ContentId, ClientError> {
        put::put_file(&self.http, path.as_ref()).await
    }

    /// Fetches a blob of at most `max` bytes into memory. The bytes are checked.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::TooLarge`], [`ClientError::Corrupt`], [`ClientError::Unreachable`] or
    /// [`ClientError::Refused`].
    pub fn get_bytes(&self, content: ContentId, max: u64) -> BoxFuture<'_, Result<Vec<u8>, ClientError>> {
        Box::pin(async move { get::get_bytes(&self.http, content, max).await })
    }

    /// Fetches a blob of at most `max` bytes into the file at `path` and returns its length in bytes.
    ///
    /// The file appears, or replaces an older one, only when all its bytes are there, checked and synced.
    ///
    /// # Errors
    /// As [`Client::get_bytes`]; [`ClientError::File`] when the file cannot be written.
    pub async fn get_file(&self, content: ContentId, path: impl AsRef<Path>, max: u64) -> Result<u64, ClientError> {
        get::get_file(&self.http, content, path.as_ref(), max).await
    }
}
