//! Tests of the program, built by `test.sh` with `rustc --test`.

mod inputs;
mod job;
mod json;
mod method;
mod packing;

use crate::prices::{self, Prices};
use crate::{inflate, rng::Rng};
use std::path::{Path, PathBuf};

/// The prices that come with the program.
const PRICES: &[u8] = include_bytes!("../data/sp500_prices.csv.gz");

fn real_prices() -> Prices {
    let text = inflate::gunzip(PRICES).expect("the prices unpack");
    let crc = inflate::crc32(&text);
    prices::parse(&String::from_utf8(text).expect("text"), crc).expect("the prices parse")
}

/// Bytes without a pattern, always the same for a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::stream(seed, 0, 0);
    (0..length).map(|_| rng.next() as u8).collect()
}

/// A folder that is removed at the end of its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("efast-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
