//! Finding logs.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use proptest::prelude::*;

use super::support::*;
use crate::{FoundLog, LogQuery, LogsError, View};

/// A contract that logs its call data as data, with the first two words of it as topics:
/// CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY PUSH1 32 CALLDATALOAD PUSH0 CALLDATALOAD CALLDATASIZE PUSH0 LOG2 STOP
const LOGGER: [u8; 13] = [0x36, 0x5f, 0x5f, 0x37, 0x60, 0x20, 0x35, 0x5f, 0x35, 0x36, 0x5f, 0xa2, 0x00];

fn deploy_logger(sender: &mut Sender) -> (crate::SignedTransaction, Address) {
    let mut code = vec![0x60, LOGGER.len() as u8, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3];
    code.extend_from_slice(&LOGGER);
    let address = sender.address.create(sender.nonce);
    (sender.send(TxKind::Create, U256::ZERO, code.into(), 200_000), address)
}

/// The logs found by looking at every receipt.
fn naive(view: &View, query: &LogQuery, from: u64, to: u64) -> Vec<FoundLog> {
    let mut found = Vec::new();
    for number in from..=to.min(view.head()) {
        for mined in view.mined_block(number).expect("reads").expect("exists") {
            for (log, log_index) in mined.receipt.logs.iter().zip(mined.receipt.first_log_index..) {
                if query.matches(log) {
                    found.push(FoundLog {
                        log: log.clone(),
                        block_number: number,
                        block_hash: mined.block_hash,
                        block_timestamp: mined.block_timestamp,
                        transaction_hash: *mined.transaction.inner().tx_hash(),
                        transaction_index: mined.index,
                        log_index,
                    });
                }
            }
        }
    }
    found
}

/// Ten blocks in which two contracts log with topics 0 to 3.
fn chain_with_logs() -> (TestChain, [Address; 2]) {
    let chain = TestChain::new();
    let mut sender = Sender::new(1);
    let (first, a) = deploy_logger(&mut sender);
    let (second, b) = deploy_logger(&mut sender);
    chain.block(vec![first, second]);
    for number in 0..10u64 {
        let mut transactions = Vec::new();
        for step in 0..(number % 4) {
            let to = if (number + step) % 3 == 0 { a } else { b };
            let input: Bytes = [word(step % 4), word(number % 3)].concat().into();
            transactions.push(sender.call(to, input));
        }
        chain.block(transactions);
    }
    (chain, [a, b])
}

#[test]
fn logs_are_numbered_through_their_block() {
    let (chain, _) = chain_with_logs();
    let view = chain.chain.view().expect("view");
    let all = view.logs(&LogQuery::default(), 0, u64::MAX, 1000).expect("logs");
    assert!(all.len() > 10);
    let mut last = (0, 0);
    for log in &all {
        let expected = if log.block_number == last.0 { last.1 + 1 } else { 0 };
        assert_eq!(log.log_index, expected);
        last = (log.block_number, log.log_index);
    }
    let error = view.logs(&LogQuery::default(), 0, u64::MAX, 5).expect_err("too many");
    assert!(matches!(error, LogsError::TooMany { limit: 5 }), "{error}");
    let count = all.len();
    assert_eq!(view.logs(&LogQuery::default(), 0, 99, count).expect("just enough").len(), count);
    assert_eq!(view.logs(&LogQuery::default(), 5, 4, 10).expect("no blocks"), Vec::new());
}

#[test]
fn queries_find_what_looking_at_everything_finds() {
    let (chain, [a, b]) = chain_with_logs();
    let view = chain.chain.view().expect("view");
    let address = prop::sample::subsequence(vec![a, b, Address::repeat_byte(1)], 0..3);
    let topics = || prop::collection::vec((0u8..5).prop_map(B256::with_last_byte), 0..3);
    let query = (address, topics(), topics(), prop_oneof![9 => Just(None), 1 => Just(Some(B256::ZERO))]);
    let strategy = (query, 0u64..13, 0u64..13);
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&strategy, |((addresses, first, second, third), from, to)| {
            let topics = [first, second, third.into_iter().collect(), Vec::new()];
            let query = LogQuery { addresses, topics };
            let found = view.logs(&query, from, to, 1000).expect("logs");
            let expected = if from <= to { naive(&view, &query, from, to) } else { Vec::new() };
            prop_assert_eq!(found, expected);
            Ok(())
        })
        .expect("no difference");
}
