//! Numbers as C reads and writes them.

use std::fmt::Write;

/// Bytes of a text in which a number is looked for.
const NUMBER_BYTES_MAX: usize = 512;

/// The number at the beginning of a text, as `strtod` reads it: white space, a sign, then decimal, hexadecimal, `inf` or `nan`.
/// `None` if the text does not begin with one.
pub(crate) fn leading_real(text: &str) -> Option<f64> {
    let text = &text[..text.floor_char_boundary(NUMBER_BYTES_MAX)];
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let folded: String = digits.chars().take(3).map(|c| c.to_ascii_lowercase()).collect();
    let magnitude = match folded.as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if folded.starts_with("0x") => leading_hexadecimal(&digits[2..]).unwrap_or(0.0),
        _ => leading_decimal(digits)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn leading_decimal(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let run = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = run(0);
    let mut end = whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = run(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = if end + 1 + signed <= bytes.len() { run(end + 1 + signed) } else { 0 };
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    // Rust reads what C reads here, a point without digits around it included.
    text[..end].parse().ok()
}

/// After `0x`; `None` if no digit follows.
fn leading_hexadecimal(text: &str) -> Option<f64> {
    let (mut value, mut scale, mut digits, mut fraction) = (0.0_f64, 1.0_f64, 0_u32, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.peek().copied() {
        if let Some(digit) = c.to_digit(16) {
            value = value * 16.0 + f64::from(digit);
            digits += 1;
            if fraction {
                scale *= 16.0;
            }
        } else if c == '.' && !fraction {
            fraction = true;
        } else {
            break;
        }
        rest.next();
    }
    if digits == 0 {
        return None;
    }
    value /= scale;
    if let Some('p' | 'P') = rest.next() {
        let text: String = rest.collect();
        let digits = text.trim_start_matches(['+', '-']);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        let exponent: i32 = digits[..count].parse().unwrap_or(0);
        value *= 2_f64.powi(if text.starts_with('-') { -exponent } else { exponent });
    }
    Some(value)
}

/// Truncated to an integer as x86 does it: what does not fit becomes the least integer.
pub(crate) fn truncate(value: f64) -> i64 {
    // 2^63, exactly.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// Truncated to 32 bits, likewise.
pub(crate) fn truncate_short(value: f64) -> i32 {
    if value > -2_147_483_649.0 && value < 2_147_483_648.0 { value as i32 } else { i32::MIN }
}

/// As `%1.15E` writes it: 16 digits, which is one too few to read the number back.
pub(crate) fn write_scientific(text: &mut String, value: f64) {
    let written = format!("{value:.15e}");
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let (sign, magnitude) = match exponent.strip_prefix('-') {
        Some(magnitude) => ('-', magnitude),
        None => ('+', exponent),
    };
    // Writing to a string cannot fail.
    _ = write!(text, "{digits}E{sign}{magnitude:0>2}");
}

/// As `%02g` writes it: six digits, no zeros at the end.
pub(crate) fn write_general(text: &mut String, value: f64) {
    const DIGITS: i32 = 6;
    let written = format!("{value:.5e}");
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let short = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let shown = if (-4..DIGITS).contains(&exponent) {
        let places = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        let fixed = format!("{value:.places$}");
        if fixed.contains('.') { short(&fixed) } else { fixed }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", if digits.contains('.') { short(digits) } else { digits.to_owned() }, exponent.abs())
    };
    _ = write!(text, "{shown:0>2}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, value) in [
            ("12", Some(12.0)),
            (" \t-3.5abc", Some(-3.5)),
            ("1e3", Some(1000.0)),
            ("1e", Some(1.0)),
            ("1e+x", Some(1.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            (".", None),
            ("", None),
            ("-", None),
            ("0x10", Some(16.0)),
            ("0x", Some(0.0)),
            ("0x1.8p1", Some(3.0)),
            ("INFINITY", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("x", None),
        ] {
            assert_eq!(leading_real(text), value, "{text:?}");
        }
        assert!(leading_real("nan").unwrap().is_nan());
    }

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let scientific = |value| {
            let mut text = String::new();
            write_scientific(&mut text, value);
            text
        };
        assert_eq!(scientific(1.5), "1.500000000000000E+00");
        assert_eq!(scientific(-1e-300), "-1.000000000000000E-300");
        let general = |value| {
            let mut text = String::new();
            write_general(&mut text, value);
            text
        };
        for (value, text) in [
            (1.5, "1.5"),
            (0.25, "0.25"),
            (5.0, "05"),
            (12.0, "12"),
            (1e-5, "1e-05"),
            (59.999_999_9, "60"),
            (16.123, "16.123"),
        ] {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn what_does_not_fit_becomes_the_least_integer() {
        assert_eq!(truncate(-3.9), -3);
        assert_eq!(truncate(1e30), i64::MIN);
        assert_eq!(truncate(f64::NAN), i64::MIN);
        assert_eq!(truncate_short(2_147_483_647.5), i32::MAX);
        assert_eq!(truncate_short(-1e10), i32::MIN);
    }
}
