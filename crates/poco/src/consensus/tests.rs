use proptest::prelude::*;

use super::*;

fn hash(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn tally(votes: &[(u8, u64)]) -> Tally {
    let mut tally = Tally::new();
    for (holder, weight) in votes {
        tally.add(hash(*holder), *weight).unwrap();
    }
    tally
}

#[test]
fn weights_follow_the_score() {
    let table =
        [(0, 2), (8, 2), (11, 2), (12, 3), (14, 3), (15, 4), (300, 99), (303, 100), (u64::MAX, u64::MAX / 3 - 1)];
    for (score, expected) in table {
        assert_eq!(weight(score), expected, "score {score}");
    }
}

#[test]
fn rewards_go_by_the_logarithm() {
    for (weight, expected) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (u64::MAX, 63)] {
        assert_eq!(log2_weight(weight), expected, "weight {weight}");
    }
}

#[test]
fn a_fault_takes_a_third_of_the_score() {
    for (score, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (100, 66), (u64::MAX, 12_297_829_382_473_034_410)] {
        assert_eq!(score_after_fault(score), expected, "score {score}");
    }
}

/// k newcomers who agree satisfy trust t as soon as 2^k > t - 1.
#[test]
fn as_many_newcomers_as_the_trust_asks() {
    let table =
        [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4), (17, 5), (100, 7), (1_000, 10), (10_000, 14)];
    for (trust, needed) in table {
        let reached = |count: usize| tally(&vec![(1, 2); count]).reaches(hash(1), Trust::new(trust)).unwrap();
        let first = (1..=CONTRIBUTORS_MAX).find(|count| reached(*count));
        assert_eq!(first, Some(needed), "trust {trust}");
        assert_eq!(Trust::new(trust).replicas_of_newcomers() as usize, needed, "trust {trust}");
    }
}

#[test]
fn one_liar_at_trust_five_needs_four_honest() {
    for honest in 0..6 {
        let mut votes = vec![(9, 2)];
        votes.extend(std::iter::repeat_n((1, 2), honest));
        assert_eq!(tally(&votes).reaches(hash(1), Trust::new(5)).unwrap(), honest >= 4, "{honest} honest");
        assert!(!tally(&votes).reaches(hash(9), Trust::new(5)).unwrap(), "the liar with {honest} honest");
    }
}

#[test]
fn a_hash_nobody_holds_is_never_accepted() {
    assert!(!Tally::new().reaches(hash(1), Trust::new(1)).unwrap());
}

#[test]
fn overflow_is_an_error_and_changes_nothing() {
    let mut tally = tally(&[(1, u64::MAX), (1, u64::MAX), (1, u64::MAX), (1, u64::MAX), (2, 2)]);
    let before = tally.clone();
    tally.add(hash(1), u64::MAX).unwrap_err();
    assert_eq!(tally, before);
    assert_eq!(reaches(U256::MAX, U256::from(1), Trust::new(2)), Err(WeightOverflow));
}

#[test]
fn removing_a_group_leaves_the_others() {
    let mut tally = tally(&[(1, 2), (1, 2), (2, 3)]);
    tally.set_group(hash(1), None).unwrap();
    assert_eq!((tally.group(hash(1)), tally.group(hash(2)), tally.total()), (U256::ZERO, U256::from(3), U256::from(4)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the definition: group = product, total = 1 + sum, accepted iff group/total > 1 - 1/t, in rationals.
    #[test]
    fn the_tally_is_its_definition(votes in prop::collection::vec((0u8..4, 2u64..6), 0..12), trust in 1u64..50) {
        let tally = tally(&votes);
        let group = |holder: u8| {
            let weights = votes.iter().filter(|(of, _)| *of == holder).map(|(_, weight)| u128::from(*weight));
            weights.reduce(|product, weight| product * weight).unwrap_or(0)
        };
        let total = 1 + (0..4).map(group).sum::<u128>();
        prop_assert_eq!(tally.total(), U256::from(total));
        for holder in 0..4 {
            prop_assert_eq!(tally.group(hash(holder)), U256::from(group(holder)));
            let credible = group(holder) > 0 && group(holder) * u128::from(trust) > total * u128::from(trust - 1);
            prop_assert_eq!(tally.reaches(hash(holder), Trust::new(trust)).unwrap(), credible);
        }
        let heaviest = (0..4).map(group).max().filter(|group| *group > 0).map(U256::from);
        prop_assert_eq!(tally.leader().map(|leader| tally.group(leader)), heaviest);
    }
}
