use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use gristmill_datadir::Db;
use gristmill_datadir::faults::Disk;
use gristmill_types::{RequestOrder, Signed};

use super::*;
use crate::abi::IHub;
use crate::ledger::{Answer, Call, Fees, Finality, Receipt};

/// A ledger with one transfer a block, which fails when it is told to.
#[derive(Clone, Debug)]
struct Blocks(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    head: u64,
    /// Requests that fail from now on.
    failing: u64,
    /// Blocks one query may span.
    range_max: u64,
    requests: u64,
    fork: u64,
    /// What the hub says of the block it was made in.
    first_block: u64,
    /// Blocks after its own before an event counts.
    confirmations: u64,
    /// A request that was broadcast, and the block it is in.
    request: Option<(u64, Signed<RequestOrder>)>,
    /// Whether it can be asked for the news of several blocks at once.
    tells_news: bool,
}

impl State {
    fn block(&self, number: u64) -> Option<BlockHead> {
        let hash = keccak256([number.to_be_bytes(), u64::from(number >= self.fork).to_be_bytes()].concat());
        (number <= self.head).then_some(BlockHead { number, hash, timestamp: 1_000 + number })
    }

    fn logs(&self, from: u64, to: u64, address: Address) -> Result<Vec<Log>, LedgerError> {
        if to - from >= self.range_max {
            let message = format!("query spans more than {} blocks", self.range_max);
            return Err(LedgerError::Rpc { method: "eth_getLogs".to_owned(), code: -32000, message });
        }
        let log = |block: u64| {
            let transfer =
                IHub::Transfer { from: Address::ZERO, to: Address::repeat_byte(1), value: U256::from(block) };
            let request = self.request.as_ref().filter(|(number, _)| *number == block);
            let data = match request {
                Some((_, signed)) => IHub::BroadcastRequestOrder { requestorder: signed.into() }.encode_log_data(),
                None => transfer.encode_log_data(),
            };
            Log {
                address,
                topics: data.topics().to_vec(),
                data: data.data,
                block,
                timestamp: self.tells_news.then_some(1_000 + block),
                tx_hash: B256::ZERO,
                index: 0,
            }
        };
        Ok((from.max(1)..=to.min(self.head)).map(log).collect())
    }
}

impl Blocks {
    fn new(head: u64) -> Self {
        let state = State {
            head,
            failing: 0,
            range_max: u64::MAX,
            requests: 0,
            fork: u64::MAX,
            first_block: 0,
            confirmations: 0,
            request: None,
            tells_news: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn answer<T: Send + 'static>(&self, work: impl FnOnce(&State) -> Result<T, LedgerError>) -> Answer<'_, T> {
        let mut state = self.0.lock().unwrap();
        state.requests += 1;
        let answer = if state.failing > 0 {
            state.failing -= 1;
            Err(LedgerError::Unreachable { url: "here".to_owned(), cause: "it fell over".to_owned() })
        } else {
            work(&state)
        };
        Box::pin(async { answer })
    }
}

impl LedgerPort for Blocks {
    fn chain_id(&self) -> Answer<'_, u64> {
        self.answer(|_| Ok(1))
    }
    fn head(&self) -> Answer<'_, u64> {
        self.answer(|state| Ok(state.head))
    }
    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        self.answer(|state| Ok(numbers.into_iter().map(|number| state.block(number)).collect()))
    }
    fn call(&self, calls: Vec<Call>, _: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        self.answer(|state| {
            let word = |call: &Call| match call.data.starts_with(&IHub::firstBlockCall::SELECTOR) {
                true => B256::from(U256::from(state.first_block)),
                false => B256::with_last_byte(9),
            };
            Ok(calls.iter().map(|call| Ok(Bytes::from(word(call)))).collect())
        })
    }
    fn estimate(&self, _: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        self.answer(|_| Ok(Vec::new()))
    }
    fn nonce(&self, _: Address, _: bool) -> Answer<'_, u64> {
        self.answer(|_| Ok(0))
    }
    fn send(&self, _: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        self.answer(|_| Ok(Vec::new()))
    }
    fn receipts(&self, _: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        self.answer(|_| Ok(Vec::new()))
    }
    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>> {
        self.answer(|state| state.logs(query.from, query.to, query.addresses[0]))
    }
    fn news(&self, query: NewsQuery) -> Answer<'_, Option<News>> {
        self.answer(|state| {
            if !state.tells_news {
                return Ok(None);
            }
            let before = query.from.checked_sub(1).and_then(|number| state.block(number));
            let to = state.head.min(query.from + query.blocks_max - 1);
            let last = state.block(to).filter(|_| query.from <= state.head);
            let logs = if last.is_some() { state.logs(query.from, to, query.addresses[0])? } else { Vec::new() };
            Ok(Some(News { head: state.head, before, last, logs }))
        })
    }
    fn code(&self, _: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        self.answer(|_| Ok(Vec::new()))
    }
    fn balance(&self, _: Address) -> Answer<'_, U256> {
        self.answer(|_| Ok(U256::ZERO))
    }
    fn fees(&self) -> Answer<'_, Fees> {
        self.answer(|_| Ok(Fees::default()))
    }
    fn finality(&self) -> Answer<'_, Finality> {
        self.answer(|state| Ok(Finality { confirmations: state.confirmations, poll_ms: 0 }))
    }
}

async fn client(ledger: &Blocks) -> HubClient {
    HubClient::on(Arc::new(ledger.clone()), Address::repeat_byte(7)).await.unwrap()
}

fn quick() -> FollowerConfig {
    FollowerConfig { poll_ms: 1, patience_ms: 60, ..FollowerConfig::default() }
}

fn blocks_of(batch: &Batch) -> Vec<u64> {
    batch.events.iter().map(|event| event.block).collect()
}

#[tokio::test]
async fn a_ledger_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_is_named() {
    for tells_news in [false, true] {
        is_waited_for(tells_news).await;
    }
}

async fn is_waited_for(tells_news: bool) {
    let ledger = Blocks::new(3);
    ledger.set(|state| state.tells_news = tells_news);
    let client = client(&ledger).await;
    let mut follower = Follower::open(&client, GivenPosition(None), quick()).await.unwrap();
    ledger.set(|state| state.failing = 2);
    let batch = follower.next().await.unwrap();
    assert_eq!(blocks_of(&batch), [1, 2, 3]);
    assert_eq!(batch.events[2].timestamp, 1_003);
    follower.commit(&batch).unwrap();
    ledger.set(|state| state.failing = u64::MAX);
    let begun = Instant::now();
    let error = follower.next().await.unwrap_err();
    assert!(error.to_string().contains("it fell over"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // It may be asked again, and nothing is lost.
    ledger.set(|state| (state.failing, state.head) = (0, 4));
    assert_eq!(blocks_of(&follower.next().await.unwrap()), [4]);
}

#[tokio::test]
async fn a_server_that_bounds_ranges_is_asked_for_smaller_ones() {
    for tells_news in [false, true] {
        is_asked_for_smaller_ones(tells_news).await;
    }
}

async fn is_asked_for_smaller_ones(tells_news: bool) {
    let ledger = Blocks::new(40);
    ledger.set(|state| (state.range_max, state.tells_news) = (7, tells_news));
    let client = client(&ledger).await;
    let mut follower = Follower::open(&client, GivenPosition(None), quick()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let batch = follower.next().await.unwrap();
        seen.extend(blocks_of(&batch));
        follower.commit(&batch).unwrap();
        if batch.caught_up {
            break;
        }
    }
    assert_eq!(seen, (1..=40).collect::<Vec<u64>>());
    // So does an order book, which reads everything anew.
    let mut book = crate::OrderBook::new(client);
    book.refresh().await.unwrap();
}

#[tokio::test]
async fn the_position_is_kept_and_a_rewritten_ledger_is_noticed() {
    for tells_news in [false, true] {
        is_noticed(tells_news).await;
    }
}

async fn is_noticed(tells_news: bool) {
    let (ledger, disk) = (Blocks::new(5), Disk::new(1));
    ledger.set(|state| state.tells_news = tells_news);
    let client = client(&ledger).await;
    let db = Db::open_on(disk.backend()).unwrap();
    let positions = || TablePositions::new(db.table("positions"), "hub");
    let mut follower = Follower::open(&client, positions(), quick()).await.unwrap();
    let batch = follower.next().await.unwrap();
    follower.commit(&batch).unwrap();
    drop(follower);
    ledger.set(|state| state.head = 7);
    let mut follower = Follower::open(&client, positions(), quick()).await.unwrap();
    assert_eq!(blocks_of(&follower.next().await.unwrap()), [6, 7]);
    // Blocks 5 and later are others now.
    ledger.set(|state| state.fork = 5);
    let error = follower.next().await.unwrap_err();
    assert!(matches!(error, FollowError::WentBack { block: 5, head: 7 }), "{error}");
    ledger.set(|state| (state.fork, state.head) = (u64::MAX, 3));
    let error = follower.next().await.unwrap_err();
    assert!(matches!(error, FollowError::WentBack { block: 5, head: 3 }), "{error}");
}

#[tokio::test]
async fn events_wait_for_their_confirmations_and_begin_where_they_should() {
    let ledger = Blocks::new(10);
    let client = client(&ledger).await;
    let config = FollowerConfig { confirmations: Some(4), start_block: 5, ..quick() };
    let mut follower = Follower::open(&client, GivenPosition(None), config).await.unwrap();
    let batch = follower.next().await.unwrap();
    assert_eq!(blocks_of(&batch), [5, 6]);
    follower.commit(&batch).unwrap();
    assert_eq!(follower.poll().await.unwrap(), None);
    ledger.set(|state| state.head = 11);
    assert_eq!(blocks_of(&follower.next().await.unwrap()), [7]);
}

#[tokio::test]
async fn a_start_at_the_newest_block_survives_that_it_is_taken_back() {
    const DEPTH: u64 = 4;
    for depth in 1..=DEPTH {
        let ledger = Blocks::new(10);
        let client = client(&ledger).await;
        let config = FollowerConfig { confirmations: Some(DEPTH), start_block: 11, ..quick() };
        let mut follower = Follower::open(&client, GivenPosition(None), config).await.unwrap();
        ledger.set(|state| (state.fork, state.head) = (11 - depth, 15));
        // Those that were replaced are read: they may hold what was not there before.
        assert_eq!(blocks_of(&follower.next().await.unwrap()), [7, 8, 9, 10, 11], "{depth} blocks were taken back");
    }
}

#[tokio::test]
async fn an_order_book_reads_again_what_may_be_taken_back() {
    const DEPTH: u64 = 4;
    const HEAD: u64 = 10;
    let order = RequestOrder {
        app: Address::repeat_byte(1),
        appmaxprice: U256::ZERO,
        dataset: Address::ZERO,
        datasetmaxprice: U256::ZERO,
        workerpool: Address::ZERO,
        workerpoolmaxprice: U256::ZERO,
        requester: Address::repeat_byte(2),
        volume: U256::from(3),
        tag: B256::ZERO,
        category: U256::ZERO,
        trust: U256::from(1),
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: String::new(),
        salt: B256::ZERO,
    };
    // Those that replaced the newest blocks hold a request that these did not.
    for block in HEAD + 1 - DEPTH..=HEAD {
        let ledger = Blocks::new(HEAD);
        ledger.set(|state| state.confirmations = DEPTH);
        let client = client(&ledger).await;
        let mut book = crate::OrderBook::new(client.clone());
        book.refresh().await.unwrap();
        let signed = Signed { order: order.clone(), sign: Bytes::new() };
        ledger.set(|state| state.request = Some((block, signed)));
        book.refresh().await.unwrap();
        assert_eq!(book.broadcast_volume(client.order_hash(&order)), Some(U256::from(3)), "block {block}");
    }
}

#[tokio::test]
async fn nothing_is_read_from_before_the_hub() {
    let ledger = Blocks::new(10);
    ledger.set(|state| state.first_block = 7);
    let early = client(&ledger).await;
    assert_eq!(early.first_block(), 7);
    let mut follower = Follower::open(&early, GivenPosition(None), quick()).await.unwrap();
    assert_eq!(blocks_of(&follower.next().await.unwrap()), [7, 8, 9, 10]);
    // Somewhere contracts count the blocks of another chain.
    ledger.set(|state| state.first_block = 1_000_000);
    assert_eq!(client(&ledger).await.first_block(), 0);
}
