//! What people call those of whom the ledger has addresses.

use std::collections::BTreeMap;

use alloy_primitives::Address;

use super::{Kind, Members};

/// Names by address, as they are now; of who was expelled too, so that a report of the past still reads well.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The user and its first group, by the user's keys.
    pub users: BTreeMap<Address, (String, Option<String>)>,
    /// What workers are called.
    pub workers: BTreeMap<Address, String>,
}

impl Members {
    /// The names of users and workers.
    pub fn names(&self) -> Names {
        let users = self
            .users
            .values()
            .flat_map(|user| user.keys.iter().map(move |key| (*key, (user.name.clone(), user.group.clone()))));
        let workers = self.owned.values().filter(|owned| owned.kind == Kind::Worker && !owned.name.is_empty());
        Names { users: users.collect(), workers: workers.map(|owned| (owned.address, owned.name.clone())).collect() }
    }
}
