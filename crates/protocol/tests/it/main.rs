//! A pool and its workers over loopback, with TLS, with cuts, and with guests who do not behave.

mod guests;
mod harness;
mod links;
