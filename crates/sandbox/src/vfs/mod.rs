//! Give the guest a file system that is the same on every machine.
//!
//! Names live in trees of our own: the inputs are listed once before the run, the outputs exist only as entries here
//! until the run has ended. A name that the guest makes up therefore never reaches the host's file system while the
//! guest runs; no host symlink, no host directory order, no host inode and no host time is visible to it, and `..` has
//! nothing to climb. The bytes of output files lie under numbers in a scratch folder and are moved to their names when
//! the run is over ([`output::OutputTree::deliver`]).
//!
//! Key types: [`Vfs`] is what the preview1 functions call; [`input::InputTree`] and [`output::OutputTree`] hold the
//! entries; [`path`] walks a guest path through them; [`files`] moves bytes through open descriptors;
//! [`storage`] is whoever opens the files behind them.

pub(crate) mod files;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod path;
pub(crate) mod storage;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::preview1::errno::Errno;
use crate::stop::Fail;
use input::{InputId, InputTree};
use output::{OutputId, OutputTree};
use path::{Directory, Entry, View};

/// Open descriptors of a guest, the three of stdio and the preopened folders included. One more is `EMFILE`.
pub(crate) const DESCRIPTORS_MAX: usize = 256;
/// Files and folders below `/iexec_in` of one run. More is refused before the run.
pub(crate) const INPUT_ENTRIES_MAX: usize = 200_000;
/// Directory listings kept at a time; the oldest is dropped and listed anew when it is asked for again.
const LISTINGS_MAX: usize = 16;
/// Bytes of the end of stderr that are kept.
pub(crate) const STDERR_TAIL_BYTES: usize = 64 * 1024;

/// What a descriptor or an entry is, in preview1's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    /// stdin, stdout and stderr.
    CharacterDevice = 2,
    /// A folder.
    Directory = 3,
    /// A file.
    RegularFile = 4,
}

/// What the guest may know of an entry. Times and devices are not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) inode: u64,
    pub(crate) kind: FileType,
    pub(crate) size: u64,
}

/// What an open descriptor stands for.
#[derive(Clone)]
pub(crate) enum Body {
    /// Always at its end.
    Stdin,
    /// The captured standard output.
    Stdout,
    /// The log, of which the end is kept.
    Stderr,
    /// A folder.
    Directory(Directory),
    /// A file among the inputs.
    Input { id: InputId, position: u64 },
    /// A file among the outputs.
    Output { id: OutputId, position: u64 },
}

/// An open descriptor.
#[derive(Clone)]
pub(crate) struct Descriptor {
    pub(crate) body: Body,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) append: bool,
    /// The name under which the folder was there from the start.
    pub(crate) preopen: Option<&'static str>,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Rc<str>,
    pub(crate) inode: u64,
    pub(crate) kind: FileType,
}

/// The file system of one run.
pub(crate) struct Vfs {
    pub(crate) input: Rc<InputTree>,
    pub(crate) output: OutputTree,
    descriptors: Vec<Option<Descriptor>>,
    /// Listings in use, the oldest first, by descriptor.
    listings: VecDeque<(u32, Rc<Vec<Listed>>)>,
    stderr: VecDeque<u8>,
}

impl Vfs {
    /// The file system at the start of a run: stdio, then `.`, `/iexec_in` and `/iexec_out`.
    ///
    /// `.` is descriptor 3, because programs made by zig take the first preopened folder as their working directory.
    pub(crate) fn new(input: Rc<InputTree>, output: OutputTree) -> Self {
        let stdio = |body, readable| Descriptor { body, readable, writable: !readable, append: false, preopen: None };
        let folder = |view, name| Descriptor {
            body: Body::Directory(Directory::root(view)),
            readable: true,
            writable: true,
            append: false,
            preopen: Some(name),
        };
        let descriptors = vec![
            Some(stdio(Body::Stdin, true)),
            Some(stdio(Body::Stdout, false)),
            Some(stdio(Body::Stderr, false)),
            Some(folder(View::Merged, ".")),
            Some(folder(View::Input, "/iexec_in")),
            Some(folder(View::Output, "/iexec_out")),
        ];
        Self { input, output, descriptors, listings: VecDeque::new(), stderr: VecDeque::new() }
    }

    /// The open descriptor `fd`.
    pub(crate) fn descriptor(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.descriptors.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BADF)
    }

    pub(crate) fn descriptor_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.descriptors.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    /// The folder that `fd` stands for.
    pub(crate) fn directory(&self, fd: u32) -> Result<&Directory, Errno> {
        match &self.descriptor(fd)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Puts a descriptor at the lowest free number.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let free = self.descriptors.iter().position(Option::is_none);
        let fd = match free {
            Some(fd) => fd,
            None if self.descriptors.len() < DESCRIPTORS_MAX => {
                self.descriptors.push(None);
                self.descriptors.len() - 1
            }
            None => return Err(Errno::MFILE),
        };
        if let Some(id) = descriptor.held_output() {
            self.output.hold(id);
        }
        self.descriptors[fd] = Some(descriptor);
        Ok(fd as u32)
    }

    /// Closes `fd`.
    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Fail> {
        let slot = self.descriptors.get_mut(fd as usize).ok_or(Errno::BADF)?;
        let descriptor = slot.take().ok_or(Errno::BADF)?;
        self.listings.retain(|(owner, _)| *owner != fd);
        if let Some(id) = descriptor.held_output() {
            self.output.release(id)?;
        }
        Ok(())
    }

    /// Makes `to` stand for what `from` stood for, and frees `from`. Both have to be open.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Fail> {
        self.descriptor(from)?;
        self.descriptor(to)?;
        if from == to {
            return Ok(());
        }
        self.close(to)?;
        self.listings.retain(|(owner, _)| *owner != from);
        self.descriptors[to as usize] = self.descriptors[from as usize].take();
        Ok(())
    }

    /// The listing of the folder `fd`: as it was when it was last listed, or anew when `rewind` or forgotten. Also says
    /// whether it was made anew.
    pub(crate) fn listing(&mut self, fd: u32, rewind: bool) -> Result<(Rc<Vec<Listed>>, bool), Errno> {
        let directory = self.directory(fd)?.clone();
        if !rewind && let Some((_, listing)) = self.listings.iter().find(|(owner, _)| *owner == fd) {
            return Ok((Rc::clone(listing), false));
        }
        self.listings.retain(|(owner, _)| *owner != fd);
        if self.listings.len() == LISTINGS_MAX {
            self.listings.pop_front();
        }
        let listing = Rc::new(self.list(&directory));
        self.listings.push_back((fd, Rc::clone(&listing)));
        Ok((listing, true))
    }

    /// Appends to the log, of which only the end is kept.
    pub(crate) fn write_stderr(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        let over = (self.stderr.len() + kept.len()).saturating_sub(STDERR_TAIL_BYTES);
        self.stderr.drain(..over);
        self.stderr.extend(kept);
    }

    /// What is kept of the log.
    pub(crate) fn stderr(&self) -> Vec<u8> {
        self.stderr.iter().copied().collect()
    }

    /// What the guest may know of the thing behind `fd`.
    pub(crate) fn stat_descriptor(&self, fd: u32) -> Result<Stat, Errno> {
        Ok(match &self.descriptor(fd)?.body {
            Body::Stdin | Body::Stdout | Body::Stderr => {
                Stat { inode: u64::from(fd) + 1, kind: FileType::CharacterDevice, size: 0 }
            }
            Body::Directory(directory) => self.stat(&Entry::Directory(directory.clone())),
            Body::Input { id, .. } => self.stat(&Entry::Input(*id)),
            Body::Output { id, .. } => self.stat(&Entry::Output(*id)),
        })
    }

    /// What the guest may know of an entry.
    pub(crate) fn stat(&self, entry: &Entry) -> Stat {
        match entry {
            Entry::Directory(directory) => {
                Stat { inode: self.directory_inode(directory), kind: FileType::Directory, size: 0 }
            }
            Entry::Input(id) => {
                Stat { inode: self.input.inode(*id), kind: FileType::RegularFile, size: self.input.size(*id) }
            }
            Entry::Output(id) => {
                Stat { inode: self.output.inode(*id), kind: FileType::RegularFile, size: self.output.size(*id) }
            }
        }
    }
}

impl Descriptor {
    /// The output entry that must live as long as this descriptor is open.
    fn held_output(&self) -> Option<OutputId> {
        match &self.body {
            Body::Output { id, .. } => Some(*id),
            Body::Directory(directory) => directory.output,
            _ => None,
        }
    }
}
