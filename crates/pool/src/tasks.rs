//! The tasks of a pool by their id, in few bytes: of most nothing is known but their deal, their index and their status.
//!
//! A task's id follows from its deal and its index. So it is not kept: a hash table leads from an id to a place within a deal, and the
//! id of what lies there is computed to see whether it is the one.

use std::ops::{Deref, Range};

use gristmill_types::{DealId, TaskId};
use hashbrown::HashTable;

use crate::book::TaskBook;

/// Tasks, deal by deal.
#[derive(Debug, Default)]
pub struct Tasks {
    deals: Vec<OfDeal>,
    places: HashTable<Place>,
}

/// The tasks of a deal, by index.
#[derive(Debug)]
struct OfDeal {
    deal: DealId,
    first: u64,
    tasks: Vec<TaskBook>,
}

/// Where a task lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The beginning of its id: of a million tasks hardly two share it.
    tag: u32,
    deal: u32,
    at: u32,
}

/// A task, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its deal.
    pub deal: DealId,
    /// Its index within the request order.
    pub index: u64,
    task: &'a TaskBook,
}

impl Deref for Entry<'_> {
    type Target = TaskBook;

    fn deref(&self) -> &TaskBook {
        self.task
    }
}

impl Place {
    /// An id is a hash already. Whoever wanted many tasks in one part of the table would have to try a million deals for each of them.
    fn hash(&self) -> u64 {
        u64::from(self.tag) << 32 | u64::from(self.tag)
    }
}

fn tag_of(id: &TaskId) -> u32 {
    id.as_bytes()[..4].iter().fold(0, |tag, byte| tag << 8 | u32::from(*byte))
}

impl OfDeal {
    fn index(&self, at: u32) -> u64 {
        self.first.saturating_add(u64::from(at))
    }

    fn id(&self, at: u32) -> TaskId {
        self.deal.task(self.index(at))
    }
}

impl Tasks {
    /// Takes in the tasks of a deal that is not there yet. Of them nothing is known. Those past the 2^32nd are left out: so many never
    /// come.
    pub fn insert(&mut self, deal: DealId, indices: Range<u64>) {
        let Ok(number) = u32::try_from(self.deals.len()) else { return };
        let count = u32::try_from(indices.end.saturating_sub(indices.start)).unwrap_or(u32::MAX);
        let tasks = (0..count).map(|_| TaskBook::default()).collect();
        let of_deal = OfDeal { deal, first: indices.start, tasks };
        for at in 0..count {
            let place = Place { tag: tag_of(&of_deal.id(at)), deal: number, at };
            self.places.insert_unique(place.hash(), place, Place::hash);
        }
        self.deals.push(of_deal);
    }

    /// A task and where it belongs.
    pub fn get(&self, id: &TaskId) -> Option<Entry<'_>> {
        let place = self.place(id)?;
        let of_deal = self.deals.get(place.deal as usize)?;
        let task = of_deal.tasks.get(place.at as usize)?;
        Some(Entry { deal: of_deal.deal, index: of_deal.index(place.at), task })
    }

    /// A task, to be changed.
    pub fn get_mut(&mut self, id: &TaskId) -> Option<&mut TaskBook> {
        let place = self.place(id)?;
        self.deals.get_mut(place.deal as usize)?.tasks.get_mut(place.at as usize)
    }

    /// Whether this is a task of the pool's.
    pub fn contains(&self, id: &TaskId) -> bool {
        self.place(id).is_some()
    }

    /// The tasks that are not over, as their deals came, and of which deal each is.
    pub fn open(&self) -> impl Iterator<Item = (TaskId, DealId)> {
        self.deals.iter().flat_map(|of_deal| {
            let open = (0..).zip(&of_deal.tasks).filter(|(_, task)| !task.status.is_final());
            open.map(|(at, _)| (of_deal.id(at), of_deal.deal))
        })
    }

    /// How many are not over.
    pub fn count_open(&self) -> usize {
        self.deals.iter().flat_map(|of_deal| &of_deal.tasks).filter(|task| !task.status.is_final()).count()
    }

    fn place(&self, id: &TaskId) -> Option<Place> {
        let sought = Place { tag: tag_of(id), deal: 0, at: 0 };
        let is_it = |place: &Place| {
            let of_deal = self.deals.get(place.deal as usize);
            place.tag == sought.tag && of_deal.is_some_and(|of_deal| of_deal.id(place.at) == *id)
        };
        self.places.find(sought.hash(), is_it).copied()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use gristmill_types::TaskStatus;

    use super::*;

    #[test]
    fn each_task_is_found_by_its_id_and_nothing_else_is() {
        let deal = |number: u8| DealId(B256::repeat_byte(number));
        let indices = |number: u8| u64::from(number % 7)..u64::from(number % 7) + 100;
        let mut tasks = Tasks::default();
        assert!(tasks.get(&deal(1).task(0)).is_none());
        (1..100).for_each(|number| tasks.insert(deal(number), indices(number)));
        for number in 1..100 {
            for index in indices(number) {
                let id = deal(number).task(index);
                let found = tasks.get(&id).unwrap();
                assert_eq!((found.deal, found.index, found.status), (deal(number), index, TaskStatus::Unset));
                tasks.get_mut(&id).unwrap().note(format!("{number} {index}"));
            }
        }
        for number in 1..100 {
            let notes = indices(number)
                .map(|index| tasks.get(&deal(number).task(index)).unwrap().last_note().map(str::to_owned));
            assert!(notes.eq(indices(number).map(|index| Some(format!("{number} {index}")))));
            assert!(!tasks.contains(&deal(number).task(indices(number).end)));
        }
        let mut like_it = deal(1).task(5);
        like_it.0.0[31] ^= 1;
        assert!(!tasks.contains(&like_it), "it only begins like one that is there");
    }

    #[test]
    fn those_that_are_over_are_not_open() {
        let deal = DealId(B256::repeat_byte(1));
        let mut tasks = Tasks::default();
        tasks.insert(deal, 0..5);
        tasks.get_mut(&deal.task(2)).unwrap().status = TaskStatus::Completed;
        tasks.get_mut(&deal.task(3)).unwrap().status = TaskStatus::Revealing;
        let open = [0, 1, 3, 4].map(|index| (deal.task(index), deal));
        assert_eq!((tasks.open().collect::<Vec<_>>(), tasks.count_open()), (open.to_vec(), 4));
    }
}
