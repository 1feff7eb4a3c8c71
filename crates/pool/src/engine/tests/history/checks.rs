//! What must hold of a market: after each death, and at its end.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use gristmill_hub::audit;
use gristmill_poco::check::Shown;
use gristmill_result::Digest;
use gristmill_result::pack::verify_pack;
use gristmill_types::results::results_pack;
use gristmill_types::{TaskId, TaskStatus};

use super::{BAN_REASON, JOURNAL, Market, chain};
use crate::error::PoolError;
use crate::journal::Journal;

impl Market {
    /// What the last process may not have forgotten.
    pub(super) fn check_journal(&self, journal: &Journal) {
        let seen = self.town.seen();
        for ((task, worker), hash) in &seen.authorised {
            let stored = journal.stored_uploads(*task).unwrap();
            let upload = stored.iter().find(|(by, _)| by == worker);
            let kept = upload.map(|(_, upload)| upload.result_hash);
            assert_eq!(kept, Some(*hash), "the result of {worker} for {task} was taken and is lost");
        }
        let bans = journal.bans().unwrap();
        for (worker, banned) in &self.told.banned {
            // Whom the operator let in again the pool may have banned since, for what the ledger says of it.
            let reason = bans.get(worker);
            let holds = if *banned { reason.is_some() } else { reason.is_none_or(|reason| reason != BAN_REASON) };
            assert!(holds, "the operator was told otherwise of {worker}: {bans:?}");
        }
        for worker in &seen.turned_away {
            assert!(bans.contains_key(worker), "{worker} was told that it is banned: {bans:?}");
        }
        let mut given: BTreeMap<(TaskId, Address), u64> = BTreeMap::new();
        for (_, _, _, task, worker) in &seen.leases {
            *given.entry((*task, *worker)).or_default() += 1;
        }
        for (key, work) in journal.work_reader().read().unwrap() {
            let given = given.get(&key).copied().unwrap_or_default();
            assert!(work.leases <= given, "{key:?}: {} leases are counted, and {given} were given", work.leases);
        }
    }

    /// A pool that is told to drain goes on with it, unless the last process came to its end and died before it could say so.
    pub(super) async fn check_drain(&self, journal: &Journal) {
        if self.told.draining.get() && !journal.is_draining().unwrap() {
            assert_eq!(self.open().await, 0, "the operator was told that the pool is drained, and it takes new deals");
            self.told.draining.set(false);
        }
    }

    /// Each lease is told once, under a fence above all those of the processes before.
    pub(super) fn check_leases(&self) {
        let seen = self.town.seen();
        let (mut ids, mut last) = (BTreeSet::new(), BTreeMap::<u64, (u64, u64)>::new());
        for (life, fence, lease, ..) in &seen.leases {
            assert!(ids.insert(lease.clone()), "a lease was given twice");
            let range = last.entry(*life).or_insert((*fence, *fence));
            *range = (range.0.min(*fence), range.1.max(*fence));
        }
        let ranges: Vec<(u64, u64)> = last.into_values().collect();
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "fences of two processes overlap: {ranges:?}");
    }

    pub(super) fn check_fault(&mut self, error: &PoolError) {
        let text = chain(error);
        assert!(matches!(error, PoolError::Database(_) | PoolError::Outbox(_)), "{text}");
        assert!(["full", "disk", "database"].iter().any(|word| text.contains(word)), "{text}");
        self.tally.faults += 1;
    }

    /// I1 to I8, each task over, and what was accepted lies open in the store.
    pub(super) async fn check_ledger(&mut self) {
        let audit = audit::audit(&self.town.hub, BTreeMap::new()).await.unwrap();
        let mut shown = Shown { source: "store".to_owned(), ..Shown::default() };
        for (id, task) in &audit.replay.books().tasks {
            if task.status == TaskStatus::Completed {
                shown.accepted.insert(*id, self.delivered(&task.results, task.digest));
            }
        }
        audit.check(&[shown], true).unwrap();
        for (task, status) in self.tasks().await {
            match status {
                TaskStatus::Completed => self.tally.completed += 1,
                TaskStatus::Failed => self.tally.failed += 1,
                other => panic!("{task} is {other:?} at the end"),
            }
        }
        let life = self.town.machine.start(None);
        let journal = Journal::open(self.town.machine.database(JOURNAL, life).unwrap()).unwrap();
        for (deal, record) in &audit.replay.books().deals {
            let completed = |task| audit.replay.books().tasks[&task].status == TaskStatus::Completed;
            if record.terms.indexes().all(|index| completed(deal.task(index))) {
                assert!(journal.is_finished(*deal).unwrap(), "each start would read {deal} again");
            }
        }
        self.told.draining.set(false);
        self.check_journal(&journal);
        assert!(!journal.is_draining().unwrap(), "a drained pool takes new deals when it is started again");
        self.check_leases();
    }

    fn delivered(&self, hint: &[u8], digest: Option<B256>) -> Option<B256> {
        let bytes = self.town.store.get_bytes(results_pack(hint)?, 1 << 20).ok()?;
        verify_pack(&mut bytes.as_slice(), Digest(digest?)).ok().map(|header| header.commitment.digest().0)
    }
}
