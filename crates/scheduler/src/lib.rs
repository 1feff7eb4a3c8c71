//! Decide which worker works at which task, who may contribute, and which calls the pool makes to the hub.
//!
//! A pure core: events and the time go in, effects come out; there is no clock, socket, file or randomness, and the same
//! events give the same effects. The pool service performs the effects and reports what came of them.
//!
//! - [`Scheduler`]: the machine. [`Event`] and [`Effect`]: its language. [`Policy`]: its bounds.
//! - [`Scheduler::believing`]: a result counts only as far as a [`Credibility`](gristmill_credibility::Credibility) believes it, besides
//!   the hub's rule. Nobody is authorised before.
//! - [`index`]: the machines that match a task, most promising first, among however many. [`rank`]: the best of them by what the
//!   requester favours.
//! - [`Scheduler::explain_task`], [`Scheduler::explain_worker`]: what binds, and the smallest fix.
//!
//! Requesters take turns, and so do the deals of each (`line`). A worker is leased only what it lends ([`Offers`]) and what its
//! engine and stake allow.
//!
//! What never happens: two live leases of one task at one worker; more leases than a worker has slots, or tasks with a GPU than
//! it has GPUs; an authorisation
//! for a task whose digest is public, unless the sealed upload was held before the first reveal and opens to that digest;
//! a finalize without an opened upload that matches.

mod event;
mod explain;
mod id;
pub mod index;
mod line;
mod numbered;
mod pace;
mod policy;
pub mod rank;
mod runs;
mod scheduler;
mod task;
mod tasks;
mod worker;

pub use event::{
    Call, DeclineReason, Effect, Event, Fault, HeldResult, LedgerState, Offers, RevokeReason, SeenConsensus,
    SeenContribution, TaskSpec, WorkerSpec,
};
pub use explain::{Explanation, TaskCause, WorkerCause};
pub use id::{EngineProfile, Fence, LeaseId, WorkerId};
pub use policy::{LeaseTerms, Policy};
pub use scheduler::Scheduler;
