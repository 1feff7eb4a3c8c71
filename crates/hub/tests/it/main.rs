//! The hub's client against the real contracts, on a ledger in the same process.

mod chain;
mod deployed;
mod differential;
mod gas;
mod market;
mod oracle;
mod register;
