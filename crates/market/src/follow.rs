//! Keep the book as the ledger is: orders that are broadcast, used, closed or orphaned, and results that are accepted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use gristmill_hub::{
    Batch, Event, FollowError, Follower, FollowerConfig, GivenPosition, HubClient, HubError, HubEvent,
};
use gristmill_types::results::results_pack;
use gristmill_types::{ContentId, OrderHash, TaskId};

use crate::book::{Entry, News, PutError, Source, Status, now_ms};
use crate::error::MarketError;
use crate::order::{Kind, Order};
use crate::service::Shared;
use crate::verdict::{Objection, judge};

/// Orders asked about in one request.
const JUDGE_MAX: usize = 100;
/// How often every open order is looked at again: an asset that changes hands is no event of the hub.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Blocks without news that may lie between two commits of the position. After a restart they are read again.
const IDLE_BLOCKS_MAX: u64 = 64;
/// Pause after the ledger could not be asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the hub until the ledger turns out to be another one, or the disk fails.
pub(crate) async fn follow(shared: Arc<Shared>) -> Result<(), MarketError> {
    let position = shared.book().position()?;
    let mut follower = Follower::open(&shared.hub, GivenPosition(position), FollowerConfig::default()).await?;
    let mut committed = follower.position().next_block;
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            batch = follower.next() => batch,
            _ = sweep.tick() => {
                if let Err(error) = look_again(&shared).await {
                    patient(error)?;
                }
                continue;
            }
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if is_transient(&error) => {
                tracing::warn!(%error, "the market cannot read the ledger, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match take(&shared, &batch).await {
            Ok(news) => {
                let due = batch.position.next_block.saturating_sub(committed) >= IDLE_BLOCKS_MAX;
                if !news.is_empty() || due || !batch.events.is_empty() {
                    shared.book().apply(news, Some(batch.position))?;
                    committed = batch.position.next_block;
                }
                follower.commit(&batch)?;
            }
            // The same events come again.
            Err(error) => {
                patient(error)?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_transient(error: &FollowError) -> bool {
    matches!(error, FollowError::Hub(error) if error.is_transient())
}

/// A ledger that cannot be asked just now is waited for.
fn patient(error: MarketError) -> Result<(), MarketError> {
    match error {
        MarketError::Hub(error) if error.is_transient() => {
            tracing::warn!(%error, "the market cannot read the ledger, trying again");
            Ok(())
        }
        error => Err(error),
    }
}

/// What a range of blocks means for the book. Broadcast orders are listed at once: to list one twice changes nothing.
async fn take(shared: &Shared, batch: &Batch) -> Result<News, MarketError> {
    let (mut broadcast, mut touched, mut closed) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut finalised: Vec<(TaskId, ContentId)> = Vec::new();
    for event in &batch.events {
        match &event.event {
            Event::AppOrder(signed) => broadcast.push((Order::App(signed.order.clone()), signed.sign.clone())),
            Event::DatasetOrder(signed) => broadcast.push((Order::Dataset(signed.order.clone()), signed.sign.clone())),
            Event::WorkerpoolOrder(signed) => {
                broadcast.push((Order::Workerpool(signed.order.clone()), signed.sign.clone()));
            }
            Event::RequestOrder(signed) => broadcast.push((Order::Request(signed.order.clone()), signed.sign.clone())),
            Event::Hub(HubEvent::OrderClosed { order }) => drop(closed.insert(*order)),
            Event::Hub(HubEvent::OrdersMatched { app, dataset, workerpool, request, .. }) => {
                touched.extend([*app, *dataset, *workerpool, *request]);
            }
            Event::Hub(HubEvent::TaskFinalize { task, results }) => {
                finalised.extend(results_pack(results).map(|pack| (*task, pack)));
            }
            _ => {}
        }
    }
    for chunk in broadcast.chunks(JUDGE_MAX) {
        list_broadcast(shared, chunk).await?;
    }
    let mut news = News { results: accepted(&shared.hub, &finalised).await?, ..News::default() };
    touched.retain(|hash| shared.book().get(*hash).is_some());
    for (hash, consumed) in consumed(&shared.hub, touched).await? {
        let Some(entry) = shared.book().get(hash).cloned() else { continue };
        let remaining = entry.order.volume().saturating_sub(consumed);
        let status = match entry.status {
            Status::Open if remaining.is_zero() => Status::Filled,
            status => status,
        };
        news.orders.push((hash, remaining, status));
    }
    news.orders.extend(closed.into_iter().map(|hash| (hash, alloy_primitives::U256::ZERO, Status::Canceled)));
    Ok(news)
}

async fn consumed(
    hub: &HubClient,
    orders: BTreeSet<OrderHash>,
) -> Result<Vec<(OrderHash, alloy_primitives::U256)>, HubError> {
    let mut found = Vec::with_capacity(orders.len());
    for hash in orders {
        found.push((hash, hub.view_consumed(hash).await?));
    }
    Ok(found)
}

/// The digests of tasks that were just completed: what their packs must hash to.
async fn accepted(
    hub: &HubClient,
    finalised: &[(TaskId, ContentId)],
) -> Result<Vec<(ContentId, [u8; 32], TaskId)>, HubError> {
    let mut found = Vec::with_capacity(finalised.len());
    for chunk in finalised.chunks(JUDGE_MAX) {
        let ids: Vec<TaskId> = chunk.iter().map(|(task, _)| *task).collect();
        let tasks = hub.view_tasks(&ids).await?;
        found.extend(chunk.iter().zip(tasks).map(|((task, pack), record)| (*pack, record.digest.0, *task)));
    }
    Ok(found)
}

/// Lists what was broadcast and can be matched. Anybody may broadcast anything: what the hub would refuse is left out.
async fn list_broadcast(shared: &Shared, orders: &[(Order, Bytes)]) -> Result<(), MarketError> {
    let hashed: Vec<(OrderHash, &Order, &Bytes)> =
        orders.iter().map(|(order, sign)| (order.hash(&shared.hub), order, sign)).collect();
    let verdicts = judge(&shared.hub, shared.simulated_enclave, &hashed).await?;
    for ((hash, order, sign), verdict) in hashed.into_iter().zip(verdicts) {
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(objection) => {
                tracing::debug!(%hash, %objection, "a broadcast order is not listed");
                continue;
            }
        };
        let entry = Entry {
            order: order.clone(),
            sign: sign.clone(),
            signer: verdict.signer,
            remaining: verdict.remaining,
            status: Status::Open,
            source: Source::Broadcast,
            published_ms: now_ms(),
        };
        match shared.book().put(hash, entry) {
            Ok(()) | Err(PutError::Known) => {}
            Err(PutError::Db(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(%hash, %error, "a broadcast order is not listed"),
        }
    }
    Ok(())
}

/// Asks the hub about every open order anew.
async fn look_again(shared: &Shared) -> Result<(), MarketError> {
    let open: Vec<(OrderHash, Entry)> =
        shared.book().open_orders().map(|(hash, entry)| (hash, entry.clone())).collect();
    for chunk in open.chunks(JUDGE_MAX) {
        let hashed: Vec<_> = chunk.iter().map(|(hash, entry)| (*hash, &entry.order, &entry.sign)).collect();
        let verdicts = judge(&shared.hub, shared.simulated_enclave, &hashed).await?;
        let orders = chunk.iter().zip(verdicts).map(|((hash, entry), verdict)| match verdict {
            Ok(verdict) => (*hash, verdict.remaining, Status::Open),
            Err(Objection::Consumed) => (*hash, alloy_primitives::U256::ZERO, Status::Filled),
            Err(_) => (*hash, entry.remaining, Status::Dead),
        });
        let news = News { orders: orders.collect(), results: Vec::new() };
        shared.book().apply(news, None)?;
    }
    Ok(())
}

/// Orders of this kind that can be matched, the best first.
pub(crate) fn listed(shared: &Shared, kind: Kind, shows: impl Fn(&Entry) -> bool) -> Vec<(OrderHash, Entry)> {
    let book = shared.book();
    let mut found: Vec<(OrderHash, &Entry)> =
        book.open_orders().filter(|(_, entry)| entry.order.kind() == kind && shows(entry)).collect();
    found.sort_by_key(|(hash, entry)| (entry.order.rank(), entry.published_ms, *hash));
    found.into_iter().map(|(hash, entry)| (hash, entry.clone())).collect()
}
