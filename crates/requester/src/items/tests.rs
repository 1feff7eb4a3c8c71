use gristmill_result::items::decode_items;

use super::*;

#[test]
fn the_default_number_of_tasks_follows_the_documented_rule() {
    for (count, tasks) in
        [(1, 1), (31, 31), (32, 32), (33, 32), (1_000, 32), (1_024, 32), (1_025, 33), (20_000, 625), (999_999, 1_000)]
    {
        assert_eq!(default_tasks(count), tasks, "{count} items");
    }
}

#[test]
fn a_folder_gives_its_files_by_name_and_a_file_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt", "c.txt"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let names: Vec<String> = read_items(folder.path()).unwrap().into_iter().map(|item| item.name).collect();
    assert_eq!(names, ["a.txt", "b.txt", "c.txt"]);

    let lines = tempfile::NamedTempFile::new().unwrap();
    fs::write(lines.path(), "one\r\n\n  \nfour\nfive").unwrap();
    let items = read_items(lines.path()).unwrap();
    let pairs: Vec<(&str, &[u8])> = items.iter().map(|item| (item.name.as_str(), item.bytes.as_slice())).collect();
    assert_eq!(pairs, [("line 1", &b"one"[..]), ("line 4", b"four"), ("line 5", b"five")]);
}

#[test]
fn bad_items_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("nothing")).unwrap();
    fs::write(path("blank"), "\n \n").unwrap();
    fs::create_dir_all(path("nested/inner")).unwrap();
    fs::create_dir(path("hollow")).unwrap();
    fs::write(path("hollow/x"), "").unwrap();
    for (name, expected) in [
        ("absent", "does not exist"),
        ("nothing", "is empty"),
        ("blank", "is empty"),
        ("nested", "inner is not a file"),
        ("hollow", "x is empty"),
    ] {
        let error = read_items(&path(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
#[should_panic(expected = "items were lost")]
fn no_item_gets_lost_without_a_word() {
    let items: Vec<Item> = (0..4u8).map(|n| Item { name: format!("line {n}"), bytes: vec![n; 3] }).collect();
    let mut packed = pack_items(Path::new("x"), &items, Some(2)).unwrap();
    packed.packs[1].truncate(5);
    let _ = pack_anew(&packed, 4);
}

#[test]
fn packs_and_index_hold_every_item_once_and_in_order() {
    let items: Vec<Item> =
        (0..7u8).map(|n| Item { name: format!("line {n}"), bytes: vec![n; usize::from(n) + 1] }).collect();
    let packed = pack_items(Path::new("x"), &items, Some(3)).unwrap();
    assert_eq!(ItemsIndex::parse(&packed.index.encode()).unwrap(), packed.index);
    let mut again = Vec::new();
    for (entry, pack) in packed.index.tasks.iter().zip(&packed.packs) {
        assert_eq!(entry.pack, ContentId(*blake3::hash(pack).as_bytes()));
        assert_eq!(entry.size, pack.len() as u64);
        again.extend(decode_items(pack, entry.count).unwrap());
    }
    assert_eq!(again, items);
    // Packed anew they are what they would have been at once.
    for tasks in [1, 2, 7, 9] {
        let (anew, direct) =
            (pack_anew(&packed, tasks).unwrap(), pack_items(Path::new("x"), &items, Some(tasks)).unwrap());
        assert_eq!((anew.index_id, anew.packs), (direct.index_id, direct.packs), "{tasks}");
    }
    assert_eq!(pack_items(Path::new("x"), &items, Some(100)).unwrap().packs.len(), 7);
}
