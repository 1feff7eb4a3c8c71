use super::*;

fn close(got: f64, expected: f64, relative: f64, what: &str) {
    assert!((got - expected).abs() <= relative * expected.abs(), "{what}: {got} is not {expected}");
}

#[test]
fn voting_errs_as_the_closed_form_says() {
    let table = [
        (0.01, [2.98e-4, 9.85e-6, 3.42e-7, 1.22e-8, 4.43e-10]),
        (0.05, [7.25e-3, 1.16e-3, 1.94e-4, 3.32e-5, 5.80e-6]),
        (0.10, [2.80e-2, 8.56e-3, 2.73e-3, 8.91e-4, 2.96e-4]),
        (0.20, [1.04e-1, 5.79e-2, 3.33e-2, 1.96e-2, 1.17e-2]),
    ];
    for (phi, row) in table {
        for (m, expected) in (2..).zip(row) {
            close(voting_error(phi, m), expected, 5e-3, &format!("phi {phi} m {m}"));
        }
    }
}

/// Watanabe and Fukushi: 15, 29 and more than 50 matching results at f = 0.35, where all saboteurs always cheat together.
#[test]
fn voting_needs_15_29_51() {
    for (error, m) in [(0.05, 15), (0.01, 29), (0.001, 51)] {
        assert_eq!(voting_matches(0.35, error, 100), Some(m), "error {error}");
    }
    assert_eq!(voting_matches(0.5, 0.01, 300), None, "where half are saboteurs no number is enough");
}

#[test]
fn voting_costs_as_published() {
    let table = [(0.05, [2.1, 4.2, 5.3, 8.4]), (0.1, [3.3, 5.6, 7.8, 13.3]), (0.2, [8.8, 13.8, 20.0, 32.5])];
    for (phi, row) in table {
        for (error, expected) in [1e-2, 1e-3, 1e-4, 1e-6].into_iter().zip(row) {
            let m = voting_matches(phi, error, 99).unwrap();
            let redundancy = voting_redundancy(phi, m);
            assert!((redundancy - expected).abs() <= 0.0501, "phi {phi} error {error}: {redundancy}");
        }
    }
}

#[test]
fn spot_checks_err_most_where_expected() {
    for (f, worst, bound) in
        [(0.05, 1.890e-3, 1.936e-3), (0.1, 3.910e-3, 4.088e-3), (0.2, 8.406e-3, 9.197e-3), (0.5, 2.767e-2, 3.679e-2)]
    {
        let found = (1..=1000).map(|s| spot_check_error(f, f64::from(s) / 1e3, 0.1, 100)).fold(0.0, f64::max);
        close(found, worst, 1e-3, &format!("worst of f {f}"));
        close(spot_check_bound(f, 0.1, 100), bound, 1e-3, &format!("bound of f {f}"));
        assert!(found <= spot_check_bound(f, 0.1, 100));
    }
    close(spot_check_error(0.05, 0.101, 0.1, 100), 1.890e-3, 1e-3, "f .05 at s .101");
}

#[test]
fn checks_after_which_one_result_is_enough() {
    for (error, with, without) in
        [(1e-2, 10.0, 20.0), (1e-3, 92.0, 200.0), (1e-4, 920.0, 2_000.0), (1e-6, 91_970.0, 200_000.0)]
    {
        let checks = checks_for_one_result(0.2, error);
        close(checks, with, 1e-4, "with blacklisting");
        assert!(credibility_blacklisting(0.2, checks as u32) >= 1.0 - error);
        assert!(credibility_blacklisting(0.2, checks as u32 - 1) < 1.0 - error);
        close(1.0 - credibility_no_blacklisting(0.2, without as u32), error, 1e-9, "without");
    }
}

#[test]
fn groups_share_what_is_certain() {
    let alone = group_credibilities(&[vec![0.8]]);
    close(alone[0], 0.8, 1e-12, "one result is as credible as who gave it");
    let split = group_credibilities(&[vec![0.8, 0.8], vec![0.8]]);
    close(split[0], 0.128 / 0.168, 1e-9, "two against one");
    close(split[1], 0.032 / 0.168, 1e-9, "one against two");
    // PoCo's form of it: a group's weight is the product of P/(1-P), its credibility W/(1 + sum of W).
    let weight = |group: &[f64]| group.iter().map(|p| p / (1.0 - p)).product::<f64>();
    let (a, b) = ([0.9, 0.7], [0.95, 0.6, 0.8]);
    let total = 1.0 + weight(&a) + weight(&b);
    close(group_credibilities(&[a.to_vec(), b.to_vec()])[1], weight(&b) / total, 1e-12, "weights");
}
