//! Weigh evidence: how likely a worker is a saboteur, and a group of results wrong, whatever the rate at which they cheat.
//!
//! Sarmenta's credibilities are worst cases over s, the rate at which saboteurs cheat, taken for each result alone and multiplied.
//! But colluders cheat on the *same* tasks: of two of them both are wrong with probability s, not s². So the worst case is taken
//! last here: for each of some rates all evidence is weighed as if saboteurs cheated at that rate, all on the same tasks and with
//! the same wrong answer, and only the final probability is the largest over the rates. For one worker that was checked k times
//! by an oracle the outcome is his, `f/(1-f) * 1/(k e)`.
//!
//! Arithmetic is f64 with `+ - * /` and comparisons alone, in a fixed order: IEEE 754 fixes each bit of the outcome.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Rates of cheating that are looked at: 1, 2^-1/2, 2^-1, ... 2^-11.5. Whoever cheats more rarely is bounded by the last.
pub(crate) const RATES: usize = 24;
/// Between two rates the worst case can be higher than at either: by 1.6 % for many checks (`x e^-x` around its peak), by 3 % for
/// one or two. A test looks at thousands of rates.
const BETWEEN_RATES: f64 = 1.05;
/// Nobody is believed more than this: keeps products of 32 of them away from zero.
const SUSPICION_MIN: f64 = 1e-9;

const RATE: [f64; RATES] = rates();

const fn rates() -> [f64; RATES] {
    let mut rates = [1.0; RATES];
    let mut at = 1;
    while at < RATES {
        rates[at] = if at % 2 == 1 { rates[at - 1] * std::f64::consts::FRAC_1_SQRT_2 } else { rates[at - 2] * 0.5 };
        at += 1;
    }
    rates
}

/// What passed checks say of a worker: for each rate, how much likelier an honest worker was to pass them all than a saboteur
/// of that rate, inverted. 1 says nothing, 0 that it cannot be one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record([f64; RATES]);

/// The probability that a worker is a saboteur, for each rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Suspicion {
    at: [f64; RATES],
    /// Before any evidence: what can be said of those who cheat more rarely than any check could notice.
    prior: f64,
}

/// For each rate, the probability that a cheat would have been noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scrutiny([f64; RATES]);

impl Record {
    pub const BLANK: Self = Self([1.0; RATES]);

    /// One more check was passed.
    pub fn pass(&mut self, scrutiny: &Scrutiny) {
        for ((survival, noticed), rate) in self.0.iter_mut().zip(scrutiny.0).zip(RATE) {
            *survival *= 1.0 - rate * noticed;
        }
    }

    /// How likely it is a saboteur, if of its like a fraction `prior` was from the beginning.
    pub fn suspicion(&self, prior: f64) -> Suspicion {
        let odds = prior / (1.0 - prior);
        // A plain loop: the compiler makes several rates at a time of it.
        let mut at = self.0;
        for survival in &mut at {
            *survival = (odds * *survival / (1.0 + odds * *survival)).max(SUSPICION_MIN);
        }
        Suspicion { at, prior }
    }
}

impl Suspicion {
    /// The largest probability, over all rates, that its next result is wrong.
    pub fn doubt(&self) -> f64 {
        doubt(&[(0, *self)], 0)
    }
}

impl Scrutiny {
    /// A result was compared with those of others: a cheat goes unnoticed only if all of them are in collusion.
    /// With nobody there is no scrutiny.
    pub fn by<'a>(others: impl IntoIterator<Item = &'a Suspicion>) -> Self {
        let mut unnoticed = [1.0; RATES];
        for other in others {
            for (unnoticed, suspicion) in unnoticed.iter_mut().zip(other.at) {
                *unnoticed *= suspicion;
            }
        }
        Self(unnoticed.map(|unnoticed| 1.0 - unnoticed))
    }

    /// How likely a cheat of somebody who always cheats was noticed.
    pub fn of_a_cheat(&self) -> f64 {
        self.0[0]
    }
}

/// An upper bound of the probability that the results of group `leader` are wrong, each vote being its group and the suspicion
/// of who gave it. Without a vote for the leader it is 1.
///
/// All alike: either this is a task on which saboteurs cheat, and all are such (s ∏f) or all honest (s ∏(1-f)), or it is not (1-s).
/// In dispute: Sarmenta's conditional probability (CCGrid 2001, section 4.3), one group right or none. A dispute shows that there
/// is cheating, so that s is no excuse any more, and the rarest cheats count fully.
pub(crate) fn doubt(votes: &[(usize, Suspicion)], leader: usize) -> f64 {
    let leading = votes.iter().filter(|(group, _)| *group == leader).count();
    if leading == 0 {
        return 1.0;
    }
    // Nearly all tasks are not in dispute: only the others pay for being sorted.
    let worst = if leading == votes.len() {
        unanimous(votes)
    } else {
        let (leading, others) = votes.iter().partition::<Vec<_>, _>(|(group, _)| *group == leader);
        in_dispute(&leading, &others)
    };
    worst.min(1.0)
}

fn unanimous(votes: &[(usize, Suspicion)]) -> f64 {
    let wrong =
        |rate: f64, all_cheat: f64, none_does: f64| rate * all_cheat / ((1.0 - rate) + rate * (all_cheat + none_does));
    // Vote by vote, all rates at a time: each rate's products are the same as if it were alone.
    let (mut all_cheat, mut none_does) = ([1.0; RATES], [1.0; RATES]);
    let (mut all_prior, mut none_prior) = (1.0, 1.0);
    for (_, suspicion) in votes {
        for ((all, none), at) in all_cheat.iter_mut().zip(&mut none_does).zip(&suspicion.at) {
            *all *= at;
            *none *= 1.0 - at;
        }
        all_prior *= suspicion.prior;
        none_prior *= 1.0 - suspicion.prior;
    }
    let mut doubts = [0.0; RATES];
    for (index, doubt) in doubts.iter_mut().enumerate() {
        *doubt = wrong(RATE[index], all_cheat[index], none_does[index]);
    }
    doubts.into_iter().fold(wrong(RATE[RATES - 1], all_prior, none_prior), f64::max) * BETWEEN_RATES
}

/// Suspicion of one and the same worker falls with the rate, and steeply near 1. So between two rates those who lead are as
/// suspect as at the smaller, and the others as at the larger: whatever the rate, it is not worse than that.
fn in_dispute(leading: &[&(usize, Suspicion)], others: &[&(usize, Suspicion)]) -> f64 {
    let groups = others.iter().map(|(group, _)| *group + 1).max().unwrap_or(0);
    let against = |of_leading: &dyn Fn(&Suspicion) -> f64, of_others: &dyn Fn(&Suspicion) -> f64| {
        // Odds against the leader: with all of its votes wrong, one of the other groups is right, or none.
        let wrong = leading.iter().map(|(_, suspicion)| of_leading(suspicion) / (1.0 - of_leading(suspicion)));
        let right = (0..groups).filter(|group| others.iter().any(|(of, _)| of == group)).map(|group| {
            let its = others.iter().filter(|(of, _)| *of == group);
            its.map(|(_, suspicion)| (1.0 - of_others(suspicion)) / of_others(suspicion)).product::<f64>()
        });
        let odds = wrong.product::<f64>() * (1.0 + right.sum::<f64>());
        odds / (1.0 + odds)
    };
    let mut worst = against(&|suspicion| suspicion.prior, &|suspicion| suspicion.at[RATES - 1]);
    for index in 1..RATES {
        worst = f64::max(worst, against(&|suspicion| suspicion.at[index], &|suspicion| suspicion.at[index - 1]));
    }
    worst
}

// Bits, since text formats may round a decimal fraction: a restored record is the record.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.map(f64::to_bits).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = <[u64; RATES]>::deserialize(deserializer)?.map(f64::from_bits);
        if values.iter().all(|value| (0.0..=1.0).contains(value)) {
            Ok(Self(values))
        } else {
            Err(serde::de::Error::custom("a record of checks holds a value that is not from 0 to 1"))
        }
    }
}

#[cfg(test)]
mod tests;
