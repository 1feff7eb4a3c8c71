//! The ledger of the hub's own tests.

#[path = "../../../../hub/tests/it/chain.rs"]
#[allow(dead_code, reason = "the hub's tests do more with it")]
pub mod chain;
