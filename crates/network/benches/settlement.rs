//! Tasks, and items, settled a second: one deal through the whole system, real ledger, real wire, durable.
//!
//! `cargo bench --profile release -p gristmill-network --bench settlement -- [TASKS] [WORKERS] [TRUST] [ITEMS]` (1,000, 4, 1 and 0
//! unless told otherwise; ITEMS is of each task, 0 for tasks without items). Started as a test it runs 20 tasks once. An item writes
//! a file of eight bytes, which is hashed, packed, sealed, stored, opened and hashed again. It prints the rate and where the time
//! goes: processor time of this process (ledger, hub client, pool, store, workers), of the sandbox's children, and what the ledger
//! wrote; and what the machine takes to start a process that does nothing, the floor of whoever starts one for each item.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use gristmill_network::{Audit, Network, NetworkConfig};
use gristmill_requester::{AppSource, Job, JobRequest, Place, Requester};
use gristmill_sandbox::ChildCommand;
use gristmill_types::Trust;
use gristmill_worker::runners::CONTAINER_CHILD;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const CHILD: &str = "sandbox-child";
/// A command that writes a small file.
const SMALL_FILE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "flour") (data (i32.const 32) "\40\00\00\00\08\00\00\00") (data (i32.const 64) "8 bytes!")
  (func (export "_start")
    (drop (call $open (i32.const 5) (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 1)
      (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 512)))
    (drop (call $write (i32.load (i32.const 512)) (i32.const 32) (i32.const 1) (i32.const 520)))))"#;
/// How often the requester looks, as the command line does: each look asks the ledger about every task that is not over.
const POLL: Duration = Duration::from_millis(200);
/// Processes started for the floor.
const SPAWNS: u32 = 500;

/// What a run is made of.
#[derive(Clone, Copy)]
struct Plan {
    tasks: u64,
    workers: u64,
    trust: u64,
    /// Of each task.
    items: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == CHILD) {
        gristmill_sandbox::child_main();
        return ExitCode::SUCCESS;
    }
    if args.first().is_some_and(|arg| arg == CONTAINER_CHILD) {
        return gristmill_container::child_main();
    }
    // `RUST_LOG=info` shows what everybody says.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    // `cargo bench` says so; without it this is a test that it still runs.
    let default = if args.iter().any(|arg| arg == "--bench") { 1_000 } else { 20 };
    let number = |place: usize, default: u64| numbers.get(place).copied().unwrap_or(default);
    let plan = Plan { tasks: number(0, default), workers: number(1, 4), trust: number(2, 1), items: number(3, 0) };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(run(plan));
    ExitCode::SUCCESS
}

/// Processor seconds so far: of this process, of its children that have ended.
fn processor_s() -> (f64, f64) {
    let of = |who| {
        let usage = getrusage(who).expect("the system counts");
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    };
    (of(UsageWho::RUSAGE_SELF), of(UsageWho::RUSAGE_CHILDREN))
}

/// Processes a second that one after the other do nothing.
fn spawn_floor() -> f64 {
    let began = Instant::now();
    for _ in 0..SPAWNS {
        assert!(std::process::Command::new("true").status().expect("`true` is there").success());
    }
    f64::from(SPAWNS) / began.elapsed().as_secs_f64()
}

async fn run(plan: Plan) {
    let Plan { tasks, workers, trust, items } = plan;
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this program");
    let child = ChildCommand { program, args: vec![CHILD.into()] };
    let network = Network::start(NetworkConfig::new(folder.path().join("net"), workers as usize, child))
        .await
        .expect("a network");
    let module = folder.path().join("small-file.wasm");
    std::fs::write(&module, wat::parse_str(SMALL_FILE).expect("the module is sound")).expect("the module is written");
    let place = Place::DataDir(network.data_dir().to_path_buf());
    let found = gristmill_requester::Network::find(&place).await.expect("the network is found");
    let wallet = found.wallet_file(None).expect("a wallet");
    let requester = Requester::new(found, &wallet).expect("a requester");
    let lines = folder.path().join("items.txt");
    std::fs::write(&lines, (0..tasks * items).map(|item| format!("{item}\n")).collect::<String>()).expect("the items");
    let request = JobRequest {
        tasks: Some(tasks),
        items: (items > 0).then_some(lines),
        trust: Trust::new(trust),
        ..JobRequest::new(AppSource::File(module))
    };
    let prepared = requester.prepare(&request).await.expect("prepared");
    let quote = requester.quote(&prepared).await.expect("quoted");
    let blocks = network.hub().ledger().head().await.expect("a head");
    let (self_before, children_before) = processor_s();
    let started = Instant::now();
    let id = requester.submit(&prepared, &quote).await.expect("ordered");
    let ordered = started.elapsed();
    let mut job = Job::open(requester.network(), id).await.expect("the job");
    let mut seen = Vec::new();
    let status =
        job.wait(POLL, |status| seen.push((status.tasks_completed, started.elapsed()))).await.expect("the job ends");
    let after =
        |tasks: u64| seen.iter().find(|(completed, _)| *completed >= tasks).map_or(Duration::ZERO, |seen| seen.1);
    let elapsed = started.elapsed();
    let (self_after, children_after) = processor_s();
    let blocks = network.hub().ledger().head().await.expect("a head") - blocks;
    assert_eq!(status.tasks_completed, tasks, "every task completes");
    // Every result is in the store a moment after its task is settled.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let audit = Audit::read(network.hub()).await.expect("an audit");
    audit.check(&network.store_client().expect("a store"), true).await.expect("I1 to I8 hold");
    let seconds = elapsed.as_secs_f64();
    println!(
        "settlement/tasks={tasks},workers={workers},trust={trust},items={items}: {:.1} tasks/s, {:.0} items/s",
        tasks as f64 / seconds,
        (tasks * items) as f64 / seconds
    );
    println!("  bare processes on one core: {:.0} a second", spawn_floor());
    println!(
        "  ordered after {ordered:.2?}, first task completed after {:.2?}, half after {:.2?}, nine tenths after {:.2?}, last after \
         {elapsed:.2?}",
        after(1),
        after(tasks.div_ceil(2)),
        after((tasks * 9).div_ceil(10))
    );
    let per_task = |seconds: f64| seconds * 1e3 / tasks as f64;
    println!(
        "  processor time a task: {:.2} ms in this process, {:.2} ms in sandbox children",
        per_task(self_after - self_before),
        per_task(children_after - children_before)
    );
    println!("  {blocks} blocks");
    network.shutdown().await.expect("it stops");
}
