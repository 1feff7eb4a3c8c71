//! Run real modules in real child processes.

mod bench;
mod corpus;

mod determinism;
mod endings;
mod everywhere;
mod files;
mod hello;
mod host;
mod hostile;
mod pool;
mod probes;
mod small;
