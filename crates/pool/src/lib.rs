//! Federate workers: follow the hub, lease tasks, authorise contributions, check the revealed bytes, finalise.
//!
//! What is decided is decided by the core in `scheduler`; this crate tells it what happened and does what it says.
//!
//! - [`start`] runs a pool; [`PoolConfig`] says where and for how much.
//! - A task is *leased* in `engine/effects.rs` (`Engine::lease`); a contribution is *verified* in [`open`]: the sealed
//!   upload is opened with the revealed digest and its bytes are checked before anything is finalised.
//! - [`reduce`] matches a reduce once all tasks of its map are completed.
//! - Its orders and its stake on the ledger are looked after by `keeper`; what they are to be stands in [`settings`] (`pool.toml`), which
//!   are read again while it runs.
//! - Its operator asks and tells it through [`control`], and is shown a [`Status`], a [`report`], and the [`trace`] of a task.
//! - How long items of apps run is measured in [`run_time`], and told to whoever packs them.
//! - Who may have work done, by whom, and how much: [`members`].
//! - What its own machines cannot finish may be bought on a market by a worker of its own process: [`overflow`].
//! - [`journal`] is what survives a restart besides the ledger.

mod belief;
mod book;
mod claim;
pub mod config;
pub mod control;
pub mod demand;
mod engine;
pub mod error;
mod joining;
pub mod journal;
mod keeper;
pub mod members;
mod metrics;
pub mod open;
pub mod overflow;
mod public;
pub mod reduce;
pub mod report;
pub mod run_time;
pub mod service;
pub mod settings;
mod setup;
pub mod status;
mod tasks;
pub mod trace;

pub use config::PoolConfig;
pub use error::PoolError;
pub use keeper::stake_on;
pub use overflow::{Overflow, OverflowBoard, OverflowStatus};
pub use service::{PoolHandle, start, start_on};
pub use status::Status;
