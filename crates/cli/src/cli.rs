//! All commands.

use clap::{Parser, Subcommand};

use crate::{client, host};

/// An open market for computing: have work done by machines you need not trust, and check what you get.
#[derive(Debug, Parser)]
#[command(name = "gristmill", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = crate::exit::HELP)]
pub struct Cli {
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What a machine's owner does.
    #[command(flatten)]
    Host(host::HostCommand),
    /// What a requester does.
    #[command(flatten)]
    Client(client::ClientCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
