use super::*;
use crate::dice::Domain;

#[test]
fn drawn_speeds_have_the_quantiles_of_the_table() {
    const DRAWS: usize = 200_000;
    let mut dice = Dice::stream(5, Domain::Speed, 0);
    let mut speeds = (0..DRAWS).map(|_| draw_mflops(&mut dice)).collect::<Vec<_>>();
    speeds.sort_unstable();
    // p10, p25, median, p75, p90 and p99 of the source, in MFLOPS.
    for (percent, expected) in
        [(10, 1_140.0), (25, 1_730.0), (50, 3_360.0), (75, 6_190.0), (90, 13_510.0), (99, 33_510.0)]
    {
        let drawn = speeds[DRAWS * percent / 100] as f64;
        assert!((drawn / expected - 1.0).abs() < 0.025, "p{percent}: {drawn} instead of {expected}");
    }
    // The mean of all hosts is 5.92 GFLOPS; straight lines between quantiles put a little more into the last.
    let mean = speeds.iter().sum::<u64>() as f64 / DRAWS as f64;
    assert!((5_900.0..6_200.0).contains(&mean), "{mean}");
    assert!(speeds[0] >= 70 && speeds[DRAWS - 1] <= 158_420);
}

#[test]
fn the_table_ascends() {
    assert!(QUANTILES.is_sorted());
}
