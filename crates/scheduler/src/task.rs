//! What the scheduler remembers of one task, and the arithmetic of how many replicas it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use alloy_primitives::B256;
use gristmill_credibility::{self as credibility, Stance, Verdict};
use gristmill_poco::consensus::{self, CONTRIBUTORS_MAX, Tally, WeightOverflow};
use gristmill_types::{Address, Amount, ContributionStatus, DealId, Needs, TaskId, Trust};

use crate::event::{Call, Fault, LedgerState, SeenConsensus, TaskSpec};
use crate::id::{EngineProfile, Fence, LeaseId, WorkerId};
use crate::index::{Demand, DemandId};
use crate::line::{Place, Queue};
use crate::policy::LeaseTerms;

/// An open task. A pool may have a million of them of which few are under way, so one is a pointer to little.
#[derive(Clone, Debug)]
pub(crate) struct Task(Box<Core>);

/// What is remembered of every open task. The rest of it is that of a task with which nobody has begun, or its own.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    id: TaskId,
    /// As it was added; its deal's other tasks mostly share it.
    pub spec: Arc<Terms>,
    /// Its place in the line: first come, first served.
    pub order: u64,
    /// When it came.
    pub since_ms: u64,
    /// What it asks of a machine, as the index knows it.
    pub demand: Option<DemandId>,
    /// Slower machines are expected to take longer than a run may.
    pub speed_min: f64,
    /// What it wants, and from whom.
    pub wants: Wants,
    pub seats: Seats,
    /// What is believed of it, as of its last review; `None` if it goes by the hub alone, or has consensus.
    pub stance: Option<Arc<Stance>>,
    /// Where it stands in line because of that; the engine of that place is in its course.
    queue: Option<Queue>,
    /// `None`: that of [`BLANK`].
    course: Option<Box<Course>>,
}

/// What the tasks of a deal have in common.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub deal: DealId,
    pub requester: Address,
    pub trust: Trust,
    pub work_clock_ms: u64,
    pub contribution_deadline_ms: u64,
    pub final_deadline_ms: u64,
    pub stake: Amount,
    pub profile: Option<EngineProfile>,
    pub needs: Needs,
    pub demand: Arc<Demand>,
    pub refusal: Option<String>,
}

/// What became of a task so far.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub phase: Phase,
    /// Groups of the contributions on the ledger.
    pub tally: Tally,
    /// Contributions on the ledger.
    pub seen: BTreeMap<WorkerId, Seen>,
    /// Leases, results and authorisations that are not on the ledger yet. One a worker at most.
    pub replicas: BTreeMap<WorkerId, Replica>,
    /// Workers that had a lease of it.
    pub attempts: BTreeMap<WorkerId, Attempt>,
    pub profile: Option<EngineProfile>,
    /// The digests that are public, by their result hash.
    pub digests: BTreeMap<B256, B256>,
    /// The hash of the latest consensus, also after a reopening.
    pub consensus_hash: Option<B256>,
    pub recomputed: bool,
    pub concede_effective_ms: Option<u64>,
    pub host_faults: u32,
    pub last_fault: String,
    /// What failed last.
    pub fault: Fault,
    /// Host faults were too many in a row.
    pub stopped: bool,
    /// Holders that were told to reveal in this round.
    pub asked: BTreeSet<WorkerId>,
    /// Nobody is free to be the reserve: do not wait for one.
    pub reserve_refused: bool,
    /// Since when a liar could lose its stake, were there somebody more to outvote it.
    pub convict_since_ms: Option<u64>,
    /// Nobody is free for that: let it go.
    pub convict_refused: bool,
    pub uploads: Uploads,
    pub pending: Option<Pending>,
    /// Causes noted already.
    pub notes: BTreeSet<&'static str>,
    /// It keeps its deal from its end until then, as far as can be told.
    pub straggles_until_ms: Option<u64>,
    /// When its own timer rings.
    pub wake_ms: Option<u64>,
    /// The engine under which it stands in line.
    queued_profile: Option<EngineProfile>,
}

/// Of a task with which nobody has begun.
static BLANK: LazyLock<Course> = LazyLock::new(Course::blank);

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Collecting,
    Revealing { hash: B256, deadline_ms: u64, since_ms: u64 },
    Ended { completed: bool },
}

/// A contribution on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub hash: B256,
    pub weight: u64,
    pub status: ContributionStatus,
}

/// A worker's work at a task that is not on the ledger yet.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub lease: LeaseId,
    pub fence: Fence,
    /// Of its task.
    pub deal: DealId,
    pub weight: u64,
    /// What it will lock.
    pub stake: Amount,
    pub state: ReplicaState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    /// Under a lease, on the terms of the policy as it was when the lease was given.
    Leased { since_ms: u64, expires_ms: u64, terms: LeaseTerms },
    /// The sealed upload is here; `held`: since before the first reveal.
    Ready { hash: B256, held: bool, check: Check },
    /// Told to contribute.
    Authorised { hash: B256, until_ms: u64 },
    /// Told to contribute, and it did not in time.
    Lapsed { hash: B256 },
}

/// Whether a reserve replica's upload opens to the public digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    None,
    Asked,
    Good,
}

/// Leases a worker had of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Without those that it declined.
    pub leases: u32,
    /// It was asked more than once, counting those that it declined.
    pub is_again: bool,
    /// The last one ended through no verdict of the worker's: it may have another from then on.
    pub retry_ms: Option<u64>,
}

/// Which uploads of those who revealed the current consensus were opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uploads {
    pub opening: Option<WorkerId>,
    pub good: Option<WorkerId>,
    pub bad: BTreeSet<WorkerId>,
}

/// A call that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub call: Call,
    pub again_ms: u64,
}

/// Which replicas a task wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Nothing,
    /// Without one more, consensus cannot come, or reveals wait.
    Replica,
    /// One more would be a reserve, or a copy of a late one.
    Reserve,
    /// There is a place for a newcomer on probation.
    Probation,
}

/// Whom a task takes: whose answer counts, and who is on probation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seats {
    pub vote: bool,
    pub probation: bool,
}

/// What comes if everything in flight agrees with the leading group.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    /// Consensus is reached.
    pub reached: bool,
    /// Replicas in flight or ready that consensus would not need.
    pub surplus: u32,
    pub leader: B256,
    pub tally: Tally,
}

impl Deref for Task {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.0
    }
}

impl DerefMut for Task {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.0
    }
}

impl Deref for Core {
    type Target = Course;

    fn deref(&self) -> &Course {
        self.course.as_deref().unwrap_or(&BLANK)
    }
}

/// Whoever changes something of the course of a task gives it one of its own: look first whether there is anything to change.
impl DerefMut for Core {
    fn deref_mut(&mut self) -> &mut Course {
        self.course.get_or_insert_with(|| Box::new(Course::blank()))
    }
}

impl Terms {
    /// Those of a task: `known` if they are the same.
    pub fn of(spec: &TaskSpec, known: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(known) = known.filter(|known| known.are_those_of(spec)) {
            return Arc::clone(known);
        }
        Arc::new(Self {
            deal: spec.deal,
            requester: spec.requester,
            trust: spec.trust,
            work_clock_ms: spec.work_clock_ms,
            contribution_deadline_ms: spec.contribution_deadline_ms,
            final_deadline_ms: spec.final_deadline_ms,
            stake: spec.stake,
            profile: spec.profile.clone(),
            needs: spec.needs,
            demand: Arc::clone(&spec.demand),
            refusal: spec.refusal.clone(),
        })
    }

    fn are_those_of(&self, spec: &TaskSpec) -> bool {
        (self.deal, self.requester, self.trust, self.stake) == (spec.deal, spec.requester, spec.trust, spec.stake)
            && self.work_clock_ms == spec.work_clock_ms
            && self.contribution_deadline_ms == spec.contribution_deadline_ms
            && self.final_deadline_ms == spec.final_deadline_ms
            && self.profile == spec.profile
            && self.needs == spec.needs
            && Arc::ptr_eq(&self.demand, &spec.demand)
            && self.refusal == spec.refusal
    }
}

impl Course {
    fn blank() -> Self {
        Self {
            phase: Phase::Collecting,
            tally: Tally::new(),
            seen: BTreeMap::new(),
            replicas: BTreeMap::new(),
            attempts: BTreeMap::new(),
            profile: None,
            digests: BTreeMap::new(),
            consensus_hash: None,
            recomputed: false,
            concede_effective_ms: None,
            host_faults: 0,
            last_fault: String::new(),
            fault: Fault::default(),
            stopped: false,
            asked: BTreeSet::new(),
            reserve_refused: false,
            convict_since_ms: None,
            convict_refused: false,
            uploads: Uploads::default(),
            pending: None,
            notes: BTreeSet::new(),
            straggles_until_ms: None,
            wake_ms: None,
            queued_profile: None,
        }
    }

    /// That of a task that stands so on the ledger.
    fn of(task: TaskId, terms: &Terms, ledger: LedgerState, now_ms: u64) -> Result<Self, WeightOverflow> {
        let mut course = Self::blank();
        if let Some(SeenConsensus { hash, reveal_deadline_ms: deadline_ms }) = ledger.consensus {
            course.phase = Phase::Revealing { hash, deadline_ms, since_ms: now_ms };
        }
        for contribution in ledger.contributions {
            let (hash, weight, status) = (contribution.hash, contribution.weight, contribution.status);
            if matches!(status, ContributionStatus::Contributed | ContributionStatus::Proved) {
                course.tally.add(hash, weight)?;
            }
            course.seen.insert(contribution.worker, Seen { hash, weight, status });
        }
        let digests = ledger.earlier_digests.into_iter().chain(ledger.digest);
        course.digests = digests.map(|digest| (hash_of(task, digest), digest)).collect();
        course.profile = terms.profile.clone();
        course.consensus_hash = ledger.consensus.map(|consensus| consensus.hash);
        course.recomputed = ledger.recomputed;
        course.concede_effective_ms = ledger.concede_effective_ms;
        course.stopped = terms.refusal.is_some();
        Ok(course)
    }
}

impl Task {
    /// A task on these terms; what is held of it is not looked at.
    pub fn new(
        id: TaskId,
        spec: Arc<Terms>,
        ledger: LedgerState,
        order: u64,
        now_ms: u64,
    ) -> Result<Self, WeightOverflow> {
        let is_blank = ledger == LedgerState::default() && spec.profile.is_none() && spec.refusal.is_none();
        let course = if is_blank { None } else { Some(Box::new(Course::of(id, &spec, ledger, now_ms)?)) };
        Ok(Self(Box::new(Core {
            id,
            spec,
            order,
            since_ms: now_ms,
            demand: None,
            speed_min: 0.0,
            wants: Wants::Nothing,
            seats: Seats::default(),
            stance: None,
            queue: None,
            course,
        })))
    }

    pub fn id(&self) -> TaskId {
        self.id
    }

    /// What became of it, to be changed.
    pub fn course_mut(&mut self) -> &mut Course {
        &mut self.0
    }

    /// The machine time that a replica of it is given, as far as it is known before: the T of its category.
    pub fn cost(&self) -> u64 {
        self.spec.work_clock_ms.max(1)
    }

    /// A contribution may finalise in the same call.
    pub fn is_solo(&self) -> bool {
        self.spec.trust.value() == 1 && self.seen.is_empty()
    }

    /// It waits in line, and nobody has begun with it.
    pub fn waits_untouched(&self) -> bool {
        self.course.is_none() && self.queue.is_some()
    }

    /// It stands in line where it would be put.
    pub fn stands_in(&self, queue: Option<Queue>) -> bool {
        self.queue.is_some() && self.queue == queue && self.queued_profile == self.profile
    }

    /// Takes its place in line, if it has one, from it.
    pub fn take_place(&mut self) -> Option<Place> {
        let queue = self.queue.take()?;
        let profile = self.course.as_mut().and_then(|course| course.queued_profile.take());
        Some(Place { queue, profile })
    }

    /// Gives it a place in line, by its engine.
    pub fn give_place(&mut self, queue: Queue) -> Place {
        let profile = self.profile.clone();
        self.queue = Some(queue);
        if profile.is_some() {
            self.queued_profile.clone_from(&profile);
        }
        Place { queue, profile }
    }

    /// It waits in this queue.
    pub fn is_in(&self, queue: Queue) -> bool {
        self.queue == Some(queue)
    }

    /// What the next contribution locks. A solo one locks nothing.
    pub fn stake(&self) -> Amount {
        if self.is_solo() { Amount::ZERO } else { self.spec.stake }
    }

    /// A result of it is public: nobody new is trusted.
    pub fn is_public(&self) -> bool {
        !self.digests.is_empty() || self.seen.values().any(Seen::is_proved)
    }

    /// Holders of `hash` that may still win with it, and how many of them revealed.
    pub fn holders(&self, hash: B256) -> impl Iterator<Item = (WorkerId, &Seen)> {
        self.seen
            .iter()
            .filter(move |(_, seen)| seen.hash == hash && seen.is_live())
            .map(|(worker, seen)| (*worker, seen))
    }

    pub fn verdict(&self) -> Option<Verdict> {
        self.stance.as_ref().map(|stance| stance.verdict)
    }

    /// The result that is most to be believed; `None` if it goes by the hub alone.
    pub fn leader(&self) -> Option<B256> {
        self.stance.as_ref()?.leader
    }

    /// What it wants so that it can be believed.
    pub fn believed_wants(&self) -> credibility::Wants {
        self.stance.as_ref().map(|stance| stance.wants).unwrap_or_default()
    }

    /// Replicas under a lease.
    pub fn leased(&self) -> usize {
        self.replicas.values().filter(|replica| matches!(replica.state, ReplicaState::Leased { .. })).count()
    }

    /// Places that neither a contributor nor a replica takes.
    pub fn free_places(&self) -> usize {
        CONTRIBUTORS_MAX.saturating_sub(self.seen.len() + self.replicas.len())
    }

    /// Ready results that could become contributions even if the digest were public, of this hash.
    pub fn ready_reserves(&self, hash: B256) -> u32 {
        let is_reserve = |replica: &&Replica| matches!(replica.state, ReplicaState::Ready { hash: ready, held: true, .. } if ready == hash);
        self.replicas.values().filter(is_reserve).count() as u32
    }

    /// What comes if all that is in flight agrees with the leading group: that of `leader`, or else the heaviest.
    pub fn outlook(&self, leader: Option<B256>) -> Result<Outlook, WeightOverflow> {
        let mut tally = self.tally.clone();
        let (mut ready, mut leased) = (Vec::new(), Vec::new());
        for replica in self.replicas.values() {
            match replica.state {
                ReplicaState::Authorised { hash, .. } => tally.add(hash, replica.weight)?,
                ReplicaState::Ready { hash, .. } => ready.push((replica.fence, hash, replica.weight)),
                ReplicaState::Leased { .. } => leased.push((replica.fence, replica.weight)),
                ReplicaState::Lapsed { .. } => {}
            }
        }
        ready.sort_unstable();
        leased.sort_unstable();
        let mut hopes = tally.clone();
        for (_, hash, weight) in &ready {
            hopes.add(*hash, *weight)?;
        }
        // Nobody has a result yet: whatever comes first will lead, and zero stands for it.
        let leader = leader.or_else(|| hopes.leader()).unwrap_or(B256::ZERO);
        let agreeing = ready.iter().filter(|(_, hash, _)| *hash == leader).map(|(_, _, weight)| *weight);
        let mut outlook = Outlook { reached: tally.reaches(leader, self.spec.trust)?, surplus: 0, leader, tally };
        for weight in agreeing.chain(leased.iter().map(|(_, weight)| *weight)) {
            if outlook.reached {
                outlook.surplus += 1;
            } else {
                outlook.tally.add(leader, weight)?;
                outlook.reached = outlook.tally.reaches(leader, self.spec.trust)?;
            }
        }
        Ok(outlook)
    }

    /// Whether `hash` wins on the ledger if all who are bound to it contribute; `against`: even if all who hold another result do too;
    /// with `more` of this weight besides.
    pub fn wins(&self, hash: B256, against: bool, (more, weight): (u32, u64)) -> bool {
        let mut tally = self.tally.clone();
        for replica in self.replicas.values() {
            let of = match replica.state {
                ReplicaState::Authorised { hash, .. } => hash,
                ReplicaState::Ready { hash: of, .. } if against || of == hash => of,
                ReplicaState::Ready { .. } | ReplicaState::Leased { .. } | ReplicaState::Lapsed { .. } => continue,
            };
            if tally.add(of, replica.weight).is_err() {
                return false;
            }
        }
        (0..more).all(|_| tally.add(hash, weight).is_ok()) && tally.reaches(hash, self.spec.trust) == Ok(true)
    }

    /// How many more replicas of this weight would do, if all agree; `None` if not even all free places would.
    pub fn shortfall(&self, weight: u64, leader: Option<B256>) -> Result<Option<u32>, WeightOverflow> {
        let Outlook { mut reached, mut tally, leader, .. } = self.outlook(leader)?;
        let mut missing = 0;
        while !reached && missing < self.free_places() as u32 {
            tally.add(leader, weight)?;
            missing += 1;
            reached = tally.reaches(leader, self.spec.trust)?;
        }
        Ok(reached.then_some(missing))
    }

    /// Takes the contributions of the failed round out, as the hub does: the silent are rejected, the revealed stay.
    pub fn reopen(&mut self) -> Result<(), WeightOverflow> {
        let Phase::Revealing { hash, .. } = self.phase else { return Ok(()) };
        for seen in self.seen.values_mut().filter(|seen| seen.hash == hash) {
            if seen.status == ContributionStatus::Contributed {
                seen.status = ContributionStatus::Rejected;
            }
        }
        let proved = self.holders(hash).map(|(_, seen)| seen.weight).collect::<Vec<_>>();
        self.recomputed |= !proved.is_empty();
        self.tally.set_group(hash, consensus::product(proved)?)?;
        self.phase = Phase::Collecting;
        self.asked.clear();
        self.reserve_refused = false;
        self.pending = None;
        Ok(())
    }
}

impl Replica {
    /// The result to which its worker is bound, if it is.
    pub fn hash(&self) -> Option<B256> {
        match self.state {
            ReplicaState::Leased { .. } => None,
            ReplicaState::Ready { hash, .. }
            | ReplicaState::Authorised { hash, .. }
            | ReplicaState::Lapsed { hash } => Some(hash),
        }
    }
}

/// keccak256(task ++ digest): what a contribution of this result commits to.
pub(crate) use gristmill_poco::model::result_hash as hash_of;

impl Seen {
    pub fn is_live(&self) -> bool {
        matches!(self.status, ContributionStatus::Contributed | ContributionStatus::Proved)
    }

    pub fn is_proved(&self) -> bool {
        self.status == ContributionStatus::Proved
    }
}
