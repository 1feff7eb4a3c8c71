//! `gristmill up`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use alloy_primitives::U256;
use anyhow::Context;
use clap::Args;
use gristmill_network::{ForeignLedger, LedgerChoice, Network, NetworkConfig};
use gristmill_protocol::tls::PoolUrl;
use gristmill_requester::default_data_dir;
use gristmill_types::{Address, AddressBook};
use gristmill_worker::Lends;

use super::overflow::{self, OverflowArgs};
use super::{Hangup, Stop, child};
use crate::exit::Exit;
use crate::output;

/// Most workers of one network's own.
const WORKERS_MAX: i64 = 256;

/// A thousandth of a coin.
const MILLICOIN_WEI: u64 = 1_000_000_000_000_000;

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
    /// Where the market listens, which iExec's clients talk to: order book and result gateway; port as above
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    market: SocketAddr,
    /// For a lab: take work and workers of members only, and ask nothing for them, so that nobody needs funds [default: as it was, and
    /// open at first]
    ///
    /// `gristmill pool invite` prints a line that lets a machine in. docs/lab.md says more.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "public")]
    private: Option<bool>,
    /// Name or address of this machine: ledger, pool, store and market listen on all its addresses and are dialled at this one
    ///
    /// Without it they listen on 127.0.0.1, where no other machine can dial them.
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    host: Option<String>,
    /// Make the pool public: say on the ledger, under this name, where it is. `gristmill worker --ledger URL --hub ADDRESS` finds it
    ///
    /// Let it listen on an address that others can dial (`--pool`, `--store`). With another name or address it is another pool on the
    /// ledger.
    #[arg(long, value_name = "NAME")]
    public: Option<String>,
    /// What the pool keeps of each reward, in percent [default: as `pool.toml` says, else as it was; 1 for a new pool]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    fee: Option<u64>,
    /// Serve the pool's metrics for Prometheus at http://ADDRESS/metrics: a port of this machine's loopback, or ADDRESS:PORT
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = super::pool::parse_metrics)]
    metrics: Option<SocketAddr>,
    /// For development: let deals ask for an enclave, which is only simulated and proves nothing. Decided when a network is
    /// born
    #[arg(long)]
    simulated_enclave: bool,
    /// Let images that pay for it reach the public network: the workers lend it, and the pool offers it
    #[arg(long)]
    lend_network: bool,
    /// Lend a GPU, by its name in the Container Device Interface (such as nvidia.com/gpu=0), to tasks that pay for one; may be
    /// repeated
    #[arg(long = "lend-gpu", value_name = "DEVICE")]
    lend_gpus: Vec<String>,
    /// Write the `chain.json` with which iExec's command line finds this network
    #[arg(long, value_name = "FILE")]
    iexec_chain_json: Option<PathBuf>,
    /// Work on an EVM chain that somebody else runs, at this JSON-RPC, instead of on a ledger of its own
    #[arg(long, value_name = "URL", requires_all = ["hub", "treasury"], conflicts_with_all = ["rpc", "simulated_enclave"])]
    ledger: Option<String>,
    /// The hub there (`gristmill hub deploy`)
    #[arg(long, value_name = "ADDRESS", requires = "ledger")]
    hub: Option<Address>,
    /// Key file of an account with GRIST and coins there, which pays in the network's own accounts and those of newcomers
    #[arg(long, value_name = "FILE", requires = "ledger")]
    treasury: Option<PathBuf>,
    /// Coins that each of these gets for gas, once, in thousandths of a coin
    #[arg(long, value_name = "N", requires = "ledger", default_value_t = 50)]
    gas_money: u32,
    #[command(flatten)]
    overflow: OverflowArgs,
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
    let listen = |address| open_to(address, args.host.as_deref());
    (config.rpc, config.pool) = (listen(args.rpc), listen(args.pool));
    (config.store, config.market) = (listen(args.store), listen(args.market));
    (config.private, config.host) = (args.private, args.host.clone());
    config.simulated_enclave = args.simulated_enclave;
    config.fund = args.fund;
    config.lends = Lends { network: args.lend_network, gpus: args.lend_gpus, ..Lends::default() };
    if let Some(objection) = config.lends.objection() {
        anyhow::bail!(objection);
    }
    (config.public, config.metrics) = (args.public, args.metrics);
    args.fee.into_iter().for_each(|percent| config.pool_flags.fee_percent(percent));
    config.pool_flags.offers(config.lends.needs());
    config.overflow = args.overflow.plan();
    if let (Some(rpc), Some(hub), Some(treasury)) = (args.ledger, args.hub, args.treasury) {
        let coins = U256::from(args.gas_money) * U256::from(MILLICOIN_WEI);
        config.ledger = LedgerChoice::Foreign(ForeignLedger { rpc, hub, treasury, coins });
    }
    let (mut stop, mut hangup) = (Stop::listen()?, Hangup::listen()?);
    let network = tokio::select! {
        started = Network::start(config) => started?,
        () = stop.requested() => return Ok(Exit::Interrupted),
    };
    if let Some(path) = &args.iexec_chain_json {
        write_chain_json(path, network.book())?;
    }
    announce(&network, usize::from(args.workers), json)?;
    let failure = tokio::select! {
        failure = network.failed() => Some(failure),
        () = network.drained() => None,
        () = stop.requested() => None,
        () = hangup.reloading(network.pool()) => None,
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

/// The name or the address of a machine, as a URL may have it; an IPv6 address without brackets.
fn parse_host(text: &str) -> Result<String, String> {
    let host = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let url = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let pool = format!("grist://{url}:1/{:064x}", 0).parse::<PoolUrl>();
    pool.map(|pool| pool.host)
        .map_err(|error| format!("{} (a name or an address of this machine, without a port)", error.reason))
}

/// With a host that others dial, what would listen for this machine alone listens for all.
fn open_to(address: SocketAddr, host: Option<&str>) -> SocketAddr {
    match host {
        Some(host) if address.ip().is_loopback() => {
            let is_v6 = host.parse::<Ipv6Addr>().is_ok();
            let all: IpAddr = if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            SocketAddr::new(all, address.port())
        }
        _ => address,
    }
}

fn announce(network: &Network, workers: usize, json: bool) -> anyhow::Result<()> {
    let book = network.book();
    if json {
        let data_dir = network.data_dir().display().to_string();
        let enclave = network.simulates_enclaves().then_some("simulated");
        return output::json(&serde_json::json!({
            "data_dir": data_dir, "addresses": book, "workerpool": network.pool().workerpool(), "workers": workers,
            "enclave": enclave, "private": network.is_private(), "overflow": network.overflow(),
        }));
    }
    let mut fields = vec![
        ("network", format!("{} (chain {})", network.data_dir().display(), book.chain_id)),
        ("ledger", book.rpc.clone()),
        ("hub", book.hub.to_string()),
        ("pool", book.pools.join(", ")),
        ("store", book.store.clone()),
        ("market", book.market.clone().unwrap_or_default()),
        ("workerpool", network.pool().workerpool().to_string()),
        ("workers", workers.to_string()),
    ];
    if network.simulates_enclaves() {
        fields.push(("enclave", "simulated: for development, it proves nothing".to_owned()));
    }
    if network.is_private() {
        fields.push((
            "private",
            "only members have work done here, and only their machines do it; nothing costs anything".to_owned(),
        ));
    }
    fields.extend(network.overflow().map(|status| ("overflow to", overflow::terms_text(&status))));
    let text = output::fields(fields);
    let data_dir = network.data_dir().display();
    let join = match network.is_private() {
        true => format!("gristmill pool invite --group GROUP --data-dir {data_dir}"),
        false => format!("gristmill worker --pool {}", book.pools.first().map_or("", String::as_str)),
    };
    let hint = format!(
        "\nTry, in another terminal:\n  gristmill run efast --input PRICES.csv.gz --tasks 12 --reduce efast --data-dir {data_dir}\n  \
         {join}\nCtrl-C stops it; the same command goes on where it stopped.\n",
    );
    output::text_out(&(text + &hint))
}

/// The name of the network in its `chain.json`.
const CHAIN_NAME: &str = "gristmill";

/// What iExec's command line 9 and 8 both take. Each of its services is the market, which answers for all three; the last two
/// must be there and are not used by any command of ours.
fn chain_json(book: &AddressBook) -> serde_json::Value {
    let market = book.market.clone().unwrap_or_default();
    serde_json::json!({
        "default": CHAIN_NAME,
        "chains": {
            CHAIN_NAME: {
                "id": book.chain_id.to_string(),
                "host": book.rpc,
                "hub": book.hub,
                "sms": market,
                "ipfsGateway": market,
                "iexecGateway": market,
                "compass": market,
                "pocoSubgraph": market,
            },
        },
    })
}

fn write_chain_json(path: &Path, book: &AddressBook) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&chain_json(book))? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_opens_what_listens_for_this_machine_alone() {
        let open = |address: &str, host| open_to(address.parse().unwrap(), host).to_string();
        assert_eq!(open("127.0.0.1:5", None), "127.0.0.1:5");
        assert_eq!(open("127.0.0.1:5", Some("lab.example")), "0.0.0.0:5");
        assert_eq!(open("127.0.0.1:0", Some("2001:db8::1")), "[::]:0");
        assert_eq!(open("10.0.0.1:5", Some("lab.example")), "10.0.0.1:5", "as it was told");
        assert_eq!(parse_host("[2001:db8::1]").unwrap(), "2001:db8::1");
        assert_eq!(parse_host("lab.example").unwrap(), "lab.example");
        for bad in ["", "lab:80", "http://lab", "a b"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn iexecs_command_line_finds_the_network_by_its_file() {
        let market = "http://127.0.0.1:4".to_owned();
        let book = AddressBook {
            rpc: "http://127.0.0.1:1".to_owned(),
            chain_id: 26_482,
            hub: Address::repeat_byte(0xab),
            pools: vec![],
            store: "http://127.0.0.1:3".to_owned(),
            market: Some(market.clone()),
            wallet: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.json");
        write_chain_json(&path, &book).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let chain = &written["chains"][written["default"].as_str().unwrap()];
        // Both versions refuse keys that they do not know, and an id that is a number.
        let keys: Vec<&str> = chain.as_object().unwrap().keys().map(String::as_str).collect();
        let known = ["id", "host", "hub", "sms", "ipfsGateway", "iexecGateway", "compass", "pocoSubgraph"];
        assert_eq!(keys, known);
        assert_eq!((chain["id"].as_str(), chain["iexecGateway"].as_str()), (Some("26482"), Some(market.as_str())));
        assert!(write_chain_json(&folder.path().join("no/chain.json"), &book).is_err());
    }
}
