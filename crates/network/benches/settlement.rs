//! Tasks settled a second: no-op tasks of one deal at trust 1 through the whole system, durable.
//!
//! `cargo bench -p gristmill-network --bench settlement -- [TASKS] [WORKERS]` (1,000 and 4 unless told otherwise). Started as a
//! test it runs 20 tasks once. It prints the rate and where the time goes: processor time of this process (ledger, hub client,
//! pool, store, workers), of the sandbox's children, and what the ledger wrote.

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
/// A command that does nothing.
const NO_OP: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == CHILD) {
        gristmill_sandbox::child_main();
        return ExitCode::SUCCESS;
    }
    if args.first().is_some_and(|arg| arg == CONTAINER_CHILD) {
        return gristmill_container::child_main();
    }
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    // `cargo bench` says so; without it this is a test that it still runs.
    let default = if args.iter().any(|arg| arg == "--bench") { 1_000 } else { 20 };
    let tasks = numbers.first().copied().unwrap_or(default);
    let workers = numbers.get(1).copied().unwrap_or(4);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(run(tasks, workers as usize));
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

async fn run(tasks: u64, workers: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this program");
    let child = ChildCommand { program, args: vec![CHILD.into()] };
    let network =
        Network::start(NetworkConfig::new(folder.path().join("net"), workers, child)).await.expect("a network");
    let module = folder.path().join("noop.wasm");
    std::fs::write(&module, wat::parse_str(NO_OP).expect("the module is sound")).expect("the module is written");
    let place = Place::DataDir(network.data_dir().to_path_buf());
    let found = gristmill_requester::Network::find(&place).await.expect("the network is found");
    let wallet = found.wallet_file(None).expect("a wallet");
    let requester = Requester::new(found, &wallet).expect("a requester");
    let request = JobRequest { tasks: Some(tasks), trust: Trust::new(1), ..JobRequest::new(AppSource::File(module)) };
    let prepared = requester.prepare(&request).await.expect("prepared");
    let quote = requester.quote(&prepared).await.expect("quoted");
    let blocks = network.hub().ledger().head().await.expect("a head");
    let (self_before, children_before) = processor_s();
    let started = Instant::now();
    let id = requester.submit(&prepared, &quote).await.expect("ordered");
    let ordered = started.elapsed();
    let mut job = Job::open(requester.network(), id).await.expect("the job");
    let mut first = None;
    let status = job
        .wait(Duration::from_millis(20), |status| {
            if status.tasks_completed > 0 {
                first.get_or_insert_with(|| started.elapsed());
            }
        })
        .await
        .expect("the job ends");
    let elapsed = started.elapsed();
    let (self_after, children_after) = processor_s();
    let blocks = network.hub().ledger().head().await.expect("a head") - blocks;
    assert_eq!(status.tasks_completed, tasks, "every task completes");
    // Every result is in the store a moment after its task is settled.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let audit = Audit::read(network.hub()).await.expect("an audit");
    audit.check(&network.store_client().expect("a store"), true).await.expect("I1 to I8 hold");
    println!("settlement::no_op/tasks={tasks},workers={workers}: {:.1} tasks/s", tasks as f64 / elapsed.as_secs_f64());
    println!(
        "  ordered after {ordered:.2?}, first task completed after {:.2?}, last after {elapsed:.2?}",
        first.unwrap_or_default()
    );
    let per_task = |seconds: f64| seconds * 1e3 / tasks as f64;
    println!(
        "  processor time a task: {:.2} ms in this process, {:.2} ms in sandbox children",
        per_task(self_after - self_before),
        per_task(children_after - children_before)
    );
    println!(
        "  {blocks} blocks, {:.1} transactions a block (two a task: initialise in batches, contribute and finalise)",
        (tasks as f64 + tasks as f64 / 25.0) / blocks.max(1) as f64
    );
    network.shutdown().await.expect("it stops");
}
