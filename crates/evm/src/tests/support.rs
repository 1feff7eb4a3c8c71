//! Keys, transactions and a small contract for the tests.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use gristmill_datadir::Db;
use k256::ecdsa::SigningKey;

use crate::{Chain, ExecutedBlock, Genesis, SignedTransaction};

pub const CHAIN_ID: u64 = 26482;
/// When the tests' blocks begin, in seconds since 1970.
pub const START: u64 = 1_700_000_000;

/// What the contract does is chosen by the first byte of the call data:
/// nothing or another byte: return slot 0; 1: add one to slot 0 and log the new value with topic 0xc0; 2: revert with the
/// rest of the call data; 3: return the block's time; 4: store word 2 of the rest in the slot of word 1; 5: loop for ever.
///
/// ```text
/// 00 PUSH0 CALLDATALOAD PUSH0 BYTE
/// 04 DUP1 PUSH1 1 EQ PUSH1 0x2f JUMPI     (and so on for 2, 3, 4, 5)
/// 27 PUSH0 SLOAD PUSH0 MSTORE PUSH1 32 PUSH0 RETURN
/// 2f JUMPDEST PUSH0 SLOAD PUSH1 1 ADD DUP1 PUSH0 SSTORE PUSH0 MSTORE PUSH1 0xc0 PUSH1 32 PUSH0 LOG1 STOP
/// 41 JUMPDEST PUSH1 1 CALLDATASIZE SUB DUP1 PUSH1 1 PUSH0 CALLDATACOPY PUSH0 REVERT
/// 4d JUMPDEST TIMESTAMP PUSH0 MSTORE PUSH1 32 PUSH0 RETURN
/// 55 JUMPDEST PUSH1 33 CALLDATALOAD PUSH1 1 CALLDATALOAD SSTORE STOP
/// 5e JUMPDEST PUSH1 0x5e JUMP
/// ```
pub const CONTRACT: [u8; 98] = hex!(
    "5f355f1a"
    "80600114602f57" "80600214604157" "80600314604d57" "80600414605557" "80600514605e57"
    "5f545f5260205ff3"
    "5b5f5460010180 5f555f5260c060205fa100"
    "5b60013603806001 5f375ffd"
    "5b425f5260205ff3"
    "5b60213560013555 00"
    "5b605e56"
);

/// Code that makes [`CONTRACT`]: PUSH1 len DUP1 PUSH1 9 PUSH0 CODECOPY PUSH0 RETURN.
pub fn init_code() -> Bytes {
    let mut code = vec![0x60, CONTRACT.len() as u8, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3];
    code.extend_from_slice(&CONTRACT);
    code.into()
}

/// A sender whose nonces count up by themselves.
pub struct Sender {
    key: SigningKey,
    pub address: Address,
    pub nonce: u64,
}

impl Sender {
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).expect("a small number is a key");
        Self { address: Address::from_private_key(&key), key, nonce: 0 }
    }

    pub fn sign_hash(&self, hash: B256) -> Signature {
        let (signature, id) = self.key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
        Signature::from((signature, id))
    }

    pub fn transfer(&mut self, to: Address, value: u64) -> SignedTransaction {
        self.send(TxKind::Call(to), U256::from(value), Bytes::new(), 21_000)
    }

    pub fn call(&mut self, to: Address, input: impl Into<Bytes>) -> SignedTransaction {
        self.send(TxKind::Call(to), U256::ZERO, input.into(), 200_000)
    }

    pub fn deploy(&mut self) -> (SignedTransaction, Address) {
        let address = self.address.create(self.nonce);
        (self.send(TxKind::Create, U256::ZERO, init_code(), 500_000), address)
    }

    pub fn send(&mut self, to: TxKind, value: U256, input: Bytes, gas: u64) -> SignedTransaction {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: gas,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        self.nonce += 1;
        self.sign(transaction)
    }

    pub fn legacy(&mut self, to: Address, value: u64) -> SignedTransaction {
        let transaction = TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce: self.nonce,
            gas_price: 7,
            gas_limit: 21_000,
            to: TxKind::Call(to),
            value: U256::from(value),
            input: Bytes::new(),
        };
        self.nonce += 1;
        self.sign(transaction)
    }

    pub fn with_access_list(&mut self, to: Address, value: u64) -> SignedTransaction {
        let transaction = TxEip2930 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: 21_000,
            to: TxKind::Call(to),
            value: U256::from(value),
            ..TxEip2930::default()
        };
        self.nonce += 1;
        self.sign(transaction)
    }

    /// A transaction of type 4 by which `self` sets `authority`'s code to that of `target`.
    pub fn set_code(&mut self, authority: &Sender, target: Address) -> SignedTransaction {
        let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: target, nonce: authority.nonce };
        let signature = authority.sign_hash(authorization.signature_hash());
        let transaction = TxEip7702 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: 200_000,
            to: authority.address,
            authorization_list: vec![SignedAuthorization::new_unchecked(
                authorization,
                u8::from(signature.v()),
                signature.r(),
                signature.s(),
            )],
            ..TxEip7702::default()
        };
        self.nonce += 1;
        self.sign(transaction)
    }

    pub fn sign<T>(&self, transaction: T) -> SignedTransaction
    where
        T: SignableTransaction<Signature>,
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.sign_hash(transaction.signature_hash());
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        SignedTransaction::new_unchecked(envelope, self.address)
    }
}

/// A word for call data.
pub fn word(value: u64) -> [u8; 32] {
    U256::from(value).to_be_bytes()
}

/// Call data that stores `value` in `slot` of the contract.
pub fn store(slot: u64, value: u64) -> Bytes {
    [&[4][..], &word(slot), &word(value)].concat().into()
}

/// A genesis on which senders 1 to 4 hold a million each.
pub fn genesis() -> Genesis {
    (1..=4).fold(Genesis::new(CHAIN_ID), |genesis, seed| genesis.fund(Sender::new(seed).address, U256::from(1_000_000)))
}

/// A ledger in a folder of its own.
pub struct TestChain {
    pub chain: Chain,
    pub folder: tempfile::TempDir,
}

impl TestChain {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let chain = Chain::open(open_db(&folder), &genesis()).expect("opens");
        Self { chain, folder }
    }

    /// Closes the ledger and opens it again.
    pub fn reopen(self) -> Self {
        let Self { chain, folder } = self;
        drop(chain);
        let chain = Chain::open(open_db(&folder), &genesis()).expect("opens again");
        Self { chain, folder }
    }

    /// Makes a block in which nothing may be left out.
    pub fn block(&self, transactions: Vec<SignedTransaction>) -> ExecutedBlock {
        let clock = START + self.chain.head().number;
        let count = transactions.len();
        let block = self.chain.execute_block(transactions, clock).expect("a block");
        assert_eq!(block.rejected, Vec::new());
        assert_eq!(block.transactions.len(), count);
        block
    }
}

pub fn open_db(folder: &tempfile::TempDir) -> Db {
    Db::open(folder.path().join("ledger.redb")).expect("a database")
}
