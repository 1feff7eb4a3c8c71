//! What is kept of workers across restarts, in pieces: a pool writes down those that changed.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use super::Credibility;
use crate::policy::{Policy, PolicyError};
use crate::seed::Seed;
use crate::worker::{Account, Cohort, Worker};

/// A piece of what is remembered. Of two with the same [`Memory::key`] the later counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory(Piece);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Piece {
    Worker(Address, Box<Worker>),
    Account(Address, Account),
    Cohorts([Cohort; 2]),
}

impl Memory {
    /// Of whom it is: the place in a table where a later one replaces it.
    pub fn key(&self) -> [u8; 21] {
        let (kind, address) = match &self.0 {
            Piece::Worker(worker, _) => (1, *worker),
            Piece::Account(account, _) => (2, *account),
            Piece::Cohorts(_) => (3, Address::ZERO),
        };
        let mut key = [kind; 21];
        key[1..].copy_from_slice(address.as_slice());
        key
    }
}

impl Credibility {
    /// Of a pool that was there before: nobody has joined yet and no task is open, but what was learnt counts.
    pub fn recall(policy: Policy, seed: Seed, memories: impl IntoIterator<Item = Memory>) -> Result<Self, PolicyError> {
        let mut recalled = Self::new(policy, seed)?;
        for Memory(piece) in memories {
            match piece {
                Piece::Worker(id, worker) => {
                    recalled.workers.insert(id, Worker { joined: false, in_flight: 0, ..*worker });
                }
                Piece::Account(id, account) if account.faults > 0 => {
                    recalled.accounts.insert(id, Account { proven: 0, ..account });
                }
                Piece::Account(id, _) => _ = recalled.accounts.remove(&id),
                Piece::Cohorts(cohorts) => {
                    recalled.cohorts = cohorts.map(|cohort| Cohort { unproven: 0, ..cohort });
                }
            }
        }
        Ok(recalled)
    }

    /// What is to be kept of these workers ([`Changes::learnt`](crate::Changes)), of the accounts behind them, and of all in common.
    pub fn memories(&self, workers: &BTreeSet<Address>) -> Vec<Memory> {
        if workers.is_empty() {
            return Vec::new();
        }
        let known = || workers.iter().filter_map(|id| Some((*id, self.workers.get(id)?)));
        let accounts = known().flat_map(|(_, worker)| worker.origin.accounts()).collect::<BTreeSet<_>>();
        let of_workers = known().map(|(id, worker)| Piece::Worker(id, Box::new(worker.clone())));
        let of_account = |id: Address| Piece::Account(id, self.accounts.get(&id).copied().unwrap_or_default());
        let pieces = of_workers.chain(accounts.into_iter().map(of_account)).chain([Piece::Cohorts(self.cohorts)]);
        pieces.map(Memory).collect()
    }
}
