//! Crashes and disk errors at any point.

use alloy_primitives::B256;
use gristmill_datadir::Db;
use gristmill_datadir::faults::{Disk, Fault};

use super::support::*;
use crate::{BlockError, Chain, SignedTransaction};

const BLOCKS: usize = 4;

/// The transactions of each block.
fn script() -> Vec<Vec<SignedTransaction>> {
    let [mut a, mut b] = [Sender::new(1), Sender::new(2)];
    let (deploy, contract) = a.deploy();
    let mut blocks = vec![vec![deploy, b.transfer(a.address, 3)]];
    for number in 1..BLOCKS as u64 {
        blocks.push(vec![
            a.call(contract, [1]),
            b.call(contract, store(number % 2, number)),
            a.transfer(b.address, number),
        ]);
    }
    blocks
}

/// Hashes of the blocks when nothing goes wrong, block 0 first.
fn expected() -> Vec<B256> {
    let chain = Chain::open(Db::open_on(Disk::new(0).backend()).expect("a disk"), &genesis()).expect("opens");
    let mut hashes = vec![chain.head().hash()];
    for (number, block) in (1u64..).zip(script()) {
        hashes.push(chain.execute_block(block, START + number).expect("a block").header.hash());
    }
    hashes
}

/// Opens the ledger and makes the blocks that are missing. Returns how many blocks it saw stored.
fn run(disk: &Disk) -> Option<usize> {
    let db = Db::open_on(disk.backend()).ok()?;
    let chain = Chain::open(db, &genesis()).ok()?;
    let mut stored = chain.head().number as usize;
    for (number, block) in (1u64..).zip(script()).skip(stored) {
        match chain.execute_block(block, START + number) {
            Ok(block) => stored = block.header.number as usize,
            Err(error) => {
                let known = matches!(error, BlockError::Store { .. } | BlockError::Execution { .. });
                assert!(known, "{error}");
                return Some(stored);
            }
        }
    }
    Some(stored)
}

/// A disk with an empty database. How that one is made safely is not the ledger's affair.
fn new_disk(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    drop(Db::open_on(disk.backend()).expect("a database"));
    disk
}

fn check(seed: u64, fault: Fault) {
    let expected = expected();
    let whole = {
        let disk = new_disk(seed);
        let before = disk.operations();
        assert_eq!(run(&disk), Some(BLOCKS));
        disk.operations() - before
    };
    for after in 0..whole {
        let context = format!("seed {seed}, {fault:?} after {after} operations");
        let disk = new_disk(seed ^ after);
        disk.fail_after(after, fault);
        let stored = run(&disk).unwrap_or(0);
        disk.cut_power();
        disk.heal();

        let db = Db::open_on(disk.backend()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let chain = Chain::open(db, &genesis()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let head = chain.head();
        let number = head.number as usize;
        assert!(number >= stored, "{context}: {stored} blocks were stored, {number} are there");
        assert!(number <= stored + 1, "{context}: block {number} was never made");
        assert_eq!(head.hash(), expected[number], "{context}");
        drop(chain);

        assert_eq!(run(&disk), Some(BLOCKS), "{context}");
        let db = Db::open_on(disk.backend()).expect("opens");
        let chain = Chain::open(db, &genesis()).expect("opens");
        assert_eq!(chain.head().hash(), expected[BLOCKS], "{context}");
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_no_block() {
    check(1, Fault::PowerCut);
}

#[test]
fn a_disk_error_at_any_operation_loses_no_block() {
    check(2, Fault::Broken);
}

#[test]
fn a_full_disk_at_any_operation_loses_no_block() {
    check(3, Fault::Full);
}

#[test]
fn a_ledger_goes_on_after_a_disk_was_full() {
    let expected = expected();
    let disk = Disk::new(4);
    let db = Db::open_on(disk.backend()).expect("opens");
    let chain = Chain::open(db, &genesis()).expect("opens");
    let blocks = script();
    chain.execute_block(blocks[0].clone(), START + 1).expect("a block");
    disk.fail_after(0, Fault::Full);
    let error = chain.execute_block(blocks[1].clone(), START + 2).expect_err("full");
    assert!(matches!(error, BlockError::Store { number: 2, .. }), "{error}");
    assert_eq!(chain.head().number, 1);
    drop(chain);
    let db = Db::open_on(disk.backend()).expect("opens");
    let chain = Chain::open(db, &genesis()).expect("opens");
    let block = chain.execute_block(blocks[1].clone(), START + 2).expect("there is room again");
    assert_eq!(block.header.hash(), expected[2]);
}
