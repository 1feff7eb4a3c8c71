//! Bags of tasks of several requesters on volunteers' machines that come and go: ranking by several criteria against first come
//! first served, the quickest, the cheapest and any machine.
//!
//! Speeds are those of real hosts, stays follow the published Weibull fit. A few seeds; `GRISTMILL_SLOW_TESTS=1` takes thirty.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use gristmill_classad::ClassAd;
use gristmill_scheduler::WorkerId;
use gristmill_scheduler::index::{Demand, DemandId, MachineIndex};
use gristmill_scheduler::rank::exact;
use gristmill_scheduler::rank::{Availability, Criterion, Expected, Facts, Favor, Values, Work};
use gristmill_types::Amount;

const HOSTS: usize = 150;
const BAGS: usize = 24;
const TASKS_A_BAG: usize = 20;
/// Mean time between bags, in seconds: less than half of the machines work in the mean.
const BAG_EVERY_S: f64 = 400.0;
const OPERATIONS: f64 = 4e12;
const SHAPE: f64 = 0.393;

/// Requesters, and the criterion that counts most for each.
const PROFILES: [(&str, Criterion); 4] = [
    ("cost=3,speed=1", Criterion::Cost),
    ("speed=3,cost=1", Criterion::Speed),
    ("cost=2,speed=2", Criterion::Cost),
    ("speed=2,cost=2", Criterion::Speed),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Policy {
    /// By the index, as each requester favours.
    Several,
    /// One criterion, for everybody.
    Only(Criterion),
    /// The machine longest idle.
    First,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Bag(usize),
    Ends { host: usize, run: u64 },
    Goes(usize),
    Comes(usize),
}

/// What a run of the market came to.
#[derive(Clone, Debug)]
struct Outcome {
    /// The mean over bags of how long each took, times what it cost, in seconds x nGRIST.
    combined: f64,
    /// By profile: the mean over its tasks of how near the machine came to the best one of those that were there.
    satisfaction: Vec<f64>,
}

struct Host {
    facts: Facts,
    is_up: bool,
    /// The number of its run, and the task.
    running: Option<(u64, usize)>,
    idle_since: u64,
}

struct Market {
    policy: Policy,
    /// That of all requesters, if they are all alike.
    profile: Option<usize>,
    random: Random,
    hosts: Vec<Host>,
    index: MachineIndex,
    demands: Vec<DemandId>,
    works: Vec<Work>,
    queue: VecDeque<usize>,
    happenings: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    next: u64,
    began_ms: Vec<u64>,
    ended_ms: Vec<u64>,
    left: Vec<usize>,
    costs: Vec<f64>,
    satisfaction: Vec<(f64, usize)>,
}

impl Market {
    fn run(policy: Policy, seed: u64, profile: Option<usize>) -> Outcome {
        // Hosts, bags and comings are the same for all policies of a seed.
        let mut random = Random(seed);
        let mut market = Self {
            policy,
            profile,
            random: Random(seed ^ 0x5eed),
            hosts: (0..HOSTS).map(|_| host(&mut random)).collect(),
            index: MachineIndex::new(),
            demands: Vec::new(),
            works: Vec::new(),
            queue: VecDeque::new(),
            happenings: BinaryHeap::new(),
            next: 0,
            began_ms: Vec::new(),
            ended_ms: vec![0; BAGS],
            left: vec![TASKS_A_BAG; BAGS],
            costs: vec![0.0; BAGS],
            satisfaction: vec![(0.0, 0); PROFILES.len()],
        };
        market.prepare(&mut random);
        while market.left.iter().any(|left| *left > 0) {
            let Some(Reverse((now_ms, _, happening))) = market.happenings.pop() else { panic!("seed {seed}: stuck") };
            market.happen(now_ms, happening);
            market.assign(now_ms);
        }
        let bags = (0..BAGS).map(|bag| (market.ended_ms[bag] - market.began_ms[bag]) as f64 / 1e3 * market.costs[bag]);
        Outcome {
            combined: bags.sum::<f64>() / BAGS as f64,
            satisfaction: market.satisfaction.iter().map(|(sum, count)| sum / (*count).max(1) as f64).collect(),
        }
    }

    fn prepare(&mut self, random: &mut Random) {
        let ad = Arc::new(ClassAd::parse("[ Arch = \"X86_64\"; Requirements = true ]").unwrap());
        for at in 0..HOSTS {
            self.index.insert(worker(at), ad.clone(), self.hosts[at].facts.clone());
            let stay_ms = self.stay(at);
            self.at(stay_ms, Happening::Goes(at));
        }
        let task = Arc::new(ClassAd::parse("[ Requirements = Arch == \"X86_64\" ]").unwrap());
        let mut now_s = 0.0;
        for bag in 0..BAGS {
            now_s += -BAG_EVERY_S * random.unit().ln();
            self.at((now_s * 1e3) as u64, Happening::Bag(bag));
            self.began_ms.push((now_s * 1e3) as u64);
            let operations = (OPERATIONS * (0.3 + 1.4 * random.unit())) as u64;
            let work = Work { operations, upload_bytes: 1_000_000, ..Work::default() };
            let favor: Favor = PROFILES[self.profile_of(bag)].0.parse().unwrap();
            self.demands.push(self.index.open(Demand { ad: task.clone(), favor, work: work.clone() }));
            self.works.push(work);
        }
    }

    fn profile_of(&self, bag: usize) -> usize {
        self.profile.unwrap_or(bag % PROFILES.len())
    }

    fn at(&mut self, at_ms: u64, happening: Happening) {
        self.next += 1;
        self.happenings.push(Reverse((at_ms, self.next, happening)));
    }

    /// How long a host stays now that it is there.
    fn stay(&mut self, at: usize) -> u64 {
        let scale_ms = self.hosts[at].facts.availability.scale_ms;
        (scale_ms * exact::power(-self.random.unit().ln(), 1.0 / SHAPE)).min(1e9) as u64 + 1_000
    }

    fn happen(&mut self, now_ms: u64, happening: Happening) {
        match happening {
            Happening::Bag(bag) => self.queue.extend(std::iter::repeat_n(bag, TASKS_A_BAG)),
            Happening::Ends { host, run } => {
                let Some((_, bag)) = self.hosts[host].running.filter(|(number, _)| *number == run) else { return };
                let expected = Expected::of(&self.works[bag], &self.hosts[host].facts);
                self.costs[bag] += expected.cost_ngrist;
                self.left[bag] -= 1;
                self.ended_ms[bag] = now_ms;
                self.hosts[host].facts.tasks_started += 1;
                self.hosts[host].facts.tasks_completed += 1;
                self.free(now_ms, host);
            }
            Happening::Goes(host) => {
                if let Some((_, bag)) = self.hosts[host].running.take() {
                    self.hosts[host].facts.tasks_started += 1;
                    self.queue.push_front(bag);
                }
                self.hosts[host].is_up = false;
                self.index.set_free(worker(host), 0);
                let away_ms = (-3.6e6 * self.random.unit().ln()) as u64 + 1_000;
                self.at(now_ms + away_ms, Happening::Comes(host));
            }
            Happening::Comes(host) => {
                self.hosts[host].is_up = true;
                self.hosts[host].facts.up_for_ms = 0;
                self.free(now_ms, host);
                let stay_ms = self.stay(host);
                self.at(now_ms + stay_ms, Happening::Goes(host));
            }
        }
    }

    fn free(&mut self, now_ms: u64, host: usize) {
        self.hosts[host].running = None;
        self.hosts[host].idle_since = now_ms;
        self.index.update(worker(host), Facts { slots_free: 1, ..self.hosts[host].facts.clone() });
    }

    fn assign(&mut self, now_ms: u64) {
        while let Some(bag) = self.queue.front().copied() {
            let free = (0..HOSTS).filter(|at| self.hosts[*at].is_up && self.hosts[*at].running.is_none());
            let free = free.collect::<Vec<_>>();
            if free.is_empty() {
                return;
            }
            let host = self.choose(bag, &free);
            let up = (0..HOSTS).filter(|at| self.hosts[*at].is_up).collect::<Vec<_>>();
            self.satisfy(bag, host, &up);
            self.queue.pop_front();
            let run = self.next;
            self.hosts[host].running = Some((run, bag));
            let run_ms = (Expected::of(&self.works[bag], &self.hosts[host].facts).run_s * 1e3) as u64;
            self.at(now_ms + run_ms.max(1), Happening::Ends { host, run });
            self.index.set_free(worker(host), 0);
        }
    }

    fn choose(&mut self, bag: usize, free: &[usize]) -> usize {
        match self.policy {
            Policy::Several => {
                let choice = self.index.choose(self.demands[bag]).expect("a free machine matches");
                let chosen = free.iter().find(|at| worker(**at) == choice.worker);
                *chosen.expect("it is free")
            }
            Policy::Only(criterion) => {
                let value = |at: &usize| self.values(bag, *at).0[criterion.place()];
                free.iter().copied().max_by_key(|at| (value(at), Reverse(*at))).expect("one is free")
            }
            Policy::First => {
                free.iter().copied().min_by_key(|at| (self.hosts[*at].idle_since, *at)).expect("one is free")
            }
            Policy::Random => free[self.random.below(free.len() as u64) as usize],
        }
    }

    fn values(&self, bag: usize, at: usize) -> Values {
        Expected::of(&self.works[bag], &self.hosts[at].facts).values()
    }

    /// Counts how satisfied the requester is: 1 for the best machine that is there in a criterion, 0 for the worst, as it weighs them.
    ///
    /// Busy ones are there too: of those that a policy itself has left free, one that looks at a single criterion always takes the
    /// best in it, however much of what was good in others it has used up before. Against the free ones alone a requester who
    /// weighs cost 3 to 1 does 0.02 to 0.03 worse by several criteria than by cost alone.
    fn satisfy(&mut self, bag: usize, host: usize, there: &[usize]) {
        let profile = self.profile_of(bag);
        let favor: Favor = PROFILES[profile].0.parse().unwrap();
        let expected = |at: usize| {
            let expected = Expected::of(&self.works[bag], &self.hosts[at].facts);
            [expected.cost_ngrist, expected.completion_s]
        };
        let all = there.iter().map(|at| expected(*at)).collect::<Vec<_>>();
        let obtained = expected(host);
        let (mut sum, mut total) = (0.0, 0.0);
        for (place, criterion) in [Criterion::Cost, Criterion::Speed].into_iter().enumerate() {
            let worst = all.iter().map(|values| values[place]).fold(f64::MIN, f64::max);
            let best = all.iter().map(|values| values[place]).fold(f64::MAX, f64::min);
            let weight = f64::from(favor.weight(criterion));
            sum += weight * if worst > best { (worst - obtained[place]) / (worst - best) } else { 1.0 };
            total += weight;
        }
        let (satisfaction, count) = &mut self.satisfaction[profile];
        *satisfaction += sum / total;
        *count += 1;
    }
}

fn host(random: &mut Random) -> Host {
    let table = include_str!("../data/host_speeds.csv");
    let speeds = table.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok());
    let speeds = speeds.collect::<Vec<f64>>();
    let gflops = speeds[random.below(speeds.len() as u64) as usize];
    let price = 2e6 * gflops * (0.3 + 1.4 * random.unit()) + 1e6;
    let facts = Facts {
        operations_per_second: (gflops * 1e9) as u64,
        price_per_hour: Amount::from_ngrist(price as u128),
        availability: Availability { shape: SHAPE, scale_ms: 3.6e6 * (1.0 + 4.0 * random.unit()) },
        ..Facts::default()
    };
    Host { facts, is_up: true, running: None, idle_since: 0 }
}

fn worker(at: usize) -> WorkerId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&(at as u64).to_be_bytes());
    WorkerId(alloy_primitives::Address(bytes.into()))
}

/// The mean, and how far from it the true mean is at most, in 95 of 100 cases.
fn mean_and_margin(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // Student's t for few seeds, at 95 %.
    let t = if numbers.len() < 12 { 2.3 } else { 2.05 };
    (mean, t * (variance / count).sqrt())
}

#[test]
fn several_criteria_beat_one_and_nobody_is_served_worse() {
    let seeds = if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { 30 } else { 10 };
    let singles = [Policy::Only(Criterion::Speed), Policy::Only(Criterion::Cost)];
    let others = [Policy::First, Policy::Random];
    let mut outcomes: BTreeMap<Policy, Vec<Outcome>> = BTreeMap::new();
    for policy in singles.into_iter().chain(others).chain([Policy::Several]) {
        outcomes.insert(policy, (1..=seeds).map(|seed| Market::run(policy, seed, None)).collect());
    }
    let combined = |policy: &Policy| outcomes[policy].iter().map(|outcome| outcome.combined).collect::<Vec<_>>();
    let mean = |policy: &Policy| mean_and_margin(&combined(policy)).0;
    for (policy, of) in &outcomes {
        let (mean, margin) = mean_and_margin(&combined(policy));
        let satisfaction = (0..PROFILES.len())
            .map(|profile| of.iter().map(|outcome| outcome.satisfaction[profile]).sum::<f64>() / of.len() as f64);
        println!(
            "{policy:?}: {:.4} +- {:.4}, satisfaction {:.3?}",
            mean / 1e9,
            margin / 1e9,
            satisfaction.collect::<Vec<_>>()
        );
    }
    let worst = singles.iter().max_by(|a, b| mean(a).total_cmp(&mean(b))).unwrap();
    let gains = combined(&Policy::Several)
        .iter()
        .zip(combined(worst))
        .map(|(ours, theirs)| 1.0 - ours / theirs)
        .collect::<Vec<_>>();
    let (gain, margin) = mean_and_margin(&gains);
    println!("{seeds} seeds: {:.1} % +- {:.1} % better than {worst:?}", gain * 100.0, margin * 100.0);
    assert!(gain - margin >= 0.12, "seeds 1 to {seeds}: {gain} +- {margin}, by seed {gains:?}");
    for (profile, (favor, criterion)) in PROFILES.into_iter().enumerate() {
        // Among requesters of all kinds, and among its own kind.
        let own_kind = |policy: Policy| (1..=seeds).map(move |seed| Market::run(policy, seed, Some(profile)));
        let (ours, theirs) = (Policy::Several, Policy::Only(criterion));
        let mixed = outcomes[&ours].iter().zip(&outcomes[&theirs]).map(|(a, b)| (a.clone(), b.clone())).collect();
        let alike = own_kind(ours).zip(own_kind(theirs)).collect::<Vec<_>>();
        for (among, pairs) in [("all kinds", mixed), ("its kind", alike)] {
            let gains = pairs.iter().map(|(ours, theirs)| ours.satisfaction[profile] - theirs.satisfaction[profile]);
            let (gain, margin) = mean_and_margin(&gains.collect::<Vec<_>>());
            let name = criterion.name();
            println!("{favor} among {among}, against {name} alone: {gain:+.3} +- {margin:.3}");
            assert!(gain >= 0.0, "seeds 1 to {seeds}: {favor} among {among} is worse off than by {name} alone: {gain}");
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Above 0, below 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}
