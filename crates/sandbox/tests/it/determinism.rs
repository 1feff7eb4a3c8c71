//! The same app on the same inputs is the same everywhere.

use std::collections::BTreeMap;

use gristmill_result::Ending;

use crate::bench::{Bench, tree};

#[test]
fn twenty_runs_in_as_many_places_agree_on_everything() {
    let mut seen: Option<(Vec<_>, _, BTreeMap<String, Vec<u8>>)> = None;
    for round in 0..20 {
        let bench = Bench::new();
        let mut execution = bench.probe(&[
            "clocks",
            "random",
            "env",
            "stat .",
            "stat a.txt",
            "stat sub",
            "put n/o x",
            "mkdir n",
            "put n/o x",
            "stat n",
            "stat n/o",
            "ls .",
            "ls n",
            "grow 1000000",
            "random",
            "clocks",
        ]);
        // The order in which the host's folder was filled, and the host's own names, differ from round to round.
        let mut names = ["a.txt", "b.txt", "sub/c.txt", "z.txt"];
        names.rotate_left(round % 4);
        execution.inputs = names.iter().map(|name| bench.input(name, format!("bytes of {name}"))).collect();
        execution.runs = (0..2).map(|index| bench.item(index, &format!("{}/{index}", "r".repeat(round + 1)))).collect();
        let finished = bench.finish(&execution);
        assert!(finished.runs.iter().all(|run| run.ending == Ending::Exited(0)));
        let root = execution.runs[0].output_dir.parent().unwrap();
        let now = (finished.runs, finished.witness, tree(root));
        match &seen {
            None => seen = Some(now),
            Some(first) => assert_eq!(first, &now, "round {round}"),
        }
    }
}

#[test]
fn the_clock_is_virtual_and_sleeping_costs_nothing() {
    let bench = Bench::new();
    let started = std::time::Instant::now();
    let printed = bench.printed(&bench.probe(&["clocks"; 20]));
    assert!(started.elapsed().as_secs() < 15, "20 naps of 5 s must not be slept");
    let first = printed.lines().next().unwrap();
    assert!(first.starts_with("clocks: 1767225600."), "{first}");
    assert!(first.contains(" later 5."), "{first}");
}

#[test]
fn randomness_follows_from_seed_and_item() {
    let print = |seed: u8, index: u64| {
        let bench = Bench::new();
        let mut execution = bench.probe(&["random"]);
        execution.seed = [seed; 32];
        execution.runs[0].index = index;
        bench.printed(&execution)
    };
    let base = print(1, 0);
    assert_eq!(base, print(1, 0));
    assert_ne!(base, print(2, 0));
    assert_ne!(base, print(1, 1));
}

#[test]
fn the_bits_of_nan_are_canonical() {
    // Each expression makes a NaN whose sign and payload differ between CPUs unless the engine pins them.
    let wat = r#"(module
      (memory (export "memory") 1)
      (func (export "_start")
        (local $zero f64) (local $inf f64)
        (local.set $inf (f64.div (f64.const 1) (local.get $zero)))
        (i64.store (i32.const 0) (i64.reinterpret_f64 (f64.div (local.get $zero) (local.get $zero))))
        (i64.store (i32.const 8) (i64.reinterpret_f64 (f64.sub (local.get $inf) (local.get $inf))))
        (i64.store (i32.const 16) (i64.reinterpret_f64 (f64.sqrt (f64.const -1))))
        (i64.store (i32.const 24) (i64.reinterpret_f64 (f64.add (f64.const -nan:0x8000000000123) (f64.const 1))))
        (if (i64.ne (i64.load (i32.const 0)) (i64.const 0x7ff8000000000000)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 8)) (i64.const 0x7ff8000000000000)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 16)) (i64.const 0x7ff8000000000000)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 24)) (i64.const 0x7ff8000000000000)) (then unreachable))))"#;
    let bench = Bench::new();
    assert_eq!(bench.outcome(&bench.text(wat)).0, Ending::Exited(0));
}

#[test]
fn the_witness_sees_memory_that_no_output_shows() {
    let witness = |value: u32| {
        let bench = Bench::new();
        let wat = format!(
            r#"(module (memory (export "memory") 4)
               (func (export "_start") (i32.store (i32.const 200000) (i32.const {value}))))"#
        );
        bench.finish(&bench.text(&wat)).witness
    };
    assert_eq!(witness(1), witness(1));
    assert_ne!(witness(1), witness(2));
}

#[test]
fn environment_and_arguments_arrive_sorted_and_whole() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["env", "echo a 'b' \u{fc}"]);
    execution.env = vec![("Z".into(), "last".into()), ("A".into(), "first".into())];
    execution.runs[0].env = vec![("Z".into(), "item".into())];
    let expected = "A=first\nIEXEC_IN=/iexec_in\nIEXEC_OUT=/iexec_out\nZ=item\na 'b' \u{fc}\n";
    assert_eq!(bench.printed(&execution), expected);
}
