//! A lab's first day: a private pool, machines that join by invitation, groups, rights, quotas, and a report that adds up. Nobody but the
//! lab's admin types an address, and nobody a wallet.
//!
//! The server is in a network namespace of its own, and so is each of three machines, at the end of a wire to it. In the user namespace
//! around them the test is root, whoever runs it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use gristmill_types::AddressBook;
use serde_json::Value;

use crate::harness::{GRISTMILL, Up, alone, probe, start, text, wait_until};

/// Tells this program to be the inner side, and in which folder.
const INSIDE: &str = "GRISTMILL_TEST_LAB";
/// Where the server is, for all of the lab.
const SERVER: &str = "10.77.0.1";

/// A machine's end of a wire to the server: the process that keeps its network. Dropping it ends that.
struct Wire(Child);

impl Wire {
    fn lay(number: u8) -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "900"]).spawn().expect("unshare of util-linux");
        let wire = Self(keeper);
        let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        wait_until("a network of its own", || network(&wire.pid()).is_some_and(|its| Some(its) != network("self")));
        let (here, there, pid) = (format!("wire{number}"), format!("end{number}"), wire.pid());
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there]);
        ip(&["link", "set", &there, "netns", &pid]);
        ip(&["addr", "add", &format!("10.77.{number}.1/24"), "dev", &here]);
        ip(&["link", "set", &here, "up"]);
        let inside = |args: &[&str]| {
            let done = wire.command("ip").args(args).status().unwrap();
            assert!(done.success(), "ip {args:?}");
        };
        inside(&["link", "set", "lo", "up"]);
        inside(&["addr", "add", &format!("10.77.{number}.2/24"), "dev", &there]);
        inside(&["link", "set", &there, "up"]);
        inside(&["route", "add", SERVER, "via", &format!("10.77.{number}.1")]);
        wire
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// A program at the far end.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", program]);
        command
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("ip of iproute2");
    assert!(done.success(), "ip {args:?}");
}

/// The lab's server.
struct Lab {
    up: Up,
    folder: PathBuf,
}

/// Somebody's machine: it has joined and works. Dropping it kills it.
struct Pc<'a> {
    wire: &'a Wire,
    worker: Child,
    folder: PathBuf,
    /// What it said when it joined.
    said: Value,
}

impl Lab {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let up = Up::start(&folder.join("network"), &[&["--private", "--workers", "1"], more].concat());
        Self { up, folder: folder.to_path_buf() }
    }

    fn pool(&self, args: &[&str]) -> Value {
        self.up.json(&[&["pool"], args].concat())
    }

    /// An invitation's line, in a file as the admin would mail it.
    fn invite(&self, name: &str, args: &[&str]) -> PathBuf {
        let invited = self.pool(&[&["invite"], args].concat());
        let line = invited["line"].as_str().unwrap();
        assert_eq!(invited["command"], format!("gristmill join '{line}' --worker"));
        let file = self.folder.join(format!("{name}.invitation"));
        std::fs::write(&file, format!("{line}\n")).unwrap();
        file
    }

    /// `gristmill join -` on a machine that knows nothing but the invitation.
    fn command(&self, mut command: Command, machine: &str, invitation: &Path, more: &[&str]) -> Command {
        command.args(["join", "-", "--json", "--data-dir"]).arg(self.folder.join(machine)).args(more);
        command.stdin(File::open(invitation).unwrap()).env("USER", machine).env("HOME", self.folder.join(machine));
        command
    }

    fn join<'a>(&self, wire: &'a Wire, machine: &str, invitation: &Path) -> Pc<'a> {
        let (worker, said) = start(self.command(wire.command(GRISTMILL), machine, invitation, &["--worker"]));
        Pc { wire, worker, folder: self.folder.join(machine), said }
    }

    fn refused(&self, machine: &str, invitation: &Path, expected: &str) {
        let output = self.command(Command::new(GRISTMILL), machine, invitation, &["--worker"]).output().unwrap();
        assert!(!output.status.success() && text(&output).contains(expected), "{expected}: {}", text(&output));
        assert!(text(&output).contains("gristmill pool invite"), "it says what to do: {}", text(&output));
        assert!(!self.folder.join(machine).join("address.json").exists());
    }

    fn connected(&self) -> u64 {
        self.pool(&["status"])["workers"]["connected"].as_u64().unwrap()
    }

    /// Leases that the workers of a user have ended.
    fn leases_of(&self, user: &str) -> u64 {
        let members = self.pool(&["members"]);
        let report = self.pool(&["report", "--by", "worker"]);
        let owned = members["owned"].as_array().unwrap().iter().filter(|owned| owned["owner"] == user);
        let names: Vec<&Value> = owned.map(|owned| &owned["name"]).collect();
        let rows = report["rows"].as_array().unwrap().iter().filter(|row| names.contains(&&row["name"]));
        rows.map(|row| row["leases"].as_u64().unwrap()).sum()
    }

    /// What the worker of a user is called.
    fn worker_of(&self, user: &str) -> String {
        let members = self.pool(&["members"]);
        let is_his = |owned: &&Value| owned["owner"] == user && owned["kind"] == "worker";
        members["owned"].as_array().unwrap().iter().find(is_his).unwrap()["name"].as_str().unwrap().to_owned()
    }
}

impl Pc<'_> {
    /// `gristmill ARGS`, with nothing said but the folder.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.wire.command(GRISTMILL);
        command.args(args).arg("--data-dir").arg(&self.folder).env("HOME", &self.folder);
        command.output().unwrap()
    }

    fn work(&self, out: &str, more: &[&str]) -> Output {
        let (probe, out) = (probe().display().to_string(), self.folder.join(out).display().to_string());
        self.run(&[&["run", &probe, "--trust", "1", "--arg", "put /iexec_out/word x", "--out", &out], more].concat())
    }

    fn has_work_done(&self, out: &str, tasks: &str) {
        let output = self.work(out, &["--tasks", tasks]);
        assert!(output.status.success(), "{}", text(&output));
        let said = text(&output);
        assert!(!said.contains("GRIST") && !said.contains("paid"), "nobody hears of money: {said}");
    }

    fn is_refused(&self, out: &str, more: &[&str], expected: &str) {
        let output = self.work(out, more);
        assert!(!output.status.success(), "{}", text(&output));
        assert!(text(&output).contains(expected), "{expected}: {}", text(&output));
    }
}

impl Drop for Pc<'_> {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// Who was not invited gets nowhere, and reads why and what to do.
fn check_strangers(lab: &Lab, good: &Path) {
    let folder = lab.folder.join("stranger");
    let worker =
        Command::new(GRISTMILL).args(["worker", "--pool", &lab.up.pool(), "--data-dir"]).arg(&folder).output().unwrap();
    assert!(!worker.status.success() && text(&worker).contains("only workers that were invited"), "{}", text(&worker));
    assert!(text(&worker).contains("gristmill join LINE --worker"), "{}", text(&worker));
    let mut book = lab.up.book();
    book.wallet = Some("wallet.json".to_owned());
    let run = |book: &AddressBook| {
        std::fs::write(folder.join("address.json"), serde_json::to_vec(book).unwrap()).unwrap();
        let (probe, out) = (probe().display().to_string(), folder.join("out").display().to_string());
        let args = ["run", &probe, "--trust", "1", "--category", "DEV", "--out", &out, "--data-dir"];
        Command::new(GRISTMILL).args(args).arg(&folder).output().unwrap()
    };
    let job = run(&book);
    assert_eq!(job.status.code(), Some(1), "nothing is ordered: {}", text(&job));
    assert!(text(&job).contains("members only") && text(&job).contains("gristmill join"), "{}", text(&job));
    // Who does not ask the pool first is taken by the hub, and given back by the pool.
    book.pools.clear();
    let job = run(&book);
    assert_eq!(job.status.code(), Some(3), "{}", text(&job));
    assert!(text(&job).contains("0 of 1 task"), "{}", text(&job));
    let report = lab.pool(&["report", "--by", "group"]);
    let of_strangers = report["rows"].as_array().unwrap().iter().find(|row| row["name"].is_null()).unwrap();
    assert_eq!((&of_strangers["failed"], &of_strangers["leases"]), (&1.into(), &0.into()), "{report:#}");
    let expired = lab.invite("expired", &["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(1_200));
    lab.refused("late", &expired, "has expired");
    lab.refused("late", good, "is used up");
    let line = std::fs::read_to_string(good).unwrap();
    let foreign = lab.folder.join("foreign.invitation");
    let last = if line.trim().ends_with('0') { "1" } else { "0" };
    std::fs::write(&foreign, line.trim()[..line.trim().len() - 1].to_owned() + last).unwrap();
    lab.refused("late", &foreign, "no such invitation");
    std::fs::write(&foreign, &line.trim()[..line.trim().len() - 9]).unwrap();
    lab.refused("late", &foreign, "not 64 hexadecimal digits");
}

/// Machines that are for a group work for nobody else.
fn check_rights(lab: &Lab, alice: &Pc<'_>, carol: &Pc<'_>) {
    for user in ["alice", "bob"] {
        let done = lab.pool(&["chmod", "750", "worker", &lab.worker_of(user)]);
        assert!(done["text"].as_str().unwrap().contains("group chem, mode 750"), "{done}");
    }
    let before = ["alice", "bob"].map(|user| lab.leases_of(user));
    carol.has_work_done("alone", "4");
    assert_eq!(["alice", "bob"].map(|user| lab.leases_of(user)), before, "they are of chem, and she is of physics");
    alice.has_work_done("together", "2");
    // Nobody is left who serves her: the pool says so, and what would help.
    for worker in ["local-00".to_owned(), lab.worker_of("carol")] {
        lab.pool(&["chmod", "000", "worker", &worker]);
    }
    let probe = probe().display().to_string();
    let ordered = carol.run(&["run", &probe, "--trust", "1", "--arg", "put /iexec_out/word y", "--detach", "--json"]);
    assert!(ordered.status.success(), "{}", text(&ordered));
    let ordered: Value = serde_json::from_slice(&ordered.stdout).unwrap();
    let job = ordered["job"].as_str().unwrap();
    wait_until("the pool to say why it waits", || {
        let queue = lab.pool(&["queue"]);
        let row = &queue["tasks"][0];
        row["cause"]["code"] == "no-rights"
            && row["user"] == "carol"
            && row["cause"]["fix"].to_string().contains("chmod")
    });
    lab.pool(&["chmod", "755", "worker", &lab.worker_of("carol")]);
    let waited = carol.run(&["job", "wait", job]);
    assert!(waited.status.success(), "{}", text(&waited));
    // An app of alice's for her group.
    let apps = lab.pool(&["report", "--by", "app"]);
    let mine = alice.run(&["run", &probe, "--trust", "1", "--dry-run", "--json"]);
    let mine: Value = serde_json::from_slice(&mine.stdout).unwrap();
    let app = mine["app_address"].as_str().unwrap();
    let same = |row: &Value| row["of"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(app));
    assert!(apps["rows"].as_array().unwrap().iter().any(same), "{apps:#}");
    let done = lab.pool(&["chmod", "750", "app", app]);
    assert!(done["text"].as_str().unwrap().contains("owner alice, group chem, mode 750"), "{done}");
    let out = carol.folder.join("app").display().to_string();
    let refused = carol.run(&["run", app, "--trust", "1", "--arg", "put /iexec_out/word x", "--out", &out]);
    assert!(text(&refused).contains("rights: carol may not use the app"), "{}", text(&refused));
    assert_eq!(refused.status.code(), Some(1), "nothing is ordered");
}

/// The rows are the groups, by name, and each column adds up.
fn check_report(lab: &Lab) {
    let mut totals = Vec::new();
    for (by, names) in [("group", ["chem", "physics"].as_slice()), ("user", &["alice", "bob", "carol"])] {
        let report = lab.pool(&["report", "--by", by]);
        let rows = report["rows"].as_array().unwrap();
        for name in names {
            let row = rows.iter().find(|row| row["name"] == *name).unwrap_or_else(|| panic!("{name}: {report:#}"));
            assert!(row["completed"].as_u64() > Some(0) && row["lease_ms"].as_u64() > Some(0), "{row:#}");
        }
        for column in ["tasks", "completed", "failed", "leases", "failures", "lease_ms", "results", "bytes"] {
            let sum: u64 = rows.iter().map(|row| row[column].as_u64().unwrap_or(0)).sum();
            assert_eq!(Some(sum), report["total"][column].as_u64(), "{by} {column}: {report:#}");
        }
        assert_eq!((&report["total"]["cost"], &report["total"]["seized"]), (&"0".into(), &"0".into()));
        totals.push(report["total"].clone());
    }
    assert_eq!(totals[0], totals[1]);
    let csv = text(&lab.up.run(&["pool", "report", "--by", "group", "--csv"]));
    assert!(csv.starts_with("group,tasks,") && csv.contains("\nchem,") && csv.contains("\nphysics,"), "{csv}");
}

#[test]
fn a_labs_first_day() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let is_root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    let flags: &[&str] = if is_root { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let day = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "lab::inside", "--nocapture"])
        .env(INSIDE, folder.path())
        .stdin(Stdio::null())
        .status()
        .expect("unshare of util-linux");
    assert!(day.success(), "what is wrong stands above");
}

/// The inner side: not a test of its own, but what the test starts in the server's network.
#[test]
fn inside() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else { return };
    ip(&["link", "set", "lo", "up"]);
    ip(&["addr", "add", &format!("{SERVER}/32"), "dev", "lo"]);
    let wires = [1, 2, 3].map(Wire::lay);
    // As it is started without a thought for others, invitations are of no use; the pool says what to do.
    let mut hidden = Lab::start(&folder, &[]);
    let refused = hidden.up.run(&["pool", "invite"]);
    assert!(!refused.status.success() && text(&refused).contains("up --private --host"), "{}", text(&refused));
    let line = hidden.up.run(&["pool", "invite", "--this-machine"]);
    assert_eq!((line.status.success(), line.stdout.iter().filter(|byte| **byte == b'\n').count()), (true, 1));
    hidden.up.kill();
    first_day(Lab::start(&folder, &["--host", SERVER]), &wires);
}

fn first_day(mut lab: Lab, wires: &[Wire; 3]) {
    let chem = lab.invite("chem", &["--group", "chem", "--uses", "2"]);
    let physics = lab.invite("physics", &["--group", "physics"]);
    let (alice, bob) = (lab.join(&wires[0], "alice", &chem), lab.join(&wires[1], "bob", &chem));
    let carol = lab.join(&wires[2], "carol", &physics);
    for (pc, user, group) in [(&alice, "alice", "chem"), (&bob, "bob", "chem"), (&carol, "carol", "physics")] {
        assert_eq!((&pc.said["user"], &pc.said["group"]), (&user.into(), &group.into()), "{}", pc.said);
    }
    wait_until("all machines", || lab.connected() == 4);
    let command = wires[0].command(GRISTMILL);
    let again = lab.command(command, "alice", &chem, &["--worker", "--no-start"]).output().unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again, alice.said, "the same machine again is told the same");

    for pc in [&alice, &bob, &carol] {
        pc.has_work_done("first", "2");
    }
    check_strangers(&lab, &physics);
    check_rights(&lab, &alice, &carol);

    lab.pool(&["quota", "chem", "--tasks", "1"]);
    bob.is_refused("many", &["--tasks", "2"], "quota: group chem may have 1 open tasks");
    bob.has_work_done("few", "1");
    check_report(&lab);

    // After a power cut everybody is still who they were, though nobody says `--private` again; who is expelled is not.
    lab.up.kill();
    lab.up = Up::start(&lab.folder.join("network"), &["--workers", "1", "--host", SERVER]);
    wait_until("all machines to come back", || lab.connected() == 4);
    check_report(&lab);
    bob.has_work_done("later", "1");
    lab.pool(&["remove", "carol"]);
    wait_until("her machine to be gone", || lab.connected() == 3);
    carol.is_refused("out", &[], "members only");
    lab.up.assert_invariants();
}
