//! `gristmill worker status`, `pause`, `resume`, `drain` and `ad`.

use std::path::Path;

use gristmill_classad::ClassAd;
use gristmill_worker::Status;
use gristmill_worker::control::{Ask, ask, ask_ad};

use crate::exit::Exit;
use crate::output;

pub fn status(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    say(folder, Ask::Status, "", json)
}

pub fn pause(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    say(folder, Ask::Pause, "The machine is yours, until `gristmill worker resume`.\n", json)
}

pub fn resume(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    say(folder, Ask::Resume, "", json)
}

pub fn drain(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    say(folder, Ask::Drain, "The worker takes nothing new, and ends when it has finished what it has.\n", json)
}

fn say(folder: &Path, what: Ask, done: &str, json: bool) -> anyhow::Result<Exit> {
    let status = ask(folder, what)?;
    output::either(json, &status, |status| done.to_owned() + &text(status))?;
    Ok(Exit::Ok)
}

/// Shows the machine's ad, an attribute a line; as JSON it is one text.
pub fn ad(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let text = ask_ad(folder)?;
    let ad = ClassAd::parse(&text)?;
    output::either(json, &serde_json::json!({ "ad": text }), |_| {
        ad.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    })?;
    Ok(Exit::Ok)
}

/// The status in words.
pub fn text(status: &Status) -> String {
    let counters = status.counters;
    let mut fields = vec![("does", status.summary())];
    fields.extend(status.reasons.iter().map(|reason| ("why not more", reason.clone())));
    fields.extend(status.pools.iter().map(|pool| ("pool", format!("{} ({})", pool.url, pool.connection()))));
    fields.extend([
        ("worker", status.worker.to_string()),
        ("started", output::when(status.since_unix_ms / 1_000)),
        ("slots", status.slots.to_string()),
        (
            "done",
            format!(
                "{} taken, {} declined, {}, {}, {} without a result",
                output::count(counters.leases, "task"),
                counters.declined,
                output::count(counters.results, "result"),
                output::count(counters.contributions, "contribution"),
                counters.failures
            ),
        ),
        ("waiting", output::count(status.results_waiting, "result") + " to be settled"),
    ]);
    fields.extend(status.speed.map(|speed| ("speed", format!("{speed:.2} of the reference machine, a core"))));
    fields.extend(status.sensors.map(|sensors| ("sensors", sensors.to_string())));
    fields.extend(status.missing_guarantees.iter().map(|missing| ("not guaranteed", missing.clone())));
    let mut text = output::fields(fields);
    for task in &status.tasks {
        let state = match &task.frozen_because {
            Some(why) => format!("frozen for {} s: {why}", task.frozen_seconds),
            None => "running".to_owned(),
        };
        let own = if task.own { ", own" } else { "" };
        let app = task.app.map_or_else(|| "app being read".to_owned(), |app| format!("app {app}"));
        text += &format!(
            "\ntask {} ({app}{own})\n  {} of {} items, {} s, {state}\n",
            task.task, task.items_done, task.items_total, task.seconds
        );
    }
    text
}
