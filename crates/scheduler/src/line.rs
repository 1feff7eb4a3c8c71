//! The tasks that want a replica, in the order in which they are served: fair among requesters, then among a requester's deals, and
//! first come first served within a deal.
//!
//! Fairness is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): who has been given least is served next, where what is
//! given is machine time, by the T of a task's category. Whoever comes anew, or was away, begins level with those who are served now,
//! so that nobody saves up turns; and a requester with a million tasks takes no more turns than one with ten.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_types::{Address, DealId, TaskId};

use crate::id::EngineProfile;
use crate::numbered::Numbered;

/// Requesters without open deals whose share is remembered.
const REQUESTERS_MAX: usize = 10_000;

/// Which kind of replica is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Without it something stops.
    Needy,
    /// It would be one more than needed.
    Spare,
    /// A newcomer on probation may take part.
    Probation,
}

impl Queue {
    pub const ALL: [Self; 3] = [Self::Needy, Self::Spare, Self::Probation];
}

/// Where a task stands in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub queue: Queue,
    /// The engine that its replicas share, once it has one.
    pub profile: Option<EngineProfile>,
}

/// A task with its number in the order of coming, which no other has.
type Coming = (u64, TaskId);

/// All that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    requesters: Fair<Address, Fair<DealId, Waiting>>,
}

/// Members by what they have been given.
#[derive(Clone, Debug)]
struct Fair<K, V> {
    members: BTreeMap<K, Member<V>>,
    /// Those with tasks, by queue; the next turn first.
    turns: [BTreeSet<(u64, K)>; Queue::ALL.len()],
    /// What the latest to be served had been given before: whoever comes anew begins there.
    level: u64,
}

#[derive(Clone, Debug, Default)]
struct Member<V> {
    given: u64,
    /// Tasks by queue, all below it counted.
    counts: [usize; Queue::ALL.len()],
    rest: V,
}

/// The waiting tasks of a deal, by queue.
type Waiting = [Tasks; Queue::ALL.len()];

/// By engine, because a worker has one.
#[derive(Clone, Debug, Default)]
struct Tasks {
    unstarted: Numbered<TaskId>,
    started: BTreeMap<EngineProfile, Numbered<TaskId>>,
}

impl Tasks {
    /// Those that nobody has begun with first, then engine by engine; by number.
    fn all(&self) -> impl Iterator<Item = TaskId> {
        self.unstarted.values().chain(self.started.values().flat_map(Numbered::values))
    }
}

impl<K, V> Default for Fair<K, V> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), turns: [const { BTreeSet::new() }; Queue::ALL.len()], level: 0 }
    }
}

impl<K: Copy + Ord, V: Default> Fair<K, V> {
    /// A task more of this member.
    fn enter(&mut self, key: K, queue: Queue) -> &mut V {
        let level = self.level;
        let member = self.members.entry(key).or_default();
        if member.counts == [0; Queue::ALL.len()] {
            member.given = member.given.max(level);
        }
        let count = &mut member.counts[queue as usize];
        *count += 1;
        if *count == 1 {
            self.turns[queue as usize].insert((member.given, key));
        }
        &mut member.rest
    }

    /// A task less.
    fn leave(&mut self, key: K, queue: Queue) -> Option<&mut V> {
        let member = self.members.get_mut(&key)?;
        let count = &mut member.counts[queue as usize];
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.turns[queue as usize].remove(&(member.given, key));
        }
        Some(&mut member.rest)
    }

    fn give(&mut self, key: K, amount: u64) -> Option<&mut V> {
        let member = self.members.get_mut(&key)?;
        let before = member.given;
        member.given = before.saturating_add(amount);
        self.level = self.level.max(before);
        for (turns, count) in self.turns.iter_mut().zip(member.counts) {
            if count > 0 {
                turns.remove(&(before, key));
                turns.insert((member.given, key));
            }
        }
        Some(&mut member.rest)
    }

    fn in_turn(&self, queue: Queue) -> impl Iterator<Item = K> {
        self.turns[queue as usize].iter().map(|(_, key)| *key)
    }
}

impl Line {
    /// A task takes this place.
    pub fn enter(&mut self, requester: Address, deal: DealId, place: &Place, (number, task): Coming) {
        let waiting = self.requesters.enter(requester, place.queue).enter(deal, place.queue);
        let tasks = &mut waiting[place.queue as usize];
        match &place.profile {
            None => tasks.unstarted.insert(number, task),
            Some(profile) => tasks.started.entry(profile.clone()).or_default().insert(number, task),
        }
    }

    /// A task leaves the place that it took.
    pub fn leave(&mut self, requester: Address, deal: DealId, place: &Place, (number, _): Coming) {
        let waiting = self.requesters.leave(requester, place.queue).and_then(|deals| deals.leave(deal, place.queue));
        let Some(tasks) = waiting.map(|waiting| &mut waiting[place.queue as usize]) else { return };
        match &place.profile {
            None => _ = tasks.unstarted.remove(number),
            Some(profile) => {
                if let Some(started) = tasks.started.get_mut(profile) {
                    started.remove(number);
                    if started.is_empty() {
                        tasks.started.remove(profile);
                    }
                }
            }
        }
    }

    /// Machine time was given to a task of this deal.
    pub fn give(&mut self, requester: Address, deal: DealId, amount: u64) {
        if let Some(deals) = self.requesters.give(requester, amount) {
            deals.give(deal, amount);
        }
    }

    /// A deal is over. What its requester was given is remembered as long as it puts others first.
    pub fn forget(&mut self, requester: Address, deal: DealId) {
        let level = self.requesters.level;
        let Some(member) = self.requesters.members.get_mut(&requester) else { return };
        member.rest.members.remove(&deal);
        if member.rest.members.is_empty() && member.given <= level {
            self.requesters.members.remove(&requester);
        }
        if self.requesters.members.len() > REQUESTERS_MAX {
            self.requesters.members.retain(|_, member| !member.rest.members.is_empty() || member.given > level);
        }
        if self.requesters.members.len() > 2 * REQUESTERS_MAX {
            self.requesters.members.retain(|_, member| !member.rest.members.is_empty());
        }
    }

    /// The deals with tasks in a queue, the next to be served first.
    pub fn deals(&self, queue: Queue) -> impl Iterator<Item = (Address, DealId)> {
        self.requesters.in_turn(queue).flat_map(move |requester| {
            let deals = self.requesters.members.get(&requester).map(|member| member.rest.in_turn(queue));
            deals.into_iter().flatten().map(move |deal| (requester, deal))
        })
    }

    /// The first task of a deal, from this number on, that a worker with this engine may work at.
    pub fn next(
        &self,
        queue: Queue,
        (requester, deal): (Address, DealId),
        profile: &EngineProfile,
        from: u64,
    ) -> Option<Coming> {
        let waiting = &self.requesters.members.get(&requester)?.rest.members.get(&deal)?.rest;
        let tasks = &waiting[queue as usize];
        let first = |tasks: &Numbered<TaskId>| tasks.first_from(from);
        let started = tasks.started.get(profile).and_then(first);
        [started, first(&tasks.unstarted)].into_iter().flatten().min()
    }

    /// The last task of a deal, before this number, that a worker with this engine may work at.
    pub fn last(
        &self,
        queue: Queue,
        (requester, deal): (Address, DealId),
        profile: &EngineProfile,
        before: u64,
    ) -> Option<Coming> {
        let waiting = &self.requesters.members.get(&requester)?.rest.members.get(&deal)?.rest;
        let tasks = &waiting[queue as usize];
        let last = |tasks: &Numbered<TaskId>| tasks.last_before(before);
        let started = tasks.started.get(profile).and_then(last);
        [started, last(&tasks.unstarted)].into_iter().flatten().max()
    }

    /// How many tasks of a deal wait that nobody has begun with, and how many of the others.
    pub fn waiting(&self, queue: Queue, (requester, deal): (Address, DealId)) -> (usize, usize) {
        let deals = self.requesters.members.get(&requester).map(|member| &member.rest.members);
        let tasks = deals.and_then(|deals| deals.get(&deal)).map(|member| &member.rest[queue as usize]);
        tasks.map_or((0, 0), |tasks| (tasks.unstarted.len(), tasks.started.values().map(Numbered::len).sum()))
    }

    /// What a requester has been given, level with the others if it is new.
    pub fn given(&self, requester: Address) -> u64 {
        self.requesters.members.get(&requester).map_or(0, |member| member.given).max(self.requesters.level)
    }

    /// The tasks of a deal in a queue.
    pub fn all_of(&self, queue: Queue, (requester, deal): (Address, DealId)) -> impl Iterator<Item = TaskId> {
        let deals = self.requesters.members.get(&requester).map(|member| &member.rest.members);
        let tasks = deals.and_then(|deals| deals.get(&deal)).map(|member| &member.rest[queue as usize]);
        tasks.into_iter().flat_map(Tasks::all)
    }

    /// All tasks in a queue, by requester, deal and number.
    pub fn all(&self, queue: Queue) -> impl Iterator<Item = TaskId> {
        let deals = self.requesters.members.values().flat_map(|member| member.rest.members.values());
        deals.flat_map(move |deal| deal.rest[queue as usize].all())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    fn requester(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    fn deal(number: u8) -> DealId {
        DealId(B256::repeat_byte(number))
    }

    fn profile() -> EngineProfile {
        EngineProfile("one".to_owned())
    }

    fn unstarted() -> Place {
        Place { queue: Queue::Needy, profile: None }
    }

    struct Served {
        line: Line,
        next: u64,
    }

    impl Served {
        fn enter(&mut self, who: u8, of: u8, tasks: u64) {
            for _ in 0..tasks {
                self.line.enter(requester(who), deal(of), &unstarted(), (self.next, deal(of).task(self.next)));
                self.next += 1;
            }
        }

        /// Serves the next task at this cost; whose it was.
        fn serve(&mut self, cost: u64) -> (u8, u8) {
            let (who, of) = self.line.deals(Queue::Needy).next().unwrap();
            let task = self.line.next(Queue::Needy, (who, of), &profile(), 0).unwrap();
            self.line.leave(who, of, &unstarted(), task);
            self.line.give(who, of, cost);
            (who.0[0], of.0[0])
        }
    }

    fn served() -> Served {
        Served { line: Line::default(), next: 0 }
    }

    fn turns(served: &mut Served, count: usize, who: u8) -> usize {
        (0..count).filter(|_| served.serve(1).0 == who).count()
    }

    #[test]
    fn a_requester_with_many_tasks_takes_no_more_turns_than_one_with_few() {
        let mut line = served();
        line.enter(1, 1, 100_000);
        assert_eq!(turns(&mut line, 50, 1), 50);
        line.enter(2, 2, 10);
        // The newcomer begins level, not with the fifty turns that it did not take.
        assert_eq!(turns(&mut line, 20, 2), 10);
        assert_eq!(turns(&mut line, 10, 1), 10);
        line.enter(2, 3, 10);
        assert_eq!(turns(&mut line, 4, 2), 2);
    }

    #[test]
    fn a_requesters_deals_take_turns_too_and_cost_is_what_counts() {
        let mut line = served();
        line.enter(1, 1, 1_000);
        line.enter(1, 2, 1_000);
        line.enter(2, 3, 1_000);
        let mut counts = BTreeMap::new();
        for _ in 0..400 {
            let (who, of) = line.line.deals(Queue::Needy).next().map(|(who, of)| (who.0[0], of.0[0])).unwrap();
            // The second requester's tasks are of a size three times as large.
            assert_eq!(line.serve(if who == 2 { 3 } else { 1 }), (who, of));
            *counts.entry(of).or_insert(0) += 1;
        }
        assert_eq!(counts, BTreeMap::from([(1, 150), (2, 150), (3, 100)]));
    }

    #[test]
    fn whoever_is_ahead_stays_so_when_a_deal_ends_and_nothing_is_kept_of_those_who_are_not() {
        let mut line = served();
        line.enter(1, 1, 10);
        line.enter(2, 2, 10);
        assert_eq!(line.serve(5), (1, 1));
        for task in 1..10 {
            line.line.leave(requester(1), deal(1), &unstarted(), (task, deal(1).task(task)));
        }
        line.line.forget(requester(1), deal(1));
        line.enter(1, 3, 10);
        // It was given five, and the other nothing yet.
        assert_eq!(turns(&mut line, 5, 2), 5);
        for who in 3..=u8::MAX {
            line.enter(who, who, 1);
            let number = line.next - 1;
            line.line.leave(requester(who), deal(who), &unstarted(), (number, deal(who).task(number)));
            line.line.forget(requester(who), deal(who));
        }
        assert_eq!(line.line.requesters.members.len(), 2);
    }

    #[test]
    fn a_worker_is_shown_tasks_of_its_own_engine_and_unstarted_ones_in_their_order() {
        let mut line = Line::default();
        let (who, of) = (requester(1), deal(1));
        let place = |name: Option<&str>| Place {
            queue: Queue::Needy,
            profile: name.map(|name| EngineProfile(name.to_owned())),
        };
        let profiles = [None, Some("two"), Some("one"), None, Some("two")];
        for (number, name) in (0..).zip(profiles) {
            line.enter(who, of, &place(name), (number, of.task(number)));
        }
        let seen = |line: &Line, name: &str| {
            let (mut from, mut seen) = (0, Vec::new());
            let profile = EngineProfile(name.to_owned());
            while let Some((number, _)) = line.next(Queue::Needy, (who, of), &profile, from) {
                seen.push(number);
                from = number + 1;
            }
            seen
        };
        assert_eq!(
            (seen(&line, "one"), seen(&line, "two"), seen(&line, "three")),
            (vec![0, 2, 3], vec![0, 1, 3, 4], vec![0, 3])
        );
        let from_behind = |line: &Line, name: &str| {
            let (mut before, mut seen) = (u64::MAX, Vec::new());
            let profile = EngineProfile(name.to_owned());
            while let Some((number, _)) = line.last(Queue::Needy, (who, of), &profile, before) {
                seen.push(number);
                before = number;
            }
            seen
        };
        assert_eq!((from_behind(&line, "one"), from_behind(&line, "two")), (vec![3, 2, 0], vec![4, 3, 1, 0]));
        assert_eq!((line.waiting(Queue::Needy, (who, of)), line.waiting(Queue::Spare, (who, of))), ((2, 3), (0, 0)));
        assert_eq!(line.all(Queue::Needy).count(), 5);
        for (number, name) in (0..).zip(profiles) {
            line.leave(who, of, &place(name), (number, of.task(number)));
        }
        assert_eq!((line.deals(Queue::Needy).count(), line.all(Queue::Needy).count()), (0, 0));
        assert!(line.next(Queue::Spare, (who, of), &profile(), 0).is_none());
    }
}
