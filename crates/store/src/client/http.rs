//! One request and its answer.

use std::io;

use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use gristmill_types::ContentId;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use super::ClientLimits;
use super::error::{AttemptError, ClientError};
use crate::rate::Bandwidth;

/// The body of a request.
pub(super) type RequestBody = BoxBody<Bytes, io::Error>;

/// The longest error answer that is read, in bytes.
const ERROR_BODY_MAX_BYTES: usize = 8 << 10;

/// The longest words of a store that are shown, in characters.
const ERROR_TEXT_MAX_CHARS: usize = 300;

/// Connections that wait for the next request, to the one store of a client.
const IDLE_CONNECTIONS_MAX: usize = 16;

/// How a single attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt will not help.
    Final(ClientError),
    /// Another attempt may help.
    Passing(AttemptError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Final(error)
    }
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Failure {
        Failure::Passing(error)
    }
}

/// The connections to one store.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pool: Pool<HttpConnector, RequestBody>,
    base_url: String,
    pub(super) limits: ClientLimits,
    pub(super) bandwidth: Bandwidth,
}

impl Http {
    pub(super) fn new(base_url: &str, limits: ClientLimits) -> Result<Http, ClientError> {
        let base_url = base_url.trim().trim_end_matches('/').to_owned();
        check_url(&base_url).map_err(|reason| ClientError::Url { url: base_url.clone(), reason })?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits.connect_timeout));
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Http { pool, base_url, limits, bandwidth: Bandwidth::default() })
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(super) fn blob_url(&self, content: ContentId) -> String {
        format!("{}/v1/blobs/{content}", self.base_url)
    }

    /// Sends a request without a body and waits for the head of the answer.
    pub(super) async fn ask(
        &self,
        method: &'static str,
        url: &str,
        range_from: u64,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = request(method, url);
        if range_from > 0 {
            request = request.header(header::RANGE, format!("bytes={range_from}-"));
        }
        let body = Empty::new().map_err(|never| match never {}).boxed();
        let request = build(request, method, url, body)?;
        let timeout = self.limits.response_timeout;
        match tokio::time::timeout(timeout, self.pool.request(request)).await {
            Ok(answer) => Ok(answer.map_err(connection_failed)?),
            Err(_) => Err(AttemptError::NoAnswer(timeout).into()),
        }
    }

    /// Sends a request with a body of `len` bytes. The caller watches its progress.
    pub(super) async fn send(
        &self,
        method: &'static str,
        url: &str,
        len: u64,
        body: RequestBody,
    ) -> Result<Response<Incoming>, Failure> {
        let builder = request(method, url).header(header::CONTENT_LENGTH, len);
        let request = build(builder, method, url, body)?;
        Ok(self.pool.request(request).await.map_err(connection_failed)?)
    }

    /// Turns an answer that is an error into one of ours.
    pub(super) async fn refusal(
        &self,
        method: &'static str,
        url: &str,
        content: ContentId,
        response: Response<Incoming>,
    ) -> Failure {
        let status = response.status();
        if status == StatusCode::NOT_FOUND && method != "PUT" {
            return ClientError::NotFound { url: url.to_owned(), content }.into();
        }
        let words = self.error_words(response).await;
        // A full store stays full for a while; other failures of the store itself may pass.
        if status == StatusCode::REQUEST_TIMEOUT
            || (status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE)
        {
            return AttemptError::Status { status: status.as_u16(), error: words.error }.into();
        }
        ClientError::Refused {
            method,
            url: url.to_owned(),
            status: status.as_u16(),
            error: words.error,
            hint: words.hint,
        }
        .into()
    }

    async fn error_words(&self, response: Response<Incoming>) -> ErrorWords {
        let reason = response.status().canonical_reason().unwrap_or("an unknown status").to_owned();
        let body = Limited::new(response.into_body(), ERROR_BODY_MAX_BYTES).collect();
        let words = match tokio::time::timeout(self.limits.stall_timeout, body).await {
            Ok(Ok(body)) => serde_json::from_slice::<ErrorWords>(&body.to_bytes()).ok(),
            _ => None,
        };
        let words = words.unwrap_or(ErrorWords { error: reason, hint: String::new() });
        ErrorWords { error: printable(&words.error), hint: printable(&words.hint) }
    }
}

#[derive(Deserialize)]
struct ErrorWords {
    error: String,
    #[serde(default)]
    hint: String,
}

/// The words of a stranger, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ERROR_TEXT_MAX_CHARS).collect()
}

fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it cannot be read")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("https is not spoken here, the bytes are checked by their hash"),
        _ => return Err("it has to begin with http://"),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a store takes no user name");
    }
    if uri.query().is_some() {
        return Err("a store takes no query");
    }
    Ok(())
}

fn request(method: &'static str, url: &str) -> axum::http::request::Builder {
    // The methods in use are known.
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    Request::builder().method(method).uri(url)
}

fn build(
    builder: axum::http::request::Builder,
    method: &'static str,
    url: &str,
    body: RequestBody,
) -> Result<Request<RequestBody>, ClientError> {
    builder.body(body).map_err(|error| ClientError::Protocol { method, url: url.to_owned(), detail: error.to_string() })
}

pub(super) fn connection_failed(error: PoolError) -> AttemptError {
    AttemptError::Connection(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_stores() {
        for url in ["http://127.0.0.1:4000", "http://host/", " http://[::1]:1/base// \n"] {
            Http::new(url, ClientLimits::default()).unwrap();
        }
        for (url, reason) in [
            ("", "cannot be read"),
            ("127.0.0.1:4000", "begin with http://"),
            ("https://host", "https is not spoken"),
            ("ftp://host", "begin with http://"),
            ("http://user@host", "user name"),
            ("http://host/?q", "query"),
            ("http://", "begin with http://"),
        ] {
            let error = Http::new(url, ClientLimits::default()).unwrap_err();
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn words_of_a_store_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a[2Jb");
        assert_eq!(printable(&"x".repeat(10_000)).len(), ERROR_TEXT_MAX_CHARS);
    }
}
