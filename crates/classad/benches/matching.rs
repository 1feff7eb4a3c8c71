//! Symmetric matches a second, of machines' and jobs' ads with 20 to 40 attributes.
//!
//! `cargo bench -p gristmill-classad --bench matching`. With `--ads` it prints the ads, for `oracle/matches.py`, which matches the
//! same ones with HTCondor's library. Started as a test it matches a few once.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gristmill_classad::{ClassAd, Prepared, Symbols, matches, rank};

const MACHINES: usize = 200;
const JOBS: usize = 50;
/// How long each kind of match is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Matches between two looks at the clock.
const ROUND: usize = MACHINES * JOBS;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let machines: Vec<String> = (0..MACHINES).map(machine).collect();
    let jobs: Vec<String> = (0..JOBS).map(job).collect();
    if args.iter().any(|arg| arg == "--ads") {
        machines.iter().for_each(|ad| println!("machine\t{ad}"));
        jobs.iter().for_each(|ad| println!("job\t{ad}"));
        return;
    }
    // `cargo bench` says so; without it this is a test that it still runs.
    let measured = if args.iter().any(|arg| arg == "--bench") { MEASURED } else { Duration::ZERO };
    let parse = |ads: &[String]| -> Vec<ClassAd> { ads.iter().map(|ad| ClassAd::parse(ad).expect("an ad")).collect() };
    let (machines, jobs) = (parse(&machines), parse(&jobs));
    measure("match/ads", measured, || pairs(&machines, &jobs, matches));
    let mut symbols = Symbols::new();
    let mut prepare =
        |ads: Vec<ClassAd>| -> Vec<Prepared> { ads.into_iter().map(|ad| Prepared::new(ad, &mut symbols)).collect() };
    let ready = (prepare(machines.clone()), prepare(jobs.clone()));
    measure("match/prepared", measured, || pairs(&ready.0, &ready.1, Prepared::matches));
    measure("rank/ads", measured, || pairs(&machines, &jobs, |machine, job| rank(job, machine) > 0.0));
    measure("rank/prepared", measured, || pairs(&ready.0, &ready.1, |machine, job| job.rank(machine) > 0.0));
}

/// How many pairs pass a test.
fn pairs<T>(machines: &[T], jobs: &[T], test: impl Fn(&T, &T) -> bool) -> usize {
    let passing = |job| machines.iter().filter(|machine| test(black_box(machine), black_box(job))).count();
    jobs.iter().map(passing).sum()
}

/// Prints the mean and the best round: on a machine that does other things too, the best is nearer to what it takes.
fn measure(name: &str, measured: Duration, round: impl Fn() -> usize) {
    let start = Instant::now();
    let (mut rounds, mut passing, mut best) = (0, 0, Duration::MAX);
    while rounds == 0 || start.elapsed() < measured {
        let begin = Instant::now();
        passing = round();
        best = best.min(begin.elapsed());
        rounds += 1;
    }
    let mean = start.elapsed().as_secs_f64() / f64::from(rounds);
    let each = |seconds: f64| {
        let nanoseconds = seconds * 1e9 / ROUND as f64;
        format!("{:.2} M/s, {nanoseconds:.0} ns each", 1e3 / nanoseconds)
    };
    println!("{name}: {} (best round: {}), {passing} of {ROUND} pass", each(mean), each(best.as_secs_f64()));
}

/// A machine, as a pool with many kinds of them has it: 32 attributes.
fn machine(number: usize) -> String {
    let pick = |choices: &[&str], step: usize| choices[number / step % choices.len()].to_owned();
    let (cpus, gpus) = ([4, 8, 16, 32, 64][number % 5], number % 4);
    let arch = pick(&["X86_64", "aarch64", "X86_64"], 1);
    let system = pick(&["LINUX", "LINUX", "WINDOWS", "LINUX"], 3);
    let region = pick(&["eu-west", "us-east", "ap-south"], 7);
    format!(
        "[ MyType = \"Machine\"; Name = \"slot1@host{number}.example.org\"; Machine = \"host{number}.example.org\"; \
         Arch = \"{arch}\"; OpSys = \"{system}\"; OpSysMajorVer = {}; Cpus = {cpus}; TotalCpus = {cpus}; Memory = {}; Disk = {}; \
         GPUs = {gpus}; GPUMemory = {}; LoadAvg = 0.{}; KeyboardIdle = {}; State = \"Unclaimed\"; Activity = \"Idle\"; \
         Mips = {}; KFlops = {}; HasDocker = {}; HasFileTransfer = true; FileSystemDomain = \"example.org\"; \
         UidDomain = \"example.org\"; Region = \"{region}\"; PricePerHour = 0.{}; Score = {}; TeeKind = \"{}\"; \
         MaxJobRetirementTime = 3600; IsBusy = LoadAvg > 0.7; Start = !IsBusy && KeyboardIdle > 300; RankFactor = 0.5; \
         Rank = TARGET.Priority * RankFactor + (TARGET.Owner == \"alice\" ? 10 : 0); \
         Requirements = Start && TARGET.RequestCpus <= Cpus && TARGET.RequestMemory <= Memory && TARGET.RequestDisk <= Disk && \
         TARGET.PriceMax >= MY.PricePerHour && TARGET.Owner != \"mallory\" ]",
        7 + number % 3,
        cpus * 2048,
        1_000_000 + number * 10_000,
        gpus * 8,
        number * 7 % 10,
        number * 97 % 5000,
        5_000 + number * 13,
        900_000 + number * 131,
        number.is_multiple_of(2),
        10 + number % 80,
        number % 60,
        pick(&["none", "sgx", "tdx", "none"], 5),
    )
}

/// A job: 26 attributes.
fn job(number: usize) -> String {
    let owner = ["alice", "bob", "carol", "mallory"][number % 4];
    format!(
        "[ MyType = \"Job\"; ClusterId = {number}; ProcId = 0; Owner = \"{owner}\"; User = \"{owner}@example.org\"; \
         Cmd = \"/bin/work\"; Arguments = \"--n {number}\"; JobUniverse = 5; RequestCpus = {}; RequestMemory = ImageSize / 1024; \
         RequestDisk = {}; RequestGPUs = {}; ImageSize = {}; Priority = {}; PriceMax = 0.{}; NumJobStarts = 0; QDate = 1800000000; \
         WantDocker = {}; FileSystemDomain = \"example.org\"; Iwd = \"/home/{owner}\"; In = \"/dev/null\"; Out = \"out.{number}\"; \
         MinScore = {}; Favorite = \"host{number}.example.org\"; \
         Rank = Mips / 1000 + Memory / 4096 + (TARGET.Machine == Favorite ? 100 : 0) - PricePerHour * 10; \
         Requirements = TARGET.Arch == \"X86_64\" && TARGET.OpSys == \"LINUX\" && TARGET.Disk >= RequestDisk && \
         TARGET.Memory >= RequestMemory && TARGET.Cpus >= RequestCpus && (TARGET.HasFileTransfer || \
         TARGET.FileSystemDomain == MY.FileSystemDomain) && (!WantDocker || TARGET.HasDocker) && Score >= MinScore ]",
        1 + number % 8,
        500_000 + number * 20_000,
        number % 2,
        (1 + number % 16) * 1024 * 1024,
        number % 20,
        60 + number % 40,
        number.is_multiple_of(3),
        number % 40,
    )
}
