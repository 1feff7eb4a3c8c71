//! The candidates of one kind of demand, and their sums of preferences, kept up to date one by one.

use crate::rank::{CRITERIA, Preference, Preferences, Scale, Values};

/// How many candidates are ranked at most.
pub const CANDIDATES_MAX: usize = 64;

/// Up to [`CANDIDATES_MAX`] candidates in columns, so that what one more or one less changes is a few loops over whole columns.
// INVARIANT: `sums[c][i]` is the sum of the preference of criterion c over all `values[c]`, of `values[c][i]`; the columns behind
// `len` mean nothing. Sums are of whole numbers: no history of comings and goings leaves a trace in them.
#[derive(Clone, Debug)]
pub(super) struct Window {
    len: usize,
    places: [u32; CANDIDATES_MAX],
    keys: [u64; CANDIDATES_MAX],
    values: [[i32; CANDIDATES_MAX]; CRITERIA],
    sums: [[i32; CANDIDATES_MAX]; CRITERIA],
    /// Criteria with a weight: the others are not summed.
    weighed: [bool; CRITERIA],
    preferences: Preferences,
}

impl Window {
    pub fn new(preferences: Preferences, weighed: [bool; CRITERIA]) -> Self {
        Self {
            len: 0,
            places: [0; CANDIDATES_MAX],
            keys: [0; CANDIDATES_MAX],
            values: [[0; CANDIDATES_MAX]; CRITERIA],
            sums: [[0; CANDIDATES_MAX]; CRITERIA],
            weighed,
            preferences,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_full(&self) -> bool {
        self.len == CANDIDATES_MAX
    }

    /// The machines in it, in no order that means anything.
    pub fn places(&self) -> &[u32] {
        &self.places[..self.len]
    }

    /// The key with which a candidate came in.
    pub fn key(&self, at: usize) -> u64 {
        self.keys[at]
    }

    pub fn values(&self, at: usize) -> Values {
        Values(std::array::from_fn(|criterion| self.values[criterion][at]))
    }

    /// Where the least key is, and which.
    pub fn least(&self) -> Option<(u64, usize)> {
        self.keys[..self.len].iter().copied().zip(0..).min()
    }

    /// Takes a candidate in. The window must not be full.
    pub fn insert(&mut self, place: u32, key: u64, values: Values) {
        debug_assert!(!self.is_full(), "a full window takes nobody in");
        let at = self.len;
        self.places[at] = place;
        self.keys[at] = key;
        for criterion in 0..CRITERIA {
            let value = values.0[criterion];
            self.values[criterion][at] = value;
            if self.weighed[criterion] {
                let (column, sums) = (&self.values[criterion][..at], &mut self.sums[criterion][..at]);
                self.sums[criterion][at] = -count::<true>(self.preferences[criterion], column, sums, value);
            }
        }
        self.len += 1;
    }

    /// Takes a candidate out; the last one goes to its place.
    pub fn remove(&mut self, place: u32) {
        let Some(at) = self.places().iter().position(|candidate| *candidate == place) else { return };
        self.len -= 1;
        let last = self.len;
        self.places[at] = self.places[last];
        self.keys[at] = self.keys[last];
        for criterion in 0..CRITERIA {
            let value = self.values[criterion][at];
            self.values[criterion][at] = self.values[criterion][last];
            if self.weighed[criterion] {
                self.sums[criterion][at] = self.sums[criterion][last];
                let (column, sums) = (&self.values[criterion][..last], &mut self.sums[criterion][..last]);
                count::<false>(self.preferences[criterion], column, sums, value);
            }
        }
    }

    /// The weighed sum of each candidate, in the order of [`Window::places`].
    pub fn weigh(&self, scale: &Scale) -> [f64; CANDIDATES_MAX] {
        std::array::from_fn(|at| scale.weigh(std::array::from_fn(|criterion| f64::from(self.sums[criterion][at]))))
    }
}

/// Counts how strongly each value of a column is preferred to `value` in its sum, or out of it; the sum of all of that.
fn count<const IN: bool>(preference: Preference, column: &[i32], sums: &mut [i32], value: i32) -> i32 {
    let mut total = 0;
    let mut each = |net: &dyn Fn(i32) -> i32| {
        for (sum, other) in sums.iter_mut().zip(column) {
            let net = net(other - value);
            *sum += if IN { net } else { -net };
            total += net;
        }
    };
    match preference {
        // The kind that the scheduler uses has a loop of its own, without a call for each candidate.
        Preference::Linear { .. } => {
            let full = preference.unit();
            for (sum, other) in sums.iter_mut().zip(column) {
                let net = (other - value).max(-full).min(full);
                *sum += if IN { net } else { -net };
                total += net;
            }
        }
        other => each(&|difference| other.net(difference)),
    }
    total
}
