//! `gristmill pool run`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use gristmill_network::{LonePool, PoolPlan, StorePlan};
use gristmill_pool::settings::{Grist, Said};
use gristmill_requester::default_data_dir;
use gristmill_types::{Address, Amount};
use gristmill_wallet::Wallet;

use crate::exit::Exit;
use crate::host::overflow::{self, OverflowArgs};
use crate::host::{Hangup, Stop, child};
use crate::output;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// JSON-RPC of the ledger
    #[arg(long, value_name = "URL", requires = "hub")]
    ledger: Option<String>,
    /// The hub there
    #[arg(long, value_name = "ADDRESS", requires = "ledger")]
    hub: Option<Address>,
    /// Data folder [default: $XDG_DATA_HOME/gristmill-pool, else ~/.local/share/gristmill-pool]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Key file of the account that owns the pool, stakes, and is paid [default: `wallet.json` in the data folder, made on first use]
    #[arg(long, value_name = "FILE")]
    wallet: Option<PathBuf>,
    /// The store where apps, inputs and results lie, which workers and requesters can reach [default: one of its own]
    #[arg(long, value_name = "URL", conflicts_with = "store_listen")]
    store: Option<String>,
    /// Where a store of its own listens; port 0: the last time's port, or any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    store_listen: SocketAddr,
    /// Where workers and clients dial the pool; port as above
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The host name or address in the URLs of the pool and of its own store, if it is not the one that they listen on
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Make the pool public: say on the ledger, under this name, where it is
    ///
    /// With another name or address it is another pool on the ledger.
    #[arg(long, value_name = "NAME")]
    public: Option<String>,
    /// Take work and workers of members only: `gristmill pool invite` lets them in [default: as it was, and open at first]
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "public")]
    private: Option<bool>,
    /// What the pool keeps of each reward, in percent [default: as `pool.toml` says, else as it was; 1 for a new pool]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    fee: Option<u64>,
    /// Price of a task of a size class, such as XS=0.1 (in GRIST); may be repeated [default: as `pool.toml` says, else 0.1
    /// GRIST for XS, the others in proportion to their time]
    #[arg(long = "price", value_name = "CLASS=GRIST", value_parser = parse_price)]
    prices: Vec<(String, Amount)>,
    /// What the pool's account is filled up to from its tokens; it locks 30 % of its price for each task that is under way [default: as
    /// `pool.toml` says, else 1000]
    #[arg(long, value_name = "GRIST", value_parser = parse_grist)]
    stake: Option<Amount>,
    /// Offer tasks with a way out to the network: publish orders for them too
    #[arg(long)]
    offer_network: bool,
    /// Offer tasks with a GPU: publish orders for them too
    #[arg(long)]
    offer_gpu: bool,
    /// Serve metrics for Prometheus at http://ADDRESS/metrics: a port of this machine's loopback, or ADDRESS:PORT
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = parse_metrics)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    overflow: OverflowArgs,
}

/// `CLASS=GRIST`.
fn parse_price(text: &str) -> Result<(String, Amount), String> {
    let (name, amount) = text.split_once('=').ok_or("a price is written CLASS=GRIST, such as XS=0.1")?;
    Ok((name.trim().to_owned(), parse_grist(amount)?))
}

/// An amount that a pool can be told.
fn parse_grist(text: &str) -> Result<Amount, String> {
    text.parse::<Grist>().map(|grist| grist.0).map_err(|error| error.to_string())
}

/// A port of the loopback, or an address with its port.
pub fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    port.or_else(|_| text.parse()).map_err(|_| format!("{text:?} is neither a port nor ADDRESS:PORT"))
}

/// Where a pool keeps its files by default.
pub fn default_root() -> anyhow::Result<PathBuf> {
    Ok(default_data_dir()?.with_file_name("gristmill-pool"))
}

/// The folder of the pool itself, in its own data folder and in that of `gristmill up`.
pub fn service_dir(root: &Path) -> PathBuf {
    root.join(gristmill_network::POOL_FOLDER)
}

/// Runs until Ctrl-C, a terminate signal, until it is drained, or until it fails.
pub async fn run(args: RunArgs, json: bool) -> anyhow::Result<Exit> {
    let plan = args.plan()?;
    let (mut stop, mut hangup) = (Stop::listen()?, Hangup::listen()?);
    let pool = tokio::select! {
        started = LonePool::start(plan) => started?,
        () = stop.requested() => return Ok(Exit::Interrupted),
    };
    announce(&pool, json)?;
    let ended = tokio::select! {
        ended = pool.ended() => Some(ended),
        () = stop.requested() => None,
        () = hangup.reloading(pool.pool()) => None,
    };
    if !json {
        output::note(if pool.pool().is_drained() { "drained" } else { "stopping; Ctrl-C again: at once" });
    }
    let Some(stopped) = stop.or_now(pool.shutdown()).await else { return Ok(Exit::Interrupted) };
    if let Some(Err(failure)) = ended {
        return Err(failure.into());
    }
    stopped?;
    Ok(Exit::Ok)
}

impl RunArgs {
    fn plan(self) -> anyhow::Result<PoolPlan> {
        let (Some(rpc), Some(hub)) = (self.ledger, self.hub) else {
            anyhow::bail!(
                "say on which ledger the pool is to work: --ledger URL --hub ADDRESS (`gristmill up` prints both, and runs a pool of its own)"
            );
        };
        let root = match self.data_dir {
            Some(folder) => folder,
            None => default_root()?,
        };
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make the data folder {}", root.display()))?;
        let wallet = match &self.wallet {
            Some(file) => Wallet::load(file)?,
            None => Wallet::load_or_generate(root.join("wallet.json"))?,
        };
        let store = match self.store {
            Some(url) => StorePlan::At(url),
            None => StorePlan::Own(self.store_listen),
        };
        let mut said = Said::default();
        self.fee.into_iter().for_each(|percent| said.fee_percent(percent));
        self.stake.into_iter().for_each(|stake| said.stake(stake));
        self.prices.iter().for_each(|(class, price)| said.price(class, *price));
        said.offers(gristmill_types::Needs { gpu: self.offer_gpu, network: self.offer_network });
        Ok(PoolPlan {
            data_dir: root,
            rpc,
            hub,
            wallet,
            store,
            listen: self.listen,
            host: self.host,
            private: self.private,
            public: self.public,
            flags: said,
            metrics: self.metrics,
            overflow: self.overflow.plan(),
            child: child()?,
        })
    }
}

fn announce(pool: &LonePool, json: bool) -> anyhow::Result<()> {
    let (book, handle) = (pool.book(), pool.pool());
    let metrics = handle.metrics_addr().map(|address| format!("http://{address}/metrics"));
    if json {
        return output::json(&serde_json::json!({
            "data_dir": pool.data_dir().display().to_string(), "addresses": book, "workerpool": handle.workerpool(),
            "owner": pool.owner(), "metrics": metrics, "overflow": pool.overflow(),
        }));
    }
    let url = handle.url().to_string();
    let mut fields = vec![
        ("pool", url.clone()),
        ("workerpool", handle.workerpool().to_string()),
        ("owner", pool.owner().to_string()),
        ("ledger", format!("{} (chain {})", book.rpc, book.chain_id)),
        ("hub", book.hub.to_string()),
        ("store", book.store.clone()),
    ];
    fields.extend(metrics.map(|metrics| ("metrics", metrics)));
    fields.extend(pool.overflow().map(|status| ("overflow to", overflow::terms_text(&status))));
    let folder = pool.data_dir().display();
    let hint = format!(
        "\nLend it a machine:\n  gristmill worker --pool {url}\nLook after it:\n  gristmill pool status --data-dir {folder}\nCtrl-C stops it; the same command goes on where it stopped.\n"
    );
    output::text_out(&(output::fields(fields) + &hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_addresses_are_read_or_said_to_be_wrong() {
        assert_eq!(parse_price("XS=0.5").unwrap(), ("XS".to_owned(), Amount::from_ngrist(500_000_000)));
        assert_eq!(parse_price("M = 3 GRIST").unwrap().1, Amount::from_grist(3));
        for text in ["XS", "XS=", "XS=-1", "XS=1e3", "XS=1000000001"] {
            assert!(parse_price(text).is_err(), "{text}");
        }
        assert!(parse_grist("1000000001").unwrap_err().contains("at most") && parse_grist("0").is_ok());
        assert_eq!(parse_metrics("9100").unwrap(), SocketAddr::from(([127, 0, 0, 1], 9_100)));
        assert_eq!(parse_metrics("0.0.0.0:9100").unwrap(), SocketAddr::from(([0, 0, 0, 0], 9_100)));
        for text in ["", "x", "70000", "1.2.3.4"] {
            assert!(parse_metrics(text).unwrap_err().contains("ADDRESS:PORT"), "{text}");
        }
    }
}
