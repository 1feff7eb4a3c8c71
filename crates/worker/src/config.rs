//! Say where a worker lives, whom it works for and what it lends.

use std::path::PathBuf;
use std::time::Duration;

use gristmill_protocol::tls::PoolUrl;
use gristmill_sandbox::ChildCommand;
use gristmill_wallet::Wallet;

use crate::conduct::Conduct;
use crate::runners::CONTAINER_CHILD;

/// Slots of a worker that is not told otherwise: one a core, so many at most.
pub const SLOTS_DEFAULT_MAX: u32 = 64;
/// Bytes of fetched apps and inputs that a worker keeps between tasks.
pub const CACHE_BYTES_MAX: u64 = 8 << 30;
/// Bytes of one fetched file.
pub const INPUT_BYTES_MAX: u64 = 4 << 30;

/// How a worker works.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its folder: journal, sealed results, fetched files, outbox. One process at a time.
    pub data_dir: PathBuf,
    /// Its ledger key.
    pub wallet: Wallet,
    /// The pool it dials.
    pub pool: PoolUrl,
    /// Tasks at a time; at least 1.
    pub slots: u32,
    /// Memory it lends to a task, in bytes. A task whose category grants more is declined.
    pub memory_bytes: u64,
    /// How its sandbox child is started: this program again.
    pub child: ChildCommand,
    /// How a container's helper is started: this program again.
    pub container_child: ChildCommand,
    /// Where compiled modules are kept; `None`: in its own folder. Workers of one machine may share it.
    pub modules_dir: Option<PathBuf>,
    /// How often it looks after what it has under way on the ledger.
    pub watch_interval: Duration,
    /// What it does with the tasks it is given: see [`Conduct`].
    pub conduct: Conduct,
}

impl WorkerConfig {
    /// A worker with the defaults: a slot for each core, 4 GiB of memory.
    pub fn new(data_dir: PathBuf, wallet: Wallet, pool: PoolUrl, child: ChildCommand) -> Self {
        let container_child = ChildCommand { program: child.program.clone(), args: vec![CONTAINER_CHILD.into()] };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Self {
            data_dir,
            wallet,
            pool,
            slots: cores.clamp(1, SLOTS_DEFAULT_MAX),
            memory_bytes: 4 << 30,
            child,
            container_child,
            modules_dir: None,
            watch_interval: Duration::from_millis(500),
            conduct: Conduct::Honest,
        }
    }
}
