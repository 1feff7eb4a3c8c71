//! List what a task produced, canonically.

use std::fmt;

use alloy_primitives::B256;
use gristmill_types::ContentId;
use serde::{Deserialize, Serialize};

use crate::codec::{Reader, put_text};
use crate::digest::Root;

/// Files one manifest may list.
pub const FILES_MAX: usize = 100_000;
/// Parts one manifest may have.
pub const PARTS_MAX: usize = 100_000;
/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Bytes of an encoded manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"GMMANI1\0";

/// How an app's run ended. Every variant is a result that replicas must agree on; anything that depends on the host
/// (wall clock, stack overflow, a signal) is not an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how", content = "code")]
pub enum Ending {
    /// The app returned or called exit with this code.
    Exited(i32),
    /// The app trapped; the code is wasmtime's order of traps fixed in the engine profile (see the sandbox crate).
    Trapped(u32),
    /// The fuel of the category was burnt.
    OutOfFuel,
    /// More linear memory was asked for than the category grants.
    OutOfMemory,
    /// More bytes were written than the category grants.
    OutputLimit,
    /// More files were made than the category grants.
    FileLimit,
    /// The app is not a module that the engine profile can run.
    NotRunnable,
}

impl Ending {
    /// True for exit code 0.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    fn to_code(self) -> (u8, u32) {
        match self {
            Self::Exited(code) => (0, code.cast_unsigned()),
            Self::Trapped(code) => (1, code),
            Self::OutOfFuel => (2, 0),
            Self::OutOfMemory => (3, 0),
            Self::OutputLimit => (4, 0),
            Self::FileLimit => (5, 0),
            Self::NotRunnable => (6, 0),
        }
    }

    fn from_code(kind: u8, code: u32) -> Option<Self> {
        let plain = match kind {
            0 => return Some(Self::Exited(code.cast_signed())),
            1 => return Some(Self::Trapped(code)),
            2 => Self::OutOfFuel,
            3 => Self::OutOfMemory,
            4 => Self::OutputLimit,
            5 => Self::FileLimit,
            6 => Self::NotRunnable,
            _ => return None,
        };
        (code == 0).then_some(plain)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("finished"),
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Trapped(code) => write!(f, "trapped (code {code})"),
            Self::OutOfFuel => f.write_str("ran past the compute limit of its category"),
            Self::OutOfMemory => f.write_str("asked for more memory than its category grants"),
            Self::OutputLimit => f.write_str("wrote more bytes than its category grants"),
            Self::FileLimit => f.write_str("made more files than its category grants"),
            Self::NotRunnable => f.write_str("is not a module that can be run"),
        }
    }
}

/// A file that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the part's folder, `/` between components, never absolute, no `.` or `..`.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// BLAKE3 of the bytes.
    pub content: ContentId,
}

/// What one run of the app produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The item's index within the job; `None` for a task without items (then it is the only part).
    pub item: Option<u64>,
    /// How the run ended.
    pub ending: Ending,
    /// The files that count, strictly ascending by the bytes of their path.
    pub files: Vec<FileEntry>,
}

impl Part {
    /// The folder of this part's files below the result's folder: `000042/` for item 42, empty without items.
    pub fn folder(&self) -> String {
        self.item.map_or_else(String::new, |item| format!("{item:06}/"))
    }
}

/// Every output file of a task that counts, and how the app ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    parts: Vec<Part>,
}

/// A manifest that breaks the rules of the encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are not a manifest.
    #[error("not a manifest: {0}")]
    Malformed(&'static str),
    /// Too many of something.
    #[error("the manifest has {got} {what}; {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A path that could leave the result's folder or that not every file system can hold.
    #[error("the path `{0}` cannot stand in a manifest")]
    Path(String),
    /// Parts or files are not strictly ascending.
    #[error("the manifest is not sorted at `{0}`")]
    Order(String),
}

impl Manifest {
    /// A manifest of these parts, checked: parts ascending by item, files ascending by path, paths plain, counts bounded.
    pub fn new(parts: Vec<Part>) -> Result<Self, ManifestError> {
        let bounded =
            |what, got, limit| if got <= limit { Ok(()) } else { Err(ManifestError::TooMany { what, got, limit }) };
        bounded("parts", parts.len(), PARTS_MAX)?;
        bounded("files", parts.iter().map(|part| part.files.len()).sum(), FILES_MAX)?;
        if parts.is_empty() {
            return Err(ManifestError::Malformed("it has no part"));
        }
        if parts.len() > 1 && parts.iter().any(|part| part.item.is_none()) {
            return Err(ManifestError::Malformed("several parts, but not each is an item"));
        }
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].item >= pair[1].item) {
            return Err(ManifestError::Order(pair[1].folder()));
        }
        for part in &parts {
            for file in &part.files {
                check_path(&file.path)?;
            }
            if let Some(pair) = part.files.windows(2).find(|pair| pair[0].path.as_bytes() >= pair[1].path.as_bytes()) {
                return Err(ManifestError::Order(pair[1].path.clone()));
            }
        }
        Ok(Self { parts })
    }

    /// The parts, ascending by item.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Each file with its path below the result's folder, in canonical order.
    pub fn files(&self) -> impl Iterator<Item = (String, &FileEntry)> {
        self.parts.iter().flat_map(|part| part.files.iter().map(move |file| (part.folder() + &file.path, file)))
    }

    /// True when every run exited with code 0.
    pub fn is_success(&self) -> bool {
        self.parts.iter().all(|part| part.ending.is_success())
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let count = |n: usize| u32::try_from(n).expect("counts are bounded by FILES_MAX").to_le_bytes();
        out.extend(count(self.parts.len()));
        for part in &self.parts {
            match part.item {
                None => out.push(0),
                Some(item) => {
                    out.push(1);
                    out.extend(item.to_le_bytes());
                }
            }
            let (kind, code) = part.ending.to_code();
            out.push(kind);
            out.extend(code.to_le_bytes());
            out.extend(count(part.files.len()));
            for file in &part.files {
                put_text(&mut out, &file.path);
                out.extend(file.length.to_le_bytes());
                out.extend(file.content.as_bytes());
            }
        }
        out
    }

    /// Reads canonical bytes; anything else is refused, so that one manifest has one encoding and one root.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = Reader(bytes);
        if reader.take(8) != Some(MAGIC.as_slice()) {
            return Err(ManifestError::Malformed("the first bytes are not a manifest's"));
        }
        let cut = ManifestError::Malformed("it ends too early or holds an unknown value");
        let parts = decode_parts(&mut reader).ok_or(cut)?;
        if !reader.0.is_empty() {
            return Err(ManifestError::Malformed("bytes follow its end"));
        }
        Self::new(parts)
    }

    /// The hash of the canonical bytes.
    pub fn root(&self) -> Root {
        Root(B256::new(*blake3::hash(&self.encode()).as_bytes()))
    }
}

fn decode_parts(reader: &mut Reader<'_>) -> Option<Vec<Part>> {
    let part_count = usize::try_from(reader.u32()?).ok().filter(|count| *count <= PARTS_MAX)?;
    let mut parts = Vec::new();
    for _ in 0..part_count {
        let item = match reader.u8()? {
            0 => None,
            1 => Some(reader.u64()?),
            _ => return None,
        };
        let ending = Ending::from_code(reader.u8()?, reader.u32()?)?;
        let file_count = usize::try_from(reader.u32()?).ok().filter(|count| *count <= FILES_MAX)?;
        let mut files = Vec::new();
        for _ in 0..file_count {
            let path = reader.text()?.to_owned();
            files.push(FileEntry { path, length: reader.u64()?, content: ContentId(reader.array()?) });
        }
        parts.push(Part { item, ending, files });
    }
    Some(parts)
}

/// Checks that `path` stays below the folder it is joined to, on any file system.
pub fn check_path(path: &str) -> Result<(), ManifestError> {
    let plain = |component: &str| {
        !matches!(component, "" | "." | "..")
            && component.len() <= 255
            && !component.chars().any(|c| c.is_control() || c == '\\')
    };
    if path.len() <= PATH_BYTES_MAX && path.split('/').all(plain) {
        Ok(())
    } else {
        Err(ManifestError::Path(path.chars().take(120).flat_map(char::escape_default).collect()))
    }
}

#[cfg(test)]
mod tests;
