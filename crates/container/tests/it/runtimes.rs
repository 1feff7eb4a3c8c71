//! Other runtimes than our own: what is said when they cannot be had, and that nothing of theirs stays on the host.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gristmill_container::{
    Container, ContainerError, ContainerRunner, Device, Egress, Network, RunAs, RunnerConfig, Runtime,
};
use gristmill_result::Ending;
use gristmill_sandbox::{ChildCommand, Control, Outcome};

use crate::bench::{Bench, Kind, kinds, tree};

/// A program of this name that does what the lines of shell say, where everybody may run it.
fn program(bench: &Bench, name: &str, lines: &str) -> PathBuf {
    let folder = tempfile::tempdir_in(bench.dir.path()).unwrap().keep();
    for folder in [folder.as_path(), bench.dir.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A runner as the bench's, with another runtime.
fn runner(bench: &Bench, runtime: Runtime) -> ContainerRunner {
    let program = env!("CARGO_BIN_EXE_gristmill-container-child").into();
    let mut config = RunnerConfig::new(ChildCommand { program, args: vec![] });
    config.runtime = runtime;
    config.cgroups = bench.kind.has_cgroups();
    if let Some(user) = bench.user() {
        config.run_as = RunAs::Spare { uid: user, gid: user };
    }
    ContainerRunner::new(config)
}

/// What of the host a runner cannot use, in words.
fn trouble(bench: &Bench, runtime: Runtime) -> String {
    let runner = runner(bench, runtime.clone());
    let run = runner.run(&bench.probe(&["echo"]), &Control::new());
    let probed = runner.probe();
    match (run, probed) {
        (Err(ContainerError::Unable(run)), Err(ContainerError::Unable(probed))) => {
            assert_eq!(run, probed, "{runtime}");
            run
        }
        other => panic!("{runtime}: {other:?}"),
    }
}

#[test]
fn a_program_that_is_no_such_runtime_is_reported_with_what_it_says() {
    let bench = Bench::new(kinds()[0]);
    for (lines, expected) in [
        ("echo runc version 1.0.3", "is too old: `runc version 1.0.3`, and 1.1 is the oldest"),
        ("echo runc version 0.9", "is too old"),
        ("echo hello", "says `hello`, which is no version of runc"),
        ("echo crun version 1.8.1", "says `crun version 1.8.1`, which is no version of runc"),
        ("echo a library is missing >&2; exit 127", "a library is missing"),
        // Of this version, and then it does nothing right.
        (
            "[ $1 = --version ] && echo runc version 1.2.0 && exit; echo first; echo the moon is full >&2; exit 3",
            "create` ended with 3: its log is empty; it said last: the moon is full",
        ),
        ("[ $1 = --version ] && echo runc version 1.2.0 && exit; echo it is logged >$4; exit 1", "it is logged"),
        ("[ $1 = --version ] && echo runc version 1.2.0 && exit; kill -9 $$", "create` was killed by SIGKILL"),
        ("[ $1 = --version ] && echo runc version 1.2.0; exit 0", "says no process number"),
    ] {
        let path = program(&bench, "runc", lines);
        let said = trouble(&bench, Runtime::Runc(Some(path)));
        assert!(said.contains(expected), "{lines}: {said}");
    }
    let gone = trouble(&bench, Runtime::Crun(Some("/nonexistent/crun".into())));
    assert!(gone.contains("`/nonexistent/crun --version` cannot be started"), "{gone}");
    let plain = program(&bench, "crun", "");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = trouble(&bench, Runtime::Crun(Some(plain)));
    assert!(said.contains("Permission denied"), "{said}");
    let podman = program(
        &bench,
        "podman",
        "[ $1 = --version ] && echo podman version 4.3.1 && exit; echo no store >&2; exit 125",
    );
    let said = trouble(&bench, Runtime::Podman(Some(podman)));
    assert!(said.contains("run` ended with 125: no store"), "{said}");
}

/// A runtime that the user it runs as cannot reach.
#[test]
fn a_runtime_in_a_closed_folder_is_reported() {
    let bench = Bench::new(kinds()[0]);
    if bench.user().is_none() {
        return;
    }
    let path = program(&bench, "runc", "echo runc version 1.2.0");
    std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let said = trouble(&bench, Runtime::Runc(Some(path.clone())));
    assert!(said.contains(&format!("cannot run {}: ", path.display())) && said.contains("Permission denied"), "{said}");
}

#[test]
fn a_runtime_that_was_installed_meanwhile_is_found() {
    let kind = Kind::RuncOrdinary;
    let real = Bench::new(kind);
    real.finish(&real.probe(&["echo"]));
    let bench = Bench::new(kinds()[0]);
    let path = bench.path("runc");
    let runner = runner(&bench, Runtime::Runc(Some(path.clone())));
    assert!(matches!(runner.run(&bench.probe(&["echo"]), &Control::new()), Err(ContainerError::Unable(_))));
    let found =
        ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"].iter().find(|path| Path::new(path).is_file());
    std::os::unix::fs::symlink(found.expect("runc is where Debian has it"), &path).unwrap();
    std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let container = bench.probe(&["echo found"]);
    let outcome = runner.run(&container, &Control::new());
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    assert_eq!(tree(&container.runs[0].output_dir)["stdout.txt"], b"found\n");
}

/// Names below the folders in which such programs keep what they know of containers.
fn states() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<PathBuf> = [
        "/run/runc",
        "/run/crun",
        "/run/containers",
        "/run/libpod",
        "/run/netns",
        "/run/user",
        "/var/lib/containers",
        "/var/run/netns",
        "/var/lib/cni",
        "/root/.local/share/containers",
    ]
    .map(PathBuf::from)
    .into();
    pending.extend(
        std::fs::read_dir("/dev/shm")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libpod"))),
    );
    while let Some(path) = pending.pop() {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
        pending.extend(entries.filter(|entry| !entry.is_symlink()));
        found.insert(path);
    }
    found
}

#[test]
fn no_runtime_keeps_anything_on_the_host() {
    for kind in kinds().into_iter().filter(|kind| kind.runtime() != Runtime::Own) {
        let bench = Bench::new(kind);
        let before = states();
        for words in [&["echo done"][..], &["signal 9"], &["daemon /tmp/beats"]] {
            bench.run(&bench.probe(words));
        }
        let left: Vec<PathBuf> = states().difference(&before).cloned().collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{kind:?}");
    }
}

/// What our own helper does alone is refused, not left out.
#[test]
fn no_other_runtime_gives_devices_or_a_network() {
    for kind in kinds().into_iter().filter(|kind| kind.runtime() != Runtime::Own) {
        let bench = Bench::new(kind);
        let plain = bench.probe(&["echo never"]);
        let device = Device { name: "example.com/accelerator=0".to_owned(), ..Device::default() };
        let with_device = Container { devices: vec![device], ..plain.clone() };
        let with_network = Container { network: Some(Network::new(Egress::default())), ..plain };
        for container in [with_device, with_network] {
            let refused = bench.runner.run(&container, &Control::new());
            let Err(ContainerError::Unable(what)) = refused else { panic!("{kind:?}: {refused:?}") };
            assert!(what.starts_with(&format!("with {} no devices", kind.runtime())), "{what}");
        }
    }
}

/// Runtimes put variables into the environment and search programs in their own ways; the program sees none of that.
#[test]
fn the_environment_is_the_tasks_alone() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for (env, expected) in [
            (vec![], "IEXEC_IN=/iexec_in\nIEXEC_OUT=/iexec_out\n"),
            (vec![("HOME", ""), ("container", "x")], "HOME=\ncontainer=x\nIEXEC_IN=/iexec_in\nIEXEC_OUT=/iexec_out\n"),
            (
                vec![("LD_PRELOAD", "/x.so"), ("LISTEN_FDS", "2")],
                "LD_PRELOAD=/x.so\nLISTEN_FDS=2\nIEXEC_IN=/iexec_in\nIEXEC_OUT=/iexec_out\n",
            ),
        ] {
            let mut container = bench.probe(&["env"]);
            container.env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(bench.printed(&container), expected, "{kind:?}");
        }
    }
}

/// A program that is the file by which it would be started, again and again.
#[test]
fn a_program_that_is_its_own_starter_is_none() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let layer = bench.layer("loops", &[("bin/loop", b"#!/proc/self/exe\n")]);
        for name in ["/proc/self/exe", "/bin/loop", "loop"] {
            let finished = bench.finish(&bench.container(vec![layer.clone()], vec![name.to_owned()]));
            assert_eq!(finished.runs[0].ending, Ending::Exited(126), "{kind:?}: {name}");
        }
    }
}
