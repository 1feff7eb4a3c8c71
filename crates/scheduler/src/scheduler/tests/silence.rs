//! Workers from whom nothing comes, or too late.

use super::*;

#[test]
fn a_silent_lease_goes_elsewhere() {
    let mut bench = pool(2);
    bench.on(added(spec(0, 1)));
    let lease = bench.lease_of(task(0), worker(0));
    bench.at(START_MS + 5_000).on(Event::Heartbeat { worker: worker(0), leases: vec![lease] });
    bench.at(START_MS + 14_999);
    assert!(bench.effects.is_empty(), "the heartbeat keeps it");
    bench.at(START_MS + 15_000);
    assert!(bench.has(&Effect::RevokeLease { lease, worker: worker(0), reason: RevokeReason::Expired }));
    assert_eq!(bench.leased(), [(task(0), worker(1))]);
    // The old lease is fenced off: its failure is nobody's.
    bench.on(Event::LeaseFailed { lease, fault: Fault::Host, reason: "late".to_owned() });
    assert_eq!(bench.scheduler.live_leases().count(), 1);
    bench.on(Event::Heartbeat { worker: worker(0), leases: vec![lease] });
    assert!(bench.has(&Effect::RevokeLease { lease, worker: worker(0), reason: RevokeReason::Unknown }));
}

#[test]
fn a_late_result_is_not_wasted() {
    let mut bench = pool(2);
    bench.on(added(spec(0, 1)));
    let lease = bench.lease_of(task(0), worker(0));
    bench.at(START_MS + 10_000);
    bench.on(Event::ResultReady { worker: worker(0), task: task(0), lease, result_hash: truth(0) });
    assert_eq!(bench.authorised(), [worker(0)]);
}

#[test]
fn an_authorised_worker_that_does_not_contribute_is_replaced() {
    let mut bench = pool(2);
    bench.on(added(spec(0, 1)));
    bench.ready(0, 0, truth(0));
    bench.at(START_MS + 60_000);
    assert_eq!(bench.leased(), [(task(0), worker(1))]);
}

#[test]
fn silent_workers_are_put_aside_longer_each_time() {
    let mut bench = pool(1);
    let mut aside = Vec::new();
    for index in 0..9 {
        let mut spec = spec(index, 1);
        spec.contribution_deadline_ms = u64::MAX / 2;
        spec.final_deadline_ms = u64::MAX / 2;
        bench.on(added(spec));
        let lease = bench.lease_of(task(index), worker(0));
        bench.on(Event::LeaseAccepted { lease });
        bench.now_ms += 10_000;
        bench.on(Event::Tick).on(Event::TaskFailed { task: task(index) });
        if let WorkerCause::Aside { until_ms } = bench.worker_cause(0) {
            aside.push(until_ms - bench.now_ms);
            bench.now_ms = until_ms;
            bench.on(Event::Tick);
        }
    }
    assert_eq!(aside, [30_000, 60_000, 120_000]);
}

/// Authorised for as many tasks as silences are borne, the worker contributes to none of them; of others comes a consensus, or not.
fn failed(others_agree: bool) -> WorkerCause {
    let mut bench = pool(1);
    let silences = u64::from(Policy::default().silent_leases_max);
    for index in 0..silences {
        bench.on(added(spec(index, 1))).ready(index, 0, truth(index));
        assert_eq!(bench.authorised(), [worker(0)]);
        let reason = "revealing, which does not allow this step".to_owned();
        bench.on(Event::ContributionFailed { task: task(index), worker: worker(0), reason });
        if others_agree {
            // The pool is told of it after the worker.
            bench.now_ms += 100;
            let reveal_deadline_ms = bench.now_ms + 2 * T_MS;
            bench.on(Event::ConsensusReached { task: task(index), hash: truth(index), reveal_deadline_ms });
        }
    }
    bench.at(bench.now_ms + 5_000);
    bench.worker_cause(0)
}

#[test]
fn who_comes_after_the_consensus_of_others_was_not_silent() {
    assert!(!matches!(failed(true), WorkerCause::Aside { .. }), "it did what it was asked");
    assert!(matches!(failed(false), WorkerCause::Aside { .. }), "it did not");
}
