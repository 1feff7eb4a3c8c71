//! Holds a file of vectors, as `oracle/vectors.py` makes them, against our values, and prints those that differ.
//!
//! `cargo run --release -p gristmill-classad --example check_vectors < FILE`. With `--keep` it prints those that hold instead, and
//! the others to the standard error: that is how `tests/data/vectors.txt` is made.

use std::collections::BTreeSet;
use std::io::Read;

#[path = "../tests/it/vectors.rs"]
mod vectors;

fn main() {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("cannot read the vectors: {error}");
        std::process::exit(2);
    }
    let (count, differences) = vectors::check(&text);
    let keep = std::env::args().any(|arg| arg == "--keep");
    for difference in &differences {
        let trouble = difference.trouble.map_or(String::new(), |trouble| format!("\t{trouble:?}"));
        let line =
            format!("{}\tlibrary: {}\tours: {}{trouble}", difference.expression, difference.expected, difference.got);
        if keep { eprintln!("{line}") } else { println!("{line}") }
    }
    let differing: BTreeSet<&str> = differences.iter().map(|difference| difference.expression.as_str()).collect();
    if keep {
        let holds = |line: &&str| line.rsplit_once('\t').is_none_or(|(expression, _)| !differing.contains(expression));
        text.lines().filter(holds).for_each(|line| println!("{line}"));
        return;
    }
    println!("{} of {count} differ", differences.len());
    std::process::exit(i32::from(!differences.is_empty()));
}
