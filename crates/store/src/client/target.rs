//! Where downloaded bytes go, and the check before anybody sees them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gristmill_types::ContentId;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::{ClientError, at};
use crate::tree::content_id;

/// Pieces that wait for the disk.
const PIECES_MAX: usize = 16;

/// Collects the bytes of one blob.
pub(super) enum Target {
    Memory(Vec<u8>),
    File(FileTarget),
}

/// The content id of what was written, `None` when the download was given up.
type WriterOutcome = Result<Option<ContentId>, ClientError>;

/// A file that a blocking thread writes and hashes.
pub(super) struct FileTarget {
    sender: mpsc::Sender<Piece>,
    /// `None` once its outcome has been taken.
    writer: Option<JoinHandle<WriterOutcome>>,
    len: u64,
}

enum Piece {
    Bytes(Bytes),
    /// All bytes are there. Without this the download was given up and nothing is kept.
    End,
}

/// What [`Target::finish`] found.
pub(super) enum Finished {
    /// The bytes are those asked for. Of a file, they have its name now.
    Good(Vec<u8>),
    /// They are not, and were thrown away.
    Corrupt(ContentId),
}

impl Target {
    /// Writes beside `path`; the file gets its name when its bytes hash to `content`.
    pub(super) fn file(path: &Path, content: ContentId) -> Target {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let path = path.to_path_buf();
        let writer = spawn_blocking(move || write_pieces(&path, content, receiver));
        Target::File(FileTarget { sender, writer: Some(writer), len: 0 })
    }

    /// Gives the download up and returns when nothing of it is left.
    pub(super) async fn abandon(self) {
        if let Target::File(FileTarget { sender, writer, .. }) = self {
            drop(sender);
            if let Some(writer) = writer {
                // It had nothing to report but the end of the pieces.
                let _ = writer.await;
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Target::Memory(bytes) => bytes.len() as u64,
            Target::File(file) => file.len,
        }
    }

    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        match self {
            Target::Memory(memory) => memory.extend_from_slice(&bytes),
            Target::File(file) => {
                file.len += bytes.len() as u64;
                if file.sender.send(Piece::Bytes(bytes)).await.is_err() {
                    return Err(file.failure().await);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn finish(self, content: ContentId) -> Result<Finished, ClientError> {
        match self {
            Target::Memory(bytes) => match content_id(&bytes) {
                got if got == content => Ok(Finished::Good(bytes)),
                got => Ok(Finished::Corrupt(got)),
            },
            Target::File(mut file) => {
                if file.sender.send(Piece::End).await.is_err() {
                    return Err(file.failure().await);
                }
                match file.outcome().await? {
                    Some(got) if got == content => Ok(Finished::Good(Vec::new())),
                    Some(got) => Ok(Finished::Corrupt(got)),
                    None => Err(lost_writer()),
                }
            }
        }
    }
}

impl FileTarget {
    /// Waits for the writer to end.
    async fn outcome(&mut self) -> WriterOutcome {
        match self.writer.take() {
            Some(writer) => writer.await.unwrap_or_else(|_| Err(lost_writer())),
            None => Err(lost_writer()),
        }
    }

    /// Why the writer stopped.
    async fn failure(&mut self) -> ClientError {
        self.outcome().await.err().unwrap_or_else(lost_writer)
    }
}

fn lost_writer() -> ClientError {
    at("write", Path::new("the download"))(std::io::Error::other("the writing thread stopped"))
}

fn write_pieces(path: &Path, content: ContentId, mut receiver: mpsc::Receiver<Piece>) -> WriterOutcome {
    let mut unfinished = Unfinished::create(path)?;
    let mut hasher = blake3::Hasher::new();
    while let Some(piece) = receiver.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                unfinished.file.write_all(&bytes).map_err(at("write", path))?;
                hasher.update(&bytes);
            }
            Piece::End => {
                let got = ContentId(*hasher.finalize().as_bytes());
                if got == content {
                    unfinished.publish(path)?;
                }
                return Ok(Some(got));
            }
        }
    }
    Ok(None)
}

/// A file being written; dropped before it is published, it is removed.
struct Unfinished {
    file: File,
    temporary: Option<PathBuf>,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Unfinished, ClientError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let Some(name) = path.file_name() else {
            return Err(at("write", path)(std::io::ErrorKind::IsADirectory.into()));
        };
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The prefix by which a data folder knows what a crash left.
        let mut temporary = std::ffi::OsString::from(format!(".unfinished-{}-{number}-", std::process::id()));
        temporary.push(name);
        let temporary = folder_of(path).join(temporary);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(at("write", path))?;
        Ok(Unfinished { file, temporary: Some(temporary) })
    }

    fn publish(&mut self, path: &Path) -> Result<(), ClientError> {
        self.file.sync_all().map_err(at("sync", path))?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, path).map_err(at("write", path))?;
            self.temporary = None;
        }
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(at("sync", path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // If this fails, the data folder removes the file when it is opened next.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
