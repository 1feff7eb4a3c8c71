//! The store as other crates use it: its folder, its server, its client, and peers that lie, stall and vanish.

mod disk;
mod hostile;
mod http;
mod support;
mod transfer;
