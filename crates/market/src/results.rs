//! Hand an accepted result to whoever has its CID: the gateway that iExec's clients download from.
//!
//! The hint on the ledger names the result pack by its CID. `GET /ipfs/{CID}` gives the pack's files as a zip, which is what
//! iExec's clients expect; `?format=raw` (or `Accept: application/vnd.ipld.raw`) gives the pack, whose BLAKE3 hash is the CID's.
//! Nothing is served that no completed task names, and nothing whose bytes do not hash to that task's digest on the ledger.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gristmill_result::Digest;
use gristmill_result::pack::{Header, PackError, read_files, read_header};
use gristmill_store::ClientError;
use gristmill_types::{ContentId, TaskId};
use serde_json::json;
use tokio_util::io::ReaderStream;

use crate::http::refusal;
use crate::query::Fields;
use crate::service::Shared;
use crate::zip::{FILES_MAX, ZipWriter};

/// Results that are being handed out at a time; more wait ten seconds for their turn.
pub const DOWNLOADS_MAX: usize = 8;
/// How long a download waits for its turn.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);
/// A client may know of a completed task before this market does, and a solo result is opened only after it is completed.
pub const RESULT_PATIENCE: Duration = Duration::from_secs(15);
const RESULT_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a pack that is handed out.
const PACK_BYTES_MAX: u64 = 2 << 30;
/// What the archive says besides the app's own files.
const NOTE_FILE: &str = "gristmill.json";

/// Why a result is not handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// Not a CID of ours.
    #[error("{0}")]
    Cid(#[from] gristmill_types::id::ParseIdError),
    /// The ledger knows no such result.
    #[error("no completed task names this result: this gateway serves accepted results only")]
    NotAccepted,
    /// The store has not got it.
    #[error("the store does not hold this result: it was not delivered, or not yet")]
    NotDelivered,
    /// The store's bytes are not what was accepted.
    #[error("what the store holds is not the accepted result, so it is not served: {0}")]
    Other(String),
    /// A zip cannot hold it.
    #[error("the result has {files} files, and a zip holds {FILES_MAX}: fetch it with `gristmill job fetch`")]
    TooManyFiles {
        /// How many it has.
        files: usize,
    },
    /// Others are served first.
    #[error("the gateway is busy with other results: try again in a moment")]
    Busy,
    /// This machine's own fault.
    #[error("the gateway cannot use its disk, its store or its book; its operator finds the cause in its log")]
    Internal(String),
}

impl IntoResponse for ResultError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Cid(_) => StatusCode::BAD_REQUEST,
            Self::NotAccepted | Self::NotDelivered => StatusCode::NOT_FOUND,
            Self::Other(_) => StatusCode::CONFLICT,
            Self::TooManyFiles { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(cause) => {
                tracing::error!(cause, "a result cannot be handed out");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        refusal(status, self.to_string())
    }
}

fn internal(error: impl std::fmt::Display) -> ResultError {
    ResultError::Internal(error.to_string())
}

pub(crate) async fn download(
    State(shared): State<Arc<Shared>>,
    UrlPath(cid): UrlPath<String>,
    Query(fields): Query<Fields>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ResultError> {
    let pack = ContentId::from_cid(&cid)?;
    let raw = match fields.get("format") {
        Some(format) => format == "raw",
        None => headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/vnd.ipld.raw"),
    };
    serve(&shared, pack, raw, method == Method::HEAD).await
}

/// The same with a name behind it, which is for whoever saves the file.
pub(crate) async fn download_named(
    state: State<Arc<Shared>>,
    UrlPath((cid, _name)): UrlPath<(String, String)>,
    fields: Query<Fields>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ResultError> {
    download(state, UrlPath(cid), fields, method, headers).await
}

async fn serve(shared: &Arc<Shared>, pack: ContentId, raw: bool, head: bool) -> Result<Response, ResultError> {
    let turn = tokio::time::timeout(QUEUE_PATIENCE, shared.downloads.acquire());
    let permit = turn.await.map_err(|_| ResultError::Busy)?.map_err(internal)?;
    let scratch = Scratch::new(&shared.scratch);
    fetch(shared, pack, &scratch.pack).await?;
    let (book, paths) = (Arc::clone(shared), (scratch.pack.clone(), scratch.zip.clone()));
    let task = tokio::task::spawn_blocking(move || check(&book, pack, &paths.0, (!raw).then_some(&paths.1)));
    let task = task.await.map_err(internal)??;
    let file = File::open(if raw { &scratch.pack } else { &scratch.zip }).map_err(internal)?;
    // The open file stays readable; its name is gone when this returns, whatever becomes of the connection.
    drop(scratch);
    drop(permit);
    let length = file.metadata().map_err(internal)?.len();
    let body = match head {
        true => Body::empty(),
        false => Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file))),
    };
    let mut response = (StatusCode::OK, body).into_response();
    describe(response.headers_mut(), pack, task, length, raw);
    Ok(response)
}

fn describe(headers: &mut HeaderMap, pack: ContentId, task: TaskId, length: u64, raw: bool) {
    let cid = pack.to_cid();
    let (content_type, ending) = if raw { ("application/vnd.ipld.raw", "pack") } else { ("application/zip", "zip") };
    let fields = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{cid}.{ending}\"")),
        (header::ETAG, format!("\"{cid}.{ending}\"")),
        (header::CACHE_CONTROL, "public, max-age=29030400, immutable".to_owned()),
        // Strangers made these bytes: a browser must not take them for a page.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    for (name, value) in fields {
        // All are digits, letters and punctuation.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&task.to_string()) {
        headers.insert("gristmill-task", value);
    }
}

/// Two files of one download, removed when it is over.
struct Scratch {
    pack: PathBuf,
    zip: PathBuf,
}

impl Scratch {
    fn new(folder: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { pack: folder.join(format!("{number}.pack")), zip: folder.join(format!("{number}.zip")) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in [&self.pack, &self.zip] {
            // Most were never made, or the folder's next owner removes them.
            let _ = fs::remove_file(path);
        }
    }
}

/// Gets the pack from the store, once the ledger says that it is a result.
async fn fetch(shared: &Shared, pack: ContentId, to: &Path) -> Result<(), ResultError> {
    let started = Instant::now();
    loop {
        let error = if !shared.book().is_result(pack).map_err(internal)? {
            ResultError::NotAccepted
        } else {
            match shared.store.get_file(pack, to, PACK_BYTES_MAX).await {
                Ok(_) => return Ok(()),
                Err(ClientError::NotFound { .. }) => ResultError::NotDelivered,
                Err(error) => return Err(internal(error)),
            }
        };
        if started.elapsed() >= RESULT_PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(RESULT_PAUSE).await;
    }
}

/// Checks every byte of a pack against the digest that the ledger settled, and writes its files as a zip on the way.
fn check(shared: &Shared, pack: ContentId, source: &Path, zip: Option<&PathBuf>) -> Result<TaskId, ResultError> {
    let mut source = BufReader::new(File::open(source).map_err(internal)?);
    // The header's own digest is looked up: the ledger has it for this pack, or the pack is not what was accepted.
    let header = read_header(&mut source, None).map_err(refused)?;
    let digest: Digest = header.commitment.digest();
    let task = shared.book().task_of(pack, digest.0.0).map_err(internal)?;
    let task = task.ok_or_else(|| ResultError::Other(format!("its digest {digest} is not the one on the ledger")))?;
    match zip {
        None => read_files(&header, &mut source, |_| Ok(io::sink())).map_err(refused)?,
        Some(path) => {
            let out = File::options().read(true).write(true).create_new(true).open(path).map_err(internal)?;
            write_zip(&header, &mut source, task, BufWriter::new(out))?;
        }
    }
    Ok(task)
}

fn refused(error: PackError) -> ResultError {
    match error {
        PackError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => internal(error),
        error => ResultError::Other(error.to_string()),
    }
}

/// Writes the files of a pack whose header was read, each checked, and a note on how the app ended.
fn write_zip<W: Write + Seek>(
    header: &Header,
    source: &mut impl io::Read,
    task: TaskId,
    out: W,
) -> Result<(), ResultError> {
    let files = header.manifest.files().count();
    // One place for the note.
    if files >= FILES_MAX {
        return Err(ResultError::TooManyFiles { files });
    }
    let zip = Rc::new(RefCell::new(ZipWriter::new(out)));
    read_files(header, source, |path| {
        zip.borrow_mut().begin(path)?;
        Ok(Member(Rc::clone(&zip)))
    })
    .map_err(refused)?;
    let mut zip = Rc::into_inner(zip).ok_or_else(|| internal("a file of the archive is still open"))?.into_inner();
    if header.manifest.files().all(|(path, _)| path != NOTE_FILE) {
        zip.begin(NOTE_FILE).map_err(internal)?;
        zip.write_all(note(header, task).as_bytes()).map_err(internal)?;
    }
    let (mut out, _) = zip.finish().map_err(internal)?;
    out.seek(SeekFrom::Start(0)).map_err(internal)?;
    Ok(())
}

/// How the app ended: a zip with files alone would hide that it failed.
fn note(header: &Header, task: TaskId) -> String {
    let parts = header.manifest.parts().iter().map(
        |part| json!({ "item": part.item, "ended_well": part.ending.is_success(), "ending": part.ending.to_string() }),
    );
    let note = json!({
        "task": task,
        "digest": header.commitment.digest(),
        "fingerprint": header.commitment.root,
        "runs": parts.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&note).unwrap_or_default() + "\n"
}

/// One file of an archive while it is written.
struct Member<W: Write + Seek>(Rc<RefCell<ZipWriter<W>>>);

impl<W: Write + Seek> Write for Member<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
