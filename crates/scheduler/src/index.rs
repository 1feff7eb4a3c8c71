//! Find the machine for a task among many: those that match, most promising first, and of them the best.
//!
//! Machines whose ads match alike are one group: ads are equal if they differ only in attributes that no requirement or rank in use
//! mentions. What a task requires is asked of groups, and of few of them: conjuncts that name one attribute are answered from an
//! index of its values. For each kind of [`Demand`] (the task's ad, the requester's [`Favor`], the work) an order of the machines is
//! kept, and brought up to date from a journal of what changed: at most [`CANDIDATES_MAX`] machines, the most promising by what
//! all matching machines make of them, are ranked exactly, and the best is chosen. So a decision costs the same among a thousand
//! machines as among a hundred thousand; the first decision of a kind looks at all of them once.
//!
//! Nothing depends on a clock, on chance or on the order of a hash table: the same calls give the same choices, to the bit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gristmill_classad::{ClassAd, Name, Prepared, Symbols, Value};

use crate::id::WorkerId;
use crate::rank::{Facts, Favor, Preferences, Values, Work};

mod group;
mod nearest;
mod order;
mod signature;
mod window;

pub use group::SIGNIFICANT_MAX;
pub use nearest::{Failing, Lack, Nearest, Side, Unmet};
pub use window::CANDIDATES_MAX;

use group::Groups;
use order::{Order, Want};

/// Kinds of demands whose orders are kept at once; of more, those not used for longest are made anew when they are asked for.
pub const ORDERS_MAX: usize = 64;
/// Changes that are remembered; an order that has missed more is made anew.
const JOURNAL_MAX: usize = 1 << 16;
/// Changes of facts after which it is looked whether the curves of an order still hold.
const CURVES_CHANGES: u64 = 8_192;

/// The attribute that says what an ad requires of the other.
const REQUIREMENTS: &str = "Requirements";

/// What tasks of one kind need: tasks that differ in nothing that is named here are one kind.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The task's ad, with its `Requirements` and perhaps a `Rank`. A rank goes before what is favoured.
    pub ad: Arc<ClassAd>,
    /// What the requester favours.
    pub favor: Favor,
    /// What is to be done.
    pub work: Work,
}

impl Demand {
    /// Any machine will do, and nothing is known of the work.
    pub fn any() -> Self {
        Self { ad: Arc::new(with_requirements(ClassAd::new())), favor: Favor::default(), work: Work::default() }
    }
}

/// The ad, which takes anything if it does not say what it requires: without requirements it would match nothing.
pub(crate) fn with_requirements(mut ad: ClassAd) -> ClassAd {
    if ad.get(REQUIREMENTS).is_none() {
        // INVARIANT: an ad that came from anywhere has fewer attributes than may be; if it is full, it matches nothing.
        let _ = ad.insert(REQUIREMENTS, Value::from(true));
    }
    ad
}

/// A kind of demand that an index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DemandId(u32);

/// A chosen machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Which.
    pub worker: WorkerId,
    /// Its net flow among the candidates, if it is one of them.
    pub phi: Option<f64>,
    /// Its values.
    pub values: Values,
    /// How many candidates there were.
    pub candidates: usize,
    place: u32,
}

/// The machines of a pool, what is known of them, and who is next for which demand.
#[derive(Clone, Debug)]
pub struct MachineIndex {
    pool: Pool,
    symbols: Symbols,
    requirements: Name,
    rank: Name,
    demands: BTreeMap<DemandId, Standing>,
    kinds: BTreeMap<KindKey, DemandId>,
    next_demand: u32,
    /// Counts the decisions: what was used last.
    clock: u64,
    orders: usize,
}

/// What makes demands one kind.
type KindKey = (String, Favor, Work);

/// A demand and its order, if that is kept.
#[derive(Clone, Debug)]
struct Standing {
    want: Want,
    key: KindKey,
    /// How often it was opened.
    opened: u64,
    used: u64,
    order: Option<Box<Order>>,
}

/// The machines, by their places. A place that is left is taken again.
#[derive(Clone, Debug, Default)]
struct Pool {
    places: BTreeMap<WorkerId, u32>,
    vacant: Vec<u32>,
    /// INVARIANT: as long as `machines`.
    seats: Vec<Seat>,
    machines: Vec<Option<Machine>>,
    groups: Groups,
    /// The places of which something changed, latest last.
    journal: VecDeque<u32>,
    /// What fell off its beginning.
    forgotten: u64,
    changes: u64,
}

/// What a decision needs of most machines, close together.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    free: u32,
    /// Counts the changes that are more than a slot taken or given back.
    version: u32,
    /// Of two that promise the same, the one with the larger comes up first: the complement of the first four bytes of the machine's
    /// id, or of when it came free.
    tie: u32,
}

#[derive(Clone, Debug)]
struct Machine {
    worker: WorkerId,
    ad: Arc<ClassAd>,
    group: u32,
    facts: Facts,
}

impl Default for MachineIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineIndex {
    /// An index of no machines.
    pub fn new() -> Self {
        // INVARIANT: neither is empty or long.
        let name = |text: &str| Name::new(text).unwrap_or_else(|error| unreachable!("{error}"));
        Self {
            pool: Pool::default(),
            symbols: Symbols::new(),
            requirements: name(REQUIREMENTS),
            rank: name("Rank"),
            demands: BTreeMap::new(),
            kinds: BTreeMap::new(),
            next_demand: 0,
            clock: 0,
            orders: 0,
        }
    }

    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.pool.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pool.places.is_empty()
    }

    /// In how many groups they are, as far as the demands in use tell them apart.
    pub fn groups(&self) -> usize {
        self.pool.groups.list.iter().filter(|group| group.members > 0).count()
    }

    /// The facts of a machine.
    pub fn facts(&self, worker: WorkerId) -> Option<&Facts> {
        let place = *self.pool.places.get(&worker)?;
        self.pool.machines[place as usize].as_ref().map(|machine| &machine.facts)
    }

    /// Takes a machine in, or another ad and other facts of one that is there.
    pub fn insert(&mut self, worker: WorkerId, ad: Arc<ClassAd>, mut facts: Facts) {
        tidy(&mut facts);
        let group = self.pool.groups.join(&ad, &self.requirements, &mut self.symbols);
        let place = match self.pool.places.get(&worker) {
            Some(place) => *place,
            None => self.pool.seat(worker),
        };
        let free = facts.slots_free;
        let left = self.pool.machines[place as usize].replace(Machine { worker, ad, group, facts });
        if let Some(left) = left {
            self.pool.groups.leave(left.group);
        }
        self.pool.changed(place, free);
    }

    /// Takes a machine out.
    pub fn remove(&mut self, worker: WorkerId) {
        let Some(place) = self.pool.places.remove(&worker) else { return };
        if let Some(left) = self.pool.machines[place as usize].take() {
            self.pool.groups.leave(left.group);
        }
        self.pool.changed(place, 0);
        self.pool.vacant.push(place);
    }

    /// Other facts of a machine. What is the same as before costs nothing later on.
    pub fn update(&mut self, worker: WorkerId, facts: Facts) {
        if let Some(place) = self.pool.places.get(&worker).copied() {
            self.update_at(place, facts);
        }
    }

    /// The same, and since when its slots are free: see [`MachineIndex::set_free_since`].
    pub fn update_since(&mut self, worker: WorkerId, facts: Facts, since: u64) {
        if let Some(place) = self.pool.places.get(&worker).copied() {
            let slots_free = facts.slots_free;
            self.update_at(place, facts);
            self.pool.set_free_since(place, slots_free, since);
        }
    }

    fn update_at(&mut self, place: u32, mut facts: Facts) {
        tidy(&mut facts);
        let Some(machine) = &mut self.pool.machines[place as usize] else { return };
        // When a slot comes free is for people, and how many are free is not compared.
        let (free_at_ms, free) = (facts.free_at_ms, facts.slots_free);
        machine.facts.free_at_ms = free_at_ms;
        machine.facts.slots_free = free;
        if machine.facts == facts {
            self.pool.set_free(place, free);
        } else {
            machine.facts = facts;
            self.pool.changed(place, free);
        }
    }

    /// Sets how many slots of a machine are free: 0 also while it is to get nothing.
    pub fn set_free(&mut self, worker: WorkerId, slots_free: u32) {
        if let Some(place) = self.pool.places.get(&worker).copied() {
            self.pool.set_free(place, slots_free);
        }
    }

    /// Sets how many slots of a machine are free, and since when, as a number that grows: of machines that promise the same, the one
    /// that waits longest comes up first.
    pub fn set_free_since(&mut self, worker: WorkerId, slots_free: u32, since: u64) {
        if let Some(place) = self.pool.places.get(&worker).copied() {
            self.pool.set_free_since(place, slots_free, since);
        }
    }

    /// Gives a slot of a machine back.
    pub fn release(&mut self, worker: WorkerId) {
        if let Some(place) = self.pool.places.get(&worker).copied() {
            let free = self.pool.seats[place as usize].free;
            self.pool.set_free(place, free.saturating_add(1));
        }
    }

    /// Takes a slot of a chosen machine. `false` if it has none, or is not there any more.
    pub fn take(&mut self, choice: &Choice) -> bool {
        let is_there = self.pool.machines.get(choice.place as usize).and_then(Option::as_ref);
        if is_there.is_none_or(|machine| machine.worker != choice.worker) {
            return false;
        }
        let free = self.pool.seats[choice.place as usize].free;
        if free == 0 {
            return false;
        }
        self.pool.set_free(choice.place, free - 1);
        true
    }

    /// Makes a kind of demand known. The same kind has one id, and is forgotten once it is closed as often as it was opened.
    pub fn open(&mut self, demand: Demand) -> DemandId {
        let Demand { ad, favor, work } = demand;
        let key = (signature::whole(&ad), favor, work.clone());
        if let Some((id, standing)) =
            self.kinds.get(&key).copied().and_then(|id| Some((id, self.demands.get_mut(&id)?)))
        {
            standing.opened += 1;
            return id;
        }
        let by_group = match signature::asked(&ad, &[&self.requirements, &self.rank]) {
            Some(asked) => self.distinguish(asked),
            None => false,
        };
        let want = Want { ad: Prepared::new(ClassAd::clone(&ad), &mut self.symbols), by_group, favor, work };
        let id = DemandId(self.next_demand);
        self.next_demand = self.next_demand.wrapping_add(1);
        self.kinds.insert(key.clone(), id);
        self.demands.insert(id, Standing { want, key, opened: 1, used: 0, order: None });
        id
    }

    /// A kind of demand is needed once less.
    pub fn close(&mut self, id: DemandId) {
        let Some(standing) = self.demands.get_mut(&id) else { return };
        standing.opened -= 1;
        if standing.opened == 0 {
            self.orders -= usize::from(standing.order.is_some());
            self.kinds.remove(&standing.key);
            self.demands.remove(&id);
        }
    }

    /// The best of the candidates; of equals the one with the smallest id. `None` if no free machine matches.
    pub fn choose(&mut self, id: DemandId) -> Option<Choice> {
        self.choose_where(id, |_| true)
    }

    /// The best of the candidates that pass a test which is the task's own (it has no replica of it, its stake suffices). If none
    /// does, the most promising of all other free machines that match and pass. Of equals the one with the smallest id.
    pub fn choose_where(&mut self, id: DemandId, passes: impl Fn(WorkerId) -> bool) -> Option<Choice> {
        self.best_where(id, 1, passes).into_iter().next()
    }

    /// The best of the candidates that pass a test, best first and of equals the smallest id first: `count` at most, and however many
    /// more are as good as the last of these. If no candidate passes, the most promising of all other free machines that match and
    /// pass, alone. The test is asked of no more machines than it takes.
    pub fn best_where(&mut self, id: DemandId, count: usize, passes: impl Fn(WorkerId) -> bool) -> Vec<Choice> {
        self.best_among(id, count, || None, passes)
    }

    /// The same for who knows which few machines could pass at all: if no candidate does, these are looked at and no others.
    pub fn best_among(
        &mut self,
        id: DemandId,
        count: usize,
        few: impl FnOnce() -> Option<Vec<WorkerId>>,
        passes: impl Fn(WorkerId) -> bool,
    ) -> Vec<Choice> {
        if self.catch_up(id).is_none() {
            return Vec::new();
        }
        let pool = &self.pool;
        let Some(standing) = self.demands.get_mut(&id) else { return Vec::new() };
        let Some(order) = standing.order.as_mut() else { return Vec::new() };
        let worker = |place: u32| pool.machines[place as usize].as_ref().map(|machine| machine.worker);
        let window = order.window();
        let weighed = order.weigh();
        // The requester's own rank goes first: only those with the same are compared. One number for both is sorted sooner.
        let merit = |at: usize| u128::from(window.key(at) >> 32) << 64 | u128::from(in_order(weighed[at]));
        let mut by_merit = [(0, 0); CANDIDATES_MAX];
        let by_merit = &mut by_merit[..window.len()];
        by_merit.iter_mut().zip(0..).for_each(|(entry, at)| *entry = (merit(at), at));
        by_merit.sort_unstable_by(|entry, other| other.cmp(entry));
        let mut best: Vec<(u128, usize, WorkerId)> = Vec::new();
        for (merit, at) in by_merit.iter().copied() {
            if best.len() >= count && best.last().is_some_and(|(last, ..)| *last > merit) {
                break;
            }
            best.extend(worker(window.places()[at]).filter(|worker| passes(*worker)).map(|worker| (merit, at, worker)));
        }
        best.sort_unstable_by(|(merit, _, worker), (other_merit, _, other)| {
            other_merit.cmp(merit).then(worker.cmp(other))
        });
        let candidates = window.len();
        if !best.is_empty() {
            let choice = |(_, at, worker): (u128, usize, WorkerId)| {
                let (place, values, phi) = (window.places()[at], window.values(at), Some(order.phi(weighed[at])));
                Choice { worker, phi, values, candidates, place }
            };
            return best.into_iter().map(choice).collect();
        }
        let takes = |place: u32| worker(place).is_some_and(&passes);
        let found = match few() {
            Some(few) => {
                order.first_of(few.iter().filter_map(|worker| pool.places.get(worker).copied()), |place| takes(*place))
            }
            None => order.beyond(pool, takes),
        };
        let Some(place) = found else { return Vec::new() };
        let values = pool.values(&standing.want.work, place);
        worker(place).map(|worker| Choice { worker, phi: None, values, candidates, place }).into_iter().collect()
    }

    /// Brings the order of a demand up to date, as every choice does. What is chosen later follows from when that was, so whoever knows
    /// without looking that there is nobody to choose says so.
    pub(crate) fn keep_current(&mut self, id: DemandId) {
        let _ = self.catch_up(id);
    }

    /// Whether a machine and a demand match, free or not.
    pub fn matches(&self, id: DemandId, worker: WorkerId) -> bool {
        let machine = self.pool.places.get(&worker).and_then(|place| self.pool.machines[*place as usize].as_ref());
        let (Some(machine), Some(standing)) = (machine, self.demands.get(&id)) else { return false };
        match self.pool.groups.list.get(machine.group as usize).filter(|_| standing.want.by_group) {
            Some(group) => standing.want.ad.matches(&group.ad),
            None => gristmill_classad::matches(standing.want.ad.ad(), &machine.ad),
        }
    }

    /// The candidates, best first; of equals the smallest id first.
    pub fn candidates(&mut self, id: DemandId) -> Vec<Choice> {
        if self.catch_up(id).is_none() {
            return Vec::new();
        }
        let Some(order) = self.demands.get(&id).and_then(|standing| standing.order.as_ref()) else { return Vec::new() };
        let window = order.window();
        let weighed = order.weigh();
        let candidate = |at: usize| {
            let place = window.places()[at];
            let worker = self.pool.machines[place as usize].as_ref()?.worker;
            let phi = Some(order.phi(weighed[at]));
            let choice = Choice { worker, phi, values: window.values(at), candidates: window.len(), place };
            Some((window.key(at) >> 32, weighed[at], choice))
        };
        let mut candidates = (0..window.len()).filter_map(candidate).collect::<Vec<_>>();
        candidates.sort_by(|(rank, weight, choice), (other_rank, other_weight, other)| {
            other_rank.cmp(rank).then(other_weight.total_cmp(weight)).then(choice.worker.cmp(&other.worker))
        });
        candidates.into_iter().map(|(.., choice)| choice).collect()
    }

    /// How machines are compared for a demand, once a decision was asked for: by the spread of those that matched when its order was
    /// made.
    pub fn preferences(&self, id: DemandId) -> Option<Preferences> {
        self.demands.get(&id)?.order.as_ref().map(|order| order.preferences)
    }

    /// What a demand favours.
    pub fn favor(&self, id: DemandId) -> Option<Favor> {
        self.demands.get(&id).map(|standing| standing.want.favor)
    }

    /// Every machine that matches, free or not, with its values, by id: what `choose` saves looking at.
    pub fn matching(&self, id: DemandId) -> Vec<(WorkerId, &Facts, Values)> {
        let Some(standing) = self.demands.get(&id) else { return Vec::new() };
        let want = &standing.want;
        let groups = &self.pool.groups.list;
        let by_group = groups.iter().map(|group| want.by_group && want.ad.matches(&group.ad)).collect::<Vec<_>>();
        let matches = |machine: &Machine| match want.by_group {
            true => by_group[machine.group as usize],
            false => gristmill_classad::matches(want.ad.ad(), &machine.ad),
        };
        let places = self.pool.places.values().filter_map(|place| {
            let machine = self.pool.machines[*place as usize].as_ref().filter(|machine| matches(machine))?;
            Some((machine.worker, &machine.facts, self.pool.values(&want.work, *place)))
        });
        places.collect()
    }

    /// Brings the order of a demand up to date, or makes it. `None` if there is no such demand.
    fn catch_up(&mut self, id: DemandId) -> Option<()> {
        self.clock += 1;
        let standing = self.demands.get_mut(&id)?;
        standing.used = self.clock;
        let pool = &self.pool;
        if let Some(order) = &mut standing.order
            && order.read >= pool.forgotten
            && (pool.changes - order.changes <= CURVES_CHANGES || order.is_current(&standing.want, pool))
        {
            order.catch_up(&standing.want, pool);
            return Some(());
        }
        let is_new = standing.order.is_none();
        standing.order = Some(Box::new(Order::build(&standing.want, &self.pool)));
        if is_new {
            self.orders += 1;
            self.forget_orders();
        }
        Some(())
    }

    /// Keeps the number of orders within bounds.
    fn forget_orders(&mut self) {
        while self.orders > ORDERS_MAX {
            let kept = self.demands.values_mut().filter(|standing| standing.order.is_some());
            let Some(oldest) = kept.min_by_key(|standing| standing.used) else { return };
            oldest.order = None;
            self.orders -= 1;
        }
    }

    /// Tells machines apart by these attributes. `false` if there would be too many of them.
    fn distinguish(&mut self, names: BTreeSet<Name>) -> bool {
        let pool = &mut self.pool;
        let new = names.into_iter().filter(|name| !pool.groups.has(name)).collect::<Vec<_>>();
        if new.is_empty() {
            return true;
        }
        if pool.groups.attributes() + new.len() > SIGNIFICANT_MAX {
            return false;
        }
        let old_stamps = pool.groups.list.iter().map(|group| group.stamp).collect::<Vec<_>>();
        let machines = pool.machines.iter_mut().flatten().map(|machine| (&*machine.ad, &mut machine.group));
        let parents = pool.groups.refine(new, machines, &mut self.symbols);
        let orders = self.demands.values_mut().filter_map(|standing| standing.order.as_mut());
        for order in orders {
            order.refined(|group| parents.get(&group).copied(), pool, &old_stamps);
        }
        true
    }
}

/// The bits of a real number as a whole number in its order, which is that of [`f64::total_cmp`].
fn in_order(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// What is looked up by halving is sorted.
fn tidy(facts: &mut Facts) {
    if !facts.cached.is_sorted() {
        let mut cached = facts.cached.to_vec();
        cached.sort_unstable();
        facts.cached = cached.into();
    }
}

impl Pool {
    /// A place for a machine that is new.
    fn seat(&mut self, worker: WorkerId) -> u32 {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.machines.push(None);
            // A pool has fewer machines than 2^32: each has a connection.
            (self.seats.len() - 1) as u32
        });
        let beginning = worker.0.0.first_chunk::<4>().copied().unwrap_or_default();
        self.seats[place as usize].tie = !u32::from_be_bytes(beginning);
        self.places.insert(worker, place);
        place
    }

    /// More than the number of free slots changed.
    fn changed(&mut self, place: u32, free: u32) {
        let seat = &mut self.seats[place as usize];
        seat.version = seat.version.wrapping_add(1);
        seat.free = free;
        self.changes += 1;
        self.note(place);
    }

    fn set_free(&mut self, place: u32, free: u32) {
        let seat = &mut self.seats[place as usize];
        let before = std::mem::replace(&mut seat.free, free);
        if let Some(machine) = &mut self.machines[place as usize] {
            machine.facts.slots_free = free;
        }
        // One slot more or less of several makes no difference to anybody's order.
        if (before == 0) != (free == 0) {
            self.note(place);
        }
    }

    fn set_free_since(&mut self, place: u32, free: u32, since: u64) {
        let seat = &mut self.seats[place as usize];
        // The number wraps: of machines that wait very differently long it may then be the wrong one once.
        let tie = !(since as u32);
        if free > 0 && seat.tie != tie {
            seat.tie = tie;
            seat.version = seat.version.wrapping_add(1);
            self.note(place);
        }
        self.set_free(place, free);
    }

    fn note(&mut self, place: u32) {
        if self.journal.len() == JOURNAL_MAX {
            self.journal.pop_front();
            self.forgotten += 1;
        }
        self.journal.push_back(place);
    }

    fn journal_end(&self) -> u64 {
        self.forgotten + self.journal.len() as u64
    }

    /// What changed since then. `since` must not be forgotten.
    fn news(&self, since: u64) -> impl Iterator<Item = u32> {
        let from = usize::try_from(since.saturating_sub(self.forgotten)).unwrap_or(usize::MAX).min(self.journal.len());
        self.journal.range(from..).copied()
    }
}

#[cfg(test)]
mod tests;
