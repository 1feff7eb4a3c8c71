//! A market in miniature: jobs, workers of which some are saboteurs, and schemes that decide what to believe.
//!
//! Time is in rounds: in each every worker computes one result at most, and nobody knows what others answer in the same round.

use std::collections::BTreeMap;

/// A small generator of its own, so that a seed means the same for ever.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, sides: usize) -> usize {
        (self.word() % sides as u64) as usize
    }

    pub fn fraction(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// What a saboteur does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Gives the same garbage without computing, each time with this probability.
    Lazy(f64),
    /// Errs, each time with this probability and another way.
    Random(f64),
    /// All cheat on the same tasks, this fraction of them, with the same answer.
    Colluding(f64),
    /// Each cheats for itself with this probability, all with the same answer: the setting of the published simulations.
    Published(f64),
    /// Colludes, and comes back under a new name as soon as it is blacklisted.
    Whitewashing(f64),
    /// Withholds every other answer; colludes in the rest.
    Withholding(f64),
    /// Honest for so many answers, then always cheats, in collusion.
    Turncoat(u32),
    /// Honest for so many answers; then cheats when it knows another saboteur at the same task, never alone.
    Pack(u32),
}

pub const RIGHT: u64 = 0;
const COLLUSION: u64 = 1;

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub jobs: usize,
    pub workers: usize,
    pub saboteurs: f64,
    pub kind: Kind,
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub accepted: usize,
    pub wrong: usize,
    pub results: usize,
    pub leases: usize,
    pub rounds: usize,
    pub honest_barred: usize,
}

impl Outcome {
    pub fn error(&self) -> f64 {
        self.wrong as f64 / self.accepted as f64
    }

    pub fn cost(&self) -> f64 {
        self.results as f64 / self.accepted as f64
    }

    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.wrong += other.wrong;
        self.results += other.results;
        self.leases += other.leases;
        self.rounds += other.rounds;
        self.honest_barred += other.honest_barred;
    }
}

/// Decides who computes what, and which results are accepted.
pub trait Scheme {
    fn join(&mut self, worker: usize);
    /// A job for this worker, of which it has no result yet.
    fn next(&mut self, worker: usize) -> Option<usize>;
    /// What the worker answers; `None` if it withholds.
    fn answer(&mut self, worker: usize, job: usize, value: Option<u64>);
    /// Ends a round: jobs that are accepted now.
    fn accepted(&mut self) -> Vec<(usize, u64)>;
    fn is_barred(&self, worker: usize) -> bool;
}

/// The worst that a run may take.
const ROUNDS_MAX: usize = 100_000;

struct Market {
    setup: Setup,
    dice: Dice,
    secret: u64,
    answers: BTreeMap<usize, u32>,
    packs: BTreeMap<usize, bool>,
}

impl Market {
    /// The same draw for all colluders.
    fn agreed(&self, job: usize) -> f64 {
        Dice(self.secret ^ (job as u64).wrapping_mul(0x2545_f491_4f6c_dd1d)).fraction()
    }

    /// What a saboteur answers, when so many saboteurs hold the job.
    fn cheat(&mut self, worker: usize, job: usize, together: usize) -> Option<u64> {
        let given = self.answers.entry(worker).or_default();
        *given += 1;
        let given = *given;
        let cheats = match self.setup.kind {
            Kind::Lazy(rate) | Kind::Published(rate) => self.dice.fraction() < rate,
            Kind::Random(rate) => {
                return Some(if self.dice.fraction() < rate { 2 + self.dice.word() / 2 } else { RIGHT });
            }
            Kind::Colluding(rate) | Kind::Whitewashing(rate) => self.agreed(job) < rate,
            Kind::Withholding(rate) => {
                if self.dice.fraction() < 0.5 {
                    return None;
                }
                self.agreed(job) < rate
            }
            Kind::Turncoat(honest) => given > honest,
            Kind::Pack(honest) => *self.packs.entry(job).or_insert(together > 1 && given > honest),
        };
        Some(if cheats { COLLUSION } else { RIGHT })
    }
}

/// Runs a market until every job is accepted.
pub fn run(setup: Setup, scheme: &mut dyn Scheme) -> Outcome {
    let mut dice = Dice(setup.seed);
    let secret = dice.word();
    let mut market = Market { setup, dice, secret, answers: BTreeMap::new(), packs: BTreeMap::new() };
    let bad = (setup.workers as f64 * setup.saboteurs).round() as usize;
    // Names, and whether they are a saboteur's. Which of them come first is drawn.
    let mut crew = (0..setup.workers).map(|worker| (worker, worker < bad)).collect::<Vec<_>>();
    crew.iter().for_each(|(worker, _)| scheme.join(*worker));
    let mut names = setup.workers;
    let mut outcome = Outcome::default();
    while outcome.accepted < setup.jobs {
        outcome.rounds += 1;
        assert!(outcome.rounds < ROUNDS_MAX, "{setup:?} does not end: {outcome:?}");
        market.dice.shuffle(&mut crew);
        for (worker, is_bad) in &mut crew {
            if *is_bad && matches!(setup.kind, Kind::Whitewashing(_)) && scheme.is_barred(*worker) {
                *worker = names;
                names += 1;
                scheme.join(*worker);
            }
        }
        let mut held = Vec::new();
        for (worker, is_bad) in &crew {
            if let Some(job) = scheme.next(*worker) {
                held.push((*worker, *is_bad, job));
            }
        }
        let mut together = BTreeMap::<usize, usize>::new();
        held.iter().filter(|(_, is_bad, _)| *is_bad).for_each(|(_, _, job)| *together.entry(*job).or_default() += 1);
        market.dice.shuffle(&mut held);
        for (worker, is_bad, job) in held {
            let value = if is_bad { market.cheat(worker, job, together[&job]) } else { Some(RIGHT) };
            outcome.leases += 1;
            outcome.results += usize::from(value.is_some());
            scheme.answer(worker, job, value);
        }
        for (_, value) in scheme.accepted() {
            outcome.accepted += 1;
            outcome.wrong += usize::from(value != RIGHT);
        }
    }
    outcome.honest_barred = crew.iter().filter(|(worker, is_bad)| !is_bad && scheme.is_barred(*worker)).count();
    outcome
}
