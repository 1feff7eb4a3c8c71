use proptest::prelude::*;

use super::*;
use crate::formula;

fn checked(f: f64, checks: u32) -> Suspicion {
    let oracle = Scrutiny([1.0; RATES]);
    let mut record = Record::BLANK;
    (0..checks).for_each(|_| record.pass(&oracle));
    record.suspicion(f)
}

#[test]
fn one_worker_is_believed_as_in_the_closed_form() {
    for f in [0.05, 0.2, 0.35] {
        assert!((1.0 - checked(f, 0).doubt() / f).abs() < 0.051, "a newcomer is wrong as often as it is bad");
        for checks in [5, 10, 30, 100, 1_000] {
            // Over n entries the worst is s f (1-s)^n / ((1-f) + f (1-s)^n); his closed form bounds it.
            let worst = (1..=100_000)
                .map(|s| formula::spot_check_error(f, f64::from(s) / 1e5, 1.0, checks))
                .fold(0.0, f64::max);
            let got = checked(f, checks).doubt();
            assert!(got >= worst && got <= worst * 1.051, "f {f} k {checks}: {got}, worst {worst}");
            assert!(got <= 1.05 * (1.0 - formula::credibility_blacklisting(f, checks)), "f {f} k {checks}");
        }
    }
}

#[test]
fn newcomers_are_weighed_as_in_the_conditional_probability() {
    let f = 0.2;
    for (groups, leader) in [(vec![3], 0), (vec![4, 1], 0), (vec![2, 5, 1], 1), (vec![1, 1], 1)] {
        let votes = groups.iter().enumerate().flat_map(|(group, count)| vec![(group, checked(f, 0)); *count]);
        let got = doubt(&votes.collect::<Vec<_>>(), leader);
        let lists = groups.iter().map(|count| vec![1.0 - f; *count]).collect::<Vec<_>>();
        let expected = 1.0 - formula::group_credibilities(&lists)[leader];
        assert!(got >= expected * (1.0 - 1e-12) && got <= expected * 1.051, "{groups:?}: {got}, not {expected}");
    }
}

/// What the multiplied worst cases miss: colluders cheat on the same tasks.
#[test]
fn two_colluders_are_likelier_than_two_independent_errors() {
    let (f, checks) = (0.35, 5);
    let pair = doubt(&[(0, checked(f, checks)), (0, checked(f, checks))], 0);
    let alone = 1.0 - formula::credibility_blacklisting(f, checks);
    let multiplied = 1.0 - formula::group_credibilities(&[vec![1.0 - alone; 2]])[0];
    assert!(pair > 3.0 * multiplied, "{pair} against {multiplied}");
}

#[test]
fn without_a_vote_there_is_no_belief() {
    assert_eq!(doubt(&[], 0), 1.0);
    assert_eq!(doubt(&[(1, checked(0.2, 50))], 0), 1.0);
}

/// The same by brute force: many more rates, no tables. Witnesses are saboteurs with this probability, whatever the rate.
fn brute(f: f64, voters: &[(usize, u32, f64)], leader: usize) -> f64 {
    let disputed = voters.iter().any(|(group, ..)| *group != leader);
    let mut worst: f64 = 0.0;
    for step in 0..6_000 {
        let rate = 0.998_f64.powi(step);
        let bad = voters.iter().map(|(_, checks, witness)| {
            let odds = f / (1.0 - f) * (1.0 - rate * (1.0 - witness)).powi(*checks as i32);
            (odds / (1.0 + odds)).max(SUSPICION_MIN)
        });
        let bad = bad.collect::<Vec<_>>();
        let chance = |right: Option<usize>| {
            let each =
                voters.iter().zip(&bad).map(|((group, ..), bad)| if Some(*group) == right { 1.0 - bad } else { *bad });
            each.product::<f64>()
        };
        let wrong = if disputed {
            let groups = (0..3).filter(|group| voters.iter().any(|(of, ..)| of == group));
            let all = chance(None) + groups.map(|group| chance(Some(group))).sum::<f64>();
            1.0 - chance(Some(leader)) / all
        } else {
            rate * chance(None) / (1.0 - rate + rate * (chance(None) + chance(Some(leader))))
        };
        worst = worst.max(wrong);
    }
    worst
}

proptest! {
    /// Never below the truth, and not much above it.
    #[test]
    fn the_bound_holds(
        f in 0.02..0.45f64,
        voters in proptest::collection::vec((0usize..3, 0u32..60, 0.0..0.3f64), 1..8),
        unanimous in any::<bool>(),
    ) {
        let voters = voters.into_iter().map(|(group, checks, witness)| (if unanimous { 0 } else { group }, checks, witness));
        let voters = voters.collect::<Vec<_>>();
        let votes = voters.iter().map(|(group, checks, witness)| {
            let mut record = Record::BLANK;
            (0..*checks).for_each(|_| record.pass(&Scrutiny([1.0 - witness; RATES])));
            (*group, record.suspicion(f))
        });
        let votes = votes.collect::<Vec<_>>();
        let leader = voters[0].0;
        let (got, brute) = (doubt(&votes, leader), brute(f, &voters, leader));
        prop_assert!(got >= brute.min(1.0) * (1.0 - 1e-9), "{got} is below {brute}");
        // The rarest cheats are bounded by the last rate and the prior: an addition, not a factor.
        prop_assert!(!unanimous || got <= brute * 1.051 + 4e-4 * f, "{got} is far above {brute}");
    }

    #[test]
    fn a_record_survives_its_text(checks in 0u32..100, witness in 0.0..1.0f64) {
        let mut record = Record::BLANK;
        (0..checks).for_each(|_| record.pass(&Scrutiny([witness; RATES])));
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
