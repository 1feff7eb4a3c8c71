//! `gristmill pool`: run one, and what its operator asks and tells it.

mod ask;
mod members;
mod report;
mod run;
mod settings;

use std::path::PathBuf;

use alloy_primitives::B256;
use clap::{Args, Subcommand};
use gristmill_pool::control::{self, Ask, ControlError};
use gristmill_requester::default_data_dir;
use gristmill_types::TaskId;

use crate::exit::Exit;

pub use members::parse_time;
pub use run::parse_metrics;

/// What the pool does is told on standard error unless the environment says otherwise.
pub const LOG_DEFAULT: &str = "warn,gristmill_pool=info";

/// Run a pool on a ledger that is there, or look after one that runs
///
/// It registers the pool, stakes, publishes an order of each size class with its price, and leases the tasks of its deals to the workers
/// that dial it. The questions and orders below go to the pool of `gristmill up` too. docs/pool.md has more.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PoolArgs {
    #[command(subcommand)]
    command: Option<PoolCommand>,
    #[command(flatten)]
    run: run::RunArgs,
}

/// Whose pool.
#[derive(Debug, Args)]
struct FolderArgs {
    /// Data folder of the pool, or of the `gristmill up` that it belongs to [default: the one of these in which a pool runs]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// Run a pool: the same as `gristmill pool` without a word after it
    Run(Box<run::RunArgs>),
    /// Say what the pool does: stake, workers, tasks, orders, and what needs looking after
    Status(FolderArgs),
    /// List the workers, banned ones too
    Workers(FolderArgs),
    /// List the tasks at which nobody works, the longest waiting first, and what each waits for
    Queue(QueueArgs),
    /// Say what a task, a worker or a job waits for, and what would help
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Say what happened to a task, and when: from its deal to its end, as the pool saw it
    ///
    /// It begins anew when the pool is started.
    Trace(TraceArgs),
    /// Give a worker no more work: what it has is taken back at once, and it is turned away, also after a restart
    ///
    /// What it has committed to on the ledger still counts, and it may still reveal it.
    Ban(BanArgs),
    /// Let a banned worker in again, whoever banned it
    Unban(UnbanArgs),
    /// Close the pool's orders, finish the deals that it has, and end with exit code 0
    ///
    /// Closed orders cannot be matched any more, by nobody. The next start publishes new ones. A pool that is killed meanwhile goes on
    /// with it when it is started again.
    Drain(FolderArgs),
    /// Take `drain` back: publish orders again
    Resume(FolderArgs),
    Settings(settings::SettingsArgs),
    Reload(settings::ReloadArgs),
    Report(report::ReportArgs),
    Invite(members::InviteArgs),
    /// List the invitations, or withdraw one
    Invitations(members::InvitationsArgs),
    /// List all who belong to the pool: users, groups, machines, and the apps and data with rights of their own
    Members(FolderArgs),
    /// List the users: their groups, what they have now and may have
    Users(FolderArgs),
    /// List the groups: what their users have now and may have together
    Groups(FolderArgs),
    /// Say who may use a machine, an app or a dataset, as chmod says it of a file
    Chmod(members::ChmodArgs),
    /// Give a machine, an app or a dataset to a user, and to a group
    Chown(members::ChownArgs),
    /// Give a machine, an app or a dataset to a group
    Chgrp(members::ChgrpArgs),
    #[command(subcommand)]
    Group(members::GroupCommand),
    /// Say how much a group, or a user, may have at a time and in a month
    Quota(members::QuotaArgs),
    /// Expel a user, and the machines that it lends: it is turned away from now on. Tasks that were taken are finished
    Remove(members::RemoveArgs),
}

#[derive(Debug, Args)]
struct QueueArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Most tasks to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(control::QUEUE_MAX)))]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum ExplainCommand {
    /// A task, by its id
    Task {
        /// The task's id
        id: TaskId,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// A worker, by its name or address
    Worker {
        /// The worker's name or address
        worker: String,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// A job, by its id; or a deal, by its id
    Job {
        /// The id of the job or of the deal
        id: B256,
        #[command(flatten)]
        folder: FolderArgs,
    },
}

#[derive(Debug, Args)]
struct TraceArgs {
    /// The task's id
    id: TaskId,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
struct BanArgs {
    /// The worker's name or address
    worker: String,
    /// Why: the worker is told
    #[arg(long, value_name = "TEXT", default_value = "its operator said so")]
    reason: String,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
struct UnbanArgs {
    /// The worker's name or address
    worker: String,
    #[command(flatten)]
    folder: FolderArgs,
}

impl PoolArgs {
    /// Whether this is the pool itself, not a question to one.
    pub fn runs(&self) -> bool {
        matches!(self.command, None | Some(PoolCommand::Run(_)))
    }
}

impl FolderArgs {
    /// The folder of the pool that is meant.
    fn pool(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.data_dir {
            return Ok(run::service_dir(folder));
        }
        let own = run::service_dir(&run::default_root()?);
        let network = run::service_dir(&default_data_dir()?);
        let runs =
            |folder: &PathBuf| !matches!(control::ask(folder, &Ask::Status), Err(ControlError::NotRunning { .. }));
        match (runs(&own), runs(&network)) {
            (true, true) => {
                let folders = [&own, &network].map(|folder| folder.parent().unwrap_or(folder).display().to_string());
                anyhow::bail!(
                    "two pools run here: name the folder of the one you mean, --data-dir {}",
                    folders.join(" or --data-dir ")
                )
            }
            (false, true) => Ok(network),
            // Where there is none, that is said of the pool's own folder.
            _ => Ok(own),
        }
    }
}

/// Carries out a command.
pub async fn run(args: PoolArgs, json: bool) -> anyhow::Result<Exit> {
    use PoolCommand as C;
    match args.command {
        None => run::run(args.run, json).await,
        Some(C::Run(args)) => run::run(*args, json).await,
        Some(C::Status(folder)) => ask::status(&folder.pool()?, &Ask::Status, "", json),
        Some(C::Workers(folder)) => ask::workers(&folder.pool()?, json),
        Some(C::Queue(args)) => ask::queue(&args.folder.pool()?, args.limit, json),
        Some(C::Explain(command)) => {
            use control::Subject;
            let (subject, folder) = match command {
                ExplainCommand::Task { id, folder } => (Subject::Task(id), folder.pool()?),
                ExplainCommand::Worker { worker, folder } => {
                    let folder = folder.pool()?;
                    (Subject::Worker(members::worker(&folder, &worker)?), folder)
                }
                ExplainCommand::Job { id, folder } => (Subject::Job(id), folder.pool()?),
            };
            ask::explain(&folder, &Ask::Explain(subject), json)
        }
        Some(C::Trace(args)) => ask::trace(&args.folder.pool()?, args.id, json),
        Some(C::Ban(args)) => {
            let folder = args.folder.pool()?;
            let worker = members::worker(&folder, &args.worker)?;
            ask::explain(&folder, &Ask::Ban { worker, reason: args.reason }, json)
        }
        Some(C::Unban(args)) => {
            let folder = args.folder.pool()?;
            let worker = members::worker(&folder, &args.worker)?;
            ask::explain(&folder, &Ask::Unban { worker }, json)
        }
        Some(C::Drain(folder)) => {
            let done = "The pool takes no new deals, and ends when those it has are over.\n";
            ask::status(&folder.pool()?, &Ask::Drain, done, json)
        }
        Some(C::Resume(folder)) => ask::status(&folder.pool()?, &Ask::Resume, "", json),
        Some(C::Report(args)) => report::run(&args, json),
        Some(C::Settings(args)) => settings::run(&args, json),
        Some(C::Reload(args)) => settings::reload(&args, json),
        Some(command) => run_members(command, json).await,
    }
}

/// Carries out a command about the pool's members.
async fn run_members(command: PoolCommand, json: bool) -> anyhow::Result<Exit> {
    use PoolCommand as C;
    match command {
        C::Invite(args) => members::invite(args, json),
        C::Invitations(args) => members::invitations(&args, json),
        C::Users(folder) => members::users(&folder.pool()?, json),
        C::Groups(folder) => members::groups(&folder.pool()?, json),
        C::Chmod(args) => members::chmod(args, json).await,
        C::Chown(args) => members::chown(args, json).await,
        C::Chgrp(args) => members::chgrp(args, json).await,
        C::Group(command) => members::group(command, json),
        C::Quota(args) => members::quota(args, json),
        C::Remove(args) => members::remove(args, json),
        C::Members(folder) => members::members(&folder.pool()?, json),
        // All others are carried out by the caller.
        _ => Ok(Exit::Ok),
    }
}
