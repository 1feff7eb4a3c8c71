//! A whole decision among 1,000, 10,000 and 100,000 machines: candidates brought up, ranked, the best one's slot taken.
//!
//! `cargo bench -p gristmill-scheduler --bench decision`; README.md beside this has figures and says what they are of. Started as a
//! test it decides a few times among few machines.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_classad::ClassAd;
use gristmill_scheduler::WorkerId;
use gristmill_scheduler::index::{Demand, DemandId, MachineIndex};
use gristmill_scheduler::rank::{Availability, Facts, Values, Work, net_flows};
use gristmill_types::{Amount, ContentId};

const SEED: u64 = 20_261_127;
/// Of a hundred machines, so many work at something while it is measured.
const BUSY_PERCENT: usize = 50;
/// Decisions before it is measured, in which the pool fills.
const WARM_ROUNDS: usize = 2;

fn main() {
    // `cargo bench` says so; without it this is a test that it still runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let sizes: &[usize] = if is_bench { &[1_000, 10_000, 100_000] } else { &[200] };
    let decisions = if is_bench { 200_000 } else { 200 };
    println!(
        "machines kinds groups | decision+end |    p50    p99 |    first  unknown |    exact | regret    p95    max best"
    );
    for kinds in [1, 8, 32] {
        for size in sizes {
            print_row(*size, kinds, &measure(*size, kinds, decisions));
        }
    }
}

/// What was measured.
struct Row {
    groups: usize,
    decisions: Vec<Duration>,
    pair: Duration,
    first: Duration,
    unknown: Duration,
    exact: Duration,
    regrets: Vec<f64>,
}

fn print_row(size: usize, kinds: usize, row: &Row) {
    let mut sorted = row.decisions.clone();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let mut regrets = row.regrets.clone();
    regrets.sort_by(f64::total_cmp);
    let regret = |share: f64| regrets[((regrets.len() - 1) as f64 * share) as usize];
    let mean_regret = regrets.iter().sum::<f64>() / regrets.len() as f64;
    let best = regrets.iter().filter(|regret| **regret <= 0.0).count() * 100 / regrets.len();
    let pair = row.pair.as_secs_f64() * 1e6;
    let [first, unknown, exact] = [row.first, row.unknown, row.exact].map(|duration| duration.as_secs_f64() * 1e3);
    println!(
        "{size:>8} {kinds:>5} {:>6} | {pair:>10.2}us | {:>4.2}us {:>4.2}us | {first:>6.2}ms {unknown:>6.1}ms | {exact:>6.2}ms | {mean_regret:.4} {:.4} {:.4} {best:>3}%",
        row.groups,
        at(0.5),
        at(0.99),
        regret(0.95),
        regret(1.0),
    );
}

fn measure(size: usize, kinds: usize, decisions: usize) -> Row {
    let mut random = Random(SEED);
    let speeds = speeds();
    let mut index = MachineIndex::new();
    for number in 0..size {
        let (ad, facts) = machine(&speeds, &mut random);
        index.insert(worker(number), Arc::new(ad), facts);
    }
    // The first kind of all mentions attributes that nobody mentioned before; the first decision of later ones is what a deal's is.
    let begin = computed();
    let mut ids = vec![index.open(demand(0))];
    index.choose(ids[0]);
    let unknown = computed() - begin;
    ids.extend((1..kinds.max(8)).map(|number| index.open(demand(number))));
    let begin = computed();
    for id in &ids[1..] {
        index.choose(*id);
    }
    let first = (computed() - begin) / (ids.len() - 1) as u32;
    ids.truncate(kinds);
    let mut running = VecDeque::new();
    let busy = size * BUSY_PERCENT / 100;
    for number in 0..size * WARM_ROUNDS {
        decide(&mut index, ids[number % kinds], &mut running);
        if running.len() > busy {
            end(&mut index, &mut running, number);
        }
    }
    let mut row = Row {
        groups: index.groups(),
        decisions: Vec::with_capacity(decisions),
        pair: Duration::ZERO,
        first,
        unknown,
        exact: Duration::ZERO,
        regrets: Vec::new(),
    };
    // What a decision takes with the end of an earlier one, counted by the kernel; then decisions alone, by the clock.
    let begin = computed();
    for number in 0..decisions {
        decide(&mut index, ids[random.below(kinds as u64) as usize], &mut running);
        end(&mut index, &mut running, number);
    }
    row.pair = (computed() - begin) / decisions as u32;
    let looks = if size > 20_000 { 40 } else { 200 };
    for number in 0..decisions {
        let id = ids[random.below(kinds as u64) as usize];
        if number % (decisions / looks).max(1) == 0 {
            let (regret, exact) = regret(&mut index, id);
            row.regrets.extend(regret);
            row.exact += exact / looks as u32;
        }
        let begin = Instant::now();
        decide(&mut index, id, &mut running);
        row.decisions.push(begin.elapsed());
        end(&mut index, &mut running, number);
    }
    row
}

/// Chooses, and takes the slot.
fn decide(index: &mut MachineIndex, id: DemandId, running: &mut VecDeque<WorkerId>) {
    if let Some(choice) = index.choose(id) {
        index.take(&choice);
        running.push_back(choice.worker);
    }
}

/// What this thread has computed so far: the machine may be doing other things too. The kernel counts it.
fn computed() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// One task comes to its end: one of twenty fails. What is known of the machine changes, and its slot is free again.
fn end(index: &mut MachineIndex, running: &mut VecDeque<WorkerId>, number: usize) {
    let Some(worker) = running.pop_front() else { return };
    let Some(mut facts) = index.facts(worker).cloned() else { return };
    facts.tasks_started += 1;
    facts.tasks_completed += u64::from(!number.is_multiple_of(20));
    facts.slots_free += 1;
    index.update(worker, facts);
}

/// By how much the exact phi, among all machines that are free and match, of the chosen one is below the best one's; and what
/// the exact ranking takes, besides finding who matches.
fn regret(index: &mut MachineIndex, id: DemandId) -> (Option<f64>, Duration) {
    let Some(choice) = index.choose(id) else { return (None, Duration::ZERO) };
    let favor = index.favor(id).unwrap_or_default();
    let Some(preferences) = index.preferences(id) else { return (None, Duration::ZERO) };
    let free = index.matching(id).into_iter().filter(|(_, facts, _)| facts.slots_free > 0);
    let (workers, values): (Vec<WorkerId>, Vec<Values>) = free.map(|(worker, _, values)| (worker, values)).unzip();
    let begin = computed();
    let flows = net_flows(&values, &favor, &preferences);
    let exact = computed() - begin;
    let best = flows.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let chosen = workers.iter().position(|worker| *worker == choice.worker).map(|at| flows[at]);
    (chosen.map(|chosen| best - chosen), exact)
}

/// Quantiles of the speed of hosts, in GFLOPS, evenly spaced.
fn speeds() -> Vec<f64> {
    let table = include_str!("../tests/data/host_speeds.csv");
    table.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok()).collect()
}

/// A volunteer's or a laboratory's machine: 25 attributes as `gristmill machine` writes them.
fn machine(speeds: &[f64], random: &mut Random) -> (ClassAd, Facts) {
    let place = random.unit() * (speeds.len() - 1) as f64;
    let (low, part) = (place as usize, place.fract());
    let gflops = speeds[low] + part * (speeds[(low + 1).min(speeds.len() - 1)] - speeds[low]);
    let cpus = [2, 4, 4, 8, 8, 16, 32][random.below(7) as usize];
    let memory = cpus * [1_024, 2_048, 4_096][random.below(3) as usize];
    let gpus = u64::from(random.below(5) == 0);
    let watts = 15.0 + 6.0 * gflops.min(40.0) * (0.5 + random.unit());
    let text = format!(
        "[ MyType = \"Machine\"; GristmillVersion = \"0.1.0\"; Arch = \"{}\"; Microarch = \"x86_64-v{}\"; CpuModelName = \"Model {}\"; \
         CpuFamily = 6; Features = {{ \"avx\", \"avx2\", \"sse4_2\" }}; has_avx2 = {}; DetectedCpus = {cpus}; TotalCpus = {cpus}; Cpus = {cpus}; \
         TotalMemory = {memory}; Memory = {memory}; TotalDisk = {}; OpSys = \"LINUX\"; OpSysName = \"Debian\"; OpSysMajorVer = {}; \
         GPUs = {gpus}; Watts = {watts:.1}; WattsSource = \"rapl\"; Region = \"{}\"; Speed = {gflops:.3}; Score = {}; \
         Profiles = {{ \"wasm-1\", \"oci-1\" }}; Start = {}; Requirements = {} ]",
        ["X86_64", "X86_64", "X86_64", "aarch64"][random.below(4) as usize],
        2 + random.below(3),
        random.below(400),
        random.below(2) == 0,
        10_000_000 + random.below(1 << 30),
        [11, 12, 13][random.below(3) as usize],
        ["eu-west", "us-east", "ap-south", "eu-north"][random.below(4) as usize],
        random.below(200),
        ["true", "TARGET.Hours <= 24"][usize::from(random.below(10) == 0)],
        ["Start", "Start && TARGET.Owner != \"mallory\"", "TARGET.Owner != \"mallory\" && RequestMemory <= Memory"]
            [random.below(3) as usize],
    );
    // Faster machines cost more in the mean, and nobody agrees on how much.
    let price = 2e6 * gflops * (0.3 + 1.4 * random.unit());
    let rate = [250_000, 1_250_000, 6_250_000, 12_500_000][random.below(4) as usize];
    let started = random.below(100);
    let facts = Facts {
        slots_free: 1,
        free_at_ms: None,
        operations_per_second: (gflops * 1e9) as u64,
        fetch_bytes_per_second: rate,
        upload_bytes_per_second: rate / 4,
        price_per_hour: Amount::from_ngrist(price as u128),
        expected_error: 0.2 / (1.0 + random.below(60) as f64),
        watts,
        tasks_started: started,
        tasks_completed: started - random.below(1 + started / 4),
        availability: Availability { shape: 0.393, scale_ms: 3.6e6 * (1.0 + 8.0 * random.unit()) },
        up_for_ms: random.below(1 << 27),
        cached: (0..8_u8).filter(|_| random.below(8) == 0).map(|content| ContentId([content; 32])).collect(),
    };
    // What is written is an ad.
    (ClassAd::parse(&text).unwrap_or_default(), facts)
}

/// A kind of task: eight of requirements, eight of favour.
fn demand(number: usize) -> Demand {
    let requirements = [
        "TARGET.Arch == \"X86_64\" && TARGET.Memory >= RequestMemory",
        "Arch == \"X86_64\" && Cpus >= 4 && Region == \"eu-west\"",
        "Memory >= RequestMemory && Cpus >= RequestCpus",
        "TARGET.OpSys == \"LINUX\" && member(Region, { \"eu-west\", \"eu-north\" })",
        "GPUs >= 1 && Memory >= 8192",
        "has_avx2 && Arch == \"X86_64\" && Memory > 4096",
        "Arch == \"aarch64\" || Cpus >= 8",
        "OpSysMajorVer >= 12 && Memory >= RequestMemory",
    ];
    let favors = [
        "cost=3,speed=1,trust=2,energy=1",
        "speed=1",
        "cost=1",
        "cost=2,speed=2,trust=1,reliability=1",
        "trust=1",
        "energy=2,cost=1",
        "speed=3,reliability=2",
        "cost=1,speed=1,trust=1,reliability=1,energy=1",
    ];
    let text = format!(
        "[ Owner = \"alice\"; RequestMemory = {}; RequestCpus = 2; Hours = 2; Kind = {number}; Requirements = {} ]",
        1_024 << (number / 8 % 4),
        requirements[number % 8]
    );
    let content = |number: u8| ContentId([number; 32]);
    Demand {
        ad: Arc::new(ClassAd::parse(&text).unwrap_or_default()),
        favor: favors[(number + number / 8) % 8].parse().unwrap_or_default(),
        work: Work {
            operations: 2_000_000_000_000 * (1 + number as u64),
            is_known: false,
            inputs: vec![(content((number % 8) as u8), 20_000_000), (content((number / 8 % 8) as u8 + 1), 5_000_000)],
            upload_bytes: 1_000_000,
        },
    }
}

fn worker(number: usize) -> WorkerId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&Random(number as u64).next().to_be_bytes());
    bytes[12..].copy_from_slice(&(number as u64).to_be_bytes());
    WorkerId(alloy_primitives::Address(bytes.into()))
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

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
