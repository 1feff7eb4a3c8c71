use proptest::prelude::*;

use super::*;

fn entry(path: &str) -> FileEntry {
    FileEntry { path: path.to_owned(), length: 3, content: ContentId([9; 32]) }
}

fn part(item: Option<u64>, paths: &[&str]) -> Part {
    Part { item, ending: Ending::Exited(0), files: paths.iter().map(|path| entry(path)).collect() }
}

/// The root of a fixed manifest must never change: results of old deals would no longer verify.
#[test]
fn the_encoding_is_frozen() {
    let manifest =
        Manifest::new(vec![part(Some(1), &["a/b", "c"]), Part { ending: Ending::Trapped(4), ..part(Some(2), &[]) }])
            .unwrap();
    assert_eq!(manifest.encode().len(), 8 + 4 + (9 + 5 + 4) * 2 + (4 + 3 + 40) + (4 + 1 + 40));
    assert_eq!(manifest.root().to_string(), ROOT_OF_FIXED_MANIFEST);
}

const ROOT_OF_FIXED_MANIFEST: &str = "0x8eef381e523a897ceab05e7de5b1afdf2719c56d3c5124b62627e32b6da86c16";

#[test]
fn what_breaks_the_rules_is_refused() {
    let refused = |parts: Vec<Part>| Manifest::new(parts).unwrap_err();
    assert!(matches!(refused(vec![]), ManifestError::Malformed(_)));
    assert!(matches!(refused(vec![part(None, &[]), part(Some(1), &[])]), ManifestError::Malformed(_)));
    assert!(matches!(refused(vec![part(Some(1), &[]), part(Some(1), &[])]), ManifestError::Order(_)));
    assert!(matches!(refused(vec![part(None, &["b", "a"])]), ManifestError::Order(_)));
    assert!(matches!(refused(vec![part(None, &["a", "a"])]), ManifestError::Order(_)));
    for path in ["", "/a", "a//b", "../a", "a/./b", "a\nb", "a\\b"] {
        assert!(matches!(refused(vec![part(None, &[path])]), ManifestError::Path(_)), "{path:?}");
    }
}

fn any_ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        any::<i32>().prop_map(Ending::Exited),
        any::<u32>().prop_map(Ending::Trapped),
        Just(Ending::OutOfFuel),
        Just(Ending::NotRunnable)
    ]
}

proptest! {
    #[test]
    fn one_manifest_one_encoding(
        endings in proptest::collection::vec(any_ending(), 1..5),
        names in proptest::collection::btree_set("[a-z]{1,3}(/[a-z]{1,3})?", 0..6),
    ) {
        let parts = endings.into_iter().enumerate().map(|(n, ending)| {
            Part { item: Some(n as u64), ending, files: names.iter().map(|name| entry(name)).collect() }
        });
        let manifest = Manifest::new(parts.collect()).unwrap();
        let bytes = manifest.encode();
        prop_assert_eq!(&Manifest::decode(&bytes).unwrap(), &manifest);
        prop_assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(Manifest::decode(&longer).is_err());
    }

    /// Whatever decodes encodes to the same bytes again.
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
        let valid = Manifest::new(vec![part(Some(3), &["a", "b"])]).unwrap().encode();
        if let Some(byte) = bytes.first().copied() {
            let mut mutated = valid.clone();
            let at = at % mutated.len();
            mutated[at] ^= byte;
            if let Ok(manifest) = Manifest::decode(&mutated) {
                prop_assert_eq!(manifest.encode(), mutated);
            }
        }
        bytes.splice(0..0, valid[..12].iter().copied());
        let _ = Manifest::decode(&bytes);
    }
}
