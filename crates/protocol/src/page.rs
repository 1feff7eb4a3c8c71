//! Show pages that can only be read, by HTTP, to whoever can reach an address.
//!
//! It answers nothing but GET. On a loopback address a page of the wide world that has its own name point here (DNS rebinding) is told
//! apart by the `Host` header. Nothing can be changed through these pages.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::admit::admit;

/// Who may look at a time.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take to say what it wants.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may live.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// A page's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its media type, such as `text/html; charset=utf-8`.
    pub kind: &'static str,
    /// What it says.
    pub body: String,
}

/// The pages are there. Dropping it takes them away.
#[derive(Debug)]
pub struct Pages {
    task: tokio::task::JoinHandle<()>,
    address: SocketAddr,
}

impl Pages {
    /// Where they are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Shows pages at `address`; port 0 for a free one. `show` is asked for the content of a path; where there is none, `list` says what
/// there is.
///
/// # Errors
/// The address is taken, or not one of this machine.
pub fn serve<S, F>(address: SocketAddr, list: &'static str, show: S) -> io::Result<Pages>
where
    S: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Content>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let task = tokio::spawn(accept(listener, address, list, show));
    Ok(Pages { task, address })
}

async fn accept<S, F>(listener: TcpListener, address: SocketAddr, list: &'static str, show: S)
where
    S: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Content>> + Send + 'static,
{
    let next = async || Ok(listener.accept().await?.0);
    let talk = |stream| {
        let show = show.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let show = show.clone();
            async move { Ok::<_, Infallible>(answer(&request, address, list, show).await) }
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
        server.serve_connection(TokioIo::new(stream), service)
    };
    admit("a page", (CONNECTIONS_MAX, CONNECTION_TIME_MAX), next, talk).await;
}

async fn answer<B, S, F>(request: &Request<B>, address: SocketAddr, list: &str, show: S) -> Response<Full<Bytes>>
where
    S: Fn(String) -> F,
    F: Future<Output = Option<Content>>,
{
    if address.ip().is_loopback() && !is_local(request.headers().get(HOST), address) {
        return plain(StatusCode::MISDIRECTED_REQUEST, &format!("this page is http://{address}/\n"));
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read\n");
    }
    match show(request.uri().path().to_owned()).await {
        Some(content) => with(StatusCode::OK, content),
        None => plain(StatusCode::NOT_FOUND, &format!("there is {list}\n")),
    }
}

/// Whether the request was meant for this machine: its `Host` is a name of the loopback.
fn is_local(host: Option<&HeaderValue>, address: SocketAddr) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let (port, ip) = (address.port(), SocketAddr::new(address.ip(), 0).to_string());
    let ip = ip.trim_end_matches(":0");
    [ip, "localhost"].iter().any(|name| host == format!("{name}:{port}") || (port == 80 && host == *name))
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with(status, Content { kind: "text/plain; charset=utf-8", body: text.to_owned() })
}

fn with(status: StatusCode, content: Content) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content.body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(method: &str, path: &str, host: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 8_080));
        let show = |path: String| async move {
            (path == "/mill").then(|| Content { kind: "text/plain", body: "it turns".to_owned() })
        };
        let response = answer(&request.body(()).unwrap(), address, "/mill", show).await;
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_what_there_is_can_be_read_and_only_from_here() {
        for (method, path, host, status, text) in [
            ("GET", "/mill", Some("127.0.0.1:8080"), 200, "it turns"),
            ("GET", "/mill", Some("localhost:8080"), 200, "it turns"),
            ("GET", "/", Some("localhost:8080"), 404, "there is /mill"),
            ("POST", "/mill", Some("localhost:8080"), 405, "only be read"),
            ("GET", "/mill", Some("attacker.example:8080"), 421, "127.0.0.1:8080"),
            ("GET", "/mill", Some("localhost:81"), 421, "127.0.0.1:8080"),
            ("GET", "/mill", None, 421, "127.0.0.1:8080"),
        ] {
            let (got, body) = get(method, path, host).await;
            assert_eq!((got, body.contains(text)), (status, true), "{method} {path} {host:?}: {body}");
        }
    }

    #[test]
    fn the_loopback_has_names_of_two_families() {
        let is = |host: &'static str, address: &str| {
            is_local(Some(&HeaderValue::from_static(host)), address.parse().unwrap())
        };
        assert!(is("[::1]:99", "[::1]:99") && is("localhost", "127.0.0.1:80") && is("127.0.0.1", "127.0.0.1:80"));
        assert!(!is("127.0.0.1:99", "[::1]:99") && !is("localhost", "127.0.0.1:99"));
    }
}
