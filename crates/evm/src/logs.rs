//! Finds logs by contract and topics.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Log};

use crate::error::StoreError;
use crate::schema::{self, LogTerm, Place, StoredReceipt};
use crate::view::{View, damaged};

/// Which logs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Contracts; empty means any.
    pub addresses: Vec<Address>,
    /// For each of the four positions the topics that are accepted; empty means any.
    pub topics: [Vec<B256>; 4],
}

/// A log with its place on the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLog {
    /// The log.
    pub log: Log,
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Time of its block, in seconds since 1970.
    pub block_timestamp: u64,
    /// Hash of its transaction.
    pub transaction_hash: B256,
    /// Index of its transaction in the block.
    pub transaction_index: u32,
    /// Index of the log in the block.
    pub log_index: u64,
}

/// Why logs could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More logs match than the caller wants to get.
    #[error("query returned more than {limit} results: ask for a smaller range of blocks")]
    TooMany {
        /// The bound, in logs.
        limit: usize,
    },
}

impl LogQuery {
    /// Whether a log is one of those wanted.
    pub fn matches(&self, log: &Log) -> bool {
        if !self.addresses.is_empty() && !self.addresses.contains(&log.address) {
            return false;
        }
        self.topics.iter().enumerate().all(|(position, accepted)| {
            accepted.is_empty() || log.topics().get(position).is_some_and(|topic| accepted.contains(topic))
        })
    }

    /// The terms of the query: a log must have one of each list.
    fn terms(&self) -> Vec<Vec<LogTerm>> {
        let mut all = Vec::new();
        if !self.addresses.is_empty() {
            all.push(self.addresses.iter().map(|address| LogTerm::Address(*address)).collect());
        }
        for (position, accepted) in (0u8..).zip(&self.topics) {
            if !accepted.is_empty() {
                all.push(accepted.iter().map(|topic| LogTerm::Topic(position, *topic)).collect());
            }
        }
        if all.is_empty() {
            all.push(vec![LogTerm::Any]);
        }
        all
    }
}

impl View {
    /// The logs of blocks `from` to `to` (both included) that match, in the ledger's order, `limit` at most.
    ///
    /// The cost follows from how many transactions have the rarest of the query's terms, not from the number of blocks.
    ///
    /// # Errors
    /// [`LogsError::TooMany`] when more than `limit` match.
    pub fn logs(&self, query: &LogQuery, from: u64, to: u64, limit: usize) -> Result<Vec<FoundLog>, LogsError> {
        let to = to.min(self.head());
        if from > to {
            return Ok(Vec::new());
        }
        let places = self.places(query, from, to)?;
        let receipts = self.table(schema::RECEIPTS)?;
        let transactions = self.table(schema::TRANSACTIONS)?;
        let mut found = Vec::new();
        let mut header = None;
        for place in places {
            let receipt = self.receipt_in(&receipts, place)?;
            if !receipt.logs.iter().any(|log| query.matches(log)) {
                continue;
            }
            let transaction = self.transaction_in(&transactions, place)?;
            let header = match &header {
                Some(header) if is_number(header, place.0) => header,
                _ => header.insert(self.header(place.0)?.ok_or_else(|| damaged("headers", place.0))?),
            };
            let at = LogPlace {
                number: place.0,
                hash: header.hash(),
                timestamp: header.timestamp,
                transaction_hash: *transaction.inner().tx_hash(),
                index: place.1,
            };
            collect(&receipt, query, at, &mut found);
            if found.len() > limit {
                return Err(LogsError::TooMany { limit });
            }
        }
        Ok(found)
    }

    /// Places of the transactions that have, for each list of terms, one of them.
    fn places(&self, query: &LogQuery, from: u64, to: u64) -> Result<BTreeSet<Place>, StoreError> {
        let mut places: Option<BTreeSet<Place>> = None;
        // Topics come last and are the rarest; starting with them keeps the sets small.
        for terms in query.terms().iter().rev() {
            let mut matching = BTreeSet::new();
            for term in terms {
                self.places_of(*term, from, to, places.as_ref(), &mut matching)?;
            }
            if matching.is_empty() {
                return Ok(matching);
            }
            places = Some(matching);
        }
        Ok(places.unwrap_or_default())
    }

    fn places_of(
        &self,
        term: LogTerm,
        from: u64,
        to: u64,
        among: Option<&BTreeSet<Place>>,
        matching: &mut BTreeSet<Place>,
    ) -> Result<(), StoreError> {
        let failed =
            |error: gristmill_datadir::redb::StorageError| StoreError::Database(self.db().failed("read", error.into()));
        let table = self.table(schema::LOG_TERMS)?;
        if let Some(among) = among {
            for place in among {
                if table.get(&term.key(*place)[..]).map_err(failed)?.is_some() {
                    matching.insert(*place);
                }
            }
            return Ok(());
        }
        let (first, last) = (term.key((from, 0)), term.key((to, u32::MAX)));
        for entry in table.range(&first[..]..=&last[..]).map_err(failed)? {
            let (key, _) = entry.map_err(failed)?;
            let place = schema::parse_place(&key.value()[33..]);
            matching.insert(place.ok_or_else(|| damaged("log_terms", "a key is too short"))?);
        }
        Ok(())
    }
}

fn is_number(header: &crate::chain::SealedHeader, number: u64) -> bool {
    header.number == number
}

/// Where a transaction with logs stands.
struct LogPlace {
    number: u64,
    hash: B256,
    timestamp: u64,
    transaction_hash: B256,
    index: u32,
}

fn collect(receipt: &StoredReceipt, query: &LogQuery, at: LogPlace, found: &mut Vec<FoundLog>) {
    for (log, log_index) in receipt.logs.iter().zip(receipt.first_log_index..) {
        if query.matches(log) {
            found.push(FoundLog {
                log: log.clone(),
                block_number: at.number,
                block_hash: at.hash,
                block_timestamp: at.timestamp,
                transaction_hash: at.transaction_hash,
                transaction_index: at.index,
                log_index,
            });
        }
    }
}
