use std::io::Cursor;

use alloy_primitives::B256;
use gristmill_result::pack::write_pack;
use gristmill_result::{Ending, FileEntry, Manifest, Part, Witness};

use super::*;

/// A pack of one file a part.
fn packed(files: &[(Option<u64>, &str, &str)], ending: Ending) -> (Header, Vec<u8>) {
    let parts = files.iter().map(|(item, path, text)| {
        let content = ContentId(*blake3::hash(text.as_bytes()).as_bytes());
        let file = FileEntry { path: (*path).to_owned(), length: text.len() as u64, content };
        Part { item: *item, ending, files: vec![file] }
    });
    let manifest = Manifest::new(parts.collect()).unwrap();
    let header = Header::new(manifest, Witness::default(), vec![], b"log".to_vec());
    let mut pack = Vec::new();
    let open = |path: &str| {
        let text = files.iter().find(|(_, name, _)| path.ends_with(name)).map(|(.., text)| *text);
        Ok(Cursor::new(text.unwrap().as_bytes().to_vec()))
    };
    write_pack(&header, open, &mut pack).unwrap();
    (header, pack)
}

fn zipped(pack: &[u8]) -> Result<Vec<u8>, ResultError> {
    let mut source = Cursor::new(pack);
    let header = read_header(&mut source, None).map_err(refused)?;
    let mut out = Cursor::new(Vec::new());
    write_zip(&header, &mut source, TaskId(B256::repeat_byte(1)), &mut out)?;
    Ok(out.into_inner())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_zip_has_the_files_of_each_item_and_says_how_each_ended() {
    let files = [(Some(0), "a.txt", "flour"), (Some(1), "b.txt", "bran")];
    let (_, pack) = packed(&files, Ending::Exited(3));
    let zip = zipped(&pack).unwrap();
    for text in ["000000/a.txt", "flour", "000001/b.txt", "bran", "gristmill.json", "\"ended_well\": false"] {
        assert!(holds(&zip, text), "`{text}` is not in the zip");
    }
    assert_eq!(zipped(&pack).unwrap(), zip, "the same result gives the same zip");
}

#[test]
fn a_file_of_the_apps_own_is_never_replaced_by_the_note() {
    let (_, pack) = packed(&[(None, NOTE_FILE, "mine")], Ending::Exited(0));
    let zip = zipped(&pack).unwrap();
    assert!(holds(&zip, "mine") && !holds(&zip, "ended_well"));
}

#[test]
fn bytes_that_are_not_those_of_the_manifest_are_not_served() {
    let (_, pack) = packed(&[(None, "a.txt", "flour")], Ending::Exited(0));
    let mut other = pack.clone();
    *other.last_mut().unwrap() ^= 1;
    assert!(matches!(zipped(&other), Err(ResultError::Other(_))));
    assert!(matches!(zipped(&pack[..pack.len() - 1]), Err(ResultError::Other(_))));
    assert!(matches!(zipped(b"not a pack at all"), Err(ResultError::Other(_))));
}
