//! Functions of time. The clock is the caller's; without one, what asks for it is `undefined`.

use super::{arguments, some_arguments, string_in};
use crate::ad::ClassAd;
use crate::calendar::{self, Civil};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::Call;
use crate::functions::convert::integer_of;
use crate::name::Name;
use crate::number;
use crate::value::{AbsTime, Value};

const DAY: i64 = 86_400;
/// Bytes of a formatted time.
const FORMATTED_MAX: usize = 1_023;

/// Seconds since 1970.
pub(super) fn time(evaluator: &mut Evaluator<'_>, call: &Call, _: Place<'_>) -> Val {
    clock(evaluator, call, |now| Val::int(now.seconds))
}

pub(super) fn current_time(evaluator: &mut Evaluator<'_>, call: &Call, _: Place<'_>) -> Val {
    clock(evaluator, call, |now| Val::Plain(Value::AbsTime(now)))
}

pub(super) fn zone_offset(evaluator: &mut Evaluator<'_>, call: &Call, _: Place<'_>) -> Val {
    clock(evaluator, call, |now| Val::Plain(Value::RelTime(f64::from(now.offset))))
}

/// Time since midnight.
pub(super) fn day_time(evaluator: &mut Evaluator<'_>, call: &Call, _: Place<'_>) -> Val {
    clock(evaluator, call, |now| {
        Val::Plain(Value::RelTime(now.seconds.wrapping_add(i64::from(now.offset)).rem_euclid(DAY) as f64))
    })
}

fn clock(evaluator: &Evaluator<'_>, call: &Call, read: fn(AbsTime) -> Val) -> Val {
    if call.arguments.is_empty() { evaluator.now().map_or(Val::UNDEFINED, read) } else { Val::ERROR }
}

pub(super) fn absolute(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    if call.arguments.is_empty() {
        return current_time(evaluator, call, place);
    }
    let Some([Some(Val::Plain(value)), zone]) = some_arguments(evaluator, call, place, 1) else { return Val::ERROR };
    let offset = match zone {
        None => evaluator.zone(),
        Some(Val::Plain(Value::Integer(offset))) => offset as i32,
        Some(Val::Plain(Value::Real(offset) | Value::RelTime(offset))) => number::truncate_short(offset),
        Some(_) => return Val::ERROR,
    };
    // The library takes 32 bits of the number of seconds.
    let seconds = match value {
        Value::Undefined => return Val::UNDEFINED,
        Value::AbsTime(_) => return Val::Plain(value),
        Value::Integer(seconds) => i64::from(seconds as i32),
        Value::Real(seconds) => i64::from(number::truncate_short(seconds)),
        Value::RelTime(seconds) => number::truncate(seconds),
        Value::String(text) => {
            evaluator.charge_bytes(text.len());
            let time = calendar::parse_absolute(&text, offset);
            return time.map_or(Val::ERROR, |time| Val::Plain(Value::AbsTime(time)));
        }
        _ => return Val::ERROR,
    };
    Val::Plain(Value::AbsTime(AbsTime { seconds, offset }))
}

pub(super) fn relative(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([Val::Plain(value)]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let seconds = match value {
        Value::Undefined => return Val::UNDEFINED,
        Value::Integer(seconds) => f64::from(seconds as i32),
        Value::Real(seconds) | Value::RelTime(seconds) => seconds,
        Value::AbsTime(time) => time.seconds as f64,
        Value::String(text) => {
            evaluator.charge_bytes(text.len());
            match calendar::parse_relative(&text) {
                Some(seconds) => seconds,
                None => return Val::ERROR,
            }
        }
        _ => return Val::ERROR,
    };
    Val::Plain(Value::RelTime(seconds))
}

/// A field of a point in time, in the caller's zone, or of a span.
pub(super) fn field(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    of_time: fn(&Civil) -> Option<i64>,
    of_span: fn(i64) -> Option<i64>,
) -> Val {
    let field = match arguments(evaluator, call, place) {
        Some([Val::Plain(Value::AbsTime(time))]) => {
            of_time(&Civil::from_seconds(time.seconds.wrapping_add(i64::from(evaluator.zone()))))
        }
        // The library has 32 bits of a span's seconds.
        Some([Val::Plain(Value::RelTime(seconds))]) => of_span(i64::from(number::truncate_short(seconds))),
        _ => None,
    };
    field.map_or(Val::ERROR, Val::int)
}

/// A time as an ad of its fields.
pub(super) fn split(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([Val::Plain(value)]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let fields: Vec<(&str, Value)> = match value {
        Value::Undefined => return Val::UNDEFINED,
        Value::RelTime(seconds) => fields_of_span(seconds),
        value => match clock_of(evaluator, &value) {
            Some((civil, offset)) => vec![
                ("Type", Value::string("AbsoluteTime")),
                ("Year", civil.year.into()),
                ("Month", civil.month.into()),
                ("Day", civil.day.into()),
                ("Hours", civil.hours.into()),
                ("Minutes", civil.minutes.into()),
                ("Seconds", civil.seconds.into()),
                ("Offset", offset.into()),
            ],
            None => return Val::ERROR,
        },
    };
    let mut ad = ClassAd::new();
    for (name, value) in fields {
        if ad.put(Name::known(name), value.into()).is_err() {
            return Val::ERROR;
        }
    }
    evaluator.made_ad(ad)
}

fn fields_of_span(seconds: f64) -> Vec<(&'static str, Value)> {
    let magnitude = seconds.abs();
    let whole = number::truncate_short(magnitude);
    let (mut days, mut hours, mut minutes) = (whole / 86_400, whole % 86_400 / 3_600, whole % 3_600 / 60);
    let mut rest = f64::from(whole % 60) + (magnitude - magnitude.floor());
    // The first field that is not 0 has the sign.
    if seconds < 0.0 {
        match (days > 0, hours > 0, minutes > 0) {
            (true, ..) => days = -days,
            (_, true, _) => hours = -hours,
            (.., true) => minutes = -minutes,
            _ => rest = -rest,
        }
    }
    vec![
        ("Type", Value::string("RelativeTime")),
        ("Days", days.into()),
        ("Hours", hours.into()),
        ("Minutes", minutes.into()),
        ("Seconds", rest.into()),
    ]
}

/// What a clock shows at a time: a number of seconds in the caller's zone, a point in time in its own; and the zone.
fn clock_of(evaluator: &Evaluator<'_>, value: &Value) -> Option<(Civil, i32)> {
    let (seconds, offset) = match value {
        Value::Integer(seconds) => (*seconds, evaluator.zone()),
        Value::Real(seconds) => (i64::from(number::truncate_short(*seconds)), evaluator.zone()),
        Value::AbsTime(time) => (time.seconds, time.offset),
        _ => return None,
    };
    Some((Civil::from_seconds(seconds.wrapping_add(i64::from(offset))), offset))
}

pub(super) fn format(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value, format]) = some_arguments(evaluator, call, place, 0) else { return Val::ERROR };
    let civil = match value {
        None => match evaluator.now() {
            Some(now) => clock_of(evaluator, &Value::Integer(now.seconds)).map(|(civil, _)| civil),
            None => return Val::UNDEFINED,
        },
        Some(Val::Plain(value)) => clock_of(evaluator, &value).map(|(civil, _)| civil),
        Some(ad @ Val::Ad(_)) => Some(civil_of(evaluator, &ad, place)),
        Some(Val::List(..)) => None,
    };
    let Some(civil) = civil else { return Val::ERROR };
    let format = match &format {
        None => "%c",
        Some(format) => match string_in(format) {
            Some(format) => format,
            None => return Val::ERROR,
        },
    };
    // A field can become twenty characters.
    evaluator.charge(format.len());
    // Two characters make one at least.
    let text = if format.len() > 2 * FORMATTED_MAX { String::new() } else { calendar::format(&civil, format) };
    // The library has room for so many bytes, and leaves it empty if they do not suffice.
    evaluator.made_string(if text.len() > FORMATTED_MAX { "" } else { &text })
}

/// The time whose fields an ad has, as `splitTime` names them.
fn civil_of(evaluator: &mut Evaluator<'_>, ad: &Val, place: Place<'_>) -> Civil {
    let mut field = |name: &str, otherwise: i64| {
        let value = evaluator.select(ad.clone(), &Name::known(name), place);
        let value = if value.truth().is_some() { integer_of(&value) } else { Val::UNDEFINED };
        match value {
            // The library has 32 bits for each.
            Val::Plain(Value::Integer(value)) => i64::from(value as i32),
            _ => otherwise,
        }
    };
    Civil {
        year: field("Year", 1900),
        month: field("Month", 1),
        day: field("Day", 0),
        hours: field("Hours", 0),
        minutes: field("Minutes", 0),
        seconds: field("Seconds", 0),
    }
}

/// Seconds as `days+hours:minutes:seconds`, without the fields in front that are 0.
pub(super) fn interval(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let Val::Plain(Value::Integer(seconds)) = integer_of(&value) else { return Val::ERROR };
    let seconds = seconds as i32;
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds % 86_400 / 3_600, seconds % 3_600 / 60, seconds % 60);
    let text = if days != 0 {
        format!("{days}+{:02}:{:02}:{:02}", hours.abs(), minutes.abs(), rest.abs())
    } else if hours != 0 {
        format!("{hours}:{:02}:{:02}", minutes.abs(), rest.abs())
    } else if minutes != 0 {
        format!("{minutes}:{:02}", rest.abs())
    } else {
        rest.to_string()
    };
    evaluator.made_string(&text)
}
