//! Carry messages between a pool, its workers and its clients.
//!
//! - [`wire`]: the messages and the gRPC service, generated from `proto/gristmill/pool/v1/pool.proto`.
//! - [`convert`] and [`check`]: from bytes on the wire to typed ids, and the bounds of every message.
//! - [`tls`]: a pool is known by the hash of its key, which is part of its address ([`tls::PoolUrl`]).
//! - [`client`] and [`server`]: a pinned, encrypted HTTP/2 channel, and the listener for it.
//! - [`link`]: the worker's stream, which survives cuts: each message arrives once and in order.
//! - [`join`]: an invitation, and what who redeems it says.
//! - [`control`]: a socket in a service's folder, by which its operator asks and tells it.
//! - [`page`]: pages that can only be read, for statuses and metrics.
//! - [`public`]: how a pool that anybody may work for says on the ledger where it is.
//!
//! A worker dials out and needs no open port. What it says is believed because its [`hello`] is signed by its ledger
//! key for this pool's key, over a connection that only this pool can have answered.

mod admit;
pub mod check;
pub mod client;
pub mod control;
pub mod convert;
pub mod hello;
pub mod join;
pub mod link;
pub mod page;
pub mod public;
pub mod server;
pub mod tls;

/// The messages and the service as generated from `pool.proto`. Rebuilt by `examples/generate.rs`.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all)]
#[path = "gen/gristmill.pool.v1.rs"]
pub mod wire;

/// Version of the protocol that this crate speaks. Peers of different versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// Most bytes of one message from a pool, to a worker or to a client.
pub const POOL_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Most bytes of one message from a worker or a client to a pool. Small, because a pool keeps up to
/// [`SESSION_WINDOW`] of them for each worker.
pub const WORKER_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most messages in one direction of a session that the other end has not taken yet.
pub const SESSION_WINDOW: usize = 256;

// Whoever implements the service or calls it names these types; the crate's version is chosen here alone.
pub use ::tonic;

#[cfg(test)]
mod tests;
