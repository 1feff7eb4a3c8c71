//! Make the items of a job from a folder or a file's lines, and pack them into tasks.

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_result::items::{
    ITEMS_MAX, ITEMS_PACK_BYTES_MAX, Item, ItemsIndex, TaskItems, decode_items, encode_items, split_evenly,
};
use gristmill_types::ContentId;

use crate::inputs::{InputError, at, file_name, read_bytes};

/// Bytes of all items of a job: they pass through memory.
pub const ITEMS_BYTES_MAX: u64 = 1 << 30;
/// Up to so many items each is a task of its own.
pub const SINGLE_ITEMS_MAX: u64 = 32;
/// A job of items gets so many tasks at most, unless told otherwise.
pub const TASKS_DEFAULT_MAX: u64 = 1_000;

/// Items packed into tasks, ready to be uploaded.
#[derive(Clone, Debug)]
pub struct PackedItems {
    /// Where the items are.
    pub index: ItemsIndex,
    /// The content id of the index's bytes.
    pub index_id: ContentId,
    /// The pack of each task, in order.
    pub packs: Vec<Vec<u8>>,
}

/// How many tasks `count` items make unless told otherwise: one each up to 32 items, then 32 tasks, and from 1,024 items on
/// one task for every 32 items, 1,000 tasks at most. Tiny work then does not pay for a settlement each, and a few workers
/// still find something to share.
pub fn default_tasks(count: u64) -> u64 {
    count.min(SINGLE_ITEMS_MAX.max(count.div_ceil(SINGLE_ITEMS_MAX)).min(TASKS_DEFAULT_MAX))
}

/// Reads the items at `path`: every file of a folder, sorted by name, or every line of a file that is not blank. Blocks.
///
/// # Errors
/// [`InputError`]: missing, empty, a folder within the folder, too many or too large.
pub fn read_items(path: &Path) -> Result<Vec<Item>, InputError> {
    let metadata = fs::metadata(path).map_err(at(path))?;
    let items = if metadata.is_dir() { items_of_folder(path)? } else { items_of_lines(path)? };
    if items.is_empty() {
        let fix = "--items takes a folder with files in it, or a file with lines in it";
        return Err(InputError::Empty { path: path.to_path_buf(), fix });
    }
    if items.len() as u64 > ITEMS_MAX {
        let fix = "make several jobs of it".to_owned();
        let got = items.len() as u64;
        return Err(InputError::TooMuch { path: path.to_path_buf(), what: "items", got, max: ITEMS_MAX, fix });
    }
    Ok(items)
}

fn items_of_folder(folder: &Path) -> Result<Vec<Item>, InputError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        paths.push(entry.map_err(at(folder))?.path());
    }
    paths.sort();
    let mut items = Vec::new();
    let mut left = ITEMS_BYTES_MAX;
    for path in paths {
        if path.is_dir() {
            let fix = "--items takes the files of one folder; move the folders inside it away";
            return Err(InputError::NotAFile { path, fix });
        }
        let bytes = read_bytes(&path, left)?;
        if bytes.is_empty() {
            return Err(InputError::Empty { path, fix: "remove it from the folder, or is it still being written?" });
        }
        left -= bytes.len() as u64;
        items.push(Item { name: file_name(&path)?, bytes });
    }
    Ok(items)
}

fn items_of_lines(path: &Path) -> Result<Vec<Item>, InputError> {
    let bytes = read_bytes(path, ITEMS_BYTES_MAX)?;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let items = lines.filter_map(|(number, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.iter().all(u8::is_ascii_whitespace);
        (!blank).then(|| Item { name: format!("line {}", number + 1), bytes: line.to_vec() })
    });
    Ok(items.collect())
}

/// Packs `items` into `tasks` tasks ([`default_tasks`] when `None`, and more where a pack would be too large), never more than
/// there are items.
///
/// # Errors
/// [`InputError::TooMuch`] when the items of a task are too large together. `path` is where they came from.
pub fn pack_items(path: &Path, items: &[Item], tasks: Option<u64>) -> Result<PackedItems, InputError> {
    let count = items.len() as u64;
    pack(path, items, tasks.unwrap_or_else(|| default_tasks(count)), tasks.is_some())
}

/// The same items in another number of tasks, or more where a pack would be too large. Blocks.
///
/// # Errors
/// [`InputError::TooMuch`] when an item is too large, which then was so before.
///
/// # Panics
/// When `packed` is not what [`pack_items`] made: items must not get lost without a word.
pub fn pack_anew(packed: &PackedItems, tasks: u64) -> Result<PackedItems, InputError> {
    let mut items = Vec::new();
    for (entry, pack) in packed.index.tasks.iter().zip(&packed.packs) {
        items.extend(decode_items(pack, entry.count).unwrap_or_default());
    }
    // INVARIANT: the packs were made by `pack`, and can be read.
    assert_eq!(items.len() as u64, packed.index.count, "items were lost between two packings");
    pack(Path::new("--items"), &items, tasks, false)
}

fn pack(path: &Path, items: &[Item], tasks: u64, exactly: bool) -> Result<PackedItems, InputError> {
    let count = items.len() as u64;
    let mut wanted = tasks.clamp(1, count.max(1));
    let split = loop {
        let split = split_evenly(count, wanted);
        let largest = split.iter().map(|run| pack_bytes(part(items, *run))).max().unwrap_or(0);
        if largest <= ITEMS_PACK_BYTES_MAX as u64 {
            break split;
        }
        if exactly || wanted == count {
            let (what, max) = ("bytes of items in one task", ITEMS_PACK_BYTES_MAX as u64);
            let fix = "raise --tasks, or make the items smaller".to_owned();
            return Err(InputError::TooMuch { path: path.to_path_buf(), what, got: largest, max, fix });
        }
        wanted = (wanted * 2).min(count);
    };
    let (mut packs, mut entries) = (Vec::new(), Vec::new());
    for run @ (first, count) in split {
        let pack = encode_items(part(items, run));
        let id = ContentId(*blake3::hash(&pack).as_bytes());
        entries.push(TaskItems { first, count, pack: id, size: pack.len() as u64 });
        packs.push(pack);
    }
    let index = ItemsIndex { version: 1, count, tasks: entries };
    let index_id = ContentId(*blake3::hash(&index.encode()).as_bytes());
    Ok(PackedItems { index, index_id, packs })
}

fn part(items: &[Item], (first, count): (u64, u64)) -> &[Item] {
    &items[first as usize..(first + count) as usize]
}

/// An upper bound of the pack's length: names and lengths take a few bytes each.
fn pack_bytes(items: &[Item]) -> u64 {
    items.iter().map(|item| item.bytes.len() as u64 + item.name.len() as u64 + 16).sum()
}

#[cfg(test)]
mod tests;
