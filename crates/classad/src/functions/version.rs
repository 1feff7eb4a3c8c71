//! Version numbers: text in which runs of digits count as numbers.

use super::{arguments, text_of};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::Call;

pub(super) fn compare(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, read: fn(i64) -> Val) -> Val {
    let Some([left, right]) = arguments(evaluator, call, place) else { return Val::ERROR };
    if left.is_undefined() || right.is_undefined() {
        return Val::UNDEFINED;
    }
    match (text_of(evaluator, &left), text_of(evaluator, &right)) {
        (Ok(left), Ok(right)) => read(order(&left, &right)),
        _ => Val::ERROR,
    }
}

pub(super) fn in_range(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([version, least, most]) = arguments(evaluator, call, place) else { return Val::ERROR };
    if least.is_undefined() || most.is_undefined() {
        return Val::UNDEFINED;
    }
    match (text_of(evaluator, &version), text_of(evaluator, &least), text_of(evaluator, &most)) {
        (Ok(version), Ok(least), Ok(most)) => Val::bool(order(&least, &version) <= 0 && order(&version, &most) <= 0),
        _ => Val::ERROR,
    }
}

/// How two versions stand to each other: 0 for equal, otherwise the sign counts, and the amount is the library's.
///
/// At the first difference: if it touches digits on both sides, fewer leading zeros make the smaller number... of those with equally
/// many, the difference decides; without any, the longer run of digits is the greater number.
fn order(left: &str, right: &str) -> i64 {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    // Text ends in a zero byte, as it does in C.
    let byte = |text: &[u8], at: usize| text.get(at).copied().unwrap_or(0);
    let mut at = 0;
    while at < left.len() && byte(left, at) == byte(right, at) {
        at += 1;
    }
    let (first, second) = (byte(left, at), byte(right, at));
    if first == second {
        return 0;
    }
    // Bytes are signed in C.
    let mismatch = i64::from(first as i8) - i64::from(second as i8);
    let start = left[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
    if start == at && !(first.is_ascii_digit() && second.is_ascii_digit()) {
        return mismatch;
    }
    let zeros = |text: &[u8]| {
        let mut end = start;
        while byte(text, end) == b'0' {
            end += 1;
        }
        // The last zero of a run of nothing but zeros is no leading one.
        if end > start && !byte(text, end).is_ascii_digit() { end - 1 - start } else { end - start }
    };
    let (left_zeros, right_zeros) = (zeros(left), zeros(right));
    if left_zeros != right_zeros {
        return right_zeros as i64 - left_zeros as i64;
    }
    if left_zeros > 0 {
        return mismatch;
    }
    let digits = |text: &[u8]| (start..).take_while(|at| byte(text, *at).is_ascii_digit()).count() as i64;
    match digits(left) - digits(right) {
        0 => mismatch,
        difference => difference,
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn numbers_in_versions_count_as_numbers() {
        for (left, right, expected) in [
            ("1.2", "1.10", -1),
            ("1.10", "1.10", 0),
            ("8.9.13", "8.9.2", 1),
            ("a", "b", -1),
            ("1.2", "1.2.1", -1),
            ("1.02", "1.2", -1),
            ("10", "9", 1),
            ("0", "00", 1),
        ] {
            assert_eq!(order(left, right).signum(), expected, "{left} {right}");
            assert_eq!(order(right, left).signum(), -expected, "{right} {left}");
        }
    }
}
