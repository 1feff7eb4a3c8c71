//! Talk to the hub: read it, write to it exactly once, and follow what happens on it.
//!
//! - [`HubClient`] gives typed views and makes the [`CallData`] of each write; [`sign`] signs orders and authorisations.
//! - [`Outbox`] sends transactions so that each takes effect once, whatever crashes.
//! - [`Follower`] yields the hub's events in order, and resumes from a stored position.
//! - [`OrderBook`] lists the orders that were broadcast on the ledger and can still be used.
//! - [`activity`] says what each pool ordered, finished and paid to workers lately.
//! - [`audit`] replays the hub's whole history, for the checkers of `gristmill-poco`.
//! - [`deploy::deploy`] puts token, registries and hub on a ledger, and can be resumed.
//! - [`upgrade`] proposes and makes changes of the hub, which belongs to a timelock.
//! - [`RpcClient`] is JSON-RPC over HTTP; [`LedgerPort`] is what the others need of a ledger, so that tests run them on one
//!   in the same process.
//! - [`Revert`] says why a contract refused, and what to do about it.
//!
//! ```no_run
//! use gristmill_hub::{HubClient, Outbox, OutboxConfig};
//! use gristmill_types::{Address, Amount};
//! use gristmill_wallet::Wallet;
//!
//! # async fn pay(hub: Address, wallet: Wallet) -> Result<(), Box<dyn std::error::Error>> {
//! let hub = HubClient::connect("http://127.0.0.1:8545", hub).await?;
//! let outbox = Outbox::open("data/outboxes", wallet, hub.ledger().clone(), OutboxConfig::default()).await?;
//! // However often this is run, 5 GRIST are deposited once.
//! let outcome = outbox.execute(hub.deposit(Amount::from_grist(5)).intent("my first deposit")).await?;
//! println!("in block {}; now {} are free", outcome.block, hub.view_account(outbox.address()).await?.stake);
//! # Ok(())
//! # }
//! ```

pub mod abi;
pub mod activity;
pub mod audit;
mod calls;
mod client;
mod convert;
pub mod deploy;
mod error;
mod event;
mod follower;
pub mod gas;
pub mod ledger;
mod orderbook;
pub mod outbox;
pub mod revert;
pub mod rpc;
pub mod sign;
pub mod upgrade;
mod views;
mod workerpools;

pub use activity::{Activity, PoolActivity};
pub use calls::{CallData, Contracts, ContributeArgs, NewApp, NewDataset, OrderOperation};
pub use client::HubClient;
pub use error::HubError;
pub use event::Event;
pub use follower::{
    Batch, FollowError, Follower, FollowerConfig, GivenPosition, LedgerEvent, Position, PositionStore, TablePositions,
};
pub use gristmill_poco::HubEvent;
pub use ledger::{FOREIGN_CONFIRMATIONS, Finality, LedgerError, LedgerPort};
pub use orderbook::{OpenOrder, OrderBook};
pub use outbox::{Intent, Outbox, OutboxConfig, OutboxError, Outcome, TxResult};
pub use revert::Revert;
pub use rpc::RpcClient;
pub use views::{
    Account, AppInfo, Contribution, DatasetInfo, Deal, Resource, TAG_TDX, TAG_TEE, Task, TaskState, WorkerpoolInfo,
};
