//! Fetch images from registries, piece by piece as they are needed, into an image layout.

mod address;
mod base64;
mod client;
mod error;
mod http;
mod login;
mod logins;
mod part;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::JSON_BYTES_MAX;
use crate::digest::Digest;
use crate::reference::Reference;
use client::Client;
pub use error::RegistryError;
pub use login::Credentials;
pub use logins::Logins;
use part::{Part, is_blob};

/// Bytes that are fetched for an image unless somebody says otherwise.
const BYTES_MAX: u64 = 16 << 30;
/// Bytes of one blob, whatever somebody says.
pub const BLOB_BYTES_MAX: u64 = 8 << 30;
/// Manifests and blobs that are fetched for an image: an index can name tens of thousands of others.
pub const PARTS_MAX: u64 = 256;
/// How long fetching an image may take unless somebody says otherwise.
const TIME_MAX: Duration = Duration::from_secs(4 * 60 * 60);
/// How often it is looked whether to stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// How far a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Which.
    pub digest: Digest,
    /// Bytes that are here, those of an interrupted attempt included.
    pub bytes: u64,
    /// Bytes it has.
    pub size: u64,
}

/// Told how far blobs are, now and then and at the end of each, in the thread that fetches: it should return soon.
pub type OnProgress = Arc<dyn Fn(Fetched) + Send + Sync>;

/// Told of bytes that have come, says how long to wait before more are taken.
pub type Pace = Arc<dyn Fn(u64) -> Duration + Send + Sync>;

/// How registries may be asked, and for how much.
#[derive(Clone)]
pub struct Access {
    /// Who logs in where. Default: as everybody.
    pub logins: Logins,
    /// Whether registries in private networks and on this machine may be asked. Default no: a stranger's reference would make this
    /// machine knock at doors that only its owner can reach. A registry that is elsewhere cannot send us there even so.
    pub private: bool,
    /// Certificates to trust besides the system's, as DER.
    pub roots: Vec<Vec<u8>>,
    /// Bytes that may be fetched for an image, in all. Default 16 GiB.
    pub bytes_max: u64,
    /// How long fetching an image may take, in all. Default four hours. What has come by then stays for another time.
    pub time_max: Duration,
    /// Who is told how far it is.
    pub progress: Option<OnProgress>,
    /// How quickly blobs may come. Default as they do.
    pub pace: Option<Pace>,
    /// Set by somebody else: fetching ends within a moment, and begins where it was another time.
    pub stop: Arc<AtomicBool>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            logins: Logins::default(),
            private: false,
            roots: Vec::new(),
            bytes_max: BYTES_MAX,
            time_max: TIME_MAX,
            progress: None,
            pace: None,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { logins, private, roots, bytes_max, time_max, progress: _, pace: _, stop } = self;
        f.debug_struct("Access")
            .field("logins", logins)
            .field("private", private)
            .field("roots", &roots.len())
            .field("bytes_max", bytes_max)
            .field("time_max", time_max)
            .field("stop", stop)
            .finish_non_exhaustive()
    }
}

/// What of a manifest or an index says which of the two it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

// The order of the fields is the order in the file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayoutIndex<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: [Top<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
}

/// An image of a registry, of which a folder has what was needed so far.
pub(crate) struct Pull {
    reference: Reference,
    folder: PathBuf,
    /// What the folder would have as `index.json`.
    index: Vec<u8>,
    /// Bytes that may still be fetched.
    left: u64,
    limit: u64,
    /// Manifests and blobs that may still be fetched.
    parts_left: u64,
    /// Blobs whose bytes were checked by this process.
    checked: HashSet<Digest>,
    wire: Wire,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("reference", &self.reference).field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Pull {
    /// Looks in `folder`, and asks the registry for what the reference names if that is not there.
    pub fn begin(reference: &Reference, folder: &Path, access: &Access) -> Result<Self, RegistryError> {
        for part in ["blobs/sha256", "partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(RegistryError::io(&path))?;
        }
        let mut pull = Self {
            reference: reference.clone(),
            folder: folder.to_owned(),
            index: Vec::new(),
            left: access.bytes_max,
            limit: access.bytes_max,
            parts_left: PARTS_MAX,
            checked: HashSet::new(),
            wire: Wire::new(reference, access)?,
        };
        let top = pull.top()?;
        pull.index = layout_index(reference.digest(), &top);
        pull.write("index.json", &pull.index)?;
        pull.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(pull)
    }

    pub fn index(&self) -> &[u8] {
        &self.index
    }

    /// The manifest or index that the reference names.
    fn top(&mut self) -> Result<Vec<u8>, RegistryError> {
        let digest = self.reference.digest();
        let path = self.blob_path(digest);
        let size = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(u64::MAX);
        if size <= JSON_BYTES_MAX && is_blob(&path, digest, size)? {
            return fs::read(&path).map_err(RegistryError::io(&path));
        }
        let bytes = self.wire.run(async |client| client.manifest(digest).await)?;
        self.spend(bytes.len() as u64, || digest.to_string())?;
        self.write(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
        Ok(bytes)
    }

    /// Sees to it that a manifest, or an index inside the index, is in the folder.
    pub fn manifest(&mut self, digest: Digest, size: u64) -> Result<(), RegistryError> {
        if self.has(digest, size)? {
            return Ok(());
        }
        self.spend(size, || digest.to_string())?;
        let bytes = self.wire.run(async |client| client.manifest(digest).await)?;
        if bytes.len() as u64 != size {
            return Err(RegistryError::Size { digest, expected: size, found: bytes.len() as u64 });
        }
        self.write(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
        self.checked.insert(digest);
        Ok(())
    }

    /// Sees to it that a blob is in the folder.
    pub fn blob(&mut self, digest: Digest, size: u64) -> Result<(), RegistryError> {
        if self.has(digest, size)? {
            return Ok(());
        }
        self.spend(size, || digest.to_string())?;
        let (partial, path) = (self.folder.join("partial").join(digest.hex()), self.blob_path(digest));
        self.wire.run(async |client| {
            let mut part = Part::open(&partial, size).await?;
            // Another process has fetched it while this one waited.
            if is_blob(&path, digest, size)? {
                part.discard();
                return Ok(());
            }
            let resumed = part.bytes() > 0;
            let mut fetched = client.blob(digest, size, &mut part).await;
            if let (true, Err(RegistryError::Digest { .. })) = (resumed, &fetched) {
                // The beginning may have been at fault, that lay on the disk.
                part.restart()?;
                fetched = client.blob(digest, size, &mut part).await;
            }
            match fetched {
                Ok(()) => part.finish(&path),
                // Of these bytes nothing can be kept.
                Err(error @ (RegistryError::Digest { .. } | RegistryError::Size { .. })) => {
                    part.discard();
                    Err(error)
                }
                Err(error) => Err(error),
            }
        })?;
        self.checked.insert(digest);
        Ok(())
    }

    fn has(&mut self, digest: Digest, size: u64) -> Result<bool, RegistryError> {
        // What is read is checked again, but by then a blob that has gone bad on the disk looks like a bad image.
        let found = self.checked.contains(&digest) || is_blob(&self.blob_path(digest), digest, size)?;
        if found {
            self.checked.insert(digest);
        }
        Ok(found)
    }

    /// Counts a part of the image before it is asked for.
    fn spend(&mut self, bytes: u64, what: impl FnOnce() -> String) -> Result<(), RegistryError> {
        self.parts_left = self.parts_left.checked_sub(1).ok_or(RegistryError::TooMany { limit: PARTS_MAX })?;
        if bytes > BLOB_BYTES_MAX {
            return Err(RegistryError::TooLarge { what: what(), limit: BLOB_BYTES_MAX });
        }
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(RegistryError::TooLarge { what: what(), limit: self.limit }),
        }
        Ok(())
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// Writes a short file, whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        Ok(gristmill_datadir::write_atomic(self.folder.join(name), bytes, 0o644)?)
    }
}

/// An index that leads to this manifest or index. What is neither is called a manifest: reading it says what is wrong, and that is
/// the image's fault, which every host sees.
fn layout_index(digest: Digest, top: &[u8]) -> Vec<u8> {
    let kind = serde_json::from_slice(top).unwrap_or(Kind { media_type: None, manifests: None });
    let found = kind.media_type.as_deref().unwrap_or(if kind.manifests.is_some() { INDEX } else { MANIFEST });
    let index = LayoutIndex {
        schema_version: 2,
        media_type: INDEX,
        manifests: [Top { media_type: found, digest: digest.to_string(), size: top.len() }],
    };
    serde_json::to_vec(&index).expect("texts and numbers can be written")
}

/// The client and what it runs on. The crate's other parts block, and so does this; it may be called from asynchronous code as they
/// may, because it works in a thread of its own.
struct Wire {
    client: Client,
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
    stop: Arc<AtomicBool>,
    /// How long it may still take.
    time_left: Duration,
    time_max: Duration,
}

impl Wire {
    fn new(reference: &Reference, access: &Access) -> Result<Self, RegistryError> {
        let client = Client::new(reference, access)?;
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(RegistryError::io(Path::new("epoll")))?;
        let (stop, time_max) = (access.stop.clone(), access.time_max);
        Ok(Self { client, runtime: Some(runtime), stop, time_left: time_max, time_max })
    }

    fn run<T: Send>(
        &mut self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, RegistryError> + Send,
    ) -> Result<T, RegistryError> {
        let Self { client, runtime: Some(runtime), stop, time_left, time_max } = self else {
            unreachable!("it is dropped last")
        };
        let started = Instant::now();
        let too_slow = RegistryError::Slow {
            url: client.host().to_owned(),
            what: format!("the image was not here after {} s, the longest that one may take", time_max.as_secs()),
        };
        let left = *time_left;
        let stopped = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        let either = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stopped => Err(RegistryError::Stopped),
                    () = tokio::time::sleep(left) => Err(too_slow),
                    done = work(client) => done,
                }
            })
        };
        let done = std::thread::scope(|scope| scope.spawn(either).join());
        *time_left = time_left.saturating_sub(started.elapsed());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its threads is not allowed in asynchronous code, and there is nothing to wait for.
            runtime.shutdown_background();
        }
    }
}
