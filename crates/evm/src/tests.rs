//! Tests of the engine as a whole.

mod blocks;
mod calls;
mod crash;
mod history;
mod logs;
mod support;
