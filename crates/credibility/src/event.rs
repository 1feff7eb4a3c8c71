//! Say what happened ([`Event`]), what it changed ([`Changes`]), and what is asked ([`Role`], [`Wants`], [`Verdict`]).

use alloy_primitives::{Address, B256};
use gristmill_types::{TaskId, Trust};
use serde::{Deserialize, Serialize};

use crate::origin::{Origin, Shared};

/// Something that the scheduler saw. A pool's journal keeps these, or a [`Snapshot`](crate::Snapshot).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A worker connected, for the first time or again. What is remembered of it counts on.
    WorkerJoined {
        /// Who.
        worker: Address,
        /// Who is behind it.
        origin: Origin,
        /// Its score on the ledger: it makes the hub's weight, and no difference here.
        score: u64,
    },
    /// A worker's score on the ledger changed.
    WorkerScored {
        /// Who.
        worker: Address,
        /// The score.
        score: u64,
    },
    /// A worker's connection is gone. One of which nothing is known is forgotten.
    WorkerLeft {
        /// Who.
        worker: Address,
    },
    /// The operator wants no more of a worker.
    WorkerBanned {
        /// Who.
        worker: Address,
    },
    /// The operator takes back whatever bars a worker, which begins anew. The faults of the accounts behind it are forgotten; other
    /// workers of theirs stay blacklisted until they are pardoned too.
    WorkerPardoned {
        /// Who.
        worker: Address,
    },
    /// A task is open.
    TaskOpened(TaskSpec),
    /// A worker was leased a task that it may join ([`Credibility::may_join`](crate::Credibility::may_join), which says its role). If
    /// the task did not want it, it is a spare: nobody waits for it.
    Leased {
        /// Which.
        task: TaskId,
        /// Whom.
        worker: Address,
    },
    /// A worker is bound to a result: the pool holds its sealed upload, or its contribution is on the ledger. Without a lease (it ended,
    /// or was given before a restart) it must be one that may join.
    Answered {
        /// To which task.
        task: TaskId,
        /// Who.
        worker: Address,
        /// What equal results have in common, and different ones not: the result hash.
        hash: B256,
    },
    /// A lease ended without an answer, or who answered kept its contribution or reveal to itself. An answer given counts on.
    Withheld {
        /// Of which task.
        task: TaskId,
        /// Who.
        worker: Address,
    },
    /// A lease ended through no fault of the worker's: taken back, declined, a host fault.
    Released {
        /// Of which task.
        task: TaskId,
        /// Who.
        worker: Address,
    },
    /// A result of the task is public: nobody new may work at it, since it could be copied.
    Revealed {
        /// Of which task.
        task: TaskId,
    },
    /// A task has ended, and is forgotten: with this result, or without one. Who agreed and who did not is learnt from.
    Settled {
        /// Which.
        task: TaskId,
        /// The accepted hash.
        accepted: Option<B256>,
    },
}

/// A task, as far as belief is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Which.
    pub task: TaskId,
    /// The confidence that was paid for: trust t allows a probability of 1/t that the result is wrong.
    pub trust: Trust,
    /// Who asked.
    pub requester: Address,
    /// Whether the hub's rule, weights by score, must accept the result too.
    pub by_hub: bool,
}

/// What an event changed beyond what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Workers that are blacklisted from now on: end their leases; their answers count no more, so review their tasks.
    pub blacklisted: Vec<Address>,
    /// Workers of which more is known now: [`Credibility::memories`](crate::Credibility::memories) of them are to be kept. One may be
    /// named twice.
    pub learnt: Vec<Address>,
}

/// An event that does not fit what is known. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// Nobody has joined by this name.
    #[error("worker {0} is not known: report that it joined first")]
    UnknownWorker(Address),
    /// No such task is open.
    #[error("task {0} is not open: report that it opened first")]
    UnknownTask(TaskId),
    /// The task is open already.
    #[error("task {0} is open already")]
    KnownTask(TaskId),
    /// The worker has no lease of the task, or has answered.
    #[error("worker {1} has no live lease of task {0}")]
    NoLease(TaskId, Address),
    /// The worker may not have the task.
    #[error("worker {worker} may not have task {task}: {refusal}")]
    Refused {
        /// Which.
        task: TaskId,
        /// Who.
        worker: Address,
        /// Why.
        refusal: Refusal,
    },
    /// A bound of the policy is reached.
    #[error("{what} are as many as `{bound}` of the policy allows ({max})")]
    Full {
        /// Of what there are too many.
        what: &'static str,
        /// The policy's field.
        bound: &'static str,
        /// Its value.
        max: u32,
    },
}

/// As what a worker takes part in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Its answer counts.
    Vote,
    /// It is a newcomer on probation: its answer is compared with the outcome, and raises an alarm at most.
    Probation,
}

/// Why a worker may not have a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such task is open.
    #[error("the task is not open")]
    UnknownTask,
    /// It has not joined, or has left.
    #[error("the worker is not there")]
    Absent,
    /// It is blacklisted, or an account behind it.
    #[error("{0}")]
    Blacklisted(Cause),
    /// A result is public.
    #[error("a result of the task is public, and could be copied")]
    Public,
    /// It has a replica already.
    #[error("the worker has a replica of the task")]
    Twice,
    /// It, or its owner, asked for the task.
    #[error("the worker belongs to who asked for the task")]
    OwnTask,
    /// A worker that may be the same person has a replica.
    #[error("worker {0}, of the same {1}, has a replica of the task")]
    Shares(Address, Shared),
    /// The task wants nobody now, or nobody on probation.
    #[error("the task wants no such replica now")]
    NotWanted,
}

/// Why a worker is blacklisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// It gave a wrong result.
    #[error("the worker gave a wrong result")]
    Wrong,
    /// Too many workers of one of its accounts gave wrong results.
    #[error("workers of the same owner or stake gave wrong results")]
    Account,
    /// It keeps its answers to itself.
    #[error("the worker does not answer")]
    Withheld,
    /// The operator's decision.
    #[error("the operator banned the worker")]
    Operator,
}

/// What a task wants now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// One more vote: what is there and in flight does not reach the confidence even if all agrees.
    pub vote: bool,
    /// One more vote although the confidence is reached: the task is one of those that are checked.
    pub check: bool,
    /// A place for a newcomer.
    pub probation: bool,
}

/// All that is believed of a task, and what it wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stance {
    /// Where it stands.
    pub verdict: Verdict,
    /// The result that is most to be believed; `None` if there is none.
    pub leader: Option<B256>,
    /// What it wants.
    pub wants: Wants,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Wait: for replicas in flight, or for more of them.
    Open,
    /// This result is right, but for a probability of at most `doubt`, which is no more than was paid for.
    Accept {
        /// Which.
        hash: B256,
        /// An upper bound of the probability that it is wrong.
        doubt: f64,
    },
    /// There is no room for the replicas that are missing. May change as more is learnt of those who answered.
    Undecided,
}
