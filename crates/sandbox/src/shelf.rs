//! Handle a task's files for the child, which can open none itself.
//!
//! Inputs are listed here before a run and opened when the guest first reads them; outputs lie under numbers in a scratch folder
//! and are moved to their names when the run is over. Whatever a child asks for is checked as if it were no longer ours: it gets
//! files of its own task, and names that cannot lead anywhere else.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use crate::execution::Input;
use crate::stop::HostProblem;
use crate::vfs::INPUT_ENTRIES_MAX;
use crate::vfs::output::SCRATCH_NAME;
use crate::vfs::path::{PATH_BYTES_MAX, check_name};
use crate::wire::{Entry, Placed, Want};

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
        self.1.push(Entry { at, size: metadata.is_file().then_some(metadata.len()) });
        Ok(())
    }
}

/// What is left of a task's allowance for outputs; held against what the child delivers, not against its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// The output folder of one item.
pub(crate) struct Outputs {
    root: PathBuf,
    scratch_made: bool,
}

impl Outputs {
    /// The host's folder `root` must exist and be empty.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, scratch_made: false }
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(SCRATCH_NAME)
    }

    fn open(&mut self, number: u64, create: bool) -> Result<File, HostProblem> {
        if create && !self.scratch_made {
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

    fn place(&self, entry: &Placed, room: &mut Room) -> Result<(), HostProblem> {
        let told = |why: &str| Err(problem("the sandbox process told of an output that cannot be", why));
        if entry.path.len() > PATH_BYTES_MAX {
            return told("its path is too long");
        }
        if entry.path.split('/').any(|name| matches!(name, "" | "." | "..") || check_name(name).is_err()) {
            return told("its name leads elsewhere");
        }
        let path = self.root.join(&entry.path);
        let cannot = |error| problem(format_args!("cannot put {} in its place", path.display()), error);
        let bytes = match entry.file {
            Some(number) => {
                let scratch = self.scratch().join(number.to_string());
                let bytes = std::fs::symlink_metadata(&scratch).map_err(cannot)?.len();
                // A rename would silently replace what an honest child never places twice.
                if path.symlink_metadata().is_ok() {
                    return told("it is there already");
                }
                std::fs::rename(&scratch, &path).map_err(cannot)?;
                bytes
            }
            None => {
                std::fs::create_dir(&path).map_err(cannot)?;
                0
            }
        };
        let left = (room.bytes.checked_sub(bytes), room.files.checked_sub(1));
        let (Some(bytes), Some(files)) = left else { return told("it is more than was allowed") };
        *room = Room { bytes, files };
        Ok(())
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
            Want::Place(entries) => entries.iter().try_for_each(|entry| self.outputs.place(entry, room)).map(|()| None),
            Want::Clear => self.outputs.clear().map(|()| None),
        }
    }

    /// Checks that no input that was opened has changed since it was listed.
    pub(crate) fn check_inputs(&self, shared: &Inputs) -> Result<(), HostProblem> {
        shared.check_opened()?;
        self.own.check_opened()
    }
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
        let mut ask = |want| shelf.serve(want, &mut shared, &mut room);
        assert!(ask(Want::Input(0)).is_err());
        assert!(ask(Want::Scratch { number: 0, create: false }).is_err());
        assert!(ask(Want::Scratch { number: 0, create: true }).unwrap().is_some());
        let place = |path: &str| Want::Place(vec![Placed { path: path.into(), file: Some(0) }]);
        for path in ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a\nb", SCRATCH_NAME, "x\0y", &"x/".repeat(600)] {
            assert!(ask(place(path)).is_err(), "{path:?}");
        }
        assert!(ask(place("x")).is_ok());
        assert!(ask(Want::Scratch { number: 0, create: true }).is_ok());
        assert!(ask(place("x")).is_err(), "placed already");
        let mut file = ask(Want::Scratch { number: 1, create: true }).unwrap().unwrap();
        std::io::Write::write_all(&mut file, &[0; 11]).unwrap();
        assert!(ask(Want::Place(vec![Placed { path: "y".into(), file: Some(1) }])).is_err(), "larger than was allowed");
        assert!(ask(Want::Clear).is_ok());
        assert!(!root.join(SCRATCH_NAME).exists() && !dir.path().join("x").exists());
    }
}
