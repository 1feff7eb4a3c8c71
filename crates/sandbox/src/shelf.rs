//! Handle a task's files for the child, which can open none itself.
//!
//! Inputs are listed here before a run and opened when the guest first reads them. Large outputs lie under numbers in a scratch
//! folder and are moved to their names when the run is over; small ones come over the socket, and need not go to the disk at all.
//! Whatever a child asks for is checked as if it were no longer ours: it gets files of its own task, and names that cannot lead
//! anywhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use crate::execution::{Input, SmallFile};
use crate::stop::HostProblem;
use crate::vfs::INPUT_ENTRIES_MAX;
use crate::vfs::output::SCRATCH_NAME;
use crate::vfs::path::{PATH_BYTES_MAX, check_name};
use crate::wire::{Entry, Placed, Want, What};

/// A host file as it was when it was listed.
struct Source {
    host: PathBuf,
    identity: Identity,
}

/// What tells that a host file is still the one that was listed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Input files by their numbers, and which were opened.
#[derive(Default)]
pub(crate) struct Inputs {
    files: Vec<Source>,
    opened: BTreeSet<usize>,
}

impl Inputs {
    /// Lists what is given to a task or an item, folders to their bottom. Nothing is followed.
    pub(crate) fn list(inputs: &[Input]) -> Result<(Self, Vec<Entry>), HostProblem> {
        let mut listing = (Self::default(), Vec::new());
        for input in inputs {
            let cannot = |error| problem(format_args!("cannot read the input {}", input.host.display()), error);
            let metadata = std::fs::symlink_metadata(&input.host).map_err(cannot)?;
            let at = input.at.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
            listing.add(at, input.host.clone(), &metadata)?;
        }
        Ok(listing)
    }

    /// Opens a file that is still what it was.
    fn open(&mut self, number: usize) -> Result<File, HostProblem> {
        let source = self.files.get(number).ok_or_else(|| problem("an input", "there is none of this number"))?;
        // O_NONBLOCK: should a pipe have taken the file's place, the open must not wait for its other end.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&source.host)
            .map_err(|error| problem(format_args!("cannot open the input {}", source.host.display()), error))?;
        let metadata = file.metadata().map_err(|error| problem("cannot stat an input", error))?;
        if Identity::of(&metadata) != source.identity {
            return Err(source.changed());
        }
        self.opened.insert(number);
        Ok(file)
    }

    /// Checks that the files that were opened are still as they were listed.
    fn check_opened(&self) -> Result<(), HostProblem> {
        for number in &self.opened {
            let source = &self.files[*number];
            let same = std::fs::symlink_metadata(&source.host).is_ok_and(|now| Identity::of(&now) == source.identity);
            if !same {
                return Err(source.changed());
            }
        }
        Ok(())
    }
}

impl Source {
    fn changed(&self) -> HostProblem {
        HostProblem::InputChanged(self.host.display().to_string())
    }
}

/// Adds to a listing under way.
trait Add {
    fn add(&mut self, at: String, host: PathBuf, metadata: &Metadata) -> Result<(), HostProblem>;
    fn add_one(&mut self, at: String, host: &Path, metadata: &Metadata) -> Result<(), HostProblem>;
}

impl Add for (Inputs, Vec<Entry>) {
    fn add(&mut self, at: String, host: PathBuf, metadata: &Metadata) -> Result<(), HostProblem> {
        self.add_one(at.clone(), &host, metadata)?;
        let mut pending = if metadata.is_dir() { vec![(at, host)] } else { vec![] };
        while let Some((at, host)) = pending.pop() {
            let cannot = |error| problem(format_args!("cannot list {}", host.display()), error);
            for entry in std::fs::read_dir(&host).map_err(cannot)? {
                let entry = entry.map_err(cannot)?;
                let (path, metadata) = (entry.path(), entry.metadata().map_err(cannot)?);
                let not_text = |_| problem(format_args!("the input {}", path.display()), "its name is not UTF-8");
                let name = entry.file_name().into_string().map_err(not_text)?;
                let below = if at.is_empty() { name } else { format!("{at}/{name}") };
                self.add_one(below.clone(), &path, &metadata)?;
                if metadata.is_dir() {
                    pending.push((below, path));
                }
            }
        }
        Ok(())
    }

    fn add_one(&mut self, at: String, host: &Path, metadata: &Metadata) -> Result<(), HostProblem> {
        let refuse = |why: &str| Err(problem(format_args!("the input {}", host.display()), why));
        if self.1.len() >= INPUT_ENTRIES_MAX {
            return refuse(&format!("there are more than {INPUT_ENTRIES_MAX} files and folders"));
        }
        if metadata.is_symlink() {
            return refuse("it is a symbolic link");
        }
        if !metadata.is_dir() && !metadata.is_file() {
            return refuse("it is not a regular file");
        }
        if metadata.is_file() {
            self.0.files.push(Source { host: host.to_path_buf(), identity: Identity::of(metadata) });
        }
        self.1.push(Entry { at, size: metadata.is_file().then_some(metadata.len()), small: false });
        Ok(())
    }
}

/// What is left of a task's allowance for outputs; held against what the child delivers, not against its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// Bytes that a small file takes besides its own.
const SMALL_OVERHEAD_BYTES: u64 = 128;

impl Room {
    fn take(&mut self, bytes: u64) -> Result<(), HostProblem> {
        let left = (self.bytes.checked_sub(bytes), self.files.checked_sub(1));
        let (Some(bytes), Some(files)) = left else { return Err(told("it is more than was allowed")) };
        *self = Self { bytes, files };
        Ok(())
    }
}

/// The output folder of one item.
pub(crate) struct Outputs {
    root: PathBuf,
    root_made: bool,
    scratch_made: bool,
}

impl Outputs {
    /// The host's folder `root` must exist and be empty.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, root_made: true, scratch_made: false }
    }

    /// The host's folder `root` is made when something is to be put into it.
    pub(crate) fn lazy(root: PathBuf) -> Self {
        Self { root_made: false, ..Self::new(root) }
    }

    fn make_root(&mut self) -> Result<(), HostProblem> {
        if !self.root_made {
            let cannot = |why| problem(format_args!("cannot use the output folder {}", self.root.display()), why);
            prepare_output(&self.root).map_err(cannot)?;
            self.root_made = true;
        }
        Ok(())
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(SCRATCH_NAME)
    }

    fn open(&mut self, number: u64, create: bool) -> Result<File, HostProblem> {
        if create && !self.scratch_made {
            self.make_root()?;
            std::fs::create_dir(self.scratch()).map_err(cannot_write)?;
            self.scratch_made = true;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).mode(0o644);
        options.create_new(create).open(self.scratch().join(number.to_string())).map_err(cannot_write)
    }

    fn remove(&self, number: u64) -> Result<(), HostProblem> {
        match std::fs::remove_file(self.scratch().join(number.to_string())) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(problem("cannot remove an output file", error)),
            _ => Ok(()),
        }
    }

    /// Puts entries at their names; `bytes` are those of the files that were in memory.
    pub(crate) fn place(&mut self, entries: &[Placed], mut bytes: &[u8], room: &mut Room) -> Result<(), HostProblem> {
        if !entries.is_empty() {
            self.make_root()?;
        }
        for entry in entries {
            check_path(&entry.path)?;
            let length = self.place_one(entry, &mut bytes)?;
            room.take(length)?;
        }
        Ok(())
    }

    /// Puts one entry at its name; how many bytes it has.
    fn place_one(&self, entry: &Placed, bytes: &mut &[u8]) -> Result<u64, HostProblem> {
        let path = self.root.join(&entry.path);
        let cannot = |error| problem(format_args!("cannot put {} in its place", path.display()), error);
        match entry.what {
            What::Scratch(number) => {
                let scratch = self.scratch().join(number.to_string());
                let length = std::fs::symlink_metadata(&scratch).map_err(cannot)?.len();
                // A rename would silently replace what an honest child never places twice.
                if path.symlink_metadata().is_ok() {
                    return Err(told("it is there already"));
                }
                std::fs::rename(&scratch, &path).map_err(cannot)?;
                Ok(length)
            }
            What::Bytes(length) => {
                let content = cut(bytes, length)?;
                let mut options = OpenOptions::new();
                options.write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).mode(0o644).create_new(true);
                options.open(&path).and_then(|mut file| file.write_all(content)).map_err(cannot)?;
                Ok(length)
            }
            What::Folder => std::fs::create_dir(&path).map_err(cannot).map(|()| 0),
        }
    }

    /// Keeps entries in memory, of which `budget` bytes are left. None when that is too little, or when there is something in the
    /// folder already.
    pub(crate) fn keep(
        &self,
        entries: &[Placed],
        mut bytes: &[u8],
        room: &mut Room,
        budget: &mut u64,
    ) -> Result<Option<Vec<SmallFile>>, HostProblem> {
        let taken: u64 = entries.iter().map(|entry| entry.path.len() as u64 + SMALL_OVERHEAD_BYTES).sum();
        let left = budget.checked_sub(taken.saturating_add(bytes.len() as u64));
        let (Some(left), false) = (left, self.root_made) else { return Ok(None) };
        let mut names = BTreeMap::new();
        let mut files = Vec::new();
        for Placed { path, what } in entries {
            check_path(path)?;
            let has_folder = path.rsplit_once('/').is_none_or(|(folder, _)| names.get(folder) == Some(&What::Folder));
            if !has_folder || names.insert(path.as_str(), *what).is_some() {
                return Err(told("it is there already, or in no folder"));
            }
            match what {
                What::Folder => room.take(0)?,
                What::Bytes(length) => {
                    room.take(*length)?;
                    files.push(SmallFile { path: path.clone(), bytes: cut(&mut bytes, *length)?.to_vec() });
                }
                What::Scratch(_) => return Err(told("it is in no scratch folder")),
            }
        }
        *budget = left;
        Ok(Some(files))
    }

    fn clear(&self) -> Result<(), HostProblem> {
        if !self.scratch_made {
            return Ok(());
        }
        std::fs::remove_dir_all(self.scratch()).map_err(|error| problem("cannot remove the scratch folder", error))
    }
}

/// The files of one item, over those of its task.
pub(crate) struct Shelf {
    pub(crate) own: Inputs,
    pub(crate) outputs: Outputs,
}

impl Shelf {
    /// Does what the child wants; a file if it wants one.
    pub(crate) fn serve(
        &mut self,
        want: Want,
        bytes: &[u8],
        shared: &mut Inputs,
        room: &mut Room,
    ) -> Result<Option<File>, HostProblem> {
        match want {
            Want::Input(number) => match (number as usize).checked_sub(shared.files.len()) {
                None => shared.open(number as usize).map(Some),
                Some(own) => self.own.open(own).map(Some),
            },
            Want::Scratch { number, create } => self.outputs.open(number, create).map(Some),
            Want::Remove(number) => self.outputs.remove(number).map(|()| None),
            Want::Place(entries) => self.outputs.place(&entries, bytes, room).map(|()| None),
            Want::Clear => self.outputs.clear().map(|()| None),
        }
    }

    /// Checks that no input that was opened has changed since it was listed.
    pub(crate) fn check_inputs(&self, shared: &Inputs) -> Result<(), HostProblem> {
        shared.check_opened()?;
        self.own.check_opened()
    }
}

/// The first so many bytes, which go away.
fn cut<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], HostProblem> {
    let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (content, rest) = split.ok_or_else(|| told("its bytes did not come"))?;
    *bytes = rest;
    Ok(content)
}

fn check_path(path: &str) -> Result<(), HostProblem> {
    if path.len() > PATH_BYTES_MAX {
        return Err(told("its path is too long"));
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..") || check_name(name).is_err()) {
        return Err(told("its name leads elsewhere"));
    }
    Ok(())
}

/// Makes an output folder, or finds it empty; otherwise why it cannot be used.
pub(crate) fn prepare_output(path: &Path) -> Result<(), String> {
    // A folder that was just made is empty.
    if std::fs::create_dir(path).is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
    let mut entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err("it is not empty".to_owned()),
    }
}

/// What a child that lies is told.
fn told(why: &str) -> HostProblem {
    problem("the sandbox process told of an output that cannot be", why)
}

fn problem(what: impl std::fmt::Display, error: impl std::fmt::Display) -> HostProblem {
    HostProblem::Io(format!("{what}: {error}"))
}

fn cannot_write(error: std::io::Error) -> HostProblem {
    problem("cannot write an output file", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_lies_gets_nothing_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("out");
        std::fs::create_dir(&root).unwrap();
        let mut shelf = Shelf { own: Inputs::default(), outputs: Outputs::new(root.clone()) };
        let mut room = Room { bytes: 10, files: 2 };
        let mut shared = Inputs::default();
        let mut ask = |want| shelf.serve(want, b"bytes", &mut shared, &mut room);
        assert!(ask(Want::Input(0)).is_err());
        assert!(ask(Want::Scratch { number: 0, create: false }).is_err());
        assert!(ask(Want::Scratch { number: 0, create: true }).unwrap().is_some());
        let place = |path: &str| Want::Place(vec![Placed { path: path.into(), what: What::Scratch(0) }]);
        for path in ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a\nb", SCRATCH_NAME, "x\0y", &"x/".repeat(600)] {
            assert!(ask(place(path)).is_err(), "{path:?}");
        }
        assert!(ask(place("x")).is_ok());
        assert!(ask(Want::Scratch { number: 0, create: true }).is_ok());
        assert!(ask(place("x")).is_err(), "placed already");
        let mut file = ask(Want::Scratch { number: 1, create: true }).unwrap().unwrap();
        std::io::Write::write_all(&mut file, &[0; 11]).unwrap();
        assert!(
            ask(Want::Place(vec![Placed { path: "y".into(), what: What::Scratch(1) }])).is_err(),
            "larger than was allowed"
        );
        let bytes = |path: &str, length| Want::Place(vec![Placed { path: path.into(), what: What::Bytes(length) }]);
        assert!(ask(bytes("z", 6)).is_err(), "more bytes than came");
        assert!(ask(bytes("x", 5)).is_err(), "placed already");
        assert!(ask(Want::Clear).is_ok());
        assert!(!root.join(SCRATCH_NAME).exists() && !dir.path().join("x").exists());
    }

    #[test]
    fn what_is_kept_in_memory_is_what_a_folder_could_hold() {
        let outputs = Outputs::lazy("/nowhere".into());
        let keep = |entries: &[(&str, What)], budget: u64| {
            let entries: Vec<Placed> =
                entries.iter().map(|(path, what)| Placed { path: (*path).to_owned(), what: *what }).collect();
            let mut budget = budget;
            outputs.keep(&entries, b"twothree", &mut Room { bytes: 8, files: 3 }, &mut budget)
        };
        let (two, three) = (What::Bytes(3), What::Bytes(5));
        let kept = keep(&[("d", What::Folder), ("d/x", two), ("y", three)], 1000).unwrap().unwrap();
        let file = |path: &str, bytes: &[u8]| SmallFile { path: path.into(), bytes: bytes.to_vec() };
        assert_eq!(kept, [file("d/x", b"two"), file("y", b"three")]);
        assert_eq!(keep(&[("x", two)], 100), Ok(None), "too little is left");
        for entries in [
            &[("x", two), ("x", three)][..],
            &[("x", two), ("x/y", three)],
            &[("d/x", two)],
            &[("../x", two)],
            &[("x", What::Scratch(0))],
            &[("x", What::Bytes(9))],
            &[("a", two), ("b", What::Bytes(0)), ("c", What::Bytes(0)), ("d", What::Bytes(0))],
        ] {
            assert!(keep(entries, 1000).is_err(), "{entries:?}");
        }
    }
}
