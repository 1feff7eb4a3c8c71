//! The deals and tasks of this pool, as the ledger has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use gristmill_hub::{AppInfo, Deal, HubClient, HubError};
use gristmill_scheduler::index::Demand;
use gristmill_types::{AppCode, DealId, JobParams, TaskId, TaskStatus};

use crate::demand;
use crate::tasks::{Entry, Tasks};

/// A deal of this pool and what its leases need.
#[derive(Clone, Debug)]
pub struct DealBook {
    /// The deal.
    pub deal: Deal,
    /// T of its category, in seconds.
    pub work_clock_s: u64,
    /// What its app is made of; `None` when the app is none that we can run.
    pub app: Option<AppCode>,
    /// What its tasks ask of a machine.
    pub demand: Arc<Demand>,
    /// Why no worker could run its tasks, if so; every worker would read the same from the ledger.
    pub refusal: Option<String>,
    /// The arguments of its app.
    pub args: String,
    /// Its tasks that are not over.
    pub open: usize,
    /// Its first so many tasks are known to need nothing more: they failed, or their result lies open. Counted once none is open.
    pub delivered: u64,
}

/// A task of this pool.
#[derive(Clone, Debug)]
pub struct TaskBook {
    /// Where it stands, as far as this pool has seen.
    pub status: TaskStatus,
    /// What was seen of it; `None` while that is nothing, as of most tasks of a pool that has a million.
    seen: Option<Box<Seen>>,
}

/// What was seen of a task.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Its digest, once revealed.
    digest: Option<B256>,
    /// Which result each worker contributed, as seen on the ledger; none once it is over.
    contributions: BTreeMap<Address, B256>,
    /// What happened to it, for people; the latest last.
    notes: Vec<String>,
}

/// Notes kept of a task.
const NOTES_MAX: usize = 16;

impl Default for TaskBook {
    fn default() -> Self {
        Self { status: TaskStatus::Unset, seen: None }
    }
}

impl TaskBook {
    /// Its digest, once revealed.
    pub fn digest(&self) -> Option<B256> {
        self.seen.as_ref()?.digest
    }

    /// It was revealed.
    pub fn set_digest(&mut self, digest: B256) {
        self.seen_mut().digest = Some(digest);
    }

    /// Contributions were seen on the ledger: whose, and of which result.
    pub fn contributed(&mut self, contributions: impl Iterator<Item = (Address, B256)>) {
        for (worker, result_hash) in contributions {
            self.seen_mut().contributions.insert(worker, result_hash);
        }
    }

    /// Whether a worker's contribution of this result was seen on the ledger. Others may claim a result that is public by then.
    pub fn has_contributed(&self, worker: Address, result_hash: B256) -> bool {
        self.seen.as_ref().and_then(|seen| seen.contributions.get(&worker)) == Some(&result_hash)
    }

    /// Adds a note and drops the oldest past the bound.
    pub fn note(&mut self, text: String) {
        let notes = &mut self.seen_mut().notes;
        if notes.len() == NOTES_MAX {
            notes.remove(0);
        }
        notes.push(text);
    }

    /// What happened to it last, for people.
    pub fn last_note(&self) -> Option<&str> {
        self.seen.as_ref()?.notes.last().map(String::as_str)
    }

    fn seen_mut(&mut self) -> &mut Seen {
        self.seen.get_or_insert_default()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Book {
    /// Deals that are not finished.
    pub deals: BTreeMap<DealId, DealBook>,
    /// Their tasks.
    pub tasks: Tasks,
    /// Tasks completed since the pool's folder was made.
    pub completed: u64,
    /// Tasks failed since then.
    pub failed: u64,
}

impl Book {
    /// Takes a deal in, with all its tasks, whose ids are given by index. `false` when it is there already.
    pub fn insert(&mut self, deal: DealBook, tasks: impl ExactSizeIterator<Item = TaskId>) -> bool {
        let id = deal.deal.id;
        if self.deals.contains_key(&id) {
            return false;
        }
        self.tasks.insert(id, deal.deal.bot_first, tasks);
        self.deals.insert(id, deal);
        true
    }

    /// Notes that a task is over; returns its deal when it was the deal's last.
    pub fn finish(&mut self, task: TaskId, status: TaskStatus) -> Option<DealId> {
        let id = self.tasks.get(&task)?.deal;
        let entry = self.tasks.get_mut(&task)?;
        if entry.status.is_final() {
            return None;
        }
        entry.status = status;
        if let Some(seen) = &mut entry.seen {
            seen.contributions.clear();
        }
        match status {
            TaskStatus::Completed => self.completed += 1,
            _ => self.failed += 1,
        }
        let deal = self.deals.get_mut(&id)?;
        deal.open = deal.open.saturating_sub(1);
        (deal.open == 0).then_some(id)
    }

    /// A task and its deal.
    pub fn task(&self, task: TaskId) -> Option<(Entry<'_>, &DealBook)> {
        let entry = self.tasks.get(&task)?;
        Some((entry, self.deals.get(&entry.deal)?))
    }
}

/// Reads a deal of the ledger.
///
/// # Errors
/// [`HubError`].
pub async fn read_deal(hub: &HubClient, id: DealId) -> Result<Option<DealBook>, HubError> {
    let Some(deal) = hub.view_deal(id).await? else { return Ok(None) };
    let category = hub.view_category(deal.category).await?;
    let app = hub.view_app(deal.app.address).await?;
    let (demand, refusal) = match refusal_of(&deal, app.as_ref()) {
        Some(refusal) => (Demand::any(), Some(refusal)),
        None => wishes_of(&deal, category.work_clock_s),
    };
    let app = app.and_then(|app| app.code().ok());
    let args = JobParams::parse(&deal.params).map(|params| params.iexec_args).unwrap_or_default();
    let open = usize::try_from(deal.bot_size).unwrap_or(usize::MAX);
    let (work_clock_s, demand) = (category.work_clock_s, Arc::new(demand));
    Ok(Some(DealBook { deal, work_clock_s, app, demand, refusal, args, open, delivered: 0 }))
}

/// What in a deal no worker can do: known before any is asked, so that the requester is told and refunded at once.
fn refusal_of(deal: &Deal, app: Option<&AppInfo>) -> Option<String> {
    if let Some(Err(error)) = app.map(AppInfo::code) {
        return Some(format!("the app {}: {error}; deploy one whose multiaddr is such", deal.app.address));
    }
    let placed = JobParams::parse(&deal.params)
        .and_then(|params| params.place_of(deal.bot_first, deal.bot_first, deal.bot_size));
    placed.err().map(|error| error.to_string())
}

/// What its tasks ask of a machine, or why that cannot be read.
fn wishes_of(deal: &Deal, work_clock_s: u64) -> (Demand, Option<String>) {
    let params = JobParams::parse(&deal.params).unwrap_or_default();
    match demand::of_deal(deal, work_clock_s, &params) {
        Ok(demand) => (demand, None),
        Err(error) => (Demand::any(), Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Bytes;
    use gristmill_hub::Resource;
    use gristmill_types::{Amount, Trust};

    use gristmill_types::ContentId;

    use super::*;

    fn deal(params: &str) -> Deal {
        let resource = Resource { address: Address::repeat_byte(1), owner: Address::ZERO, price: Amount::ZERO };
        Deal {
            id: DealId::default(),
            app: resource,
            dataset: resource,
            workerpool: resource,
            trust: Trust::new(1),
            category: 0,
            tag: B256::ZERO,
            requester: Address::ZERO,
            beneficiary: Address::ZERO,
            callback: Address::ZERO,
            params: params.to_owned(),
            start_time: 0,
            bot_first: 0,
            bot_size: 1,
            worker_stake: Amount::ZERO,
            scheduler_reward_ratio: 1,
            sponsor: Address::ZERO,
        }
    }

    fn app(multiaddr: &str) -> AppInfo {
        AppInfo {
            address: Address::repeat_byte(1),
            owner: Address::ZERO,
            name: "app".to_owned(),
            kind: "DOCKER".to_owned(),
            multiaddr: Bytes::copy_from_slice(multiaddr.as_bytes()),
            checksum: B256::ZERO,
            mrenclave: Bytes::new(),
        }
    }

    #[test]
    fn who_contributed_what_is_known_until_the_task_is_over() {
        let (mut book, deal) = (Book::default(), deal(""));
        let task = deal.id.task(0);
        let (demand, args) = (Demand::any(), String::new());
        let demand = Arc::new(demand);
        let deal = DealBook { deal, work_clock_s: 1, app: None, demand, refusal: None, args, open: 1, delivered: 0 };
        book.insert(deal, std::iter::once(task));
        let (honest, other, hash) = (Address::repeat_byte(1), Address::repeat_byte(2), B256::repeat_byte(3));
        let entry = book.tasks.get_mut(&task).unwrap();
        entry.contributed([(honest, hash), (other, B256::repeat_byte(4))].into_iter());
        assert!(entry.has_contributed(honest, hash) && !entry.has_contributed(other, hash));
        assert!(!entry.has_contributed(Address::repeat_byte(5), hash), "it only says so");
        book.finish(task, TaskStatus::Completed);
        assert!(!book.tasks.get(&task).unwrap().has_contributed(honest, hash));
    }

    #[test]
    fn wishes_that_cannot_be_read_are_refused() {
        let (demand, refusal) = wishes_of(&deal(r#"{"gristmill_require":"Cpus > 2","gristmill_favor":"cost=1"}"#), 60);
        assert_eq!((demand.favor.to_string(), refusal), ("cost=1".to_owned(), None));
        for (params, expected) in [
            (r#"{"gristmill_require":"Cpus >"}"#, "requires of machines"),
            (r#"{"gristmill_prefer":"(Speed"}"#, "prefers of machines"),
            (r#"{"gristmill_favor":"beauty=1"}"#, "not a criterion"),
        ] {
            let refusal = wishes_of(&deal(params), 60).1.unwrap();
            assert!(refusal.contains(expected), "{params}: {refusal}");
        }
    }

    #[test]
    fn what_nobody_can_run_is_known_when_the_deal_is_read() {
        let wasm = app(&format!("wasm:{}", ContentId([1; 32])));
        let image = app("docker.io/library/hello-world:latest");
        for (app, params, expected) in [
            (&wasm, r#"{"iexec_result_storage_provider":"ipfs","iexec_args":"a b"}"#, None),
            (&wasm, "plain words are arguments", None),
            (&wasm, r#"{"iexec_result_encryption":true}"#, Some("not encrypted")),
            (&wasm, r#"{"gristmill_place":{"index":7,"first":4,"size":9}}"#, None),
            (&wasm, r#"{"gristmill_place":{"index":3,"first":4,"size":9}}"#, Some("there is none")),
            (&wasm, r#"{"iexec_developer_logger":true}"#, Some("unknown field")),
            (&image, "", Some("`docker.io/library/hello-world:latest` names no app that workers run")),
        ] {
            let refusal = refusal_of(&deal(params), Some(app));
            assert_eq!(refusal.is_some(), expected.is_some(), "{params}: {refusal:?}");
            assert!(refusal.unwrap_or_default().contains(expected.unwrap_or_default()), "{params}");
        }
    }
}
