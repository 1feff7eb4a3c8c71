//! The register of pools as strangers leave it, and what the pools did.

use std::collections::BTreeSet;

use alloy_primitives::{Address, Bytes, U256};
use gristmill_hub::abi::IWorkerpool;
use gristmill_hub::{Activity, CallData, ContributeArgs, HubClient, sign};
use gristmill_poco::model::{result_hash, result_seal};
use gristmill_types::{Amount, DealId};
use gristmill_wallet::Wallet;

use crate::chain::GENESIS_TIME;
use crate::market::{Market, digest_of};

const DAY_S: u64 = 86_400;

/// Registers pools of these names for the market's owner, many in a block, as anybody may for anybody.
async fn register(market: &Market, names: impl Iterator<Item = String>) {
    let owner = market.owner.address();
    // Not the owner's key: its transactions are counted by its outbox.
    let registrar = Wallet::import_hex(&format!("{:064x}", 99)).unwrap();
    let calls: Vec<_> = names.map(|name| market.client.create_workerpool(owner, &name).call(owner)).collect();
    for block in calls.chunks(100) {
        let receipts = market.chain.execute_block(&registrar, block);
        assert!(receipts.iter().all(|receipt| receipt.success));
    }
}

async fn address(client: &HubClient, owner: Address, name: &str) -> Address {
    client.predict_workerpool(owner, name).await.unwrap()
}

#[tokio::test]
async fn pools_are_listed_whatever_strangers_register() {
    let market = Market::new(0).await;
    let (client, owner) = (&market.client, market.owner.address());
    register(&market, (0..250).map(|number| format!("pool {number}"))).await;
    let (long, fits) = ("x".repeat(20 << 10), "y".repeat(1_024));
    register(&market, [long.clone(), fits.clone()].into_iter()).await;
    let mad = address(client, owner, "pool 3").await;
    let call = IWorkerpool::changePolicyCall { newWorkerStakeRatio: U256::MAX, newSchedulerRewardRatio: U256::from(7) };
    let data = alloy_sol_types::SolCall::abi_encode(&call).into();
    market.owner.send(CallData { to: mad, data, gas: None, preflight: true }).await;
    market.owner.send(client.change_policy(address(client, owner, "pool 4").await, 10, 25)).await;

    let count = client.count_workerpools().await.unwrap();
    assert_eq!(count, 253);
    let all = client.workerpools(0..count).await.unwrap();
    assert_eq!((all[0], all[1]), (market.pool, address(client, owner, "pool 0").await));
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 253);
    let records = client.view_workerpools(&all).await.unwrap();
    let unreadable: Vec<usize> = (0..records.len()).filter(|place| records[*place].is_none()).collect();
    assert_eq!(unreadable, [4, 251], "a policy of 2^256 - 1 percent, and 20 KiB of description");
    assert_eq!(records[252].as_ref().unwrap().description, fits);
    let fee = |place: usize| records[place].as_ref().map(|pool| (pool.worker_stake_ratio, pool.scheduler_reward_ratio));
    assert_eq!((fee(5), fee(6)), (Some((10, 25)), Some((30, 1))));
    // Together with others, and alone.
    let alone = client.view_workerpools(&[address(client, owner, &long).await]).await.unwrap();
    assert_eq!(alone, [None]);
}

/// Two workers compute the deal's only task.
async fn complete(market: &Market, deal: DealId) {
    let task = deal.task(0);
    let digest = digest_of("right");
    market.pool_owner.send(market.client.initialize(deal, 0)).await;
    for worker in &market.workers {
        let address = worker.address();
        let args = ContributeArgs {
            task,
            result_hash: result_hash(task, digest),
            result_seal: result_seal(address, task, digest),
            enclave_challenge: Address::ZERO,
            enclave_sign: Bytes::new(),
            authorization: sign::authorization(&market.pool_owner.wallet, address, task, Address::ZERO),
        };
        worker.send(market.client.contribute(&args)).await;
    }
    for worker in &market.workers {
        worker.send(market.client.reveal(task, digest)).await;
    }
    market.pool_owner.send(market.client.finalize(task, Bytes::new(), Bytes::new())).await;
}

#[tokio::test]
async fn what_pools_did_is_read_from_the_window() {
    let market = Market::new(2).await;
    let client = &market.client;
    let read = |seconds| async move { Activity::read(client, 0, seconds).await.unwrap() };
    assert!(read(DAY_S).await.pools.is_empty());
    let price = 1_000;
    let first = market.deal(0, 1, 3, price, 1).await;
    complete(&market, first).await;
    let begun = market.deal(0, 1, 3, price, 2).await;
    market.pool_owner.send(client.initialize(begun, 0)).await;
    market.chain.set_clock(GENESIS_TIME + DAY_S);
    let now = read(2 * DAY_S).await;
    let pool = now.of(market.pool);
    // The fee of a new pool is 1 %: two workers share 990 of each 1,000; what the app's owner got is not theirs.
    assert_eq!((pool.rewards, pool.payments), (Amount::from_ngrist(990), 2), "{pool:?}");
    assert_eq!(pool.workers.len(), 2);
    assert_eq!((pool.tasks_ordered, pool.tasks_completed, pool.tasks_failed, pool.tasks_open()), (2, 1, 0, 1));
    assert_eq!(pool.last_deal, Some(begun));
    // The ledger is a day old, whatever was asked for.
    assert_eq!(now.seconds, DAY_S);

    // The task that was begun fails, and the rest has left the window: its pool is found all the same.
    market.requester.send(client.claim(begun.task(0))).await;
    let late = read(3_600).await;
    let pool = late.of(market.pool);
    assert_eq!((pool.tasks_ordered, pool.tasks_completed, pool.tasks_failed), (0, 0, 1));
    assert_eq!((pool.rewards, late.seconds), (Amount::ZERO, 3_600));
    // A clock that is ahead of the ledger's.
    let nothing = Activity::read(client, GENESIS_TIME + 30 * DAY_S, DAY_S).await.unwrap();
    assert!(nothing.pools.is_empty());
    assert_eq!(nothing.seconds, DAY_S);
}
