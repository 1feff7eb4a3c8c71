use std::collections::BTreeMap;

use gristmill_datadir::{Db, DbError};
use proptest::prelude::*;

fn open(folder: &tempfile::TempDir) -> Db {
    Db::open(folder.path().join("db.redb")).unwrap()
}

fn all(db: &Db, table: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    db.table(table).iter().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_table_never_written_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let table = db.table("none");
    assert_eq!(table.get(b"k").unwrap(), None);
    assert_eq!(table.last().unwrap(), None);
    assert!(table.is_empty().unwrap());
    assert_eq!(table.iter().unwrap().count(), 0);
    table.delete(b"k").unwrap();
}

#[test]
fn entries_come_in_order_and_by_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let table = db.table("t");
    for key in [&b"b2"[..], b"a1", b"b1", b"c", b"b", b"\xff\xff"] {
        table.put(key, key).unwrap();
    }
    let keys =
        |entries: gristmill_datadir::Entries| -> Vec<Vec<u8>> { entries.map(|entry| entry.unwrap().0).collect() };
    assert_eq!(keys(table.prefix(b"b").unwrap()), [&b"b"[..], b"b1", b"b2"]);
    assert_eq!(keys(table.prefix(b"\xff").unwrap()), [b"\xff\xff"]);
    assert_eq!(keys(table.range(b"b2").unwrap()), [&b"b2"[..], b"c", b"\xff\xff"]);
    assert_eq!(table.last().unwrap().unwrap().0, b"\xff\xff");
    assert_eq!(table.len().unwrap(), 6);

    // A reader keeps the table as it was.
    let before = table.iter().unwrap();
    table.delete(b"a1").unwrap();
    assert_eq!(before.count(), 6);
    assert_eq!(table.iter().unwrap().count(), 5);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (left, right) = (db.table("left"), db.table("right"));
    db.batch().put(&left, b"k", b"1").put(&right, b"k", b"2").delete(&left, b"k").commit().unwrap();
    assert_eq!((left.get(b"k").unwrap(), right.get(b"k").unwrap()), (None, Some(b"2".to_vec())));

    let result: Result<(), DbError> = db.transaction(|transaction| {
        let definition = gristmill_datadir::redb::TableDefinition::<&[u8], &[u8]>::new("right");
        let mut table = transaction.open_table(definition).map_err(|error| db.failed("write to", error.into()))?;
        table.insert(&b"k"[..], &b"3"[..]).map_err(|error| db.failed("write to", error.into()))?;
        Err(DbError::BadName { name: "changed my mind".into() })
    });
    assert!(result.is_err());
    assert_eq!(right.get(b"k").unwrap(), Some(b"2".to_vec()), "a failed transaction leaves nothing");
    db.batch().commit().unwrap();
}

#[test]
fn json_values_go_through_and_bad_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let table = db.table("leases");
    table.put_json(b"7", &vec!["worker", "3"]).unwrap();
    assert_eq!(table.get_json::<Vec<String>>(b"7").unwrap().unwrap(), ["worker", "3"]);
    assert_eq!(table.get_json::<u64>(b"8").unwrap(), None);
    let error = table.get_json::<u64>(b"7").unwrap_err();
    assert!(matches!(&error, DbError::Json { table, .. } if table == "leases"), "{error:?}");
}

#[test]
fn a_database_is_open_once_and_not_a_text_file() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let error = Db::open(db.path()).unwrap_err();
    assert!(matches!(error, DbError::InUse { .. }), "{error:?}");

    let text = folder.path().join("text");
    std::fs::write(&text, "this is not a database").unwrap();
    let error = Db::open(&text).unwrap_err();
    assert!(matches!(error, DbError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "this is not a database", "left as it was");

    assert!(Db::open(folder.path().join("no/such/folder.redb")).is_err());
    // What a crash leaves of a file just made.
    let empty = folder.path().join("empty.redb");
    std::fs::write(&empty, "").unwrap();
    Db::open(&empty).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// A table behaves as a sorted map, batch by batch, and is the same when it is opened again.
    #[test]
    fn a_table_is_a_sorted_map(batches in prop::collection::vec(
        prop::collection::vec((0_u8..12, prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..8),
        0..6,
    )) {
        let folder = tempfile::tempdir().unwrap();
        let mut db = open(&folder);
        let mut model = BTreeMap::new();
        for changes in batches {
            let table = db.table("t");
            let mut batch = db.batch();
            for (key, value) in changes {
                let key = vec![key];
                match value {
                    Some(value) => {
                        batch = batch.put(&table, &key, &value);
                        model.insert(key, value);
                    }
                    None => {
                        batch = batch.delete(&table, &key);
                        model.remove(&key);
                    }
                }
            }
            batch.commit().unwrap();
            prop_assert_eq!(all(&db, "t"), model.clone().into_iter().collect::<Vec<_>>());
            drop((db, table));
            db = open(&folder);
        }
        prop_assert_eq!(all(&db, "t"), model.into_iter().collect::<Vec<_>>());
    }
}
