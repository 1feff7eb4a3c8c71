use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use gristmill_datadir::secret::{self, SECRET_MAX_BYTES, SecretError};
use gristmill_datadir::{FileError, write_atomic};

#[test]
fn a_file_is_replaced_whole_with_the_mode_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for (bytes, mode) in [(&b"first"[..], 0o644), (b"", 0o600), (b"third, longer", 0o666), (b"4", 0o400)] {
        write_atomic(&path, bytes, mode).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // A folder of the same name cannot be replaced by a file.
    let path = folder.path().join("taken");
    fs::create_dir(&path).unwrap();
    let error = write_atomic(&path, b"x", 0o600).unwrap_err();
    assert_eq!((error.action, &error.path), ("replace", &path));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(write_atomic(folder.path().join("no/folder"), b"x", 0o600).is_err());
    assert!(write_atomic("/", b"x", 0o600).is_err());
}

#[test]
fn readers_see_the_old_file_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hot");
    write_atomic(&path, &[0; 4096], 0o600).unwrap();
    std::thread::scope(|scope| {
        for writer in 1..=2_u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..30 {
                    write_atomic(path, &[writer; 4096], 0o600).unwrap();
                }
            });
        }
        for _ in 0..500 {
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.len() == 4096 && bytes.iter().all(|byte| *byte == bytes[0]));
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_is_named() {
    let full = FileError { action: "write", path: "/data/x".into(), source: io::Error::from_raw_os_error(28) };
    assert!(full.is_disk_full());
    assert_eq!(
        full.to_string(),
        "cannot write /data/x: the disk is full; free some space or choose a folder on another disk"
    );
    let read_only = FileError { source: io::Error::from_raw_os_error(30), ..full };
    assert!(!read_only.is_disk_full());
    assert!(read_only.to_string().contains("read-only"), "{read_only}");
}

#[test]
fn secrets_are_private_from_the_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.key");
    // An old file with an open mode does not pass its mode on.
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let old = fs::metadata(&path).unwrap().ino();
    secret::write(&path, b"new").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_ne!(metadata.ino(), old, "whoever holds the old file open does not see the new one");
    assert_eq!(secret::read(&path).unwrap(), b"new");
}

#[test]
fn secrets_that_others_can_see_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    secret::write(&path, b"k").unwrap();
    for mode in [0o640, 0o604, 0o610, 0o602, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = secret::read(&path).unwrap_err();
        assert!(matches!(error, SecretError::TooOpen { mode: got, .. } if got == mode), "{error:?}");
        assert!(error.to_string().contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    secret::read(&path).unwrap();
}

#[test]
fn secrets_have_a_size_limit_and_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    assert!(secret::read(&path).unwrap_err().is_not_found());
    let big = vec![1; SECRET_MAX_BYTES as usize + 1];
    assert!(matches!(secret::write(&path, &big), Err(SecretError::TooLarge { .. })));
    write_atomic(&path, &big, 0o600).unwrap();
    assert!(matches!(secret::read(&path), Err(SecretError::TooLarge { .. })));
    fs::remove_file(&path).unwrap();

    assert_eq!(secret::read_or_create(&path, || b"one".to_vec()).unwrap(), b"one");
    assert_eq!(secret::read_or_create(&path, || b"two".to_vec()).unwrap(), b"one");
}
