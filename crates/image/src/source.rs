use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::JSON_BYTES_MAX;
use crate::digest::{Digest, Hashing};
use crate::error::ImageError;
use crate::image::{self, Descriptor, Host, Image};
use crate::reference::Reference;
use crate::registry::{Access, Pull};

/// Entries of an archive: blobs and a few files.
const ARCHIVE_ENTRIES_MAX: usize = 100_000;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Where an image comes from: an archive, a layout folder or a registry.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    Archive { file: File, index: Span, blobs: HashMap<Digest, Span> },
    Registry(Box<Pull>),
}

/// A part of an archive.
#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    bytes: u64,
}

impl Source {
    /// Looks at an archive or at a folder, and reads where its parts are.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`] when it is neither, with what it is and how to make it one.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let metadata = std::fs::metadata(path).map_err(ImageError::io(path))?;
        if metadata.is_dir() {
            if !path.join("index.json").is_file() {
                let what = "the folder has no index.json; an image layout is made by `skopeo copy ... oci:FOLDER`";
                return Err(no_image(path, what));
            }
            return Ok(Self { path: path.to_owned(), kind: Kind::Folder });
        }
        let file = File::open(path).map_err(ImageError::io(path))?;
        Ok(Self { path: path.to_owned(), kind: scan(path, file)? })
    }

    /// An image of a registry, which is fetched into the folder `path`, a layout that the next time is at hand without a network.
    /// Only what `reference` names is looked at now, manifest and configuration by [`image`](Self::image), and layers when they are
    /// unpacked: those that are unpacked already are never fetched. What was interrupted goes on where it was. Several images and
    /// several processes may have one folder; to forget what is there, remove it.
    ///
    /// Blocks, as all methods do, for as long as the network takes.
    ///
    /// # Errors
    /// [`ImageError::Registry`].
    pub fn pull(reference: &Reference, path: &Path, access: &Access) -> Result<Self, ImageError> {
        let pull = Pull::begin(reference, path, access)?;
        Ok(Self { path: path.to_owned(), kind: Kind::Registry(Box::new(pull)) })
    }

    /// The image for `host`. `name`: which, when there are several: the tag that the index gives it, or its digest.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn image(&mut self, host: &Host, name: Option<&str>) -> Result<Image, ImageError> {
        image::read(self, host, name)
    }

    /// The index that everything begins with.
    pub(crate) fn index(&mut self) -> Result<Vec<u8>, ImageError> {
        let too_large = || ImageError::TooLarge {
            what: "index.json".to_owned(),
            limit: JSON_BYTES_MAX,
            why: "bytes of a description",
        };
        let mut bytes = Vec::new();
        let (path, reader): (PathBuf, Box<dyn Read + '_>) = match &mut self.kind {
            Kind::Registry(pull) => return Ok(pull.index().to_vec()),
            Kind::Folder => {
                let path = self.path.join("index.json");
                let file = File::open(&path).map_err(ImageError::io(&path))?;
                (path, Box::new(file))
            }
            Kind::Archive { file, index, .. } => {
                (self.path.clone(), Box::new(part(file, *index).map_err(ImageError::io(&self.path))?))
            }
        };
        reader.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(ImageError::io(&path))?;
        if bytes.len() as u64 > JSON_BYTES_MAX { Err(too_large()) } else { Ok(bytes) }
    }

    /// A manifest, or an index in the index, whole and checked.
    pub(crate) fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if let Kind::Registry(pull) = &mut self.kind
            && descriptor.size <= JSON_BYTES_MAX
        {
            // Registries keep these apart from the blobs.
            pull.manifest(descriptor.digest, descriptor.size)?;
        }
        self.json(descriptor)
    }

    /// A description, whole and checked.
    pub(crate) fn json(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if descriptor.size > JSON_BYTES_MAX {
            return Err(ImageError::TooLarge {
                what: descriptor.digest.to_string(),
                limit: JSON_BYTES_MAX,
                why: "bytes of a description",
            });
        }
        let mut bytes = Vec::new();
        let path = self.path.clone();
        let mut blob = self.blob(descriptor.digest, descriptor.size)?;
        blob.read_to_end(&mut bytes).map_err(ImageError::io(&path))?;
        blob.finish(&path)?;
        Ok(bytes)
    }

    /// A part of the image. What is read is checked by [`Blob::finish`].
    pub(crate) fn blob(&mut self, digest: Digest, size: u64) -> Result<Blob<'_>, ImageError> {
        if let Kind::Registry(pull) = &mut self.kind {
            pull.blob(digest, size)?;
        }
        let (reader, found): (Box<dyn Read + '_>, u64) = match &mut self.kind {
            Kind::Folder | Kind::Registry(_) => {
                let path = self.path.join("blobs/sha256").join(digest.hex());
                let file = File::open(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => ImageError::Missing { digest },
                    _ => ImageError::Io { path: path.clone(), error },
                })?;
                let metadata = file.metadata().map_err(ImageError::io(&path))?;
                if !metadata.is_file() {
                    return Err(ImageError::malformed(digest, "it is no file"));
                }
                (Box::new(file), metadata.len())
            }
            Kind::Archive { file, blobs, .. } => {
                let span = *blobs.get(&digest).ok_or(ImageError::Missing { digest })?;
                (Box::new(part(file, span).map_err(ImageError::io(&self.path))?), span.bytes)
            }
        };
        if found != size {
            return Err(ImageError::Size { digest, expected: size, found });
        }
        Ok(Blob { digest, size, reader: Hashing::new(reader, size) })
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Finds index and blobs of an archive, wherever in it they are.
fn scan(path: &Path, mut file: File) -> Result<Kind, ImageError> {
    let mut magic = [0; 2];
    let length = file.metadata().map_err(ImageError::io(path))?.len();
    if file.read_exact(&mut magic).is_ok() && magic == GZIP_MAGIC {
        return Err(no_image(path, "it is compressed as a whole; unpack it first: `gunzip FILE`"));
    }
    file.seek(SeekFrom::Start(0)).map_err(ImageError::io(path))?;
    let (mut index, mut blobs, mut old_form) = (None, HashMap::new(), false);
    let mut archive = tar::Archive::new(&file);
    let entries = archive.entries_with_seek().map_err(ImageError::io(path))?;
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| no_image(path, &format!("it is no tar, or it was cut off: {error}")))?;
        if count == ARCHIVE_ENTRIES_MAX {
            return Err(ImageError::TooLarge {
                what: "entries of the archive".to_owned(),
                limit: ARCHIVE_ENTRIES_MAX as u64,
                why: "an image has some dozens",
            });
        }
        let span = Span { offset: entry.raw_file_position(), bytes: entry.size() };
        if span.offset.checked_add(span.bytes).is_none_or(|end| end > length) {
            return Err(no_image(path, "it was cut off: its last part is not whole"));
        }
        let is_file = entry.header().entry_type().is_file();
        let name = entry.path_bytes();
        match name.strip_prefix(b"./").unwrap_or(&name) {
            b"index.json" if is_file => index = Some(span),
            b"manifest.json" => old_form = true,
            name if is_file => {
                let digits = name.strip_prefix(b"blobs/sha256/").and_then(|digits| std::str::from_utf8(digits).ok());
                if let Some(digest) = digits.and_then(|digits| format!("sha256:{digits}").parse().ok()) {
                    blobs.insert(digest, span);
                }
            }
            _ => {}
        }
    }
    match index {
        Some(index) => Ok(Kind::Archive { file, index, blobs }),
        None if old_form => Err(no_image(
            path,
            "it is an archive of Docker's old form; save it again with `docker save` of version 25 or later, `podman save \
             --format oci-archive`, or convert it with `skopeo copy docker-archive:FILE oci-archive:NEW`",
        )),
        None => Err(no_image(path, "the tar has no index.json")),
    }
}

fn no_image(path: &Path, what: &str) -> ImageError {
    ImageError::NotAnImage { path: path.to_owned(), what: what.to_owned() }
}

fn part(file: &mut File, span: Span) -> io::Result<io::Take<&mut File>> {
    file.seek(SeekFrom::Start(span.offset))?;
    Ok(file.take(span.bytes))
}

/// A part of an image while it is read.
pub(crate) struct Blob<'a> {
    digest: Digest,
    size: u64,
    reader: Hashing<Box<dyn Read + 'a>>,
}

impl Blob<'_> {
    /// Reads what is left, and holds all of it against its name.
    pub fn finish(self, path: &Path) -> Result<(), ImageError> {
        let (bytes, found) = self.reader.finish().map_err(ImageError::io(path))?;
        if bytes != self.size {
            return Err(ImageError::Size { digest: self.digest, expected: self.size, found: bytes });
        }
        if found != self.digest {
            return Err(ImageError::Digest { expected: self.digest, found });
        }
        Ok(())
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}
