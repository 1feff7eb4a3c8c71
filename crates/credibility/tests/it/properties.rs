//! Whatever happens in whatever order, these hold.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use gristmill_credibility::{
    AddressRange, Credibility, Event, ObserveError, Origin, Policy, Refusal, Role, Seed, TaskSpec, Verdict,
};
use gristmill_poco::consensus::{Tally, weight};
use gristmill_types::{TaskId, Trust};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn worker(number: u8) -> Address {
    Address::with_last_byte(number + 1)
}

fn task(number: u8) -> TaskId {
    TaskId(B256::with_last_byte(number + 1))
}

/// Few owners, ranges and stakes: most workers share something with somebody. One owner in four pays its stake itself.
fn origin(number: u8) -> Origin {
    let owner = Address::repeat_byte(0x40 + number % 13);
    let stake_source = if number.is_multiple_of(4) { owner } else { Address::repeat_byte(0x40 + number % 17) };
    Origin { owner, stake_source, range: AddressRange::V4([10, 0, number % 19]) }
}

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Step {
    Join(u8, u64),
    Leave(u8),
    Ban(u8),
    Pardon(u8),
    Open(u8, u64, bool),
    Lease(u8, u8),
    Answer(u8, u8, u8),
    Work(u8, u8, u8),
    Withhold(u8, u8),
    Release(u8, u8),
    Reveal(u8),
    Settle(u8),
    Fail(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (workers, tasks) = (0u8..24, 0u8..5);
    let pair = (tasks.clone(), workers.clone());
    let step = prop_oneof![
        3 => (workers.clone(), 0u64..500).prop_map(|(worker, score)| Step::Join(worker, score)),
        1 => workers.clone().prop_map(Step::Leave),
        1 => workers.clone().prop_map(Step::Ban),
        1 => workers.prop_map(Step::Pardon),
        6 => (tasks.clone(), prop_oneof![Just(1u64), Just(3), Just(20), Just(200)], any::<bool>())
            .prop_map(|(task, trust, by_hub)| Step::Open(task, trust, by_hub)),
        15 => pair.clone().prop_map(|(task, worker)| Step::Lease(task, worker)),
        30 => (pair.clone(), 0u8..6).prop_map(|((task, worker), value)| Step::Answer(task, worker, value.saturating_sub(4))),
        60 => (pair.clone(), 0u8..6).prop_map(|((task, worker), value)| Step::Work(task, worker, value.saturating_sub(4))),
        2 => pair.clone().prop_map(|(task, worker)| Step::Withhold(task, worker)),
        2 => pair.prop_map(|(task, worker)| Step::Release(task, worker)),
        1 => tasks.clone().prop_map(Step::Reveal),
        12 => tasks.clone().prop_map(Step::Settle),
        1 => tasks.prop_map(Step::Fail),
    ];
    proptest::collection::vec(step, 100..600)
}

/// What a naive observer knows.
#[derive(Default)]
struct Naive {
    scores: BTreeMap<u8, u64>,
    open: BTreeMap<u8, (Trust, bool, bool)>,
    replicas: BTreeMap<u8, Vec<(u8, Option<u8>)>>,
    /// Replicas, by task and worker, that were not wanted when they were leased.
    spares: BTreeSet<(u8, u8)>,
}

struct Checker {
    machine: Credibility,
    naive: Naive,
    log: Vec<Event>,
    public: bool,
    accepted: usize,
}

impl Checker {
    fn observe(&mut self, event: Event) -> Result<(), ObserveError> {
        let before = self.machine.clone();
        match self.machine.observe(event.clone()) {
            Ok(changes) => {
                let now = self.machine.blacklist().map(|(worker, _)| worker).collect::<BTreeSet<_>>();
                assert!(changes.blacklisted.iter().all(|worker| now.contains(worker)));
                self.log.push(event);
                Ok(())
            }
            Err(error) => {
                assert_eq!(self.machine, before, "{event:?} was refused and changed something");
                Err(error)
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(id, score) => {
                let event = Event::WorkerJoined { worker: worker(id), origin: origin(id), score };
                if self.observe(event).is_ok() {
                    self.naive.scores.insert(id, score);
                }
            }
            Step::Leave(id) => _ = self.observe(Event::WorkerLeft { worker: worker(id) }),
            Step::Ban(id) => _ = self.observe(Event::WorkerBanned { worker: worker(id) }),
            Step::Pardon(id) => _ = self.observe(Event::WorkerPardoned { worker: worker(id) }),
            Step::Open(id, trust, by_hub) => {
                let trust = Trust::new(trust);
                let requester = Address::repeat_byte(0x40 + id);
                if self.observe(Event::TaskOpened(TaskSpec { task: task(id), trust, requester, by_hub })).is_ok() {
                    self.naive.open.insert(id, (trust, by_hub, false));
                    self.naive.replicas.insert(id, Vec::new());
                }
            }
            Step::Lease(id, by) => self.lease(id, by),
            Step::Work(id, by, value) => {
                self.lease(id, by);
                self.step(Step::Answer(id, by, value));
            }
            Step::Answer(id, by, value) => {
                let hash = B256::repeat_byte(value);
                let (may_join, spare) = self.chances(id, by);
                if self.observe(Event::Answered { task: task(id), worker: worker(by), hash }).is_ok() {
                    let list = &self.naive.replicas[&id];
                    if list.iter().all(|(other, _)| *other != by) {
                        self.taken(id, by, may_join, spare);
                    }
                    let list = self.naive.replicas.get_mut(&id).unwrap();
                    let replica = list.iter_mut().find(|(worker, _)| *worker == by).unwrap();
                    assert!(replica.1.replace(value).is_none());
                }
            }
            Step::Withhold(id, by) => {
                if self.observe(Event::Withheld { task: task(id), worker: worker(by) }).is_ok() {
                    self.drop_lease(id, by);
                }
            }
            Step::Release(id, by) => {
                if self.observe(Event::Released { task: task(id), worker: worker(by) }).is_ok() {
                    self.drop_lease(id, by);
                }
            }
            Step::Reveal(id) => {
                if self.observe(Event::Revealed { task: task(id) }).is_ok() {
                    self.naive.open.get_mut(&id).unwrap().2 = true;
                }
            }
            Step::Settle(id) => self.settle(id),
            Step::Fail(id) => {
                if self.observe(Event::Settled { task: task(id), accepted: None }).is_ok() {
                    self.naive.open.remove(&id);
                    self.naive.replicas.remove(&id);
                    self.naive.spares.retain(|(of, _)| *of != id);
                }
            }
        }
    }

    fn drop_lease(&mut self, id: u8, by: u8) {
        let list = self.naive.replicas.get_mut(&id).unwrap();
        list.retain(|(worker, answer)| *worker != by || answer.is_some());
        if list.iter().all(|(worker, _)| *worker != by) {
            self.naive.spares.remove(&(id, by));
        }
    }

    /// Whether a worker may join a task, and whether it would be a spare.
    fn chances(&self, id: u8, by: u8) -> (Result<Role, Refusal>, bool) {
        let (worker, task) = (worker(by), task(id));
        (self.machine.may_join(worker, task), self.machine.may(worker, task) == Err(Refusal::NotWanted))
    }

    fn lease(&mut self, id: u8, by: u8) {
        let (may_join, spare) = self.chances(id, by);
        let is_blacklisted = self.machine.blacklist().any(|(name, _)| name == worker(by));
        match self.observe(Event::Leased { task: task(id), worker: worker(by) }) {
            Ok(()) => self.taken(id, by, may_join, spare),
            Err(ObserveError::Refused { refusal, .. }) => {
                assert_eq!(may_join, Err(refusal));
                assert_eq!(matches!(refusal, Refusal::Blacklisted(_)), is_blacklisted && refusal != Refusal::Absent);
            }
            Err(_) => {}
        }
    }

    /// A worker has a replica now: it must be one that may.
    fn taken(&mut self, id: u8, by: u8, may_join: Result<Role, Refusal>, spare: bool) {
        let is_blacklisted = self.machine.blacklist().any(|(name, _)| name == worker(by));
        assert!(may_join.is_ok() && !is_blacklisted, "{by} is blacklisted and got a task");
        assert!(!self.naive.open[&id].2, "a public task was leased");
        if spare {
            self.naive.spares.insert((id, by));
        }
        let list = self.naive.replicas.get_mut(&id).unwrap();
        assert!(list.iter().all(|(other, _)| *other != by), "{by} has two replicas");
        if self.public {
            let mine = origin(by);
            let accounts = BTreeSet::from([mine.owner, mine.stake_source]);
            assert!(!accounts.contains(&Address::repeat_byte(0x40 + id)), "{by} computes a task of its own");
            for (other, _) in list.iter() {
                let theirs = origin(*other);
                assert_ne!(mine.range, theirs.range, "{by} and {other} share a range");
                let shared = [theirs.owner, theirs.stake_source].into_iter().find(|account| accounts.contains(account));
                assert_eq!(shared, None, "{by} and {other} share an account");
            }
        }
        list.push((by, None));
    }

    /// Settles as the verdict says, if there is one; it must be one that was paid for.
    fn settle(&mut self, id: u8) {
        let Some((trust, by_hub, _)) = self.naive.open.get(&id).copied() else { return };
        let Verdict::Accept { hash, doubt } = self.machine.verdict(task(id)) else { return };
        self.accepted += 1;
        assert!(doubt <= 1.0 / trust.value() as f64, "accepted at a doubt of {doubt}, trust {}", trust.value());
        let barred = self.machine.blacklist().map(|(worker, _)| worker).collect::<BTreeSet<_>>();
        let counting = self.naive.replicas[&id].iter().filter(|(by, _)| !barred.contains(&worker(*by)));
        let mut tally = Tally::new();
        let mut awaited = 0;
        for (by, answer) in counting {
            let Some(answer) = *answer else {
                awaited += 1;
                continue;
            };
            tally.add(B256::repeat_byte(answer), weight(self.naive.scores[by])).unwrap();
        }
        let spares = self.naive.spares.iter().filter(|(of, _)| *of == id).count();
        assert!(awaited <= spares, "accepted while {awaited} compute, of whom only {spares} are spares");
        assert!(!tally.group(hash).is_zero(), "nobody who counts holds what was accepted");
        assert!(!by_hub || tally.reaches(hash, trust).unwrap(), "the hub would not accept it");
        self.observe(Event::Settled { task: task(id), accepted: Some(hash) }).unwrap();
        self.naive.open.remove(&id);
        self.naive.replicas.remove(&id);
        self.naive.spares.retain(|(of, _)| *of != id);
    }

    /// What is counted on the way is what counting anew gives.
    fn check_counts(&self, policy: &Policy, seed: Seed) {
        let restored = Credibility::restore(policy.clone(), seed, self.machine.snapshot()).unwrap();
        assert_eq!(restored, self.machine);
        let text = serde_json::to_value(self.machine.snapshot()).unwrap();
        let mut held = BTreeMap::<String, u64>::new();
        for (by, _) in self.naive.replicas.values().flatten() {
            *held.entry(worker(*by).to_string().to_lowercase()).or_default() += 1;
        }
        for (name, worker) in text["workers"].as_object().unwrap() {
            let expected = held.get(&name.to_lowercase()).copied().unwrap_or(0);
            assert_eq!(worker["in_flight"].as_u64(), Some(expected), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { 5_000 } else { 300 }))]

    #[test]
    fn always(steps in steps(), public in any::<bool>(), one_by_one in any::<bool>(), founders in 1u32..6) {
        let policy = Policy { public, one_by_one, founders, probation_checks: 1, ..Policy::default() };
        let seed = Seed([9; 32]);
        let machine = Credibility::new(policy.clone(), seed).unwrap();
        let mut checker = Checker { machine, naive: Naive::default(), log: Vec::new(), public, accepted: 0 };
        // Everybody is there to begin with, and work too: else most steps would be about nobody.
        (0..24).for_each(|id| checker.step(Step::Join(id, u64::from(id) * 17)));
        (0..5).for_each(|id| checker.step(Step::Open(id, [1, 3, 20, 200, 20][usize::from(id)], id == 3)));
        for step in steps {
            checker.step(step);
        }
        checker.check_counts(&policy, seed);
        let mut again = Credibility::new(policy, seed).unwrap();
        checker.log.iter().for_each(|event| _ = again.observe(event.clone()).unwrap());
        prop_assert_eq!(again, checker.machine);
    }

    /// Who joined first, and who answered first, makes no difference to what is believed or learnt.
    #[test]
    fn order_makes_no_difference(
        answers in proptest::collection::vec(0u8..2, 4..12),
        joins in Just((0u8..20).collect::<Vec<_>>()).prop_shuffle(),
        keys in proptest::collection::vec(any::<u64>(), 20),
    ) {
        let apart = |number: u8| Origin {
            owner: Address::repeat_byte(0x80 + number),
            stake_source: Address::repeat_byte(0xb0 + number),
            range: AddressRange::V6([number; 6]),
        };
        let run = |joins: &[u8], order: &[usize]| {
            let policy = Policy { saboteurs: 0.4, ..Policy::default() };
            let mut machine = Credibility::new(policy, Seed([1; 32])).unwrap();
            for id in joins {
                machine.observe(Event::WorkerJoined { worker: worker(*id), origin: apart(*id), score: 0 }).unwrap();
            }
            // Records that differ, or it would make no difference anyway.
            for number in 1..9 {
                let spec = TaskSpec { task: task(number), trust: Trust::new(50), requester: Address::ZERO, by_hub: false };
                machine.observe(Event::TaskOpened(spec)).unwrap();
                for id in (0..20).filter(|id| (id * 7 + number * 3) % 5 < 3) {
                    if machine.observe(Event::Leased { task: task(number), worker: worker(id) }).is_ok() {
                        let event = Event::Answered { task: task(number), worker: worker(id), hash: B256::ZERO };
                        machine.observe(event).unwrap();
                    }
                }
                machine.observe(Event::Settled { task: task(number), accepted: Some(B256::ZERO) }).unwrap();
            }
            let spec = TaskSpec { task: task(0), trust: Trust::MAX, requester: Address::ZERO, by_hub: false };
            machine.observe(Event::TaskOpened(spec)).unwrap();
            for id in 0..answers.len() as u8 {
                machine.observe(Event::Leased { task: task(0), worker: worker(id) }).unwrap();
            }
            for at in order {
                let hash = B256::repeat_byte(answers[*at]);
                machine.observe(Event::Answered { task: task(0), worker: worker(*at as u8), hash }).unwrap();
            }
            let doubts = machine.doubts(task(0));
            machine.observe(Event::Settled { task: task(0), accepted: Some(B256::repeat_byte(answers[0])) }).unwrap();
            (doubts, machine)
        };
        let straight = (0..answers.len()).collect::<Vec<_>>();
        let mut shuffled = straight.clone();
        shuffled.sort_by_key(|at| keys[*at]);
        let (doubts, machine) = run(&(0..20).collect::<Vec<_>>(), &straight);
        let (other_doubts, other_machine) = run(&joins, &shuffled);
        prop_assert_eq!(doubts, other_doubts);
        prop_assert_eq!(machine, other_machine);
    }
}

/// The steps above do reach acceptance, or the property would be about nothing.
#[test]
fn the_steps_get_somewhere() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..50 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let machine = Credibility::new(Policy::default(), Seed([9; 32])).unwrap();
        let mut checker = Checker { machine, naive: Naive::default(), log: Vec::new(), public: true, accepted: 0 };
        (0..24).for_each(|id| checker.step(Step::Join(id, 0)));
        steps.into_iter().for_each(|step| checker.step(step));
        accepted += checker.accepted;
    }
    assert!(accepted > 50, "{accepted} tasks were accepted");
}
