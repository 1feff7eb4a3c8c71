//! Who is not believed yet gets its next task no sooner than others are through with theirs: see [`crate::pace`].

use gristmill_types::{DealId, TaskId};

use super::{Scheduler, Timer};
use crate::id::WorkerId;
use crate::worker::Cooling;

/// Whoever is believed this far goes at its own pace: after about five checks, where a fifth are assumed to be saboteurs.
pub(super) const BELIEVED: f64 = 0.98;
/// The same where many must agree: after one or two. That a few who do not compute meet by chance, and find each other right, is no
/// danger there.
const BELIEVED_AMONG_MANY: f64 = 0.9;
/// The trust from which many must agree.
const MANY_TRUST: u64 = 50;

impl Scheduler {
    /// A run of this deal ended, with an answer after so long or without one.
    pub(super) fn pace(&mut self, deal_id: DealId, worker: WorkerId, run_ms: Option<u64>) {
        let Some(deal) = self.deals.get_mut(&deal_id) else { return };
        if !deal.pace.end(worker, run_ms) {
            return;
        }
        let (median_ms, cooling) = (deal.pace.median_ms(), std::mem::take(&mut deal.cooling));
        for worker in cooling {
            self.cool_anew(deal_id, worker, median_ms);
        }
    }

    /// A worker answered: its slot is free again when the pace of the deal allows it, and after T in any case.
    pub(super) fn cool(&mut self, task: TaskId, id: WorkerId, since_ms: u64) {
        let Some(credibility) = self.credibility.as_ref().filter(|credibility| credibility.policy().public) else {
            return;
        };
        let Some(task) = self.tasks.get(&task) else { return };
        let enough = if task.spec.trust.value() < MANY_TRUST { BELIEVED } else { BELIEVED_AMONG_MANY };
        if task.spec.trust.value() == 1 || credibility.credibility(id.0) >= enough {
            return;
        }
        let (deal_id, longest_ms) = (task.spec.deal, task.spec.work_clock_ms);
        let median_ms = self.deals.get(&deal_id).and_then(|deal| deal.pace.median_ms());
        let until_ms = since_ms.saturating_add(median_ms.unwrap_or(longest_ms).min(longest_ms));
        let Some(worker) = self.workers.get_mut(&id).filter(|_| until_ms > self.now_ms) else { return };
        worker.cooling.push(Cooling { deal: deal_id, since_ms, until_ms });
        self.timers.insert((until_ms, Timer::Worker(id)));
        if median_ms.is_none()
            && let Some(deal) = self.deals.get_mut(&deal_id)
        {
            deal.cooling.insert(id);
        }
    }

    /// More is known of a deal's pace, or it is over.
    pub(super) fn cool_anew(&mut self, deal: DealId, id: WorkerId, median_ms: Option<u64>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        for cooling in worker.cooling.iter_mut().filter(|cooling| cooling.deal == deal) {
            let until_ms = median_ms.map(|median_ms| cooling.since_ms.saturating_add(median_ms));
            cooling.until_ms = until_ms.map_or(cooling.until_ms, |until_ms| until_ms.min(cooling.until_ms));
            if cooling.until_ms > self.now_ms {
                self.timers.insert((cooling.until_ms, Timer::Worker(id)));
            }
        }
        self.refresh_worker(id);
    }
}
