//! The orders that were broadcast on the ledger and can still be used.
//!
//! Anybody may broadcast anything. An order is shown only if its asset is registered, its owner signed it, and some of its
//! volume is left, each as the hub itself says now. Per asset only the newest [`ORDERS_PER_ASSET_MAX`] are remembered.

use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use gristmill_types::{AppOrder, DatasetOrder, OrderHash, RequestOrder, Signed, Trust, WorkerpoolOrder};

use crate::abi::{AppRegistry, IAsset, IHub};
use crate::client::HubClient;
use crate::error::HubError;
use crate::event::{Event, decode};
use crate::ledger::LogQuery;
use crate::sign::Order;

/// Orders remembered for one asset, or of one requester.
pub const ORDERS_PER_ASSET_MAX: usize = 64;
/// Orders of one kind remembered.
pub const ORDERS_MAX: usize = 16_384;
/// Blocks read at once.
const CHUNK_BLOCKS: u64 = 10_000;

/// An order that can be matched now.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOrder<T> {
    /// Its hash.
    pub hash: OrderHash,
    /// The order with its signature.
    pub signed: Signed<T>,
    /// Who signed it: the owner of the asset, or the requester.
    pub owner: Address,
    /// Tasks left of its volume.
    pub remaining: u64,
    /// The block of its newest broadcast.
    pub block: u64,
}

/// The broadcast orders of a hub.
#[derive(Debug)]
pub struct OrderBook {
    client: HubClient,
    next_block: u64,
    /// Blocks asked for at once: fewer after a server refused so many.
    chunk_blocks: u64,
    apps: Shelf<AppOrder>,
    datasets: Shelf<DatasetOrder>,
    workerpools: Shelf<WorkerpoolOrder>,
    requests: Shelf<RequestOrder>,
}

impl OrderBook {
    /// A book that will read the ledger from the hub's first block.
    pub fn new(client: HubClient) -> Self {
        Self {
            next_block: client.first_block(),
            client,
            chunk_blocks: CHUNK_BLOCKS,
            apps: Shelf::default(),
            datasets: Shelf::default(),
            workerpools: Shelf::default(),
            requests: Shelf::default(),
        }
    }

    /// Reads what was broadcast since the last time, and again the blocks that did not count then: they may be others now.
    ///
    /// # Errors
    /// When the ledger cannot be asked; what was read so far is kept.
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            let confirmations = self.client.ledger().finality().await?.confirmations;
            let head = self.client.ledger().head().await?;
            let settled = self.next_block.saturating_sub(confirmations);
            self.next_block = settled.max(self.client.first_block()).min(self.next_block);
            while self.next_block <= head {
                let to = head.min(self.next_block + self.chunk_blocks - 1);
                let query = LogQuery {
                    from: self.next_block,
                    to,
                    addresses: vec![self.client.hub],
                    events: vec![
                        IHub::BroadcastAppOrder::SIGNATURE_HASH,
                        IHub::BroadcastDatasetOrder::SIGNATURE_HASH,
                        IHub::BroadcastWorkerpoolOrder::SIGNATURE_HASH,
                        IHub::BroadcastRequestOrder::SIGNATURE_HASH,
                    ],
                };
                let logs = match self.client.ledger().logs(query).await {
                    Err(error) if self.chunk_blocks > 1 && error.is_range_refused() => {
                        self.chunk_blocks /= 2;
                        continue;
                    }
                    logs => logs?,
                };
                for log in logs {
                    self.take(log.block, decode(&log)?);
                }
                self.next_block = to + 1;
            }
            Ok(())
        })
    }

    fn take(&mut self, block: u64, event: Event) {
        let client = &self.client;
        match event {
            Event::AppOrder(order) => self.apps.put(client, block, *order),
            Event::DatasetOrder(order) => self.datasets.put(client, block, *order),
            Event::WorkerpoolOrder(order) => self.workerpools.put(client, block, *order),
            Event::RequestOrder(order) => self.requests.put(client, block, *order),
            _ => {}
        }
    }

    /// The pools' orders of a category whose trust is at least `min_trust`, the cheapest first.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn open_workerpool_orders(
        &self,
        category: u64,
        min_trust: Trust,
    ) -> BoxFuture<'_, Result<Vec<OpenOrder<WorkerpoolOrder>>, HubError>> {
        Box::pin(async move {
            let fits = |order: &WorkerpoolOrder| {
                order.category == U256::from(category) && order.trust >= U256::from(min_trust.value())
            };
            let mut open = self.workerpools.open(&self.client, fits).await?;
            open.sort_by_key(|open| (open.signed.order.workerpoolprice, open.block, open.hash));
            Ok(open)
        })
    }

    /// All orders of one pool.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn workerpool_orders_of(
        &self,
        pool: Address,
    ) -> BoxFuture<'_, Result<Vec<OpenOrder<WorkerpoolOrder>>, HubError>> {
        Box::pin(async move { self.workerpools.open(&self.client, |order| order.workerpool == pool).await })
    }

    /// All orders of these pools.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn workerpool_orders_of_all<'a>(
        &'a self,
        pools: &'a BTreeSet<Address>,
    ) -> BoxFuture<'a, Result<Vec<OpenOrder<WorkerpoolOrder>>, HubError>> {
        Box::pin(async move { self.workerpools.open(&self.client, |order| pools.contains(&order.workerpool)).await })
    }

    /// The cheapest order of an app that anybody may use; else the cheapest one with restrictions.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn app_order_of(&self, app: Address) -> BoxFuture<'_, Result<Option<OpenOrder<AppOrder>>, HubError>> {
        Box::pin(async move {
            let open = self.apps.open(&self.client, |order| order.app == app).await?;
            let restricted = |order: &AppOrder| {
                [order.datasetrestrict, order.workerpoolrestrict, order.requesterrestrict] != [Address::ZERO; 3]
            };
            Ok(open
                .into_iter()
                .min_by_key(|open| (restricted(&open.signed.order), open.signed.order.appprice, open.block, open.hash)))
        })
    }

    /// The cheapest order of a dataset that anybody may use; else the cheapest one with restrictions.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn dataset_order_of(
        &self,
        dataset: Address,
    ) -> BoxFuture<'_, Result<Option<OpenOrder<DatasetOrder>>, HubError>> {
        Box::pin(async move {
            let open = self.datasets.open(&self.client, |order| order.dataset == dataset).await?;
            let restricted = |order: &DatasetOrder| {
                [order.apprestrict, order.workerpoolrestrict, order.requesterrestrict] != [Address::ZERO; 3]
            };
            Ok(open.into_iter().min_by_key(|open| {
                (restricted(&open.signed.order), open.signed.order.datasetprice, open.block, open.hash)
            }))
        })
    }

    /// All broadcast requests, the oldest first.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn request_orders(&self) -> BoxFuture<'_, Result<Vec<OpenOrder<RequestOrder>>, HubError>> {
        Box::pin(async move {
            let mut open = self.requests.open(&self.client, |_| true).await?;
            open.sort_by_key(|open| (open.block, open.hash));
            Ok(open)
        })
    }

    /// A broadcast request by its hash, if it can still be matched.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn request_order(&self, hash: OrderHash) -> BoxFuture<'_, Result<Option<OpenOrder<RequestOrder>>, HubError>> {
        Box::pin(async move {
            let open = self.requests.check(&self.client, self.requests.orders.get_key_value(&hash)).await?;
            Ok(open.into_iter().next())
        })
    }
}

impl OrderBook {
    /// The volume of a broadcast request, whether or not anything of it is left; `None` when none of this hash is remembered.
    pub fn broadcast_volume(&self, request: OrderHash) -> Option<U256> {
        self.requests.orders.get(&request).map(|entry| entry.signed.order.volume)
    }
}

/// What the book has to know of an order.
trait Broadcast: Order {
    /// The asset it offers; `None` for a request.
    fn asset(&self) -> Option<Address>;
    /// The requester of a request.
    fn requester(&self) -> Address {
        Address::ZERO
    }
    fn volume(&self) -> U256;
    /// The register the asset must be in.
    fn registry(client: &HubClient) -> Address;
}

impl Broadcast for AppOrder {
    fn asset(&self) -> Option<Address> {
        Some(self.app)
    }
    fn volume(&self) -> U256 {
        self.volume
    }
    fn registry(client: &HubClient) -> Address {
        client.app_registry
    }
}

impl Broadcast for DatasetOrder {
    fn asset(&self) -> Option<Address> {
        Some(self.dataset)
    }
    fn volume(&self) -> U256 {
        self.volume
    }
    fn registry(client: &HubClient) -> Address {
        client.dataset_registry
    }
}

impl Broadcast for WorkerpoolOrder {
    fn asset(&self) -> Option<Address> {
        Some(self.workerpool)
    }
    fn volume(&self) -> U256 {
        self.volume
    }
    fn registry(client: &HubClient) -> Address {
        client.workerpool_registry
    }
}

impl Broadcast for RequestOrder {
    fn asset(&self) -> Option<Address> {
        None
    }
    fn requester(&self) -> Address {
        self.requester
    }
    fn volume(&self) -> U256 {
        self.volume
    }
    fn registry(_: &HubClient) -> Address {
        Address::ZERO
    }
}

#[derive(Debug)]
struct Entry<T> {
    signed: Signed<T>,
    block: u64,
}

/// The orders of one kind.
#[derive(Debug)]
struct Shelf<T> {
    orders: BTreeMap<OrderHash, Entry<T>>,
    by_asset: BTreeMap<Address, Vec<OrderHash>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { orders: BTreeMap::new(), by_asset: BTreeMap::new() }
    }
}

impl<T: Broadcast> Shelf<T> {
    /// Remembers an order; the oldest of its asset makes room.
    fn put(&mut self, client: &HubClient, block: u64, signed: Signed<T>) {
        let hash = client.order_hash(&signed.order);
        let asset = signed.order.asset().unwrap_or_else(|| signed.order.requester());
        if self.orders.insert(hash, Entry { signed, block }).is_some() {
            return;
        }
        let of_asset = self.by_asset.entry(asset).or_default();
        of_asset.push(hash);
        if of_asset.len() > ORDERS_PER_ASSET_MAX {
            self.orders.remove(&of_asset.remove(0));
        }
        if self.orders.len() > ORDERS_MAX
            && let Some(oldest) = self.orders.iter().min_by_key(|(_, entry)| entry.block).map(|(hash, _)| *hash)
        {
            self.orders.remove(&oldest);
            self.by_asset.values_mut().for_each(|hashes| hashes.retain(|hash| *hash != oldest));
            self.by_asset.retain(|_, hashes| !hashes.is_empty());
        }
    }

    async fn open(&self, client: &HubClient, fits: impl Fn(&T) -> bool) -> Result<Vec<OpenOrder<T>>, HubError> {
        self.check(client, self.orders.iter().filter(|(_, entry)| fits(&entry.signed.order))).await
    }

    /// Those of `orders` that the hub would take now.
    async fn check<'a>(
        &'a self,
        client: &HubClient,
        orders: impl IntoIterator<Item = (&'a OrderHash, &'a Entry<T>)>,
    ) -> Result<Vec<OpenOrder<T>>, HubError> {
        let orders: Vec<(OrderHash, &Entry<T>)> = orders.into_iter().map(|(hash, entry)| (*hash, entry)).collect();
        let consumed =
            orders.iter().map(|(hash, _)| (client.hub, IHub::viewConsumedCall { orderHash: hash.0 })).collect();
        let consumed = client.views(consumed).await?;
        let mut left = Vec::new();
        for ((hash, entry), consumed) in orders.into_iter().zip(consumed) {
            let remaining = entry.signed.order.volume().saturating_sub(consumed?);
            if !remaining.is_zero() {
                left.push((hash, entry, remaining.saturating_to::<u64>()));
            }
        }
        let owners = owners(client, left.iter().map(|(_, entry, _)| &entry.signed.order)).await?;
        let signed = verify(
            client,
            left.iter()
                .zip(&owners)
                .map(|((hash, entry, _), owner)| (owner.unwrap_or_default(), *hash, entry.signed.sign.clone())),
        )
        .await?;
        let open = left.into_iter().zip(owners).zip(signed).filter_map(|(((hash, entry, remaining), owner), valid)| {
            let owner = owner.filter(|_| valid)?;
            Some(OpenOrder { hash, signed: entry.signed.clone(), owner, remaining, block: entry.block })
        });
        Ok(open.collect())
    }
}

/// The owner of each order's asset; `None` when it is not registered.
async fn owners<'a, T: Broadcast>(
    client: &HubClient,
    orders: impl Iterator<Item = &'a T> + Clone,
) -> Result<Vec<Option<Address>>, HubError> {
    let registry = T::registry(client);
    let assets: Vec<Address> = orders.clone().filter_map(Broadcast::asset).collect();
    let registered =
        client.views(assets.iter().map(|&entry| (registry, AppRegistry::isRegisteredCall { entry })).collect()).await?;
    let owners = client.views(assets.iter().map(|&asset| (asset, IAsset::ownerCall {})).collect()).await?;
    let mut of_asset = registered.into_iter().zip(owners);
    orders
        .map(|order| {
            if order.asset().is_none() {
                return Ok(Some(order.requester()));
            }
            let Some((registered, owner)) = of_asset.next() else { return Ok(None) };
            Ok(if settle(registered)?.unwrap_or(false) { settle(owner)? } else { None })
        })
        .collect()
}

/// Whether each signature is the signer's, as the hub sees it: by key, by contract, or signed on the ledger.
async fn verify(
    client: &HubClient,
    signatures: impl Iterator<Item = (Address, OrderHash, alloy_primitives::Bytes)>,
) -> Result<Vec<bool>, HubError> {
    let calls = signatures
        .map(|(identity, hash, signature)| {
            (client.hub, IHub::verifyPresignatureOrSignatureCall { identity, hash: B256::from(hash), signature })
        })
        .collect();
    let answers = client.views(calls).await?;
    answers.into_iter().map(|answer| Ok(settle(answer)?.unwrap_or(false))).collect()
}

/// A refusal, or an answer of another shape, is the asset's or the signer's own fault: "no".
fn settle<T>(answer: Result<T, HubError>) -> Result<Option<T>, HubError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.revert().is_some() || matches!(error, HubError::Malformed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
