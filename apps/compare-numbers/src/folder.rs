//! The app's output folder, and the folder of the canonical form. `compare-pixels` and `compare-numbers` have the same file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Files that a folder may hold.
pub const FILES_MAX: usize = 100_000;
/// Bytes of a file's path below the folder; bounds the depth too.
pub const PATH_BYTES_MAX: usize = 1024;

/// Why there is no canonical form.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line or the environment makes no sense.
    Usage(String),
    /// The app's output cannot be brought into canonical form.
    Input { path: String, problem: String },
    /// The canonical form cannot be written.
    Output { path: String, cause: ErrorKind },
}

impl Failure {
    /// A file or folder of the app that is not as it should be.
    pub fn input(path: &str, problem: impl Into<String>) -> Failure {
        Failure::Input { path: path.into(), problem: problem.into() }
    }

    /// The exit code: 2 for what the caller or the app did, 1 for what the machine did.
    pub fn code(&self) -> i32 {
        match self {
            Failure::Usage(_) | Failure::Input { .. } => 2,
            Failure::Output { .. } => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are a stranger's: their control characters must not reach a terminal.
        match self {
            Failure::Usage(problem) => write!(out, "{}", problem),
            Failure::Input { path, problem } => write!(out, "{:?}: {}", path, problem),
            Failure::Output { path, cause } => write!(out, "{:?} cannot be written: {}", path, cause),
        }
    }
}

/// Where to read and where to write.
pub struct Folders {
    input: PathBuf,
    output: PathBuf,
}

impl Folders {
    /// The folders that the values of `IEXEC_IN` and `IEXEC_OUT` name.
    pub fn new(input: Option<OsString>, output: Option<OsString>) -> Result<Folders, Failure> {
        let named = |value: Option<OsString>, name: &str| match value {
            Some(value) if !value.is_empty() => Ok(PathBuf::from(value)),
            _ => Err(Failure::Usage(format!("the environment variable {} does not name a folder", name))),
        };
        Ok(Folders { input: named(input, "IEXEC_IN")?, output: named(output, "IEXEC_OUT")? })
    }

    /// The paths of all files below the input folder, with `/` between names, in the order of their bytes. Empty folders do not count.
    pub fn files(&self) -> Result<Vec<String>, Failure> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let unreadable = |error: io::Error| Failure::input(&folder, format!("cannot be listed: {}", error.kind()));
            for entry in fs::read_dir(self.input.join(&folder)).map_err(unreadable)? {
                let name = entry.map_err(unreadable)?.file_name();
                let name = name.to_str().ok_or_else(|| Failure::input(&folder, "has a name that is not UTF-8"))?;
                let path = if folder.is_empty() { name.to_string() } else { format!("{}/{}", folder, name) };
                if path.len() > PATH_BYTES_MAX {
                    return Err(Failure::input(&path, format!("the path has more than {} bytes", PATH_BYTES_MAX)));
                }
                if files.len() + folders.len() >= FILES_MAX {
                    return Err(Failure::input("", format!("more than {} files and folders", FILES_MAX)));
                }
                // Not `metadata`: a link could lead anywhere.
                let kind = fs::symlink_metadata(self.input.join(&path))
                    .map_err(|error| Failure::input(&path, format!("cannot be looked at: {}", error.kind())))?
                    .file_type();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    files.push(path);
                } else {
                    return Err(Failure::input(&path, "is neither a file nor a folder"));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Opens a file of the app; its length beside it.
    pub fn open(&self, path: &str) -> Result<(File, u64), Failure> {
        let unreadable = |error: io::Error| unreadable(path, &error);
        let file = File::open(self.input.join(path)).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Ok((file, length))
    }

    /// Reads a whole file of at most `bytes_max` bytes.
    #[allow(dead_code)] // compare-numbers goes line by line
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let (mut file, length) = self.open(path)?;
        if length > bytes_max as u64 {
            return Err(Failure::input(path, format!("has {} bytes, more than {}", length, bytes_max)));
        }
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length as usize)
            .map_err(|_| Failure::input(path, format!("there is no memory for its {} bytes", length)))?;
        bytes.resize(length as usize, 0);
        file.read_exact(&mut bytes).map_err(|error| unreadable(path, &error))?;
        Ok(bytes)
    }

    /// Makes a file of the canonical form, and the folders above it.
    pub fn create(&self, path: &str) -> Result<File, Failure> {
        let whole = self.output.join(path);
        let made = match whole.parent() {
            Some(parent) => fs::create_dir_all(parent).and_then(|()| File::create(&whole)),
            None => File::create(&whole),
        };
        made.map_err(|error| unwritable(path, &error))
    }

    /// Writes a whole file of the canonical form.
    #[allow(dead_code)] // compare-numbers goes line by line
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.create(path)?.write_all(bytes).map_err(|error| unwritable(path, &error))
    }

    /// Takes a file over as it is.
    pub fn copy(&self, path: &str) -> Result<(), Failure> {
        const PIECE_BYTES: usize = 64 * 1024;
        let mut source = BufReader::with_capacity(PIECE_BYTES, self.open(path)?.0);
        let mut target = self.create(path)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = source.read(&mut piece).map_err(|error| unreadable(path, &error))?;
            if count == 0 {
                return Ok(());
            }
            target.write_all(&piece[..count]).map_err(|error| unwritable(path, &error))?;
        }
    }
}

/// A file of the app that could not be read.
pub fn unreadable(path: &str, error: &io::Error) -> Failure {
    Failure::input(path, format!("cannot be read: {}", error.kind()))
}

/// A file of the canonical form that could not be written.
pub fn unwritable(path: &str, error: &io::Error) -> Failure {
    Failure::Output { path: path.into(), cause: error.kind() }
}

/// Refuses targets of which two are the same, or one is a folder above another.
#[allow(dead_code)] // the names in compare-numbers do not change
pub fn check_targets<'a>(targets: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for target in targets {
        if !files.insert(target) {
            return Err(Failure::input(target, "two files would get this name in the canonical form"));
        }
        folders.extend(Path::new(target).ancestors().skip(1).filter_map(Path::to_str));
    }
    match files.intersection(&folders).next() {
        Some(target) => Err(Failure::input(target, "a file and a folder would get this name in the canonical form")),
        None => Ok(()),
    }
}
