//! `gristmill worker`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use gristmill_protocol::client::{Timeouts, connect};
use gristmill_protocol::tls::PoolUrl;
use gristmill_wallet::Wallet;
use gristmill_worker::{WorkerConfig, WorkerHandle};

use super::{Stop, child};
use crate::exit::Exit;
use crate::output;

/// How often the counters are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Lend this machine to a pool
///
/// It needs no open port and no configuration. Apps run in a sandbox that sees nothing of this machine. It makes a key of
/// its own on first use; Ctrl-C stops it, and what it has committed to is finished when it starts again.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The pool, as `grist://HOST:PORT/KEYHASH`; its key is checked
    #[arg(long, value_name = "URL")]
    pool: PoolUrl,
    /// Data folder [default: $XDG_DATA_HOME/gristmill-worker, else ~/.local/share/gristmill-worker]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Tasks at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Memory it lends to a task, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory: u64,
    /// Wait for a pool that is not there yet, instead of saying so and stopping
    #[arg(long)]
    wait: bool,
}

/// Runs until Ctrl-C, a terminate signal, or until the pool turns the worker away for good.
pub async fn run(args: WorkerArgs, json: bool) -> anyhow::Result<Exit> {
    let root = match args.data_dir {
        Some(path) => path,
        None => gristmill_requester::default_data_dir()?.with_file_name("gristmill-worker"),
    };
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make the data folder {}", root.display()))?;
    let wallet = Wallet::load_or_generate(root.join("wallet.json"))?;
    let mut stop = Stop::listen()?;
    if !args.wait {
        let timeouts = Timeouts::default();
        tokio::select! {
            connected = connect(&args.pool, &timeouts) => drop(connected?),
            () = stop.requested() => return Ok(Exit::Interrupted),
        }
    }
    let mut config = WorkerConfig::new(root.join("worker"), wallet, args.pool.clone(), child()?);
    config.slots = args.slots.unwrap_or(config.slots);
    config.memory_bytes = args.memory.saturating_mul(1 << 20);
    let slots = config.slots;
    let mut worker = gristmill_worker::start(config)?;
    if json {
        let started = serde_json::json!({ "worker": worker.address(), "pool": args.pool.to_string(), "slots": slots });
        output::json(&started)?;
    } else {
        output::note(&format!("worker {} for {} with {slots} slots; Ctrl-C stops it", worker.address(), args.pool));
    }
    let ended = tokio::select! {
        ended = watch(&mut worker, json) => Some(ended),
        () = stop.requested() => None,
    };
    match ended {
        Some(result) => result.map(|()| Exit::Ok),
        None => match stop.or_now(worker.shutdown()).await {
            Some(stopped) => stopped.map(|()| Exit::Ok).map_err(Into::into),
            None => Ok(Exit::Interrupted),
        },
    }
}

/// Prints what the worker does now and then, until it ends by itself.
async fn watch(worker: &mut WorkerHandle, json: bool) -> anyhow::Result<()> {
    let mut shown = (0, 0, 0);
    loop {
        let counters = worker.counters();
        let now = (
            counters.results.load(Ordering::Relaxed),
            counters.contributions.load(Ordering::Relaxed),
            counters.failures.load(Ordering::Relaxed),
        );
        if now != shown && !json {
            output::note(&format!("{} results, {} contributions, {} without a result", now.0, now.1, now.2));
            shown = now;
        }
        match tokio::time::timeout(LOOK_EVERY, worker.join()).await {
            Ok(ended) => return Ok(ended?),
            Err(_) => continue,
        }
    }
}
