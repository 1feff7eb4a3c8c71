//! List the inputs of a run once, and open them without following anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;

use super::path::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX};
use super::{FileType, Listed};
use crate::execution::Input;
use crate::stop::{HostProblem, Stop};

/// Files and folders below `/iexec_in` of one run. More is refused before the run.
pub(crate) const INPUT_ENTRIES_MAX: usize = 200_000;
/// Host files kept open at a time; the oldest is closed and opened again when it is read again.
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
}

/// A host file as it was when it was listed.
#[derive(Clone)]
struct Source {
    host: Rc<Path>,
    size: u64,
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
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// All inputs of a run, as `/iexec_in` shows them.
pub(crate) struct InputTree {
    nodes: Vec<Node>,
    /// Host files in use, the oldest first, and every file that was ever opened.
    opened: RefCell<Opened>,
}

#[derive(Default)]
struct Opened {
    recent: Vec<(InputId, Rc<File>)>,
    ever: std::collections::BTreeSet<InputId>,
}

impl InputTree {
    /// The root folder.
    pub(crate) const ROOT: InputId = InputId(0);

    /// Nothing but an empty folder.
    pub(crate) fn empty() -> Self {
        let root = Node { inode: inode_of(""), body: Body::Directory(BTreeMap::new()) };
        Self { nodes: vec![root], opened: RefCell::default() }
    }

    /// This tree with more inputs laid over it; a file replaces what had its name.
    pub(crate) fn with(&self, inputs: &[Input]) -> Result<Self, Stop> {
        let mut tree = Self { nodes: self.nodes.clone(), opened: RefCell::default() };
        for input in inputs {
            let metadata = std::fs::symlink_metadata(&input.host)
                .map_err(|error| Stop::io(format_args!("cannot read the input {}", input.host.display()), error))?;
            tree.add(Self::ROOT, &input.at, &input.host, &metadata)?;
        }
        Ok(tree)
    }

    /// Adds the host's file or folder at the relative path `at` below `parent`.
    fn add(&mut self, parent: InputId, at: &str, host: &Path, metadata: &std::fs::Metadata) -> Result<(), Stop> {
        let mut folders: Vec<&str> = at.split('/').filter(|name| !name.is_empty()).collect();
        let is_dir = metadata.is_dir();
        let file_name = if is_dir { None } else { folders.pop() };
        if folders.iter().chain(&file_name).any(|name| *name == "." || *name == ".." || name.contains('\0')) {
            return Err(Stop::io(format_args!("the input name {at}"), "`.`, `..` and NUL are not names"));
        }
        let mut current = parent;
        let mut shown = String::new();
        for name in folders {
            push_name(&mut shown, name);
            current = self.folder(current, name, &shown)?;
        }
        match file_name {
            Some(name) => {
                push_name(&mut shown, name);
                self.file(current, name, &shown, host, metadata)
            }
            None if is_dir => self.scan(current, host, &shown),
            None => Err(Stop::io(format_args!("the input {}", host.display()), "a file needs a name")),
        }
    }

    /// Lists a host folder into `into`, folders below it included.
    fn scan(&mut self, into: InputId, host: &Path, shown: &str) -> Result<(), Stop> {
        let mut pending = vec![(into, host.to_path_buf(), shown.to_owned())];
        while let Some((into, host, shown)) = pending.pop() {
            let cannot = |error: std::io::Error| Stop::io(format_args!("cannot list {}", host.display()), error);
            for entry in std::fs::read_dir(&host).map_err(cannot)? {
                let entry = entry.map_err(cannot)?;
                let path = entry.path();
                let metadata = entry.metadata().map_err(cannot)?;
                let name = entry
                    .file_name()
                    .into_string()
                    .map_err(|_| Stop::io(format_args!("the input {}", path.display()), "its name is not UTF-8"))?;
                let mut below = shown.clone();
                push_name(&mut below, &name);
                if metadata.is_dir() {
                    let folder = self.folder(into, &name, &below)?;
                    pending.push((folder, path, below));
                } else {
                    self.file(into, &name, &below, &path, &metadata)?;
                }
            }
        }
        Ok(())
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

    fn file(
        &mut self,
        parent: InputId,
        name: &str,
        shown: &str,
        host: &Path,
        metadata: &std::fs::Metadata,
    ) -> Result<(), Stop> {
        if !metadata.is_file() {
            let what = if metadata.is_symlink() { "it is a symbolic link" } else { "it is not a regular file" };
            return Err(Stop::io(format_args!("the input {}", host.display()), what));
        }
        let identity = Identity::of(metadata);
        let source = Source { host: Rc::from(host), size: metadata.len(), identity };
        self.link(parent, name, shown, Body::File(source)).map(drop)
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
        let file = self.open(id)?;
        let changed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.changed(id),
            _ => Stop::io(format_args!("cannot read the input {}", self.host(id)), error),
        };
        file.read_exact_at(&mut buffer[..wanted], position).map_err(changed)?;
        Ok(wanted)
    }

    fn entries(&self, id: InputId) -> Option<&BTreeMap<Rc<str>, InputId>> {
        match &self.nodes[id.0 as usize].body {
            Body::Directory(entries) => Some(entries),
            Body::File(_) => None,
        }
    }

    fn source(&self, id: InputId) -> Option<&Source> {
        match &self.nodes[id.0 as usize].body {
            Body::File(source) => Some(source),
            Body::Directory(_) => None,
        }
    }

    fn host(&self, id: InputId) -> String {
        self.source(id).map_or_else(String::new, |source| source.host.display().to_string())
    }

    fn changed(&self, id: InputId) -> Stop {
        Stop::Host(HostProblem::InputChanged(self.host(id)))
    }

    fn open(&self, id: InputId) -> Result<Rc<File>, Stop> {
        let mut opened = self.opened.borrow_mut();
        if let Some((_, file)) = opened.recent.iter().rev().find(|(owner, _)| *owner == id) {
            return Ok(Rc::clone(file));
        }
        let source = self.source(id).ok_or_else(|| self.changed(id))?;
        // O_NONBLOCK: should a pipe have taken the file's place, the open must not wait for its other end.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&source.host)
            .map_err(|error| Stop::io(format_args!("cannot open the input {}", source.host.display()), error))?;
        let metadata = file.metadata().map_err(|error| Stop::io("cannot stat an input", error))?;
        if Identity::of(&metadata) != source.identity {
            return Err(self.changed(id));
        }
        if opened.recent.len() == OPEN_FILES_MAX {
            opened.recent.remove(0);
        }
        let file = Rc::new(file);
        opened.recent.push((id, Rc::clone(&file)));
        opened.ever.insert(id);
        Ok(file)
    }

    /// Checks that the files that were opened are still as they were listed.
    pub(crate) fn check_opened(&self) -> Result<(), Stop> {
        let opened: Vec<InputId> = self.opened.borrow().ever.iter().copied().collect();
        for id in opened {
            let Some(source) = self.source(id) else { continue };
            let same = std::fs::symlink_metadata(&source.host).is_ok_and(|now| Identity::of(&now) == source.identity);
            if !same {
                return Err(self.changed(id));
            }
        }
        Ok(())
    }
}

/// The host files and folders that the inputs name.
pub(crate) fn host_paths(inputs: &[Input]) -> impl Iterator<Item = &PathBuf> {
    inputs.iter().map(|input| &input.host)
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
