//! Functions of text that lists items, with commas and spaces between them unless told otherwise.

use super::{some_arguments, string_in};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::Call;
use crate::functions::Pattern;
use crate::functions::text::Options;
use crate::number;
use crate::value::Value;

const SEPARATORS: &str = ", ";
/// Of the functions that look for members.
const MEMBER_SEPARATORS: &str = ", \t\r\n";

/// The items of a text: what stands between separators, without white space around it, if anything is left.
fn items<'a>(text: &'a str, separators: &'a str) -> impl Iterator<Item = &'a str> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    text.split(move |c| separators.contains(c))
        .map(move |item| item.trim_matches(blank))
        .filter(|item| !item.is_empty())
}

/// A text and its separators.
fn list_of(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Option<(Val, String)> {
    let [list, separators] = some_arguments(evaluator, call, place, 1)?;
    let separators = match &separators {
        Some(separators) => string_in(separators)?.to_owned(),
        None => SEPARATORS.to_owned(),
    };
    let list = list?;
    evaluator.charge_bytes(string_in(&list)?.len() * (1 + separators.len()));
    Some((list, separators))
}

pub(super) fn size(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match list_of(evaluator, call, place) {
        Some((list, separators)) => Val::int(items(string_in(&list).unwrap_or(""), &separators).count() as i64),
        None => Val::ERROR,
    }
}

pub(super) fn sum(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    summary(evaluator, call, place, Some(0.0), |numbers| numbers.iter().fold(0.0, |sum, number| number + sum))
}

pub(super) fn avg(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    summary(evaluator, call, place, Some(0.0), |numbers| {
        numbers.iter().fold(0.0, |sum, number| number + sum) / numbers.len() as f64
    })
}

pub(super) fn min(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let least = |numbers: &[f64]| {
        numbers.iter().fold(f64::from(f32::MAX), |least, number| if *number < least { *number } else { least })
    };
    summary(evaluator, call, place, None, least)
}

pub(super) fn max(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    // The library begins with the least positive number: of negative ones the greatest is 0.
    let most = f64::from(f32::MIN_POSITIVE);
    let greatest =
        |numbers: &[f64]| numbers.iter().fold(most, |most, number| if *number > most { *number } else { most });
    summary(evaluator, call, place, None, greatest)
}

/// One number of all, an integer if all are written as such.
fn summary(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    of_none: Option<f64>,
    summarise: impl Fn(&[f64]) -> f64,
) -> Val {
    let Some((list, separators)) = list_of(evaluator, call, place) else { return Val::ERROR };
    let (mut numbers, mut whole) = (Vec::new(), true);
    for item in items(string_in(&list).unwrap_or(""), &separators) {
        match number::leading_real(item) {
            Some(number) => numbers.push(number),
            None => return Val::ERROR,
        }
        whole &= item.bytes().all(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'));
    }
    if numbers.is_empty() {
        return of_none.map_or(Val::UNDEFINED, Val::real);
    }
    let summary = summarise(&numbers);
    if whole { Val::int(number::truncate(summary)) } else { Val::real(summary) }
}

/// An item or several, a list, and separators; a text that is undefined is empty, but not both may be.
fn members_of(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Result<[String; 3], Val> {
    let values: [Option<Val>; 3] = some_arguments(evaluator, call, place, 2).ok_or(Val::ERROR)?;
    let [item, list, separators] = values.each_ref().map(|value| match value {
        None | Some(Val::Plain(Value::Undefined)) => Ok(None),
        Some(value) => string_in(value).map(|text| Some(text.to_owned())).ok_or(Val::ERROR),
    });
    let (item, list, separators) = (item?, list?, separators?);
    if item.is_none() && list.is_none() {
        return Err(Val::UNDEFINED);
    }
    let texts = [
        item.unwrap_or_default(),
        list.unwrap_or_default(),
        separators.unwrap_or_else(|| MEMBER_SEPARATORS.to_owned()),
    ];
    evaluator.charge_bytes(texts[1].len() * (1 + texts[2].len()));
    Ok(texts)
}

pub(super) fn member(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    same: fn(&str, &str) -> bool,
) -> Val {
    match members_of(evaluator, call, place) {
        Ok([item, list, separators]) => Val::bool(items(&list, &separators).any(|other| same(other, &item))),
        Err(value) => value,
    }
}

/// Whether all items of the first text are in the second. No text is, but no item at all is not.
pub(super) fn subset(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    same: fn(&str, &str) -> bool,
) -> Val {
    let [some, all, separators] = match members_of(evaluator, call, place) {
        Ok(texts) => texts,
        Err(value) => return value,
    };
    if some.is_empty() {
        return Val::bool(true);
    }
    let mut found = false;
    for item in items(&some, &separators) {
        if !evaluator.charge_bytes(all.len()) {
            return Val::ERROR;
        }
        found = items(&all, &separators).any(|other| same(other, item));
        if !found {
            break;
        }
    }
    Val::bool(found)
}

/// Whether a pattern matches any item.
pub(super) fn regexp_member(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some(values): Option<[Option<Val>; 4]> = some_arguments(evaluator, call, place, 2) else { return Val::ERROR };
    if values.iter().flatten().any(|value| string_in(value).is_none()) {
        return Val::ERROR;
    }
    let [pattern, list, separators, options] = values.each_ref().map(|value| value.as_ref().and_then(string_in));
    let options = Options::parse(&options.unwrap_or("").to_ascii_lowercase());
    let separators = separators.unwrap_or(SEPARATORS);
    let Some(pattern) = Pattern::get(evaluator, call, &[0, 3], pattern.unwrap_or(""), options) else {
        return Val::ERROR;
    };
    let mut any = None;
    for item in items(list.unwrap_or(""), separators) {
        any = Some(any == Some(true) || pattern.is_match(evaluator, item));
    }
    any.map_or(Val::UNDEFINED, Val::bool)
}

/// Whether two texts have an item in common. White space counts, unless it is a separator.
pub(super) fn intersect(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some(values): Option<[Option<Val>; 3]> = some_arguments(evaluator, call, place, 2) else { return Val::ERROR };
    let given = || values.iter().flatten();
    if given().any(Val::is_error) {
        return Val::ERROR;
    }
    if given().any(Val::is_undefined) {
        return Val::UNDEFINED;
    }
    let texts: Option<Vec<&str>> = given().map(string_in).collect();
    let Some([left, right, rest @ ..]) = texts.as_deref() else { return Val::ERROR };
    let separators = rest.first().filter(|separators| !separators.is_empty()).copied().unwrap_or(" ,");
    let parts = |text: &'_ str| -> Vec<String> {
        text.split(|c| separators.contains(c)).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    evaluator.charge_bytes((left.len() + right.len()) * (1 + separators.len()));
    let others: std::collections::BTreeSet<String> = parts(right).into_iter().collect();
    Val::bool(parts(left).iter().any(|part| others.contains(part)))
}
