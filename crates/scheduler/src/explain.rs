//! Answer "why is nothing running?" with what binds and the smallest fix.

use std::fmt;

use gristmill_types::{Amount, Needs};

use crate::id::WorkerId;

/// What binds, and the smallest thing that would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<C> {
    /// What binds.
    pub cause: C,
    /// The smallest fix; `None` when there is nothing to fix but to wait.
    pub fix: Option<String>,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskCause {
    /// Not among the open tasks.
    Unknown,
    /// Replicas run.
    Running {
        /// How many leases it has.
        leases: usize,
    },
    /// Results are ready and wait for their contributions to land on the ledger.
    Contributing {
        /// How many are authorised.
        authorised: usize,
    },
    /// Consensus; the holders have not revealed yet, or the pool keeps them back until a reserve replica is ready.
    Revealing {
        /// How many revealed.
        revealed: usize,
        /// How many hold the consensus.
        holders: usize,
    },
    /// A call to the hub was asked for and has not taken effect.
    Calling {
        /// Its name.
        call: &'static str,
    },
    /// The revealed digest has no bytes: no upload of a revealer matches.
    NoBytes,
    /// No worker is connected.
    NoWorkers,
    /// All workers that were ever here are banned.
    AllBanned {
        /// How many of them.
        workers: usize,
        /// One of them.
        worker: WorkerId,
        /// Why that is.
        reason: String,
    },
    /// Nobody is left who has not worked at it: so many distinct workers are missing.
    AllTried {
        /// How many workers are connected.
        connected: usize,
        /// How many newcomers would do, if all agree.
        missing: u32,
    },
    /// What it has is not believed enough, and nobody is left who has not worked at it.
    NotBelieved {
        /// How many workers are connected.
        connected: usize,
        /// How many newcomers would do, if all agree.
        missing: u32,
    },
    /// Everybody free may be the same person as one who has a replica, or as its requester.
    AllKin {
        /// How many of them.
        workers: usize,
    },
    /// Everybody free is on probation, and its answer would not count yet.
    OnProbation {
        /// How many of them.
        workers: usize,
    },
    /// Workers that may take it have no free slot.
    AllBusy {
        /// How many of them.
        workers: usize,
    },
    /// Every free worker's stake is below what a contribution locks.
    StakeTooLow {
        /// The one that comes nearest.
        worker: WorkerId,
        /// What it lacks.
        missing: Amount,
    },
    /// No machine is what it requires, or each requires something that it is not.
    NoMatch {
        /// Machines that there are.
        machines: usize,
        /// In full, with the nearest machine.
        text: String,
    },
    /// Those whose machines match say that they are too slow: a run would be taken back before it ends.
    TooSlow {
        /// How many of them.
        workers: usize,
    },
    /// Workers there are, but they serve others than its requester.
    NoRights {
        /// How many of them.
        workers: usize,
    },
    /// No free worker has the engine of the first replica, or of the deal.
    ProfileMismatch {
        /// The engine that is asked for.
        profile: String,
    },
    /// No free worker offers what it needs besides a processor.
    NeedsMissing {
        /// What it needs.
        needs: Needs,
    },
    /// Every worker that could is banned, put aside or draining.
    NoneUsable {
        /// How many are connected.
        connected: usize,
    },
    /// What is left until the contribution deadline is shorter than a run.
    TooLate {
        /// What is left, in milliseconds.
        left_ms: u64,
        /// What a run takes, in milliseconds.
        run_ms: u64,
    },
    /// Nobody can run it: it is given back.
    Refused {
        /// Why.
        why: String,
    },
    /// Whoever had it could not fetch what it needs.
    NotFetched {
        /// The app; else an input or the dataset.
        app: bool,
        /// The last attempt, in the worker's words.
        last: String,
    },
    /// Its run takes longer than its category allows.
    CategoryTooShort {
        /// The last attempt, in the worker's words.
        last: String,
    },
    /// Host faults in a row: the pool stopped.
    Stopped {
        /// How many.
        faults: u32,
        /// The last.
        last: String,
    },
    /// Even with every place for a contributor filled, consensus could not be reached.
    NoPlaces,
    /// Its digest is public, and no reserve replica can join: it waits for the deadline.
    DigestPublic,
    /// It waits for its turn: older tasks are served first.
    Queued,
}

/// What a worker waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerCause {
    /// Never joined.
    Unknown,
    /// Not connected.
    Disconnected,
    /// Banned.
    Banned {
        /// Why.
        reason: String,
    },
    /// Fell silent too often.
    Aside {
        /// Until then.
        until_ms: u64,
    },
    /// Said it was busy.
    Busy {
        /// Until then.
        until_ms: u64,
    },
    /// Finishing what it has.
    Draining,
    /// Its slots are full.
    Working {
        /// Leases it has.
        leases: usize,
        /// Slots it has.
        slots: u32,
    },
    /// It answered quicker than others do, and is not believed yet.
    Paced {
        /// Until then.
        until_ms: u64,
    },
    /// No task wants a replica.
    NoTasks,
    /// Tasks want replicas, but its stake is below what a contribution locks.
    StakeTooLow {
        /// What it lacks.
        missing: Amount,
    },
    /// The waiting tasks require another machine, or it requires other tasks.
    NoMatch,
    /// It is too slow for the waiting tasks: their runs would be taken back before they end.
    TooSlow,
    /// It does not serve those whose tasks wait.
    NoRights,
    /// Tasks want replicas, but of another engine.
    ProfileMismatch {
        /// Its own engine.
        profile: String,
    },
    /// A task wants a GPU, and leases have all that it offers.
    GpusTaken {
        /// How many it offers.
        gpus: u32,
    },
    /// Tasks want replicas, but need what it does not offer.
    NeedsMissing {
        /// What it lacks for the first of them.
        needs: Needs,
    },
    /// It may be the same person as one who has a replica of each waiting task, or as their requester.
    Kin,
    /// It is new: it has no vote yet, and no task has a place for one on probation now.
    OnProbation,
    /// It has worked at every task that wants a replica.
    AllTried,
    /// It has tasks run elsewhere, and the others are expected to end what waits in time.
    InTime,
    /// It will be asked next.
    Ready,
}

impl<C: fmt::Display> fmt::Display for Explanation<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fix {
            Some(fix) => write!(f, "{}; {fix}", self.cause),
            None => write!(f, "{}", self.cause),
        }
    }
}

impl fmt::Display for TaskCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "the pool has no such open task"),
            Self::Running { leases } => write!(f, "{leases} replica(s) are running"),
            Self::Contributing { authorised } => {
                write!(f, "{authorised} finished replica(s) are putting their contribution onto the ledger")
            }
            Self::Revealing { revealed, holders } => write!(f, "consensus; {revealed} of {holders} have revealed"),
            Self::Calling { call } => write!(f, "`{call}` was sent to the hub and has not taken effect yet"),
            Self::NoBytes => {
                write!(f, "no upload of a worker that revealed has the bytes of its digest, so it is not finalised")
            }
            Self::NoWorkers => write!(f, "no worker is connected"),
            Self::AllBanned { workers, worker, reason } => {
                write!(f, "all {workers} worker(s) that were here are banned: {worker}, since {reason}")
            }
            Self::AllTried { connected, .. } => {
                write!(f, "each of the {connected} connected worker(s) has worked at it, and a worker counts once")
            }
            Self::NotBelieved { connected, .. } => write!(
                f,
                "the results it has are not enough for the confidence that was paid for, and each of the {connected} connected \
                 worker(s) has already worked at it"
            ),
            Self::AllKin { workers } => write!(
                f,
                "the {workers} free worker(s) have owner, network or source of stake in common with one that has worked at it, or with \
                 its requester"
            ),
            Self::OnProbation { workers } => {
                write!(f, "the {workers} free worker(s) are new, and have no vote before others have agreed with them")
            }
            Self::AllBusy { workers } => write!(f, "all {workers} worker(s) that may take it are busy"),
            Self::StakeTooLow { worker, missing } => {
                write!(f, "no free worker has the stake that a contribution locks; {worker} lacks {missing}")
            }
            Self::NoMatch { text, .. } => f.write_str(text),
            Self::TooSlow { workers } => {
                write!(f, "the {workers} worker(s) that could run it are too slow to end before its category's limit")
            }
            Self::NoRights { workers } => {
                write!(f, "the {workers} worker(s) that could run it do not work for its requester")
            }
            Self::ProfileMismatch { profile } => {
                write!(f, "no free worker has the engine `{profile}` that its replicas share")
            }
            Self::NeedsMissing { needs } => write!(f, "no free worker offers {needs}, which it needs"),
            Self::NoneUsable { connected } => {
                write!(f, "the {connected} connected worker(s) are all banned, put aside, draining or without slots")
            }
            Self::TooLate { left_ms, run_ms } => write!(
                f,
                "a run takes about {run_ms} ms and only {left_ms} ms are left for contributions; it will be refunded"
            ),
            Self::Refused { why } => write!(f, "no worker can run it: {why}"),
            Self::NotFetched { app, last } => {
                let what = if *app { "its app" } else { "an input of it" };
                write!(f, "no worker could fetch {what}: {last}")
            }
            Self::CategoryTooShort { last } => write!(f, "it takes longer than its size class allows: {last}"),
            Self::Stopped { faults, last } => write!(f, "{faults} hosts in a row failed at it, the last with: {last}"),
            Self::NoPlaces => write!(f, "contributors disagree, and the places left are too few for any result to win"),
            Self::DigestPublic => {
                write!(f, "its digest is public and no replica held before can join; it will be refunded")
            }
            Self::Queued => write!(f, "older tasks are served first"),
        }
    }
}

impl fmt::Display for WorkerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "the pool has never seen this worker"),
            Self::Disconnected => write!(f, "it is not connected"),
            Self::Banned { reason } => write!(f, "it is banned: {reason}"),
            Self::Aside { until_ms } => write!(f, "it left leases unanswered and is put aside until {until_ms} ms"),
            Self::Busy { until_ms } => write!(f, "it said it was busy and is asked again at {until_ms} ms"),
            Self::Draining => write!(f, "it is draining"),
            Self::Working { leases, slots } => write!(f, "it works at {leases} task(s) with {slots} slot(s)"),
            Self::Paced { until_ms } => write!(
                f,
                "it answered quicker than others do and is not believed yet: it is asked again at {until_ms} ms, or when others are through"
            ),
            Self::NoTasks => write!(f, "no task wants a replica"),
            Self::StakeTooLow { missing } => {
                write!(f, "its free stake is {missing} short of what a contribution locks")
            }
            Self::NoMatch => write!(f, "the waiting tasks require another machine, or it requires other tasks"),
            Self::TooSlow => write!(f, "it is too slow to end the waiting tasks before the limit of their category"),
            Self::NoRights => write!(f, "it does not work for those whose tasks wait"),
            Self::ProfileMismatch { profile } => {
                write!(f, "the waiting tasks run on another engine than its `{profile}`")
            }
            Self::GpusTaken { gpus } => write!(f, "the waiting tasks need a GPU, and its {gpus} are in use"),
            Self::NeedsMissing { needs } => write!(f, "the waiting tasks need {needs}, which it does not offer"),
            Self::Kin => write!(
                f,
                "the waiting tasks have been given to workers of the same owner, network or source of stake, or were asked for by it"
            ),
            Self::OnProbation => {
                write!(f, "it is new and has no vote yet; no task has a place for a newcomer just now")
            }
            Self::AllTried => write!(f, "it has already worked at every task that wants a replica"),
            Self::InTime => write!(f, "the pool's own machines are expected to end in time what waits"),
            Self::Ready => write!(f, "it is free and gets the next task"),
        }
    }
}
