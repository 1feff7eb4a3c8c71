//! Runs a configuration: `cargo run --release -p gristmill-sim --example sim -- CONFIG [FOLDER]`.
//!
//! Prints the figures, and writes tables and plots into the folder if one is named.

use std::error::Error;
use std::path::Path;

use gristmill_sim::{Config, run};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let Some(path) = arguments.first() else {
        return Err("name a configuration, such as crates/sim/configs/lab.toml".into());
    };
    let report = run(&Config::load(Path::new(path))?)?;
    for (figure, value, unit) in report.figures() {
        println!("{figure:<40} {value} {unit}");
    }
    print!("\n{}\n", report.kinds_csv());
    println!("digest {}", report.digest);
    if let Some(folder) = arguments.get(1) {
        for file in report.write(Path::new(folder))? {
            println!("{}", file.display());
        }
    }
    Ok(())
}
