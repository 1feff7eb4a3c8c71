//! What is typed and what is read: each mistake gets one clear message.

use crate::args::{self, Command, Invocation, Settings};
use crate::prices::parse;
use crate::window::study;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_string).collect()
}

#[test]
fn options_are_read_in_both_spellings() {
    let parsed = args::parse(&words(
        "all --samples 5 --window=60 --clusters 3 --block=7 --seed 9 --market keep --tasks 4 --out o --prices p",
    ));
    let settings = Settings { samples: 5, window_days: 60, clusters: 3, block_days: 7, seed: 9, remove_market: false };
    let (prices, out) = (Some("p".to_string()), Some("o".to_string()));
    assert_eq!(
        parsed.expect("fine"),
        Invocation { command: Some(Command::All), settings, tasks: Some(4), prices, out }
    );
    assert_eq!(args::parse(&[]).expect("fine"), Invocation::default());
    assert_eq!(args::parse(&words("--help")).expect("fine").command, Some(Command::Help));
}

#[test]
fn a_wrong_command_line_is_named() {
    let cases = [
        ("run", "unknown command `run`"),
        ("map reduce", "second command"),
        ("--sample 3", "unknown option `--sample`"),
        ("--samples", "`--samples` has no value"),
        ("--samples 0", "--samples is a whole number from 1"),
        ("--samples -3", "whole number"),
        ("--seed 18446744073709551616", "whole number"),
        ("--market sell", "`remove` or `keep`, not `sell`"),
    ];
    for (line, message) in cases {
        let failure = args::parse(&words(line)).expect_err(line);
        assert!(failure.is_usage() && failure.to_string().contains(message), "{line}: {failure}");
    }
}

#[test]
fn wrong_prices_are_named_with_their_line() {
    let cases = [
        ("", "first line"),
        ("Day,A,B\n", "first line"),
        ("Date,A\n", "1 stocks"),
        ("Date,A,A\n", "two columns `A`"),
        ("Date,A,<b>\n", "`<b>` is not a ticker"),
        ("Date,A,B\n2020-01-01,1,2\n", "fewer than three days"),
        ("Date,A,B\n2020-01-01,1,2\n2020-01-02,1,\n", "line 3: `` is not a price of B"),
        ("Date,A,B\n2020-01-01,1,NaN\n", "line 2: `NaN` is not a price of B"),
        ("Date,A,B\n2020-01-01,0,1\n", "line 2: `0` is not a price of A"),
        ("Date,A,B\n2020-01-01,1,2,3\n", "line 2: 3 prices for 2 stocks"),
        ("Date,A,B\n01/02/2020,1,2\n", "line 2: `01/02/2020` is not a date"),
        ("Date,A,B\n2020-01-02,1,2\n2020-01-02,1,2\n", "line 3: 2020-01-02 comes after 2020-01-02"),
    ];
    for (text, message) in cases {
        let problem = parse(text, 0).err().unwrap_or_default();
        assert!(problem.contains(message), "{text:?}: {problem}");
    }
    assert!(parse("\u{feff}Date,A,B\r\n2020-01-01,1,2\r\n2020-01-02,2,2\r\n2020-01-03,3,2\r\n\r\n", 0).is_ok());
}

#[test]
fn options_that_do_not_fit_the_prices_are_named() {
    let prices = parse("Date,A,B\n2020-01-01,1,2\n2020-01-02,2,2\n2020-01-03,3,2\n2020-01-06,1,2\n", 0).expect("fine");
    let fitting = Settings { samples: 2, window_days: 2, clusters: 2, block_days: 1, ..Settings::default() };
    let cases = [
        (Settings { window_days: 4, ..fitting.clone() }, 0, "longer than the 3 daily returns"),
        (Settings { block_days: 3, ..fitting.clone() }, 0, "block of 3 days"),
        (Settings { clusters: 3, ..fitting.clone() }, 0, "3 clusters of 2 stocks"),
        (fitting.clone(), 2, "task 2 of a bag of 2"),
    ];
    for (settings, task, message) in cases {
        let failure = study(&prices, &settings, task, 2).expect_err(message);
        assert!(failure.to_string().contains(message), "{failure}");
    }
    let study = study(&prices, &fitting, 1, 2).expect("fine");
    assert_eq!((study.first_day.as_str(), study.last_day.as_str()), ("2020-01-03", "2020-01-06"));
    assert_eq!(study.volatility[1], 0.0, "B never moves, and nothing breaks");
}
