//! Keep count: leases that begin and end, what the journal remembers of them, and the metrics.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use gristmill_scheduler::{LeaseId, RevokeReason};
use gristmill_types::TaskId;

use super::{Engine, LeaseEntry, unix_ms};
use crate::error::PoolError;
use crate::journal::{SpentTable, Work, WorkTable, day};
use crate::members::QUOTA_DAYS;
use crate::metrics::{Counters, Exposition, Labels};
use crate::status::Status;

/// What was done and is not in the journal yet, in (task, worker): past it the journal is written at once.
const UNWRITTEN_MAX: usize = 4_096;

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub counters: Counters,
    /// What the journal has to remember still. A crash loses it: a second of lease times.
    unwritten: WorkTable,
    /// How long the leases of members' tasks lasted, within the days of a quota. Its size is bound by the members' keys.
    pub spent: SpentTable,
    /// Of it, what is not in the journal yet.
    spent_unwritten: BTreeSet<(Address, u32)>,
    /// When the last lease of an open task ended.
    idle_since_ms: BTreeMap<TaskId, u64>,
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// Its result is there.
    Result,
    /// The worker does not take it, or its owner wants the machine back.
    Declined,
    /// The worker says that there is no result.
    Failed,
    /// It was taken back.
    Revoked(RevokeReason),
    /// The task is over.
    TaskOver,
}

impl LeaseEnd {
    /// A word for metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Revoked(RevokeReason::Expired) => "expired",
            Self::Revoked(RevokeReason::Overrun) => "overrun",
            Self::Revoked(RevokeReason::NotNeeded) => "not_needed",
            Self::Revoked(RevokeReason::Banned) => "banned",
            Self::Revoked(RevokeReason::Unknown) => "unknown",
            Self::Revoked(RevokeReason::TaskEnded) | Self::TaskOver => "task_over",
        }
    }

    /// Whether the worker owes a result.
    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Revoked(RevokeReason::Expired | RevokeReason::Overrun))
    }
}

impl Engine {
    /// A lease goes out.
    pub(super) fn begin_lease(&mut self, lease: LeaseId, task: TaskId, worker: Address) {
        tracing::debug!(%task, %worker, %lease, "a lease");
        self.records.counters.leases_started += 1;
        self.leases.insert(lease, LeaseEntry { task, worker, since_ms: unix_ms() });
    }

    /// A lease is over; nothing if it was already.
    pub(super) fn end_lease(&mut self, lease: LeaseId, end: LeaseEnd) -> Option<LeaseEntry> {
        let entry = self.leases.remove(&lease)?;
        let now = unix_ms();
        let (task, worker, lease_ms) = (entry.task, entry.worker, now.saturating_sub(entry.since_ms));
        let _span = self.span(task).entered();
        tracing::debug!(%task, %worker, %lease, lease_ms, end = end.name(), "a lease is over");
        let records = &mut self.records;
        *records.counters.leases_ended.entry(end.name()).or_default() += 1;
        records.idle_since_ms.insert(task, now);
        let more = Work { leases: 1, failures: u64::from(end.is_failure()), lease_ms, bytes: 0 };
        records.unwritten.entry((task, worker)).or_default().add(&more);
        self.charge(task, now, lease_ms);
        Some(entry)
    }

    /// Counts a lease for the quotas of whoever asked for it, if that is a member.
    fn charge(&mut self, task: TaskId, now_ms: u64, lease_ms: u64) {
        let Some(requester) = self.book.task(task).map(|(_, deal)| deal.deal.requester) else { return };
        if self.members().user_of(requester).is_none() {
            return;
        }
        let at = (requester, day(now_ms));
        if !self.records.spent.contains_key(&at) {
            // A new day: the oldest leaves the quotas.
            self.records.spent.retain(|(_, then), _| u64::from(*then) + QUOTA_DAYS > u64::from(at.1));
        }
        let spent = self.records.spent.entry(at).or_default();
        *spent = spent.saturating_add(lease_ms);
        self.records.spent_unwritten.insert(at);
    }

    /// A task is over, and with it its leases.
    pub(super) fn end_leases_of(&mut self, task: TaskId) {
        let over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, entry)| entry.task == task).map(|(lease, _)| *lease).collect();
        for lease in over {
            self.end_lease(lease, LeaseEnd::TaskOver);
        }
        self.records.idle_since_ms.remove(&task);
    }

    /// Since when nobody works at a task: its last lease ended, or its deal began.
    pub(super) fn idle_since_ms(&self, task: TaskId, deal_start_s: u64) -> u64 {
        self.records.idle_since_ms.get(&task).copied().unwrap_or_else(|| deal_start_s.saturating_mul(1_000))
    }

    /// Writes into the journal what was counted.
    pub(super) fn write_records(&mut self) -> Result<(), PoolError> {
        let learnt = self.parts.scheduler.take_memories();
        let records = &mut self.records;
        let spent = records.spent_unwritten.iter().filter_map(|at| Some((*at, *records.spent.get(at)?))).collect();
        let apps = self.item_times.take_changes();
        self.parts.journal.add_work(&records.unwritten, &spent, &learnt, &apps)?;
        records.unwritten.clear();
        records.spent_unwritten.clear();
        Ok(())
    }

    /// The same if it is much.
    pub(super) fn write_many_records(&mut self) -> Result<(), PoolError> {
        match self.records.unwritten.len() < UNWRITTEN_MAX {
            true => Ok(()),
            false => self.write_records(),
        }
    }

    /// The metrics, in the text exposition format.
    pub(super) fn metrics(&self) -> String {
        let mut text = Exposition::default();
        let status = self.operator_status();
        about_pool(&mut text, &status);
        about_market(&mut text, &status);
        let counters = &self.records.counters;
        text.counter("gristmill_pool_leases_started_total", "Leases given.", [plain(counters.leases_started)]);
        let ended: Vec<_> =
            counters.leases_ended.iter().map(|(reason, count)| ([("reason", *reason)], *count)).collect();
        let ended = ended.iter().map(|(labels, count)| (labels as Labels<'_>, *count));
        text.counter("gristmill_pool_leases_ended_total", "Leases that are over, by why.", ended);
        for (name, help, count) in [
            ("contributions", "Contributions seen on the ledger.", counters.contributions),
            ("contributions_rejected", "Contributions that the ledger proved wrong.", counters.contributions_rejected),
            ("reveals", "Digests revealed on the ledger.", counters.reveals),
        ] {
            text.counter(&format!("gristmill_pool_{name}_total"), help, [plain(count)]);
        }
        let help = "How long the scheduler takes for the events that come together.";
        text.histogram("gristmill_pool_decision_seconds", help, &counters.decisions);
        let help = "How long a commit of the journal takes, its sync included.";
        text.histogram("gristmill_pool_journal_commit_seconds", help, &self.parts.journal.commits);
        text.finish()
    }
}

/// A sample without labels.
fn plain<V>(value: V) -> (Labels<'static>, V) {
    (&[], value)
}

fn about_pool(text: &mut Exposition, status: &Status) {
    text.gauge(
        "gristmill_pool_info",
        "The pool's software.",
        [(&[("version", status.version.as_str())] as Labels<'_>, 1)],
    );
    let start = status.since_unix_ms as f64 / 1e3;
    text.gauge("gristmill_pool_start_time_seconds", "When the pool started, in Unix time.", [plain(start)]);
    text.gauge("gristmill_pool_draining", "1 while the pool takes no new deals.", [plain(u8::from(status.draining))]);
    let workers = status.workers;
    text.gauge(
        "gristmill_pool_workers",
        "Connected workers, with a lease or without.",
        [
            (&[("state", "busy")] as Labels<'_>, workers.busy),
            (&[("state", "idle")], workers.connected.saturating_sub(workers.busy)),
        ],
    );
    for (name, help, value) in [
        ("workers_banned", "Banned workers.", workers.banned),
        ("slots", "Tasks that the connected workers take at a time.", workers.slots),
        ("slots_free", "Of these, without a lease.", workers.slots_free),
        ("leases", "Leases that are out.", workers.leases),
        ("deals", "Deals with a task that is not over.", status.deals_open),
        ("reduces_waiting", "Reduces that wait for their map.", status.reduces_waiting),
        ("ledger_block", "The last block that was looked at.", status.block),
    ] {
        text.gauge(&format!("gristmill_pool_{name}"), help, [plain(value)]);
    }
    let tasks = status.tasks;
    text.gauge(
        "gristmill_pool_tasks",
        "Tasks that are not over, with a lease or without.",
        [(&[("state", "waiting")] as Labels<'_>, tasks.waiting), (&[("state", "running")], tasks.running)],
    );
    text.counter(
        "gristmill_pool_tasks_total",
        "Tasks that are over, since the pool started.",
        [(&[("outcome", "completed")] as Labels<'_>, tasks.completed), (&[("outcome", "failed")], tasks.failed)],
    );
}

fn about_market(text: &mut Exposition, status: &Status) {
    let grist =
        |amount: gristmill_types::Amount| amount.ngrist() as f64 / gristmill_types::amount::NGRIST_PER_GRIST as f64;
    let Some(stake) = &status.stake else { return };
    text.gauge(
        "gristmill_pool_stake_grist",
        "What the pool has in its account at the hub.",
        [(&[("state", "free")] as Labels<'_>, grist(stake.free)), (&[("state", "locked")], grist(stake.locked))],
    );
    let covers: Vec<(String, u64)> =
        stake.covers.iter().filter_map(|cover| Some((cover.category.to_string(), cover.tasks?))).collect();
    by_category(
        text,
        "gristmill_pool_stake_covers_tasks",
        "More tasks of a category for which the free stake is enough.",
        &covers,
    );
    let mut left: BTreeMap<u64, u64> = BTreeMap::new();
    for order in &status.orders {
        let sum = left.entry(order.category).or_default();
        *sum = sum.saturating_add(order.remaining);
    }
    let left: Vec<(String, u64)> = left.into_iter().map(|(category, tasks)| (category.to_string(), tasks)).collect();
    let help = "Tasks for which the pool's orders on the ledger can still be matched.";
    by_category(text, "gristmill_pool_order_remaining_tasks", help, &left);
}

fn by_category(text: &mut Exposition, name: &str, help: &str, values: &[(String, u64)]) {
    let labels: Vec<_> = values.iter().map(|(category, value)| ([("category", category.as_str())], *value)).collect();
    text.gauge(name, help, labels.iter().map(|(labels, value)| (labels as Labels<'_>, *value)));
}
