//! What a user can do about an operating system error.

use std::io::{Error, ErrorKind};

/// Returns a clause that starts with ": " and says what to do about `error`, or nothing when the error speaks for itself.
pub(crate) fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull => ": the disk is full; free some space or choose a folder on another disk",
        ErrorKind::QuotaExceeded => ": the disk quota is used up; free some space or choose a folder on another disk",
        ErrorKind::PermissionDenied => {
            ": permission denied; choose a folder that this user may write, or correct its owner and mode"
        }
        ErrorKind::ReadOnlyFilesystem => {
            ": the file system is read-only; choose a folder on a disk that can be written"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            ": a file stands where a folder is needed; choose another path"
        }
        ErrorKind::NotFound => ": no such file or folder; check the path",
        _ => "",
    }
}

/// Whether `error` says that nothing more fits on the disk.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
