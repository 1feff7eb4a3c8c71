//! How runs end: results that replicas agree on.

use std::time::Instant;

use gristmill_result::Ending;
use gristmill_sandbox::HostFaultKind;

use crate::bench::{Bench, MIB, tree};

fn ending(wat: &str) -> Ending {
    let bench = Bench::new();
    bench.finish(&bench.text(wat)).runs[0].ending
}

fn start(body: &str) -> String {
    format!(r#"(module (memory (export "memory") 1) (func (export "_start") {body}))"#)
}

#[test]
fn traps_keep_their_code() {
    for (code, body) in [
        (1, "(drop (i32.load (i32.const 65536)))"),
        (6, "(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))"),
        (7, "(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
        (8, "(drop (i32.trunc_f32_s (f32.const nan)))"),
        (9, "unreachable"),
    ] {
        assert_eq!(ending(&start(body)), Ending::Trapped(code), "{body}");
    }
    let table = r#"(module (type $t (func)) (table 2 funcref) (func $f (param i32)) (elem (i32.const 1) $f)
      (func (export "_start") (call_indirect (type $t) (i32.const INDEX))))"#;
    for (code, index) in [(4, "0"), (5, "1"), (3, "2")] {
        assert_eq!(ending(&table.replace("INDEX", index)), Ending::Trapped(code), "{index}");
    }
}

#[test]
fn an_exit_code_is_a_result() {
    let bench = Bench::new();
    for (command, code) in [("exit 0", 0), ("exit 3", 3), ("exit -1", -1), ("exit 255", 255)] {
        std::fs::remove_dir_all(bench.path("out")).ok();
        let (ending, files) = bench.outcome(&bench.probe(&["put kept before", command, "put never after"]));
        assert_eq!(ending, Ending::Exited(code));
        assert_eq!(files["kept"], b"before");
        assert!(!files.contains_key("never"));
    }
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert!(matches!(bench.outcome(&bench.probe(&["abort"])).0, Ending::Trapped(_)));
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    assert!(matches!(bench.outcome(&bench.probe(&["null"])).0, Ending::Trapped(1)));
}

#[test]
fn a_raised_signal_exits_as_in_a_shell() {
    let raise = r#"(module (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
      (func (export "_start") (drop (call $raise (i32.const 6)))))"#;
    assert_eq!(ending(raise), Ending::Exited(134));
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let bench = Bench::new();
    let finished = bench.finish(&bench.text(&start("(loop (br 0))")));
    assert_eq!(finished.runs[0].ending, Ending::OutOfFuel);
    assert_eq!(finished.runs[0].fuel, 2_000_000_000);
    assert_eq!(String::from_utf8(finished.log).unwrap(), "[sandbox] the fuel limit was reached\n");
}

#[test]
fn an_endless_loop_at_instantiation_runs_out_of_fuel() {
    let wat = r#"(module (func $init (loop (br 0))) (start $init) (func (export "_start")))"#;
    assert_eq!(ending(wat), Ending::OutOfFuel);
}

#[test]
fn calls_to_the_host_burn_fuel() {
    // Each call asks for 1 MiB of randomness: 2e9 units of fuel pay for some 2,000 of them, not for millions.
    let wat = r#"(module
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (memory (export "memory") 17)
      (func (export "_start") (loop (drop (call $random (i32.const 0) (i32.const 1048576))) (br 0))))"#;
    let started = Instant::now();
    assert_eq!(ending(wat), Ending::OutOfFuel);
    assert!(started.elapsed().as_secs() < 15);
}

#[test]
fn memory_past_the_cap_ends_the_run() {
    let grow = "(loop (drop (memory.grow (i32.const 16))) (br 0))";
    assert_eq!(ending(&start(grow)), Ending::OutOfMemory);
    // The first instruction does not run when the module begins too large.
    assert_eq!(ending(r#"(module (memory 2000) (func (export "_start") unreachable))"#), Ending::OutOfMemory);
    let bench = Bench::new();
    let finished = bench.finish(&bench.probe(&["put before x", "grow 100000000", "put after x"]));
    assert_eq!(finished.runs[0].ending, Ending::OutOfMemory);
    assert!(finished.runs[0].memory_bytes <= 64 * MIB);
    // Its first line was printed before, as libc does; what came after was not.
    assert_eq!(tree(&bench.path("out")).keys().collect::<Vec<_>>(), ["before", "stdout.txt"]);
}

#[test]
fn growth_past_the_modules_own_maximum_fails_as_webassembly_says() {
    let wat = r#"(module (memory (export "memory") 1 2) (func (export "_start")
      (if (i32.ne (memory.grow (i32.const 5)) (i32.const -1)) (then unreachable))))"#;
    assert_eq!(ending(wat), Ending::Exited(0));
}

#[test]
fn huge_tables_end_the_run() {
    assert_eq!(ending(r#"(module (table 20000000 funcref) (func (export "_start")))"#), Ending::NotRunnable);
    let grow = r#"(module (table $t 1 funcref) (func (export "_start")
      (loop (drop (table.grow $t (ref.null func) (i32.const 100000))) (br 0))))"#;
    assert_eq!(ending(grow), Ending::OutOfMemory);
}

#[test]
fn ten_gigabytes_of_output_stop_at_the_limit() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["blocks big 160000"]);
    execution.limits.fuel = 100_000_000_000;
    let finished = bench.finish(&execution);
    assert_eq!(finished.runs[0].ending, Ending::OutputLimit);
    assert_eq!(finished.runs[0].output_bytes, 4 * MIB);
    assert_eq!(tree(&bench.path("out"))["big"].len() as u64, 4 * MIB);
}

#[test]
fn a_sparse_file_counts_with_its_length() {
    let bench = Bench::new();
    let (ending, files) = bench.outcome(&bench.probe(&["put s x", "truncate s 10000000000"]));
    assert_eq!(ending, Ending::OutputLimit);
    assert_eq!(files["s"], b"x");
}

#[test]
fn a_flood_on_stdout_stops_at_the_limit() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["cat /iexec_in/big"; 10]);
    execution.inputs = vec![bench.input("big", vec![b'z'; MIB as usize])];
    let (ending, files) = bench.outcome(&execution);
    assert_eq!(ending, Ending::OutputLimit);
    assert!(files["stdout.txt"].len() as u64 <= 4 * MIB);
    assert!(files["stdout.txt"].len() as u64 > 3 * MIB);
}

#[test]
fn a_million_files_stop_at_the_limit() {
    let bench = Bench::new();
    let finished = bench.finish(&bench.probe(&["many f 1000000"]));
    assert_eq!(finished.runs[0].ending, Ending::FileLimit);
    assert_eq!(finished.runs[0].output_files, 100);
    assert_eq!(tree(&bench.path("out")).len(), 100);
}

#[test]
fn what_is_removed_is_given_back() {
    let bench = Bench::new();
    let commands: Vec<&str> = ["blocks f 60", "rm f"].into_iter().cycle().take(20).collect();
    let (ending, files) = bench.outcome(&bench.probe(&commands));
    assert_eq!(ending, Ending::Exited(0));
    assert_eq!(files.len(), 1, "only stdout.txt");
}

#[test]
fn output_limits_hold_for_all_items_together() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["blocks f 40"]);
    execution.runs = (0..3).map(|index| bench.item(index, &format!("out/{index}"))).collect();
    let endings: Vec<Ending> = bench.finish(&execution).runs.iter().map(|run| run.ending).collect();
    assert_eq!(endings, [Ending::Exited(0), Ending::OutputLimit, Ending::OutputLimit]);
}

#[test]
fn a_failed_item_does_not_stop_the_others() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["random", "complain I am_here", "null"]);
    execution.runs = (0..3).map(|index| bench.item(index, &format!("out/{index}"))).collect();
    let finished = bench.finish(&execution);
    assert!(finished.runs.iter().all(|run| run.ending == Ending::Trapped(1)));
    let log = String::from_utf8(finished.log).unwrap();
    let piece = "I am_here\n[sandbox] wasm trap: out of bounds memory access\n";
    assert_eq!(log, format!("--- item 0 ---\n{piece}--- item 1 ---\n{piece}--- item 2 ---\n{piece}"));
}

#[test]
fn deep_recursion_is_a_fault_of_the_host() {
    let bench = Bench::new();
    let wat = r#"(module (func $f (param i64) (result i64) (i64.add (call $f (local.get 0)) (local.get 0)))
      (func (export "_start") (drop (call $f (i64.const 1)))))"#;
    assert_eq!(bench.fault(&bench.text(wat)).kind, HostFaultKind::StackOverflow);
}

#[test]
fn the_log_keeps_its_end() {
    let bench = Bench::new();
    let line = format!("complain {} end", "y".repeat(4000));
    let mut commands = vec!["complain first line"];
    commands.extend(std::iter::repeat_n(line.as_str(), 40));
    let finished = bench.finish(&bench.probe(&commands));
    assert_eq!(finished.runs[0].ending, Ending::Exited(0));
    assert!(finished.log.len() <= gristmill_sandbox::LOG_BYTES_MAX && finished.log.len() > 60_000);
    assert!(finished.log.ends_with(b"y end\n") && !finished.log.starts_with(b"first"));
}
