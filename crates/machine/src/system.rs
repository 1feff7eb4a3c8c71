//! The operating system, and what it runs on.

use crate::cpu::Cpu;
use crate::places::{Places, clean};

/// A version with more than so many minor ones is none.
const VERSION_PART_MAX: u64 = 99;

/// What is known of the operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The distribution in one word, as HTCondor writes it: `Debian`, `Ubuntu`, `RedHat`.
    pub name: Option<String>,
    /// The distribution in its own words: `Debian GNU/Linux 12 (bookworm)`.
    pub long_name: Option<String>,
    /// Its version's first number; a rolling distribution has none.
    pub major: Option<u64>,
    /// Its version's second number.
    pub minor: Option<u64>,
    /// The kernel's release: `6.1.0-18-amd64`.
    pub kernel: Option<String>,
}

/// What the system runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Substrate {
    /// A virtual machine, and the hypervisor's name if it can be told.
    Virtual(Option<&'static str>),
    /// The machine itself.
    Bare,
}

/// Names of distributions: their `ID`, and what HTCondor calls them.
const DISTRIBUTIONS: [(&str, &str); 13] = [
    ("almalinux", "AlmaLinux"),
    ("alpine", "Alpine"),
    ("amzn", "AmazonLinux"),
    ("arch", "Arch"),
    ("centos", "CentOS"),
    ("debian", "Debian"),
    ("fedora", "Fedora"),
    ("linuxmint", "LinuxMint"),
    ("nixos", "NixOS"),
    ("opensuse-leap", "openSUSE"),
    ("rhel", "RedHat"),
    ("rocky", "Rocky"),
    ("ubuntu", "Ubuntu"),
];

/// What firmware says of a virtual machine, and whose it is.
const HYPERVISORS: [(&str, &str); 10] = [
    ("QEMU", "kvm"),
    ("KVM", "kvm"),
    ("Google Compute Engine", "kvm"),
    ("OpenStack", "kvm"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
];

impl System {
    pub(crate) fn look(places: &Places) -> Self {
        let release = places.text("etc/os-release").or_else(|| places.text("usr/lib/os-release")).unwrap_or_default();
        let of = |key: &str| {
            let value = release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            clean(value.trim_matches(['"', '\'']))
        };
        let version = of("VERSION_ID").unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse().ok().filter(|part| *part <= VERSION_PART_MAX));
        let known =
            |id: String| DISTRIBUTIONS.iter().find(|(known, _)| *known == id).map(|(_, name)| (*name).to_owned());
        Self {
            name: of("ID").and_then(known).or_else(|| of("NAME")?.split(' ').next().map(str::to_owned)),
            long_name: of("PRETTY_NAME"),
            major: parts.next().flatten(),
            minor: parts.next().flatten(),
            kernel: places.text("proc/sys/kernel/osrelease").as_deref().and_then(clean),
        }
    }
}

impl Substrate {
    /// `None` where it cannot be told: a processor that is not x86 does not say, and firmware may keep silent.
    pub(crate) fn look(places: &Places, cpu: &Cpu) -> Option<Self> {
        if places.text("sys/hypervisor/type").as_deref() == Some("xen") && !governs_xen(places) {
            return Some(Self::Virtual(Some("xen")));
        }
        let firmware: Vec<String> = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"]
            .iter()
            .filter_map(|name| places.text(&format!("sys/class/dmi/id/{name}")))
            .collect();
        let named = HYPERVISORS
            .iter()
            .find(|(says, _)| firmware.iter().any(|text| text.contains(says)))
            .map(|(_, hypervisor)| *hypervisor)
            // Microsoft makes machines too.
            .or_else(|| firmware.iter().any(|text| text == "Virtual Machine").then_some("hyperv"));
        let board = device_tree(places, "model");
        match cpu.under_hypervisor {
            Some(true) => Some(Self::Virtual(named)),
            Some(false) => Some(Self::Bare),
            None if named.is_some() => Some(Self::Virtual(named)),
            None if places.has("proc/device-tree/hypervisor") => Some(Self::Virtual(None)),
            None if board.as_deref() == Some("linux,dummy-virt") => Some(Self::Virtual(Some("kvm"))),
            None => board.map(|_| Self::Bare),
        }
    }
}

/// The first domain of Xen sees the machine as it is.
fn governs_xen(places: &Places) -> bool {
    places.text("proc/xen/capabilities").is_some_and(|text| text.contains("control_d"))
}

/// A property of a board's description; they end with a zero byte.
fn device_tree(places: &Places, property: &str) -> Option<String> {
    clean(places.text(&format!("proc/device-tree/{property}"))?.trim_end_matches('\0'))
}
