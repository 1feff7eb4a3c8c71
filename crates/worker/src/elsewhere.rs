//! Have tasks run elsewhere, and hand in what comes back as the worker's own result.
//!
//! A result's digest does not depend on who computed it, only its seal does. So the pack of a result from another ledger, whose digest was
//! settled there, is checked and sealed anew for this ledger's task and this worker; from then on it goes the way of any other.

use std::fmt;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::Address;
use futures_util::future::BoxFuture;
use gristmill_result::Digest;
use gristmill_result::pack::verify_pack;
use gristmill_sandbox::{Control, Wish};
use gristmill_types::TaskId;
use tokio::sync::Notify;

use crate::fetch::Fetcher;
use crate::plan::Plan;
use crate::produce::{ProduceError, Produced, seal_open_pack};

/// Where tasks are run that this worker takes and does not run itself.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// Has the task run there and puts the pack of its result at `pack`; its digest, as it was settled there. What the task is made of
    /// comes from `fetcher`. Asked again for the same task, after a restart too, it goes on with what it began.
    ///
    /// Dropping the future takes nothing back that was begun.
    fn bring<'a>(
        &'a self,
        plan: &'a Plan,
        fetcher: &'a Fetcher,
        pack: &'a Path,
    ) -> BoxFuture<'a, Result<Digest, NotBrought>>;
}

/// Why a task was not run elsewhere. The pool is told: the lease is given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotBrought {
    /// It may be asked for again.
    #[error("{0}")]
    Later(String),
    /// Such a task is never run there.
    #[error("{0}")]
    Never(String),
    /// The lease was taken back.
    #[error("the lease was taken back")]
    Cancelled,
}

/// What [`bring`] works with.
pub(crate) struct Errand<'a> {
    pub elsewhere: Arc<dyn Elsewhere>,
    pub fetcher: &'a Fetcher,
    pub cancel: &'a Control,
    /// Scratch folder; removed at the end.
    pub folder: PathBuf,
    /// Where the sealed result goes.
    pub results: PathBuf,
}

/// Has a task run elsewhere; what comes back is on this disk, sealed by `worker`.
pub(crate) async fn bring(plan: &Plan, worker: Address, errand: Errand<'_>) -> Result<Produced, NotBrought> {
    let Errand { elsewhere, fetcher, cancel, folder, results } = errand;
    let here = |error: &dyn fmt::Display| NotBrought::Later(format!("what came back cannot be kept: {error}"));
    fs::create_dir_all(&folder).map_err(|error| here(&error))?;
    let pack = folder.join("pack");
    let brought = tokio::select! {
        brought = elsewhere.bring(plan, fetcher, &pack) => brought,
        () = cancelled(cancel) => Err(NotBrought::Cancelled),
    };
    let task = plan.task;
    let produced = match brought {
        Ok(digest) => {
            let (control, pack) = (cancel.clone(), pack.clone());
            let sealing = move || seal_anew(task, worker, (&pack, digest), &results, &control);
            match tokio::task::spawn_blocking(sealing).await {
                Ok(sealed) => sealed.map_err(|error| here(&crate::job::chain(&error))),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(NotBrought::Cancelled),
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "a task's folder could not be removed");
    }
    produced
}

/// Waits until the task is cancelled. Cancel safe.
async fn cancelled(control: &Control) {
    let notify = Arc::new(Notify::new());
    let wake = Arc::clone(&notify);
    let _listening = control.listen(move || wake.notify_one());
    while control.wish() != Wish::Cancel {
        notify.notified().await;
    }
}

/// Seals the pack of a result with this digest for another task; every byte is checked first. Blocks.
fn seal_anew(
    task: TaskId,
    worker: Address,
    (pack, digest): (&Path, Digest),
    results: &Path,
    control: &Control,
) -> Result<Produced, ProduceError> {
    let open = || File::open(pack).map(BufReader::new).map_err(crate::produce::at(pack));
    let header = verify_pack(&mut open()?, digest)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open()?).map_err(crate::produce::at(pack))?;
    let content = gristmill_types::ContentId(*hasher.finalize().as_bytes());
    seal_open_pack((task, worker), &header, (pack, content), results, control)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use alloy_primitives::B256;
    use gristmill_result::pack::{Header, PackError, write_pack};
    use gristmill_result::seal;
    use gristmill_result::{Ending, FileEntry, Manifest, Part, Witness, result_hash};
    use gristmill_types::ContentId;

    use super::*;
    use crate::produce::seal_pack;

    const BYTES: &[u8] = b"what the app wrote\n";

    fn header() -> Header {
        let content = ContentId(*blake3::hash(BYTES).as_bytes());
        let file = FileEntry { path: "out.txt".to_owned(), length: BYTES.len() as u64, content };
        let part = Part { item: None, ending: Ending::Exited(0), files: vec![file] };
        Header::new(Manifest::new(vec![part]).unwrap(), Witness(B256::repeat_byte(3)), vec![7], b"log".to_vec())
    }

    fn open(_: &str) -> std::io::Result<Cursor<&'static [u8]>> {
        Ok(Cursor::new(BYTES))
    }

    #[test]
    fn a_result_from_elsewhere_is_what_this_worker_would_have_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (pack, results) = (folder.path().join("pack"), folder.path().join("results"));
        fs::create_dir(&results).unwrap();
        write_pack(&header(), open, &mut File::create(&pack).unwrap()).unwrap();
        let (task, worker) = (TaskId(B256::repeat_byte(1)), Address::repeat_byte(2));
        let digest = header().commitment.digest();
        let control = Control::new();
        let own = seal_pack(task, worker, &header(), open, &results, &control).unwrap();
        let bytes = own.sealed.read();
        let brought = seal_anew(task, worker, (&pack, digest), &results, &control).unwrap();
        assert_eq!(brought.sealed.read(), bytes);
        assert_eq!(Produced { sealed: own.sealed.clone(), ..brought.clone() }, own);
        assert_eq!(brought.result_hash, result_hash(task, digest));
        let mut opened = Vec::new();
        seal::open(digest, task, worker, &mut bytes.as_slice(), &mut opened).unwrap();
        assert_eq!(opened, fs::read(&pack).unwrap());
        assert_eq!(verify_pack(&mut opened.as_slice(), digest).unwrap(), header());
    }

    #[test]
    fn bytes_that_are_not_those_that_were_settled_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pack = folder.path().join("pack");
        let mut bytes = Vec::new();
        write_pack(&header(), open, &mut bytes).unwrap();
        let (task, worker, control) = (TaskId(B256::ZERO), Address::ZERO, Control::new());
        let digest = header().commitment.digest();
        let of_other = Digest(B256::repeat_byte(9));
        let last = bytes.len() - 1;
        for (flip, digest, expected) in [(Some(last), digest, "FileMismatch"), (None, of_other, "DigestMismatch")] {
            let mut bytes = bytes.clone();
            flip.into_iter().for_each(|at| bytes[at] ^= 1);
            fs::write(&pack, bytes).unwrap();
            let error = seal_anew(task, worker, (&pack, digest), folder.path(), &control).unwrap_err();
            let ProduceError::Pack(error) = error else { panic!("{error}") };
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
            assert!(matches!(error, PackError::FileMismatch { .. } | PackError::DigestMismatch { .. }));
        }
    }
}
