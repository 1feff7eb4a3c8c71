use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_datadir::Db;
use gristmill_datadir::faults::Disk;
use gristmill_wallet::Wallet;

use super::book::Book;
use super::*;
use crate::revert::Reason;

mod sim;

use sim::{Faults, SimLedger};

fn wallet() -> Wallet {
    Wallet::import_hex("0x0101010101010101010101010101010101010101010101010101010101010101").unwrap()
}

fn config() -> OutboxConfig {
    OutboxConfig { poll_ms: 1, resend_ms: 15, displaced_ms: 30, in_flight_max: 16, batch_max: 8, ..Default::default() }
}

/// An intent whose call data is its key, so that the ledger sees which it is.
fn intent(key: &str) -> Intent {
    Intent {
        key: key.to_owned(),
        to: Some(Address::repeat_byte(9)),
        data: Bytes::copy_from_slice(key.as_bytes()),
        value: U256::ZERO,
        gas: None,
        preflight: false,
    }
}

async fn open(disk: &Disk, ledger: &SimLedger) -> Result<Outbox, OutboxError> {
    let book = Book::on(Db::open_on(disk.backend())?);
    Outbox::start(book, wallet(), Arc::new(ledger.clone()), config()).await
}

async fn open_patiently(disk: &Disk, ledger: &SimLedger) -> Outbox {
    loop {
        match open(disk, ledger).await {
            Ok(outbox) => return outbox,
            Err(OutboxError::Ledger(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a kill -9 and a power cut leave: nothing but what was synced.
async fn kill(outbox: Outbox, disk: &Disk) {
    disk.cut_power();
    let task = outbox.inner.task.lock().unwrap().take();
    if let Some(task) = task {
        task.abort();
        let _ = task.await;
    }
}

fn fixed_ledger() -> SimLedger {
    SimLedger::new(1, Faults::default())
}

#[tokio::test]
async fn an_intent_takes_effect_and_its_key_gives_the_first_outcome_for_ever() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    let first = outbox.execute(intent("pay")).await.unwrap();
    assert_eq!((first.nonce, &first.result), (0, &TxResult::Success));
    let other = Intent { data: Bytes::from_static(b"something else"), ..intent("pay") };
    assert_eq!(outbox.submit(other.clone()).await.unwrap(), first);
    outbox.shutdown().await;
    assert!(matches!(outbox.submit(intent("late")).await, Err(OutboxError::Stopped)));

    let outbox = open(&disk, &ledger).await.unwrap();
    assert_eq!(outbox.submit(other).await.unwrap(), first);
    assert_eq!(outbox.wait("pay").await.unwrap(), first);
    assert!(matches!(outbox.wait("unknown").await, Err(OutboxError::UnknownKey { .. })));
    assert_eq!(ledger.used(outbox.address()), 1);
}

#[tokio::test]
async fn what_would_be_refused_is_refused_before_it_is_stored() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    let error = outbox.submit(intent("refuse this")).await.unwrap_err();
    assert_eq!(error.revert().unwrap().code(), "the rules say no");
    assert!(matches!(error, OutboxError::WouldRevert { .. }));
    let limited = Intent { gas: Some(60_000), preflight: true, ..intent("refuse that") };
    assert!(matches!(outbox.submit(limited).await, Err(OutboxError::WouldRevert { .. })));
    assert!(matches!(outbox.submit(intent("")).await, Err(OutboxError::BadKey { got: 0 })));
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    assert!(matches!(outbox.submit(intent(&long)).await, Err(OutboxError::BadKey { .. })));
    assert_eq!(outbox.execute(intent("next")).await.unwrap().nonce, 0);
}

#[tokio::test]
async fn a_revert_in_a_block_is_an_outcome_with_its_reason() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    let outcome = outbox.submit(intent("revert in the block")).await.unwrap();
    let TxResult::Reverted(revert) = &outcome.result else { panic!("{outcome:?}") };
    assert_eq!(revert.reason, Reason::Message("the rules say no".to_owned()));
    assert!(matches!(outcome.require_success(), Err(OutboxError::Reverted { .. })));
}

#[tokio::test]
async fn what_had_no_effect_can_be_executed_again_and_what_had_one_cannot() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let book = Book::on(Db::open_on(disk.backend()).unwrap());
    let config = OutboxConfig { outcomes_max: 2, ..config() };
    let outbox = Outbox::start(book, wallet(), Arc::new(ledger.clone()), config).await.unwrap();
    let bad = Intent { data: Bytes::from_static(b"revert"), ..intent("pay") };
    assert!(matches!(outbox.execute(bad.clone()).await, Err(OutboxError::Reverted { .. })));
    assert!(matches!(outbox.submit(intent("pay")).await.unwrap().result, TxResult::Reverted(_)));
    let paid = outbox.execute(intent("pay")).await.unwrap();
    assert_eq!((paid.nonce, &paid.result), (1, &TxResult::Success));
    assert_eq!(outbox.execute(bad).await.unwrap(), paid);
    // The first try's outcome is forgotten before the second's.
    outbox.execute(intent("next")).await.unwrap();
    assert_eq!(outbox.wait("pay").await.unwrap(), paid);
    assert_eq!(ledger.lock().effects[&Bytes::from_static(b"pay")], 1);
}

#[tokio::test]
async fn a_transaction_that_is_never_taken_gives_its_nonce_to_a_filler() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    let (dead, next) = tokio::join!(outbox.submit(intent("dead one")), outbox.submit(intent("next")));
    let dead = dead.unwrap();
    assert!(matches!(&dead.result, TxResult::Abandoned(why) if why.contains("exceeds block gas limit")), "{dead:?}");
    assert_eq!((dead.nonce, next.unwrap().result), (0, TxResult::Success));
    assert_eq!(ledger.lock().seen[&0], [Bytes::from_static(b"dead one"), Bytes::new()]);
    assert_eq!(ledger.used(outbox.address()), 2);
}

#[tokio::test]
async fn an_intent_can_be_given_up_before_it_is_in_a_block() {
    let (disk, ledger) = (Disk::new(1), SimLedger::new(1, Faults { forgotten: 100, ..Faults::default() }));
    let outbox = open(&disk, &ledger).await.unwrap();
    outbox.submit_nowait(intent("too late")).await.unwrap();
    outbox.abandon("too late", "the deadline passed").await.unwrap();
    ledger.lock().faults.forgotten = 0;
    let outcome = outbox.wait("too late").await.unwrap();
    assert_eq!(outcome.result, TxResult::Abandoned("the deadline passed".to_owned()));
    assert!(ledger.lock().effects.is_empty());
    assert!(matches!(outbox.abandon("too late", "").await, Err(OutboxError::UnknownKey { .. })));
}

#[tokio::test]
async fn after_a_restart_a_first_intent_that_would_be_refused_is_filled() {
    let (disk, ledger) = (Disk::new(1), SimLedger::new(1, Faults { forgotten: 100, ..Faults::default() }));
    let outbox = open(&disk, &ledger).await.unwrap();
    // With a gas limit nothing is estimated, so it is stored although it would be refused.
    outbox.submit_nowait(Intent { gas: Some(60_000), ..intent("refuse later") }).await.unwrap();
    kill(outbox, &disk).await;
    ledger.lock().faults.forgotten = 0;
    let outbox = open(&disk, &ledger).await.unwrap();
    let outcome = outbox.wait("refuse later").await.unwrap();
    assert!(matches!(&outcome.result, TxResult::Abandoned(why) if why.contains("the rules say no")), "{outcome:?}");
}

#[tokio::test]
async fn another_programs_use_of_the_key_is_noticed() {
    let (disk, ledger) = (Disk::new(1), SimLedger::new(1, Faults { forgotten: 100, ..Faults::default() }));
    let outbox = open(&disk, &ledger).await.unwrap();
    outbox.submit_nowait(intent("mine")).await.unwrap();
    ledger.use_nonce(outbox.address());
    let outcome = outbox.wait("mine").await.unwrap();
    assert_eq!(outcome.result, TxResult::Displaced);
    assert_eq!(outbox.displaced(), 1);
    let message = outcome.require_success().unwrap_err().to_string();
    assert!(message.contains("another program"), "{message}");
}

#[tokio::test]
async fn another_ledger_and_one_that_went_back_are_refused() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    outbox.execute(intent("pay")).await.unwrap();
    outbox.shutdown().await;

    let went_back = fixed_ledger();
    let error = open(&disk, &went_back).await.unwrap_err();
    assert!(matches!(error, OutboxError::WentBack { confirmed: 1, found: 0, .. }), "{error}");
    let other = fixed_ledger();
    other.lock().genesis = B256::ZERO;
    let error = open(&disk, &other).await.unwrap_err();
    assert!(matches!(error, OutboxError::OtherLedger { .. }), "{error}");
}

#[tokio::test]
async fn one_key_has_one_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key.json");
    std::fs::write(&key_file, "{}").unwrap();
    let config = || OutboxConfig { key_file: Some(key_file.clone()), ..config() };
    let ledger: Arc<dyn LedgerPort> = Arc::new(fixed_ledger());
    let here = folder.path().join("here");
    let first = Outbox::open(&here, wallet(), ledger.clone(), config()).await.unwrap();
    let plain = OutboxConfig { key_file: None, ..config() };
    let error = Outbox::open(&here, wallet(), ledger.clone(), plain).await.unwrap_err();
    assert!(matches!(error, OutboxError::Folder(_)), "{error}");
    // The same key from another folder.
    let there = folder.path().join("there");
    let error = Outbox::open(&there, wallet(), ledger.clone(), config()).await.unwrap_err();
    assert!(matches!(error, OutboxError::KeyInUse { .. }), "{error}");
    // Another key beside it is fine, and after a shutdown the key is free.
    let other = Wallet::generate();
    Outbox::open(&here, other, ledger.clone(), OutboxConfig::default()).await.unwrap();
    first.shutdown().await;
    Outbox::open(&here, wallet(), ledger, config()).await.unwrap();
}

#[tokio::test]
async fn it_stops_soon_even_if_the_ledger_does_not_answer() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    ledger.lock().silent = true;
    let waiting = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.submit(intent("stuck")).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    tokio::time::timeout(Duration::from_secs(5), outbox.shutdown()).await.expect("it stops");
    assert!(matches!(waiting.await.unwrap(), Err(OutboxError::Stopped)));
    ledger.lock().silent = false;
    let outbox = open(&disk, &ledger).await.unwrap();
    assert_eq!(outbox.execute(intent("stuck")).await.unwrap().result, TxResult::Success);
}

#[tokio::test]
async fn old_outcomes_are_forgotten_past_the_bound() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let book = Book::on(Db::open_on(disk.backend()).unwrap());
    let config = OutboxConfig { outcomes_max: 3, ..config() };
    let outbox = Outbox::start(book, wallet(), Arc::new(ledger), config).await.unwrap();
    for number in 0..6 {
        outbox.execute(intent(&format!("intent {number}"))).await.unwrap();
    }
    for number in 0..6 {
        let known = outbox.wait(&format!("intent {number}")).await.is_ok();
        assert_eq!(known, number >= 3, "intent {number}");
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_outbox_and_says_so() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let outbox = open(&disk, &ledger).await.unwrap();
    outbox.execute(intent("first")).await.unwrap();
    disk.set_capacity(0);
    disk.fail_after(0, gristmill_datadir::faults::Fault::Full);
    let error = outbox.submit(intent("second")).await.unwrap_err();
    assert!(matches!(error, OutboxError::Database(_) | OutboxError::Stopped), "{error}");
    let error = outbox.submit(intent("third")).await.unwrap_err();
    assert!(matches!(&error, OutboxError::Database(_)), "{error}");
    let stopped =
        tokio::time::timeout(Duration::from_secs(5), outbox.stopped()).await.expect("it says that it stopped");
    assert!(matches!(&stopped, OutboxError::Database(_)), "{stopped}");
    assert_eq!(ledger.lock().effects.len(), 1, "nothing is sent that is not stored");
    disk.heal();
    outbox.shutdown().await;
    let outbox = open(&disk, &ledger).await.unwrap();
    assert_eq!(outbox.execute(intent("second")).await.unwrap().nonce, 1);
}

/// Kills the outbox at random moments while everything gets lost, and checks what must hold of any history.
async fn storm(seed: u64, reorganised: u64) {
    const INTENTS: usize = 24;
    const KILLS: usize = 5;
    let faults = Faults { lost_request: 10, lost_reply: 10, forgotten: 10, reorganised };
    let (disk, ledger) = (Disk::new(seed), SimLedger::new(seed, faults));
    let keys: Vec<String> = (0..INTENTS)
        .map(|number| match number % 8 {
            3 => format!("dead {number}"),
            6 => format!("revert {number}"),
            _ => format!("intent {number}"),
        })
        .collect();
    // A database is whole before it gets its name: accidents begin after its making.
    drop(open_patiently(&disk, &ledger).await);
    for _ in 0..KILLS {
        let outbox = open_patiently(&disk, &ledger).await;
        // Whoever submits does it again after a crash; some only want it stored.
        let submit_all = async {
            let mut tasks = tokio::task::JoinSet::new();
            for (number, key) in keys.iter().enumerate() {
                let (outbox, intent) = (outbox.clone(), intent(key));
                tasks.spawn(async move {
                    if number % 3 == 0 {
                        outbox.submit_nowait(intent).await.err()
                    } else {
                        outbox.submit(intent).await.err()
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
        };
        let moment = Duration::from_micros(ledger.lock().draw() % 12_000);
        let _ = tokio::time::timeout(moment, submit_all).await;
        kill(outbox, &disk).await;
    }
    // It goes on reorganising: a moment without it would settle all.
    ledger.lock().faults = Faults { reorganised, ..Faults::default() };
    let outbox = open_patiently(&disk, &ledger).await;
    let mut nonces = HashSet::new();
    for key in &keys {
        let outcome = outbox.submit(intent(key)).await.unwrap();
        assert!(nonces.insert(outcome.nonce), "nonce {} has two intents", outcome.nonce);
        let effects = ledger.lock().effects.get(key.as_bytes()).copied().unwrap_or(0);
        let expected = match &outcome.result {
            TxResult::Success => 1,
            _ => 0,
        };
        assert_eq!(effects, expected, "{key}: {outcome:?}");
        assert_eq!(outcome.result == TxResult::Success, key.starts_with("intent"), "{key}: {outcome:?}");
    }
    assert_eq!(outbox.in_flight().await.unwrap(), 0);
    let state = ledger.lock();
    for (nonce, seen) in &state.seen {
        let intents = seen.iter().filter(|data| !data.is_empty()).count();
        assert!(intents <= 1, "nonce {nonce} was signed for {seen:?}");
    }
    drop(state);
    assert_eq!(ledger.used(outbox.address()), nonces.len() as u64, "a nonce was left out");
}

#[tokio::test]
async fn nothing_takes_effect_twice_and_no_nonce_is_lost_or_reused() {
    let seeds: u64 = std::env::var("GRISTMILL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    for seed in 1..=seeds {
        // Every other ledger reorganises now and then.
        let run = tokio::spawn(storm(seed, if seed % 2 == 0 { 5 } else { 0 }));
        match tokio::time::timeout(Duration::from_secs(60), run).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("seed {seed}: {error}"),
            Err(_) => panic!("seed {seed}: it hangs"),
        }
    }
}

#[tokio::test]
async fn what_stays_out_of_the_blocks_offers_more_up_to_a_limit() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    (ledger.lock().quoted, ledger.lock().base_fee) = (100, 1_000);
    let book = Book::on(Db::open_on(disk.backend()).unwrap());
    let config = OutboxConfig { outbid_ms: 2, gas_price_max: 2_000, ..config() };
    let outbox = Outbox::start(book, wallet(), Arc::new(ledger.clone()), config).await.unwrap();
    let (first, second) = tokio::join!(outbox.execute(intent("first")), outbox.execute(intent("second")));
    assert_eq!((first.unwrap().nonce, second.unwrap().nonce), (0, 1));
    let offers = ledger.lock().offers[&0].clone();
    assert_eq!(offers[0], 200, "twice the base fee that it was told");
    assert!(offers.windows(2).all(|pair| pair[1] >= pair[0] + pair[0] / 8), "{offers:?}");
    assert!(*offers.last().unwrap() >= 1_000, "{offers:?}");
    assert_eq!(ledger.lock().effects.values().sum::<u32>(), 2);

    // Past the limit it waits until gas is cheaper.
    ledger.lock().base_fee = 5_000;
    outbox.submit_nowait(intent("dear")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(outbox.in_flight().await.unwrap(), 1);
    assert!(ledger.lock().offers[&2].iter().all(|offer| *offer <= 2_000));
    ledger.lock().base_fee = 100;
    assert_eq!(outbox.wait("dear").await.unwrap().result, TxResult::Success);
}

#[tokio::test]
async fn a_filler_outbids_what_it_replaces() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    (ledger.lock().quoted, ledger.lock().base_fee) = (100, 1_000);
    let book = Book::on(Db::open_on(disk.backend()).unwrap());
    let config = OutboxConfig { outbid_ms: 10_000, ..config() };
    let outbox = Outbox::start(book, wallet(), Arc::new(ledger.clone()), config).await.unwrap();
    outbox.submit_nowait(intent("too late")).await.unwrap();
    outbox.abandon("too late", "the deadline passed").await.unwrap();
    while ledger.lock().offers[&0].len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ledger.lock().base_fee = 0;
    assert_eq!(outbox.wait("too late").await.unwrap().result, TxResult::Abandoned("the deadline passed".to_owned()));
    assert!(ledger.lock().effects.is_empty());
}

#[tokio::test]
async fn many_at_once_share_their_commits_and_requests() {
    let (disk, ledger) = (Disk::new(1), fixed_ledger());
    let book = Book::on(Db::open_on(disk.backend()).unwrap());
    let config = OutboxConfig { poll_ms: 1, ..OutboxConfig::default() };
    let outbox = Outbox::start(book, wallet(), Arc::new(ledger.clone()), config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let outbox = outbox.clone();
        tasks.spawn(async move { outbox.execute(intent(&format!("intent {number}"))).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(ledger.used(outbox.address()), 1_000);
    let requests = ledger.lock().requests;
    assert!(requests < 400, "{requests} requests for 1,000 intents");
}

mod verdicts {
    use super::super::transaction::{Verdict, verdict};
    use crate::ledger::LedgerError;

    #[test]
    fn the_words_of_ledgers_are_understood() {
        let say = |code, message: &str| {
            let error = LedgerError::Rpc { method: "m".to_owned(), code, message: message.to_owned() };
            (verdict(&error, false), verdict(&error, true))
        };
        for taken in ["already known", "nonce too low: next nonce 5, tx nonce 3", "replacement transaction underpriced"]
        {
            assert_eq!(say(-32000, taken), (Verdict::Taken, Verdict::Taken), "{taken}");
        }
        for later in ["nonce too high: next nonce 5, tx nonce 70", "txpool is full"] {
            assert_eq!(say(-32000, later), (Verdict::Later, Verdict::Later), "{later}");
        }
        assert_eq!(say(-32005, "whatever").0, Verdict::Later);
        assert_eq!(say(-32603, "whatever").0, Verdict::Later);
        let poor = say(-32000, "insufficient funds for gas * price + value: balance 0, tx cost 5");
        assert!(matches!(poor, (Verdict::Later, Verdict::Never(_))), "{poor:?}");
        for never in ["exceeds block gas limit", "intrinsic gas too low: gas 5, minimum needed 21000"] {
            assert!(matches!(say(-32000, never).0, Verdict::Never(_)), "{never}");
        }
        let gone = LedgerError::Unreachable { url: "u".to_owned(), cause: "c".to_owned() };
        assert_eq!(verdict(&gone, true), Verdict::Later);
    }
}
