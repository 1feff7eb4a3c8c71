//! Do what the core decided.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_hub::{CallData, sign};
use gristmill_protocol::wire::{self, CancelReason, RefuseReason, pool_frame};
use gristmill_protocol::{check, link};
use gristmill_result::Digest;
use gristmill_scheduler::{Call, DeclineReason, Effect, Event, Fence, LeaseId, RevokeReason, WorkerId};
use gristmill_types::results::results_hint;
use gristmill_types::{AppCode, ContentId, TaskId};
use tracing::Instrument;

use super::records::LeaseEnd;
use super::{Engine, News, unix_ms};
use crate::book::Book;
use crate::error::PoolError;
use crate::journal::Upload;
use crate::open::{Opening, open_upload};
use crate::trace::Step;

/// An upload whose bytes could not be had is tried again after this. Tests do not wait.
const OPEN_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2_000 });
/// So often, an hour in all; the next start of the pool begins anew.
const OPEN_TRIES_MAX: u32 = 1_800;

pub(super) fn perform(engine: &mut Engine, effect: Effect) {
    // Whatever is said meanwhile says of which task.
    let _span = span_of(engine, &effect).map(tracing::Span::entered);
    match effect {
        Effect::Lease { lease, fence, task, worker, expires_ms, .. } => {
            engine.lease(lease, fence, task, worker, expires_ms);
        }
        Effect::RevokeLease { lease, worker, reason } => engine.revoke(lease, worker, reason),
        Effect::Authorise { task, worker, lease, .. } => engine.authorise(task, worker, lease),
        Effect::AskReveal { task, worker } => {
            engine.trace(task, Step::RevealAsked, Some(worker.0), "");
            engine.tell(worker.0, pool_frame::Body::Reveal(wire::Reveal { task_id: task.as_bytes().to_vec() }));
        }
        Effect::OpenUpload { task, worker, digest } => engine.open_upload(task, worker.0, digest),
        Effect::Finalize { task, worker, .. } => engine.finalize(task, worker.0),
        Effect::Reopen { task } => {
            let call = engine.parts.hub.reopen(task);
            engine.call(task, Call::Reopen, call);
        }
        Effect::Claim { task } => {
            let call = engine.parts.hub.claim(task);
            engine.call(task, Call::Claim, call);
        }
        Effect::Concede { task } => {
            let call = engine.parts.hub.concede(task);
            engine.call(task, Call::Concede, call);
        }
        Effect::Ban { worker, reason } => engine.ban(worker.0, &reason),
        Effect::Forget { task, worker } => {
            engine.tell(worker.0, pool_frame::Body::Forget(wire::Forget { task_id: task.as_bytes().to_vec() }));
        }
        Effect::Note { task, text } => {
            tracing::info!(%task, text, "note");
            if let Some(entry) = engine.book.tasks.get_mut(&task) {
                entry.note(text);
            }
        }
    }
}

/// Of which task, deal, worker and lease an effect is, as far as there is one.
fn span_of(engine: &Engine, effect: &Effect) -> Option<tracing::Span> {
    let task = task_of(engine, effect)?;
    let span = engine.span(task);
    let (worker, lease) = match effect {
        Effect::Lease { worker, lease, .. }
        | Effect::Authorise { worker, lease, .. }
        | Effect::RevokeLease { worker, lease, .. } => (Some(worker), Some(lease)),
        Effect::AskReveal { worker, .. }
        | Effect::OpenUpload { worker, .. }
        | Effect::Finalize { worker, .. }
        | Effect::Forget { worker, .. } => (Some(worker), None),
        _ => (None, None),
    };
    span.record("worker", worker.map(|worker| tracing::field::display(worker.0)));
    span.record("lease", lease.map(tracing::field::display));
    Some(span)
}

fn task_of(engine: &Engine, effect: &Effect) -> Option<TaskId> {
    match effect {
        Effect::Lease { task, .. }
        | Effect::Authorise { task, .. }
        | Effect::AskReveal { task, .. }
        | Effect::OpenUpload { task, .. }
        | Effect::Finalize { task, .. }
        | Effect::Reopen { task }
        | Effect::Claim { task }
        | Effect::Concede { task }
        | Effect::Forget { task, .. }
        | Effect::Note { task, .. } => Some(*task),
        Effect::RevokeLease { lease, .. } => engine.leases.get(lease).map(|lease| lease.task),
        Effect::Ban { .. } => None,
    }
}

impl Engine {
    /// A span of what is done for a task: each line within has its id and its deal's.
    ///
    /// Errors are logged everywhere, so the span is one: it is there whatever is logged.
    pub(super) fn span(&self, task: TaskId) -> tracing::Span {
        use tracing::field::{Empty, display};
        let deal = self.book.tasks.get(&task).map(|entry| display(entry.deal));
        tracing::error_span!("task", %task, deal, worker = Empty, lease = Empty)
    }

    /// Sends a message, now or when there is room; a worker that is gone will be told what still matters when it comes back.
    fn tell(&self, worker: Address, body: pool_frame::Body) -> bool {
        let Err(error) = self.parts.links.send(worker, body) else { return true };
        if let link::SendError::WindowFull { window } = error {
            tracing::warn!(%worker, window, "a worker takes no messages, and is sent away");
            let text = format!("{window} messages waited for this worker, which took none of them: connect again");
            self.parts.links.dismiss(worker, link::refuse(RefuseReason::Session, text));
        } else {
            tracing::debug!(%worker, %error, "a message could not be sent");
        }
        false
    }

    fn lease(&mut self, lease: LeaseId, fence: Fence, task: TaskId, worker: WorkerId, expires_ms: u64) {
        let Some(message) = self.lease_message(lease, fence, task, expires_ms) else { return };
        self.trace(task, Step::Leased, Some(worker.0), &format!("fence {}", fence.0));
        self.begin_lease(lease, task, worker.0);
        if !self.tell(worker.0, pool_frame::Body::Lease(message)) {
            self.end_lease(lease, LeaseEnd::Declined);
            self.trace(task, Step::Declined, Some(worker.0), "it is not connected");
            self.pending.push(Event::LeaseDeclined { lease, reason: DeclineReason::Busy });
        }
    }

    fn lease_message(&self, lease: LeaseId, fence: Fence, task: TaskId, expires_ms: u64) -> Option<wire::Lease> {
        let (entry, deal) = self.book.task(task)?;
        // Arguments, inputs and items are read by the worker from the ledger itself; only small ones are repeated here.
        let args = deal.args.clone();
        Some(wire::Lease {
            lease_id: lease.0.to_vec(),
            fence: fence.0,
            task_id: task.as_bytes().to_vec(),
            deal_id: deal.deal.id.as_bytes().to_vec(),
            task_index: entry.index,
            bot_first: deal.deal.bot_first,
            bot_size: deal.deal.bot_size,
            app_type: deal.app.as_ref().map_or("unknown", AppCode::kind).to_owned(),
            app_cid: deal
                .app
                .as_ref()
                .and_then(AppCode::content)
                .map_or_else(|| vec![0; 32], |id| id.as_bytes().to_vec()),
            args,
            inputs: vec![],
            items: None,
            category_id: deal.deal.category,
            work_clock_s: deal.work_clock_s,
            expires_in_ms: expires_ms.saturating_sub(unix_ms()),
            contribution_deadline: deal.deal.start_time
                + gristmill_types::category::CONTRIBUTION_DEADLINE_RATIO * deal.work_clock_s,
            dataset: None,
            trust: deal.deal.trust.value(),
        })
    }

    fn revoke(&mut self, lease: LeaseId, worker: WorkerId, reason: RevokeReason) {
        if let Some(entry) = self.end_lease(lease, LeaseEnd::Revoked(reason)) {
            self.trace(entry.task, Step::Revoked, Some(worker.0), LeaseEnd::Revoked(reason).name());
        }
        let word = match reason {
            RevokeReason::Expired | RevokeReason::Overrun => CancelReason::Expired,
            RevokeReason::NotNeeded => CancelReason::Superseded,
            RevokeReason::TaskEnded => CancelReason::TaskOver,
            RevokeReason::Unknown | RevokeReason::Banned => CancelReason::UnknownLease,
        };
        let cancel = wire::Cancel { lease_id: lease.0.to_vec(), reason: word.into(), text: format!("{reason:?}") };
        self.tell(worker.0, pool_frame::Body::Cancel(cancel));
    }

    fn authorise(&mut self, task: TaskId, worker: WorkerId, lease: LeaseId) {
        self.trace(task, Step::Authorised, Some(worker.0), "");
        // Where an enclave is only simulated, the worker's own key stands for it: see `contribute` of the worker.
        let asks = self.book.task(task).is_some_and(|(_, deal)| deal.deal.asks_for_enclave());
        let challenge = if asks { worker.0 } else { Address::ZERO };
        let signature = sign::authorization(&self.parts.wallet, worker.0, task, challenge);
        let authorise = wire::Authorise {
            task_id: task.as_bytes().to_vec(),
            lease_id: lease.0.to_vec(),
            signature: signature.to_vec(),
        };
        self.tell(worker.0, pool_frame::Body::Authorise(authorise));
    }

    /// Opens an upload in the background; the news of it follows. Asked for again while that is under way, it does nothing:
    /// a lone task is settled, and its digest known, by two events.
    pub(super) fn open_upload(&mut self, task: TaskId, worker: Address, digest: B256) {
        let Some(upload) = self.parts.journal.upload(task, worker) else {
            // Only workers whose upload is held are authorised, so this one came by another pool's doing.
            tracing::warn!(%task, %worker, "a revealed result was never uploaded here");
            return;
        };
        if upload.opened.is_some() {
            self.pending.push(Event::UploadOpened { task, worker: WorkerId(worker), matches: true });
            return;
        }
        let sealed = (upload.sealed, upload.sealed_size);
        if let Entry::Vacant(place) = self.opening.entry((task, worker)) {
            place.insert((digest, 1));
            self.try_to_open(task, worker, digest, sealed);
        }
    }

    /// The pause after an upload could not be had is over.
    pub(super) fn open_again(&mut self, task: TaskId, worker: Address) {
        let sealed = self.parts.journal.upload(task, worker).map(|upload| (upload.sealed, upload.sealed_size));
        let (Some(sealed), Some((digest, tries))) = (sealed, self.opening.get_mut(&(task, worker))) else {
            self.opening.remove(&(task, worker));
            return;
        };
        let digest = *digest;
        *tries += 1;
        if *tries > OPEN_TRIES_MAX {
            self.opening.remove(&(task, worker));
            tracing::error!(%task, %worker, tries = OPEN_TRIES_MAX, "an upload stays out of reach; start the pool again to go on");
            return;
        }
        self.try_to_open(task, worker, digest, sealed);
    }

    fn try_to_open(&self, task: TaskId, worker: Address, digest: B256, sealed: (ContentId, u64)) {
        let (store, scratch) = (self.parts.store.clone(), self.parts.scratch.clone());
        let (news, places) = (self.news.clone(), Arc::clone(&self.openings));
        let opening = async move {
            // Nobody closes it.
            let _place = places.acquire_owned().await;
            let opening = open_upload(&store, &scratch, task, worker, Digest(digest), sealed).await;
            let _ = news.send(News::Opened { task, worker, opening });
        };
        let span = self.span(task);
        span.record("worker", tracing::field::display(worker));
        tokio::spawn(opening.instrument(span));
    }

    /// Takes in what came of uploads: those that lie open are written down together, with one sync.
    pub(super) fn on_opened(&mut self, openings: Vec<(TaskId, Address, Opening)>) -> Result<(), PoolError> {
        let (mut open, mut done) = (Vec::new(), Vec::new());
        for (task, worker, opening) in openings {
            let matches = match opening {
                Opening::Matches(opened) => {
                    let upload = self.parts.journal.upload(task, worker).cloned();
                    open.extend(upload.map(|upload| (task, worker, Upload { opened: Some(opened), ..upload })));
                    true
                }
                Opening::Wrong => false,
                Opening::Unavailable => {
                    let news = self.news.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(OPEN_PAUSE).await;
                        let _ = news.send(News::OpenAgain { task, worker });
                    });
                    continue;
                }
            };
            self.opening.remove(&(task, worker));
            done.push((task, worker, matches));
        }
        self.parts.journal.put_uploads(open)?;
        for (task, worker, matches) in done {
            self.trace(task, if matches { Step::UploadOpened } else { Step::UploadWrong }, Some(worker), "");
            self.pending.push(Event::UploadOpened { task, worker: WorkerId(worker), matches });
            self.retire_deal_of(task)?;
        }
        Ok(())
    }

    /// Marks the deal of `task` as finished once all its tasks are over and its results lie open.
    pub(super) fn retire_deal_of(&mut self, task: TaskId) -> Result<(), PoolError> {
        let Book { deals, tasks, .. } = &mut self.book;
        let Some(deal) = tasks.get(&task).and_then(|entry| deals.get_mut(&entry.deal)) else { return Ok(()) };
        if deal.open > 0 {
            return Ok(());
        }
        let id = deal.deal.id;
        let delivered = |task: TaskId| {
            let completed = tasks.get(&task).is_some_and(|entry| entry.digest().is_some());
            !completed || self.parts.journal.uploads(task).any(|(_, upload)| upload.opened.is_some())
        };
        // What was once delivered stays so.
        while deal.delivered < deal.deal.bot_size && delivered(id.task(deal.deal.bot_first + deal.delivered)) {
            deal.delivered += 1;
        }
        if deal.delivered == deal.deal.bot_size {
            let tasks: Vec<TaskId> = deal.deal.tasks().collect();
            self.traces.retire(tasks.iter().copied());
            self.parts.journal.finish_deal(id, tasks.into_iter())?;
        }
        Ok(())
    }

    fn finalize(&mut self, task: TaskId, worker: Address) {
        let Some(opened) = self.parts.journal.upload(task, worker).and_then(|upload| upload.opened.clone()) else {
            return;
        };
        let has_callback = self.book.task(task).is_some_and(|(_, deal)| !deal.deal.callback.is_zero());
        let results = results_hint(opened.pack);
        let callback_data = if has_callback { opened.commitment } else { Bytes::new() };
        let call = self.parts.hub.finalize(task, results.into_bytes().into(), callback_data);
        self.call(task, Call::Finalize, call);
    }

    /// Makes a call to the hub in the background. Each try has a key of its own: the hub itself refuses a second effect.
    fn call(&mut self, task: TaskId, call: Call, data: CallData) {
        match call {
            Call::Finalize => self.trace(task, Step::FinalizeSent, None, ""),
            other => self.trace(task, Step::CallSent, None, &format!("{other:?}")),
        }
        let key = format!("{call:?}:{task}:{}", unix_ms());
        let (outbox, news) = (self.parts.outbox.clone(), self.news.clone());
        let calling = async move {
            if let Err(error) = outbox.execute(data.intent(key)).await {
                let _ = news.send(News::CallFailed { task, call, reason: error.to_string() });
            }
        };
        tokio::spawn(calling.instrument(self.span(task)));
    }

    fn ban(&mut self, worker: Address, reason: &str) {
        tracing::warn!(%worker, reason, "a worker is banned");
        // First written, then done: who is told that it is banned must be banned after a restart too.
        match self.parts.journal.ban(worker, reason) {
            Ok(()) => self.shut_out(worker, reason),
            Err(error) => self.fault = Some(error.into()),
        }
    }

    /// Lets a worker in no more, and ends its connection.
    pub(super) fn shut_out(&mut self, worker: Address, reason: &str) {
        let mut bans = self.parts.bans.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        bans.insert(worker, reason.to_owned());
        drop(bans);
        let text = check::shorten(format!("this pool gives you no more work: {reason}"));
        self.parts.links.dismiss(worker, link::refuse(RefuseReason::Banned, text));
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.connected = false;
        }
        self.pending.push(Event::WorkerLeft { worker: WorkerId(worker) });
    }
}
