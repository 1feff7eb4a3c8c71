//! Draw numbers that follow from a seed, the same on every machine.
//!
//! Each thing that depends on chance has a stream of its own, named by a domain and a number: what one host draws does not
//! depend on what the others do, nor on the order of events. Logarithms and powers are those of the crate `libm`, which
//! computes them in the same steps everywhere; the system's own differ in the last bit from one machine to the next.

use serde::Deserialize;

use crate::config::{NonNegative, Positive};

const MS_PER_HOUR: f64 = 3_600_000.0;
/// The longest duration that is drawn: ten years. The laws of availability have tails without end.
const DURATION_MS_MAX: f64 = 10.0 * 366.0 * 24.0 * MS_PER_HOUR;
/// 2^-53: the distance of the numbers of [`Dice::share`].
const STEP: f64 = 1.0 / (1u64 << 53) as f64;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Speed = 1,
    Availability,
    Network,
    Conduct,
    Crash,
    Work,
    Arrival,
    Collusion,
    Batch,
    Credibility,
}

/// A stream of random numbers: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Dice {
    /// The stream of `number` in a domain.
    pub fn stream(seed: u64, domain: Domain, number: u64) -> Self {
        let domain = (domain as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(mix(mix(mix(seed) ^ domain).wrapping_add(number)))
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 32 bytes of it.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.word().to_be_bytes()));
        bytes
    }

    /// Uniform, 0 to `sides` - 1; 0 for no sides. The bias is below `sides` / 2^64.
    pub fn roll(&mut self, sides: u64) -> u64 {
        let product = u128::from(self.word()) * u128::from(sides);
        // The high half of a 128-bit number.
        (product >> 64) as u64
    }

    /// Uniform, above 0 and below 1.
    pub fn share(&mut self) -> f64 {
        ((self.word() >> 11) as f64 + 0.5) * STEP
    }

    /// True so often. Nothing is drawn for never and always, so that a fault that is switched off changes nothing else.
    pub fn happens(&mut self, share: f64) -> bool {
        if share <= 0.0 {
            false
        } else if share >= 1.0 {
            true
        } else {
            self.share() < share
        }
    }

    /// Exponential, of this mean.
    pub fn exponential_ms(&mut self, mean_h: f64) -> u64 {
        to_ms(-libm::log(self.share()) * mean_h * MS_PER_HOUR)
    }

    /// Normal, of mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.share()));
        radius * libm::cos(std::f64::consts::TAU * self.share())
    }
}

/// A law of durations, in hours.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "law", rename_all = "snake_case", deny_unknown_fields)]
pub enum Law {
    /// Weibull. `{ law = "weibull", shape = 0.393, scale_h = 2.964 }`
    Weibull {
        /// Below 1: the longer it has lasted the longer it will.
        shape: Positive,
        /// 63.2 % are shorter.
        scale_h: Positive,
    },
    /// Log-normal, of hours. `{ law = "log_normal", mu = -0.586, sigma = 2.444 }`
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Deviation of the logarithm.
        sigma: NonNegative,
    },
    /// Exponential. `{ law = "exponential", mean_h = 8 }`
    Exponential {
        /// The mean.
        mean_h: Positive,
    },
    /// Always the same. `{ law = "fixed", hours = 1 }`
    Fixed {
        /// So long.
        hours: NonNegative,
    },
}

impl Law {
    /// Draws a duration, of 1 ms at least.
    pub(crate) fn draw_ms(self, dice: &mut Dice) -> u64 {
        let hours = match self {
            Self::Weibull { shape, scale_h } => scale_h.0 * libm::pow(-libm::log(dice.share()), 1.0 / shape.0),
            Self::LogNormal { mu, sigma } => libm::exp(mu + sigma.0 * dice.normal()),
            Self::Exponential { mean_h } => return dice.exponential_ms(mean_h.0),
            Self::Fixed { hours } => hours.0,
        };
        to_ms(hours * MS_PER_HOUR)
    }
}

/// Whole milliseconds, 1 at least.
pub(crate) fn to_ms(real: f64) -> u64 {
    // Within the range of both after the clamp; a NaN would become 1.
    real.clamp(1.0, DURATION_MS_MAX).max(1.0) as u64
}

#[cfg(test)]
mod tests;
