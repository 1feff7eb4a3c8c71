//! The functions of the language, by name.
//!
//! They are those of the C++ library but for some that are left out, and are `error` like any function that does not exist:
//! `userHome` and `userMap` (they look into the host's files), `random` (the same ad must always give the same value),
//! `unresolved` (see [`Expr::external_references`]), and those that speak of HTCondor's submit files: `envV1ToV2`,
//! `mergeEnvironment`, `argsToList`, `listToArgs`.

mod convert;
mod list;
mod string_list;
mod text;
mod time;
mod version;

use std::fmt;
use std::sync::Arc;

use crate::calendar;
use crate::eval::{Evaluator, Place, Val};
use crate::expr::{Call, Expr, Node};
use crate::number;
use crate::print::{self, Style};
use crate::value::Value;

pub(crate) use text::Pattern;

type Body = fn(&mut Evaluator<'_>, &Call, Place<'_>) -> Val;

/// A function, or none if nothing has that name; and whether it is plain.
#[derive(Clone, Copy)]
pub(crate) struct Function(Option<Body>, bool);

/// Functions that depend on more than the values of their arguments: on the place of the call, or on the time and the zone.
const NOT_PLAIN: [&str; 21] = [
    "eval",
    "unparse",
    "debug",
    "evalInEachContext",
    "countMatches",
    "absTime",
    "time",
    "currentTime",
    "timeZoneOffset",
    "dayTime",
    "getYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDays",
    "getHours",
    "getMinutes",
    "getSeconds",
    "splitTime",
    "formatTime",
];

impl Function {
    /// Whether its value depends on nothing but the values of its arguments.
    pub(crate) fn is_plain(self) -> bool {
        self.0.is_some() && self.1
    }

    /// The function of a name, whatever its case.
    pub(crate) fn named(name: &str) -> Self {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        let body = FUNCTIONS.iter().find(|(known, _)| same(known)).map(|(_, body)| *body);
        Self(body, !NOT_PLAIN.into_iter().any(same))
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "known" } else { "unknown" })
    }
}

/// Calls a function.
pub(crate) fn call(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match call.function.0 {
        Some(body) => body(evaluator, call, place),
        None => Val::ERROR,
    }
}

const FUNCTIONS: [(&str, Body); 86] = [
    ("isUndefined", |e, c, p| is(e, c, p, |value| value.is_undefined())),
    ("isError", |e, c, p| is(e, c, p, |value| value.is_error())),
    ("isBoolean", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::Boolean(_))))),
    ("isInteger", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::Integer(_))))),
    ("isReal", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::Real(_))))),
    ("isString", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::String(_))))),
    ("isAbsTime", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::AbsTime(_))))),
    ("isRelTime", |e, c, p| is(e, c, p, |value| matches!(value, Val::Plain(Value::RelTime(_))))),
    ("isList", |e, c, p| is(e, c, p, |value| matches!(value, Val::List(..)))),
    ("isClassAd", |e, c, p| is(e, c, p, |value| matches!(value, Val::Ad(_)))),
    ("ifThenElse", if_then_else),
    ("eval", eval),
    ("debug", debug),
    ("unparse", unparse),
    ("evalInEachContext", list::eval_in_each_context),
    ("countMatches", list::count_matches),
    ("member", list::member),
    ("identicalMember", list::identical_member),
    ("size", list::size),
    ("sum", list::sum),
    ("avg", list::avg),
    ("min", list::min),
    ("max", list::max),
    ("anyCompare", list::any_compare),
    ("allCompare", list::all_compare),
    ("int", convert::int),
    ("real", convert::real),
    ("string", convert::string),
    ("bool", convert::bool),
    ("floor", |e, c, p| convert::round(e, c, p, f64::floor)),
    ("ceil", |e, c, p| convert::round(e, c, p, f64::ceil)),
    ("ceiling", |e, c, p| convert::round(e, c, p, f64::ceil)),
    ("round", |e, c, p| convert::round(e, c, p, f64::round_ties_even)),
    ("pow", convert::pow),
    ("quantize", convert::quantize),
    ("absTime", time::absolute),
    ("relTime", time::relative),
    ("time", time::time),
    ("currentTime", time::current_time),
    ("timeZoneOffset", time::zone_offset),
    ("dayTime", time::day_time),
    ("getYear", |e, c, p| time::field(e, c, p, |time| Some(time.year), |_| None)),
    ("getMonth", |e, c, p| time::field(e, c, p, |time| Some(time.month), |_| None)),
    ("getDayOfYear", |e, c, p| time::field(e, c, p, |time| Some(time.day_of_year()), |_| None)),
    ("getDayOfMonth", |e, c, p| time::field(e, c, p, |time| Some(time.day), |_| None)),
    ("getDayOfWeek", |e, c, p| time::field(e, c, p, |time| Some(time.weekday()), |_| None)),
    ("getDays", |e, c, p| time::field(e, c, p, |_| None, |span| Some(span / 86_400))),
    ("getHours", |e, c, p| time::field(e, c, p, |time| Some(time.hours), |span| Some(span % 86_400 / 3_600))),
    ("getMinutes", |e, c, p| time::field(e, c, p, |time| Some(time.minutes), |span| Some(span % 3_600 / 60))),
    ("getSeconds", |e, c, p| time::field(e, c, p, |time| Some(time.seconds), |span| Some(span % 60))),
    ("splitTime", time::split),
    ("formatTime", time::format),
    ("interval", time::interval),
    ("strcat", text::concatenate),
    ("join", text::join),
    ("toUpper", |e, c, p| text::change_case(e, c, p, |text| text.to_ascii_uppercase())),
    ("toLower", |e, c, p| text::change_case(e, c, p, |text| text.to_ascii_lowercase())),
    ("substr", text::substring),
    ("strcmp", |e, c, p| text::compare(e, c, p, |left, right| left.as_bytes().cmp(right.as_bytes()))),
    ("stricmp", |e, c, p| text::compare(e, c, p, crate::operators::compare_folded)),
    ("regexp", text::matches),
    ("regexpMember", text::matches_member),
    ("regexps", |e, c, p| text::substitute(e, c, p, "")),
    ("replace", |e, c, p| text::substitute(e, c, p, "f")),
    ("replaceAll", |e, c, p| text::substitute(e, c, p, "fg")),
    ("split", text::split),
    ("splitUserName", |e, c, p| text::split_at_sign(e, c, p, true)),
    ("splitSlotName", |e, c, p| text::split_at_sign(e, c, p, false)),
    ("versioncmp", |e, c, p| version::compare(e, c, p, Val::int)),
    ("versionLE", |e, c, p| version::compare(e, c, p, |order| Val::bool(order <= 0))),
    ("versionLT", |e, c, p| version::compare(e, c, p, |order| Val::bool(order < 0))),
    ("versionGE", |e, c, p| version::compare(e, c, p, |order| Val::bool(order >= 0))),
    ("versionGT", |e, c, p| version::compare(e, c, p, |order| Val::bool(order > 0))),
    ("versionEQ", |e, c, p| version::compare(e, c, p, |order| Val::bool(order == 0))),
    ("version_in_range", version::in_range),
    ("stringListSize", string_list::size),
    ("stringListSum", string_list::sum),
    ("stringListAvg", string_list::avg),
    ("stringListMin", string_list::min),
    ("stringListMax", string_list::max),
    ("stringListMember", |e, c, p| string_list::member(e, c, p, |left, right| left == right)),
    ("stringListIMember", |e, c, p| string_list::member(e, c, p, str::eq_ignore_ascii_case)),
    ("stringListSubsetMatch", |e, c, p| string_list::subset(e, c, p, |left, right| left == right)),
    ("stringListISubsetMatch", |e, c, p| string_list::subset(e, c, p, str::eq_ignore_ascii_case)),
    ("stringListRegexpMember", string_list::regexp_member),
    ("stringListsIntersect", string_list::intersect),
];

/// The values of exactly that many arguments, or nothing.
fn arguments<const N: usize>(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Option<[Val; N]> {
    if call.arguments.len() != N {
        return None;
    }
    Some(std::array::from_fn(|number| evaluator.eval(&call.arguments[number], place)))
}

/// The values of some of so many arguments at most; the ones that are missing are `None`.
fn some_arguments<const N: usize>(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    least: usize,
) -> Option<[Option<Val>; N]> {
    if !(least..=N).contains(&call.arguments.len()) {
        return None;
    }
    Some(std::array::from_fn(|number| call.arguments.get(number).map(|argument| evaluator.eval(argument, place))))
}

/// A value as text: strings as they are, everything else as it is printed. `undefined` and `error` have no text, and come back.
fn text_of(evaluator: &mut Evaluator<'_>, value: &Val) -> Result<Arc<str>, Val> {
    let mut text = String::new();
    match value {
        Val::Plain(Value::Undefined) => return Err(Val::UNDEFINED),
        Val::Plain(Value::Error) => return Err(Val::ERROR),
        Val::Plain(Value::String(text)) => {
            evaluator.charge_bytes(text.len());
            return Ok(text.clone());
        }
        Val::Plain(Value::AbsTime(time)) => {
            calendar::write_absolute(&mut text, *time, calendar::YEAR_DIGITS_OF_LIBRARY)
        }
        // The library has 32 bits of whole seconds.
        Val::Plain(Value::RelTime(seconds)) => {
            calendar::write_relative(&mut text, f64::from(number::truncate_short(*seconds)));
        }
        Val::Plain(value) => print::value(&mut text, value, Style::Library),
        Val::List(elements, _) => print::list_of(&mut text, elements, Style::Library),
        Val::Ad(scope) => _ = evaluator.read_ad(*scope, |ad| print::ad(&mut text, ad, Style::Library)),
    }
    match evaluator.made_string(&text) {
        Val::Plain(Value::String(text)) => Ok(text),
        _ => Err(Val::ERROR),
    }
}

/// A value as a real number: numbers, booleans, times in whole seconds, and the number at the beginning of a text.
fn real_of(value: &Val) -> Option<f64> {
    match value {
        Val::Plain(Value::String(text)) => number::leading_real(text),
        Val::Plain(Value::AbsTime(time)) => Some(time.seconds as f64),
        Val::Plain(Value::RelTime(seconds)) => Some(f64::from(number::truncate_short(*seconds))),
        Val::Plain(value) => value.number(),
        _ => None,
    }
}

fn string_in(value: &Val) -> Option<&str> {
    match value {
        Val::Plain(value) => value.text(),
        _ => None,
    }
}

fn is(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, test: fn(&Val) -> bool) -> Val {
    match arguments(evaluator, call, place) {
        Some([value]) => Val::bool(test(&value)),
        None => Val::ERROR,
    }
}

fn if_then_else(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let [condition, chosen, otherwise] = call.arguments.as_slice() else { return Val::ERROR };
    let condition = evaluator.eval(condition, place);
    match condition.truth() {
        Some(true) => evaluator.eval(chosen, place),
        Some(false) => evaluator.eval(otherwise, place),
        None if condition.is_undefined() => Val::UNDEFINED,
        None => Val::ERROR,
    }
}

/// Evaluates the text of a value, where the call stands.
fn eval(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let Ok(source) = text_of(evaluator, &value) else { return Val::ERROR };
    if !evaluator.charge(1 + source.len()) {
        return Val::ERROR;
    }
    match Expr::parse(&source) {
        Ok(expression) => evaluator.eval(&expression, place),
        Err(_) => Val::ERROR,
    }
}

/// The library prints what it sees. There is nowhere to print to here.
fn debug(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match arguments(evaluator, call, place) {
        Some([value]) => value,
        None => Val::ERROR,
    }
}

/// The text of an attribute of the own ad, not evaluated.
fn unparse(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let name = match call.arguments.as_slice() {
        [Expr(Node::Attribute(name))] => name,
        // The own ad has no attribute of such a name.
        [Expr(Node::Select(..) | Node::Root(_))] => return Val::Plain(Value::string("")),
        _ => return Val::ERROR,
    };
    let text = evaluator.own_attribute(place.scope, name, |expression| {
        let mut text = String::new();
        print::expression(&mut text, expression, Style::Library);
        text
    });
    evaluator.made_string(&text.unwrap_or_default())
}
