//! `gristmill job`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_requester::{
    Closed, Explanation, Fate, Job, JobIndex, JobStatus, Requester, Source, Stage, load_wallet, task_word,
};
use gristmill_types::{Address, OrderHash, TaskStatus};
use serde::Serialize;
use serde_json::json;

use super::progress::{Progress, summary};
use super::run::{POLL, default_out, exit_of, render_delivery};
use super::{KeyArgs, PlaceArgs, Session};
use crate::exit::Exit;
use crate::output::{self, count, when};

/// Jobs that `list` shows unless told otherwise.
const LIST_MAX: usize = 50;

/// Follow, fetch and cancel jobs
///
/// A job is named by its id or the first digits of it; those of one of its deals will do too.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, the newest last
    List(ListArgs),
    /// Show what a job is and where each of its tasks stands
    Show(OneArgs),
    /// Wait until a job is over; finds pools for tasks that have none yet
    Wait(WaitArgs),
    /// Fetch the results of a job's completed tasks, check them, and write their receipts
    Fetch(FetchArgs),
    /// Print what the app wrote to standard error (nobody has checked it)
    Logs(LogsArgs),
    /// Say why a job stands where it stands, and the smallest thing that would help
    Explain(OneArgs),
    /// Take back what of a job has no pool yet; what has one goes on and is paid or refunded
    Cancel(CancelArgs),
}

/// Which job.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The job's id or its first digits
    job: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which jobs.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those of everybody, not only of the wallet in use
    #[arg(long)]
    all: bool,
    /// Show so many of the newest
    #[arg(long, value_name = "N", default_value_t = LIST_MAX)]
    limit: usize,
    #[command(flatten)]
    key: KeyArgs,
}

/// Which job, and whose key.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The job's id or its first digits
    job: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Which job, and whose key.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The job's id or its first digits
    job: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Which job, and where to.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The job's id or its first digits
    job: String,
    /// Folder for the results; new, empty, or of the same job [default: job-{first digits of its id}]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which job, or which task of it.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The job's id or its first digits
    job: String,
    /// Only of the task with this index
    #[arg(long, value_name = "INDEX")]
    task: Option<u64>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub async fn run(command: JobCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        JobCommand::List(args) => list(args, session).await,
        JobCommand::Show(args) => show(args, session).await,
        JobCommand::Wait(args) => wait(args, session).await,
        JobCommand::Fetch(args) => fetch(args, session).await,
        JobCommand::Logs(args) => logs(args, session).await,
        JobCommand::Explain(args) => explain(args, session).await,
        JobCommand::Cancel(args) => cancel(args, session).await,
    }
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Listed {
    job: OrderHash,
    state: String,
    tasks_completed: u64,
    tasks_failed: u64,
    tasks_total: u64,
    app: Address,
    requester: Address,
    started: Option<u64>,
}

async fn list(args: ListArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.key.place.network().await?;
    let mine = match args.all {
        true => None,
        false => Some(load_wallet(&network.wallet_file(args.key.wallet.as_deref())?)?.address()),
    };
    let index = JobIndex::read(&network.hub).await?;
    let records = index.jobs(mine);
    let skipped = records.len().saturating_sub(args.limit);
    let mut jobs = Vec::new();
    for record in records.into_iter().skip(skipped) {
        let status = Job::of(&network, record, index.reduce_of(record)).await?.status();
        jobs.push(Listed {
            job: status.job,
            state: status.state.to_string(),
            tasks_completed: status.tasks_completed,
            tasks_failed: status.tasks_failed,
            tasks_total: status.tasks_total,
            app: status.app,
            requester: status.requester,
            started: status.started,
        });
    }
    let value = json!({ "jobs": jobs, "older": skipped });
    output::either(session.json, &value, |_| render_list(&jobs, skipped))?;
    Ok(Exit::Ok)
}

fn render_list(jobs: &[Listed], skipped: usize) -> String {
    if jobs.is_empty() {
        return "no jobs: order one with `gristmill run`\n".to_owned();
    }
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let failed = if job.tasks_failed > 0 { format!(", {} refunded", job.tasks_failed) } else { String::new() };
            vec![
                job.job.short(),
                job.state.clone(),
                format!("{}/{}{failed}", job.tasks_completed, job.tasks_total),
                job.started.map_or("-".to_owned(), when),
            ]
        })
        .collect();
    let mut text = output::table(&["job", "state", "tasks", "began"], &rows);
    if skipped > 0 {
        text += &format!("and {skipped} older: --limit shows more\n");
    }
    text
}

async fn show(args: OneArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.place.network().await?;
    let job = Job::find(&network, &args.job).await?;
    output::either(session.json, &job.status(), render_status)?;
    Ok(Exit::Ok)
}

pub fn render_status(status: &JobStatus) -> String {
    let mut rows = vec![
        ("job", status.job.to_string()),
        ("state", summary(status)),
        ("requester", status.requester.to_string()),
        ("app", status.app.to_string()),
        ("confidence", status.confidence.clone()),
        (
            "money",
            format!("{} paid, {} refunded, {} held for tasks under way", status.paid, status.refunded, status.locked),
        ),
    ];
    rows.extend(status.enclave.map(|enclave| ("enclave", super::enclave_text(enclave))));
    if let Some(started) = status.started {
        rows.push(("began", when(started)));
    }
    let mut text = output::fields(rows);
    let row = |index: String, task: &gristmill_requester::TaskView| {
        let items = if task.items > 0 { task.items.to_string() } else { "-".to_owned() };
        vec![index, task.task.to_string(), task_word(task.status).to_owned(), task.contributors.to_string(), items]
    };
    let mut tasks: Vec<Vec<String>> = status.tasks.iter().map(|task| row(task.index.to_string(), task)).collect();
    if let Some(reduce) = &status.reduce {
        tasks.push(match &reduce.task {
            Some(task) => row("reduce".to_owned(), task),
            None => {
                let word = if reduce.never { "never" } else { "waiting" };
                ["reduce", "-", word, "0", "-"].map(str::to_owned).to_vec()
            }
        });
    }
    if !tasks.is_empty() {
        text += "\n";
        text += &output::table(&["", "task", "state", "workers", "items"], &tasks);
    }
    text
}

async fn wait(args: WaitArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.key.place.network().await?;
    let mut job = Job::find(&network, &args.job).await?;
    session.set(super::Phase::Ordered(job.id()));
    session.remember(args.key.place.flags());
    if let Some(rest) = job.unmatched() {
        match args.key.requester(session).await {
            Ok(requester) if requester.address() == rest.owner => {
                let number = requester.match_rest(&rest).await?;
                output::note(&format!("{} found a pool", count(number, "task")));
            }
            _ => output::note(&format!(
                "{} without a pool: their owner's wallet can match them",
                count(rest.remaining, "task")
            )),
        }
    }
    let mut progress = Progress::new();
    let status = job.wait(POLL, |status| progress.show(status)).await?;
    progress.finish();
    output::either(session.json, &status, |status| {
        let (id, fetch) = (status.job, session.suggest("fetch", status.job));
        format!("job {id}: {}\nfetch its results with {fetch}\n", summary(status))
    })?;
    let good = status.state == gristmill_requester::JobState::Completed && status.tasks_cancelled == 0;
    Ok(if good { Exit::Ok } else { Exit::Failed })
}

async fn fetch(args: FetchArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.place.network().await?;
    let job = Job::find(&network, &args.job).await?;
    let out = args.out.unwrap_or_else(|| default_out(job.id()));
    let progress = Progress::new();
    let delivery = job.fetch(&out, |done, total| progress.fetching(done, total)).await?;
    progress.finish();
    output::either(session.json, &delivery, render_delivery)?;
    let under_way = delivery.count(Fate::Unfinished);
    if under_way > 0 {
        output::note(&format!("{} under way: fetch again later", count(under_way as u64, "task")));
    }
    Ok(exit_of(&delivery))
}

async fn logs(args: LogsArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.place.network().await?;
    let job = Job::find(&network, &args.job).await?;
    let status = job.status();
    let mut wanted: Vec<_> = status
        .tasks
        .iter()
        .filter(|task| args.task.is_none_or(|index| index == task.index) && task.status != TaskStatus::Unset)
        .map(|task| (format!("task {}", task.index), task.task))
        .collect();
    if let Some(task) = status.reduce.as_ref().and_then(|reduce| reduce.task.as_ref())
        && args.task.is_none()
    {
        wanted.push(("reduce".to_owned(), task.task));
    }
    let mut all = Vec::new();
    for (what, task) in wanted {
        for log in network.task_logs(task).await? {
            if !session.json && !log.text.is_empty() {
                let worker = log.worker.map_or("the accepted result".to_owned(), |worker| worker.to_string());
                output::text_out(&format!("--- {what}, {worker}\n{}", log.text))?;
                if !log.text.ends_with('\n') {
                    output::text_out("\n")?;
                }
                if log.truncated {
                    output::text_out("(cut short)\n")?;
                }
            }
            all.push(log);
        }
    }
    if session.json {
        output::json(&json!({ "job": job.id(), "logs": all }))?;
    } else if all.iter().all(|log| log.text.is_empty()) {
        output::note("the app has written nothing to standard error so far");
    }
    Ok(Exit::Ok)
}

async fn explain(args: OneArgs, session: &Session) -> anyhow::Result<Exit> {
    let network = args.place.network().await?;
    let mut job = Job::find(&network, &args.job).await?;
    let explanation = job.explain().await?;
    output::either(session.json, &explanation, render_explanation)?;
    Ok(Exit::Ok)
}

fn render_explanation(explanation: &Explanation) -> String {
    let source = match explanation.source {
        Source::Pool => "the pool",
        Source::Ledger => "the ledger",
    };
    let fix = if explanation.fix.is_empty() { "nothing: wait" } else { &explanation.fix };
    output::fields([
        ("why", explanation.cause.clone()),
        ("what to do", fix.to_owned()),
        ("says", format!("{source} ({})", explanation.code)),
    ])
}

async fn cancel(args: CancelArgs, session: &Session) -> anyhow::Result<Exit> {
    let requester: Requester = args.key.requester(session).await?;
    let mut job = Job::find(requester.network(), &args.job).await?;
    let closed = requester.cancel(&mut job).await?;
    let status = job.status();
    if session.json {
        output::json(&json!({ "job": job.id(), "closed": closed, "status": status }))?;
    } else {
        output::text_out(&render_closed(&closed, &status))?;
    }
    Ok(Exit::Ok)
}

fn render_closed(closed: &[Closed], status: &JobStatus) -> String {
    let mut text = String::new();
    for closed in closed {
        text += &match closed.stage {
            Stage::Task => format!("{} cancelled; nothing is paid for them\n", count(closed.tasks, "task")),
            Stage::Reduce => "the reduce is cancelled\n".to_owned(),
        };
    }
    let under_way = status.tasks.iter().filter(|task| !task.status.is_final()).count() as u64;
    if closed.is_empty() {
        text += "nothing to cancel: every task has a pool already\n";
    }
    if under_way > 0 {
        text +=
            &format!("{} with a pool go on; each is paid when it completes, or refunded\n", count(under_way, "task"));
    }
    text
}

#[cfg(test)]
mod tests;
