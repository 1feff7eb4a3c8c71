//! Follow a job by what the ledger says of it.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_hub::{Deal, OpenOrder, Task};
use gristmill_result::items::ItemsIndex;
use gristmill_types::{Amount, DealId, JobParams, OrderHash, RequestOrder, Signed, TaskId, TaskStatus};
use tokio::time::Instant;

use crate::error::RequesterError;
use crate::find::Network;
use crate::index::{JobIndex, RequestRecord};

mod status;

pub use status::{JobState, JobStatus, ReduceStatus, TaskView, task_word};

/// Bytes of an index of items.
const ITEMS_INDEX_BYTES_MAX: u64 = 64 << 20;
/// Deals that one request may have become.
const DEALS_MAX: usize = 1_000;
/// How long a ledger that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of its time somebody who waits for a job spends one part in so many with asking: a job of many thousand tasks is not asked
/// about as often as one of ten.
const LOOK_SHARE: u32 = 5;
/// It is asked about so often all the same.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Tasks asked for in one request.
const VIEWS_AT_ONCE: usize = 500;

/// One request of a job, followed.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub hash: OrderHash,
    pub signed: Option<Signed<RequestOrder>>,
    pub deals: Vec<Deal>,
    /// What the ledger last said of the tasks of `deals`, in their order.
    pub tasks: Vec<Task>,
    /// Of the volume, what can still be matched.
    pub unmatched: u64,
    pub volume: u64,
}

/// A job, re-derived from the ledger.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) network: Network,
    pub(crate) map: Part,
    pub(crate) reduce: Option<Part>,
    pub(crate) params: JobParams,
    pub(crate) items: Option<ItemsIndex>,
}

impl Job {
    /// The job whose id begins with `text`.
    ///
    /// # Errors
    /// As [`JobIndex::resolve`]; the ledger or the store cannot be asked.
    pub fn find<'a>(network: &'a Network, text: &'a str) -> BoxFuture<'a, Result<Self, RequesterError>> {
        Box::pin(async move {
            let index = JobIndex::read(&network.hub).await?;
            let record = index.resolve(text)?;
            Self::of(network, record, index.reduce_of(record)).await
        })
    }

    /// The job of this id.
    ///
    /// # Errors
    /// As [`Job::find`].
    pub fn open(network: &Network, id: OrderHash) -> BoxFuture<'_, Result<Self, RequesterError>> {
        Box::pin(async move { Self::find(network, &id.to_string()).await })
    }

    /// A job that an index knows.
    ///
    /// # Errors
    /// The ledger or the store cannot be asked; the items are malformed.
    pub fn of<'a>(
        network: &'a Network,
        record: &'a RequestRecord,
        reduce: Option<&'a RequestRecord>,
    ) -> BoxFuture<'a, Result<Self, RequesterError>> {
        Box::pin(async move {
            let mut map = Part::new(record);
            map.refresh(network).await?;
            let params = match (&record.signed, map.deals.first()) {
                (Some(signed), _) => JobParams::parse(&signed.order.params),
                (None, Some(deal)) => JobParams::parse(&deal.params),
                (None, None) => Ok(JobParams::default()),
            };
            // A request that no worker can run, made with another client, is followed to its refund like any other; its pool
            // says what is wrong with it.
            let params = params.unwrap_or_else(|error| {
                tracing::debug!(%error, "the job's params are not usable");
                JobParams::default()
            });
            let items = match params.gristmill_items {
                None => None,
                // What cannot be had of the items does not keep anybody from following the tasks.
                Some(id) => match network.store.get_bytes(id, ITEMS_INDEX_BYTES_MAX).await {
                    Ok(bytes) => Some(ItemsIndex::parse(&bytes)?),
                    Err(error) => {
                        tracing::warn!(%error, "the index of the job's items cannot be read");
                        None
                    }
                },
            };
            let mut reduce = reduce.map(Part::new);
            if let Some(reduce) = &mut reduce {
                reduce.refresh(network).await?;
            }
            Ok(Self { network: network.clone(), map, reduce, params, items })
        })
    }

    /// Its id.
    pub fn id(&self) -> OrderHash {
        self.map.hash
    }

    /// What its tasks get.
    pub fn params(&self) -> &JobParams {
        &self.params
    }

    /// The rest of it that has no pool, as [`crate::Requester::match_rest`] takes it; `None` when there is none, or when the
    /// request was never broadcast.
    pub fn unmatched(&self) -> Option<OpenOrder<RequestOrder>> {
        let signed = self.map.signed.clone().filter(|_| self.map.unmatched > 0)?;
        let owner = signed.order.requester;
        Some(OpenOrder { hash: self.map.hash, signed, owner, remaining: self.map.unmatched, block: 0 })
    }

    /// Its deals, those of the reduce included.
    pub fn deals(&self) -> Vec<DealId> {
        self.map.deals.iter().chain(self.reduce.iter().flat_map(|reduce| &reduce.deals)).map(|deal| deal.id).collect()
    }

    /// Asks the ledger again.
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<JobStatus, RequesterError>> {
        Box::pin(async move {
            self.map.refresh(&self.network).await?;
            if let Some(reduce) = &mut self.reduce {
                reduce.refresh(&self.network).await?;
            }
            Ok(self.status())
        })
    }

    /// Waits until nothing more will happen; `show` is told every state that differs from the one before. Cancel safe.
    ///
    /// # Errors
    /// The ledger could not be reached for a minute: a network that is restarted meanwhile is waited for.
    pub async fn wait(
        &mut self,
        poll: Duration,
        mut show: impl FnMut(&JobStatus),
    ) -> Result<JobStatus, RequesterError> {
        let mut last = None;
        let mut unreachable_since = None;
        loop {
            let began = Instant::now();
            let status = match self.refresh().await {
                Err(RequesterError::Hub(error)) if error.is_transient() => {
                    let since = *unreachable_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return Err(RequesterError::Hub(error));
                    }
                    tracing::debug!(%error, "the ledger does not answer");
                    tokio::time::sleep(poll).await;
                    continue;
                }
                status => status?,
            };
            unreachable_since = None;
            let face = (status.state, status.tasks.clone(), status.reduce.clone(), status.tasks_unmatched);
            if last.as_ref() != Some(&face) {
                show(&status);
                last = Some(face);
            }
            if status.state.is_done() {
                return Ok(status);
            }
            let pause = (began.elapsed() * (LOOK_SHARE - 1)).min(LOOK_MAX).max(poll);
            tokio::time::sleep(pause).await;
        }
    }

    /// Where it stood when the ledger was last asked.
    pub fn status(&self) -> JobStatus {
        status::of(&self.map, self.reduce.as_ref(), self.items.as_ref())
    }
}

impl Part {
    fn new(record: &RequestRecord) -> Self {
        let volume = record.signed.as_ref().map_or(record.matched(), |signed| signed.order.volume.saturating_to());
        Self {
            hash: record.hash,
            signed: record.signed.clone(),
            deals: Vec::new(),
            tasks: Vec::new(),
            unmatched: volume,
            volume,
        }
    }

    fn matched(&self) -> u64 {
        self.deals.iter().map(|deal| deal.bot_size).fold(0, u64::saturating_add)
    }

    /// Closed before they had a pool.
    fn cancelled(&self) -> u64 {
        self.volume.saturating_sub(self.matched()).saturating_sub(self.unmatched)
    }

    async fn refresh(&mut self, network: &Network) -> Result<(), RequesterError> {
        let hub = &network.hub;
        // What is left is read first: a deal made in between is then found below, never counted as cancelled.
        let consumed: u64 = hub.view_consumed(self.hash).await?.saturating_to();
        while self.deals.len() < DEALS_MAX && self.matched() < self.volume {
            let Some(deal) = hub.view_deal(DealId::derive(self.hash, self.matched())).await? else { break };
            self.deals.push(deal);
        }
        self.unmatched = self.volume.saturating_sub(consumed.max(self.matched()));
        let ids: Vec<TaskId> = self.deals.iter().flat_map(|deal| deal.tasks()).collect();
        let known: BTreeMap<TaskId, &Task> =
            self.tasks.iter().filter(|task| task.status.is_final()).map(|task| (task.id, task)).collect();
        let open: Vec<TaskId> = ids.iter().filter(|id| !known.contains_key(id)).copied().collect();
        let mut fresh = BTreeMap::new();
        for some in open.chunks(VIEWS_AT_ONCE) {
            fresh.extend(hub.view_tasks(some).await?.into_iter().map(|task| (task.id, task)));
        }
        let tasks = ids.iter().filter_map(|id| fresh.remove(id).or_else(|| known.get(id).map(|task| (*task).clone())));
        self.tasks = tasks.collect();
        Ok(())
    }

    /// The tasks with the deal and the index that each has by its place.
    pub fn placed(&self) -> impl Iterator<Item = (&Deal, u64, &Task)> {
        let places = self.deals.iter().flat_map(|deal| deal.indices().map(move |index| (deal, index)));
        places.zip(&self.tasks).map(|((deal, index), task)| (deal, index, task))
    }

    fn views(&self, items: Option<&ItemsIndex>) -> Vec<TaskView> {
        let items_of = |index: u64| {
            items.and_then(|items| items.tasks.get(usize::try_from(index).ok()?)).map_or(0, |task| task.count)
        };
        self.placed()
            .map(|(deal, index, task)| TaskView {
                task: task.id,
                deal: deal.id,
                index,
                status: task.status,
                contributors: task.contributors.len(),
                items: items_of(index),
                final_deadline: task.final_deadline,
            })
            .collect()
    }

    fn price_of(&self, wanted: &dyn Fn(TaskStatus) -> bool) -> Amount {
        let prices = self.placed().filter(|(_, _, task)| wanted(task.status)).filter_map(|(deal, _, _)| deal.price());
        prices.fold(Amount::ZERO, |sum, price| sum.checked_add(price).unwrap_or(Amount::MAX))
    }
}

#[cfg(test)]
mod tests;
