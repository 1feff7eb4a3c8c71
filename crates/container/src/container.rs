//! Say what is to be run.

use std::path::PathBuf;
use std::time::Duration;

use gristmill_sandbox::{Input, ItemRun};
use gristmill_types::ResourceLimits;

use crate::device::Device;
use crate::network::Network;

/// A program of an image, and one run of it an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The image's layers, unpacked, the lowest first: folders as overlayfs takes them. At least one.
    pub layers: Vec<PathBuf>,
    /// The program and its arguments. Without a `/` the program is searched in `PATH` of the environment.
    pub argv: Vec<String>,
    /// Environment of every run: the image's and the task's. `IEXEC_IN` and `IEXEC_OUT` are added.
    pub env: Vec<(String, String)>,
    /// Where it is run; empty for `/`. Made when missing.
    pub working_dir: String,
    /// Files and folders that every run sees below `/iexec_in`, read-only.
    pub inputs: Vec<Input>,
    /// The runs, in the order in which they are made. At least one.
    pub runs: Vec<ItemRun>,
    /// Limits that replicas agree on. Fuel is not counted here; memory is a run's, and passing it is no result.
    pub limits: ResourceLimits,
    /// Time for all runs together. Running past it is a fault of this host, not a result.
    pub wall_clock: Duration,
    /// Devices of the host that the program is given; none by default.
    pub devices: Vec<Device>,
    /// The one way out that the program is given; without it there is no network at all.
    pub network: Option<Network>,
}
