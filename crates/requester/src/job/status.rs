//! Say where a job stands.

use gristmill_result::items::ItemsIndex;
use gristmill_types::{Address, Amount, DealId, OrderHash, TaskId, TaskStatus, Trust};
use serde::Serialize;

use super::Part;

/// Where a job stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No task has a pool.
    Waiting,
    /// Tasks are under way.
    Running,
    /// All tasks are completed; the last step is under way.
    Reducing,
    /// Everything is completed.
    Completed,
    /// Something failed and was refunded; nothing is under way any more.
    Failed,
    /// It was cancelled before any task had a pool.
    Cancelled,
}

impl JobState {
    /// Nothing more will happen.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting for a pool",
            Self::Running => "running",
            Self::Reducing => "reducing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Where a task stands, in plain words.
pub fn task_word(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Unset => "waiting",
        TaskStatus::Active => "running",
        TaskStatus::Revealing => "checking",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "refunded",
    }
}

/// A task of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskView {
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Its index within the request.
    pub index: u64,
    /// Where it stands.
    pub status: TaskStatus,
    /// Workers that committed to a result.
    pub contributors: usize,
    /// Items it carries; 0 without items.
    pub items: u64,
    /// When it is refunded at the latest, in Unix seconds; 0 before it began.
    pub final_deadline: u64,
}

/// What a job is and where it stands.
#[derive(Clone, Debug, Serialize)]
pub struct JobStatus {
    /// Its id.
    pub job: OrderHash,
    /// Where it stands.
    pub state: JobState,
    /// Whose it is.
    pub requester: Address,
    /// The app.
    pub app: Address,
    /// The size class's id.
    pub category: u64,
    /// Trust asked for.
    pub trust: Trust,
    /// The same in words.
    pub confidence: String,
    /// [`crate::SIMULATED_ENCLAVE`] when it asks for an enclave, else `None`.
    pub enclave: Option<&'static str>,
    /// Tasks, without the reduce.
    pub tasks_total: u64,
    /// Of these, without a pool and still to be had.
    pub tasks_unmatched: u64,
    /// Of these, cancelled.
    pub tasks_cancelled: u64,
    /// Of these, completed.
    pub tasks_completed: u64,
    /// Of these, failed and refunded.
    pub tasks_failed: u64,
    /// Items, if any.
    pub items_total: Option<u64>,
    /// Items of completed tasks.
    pub items_done: Option<u64>,
    /// What completed tasks cost, the reduce included.
    pub paid: Amount,
    /// What was refunded.
    pub refunded: Amount,
    /// What is locked for tasks under way.
    pub locked: Amount,
    /// When its first deal was made, in Unix seconds.
    pub started: Option<u64>,
    /// The tasks that have a pool, in order.
    pub tasks: Vec<TaskView>,
    /// The last step.
    pub reduce: Option<ReduceStatus>,
}

/// Where the last step stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReduceStatus {
    /// Hash of its request.
    pub request: OrderHash,
    /// Whether it can never begin: it was cancelled, or a task that it needs failed.
    pub never: bool,
    /// Its task, once it has a pool.
    pub task: Option<TaskView>,
}

/// The status of a job from what the ledger last said of its parts.
pub(super) fn of(map: &Part, reduction: Option<&Part>, items: Option<&ItemsIndex>) -> JobStatus {
    let order = map.signed.as_ref().map(|signed| &signed.order);
    let deal = map.deals.first();
    let tasks = map.views(items);
    let reduce = reduction.map(|reduce| ReduceStatus {
        request: reduce.hash,
        never: reduce.deals.is_empty() && (reduce.unmatched == 0 || is_lost(map)),
        task: reduce.views(None).into_iter().next(),
    });
    let count = |status| tasks.iter().filter(|task| task.status == status).count() as u64;
    let done = |task: &&TaskView| task.status == TaskStatus::Completed;
    let trust =
        Trust::new(order.map(|order| order.trust.saturating_to()).or(deal.map(|deal| deal.trust.value())).unwrap_or(1));
    let parts = || std::iter::once(map).chain(reduction);
    let money = |wanted: &dyn Fn(TaskStatus) -> bool| parts().map(|part| part.price_of(wanted)).sum::<Amount>();
    JobStatus {
        job: map.hash,
        state: state_of(map, reduce.as_ref()),
        requester: order.map(|order| order.requester).or(deal.map(|deal| deal.requester)).unwrap_or_default(),
        app: order.map(|order| order.app).or(deal.map(|deal| deal.app.address)).unwrap_or_default(),
        category: order
            .map(|order| order.category.saturating_to())
            .or(deal.map(|deal| deal.category))
            .unwrap_or_default(),
        trust,
        confidence: trust.to_string(),
        enclave: deal.and_then(crate::detail::enclave_of),
        tasks_total: map.volume,
        tasks_unmatched: map.unmatched,
        tasks_cancelled: map.cancelled(),
        tasks_completed: count(TaskStatus::Completed),
        tasks_failed: count(TaskStatus::Failed),
        items_total: items.map(|items| items.count),
        items_done: items.map(|_| tasks.iter().filter(done).map(|task| task.items).sum()),
        paid: money(&|status| status == TaskStatus::Completed),
        refunded: money(&|status| status == TaskStatus::Failed),
        locked: money(&|status| !status.is_final()),
        started: deal.map(|deal| deal.start_time),
        tasks,
        reduce,
    }
}

/// A reduce of it could never begin: a task failed, or some will never have a pool.
fn is_lost(map: &Part) -> bool {
    map.cancelled() > 0 || map.tasks.iter().any(|task| task.status == TaskStatus::Failed)
}

fn state_of(map: &Part, reduce: Option<&ReduceStatus>) -> JobState {
    if map.deals.is_empty() {
        return if map.unmatched == 0 { JobState::Cancelled } else { JobState::Waiting };
    }
    if map.unmatched > 0 || map.tasks.iter().any(|task| !task.status.is_final()) {
        return JobState::Running;
    }
    let map_failed = map.tasks.iter().any(|task| task.status == TaskStatus::Failed);
    match reduce.map(|reduce| (reduce.never, reduce.task.as_ref().map(|task| task.status))) {
        Some((_, Some(TaskStatus::Completed))) | None => match map_failed {
            true => JobState::Failed,
            false => JobState::Completed,
        },
        Some((_, Some(TaskStatus::Failed)) | (true, None)) => JobState::Failed,
        Some((_, Some(_)) | (false, None)) => JobState::Reducing,
    }
}
