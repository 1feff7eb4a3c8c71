//! Descriptions of devices for containers, by the Container Device Interface.
//!
//! A description is a file of JSON or YAML in `/etc/cdi` or `/var/run/cdi` that says, for a kind of device, what a container is to be
//! given: always, and for each device by its name. The machine's ad has the names; [`CdiDevices::device`] says what is in one. Nothing
//! is done to a container here, and nothing of the host is looked at but the descriptions.

mod edits;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::places::Places;

pub use edits::{CdiDevice, CdiLink, CdiMount, CdiNode};

/// Folders of descriptions; what a running system makes stands in the second, and comes before what stands in the first.
const FOLDERS: [&str; 2] = ["etc/cdi", "var/run/cdi"];
/// Descriptions that are read, a folder.
const FILES_MAX: usize = 64;
/// Bytes of a description. That of a host with eight of NVIDIA's cards, parted, has some hundred thousand.
pub const CDI_BYTES_MAX: usize = 2 << 20;
/// Devices that are kept, of all descriptions.
pub const CDI_DEVICES_MAX: usize = 4_096;
/// Names that are in an ad.
pub(crate) const DEVICES_MAX: usize = 32;
/// Bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// A device cannot be given to a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CdiError {
    /// No description has it.
    #[error(
        "no device is called `{name}` in the descriptions of this machine ({known} devices in /etc/cdi and /var/run/cdi)"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// How many there are.
        known: usize,
    },
    /// Two descriptions of equal rank have it, so that nobody knows which is right.
    #[error("the device `{name}` is described twice, in {first} and in {second}: remove one of them")]
    Twice {
        /// Its name.
        name: String,
        /// A file.
        first: String,
        /// Another one.
        second: String,
    },
    /// Its description makes no sense.
    #[error("the device `{name}` is described wrongly in {file}: {problem}")]
    Malformed {
        /// Its name.
        name: String,
        /// The file.
        file: String,
        /// What is wrong there.
        problem: String,
    },
    /// It wants something that is not given to containers here.
    #[error("the device `{name}` of {file} wants {what}, which containers are not given here")]
    NotGiven {
        /// Its name.
        name: String,
        /// The file.
        file: String,
        /// What it wants.
        what: String,
    },
    /// It wants a program of the host to be run, and what that would do is not known here. None is ever run.
    #[error(
        "the device `{name}` of {file} wants the host's program `{program}` to be run (`{hook}`); no description's program is run \
         here, and what this one does is not known: {} are",
        edits::HOOKS.join(", ")
    )]
    Hook {
        /// Its name.
        name: String,
        /// The file.
        file: String,
        /// The program.
        program: String,
        /// Its arguments, as far as they are told.
        hook: String,
    },
}

/// All devices that are described on a machine.
#[derive(Clone, Debug, Default)]
pub struct CdiDevices {
    devices: BTreeMap<String, Described>,
}

/// Where a device is described.
#[derive(Clone, Debug)]
struct Described {
    /// Number of the folder: the higher one counts.
    rank: usize,
    file: String,
    /// What every device of the file is given.
    common: std::sync::Arc<Value>,
    own: Value,
    /// Another file of the same rank that has it too.
    also_in: Option<String>,
}

impl CdiDevices {
    /// Reads the descriptions. A file that makes no sense, or is larger than [`CDI_BYTES_MAX`], is one that says nothing.
    pub fn look(places: &Places) -> Self {
        let mut found = Self::default();
        for (rank, folder) in FOLDERS.into_iter().enumerate() {
            let files = places.names(folder);
            let described =
                files.iter().filter(|name| [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)));
            for file in described.take(FILES_MAX) {
                let path = format!("{folder}/{file}");
                if let Some(description) = places.text(&path).as_deref().and_then(read) {
                    found.add(rank, &format!("/{path}"), description);
                }
            }
        }
        found
    }

    /// Their names, as `vendor/class=device`, sorted. Those that are described twice are not among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|(_, device)| device.also_in.is_none()).map(|(name, _)| name.as_str())
    }

    /// What a container is to be given for the device of this name.
    ///
    /// # Errors
    /// When there is no such device, or a container cannot be given it.
    pub fn device(&self, name: &str) -> Result<CdiDevice, CdiError> {
        let name = name.to_owned();
        let Some(found) = self.devices.get(&name) else {
            return Err(CdiError::Unknown { known: self.names().count(), name });
        };
        if let Some(second) = &found.also_in {
            return Err(CdiError::Twice { name, first: found.file.clone(), second: second.clone() });
        }
        let mut device = CdiDevice { name: name.clone(), ..CdiDevice::default() };
        for edits in [found.common.as_ref(), &found.own] {
            edits::add(edits, &mut device).map_err(|fault| fault.of(&name, &found.file))?;
        }
        Ok(device)
    }

    fn add(&mut self, rank: usize, file: &str, mut description: Value) {
        let common = std::sync::Arc::new(description["containerEdits"].take());
        let kind = description["kind"].take();
        let (Some(kind), Value::Array(devices)) = (kind.as_str(), description["devices"].take()) else { return };
        for mut device in devices {
            let own = device.get_mut("containerEdits").map_or(Value::Null, Value::take);
            let Some(name) = device.get("name").and_then(edits::text) else { continue };
            let name = format!("{kind}={name}");
            if !is_name(&name) || (self.devices.len() >= CDI_DEVICES_MAX && !self.devices.contains_key(&name)) {
                continue;
            }
            let described = Described { rank, file: file.to_owned(), common: common.clone(), own, also_in: None };
            match self.devices.get_mut(&name) {
                Some(known) if known.rank == rank => known.also_in = Some(file.to_owned()),
                _ => drop(self.devices.insert(name, described)),
            }
        }
    }
}

/// The names of devices for the machine's ad.
pub(crate) fn look(places: &Places) -> Vec<String> {
    CdiDevices::look(places).names().take(DEVICES_MAX).map(str::to_owned).collect()
}

/// A description as a tree; none when it is not one.
fn read(text: &str) -> Option<Value> {
    if text.len() > CDI_BYTES_MAX {
        return None;
    }
    // JSON is YAML too, whatever the file is called.
    let read = if text.starts_with('{') { serde_json::from_str(text).ok() } else { yaml::read(text) };
    read.filter(Value::is_object)
}

/// `vendor/class=device`, of the characters that the interface allows.
fn is_name(name: &str) -> bool {
    let word = |text: &str, others: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        outer(text.chars().next()) && outer(text.chars().last()) && text.chars().all(inner)
    };
    let parts = name.split_once('=').and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    name.len() <= NAME_BYTES_MAX
        && parts
            .is_some_and(|((vendor, class), device)| word(vendor, "-_.") && word(class, "-_") && word(device, "-_.:"))
}
