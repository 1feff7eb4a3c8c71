//! What can go wrong between a client and a store.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_types::ContentId;

use crate::error::advice;

/// A transfer that failed. Every message names the URL or the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Not the URL of a store.
    #[error("{url:?} is not the URL of a store: it looks like http://HOST:PORT ({reason})")]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The store does not have the blob.
    #[error("the store has no blob at {url}: was it uploaded, and to this store?")]
    NotFound {
        /// The URL of the blob.
        url: String,
        /// The blob.
        content: ContentId,
    },
    /// The store refused. `error` and `hint` are its own words, shortened and without control characters.
    #[error("the store refused {method} {url} with status {status}: {error}{}{hint}", if hint.is_empty() { "" } else { "; " })]
    Refused {
        /// The method of the request.
        method: &'static str,
        /// The URL of the request.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the store says happened.
        error: String,
        /// What the store says to do.
        hint: String,
    },
    /// The blob is longer than the caller allows.
    #[error(
        "the blob at {url} has {len} bytes or more, past the limit of {max} bytes: raise the limit if it is expected to be that large"
    )]
    TooLarge {
        /// The URL of the blob.
        url: String,
        /// Its length so far or as stated by the store, in bytes.
        len: u64,
        /// The caller's limit, in bytes.
        max: u64,
    },
    /// The store sent other bytes than those asked for. They were thrown away.
    #[error(
        "the store sent other bytes at {url}: they hash to {got}; nothing of them was kept, get the blob from another store"
    )]
    Corrupt {
        /// The URL of the blob.
        url: String,
        /// The content id of the bytes that came.
        got: ContentId,
    },
    /// All attempts failed.
    #[error("{method} {url} failed {attempts} times in a row: is the store running, and is the address right?")]
    Unreachable {
        /// The method of the request.
        method: &'static str,
        /// The URL of the request.
        url: String,
        /// How many times it was tried.
        attempts: u32,
        /// How the last attempt failed.
        #[source]
        source: AttemptError,
    },
    /// The store's answer is no answer to the question.
    #[error("the answer to {method} {url} makes no sense ({detail}): is there a store at this address?")]
    Protocol {
        /// The method of the request.
        method: &'static str,
        /// The URL of the request.
        url: String,
        /// What does not fit.
        detail: String,
    },
    /// A local file could not be used.
    #[error("cannot {action} {}{}", path.display(), advice(source))]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The file to send changed while it was read.
    #[error("{} changed while it was being sent: wait until nothing writes to it, then try again", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
}

/// How one attempt failed, in a way that another one may not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store did not begin its answer in time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The transfer stopped.
    #[error("no progress within {0:?}")]
    Stalled(Duration),
    /// The transfer went on, but more slowly than it may.
    #[error("slower than {bytes_per_second} bytes a second")]
    TooSlow {
        /// The least average speed.
        bytes_per_second: u64,
    },
    /// The answer ended before its stated length.
    #[error("cut after {got} of {expected} bytes")]
    Cut {
        /// Bytes that came.
        got: u64,
        /// Bytes that were stated.
        expected: u64,
    },
    /// The store had a passing failure.
    #[error("the store answered with status {status}: {error}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the store says happened.
        error: String,
    },
}

/// Returns a closure for `map_err` that records what was tried on which file.
pub(super) fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ClientError + 'a {
    move |source| ClientError::File { action, path: path.to_path_buf(), source }
}
