//! `gristmill run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gristmill_requester::{
    AppSource, CompareRequest, Delivery, Favor, Job, JobRequest, PoolChoice, Quote, ReduceRequest, Requester,
    check_output,
};
use gristmill_types::{Amount, Needs, OrderHash, Reach, Trust};
use serde_json::json;

use super::progress::Progress;
use super::{KeyArgs, Session};
use crate::exit::Exit;
use crate::output::{self, count, seconds};

/// How often the ledger is asked how the job goes.
pub const POLL: Duration = Duration::from_millis(200);

/// Have an app run, wait for its results and fetch them
///
/// The app is run once a task, or with --items once an item. Every result is computed by as many workers as the
/// confidence needs, is checked against the ledger, and comes with a receipt.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A WebAssembly module, a container image (an OCI archive, or `registry/name@sha256:...`), or the name or address of an app
    /// that is offered on the ledger
    #[arg(value_name = "APP.wasm|IMAGE.tar|IMAGE@DIGEST|NAME|ADDRESS")]
    app: String,
    /// A dataset that every task gets, by name or address
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// The only pool that may do it, as `grist://HOST:PORT/KEYHASH` or by its address on the ledger
    #[arg(long, value_name = "P")]
    pool: Option<PoolChoice>,
    /// An argument for the app; may be repeated
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Arguments for the app, after those of `--arg`
    #[arg(last = true, value_name = "ARGS")]
    more_args: Vec<String>,
    /// A WebAssembly module that makes the canonical form of what the app leaves, which is then compared and delivered: for an app
    /// of your own whose bytes differ harmlessly from machine to machine
    #[arg(long, value_name = "MODULE.wasm")]
    compare: Option<PathBuf>,
    /// An argument for that module; may be repeated
    #[arg(long = "compare-arg", value_name = "A", allow_hyphen_values = true, requires = "compare")]
    compare_args: Vec<String>,
    /// A file that every task finds in its input folder; may be repeated
    #[arg(long = "input", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// A folder whose files, or a file whose lines (blank ones left out), are items: the app is run once for each
    #[arg(long, value_name = "DIR|FILE")]
    items: Option<PathBuf>,
    /// Tasks [default: 1; with --items by how long an item of the app took before, so that settling is 5 % of the work at most and all
    /// workers have some; for a new app one an item up to 32, then 32, and from 1,024 items on one for every 32 items, 1,000 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=gristmill_requester::TASKS_MAX))]
    tasks: Option<u64>,
    /// An app (as APP) that makes the final result of all tasks' results when they are done
    #[arg(long, value_name = "APP.wasm")]
    reduce: Option<String>,
    /// An argument for the reduce; may be repeated
    #[arg(long = "reduce-arg", value_name = "A", allow_hyphen_values = true, requires = "reduce")]
    reduce_args: Vec<String>,
    /// Which machines must agree on what a module computes: `portable`, all of them, or `same-architecture`, which is quicker
    /// where much is computed with floating point numbers
    #[arg(long, value_name = "E", default_value = "portable", value_parser = str::parse::<Reach>)]
    engine: Reach,
    /// How sure the results must be, such as 80% or 99% [default: 80%]
    #[arg(long, value_name = "P", value_parser = parse_confidence, conflicts_with = "trust")]
    confidence: Option<Trust>,
    /// The same as a number: T means a confidence of 1 - 1/T (1 takes the first answer)
    #[arg(long, value_name = "T", value_parser = parse_trust)]
    trust: Option<Trust>,
    /// Each task needs a way out to the public network: an image then finds a proxy in `https_proxy` and the like, for pools and
    /// workers that offer it
    #[arg(long)]
    network: bool,
    /// Each task needs a GPU, for pools and workers that offer it
    #[arg(long)]
    gpu: bool,
    /// What machines must be like, as an expression over their attributes (`gristmill worker ad` shows those of one), such as
    /// 'Cpus >= 8 && Memory > 4096 && Score > 20'
    #[arg(long, value_name = "EXPR")]
    require: Option<String>,
    /// Which of these are better, as an expression of a number, such as 'Speed'
    #[arg(long, value_name = "EXPR")]
    prefer: Option<String>,
    /// What counts among those that are as good, as weights of cost, speed, trust, reliability and energy, such as
    /// cost=3,speed=1,trust=2
    #[arg(long, value_name = "WEIGHTS", value_parser = str::parse::<Favor>)]
    favor: Option<Favor>,
    /// Size class of a task, such as XS, S, M: how long and how large it may get [default: XS]
    #[arg(long, value_name = "C")]
    category: Option<String>,
    /// What the whole job may cost at most, in GRIST, such as 2.5
    #[arg(long, value_name = "P")]
    max_price: Option<Amount>,
    /// Use only what is deposited already, never the wallet's tokens
    #[arg(long)]
    no_deposit: bool,
    /// Folder for the results; new, empty, or of the same job [default: job-{first digits of its id}]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["detach", "dry_run"])]
    out: Option<PathBuf>,
    /// Order the job and return at once
    #[arg(long)]
    detach: bool,
    /// Say what it would cost, who would do it and how long it would take; nothing is spent
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    #[command(flatten)]
    key: KeyArgs,
}

/// A bare number is a percentage here.
fn parse_confidence(text: &str) -> Result<Trust, String> {
    let text = text.trim();
    let bare = text.parse::<f64>().is_ok_and(|number| number >= 1.0);
    let text = if bare { format!("{text}%") } else { text.to_owned() };
    if text.parse::<u64>() == Ok(0) {
        return Ok(Trust::new(1));
    }
    text.parse().map_err(|error: gristmill_types::trust::TrustError| error.to_string())
}

pub fn parse_trust(text: &str) -> Result<Trust, String> {
    match text.parse::<u64>() {
        Ok(value) if (1..=Trust::MAX.value()).contains(&value) => Ok(Trust::new(value)),
        _ => Err(format!("a trust is a whole number from 1 to {}", Trust::MAX.value())),
    }
}

impl RunArgs {
    fn request(&self) -> JobRequest {
        JobRequest {
            app: AppSource::parse(&self.app),
            args: [&self.args[..], &self.more_args].concat(),
            inputs: self.inputs.clone(),
            items: self.items.clone(),
            tasks: self.tasks,
            reduce: self.reduce.as_ref().map(|app| ReduceRequest {
                app: AppSource::parse(app),
                args: self.reduce_args.clone(),
                compare: None,
            }),
            compare: self
                .compare
                .as_ref()
                .map(|module| CompareRequest { module: module.clone(), args: self.compare_args.clone() }),
            reach: self.engine,
            trust: self.trust.or(self.confidence).unwrap_or_default(),
            needs: Needs { gpu: self.gpu, network: self.network },
            require: self.require.clone(),
            prefer: self.prefer.clone(),
            favor: self.favor,
            category: self.category.clone(),
            max_price: self.max_price,
            dataset: self.dataset.clone(),
            pool: self.pool.clone(),
            may_deposit: !self.no_deposit,
        }
    }
}

pub async fn run(args: RunArgs, session: &Session) -> anyhow::Result<Exit> {
    if let Some(out) = &args.out {
        check_output(out, None)?;
    }
    let requester = args.key.requester(session).await?;
    let prepared = requester.prepare(&args.request()).await?;
    let (prepared, quote) = requester.price(prepared).await?;
    if args.dry_run {
        let refused = requester.check_quote(&prepared, &quote).err().map(|error| error.to_string());
        return dry_run(&quote, refused, session.json);
    }
    if let Some(packing) = &quote.packing {
        output::note(&packing.to_string());
    }
    for note in &quote.notes {
        output::note(&format!("note: {note}"));
    }
    let id = requester.submit(&prepared, &quote).await?;
    if args.detach {
        let text = |_: &serde_json::Value| {
            format!("{id}\nordered for {}; follow it with {}\n", quote.total, session.suggest("wait", id))
        };
        output::either(session.json, &json!({ "job": id, "price": quote.total }), text)?;
        return Ok(Exit::Ok);
    }
    finish(&requester, id, args.out, session).await
}

/// Prints a price, and why the job would be refused if it would.
fn dry_run(quote: &Quote, refused: Option<String>, as_json: bool) -> anyhow::Result<Exit> {
    let mut value = serde_json::to_value(quote)?;
    value["refused"] = json!(refused);
    output::either(as_json, &value, |_| render_quote(quote))?;
    let Some(refused) = refused else { return Ok(Exit::Ok) };
    output::note(&format!("gristmill: {refused}"));
    Ok(Exit::Error)
}

/// Waits for a job, fetches its results and prints them.
pub async fn finish(
    requester: &Requester,
    id: OrderHash,
    out: Option<PathBuf>,
    session: &Session,
) -> anyhow::Result<Exit> {
    let mut job = Job::open(requester.network(), id).await?;
    let mut progress = Progress::new();
    let status = job.wait(POLL, |status| progress.show(status)).await?;
    let out = out.unwrap_or_else(|| default_out(id));
    let delivery = job.fetch(&out, |done, total| progress.fetching(done, total)).await?;
    progress.finish();
    if session.json {
        output::json(&json!({ "job": id, "status": status, "results": delivery }))?;
    } else {
        output::text_out(&render_delivery(&delivery))?;
        // Where nothing costs anything, nobody has to hear of money.
        if !status.paid.is_zero() || !status.refunded.is_zero() {
            output::text_out(&format!("paid         {}, refunded {}\n", status.paid, status.refunded))?;
        }
    }
    Ok(exit_of(&delivery))
}

/// Where results go unless told otherwise.
pub fn default_out(id: OrderHash) -> PathBuf {
    PathBuf::from(format!("job-{}", id.short().trim_start_matches("0x")))
}

pub fn exit_of(delivery: &Delivery) -> Exit {
    if delivery.is_success() { Exit::Ok } else { Exit::Failed }
}

pub fn render_quote(quote: &Quote) -> String {
    let mut text = output::fields([
        ("app", format!("{} ({}{})", quote.app, quote.app_address, if quote.app_is_new { ", new" } else { "" })),
        (
            "work",
            match (quote.packing, quote.items) {
                (Some(packing), _) => packing.to_string(),
                (None, Some(items)) => format!("{} in {}", count(items, "item"), count(quote.tasks, "task")),
                (None, None) => count(quote.tasks, "task"),
            } + if quote.reduce { ", then a reduce" } else { "" },
        ),
        ("size", format!("{} (up to {} of computing a task)", quote.category, seconds(quote.work_clock_s as f64))),
        ("confidence", quote.confidence.clone()),
    ]);
    text += "\n";
    let rows: Vec<Vec<String>> = quote
        .lines
        .iter()
        .map(|line| vec![line.what.clone(), line.each.to_string(), line.tasks.to_string(), line.total.to_string()])
        .chain([vec!["total".to_owned(), String::new(), String::new(), quote.total.to_string()]])
        .collect();
    text += &output::table(&["price of", "a task", "tasks", "sum"], &rows);
    text += "\n";
    for pool in &quote.pools {
        text += &match pool.reachable {
            true => format!(
                "pool {}: {} could do it{}\n",
                pool.workerpool,
                count(pool.workers_matching, "worker"),
                if pool.trust_reachable { "" } else { ", too few for this confidence" }
            ),
            false => format!("pool {}: does not answer\n", pool.workerpool),
        };
    }
    text += &match quote.seconds_expected {
        Some(time) => format!("expected time: {}\n", seconds(time)),
        None => "expected time: the pool cannot tell yet\n".to_owned(),
    };
    text += &format!("account: {} deposited, {} in the wallet", quote.stake, quote.tokens);
    if !quote.deposit.is_zero() {
        text += &format!("; {} would be deposited", quote.deposit);
    }
    if !quote.missing.is_zero() {
        text += &format!("; {} are missing", quote.missing);
    }
    text += "\n";
    for note in &quote.notes {
        text += &format!("note: {note}\n");
    }
    text + "nothing was spent\n"
}

pub fn render_delivery(delivery: &Delivery) -> String {
    use gristmill_requester::Fate;
    let mut text = output::fields([
        ("job", delivery.job.to_string()),
        ("results", delivery.dir.display().to_string()),
        ("receipts", delivery.dir.join(gristmill_requester::RECEIPTS_FOLDER).display().to_string()),
        ("delivered", format!("{} of {}", delivery.count(Fate::Delivered), count(delivery.tasks.len() as u64, "task"))),
        ("fingerprint", delivery.root.map_or("none: the job is not complete".to_owned(), |root| root.to_string())),
    ]);
    for task in delivery.tasks.iter().filter(|task| !task.note.is_empty()) {
        text += &format!("task {}: {}\n", task.index, task.note);
    }
    if delivery.tasks_cancelled > 0 {
        text += &format!("{} cancelled\n", count(delivery.tasks_cancelled, "task"));
    }
    if delivery.reduce_missing {
        text += "the reduce was not done: it was cancelled, or a task that it needs was\n";
    }
    for failed in &delivery.failed_items {
        text += &match failed.item {
            Some(item) => format!("item {item}: {}\n", failed.text),
            None => format!("task {}: {}\n", failed.task_index, failed.text),
        };
    }
    text
}

#[cfg(test)]
mod tests;
