//! Real programs, compiled from C, in real containers.

mod behaviour;
mod bench;
mod bombs;
mod calls;
mod devices;
mod everywhere;
mod files;
mod hello;
mod host;
mod images;
mod network;
mod runtimes;
mod stop;
mod survivors;
