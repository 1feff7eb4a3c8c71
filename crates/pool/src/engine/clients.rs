//! Answer clients: status, workers, explanations, logs, quotes.

use std::sync::Arc;

use alloy_primitives::Address;
use gristmill_protocol::wire::{
    EngineCount, ExplainReply, QuoteReply, QuoteRequest, StatusReply, WorkerInfo, WorkerState, WorkersReply,
};
use gristmill_scheduler::index::{Demand, Side};
use gristmill_scheduler::{TaskCause, WorkerCause, WorkerId};
use gristmill_types::{ContentId, DealId, Needs, OrderHash, TaskId, TaskStatus, Trust};
use tokio::sync::oneshot;

use super::{Engine, unix_ms};
use crate::control::{Answer, Ask};
use crate::demand;
use crate::members::{Join, JoinError, Joined, Wish};
use crate::reduce::Wait;

/// Workers in one answer.
pub(super) const WORKERS_PAGE_MAX: usize = 1_000;

/// What a client asks the engine.
#[derive(Debug)]
pub enum Query {
    /// Who the pool is. The identity fields are filled in by the service.
    Status(oneshot::Sender<StatusReply>),
    /// A page of workers.
    Workers {
        /// After this address.
        after: Option<Address>,
        /// At most so many; 0 for the most.
        limit: u32,
        /// Where the answer goes.
        reply: oneshot::Sender<WorkersReply>,
    },
    /// Why a task does not move.
    ExplainTask(TaskId, oneshot::Sender<ExplainReply>),
    /// Why a deal does not move.
    ExplainDeal(DealId, oneshot::Sender<ExplainReply>),
    /// Why a request does not move.
    ExplainRequest(OrderHash, oneshot::Sender<ExplainReply>),
    /// Why a worker has nothing to do.
    ExplainWorker(Address, oneshot::Sender<ExplainReply>),
    /// The open packs of a task, by worker: their logs are read from the store.
    Logs(TaskId, oneshot::Sender<Vec<(Address, ContentId)>>),
    /// What a job would find.
    Quote(QuoteRequest, oneshot::Sender<Result<QuoteReply, String>>),
    /// Somebody with an invitation.
    Join(Box<Join>, oneshot::Sender<Result<Joined, JoinError>>),
    /// What the operator asks or tells.
    Operator(Ask, oneshot::Sender<Result<Answer, String>>),
}

fn explanation(code: &str, text: impl Into<String>, fix: impl Into<String>) -> ExplainReply {
    ExplainReply { code: code.to_owned(), text: text.into(), fix: fix.into() }
}

impl Engine {
    pub(super) fn answer(&mut self, query: Query) {
        // A client that is gone needs no answer.
        match query {
            Query::Status(reply) => drop(reply.send(self.status())),
            Query::Workers { after, limit, reply } => drop(reply.send(self.worker_page(after, limit))),
            Query::ExplainTask(task, reply) => drop(reply.send(self.explain_task(task))),
            Query::ExplainDeal(deal, reply) => drop(reply.send(self.explain_deal(deal))),
            Query::ExplainRequest(request, reply) => drop(reply.send(self.explain_request(request))),
            Query::ExplainWorker(worker, reply) => drop(reply.send(self.explain_worker(worker))),
            Query::Logs(task, reply) => drop(reply.send(self.open_packs(task))),
            Query::Quote(request, reply) => drop(reply.send(self.quote(&request))),
            Query::Join(join, reply) => drop(reply.send(self.join(&join))),
            Query::Operator(ask, reply) => self.serve_operator(ask, reply),
        }
    }

    fn status(&self) -> StatusReply {
        let is_machine = |(worker, entry): &(&Address, &super::WorkerEntry)| entry.connected && !self.buys(**worker);
        let connected: Vec<_> = self.workers.iter().filter(is_machine).collect();
        let leases_of = |worker: &Address| self.leases.values().filter(|lease| lease.worker == *worker).count() as u64;
        let busy = connected.iter().filter(|(worker, _)| leases_of(worker) > 0).count() as u64;
        let slots_total: u64 = connected.iter().map(|(_, entry)| u64::from(entry.slots)).sum();
        let taken: u64 = connected.iter().map(|(worker, _)| leases_of(worker)).sum();
        let mut engines: Vec<EngineCount> = Vec::new();
        for (_, entry) in &connected {
            match engines.iter_mut().find(|engine| engine.engine_profile == entry.engine_profile) {
                Some(engine) => engine.workers += 1,
                None => engines.push(EngineCount { engine_profile: entry.engine_profile.clone(), workers: 1 }),
            }
        }
        let leased = |task: &TaskId| self.leases.values().any(|lease| lease.task == *task);
        let (active, waiting): (Vec<_>, Vec<_>) = self.parts.scheduler.open_tasks().partition(|task| leased(task));
        StatusReply {
            workers_total: connected.len() as u64,
            workers_idle: connected.len() as u64 - busy,
            workers_busy: busy,
            slots_total,
            slots_free: slots_total.saturating_sub(taken),
            tasks_waiting: waiting.len() as u64,
            tasks_active: active.len() as u64,
            tasks_completed: self.book.completed,
            tasks_failed: self.book.failed,
            engines,
            task_seconds_mean: self.run_times.mean_s(),
            unix_ms: unix_ms(),
            draining: self.parts.keeping.is_draining(),
            ..StatusReply::default()
        }
    }

    fn worker_page(&self, after: Option<Address>, limit: u32) -> WorkersReply {
        let limit = if limit == 0 { WORKERS_PAGE_MAX } else { (limit as usize).min(WORKERS_PAGE_MAX) };
        let mut rest = self.workers.iter().filter(|(worker, _)| after.is_none_or(|after| **worker > after));
        let workers: Vec<WorkerInfo> = rest.by_ref().take(limit).map(|(worker, _)| self.worker_info(*worker)).collect();
        WorkersReply { workers, more: rest.next().is_some() }
    }

    pub(super) fn worker_info(&self, worker: Address) -> WorkerInfo {
        let entry = &self.workers[&worker];
        let task_ids: Vec<Vec<u8>> = self
            .leases
            .values()
            .filter(|lease| lease.worker == worker)
            .map(|lease| lease.task.as_bytes().to_vec())
            .collect();
        let banned = self.parts.bans.read().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(&worker);
        let state = match (banned, entry.connected, entry.draining, task_ids.is_empty()) {
            (true, ..) => WorkerState::Banned,
            (_, false, ..) => WorkerState::Away,
            (_, _, true, _) => WorkerState::Draining,
            (_, _, _, true) => WorkerState::Idle,
            (_, _, _, false) => WorkerState::Busy,
        };
        let idle_because = if task_ids.is_empty() { self.explain_worker(worker).text } else { String::new() };
        WorkerInfo {
            address: worker.to_vec(),
            state: state.into(),
            task_ids,
            score: entry.score,
            idle_because,
            engine_profile: entry.engine_profile.clone(),
            slots: entry.slots,
            memory_bytes: entry.memory_bytes,
            last_seen_unix_ms: entry.last_seen_unix_ms,
            software_version: entry.software_version.clone(),
            gpus: entry.offers.gpus,
            network: entry.offers.network,
        }
    }

    pub(super) fn explain_task(&self, task: TaskId) -> ExplainReply {
        let Some(entry) = self.book.tasks.get(&task) else {
            return explanation("unknown", "this pool has no such task", "ask the pool that the deal names");
        };
        match entry.status {
            TaskStatus::Completed => return explanation("completed", "the task is completed and paid", ""),
            TaskStatus::Failed => {
                let why = entry.last_note().map_or_else(String::new, |note| format!(": {note}"));
                return explanation("failed", format!("the task failed and was refunded{why}"), "run it again");
            }
            TaskStatus::Unset => {
                return explanation("initialising", "the task is about to be initialised on the ledger", "");
            }
            TaskStatus::Active | TaskStatus::Revealing => {}
        }
        let found = self.parts.scheduler.explain_task(unix_ms(), task);
        let mut text = found.cause.to_string();
        if let Some(note) = entry.last_note() {
            text = format!("{text} (last: {note})");
        }
        explanation(task_code(&found.cause), text, found.fix.unwrap_or_default())
    }

    pub(super) fn explain_deal(&self, deal: DealId) -> ExplainReply {
        let Some(entry) = self.book.deals.get(&deal) else {
            return explanation("unknown", "this pool has no such deal", "ask the pool that the deal names");
        };
        let open =
            entry.deal.tasks().find(|task| self.book.tasks.get(task).is_some_and(|task| !task.status.is_final()));
        match open {
            None => explanation("finished", "all tasks of the deal are over", ""),
            Some(task) => {
                let first = self.explain_task(task);
                let text =
                    format!("{} of {} tasks are open; the first: {}", entry.open, entry.deal.bot_size, first.text);
                explanation(&first.code, text, first.fix)
            }
        }
    }

    pub(super) fn explain_request(&self, request: OrderHash) -> ExplainReply {
        if let Some(wait) = self.reduce_waits.get(&request.0) {
            return match wait {
                Wait::MapNotMatched => explanation(
                    "map-not-matched",
                    "the reduce waits for its map, which is not wholly matched",
                    "match or cancel the map",
                ),
                Wait::Tasks(missing) => {
                    let text = format!("the reduce waits for {missing} tasks of its map");
                    explanation("map-running", text, "")
                }
                Wait::MapFailed => explanation(
                    "map-failed",
                    "a task of the map failed, so the reduce will never be matched",
                    "cancel the job and run it again",
                ),
                Wait::NoOrder(why) => explanation(
                    "no-order",
                    format!("the reduce cannot be matched: {why}"),
                    "raise the price cap or publish the missing order",
                ),
            };
        }
        let open = self.book.deals.keys().find(|deal| **deal == DealId::derive(request, 0));
        match open {
            Some(deal) => self.explain_deal(*deal),
            None => explanation("unknown", "this pool has no deal of this request", "match it, or ask another pool"),
        }
    }

    pub(super) fn explain_worker(&self, worker: Address) -> ExplainReply {
        if let Some(reason) = self.parts.bans.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&worker) {
            let fix = format!("the pool's operator may let it in again: gristmill pool unban {worker}");
            return explanation("banned", format!("it is banned: {reason}"), fix);
        }
        if !self.workers.contains_key(&worker) {
            let fix = "start it: gristmill worker --pool <address of this pool>";
            return explanation("unknown", "this worker has not connected since the pool started", fix);
        }
        let found = self.parts.scheduler.explain_worker(unix_ms(), WorkerId(worker));
        explanation(worker_code(&found.cause), found.cause.to_string(), found.fix.unwrap_or_default())
    }

    fn open_packs(&self, task: TaskId) -> Vec<(Address, ContentId)> {
        let uploads = self.parts.journal.stored_uploads(task).unwrap_or_else(|error| {
            tracing::warn!(%task, %error, "the journal could not be read");
            Vec::new()
        });
        uploads.into_iter().filter_map(|(worker, upload)| Some((worker, upload.opened?.pack))).collect()
    }

    /// What a job would find, or what of it cannot be read.
    fn quote(&mut self, request: &QuoteRequest) -> Result<QuoteReply, String> {
        let needs = Needs { gpu: request.gpu, network: request.network };
        let about = demand::About {
            requester: address_or_zero(&request.requester),
            app: (!request.app.is_empty()).then(|| address_or_zero(&request.app)),
            category: request.category_id,
            work_clock_s: request.work_clock_s,
            trust: request.trust,
            needs,
        };
        let ad = demand::ad(&about, &request.require, "").map_err(|error| error.to_string())?;
        let asked = Demand { ad: Arc::new(ad), ..Demand::any() };
        let (fitting, unmet) = self.parts.scheduler.matching(asked);
        let offered = |entry: &super::WorkerEntry| needs.without(entry.offers.needs()).is_none();
        let usable = |worker: &Address, entry: &super::WorkerEntry| {
            entry.connected && !entry.draining && offered(entry) && fitting.contains(&WorkerId(*worker))
        };
        let requester = address_or_zero(&request.requester);
        let serves = |worker: Address| request.requester.is_empty() || self.serves(worker, requester);
        // What no machine of the pool's could do is bought, where somebody buys.
        let is_bought = needs.is_none() && fitting.is_empty() && self.is_buying();
        let able: Vec<_> = self.workers.iter().filter(|(worker, entry)| usable(worker, entry)).collect();
        let is_able = !able.is_empty();
        let matching: Vec<_> =
            able.into_iter().filter(|(worker, _)| serves(**worker)).map(|(_, entry)| entry).collect();
        let slots: u64 = matching.iter().map(|entry| u64::from(entry.slots)).sum();
        let replicas = u64::from(Trust::new(request.trust).replicas_of_newcomers());
        let trust_reachable = matching.len() as u64 >= replicas;
        let waiting = self.parts.scheduler.open_tasks().count() as u64;
        let runs = request.tasks.saturating_mul(replicas).saturating_add(waiting);
        let mean = self.run_times.mean_s();
        let seconds_expected = if slots == 0 { 0.0 } else { mean * (runs.div_ceil(slots)) as f64 };
        // What machines require of an app that is not on the ledger yet is told by `explain`, once it is.
        let is_of_task = unmet.nearest.iter().flat_map(|nearest| &nearest.lacks).any(|lack| lack.side == Side::Task);
        let unmet = if fitting.is_empty() && is_of_task && !is_bought { unmet.to_string() } else { String::new() };
        let note = if is_bought {
            "no machine of the pool's own is as the job requires: its tasks are bought on a market".to_owned()
        } else if !unmet.is_empty() {
            unmet.clone()
        } else if matching.is_empty() && is_able {
            "rights: no connected worker serves who asks: ask the pool's operator (`gristmill pool chmod`)".to_owned()
        } else if matching.is_empty() && !needs.is_none() {
            format!("no worker that offers {needs} is connected")
        } else if matching.is_empty() {
            "no worker is connected".to_owned()
        } else if !trust_reachable {
            format!("{} such workers are connected, this confidence needs {replicas} that agree", matching.len())
        } else {
            String::new()
        };
        Ok(QuoteReply {
            workers_matching: matching.len() as u64,
            slots_matching: slots,
            seconds_expected,
            trust_reachable,
            note,
            unmet,
            refusal: self.quote_refusal(request).unwrap_or_default(),
            item_ms: about.app.and_then(|app| self.item_times.item_ms(app)).unwrap_or(0.0),
            settlement_ms: self.parts.held.settings.settlement_ms as f64,
        })
    }

    /// Whether somebody is there who has tasks run on a market.
    fn is_buying(&self) -> bool {
        self.workers.iter().any(|(worker, entry)| entry.connected && self.buys(*worker))
    }

    /// Why the pool would refuse the job, if who asks is told.
    fn quote_refusal(&self, request: &QuoteRequest) -> Option<String> {
        if request.requester.is_empty() {
            return None;
        }
        let [requester, app, dataset] =
            [&request.requester, &request.app, &request.dataset].map(|bytes| address_or_zero(bytes));
        let wish = Wish { requester, app, dataset, tasks: request.tasks };
        self.members().refusal(self.parts.is_private, &wish, &self.usage())
    }
}

/// An address whose length was checked; zero for one that is not said.
fn address_or_zero(bytes: &[u8]) -> Address {
    bytes.try_into().map(Address::new).unwrap_or_default()
}

/// A word for a worker's state.
pub(super) fn worker_state_name(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Idle => "idle",
        WorkerState::Busy => "busy",
        WorkerState::Draining => "draining",
        WorkerState::Away => "away",
        WorkerState::Banned => "banned",
        WorkerState::Unspecified => "unknown",
    }
}

fn task_code(cause: &TaskCause) -> &'static str {
    match cause {
        TaskCause::Unknown => "unknown",
        TaskCause::Running { .. } => "running",
        TaskCause::Contributing { .. } => "contributing",
        TaskCause::Revealing { .. } => "revealing",
        TaskCause::Calling { .. } => "calling",
        TaskCause::NoBytes => "not-delivered",
        TaskCause::NoWorkers => "no-workers",
        TaskCause::AllBanned { .. } => "banned",
        TaskCause::AllTried { .. } => "too-few-workers",
        TaskCause::NotBelieved { .. } => "not-believed",
        TaskCause::AllKin { .. } => "same-owner",
        TaskCause::OnProbation { .. } => "on-probation",
        TaskCause::AllBusy { .. } => "all-busy",
        TaskCause::StakeTooLow { .. } => "stake-too-low",
        TaskCause::NoMatch { .. } => "no-match",
        TaskCause::NoRights { .. } => "no-rights",
        TaskCause::TooSlow { .. } => "too-slow",
        TaskCause::ProfileMismatch { .. } => "engine-mismatch",
        TaskCause::NeedsMissing { .. } => "needs-missing",
        TaskCause::NoneUsable { .. } => "none-usable",
        TaskCause::TooLate { .. } => "too-late",
        TaskCause::Refused { .. } => "refused",
        TaskCause::NotFetched { app: true, .. } => "app-not-fetched",
        TaskCause::NotFetched { .. } => "input-not-fetched",
        TaskCause::CategoryTooShort { .. } => "category-too-short",
        TaskCause::Stopped { .. } => "stopped",
        TaskCause::NoPlaces => "no-places",
        TaskCause::DigestPublic => "digest-public",
        TaskCause::Queued => "queued",
        _ => "other",
    }
}

fn worker_code(cause: &WorkerCause) -> &'static str {
    match cause {
        WorkerCause::Unknown => "unknown",
        WorkerCause::Disconnected => "away",
        WorkerCause::Banned { .. } => "banned",
        WorkerCause::Aside { .. } => "aside",
        WorkerCause::Busy { .. } => "busy",
        WorkerCause::Draining => "draining",
        WorkerCause::Working { .. } => "working",
        WorkerCause::NoRights => "no-rights",
        WorkerCause::InTime => "in-time",
        _ => "idle",
    }
}
