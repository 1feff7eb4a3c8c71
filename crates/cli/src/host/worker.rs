//! `gristmill worker` and what its machine's owner asks and tells it.

mod ask;
mod config;
mod earnings;
mod join;
mod pools;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use gristmill_protocol::client::{Timeouts, connect};
use gristmill_protocol::tls::PoolUrl;
use gristmill_types::Address;
use gristmill_wallet::Wallet;
use gristmill_worker::settings::{LedgerSettings, SETTINGS_FILE};
use gristmill_worker::{Machine, Settings, WorkerConfig};

use super::{Stop, child};
use crate::exit::Exit;
use crate::output;

/// What the worker does is told on standard error unless the environment says otherwise.
pub const LOG_DEFAULT: &str = "warn,gristmill_worker=info";
/// The worker's key, in its data folder.
pub const KEY_FILE: &str = "wallet.json";
const MIB: u64 = 1 << 20;

/// Lend this machine to a pool
///
/// The pool is named with --pool; or, with --ledger and --hub, the worker compares the public pools of that ledger by what they keep and
/// what they paid, and joins the best. It needs no open port and no configuration. Apps run in a sandbox that sees nothing of this machine. It makes a key of
/// its own on first use; Ctrl-C stops it, and what it has committed to is finished when it starts again. When it may work, and for
/// whom, its owner writes into `worker.toml` in the data folder: `gristmill worker config --init` makes one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WorkerArgs {
    #[command(subcommand)]
    command: Option<WorkerCommand>,
    #[command(flatten)]
    run: RunArgs,
}

/// Where a worker's files are.
#[derive(Debug, Args)]
struct FolderArgs {
    /// Data folder [default: $XDG_DATA_HOME/gristmill-worker, else ~/.local/share/gristmill-worker]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Where to look for a pool.
#[derive(Debug, Args)]
struct NetworkArgs {
    /// JSON-RPC of the ledger on which a public pool is looked for [default: as the file says]
    #[arg(long, value_name = "URL", requires = "hub")]
    ledger: Option<String>,
    /// The hub there
    #[arg(long, value_name = "ADDRESS", requires = "ledger")]
    hub: Option<Address>,
}

/// Where the settings are, and what goes before them.
#[derive(Debug, Args)]
struct FilesArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    folder: FolderArgs,
    /// Settings [default: `worker.toml` in the data folder, if it is there]; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FilesArgs {
    /// The settings as the flags have them.
    fn settings(&self, root: &Path) -> anyhow::Result<Settings> {
        let mut settings = settings(self.config.as_deref(), root)?;
        self.network.put_into(&mut settings);
        Ok(settings)
    }
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The pool, as `grist://HOST:PORT/KEYHASH`; its key is checked. May be repeated, for pools of one ledger [default: as the file
    /// says]
    #[arg(long = "pool", value_name = "URL", conflicts_with = "ledger")]
    pools: Vec<PoolUrl>,
    #[command(flatten)]
    files: FilesArgs,
    /// Tasks at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(gristmill_worker::config::SLOTS_MAX)))]
    slots: Option<u32>,
    /// Memory it lends to a task, in MiB [default: 4096]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
    /// Show what it does at http://127.0.0.1:PORT/, which only this machine can see
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    status_page: Option<u16>,
    /// Wait for a pool that is not there yet, instead of saying so and stopping
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// Say what the worker of this machine does, and why not more
    Status(FolderArgs),
    /// Have the machine back at once: what runs is frozen, nothing new is taken, until `resume`; also after a restart
    ///
    /// A task that stays frozen for longer than its lease can bear is given back to the pool.
    Pause(FolderArgs),
    /// Let the worker go on, as its policy says; takes `pause` and `drain` back
    Resume(FolderArgs),
    Pools(pools::PoolsArgs),
    /// Let the worker finish what it has, take nothing new, and end with exit code 0
    Drain(FolderArgs),
    /// Show what the machine is, as a ClassAd: cores, memory, features, how quick it is
    Ad(FolderArgs),
    /// Add up what this worker has earned and lost, from the ledger; also while it does not run
    Earnings(FolderArgs),
    Config(config::ConfigArgs),
}

impl WorkerArgs {
    /// Whether this is the worker itself, not a question to one.
    pub fn runs(&self) -> bool {
        self.command.is_none()
    }
}

impl FolderArgs {
    fn root(&self) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => default_root(),
        }
    }

    /// The folder of the worker itself, below the one that also has its key and its settings.
    fn worker(&self) -> anyhow::Result<PathBuf> {
        Ok(service_dir(&self.root()?))
    }
}

/// Where a worker keeps its files by default.
pub fn default_root() -> anyhow::Result<PathBuf> {
    Ok(gristmill_requester::default_data_dir()?.with_file_name("gristmill-worker"))
}

fn service_dir(root: &Path) -> PathBuf {
    root.join("worker")
}

/// Carries out a command.
pub async fn run(args: WorkerArgs, json: bool) -> anyhow::Result<Exit> {
    match args.command {
        None => work(args.run, json).await,
        Some(WorkerCommand::Status(folder)) => ask::status(&folder.worker()?, json),
        Some(WorkerCommand::Pause(folder)) => ask::pause(&folder.worker()?, json),
        Some(WorkerCommand::Resume(folder)) => ask::resume(&folder.worker()?, json),
        Some(WorkerCommand::Drain(folder)) => ask::drain(&folder.worker()?, json),
        Some(WorkerCommand::Ad(folder)) => ask::ad(&folder.worker()?, json),
        Some(WorkerCommand::Earnings(folder)) => earnings::run(&folder.root()?, json).await,
        Some(WorkerCommand::Pools(args)) => pools::run(args, json).await,
        Some(WorkerCommand::Config(args)) => config::run(&args, json),
    }
}

/// The settings of the named file, or of the one in the data folder if it is there.
fn settings(named: Option<&Path>, root: &Path) -> anyhow::Result<Settings> {
    Ok(match named {
        Some(path) => Settings::read(path)?,
        None => Settings::read_if_there(&root.join(SETTINGS_FILE))?,
    })
}

impl NetworkArgs {
    /// Who says where to look wants no pool that the file names.
    fn put_into(&self, settings: &mut Settings) {
        if let (Some(rpc), Some(hub)) = (&self.ledger, self.hub) {
            settings.ledger = LedgerSettings { rpc: Some(rpc.clone()), hub: Some(hub) };
            settings.pools.clear();
        }
    }
}

impl RunArgs {
    fn settings(&self, root: &Path) -> anyhow::Result<Settings> {
        let mut settings = self.files.settings(root)?;
        if !self.pools.is_empty() {
            settings.pools.clone_from(&self.pools);
        }
        settings.slots = self.slots.or(settings.slots);
        settings.memory_mib = self.memory.unwrap_or(settings.memory_mib);
        settings.status_page = self.status_page.or(settings.status_page);
        Ok(settings)
    }
}

/// Works for this pool, with what else the settings in the data folder say, as `gristmill worker --pool` does.
pub async fn work_for(pool: PoolUrl, data_dir: Option<PathBuf>) -> anyhow::Result<Exit> {
    let network = NetworkArgs { ledger: None, hub: None };
    let files = FilesArgs { network, folder: FolderArgs { data_dir }, config: None };
    work(RunArgs { pools: vec![pool], files, slots: None, memory: None, status_page: None, wait: false }, false).await
}

/// Runs until Ctrl-C, a terminate signal, until it is drained, or until the pool turns the worker away for good.
async fn work(args: RunArgs, json: bool) -> anyhow::Result<Exit> {
    let root = args.files.folder.root()?;
    let settings = args.settings(&root)?;
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make the data folder {}", root.display()))?;
    let pools = settings.pools.clone();
    if pools.is_empty() {
        let place = settings.ledger.place().with_context(|| pools::no_pool(&root))?;
        return join::work(&root, settings, place, args.wait, json).await;
    }
    let wallet = Wallet::load_or_generate(root.join(KEY_FILE))?;
    let mut stop = Stop::listen()?;
    if !args.wait {
        let timeouts = Timeouts::default();
        tokio::select! {
            connected = any_connects(&pools, &timeouts) => connected?,
            () = stop.requested() => return Ok(Exit::Interrupted),
        }
    }
    let config = worker_config(&root, wallet, settings)?;
    let slots = config.slots;
    let mut worker = gristmill_worker::start(config)?;
    if json {
        let urls: Vec<String> = pools.iter().map(ToString::to_string).collect();
        let started = serde_json::json!({ "worker": worker.address(), "pools": urls, "slots": slots });
        output::json(&started)?;
    } else {
        let urls = pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        output::note(&format!("worker {} for {urls} with {slots} slots; Ctrl-C stops it", worker.address()));
    }
    let ended = tokio::select! {
        ended = worker.join() => Some(ended),
        () = stop.requested() => None,
    };
    match ended {
        Some(result) => Ok(result.map(|()| Exit::Ok)?),
        None => match stop.or_now(worker.shutdown()).await {
            Some(stopped) => stopped.map(|()| Exit::Ok).map_err(Into::into),
            None => Ok(Exit::Interrupted),
        },
    }
}

/// Succeeds when one of the pools answers. The others are told of, and dialled again later.
async fn any_connects(pools: &[PoolUrl], timeouts: &Timeouts) -> anyhow::Result<()> {
    let mut first = None;
    let mut answered = false;
    for pool in pools {
        match connect(pool, timeouts).await {
            Ok(_) => answered = true,
            Err(error) if pools.len() > 1 => {
                output::note(&format!("{pool} does not answer yet: {error}"));
                first = first.or(Some(error));
            }
            Err(error) => first = Some(error),
        }
    }
    match first {
        Some(error) if !answered => Err(error.into()),
        _ => Ok(()),
    }
}

fn worker_config(root: &Path, wallet: Wallet, settings: Settings) -> anyhow::Result<WorkerConfig> {
    let mut config = WorkerConfig::new(service_dir(root), wallet, settings.pools, child()?);
    config.slots = settings.slots.unwrap_or(config.slots);
    config.lends = settings.lend;
    config.runtime = settings.containers.runtime;
    config.memory_bytes = settings.memory_mib.saturating_mul(MIB);
    config.disk_bytes = settings.disk_mib.saturating_mul(MIB);
    config.policy = settings.policy;
    config.senses = Some(Box::new(Machine::new(settings.sensors)));
    config.bandwidth = settings.bandwidth.bandwidth();
    config.told = settings.machine;
    config.benchmark = true;
    config.registries = settings.registries;
    config.control_socket = true;
    config.status_page = settings.status_page;
    Ok(config)
}

#[cfg(test)]
mod tests;
