//! What the ledger says: deals, tasks, contributions, ends.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use gristmill_hub::{Batch, HubEvent, LedgerEvent};
use gristmill_result::{Digest, result_hash};
use gristmill_scheduler::{Event, HeldResult, LedgerState, SeenContribution, TaskSpec, WorkerId};
use gristmill_types::category::{CONTRIBUTION_DEADLINE_RATIO, FINAL_DEADLINE_RATIO, REVEAL_DEADLINE_RATIO};
use gristmill_types::{ContributionStatus, DealId, Needs, TaskId, TaskStatus, Trust};

use super::found::{FoundTask, exact_weights, read_settled_deal};
use super::{Engine, News};
use crate::book::DealBook;
use crate::error::PoolError;
use crate::tasks::Place;
use crate::trace::Step;

/// Tasks initialised in one transaction: about 3 million gas.
const INITIALIZE_CHUNK: usize = 25;

impl Engine {
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
            HubEvent::TaskInitialize { task, .. } => {
                if let Some(place) = self.book.tasks.place(&task) {
                    self.add_task(task, place, LedgerState::default());
                }
            }
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
        if self.book.insert(deal, tasks.iter().map(|task| task.task)) {
            tracing::info!(deal = %id, tasks = size, trust, "a deal");
            let now_ms = super::unix_ms();
            for task in &tasks {
                self.traces.note(now_ms, task.task, Step::DealSeen, None, "");
            }
        }
        let mut unset = false;
        let places = self.book.tasks.places_of(&id);
        for (task, place) in tasks.into_iter().zip(places) {
            if let (Some(digest), Some(entry)) = (task.digest, self.book.tasks.at_mut(place)) {
                entry.set_digest(digest);
            }
            match task.status {
                TaskStatus::Unset => unset = true,
                TaskStatus::Active | TaskStatus::Revealing => self.add_task(task.task, place, task.ledger),
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

    /// Gives a task of ours, which has this place in the book, to the core.
    fn add_task(&mut self, task: TaskId, place: Place, mut ledger: LedgerState) {
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
        let Some(entry) = self.book.tasks.at_mut(place) else { return };
        let voted = ledger.contributions.iter().filter(|vote| vote.status != ContributionStatus::Unset);
        entry.contributed(voted.map(|vote| (vote.worker.0, vote.hash)));
        if entry.status == TaskStatus::Unset {
            entry.status = TaskStatus::Active;
            self.traces.note(super::unix_ms(), task, Step::Initialised, None, "");
        }
        let Some(deal) = self.book.tasks.deal_at(place).and_then(|deal| self.book.deals.get(&deal)) else { return };
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
