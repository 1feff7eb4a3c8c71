//! Show a task, a deal or an app's words in full.

use alloy_primitives::{B256, Bytes};
use futures_util::future::BoxFuture;
use gristmill_hub::Deal;
use gristmill_result::{Commitment, Digest};
use gristmill_types::{Address, Amount, ContributionStatus, DealId, TaskId, TaskStatus};
use serde::Serialize;

use crate::error::RequesterError;
use crate::fetch::{pack_bytes_max, unpack};
use crate::find::Network;
use crate::pool::PoolLink;

/// What is said of a deal that asks for an enclave. No hub of ours takes one that is real: nothing here could prove it.
pub const SIMULATED_ENCLAVE: &str = "simulated enclave";

pub(crate) fn enclave_of(deal: &Deal) -> Option<&'static str> {
    deal.asks_for_enclave().then_some(SIMULATED_ENCLAVE)
}

/// A task with everybody who worked at it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskDetail {
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Its index within its request.
    pub index: u64,
    /// Where it stands.
    pub status: TaskStatus,
    /// What was settled; `None` before.
    pub digest: Option<B256>,
    /// Where its result should be; `None` before.
    pub location: Option<String>,
    /// What its app answered the deal's callback, as the ledger has it; `None` before, and without a callback.
    pub answer: Option<Bytes>,
    /// [`SIMULATED_ENCLAVE`] when its deal asks for an enclave, else `None`.
    pub enclave: Option<&'static str>,
    /// Contributions are taken before this time, in Unix seconds; 0 before it began.
    pub contribution_deadline: u64,
    /// It is refunded from this time on, in Unix seconds; 0 before it began.
    pub final_deadline: u64,
    /// Who worked at it.
    pub contributions: Vec<ContributionDetail>,
}

/// One worker's part in a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContributionDetail {
    /// Who.
    pub worker: Address,
    /// Where the contribution stands.
    pub status: ContributionStatus,
    /// What the worker committed to.
    pub result_hash: B256,
    /// Whether that is the accepted result.
    pub agrees: bool,
    /// The worker's reputation now.
    pub score: u64,
}

/// A deal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DealDetail {
    /// The deal.
    pub deal: DealId,
    /// The app.
    pub app: Address,
    /// Its price a task.
    pub app_price: Amount,
    /// The dataset; zero without one.
    pub dataset: Address,
    /// Its price a task.
    pub dataset_price: Amount,
    /// The pool.
    pub workerpool: Address,
    /// Its price a task.
    pub workerpool_price: Amount,
    /// Who asked.
    pub requester: Address,
    /// Who pays.
    pub sponsor: Address,
    /// The contract that gets the answer; `None` without one.
    pub callback: Option<Address>,
    /// Size class's id.
    pub category: u64,
    /// [`SIMULATED_ENCLAVE`] when it asks for an enclave, else `None`.
    pub enclave: Option<&'static str>,
    /// Trust.
    pub trust: u64,
    /// The same in words.
    pub confidence: String,
    /// What a worker stakes on a task.
    pub worker_stake: Amount,
    /// What the app gets.
    pub params: String,
    /// When it was made, in Unix seconds.
    pub start_time: u64,
    /// Index of its first task within its request.
    pub first: u64,
    /// Its tasks.
    pub tasks: Vec<DealTask>,
}

/// A task of a deal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DealTask {
    /// The task.
    pub task: TaskId,
    /// Its index within its request.
    pub index: u64,
    /// Where it stands.
    pub status: TaskStatus,
}

/// What an app wrote to stderr at one worker: nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskLogs {
    /// The task.
    pub task: TaskId,
    /// The worker; `None` for the log in the accepted result.
    pub worker: Option<Address>,
    /// The text; what is no UTF-8 is replaced.
    pub text: String,
    /// Whether only a part is there.
    pub truncated: bool,
}

impl Network {
    /// A task with everybody who worked at it.
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn task_detail(&self, id: TaskId) -> BoxFuture<'_, Result<TaskDetail, RequesterError>> {
        Box::pin(async move {
            let task = self.hub.view_task(id).await?;
            let votes: Vec<_> = task.contributors.iter().map(|worker| (id, *worker)).collect();
            let votes = self.hub.view_contributions(&votes).await?;
            let scores = self.hub.view_scores(&task.contributors).await?;
            let deal = self.hub.view_deal(task.deal).await?;
            let contributions =
                task.contributors.iter().zip(votes).zip(scores).map(|((worker, vote), score)| ContributionDetail {
                    worker: *worker,
                    status: vote.status,
                    result_hash: vote.result_hash,
                    agrees: !task.consensus.is_zero() && vote.result_hash == task.consensus,
                    score,
                });
            Ok(TaskDetail {
                task: id,
                deal: task.deal,
                index: task.index,
                status: task.status,
                digest: (!task.digest.is_zero()).then_some(task.digest),
                location: task.results_pack().map(|content| self.store.blob_url(content)),
                answer: Commitment::decode(&task.callback_data).map(|commitment| commitment.answer.into()),
                enclave: deal.as_ref().and_then(enclave_of),
                contribution_deadline: task.contribution_deadline,
                final_deadline: task.final_deadline,
                contributions: contributions.collect(),
            })
        })
    }

    /// A deal with its tasks.
    ///
    /// # Errors
    /// [`RequesterError::NotFound`]; the ledger cannot be asked.
    pub fn deal_detail(&self, id: DealId) -> BoxFuture<'_, Result<DealDetail, RequesterError>> {
        Box::pin(async move {
            let deal = self.hub.view_deal(id).await?;
            let deal = deal.ok_or_else(|| RequesterError::NotFound { what: "deal", id: id.to_string() })?;
            let ids: Vec<TaskId> = deal.tasks().collect();
            let tasks = self.hub.view_tasks(&ids).await?;
            let tasks =
                deal.indices().zip(tasks).map(|(index, task)| DealTask { task: task.id, index, status: task.status });
            let tasks = tasks.collect();
            let Deal { app, dataset, workerpool, .. } = &deal;
            Ok(DealDetail {
                deal: id,
                app: app.address,
                app_price: app.price,
                dataset: dataset.address,
                dataset_price: dataset.price,
                workerpool: workerpool.address,
                workerpool_price: workerpool.price,
                requester: deal.requester,
                sponsor: deal.sponsor,
                callback: Some(deal.callback).filter(|callback| !callback.is_zero()),
                category: deal.category,
                enclave: enclave_of(&deal),
                trust: deal.trust.value(),
                confidence: deal.trust.to_string(),
                worker_stake: deal.worker_stake,
                params: deal.params.clone(),
                start_time: deal.start_time,
                first: deal.bot_first,
                tasks,
            })
        })
    }

    /// What the app of a task wrote to stderr: from its pool, else from the accepted result.
    ///
    /// # Errors
    /// The ledger cannot be asked; neither pool nor store has it.
    pub fn task_logs(&self, id: TaskId) -> BoxFuture<'_, Result<Vec<TaskLogs>, RequesterError>> {
        Box::pin(async move {
            let task = self.hub.view_task(id).await?;
            let deal = self.hub.view_deal(task.deal).await?;
            let pool = match deal {
                Some(deal) => PoolLink::of_workerpool(self, deal.workerpool.address).await,
                None => None,
            };
            if let Some(link) = pool
                && let Ok(reply) = link.logs(id).await
                && !reply.logs.is_empty()
            {
                let logs = reply.logs.into_iter().map(|log| TaskLogs {
                    task: id,
                    worker: Address::try_from(log.worker.as_slice()).ok(),
                    text: String::from_utf8_lossy(&log.log).into_owned(),
                    truncated: log.truncated,
                });
                return Ok(logs.collect());
            }
            let Some(content) = task.results_pack() else { return Ok(Vec::new()) };
            let folder = std::env::temp_dir().join(format!("gristmill-log-{:x}", crate::submit::salt()));
            std::fs::create_dir(&folder).map_err(crate::error::at("make the folder", &folder))?;
            let pack = folder.join("pack");
            let fetched = self.store.get_file(content, &pack, pack_bytes_max(task.work_clock_s)).await;
            let header = fetched.map_err(RequesterError::from).and_then(|_| {
                unpack(&pack, Digest(task.digest), &folder.join("tree"))
                    .map_err(|source| RequesterError::Pack { index: task.index, source })
            });
            let _ = std::fs::remove_dir_all(&folder);
            let text = String::from_utf8_lossy(&header?.log).into_owned();
            Ok(vec![TaskLogs { task: id, worker: None, text, truncated: false }])
        })
    }
}
