//! The index against looking at every machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_classad::{ClassAd, matches};
use gristmill_types::{Amount, ContentId};
use proptest::prelude::*;

use super::*;
use crate::rank::{Availability, Expected, net_flows};

fn worker(number: u32) -> WorkerId {
    // Ids whose order is not that of their coming.
    let mixed = number.wrapping_mul(0x9e37_79b1);
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&mixed.to_be_bytes());
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    WorkerId(alloy_primitives::Address(bytes.into()))
}

fn ad(text: &str) -> Arc<ClassAd> {
    Arc::new(ClassAd::parse(text).unwrap_or_else(|error| panic!("{error} in {text}")))
}

/// What a machine may say, of each attribute nothing among it.
fn machine_ad() -> impl Strategy<Value = String> {
    let arch =
        prop_oneof![Just(""), Just("Arch = \"X86_64\";"), Just("Arch = \"x86_64\";"), Just("Arch = \"aarch64\";")];
    let cpus = prop_oneof![
        Just(String::new()),
        (1..6_i64).prop_map(|cpus| format!("Cpus = {cpus};")),
        Just("Cpus = 2.5;".to_owned()),
        Just("Cpus = \"many\";".to_owned()),
        Just("Cpus = true;".to_owned()),
        Just("Cpus = 0.0 / 0.0;".to_owned()),
        Just("Cpus = 9007199254740993;".to_owned()),
        Just("Cpus = Memory / 1024;".to_owned()),
        Just("Cpus = TARGET.Want + 1;".to_owned()),
    ];
    let memory = prop_oneof![Just(String::new()), (0..4_i64).prop_map(|gib| format!("Memory = {};", gib * 1024))];
    let region = prop_oneof![
        Just(""),
        Just("Region = \"eu\";"),
        Just("Region = { \"eu\", \"us\" };"),
        Just("Region = undefined;"),
        Just("Region = eval(\"Zone\");"),
    ];
    let other =
        prop_oneof![Just(""), Just("Zone = \"eu\";"), Just("Disk = 17;"), Just("Load = 0.5; IsBusy = Load > 0.7;")];
    let requirements = prop_oneof![
        3 => Just(""),
        10 => Just("Requirements = true;"),
        2 => Just("Requirements = TARGET.Owner != \"mallory\";"),
        2 => Just("Requirements = Owner == \"alice\" && Want <= Cpus;"),
        1 => Just("Requirements = IsBusy is false;"),
        1 => Just("Requirements = eval(\"TARGET.Owner\") == \"bob\";"),
        1 => Just("Requirements = size(TARGET.Tags) > 0;"),
    ];
    (arch, cpus, memory, region, other, requirements)
        .prop_map(|(a, b, c, d, e, f)| format!("[ {a} {b} {c} {d} {e} {f} ]"))
}

fn task_ad() -> impl Strategy<Value = String> {
    let conjunct = prop_oneof![
        Just("Arch == \"x86_64\""),
        Just("TARGET.Arch =?= \"X86_64\""),
        Just("Arch isnt undefined"),
        Just("Cpus >= 2"),
        Just("TARGET.Cpus < 3"),
        Just("4 > Cpus"),
        Just("Cpus <= 9007199254740992"),
        Just("Cpus == 1"),
        Just("Cpus =!= 2"),
        Just("TARGET.Cpus >= Want"),
        Just("Memory > 1024"),
        Just("Memory"),
        Just("Memory >= MY.Want * 512"),
        Just("member(Region, { \"eu\", \"asia\" })"),
        Just("member(\"us\", TARGET.Region)"),
        Just("Region == \"EU\" || Region is undefined"),
        Just("regexp(\"^e\", Zone)"),
        Just("IsBusy =!= true"),
        Just("(Cpus > 1 && Memory > 0)"),
        Just("eval(\"TARGET.Cpus\") > 1"),
        Just("TARGET[\"Cpus\"] > 1"),
        Just("TARGET.Load + Want < 3"),
        Just("Owner == \"alice\""),
        Just("true"),
        Just("Limit"),
    ];
    let owner = prop_oneof![Just("alice"), Just("bob"), Just("mallory")];
    let rank = prop_oneof![4 => Just(""), 1 => Just("Rank = Memory;"), 1 => Just("Rank = -TARGET.Cpus;")];
    (proptest::collection::vec(conjunct, 1..4), owner, 0..4_i64, rank).prop_map(|(conjuncts, owner, want, rank)| {
        let requirements = conjuncts.join(" && ");
        format!("[ Owner = \"{owner}\"; Want = {want}; Limit = TARGET.Cpus > 2; {rank} Requirements = {requirements} ]")
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    // Few values, so that machines are equal in some.
    let numbers = (0..3_u32, 1..6_u64, 0..4_u64, 0..3_u32, 0..4_u64, 0..3_u64);
    numbers.prop_map(|(slots_free, speed, price, error, past, cached)| Facts {
        slots_free,
        operations_per_second: speed * 500_000_000,
        price_per_hour: Amount::from_ngrist(u128::from(price) * 1_000_000),
        expected_error: [0.2, 0.01, 0.0001][error as usize],
        watts: 20.0 * speed as f64,
        tasks_started: past,
        tasks_completed: past / 2,
        availability: Availability::default(),
        up_for_ms: past * 3_600_000,
        cached: (0..cached).map(|number| ContentId([number as u8; 32])).collect(),
        ..Facts::default()
    })
}

fn favor() -> impl Strategy<Value = Favor> {
    proptest::array::uniform5(0..4_u32).prop_filter_map("one weight", |weights| Favor::new(weights).ok())
}

/// What happens to a pool.
#[derive(Clone, Debug)]
enum Step {
    Insert(u32, String, Facts),
    Remove(u32),
    Update(u32, Facts),
    SetFree(u32, u32),
    Release(u32),
    /// With one of the demands, opened if it is not.
    Decide(usize),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let machine = 0..120_u32;
    prop_oneof![
        6 => (machine.clone(), machine_ad(), facts()).prop_map(|(machine, ad, facts)| Step::Insert(machine, ad, facts)),
        1 => machine.clone().prop_map(Step::Remove),
        2 => (machine.clone(), facts()).prop_map(|(machine, facts)| Step::Update(machine, facts)),
        2 => (machine.clone(), 0..3_u32).prop_map(|(machine, free)| Step::SetFree(machine, free)),
        2 => machine.prop_map(Step::Release),
        4 => (0..3_usize).prop_map(Step::Decide),
        1 => (0..3_usize).prop_map(Step::Close),
    ]
}

/// A pool that looks at every machine.
#[derive(Default)]
struct Naive {
    machines: BTreeMap<WorkerId, (Arc<ClassAd>, Facts)>,
}

impl Naive {
    fn matching(&self, demand: &Demand) -> Vec<WorkerId> {
        self.machines.iter().filter(|(_, (ad, _))| matches(&demand.ad, ad)).map(|(id, _)| *id).collect()
    }

    fn free(&self, demand: &Demand) -> Vec<WorkerId> {
        let mut matching = self.matching(demand);
        matching.retain(|id| self.machines[id].1.slots_free > 0);
        matching
    }

    /// Of these machines, those with the highest rank.
    fn best_ranked(&self, demand: &Demand, ids: &[WorkerId]) -> Vec<WorkerId> {
        let rank = |id: &WorkerId| gristmill_classad::rank(&demand.ad, &self.machines[id].0) as f32;
        let best = ids.iter().map(rank).fold(f32::NEG_INFINITY, f32::max);
        ids.iter().copied().filter(|id| rank(id) == best).collect()
    }

    fn values(&self, demand: &Demand, id: WorkerId) -> Values {
        Expected::of(&demand.work, &self.machines[&id].1).values()
    }
}

fn demands() -> impl Strategy<Value = Vec<Demand>> {
    let demand = (task_ad(), favor(), 1..100_u64).prop_map(|(text, favor, seconds)| Demand {
        ad: ad(&text),
        favor,
        work: Work {
            operations: seconds * 1_000_000_000,
            is_known: false,
            inputs: (0..2).map(|number| (ContentId([number; 32]), 1_000_000 * u64::from(number + 1))).collect(),
            upload_bytes: 1_000_000,
        },
    });
    proptest::collection::vec(demand, 3)
}

/// Holds what the index says of a demand against every machine.
fn check(index: &mut MachineIndex, naive: &Naive, demand: &Demand, id: DemandId) -> Result<(), TestCaseError> {
    let matching = index.matching(id).into_iter().map(|(worker, ..)| worker).collect::<Vec<_>>();
    prop_assert_eq!(&matching, &naive.matching(demand), "{}", demand.ad);
    let free = naive.free(demand);
    let candidates = index.candidates(id);
    prop_assert_eq!(candidates.len(), free.len().min(CANDIDATES_MAX), "{}", demand.ad);
    for candidate in &candidates {
        prop_assert!(free.contains(&candidate.worker));
        prop_assert_eq!(candidate.values, naive.values(demand, candidate.worker));
    }
    let preferences = index.preferences(id).unwrap();
    // What was kept up to date bit by bit is what a new index finds, and what PROMETHEE gives.
    let values = candidates.iter().map(|candidate| candidate.values).collect::<Vec<_>>();
    for (candidate, flow) in candidates.iter().zip(net_flows(&values, &demand.favor, &preferences)) {
        prop_assert_eq!(candidate.phi.map(f64::to_bits), Some(flow.to_bits()));
    }
    let choice = index.choose(id);
    prop_assert_eq!(choice.is_some(), !free.is_empty());
    prop_assert_eq!(choice.map(|choice| choice.worker), candidates.first().map(|choice| choice.worker));
    if let Some(choice) = choice {
        prop_assert!(naive.best_ranked(demand, &free).contains(&choice.worker), "the task's own rank goes first");
        if free.len() <= CANDIDATES_MAX {
            let best = naive.best_ranked(demand, &free);
            let flows = candidates.iter().map(|choice| (choice.phi, choice.worker)).filter(|(_, id)| best.contains(id));
            let highest = flows.max_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
            prop_assert_eq!(choice.phi, highest.0);
        }
        // Somebody is found as long as there is anybody, the candidates left out.
        let left_out = candidates.iter().map(|candidate| candidate.worker).collect::<Vec<_>>();
        let further = index.choose_where(id, |worker| !left_out.contains(&worker));
        prop_assert_eq!(further.is_some(), free.len() > CANDIDATES_MAX);
        prop_assert!(further.is_none_or(|further| free.contains(&further.worker)));
    }
    let unmet = index.unmet(id).unwrap();
    prop_assert_eq!((unmet.matching, unmet.free), (matching.len(), free.len()), "{}", demand.ad);
    prop_assert_eq!(unmet.nearest.is_some(), matching.is_empty() && !naive.machines.is_empty());
    Ok(())
}

fn apply(
    step: Step,
    index: &mut MachineIndex,
    naive: &mut Naive,
    demands: &[Demand],
    open: &mut [Option<DemandId>],
) -> Result<(), TestCaseError> {
    match step {
        Step::Insert(machine, text, facts) => {
            let ad = ad(&text);
            index.insert(worker(machine), ad.clone(), facts.clone());
            naive.machines.insert(worker(machine), (ad, facts));
        }
        Step::Remove(machine) => {
            index.remove(worker(machine));
            naive.machines.remove(&worker(machine));
        }
        Step::Update(machine, facts) => {
            index.update(worker(machine), facts.clone());
            if let Some((_, known)) = naive.machines.get_mut(&worker(machine)) {
                *known = facts;
            }
        }
        Step::SetFree(machine, free) => {
            index.set_free(worker(machine), free);
            if let Some((_, known)) = naive.machines.get_mut(&worker(machine)) {
                known.slots_free = free;
            }
        }
        Step::Release(machine) => {
            index.release(worker(machine));
            if let Some((_, known)) = naive.machines.get_mut(&worker(machine)) {
                known.slots_free += 1;
            }
        }
        Step::Decide(number) => {
            let id = *open[number].get_or_insert_with(|| index.open(demands[number].clone()));
            check(index, naive, &demands[number], id)?;
            if let Some(choice) = index.choose(id) {
                prop_assert!(index.take(&choice));
                naive.machines.get_mut(&choice.worker).unwrap().1.slots_free -= 1;
            }
        }
        Step::Close(number) => {
            if let Some(id) = open[number].take() {
                index.close(id);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn as_looking_at_every_machine(
        demands in demands(),
        first in proptest::collection::vec((machine_ad(), facts()), 0..250),
        steps in proptest::collection::vec(step(), 1..300)
    ) {
        let (mut index, mut naive) = (MachineIndex::new(), Naive::default());
        let mut open = vec![None; demands.len()];
        let first = (0..).zip(first).map(|(number, (ad, facts))| Step::Insert(number, ad, facts));
        for step in first.chain(steps) {
            apply(step, &mut index, &mut naive, &demands, &mut open)?;
        }
        for (demand, id) in demands.iter().zip(open) {
            let id = id.unwrap_or_else(|| index.open(demand.clone()));
            check(&mut index, &naive, demand, id)?;
        }
        prop_assert_eq!(index.len(), naive.machines.len());
    }
}

/// `count` machines that any task may use, each a little different.
fn many(count: u32) -> MachineIndex {
    let mut index = MachineIndex::new();
    let plain = ad("[ Arch = \"X86_64\"; Requirements = true ]");
    for number in 0..count {
        let facts = Facts {
            operations_per_second: 1_000_000_000 + u64::from(number * 7_919 % 1_000) * 5_000_000,
            price_per_hour: Amount::from_ngrist(1_000_000 + u128::from(number * 104_729 % 1_000) * 3_000),
            ..Facts::default()
        };
        index.insert(worker(number), plain.clone(), facts);
    }
    index
}

fn any(favor: &str) -> Demand {
    let work = Work { operations: 1_000_000_000_000, ..Work::default() };
    Demand { ad: ad("[ Owner = \"alice\"; Requirements = Arch == \"X86_64\" ]"), favor: favor.parse().unwrap(), work }
}

#[test]
fn the_window_holds_the_most_promising() {
    let mut index = many(2_000);
    let id = index.open(any("cost=1"));
    let cheapest = index.candidates(id);
    let mut all = index.matching(id).into_iter().map(|(_, _, values)| values.0[0]).collect::<Vec<_>>();
    all.sort_unstable_by_key(|value| -value);
    // By one criterion the promise is the value; machines beyond the curve's exactness are as good.
    let least = cheapest.iter().map(|candidate| candidate.values.0[0]).min().unwrap();
    assert!(all[CANDIDATES_MAX - 1] - least < 1_000, "{} and {least}", all[CANDIDATES_MAX - 1]);
    assert_eq!(cheapest[0].values.0[0], all[0]);
}

#[test]
fn all_machines_are_given_out_before_none_is_left() {
    let mut index = many(1_000);
    let (cheap, quick) = (index.open(any("cost=3,speed=1")), index.open(any("speed=1")));
    let mut given = BTreeSet::new();
    for number in 0..1_000 {
        let choice = index.choose(if number % 3 == 0 { quick } else { cheap }).unwrap();
        assert!(index.take(&choice));
        assert!(!index.take(&choice), "it has one slot");
        assert!(given.insert(choice.worker));
    }
    assert_eq!((index.choose(cheap), index.choose(quick)), (None, None));
    let back = *given.iter().nth(500).unwrap();
    index.release(back);
    assert_eq!(index.choose(cheap).unwrap().worker, back);
    assert_eq!(index.unmet(cheap).unwrap().free, 1);
}

#[test]
fn where_the_pool_comes_from_does_not_matter() {
    // The same machines, inserted the other way round, after others that left.
    let (mut forth, mut back) = (many(40), MachineIndex::new());
    let plain = ad("[ Arch = \"X86_64\"; Requirements = true ]");
    for number in 40..70 {
        back.insert(worker(number), plain.clone(), Facts::default());
    }
    for number in 40..70 {
        back.remove(worker(number));
    }
    for number in (0..40).rev() {
        let facts = forth.facts(worker(number)).unwrap().clone();
        back.insert(worker(number), plain.clone(), facts);
    }
    let (a, b) = (forth.open(any("cost=2,speed=3")), back.open(any("cost=2,speed=3")));
    for _ in 0..40 {
        let (first, second) = (forth.choose(a).unwrap(), back.choose(b).unwrap());
        assert_eq!((first.worker, first.phi.map(f64::to_bits)), (second.worker, second.phi.map(f64::to_bits)));
        assert!(forth.take(&first) && back.take(&second));
    }
}

#[test]
fn equals_are_served_by_their_ids() {
    let mut index = MachineIndex::new();
    let plain = ad("[ Arch = \"X86_64\"; Requirements = true ]");
    for number in 0..200 {
        index.insert(worker(number), plain.clone(), Facts::default());
    }
    let id = index.open(any("cost=1,speed=1"));
    let mut ids = (0..200).map(worker).collect::<Vec<_>>();
    ids.sort_unstable();
    for worker in ids {
        let choice = index.choose(id).unwrap();
        assert_eq!(choice.worker, worker);
        index.take(&choice);
    }
}

#[test]
fn identical_ads_are_one_group_until_somebody_cares() {
    let mut index = MachineIndex::new();
    for number in 0..90 {
        let text = format!(
            "[ Name = \"host{number}\"; Arch = \"{}\"; Disk = {}; Requirements = TARGET.Owner != \"mallory\" ]",
            ["X86_64", "aarch64", "riscv64"][number % 3],
            number % 5
        );
        index.insert(worker(number as u32), ad(&text), Facts::default());
    }
    assert_eq!(index.groups(), 1);
    let first = index.open(any("cost=1"));
    assert_eq!(index.groups(), 3);
    assert_eq!(index.candidates(first).len(), 30);
    let disk =
        Demand { ad: ad("[ Owner = \"alice\"; Requirements = Arch == \"X86_64\" && Disk > 2 ]"), ..any("cost=1") };
    let second = index.open(disk.clone());
    assert_eq!(index.groups(), 15);
    assert_eq!((index.candidates(first).len(), index.candidates(second).len()), (30, 12));
    assert_eq!(index.open(disk), second, "the same kind");
    let mallory = Demand { ad: ad("[ Owner = \"Mallory\"; Requirements = true ]"), ..any("cost=1") };
    let refused = index.open(mallory);
    assert_eq!(index.choose(refused), None);
    assert_eq!(
        index.unmet(refused).unwrap().to_string().split("; the nearest").next(),
        Some("none of 90 machines matches; what the machine requires of the task excludes 90, 90 of them alone")
    );
}

#[test]
fn orders_that_are_not_used_are_forgotten_and_made_again() {
    let mut index = many(100);
    let ids = (0..ORDERS_MAX as u64 + 10).map(|number| {
        let work = Work { operations: 1_000_000_000_000 + number, ..Work::default() };
        (number, work)
    });
    let ids = ids.map(|(_, work)| index.open(Demand { work, ..any("cost=1,speed=1") })).collect::<Vec<_>>();
    let first = ids.iter().map(|id| index.choose(*id).unwrap().worker).collect::<Vec<_>>();
    assert_eq!(index.orders, ORDERS_MAX);
    let again = ids.iter().map(|id| index.choose(*id).unwrap().worker).collect::<Vec<_>>();
    assert_eq!(first, again);
    ids.iter().for_each(|id| index.close(*id));
    assert_eq!((index.orders, index.demands.len(), index.kinds.len()), (0, 0, 0));
}

#[test]
fn an_order_that_missed_the_news_is_made_anew() {
    let mut index = many(50);
    let id = index.open(any("cost=1"));
    let best = index.choose(id).unwrap();
    for _ in 0..JOURNAL_MAX {
        index.set_free(worker(7), 0);
        index.set_free(worker(7), 1);
    }
    index.take(&best);
    assert!(index.pool.forgotten > 0 && index.pool.journal.len() == JOURNAL_MAX);
    assert_ne!(index.choose(id).unwrap().worker, best.worker);
}

#[test]
fn the_nearest_machine_and_what_it_lacks() {
    let mut index = MachineIndex::new();
    let machines = [
        "[ Arch = \"X86_64\"; Memory = 8192; Cpus = 4; Requirements = true ]",
        "[ Arch = \"X86_64\"; Memory = 32768; Cpus = 4; Requirements = TARGET.Price >= 5 ]",
        "[ Arch = \"aarch64\"; Memory = 131072; Cpus = 64; Requirements = true ]",
        "[ Arch = \"X86_64\"; Cpus = 4; Requirements = true ]",
    ];
    for (number, text) in machines.into_iter().enumerate() {
        index.insert(worker(number as u32), ad(text), Facts::default());
    }
    let task = "[ Price = 9; Need = 65536; Requirements = Arch == \"X86_64\" && Memory >= Need && Cpus >= 2 ]";
    let id = index.open(Demand { ad: ad(task), ..any("cost=1") });
    assert_eq!(index.choose(id), None);
    let unmet = index.unmet(id).unwrap();
    let counts = unmet.failing.iter().map(|failing| (failing.conjunct.as_str(), failing.excludes, failing.alone));
    assert_eq!(counts.collect::<Vec<_>>(), [("Arch == \"X86_64\"", 1, 1), ("Memory >= 65536", 3, 3)]);
    // Of those that lack one thing, the one that has half of the memory is nearest; another architecture has no measure.
    let nearest = unmet.nearest.as_ref().unwrap();
    assert_eq!(nearest.worker, worker(1));
    assert_eq!(nearest.lacks[0].to_string(), "the task requires Memory >= 65536, and Memory there is 32768");
    assert_eq!(
        unmet.to_string(),
        format!(
            "none of 4 machines matches; Memory >= 65536 excludes 3, 3 of them alone; the nearest is {}: the task requires \
             Memory >= 65536, and Memory there is 32768",
            worker(1)
        )
    );
    // Another price: the machine does not want it either.
    let cheap = "[ Price = 3; Need = 30000; Requirements = Arch == \"X86_64\" && Memory >= Need && Cpus >= 2 ]";
    let id = index.open(Demand { ad: ad(cheap), ..any("cost=1") });
    let unmet = index.unmet(id).unwrap();
    let lack = &unmet.nearest.as_ref().unwrap().lacks[0];
    assert_eq!(lack.to_string(), "the machine requires TARGET.Price >= 5, and Price of the task is 3");
    // Busy ones match, and one says when it will be free.
    let id = index.open(Demand { ad: ad("[ Requirements = Cpus > 32 ]"), ..any("cost=1") });
    index.update(worker(2), Facts { slots_free: 0, free_at_ms: Some(90_000), ..Facts::default() });
    assert_eq!(index.choose(id), None);
    let unmet = index.unmet(id).unwrap();
    assert_eq!((unmet.matching, unmet.free, unmet.free_at_ms), (1, 0, Some(90_000)));
    assert_eq!(unmet.to_string(), "1 of 4 machines match, and none of them is free");
    assert_eq!(MachineIndex::new().unmet(id), None);
}

#[test]
fn real_numbers_as_whole_ones_are_in_the_same_order() {
    let numbers =
        [f64::NEG_INFINITY, -1e300, -2.5, -1e-300, -0.0, 0.0, 1e-300, 1.0, 1.0 + f64::EPSILON, 7e9, f64::INFINITY];
    for (a, b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (*a, *b))) {
        assert_eq!(in_order(a).cmp(&in_order(b)), a.total_cmp(&b), "{a} and {b}");
    }
}
