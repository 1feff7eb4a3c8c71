//! Another policy, while tasks are under way.

use gristmill_types::DealId;

use super::Scheduler;
use crate::id::WorkerId;
use crate::policy::Policy;

impl Scheduler {
    /// From now on it decides by this policy. What was promised stays: leases keep their terms, authorisations, bans and times aside
    /// their ends.
    ///
    /// It looks at every task and every worker, since any of them may have waited for what is different now. An operator does this now
    /// and then; nobody does it often.
    pub(super) fn policy_changed(&mut self, policy: Policy) {
        let before = std::mem::replace(&mut self.policy, policy);
        let retries = self.policy.host_fault_retries;
        for id in self.tasks.ids() {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            // Those that stopped for their hosts' faults may go on where more are borne now.
            if task.stopped {
                task.stopped = task.host_faults <= before.host_fault_retries || task.host_faults > retries;
            }
        }
        self.limit_runs_anew();
        for deal in self.deals.keys().copied().collect::<Vec<DealId>>() {
            self.note_end(deal);
        }
        self.dirty.extend(self.tasks.ids());
        for worker in self.workers.keys().copied().collect::<Vec<WorkerId>>() {
            self.refresh_worker(worker);
        }
    }

    /// The policy that holds now.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
