//! `gristmill new`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::exit::Exit;
use crate::output;

/// Begin a project of your own
#[derive(Debug, Subcommand)]
pub enum NewCommand {
    /// Write a contract that orders work and gets the certified answer, with its test, scripts and app
    Dapp(DappArgs),
}

/// Where.
#[derive(Debug, Args)]
pub struct DappArgs {
    /// Folder to write; it must not exist, or be empty
    dir: PathBuf,
}

/// A file of the project.
struct File {
    path: &'static str,
    bytes: &'static [u8],
    /// Run as a program by others.
    executable: bool,
}

macro_rules! files {
    ($($path:literal from $source:literal $($executable:ident)?),* $(,)?) => {
        &[$(File { path: $path, bytes: include_bytes!($source), executable: files!(@ $($executable)?) }),*]
    };
    (@) => { false };
    (@ executable) => { true };
}

/// The base contracts and the app are the project's own files, so that what is written is what is tested.
const DAPP: &[File] = files![
    "README.md" from "../../templates/dapp/README.md",
    "package.json" from "../../templates/dapp/package.json",
    "package-lock.json" from "../../templates/dapp/package-lock.json",
    ".npmrc" from "../../templates/dapp/npmrc",
    ".gitignore" from "../../templates/dapp/gitignore",
    "foundry.toml" from "../../templates/dapp/foundry.toml",
    "contracts/PrimeCounter.sol" from "../../templates/dapp/contracts/PrimeCounter.sol",
    "contracts/gristmill/Certified.sol" from "../../../../contracts/src/dapp/Certified.sol",
    "contracts/gristmill/GristmillDapp.sol" from "../../../../contracts/src/dapp/GristmillDapp.sol",
    "contracts/gristmill/IGristmill.sol" from "../../../../contracts/src/dapp/IGristmill.sol",
    "contracts/gristmill/ReceiverAdapter.sol" from "../../../../contracts/src/dapp/ReceiverAdapter.sol",
    "test/PrimeCounter.t.sol" from "../../templates/dapp/test/PrimeCounter.t.sol",
    "scripts/ask.mjs" from "../../templates/dapp/scripts/ask.mjs",
    "scripts/deploy.mjs" from "../../templates/dapp/scripts/deploy.mjs",
    "scripts/forge.mjs" from "../../templates/dapp/scripts/forge.mjs",
    "scripts/gristmill.mjs" from "../../templates/dapp/scripts/gristmill.mjs",
    "scripts/solc.mjs" from "../../templates/dapp/scripts/solc.mjs" executable,
    "app/main.rs" from "../../../../apps/primes/src/main.rs",
    "app/primes.wasm" from "../../../../apps/primes/primes.wasm",
];

/// What was written.
#[derive(Debug, Serialize)]
struct Project {
    dir: PathBuf,
    files: Vec<&'static str>,
}

pub fn run(command: &NewCommand, json: bool) -> anyhow::Result<Exit> {
    let NewCommand::Dapp(args) = command;
    refuse_a_full_folder(&args.dir)?;
    for file in DAPP {
        let path = args.dir.join(file.path);
        write(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let project = Project { dir: args.dir.clone(), files: DAPP.iter().map(|file| file.path).collect() };
    output::either(json, &project, |project| {
        format!(
            "wrote {} to {}\nnext: cd {} && npm ci && npm run build && npm test; README.md has the rest\n",
            output::count(project.files.len() as u64, "file"),
            project.dir.display(),
            project.dir.display()
        )
    })?;
    Ok(Exit::Ok)
}

/// Nobody's files are written over.
fn refuse_a_full_folder(dir: &Path) -> anyhow::Result<()> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("{} is not empty: name a folder that does not exist yet", dir.display()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be the project's folder", dir.display())),
    }
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, file.bytes)?;
    #[cfg(unix)]
    if file.executable {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(dir: &Path) -> anyhow::Result<Exit> {
        run(&NewCommand::Dapp(DappArgs { dir: dir.to_path_buf() }), false)
    }

    #[test]
    fn a_project_is_written_once_and_over_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        new(&dir).unwrap();
        for file in DAPP {
            assert_eq!(fs::read(dir.join(file.path)).unwrap(), file.bytes, "{}", file.path);
        }
        let again = new(&dir).unwrap_err().to_string();
        assert!(again.contains("is not empty"), "{again}");
        let file = format!("{:#}", new(&dir.join("README.md")).unwrap_err());
        assert!(file.contains("README.md") && file.contains("cannot be the project's folder"), "{file}");
    }

    #[test]
    fn every_file_of_the_template_is_written() {
        fn count(folder: &Path) -> usize {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/dapp");
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/src/dapp");
        // The app's source and module come on top.
        assert_eq!(DAPP.len(), count(&template) + count(&base) + 2);
    }
}
