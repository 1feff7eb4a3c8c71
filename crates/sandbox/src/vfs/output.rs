//! Hold what a run writes, count it, and put it in its place when the run is over.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::path::{PATH_BYTES_MAX, inode_from};
use super::storage::Storage;
use super::{FileType, Listed};
use crate::preview1::errno::Errno;
use crate::stop::{Fail, Stop};
use crate::wire::{PLACED_MAX, Placed, What};
use crate::{SMALL_FILE_BYTES_MAX, SMALL_FILES_BYTES_MAX};

/// Folder below the output folder where the bytes of large files lie until the run is over. No guest can make an entry of this name.
pub(crate) const SCRATCH_NAME: &str = ".gristmill-scratch";
/// What the program printed becomes this file, unless it made one of this name itself or printed nothing.
pub(crate) const STDOUT_NAME: &str = "stdout.txt";

/// An entry among the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OutputId(u32);

/// What is left of the deal's allowance for outputs. Files are counted with folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) bytes_left: u64,
    pub(crate) files_left: u64,
}

/// What a run leaves in its output folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    /// The allowance of the runs that follow.
    pub(crate) left: Quota,
    /// Entries that are still to be placed, and the bytes of them.
    pub(crate) rest: Vec<Placed>,
    pub(crate) rest_bytes: Vec<u8>,
}

impl Delivered {
    fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.files += 1;
        self.left.bytes_left = self.left.bytes_left.saturating_sub(bytes);
        self.left.files_left = self.left.files_left.saturating_sub(1);
    }
}

struct Node {
    inode: u64,
    /// Descriptors that hold this entry.
    held: u32,
    /// Reachable by a name.
    linked: bool,
    body: Body,
}

enum Body {
    Directory { entries: BTreeMap<Rc<str>, OutputId>, parent: OutputId, name_bytes: usize },
    File { size: u64, number: u64, stored: Stored },
    Free,
}

/// Where a file's bytes are.
enum Stored {
    /// Here: most programs write little, and a round to the parent and the disk costs more than they do.
    Memory(Vec<u8>),
    /// In the scratch file of its number, open while a descriptor holds it.
    Scratch(Option<Rc<File>>),
}

/// Everything a run has written.
pub(crate) struct OutputTree {
    nodes: Vec<Node>,
    free: Vec<OutputId>,
    storage: Rc<dyn Storage>,
    scratch_made: bool,
    /// Bytes of all files that are in memory.
    in_memory: u64,
    /// The scratch file that was made last, until a descriptor holds it.
    fresh: Option<(u64, Rc<File>)>,
    /// Entries made so far: names the next scratch file and makes inodes unique.
    made: u64,
    granted: Quota,
    quota: Quota,
    stdout: Option<OutputId>,
}

impl OutputTree {
    /// The root folder.
    pub(crate) const ROOT: OutputId = OutputId(0);

    /// Nothing yet.
    pub(crate) fn new(storage: Rc<dyn Storage>, quota: Quota) -> Self {
        let body = Body::Directory { entries: BTreeMap::new(), parent: Self::ROOT, name_bytes: 0 };
        let node = Node { inode: inode_from(&["out"]), held: 1, linked: true, body };
        Self {
            nodes: vec![node],
            free: Vec::new(),
            storage,
            scratch_made: false,
            in_memory: 0,
            fresh: None,
            made: 0,
            granted: quota,
            quota,
            stdout: None,
        }
    }

    pub(crate) fn child(&self, parent: OutputId, name: &str) -> Option<OutputId> {
        self.entries(parent)?.get(name).copied()
    }

    pub(crate) fn is_directory(&self, id: OutputId) -> bool {
        self.entries(id).is_some()
    }

    /// Files and folders there are, within a few; what a search through all of them costs.
    pub(crate) fn entries_bound(&self) -> u64 {
        self.nodes.len() as u64
    }

    pub(crate) fn is_linked(&self, id: OutputId) -> bool {
        self.node(id).linked
    }

    pub(crate) fn inode(&self, id: OutputId) -> u64 {
        self.node(id).inode
    }

    /// Bytes of a file; 0 for a folder.
    pub(crate) fn size(&self, id: OutputId) -> u64 {
        match &self.node(id).body {
            Body::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// The entries of a folder in the order of their names.
    pub(crate) fn list(&self, id: OutputId) -> impl Iterator<Item = Listed> + '_ {
        self.entries(id).into_iter().flatten().map(|(name, child)| Listed {
            name: Rc::clone(name),
            inode: self.inode(*child),
            kind: if self.is_directory(*child) { FileType::Directory } else { FileType::RegularFile },
        })
    }

    /// True when `id` is `of` or lies somewhere below it.
    pub(crate) fn is_below(&self, mut id: OutputId, of: OutputId) -> bool {
        while id != of {
            match &self.node(id).body {
                Body::Directory { parent, .. } if id != Self::ROOT => id = *parent,
                _ => return false,
            }
        }
        true
    }

    /// Makes an empty folder. The name must be free and valid.
    pub(crate) fn make_directory(&mut self, parent: OutputId, name: &str) -> Result<OutputId, Fail> {
        self.link(parent, name, Body::Directory { entries: BTreeMap::new(), parent, name_bytes: name.len() })
    }

    /// Makes an empty file. The name must be free and valid.
    pub(crate) fn make_file(&mut self, parent: OutputId, name: &str) -> Result<OutputId, Fail> {
        self.link(parent, name, self.blank_file())
    }

    /// Takes the entry `name` out of `parent`; its bytes go with the last descriptor that holds it.
    pub(crate) fn unlink(&mut self, parent: OutputId, name: &str) -> Result<(), Fail> {
        let id = self.entries_mut(parent)?.remove(name).ok_or(Errno::NOENT)?;
        self.node_mut(id).linked = false;
        self.collect(id)
    }

    /// Moves an entry to a free and valid name.
    pub(crate) fn rename(&mut self, from: (OutputId, &str), to: (OutputId, &str)) -> Result<(), Fail> {
        let id = self.child(from.0, from.1).ok_or(Errno::NOENT)?;
        let depth = self.path_bytes(to.0) + 1 + to.1.len();
        if depth + self.deepest(id) > PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.entries_mut(from.0)?.remove(from.1);
        self.entries_mut(to.0)?.insert(Rc::from(to.1), id);
        if let Body::Directory { parent, name_bytes, .. } = &mut self.node_mut(id).body {
            (*parent, *name_bytes) = (to.0, to.1.len());
        }
        Ok(())
    }

    /// One more descriptor holds the entry.
    pub(crate) fn hold(&mut self, id: OutputId) {
        self.node_mut(id).held += 1;
    }

    /// One descriptor less holds the entry.
    pub(crate) fn release(&mut self, id: OutputId) -> Result<(), Stop> {
        let node = self.node_mut(id);
        node.held = node.held.saturating_sub(1);
        if node.held == 0
            && let Body::File { stored: Stored::Scratch(file), .. } = &mut node.body
        {
            *file = None;
        }
        self.collect(id)
    }

    /// Fills `buffer` from `position`, as far as the file goes.
    pub(crate) fn read_at(&mut self, id: OutputId, position: u64, buffer: &mut [u8]) -> Result<usize, Stop> {
        let left = self.size(id).saturating_sub(position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        if let Body::File { stored: Stored::Memory(bytes), .. } = &self.node(id).body {
            // It lies before the end of the file, which is in memory.
            let start = position as usize;
            buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
            return Ok(wanted);
        }
        let file = self.open(id)?;
        file.read_exact_at(&mut buffer[..wanted], position)
            .map_err(|error| Stop::io("cannot read an output file back", error))?;
        Ok(wanted)
    }

    /// Writes all of `bytes` at `position`, or ends the run before anything is written.
    pub(crate) fn write_at(&mut self, id: OutputId, position: u64, bytes: &[u8]) -> Result<(), Fail> {
        let end = position.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let size = self.size(id).max(end);
        self.account(id, size)?;
        if self.stays_in_memory(id, size)?
            && let Body::File { stored: Stored::Memory(kept), .. } = &mut self.node_mut(id).body
        {
            let start = position as usize;
            kept[start..start + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        Ok(self.open(id)?.write_all_at(bytes, position).map_err(cannot_write)?)
    }

    /// Cuts or stretches a file.
    pub(crate) fn resize(&mut self, id: OutputId, size: u64) -> Result<(), Fail> {
        self.account(id, size)?;
        if self.stays_in_memory(id, size)? {
            return Ok(());
        }
        Ok(self.open(id)?.set_len(size).map_err(cannot_write)?)
    }

    /// Appends to the captured standard output.
    pub(crate) fn write_stdout(&mut self, bytes: &[u8]) -> Result<(), Fail> {
        if bytes.is_empty() {
            return Ok(());
        }
        let id = match self.stdout {
            Some(id) => id,
            None => {
                let id = self.add_node(STDOUT_NAME, self.blank_file())?;
                self.node_mut(id).held = 1;
                *self.stdout.insert(id)
            }
        };
        self.write_at(id, self.size(id), bytes)
    }

    /// Has everything put at its name below the output folder and the scratch folder removed. The last few entries are left to
    /// whoever reports the run, when they need no scratch folder.
    ///
    /// Called after the run, whatever its ending.
    pub(crate) fn deliver(mut self) -> Result<Delivered, Stop> {
        if let Some(stdout) = self.stdout
            && self.child(Self::ROOT, STDOUT_NAME).is_none()
            && let Body::Directory { entries, .. } = &mut self.nodes[0].body
        {
            entries.insert(Rc::from(STDOUT_NAME), stdout);
        }
        let (rest, rest_bytes) = (Vec::new(), Vec::new());
        let mut delivered = Delivered { bytes: 0, files: 0, left: self.granted, rest, rest_bytes };
        let mut pending = vec![(Self::ROOT, String::new())];
        while let Some((id, folder)) = pending.pop() {
            for (name, child) in self.entries(id).into_iter().flatten() {
                if delivered.rest.len() == PLACED_MAX {
                    self.place(&mut delivered)?;
                }
                let path = format!("{folder}{name}");
                let what = match &self.node(*child).body {
                    Body::File { stored: Stored::Memory(bytes), .. } => {
                        delivered.rest_bytes.extend_from_slice(bytes);
                        What::Bytes(bytes.len() as u64)
                    }
                    Body::File { number, .. } => What::Scratch(*number),
                    _ => {
                        pending.push((*child, format!("{path}/")));
                        What::Folder
                    }
                };
                delivered.rest.push(Placed { path, what });
                delivered.count(self.size(*child));
            }
        }
        if self.scratch_made {
            self.place(&mut delivered)?;
            self.storage.clear()?;
        }
        Ok(delivered)
    }

    fn place(&self, delivered: &mut Delivered) -> Result<(), Stop> {
        self.storage.place(std::mem::take(&mut delivered.rest), std::mem::take(&mut delivered.rest_bytes))
    }

    fn node(&self, id: OutputId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: OutputId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn entries(&self, id: OutputId) -> Option<&BTreeMap<Rc<str>, OutputId>> {
        match &self.node(id).body {
            Body::Directory { entries, .. } => Some(entries),
            _ => None,
        }
    }

    fn entries_mut(&mut self, id: OutputId) -> Result<&mut BTreeMap<Rc<str>, OutputId>, Errno> {
        match &mut self.node_mut(id).body {
            Body::Directory { entries, .. } => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn link(&mut self, parent: OutputId, name: &str, body: Body) -> Result<OutputId, Fail> {
        if self.path_bytes(parent) + 1 + name.len() > PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let id = self.add_node(name, body)?;
        self.node_mut(id).linked = true;
        self.entries_mut(parent)?.insert(Rc::from(name), id);
        Ok(id)
    }

    /// Makes room for one more entry, or ends the run.
    fn add_node(&mut self, name: &str, body: Body) -> Result<OutputId, Fail> {
        self.quota.files_left = self.quota.files_left.checked_sub(1).ok_or(Stop::FileLimit)?;
        self.made += 1;
        // A name can be used again while a removed file of that name is still open: the count keeps them apart.
        let inode = inode_from(&["out", name, &self.made.to_string()]);
        let node = Node { inode, held: 0, linked: false, body };
        if let Some(id) = self.free.pop() {
            self.nodes[id.0 as usize] = node;
            return Ok(id);
        }
        let id = OutputId(u32::try_from(self.nodes.len()).map_err(|_| Errno::NFILE)?);
        self.nodes.push(node);
        Ok(id)
    }

    fn blank_file(&self) -> Body {
        Body::File { size: 0, number: self.made, stored: Stored::Memory(Vec::new()) }
    }

    /// Makes a file that is in memory `size` bytes long there, or moves it to the disk when that is too much. False when its bytes
    /// are on the disk.
    fn stays_in_memory(&mut self, id: OutputId, size: u64) -> Result<bool, Stop> {
        let Body::File { number, stored, .. } = &mut self.nodes[id.0 as usize].body else { return Ok(false) };
        let Stored::Memory(bytes) = stored else { return Ok(false) };
        let others = self.in_memory - bytes.len() as u64;
        if size <= SMALL_FILE_BYTES_MAX as u64 && others + size <= SMALL_FILES_BYTES_MAX as u64 {
            bytes.resize(size as usize, 0);
            self.in_memory = others + size;
            return Ok(true);
        }
        let file = self.storage.scratch(*number, true)?;
        self.scratch_made = true;
        file.write_all_at(bytes, 0).map_err(cannot_write)?;
        self.in_memory = others;
        self.fresh = Some((*number, Rc::new(file)));
        *stored = Stored::Scratch(None);
        Ok(false)
    }

    fn open(&mut self, id: OutputId) -> Result<Rc<File>, Stop> {
        let Body::File { number, stored: Stored::Scratch(file), .. } = &self.node(id).body else {
            return Err(Stop::io("cannot open an output", "it is no file of the disk"));
        };
        if let Some(file) = file {
            return Ok(Rc::clone(file));
        }
        let number = *number;
        let opened = match self.fresh.take_if(|(fresh, _)| *fresh == number) {
            Some((_, file)) => file,
            None => Rc::new(self.storage.scratch(number, false)?),
        };
        match &mut self.node_mut(id) {
            Node { held: 1.., body: Body::File { stored: Stored::Scratch(file), .. }, .. } => {
                *file = Some(Rc::clone(&opened));
            }
            // Nobody holds it yet, but somebody may want it again.
            _ => self.fresh = Some((number, Rc::clone(&opened))),
        }
        Ok(opened)
    }

    /// Makes a file `size` bytes long in the books, or ends the run when the allowance does not reach.
    fn account(&mut self, id: OutputId, size: u64) -> Result<(), Stop> {
        let left = self.quota.bytes_left.saturating_add(self.size(id));
        self.quota.bytes_left = left.checked_sub(size).ok_or(Stop::OutputLimit)?;
        if let Body::File { size: recorded, .. } = &mut self.node_mut(id).body {
            *recorded = size;
        }
        Ok(())
    }

    /// Forgets an entry that has neither a name nor a holder.
    fn collect<E: From<Stop>>(&mut self, id: OutputId) -> Result<(), E> {
        let node = self.node(id);
        if node.linked || node.held > 0 {
            return Ok(());
        }
        if let Body::File { size, number, stored } = &node.body {
            let (size, number) = (*size, *number);
            let in_memory = match stored {
                Stored::Memory(bytes) => Some(bytes.len() as u64),
                Stored::Scratch(_) => None,
            };
            self.quota.bytes_left = self.quota.bytes_left.saturating_add(size);
            match in_memory {
                Some(bytes) => self.in_memory -= bytes,
                None => {
                    self.fresh.take_if(|(fresh, _)| *fresh == number);
                    self.storage.remove(number)?;
                }
            }
        }
        self.quota.files_left = self.quota.files_left.saturating_add(1);
        self.node_mut(id).body = Body::Free;
        self.free.push(id);
        Ok(())
    }

    /// Bytes of the path of a folder below the root.
    fn path_bytes(&self, mut id: OutputId) -> usize {
        let mut bytes = 0;
        while id != Self::ROOT {
            let Body::Directory { parent, name_bytes, .. } = &self.node(id).body else { break };
            bytes += name_bytes + 1;
            id = *parent;
        }
        bytes
    }

    /// Bytes of the longest path below `id`.
    fn deepest(&self, id: OutputId) -> usize {
        let mut deepest = 0;
        let mut pending = vec![(id, 0)];
        while let Some((id, bytes)) = pending.pop() {
            deepest = deepest.max(bytes);
            for (name, child) in self.entries(id).into_iter().flatten() {
                pending.push((*child, bytes + 1 + name.len()));
            }
        }
        deepest
    }
}

fn cannot_write(error: std::io::Error) -> Stop {
    Stop::io("cannot write an output file", error)
}
