//! What is remembered can be kept and comes back as it was.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_credibility::{Credibility, Event, Memory, Policy, Seed, Snapshot};

use crate::market::{Kind, Setup, run};
use crate::schemes::Ours;

fn history() -> (Ours, Policy, Seed) {
    let policy = Policy { saboteurs: 0.35, ..Policy::default() };
    let mut market = Ours::new(600, policy.clone(), 100, true, 5);
    let setup = Setup { jobs: 600, workers: 40, saboteurs: 0.3, kind: Kind::Whitewashing(0.4), seed: 5 };
    run(setup, &mut market);
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&5u64.to_be_bytes());
    (market, policy, Seed(seed))
}

#[test]
fn the_same_events_give_the_same_state() {
    let (market, policy, seed) = history();
    let mut again = Credibility::new(policy, seed).unwrap();
    for event in market.log {
        again.observe(event).unwrap();
    }
    assert_eq!(again, market.credibility);
}

#[test]
fn a_snapshot_taken_at_any_time_goes_on_as_if_nothing_had_been() {
    let (market, policy, seed) = history();
    for part in [1, 3, 7, 9] {
        let (before, after) = market.log.split_at(market.log.len() * part / 10);
        let mut first = Credibility::new(policy.clone(), seed).unwrap();
        before.iter().for_each(|event| _ = first.observe(event.clone()).unwrap());
        let text = serde_json::to_string(&first.snapshot()).unwrap();
        let snapshot = serde_json::from_str::<Snapshot>(&text).unwrap();
        let mut second = Credibility::restore(policy.clone(), seed, snapshot).unwrap();
        assert_eq!(second, first, "after {part} tenths");
        after.iter().for_each(|event| _ = second.observe(event.clone()).unwrap());
        assert_eq!(second, market.credibility, "after {part} tenths and the rest");
    }
}

/// What a pool writes down as it goes is all that it needs after a crash.
#[test]
fn memories_kept_one_by_one_are_what_was_learnt() {
    let (market, policy, seed) = history();
    let mut first = Credibility::new(policy.clone(), seed).unwrap();
    let mut kept = BTreeMap::new();
    for event in &market.log {
        let learnt = first.observe(event.clone()).unwrap().learnt.into_iter().collect();
        for memory in first.memories(&learnt) {
            kept.insert(memory.key(), serde_json::to_string(&memory).unwrap());
        }
    }
    let memories = kept.values().map(|text| serde_json::from_str::<Memory>(text).unwrap());
    let second = Credibility::recall(policy, seed, memories).unwrap();
    assert_eq!(second.blacklist().collect::<Vec<_>>(), first.blacklist().collect::<Vec<_>>());
    assert!(first.blacklist().count() > 5, "{}", first.blacklist().count());
    let joined = market.log.iter().filter_map(|event| match event {
        Event::WorkerJoined { worker, .. } => Some(*worker),
        _ => None,
    });
    let workers = joined.collect::<BTreeSet<_>>();
    let believed = |machine: &Credibility| workers.iter().map(|id| machine.credibility(*id)).collect::<Vec<_>>();
    let (before, after) = (believed(&first), believed(&second));
    let mut learnt = 0;
    for ((worker, before), after) in workers.iter().zip(before).zip(after) {
        // Of whom nothing was learnt, nothing is kept; a blank record comes back when it joins.
        assert!(before == after || after == 0.0, "{worker}: {before} and {after}");
        learnt += u32::from(after > 0.0);
    }
    assert!(learnt > 20, "{learnt}");
}

#[test]
fn one_seed_gives_one_history_and_another_another() {
    let log = |seed| {
        let mut market = Ours::new(300, Policy::default(), 100, false, seed);
        run(Setup { jobs: 300, workers: 40, saboteurs: 0.2, kind: Kind::Lazy(0.3), seed: 3 }, &mut market);
        market.log
    };
    assert_eq!(log(1), log(1));
    assert_ne!(log(1), log(2), "which tasks are checked follows from the secret");
}
