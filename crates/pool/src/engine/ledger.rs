//! What the ledger says: deals, tasks, contributions, ends.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use futures_util::StreamExt;
use gristmill_hub::abi::IHub;
use gristmill_hub::{Batch, HubClient, HubError, HubEvent, LedgerEvent, TaskState};
use gristmill_result::{Digest, result_hash};
use gristmill_scheduler::{Event, HeldResult, LedgerState, SeenConsensus, SeenContribution, TaskSpec, WorkerId};
use gristmill_types::category::{CONTRIBUTION_DEADLINE_RATIO, FINAL_DEADLINE_RATIO, REVEAL_DEADLINE_RATIO};
use gristmill_types::{ContributionStatus, DealId, Needs, TaskId, TaskStatus, Trust};

use super::{Engine, News};
use crate::book::{DealBook, read_deal};
use crate::error::PoolError;
use crate::trace::Step;

/// Tasks initialised in one transaction: about 3 million gas.
const INITIALIZE_CHUNK: usize = 25;
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
    /// Digests of rounds that failed are in no view, only in the events.
    revealed: BTreeMap<TaskId, BTreeSet<B256>>,
    /// The hub as it was after the last block that was looked at.
    hub: HubClient,
    /// The first block that is not looked at yet.
    pub next_block: u64,
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
    use alloy_sol_types::SolEvent;
    let (head, hub) = settled(hub).await?;
    let mut deals = Vec::new();
    let mut revealed: BTreeMap<TaskId, BTreeSet<B256>> = BTreeMap::new();
    let mut from = 0;
    while from <= head {
        let to = head.min(from + CHUNK_BLOCKS - 1);
        let query = gristmill_hub::ledger::LogQuery {
            from,
            to,
            addresses: vec![hub.hub],
            events: vec![IHub::SchedulerNotice::SIGNATURE_HASH, IHub::TaskReveal::SIGNATURE_HASH],
        };
        for log in hub.ledger().logs(query).await.map_err(HubError::from)? {
            if log.topics.first() == Some(&IHub::TaskReveal::SIGNATURE_HASH) {
                if let (Some(task), true) = (log.topics.get(1), log.data.len() >= 32) {
                    revealed.entry(TaskId(*task)).or_default().insert(B256::from_slice(&log.data[..32]));
                }
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
    Ok(Found { deals, revealed, hub, next_block: head + 1 })
}

async fn read_settled_deal(hub: &HubClient, id: DealId) -> Result<Option<(DealBook, Vec<FoundTask>)>, PoolError> {
    let (_, hub) = settled(hub).await?;
    read_whole_deal(&hub, id).await
}

async fn read_whole_deal(hub: &HubClient, id: DealId) -> Result<Option<(DealBook, Vec<FoundTask>)>, PoolError> {
    match read_deal(hub, id).await? {
        Some(deal) => {
            let tasks = find_tasks(hub, &deal).await?;
            Ok(Some((deal, tasks)))
        }
        None => Ok(None),
    }
}

async fn find_tasks(hub: &HubClient, deal: &DealBook) -> Result<Vec<FoundTask>, PoolError> {
    let ids: Vec<TaskId> = deal.deal.tasks().collect();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(LOOKUP_MAX) {
        let tasks = hub.view_tasks(chunk).await?;
        let is_open = |task: &&gristmill_hub::Task| matches!(task.status, TaskStatus::Active | TaskStatus::Revealing);
        let open: Vec<TaskId> = tasks.iter().filter(is_open).map(|task| task.id).collect();
        // Asked for together: a pool may have a million open tasks when it starts.
        let states = if open.is_empty() { vec![] } else { hub.view_task_states(&open).await? };
        let mut states = open.into_iter().zip(states).peekable();
        for task in tasks {
            let state = states.next_if(|(open, _)| *open == task.id).map(|(_, state)| state);
            found.push(find_task(hub, task, state).await?);
        }
    }
    Ok(found)
}

/// `state`: of a task that is open.
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
async fn exact_weights(hub: &HubClient, votes: &[(TaskId, Address)]) -> Result<Vec<u64>, HubError> {
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
        let Found { deals, mut revealed, hub, next_block } = found;
        self.next_block = next_block;
        self.records.spent = self.parts.journal.spent(super::unix_ms())?;
        self.item_times = self.parts.journal.item_times()?;
        self.restore_bans();
        let read = |id: DealId| {
            let hub = hub.clone();
            // A task of the runtime's each, so that it is read while the one before is taken in.
            tokio::spawn(async move { read_whole_deal(&hub, id).await })
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
                let digests = revealed.remove(&task.task).unwrap_or_default();
                let now = task.ledger.digest;
                task.ledger.earlier_digests = digests.into_iter().filter(|digest| now != Some(*digest)).collect();
            }
            self.on_deal(deal, tasks)?;
            self.step(Vec::new());
        }
        Ok(())
    }

    /// Handles the events of a range of blocks.
    pub(crate) async fn on_batch(&mut self, batch: &Batch) -> Result<(), PoolError> {
        // Weights are asked for together: one request a batch.
        let votes: Vec<(TaskId, Address)> = batch
            .events
            .iter()
            .filter_map(|event| match event.event.as_hub() {
                Some(HubEvent::TaskContribute { task, worker, .. }) => Some((*task, *worker)),
                _ => None,
            })
            .filter(|(task, _)| self.book.tasks.contains(task))
            .collect();
        let weights = if votes.is_empty() { vec![] } else { exact_weights(&self.parts.hub, &votes).await? };
        let weights: BTreeMap<(TaskId, Address), u64> = votes.into_iter().zip(weights).collect();
        let weight_of = |task: TaskId, worker: Address| weights.get(&(task, worker)).copied().unwrap_or(0);
        for event in &batch.events {
            match &event.event {
                gristmill_hub::Event::Hub(hub_event) => self.on_hub_event(hub_event, event, &weight_of),
                gristmill_hub::Event::RequestOrder(_) => self.reduces_dirty = true,
                _ => {}
            }
        }
        self.step(Vec::new());
        Ok(())
    }

    fn on_hub_event(&mut self, event: &HubEvent, at: &LedgerEvent, weight_of: &impl Fn(TaskId, Address) -> u64) {
        match *event {
            HubEvent::SchedulerNotice { workerpool, deal } if workerpool == self.parts.workerpool => {
                self.read_new_deal(deal);
            }
            HubEvent::TaskInitialize { task, .. } => self.add_task(task, LedgerState::default()),
            HubEvent::TaskContribute { task, worker, hash } => {
                let weight = weight_of(task, worker);
                if let Some(entry) = self.book.tasks.get_mut(&task) {
                    entry.contributed(std::iter::once((worker, hash)));
                    self.records.counters.contributions += 1;
                    self.span(task).in_scope(|| tracing::debug!(%task, %worker, "a contribution"));
                    self.trace(task, Step::Contributed, Some(worker), "");
                }
                self.pending.push(Event::ContributionSeen { task, worker: WorkerId(worker), hash, weight });
            }
            HubEvent::TaskConsensus { task, hash } => {
                if let Some((_, deal)) = self.book.task(task) {
                    let deadline = at.timestamp + REVEAL_DEADLINE_RATIO * deal.work_clock_s;
                    let reveal_deadline_ms = deadline * 1000;
                    self.trace(task, Step::Consensus, None, "");
                    self.pending.push(Event::ConsensusReached { task, hash, reveal_deadline_ms });
                }
            }
            HubEvent::TaskReveal { task, worker, digest } => {
                if let Some(entry) = self.book.tasks.get_mut(&task) {
                    entry.set_digest(digest);
                    self.records.counters.reveals += 1;
                    self.span(task).in_scope(|| tracing::debug!(%task, %worker, "a reveal"));
                    self.trace(task, Step::Revealed, Some(worker), "");
                    self.pending.push(Event::RevealSeen { task, worker: WorkerId(worker), digest });
                }
            }
            HubEvent::TaskReopen { task } => {
                self.trace(task, Step::Reopened, None, "");
                self.pending.push(Event::TaskReopened { task });
            }
            HubEvent::TaskFinalize { task, .. } => {
                // A solo task is opened when it is finalised.
                self.open_accepted(task);
                self.measure_items(task);
                self.pending.push(Event::TaskCompleted { task });
                self.on_task_over(task, TaskStatus::Completed);
            }
            HubEvent::TaskClaimed { task } => {
                self.pending.push(Event::TaskFailed { task });
                self.on_task_over(task, TaskStatus::Failed);
            }
            HubEvent::TaskConcede { task, effective_at } => {
                let effective_at_ms = effective_at.saturating_mul(1000);
                self.pending.push(Event::ConcedeSeen { task, effective_at_ms });
            }
            HubEvent::FaultyContribution { task, worker } => {
                if self.book.tasks.contains(&task) {
                    self.records.counters.contributions_rejected += 1;
                    self.span(task).in_scope(|| tracing::info!(%task, %worker, "a contribution was proven wrong"));
                    self.trace(task, Step::Rejected, Some(worker), "");
                }
                self.pending.push(Event::ContributionRejected { task, worker: WorkerId(worker) });
            }
            _ => {}
        }
    }

    /// Reads a deal and its tasks in the background; the news of it follows.
    pub(super) fn read_new_deal(&mut self, id: DealId) {
        self.reading.insert(id);
        let (hub, news) = (self.parts.hub.clone(), self.news.clone());
        tokio::spawn(async move {
            while !news.is_closed() {
                match read_settled_deal(&hub, id).await {
                    Ok(deal) => {
                        let _ = news.send(News::DealRead { id, deal: Box::new(deal) });
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(deal = %id, %error, "a deal could not be read, trying again");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        });
    }

    /// Takes a deal in as the ledger has it, or what is new of one that is known.
    pub(super) fn on_deal(&mut self, mut deal: DealBook, tasks: Vec<FoundTask>) -> Result<(), PoolError> {
        let id = deal.deal.id;
        if !self.book.deals.contains_key(&id) && deal.refusal.is_none() {
            let open = tasks.iter().filter(|task| !task.status.is_final()).count();
            deal.refusal = self.verdict(&deal, open as u64)?;
        }
        let (size, trust) = (deal.deal.bot_size, deal.deal.trust.value());
        if self.book.insert(deal) {
            tracing::info!(deal = %id, tasks = size, trust, "a deal");
            for task in &tasks {
                self.trace(task.task, Step::DealSeen, None, "");
            }
        }
        let mut unset = false;
        for task in tasks {
            if let (Some(entry), Some(digest)) = (self.book.tasks.get_mut(&task.task), task.digest) {
                entry.set_digest(digest);
            }
            match task.status {
                TaskStatus::Unset => unset = true,
                TaskStatus::Active | TaskStatus::Revealing => self.add_task(task.task, task.ledger),
                TaskStatus::Completed => self.open_accepted(task.task),
                TaskStatus::Failed => {}
            }
            if task.status.is_final() {
                self.on_task_over(task.task, task.status);
            }
        }
        if unset {
            self.initialize(id);
        }
        Ok(())
    }

    /// Initialises the tasks of a deal that nobody has initialised yet.
    fn initialize(&mut self, id: DealId) {
        let Some(deal) = self.book.deals.get(&id) else { return };
        let indices: Vec<u64> = deal
            .deal
            .indices()
            .filter(|index| self.book.tasks.get(&id.task(*index)).is_some_and(|task| task.status == TaskStatus::Unset))
            .collect();
        for chunk in indices.chunks(INITIALIZE_CHUNK) {
            let call = self.parts.hub.initialize_many(id, chunk.iter().copied());
            let key = format!("initialize:{id}:{}:{}", chunk[0], super::unix_ms());
            let (outbox, news) = (self.parts.outbox.clone(), self.news.clone());
            tokio::spawn(async move {
                if let Err(error) = outbox.execute(call.intent(key)).await {
                    let _ = news.send(News::InitializeFailed { deal: id, reason: error.to_string() });
                }
            });
        }
    }

    /// Gives a task of ours to the core.
    fn add_task(&mut self, task: TaskId, mut ledger: LedgerState) {
        ledger.held = self
            .parts
            .journal
            .uploads(task)
            .filter(|(worker, upload)| {
                let voted =
                    |vote: &SeenContribution| vote.worker.0 == *worker && vote.status != ContributionStatus::Unset;
                upload.before_reveal && !ledger.contributions.iter().any(voted)
            })
            .map(|(worker, upload)| HeldResult { worker: WorkerId(worker), result_hash: upload.result_hash })
            .collect();
        let Some(entry) = self.book.tasks.get_mut(&task) else { return };
        let voted = ledger.contributions.iter().filter(|vote| vote.status != ContributionStatus::Unset);
        entry.contributed(voted.map(|vote| (vote.worker.0, vote.hash)));
        if entry.status == TaskStatus::Unset {
            entry.status = TaskStatus::Active;
            self.traces.note(super::unix_ms(), task, Step::Initialised, None, "");
        }
        let Some((_, deal)) = self.book.task(task) else { return };
        let at_ms = |ratio: u64| (deal.deal.start_time + ratio * deal.work_clock_s) * 1000;
        let spec = TaskSpec {
            task,
            deal: deal.deal.id,
            requester: deal.deal.requester,
            trust: Trust::new(deal.deal.trust.value()),
            work_clock_ms: deal.work_clock_s * 1000,
            contribution_deadline_ms: at_ms(CONTRIBUTION_DEADLINE_RATIO),
            final_deadline_ms: at_ms(FINAL_DEADLINE_RATIO),
            stake: deal.deal.worker_stake,
            profile: None,
            needs: Needs::of_tag(deal.deal.tag),
            demand: deal.demand.clone(),
            refusal: deal.refusal.clone(),
            ledger,
        };
        self.pending.push(Event::TaskAdded(Box::new(spec)));
    }

    /// Opens the accepted result of a task if nothing of it lies open yet.
    fn open_accepted(&mut self, task: TaskId) {
        let Some(digest) = self.book.tasks.get(&task).and_then(|entry| entry.digest()) else { return };
        let accepted = result_hash(task, Digest(digest));
        let uploads: Vec<(Address, bool)> = self
            .parts
            .journal
            .uploads(task)
            .filter(|(_, upload)| upload.result_hash == accepted)
            .map(|(worker, upload)| (worker, upload.opened.is_some()))
            .collect();
        if uploads.iter().any(|(_, opened)| *opened) {
            return;
        }
        let workers: BTreeSet<Address> = uploads.into_iter().map(|(worker, _)| worker).collect();
        for worker in workers {
            self.open_upload(task, worker, digest);
        }
    }

    /// What the accepted results of a task took, by the words of those who were seen to contribute them.
    fn measure_items(&mut self, task: TaskId) {
        let Some((entry, deal)) = self.book.task(task) else { return };
        let (Some(digest), false) = (entry.digest(), entry.status.is_final()) else { return };
        let (app, accepted) = (deal.deal.app.address, result_hash(task, Digest(digest)));
        let uploads = self.parts.journal.uploads(task);
        for (_, upload) in uploads
            .filter(|(worker, upload)| upload.result_hash == accepted && entry.has_contributed(*worker, accepted))
        {
            self.item_times.add(app, upload.items, upload.run_us);
        }
    }

    fn on_task_over(&mut self, task: TaskId, status: TaskStatus) {
        if self.book.tasks.contains(&task) {
            self.span(task).in_scope(|| tracing::debug!(%task, ?status, "a task is over"));
            let step = if status == TaskStatus::Completed { Step::Completed } else { Step::Failed };
            self.trace(task, step, None, "");
        }
        self.end_leases_of(task);
        self.reduces_dirty |= self.reduces_waiting > 0;
        if let Some(id) = self.book.finish(task, status) {
            tracing::info!(deal = %id, "all tasks of the deal are over");
            // Mostly the results were opened before; else the last one that is opened does it.
            if let Err(error) = self.retire_deal_of(task) {
                self.fault = Some(error);
            }
        }
    }
}
