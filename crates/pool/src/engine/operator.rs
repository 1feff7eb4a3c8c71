//! What the operator asks and tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use alloy_primitives::Address;
use gristmill_protocol::wire::ExplainReply;
use gristmill_scheduler::{Event, WorkerId};
use gristmill_types::{DealId, OrderHash, TaskId};
use tokio::sync::oneshot;

use super::clients::{WORKERS_PAGE_MAX, worker_state_name};
use super::{Engine, unix_ms};
use crate::control::{Answer, Ask, QUEUE_MAX, REASON_CHARS_MAX, Subject};
use crate::members::Kind;
use crate::overflow::MARKET;
use crate::report::{self, By};
use crate::status::{Cause, Queue, QueueRow, Status, TaskCounts, WorkerCounts, WorkerPage, WorkerRow};
use crate::trace::{OPEN_MAX, RETIRED_MAX, Step, Timeline};

pub(super) type Reply = oneshot::Sender<Result<Answer, String>>;

impl Engine {
    pub(super) fn serve_operator(&mut self, ask: Ask, reply: Reply) {
        let answer = match ask {
            Ask::Status => Ok(self.status_answer()),
            Ask::Workers { after } => Ok(Answer::Workers(self.worker_rows(after))),
            Ask::Queue { limit } => Ok(Answer::Queue(self.queue(limit.min(QUEUE_MAX) as usize))),
            Ask::Explain(subject) => Ok(Answer::Explain(self.explain(subject))),
            Ask::Trace(task) => self.timeline(task),
            Ask::Ban { worker, reason } => self.ban_by_hand(worker, &reason),
            Ask::Unban { worker } => self.unban(worker),
            Ask::Drain => self.set_draining(true),
            Ask::Resume => self.set_draining(false),
            Ask::Metrics => Ok(Answer::Metrics(self.metrics())),
            Ask::Members => Ok(Answer::Members(Box::new(self.roster()))),
            Ask::Invite(ask) => self.invite(ask),
            Ask::Withdraw { id } => self.withdraw(&id),
            Ask::Deed(deed) => self.do_deed(&deed),
            Ask::Settings => Ok(Answer::Settings(Box::new(self.parts.held.clone()))),
            Ask::Reload => return self.reload(reply),
            Ask::Report(by) => return self.report(by, reply),
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
    }

    fn status_answer(&self) -> Answer {
        Answer::Status(Box::new(self.operator_status()))
    }

    pub(super) fn operator_status(&self) -> Status {
        let standing = self.parts.keeping.standing();
        let owner = self.parts.wallet.address();
        let about = &self.parts.about;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since_unix_ms: about.since_unix_ms,
            url: about.url.clone(),
            workerpool: self.parts.workerpool,
            owner,
            rpc: about.rpc.clone(),
            hub: self.parts.hub.hub,
            chain_id: self.parts.hub.chain_id(),
            block: self.next_block.saturating_sub(1),
            store: about.store.clone(),
            draining: self.parts.keeping.is_draining(),
            stake: Some(self.parts.keeping.stake()),
            workers: self.worker_counts(),
            tasks: self.task_counts(),
            deals_open: self.book.deals.values().filter(|deal| deal.open > 0).count() as u64,
            reduces_waiting: self.reduces_waiting as u64,
            orders: standing.orders,
            overflow: self.parts.overflow.as_ref().map(|overflow| overflow.board.status()),
            warnings: self.warnings(owner),
        }
    }

    fn warnings(&self, owner: Address) -> Vec<String> {
        let mut warnings = self.parts.keeping.warnings(owner);
        warnings.extend(self.parts.overflow.iter().flat_map(|overflow| overflow.board.status().warnings()));
        let bans = self.parts.bans.read().unwrap_or_else(PoisonError::into_inner);
        warnings.extend(self.parts.overflow.iter().filter(|of| bans.contains_key(&of.worker)).map(|of| {
            format!(
                "the worker {0} that buys on the market is banned, so nothing is bought: let it in again (`gristmill pool unban {0}`) and start the pool anew",
                of.worker
            )
        }));
        drop(bans);
        let displaced = self.parts.outbox.displaced();
        if displaced > 0 {
            warnings.push(format!(
                "another program sends transactions with the key of {owner}, and took the numbers of {displaced} of this pool's: stop it; a second pool needs a key of its own"
            ));
        }
        warnings
    }

    fn worker_counts(&self) -> WorkerCounts {
        let mut leases_of: BTreeMap<Address, u64> = BTreeMap::new();
        for lease in self.leases.values() {
            *leases_of.entry(lease.worker).or_default() += 1;
        }
        let mut counts = WorkerCounts { leases: self.leases.len() as u64, ..WorkerCounts::default() };
        // Who buys on a market is no machine of the pool's.
        for (worker, entry) in self.workers.iter().filter(|(worker, entry)| entry.connected && !self.buys(**worker)) {
            let leases = leases_of.get(worker).copied().unwrap_or_default();
            counts.connected += 1;
            counts.busy += u64::from(leases > 0);
            counts.slots += u64::from(entry.slots);
            counts.slots_free += u64::from(entry.slots).saturating_sub(leases);
        }
        counts.banned = self.parts.bans.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        counts
    }

    fn task_counts(&self) -> TaskCounts {
        let leased = self.leased_tasks();
        let is_open = |task: &&TaskId| self.book.tasks.get(task).is_some_and(|entry| !entry.status.is_final());
        let running = leased.iter().filter(is_open).count() as u64;
        let waiting = (self.book.tasks.count_open() as u64).saturating_sub(running);
        TaskCounts { waiting, running, completed: self.book.completed, failed: self.book.failed }
    }

    fn leased_tasks(&self) -> BTreeSet<TaskId> {
        self.leases.values().map(|lease| lease.task).collect()
    }

    /// Who is connected, was, or is banned; by address.
    fn worker_rows(&self, after: Option<Address>) -> WorkerPage {
        let bans = self.parts.bans.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known: BTreeSet<Address> = self.workers.keys().chain(bans.keys()).copied().collect();
        let mut rest = known.into_iter().filter(|worker| after.is_none_or(|after| *worker > after));
        let workers = rest.by_ref().take(WORKERS_PAGE_MAX).map(|worker| self.worker_row(worker, &bans)).collect();
        WorkerPage { workers, more: rest.next().is_some() }
    }

    fn worker_row(&self, worker: Address, bans: &BTreeMap<Address, String>) -> WorkerRow {
        let banned = bans.get(&worker);
        let Some(entry) = self.workers.get(&worker) else {
            // Banned before it came, or before the pool started.
            return WorkerRow {
                worker,
                state: "banned".to_owned(),
                slots: 0,
                tasks: Vec::new(),
                because: banned.cloned().unwrap_or_default(),
                score: 0,
                free_stake: gristmill_types::Amount::ZERO,
                heard_unix_ms: 0,
                version: String::new(),
                engine: String::new(),
                memory_bytes: 0,
                gpus: 0,
                network: false,
                member: self.members().owned_at(Kind::Worker, worker).cloned(),
            };
        };
        let info = self.worker_info(worker);
        let tasks = self.leases.values().filter(|lease| lease.worker == worker).map(|lease| lease.task).collect();
        WorkerRow {
            worker,
            state: worker_state_name(info.state()).to_owned(),
            slots: info.slots,
            tasks,
            because: banned.cloned().unwrap_or(info.idle_because),
            score: entry.score,
            free_stake: entry.free_stake,
            heard_unix_ms: entry.last_seen_unix_ms,
            version: info.software_version,
            engine: info.engine_profile,
            memory_bytes: info.memory_bytes,
            gpus: info.gpus,
            network: info.network,
            member: self.members().owned_at(Kind::Worker, worker).cloned(),
        }
    }

    /// The tasks at which nobody works, the longest waiting first.
    fn queue(&self, limit: usize) -> Queue {
        let leased = self.leased_tasks();
        let mut waiting: Vec<(u64, TaskId)> = self
            .book
            .tasks
            .open()
            .filter(|(task, _)| !leased.contains(task))
            .filter_map(|(task, deal)| {
                let deal = self.book.deals.get(&deal)?;
                Some((self.idle_since_ms(task, deal.deal.start_time), task))
            })
            .collect();
        waiting.sort_unstable();
        let tasks =
            waiting.iter().take(limit).filter_map(|(since_unix_ms, task)| self.queue_row(*task, *since_unix_ms));
        Queue { tasks: tasks.collect(), waiting: waiting.len() as u64 }
    }

    fn queue_row(&self, task: TaskId, since_unix_ms: u64) -> Option<QueueRow> {
        let (entry, deal) = self.book.task(task)?;
        Some(QueueRow {
            task,
            deal: entry.deal,
            index: entry.index,
            requester: deal.deal.requester,
            user: self.user_name(deal.deal.requester),
            category: deal.deal.category,
            since_unix_ms,
            cause: cause(self.explain_task(task)),
        })
    }

    fn explain(&self, subject: Subject) -> Cause {
        cause(match subject {
            Subject::Task(task) => self.explain_task(task),
            Subject::Worker(worker) => self.explain_worker(worker),
            Subject::Job(id) => match self.book.deals.contains_key(&DealId(id)) {
                true => self.explain_deal(DealId(id)),
                false => self.explain_request(OrderHash(id)),
            },
        })
    }

    /// Something happened to a task of ours.
    pub(super) fn trace(&mut self, task: TaskId, step: Step, worker: Option<Address>, text: &str) {
        if self.book.tasks.contains(&task) {
            self.traces.note(unix_ms(), task, step, worker, text);
        }
    }

    fn timeline(&self, task: TaskId) -> Result<Answer, String> {
        let since_unix_ms = self.parts.about.since_unix_ms;
        let Some(((moments, forgotten), (entry, deal))) = self.traces.of(task).zip(self.book.task(task)) else {
            return Err(format!(
                "nothing is remembered of the task {task}: timelines begin anew with each start of the pool; at most {OPEN_MAX} tasks of open deals have one, and of deals that are over the last {RETIRED_MAX} are kept"
            ));
        };
        // The ledger counts in seconds: a deal of the second in which the pool began is not older.
        let begins_late = deal.deal.start_time < since_unix_ms / 1_000;
        Ok(Answer::Trace(Box::new(Timeline { task, deal: entry.deal, since_unix_ms, begins_late, forgotten, moments })))
    }

    /// Takes back what the worker has, and ends its connection. First written, then done: a ban that is told holds.
    fn ban_by_hand(&mut self, worker: Address, reason: &str) -> Result<Answer, String> {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
        let not_written = |error| format!("the ban could not be written, nothing is done: {error}");
        self.parts.journal.ban(worker, &reason).map_err(not_written)?;
        tracing::info!(%worker, reason, "the operator bans a worker");
        self.step(vec![Event::WorkerBanned { worker: WorkerId(worker), reason: reason.clone() }]);
        self.shut_out(worker, &reason);
        self.step(Vec::new());
        Ok(Answer::Explain(self.explain(Subject::Worker(worker))))
    }

    fn unban(&mut self, worker: Address) -> Result<Answer, String> {
        if !self.parts.bans.read().unwrap_or_else(PoisonError::into_inner).contains_key(&worker) {
            return Err(format!("{worker} is not banned: `gristmill pool workers` shows who is"));
        }
        let not_written = |error| format!("that could not be written, nothing is done: {error}");
        self.parts.journal.unban(worker).map_err(not_written)?;
        self.parts.bans.write().unwrap_or_else(PoisonError::into_inner).remove(&worker);
        tracing::info!(%worker, "a worker is let in again");
        self.step(vec![Event::WorkerPardoned { worker: WorkerId(worker) }]);
        Ok(Answer::Explain(self.explain(Subject::Worker(worker))))
    }

    /// Tells the core who is banned, so that it can say so.
    pub(crate) fn restore_bans(&mut self) {
        let bans = self.parts.bans.read().unwrap_or_else(PoisonError::into_inner).clone();
        let banned = |(worker, reason)| Event::WorkerBanned { worker: WorkerId(worker), reason };
        self.pending.extend(bans.into_iter().map(banned));
    }

    fn set_draining(&mut self, draining: bool) -> Result<Answer, String> {
        let not_written = |error| format!("that could not be written, nothing is done: {error}");
        self.parts.journal.set_draining(draining).map_err(not_written)?;
        self.parts.keeping.drain(draining);
        let text = match draining {
            true => "the operator has the pool drained: no new deals",
            false => "the operator lets the pool take new deals",
        };
        tracing::info!("{text}");
        Ok(self.status_answer())
    }

    /// Whether the pool was to take no new deals, and all that it had are over. Deals that were made before its orders were closed
    /// have been seen then.
    pub(super) fn is_drained(&self) -> bool {
        if !self.parts.keeping.is_draining() {
            return false;
        }
        let standing = self.parts.keeping.standing();
        standing.draining
            && standing.orders.is_empty()
            && self.next_block > standing.block
            && self.reading.is_empty()
            && self.uninitialised.is_empty()
            && self.opening.is_empty()
            && self.book.deals.values().all(|deal| deal.open == 0)
    }

    /// Reads the ledger in the background, which may take minutes, and answers.
    fn report(&mut self, by: By, reply: Reply) {
        if let Err(error) = self.write_records() {
            let _ = reply.send(Err(error.to_string()));
            return;
        }
        let (hub, workerpool, reader) =
            (self.parts.hub.clone(), self.parts.workerpool, self.parts.journal.work_reader());
        let mut names = self.members().names();
        names.workers.extend(self.parts.overflow.iter().map(|overflow| (overflow.worker, MARKET.to_owned())));
        tokio::spawn(async move {
            let answer = async {
                let work =
                    tokio::task::spawn_blocking(move || reader.read()).await.map_err(|error| error.to_string())?;
                let work = work.map_err(|error| error.to_string())?;
                let report =
                    report::read(&hub, workerpool, &work, by, &names).await.map_err(|error| error.to_string())?;
                Ok(Answer::Report(Box::new(report)))
            };
            let _ = reply.send(answer.await);
        });
    }

    /// How long the pool runs, for its log when it ends.
    pub(super) fn uptime_s(&self) -> u64 {
        unix_ms().saturating_sub(self.parts.about.since_unix_ms) / 1_000
    }
}

fn cause(reply: ExplainReply) -> Cause {
    Cause { code: reply.code, text: reply.text, fix: reply.fix }
}
