//! From what is remembered to what is wanted and believed.

use std::borrow::Cow;

use alloy_primitives::{Address, B256};
use gristmill_poco::consensus::{Tally, weight};

use super::Credibility;
use crate::belief::{Suspicion, doubt};
use crate::event::{Role, Stance, Verdict, Wants};
use crate::seed::Draw;
use crate::task::{Open, Replica, Task};
use crate::worker::Worker;

/// The votes of a task that count, as of now.
struct Votes<'a> {
    /// Different answers, sorted: a group's number is its place.
    hashes: Vec<B256>,
    /// Given, in the order of the workers' names: sums come out the same whoever was first.
    given: Vec<(usize, Suspicion)>,
    /// Who gave them, in the same order.
    givers: Vec<(Address, &'a Worker)>,
    /// Expected of those who have a lease.
    awaited: Vec<Suspicion>,
    /// Those who have a lease and did not answer, newcomers too.
    unanswered: usize,
    /// Answers of newcomers.
    probation: Vec<B256>,
    /// The group that is wrong with the least probability, and that; of equal ones that of the smallest hash.
    leader: Option<(usize, f64)>,
}

impl Votes<'_> {
    /// Those given, and those awaited as if they agreed with the leader; and who leads.
    fn hopes(&self) -> (Cow<'_, [(usize, Suspicion)]>, usize) {
        let leader = self.leader.map_or(0, |(leader, _)| leader);
        if self.awaited.is_empty() {
            return (Cow::Borrowed(&self.given), leader);
        }
        let awaited = self.awaited.iter().map(|suspicion| (leader, *suspicion));
        (self.given.iter().copied().chain(awaited).collect(), leader)
    }

    /// Who leads, and how likely that is wrong if those who are awaited agree.
    fn hoped(&self) -> (usize, f64) {
        match self.leader.filter(|_| self.awaited.is_empty()) {
            Some(leader) => leader,
            None => {
                let (hopes, leader) = self.hopes();
                (leader, doubt(&hopes, leader))
            }
        }
    }
}

impl Credibility {
    /// Who counts, by name: those who are not blacklisted.
    pub(super) fn counting<'a>(&'a self, task: &'a Task, role: Role) -> Vec<(&'a Replica, &'a Worker)> {
        let replicas = task.with_role(role);
        let known = replicas.filter_map(|replica| Some((replica, self.workers.get(&replica.worker)?)));
        let mut counting = known.filter(|(_, worker)| worker.ban.is_none()).collect::<Vec<_>>();
        counting.sort_unstable_by_key(|(replica, _)| replica.worker);
        counting
    }

    /// Asked at every step of a task: each worker is looked up once.
    fn votes<'a>(&'a self, task: &'a Task) -> Votes<'a> {
        let (mut voters, mut probation, mut unanswered) = (Vec::new(), Vec::new(), 0);
        for replica in &task.replicas {
            let Some(worker) = self.workers.get(&replica.worker).filter(|worker| worker.ban.is_none()) else {
                continue;
            };
            unanswered += usize::from(replica.answer.is_none());
            match replica.role {
                Role::Vote => voters.push((replica, worker)),
                Role::Probation => probation.extend(replica.answer),
            }
        }
        voters.sort_unstable_by_key(|(replica, _)| replica.worker);
        let mut hashes = voters.iter().filter_map(|(replica, _)| replica.answer).collect::<Vec<_>>();
        hashes.sort_unstable();
        hashes.dedup();
        let (mut given, mut givers, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
        for (replica, worker) in voters {
            let suspicion = self.suspicion(worker);
            match replica.answer.and_then(|answer| hashes.binary_search(&answer).ok()) {
                Some(group) => {
                    given.push((group, suspicion));
                    givers.push((replica.worker, worker));
                }
                None => awaited.push(suspicion),
            }
        }
        let doubts = (0..hashes.len()).map(|group| (group, doubt(&given, group)));
        let leader = doubts.reduce(|best, next| if next.1 < best.1 { next } else { best });
        Votes { hashes, given, givers, awaited, unanswered, probation, leader }
    }

    /// Whether the hub would accept `hash`, if `more` of this weight held it too, and, with `awaited`, those who have a lease.
    fn hub_accepts(&self, task: &Task, hash: B256, awaited: bool, more: u32, more_weight: u64) -> bool {
        let mut tally = Tally::new();
        for role in [Role::Vote, Role::Probation] {
            for (replica, worker) in self.counting(task, role) {
                if let Some(answer) = replica.answer.or(awaited.then_some(hash)) {
                    // Whose weight the hub has no room for is not authorised.
                    _ = tally.add(answer, weight(worker.score));
                }
            }
        }
        for _ in 0..more {
            _ = tally.add(hash, more_weight);
        }
        tally.reaches(hash, task.terms.trust) == Ok(true)
    }

    fn has_place(&self, task: &Task) -> bool {
        (task.replicas.len() as u64) < u64::from(self.policy.replicas_max)
    }

    /// All that a scheduler asks of a task at a time.
    pub(super) fn stance_of(&self, task: Open<'_>, last: bool) -> Stance {
        let votes = self.votes(&task);
        let leader = votes.leader.map(|(leader, _)| votes.hashes[leader]);
        Stance { verdict: self.verdict_by(task, last, &votes), leader, wants: self.wants_by(task, &votes) }
    }

    pub(super) fn wants_of(&self, task: Open<'_>) -> Wants {
        self.wants_by(task, &self.votes(&task))
    }

    fn wants_by(&self, task: Open<'_>, votes: &Votes<'_>) -> Wants {
        if task.public || !self.has_place(&task) {
            return Wants::default();
        }
        let on_probation = task.with_role(Role::Probation).count();
        // A newcomer keeps others company: who is late or silent must not hold up a task that waits for nobody else.
        let probation = !votes.awaited.is_empty() && on_probation < usize::from(task.probation_places);
        let (leader, hoped) = votes.hoped();
        let leading = votes.hashes.get(leader).copied().unwrap_or_default();
        let reached = hoped <= task.error_max() && (!task.terms.by_hub || self.hub_accepts(&task, leading, true, 0, 0));
        if !reached {
            let waits = self.policy.one_by_one && !votes.awaited.is_empty();
            return Wants { vote: !waits, check: false, probation };
        }
        let check = votes.awaited.is_empty() && self.lacks_check(task, votes, leader);
        Wants { vote: false, check, probation }
    }

    /// Whether a task whose confidence is reached is one to be checked, and has not been. It has, if the confidence would be
    /// reached without the last answer as well. A newcomer's dissent makes any task one to be checked.
    fn lacks_check(&self, task: Open<'_>, votes: &Votes<'_>, leader: usize) -> bool {
        let Some(leading) = votes.hashes.get(leader).copied().filter(|_| task.terms.trust.value() > 1) else {
            return false;
        };
        // Answers stand in the order in which they came.
        let came =
            task.with_role(Role::Vote).filter(|replica| replica.answer == Some(leading)).map(|replica| replica.worker);
        let last = came.filter(|worker| votes.givers.iter().any(|(giver, _)| giver == worker)).last();
        let given = votes.givers.iter().zip(&votes.given);
        let without_last = given.filter(|((giver, _), _)| Some(*giver) != last).map(|(_, vote)| *vote);
        if doubt(&without_last.collect::<Vec<_>>(), leader) <= task.error_max() {
            return false;
        }
        if votes.probation.iter().any(|answer| *answer != leading) {
            return true;
        }
        let rate = match votes.givers.as_slice() {
            // Who gave the only answer gave the leading one.
            [(_, worker)] => self.check_rate_of(worker, &task),
            _ => self.policy.check_share,
        };
        // What is certain need not be drawn.
        rate >= 1.0 || self.seed.fraction(Draw::Check, task.id) < rate
    }

    /// How often a worker is checked whose result would be enough alone.
    ///
    /// A record says nothing of who behaved until it was believed, and then turned. Checked at rate q, such a one gets (1-q)/q
    /// wrong results accepted before it is caught, for each of the m tasks that it holds at once. If a fraction f of all are
    /// such, and each had n results accepted before, the share of wrong ones stays within the error that was paid for as long
    /// as `f m (1-q)/q <= n error`: so q is `1 / (1 + n error / (f m))`, whenever they choose to turn.
    pub(super) fn check_rate_of(&self, worker: &Worker, task: &Task) -> f64 {
        let saboteurs = self.cohorts[usize::from(worker.late)].saboteurs(self.policy.saboteurs);
        let at_once = f64::from(worker.in_flight.max(1));
        let rate = 1.0 / (1.0 + worker.accepted as f64 * task.error_max() / (saboteurs * at_once));
        rate.max(self.policy.check_share)
    }

    pub(super) fn verdict_of(&self, task: Open<'_>) -> Verdict {
        self.verdict_by(task, false, &self.votes(&task))
    }

    /// `last`: nobody who has not answered is waited for, and nobody else is asked.
    fn verdict_by(&self, task: Open<'_>, last: bool, votes: &Votes<'_>) -> Verdict {
        if !last && task.waits(votes.unanswered) {
            return Verdict::Open;
        }
        let may_grow = !last && !task.public && self.has_place(&task);
        let unreached = if may_grow { Verdict::Open } else { Verdict::Undecided };
        let Some((leader, doubt)) = votes.leader else { return unreached };
        let hash = votes.hashes[leader];
        if doubt > task.error_max() || (task.terms.by_hub && !self.hub_accepts(&task, hash, false, 0, 0)) {
            return unreached;
        }
        if may_grow && self.lacks_check(task, votes, leader) {
            return Verdict::Open;
        }
        Verdict::Accept { hash, doubt }
    }

    pub(super) fn doubts_of(&self, task: &Task) -> Vec<(B256, f64)> {
        let votes = self.votes(task);
        votes.hashes.iter().enumerate().map(|(group, hash)| (*hash, doubt(&votes.given, group))).collect()
    }

    pub(super) fn missing(&self, task: &Task, suspicion: &Suspicion, score: u64) -> Option<u32> {
        let votes = self.votes(task);
        let (hopes, leader) = votes.hopes();
        let mut hopes = hopes.into_owned();
        let leading = votes.hashes.get(leader).copied().unwrap_or_default();
        let places = self.policy.replicas_max.saturating_sub(u32::try_from(task.replicas.len()).unwrap_or(u32::MAX));
        for more in 0..=places {
            let reached = doubt(&hopes, leader) <= task.error_max()
                && (!task.terms.by_hub || self.hub_accepts(task, leading, true, more, weight(score)));
            if reached {
                return Some(more);
            }
            hopes.push((leader, *suspicion));
        }
        None
    }
}
