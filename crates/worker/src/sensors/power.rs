//! Mains and battery, from `/sys/class/power_supply`.

use std::path::Path;

use super::{entries, number_in, text_of};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Power {
    pub mains: Option<bool>,
    pub charge: Option<u8>,
}

pub(super) fn read(sys: &Path) -> Power {
    let folder = sys.join("class/power_supply");
    if !folder.is_dir() {
        return Power::default();
    }
    let mut online = Vec::new();
    let mut batteries = Vec::new();
    for supply in entries(&folder, "") {
        match text_of(&supply.join("type")).as_deref() {
            Some("Mains" | "USB" | "Wireless") => online.extend(number_in(&supply.join("online"))),
            // A mouse's or a headset's battery says nothing of the machine.
            Some("Battery") if text_of(&supply.join("scope")).as_deref() != Some("Device") => batteries.push(supply),
            _ => {}
        }
    }
    if batteries.is_empty() {
        // A machine without a battery runs on mains, whatever else is plugged into it.
        return Power { mains: Some(true), charge: None };
    }
    let discharging =
        batteries.iter().any(|battery| text_of(&battery.join("status")).as_deref() == Some("Discharging"));
    // 2 is "online, and another source could be chosen".
    let plugged = online.iter().any(|online| *online > 0);
    let mains = if online.is_empty() { !discharging } else { plugged };
    let charges: Vec<i64> = batteries.iter().filter_map(|battery| number_in(&battery.join("capacity"))).collect();
    let charge = match charges.len() {
        0 => None,
        count => u8::try_from((charges.iter().sum::<i64>() / count as i64).clamp(0, 100)).ok(),
    };
    Power { mains: Some(mains), charge }
}
