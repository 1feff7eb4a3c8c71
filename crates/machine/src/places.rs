//! Read small files of the kernel's and the system's, below a root.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A file is read up to so many bytes; a longer one is not what it should be. `/proc/cpuinfo` has some 1,600 a processor.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;
/// Entries of a folder that are looked at.
pub(crate) const ENTRIES_MAX: usize = 4_096;
/// Bytes of a name or description that are kept.
pub(crate) const TEXT_BYTES_MAX: usize = 128;

/// Where the machine is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// What `/` is: `proc`, `sys`, `dev`, `etc` and `var/run/cdi` are read below it.
    pub root: PathBuf,
    /// The folder whose file system's free space counts: the worker's data folder. Not below `root`.
    pub data: PathBuf,
    /// The architecture that this program was built for, by Rust's name: what it starts is of the same.
    pub architecture: &'static str,
}

impl Places {
    /// This machine, with the worker's data in this folder.
    pub fn of_this_machine(data: impl Into<PathBuf>) -> Self {
        Self { root: "/".into(), data: data.into(), architecture: std::env::consts::ARCH }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A text file, without white space around; `None` when it is not there, not to be read, too long or no text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        read(&self.at(path)).ok().flatten()
    }

    /// The one number in a file; `None` also for one below zero.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A number in a file, written like `0x10de`.
    pub(crate) fn hexadecimal(&self, path: &str) -> Option<u16> {
        u16::from_str_radix(self.text(path)?.strip_prefix("0x")?, 16).ok()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The names in a folder, sorted; none when there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.take(ENTRIES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A text file, without white space around. `Ok(None)` when it is too long or no text.
pub(crate) fn read(path: &Path) -> std::io::Result<Option<String>> {
    // Somebody may have put a pipe where a file should be: opening it must not wait for its other end.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Ok(None);
    }
    Ok(String::from_utf8(bytes).ok().map(|text| text.trim().to_owned()))
}

/// `key: value` lines: the trimmed value of the first with this key.
pub(crate) fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// A text to be shown to others: one line, at most `bytes_max` bytes long. `None` if nothing is left of it.
pub(crate) fn clean_to(text: &str, bytes_max: usize) -> Option<String> {
    let mut cleaned = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
        if cleaned.len() > bytes_max {
            break;
        }
    }
    cleaned.truncate(cleaned.floor_char_boundary(bytes_max));
    cleaned.truncate(cleaned.trim_end().len());
    (!cleaned.is_empty()).then_some(cleaned)
}

/// [`clean_to`] [`TEXT_BYTES_MAX`].
pub(crate) fn clean(text: &str) -> Option<String> {
    clean_to(text, TEXT_BYTES_MAX)
}
