//! Run real modules in real child processes.

mod bench;

mod determinism;
mod endings;
mod files;
mod hello;
mod host;
mod hostile;
mod pool;
mod probes;
