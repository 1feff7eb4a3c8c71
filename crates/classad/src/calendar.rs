//! Points and spans of time as text, and the Gregorian calendar under them.

use std::fmt::Write;

use crate::number;
use crate::value::AbsTime;

const DAY: i64 = 86_400;

/// A time of the calendar, as C's `struct tm` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
    pub(crate) hours: i64,
    pub(crate) minutes: i64,
    pub(crate) seconds: i64,
}

/// Days from 1970-01-01 to a day, which may lie outside of its month: the days of 400 years repeat.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

impl Civil {
    /// The clock's time in Greenwich.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = (shifted_month + 2) % 12 + 1;
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hours: rest / 3_600,
            minutes: rest / 60 % 60,
            seconds: rest % 60,
        }
    }

    /// 0 for Sunday.
    pub(crate) fn weekday(&self) -> i64 {
        (days_from_civil(self.year, self.month, self.day) + 4).rem_euclid(7)
    }

    /// 0 for the first of January.
    pub(crate) fn day_of_year(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day) - days_from_civil(self.year, 1, 1)
    }
}

/// Reads `2003-01-25T09:00:00-06:00` and whatever has the same digits in the same order: four of the year, then two each of month,
/// day, hours, minutes and seconds, of which the last may be missing, with anything but digits between; then perhaps a zone. Fields
/// may run over, as in February 30. Without a zone, `local` seconds of offset are meant.
pub(crate) fn parse_absolute(text: &str, local: i32) -> Option<AbsTime> {
    let mut digits = text.as_bytes().to_vec();
    let offset = take_zone(&mut digits);
    let mut at = next_digit(&digits, 0);
    if at + 4 > digits.len() {
        return None;
    }
    let year = leading_number(&digits[at..at + 4]);
    at += 4;
    // Month, day, hours, minutes, seconds. A day that is not given is day 0, the last of the month before: so has the library it.
    let mut fields = [1, 0, 0, 0, 0];
    for field in &mut fields {
        at = next_digit(&digits, at);
        if at + 2 <= digits.len() {
            *field = leading_number(&digits[at..at + 2]);
            at += 2;
        }
    }
    if next_digit(&digits, at) < digits.len() {
        return None;
    }
    let [month, day, hours, minutes, seconds] = fields;
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let clock = days_from_civil(year, month, day) * DAY + hours * 3_600 + minutes * 60 + seconds;
    let offset = offset.unwrap_or(local);
    Some(AbsTime { seconds: clock - i64::from(offset), offset })
}

/// Takes a zone off the end: `Z`, `+hhmm`, `+hh:mm` and the same with a minus.
fn take_zone(text: &mut Vec<u8>) -> Option<i32> {
    let trimmed = text.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    if trimmed > 1 && matches!(text[trimmed - 1], b'z' | b'Z') {
        text.remove(trimmed - 1);
        return Some(0);
    }
    let length = text.len();
    let signed = |at: usize| matches!(text[at], b'+' | b'-');
    if length > 6 && signed(length - 6) && text[length - 3] == b':' && !signed(length - 5) {
        text.remove(length - 3);
    } else if !(length > 5 && signed(length - 5)) {
        return None;
    }
    let zone = text[text.len() - 5..].to_vec();
    if !zone[1..].iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.truncate(text.len() - 5);
    let seconds = leading_number(&zone[1..3]) * 3_600 + leading_number(&zone[3..5]) * 60;
    // INVARIANT: at most 99 hours and 99 minutes.
    let seconds = seconds as i32;
    Some(if zone[0] == b'+' { seconds } else { -seconds })
}

fn next_digit(text: &[u8], from: usize) -> usize {
    text[from.min(text.len())..].iter().position(u8::is_ascii_digit).map_or(text.len(), |found| from + found)
}

fn leading_number(digits: &[u8]) -> i64 {
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

/// Reads `[-] [days+] [hours:] [minutes:] seconds`, with `d`, `h`, `m`, `s` in place of the separators or besides.
pub(crate) fn parse_relative(text: &str) -> Option<f64> {
    let mut rest = text.as_bytes();
    let mut seconds = 0.0;
    trim(&mut rest);
    if rest.last().is_some_and(|last| last.is_ascii_digit() || matches!(last, b's' | b'S')) {
        if !rest[rest.len() - 1].is_ascii_digit() {
            rest = &rest[..rest.len() - 1];
        }
        trim(&mut rest);
        let mut written = take_digits(&mut rest);
        if rest.last() == Some(&b'.') {
            rest = &rest[..rest.len() - 1];
            written = format!("{}.{written}", take_digits(&mut rest));
        }
        seconds = number::leading_real(&written).unwrap_or(0.0);
    }
    let minutes = take_unit(&mut rest, b"mM:");
    let hours = take_unit(&mut rest, b"hH:");
    let days = take_unit(&mut rest, b"dD+");
    trim(&mut rest);
    let negative = rest.last() == Some(&b'-');
    if negative {
        rest = &rest[..rest.len() - 1];
    }
    trim(&mut rest);
    let total = (days * DAY as f64) + hours * 3_600.0 + minutes * 60.0 + seconds;
    rest.is_empty().then_some(if negative { -total } else { total })
}

fn trim(rest: &mut &[u8]) {
    *rest = rest.trim_ascii_end();
}

/// Takes the digits off the end, as text.
fn take_digits(rest: &mut &[u8]) -> String {
    let start = rest.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
    let (before, digits) = rest.split_at(start);
    *rest = before;
    String::from_utf8_lossy(digits).into_owned()
}

/// Takes a number and its unit off the end, if the unit is there.
fn take_unit(rest: &mut &[u8], units: &[u8]) -> f64 {
    trim(rest);
    match rest.last() {
        Some(last) if units.contains(last) => *rest = &rest[..rest.len() - 1],
        _ => return 0.0,
    }
    trim(rest);
    // The library counts in 32 bits, and takes what does not fit them for 0.
    take_digits(rest).parse::<i32>().map_or(0.0, f64::from)
}

/// Whether the text of a time says all of it.
pub(crate) fn has_text(time: AbsTime) -> bool {
    let mut text = String::new();
    write_absolute(&mut text, time, YEAR_DIGITS);
    parse_absolute(&text, 0) == Some(time)
}

// Writing to a string cannot fail, so that the results of `write!` below are dropped.

/// Digits of a year that can be read again.
pub(crate) const YEAR_DIGITS: usize = 4;
/// HTCondor's library writes the first thousand years with as few as they have.
pub(crate) const YEAR_DIGITS_OF_LIBRARY: usize = 1;

/// `2004-01-01T10:00:00+01:00`, with at least so many digits of the year.
pub(crate) fn write_absolute(text: &mut String, time: AbsTime, digits: usize) {
    let civil = Civil::from_seconds(time.seconds.wrapping_add(i64::from(time.offset)));
    let (sign, zone) = (if time.offset > 0 { '+' } else { '-' }, time.offset.unsigned_abs());
    let Civil { year, month, day, hours, minutes, seconds } = civil;
    _ = write!(text, "{year:0digits$}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}");
    _ = write!(text, "{sign}{:02}:{:02}", zone / 3_600, zone / 60 % 60);
}

/// `1+02:03:04.5`, without the fields in front that are 0.
pub(crate) fn write_relative(text: &mut String, seconds: f64) {
    let magnitude = if seconds < 0.0 {
        text.push('-');
        -seconds
    } else {
        seconds
    };
    let fraction = magnitude - magnitude.floor();
    let whole = number::truncate_short(magnitude);
    let (days, hours, minutes) = (whole / 86_400, whole % 86_400 / 3_600, whole % 3_600 / 60);
    if days != 0 {
        _ = write!(text, "{days}+{hours:02}:{minutes:02}:");
    } else if hours != 0 {
        _ = write!(text, "{hours:02}:{minutes:02}:");
    } else if minutes != 0 {
        _ = write!(text, "{minutes:02}:");
    }
    if fraction == 0.0 {
        _ = write!(text, "{:02}", whole % 60);
    } else {
        number::write_general(text, f64::from(whole % 60) + fraction);
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// As `strftime` does it, with the names of the C locale. What it does not know is copied.
pub(crate) fn format(civil: &Civil, format: &str) -> String {
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some(field) => write_field(&mut text, civil, field),
            None => text.push('%'),
        }
    }
    text
}

fn write_field(text: &mut String, civil: &Civil, field: char) {
    let Civil { year, month, day, hours, minutes, seconds } = *civil;
    let (weekday, day_of_year) = (civil.weekday(), civil.day_of_year());
    let name =
        |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or("?");
    let (weekday_name, month_name) = (name(&WEEKDAYS, weekday), name(&MONTHS, month - 1));
    let twelve = if hours % 12 == 0 { 12 } else { hours % 12 };
    let written = match field {
        'a' => write!(text, "{}", weekday_name.get(..3).unwrap_or(weekday_name)),
        'A' => write!(text, "{weekday_name}"),
        'b' | 'h' => write!(text, "{}", month_name.get(..3).unwrap_or(month_name)),
        'B' => write!(text, "{month_name}"),
        'c' => return text.push_str(&format(civil, "%a %b %e %H:%M:%S %Y")),
        'C' => write!(text, "{:02}", year.div_euclid(100)),
        'd' => write!(text, "{day:02}"),
        'D' | 'x' => return text.push_str(&format(civil, "%m/%d/%y")),
        'e' => write!(text, "{day:2}"),
        'F' => return text.push_str(&format(civil, "%Y-%m-%d")),
        'g' => write!(text, "{:02}", iso_week(civil).0.rem_euclid(100)),
        'G' => write!(text, "{}", iso_week(civil).0),
        'H' => write!(text, "{hours:02}"),
        'I' => write!(text, "{twelve:02}"),
        'j' => write!(text, "{:03}", day_of_year + 1),
        'k' => write!(text, "{hours:2}"),
        'l' => write!(text, "{twelve:2}"),
        'm' => write!(text, "{month:02}"),
        'M' => write!(text, "{minutes:02}"),
        'n' => writeln!(text),
        'p' => write!(text, "{}", if hours < 12 { "AM" } else { "PM" }),
        'P' => write!(text, "{}", if hours < 12 { "am" } else { "pm" }),
        'r' => return text.push_str(&format(civil, "%I:%M:%S %p")),
        'R' => return text.push_str(&format(civil, "%H:%M")),
        's' => write!(text, "{}", days_from_civil(year, month, day) * DAY + hours * 3_600 + minutes * 60 + seconds),
        'S' => write!(text, "{seconds:02}"),
        't' => write!(text, "\t"),
        'T' | 'X' => return text.push_str(&format(civil, "%H:%M:%S")),
        'u' => write!(text, "{}", if weekday == 0 { 7 } else { weekday }),
        'U' => write!(text, "{:02}", (day_of_year + 7 - weekday) / 7),
        'V' => write!(text, "{:02}", iso_week(civil).1),
        'w' => write!(text, "{weekday}"),
        'W' => write!(text, "{:02}", (day_of_year + 7 - (weekday + 6) % 7) / 7),
        'y' => write!(text, "{:02}", year.rem_euclid(100)),
        'Y' => write!(text, "{year}"),
        'z' => write!(text, "+0000"),
        'Z' => write!(text, "UTC"),
        '%' => write!(text, "%"),
        other => write!(text, "%{other}"),
    };
    _ = written;
}

/// The year and week of ISO 8601: the week belongs to the year of its Thursday.
fn iso_week(civil: &Civil) -> (i64, i64) {
    let days = days_from_civil(civil.year, civil.month, civil.day);
    let thursday = days - (civil.weekday() + 6) % 7 + 3;
    let year = Civil::from_seconds(thursday * DAY).year;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_goes_both_ways() {
        for seconds in (-80_000_000_000_i64..80_000_000_000).step_by(1_234_567_891) {
            let Civil { year, month, day, hours, minutes, seconds: rest } = Civil::from_seconds(seconds);
            assert_eq!(days_from_civil(year, month, day) * DAY + hours * 3_600 + minutes * 60 + rest, seconds);
            let time = AbsTime { seconds, offset: -5_400 };
            if (1000..10_000).contains(&year) {
                assert!(has_text(time), "{time:?}");
            }
        }
        let leap = Civil::from_seconds(951_782_400);
        assert_eq!((leap.year, leap.month, leap.day), (2000, 2, 29));
    }

    #[test]
    fn times_are_read_and_written() {
        let read = |text| parse_absolute(text, 3_600).map(|time| (time.seconds, time.offset));
        assert_eq!(read("1970-01-02T03:04:05Z"), Some((97_445, 0)));
        assert_eq!(read("1970-01-02T03:04:05-06:00"), Some((97_445 + 21_600, -21_600)));
        assert_eq!(read("1970-01-02T03:04:05"), Some((97_445 - 3_600, 3_600)));
        assert_eq!(read("19700102"), Some((82_800, 3_600)));
        assert_eq!(read("197"), None);
        assert_eq!(read("1970-01-02T03:04:05 6"), None);
        for (text, seconds) in [
            ("1+02:03:04.5", 93_784.5),
            ("1d2h3m4.5s", 93_784.5),
            ("-10", -10.0),
            ("1:2", 62.0),
            ("", 0.0),
            ("2d", 172_800.0),
        ] {
            assert_eq!(parse_relative(text), Some(seconds), "{text:?}");
        }
        assert_eq!(parse_relative("tomorrow"), None);
        let mut text = String::new();
        write_relative(&mut text, -93_784.5);
        assert_eq!(text, "-1+02:03:4.5");
    }
}
