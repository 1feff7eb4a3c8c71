//! What is remembered of one open task.

use std::ops::Deref;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use gristmill_types::{TaskId, Trust};
use serde::{Deserialize, Serialize};

use crate::event::{Role, TaskSpec};

/// An open task. There may be a million of which few are under way: so it does not repeat its id, nor what others have in common
/// with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    #[serde(with = "terms")]
    pub terms: Arc<Terms>,
    pub public: bool,
    /// Newcomers that may take part.
    pub probation_places: u8,
    /// Those who have a lease, and those who answered; the latter in the order of their answers.
    pub replicas: Vec<Replica>,
}

/// What the tasks of a deal have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub trust: Trust,
    pub requester: Address,
    pub by_hub: bool,
}

/// The terms of the task that was opened last, which the next one mostly shares. No part of what is remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest(Option<Arc<Terms>>);

/// A task and its id.
#[derive(Clone, Copy)]
pub(crate) struct Open<'a> {
    pub id: TaskId,
    pub task: &'a Task,
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

impl Deref for Open<'_> {
    type Target = Task;

    fn deref(&self) -> &Task {
        self.task
    }
}

impl Latest {
    /// Those of a task.
    pub fn terms_of(&mut self, spec: &TaskSpec) -> Arc<Terms> {
        let TaskSpec { task: _, trust, requester, by_hub } = *spec;
        let terms = Terms { trust, requester, by_hub };
        match &self.0 {
            Some(latest) if **latest == terms => Arc::clone(latest),
            _ => Arc::clone(self.0.insert(Arc::new(terms))),
        }
    }
}

impl PartialEq for Latest {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Task {
    pub fn new(terms: Arc<Terms>, probation_places: u8) -> Self {
        Self { terms, public: false, probation_places, replicas: Vec::new() }
    }

    /// The probability of a wrong result that was paid for.
    pub fn error_max(&self) -> f64 {
        1.0 / self.terms.trust.value() as f64
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

/// Terms are written with each task that has them.
mod terms {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Terms;

    pub(super) fn serialize<S: Serializer>(terms: &Arc<Terms>, serializer: S) -> Result<S::Ok, S::Error> {
        terms.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Terms>, D::Error> {
        Terms::deserialize(deserializer).map(Arc::new)
    }
}
