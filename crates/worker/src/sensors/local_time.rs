//! The local clock on the wall.

use std::time::{SystemTime, UNIX_EPOCH};

use gristmill_owner::Weekday;
use nix::libc;

/// Day of the week and minute of the day, by the machine's time zone.
pub(super) fn now() -> (Weekday, u32) {
    at(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}

fn at(unix_s: u64) -> (Weekday, u32) {
    let time: libc::time_t = unix_s.try_into().unwrap_or(libc::time_t::MAX);
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, and `localtime_r` keeps neither. All bytes zero are a valid `tm`, so it may be
    // read whether the call filled it or not.
    let (known, parts) = unsafe {
        let known = !libc::localtime_r(&time, parts.as_mut_ptr()).is_null();
        (known, parts.assume_init())
    };
    if !known {
        // A time that no calendar has: by the clock of Greenwich, whose first day was a Thursday.
        return (Weekday::ALL[((unix_s / 86_400 + 3) % 7) as usize], (unix_s % 86_400 / 60) as u32);
    }
    // `tm` counts days from Sunday.
    let weekday = Weekday::ALL[(parts.tm_wday.rem_euclid(7) as usize + 6) % 7];
    (weekday, (parts.tm_hour.clamp(0, 23) * 60 + parts.tm_min.clamp(0, 59)).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the zone: it is off by at most 14 hours, in quarters of an hour, and goes on by a minute a minute.
    #[test]
    fn the_clock_goes_by_the_machines_zone() {
        // Wednesday, 2026-11-25 12:00:00 UTC.
        let noon = 1_795_608_000;
        let week_minute = |(day, minute): (Weekday, u32)| day as i64 * 1_440 + i64::from(minute);
        let utc = week_minute((Weekday::Wednesday, 12 * 60));
        let offset = week_minute(at(noon)) - utc;
        assert!(offset.abs() <= 14 * 60 && offset % 15 == 0, "{offset}");
        assert_eq!((week_minute(at(noon + 60)) - week_minute(at(noon))).rem_euclid(7 * 1_440), 1);
        assert_eq!(week_minute(at(noon + 7 * 86_400)), week_minute(at(noon)), "no change of the clocks in that week");
    }
}
