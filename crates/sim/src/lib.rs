//! Run a whole market under one seed: hosts that come and go, saboteurs, crashes, lost messages.
//!
//! The pure cores are the real ones: the `scheduler` decides, `poco` is the ledger, `session` carries what workers and pool
//! say. What is simulated lies between them: machines, a network, blocks, and a clock that jumps from one event to the next.
//! So a day of ten thousand hosts takes seconds, and the same seed gives the same run to the last decision, which the
//! [`Report::digest`] shows.
//!
//! - [`Config`]: what is simulated. A TOML file, each key documented.
//! - [`run`], [`run_showing`]: the run. At its end I1 to I8 are held against the ledger.
//! - [`Report`]: figures, tables as CSV, plots as SVG.
//!
//! ```
//! use gristmill_sim::{Config, run};
//! let config = Config::parse(
//!     r#"
//!     duration_s = 3600
//!     hosts = { count = 8, always_on = 1 }
//!     [[jobs]]
//!     name = "render"
//!     bags = 1
//!     tasks = 20
//!     category = "XS"
//!     work_s = 60
//!     "#,
//! )?;
//! let report = run(&config)?;
//! assert_eq!(report.totals.completed, 20);
//! assert_eq!(report.digest, run(&config)?.digest);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agenda;
mod dice;
mod host;
mod ledger;
mod measure;
mod plot;
mod speeds;
mod trace;
mod world;

pub mod batch;
pub mod config;
pub mod report;

pub use config::{Config, ConfigError};
pub use dice::Law;
pub use ledger::Settlements;
pub use measure::{Messages, Sample};
pub use report::Report;
pub use world::{Progress, RunError};

/// Simulates a market until its time is over and every task has ended, and holds I1 to I8 against its ledger.
///
/// # Errors
/// [`RunError`]: the run cannot be believed. That is a fault of this program, not of the configuration, but for a market whose
/// prices are more than the hub can hold, or whose ledger has too little room for its transactions.
///
/// # Panics
/// When the scheduler or a session breaks what it promises: the seed is in the text.
pub fn run(config: &Config) -> Result<Report, RunError> {
    run_showing(config, &mut |_| {})
}

/// As [`run`], and says each simulated minute how far it is. What is shown makes no difference to the run.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub fn run_showing(config: &Config, show: &mut dyn FnMut(Progress)) -> Result<Report, RunError> {
    let mut world = world::World::new(config)?;
    world.run(show)?;
    world.rest();
    world.check()?;
    Ok(Report::of(world))
}
