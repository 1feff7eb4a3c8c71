//! `gristmill up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use gristmill_network::{Network, NetworkConfig};
use gristmill_requester::default_data_dir;
use gristmill_types::Address;

use super::{Stop, child};
use crate::exit::Exit;
use crate::output;

/// Most workers of one network's own.
const WORKERS_MAX: i64 = 256;

/// Run a local network: ledger, hub, store, pool and workers, on this machine
///
/// It makes keys and funds by itself, stays up until Ctrl-C, and goes on where it stopped when it is started again, however
/// it stopped. `gristmill run` in another terminal finds it by itself; `gristmill worker --pool URL` joins it from any
/// process or machine, and is given its stake.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Data folder [default: $XDG_DATA_HOME/gristmill, else ~/.local/share/gristmill]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Workers of its own; a confidence of 80 % needs three that agree
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=WORKERS_MAX))]
    workers: u16,
    /// Where the ledger's JSON-RPC listens; port 0: the last time's port, or any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    rpc: SocketAddr,
    /// Where the pool listens; port as above
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pool: SocketAddr,
    /// Where the store listens; port as above
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    store: SocketAddr,
    /// Give 10,000 GRIST in its account and 10,000 in its wallet to this address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    fund: Vec<Address>,
}

/// Runs until Ctrl-C, a terminate signal, or until a part of the network fails.
pub async fn run(args: UpArgs, json: bool) -> anyhow::Result<Exit> {
    let data_dir = match args.data_dir {
        Some(path) => path,
        None => default_data_dir()?,
    };
    let mut config = NetworkConfig::new(data_dir, usize::from(args.workers), child()?);
    (config.rpc, config.pool, config.store) = (args.rpc, args.pool, args.store);
    config.fund = args.fund;
    let mut stop = Stop::listen()?;
    let network = tokio::select! {
        started = Network::start(config) => started?,
        () = stop.requested() => return Ok(Exit::Interrupted),
    };
    announce(&network, usize::from(args.workers), json)?;
    let failure = tokio::select! {
        failure = network.failed() => Some(failure),
        () = stop.requested() => None,
    };
    if !json {
        output::note("stopping; Ctrl-C again: at once");
    }
    // Whoever cannot wait may go: the folder is one that survives worse.
    let Some(stopped) = stop.or_now(network.shutdown()).await else { return Ok(Exit::Interrupted) };
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    stopped?;
    Ok(Exit::Ok)
}

fn announce(network: &Network, workers: usize, json: bool) -> anyhow::Result<()> {
    let book = network.book();
    if json {
        let data_dir = network.data_dir().display().to_string();
        return output::json(&serde_json::json!({ "data_dir": data_dir, "addresses": book, "workers": workers }));
    }
    let text = output::fields([
        ("network", format!("{} (chain {})", network.data_dir().display(), book.chain_id)),
        ("ledger", book.rpc.clone()),
        ("hub", book.hub.to_string()),
        ("pool", book.pools.join(", ")),
        ("store", book.store.clone()),
        ("workers", workers.to_string()),
    ]);
    let data_dir = network.data_dir().display();
    let hint = format!(
        "\nTry, in another terminal:\n  gristmill run efast --input PRICES.csv.gz --tasks 12 --reduce efast --data-dir {data_dir}\n  \
         gristmill worker --pool {}\nCtrl-C stops it; the same command goes on where it stopped.\n",
        book.pools.first().map_or("", String::as_str),
    );
    output::text_out(&(text + &hint))
}
