//! A worker that nobody can reach: its network has no way in, and the way out is cut again and again.
//!
//! The worker lives in a network namespace of its own, with nothing but a loopback device. What it dials there is carried over unix
//! sockets, which belong to no network, to the host; nothing is carried the other way. The host's end cuts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{GRISTMILL, Up, alone, next, probe, seed, text, wait_until};

/// Tells this program to be the inner side, and for what.
const INSIDE: &str = "GRISTMILL_TEST_INSIDE";
const CUTS: u32 = 50;
/// Jobs that the cuts may be spread over.
const JOBS_MAX: u32 = 60;
const TASKS: u32 = 12;
const WORKERS: u32 = 3;

/// The host's end of the way out.
#[derive(Clone, Default)]
struct WayOut {
    carried: Arc<Mutex<Carried>>,
}

#[derive(Default)]
struct Carried {
    is_down: bool,
    streams: Vec<(UnixStream, TcpStream)>,
}

impl WayOut {
    /// Carries what comes in at `socket` to this port of the host.
    fn open(&self, socket: &Path, port: u16) {
        let listener = UnixListener::bind(socket).unwrap();
        let way = self.clone();
        thread::spawn(move || {
            for inner in listener.incoming().map_while(Result::ok) {
                let mut carried = way.carried.lock().unwrap();
                if carried.is_down {
                    continue;
                }
                let Ok(outer) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                carried.streams.push((inner.try_clone().unwrap(), outer.try_clone().unwrap()));
                join(inner, outer);
            }
        });
    }

    /// Cuts whatever is carried, and for `outage` nothing gets out. The cut connections.
    fn cut(&self, outage: Duration) -> usize {
        let cut = {
            let mut carried = self.carried.lock().unwrap();
            carried.is_down = true;
            let streams = std::mem::take(&mut carried.streams);
            for (inner, outer) in &streams {
                // Some are closed already.
                let _ = inner.shutdown(Shutdown::Both);
                let _ = outer.shutdown(Shutdown::Both);
            }
            streams.len()
        };
        thread::sleep(outage);
        self.carried.lock().unwrap().is_down = false;
        cut
    }
}

/// Copies both ways until either side closes.
fn join(unix: UnixStream, tcp: TcpStream) {
    let (unix_2, tcp_2) = (unix.try_clone().unwrap(), tcp.try_clone().unwrap());
    thread::spawn(move || {
        copy(&unix, &tcp);
        let _ = tcp.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        copy(&tcp_2, &unix_2);
        let _ = unix_2.shutdown(Shutdown::Write);
    });
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) if to.write_all(&buffer[..read]).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// The inner side: not a test of its own, but what the test starts in the namespace. Ports, folder and pool come by the environment.
#[test]
fn inside() {
    let Ok(what) = std::env::var(INSIDE) else { return };
    let what: Value = serde_json::from_str(&what).unwrap();
    let folder = PathBuf::from(what["folder"].as_str().unwrap());
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip of iproute2").success());
    let ports: Vec<u16> = serde_json::from_value(what["ports"].clone()).unwrap();
    for port in &ports {
        let (listener, socket) = (TcpListener::bind(("127.0.0.1", *port)).unwrap(), socket(&folder, *port));
        thread::spawn(move || {
            for outer in listener.incoming().map_while(Result::ok) {
                let Ok(inner) = UnixStream::connect(&socket) else { continue };
                join(inner, outer);
            }
        });
    }
    let mut worker = Command::new(GRISTMILL)
        .args(["worker", "--slots", "1", "--pool", what["pool"].as_str().unwrap(), "--data-dir"])
        .arg(folder.join("worker"))
        .spawn()
        .expect("gristmill starts");
    // It ends when the test lets go of this pipe.
    let _ = std::io::stdin().read(&mut [0]);
    let mut listening = listening();
    listening.retain(|port| !ports.contains(port));
    let _ = worker.kill();
    worker.wait().unwrap();
    std::fs::write(folder.join("listening"), format!("{listening:?}")).unwrap();
}

/// The TCP ports that anybody listens at in this network namespace.
fn listening() -> Vec<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        // 0A is the state LISTEN.
        let port = fields[1].rsplit(':').next().unwrap();
        (fields[3] == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
    })
    .collect()
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("{port}.socket"))
}

/// The worker in its namespace. Dropping it ends both.
struct Unreachable {
    child: Child,
    folder: PathBuf,
}

impl Unreachable {
    fn start(up: &Up, folder: &Path, way: &WayOut) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (pool, book) = (up.pool(), up.book());
        let ports: Vec<u16> = [&pool, &book.rpc, &book.store].map(|address| port(address)).to_vec();
        for port in &ports {
            way.open(&socket(folder, *port), *port);
        }
        let what = serde_json::json!({ "folder": folder, "ports": ports, "pool": pool });
        let flags: &[&str] = if is_root() { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
        let child = Command::new("unshare")
            .args(flags)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "outbound::inside", "--nocapture"])
            .env(INSIDE, what.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare of util-linux starts");
        let worker = Self { child, folder: folder.to_path_buf() };
        wait_until("the worker to connect", || {
            worker.ask("status").is_some_and(|status| status["pools"][0]["connected"] == true)
        });
        worker
    }

    /// `gristmill worker WHAT --json`; nothing when it does not succeed.
    fn ask(&self, what: &str) -> Option<Value> {
        let output = Command::new(GRISTMILL)
            .args(["worker", what, "--json", "--data-dir"])
            .arg(self.folder.join("worker"))
            .stderr(Stdio::null())
            .output()
            .expect("gristmill runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("it prints JSON"))
    }

    /// Ends it; the ports beside the ways out that somebody listened at in its network.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        std::fs::read_to_string(self.folder.join("listening")).unwrap()
    }
}

impl Drop for Unreachable {
    fn drop(&mut self) {
        // Also when the test has failed: the inner side ends its worker when the pipe closes.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// The port of `scheme://host:port/...`.
fn port(address: &str) -> u16 {
    let rest = address.split("://").nth(1).unwrap();
    rest.split('/').next().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn behind_a_wall_and_cut_off_fifty_times_nothing_is_lost_and_nothing_done_twice() {
    let _alone = alone();
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    // Nobody else is there to do the work. Three must agree at 80 %, later fewer, when they have a name.
    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let workers: Vec<(WayOut, Unreachable)> = (0..WORKERS)
        .map(|number| {
            let way = WayOut::default();
            let worker = Unreachable::start(&up, &folder.path().join(number.to_string()), &way);
            (way, worker)
        })
        .collect();
    let probe = probe().display().to_string();
    let input = folder.path().join("numbers");
    std::fs::write(&input, vec![7; 3 << 20]).unwrap();
    let input = input.display().to_string();
    let tasks = TASKS.to_string();
    let mut random = seed;
    let (mut cuts, mut connections, mut jobs) = (0, 0, 0);
    while cuts < CUTS {
        jobs += 1;
        assert!(jobs <= JOBS_MAX, "seed {seed}: {cuts} cuts in {JOBS_MAX} jobs");
        // Another word each time, so that it is another result; something to compute, and something to fetch.
        let word = format!("put /iexec_out/job {jobs}");
        let ordered = up.json(&["run", &probe, "--arg", &word, "--input", &input, "--tasks", &tasks, "--detach"]);
        let job = ordered["job"].as_str().unwrap().to_owned();
        while cuts < CUTS && !is_done(&up, &job) {
            thread::sleep(Duration::from_millis(next(&mut random) % 400));
            let (way, _) = &workers[next(&mut random) as usize % workers.len()];
            let cut = way.cut(Duration::from_millis(next(&mut random) % 200));
            // While the worker waits before it dials again there is nothing to cut.
            cuts += u32::from(cut > 0);
            connections += cut;
        }
        let waited = up.run(&["job", "wait", &job]);
        assert!(waited.status.success(), "seed {seed}, after {cuts} cuts: {}", text(&waited));
    }
    println!("{cuts} cuts of {connections} connections in {jobs} jobs");
    up.assert_invariants();
    let mut paid = 0;
    for (_, worker) in workers {
        let status = worker.ask("status").unwrap();
        let [results, contributions] =
            ["results", "contributions"].map(|name| status["counters"][name].as_u64().unwrap());
        let total = &worker.ask("earnings").unwrap()["total"];
        // What was committed was revealed in time and paid, once. Computed it may have been in vain: a pool that did not hear of a
        // worker for too long gives its task to another.
        let seen = (&total["tasks_paid"], &total["tasks_seized"]);
        assert_eq!(seen, (&contributions.into(), &0.into()), "seed {seed}: {status}");
        assert!(results >= contributions, "seed {seed}: {status}");
        paid += contributions;
        assert_eq!(worker.end(), "[]", "ports that somebody listens at beside the ways out");
    }
    // In the first job nobody has a name yet, so that it takes all three.
    assert!(paid >= u64::from((WORKERS + jobs - 1) * TASKS), "seed {seed}: {paid} contributions in {jobs} jobs");
}

fn is_done(up: &Up, job: &str) -> bool {
    up.json(&["job", "show", job]).to_string().contains("\"state\":\"completed\"")
}
