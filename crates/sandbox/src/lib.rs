//! Run strangers' programs so that the host stays safe and replicas agree bit for bit.
//!
//! An app is a WASI preview1 command. A [`Runner`] runs it, once an item, in a child process that has given up all that
//! it does not need, the opening of files included; the guest sees a virtual world of our own making (clock, randomness,
//! files), so that the same app on the same inputs leaves the same bytes, burns the same fuel and has the same memory on
//! every host of one [`EngineProfile`]. How it ended is an [`Ending`](gristmill_result::Ending), a result like any other;
//! what only this host saw (its clock, its disk, its stack) is a [`HostFault`] and never a result.
//!
//! Key types: [`Execution`] in, [`Outcome`] out, [`Runner`] between, [`Control`] to stop or freeze it; [`RunOptions`] say
//! under which profile, and for which deal, so that its process may be used again; [`Runner::run_small`] hands small files over in
//! memory, which is what makes items of microseconds worth it; [`child_main`] is the child's whole life.
//!
//! Layers, outermost first: `runner`, `task`, `pool`, `process`, `shelf`, `code` (parent) | `channel`, `wire` | `child`,
//! `lockdown` (child) | `module`, `meter`, `engine`, `guest`, `witness` (wasmtime) | `preview1` (the calls a guest makes) |
//! `vfs` (its files).
//!
//! ```no_run
//! use gristmill_sandbox::{Control, ChildCommand, Execution, Outcome, Runner, RunnerConfig};
//! # fn task() -> Execution { unreachable!() }
//! let child = ChildCommand { program: std::env::current_exe()?, args: vec!["sandbox-child".into()] };
//! let runner = Runner::new(RunnerConfig { child, cache_dir: "cache".into() })?;
//! match runner.run(&task(), &Control::new())? {
//!     Outcome::Finished(finished) => println!("{:?} {}", finished.runs, finished.witness),
//!     Outcome::HostFault(fault) => println!("not here: {fault}"),
//!     Outcome::Cancelled => println!("stopped"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod child;
mod code;
mod control;
mod engine;
mod error;
mod execution;
mod guest;
mod lockdown;
#[doc(hidden)]
pub mod measure;
mod meter;
mod module;
mod pool;
mod preview1;
mod process;
mod profile;
mod runner;
mod shelf;
mod stop;
mod task;
mod vfs;
mod wire;
mod witness;

pub use child::child_main;
pub use control::{Control, Registration, Wish};
pub use engine::describe_trap;
pub use error::SandboxError;
pub use execution::{
    ChildCommand, Execution, Finished, HostFault, HostFaultKind, Input, ItemRun, Left, Outcome, RunOptions, RunReport,
    SmallFile,
};
pub use gristmill_types::Reach;
pub use module::MODULE_BYTES_MAX;
pub use pool::PoolConfig;
pub use profile::{CpuFeatures, EngineProfile, HOST_VERSION, ProfileError, WASMTIME_VERSION, engine_profile};
pub use runner::{Runner, RunnerConfig};

/// Where a guest finds its inputs.
pub const IEXEC_IN: &str = "/iexec_in";
/// Where a guest puts its outputs.
pub const IEXEC_OUT: &str = "/iexec_out";
/// Bytes of log that an execution keeps.
pub const LOG_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a file that is handed over in memory: a [`SmallFile`].
pub const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all small files that go into one run, and of all that come out of it.
pub const SMALL_FILES_BYTES_MAX: usize = 256 * 1024;
