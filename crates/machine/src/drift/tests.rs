use super::*;
use crate::benchmark::BENCHMARK_VERSION;

const NOON: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600 * 1_000;

fn here() -> Fingerprint {
    Fingerprint {
        cpu: Some("AMD EPYC".into()),
        microcode: Some("0x1000065".into()),
        cores: Some(2),
        kernel: Some("6.1.0".into()),
        program: "0.1.0".into(),
    }
}

fn measured_at(measured_at_ms: u64) -> Benchmark {
    let version = BENCHMARK_VERSION;
    Benchmark { version, integer: 1.0, float: 1.0, memory: 1.0, measured_at_ms, fingerprint: here() }
}

fn drift_after(ratios: impl IntoIterator<Item = f64>) -> Drift {
    let mut drift = Drift::new(Some(measured_at(NOON)));
    ratios.into_iter().for_each(|ratio| drift.observe(ratio));
    drift
}

#[test]
fn a_machine_that_was_never_measured_is_measured_once() {
    let mut drift = Drift::new(None);
    assert_eq!(drift.rerun(&here(), NOON), Some(Rerun::Never));
    assert_eq!(drift.benchmark(), None);
    drift.renew(measured_at(NOON));
    assert_eq!(drift.rerun(&here(), NOON), None);
    assert_eq!(drift.benchmark(), Some(&measured_at(NOON)));
}

#[test]
fn a_week_is_the_limit() {
    let drift = drift_after([]);
    assert_eq!(drift.rerun(&here(), NOON + AGE_MS_MAX), None);
    assert_eq!(drift.rerun(&here(), NOON + AGE_MS_MAX + 1), Some(Rerun::Old { age_ms: AGE_MS_MAX + 1 }));
    assert_eq!(drift.rerun(&here(), NOON + 200 * HOUR).unwrap().to_string(), "it was measured 8 days ago");
    assert!(matches!(drift.rerun(&here(), u64::MAX), Some(Rerun::Old { .. })));
}

#[test]
fn a_clock_may_be_set_and_not_be_wrong_by_years() {
    let drift = drift_after([]);
    assert_eq!(drift.rerun(&here(), NOON - CLOCK_SLACK_MS), None);
    assert_eq!(drift.rerun(&here(), NOON - CLOCK_SLACK_MS - 1), Some(Rerun::Future));
    assert_eq!(drift.rerun(&here(), 0), Some(Rerun::Future));
    assert_eq!(Drift::new(Some(measured_at(u64::MAX))).rerun(&here(), NOON), Some(Rerun::Future));
}

#[test]
fn another_machine_is_measured_anew() {
    let drift = drift_after([]);
    type Change = fn(&mut Fingerprint);
    let cases: [(&str, Change); 5] = [
        ("the processor", |it| it.cpu = None),
        ("the processor's microcode", |it| it.microcode = Some("0x1000066".into())),
        ("the number of cores", |it| it.cores = Some(4)),
        ("the kernel", |it| it.kernel = Some("6.2.0".into())),
        ("this program's version", |it| it.program = "0.2.0".into()),
    ];
    for (what, change) in cases {
        let mut now = here();
        change(&mut now);
        assert_eq!(drift.rerun(&now, NOON), Some(Rerun::Changed(what)));
    }
}

#[test]
fn run_times_that_drift_are_seen_when_the_window_is_full() {
    let later = NOON + HOUR;
    let slow = |count| drift_after(std::iter::repeat_n(1.3, count)).rerun(&here(), later);
    assert_eq!(slow(DRIFT_WINDOW - 1), None);
    assert_eq!(slow(DRIFT_WINDOW), Some(Rerun::Drifted { ratio: 1.3 }));
    assert_eq!(slow(10 * DRIFT_WINDOW).unwrap().to_string(), "tasks take 130 % of the time that was expected");
    let all = |ratio| drift_after([ratio; DRIFT_WINDOW]).rerun(&here(), later);
    assert_eq!(all(1.19), None);
    assert_eq!(all(0.81), None);
    assert_eq!(all(0.7), Some(Rerun::Drifted { ratio: 0.7 }));
}

#[test]
fn a_few_odd_tasks_and_what_is_no_ratio_do_not_count() {
    let later = NOON + HOUR;
    let odd = drift_after([[1.0; 11].as_slice(), &[50.0; 9]].concat());
    assert_eq!(odd.rerun(&here(), later), None, "fewer than half");
    let half = drift_after([[1.0; 10].as_slice(), &[2.0; 10]].concat());
    assert_eq!(half.rerun(&here(), later), Some(Rerun::Drifted { ratio: 1.5 }), "the mean of the middle two");
    let nonsense = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0].repeat(DRIFT_WINDOW);
    assert_eq!(drift_after(nonsense).rerun(&here(), later), None);
    let extreme = drift_after([f64::MAX; DRIFT_WINDOW]);
    assert_eq!(extreme.rerun(&here(), later), Some(Rerun::Drifted { ratio: f64::MAX }));
}

#[test]
fn the_window_moves_on() {
    let mut drift = drift_after([2.0; DRIFT_WINDOW]);
    for _ in 0..DRIFT_WINDOW {
        drift.observe(1.0);
    }
    assert_eq!(drift.rerun(&here(), NOON + HOUR), None);
    assert_eq!(drift.ratios.len(), DRIFT_WINDOW);
}

fn faster(benchmark: Benchmark, factor: f64) -> Benchmark {
    Benchmark { integer: factor, float: factor, memory: factor, ..benchmark }
}

#[test]
fn a_rerun_is_not_repeated_at_once() {
    let mut drift = drift_after([2.0; DRIFT_WINDOW]);
    assert!(drift.rerun(&here(), NOON + HOUR).is_some());
    // The machine has become slower, and tasks take even longer than that.
    drift.renew(faster(measured_at(NOON + HOUR), 0.8));
    assert_eq!(drift.rerun(&here(), NOON + 3 * HOUR), None, "what was seen before says nothing of the new one");
    for _ in 0..DRIFT_WINDOW {
        drift.observe(2.0);
    }
    assert_eq!(drift.rerun(&here(), NOON + 2 * HOUR - 1), None);
    assert!(drift.rerun(&here(), NOON + 2 * HOUR).is_some());
}

#[test]
fn what_the_benchmark_does_not_explain_becomes_usual() {
    let mut drift = drift_after([1.4; DRIFT_WINDOW]);
    assert!(drift.rerun(&here(), NOON + HOUR).is_some());
    drift.renew(faster(measured_at(NOON + HOUR), 1.05));
    let mut observe = |ratio, now_ms| {
        for _ in 0..DRIFT_WINDOW {
            drift.observe(ratio);
        }
        drift.rerun(&here(), now_ms)
    };
    assert_eq!(observe(1.4, NOON + 2 * HOUR), None);
    assert_eq!(observe(1.6, NOON + 2 * HOUR), None);
    assert_eq!(observe(1.75, NOON + 2 * HOUR), Some(Rerun::Drifted { ratio: 1.75 }));
    assert_eq!(observe(1.0, NOON + 2 * HOUR), Some(Rerun::Drifted { ratio: 1.0 }));
    // A benchmark that differs, or a new one a week later with nothing seen in between: all begins anew, or stays.
    let mut other = drift.clone();
    other.renew(faster(measured_at(NOON + 2 * HOUR), 2.0));
    (0..DRIFT_WINDOW).for_each(|_| other.observe(1.0));
    assert_eq!(other.rerun(&here(), NOON + 3 * HOUR), None);
    let mut same = drift_after([1.4; DRIFT_WINDOW]);
    same.renew(measured_at(NOON + HOUR));
    same.renew(measured_at(NOON + 2 * HOUR));
    (0..DRIFT_WINDOW).for_each(|_| same.observe(1.4));
    assert_eq!(same.rerun(&here(), NOON + 4 * HOUR), None);
}
