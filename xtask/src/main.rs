//! Run the project's chores: `cargo xtask test`, `cargo xtask ci` and their parts.

mod analysis;
mod apps;
mod check;
mod contracts;
mod debian;
mod direct;
mod dist;
mod iexec;
mod images;
mod npm;
mod python;
mod runtimes;
mod step;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use step::{cargo, run_steps};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [--slow]   the tests: Rust, contracts, applications; --slow adds whole networks, long runs, slither and halmos
  ci              format, lints, test, docs, contract artifacts, tidy: what CI runs
  fmt             format the Rust code
  lint            clippy with warnings denied
  docs            the API documentation with warnings denied
  contracts       compile the contracts and compare with the checked-in artifacts (--write to update them)
  analysis        what slither and halmos say of the contracts (part of test --slow)
  apps            build and check all applications: the next three; needs root and Debian
  apps modules    build the WebAssembly modules and compare with what is checked in
  apps images     build the container images (or those named) into target/apps
  apps check      run these images (or those named) as their READMEs say, compare with a direct run, and look at the results;
                  needs `cargo build --release`
  apps quick      images and check of two that are quick (the last part of test)
  dist            make what is shipped, a Debian package and a tarball, in target/dist; [--profile NAME], or --program FILE that
                  is built already; --check installs and uses the package on a bare Debian (as root)
  iexec-e2e       iExec's own command lines, 8.24.0 and 9.0.1, against `gristmill up`, and a replicated task by ethers;
                  with 8, 9 or replicated only that
  htcondor        install HTCondor's library for the tests and the benchmark of classad, and print the Python that has it
  peers           items and tasks a second, beside HyperQueue, Dask and Ray, which it installs from Python's index
  tidy            layers, room names in ARCHITECTURE.md, sizes of files and functions (--write to lower the ratchet)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<()> {
    match words {
        ["test"] => test(false),
        ["test", "--slow"] => test(true),
        ["ci"] => ci(),
        ["fmt"] => cargo(&["fmt", "--all"]),
        ["lint"] => lint(),
        ["docs"] => docs(),
        ["contracts"] => contracts::compare(),
        ["contracts", "--write"] => contracts::write(),
        ["analysis"] => run_steps(&[("slither", &analysis::slither), ("halmos", &analysis::halmos)]),
        ["apps"] => apps::all(),
        ["apps", "modules"] => apps::rebuild(),
        ["apps", "images", names @ ..] => images::build(names),
        ["apps", "check", names @ ..] => check::check(names),
        ["dist", words @ ..] => dist::run(words),
        ["apps", "quick"] => check::quick(),
        ["iexec-e2e", parts @ ..] => iexec::end_to_end(parts),
        ["htcondor"] => {
            println!("{}", python::htcondor()?.display());
            Ok(())
        }
        ["peers"] => python::peers(),
        ["tidy"] => tidy::check(),
        ["tidy", "--write"] => tidy::write_ratchet(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no command `{}`\n\n{USAGE}", other.join(" ")),
    }
}

/// Every test. Slow ones are chosen by the environment variable that the tests read, so that one build serves both.
fn test(slow: bool) -> Result<()> {
    npm::require()?;
    python::require()?;
    runtimes::require(slow)?;
    if slow {
        // SAFETY: no other thread runs in this program.
        unsafe { std::env::set_var("GRISTMILL_SLOW_TESTS", "1") };
    }
    let mut steps: Vec<(&str, &dyn Fn() -> Result<()>)> = Vec::new();
    let contract_tests = || contracts::test(slow);
    let rust_tests = || rust_tests(slow);
    steps.push(("contracts: tests", &contract_tests));
    if slow {
        steps.push(("contracts: slither", &analysis::slither));
        steps.push(("contracts: halmos", &analysis::halmos));
    }
    steps.push(("applications: tests", &apps::test));
    steps.push(("Rust: tests", &rust_tests));
    // Last, for they need the program that the Rust tests build.
    steps.push(("applications: two images", &check::quick));
    if slow {
        steps.push(("dist: on a bare Debian", &dist::check_release));
    }
    run_steps(&steps)
}

/// The tests of whole networks are compiled for the slow run only.
fn rust_tests(slow: bool) -> Result<()> {
    let poco = npm::published_poco()?;
    // SAFETY: no other thread runs in this program.
    unsafe { std::env::set_var("GRISTMILL_POCO_PACKAGE", poco) };
    let htcondor = python::htcondor()?;
    // SAFETY: no other thread runs in this program.
    unsafe { std::env::set_var("GRISTMILL_HTCONDOR_PYTHON", htcondor) };
    let mut args = vec!["test", "--release", "--workspace", "--locked"];
    if slow {
        args.extend(["--features", "gristmill-cli/end-to-end,gristmill-market/end-to-end"]);
    }
    cargo(&args)
}

fn lint() -> Result<()> {
    cargo(&["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn docs() -> Result<()> {
    step::command("cargo", &["doc", "--release", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

fn ci() -> Result<()> {
    run_steps(&[
        ("format", &|| cargo(&["fmt", "--all", "--check"])),
        ("tidy", &tidy::check),
        ("contracts: artifacts", &contracts::compare),
        ("tests", &|| test(false)),
        ("lints", &lint),
        ("docs", &docs),
    ])
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}
