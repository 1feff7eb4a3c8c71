//! A set of numbers that mostly come in runs, such as the places in line of the tasks that a worker has had.

use std::collections::BTreeMap;

/// A set of numbers, kept as runs of neighbours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// First number of a run, and the one after its last.
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    pub fn insert(&mut self, number: u64) {
        let end = number.saturating_add(1);
        let (mut first, mut last) = (number, end);
        if let Some((start, until)) = self.runs.range(..=number).next_back().map(|(start, until)| (*start, *until)) {
            if until > number {
                return;
            }
            if until == number {
                first = start;
            }
        }
        if let Some(until) = self.runs.remove(&end) {
            last = until;
        }
        self.runs.insert(first, last);
    }

    /// The first number from `number` on that is not in the set.
    pub fn first_absent(&self, number: u64) -> u64 {
        match self.runs.range(..=number).next_back() {
            Some((_, until)) if *until > number => *until,
            _ => number,
        }
    }

    /// Forgets the numbers below this one, as far as their runs lie below it.
    pub fn forget_below(&mut self, number: u64) {
        while let Some(run) = self.runs.first_entry().filter(|run| *run.get() <= number) {
            run.remove();
        }
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_are_a_set() {
        for seed in 0..50u64 {
            let mut state = seed;
            let mut roll = |sides: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % sides
            };
            let (mut runs, mut numbers) = (Runs::default(), BTreeSet::new());
            for _ in 0..200 {
                let number = roll(120);
                runs.insert(number);
                numbers.insert(number);
                let from = roll(130);
                let absent = (from..).find(|number| !numbers.contains(number)).unwrap();
                assert_eq!(runs.first_absent(from), absent, "seed {seed}");
                let count = numbers.iter().filter(|number| !numbers.contains(&(**number + 1))).count();
                assert_eq!(runs.len(), count, "seed {seed}");
            }
            let below = roll(120);
            runs.forget_below(below);
            assert!(
                (below..130).all(|from| runs.first_absent(from) == (from..).find(|n| !numbers.contains(n)).unwrap())
            );
        }
    }
}
