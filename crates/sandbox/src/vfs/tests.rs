//! The trees against a naive model, and what the host does to them meanwhile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;

use super::input::InputTree;
use super::output::{Delivered, OutputTree, Quota};
use super::path::OpenHow;
use super::storage::Storage;
use super::{Body, Vfs};
use crate::execution::Input;
use crate::shelf::{Inputs, Outputs, Room, Shelf};
use crate::stop::{Fail, HostProblem, Stop};
use crate::wire::{Entry, Placed, Want};
use crate::{SMALL_FILE_BYTES_MAX, SMALL_FILES_BYTES_MAX};

/// The parent's part, in the same process.
pub(crate) struct Local {
    shelf: RefCell<Shelf>,
    shared: RefCell<Inputs>,
    room: RefCell<Room>,
}

impl Local {
    /// Storage with these inputs, and outputs in a folder.
    pub(crate) fn new(inputs: &[Input], out: &Path) -> (Rc<Self>, Vec<Entry>) {
        let (shared, entries) = Inputs::list(inputs).unwrap();
        let shelf = Shelf { own: Inputs::default(), outputs: Outputs::new(out.to_path_buf()) };
        let room = Room { bytes: u64::MAX, files: u64::MAX };
        let (shelf, shared, room) = (RefCell::new(shelf), RefCell::new(shared), RefCell::new(room));
        (Rc::new(Self { shelf, shared, room }), entries)
    }

    fn serve(&self, want: Want, bytes: &[u8]) -> Result<Option<File>, Stop> {
        let served =
            self.shelf.borrow_mut().serve(want, bytes, &mut self.shared.borrow_mut(), &mut self.room.borrow_mut());
        served.map_err(Stop::Host)
    }

    fn check_inputs(&self) -> Result<(), HostProblem> {
        self.shelf.borrow().check_inputs(&self.shared.borrow())
    }
}

impl Storage for Local {
    fn input(&self, number: u32) -> Result<File, Stop> {
        Ok(self.serve(Want::Input(number), &[])?.unwrap())
    }

    fn scratch(&self, number: u64, create: bool) -> Result<File, Stop> {
        Ok(self.serve(Want::Scratch { number, create }, &[])?.unwrap())
    }

    fn remove(&self, number: u64) -> Result<(), Stop> {
        self.serve(Want::Remove(number), &[]).map(drop)
    }

    fn place(&self, entries: Vec<Placed>, bytes: Vec<u8>) -> Result<(), Stop> {
        self.serve(Want::Place(entries), &bytes).map(drop)
    }

    fn clear(&self) -> Result<(), Stop> {
        self.serve(Want::Clear, &[]).map(drop)
    }
}

/// The descriptor of `/iexec_out`.
const OUT: u32 = 5;
/// The descriptor of `/iexec_in`.
const IN: u32 = 4;

const WRITE: OpenHow = OpenHow {
    create: true,
    exclusive: false,
    truncate: true,
    directory: false,
    read: false,
    write: true,
    append: false,
};
const READ: OpenHow = OpenHow { create: false, truncate: false, write: false, read: true, ..WRITE };

fn vfs(dir: &Path, quota: Quota) -> Vfs {
    let (storage, _) = Local::new(&[], dir);
    Vfs::new(Rc::new(InputTree::empty(storage.clone())), OutputTree::new(storage, quota))
}

const PLENTY: Quota = Quota { bytes_left: 1 << 30, files_left: 1000 };

/// Ends a run as the parent does: everything lies in `dir` afterwards.
fn settle(fs: Vfs, dir: &Path) -> Delivered {
    let mut delivered = fs.output.deliver().unwrap();
    let (rest, bytes) = (std::mem::take(&mut delivered.rest), std::mem::take(&mut delivered.rest_bytes));
    Local::new(&[], dir).0.place(rest, bytes).unwrap();
    delivered
}

#[derive(Clone, Debug)]
enum Op {
    Put(String, Vec<u8>),
    Mkdir(String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String),
}

fn paths() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

/// Mostly small files; with a few of the others there is too much for memory.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let large = |bytes| any::<u8>().prop_map(move |byte| vec![byte; bytes]);
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => large(SMALL_FILE_BYTES_MAX + 1),
        2 => large(SMALL_FILES_BYTES_MAX / 5),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        (paths(), contents()).prop_map(|(path, bytes)| Op::Put(path, bytes)),
        paths().prop_map(Op::Mkdir),
        paths().prop_map(Op::Unlink),
        paths().prop_map(Op::Rmdir),
        (paths(), paths()).prop_map(|(from, to)| Op::Rename(from, to)),
    ]
}

/// Paths to bytes; a folder has none.
type Model = BTreeMap<String, Option<Vec<u8>>>;

fn parent_is_folder(model: &Model, path: &str) -> bool {
    path.rsplit_once('/').is_none_or(|(parent, _)| matches!(model.get(parent), Some(None)))
}

fn is_empty(model: &Model, path: &str) -> bool {
    !model.keys().any(|key| key.starts_with(&format!("{path}/")))
}

/// Does it in the model; false when POSIX would refuse.
fn apply(model: &mut Model, op: &Op) -> bool {
    match op {
        Op::Put(path, bytes) => {
            let fine = parent_is_folder(model, path) && model.get(path) != Some(&None);
            if fine {
                model.insert(path.clone(), Some(bytes.clone()));
            }
            fine
        }
        Op::Mkdir(path) => {
            let fine = parent_is_folder(model, path) && !model.contains_key(path);
            if fine {
                model.insert(path.clone(), None);
            }
            fine
        }
        Op::Unlink(path) => matches!(model.get(path), Some(Some(_))) && model.remove(path).is_some(),
        Op::Rmdir(path) => {
            matches!(model.get(path), Some(None)) && is_empty(model, path) && model.remove(path).is_some()
        }
        Op::Rename(from, to) => rename(model, from, to),
    }
}

fn rename(model: &mut Model, from: &str, to: &str) -> bool {
    let Some(moved) = model.get(from).cloned() else { return false };
    if !parent_is_folder(model, to) {
        return false;
    }
    if from == to {
        return true;
    }
    if to.starts_with(&format!("{from}/")) {
        return false;
    }
    match (&moved, model.get(to)) {
        (_, None) | (Some(_), Some(Some(_))) => {}
        (None, Some(None)) if is_empty(model, to) => {}
        _ => return false,
    }
    model.remove(to);
    let below = format!("{from}/");
    let old: Vec<String> = model.keys().filter(|key| *key == from || key.starts_with(&below)).cloned().collect();
    for key in old {
        let value = model.remove(&key).unwrap();
        model.insert(format!("{to}{}", &key[from.len()..]), value);
    }
    true
}

fn perform(fs: &mut Vfs, op: &Op) -> Result<(), Fail> {
    match op {
        Op::Put(path, bytes) => {
            let fd = fs.open(OUT, path.as_bytes(), WRITE)?;
            fs.write(fd, None, bytes)?;
            fs.close(fd)
        }
        Op::Mkdir(path) => fs.create_directory(OUT, path.as_bytes()),
        Op::Unlink(path) => fs.unlink(OUT, path.as_bytes()),
        Op::Rmdir(path) => fs.remove_directory(OUT, path.as_bytes()),
        Op::Rename(from, to) => fs.rename((OUT, from.as_bytes()), (OUT, to.as_bytes())),
    }
}

fn delivered(dir: &Path) -> Model {
    let mut found = Model::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, None);
                pending.push(path);
            } else {
                found.insert(name, Some(std::fs::read(path).unwrap()));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outputs_agree_with_a_naive_model(ops in proptest::collection::vec(ops(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut fs = vfs(dir.path(), PLENTY);
        let mut model = Model::new();
        for op in &ops {
            let done = perform(&mut fs, op);
            prop_assert!(!matches!(done, Err(Fail::Stop(_))), "{op:?}: {done:?}");
            prop_assert_eq!(done.is_ok(), apply(&mut model, op), "{:?}: {:?}", op, done);
        }
        let delivered_books = settle(fs, dir.path());
        let bytes: usize = model.values().flatten().map(Vec::len).sum();
        prop_assert_eq!(delivered_books.bytes, bytes as u64);
        prop_assert_eq!(delivered_books.files, model.len() as u64);
        prop_assert_eq!(delivered(dir.path()), model);
    }
}

#[test]
fn a_file_that_is_removed_while_open_is_not_delivered_and_costs_nothing_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    let fd = fs.open(OUT, b"x", WRITE).unwrap();
    fs.write(fd, None, b"12345").unwrap();
    fs.unlink(OUT, b"x").unwrap();
    fs.write(fd, None, b"67890").unwrap();
    let books = settle(fs, dir.path());
    assert_eq!((books.bytes, books.files, books.left), (0, 0, PLENTY));
    assert!(delivered(dir.path()).is_empty());
}

#[test]
fn a_folder_removed_while_open_takes_no_new_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    fs.create_directory(OUT, b"d").unwrap();
    let fd = fs.open(OUT, b"d", OpenHow { directory: true, ..READ }).unwrap();
    fs.remove_directory(OUT, b"d").unwrap();
    assert!(fs.open(fd, b"x", WRITE).is_err());
    assert!(fs.create_directory(fd, b"x").is_err());
    fs.close(fd).unwrap();
    fs.create_directory(OUT, b"d").unwrap();
    assert!(fs.output.deliver().is_ok());
}

#[test]
fn renumbering_closes_the_target_and_frees_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    let first = fs.open(OUT, b"x", WRITE).unwrap();
    let second = fs.open(OUT, b"y", WRITE).unwrap();
    fs.renumber(second, first).unwrap();
    assert!(fs.descriptor(second).is_err());
    fs.write(first, None, b"to y").unwrap();
    assert!(fs.renumber(77, first).is_err() && fs.renumber(first, 77).is_err());
    fs.renumber(first, first).unwrap();
    assert_eq!(fs.open(OUT, b"z", WRITE).unwrap(), second);
    settle(fs, dir.path());
    assert_eq!(delivered(dir.path())["y"], Some(b"to y".to_vec()));
}

#[test]
fn a_host_that_cannot_write_is_no_result() {
    let mut fs = vfs(Path::new("/nowhere/at/all"), PLENTY);
    let fd = fs.open(OUT, b"x", WRITE).unwrap();
    let failed = fs.write(fd, None, &[1; SMALL_FILE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(failed, Fail::Stop(Stop::Host(HostProblem::Io(_)))), "{failed:?}");
}

#[test]
fn quota_is_checked_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), Quota { bytes_left: 5, files_left: 1 });
    let fd = fs.open(OUT, b"x", WRITE).unwrap();
    fs.write(fd, None, b"1234").unwrap();
    assert_eq!(fs.write(fd, None, b"56"), Err(Stop::OutputLimit.into()));
    assert_eq!(fs.set_size(fd, 6), Err(Stop::OutputLimit.into()));
    assert_eq!(fs.allocate(fd, 5, 1), Err(Stop::OutputLimit.into()));
    assert_eq!(fs.write(fd, Some(u64::MAX >> 1), b"5"), Err(Stop::OutputLimit.into()));
    fs.write(fd, None, b"5").unwrap();
    assert_eq!(fs.open(OUT, b"y", WRITE), Err(Stop::FileLimit.into()));
    assert_eq!(fs.create_directory(OUT, b"d"), Err(Stop::FileLimit.into()));
    assert_eq!(fs.write(1, None, b"!"), Err(Stop::FileLimit.into()));
}

#[test]
fn a_file_that_grows_out_of_memory_and_shrinks_again_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    let scratch = dir.path().join(super::output::SCRATCH_NAME);
    let fd = fs.open(OUT, b"x", OpenHow { read: true, ..WRITE }).unwrap();
    fs.write(fd, Some(SMALL_FILE_BYTES_MAX as u64 - 3), b"abc").unwrap();
    assert!(!scratch.exists());
    let mut bytes = [9; 5];
    assert_eq!(fs.read(fd, Some(SMALL_FILE_BYTES_MAX as u64 - 5), &mut bytes), Ok(5));
    assert_eq!(&bytes, b"\0\0abc");
    fs.write(fd, Some(SMALL_FILE_BYTES_MAX as u64), b"d").unwrap();
    assert!(scratch.exists());
    assert_eq!(fs.read(fd, Some(SMALL_FILE_BYTES_MAX as u64 - 4), &mut bytes), Ok(5));
    assert_eq!(&bytes, b"\0abcd");
    fs.set_size(fd, 2).unwrap();
    let other = fs.open(OUT, b"y", WRITE).unwrap();
    fs.write(other, None, b"small").unwrap();
    let books = settle(fs, dir.path());
    assert_eq!((books.bytes, books.files), (7, 2));
    assert!(!scratch.exists());
    let expected = [("x".to_owned(), Some(vec![0; 2])), ("y".to_owned(), Some(b"small".to_vec()))];
    assert_eq!(delivered(dir.path()), Model::from(expected));
}

#[test]
fn small_inputs_replace_others_and_take_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    std::fs::write(&host, b"host").unwrap();
    let given = ["x", "y"].map(|at| Input { at: at.into(), host: host.clone() });
    let (storage, mut entries) = Local::new(&given, dir.path());
    let small = |at: &str, size| Entry { at: at.into(), size: Some(size), small: true };
    entries.splice(1..1, [small("x", 3), small("z", 2)]);
    let input = InputTree::empty(storage.clone()).with(&entries, &mut &b"newzz"[..]).unwrap();
    let mut fs = Vfs::new(Rc::new(input), OutputTree::new(storage.clone(), PLENTY));
    for (name, expected) in [("x", "new"), ("y", "host"), ("z", "zz")] {
        let fd = fs.open(IN, name.as_bytes(), READ).unwrap();
        let mut bytes = [0; 9];
        let read = fs.read(fd, None, &mut bytes).unwrap();
        assert_eq!(&bytes[..read], expected.as_bytes());
        assert_eq!(fs.read(fd, Some(1), &mut bytes), Ok(expected.len() - 1));
    }
    assert!(InputTree::empty(storage).with(&entries, &mut &b"new"[..]).is_err(), "bytes are missing");
}

/// An input file and the file system over it.
fn with_input(dir: &Path, bytes: &[u8]) -> (std::path::PathBuf, Vfs, Rc<Local>) {
    let host = dir.join("input");
    std::fs::write(&host, bytes).unwrap();
    let out = dir.join("out");
    std::fs::create_dir(&out).unwrap();
    let (storage, entries) = Local::new(&[Input { at: "x".into(), host: host.clone() }], &out);
    let input = Rc::new(InputTree::empty(storage.clone()).with(&entries, &mut &[][..]).unwrap());
    (host, Vfs::new(input, OutputTree::new(storage.clone(), PLENTY)), storage)
}

fn changed<T: std::fmt::Debug>(outcome: Result<T, Fail>) -> bool {
    matches!(outcome, Err(Fail::Stop(Stop::Host(HostProblem::InputChanged(_)))))
}

#[test]
fn an_input_that_changed_before_it_is_opened_is_a_fault_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let (host, mut fs, _) = with_input(dir.path(), b"12345");
    std::fs::write(&host, b"1234567").unwrap();
    let fd = fs.open(IN, b"x", READ).unwrap();
    assert!(changed(fs.read(fd, None, &mut [0; 3])));
}

#[test]
fn an_input_that_is_replaced_by_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (host, mut fs, _) = with_input(dir.path(), b"12345");
    std::fs::remove_file(&host).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &host).unwrap();
    let fd = fs.open(IN, b"x", READ).unwrap();
    let failed = fs.read(fd, None, &mut [0; 3]);
    assert!(matches!(failed, Err(Fail::Stop(Stop::Host(_)))), "{failed:?}");
}

#[test]
fn an_input_that_shrinks_while_it_is_read_is_a_fault_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let (host, mut fs, _) = with_input(dir.path(), b"12345");
    let fd = fs.open(IN, b"x", READ).unwrap();
    assert_eq!(fs.read(fd, None, &mut [0; 3]), Ok(3));
    std::fs::File::options().write(true).open(&host).unwrap().set_len(4).unwrap();
    assert!(changed(fs.read(fd, None, &mut [0; 3])));
}

#[test]
fn an_input_that_changed_after_it_was_read_is_noticed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (host, mut fs, storage) = with_input(dir.path(), b"12345");
    let fd = fs.open(IN, b"x", READ).unwrap();
    assert_eq!(fs.read(fd, None, &mut [0; 9]), Ok(5));
    assert_eq!(storage.check_inputs(), Ok(()));
    std::fs::write(&host, b"54321").unwrap();
    std::fs::File::options().write(true).open(&host).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(storage.check_inputs().is_err());
}

#[test]
fn the_log_is_a_ring() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    for round in 0..3u8 {
        fs.write_stderr(&vec![round; super::STDERR_TAIL_BYTES / 2]);
    }
    assert_eq!((fs.stderr().len(), fs.stderr()[0]), (super::STDERR_TAIL_BYTES, 1));
    fs.write_stderr(&vec![9; super::STDERR_TAIL_BYTES * 2]);
    assert_eq!(fs.stderr(), vec![9; super::STDERR_TAIL_BYTES]);
}

#[test]
fn listings_are_kept_for_a_bounded_number_of_folders() {
    let dir = tempfile::tempdir().unwrap();
    let mut fs = vfs(dir.path(), PLENTY);
    let folders: Vec<u32> = (0..40).map(|_| fs.open(OUT, b".", OpenHow { directory: true, ..READ }).unwrap()).collect();
    for fd in &folders {
        assert!(matches!(fs.descriptor(*fd).unwrap().body, Body::Directory(_)));
        fs.listing(*fd, true).unwrap();
    }
    assert_eq!(fs.listings.len(), super::LISTINGS_MAX);
    assert_eq!(fs.listing(folders[0], false).unwrap().0.len(), 2);
}
