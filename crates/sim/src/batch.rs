//! Result checking alone, without hosts, time or network: a batch of tasks, and m equal answers that are wanted for each.
//!
//! The worst case of Sarmenta's analysis (FGCS 18(4), 2002): all wrong answers of a task are equal. [`error_rate`] is the
//! closed form, [`vote`] the same as an experiment.

use crate::dice::{Dice, Domain};

/// The most answers of a task.
pub const WANTED_MAX: u32 = 1_000;

/// An m-first vote: the first answer that `wanted` workers gave is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// Equal answers that are wanted, 1 to [`WANTED_MAX`].
    pub wanted: u32,
    /// The fraction of workers that are saboteurs, 0 to 1.
    pub saboteurs: f64,
    /// How often such a one answers wrongly, 0 to 1.
    pub rate: f64,
    /// Tasks.
    pub tasks: u64,
    /// Workers; none answers a task twice. 0 for so many that it makes no difference.
    pub workers: u32,
    /// All chance follows from it.
    pub seed: u64,
}

/// What a vote showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Tasks whose accepted answer is wrong.
    pub wrong: u64,
    /// Answers that were asked for.
    pub answers: u64,
    /// Tasks.
    pub tasks: u64,
}

impl Outcome {
    /// The share of tasks whose accepted answer is wrong.
    pub fn error_rate(&self) -> f64 {
        self.wrong as f64 / self.tasks.max(1) as f64
    }

    /// Answers for each task.
    pub fn cost(&self) -> f64 {
        self.answers as f64 / self.tasks.max(1) as f64
    }
}

/// Runs the vote.
pub fn vote(vote: &Vote) -> Outcome {
    let mut dice = Dice::stream(vote.seed, Domain::Batch, u64::from(vote.wanted));
    let wanted = vote.wanted.clamp(1, WANTED_MAX);
    let mut outcome = Outcome { wrong: 0, answers: 0, tasks: vote.tasks };
    // Rounded to the nearest: a fraction of whole workers.
    let bad_workers = (f64::from(vote.workers) * vote.saboteurs).round() as u64;
    for _ in 0..vote.tasks {
        let (mut right, mut wrong) = (0, 0);
        let (mut left, mut bad_left) = (u64::from(vote.workers), bad_workers);
        while right < wanted && wrong < wanted {
            let saboteur = if vote.workers == 0 {
                dice.happens(vote.saboteurs)
            } else {
                // None left who has not answered: the vote stays open, and counts as it stands.
                if left == 0 {
                    break;
                }
                let bad = dice.roll(left) < bad_left;
                left -= 1;
                bad_left -= u64::from(bad);
                bad
            };
            outcome.answers += 1;
            if saboteur && dice.happens(vote.rate) {
                wrong += 1;
            } else {
                right += 1;
            }
        }
        outcome.wrong += u64::from(wrong > right);
    }
    outcome
}

/// The probability that an m-first vote accepts a wrong answer, if each answer is wrong with probability `raw` and all wrong
/// ones are equal: the sum over j from m to 2m-1 of C(2m-1, j) raw^j (1-raw)^(2m-1-j).
pub fn error_rate(raw: f64, wanted: u32) -> f64 {
    let wanted = wanted.clamp(1, WANTED_MAX);
    let answers = 2 * wanted - 1;
    // In logarithms: the binomials of a large vote leave the range of numbers long before their products do.
    let log_factorial = |n: u32| libm::lgamma(f64::from(n) + 1.0);
    let term = |j: u32| {
        let binomial = log_factorial(answers) - log_factorial(j) - log_factorial(answers - j);
        libm::exp(binomial + f64::from(j) * libm::log(raw) + f64::from(answers - j) * libm::log(1.0 - raw))
    };
    if raw <= 0.0 {
        0.0
    } else if raw >= 1.0 {
        1.0
    } else {
        (wanted..=answers).map(term).sum()
    }
}

/// How many equal answers keep the error to `allowed` at most; `None` if not even [`WANTED_MAX`] do.
pub fn wanted_for(raw: f64, allowed: f64) -> Option<u32> {
    (1..=WANTED_MAX).find(|wanted| error_rate(raw, *wanted) <= allowed)
}

#[cfg(test)]
mod tests;
