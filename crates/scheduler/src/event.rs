//! Say what happened ([`Event`]) and what is to be done ([`Effect`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::B256;
use gristmill_classad::ClassAd;
use gristmill_credibility::Origin;
use gristmill_types::{Address, Amount, ContributionStatus, DealId, Needs, TaskId, Trust};

use crate::id::{EngineProfile, Fence, LeaseId, WorkerId};
use crate::index::Demand;
use crate::policy::Policy;

/// Something that the pool service saw: on the ledger, on a worker's stream, in its store, on the clock.
///
/// Feed all events of one ledger transaction (better: of one block) to one call of
/// [`Scheduler::handle_all`](crate::Scheduler::handle_all), in log order: decisions are made after the last of them.
#[derive(Clone, Debug)]
pub enum Event {
    /// A worker connected, or came back. Its leases, if any are left, live on.
    WorkerJoined(WorkerSpec),
    /// The ledger's figures of a worker changed, or were read again.
    WorkerUpdated {
        /// Who.
        worker: WorkerId,
        /// Its score on the ledger.
        score: u64,
        /// Its stake on the ledger that no lock holds.
        free_stake: Amount,
    },
    /// A worker said what its machine is.
    WorkerDescribed {
        /// Who.
        worker: WorkerId,
        /// As [`WorkerSpec::ad`].
        ad: Arc<ClassAd>,
    },
    /// Whom a worker serves changed.
    WorkerServes {
        /// Who.
        worker: WorkerId,
        /// As [`WorkerSpec::serves`].
        serves: Option<Arc<BTreeSet<Address>>>,
    },
    /// A worker's connection is gone.
    WorkerLeft {
        /// Who.
        worker: WorkerId,
    },
    /// A worker finishes what it has and wants nothing new. `WorkerJoined` undoes it.
    WorkerDraining {
        /// Who.
        worker: WorkerId,
    },
    /// The operator wants no more of a worker.
    WorkerBanned {
        /// Who.
        worker: WorkerId,
        /// Why, for `explain`.
        reason: String,
    },
    /// The operator takes a ban back, whoever made it.
    WorkerPardoned {
        /// Who.
        worker: WorkerId,
    },
    /// A task is initialised on the ledger and is ours to run. A second one of the same id is ignored.
    TaskAdded(Box<TaskSpec>),
    /// A worker took a lease.
    LeaseAccepted {
        /// Which.
        lease: LeaseId,
    },
    /// A worker does not take a lease.
    LeaseDeclined {
        /// Which.
        lease: LeaseId,
        /// Why.
        reason: DeclineReason,
    },
    /// A host fault: the run ended without a result (wall clock, stack overflow, host error).
    LeaseFailed {
        /// What failed.
        fault: Fault,
        /// Which.
        lease: LeaseId,
        /// What happened, for people.
        reason: String,
    },
    /// A sign of life, with every lease the worker still has. A lease it names that we do not know is revoked.
    Heartbeat {
        /// Who.
        worker: WorkerId,
        /// What it works at.
        leases: Vec<LeaseId>,
    },
    /// A worker has a result and **the pool holds its sealed upload**. Taken from ended and unknown leases too, if the task
    /// can still use it: a result is never computed twice because a connection broke or the pool was restarted.
    ResultReady {
        /// Who.
        worker: WorkerId,
        /// Of which task.
        task: TaskId,
        /// Under which lease it was computed.
        lease: LeaseId,
        /// keccak256(task ++ digest).
        result_hash: B256,
    },
    /// A contribution landed on the ledger.
    ContributionSeen {
        /// To which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
        /// Its result hash.
        hash: B256,
        /// Its exact weight, from the worker's score at that block.
        weight: u64,
    },
    /// A worker could not get its contribution onto the ledger.
    ContributionFailed {
        /// To which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
        /// The revert, for people.
        reason: String,
    },
    /// The ledger rejected a contribution (FaultyContribution).
    ContributionRejected {
        /// To which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
    },
    /// The ledger reports consensus.
    ConsensusReached {
        /// On which task.
        task: TaskId,
        /// The accepted result hash.
        hash: B256,
        /// Holders may reveal until then.
        reveal_deadline_ms: u64,
    },
    /// A reveal landed: the digest is public from now on.
    RevealSeen {
        /// Of which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
        /// The digest.
        digest: B256,
    },
    /// The pool opened a sealed upload, as [`Effect::OpenUpload`] asked.
    UploadOpened {
        /// Of which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
        /// Its bytes hash to that digest. A store that cannot be read just now is no answer: `false` is held against the
        /// worker.
        matches: bool,
    },
    /// The ledger put a task back to work: nobody revealed, or the rule failed over those who did.
    TaskReopened {
        /// Which.
        task: TaskId,
    },
    /// The ledger finalised a task.
    TaskCompleted {
        /// Which.
        task: TaskId,
    },
    /// A task was claimed or conceded; the requester has been refunded.
    TaskFailed {
        /// Which.
        task: TaskId,
    },
    /// Our concession was announced on the ledger.
    ConcedeSeen {
        /// Of which task.
        task: TaskId,
        /// From then on anybody may claim.
        effective_at_ms: u64,
    },
    /// A call that an effect asked for reverted. It is asked for again later, if it still makes sense.
    CallFailed {
        /// For which task.
        task: TaskId,
        /// Which call.
        call: Call,
        /// The revert, for people.
        reason: String,
    },
    /// The operator wants another policy from now on. Leases that run keep the [terms](Policy::lease_terms) under which they were given.
    PolicyChanged(Box<Policy>),
    /// Time passed: at [`Scheduler::next_deadline`](crate::Scheduler::next_deadline) at the latest.
    Tick,
}

/// Something that the pool service is to do now.
///
/// Effects may come again (after [`Policy::call_timeout_ms`](crate::Policy::call_timeout_ms), and after a restart):
/// what they ask for is harmless when done twice, since the ledger refuses the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Offer a worker a task.
    Lease {
        /// The lease.
        lease: LeaseId,
        /// Its fencing token.
        fence: Fence,
        /// Of which task.
        task: TaskId,
        /// To whom.
        worker: WorkerId,
        /// It ends then, unless a heartbeat names it before.
        expires_ms: u64,
        /// How often the worker should send a heartbeat.
        heartbeat_ms: u64,
    },
    /// Tell a worker to drop a lease.
    RevokeLease {
        /// Which.
        lease: LeaseId,
        /// Whose.
        worker: WorkerId,
        /// Why.
        reason: RevokeReason,
    },
    /// Sign a worker's authorisation and tell it to contribute.
    Authorise {
        /// To which task.
        task: TaskId,
        /// Whom.
        worker: WorkerId,
        /// Under which lease it computed the result.
        lease: LeaseId,
        /// It may contribute and finalise in one call: trust is 1 and nobody has contributed.
        solo: bool,
    },
    /// Tell a holder of the consensus to reveal.
    AskReveal {
        /// Of which task.
        task: TaskId,
        /// Whom.
        worker: WorkerId,
    },
    /// Open the sealed upload of a worker with this digest, check the bytes, and answer with [`Event::UploadOpened`].
    OpenUpload {
        /// Of which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
        /// The digest that is now public.
        digest: B256,
    },
    /// Finalise a task.
    Finalize {
        /// Which.
        task: TaskId,
        /// Whose upload was opened and matches: where the result lies.
        worker: WorkerId,
        /// The digest.
        digest: B256,
    },
    /// Reopen a task that nobody revealed.
    Reopen {
        /// Which.
        task: TaskId,
    },
    /// Claim a task whose time is over.
    Claim {
        /// Which.
        task: TaskId,
    },
    /// Concede a task that cannot be done.
    Concede {
        /// Which.
        task: TaskId,
    },
    /// A worker gets no more leases; tell it, and remember it across restarts.
    Ban {
        /// Who.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A sealed upload is not needed any more.
    Forget {
        /// Of which task.
        task: TaskId,
        /// Whose.
        worker: WorkerId,
    },
    /// Something worth knowing about a task; once per cause.
    Note {
        /// Which.
        task: TaskId,
        /// A sentence.
        text: String,
    },
}

/// A call to the hub that the pool makes for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `finalize`.
    Finalize,
    /// `reopen`.
    Reopen,
    /// `claim`.
    Claim,
    /// `concede`.
    Concede,
}

/// What failed where a lease came to no result. Each counts the same; it makes a difference to whoever asks why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// The host, as far as anybody can tell.
    #[default]
    Host,
    /// The app could not be fetched.
    App,
    /// An input or the dataset could not be fetched.
    Input,
    /// It ran longer than its category allows.
    TooLong,
}

/// Why a worker does not take a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclineReason {
    /// Not now.
    Busy,
    /// It cannot grant the limits, fetch the app, or the like: it is not asked for this task again.
    Unable(String),
}

/// Why a lease is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    /// No heartbeat named it in time.
    Expired,
    /// It ran longer than any task of its category may.
    Overrun,
    /// Others were enough.
    NotNeeded,
    /// The task ended.
    TaskEnded,
    /// We do not know it: it ended, or is from before a restart.
    Unknown,
    /// The worker was banned.
    Banned,
}

/// What is known of a worker that connects.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// Who.
    pub worker: WorkerId,
    /// Who is behind it: makes a difference only to a scheduler that is [`believing`](crate::Scheduler::believing).
    pub origin: Origin,
    /// How many leases it takes at once; 0 takes none.
    pub slots: u32,
    /// Its stake on the ledger that no lock holds.
    pub free_stake: Amount,
    /// Its score on the ledger.
    pub score: u64,
    /// Its engine.
    pub profile: EngineProfile,
    /// What it offers besides a processor.
    pub offers: Offers,
    /// What its machine is, and what that requires of a task. Without `Requirements` it takes any. `Score` is written over it.
    pub ad: Arc<ClassAd>,
    /// The requesters of whose tasks it may be given any; `None`: all of them.
    pub serves: Option<Arc<BTreeSet<Address>>>,
    /// It runs nothing itself but has tasks run elsewhere, for money: it is given what the other workers cannot finish in time
    /// ([`Policy::overflow_after_ms`](crate::Policy::overflow_after_ms)), and first of all the tasks named here, for which it pays
    /// already, or may. `None`: a worker like any other. Never set it at a worker's own word.
    pub overflow: Option<Arc<BTreeSet<TaskId>>>,
}

/// What a worker offers besides a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// GPUs, each for one lease at a time.
    pub gpus: u32,
    /// Whether tasks may have a way out to the network.
    pub network: bool,
}

impl Offers {
    /// What a task may need of it.
    pub fn needs(self) -> Needs {
        Needs { gpu: self.gpus > 0, network: self.network }
    }
}

/// What is known of a task that is to be run.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Which.
    pub task: TaskId,
    /// Of which deal: run times are compared within a deal.
    pub deal: DealId,
    /// Who asks: requesters share the workers fairly.
    pub requester: Address,
    /// What the deal asks for.
    pub trust: Trust,
    /// T of its category.
    pub work_clock_ms: u64,
    /// No contribution from then on.
    pub contribution_deadline_ms: u64,
    /// Claimable from then on.
    pub final_deadline_ms: u64,
    /// What a contribution locks of its worker's stake. Nothing is asked of a solo task.
    pub stake: Amount,
    /// The engine it must run on; `None`: that of its first replica.
    pub profile: Option<EngineProfile>,
    /// What it needs of a worker besides a processor.
    pub needs: Needs,
    /// What it requires of a machine, what its requester prefers and favours, and what there is to do. Of a deal's tasks that of the
    /// first counts.
    pub demand: Arc<Demand>,
    /// Why no worker can ever run it: it is conceded at once. `None` for a task like any other.
    pub refusal: Option<String>,
    /// Where it stands on the ledger.
    pub ledger: LedgerState,
}

/// Where a task stands on the ledger. The default is a task just initialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Every contribution so far.
    pub contributions: Vec<SeenContribution>,
    /// The consensus while the task is revealing.
    pub consensus: Option<SeenConsensus>,
    /// The digest (`resultDigest`), once somebody revealed it in this round.
    pub digest: Option<B256>,
    /// Digests that were revealed in rounds that failed; the ledger has them only in its TaskReveal events.
    pub earlier_digests: Vec<B256>,
    /// A finalize failed the rule over the revealed contributions.
    pub recomputed: bool,
    /// An announced concession takes effect then.
    pub concede_effective_ms: Option<u64>,
    /// Sealed uploads that the pool held before the first reveal, of workers that did not contribute.
    pub held: Vec<HeldResult>,
}

/// A contribution as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenContribution {
    /// Whose.
    pub worker: WorkerId,
    /// Its result hash.
    pub hash: B256,
    /// Its exact weight.
    pub weight: u64,
    /// Contributed, proved or rejected.
    pub status: ContributionStatus,
}

/// A consensus as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenConsensus {
    /// The accepted result hash.
    pub hash: B256,
    /// Holders may reveal until then.
    pub reveal_deadline_ms: u64,
}

/// A sealed upload that the pool holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldResult {
    /// Whose.
    pub worker: WorkerId,
    /// keccak256(task ++ digest), as the worker said.
    pub result_hash: B256,
}
