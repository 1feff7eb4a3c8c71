//! Show the status on a page that only this machine can see ([`gristmill_protocol::page`]).
//!
//! It listens on 127.0.0.1. Nothing can be changed through this page, and no script runs on it.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use gristmill_protocol::page::{self, Content, Pages};

use crate::error::WorkerError;
use crate::status::{Reporter, Status, TaskStatus};

/// The page reads itself anew so often, in seconds.
const REFRESH_S: u32 = 5;

/// Shows the page at this port of 127.0.0.1.
pub(crate) fn serve(port: u16, reporter: Reporter) -> Result<Pages, WorkerError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let pages = page::serve(address, "/ and /status.json", move |path| {
        let content = content(&path, &reporter);
        async move { content }
    });
    let pages = pages.map_err(|source| WorkerError::StatusPage { address, source })?;
    tracing::info!("the status page is at http://{}/", pages.address());
    Ok(pages)
}

fn content(path: &str, reporter: &Reporter) -> Option<Content> {
    match path {
        "/" => Some(Content { kind: "text/html; charset=utf-8", body: html(&reporter.status()) }),
        "/status.json" => {
            let body = serde_json::to_string_pretty(&reporter.status()).unwrap_or_default() + "\n";
            Some(Content { kind: "application/json", body })
        }
        _ => None,
    }
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
    for pool in &status.pools {
        row("pool", format!("<code>{}</code><br>{}", escape(&pool.url), escape(&pool.connection())));
    }
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
