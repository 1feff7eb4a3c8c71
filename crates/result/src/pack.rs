//! Carry a result as one stream of bytes from which the digest can be recomputed.
//!
//! Layout: magic, then four length-prefixed sections (manifest, witness, answer, log), then the files' bytes in the
//! manifest's order. The log is stderr, unverified and outside the digest.

use std::io::{self, Read, Write};

use gristmill_types::ContentId;

use crate::digest::{Commitment, Digest, Root, Witness};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError};

const MAGIC: &[u8; 8] = b"GMPACK1\0";
/// The log of a pack keeps so many bytes.
pub const LOG_BYTES_MAX: usize = 64 * 1024;
const COPY_BYTES: usize = 64 * 1024;

/// A pack that is not what it claims to be, or could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Reading or writing failed.
    #[error("reading or writing the result pack failed")]
    Io(#[from] io::Error),
    /// Not a pack.
    #[error("not a result pack: {0}")]
    Malformed(&'static str),
    /// The manifest inside breaks the rules.
    #[error("the result pack's manifest is refused")]
    Manifest(#[from] ManifestError),
    /// The manifest does not hash to the root that the commitment names.
    #[error("the result pack's manifest hashes to {got}, but its root is {expected}")]
    RootMismatch {
        /// The root named.
        expected: Root,
        /// The root found.
        got: Root,
    },
    /// The commitment does not hash to the digest on the ledger.
    #[error("the result hashes to {got}, but the ledger settled {expected}: these are not the accepted bytes")]
    DigestMismatch {
        /// The digest of the ledger.
        expected: Digest,
        /// The digest found.
        got: Digest,
    },
    /// A file's bytes are not those of the manifest.
    #[error("the bytes of `{path}` are not those of the manifest (expected {expected}, got {got})")]
    FileMismatch {
        /// The file.
        path: String,
        /// The hash in the manifest.
        expected: ContentId,
        /// The hash found.
        got: ContentId,
    },
}

/// The front of a pack: all but the files' bytes, already checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was produced.
    pub manifest: Manifest,
    /// The digest's preimage.
    pub commitment: Commitment,
    /// The end of stderr: unverified.
    pub log: Vec<u8>,
}

impl Header {
    /// A header for these parts. The log keeps its last [`LOG_BYTES_MAX`] bytes.
    pub fn new(manifest: Manifest, witness: Witness, answer: Vec<u8>, mut log: Vec<u8>) -> Self {
        let commitment = Commitment { root: manifest.root(), witness, answer };
        log.drain(..log.len().saturating_sub(LOG_BYTES_MAX));
        Self { manifest, commitment, log }
    }

    /// Bytes of the whole pack.
    pub fn pack_length(&self) -> u64 {
        let front = self.encode().len() as u64;
        self.manifest.files().map(|(_, file)| file.length).fold(front, u64::saturating_add)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let manifest = self.manifest.encode();
        for section in [manifest.as_slice(), &self.commitment.witness.0[..], &self.commitment.answer, &self.log] {
            out.extend((section.len() as u64).to_le_bytes());
            out.extend(section);
        }
        out
    }
}

/// Writes a pack. `open` gives the bytes of each file by its path below the result's folder; they are checked against
/// the manifest as they pass, so that a file that changed since is an error here and not at the reader's.
pub fn write_pack<W: Write, R: Read>(
    header: &Header,
    mut open: impl FnMut(&str) -> io::Result<R>,
    out: &mut W,
) -> Result<(), PackError> {
    out.write_all(&header.encode())?;
    for (path, file) in header.manifest.files() {
        let source = open(&path)?;
        copy_verified(source, out, &path, file.length, file.content)?;
    }
    Ok(())
}

/// Reads the front of a pack and checks manifest against root, and commitment against `expected` when given.
pub fn read_header<R: Read>(source: &mut R, expected: Option<Digest>) -> Result<Header, PackError> {
    let mut magic = [0u8; 8];
    source.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(PackError::Malformed("the first bytes are not a pack's"));
    }
    let manifest = Manifest::decode(&read_section(source, MANIFEST_BYTES_MAX)?)?;
    let witness: [u8; 32] =
        read_section(source, 32)?.try_into().map_err(|_| PackError::Malformed("the witness has not 32 bytes"))?;
    let answer = read_section(source, crate::computed::ANSWER_BYTES_MAX)?;
    let log = read_section(source, LOG_BYTES_MAX)?;
    let commitment = Commitment { root: manifest.root(), witness: Witness(witness.into()), answer };
    let got = commitment.digest();
    match expected {
        Some(expected) if expected != got => Err(PackError::DigestMismatch { expected, got }),
        _ => Ok(Header { manifest, commitment, log }),
    }
}

/// Reads the files that follow a header; `create` makes a sink for each path. Every byte is checked against the
/// manifest; on an error the caller throws away what was written.
pub fn read_files<R: Read, W: Write>(
    header: &Header,
    source: &mut R,
    mut create: impl FnMut(&str) -> io::Result<W>,
) -> Result<(), PackError> {
    for (path, file) in header.manifest.files() {
        let mut sink = create(&path)?;
        copy_verified(&mut *source, &mut sink, &path, file.length, file.content)?;
        sink.flush()?;
    }
    let mut rest = [0u8; 1];
    if source.read(&mut rest)? != 0 {
        return Err(PackError::Malformed("bytes follow its last file"));
    }
    Ok(())
}

/// Reads a whole pack and keeps nothing: the check that a pool or requester makes before it believes a pack.
pub fn verify_pack<R: Read>(source: &mut R, expected: Digest) -> Result<Header, PackError> {
    let header = read_header(source, Some(expected))?;
    read_files(&header, source, |_| Ok(io::sink()))?;
    Ok(header)
}

fn read_section<R: Read>(source: &mut R, limit: usize) -> Result<Vec<u8>, PackError> {
    let mut length = [0u8; 8];
    source.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > limit as u64 {
        return Err(PackError::Malformed("a section is longer than allowed"));
    }
    let mut bytes = Vec::new();
    source.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(PackError::Malformed("it ends too early"));
    }
    Ok(bytes)
}

fn copy_verified<R: Read, W: Write>(
    source: R,
    sink: &mut W,
    path: &str,
    length: u64,
    expected: ContentId,
) -> Result<(), PackError> {
    let mut source = source.take(length);
    let mut hasher = blake3::Hasher::new();
    // Most files are small, and there may be very many.
    let mut buffer = vec![0u8; COPY_BYTES.min(usize::try_from(length).map_or(COPY_BYTES, |length| length.max(1)))];
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                sink.write_all(&buffer[..count])?;
            }
        }
    }
    let got = ContentId(*hasher.finalize().as_bytes());
    if got == expected { Ok(()) } else { Err(PackError::FileMismatch { path: path.to_owned(), expected, got }) }
}

#[cfg(test)]
mod tests;
