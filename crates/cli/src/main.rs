//! The command line of Gristmill: an open market for computing.
//!
//! One file a topic. [`host`] holds what runs a network, a worker or the demonstration, [`client`] what a requester types; each command parses, asks the `requester` crate, and prints.
//! [`cli`] is the list of all commands, [`exit`] what they end with.

mod cli;
mod client;
mod exit;
mod host;
mod logging;
mod output;
#[cfg(test)]
mod reference;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    // These two are started for every task, and want a process in which nothing has happened yet.
    match std::env::args_os().nth(1) {
        Some(word) if word == host::SANDBOX_CHILD => return gristmill_sandbox::child_main(),
        Some(word) if word == gristmill_worker::runners::CONTAINER_CHILD => return gristmill_container::child_main(),
        _ => {}
    }
    let cli = Cli::parse();
    let log_default = match &cli.command {
        Command::Host(command) => command.log_default(),
        Command::Client(_) => logging::DEFAULT,
    };
    let json = cli.json;
    let result = logging::init(log_default).and_then(|()| match cli.command {
        Command::Host(command) => host::run(command, json),
        Command::Client(command) => client::run(command, json),
    });
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::error(error.as_ref(), json);
            Exit::Error.into()
        }
    }
}
