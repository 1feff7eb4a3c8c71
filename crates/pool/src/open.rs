//! Open a sealed upload with the revealed digest, check its bytes, and put the open pack into the store.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use alloy_primitives::{Address, Bytes};
use gristmill_result::Digest;
use gristmill_result::pack::verify_pack;
use gristmill_result::seal::{self, SealError};
use gristmill_store::{Client, ClientError};
use gristmill_types::{ContentId, TaskId};

use crate::journal::Opened;

/// Bytes of a sealed pack that the pool takes: the largest category's outputs with room for the frame.
pub const SEALED_BYTES_MAX: u64 = 2 << 30;

/// A sealed pack of so many bytes is opened in memory, a larger one in files.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// What came of opening an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Its bytes hash to the digest and lie open in the store.
    Matches(Opened),
    /// Its bytes are there and are not what was committed to: the worker's fault.
    Wrong,
    /// Its bytes could not be had or kept just now: nobody's fault that is known; it may be tried again.
    Unavailable,
}

/// Opens the upload `sealed` of `worker`, of so many bytes. Only [`Opening::Matches`] may ever be shown as a result.
pub async fn open_upload(
    store: &Client,
    scratch: &Path,
    task: TaskId,
    worker: Address,
    digest: Digest,
    (sealed, size): (ContentId, u64),
) -> Opening {
    let small = match size <= SMALL_BYTES_MAX {
        true => open_small(store, task, worker, digest, sealed).await,
        false => None,
    };
    let result = match small {
        Some(result) => result,
        None => {
            let folder = scratch.join(format!("{:x}-{:x}", task.0, worker));
            let result = open_in(store, &folder, task, worker, digest, sealed).await;
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "a scratch folder could not be removed");
            }
            result
        }
    };
    match result {
        Ok(opened) => Opening::Matches(opened),
        Err(Failure::Wrong(reason)) => {
            tracing::warn!(%task, %worker, reason, "an upload does not open to the revealed digest");
            Opening::Wrong
        }
        Err(Failure::Unavailable(reason)) => {
            tracing::warn!(%task, %worker, reason, "an upload could not be opened now");
            Opening::Unavailable
        }
    }
}

/// Why an upload did not open.
enum Failure {
    Wrong(String),
    Unavailable(String),
}

fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(error.to_string())
}

/// In memory; `None` for an upload that is larger than it was said to be.
async fn open_small(
    store: &Client,
    task: TaskId,
    worker: Address,
    digest: Digest,
    sealed: ContentId,
) -> Option<Result<Opened, Failure>> {
    let bytes = match store.get_bytes(sealed, SMALL_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(ClientError::TooLarge { .. }) => return None,
        Err(error) => return Some(Err(unavailable(error))),
    };
    let opened = async {
        let mut plain = Vec::with_capacity(bytes.len());
        seal::open(digest, task, worker, &mut bytes.as_slice(), &mut plain).map_err(of_seal)?;
        let commitment = verify(&mut plain.as_slice(), digest)?;
        let pack = store.put_bytes(plain).await.map_err(unavailable)?;
        Ok(Opened { pack, commitment })
    };
    Some(opened.await)
}

async fn open_in(
    store: &Client,
    folder: &Path,
    task: TaskId,
    worker: Address,
    digest: Digest,
    sealed: ContentId,
) -> Result<Opened, Failure> {
    std::fs::create_dir_all(folder).map_err(unavailable)?;
    let (sealed_file, plain_file) = (folder.join("sealed"), folder.join("plain"));
    store.get_file(sealed, &sealed_file, SEALED_BYTES_MAX).await.map_err(unavailable)?;
    let plain = plain_file.clone();
    let checked = tokio::task::spawn_blocking(move || check(&sealed_file, &plain, task, worker, digest)).await;
    let commitment = checked.map_err(unavailable)??;
    let pack = store.put_file(&plain_file).await.map_err(unavailable)?;
    Ok(Opened { pack, commitment })
}

fn check(sealed: &Path, plain: &Path, task: TaskId, worker: Address, digest: Digest) -> Result<Bytes, Failure> {
    let mut source = BufReader::new(File::open(sealed).map_err(unavailable)?);
    let mut sink = BufWriter::new(File::create(plain).map_err(unavailable)?);
    seal::open(digest, task, worker, &mut source, &mut sink).map_err(of_seal)?;
    sink.flush().map_err(unavailable)?;
    verify(&mut BufReader::new(File::open(plain).map_err(unavailable)?), digest)
}

fn verify(pack: &mut impl Read, digest: Digest) -> Result<Bytes, Failure> {
    let header = verify_pack(pack, digest).map_err(|error| Failure::Wrong(error.to_string()))?;
    Ok(header.commitment.encode().into())
}

fn of_seal(error: SealError) -> Failure {
    match error {
        SealError::Io(error) => unavailable(error),
        error => Failure::Wrong(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
