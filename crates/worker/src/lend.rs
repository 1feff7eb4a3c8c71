//! What a worker lends besides processors: GPUs, each to one task at a time, and a way out to the network.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill_container::{AddressRange, Device, DeviceLink, DeviceMount, DeviceNode, Direction, Egress, Network};
use gristmill_machine::{CdiDevice, CdiDevices};
use gristmill_store::Bandwidth;
use gristmill_types::Needs;
use serde::{Deserialize, Serialize};

/// GPUs that a worker may lend.
pub const GPUS_MAX: usize = gristmill_protocol::check::GPUS_MAX as usize;
/// Private addresses that it may open.
const PRIVATE_MAX: usize = 64;

/// What the machine's owner lends besides processors; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lends {
    /// Whether tasks that ask for it may reach the public network, through a proxy that keeps them out of private ones. Only images can.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// Addresses of private networks or of this machine that they may reach too: `192.168.1.7`, `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<String>,
    /// GPUs for tasks that ask for one, by the names that the Container Device Interface gives them: `nvidia.com/gpu=0`. Only images
    /// can use them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
}

impl Lends {
    /// What a task may need of this worker.
    pub fn needs(&self) -> Needs {
        Needs { gpu: !self.gpus.is_empty(), network: self.network }
    }

    /// What is wrong with it, if something is.
    pub fn objection(&self) -> Option<String> {
        if self.gpus.len() > GPUS_MAX {
            return Some(format!("lend.gpus names {} GPUs; {GPUS_MAX} are allowed", self.gpus.len()));
        }
        if let Some(name) = self.gpus.iter().find(|name| !looks_like_a_device(name)) {
            return Some(format!("lend.gpus: `{name}` is no name of a device, such as `nvidia.com/gpu=0`"));
        }
        let twice = self.gpus.iter().enumerate().find(|(at, name)| self.gpus[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Some(format!("lend.gpus names `{name}` twice"));
        }
        if self.private.len() > PRIVATE_MAX {
            return Some(format!("lend.private has {} entries; {PRIVATE_MAX} are allowed", self.private.len()));
        }
        if !self.private.is_empty() && !self.network {
            return Some("lend.private opens private addresses, but lend.network is not set".to_owned());
        }
        let range = |text: &String| text.parse::<AddressRange>().err();
        self.private.iter().find_map(range).map(|error| format!("lend.private: {error}"))
    }

    /// The way out that a task gets that asks for one.
    pub(crate) fn way_out(&self, bandwidth: &Bandwidth) -> Network {
        let also = self.private.iter().filter_map(|text| text.parse().ok()).collect();
        let bandwidth = bandwidth.clone();
        let pace = move |direction, bytes| match direction {
            Direction::Up => bandwidth.pause_up(bytes),
            Direction::Down => bandwidth.pause_down(bytes),
        };
        Network { pace: Some(Arc::new(pace)), ..Network::new(Egress { also, ..Egress::default() }) }
    }
}

fn looks_like_a_device(name: &str) -> bool {
    let parts = name.split_once('=').and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    parts.is_some_and(|((vendor, class), device)| !vendor.is_empty() && !class.is_empty() && !device.is_empty())
}

/// The GPUs that are lent and that no task has. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gpus {
    count: u32,
    free: Arc<Mutex<Vec<Device>>>,
}

/// A GPU that a task has; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Gpu {
    gpus: Gpus,
    device: Device,
}

impl Gpus {
    /// Those of these names that this machine describes; and why the others are not among them.
    pub(crate) fn find(names: &[String], described: &CdiDevices) -> (Self, Vec<String>) {
        let (mut devices, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match described.device(name) {
                Ok(device) => devices.push(device_of(device)),
                Err(error) => missing.push(format!("the GPU {name} is not lent: {error}")),
            }
        }
        (Self::new(devices), missing)
    }

    fn new(devices: Vec<Device>) -> Self {
        Self { count: devices.len() as u32, free: Arc::new(Mutex::new(devices)) }
    }

    /// How many there are, whether a task has them or not.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn take(&self) -> Option<Gpu> {
        // INVARIANT: nothing under this lock panics.
        let device = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Gpu { gpus: self.clone(), device })
    }
}

impl Gpu {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.gpus.free.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.device));
    }
}

fn device_of(described: CdiDevice) -> Device {
    let node = |node: gristmill_machine::CdiNode| DeviceNode {
        path: node.path,
        host: node.host_path.into(),
        numbers: node.numbers,
        read: node.read,
        write: node.write,
    };
    Device {
        name: described.name,
        nodes: described.nodes.into_iter().map(node).collect(),
        // Always read-only, whatever the options say.
        mounts: described
            .mounts
            .into_iter()
            .map(|mount| DeviceMount { host: mount.host_path.into(), at: mount.container_path })
            .collect(),
        env: described.env,
        links: described.links.into_iter().map(|link| DeviceLink { at: link.path, target: link.target }).collect(),
        library_folders: described.library_folders,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lends(gpus: &[&str]) -> Lends {
        Lends { gpus: gpus.iter().map(|&name| name.to_owned()).collect(), ..Lends::default() }
    }

    #[test]
    fn a_gpu_is_lent_to_one_task_at_a_time() {
        let device = |name: &str| Device { name: name.to_owned(), ..Device::default() };
        let gpus = Gpus::new(vec![device("a.com/gpu=0"), device("a.com/gpu=1")]);
        let (first, second) = (gpus.take().unwrap(), gpus.take().unwrap());
        assert_ne!(first.device().name, second.device().name);
        assert!(gpus.take().is_none());
        let name = first.device().name.clone();
        drop(first);
        assert_eq!((gpus.take().unwrap().device().name.clone(), gpus.count()), (name, 2));
    }

    #[test]
    fn a_gpu_that_is_not_described_is_not_lent_and_said_so() {
        let (gpus, missing) = Gpus::find(&["a.com/gpu=0".to_owned()], &CdiDevices::default());
        assert_eq!((gpus.count(), missing.len()), (0, 1));
        assert!(missing[0].contains("a.com/gpu=0 is not lent"), "{missing:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(lends(&["nvidia.com/gpu=0", "nvidia.com/gpu=1"]).objection(), None);
        for (gpus, word) in
            [(["gpu0", "a/b=c"], "`gpu0`"), (["a/b=c", "a/b=c"], "twice"), (["/dev/dri=", "a/b=c"], "/dev/dri")]
        {
            let objection = lends(&gpus).objection().unwrap();
            assert!(objection.contains(word), "{objection}");
        }
        let many = Lends { gpus: (0..=GPUS_MAX).map(|number| format!("a/b={number}")).collect(), ..Lends::default() };
        assert!(many.objection().unwrap().contains("65"));
        let private = |network, text: &str| Lends { network, private: vec![text.to_owned()], ..Lends::default() };
        assert_eq!(private(true, "10.0.0.0/8").objection(), None);
        assert!(private(true, "home").objection().unwrap().contains("home"));
        assert!(private(false, "10.0.0.0/8").objection().unwrap().contains("lend.network"));
    }
}
