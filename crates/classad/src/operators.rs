//! What operators make of values.
//!
//! Nearly all are strict: `error` on either side gives `error`, then `undefined` on either side gives `undefined`, and only then are
//! types looked at. `is` and `isnt` are not, nor are `&&` and `||`.

use std::cmp::Ordering;

use crate::bounds::BYTES_PER_STEP;
use crate::eval::Val;
use crate::expr::{BinaryOperator, UnaryOperator};
use crate::number;
use crate::value::{AbsTime, Value};

pub(crate) fn unary(operator: UnaryOperator, operand: Val) -> Val {
    let value = match operand {
        Val::Plain(value) => value,
        Val::List(..) | Val::Ad(_) => return Val::ERROR,
    };
    Val::Plain(match (operator, value) {
        (_, Value::Error) => Value::Error,
        (_, Value::Undefined) => Value::Undefined,
        (UnaryOperator::Plus, value @ (Value::Integer(_) | Value::Real(_) | Value::RelTime(_))) => value,
        (UnaryOperator::Minus, Value::Integer(value)) => Value::Integer(value.wrapping_neg()),
        (UnaryOperator::Minus, Value::Real(value)) => Value::Real(-value),
        (UnaryOperator::Minus, Value::RelTime(value)) => Value::RelTime(-value),
        (UnaryOperator::BitNot, Value::Integer(value)) => Value::Integer(!value),
        (UnaryOperator::Not, value) => value.truth().map_or(Value::Error, |truth| Value::Boolean(!truth)),
        _ => Value::Error,
    })
}

/// `left && right`, both evaluated.
pub(crate) fn and(left: &Val, right: Val) -> Val {
    logical(left, right, false)
}

/// `left || right`, both evaluated.
pub(crate) fn or(left: &Val, right: Val) -> Val {
    logical(left, right, true)
}

/// `decides` is the truth value that decides the result by itself: `false` for `&&`, `true` for `||`.
fn logical(left: &Val, right: Val, decides: bool) -> Val {
    let right = match right.truth() {
        Some(truth) => Some(truth),
        None if right.is_undefined() => None,
        None => return Val::ERROR,
    };
    match left.truth() {
        Some(left) if left == decides => Val::bool(decides),
        Some(_) => right.map_or(Val::UNDEFINED, Val::bool),
        None if !left.is_undefined() => Val::ERROR,
        None if right == Some(decides) => Val::bool(decides),
        None => Val::UNDEFINED,
    }
}

pub(crate) fn binary(operator: BinaryOperator, left: &Val, right: &Val) -> Val {
    if let (Val::Plain(left), Val::Plain(right)) = (left, right) {
        return binary_plain(operator, left, right);
    }
    // One of them is a list or an ad: nothing can be computed with it, and two are not compared.
    let alike = matches!((left, right), (Val::List(..), Val::List(..)) | (Val::Ad(_), Val::Ad(_)));
    match operator {
        BinaryOperator::Is if !alike => Val::bool(false),
        BinaryOperator::Isnt if !alike => Val::bool(true),
        _ if left.is_error() || right.is_error() => Val::ERROR,
        _ if left.is_undefined() || right.is_undefined() => Val::UNDEFINED,
        _ => Val::ERROR,
    }
}

pub(crate) fn binary_plain(operator: BinaryOperator, left: &Value, right: &Value) -> Val {
    use BinaryOperator::{Equal, Greater, GreaterOrEqual, Is, Isnt, Less, LessOrEqual, NotEqual};
    match operator {
        Is => return Val::bool(identical(left, right)),
        Isnt => return Val::bool(!identical(left, right)),
        _ => {}
    }
    match (left, right) {
        (Value::Error, _) | (_, Value::Error) => return Val::ERROR,
        (Value::Undefined, _) | (_, Value::Undefined) => return Val::UNDEFINED,
        _ => {}
    }
    match operator {
        Less | LessOrEqual | NotEqual | Equal | GreaterOrEqual | Greater => match compare(left, right) {
            Some(order) => Val::bool(holds(operator, order)),
            None => Val::ERROR,
        },
        BinaryOperator::Add
        | BinaryOperator::Subtract
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulus => Val::Plain(arithmetic(operator, left, right)),
        _ => match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => Val::int(bitwise(operator, *left, *right)),
            _ => Val::ERROR,
        },
    }
}

/// What comparing two values costs beyond one step: long texts take longer.
pub(crate) fn steps_of(left: &Value, right: &Value) -> usize {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left.len().min(right.len()) / BYTES_PER_STEP,
        _ => 0,
    }
}

/// How two values stand to each other: `None` within for a NaN, `None` outside if they cannot be compared.
fn compare(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(compare_folded(left, right)),
        (Value::AbsTime(left), Value::AbsTime(right)) => Some(left.seconds.cmp(&right.seconds)),
        (Value::RelTime(left), Value::RelTime(right)) => left.partial_cmp(right),
        (Value::Real(_), _) | (_, Value::Real(_)) => left.number()?.partial_cmp(&right.number()?),
        _ => Some(whole(left)?.cmp(&whole(right)?)),
    })
}

fn holds(operator: BinaryOperator, order: Option<Ordering>) -> bool {
    match operator {
        BinaryOperator::Less => order == Some(Ordering::Less),
        BinaryOperator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        BinaryOperator::Equal => order == Some(Ordering::Equal),
        BinaryOperator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        BinaryOperator::Greater => order == Some(Ordering::Greater),
        _ => order != Some(Ordering::Equal),
    }
}

/// Compares without regard to the case of ASCII letters, byte by byte.
pub(crate) fn compare_folded(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    left.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// Integers, and booleans as 1 and 0.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Boolean(value) => Some(i64::from(*value)),
        Value::Integer(value) => Some(*value),
        _ => None,
    }
}

/// `is`: the same type and the same value, case and zone included.
pub(crate) fn identical(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::AbsTime(AbsTime { seconds, offset }), Value::AbsTime(other)) => {
            *seconds == other.seconds && *offset == other.offset
        }
        _ => left == right,
    }
}

fn arithmetic(operator: BinaryOperator, left: &Value, right: &Value) -> Value {
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        return whole_arithmetic(operator, left, right);
    }
    let (Some(left), Some(right)) = (left.number(), right.number()) else {
        return time_arithmetic(operator, left, right);
    };
    let result = match operator {
        BinaryOperator::Add => left + right,
        BinaryOperator::Subtract => left - right,
        BinaryOperator::Multiply => left * right,
        BinaryOperator::Divide => left / right,
        _ => return Value::Error,
    };
    // The library takes the positive infinity for an overflow; the negative one it lets pass.
    if result == f64::INFINITY { Value::Error } else { Value::Real(result) }
}

fn whole_arithmetic(operator: BinaryOperator, left: i64, right: i64) -> Value {
    Value::Integer(match operator {
        BinaryOperator::Add => left.wrapping_add(right),
        BinaryOperator::Subtract => left.wrapping_sub(right),
        BinaryOperator::Multiply => left.wrapping_mul(right),
        _ if right == 0 => return Value::Error,
        BinaryOperator::Divide => left.saturating_div(right),
        _ => left.wrapping_rem(right),
    })
}

/// A shift takes the lower six bits of its count, as x86 does.
fn bitwise(operator: BinaryOperator, left: i64, right: i64) -> i64 {
    let count = (right & 63) as u32;
    match operator {
        BinaryOperator::BitOr => left | right,
        BinaryOperator::BitXor => left ^ right,
        BinaryOperator::BitAnd => left & right,
        BinaryOperator::ShiftLeft => left << count,
        // Of a negative number the library shifts one place at a time: by a negative count not at all, by 64 or more entirely.
        BinaryOperator::ShiftRight if left < 0 => left >> right.clamp(0, 63),
        BinaryOperator::ShiftRight => left >> count,
        // Of a negative number it shifts once, then the rest: by 0 places it shifts by 1 and 63.
        _ if left < 0 => ((left >> 1) & i64::MAX) >> (right.wrapping_sub(1) & 63),
        _ => left >> count,
    }
}

fn time_arithmetic(operator: BinaryOperator, left: &Value, right: &Value) -> Value {
    use BinaryOperator::{Add, Divide, Multiply, Subtract};
    let later = |time: &AbsTime, by: i64| {
        Value::AbsTime(AbsTime { seconds: time.seconds.wrapping_add(by), offset: time.offset })
    };
    let whole_seconds = |seconds: f64| i64::from(number::truncate_short(seconds));
    // Booleans are no numbers here.
    let number = |value: &Value| if matches!(value, Value::Boolean(_)) { None } else { value.number() };
    match (operator, left, right) {
        (Add, Value::AbsTime(time), Value::RelTime(span)) | (Add, Value::RelTime(span), Value::AbsTime(time)) => {
            later(time, whole_seconds(*span))
        }
        (Subtract, Value::AbsTime(time), Value::RelTime(span)) => later(time, -whole_seconds(*span)),
        (Subtract, Value::AbsTime(left), Value::AbsTime(right)) => {
            Value::RelTime(left.seconds.wrapping_sub(right.seconds) as f64)
        }
        (Add, Value::RelTime(left), Value::RelTime(right)) => Value::RelTime(left + right),
        (Subtract, Value::RelTime(left), Value::RelTime(right)) => Value::RelTime(left - right),
        (Multiply, Value::RelTime(span), factor) | (Multiply, factor, Value::RelTime(span)) => {
            number(factor).map_or(Value::Error, |factor| Value::RelTime(span * factor))
        }
        (Divide, Value::RelTime(span), divisor) => {
            number(divisor).map_or(Value::Error, |divisor| Value::RelTime(span / divisor))
        }
        _ => Value::Error,
    }
}
