//! Measure how fast blocks of contract calls are executed and stored, and where the time goes.
//!
//! `cargo run --release -p gristmill-evm --example throughput [TRANSACTIONS] [PER_BLOCK] [FOLDER]`
//!
//! Each transaction calls a contract that counts up a slot of its own for each sender, and logs it. One line of JSON comes
//! out. The folder (default: a temporary one) decides which disk is measured.

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex};
use gristmill_evm::{Chain, Genesis, SignedTransaction, decode_transaction};
use k256::ecdsa::SigningKey;

const CHAIN_ID: u64 = 26482;
const SENDERS: u8 = 20;

/// Counts up the slot named by the sender and logs the new value:
/// CALLER SLOAD PUSH1 1 ADD DUP1 CALLER SSTORE PUSH0 MSTORE CALLER PUSH1 32 PUSH0 LOG1 STOP
const CONTRACT: [u8; 17] = hex!("3354600101803355" "5f523360205fa10000");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let per_block: usize = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let db = gristmill_datadir::Db::open(folder.path().join("ledger.redb"))?;
    let mut genesis = Genesis::new(CHAIN_ID);
    let contract = Address::repeat_byte(0xcc);
    genesis.alloc.entry(contract).or_default().code = CONTRACT.to_vec().into();
    let chain = Chain::open(db, &genesis)?;

    let signed = sign(count, contract);
    let start = Instant::now();
    let transactions: Vec<SignedTransaction> =
        signed.iter().map(|bytes| decode_transaction(bytes)).collect::<Result<_, _>>()?;
    let recovering = start.elapsed();

    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut mined = 0;
    for (number, block) in (1u64..).zip(transactions.chunks(per_block)) {
        let begin = Instant::now();
        let block = chain.execute_block(block.to_vec(), number)?;
        slowest = slowest.max(begin.elapsed());
        mined += block.transactions.len();
    }
    let executing = start.elapsed();
    assert_eq!(mined, count);

    let start = Instant::now();
    let empty_blocks = 200;
    for _ in 0..empty_blocks {
        chain.execute_block(Vec::new(), 0)?;
    }
    let idle = start.elapsed() / empty_blocks;
    let bytes = std::fs::metadata(folder.path().join("ledger.redb"))?.len();
    println!(
        "{{\"transactions\":{count},\"per_block\":{per_block},\"tx_per_s\":{:.0},\"slowest_block_ms\":{:.1},\"recover_tx_per_s\":{:.0},\"empty_block_ms\":{:.2},\"file_bytes\":{bytes}}}",
        count as f64 / executing.as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        count as f64 / recovering.as_secs_f64(),
        idle.as_secs_f64() * 1e3,
    );
    Ok(())
}

fn sign(count: usize, contract: Address) -> Vec<Bytes> {
    let keys: Vec<SigningKey> =
        (1..=SENDERS).map(|seed| SigningKey::from_slice(&[seed; 32]).expect("a small number is a key")).collect();
    let mut signed = Vec::with_capacity(count);
    for index in 0..count {
        let key = &keys[index % keys.len()];
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: (index / keys.len()) as u64,
            gas_limit: 100_000,
            to: TxKind::Call(contract),
            value: U256::ZERO,
            ..TxEip1559::default()
        };
        let hash = transaction.signature_hash();
        let (signature, id) = key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
        let envelope = TxEnvelope::from(transaction.into_signed(Signature::from((signature, id))));
        signed.push(envelope.encoded_2718().into());
    }
    signed
}
