//! The state after old blocks.

use alloy_primitives::{Address, TxKind, U256};

use super::support::*;
use crate::{CallBlock, CallRequest, StateOverrides, StoreError};

#[test]
fn every_old_state_can_be_read() {
    let mut chain = TestChain::new();
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let fresh = Address::repeat_byte(0x77);
    let mut contract = Address::ZERO;
    // After each block: balance of `a`, balance of `fresh`, slot 0 and slot 3 of the contract, its code's length.
    let mut seen = Vec::new();
    for number in 1..=12u64 {
        let mut transactions = Vec::new();
        match number {
            3 => {
                let (deploy, address) = a.deploy();
                contract = address;
                transactions.push(deploy);
            }
            5 | 6 | 9 => transactions.push(a.call(contract, [1])),
            7 => transactions.push(a.call(contract, store(3, 8))),
            10 => transactions.push(a.call(contract, store(3, 0))),
            _ => {}
        }
        if number % 4 == 2 {
            transactions.push(a.transfer(fresh, 10));
        }
        if number == 8 {
            transactions.push(a.transfer(b.address, 1));
        }
        chain.block(transactions);
        let state = chain.chain.view().expect("view").state(number).expect("state");
        let contract = a.address.create(contract_nonce());
        seen.push((
            state.balance(a.address).expect("reads"),
            state.balance(fresh).expect("reads"),
            state.storage(contract, U256::ZERO).expect("reads"),
            state.storage(contract, U256::from(3)).expect("reads"),
            state.code(contract).expect("reads").len(),
            state.nonce(a.address).expect("reads"),
        ));
        drop(state);
        if number % 5 == 0 {
            chain = chain.reopen();
        }
    }
    assert_eq!(contract, a.address.create(contract_nonce()));
    let view = chain.chain.view().expect("view");
    for (number, seen) in (1u64..).zip(&seen) {
        let state = view.state(number).expect("state");
        let now = (
            state.balance(a.address).expect("reads"),
            state.balance(fresh).expect("reads"),
            state.storage(contract, U256::ZERO).expect("reads"),
            state.storage(contract, U256::from(3)).expect("reads"),
            state.code(contract).expect("reads").len(),
            state.nonce(a.address).expect("reads"),
        );
        assert_eq!(now, *seen, "block {number}");
    }
    // The table of the test itself: the slot was one after block 5, two from 6, three from 9.
    let slots: Vec<U256> = seen.iter().map(|seen| seen.2).collect();
    assert_eq!(slots[3..10], [0u64, 1, 2, 2, 2, 3, 3].map(U256::from));

    let request = CallRequest { to: Some(contract), ..CallRequest::default() };
    let at = |number| {
        let outcome = view.call(&request, CallBlock::Number(number), &StateOverrides::new());
        U256::from_be_slice(&outcome.expect("answers").output)
    };
    assert_eq!([at(5), at(8), at(12)], [1u64, 2, 3].map(U256::from));

    let error = view.state(13).expect_err("not there yet");
    assert!(matches!(error, StoreError::UnknownBlock { number: 13, head: 12 }), "{error}");
}

/// Nonce with which the contract of the test is made: one transfer, in block 2, comes before it.
fn contract_nonce() -> u64 {
    1
}

#[test]
fn a_view_does_not_see_later_blocks() {
    let chain = TestChain::new();
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let before = chain.chain.view().expect("view");
    chain.block(vec![a.transfer(b.address, 5)]);
    assert_eq!(before.head(), 0);
    assert!(before.header(1).expect("reads").is_none());
    let old = before.state(0).expect("state").balance(b.address).expect("reads");
    assert_eq!(old, U256::from(1_000_000));
    let now = chain.chain.view().expect("view").state(1).expect("state");
    assert_eq!(now.balance(b.address).expect("reads"), U256::from(1_000_005));
}

#[test]
fn a_contract_that_destroys_itself_in_its_own_transaction_leaves_nothing() {
    let chain = TestChain::new();
    let mut a = Sender::new(1);
    // Constructor: store 1 in slot 1, then SELFDESTRUCT to the caller.
    let code = vec![0x60, 1, 0x60, 1, 0x55, 0x33, 0xff];
    let address = a.address.create(0);
    let block = chain.block(vec![a.send(TxKind::Create, U256::from(9), code.into(), 200_000)]);
    assert!(block.receipts[0].success);
    let state = chain.chain.view().expect("view").state(1).expect("state");
    assert_eq!(state.account(address).expect("reads"), None);
    assert_eq!(state.storage(address, U256::from(1)).expect("reads"), U256::ZERO);
    assert_eq!(state.balance(a.address).expect("reads"), U256::from(1_000_000));
}
