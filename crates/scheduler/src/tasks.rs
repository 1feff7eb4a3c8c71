//! The open tasks by id.

use gristmill_types::TaskId;
use hashbrown::HashTable;

use crate::task::Task;

/// The open tasks. A hash table of pointers: an ordered map of a million would repeat their ids, and be a third empty besides.
// What the scheduler decides must not depend on the order in which tasks lie in a table; so nothing here goes by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(HashTable<Task>);

/// An id is a hash already. Whoever wanted many tasks in one part of the table would have to try a million deals for each of them.
fn hash(id: TaskId) -> u64 {
    id.as_bytes()[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

impl Tasks {
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        self.0.find(hash(*id), |task| task.id() == *id)
    }

    pub fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.0.find_mut(hash(*id), |task| task.id() == *id)
    }

    pub fn contains_key(&self, id: &TaskId) -> bool {
        self.get(id).is_some()
    }

    /// Puts a task in, in the place of the one with this id.
    pub fn insert(&mut self, id: TaskId, task: Task) {
        match self.get_mut(&id) {
            Some(known) => *known = task,
            None => _ = self.0.insert_unique(hash(id), task, |task| hash(task.id())),
        }
    }

    pub fn remove(&mut self, id: &TaskId) -> Option<Task> {
        let found = self.0.find_entry(hash(*id), |task| task.id() == *id).ok()?;
        Some(found.remove().0)
    }

    /// Their ids, in order.
    pub fn ids(&self) -> Vec<TaskId> {
        let mut ids = self.0.iter().map(Task::id).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    }
}
