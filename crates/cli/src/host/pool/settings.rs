//! `gristmill pool settings` and `reload`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use gristmill_pool::control::{self, Answer, Ask, Reloaded};
use gristmill_pool::settings::{Held, SETTINGS_FILE, TEMPLATE};

use super::FolderArgs;
use crate::exit::Exit;
use crate::output;

/// Show the settings that hold in a running pool, as a `pool.toml`, with where each value came from
///
/// They stand in `pool.toml` in its data folder, which it reads when it starts and at `gristmill pool reload`. A flag goes before the
/// file, the file before the default.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Write the file anew, with every setting explained and none in force; one that is there is kept
    #[arg(long, conflicts_with = "example")]
    init: bool,
    /// Print such a file
    #[arg(long)]
    example: bool,
}

/// Have a running pool read its `pool.toml` again, and say what became different
///
/// All of the file holds from then on; where anything is wrong with it nothing changes, and that is told with its line. Deals that were
/// made keep their price and their fee, leases their terms. What needs a restart is refused by its name. The signal SIGHUP does the same.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    folder: FolderArgs,
}

pub fn run(args: &SettingsArgs, json: bool) -> anyhow::Result<Exit> {
    if args.example {
        output::text_out(TEMPLATE)?;
        return Ok(Exit::Ok);
    }
    if args.init {
        return init(args);
    }
    let folder = args.folder.pool()?;
    let Answer::Settings(held) = control::ask(&folder, &Ask::Settings)? else {
        return Err(control::other_question(&folder).into());
    };
    output::either(json, &held, |held| settings_text(held))?;
    Ok(Exit::Ok)
}

fn init(args: &SettingsArgs) -> anyhow::Result<Exit> {
    let root = match &args.folder.data_dir {
        Some(root) => root.clone(),
        None => args.folder.pool()?.parent().map(Path::to_path_buf).map_or_else(super::run::default_root, Ok)?,
    };
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make the folder {}", root.display()))?;
    let path = root.join(SETTINGS_FILE);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    written.with_context(|| format!("cannot write {} (a file that is there is kept)", path.display()))?;
    output::note(&format!("wrote {}", path.display()));
    Ok(Exit::Ok)
}

fn settings_text(held: &Held) -> String {
    let path = held.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let there = held.path.as_ref().is_some_and(|path| path.is_file());
    format!("# {path}{}\n{}", if there { "" } else { ", which is not there" }, held.to_toml())
}

pub fn reload(args: &ReloadArgs, json: bool) -> anyhow::Result<Exit> {
    let folder = args.folder.pool()?;
    let Answer::Reloaded(reloaded) = control::ask(&folder, &Ask::Reload)? else {
        return Err(control::other_question(&folder).into());
    };
    output::either(json, &reloaded, reloaded_text)?;
    Ok(Exit::Ok)
}

fn reloaded_text(reloaded: &Reloaded) -> String {
    let mut text: String = reloaded.changes.iter().map(|change| format!("{change}\n")).collect();
    if text.is_empty() {
        text += "nothing is different\n";
    }
    if let Some(trouble) = &reloaded.trouble {
        text += &format!("it holds, and could not be put on the ledger yet: {trouble}; the pool tries again\n");
    }
    text
}
