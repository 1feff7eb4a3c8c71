use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Signature, TxKind};
use proptest::prelude::*;

use super::*;

const RICH: SenderState = SenderState { nonce: 0, balance: U256::MAX };

/// A transaction with a made-up signature: the pool is told the sender.
fn transaction(sender: u8, nonce: u64, price: u128, value: u64) -> SignedTransaction {
    let transaction = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: price,
        max_priority_fee_per_gas: price,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(value),
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from(sender), U256::from(1), false);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    SignedTransaction::new_unchecked(envelope, Address::repeat_byte(sender))
}

fn order(pool: &Pool) -> Vec<(u8, u64)> {
    pool.ready(100).iter().map(|one| (one.signer()[0], one.nonce())).collect()
}

#[test]
fn transactions_are_ready_in_order_of_arrival_and_of_nonces() {
    let mut pool = Pool::new(PoolLimits::default());
    assert_eq!(pool.add(transaction(1, 0, 1, 0), RICH, 0), Ok(true));
    assert_eq!(pool.add(transaction(2, 1, 1, 0), RICH, 0), Ok(false));
    assert_eq!(pool.add(transaction(1, 1, 1, 0), RICH, 0), Ok(true));
    assert_eq!(pool.add(transaction(1, 3, 1, 0), RICH, 0), Ok(false));
    assert_eq!(order(&pool), [(1, 0), (1, 1)]);
    assert_eq!(pool.next_nonce(Address::repeat_byte(1), 0), 2);
    assert_eq!(pool.next_nonce(Address::repeat_byte(2), 0), 0);

    assert_eq!(pool.add(transaction(2, 0, 1, 0), RICH, 0), Ok(true));
    // Sender 2's nonce 1 came before sender 1's nonce 1, but had to wait for its own nonce 0.
    assert_eq!(order(&pool), [(1, 0), (1, 1), (2, 0), (2, 1)]);
    assert_eq!(pool.ready(3).len(), 3);

    pool.advance(Address::repeat_byte(1), 2);
    assert_eq!(order(&pool), [(2, 0), (2, 1)]);
    assert_eq!(pool.add(transaction(1, 2, 1, 0), SenderState { nonce: 2, ..RICH }, 0), Ok(true));
    assert_eq!(order(&pool), [(2, 0), (2, 1), (1, 2), (1, 3)]);
}

#[test]
fn refusals_use_the_words_that_clients_match() {
    let limits = PoolLimits { transaction_bytes_max: 200, ..PoolLimits::default() };
    let mut pool = Pool::new(limits);
    let state = SenderState { nonce: 5, balance: U256::from(10) };
    let mut refuse = |one, expected: &str| {
        let error = pool.add(one, state, 0).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    refuse(transaction(1, 4, 1, 0), "nonce too low: next nonce 5, tx nonce 4");
    refuse(transaction(1, 10_005, 1, 0), "nonce too high: next nonce 5, tx nonce 10005");
    let poor = "insufficient funds for gas * price + value: balance 10, tx cost 11";
    refuse(transaction(1, 5, 1, 11), poor);

    pool.add(transaction(1, 5, 100, 6), state, 0).expect("the first");
    let mut refuse = |one, expected: &str| {
        let error = pool.add(one, state, 0).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    refuse(transaction(1, 5, 100, 6), "already known");
    refuse(transaction(1, 5, 109, 6), "replacement transaction underpriced");
    refuse(transaction(1, 6, 1, 5), poor);
    pool.add(transaction(1, 6, 1, 4), state, 0).expect("both together are covered");
    pool.add(transaction(1, 5, 110, 5), state, 0).expect("a tenth more replaces");
    assert_eq!(pool.len(), 2);
    assert_eq!(pool.ready(10)[0].value(), U256::from(5));
}

#[test]
fn a_price_of_zero_is_replaced_only_by_a_higher_one() {
    let mut pool = Pool::new(PoolLimits::default());
    pool.add(transaction(1, 0, 0, 1), RICH, 0).expect("the first");
    let error = pool.add(transaction(1, 0, 0, 2), RICH, 0).expect_err("nothing more offered");
    assert_eq!(error, PoolError::ReplacementUnderpriced);
    pool.add(transaction(1, 0, 1, 2), RICH, 0).expect("offers more");
}

#[test]
fn bounds_hold() {
    let limits = PoolLimits { transactions_max: 3, sender_transactions_max: 2, ..PoolLimits::default() };
    let mut pool = Pool::new(limits);
    pool.add(transaction(1, 0, 1, 0), RICH, 0).expect("fits");
    let error = pool.add(transaction(1, 2, 1, 0), RICH, 0).expect_err("too far ahead");
    assert_eq!(error, PoolError::NonceTooHigh { next: 0, nonce: 2 });
    pool.add(transaction(2, 0, 1, 0), RICH, 0).expect("fits");
    pool.add(transaction(3, 0, 1, 0), RICH, 0).expect("fits");
    assert_eq!(pool.add(transaction(4, 0, 1, 0), RICH, 0), Err(PoolError::Full));
    pool.add(transaction(3, 0, 2, 0), RICH, 0).expect("a replacement needs no room");

    let one = pool.bytes() / 3;
    let mut pool = Pool::new(PoolLimits { bytes_max: one + 1, ..PoolLimits::default() });
    pool.add(transaction(1, 0, 1, 0), RICH, 0).expect("fits");
    assert_eq!(pool.add(transaction(2, 0, 1, 0), RICH, 0), Err(PoolError::Full));

    let mut pool = Pool::new(PoolLimits { transaction_bytes_max: 10, ..PoolLimits::default() });
    let error = pool.add(transaction(1, 0, 1, 0), RICH, 0).expect_err("too long");
    assert!(matches!(error, PoolError::Oversized { limit: 10, .. }), "{error}");
}

#[test]
fn only_what_is_not_ready_expires() {
    let mut pool = Pool::new(PoolLimits { waiting_ms_max: 10, ..PoolLimits::default() });
    pool.add(transaction(1, 0, 1, 0), RICH, 0).expect("fits");
    pool.add(transaction(1, 2, 1, 0), RICH, 0).expect("fits");
    pool.add(transaction(2, 1, 1, 0), RICH, 5).expect("fits");
    assert_eq!(pool.expire(10), 0);
    assert_eq!(pool.expire(11), 1);
    assert_eq!(pool.expire(100), 1);
    assert_eq!((pool.len(), order(&pool)), (1, vec![(1, 0)]));
}

proptest! {
    /// Against a list that does everything the slow way: the same transactions are in, ready and counted.
    #[test]
    fn pool_equals_a_naive_model(
        steps in prop::collection::vec((1u8..4, 0u64..6, 0u128..3, any::<bool>()), 1..60)
    ) {
        let mut pool = Pool::new(PoolLimits::default());
        let mut model: Vec<(u8, u64, u128)> = Vec::new();
        let mut nonces = [0u64; 4];
        for (sender, nonce, price, mine) in steps {
            if mine {
                // A block takes the sender's first ready transaction.
                let next = nonces[usize::from(sender)];
                if model.iter().any(|one| (one.0, one.1) == (sender, next)) {
                    nonces[usize::from(sender)] += 1;
                    model.retain(|one| one.0 != sender || one.1 > next);
                    pool.advance(Address::repeat_byte(sender), next + 1);
                }
                continue;
            }
            let state = SenderState { nonce: nonces[usize::from(sender)], balance: U256::MAX };
            let result = pool.add(transaction(sender, nonce, price, 0), state, 0);
            let old = model.iter().position(|one| (one.0, one.1) == (sender, nonce));
            let accepted = nonce >= state.nonce && old.is_none_or(|old| price > model[old].2);
            prop_assert_eq!(result.is_ok(), accepted, "{:?}", result);
            if accepted {
                if let Some(old) = old {
                    model.remove(old);
                }
                model.push((sender, nonce, price));
            }
        }
        prop_assert_eq!(pool.len(), model.len());
        let mut ready: Vec<(u8, u64)> = order(&pool);
        ready.sort_unstable();
        let mut expected = Vec::new();
        for sender in 1u8..4 {
            let mut nonce = nonces[usize::from(sender)];
            while model.iter().any(|one| (one.0, one.1) == (sender, nonce)) {
                expected.push((sender, nonce));
                nonce += 1;
            }
        }
        prop_assert_eq!(ready, expected);
        let bytes: usize = pool.ready(100).iter().map(|one| one.inner().encode_2718_len()).sum();
        prop_assert!(pool.bytes() >= bytes);
        prop_assert_eq!(pool.has_ready(), !pool.ready(1).is_empty());
        prop_assert_eq!(pool.is_empty(), model.is_empty());
    }
}
