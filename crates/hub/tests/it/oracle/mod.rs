//! Our hub and PoCo's own published bytecode do the same: random orders and task steps, right and wrong ones, by everybody,
//! around every deadline, as the same calls at the same moment on the same ledger. Success or refusal and its words, what is
//! returned, every event with every field, and the views are equal, but for the differences of [`differences`], which are the
//! table of contracts/README.md. The crate `poco` is the third: what our hub does it does too, with the same events, and what
//! our hub refuses it refuses.

mod differences;
mod history;
mod interface;
mod lockstep;
mod market;
mod money;
mod package;
mod shadow;
mod tasks;

use differences::Difference;
use history::{History, Tally};
use package::Package;

/// Steps of the short run and of the one that `GRISTMILL_SLOW_TESTS` asks for.
const STEPS_FAST: u64 = 3_000;
const STEPS_SLOW: u64 = 100_000;
/// The longest history, in steps.
const HISTORY_STEPS_MAX: u64 = 600;
/// No history is shorter than one step, so there are never more.
const HISTORIES_MAX: u64 = STEPS_SLOW;

#[tokio::test]
async fn contracts_and_published_bytecode_agree() {
    let package = Package::open();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let slow = std::env::var_os("GRISTMILL_SLOW_TESTS").is_some();
    let steps = number("GRISTMILL_ORACLE_STEPS").unwrap_or(if slow { STEPS_SLOW } else { STEPS_FAST });
    let first = number("GRISTMILL_ORACLE_SEED").unwrap_or(1);
    let mut tally = Tally::default();
    History::new(&package, 0).await.crowd(&mut tally).await;
    for seed in first..first + HISTORIES_MAX {
        if tally.steps >= steps {
            break;
        }
        let mut history = History::new(&package, seed).await;
        history.run(HISTORY_STEPS_MAX.min(steps - tally.steps), &mut tally).await;
    }
    print(&tally);
    let unmet: Vec<String> = Difference::ALL
        .iter()
        .filter(|difference| !tally.differences.contains_key(difference))
        .map(|difference| difference.to_string())
        .collect();
    assert!(!slow || unmet.is_empty(), "these differences were never met, and so do not belong on the list: {unmet:?}");
}

/// The table of contracts/README.md is this list, in this order.
#[test]
fn the_table_is_the_list() {
    const README: &str = include_str!("../../../../../contracts/README.md");
    const TITLE: &str = "## Against PoCo's own bytecode";
    let section = README.split(TITLE).nth(1).expect("contracts/README.md has the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    // The first two rows are the head of the table.
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let rows: Vec<String> =
        rows.iter().map(|row| row.split('|').skip(1).take(2).collect::<Vec<_>>().join("|")).collect();
    let expected: Vec<String> = Difference::ALL.iter().map(|difference| difference.row()).collect();
    assert_eq!(rows, expected, "the table in contracts/README.md is not the list of the test");
}

fn print(tally: &Tally) {
    println!("{} steps in {} histories, {} views compared", tally.steps, tally.histories, tally.views);
    println!("  the model says the same: {} done, {} refused", tally.modelled[0], tally.modelled[1]);
    for (door, [done, refused]) in &tally.doors {
        println!("  {door}: {done} done, {refused} refused");
    }
    for difference in Difference::ALL {
        println!("  difference \"{difference}\": {}", tally.differences.get(difference).copied().unwrap_or_default());
    }
}
