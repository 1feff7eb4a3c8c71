//! How far a pool believes its workers: what it keeps of them, its secret, and who is behind one.

use std::net::SocketAddr;

use alloy_primitives::Address;
use gristmill_credibility::{AddressRange, Credibility, Origin, Policy, Seed};
use gristmill_datadir::{DataDir, secret};
use rand::RngCore;

use crate::error::PoolError;
use crate::journal::Journal;

const SEED_FILE: &str = "credibility.seed";
const SEED_BYTES: usize = 32;

/// The secret from which all draws follow; made when there is none.
pub(crate) fn seed(dir: &DataDir) -> Result<Seed, PoolError> {
    let path = dir.file(SEED_FILE)?;
    let make = || {
        let mut seed = vec![0; SEED_BYTES];
        rand::rng().fill_bytes(&mut seed);
        seed
    };
    let seed = secret::read_or_create(&path, make)?;
    let wrong = || PoolError::Seed { path, expected: SEED_BYTES, got: seed.len() };
    <[u8; SEED_BYTES]>::try_from(seed.as_slice()).map(Seed).map_err(|_| wrong())
}

/// What an earlier process learnt of the workers, under the same secret.
pub(crate) fn recall(policy: Policy, seed: Seed, journal: &Journal) -> Result<Credibility, PoolError> {
    Ok(Credibility::recall(policy, seed, journal.memories()?)?)
}

/// Who is behind a worker, as far as a pool can see: its key, and from where it calls. What the pool itself lent it as a stake
/// says nothing of it.
pub(crate) fn origin(worker: Address, peer: Option<SocketAddr>) -> Origin {
    let range = peer.map_or(AddressRange::Local, |peer| AddressRange::of(peer.ip()));
    Origin { range, ..Origin::of(worker) }
}
