//! Federate workers: follow the hub, lease tasks, authorise contributions, check the revealed bytes, finalise.
//!
//! What is decided is decided by the core in `scheduler`; this crate tells it what happened and does what it says.
//!
//! - [`start`] runs a pool; [`PoolConfig`] says where and for how much.
//! - A task is *leased* in `engine/effects.rs` (`Engine::lease`); a contribution is *verified* in [`open`]: the sealed
//!   upload is opened with the revealed digest and its bytes are checked before anything is finalised.
//! - [`reduce`] matches a reduce once all tasks of its map are completed.
//! - [`journal`] is what survives a restart besides the ledger.

mod book;
pub mod config;
mod engine;
pub mod error;
pub mod journal;
pub mod open;
mod public;
pub mod reduce;
pub mod service;
mod setup;

pub use config::PoolConfig;
pub use error::PoolError;
pub use service::{PoolHandle, start};
