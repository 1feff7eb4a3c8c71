//! Hostile modules, in this process, so that a panic of ours is seen as one.

use std::path::Path;
use std::sync::LazyLock;

use gristmill_types::{Reach, ResourceLimits};
use proptest::prelude::*;
use wasmtime::{Extern, ExternType, Module, Val, ValType};

use super::*;
use crate::module;
use crate::profile::EngineProfile;
use crate::vfs::tests::Local;

const GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (global $g (mut i32) (i32.const 3))
  (elem (i32.const 1) $work)
  (data (i32.const 16) "some file name")
  (func $work (param i32) (result i32)
    (local $i i32)
    (block (loop
      (br_if 1 (i32.ge_u (local.get $i) (i32.const 40)))
      (i32.store (i32.mul (local.get $i) (i32.const 4)) (local.get $i))
      (local.set $i (i32.add (local.get $i) (global.get $g)))
      (br 0)))
    (memory.grow (i32.const 1)))
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 14))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $open (i32.const 5) (i32.const 0) (i32.const 16) (i32.const 14) (i32.const 9)
      (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
    (drop (call $random (i32.const 100) (i32.const 200)))
    (drop (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 1)))))"#;

thread_local! {
    // An engine has room for one guest at a time.
    static ENGINE: Engine = crate::engine::compiler(EngineProfile::default()).unwrap();
}

fn engine() -> Engine {
    ENGINE.with(Engine::clone)
}

static GUEST_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| wat::parse_str(GUEST).unwrap());

fn task(fuel: u64) -> Task {
    Task {
        args: vec!["one".into()],
        env: vec![],
        seed: [0; 32],
        limits: ResourceLimits { fuel, memory_bytes: 1 << 20, output_bytes: 1 << 16, output_files: 8 },
        cpu_s: 10,
        items: 1,
        inputs: vec![],
    }
}

const ITEM: Item = Item { index: 0, env: vec![], inputs: vec![] };

/// The guest of this module, with outputs in a folder.
fn guests<'a>(task: &'a Task, engine: &Engine, module: &Module, dir: &Path) -> Guests<'a> {
    let start = module::linker(engine).unwrap().instantiate_pre(module).unwrap();
    Guests::new(task, engine.clone(), start, Local::new(&[], dir).0).unwrap()
}

/// Compiles and, if it is a module, runs; false when it is none. Faults of the host may only be deep stacks.
fn survive(engine: &Engine, bytes: &[u8]) -> bool {
    let Ok(compiled) = module::compile(engine, Reach::Portable, bytes) else { return false };
    // SAFETY: the engine made these bytes a line ago.
    let module = unsafe { Module::deserialize(engine, &compiled) }.unwrap();
    let dir = tempfile::tempdir().unwrap();
    match guests(&task(3_000_000), engine, &module, dir.path()).run(&ITEM, &mut &[][..]) {
        Ok(_) => {}
        Err(fault) => assert_eq!(fault.kind, HostFaultKind::StackOverflow, "{fault}"),
    }
    true
}

#[test]
fn the_guest_that_is_mutated_runs_as_it_is() {
    assert!(survive(&engine(), &GUEST_BYTES));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_modules_never_panic_or_hang(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let mut bytes = GUEST_BYTES.clone();
        for (at, byte) in changes {
            let at = 8 + usize::from(at) % (bytes.len() - 8);
            bytes[at] = byte;
        }
        survive(&engine(), &bytes);
    }

    #[test]
    fn truncated_modules_never_panic_or_hang(at in any::<u16>()) {
        survive(&engine(), &GUEST_BYTES[..usize::from(at) % GUEST_BYTES.len()]);
    }
}

/// A number that a hostile guest might pass.
fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..12,
        Just(16),
        Just(1 << 30),
        Just(65_528),
        Just(65_536),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        any::<u64>(),
    ]
}

/// Every function the host offers, and a module that imports each and exports it again over a memory that begins with
/// a buffer, a path and small numbers.
fn every_call(engine: &Engine) -> (Vec<String>, Module) {
    let linker = module::linker(engine).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let task = task(1000);
    let module = Module::new(engine, wat::parse_str(r#"(module (func (export "_start")))"#).unwrap()).unwrap();
    let mut store = guests(&task, engine, &module, dir.path()).store(&ITEM, &mut &[][..]).unwrap();
    let defined: Vec<(String, Extern)> =
        linker.iter(&mut store).map(|(_, name, item)| (name.to_owned(), item)).collect();
    let (mut imports, mut exports, mut names) = (String::new(), String::new(), vec![]);
    for (name, item) in defined {
        let ExternType::Func(ty) = item.ty(&store) else { panic!("{name} is no function") };
        let list = |types: &mut dyn Iterator<Item = ValType>| {
            types.map(|ty| if ty.is_i64() { " i64" } else { " i32" }).collect::<String>()
        };
        let (params, results) = (list(&mut ty.params()), list(&mut ty.results()));
        imports +=
            &format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param{params}) (result{results})))"#);
        exports += &format!(r#"(export "{name}" (func ${name}))"#);
        names.push(name);
    }
    let text = format!(
        r#"(module {imports} {exports} (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\10\00\00\00\00\00\00\00a/../b\00/x.")
        (func (export "_start")))"#
    );
    (names, Module::new(engine, wat::parse_str(text).unwrap()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_argument_of_a_call_breaks_the_host(
        calls in proptest::collection::vec((any::<usize>(), proptest::collection::vec(hostile(), 9)), 1..80)
    ) {
        thread_local!(static EVERY: (Vec<String>, Module) = every_call(&engine()));
        let (names, module) = &EVERY.with(Clone::clone);
        prop_assert_eq!(names.len(), 46);
        let dir = tempfile::tempdir().unwrap();
        let task = task(1 << 40);
        let guests = guests(&task, &engine(), module, dir.path());
        let mut store = guests.store(&ITEM, &mut &[][..]).unwrap();
        let instance = guests.start.instantiate(&mut store).unwrap();
        for (pick, values) in &calls {
            let function = instance.get_func(&mut store, &names[pick % names.len()]).unwrap();
            let ty = function.ty(&store);
            let params: Vec<Val> = ty.params().zip(values).map(|(ty, value)| match ty {
                ValType::I64 => Val::I64(*value as i64),
                _ => Val::I32(*value as i32),
            }).collect();
            let mut results = vec![Val::I32(0); ty.results().len()];
            if let Err(error) = function.call(&mut store, &params, &mut results) {
                let stop = error.downcast_ref::<Stop>();
                prop_assert!(stop.is_some_and(|stop| !matches!(stop, Stop::Host(_))), "{error:#}");
            }
        }
        prop_assert!(store.into_data().fs.output.deliver().is_ok());
    }
}
