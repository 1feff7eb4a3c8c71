//! What is copied at the end of a deal, by whom, and what is not.

use super::machines::with_ad;
use super::*;

/// What a task of these tests takes a machine of speed 1.
const WORK_MS: f64 = 10_000.0;

/// Ten workers of these speeds, each with a task of one deal.
fn bag(speeds: [f64; 10], policy: Policy) -> Bench {
    let never = u64::MAX;
    let policy = Policy { reserve_replicas: 0, lease_duration_ms: never, lease_duration_ms_min: never, ..policy };
    let mut bench = pool_with(0, policy);
    for (index, speed) in (0..).zip(speeds) {
        bench.on(with_ad(index, &format!("[Speed = {speed}]")));
        bench.on(added(spec(index, 1)));
        assert_eq!(holders(&bench, index), [worker(index)]);
    }
    bench
}

fn holders(bench: &Bench, index: u64) -> Vec<WorkerId> {
    bench.scheduler.live_leases().filter(|(_, of, _)| *of == task(index)).map(|(.., worker)| worker).collect()
}

/// The holder of a task has computed it, and it is over.
fn complete(bench: &mut Bench, index: u64) {
    bench.ready(index, index, truth(index)).on(Event::TaskCompleted { task: task(index) });
}

#[test]
fn the_end_of_a_deal_is_copied_to_who_would_end_first() {
    // Eight of speed 2, one that takes four times as long, and one that is nearly as quick.
    let mut bench = bag([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.5, 1.6], Policy::default());
    bench.now_ms = START_MS + (WORK_MS / 2.0) as u64;
    (0..7).for_each(|index| complete(&mut bench, index));
    assert_eq!(holders(&bench, 8), [worker(8)], "three of ten are open: that is not the end");
    complete(&mut bench, 7);
    // Long before it is late, and by one that would have nothing to do.
    let copies = holders(&bench, 8);
    assert!(copies.len() == 2 && !copies.contains(&worker(9)), "{copies:?}");
    assert_eq!(holders(&bench, 9), [worker(9)], "nobody would end before it");
}

#[test]
fn nothing_is_copied_where_copies_are_off() {
    let speeds = [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.5];
    let off = [
        Policy { late_percent: 0, ..Policy::default() },
        Policy { end_percent: 0, ..Policy::default() },
        Policy { end_copies_max: 0, ..Policy::default() },
    ];
    for policy in off {
        let mut bench = bag(speeds, policy.clone());
        bench.now_ms = START_MS + (WORK_MS / 2.0) as u64;
        (0..8).for_each(|index| complete(&mut bench, index));
        assert_eq!((holders(&bench, 8).len(), holders(&bench, 9).len()), (1, 1), "{policy:?}");
    }
}

#[test]
fn copies_of_a_task_are_bounded() {
    let mut bench = bag([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.05], Policy::default());
    bench.now_ms = START_MS + (WORK_MS / 2.0) as u64;
    (0..9).for_each(|index| {
        // Those who could copy it at once are gone.
        let lease = bench.lease_of(task(index), worker(index));
        let ready = Event::ResultReady { worker: worker(index), task: task(index), lease, result_hash: truth(index) };
        let gone = Event::WorkerDraining { worker: worker(index) };
        bench.all(vec![gone, ready, Event::TaskCompleted { task: task(index) }]);
    });
    assert_eq!(holders(&bench, 9), [worker(9)]);
    // Each that comes is twice as quick as the one before it.
    for (index, speed) in (10..).zip([0.1, 0.2, 0.4, 0.8, 1.6, 3.2]) {
        bench.on(with_ad(index, &format!("[Speed = {speed}]")));
        let expected = 1 + (index as usize - 9).min(Policy::default().end_copies_max as usize);
        assert_eq!(holders(&bench, 9).len(), expected, "{index}");
    }
}
