//! Show the status on a page that only this machine can see.
//!
//! It listens on 127.0.0.1 and answers nothing but GET of two paths. A page of the wide world that has its own name point here (DNS
//! rebinding) is told apart by the `Host` header; nothing can be changed through this page, and no script runs on it.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::error::WorkerError;
use crate::status::{Reporter, Status, TaskStatus};

/// The page reads itself anew so often, in seconds.
const REFRESH_S: u32 = 5;
/// Who may look at a time.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take to say what it wants.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may live.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// The page is there. Dropping it takes it away.
pub(crate) struct Page {
    task: tokio::task::JoinHandle<()>,
    /// Where it listens.
    #[cfg(test)]
    pub address: SocketAddr,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Shows the page at this port of 127.0.0.1.
pub(crate) fn serve(port: u16, reporter: Reporter) -> Result<Page, WorkerError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |source| WorkerError::StatusPage { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    tracing::info!("the status page is at http://{address}/");
    let task = tokio::spawn(accept(listener, address.port(), reporter));
    Ok(Page {
        task,
        #[cfg(test)]
        address,
    })
}

async fn accept(listener: TcpListener, port: u16, reporter: Reporter) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the status page");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let reporter = reporter.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer =
                    answer(request.method(), request.uri().path(), request.headers().get(HOST), port, &reporter);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // Whoever goes away in the middle loses nothing.
            let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
            drop(place);
        });
    }
}

fn answer(
    method: &Method,
    path: &str,
    host: Option<&HeaderValue>,
    port: u16,
    reporter: &Reporter,
) -> Response<Full<Bytes>> {
    if !is_local(host, port) {
        return plain(StatusCode::MISDIRECTED_REQUEST, &format!("this page is http://127.0.0.1:{port}/\n"));
    }
    match (method, path) {
        (&Method::GET, "/") => with(StatusCode::OK, "text/html; charset=utf-8", html(&reporter.status())),
        (&Method::GET, "/status.json") => {
            let text = serde_json::to_string_pretty(&reporter.status()).unwrap_or_default() + "\n";
            with(StatusCode::OK, "application/json", text)
        }
        (&Method::GET, _) => plain(StatusCode::NOT_FOUND, "there are / and /status.json\n"),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read\n"),
    }
}

/// Whether the request was meant for this machine: its `Host` is a name of the loopback.
fn is_local(host: Option<&HeaderValue>, port: u16) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    ["127.0.0.1", "localhost"].iter().any(|name| host == format!("{name}:{port}") || (port == 80 && host == *name))
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with(status, "text/plain; charset=utf-8", text.to_owned())
}

fn with(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top;border-bottom:1px solid #ddd}\
code{word-break:break-all}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}}";

fn html(status: &Status) -> String {
    let mut page = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
    };
    row("does", escape(&status.summary()));
    if !status.reasons.is_empty() {
        row("why not more", status.reasons.iter().map(|reason| escape(reason)).collect::<Vec<_>>().join("<br>"));
    }
    let connection = match (&status.pool.trouble, status.pool.connected) {
        (_, true) => "connected".to_owned(),
        (Some(trouble), false) => format!("not connected: {}", escape(trouble)),
        (None, false) => "not connected yet".to_owned(),
    };
    row("pool", format!("<code>{}</code><br>{connection}", escape(&status.pool.url)));
    row("worker", format!("<code>{}</code>", status.worker));
    row("slots", status.slots.to_string());
    let counters = status.counters;
    row(
        "since it started",
        format!(
            "{} tasks taken, {} declined, {} results, {} contributions, {} without a result",
            counters.leases, counters.declined, counters.results, counters.contributions, counters.failures
        ),
    );
    row("results that wait", status.results_waiting.to_string());
    if let Some(sensors) = status.sensors {
        row("sensors", escape(&sensors.to_string()));
    }
    if !status.missing_guarantees.is_empty() {
        row("the sandbox cannot", escape(&status.missing_guarantees.join("; ")));
    }
    let tasks: String = status.tasks.iter().map(task_row).collect();
    let tasks = match tasks.is_empty() {
        true => String::new(),
        false => {
            format!(
                "<h2>Tasks</h2><table><tr><th>task</th><th>app</th><th>progress</th><th>state</th></tr>{tasks}</table>"
            )
        }
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Gristmill worker</title><style>{STYLE}</style></head>\
         <body><h1>Gristmill worker</h1><table>{page}</table>{tasks}</body></html>\n"
    )
}

fn task_row(task: &TaskStatus) -> String {
    let app = task.app.map_or_else(|| "being read".to_owned(), |app| app.to_string());
    let own = if task.own { " (own)" } else { "" };
    let state = match &task.frozen_because {
        Some(why) => format!("frozen: {}", escape(why)),
        None => "running".to_owned(),
    };
    format!(
        "<tr><td><code>{}</code>{own}</td><td><code>{app}</code></td><td>{} of {} items, {} s</td><td>{state}</td></tr>",
        task.task, task.items_done, task.items_total, task.seconds
    )
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
