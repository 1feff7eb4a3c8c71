//! `gristmill account`.

use clap::{Args, Subcommand};
use gristmill_requester::{AccountView, load_wallet};
use gristmill_types::{Address, Amount};

use super::{KeyArgs, Session};
use crate::exit::Exit;
use crate::output;

/// Look at money and move it
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Show what an account has
    Show(ShowArgs),
    /// Move tokens of the wallet into its account, to pay jobs with
    Deposit(AmountArgs),
    /// Pay free deposit out as tokens
    Withdraw(AmountArgs),
}

/// Whose.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Whose account [default: that of the wallet]
    address: Option<Address>,
    #[command(flatten)]
    key: KeyArgs,
}

/// How much.
#[derive(Debug, Args)]
pub struct AmountArgs {
    /// How much, in GRIST, such as 2.5
    amount: Amount,
    #[command(flatten)]
    key: KeyArgs,
}

pub async fn run(command: AccountCommand, session: &Session) -> anyhow::Result<Exit> {
    let view = match command {
        AccountCommand::Show(args) => {
            let network = args.key.place.network().await?;
            let address = match args.address {
                Some(address) => address,
                None => load_wallet(&network.wallet_file(args.key.wallet.as_deref())?)?.address(),
            };
            network.account(address).await?
        }
        AccountCommand::Deposit(args) => args.key.requester(session).await?.deposit(args.amount).await?,
        AccountCommand::Withdraw(args) => args.key.requester(session).await?.withdraw(args.amount).await?,
    };
    output::either(session.json, &view, render)?;
    Ok(Exit::Ok)
}

fn render(view: &AccountView) -> String {
    output::fields([
        ("account", view.address.to_string()),
        ("deposited", view.stake.to_string()),
        ("held", format!("{} for work under way", view.locked)),
        ("in the wallet", view.tokens.to_string()),
        ("score", format!("{} (reputation as a worker)", view.score)),
    ])
}
