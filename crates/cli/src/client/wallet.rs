//! `gristmill wallet`.

use std::fs::{self, File};
use std::io::stdin;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use gristmill_requester::{default_wallet_file, load_wallet};
use gristmill_wallet::Wallet;
use serde_json::json;

use super::{KeyArgs, Session};
use crate::exit::Exit;
use crate::output;

/// Make, import and show wallets
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Show the address of a wallet, never its key
    Show(ShowArgs),
    /// Make a new key
    New(FileArgs),
    /// Take over a key: 64 hexadecimal digits from a file or from standard input
    Import(ImportArgs),
}

/// Which wallet.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    key: KeyArgs,
}

/// Where to.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Where to keep it [default: $XDG_CONFIG_HOME/gristmill/wallet.json]
    #[arg(long, value_name = "FILE")]
    wallet: Option<PathBuf>,
}

/// From where, and where to.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A file with the key in it; `-` for standard input. Never an argument: others could see it
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    to: FileArgs,
}

pub async fn run(command: WalletCommand, session: &Session) -> anyhow::Result<Exit> {
    let (wallet, path) = match command {
        WalletCommand::Show(args) => {
            let path = shown_file(&args.key).await?;
            (load_wallet(&path)?, path)
        }
        WalletCommand::New(args) => save(Wallet::generate(), args.wallet)?,
        WalletCommand::Import(args) => {
            let wallet = if args.from == Path::new("-") {
                Wallet::import_reader(stdin().lock()).context("standard input")?
            } else {
                let file = File::open(&args.from).with_context(|| format!("cannot read {}", args.from.display()))?;
                Wallet::import_reader(file).with_context(|| args.from.display().to_string())?
            };
            save(wallet, args.to.wallet)?
        }
    };
    let value = json!({ "address": wallet.address(), "file": path });
    output::either(session.json, &value, |_| {
        output::fields([("address", wallet.address().to_string()), ("file", path.display().to_string())])
    })?;
    Ok(Exit::Ok)
}

/// The wallet that the other commands would use; a network that does not run is no hindrance.
async fn shown_file(key: &KeyArgs) -> anyhow::Result<PathBuf> {
    if let Some(path) = &key.wallet {
        return Ok(path.clone());
    }
    match key.place.network().await {
        Ok(network) => Ok(network.wallet_file(None)?),
        Err(_) => Ok(default_wallet_file()?),
    }
}

fn save(wallet: Wallet, path: Option<PathBuf>) -> anyhow::Result<(Wallet, PathBuf)> {
    let path = match path {
        Some(path) => path,
        None => default_wallet_file()?,
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    wallet.save(&path)?;
    Ok((wallet, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_is_never_written_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/wallet.json");
        let (wallet, _) = save(Wallet::generate(), Some(path.clone())).unwrap();
        assert_eq!(load_wallet(&path).unwrap().address(), wallet.address());
        let error = save(Wallet::generate(), Some(path.clone())).unwrap_err();
        assert!(error.to_string().contains("never overwritten"), "{error}");
        assert_eq!(load_wallet(&path).unwrap().address(), wallet.address());
    }
}
