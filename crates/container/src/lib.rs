//! Run programs of container images so that the host stays safe, without a daemon.
//!
//! A [`ContainerRunner`] runs a [`Container`] once an item: a helper process (this program again, see [`child_main`]) makes new
//! user, mount, process, network, IPC, host name and cgroup namespaces, stacks the image's layers by overlayfs without copying
//! them, and runs the program as nobody of the host: no capability, no new privileges, a list of allowed system calls, Landlock,
//! rlimits, one core, a cgroup where the host has one. What the program writes lies in memory of a fixed size and is gone with
//! its namespaces; only plain files below `/iexec_out` are copied out, once every process of it is dead.
//!
//! How a run ended is an [`Ending`](gristmill_result::Ending), a result that replicas agree on. A program that was killed, by a
//! signal, for memory or by the clock, is a [`HostFault`](gristmill_sandbox::HostFault) and never a result.
//!
//! Key types: [`Container`] in, [`Outcome`](gristmill_sandbox::Outcome) out, [`ContainerRunner`] between,
//! [`Control`](gristmill_sandbox::Control) to stop or freeze it.
//!
//! Layers, outermost first: `runner`, `helper`, `cgroup`, `cores` (the worker) | `wire` | `child` (the helper: outside of the new
//! process namespace, inside of the others), `rootfs`, `deliver` | `init` (process 1 of the new namespace) | `payload`, `seccomp`
//! (the program's own process, before it becomes the program).

mod cgroup;
mod child;
mod container;
mod cores;
mod deliver;
mod error;
mod helper;
mod init;
mod payload;
mod rootfs;
mod runner;
mod seccomp;
mod wire;

pub use child::child_main;
pub use container::Container;
pub use error::ContainerError;
pub use runner::{ContainerRunner, RunAs, RunnerConfig};

/// Bytes of layers and of what the program writes outside of `/iexec_out` that a run may have in memory.
pub const SCRATCH_BYTES: u64 = 1 << 30;
/// Files and folders that it may have there.
pub const SCRATCH_FILES: u64 = 200_000;
/// Processes and threads of one run.
pub const PROCESSES_MAX: u64 = 512;
