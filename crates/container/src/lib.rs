//! Run programs of container images so that the host stays safe, without a daemon.
//!
//! A [`ContainerRunner`] runs a [`Container`] once an item: a helper process (this program again, see [`child_main`]) makes new
//! user, mount, process, network, IPC, host name and cgroup namespaces, stacks the image's layers by overlayfs without copying
//! them, and runs the program as nobody of the host: no capability, no new privileges, a list of allowed system calls, Landlock,
//! rlimits, one core, a cgroup where the host has one. What the program writes lies in memory of a fixed size and is gone with
//! its namespaces; only plain files below `/iexec_out` are copied out, once every process of it is dead.
//!
//! Devices and a network are given only to a container that names them. A [`Device`] is device files of the host, bound in, with the
//! libraries that go with them. A [`Network`] is one way out, a proxy that this process serves on a socket inside the container's own
//! empty network: the program never has an interface, so that neither the host nor its neighbours are there for it.
//!
//! How a run ended is an [`Ending`](gristmill_result::Ending), a result that replicas agree on. A program that was killed, by a
//! signal, for memory or by the clock, is a [`HostFault`](gristmill_sandbox::HostFault) and never a result.
//!
//! # Runtimes
//!
//! Instead of the helper itself runc, crun or podman can make the container ([`Runtime`]). The helper still makes the namespaces,
//! stacks the layers and bounds the run; the runtime works inside of that, as root of these namespaces only, on memory that is gone
//! with them. It is told to start a small program of ours, which does what is left to do and becomes the task's program. So what a
//! program finds is the same, and so are its results:
//!
//! | | own | runc, crun | podman |
//! |---|---|---|---|
//! | who takes capabilities, new privileges and system calls away | the helper | the runtime; the starter adds the list that looks at arguments | as runc, crun |
//! | Landlock, the second wall | the helper | the starter | the starter |
//! | namespaces of users, network, processes, IPC, host name, cgroups | the helper | the helper | the helper |
//! | the mounts that the program sees | the helper | the helper; the runtime makes them the root in a mount namespace of its own | as runc, crun |
//! | what the image and the task name (programs, folders, variables) is handled by | the helper | the helper and the starter, never the runtime | as runc, crun |
//! | arguments, variables, folders, `/proc`, `/dev`, `/tmp`, limits, user, process number, exit codes, signals | alike | alike | alike |
//! | `getppid` of the program | 1 | 0: its parent is outside of its process namespace | 0 |
//! | securebits | locked | as the runtime leaves them: without capabilities nothing follows from them | as runc, crun |
//! | memory and processes of its own within the run's cgroup | 32 MiB, 2 | 64 to 160 MiB, 18 to 66, which the program could use too | 416 MiB, 130 |
//! | the host's configuration that counts | none | none | hooks, annotations, AppArmor and SELinux labels |
//! | what is left when the worker is killed | nothing | nothing: its state lay in the run's own memory | nothing; its store too |
//! | processes beside the program's | 1 of ours | 2 of ours | 2 of ours; podman and its monitor have ended |
//!
//! Cgroups are never the runtime's business: it sees those of the host read-only, or, since it refuses hosts with both versions, crun
//! sees none. It works as root with a spare user and as an ordinary user alike. Nothing needs `newuidmap` or a store of images.
//!
//! Key types: [`Container`] in, [`Outcome`](gristmill_sandbox::Outcome) out, [`ContainerRunner`] between,
//! [`Control`](gristmill_sandbox::Control) to stop or freeze it.
//!
//! Layers, outermost first: `runner`, `runtime`, `helper`, `cgroup`, `cores`, `device`, `soname`, `network`, `proxy` (the worker) |
//! `wire` | `child` (the helper: outside of the new process namespace, inside of the others), `rootfs`, `place`, `door`, `deliver` |
//! `init` (process 1 of the new namespace), with another runtime `foreign`, `oci`, `starter` | `payload`, `seccomp` (the program's own
//! process, before it becomes the program).

mod cgroup;
mod child;
mod container;
mod cores;
mod deliver;
mod device;
mod door;
mod error;
mod foreign;
mod helper;
mod init;
mod network;
mod oci;
mod payload;
mod place;
mod proxy;
mod rootfs;
mod runner;
mod runtime;
mod seccomp;
mod soname;
mod starter;
mod wire;

pub use child::child_main;
pub use container::Container;
pub use device::{DEVICE_ITEMS_MAX, DEVICE_LIBRARIES, Device, DeviceLink, DeviceMount, DeviceNode};
pub use error::ContainerError;
pub use network::{
    AddressRange, AddressRangeError, Direction, Egress, MAIL_PORTS, Network, PROXY_PORT, Pace, RANGES_MAX, Traffic,
};
pub use runner::{ContainerRunner, RunAs, RunnerConfig};
pub use runtime::{Runtime, UnknownRuntime};

/// Bytes of layers and of what the program writes outside of `/iexec_out` that a run may have in memory.
pub const SCRATCH_BYTES: u64 = 1 << 30;
/// Files and folders that it may have there.
pub const SCRATCH_FILES: u64 = 200_000;
/// Processes and threads of one run.
pub const PROCESSES_MAX: u64 = 512;
