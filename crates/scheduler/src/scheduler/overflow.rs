//! What the pool's own machines cannot finish in time is run elsewhere: by a worker that pays for it.
//!
//! Such a worker stands in no line. After everybody else was given something, the tasks that still wait are looked at from behind, since
//! those in front will be begun first. A task is given to it where none of the other workers could ever take it, or where they are
//! expected to end it too late: they work at what runs, then at what is served before it (requesters and deals take turns), then at the
//! task itself.
//! How long runs take is known from those of the same deal that ended; before one did, no run is taken to be longer than what has
//! already passed of one, so that nothing is paid for on a guess. What waits for longer than [`Policy::overflow_after_ms`] is late in any
//! case.
//!
//! [`Policy::overflow_after_ms`]: crate::Policy::overflow_after_ms

use std::collections::{BTreeMap, BTreeSet};

use gristmill_types::{Address, DealId, TaskId};

use super::dispatch::Fit;
use super::{Deal, Scheduler, Timer};
use crate::id::WorkerId;
use crate::line::Queue;
use crate::task::{ReplicaState, Task};
use crate::worker::Worker;

/// What waits is looked at no oftener.
const LOOK_MS: u64 = 1_000;
/// Deals that are looked at, those whose turn comes first.
const DEALS_MAX: usize = 64;
/// Tasks of a deal that are looked at, from behind, for one that such a worker may have.
const TASKS_MAX: usize = 32;
/// Leases given in one look; the next one gives more.
const GRANTS_MAX: usize = 64;
/// So long after such a worker came first, nobody concludes that the others cannot take a task: after a restart of the pool they are on
/// their way.
const ARRIVAL_MS: u64 = 10_000;

/// The workers that have tasks run elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Overflow {
    // INVARIANT: exactly the workers with `overflow`.
    workers: BTreeSet<WorkerId>,
    /// The timer that rings when what waits may be looked at again is set.
    waits: bool,
    /// When the first of them came.
    since_ms: Option<u64>,
}

/// A deal with tasks that wait.
struct Waiting {
    of: (Address, DealId),
    /// Runs that its waiting tasks need.
    runs: u64,
    /// How long one of them takes here.
    run_ms: u64,
    /// Slots of the workers here that could take a task of it now, or when they have ended another.
    slots: u64,
}

/// What the workers here run, as of one look.
struct Running {
    /// What all of it is expected to take from now on.
    left_ms: u64,
    /// The longest run of each deal so far.
    so_far_ms: BTreeMap<DealId, u64>,
}

impl Overflow {
    /// A worker has tasks run elsewhere, or does not.
    pub(super) fn note(&mut self, worker: WorkerId, is_overflow: bool) {
        if is_overflow {
            self.workers.insert(worker);
        } else if !self.workers.is_empty() {
            self.workers.remove(&worker);
        }
    }

    /// What waits may be looked at again.
    pub(super) fn ring(&mut self) {
        self.waits = false;
    }
}

impl Scheduler {
    /// Whether this worker has tasks run elsewhere.
    pub(super) fn is_overflow(&self, worker: WorkerId) -> bool {
        self.overflow.workers.contains(&worker)
    }

    /// Such a worker declined a task: what kept it from that keeps it from the others of the deal, for now.
    pub(super) fn pause_overflow(&mut self, task: TaskId) {
        let deal = self.tasks.get(&task).map(|task| task.spec.deal);
        if let Some(deal) = deal.and_then(|deal| self.deals.get_mut(&deal)) {
            deal.overflow_from_ms = self.now_ms.saturating_add(self.policy.overflow_retry_ms);
        }
    }

    /// A task was run elsewhere by this worker, whose lease of it was so long: as long as the run, unless that had begun before.
    pub(super) fn note_overflow_run(&mut self, id: TaskId, worker: WorkerId, run_ms: u64) {
        let Some(task) = self.tasks.get(&id) else { return };
        let begun = self.workers.get(&worker).and_then(|worker| worker.overflow.as_ref());
        let is_whole = begun.is_none_or(|begun| !begun.contains(&id))
            && task.attempts.get(&worker).is_some_and(|attempt| !attempt.is_again);
        if let Some(deal) = self.deals.get_mut(&task.spec.deal).filter(|_| is_whole) {
            deal.overflow_run_ms = deal.overflow_run_ms.max(Some(run_ms));
        }
    }

    /// Before anybody else is given something: what a worker pays for already is not begun anew by another.
    pub(super) fn take_up(&mut self) {
        for id in self.overflow.workers.clone() {
            let Some(worker) = self.workers.get(&id) else { continue };
            let begun = worker.overflow.clone().unwrap_or_default();
            for task in begun.iter() {
                let known = self.tasks.get(task).filter(|known| known.is_in(Queue::Needy));
                if known.is_some_and(|known| self.has_room(id) && self.may_spill(known, id)) {
                    self.grant(*task, id);
                }
            }
        }
    }

    /// After everybody else was given something: gives away what would come too late.
    pub(super) fn spill(&mut self) {
        if self.overflow.workers.is_empty() || self.overflow.waits {
            return;
        }
        let mut looked = false;
        self.overflow.since_ms.get_or_insert(self.now_ms);
        // Nothing below changes what runs here.
        let running = self.what_runs();
        for id in self.overflow.workers.clone() {
            if !self.has_room(id) {
                continue;
            }
            let mut waiting = self.what_waits(&running);
            looked |= !waiting.is_empty();
            for _ in 0..GRANTS_MAX {
                let Some((deal, task)) = self.latest(&waiting, &running, id).filter(|_| self.has_room(id)) else {
                    break;
                };
                self.grant(task, id);
                waiting[deal].runs = waiting[deal].runs.saturating_sub(1);
            }
        }
        if looked {
            self.overflow.waits = true;
            self.timers.insert((self.now_ms.saturating_add(LOOK_MS), Timer::Overflow));
        }
    }

    fn has_room(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.is_willing(self.now_ms) && worker.has_slot())
    }

    /// Whether it would be back before the deadline if it were begun elsewhere now; T is what is expected before one was.
    fn is_in_time(&self, task: &Task) -> bool {
        let known_ms = self.deals.get(&task.spec.deal).and_then(|deal| deal.overflow_run_ms);
        let run_ms = known_ms.unwrap_or(task.spec.work_clock_ms).saturating_add(self.policy.contribution_margin_ms);
        self.now_ms.saturating_add(run_ms) <= task.spec.contribution_deadline_ms
    }

    /// Whether a worker that has tasks run elsewhere could have this one run there, as far as that is known here.
    fn may_spill(&self, task: &Task, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let paused = self.deals.get(&task.spec.deal).is_none_or(|deal| self.now_ms < deal.overflow_from_ms);
        !paused && self.fit(task, id, worker).is_possible()
    }

    fn what_waits(&self, running: &Running) -> Vec<Waiting> {
        let deals = self.line.deals(Queue::Needy).take(DEALS_MAX);
        let waiting = deals.filter_map(|of| {
            let (unstarted, started) = self.line.waiting(Queue::Needy, of);
            let deal = self.deals.get(&of.1)?;
            let first = self.line.all_of(Queue::Needy, of).next().and_then(|task| self.tasks.get(&task))?;
            let replicas = u64::from(first.spec.trust.replicas_of_newcomers());
            let slots = self.own_workers().filter(|(id, worker)| {
                let works = !worker.draining && !worker.caught && worker.aside_until_ms <= self.now_ms;
                works && self.serves_deal(first, *id, worker)
            });
            Some(Waiting {
                of,
                runs: (unstarted as u64).saturating_mul(replicas).saturating_add(started as u64),
                run_ms: deal.known_run_ms().unwrap_or_else(|| running.so_far_ms.get(&of.1).copied().unwrap_or(0)),
                slots: slots.map(|(_, worker)| u64::from(worker.slots)).sum(),
            })
        });
        waiting.collect()
    }

    /// Workers that run tasks themselves, or will when their owners let them.
    fn own_workers(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        let is_own = |worker: &Worker| worker.connected && !worker.is_overflow() && !worker.is_banned(self.now_ms);
        self.workers.iter().map(|(id, worker)| (*id, worker)).filter(move |(_, worker)| is_own(worker))
    }

    /// Whether a worker could take tasks of the deal that this one is of.
    fn serves_deal(&self, task: &Task, id: WorkerId, worker: &Worker) -> bool {
        matches!(self.fit(task, id, worker), Fit::New | Fit::Again | Fit::Tried | Fit::Gpu)
    }

    /// Whether a worker could still take this very task.
    fn may_yet(&self, task: &Task, id: WorkerId, worker: &Worker) -> bool {
        let is_coming = || task.attempts.get(&id).is_some_and(|attempt| attempt.retry_ms.is_some());
        match self.fit(task, id, worker) {
            Fit::New | Fit::Again | Fit::Gpu => true,
            Fit::Tried => !task.replicas.contains_key(&id) && !task.seen.contains_key(&id) && is_coming(),
            _ => false,
        }
    }

    /// What the workers here run. No run of a deal of which none has ended is taken to be longer than the longest so far.
    fn what_runs(&self) -> Running {
        let leases: Vec<(DealId, u64)> = self.own_leases().collect();
        let mut so_far_ms = BTreeMap::new();
        for (of, ms) in &leases {
            let longest = so_far_ms.entry(*of).or_insert(0);
            *longest = *ms.max(longest);
        }
        let run_ms: BTreeMap<DealId, u64> = so_far_ms
            .iter()
            .map(|(of, longest)| (*of, self.deals.get(of).and_then(Deal::known_run_ms).unwrap_or(*longest)))
            .collect();
        let left = leases.iter().filter_map(|(of, ms)| Some(run_ms.get(of)?.saturating_sub(*ms)));
        Running { left_ms: left.fold(0, u64::saturating_add), so_far_ms }
    }

    /// The leases of the workers here: of which deal, and since how long.
    fn own_leases(&self) -> impl Iterator<Item = (DealId, u64)> {
        self.leases.values().filter(|(_, worker)| !self.is_overflow(*worker)).filter_map(|(task, worker)| {
            let task = self.tasks.get(task)?;
            let ReplicaState::Leased { since_ms, .. } = task.replicas.get(worker)?.state else { return None };
            Some((task.spec.deal, self.now_ms.saturating_sub(since_ms)))
        })
    }

    /// Of the tasks that would come too late, one that is expected to end last: its deal's place among `waiting`, and it.
    fn latest(&self, waiting: &[Waiting], running: &Running, id: WorkerId) -> Option<(usize, TaskId)> {
        let arrived_ms = self.overflow.since_ms.unwrap_or(self.now_ms).saturating_add(ARRIVAL_MS);
        let late = waiting.iter().enumerate().filter_map(|(place, deal)| {
            let task = self.last_of(deal.of, id)?;
            let spec = &task.spec;
            let in_time_ms = task.since_ms.saturating_add(self.policy.overflow_after_ms);
            let last_ms = spec.contribution_deadline_ms.saturating_sub(self.policy.contribution_margin_ms);
            let is_ours = || self.own_workers().any(|(id, worker)| self.may_yet(task, id, worker));
            if self.now_ms >= arrived_ms && !is_ours() {
                return Some((u64::MAX, place, task.id()));
            }
            let others = waiting.iter().filter(|other| other.of != deal.of);
            // While its deal's runs before it are begun, the other deals have as many turns.
            let others = others.map(|other| other.runs.min(deal.runs).saturating_mul(other.run_ms));
            let before = deal.runs.saturating_sub(1).saturating_mul(deal.run_ms);
            let ahead_ms = others.fold(before.saturating_add(running.left_ms), u64::saturating_add);
            // When owners give their machines back is not known: of that only the time that has passed tells.
            let wait_ms = ahead_ms.checked_div(deal.slots).unwrap_or(0);
            let end_ms = self.now_ms.saturating_add(wait_ms).saturating_add(deal.run_ms);
            (end_ms > in_time_ms.min(last_ms)).then_some((end_ms, place, task.id()))
        });
        late.max_by_key(|(end_ms, place, _)| (*end_ms, std::cmp::Reverse(*place))).map(|(_, place, task)| (place, task))
    }

    /// The last of a deal's waiting tasks that this worker may have run elsewhere.
    fn last_of(&self, of: (Address, DealId), id: WorkerId) -> Option<&Task> {
        let worker = self.workers.get(&id)?;
        let mut before = u64::MAX;
        for _ in 0..TASKS_MAX {
            let (number, task) = self.line.last(Queue::Needy, of, &worker.profile, before)?;
            before = number;
            if let Some(task) = self.tasks.get(&task).filter(|task| self.may_spill(task, id) && self.is_in_time(task)) {
                return Some(task);
            }
        }
        None
    }
}
