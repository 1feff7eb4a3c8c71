//! Check files against the ledger: recompute manifest, root and digest, and say what differs.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use gristmill_hub::Task;
use gristmill_result::{Commitment, Digest, FileEntry, Manifest, Part, Receipt, Root};
use gristmill_types::{ContentId, JobParams, TaskId, TaskStatus};
use serde::Serialize;

use crate::error::{RequesterError, at};
use crate::fetch::{REDUCE_FOLDER, pack_bytes_max, unpack};
use crate::find::Network;

/// The largest receipt or manifest that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 256 << 20;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// The task.
    pub task: TaskId,
    /// The folder whose files were checked.
    pub folder: PathBuf,
    /// Files that were checked.
    pub files: usize,
    /// What the ledger settled.
    pub ledger_digest: Digest,
    /// What the files give.
    pub digest: Option<Digest>,
    /// Fingerprint of the files.
    pub root: Option<Root>,
    /// What differs, in sentences; empty when the files are what the ledger settled.
    pub differences: Vec<String>,
}

impl Verification {
    /// The files are what the ledger settled.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty() && self.digest == Some(self.ledger_digest)
    }
}

/// Checks the files that a receipt speaks of against the ledger. Its manifest lies beside it, as [`crate::Job::fetch`] leaves
/// it; `dir` stands for the folder of the files when they were moved.
///
/// # Errors
/// [`RequesterError::BadReceipt`]; files cannot be read; the ledger cannot be asked. What differs is no error.
pub fn verify_receipt<'a>(
    network: &'a Network,
    path: &'a Path,
    dir: Option<&'a Path>,
) -> BoxFuture<'a, Result<Verification, RequesterError>> {
    Box::pin(async move {
        let bad = |reason: String| RequesterError::BadReceipt { path: path.to_path_buf(), reason };
        let receipt: Receipt = read_json(path)?;
        if receipt.version != 1 {
            return Err(bad(format!("its version is {}, and this program knows 1", receipt.version)));
        }
        let hub = &network.hub;
        if receipt.chain_id != hub.chain_id() || receipt.hub != hub.hub {
            let reason = format!(
                "it is of hub {} on chain {}, and this is hub {} on chain {}: choose its network with --data-dir or --rpc",
                receipt.hub,
                receipt.chain_id,
                hub.hub,
                hub.chain_id()
            );
            return Err(bad(reason));
        }
        let manifest_path = path.with_extension("manifest.json");
        let parts: ManifestParts = read_json(&manifest_path).map_err(|_| {
            bad(format!(
                "its manifest {} is missing or damaged; `gristmill verify {} --dir DIR` gets it from the store",
                manifest_path.display(),
                receipt.task
            ))
        })?;
        let manifest = Manifest::new(parts.parts).map_err(|error| bad(error.to_string()))?;
        let folder = match dir {
            Some(dir) => dir.to_path_buf(),
            None => path.parent().unwrap_or(Path::new("")).join(&receipt.folder),
        };
        let task = hub.view_task(receipt.task).await?;
        let commitment = Commitment { root: receipt.root, witness: receipt.witness, answer: receipt.answer.clone() };
        let mut differences = settled(&task);
        if receipt.deal.task(receipt.index) != receipt.task {
            differences.push(format!("the receipt's task is not number {} of its deal", receipt.index));
        }
        if receipt.digest.0 != task.digest {
            differences.push(format!("the receipt's digest is {}, the ledger's {:#x}", receipt.digest, task.digest));
        }
        check(task, folder, &manifest, commitment, differences).await
    })
}

/// Checks the files in `dir` against a task on the ledger. What should be there comes from the store, and is believed
/// because it hashes to the ledger's digest. `dir` is the task's folder, or the folder of its job's results.
///
/// # Errors
/// [`RequesterError::NotFound`]; the store does not have the result; files cannot be read; the ledger cannot be asked.
pub fn verify_task<'a>(
    network: &'a Network,
    id: TaskId,
    dir: &'a Path,
) -> BoxFuture<'a, Result<Verification, RequesterError>> {
    Box::pin(async move {
        let task = network.hub.view_task(id).await?;
        let not_found = || RequesterError::NotFound { what: "completed task", id: id.to_string() };
        if task.status != TaskStatus::Completed {
            return Err(not_found());
        }
        let content = task.results_pack().ok_or_else(not_found)?;
        let scratch = std::env::temp_dir().join(format!("gristmill-verify-{:x}", crate::submit::salt()));
        fs::create_dir(&scratch).map_err(at("make the folder", &scratch))?;
        let unpacked = async {
            let pack = scratch.join("pack");
            network.store.get_file(content, &pack, pack_bytes_max(task.work_clock_s)).await?;
            let (digest, tree, index) = (Digest(task.digest), scratch.join("tree"), task.index);
            let unpacked = tokio::task::spawn_blocking(move || unpack(&pack, digest, &tree)).await;
            unpacked
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
                .map_err(|source| RequesterError::Pack { index, source })
        }
        .await;
        let _ = fs::remove_dir_all(&scratch);
        let header = unpacked?;
        let deal = network.hub.view_deal(task.deal).await?.ok_or_else(not_found)?;
        let is_reduce = JobParams::parse(&deal.params).is_ok_and(|params| params.gristmill_after.is_some());
        let has_items = header.manifest.parts().iter().any(|part| part.item.is_some());
        let own = if is_reduce { dir.join(REDUCE_FOLDER) } else { dir.join(format!("{:06}", task.index)) };
        let folder = if !has_items && own.is_dir() { own } else { dir.to_path_buf() };
        let differences = settled(&task);
        check(task, folder, &header.manifest, header.commitment, differences).await
    })
}

/// The public form of a manifest's JSON: unlike [`Manifest`] it is not checked yet.
#[derive(serde::Deserialize)]
struct ManifestParts {
    parts: Vec<Part>,
}

fn settled(task: &Task) -> Vec<String> {
    match task.status {
        TaskStatus::Completed => Vec::new(),
        status => {
            vec![format!("the ledger has not accepted any result of this task: it is {}", crate::task_word(status))]
        }
    }
}

async fn check(
    task: Task,
    folder: PathBuf,
    manifest: &Manifest,
    commitment: Commitment,
    mut differences: Vec<String>,
) -> Result<Verification, RequesterError> {
    if manifest.root() != commitment.root {
        differences.push(format!("the manifest gives the fingerprint {}, not {}", manifest.root(), commitment.root));
    }
    let (expected, place) = (manifest.clone(), folder.clone());
    let found = tokio::task::spawn_blocking(move || compare(&expected, &place)).await;
    let found = found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    differences.extend(found.differences);
    let root = found.manifest.as_ref().map(Manifest::root);
    let digest = root.map(|root| Commitment { root, ..commitment }.digest());
    if differences.is_empty() && digest != Some(Digest(task.digest)) {
        differences.push("the files are those of the manifest, but the ledger settled another digest".to_owned());
    }
    Ok(Verification {
        task: task.id,
        folder,
        files: found.files,
        ledger_digest: Digest(task.digest),
        digest,
        root,
        differences,
    })
}

/// What lies in a folder, against what should.
#[derive(Debug)]
struct Found {
    files: usize,
    /// The manifest of what lies there; `None` when it could be nobody's result.
    manifest: Option<Manifest>,
    differences: Vec<String>,
}

fn compare(expected: &Manifest, folder: &Path) -> Result<Found, RequesterError> {
    let mut found = Found { files: 0, manifest: None, differences: Vec::new() };
    let mut parts = Vec::new();
    for part in expected.parts() {
        let place = folder.join(part.folder());
        let mut there = BTreeMap::new();
        list(&place, "", &mut there)?;
        let mut files = Vec::new();
        for wanted in &part.files {
            let shown = part.folder() + &wanted.path;
            let Some(path) = there.remove(&wanted.path) else {
                found.differences.push(format!("{shown} is missing"));
                continue;
            };
            let (length, content) = hash(&path)?;
            found.files += 1;
            if (length, content) != (wanted.length, wanted.content) {
                found.differences.push(format!(
                    "{shown} has other bytes: {length} bytes with hash {}, expected {} with {}",
                    content.short(),
                    wanted.length,
                    wanted.content.short()
                ));
            }
            files.push(FileEntry { path: wanted.path.clone(), length, content });
        }
        for (path, place) in there {
            found.differences.push(format!("{}{path} is not part of the result", part.folder()));
            let (length, content) = hash(&place)?;
            files.push(FileEntry { path, length, content });
        }
        files.sort_by(|left, right| left.path.as_bytes().cmp(right.path.as_bytes()));
        parts.push(Part { files, ..part.clone() });
    }
    found.manifest = Manifest::new(parts).ok();
    Ok(found)
}

/// All files below `folder`, by their path relative to it.
fn list(folder: &Path, prefix: &str, out: &mut BTreeMap<String, PathBuf>) -> Result<(), RequesterError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("list", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(at("list", folder))?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            list(&path, &format!("{name}/"), out)?;
        } else {
            out.insert(name, path);
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<(u64, ContentId), RequesterError> {
    let mut file = File::open(path).map_err(at("read", path))?;
    let mut hasher = blake3::Hasher::new();
    let length = io::copy(&mut file, &mut hasher).map_err(at("read", path))?;
    Ok((length, ContentId(*hasher.finalize().as_bytes())))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RequesterError> {
    let bad = |reason: String| RequesterError::BadReceipt { path: path.to_path_buf(), reason };
    let length = fs::metadata(path).map_err(at("read", path))?.len();
    if length > RECORD_BYTES_MAX {
        return Err(bad(format!("it has {length} bytes")));
    }
    let text = fs::read(path).map_err(at("read", path))?;
    serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use gristmill_result::Ending;

    use super::*;

    fn entry(path: &str, bytes: &[u8]) -> FileEntry {
        let content = ContentId(*blake3::hash(bytes).as_bytes());
        FileEntry { path: path.to_owned(), length: bytes.len() as u64, content }
    }

    #[test]
    fn equal_files_give_the_root_and_every_difference_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![entry("a/b", b"one"), entry("c", b"two")];
        let ending = Ending::Exited(0);
        let expected = Manifest::new(vec![Part { item: Some(4), ending, files }]).unwrap();
        let place = folder.path().join("000004");
        let write = |name: &str, bytes: &[u8]| {
            let path = place.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("a/b", b"one");
        write("c", b"two");
        let found = compare(&expected, folder.path()).unwrap();
        assert_eq!((found.files, found.differences.len()), (2, 0));
        assert_eq!(found.manifest.unwrap().root(), expected.root());

        write("c", b"TWO");
        write("d", b"more");
        fs::remove_file(place.join("a/b")).unwrap();
        let found = compare(&expected, folder.path()).unwrap();
        let text = found.differences.join("\n");
        for expected in ["000004/a/b is missing", "000004/c has other bytes", "000004/d is not part of the result"] {
            assert!(text.contains(expected), "{expected} not in:\n{text}");
        }
        assert_ne!(found.manifest.unwrap().root(), expected.root());
    }

    #[test]
    fn a_receipt_that_is_none_is_refused_with_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"version\":1}").unwrap();
        let error = read_json::<Receipt>(file.path()).unwrap_err().to_string();
        assert!(error.contains("is not a receipt") && error.contains(&*file.path().to_string_lossy()), "{error}");
    }
}
