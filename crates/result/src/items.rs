//! Pack the items of a job: one index for the job, one pack a task.

use gristmill_types::ContentId;
use gristmill_types::params::is_plain_file_name;
use serde::{Deserialize, Serialize};

use crate::codec::{Reader, put_text};

/// Items a job may have.
pub const ITEMS_MAX: u64 = 1_000_000;
/// Bytes of an items pack.
pub const ITEMS_PACK_BYTES_MAX: usize = 256 << 20;

const MAGIC: &[u8; 8] = b"GMITEM1\0";

/// One item: a name for people, and the bytes that the app finds as file `item`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file's name, or `line 17`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where the items of a job are: the blob that `gristmill_items` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsIndex {
    /// 1.
    pub version: u32,
    /// Items in all.
    pub count: u64,
    /// One entry a task, in the deal's order.
    pub tasks: Vec<TaskItems>,
}

/// The items of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskItems {
    /// Index of its first item within the job.
    pub first: u64,
    /// How many items.
    pub count: u64,
    /// Content id of its pack.
    pub pack: ContentId,
    /// Bytes of its pack.
    pub size: u64,
}

/// An index or a pack of items that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemsError {
    /// The index is not what it should be.
    #[error("the index of items is refused: {0}")]
    Index(String),
    /// The pack is not what it should be.
    #[error("the pack of items is refused: {0}")]
    Pack(&'static str),
}

impl ItemsIndex {
    /// Reads an index and checks that its tasks cover all items in order.
    pub fn parse(bytes: &[u8]) -> Result<Self, ItemsError> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| ItemsError::Index(error.to_string()))?;
        let refuse = |why: &str| Err(ItemsError::Index(why.to_owned()));
        if index.version != 1 {
            return refuse("its version is not 1");
        }
        if index.count > ITEMS_MAX {
            return refuse("it has more than 1,000,000 items");
        }
        let mut next = 0u64;
        for task in &index.tasks {
            if task.first != next || task.count == 0 {
                return refuse("its tasks do not follow each other");
            }
            next = next.checked_add(task.count).ok_or_else(|| ItemsError::Index("it overflows".to_owned()))?;
        }
        if next != index.count { refuse("its tasks do not hold all items") } else { Ok(index) }
    }

    /// The canonical JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index of numbers and texts is always JSON")
    }
}

/// Splits `count` items into `tasks` runs that differ by one at most: (first, count) of each.
pub fn split_evenly(count: u64, tasks: u64) -> Vec<(u64, u64)> {
    let tasks = tasks.clamp(1, count.max(1));
    let (size, longer) = (count / tasks, count % tasks);
    (0..tasks).map(|task| (task * size + task.min(longer), size + u64::from(task < longer))).collect()
}

/// The pack of one task's items.
pub fn encode_items(items: &[Item]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend((items.len() as u64).to_le_bytes());
    for item in items {
        put_text(&mut out, &item.name);
        out.extend((item.bytes.len() as u64).to_le_bytes());
        out.extend(&item.bytes);
    }
    out
}

/// Reads a pack that must hold `count` items.
pub fn decode_items(bytes: &[u8], count: u64) -> Result<Vec<Item>, ItemsError> {
    let mut reader = Reader(bytes);
    if reader.take(8) != Some(MAGIC.as_slice()) {
        return Err(ItemsError::Pack("the first bytes are not a pack of items'"));
    }
    let cut = ItemsError::Pack("it ends too early");
    if reader.u64().ok_or(cut.clone())? != count {
        return Err(ItemsError::Pack("it does not hold as many items as the index says"));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        let name = reader.text().ok_or(cut.clone())?.to_owned();
        if !is_plain_file_name(&name) {
            return Err(ItemsError::Pack("an item's name is not a plain file name"));
        }
        let length = reader.u64().and_then(|length| usize::try_from(length).ok()).ok_or(cut.clone())?;
        items.push(Item { name, bytes: reader.take(length).ok_or(cut.clone())?.to_vec() });
    }
    if reader.0.is_empty() { Ok(items) } else { Err(ItemsError::Pack("bytes follow its end")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_split_evenly_and_completely() {
        assert_eq!(split_evenly(7, 3), [(0, 3), (3, 2), (5, 2)]);
        assert_eq!(split_evenly(2, 5), [(0, 1), (1, 1)]);
        assert_eq!(split_evenly(0, 3), [(0, 0)]);
    }

    #[test]
    fn an_index_with_a_hole_is_refused() {
        let task = |first, count| TaskItems { first, count, pack: ContentId([0; 32]), size: 1 };
        let index = |tasks| ItemsIndex { version: 1, count: 4, tasks }.encode();
        assert!(ItemsIndex::parse(&index(vec![task(0, 2), task(2, 2)])).is_ok());
        assert!(ItemsIndex::parse(&index(vec![task(0, 2), task(3, 1)])).is_err());
        assert!(ItemsIndex::parse(&index(vec![task(0, 2)])).is_err());
    }

    proptest! {
        #[test]
        fn a_pack_survives_and_no_cut_of_it_does(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let items: Vec<Item> =
                contents.into_iter().enumerate().map(|(n, bytes)| Item { name: format!("line {n}"), bytes }).collect();
            let pack = encode_items(&items);
            let count = items.len() as u64;
            prop_assert_eq!(decode_items(&pack, count).unwrap(), items);
            prop_assert!(decode_items(&pack[..cut.index(pack.len())], count).is_err());
        }
    }
}
