//! The worker's stream, kept whole across cuts.
//!
//! A worker [`start`]s a link to its pool and gets a [`WorkerLink`] to speak and [`WorkerEvents`] to listen. The link
//! dials, presents the worker, and dials again when the connection breaks, with growing pauses. A pool has one
//! [`PoolLinks`] for all its workers and hands it each stream ([`PoolLinks::session`]); it listens to [`PoolEvents`].
//!
//! In between, every message is numbered, kept until the other end's listener has *taken* it, and sent again after a
//! cut, so it is taken once and in order, as long as both processes live. When one of them was restarted, a new
//! session begins ([`WorkerEvent::Connected`], [`PoolEventKind::Connected`] with `new_session`): messages of the old
//! one that were not taken are gone at both ends, and each side tells anew what still matters.
//!
//! Heartbeats are outside all this: only the latest counts, and none is kept for a connection to come.

mod frame;
mod line;
mod pool;
mod worker;

use crate::wire::{Refuse, RefuseReason};

pub use line::{Fault, SendError};
pub use pool::{
    Admission, Inbound, LinkLimits, PoolEvent, PoolEventKind, PoolEvents, PoolFrames, PoolLinks, QUEUE_MAX,
};
pub use worker::{
    Backoff, HelloSigner, LinkError, Profile, WorkerConfig, WorkerEvent, WorkerEvents, WorkerLink, start,
};

/// A refusal with its reason and what to do, shortened where needed.
pub fn refuse(reason: RefuseReason, text: impl Into<String>) -> Refuse {
    Refuse { reason: reason.into(), text: crate::check::shorten(text) }
}
