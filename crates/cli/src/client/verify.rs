//! `gristmill verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_requester::{Verification, verify_receipt, verify_task};
use gristmill_types::TaskId;

use super::{PlaceArgs, Session};
use crate::exit::Exit;
use crate::output::{self, count};

/// Check files against what the ledger settled
///
/// Recomputes manifest, fingerprint and digest from the files and compares them with the ledger's. Exit code 4 when they
/// differ.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A receipt, or a task's id together with --dir
    #[arg(value_name = "RECEIPT|TASK")]
    what: String,
    /// Folder of the task's files, or of its job's results
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub async fn run(args: VerifyArgs, session: &Session) -> anyhow::Result<Exit> {
    let path = Path::new(&args.what);
    let verification = match (args.what.parse::<TaskId>(), path.exists()) {
        (Ok(task), false) => {
            let dir = args.dir.as_deref();
            let dir =
                dir.ok_or_else(|| anyhow::anyhow!("which files? Name their folder with --dir, or give the receipt"))?;
            anyhow::ensure!(dir.is_dir(), "{} is not a folder: --dir names the folder of the files", dir.display());
            verify_task(&args.place.network().await?, task, dir).await?
        }
        (Err(_), false) => {
            anyhow::bail!(
                "{} is neither a receipt that exists nor a task's id of 64 digits: check the path",
                path.display()
            )
        }
        (_, true) => verify_receipt(&args.place.network().await?, path, args.dir.as_deref()).await?,
    };
    let value = serde_json::json!({ "good": verification.is_good(), "verification": verification });
    output::either(session.json, &value, |_| render(&verification))?;
    Ok(if verification.is_good() { Exit::Ok } else { Exit::NotVerified })
}

fn render(verification: &Verification) -> String {
    let mut text = output::fields([
        ("task", verification.task.to_string()),
        ("files", format!("{} in {}", count(verification.files as u64, "file"), verification.folder.display())),
        ("fingerprint", verification.root.map_or("none".to_owned(), |root| root.to_string())),
        ("digest", verification.digest.map_or("none".to_owned(), |digest| digest.to_string())),
        ("ledger", verification.ledger_digest.to_string()),
    ]);
    text += if verification.is_good() {
        "good: these are the files that the ledger settled\n"
    } else {
        "DIFFERENT: these are not the files that the ledger settled\n"
    };
    for difference in &verification.differences {
        text += &format!("  {difference}\n");
    }
    text
}
