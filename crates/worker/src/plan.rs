//! Learn from the ledger what a task is: app, arguments, inputs, items.
//!
//! The pool's lease only names the task. Everything that the result depends on is read from the ledger or from the
//! store by content id, so that a pool cannot make its workers compute something else than what was bought.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_hub::{Deal, HubClient, HubError};
use gristmill_owner::Refusal;
use gristmill_result::Digest;
use gristmill_result::items::{ItemsError, ItemsIndex, TaskItems};
use gristmill_types::params::{ParamsError, split_args};
use gristmill_types::{
    AppCode, BagPlace, ContentId, DealId, InputFile, JobParams, Needs, OrderHash, Reach, ResourceLimits, TaskId,
    TaskStatus,
};

mod terms;

use crate::fetch::{FetchError, Fetcher};

pub use terms::{KnownTerms, Terms};

/// Deals that one request order may have been matched into, as far as a reduce follows them.
const DEALS_PER_ORDER_MAX: u64 = 1_000;
/// Tasks whose results one reduce may take.
pub const REDUCE_INPUTS_MAX: u64 = 100_000;
/// Bytes of an index of items.
const ITEMS_INDEX_BYTES_MAX: u64 = 64 << 20;

/// All that the result of a task depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The task.
    pub task: TaskId,
    /// What it is told of its place in the bag, from which its seed and its items follow too: as the ledger has it, or as the request
    /// says that it is to be run.
    pub place: BagPlace,
    /// The id of its deal.
    pub deal_id: DealId,
    /// Its deal.
    pub deal: Deal,
    /// What its app is made of.
    pub code: AppCode,
    /// Which hosts must agree.
    pub reach: Reach,
    /// Arguments after `argv[0]`.
    pub args: Vec<String>,
    /// Files in `IEXEC_IN`.
    pub inputs: Vec<InputFile>,
    /// The dataset's file in `IEXEC_IN`.
    pub dataset: Option<InputFile>,
    /// The task's items.
    pub items: Option<TaskItems>,
    /// Results of other tasks in `IEXEC_IN`.
    pub results: Vec<ResultInput>,
    /// What the category grants.
    pub limits: ResourceLimits,
    /// T of the category, in seconds.
    pub work_clock_s: u64,
}

/// A result that is the input of a reduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultInput {
    /// Whose result.
    pub task: TaskId,
    /// Its index within the request order: its folder, when it has no items.
    pub index: u64,
    /// What the ledger settled.
    pub digest: Digest,
    /// Where its pack should be; checked against the digest.
    pub pack: ContentId,
}

/// Why the machine's owner does not take a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Such a task is not wanted here.
    #[error(transparent)]
    Unwanted(#[from] Refusal),
    /// It needs what is not lent here.
    #[error("the machine's owner does not lend {0}")]
    NotLent(Needs),
    /// The only slot that is left is kept for the owner's own work.
    #[error("the slot that is left is for the owner's own work")]
    Reserved,
}

/// Asks whether the machine's owner takes a task of this deal.
pub type Admit<'a> = &'a (dyn Fn(&Deal) -> Result<(), Rejection> + Send + Sync);

/// A task that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The ledger could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Something of the store is missing.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The params are malformed: every replica sees the same.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The items are malformed: every replica sees the same.
    #[error(transparent)]
    Items(#[from] ItemsError),
    /// The machine's owner does not take it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The lease contradicts the ledger.
    #[error("{0}")]
    Contradiction(String),
}

/// Reads a task's plan. Nothing is fetched before `admit` has agreed.
pub async fn read(
    (hub, known): (&HubClient, &KnownTerms),
    fetcher: &Fetcher,
    task: TaskId,
    deal_id: DealId,
    index: u64,
    admit: Admit<'_>,
) -> Result<Plan, PlanError> {
    let refuse = |text: String| PlanError::Contradiction(text);
    if deal_id.task(index) != task {
        return Err(refuse(format!("task {task} is not number {index} of deal {deal_id}")));
    }
    let terms = known.read(hub, deal_id, admit).await?;
    let Terms { deal, code, dataset, work_clock_s } = Arc::unwrap_or_clone(terms);
    let params = JobParams::parse(&deal.params)?;
    let place = params.place_of(index, deal.bot_first, deal.bot_size)?;
    let items = match params.gristmill_items {
        Some(id) => Some(items_of(fetcher, id, place.index).await?),
        None => None,
    };
    let results = match params.gristmill_after {
        Some(order) => results_of(hub, order).await?,
        None => Vec::new(),
    };
    Ok(Plan {
        task,
        place,
        deal_id,
        code,
        reach: params.gristmill_engine,
        args: split_args(&params.iexec_args)?,
        inputs: params.iexec_input_files,
        dataset,
        items,
        results,
        limits: ResourceLimits::of_work_clock(work_clock_s),
        work_clock_s,
        deal,
    })
}

async fn items_of(fetcher: &Fetcher, id: ContentId, index: u64) -> Result<TaskItems, PlanError> {
    let items = match fetcher.kept_index(id) {
        Some(items) => items,
        None => {
            let items = Arc::new(ItemsIndex::parse(&fetcher.bytes(id, ITEMS_INDEX_BYTES_MAX).await?)?);
            fetcher.keep_index(id, &items);
            items
        }
    };
    let at = usize::try_from(index).ok().and_then(|index| items.tasks.get(index).cloned());
    at.ok_or_else(|| ItemsError::Index(format!("it has no task {index}")).into())
}

/// The results of every task of a request order, in their order. All must be completed.
async fn results_of(hub: &HubClient, order: OrderHash) -> Result<Vec<ResultInput>, PlanError> {
    let refuse = |text: String| PlanError::Contradiction(text);
    let mut results = BTreeMap::new();
    let mut consumed = 0u64;
    for _ in 0..DEALS_PER_ORDER_MAX {
        let Some(deal) = hub.view_deal(DealId::derive(order, consumed)).await? else { break };
        consumed = consumed.saturating_add(deal.bot_size);
        if consumed > REDUCE_INPUTS_MAX {
            return Err(refuse(format!("request {order} has more than {REDUCE_INPUTS_MAX} tasks")));
        }
        let tasks: Vec<TaskId> = deal.tasks().collect();
        for (task, index) in hub.view_tasks(&tasks).await?.into_iter().zip(deal.indices()) {
            if task.status != TaskStatus::Completed {
                return Err(refuse(format!("task {} of request {order} is not completed", task.id)));
            }
            let pack =
                task.results_pack().ok_or_else(|| refuse(format!("task {} names no result of ours", task.id)))?;
            results.insert(index, ResultInput { task: task.id, index, digest: Digest(task.digest), pack });
        }
    }
    if results.is_empty() {
        return Err(refuse(format!("request {order}, whose results are the input, was never matched")));
    }
    Ok(results.into_values().collect())
}
