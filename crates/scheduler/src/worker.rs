//! What the scheduler remembers of one worker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use gristmill_classad::ClassAd;
use gristmill_credibility::Origin;
use gristmill_poco::consensus;
use gristmill_types::{Address, Amount, ContentId, DealId, TaskId};

use crate::event::{Offers, WorkerSpec};
use crate::id::{EngineProfile, LeaseId};
use crate::runs::Runs;
use crate::scheduler::Grades;

/// A worker that joined once, or was banned before it did.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub slots: u32,
    pub free_stake: Amount,
    /// Stake that live replicas will lock once their contributions land.
    pub committed: Amount,
    pub score: u64,
    pub profile: EngineProfile,
    pub offers: Offers,
    /// What its machine says of itself.
    pub ad: Arc<ClassAd>,
    /// What of that is needed all the time.
    pub told: Told,
    /// The requesters of whose tasks it may be given any; `None`: all.
    pub serves: Option<Arc<BTreeSet<Address>>>,
    /// It has tasks run elsewhere: of those that it has begun with. `None`: a worker like any other.
    pub overflow: Option<Arc<BTreeSet<TaskId>>>,
    /// Leases that it had, and those that came to a result.
    pub started: u64,
    pub completed: u64,
    /// How quick it was at work, as a multiple of the reference machine, once it was compared with others.
    pub measured_speed: Option<f64>,
    /// What it fetched, as far as known; the newest last.
    pub cached: VecDeque<ContentId>,
    /// What of it is compared with others.
    pub grades: Grades,
    pub origin: Origin,
    pub connected: bool,
    pub draining: bool,
    pub ban: Option<Ban>,
    /// It gave a wrong result, and is banned as soon as what it is bound to is settled.
    pub caught: bool,
    /// Contributions proven wrong, as far as this scheduler saw.
    pub faulty: u32,
    /// Leases in a row that ended without an answer.
    pub silent: u32,
    pub aside_until_ms: u64,
    pub aside_times: u32,
    pub busy_until_ms: u64,
    /// Revealed a result once, here or (its score says so) elsewhere.
    pub proven: bool,
    /// Slots that are not free before the pace of a deal allows it.
    pub cooling: Vec<Cooling>,
    /// Leases that take a slot.
    pub leases: BTreeSet<LeaseId>,
    /// Those of them that take a GPU.
    pub gpu_leases: BTreeSet<LeaseId>,
    /// Open tasks of which it has a replica, in any state.
    pub replicas: BTreeSet<TaskId>,
    /// Open tasks to which it contributed.
    pub contributed: BTreeSet<TaskId>,
    /// Numbers of tasks that it is not new to: what a search for new ones may skip.
    pub tried: Runs,
    /// Open tasks that it may have again, now or later, by their number.
    pub again: BTreeSet<(u64, TaskId)>,
    /// Its place among the idle, while it is there.
    pub idle: Option<Idle>,
    /// Its place in the index of weights, while it is there.
    pub listed_weight: Option<u64>,
}

/// Why and how long a worker gets no leases.
#[derive(Clone, Debug)]
pub(crate) struct Ban {
    pub reason: String,
    pub until_ms: Option<u64>,
}

/// A worker's place among those with a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    /// 0: its answers count; 1: it is on probation.
    pub among: usize,
    /// Grows: whoever waits longest has the smallest.
    pub order: u64,
    /// Its [`Worker::quickness`] when it was put there.
    pub quickness: u64,
}

/// A slot whose run was over quickly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cooling {
    pub deal: DealId,
    pub since_ms: u64,
    pub until_ms: u64,
}

/// Figures of a machine's ad.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// How quick its cores are, as a multiple of the reference machine's.
    pub speed: f64,
    /// It says so; otherwise it is taken for the reference machine.
    pub says_speed: bool,
    /// What the machine draws.
    pub watts: Option<f64>,
}

impl Told {
    /// Speeds are taken for something between these multiples.
    pub const SPEEDS: (f64, f64) = (0.01, 100.0);
    const WATTS_MAX: f64 = 1e6;

    fn of(ad: &ClassAd) -> Self {
        let number = |name: &str| ad.evaluate(name).number().filter(|number| number.is_finite() && *number > 0.0);
        let (least, most) = Self::SPEEDS;
        let speed = number("Speed");
        Self {
            speed: speed.unwrap_or(1.0).clamp(least, most),
            says_speed: speed.is_some(),
            watts: number("Watts").map(|watts| watts.min(Self::WATTS_MAX)),
        }
    }
}

impl Default for Told {
    fn default() -> Self {
        Self { speed: 1.0, says_speed: false, watts: None }
    }
}

impl Worker {
    /// A worker of which nothing is known but that it exists.
    pub fn absent() -> Self {
        Self {
            slots: 0,
            free_stake: Amount::ZERO,
            committed: Amount::ZERO,
            score: 0,
            profile: EngineProfile(String::new()),
            offers: Offers::default(),
            ad: Arc::default(),
            told: Told::default(),
            serves: None,
            overflow: None,
            started: 0,
            completed: 0,
            measured_speed: None,
            cached: VecDeque::new(),
            grades: Grades::default(),
            origin: Origin::of(Address::ZERO),
            connected: false,
            draining: false,
            ban: None,
            caught: false,
            faulty: 0,
            silent: 0,
            aside_until_ms: 0,
            aside_times: 0,
            busy_until_ms: 0,
            proven: false,
            cooling: Vec::new(),
            leases: BTreeSet::new(),
            gpu_leases: BTreeSet::new(),
            replicas: BTreeSet::new(),
            contributed: BTreeSet::new(),
            tried: Runs::default(),
            again: BTreeSet::new(),
            idle: None,
            listed_weight: None,
        }
    }

    /// It connected, for the first time or again.
    pub fn join(&mut self, spec: WorkerSpec) {
        let WorkerSpec { worker: _, origin, slots, free_stake, score, profile, offers, ad, serves, overflow } = spec;
        self.origin = origin;
        self.slots = slots;
        self.free_stake = free_stake;
        self.profile = profile;
        self.offers = offers;
        self.overflow = overflow;
        self.describe(ad);
        self.serves = serves;
        self.connected = true;
        self.draining = false;
        self.busy_until_ms = 0;
        self.set_score(score);
    }

    /// It said what its machine is. Where it has tasks run is not that machine.
    pub fn describe(&mut self, ad: Arc<ClassAd>) {
        let ad = if self.is_overflow() { Arc::default() } else { ad };
        self.told = Told::of(&ad);
        self.ad = ad;
    }

    /// It runs nothing itself.
    pub fn is_overflow(&self) -> bool {
        self.overflow.is_some()
    }

    /// The ledger's score of it.
    pub fn set_score(&mut self, score: u64) {
        self.score = score;
        self.proven |= score > 0;
    }

    /// The weight its next contribution would have.
    pub fn weight(&self) -> u64 {
        consensus::weight(self.score)
    }

    /// Banned at this time.
    pub fn is_banned(&self, now_ms: u64) -> bool {
        self.ban.as_ref().is_some_and(|ban| ban.until_ms.is_none_or(|until| now_ms < until))
    }

    /// May get leases at this time, if it has a free slot.
    pub fn is_willing(&self, now_ms: u64) -> bool {
        self.connected
            && !self.draining
            && !self.caught
            && self.slots > 0
            && !self.is_banned(now_ms)
            && self.aside_until_ms <= now_ms
            && self.busy_until_ms <= now_ms
    }

    /// Something that it holds or contributed is not settled yet.
    pub fn is_bound(&self) -> bool {
        !self.replicas.is_empty() || !self.contributed.is_empty()
    }

    /// Has a free slot.
    pub fn has_slot(&self) -> bool {
        ((self.leases.len() + self.cooling.len()) as u64) < u64::from(self.slots)
    }

    /// Has a GPU that no lease takes.
    pub fn has_gpu(&self) -> bool {
        (self.gpu_leases.len() as u64) < u64::from(self.offers.gpus)
    }

    /// What its free stake lacks to lock `stake` once more; zero if nothing.
    pub fn lacks_stake(&self, stake: Amount) -> Amount {
        stake.saturating_sub(self.free_stake.saturating_sub(self.committed))
    }

    /// A replica of its ended or its contribution landed: the stake is not expected any more.
    pub fn release_stake(&mut self, stake: Amount) {
        self.committed = self.committed.saturating_sub(stake);
    }

    /// It answered: what counts is silences in a row.
    pub fn answered(&mut self) {
        self.silent = 0;
        self.aside_times = 0;
    }
}
