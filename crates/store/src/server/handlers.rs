//! The requests of [`super`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use gristmill_types::ContentId;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::ServerLimits;
use super::problem::{Problem, json_answer};
use super::range::{Selection, select};
use crate::blob::VerifiedBlob;
use crate::disk::Store;
use crate::error::StoreError;
use crate::tree::{SEGMENT_BYTES, TreeHasher};
use crate::upload::Upload;

/// Pieces of an upload that wait for the disk; a piece is what the socket gave at once, 64 KiB or so.
const UPLOAD_PIECES_MAX: usize = 8;

/// Segments of a download that wait for the socket.
const DOWNLOAD_SEGMENTS_MAX: usize = 2;

/// How much of a refused upload is read and thrown away, in bytes, and for how long: so that the client, which may read
/// only when it has written all, sees the answer and not a broken connection.
const LINGER_BYTES: u64 = 16 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The header in which every answer about a blob states the largest one the store takes, in bytes.
pub(crate) const BLOB_MAX_HEADER: &str = "gristmill-blob-max";

#[derive(Clone)]
struct Context {
    store: Store,
    limits: ServerLimits,
    transfers: Arc<Semaphore>,
}

pub(super) fn router(store: Store, limits: ServerLimits) -> Router {
    let transfers = Arc::new(Semaphore::new(limits.transfers_max));
    Router::new()
        .route("/v1/blobs/{content}", get(get_blob).head(head_blob).put(put_blob))
        .route("/v1/health", get(health))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(Context { store, limits, transfers })
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}", uri.path()),
        "blobs are at /v1/blobs/{64 hexadecimal digits}, the state of the store at /v1/health",
    )
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not for {}", uri.path()),
        "blobs take PUT, GET and HEAD, /v1/health takes GET",
    )
}

async fn health(State(context): State<Context>) -> Response {
    let limits = context.store.limits();
    let state = json!({
        "status": "ok",
        "used_bytes": context.store.used_bytes(),
        "total_max_bytes": limits.total_max_bytes,
        "blob_max_bytes": limits.blob_max_bytes,
    });
    json_answer(StatusCode::OK, &state)
}

async fn head_blob(State(context): State<Context>, Path(content): Path<String>) -> Result<Response, Response> {
    let headers = store_headers(&context);
    let answer = async {
        let content = parse_id(&content)?;
        let store = context.store.clone();
        let len = blocking(move || store.len(content)).await?;
        len.map(|len| (content, len)).ok_or_else(|| StoreError::NotFound { content }.into())
    };
    match answer.await {
        Ok((content, len)) => {
            let mut response = (headers, Body::empty()).into_response();
            blob_headers(response.headers_mut(), content, len);
            Ok(response)
        }
        Err(problem) => Err((headers, Problem::into_response(problem)).into_response()),
    }
}

async fn get_blob(
    State(context): State<Context>,
    Path(content): Path<String>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let content = parse_id(&content)?;
    let permit = transfer_permit(&context).await?;
    let store = context.store.clone();
    let mut blob = blocking(move || store.open_verified(content)).await?;
    let len = blob.len();
    let range = request_headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let selection = select(range, len);
    let (status, first, end) = match selection {
        Selection::Whole => (StatusCode::OK, 0, len),
        Selection::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        Selection::Unsatisfiable => return Ok(unsatisfiable(content, len)),
    };
    // The first segment is checked before the head is sent: damage there is an answer, not a cut connection.
    let (blob, piece) = blocking(move || {
        let piece = piece(&mut blob, first, end)?;
        Ok((blob, piece))
    })
    .await?;
    let sent = first + piece.len() as u64;
    let body = if sent == end { Body::from(piece) } else { stream_rest(&context, blob, piece, sent, end, permit) };
    let mut response = (status, store_headers(&context), body).into_response();
    blob_headers(response.headers_mut(), content, end - first);
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {first}-{}/{len}", end - 1);
        insert(response.headers_mut(), header::CONTENT_RANGE.as_str(), &value);
    }
    Ok(response)
}

fn unsatisfiable(content: ContentId, len: u64) -> Response {
    let problem = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        format!("the range begins past the end of blob {content}, which has {len} bytes"),
        "ask for a range inside the blob, or for all of it",
    );
    let mut response = problem.into_response();
    insert(response.headers_mut(), header::CONTENT_RANGE.as_str(), &format!("bytes */{len}"));
    response
}

/// The checked bytes from `first` on that lie in one segment and before `end`.
fn piece(blob: &mut VerifiedBlob, first: u64, end: u64) -> Result<Bytes, StoreError> {
    let segment_bytes = SEGMENT_BYTES as u64;
    let index = (first / segment_bytes).min(blob.segment_count() - 1);
    let start = index * segment_bytes;
    let segment = blob.segment(index)?;
    // Both fit: they are at most the length of the segment.
    let from = (first - start) as usize;
    let to = (end - start).min(segment.len() as u64) as usize;
    Ok(Bytes::copy_from_slice(&segment[from..to]))
}

/// A body of `begun` and the bytes from `position` to `end`, read and checked by a blocking thread as the socket takes
/// them. An error cuts the connection.
fn stream_rest(
    context: &Context,
    mut blob: VerifiedBlob,
    begun: Bytes,
    position: u64,
    end: u64,
    permit: OwnedSemaphorePermit,
) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, io::Error>>(DOWNLOAD_SEGMENTS_MAX);
    let rate_min = context.limits.rate_min;
    spawn_blocking(move || {
        let _permit = permit;
        let mut watch = rate_min.start();
        let mut position = position;
        let mut next = Ok(begun);
        loop {
            let len = next.as_ref().map_or(0, Bytes::len) as u64;
            let failed = next.is_err();
            // This waits for the socket; it ends when the connection does.
            if sender.blocking_send(next).is_err() || failed {
                return;
            }
            if watch.is_too_slow_after(len) {
                let _ = sender.blocking_send(Err(io::ErrorKind::TimedOut.into()));
                return;
            }
            if position == end {
                return;
            }
            next = piece(&mut blob, position, end).map_err(io::Error::other);
            position += next.as_ref().map_or(0, Bytes::len) as u64;
        }
    });
    Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

async fn put_blob(
    State(context): State<Context>,
    Path(content): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let outcome = receive(&context, &content, &headers, &mut body).await;
    match outcome {
        Ok(response) => response,
        Err(problem) => {
            tokio::spawn(linger(body));
            let mut response = problem.into_response();
            insert(response.headers_mut(), header::CONNECTION.as_str(), "close");
            response
        }
    }
}

async fn receive(context: &Context, content: &str, headers: &HeaderMap, body: &mut Body) -> Result<Response, Problem> {
    let content = parse_id(content)?;
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "a blob cannot be put in parts",
            "send the whole blob in one request",
        ));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = context.store.limits().blob_max_bytes;
    if let Some(len) = announced.filter(|len| *len > limit) {
        return Err(Problem::too_large(len, limit));
    }
    let _permit = transfer_permit(context).await?;
    let (sender, receiver) = mpsc::channel(UPLOAD_PIECES_MAX);
    let store = context.store.clone();
    let disk = spawn_blocking(move || store_pieces(&store, content, announced, receiver));
    let pumped = pump(body, sender, &context.limits).await;
    // The disk's own error comes first: it is why the pump stopped.
    let stored = disk.await.map_err(|_| Problem::internal("the store failed while it received the blob"))??;
    pumped?;
    let Some((created, len)) = stored else {
        return Err(Problem::internal("the upload ended early"));
    };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_answer(status, &json!({ "content": content, "size": len })))
}

/// What goes from the socket to the disk.
enum Piece {
    Bytes(Bytes),
    /// The request's body is complete. Without this the client went away and nothing is kept.
    End,
}

async fn pump(body: &mut Body, sender: mpsc::Sender<Piece>, limits: &ServerLimits) -> Result<(), Problem> {
    let too_slow = |what: &str| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the upload {what}"),
            "check the connection and send the blob again",
        )
    };
    let mut watch = limits.rate_min.start();
    loop {
        let frame =
            tokio::time::timeout(limits.stall_timeout, body.frame()).await.map_err(|_| too_slow("made no progress"))?;
        let piece = match frame {
            None => Piece::End,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(_trailers) => continue,
            },
            // The client is gone, or what it sends is no HTTP: it will hardly read this.
            Some(Err(_)) => {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "the upload ended before its announced length",
                    "send the blob again",
                ));
            }
        };
        let (len, ended) = match &piece {
            Piece::Bytes(bytes) => (bytes.len() as u64, false),
            Piece::End => (0, true),
        };
        // The other side is gone when the disk failed: its error is the one to report.
        if sender.send(piece).await.is_err() || ended {
            return Ok(());
        }
        if watch.is_too_slow_after(len) {
            return Err(too_slow("is too slow"));
        }
    }
}

/// Stores what the pump sends. Returns whether the blob is new and its length, or `None` when the client went away.
fn store_pieces(
    store: &Store,
    content: ContentId,
    announced: Option<u64>,
    mut receiver: mpsc::Receiver<Piece>,
) -> Result<Option<(bool, u64)>, StoreError> {
    let mut sink = Sink::new(store, content, announced)?;
    while let Some(piece) = receiver.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => sink.write(&bytes)?,
            Piece::End => return sink.finish(content).map(Some),
        }
    }
    Ok(None)
}

enum Sink {
    /// The blob is there, every byte checked: what comes is only hashed, and no space is needed.
    Known {
        hasher: TreeHasher,
        limit: u64,
    },
    New(Upload),
}

impl Sink {
    fn new(store: &Store, content: ContentId, announced: Option<u64>) -> Result<Sink, StoreError> {
        if store.holds_good_copy(content)? {
            let limit = store.limits().blob_max_bytes;
            return Ok(Sink::Known { hasher: TreeHasher::new(), limit });
        }
        Ok(Sink::New(store.begin(announced)?))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Sink::New(upload) => upload.write(bytes),
            Sink::Known { hasher, limit } => {
                hasher.update(bytes);
                if hasher.len() > *limit {
                    return Err(StoreError::TooLarge { len: hasher.len(), limit: *limit });
                }
                Ok(())
            }
        }
    }

    fn finish(self, expected: ContentId) -> Result<(bool, u64), StoreError> {
        match self {
            Sink::New(upload) => {
                let len = upload.len();
                upload.finish(Some(expected)).map(|_| (true, len))
            }
            Sink::Known { hasher, .. } => {
                let tree = hasher.finish();
                if tree.content() != expected {
                    return Err(StoreError::OtherContent { expected, got: tree.content() });
                }
                Ok((false, tree.len()))
            }
        }
    }
}

/// Reads and throws away the rest of a refused upload, within bounds.
async fn linger(mut body: Body) {
    let drain = async {
        let mut read = 0;
        while read < LINGER_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, |bytes| bytes.len() as u64),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

async fn transfer_permit(context: &Context) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = context.transfers.clone().acquire_owned();
    match tokio::time::timeout(context.limits.queue_timeout, turn).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Problem::internal("the store is being closed")),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is busy with other transfers",
            "try again in a moment",
        )),
    }
}

fn parse_id(text: &str) -> Result<ContentId, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "this is not a content id",
            "a content id is the BLAKE3 hash of the bytes, written as 64 hexadecimal digits",
        )
    })
}

/// Runs disk work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Problem::from),
        Err(_) => Err(Problem::internal("the store failed while it read the blob")),
    }
}

fn store_headers(context: &Context) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, BLOB_MAX_HEADER, &context.store.limits().blob_max_bytes.to_string());
    headers
}

fn blob_headers(headers: &mut HeaderMap, content: ContentId, len: u64) {
    insert(headers, "content-type", "application/octet-stream");
    insert(headers, "content-length", &len.to_string());
    insert(headers, "accept-ranges", "bytes");
    insert(headers, "etag", &format!("\"{content}\""));
    insert(headers, "cache-control", "public, max-age=31536000, immutable");
    // Strangers put blobs here: a browser must not take one for a page.
    insert(headers, "x-content-type-options", "nosniff");
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // All values here are digits and plain letters.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
