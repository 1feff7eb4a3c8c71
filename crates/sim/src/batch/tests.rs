use super::*;

const TASKS: u64 = 200_000;

#[test]
fn the_closed_form_gives_the_published_table() {
    // err(raw, m) for m = 2 to 6.
    let table = [
        (0.01, [2.98e-4, 9.85e-6, 3.42e-7, 1.22e-8, 4.43e-10]),
        (0.05, [7.25e-3, 1.16e-3, 1.94e-4, 3.32e-5, 5.80e-6]),
        (0.10, [2.80e-2, 8.56e-3, 2.73e-3, 8.91e-4, 2.96e-4]),
        (0.20, [1.04e-1, 5.79e-2, 3.33e-2, 1.96e-2, 1.17e-2]),
    ];
    for (raw, row) in table {
        for (wanted, expected) in (2..).zip(row) {
            let got = error_rate(raw, wanted);
            assert!((got / expected - 1.0).abs() < 0.006, "err({raw}, {wanted}) = {got} instead of {expected}");
        }
    }
    assert_eq!((error_rate(0.0, 3), error_rate(1.0, 3)), (0.0, 1.0));
}

#[test]
fn a_vote_needs_15_29_and_51_equal_answers() {
    // Watanabe and Fukushi, figure 9: f = 0.35 in full collusion; allowed errors 0.05, 0.01 and 0.001.
    assert_eq!([0.05, 0.01, 0.001].map(|allowed| wanted_for(0.35, allowed)), [Some(15), Some(29), Some(51)]);
    assert_eq!(wanted_for(0.5, 0.01), None, "half of them in collusion cannot be outvoted");
}

#[test]
fn those_votes_keep_what_they_promise() {
    for (wanted, allowed) in [(15, 0.05), (29, 0.01), (51, 0.001)] {
        let run =
            |wanted| vote(&Vote { wanted, saboteurs: 0.35, rate: 1.0, tasks: TASKS, workers: 0, seed: 4 }).error_rate();
        let deviation = (allowed * (1.0 - allowed) / TASKS as f64).sqrt();
        assert!(run(wanted) <= allowed + 3.0 * deviation, "{wanted} equal answers err at {}", run(wanted));
        assert!(run(wanted - 1) > allowed - 3.0 * deviation, "one less errs at {}", run(wanted - 1));
    }
}

#[test]
fn the_vote_agrees_with_the_closed_form() {
    for (saboteurs, rate) in [(0.2, 1.0), (0.35, 1.0), (0.2, 0.5), (0.1, 1.0)] {
        for wanted in 1..=5 {
            let outcome = vote(&Vote { wanted, saboteurs, rate, tasks: TASKS, workers: 0, seed: 9 });
            let expected = error_rate(saboteurs * rate, wanted);
            let deviation = (expected * (1.0 - expected) / TASKS as f64).sqrt();
            let got = outcome.error_rate();
            assert!(
                (got - expected).abs() < 4.0 * deviation,
                "{saboteurs} {rate} {wanted}: {got} instead of {expected}"
            );
        }
    }
}

#[test]
fn the_vote_costs_what_was_measured_before() {
    // Section 2.2 of the notes on scheduling: 10,000 tasks on 100 workers, cost and error of 2-first and 3-first votes.
    let table = [
        (2, 0.35, 1.0, 2.46, 0.278),
        (2, 0.20, 1.0, 2.32, 0.105),
        (2, 0.20, 0.1, 2.04, 1.2e-3),
        (2, 0.05, 1.0, 2.10, 6e-3),
        (3, 0.35, 1.0, 4.00, 0.228),
        (3, 0.20, 1.0, 3.64, 0.051),
        (3, 0.05, 1.0, 3.16, 4e-4),
    ];
    for (wanted, saboteurs, rate, cost, error) in table {
        let outcome = vote(&Vote { wanted, saboteurs, rate, tasks: TASKS, workers: 100, seed: 2 });
        assert!((outcome.cost() / cost - 1.0).abs() < 0.012, "{wanted} {saboteurs} {rate}: cost {}", outcome.cost());
        // What is compared with is one run of 10,000 tasks.
        let deviation = (error * (1.0 - error) / 10_000.0f64).sqrt();
        let got = outcome.error_rate();
        assert!((got - error).abs() < 4.0 * deviation, "{wanted} {saboteurs} {rate}: error {got} instead of {error}");
    }
}

#[test]
fn a_vote_ends_when_nobody_is_left() {
    let outcome = vote(&Vote { wanted: 9, saboteurs: 0.5, rate: 1.0, tasks: 10, workers: 4, seed: 1 });
    assert_eq!((outcome.answers, outcome.wrong), (40, 0));
}
