//! The gas limits that the client gives suffice at the worst, and are not absurd.
//! (Each call here is made with more gas than its limit, and compared.)

use alloy_primitives::{Address, B256, Bytes};
use gristmill_hub::{CallData, ContributeArgs, gas, sign};
use gristmill_poco::model::{result_hash, result_seal};
use gristmill_types::{TaskId, TaskStatus};
use gristmill_wallet::Wallet;

use crate::chain::GENESIS_TIME;
use crate::market::{Market, digest_of};

/// As many as a task takes.
const WORKERS: u8 = 32;

struct Meter<'a> {
    market: &'a Market,
    most: Vec<(&'static str, u64, u64)>,
}

impl Meter<'_> {
    fn run(&mut self, name: &'static str, limit: u64, wallet: &Wallet, call: CallData) {
        let (success, used) = self.market.chain.execute(wallet, &call.call(wallet.address()));
        assert!(success, "{name}");
        match self.most.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, most, _)) => *most = used.max(*most),
            None => self.most.push((name, used, limit)),
        }
    }

    fn contribute(&mut self, worker: usize, task: TaskId, digest: B256) {
        let wallet = self.market.workers[worker].wallet.clone();
        let args = ContributeArgs {
            task,
            result_hash: result_hash(task, digest),
            result_seal: result_seal(wallet.address(), task, digest),
            enclave_challenge: Address::ZERO,
            enclave_sign: Bytes::new(),
            authorization: sign::authorization(&self.market.pool_owner.wallet, wallet.address(), task, Address::ZERO),
        };
        self.run("contribute", gas::CONTRIBUTE, &wallet, self.market.client.contribute(&args));
    }
}

#[tokio::test]
async fn the_given_limits_suffice_for_the_largest_tasks() {
    let market = Market::new(WORKERS).await;
    let client = &market.client;
    let owner = market.pool_owner.wallet.clone();
    let mut meter = Meter { market: &market, most: Vec::new() };
    let hint = Bytes::from(vec![b'x'; 256]);

    // 31 agree at a trust that takes all of them, and one differs: everybody is paid, or slashed.
    let deal = market.deal(0, 4, 100, 1_000_000_000, 1).await;
    let wide = market.deal(0, 3, 90_000_000, 1_000_000_000, 2).await;
    for (deal, index) in [(deal, 0), (deal, 1), (wide, 0), (wide, 1), (wide, 2)] {
        meter.run("initialize", gas::INITIALIZE, &owner, client.initialize(deal, index));
    }
    let task = wide.task(0);
    meter.contribute(0, task, digest_of("wrong"));
    let mut agreeing = 1;
    while client.view_task(task).await.unwrap().status == TaskStatus::Active {
        meter.contribute(agreeing, task, digest_of("right"));
        agreeing += 1;
    }
    assert!(agreeing > 26, "{agreeing}");
    for worker in &market.workers[1..agreeing] {
        meter.run("reveal", gas::REVEAL, &worker.wallet, client.reveal(task, digest_of("right")));
    }
    meter.run("finalize", gas::FINALIZE, &owner, client.finalize(task, hint.clone(), Bytes::new()));

    // 32 who all differ, until the task is claimed.
    let task = wide.task(1);
    for worker in 0..usize::from(WORKERS) {
        meter.contribute(worker, task, digest_of(&format!("answer {worker}")));
    }
    meter.run("concede", gas::CONCEDE, &owner, client.concede(deal.task(1)));

    // One alone.
    let solo = market.deal(0, 1, 1, 1_000_000_000, 3).await;
    meter.run("initialize", gas::INITIALIZE, &owner, client.initialize(solo, 0));
    let worker = &market.workers[5].wallet;
    let permission = sign::authorization(&owner, worker.address(), solo.task(0), Address::ZERO);
    let alone = client.contribute_and_finalize(solo.task(0), digest_of("alone"), hint, Bytes::new(), permission);
    meter.run("solo", gas::SOLO, worker, alone);

    // Consensus, nobody reveals, reopened; then everything is claimed.
    let task = wide.task(2);
    let mut silent = 0;
    while client.view_task(task).await.unwrap().status == TaskStatus::Active {
        meter.contribute(silent, task, digest_of("silent"));
        silent += 1;
    }
    assert!(silent > 20, "{silent}");
    market.chain.set_clock(GENESIS_TIME + 2 * 300);
    meter.run("reopen", gas::REOPEN, &owner, client.reopen(task));
    market.chain.set_clock(GENESIS_TIME + 10 * 300);
    for task in [deal.task(0), deal.task(1), wide.task(1), wide.task(2)] {
        meter.run("claim", gas::CLAIM, &owner, client.claim(task));
    }

    for (name, used, limit) in &meter.most {
        println!("{name}: {used} of {limit}");
        assert!(used * 5 <= limit * 4, "{name} used {used} of {limit}: too near");
        assert!(used * 6 >= *limit, "{name} used only {used} of {limit}");
    }
}
