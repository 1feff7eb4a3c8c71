//! Times of the week.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
/// Lines of a schedule.
const LINES_MAX: usize = 64;

/// A day of the week, as ISO 8601 counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the days of the week")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All, from Monday on.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    fn name(self) -> &'static str {
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][self as usize]
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Times of the week in which the machine may work, by its local clock. An empty one is the whole week.
///
/// A line names days and hours: `Mon-Fri 18:00-08:00` (over midnight, into the next day), `Sat-Sun` (all day), `12:00-13:00` (every
/// day), `Mon,Wed 00:00-24:00`. The beginning belongs to it, the end does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    lines: Vec<String>,
    /// Minutes of the week, sorted, apart from each other. The last may pass the week's end.
    spans: Vec<(u32, u32)>,
}

/// A line of a schedule that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is no time of the week: {what}. Write `Mon-Fri 18:00-08:00`, `Sat-Sun` or `12:00-13:00`")]
pub struct ScheduleError {
    /// The line.
    pub line: String,
    /// What is wrong with it.
    pub what: String,
}

impl Schedule {
    /// From its lines.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn new<T: AsRef<str>>(lines: &[T]) -> Result<Self, ScheduleError> {
        if lines.len() > LINES_MAX {
            let what = format!("a schedule has {LINES_MAX} lines at most");
            return Err(ScheduleError { line: format!("{} lines", lines.len()), what });
        }
        let mut spans = Vec::new();
        for line in lines {
            spans.extend(parse(line.as_ref())?);
        }
        let lines = lines.iter().map(|line| line.as_ref().to_owned()).collect();
        Ok(Self { lines, spans: join(spans) })
    }

    /// How many minutes are left of the time that this minute lies in; `None` when it lies in none. The whole week has no end.
    pub fn left(&self, day: Weekday, minute: u32) -> Option<u32> {
        if self.spans.is_empty() {
            return self.lines.is_empty().then_some(u32::MAX);
        }
        let now = minute_of_week(day, minute);
        // Also as a minute of the week after, for the span that passes the week's end.
        let inside = |now: u32| self.spans.iter().find(|(from, to)| (*from..*to).contains(&now)).map(|(_, to)| *to);
        match self.spans.as_slice() {
            [(from, to)] if to - from >= WEEK => Some(u32::MAX),
            _ => inside(now).map(|to| to - now).or_else(|| inside(now + WEEK).map(|to| to - now - WEEK)),
        }
    }

    /// When the next time begins: day and minute.
    pub fn next(&self, day: Weekday, minute: u32) -> Option<(Weekday, u32)> {
        let now = minute_of_week(day, minute);
        let wait = self.spans.iter().map(|(from, _)| (from + WEEK - now) % WEEK).min()?;
        let then = (now + wait) % WEEK;
        Some((Weekday::ALL[(then / DAY) as usize], then % DAY))
    }
}

fn minute_of_week(day: Weekday, minute: u32) -> u32 {
    day as u32 * DAY + minute.min(DAY - 1)
}

/// The spans that overlap, or touch, become one. One that passes the week's end is joined with those at its beginning.
fn join(mut spans: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    spans.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    // Into the next week: as long as it reaches what comes first there.
    while let (Some(last), Some(first)) = (joined.last().copied(), joined.first().copied()) {
        if joined.len() == 1 || last.1 < first.0 + WEEK {
            break;
        }
        joined.remove(0);
        if let Some(last) = joined.last_mut() {
            last.1 = last.1.max(first.1 + WEEK);
        }
    }
    joined
}

fn parse(line: &str) -> Result<Vec<(u32, u32)>, ScheduleError> {
    let wrong = |what: String| ScheduleError { line: line.chars().take(60).collect(), what };
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_hours = |word: &str| word.contains(':');
    let (days, hours) = match words.as_slice() {
        [hours] if is_hours(hours) => (Weekday::ALL.to_vec(), parse_hours(hours)),
        [days] => (parse_days(days).map_err(wrong)?, Ok((0, DAY))),
        [days, hours] => (parse_days(days).map_err(wrong)?, parse_hours(hours)),
        _ => return Err(wrong("it has days and hours, one word each".to_owned())),
    };
    let (from, to) = hours.map_err(wrong)?;
    let length = if to > from { to - from } else { to + DAY - from };
    Ok(days.into_iter().map(|day| (day as u32 * DAY + from, day as u32 * DAY + from + length)).collect())
}

/// `Mon`, `Mon-Fri`, `Fri-Mon`, `Mon,Wed,Sat-Sun`.
fn parse_days(word: &str) -> Result<Vec<Weekday>, String> {
    let day = |text: &str| {
        let known = Weekday::ALL.into_iter().find(|day| day.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("`{text}` is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun"))
    };
    let mut days = Vec::new();
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)? as usize, day(last)? as usize);
        let count = (last + 7 - first) % 7 + 1;
        days.extend((0..count).map(|step| Weekday::ALL[(first + step) % 7]));
    }
    days.sort_unstable();
    days.dedup();
    Ok(days)
}

/// `18:00-08:00`; the same twice is the whole day from then.
fn parse_hours(word: &str) -> Result<(u32, u32), String> {
    let (from, to) = word.split_once('-').ok_or("hours are written 18:00-08:00")?;
    let from = minute(from)?;
    if from == DAY {
        return Err("a day has no time after 23:59 to begin at".to_owned());
    }
    Ok((from, minute(to)?))
}

fn minute(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no time from 00:00 to 24:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text.len() {
        1 | 2 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u32>().map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour * 60 + minute;
    if minute > 59 || total > DAY { Err(wrong()) } else { Ok(total) }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&Vec::<String>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Weekday::{Friday, Monday, Saturday, Sunday, Tuesday, Wednesday};

    fn schedule(text: &str) -> Schedule {
        let lines: Vec<&str> = text.split("; ").filter(|line| !line.is_empty()).collect();
        Schedule::new(&lines).unwrap()
    }

    #[test]
    fn nights_pass_midnight_and_the_weekend() {
        let nights = schedule("Mon-Fri 18:00-08:00");
        assert_eq!(nights.left(Monday, 17 * 60 + 59), None);
        assert_eq!(nights.left(Monday, 18 * 60), Some(14 * 60));
        assert_eq!(nights.left(Tuesday, 7 * 60 + 59), Some(1));
        assert_eq!(nights.left(Tuesday, 8 * 60), None);
        assert_eq!(nights.left(Saturday, 60), Some(7 * 60), "Friday's night");
        assert_eq!(nights.left(Monday, 60), None, "nobody said Sunday");
        assert_eq!(nights.next(Saturday, 9 * 60), Some((Monday, 18 * 60)));
        assert_eq!(nights.next(Tuesday, 9 * 60), Some((Tuesday, 18 * 60)));
        let sunday = schedule("Sun 22:00-06:00");
        assert_eq!(sunday.left(Monday, 5 * 60), Some(60), "into the next week");
        assert_eq!(sunday.left(Sunday, 23 * 60), Some(7 * 60));
    }

    #[test]
    fn times_that_touch_are_one() {
        let all = schedule("Mon-Fri 18:00-08:00; Sat-Sun");
        assert_eq!(all.left(Friday, 18 * 60), Some(6 * 60 + 2 * 24 * 60), "until Monday 00:00");
        let longer = schedule("Sun; Mon 00:00-12:00; Sat 12:00-24:00");
        assert_eq!(longer.left(Saturday, 12 * 60), Some(48 * 60));
        assert_eq!(longer.left(Monday, 0), Some(12 * 60));
        assert_eq!(schedule("Fri-Mon").left(Wednesday, 0), None);
        assert_eq!(schedule("Fri-Mon").left(Friday, 0), Some(4 * 24 * 60));
    }

    #[test]
    fn the_whole_week_has_no_end() {
        for text in ["", "Mon-Sun", "00:00-24:00", "12:00-12:00", "Sat 00:00-24:00; Sun-Fri"] {
            assert_eq!(schedule(text).left(Wednesday, 777), Some(u32::MAX), "{text:?}");
        }
    }

    /// Against a table of every minute of the week.
    #[test]
    fn every_minute_is_as_its_lines_say() {
        let mut state = 0x5eed_u64;
        let mut random = |bound: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as u32 % bound
        };
        for _ in 0..200 {
            let mut table = vec![false; WEEK as usize];
            let mut lines = Vec::new();
            for _ in 0..=random(4) {
                let (first, last, from, to) = (random(7), random(7), random(DAY), random(DAY + 1));
                let names = [first, last].map(|day| Weekday::ALL[day as usize].name());
                lines.push(format!(
                    "{}-{} {:02}:{:02}-{:02}:{:02}",
                    names[0],
                    names[1],
                    from / 60,
                    from % 60,
                    to / 60,
                    to % 60
                ));
                let length = if to > from { to - from } else { to + DAY - from };
                for step in 0..(last + 7 - first) % 7 + 1 {
                    let start = (first + step) % 7 * DAY + from;
                    (start..start + length).for_each(|minute| table[(minute % WEEK) as usize] = true);
                }
            }
            let schedule = Schedule::new(&lines).unwrap();
            for minute in (0..WEEK).step_by(7) {
                let left = schedule.left(Weekday::ALL[(minute / DAY) as usize], minute % DAY);
                let expected = (0..WEEK).take_while(|step| table[((minute + step) % WEEK) as usize]).count() as u32;
                match expected {
                    0 => assert_eq!(left, None, "{lines:?} at {minute}"),
                    WEEK => assert_eq!(left, Some(u32::MAX), "{lines:?} at {minute}"),
                    expected => assert_eq!(left, Some(expected), "{lines:?} at {minute}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_time_says_what_is_wrong() {
        let cases = [
            ("Mo 18:00-08:00", "Mo"),
            ("Mon 18-08", "18:00-08:00"),
            ("Mon 25:00-08:00", "25:00"),
            ("Mon 18:60-08:00", "18:60"),
            ("Mon 24:00-08:00", "23:59"),
            ("Mon Tue 18:00-08:00", "one word each"),
            ("Mon 18:00-+8:00", "+8:00"),
            ("Mon-Fri-Sun", "Fri-Sun"),
        ];
        for (line, words) in cases {
            let error = Schedule::new(&[line]).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(line), "{error}");
        }
        assert!(Schedule::new(&["Mon"; 65]).is_err());
        assert!(serde_json::from_str::<Schedule>(r#"["Mon", "noon"]"#).unwrap_err().to_string().contains("noon"));
    }
}
