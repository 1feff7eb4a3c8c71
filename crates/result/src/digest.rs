//! Commit to a result: root, witness and answer give the digest; digest, task and worker give what the hub stores.

use std::fmt;

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use gristmill_types::TaskId;
use serde::{Deserialize, Serialize};

macro_rules! hash_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }
    };
}

hash_type!(
    /// BLAKE3 of a manifest's canonical bytes: the fingerprint of the files alone.
    Root
);
hash_type!(
    /// What a low-entropy answer cannot be guessed without (WASM: hash of fuel used and final memory; OCI: zero).
    Witness
);
hash_type!(
    /// keccak256(abi.encode(root, witness, answer)): what replicas compare and reveal.
    Digest
);

/// The preimage of a digest. Its ABI encoding is what a callback receives and unwraps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Hash of the manifest.
    pub root: Root,
    /// Proof of having run it.
    pub witness: Witness,
    /// `callback-data` of `computed.json`, else empty.
    #[serde(with = "alloy_primitives::hex")]
    pub answer: Vec<u8>,
}

impl Commitment {
    /// `abi.encode(bytes32 root, bytes32 witness, bytes answer)`.
    pub fn encode(&self) -> Vec<u8> {
        (self.root.0, self.witness.0, alloy_primitives::Bytes::copy_from_slice(&self.answer)).abi_encode_params()
    }

    /// Reads what [`Commitment::encode`] writes; `None` for anything else, padding with other bytes than zeros included.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (root, witness, answer) = <(B256, B256, alloy_primitives::Bytes)>::abi_decode_params(bytes).ok()?;
        let found = Self { root: Root(root), witness: Witness(witness), answer: answer.to_vec() };
        (found.encode() == bytes).then_some(found)
    }

    /// The digest.
    pub fn digest(&self) -> Digest {
        Digest(keccak256(self.encode()))
    }
}

/// keccak256(task ++ digest): what the hub groups contributions by.
pub fn result_hash(task: TaskId, digest: Digest) -> B256 {
    keccak256([task.as_bytes().as_slice(), digest.0.as_slice()].concat())
}

/// keccak256(worker ++ task ++ digest): what only somebody who knows the digest can make for this worker.
pub fn result_seal(worker: Address, task: TaskId, digest: Digest) -> B256 {
    keccak256([worker.as_slice(), task.as_bytes().as_slice(), digest.0.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_has_one_encoding() {
        for length in [0, 1, 31, 32, 33, 100] {
            let commitment = Commitment {
                root: Root(B256::repeat_byte(1)),
                witness: Witness(B256::repeat_byte(2)),
                answer: (1..=length).collect(),
            };
            let bytes = commitment.encode();
            assert_eq!(Commitment::decode(&bytes), Some(commitment));
            let mut longer = bytes.clone();
            longer.extend([0; 32]);
            for other in [&bytes[..bytes.len() - 1], &bytes[..64], &longer, &[]] {
                assert_eq!(Commitment::decode(other), None, "{length}");
            }
            if length % 32 != 0 {
                let mut padded = bytes.clone();
                *padded.last_mut().unwrap() = 1;
                assert_eq!(Commitment::decode(&padded), None, "{length}");
            }
        }
    }
}
