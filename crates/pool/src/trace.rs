//! Remember what happened to each task, and when: its timeline, for whoever wonders where the time went.
//!
//! It lies in memory alone. Up to [`OPEN_MAX`] tasks of open deals have one each; of deals that are retired the last [`RETIRED_MAX`] are
//! kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;

use alloy_primitives::Address;
use gristmill_types::{DealId, TaskId};
use serde::{Deserialize, Serialize};

/// Moments of a task that are remembered: past it the oldest go, and are counted.
pub const MOMENTS_MAX: usize = 128;
/// Tasks of open deals that are remembered; those that come when there are so many are not. One that was worked at takes
/// about 2 KB, one that waits a hundred bytes.
pub const OPEN_MAX: usize = 200_000;
/// Tasks of retired deals that are remembered.
pub const RETIRED_MAX: usize = 1_000;
/// Characters of a moment's text.
const TEXT_CHARS_MAX: usize = 160;

/// What can happen to a task, as the pool sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Its deal was read from the ledger.
    DealSeen,
    /// It is initialised on the ledger.
    Initialised,
    /// A lease of it was sent to a worker.
    Leased,
    /// The worker took the lease.
    Accepted,
    /// The worker does not take it, or gives it back.
    Declined,
    /// The worker brought no result.
    LeaseFailed,
    /// The pool took a lease back.
    Revoked,
    /// The worker has a result, and its sealed upload lies in the store.
    ResultReady,
    /// That is in the pool's journal, synced.
    Journalled,
    /// The pool signed that the worker may contribute.
    Authorised,
    /// The worker could not contribute.
    ContributeFailed,
    /// Its contribution is on the ledger.
    Contributed,
    /// The ledger proved a contribution wrong.
    Rejected,
    /// Enough agree.
    Consensus,
    /// The worker was asked to reveal.
    RevealAsked,
    /// Its digest is on the ledger.
    Revealed,
    /// The upload was opened and is what the digest says.
    UploadOpened,
    /// The upload is something else.
    UploadWrong,
    /// `finalize` was sent to the ledger.
    FinalizeSent,
    /// Another call was.
    CallSent,
    /// A call did not succeed.
    CallFailed,
    /// Put back to work on the ledger.
    Reopened,
    /// Completed and paid.
    Completed,
    /// Failed and refunded.
    Failed,
}

impl Step {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::DealSeen => "deal seen",
            Self::Initialised => "initialised",
            Self::Leased => "leased",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::LeaseFailed => "no result",
            Self::Revoked => "lease taken back",
            Self::ResultReady => "result ready",
            Self::Journalled => "journalled",
            Self::Authorised => "authorised",
            Self::ContributeFailed => "could not contribute",
            Self::Contributed => "contribution seen",
            Self::Rejected => "contribution proven wrong",
            Self::Consensus => "consensus",
            Self::RevealAsked => "reveal asked",
            Self::Revealed => "reveal seen",
            Self::UploadOpened => "upload opened",
            Self::UploadWrong => "upload is wrong",
            Self::FinalizeSent => "finalize sent",
            Self::CallSent => "call sent",
            Self::CallFailed => "call failed",
            Self::Reopened => "reopened",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When the pool saw it, in Unix milliseconds.
    pub at_unix_ms: u64,
    /// What.
    pub step: Step,
    /// By whom, or to whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<Address>,
    /// What else there is to say; mostly nothing.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub text: Box<str>,
}

/// What happened to a task, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Since when the pool remembers: its start. What was before is not here.
    pub since_unix_ms: u64,
    /// The deal is older than that.
    pub begins_late: bool,
    /// Moments that were forgotten, since there were more than [`MOMENTS_MAX`].
    pub forgotten: u64,
    /// The rest.
    pub moments: Vec<Moment>,
}

/// Of a task that only waits no more is kept than when that began.
#[derive(Clone, Debug)]
struct Trace {
    /// When its deal was read: its first moment.
    seen_unix_ms: u64,
    /// When it was initialised, if nothing was between: its second one.
    initialised_unix_ms: Option<NonZeroU64>,
    course: Option<Box<Course>>,
}

/// Of a task that does more: all its moments.
#[derive(Clone, Debug, Default)]
struct Course {
    moments: VecDeque<Moment>,
    forgotten: u64,
    /// It is among those of retired deals.
    retired: bool,
}

impl Moment {
    fn plain(at_unix_ms: u64, step: Step) -> Self {
        Self { at_unix_ms, step, worker: None, text: Box::default() }
    }
}

impl Trace {
    fn new(seen_unix_ms: u64) -> Self {
        Self { seen_unix_ms, initialised_unix_ms: None, course: None }
    }

    /// The moments that every task has.
    fn first(&self) -> impl Iterator<Item = Moment> {
        let initialised = self.initialised_unix_ms.map(|at| Moment::plain(at.get(), Step::Initialised));
        std::iter::once(Moment::plain(self.seen_unix_ms, Step::DealSeen)).chain(initialised)
    }

    fn course(&mut self) -> &mut Course {
        if self.course.is_none() {
            let moments = self.first().collect();
            self.course = Some(Box::new(Course { moments, ..Course::default() }));
        }
        self.course.get_or_insert_default()
    }

    fn note(&mut self, moment: Moment) {
        let is_next = self.course.is_none() && self.initialised_unix_ms.is_none();
        if is_next && moment.step == Step::Initialised && moment.worker.is_none() && moment.text.is_empty() {
            self.initialised_unix_ms = NonZeroU64::new(moment.at_unix_ms);
            if self.initialised_unix_ms.is_some() {
                return;
            }
        }
        let course = self.course();
        if course.moments.len() == MOMENTS_MAX {
            course.moments.pop_front();
            course.forgotten += 1;
        }
        course.moments.push_back(moment);
    }
}

/// The timelines of a pool's tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces {
    /// Each task of a pool that starts is looked up twice, whether there is room for it or not.
    by_task: HashMap<TaskId, Trace>,
    /// Those of deals that are retired, in that order.
    retired: VecDeque<TaskId>,
}

impl Traces {
    /// Something happened. Each timeline begins with its deal: a task that was forgotten stays so, as one for which there is no room.
    pub fn note(&mut self, at_unix_ms: u64, task: TaskId, step: Step, worker: Option<Address>, text: &str) {
        let text: Box<str> = match text.chars().count() > TEXT_CHARS_MAX {
            true => text.chars().take(TEXT_CHARS_MAX).collect::<String>().into(),
            false => text.into(),
        };
        // INVARIANT: those that are retired are in both.
        let has_room = self.by_task.len() - self.retired.len() < OPEN_MAX;
        match self.by_task.entry(task) {
            Entry::Vacant(place) if step == Step::DealSeen && has_room => _ = place.insert(Trace::new(at_unix_ms)),
            Entry::Vacant(_) => {}
            Entry::Occupied(mut trace) => trace.get_mut().note(Moment { at_unix_ms, step, worker, text }),
        }
    }

    /// A deal of these tasks is retired: they go when enough others have.
    pub fn retire(&mut self, tasks: impl Iterator<Item = TaskId>) {
        for task in tasks {
            if let Some(trace) = self.by_task.get_mut(&task)
                && !std::mem::replace(&mut trace.course().retired, true)
            {
                self.retired.push_back(task);
            }
        }
        while self.retired.len() > RETIRED_MAX {
            if let Some(task) = self.retired.pop_front() {
                self.by_task.remove(&task);
            }
        }
    }

    /// What happened to a task; `None` if nothing of it is remembered.
    pub fn of(&self, task: TaskId) -> Option<(Vec<Moment>, u64)> {
        let trace = self.by_task.get(&task)?;
        Some(match &trace.course {
            Some(course) => (course.moments.iter().cloned().collect(), course.forgotten),
            None => (trace.first().collect(), 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(index: u64) -> TaskId {
        DealId::default().task(index)
    }

    #[test]
    fn a_task_is_remembered_in_order_and_within_bounds() {
        let mut traces = Traces::default();
        assert_eq!(traces.of(task(0)), None);
        traces.note(0, task(0), Step::Leased, None, "");
        assert_eq!(traces.of(task(0)), None, "its deal was never seen");
        traces.note(0, task(0), Step::DealSeen, None, "");
        for at in 1..MOMENTS_MAX as u64 + 3 {
            traces.note(at, task(0), Step::Leased, Some(Address::repeat_byte(1)), "");
        }
        traces.note(7, task(1), Step::DealSeen, None, "");
        traces.note(7, task(1), Step::CallFailed, None, &"é".repeat(1_000));
        let (moments, forgotten) = traces.of(task(0)).unwrap();
        assert_eq!((moments.len(), forgotten, moments[0].at_unix_ms), (MOMENTS_MAX, 3, 3));
        assert_eq!(traces.of(task(1)).unwrap().0[1].text.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn of_open_deals_no_more_than_the_bound_are_kept() {
        let mut traces = Traces::default();
        let see = |traces: &mut Traces, index| traces.note(0, task(index), Step::DealSeen, None, "");
        let most = OPEN_MAX as u64;
        (0..most + 2).for_each(|index| see(&mut traces, index));
        traces.note(1, task(most), Step::Leased, None, "");
        assert_eq!((traces.by_task.len(), traces.of(task(most))), (OPEN_MAX, None));
        assert!(traces.of(task(most - 1)).is_some());
        // Those of a deal that is over make room.
        traces.retire([task(0), task(1)].into_iter());
        (most..most + 3).for_each(|index| see(&mut traces, index));
        let known = |index| traces.of(task(most + index)).is_some();
        assert_eq!((known(0), known(1), known(2), traces.by_task.len()), (true, true, false, OPEN_MAX + 2));
    }

    #[test]
    fn of_retired_deals_the_last_tasks_are_kept() {
        let mut traces = Traces::default();
        for index in 0..RETIRED_MAX as u64 + 5 {
            traces.note(index, task(index), Step::DealSeen, None, "");
            traces.retire([task(index)].into_iter());
            traces.note(index, task(index), Step::UploadOpened, None, "");
            traces.retire([task(index)].into_iter());
        }
        traces.note(0, task(9_999), Step::DealSeen, None, "");
        assert!((0..5).all(|index| traces.of(task(index)).is_none()));
        assert!((5..RETIRED_MAX as u64 + 5).all(|index| traces.of(task(index)).is_some()));
        assert!(traces.of(task(9_999)).is_some(), "its deal is open");
        assert_eq!(traces.retired.len(), RETIRED_MAX);
    }
}
