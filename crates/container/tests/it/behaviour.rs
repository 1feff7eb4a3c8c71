//! How runs begin and end, and what a program finds.

use std::path::PathBuf;
use std::time::Duration;

use gristmill_container::{ContainerError, ContainerRunner, RunnerConfig};
use gristmill_result::Ending;
use gristmill_sandbox::{ChildCommand, Control, HostFaultKind, Input, Outcome};

use crate::bench::{Bench, kinds, probe, tree};

#[test]
fn exit_codes_are_results() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for code in [0, 3, 126, 127, 255] {
            let finished = bench.finish(&bench.probe(&[&format!("exit {code}")]));
            assert_eq!(finished.runs[0].ending, Ending::Exited(code), "{kind:?}");
        }
    }
}

#[test]
fn a_program_that_cannot_be_run_is_a_result() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut foreign = std::fs::read(probe()).unwrap();
        // The machine that the file is for: none that there is (ELF, e_machine).
        (foreign[18], foreign[19]) = (0xfe, 0x7f);
        let files: [(&str, &[u8]); 7] = [
            ("bin/probe", &std::fs::read(probe()).unwrap()),
            ("bin/foreign", &foreign),
            ("bin/text", b"just words"),
            ("bin/empty", b""),
            ("bin/script", b"#!/no/such/interpreter\n"),
            ("bin/plain", b"\x7fELF"),
            ("bin/folder/inner", b""),
        ];
        let layer = bench.layer("odd", &files);
        std::fs::set_permissions(layer.join("bin/plain"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        for (name, expected) in [
            ("/bin/absent", Ending::Exited(127)),
            ("absent", Ending::Exited(127)),
            ("/bin/probe/inner", Ending::Exited(127)),
            ("/bin/script", Ending::Exited(127)),
            ("/bin/folder", Ending::Exited(126)),
            ("/bin/plain", Ending::Exited(126)),
            ("plain", Ending::Exited(126)),
            ("/bin/foreign", Ending::NotRunnable),
            ("foreign", Ending::NotRunnable),
            ("/bin/text", Ending::NotRunnable),
            ("/bin/empty", Ending::NotRunnable),
        ] {
            let finished = bench.finish(&bench.container(vec![layer.clone()], vec![name.to_owned()]));
            assert_eq!(finished.runs[0].ending, expected, "{kind:?}: {name}");
            let log = String::from_utf8_lossy(&finished.log).into_owned();
            assert!(log.contains(&format!("cannot run `{name}`")), "{kind:?}: {log}");
        }
    }
}

#[test]
fn a_program_that_is_killed_is_no_result() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for (signal, name) in [(9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (6, "SIGABRT")] {
            let fault = bench.fault(&bench.probe(&["log my last words", &format!("signal {signal}")]));
            assert_eq!(fault.kind, HostFaultKind::Killed, "{kind:?}");
            assert!(fault.reason.contains(name) && fault.reason.contains("my last words"), "{kind:?}: {fault}");
        }
    }
}

#[test]
fn items_have_their_own_inputs_and_variables_and_share_limits() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut container = bench.probe(&[
            "env",
            "list /iexec_in",
            "cat /iexec_in/own.txt",
            "log here",
            "write /iexec_out/x 0123456789",
        ]);
        container.env = vec![
            ("PATH".to_owned(), "/bin".to_owned()),
            ("A".to_owned(), "all".to_owned()),
            ("B".to_owned(), "all".to_owned()),
        ];
        container.inputs = vec![bench.input("common.txt", "common"), bench.input("0/own.txt", "everybody's")];
        container.inputs[1].at = "own.txt".to_owned();
        container.runs = (0..3).map(|index| bench.item(index)).collect();
        for (index, run) in container.runs.iter_mut().enumerate().skip(1) {
            run.env = vec![("B".to_owned(), format!("own {index}")), ("IEXEC_OUT".to_owned(), "/tmp".to_owned())];
            run.inputs = vec![bench.input(&format!("{index}/own.txt"), format!("own {index}"))];
            run.inputs[0].at = "own.txt".to_owned();
        }
        let mut heard = Vec::new();
        let outcome =
            bench.runner.run_with(&container, &Control::new(), &mut |report| heard.push(report.index)).unwrap();
        let Outcome::Finished(finished) = outcome else { panic!("{kind:?}: {outcome:?}") };
        assert_eq!((heard, finished.runs.len()), (vec![0, 1, 2], 3), "{kind:?}");
        for (index, run) in container.runs.iter().enumerate() {
            let printed = String::from_utf8(tree(&run.output_dir)["stdout.txt"].clone()).unwrap();
            let (b, own) = if index == 0 {
                ("all".to_owned(), "everybody's".to_owned())
            } else {
                (format!("own {index}"), format!("own {index}"))
            };
            let mut variables: Vec<&str> = printed.lines().take(5).collect();
            variables.sort_unstable();
            assert_eq!(
                variables,
                ["A=all", &format!("B={b}"), "IEXEC_IN=/iexec_in", "IEXEC_OUT=/iexec_out", "PATH=/bin"],
                "{kind:?}: {printed}"
            );
            assert!(printed.ends_with(&format!("list /iexec_in: common.txt own.txt\n{own}")), "{kind:?}: {printed}");
        }
        let log = String::from_utf8(finished.log).unwrap();
        assert_eq!(log, "--- item 0 ---\nhere\n--- item 1 ---\nhere\n--- item 2 ---\nhere\n", "{kind:?}");
        // What the first two leave is not there for the third.
        let mut container = bench.probe(&["write /iexec_out/x 0123456789"]);
        container.runs = (0..3).map(|index| bench.item(index)).collect();
        container.limits.output_bytes = 25;
        let endings: Vec<Ending> = bench.finish(&container).runs.iter().map(|run| run.ending).collect();
        assert_eq!(endings, [Ending::Exited(0), Ending::Exited(0), Ending::OutputLimit], "{kind:?}");
    }
}

#[test]
fn inputs_are_put_where_they_were_asked_for() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let whole = [bench.input("whole/one", "1"), bench.input("whole/sub/two", "2"), bench.input("whole/three", "3")];
        assert_eq!(whole.len(), 3);
        let folder = |at: &str| Input { at: at.to_owned(), host: bench.path("given/whole") };
        let named = |at: &str, name: &str| Input { at: at.to_owned(), ..bench.input(name, name) };
        for (inputs, words, expected) in [
            (vec![], vec!["list /iexec_in"], "list /iexec_in:\n"),
            (vec![folder("")], vec!["list /iexec_in", "cat /iexec_in/sub/two"], "list /iexec_in: one sub three\n2"),
            (
                vec![folder("/"), named("more", "m"), named("sub/two", "other"), named("new/deep", "n")],
                vec![
                    "list /iexec_in",
                    "cat /iexec_in/sub/two",
                    "list /iexec_in/sub",
                    "cat /iexec_in/new/deep",
                    "cat /iexec_in/one",
                ],
                "list /iexec_in: more new one sub three\notherlist /iexec_in/sub: two\nn1",
            ),
            (
                vec![folder("a/b/")],
                vec!["list /iexec_in/a/b", "can-write /iexec_in/a"],
                "list /iexec_in/a/b: one sub three\nwrite /iexec_in/a: EROFS\n",
            ),
            (vec![named("twice", "first"), named("twice", "last")], vec!["cat /iexec_in/twice"], "last"),
        ] {
            let mut container = bench.probe(&words);
            container.inputs = inputs;
            let printed = bench.printed(&container);
            let sorted = |text: &str| {
                text.lines()
                    .map(|line| {
                        let mut parts: Vec<&str> = line.split(' ').collect();
                        parts.sort_unstable();
                        parts.join(" ")
                    })
                    .collect::<Vec<_>>()
            };
            assert_eq!(sorted(&printed), sorted(expected), "{kind:?}: {words:?}");
        }
    }
}

#[test]
fn inputs_that_cannot_be_are_refused_beforehand() {
    let bench = Bench::new(kinds()[0]);
    let file = bench.input("file", "x");
    let at = |at: &str| Input { at: at.to_owned(), host: file.host.clone() };
    std::os::unix::fs::symlink("/etc/shadow", bench.path("given/link")).unwrap();
    let long = "n".repeat(256);
    for inputs in [
        vec![at("../up")],
        vec![at("a/../b")],
        vec![at("")],
        vec![at("a\0b")],
        vec![at(&long)],
        vec![at("a"), at("a/b")],
        vec![at("a/b/c"), at("a//b")],
        vec![Input { at: "link".to_owned(), host: bench.path("given/link") }],
        vec![Input { at: "gone".to_owned(), host: bench.path("given/gone") }],
    ] {
        let mut container = bench.probe(&["echo"]);
        container.inputs = inputs.clone();
        let refused = bench.runner.run(&container, &Control::new());
        assert!(matches!(refused, Err(ContainerError::Input { .. })), "{inputs:?}: {refused:?}");
    }
}

#[test]
fn what_is_printed_becomes_a_file_unless_the_program_made_one() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for (words, expected) in [
            (vec!["log quiet"], None),
            (vec!["echo loud"], Some("loud\n")),
            (vec!["echo loud", "write /iexec_out/stdout.txt mine"], Some("mine")),
            (vec!["echo loud", "mkdir /iexec_out/stdout.txt"], None),
            (vec!["echo loud", "symlink /etc/passwd /iexec_out/stdout.txt"], Some("loud\n")),
        ] {
            let container = bench.probe(&words);
            let finished = bench.finish(&container);
            let files = tree(&container.runs[0].output_dir);
            assert_eq!(
                files.get("stdout.txt").map(|bytes| String::from_utf8_lossy(bytes).into_owned()).as_deref(),
                expected,
                "{kind:?}: {words:?}"
            );
            assert_eq!(finished.runs[0].output_files, files.len() as u64, "{kind:?}: {words:?}");
            assert_eq!(
                finished.runs[0].output_bytes,
                files.values().map(|bytes| bytes.len() as u64).sum::<u64>(),
                "{kind:?}: {words:?}"
            );
        }
    }
}

#[test]
fn outputs_that_the_program_closed_are_copied_too() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let container = bench.probe(&[
            "write /iexec_out/a/b inner",
            "write /iexec_out/c outer",
            "chmod 0 /iexec_out/a/b",
            "chmod 0 /iexec_out/a",
            "chmod 0 /iexec_out/c",
            "chmod 0 /iexec_out",
        ]);
        bench.printed(&container);
        let files = tree(&container.runs[0].output_dir);
        assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), ["a/", "a/b", "c"], "{kind:?}");
        assert_eq!(files["a/b"], b"inner", "{kind:?}");
    }
}

#[test]
fn the_program_is_found_and_begins_where_it_should() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let program = std::fs::read(probe()).unwrap();
        let layer = bench.layer(
            "two",
            &[("opt/bin/probe", &program), ("usr/bin/other", &program), ("opt/plain", b"x"), ("file", b"x")],
        );
        let run = |argv: &[&str], path: Option<&str>, working_dir: &str| {
            let mut container =
                bench.container(vec![layer.clone()], argv.iter().map(|&word| word.to_owned()).collect());
            container.env = path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect();
            container.working_dir = working_dir.to_owned();
            let finished = bench.finish(&container);
            let files = tree(&container.runs[0].output_dir);
            (
                finished.runs[0].ending,
                String::from_utf8_lossy(files.get("stdout.txt").map_or(&[], Vec::as_slice)).into_owned(),
            )
        };
        let done = |text: &str| (Ending::Exited(0), text.to_owned());
        assert_eq!(run(&["probe", "cwd"], Some("/nowhere:/file:/opt:/opt/bin"), ""), done("cwd /\n"), "{kind:?}");
        // Without PATH where images have their programs, as a shell would.
        assert_eq!(run(&["other", "cwd"], None, "/made/for/it"), done("cwd /made/for/it\n"), "{kind:?}");
        assert_eq!(run(&["opt/bin/probe", "cwd"], None, "/"), done("cwd /\n"), "{kind:?}");
        assert_eq!(run(&["bin/probe", "cwd"], None, "/opt"), done("cwd /opt\n"), "{kind:?}");
        assert_eq!(
            run(&["/opt/bin/probe", "cwd"], None, "/file").0,
            Ending::Exited(126),
            "{kind:?}: a file is no folder"
        );
        assert_eq!(run(&["/opt/bin/probe", "cwd"], None, "/file/x").0, Ending::Exited(126), "{kind:?}: nor has it any");
        // Relative folders of PATH are the working folder's, which a task could choose.
        assert_eq!(run(&["probe", "cwd"], Some("opt/bin:."), "/opt/bin").0, Ending::Exited(127), "{kind:?}");
    }
}

#[test]
fn the_same_program_gives_the_same_bytes_everywhere() {
    let mut seen = Vec::new();
    for kind in kinds() {
        let bench = Bench::new(kind);
        for _ in 0..2 {
            let container = bench.probe(&[
                "addresses",
                "identity",
                "env",
                "cwd",
                "list /",
                "list /proc/sys/kernel",
                "cat /proc/cpuinfo",
                "cat /proc/meminfo",
                "cat /proc/stat",
                "cat /proc/version",
                "cat /proc/uptime",
                "cat /proc/loadavg",
                "cat /proc/filesystems",
                "cat /proc/self/limits",
                "cat /proc/self/cgroup",
                "stat /",
                "stat /tmp",
                "stat /iexec_in",
                "stat /iexec_out",
                "stat /bin/probe",
                "stat /dev/shm",
                "write /iexec_out/result right",
            ]);
            bench.finish(&container);
            seen.push((kind, tree(&container.runs[0].output_dir)));
        }
    }
    for (kind, files) in &seen[1..] {
        let text = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            String::from_utf8_lossy(&files["stdout.txt"]).into_owned()
        };
        assert_eq!(text(files), text(&seen[0].1), "{kind:?}");
        assert!(*files == seen[0].1, "{kind:?}");
    }
}

#[test]
fn a_helper_that_is_none_is_reported() {
    let bench = Bench::new(kinds()[0]);
    for (program, args, expected) in [
        ("/nonexistent/gristmill", vec![], "cannot start"),
        ("/bin/false", vec![], "ended early"),
        ("/bin/cat", vec![], "ended early"),
        ("/bin/sh", vec!["-c", "echo it went wrong >&2; exit 7"], "it went wrong"),
        ("/bin/sh", vec!["-c", "echo '{\"Ready\":{\"missing\":[]}}'; echo; exec sleep 1000"], "ended early"),
    ] {
        let config = RunnerConfig::new(ChildCommand {
            program: PathBuf::from(program),
            args: args.into_iter().map(Into::into).collect(),
        });
        let runner = ContainerRunner::new(config);
        let said = match runner.run(&bench.probe(&["echo"]), &Control::new()) {
            Err(error) => error.to_string(),
            Ok(Outcome::HostFault(fault)) => fault.reason,
            other => panic!("{program}: {other:?}"),
        };
        assert!(said.contains(expected), "{program}: {said}");
        let probed = runner.probe();
        assert!(probed.is_err(), "{program}: {probed:?}");
    }
}

#[test]
fn a_helper_that_does_not_read_can_be_stopped() {
    let bench = Bench::new(kinds()[0]);
    let config = RunnerConfig::new(ChildCommand { program: "/bin/sleep".into(), args: vec!["1000".into()] });
    let runner = ContainerRunner::new(config);
    let mut container = bench.probe(&["echo"]);
    // More than a pipe holds.
    container.env.extend((0..20).map(|number| (format!("V{number}"), "x".repeat(10_000))));
    let control = Control::new();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| runner.run(&container, &control));
        std::thread::sleep(Duration::from_millis(200));
        control.cancel();
        crate::host::wait_until("the end", Duration::from_secs(30), || run.is_finished());
        run.join().unwrap()
    });
    assert_eq!(outcome.unwrap(), Outcome::Cancelled);
}

#[test]
fn several_runners_and_runs_do_not_meet() {
    for kind in kinds() {
        let benches: Vec<Bench> = (0..3).map(|_| Bench::new(kind)).collect();
        std::thread::scope(|scope| {
            for bench in &benches {
                for number in 0..3 {
                    scope.spawn(move || {
                        let mut container = bench.container(
                            vec![bench.path("layer")],
                            vec!["/bin/probe".to_owned(), format!("echo {number}"), "sleep 50".to_owned()],
                        );
                        container.layers = vec![
                            bench.layer(&format!("layer-{number}"), &[("bin/probe", &std::fs::read(probe()).unwrap())]),
                        ];
                        let outcome = bench.runner.run(&container, &Control::new()).unwrap();
                        assert!(matches!(outcome, Outcome::Finished(_)), "{kind:?}: {outcome:?}");
                        assert_eq!(
                            tree(&container.runs[0].output_dir)["stdout.txt"],
                            format!("{number}\n").into_bytes(),
                            "{kind:?}"
                        );
                    });
                }
            }
        });
    }
}
