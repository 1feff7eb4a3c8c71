//! Write images: folders become layers, layers an archive, and the same folders always become the same bytes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use rustix::fs::lgetxattr;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::LAYERS_MAX;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::image::{Host, REF_NAME};
use crate::layer::{Limits, OPAQUE, WHITEOUT, is_whiteout};

/// How hard layers are pressed: another level is other bytes.
const GZIP_LEVEL: u32 = 6;
/// How overlayfs marks a folder that hides what lies below it: mounted by root, and with `userxattr`.
const OPAQUE_MARKS: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// How it marks a folder whose content lies elsewhere below: a layer cannot say that.
const REDIRECT_MARKS: [&str; 2] = ["trusted.overlay.redirect", "user.overlay.redirect"];
/// Mode bits that a layer keeps.
const MODE_KEPT: u32 = 0o7777;
/// Folders inside folders: more do not fit the kernel's bound of a path.
const DEPTH_MAX: usize = 2_048;
const BUFFER_BYTES: usize = 256 * 1024;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a layer says of when its files were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// At the beginning of 1970, all of them.
    Zero,
    /// As the folder has it, in whole seconds.
    Kept,
}

/// What an image runs, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// What is run before the arguments.
    pub entrypoint: Vec<String>,
    /// What is run, or the arguments, when none are given.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where it is run; empty for `/`.
    pub working_dir: String,
}

/// A layer, packed and ready to be written into any number of archives. Its bytes lie in a file without a name.
#[derive(Debug)]
pub struct PackedLayer {
    file: File,
    digest: Digest,
    diff_id: Digest,
    size: u64,
}

impl PackedLayer {
    /// Packs a folder, which may be the upper folder of an overlay mount. Entries are in the order of their names' bytes, all
    /// belong to user and group 0, modes, symbolic links and hard links are kept; devices, pipes and sockets are left out.
    /// What overlayfs removes becomes a whiteout. `scratch`: a folder for the bytes until they are written.
    ///
    /// # Errors
    /// [`ImageError::Io`]; [`ImageError::Malformed`] for a name that would be read as a whiteout, a folder that overlayfs has
    /// only moved, and a file that changes meanwhile; [`ImageError::TooLarge`].
    pub fn of_folder(folder: &Path, times: Times, scratch: &Path) -> Result<Self, ImageError> {
        let file = tempfile::tempfile_in(scratch).map_err(ImageError::io(scratch))?;
        let blob = HashingWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        let plain = HashingWriter::new(GzEncoder::new(blob, flate2::Compression::new(GZIP_LEVEL)));
        let mut packing =
            Packing { root: folder, times, archive: tar::Builder::new(plain), linked: HashMap::new(), entries: 0 };
        packing.content(Path::new(""), 0)?;
        let finish = || -> io::Result<Self> {
            let (gzip, _, diff_id) = packing.archive.into_inner()?.finish();
            let (buffered, size, digest) = gzip.finish()?.finish();
            let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok(Self { file, digest, diff_id, size })
        };
        finish().map_err(ImageError::io(scratch))
    }

    /// Of its bytes as they are in the image.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Of the tar in it.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Its bytes in the image.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Writes an image as an OCI archive: a tar of an image layout.
#[derive(Debug)]
pub struct Writer<'a> {
    host: Host,
    layers: Vec<&'a PackedLayer>,
}

impl<'a> Writer<'a> {
    /// An image for such machines, without layers.
    pub fn new(host: Host) -> Self {
        Self { host, layers: Vec::new() }
    }

    /// Puts a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: &'a PackedLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Writes the archive, whole or not at all, and returns the image's digest. `name`: how the index calls the image.
    ///
    /// # Errors
    /// [`ImageError::Io`]; [`ImageError::TooLarge`] for more than [`LAYERS_MAX`] layers.
    pub fn write(&self, path: &Path, name: &str, run: &Run) -> Result<Digest, ImageError> {
        if self.layers.len() > LAYERS_MAX {
            return Err(ImageError::TooLarge {
                what: format!("{} layers", self.layers.len()),
                limit: LAYERS_MAX as u64,
                why: "more do not fit one overlay mount; pack several folders as one",
            });
        }
        let described = self.describe(name, run).map_err(|error| ImageError::malformed("the new image", error))?;
        self.write_parts(path, &described).map_err(ImageError::io(path))?;
        Ok(described.digest)
    }

    fn describe(&self, name: &str, run: &Run) -> serde_json::Result<Described> {
        let (architecture, os) = (self.host.architecture.as_str(), self.host.os.as_str());
        let configuration = serde_json::to_vec(&Configuration {
            // What tools show as the image's age.
            created: "1970-01-01T00:00:00Z",
            architecture,
            os,
            config: RunConfiguration {
                env: &run.env,
                entrypoint: &run.entrypoint,
                cmd: &run.cmd,
                working_dir: &run.working_dir,
            },
            rootfs: RootFs {
                kind: "layers",
                diff_ids: self.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
            },
        })?;
        let layers = self.layers.iter().map(|layer| Descriptor::new(LAYER_TYPE, layer.digest, layer.size)).collect();
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor::new(CONFIGURATION_TYPE, Digest::of(&configuration), configuration.len() as u64),
            layers,
        })?;
        let digest = Digest::of(&manifest);
        let index = serde_json::to_vec(&Index {
            schema_version: 2,
            media_type: INDEX_TYPE,
            manifests: [Descriptor {
                platform: Some(Platform { architecture, os }),
                annotations: Some(HashMap::from([(REF_NAME, name)])),
                ..Descriptor::new(MANIFEST_TYPE, digest, manifest.len() as u64)
            }],
        })?;
        Ok(Described { index, manifest, configuration, digest })
    }

    fn write_parts(&self, path: &Path, described: &Described) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unfinished = tempfile::NamedTempFile::new_in(folder)?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, unfinished));
        let text = |archive: &mut tar::Builder<_>, name: &str, bytes: &[u8]| {
            archive.append_data(&mut header(tar::EntryType::Regular, 0o644, 0, bytes.len() as u64), name, bytes)
        };
        text(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        text(&mut archive, "index.json", &described.index)?;
        for name in ["blobs/", "blobs/sha256/"] {
            archive.append_data(&mut header(tar::EntryType::Directory, 0o755, 0, 0), name, io::empty())?;
        }
        text(&mut archive, &blob_name(described.digest), &described.manifest)?;
        text(&mut archive, &blob_name(Digest::of(&described.configuration)), &described.configuration)?;
        for (place, layer) in self.layers.iter().enumerate() {
            if self.layers[..place].iter().any(|earlier| earlier.digest == layer.digest) {
                continue;
            }
            let mut file = &layer.file;
            file.seek(SeekFrom::Start(0))?;
            let mut header = header(tar::EntryType::Regular, 0o644, 0, layer.size);
            archive.append_data(&mut header, blob_name(layer.digest), file)?;
        }
        let unfinished = archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        unfinished.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        unfinished.as_file().sync_all()?;
        unfinished.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The descriptions of an image.
struct Described {
    index: Vec<u8>,
    manifest: Vec<u8>,
    configuration: Vec<u8>,
    /// Of the manifest.
    digest: Digest,
}

// The order of the fields is the order in the file, and so part of the digest.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: [Descriptor<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform<'a>>,
    /// One at most: a hash map has no order.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<HashMap<&'a str, &'a str>>,
}

impl<'a> Descriptor<'a> {
    fn new(media_type: &'a str, digest: Digest, size: u64) -> Self {
        Self { media_type, digest: digest.to_string(), size, platform: None, annotations: None }
    }
}

#[derive(Serialize)]
struct Platform<'a> {
    architecture: &'a str,
    os: &'a str,
}

#[derive(Serialize)]
struct Configuration<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: RunConfiguration<'a>,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfiguration<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: Vec<String>,
}

fn header(kind: tar::EntryType, mode: u32, modified: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(modified);
    header.set_size(size);
    header
}

/// A folder that becomes a tar.
struct Packing<'a, W: Write> {
    root: &'a Path,
    times: Times,
    archive: tar::Builder<W>,
    /// Files with several names, and the first of these.
    linked: HashMap<(u64, u64), PathBuf>,
    entries: u64,
}

impl<W: Write> Packing<'_, W> {
    /// What is in a folder; `relative` is its path below the root.
    fn content(&mut self, relative: &Path, depth: usize) -> Result<(), ImageError> {
        let folder = self.root.join(relative);
        if depth == DEPTH_MAX {
            let what = format!("folders inside folders at {}", folder.display());
            return Err(ImageError::TooLarge { what, limit: DEPTH_MAX as u64, why: "no path is that long" });
        }
        if has_mark(&folder, &OPAQUE_MARKS, Some(b"y"))? {
            self.whiteout(&relative.join(std::ffi::OsStr::from_bytes(OPAQUE)))?;
        }
        let entries = fs::read_dir(&folder).map_err(ImageError::io(&folder))?;
        let names = entries.map(|entry| Ok(entry.map_err(ImageError::io(&folder))?.file_name()));
        let mut names = names.collect::<Result<Vec<_>, ImageError>>()?;
        names.sort_unstable_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
        for name in names {
            let relative = relative.join(&name);
            let path = self.root.join(&relative);
            let metadata = fs::symlink_metadata(&path).map_err(ImageError::io(&path))?;
            if is_whiteout(&metadata) {
                let removed = [WHITEOUT, name.as_bytes()].concat();
                self.whiteout(&relative.with_file_name(std::ffi::OsStr::from_bytes(&removed)))?;
                continue;
            }
            if name.as_bytes().starts_with(WHITEOUT) {
                return Err(ImageError::malformed(path.display(), "the name would be read as something removed"));
            }
            self.entry(&relative, &path, &metadata)?;
            if metadata.is_dir() {
                self.content(&relative, depth + 1)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, relative: &Path, path: &Path, metadata: &fs::Metadata) -> Result<(), ImageError> {
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
            return Ok(());
        }
        self.count()?;
        let modified = match self.times {
            Times::Zero => 0,
            Times::Kept => u64::try_from(metadata.mtime()).unwrap_or(0),
        };
        let header = |kind, size| header(kind, metadata.mode() & MODE_KEPT, modified, size);
        let written = if kind.is_dir() {
            if has_mark(path, &REDIRECT_MARKS, None)? {
                let what = "overlayfs has only moved this folder; mount it with redirect_dir=off";
                return Err(ImageError::malformed(path.display(), what));
            }
            self.archive.append_data(&mut header(tar::EntryType::Directory, 0), relative.join(""), io::empty())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(ImageError::io(path))?;
            self.archive.append_link(&mut header(tar::EntryType::Symlink, 0), relative, target)
        } else if let Some(first) = self.first_name(relative, metadata) {
            self.archive.append_link(&mut header(tar::EntryType::Link, 0), relative, first)
        } else {
            let file = File::open(path).map_err(ImageError::io(path))?;
            let mut exact = Exact { inner: file, left: metadata.len() };
            self.archive
                .append_data(&mut header(tar::EntryType::Regular, metadata.len()), relative, &mut exact)
                .and_then(|()| exact.finish())
        };
        written.map_err(ImageError::io(path))
    }

    /// The name under which the file is already in the archive.
    fn first_name(&mut self, relative: &Path, metadata: &fs::Metadata) -> Option<PathBuf> {
        if metadata.nlink() < 2 {
            return None;
        }
        let file = (metadata.dev(), metadata.ino());
        let first = self.linked.get(&file).cloned();
        if first.is_none() {
            self.linked.insert(file, relative.to_owned());
        }
        first
    }

    fn whiteout(&mut self, relative: &Path) -> Result<(), ImageError> {
        self.count()?;
        let mut header = header(tar::EntryType::Regular, 0o644, 0, 0);
        self.archive.append_data(&mut header, relative, io::empty()).map_err(ImageError::io(&self.root.join(relative)))
    }

    fn count(&mut self) -> Result<(), ImageError> {
        let limit = Limits::default().entries;
        if self.entries == limit {
            let what = format!("what is in {}", self.root.display());
            return Err(ImageError::TooLarge { what, limit, why: "nobody would unpack a layer of more entries" });
        }
        self.entries += 1;
        Ok(())
    }
}

/// Whether the folder has one of these extended attributes, with this value if one is given.
fn has_mark(folder: &Path, names: &[&str], value: Option<&[u8]>) -> Result<bool, ImageError> {
    use rustix::io::Errno;
    let mut found = [0; 16];
    for name in names {
        match lgetxattr(folder, *name, &mut found[..]) {
            Ok(bytes) if value.is_none_or(|value| found[..bytes] == *value) => return Ok(true),
            Err(Errno::RANGE) if value.is_none() => return Ok(true),
            // Another value, none, a file system without attributes, or names that only root may read.
            Ok(_) | Err(Errno::RANGE | Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(ImageError::io(folder)(error.into())),
        }
    }
    Ok(false)
}

/// A file whose size has been said already: a tar with another would be damaged.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Exact<R> {
    fn finish(mut self) -> io::Result<()> {
        if self.left > 0 || self.inner.read(&mut [0])? > 0 {
            return Err(io::Error::other("the file changed while it was packed"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Passes bytes on, counts them and takes their hash.
struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    fn finish(self) -> (W, u64, Digest) {
        (self.inner, self.bytes, Digest::from_hasher(self.hasher))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
