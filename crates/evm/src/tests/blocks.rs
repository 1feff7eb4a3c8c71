//! Blocks, their hashes, and what gets into them.

use std::collections::BTreeMap;

use alloy_consensus::{ReceiptEnvelope, TxReceipt, proofs};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bloom, TxKind, U256, keccak256};
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use gristmill_datadir::redb::{ReadableDatabase, ReadableTable};
use proptest::prelude::*;

use super::support::*;
use crate::schema::{self, StoredAccount};
use crate::{Chain, Genesis, GenesisAccount, OpenError};

/// The state root recomputed from the flat tables, from nothing.
fn full_state_root(chain: &TestChain) -> B256 {
    let db = chain.chain.db();
    let transaction = db.redb().begin_read().expect("reads");
    let mut storage: BTreeMap<Address, Vec<(B256, U256)>> = BTreeMap::new();
    for entry in transaction.open_table(schema::STORAGE).expect("table").iter().expect("reads") {
        let (key, value) = entry.expect("reads");
        let (address, slot) = key.value().split_at(20);
        let slots = storage.entry(Address::from_slice(address)).or_default();
        slots.push((B256::from_slice(slot), U256::from_be_slice(value.value())));
    }
    let mut accounts = Vec::new();
    for entry in transaction.open_table(schema::ACCOUNTS).expect("table").iter().expect("reads") {
        let (key, value) = entry.expect("reads");
        let address = Address::from_slice(key.value());
        let account: StoredAccount = alloy_rlp::Decodable::decode(&mut value.value()).expect("an account");
        let storage_root = storage_root_unhashed(storage.remove(&address).unwrap_or_default());
        assert_eq!(storage_root, account.storage_root, "{address}");
        let StoredAccount { nonce, balance, code_hash, .. } = account;
        accounts.push((address, TrieAccount { nonce, balance, storage_root, code_hash }));
    }
    assert!(storage.is_empty(), "storage of accounts that are gone");
    state_root_unhashed(accounts)
}

/// Checks that a header says what its block holds.
fn check_block(chain: &TestChain, number: u64) {
    let view = chain.chain.view().expect("view");
    let block = view.block(number).expect("reads").expect("exists");
    let mined = view.mined_block(number).expect("reads").expect("exists");
    let header = &block.header;
    let transactions: Vec<_> = block.transactions.iter().map(|signed| signed.inner()).collect();
    assert_eq!(header.transactions_root, proofs::calculate_transaction_root(&transactions));
    let receipts: Vec<ReceiptEnvelope> = mined
        .iter()
        .map(|mined| {
            let receipt = alloy_consensus::Receipt {
                status: mined.receipt.success.into(),
                cumulative_gas_used: mined.receipt.cumulative_gas_used,
                logs: mined.receipt.logs.clone(),
            };
            let kind = mined.receipt.kind.try_into().expect("a known kind");
            ReceiptEnvelope::from_typed(kind, receipt)
        })
        .collect();
    assert_eq!(header.receipts_root, proofs::calculate_receipt_root(&receipts));
    let bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    assert_eq!(header.logs_bloom, bloom);
    let gas: u64 = mined.iter().map(|mined| mined.receipt.gas_used).sum();
    assert_eq!(header.gas_used, gas);
    assert_eq!(header.hash(), header.inner().hash_slow());
    assert_eq!(view.number_of(header.hash()).expect("reads"), Some(number));
    let parent = view.header(number - 1).expect("reads").expect("exists");
    assert_eq!(header.parent_hash, parent.hash());
    let whole = alloy_consensus::Block {
        header: header.inner().clone(),
        body: alloy_consensus::BlockBody {
            transactions: block.transactions.iter().map(|signed| signed.inner().clone()).collect(),
            ommers: Vec::<alloy_consensus::Header>::new(),
            withdrawals: Some(Default::default()),
        },
    };
    assert_eq!(block.size, alloy_rlp::encode(&whole).len() as u64);
}

#[test]
fn genesis_has_ethereums_root_and_hash() {
    let mut genesis = genesis();
    let code_account = GenesisAccount {
        code: CONTRACT.to_vec().into(),
        storage: [(U256::from(3), U256::from(4)), (U256::from(5), U256::ZERO)].into(),
        ..GenesisAccount::default()
    };
    genesis.alloc.insert(Address::repeat_byte(0x42), code_account);
    genesis.alloc.insert(Address::repeat_byte(0x43), GenesisAccount::default());
    let folder = tempfile::tempdir().expect("a folder");
    let chain = Chain::open(open_db(&folder), &genesis).expect("opens");
    let chain = TestChain { chain, folder };
    let head = chain.chain.head();
    assert_eq!(head.number, 0);
    assert_eq!(head.state_root, full_state_root(&chain));
    assert_eq!(head.hash(), head.inner().hash_slow());
    let state = chain.chain.view().expect("view").state(0).expect("state");
    let contract = Address::repeat_byte(0x42);
    assert_eq!(state.code(contract).expect("reads").as_ref(), CONTRACT);
    assert_eq!(state.storage(contract, U256::from(3)).expect("reads"), U256::from(4));
}

#[test]
fn a_ledger_opens_only_with_its_own_identity() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Chain::open(open_db(&folder), &genesis()).expect("opens"));

    let other = Genesis { chain_id: 1, ..genesis() };
    let error = Chain::open(open_db(&folder), &other).expect_err("another chain");
    assert!(matches!(error, OpenError::ChainId { found: CHAIN_ID, expected: 1 }), "{error}");

    let other = genesis().fund(Address::repeat_byte(9), U256::from(1));
    let error = Chain::open(open_db(&folder), &other).expect_err("another genesis");
    assert!(matches!(error, OpenError::Genesis { .. }), "{error}");

    // Time and gas limit are the ledger's own.
    let later = Genesis { timestamp: START, gas_limit: 5, ..genesis() };
    assert_eq!(Chain::open(open_db(&folder), &later).expect("opens").head().timestamp, 0);

    let db = open_db(&folder);
    db.table("meta").put(schema::META_VERSION, &7u64.to_be_bytes()).expect("writes");
    let error = Chain::open(db, &genesis()).expect_err("another version");
    assert!(matches!(error, OpenError::Version { found: 7, .. }), "{error}");
}

#[test]
fn all_kinds_of_transactions_are_executed() {
    let chain = TestChain::new();
    let [mut a, mut b, c] = [Sender::new(1), Sender::new(2), Sender::new(3)];
    let (deploy, contract) = a.deploy();
    let transactions = vec![
        deploy,
        a.call(contract, [1]),
        b.legacy(c.address, 10),
        b.with_access_list(c.address, 20),
        b.transfer(c.address, 30),
        b.set_code(&c, contract),
    ];
    let block = chain.block(transactions);
    check_block(&chain, 1);
    assert!(block.receipts.iter().all(|receipt| receipt.success));
    assert_eq!(block.header.state_root, full_state_root(&chain));
    let view = chain.chain.view().expect("view");
    let state = view.state(1).expect("state");
    assert_eq!(state.code(contract).expect("reads").as_ref(), CONTRACT);
    assert_eq!(state.storage(contract, U256::ZERO).expect("reads"), U256::from(1));
    // No fee is charged, whatever was offered.
    assert_eq!(state.balance(b.address).expect("reads"), U256::from(1_000_000 - 60));
    assert_eq!(state.balance(c.address).expect("reads"), U256::from(1_000_000 + 60));
    assert_eq!(state.balance(Address::ZERO).expect("reads"), U256::ZERO);
    assert_eq!(state.nonce(c.address).expect("reads"), 1);
    assert_eq!(state.code(c.address).expect("reads")[..3], [0xef, 0x01, 0x00]);

    let deployed = view.transaction(*block.transactions[0].inner().tx_hash()).expect("reads");
    assert_eq!(deployed.expect("mined").created(), Some(contract));
    let log = &block.receipts[1].logs[0];
    assert_eq!((log.address, log.topics()), (contract, &[B256::with_last_byte(0xc0)][..]));
}

#[test]
fn transactions_that_do_not_fit_are_rejected_or_deferred() {
    let chain = TestChain::new();
    let [mut a, mut b, mut c] = [Sender::new(1), Sender::new(2), Sender::new(3)];
    let first = a.transfer(c.address, 1);
    chain.block(vec![first.clone()]);

    let too_much = b.transfer(a.address, 1_000_001);
    let after_gap = b.transfer(a.address, 1);
    let too_long = c.send(TxKind::Call(a.address), U256::ZERO, Vec::new().into(), 60_000_001);
    c.nonce = 0;
    let whole_block = c.send(TxKind::Call(a.address), U256::ZERO, Vec::new().into(), 60_000_000);
    let good = a.transfer(b.address, 2);
    let offered = vec![first, too_much, after_gap.clone(), too_long, good.clone(), whole_block.clone()];
    let block = chain.chain.execute_block(offered, START).expect("a block");
    let reasons: Vec<&str> = block.rejected.iter().map(|one| one.reason.as_str()).collect();
    let expected = [
        "nonce too low: next nonce 1, tx nonce 0",
        "insufficient funds for gas * price + value: balance 1000000, tx cost 1000001",
        "exceeds block gas limit",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(block.deferred, vec![after_gap, whole_block.clone()]);
    assert_eq!(block.transactions, vec![good]);
    // What found the block full fits into the next one.
    assert_eq!(chain.block(vec![whole_block]).transactions.len(), 1);
}

#[test]
fn block_time_never_goes_back() {
    let chain = TestChain::new();
    let times: Vec<u64> = [START, START - 50, START, START + 1]
        .into_iter()
        .map(|clock| {
            let next = chain.chain.next_timestamp(clock);
            let block = chain.chain.execute_block(Vec::new(), clock).expect("a block");
            assert_eq!(block.header.timestamp, next);
            next
        })
        .collect();
    assert_eq!(times, [START, START, START, START + 1]);
}

#[test]
fn transactions_survive_their_encoding() {
    let chain = TestChain::new();
    let mut a = Sender::new(1);
    let sent = a.call(Address::repeat_byte(7), [1, 2, 3]);
    chain.block(vec![sent.clone()]);
    let found = chain.chain.view().expect("view").transaction(*sent.inner().tx_hash());
    assert_eq!(found.expect("reads").expect("mined").transaction, sent);
    let bytes = alloy_eips::eip2718::Encodable2718::encoded_2718(sent.inner());
    assert_eq!(crate::decode_transaction(&bytes).expect("decodes"), sent);
    alloy_consensus::TxEnvelope::decode_2718(&mut &bytes[..]).expect("decodes");
    for value in 0..500 {
        let sent = if value % 2 == 0 { a.transfer(Address::repeat_byte(7), value) } else { a.legacy(a.address, value) };
        let bytes = alloy_eips::eip2718::Encodable2718::encoded_2718(sent.inner());
        assert_eq!(crate::decode_transaction(&bytes).map(|found| found.signer()), Ok(a.address), "{value}");
    }
}

/// What a random block does.
#[derive(Debug, Clone)]
enum Action {
    Transfer { from: u8, to: u8, value: u64 },
    Deploy { from: u8 },
    Count { from: u8, contract: usize },
    Store { from: u8, contract: usize, slot: u64, value: u64 },
    Revert { from: u8, contract: usize },
}

fn action() -> impl Strategy<Value = Action> {
    let contract = 0usize..4;
    prop_oneof![
        (1u8..5, 0u8..20, 0u64..5).prop_map(|(from, to, value)| Action::Transfer { from, to, value }),
        (1u8..5).prop_map(|from| Action::Deploy { from }),
        (1u8..5, contract.clone()).prop_map(|(from, contract)| Action::Count { from, contract }),
        (1u8..5, contract.clone(), 0u64..12, 0u64..3)
            .prop_map(|(from, contract, slot, value)| { Action::Store { from, contract, slot, value } }),
        (1u8..5, contract).prop_map(|(from, contract)| Action::Revert { from, contract }),
    ]
}

/// Runs random blocks; `reopen` says after which the ledger is closed and opened again.
fn run(blocks: &[Vec<Action>], reopen: &[bool], mut each: impl FnMut(&TestChain)) -> TestChain {
    let mut chain = TestChain::new();
    let mut senders: Vec<Sender> = (0..5).map(|seed| Sender::new(seed + 1)).collect();
    let mut contracts: Vec<Address> = (0..4).map(|seed| Address::repeat_byte(0xa0 + seed)).collect();
    for (block, reopen) in blocks.iter().zip(reopen) {
        let mut transactions = Vec::new();
        for action in block {
            transactions.push(match action {
                Action::Transfer { from, to, value } => {
                    let to = Address::from_word(keccak256([*to]));
                    senders[usize::from(*from) - 1].transfer(to, *value)
                }
                Action::Deploy { from } => {
                    let (deploy, contract) = senders[usize::from(*from) - 1].deploy();
                    let slot = contracts.len() % 4;
                    contracts[slot] = contract;
                    deploy
                }
                Action::Count { from, contract } => senders[usize::from(*from) - 1].call(contracts[*contract], [1]),
                Action::Store { from, contract, slot, value } => {
                    senders[usize::from(*from) - 1].call(contracts[*contract], store(*slot, *value))
                }
                Action::Revert { from, contract } => senders[usize::from(*from) - 1].call(contracts[*contract], [2, 9]),
            });
        }
        chain.block(transactions);
        each(&chain);
        if *reopen {
            chain = chain.reopen();
        }
    }
    chain
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn state_root_equals_full_recomputation_and_blocks_are_deterministic(
        blocks in prop::collection::vec(prop::collection::vec(action(), 0..12), 1..6),
        reopen in prop::collection::vec(any::<bool>(), 6),
    ) {
        let first = run(&blocks, &reopen, |chain| {
            let head = chain.chain.head();
            assert_eq!(head.state_root, full_state_root(chain));
            check_block(chain, head.number);
        });
        let second = run(&blocks, &[false; 6], |_| {});
        prop_assert_eq!(first.chain.head().hash(), second.chain.head().hash());
    }
}

#[test]
fn proofs_hold_against_the_header() {
    let chain = TestChain::new();
    let mut a = Sender::new(1);
    let (deploy, contract) = a.deploy();
    let mut transactions = vec![deploy];
    transactions.extend((1..40).map(|slot| a.call(contract, store(slot, slot * 3))));
    let block = chain.block(transactions);
    let slots: Vec<U256> = [1u64, 7, 39, 40].map(U256::from).to_vec();
    let view = chain.chain.view().expect("view");
    let proof = view.proof(contract, &slots).expect("a proof");
    let account = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_root,
        code_hash: proof.code_hash,
    };
    let path = |key: &[u8]| alloy_trie::Nibbles::unpack(keccak256(key));
    alloy_trie::proof::verify_proof(
        block.header.state_root,
        path(contract.as_slice()),
        Some(alloy_rlp::encode(account)),
        &proof.account_nodes,
    )
    .expect("the account's proof holds");
    for (slot, value, nodes) in &proof.slots {
        let expected = if *slot < U256::from(40) { *slot * U256::from(3) } else { U256::ZERO };
        assert_eq!(*value, expected);
        let leaf = (!value.is_zero()).then(|| alloy_rlp::encode(value));
        let path = path(&slot.to_be_bytes::<32>());
        alloy_trie::proof::verify_proof(proof.storage_root, path, leaf, nodes).expect("the slot's proof holds");
    }
    let absent = view.proof(Address::repeat_byte(0xee), &[]).expect("a proof");
    let path = path(Address::repeat_byte(0xee).as_slice());
    alloy_trie::proof::verify_proof(block.header.state_root, path, None, &absent.account_nodes)
        .expect("the proof of absence holds");
}

#[test]
fn headers_survive_their_encoding() {
    let chain = TestChain::new();
    let mut a = Sender::new(1);
    let (deploy, contract) = a.deploy();
    chain.block(vec![deploy]);
    chain.block(vec![a.call(contract, [1])]);
    let view = chain.chain.view().expect("view");
    let mut lengths = Vec::new();
    for number in 0..=2 {
        let header = view.header(number).expect("reads").expect("exists");
        let encoded = schema::encode_header(&header);
        assert_eq!(schema::decode_header(&encoded).as_ref(), Ok(header.inner()));
        for length in 0..encoded.len() {
            assert!(schema::decode_header(&encoded[..length]).is_err(), "{length} bytes were enough");
        }
        lengths.push(encoded.len());
    }
    assert!(lengths[1] < 450 && lengths[2] > 600, "{lengths:?}");
}
