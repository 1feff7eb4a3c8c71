//! What the pool finds on the ledger when it starts, and of a deal that is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use futures_util::StreamExt;
use gristmill_hub::abi::IHub;
use gristmill_hub::ledger::Log;
use gristmill_hub::{HubClient, HubError, TaskState};
use gristmill_scheduler::{LedgerState, SeenConsensus, SeenContribution, WorkerId};
use gristmill_types::{DealId, TaskId, TaskStatus};

use super::Engine;
use crate::book::{DealBook, read_deal};
use crate::error::PoolError;

/// Blocks read at once when the pool starts.
const CHUNK_BLOCKS: u64 = 10_000;
/// Deals that are read ahead when the pool starts.
const READ_AHEAD_MAX: usize = 8;
/// Tasks looked up in one request.
const LOOKUP_MAX: usize = 200;

/// What the pool finds on the ledger when it starts.
pub(crate) struct Found {
    /// Its deals that are not finished.
    deals: Vec<DealId>,
    told: Told,
    /// The hub as it was after the last block that was looked at.
    hub: HubClient,
    /// The first block that is not looked at yet.
    pub next_block: u64,
}

/// What the log says of tasks.
#[derive(Default)]
struct Told {
    /// Digests of rounds that failed are in no view, only in the events.
    revealed: BTreeMap<TaskId, BTreeSet<B256>>,
    /// Those that were ever conceded. Of all others to which nobody contributed `viewTask` says everything.
    conceded: BTreeSet<TaskId>,
}

impl Told {
    /// Takes in what a log says of a task; `false` if it is of none.
    fn take(&mut self, log: &Log) -> bool {
        let task = log.topics.get(1).map(|task| TaskId(*task));
        match (log.topics.first(), task) {
            (Some(&IHub::TaskReveal::SIGNATURE_HASH), Some(task)) if log.data.len() >= 32 => {
                self.revealed.entry(task).or_default().insert(B256::from_slice(&log.data[..32]));
                true
            }
            (Some(&IHub::TaskConcede::SIGNATURE_HASH), Some(task)) => {
                self.conceded.insert(task);
                true
            }
            _ => false,
        }
    }
}

/// A task as the ledger has it when the pool starts.
pub(crate) struct FoundTask {
    pub task: TaskId,
    pub status: TaskStatus,
    pub digest: Option<B256>,
    pub ledger: LedgerState,
}

/// The newest block that counts, and the hub as it was after it. What is newer may be taken back; the follower brings it when
/// it counts.
async fn settled(hub: &HubClient) -> Result<(u64, HubClient), HubError> {
    let ledger = hub.ledger();
    let (finality, head) = (ledger.finality().await?, ledger.head().await?);
    Ok(match finality.confirmations {
        // Such a ledger need not keep old states.
        0 => (head, hub.clone()),
        depth => (head.saturating_sub(depth), hub.at(head.saturating_sub(depth))),
    })
}

/// Looks for all deals of `workerpool`; `finished` tells those that need no look.
pub(crate) async fn find(
    hub: &HubClient,
    workerpool: Address,
    finished: impl Fn(DealId) -> Result<bool, PoolError>,
) -> Result<Found, PoolError> {
    let (head, hub) = settled(hub).await?;
    let (mut deals, mut told) = (Vec::new(), Told::default());
    let mut from = 0;
    while from <= head {
        let to = head.min(from + CHUNK_BLOCKS - 1);
        let query = gristmill_hub::ledger::LogQuery {
            from,
            to,
            addresses: vec![hub.hub],
            events: vec![
                IHub::SchedulerNotice::SIGNATURE_HASH,
                IHub::TaskReveal::SIGNATURE_HASH,
                IHub::TaskConcede::SIGNATURE_HASH,
            ],
        };
        for log in hub.ledger().logs(query).await.map_err(HubError::from)? {
            if told.take(&log) {
                continue;
            }
            if log.topics.get(1) != Some(&workerpool.into_word()) || log.data.len() < 32 {
                continue;
            }
            let id = DealId(B256::from_slice(&log.data[..32]));
            if !finished(id)? {
                deals.push(id);
            }
        }
        from = to + 1;
    }
    Ok(Found { deals, told, hub, next_block: head + 1 })
}

pub(super) async fn read_settled_deal(
    hub: &HubClient,
    id: DealId,
) -> Result<Option<(DealBook, Vec<FoundTask>)>, PoolError> {
    let (_, hub) = settled(hub).await?;
    read_whole_deal(&hub, id, None).await
}

/// `told`: what the log says, if it was read.
async fn read_whole_deal(
    hub: &HubClient,
    id: DealId,
    told: Option<&Told>,
) -> Result<Option<(DealBook, Vec<FoundTask>)>, PoolError> {
    match read_deal(hub, id).await? {
        Some(deal) => {
            let tasks = find_tasks(hub, &deal, told).await?;
            Ok(Some((deal, tasks)))
        }
        None => Ok(None),
    }
}

/// The tasks of a deal, by index.
async fn find_tasks(hub: &HubClient, deal: &DealBook, told: Option<&Told>) -> Result<Vec<FoundTask>, PoolError> {
    let ids: Vec<TaskId> = deal.deal.tasks().collect();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(LOOKUP_MAX) {
        let tasks = hub.view_tasks(chunk).await?;
        let is_open = |task: &&gristmill_hub::Task| matches!(task.status, TaskStatus::Active | TaskStatus::Revealing);
        let is_untouched = |task: &gristmill_hub::Task| {
            task.contributors.is_empty() && told.is_some_and(|told| !told.conceded.contains(&task.id))
        };
        let begun = tasks.iter().filter(is_open).filter(|task| !is_untouched(task));
        let begun: Vec<TaskId> = begun.map(|task| task.id).collect();
        // Asked for together: a pool may have a million open tasks when it starts.
        let states = if begun.is_empty() { vec![] } else { hub.view_task_states(&begun).await? };
        let mut states = begun.into_iter().zip(states).peekable();
        for task in tasks {
            let state = states.next_if(|(begun, _)| *begun == task.id).map(|(_, state)| state);
            found.push(find_task(hub, task, state).await?);
        }
    }
    Ok(found)
}

/// `state`: of a task that is open, unless nothing happened to it.
async fn find_task(
    hub: &HubClient,
    task: gristmill_hub::Task,
    state: Option<TaskState>,
) -> Result<FoundTask, PoolError> {
    let digest = (!task.digest.is_zero()).then_some(task.digest);
    let mut ledger = LedgerState { digest, ..LedgerState::default() };
    if let Some(state) = state {
        ledger.recomputed = state.recomputed;
        ledger.concede_effective_ms = state.conceded_at.map(|at| at * 1000);
        if !task.contributors.is_empty() {
            ledger.contributions = votes_of(hub, &task).await?;
        }
        if task.status == TaskStatus::Revealing {
            let reveal_deadline_ms = task.reveal_deadline * 1000;
            ledger.consensus = Some(SeenConsensus { hash: task.consensus, reveal_deadline_ms });
        }
    }
    Ok(FoundTask { task: task.id, status: task.status, digest, ledger })
}

/// What the contributors of a task committed to.
async fn votes_of(hub: &HubClient, task: &gristmill_hub::Task) -> Result<Vec<SeenContribution>, PoolError> {
    let votes: Vec<(TaskId, Address)> = task.contributors.iter().map(|worker| (task.id, *worker)).collect();
    let contributions = hub.view_contributions(&votes).await?;
    let weights = exact_weights(hub, &votes).await?;
    let seen = votes.iter().zip(contributions).zip(weights).map(|(((_, worker), contribution), weight)| {
        let (hash, status) = (contribution.result_hash, contribution.status);
        SeenContribution { worker: WorkerId(*worker), hash, weight, status }
    });
    Ok(seen.collect())
}

/// The exact weights of votes, as the hub stored them.
pub(super) async fn exact_weights(hub: &HubClient, votes: &[(TaskId, Address)]) -> Result<Vec<u64>, HubError> {
    let calls = votes
        .iter()
        .map(|(task, worker)| (hub.hub, IHub::viewWeightCall { taskid: task.0, worker: *worker }))
        .collect();
    let answers = hub.views(calls).await?;
    answers.into_iter().map(|weight| weight.map(|weight: U256| weight.saturating_to::<u64>())).collect()
}

impl Engine {
    /// Takes in what [`find`] found: deal by deal, so that a pool of a million tasks needs no more memory to start than to work, while
    /// the next deals are being read.
    pub(crate) async fn restore(&mut self, found: Found) -> Result<(), PoolError> {
        let Found { deals, told, hub, next_block } = found;
        let told = Arc::new(told);
        self.next_block = next_block;
        self.records.spent = self.parts.journal.spent(super::unix_ms())?;
        self.item_times = self.parts.journal.item_times()?;
        self.restore_bans();
        let read = |id: DealId| {
            let (hub, told) = (hub.clone(), Arc::clone(&told));
            // A task of the runtime's each, so that it is read while the one before is taken in.
            tokio::spawn(async move { read_whole_deal(&hub, id, Some(&told)).await })
        };
        let mut reading = futures_util::stream::iter(deals).map(read).buffered(READ_AHEAD_MAX);
        while let Some(read) = reading.next().await {
            let read = match read {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is being closed, and this with it.
                Err(_) => return Ok(()),
                Ok(read) => read?,
            };
            let Some((deal, mut tasks)) = read else { continue };
            for task in &mut tasks {
                let Some(digests) = told.revealed.get(&task.task) else { continue };
                let now = task.ledger.digest;
                task.ledger.earlier_digests = digests.iter().copied().filter(|digest| now != Some(*digest)).collect();
            }
            self.on_deal(deal, tasks)?;
            self.step(Vec::new());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::SolEvent;

    use super::*;

    fn log(event: &impl SolEvent) -> Log {
        let data = event.encode_log_data();
        let (topics, data) = (data.topics().to_vec(), data.data);
        Log { address: Address::ZERO, topics, data, block: 1, timestamp: None, tx_hash: B256::ZERO, index: 0 }
    }

    #[test]
    fn what_no_view_of_a_task_says_is_taken_from_the_log() {
        let (deal, digest) = (DealId::default(), B256::repeat_byte(7));
        let (conceded, revealed) = (deal.task(1), deal.task(2));
        let mut told = Told::default();
        assert!(told.take(&log(&IHub::TaskConcede { taskid: conceded.0, effectiveAt: U256::from(9) })));
        assert!(told.take(&log(&IHub::TaskReveal { taskid: revealed.0, worker: Address::ZERO, digest })));
        assert!(!told.take(&log(&IHub::SchedulerNotice { workerpool: Address::ZERO, dealid: deal.0 })));
        assert_eq!(told.conceded, BTreeSet::from([conceded]));
        assert_eq!(told.revealed, BTreeMap::from([(revealed, BTreeSet::from([digest]))]));
    }
}
