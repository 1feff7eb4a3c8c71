//! What the scheduler remembers of one task, and the arithmetic of how many replicas it wants.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use gristmill_credibility::{self as credibility, Stance, Verdict};
use gristmill_poco::consensus::{self, CONTRIBUTORS_MAX, Tally, WeightOverflow};
use gristmill_types::{Amount, ContributionStatus, DealId, TaskId};

use crate::event::{Call, Fault, SeenConsensus, TaskSpec};
use crate::id::{EngineProfile, Fence, LeaseId, WorkerId};
use crate::index::DemandId;
use crate::line::{Place, Queue};
use crate::policy::LeaseTerms;

/// An open task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// As it was added; `ledger` inside is what it was then.
    pub spec: TaskSpec,
    /// Its place in the line: first come, first served.
    pub order: u64,
    /// When it came.
    pub since_ms: u64,
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
    /// What it asks of a machine, as the index knows it.
    pub demand: Option<DemandId>,
    /// Slower machines are expected to take longer than a run may.
    pub speed_min: f64,
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
    /// When its timer rings.
    pub wake_ms: Option<u64>,
    /// It keeps its deal from its end until then, as far as can be told.
    pub straggles_until_ms: Option<u64>,
    /// What it wants, and from whom.
    pub wants: Wants,
    pub seats: Seats,
    /// What is believed of it, as of its last review; `None` if it goes by the hub alone, or has consensus.
    pub stance: Option<Stance>,
    /// Where it stands in line because of that.
    pub place: Option<Place>,
}

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

impl Task {
    pub fn new(spec: TaskSpec, order: u64, now_ms: u64) -> Result<Self, WeightOverflow> {
        let ledger = spec.ledger.clone();
        let phase = match ledger.consensus {
            Some(SeenConsensus { hash, reveal_deadline_ms: deadline_ms }) => {
                Phase::Revealing { hash, deadline_ms, since_ms: now_ms }
            }
            None => Phase::Collecting,
        };
        let mut tally = Tally::new();
        let mut seen = BTreeMap::new();
        for contribution in ledger.contributions {
            let (hash, weight, status) = (contribution.hash, contribution.weight, contribution.status);
            if matches!(status, ContributionStatus::Contributed | ContributionStatus::Proved) {
                tally.add(hash, weight)?;
            }
            seen.insert(contribution.worker, Seen { hash, weight, status });
        }
        let digests = ledger.earlier_digests.into_iter().chain(ledger.digest);
        Ok(Self {
            order,
            since_ms: now_ms,
            phase,
            tally,
            seen,
            replicas: BTreeMap::new(),
            attempts: BTreeMap::new(),
            profile: spec.profile.clone(),
            demand: None,
            speed_min: 0.0,
            digests: digests.map(|digest| (hash_of(spec.task, digest), digest)).collect(),
            consensus_hash: ledger.consensus.map(|consensus| consensus.hash),
            recomputed: ledger.recomputed,
            concede_effective_ms: ledger.concede_effective_ms,
            host_faults: 0,
            last_fault: String::new(),
            fault: Fault::default(),
            stopped: spec.refusal.is_some(),
            asked: BTreeSet::new(),
            reserve_refused: false,
            convict_since_ms: None,
            convict_refused: false,
            uploads: Uploads::default(),
            pending: None,
            notes: BTreeSet::new(),
            wake_ms: None,
            straggles_until_ms: None,
            wants: Wants::Nothing,
            seats: Seats::default(),
            stance: None,
            place: None,
            spec,
        })
    }

    pub fn id(&self) -> TaskId {
        self.spec.task
    }

    /// The machine time that a replica of it is given, as far as it is known before: the T of its category.
    pub fn cost(&self) -> u64 {
        self.spec.work_clock_ms.max(1)
    }

    /// A contribution may finalise in the same call.
    pub fn is_solo(&self) -> bool {
        self.spec.trust.value() == 1 && self.seen.is_empty()
    }

    /// It waits in this queue.
    pub fn is_in(&self, queue: Queue) -> bool {
        self.place.as_ref().is_some_and(|place| place.queue == queue)
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
        self.stance.map(|stance| stance.verdict)
    }

    /// The result that is most to be believed; `None` if it goes by the hub alone.
    pub fn leader(&self) -> Option<B256> {
        self.stance?.leader
    }

    /// What it wants so that it can be believed.
    pub fn believed_wants(&self) -> credibility::Wants {
        self.stance.map(|stance| stance.wants).unwrap_or_default()
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
