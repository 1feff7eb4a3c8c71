//! Measure what a full house takes: a million open tasks with two replicas each, a hundred thousand workers.

// It measures time; the core does not read it.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

use alloy_primitives::{Address, B256, U256};
use gristmill_credibility::{AddressRange, Credibility, Event, Origin, Policy, Seed, TaskSpec, Verdict};
use gristmill_types::{TaskId, Trust};

const TASKS: u64 = 1_000_000;
const WORKERS: u64 = 100_000;

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn worker(number: u64) -> Address {
    Address::left_padding_from(&(number + 1).to_be_bytes())
}

fn origin(number: u64) -> Origin {
    let account = |part: u8| Address::left_padding_from(&[[part; 8], number.to_be_bytes()].concat());
    let [.., a, b, c] = number.to_be_bytes();
    Origin { owner: account(1), stake_source: account(2), range: AddressRange::V6([1, 2, 3, a, b, c]) }
}

fn main() {
    // Nobody has a record yet, so that each task wants its two.
    let mut machine = Credibility::new(Policy::default(), Seed([3; 32])).expect("the default can be kept");
    let before = resident_mib();
    let began = Instant::now();
    for number in 0..WORKERS {
        let event = Event::WorkerJoined { worker: worker(number), origin: origin(number), score: 0 };
        machine.observe(event).expect("there is room");
    }
    let with_workers = resident_mib();
    println!("{WORKERS} workers: {:.0} MiB, {:.2} s", with_workers - before, began.elapsed().as_secs_f64());
    let began = Instant::now();
    for number in 0..TASKS {
        let task = TaskId(B256::from(U256::from(number) << 190));
        let spec = TaskSpec { task, trust: Trust::new(100), requester: Address::ZERO, by_hub: false };
        machine.observe(Event::TaskOpened(spec)).expect("there is room");
        for turn in 0..2 {
            let worker = worker((number * 2 + turn) % WORKERS);
            machine.observe(Event::Leased { task, worker }).expect("it wants more than two newcomers");
            machine.observe(Event::Answered { task, worker, hash: B256::ZERO }).expect("it was leased");
        }
    }
    let events = TASKS as f64 * 5.0;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{TASKS} open tasks: {:.0} MiB, {seconds:.1} s, {:.1} µs an event",
        resident_mib() - with_workers,
        seconds / events * 1e6
    );
    let began = Instant::now();
    let open = (0..100_000u64)
        .filter(|number| machine.verdict(TaskId(B256::from(U256::from(*number) << 190))) == Verdict::Open);
    println!("{} verdicts: {:.1} µs each", open.count(), began.elapsed().as_secs_f64() * 10.0);
}
