//! What is remembered of one open task.

use alloy_primitives::{Address, B256};
use gristmill_types::TaskId;
use serde::{Deserialize, Serialize};

use crate::event::{Role, TaskSpec};

/// An open task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub spec: TaskSpec,
    pub public: bool,
    /// Newcomers that may take part.
    pub probation_places: u8,
    /// Those who have a lease, and those who answered; the latter in the order of their answers.
    pub replicas: Vec<Replica>,
}

/// A worker's part in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub worker: Address,
    pub role: Role,
    pub answer: Option<B256>,
    /// It was leased although the task wanted none: a reserve, or a copy of a late one.
    pub spare: bool,
}

impl Task {
    pub fn new(spec: TaskSpec, probation_places: u8) -> Self {
        Self { spec, public: false, probation_places, replicas: Vec::new() }
    }

    pub fn id(&self) -> TaskId {
        self.spec.task
    }

    /// The probability of a wrong result that was paid for.
    pub fn error_max(&self) -> f64 {
        1.0 / self.spec.trust.value() as f64
    }

    pub fn position(&self, worker: Address) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.worker == worker)
    }

    /// More answers are awaited than would be one too many: a copy makes up for the late one.
    pub fn waits(&self, awaited: usize) -> bool {
        awaited > self.replicas.iter().filter(|replica| replica.spare).count()
    }

    /// Replicas with this role, answered or not.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.role == role)
    }
}
