//! Logarithm and power from additions, multiplications and divisions alone.
//!
//! Those of IEEE 754 give the same bits on every machine, and Rust neither fuses nor reorders them; `f64::ln`, `exp` and `powf` ask
//! the platform's library, and libraries differ in the last bits. Two schedulers that replay the same events must agree to the bit.

const LN_2: f64 = std::f64::consts::LN_2;
const LOG2_E: f64 = std::f64::consts::LOG2_E;
const MANTISSA_BITS: u32 = 52;
const EXPONENT_BIAS: i32 = 1023;
/// Terms of the series of the logarithm: the first that is left out is below 2^-53 of the sum.
const LOG_TERMS: u32 = 11;
/// Terms of the series of the exponential, likewise.
const EXP_TERMS: u32 = 14;

/// The logarithm to base 2 of a positive, normal number, to about 15 digits. Anything else counts as the smallest such number.
pub fn log2(x: f64) -> f64 {
    let x = if x >= f64::MIN_POSITIVE && x.is_finite() { x } else { f64::MIN_POSITIVE };
    let bits = x.to_bits();
    // The exponent's eleven bits.
    let mut exponent = (bits >> MANTISSA_BITS) as i32 - EXPONENT_BIAS;
    let mut mantissa = f64::from_bits(bits & ((1 << MANTISSA_BITS) - 1) | ((EXPONENT_BIAS as u64) << MANTISSA_BITS));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), and the argument is below 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for term in (0..LOG_TERMS).rev() {
        sum = sum * square + 1.0 / f64::from(2 * term + 1);
    }
    f64::from(exponent) + 2.0 * s * sum * LOG2_E
}

/// 2 to the power of `x`, to about 15 digits; 0 where that is too small for a normal number.
pub fn exp2(x: f64) -> f64 {
    if x.is_nan() || x < -1022.0 {
        return 0.0;
    }
    if x >= 1023.0 {
        return f64::MAX;
    }
    let whole = (x + 0.5).floor();
    let y = (x - whole) * LN_2;
    let mut sum = 1.0;
    for term in (1..=EXP_TERMS).rev() {
        sum = 1.0 + y / f64::from(term) * sum;
    }
    // `whole` is between -1022 and 1023.
    let exponent = (whole as i32 + EXPONENT_BIAS) as u64;
    sum * f64::from_bits(exponent << MANTISSA_BITS)
}

/// e to the power of `x`.
pub fn exp(x: f64) -> f64 {
    exp2(x * LOG2_E)
}

/// `base` to the power of `exponent`, for a base that is not negative.
pub fn power(base: f64, exponent: f64) -> f64 {
    if base <= 0.0 { 0.0 } else { exp2(exponent * log2(base)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_platform() {
        for step in 1..20_000_u32 {
            let x = f64::from(step) * 0.037 * if step % 2 == 0 { 1e-9 } else { 1e6 };
            assert!((log2(x) - x.log2()).abs() < 1e-13, "log2 of {x}: {} and {}", log2(x), x.log2());
            let y = f64::from(step) * 0.1 - 1_000.0;
            assert!((exp2(y) / y.exp2() - 1.0).abs() < 1e-13, "exp2 of {y}: {} and {}", exp2(y), y.exp2());
        }
        assert!((power(3.0, 0.393) - 3f64.powf(0.393)).abs() < 1e-14);
        assert!((exp(-1.5) - (-1.5f64).exp()).abs() < 1e-15);
    }

    #[test]
    fn the_same_bits_everywhere() {
        // Written down once; a machine that differs here ranks differently.
        assert_eq!(log2(10.0).to_bits(), 0x400a_934f_0979_a371);
        assert_eq!(exp(-0.125).to_bits(), 0x3fec_3d6a_24ed_8222);
        assert_eq!(power(7.5, 0.393).to_bits(), 0x4001_a8f1_66a0_0759);
    }

    #[test]
    fn the_ends() {
        assert_eq!((log2(1.0), log2(8.0), log2(0.25)), (0.0, 3.0, -2.0));
        assert_eq!((log2(0.0), log2(-1.0), log2(f64::NAN)), (-1022.0, -1022.0, -1022.0));
        assert_eq!((exp2(0.0), exp2(10.0), exp2(-2_000.0), exp2(f64::NAN)), (1.0, 1024.0, 0.0, 0.0));
        assert_eq!(power(0.0, 2.0), 0.0);
    }
}
