//! Figures that were published, or computed before this crate was, and what the market in miniature gives.
//!
//! 10,000 jobs, 100 workers, all wrong answers equal, each saboteur cheating for itself: results a job, and the error.

use gristmill_credibility::formula;

use crate::market::{Kind, Outcome, Scheme, Setup, run};
use crate::schemes::{Boinc, Poco, Spotters, Voting};
use crate::seeds;

const JOBS: usize = 10_000;
const SETTINGS: [(f64, f64); 5] = [(0.35, 1.0), (0.2, 1.0), (0.2, 0.1), (0.05, 1.0), (0.05, 0.1)];

fn measure(saboteurs: f64, rate: f64, scheme: impl Fn(u64) -> Box<dyn Scheme>) -> Outcome {
    let mut sum = Outcome::default();
    for seed in seeds(1) {
        let setup = Setup { jobs: JOBS, workers: 100, saboteurs, kind: Kind::Published(rate), seed };
        sum.add(run(setup, scheme(seed).as_mut()));
    }
    sum
}

/// Within the noise of the one run that the figures are of, and of these.
fn check(name: &str, expected: &[(f64, f64)], scheme: impl Fn(u64) -> Box<dyn Scheme>) {
    for ((saboteurs, rate), (cost, error)) in SETTINGS.into_iter().zip(expected) {
        let got = measure(saboteurs, rate, &scheme);
        println!(
            "{name:12} f {saboteurs} s {rate}: {:.2} / {:.1e}, expected {cost} / {error:.1e}",
            got.cost(),
            got.error()
        );
        assert!((got.cost() - cost).abs() <= 0.025 * cost, "{name} f {saboteurs} s {rate}: cost {}", got.cost());
        let noise = 4.0 * (error / JOBS as f64).sqrt() + 0.03 * error + 6e-4;
        assert!((got.error() - error).abs() <= noise, "{name} f {saboteurs} s {rate}: error {}", got.error());
    }
}

#[test]
fn voting() {
    check("2-first", &[(2.46, 0.278), (2.32, 0.105), (2.04, 1.2e-3), (2.10, 6e-3), (2.01, 0.0)], |_| {
        Box::new(Voting::new(JOBS, 2))
    });
    check("3-first", &[(4.00, 0.228), (3.64, 0.051), (3.06, 0.0), (3.16, 4e-4), (3.02, 0.0)], |_| {
        Box::new(Voting::new(JOBS, 3))
    });
}

/// The closed form is for workers drawn with replacement: of 100 workers without, it is a little more than what comes.
#[test]
fn voting_errs_as_the_closed_form_says() {
    for (saboteurs, m) in [(0.05, 2), (0.2, 2), (0.2, 3), (0.35, 2), (0.35, 3)] {
        let got = measure(saboteurs, 1.0, |_| Box::new(Voting::new(JOBS, m as usize)));
        let expected = formula::voting_error(saboteurs, m);
        let noise = 3.0 * (expected * (1.0 - expected) / got.accepted as f64).sqrt();
        assert!(
            (got.error() - expected).abs() <= noise + 0.06 * expected,
            "f {saboteurs} m {m}: {}, not {expected}",
            got.error()
        );
    }
}

#[test]
fn boinc() {
    check("BOINC", &[(2.07, 0.255), (1.69, 0.079), (1.16, 0.0152), (1.21, 4e-3), (1.12, 4e-3)], |seed| {
        Box::new(Boinc::new(JOBS, seed))
    });
}

#[test]
fn poco() {
    check("PoCo 100", &[(3.27, 3e-4), (2.73, 0.0), (2.31, 1e-4), (2.30, 0.0), (2.20, 0.0)], |_| {
        Box::new(Poco::new(JOBS, 100, 0, 100))
    });
    check("PoCo 1000", &[(3.87, 0.0), (3.10, 0.0), (2.79, 0.0), (2.59, 0.0), (2.53, 0.0)], |_| {
        Box::new(Poco::new(JOBS, 1_000, 0, 100))
    });
}

/// Sarmenta's scheme, with an oracle for the spot-checks.
#[test]
fn spotters() {
    let scheme = |saboteurs: f64, error: f64, blacklisting| {
        move |seed| Box::new(Spotters::new(JOBS, saboteurs, error, 0.1, blacklisting, seed)) as Box<dyn Scheme>
    };
    let table = [
        (0.35, 1.0, 0.01, true, 1.69, 0.0),
        (0.2, 1.0, 0.01, true, 1.40, 0.0),
        (0.2, 0.1, 0.01, true, 1.50, 3.6e-3),
        (0.35, 1.0, 0.001, true, 2.27, 0.0),
        (0.2, 1.0, 0.001, true, 2.24, 0.0),
        (0.2, 0.1, 0.001, true, 2.40, 0.0),
        (0.2, 1.0, 0.01, false, 2.48, 9e-4),
        (0.2, 0.1, 0.01, false, 2.10, 4e-4),
    ];
    for (saboteurs, rate, error_max, blacklisting, cost, error) in table {
        let got = measure(saboteurs, rate, scheme(saboteurs, error_max, blacklisting));
        println!(
            "spotters f {saboteurs} s {rate} error {error_max} {blacklisting}: {:.2} / {:.1e}, expected {cost} / {error:.1e}",
            got.cost(),
            got.error()
        );
        assert!(
            (got.cost() - cost).abs() <= 0.05 * cost,
            "f {saboteurs} s {rate} error {error_max}: cost {}",
            got.cost()
        );
        assert!(got.error() <= error_max, "f {saboteurs} s {rate} error {error_max}: {}", got.error());
    }
}
