//! The smallest programs.

use gristmill_result::Ending;

use crate::bench::Bench;

const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello, mill\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 12))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn what_is_printed_becomes_a_file() {
    let bench = Bench::new();
    let (ending, files) = bench.outcome(&bench.text(HELLO));
    assert_eq!(ending, Ending::Exited(0));
    assert_eq!(files.into_iter().collect::<Vec<_>>(), [("stdout.txt".to_owned(), b"hello, mill\n".to_vec())]);
}

#[test]
fn a_program_that_prints_nothing_leaves_nothing() {
    let bench = Bench::new();
    let (ending, files) = bench.outcome(&bench.text(r#"(module (func (export "_start")))"#));
    assert_eq!(ending, Ending::Exited(0));
    assert!(files.is_empty());
}
