//! Whole networks of real processes: the binary as a user runs it.

mod bad_input;
mod container;
mod crash;
mod daily;
mod dapp;
mod explain;
mod foreign;
mod harness;
mod lab;
mod lend;
mod misconduct;
mod outbound;
mod overflow;
mod owner;
mod packing;
mod pool;
mod pools;
mod settings;
mod story;
mod trace;
