//! Steps of orders and deals.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use gristmill_hub::abi::{IHub, IexecLibOrders_v5 as wire};
use gristmill_hub::{CallData, OrderOperation, sign};
use gristmill_types::{AppOrder, DatasetOrder, DealId, RequestOrder, Signed, WorkerpoolOrder};
use gristmill_wallet::Wallet;

use super::differences::Difference;
use super::history::{History, Rule, Step};
use super::lockstep::{Both, OURS, Side, THEIRS};

const GRIST: u64 = 1_000_000_000;
/// An order's tag: an enclave.
const TEE: B256 = B256::with_last_byte(1);
/// And the bit of one of its frameworks.
const SCONE: B256 = B256::with_last_byte(2);
/// More than 96 bits.
const HUGE: U256 = U256::from_limbs([0, 1 << 40, 0, 0]);
/// Orders of a kind that are kept to be used again.
const KEPT_ORDERS_MAX: usize = 12;

/// The orders that were made, the newest last.
#[derive(Default)]
pub struct Orders {
    pub apps: Vec<Both<Signed<AppOrder>>>,
    pub datasets: Vec<Both<Signed<DatasetOrder>>>,
    pub pools: Vec<Both<Signed<WorkerpoolOrder>>>,
    pub requests: Vec<Both<Signed<RequestOrder>>>,
}

/// Four orders to match.
struct Four {
    app: Both<Signed<AppOrder>>,
    dataset: Both<Signed<DatasetOrder>>,
    pool: Both<Signed<WorkerpoolOrder>>,
    request: Both<Signed<RequestOrder>>,
}

impl Four {
    fn calls(&self, sides: &Both<Side>, sponsored: bool) -> Both<CallData> {
        [OURS, THEIRS].map(|side| {
            let (app, dataset) = (&self.app[side], &self.dataset[side]);
            let (pool, request) = (&self.pool[side], &self.request[side]);
            let client = &sides[side].client;
            match sponsored {
                true => client.sponsor_match_orders(app, dataset, pool, request),
                false => client.match_orders(app, dataset, pool, request),
            }
        })
    }
}

/// Whom an order is for: everybody, one address, or the members of a group.
#[derive(Clone, Copy)]
enum Limit {
    Nobody(Address),
    Right,
    None,
}

impl History {
    fn salt(&mut self) -> B256 {
        self.salt += 1;
        B256::from(U256::from(self.salt))
    }

    fn limit(&mut self) -> Limit {
        match self.random.below(100) {
            0..2 => Limit::Nobody(Address::repeat_byte(9)),
            2..4 => Limit::Nobody(self.lockstep.bystanders.group),
            4..8 => Limit::Right,
            _ => Limit::None,
        }
    }

    /// Mostly who must sign.
    fn signer(&mut self, right: Wallet) -> Wallet {
        if self.random.chance(3) { self.anybody() } else { right }
    }

    /// Mostly the signature that the order has, sometimes none.
    fn spoil<T>(&mut self, mut orders: Both<Signed<T>>) -> Both<Signed<T>> {
        if self.random.chance(3) {
            let sign = if self.random.chance(50) { Bytes::new() } else { Bytes::from(vec![7; 65]) };
            orders.iter_mut().for_each(|order| order.sign = sign.clone());
        }
        orders
    }

    fn app_order(&mut self, enclave: bool) -> Both<Signed<AppOrder>> {
        let signer = self.lockstep.owner.clone();
        let signer = self.signer(signer);
        let (salt, limits, people) = (self.salt(), [self.limit(), self.limit()], self.requester().address());
        let price = self.random.below(3) * GRIST / 2;
        let volume = if self.random.chance(20) { self.random.below(3) } else { 1_000 };
        let tag = if enclave { TEE } else { B256::ZERO };
        let orders = self.lockstep.order(&signer, |side| AppOrder {
            app: side.app,
            appprice: U256::from(price),
            volume: U256::from(volume),
            tag,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: limited(limits[0], side.pool),
            requesterrestrict: limited(limits[1], people),
            salt,
        });
        keep(&mut self.orders.apps, &orders);
        self.spoil(orders)
    }

    fn dataset_order(&mut self) -> Both<Signed<DatasetOrder>> {
        let signer = self.lockstep.owner.clone();
        let signer = self.signer(signer);
        let (salt, limits, people) = (self.salt(), [self.limit(), self.limit()], self.requester().address());
        let price = self.random.below(3) * GRIST / 4;
        let volume = if self.random.chance(20) { self.random.below(3) } else { 1_000 };
        // A framework's bit is one that no pool here offers.
        let tag = match self.random.below(20) {
            0 | 1 => TEE,
            2 | 3 => TEE | SCONE,
            _ => B256::ZERO,
        };
        let orders = self.lockstep.order(&signer, |side| DatasetOrder {
            dataset: side.dataset,
            datasetprice: U256::from(price),
            volume: U256::from(volume),
            tag,
            apprestrict: limited(limits[0], side.app),
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: limited(limits[1], people),
            salt,
        });
        keep(&mut self.orders.datasets, &orders);
        self.spoil(orders)
    }

    fn pool_order(&mut self, enclave: bool) -> Both<Signed<WorkerpoolOrder>> {
        let signer = self.pool_owner();
        let signer = self.signer(signer);
        let (salt, limits, people) = (self.salt(), [self.limit(), self.limit()], self.requester().address());
        let price = match self.random.below(100) {
            0..5 => U256::ZERO,
            5..7 => HUGE,
            7..18 => U256::from(self.random.below(GRIST)),
            _ => U256::from((1 + self.random.below(6)) * 2 * GRIST + self.random.below(7)),
        };
        let trust = match self.random.below(100) {
            0..2 => HUGE,
            _ => U256::from(self.random.pick(&[0, 1, 2, 4, 4, 9])),
        };
        let category = if self.random.chance(2) { 99 } else { self.random.below(2) };
        let volume = if self.random.chance(20) { self.random.below(3) } else { 20 };
        let tag = if enclave || self.random.chance(20) { TEE } else { B256::ZERO };
        let orders = self.lockstep.order(&signer, |side| WorkerpoolOrder {
            workerpool: side.pool,
            workerpoolprice: price,
            volume: U256::from(volume),
            tag,
            category: U256::from(category),
            trust,
            apprestrict: limited(limits[0], side.app),
            datasetrestrict: Address::ZERO,
            requesterrestrict: limited(limits[1], people),
            salt,
        });
        keep(&mut self.orders.pools, &orders);
        self.spoil(orders)
    }

    fn request_order(&mut self, pool: &WorkerpoolOrder, dataset: bool, enclave: bool) -> Both<Signed<RequestOrder>> {
        let requester = self.requester();
        let signer = self.signer(requester.clone());
        // A contract may ask, and signs as it likes.
        let contract = self.random.chance(4);
        let (salt, limit) = (self.salt(), self.limit());
        let callback = match self.random.below(100) {
            0..20 => self.lockstep.bystanders.callback,
            20..24 => self.lockstep.bystanders.waster,
            24..27 => Address::repeat_byte(3),
            _ => Address::ZERO,
        };
        let dear = if self.random.chance(3) { U256::ZERO } else { U256::MAX };
        let more = U256::from(u8::from(self.random.chance(3)));
        let trust = if self.random.chance(80) { pool.trust } else { pool.trust >> 1 };
        let volume = self.random.below(4);
        let from = if contract { self.lockstep.bystanders.signer } else { requester.address() };
        let (category, tag) = (pool.category, if enclave { TEE } else { B256::ZERO });
        let mut orders = self.lockstep.order(&signer, |side| RequestOrder {
            app: side.app,
            appmaxprice: dear,
            dataset: if dataset { side.dataset } else { Address::ZERO },
            datasetmaxprice: U256::MAX,
            workerpool: limited(limit, side.pool),
            workerpoolmaxprice: U256::MAX,
            requester: from,
            volume: U256::from(volume),
            tag,
            category: category + more,
            trust,
            beneficiary: requester.address(),
            callback,
            params: "{\"iexec_args\":\"1\"}".to_owned(),
            salt,
        });
        if contract {
            orders.iter_mut().for_each(|order| order.sign = keccak256("valid-signature").to_vec().into());
        }
        keep(&mut self.orders.requests, &orders);
        self.spoil(orders)
    }

    fn four(&mut self) -> Four {
        let (enclave, with_dataset) = (self.random.chance(10), self.random.chance(25));
        // Rarely an older order, used up or not, that fits or does not.
        let old = |history: &mut Self| history.random.chance(25);
        let app = match self.orders.apps.is_empty() {
            false if old(self) => self.random.pick(&self.orders.apps.clone()),
            _ => self.app_order(enclave),
        };
        let dataset = match (with_dataset, self.orders.datasets.is_empty()) {
            (false, _) => [sign::no_dataset(), sign::no_dataset()],
            (true, false) if old(self) => self.random.pick(&self.orders.datasets.clone()),
            (true, _) => self.dataset_order(),
        };
        let pool = match self.orders.pools.is_empty() {
            false if old(self) => self.random.pick(&self.orders.pools.clone()),
            _ => self.pool_order(enclave),
        };
        let request = match self.orders.requests.is_empty() {
            false if self.random.chance(12) => self.random.pick(&self.orders.requests.clone()),
            _ => self.request_order(&pool[OURS].order, with_dataset, enclave),
        };
        Four { app, dataset, pool, request }
    }

    pub fn matching(&mut self) -> Step {
        let four = self.four();
        let sponsored = self.random.chance(25);
        let calls = four.calls(&self.lockstep.sides, sponsored);
        let door = if sponsored { "sponsorMatchOrders" } else { "matchOrders" };
        let mut step = Step::new(door, self.anybody(), calls);
        step.deal = Some(self.next_deal(&four.request));
        step.may.extend(terms(&four));
        step
    }

    /// A deal without a price, and with a trust that no crowd reaches.
    pub fn crowd_deal(&mut self) -> Step {
        let (owner, pool_owner, requester) = (self.lockstep.owner.clone(), self.pool_owner(), self.requester());
        let (salt, zero, one) = (self.salt(), Address::ZERO, U256::ONE);
        let trust = one << 60;
        let app = self.lockstep.order(&owner, |side| AppOrder {
            app: side.app,
            appprice: U256::ZERO,
            volume: one,
            tag: B256::ZERO,
            datasetrestrict: zero,
            workerpoolrestrict: zero,
            requesterrestrict: zero,
            salt,
        });
        let pool = self.lockstep.order(&pool_owner, |side| WorkerpoolOrder {
            workerpool: side.pool,
            workerpoolprice: U256::ZERO,
            volume: one,
            tag: B256::ZERO,
            category: U256::ZERO,
            trust,
            apprestrict: zero,
            datasetrestrict: zero,
            requesterrestrict: zero,
            salt,
        });
        let request = self.lockstep.order(&requester, |side| RequestOrder {
            app: side.app,
            appmaxprice: U256::ZERO,
            dataset: zero,
            datasetmaxprice: U256::ZERO,
            workerpool: zero,
            workerpoolmaxprice: U256::ZERO,
            requester: requester.address(),
            volume: one,
            tag: B256::ZERO,
            category: U256::ZERO,
            trust,
            beneficiary: requester.address(),
            callback: zero,
            params: String::new(),
            salt,
        });
        let four = Four { app, dataset: [sign::no_dataset(), sign::no_dataset()], pool, request };
        let mut step = Step::new("matchOrders", requester, four.calls(&self.lockstep.sides, false));
        step.deal = Some(self.next_deal(&four.request));
        step
    }

    /// The id of the deal that the request would make now.
    fn next_deal(&mut self, request: &Both<Signed<RequestOrder>>) -> Both<DealId> {
        let hashes = self.lockstep.hashes(request);
        let consumed = self.lockstep.view(IHub::viewConsumedCall { orderHash: hashes[OURS].0 });
        let deal = hashes.map(|hash| DealId::derive(hash, consumed.to()));
        self.lockstep.pair(deal.map(|deal| deal.0));
        deal
    }

    /// A deposit through the token, with a call behind it: a match, or nonsense.
    pub fn deposit_and_match(&mut self) -> Step {
        let four = self.four();
        let requester = self.requester();
        let sender = if self.random.chance(80) { requester } else { self.anybody() };
        let mut inner = four.calls(&self.lockstep.sides, false);
        if self.random.chance(20) {
            inner.iter_mut().for_each(|call| call.data = Bytes::from_static(b"no function at all"));
        }
        let amount = gristmill_types::Amount::from_ngrist(u128::from(self.random.below(20) * GRIST));
        let calls =
            [OURS, THEIRS].map(|side| self.lockstep.sides[side].client.deposit_and_match(amount, inner[side].clone()));
        self.next_deal(&four.request);
        let mut step = Step::new("approveAndCall, matching", sender, calls);
        step.through_token = true;
        step.may.push(Difference::Data);
        step.rules.push(Rule::Match);
        step
    }

    /// What the four orders would make, without making it.
    pub fn volume(&mut self) -> Step {
        let four = self.four();
        let calls = self.lockstep.hubs(|side, _| IHub::computeDealVolumeCall {
            apporder: (&four.app[side]).into(),
            datasetorder: (&four.dataset[side]).into(),
            workerpoolorder: (&four.pool[side]).into(),
            requestorder: (&four.request[side]).into(),
        });
        Step::new("computeDealVolume", self.anybody(), calls)
    }

    /// Whether a dataset order fits a deal.
    pub fn compatibility(&mut self) -> Step {
        let order = if self.orders.datasets.is_empty() || self.random.chance(30) {
            self.dataset_order()
        } else {
            self.random.pick(&self.orders.datasets.clone())
        };
        let deal = match self.deals.last() {
            Some(deal) if self.random.chance(90) => deal.id,
            _ => [DealId(keccak256("no deal")); 2],
        };
        let calls = self.lockstep.hubs(|side, _| IHub::assertDatasetDealCompatibilityCall {
            datasetorder: (&order[side]).into(),
            dealid: deal[side].0,
        });
        let mut step = Step::new("assertDatasetDealCompatibility", self.anybody(), calls);
        if order[OURS].order.tag & SCONE != B256::ZERO {
            step.may.push(Difference::Enclave);
        }
        step
    }

    /// Signs or closes an order on the ledger: its owner, or somebody with its owner's signature, or somebody.
    pub fn manage(&mut self) -> Option<Step> {
        let operation = if self.random.chance(60) { OrderOperation::Sign } else { OrderOperation::Close };
        let (owner, pool_owner) = (self.lockstep.owner.clone(), self.pool_owner());
        let (door, right, calls) = match self.random.below(4) {
            0 => {
                let order = self.recent(|orders| &orders.apps)?;
                ("manageAppOrder", owner, self.clients(|side, client| client.manage_app_order(&order[side], operation)))
            }
            1 => {
                let order = self.recent(|orders| &orders.datasets)?;
                (
                    "manageDatasetOrder",
                    owner,
                    self.clients(|side, client| client.manage_dataset_order(&order[side], operation)),
                )
            }
            2 => {
                let order = self.recent(|orders| &orders.pools)?;
                let calls = self.clients(|side, client| client.manage_workerpool_order(&order[side], operation));
                ("manageWorkerpoolOrder", pool_owner, calls)
            }
            _ => {
                let order = self.recent(|orders| &orders.requests)?;
                if self.random.chance(30) {
                    return Some(self.manage_signed(&order, operation));
                }
                let calls = self.clients(|side, client| client.manage_request_order(&order[side], operation));
                ("manageRequestOrder", self.requester(), calls)
            }
        };
        let sender = if self.random.chance(85) { right } else { self.anybody() };
        Some(Step::new(door, sender, calls))
    }

    /// The requester signs the operation and anybody sends it.
    fn manage_signed(&mut self, order: &Both<Signed<RequestOrder>>, operation: OrderOperation) -> Step {
        let requester = self.requester();
        let signer = self.signer(requester);
        let calls = self.lockstep.hubs(|number, side| {
            let mut signed = wire::RequestOrderOperation {
                order: (&order[number]).into(),
                operation: operation as u8,
                sign: Bytes::new(),
            };
            signed.sign = signer.sign_hash(operation_hash(side, &order[number].order, operation)).into();
            IHub::manageRequestOrderCall { operation: signed }
        });
        Step::new("manageRequestOrder, signed", self.anybody(), calls)
    }

    /// Writes an order into the log. Nobody checks its signature there, and here it is the same for both hubs, so that the
    /// events can be compared.
    pub fn broadcast(&mut self) -> Option<Step> {
        let (door, calls) = match self.random.below(4) {
            0 => {
                let order = unsigned(self.recent(|orders| &orders.apps)?);
                ("broadcastAppOrder", self.clients(|side, client| client.broadcast_app_order(&order[side])))
            }
            1 => {
                let order = unsigned(self.recent(|orders| &orders.datasets)?);
                ("broadcastDatasetOrder", self.clients(|side, client| client.broadcast_dataset_order(&order[side])))
            }
            2 => {
                let order = unsigned(self.recent(|orders| &orders.pools)?);
                (
                    "broadcastWorkerpoolOrder",
                    self.clients(|side, client| client.broadcast_workerpool_order(&order[side])),
                )
            }
            _ => {
                let order = unsigned(self.recent(|orders| &orders.requests)?);
                ("broadcastRequestOrder", self.clients(|side, client| client.broadcast_request_order(&order[side])))
            }
        };
        Some(Step::new(door, self.anybody(), calls))
    }

    fn recent<T: Clone>(&mut self, list: impl Fn(&Orders) -> &Vec<T>) -> Option<T> {
        let list = list(&self.orders).clone();
        (!list.is_empty()).then(|| self.random.pick(&list))
    }

    fn clients(&self, make: impl Fn(usize, &gristmill_hub::HubClient) -> CallData) -> Both<CallData> {
        [OURS, THEIRS].map(|side| make(side, &self.lockstep.sides[side].client))
    }
}

fn unsigned<T>(mut orders: Both<Signed<T>>) -> Both<Signed<T>> {
    orders.iter_mut().for_each(|order| order.sign = Bytes::from(vec![7; 65]));
    orders
}

/// Which differences the terms of these orders may lead to.
fn terms(four: &Four) -> Vec<Difference> {
    let (dataset, pool) = (&four.dataset[OURS].order, &four.pool[OURS].order);
    let mut may = Vec::new();
    if pool.workerpoolprice >= HUGE {
        may.push(Difference::Terms);
    }
    if four.request[OURS].order.trust > U256::from(u128::MAX >> 32) {
        may.push(Difference::Trust);
    }
    if dataset.tag & SCONE != B256::ZERO {
        may.push(Difference::Enclave);
    }
    may
}

fn limited(limit: Limit, right: Address) -> Address {
    match limit {
        Limit::Nobody(address) => address,
        Limit::Right => right,
        Limit::None => Address::ZERO,
    }
}

fn keep<T: Clone>(list: &mut Vec<T>, order: &T) {
    if list.len() == KEPT_ORDERS_MAX {
        list.remove(0);
    }
    list.push(order.clone());
}

/// The hash that permits an operation on a request: the order with the operation behind it, as one typed struct.
fn operation_hash(side: &Side, order: &RequestOrder, operation: OrderOperation) -> B256 {
    use alloy_sol_types::SolStruct;
    let kind =
        format!("RequestOrderOperation(RequestOrder order,uint256 operation){}", RequestOrder::eip712_root_type());
    let words = [keccak256(kind), order.eip712_hash_struct(), B256::from(U256::from(operation as u8))];
    let separator = side.client.domain().separator();
    keccak256([&[0x19, 0x01], separator.as_slice(), keccak256(words.concat()).as_slice()].concat())
}
