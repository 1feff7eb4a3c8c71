use std::io::Cursor;

use alloy_primitives::{Address, Bytes};
use gristmill_hub::Resource;
use gristmill_result::pack::write_pack;
use gristmill_result::{FileEntry, Manifest, Part, Witness};
use gristmill_types::{Amount, ContentId, Trust};

use super::*;

/// A pack of one file `out.txt` an item (or of the task) on the disk; returns its header.
fn packed(folder: &Path, items: &[Option<u64>]) -> Header {
    let bytes = |folder: &str| format!("result of {folder}").into_bytes();
    let parts = items.iter().map(|&item| {
        let part = Part { item, ending: Ending::Exited(0), files: vec![] };
        let text = bytes(&part.folder());
        let content = ContentId(*blake3::hash(&text).as_bytes());
        let file = FileEntry { path: "out.txt".into(), length: text.len() as u64, content };
        Part { files: vec![file], ..part }
    });
    let header = Header::new(Manifest::new(parts.collect()).unwrap(), Witness::default(), vec![1], b"log".to_vec());
    let mut out = Vec::new();
    let open = |path: &str| Ok(Cursor::new(bytes(path.trim_end_matches("out.txt"))));
    write_pack(&header, open, &mut out).unwrap();
    fs::write(folder.join("pack"), out).unwrap();
    header
}

fn deal() -> Deal {
    let resource = Resource { address: Address::ZERO, owner: Address::ZERO, price: Amount::ZERO };
    Deal {
        id: DealId::default(),
        app: resource,
        dataset: resource,
        workerpool: resource,
        trust: Trust::default(),
        category: 0,
        tag: B256::ZERO,
        requester: Address::ZERO,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: String::new(),
        start_time: 0,
        bot_first: 0,
        bot_size: 1,
        worker_stake: Amount::ZERO,
        scheduler_reward_ratio: 0,
        sponsor: Address::ZERO,
    }
}

fn task(results: &str) -> Task {
    Task {
        id: TaskId::default(),
        status: TaskStatus::Completed,
        deal: DealId::default(),
        index: 3,
        work_clock_s: 2,
        contribution_deadline: 0,
        reveal_deadline: 0,
        final_deadline: 0,
        consensus: B256::ZERO,
        reveal_counter: 0,
        winner_counter: 0,
        contributors: vec![],
        digest: B256::ZERO,
        results: Bytes::copy_from_slice(results.as_bytes()),
        callback_data: Bytes::new(),
    }
}

#[test]
fn files_come_to_their_places_and_replace_what_an_earlier_fetch_left() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (deal, task) = (deal(), task(""));
    for (stage, items, expected, relative) in [
        (Stage::Task, vec![None], vec!["000003/out.txt"], "../000003"),
        (Stage::Task, vec![Some(6), Some(7)], vec!["000006/out.txt", "000007/out.txt"], ".."),
        (Stage::Reduce, vec![None], vec!["reduce/out.txt"], "../reduce"),
    ] {
        for round in 0..2 {
            let scratch = dir.join(SCRATCH_FOLDER);
            let _ = fs::remove_dir_all(&scratch);
            fs::create_dir(&scratch).unwrap();
            let written = packed(&scratch, &items);
            let digest = written.commitment.digest();
            let header = unpack(&scratch.join("pack"), digest, &scratch.join("tree")).unwrap();
            assert_eq!(header, written);
            let order = Order { stage, deal: &deal, index: 3, task: &task };
            assert_eq!(place(&header, &order, &scratch, dir).unwrap(), relative);
            for path in &expected {
                assert!(dir.join(path).is_file(), "{path} in round {round}");
            }
        }
    }
}

#[test]
fn another_digest_than_the_ledgers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    packed(folder.path(), &[None]);
    let wrong = Digest(B256::repeat_byte(1));
    let error = unpack(&folder.path().join("pack"), wrong, &folder.path().join("tree")).unwrap_err();
    assert!(matches!(error, PackError::DigestMismatch { .. }), "{error}");
    assert!(!folder.path().join("tree").exists());
}

#[test]
fn results_never_go_into_a_folder_of_somebody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let job = OrderHash(B256::repeat_byte(1));
    let dir = folder.path().join("out");
    check_output(&dir, None).unwrap();
    fs::create_dir(&dir).unwrap();
    check_output(&dir, Some(job)).unwrap();
    fs::write(dir.join("holiday.jpg"), "x").unwrap();
    assert!(matches!(check_output(&dir, Some(job)), Err(RequesterError::OutputFolder { .. })));
    fs::write(dir.join(JOB_FILE), format!("{{\"job\":\"{job}\"}}")).unwrap();
    check_output(&dir, Some(job)).unwrap();
    assert!(check_output(&dir, Some(OrderHash::default())).is_err());
    assert!(check_output(&dir, None).is_err());
}

#[test]
fn the_fingerprint_of_a_job_is_that_of_its_roots_in_their_order() {
    let (one, two) = (Root(B256::repeat_byte(1)), Root(B256::repeat_byte(2)));
    assert_eq!(job_root(&[one, two]), job_root(&[one, two]));
    assert_ne!(job_root(&[one, two]), job_root(&[two, one]));
    assert_ne!(job_root(&[one]), job_root(&[one, one]));
}
