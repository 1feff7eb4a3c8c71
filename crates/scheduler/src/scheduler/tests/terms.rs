//! What another policy changes of tasks that are under way, and what it leaves.

use super::*;

fn policy(change: impl FnOnce(&mut Policy)) -> Event {
    let mut policy = Policy { reserve_replicas: 0, ..Policy::default() };
    change(&mut policy);
    Event::PolicyChanged(Box::new(policy))
}

#[test]
fn a_lease_keeps_the_terms_under_which_it_was_given() {
    let mut bench = pool(2);
    bench.on(added(spec(0, 1)));
    let (old, by) = (bench.lease_of(task(0), worker(0)), worker(0));
    let short = |policy: &mut Policy| (policy.lease_duration_ms, policy.run_limit_ratio) = (3_000, 1);
    bench.on(policy(short)).on(added(spec(1, 1)));
    let new = bench.lease_of(task(1), worker(1));
    // The new lease ends after 3 s of silence, the old one after 10.
    bench.at(START_MS + 3_000);
    assert!(bench.has(&Effect::RevokeLease { lease: new, worker: worker(1), reason: RevokeReason::Expired }));
    bench.at(START_MS + 9_000).on(Event::Heartbeat { worker: by, leases: vec![old] });
    bench.at(START_MS + 18_999);
    assert_eq!(bench.lease_of(task(0), by), old, "the sign of life is worth 10 s");
    bench.on(Event::Heartbeat { worker: by, leases: vec![old] });
    // It may run for 3 T, as it was told.
    for step in 4..60 {
        bench.at(START_MS + step * 5_000).on(Event::Heartbeat { worker: by, leases: vec![old] });
        assert_eq!(bench.lease_of(task(0), by), old, "after {} s", step * 5);
    }
    bench.at(START_MS + 3 * T_MS);
    assert!(bench.has(&Effect::RevokeLease { lease: old, worker: by, reason: RevokeReason::Overrun }));
}

#[test]
fn what_a_task_waited_for_is_seen_at_once() {
    // A task stopped by its hosts' faults goes on where more are borne.
    let mut bench = pool_with(5, Policy { reserve_replicas: 0, host_fault_retries: 0, ..Policy::default() });
    bench.on(added(spec(0, 1)));
    let lease = bench.lease_of(task(0), worker(0));
    bench.on(Event::LeaseFailed { lease, fault: Fault::Host, reason: "it burns".to_owned() });
    assert_eq!(bench.scheduler.live_leases().count(), 0, "{:?}", bench.task_cause(0));
    bench.on(policy(|policy| policy.host_fault_retries = 2));
    assert_eq!(bench.leased(), [(task(0), worker(1))]);
    // And is not stopped for fewer, once it goes on.
    bench.on(policy(|policy| policy.host_fault_retries = 0));
    assert!(bench.effects.is_empty(), "{:?}", bench.effects);
    assert_eq!(bench.scheduler.live_leases().count(), 1);
}

#[test]
fn the_same_policy_changes_nothing() {
    let mut bench = pool(3);
    bench.on(added(spec(0, 5)));
    let (leases, deadline) = (bench.scheduler.live_leases().collect::<Vec<_>>(), bench.scheduler.next_deadline());
    bench.on(policy(|_| {}));
    assert!(bench.effects.is_empty(), "{:?}", bench.effects);
    assert_eq!(
        (bench.scheduler.live_leases().collect::<Vec<_>>(), bench.scheduler.next_deadline()),
        (leases, deadline)
    );
}
