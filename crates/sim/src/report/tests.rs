use super::*;

#[test]
fn a_table_quotes_what_would_break_it() {
    let mut csv = Csv::new("a,b");
    csv.row(&["x, y", "say \"no\""]);
    csv.row(&["plain", ""]);
    assert_eq!(csv.text, "a,b\n\"x, y\",\"say \"\"no\"\"\"\nplain,\n");
}

#[test]
fn quantiles_are_values_that_were_there() {
    assert_eq!(quantile::<u64>(&[], 0.5), None);
    let values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_eq!([0.0, 0.5, 0.9, 0.99, 1.0].map(|share| quantile(&values, share)), [1, 5, 9, 10, 10].map(Some));
}

#[test]
fn a_tail_is_told_by_the_pace_of_the_first_nine_tenths() {
    let bag = BagReport {
        jobs: "a".to_owned(),
        ordered_ms: 0,
        tasks: 10,
        completed: 10,
        failed: 0,
        wrong: 0,
        leases: 10,
        contributions: 10,
        first_lease_ms: Some(0),
        nine_tenths_ms: Some(900),
        makespan_ms: 2_000,
        last_completed_ms: Some(2_000),
        median_run_ms: Some(50),
    };
    assert_eq!(bag.tail_slowdown(), Some(2.0));
    // The last of ten took 1,100 ms, and the others 100 each.
    let last_tenth = bag.last_tenth().unwrap();
    assert_eq!(last_tenth, LastTenth { took_ms: 1_100, pace_ms: 100, run_ms: 50 });
    assert_eq!((last_tenth.slowdown(), last_tenth.slowdown_of_pace()), (11.0, 11.0));
    // No task takes less than one run, however quick the pace.
    let long = LastTenth { run_ms: 550, ..last_tenth };
    assert_eq!((long.ideal_ms(), long.slowdown(), long.slowdown_of_pace()), (550, 2.0, 11.0));
    assert_eq!(BagReport { nine_tenths_ms: None, ..bag }.tail_slowdown(), None);
}

#[test]
fn amounts_and_times_are_exact() {
    assert_eq!((seconds(61_005), grist(1_000_000_001)), ("61.005".to_owned(), "1.000000001".to_owned()));
}
