//! The natural logarithm, written out, so that every build rounds alike.
//!
//! A system's own `ln` may differ in the last digit between machines (it may use fused multiply-add). This one uses only
//! addition, multiplication and division, which IEEE 754 fixes to the bit; so does `f64::sqrt`, which the program takes from std.

/// High part of ln 2: its low 32 bits are zero, so a product with an exponent is exact.
const LN2_HIGH: f64 = 0.6931471803691238;
/// ln 2 - LN2_HIGH.
const LN2_LOW: f64 = 1.9082149292705877e-10;
/// Terms of the series: |s| <= 0.1716, so the first one left out is below 2^-60 of the sum.
const SERIES_TERMS: u32 = 11;

/// Natural logarithm of a positive, finite, normal number. Within 2 units in the last place of the true value.
///
/// With x = 2^k m and m in [sqrt(1/2), sqrt(2)), ln x = k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1).
pub fn ln(x: f64) -> f64 {
    debug_assert!(x.is_normal() && x > 0.0, "ln of {x}");
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut tail = 0.0;
    for term in (1..SERIES_TERMS).rev() {
        tail = square * (tail + 1.0 / f64::from(2 * term + 1));
    }
    let k = exponent as f64;
    let series = 2.0 * s + (2.0 * s * tail + k * LN2_LOW);
    k * LN2_HIGH + series
}

/// Sum from the first to the last, starting at +0: what std starts a sum with has changed between its versions.
pub fn sum(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |total, value| total + value)
}
