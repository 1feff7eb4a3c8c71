//! The wallet's file: `{"version":1,"address":"0x..","key":"0x.."}`, mode 0600.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::Address;
use k256::elliptic_curve::zeroize::Zeroizing;
use serde::Deserialize;

use crate::key::{KeyError, Wallet};

/// The version of the file's format.
pub const WALLET_FILE_VERSION: u32 = 1;

/// The largest file that is looked at for a wallet, in bytes.
pub const WALLET_FILE_MAX_BYTES: u64 = 4096;

/// The permission bits of the file: its owner and nobody else.
const WALLET_FILE_MODE: u32 = 0o600;

/// A wallet that could not be loaded or saved. No message contains any part of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletFileError {
    /// Others than the owner may read or write the file.
    #[error(
        "the wallet {} has mode {mode:04o}, which lets others see its key: run `chmod 600 {}`, and if others use this machine move its funds to a new wallet",
        path.display(),
        path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no wallet.
    #[error(
        "{} is not a wallet of this program (line {line}, column {column}): it is JSON with version, address and key; restore it from a copy or import the key again",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense, counted from 1.
        line: usize,
        /// Where it stops making sense, counted from 1.
        column: usize,
    },
    /// The file was written by a newer program.
    #[error(
        "the wallet {} has version {found}, and this program knows only {WALLET_FILE_VERSION}: use the newer gristmill that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
    },
    /// The key in the file is no key.
    #[error("the wallet {} holds a damaged key: restore it from a copy or import the key again", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// Key and address in the file do not belong together.
    #[error(
        "the wallet {} says {stated} but its key belongs to {actual}: it was changed or damaged; restore it from a copy or import the key again",
        path.display()
    )]
    OtherAddress {
        /// The file.
        path: PathBuf,
        /// The address written in the file.
        stated: Address,
        /// The address of the key in the file.
        actual: Address,
    },
    /// A wallet is never written over another.
    #[error("{} exists and a wallet is never overwritten: move it away, or choose another path", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} the wallet {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}

impl WalletFileError {
    /// Whether there is simply no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, WalletFileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Borrows from the file's text, so that no copy of the key is made that nobody erases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WalletFile<'a> {
    version: u64,
    address: Address,
    key: &'a str,
}

impl Wallet {
    /// Loads the wallet at `path`.
    ///
    /// # Errors
    /// [`WalletFileError`]: others may see the file, it is damaged, or it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Wallet, WalletFileError> {
        let path = path.as_ref();
        let text = read_private(path)?;
        let malformed = |line, column| WalletFileError::Malformed { path: path.to_path_buf(), line, column };
        // The message of serde may quote the text, key and all: only the place is passed on.
        let file: WalletFile<'_> =
            serde_json::from_slice(&text).map_err(|error| malformed(error.line(), error.column()))?;
        if file.version != u64::from(WALLET_FILE_VERSION) {
            return Err(WalletFileError::Version { path: path.to_path_buf(), found: file.version });
        }
        let wallet =
            Wallet::import_hex(file.key).map_err(|source| WalletFileError::Key { path: path.to_path_buf(), source })?;
        if wallet.address() != file.address {
            return Err(WalletFileError::OtherAddress {
                path: path.to_path_buf(),
                stated: file.address,
                actual: wallet.address(),
            });
        }
        Ok(wallet)
    }

    /// Saves the wallet at `path` with mode 0600, durably and all at once.
    ///
    /// # Errors
    /// [`WalletFileError::Exists`] when anything is there already, [`WalletFileError::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), WalletFileError> {
        let path = path.as_ref();
        let mut text = Zeroizing::new(String::with_capacity(256));
        writeln!(
            text,
            r#"{{"version":{WALLET_FILE_VERSION},"address":"{}","key":"0x{}"}}"#,
            self.address(),
            *self.to_hex()
        )
        .expect("writing to a string does not fail");
        write_private(path, text.as_bytes())
    }

    /// Loads the wallet at `path`, or makes a new one and saves it there.
    ///
    /// # Errors
    /// As [`Wallet::load`] and [`Wallet::save`].
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Wallet, WalletFileError> {
        let path = path.as_ref();
        match Wallet::load(path) {
            Err(error) if error.is_not_found() => {}
            loaded => return loaded,
        }
        let wallet = Wallet::generate();
        match wallet.save(path) {
            Ok(()) => Ok(wallet),
            // Another process was faster: its wallet is the one.
            Err(WalletFileError::Exists { .. }) => Wallet::load(path),
            Err(error) => Err(error),
        }
    }
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> WalletFileError + 'a {
    move |source| WalletFileError::Io { action, path: path.to_path_buf(), source }
}

fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, WalletFileError> {
    let file = File::open(path).map_err(at("read", path))?;
    let mode = file.metadata().map_err(at("read", path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(WalletFileError::TooOpen { path: path.to_path_buf(), mode });
    }
    // The capacity is given at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(WALLET_FILE_MAX_BYTES as usize + 1));
    file.take(WALLET_FILE_MAX_BYTES).read_to_end(&mut text).map_err(at("read", path))?;
    Ok(text)
}

fn write_private(path: &Path, text: &[u8]) -> Result<(), WalletFileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        return Err(at("write", path)(io::ErrorKind::IsADirectory.into()));
    };
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary_name = std::ffi::OsString::from(format!(".unfinished-{}-{number}-", std::process::id()));
    temporary_name.push(name);
    let temporary = folder.join(temporary_name);
    let saved = write_synced(&temporary, text).map_err(at("write", path)).and_then(|()| {
        // Unlike a rename, a link never replaces what is there.
        fs::hard_link(&temporary, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => WalletFileError::Exists { path: path.to_path_buf() },
            _ => at("write", path)(error),
        })
    });
    let removed = fs::remove_file(&temporary);
    saved?;
    removed.map_err(at("remove the unfinished copy of", path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("sync", path))
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    // Only a dead process with our pid can have left a file of this name.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(WALLET_FILE_MODE).open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(WALLET_FILE_MODE))?;
    file.write_all(text)?;
    file.sync_all()
}
