//! `gristmill worker config`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use gristmill_worker::settings::{SETTINGS_FILE, TEMPLATE};

use super::FolderArgs;
use crate::exit::Exit;
use crate::output;

/// Show the settings that a worker starts with, or write a file of them to fill in
///
/// A running worker keeps the settings that it has started with.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The file [default: `worker.toml` in the data folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the file anew, with every setting explained and none in force; one that is there is kept
    #[arg(long)]
    init: bool,
}

pub fn run(args: &ConfigArgs, json: bool) -> anyhow::Result<Exit> {
    let root = args.folder.root()?;
    let path = args.config.clone().unwrap_or_else(|| root.join(SETTINGS_FILE));
    if args.init {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
        written.with_context(|| format!("cannot write {} (a file that is there is kept)", path.display()))?;
        output::note(&format!("wrote {}", path.display()));
    }
    let settings = super::settings(args.config.as_deref(), &root)?;
    output::either(json, &settings, |settings| {
        let from = if path.is_file() { "" } else { ", which is not there: these are the defaults" };
        format!("# {}{from}\n{}", path.display(), settings.to_toml())
    })?;
    Ok(Exit::Ok)
}
