//! Each WebAssembly app of this repository, and each guest of these tests, leaves the same wherever, by whomever and however often
//! it is run.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gristmill_sandbox::{ChildCommand, EngineProfile, Execution, PoolConfig, Reach, RunOptions, Runner, RunnerConfig};
use gristmill_types::ResourceLimits;

use crate::bench::{Bench, MIB, runner};
use crate::host::helper;
use crate::probes::{looks, numbers, portable, profiles, seen};

/// How often each case is repeated. The dear ones only `REPETITIONS_OF_THE_DEAR` times among the fast tests.
const REPETITIONS: usize = 100;
const REPETITIONS_OF_THE_DEAR: usize = 5;
/// The lines that every host must see under the portable profile.
const EXPECTED: &str = include_str!("everywhere.txt");
/// The dearest case of all: windows, reduction and pictures of efast.
const WHOLE_JOB: &str = "efast-whole-job";
/// Two dates for the files of inputs, in seconds since 1970, and one for the clock.
const DATES: [u64; 2] = [86_400, 4_000_000_000];
const CLOCK_AHEAD_S: i64 = 700_000_000;

const EFAST: &[u8] = include_bytes!("../../../../apps/efast/efast.wasm");
const PRICES: &[u8] = include_bytes!("../../../../apps/efast/data/sp500_prices.csv.gz");
const PRIMES: &[u8] = include_bytes!("../../../../apps/primes/primes.wasm");
const COMPARE_PIXELS: &[u8] = include_bytes!("../../../../apps/compare-pixels/compare-pixels.wasm");
const COMPARE_NUMBERS: &[u8] = include_bytes!("../../../../apps/compare-numbers/compare-numbers.wasm");
const IMAGES: &str = include_str!("../../../../apps/compare-pixels/check/images.txt");
const NUMBERS: &str = include_str!("../../../../apps/compare-numbers/check/numbers.txt");

/// Something to run.
struct Case {
    name: &'static str,
    execution: Execution,
    /// It shows bits of NaN, which only a portable profile makes the same under all features of processors.
    shows_nan: bool,
    /// It takes a good part of a second.
    dear: bool,
}

impl Case {
    fn new(name: &'static str, execution: Execution) -> Self {
        Self { name, execution, shows_nan: false, dear: false }
    }
}

/// An app with arguments and named inputs.
fn app(bench: &Bench, module: &[u8], args: &[&str], inputs: &[(String, Vec<u8>)]) -> Execution {
    let mut execution = bench.execution(module);
    execution.args = args.iter().map(|&arg| arg.to_owned()).collect();
    execution.inputs = inputs.iter().map(|(at, bytes)| bench.input(at, bytes)).collect();
    execution.limits.fuel = 20_000_000_000;
    execution.limits.memory_bytes = 256 * MIB;
    execution.limits.output_bytes = 64 * MIB;
    execution.limits.output_files = 1000;
    // Beside a busy machine it may take long.
    execution.wall_clock = Duration::from_secs(600);
    execution
}

/// Each app and each guest.
fn cases(bench: &Bench) -> Vec<Case> {
    let prices = [("prices.csv.gz".to_owned(), PRICES.to_vec())];
    let efast = |args: &[&str]| {
        let mut execution = app(bench, EFAST, args, &prices);
        let bag =
            [("IEXEC_INPUT_FILE_NAME_1", "prices.csv.gz"), ("IEXEC_BOT_TASK_INDEX", "1"), ("IEXEC_BOT_TASK_SIZE", "3")];
        execution.env = bag.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        execution
    };
    let pictures: Vec<(String, Vec<u8>)> = IMAGES.lines().step_by(9).map(picture).collect();
    let text: String = NUMBERS.lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned() + "\n")).collect();
    let tables = [
        ("table.csv".to_owned(), text.clone().into_bytes()),
        ("poses/1.pdbqt".to_owned(), text.replace('\n', " ").into_bytes()),
    ];
    let dear = |name, execution| Case { dear: true, ..Case::new(name, execution) };
    let mut cases = vec![
        dear("efast-window", efast(&["map", "--samples", "30", "--window", "500"])),
        dear(WHOLE_JOB, efast(&["all", "--samples", "20", "--window", "500", "--tasks", "3"])),
        Case::new("primes", app(bench, PRIMES, &["1000000"], &[])),
        Case::new("compare-pixels", app(bench, COMPARE_PIXELS, &[], &pictures)),
        Case::new("compare-numbers", app(bench, COMPARE_NUMBERS, &["--columns", "--digits", "4"], &tables)),
        Case::new("looks", looks(bench)),
        Case { shows_nan: true, ..Case::new("numbers", numbers(bench).0) },
        Case::new("mixed", bench.text(include_str!("../guests/mixed.wat"))),
    ];
    // Each way in which a program ends.
    for (name, words) in [
        ("probe-exits", &["put kept before", "exit 3"][..]),
        ("probe-aborts", &["echo words", "abort"]),
        ("probe-reads-nowhere", &["null"]),
        ("probe-spins", &["put begun x", "spin"]),
        ("probe-floods", &["blocks big 1000000"]),
        ("probe-makes-files", &["many f 1000"]),
        ("probe-takes-memory", &["grow 5000000", "grow 5000000"]),
        ("probe-opens", &["put f x", "opens f 5000", "ghost g", "empty .", "touch-stdin"]),
    ] {
        let mut execution = bench.probe(words);
        execution.limits =
            ResourceLimits { fuel: 50_000_000, memory_bytes: 8 * MIB, output_bytes: MIB, output_files: 20 };
        cases.push(Case::new(name, execution));
    }
    cases
}

/// A picture and its file, from a line of the app's own tests: a name, the file's bytes in hexadecimal digits, and more.
fn picture(line: &str) -> (String, Vec<u8>) {
    let mut words = line.split(' ');
    let (name, digits) = (words.next().unwrap(), words.next().unwrap());
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
    (name.to_owned(), bytes.collect())
}

fn slow() -> bool {
    std::env::var_os("GRISTMILL_SLOW_TESTS").is_some()
}

/// All reaches and sets of features under which a case must look the same.
fn alike(case: &Case) -> Vec<EngineProfile> {
    let mut all = portable();
    if !case.shows_nan {
        all.extend(profiles(Reach::SameArchitecture));
    }
    all
}

#[test]
fn no_profile_makes_a_difference_and_every_host_sees_what_is_written_down() {
    let bench = Bench::new();
    let mut found = String::new();
    for case in cases(&bench) {
        let lines: Vec<String> = alike(&case)
            .into_iter()
            .map(|profile| seen(&bench, &case.execution, RunOptions::new().profile(profile)))
            .collect();
        for (line, profile) in lines.iter().zip(alike(&case)) {
            assert_eq!(line, &lines[0], "{} under {profile}", case.name);
        }
        found += &format!("{}: {}\n", case.name, lines[0]);
    }
    if std::env::var_os("GRISTMILL_REFRESH").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/everywhere.txt"), &found).unwrap();
        return;
    }
    assert_eq!(
        found, EXPECTED,
        "this host sees something else than the one on which everywhere.txt was written; if an app or what a guest can notice was \
         changed on purpose, write it anew with GRISTMILL_REFRESH=1"
    );
}

#[test]
fn a_hundred_repetitions_agree() {
    let bench = Bench::new();
    let mut ready = Bench::new();
    ready.runner = runner(&ready.path("cache"), PoolConfig { ready: 1, ..PoolConfig::default() });
    for (case, same) in cases(&bench).into_iter().zip(cases(&ready)) {
        let options = RunOptions::new();
        // The second bench compiles for itself: its first run has a cold cache.
        let first = seen(&bench, &case.execution, options);
        assert_eq!(seen(&ready, &same.execution, options), first, "{}, compiled anew", case.name);
        let count = if case.dear && !slow() { REPETITIONS_OF_THE_DEAR } else { REPETITIONS };
        for round in 0..count {
            // Most in a process that did the same before, the others in one that is fresh or was started beforehand.
            let (bench, execution, options) = match round % 10 {
                0 => (&bench, &case.execution, options),
                1 => (&ready, &same.execution, options),
                _ => (&bench, &case.execution, options.reuse([3; 32])),
            };
            assert_eq!(seen(bench, execution, options), first, "{}, repetition {round}", case.name);
        }
    }
}

/// What the helper is told of the place where it is: the cache, the date of the files, a library that moves the clock.
const CACHE: &str = "SANDBOX_HELPER_CACHE";
const DATE: &str = "SANDBOX_HELPER_DATE";
const PRELOAD: &str = "SANDBOX_HELPER_PRELOAD";
/// And that it need not do the whole job.
const SHORT: &str = "SANDBOX_HELPER_SHORT";

/// What another process sees, printed.
#[test]
#[ignore = "a part of the_host_around_makes_no_difference"]
fn helper_that_tells_what_it_sees() {
    let dir = PathBuf::from(std::env::var_os("SANDBOX_HELPER_DIR").expect("started by another test"));
    let mut bench = Bench::in_dir(&dir);
    let cache = std::env::var_os(CACHE).map_or(bench.path("cache"), PathBuf::from);
    bench.runner = runner(&cache, PoolConfig::default());
    if let Some(library) = std::env::var_os(PRELOAD) {
        // A child has no environment of its own.
        let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
        preload.push(library);
        let args = vec![preload, env!("CARGO_BIN_EXE_gristmill-sandbox-child").into()];
        let child = ChildCommand { program: "/usr/bin/env".into(), args };
        bench.runner = Runner::new(RunnerConfig { child, cache_dir: cache }).unwrap();
    }
    println!("AROUND {}", around());
    let date = std::env::var(DATE).ok().map(|date| UNIX_EPOCH + Duration::from_secs(date.parse().unwrap()));
    let short = std::env::var_os(SHORT).is_some();
    for mut case in cases(&bench).into_iter().filter(|case| !short || case.name != WHOLE_JOB) {
        if let Some(date) = date {
            case.execution.inputs.iter().for_each(|input| set_date(&input.host, date));
            // And the host was told of them in another order.
            case.execution.inputs.reverse();
        }
        println!("SEEN {}: {}", case.name, seen(&bench, &case.execution, RunOptions::new()));
    }
}

fn set_date(path: &Path, date: SystemTime) {
    let times = std::fs::FileTimes::new().set_modified(date).set_accessed(date);
    std::fs::File::open(path).unwrap().set_times(times).unwrap();
}

/// What is different around: host name, user, cores, the year, hours since the host was started.
fn around() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    let host = read("/proc/sys/kernel/hostname");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let uptime: f64 = read("/proc/uptime").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    format!(
        "host {} user {} cores {} year {} hours {} folder {}",
        host.trim(),
        field("Uid:").split('\t').next().unwrap_or(""),
        field("Cpus_allowed_list:"),
        1970 + now / 31_556_952,
        uptime as u64 / 3600,
        std::env::current_dir().unwrap().display()
    )
}

/// Where this process is.
const HERE: &str = "here";

/// Another place to run at.
struct Place {
    what: &'static str,
    folder: &'static str,
    wrapper: Vec<String>,
    change: Box<dyn Fn(&mut Command)>,
}

impl Place {
    fn new(what: &'static str, folder: &'static str, wrapper: &[&str]) -> Self {
        let wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        Self { what, folder, wrapper, change: Box::new(|_| {}) }
    }

    fn with(self, change: impl Fn(&mut Command) + 'static) -> Self {
        Self { change: Box::new(change), ..self }
    }

    /// What the helper sees there, and what is around it; none when this host cannot do that.
    fn see(&self, cache: &Path) -> Option<(String, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join(self.folder);
        std::fs::create_dir_all(&inside).unwrap();
        let plain = helper("everywhere::helper_that_tells_what_it_sees", &inside, "x");
        let mut command = match self.wrapper.as_slice() {
            [] => Command::new(plain.get_program()),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(plain.get_program());
                command
            }
        };
        command.args(plain.get_args()).env(CACHE, cache);
        for (key, value) in plain.get_envs() {
            command.env(key, value.unwrap());
        }
        if !slow() && self.what != HERE {
            command.env(SHORT, "1");
        }
        (self.change)(&mut command);
        for path in [dir.path(), &inside] {
            // Whoever it runs as may write there.
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }
        let output = command.output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // The first may follow what the test runner says on the same line.
        let lines = |word: &str| -> Vec<String> {
            said.lines().filter_map(|line| line.find(word).map(|at| line[at + word.len()..].to_owned())).collect()
        };
        let (around, lines) = (lines("AROUND "), lines("SEEN "));
        if !output.status.success() && around.is_empty() && !said.contains("panicked") {
            eprintln!("skipped: {} cannot be had here: {}", self.what, String::from_utf8_lossy(&output.stderr));
            return None;
        }
        assert!(output.status.success(), "{}: {said}", self.what);
        Some((around.into_iter().next().unwrap(), lines))
    }
}

/// The first cores that this process may use.
fn cores() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let bounds = list.split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    let numbers = bounds.flat_map(|(from, to)| from.parse::<u32>().unwrap()..=to.parse::<u32>().unwrap());
    numbers.take(2).map(|number| number.to_string()).collect()
}

/// A library that moves the clock of the program it is loaded into.
fn clock_library() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (folder.join("clock.c"), folder.join(format!("clock-{}.so", std::process::id())));
    let text = format!(
        "#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
         int clock_gettime(clockid_t id, struct timespec *out) {{\n\
         long result = syscall(SYS_clock_gettime, id, out);\n\
         if (result == 0 && id == CLOCK_REALTIME) out->tv_sec += {CLOCK_AHEAD_S};\n\
         return (int)result;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    made.ok()?.success().then_some(library)
}

/// All the other places that this host can offer.
fn places() -> Vec<Place> {
    let mut places = vec![
        Place::new(
            "another folder and another environment",
            "another/folder with a space/and depth",
            &["sh", "-c", "umask 077; exec \"$@\"", "sh"],
        )
        .with(|command| {
            command.env("TZ", "Asia/Kolkata").env("LANG", "de_DE.UTF-8").env("HOME", "/nowhere").current_dir("/");
            command.env(DATE, DATES[0].to_string());
        }),
        Place::new(
            "another host name, and a host that has run for long",
            "b",
            &["unshare", "-r", "-u", "-T", "-f", "--monotonic", "50000000", "--boottime", "90000000"],
        ),
        Place::new("files of another date", "c", &[]).with(|command| {
            command.env(DATE, DATES[1].to_string());
        }),
    ];
    places[1].wrapper.extend(["sh", "-c", "hostname elsewhere; exec \"$@\"", "sh"].map(str::to_owned));
    let cores = cores();
    places.push(Place::new("one core", "d", &["taskset", "-c", &cores[0]]));
    if cores.len() > 1 {
        places.push(Place::new("two cores", "e", &["taskset", "-c", &cores.join(",")]));
    }
    if let Some(library) = clock_library() {
        places.push(Place::new("another date", "f", &[]).with(move |command| {
            command.env("LD_PRELOAD", &library).env(PRELOAD, &library);
        }));
    }
    if nix::unistd::geteuid().is_root() {
        // It cannot have our cache: it compiles for itself.
        places.push(Place::new("another user", "g", &[]).with(|command| {
            command.uid(65534).gid(65534).env_remove(CACHE);
        }));
    }
    places
}

#[test]
fn the_host_around_makes_no_difference() {
    let cache = tempfile::tempdir().unwrap();
    let (here, mut first) = Place::new(HERE, "a", &[]).see(cache.path()).unwrap();
    assert_eq!(first, EXPECTED.lines().collect::<Vec<_>>(), "with a cold cache");
    first.retain(|line| slow() || !line.starts_with(WHOLE_JOB));
    let mut seen = 0;
    for place in places() {
        let Some((around, lines)) = place.see(cache.path()) else { continue };
        assert_eq!(lines, first, "{}", place.what);
        eprintln!("{}: {around}", place.what);
        seen += 1;
        // The place is another one indeed; this process may have one core anyway.
        assert!(around != here || ["files of another date", "one core", "two cores"].contains(&place.what), "{around}");
    }
    assert!(seen >= 2, "this host offers no other place");
}
