//! What runs a network, a worker, or the demonstration.

mod demo;
mod demo_report;
mod hub;
mod join;
mod overflow;
mod pool;
mod sim;
mod up;
mod worker;

use clap::Subcommand;
use gristmill_pool::PoolHandle;
use gristmill_sandbox::ChildCommand;
use gristmill_worker::runners::CONTAINER_CHILD;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// The hidden command that the sandbox starts itself with.
pub const SANDBOX_CHILD: &str = "sandbox-child";

/// What a machine's owner does.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    Demo(demo::DemoArgs),
    Up(Box<up::UpArgs>),
    Worker(Box<worker::WorkerArgs>),
    Join(join::JoinArgs),
    Pool(Box<pool::PoolArgs>),
    #[command(subcommand)]
    Hub(hub::HubCommand),
    Sim(sim::SimArgs),
    /// Run one task in a locked-down process; started by workers only
    #[command(hide = true, name = SANDBOX_CHILD)]
    SandboxChild,
    /// Run one container in namespaces of its own; started by workers only
    #[command(hide = true, name = CONTAINER_CHILD)]
    ContainerChild,
}

impl HostCommand {
    /// What is logged unless the environment says otherwise.
    pub fn log_default(&self) -> &'static str {
        match self {
            Self::Worker(args) if args.runs() => worker::LOG_DEFAULT,
            Self::Join(_) => worker::LOG_DEFAULT,
            Self::Pool(args) if args.runs() => pool::LOG_DEFAULT,
            _ => crate::logging::DEFAULT,
        }
    }
}

/// Runs a host command to its end.
pub fn run(command: HostCommand, json: bool) -> anyhow::Result<Exit> {
    let future: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Exit>>>> = match command {
        HostCommand::SandboxChild => {
            gristmill_sandbox::child_main();
            return Ok(Exit::Ok);
        }
        HostCommand::ContainerChild => {
            gristmill_container::child_main();
            return Ok(Exit::Ok);
        }
        HostCommand::Sim(args) => return sim::run(&args, json),
        HostCommand::Demo(args) => Box::pin(demo::run(args, json)),
        HostCommand::Up(args) => Box::pin(up::run(*args, json)),
        HostCommand::Worker(args) => Box::pin(worker::run(*args, json)),
        HostCommand::Join(args) => Box::pin(join::run(args, json)),
        HostCommand::Pool(args) => Box::pin(pool::run(*args, json)),
        HostCommand::Hub(command) => Box::pin(hub::run(command, json)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// This program again, as a sandbox child.
fn child() -> anyhow::Result<ChildCommand> {
    Ok(ChildCommand { program: std::env::current_exe()?, args: vec![SANDBOX_CHILD.into()] })
}

/// Ctrl-C and the terminate signal, caught from the moment this is made: make it before there is anything to tidy up.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes when the user or the system asks the program to stop, once a signal. Cancel safe.
    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for an orderly end, or for a second signal of somebody who will not wait: `None`.
    async fn or_now<T>(&mut self, ending: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            ended = ending => Some(ended),
            () = self.requested() => None,
        }
    }
}

/// The hangup signal: a pool that runs without a terminal reads its settings again at each.
struct Hangup {
    signal: Signal,
    /// It was started in a terminal.
    has_terminal: bool,
}

impl Hangup {
    /// Catches the signal from now on: it does not end the program any more.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, has_terminal: terminal_is_there() })
    }

    /// Has the pool read its settings again at each signal. Completes when the signal says that the terminal is closed in which the pool
    /// was started: then the program is to end, as others do. Cancel safe.
    async fn reloading(&mut self, pool: &PoolHandle) {
        while self.signal.recv().await.is_some() {
            if self.has_terminal && !terminal_is_there() {
                return;
            }
            // The pool's log says what came of it, which is where whoever sends signals looks.
            let _ = pool.reload().await;
        }
    }
}

/// Whether this process has a controlling terminal that is not hung up.
fn terminal_is_there() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
