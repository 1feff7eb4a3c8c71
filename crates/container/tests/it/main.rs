//! Real programs, compiled from C, in real containers.

mod bench;
mod hello;
