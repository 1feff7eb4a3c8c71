//! Walk the guest's paths through the trees, one name at a time.

use std::rc::Rc;

use super::input::{InputId, InputTree};
use super::output::{OutputId, OutputTree, SCRATCH_NAME};
use super::{Body, Descriptor, FileType, Listed, Vfs};
use crate::preview1::errno::Errno;
use crate::stop::Fail;

/// Bytes of a path a guest may hand in.
const GUEST_PATH_BYTES_MAX: usize = 4096;
/// Bytes of one name.
pub(crate) const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes of a path below a root. Far under what hosts allow, so that every host allows it below any folder of its own.
pub(crate) const PATH_BYTES_MAX: usize = 1024;
/// Bytes copied at a time when an input is about to be changed.
const COPY_BYTES: usize = 64 * 1024;

/// Which of the preopened folders a folder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// `/iexec_in`: read only.
    Input,
    /// `/iexec_out`.
    Output,
    /// `.`: the outputs laid over the inputs.
    Merged,
}

/// A folder as one view shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    view: View,
    input: Option<InputId>,
    pub(crate) output: Option<OutputId>,
    /// The way from the view's root: where to look, and what to make, when the outputs have no such folder yet.
    way: Option<Rc<Step>>,
}

/// The last step of a way, and the way to it. Shared, so that walking a long path copies nothing.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    before: Option<Rc<Step>>,
    name: Rc<str>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory(Directory),
    Input(InputId),
    Output(OutputId),
}

/// How to open a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenHow {
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) directory: bool,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

/// A walked path: the folder itself, or a name in a folder with what it stands for.
enum Target {
    Itself(Directory),
    Named { parent: Directory, name: Rc<str>, entry: Option<Entry>, must_be_directory: bool },
}

impl Directory {
    /// The root of a view.
    pub(crate) fn root(view: View) -> Self {
        Self {
            view,
            input: (view != View::Output).then_some(InputTree::ROOT),
            output: (view != View::Input).then_some(OutputTree::ROOT),
            way: None,
        }
    }

    /// Names from the view's root.
    fn names(&self) -> Vec<Rc<str>> {
        let mut names = Vec::new();
        let mut step = self.way.as_ref();
        while let Some(Step { before, name }) = step.map(Rc::as_ref) {
            names.push(Rc::clone(name));
            step = before.as_ref();
        }
        names.reverse();
        names
    }
}

impl Target {
    fn entry(self) -> Result<Entry, Errno> {
        match self {
            Self::Itself(directory) => Ok(Entry::Directory(directory)),
            Self::Named { entry: Some(Entry::Directory(directory)), .. } => Ok(Entry::Directory(directory)),
            Self::Named { entry: Some(_), must_be_directory: true, .. } => Err(Errno::NOTDIR),
            Self::Named { entry: Some(entry), .. } => Ok(entry),
            Self::Named { entry: None, .. } => Err(Errno::NOENT),
        }
    }
}

impl Vfs {
    /// What `path` below the folder `fd` stands for.
    pub(crate) fn look_up(&self, fd: u32, path: &[u8]) -> Result<Entry, Errno> {
        self.walk(self.directory(fd)?, path)?.entry()
    }

    /// Opens `path` below the folder `fd`.
    pub(crate) fn open(&mut self, fd: u32, path: &[u8], how: OpenHow) -> Result<u32, Fail> {
        let target = self.walk(self.directory(fd)?, path)?;
        let exists = !matches!(&target, Target::Named { entry: None, .. });
        if exists && how.create && how.exclusive {
            return Err(Errno::EXIST.into());
        }
        let (parent, name, entry) = match target {
            Target::Itself(directory) => (None, None, Entry::Directory(directory)),
            Target::Named { parent, name, entry: None, must_be_directory } => {
                if !how.create {
                    return Err(Errno::NOENT.into());
                }
                if how.directory || must_be_directory {
                    return Err(Errno::ISDIR.into());
                }
                let id = self.create_file(&parent, &name)?;
                (Some(parent), Some(name), Entry::Output(id))
            }
            Target::Named { parent, name, entry: Some(entry), must_be_directory } => {
                if must_be_directory && !matches!(entry, Entry::Directory(_)) {
                    return Err(Errno::NOTDIR.into());
                }
                (Some(parent), Some(name), entry)
            }
        };
        let body = match entry {
            Entry::Directory(directory) => self.open_directory(directory, how)?,
            _ if how.directory => return Err(Errno::NOTDIR.into()),
            Entry::Output(id) => {
                if how.truncate {
                    self.output.resize(id, 0)?;
                }
                Body::Output { id, position: 0 }
            }
            Entry::Input(id) if !how.write && !how.truncate => Body::Input { id, position: 0 },
            Entry::Input(id) => {
                let (parent, name) = parent.zip(name).ok_or(Errno::ROFS)?;
                Body::Output { id: self.copy_up(&parent, &name, id, how.truncate)?, position: 0 }
            }
        };
        let descriptor =
            Descriptor { body, readable: how.read, writable: how.write, append: how.append, preopen: None };
        Ok(self.insert(descriptor)?)
    }

    /// Makes a folder.
    pub(crate) fn create_directory(&mut self, fd: u32, path: &[u8]) -> Result<(), Fail> {
        match self.walk(self.directory(fd)?, path)? {
            Target::Itself(_) | Target::Named { entry: Some(_), .. } => Err(Errno::EXIST.into()),
            Target::Named { parent, name, entry: None, .. } => {
                check_name(&name)?;
                let parent = self.writable(&parent)?;
                self.output.make_directory(parent, &name).map(drop)
            }
        }
    }

    /// Removes a file.
    pub(crate) fn unlink(&mut self, fd: u32, path: &[u8]) -> Result<(), Fail> {
        match self.walk(self.directory(fd)?, path)? {
            Target::Itself(_) | Target::Named { entry: Some(Entry::Directory(_)), .. } => Err(Errno::ISDIR.into()),
            Target::Named { entry: None, .. } => Err(Errno::NOENT.into()),
            Target::Named { must_be_directory: true, .. } => Err(Errno::NOTDIR.into()),
            Target::Named { entry: Some(Entry::Input(_)), .. } => Err(Errno::ROFS.into()),
            Target::Named { parent, name, .. } => {
                let parent = self.writable(&parent)?;
                self.output.unlink(parent, &name)
            }
        }
    }

    /// Removes an empty folder.
    pub(crate) fn remove_directory(&mut self, fd: u32, path: &[u8]) -> Result<(), Fail> {
        match self.walk(self.directory(fd)?, path)? {
            Target::Itself(_) => Err(Errno::BUSY.into()),
            Target::Named { entry: None, .. } => Err(Errno::NOENT.into()),
            Target::Named { parent, name, entry: Some(Entry::Directory(directory)), .. } => {
                if !self.is_empty(&directory) {
                    return Err(Errno::NOTEMPTY.into());
                }
                if directory.input.is_some() {
                    return Err(Errno::ROFS.into());
                }
                let parent = self.writable(&parent)?;
                self.output.unlink(parent, &name)
            }
            Target::Named { .. } => Err(Errno::NOTDIR.into()),
        }
    }

    /// Moves a file or folder, over a file or an empty folder if one has the name.
    pub(crate) fn rename(&mut self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<(), Fail> {
        let source = self.walk(self.directory(from.0)?, from.1)?;
        let target = self.walk(self.directory(to.0)?, to.1)?;
        let Target::Named { parent: from_parent, name: from_name, entry, must_be_directory: source_slash } = source
        else {
            return Err(Errno::BUSY.into());
        };
        let moved = match entry.ok_or(Errno::NOENT)? {
            Entry::Input(_) => return Err(Errno::ROFS.into()),
            // Half of such a folder would have to move out of the inputs.
            Entry::Directory(Directory { input: Some(_), .. }) => return Err(Errno::ROFS.into()),
            Entry::Directory(directory) => directory.output.ok_or(Errno::NOENT)?,
            Entry::Output(_) if source_slash => return Err(Errno::NOTDIR.into()),
            Entry::Output(id) => id,
        };
        let Target::Named { parent: to_parent, name: to_name, entry: there, must_be_directory: target_slash } = target
        else {
            return Err(Errno::BUSY.into());
        };
        let is_directory = self.output.is_directory(moved);
        if target_slash && !is_directory {
            return Err(Errno::NOTDIR.into());
        }
        check_name(&to_name)?;
        let from_parent = self.writable(&from_parent)?;
        let to_parent = self.writable(&to_parent)?;
        if is_directory && self.output.is_below(to_parent, moved) {
            return Err(Errno::INVAL.into());
        }
        match there {
            Some(Entry::Output(id)) if id == moved => return Ok(()),
            Some(Entry::Directory(Directory { output: Some(id), .. })) if id == moved => return Ok(()),
            Some(there) => self.clear_for_rename(&there, is_directory, (to_parent, &to_name))?,
            None => {}
        }
        self.output.rename((from_parent, &from_name), (to_parent, &to_name))
    }

    /// The entries of a folder as its view shows them, `.` and `..` first, then in the order of their names.
    pub(crate) fn list(&self, directory: &Directory) -> Vec<Listed> {
        let inode = self.directory_inode(directory);
        let dots = [".", ".."].map(|name| Listed { name: Rc::from(name), inode, kind: FileType::Directory });
        let mut entries: Vec<Listed> = dots.into();
        if let Some(output) = self.output_of(directory) {
            entries.extend(self.output.list(output));
        }
        if let Some(input) = directory.input {
            entries.extend(self.input.list(input));
        }
        // Stable: of two of one name the output comes first and stays.
        entries[2..].sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, earlier| later.name == earlier.name);
        entries
    }

    /// The inode of a folder, the same whether or not the outputs have a folder of that name.
    pub(crate) fn directory_inode(&self, directory: &Directory) -> u64 {
        match (directory.input, directory.output) {
            (Some(id), _) => self.input.inode(id),
            (None, Some(id)) => self.output.inode(id),
            (None, None) => inode_from(&["gone"]),
        }
    }

    fn walk(&self, base: &Directory, path: &[u8]) -> Result<Target, Errno> {
        let path = std::str::from_utf8(path).map_err(|_| Errno::ILSEQ)?;
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.len() > GUEST_PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if path.contains('\0') {
            return Err(Errno::ILSEQ);
        }
        if path.starts_with('/') {
            return Err(Errno::PERM);
        }
        let base = Directory { output: self.output_of(base), ..base.clone() };
        let mut folders = vec![base.clone()];
        let must_be_directory = path.ends_with('/') || path.ends_with("/.") || path == ".";
        let mut names = path.split('/').filter(|name| !name.is_empty() && *name != ".").peekable();
        while let Some(name) = names.next() {
            if name == ".." {
                folders.pop();
                if folders.is_empty() {
                    return Err(Errno::PERM);
                }
                continue;
            }
            if name.len() > COMPONENT_BYTES_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            let here = folders.last().unwrap_or(&base);
            let entry = self.child(here, name);
            if names.peek().is_none() {
                return Ok(Target::Named { parent: here.clone(), name: Rc::from(name), entry, must_be_directory });
            }
            match entry {
                Some(Entry::Directory(directory)) => folders.push(directory),
                Some(_) => return Err(Errno::NOTDIR),
                None => return Err(Errno::NOENT),
            }
        }
        Ok(Target::Itself(folders.pop().unwrap_or(base)))
    }

    /// What `name` stands for in a folder of which it is known whether the outputs have it.
    fn child(&self, directory: &Directory, name: &str) -> Option<Entry> {
        let output = directory.output.and_then(|id| self.output.child(id, name));
        let input = directory.input.and_then(|id| self.input.child(id, name));
        let folder = |input, output| {
            let step = Step { before: directory.way.clone(), name: Rc::from(name) };
            Some(Entry::Directory(Directory { view: directory.view, input, output, way: Some(Rc::new(step)) }))
        };
        match (output, input) {
            (Some(id), input) if self.output.is_directory(id) => {
                folder(input.filter(|id| self.input.is_directory(*id)), Some(id))
            }
            (Some(id), _) => Some(Entry::Output(id)),
            (None, Some(id)) if self.input.is_directory(id) => folder(Some(id), None),
            (None, Some(id)) => Some(Entry::Input(id)),
            (None, None) => None,
        }
    }

    fn is_empty(&self, directory: &Directory) -> bool {
        directory.output.is_none_or(|id| self.output.list(id).next().is_none())
            && directory.input.is_none_or(|id| self.input.list(id).next().is_none())
    }

    /// The output folder behind a folder, if there is one by now.
    fn output_of(&self, directory: &Directory) -> Option<OutputId> {
        if directory.output.is_some() || directory.view != View::Merged {
            return directory.output;
        }
        let mut id = OutputTree::ROOT;
        for name in directory.names() {
            id = self.output.child(id, &name)?;
        }
        self.output.is_directory(id).then_some(id)
    }

    /// The output folder behind a folder, made when only the inputs have it.
    fn writable(&mut self, directory: &Directory) -> Result<OutputId, Fail> {
        if directory.view == View::Input {
            return Err(Errno::ROFS.into());
        }
        if let Some(id) = directory.output {
            return if self.output.is_linked(id) { Ok(id) } else { Err(Errno::NOENT.into()) };
        }
        let mut id = OutputTree::ROOT;
        for name in directory.names() {
            id = match self.output.child(id, &name) {
                Some(child) if self.output.is_directory(child) => child,
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => {
                    check_name(&name)?;
                    self.output.make_directory(id, &name)?
                }
            };
        }
        Ok(id)
    }

    fn create_file(&mut self, parent: &Directory, name: &str) -> Result<OutputId, Fail> {
        check_name(name)?;
        let parent = self.writable(parent)?;
        self.output.make_file(parent, name)
    }

    fn open_directory(&self, directory: Directory, how: OpenHow) -> Result<Body, Errno> {
        if how.truncate || (how.write && !how.directory && !how.read) {
            return Err(Errno::ISDIR);
        }
        Ok(Body::Directory(directory))
    }

    /// Copies an input that is about to be changed through `.` into the outputs.
    fn copy_up(&mut self, parent: &Directory, name: &str, from: InputId, empty: bool) -> Result<OutputId, Fail> {
        let id = self.create_file(parent, name)?;
        if empty {
            return Ok(id);
        }
        // Reserved first, so that too large an input ends the run before it is copied.
        self.output.resize(id, self.input.size(from))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut position = 0;
        loop {
            let read = self.input.read_at(from, position, &mut buffer)?;
            if read == 0 {
                return Ok(id);
            }
            self.output.write_at(id, position, &buffer[..read])?;
            position += read as u64;
        }
    }

    /// Removes what a rename is about to replace, if POSIX lets it.
    fn clear_for_rename(&mut self, there: &Entry, directory: bool, name: (OutputId, &str)) -> Result<(), Fail> {
        match there {
            Entry::Directory(_) if !directory => Err(Errno::ISDIR.into()),
            Entry::Directory(old) if !self.is_empty(old) => Err(Errno::NOTEMPTY.into()),
            Entry::Directory(Directory { output: Some(_), .. }) => self.output.unlink(name.0, name.1),
            Entry::Directory(_) => Ok(()),
            _ if directory => Err(Errno::NOTDIR.into()),
            Entry::Output(_) => self.output.unlink(name.0, name.1),
            // An input stays where it is, under the output of the same name.
            Entry::Input(_) => Ok(()),
        }
    }
}

/// Refuses names that somebody's terminal, file system or archive would trip over, the same on every host.
pub(crate) fn check_name(name: &str) -> Result<(), Errno> {
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Err(Errno::ILSEQ);
    }
    if name == SCRATCH_NAME {
        return Err(Errno::PERM);
    }
    Ok(())
}

/// An inode number made of words; never zero, which libc takes for "not known".
pub(crate) fn inode_from(words: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes) | 1
}
