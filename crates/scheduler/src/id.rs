//! Name workers, leases and fencing tokens.

use std::fmt;

use alloy_primitives::{Address, keccak256};
use gristmill_types::TaskId;
use serde::{Deserialize, Serialize};

/// A worker, by the address of the key with which it contributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub Address);

/// A fencing token: of two leases the later has the larger. Never used twice, restarts included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// A lease: the permission to work at a task until it expires. Not an authorisation to contribute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub [u8; 16]);

/// The engine on which replicas of a task must agree: version, flags, host interface. Equal text, equal results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineProfile(pub String);

impl LeaseId {
    /// The lease that `fence` gives of `task` to `worker`: the first 16 bytes of keccak256(fence ++ task ++ worker).
    pub fn derive(fence: Fence, task: TaskId, worker: WorkerId) -> Self {
        let mut bytes = [0u8; 8 + 32 + 20];
        bytes[..8].copy_from_slice(&fence.0.to_be_bytes());
        bytes[8..40].copy_from_slice(task.as_bytes());
        bytes[40..].copy_from_slice(worker.0.as_slice());
        let mut id = [0u8; 16];
        id.copy_from_slice(&keccak256(bytes)[..16]);
        Self(id)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerId({:#x})", self.0)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloy_primitives::hex::encode(self.0))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl From<Address> for WorkerId {
    fn from(address: Address) -> Self {
        Self(address)
    }
}
