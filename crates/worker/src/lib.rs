//! Lend a machine: dial a pool, run its tasks in a sandbox, commit to results with the worker's own key.
//!
//! A lease only names a task; what is run is read from the ledger ([`plan`]). The app runs in the sandbox
//! ([`attempt`]), the result is listed, packed and sealed ([`produce`]), uploaded, and written to the journal
//! ([`journal`]) before the pool hears of it. With the pool's authorisation the worker contributes, and once the
//! ledger reports consensus on its hash it reveals ([`ledger_side`]). If the pool falls silent the worker finalises or
//! claims itself.
//!
//! The machine stays its owner's: a guard ([`guard`]) reads the machine ([`sensors`]) four times a second, holds it against the
//! owner's policy ([`settings`]) and freezes what runs when the machine is needed. [`control`] asks and tells a running worker,
//! [`status`] is what it answers, [`earnings`] what it has earned.
//!
//! A worker may also have its tasks run somewhere else ([`elsewhere`]): a private pool buys so on a market.
//!
//! [`pools`] compares the public pools of a ledger, for a worker that was told of none.
//!
//! [`start()`] begins all this, a [`service`] for each pool; [`WorkerConfig`] says for whom.

mod about;
pub mod attempt;
mod board;
pub mod conduct;
pub mod config;
pub mod control;
mod describe;
pub mod earnings;
pub mod elsewhere;
pub mod error;
pub mod fetch;
mod gate;
pub mod guard;
pub mod job;
pub mod journal;
pub mod ledger_side;
pub mod lend;
pub mod plan;
pub mod pools;
pub mod produce;
pub mod runners;
pub mod sensors;
pub mod service;
pub mod settings;
pub mod start;
pub mod status;
mod status_page;

pub use conduct::Conduct;
pub use config::WorkerConfig;
pub use elsewhere::{Elsewhere, NotBrought};
pub use error::WorkerError;
pub use guard::Senses;
pub use lend::Lends;
pub use sensors::{Machine, Roots};
pub use settings::Settings;
pub use start::{WorkerHandle, start};
pub use status::Status;
