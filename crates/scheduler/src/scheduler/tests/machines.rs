//! Which machine a task gets, and why it gets none.

use std::collections::BTreeSet;

use gristmill_classad::{ClassAd, Expr};

use super::*;
use crate::rank::{Favor, Work};

fn ad(text: &str) -> Arc<ClassAd> {
    Arc::new(ClassAd::parse(text).unwrap())
}

/// A worker whose machine says this.
pub(super) fn with_ad(index: u64, text: &str) -> Event {
    let Event::WorkerJoined(spec) = joined(index) else { unreachable!() };
    Event::WorkerJoined(WorkerSpec { ad: ad(text), ..spec })
}

/// A task that requires this, of a deal of its own.
fn requiring(index: u64, require: &str, favor: &str) -> Event {
    let mut ad = ClassAd::new();
    ad.insert("Requirements", Expr::parse(require).unwrap()).unwrap();
    let favor = if favor.is_empty() { Favor::default() } else { favor.parse().unwrap() };
    let work = Work { operations: 10_000_000_000, is_known: true, ..Work::default() };
    let demand = Arc::new(Demand { ad: Arc::new(ad), favor, work });
    added(TaskSpec { deal: DealId(B256::repeat_byte(index as u8 + 1)), demand, ..spec(index, 1) })
}

fn who_has(bench: &Bench, index: u64) -> Vec<WorkerId> {
    bench.scheduler.live_leases().filter(|(_, of, _)| *of == task(index)).map(|(.., worker)| worker).collect()
}

#[test]
fn a_task_goes_to_a_machine_that_is_as_it_requires() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Cpus = 4; Memory = 8000]"));
    bench.on(with_ad(1, "[Cpus = 16; Memory = 64000]"));
    bench.on(requiring(0, "TARGET.Cpus >= 8 && TARGET.Memory > 4096", ""));
    assert_eq!(who_has(&bench, 0), [worker(1)]);
    // The first is free, and does not do.
    bench.on(requiring(1, "TARGET.Cpus >= 8", ""));
    assert_eq!(who_has(&bench, 1), []);
    assert!(matches!(bench.scheduler.explain_task(bench.now_ms, task(1)).cause, TaskCause::AllBusy { workers: 1 }));
    assert_eq!(bench.scheduler.explain_worker(bench.now_ms, worker(0)).cause, WorkerCause::NoMatch);
    // One that says no more of itself takes it when it comes.
    bench.on(with_ad(2, "[Cpus = 8]"));
    assert_eq!(who_has(&bench, 1), [worker(2)]);
}

#[test]
fn what_no_machine_is_is_said_with_the_nearest_and_a_fix_that_works() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Cpus = 4; Memory = 8000]"));
    bench.on(with_ad(1, "[Cpus = 16; Memory = 2000]"));
    let wanted = ["TARGET.Cpus >= 12", "TARGET.Memory > 4096", "TARGET.Cpus < 100"];
    bench.on(requiring(0, &wanted.join(" && "), ""));
    let found = bench.scheduler.explain_task(bench.now_ms, task(0));
    let TaskCause::NoMatch { machines: 2, text } = &found.cause else { panic!("{found}") };
    assert!(text.contains("none of 2 machines matches") && text.contains("Memory"), "{text}");
    // The fix names what to leave out; without that it runs.
    let fix = found.fix.unwrap();
    let kept = wanted.into_iter().filter(|conjunct| !fix.contains(conjunct)).collect::<Vec<_>>();
    assert_eq!(kept.len(), 2, "{fix}");
    bench.on(requiring(1, &kept.join(" && "), ""));
    assert_eq!(who_has(&bench, 1).len(), 1);
}

#[test]
fn a_machine_may_require_something_of_a_task_too() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Requirements = TARGET.Category == \"S\"]"));
    bench.on(requiring(0, "true", ""));
    let found = bench.scheduler.explain_task(bench.now_ms, task(0));
    assert!(matches!(found.cause, TaskCause::NoMatch { .. }), "{found}");
    assert!(found.fix.unwrap().contains("start another worker"));
    bench.on(with_ad(1, "[Cpus = 1]"));
    assert_eq!(who_has(&bench, 0), [worker(1)]);
}

#[test]
fn of_idle_machines_the_one_that_the_requester_favours_is_taken() {
    let machines = ["[Speed = 1.0; Watts = 10]", "[Speed = 4.0; Watts = 400]", "[Speed = 2.0; Watts = 60]"];
    for (favor, best) in [("speed=1", 1), ("energy=1", 0), ("", 1)] {
        let mut bench = pool(0);
        for (index, text) in machines.iter().enumerate() {
            bench.on(with_ad(index as u64, text));
        }
        bench.on(requiring(0, "true", favor));
        assert_eq!(who_has(&bench, 0), [worker(best)], "{favor}");
    }
}

#[test]
fn a_machine_that_is_slower_than_it_says_is_not_believed_for_long() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Speed = 50.0]"));
    for index in 1..4 {
        bench.on(with_ad(index, "[Speed = 2.0]"));
    }
    // Four tasks of one deal: the braggart takes as long as the others.
    for index in 0..4 {
        bench.on(added(spec(index, 1)));
    }
    let leases = bench.scheduler.live_leases().collect::<Vec<_>>();
    assert_eq!(leases.len(), 4);
    bench.now_ms += 5_000;
    for (lease, task, worker) in leases {
        bench.on(Event::ResultReady { worker, task, lease, result_hash: truth(0) });
    }
    let speed = |index: u64| bench.scheduler.machines().facts(worker(index)).unwrap().operations_per_second;
    assert!(speed(0) < 3_000_000_000, "{}", speed(0));
    assert!(speed(1) > 1_500_000_000, "{}", speed(1));
}

#[test]
fn equal_machines_take_turns() {
    let mut bench = pool(100);
    let mut served = BTreeSet::new();
    for index in 0..100 {
        bench.on(added(spec(index, 1)));
        let [worker] = who_has(&bench, index)[..] else { panic!("task {index}") };
        served.insert(worker);
        let lease = bench.scheduler.live_leases().find(|(_, of, _)| *of == task(index)).unwrap().0;
        bench.on(Event::ResultReady { worker, task: task(index), lease, result_hash: truth(index) });
        bench.on(Event::TaskCompleted { task: task(index) });
    }
    assert_eq!(served.len(), 100);
}

#[test]
fn what_the_next_worker_would_fail_at_too_is_told() {
    let cases = [
        (Fault::App, TaskCause::NotFetched { app: true, last: "gone".to_owned() }, "run the job again"),
        (Fault::Input, TaskCause::NotFetched { app: false, last: "gone".to_owned() }, "run the job again"),
        (Fault::TooLong, TaskCause::CategoryTooShort { last: "gone".to_owned() }, "--category"),
    ];
    for (fault, cause, fix) in cases {
        let mut bench = pool(1);
        bench.on(added(spec(0, 1)));
        let mut faults = 0;
        // While it is tried again, and when it is given up.
        let live = |bench: &Bench| bench.scheduler.live_leases().next().map(|(lease, ..)| lease);
        while let Some(lease) = live(&bench) {
            bench.on(Event::LeaseFailed { lease, fault, reason: "gone".to_owned() });
            faults += 1;
            let found = bench.scheduler.explain_task(bench.now_ms, task(0));
            if live(&bench).is_none() && !matches!(found.cause, TaskCause::Calling { .. }) {
                assert_eq!(found.cause, cause, "after {faults}");
                assert!(found.fix.unwrap().contains(fix));
            }
            bench.now_ms += T_MS;
            bench.on(Event::Heartbeat { worker: worker(0), leases: vec![] });
        }
        assert!((2..=4).contains(&faults), "{fault:?}: {faults}");
    }
}

#[test]
fn where_all_are_banned_it_is_told_whom_to_let_in_again() {
    let mut bench = pool(1);
    bench.on(Event::WorkerBanned { worker: worker(0), reason: "it snores".to_owned() });
    bench.on(Event::WorkerLeft { worker: worker(0) });
    bench.on(added(spec(0, 1)));
    let found = bench.scheduler.explain_task(bench.now_ms, task(0));
    let reason = "it snores".to_owned();
    assert_eq!(found.cause, TaskCause::AllBanned { workers: 1, worker: worker(0), reason });
    assert!(found.fix.unwrap().contains(&format!("gristmill pool unban {}", worker(0))));
    bench.on(Event::WorkerPardoned { worker: worker(0) });
    assert_eq!(bench.scheduler.explain_task(bench.now_ms, task(0)).cause, TaskCause::NoWorkers);
    bench.on(joined(0));
    assert_eq!(who_has(&bench, 0), [worker(0)]);
}

#[test]
fn a_worker_serves_only_those_whom_it_is_to_serve() {
    let mut bench = pool(0);
    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    let friends = |who: Address| Some(Arc::new(BTreeSet::from([who])));
    bench.on(Event::WorkerJoined(WorkerSpec { serves: friends(Address::repeat_byte(7)), ..plain }));
    bench.on(added(spec(0, 1)));
    assert_eq!(who_has(&bench, 0), []);
    let found = bench.scheduler.explain_task(bench.now_ms, task(0));
    assert_eq!(found.cause, TaskCause::NoRights { workers: 1 });
    assert_eq!(bench.scheduler.explain_worker(bench.now_ms, worker(0)).cause, WorkerCause::NoRights);
    bench.on(Event::WorkerServes { worker: worker(0), serves: friends(Address::repeat_byte(8)) });
    assert_eq!(who_has(&bench, 0), [worker(0)]);
    // What it has it may finish.
    bench.on(Event::WorkerServes { worker: worker(0), serves: friends(Address::repeat_byte(7)) });
    assert_eq!(who_has(&bench, 0), [worker(0)]);
}

#[test]
fn a_guess_of_the_work_keeps_nobody_away() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Speed = 0.03]"));
    let work = Work { operations: 10_000_000_000, is_known: false, ..Work::default() };
    let demand = Arc::new(Demand { work, ..Demand::any() });
    bench.on(added(TaskSpec { demand, ..spec(0, 1) }));
    assert_eq!(who_has(&bench, 0), [worker(0)]);
}

#[test]
fn who_says_that_it_is_too_slow_is_not_asked_where_the_work_is_known() {
    // Three T are 300 seconds, and the work is ten of them at the reference machine.
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Speed = 0.03]"));
    bench.on(requiring(0, "true", ""));
    assert_eq!(who_has(&bench, 0), []);
    assert_eq!(bench.task_cause(0), TaskCause::TooSlow { workers: 1 });
    assert_eq!(bench.worker_cause(0), WorkerCause::TooSlow);
    // Of another task nobody knows how much it is; and who says nothing of its speed may be quick enough.
    bench.on(added(TaskSpec { deal: DealId(B256::repeat_byte(7)), ..spec(1, 1) }));
    assert_eq!(who_has(&bench, 1), [worker(0)]);
    bench.on(with_ad(1, "[Cpus = 1]"));
    assert_eq!(who_has(&bench, 0), [worker(1)]);
    // What takes just as long as it may is asked of it.
    bench.on(with_ad(2, "[Speed = 0.034]"));
    bench.on(requiring(2, "true", ""));
    assert_eq!(who_has(&bench, 2), [worker(2)]);
}

#[test]
fn whoever_says_another_speed_while_it_is_idle_is_found_by_that() {
    let mut bench = pool(0);
    bench.on(with_ad(0, "[Speed = 0.03]"));
    bench.on(requiring(0, "true", ""));
    assert_eq!(who_has(&bench, 0), []);
    bench.on(Event::WorkerDescribed { worker: worker(0), ad: ad("[Speed = 2]") });
    assert_eq!(who_has(&bench, 0), [worker(0)]);
    // And the other way round: it is in no place of before.
    bench.on(with_ad(1, "[Speed = 2]"));
    bench.on(Event::WorkerDescribed { worker: worker(1), ad: ad("[Speed = 0.03]") });
    bench.on(requiring(1, "true", ""));
    assert_eq!(who_has(&bench, 1), []);
    assert_eq!(bench.scheduler.idle[0].iter().map(|(_, worker)| *worker).collect::<Vec<_>>(), [worker(1)]);
}

#[test]
fn the_order_of_the_idle_says_who_is_too_slow() {
    let mut told = Worker::absent();
    let speeds = [0.01, 0.03, 0.25, 0.2777777, 1.0, 99.9];
    for (says_speed, speed) in speeds.into_iter().flat_map(|speed| [(true, speed), (false, speed)]) {
        told.told.says_speed = says_speed;
        told.told.speed = speed;
        for least in [0.0, 0.01, 0.25, 0.26, 1.0, 50.0, 1e9] {
            let is_below = told.quickness() < crate::scheduler::machine::quickness_min(least);
            assert_eq!(is_below, told.is_too_slow(least), "{speed}, said: {says_speed}, against {least}");
        }
    }
}
