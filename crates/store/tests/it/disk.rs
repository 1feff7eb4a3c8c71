use std::fs;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gristmill_store::{DiskHook, Store, StoreError, StoreLimits, content_id};
use gristmill_types::ContentId;
use proptest::prelude::*;

use crate::support::{SEGMENT, bytes, store, store_with};

fn sizes() -> [usize; 8] {
    [0, 1, 1024, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5]
}

#[test]
fn what_is_put_comes_back_by_its_hash() {
    let test = store();
    for (seed, len) in (0..).zip(sizes()) {
        let data = bytes(len, seed);
        let content = test.store.put_stream(&data[..]).unwrap();
        assert_eq!(content, content_id(&data));
        assert_eq!(content.0, *blake3::hash(&data).as_bytes());
        assert_eq!(test.store.put_bytes(&data).unwrap(), content);
        let file = test.folder.path().join("input");
        fs::write(&file, &data).unwrap();
        assert_eq!(test.store.put_file(&file).unwrap(), content);

        assert_eq!(test.store.len(content).unwrap(), Some(len as u64));
        assert_eq!(test.store.get_bytes(content, len as u64).unwrap(), data);
        let mut read = Vec::new();
        test.store.open_verified(content).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, data);
    }
    let total: usize = sizes().iter().sum();
    assert_eq!(test.store.used_bytes(), total as u64, "each blob counts once");
    assert_eq!(test.incoming(), 0);
}

#[test]
fn it_comes_back_after_a_restart_and_rests_are_removed() {
    let test = store();
    let contents: Vec<ContentId> = sizes().iter().map(|len| test.store.put_bytes(&bytes(*len, 7)).unwrap()).collect();
    let used = test.store.used_bytes();
    fs::write(test.folder.path().join("incoming/17"), vec![0; 1000]).unwrap();
    let test = test.reopen();
    assert_eq!((test.store.used_bytes(), test.incoming()), (used, 0));
    for (content, len) in contents.iter().zip(sizes()) {
        assert_eq!(test.store.get_bytes(*content, u64::MAX).unwrap(), bytes(len, 7));
    }
    // A new blob does not collide with the names that were in use before.
    test.store.put_bytes(b"more").unwrap();
}

#[test]
fn a_store_is_open_once() {
    let test = store();
    let error = Store::open(test.folder.path(), StoreLimits::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("stop it first"), "{error}");
}

#[test]
fn what_is_not_there_is_not_found() {
    let test = store();
    let content = content_id(b"never put");
    assert!(!test.store.has(content).unwrap());
    assert!(!test.store.remove(content).unwrap());
    assert!(!test.store.holds_good_copy(content).unwrap());
    assert!(matches!(test.store.get_bytes(content, 9), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_removed_blob_is_gone_and_its_space_is_free() {
    let test = store();
    let content = test.store.put_bytes(&bytes(1000, 1)).unwrap();
    let mut open = test.store.open_verified(content).unwrap();
    assert!(test.store.remove(content).unwrap());
    assert_eq!(test.store.used_bytes(), 0);
    assert!(!test.store.has(content).unwrap());
    assert_eq!(open.segment(0).unwrap(), bytes(1000, 1), "who has it open keeps it");
}

#[test]
fn limits_hold_before_and_while_bytes_come() {
    let test = store_with(StoreLimits { blob_max_bytes: 1000, total_max_bytes: 2500 });
    let store = &test.store;
    assert!(matches!(store.begin(Some(1001)), Err(StoreError::TooLarge { len: 1001, limit: 1000 })));
    assert!(matches!(store.put_stream(io::repeat(1)), Err(StoreError::TooLarge { .. })));
    assert_eq!((store.used_bytes(), test.incoming()), (0, 0));

    store.put_bytes(&bytes(1000, 1)).unwrap();
    store.put_stream(&bytes(1000, 2)[..]).unwrap();
    assert_eq!(store.used_bytes(), 2000, "what was set apart beyond the length went back");
    for error in [
        store.begin(Some(501)).unwrap_err(),
        store.put_bytes(&bytes(501, 3)).unwrap_err(),
        store.put_stream(&bytes(501, 3)[..]).unwrap_err(),
    ] {
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains("2000 of 2500 bytes are used"), "{error}");
    }
    // A blob that is there takes no more space.
    store.put_bytes(&bytes(1000, 1)).unwrap();
    store.put_stream(&bytes(500, 3)[..]).unwrap();
    assert_eq!((store.used_bytes(), test.incoming()), (2500, 0));
    assert!(store.get_bytes(content_id(&bytes(500, 3)), 499).is_err());
}

#[test]
fn an_upload_is_invisible_until_it_is_finished() {
    let test = store();
    let data = bytes(SEGMENT + 10, 1);
    let mut upload = test.store.begin(None).unwrap();
    upload.write(&data).unwrap();
    assert!(!test.store.has(content_id(&data)).unwrap());
    assert_eq!(test.incoming(), 1);
    drop(upload);
    assert_eq!((test.incoming(), test.store.used_bytes()), (0, 0), "dropped, it leaves nothing");

    let mut upload = test.store.begin(Some(data.len() as u64)).unwrap();
    upload.write(&data).unwrap();
    let expected = content_id(b"something else");
    let error = upload.finish(Some(expected)).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherContent { expected: e, got } if e == expected && got == content_id(&data)),
        "{error}"
    );
    assert_eq!((test.incoming(), test.store.used_bytes()), (0, 0));
}

#[test]
fn a_failing_source_leaves_nothing() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the cable was pulled"));
            }
            self.0 -= 1;
            out.fill(1);
            Ok(out.len())
        }
    }
    let test = store();
    let error = test.store.put_stream(Failing(3)).unwrap_err();
    assert!(matches!(error, StoreError::Input(_)), "{error}");
    assert_eq!((test.incoming(), test.store.used_bytes()), (0, 0));
    assert!(test.store.put_file(test.folder.path().join("missing")).is_err());
}

/// Lets the n-th disk operation fail with an error.
struct FailNth {
    left: AtomicU64,
    error: i32,
}

impl FailNth {
    fn check(&self) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            0 => Err(io::Error::from_raw_os_error(self.error)),
            _ => Ok(()),
        }
    }
}

impl DiskHook for FailNth {
    fn before_write(&self, _: usize) -> io::Result<()> {
        self.check()
    }
    fn before_sync(&self) -> io::Result<()> {
        self.check()
    }
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_nothing_and_is_named() {
    const ENOSPC: i32 = 28;
    const EDQUOT: i32 = 122;
    const EIO: i32 = 5;
    let data = bytes(3 * SEGMENT + 5, 1);
    for error in [ENOSPC, EDQUOT, EIO] {
        // Four writes and a sync.
        for step in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let hook = FailNth { left: AtomicU64::new(step), error };
            let store = Store::open_with_hook(folder.path(), StoreLimits::default(), Box::new(hook)).unwrap();
            let failed = store.put_stream(&data[..]).unwrap_err();
            assert_eq!(failed.is_full(), error != EIO, "{failed}");
            if failed.is_full() {
                assert!(failed.to_string().contains("the disk is full"), "{failed}");
            }
            assert_eq!(store.used_bytes(), 0, "step {step}");
            assert!(!store.has(content_id(&data)).unwrap());
            assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
            // The next one works.
            store.put_stream(&data[..]).unwrap();
        }
    }
}

#[test]
fn many_at_once_store_one_blob_once() {
    let test = store();
    let data = bytes(2 * SEGMENT + 1, 3);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let content = test.store.put_stream(&data[..]).unwrap();
                    assert_eq!(test.store.get_bytes(content, u64::MAX).unwrap(), data);
                }
            });
        }
    });
    assert_eq!(test.store.used_bytes(), data.len() as u64);
    assert_eq!(test.incoming(), 0);
    assert_eq!(test.reopen().store.used_bytes(), data.len() as u64);
}

#[test]
fn a_thousand_small_blobs_take_seconds() {
    let test = store();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..8_usize {
            let store = &test.store;
            scope.spawn(move || {
                for number in 0..125 {
                    store.put_bytes(&bytes(100 + number, worker as u64)).unwrap();
                }
            });
        }
    });
    let took = started.elapsed();
    println!("1000 small blobs, durable: {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn a_copy_cut_short_or_grown_is_refused() {
    for (len, new_len) in
        [(1000, 999), (1000, 0), (1000, 1001), (2 * SEGMENT, 2 * SEGMENT - 1), (2 * SEGMENT, SEGMENT), (0, 1)]
    {
        let mut test = store();
        let content = test.store.put_bytes(&bytes(len, 1)).unwrap();
        if len > SEGMENT && new_len != SEGMENT {
            test.damage(content, |stored| stored.resize(new_len, 0));
        } else {
            test = test.damage_closed(content, |stored| stored.resize(new_len, 0));
        }
        let error = test.store.get_bytes(content, u64::MAX).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{len} {new_len}: {error}");
    }
}

#[test]
fn damage_under_an_open_blob_is_seen() {
    let test = store();
    let data = bytes(3 * SEGMENT, 1);
    let content = test.store.put_bytes(&data).unwrap();
    let mut blob = test.store.open_verified(content).unwrap();
    test.damage(content, |stored| stored[SEGMENT + 9] ^= 1);
    let mut read = Vec::new();
    let error = blob.read_to_end(&mut read).unwrap_err();
    assert_eq!(read, data[..SEGMENT], "only what is right was given");
    let cause = error.get_ref().unwrap().downcast_ref::<StoreError>().unwrap();
    assert!(matches!(cause, StoreError::Damaged { .. }), "{cause}");
    assert!(!test.store.has(content).unwrap());
}

#[test]
fn a_new_copy_is_not_set_aside_for_the_sins_of_the_old_one() {
    let test = store();
    let data = bytes(2 * SEGMENT, 1);
    let content = test.store.put_bytes(&data).unwrap();
    let mut old = test.store.open_verified(content).unwrap();
    test.damage(content, |stored| stored[SEGMENT] ^= 1);
    // Somebody puts it again before the damage is found; the old file stays open.
    test.store.put_stream(&data[..]).unwrap();
    assert!(old.segment(1).is_err());
    assert_eq!(test.store.get_bytes(content, u64::MAX).unwrap(), data);
    assert!(test.store.quarantined().unwrap().is_empty());
}

/// Small blobs are in one database: no file each, however many are put at once, and all of them are there after a restart.
#[test]
fn small_blobs_share_a_file() {
    const SMALL: usize = 64 << 10;
    let test = store();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let store = &test.store;
            scope.spawn(move || {
                for number in 0..40 {
                    store.put_bytes(&bytes(1 + number * 100, thread / 2)).unwrap();
                }
            });
        }
    });
    let contents: Vec<_> =
        (0..4_u64).flat_map(|seed| (0..40).map(move |number| bytes(1 + number * 100, seed))).collect();
    let total: usize = contents.iter().map(Vec::len).sum();
    assert_eq!(test.store.used_bytes(), total as u64, "what two threads put counts once");
    let (largest, larger) = (bytes(SMALL, 9), bytes(SMALL + 1, 9));
    test.store.put_stream(&largest[..]).unwrap();
    let content = test.store.put_stream(&larger[..]).unwrap();
    let files = |test: &crate::support::TestStore| {
        let folders = fs::read_dir(test.folder.path().join("blobs")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert_eq!((files(&test), test.incoming()), (1, 0), "only what is larger has a file");
    let test = test.reopen();
    assert_eq!(test.store.used_bytes(), (total + 2 * SMALL + 1) as u64);
    for data in contents.iter().chain([&largest, &larger]) {
        assert_eq!(test.store.get_bytes(content_id(data), u64::MAX).unwrap(), *data);
        assert!(test.store.remove(content_id(data)).unwrap());
    }
    assert_eq!((files(&test), test.store.used_bytes()), (0, 0));
    assert!(!test.store.has(content).unwrap());
}

/// A store of before small blobs shared a file.
#[test]
fn a_small_blob_with_a_file_of_its_own_is_found_and_not_stored_again() {
    let test = store();
    let data = bytes(1000, 4);
    let file = test.file(content_id(&data));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &data).unwrap();
    let test = test.reopen();
    assert_eq!(test.store.put_bytes(&data).unwrap(), content_id(&data));
    assert_eq!(test.store.put_stream(&data[..]).unwrap(), content_id(&data));
    assert_eq!(test.store.get_bytes(content_id(&data), 1000).unwrap(), data);
    assert_eq!(test.store.used_bytes(), 1000);
    assert!(test.store.remove(content_id(&data)).unwrap());
    assert!(!file.exists() && !test.store.has(content_id(&data)).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// One changed byte anywhere in a stored file is never given to anybody; the copy is set aside, and putting the blob
    /// again heals it.
    #[test]
    fn a_changed_byte_is_never_given(
        len in prop_oneof![1..2000_usize, (SEGMENT - 3)..(SEGMENT + 3), SEGMENT..(3 * SEGMENT)],
        place in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        restart in any::<bool>(),
        put_finds_it in any::<bool>(),
    ) {
        let mut test = store();
        let data = bytes(len, 5);
        let content = test.store.put_bytes(&data).unwrap();
        // Small ones are in a database, which only who has it open changes.
        if restart || len <= 64 << 10 {
            test = test.damage_closed(content, |stored| stored[place.index(len)] ^= flip);
        } else {
            test.damage(content, |stored| stored[place.index(len)] ^= flip);
        }
        if !put_finds_it {
            let mut read = Vec::new();
            let outcome = test.store.open_verified(content).map_err(io::Error::other)
                .and_then(|mut blob| blob.read_to_end(&mut read));
            prop_assert!(outcome.is_err());
            prop_assert!(data.starts_with(&read));
            let gone = test.store.get_bytes(content, u64::MAX);
            let not_found = matches!(gone, Err(StoreError::NotFound { .. }));
            prop_assert!(not_found);
        }
        prop_assert_eq!(test.store.put_bytes(&data).unwrap(), content);
        prop_assert_eq!(test.store.get_bytes(content, u64::MAX).unwrap(), data);
        prop_assert_eq!(test.store.quarantined().unwrap().len(), 1);
        // What was set aside still takes space, before and after a restart.
        prop_assert_eq!(test.store.used_bytes(), 2 * len as u64);
        prop_assert_eq!(test.reopen().store.used_bytes(), 2 * len as u64);
    }
}
