//! Run programs and chores, one after the other, and say how long each took.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// A program about to be run in the repository's root.
pub struct Program(Command);

/// `program` with `args`, in the repository's root.
pub fn command(program: &str, args: &[&str]) -> Program {
    let mut command = Command::new(program);
    command.args(args).current_dir(crate::root());
    Program(command)
}

impl Program {
    /// Runs it with a variable set.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Runs it in another folder.
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it to its end; anything but success is an error.
    pub fn run(mut self) -> Result<()> {
        let text = format!("{:?}", self.0).replace('"', "");
        let status = self.0.status().with_context(|| format!("cannot start `{text}`"))?;
        if !status.success() {
            bail!("`{text}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it and returns what it prints.
    pub fn output(mut self) -> Result<String> {
        let text = format!("{:?}", self.0).replace('"', "");
        let output = self.0.output().with_context(|| format!("cannot start `{text}`"))?;
        if !output.status.success() {
            bail!("`{text}` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Runs cargo as a person would: without what the cargo that started this program told it of itself. Build scripts look at that,
/// and would be run again, with all that depends on them, each time somebody changes between the two.
pub fn cargo(args: &[&str]) -> Result<()> {
    const OF_THIS_PACKAGE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let mut program = command("cargo", args);
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| OF_THIS_PACKAGE.iter().any(|prefix| key.starts_with(prefix))) {
            program.0.env_remove(key);
        }
    }
    program.run()
}

/// Runs chores in turn, stops at the first that fails, and prints how long each took.
pub fn run_steps(steps: &[(&str, &dyn Fn() -> Result<()>)]) -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in steps {
        eprintln!("== {name}");
        let started = Instant::now();
        step().with_context(|| format!("{name} failed"))?;
        times.push(format!("{:>7.1} s  {name}", started.elapsed().as_secs_f64()));
    }
    eprintln!("== done\n{}", times.join("\n"));
    Ok(())
}
