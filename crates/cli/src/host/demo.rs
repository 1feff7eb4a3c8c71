//! `gristmill demo`: one real job on a network of its own, with a cheater in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use gristmill_network::{Audit, Network, NetworkConfig, WorkerPlan, builtin};
use gristmill_requester::{AppSource, Delivery, JOB_FILE, Job, JobRequest, ReduceRequest, Requester};
use gristmill_types::{OrderHash, Trust};
use gristmill_worker::Conduct;

use super::{Stop, child};
use crate::client::progress::Progress;
use crate::exit::Exit;
use crate::host::demo_report::{self, Report};
use crate::output;

/// Confidence of the demonstration: 80 %.
const TRUST: Trust = Trust::new(5);
/// Most workers of a demonstration.
const WORKERS_MAX: i64 = 64;
/// Most tasks of a demonstration.
const TASKS_MAX: i64 = 1_000;
const POLL: Duration = Duration::from_millis(100);

/// Show the whole market at work: a real job, a worker that cheats, the bill, and pictures of the result
///
/// Twenty stocks are clustered by how their prices moved together from 1990 to 2022, one task a stretch of years, then
/// reduced to one result. Everything is real and stays on this machine: a ledger with contracts, a store, a pool, workers
/// in sandboxes. Nothing is left behind but the results.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Workers in all
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: u16,
    /// How many of them make their results up
    #[arg(long, value_name = "N", default_value_t = 1)]
    cheaters: u16,
    /// Tasks, each of one stretch of years
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=TASKS_MAX))]
    tasks: u16,
    /// Where the results go; a folder of an earlier demonstration is replaced
    #[arg(long, value_name = "DIR", default_value = "gristmill-demo")]
    out: PathBuf,
}

/// Runs the demonstration.
pub async fn run(args: DemoArgs, json: bool) -> anyhow::Result<Exit> {
    check_workers(&args)?;
    clear_output(&args.out)?;
    let mut stop = Stop::listen()?;
    let scratch = Scratch::new()?;
    let started = Instant::now();
    let mut config = NetworkConfig::new(scratch.0.join("network"), 0, child()?);
    config.workers = plan_workers(&args);
    if !json {
        output::note(&format!("starting a network of {} workers, {} of them cheating", args.workers, args.cheaters));
    }
    // A start is not cut short: it takes a second, and only a network that stands can be taken down in order.
    let network = Network::start(config).await?;
    let outcome = tokio::select! {
        biased;
        () = stop.requested() => None,
        outcome = play(&args, &network, &scratch.0, started, json) => Some(outcome),
    };
    let stopped = network.shutdown().await;
    let Some(outcome) = outcome else {
        output::note("\ngristmill: interrupted; nothing is left running, and nothing of the demonstration is kept");
        return Ok(Exit::Interrupted);
    };
    let (report, exit) = outcome?;
    stopped?;
    if json {
        output::json(&report)?
    } else {
        output::text_out(&demo_report::render(&report))?
    }
    Ok(exit)
}

/// The folder of the network; removed when the demonstration is over, however it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("gristmill-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a scratch folder could not be removed");
        }
    }
}

/// Refuses line-ups in which the honest could not outvote the cheaters: a job that can never be done is no demonstration.
fn check_workers(args: &DemoArgs) -> anyhow::Result<()> {
    let honest = args.workers.saturating_sub(args.cheaters);
    let needed = honest_needed(u32::from(args.cheaters));
    if args.cheaters >= args.workers || u32::from(honest) < needed {
        bail!(
            "{} workers of which {} cheat leave {honest} honest ones; to reach a confidence of {TRUST} against that many, {needed} \
             must agree: use --workers {} or more",
            args.workers,
            args.cheaters,
            u32::from(args.cheaters) + needed
        );
    }
    Ok(())
}

/// How many newcomers must agree when `cheaters` newcomers each say something else: the least k with
/// 2^k * t > (1 + 2^k + 2 * cheaters) * (t - 1).
fn honest_needed(cheaters: u32) -> u32 {
    let trust = u128::from(TRUST.value());
    let enough = |k: &u32| (1u128 << k) * trust > (1 + (1u128 << k) + 2 * u128::from(cheaters)) * (trust - 1);
    (1..64).find(enough).unwrap_or(64)
}

fn plan_workers(args: &DemoArgs) -> Vec<WorkerPlan> {
    (0..args.workers)
        .map(|index| {
            let conduct = if index < args.cheaters { Conduct::Liar } else { Conduct::Honest };
            WorkerPlan { conduct, slots: 1 }
        })
        .collect()
}

/// Makes room for the results: a folder that an earlier demonstration wrote is replaced, another one is not touched.
fn clear_output(out: &Path) -> anyhow::Result<()> {
    let mut entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot use {} for the results", out.display())),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if !out.join(JOB_FILE).is_file() {
        bail!("{} holds files that no job wrote: choose another folder with --out, or empty it", out.display());
    }
    std::fs::remove_dir_all(out).with_context(|| format!("cannot replace {}", out.display()))
}

async fn play(
    args: &DemoArgs,
    network: &Network,
    scratch: &Path,
    started: Instant,
    json: bool,
) -> anyhow::Result<(Report, Exit)> {
    let prices = scratch.join(builtin::PRICES_NAME);
    std::fs::write(&prices, builtin::PRICES).with_context(|| format!("cannot write {}", prices.display()))?;
    let (requester, id) = order(args, network, &prices).await?;
    let mut job = Job::open(requester.network(), id).await?;
    let mut progress = Progress::new();
    let status = job
        .wait(POLL, |status| {
            if !json {
                progress.show(status);
            }
        })
        .await?;
    let delivery = job.fetch(&args.out, |_, _| {}).await?;
    progress.finish();
    settle(network, &job).await?;
    let audit = Audit::read(network.hub()).await?;
    let verdict = audit.check(&network.store_client()?, true).await;
    let report = demo_report::make(network, &audit, verdict, &job, &status, &delivery, started.elapsed())?;
    let exit = exit_of(&report, &delivery);
    Ok((report, exit))
}

async fn order(args: &DemoArgs, network: &Network, prices: &Path) -> anyhow::Result<(Requester, OrderHash)> {
    let place = gristmill_requester::Place::DataDir(network.data_dir().to_path_buf());
    let found = gristmill_requester::Network::find(&place).await?;
    let wallet = found.wallet_file(None)?;
    let requester = Requester::new(found, &wallet)?;
    let request = JobRequest {
        inputs: vec![prices.to_path_buf()],
        tasks: Some(u64::from(args.tasks)),
        reduce: Some(ReduceRequest {
            app: AppSource::Named(builtin::EFAST.name.to_owned()),
            args: vec![],
            compare: None,
        }),
        trust: TRUST,
        ..JobRequest::new(AppSource::Named(builtin::EFAST.name.to_owned()))
    };
    let prepared = requester.prepare(&request).await?;
    let quote = requester.quote(&prepared).await?;
    let id = requester.submit(&prepared, &quote).await?;
    Ok((requester, id))
}

/// Late answers to the last task may still be on their way; the books are read once nothing of the job is open.
async fn settle(network: &Network, job: &Job) -> anyhow::Result<()> {
    let deals = job.deals();
    for _ in 0..50 {
        let mut open = 0;
        for deal in network.hub().view_deals(&deals).await?.into_iter().flatten() {
            let tasks: Vec<_> = deal.tasks().collect();
            open += network.hub().view_tasks(&tasks).await?.iter().filter(|task| !task.status.is_final()).count();
        }
        if open == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn exit_of(report: &Report, delivery: &Delivery) -> Exit {
    if delivery.is_success() && report.all_invariants_hold() { Exit::Ok } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_liar_among_newcomers_needs_four_honest_ones() {
        assert_eq!([0, 1, 2, 3].map(honest_needed), [3, 4, 5, 5]);
    }

    #[test]
    fn a_foreign_folder_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        clear_output(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        clear_output(&out).unwrap();
        std::fs::write(out.join("precious"), "x").unwrap();
        assert!(clear_output(&out).unwrap_err().to_string().contains("no job wrote"));
        std::fs::write(out.join(JOB_FILE), "{}").unwrap();
        clear_output(&out).unwrap();
        assert!(!out.exists());
    }
}
