//! The hottest part, from `/sys/class/thermal` and `/sys/class/hwmon`.

use std::path::Path;

use super::{entries, number_in};

/// What a sensor may say in thousandths of a degree Celsius: others are broken, or not connected.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = 1_000..=125_000;

pub(super) fn read(sys: &Path) -> Option<f64> {
    let zones = entries(&sys.join("class/thermal"), "thermal_zone").into_iter().map(|zone| zone.join("temp"));
    let chips = entries(&sys.join("class/hwmon"), "hwmon").into_iter().flat_map(|chip| {
        let is_input = |path: &std::path::PathBuf| path.to_str().is_some_and(|path| path.ends_with("_input"));
        entries(&chip, "temp").into_iter().filter(is_input)
    });
    let hottest =
        zones.chain(chips).filter_map(|file| number_in(&file)).filter(|heat| PLAUSIBLE.contains(heat)).max()?;
    Some(hottest as f64 / 1_000.0)
}
