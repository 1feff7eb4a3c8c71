//! The agenda against a list that is sorted anew at each step.

use super::*;
use crate::dice::{Dice, Domain};

#[test]
fn whatever_is_next_comes_next_and_of_the_same_time_what_came_first() {
    for seed in 0..20 {
        let mut dice = Dice::stream(seed, Domain::Batch, 0);
        let (mut agenda, mut list) = (Agenda::default(), Vec::new());
        let mut now_ms = dice.roll(1 << 41);
        for number in 0..3_000u32 {
            // At once, within a slice, within an hour, in years.
            let after_ms = match dice.roll(4) {
                0 => dice.roll(2),
                1 => dice.roll(1 << SLICE_BITS),
                2 => dice.roll(3_600_000),
                _ => dice.roll(1 << 38),
            };
            agenda.add(now_ms + after_ms, Act::Order { bag: number });
            list.push((now_ms + after_ms, number));
            // Half of the time it empties, now and then wholly.
            for _ in 0..dice.roll(if number / 500 % 2 == 0 { 2 } else { 4 }) {
                list.sort_unstable();
                assert_eq!(agenda.next_ms(), list.first().map(|(at_ms, _)| *at_ms), "seed {seed}");
                let next = agenda.pop().map(|act| match act {
                    Act::Order { bag } => bag,
                    other => panic!("seed {seed}: {other:?} was never added"),
                });
                assert_eq!(next, list.first().map(|(_, number)| *number), "seed {seed}");
                if !list.is_empty() {
                    now_ms = now_ms.max(list.remove(0).0);
                }
            }
        }
    }
}
