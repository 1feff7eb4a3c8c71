//! Programs that mean harm: each ends as every host says, in time, and leaves no process and no file.

use std::time::{Duration, Instant};

use gristmill_result::Ending;
use gristmill_sandbox::{Control, Execution, Finished, HostFaultKind, Outcome, RunOptions};

use crate::bench::{Bench, MIB, tree};
use crate::host::{marked_bench, processes};

/// How long any of them may take, on a machine that is busy with the other tests.
const IN_TIME: Duration = Duration::from_secs(120);

/// A bench on which a hostile program is let loose.
struct Arena {
    bench: Bench,
    marker: String,
}

impl Arena {
    fn new() -> Self {
        let (bench, marker) = marked_bench();
        Self { bench, marker }
    }

    /// Runs it; afterwards nothing is left but what a result may hold.
    fn run(&self, execution: &Execution) -> Outcome {
        std::fs::remove_dir_all(self.bench.path("out")).ok();
        let started = Instant::now();
        let outcome = self.bench.runner.run(execution, &Control::new()).unwrap();
        assert!(started.elapsed() < IN_TIME, "{:?}", started.elapsed());
        assert!(processes(&self.marker).is_empty(), "no process is left");
        let left = tree(self.bench.dir.path());
        let strange = |name: &&String| {
            let known = name.ends_with(".wasm") || name.ends_with(".cwasm") || name.ends_with('/');
            !(known || name.starts_with("out/") || name.starts_with("given/"))
        };
        assert_eq!(left.keys().find(strange), None, "no file is left");
        if matches!(outcome, Outcome::Finished(_)) {
            assert!(!left.contains_key("out/.gristmill-scratch/"));
        }
        outcome
    }

    #[track_caller]
    fn finish(&self, execution: &Execution) -> Finished {
        match self.run(execution) {
            Outcome::Finished(finished) => finished,
            other => panic!("did not finish: {other:?}"),
        }
    }

    /// The ending of a module in text.
    #[track_caller]
    fn ending(&self, wat: &str) -> Ending {
        self.finish(&self.bench.text(wat)).runs[0].ending
    }

    /// What the log says of a module that no host runs.
    #[track_caller]
    fn refused(&self, wat: &str) -> String {
        let finished = self.finish(&self.bench.text(wat));
        assert_eq!(finished.runs[0].ending, Ending::NotRunnable);
        String::from_utf8(finished.log).unwrap()
    }
}

#[test]
fn a_start_function_that_never_ends_runs_out_of_fuel() {
    let arena = Arena::new();
    for body in [
        "(loop (br 0))",
        "(loop (br_if 0 (i32.const 1)))",
        "(loop (loop (br 1)))",
        "(loop (br_table 0 0 (i32.const 7)))",
    ] {
        let wat = format!(r#"(module (func $init {body}) (start $init) (func (export "_start")))"#);
        assert_eq!(arena.ending(&wat), Ending::OutOfFuel, "{body}");
    }
}

#[test]
fn loops_without_a_loop_run_out_of_fuel() {
    let arena = Arena::new();
    let tail = r#"(module (func $f (return_call $g)) (func $g (return_call $f)) (func (export "_start") (call $f)))"#;
    assert_eq!(arena.ending(tail), Ending::OutOfFuel);
    let indirect = r#"(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)
      (func $f (return_call_indirect (type $t) (i32.const 0))) (func (export "_start") (call $f)))"#;
    assert_eq!(arena.ending(indirect), Ending::OutOfFuel);
}

#[test]
fn deep_recursion_in_any_shape_is_a_fault_of_the_host() {
    let arena = Arena::new();
    let many: String =
        (0..500).map(|local| format!("(local.set {local} (i64.add (local.get {local}) (i64.const 1)))")).collect();
    let used: String = (0..500).map(|local| format!("(local.get {local}) i64.add ")).collect();
    let wide = format!(
        r#"(module (func $f (result i64) (local {}) {many} (call $f) {used}) (func (export "_start") (drop (call $f))))"#,
        "i64 ".repeat(500)
    );
    let mutual = r#"(module (func $f (result i32) (i32.add (call $g) (i32.const 1))) (func $g (result i32) (i32.add (call $f) (i32.const 1)))
      (func (export "_start") (drop (call $f))))"#;
    let in_start = r#"(module (func $f (result i32) (i32.add (call $f) (i32.const 1))) (func $init (drop (call $f))) (start $init)
      (func (export "_start")))"#;
    for wat in [&wide, mutual, in_start] {
        let Outcome::HostFault(fault) = arena.run(&arena.bench.text(wat)) else { panic!("it has no end") };
        assert_eq!(fault.kind, HostFaultKind::StackOverflow);
    }
}

#[test]
fn huge_data_tables_and_memories_end_as_results() {
    let arena = Arena::new();
    let data = format!(
        r#"(module (memory 1) (data (i32.const 0) "{}") (func (export "_start")))"#,
        "x".repeat(30 * MIB as usize)
    );
    assert_eq!(arena.ending(&data), Ending::Trapped(1), "it does not fit into the memory");
    let fits = data.replace("(memory 1)", "(memory 481)");
    assert_eq!(arena.ending(&fits), Ending::Exited(0));
    assert!(arena.refused(r#"(module (table 4000000000 funcref) (func (export "_start")))"#).contains("table"));
    assert!(arena.refused(r#"(module (memory 65537) (func (export "_start")))"#).contains("not a valid module"));
    let tables = "(table 1 funcref)".repeat(101);
    assert!(arena.refused(&format!(r#"(module {tables} (func (export "_start")))"#)).contains("not a valid module"));
    assert_eq!(arena.ending(r#"(module (memory 65536) (func (export "_start")))"#), Ending::OutOfMemory);
    let elements = "$f ".repeat(500_000);
    let wat = format!(
        r#"(module (table 500000 funcref) (elem (i32.const 0) {elements}) (func $f) (func (export "_start")))"#
    );
    assert_eq!(arena.ending(&wat), Ending::Exited(0));
}

#[test]
fn a_function_of_ten_megabytes_is_refused_and_one_of_a_megabyte_compiles() {
    let arena = Arena::new();
    let body = |count: usize| {
        let adds = "(local.set 0 (i64.add (i64.mul (local.get 0) (i64.const 3)) (i64.const 1)))".repeat(count);
        format!(r#"(module (func $f (local i64) {adds}) (func (export "_start") (call $f)))"#)
    };
    assert!(arena.refused(&body(1_000_000)).contains("not a valid module"));
    assert_eq!(arena.ending(&body(100_000)), Ending::Exited(0));
}

#[test]
fn a_hundred_thousand_functions_compile_and_run() {
    let arena = Arena::new();
    // Compiling takes a while; the full number is for those who have it.
    let count = if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { 100_000 } else { 10_000 };
    let functions: String = (0..count).map(|n| format!("(func (result i32) (i32.const {n}))")).collect();
    let wat = format!(r#"(module {functions} (func (export "_start") (drop (call {}))))"#, count - 1);
    assert_eq!(arena.ending(&wat), Ending::Exited(0));
}

#[test]
fn deep_nesting_and_wide_switches_compile_or_are_refused() {
    let arena = Arena::new();
    for depth in [1_000, 30_000] {
        let wat = format!(r#"(module (func (export "_start") {}{}))"#, "block ".repeat(depth), "end ".repeat(depth));
        assert_eq!(arena.ending(&wat), Ending::Exited(0), "{depth} blocks");
    }
    let wide =
        format!(r#"(module (func (export "_start") (block (br_table {} 0 (i32.const 5)))))"#, "0 ".repeat(60_000));
    assert_eq!(arena.ending(&wide), Ending::Exited(0));
    let locals = format!(r#"(module (func (export "_start") (local {})))"#, "i64 ".repeat(60_000));
    assert!(arena.refused(&locals).contains("not a valid module"));
}

#[test]
fn growing_memory_by_any_step_ends_at_the_limit() {
    let arena = Arena::new();
    for step in [1, 7, 1000, 60_000, -1] {
        let wat = format!(
            r#"(module (memory (export "memory") 1) (func (export "_start")
              (loop (drop (memory.grow (i32.const {step}))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))))"#
        );
        assert_eq!(arena.ending(&wat), Ending::OutOfMemory, "{step}");
    }
}

#[test]
fn work_in_bulk_burns_fuel_by_its_size() {
    let arena = Arena::new();
    for bulk in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432))",
        "(memory.copy (i32.const 0) (i32.const 16777216) (i32.const 16777216))",
        "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 900000))",
    ] {
        let wat =
            format!(r#"(module (memory 512) (table 900000 funcref) (func (export "_start") (loop {bulk} (br 0))))"#);
        assert_eq!(arena.ending(&wat), Ending::OutOfFuel, "{bulk}");
    }
}

#[test]
fn a_sleep_of_a_hundred_years_is_over_at_once() {
    let arena = Arena::new();
    // Offset 24 of a subscription is its timeout in nanoseconds; 16 is the clock.
    let wat = r#"(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 3155760000000000000))
        (if (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)) (then unreachable))))"#;
    let started = Instant::now();
    assert_eq!(arena.ending(wat), Ending::Exited(0));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn no_descriptor_but_the_guests_own_is_there() {
    let arena = Arena::new();
    let wat = r#"(module (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") (local $fd i32)
        (local.set $fd (i32.const 6))
        (loop
          (if (i32.ne (call $stat (local.get $fd) (i32.const 0)) (i32.const 8)) (then unreachable))
          (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $fd) (i32.const 20000))))
        (if (i32.ne (call $stat (i32.const -1) (i32.const 0)) (i32.const 8)) (then unreachable))))"#;
    assert_eq!(arena.ending(wat), Ending::Exited(0));
}

#[test]
fn no_way_leads_to_the_hosts_files() {
    let arena = Arena::new();
    let probes = [
        "/etc/shadow",
        "/etc/passwd",
        "/root/.ssh/id_rsa",
        "/proc/self/root/etc/passwd",
        "/proc/1/root/etc/passwd",
        "/proc/self/fd/0",
        "/proc/self/environ",
        "/dev/null",
        "/dev/mem",
        "/sys/kernel",
        "/iexec_in/../etc/passwd",
        "/iexec_out/../../etc/passwd",
        "../etc/passwd",
        "../../../../../../etc/passwd",
        "./../x",
        "//etc/passwd",
    ];
    let commands: Vec<String> =
        probes.iter().flat_map(|path| [format!("cat {path}"), format!("put {path} x")]).collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let execution = arena.bench.probe(&commands);
    let finished = arena.finish(&execution);
    assert_eq!(finished.runs[0].ending, Ending::Exited(0));
    let printed = std::fs::read_to_string(arena.bench.path("out/stdout.txt")).unwrap();
    for line in printed.lines() {
        let refused = ["No such file or directory", "Operation not permitted"].iter().any(|end| line.ends_with(end));
        assert!(refused, "{line}");
    }
    assert_eq!(printed.lines().count(), 2 * probes.len());
}

#[test]
fn names_that_would_harm_a_terminal_or_an_archive_are_refused() {
    let arena = Arena::new();
    let commands: Vec<String> = (1..32u8).chain([127, b'\\']).map(|byte| format!("put a{}b x", byte as char)).collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let mut execution = arena.bench.probe(&commands);
    execution.limits.output_files = 1000;
    arena.finish(&execution);
    let names = tree(&arena.bench.path("out"));
    assert_eq!(names.keys().collect::<Vec<_>>(), ["stdout.txt"]);
}

#[test]
fn sockets_threads_and_processes_cannot_be_asked_for() {
    let arena = Arena::new();
    for (module, name) in [
        ("wasi_snapshot_preview1", "sock_open"),
        ("wasi_snapshot_preview1", "sock_connect"),
        ("wasi_snapshot_preview1", "sock_getaddrinfo"),
        ("wasi", "thread-spawn"),
        ("wasix_32v1", "proc_fork"),
        ("env", "system"),
    ] {
        let wat = format!(r#"(module (import "{module}" "{name}" (func)) (func (export "_start")))"#);
        assert!(arena.refused(&wat).contains(&format!("{module}.{name}")));
    }
    assert!(arena.refused(r#"(module (memory 1 2 shared) (func (export "_start")))"#).contains("not a valid module"));
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn mutated_modules_leave_nothing_behind() {
    let arena = Arena::new();
    let small = wat::parse_str(include_str!("../guests/mixed.wat")).unwrap();
    let probe = include_bytes!("../guests/probe.wasm").to_vec();
    let (mut ran, mut refused) = (0, 0);
    for (original, rounds) in [(small, 300), (probe, 60)] {
        for seed in 1..=rounds {
            let mut numbers = Numbers(seed * 0x9e37_79b9_7f4a_7c15);
            let mut bytes = original.clone();
            for _ in 0..=numbers.below(3) {
                let at = 8 + numbers.below(bytes.len() - 8);
                match numbers.below(24) {
                    0 => bytes.truncate(at.max(9)),
                    1 => bytes.insert(at, numbers.below(256) as u8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes[at] = numbers.below(256) as u8,
                }
                if bytes.len() < 10 {
                    break;
                }
            }
            let mut execution = arena.bench.execution(&bytes);
            execution.limits.fuel = 20_000_000;
            match arena.run(&execution) {
                Outcome::Finished(finished) if finished.runs[0].ending == Ending::NotRunnable => refused += 1,
                Outcome::Finished(_) => ran += 1,
                Outcome::HostFault(fault) if fault.kind == HostFaultKind::StackOverflow => ran += 1,
                other => panic!("seed {seed} of {} bytes: {other:?}", original.len()),
            }
            std::fs::remove_file(&execution.app).unwrap();
        }
    }
    assert!(ran > 20 && refused > 100, "{ran} ran, {refused} were refused");
}

#[test]
fn three_hostile_tasks_do_not_keep_a_fourth_from_finishing() {
    let (bench, marker) = marked_bench();
    let spin = endless(&bench, &["spin"]);
    let grow = bench.text(
        r#"(module (memory 1) (func (export "_start") (loop (drop (memory.grow (i32.const 1)))
          (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536))) (br 0))))"#,
    );
    let flood = endless(&bench, &["blocks big 1000000000"]);
    let honest = bench.probe(&["put answer 42", "random", "cat answer"]);
    let alone = bench.finish(&honest);
    let control = Control::new();
    std::thread::scope(|scope| {
        for (number, hostile) in [spin, grow, flood].into_iter().enumerate() {
            let (bench, control) = (&bench, &control);
            scope.spawn(move || {
                let mut hostile = hostile;
                for round in 0.. {
                    hostile.runs[0].output_dir = bench.path(&format!("hostile/{number}/{round}"));
                    let outcome = bench.runner.run(&hostile, control).unwrap();
                    if outcome == Outcome::Cancelled {
                        return;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        for round in 0..5 {
            let mut honest = honest.clone();
            honest.runs[0].output_dir = bench.path(&format!("honest/{round}"));
            let started = Instant::now();
            let outcome = bench.runner.run_as(&honest, &RunOptions::new(), &Control::new(), &mut |_| {}).unwrap();
            assert_eq!(outcome, Outcome::Finished(alone.clone()));
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        }
        control.cancel();
    });
    assert!(processes(&marker).is_empty());
}

/// A probe with fuel and time without end.
fn endless(bench: &Bench, commands: &[&str]) -> Execution {
    let mut execution = bench.probe(commands);
    execution.limits.fuel = u64::MAX / 4;
    execution.wall_clock = Duration::from_secs(3600);
    execution
}
