//! Say what each pool did lately, from the hub's events: what was ordered, what came of it, what workers were paid.
//!
//! All of it is on the ledger, none of it is a pool's word. It is no proof of honest demand either: a pool can order from itself and
//! pay itself, and where gas is free that costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use alloy_sol_types::SolEvent;
use gristmill_poco::HubEvent;
use gristmill_types::{Amount, DealId, TaskId};

use crate::abi::IHub;
use crate::client::HubClient;
use crate::error::HubError;
use crate::event::{Event, decode};
use crate::ledger::{Log, LogQuery};

/// Blocks that are looked at, at most.
pub const BLOCKS_MAX: u64 = 1_000_000;
/// Events that are looked at, at most.
pub const EVENTS_MAX: usize = 200_000;
/// Blocks read at once.
const CHUNK_BLOCKS: u64 = 10_000;
/// Tasks that began before the window and are looked up one by one.
const OLD_TASKS_MAX: usize = 2_000;
/// Tasks or deals looked up in one request.
const LOOKUP_MAX: usize = 200;

/// What the pools of a hub did in a window of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The first block that was looked at.
    pub first_block: u64,
    /// The last one.
    pub last_block: u64,
    /// The length of the window, in seconds: as asked for, or less where the ledger is younger or too much happened in it.
    pub seconds: u64,
    /// Each pool of which there was an event.
    pub pools: BTreeMap<Address, PoolActivity>,
}

/// What one pool did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolActivity {
    /// Its newest deal.
    pub last_deal: Option<DealId>,
    /// Tasks of the deals that were made.
    pub tasks_ordered: u64,
    /// Tasks that were completed.
    pub tasks_completed: u64,
    /// Tasks that failed and were refunded.
    pub tasks_failed: u64,
    /// What workers were paid, net of the pool's fee.
    pub rewards: Amount,
    /// In so many payments, one a worker and task.
    pub payments: u64,
    /// Who was paid, and how much.
    pub workers: BTreeMap<Address, Amount>,
}

impl PoolActivity {
    /// Tasks of these deals that have not ended.
    pub fn tasks_open(&self) -> u64 {
        self.tasks_ordered.saturating_sub(self.tasks_completed.saturating_add(self.tasks_failed))
    }
}

impl Activity {
    /// Reads the last `seconds` before `now`, in Unix seconds; before the newest block's time, if that is later.
    ///
    /// # Errors
    /// When the ledger cannot be asked.
    pub async fn read(hub: &HubClient, now: u64, seconds: u64) -> Result<Self, HubError> {
        let last_block = hub.ledger().head().await?;
        let until = time_of(hub, last_block).await?.unwrap_or_default().max(now);
        let wanted = first_since(hub, until.saturating_sub(seconds), last_block).await?;
        let lowest = wanted.max(last_block.saturating_sub(BLOCKS_MAX - 1));
        let (logs, first_block) = newest(hub, lowest, last_block).await?;
        let from = match first_block == wanted {
            true => until.saturating_sub(seconds),
            false => time_of(hub, first_block).await?.unwrap_or(until),
        };
        // A ledger that began in the window has a shorter one.
        let born = time_of(hub, hub.first_block()).await?.unwrap_or_default();
        let mut reading = Reading::default();
        for log in &logs {
            if let Event::Hub(event) = decode(log)? {
                reading.take(&event);
            }
        }
        reading.find_old(hub).await?;
        let pools = reading.sum();
        Ok(Self { first_block, last_block, seconds: until.saturating_sub(from.max(born)), pools })
    }

    /// What a pool did; nothing if there was no event of it.
    pub fn of(&self, pool: Address) -> PoolActivity {
        self.pools.get(&pool).cloned().unwrap_or_default()
    }
}

/// `None` for a block that the server does not have (any more).
async fn time_of(hub: &HubClient, block: u64) -> Result<Option<u64>, HubError> {
    let blocks = hub.ledger().blocks(vec![block]).await?;
    Ok(blocks.into_iter().flatten().next().map(|block| block.timestamp))
}

/// The first block of the hub's that is not older than `time`; one after `last` if all are.
async fn first_since(hub: &HubClient, time: u64, last: u64) -> Result<u64, HubError> {
    let (mut low, mut high) = (hub.first_block(), last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match time_of(hub, middle).await? {
            Some(found) if found >= time => high = middle,
            _ => low = middle + 1,
        }
    }
    Ok(low)
}

/// The events that count, in order, from the newest back to block `lowest` or until there are [`EVENTS_MAX`]; and the first block
/// that was read.
async fn newest(hub: &HubClient, lowest: u64, last: u64) -> Result<(Vec<Log>, u64), HubError> {
    let mut chunks: Vec<Vec<Log>> = Vec::new();
    let (mut chunk_blocks, mut count, mut before) = (CHUNK_BLOCKS, 0, last.saturating_add(1));
    while before > lowest && count < EVENTS_MAX {
        let from = before.saturating_sub(chunk_blocks).max(lowest);
        let query = LogQuery { from, to: before - 1, addresses: vec![hub.hub], events: events() };
        match hub.ledger().logs(query).await {
            Err(error) if chunk_blocks > 1 && error.is_range_refused() => chunk_blocks /= 2,
            Err(error) => return Err(error.into()),
            Ok(logs) => {
                count += logs.len();
                chunks.push(logs);
                before = from;
            }
        }
    }
    Ok((chunks.into_iter().rev().flatten().collect(), before))
}

fn events() -> Vec<alloy_primitives::B256> {
    vec![
        IHub::SchedulerNotice::SIGNATURE_HASH,
        IHub::OrdersMatched::SIGNATURE_HASH,
        IHub::TaskInitialize::SIGNATURE_HASH,
        IHub::TaskReveal::SIGNATURE_HASH,
        IHub::TaskFinalize::SIGNATURE_HASH,
        IHub::TaskClaimed::SIGNATURE_HASH,
        IHub::Reward::SIGNATURE_HASH,
    ]
}

/// What was read so far.
#[derive(Debug, Default)]
struct Reading {
    /// Deals in their order.
    deals: Vec<(Address, DealId)>,
    volumes: BTreeMap<DealId, u64>,
    pool_of: BTreeMap<TaskId, Address>,
    /// Who revealed: the workers that a task pays. Others that it pays own the app, the dataset or the pool.
    revealed: BTreeSet<(TaskId, Address)>,
    rewards: BTreeMap<(TaskId, Address), Amount>,
    /// Whether it was completed.
    ended: BTreeMap<TaskId, bool>,
}

impl Reading {
    fn take(&mut self, event: &HubEvent) {
        match event {
            HubEvent::SchedulerNotice { workerpool, deal } => self.deals.push((*workerpool, *deal)),
            HubEvent::OrdersMatched { deal, volume, .. } => {
                self.volumes.insert(*deal, *volume);
            }
            HubEvent::TaskInitialize { task, workerpool } => {
                self.pool_of.insert(*task, *workerpool);
            }
            HubEvent::TaskReveal { task, worker, .. } => {
                self.revealed.insert((*task, *worker));
            }
            HubEvent::TaskFinalize { task, .. } => {
                self.ended.insert(*task, true);
            }
            HubEvent::TaskClaimed { task } => {
                self.ended.insert(*task, false);
            }
            HubEvent::Reward { owner, amount, task } => {
                let sum = self.rewards.entry((*task, *owner)).or_default();
                *sum = sum.checked_add(*amount).unwrap_or(Amount::MAX);
            }
            _ => {}
        }
    }

    /// Finds the pools of tasks that began before the window, as many as are worth it.
    async fn find_old(&mut self, hub: &HubClient) -> Result<(), HubError> {
        let old = self.ended.keys().filter(|task| !self.pool_of.contains_key(task));
        let old: Vec<TaskId> = old.take(OLD_TASKS_MAX).copied().collect();
        let mut deal_of = Vec::new();
        for page in old.chunks(LOOKUP_MAX) {
            deal_of.extend(hub.view_tasks(page).await?.iter().map(|task| (task.id, task.deal)));
        }
        let deals: Vec<DealId> = deal_of.iter().map(|(_, deal)| *deal).collect::<BTreeSet<_>>().into_iter().collect();
        let mut pools = BTreeMap::new();
        for page in deals.chunks(LOOKUP_MAX) {
            let found = hub.view_deals(page).await?;
            pools.extend(found.into_iter().flatten().map(|deal| (deal.id, deal.workerpool.address)));
        }
        self.pool_of.extend(deal_of.into_iter().filter_map(|(task, deal)| Some((task, *pools.get(&deal)?))));
        Ok(())
    }

    fn sum(self) -> BTreeMap<Address, PoolActivity> {
        let mut pools: BTreeMap<Address, PoolActivity> = BTreeMap::new();
        for (pool, deal) in self.deals {
            let sum = pools.entry(pool).or_default();
            sum.last_deal = Some(deal);
            let volume = self.volumes.get(&deal).copied().unwrap_or_default();
            sum.tasks_ordered = sum.tasks_ordered.saturating_add(volume);
        }
        for (task, completed) in self.ended {
            let Some(pool) = self.pool_of.get(&task) else { continue };
            let sum = pools.entry(*pool).or_default();
            sum.tasks_completed += u64::from(completed);
            sum.tasks_failed += u64::from(!completed);
        }
        for ((task, owner), amount) in self.rewards {
            let Some(pool) = self.pool_of.get(&task).filter(|_| self.revealed.contains(&(task, owner))) else {
                continue;
            };
            let sum = pools.entry(*pool).or_default();
            sum.rewards = sum.rewards.checked_add(amount).unwrap_or(Amount::MAX);
            sum.payments += 1;
            let own = sum.workers.entry(owner).or_default();
            *own = own.checked_add(amount).unwrap_or(Amount::MAX);
        }
        pools
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Bytes};
    use gristmill_types::OrderHash;

    use super::*;

    fn task(number: u8) -> TaskId {
        TaskId(B256::repeat_byte(number))
    }

    #[test]
    fn only_what_workers_were_paid_counts() {
        let (pool, owner) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (app, worker) = (Address::repeat_byte(3), Address::repeat_byte(4));
        let deal = DealId(B256::repeat_byte(9));
        let none = OrderHash(B256::ZERO);
        let reward =
            |owner, ngrist, number| HubEvent::Reward { owner, amount: Amount::from_ngrist(ngrist), task: task(number) };
        let mut reading = Reading::default();
        for event in [
            HubEvent::SchedulerNotice { workerpool: pool, deal },
            HubEvent::OrdersMatched { deal, app: none, dataset: none, workerpool: none, request: none, volume: 4 },
            HubEvent::TaskInitialize { task: task(1), workerpool: pool },
            HubEvent::TaskReveal { task: task(1), worker, digest: B256::ZERO },
            reward(app, 5, 1),
            reward(worker, 60, 1),
            reward(worker, 10, 1),
            reward(owner, 30, 1),
            HubEvent::TaskFinalize { task: task(1), results: Bytes::new() },
            HubEvent::TaskInitialize { task: task(2), workerpool: pool },
            HubEvent::TaskClaimed { task: task(2) },
            // Of a task whose pool nobody knows.
            HubEvent::TaskFinalize { task: task(3), results: Bytes::new() },
            HubEvent::TaskReveal { task: task(3), worker, digest: B256::ZERO },
            reward(worker, 1_000, 3),
        ] {
            reading.take(&event);
        }
        let sum = reading.sum();
        let paid = Amount::from_ngrist(70);
        let expected = PoolActivity {
            last_deal: Some(deal),
            tasks_ordered: 4,
            tasks_completed: 1,
            tasks_failed: 1,
            rewards: paid,
            payments: 1,
            workers: BTreeMap::from([(worker, paid)]),
        };
        assert_eq!(sum, BTreeMap::from([(pool, expected)]));
        assert_eq!(sum[&pool].tasks_open(), 2);
    }
}
