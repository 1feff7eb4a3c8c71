//! Rank machines by several criteria at once: PROMETHEE II.
//!
//! Of two machines and one criterion, a [`Preference`] says how strongly the better one is preferred, from 0 to 1, by how far apart
//! they are. A machine's net flow phi is the mean, over all others, of how strongly it is preferred to them, less how strongly they
//! are preferred to it, weighted by what the requester favours ([`Favor`]). The largest phi is served first.
//!
//! Values are whole numbers, larger is better. Sums of preferences are therefore exact, in whatever order they are added, and a
//! window of candidates (in [`index`](crate::index)) whose sums are kept up to date has the same phi, to the bit, as one computed
//! anew. The only real numbers are those of [`exact`], which are the same on every machine.

pub mod criteria;
pub mod exact;
mod favor;

pub use criteria::{Availability, Expected, Facts, REFERENCE_OPERATIONS_PER_SECOND, Values, Work};
pub use favor::{CRITERIA, Criterion, Favor, FavorError, WEIGHT_MAX};

/// The largest threshold of a preference; values stay below it too. Sums over a window of 64 fit into 32 bits then.
pub const THRESHOLD_MAX: i32 = 1 << 24;
/// What a Gaussian preference counts in: its degrees are whole multiples of 2^-16.
const GAUSSIAN_UNIT: i32 = 1 << 16;

/// How strongly the better of two values is preferred, by their difference d > 0.
///
/// Thresholds are from 1 to [`THRESHOLD_MAX`]; others count as the nearest of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// 1, however small the difference.
    Usual,
    /// d / `full`, and 1 from there on.
    Linear {
        /// The difference that counts as much as any larger one.
        full: i32,
    },
    /// 0 up to `slight`, a half up to `full`, 1 above.
    Level {
        /// Differences up to this do not matter.
        slight: i32,
        /// Differences above this matter wholly.
        full: i32,
    },
    /// 1 - exp(-d^2 / (2 sigma^2)), to a 2^-16th.
    Gaussian {
        /// Where the curve is steepest.
        sigma: i32,
    },
}

/// One preference a criterion, in the order of [`Criterion::ALL`].
pub type Preferences = [Preference; CRITERIA];

impl Preference {
    /// The number of [`Preference::net`] that stands for 1.
    pub fn unit(self) -> i32 {
        match self {
            Self::Usual => 1,
            Self::Linear { full } => threshold(full),
            Self::Level { .. } => 2,
            Self::Gaussian { .. } => GAUSSIAN_UNIT,
        }
    }

    /// How strongly a value that is better by `difference` is preferred, less how strongly the other is: negative if the
    /// difference is. In [`Preference::unit`]s.
    pub fn net(self, difference: i32) -> i32 {
        match self {
            Self::Usual => difference.signum(),
            Self::Linear { full } => difference.clamp(-threshold(full), threshold(full)),
            Self::Level { slight, full } => {
                let above = |bound: i32| i32::from(difference > bound) - i32::from(difference < -bound);
                above(threshold(slight)) + above(threshold(full).max(threshold(slight)))
            }
            Self::Gaussian { sigma } => {
                let ratio = f64::from(difference) / f64::from(threshold(sigma));
                let degree = f64::from(GAUSSIAN_UNIT) * (1.0 - exact::exp(-0.5 * ratio * ratio));
                // Between 0 and the unit.
                difference.signum() * (degree + 0.5).floor() as i32
            }
        }
    }

    /// For each value, the sum of [`Preference::net`] against all: in n log n steps but for the Gaussian one, which takes n^2.
    pub fn sums(self, values: &[i32]) -> Vec<i64> {
        if let Self::Gaussian { .. } = self {
            let sum = |value: &i32| values.iter().map(|other| i64::from(self.net(value - other))).sum();
            return values.iter().map(sum).collect();
        }
        let population = Population::new(values);
        values.iter().map(|value| population.sum(self, *value)).collect()
    }
}

/// Values in order, with their sums, so that what one value is against all of them takes a few halvings.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    sorted: Vec<i64>,
    /// The sum of the first so many.
    below: Vec<i64>,
}

impl Population {
    pub fn new(values: &[i32]) -> Self {
        let mut sorted = values.iter().map(|value| i64::from(*value)).collect::<Vec<_>>();
        sorted.sort_unstable();
        let mut below = Vec::with_capacity(sorted.len() + 1);
        let mut total = 0;
        for value in &sorted {
            below.push(total);
            total += value;
        }
        below.push(total);
        Self { sorted, below }
    }

    /// The sum of the preference of a value over all of these.
    pub fn sum(&self, preference: Preference, value: i32) -> i64 {
        let of = i64::from(value);
        match preference {
            Preference::Linear { full } => {
                let full = i64::from(threshold(full));
                let (low, high) = (self.under(of - full), self.up_to(of + full));
                let near = of * count(high - low) - (self.below[high] - self.below[low]);
                near + full * (count(low) - count(self.sorted.len() - high))
            }
            Preference::Level { slight, full } => {
                let (slight, full) = (threshold(slight), threshold(full));
                self.steps(of, i64::from(slight)) + self.steps(of, i64::from(full.max(slight)))
            }
            Preference::Usual => self.steps(of, 0),
            Preference::Gaussian { .. } => {
                // Values are 32-bit numbers that were made wider.
                self.sorted.iter().map(|other| i64::from(preference.net((of - other) as i32))).sum()
            }
        }
    }

    /// How many are worse by more than a bound, less how many are better by more.
    fn steps(&self, of: i64, bound: i64) -> i64 {
        count(self.under(of - bound)) - count(self.sorted.len() - self.up_to(of + bound))
    }

    fn under(&self, bound: i64) -> usize {
        self.sorted.partition_point(|value| *value < bound)
    }

    fn up_to(&self, bound: i64) -> usize {
        self.sorted.partition_point(|value| *value <= bound)
    }
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

fn threshold(bound: i32) -> i32 {
    bound.clamp(1, THRESHOLD_MAX)
}

/// What turns sums of preferences into net flows: a weight for each criterion, in lowest terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// By criterion: what a sum is multiplied by.
    factors: [f64; CRITERIA],
    total: f64,
}

impl Scale {
    pub fn new(favor: &Favor, preferences: &Preferences) -> Self {
        let weights = favor.lowest();
        let factors = std::array::from_fn(|place| f64::from(weights[place]) / f64::from(preferences[place].unit()));
        Self { factors, total: weights.into_iter().map(f64::from).sum() }
    }

    /// The weighted sum of sums: of equal sums the same, to the bit.
    pub fn weigh(&self, sums: [f64; CRITERIA]) -> f64 {
        let mut weighed = 0.0;
        for (sum, factor) in sums.into_iter().zip(self.factors) {
            weighed += sum * factor;
        }
        weighed
    }

    /// phi among `count` machines; 0 if there is only one.
    pub fn phi(&self, weighed: f64, count: usize) -> f64 {
        // Machines are fewer than 2^32.
        if count < 2 { 0.0 } else { weighed / (self.total * (count - 1) as f64) }
    }
}

/// phi of each machine among all of them: from -1 to 1, and 0 in sum.
pub fn net_flows(values: &[Values], favor: &Favor, preferences: &Preferences) -> Vec<f64> {
    let scale = Scale::new(favor, preferences);
    let mut sums = vec![[0.0; CRITERIA]; values.len()];
    for criterion in Criterion::ALL {
        let place = criterion.place();
        if favor.weight(criterion) == 0 {
            continue;
        }
        let column = values.iter().map(|values| values.0[place]).collect::<Vec<_>>();
        for (sums, sum) in sums.iter_mut().zip(preferences[place].sums(&column)) {
            // Below 2^53 for as many machines as there are 32-bit numbers, but for the widest thresholds.
            sums[place] = sum as f64;
        }
    }
    sums.into_iter().map(|sums| scale.phi(scale.weigh(sums), values.len())).collect()
}

/// The places of the machines, best first. Of equals the one that stands earlier comes first: order them by id before.
pub fn order(values: &[Values], favor: &Favor, preferences: &Preferences) -> Vec<usize> {
    let flows = net_flows(values, favor, preferences);
    let mut places = (0..values.len()).collect::<Vec<_>>();
    places.sort_by(|a, b| flows[*b].total_cmp(&flows[*a]).then(a.cmp(b)));
    places
}

#[cfg(test)]
mod tests;
