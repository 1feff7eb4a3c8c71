//! Set the bounds within which the scheduler decides.

use serde::{Deserialize, Serialize};

/// How a pool schedules. Every duration is in milliseconds of the clock that is handed to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A lease ends so long after the last heartbeat that names it. For a category whose T is small the bound is
    /// `max(2 T, lease_duration_ms_min)` instead, whichever is shorter. Default 10 s.
    pub lease_duration_ms: u64,
    /// The shortest lease duration, whatever T. Default 3 s.
    pub lease_duration_ms_min: u64,
    /// A worker whose connection broke keeps its leases so long at most. Default 2 s.
    pub reconnect_grace_ms: u64,
    /// A lease ends after so many T even if heartbeats go on. Default 3.
    pub run_limit_ratio: u64,
    /// An authorised worker has so long to get its contribution onto the ledger, before another is asked. For a small T
    /// `max(2 T, contribution_wait_ms_min)` if shorter. Default 60 s.
    pub contribution_wait_ms: u64,
    /// The shortest wait for a contribution, whatever T. Default 4 s.
    pub contribution_wait_ms_min: u64,
    /// Time to seal, upload and contribute once a run has ended. Default 1 s.
    pub contribution_margin_ms: u64,
    /// The ledger's clock may be so far behind: what a deadline permits is done so long after it. Default 1.5 s.
    pub ledger_slack_ms: u64,
    /// A call to the hub that neither failed nor took effect is asked for again after this. Default 30 s.
    pub call_timeout_ms: u64,
    /// A call to the hub that failed is tried again after this. Default 2 s.
    pub call_retry_ms: u64,
    /// After a host fault the lease goes elsewhere, so often in a row for a task; then the pool stops. Default 3.
    pub host_fault_retries: u32,
    /// Contributions proven wrong on the ledger after which a worker gets no more leases. Default 1.
    pub faulty_contributions_max: u32,
    /// How long such a ban lasts; `None`: until it is pardoned. Default `None`.
    pub ban_duration_ms: Option<u64>,
    /// Leases in a row that ended without an answer, after which a worker is put aside. Default 3.
    pub silent_leases_max: u32,
    /// How long a silent worker is put aside the first time; it doubles each time. Default 30 s.
    pub aside_ms: u64,
    /// The longest time aside. Default 1 h.
    pub aside_ms_max: u64,
    /// A worker that says it is busy is not asked for so long. Default 1 s.
    pub busy_ms: u64,
    /// Replicas kept in reserve, computed but not authorised, while a holder of the coming consensus has never revealed
    /// before: once a digest is public only they may still join. Default 1.
    pub reserve_replicas: u32,
    /// A lease is late after so many percent of the median run time of its deal: whoever has nothing else to do computes a copy, and
    /// whichever ends first counts. At the end of a deal it is so many percent of what a run takes at such a machine. Default 150; 0: no
    /// copies.
    pub late_percent: u64,
    /// No lease is late before. Default 2 s.
    pub late_ms_min: u64,
    /// Copies of a task's late leases at a time. Default 2.
    pub copies_max: u32,
    /// A deal is at its end once so many percent of its tasks are open at most: then a lease is copied before it is late, where a machine
    /// that has nothing else to do is expected to end first. Default 20; 0: never.
    pub end_percent: u64,
    /// By how much it must be expected to end first, in percent of its own run. Default 10.
    pub gain_percent: u64,
    /// Copies of a task's leases at a time at the end of a deal, late ones too. Default 4.
    pub end_copies_max: u32,
    /// A task goes to a worker that has it run elsewhere, if there is one, where the others are not expected to end it so long after it
    /// came. Default 10 min.
    pub overflow_after_ms: u64,
    /// Where such a worker declined a task, it is not asked for one of the same deal for so long. Default 30 s.
    pub overflow_retry_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease_duration_ms: 10_000,
            lease_duration_ms_min: 3_000,
            reconnect_grace_ms: 2_000,
            run_limit_ratio: 3,
            contribution_wait_ms: 60_000,
            contribution_wait_ms_min: 4_000,
            contribution_margin_ms: 1_000,
            ledger_slack_ms: 1_500,
            call_timeout_ms: 30_000,
            call_retry_ms: 2_000,
            host_fault_retries: 3,
            faulty_contributions_max: 1,
            ban_duration_ms: None,
            silent_leases_max: 3,
            aside_ms: 30_000,
            aside_ms_max: 3_600_000,
            busy_ms: 1_000,
            reserve_replicas: 1,
            late_percent: 150,
            late_ms_min: 2_000,
            copies_max: 2,
            end_percent: 20,
            gain_percent: 10,
            end_copies_max: 4,
            overflow_after_ms: 600_000,
            overflow_retry_ms: 30_000,
        }
    }
}

/// What holds of a lease for as long as it lives, whatever becomes of the policy: its holder was told when to send signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// It ends so long after the last sign of life.
    pub lease_ms: u64,
    /// It ends so long after it began, even if these go on.
    pub run_limit_ms: u64,
}

impl Policy {
    /// On what terms a lease of a task whose category has T = `work_clock_ms` is given.
    pub fn lease_terms(&self, work_clock_ms: u64) -> LeaseTerms {
        let run_limit_ms = work_clock_ms.saturating_mul(self.run_limit_ratio);
        LeaseTerms { lease_ms: self.lease_ms(work_clock_ms), run_limit_ms }
    }

    /// How long a lease of a task whose category has T = `work_clock_ms` lives without a heartbeat.
    pub fn lease_ms(&self, work_clock_ms: u64) -> u64 {
        self.lease_duration_ms.min(work_clock_ms.saturating_mul(2).max(self.lease_duration_ms_min))
    }

    /// How often a worker should send a heartbeat to keep a lease of such a task: three in its duration.
    pub fn heartbeat_ms(&self, work_clock_ms: u64) -> u64 {
        (self.lease_ms(work_clock_ms) / 3).max(1)
    }

    /// How long an authorised contribution to such a task is waited for.
    pub fn contribution_wait_ms(&self, work_clock_ms: u64) -> u64 {
        self.contribution_wait_ms.min(work_clock_ms.saturating_mul(2).max(self.contribution_wait_ms_min))
    }

    /// How long a lease may run before it is late, where runs of its deal take `median_ms` there; `None`: it never is.
    pub fn late_ms(&self, median_ms: u64) -> Option<u64> {
        let late_ms = (u128::from(median_ms) * u128::from(self.late_percent) / 100).try_into().unwrap_or(u64::MAX);
        (self.late_percent > 0).then(|| self.late_ms_min.max(late_ms))
    }

    /// How long a worker that fell silent for the `times`-th time (from 1) is put aside.
    pub fn aside_ms(&self, times: u32) -> u64 {
        let doubled = 1u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
        self.aside_ms.saturating_mul(doubled).min(self.aside_ms_max)
    }
}
