//! What the workers say.

use std::ops::Bound;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use gristmill_classad::ClassAd;
use gristmill_credibility::Origin;
use gristmill_hub::HubClient;
use gristmill_protocol::convert::{FieldError, fixed};
use gristmill_protocol::link::{PoolEvent, PoolEventKind};
use gristmill_protocol::wire::{self, Hello, worker_frame};
use gristmill_scheduler::{DeclineReason, EngineProfile, Event, Fault, LeaseId, Offers, WorkerId, WorkerSpec};
use gristmill_types::{Amount, ContentId, TaskId};
use tokio::sync::mpsc;

use super::records::LeaseEnd;
use super::{Engine, LeaseEntry, News, WorkerEntry, unix_ms};
use crate::belief::origin;
use crate::error::PoolError;
use crate::journal::Upload;
use crate::open::SEALED_BYTES_MAX;
use crate::trace::Step;

/// Workers whose stakes and scores are read at a time: the ledger is asked about so many a second, however many there are.
const REFRESH_MAX: usize = 500;

/// What the ledger says of a worker: who, its score, its free stake.
pub(crate) type Figures = (Address, u64, Amount);

/// A result that a worker offers.
struct Offer {
    lease: LeaseId,
    task: TaskId,
    upload: Upload,
}

impl Engine {
    pub(super) fn on_worker_events(&mut self, events: Vec<PoolEvent>) -> Result<(), PoolError> {
        let (mut offers, mut joined) = (Vec::new(), Vec::new());
        for PoolEvent { worker, kind } in events {
            if let Some(entry) = self.workers.get_mut(&worker) {
                entry.last_seen_unix_ms = unix_ms();
            }
            match kind {
                PoolEventKind::Connected { hello, peer, .. } => {
                    self.on_connected(worker, &hello, origin(worker, peer));
                    joined.push(worker);
                }
                PoolEventKind::Disconnected { reason } => {
                    tracing::info!(%worker, reason, "a worker's connection ended");
                    if let Some(entry) = self.workers.get_mut(&worker) {
                        entry.connected = false;
                    }
                    self.pending.push(Event::WorkerLeft { worker: WorkerId(worker) });
                }
                PoolEventKind::Heartbeat(heartbeat) => {
                    let leases = heartbeat.leases.iter().filter_map(|lease| lease_id(&lease.lease_id).ok()).collect();
                    self.pending.push(Event::Heartbeat { worker: WorkerId(worker), leases });
                }
                PoolEventKind::Message(worker_frame::Body::ResultReady(ready)) => match self.offer(worker, &ready) {
                    Ok(Some(offer)) => offers.push((worker, offer)),
                    Ok(None) => {
                        let task =
                            fixed::<32>("task_id", &ready.task_id).map(|id| TaskId(id.into())).unwrap_or_default();
                        tracing::debug!(%worker, %task, "a result of a task that is not ours");
                    }
                    Err(error) => tracing::warn!(%worker, %error, "a malformed result"),
                },
                PoolEventKind::Message(body) => self.on_message(worker, body),
                _ => {}
            }
        }
        if !joined.is_empty() {
            tokio::spawn(read_figures(self.parts.hub.clone(), joined, self.news.clone()));
        }
        self.on_offers(offers)?;
        self.step(Vec::new());
        Ok(())
    }

    /// Its figures follow: nobody else waits for a ledger that does not answer. Until then those of its last visit count, and
    /// a worker that was never here has no stake to lock, so that it is given nothing.
    fn on_connected(&mut self, worker: Address, hello: &Hello, origin: Origin) {
        let known = self.workers.get(&worker).map(|entry| (entry.score, entry.free_stake, Arc::clone(&entry.ad)));
        let (score, free_stake, ad) = known.unwrap_or((0, Amount::ZERO, Arc::default()));
        let entry = WorkerEntry {
            connected: true,
            draining: false,
            slots: hello.slots,
            memory_bytes: hello.memory_bytes,
            offers: Offers { gpus: hello.gpus, network: hello.network },
            engine_profile: hello.engine_profile.clone(),
            software_version: hello.software_version.clone(),
            score,
            free_stake,
            last_seen_unix_ms: unix_ms(),
            ad: Arc::clone(&ad),
        };
        tracing::info!(%worker, slots = entry.slots, "a worker connected");
        self.workers.insert(worker, entry);
        let serves = self.members().served_by(worker);
        self.pending.push(Event::WorkerJoined(WorkerSpec {
            worker: WorkerId(worker),
            origin,
            slots: hello.slots,
            free_stake,
            score,
            profile: EngineProfile(hello.engine_profile.clone()),
            offers: Offers { gpus: hello.gpus, network: hello.network },
            ad,
            serves,
            overflow: self.parts.overflow.as_ref().filter(|_| self.buys(worker)).map(|of| Arc::new(of.board.begun())),
        }));
    }

    fn announce_newcomer(&self, worker: Address, free_stake: Amount) {
        if free_stake < self.parts.stake_needed
            && let Some(newcomers) = &self.parts.newcomers
        {
            // A full queue is no loss: the worker is announced again with the next look at its stake.
            let _ = newcomers.try_send(worker);
        }
    }

    fn on_message(&mut self, worker: Address, body: worker_frame::Body) {
        match body {
            worker_frame::Body::LeaseAccepted(accepted) => {
                if let Ok(lease) = lease_id(&accepted.lease_id) {
                    if let Some(entry) = self.leases.get(&lease).copied() {
                        self.trace(entry.task, Step::Accepted, Some(worker), "");
                    }
                    self.pending.push(Event::LeaseAccepted { lease });
                }
            }
            worker_frame::Body::LeaseDeclined(declined) => {
                let Ok(lease) = lease_id(&declined.lease_id) else { return };
                self.note_of_lease(lease, format!("worker {worker} declined: {}", declined.text));
                if let Some(LeaseEntry { task, .. }) = self.end_lease(lease, LeaseEnd::Declined) {
                    let _span = self.span(task).entered();
                    tracing::info!(%task, %worker, %lease, text = declined.text, "a lease was declined");
                    self.trace(task, Step::Declined, Some(worker), &declined.text);
                }
                let reason = match declined.reason() {
                    wire::DeclineReason::Busy | wire::DeclineReason::Stake => DeclineReason::Busy,
                    _ => DeclineReason::Unable(declined.text),
                };
                self.pending.push(Event::LeaseDeclined { lease, reason });
            }
            worker_frame::Body::LeaseFailed(failed) => {
                let Ok(lease) = lease_id(&failed.lease_id) else { return };
                self.note_of_lease(lease, format!("worker {worker} brought no result: {}", failed.text));
                let end = match failed.reason() {
                    wire::FailReason::Cancelled => LeaseEnd::Declined,
                    _ => LeaseEnd::Failed,
                };
                if let Some(LeaseEntry { task, .. }) = self.end_lease(lease, end) {
                    let _span = self.span(task).entered();
                    tracing::info!(%task, %worker, %lease, text = failed.text, "a lease brought no result");
                    self.trace(task, Step::LeaseFailed, Some(worker), &failed.text);
                }
                self.pending.push(match failed.reason() {
                    // The machine's owner wants it back: no fault of the task's, nor of the host's. It goes to somebody else.
                    wire::FailReason::Cancelled => Event::LeaseDeclined { lease, reason: DeclineReason::Busy },
                    reason => Event::LeaseFailed { lease, fault: fault_of(reason), reason: failed.text },
                });
            }
            worker_frame::Body::ContributeFailed(failed) => {
                let Ok(id) = fixed::<32>("contribute_failed.task_id", &failed.task_id) else { return };
                let task = TaskId(id.into());
                let _span = self.span(task).entered();
                tracing::info!(%task, %worker, text = failed.text, "a worker could not contribute");
                self.trace(task, Step::ContributeFailed, Some(worker), &failed.text);
                if let Some(entry) = self.book.tasks.get_mut(&task) {
                    entry.note(format!("worker {worker} could not contribute: {}", failed.text));
                }
                self.pending.push(Event::ContributionFailed { task, worker: WorkerId(worker), reason: failed.text });
            }
            worker_frame::Body::Describe(description) => self.on_description(worker, &description.ad),
            worker_frame::Body::Draining(_) => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.draining = true;
                }
                self.pending.push(Event::WorkerDraining { worker: WorkerId(worker) });
            }
            // What a worker says of its transactions is seen on the ledger; its word adds nothing.
            _ => {}
        }
    }

    /// Until a worker has said what its machine is, it matches only what requires nothing.
    fn on_description(&mut self, worker: Address, ad: &str) {
        let ad = match ClassAd::parse(ad) {
            Ok(ad) => Arc::new(ad),
            Err(error) => {
                tracing::warn!(%worker, %error, "what a worker says of its machine cannot be read");
                return;
            }
        };
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.ad = Arc::clone(&ad);
            self.pending.push(Event::WorkerDescribed { worker: WorkerId(worker), ad });
        }
    }

    fn note_of_lease(&mut self, lease: LeaseId, text: String) {
        if let Some(entry) = self.leases.get(&lease)
            && let Some(task) = self.book.tasks.get_mut(&entry.task)
        {
            task.note(text);
        }
    }

    /// `None` for a task that is not ours.
    fn offer(&self, worker: Address, ready: &wire::ResultReady) -> Result<Option<Offer>, FieldError> {
        let task = TaskId(fixed::<32>("result_ready.task_id", &ready.task_id)?.into());
        let lease = lease_id(&ready.lease_id)?;
        let result_hash = B256::from(fixed::<32>("result_ready.result_hash", &ready.result_hash)?);
        let sealed = ContentId(fixed("result_ready.sealed_cid", &ready.sealed_cid)?);
        let expected = "the size of a result that the pool takes";
        if ready.sealed_size > SEALED_BYTES_MAX {
            return Err(FieldError::Range { field: "result_ready.sealed_size", expected, got: ready.sealed_size });
        }
        let Some(entry) = self.book.tasks.get(&task) else { return Ok(None) };
        let before_reveal = entry.digest().is_none();
        let run_us = possible_run_us(self.leases.get(&lease), worker, task, unix_ms(), ready.run_us);
        let upload = Upload {
            result_hash,
            sealed,
            sealed_size: ready.sealed_size,
            before_reveal,
            opened: None,
            run_us,
            items: ready.items,
        };
        Ok(Some(Offer { lease, task, upload }))
    }

    /// Remembers uploads with one sync, then tells the core of them. A worker's first offer for a task stands: another
    /// upload later would let it change its mind after it saw somebody's reveal.
    fn on_offers(&mut self, offers: Vec<(Address, Offer)>) -> Result<(), PoolError> {
        let mut fresh = Vec::new();
        for (worker, offer) in &offers {
            self.trace(offer.task, Step::ResultReady, Some(*worker), &format!("{} bytes", offer.upload.sealed_size));
            if self.parts.journal.upload(offer.task, *worker).is_none() {
                fresh.push((offer.task, *worker, offer.upload.clone()));
            }
        }
        self.parts.journal.put_uploads(fresh)?;
        for (worker, offer) in offers {
            self.trace(offer.task, Step::Journalled, Some(worker), "");
            if let Some(lease) = self.end_lease(offer.lease, LeaseEnd::Result)
                && lease.worker == worker
                && !self.buys(worker)
            {
                self.run_times.add(unix_ms().saturating_sub(lease.since_ms));
            }
            let stored = self.parts.journal.upload(offer.task, worker);
            let Some(result_hash) = stored.map(|upload| upload.result_hash) else { continue };
            let (task, lease) = (offer.task, offer.lease);
            self.pending.push(Event::ResultReady { worker: WorkerId(worker), task, lease, result_hash });
        }
        self.write_many_records()
    }

    /// Reads stakes and scores of connected workers again, in the background: of so many at a time, in turn.
    pub(super) fn refresh_workers(&mut self) {
        if self.refreshing {
            return;
        }
        let after = self.refreshed.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.workers.range((after, Bound::Unbounded));
        let connected = rest.filter(|(_, entry)| entry.connected).map(|(worker, _)| *worker);
        let workers: Vec<Address> = connected.take(REFRESH_MAX).collect();
        // After the last one it begins again with the first.
        self.refreshed = workers.last().filter(|_| workers.len() == REFRESH_MAX).copied();
        if workers.is_empty() {
            return;
        }
        self.refreshing = true;
        let (hub, news) = (self.parts.hub.clone(), self.news.clone());
        tokio::spawn(async move {
            read_figures(hub, workers, news.clone()).await;
            let _ = news.send(News::Refreshed);
        });
    }

    pub(super) fn on_figures(&mut self, figures: Vec<Figures>) {
        for (worker, score, free_stake) in figures {
            let Some(before) = self.workers.get(&worker).map(|entry| (entry.score, entry.free_stake)) else { continue };
            self.announce(worker, score, free_stake, before);
        }
    }

    fn announce(&mut self, worker: Address, score: u64, free_stake: Amount, before: (u64, Amount)) {
        self.announce_newcomer(worker, free_stake);
        if (score, free_stake) == before {
            return;
        }
        if let Some(entry) = self.workers.get_mut(&worker) {
            (entry.score, entry.free_stake) = (score, free_stake);
        }
        self.pending.push(Event::WorkerUpdated { worker: WorkerId(worker), score, free_stake });
    }
}

/// How long a run took, as a worker says; 0 where that says nothing: no run is longer than its lease, which must be this worker's of this
/// task. Of a lease of an earlier process nothing is known.
fn possible_run_us(lease: Option<&LeaseEntry>, worker: Address, task: TaskId, now_ms: u64, run_us: u64) -> u64 {
    let own = lease.filter(|lease| (lease.worker, lease.task) == (worker, task));
    let longest_us = own.map_or(0, |lease| (now_ms.saturating_sub(lease.since_ms) + 1).saturating_mul(1_000));
    if run_us <= longest_us { run_us } else { 0 }
}

/// Reads stakes and scores; the news of them follows. What could not be read is read with the next look at all of them.
async fn read_figures(hub: HubClient, workers: Vec<Address>, news: mpsc::UnboundedSender<News>) {
    let (accounts, scores) = tokio::join!(hub.view_accounts(&workers), hub.view_scores(&workers));
    let figures = match (accounts, scores) {
        (Ok(accounts), Ok(scores)) => workers
            .into_iter()
            .zip(accounts)
            .zip(scores)
            .map(|((worker, account), score)| (worker, score, account.stake))
            .collect(),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "the workers' stakes could not be read");
            return;
        }
    };
    let _ = news.send(News::Figures { figures });
}

fn fault_of(reason: wire::FailReason) -> Fault {
    use wire::FailReason::{AppUnfetchable, DatasetUnfetchable, InputUnfetchable, WallClock};
    match reason {
        AppUnfetchable => Fault::App,
        InputUnfetchable | DatasetUnfetchable => Fault::Input,
        WallClock => Fault::TooLong,
        _ => Fault::Host,
    }
}

fn lease_id(bytes: &[u8]) -> Result<LeaseId, FieldError> {
    fixed("lease_id", bytes).map(LeaseId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_no_longer_than_its_own_lease() {
        let (worker, task, now_ms) = (Address::repeat_byte(1), TaskId(B256::repeat_byte(2)), 10_000);
        let lease = LeaseEntry { task, worker, since_ms: now_ms - 99 };
        let run_us = |lease: Option<&LeaseEntry>, run_us| possible_run_us(lease, worker, task, now_ms, run_us);
        assert_eq!((run_us(Some(&lease), 100_000), run_us(Some(&lease), 100_001)), (100_000, 0));
        assert_eq!(run_us(None, 1), 0);
        // Somebody's else, or of another task, which may run since long.
        assert_eq!(run_us(Some(&LeaseEntry { worker: Address::ZERO, ..lease }), 1), 0);
        assert_eq!(run_us(Some(&LeaseEntry { task: TaskId::default(), ..lease }), 1), 0);
    }
}
