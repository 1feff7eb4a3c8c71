//! Say where a worker lives, whom it works for and what it lends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gristmill_container::Runtime;
use gristmill_machine::Told;
use gristmill_owner::Policy;
use gristmill_protocol::tls::PoolUrl;
use gristmill_sandbox::ChildCommand;
use gristmill_store::Bandwidth;
use gristmill_wallet::Wallet;

use crate::conduct::Conduct;
use crate::earnings::LedgerPlace;
use crate::elsewhere::Elsewhere;
use crate::guard::Senses;
use crate::lend::Lends;
use crate::runners::{CONTAINER_CHILD, Registries};

/// Slots of a worker that is not told otherwise: one a core, so many at most.
pub const SLOTS_DEFAULT_MAX: u32 = 64;
/// Slots of a worker, whatever it is told.
pub const SLOTS_MAX: u32 = 1_024;
/// Pools of a worker.
pub const POOLS_MAX: usize = 16;
/// Memory that a worker lends to a task unless told otherwise, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 4 << 30;
/// Bytes of fetched files and waiting results of a worker that is not told otherwise.
pub const CACHE_BYTES_MAX: u64 = 8 << 30;
/// Bytes of one fetched file.
pub const INPUT_BYTES_MAX: u64 = 4 << 30;

/// Slots of a worker that is not told otherwise.
pub fn slots_default() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    cores.clamp(1, SLOTS_DEFAULT_MAX)
}

/// How a worker works.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its folder: journal, sealed results, fetched files, outbox. One process at a time.
    pub data_dir: PathBuf,
    /// Its ledger key.
    pub wallet: Wallet,
    /// The pools it dials, 1 to [`POOLS_MAX`], all of one ledger.
    pub pools: Vec<PoolUrl>,
    /// The ledger that the pool was found on, if the worker looked for one by itself: then the ledger is asked there, and not where the
    /// pool, a stranger, says it is.
    pub found_on: Option<LedgerPlace>,
    /// Tasks at a time, of all pools together; at least 1.
    pub slots: u32,
    /// Memory it lends to a task, in bytes. A task whose category grants more is declined.
    pub memory_bytes: u64,
    /// Disk it lends, in bytes, each pool the same part: fetched files and results that wait. The oldest files go when no task runs; while the results alone
    /// take more, leases are declined.
    pub disk_bytes: u64,
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
    /// Where its tasks are run, if not on this machine.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    /// What the machine's owner allows.
    pub policy: Policy,
    /// What the policy is held against. `None`: nobody looks, and the policy's times and sensors do not count; which tasks are
    /// wanted, and the owner's word, still do.
    pub senses: Option<Box<dyn Senses>>,
    /// How quick its transfers from and to the pools' stores may be, all together.
    pub bandwidth: Bandwidth,
    /// What the owner says of the machine.
    pub told: Told,
    /// Whether it measures how quick the machine is: a second of a core at times when it has no tasks.
    pub benchmark: bool,
    /// Which registries container images may come from.
    pub registries: Registries,
    /// What it lends besides processors.
    pub lends: Lends,
    /// What makes its containers.
    pub runtime: Runtime,
    /// Whether it can be asked and told through a socket in its folder: see [`crate::control`].
    pub control_socket: bool,
    /// Port of its status page on 127.0.0.1, if it has one.
    pub status_page: Option<u16>,
}

impl WorkerConfig {
    /// A worker with the defaults: a slot for each core, 4 GiB of memory, no owner's policy.
    pub fn new(data_dir: PathBuf, wallet: Wallet, pools: Vec<PoolUrl>, child: ChildCommand) -> Self {
        let container_child = ChildCommand { program: child.program.clone(), args: vec![CONTAINER_CHILD.into()] };
        Self {
            data_dir,
            wallet,
            pools,
            found_on: None,
            slots: slots_default(),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            disk_bytes: CACHE_BYTES_MAX,
            child,
            container_child,
            modules_dir: None,
            watch_interval: Duration::from_millis(500),
            conduct: Conduct::Honest,
            elsewhere: None,
            policy: Policy::default(),
            senses: None,
            bandwidth: Bandwidth::default(),
            told: Told::default(),
            benchmark: false,
            registries: Registries::default(),
            lends: Lends::default(),
            runtime: Runtime::Own,
            control_socket: false,
            status_page: None,
        }
    }
}
