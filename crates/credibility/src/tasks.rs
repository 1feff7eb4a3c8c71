//! The open tasks by id.

use std::collections::BTreeMap;

use gristmill_types::TaskId;
use hashbrown::HashTable;

use crate::task::{Open, Task};

/// The open tasks. A hash table of pointers: of a million tasks each is found at once, and no room is left beside the tasks.
// What is believed must not depend on the order in which tasks lie in a table; so nothing here goes by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(HashTable<Box<(TaskId, Task)>>);

/// An id is a hash already. Whoever wanted many tasks in one part of the table would have to try a million deals for each of them.
fn hash(id: &TaskId) -> u64 {
    id.as_bytes()[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

impl Tasks {
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        self.0.find(hash(id), |known| known.0 == *id).map(|known| &known.1)
    }

    pub fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.0.find_mut(hash(id), |known| known.0 == *id).map(|known| &mut known.1)
    }

    /// A task with its id.
    pub fn open(&self, id: TaskId) -> Option<Open<'_>> {
        self.get(&id).map(|task| Open { id, task })
    }

    pub fn contains(&self, id: &TaskId) -> bool {
        self.get(id).is_some()
    }

    /// Puts a task in, in the place of the one with this id.
    pub fn insert(&mut self, id: TaskId, task: Task) {
        match self.get_mut(&id) {
            Some(known) => *known = task,
            None => _ = self.0.insert_unique(hash(&id), Box::new((id, task)), |known| hash(&known.0)),
        }
    }

    pub fn remove(&mut self, id: &TaskId) -> Option<Task> {
        let found = self.0.find_entry(hash(id), |known| known.0 == *id).ok()?;
        Some(found.remove().0.1)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in the order of their ids.
    pub fn to_map(&self) -> BTreeMap<TaskId, Task> {
        self.0.iter().map(|known| (known.0, known.1.clone())).collect()
    }

    pub fn of_map(map: BTreeMap<TaskId, Task>) -> Self {
        let mut tasks = Self::default();
        map.into_iter().for_each(|(id, task)| tasks.insert(id, task));
        tasks
    }
}

impl PartialEq for Tasks {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().all(|known| other.get(&known.0) == Some(&known.1))
    }
}
