//! The digest over all decisions of a run.

use alloy_primitives::{Address, B256, Keccak256};
use gristmill_poco::{Books, HubEvent};
use gristmill_scheduler::Effect;

/// What the scheduler decided and what the ledger did, hashed in order.
pub(crate) struct Trace {
    hasher: Keccak256,
    pub decisions: u64,
    pub events: u64,
}

impl Trace {
    pub fn new() -> Self {
        Self { hasher: Keccak256::new(), decisions: 0, events: 0 }
    }

    fn put(&mut self, at_ms: u64, tag: u8, parts: &[&[u8]]) {
        let mut head = [0; 9];
        head[..8].copy_from_slice(&at_ms.to_be_bytes());
        head[8] = tag;
        self.hasher.update(head);
        for part in parts {
            self.hasher.update(part);
        }
    }

    /// A decision of the scheduler. The texts of notes and bans are for people and do not count.
    pub fn effect(&mut self, at_ms: u64, effect: &Effect) {
        self.decisions += 1;
        match effect {
            Effect::Lease { fence, task, worker, expires_ms, .. } => {
                let (fence, expires) = (fence.0.to_be_bytes(), expires_ms.to_be_bytes());
                self.put(at_ms, 1, &[&fence, task.as_bytes(), worker.0.as_slice(), &expires]);
            }
            Effect::RevokeLease { lease, worker, reason } => {
                self.put(at_ms, 2, &[&lease.0, worker.0.as_slice(), &[*reason as u8]]);
            }
            Effect::Authorise { task, worker, solo, .. } => {
                self.put(at_ms, 3, &[task.as_bytes(), worker.0.as_slice(), &[u8::from(*solo)]]);
            }
            Effect::AskReveal { task, worker } => self.put(at_ms, 4, &[task.as_bytes(), worker.0.as_slice()]),
            Effect::OpenUpload { task, worker, digest } => {
                self.put(at_ms, 5, &[task.as_bytes(), worker.0.as_slice(), digest.as_slice()]);
            }
            Effect::Finalize { task, worker, digest } => {
                self.put(at_ms, 6, &[task.as_bytes(), worker.0.as_slice(), digest.as_slice()]);
            }
            Effect::Reopen { task } => self.put(at_ms, 7, &[task.as_bytes()]),
            Effect::Claim { task } => self.put(at_ms, 8, &[task.as_bytes()]),
            Effect::Concede { task } => self.put(at_ms, 9, &[task.as_bytes()]),
            Effect::Ban { worker, .. } => self.put(at_ms, 10, &[worker.0.as_slice()]),
            Effect::Forget { task, worker } => self.put(at_ms, 11, &[task.as_bytes(), worker.0.as_slice()]),
            Effect::Note { task, .. } => self.put(at_ms, 12, &[task.as_bytes()]),
        }
    }

    /// An event of the ledger. Money is in the final books.
    pub fn event(&mut self, at_ms: u64, event: &HubEvent) {
        self.events += 1;
        let mut put = |tag: u8, task: &[u8], worker: Address| self.put(at_ms, tag, &[task, worker.as_slice()]);
        match event {
            HubEvent::TaskInitialize { task, .. } => put(33, task.as_bytes(), Address::ZERO),
            HubEvent::TaskContribute { task, worker, .. } => put(34, task.as_bytes(), *worker),
            HubEvent::TaskConsensus { task, .. } => put(35, task.as_bytes(), Address::ZERO),
            HubEvent::TaskReveal { task, worker, .. } => put(36, task.as_bytes(), *worker),
            HubEvent::TaskReopen { task } => put(37, task.as_bytes(), Address::ZERO),
            HubEvent::TaskFinalize { task, .. } => put(38, task.as_bytes(), Address::ZERO),
            HubEvent::TaskClaimed { task } => put(39, task.as_bytes(), Address::ZERO),
            HubEvent::TaskConcede { task, .. } => put(40, task.as_bytes(), Address::ZERO),
            HubEvent::AccurateContribution { task, worker } => put(41, task.as_bytes(), *worker),
            HubEvent::FaultyContribution { task, worker } => put(42, task.as_bytes(), *worker),
            _ => {}
        }
    }

    /// The digest, with the books as they ended.
    pub fn finish(mut self, books: &Books) -> B256 {
        for (owner, account) in &books.accounts {
            let (stake, locked) = (account.stake.ngrist().to_be_bytes(), account.locked.ngrist().to_be_bytes());
            self.put(0, 64, &[owner.as_slice(), &stake, &locked]);
        }
        for (worker, score) in &books.scores {
            self.put(0, 65, &[worker.as_slice(), &score.to_be_bytes()]);
        }
        self.hasher.finalize()
    }
}
