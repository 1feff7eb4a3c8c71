//! Match a reduce when, and only when, every task of the map it names is completed.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};
use gristmill_hub::{HubClient, OpenOrder, OrderBook, Outbox, sign};
use gristmill_types::{DealId, JobParams, OrderHash, RequestOrder, TaskId, TaskStatus, Trust};

use crate::error::PoolError;

/// Reduces that wait at a time; past it the oldest is forgotten until the pool restarts.
pub const WAITING_MAX: usize = 4_096;
const DEALS_PER_ORDER_MAX: u64 = 1_000;

/// Why a reduce waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The map's order is not on the ledger, or not all of it is matched.
    MapNotMatched,
    /// So many of the map's tasks are not completed.
    Tasks(u64),
    /// A task of the map failed: it will never be matched.
    MapFailed,
    /// No order of ours or of the app fits it.
    NoOrder(String),
}

/// The reduces that this pool watches.
#[derive(Debug)]
pub struct Reduces {
    book: OrderBook,
    workerpool: alloy_primitives::Address,
    waits: BTreeMap<OrderHash, Wait>,
}

impl Reduces {
    /// Watches the ledger from its first block.
    pub fn new(hub: HubClient, workerpool: alloy_primitives::Address) -> Self {
        Self { book: OrderBook::new(hub), workerpool, waits: BTreeMap::new() }
    }

    /// Why each reduce waits, by its request's hash, as of the last look.
    pub fn waits(&self) -> BTreeMap<B256, Wait> {
        self.waits.iter().map(|(request, wait)| (request.0, wait.clone())).collect()
    }

    /// Looks at all broadcast reduces and matches those whose time has come. Returns how many still wait for something
    /// that may come.
    pub async fn look(&mut self, hub: &HubClient, outbox: &Outbox) -> Result<usize, PoolError> {
        self.book.refresh().await?;
        self.waits.clear();
        for open in self.book.request_orders().await?.into_iter().rev().take(WAITING_MAX) {
            let request = &open.signed.order;
            let ours = request.workerpool == self.workerpool || request.workerpool.is_zero();
            let after = JobParams::parse(&request.params).ok().and_then(|params| params.gristmill_after);
            let (true, Some(after)) = (ours, after) else { continue };
            let wait = match self.readiness(hub, after).await? {
                None => self.match_now(hub, outbox, &open).await?,
                wait => wait,
            };
            if let Some(wait) = wait {
                self.waits.insert(open.hash, wait);
            }
        }
        Ok(self.waits.values().filter(|wait| **wait != Wait::MapFailed).count())
    }

    /// `None` when every task of the order `after` is completed.
    async fn readiness(&self, hub: &HubClient, after: OrderHash) -> Result<Option<Wait>, PoolError> {
        let Some(volume) = self.book.broadcast_volume(after) else { return Ok(Some(Wait::MapNotMatched)) };
        let (mut matched, mut missing) = (0u64, 0u64);
        for _ in 0..DEALS_PER_ORDER_MAX {
            let Some(deal) = hub.view_deal(DealId::derive(after, matched)).await? else { break };
            matched = matched.saturating_add(deal.bot_size);
            let tasks: Vec<TaskId> = deal.tasks().collect();
            for task in hub.view_tasks(&tasks).await? {
                match task.status {
                    TaskStatus::Completed => {}
                    TaskStatus::Failed => return Ok(Some(Wait::MapFailed)),
                    _ => missing += 1,
                }
            }
        }
        Ok(match (U256::from(matched) == volume, missing) {
            (false, _) => Some(Wait::MapNotMatched),
            (true, 0) => None,
            (true, missing) => Some(Wait::Tasks(missing)),
        })
    }

    async fn match_now(
        &self,
        hub: &HubClient,
        outbox: &Outbox,
        open: &OpenOrder<RequestOrder>,
    ) -> Result<Option<Wait>, PoolError> {
        let request = &open.signed.order;
        let Some(app) = self.book.app_order_of(request.app).await? else {
            return Ok(Some(Wait::NoOrder("the app's order is not on the ledger".to_owned())));
        };
        let category = u64::try_from(request.category).unwrap_or(u64::MAX);
        let trust = Trust::new(u64::try_from(request.trust).unwrap_or(u64::MAX));
        let offers = self.book.open_workerpool_orders(category, trust).await?;
        let fits = |price: U256| price <= request.workerpoolmaxprice;
        let Some(offer) = offers
            .into_iter()
            .find(|offer| offer.signed.order.workerpool == self.workerpool && fits(offer.signed.order.workerpoolprice))
        else {
            return Ok(Some(Wait::NoOrder("no order of this pool fits its category, trust and price".to_owned())));
        };
        let call = hub.match_orders(&app.signed, &sign::no_dataset(), &offer.signed, &open.signed);
        // Another pool may be quicker; then ours is refused, and the next look no longer finds the order.
        match outbox.execute(call.intent(format!("match:{}", open.hash))).await {
            Ok(_) => Ok(None),
            Err(error) if error.revert().is_some() => Ok(Some(Wait::NoOrder(error.to_string()))),
            Err(error) => Err(error.into()),
        }
    }
}
