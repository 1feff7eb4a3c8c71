//! The machines that one kind of demand may take, most promising first, kept up to date from the index's journal.

use std::collections::BinaryHeap;
use std::sync::Arc;

use gristmill_classad::{ClassAd, Prepared};

use super::window::{CANDIDATES_MAX, Window};
use super::{Pool, Seat};
use crate::rank::criteria;
use crate::rank::{CRITERIA, Criterion, Expected, Favor, Population, Preference, Preferences, Scale, Values, Work};

/// Machines that stand for all matching ones where it is reckoned how promising a machine is.
const REFERENCE_MAX: usize = 512;
/// Cells of a curve; what falls between two points of it is reckoned on the straight line.
const CELLS: usize = 256;
/// What a curve counts in: its points are from -2^30 to 2^30.
const CURVE_UNIT: i64 = 1 << 30;
/// By how much a curve may be off before the order is made anew: a 16th of the way from one machine to one that is
/// wholly preferred.
const DRIFT_MAX: i64 = CURVE_UNIT / 16;
/// Invalid entries that `rest` may hold besides as many as there are machines, before they are taken out.
const STALE_MAX: usize = 4_096;

/// What a task needs, made ready.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub ad: Prepared,
    /// Whether machines of one group match alike for it.
    pub by_group: bool,
    pub favor: Favor,
    pub work: Work,
}

/// The order in which machines come up.
// INVARIANT: once the journal is read, each machine that matches and is free is either in `window` or has one valid entry in
// `rest`, and none in `rest` is more promising than any in `window`; while `rest` has a valid entry, `window` is full.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// What of the journal has been read.
    pub read: u64,
    /// Changes of facts when the curves were drawn, or last looked at.
    pub changes: u64,
    pub preferences: Preferences,
    scale: Scale,
    curves: [Curve; CRITERIA],
    /// The machines of which the curves were drawn, and of how many they were taken.
    reference: Vec<u32>,
    drawn_of: usize,
    weights: [i64; CRITERIA],
    /// By group, if it was asked, with the stamp that the group had: whether it matches, and its rank.
    verdicts: Vec<Option<(u32, Verdict)>>,
    /// By machine.
    states: Vec<State>,
    rest: BinaryHeap<Entry>,
    window: Window,
}

/// Whether a machine matches, and how much the task's ad likes it (its `Rank`), in an order.
type Verdict = Option<u32>;

/// No machine that matches has this key: only the rank of a number that is none would be 0.
const NO_KEY: u64 = 0;

/// What is known of a machine.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Of the machine when it was looked at.
    version: u32,
    /// The beginning of its id, as in [`Entry`].
    tie: u32,
    /// [`NO_KEY`]: it does not match.
    key: u64,
    status: Status,
    /// Its entry is in `rest`.
    is_queued: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Out,
    Rest,
    Window,
}

/// A machine in the heap: the larger key first; of equals the smaller beginning of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    /// The complement of the first four bytes of the machine's id.
    tie: u32,
    place: u32,
}

/// What all matching machines together make of one criterion's value: the mean of its preference over theirs.
///
/// The sum of the curves, weighted, is what PROMETHEE would give a machine if all took part, as far as the reference goes.
#[derive(Clone, Debug)]
struct Curve {
    low: i64,
    /// A cell is 2^shift wide.
    shift: u32,
    points: Vec<i64>,
}

impl Curve {
    fn draw(preference: Preference, reference: &[i32]) -> Self {
        let population = Population::new(reference);
        let low = i64::from(reference.iter().copied().min().unwrap_or(0));
        let high = i64::from(reference.iter().copied().max().unwrap_or(0));
        let mut shift = 0;
        while (high - low) >> shift >= CELLS as i64 {
            shift += 1;
        }
        let unit = i64::from(preference.unit());
        // References are few: their number loses nothing.
        let count = (reference.len() as i64).max(1);
        let point = |cell: usize| {
            // Within the reference's range and one cell, which fits into 32 bits.
            let value = (low + ((cell as i64) << shift)) as i32;
            // In two steps, so that the largest sums fit.
            (((population.sum(preference, value) << 20) / unit) << 10) / count
        };
        Self { low, shift, points: (0..=CELLS).map(point).collect() }
    }

    fn at(&self, value: i32) -> i64 {
        let offset = (i64::from(value) - self.low).max(0);
        let cell = usize::try_from(offset >> self.shift).unwrap_or(CELLS);
        let (Some(from), Some(to)) = (self.points.get(cell), self.points.get(cell + 1)) else {
            return self.points.last().copied().unwrap_or(0);
        };
        let within = offset & ((1 << self.shift) - 1);
        from + (((to - from) * within) >> self.shift)
    }
}

/// A rank in an order of whole numbers, as exact as a 32-bit real number.
fn rank_order(rank: f64) -> u32 {
    // Ranks that differ less than that are the same to us; -0 is 0.
    let bits = (rank as f32 + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

impl Order {
    /// Looks at all machines.
    pub fn build(want: &Want, pool: &Pool) -> Self {
        let preferences = criteria::preferences(&[]);
        let weighed = Criterion::ALL.map(|criterion| want.favor.weight(criterion) > 0);
        let mut order = Self {
            read: pool.journal_end(),
            changes: pool.changes,
            preferences,
            scale: Scale::new(&want.favor, &preferences),
            curves: draw(want, &preferences, &[]),
            reference: Vec::new(),
            drawn_of: pool.places.len(),
            weights: want.favor.lowest().map(i64::from),
            verdicts: Vec::new(),
            states: vec![State::default(); pool.seats.len()],
            rest: BinaryHeap::new(),
            window: Window::new(preferences, weighed),
        };
        let survivors = if want.by_group { pool.groups.survivors(&want.ad) } else { Vec::new() };
        order.verdicts = pool
            .groups
            .list
            .iter()
            .enumerate()
            .map(|(group, of)| match survivors.get(group) {
                Some(false) => Some((of.stamp, None)),
                Some(true) if of.members > 0 => Some((of.stamp, verdict(&want.ad, &of.ad))),
                _ => None,
            })
            .collect();
        let mut matching = Vec::new();
        for place in 0..pool.seats.len() as u32 {
            if let Some(verdict) = order.judge(want, pool, place) {
                matching.push((place, verdict));
            }
        }
        let step = matching.len().div_ceil(REFERENCE_MAX).max(1);
        order.reference = matching.iter().step_by(step).map(|(place, _)| *place).collect();
        let values = order.reference_values(want, pool);
        order.preferences = criteria::preferences(&values);
        order.scale = Scale::new(&want.favor, &order.preferences);
        order.window = Window::new(order.preferences, weighed);
        order.curves = draw(want, &order.preferences, &values);
        let mut entries = Vec::with_capacity(matching.len());
        for (place, rank) in matching {
            let seat = &pool.seats[place as usize];
            let key = order.key(rank, pool.values(&want.work, place));
            let is_free = seat.free > 0;
            let state = &mut order.states[place as usize];
            *state = State { version: seat.version, tie: seat.tie, key, status: Status::Out, is_queued: is_free };
            if is_free {
                state.status = Status::Rest;
                entries.push(Entry { key, tie: seat.tie, place });
            }
        }
        for (place, seat) in pool.seats.iter().enumerate() {
            order.states[place].version = seat.version;
        }
        order.rest = entries.into();
        order.refill(want, pool);
        order
    }

    /// Reads what the journal has of news.
    pub fn catch_up(&mut self, want: &Want, pool: &Pool) {
        for place in pool.news(self.read) {
            self.look(want, pool, place);
        }
        self.read = pool.journal_end();
        if self.rest.len() > 2 * pool.seats.len() + STALE_MAX {
            self.sweep();
        }
    }

    /// The machines were told apart by more attributes: what was known of a group is known of its parts.
    pub fn refined(&mut self, parents: impl Fn(u32) -> Option<u32>, pool: &Pool, old_stamps: &[u32]) {
        let old = std::mem::take(&mut self.verdicts);
        let inherit = |group: usize, stamp: u32| {
            let parent = parents(group as u32)? as usize;
            let (known_stamp, verdict) = (*old.get(parent)?)?;
            (old_stamps.get(parent) == Some(&known_stamp)).then_some((stamp, verdict))
        };
        self.verdicts = pool.groups.list.iter().enumerate().map(|(at, group)| inherit(at, group.stamp)).collect();
    }

    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The weighed sums of the window's candidates, in its order.
    pub fn weigh(&self) -> [f64; CANDIDATES_MAX] {
        self.window.weigh(&self.scale)
    }

    /// phi of a weighed sum among the window's candidates.
    pub fn phi(&self, weighed: f64) -> f64 {
        self.scale.phi(weighed, self.window.len())
    }

    /// The free matching machines behind the window, most promising first, until one is taken.
    pub fn beyond(&mut self, pool: &Pool, mut takes: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut passed = Vec::new();
        let mut found = None;
        while let Some(entry) = self.rest.pop() {
            let state = &mut self.states[entry.place as usize];
            if !state.is_valid(&entry) || pool.seats[entry.place as usize].free == 0 {
                state.drop_entry(&entry);
                continue;
            }
            passed.push(entry);
            if takes(entry.place) {
                found = Some(entry.place);
                break;
            }
        }
        self.rest.extend(passed);
        found
    }

    /// The most promising of these places behind the window, of those that are taken.
    pub fn first_of(&self, places: impl Iterator<Item = u32>, takes: impl FnMut(&u32) -> bool) -> Option<u32> {
        let entry = |place: u32| {
            let state = self.states.get(place as usize).filter(|state| state.status == Status::Rest)?;
            Some(Entry { key: state.key, tie: state.tie, place })
        };
        let mut entries = places.filter_map(entry).collect::<Vec<_>>();
        entries.sort_unstable_by(|a, b| b.cmp(a));
        entries.into_iter().map(|entry| entry.place).find(takes)
    }

    /// Whether the machine matches, and its rank.
    fn judge(&mut self, want: &Want, pool: &Pool, place: u32) -> Verdict {
        let machine = pool.machines[place as usize].as_ref()?;
        if !want.by_group {
            return plain_verdict(want.ad.ad(), &machine.ad);
        }
        let number = machine.group as usize;
        let group = pool.groups.list.get(number)?;
        if self.verdicts.len() <= number {
            self.verdicts.resize(number + 1, None);
        }
        match self.verdicts[number] {
            Some((stamp, verdict)) if stamp == group.stamp => verdict,
            _ => {
                let verdict = verdict(&want.ad, &group.ad);
                self.verdicts[number] = Some((group.stamp, verdict));
                verdict
            }
        }
    }

    /// Whether the curves still say what the reference's machines make of each other; if not, the order is to be made anew. That
    /// machines come, go and change does not matter as long as they stay as different as they were.
    pub fn is_current(&mut self, want: &Want, pool: &Pool) -> bool {
        self.changes = pool.changes;
        let values = self.reference_values(want, pool);
        let curves = draw(want, &self.preferences, &values);
        let differ = |value: &Values| {
            let by = |place: usize| (curves[place].at(value.0[place]) - self.curves[place].at(value.0[place])).abs();
            (0..CRITERIA).any(|place| by(place) > DRIFT_MAX)
        };
        // Half of them gone, or as many more matching as there were machines: it is another pool.
        2 * values.len() >= self.reference.len() && pool.places.len() <= 2 * self.drawn_of && !values.iter().any(differ)
    }

    /// The values of the reference's machines, as far as they still match.
    fn reference_values(&mut self, want: &Want, pool: &Pool) -> Vec<Values> {
        let reference = std::mem::take(&mut self.reference);
        let matching = reference.iter().filter(|place| self.judge(want, pool, **place).is_some());
        let values = matching.map(|place| pool.values(&want.work, *place)).collect();
        self.reference = reference;
        values
    }

    /// The task's own rank first, then how promising the values are.
    fn key(&self, rank: u32, values: Values) -> u64 {
        let (mut sum, mut total) = (0, 0);
        for ((curve, weight), value) in self.curves.iter().zip(self.weights).zip(values.0) {
            if weight > 0 {
                sum += weight * curve.at(value);
                total += weight;
            }
        }
        // From 0 to 2^31.
        let promise = (sum / total.max(1) + CURVE_UNIT).max(0) as u64;
        u64::from(rank) << 32 | promise
    }

    /// Looks at one machine of which there are news.
    fn look(&mut self, want: &Want, pool: &Pool, place: u32) {
        let seat = &pool.seats[place as usize];
        if self.states.len() <= place as usize {
            self.states.resize(place as usize + 1, State::default());
        }
        let known = self.states[place as usize];
        if known.version != seat.version {
            if known.status == Status::Window {
                self.window.remove(place);
            }
            let rank = self.judge(want, pool, place);
            let key = rank.map_or(NO_KEY, |rank| self.key(rank, pool.values(&want.work, place)));
            let is_queued = known.is_queued && known.key == key && known.tie == seat.tie;
            self.states[place as usize] =
                State { version: seat.version, tie: seat.tie, key, status: Status::Out, is_queued };
            if known.status == Status::Window {
                self.refill(want, pool);
            }
        }
        let state = self.states[place as usize];
        let is_wanted = state.key != NO_KEY && seat.free > 0;
        match (is_wanted, state.status) {
            (true, Status::Out) => self.admit(want, pool, place, seat),
            (false, Status::Rest) => self.states[place as usize].status = Status::Out,
            (false, Status::Window) => {
                self.window.remove(place);
                self.states[place as usize].status = Status::Out;
                self.refill(want, pool);
            }
            (true, Status::Rest | Status::Window) | (false, Status::Out) => {}
        }
    }

    /// Takes a machine in: into the window if it is among the most promising, else to the rest.
    fn admit(&mut self, want: &Want, pool: &Pool, place: u32, seat: &Seat) {
        let key = self.states[place as usize].key;
        if !self.window.is_full() {
            self.enter(want, pool, place, key);
            return;
        }
        let least = self.least(pool);
        match least {
            Some(least) if least < (Entry { key, tie: seat.tie, place }) => {
                self.window.remove(least.place);
                self.put_back(least);
                self.enter(want, pool, place, key);
            }
            _ => self.put_back(Entry { key, tie: seat.tie, place }),
        }
    }

    /// The least promising of the window.
    fn least(&self, pool: &Pool) -> Option<Entry> {
        let (key, _) = self.window.least()?;
        let of_that_key = |at: &usize| self.window.key(*at) == key;
        let entry = |at: usize| {
            let place = self.window.places()[at];
            Entry { key, tie: pool.seats[place as usize].tie, place }
        };
        (0..self.window.len()).filter(of_that_key).map(entry).min()
    }

    fn enter(&mut self, want: &Want, pool: &Pool, place: u32, key: u64) {
        self.window.insert(place, key, pool.values(&want.work, place));
        self.states[place as usize].status = Status::Window;
    }

    fn put_back(&mut self, entry: Entry) {
        let state = &mut self.states[entry.place as usize];
        state.status = Status::Rest;
        if !state.is_queued {
            state.is_queued = true;
            self.rest.push(entry);
        }
    }

    /// Fills the window from the rest.
    fn refill(&mut self, want: &Want, pool: &Pool) {
        while !self.window.is_full() {
            let Some(entry) = self.rest.pop() else { return };
            let state = &mut self.states[entry.place as usize];
            let is_valid = state.is_valid(&entry);
            state.drop_entry(&entry);
            if !is_valid {
                continue;
            }
            // What is taken or changed since is news that is still to be read; it must not come in by the old key.
            let seat = &pool.seats[entry.place as usize];
            if seat.free == 0 || seat.version != state.version {
                state.status = Status::Out;
                continue;
            }
            self.enter(want, pool, entry.place, entry.key);
        }
    }

    /// Takes entries out that mean nothing any more.
    fn sweep(&mut self) {
        let mut entries = std::mem::take(&mut self.rest).into_vec();
        entries.sort_unstable();
        entries.dedup();
        entries.retain(|entry| {
            let state = &mut self.states[entry.place as usize];
            let keeps = state.is_valid(entry);
            if !keeps {
                state.drop_entry(entry);
            }
            keeps
        });
        self.rest = entries.into();
    }
}

impl State {
    fn is_valid(&self, entry: &Entry) -> bool {
        self.status == Status::Rest && self.is_queued && self.is_of(entry)
    }

    /// The entry is no longer in the heap.
    fn drop_entry(&mut self, entry: &Entry) {
        if self.is_of(entry) {
            self.is_queued = false;
        }
    }

    fn is_of(&self, entry: &Entry) -> bool {
        self.key == entry.key && self.tie == entry.tie
    }
}

/// The curves of the criteria that count.
fn draw(want: &Want, preferences: &Preferences, reference: &[Values]) -> [Curve; CRITERIA] {
    Criterion::ALL.map(|criterion| {
        let place = criterion.place();
        if want.favor.weight(criterion) == 0 || reference.is_empty() {
            return Curve { low: 0, shift: 0, points: Vec::new() };
        }
        let column = reference.iter().map(|values| values.0[place]).collect::<Vec<_>>();
        Curve::draw(preferences[place], &column)
    })
}

fn verdict(task: &Prepared, machine: &Prepared) -> Verdict {
    task.matches(machine).then(|| rank_order(task.rank(machine)))
}

fn plain_verdict(task: &ClassAd, machine: &Arc<ClassAd>) -> Verdict {
    gristmill_classad::matches(task, machine).then(|| rank_order(gristmill_classad::rank(task, machine)))
}

impl Pool {
    /// The values of a machine for this work.
    pub fn values(&self, work: &Work, place: u32) -> Values {
        match &self.machines[place as usize] {
            Some(machine) => Expected::of(work, &machine.facts).values(),
            None => Values::default(),
        }
    }
}
