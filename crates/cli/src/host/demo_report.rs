//! What the demonstration has to show: who did what, who cheated, who was paid, and whether it adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use gristmill_network::{Audit, AuditError, Network};
use gristmill_poco::bill::{Bill, Role, bill};
use gristmill_poco::check;
use gristmill_requester::{Delivery, Job, JobStatus, REDUCE_FOLDER};
use gristmill_types::{Amount, ContributionStatus, DealId, TaskId};
use serde::Serialize;

use crate::output::{count, fields, table};

/// The demonstration's one JSON object.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The deals: the map's and the reduce's.
    pub deals: Vec<DealId>,
    /// Their tasks.
    pub tasks: Vec<TaskId>,
    /// Tasks completed.
    pub tasks_completed: u64,
    /// Tasks failed and refunded.
    pub tasks_failed: u64,
    /// Results delivered and checked, one a run of the app.
    pub items: u64,
    /// Contributions that were accepted.
    pub contributions_accepted: u64,
    /// Contributions that were rejected.
    pub contributions_rejected: u64,
    /// Every worker.
    pub workers: Vec<WorkerReport>,
    /// How each cheat came out.
    pub caught: Vec<Caught>,
    /// Every payment.
    pub bill: Bill,
    /// What must always hold, as read from the ledger.
    pub invariants: Invariants,
    /// What was computed.
    pub result: ResultReport,
    /// From the start of the network to the last check, in seconds.
    pub seconds: f64,
}

/// A worker of the demonstration.
#[derive(Debug, Serialize)]
pub struct WorkerReport {
    /// Who.
    pub address: Address,
    /// What it set out to be.
    pub honest: bool,
    /// What it was paid.
    pub paid: Amount,
    /// What it lost.
    pub slashed: Amount,
    /// Its score now.
    pub score: u64,
    /// Contributions.
    pub contributions: u64,
}

/// A cheat that came out.
#[derive(Debug, Serialize)]
pub struct Caught {
    /// Who.
    pub worker: Address,
    /// At which task.
    pub task: TaskId,
    /// What it committed to.
    pub committed: B256,
    /// What the others agreed on.
    pub accepted: B256,
    /// How many agreed.
    pub agreed: u64,
    /// The stake it lost.
    pub stake: Amount,
}

/// What must always hold.
#[derive(Debug, Serialize)]
pub struct Invariants {
    /// Conservation: the accounts sum up to the supply, which the hub's tokens cover.
    pub i1: bool,
    /// The hub's own balance is the sum of all locks.
    pub i2: bool,
    /// All of I1 to I8.
    pub all: bool,
    /// What does not hold, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<String>,
}

/// Where the result is.
#[derive(Debug, Serialize)]
pub struct ResultReport {
    /// One fingerprint over all results; the same in every run.
    pub root: Option<B256>,
    /// The folder.
    pub dir: PathBuf,
    /// Pictures in it.
    pub pictures: Vec<PathBuf>,
}

impl Report {
    /// True if I1 to I8 hold.
    pub fn all_invariants_hold(&self) -> bool {
        self.invariants.all
    }
}

/// Puts the report together from the ledger's history.
pub fn make(
    network: &Network,
    audit: &Audit,
    verdict: Result<(), AuditError>,
    job: &Job,
    status: &JobStatus,
    delivery: &Delivery,
    elapsed: Duration,
) -> anyhow::Result<Report> {
    let deals = job.deals();
    let bill = bill(audit.replay(), &deals)?;
    let of_job: BTreeSet<DealId> = deals.iter().copied().collect();
    let books = audit.replay().books();
    let tasks: Vec<TaskId> =
        books.tasks.iter().filter(|(_, task)| of_job.contains(&task.deal)).map(|(id, _)| *id).collect();
    let votes = || tasks.iter().flat_map(|task| books.tasks[task].contributions.values());
    let counted = |wanted| votes().filter(|vote| vote.status == wanted).count() as u64;
    let reduce_completed = delivery.tasks.len() as u64;
    Ok(Report {
        tasks_completed: reduce_completed - status.tasks_failed.min(reduce_completed),
        tasks_failed: status.tasks_failed,
        items: delivery.items_delivered.max(delivery.count(gristmill_requester::Fate::Delivered) as u64),
        contributions_accepted: counted(ContributionStatus::Proved),
        contributions_rejected: counted(ContributionStatus::Rejected),
        workers: workers(network, audit, &tasks, &bill),
        caught: caught(audit, &tasks, &bill),
        invariants: Invariants {
            i1: check::i1(audit.replay(), audit.view()).is_ok(),
            i2: check::i2(audit.replay()).is_ok(),
            all: verdict.is_ok(),
            violation: verdict.err().map(|error| error.to_string()),
        },
        result: ResultReport { root: delivery.root, dir: delivery.dir.clone(), pictures: pictures(delivery) },
        seconds: (elapsed.as_secs_f64() * 100.0).round() / 100.0,
        deals,
        tasks,
        bill,
    })
}

fn workers(network: &Network, audit: &Audit, tasks: &[TaskId], bill: &Bill) -> Vec<WorkerReport> {
    let books = audit.replay().books();
    let sum = |address: Address, role: Role| -> Amount {
        bill.lines.iter().filter(|line| line.account == address && line.role == role).map(|line| line.amount).sum()
    };
    network
        .worker_plans()
        .into_iter()
        .map(|(address, conduct)| WorkerReport {
            address,
            honest: conduct.is_honest(),
            paid: sum(address, Role::Worker),
            slashed: sum(address, Role::SlashedWorker),
            score: books.score(address),
            contributions: tasks.iter().filter(|task| books.tasks[*task].contributions.contains_key(&address)).count()
                as u64,
        })
        .collect()
}

fn caught(audit: &Audit, tasks: &[TaskId], bill: &Bill) -> Vec<Caught> {
    let books = audit.replay().books();
    let mut found = Vec::new();
    for id in tasks {
        let task = &books.tasks[id];
        let accepted = task.consensus.unwrap_or_default();
        let agreed = task.contributions.values().filter(|vote| vote.hash == accepted).count() as u64;
        for (worker, vote) in &task.contributions {
            if vote.status != ContributionStatus::Rejected {
                continue;
            }
            let lost = bill
                .lines
                .iter()
                .filter(|line| line.task == *id && line.account == *worker && line.role == Role::SlashedWorker);
            let stake = lost.map(|line| line.amount).sum();
            found.push(Caught { worker: *worker, task: *id, committed: vote.hash, accepted, agreed, stake });
        }
    }
    found
}

fn pictures(delivery: &Delivery) -> Vec<PathBuf> {
    let folder = delivery.dir.join(REDUCE_FOLDER);
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "png" || kind == "svg"))
        .collect();
    pictures.sort();
    pictures
}

/// The report for people.
pub fn render(report: &Report) -> String {
    let mut text = String::from("\nWorkers\n");
    let rows: Vec<Vec<String>> = report
        .workers
        .iter()
        .map(|worker| {
            vec![
                worker.address.to_string(),
                if worker.honest { "honest" } else { "cheats" }.to_owned(),
                worker.contributions.to_string(),
                worker.paid.to_string(),
                worker.slashed.to_string(),
                worker.score.to_string(),
            ]
        })
        .collect();
    text += &table(&["worker", "is", "results", "paid", "stake lost", "score"], &rows);
    text += "\nHow the cheating came out\n";
    text += &render_caught(&report.caught);
    text += "\nThe bill\n";
    text += &render_bill(report);
    text += "\n";
    text += &fields([
        ("tasks", format!("{} completed, {} refunded", report.tasks_completed, report.tasks_failed)),
        ("results", format!("{} accepted, {} rejected", report.contributions_accepted, report.contributions_rejected)),
        ("conservation (I1)", holds(report.invariants.i1)),
        ("locks (I2)", holds(report.invariants.i2)),
        ("I1 to I8", report.invariants.violation.clone().unwrap_or_else(|| holds(report.invariants.all))),
        ("fingerprint", report.result.root.map_or_else(|| "none: not complete".to_owned(), |root| root.to_string())),
        ("results in", report.result.dir.display().to_string()),
        (
            "pictures",
            report
                .result
                .pictures
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join("\n                   "),
        ),
        ("time", format!("{:.1} s", report.seconds)),
    ]);
    text
}

fn holds(holds: bool) -> String {
    if holds { "holds" } else { "DOES NOT HOLD" }.to_owned()
}

fn render_caught(caught: &[Caught]) -> String {
    if caught.is_empty() {
        return "no wrong result came to the ledger: nobody lost a stake\n".to_owned();
    }
    let line = |cheat: &Caught| {
        format!(
            "worker {} committed to {:.10} for task {}; {} others agreed on {:.10}, so its result was rejected and its \
             stake of {} went to them\n",
            cheat.worker,
            cheat.committed.to_string(),
            cheat.task.short(),
            cheat.agreed,
            cheat.accepted.to_string(),
            cheat.stake
        )
    };
    caught.iter().map(line).collect()
}

/// Every payment, then what went in against what came out.
fn render_bill(report: &Report) -> String {
    let number: BTreeMap<TaskId, usize> =
        report.tasks.iter().enumerate().map(|(number, task)| (*task, number + 1)).collect();
    let mut lines: Vec<_> = report.bill.lines.iter().collect();
    lines.sort_by_key(|line| number.get(&line.task));
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let sign = if line.role.pays() { "from" } else { "to" };
            vec![
                line.task.short(),
                format!("{sign} {}", line.account),
                line.role.describe().to_owned(),
                line.amount.to_string(),
            ]
        })
        .collect();
    let bill = &report.bill;
    let paid_in: Amount = [bill.price, bill.slashed, bill.forfeited, bill.from_kitty].into_iter().sum();
    let paid_out: Amount = [bill.paid, bill.to_kitty].into_iter().sum();
    let verdict = if paid_in == paid_out { "adds up" } else { "DOES NOT ADD UP" };
    table(&["task", "account", "for", "amount"], &rows)
        + &format!(
            "{}: price {} + stakes lost {} + from the kitty {} = {paid_in}; paid out {} + into the kitty {} = {paid_out}: {verdict}\n",
            count(rows.len() as u64, "payment"),
            bill.price,
            bill.slashed,
            bill.from_kitty,
            bill.paid,
            bill.to_kitty
        )
}
