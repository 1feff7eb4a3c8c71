//! What is run elsewhere, what is not, and when.

use gristmill_classad::{ClassAd, Expr};

use super::machines::with_ad;
use super::*;

/// The worker that has tasks run elsewhere.
const MARKET: u64 = 200;

/// It comes, with so many slots and these tasks under way.
fn market(slots: u32, begun: &[u64]) -> Event {
    let Event::WorkerJoined(spec) = joined(MARKET) else { unreachable!() };
    let begun = Arc::new(begun.iter().map(|index| task(*index)).collect());
    Event::WorkerJoined(WorkerSpec { slots, overflow: Some(begun), ..spec })
}

/// So many workers of one slot, and tasks of one deal for which a minute is in time.
fn lab(workers: u64, slots: u32, tasks: u64, trust: u64) -> Bench {
    let policy = Policy { reserve_replicas: 0, overflow_after_ms: 60_000, ..Policy::default() };
    let policy = Policy { lease_duration_ms: u64::MAX, lease_duration_ms_min: u64::MAX, late_percent: 0, ..policy };
    let mut bench = pool_with(workers, policy);
    bench.on(market(slots, &[]));
    for index in 0..tasks {
        bench.on(added(spec(index, trust)));
    }
    bench
}

/// The tasks that are run elsewhere now.
fn bought(bench: &Bench) -> Vec<u64> {
    let leases = bench.scheduler.live_leases().filter(|(.., by)| *by == worker(MARKET));
    let mut bought = leases.map(|(_, of, _)| (0..99).find(|index| task(*index) == of).unwrap()).collect::<Vec<_>>();
    bought.sort_unstable();
    bought
}

fn has(bench: &Bench, index: u64, by: u64) -> bool {
    bench.scheduler.live_leases().any(|(_, of, holder)| (of, holder) == (task(index), worker(by)))
}

#[test]
fn what_would_come_too_late_is_run_elsewhere_from_behind() {
    let mut bench = lab(1, 8, 6, 1);
    assert!(has(&bench, 0, 0) && bought(&bench).is_empty());
    // It is not known how long runs take: not that one takes longer than this.
    bench.at(START_MS + 9_000);
    assert!(bought(&bench).is_empty());
    assert_eq!(bench.worker_cause(MARKET), WorkerCause::InTime);
    bench.at(START_MS + 11_000);
    assert_eq!(bought(&bench), [5], "six runs of eleven seconds or more are no minute");
    bench.at(START_MS + 20_000);
    assert_eq!(bought(&bench), [3, 4, 5], "nor are four of twenty, while three are just that");
    // They take twenty-one, and the first was one of three: the others are in time.
    bench.now_ms = START_MS + 21_000;
    bench.ready(0, 0, truth(0)).on(Event::TaskCompleted { task: task(0) });
    assert!(has(&bench, 1, 0));
    bench.at(START_MS + 22_000);
    assert_eq!(bought(&bench), [2, 3, 4, 5], "the third of them would end after 63 seconds");
    assert_eq!(bench.worker_cause(MARKET), WorkerCause::NoTasks);
}

#[test]
fn what_is_in_time_is_left_alone_however_much_waits() {
    let mut bench = lab(3, 8, 30, 1);
    for (round, first) in (1..).zip((0..30).step_by(3)) {
        bench.now_ms = START_MS + round * 5_000;
        for by in 0..3 {
            let (task, holder) = (first + by, by);
            assert!(has(&bench, task, holder), "{task}");
            bench.ready(task, holder, truth(task)).on(Event::TaskCompleted { task: super::task(task) });
        }
        assert!(bought(&bench).is_empty(), "{round}");
    }
    assert_eq!(bench.scheduler.open_tasks().count(), 0);
}

#[test]
fn slots_elsewhere_are_bounded_and_filled_again() {
    let mut bench = lab(1, 2, 6, 1);
    bench.at(START_MS + 50_000);
    assert_eq!(bought(&bench), [4, 5]);
    bench.ready(5, MARKET, truth(5)).on(Event::TaskCompleted { task: task(5) });
    bench.at(START_MS + 52_000);
    assert_eq!(bought(&bench), [3, 4]);
    // How long that took says nothing of the machines here.
    assert!(bench.scheduler.deals.values().all(|deal| deal.run_times_ms.is_empty()));
}

#[test]
fn what_none_of_the_machines_is_goes_elsewhere_at_once_but_not_while_they_are_on_their_way() {
    let requiring = |index: u64, cpus: u64| {
        let mut ad = ClassAd::new();
        ad.insert("Requirements", Expr::parse(&format!("TARGET.Cpus >= {cpus}")).unwrap()).unwrap();
        let demand = Arc::new(Demand { ad: Arc::new(ad), ..Demand::any() });
        added(TaskSpec { deal: DealId(B256::repeat_byte(index as u8 + 1)), demand, ..spec(index, 1) })
    };
    let mut bench = lab(0, 4, 0, 1);
    bench.on(requiring(0, 8));
    assert!(bought(&bench).is_empty(), "the pool has only just started");
    bench.on(with_ad(0, "[Cpus = 16]"));
    assert!(has(&bench, 0, 0));
    bench.at(START_MS + 20_000);
    bench.on(requiring(1, 32)).on(requiring(2, 8));
    assert_eq!(bought(&bench), [1], "the other is only busy");
    // Its owner sits at it. It may come back in time.
    bench.on(Event::WorkerDraining { worker: worker(0) });
    bench.at(START_MS + 70_000);
    assert_eq!(bought(&bench), [1]);
    bench.at(START_MS + 81_000);
    assert_eq!(bought(&bench), [1, 2], "it did not");
}

#[test]
fn what_is_declined_there_waits_here_and_is_asked_for_again() {
    let mut bench = lab(0, 4, 2, 1);
    bench.at(START_MS + 11_000);
    assert_eq!(bought(&bench), [0, 1]);
    let decline = |bench: &mut Bench, index: u64, reason: DeclineReason| {
        let lease = bench.lease_of(task(index), worker(MARKET));
        bench.on(Event::LeaseDeclined { lease, reason });
    };
    decline(&mut bench, 0, DeclineReason::Busy);
    decline(&mut bench, 1, DeclineReason::Unable("not for the market".to_owned()));
    bench.at(START_MS + 40_000);
    assert!(bought(&bench).is_empty());
    bench.at(START_MS + 42_000);
    assert_eq!(bought(&bench), [0], "the other is nothing that could be run there");
    decline(&mut bench, 0, DeclineReason::Busy);
    // A worker of one's own takes both.
    bench.on(joined(0));
    assert!(has(&bench, 0, 0));
    assert_eq!(bench.worker_cause(MARKET), WorkerCause::AllTried);
}

#[test]
fn what_is_paid_for_already_is_not_begun_by_another() {
    let policy = Policy { reserve_replicas: 0, ..Policy::default() };
    let mut bench = pool_with(0, policy);
    bench.all(vec![market(2, &[1]), joined(0), joined(1), joined(2), added(spec(0, 1)), added(spec(1, 1))]);
    assert_eq!(bought(&bench), [1]);
    assert!((0..3).any(|by| has(&bench, 0, by)) && !(0..3).any(|by| has(&bench, 1, by)));
}

#[test]
fn one_who_buys_is_one_owner_and_lends_no_devices() {
    let mut bench = lab(1, 8, 0, 1);
    // Two must agree: one is the worker here, the other is bought, and there is no third.
    bench.at(START_MS + 20_000);
    bench.on(added(spec(0, 3)));
    assert!(has(&bench, 0, 0) && has(&bench, 0, MARKET));
    bench.on(added(spec(1, 5)));
    bench.at(START_MS + 90_000);
    assert_eq!(bought(&bench), [0, 1]);
    let leases = bench.scheduler.live_leases().filter(|(_, of, _)| *of == task(1)).count();
    assert_eq!(leases, 1);
    let needs = Needs { gpu: false, network: true };
    bench.on(added(TaskSpec { needs, ..spec(2, 1) }));
    bench.at(START_MS + 180_000);
    assert_eq!(bought(&bench), [0, 1]);
    // It is none of the machines that are shown, nor what one waits for.
    assert_eq!(bench.scheduler.matching(Demand::any()).0.len(), 1);
}

#[test]
fn what_would_not_be_back_in_time_is_not_paid_for() {
    let mut bench = lab(1, 4, 3, 1);
    // Runs take two seconds here. Then the machine is gone.
    for index in 0..3 {
        bench.now_ms = START_MS + 2_000 * (index + 1);
        bench.ready(index, 0, truth(index));
    }
    bench.on(Event::WorkerLeft { worker: worker(0) });
    bench.at(START_MS + 30_000);
    // The next task's deadline is nearer than the T that may be needed elsewhere.
    bench.on(added(TaskSpec { contribution_deadline_ms: START_MS + 90_000, ..spec(3, 1) }));
    bench.on(added(spec(4, 1))).at(START_MS + 32_000);
    assert_eq!(bought(&bench), [4]);
    // It took ten seconds.
    bench.now_ms = START_MS + 42_000;
    bench.ready(4, MARKET, truth(4)).at(START_MS + 44_000);
    assert_eq!(bought(&bench), [3]);
}

#[test]
fn deals_take_turns_in_what_is_expected() {
    let mut bench = lab(1, 1, 1, 1);
    // It takes four seconds.
    bench.now_ms = START_MS + 4_000;
    bench.ready(0, 0, truth(0));
    // The deal's next twelve end within the minute if they are alone, and not if another requester's have every other turn.
    for index in 1..13 {
        bench.on(added(spec(index, 1)));
    }
    bench.at(START_MS + 6_000);
    assert!(bought(&bench).is_empty());
    let other = |index: u64| {
        let (deal, requester) = (DealId(B256::repeat_byte(3)), Address::repeat_byte(3));
        added(TaskSpec { deal, requester, ..spec(index, 1) })
    };
    (13..23).for_each(|index| _ = bench.on(other(index)));
    bench.now_ms = START_MS + 8_000;
    bench.ready(1, 0, truth(1));
    assert!(has(&bench, 13, 0) && bought(&bench).is_empty(), "how long the other's take is not known yet");
    bench.now_ms = START_MS + 12_000;
    bench.ready(13, 0, truth(13));
    bench.at(START_MS + 15_000);
    assert_eq!(bought(&bench), [12]);
}

#[test]
fn what_takes_longer_there_than_a_lease_may_is_waited_for_under_another() {
    let mut bench = lab(0, 4, 1, 1);
    let policy = Policy { run_limit_ratio: 1, reserve_replicas: 0, ..Policy::default() };
    bench.on(Event::PolicyChanged(Box::new(policy))).at(START_MS + 11_000);
    assert_eq!(bought(&bench), [0]);
    let lease = bench.lease_of(task(0), worker(MARKET));
    let end_ms = bench.now_ms + T_MS;
    for now_ms in (bench.now_ms..end_ms).step_by(5_000) {
        bench.at(now_ms).on(Event::Heartbeat { worker: worker(MARKET), leases: vec![lease] });
        assert_eq!(bought(&bench), [0]);
    }
    bench.at(end_ms);
    assert!(bought(&bench).is_empty(), "it ran for T");
    bench.at(end_ms + 12_000);
    assert_eq!(bought(&bench), [0], "it is paid for");
    bench.ready(0, MARKET, truth(0));
    assert!(bench.scheduler.deals.values().all(|deal| deal.overflow_run_ms.is_none()), "it took longer than that");
}

#[test]
fn only_runs_that_were_seen_whole_say_how_long_it_takes_there() {
    let mut bench = lab(0, 4, 0, 1);
    bench.on(market(4, &[0]));
    (0..4).for_each(|index| _ = bench.on(added(spec(index, 1))));
    bench.at(START_MS + 11_000);
    assert_eq!(bought(&bench), [0, 1, 2, 3]);
    let known = |bench: &Bench| bench.scheduler.deals.values().next().unwrap().overflow_run_ms;
    bench.ready(0, MARKET, truth(0));
    assert_eq!(known(&bench), None, "it was begun before a restart");
    let lease = bench.lease_of(task(1), worker(MARKET));
    bench.on(Event::LeaseDeclined { lease, reason: DeclineReason::Busy });
    let since_ms = bench.now_ms;
    bench.now_ms = since_ms + 5_000;
    bench.ready(2, MARKET, truth(2));
    let longest = known(&bench);
    assert!(longest >= Some(5_000));
    bench.at(since_ms + 31_000);
    assert!(has(&bench, 1, MARKET));
    bench.ready(1, MARKET, truth(1));
    assert_eq!(known(&bench), longest, "nor does the end of one say it");
}
