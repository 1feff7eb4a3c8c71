//! Hostile tasks that take too much: kinds 5 to 9 and 20 of the operator's bar.

use std::time::{Duration, Instant};

use gristmill_container::Container;
use gristmill_result::Ending;
use gristmill_sandbox::{HostFaultKind, Outcome};

use crate::bench::{Bench, kinds, tree};

#[test]
fn forks_and_threads_come_to_an_end() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["fork-bomb"]);
        assert_eq!(lines, ["fork: EAGAIN", "forked less than 600"], "{kind:?}");
        let lines = bench.lines(&["thread-bomb"]);
        assert_eq!(lines, ["threads: less than 600, EAGAIN"], "{kind:?}");
    }
}

#[test]
fn forks_for_ever_are_ended_by_the_clock() {
    for kind in kinds() {
        for word in ["fork-for-ever", "fork-and-end"] {
            let bench = Bench::new(kind);
            let mut container = bench.probe(&[word]);
            container.wall_clock = Duration::from_millis(500);
            let started = Instant::now();
            let fault = bench.fault(&container);
            assert_eq!(fault.kind, HostFaultKind::WallClock, "{kind:?}: {word}: {fault}");
            assert!(started.elapsed() < Duration::from_secs(60), "{kind:?}: {word}: {:?}", started.elapsed());
        }
    }
}

#[test]
fn a_process_gets_no_more_memory_than_was_granted() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        // The program sees it, the same on every host.
        assert_eq!(bench.lines(&["malloc-bomb 4096"]), ["malloc: refused"], "{kind:?}");
    }
}

/// Memory that no limit of a single process sees.
#[test]
fn memory_of_all_together_is_bounded_and_no_result() {
    let most = "6000";
    for kind in kinds() {
        for word in [
            format!("many-bomb 50 {most}"),
            format!("shared-bomb {most}"),
            format!("memfd-bomb {most}"),
            format!("child-bomb {most}"),
        ] {
            let bench = Bench::new(kind);
            let started = Instant::now();
            let outcome = bench.run(&bench.probe(&[&word]));
            let Outcome::HostFault(fault) = outcome else { panic!("{kind:?}: {word}: {outcome:?}") };
            assert_eq!(fault.kind, HostFaultKind::Killed, "{kind:?}: {word}: {fault}");
            assert!(fault.reason.contains("memory"), "{kind:?}: {word}: {fault}");
            println!("{kind:?}: {word}: {:?}: {fault}", started.elapsed());
        }
    }
}

#[test]
fn memory_of_the_kernel_is_bounded_too() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["sysv-bomb 6000", "message-bomb", "pipe-bomb", "flight-bomb"]);
        let refused = lines[0] == "sysv: ENOSPC" || lines[0] == "sysv: ENOMEM" || lines[0] == "sysv: EINVAL";
        assert!(refused, "{kind:?}: {lines:?}");
        let rest = [
            "messages: less than 32 MiB",
            "pipes: EMFILE",
            "pipes: less than 5000",
            "descriptors under way: less than 20000",
        ];
        assert_eq!(lines[1..], rest, "{kind:?}");
    }
}

#[test]
fn spinning_and_sleeping_are_ended_by_the_clock() {
    for kind in kinds() {
        for word in ["spin", "sleep 100000"] {
            let bench = Bench::new(kind);
            let mut container = bench.probe(&[word]);
            container.wall_clock = Duration::from_millis(300);
            let started = Instant::now();
            let fault = bench.fault(&container);
            assert_eq!(fault.kind, HostFaultKind::WallClock, "{kind:?}: {word}: {fault}");
            assert!(started.elapsed() < Duration::from_secs(60), "{kind:?}: {word}: {:?}", started.elapsed());
        }
    }
}

/// What a run with these words leaves, and how it ended.
fn ending(bench: &Bench, container: &Container) -> (Ending, Vec<String>, String) {
    let finished = bench.finish(container);
    let names = tree(&container.runs[0].output_dir).into_keys().collect();
    (finished.runs[0].ending, names, String::from_utf8_lossy(&finished.log).into_owned())
}

#[test]
fn outputs_past_the_limits_are_results_and_leave_nothing() {
    for (words, expected) in [
        (vec!["fill /iexec_out/big"], Ending::OutputLimit),
        (vec!["stdout-bomb"], Ending::OutputLimit),
        (vec!["sparse /iexec_out/sparse 1000000000000"], Ending::OutputLimit),
        (vec!["sparse /iexec_out/sparse 4194305"], Ending::OutputLimit),
        (vec!["files /iexec_out/many 1000000"], Ending::FileLimit),
        (vec!["files /iexec_out/many 100"], Ending::FileLimit),
        (vec!["files /iexec_out/many 60", "files /iexec_out/more 60"], Ending::FileLimit),
    ] {
        for kind in kinds() {
            let bench = Bench::new(kind);
            let (ending, names, log) = ending(&bench, &bench.probe(&words));
            assert_eq!((ending, names), (expected, vec![]), "{kind:?}: {words:?}: {log}");
        }
    }
}

#[test]
fn outputs_at_the_limits_come_out_whole() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let (how, names, log) = ending(&bench, &bench.probe(&["sparse /iexec_out/sparse 4194290"]));
        // With the line that it prints, 4 MiB to the byte.
        assert_eq!(
            (how, names),
            (Ending::Exited(0), vec!["sparse".to_owned(), "stdout.txt".to_owned()]),
            "{kind:?}: {log}"
        );
        // 98 files, their folder, what it printed. Each takes a page of memory, whatever is in it.
        let mut container = bench.probe(&["files /iexec_out/many 98"]);
        container.limits.output_bytes = 1000;
        let (how, names, log) = ending(&bench, &container);
        assert_eq!((how, names.len()), (Ending::Exited(0), 100), "{kind:?}: {log}");
        let mut container = bench.probe(&["files /iexec_out/many 3000"]);
        (container.limits.output_bytes, container.limits.output_files) = (4000, 4000);
        let (how, names, log) = ending(&bench, &container);
        assert_eq!((how, names.len()), (Ending::Exited(0), 3002), "{kind:?}: {log}");
    }
}

#[test]
fn scratch_is_bounded_and_gone_afterwards() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut container =
            bench.probe(&["fill /tmp/big", "remove /tmp/big", "fill /dev/shm/big", "remove /dev/shm/big"]);
        container.argv.extend(["files /var/many 1000000".to_owned(), "stat /bin/probe".to_owned()]);
        container.wall_clock = Duration::from_secs(300);
        let printed = bench.printed(&container);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[..3], ["fill: ENOSPC", "fill: ENOSPC", "files: ENOSPC"], "{kind:?}: {printed}");
    }
}

#[test]
fn deep_folders_and_long_paths_are_left_out_and_harm_nobody() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut container =
            bench.probe(&["deep /iexec_out/deep 3000", "deep /tmp/deep 3000", "write /iexec_out/kept kept"]);
        container.limits.output_files = 5000;
        let (how, names, log) = ending(&bench, &container);
        assert_eq!(how, Ending::Exited(0), "{kind:?}: {log}");
        assert!(names.iter().all(|name| name.split('/').count() <= 67), "{kind:?}");
        assert!(names.contains(&"kept".to_owned()) && log.contains("folders in folders"), "{kind:?}: {log}");
        // Names of 250 bytes each, until no path holds them any more.
        let name = "n".repeat(250);
        let long = format!("write /iexec_out/{} x", [name.as_str(); 14].join("/"));
        let (how, _, log) = ending(&bench, &bench.probe(&[&long]));
        assert_eq!(how, Ending::Exited(0), "{kind:?}: {log}");
    }
}

#[test]
fn a_flood_on_stderr_is_cut_and_its_end_kept() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let (how, names, log) = ending(&bench, &bench.probe(&["stderr-bomb 10"]));
        assert_eq!((how, names), (Ending::Exited(0), vec![]), "{kind:?}");
        assert!(log.len() <= gristmill_sandbox::LOG_BYTES_MAX && log.ends_with("the end\n"), "{kind:?}: {}", log.len());
    }
}

/// How many times the time that it takes alone an honest task may take beside three hostile ones: with two cores, four runs and a
/// machine that others use too, it has half a core for itself at least.
const BESIDE_HOSTILE_MAX: u32 = 8;
/// And what starting may take, whatever happens beside it.
const START_MAX: Duration = Duration::from_secs(15);

#[test]
fn an_honest_task_finishes_in_time_beside_hostile_ones() {
    for kind in kinds() {
        let honest = Bench::new(kind);
        let work = honest.probe(&[
            "files /tmp/a 2000",
            "files /tmp/b 2000",
            "files /tmp/c 2000",
            "write /iexec_out/result right",
        ]);
        let started = Instant::now();
        honest.finish(&work);
        let alone = started.elapsed();
        let hostile = ["fork-for-ever", "many-bomb 50 6000", "stdout-bomb", "spin"];
        let took = std::thread::scope(|scope| {
            for word in hostile {
                scope.spawn(move || {
                    let bench = Bench::new(kind);
                    let mut container = bench.probe(&[word]);
                    container.wall_clock = Duration::from_secs(2);
                    bench.run(&container)
                });
            }
            std::thread::sleep(Duration::from_millis(200));
            let again = honest.probe(&[
                "files /tmp/a 2000",
                "files /tmp/b 2000",
                "files /tmp/c 2000",
                "write /iexec_out/result right",
            ]);
            let started = Instant::now();
            let finished = honest.finish(&again);
            let took = started.elapsed();
            assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{kind:?}");
            assert_eq!(tree(&again.runs[0].output_dir)["result"], b"right", "{kind:?}");
            took
        });
        println!("{kind:?}: alone {alone:?}, beside {} hostile ones {took:?}", hostile.len());
        assert!(took < alone * BESIDE_HOSTILE_MAX + START_MAX, "{kind:?}: alone {alone:?}, beside {took:?}");
    }
}

/// The wall of this host that a memory bomb meets.
#[test]
fn what_is_not_bounded_here_is_said() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let finished = bench.finish(&bench.probe(&["echo"]));
        let says = |word: &str| finished.missing_guarantees.iter().any(|line| line.contains(word));
        if !kind.has_cgroups() {
            assert!(says("memory") && says("processes"), "{kind:?}: {:?}", finished.missing_guarantees);
        }
    }
}
