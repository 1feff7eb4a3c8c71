//! Filters that clients install and poll.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::U256;
use gristmill_evm::LogQuery;

use crate::rpc::limits;

/// The installed filters.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    entries: HashMap<U256, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    /// The first block that was not told about yet.
    next: u64,
    used_ms: u64,
}

/// What a filter tells about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Logs in a range of blocks; an open end means that it goes on for ever.
    Logs { query: LogQuery, from: u64, to: Option<u64> },
    /// New blocks.
    Blocks,
}

impl Filters {
    /// Installs a filter that tells of blocks from `next` on. `None` when there are too many.
    pub fn install(&self, kind: Kind, next: u64, now_ms: u64) -> Option<U256> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now_ms);
        if table.entries.len() >= limits::FILTERS_MAX {
            return None;
        }
        table.last_id += 1;
        let id = U256::from(table.last_id);
        table.entries.insert(id, Entry { kind, next, used_ms: now_ms });
        Some(id)
    }

    /// The filter and the first block it has not told about.
    pub fn get(&self, id: U256, now_ms: u64) -> Option<(Kind, u64)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now_ms);
        let entry = table.entries.get_mut(&id)?;
        entry.used_ms = now_ms;
        Some((entry.kind.clone(), entry.next))
    }

    /// Notes that the blocks before `next` have been told about.
    pub fn advance(&self, id: U256, next: u64) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.entries.get_mut(&id) {
            entry.next = entry.next.max(next);
        }
    }

    /// Removes a filter; false if there was none.
    pub fn remove(&self, id: U256) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.entries.remove(&id).is_some()
    }
}

impl Table {
    fn expire(&mut self, now_ms: u64) {
        let lifetime_ms = limits::FILTER_LIFETIME.as_millis() as u64;
        self.entries.retain(|_, entry| now_ms.saturating_sub(entry.used_ms) <= lifetime_ms);
    }
}
