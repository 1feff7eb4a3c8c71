use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, Bytes};
use gristmill_hub::deploy::{DeployOptions, deploy};
use gristmill_hub::upgrade::{Change, ChangeStatus};
use gristmill_hub::{
    ContributeArgs, Event, Follower, FollowerConfig, GivenPosition, HubClient, HubError, HubEvent, LedgerPort,
    OrderBook, OrderOperation, OutboxError, audit, sign, upgrade,
};
use gristmill_poco::model::{result_hash, result_seal};
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, TaskStatus, Trust};

use crate::chain::TestChain;
use crate::market::{Market, Person, SUPPLY, digest_of};

#[tokio::test]
async fn a_hub_is_deployed_once_and_found_again() {
    let market = Market::new(0).await;
    let categories = market.client.view_categories().await.unwrap();
    let expected: Vec<(String, u64)> =
        GENESIS_CATEGORIES.iter().map(|(name, clock)| ((*name).to_owned(), *clock)).collect();
    let found: Vec<(String, u64)> =
        categories.into_iter().map(|category| (category.name, category.work_clock_s)).collect();
    assert_eq!(found, expected);

    // The same again: nothing new is made.
    let head = market.chain.head().await.unwrap();
    let options = DeployOptions::local(market.owner.address(), SUPPLY);
    let again = deploy(&market.chain, &market.owner.outbox, &options).await.unwrap();
    assert_eq!(again, market.deployment);
    assert_eq!(market.chain.head().await.unwrap(), head);
    // Another label: another hub.
    let options = DeployOptions { label: "second".to_owned(), ..options };
    let second = deploy(&market.chain, &market.owner.outbox, &options).await.unwrap();
    assert_ne!(second.hub, market.deployment.hub);
}

/// A size class is added: announced with a text, made after the delay and not before, by anybody.
#[tokio::test]
async fn the_hub_changes_only_through_its_timelock() {
    let market = Market::new(1).await;
    let client = &market.client;
    let timelock = market.deployment.timelock;
    assert_eq!(client.owner().await.unwrap(), timelock);
    let call = client.create_category("XXL", "a week", 604_800);
    let at_once = market.owner.outbox.execute(call.clone().intent("at once")).await.unwrap_err();
    let not_the_owner = "Ownable: caller is not the owner";
    assert!(matches!(&at_once, OutboxError::WouldRevert { revert, .. } if revert.code() == not_the_owner), "{at_once}");

    let change = Change::new(call, "weeks are asked for", Vec::new());
    let stranger = market.workers[0].outbox.execute(change.clone().propose(timelock).intent("propose")).await;
    stranger.unwrap_err();
    market.owner.send(change.clone().propose(timelock)).await;
    assert_eq!(client.count_proposals(timelock).await.unwrap(), 1);
    assert_eq!(client.view_proposal(timelock, 1).await.unwrap(), None);
    let proposal = client.view_proposal(timelock, 0).await.unwrap().unwrap();
    assert_eq!((proposal.change, proposal.status), (change, ChangeStatus::Waiting));

    market.workers[0].outbox.execute(upgrade::execute(timelock, 0).intent("too early")).await.unwrap_err();
    market.chain.set_clock(proposal.ready_at);
    let before = client.view_categories().await.unwrap().len() as u64;
    market.workers[0].send(upgrade::execute(timelock, 0)).await;
    assert_eq!(client.view_category(before).await.unwrap().work_clock_s, 604_800);
    let proposal = client.view_proposal(timelock, 0).await.unwrap().unwrap();
    assert_eq!(proposal.status, ChangeStatus::Executed);
}

#[tokio::test]
async fn nobody_finds_a_hub_where_there_is_none() {
    let chain = TestChain::new();
    let ledger: Arc<dyn LedgerPort> = Arc::new(chain);
    let error = HubClient::on(ledger, Address::repeat_byte(3)).await.unwrap_err();
    assert!(matches!(error, HubError::NoHub { .. }), "{error}");
}

#[tokio::test]
async fn a_task_goes_from_orders_to_payment_and_every_event_is_seen() {
    let market = Market::new(3).await;
    let client = &market.client;
    let deal = market.deal(1, 2, 5, 1_000_000_000, 1).await;
    let record = client.view_deal(deal).await.unwrap().unwrap();
    assert_eq!((record.bot_size, record.trust, record.category), (2, Trust::new(5), 1));
    assert_eq!(client.view_deal(gristmill_types::DealId::default()).await.unwrap(), None);

    market.pool_owner.send(client.initialize_many(deal, [0, 1])).await;
    let task = deal.task(0);
    let digest = digest_of("the answer");
    for worker in &market.workers {
        let args = ContributeArgs {
            task,
            result_hash: result_hash(task, digest),
            result_seal: result_seal(worker.address(), task, digest),
            enclave_challenge: Address::ZERO,
            enclave_sign: Bytes::new(),
            authorization: sign::authorization(&market.pool_owner.wallet, worker.address(), task, Address::ZERO),
        };
        worker.send(client.contribute(&args)).await;
    }
    assert_eq!(client.view_task(task).await.unwrap().status, TaskStatus::Revealing);
    for worker in &market.workers {
        worker.send(client.reveal(task, digest)).await;
    }
    let pack = gristmill_types::ContentId([7; 32]);
    let results = Bytes::from(gristmill_types::results::results_hint(pack).into_bytes());
    market.pool_owner.send(client.finalize(task, results, Bytes::new())).await;
    let done = client.view_task(task).await.unwrap();
    assert_eq!((done.status, done.digest), (TaskStatus::Completed, digest));
    assert_eq!(done.results_pack(), Some(pack));
    let scores = client.view_scores(&market.workers.iter().map(Person::address).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(scores, [1, 1, 1]);

    // A second finalize is refused with a reason, before anything is sent.
    let error = market.pool_owner.outbox.submit(client.finalize(task, Bytes::new(), Bytes::new()).intent("again"));
    let error = error.await.unwrap_err();
    assert!(matches!(&error, OutboxError::WouldRevert { revert, .. } if revert.code() == "WrongTaskStatus"), "{error}");

    // Whoever reads the log begins where the hub does.
    assert_eq!(client.first_block(), market.deployment.block);
    let audit = audit::audit(client, BTreeMap::new()).await.unwrap();
    audit.check(&[], false).unwrap();
    assert_eq!(audit.replay.books().tasks[&task].status, TaskStatus::Completed);
    assert_eq!(audit.replay.books().tasks[&deal.task(1)].status, TaskStatus::Active);
}

#[tokio::test]
async fn a_follower_yields_what_was_not_committed_again_and_nothing_else() {
    let market = Market::new(1).await;
    let config = FollowerConfig { chunk_blocks: 3, poll_ms: 1, ..FollowerConfig::default() };
    let mut follower = Follower::open(&market.client, GivenPosition(None), config).await.unwrap();
    let mut events = Vec::new();
    loop {
        let batch = follower.next().await.unwrap();
        assert_eq!(follower.next().await.unwrap(), batch, "uncommitted events come again");
        events.extend(batch.events.clone());
        follower.commit(&batch).unwrap();
        if batch.caught_up {
            break;
        }
    }
    let places: Vec<(u64, u64)> = events.iter().map(|event| (event.block, event.index)).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "in order, each once: {places:?}");
    let deposits = events.iter().filter(|event| {
        matches!(&event.event, Event::Hub(HubEvent::Transfer { from, value, .. })
            if *from == Address::ZERO && *value == Amount::from_grist(900))
    });
    assert_eq!(deposits.count(), 3);

    // From the stored position only what is new comes.
    let position = follower.position();
    market.requester.send(market.client.withdraw(Amount::from_grist(1))).await;
    let mut follower = Follower::open(&market.client, GivenPosition(Some(position)), config).await.unwrap();
    let batch = follower.next().await.unwrap();
    let withdrawal = batch.events.iter().find_map(|event| event.event.as_hub());
    assert!(matches!(withdrawal, Some(HubEvent::Transfer { to, .. }) if *to == Address::ZERO), "{batch:?}");
    // Another ledger with the same hub address is noticed.
    let other = gristmill_hub::Position { genesis: digest_of("another"), ..position };
    let error = Follower::open(&market.client, GivenPosition(Some(other)), config).await.unwrap_err();
    assert!(error.to_string().contains("not the one that was followed"), "{error}");
    let gone = gristmill_hub::Position { next_block: position.next_block + 50, ..position };
    let mut follower = Follower::open(&market.client, GivenPosition(Some(gone)), config).await.unwrap();
    let error = follower.next().await.unwrap_err();
    assert!(error.to_string().contains("went back"), "{error}");
    let rewritten = gristmill_hub::Position { last_hash: digest_of("another"), ..position };
    let mut follower = Follower::open(&market.client, GivenPosition(Some(rewritten)), config).await.unwrap();
    assert!(follower.next().await.unwrap_err().to_string().contains("went back"));
}

#[tokio::test]
async fn the_order_book_shows_what_can_be_matched_and_only_that() {
    let market = Market::new(1).await;
    let client = &market.client;
    let (cheap, dear) = (market.pool_order(1, 500, 5), market.pool_order(1, 900, 100));
    let other_category = market.pool_order(2, 100, 5);
    let forged = sign::order(&market.workers[0].wallet, market.pool_order(1, 1, 5).order, client.domain());
    let app = market.app_order(7);
    let request = market.request(1, 5, 5, 77);
    for order in [&dear, &cheap, &other_category, &forged] {
        market.workers[0].send(client.broadcast_workerpool_order(order)).await;
    }
    market.owner.send(client.broadcast_app_order(&app)).await;
    market.requester.send(client.broadcast_request_order(&request)).await;

    let mut book = OrderBook::new(client.clone());
    book.refresh().await.unwrap();
    let prices = |orders: Vec<gristmill_hub::OpenOrder<gristmill_types::WorkerpoolOrder>>| -> Vec<u64> {
        orders.iter().map(|open| open.signed.order.workerpoolprice.to()).collect()
    };
    assert_eq!(prices(book.open_workerpool_orders(1, Trust::new(5)).await.unwrap()), [500, 900]);
    assert_eq!(prices(book.open_workerpool_orders(1, Trust::new(6)).await.unwrap()), [900]);
    assert_eq!(prices(book.open_workerpool_orders(2, Trust::new(5)).await.unwrap()), [100]);
    let found = book.app_order_of(market.app).await.unwrap().unwrap();
    assert_eq!((&found.signed, found.owner), (&app, market.owner.address()));
    assert_eq!(book.app_order_of(market.pool).await.unwrap(), None);
    let hash = client.order_hash(&request.order);
    assert_eq!(book.request_order(hash).await.unwrap().unwrap().remaining, 5);

    // Matched and closed orders go away.
    market.requester.send(client.match_orders(&app, &sign::no_dataset(), &cheap, &request)).await;
    assert_eq!(book.request_order(hash).await.unwrap(), None);
    assert_eq!(book.open_workerpool_orders(1, Trust::new(5)).await.unwrap()[0].remaining, 995);
    market.pool_owner.send(client.manage_workerpool_order(&cheap, OrderOperation::Close)).await;
    assert_eq!(prices(book.open_workerpool_orders(1, Trust::new(5)).await.unwrap()), [900]);
    // Signed on the ledger instead of by hand.
    let unsigned = gristmill_types::Signed { sign: Bytes::new(), ..market.pool_order(2, 50, 5) };
    market.pool_owner.send(client.broadcast_workerpool_order(&unsigned)).await;
    book.refresh().await.unwrap();
    assert_eq!(prices(book.open_workerpool_orders(2, Trust::new(1)).await.unwrap()), [100]);
    market.pool_owner.send(client.manage_workerpool_order(&unsigned, OrderOperation::Sign)).await;
    assert_eq!(prices(book.open_workerpool_orders(2, Trust::new(1)).await.unwrap()), [50, 100]);
}

#[tokio::test]
async fn assets_are_found_with_what_they_were_registered_with() {
    let market = Market::new(0).await;
    let app = market.client.view_app(market.app).await.unwrap().unwrap();
    assert_eq!((app.owner, app.name.as_str()), (market.owner.address(), "no-op"));
    assert_eq!(app.code().unwrap().to_string(), format!("wasm:{}", "ab".repeat(32)));
    assert_eq!(market.client.view_app(market.pool).await.unwrap(), None);
    assert_eq!(market.client.view_dataset(market.app).await.unwrap(), None);
    let pool = market.client.view_workerpool(market.pool).await.unwrap().unwrap();
    assert_eq!((pool.owner, pool.worker_stake_ratio), (market.pool_owner.address(), 30));
    market.pool_owner.send(market.client.change_policy(market.pool, 50, 10)).await;
    let pool = market.client.view_workerpool(market.pool).await.unwrap().unwrap();
    assert_eq!((pool.worker_stake_ratio, pool.scheduler_reward_ratio), (50, 10));
    let apps = market.client.assets_of(market.client.app_registry, market.owner.address(), 10).await.unwrap();
    assert_eq!(apps, [market.app]);
    assert!(market.root().join(format!("outbox-{:#x}", market.owner.address())).is_dir());
}
