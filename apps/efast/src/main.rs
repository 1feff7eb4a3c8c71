//! E-FAST: which stocks move together, how surely, and how that changed over the years.
//!
//! One program, four commands. `map` studies one window of time, `reduce` puts all windows together, `all` does both in one
//! process and lays the files out as the network does, and `help` prints the usage. It needs no crate, uses no clock, thread,
//! hash map or randomness of the machine, and takes its logarithm from its own source ([`maths`]): the same input gives the
//! same bytes in every build, native or WASI.

mod args;
mod cluster;
mod deflate;
mod error;
mod figures;
mod font;
mod inflate;
mod maths;
mod outcome;
mod place;
mod png;
mod prices;
mod raster;
mod reduce;
mod report;
mod rng;
mod scene;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod window;

use args::{Command, Invocation};
use error::Failure;
use place::Place;
use std::path::Path;

/// Exit status for a wrong command line; 1 is every other failure.
const USAGE_STATUS: i32 = 2;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Err(failure) = run(&words) {
        eprintln!("efast: {failure}");
        std::process::exit(if failure.is_usage() { USAGE_STATUS } else { 1 });
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    let place = Place::from_environment()?;
    let invocation = args::parse(words)?;
    let command = match invocation.command {
        Some(command) => command,
        None if invocation.prices.is_none() && reduce::has_task_folders(&place.input_dir) => Command::Reduce,
        None => Command::Map,
    };
    match command {
        Command::Help => {
            print!("{}", args::USAGE);
            Ok(())
        }
        Command::Map => map(&invocation, &place),
        Command::Reduce => reduce::run(&place.input_dir, &place.output_dir),
        Command::All => all(&invocation, &place),
    }
}

/// One task of the bag: the window that belongs to its index.
fn map(invocation: &Invocation, place: &Place) -> Result<(), Failure> {
    let table = prices::load(&place.prices_file(invocation.prices.as_deref())?)?;
    let tasks = invocation.tasks.or(place.task_count).unwrap_or(1);
    let task = place.task_index.unwrap_or(0);
    let study = window::study(&table, &invocation.settings, task, tasks)?;
    study.write(&place.output_dir)
}

/// Every task and the reduction, one after the other, into `DIR/000000` ... and `DIR/reduce`.
fn all(invocation: &Invocation, place: &Place) -> Result<(), Failure> {
    let table = prices::load(&place.prices_file(invocation.prices.as_deref())?)?;
    let tasks = invocation.tasks.or(place.task_count).unwrap_or(args::DEFAULT_TASKS);
    let out = invocation.out.as_deref().map_or(place.output_dir.as_path(), Path::new);
    for task in 0..tasks {
        let study = window::study(&table, &invocation.settings, task, tasks)?;
        eprintln!("window {} of {}: {} to {}", task + 1, tasks, study.first_day, study.last_day);
        study.write(&out.join(format!("{task:06}")))?;
    }
    reduce::run(out, &out.join("reduce"))
}
