//! What a pool's operator is shown.

use gristmill_types::{Address, Amount, OrderHash, TaskId};
use serde::{Deserialize, Serialize};

use crate::members::{Group, Owned, Terms, User};
use crate::overflow::OverflowStatus;

/// What a pool does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its software.
    pub version: String,
    /// When it started, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// Where workers and clients dial it.
    pub url: String,
    /// The workerpool on the ledger.
    pub workerpool: Address,
    /// Who owns that, stakes, and is paid.
    pub owner: Address,
    /// JSON-RPC of the ledger.
    pub rpc: String,
    /// The hub there.
    pub hub: Address,
    /// The ledger's chain id.
    pub chain_id: u64,
    /// The last block that was looked at.
    pub block: u64,
    /// Where apps, inputs and results lie.
    pub store: String,
    /// Takes no new deals, and ends when the ones it has are over.
    pub draining: bool,
    /// What it stakes; nothing before the ledger was read.
    pub stake: Option<StakeStatus>,
    /// Its workers.
    pub workers: WorkerCounts,
    /// Its tasks.
    pub tasks: TaskCounts,
    /// Deals with a task that is not over.
    pub deals_open: u64,
    /// Reduces that wait for their map.
    pub reduces_waiting: u64,
    /// Its orders on the ledger that can be matched.
    pub orders: Vec<OrderStatus>,
    /// What is bought on a market, if anything is to be.
    #[serde(default)]
    pub overflow: Option<OverflowStatus>,
    /// What the operator should look after, each a sentence with what to do.
    pub warnings: Vec<String>,
}

/// What a pool stakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeStatus {
    /// In its account and free.
    pub free: Amount,
    /// In its account, locked for tasks that are under way.
    pub locked: Amount,
    /// Tokens that are not in the account.
    pub tokens: Amount,
    /// What the account is filled up to when the pool starts.
    pub target: Amount,
    /// For how many more tasks of each category the free stake is enough, if no task ends meanwhile.
    pub covers: Vec<Cover>,
    /// When this was read, in milliseconds of Unix time.
    pub read_unix_ms: u64,
}

/// What a task of a category takes of the stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// The category's id.
    pub category: u64,
    /// What the pool asks for a task of it.
    pub price: Amount,
    /// What it stakes on one, lost if the task fails.
    pub stake: Amount,
    /// So many more; nothing where no stake is asked for.
    pub tasks: Option<u64>,
}

/// How many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    /// Connected.
    pub connected: u64,
    /// Of these: with a lease.
    pub busy: u64,
    /// Tasks that the connected ones take at a time.
    pub slots: u64,
    /// Of these: without a lease.
    pub slots_free: u64,
    /// Leases that are out.
    pub leases: u64,
    /// Banned, connected once or not.
    pub banned: u64,
}

/// How many tasks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Not over, and nobody works at it: see the queue.
    pub waiting: u64,
    /// Somebody works at it.
    pub running: u64,
    /// Completed since the pool started.
    pub completed: u64,
    /// Failed since then.
    pub failed: u64,
}

/// An order of the pool's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// Its hash.
    pub order: OrderHash,
    /// The category's id.
    pub category: u64,
    /// Price of a task.
    pub price: Amount,
    /// What it offers besides a processor, in words.
    pub offers: String,
    /// Tasks that it can still be matched for.
    pub remaining: u64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its address.
    pub worker: Address,
    /// `idle`, `busy`, `draining`, `away` or `banned`.
    pub state: String,
    /// Tasks that it takes at a time.
    pub slots: u32,
    /// The tasks that it works at.
    pub tasks: Vec<TaskId>,
    /// Why it has nothing to do, if so; why it is banned.
    pub because: String,
    /// Its score on the ledger.
    pub score: u64,
    /// Its stake that no lock holds.
    pub free_stake: Amount,
    /// When it was last heard, in milliseconds of Unix time; 0: not since the pool started.
    pub heard_unix_ms: u64,
    /// Its software.
    pub version: String,
    /// Its engine.
    pub engine: String,
    /// Memory that it lends to a task, in bytes.
    pub memory_bytes: u64,
    /// GPUs that it lends.
    pub gpus: u32,
    /// Whether it lends a way out to the network.
    pub network: bool,
    /// Its name, whose it is and who may use it, if it is a member.
    #[serde(default)]
    pub member: Option<Owned>,
}

/// Some of the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerPage {
    /// By address.
    pub workers: Vec<WorkerRow>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A task that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// Which.
    pub task: TaskId,
    /// Of which deal.
    pub deal: gristmill_types::DealId,
    /// Its index within the request.
    pub index: u64,
    /// Who asked for it.
    pub requester: Address,
    /// What people call that, if it is a member.
    #[serde(default)]
    pub user: Option<String>,
    /// Its category's id.
    pub category: u64,
    /// Since when nobody works at it, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// What binds.
    pub cause: Cause,
}

/// Why something does not move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// A word for programs.
    pub code: String,
    /// What binds, a sentence.
    pub text: String,
    /// The smallest thing that would help; empty when there is nothing to do but wait.
    pub fix: String,
}

/// The tasks that wait, the longest waiting first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Some of them.
    pub tasks: Vec<QueueRow>,
    /// How many there are.
    pub waiting: u64,
}

/// Who belongs to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Takes work and workers of members only.
    pub private: bool,
    /// By name.
    pub users: Vec<UserRow>,
    /// By name.
    pub groups: Vec<Group>,
    /// Workers, and the apps and datasets of which something was said.
    pub owned: Vec<Owned>,
    /// Open ones, used up ones and expired ones.
    pub invitations: Vec<InviteRow>,
}

/// A user, and what it has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// Who.
    #[serde(flatten)]
    pub user: User,
    /// Tasks that are not over.
    pub open_tasks: u64,
    /// Milliseconds of leases within the days of a quota.
    pub spent_ms: u64,
}

/// An invitation, without what would let somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// The first digits of its token's hash.
    pub id: String,
    /// Whether it lets more in.
    pub is_open: bool,
    /// Machines that it would let in still, if its time is not over.
    pub uses_left: u32,
    /// Who came in by it.
    pub users: Vec<String>,
    /// What it is good for.
    pub terms: Terms,
}

/// An invitation that was made just now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The line, a secret.
    pub line: String,
    /// Lets a worker in.
    pub worker: bool,
    /// Machines that it lets in.
    pub uses: u32,
    /// Until when, in milliseconds of Unix time.
    pub expires_unix_ms: u64,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited").field("uses", &self.uses).finish_non_exhaustive()
    }
}
