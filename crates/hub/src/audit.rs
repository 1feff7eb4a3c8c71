//! Replay the hub's whole history and read what the ledger says now, so that the checkers of `gristmill_poco::check` can
//! compare the two.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

use alloy_primitives::Address;
use gristmill_poco::check::{self, LedgerView, TaskView};
use gristmill_poco::{Books, HubEvent, Replay, ReplayError};
use gristmill_types::{DealId, OrderHash, TaskId};

use crate::client::HubClient;
use crate::error::HubError;
use crate::follower::{FollowError, Follower, FollowerConfig, GivenPosition};
use crate::views::{Contribution, Task};

/// Records asked for in one request.
const VIEWS_AT_ONCE: usize = 500;

/// The history could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The ledger could not be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The hub could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The events contradict each other.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A deal was announced and is not there.
    #[error("the ledger announced deal {0} and does not have it")]
    DealMissing(DealId),
    /// What must always hold does not.
    #[error(transparent)]
    Violation(#[from] check::Violation),
}

/// The hub's history and its present, at one block.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The block.
    pub block: u64,
    /// Every event up to it.
    pub replay: Replay,
    /// What the ledger's views say after it.
    pub view: LedgerView,
}

impl Audit {
    /// Checks all that must always hold. `ended`: the network came to rest, so that every task must have ended.
    ///
    /// # Errors
    /// [`AuditError::Violation`].
    pub fn check(&self, shown: &[check::Shown], ended: bool) -> Result<(), AuditError> {
        Ok(check::all(&self.replay, &self.view, shown, ended)?)
    }
}

/// Reads everything up to the newest block. `volumes`: for how many tasks an order was signed, of the orders the caller knows.
/// The ledger must keep old states if it makes blocks meanwhile.
///
/// # Errors
/// [`AuditError`].
pub fn audit(client: &HubClient, volumes: BTreeMap<OrderHash, u64>) -> BoxFuture<'_, Result<Audit, AuditError>> {
    Box::pin(async move {
        let (replay, block, now) = replay(client).await?;
        let view = ledger_view(&client.at(block), replay.books(), now, volumes).await?;
        Ok(Audit { block, replay, view })
    })
}

/// Replays all events from the hub's first to the newest block; also its number and time.
///
/// # Errors
/// [`AuditError`].
pub fn replay(client: &HubClient) -> BoxFuture<'_, Result<(Replay, u64, u64), AuditError>> {
    Box::pin(async move {
        let mut follower = Follower::open(client, GivenPosition(None), FollowerConfig::default()).await?;
        let mut replay = Replay::new(client.hub);
        let clocks: BTreeMap<u64, u64> =
            client.view_categories().await?.into_iter().map(|category| (category.id, category.work_clock_s)).collect();
        loop {
            let batch = follower.next().await?;
            let logged: Vec<_> = batch.events.iter().filter_map(|event| event.logged()).collect();
            let deals: Vec<DealId> = logged
                .iter()
                .filter_map(|logged| match logged.event {
                    HubEvent::OrdersMatched { deal, .. } => Some(deal),
                    _ => None,
                })
                .collect();
            for deals in deals.chunks(VIEWS_AT_ONCE) {
                for (id, deal) in deals.iter().zip(client.view_deals(deals).await?) {
                    let deal = deal.ok_or(AuditError::DealMissing(*id))?;
                    let clock = clocks.get(&deal.category).copied().unwrap_or_default();
                    replay.add_deal(*id, deal.terms(clock));
                }
            }
            for logged in logged {
                replay.apply(logged)?;
            }
            follower.commit(&batch)?;
            if batch.caught_up {
                return Ok((replay, batch.head.number, batch.head.timestamp));
            }
        }
    })
}

/// What the ledger's views say of everything that `books` know.
///
/// # Errors
/// [`HubError`].
pub fn ledger_view<'a>(
    client: &'a HubClient,
    books: &'a Books,
    now: u64,
    volumes: BTreeMap<OrderHash, u64>,
) -> BoxFuture<'a, Result<LedgerView, HubError>> {
    Box::pin(async move {
        let mut view = LedgerView {
            now,
            supply: client.total_supply().await?,
            tokens: client.token_balance(client.hub).await?,
            volumes,
            ..LedgerView::default()
        };
        let accounts: Vec<Address> =
            books.accounts.keys().copied().chain([client.hub, client.kitty_address()]).collect();
        for accounts in accounts.chunks(VIEWS_AT_ONCE) {
            for (address, account) in accounts.iter().zip(client.view_accounts(accounts).await?) {
                let account = gristmill_poco::Account { stake: account.stake, locked: account.locked };
                view.accounts.insert(*address, account);
            }
        }
        let workers: Vec<Address> = books.scores.keys().copied().collect();
        for workers in workers.chunks(VIEWS_AT_ONCE) {
            view.scores.extend(workers.iter().copied().zip(client.view_scores(workers).await?));
        }
        let borrowers: Vec<Address> = books.loans.keys().copied().collect();
        for workers in borrowers.chunks(VIEWS_AT_ONCE) {
            let loans = client.view_loans(workers).await?;
            view.loans.extend(workers.iter().copied().zip(loans).filter_map(|(worker, loan)| Some((worker, loan?))));
        }
        for order in books.consumed.keys() {
            let consumed = client.view_consumed(*order).await?;
            view.consumed.insert(*order, consumed.saturating_to());
        }
        let tasks: Vec<TaskId> = books.tasks.keys().copied().collect();
        for tasks in tasks.chunks(VIEWS_AT_ONCE) {
            for task in client.view_tasks(tasks).await? {
                let votes: Vec<(TaskId, Address)> = task.contributors.iter().map(|worker| (task.id, *worker)).collect();
                let votes = client.view_contributions(&votes).await?;
                view.tasks.insert(task.id, task_view(&task, &votes));
            }
        }
        Ok(view)
    })
}

fn task_view(task: &Task, votes: &[Contribution]) -> TaskView {
    TaskView {
        status: task.status,
        consensus: task.consensus,
        digest: task.digest,
        winners: task.winner_counter,
        proved: task.reveal_counter,
        contributors: task.contributors.iter().copied().zip(votes.iter().map(|vote| vote.status)).collect(),
    }
}
