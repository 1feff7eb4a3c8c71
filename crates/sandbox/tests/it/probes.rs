//! What programs can find out about their host, and do not: probes for everything that could differ between two of them.

use std::fmt::Write;

use gristmill_result::Ending;
use gristmill_sandbox::{Control, CpuFeatures, EngineProfile, Execution, Finished, Outcome, Reach, RunOptions};

use crate::bench::{Bench, tree};

/// Numbers on which floating-point operations differ between processors, as bits of f64.
const NUMBERS: [u64; 10] = [
    0x0000_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    0xc004_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_1234,
    0x7ff4_dead_beef_0001,
    0x41e0_0000_0020_0000,
];
const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
/// Scalar operations whose NaN is made by arithmetic.
const BINARY: [&str; 6] = ["add", "sub", "mul", "div", "min", "max"];
const UNARY: [&str; 5] = ["sqrt", "ceil", "floor", "trunc", "nearest"];
/// Operations over vectors.
const VECTOR: [&str; 20] = [
    "f64x2.add",
    "f64x2.sub",
    "f64x2.mul",
    "f64x2.div",
    "f64x2.min",
    "f64x2.max",
    "f64x2.pmin",
    "f64x2.pmax",
    "f32x4.add",
    "f32x4.sub",
    "f32x4.mul",
    "f32x4.div",
    "f32x4.min",
    "f32x4.max",
    "f32x4.pmin",
    "f32x4.pmax",
    "i16x8.q15mulr_sat_s",
    "i8x16.avgr_u",
    "i8x16.swizzle",
    "i32x4.dot_i16x8_s",
];
const VECTOR_OF_ONE: [&str; 8] = [
    "f64x2.sqrt",
    "f32x4.sqrt",
    "f64x2.nearest",
    "f32x4.demote_f64x2_zero",
    "f64x2.promote_low_f32x4",
    "i32x4.trunc_sat_f32x4_s",
    "i32x4.trunc_sat_f64x2_u_zero",
    "f64x2.abs",
];

/// A module that applies every operation to all pairs of [`NUMBERS`] and prints the bits: first those of scalar arithmetic, then
/// the others.
fn numbers_module() -> (Vec<u8>, usize) {
    let data: String = NUMBERS.iter().flat_map(|number| number.to_le_bytes()).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    let (a, b) = ("(f64.load (local.get $a))", "(f64.load (local.get $b))");
    let (va, vb) = ("(f64x2.splat (f64.load (local.get $a)))", "(f64x2.splat (f64.load (local.get $b)))");
    let keep = |store: &str, value: &str, bytes: u32| {
        format!("({store} (local.get $to) {value}) (local.set $to (i32.add (local.get $to) (i32.const {bytes})))\n")
    };
    let mut scalar = String::new();
    for op in BINARY {
        scalar += &keep("f64.store", &format!("(f64.{op} {a} {b})"), 8);
        let narrow = format!("(f32.{op} (f32.demote_f64 {a}) (f32.demote_f64 {b}))");
        scalar += &keep("f64.store", &format!("(f64.promote_f32 {narrow})"), 8);
        // Through a local, a block, a global, a call and a select, as compilers would.
        scalar += &format!("(local.set $x (f64.{op} {a} {b}))");
        scalar += &keep("i64.store", "(i64.reinterpret_f64 (call $same (block (result f64) (local.get $x))))", 8);
        scalar += &format!("(global.set $g (select (f64.{op} {a} {b}) (local.get $x) (local.get $to)))");
        scalar += &keep("f64.store", "(f64.add (global.get $g) (f64.const 0))", 8);
    }
    for op in UNARY {
        scalar += &keep("f64.store", &format!("(f64.{op} {a})"), 8);
    }
    let mut other = String::new();
    other += &keep("f64.store", &format!("(f64.copysign {a} (f64.sub {b} {b}))"), 8);
    other += &keep("f64.store", &format!("(f64.neg (f64.mul {a} {b}))"), 8);
    other += &keep("f64.store", &format!("(f64.abs (f64.mul {a} {b}))"), 8);
    other += &keep("i64.store", &format!("(i64.trunc_sat_f64_s (f64.mul {a} {b}))"), 8);
    other += &keep("f64.store", a, 8);
    for op in VECTOR {
        other += &keep("v128.store", &format!("({op} {va} {vb})"), 16);
    }
    for op in VECTOR_OF_ONE {
        other += &keep("v128.store", &format!("({op} {va})"), 16);
    }
    let end = NUMBERS.len() * 8;
    let loops = |body: &str| {
        format!(
            "(local.set $a (i32.const 0)) (loop $as (local.set $b (i32.const 0)) (loop $bs {body}
              (br_if $bs (i32.lt_u (local.tee $b (i32.add (local.get $b) (i32.const 8))) (i32.const {end}))))
              (br_if $as (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 8))) (i32.const {end}))))"
        )
    };
    let wat = format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 16) (data (i32.const 0) "{data}") (global $g (mut f64) (f64.const 0))
          (func $same (param f64) (result f64) (local.get 0))
          (func (export "_start") (local $a i32) (local $b i32) (local $to i32) (local $x f64)
            (local.set $to (i32.const 4096))
            {} {}
            (i32.store (i32.const 1024) (i32.const 4096))
            (i32.store (i32.const 1028) (i32.sub (local.get $to) (i32.const 4096)))
            (drop (call $write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1032)))))"#,
        loops(&scalar),
        loops(&other)
    );
    let scalars = NUMBERS.len().pow(2) * (BINARY.len() * 4 + UNARY.len());
    (wat::parse_str(wat).unwrap(), scalars)
}

/// Which operation made the word at this place.
fn operation(at: usize, scalars: usize) -> &'static str {
    let Some(at) = at.checked_sub(scalars) else { return "a scalar one" };
    let vectors: Vec<&str> = VECTOR.into_iter().chain(VECTOR_OF_ONE).collect();
    (at % (5 + 2 * vectors.len())).checked_sub(5).map_or("a scalar one of the second loop", |at| vectors[at / 2])
}

/// Clocks, randomness, folders, inodes, limits: what the C probe looks at.
const LOOKS: [&str; 18] = [
    "clocks",
    "random",
    "env",
    "ls .",
    "ls /iexec_in",
    "stat .",
    "stat a.txt",
    "stat sub/c.txt",
    "put n/o x",
    "mkdir n",
    "put n/o x",
    "stat n/o",
    "ls n",
    "polls",
    "seeks s",
    "random",
    "clocks",
    "grow 100000000",
];

/// An execution of what the C probe sees; it ends at the memory limit, as everywhere.
pub fn looks(bench: &Bench) -> Execution {
    let mut execution = bench.probe(&LOOKS);
    let names = ["sub/c.txt", "a.txt", "b.txt", "z.txt"];
    execution.inputs = names.iter().map(|name| bench.input(name, format!("bytes of {name}"))).collect();
    execution
}

pub fn numbers(bench: &Bench) -> (Execution, usize) {
    let (module, scalars) = numbers_module();
    (bench.execution(&module), scalars)
}

fn run(bench: &Bench, execution: &Execution, options: RunOptions) -> Finished {
    std::fs::remove_dir_all(bench.path("out")).ok();
    match bench.runner.run_as(execution, &options, &Control::new(), &mut |_| {}).unwrap() {
        Outcome::Finished(finished) => finished,
        other => panic!("did not finish: {other:?}"),
    }
}

/// All that replicas compare, in one line.
pub fn seen(bench: &Bench, execution: &Execution, options: RunOptions) -> String {
    let finished = run(bench, execution, options);
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in tree(&bench.path("out")) {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    let report = &finished.runs[0];
    let digest = hasher.finalize().to_hex();
    format!(
        "{:?} fuel {} memory {} witness {} digest {digest}",
        report.ending, report.fuel, report.memory_bytes, finished.witness
    )
}

/// The portable profile on this processor, and as on one without anything newer than 2003.
pub fn portable() -> Vec<EngineProfile> {
    profiles(Reach::Portable)
}

/// All that this host runs for those who have to agree.
pub fn profiles(reach: Reach) -> Vec<EngineProfile> {
    let all = [CpuFeatures::X86_64V3, CpuFeatures::X86_64, CpuFeatures::Other];
    let all = all.map(|cpu| EngineProfile { reach, cpu });
    all.into_iter().filter(|profile| profile.supported().is_ok()).collect()
}

#[test]
fn no_number_depends_on_the_processors_features() {
    let bench = Bench::new();
    let (execution, scalars) = numbers(&bench);
    let mut first = None;
    for profile in portable() {
        let finished = run(&bench, &execution, RunOptions::new().profile(profile));
        assert_eq!(finished.runs[0].ending, Ending::Exited(0));
        let bits = std::fs::read(bench.path("out/stdout.txt")).unwrap();
        let words: Vec<u64> = bits.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let nans = words[..scalars].iter().filter(|word| **word & (i64::MAX as u64) > 0x7ff0_0000_0000_0000);
        assert!(nans.clone().count() > 500);
        assert_eq!(nans.clone().find(|word| **word != CANONICAL), None, "arithmetic makes the canonical NaN only");
        let stored = words.iter().filter(|word| **word == 0x7ff4_dead_beef_0001).count();
        assert!(stored >= NUMBERS.len(), "what is only moved keeps its bits");
        let same = &first.get_or_insert((words.clone(), finished.runs.clone(), finished.witness)).0;
        let differ = (0..words.len()).filter(|at| words[*at] != same[*at]);
        let differ: std::collections::BTreeSet<&str> = differ.map(|at| operation(at, scalars)).collect();
        assert!(differ.is_empty(), "{profile} differs in {differ:?}");
        assert_eq!(
            first.as_ref().map(|first| (&first.1, first.2)),
            Some((&finished.runs, finished.witness)),
            "{profile}"
        );
    }
}

#[test]
fn a_memory_that_cannot_grow_looks_the_same_everywhere() {
    let bench = Bench::new();
    // Past the module's own maximum WebAssembly says -1; past the deal's the run ends.
    let wat = r#"(module (memory (export "memory") 1 40) (func (export "_start") (local $n i32)
      (loop (local.set $n (memory.grow (i32.const 1)))
        (i32.store (i32.mul (memory.size) (i32.const 8)) (local.get $n))
        (br_if 0 (i32.ne (local.get $n) (i32.const -1))))))"#;
    let execution = bench.text(wat);
    let lines: Vec<String> =
        portable().into_iter().map(|profile| seen(&bench, &execution, RunOptions::new().profile(profile))).collect();
    assert!(
        lines.iter().all(|line| line == &lines[0] && line.starts_with("Exited(0)") && line.contains("memory 2621440"))
    );
}

#[test]
fn instructions_whose_results_may_differ_are_refused() {
    let bench = Bench::new();
    for body in [
        "(f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))",
        "(f64x2.relaxed_min (v128.const i64x2 0 0) (v128.const i64x2 0 0))",
        "(i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))",
    ] {
        let finished = bench.finish(&bench.text(&format!(r#"(module (func (export "_start") (drop {body})))"#)));
        assert_eq!(finished.runs[0].ending, Ending::NotRunnable, "{body}");
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
}
