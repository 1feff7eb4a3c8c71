//! kill -9 of the whole network at random moments of a job: nothing is lost, nothing is paid twice.

use std::time::Duration;

use crate::harness::{Up, alone, next, seed, text};

/// Kills in a run; the slow run does the full twenty.
const KILLS_FAST: u32 = 5;
const KILLS_SLOW: u32 = 20;
/// Jobs that the kills may be spread over, in case one ends early.
const JOBS_MAX: u32 = 40;

#[test]
fn kill_9_of_the_network_at_random_moments_loses_nothing() {
    let _alone = alone();
    let seed = seed();
    let kills = if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { KILLS_SLOW } else { KILLS_FAST };
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("net");
    let prices = folder.path().join("sp500_prices.csv.gz");
    std::fs::write(&prices, gristmill_network::builtin::PRICES).unwrap();
    let prices = prices.display().to_string();
    let mut random = seed;
    let mut up = Up::start(&data_dir, &["--workers", "4"]);
    let mut killed = 0;
    for _ in 0..JOBS_MAX {
        let args =
            ["run", "efast", "--input", &prices, "--arg", "--samples", "--arg", "300", "--tasks", "6", "--detach"];
        let job = up.json(&args)["job"].as_str().unwrap().to_owned();
        while killed < kills && !is_done(&up, &job) {
            std::thread::sleep(Duration::from_millis(50 + next(&mut random) % 1_500));
            up.kill();
            killed += 1;
            up = Up::start(&data_dir, &["--workers", "4"]);
        }
        let waited = up.run(&["job", "wait", &job]);
        assert!(waited.status.success(), "seed {seed}, after {killed} kills: {}", text(&waited));
        if killed == kills {
            break;
        }
    }
    assert_eq!(killed, kills, "seed {seed}: the jobs ended before all kills were made");
    up.assert_invariants();
}

fn is_done(up: &Up, job: &str) -> bool {
    up.json(&["job", "show", job]).to_string().contains("\"state\":\"completed\"")
}
