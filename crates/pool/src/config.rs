//! Say where a pool lives, what it charges and how it schedules.

use std::net::SocketAddr;
use std::path::PathBuf;

use alloy_primitives::Address;
use gristmill_credibility as credibility;
use gristmill_scheduler::Policy;
use gristmill_types::{Amount, Needs};
use gristmill_wallet::Wallet;
use tokio::sync::mpsc;

use crate::overflow::Overflow;
use crate::settings::Sources;

/// Tasks that one of the pool's own orders offers unless it is told: more than any ledger will ever settle.
pub const ORDER_VOLUME: u64 = 1_000_000_000;
/// Trust up to which a pool's order may be matched unless it is told.
pub const ORDER_TRUST: u64 = 1_000_000;
/// How often workers send a sign of life, in milliseconds.
pub const HEARTBEAT_MS: u32 = 1_000;

/// How far a pool believes its workers unless it is told: strangers, or machines of one house.
pub fn default_credibility(public: bool) -> Option<credibility::Policy> {
    Some(if public { credibility::Policy::default() } else { credibility::Policy::private() })
}

/// What the user is called, and the group, of whoever runs a private network.
pub const FOUNDER: &str = "admin";

/// Who runs a private pool and is a member of it, with the workers that it has of its own.
#[derive(Clone, Debug)]
pub struct Founder {
    /// What the user is called, and its group.
    pub name: String,
    /// The key with which it asks for work.
    pub requester: Address,
    /// Workers, and what they are called.
    pub workers: Vec<(Address, String)>,
}

/// How a pool works.
#[derive(Debug)]
pub struct PoolConfig {
    /// Its folder: journal, key, outbox. One process at a time.
    pub data_dir: PathBuf,
    /// Owns the workerpool on the ledger; signs authorisations.
    pub wallet: Wallet,
    /// JSON-RPC of the ledger, also told to workers.
    pub rpc_url: String,
    /// The hub.
    pub hub: Address,
    /// Where workers and clients dial; port 0 for a free one.
    pub listen: SocketAddr,
    /// Host that is written into the pool's address; `None`: the listening address.
    pub advertised_host: Option<String>,
    /// Base of the store, also told to workers.
    pub store_url: String,
    /// What the workerpool is called on the ledger.
    pub description: String,
    /// The name under which anybody may find the pool: its description on the ledger is then this and its address. A pool whose name
    /// or address changes is registered anew.
    pub public: Option<String>,
    /// What the pool keeps of a task's reward, in percent, up to 100; `None`: as it is on the ledger (1 for a new pool).
    pub fee_percent: Option<u64>,
    /// Price of a task by category; an order of each is kept on the ledger.
    pub prices: Vec<(u64, Amount)>,
    /// What its workers may offer besides a processor: orders with these flags are kept beside those without.
    pub offers: Needs,
    /// What the pool's account on the hub is filled up to from its tokens when the pool starts.
    pub stake_target: Amount,
    /// Where its metrics are served, by HTTP, at `/metrics`; port 0 for a free one. `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How it schedules.
    pub policy: Policy,
    /// How far it believes its workers, besides the hub's rule; `None`: as far as the hub does.
    pub credibility: Option<credibility::Policy>,
    /// Whether it takes work and workers of members only; `None`: as it was, and open at first.
    pub private: Option<bool>,
    /// Who is a member of a private pool from the start.
    pub founder: Option<Founder>,
    /// What goes before its prices, fee, offers, orders, stake, policy and credibility as they stand here.
    pub settings: Sources,
    /// Who has tasks run on a market when the pool's own machines cannot end them in time; `None`: nobody.
    pub overflow: Option<Overflow>,
    /// Told the address of each worker whose free stake is below what a task locks, and of whoever joins: a network may fund it.
    pub newcomers: Option<mpsc::Sender<Address>>,
}
