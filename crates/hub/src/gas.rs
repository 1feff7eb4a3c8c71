//! Gas limits that always suffice for the steps of a task's life, so that nobody has to have them estimated.
//!
//! They hold for tasks with as many contributors as the hub takes (32) and every storage slot fresh. A test measures them.

/// `initialize` of one task.
pub const INITIALIZE: u64 = 300_000;
/// `contribute`.
pub const CONTRIBUTE: u64 = 500_000;
/// `reveal`.
pub const REVEAL: u64 = 150_000;
/// `finalize`, without its bytes and what the callback uses.
pub const FINALIZE: u64 = 3_000_000;
/// `contributeAndFinalize`, without its bytes and what the callback uses.
pub const SOLO: u64 = 800_000;
/// `reopen`.
pub const REOPEN: u64 = 1_500_000;
/// `claim`, and `concede` after the contribution deadline.
pub const CLAIM: u64 = 1_500_000;
/// `concede` before the first contribution.
pub const CONCEDE: u64 = 150_000;
/// To be added to [`FINALIZE`] or [`SOLO`] when the deal has a callback: what the hub hands it, and what it keeps in reserve.
pub const CALLBACK: u64 = 400_000;
/// To be added to [`CONTRIBUTE`] or [`SOLO`] when an enclave vouches: its signature is checked, its key stored.
pub const ENCLAVE: u64 = 60_000;

/// What `length` bytes of results hint and callback data add: they are sent, and stored in slots of 32 bytes.
pub const fn of_bytes(length: usize) -> u64 {
    // 22,100 for a fresh slot and 16 a byte sent, rounded up.
    30_000 + length as u64 * 800
}
