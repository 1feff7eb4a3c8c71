//! What is added computes what it should, and nothing else.

use wasmtime::{Config, Engine, Instance, Store};

use super::*;

fn instrumented(wat: &str, reach: Reach) -> Vec<u8> {
    let module = wat::parse_str(wat).unwrap();
    let out = instrument(&module, reach).unwrap();
    wasmparser::Validator::new().validate_all(&out).unwrap_or_else(|error| panic!("{error}: {wat}"));
    out
}

fn count(module: &[u8], wanted: impl Fn(&Operator<'_>) -> bool) -> usize {
    let bodies = Parser::new(0).parse_all(module).filter_map(|payload| match payload.unwrap() {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    bodies
        .flat_map(|body| body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>())
        .filter(|op| wanted(op))
        .count()
}

/// Numbers that are made canonical.
fn canonicalised(body: &str) -> usize {
    let wat = format!(
        r#"(module (memory 1) (global $g (mut f64) (f64.const 0)) (func $f (param f64) (result f64) local.get 0)
        (func (export "_start") (local $x f64) (local $y f64) (local $v v128) {body}))"#
    );
    let constant = |op: &Operator<'_>| match op {
        Operator::F64Const { value } => value.bits() == NAN_64,
        Operator::V128Const { .. } => true,
        _ => false,
    };
    let (portable, same) = (instrumented(&wat, Reach::Portable), instrumented(&wat, Reach::SameArchitecture));
    count(&portable, constant) - count(&same, constant)
}

#[test]
fn only_what_somebody_may_look_at_is_made_canonical() {
    let sum = "(f64.add (local.get $x) (local.get $y))";
    for (body, expected) in [
        (format!("(drop {sum})"), 0),
        (format!("(drop (f64.mul {sum} {sum}))"), 0),
        (format!("(drop (f64.lt {sum} {sum}))"), 0),
        (format!("(drop (i32.trunc_sat_f64_s {sum}))"), 0),
        (format!("(f64.store (i32.const 0) {sum})"), 1),
        (format!("(f64.store (i32.const 0) (f64.mul {sum} {sum}))"), 1),
        ("(f64.store (i32.const 0) (local.get $x))".to_owned(), 0),
        (format!("(drop (i64.reinterpret_f64 {sum}))"), 1),
        (format!("(drop (f64.neg {sum}))"), 1),
        (format!("(drop (f64.abs {sum}))"), 1),
        (format!("(drop (f64.copysign {sum} {sum}))"), 2),
        (format!("(drop (select {sum} {sum} (i32.const 1)))"), 2),
        (format!("(global.set $g {sum})"), 1),
        (format!("(drop (call $f {sum}))"), 1),
        (format!("(drop (block (result f64) {sum}))"), 1),
        // Through locals that only arithmetic reads, round and round.
        (format!("(loop (local.set $x {sum}) (local.set $y (local.get $x)) (br_if 0 (f64.lt (local.get $y) (f64.const 9))))"), 0),
        // The same, with one who looks.
        (format!("(loop (local.set $x {sum}) (local.set $y (local.get $x)) (br_if 0 (f64.lt (local.get $y) (f64.const 9))))
          (f64.store (i32.const 0) (local.get $y))"), 1),
        (format!("(f64.store (i32.const 0) (local.tee $x {sum}))"), 1),
        (format!("(drop (f64.mul (local.tee $x {sum}) (f64.const 2))) (f64.store (i32.const 0) (local.get $x))"), 1),
        ("(local.set $v (f64x2.add (local.get $v) (local.get $v)))".to_owned(), 1),
        ("(drop (f64x2.mul (f64x2.add (local.get $v) (local.get $v)) (local.get $v)))".to_owned(), 0),
        ("(drop (f32x4.mul (f64x2.add (local.get $v) (local.get $v)) (local.get $v)))".to_owned(), 1),
        (format!("(br 0) (f64.store (i32.const 0) {sum})"), 0),
    ] {
        assert_eq!(canonicalised(&body), expected, "{body}");
    }
}

#[test]
fn every_function_and_every_loop_is_charged() {
    let wat = r#"(module (func $a) (func $b (loop (br 0)))
      (func (export "_start") (local i32) (block (loop (br_if 1 (local.get 0)) (loop (br_if 0 (local.get 0))) (br 0)))))"#;
    let out = instrumented(wat, Reach::SameArchitecture);
    assert_eq!(count(&out, |op| matches!(op, Operator::I64Sub)), 3 + 3);
}

#[test]
fn long_stretches_that_may_be_skipped_are_charged_on_their_own_and_short_ones_are_not() {
    let charges = |length: usize| {
        let arm = "(local.set 0 (i32.const 1))".repeat(length);
        let wat =
            format!(r#"(module (func (export "_start") (local i32) (if (local.get 0) (then {arm}) (else {arm}))))"#);
        count(&instrumented(&wat, Reach::SameArchitecture), |op| matches!(op, Operator::I64Sub))
    };
    assert_eq!(charges(3), 1, "with the function");
    assert_eq!(charges(100), 3, "each arm for itself");
}

#[test]
fn a_module_that_exports_our_names_is_refused() {
    let wat = r#"(module (func (export "gristmill-fuel")) (func (export "_start")))"#;
    assert!(instrument(&wat::parse_str(wat).unwrap(), Reach::Portable).unwrap_err().contains("sandbox's own"));
}

#[test]
fn real_modules_stay_valid() {
    for module in
        [&include_bytes!("../../tests/guests/probe.wasm")[..], include_bytes!("../../benches/kernels/kernels.wasm")]
    {
        for reach in [Reach::Portable, Reach::SameArchitecture] {
            let out = instrument(module, reach).unwrap();
            wasmparser::Validator::new().validate_all(&out).unwrap();
        }
    }
}

/// Programs of numbers that follow from a seed: statements over four locals, with loops, branches, calls and bits.
struct Programs(u64);

impl Programs {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn local(&mut self) -> String {
        format!("$x{}", self.below(4))
    }

    fn number(&mut self, depth: u64) -> String {
        if depth == 0 {
            return match self.below(4) {
                0 => "(f64.const inf)".to_owned(),
                1 => format!(
                    "(f64.reinterpret_i64 (i64.const {}))",
                    [-2i64, 0x7ff4_0000_0000_0001, 0x4000_0000_0000_0000][self.below(3) as usize]
                ),
                _ => format!("(local.get {})", self.local()),
            };
        }
        let (a, b) = (self.number(depth - 1), self.number(depth - 1));
        match self.below(13) {
            0 => format!("(f64.add {a} {b})"),
            1 => format!("(f64.sub {a} {b})"),
            2 => format!("(f64.mul {a} {b})"),
            3 => format!("(f64.div {a} {b})"),
            4 => format!("(f64.min {a} {b})"),
            5 => format!("(f64.sqrt {a})"),
            6 => format!("(f64.neg {a})"),
            7 => format!("(f64.copysign {a} {b})"),
            8 => format!("(select {a} {b} (f64.lt {a} {b}))"),
            9 => format!("(f64.promote_f32 (f32.demote_f64 {a}))"),
            10 => format!("(local.tee {} {a})", self.local()),
            11 => format!("(call $same {a})"),
            _ => format!("(if (result f64) (f64.eq {a} {b}) (then {a}) (else {b}))"),
        }
    }

    fn statement(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 4 } else { 7 }) {
            0 => format!("(f64.store (i32.const {}) {})", self.below(64) * 8, self.number(2)),
            1 => format!("(i64.store (i32.const {}) (i64.reinterpret_f64 {}))", self.below(64) * 8, self.number(2)),
            2 => format!(
                "(global.set $g (f64x2.extract_lane 1 (f64x2.mul (f64x2.splat {}) (f64x2.splat (global.get $g)))))",
                self.number(1)
            ),
            3 => format!("(local.set {} {})", self.local(), self.number(2)),
            4 => format!(
                "(if (f64.gt {} {}) (then {}) (else {}))",
                self.number(1),
                self.number(1),
                self.statement(depth - 1),
                self.statement(depth - 1)
            ),
            5 => format!(
                "(local.set $n (i32.const 0)) (loop {} {} (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5))))",
                self.statement(0),
                self.statement(0)
            ),
            _ => format!(
                "(block (br_if 0 (f64.ne {} {})) {})",
                self.number(1),
                self.number(1),
                self.statement(depth - 1)
            ),
        }
    }

    fn module(&mut self) -> String {
        let body: String = (0..12).map(|_| self.statement(2)).collect();
        format!(
            r#"(module (memory (export "memory") 1) (global $g (mut f64) (f64.const nan:0x4000000000001))
            (func $same (param f64) (result f64) local.get 0)
            (func (export "_start") (local $x0 f64) (local $x1 f64) (local $x2 f64) (local $x3 f64) (local $n i32) {body}
              (f64.store (i32.const 1000) (local.get $x0)) (f64.store (i32.const 1008) (global.get $g))))"#
        )
    }
}

/// The memory that a module leaves.
fn memory_after(engine: &Engine, module: &[u8]) -> Vec<u8> {
    let module = wasmtime::Module::new(engine, module).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    if let Some(fuel) = instance.get_global(&mut store, FUEL_EXPORT) {
        fuel.set(&mut store, wasmtime::Val::I64(1 << 40)).unwrap();
    }
    instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap().call(&mut store, ()).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    memory.data(&store)[..1024].to_vec()
}

#[test]
fn the_outcome_is_as_if_every_number_had_been_made_canonical_at_once() {
    let plain = Engine::default();
    let eager = Engine::new(Config::new().cranelift_nan_canonicalization(true)).unwrap();
    let mut without = 0;
    for seed in 1..=150u64 {
        let wat = Programs(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).module();
        let module = wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}"));
        let expected = memory_after(&eager, &module);
        let portable = memory_after(&plain, &instrument(&module, Reach::Portable).unwrap());
        assert!(portable == expected, "seed {seed}: {wat}");
        without +=
            usize::from(memory_after(&plain, &instrument(&module, Reach::SameArchitecture).unwrap()) != expected);
    }
    assert!(without > 10, "{without}: the programs make NaNs that differ");
}
