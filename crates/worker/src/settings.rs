//! Read what the machine's owner wrote down: `worker.toml`.
//!
//! Every key has a default, and no file at all is as good as an empty one. A flag of the command line goes before the file, the file
//! before the default. An unknown key is an error: a policy that was misspelt would not be one.

use std::path::{Path, PathBuf};

use gristmill_container::Runtime;
use gristmill_datadir::{BoundedError, read_bounded};
use gristmill_machine::{Told, ToldError};
use gristmill_owner::{Policy, PolicyError};
use gristmill_protocol::tls::PoolUrl;
use gristmill_store::{Bandwidth, CEILING_BYTES_MIN};
use gristmill_types::Address;
use nix::errno::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{CACHE_BYTES_MAX, MEMORY_BYTES_DEFAULT, POOLS_MAX, SLOTS_MAX};
use crate::earnings::LedgerPlace;
use crate::lend::Lends;
use crate::runners::Registries;
use crate::sensors::Roots;

/// The file's name in the worker's folder.
pub const SETTINGS_FILE: &str = "worker.toml";
/// A settings file is read up to so many bytes.
const SETTINGS_BYTES_MAX: u64 = 256 << 10;
const MIB: u64 = 1 << 20;
const CEILING_KIB_MIN: u64 = CEILING_BYTES_MIN >> 10;
/// The smallest disk that is of use: an app, its inputs, a result.
const DISK_MIB_MIN: u64 = 64;

/// What a `worker.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The pool to work for, as `grist://HOST:PORT/KEYHASH`, or a list of pools, 16 at most. There is no default.
    #[serde(
        rename = "pool",
        serialize_with = "write_pools",
        deserialize_with = "read_pools",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pools: Vec<PoolUrl>,
    /// Tasks at a time, 1 to 1024. A task keeps one core busy. Default: one a core, 64 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Memory that it lends to a task, in MiB. Tasks of a larger category are declined. Default 4096.
    pub memory_mib: u64,
    /// Disk that it lends, in MiB: fetched apps and inputs, and results that wait. Default 8192.
    pub disk_mib: u64,
    /// Port of the status page on 127.0.0.1; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_page: Option<u16>,
    /// The ledger on which it looks for a public pool by itself, where none is named.
    pub ledger: LedgerSettings,
    /// When it may work, and for whom.
    pub policy: Policy,
    /// How quick its transfers may be: inputs, modules and images to here, results from here.
    pub bandwidth: BandwidthSettings,
    /// What the kernel does not say of the machine.
    pub machine: Told,
    /// Which registries container images may come from.
    pub registries: Registries,
    /// How container images are run.
    pub containers: ContainerSettings,
    /// What it lends besides processors.
    pub lend: Lends,
    /// Where the kernel's files are.
    pub sensors: Roots,
}

/// How container images are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerSettings {
    /// Which program makes the containers.
    pub runtime: Runtime,
}

/// A ledger and the hub on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Its JSON-RPC, as `http://HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<String>,
    /// The hub's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Address>,
}

impl LedgerSettings {
    /// Where the ledger is, if it is said.
    pub fn place(&self) -> Option<LedgerPlace> {
        Some(LedgerPlace { rpc: self.rpc.clone()?, hub: self.hub? })
    }
}

/// Ceilings of the transfers from and to stores, and of images from registries, all together, in KiB a second; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BandwidthSettings {
    /// To this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_kib_s: Option<u64>,
    /// From this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_kib_s: Option<u64>,
}

impl BandwidthSettings {
    /// The ceilings.
    pub fn bandwidth(self) -> Bandwidth {
        let bytes = |kib: Option<u64>| kib.map(|kib| kib.saturating_mul(1 << 10));
        Bandwidth::new(bytes(self.down_kib_s), bytes(self.up_kib_s))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            slots: None,
            memory_mib: MEMORY_BYTES_DEFAULT / MIB,
            disk_mib: CACHE_BYTES_MAX / MIB,
            status_page: None,
            ledger: LedgerSettings::default(),
            policy: Policy::default(),
            bandwidth: BandwidthSettings::default(),
            machine: Told::default(),
            registries: Registries::default(),
            containers: ContainerSettings::default(),
            lend: Lends::default(),
            sensors: Roots::default(),
        }
    }
}

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} has more than {SETTINGS_BYTES_MAX} bytes: it is no settings file of a worker", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or has a key that is not known or a value that makes no sense; the text names the line.
    #[error("{} is refused: {text}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// A value is out of its range.
    #[error("{} is refused: {key} = {value}: it is {what}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        what: String,
    },
    /// What it lends makes no sense.
    #[error("{} is refused: {text}", path.display())]
    Lend {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// It says half of where a ledger is.
    #[error("{} is refused: [ledger]: it has {has}, and not {lacks}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What is there.
        has: &'static str,
        /// What is not.
        lacks: &'static str,
    },
    /// What it says of the machine makes no sense.
    #[error("{} is refused: [machine]", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ToldError,
    },
    /// The policy makes no sense.
    #[error("{} is refused: [policy]", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: PolicyError,
    },
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let not_there = || SettingsError::Read { path: path.to_path_buf(), source: Errno::ENOENT.into() };
        Self::parse(&read_text(path)?.ok_or_else(not_there)?, path)
    }

    /// Reads the file if there is one, else takes the defaults.
    ///
    /// # Errors
    /// [`SettingsError`] for a file that is there and cannot be used.
    pub fn read_if_there(path: &Path) -> Result<Self, SettingsError> {
        read_text(path)?.map_or_else(|| Ok(Self::default()), |text| Self::parse(&text, path))
    }

    /// Reads a text; `path` is for the errors.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text).map_err(|error| SettingsError::Malformed {
            path: path.to_path_buf(),
            text: error.to_string().trim_end().to_owned(),
        })?;
        settings.check(path)?;
        Ok(settings)
    }

    /// The settings as a file would say them.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# these settings cannot be written: {error}\n"))
    }

    fn check(&self, path: &Path) -> Result<(), SettingsError> {
        let range = |key, value, holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(SettingsError::Range { path: path.to_path_buf(), key, value, what: what.to_owned() }),
        };
        if let Some(slots) = self.slots {
            let what = format!("tasks at a time, 1 to {SLOTS_MAX}");
            range("slots", slots.into(), (1..=SLOTS_MAX).contains(&slots), &what)?;
        }
        let pools = self.pools.len() as u64;
        range("pool", pools, pools <= POOLS_MAX as u64, &format!("the number of pools, {POOLS_MAX} at most"))?;
        range("memory_mib", self.memory_mib, self.memory_mib > 0, "MiB, at least 1")?;
        let what = format!("MiB, at least {DISK_MIB_MIN}");
        range("disk_mib", self.disk_mib, self.disk_mib >= DISK_MIB_MIN, &what)?;
        if let Some(port) = self.status_page {
            range("status_page", port.into(), port > 0, "a port, 1 to 65535")?;
        }
        for (key, ceiling) in
            [("bandwidth.down_kib_s", self.bandwidth.down_kib_s), ("bandwidth.up_kib_s", self.bandwidth.up_kib_s)]
        {
            let ceiling = ceiling.unwrap_or(u64::MAX);
            let what = format!("KiB a second, at least {CEILING_KIB_MIN}: slower transfers are given up");
            range(key, ceiling, ceiling >= CEILING_KIB_MIN, &what)?;
        }
        if let Some(text) = self.lend.objection() {
            return Err(SettingsError::Lend { path: path.to_path_buf(), text });
        }
        let half = |has, lacks| Err(SettingsError::Ledger { path: path.to_path_buf(), has, lacks });
        match (&self.ledger.rpc, self.ledger.hub) {
            (Some(_), None) => half("rpc", "hub")?,
            (None, Some(_)) => half("hub", "rpc")?,
            _ => {}
        }
        self.machine.check().map_err(|source| SettingsError::Machine { path: path.to_path_buf(), source })?;
        self.policy.check().map_err(|source| SettingsError::Policy { path: path.to_path_buf(), source })
    }
}

/// The text of a file, of bounded size; `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>, SettingsError> {
    read_bounded(path, SETTINGS_BYTES_MAX).map_err(|error| match error {
        BoundedError::Read(source) => SettingsError::Read { path: path.to_path_buf(), source },
        _ => SettingsError::TooLarge { path: path.to_path_buf() },
    })
}

/// One pool, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn read_pools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PoolUrl>, D::Error> {
    let texts = match OneOrMore::deserialize(deserializer) {
        Ok(OneOrMore::One(text)) => vec![text],
        Ok(OneOrMore::More(texts)) => texts,
        Err(_) => return Err(serde::de::Error::custom("it is neither the address of a pool nor a list of such")),
    };
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn write_pools<S: Serializer>(pools: &[PoolUrl], serializer: S) -> Result<S::Ok, S::Error> {
    match pools {
        [pool] => pool.to_string().serialize(serializer),
        pools => serializer.collect_seq(pools.iter().map(ToString::to_string)),
    }
}

/// A file with every key, each commented out, and what it means: what `gristmill worker config --init` writes.
pub const TEMPLATE: &str = r#"# What this machine does for others. Every line is optional; what begins with # is not in force.
# `gristmill worker config` shows what is. A worker reads this file when it starts.

# The pool to work for, or several: ["grist://...", "grist://..."]. A task of any of them takes a slot; the disk is divided equally.
#pool = "grist://HOST:PORT/KEYHASH"

# Tasks at a time; each keeps one core busy. Default: one a core.
#slots = 2

# Memory that it lends to a task, and disk that it lends in all (fetched files, results that wait), in MiB.
#memory_mib = 4096
#disk_mib = 8192

# A page that shows what the worker does, at http://127.0.0.1:8642/; only this machine can see it.
#status_page = 8642

[ledger]
# With no pool named: where the ledger is. The worker compares the public pools there, and joins the one where this machine is expected
# to earn most; `gristmill worker pools` shows how they compare.
#rpc = "http://HOST:8545"
#hub = "0x7777777777777777777777777777777777777777"

[policy]
# When it may work, by the local clock; always, if there is no line. A night may pass midnight.
#schedule = ["Mon-Fri 18:00-08:00", "Sat-Sun"]
# It begins nothing in so many minutes before the end of a time.
#wind_down_min = 5

# Only when nobody has touched keyboard or mouse for so many seconds.
#idle_s = 300
# Only while other programs use less than this part of the cores.
#load_max = 0.5

# Only on mains; or, on battery, only above so many percent.
#mains_only = true
#battery_min = 60
# Only while the hottest part of the machine is cooler, in degrees Celsius.
#temperature_max = 85.0

# Only for these pools, only these apps, or only apps of these publishers; any, if there is no line. Addresses on the ledger.
#pools = ["0x1111111111111111111111111111111111111111"]
#apps = ["0x2222222222222222222222222222222222222222"]
#publishers = ["0x3333333333333333333333333333333333333333"]
# None of these, whoever publishes them, and nothing of these publishers.
#refused_apps = ["0x4444444444444444444444444444444444444444"]
#refused_publishers = ["0x5555555555555555555555555555555555555555"]
# My own accounts: their tasks go first here, and others' hold still meanwhile.
#own = ["0x6666666666666666666666666666666666666666"]

[bandwidth]
# What may come from the pools' stores and from registries, and go to the stores, all tasks together, in KiB a second, 64 at least.
#down_kib_s = 1024
#up_kib_s = 256

[machine]
# What the machine's ad says besides what the kernel tells: where it is, and what it draws under load, in watts.
#region = "eu-west"
#watts = 65.0

[registries]
# Container images that apps name come from these registries only; from any, if there is no line, from none with [].
#only = ["docker.io", "ghcr.io"]
# Those in private networks and on this machine may be asked too. An app's author names the registry.
#private = true
# A file of logins, as docker and podman write it.
#logins = "/home/me/.docker/config.json"

[containers]
# What makes the containers: own, or runc, crun, podman where it is in PATH, or with its path ("runc:/usr/sbin/runc").
#runtime = "own"

[lend]
# What tasks that pay for it may use besides processors; nothing, if there is no line. Only container images can.
# The public network, through a proxy that keeps them out of private networks, this machine's own services and the ports of mail.
#network = true
# Addresses of private networks or of this machine that those tasks may reach too.
#private = ["192.168.1.7"]
# GPUs, each to one task at a time, by their names in the Container Device Interface (`nvidia-ctk cdi list`).
#gpus = ["nvidia.com/gpu=0"]

[sensors]
# Where the kernel's files are; a container may see its host's elsewhere.
#proc = "/proc"
#sys = "/sys"
#dev = "/dev"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(text, Path::new("worker.toml"))
    }

    #[test]
    fn nothing_said_is_the_default_and_what_is_written_reads_the_same() {
        assert_eq!(parse("").unwrap(), Settings::default());
        let settings = parse(
            "pool = \"grist://127.0.0.1:9/0000000000000000000000000000000000000000000000000000000000000001\"\nslots = 3\n\
             [policy]\nschedule = [\"Sat-Sun\"]\nidle_s = 60\n[registries]\nonly = [\"ghcr.io\"]\n[sensors]\nsys = \"/host/sys\"\n",
        )
        .unwrap();
        assert_eq!((settings.slots, settings.policy.idle_s, settings.memory_mib), (Some(3), Some(60), 4_096));
        assert_eq!(settings.sensors.sys, Path::new("/host/sys"));
        assert_eq!(settings.pools.len(), 1);
        assert_eq!(settings.registries.objection("GHCR.io"), None);
        assert!(settings.registries.objection("docker.io").is_some_and(|why| why.contains("docker.io")));
        let two = parse(&format!("pool = [\"grist://h:9/{0}1\", \"grist://h:9/{0}2\"]", "0".repeat(63))).unwrap();
        assert_eq!((two.pools.len(), parse(&two.to_toml()).unwrap()), (2, two.clone()));
        assert_eq!(parse(&settings.to_toml()).unwrap(), settings);
        assert_eq!(parse(&Settings::default().to_toml()).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_what_there_is() {
        let error = parse("slots = 2\n\n[policy]\nidle = 300\n").unwrap_err().to_string();
        for word in ["worker.toml", "line 4", "idle", "idle_s", "load_max"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        let error = parse("slot = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("memory_mib"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("slots = 0", "slots = 0"),
            ("slots = 2000", "1 to 1024"),
            ("disk_mib = 1", "at least 64"),
            ("memory_mib = 0", "memory_mib"),
            ("status_page = 0", "status_page"),
            ("[ledger]\nrpc = \"http://h:1\"", "and not hub"),
            ("[ledger]\nhub = \"0x1111111111111111111111111111111111111111\"", "and not rpc"),
            ("[ledger]\nrpc = \"http://h:1\"\nhub = \"here\"", "line 3"),
            ("status_page = 70000", "line 1"),
            ("pool = \"http://x\"", "grist://"),
            ("pool = [\"http://x\"]", "grist://"),
            ("pool = 7", "list"),
            ("[bandwidth]\nup_kib_s = 3", "at least 64"),
            ("[machine]\nwatts = -3.0", "[machine]"),
            ("[policy]\nschedule = [\"noon\"]", "noon"),
            ("[containers]\nruntime = \"docker\"", "docker"),
            ("[lend]\ngpus = [\"card0\"]", "card0"),
            ("slots = ", "line 1"),
        ];
        for (text, word) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = parse("[policy]\nload_max = 7.0").unwrap_err();
        assert!(matches!(&error, SettingsError::Policy { source, .. } if source.field == "load_max"), "{error}");
    }

    /// The template is a good file as it is, and stays one when all its lines are put in force; then it has every key.
    #[test]
    fn the_template_names_every_key() {
        assert_eq!(parse(TEMPLATE).unwrap(), Settings::default());
        let in_force: Vec<String> = TEMPLATE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => {
                    setting.replace("HOST:PORT/KEYHASH", &format!("h:1/{:064}", 1))
                }
                _ => line.to_owned(),
            })
            .collect();
        let settings = parse(&in_force.join("\n")).unwrap();
        assert_ne!(settings.policy, Policy::default());
        let all = serde_json::to_value(&settings).unwrap();
        for table in [&all, &all["ledger"], &all["policy"], &all["sensors"]] {
            for (key, value) in table.as_object().unwrap() {
                assert!(!value.is_null(), "{key} is missing in the template");
                assert!(
                    value.is_object() || TEMPLATE.contains(&format!("#{key} = ")),
                    "{key} is missing in the template"
                );
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS_FILE);
        assert_eq!(Settings::read_if_there(&path).unwrap(), Settings::default());
        assert!(Settings::read(&path).unwrap_err().to_string().contains("worker.toml"));
        std::fs::write(&path, "slots = 7\n").unwrap();
        assert_eq!(Settings::read_if_there(&path).unwrap().slots, Some(7));
        std::fs::write(&path, vec![b'#'; 300 << 10]).unwrap();
        assert!(matches!(Settings::read(&path), Err(SettingsError::TooLarge { .. })));
    }
}
