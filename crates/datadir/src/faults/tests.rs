//! The database on a disk that goes wrong: what was committed stays, and nothing is half done.

use super::{Disk, Fault, Random, SECTOR_BYTES};
use crate::{Db, DbError};
use redb::StorageBackend;

/// Commits of one run: each moves one unit from account "a" to account "b" and adds a line to the journal.
const COMMITS: u64 = 12;

/// Starts the accounts, if they are not there, and returns how many transfers are committed.
///
/// Asserts that the two accounts and the journal tell the same story: a half-applied commit would not.
fn transfers_done(db: &Db, context: &str) -> u64 {
    let (accounts, journal) = (db.table("accounts"), db.table("journal"));
    let read = |key: &[u8]| accounts.get_json::<u64>(key).expect(context);
    let Some(a) = read(b"a") else {
        assert_eq!((read(b"b"), journal.len().expect(context)), (None, 0), "{context}");
        return 0;
    };
    let b = read(b"b").expect(context);
    assert_eq!(a + b, COMMITS, "{context}: nothing is made or lost");
    assert_eq!(journal.len().expect(context), b, "{context}: a line for each transfer");
    for (entry, number) in journal.iter().expect(context).zip(1..) {
        let (key, value) = entry.expect(context);
        assert_eq!(key, u64::to_be_bytes(number), "{context}");
        assert_eq!(value, journal_line(number), "{context}");
    }
    b
}

/// Long enough for the file to grow during the run.
fn journal_line(number: u64) -> Vec<u8> {
    vec![number as u8; 3000 * (1 + number as usize % 7)]
}

fn transfer(db: &Db, number: u64) -> Result<(), DbError> {
    let (accounts, journal) = (db.table("accounts"), db.table("journal"));
    db.batch()
        .put_json(&accounts, b"a", &(COMMITS - number))?
        .put(&journal, &number.to_be_bytes(), &journal_line(number))
        .put_json(&accounts, b"b", &number)?
        .commit()
}

/// Opens the database and goes on with the transfers until all are done or an error comes.
/// `acknowledged` counts those whose commit returned.
fn work(disk: &Disk, acknowledged: &mut u64, context: &str) -> Result<(), DbError> {
    let db = Db::open_on(disk.backend())?;
    let done = transfers_done(&db, context);
    assert!(
        done == *acknowledged || done == *acknowledged + 1,
        "{context}: {acknowledged} commits returned, {done} are there"
    );
    *acknowledged = done;
    while *acknowledged < COMMITS {
        transfer(&db, *acknowledged + 1)?;
        *acknowledged += 1;
    }
    Ok(())
}

/// A disk with an empty database: `Db::open` makes it under another name, so that no accident meets it half made.
fn disk_with_database(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    drop(Db::open_on(disk.backend()).unwrap());
    disk
}

/// The number of disk operations of a run without accidents.
fn operations_of_a_clean_run() -> u64 {
    let disk = disk_with_database(0);
    let before = disk.operations();
    work(&disk, &mut 0, "clean run").unwrap();
    disk.operations() - before
}

#[test]
fn each_fault_at_each_operation_loses_nothing() {
    let operations = operations_of_a_clean_run();
    assert!(operations > 3 * COMMITS, "{operations} operations are too few to say anything");
    for fault in [Fault::PowerCut, Fault::Broken, Fault::Full] {
        for at in 0..operations {
            for seed in 0..3 {
                let context = format!("fault={fault:?} at={at} seed={seed}");
                let disk = disk_with_database(seed);
                disk.fail_after(at, fault);
                let mut acknowledged = 0;
                // The fault may also hit the close at the very end, which nobody sees.
                if work(&disk, &mut acknowledged, &context).is_err() && fault != Fault::PowerCut {
                    // The process is killed, then the machine loses power as well.
                    disk.cut_power();
                }
                work(&disk, &mut acknowledged, &context).expect(&context);
                assert_eq!(acknowledged, COMMITS, "{context}");
            }
        }
    }
}

#[test]
fn many_accidents_in_a_row_lose_nothing() {
    let seed = std::env::var("GRISTMILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed: {seed} (set GRISTMILL_TEST_SEED to repeat another one)");
    let mut random = Random(seed);
    for round in 0..100 {
        let disk = disk_with_database(random.next());
        let mut acknowledged = 0;
        for life in 0.. {
            let context = format!("seed={seed} round={round} life={life}");
            assert!(life < 1000, "{context}: no progress");
            let fault = [Fault::PowerCut, Fault::Broken, Fault::Full][random.below(3) as usize];
            disk.fail_after(random.below(60), fault);
            match work(&disk, &mut acknowledged, &context) {
                Ok(()) => break,
                Err(error @ DbError::Damaged { .. }) => panic!("{context}: {error:?}"),
                // After a failed sync the system reads back, from its memory, bytes that are not on the disk, and no
                // database can know: a broken disk has to be taken out of service, which is a power cut here.
                Err(_) if fault == Fault::Broken || random.below(2) == 0 => disk.cut_power(),
                Err(_) => {}
            }
        }
        disk.heal();
        work(&disk, &mut acknowledged, "at the end").unwrap();
        assert_eq!(acknowledged, COMMITS, "seed={seed} round={round}");
    }
}

#[test]
fn a_full_disk_is_named_and_what_was_committed_stays() {
    let disk = Disk::new(3);
    let mut acknowledged = 0;
    let db = Db::open_on(disk.backend()).unwrap();
    transfer(&db, 1).unwrap();
    disk.fail_after(0, Fault::Full);
    let error = transfer(&db, 2).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    assert!(error.to_string().contains("disk is full"), "{error}");
    let error = transfer(&db, 2).unwrap_err();
    assert!(matches!(error, DbError::Stopped { .. }), "{error:?}");
    assert!(error.to_string().contains("start the program again"), "{error}");
    drop(db);

    acknowledged += 1;
    work(&disk, &mut acknowledged, "after space was made").unwrap();
    assert_eq!(acknowledged, COMMITS);
}

#[test]
fn a_file_that_cannot_grow_is_a_full_disk() {
    let disk = Disk::new(4);
    let db = Db::open_on(disk.backend()).unwrap();
    disk.set_capacity(disk.backend_len());
    let table = db.table("big");
    let error = (0..100_u32)
        .find_map(|number| table.put(&number.to_be_bytes(), &vec![7; 1 << 20]).err())
        .expect("the disk is too small for this");
    assert!(error.is_disk_full(), "{error:?}");
    drop(db);

    disk.heal();
    let db = Db::open_on(disk.backend()).unwrap();
    db.table("big").put(b"more", &vec![8; 1 << 20]).unwrap();
}

impl Disk {
    fn backend_len(&self) -> u64 {
        self.lock().current.len() as u64
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let image_after_cut = |seed| {
        let disk = Disk::new(seed);
        let db = Db::open_on(disk.backend()).unwrap();
        transfer(&db, 1).unwrap();
        disk.fail_after(2, Fault::PowerCut);
        transfer(&db, 2).unwrap_err();
        disk.lock().durable.clone()
    };
    assert_eq!(image_after_cut(11), image_after_cut(11));
    let different: std::collections::BTreeSet<_> = (0..20).map(image_after_cut).collect();
    assert!(different.len() > 1, "the seed has to matter");
}

#[test]
fn synced_bytes_stay_and_others_may_go() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = Disk::new(seed);
        let backend = disk.backend();
        backend.write(0, &[1; 3 * SECTOR_BYTES]).unwrap();
        backend.sync_data().unwrap();
        backend.write(100, &[2; 2 * SECTOR_BYTES]).unwrap();
        disk.cut_power();
        assert!(backend.read(0, &mut [0]).is_err(), "no power");

        let backend = disk.backend();
        let mut image = [0; 3 * SECTOR_BYTES];
        backend.read(0, &mut image).unwrap();
        assert!(image[..100].iter().all(|&byte| byte == 1), "seed {seed}");
        let kept = [100, SECTOR_BYTES, 2 * SECTOR_BYTES].map(|at| image[at] == 2);
        assert_eq!(image[2 * SECTOR_BYTES + 100], 1, "seed {seed}");
        outcomes.insert(kept);
    }
    assert_eq!(outcomes.len(), 8, "each sector has its own fate: {outcomes:?}");
}

#[test]
fn a_failed_sync_keeps_no_promise_later() {
    let lost = (0..100).any(|seed| {
        let disk = Disk::new(seed);
        let backend = disk.backend();
        backend.write(0, &[9; SECTOR_BYTES]).unwrap();
        disk.fail_after(0, Fault::Broken);
        backend.sync_data().unwrap_err();
        backend.sync_data().unwrap();
        disk.cut_power();
        let backend = disk.backend();
        backend.len().unwrap() == 0
    });
    assert!(lost, "a sync after a failed one must not be trusted");
}

/// Whatever of what was not synced a power cut leaves: the database is as it was after one of its commits, none before the last durable
/// one.
#[test]
fn what_is_committed_later_is_seen_at_once_and_lost_from_its_end_on() {
    for seed in 0..200 {
        let disk = Disk::new(seed);
        let db = Db::open_on(disk.backend()).unwrap();
        let table = db.table("steps");
        let key = |step: u8| [step];
        db.batch().put(&table, &key(0), b"durable").commit().unwrap();
        for step in 1..=3 {
            db.batch().put(&table, &key(step), b"later").put(&table, b"last", &key(step)).commit_later().unwrap();
            assert_eq!(table.get(b"last").unwrap(), Some(vec![step]), "seen at once");
        }
        db.batch().put(&table, &key(4), b"durable").put(&table, b"last", &key(4)).commit().unwrap();
        for step in 5..=7 {
            db.batch().delete(&table, &key(step - 5)).put(&table, b"last", &key(step)).commit_later().unwrap();
        }
        disk.cut_power();
        drop((table, db));
        let db = Db::open_on(disk.backend()).unwrap();
        let table = db.table("steps");
        let last = table.get(b"last").unwrap().unwrap()[0];
        assert!((4..=7).contains(&last), "seed {seed}: after step {last}");
        let there: Vec<u8> = (0..=4).filter(|step| table.get(&key(*step)).unwrap().is_some()).collect();
        assert_eq!(there, (last - 4..=4).collect::<Vec<_>>(), "seed {seed}: after step {last}");
    }
}
