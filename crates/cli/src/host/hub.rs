//! `gristmill hub`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_hub::deploy::DeployOptions;
use gristmill_network::{SUPPLY, deploy_on};
use gristmill_requester::default_data_dir;
use gristmill_types::Address;
use gristmill_wallet::Wallet;
use serde::Serialize;

use super::Stop;
use crate::exit::Exit;
use crate::output;

/// How long a change of the hub is announced before it can be made, in seconds, unless it is said: six days, more than 10 T of
/// the longest category.
const UPGRADE_DELAY_S: u64 = 6 * 24 * 3_600;

/// Put a hub on an EVM chain that somebody else runs
#[derive(Debug, Subcommand)]
pub enum HubCommand {
    /// Deploy the hub with all its contracts, or finish what was begun
    ///
    /// The account of the wallet pays for gas (about 26 million units), gets the whole supply of GRIST, and may propose changes of
    /// the hub. Then `gristmill up --ledger URL --hub ADDRESS --treasury FILE` runs a market there.
    Deploy(DeployArgs),
}

/// Where and whose.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// JSON-RPC of the chain
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// Key file of the account that deploys (`gristmill wallet new|import` makes one)
    #[arg(long, value_name = "FILE")]
    wallet: PathBuf,
    /// Folder that keeps the transactions, so that what was begun can be finished [default: deploy in the data folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How long a change of the hub is announced before it can be made, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = UPGRADE_DELAY_S, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    upgrade_delay: u64,
}

/// What is on the chain now.
#[derive(Debug, Serialize)]
struct Deployed {
    rpc: String,
    hub: Address,
    timelock: Address,
    token: Address,
    app_registry: Address,
    dataset_registry: Address,
    workerpool_registry: Address,
    /// The block the hub was made in.
    block: u64,
    /// Who has the GRIST, and may propose changes.
    owner: Address,
}

pub async fn run(command: HubCommand, json: bool) -> anyhow::Result<Exit> {
    let HubCommand::Deploy(args) = command;
    let mut stop = Stop::listen()?;
    let wallet = Wallet::load(&args.wallet)?;
    let folder = match args.data_dir {
        Some(folder) => folder,
        None => default_data_dir()?.join("deploy"),
    };
    let options = DeployOptions {
        simulated_enclave: false,
        upgrade_delay_s: args.upgrade_delay,
        ..DeployOptions::local(wallet.address(), SUPPLY)
    };
    if !json {
        output::note(&format!("deploying from {} on {}", wallet.address(), args.rpc));
    }
    let deployment = tokio::select! {
        deployed = deploy_on(&args.rpc, &wallet, &folder, &options) => deployed?,
        () = stop.requested() => {
            output::note("gristmill: interrupted; the same command finishes what was begun");
            return Ok(Exit::Interrupted);
        }
    };
    let deployed = Deployed {
        rpc: args.rpc,
        hub: deployment.hub,
        timelock: deployment.timelock,
        token: deployment.token,
        app_registry: deployment.app_registry,
        dataset_registry: deployment.dataset_registry,
        workerpool_registry: deployment.workerpool_registry,
        block: deployment.block,
        owner: wallet.address(),
    };
    let treasury = args.wallet.display().to_string();
    output::either(json, &deployed, |deployed| render(deployed, &treasury))?;
    Ok(Exit::Ok)
}

fn render(deployed: &Deployed, treasury: &str) -> String {
    let text = output::fields([
        ("hub", deployed.hub.to_string()),
        ("timelock", deployed.timelock.to_string()),
        ("token", deployed.token.to_string()),
        ("apps", deployed.app_registry.to_string()),
        ("datasets", deployed.dataset_registry.to_string()),
        ("workerpools", deployed.workerpool_registry.to_string()),
        ("block", deployed.block.to_string()),
        ("owner", deployed.owner.to_string()),
    ]);
    let (rpc, hub) = (&deployed.rpc, deployed.hub);
    format!("{text}next: gristmill up --ledger {rpc} --hub {hub} --treasury {treasury} --data-dir DIR\n")
}
