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
use tokio::task::JoinSet;

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

/// Readings of the settings that may be under way at a time after hangup signals: each waits for the ledger.
const RELOADS_MAX: usize = 8;

/// The hangup signal: a pool reads its settings again at each, unless it says that the terminal is closed.
struct Hangup {
    signal: Signal,
    /// It was started in a terminal whose closing is to end it.
    ends_with_terminal: bool,
}

impl Hangup {
    /// Catches the signal from now on: it does not end the program any more.
    fn listen() -> anyhow::Result<Self> {
        // Read before the signal is caught: whoever ignored it for this program (`nohup`) wants it to outlive the terminal.
        let ignored = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status));
        Ok(Self { signal: signal(SignalKind::hangup())?, ends_with_terminal: !ignored && terminal_is_there() })
    }

    /// Has the pool read its settings again at each signal. Completes when the signal says that the terminal is closed in which the pool
    /// was started: then the program is to end, as others do.
    async fn reloading(&mut self, pool: &PoolHandle) {
        let (mut reloads, mut again) = (JoinSet::new(), false);
        loop {
            tokio::select! {
                signalled = self.signal.recv() => {
                    if signalled.is_none() || (self.ends_with_terminal && !terminal_is_there()) {
                        return;
                    }
                    again = true;
                }
                Some(_) = reloads.join_next() => {}
            }
            // Signals that come when too many wait are answered by one reading, as soon as there is room. The pool's log says what came
            // of each, which is where whoever sends signals looks.
            if again && reloads.len() < RELOADS_MAX {
                again = false;
                reloads.spawn(pool.reload());
            }
        }
    }
}

/// Whether this process has a controlling terminal that is not hung up.
fn terminal_is_there() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether a process ignores the hangup signal, the first of its mask, by its `/proc/PID/status`.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ignores_the_hangup_signal_is_known() {
        for (status, ignores) in [
            ("Name:\tpool\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n", true),
            ("Name:\tpool\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", false),
            ("SigIgn:\tmany\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), ignores, "{status}");
        }
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("\nSigIgn:"), "the kernel writes it so");
    }
}
