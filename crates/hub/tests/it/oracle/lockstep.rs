//! Two hubs on one ledger, ours and PoCo's, and what they answer to the same call at the same moment.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::{Revert as RevertString, SolCall, SolError};
use gristmill_evm::CallError;
use gristmill_hub::abi::{IHub, Timelock};
use gristmill_hub::deploy::{DeployOptions, deploy};
use gristmill_hub::ledger::Call;
use gristmill_hub::sign::{self, Order};
use gristmill_hub::{CallData, HubClient, LedgerPort, NewApp, NewDataset};
use gristmill_types::{Amount, OrderHash, Signed};
use gristmill_wallet::Wallet;

use super::package::{Bystanders, Package};
use crate::chain::TestChain;
use crate::market::Person;

/// All tokens of either side: what the published token makes.
const SUPPLY: Amount = Amount::from_grist(87_000_000);

/// What everybody has at the hub when a history begins.
pub const FIRST_DEPOSIT: Amount = Amount::from_grist(900);

/// Something of ours, and the same thing of theirs.
pub type Both<T> = [T; 2];
pub const OURS: usize = 0;
pub const THEIRS: usize = 1;

/// One of the two hubs with what the market trades there.
#[derive(Debug)]
pub struct Side {
    pub client: HubClient,
    pub app: Address,
    pub dataset: Address,
    pub pool: Address,
}

impl Side {
    pub fn sign<T: Order>(&self, wallet: &Wallet, order: T) -> Signed<T> {
        sign::order(wallet, order, self.client.domain())
    }
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this.
    Done { returned: Vec<u8> },
    /// It was refused.
    Refused(Refusal),
}

/// Why a call was refused, as far as both sides say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `Error(string)`.
    Words(String),
    /// Nothing, a failed assertion or an exhausted call: no words that a client could show.
    Wordless,
    /// An error with a name of its own: selector and arguments.
    Named(Vec<u8>),
}

/// An event, with the names of our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Vec<u8>,
}

impl Log {
    /// Whether it is the event with this signature.
    pub fn is(&self, signature: &str) -> bool {
        self.topics.first() == Some(&keccak256(signature))
    }

    /// Word `index` of what is not indexed.
    pub fn word(&self, index: usize) -> B256 {
        B256::from_slice(&self.data[32 * index..32 * (index + 1)])
    }
}

pub struct Lockstep {
    pub chain: TestChain,
    pub sides: Both<Side>,
    pub bystanders: Bystanders,
    /// Owns app and dataset, and may change both hubs.
    pub owner: Wallet,
    pub pool_owner: Wallet,
    /// Our name of each of their words that is another one here: addresses and what is hashed of them.
    names: HashMap<B256, B256>,
}

impl Lockstep {
    /// A new ledger with both hubs. `people` have tokens and most of them at the hub.
    pub async fn new(package: &Package, people: &[Wallet], pool_owner: &Wallet) -> Self {
        let chain = TestChain::new();
        let folder = tempfile::tempdir().unwrap();
        let person = Person::new(1, &chain, folder.path()).await;
        let owner = person.wallet.clone();
        let options = DeployOptions::local(owner.address(), SUPPLY);
        let deployment = deploy(&chain, &person.outbox, &options).await.unwrap_or_else(|error| panic!("{error:?}"));
        own(&chain, &owner, deployment.timelock, deployment.hub);
        let ledger: Arc<dyn LedgerPort> = Arc::new(chain.clone());
        let ours = HubClient::on(Arc::clone(&ledger), deployment.hub).await.unwrap();
        let names = [
            ours.view(ours.hub, IHub::nameCall {}).await.unwrap(),
            ours.view(ours.hub, IHub::symbolCall {}).await.unwrap(),
        ];
        let categories: Vec<_> = options
            .categories
            .iter()
            .map(|category| (category.name.clone(), category.description.clone(), category.work_clock_s))
            .collect();
        let hub = package.deploy(&chain, &owner, names.each_ref().map(String::as_str), &categories);
        let theirs = HubClient::on(ledger, hub).await.unwrap();
        let bystanders = package.bystanders(&chain, &owner);
        let side = |client| Side { client, app: Address::ZERO, dataset: Address::ZERO, pool: Address::ZERO };
        let sides = [side(ours), side(theirs)];
        let mut lockstep =
            Self { chain, sides, bystanders, owner, pool_owner: pool_owner.clone(), names: HashMap::new() };
        lockstep.name_contracts();
        lockstep.open_market(people);
        lockstep
    }

    /// Makes the same thing on both sides.
    pub fn both<T>(&self, make: impl Fn(&Side) -> T) -> Both<T> {
        [make(&self.sides[OURS]), make(&self.sides[THEIRS])]
    }

    /// Signs an order for each side, and remembers both hashes as one.
    pub fn order<T: Order>(&mut self, wallet: &Wallet, make: impl Fn(&Side) -> T) -> Both<Signed<T>> {
        let orders = self.both(|side| side.sign(wallet, make(side)));
        let hashes = self.hashes(&orders);
        self.pair(hashes.map(|hash| hash.0));
        orders
    }

    pub fn hashes<T: Order>(&self, orders: &Both<Signed<T>>) -> Both<OrderHash> {
        [OURS, THEIRS].map(|side| self.sides[side].client.order_hash(&orders[side].order))
    }

    /// From now on these two words are the same thing.
    pub fn pair(&mut self, words: Both<B256>) {
        if words[OURS] != words[THEIRS] {
            self.names.insert(words[THEIRS], words[OURS]);
        }
    }

    fn pair_addresses(&mut self, addresses: Both<Address>) {
        self.pair(addresses.map(|address| address.into_word()));
    }

    /// What both sides answer now, without anything being changed.
    pub fn simulate(&self, sender: Address, calls: &Both<CallData>) -> Both<Outcome> {
        [OURS, THEIRS].map(|side| {
            let call = without_limit(&calls[side]).call(sender);
            match self.chain.simulate(&call) {
                Ok(bytes) => Outcome::Done { returned: self.ours(side, &bytes) },
                Err(error) => Outcome::Refused(self.refusal(side, error)),
            }
        })
    }

    /// Runs the calls, which must succeed, as transactions of one block.
    pub fn execute(&self, sender: &Wallet, calls: &Both<CallData>) -> Both<Vec<Log>> {
        let calls = calls.each_ref().map(|call| without_limit(call).call(sender.address()));
        let receipts = self.chain.execute_block(sender, &calls);
        [OURS, THEIRS].map(|side| {
            assert!(receipts[side].success, "a call succeeds and its transaction fails");
            let log = |log: &alloy_primitives::Log| Log {
                address: Address::from_word(self.word(side, log.address.into_word())),
                topics: log.topics().iter().map(|topic| self.word(side, *topic)).collect(),
                data: self.ours(side, &log.data.data),
            };
            receipts[side].logs.iter().map(log).collect()
        })
    }

    /// A view of our side, decoded.
    pub fn view<C: SolCall>(&self, call: C) -> C::Return {
        let call = Call::view(self.sides[OURS].client.hub, call.abi_encode());
        C::abi_decode_returns(&self.chain.simulate(&call).expect("a view answers")).expect("a view's answer fits")
    }

    /// A call of both hubs.
    pub fn hubs<C: SolCall>(&self, make: impl Fn(usize, &Side) -> C) -> Both<CallData> {
        [OURS, THEIRS].map(|number| {
            let side = &self.sides[number];
            to(side.client.hub, &make(number, side))
        })
    }

    fn refusal(&self, side: usize, error: CallError) -> Refusal {
        match error {
            CallError::Reverted { data } => match data.first_chunk::<4>() {
                // 0x11 and the like: the compiler's own checks.
                None | Some(&[0x4e, 0x48, 0x7b, 0x71]) => Refusal::Wordless,
                Some(selector) if *selector == RevertString::SELECTOR => {
                    Refusal::Words(RevertString::abi_decode(&data).expect("Error(string) has a string").reason)
                }
                Some(selector) => Refusal::Named([selector.to_vec(), self.ours(side, &data[4..])].concat()),
            },
            CallError::Halted { .. } => Refusal::Wordless,
            other => panic!("the ledger cannot run it: {other}"),
        }
    }

    /// Words of that side in the names of ours.
    fn ours(&self, side: usize, bytes: &[u8]) -> Vec<u8> {
        let (words, rest) = bytes.as_chunks::<32>();
        let mut named: Vec<u8> = words.iter().flat_map(|word| self.word(side, B256::from(*word)).0).collect();
        named.extend(rest);
        named
    }

    fn word(&self, side: usize, word: B256) -> B256 {
        if side == THEIRS { self.names.get(&word).copied().unwrap_or(word) } else { word }
    }

    fn name_contracts(&mut self) {
        let of = |side: &Side| {
            let contracts = side.client.contracts();
            [
                contracts.hub,
                contracts.token,
                contracts.app_registry,
                contracts.dataset_registry,
                contracts.workerpool_registry,
            ]
        };
        let [ours, theirs] = self.both(of);
        for pair in ours.into_iter().zip(theirs) {
            self.pair_addresses([pair.0, pair.1]);
        }
        let separators = self.hubs(|_, _| IHub::eip712domain_separatorCall {});
        let words = separators.map(|call| {
            let answer = self.chain.simulate(&call.call(Address::ZERO)).expect("a hub has a domain");
            B256::from_slice(&answer)
        });
        self.pair(words);
    }

    /// Registers app, dataset and pool, and gives everybody money.
    fn open_market(&mut self, people: &[Wallet]) {
        let (owner, pool_owner) = (self.owner.clone(), self.pool_owner.clone());
        let app = new_app(owner.address(), "no-op");
        let dataset = new_dataset(owner.address(), "numbers");
        let apps = self.create(&owner, |side| side.client.create_app(&app));
        let datasets = self.create(&owner, |side| side.client.create_dataset(&dataset));
        let pools = self.create(&pool_owner, |side| side.client.create_workerpool(pool_owner.address(), "the pool"));
        for number in [OURS, THEIRS] {
            let side = &mut self.sides[number];
            (side.app, side.dataset, side.pool) = (apps[number], datasets[number], pools[number]);
        }
        for person in people {
            let calls = self.both(|side| side.client.transfer_tokens(person.address(), Amount::from_grist(1_000)));
            self.execute(&owner, &calls);
            let calls = self.both(|side| side.client.deposit(FIRST_DEPOSIT));
            self.execute(person, &calls);
        }
    }

    /// Both sides' address of an asset is one thing, whether it exists or not.
    pub fn foretell(&mut self, calls: &Both<CallData>) {
        let addresses = calls.each_ref().map(|call| {
            let answer = self.chain.simulate(&call.clone().call(Address::ZERO)).expect("an address can be foretold");
            Address::from_word(B256::from_slice(&answer))
        });
        self.pair_addresses(addresses);
    }

    /// Registers an asset, and remembers both of its addresses as one.
    pub fn create(&mut self, sender: &Wallet, make: impl Fn(&Side) -> CallData) -> Both<Address> {
        let calls = self.both(make);
        let addresses = calls.each_ref().map(|call| {
            let answer =
                self.chain.simulate(&without_limit(call).call(sender.address())).expect("it can be registered");
            Address::from_word(B256::from_slice(&answer))
        });
        self.pair_addresses(addresses);
        self.execute(sender, &calls);
        addresses
    }
}

/// A call of `contract`.
pub fn to(contract: Address, call: &impl SolCall) -> CallData {
    CallData { to: contract, data: call.abi_encode().into(), gas: None, preflight: false }
}

/// The limits that our client knows are for our hub.
fn without_limit(call: &CallData) -> CallData {
    CallData { gas: None, ..call.clone() }
}

pub fn new_app(owner: Address, name: &str) -> NewApp {
    NewApp {
        owner,
        name: name.to_owned(),
        kind: "DOCKER".to_owned(),
        multiaddr: Bytes::from_static(b"somewhere"),
        checksum: keccak256(name),
        mrenclave: Bytes::new(),
    }
}

pub fn new_dataset(owner: Address, name: &str) -> NewDataset {
    NewDataset { owner, name: name.to_owned(), multiaddr: Bytes::from_static(b"somewhere"), checksum: keccak256(name) }
}

/// Our hub belongs to a timelock and theirs to an account: gives ours to the account, the long way.
fn own(chain: &TestChain, owner: &Wallet, timelock: Address, hub: Address) {
    let data = IHub::transferOwnershipCall { newOwner: owner.address() }.abi_encode();
    let propose =
        Timelock::proposeCall { target: hub, data: data.into(), text: "an owner of flesh".to_owned(), codes: vec![] };
    let id = chain.simulate(&to(timelock, &propose).call(owner.address())).expect("the owner proposes");
    let run = |call: CallData| {
        let receipts = chain.execute_block(owner, &[call.clone().call(owner.address())]);
        assert!(receipts[0].success, "{:?}", chain.simulate(&call.call(owner.address())));
    };
    run(to(timelock, &propose));
    chain.set_clock(chain.now() + gristmill_hub::deploy::LOCAL_UPGRADE_DELAY_S + 1);
    run(execute_proposal(timelock, &id));
}

fn execute_proposal(timelock: Address, id: &[u8]) -> CallData {
    to(timelock, &Timelock::executeCall { id: U256::from_be_slice(id) })
}

/// For messages: what a refusal was.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Wordless => f.write_str("(no words)"),
            Self::Named(data) => match gristmill_hub::abi::error_name([data[0], data[1], data[2], data[3]]) {
                Some(name) => write!(f, "{name} {}", hex::encode(&data[4..])),
                None => f.write_str(&hex::encode(data)),
            },
        }
    }
}
