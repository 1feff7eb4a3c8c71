//! Find jobs, deals and tasks on the ledger by the beginning of their ids.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

use alloy_sol_types::SolEvent;
use gristmill_hub::HubClient;
use gristmill_hub::abi::IHub;
use gristmill_types::{Address, DealId, JobParams, OrderHash, RequestOrder, Signed, TaskId};
use gristmill_wallet::recover;

use crate::catalog::logs_of;
use crate::error::RequesterError;

/// Digits that the beginning of an id must have.
const PREFIX_DIGITS_MIN: usize = 4;
/// Ids that an error lists.
const LISTED_MAX: usize = 5;

/// A request on the ledger: what was asked for, and the deals it became.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    /// Its hash.
    pub hash: OrderHash,
    /// The request, if it was broadcast.
    pub signed: Option<Signed<RequestOrder>>,
    /// The block it first appears in.
    pub block: u64,
    /// Its deals, in order.
    pub deals: Vec<DealRecord>,
}

/// A deal of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DealRecord {
    /// The deal.
    pub id: DealId,
    /// Index of its first task within the request.
    pub first: u64,
    /// How many tasks it has.
    pub size: u64,
}

impl RequestRecord {
    /// The request whose results this one's input is.
    pub fn after(&self) -> Option<OrderHash> {
        JobParams::parse(&self.signed.as_ref()?.order.params).ok()?.gristmill_after
    }

    /// Tasks that have a pool.
    pub fn matched(&self) -> u64 {
        self.deals.iter().map(|deal| deal.size).fold(0, u64::saturating_add)
    }
}

/// All requests on a ledger.
#[derive(Clone, Debug, Default)]
pub struct JobIndex {
    requests: BTreeMap<OrderHash, RequestRecord>,
}

impl JobIndex {
    /// Reads all requests that were broadcast or matched. A broadcast that its requester has not signed is left out unless it
    /// was matched: anybody may broadcast anything.
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn read(hub: &HubClient) -> BoxFuture<'_, Result<Self, RequesterError>> {
        Box::pin(async move {
            let events = vec![IHub::BroadcastRequestOrder::SIGNATURE_HASH, IHub::OrdersMatched::SIGNATURE_HASH];
            let mut index = Self::default();
            for log in logs_of(hub, events).await? {
                if let Ok(event) = IHub::BroadcastRequestOrder::decode_raw_log(&log.topics, &log.data) {
                    let signed: Signed<RequestOrder> = event.requestorder.into();
                    index.broadcast(hub.order_hash(&signed.order), signed, log.block);
                } else if let Ok(event) = IHub::OrdersMatched::decode_raw_log(&log.topics, &log.data) {
                    let size = event.volume.saturating_to();
                    index.matched(OrderHash(event.requestHash), DealId(event.dealid), size, log.block);
                }
            }
            index.requests.retain(|hash, record| {
                !record.deals.is_empty()
                    || record.signed.as_ref().is_some_and(|signed| {
                        recover(hash.0, &signed.sign).is_ok_and(|signer| signer == signed.order.requester)
                    })
            });
            Ok(index)
        })
    }

    fn entry(&mut self, hash: OrderHash, block: u64) -> &mut RequestRecord {
        self.requests.entry(hash).or_insert_with(|| RequestRecord { hash, signed: None, block, deals: Vec::new() })
    }

    fn broadcast(&mut self, hash: OrderHash, signed: Signed<RequestOrder>, block: u64) {
        let entry = self.entry(hash, block);
        // Of two broadcasts of one order the one with a good signature counts.
        let good = |signed: &Signed<RequestOrder>| {
            recover(hash.0, &signed.sign).is_ok_and(|signer| signer == signed.order.requester)
        };
        if entry.signed.as_ref().is_none_or(|old| !good(old)) {
            entry.signed = Some(signed);
        }
    }

    fn matched(&mut self, hash: OrderHash, id: DealId, size: u64, block: u64) {
        let entry = self.entry(hash, block);
        let first = entry.matched();
        entry.deals.push(DealRecord { id, first, size });
    }

    /// The jobs: all requests but the reduces, the oldest first. `requester`: only theirs.
    pub fn jobs(&self, requester: Option<Address>) -> Vec<&RequestRecord> {
        let owner = |record: &RequestRecord| record.signed.as_ref().map(|signed| signed.order.requester);
        let wanted = |record: &&RequestRecord| {
            record.after().is_none_or(|map| !self.requests.contains_key(&map))
                && requester.is_none_or(|requester| owner(record) == Some(requester))
        };
        let mut jobs: Vec<&RequestRecord> = self.requests.values().filter(wanted).collect();
        jobs.sort_by_key(|record| (record.block, record.hash));
        jobs
    }

    /// The request of this hash.
    pub fn get(&self, hash: OrderHash) -> Option<&RequestRecord> {
        self.requests.get(&hash)
    }

    /// The reduce of a job: the first that its own requester broadcast.
    pub fn reduce_of(&self, map: &RequestRecord) -> Option<&RequestRecord> {
        let requester = map.signed.as_ref()?.order.requester;
        let mut reduces: Vec<&RequestRecord> = self
            .requests
            .values()
            .filter(|record| {
                record.after() == Some(map.hash)
                    && record.signed.as_ref().is_some_and(|signed| signed.order.requester == requester)
            })
            .collect();
        reduces.sort_by_key(|record| (record.block, record.hash));
        reduces.first().copied()
    }

    /// The job whose id, or the id of one of whose deals, begins with `text`. A reduce stands for its job.
    ///
    /// # Errors
    /// [`RequesterError::BadJobId`], [`RequesterError::UnknownJob`], [`RequesterError::AmbiguousJob`].
    pub fn resolve(&self, text: &str) -> Result<&RequestRecord, RequesterError> {
        let prefix = digits(text)?;
        let begins = |hash: alloy_primitives::B256| format!("{hash:x}").starts_with(&prefix);
        let mut found: Vec<&RequestRecord> = self
            .requests
            .values()
            .filter(|record| begins(record.hash.0) || record.deals.iter().any(|deal| begins(deal.id.0)))
            .map(|record| record.after().and_then(|map| self.requests.get(&map)).unwrap_or(record))
            .collect();
        found.sort_by_key(|record| record.hash);
        found.dedup_by_key(|record| record.hash);
        match found.as_slice() {
            [] => Err(RequesterError::UnknownJob { text: text.to_owned() }),
            [record] => Ok(record),
            many => Err(RequesterError::AmbiguousJob {
                text: text.to_owned(),
                ids: many.iter().take(LISTED_MAX).map(|record| record.hash).collect(),
            }),
        }
    }

    /// The deal whose id begins with `text`.
    ///
    /// # Errors
    /// [`RequesterError::BadJobId`]; [`RequesterError::NotFound`] for none or several.
    pub fn resolve_deal(&self, text: &str) -> Result<DealRecord, RequesterError> {
        let prefix = digits(text)?;
        let deals = self.requests.values().flat_map(|record| &record.deals);
        let mut found = deals.filter(|deal| format!("{:x}", deal.id.0).starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(deal), None) => Ok(*deal),
            _ => Err(RequesterError::NotFound { what: "deal", id: text.to_owned() }),
        }
    }

    /// The task whose id begins with `text`.
    ///
    /// # Errors
    /// As [`JobIndex::resolve_deal`].
    pub fn resolve_task(&self, text: &str) -> Result<TaskId, RequesterError> {
        let prefix = digits(text)?;
        let deals = self.requests.values().flat_map(|record| &record.deals);
        let tasks =
            deals.flat_map(|deal| (deal.first..deal.first.saturating_add(deal.size)).map(|index| deal.id.task(index)));
        let mut found = tasks.filter(|task| format!("{:x}", task.0).starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(task), None) => Ok(task),
            _ => Err(RequesterError::NotFound { what: "task", id: text.to_owned() }),
        }
    }
}

/// The hexadecimal digits of the beginning of an id, in lower case.
fn digits(text: &str) -> Result<String, RequesterError> {
    let digits = text.trim().strip_prefix("0x").unwrap_or(text.trim()).to_ascii_lowercase();
    let good = (PREFIX_DIGITS_MIN..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if good { Ok(digits) } else { Err(RequesterError::BadJobId { text: text.chars().take(80).collect() }) }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Bytes, U256};

    use super::*;

    fn order(params: JobParams) -> Signed<RequestOrder> {
        let order = RequestOrder {
            app: Address::ZERO,
            appmaxprice: U256::ZERO,
            dataset: Address::ZERO,
            datasetmaxprice: U256::ZERO,
            workerpool: Address::ZERO,
            workerpoolmaxprice: U256::ZERO,
            requester: Address::repeat_byte(7),
            volume: U256::from(4),
            tag: B256::ZERO,
            category: U256::ZERO,
            trust: U256::ZERO,
            beneficiary: Address::ZERO,
            callback: Address::ZERO,
            params: params.encode().unwrap(),
            salt: B256::ZERO,
        };
        Signed { order, sign: Bytes::new() }
    }

    fn hash(byte: u8) -> OrderHash {
        OrderHash(B256::repeat_byte(byte))
    }

    fn index() -> JobIndex {
        let mut index = JobIndex::default();
        index.broadcast(hash(0xaa), order(JobParams::default()), 1);
        let reduce = JobParams { gristmill_after: Some(hash(0xaa)), ..JobParams::default() };
        index.broadcast(hash(0xbb), order(reduce), 2);
        index.matched(hash(0xaa), DealId(B256::repeat_byte(0x11)), 3, 3);
        index.matched(hash(0xaa), DealId(B256::repeat_byte(0x22)), 1, 4);
        index
    }

    #[test]
    fn a_job_is_found_by_its_own_its_deals_and_its_reduces_digits() {
        let index = index();
        for text in ["aaaa", "0xAAAA", "1111", "2222", "bbbb", &"aa".repeat(32)] {
            assert_eq!(index.resolve(text).unwrap().hash, hash(0xaa), "{text}");
        }
        assert!(matches!(index.resolve("cccc"), Err(RequesterError::UnknownJob { .. })));
        for text in ["aaa", "xyzw", "", &"a".repeat(65)] {
            assert!(matches!(index.resolve(text), Err(RequesterError::BadJobId { .. })), "{text}");
        }
    }

    #[test]
    fn several_jobs_of_one_beginning_are_listed() {
        let mut index = index();
        let mut bytes = [0xaa; 32];
        bytes[31] = 0;
        index.broadcast(OrderHash(B256::from(bytes)), order(JobParams::default()), 9);
        let error = index.resolve("aaaa").unwrap_err().to_string();
        assert!(error.contains(&hash(0xaa).to_string()), "{error}");
    }

    #[test]
    fn a_reduce_belongs_to_its_map_and_tasks_follow_the_deals() {
        let index = index();
        let jobs = index.jobs(Some(Address::repeat_byte(7)));
        assert_eq!(jobs.iter().map(|job| job.hash).collect::<Vec<_>>(), [hash(0xaa)]);
        assert!(index.jobs(Some(Address::repeat_byte(8))).is_empty());
        assert_eq!(index.reduce_of(jobs[0]).unwrap().hash, hash(0xbb));
        assert_eq!(jobs[0].deals[1], DealRecord { id: DealId(B256::repeat_byte(0x22)), first: 3, size: 1 });
        let task = DealId(B256::repeat_byte(0x22)).task(3);
        assert_eq!(index.resolve_task(&task.to_string()).unwrap(), task);
        assert_eq!(index.resolve_deal("2222").unwrap().size, 1);
    }
}
