//! Show the inputs of a run as they were listed, and read them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::path::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX};
use super::storage::Storage;
use super::{FileType, INPUT_ENTRIES_MAX, Listed};
use crate::stop::{HostProblem, Stop};
use crate::wire::Entry;

/// Files kept open at a time; the oldest is closed and opened again when it is read again.
const OPEN_FILES_MAX: usize = 64;

/// An entry among the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InputId(u32);

#[derive(Clone)]
struct Node {
    inode: u64,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Directory(BTreeMap<Rc<str>, InputId>),
    File(Source),
    /// A small file, which came with its item.
    Small(Rc<[u8]>),
}

/// A file that is somebody else's to open.
#[derive(Clone, Copy)]
struct Source {
    number: u32,
    size: u64,
}

/// All inputs of a run, as `/iexec_in` shows them.
pub(crate) struct InputTree {
    storage: Rc<dyn Storage>,
    nodes: Vec<Node>,
    /// Files listed so far, hidden ones included.
    files: u32,
    /// Files in use, the oldest first.
    opened: RefCell<Vec<(InputId, Rc<File>)>>,
}

impl InputTree {
    /// The root folder.
    pub(crate) const ROOT: InputId = InputId(0);

    /// Nothing but an empty folder.
    pub(crate) fn empty(storage: Rc<dyn Storage>) -> Self {
        let root = Node { inode: inode_of(""), body: Body::Directory(BTreeMap::new()) };
        Self { storage, nodes: vec![root], files: 0, opened: RefCell::default() }
    }

    /// This tree with more inputs laid over it; a file replaces what had its name. The bytes of small ones are taken off the front
    /// of `small`.
    pub(crate) fn with(&self, entries: &[Entry], small: &mut &[u8]) -> Result<Self, Stop> {
        let (storage, nodes) = (Rc::clone(&self.storage), self.nodes.clone());
        let mut tree = Self { storage, nodes, files: self.files, opened: RefCell::default() };
        for entry in entries {
            tree.add(entry, small)?;
        }
        Ok(tree)
    }

    fn add(&mut self, entry: &Entry, small: &mut &[u8]) -> Result<(), Stop> {
        let mut folders: Vec<&str> = entry.at.split('/').filter(|name| !name.is_empty()).collect();
        let file_name = if entry.size.is_some() { folders.pop() } else { None };
        if folders.iter().chain(&file_name).any(|name| *name == "." || *name == ".." || name.contains('\0')) {
            return Err(Stop::io(format_args!("the input name {}", entry.at), "`.`, `..` and NUL are not names"));
        }
        let mut current = Self::ROOT;
        let mut shown = String::new();
        for name in folders {
            push_name(&mut shown, name);
            current = self.folder(current, name, &shown)?;
        }
        let Some(size) = entry.size else { return Ok(()) };
        let name = file_name.ok_or_else(|| Stop::io("an input", "a file needs a name"))?;
        push_name(&mut shown, name);
        let body = match entry.small {
            true => {
                let split = usize::try_from(size).ok().and_then(|size| small.split_at_checked(size));
                let (bytes, rest) = split.ok_or_else(|| Stop::io("an input", "its bytes did not come"))?;
                *small = rest;
                Body::Small(Rc::from(bytes))
            }
            false => {
                self.files += 1;
                Body::File(Source { number: self.files - 1, size })
            }
        };
        self.link(current, name, &shown, body).map(drop)
    }

    /// The folder `name` in `parent`, made when it is not there.
    fn folder(&mut self, parent: InputId, name: &str, shown: &str) -> Result<InputId, Stop> {
        if let Some(id) = self.child(parent, name)
            && self.is_directory(id)
        {
            return Ok(id);
        }
        self.link(parent, name, shown, Body::Directory(BTreeMap::new()))
    }

    fn link(&mut self, parent: InputId, name: &str, shown: &str, body: Body) -> Result<InputId, Stop> {
        let refuse = |why: &str| Err(Stop::io(format_args!("the input {shown}"), why));
        if self.nodes.len() >= INPUT_ENTRIES_MAX {
            return refuse(&format!("there are more than {INPUT_ENTRIES_MAX} files and folders"));
        }
        if name.len() > COMPONENT_BYTES_MAX || shown.len() > PATH_BYTES_MAX {
            return refuse("its name is too long");
        }
        let id = InputId(self.nodes.len() as u32);
        self.nodes.push(Node { inode: inode_of(shown), body });
        if let Body::Directory(entries) = &mut self.nodes[parent.0 as usize].body {
            entries.insert(Rc::from(name), id);
        }
        Ok(id)
    }

    /// The entry `name` of the folder `parent`; none when `parent` is a file.
    pub(crate) fn child(&self, parent: InputId, name: &str) -> Option<InputId> {
        self.entries(parent)?.get(name).copied()
    }

    pub(crate) fn is_directory(&self, id: InputId) -> bool {
        self.entries(id).is_some()
    }

    pub(crate) fn inode(&self, id: InputId) -> u64 {
        self.nodes[id.0 as usize].inode
    }

    /// Bytes of a file; 0 for a folder.
    pub(crate) fn size(&self, id: InputId) -> u64 {
        match &self.nodes[id.0 as usize].body {
            Body::File(source) => source.size,
            Body::Small(bytes) => bytes.len() as u64,
            Body::Directory(_) => 0,
        }
    }

    /// The entries of a folder in the order of their names.
    pub(crate) fn list(&self, id: InputId) -> impl Iterator<Item = Listed> + '_ {
        self.entries(id).into_iter().flatten().map(|(name, child)| Listed {
            name: Rc::clone(name),
            inode: self.inode(*child),
            kind: if self.is_directory(*child) { FileType::Directory } else { FileType::RegularFile },
        })
    }

    /// Fills `buffer` from `position`, as far as the file goes. A file that is shorter than it was ends the run.
    pub(crate) fn read_at(&self, id: InputId, position: u64, buffer: &mut [u8]) -> Result<usize, Stop> {
        let left = self.size(id).saturating_sub(position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        if let Body::Small(bytes) = &self.nodes[id.0 as usize].body {
            // It lies before the end of the file, which is in memory.
            let start = position as usize;
            buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
            return Ok(wanted);
        }
        let file = self.open(id)?;
        file.read_exact_at(&mut buffer[..wanted], position).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Stop::Host(HostProblem::InputChanged("file".to_owned())),
            _ => Stop::io("cannot read an input", error),
        })?;
        Ok(wanted)
    }

    fn entries(&self, id: InputId) -> Option<&BTreeMap<Rc<str>, InputId>> {
        match &self.nodes[id.0 as usize].body {
            Body::Directory(entries) => Some(entries),
            Body::File(_) | Body::Small(_) => None,
        }
    }

    fn open(&self, id: InputId) -> Result<Rc<File>, Stop> {
        let mut opened = self.opened.borrow_mut();
        if let Some((_, file)) = opened.iter().rev().find(|(owner, _)| *owner == id) {
            return Ok(Rc::clone(file));
        }
        let Body::File(source) = &self.nodes[id.0 as usize].body else {
            return Err(Stop::io("cannot open an input", "it is a folder"));
        };
        if opened.len() == OPEN_FILES_MAX {
            opened.remove(0);
        }
        let file = Rc::new(self.storage.input(source.number)?);
        opened.push((id, Rc::clone(&file)));
        Ok(file)
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}

/// An inode number that depends on the path alone, and is never zero: libc takes zero for "not known".
fn inode_of(path: &str) -> u64 {
    super::path::inode_from(&["in", path])
}
