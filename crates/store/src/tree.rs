//! The hash tree of a blob, cut at segments.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB. A segment is a whole subtree of it, so the chaining values of all
//! segments merge to the content id: a list of them proves itself, and each segment can then be checked alone. That is
//! how any part of a large blob is checked before it is sent, with memory for one segment.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use gristmill_types::ContentId;

/// The unit in which stored bytes are checked, in bytes: a power of two and a multiple of BLAKE3's chunk.
pub const SEGMENT_BYTES: usize = 256 << 10;

const _: () = assert!(SEGMENT_BYTES.is_power_of_two() && SEGMENT_BYTES >= blake3::CHUNK_LEN * 2);

/// The content id of `bytes`.
pub fn content_id(bytes: &[u8]) -> ContentId {
    ContentId(*blake3::hash(bytes).as_bytes())
}

/// The checked shape of a blob: its length and, past one segment, the chaining value of each segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    content: ContentId,
    len: u64,
    /// Empty for a blob of at most one segment: its content id is enough.
    segments: Vec<ChainingValue>,
}

impl Tree {
    /// The shape of a blob of one segment at most.
    pub(crate) fn of_small(bytes: &[u8]) -> Tree {
        debug_assert!(bytes.len() <= SEGMENT_BYTES, "a small blob has one segment");
        Tree { content: content_id(bytes), len: bytes.len() as u64, segments: Vec::new() }
    }

    /// The content id that the segments merge to.
    pub(crate) fn content(&self) -> ContentId {
        self.content
    }

    /// The length of the blob in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What the tree weighs in the cache, in chaining values.
    pub(crate) fn weight(&self) -> usize {
        self.segments.len().max(1)
    }

    /// The number of segments, the last of which may be short. An empty blob has one empty segment.
    pub(crate) fn segment_count(&self) -> u64 {
        self.len.div_ceil(SEGMENT_BYTES as u64).max(1)
    }

    /// The length of segment `index` in bytes.
    pub(crate) fn segment_len(&self, index: u64) -> usize {
        let start = index * SEGMENT_BYTES as u64;
        // Fits: at most SEGMENT_BYTES.
        self.len.saturating_sub(start).min(SEGMENT_BYTES as u64) as usize
    }

    /// Whether `bytes` are segment `index` of the blob.
    pub(crate) fn matches(&self, index: u64, bytes: &[u8]) -> bool {
        if index >= self.segment_count() || bytes.len() != self.segment_len(index) {
            return false;
        }
        match usize::try_from(index).ok().and_then(|index| self.segments.get(index)) {
            None => content_id(bytes) == self.content,
            Some(expected) => {
                let mut hasher = Hasher::new();
                hasher.set_input_offset(index * SEGMENT_BYTES as u64).update(bytes);
                hasher.finalize_non_root() == *expected
            }
        }
    }
}

/// Hashes bytes as they come and keeps the chaining value of each segment.
#[derive(Debug)]
pub(crate) struct TreeHasher {
    /// The segment that is being filled. It is never empty except before the first byte: a full one waits for the next
    /// byte, because a blob of exactly one segment is hashed as a root.
    current: Hasher,
    finished: Vec<ChainingValue>,
}

impl TreeHasher {
    pub(crate) fn new() -> TreeHasher {
        TreeHasher { current: Hasher::new(), finished: Vec::new() }
    }

    /// The number of bytes so far.
    pub(crate) fn len(&self) -> u64 {
        (self.finished.len() * SEGMENT_BYTES) as u64 + self.current.count()
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.current.count() == SEGMENT_BYTES as u64 {
                self.finished.push(self.current.finalize_non_root());
                self.current = Hasher::new();
                self.current.set_input_offset((self.finished.len() * SEGMENT_BYTES) as u64);
            }
            let room = SEGMENT_BYTES - self.current.count() as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            bytes = later;
        }
    }

    pub(crate) fn finish(mut self) -> Tree {
        let len = self.len();
        if self.finished.is_empty() {
            let content = ContentId(*self.current.finalize().as_bytes());
            return Tree { content, len, segments: Vec::new() };
        }
        self.finished.push(self.current.finalize_non_root());
        let (left, right) = halves(&self.finished, len);
        let root = merge_subtrees_root(&left, &right, Mode::Hash);
        Tree { content: ContentId(*root.as_bytes()), len, segments: self.finished }
    }
}

/// The chaining values of the two subtrees below the root of `segments`, which hold `len` bytes.
fn halves(segments: &[ChainingValue], len: u64) -> (ChainingValue, ChainingValue) {
    // A power of two that is at least one segment, because `len` is more than one.
    let left_len = left_subtree_len(len);
    let (left, right) = segments.split_at((left_len / SEGMENT_BYTES as u64) as usize);
    (merge(left, left_len), merge(right, len - left_len))
}

/// Recurses to the logarithm of the number of segments.
fn merge(segments: &[ChainingValue], len: u64) -> ChainingValue {
    match segments {
        [single] => *single,
        _ => {
            let (left, right) = halves(segments, len);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests;
