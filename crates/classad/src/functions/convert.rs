//! Functions that make one type of another, and arithmetic that no operator does.

use super::{arguments, real_of, text_of};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::Call;
use crate::number;
use crate::value::Value;

pub(super) fn int(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    integer_of(&value)
}

/// Truncated; `undefined` stays.
pub(super) fn integer_of(value: &Val) -> Val {
    match value {
        Val::Plain(Value::Undefined) => Val::UNDEFINED,
        Val::Plain(Value::Integer(value)) => Val::int(*value),
        Val::Plain(Value::AbsTime(time)) => Val::int(time.seconds),
        value => real_of(value).map_or(Val::ERROR, |value| Val::int(number::truncate(value))),
    }
}

pub(super) fn real(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match arguments(evaluator, call, place) {
        Some([value]) if value.is_undefined() => Val::UNDEFINED,
        Some([value]) => real_of(&value).map_or(Val::ERROR, Val::real),
        None => Val::ERROR,
    }
}

pub(super) fn string(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    text_of(evaluator, &value).map_or_else(|value| value, |text| Val::Plain(Value::String(text)))
}

pub(super) fn bool(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([Val::Plain(value)]) = arguments(evaluator, call, place) else { return Val::ERROR };
    match value {
        Value::Undefined => Val::UNDEFINED,
        Value::String(text) if text.eq_ignore_ascii_case("true") => Val::bool(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Val::bool(false),
        Value::String(_) => Val::UNDEFINED,
        Value::RelTime(seconds) => Val::bool(number::truncate(seconds) != 0),
        value => value.truth().map_or(Val::ERROR, Val::bool),
    }
}

pub(super) fn round(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, round: fn(f64) -> f64) -> Val {
    match arguments(evaluator, call, place) {
        Some([value @ Val::Plain(Value::Integer(_))]) => value,
        Some([value]) => real_of(&value).map_or(Val::ERROR, |value| Val::int(number::truncate(round(value)))),
        None => Val::ERROR,
    }
}

pub(super) fn pow(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    match arguments(evaluator, call, place) {
        Some([Val::Plain(Value::Integer(base)), Val::Plain(Value::Integer(exponent))]) if exponent >= 0 => {
            // The library rounds by half a unit upward and truncates, so that -8 becomes -7.
            Val::int(number::truncate((base as f64).powf(exponent as f64) + 0.5))
        }
        Some([base, exponent]) => match (real_of(&base), real_of(&exponent)) {
            (Some(base), Some(exponent)) => Val::real(base.powf(exponent)),
            _ => Val::ERROR,
        },
        None => Val::ERROR,
    }
}

/// The next multiple of a step; or of a list, the first element that is not smaller, or else the next multiple of the last.
pub(super) fn quantize(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    /// A step that is as good as none.
    const STEP_MIN: f64 = 1e-8;
    let Some([value, step]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let Some(real) = real_of(&value) else { return Val::ERROR };
    let step = match step {
        Val::List(elements, _) => {
            let mut last = Val::real(0.0);
            for element in elements.iter() {
                last = evaluator.eval(element, place);
                match real_of(&last) {
                    Some(reached) if reached >= real => return last,
                    Some(_) => {}
                    None => return Val::ERROR,
                }
            }
            last
        }
        step => step,
    };
    let Some(real_step) = real_of(&step) else { return Val::ERROR };
    match (&value, &step) {
        (_, Val::Plain(Value::Integer(0))) => value,
        (Val::Plain(Value::Integer(value)), Val::Plain(Value::Integer(step))) => {
            Val::int(value.wrapping_add(*step).wrapping_sub(1).wrapping_div(*step).wrapping_mul(*step))
        }
        (_, Val::Plain(Value::Integer(_))) => Val::real((real / real_step).ceil() * real_step),
        _ if real_step.abs() <= STEP_MIN => value,
        _ => Val::real((real / real_step).ceil() * real_step),
    }
}
