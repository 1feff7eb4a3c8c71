//! What every program may rely on.

use gristmill_result::Ending;

use crate::bench::{Bench, kinds, tree};

#[test]
fn this_host_runs_containers() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let missing = bench.runner.probe().unwrap();
        println!("{kind:?}: not given here: {missing:?}");
    }
}

#[test]
fn what_is_printed_and_written_comes_out() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let mut container = bench.probe(&["echo hello", "write /iexec_out/a/b some bytes", "log a word"]);
        container.inputs = vec![bench.input("given.txt", "input")];
        container.argv.push("cat /iexec_in/given.txt".to_owned());
        let finished = bench.finish(&container);
        let files = tree(&container.runs[0].output_dir);
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a/", "a/b", "stdout.txt"], "{kind:?}: {}", String::from_utf8_lossy(&finished.log));
        assert_eq!(
            (files["a/b"].as_slice(), files["stdout.txt"].as_slice()),
            (&b"some bytes"[..], &b"hello\ninput"[..])
        );
        assert_eq!(finished.log, b"a word\n");
        assert_eq!(finished.runs[0].ending, Ending::Exited(0));
        assert_eq!((finished.runs[0].output_files, finished.runs[0].output_bytes), (3, 21));
    }
}
