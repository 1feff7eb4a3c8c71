//! What a requester types.

mod account;
mod job;
mod new;
pub(crate) mod progress;
pub(crate) mod run;
mod show;
mod store;
mod verify;
mod wallet;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use gristmill_requester::{Network, Notice, Place, Requester, default_data_dir};
use gristmill_types::OrderHash;

use crate::exit::Exit;
use crate::output;

/// What a requester does.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    Run(Box<run::RunArgs>),
    #[command(subcommand)]
    Job(job::JobCommand),
    #[command(subcommand)]
    Task(show::TaskCommand),
    #[command(subcommand)]
    Deal(show::DealCommand),
    #[command(subcommand)]
    Account(account::AccountCommand),
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    Verify(verify::VerifyArgs),
    #[command(subcommand)]
    Store(store::StoreCommand),
    #[command(subcommand)]
    New(new::NewCommand),
}

/// Which network.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Data folder of the network, as `gristmill up` has it; only its address file is read [default:
    /// $XDG_DATA_HOME/gristmill, else ~/.local/share/gristmill]
    #[arg(long, value_name = "DIR", conflicts_with = "rpc")]
    data_dir: Option<PathBuf>,
    /// JSON-RPC of a network's ledger, which says where the rest is
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
}

impl PlaceArgs {
    /// Where the network is looked for.
    fn place(&self) -> anyhow::Result<Place> {
        Ok(match (&self.rpc, &self.data_dir) {
            (Some(url), _) => Place::Rpc(url.clone()),
            (None, Some(path)) => Place::DataDir(path.clone()),
            (None, None) => Place::DataDir(default_data_dir()?),
        })
    }

    /// The same as options, for commands that are suggested.
    fn flags(&self) -> String {
        match (&self.rpc, &self.data_dir) {
            (Some(url), _) => format!(" --rpc {url}"),
            (None, Some(path)) => format!(" --data-dir {}", path.display()),
            (None, None) => String::new(),
        }
    }

    /// Finds the network.
    pub async fn network(&self) -> anyhow::Result<Network> {
        Ok(Network::find(&self.place()?).await?)
    }
}

/// Which network, and whose key.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Wallet to act with [default: the one that the network of the data folder made for its user, else
    /// $XDG_CONFIG_HOME/gristmill/wallet.json]
    #[arg(long, value_name = "FILE")]
    wallet: Option<PathBuf>,
}

impl KeyArgs {
    /// The network and the key.
    pub async fn requester(&self, session: &Session) -> anyhow::Result<Requester> {
        session.remember(self.place.flags());
        let network = self.place.network().await?;
        let file = network.wallet_file(self.wallet.as_deref())?;
        let session = session.clone();
        Ok(Requester::new(network, &file)?.with_reporter(move |notice| session.tell(notice)))
    }
}

/// What the commands share while they run: whether JSON is wanted, and what Ctrl-C has to say.
#[derive(Clone, Debug)]
pub struct Session {
    pub json: bool,
    phase: Arc<Mutex<Phase>>,
    /// The options that name the network, to be added to commands that are suggested.
    flags: Arc<Mutex<String>>,
}

/// How far a job got on its way to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Nothing,
    Ordering(OrderHash),
    Ordered(OrderHash),
}

impl Session {
    fn new(json: bool) -> Self {
        Self { json, phase: Arc::new(Mutex::new(Phase::Nothing)), flags: Arc::default() }
    }

    fn remember(&self, flags: String) {
        *self.flags.lock().unwrap_or_else(PoisonError::into_inner) = flags;
    }

    /// A command about `job` for the user to type, such as `gristmill job wait ..`.
    pub fn suggest(&self, verb: &str, job: OrderHash) -> String {
        let flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        format!("`gristmill job {verb} {job}{flags}`")
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Shows what the requester does.
    fn tell(&self, notice: Notice) {
        match notice {
            Notice::Ordering(job) => self.set(Phase::Ordering(job)),
            Notice::Ordered(job) => {
                self.set(Phase::Ordered(job));
                output::note(&format!("job {job}"));
            }
            Notice::WaitingForWallet(path) => {
                output::note(&format!("waiting: another process sends with the wallet {}", path.display()));
            }
            Notice::Registering { name, address } => output::note(&format!("registering app {name} at {address}")),
            Notice::Depositing(amount) => output::note(&format!("depositing {amount}")),
            Notice::Uploading { what, bytes } => tracing::info!("uploading {what} ({bytes} bytes)"),
            Notice::Matched { matched, volume } => tracing::info!("{matched} of {volume} tasks have a pool"),
            Notice::Warning(text) => output::note(&format!("note: {text}")),
            _ => {}
        }
    }

    /// What Ctrl-C leaves behind, and what can be done.
    fn interrupted(&self) -> String {
        match self.phase() {
            Phase::Nothing => "interrupted; nothing was ordered".to_owned(),
            Phase::Ordering(job) => format!(
                "interrupted while job {job} was being ordered: {} says whether it was; then {} goes on with it and {} takes \
                 it back",
                self.suggest("show", job),
                self.suggest("wait", job),
                self.suggest("cancel", job)
            ),
            Phase::Ordered(job) => format!(
                "interrupted; job {job} goes on without this terminal: follow it with {}, fetch its results with {}, or stop \
                 what has not begun with {}",
                self.suggest("wait", job),
                self.suggest("fetch", job),
                self.suggest("cancel", job)
            ),
        }
    }
}

/// What is shown of a deal that asks for an enclave: nobody is to take it for a real one.
fn enclave_text(enclave: &str) -> String {
    format!("{enclave}: a plain key signed for it, which proves nothing")
}

/// Runs a client command to its end or to Ctrl-C.
pub fn run(command: ClientCommand, json: bool) -> anyhow::Result<Exit> {
    let session = Session::new(json);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(until_interrupted(&session, dispatch(command, &session)));
    // A blocking read of a slow disk must not keep the terminal.
    runtime.shutdown_background();
    result
}

async fn until_interrupted(
    session: &Session,
    command: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    tokio::select! {
        result = command => {
            if let (Err(_), Phase::Ordering(job) | Phase::Ordered(job)) = (&result, session.phase()) {
                let (show, wait) = (session.suggest("show", job), session.suggest("wait", job));
                output::note(&format!("job {job} is not lost by what follows: {show} says where it stands, {wait} goes on"));
            }
            result
        }
        signal = tokio::signal::ctrl_c() => {
            signal?;
            let text = session.interrupted();
            output::note(&format!("\ngristmill: {text}"));
            if session.json {
                let job = match session.phase() {
                    Phase::Nothing => None,
                    Phase::Ordering(job) | Phase::Ordered(job) => Some(job),
                };
                output::json(&serde_json::json!({ "error": text, "job": job }))?;
            }
            Ok(Exit::Interrupted)
        }
    }
}

async fn dispatch(command: ClientCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        ClientCommand::Run(args) => run::run(*args, session).await,
        ClientCommand::Job(command) => job::run(command, session).await,
        ClientCommand::Task(command) => show::task(command, session).await,
        ClientCommand::Deal(command) => show::deal(command, session).await,
        ClientCommand::Account(command) => account::run(command, session).await,
        ClientCommand::Wallet(command) => wallet::run(command, session).await,
        ClientCommand::Verify(args) => verify::run(args, session).await,
        ClientCommand::Store(command) => store::run(command, session).await,
        ClientCommand::New(command) => new::run(&command, session.json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_says_what_goes_on_and_how_to_follow_or_stop_it() {
        let session = Session::new(false);
        assert!(session.interrupted().contains("nothing was ordered"));
        let job = OrderHash::default();
        session.tell(Notice::Ordering(job));
        assert!(session.interrupted().contains("job show"));
        session.tell(Notice::Ordered(job));
        let text = session.interrupted();
        for command in ["job wait", "job fetch", "job cancel"] {
            assert!(text.contains(&format!("gristmill {command} {job}")), "{text}");
        }
    }
}
