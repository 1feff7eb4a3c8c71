//! Uploads: skipped when the store has the blob, watched for stalls, tried again when cut.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use gristmill_types::ContentId;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::error::{AttemptError, ClientError, at};
use super::http::{Failure, Http, RequestBody};
use super::retry::Retry;
use crate::rate::Bandwidth;
use crate::server::BLOB_MAX_HEADER;
use crate::tree::{SEGMENT_BYTES, content_id};

const HEAD: &str = "HEAD";
const PUT: &str = "PUT";

/// Up to this size a blob is sent without asking first whether the store has it, in bytes.
const ASK_FIRST_BYTES: u64 = SEGMENT_BYTES as u64;

/// How much of a file is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// What a store says about a blob before any byte moves.
pub(super) struct Head {
    /// The blob's length in bytes, when the store has it.
    pub(super) len: Option<u64>,
    /// The largest blob that the store takes, in bytes, when it says so.
    blob_max: Option<u64>,
}

pub(super) async fn head(http: &Http, content: ContentId) -> Result<Head, ClientError> {
    let url = http.blob_url(content);
    let mut retry = Retry::new(http.limits, HEAD, &url);
    loop {
        match head_once(http, content, &url).await {
            Ok(head) => return Ok(head),
            Err(failure) => retry.after(failure, 0).await?,
        }
    }
}

async fn head_once(http: &Http, content: ContentId, url: &str) -> Result<Head, Failure> {
    let response = http.ask(HEAD, url, 0).await?;
    let blob_max = number(response.headers(), BLOB_MAX_HEADER);
    match response.status() {
        StatusCode::NOT_FOUND => Ok(Head { len: None, blob_max }),
        StatusCode::OK => {
            let len = number(response.headers(), header::CONTENT_LENGTH.as_str());
            let len = len.ok_or_else(|| ClientError::Protocol {
                method: HEAD,
                url: url.to_owned(),
                detail: "the blob has no length".to_owned(),
            })?;
            Ok(Head { len: Some(len), blob_max })
        }
        _ => Err(http.refusal(HEAD, url, content, response).await),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

pub(super) async fn put_bytes(http: &Http, bytes: Bytes) -> Result<ContentId, ClientError> {
    let content = content_id(&bytes);
    let len = bytes.len() as u64;
    if is_there(http, content, len).await? {
        return Ok(content);
    }
    let url = http.blob_url(content);
    let mut retry = Retry::new(http.limits, PUT, &url);
    loop {
        let pieces = pieces_of(bytes.clone());
        match put_once(http, content, &url, len, pieces).await {
            Ok(()) => return Ok(content),
            Err(failure) => retry.after(failure, 0).await?,
        }
    }
}

pub(super) async fn put_file(http: &Http, path: &Path) -> Result<ContentId, ClientError> {
    let (content, len) = hash_file(path).await?;
    if is_there(http, content, len).await? {
        return Ok(content);
    }
    let url = http.blob_url(content);
    let mut retry = Retry::new(http.limits, PUT, &url);
    loop {
        let file = tokio::fs::File::open(path).await.map_err(at("read", path))?;
        let now = file.metadata().await.map_err(at("read", path))?.len();
        if now != len {
            return Err(ClientError::FileChanged { path: path.to_path_buf() });
        }
        let pieces = ReaderStream::with_capacity(file, READ_BYTES);
        match put_once(http, content, &url, len, pieces).await {
            Ok(()) => return Ok(content),
            Err(Failure::Final(ClientError::Refused { status: 422, .. }))
                if hash_file(path).await? != (content, len) =>
            {
                return Err(ClientError::FileChanged { path: path.to_path_buf() });
            }
            Err(failure) => retry.after(failure, 0).await?,
        }
    }
}

/// Whether the store has the blob; small ones are not asked for. A blob that the store will not take is refused here.
async fn is_there(http: &Http, content: ContentId, len: u64) -> Result<bool, ClientError> {
    if len <= ASK_FIRST_BYTES {
        return Ok(false);
    }
    let head = head(http, content).await?;
    if let Some(max) = head.blob_max.filter(|max| len > *max) {
        return Err(ClientError::Refused {
            method: PUT,
            url: http.blob_url(content),
            status: StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
            error: format!("a blob of {len} bytes is past this store's limit of {max} bytes"),
            hint: "split the data into smaller blobs, or use a store with a higher limit".to_owned(),
        });
    }
    Ok(head.len == Some(len))
}

async fn put_once(
    http: &Http,
    content: ContentId,
    url: &str,
    len: u64,
    pieces: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
) -> Result<(), Failure> {
    let sent = Arc::new(Sent::default());
    let body = watched(pieces, sent.clone(), http.bandwidth.clone());
    let response = tokio::select! {
        response = http.send(PUT, url, len, body) => response?,
        failure = watch(http, &sent, len) => return Err(failure.into()),
    };
    accepted(http, content, url, response).await
}

async fn accepted(http: &Http, content: ContentId, url: &str, response: Response<Incoming>) -> Result<(), Failure> {
    if !matches!(response.status(), StatusCode::OK | StatusCode::CREATED) {
        return Err(http.refusal(PUT, url, content, response).await);
    }
    // The few bytes of the answer are read so that the connection can be used again.
    let body = http_body_util::Limited::new(response.into_body(), READ_BYTES).collect();
    let _ = tokio::time::timeout(http.limits.stall_timeout, body).await;
    Ok(())
}

/// How many bytes of a body the connection has taken.
type Sent = AtomicU64;

fn watched(
    pieces: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    sent: Arc<Sent>,
    bandwidth: Bandwidth,
) -> RequestBody {
    let frames = pieces.then(move |piece| {
        let pause = piece.as_ref().map_or(Duration::ZERO, |bytes| bandwidth.pause_up(bytes.len() as u64));
        let sent = Arc::clone(&sent);
        async move {
            tokio::time::sleep(pause).await;
            let bytes = piece?;
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(Frame::data(bytes))
        }
    });
    BodyExt::boxed(StreamBody::new(frames))
}

fn pieces_of(bytes: Bytes) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Sync {
    futures_util::stream::unfold(bytes, |mut bytes| async move {
        if bytes.is_empty() {
            return None;
        }
        let piece = bytes.split_to(bytes.len().min(READ_BYTES));
        Some((Ok(piece), bytes))
    })
}

/// Returns when the upload stalls, is too slow, or its answer does not come.
async fn watch(http: &Http, sent: &Sent, len: u64) -> AttemptError {
    let limits = &http.limits;
    let mut rate = limits.rate_min.start();
    let mut counted = 0;
    loop {
        let ended = counted >= len;
        let patience = if ended { limits.response_timeout } else { limits.stall_timeout };
        tokio::time::sleep(patience).await;
        let now = sent.load(Ordering::Relaxed);
        if now == counted {
            return match ended {
                true => AttemptError::NoAnswer(patience),
                false => AttemptError::Stalled(patience),
            };
        }
        if rate.is_too_slow_after(now - counted) {
            return AttemptError::TooSlow { bytes_per_second: limits.rate_min.bytes_per_second };
        }
        counted = now;
    }
}

async fn hash_file(path: &Path) -> Result<(ContentId, u64), ClientError> {
    let owned = path.to_path_buf();
    let hashed = spawn_blocking(move || {
        let mut file = std::fs::File::open(owned)?;
        let mut hasher = blake3::Hasher::new();
        let len = io::copy(&mut file, &mut hasher)?;
        Ok((ContentId(*hasher.finalize().as_bytes()), len))
    });
    hashed.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(at("read", path))
}
