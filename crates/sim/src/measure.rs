//! What is counted while a run goes on.

use gristmill_types::Amount;

use crate::config::Kind;

/// Counters of a run.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub acts: u64,
    pub ticks: u64,
    pub scheduler_events: u64,
    pub available: u64,
    pub busy: u64,
    pub completed: u64,
    pub failed: u64,
    pub wrong: u64,
    pub leases: u64,
    pub revoked: u64,
    pub declined: u64,
    pub runs: u64,
    pub results: u64,
    pub runs_lost: u64,
    pub runs_revoked: u64,
    pub bans: u64,
    pub renames: u64,
    pub departures: u64,
    pub worker_crashes: u64,
    pub pool_crashes: u64,
    /// From ready to the first lease that a host took, by task.
    pub lease_waits_ms: Vec<u64>,
    pub messages: Messages,
    pub kinds: [KindMeasure; Kind::ALL.len()],
    pub samples: Vec<Sample>,
}

/// What went over the lines between workers and pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// From workers, heartbeats aside.
    pub up: u64,
    /// From the pool.
    pub down: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// Sent once more on a new connection.
    pub again: u64,
    /// Lost, of all of these and of handshakes.
    pub lost: u64,
    /// Overtaken by what was sent later.
    pub overtaken: u64,
    /// Could not be said, since there was no session or its window was full.
    pub dropped: u64,
    /// Connections tried.
    pub dials: u64,
    /// Connections that ended.
    pub cuts: u64,
    /// Cut because something before a message was missing.
    pub gaps: u64,
    /// Cut because a message was not acknowledged.
    pub timeouts: u64,
    /// Sessions that went on with a new connection.
    pub resumed: u64,
    /// Sessions that began.
    pub begun: u64,
}

/// What the hosts of a kind did and got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KindMeasure {
    pub gained_ngrist: u128,
    pub lost_ngrist: u128,
    pub caught: u64,
    pub contributions_until_caught: u64,
}

/// The market at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Since the start.
    pub after_ms: u64,
    /// Hosts that are there.
    pub available: u64,
    /// Runs under way.
    pub busy: u64,
    /// Tasks that have not ended.
    pub open: u64,
    /// Tasks completed by then.
    pub completed: u64,
    /// Tasks failed by then.
    pub failed: u64,
    /// Transactions by then.
    pub transactions: u64,
    /// Numbered messages by then.
    pub messages: u64,
}

impl Measure {
    pub fn new() -> Self {
        Self {
            acts: 0,
            ticks: 0,
            scheduler_events: 0,
            available: 0,
            busy: 0,
            completed: 0,
            failed: 0,
            wrong: 0,
            leases: 0,
            revoked: 0,
            declined: 0,
            runs: 0,
            results: 0,
            runs_lost: 0,
            runs_revoked: 0,
            bans: 0,
            renames: 0,
            departures: 0,
            worker_crashes: 0,
            pool_crashes: 0,
            lease_waits_ms: Vec::new(),
            messages: Messages::default(),
            kinds: [KindMeasure::default(); Kind::ALL.len()],
            samples: Vec::new(),
        }
    }

    pub fn gained(&mut self, kind: Option<usize>, amount: Amount) {
        if let Some(kind) = kind {
            self.kinds[kind].gained_ngrist += amount.ngrist();
        }
    }

    pub fn lost(&mut self, kind: Option<usize>, amount: Amount) {
        if let Some(kind) = kind {
            self.kinds[kind].lost_ngrist += amount.ngrist();
        }
    }
}

impl KindMeasure {
    pub fn catch(&mut self, contributions: u64) {
        self.caught += 1;
        self.contributions_until_caught += contributions;
    }
}
