use std::os::unix::fs::symlink;

use super::*;

#[test]
fn bad_inputs_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), b"").unwrap();
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("bad\nname"), b"x").unwrap();
    for (name, expected) in [
        ("absent", "does not exist"),
        ("empty", "is empty"),
        ("folder", "is not a file"),
        ("bad\nname", "cannot be given to an app"),
    ] {
        let error = read_file(&path(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains(name), "{name}: the message does not name the file: {error}");
    }
}

#[test]
fn a_file_is_known_by_its_content_and_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let bytes = vec![7u8; COPY_BYTES + 5];
    fs::write(&path, &bytes).unwrap();
    let file = read_file(&path).unwrap();
    assert_eq!(file.content, ContentId(*blake3::hash(&bytes).as_bytes()));
    assert_eq!((file.size, file.name.as_str(), file.head.len()), (bytes.len() as u64, "data", HEAD_BYTES));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let other = folder.path().join("other");
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    let changes: [&dyn Fn(); 3] = [&|| write(&[2; 3 * COPY_BYTES]), &|| write(&[1; 7]), &|| {
        fs::write(&other, [1u8; 2 * COPY_BYTES]).unwrap();
        fs::rename(&other, &path).unwrap();
    }];
    for (number, change) in changes.iter().enumerate() {
        write(&[1; 2 * COPY_BYTES]);
        let mut first = true;
        let read = read_steadily(&path, |_| {
            if std::mem::take(&mut first) {
                change();
            }
        });
        assert!(matches!(read, Err(InputError::Changed { .. })), "change {number}: {read:?}");
    }
}

#[test]
fn two_inputs_of_one_name_and_an_input_called_item_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    let (one, two) = (folder.path().join("x"), folder.path().join("a/x"));
    fs::write(&one, b"1").unwrap();
    symlink(&one, &two).unwrap();
    assert!(matches!(read_inputs(&[one.clone(), two], false), Err(InputError::SameName { .. })));
    let item = folder.path().join(ITEM_FILE);
    fs::write(&item, b"1").unwrap();
    assert!(matches!(read_inputs(std::slice::from_ref(&item), true), Err(InputError::ItemName { .. })));
    assert_eq!(read_inputs(&[one, item], false).unwrap().len(), 2);
}
