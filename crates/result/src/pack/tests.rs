use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::manifest::{Ending, FileEntry, Part};

fn pack_of(files: &BTreeMap<String, Vec<u8>>) -> (Header, Vec<u8>) {
    let entries = files.iter().map(|(path, bytes)| FileEntry {
        path: path.clone(),
        length: bytes.len() as u64,
        content: ContentId(*blake3::hash(bytes).as_bytes()),
    });
    let part = Part { item: None, ending: Ending::Exited(0), files: entries.collect() };
    let header = Header::new(Manifest::new(vec![part]).unwrap(), Witness::default(), vec![1], b"log".to_vec());
    let mut pack = Vec::new();
    write_pack(&header, |path| Ok(Cursor::new(files[path].clone())), &mut pack).unwrap();
    (header, pack)
}

fn sample() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([
        ("a.txt".into(), b"hello".to_vec()),
        ("b/c.bin".into(), vec![7; 200_000]),
        ("empty".into(), vec![]),
    ])
}

#[test]
fn a_pack_gives_back_its_files() {
    let files = sample();
    let (header, pack) = pack_of(&files);
    assert_eq!(header.pack_length(), pack.len() as u64);
    let mut source = pack.as_slice();
    let read = read_header(&mut source, Some(header.commitment.digest())).unwrap();
    assert_eq!(read, header);
    let mut seen = Vec::new();
    read_files(&read, &mut source, |path| {
        seen.push(path.to_owned());
        Ok(io::sink())
    })
    .unwrap();
    assert_eq!(seen, files.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn another_digest_a_cut_and_a_tail_are_refused() {
    let (header, pack) = pack_of(&sample());
    let digest = header.commitment.digest();
    let wrong = Digest(alloy_primitives::B256::repeat_byte(1));
    assert!(matches!(verify_pack(&mut pack.as_slice(), wrong), Err(PackError::DigestMismatch { .. })));
    assert!(verify_pack(&mut &pack[..pack.len() - 1], digest).is_err());
    let longer = [pack.as_slice(), &[0]].concat();
    assert!(matches!(verify_pack(&mut longer.as_slice(), digest), Err(PackError::Malformed(_))));
}

#[test]
fn a_file_that_changed_is_noticed_by_the_writer() {
    let (header, _) = pack_of(&sample());
    let result = write_pack(&header, |_| Ok(Cursor::new(b"other".to_vec())), &mut Vec::new());
    assert!(matches!(result, Err(PackError::FileMismatch { .. })));
}

proptest! {
    /// Every byte is covered: a flip anywhere but in the unverified log makes verification fail.
    #[test]
    fn a_flipped_bit_never_passes(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (header, mut pack) = pack_of(&sample());
        let at = at.index(pack.len());
        pack[at] ^= 1 << bit;
        if let Ok(read) = verify_pack(&mut pack.as_slice(), header.commitment.digest()) {
            prop_assert_ne!(&read.log, &header.log);
            prop_assert_eq!(&read.manifest, &header.manifest);
        }
    }
}
