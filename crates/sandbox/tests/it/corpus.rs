//! A corpus of what makes programs differ from host to host: each is the same here, or refused, or a fault of the host and never a
//! result.

use std::collections::BTreeSet;
use std::fmt::Write;

use gristmill_result::Ending;
use gristmill_sandbox::{Control, Execution, HostFaultKind, Outcome, Reach, RunOptions};

use crate::bench::{Bench, MIB};
use crate::probes::{portable, profiles, seen};

/// Numbers that probes load, so that no compiler computes with them beforehand: where, how wide, which bits.
const OPERANDS: [(&str, u32, u64); 13] = [
    ("zero", 64, 0),
    ("one", 64, 0x3ff0_0000_0000_0000),
    ("infinity", 64, 0x7ff0_0000_0000_0000),
    ("signalling", 64, 0x7ff4_dead_beef_0001),
    ("negative-nan", 64, 0xfff8_0000_0000_1234),
    ("smallest", 64, 1),
    ("smallest-normal", 64, 0x0010_0000_0000_0000),
    ("near-one", 64, 0x3ff0_0000_0200_0000),
    ("half", 64, 0x3fe0_0000_0000_0000),
    ("signalling-32", 32, 0x7fa0_0001),
    ("zero-32", 32, 0),
    ("near-one-32", 32, 0x3f80_0400),
    ("smallest-normal-32", 32, 0x0080_0000),
];

const NAN: u64 = 0x7ff8_0000_0000_0000;
const NAN_32: u64 = 0x7fc0_0000;
const NEGATIVE: u64 = 1 << 63;

/// So many of [`NUMBERS`] come first and show a NaN.
const SHOW_NAN: usize = 32;
/// What is computed, `$name` being the operand of that name, and its bits: a number of 64 bits, or 32.
const NUMBERS: [(&str, u64); 62] = [
    // The sign of a NaN: processors of Intel and Arm make another one.
    ("(i64.reinterpret_f64 (f64.div $zero $zero))", NAN),
    ("(i64.reinterpret_f64 (f64.sub $infinity $infinity))", NAN),
    ("(i64.reinterpret_f64 (f64.mul $infinity $zero))", NAN),
    ("(i64.reinterpret_f64 (f64.sqrt (f64.neg $one)))", NAN),
    ("(i64.reinterpret_f64 (f64.copysign $one (f64.div $zero $zero)))", 0x3ff0_0000_0000_0000),
    ("(i64.reinterpret_f64 (f64.neg (f64.div $zero $zero)))", NAN | NEGATIVE),
    ("(i64.reinterpret_f64 (f64.abs (f64.neg (f64.div $zero $zero))))", NAN),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.div $zero-32 $zero-32)))", NAN_32),
    // Its payload: whose of two operands, and whether a signalling one is made quiet or another.
    ("(i64.reinterpret_f64 (f64.add $signalling $one))", NAN),
    ("(i64.reinterpret_f64 (f64.add $one $negative-nan))", NAN),
    ("(i64.reinterpret_f64 (f64.add $signalling $negative-nan))", NAN),
    ("(i64.reinterpret_f64 (f64.add $negative-nan $signalling))", NAN),
    ("(i64.reinterpret_f64 (f64.sub $negative-nan $negative-nan))", NAN),
    ("(i64.reinterpret_f64 (f64.min $one $signalling))", NAN),
    ("(i64.reinterpret_f64 (f64.max $negative-nan $one))", NAN),
    ("(i64.reinterpret_f64 (f64.sqrt $signalling))", NAN),
    ("(i64.reinterpret_f64 (f64.floor $signalling))", NAN),
    ("(i64.reinterpret_f64 (f64.ceil $negative-nan))", NAN),
    ("(i64.reinterpret_f64 (f64.trunc $signalling))", NAN),
    ("(i64.reinterpret_f64 (f64.nearest $negative-nan))", NAN),
    // From one width to the other and back.
    ("(i64.reinterpret_f64 (f64.promote_f32 $signalling-32))", NAN),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.demote_f64 $signalling)))", NAN_32),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.demote_f64 $negative-nan)))", NAN_32),
    ("(i64.reinterpret_f64 (f64.promote_f32 (f32.demote_f64 $signalling)))", NAN),
    // What is only moved keeps its bits.
    ("(i64.reinterpret_f64 $signalling)", 0x7ff4_dead_beef_0001),
    ("(i64.reinterpret_f64 (select $negative-nan $one (i32.const 1)))", 0xfff8_0000_0000_1234),
    ("(i64.extend_i32_u (i32.reinterpret_f32 $signalling-32))", 0x7fa0_0001),
    ("(i64.reinterpret_f64 (f64.neg $signalling))", 0xfff4_dead_beef_0001),
    // A NaN that was a vector's.
    ("(i64x2.extract_lane 1 (f64x2.div (f64x2.splat $zero) (f64x2.splat $zero)))", NAN),
    ("(i64x2.extract_lane 0 (f64x2.max (f64x2.splat $signalling) (f64x2.splat $one)))", NAN),
    (
        "(i64.extend_i32_u (i32x4.extract_lane 3 (f32x4.add (f32x4.splat $signalling-32) (f32x4.splat $zero-32))))",
        NAN_32,
    ),
    ("(i64x2.extract_lane 0 (f64x2.promote_low_f32x4 (f32x4.splat $signalling-32)))", NAN),
    // A product and a sum in one step, as some processors can, are rounded once instead of twice: then neither is zero.
    ("(i64.reinterpret_f64 (f64.sub (f64.mul $near-one $near-one) (f64.const 0x1.0000004p0)))", 0),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.sub (f32.mul $near-one-32 $near-one-32) (f32.const 0x1.001p0))))", 0),
    (
        "(i64x2.extract_lane 0 (f64x2.sub (f64x2.mul (f64x2.splat $near-one) (f64x2.splat $near-one)) (f64x2.splat (f64.const 0x1.0000004p0))))",
        0,
    ),
    // The smallest numbers, which a processor can be told to take for zero.
    ("(i64.reinterpret_f64 (f64.mul $smallest $one))", 1),
    ("(i64.reinterpret_f64 (f64.add $smallest $smallest))", 2),
    ("(i64.reinterpret_f64 (f64.mul $smallest-normal $half))", 0x0008_0000_0000_0000),
    ("(i64.reinterpret_f64 (f64.mul $smallest $half))", 0),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.mul $smallest-normal-32 (f32.demote_f64 $half))))", 0x0040_0000),
    // Rounding, to the nearest and of two to the even one, and to no more digits than there are.
    ("(i64.reinterpret_f64 (f64.add (f64.mul $one (f64.const 0.1)) (f64.const 0.2)))", 0x3fd3_3333_3333_3334),
    ("(i64.reinterpret_f64 (f64.nearest (f64.add (f64.const 2) $half)))", 0x4000_0000_0000_0000),
    ("(i64.reinterpret_f64 (f64.nearest (f64.mul (f64.const -0.4) $one)))", NEGATIVE),
    ("(i64.reinterpret_f64 (f64.min $zero (f64.neg $zero)))", NEGATIVE),
    ("(i64.reinterpret_f64 (f64.max (f64.neg $zero) $zero))", 0),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.convert_i64_u (i64.const 0x8000008000000001))))", 0x5f00_0001),
    ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.convert_i64_u (i64.const 0x8000008000000000))))", 0x5f00_0000),
    ("(i64.reinterpret_f64 (f64.convert_i64_u (i64.const -1)))", 0x43f0_0000_0000_0000),
    // What does not fit.
    ("(i64.trunc_sat_f64_s (f64.div $zero $zero))", 0),
    ("(i64.trunc_sat_f64_s $infinity)", i64::MAX as u64),
    ("(i64.trunc_sat_f64_u (f64.neg $infinity))", 0),
    ("(i64.extend_i32_u (i32.trunc_sat_f64_u $infinity))", 0xffff_ffff),
    // Whole numbers at their ends, which instructions of other processors treat otherwise.
    ("(i64.clz (i64.reinterpret_f64 $zero))", 64),
    ("(i64.ctz (i64.reinterpret_f64 $zero))", 64),
    ("(i64.extend_i32_u (i32.clz (i32.reinterpret_f32 $zero-32)))", 32),
    ("(i64.popcnt (i64.reinterpret_f64 $signalling))", 37),
    ("(i64.shl (i64.const 3) (i64.add (i64.reinterpret_f64 $smallest) (i64.const 64)))", 6),
    ("(i64.extend_i32_u (i32.shr_s (i32.const -8) (i32.const 33)))", 0xffff_fffc),
    ("(i64.rotl (i64.const 1) (i64.sub (i64.reinterpret_f64 $zero) (i64.const 1)))", NEGATIVE),
    ("(i64.rem_s (i64.const -9223372036854775808) (i64.sub (i64.reinterpret_f64 $zero) (i64.const 1)))", 0),
    // Growth that the module itself forbids.
    ("(i64.extend_i32_s (memory.grow (i32.const 20)))", u64::MAX),
    ("(i64.extend_i32_s (table.grow (ref.null func) (i32.const 5)))", u64::MAX),
];

/// A module that prints each of these numbers, in eight bytes each.
fn printing(numbers: &[(&str, u64)]) -> String {
    let (mut data, mut body) = (String::new(), String::new());
    for (_, _, bits) in OPERANDS {
        for byte in bits.to_le_bytes() {
            let _ = write!(data, "\\{byte:02x}");
        }
    }
    for (at, (expression, _)) in numbers.iter().enumerate() {
        let mut expression = (*expression).to_owned();
        // The longest name first: one may be another's beginning.
        let mut operands: Vec<_> = OPERANDS.iter().enumerate().collect();
        operands.sort_by_key(|(_, (name, ..))| std::cmp::Reverse(name.len()));
        for (place, (name, width, _)) in operands {
            let load = format!("(f{width}.load (i32.const {}))", place * 8);
            expression = expression.replace(&format!("${name}"), &load);
        }
        let _ = writeln!(body, "(i64.store (i32.const {}) {expression})", 4096 + at * 8);
    }
    let length = numbers.len() * 8;
    format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1 20) (table 1 5 funcref) (data (i32.const 0) "{data}")
          (func (export "_start") {body}
            (i32.store (i32.const 1024) (i32.const 4096)) (i32.store (i32.const 1028) (i32.const {length}))
            (drop (call $write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1032)))))"#
    )
}

/// What a guest printed, as numbers of eight bytes.
fn printed(bench: &Bench) -> Vec<u64> {
    let bytes = std::fs::read(bench.path("out/stdout.txt")).unwrap();
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// Runs it under all portable profiles, in fresh and in used processes, and where no NaN is shown under those of one architecture
/// too; all must see the same, which is returned.
fn same(bench: &Bench, execution: &Execution, shows_nan: bool) -> String {
    let mut all = portable();
    if !shows_nan {
        all.extend(profiles(Reach::SameArchitecture));
    }
    let mut lines = BTreeSet::new();
    for profile in all {
        let options = RunOptions::new().profile(profile);
        lines.insert(seen(bench, execution, options));
        for _ in 0..3 {
            lines.insert(seen(bench, execution, options.reuse([5; 32])));
        }
    }
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.pop_first().unwrap()
}

#[test]
fn numbers_are_those_of_the_specification() {
    let bench = Bench::new();
    let line = same(&bench, &bench.text(&printing(&NUMBERS)), true);
    assert!(line.starts_with("Exited(0) "), "{line}");
    let found = printed(&bench);
    assert_eq!(found.len(), NUMBERS.len());
    for (found, (expression, expected)) in found.iter().zip(NUMBERS) {
        assert_eq!(format!("{found:016x}"), format!("{expected:016x}"), "{expression}");
    }
    // Where NaNs are the processor's, all else is the same still.
    let others = &NUMBERS[SHOW_NAN..];
    same(&bench, &bench.text(&printing(others)), false);
    assert_eq!(printed(&bench), others.iter().map(|(_, bits)| *bits).collect::<Vec<_>>());
}

/// A module of the calls to the host that it needs, whose body leaves numbers at 4096 and prints `length` bytes of them.
fn calling(body: &str, length: u32) -> String {
    let functions = [
        ("clock_res_get", "i32 i32"),
        ("clock_time_get", "i32 i64 i32"),
        ("fd_close", "i32"),
        ("fd_filestat_get", "i32 i32"),
        ("fd_readdir", "i32 i32 i32 i64 i32"),
        ("fd_write", "i32 i32 i32 i32"),
        ("path_filestat_get", "i32 i32 i32 i32 i32"),
        ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
        ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
        ("poll_oneoff", "i32 i32 i32 i32"),
        ("random_get", "i32 i32"),
        ("sched_yield", ""),
    ];
    let imports: String = functions
        .iter()
        .map(|(name, params)| {
            format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) (result i32)))\n")
        })
        .collect();
    format!(
        r#"(module {imports} (memory (export "memory") 1) (data (i32.const 0) "a.txt") (data (i32.const 16) "made")
          (global $to (mut i32) (i32.const 4096))
          (func $keep (param i64)
            (i64.store (global.get $to) (local.get 0)) (global.set $to (i32.add (global.get $to) (i32.const 8))))
          (func $say (param i32) (call $keep (i64.extend_i32_u (local.get 0))))
          (func (export "_start") {body}
            (i32.store (i32.const 1024) (i32.const 4096)) (i32.store (i32.const 1028) (i32.const {length}))
            (drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1032)))))"#
    )
}

/// What a module of [`calling`] printed, which must be the same wherever.
fn called(bench: &Bench, execution: &Execution) -> Vec<u64> {
    let line = same(bench, execution, false);
    assert!(line.starts_with("Exited(0) "), "{line}");
    printed(bench)
}

#[test]
fn clocks_and_naps_are_a_count_of_looks() {
    const BEGIN: u64 = 1_767_225_600_000_000_000;
    let bench = Bench::new();
    let (mut body, mut expected) = (String::new(), Vec::new());
    for clock in 0..5 {
        let _ = writeln!(
            body,
            "(i64.store (i32.const 512) (i64.const 0)) (call $say (call $clock_res_get (i32.const {clock}) (i32.const 512)))"
        );
        let _ = writeln!(body, "(call $keep (i64.load (i32.const 512))) (i64.store (i32.const 512) (i64.const 0))");
        let _ = writeln!(
            body,
            "(call $say (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 512))) (call $keep (i64.load (i32.const 512)))"
        );
        let now = 1000 * (clock + 1) + if clock == 0 { BEGIN } else { 0 };
        // There are four clocks; 28 is EINVAL.
        expected.extend(if clock < 4 { [0, 1000, 0, now] } else { [28, 0, 28, 0] });
    }
    // An hour's sleep by the monotonic clock; then one that waits for a file, which is always ready, or for an hour.
    body += "(i32.store (i32.const 608) (i32.const 0)) (i32.store (i32.const 616) (i32.const 1)) (i64.store (i32.const 624) (i64.const 3600000000000))
      (call $say (call $poll_oneoff (i32.const 600) (i32.const 800) (i32.const 1) (i32.const 520))) (call $say (i32.load (i32.const 520)))
      (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 512))) (call $keep (i64.load (i32.const 512)))
      (i32.store (i32.const 656) (i32.const 2)) (i32.store (i32.const 664) (i32.const 1))
      (call $say (call $poll_oneoff (i32.const 600) (i32.const 800) (i32.const 2) (i32.const 520))) (call $say (i32.load (i32.const 520)))
      (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 512))) (call $keep (i64.load (i32.const 512)))
      (call $say (call $sched_yield))";
    let found = called(&bench, &bench.text(&calling(&body, 27 * 8)));
    assert_eq!(found[..20], expected);
    let [slept, ready] = [found[22], found[25]];
    assert_eq!((found[20], found[21], found[23], found[24], found[26]), (0, 1, 0, 1, 0));
    assert_eq!(slept / 1_000_000_000, 3600, "it slept, in no time");
    assert!(ready - slept < 10_000, "what is ready is not waited for");
}

#[test]
fn randomness_is_the_tasks() {
    let bench = Bench::new();
    let body = "(call $say (call $random_get (i32.const 4104) (i32.const 64))) (global.set $to (i32.const 4168))
      (call $say (call $random_get (i32.const 4176) (i32.const 8)))";
    let mut execution = bench.text(&calling(body, 88));
    let first = called(&bench, &execution);
    assert_eq!((first[0], first[9]), (0, 0));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 10, "nine numbers, and two zeros");
    execution.seed[31] ^= 1;
    assert_ne!(called(&bench, &execution), first);
}

#[test]
fn folders_files_and_their_numbers_are_the_tasks() {
    let bench = Bench::new();
    // The listing of /iexec_in; what is known of a file, twice, times set between; the numbers of descriptors, one used again.
    let body = "(call $say (call $fd_readdir (i32.const 4) (i32.const 8192) (i32.const 512) (i64.const 0) (i32.const 512))) (call $say (i32.load (i32.const 512)))
      (call $say (call $path_filestat_get (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 4120)))
      (global.set $to (i32.const 4184))
      (call $say (call $path_filestat_set_times (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 5) (i64.const 77) (i64.const 78) (i32.const 5)))
      (call $say (call $path_filestat_get (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 4200)))
      (global.set $to (i32.const 4264))
      (call $say (call $path_open (i32.const 5) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 1) (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 512)))
      (call $say (i32.load (i32.const 512))) (call $say (call $fd_close (i32.load (i32.const 512))))
      (call $say (call $path_open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
      (call $say (i32.load (i32.const 512)))
      (call $say (call $fd_filestat_get (i32.load (i32.const 512)) (i32.const 4312))) (global.set $to (i32.const 4376))
      (memory.copy (i32.const 4376) (i32.const 8192) (i32.const 512))";
    let mut execution = bench.text(&calling(body, 4376 + 512 - 4096));
    let mut first: Option<Vec<u64>> = None;
    for round in 0..4 {
        // The host got them in another order each time, and another time long ago.
        let mut names = ["z.txt", "a.txt", "sub/c.txt", "b.txt"];
        names.rotate_left(round);
        execution.inputs = names.iter().map(|name| bench.input(name, format!("bytes of {name}"))).collect();
        for input in &execution.inputs {
            let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 * round as u64);
            let times = std::fs::FileTimes::new().set_modified(date).set_accessed(date);
            std::fs::File::options().write(true).open(&input.host).unwrap().set_times(times).unwrap();
        }
        let found = called(&bench, &execution);
        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{round}");
    }
    let found = first.unwrap();
    let (file, again, opened) = (&found[3..11], &found[13..21], &found[27..35]);
    assert_eq!((file, file), (again, opened), "nothing changes what is known of a file");
    let size = "bytes of a.txt".len() as u64;
    assert_eq!(
        (file[0], file[2], file[3], &file[4..]),
        (1, 4, 1, &[size, 0, 0, 0][..]),
        "device, kind, links, size, times"
    );
    assert_eq!(found[21..27], [0, 6, 0, 0, 6, 0], "the smallest free number");
    let bytes: Vec<u8> = found[35..].iter().flat_map(|word| word.to_le_bytes()).collect();
    let places: Vec<_> = ["a.txt", "b.txt", "sub", "z.txt"]
        .map(|name| bytes.windows(name.len()).position(|window| window == name.as_bytes()))
        .into();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}");
}

#[test]
fn a_run_finds_nothing_of_the_one_before() {
    let bench = Bench::new();
    // It ends if anything is not as a module's text says; then it changes all of it.
    let wat = r#"(module (memory (export "memory") 8 16) (table $t 100 200 funcref) (global $g (mut i64) (i64.const 7))
      (data (i32.const 64) "begin") (data $passive "passive") (elem $spare func $f) (func $f)
      (func (export "_start") (local $at i32)
        (if (i64.ne (global.get $g) (i64.const 7)) (then unreachable))
        (if (i32.ne (memory.size) (i32.const 8)) (then unreachable))
        (if (i32.ne (table.size $t) (i32.const 100)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 98)) (then unreachable))
        (local.set $at (i32.const 72))
        (loop (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
          (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 524288))))
        (local.set $at (i32.const 0))
        (loop (if (i32.eqz (ref.is_null (table.get $t (local.get $at)))) (then unreachable))
          (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 100))))
        (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)) (data.drop $passive)
        (table.init $t $spare (i32.const 5) (i32.const 0) (i32.const 1)) (elem.drop $spare)
        (drop (memory.grow (i32.const 8))) (memory.fill (i32.const 0) (i32.const 255) (i32.const 1048576))
        (drop (table.grow $t (ref.func $f) (i32.const 100))) (table.fill $t (i32.const 0) (ref.func $f) (i32.const 200))
        (global.set $g (i64.const 8))))"#;
    let line = same(&bench, &bench.text(wat), false);
    assert!(line.starts_with("Exited(0) ") && line.contains(" memory 1048576 "), "{line}");
    // Several items in one process, too.
    let mut execution = bench.text(wat);
    execution.runs = (0..20).map(|index| bench.item(index, &format!("items/{index}"))).collect();
    let finished = bench.finish(&execution);
    assert!(finished.runs.iter().all(|run| run.ending == Ending::Exited(0)));
}

#[test]
fn what_goes_past_the_end_of_memory_leaves_no_part_of_itself() {
    let bench = Bench::new();
    // The last eight bytes would fit. What is written is in the code or in what was never in memory: if nothing of it was written,
    // the memories at the end are the same, and so are the witnesses.
    for body in [
        "(v128.store (i32.const 65528) (i8x16.splat (i32.const BYTE)))",
        "(i64.store (i32.const 65532) (i64.const BYTE))",
        "(memory.fill (i32.const 65500) (i32.const BYTE) (i32.const 100))",
        "(memory.init $passive (i32.const 65530) (i32.const 0) (i32.const 10))",
    ] {
        let wat = format!(
            r#"(module (memory (export "memory") 1) (data $passive "\BYTE\BYTE\BYTE\BYTE\BYTE\BYTE\BYTE\BYTE\BYTE\BYTE")
               (func (export "_start") {body}))"#
        );
        let [one, other] = ["17", "86"].map(|byte| same(&bench, &bench.text(&wat.replace("BYTE", byte)), false));
        assert_eq!(one, other, "{body}");
        assert!(one.starts_with("Trapped(1) "), "{one}");
    }
}

#[test]
fn the_ends_of_memory_tables_and_stack_are_caught() {
    let bench = Bench::new();
    // What the deal grants is a result, after the same fuel.
    for (name, wat) in [
        ("memory", r#"(module (memory 1) (func (export "_start") (loop (drop (memory.grow (i32.const 1))) (br 0))))"#),
        (
            "table",
            r#"(module (table 1 funcref) (func (export "_start") (loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0))))"#,
        ),
        ("a memory that begins too large", r#"(module (memory 2000) (func (export "_start")))"#),
    ] {
        let mut execution = bench.text(wat);
        execution.limits.memory_bytes = 16 * MIB;
        let line = same(&bench, &execution, false);
        assert!(line.starts_with("OutOfMemory "), "{name}: {line}");
    }
    // How deep the stack is depends on the code that was made: no result, whatever the guest found out on its way.
    let deep = |depth: &str| {
        format!(
            r#"(module (memory (export "memory") 1) (func $down (param i32) (result i32)
              (i32.store (i32.const 0) (local.get 0))
              (if (result i32) (i32.lt_u (local.get 0) (i32.const {depth})) (then (i32.add (i32.const 1) (call $down (i32.add (local.get 0) (i32.const 1))))) (else (i32.const 0))))
              (func (export "_start") (if (i32.ne (call $down (i32.const 0)) (i32.const {depth})) (then unreachable))))"#
        )
    };
    let line = same(&bench, &bench.text(&deep("10000")), false);
    assert!(line.starts_with("Exited(0) "), "{line}");
    for profile in portable() {
        std::fs::remove_dir_all(bench.path("out")).ok();
        let options = RunOptions::new().profile(profile);
        let outcome =
            bench.runner.run_as(&bench.text(&deep("100000000")), &options, &Control::new(), &mut |_| {}).unwrap();
        assert!(
            matches!(&outcome, Outcome::HostFault(fault) if fault.kind == HostFaultKind::StackOverflow),
            "{outcome:?}"
        );
    }
}

/// Instructions whose result may differ from processor to processor, all that there are.
const RELAXED: [(&str, usize); 20] = [
    ("i8x16.relaxed_swizzle", 2),
    ("i32x4.relaxed_trunc_f32x4_s", 1),
    ("i32x4.relaxed_trunc_f32x4_u", 1),
    ("i32x4.relaxed_trunc_f64x2_s_zero", 1),
    ("i32x4.relaxed_trunc_f64x2_u_zero", 1),
    ("f32x4.relaxed_madd", 3),
    ("f32x4.relaxed_nmadd", 3),
    ("f64x2.relaxed_madd", 3),
    ("f64x2.relaxed_nmadd", 3),
    ("i8x16.relaxed_laneselect", 3),
    ("i16x8.relaxed_laneselect", 3),
    ("i32x4.relaxed_laneselect", 3),
    ("i64x2.relaxed_laneselect", 3),
    ("f32x4.relaxed_min", 2),
    ("f32x4.relaxed_max", 2),
    ("f64x2.relaxed_min", 2),
    ("f64x2.relaxed_max", 2),
    ("i16x8.relaxed_q15mulr_s", 2),
    ("i16x8.relaxed_dot_i8x16_i7x16_s", 2),
    ("i32x4.relaxed_dot_i8x16_i7x16_add_s", 3),
];

#[test]
fn what_cannot_be_made_the_same_is_refused() {
    let bench = Bench::new();
    let start = |body: &str| format!(r#"(module (memory 1) (func (export "_start") {body}))"#);
    let mut modules: Vec<String> = RELAXED
        .iter()
        .map(|(name, operands)| start(&format!("(drop ({name} {}))", "(v128.const i64x2 1 2) ".repeat(*operands))))
        .collect();
    // Threads: whose turn it is, is nobody's to say.
    modules.extend(
        [
            "(drop (i32.atomic.load (i32.const 0)))",
            "(i64.atomic.store (i32.const 0) (i64.const 1))",
            "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))",
            "(drop (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 1) (i32.const 2)))",
            "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))",
            "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1)))",
            "(atomic.fence)",
        ]
        .map(start),
    );
    modules.extend(
        [
            r#"(module (memory 1 2 shared) (func (export "_start")))"#,
            r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32))) (func (export "_start")))"#,
            // Clocks and randomness under other names.
            r#"(module (import "env" "emscripten_get_now" (func (result f64))) (func (export "_start")))"#,
            r#"(module (import "wasi_unstable" "random_get" (func (param i32 i32) (result i32))) (func (export "_start")))"#,
            r#"(module (import "wasi_snapshot_preview1" "clock_now" (func (result i64))) (func (export "_start")))"#,
            // Memories and calls whose cost or bounds would depend on the engine.
            r#"(module (memory i64 1) (func (export "_start")))"#,
            r#"(module (memory 1) (memory 1) (func (export "_start")))"#,
            r#"(module (memory 1 (pagesize 1)) (func (export "_start")))"#,
            r#"(module (type $s (struct (field i32))) (func (export "_start") (drop (struct.new $s (i32.const 1)))))"#,
            r#"(module (tag $t) (func (export "_start") (throw $t)))"#,
        ]
        .map(str::to_owned),
    );
    for wat in modules {
        for profile in portable() {
            std::fs::remove_dir_all(bench.path("out")).ok();
            let options = RunOptions::new().profile(profile);
            let Outcome::Finished(finished) =
                bench.runner.run_as(&bench.text(&wat), &options, &Control::new(), &mut |_| {}).unwrap()
            else {
                panic!("{wat}")
            };
            assert_eq!(finished.runs[0].ending, Ending::NotRunnable, "{wat}");
            assert_eq!(finished.runs[0].fuel, 0, "{wat}");
        }
    }
}

/// That the corpus can fail: NaNs of this processor are not canonical where nobody makes them so.
#[test]
fn without_the_portable_profile_the_probes_do_see_this_processor() {
    let bench = Bench::new();
    let sign = bench.text(&printing(&NUMBERS[..1]));
    let mut found = BTreeSet::new();
    for profile in profiles(Reach::SameArchitecture) {
        seen(&bench, &sign, RunOptions::new().profile(profile));
        found.insert(printed(&bench)[0]);
    }
    assert_eq!(found.len(), 1, "the same on all of one architecture");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(found.pop_first(), Some(NAN | NEGATIVE), "x86 makes the negative one");
    }
}
