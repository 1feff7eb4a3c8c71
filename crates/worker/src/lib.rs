//! Lend a machine: dial a pool, run its tasks in a sandbox, commit to results with the worker's own key.
//!
//! A lease only names a task; what is run is read from the ledger ([`plan`]). The app runs in the sandbox
//! ([`attempt`]), the result is listed, packed and sealed ([`produce`]), uploaded, and written to the journal
//! ([`journal`]) before the pool hears of it. With the pool's authorisation the worker contributes, and once the
//! ledger reports consensus on its hash it reveals ([`ledger_side`]). If the pool falls silent the worker finalises or
//! claims itself.
//!
//! [`start`] runs all this ([`service`]); [`WorkerConfig`] says for whom.

pub mod attempt;
pub mod conduct;
pub mod config;
pub mod error;
pub mod fetch;
pub mod job;
pub mod journal;
pub mod ledger_side;
pub mod plan;
pub mod produce;
pub mod runners;
pub mod service;

pub use conduct::Conduct;
pub use config::WorkerConfig;
pub use error::WorkerError;
pub use service::{WorkerHandle, start};
