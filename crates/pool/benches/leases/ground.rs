//! What the benchmarks of the service stand on: deals of a market, a pool's configuration, runtimes whose time is told apart.

use std::net::{Ipv4Addr, SocketAddr};

use gristmill_poco::{Matching, OrderUse};
use gristmill_pool::config::{PoolConfig, default_credibility};
use gristmill_pool::settings::Sources;
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, Needs};
use tokio::runtime::Runtime;

use crate::market::Market;

/// Tasks of a deal: what the market's orders of a pool offer.
pub const DEAL_TASKS: u64 = 1_000;
/// Of a task of the first deal.
const PRICE: Amount = Amount::from_ngrist(1_000);

fn category() -> u64 {
    GENESIS_CATEGORIES.iter().position(|(name, _)| *name == "XS").expect("the hub has it") as u64
}

/// A runtime whose threads bear a name, so that it is known whose time is taken.
pub fn runtime(name: &str) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name(name).worker_threads(2).enable_all().build().expect("a runtime")
}

/// Processor seconds so far, of all threads of this name.
pub fn processor_s(name: &str) -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let (head, tail) = stat.rsplit_once(')').unwrap_or_default();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        if head.ends_with(&format!("({name}")) { ticks(11) + ticks(12) } else { 0.0 }
    });
    // The kernel counts in hundredths of a second.
    ticks.sum::<f64>() / 100.0
}

/// A deal of the market's, on the chain, and what the model has to know of it. Each has a price of its own: an order of a pool is good
/// for one.
pub async fn order(market: &Market, number: u64, trust: u64, volume: u64) -> Matching {
    let (hub, price) = (&market.client, PRICE.ngrist() as u64 + number);
    let id = market.deal(category(), volume, trust, price, number).await;
    let deal = hub.view_deal(id).await.expect("the deal").expect("the deal is there");
    let work_clock_s = hub.view_category(deal.category).await.expect("the category").work_clock_s;
    let request = market.request(category(), volume, trust, number).order;
    let used = |hash, volume| OrderUse { hash, volume };
    Matching {
        app: used(hub.order_hash(&market.app_order(price / 10).order), u64::MAX),
        dataset: None,
        workerpool: used(hub.order_hash(&market.pool_order(category(), price, trust).order), volume),
        request: used(hub.order_hash(&request), volume),
        terms: deal.terms(work_clock_s),
    }
}

pub fn pool_config(folder: &std::path::Path, market: &Market, store_url: String) -> PoolConfig {
    PoolConfig {
        data_dir: folder.join("pool"),
        wallet: market.pool_owner.wallet.clone(),
        rpc_url: "http://127.0.0.1:1".to_owned(),
        hub: market.client.hub,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertised_host: None,
        store_url,
        description: "the pool".to_owned(),
        public: None,
        fee_percent: None,
        prices: vec![(category(), PRICE)],
        offers: Needs::default(),
        stake_target: Amount::ZERO,
        metrics: None,
        policy: gristmill_scheduler::Policy::default(),
        credibility: default_credibility(false),
        private: None,
        founder: None,
        overflow: None,
        settings: Sources::default(),
        newcomers: None,
    }
}
