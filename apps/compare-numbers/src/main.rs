//! The canonical form of an output folder whose numbers may differ in their last digits.
//!
//! Reads `IEXEC_IN`, writes `IEXEC_OUT`: texts with every decimal number rounded and written in one way, without the lines that tell
//! dates or timings; other files as they are. Replicas whose numbers round to the same so agree.

mod folder;
mod glob;
mod number;
#[cfg(test)]
mod tests;
mod text;

use std::env;
use std::ffi::OsString;
use std::io::{BufReader, BufWriter, Write};
use std::process;

use folder::{unreadable, unwritable, Failure, Folders};
use number::{Grid, DIGITS_MAX};
use text::{Rules, TextError, LINE_BYTES_MAX};

/// Significant digits if nothing else is asked for.
const DIGITS: usize = 6;
const BUFFER_BYTES: usize = 64 * 1024;
const USAGE: &str = "usage: compare-numbers [--digits D | --step S] [--integers] [--columns] [--skip-lines TEXT]... [--only PATTERN]... \
[--as-is PATTERN]..., with D from 1 to 1000 and S 1, 2 or 5 times a power of ten, such as 0.001";

fn main() {
    let made = Settings::read(env::args_os().skip(1)).and_then(|settings| {
        let folders = Folders::new(env::var_os("IEXEC_IN"), env::var_os("IEXEC_OUT"))?;
        convert(&folders, &settings)
    });
    if let Err(failure) = made {
        eprintln!("compare-numbers: {}", failure);
        // Not `ExitCode`: the WASI library of Rust 1.63 makes a 1 of each that is not 0.
        process::exit(failure.code());
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    rules: Rules,
    /// Files that belong to the canonical form; all if empty.
    only: Vec<String>,
    /// Files that are taken over as they are.
    as_is: Vec<String>,
}

impl Settings {
    fn read(mut words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
        let wrong = || Failure::Usage(USAGE.into());
        let mut grid = None;
        let rules = Rules { grid: Grid::Digits(DIGITS), integers: false, columns: false, skip: Vec::new() };
        let mut settings = Settings { rules, only: Vec::new(), as_is: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().and_then(|word| word.into_string().ok());
                value.filter(|value| !value.is_empty()).ok_or_else(wrong)
            };
            let asked = match word.to_str() {
                Some("--digits") => {
                    let count = value()?.parse().ok().filter(|count| (1..=DIGITS_MAX).contains(count));
                    Grid::Digits(count.ok_or_else(wrong)?)
                }
                Some("--step") => Grid::step(&value()?).ok_or_else(wrong)?,
                other => {
                    match other {
                        Some("--integers") => settings.rules.integers = true,
                        Some("--columns") => settings.rules.columns = true,
                        Some("--skip-lines") => settings.rules.skip.push(value()?.into_bytes()),
                        Some("--only") => settings.only.push(value()?),
                        Some("--as-is") => settings.as_is.push(value()?),
                        _ => return Err(wrong()),
                    }
                    continue;
                }
            };
            if grid.replace(asked).is_some() {
                return Err(wrong());
            }
        }
        settings.rules.grid = grid.unwrap_or(settings.rules.grid);
        Ok(settings)
    }
}

fn convert(folders: &Folders, settings: &Settings) -> Result<(), Failure> {
    let any = |patterns: &[String], path: &str| patterns.iter().any(|pattern| glob::fits(pattern, path));
    for path in folders.files()? {
        if !settings.only.is_empty() && !any(&settings.only, &path) {
            continue;
        }
        let text = !any(&settings.as_is, &path)
            && text::is_text(folders.open(&path)?.0).map_err(|error| unreadable(&path, &error))?;
        if text {
            convert_text(folders, &path, &settings.rules)?;
        } else {
            folders.copy(&path)?;
        }
    }
    Ok(())
}

fn convert_text(folders: &Folders, path: &str, rules: &Rules) -> Result<(), Failure> {
    let source = BufReader::with_capacity(BUFFER_BYTES, folders.open(path)?.0);
    let mut target = BufWriter::with_capacity(BUFFER_BYTES, folders.create(path)?);
    text::convert(source, &mut target, rules).map_err(|error| match error {
        TextError::Read(error) => unreadable(path, &error),
        TextError::Write(error) => unwritable(path, &error),
        TextError::Long(line) => Failure::input(path, format!("line {} has more than {} bytes", line, LINE_BYTES_MAX)),
        TextError::Memory(line) => Failure::input(path, format!("there is no memory for line {}", line)),
    })?;
    target.flush().map_err(|error| unwritable(path, &error))
}
