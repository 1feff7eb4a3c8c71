//! Draw what workers must not foresee from a secret of the pool's.

use std::fmt;

use alloy_primitives::{Address, keccak256};
use gristmill_types::TaskId;

/// A secret from which every draw follows: who has it knows which tasks are checked. Made by the caller, from a good source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What is drawn.
#[derive(Clone, Copy)]
pub(crate) enum Draw {
    Check = 1,
    Probation = 2,
}

impl Seed {
    /// A place in a line, of a task and a worker. Drawn for each worker that is looked at: by a hash that is quicker.
    pub(crate) fn order(&self, task: TaskId, worker: Address) -> u64 {
        let mut bytes = [0u8; 32 + 20];
        bytes[..32].copy_from_slice(task.as_bytes());
        bytes[32..].copy_from_slice(worker.as_slice());
        let hash = blake3::keyed_hash(&self.0, &bytes);
        hash.as_bytes()[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    fn word(&self, draw: Draw, task: TaskId) -> u64 {
        // Twenty bytes of zeros end it, where an address stood once: the same draws as then.
        let mut bytes = [0u8; 32 + 1 + 32 + 20];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32] = draw as u8;
        bytes[33..65].copy_from_slice(task.as_bytes());
        let hash = keccak256(bytes);
        hash[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// From 0 to below 1, of a task.
    pub(crate) fn fraction(&self, draw: Draw, task: TaskId) -> f64 {
        // 53 bits: each is a fraction that f64 has.
        (self.word(draw, task) >> 11) as f64 / (1u64 << 53) as f64
    }
}
