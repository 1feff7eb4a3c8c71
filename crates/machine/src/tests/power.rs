//! Counters of energy.

use std::time::Duration;

use super::*;
use crate::{MEASURE_MIN, Watts, WattsError};

const RANGE: u64 = 262_143_328_850;

fn counter(host: &Host, folder: &str, name: &str, energy: u64) {
    let folder = format!("sys/class/powercap/{folder}");
    host.write(&format!("{folder}/name"), format!("{name}\n"))
        .write(&format!("{folder}/energy_uj"), format!("{energy}\n"));
    host.write(&format!("{folder}/max_energy_range_uj"), format!("{RANGE}\n"));
}

#[test]
fn packages_are_added_up_and_their_parts_are_not() {
    let host = Host::new("x86_64");
    let at = |first: u64, second: u64, other: u64| {
        counter(&host, "intel-rapl:0", "package-0", first);
        counter(&host, "intel-rapl:1", "package-1", second);
        counter(&host, "intel-rapl:0:0", "core", other);
        counter(&host, "intel-rapl:2", "psys", other);
        counter(&host, "intel-rapl-mmio:0", "package-0", first);
    };
    at(5_000_000, RANGE - 1_000_000, 0);
    let began = Watts::begin(&host.places).unwrap();
    // 30 J, and 20 J across the end of the range.
    at(35_000_000, 19_000_000, 900_000_000);
    assert_eq!(began.end_after(Duration::from_secs(2)).unwrap(), 25.0);
}

#[test]
fn an_interval_too_short_or_too_long_says_nothing() {
    let host = Host::new("x86_64");
    counter(&host, "intel-rapl:0", "package-0", 0);
    let after = |took| Watts::begin(&host.places).unwrap().end_after(took);
    assert!(matches!(after(MEASURE_MIN - Duration::from_millis(1)), Err(WattsError::Interval { .. })));
    // At a thousand watts the range is through after 262 s.
    assert!(matches!(after(Duration::from_secs(263)), Err(WattsError::Interval { .. })));
    assert_eq!(after(Duration::from_secs(262)).unwrap(), 0.0);
}

#[test]
fn a_machine_without_a_counter_says_so() {
    let host = Host::new("x86_64");
    assert!(matches!(Watts::begin(&host.places), Err(WattsError::NoCounter)));
    counter(&host, "intel-rapl:0", "psys", 0);
    host.write("sys/class/powercap/dtpm/name", "package-0\n");
    let error = Watts::begin(&host.places).unwrap_err();
    assert!(error.to_string().contains("tell its watts instead"), "{error}");
}

#[test]
fn a_counter_that_may_not_be_read_is_named() {
    let host = Host::new("x86_64");
    counter(&host, "intel-rapl:0", "package-0", 0);
    // A folder cannot be read by root either.
    let path = host.path("sys/class/powercap/intel-rapl:0/energy_uj");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Watts::begin(&host.places).unwrap_err();
    assert!(matches!(&error, WattsError::Closed { path: named, .. } if *named == path), "{error}");
}

#[test]
fn nonsense_is_no_power() {
    let host = Host::new("x86_64");
    let file = |name: &str| format!("sys/class/powercap/intel-rapl:0/{name}");
    for energy in ["", "-5", "1e6", "99999999999999999999999", "262143328851", "\u{fffd}"] {
        counter(&host, "intel-rapl:0", "package-0", 0);
        host.write(&file("energy_uj"), energy);
        assert!(matches!(Watts::begin(&host.places), Err(WattsError::Nonsense { .. })), "{energy}");
    }
    for range in ["", "0", "-1"] {
        counter(&host, "intel-rapl:0", "package-0", 0);
        host.write(&file("max_energy_range_uj"), range);
        assert!(matches!(Watts::begin(&host.places), Err(WattsError::Nonsense { .. })), "{range}");
    }
    // A counter that was set back looks as if it had wrapped: no processor draws so much.
    counter(&host, "intel-rapl:0", "package-0", 9_000_000);
    let began = Watts::begin(&host.places).unwrap();
    counter(&host, "intel-rapl:0", "package-0", 0);
    assert!(matches!(began.end_after(Duration::from_secs(1)), Err(WattsError::Nonsense { .. })));
    // It vanishes meanwhile.
    let began = Watts::begin(&host.places).unwrap();
    fs::remove_file(host.path(&file("energy_uj"))).unwrap();
    assert!(matches!(began.end_after(Duration::from_secs(1)), Err(WattsError::Closed { .. })));
}
