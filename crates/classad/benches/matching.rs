//! Symmetric matches a second, of machines' and jobs' ads with 20 to 40 attributes, beside HTCondor's library through Python.
//!
//! `cargo bench -p gristmill-classad --bench matching`, with `GRISTMILL_HTCONDOR_PYTHON` as the tests have it; see the README beside
//! this. Started as a test it matches all pairs once.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fmt;
use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_classad::{ClassAd, Prepared, Symbols, matches, rank};

const MACHINES: usize = 200;
const JOBS: usize = 50;
/// How long each kind of match is measured, each time.
const MEASURED: Duration = Duration::from_secs(2);
/// How often: ours and the library's in turn, so that both meet whatever else the machine does.
const TIMES: usize = 5;
/// Matches between two looks at the clock.
const ROUND: usize = MACHINES * JOBS;
/// How many times as fast as the library we are at least.
const TIMES_LIBRARY_MIN: f64 = 50.0;
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/matches.py");

fn main() {
    let machines: Vec<String> = (0..MACHINES).map(machine).collect();
    let jobs: Vec<String> = (0..JOBS).map(job).collect();
    let lines = |kind: &str, ads: &[String]| -> String { ads.iter().map(|ad| format!("{kind}\t{ad}\n")).collect() };
    let all = lines("machine", &machines) + &lines("job", &jobs);
    // `cargo bench` says so; without it this is a test that it still runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (measured, times) = if is_bench { (MEASURED, TIMES) } else { (Duration::ZERO, 1) };
    let parse = |ads: &[String]| -> Vec<ClassAd> { ads.iter().map(|ad| ClassAd::parse(ad).expect("an ad")).collect() };
    let (machines, jobs) = (parse(&machines), parse(&jobs));
    let mut symbols = Symbols::new();
    let mut prepare =
        |ads: &[ClassAd]| -> Vec<Prepared> { ads.iter().map(|ad| Prepared::new(ad.clone(), &mut symbols)).collect() };
    let ready = (prepare(&machines), prepare(&jobs));
    let python = std::env::var_os("GRISTMILL_HTCONDOR_PYTHON");
    let mut least = f64::INFINITY;
    for _ in 0..times {
        let ads = measure(measured, || pairs(&machines, &jobs, matches));
        let prepared = measure(measured, || pairs(&ready.0, &ready.1, Prepared::matches));
        assert_eq!(ads.passing, prepared.passing, "pairs that pass");
        println!("match/ads       {ads}");
        println!("match/prepared  {prepared}");
        if let Some(python) = &python {
            let library = library(python, &all, measured);
            assert_eq!(library.passing, prepared.passing, "pairs that pass");
            let ratio = prepared.rate / library.rate;
            println!("match/library   {library}; prepared ads are {ratio:.0} times as fast");
            least = least.min(ratio);
        }
    }
    if python.is_none() {
        println!("match/library   not measured: set GRISTMILL_HTCONDOR_PYTHON to what `cargo xtask htcondor` prints");
    }
    println!(
        "rank/ads        {}",
        measure(measured, || pairs(&machines, &jobs, |machine, job| rank(job, machine) > 0.0))
    );
    println!(
        "rank/prepared   {}",
        measure(measured, || pairs(&ready.0, &ready.1, |machine, job| job.rank(machine) > 0.0))
    );
    assert!(
        !is_bench || least >= TIMES_LIBRARY_MIN,
        "{least:.0} times as fast as the library; {TIMES_LIBRARY_MIN} at least"
    );
}

/// What was measured: the mean, and the best round. On a machine that does other things too, the best is nearer to what it takes.
struct Measure {
    /// A second.
    rate: f64,
    best: f64,
    passing: usize,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, best, passing } = self;
        write!(f, "{rate:>10.0}/s ({best:.0}/s in the best round), {passing} of {ROUND} pass")
    }
}

/// How many pairs pass a test.
fn pairs<T>(machines: &[T], jobs: &[T], test: impl Fn(&T, &T) -> bool) -> usize {
    let passing = |job| machines.iter().filter(|machine| test(black_box(machine), black_box(job))).count();
    jobs.iter().map(passing).sum()
}

fn measure(measured: Duration, round: impl Fn() -> usize) -> Measure {
    let start = Instant::now();
    let (mut rounds, mut passing, mut best) = (0, 0, Duration::MAX);
    while rounds == 0 || start.elapsed() < measured {
        let begin = Instant::now();
        passing = round();
        best = best.min(begin.elapsed());
        rounds += 1;
    }
    let of = |rounds: u32, took: Duration| f64::from(rounds) * ROUND as f64 / took.as_secs_f64();
    Measure { rate: of(rounds, start.elapsed()), best: of(1, best), passing }
}

/// The same by HTCondor's library, all in Python.
fn library(python: &std::ffi::OsStr, ads: &str, measured: Duration) -> Measure {
    let mut process = Command::new(python)
        .arg(LIBRARY)
        .arg(measured.as_secs_f64().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    process.stdin.take().expect("its input is a pipe").write_all(ads.as_bytes()).expect("it reads the ads");
    let output = process.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{LIBRARY} failed: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("its output is text");
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [rate, best, passing] => Measure {
            rate: rate.parse().expect("a rate"),
            best: best.parse().expect("a rate"),
            passing: passing.parse().expect("a count"),
        },
        _ => panic!("{LIBRARY} printed {text:?}"),
    }
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
