use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::registry::RegistryError;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// It is no OCI image.
    #[error("{} is no OCI image: {what}", path.display())]
    NotAnImage {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and how to make it one.
        what: String,
    },
    /// A part of it is missing.
    #[error("the image names {digest}, which it does not have: it was not saved whole")]
    Missing {
        /// The part.
        digest: Digest,
    },
    /// A part of it has another hash than its name.
    #[error("{expected} has the hash {found}: the image is damaged, or somebody changed it")]
    Digest {
        /// Its name.
        expected: Digest,
        /// What its bytes say.
        found: Digest,
    },
    /// A part of it has another size than the one that names it says.
    #[error("{digest} should have {expected} bytes and has {found}: the image was cut off, or somebody changed it")]
    Size {
        /// The part.
        digest: Digest,
        /// What was said.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// A description does not make sense.
    #[error("{place}: {what}")]
    Malformed {
        /// Which description.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// It is for other machines.
    #[error("the image is for {has}, and this machine is {wanted}: build it for {wanted}")]
    OtherPlatform {
        /// Whom it is for.
        has: String,
        /// What this machine is.
        wanted: String,
    },
    /// There are several images, and nobody said which.
    #[error("the file has several images ({}): name one", names.join(", "))]
    Ambiguous {
        /// Their names.
        names: Vec<String>,
    },
    /// There is no image of that name.
    #[error("there is no image `{wanted}` in the file, which has {}", names.join(", "))]
    NoSuchName {
        /// What was asked for.
        wanted: String,
        /// What there is.
        names: Vec<String>,
    },
    /// A bound was passed.
    #[error("{what} is more than {limit}: {why}")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit: u64,
        /// What it is for.
        why: &'static str,
    },
    /// An entry of a layer that would leave the layer, or is none.
    #[error("layer {layer}, entry `{entry}`: {what}")]
    Entry {
        /// The layer.
        layer: Digest,
        /// The entry's name, escaped.
        entry: String,
        /// What is wrong with it.
        what: String,
    },
    /// It cannot be had from the registry now.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The folder of layers cannot be had.
    #[error(transparent)]
    Store(#[from] gristmill_datadir::DataDirError),
}

impl ImageError {
    /// Whether another host might fare better with the same image: the disk, the network or the kind of this machine is at fault.
    pub fn is_this_hosts(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Store(_) | Self::Registry(_) | Self::OtherPlatform { .. })
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    pub(crate) fn malformed(place: impl ToString, what: impl ToString) -> Self {
        Self::Malformed { place: place.to_string(), what: what.to_string() }
    }
}
