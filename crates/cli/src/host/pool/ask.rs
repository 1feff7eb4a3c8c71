//! `gristmill pool status`, `workers`, `queue`, `explain`, `trace`, `ban`, `unban`, `drain` and `resume`.

use std::path::Path;

use gristmill_pool::Status;
use gristmill_pool::control::{self, Answer, Ask};
use gristmill_pool::members::Owned;
use gristmill_pool::status::{Cause, Queue, StakeStatus, WorkerRow};
use gristmill_pool::trace::Timeline;
use gristmill_types::TaskId;
use gristmill_types::category::GENESIS_CATEGORIES;

use crate::exit::Exit;
use crate::host::overflow;
use crate::output;

pub fn status(folder: &Path, ask: &Ask, done: &str, json: bool) -> anyhow::Result<Exit> {
    let Answer::Status(status) = control::ask(folder, ask)? else { return Err(control::other_question(folder).into()) };
    output::either(json, &status, |status| done.to_owned() + &status_text(status))?;
    Ok(Exit::Ok)
}

pub fn workers(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let (mut workers, mut after): (Vec<WorkerRow>, _) = (Vec::new(), None);
    loop {
        let Answer::Workers(page) = control::ask(folder, &Ask::Workers { after })? else {
            return Err(control::other_question(folder).into());
        };
        workers.extend(page.workers);
        after = workers.last().map(|row| row.worker);
        if !page.more {
            break;
        }
    }
    output::either(json, &serde_json::json!({ "workers": workers }), |_| workers_text(&workers))?;
    Ok(Exit::Ok)
}

pub fn queue(folder: &Path, limit: u32, json: bool) -> anyhow::Result<Exit> {
    let Answer::Queue(queue) = control::ask(folder, &Ask::Queue { limit })? else {
        return Err(control::other_question(folder).into());
    };
    output::either(json, &queue, queue_text)?;
    Ok(Exit::Ok)
}

/// Asks or tells something that is answered by what binds now.
pub fn explain(folder: &Path, ask: &Ask, json: bool) -> anyhow::Result<Exit> {
    let Answer::Explain(cause) = control::ask(folder, ask)? else { return Err(control::other_question(folder).into()) };
    output::either(json, &cause, |cause| format!("{}\n", cause_text(cause)))?;
    Ok(Exit::Ok)
}

pub fn trace(folder: &Path, task: TaskId, json: bool) -> anyhow::Result<Exit> {
    let Answer::Trace(timeline) = control::ask(folder, &Ask::Trace(task))? else {
        return Err(control::other_question(folder).into());
    };
    output::either(json, &timeline, |timeline| timeline_text(timeline))?;
    Ok(Exit::Ok)
}

/// A line a moment: the time of the day (UTC), what passed since the moment before, what, who.
fn timeline_text(timeline: &Timeline) -> String {
    let mut text = output::fields([("task", timeline.task.to_string()), ("deal", timeline.deal.to_string())]);
    if timeline.begins_late {
        text += &format!(
            "the pool was started {}; what was before is not known to it\n",
            output::when(timeline.since_unix_ms / 1_000)
        );
    }
    if timeline.forgotten > 0 {
        text += &format!("{} before these are forgotten\n", output::count(timeline.forgotten, "moment"));
    }
    let mut before = timeline.moments.first().map_or(0, |moment| moment.at_unix_ms);
    let rows: Vec<Vec<String>> = timeline
        .moments
        .iter()
        .map(|moment| {
            let since = moment.at_unix_ms.saturating_sub(std::mem::replace(&mut before, moment.at_unix_ms));
            vec![
                time_of_day(moment.at_unix_ms),
                format!("+{}.{:03}", since / 1_000, since % 1_000),
                moment.step.text().to_owned(),
                moment.worker.map_or_else(|| "-".to_owned(), |worker| worker.to_string()),
                moment.text.to_string(),
            ]
        })
        .collect();
    text + &output::table(&["time (UTC)", "seconds", "what", "worker", ""], &rows)
}

/// `13:05:59.012`.
fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60, unix_ms % 1_000)
}

fn cause_text(cause: &Cause) -> String {
    match cause.fix.is_empty() {
        true => cause.text.clone(),
        false => format!("{}; {}", cause.text, cause.fix),
    }
}

/// What people call a category.
pub fn category_name(id: u64) -> String {
    let known = usize::try_from(id).ok().and_then(|id| GENESIS_CATEGORIES.get(id));
    known.map_or_else(|| format!("category {id}"), |(name, _)| (*name).to_owned())
}

fn status_text(status: &Status) -> String {
    let (workers, tasks) = (status.workers, status.tasks);
    let does = match status.draining {
        true => "takes no new deals, and ends when those it has are over",
        false => "open",
    };
    let mut fields = vec![("does", does.to_owned())];
    fields.extend(status.warnings.iter().map(|warning| ("look after", warning.clone())));
    fields.extend([
        ("pool", status.url.clone()),
        ("workerpool", status.workerpool.to_string()),
        ("owner", status.owner.to_string()),
        ("ledger", format!("{} (chain {}, block {})", status.rpc, status.chain_id, status.block)),
        ("hub", status.hub.to_string()),
        ("store", status.store.clone()),
        ("started", output::when(status.since_unix_ms / 1_000)),
    ]);
    fields.extend(status.stake.as_ref().map(|stake| ("stake", stake_text(stake))));
    let connected = output::count(workers.connected, "worker");
    fields.extend([
        (
            "workers",
            format!(
                "{connected}, {} busy, {} of {} slots free, {} banned",
                workers.busy, workers.slots_free, workers.slots, workers.banned
            ),
        ),
        (
            "tasks",
            format!(
                "{} running, {} waiting; since the start {} completed, {} failed",
                tasks.running, tasks.waiting, tasks.completed, tasks.failed
            ),
        ),
        ("deals", format!("{} open, {} waiting", status.deals_open, output::count(status.reduces_waiting, "reduce"))),
    ]);
    fields.extend(status.overflow.iter().flat_map(|overflow| {
        [("overflow to", overflow::terms_text(overflow)), ("overflow", overflow::sums_text(overflow))]
    }));
    let covers = |category: u64| {
        let covers = status.stake.iter().flat_map(|stake| &stake.covers).find(|cover| cover.category == category);
        covers.and_then(|cover| cover.tasks).map_or_else(|| "-".to_owned(), |tasks| tasks.to_string())
    };
    let rows: Vec<Vec<String>> = status
        .orders
        .iter()
        .map(|order| {
            vec![
                category_name(order.category),
                order.price.to_string(),
                order.offers.clone(),
                order.remaining.to_string(),
                covers(order.category),
            ]
        })
        .collect();
    let head = ["order", "price", "offers besides a processor", "tasks left", "stake for"];
    output::fields(fields) + "\n" + &output::table(&head, &rows)
}

fn stake_text(stake: &StakeStatus) -> String {
    format!("{} free, {} locked, {} outside of the account", stake.free, stake.locked, stake.tokens)
}

fn workers_text(workers: &[WorkerRow]) -> String {
    let rows: Vec<Vec<String>> = workers
        .iter()
        .map(|row| {
            let heard = match row.heard_unix_ms {
                0 => "never".to_owned(),
                heard => output::when(heard / 1_000),
            };
            let lends = [
                (row.gpus > 0).then(|| output::count(row.gpus.into(), "GPU")),
                row.network.then(|| "network".to_owned()),
            ];
            let lends: Vec<String> = lends.into_iter().flatten().collect();
            let member = row.member.as_ref();
            let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
            vec![
                row.worker.to_string(),
                or_dash(member.map(|owned| owned.name.clone())),
                or_dash(member.map(rights_text)),
                row.state.clone(),
                format!("{} of {}", row.tasks.len(), row.slots),
                row.score.to_string(),
                row.free_stake.to_string(),
                heard,
                if lends.is_empty() { "-".to_owned() } else { lends.join(", ") },
                row.version.clone(),
                row.because.clone(),
            ]
        })
        .collect();
    let head =
        ["worker", "name", "rights", "state", "slots taken", "score", "free stake", "heard", "lends", "version", "why"];
    output::table(&head, &rows)
}

/// `alice:chem 750`.
fn rights_text(owned: &Owned) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    format!("{}:{} {}", name(&owned.owner), name(&owned.group), owned.mode)
}

fn queue_text(queue: &Queue) -> String {
    let rows: Vec<Vec<String>> = queue
        .tasks
        .iter()
        .map(|row| {
            vec![
                row.task.to_string(),
                row.user.clone().unwrap_or_else(|| row.requester.to_string()),
                category_name(row.category),
                output::when(row.since_unix_ms / 1_000),
                cause_text(&row.cause),
            ]
        })
        .collect();
    let shown = match queue.waiting as usize > rows.len() {
        true => format!("{} of them are shown: --limit shows more\n", rows.len()),
        false => String::new(),
    };
    let waiting = format!("nobody works at {}\n", output::count(queue.waiting, "task"));
    match rows.is_empty() {
        true => waiting,
        false => waiting + &output::table(&["task", "requester", "size", "since", "because"], &rows) + &shown,
    }
}
