//! Keep a result unreadable until its digest is revealed.
//!
//! The pack is encrypted under a key derived from (digest, task, worker): whoever knows the digest can open it, nobody
//! else can read or copy it, and two workers' seals of the same result differ. Chunks of 64 KiB under
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha); the nonce is the chunk's number with a flag on the last, so that
//! chunks cannot be dropped, repeated or swapped. A key seals one pack only, which makes counting nonces safe.

use std::io::{self, Read, Write};

use alloy_primitives::Address;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use gristmill_types::TaskId;

use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"GMSEAL1\0";
const CONTEXT: &str = "gristmill 2026 result seal v1";
/// Plain bytes of a chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// A sealed pack that this digest does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Reading or writing failed.
    #[error("reading or writing the sealed result failed")]
    Io(#[from] io::Error),
    /// Not a sealed pack.
    #[error("not a sealed result: the first bytes are not a seal's")]
    Malformed,
    /// Wrong digest, task or worker, or damaged bytes.
    #[error(
        "the sealed result does not open with this digest, task and worker, or its bytes are damaged (chunk {chunk})"
    )]
    DoesNotOpen {
        /// The chunk that failed.
        chunk: u64,
    },
}

fn cipher(digest: Digest, task: TaskId, worker: Address) -> XChaCha20Poly1305 {
    let mut material = [0u8; 84];
    material[..32].copy_from_slice(digest.0.as_slice());
    material[32..64].copy_from_slice(task.as_bytes());
    material[64..].copy_from_slice(worker.as_slice());
    XChaCha20Poly1305::new(&blake3::derive_key(CONTEXT, &material).into())
}

fn nonce(chunk: u64, last: bool) -> XNonce {
    let mut bytes = [0u8; 24];
    bytes[..8].copy_from_slice(&chunk.to_le_bytes());
    bytes[8] = u8::from(last);
    bytes.into()
}

/// Bytes of the sealed form of so many plain bytes.
pub fn sealed_length(plain: u64) -> u64 {
    let chunks = plain / CHUNK_BYTES as u64 + 1;
    MAGIC.len() as u64 + plain + chunks * TAG_BYTES as u64
}

/// Reads `plain` to its end and writes the sealed form.
pub fn seal<R: Read, W: Write>(
    digest: Digest,
    task: TaskId,
    worker: Address,
    plain: &mut R,
    sealed: &mut W,
) -> Result<(), SealError> {
    let cipher = cipher(digest, task, worker);
    sealed.write_all(MAGIC)?;
    let mut chunk = 0u64;
    loop {
        let mut buffer = read_up_to(plain, CHUNK_BYTES)?;
        let last = buffer.len() < CHUNK_BYTES;
        cipher.encrypt_in_place(&nonce(chunk, last), b"", &mut buffer).map_err(|_| SealError::DoesNotOpen { chunk })?;
        sealed.write_all(&buffer)?;
        if last {
            return Ok(());
        }
        chunk += 1;
    }
}

/// Reads a sealed pack and writes the plain one. Chunks are written as they verify: on an error the caller throws away
/// what was written.
pub fn open<R: Read, W: Write>(
    digest: Digest,
    task: TaskId,
    worker: Address,
    sealed: &mut R,
    plain: &mut W,
) -> Result<(), SealError> {
    let mut magic = [0u8; 8];
    sealed.read_exact(&mut magic).map_err(|_| SealError::Malformed)?;
    if &magic != MAGIC {
        return Err(SealError::Malformed);
    }
    let cipher = cipher(digest, task, worker);
    let mut chunk = 0u64;
    loop {
        let mut buffer = read_up_to(sealed, CHUNK_BYTES + TAG_BYTES)?;
        let last = buffer.len() < CHUNK_BYTES + TAG_BYTES;
        cipher.decrypt_in_place(&nonce(chunk, last), b"", &mut buffer).map_err(|_| SealError::DoesNotOpen { chunk })?;
        plain.write_all(&buffer)?;
        if last {
            return Ok(());
        }
        chunk += 1;
    }
}

fn read_up_to<R: Read>(source: &mut R, limit: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(limit + TAG_BYTES);
    source.take(limit as u64).read_to_end(&mut buffer)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests;
