//! The hub's events, with the names and fields of iExec PoCo 6.

use alloy_primitives::{Address, B256, Bytes};
use gristmill_types::{Amount, DealId, OrderHash, TaskId};

/// An event of the hub and where the ledger has it. Ordered by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Block number.
    pub block: u64,
    /// The block's time, in seconds since 1970.
    pub timestamp: u64,
    /// The log's index in its block.
    pub log_index: u64,
    /// The event.
    pub event: HubEvent,
}

/// An event of the hub, of those that change its books.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubEvent {
    /// Free stake moved; from zero: a deposit, to zero: a withdrawal, to the hub: under lock or seized.
    Transfer {
        /// From whom.
        from: Address,
        /// To whom.
        to: Address,
        /// How much.
        value: Amount,
    },
    /// An account's locked amount grew.
    Lock {
        /// Whose.
        owner: Address,
        /// By how much.
        amount: Amount,
    },
    /// A locked amount went back to its account.
    Unlock {
        /// Whose.
        owner: Address,
        /// How much.
        amount: Amount,
    },
    /// An account was paid out of what was seized.
    Reward {
        /// Who.
        owner: Address,
        /// How much.
        amount: Amount,
        /// For which task.
        task: TaskId,
    },
    /// A locked amount was taken away.
    Seize {
        /// Whose.
        owner: Address,
        /// How much.
        amount: Amount,
        /// For which task.
        task: TaskId,
    },
    /// A pool has a new deal.
    SchedulerNotice {
        /// The pool.
        workerpool: Address,
        /// The deal.
        deal: DealId,
    },
    /// A deal was made.
    OrdersMatched {
        /// The deal.
        deal: DealId,
        /// The app order.
        app: OrderHash,
        /// The dataset order; zero without a dataset.
        dataset: OrderHash,
        /// The pool's order.
        workerpool: OrderHash,
        /// The request.
        request: OrderHash,
        /// How many tasks.
        volume: u64,
    },
    /// Its owner closed an order: nothing of it is left to match.
    OrderClosed {
        /// The order.
        order: OrderHash,
    },
    /// A task began.
    TaskInitialize {
        /// The task.
        task: TaskId,
        /// Its pool.
        workerpool: Address,
    },
    /// A worker committed to a result.
    TaskContribute {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
        /// keccak256(task ++ digest).
        hash: B256,
    },
    /// A result became credible.
    TaskConsensus {
        /// The task.
        task: TaskId,
        /// Its hash.
        hash: B256,
    },
    /// A holder opened its commitment.
    TaskReveal {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
        /// The digest.
        digest: B256,
    },
    /// A task takes contributions again.
    TaskReopen {
        /// The task.
        task: TaskId,
    },
    /// A task is completed and paid.
    TaskFinalize {
        /// The task.
        task: TaskId,
        /// Where its result lies: a hint.
        results: Bytes,
    },
    /// A task failed and is refunded.
    TaskClaimed {
        /// The task.
        task: TaskId,
    },
    /// A pool gave a task up.
    TaskConcede {
        /// The task.
        task: TaskId,
        /// It can be claimed from then on, in seconds since 1970.
        effective_at: u64,
    },
    /// Somebody is ready to lend a worker stake.
    LoanLimit {
        /// Whose stake.
        lender: Address,
        /// The worker.
        worker: Address,
        /// The most that may be locked or owed.
        limit: Amount,
    },
    /// The stake of a vote is its pool owner's.
    StakeLent {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
        /// Whose stake.
        lender: Address,
        /// How much.
        amount: Amount,
    },
    /// A lent stake went back to whose it is.
    StakeReturned {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
        /// Whose stake.
        lender: Address,
        /// How much.
        amount: Amount,
    },
    /// A lent stake went to the kitty; the worker owes it.
    StakeLost {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: Address,
        /// Whose stake.
        lender: Address,
        /// How much.
        amount: Amount,
    },
    /// A worker paid back what its votes had lost.
    DebtRepaid {
        /// The worker.
        worker: Address,
        /// To whom.
        lender: Address,
        /// How much.
        amount: Amount,
    },
    /// A worker's score grew by one.
    AccurateContribution {
        /// The worker.
        worker: Address,
        /// For which task.
        task: TaskId,
    },
    /// A worker's score fell by a third, and its stake is gone.
    FaultyContribution {
        /// The worker.
        worker: Address,
        /// For which task.
        task: TaskId,
    },
}
