use std::fs;
use std::os::unix::fs::PermissionsExt;

use gristmill_datadir::{DataDir, DataDirError, DbError, LOCK_FILE, VERSION_FILE};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_folder_is_private_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/pool");
    let dir = DataDir::open(&path, "pool", 3).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(fs::read_to_string(path.join(VERSION_FILE)).unwrap(), "gristmill pool 3\n");
    assert!(dir.path().is_absolute());

    let sub = dir.subdir("blobs").unwrap();
    assert_eq!((mode(&sub), &sub), (0o700, &dir.subdir("blobs").unwrap()));
    assert_eq!(dir.file("pool.url").unwrap(), dir.path().join("pool.url"));
    for bad in ["", ".", "..", "a/b", "/etc", "../x", ".unfinished-x"] {
        assert!(matches!(dir.subdir(bad), Err(DataDirError::BadName { .. })), "{bad}");
        assert!(matches!(dir.file(bad), Err(DataDirError::BadName { .. })), "{bad}");
        assert!(matches!(dir.database(bad), Err(DbError::BadName { .. })), "{bad}");
    }
}

#[test]
fn it_opens_again_with_what_was_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), "worker", 1).unwrap();
    dir.database("state.redb").unwrap().table("t").put(b"k", b"v").unwrap();
    drop(dir);
    let dir = DataDir::open(folder.path(), "worker", 1).unwrap();
    let value = dir.database("state.redb").unwrap().table("t").get(b"k").unwrap();
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_second_owner_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDir::open(folder.path(), "node", 1).unwrap();
    // Also for another kind or version: the lock comes first.
    for (kind, version) in [("node", 1), ("pool", 2)] {
        let error = DataDir::open(folder.path(), kind, version).unwrap_err();
        assert!(matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains("stop it first") && text.contains("--data-dir"), "{text}");
    }
    drop(first);
    DataDir::open(folder.path(), "node", 1).unwrap();
}

#[test]
fn folders_of_other_kinds_and_versions_are_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDir::open(folder.path(), "pool", 2).unwrap());
    let text = |kind, version| DataDir::open(folder.path(), kind, version).unwrap_err().to_string();

    assert!(text("worker", 2).contains("is the data folder of a pool, not of a worker"));
    assert!(text("pool", 1).contains("has format 2, and this program knows only up to 1"));
    assert!(text("pool", 3).contains("has the old format 2, and this program needs 3"));
    for message in [text("worker", 2), text("pool", 1), text("pool", 3)] {
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
        assert!(message.contains("choose another folder") || message.contains("move the folder away"));
    }
    assert_eq!(fs::read_to_string(folder.path().join(VERSION_FILE)).unwrap(), "gristmill pool 2\n");
    DataDir::open(folder.path(), "pool", 2).unwrap();
}

#[test]
fn damaged_version_files_are_refused() {
    for text in ["", "gristmill pool", "gristmill pool x\n", "pool 1\n", "gristmill pool 1", "\u{0}\u{0}\n"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(VERSION_FILE), text).unwrap();
        let error = DataDir::open(folder.path(), "pool", 1).unwrap_err();
        assert!(matches!(error, DataDirError::Damaged { .. }), "{text:?}: {error:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(VERSION_FILE), vec![0xff; 1 << 20]).unwrap();
    let error = DataDir::open(folder.path(), "pool", 1).unwrap_err();
    assert!(error.to_string().len() < 2000, "a message, not a dump");
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let error = DataDir::open(folder.path(), "pool", 1).unwrap_err();
    assert!(matches!(&error, DataDirError::Foreign { example, .. } if example == "thesis.tex"), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written there");
}

#[test]
fn what_a_crash_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    // A crash between the lock and the version file.
    fs::write(folder.path().join(LOCK_FILE), "123456\n").unwrap();
    fs::write(folder.path().join(".unfinished-123456-0-VERSION"), "gris").unwrap();
    let dir = DataDir::open(folder.path(), "pool", 1).unwrap();
    let sub = dir.subdir("tasks").unwrap();
    drop(dir);
    fs::write(sub.join(".unfinished-1-0-x"), "half").unwrap();
    fs::write(sub.join("whole"), "whole").unwrap();
    let _dir = DataDir::open(folder.path(), "pool", 1).unwrap();
    assert!(!folder.path().join(".unfinished-123456-0-VERSION").exists());
    assert_eq!(fs::read_dir(&sub).unwrap().count(), 1);
    assert!(sub.join("whole").exists());
}

#[test]
fn paths_that_cannot_be_folders_get_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let text = DataDir::open(&path, "pool", 1).unwrap_err().to_string();
        assert!(text.contains("a file stands where a folder is needed"), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
    let text = DataDir::open("/proc/gristmill", "pool", 1).unwrap_err().to_string();
    assert!(text.contains("/proc/gristmill"), "{text}");
}
