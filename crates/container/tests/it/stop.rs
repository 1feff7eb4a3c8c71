//! Stopping, freezing and thawing.

use std::time::{Duration, Instant};

use gristmill_result::Ending;
use gristmill_sandbox::{Control, HostFaultKind, Outcome};

use crate::bench::{Bench, kinds, tree};
use crate::host::{processes_of, wait_until};

/// Within which a program starts, a freeze holds, a cancel ends.
const SOON: Duration = Duration::from_secs(30);
/// What holding still may take on a machine that has much else to do. The bar, a second, is held by the test of a whole worker.
const FREEZE_MAX: Duration = Duration::from_secs(5);

/// Processes of the program, by its name.
fn programs(bench: &Bench) -> Vec<u32> {
    let Some(user) = bench.user() else { return vec![] };
    processes_of(user).into_iter().filter(|process| process.name == "probe").map(|process| process.pid).collect()
}

/// Ticks of processor time that processes used.
fn processor_time(pids: &[u32]) -> u64 {
    let ticks = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        fields.iter().sum::<u64>()
    };
    pids.iter().map(ticks).sum()
}

#[test]
fn a_frozen_run_stands_still_and_its_clock_too() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        if bench.user().is_none() {
            println!("{kind:?}: the program's processes cannot be told from others: not root");
            continue;
        }
        // A spinner and a daemon that writes: all of them. On a busy machine it takes a while until both have had the processor.
        let mut container = bench.probe(&["daemon /iexec_out/beats", "spin"]);
        container.wall_clock = Duration::from_secs(4);
        let control = Control::new();
        let fault = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.run_under(&container, &control));
            wait_until("the start", SOON, || programs(&bench).len() == 2 && processor_time(&programs(&bench)) > 5);
            let all = programs(&bench);
            let asked = Instant::now();
            control.freeze();
            let stopped = || {
                processes_of(bench.user().unwrap())
                    .iter()
                    .filter(|process| process.name == "probe")
                    .all(|it| it.state == "T")
            };
            wait_until("the freeze", FREEZE_MAX, stopped);
            println!("{kind:?}: held still after {:?}", asked.elapsed());
            let used = processor_time(&all);
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!((processor_time(&all), programs(&bench)), (used, all.clone()), "{kind:?}: two seconds later");
            control.thaw();
            wait_until("the thaw", SOON, || processor_time(&all) > used);
            let Outcome::HostFault(fault) = run.join().unwrap() else { panic!("{kind:?}: it has no end of its own") };
            fault
        });
        assert_eq!(fault.kind, HostFaultKind::WallClock, "{kind:?}: once it goes on, its time does too");
    }
}

#[test]
fn time_that_it_was_held_still_does_not_count() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        // Frozen before it begins, and again on the way.
        let mut container = bench.probe(&["sleep 300", "echo done"]);
        container.runs = vec![bench.item(0), bench.item(1)];
        container.wall_clock = Duration::from_millis(2500);
        let control = Control::new();
        control.freeze();
        let outcome = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.run_under(&container, &control));
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(1500));
                control.thaw();
                std::thread::sleep(Duration::from_millis(150));
                control.freeze();
            }
            control.thaw();
            run.join().unwrap()
        });
        let Outcome::Finished(finished) = outcome else { panic!("{kind:?}: {outcome:?}") };
        assert!(finished.runs.iter().all(|run| run.ending == Ending::Exited(0)), "{kind:?}");
        assert_eq!(tree(&container.runs[1].output_dir)["stdout.txt"], b"done\n", "{kind:?}");
    }
}

#[test]
fn frozen_and_thawed_all_the_time_it_still_ends_well() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let container = bench.probe(&["files /tmp/many 5000", "run /bin/probe sleep 100", "echo done"]);
        let control = Control::new();
        let outcome = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.run_under(&container, &control));
            let mut pause = 0;
            while !run.is_finished() {
                pause = (pause + 7) % 31;
                control.freeze();
                std::thread::sleep(Duration::from_millis(pause % 5));
                control.thaw();
                std::thread::sleep(Duration::from_millis(pause));
            }
            run.join().unwrap()
        });
        let Outcome::Finished(finished) = outcome else { panic!("{kind:?}: {outcome:?}") };
        assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{kind:?}");
    }
}

#[test]
fn a_cancel_ends_it_at_any_moment() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for (word, after) in [
            ("spin", 0),
            ("spin", 2),
            ("spin", 10),
            ("fork-for-ever", 150),
            ("fill /tmp/big", 100),
            ("daemon /tmp/beats", 50),
        ] {
            for frozen in [false, true] {
                let container = bench.probe(&[word, "sleep 100000"]);
                let control = Control::new();
                let (outcome, took) = std::thread::scope(|scope| {
                    let run = scope.spawn(|| bench.run_under(&container, &control));
                    std::thread::sleep(Duration::from_millis(after));
                    if frozen {
                        control.freeze();
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    let asked = Instant::now();
                    control.cancel();
                    wait_until("the cancel", SOON, || run.is_finished());
                    (run.join().unwrap(), asked.elapsed())
                });
                assert_eq!(outcome, Outcome::Cancelled, "{kind:?}: {word}");
                assert!(took < SOON, "{kind:?}: {word}: {took:?}");
            }
        }
        assert!(kind.is_ordinary() || programs(&bench).is_empty());
    }
}
