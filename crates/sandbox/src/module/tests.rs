//! What is refused and why, and a cache that never hands out damaged code.

use super::*;
use crate::engine::compiler;

fn engine() -> Engine {
    compiler(EngineProfile::default()).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    match compile(&engine(), Reach::Portable, bytes).unwrap_err() {
        Uncompiled::Unfit(reason) => reason,
        Uncompiled::Host(fault) => panic!("it is the module that is at fault: {fault}"),
    }
}

fn refused_text(wat: &str) -> String {
    refused(&wat::parse_str(wat).unwrap())
}

#[test]
fn a_file_that_is_no_module_is_called_what_it_looks_like() {
    for (bytes, what) in [
        (&b""[..], "is empty"),
        (b"\x7fELF\x02\x01\x01", "ELF"),
        (b"MZ\x90", "Windows"),
        (b"#!/bin/sh\n", "script"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"  (module)", "WebAssembly text"),
        (b";; a comment\n(module)", "WebAssembly text"),
        (b"hello", "text"),
        (b"\xff\xfe\x00", "00 61 73 6d"),
        (b"\0as", "text"),
        (b"\0asm\x0d\0\x01\0", "component"),
        (b"\0asm\x02\0\0\0", "version"),
        (b"\0asm", "version"),
        (b"\0asm\x01\0\0\0\xff", "not a valid module"),
    ] {
        let reason = refused(bytes);
        assert!(reason.contains(what), "{bytes:?}: {reason}");
    }
}

#[test]
fn a_module_that_is_no_command_is_refused() {
    assert!(refused_text("(module)").contains("no `_start`"));
    assert!(refused_text(r#"(module (global (export "_start") i32 (i32.const 0)))"#).contains("`_start` is not"));
    let takes = r#"(module (func (export "_start") (param i32)))"#;
    assert!(refused_text(takes).contains("without parameters"));
}

#[test]
fn imports_that_are_not_offered_are_named() {
    let wat = r#"(module
      (import "env" "emscripten_memcpy" (func))
      (import "env" "memory" (memory 1))
      (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
      (func (export "_start")))"#;
    let reason = refused_text(wat);
    assert!(reason.contains("env.emscripten_memcpy, env.memory"), "{reason}");
    assert!(reason.contains("JavaScript") && !reason.contains("fd_write"), "{reason}");
    let old = r#"(module (import "wasi_unstable" "fd_write" (func)) (func (export "_start")))"#;
    assert!(refused_text(old).contains("old WASI"));
    let many: String = (0..40).map(|n| format!(r#"(import "x" "f{n}" (func))"#)).collect();
    assert!(refused_text(&format!(r#"(module {many} (func (export "_start")))"#)).contains("and 28 more"));
    let typed = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param f64))) (func (export "_start")))"#;
    assert!(refused_text(typed).contains("another type"));
}

#[test]
fn features_outside_the_profile_are_refused() {
    for wat in [
        r#"(module (memory 1 1 shared) (func (export "_start")))"#,
        r#"(module (memory i64 1) (func (export "_start")))"#,
        r#"(module (memory 1) (memory 1) (func (export "_start")))"#,
        r#"(module (type (struct)) (func (export "_start")))"#,
        r#"(module (tag) (func (export "_start")))"#,
        r#"(module (func (export "_start") (local v128)
          (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))))"#,
        r#"(module (func (export "_start") (drop (i32.atomic.load (i32.const 0)))) (memory 1))"#,
    ] {
        assert!(refused_text(wat).contains("not a valid module"), "{wat}");
    }
}

#[test]
fn features_of_current_compilers_are_accepted() {
    for wat in [
        r#"(module (func $f (result i32 i32) i32.const 1 i32.const 2) (func (export "_start") call $f drop drop))"#,
        r#"(module (func $f (return_call $f)) (func (export "_start")))"#,
        r#"(module (memory 1) (func (export "_start") (memory.fill (i32.const 0) (i32.const 1) (i32.const 9))))"#,
        r#"(module (func (export "_start") (drop (i8x16.add (v128.const i64x2 1 2) (v128.const i64x2 3 4)))))"#,
        r#"(module (func (export "_start") (drop (i32.extend8_s (i32.const 200)))))"#,
        r#"(module (global i32 (i32.add (i32.const 1) (i32.const 2))) (func (export "_start")))"#,
    ] {
        let compiled = compile(&engine(), Reach::Portable, &wat::parse_str(wat).unwrap());
        assert!(compiled.is_ok(), "{wat}: {:?}", compiled.err());
    }
}

#[test]
fn a_module_of_very_many_functions_compiles() {
    let functions = "(func)".repeat(10_000);
    let wat = format!(r#"(module {functions} (func (export "_start")))"#);
    assert!(compile(&engine(), Reach::Portable, &wat::parse_str(wat).unwrap()).is_ok());
}

#[test]
fn the_cache_gives_back_what_was_put_in_and_nothing_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (portable, other) = (EngineProfile::portable(), EngineProfile::same_architecture());
    let module = wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
    let compiled = compile(&engine(), Reach::Portable, &module).unwrap();
    let path = dir.path().join("a.cwasm");
    assert!(fetch(&path, portable).is_none());
    super::store(&path, portable, &compiled).unwrap();
    assert_eq!(fetch(&path, portable).as_ref(), Some(&compiled));
    assert!(fetch(&path, other).is_none(), "another profile");
    let whole = std::fs::read(&path).unwrap();
    let steps = (0..whole.len()).step_by(whole.len() / 20);
    for at in steps {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(fetch(&path, portable).is_none(), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(fetch(&path, portable).is_none(), "cut at {at}");
    }
    std::fs::write(dir.path().join("b.cwasm"), &whole).unwrap();
    assert!(fetch(&dir.path().join("b.cwasm"), portable).is_none(), "a module under another app's name");
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary file stays: {names:?}");
}

#[test]
fn what_was_compiled_is_loaded_by_an_engine_without_a_compiler() {
    let module = wat::parse_str(r#"(module (memory 1) (data (i32.const 0) "x") (func (export "_start")))"#).unwrap();
    let runtime = crate::engine::runtime().unwrap();
    for profile in [EngineProfile::portable(), EngineProfile::same_architecture()] {
        let compiled = compile(&compiler(profile).unwrap(), profile.reach, &module).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&compiled).unwrap();
        assert!(load(&runtime, file).is_some(), "{profile}");
    }
    assert!(load(&runtime, tempfile::tempfile().unwrap()).is_none(), "an empty file");
}
