//! Graphics processors that a task could be given: those whose device file is there.
//!
//! `/sys` shows all of the host's, in a container too; what can be used has a node below `/dev`: a render node (`/dev/dri/renderD*`),
//! or NVIDIA's (`/dev/nvidia*`), whose driver need not show itself as a graphics card at all.

use crate::places::{Places, clean, value_of};

/// Vendor number of NVIDIA.
const NVIDIA: u16 = 0x10de;
/// Drivers of devices that are made of software.
const SOFTWARE: [&str; 2] = ["vgem", "vkms"];
const MIB: u64 = 1 << 20;

/// A graphics processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Who made it: a short name for the well-known, else the number, or the maker's part of a board's description.
    pub vendor: Option<String>,
    /// PCI vendor.
    pub vendor_id: Option<u16>,
    /// PCI device.
    pub device_id: Option<u16>,
    /// Where it sits: `0000:01:00.0`.
    pub bus: Option<String>,
    /// What it is called, if its driver says.
    pub name: Option<String>,
    /// The kernel's driver.
    pub driver: Option<String>,
    /// Its own memory in MiB, if its driver says.
    pub memory_mib: Option<u64>,
}

/// All that can be used, by place.
pub(crate) fn look(places: &Places) -> Vec<Gpu> {
    let mut found = nvidia(places);
    for name in places.names("sys/class/drm") {
        if numbered(&name, "card").is_some()
            && let Some(gpu) = card(places, &format!("sys/class/drm/{name}/device"))
        {
            merge(&mut found, gpu);
        }
    }
    found.sort_by(|left, right| left.bus.cmp(&right.bus));
    found
}

/// NVIDIA's device files, with what the driver says of them.
fn nvidia(places: &Places) -> Vec<Gpu> {
    let said: Vec<(String, String)> = places
        .names("proc/driver/nvidia/gpus")
        .into_iter()
        .filter_map(|bus| Some((places.text(&format!("proc/driver/nvidia/gpus/{bus}/information"))?, bus)))
        .collect();
    let minors = places.names("dev").into_iter().filter_map(|name| numbered(&name, "nvidia"));
    minors
        .map(|minor| {
            let about = said.iter().find(|(text, _)| {
                value_of(text, "Device Minor").and_then(|number| number.parse::<u32>().ok()) == Some(minor)
            });
            Gpu {
                vendor: vendor_name(NVIDIA),
                vendor_id: Some(NVIDIA),
                bus: about.and_then(|(_, bus)| clean(&bus.to_ascii_lowercase())),
                name: about.and_then(|(text, _)| value_of(text, "Model")).and_then(clean),
                driver: Some("nvidia".into()),
                ..Gpu::default()
            }
        })
        .collect()
}

/// A graphics card with a render node: one that only drives a screen, as servers have for their console, does not compute.
fn card(places: &Places, device: &str) -> Option<Gpu> {
    let nodes = places.names(&format!("{device}/drm"));
    let usable = |node: &String| node.starts_with("renderD") && places.has(&format!("dev/dri/{node}"));
    if !nodes.iter().any(usable) {
        return None;
    }
    let event = places.text(&format!("{device}/uevent")).unwrap_or_default();
    let of = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).and_then(clean);
    let driver = of("DRIVER");
    if driver.as_deref().is_some_and(|driver| SOFTWARE.contains(&driver)) {
        return None;
    }
    // A board's device tree names it `maker,device`.
    let compatible = of("OF_COMPATIBLE_0");
    let vendor_id = places.hexadecimal(&format!("{device}/vendor"));
    let maker = || compatible.as_deref().and_then(|text| clean(text.split_once(',')?.0));
    Some(Gpu {
        vendor: vendor_id.map_or_else(maker, |id| vendor_name(id).or_else(|| Some(format!("{id:#06x}")))),
        vendor_id,
        device_id: places.hexadecimal(&format!("{device}/device")),
        bus: of("PCI_SLOT_NAME").map(|bus| bus.to_ascii_lowercase()),
        name: compatible,
        driver,
        memory_mib: places.number(&format!("{device}/mem_info_vram_total")).map(|bytes| bytes / MIB),
    })
}

/// A card of NVIDIA's is there twice, where its driver shows it as a graphics card too.
fn merge(found: &mut Vec<Gpu>, card: Gpu) {
    let same = |known: &&mut Gpu| {
        known.vendor_id == Some(NVIDIA)
            && card.vendor_id == Some(NVIDIA)
            && known.device_id.is_none()
            && (known.bus == card.bus || known.bus.is_none())
    };
    match found.iter_mut().find(same) {
        Some(known) => {
            known.device_id = card.device_id;
            known.bus = known.bus.take().or(card.bus);
        }
        None => found.push(card),
    }
}

fn vendor_name(id: u16) -> Option<String> {
    let name = match id {
        NVIDIA => "nvidia",
        0x1002 => "amd",
        0x8086 => "intel",
        0x1af4 => "virtio",
        0x15ad => "vmware",
        _ => return None,
    };
    Some(name.into())
}

/// The number in a name like `card0`; `card0-HDMI-A-1` and `nvidiactl` have none.
fn numbered(name: &str, prefix: &str) -> Option<u32> {
    let number = name.strip_prefix(prefix)?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}
