//! With a credibility: nobody is authorised before its verdict.

use std::net::{IpAddr, Ipv4Addr};

use gristmill_credibility::{AddressRange, Credibility, Policy as Trusting, Seed};

use super::*;

fn believing(policy: Policy, trusting: Trusting, workers: u64) -> Bench {
    let credibility = Credibility::new(trusting, Seed([3; 32])).unwrap();
    let scheduler = Scheduler::new(policy, Fence(1)).believing(credibility);
    let mut bench = Bench { scheduler, now_ms: START_MS, effects: Vec::new() };
    for index in 0..workers {
        bench.on(joined(index));
    }
    bench
}

fn plain() -> Policy {
    Policy { reserve_replicas: 0, ..Policy::default() }
}

/// Workers that have a lease of this task.
fn holders(bench: &Bench, index: u64) -> Vec<u64> {
    let of_task = bench.scheduler.live_leases().filter(|(_, of, _)| *of == task(index));
    let mut holders = of_task.map(|(_, _, worker)| u64::from(worker.0.0[19]) - 1).collect::<Vec<_>>();
    holders.sort_unstable();
    holders
}

/// All who have a lease of it hand this in.
fn all_ready(bench: &mut Bench, index: u64, hash: B256) -> Vec<u64> {
    let holders = holders(bench, index);
    holders.iter().for_each(|by| _ = bench.ready(index, *by, hash));
    holders
}

/// Those who were banned in the last call.
fn banned(bench: &Bench) -> Vec<WorkerId> {
    let banned = |effect: &Effect| match effect {
        Effect::Ban { worker, .. } => Some(*worker),
        _ => None,
    };
    bench.effects.iter().filter_map(banned).collect()
}

/// What the ledger does with these contributions, down to the end of the task.
fn settle(bench: &mut Bench, index: u64, holders: &[u64]) {
    for by in holders {
        bench.contributed(index, *by, truth(index));
    }
    let deadline = bench.now_ms + 2 * T_MS;
    bench.on(Event::ConsensusReached { task: task(index), hash: truth(index), reveal_deadline_ms: deadline });
    for by in holders {
        bench.on(Event::RevealSeen { task: task(index), worker: worker(*by), digest: digest() });
    }
    bench.on(Event::TaskCompleted { task: task(index) });
}

#[test]
fn nobody_is_authorised_before_all_that_is_needed_is_there() {
    let mut bench = believing(plain(), Trusting::private(), 4);
    bench.on(added(spec(0, 5)));
    let holders = holders(&bench, 0);
    assert_eq!(holders.len(), 3);
    for by in &holders[..2] {
        bench.ready(0, *by, truth(0));
        assert!(bench.authorised().is_empty());
    }
    bench.ready(0, holders[2], truth(0));
    assert_eq!(bench.authorised().len(), 3);
}

/// Task 0 of trust 5: of three one lies, a fourth is asked and agrees with the other two. The liar, and those three.
fn one_of_four_lies(bench: &mut Bench) -> (u64, [u64; 3]) {
    bench.on(added(spec(0, 5)));
    let first = holders(bench, 0);
    bench.ready(0, first[0], lie());
    bench.ready(0, first[1], truth(0));
    bench.ready(0, first[2], truth(0));
    let fourth = holders(bench, 0);
    assert_eq!(fourth.len(), 1, "two against one are not enough");
    bench.ready(0, fourth[0], truth(0));
    (first[0], [first[1], first[2], fourth[0]])
}

#[test]
fn who_lied_is_put_onto_the_ledger_first_and_is_outvoted() {
    let mut bench = believing(plain(), Trusting::private(), 5);
    let (liar, honest) = one_of_four_lies(&mut bench);
    assert!(bench.authorised().is_empty(), "three against one are enough, but the hub would not outvote the liar");
    let fifth = holders(&bench, 0);
    assert_eq!(fifth.len(), 1);
    bench.ready(0, fifth[0], truth(0));
    assert_eq!(bench.authorised(), [worker(liar)], "the liar comes first");
    bench.contributed(0, liar, lie());
    assert_eq!(bench.authorised().len(), 4);
    settle(&mut bench, 0, &[&honest[..], &fifth].concat());
    assert_eq!(banned(&bench), [worker(liar)]);
}

#[test]
fn where_nobody_is_left_to_outvote_a_liar_it_is_let_go() {
    let mut bench = believing(plain(), Trusting::private(), 4);
    let (liar, honest) = one_of_four_lies(&mut bench);
    assert_eq!(bench.authorised(), honest.map(worker));
    settle(&mut bench, 0, &honest);
    assert_eq!(banned(&bench), [worker(liar)]);
}

#[test]
fn a_verdict_that_is_not_sure_costs_nobody_its_stake() {
    let mut bench = believing(plain(), Trusting { public: false, ..Trusting::default() }, 5);
    let (liar, honest) = one_of_four_lies(&mut bench);
    assert_eq!(bench.authorised(), honest.map(worker));
    settle(&mut bench, 0, &honest);
    assert_eq!(banned(&bench), []);
    assert_eq!(bench.worker_cause(liar), WorkerCause::NoTasks);
}

/// What was learnt before a restart holds: whoever was caught is not let in.
#[test]
fn a_liar_is_known_again() {
    let mut bench = believing(plain(), Trusting::private(), 4);
    let (liar, honest) = one_of_four_lies(&mut bench);
    settle(&mut bench, 0, &honest);
    let memories = bench.scheduler.take_memories();
    let recalled = Credibility::recall(Trusting::private(), Seed([3; 32]), memories).unwrap();
    let scheduler = Scheduler::new(plain(), Fence(1 << 40)).believing(recalled);
    let mut bench = Bench { scheduler, now_ms: bench.now_ms, effects: Vec::new() };
    bench.on(joined(honest[0]));
    assert_eq!(banned(&bench), []);
    bench.on(joined(liar));
    assert_eq!(banned(&bench), [worker(liar)]);
    assert!(matches!(bench.worker_cause(liar), WorkerCause::Banned { .. }));
    bench.on(Event::WorkerPardoned { worker: worker(liar) });
    assert_eq!(bench.worker_cause(liar), WorkerCause::NoTasks);
}

#[test]
fn what_cannot_be_weighed_is_given_back_and_authorises_nobody() {
    let mut bench = believing(plain(), Trusting { tasks_max: 1, ..Trusting::private() }, 4);
    bench.on(added(spec(0, 5))).on(added(spec(1, 5)));
    let conceded = |effect: &Effect| *effect == Effect::Concede { task: task(1) };
    assert!(bench.effects.iter().any(conceded), "{:?}", bench.effects);
    assert!(holders(&bench, 1).is_empty());
    let result_hash = truth(1);
    let lease = LeaseId::derive(Fence(7), task(1), worker(3));
    bench.on(Event::ResultReady { worker: worker(3), task: task(1), lease, result_hash });
    assert!(bench.authorised().is_empty());
}

/// On a public pool whoever answers at once waits for half of those who began.
#[test]
fn who_answers_at_once_is_not_asked_more_often_than_others() {
    let mut bench = believing(plain(), Trusting::default(), 5);
    (0..4).for_each(|index| _ = bench.on(added(spec(index, 5))));
    let all = [0, 1, 2, 3].map(|index| holders(&bench, index));
    let at_work = |bench: &Bench, by: u64| bench.scheduler.live_leases().any(|(_, _, of)| of == worker(by));
    assert!((0..5).all(|by| at_work(&bench, by)), "{all:?}");
    let task_of = |by: u64| all.iter().position(|holders| holders.contains(&by)).unwrap() as u64;
    for quick in [0, 1] {
        bench.ready(task_of(quick), quick, truth(task_of(quick)));
        assert!(!at_work(&bench, quick));
        assert!(matches!(bench.worker_cause(quick), WorkerCause::Paced { .. }));
    }
    bench.at(START_MS + 5_000).ready(task_of(2), 2, truth(task_of(2)));
    assert!([0, 1, 2].iter().all(|by| at_work(&bench, *by)), "three of five are through");
}

/// Caught elsewhere, a liar stays until what it is bound to is settled: it loses its stake there, and gets nothing new.
#[test]
fn a_caught_liar_is_banned_when_it_has_nothing_more_to_lose() {
    let mut bench = believing(plain(), Trusting::private(), 0);
    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    let two_slots = |index: u64| {
        let origin = Origin::of(worker(index).0);
        Event::WorkerJoined(WorkerSpec { slots: 2, worker: worker(index), origin, ..plain.clone() })
    };
    (0..3).for_each(|index| _ = bench.on(two_slots(index)));
    bench.on(added(spec(0, 5))).on(added(spec(1, 5)));
    let liar = 0;
    bench.ready(1, liar, lie()).ready(0, liar, lie());
    bench.ready(0, 1, truth(0)).ready(0, 2, truth(0));
    bench.on(two_slots(3)).ready(0, 3, truth(0));
    assert_eq!(bench.authorised().len(), 3, "nobody is left who would outvote it");
    settle(&mut bench, 0, &[1, 2, 3]);
    assert_eq!(banned(&bench), [], "it is bound to a result still");
    bench.on(added(spec(2, 2)));
    assert!(!holders(&bench, 2).contains(&liar));

    for by in holders(&bench, 1) {
        bench.ready(1, by, truth(1));
    }
    bench.on(two_slots(4)).on(two_slots(5));
    while let Some(by) = holders(&bench, 1).first() {
        assert!(bench.authorised().is_empty());
        bench.ready(1, *by, truth(1));
    }
    assert_eq!(bench.authorised(), [worker(liar)], "one more outvotes it");
    bench.contributed(1, liar, lie());
    let honest = bench.authorised().iter().map(|by| u64::from(by.0.0[19]) - 1).collect::<Vec<_>>();
    assert_eq!(honest.len(), 4);
    settle(&mut bench, 1, &honest);
    assert_eq!(banned(&bench), [worker(liar)]);
}

#[test]
fn whoever_may_be_one_person_has_one_replica() {
    let mut bench = believing(plain(), Trusting::default(), 0);
    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    let at = |index: u64, network: u8| {
        let range = AddressRange::of(IpAddr::V4(Ipv4Addr::new(10, 0, network, index as u8)));
        let origin = Origin { range, ..Origin::of(worker(index).0) };
        Event::WorkerJoined(WorkerSpec { worker: worker(index), origin, ..plain.clone() })
    };
    (0..3).for_each(|index| _ = bench.on(at(index, 1)));
    bench.on(added(spec(0, 5)));
    assert_eq!(holders(&bench, 0).len(), 1);
    let lone = holders(&bench, 0)[0];
    bench.ready(0, lone, truth(0));
    assert_eq!(bench.task_cause(0), TaskCause::AllKin { workers: 2 });
    let other = (0..3).find(|index| *index != lone).unwrap();
    assert_eq!(bench.worker_cause(other), WorkerCause::Kin);
    bench.on(at(3, 2)).on(at(4, 3));
    assert_eq!(holders(&bench, 0), [3, 4]);
}

#[test]
fn a_task_is_settled_with_what_is_there_before_its_time_is_up() {
    let mut bench = believing(plain(), Trusting { check_share: 1.0, ..Trusting::private() }, 2);
    // At a trust of 2 one newcomer is enough for the hub, and for us two, of whom the second is the check.
    bench.on(added(spec(0, 2)));
    let first = holders(&bench, 0);
    bench.ready(0, first[0], truth(0));
    assert!(bench.authorised().is_empty());
    let second = holders(&bench, 0);
    assert_eq!((first.len(), second.len()), (1, 1));
    let last_lease_ms = spec(0, 2).contribution_deadline_ms - T_MS - Policy::default().contribution_margin_ms;
    while bench.now_ms < last_lease_ms - 3_000 {
        let leases = bench.scheduler.live_leases().map(|(lease, ..)| lease).collect();
        bench.at(bench.now_ms + 3_000).on(Event::Heartbeat { worker: worker(second[0]), leases });
        assert!(bench.authorised().is_empty(), "at {}", bench.now_ms);
    }
    bench.at(last_lease_ms + 1);
    assert_eq!(bench.authorised(), [worker(first[0])]);
}

#[test]
fn memories_are_of_those_who_took_part() {
    let mut bench = believing(plain(), Trusting::private(), 4);
    bench.on(added(spec(0, 5)));
    let holders = all_ready(&mut bench, 0, truth(0));
    assert!(bench.scheduler.take_memories().is_empty());
    settle(&mut bench, 0, &holders);
    let memories = bench.scheduler.take_memories();
    let of_workers = memories.iter().filter(|memory| memory.key()[0] == 1).count();
    assert_eq!(of_workers, 3, "{memories:?}");
    assert!(bench.scheduler.take_memories().is_empty());
    let recalled = Credibility::recall(Trusting::private(), Seed([3; 32]), memories).unwrap();
    let known = bench.scheduler.credibility().unwrap();
    for by in &holders {
        assert_eq!(recalled.credibility(worker(*by).0), known.credibility(worker(*by).0));
        assert!(recalled.credibility(worker(*by).0) > 0.8);
    }
}
