//! What is expected of a run at a machine, and the values by which machines are compared.

use std::sync::Arc;

use gristmill_types::{Amount, ContentId};

use super::exact;
use super::favor::{CRITERIA, Criterion};
use super::{Preference, Preferences};

/// A factor of two in time, money, energy or risk, as a difference of values.
pub const OCTAVE: i32 = 1 << 16;
/// Values are between -2^22 and 2^22: 64 octaves each way.
const VALUE_MAX: f64 = (1 << 22) as f64;
/// Shorter completion times than a millisecond count as one.
const SECONDS_MIN: f64 = 1e-3;
/// Smaller energies count as this many joules.
const JOULES_MIN: f64 = 1e-3;
/// A price of nothing counts as 1 nGRIST: there is no ratio to nothing.
const NGRIST_MIN: f64 = 1.0;
/// An expected error below one in a million counts as that.
const ERROR_MIN: f64 = 1e-6;
/// Speed and rates that are not known, or are said to be 0, count as this.
const OPERATIONS_PER_SECOND_MIN: f64 = 1e6;
const BYTES_PER_SECOND_MIN: f64 = 1e3;

/// What the reference machine does: the one whose ad says `Speed = 1`.
pub const REFERENCE_OPERATIONS_PER_SECOND: u64 = 1_000_000_000;
/// Machines that are all nearer to each other than this are as good as equal: where a hundredth makes the whole spread, it must not
/// decide everything.
const SPREAD_MIN: i32 = OCTAVE / 8;

/// Of a hundred machines, so many at either end do not count as the spread: one that is a thousand times slower than all others
/// must not make these alike.
const OUTLIERS_PERCENT: usize = 5;

/// How the scheduler compares machines: linear in each criterion, and wholly where they are as far apart as the middle nine tenths
/// of these. So weights mean what a requester means by them: how far along the way from bad to good each criterion counts,
/// whichever criterion has the wider range.
pub fn preferences(machines: &[Values]) -> Preferences {
    Criterion::ALL.map(|criterion| {
        let mut column = machines.iter().map(|values| values.0[criterion.place()]).collect::<Vec<_>>();
        column.sort_unstable();
        let cut = column.len() * OUTLIERS_PERCENT / 100;
        let inner = column.get(cut..column.len() - cut).unwrap_or_default();
        let spread = inner.last().zip(inner.first()).map_or(1, |(last, first)| last - first);
        Preference::Linear { full: spread.max(SPREAD_MIN) }
    })
}

/// How long a machine stays once it is there: a Weibull distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Availability {
    /// Below 1: the longer it was there, the longer it will stay.
    pub shape: f64,
    /// In milliseconds: 63 % of the stays are shorter.
    pub scale_ms: f64,
}

/// The stays of volunteers' machines in the mean of the published fits: shape 0.393, scale 2.964 h.
impl Default for Availability {
    fn default() -> Self {
        Self { shape: 0.393, scale_ms: 2.964 * 3_600_000.0 }
    }
}

/// What changes about a machine while it is there, and what is known of it besides its ad. All of one slot.
///
/// None of it is a time of day: what the ranking makes of it holds until it is changed, and can be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Slots that nobody uses; 0 also while it takes nothing (it drains, it is banned, put aside, or busy).
    pub slots_free: u32,
    /// When a slot is expected to come free, if none is; for people.
    pub free_at_ms: Option<u64>,
    /// Operations a second.
    pub operations_per_second: u64,
    /// Bytes a second that it fetches.
    pub fetch_bytes_per_second: u64,
    /// Bytes a second that it uploads.
    pub upload_bytes_per_second: u64,
    /// What an hour costs.
    pub price_per_hour: Amount,
    /// The share of wrong results to expect of it: 1 less its credibility.
    pub expected_error: f64,
    /// What a run draws.
    pub watts: f64,
    /// Leases that it had.
    pub tasks_started: u64,
    /// Those of them that came to a result.
    pub tasks_completed: u64,
    /// How long it stays.
    pub availability: Availability,
    /// How long it was there at the last look.
    pub up_for_ms: u64,
    /// What it has already, sorted.
    pub cached: Arc<[ContentId]>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            slots_free: 1,
            free_at_ms: None,
            operations_per_second: REFERENCE_OPERATIONS_PER_SECOND,
            fetch_bytes_per_second: 1_250_000,
            upload_bytes_per_second: 1_250_000,
            price_per_hour: Amount::ZERO,
            expected_error: 0.1,
            watts: 50.0,
            tasks_started: 0,
            tasks_completed: 0,
            availability: Availability::default(),
            up_for_ms: 0,
            // That of all: no room is taken for it.
            cached: Arc::default(),
        }
    }
}

/// What a run needs of a machine, besides the requirements.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Operations to compute.
    pub operations: u64,
    /// Whether that is known, and no guess: then who is too slow for it is not asked.
    pub is_known: bool,
    /// App and inputs, with their sizes in bytes.
    pub inputs: Vec<(ContentId, u64)>,
    /// Bytes of the result.
    pub upload_bytes: u64,
}

/// What is expected of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Seconds that the slot is taken: fetching what is not there, computing, uploading.
    pub run_s: f64,
    /// Seconds until the result is there, runs that fail counted in by the machine's past.
    pub completion_s: f64,
    /// What it costs, in nGRIST.
    pub cost_ngrist: f64,
    /// The chance of a wrong result.
    pub error: f64,
    /// The logarithm to base 2 of the chance that the machine stays for the whole run.
    pub log2_stays: f64,
    /// What it burns, in joules.
    pub energy_j: f64,
}

/// Of a machine and a demand: one value a criterion, in the order of [`Criterion::ALL`], in parts of an [`OCTAVE`]; larger is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values(pub [i32; CRITERIA]);

impl Expected {
    /// Of a run of this work at a machine of these facts.
    pub fn of(work: &Work, facts: &Facts) -> Self {
        let missing = work.inputs.iter().filter(|(content, _)| facts.cached.binary_search(content).is_err());
        // Numbers above 2^53 lose their last digits, the same everywhere.
        let fetch_bytes = missing.map(|(_, bytes)| *bytes as f64).sum::<f64>();
        let run_s = fetch_bytes / (facts.fetch_bytes_per_second as f64).max(BYTES_PER_SECOND_MIN)
            + work.operations as f64 / (facts.operations_per_second as f64).max(OPERATIONS_PER_SECOND_MIN)
            + work.upload_bytes as f64 / (facts.upload_bytes_per_second as f64).max(BYTES_PER_SECOND_MIN);
        // One run that ended well is added to both: nobody starts without a chance, and nobody's is 0.
        let tries = (facts.tasks_started as f64 + 1.0) / (facts.tasks_completed as f64 + 1.0);
        let Availability { shape, scale_ms } = facts.availability;
        let hazard = |ms: f64| exact::power(ms / scale_ms, shape);
        let up_ms = facts.up_for_ms as f64;
        let log2_stays = -(hazard(up_ms + 1_000.0 * run_s) - hazard(up_ms)) * std::f64::consts::LOG2_E;
        Self {
            run_s,
            completion_s: run_s * tries.max(1.0),
            cost_ngrist: facts.price_per_hour.ngrist() as f64 * (run_s / 3_600.0),
            error: facts.expected_error,
            log2_stays,
            energy_j: facts.watts * run_s,
        }
    }

    /// The chance that the machine stays for the whole run.
    pub fn stays(&self) -> f64 {
        exact::exp2(self.log2_stays)
    }

    /// The values: times, costs, energies and risks are compared by their ratios, so that neither the size of a task nor the unit
    /// changes who is preferred.
    pub fn values(&self) -> Values {
        let small = |x: f64, least: f64| -exact::log2(if x >= least { x } else { least });
        Values(Criterion::ALL.map(|criterion| {
            let octaves = match criterion {
                Criterion::Cost => small(self.cost_ngrist, NGRIST_MIN),
                Criterion::Speed => small(self.completion_s, SECONDS_MIN),
                Criterion::Trust => small(self.error, ERROR_MIN),
                Criterion::Reliability => self.log2_stays,
                Criterion::Energy => small(self.energy_j, JOULES_MIN),
            };
            // What is no number comes out as 0; the rest is cut to the bound, and rounded.
            ((octaves * f64::from(OCTAVE)).clamp(-VALUE_MAX, VALUE_MAX) + 0.5).floor() as i32
        }))
    }
}
