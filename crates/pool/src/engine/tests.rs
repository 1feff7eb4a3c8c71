//! The pool dies at any moment, and nothing of it matters afterwards.
//!
//! What runs here is the pool's own: the start, the loop, the journal and the outbox (on disks that lose what was not synced), the
//! scheduler, the belief, the links, against the real contracts on a ledger in the same process. Only the sockets are left out, and the
//! workers are [`worker::Worker`]. A history is a market in which the pool dies some twenty times; afterwards the market is led to its
//! end, and all that must always hold is checked. `GRISTMILL_TEST_SEED` repeats a history.

mod chain_of_hub;
pub(crate) mod clock;
mod history;
mod machine;
mod town;
mod wire;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};

use history::{History, Tally};
use machine::Moment;

/// Deaths in a history, and faults of disks in another.
const DEATHS: u64 = 20;
const FAULTS: u64 = 6;
/// Histories of the short test and of the one that `GRISTMILL_SLOW_TESTS` asks for: 60 and 1,000 deaths.
const HISTORIES_FAST: u64 = 3;
const HISTORIES_SLOW: u64 = 50;
/// Histories at a time: most of one is waiting.
const THREADS: u64 = 4;

#[test]
fn the_pool_dies_at_any_moment_and_nothing_is_lost_or_done_twice() {
    let (seed, histories) = seeds();
    let total = all(histories, |number| History::with_deaths(seed + number, DEATHS));
    if histories == 1 {
        return;
    }
    // A run that never got anywhere proves nothing.
    assert!(total.deaths >= histories * DEATHS, "{total:?}");
    assert!(total.completed * 10 >= (total.completed + total.failed) * 8, "too few tasks were completed: {total:?}");
    for moment in [
        Moment::Write,
        Moment::Sync,
        Moment::Send,
        Moment::Receipt,
        Moment::Events,
        Moment::ToWorker,
        Moment::FromWorker,
    ] {
        assert!(total.by_moment.get(&moment).is_some_and(|count| *count > 0), "nothing died of {moment:?}: {total:?}");
    }
    assert!(total.bans > 0 && total.drains > 0, "{total:?}");
}

#[test]
fn a_full_or_broken_disk_stops_the_pool_with_a_clear_error_and_nothing_is_lost() {
    let (seed, histories) = seeds();
    let total = all(histories.div_ceil(3), |number| History::with_faults(seed + number, FAULTS));
    assert!(total.faults > 0, "no disk ever failed: {total:?}");
}

/// Runs histories, a few at a time, and adds up what they came to.
fn all(histories: u64, history: impl Fn(u64) -> History + Sync) -> Tally {
    let next = AtomicU64::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= histories {
                return tally;
            }
            tally.add(&alone(history(number)));
        }
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(histories)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a history failed, see its seed")).collect()
    });
    let mut total = Tally::default();
    tallies.iter().for_each(|tally| total.add(tally));
    println!("{total:?}");
    total
}

/// The first seed and how many histories.
fn seeds() -> (u64, u64) {
    let slow = std::env::var_os("GRISTMILL_SLOW_TESTS").is_some();
    let given = std::env::var("GRISTMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let time = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = given.unwrap_or_else(time);
    println!("seed {seed}: repeat with GRISTMILL_TEST_SEED={seed}");
    let histories = if slow { HISTORIES_SLOW } else { HISTORIES_FAST };
    (seed, given.map_or(histories, |_| 1))
}

/// Runs a history on this thread.
fn alone(history: History) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(history.run())
}
