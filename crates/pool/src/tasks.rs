//! The tasks of a pool by their id, in few bytes: of most nothing is known but their deal, their index and their status.
//!
//! A task's id follows from its deal and its index. So it is not kept: a hash table leads from an id to a place within a deal, and the
//! id of what lies there is computed to see whether it is the one.

use std::collections::BTreeMap;
use std::ops::Deref;

use gristmill_types::{DealId, TaskId};
use hashbrown::HashTable;

use crate::book::TaskBook;

/// Tasks, deal by deal.
#[derive(Debug, Default)]
pub struct Tasks {
    deals: Vec<OfDeal>,
    /// Which of them a deal is.
    numbers: BTreeMap<DealId, u32>,
    slots: HashTable<Slot>,
}

/// The tasks of a deal, by index.
#[derive(Debug)]
struct OfDeal {
    deal: DealId,
    first: u64,
    tasks: Vec<TaskBook>,
}

/// Where a task lies: nothing that is there moves.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    deal: u32,
    at: u32,
}

/// What the table has of a task.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The beginning of its id: of a million tasks hardly two share it.
    tag: u32,
    place: Place,
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

impl Slot {
    fn hash(&self) -> u64 {
        hash_of(self.tag)
    }
}

/// An id is a hash already. Whoever wanted many tasks in one part of the table would have to try a million deals for each of them.
fn hash_of(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
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
    /// Takes in the tasks of a deal that is not there yet, by the ids that follow from their indices. Of them nothing is known. Those past
    /// the 2^32nd are left out: so many never come.
    pub fn insert(&mut self, deal: DealId, first: u64, ids: impl ExactSizeIterator<Item = TaskId>) {
        let Ok(number) = u32::try_from(self.deals.len()) else { return };
        self.slots.reserve(ids.len(), Slot::hash);
        let mut tasks = Vec::with_capacity(ids.len());
        for (at, id) in (0..u32::MAX).zip(ids) {
            let slot = Slot { tag: tag_of(&id), place: Place { deal: number, at } };
            self.slots.insert_unique(slot.hash(), slot, Slot::hash);
            tasks.push(TaskBook::default());
        }
        self.deals.push(OfDeal { deal, first, tasks });
        self.numbers.insert(deal, number);
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
        self.at_mut(self.place(id)?)
    }

    /// The task at a place, to be changed.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut TaskBook> {
        self.deals.get_mut(place.deal as usize)?.tasks.get_mut(place.at as usize)
    }

    /// The deal of the task at a place.
    pub fn deal_at(&self, place: Place) -> Option<DealId> {
        self.deals.get(place.deal as usize).map(|of_deal| of_deal.deal)
    }

    /// The places of a deal's tasks, by index.
    pub fn places_of(&self, deal: &DealId) -> impl Iterator<Item = Place> + use<> {
        let number = self.numbers.get(deal).copied();
        let count = number.and_then(|number| self.deals.get(number as usize)).map_or(0, |of_deal| of_deal.tasks.len());
        (0..count as u32).map(move |at| Place { deal: number.unwrap_or_default(), at })
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

    /// Where a task lies.
    pub fn place(&self, id: &TaskId) -> Option<Place> {
        let tag = tag_of(id);
        let is_it = |slot: &Slot| {
            let of_deal = || self.deals.get(slot.place.deal as usize);
            slot.tag == tag && of_deal().is_some_and(|of_deal| of_deal.id(slot.place.at) == *id)
        };
        self.slots.find(hash_of(tag), is_it).map(|slot| slot.place)
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
        for number in 1..100 {
            let ids = indices(number).map(|index| deal(number).task(index)).collect::<Vec<_>>();
            tasks.insert(deal(number), indices(number).start, ids.into_iter());
        }
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
        tasks.insert(deal, 0, (0..5u32).map(|index| deal.task(u64::from(index))));
        tasks.get_mut(&deal.task(2)).unwrap().status = TaskStatus::Completed;
        tasks.get_mut(&deal.task(3)).unwrap().status = TaskStatus::Revealing;
        let open = [0, 1, 3, 4].map(|index| (deal.task(index), deal));
        assert_eq!((tasks.open().collect::<Vec<_>>(), tasks.count_open()), (open.to_vec(), 4));
    }
}
