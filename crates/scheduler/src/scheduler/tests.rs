use std::sync::Arc;

use alloy_primitives::{Address, B256};
use gristmill_credibility::Origin;
use gristmill_types::{Amount, ContributionStatus, DealId, Needs, TaskId, Trust};

use super::*;
use crate::event::{
    Call, DeclineReason, Fault, HeldResult, LedgerState, Offers, RevokeReason, SeenConsensus, SeenContribution,
    TaskSpec, WorkerSpec,
};
use crate::explain::{TaskCause, WorkerCause};
use crate::id::EngineProfile;
use crate::index::Demand;
use crate::line::Queue;
use crate::task::{Core, hash_of};

mod belief;
mod machines;
mod overflow;
mod silence;
mod tail;
mod terms;

const T_MS: u64 = 100_000;
const START_MS: u64 = 1_000_000;

fn worker(index: u64) -> WorkerId {
    WorkerId(Address::with_last_byte(index as u8 + 1))
}

fn task(index: u64) -> TaskId {
    DealId(B256::repeat_byte(9)).task(index)
}

fn digest() -> B256 {
    B256::repeat_byte(0x11)
}

fn truth(index: u64) -> B256 {
    hash_of(task(index), digest())
}

fn lie() -> B256 {
    B256::repeat_byte(0x66)
}

fn joined(index: u64) -> Event {
    Event::WorkerJoined(WorkerSpec {
        worker: worker(index),
        origin: Origin::of(worker(index).0),
        slots: 1,
        free_stake: Amount::from_grist(100),
        score: 0,
        profile: EngineProfile("e1".to_owned()),
        offers: Offers::default(),
        ad: Arc::default(),
        serves: None,
        overflow: None,
    })
}

fn spec(index: u64, trust: u64) -> TaskSpec {
    TaskSpec {
        task: task(index),
        deal: DealId(B256::repeat_byte(9)),
        requester: Address::repeat_byte(8),
        trust: Trust::new(trust),
        work_clock_ms: T_MS,
        contribution_deadline_ms: START_MS + 7 * T_MS,
        final_deadline_ms: START_MS + 10 * T_MS,
        stake: Amount::from_grist(3),
        profile: None,
        needs: Needs::NONE,
        demand: Arc::new(Demand::any()),
        refusal: None,
        ledger: LedgerState::default(),
    }
}

fn added(spec: TaskSpec) -> Event {
    Event::TaskAdded(Box::new(spec))
}

/// A scheduler with so many workers, without reserves unless a test asks for them.
fn pool(workers: u64) -> Bench {
    pool_with(workers, Policy { reserve_replicas: 0, ..Policy::default() })
}

fn pool_with(workers: u64, policy: Policy) -> Bench {
    let mut bench = Bench { scheduler: Scheduler::new(policy, Fence(1)), now_ms: START_MS, effects: Vec::new() };
    for index in 0..workers {
        bench.on(joined(index));
    }
    bench
}

struct Bench {
    scheduler: Scheduler,
    now_ms: u64,
    /// Of the last call.
    effects: Vec<Effect>,
}

impl Bench {
    fn on(&mut self, event: Event) -> &mut Self {
        self.all(vec![event])
    }

    fn all(&mut self, events: Vec<Event>) -> &mut Self {
        self.effects = self.scheduler.handle_all(self.now_ms, events);
        self
    }

    fn at(&mut self, now_ms: u64) -> &mut Self {
        self.now_ms = now_ms;
        self.on(Event::Tick)
    }

    /// Leases of the last call: (task, worker).
    fn leased(&self) -> Vec<(TaskId, WorkerId)> {
        let lease = |effect: &Effect| match effect {
            Effect::Lease { task, worker, .. } => Some((*task, *worker)),
            _ => None,
        };
        self.effects.iter().filter_map(lease).collect()
    }

    fn lease_of(&self, task: TaskId, worker: WorkerId) -> LeaseId {
        let found = self.scheduler.live_leases().find(|(_, of, by)| (*of, *by) == (task, worker));
        found.expect("the lease lives").0
    }

    fn ready(&mut self, index: u64, by: u64, hash: B256) -> &mut Self {
        let lease = self.lease_of(task(index), worker(by));
        self.on(Event::ResultReady { worker: worker(by), task: task(index), lease, result_hash: hash })
    }

    fn contributed(&mut self, index: u64, by: u64, hash: B256) -> &mut Self {
        self.on(Event::ContributionSeen { task: task(index), worker: worker(by), hash, weight: 2 })
    }

    fn authorised(&self) -> Vec<WorkerId> {
        let authorised = |effect: &Effect| match effect {
            Effect::Authorise { worker, .. } => Some(*worker),
            _ => None,
        };
        self.effects.iter().filter_map(authorised).collect()
    }

    fn asked(&self) -> Vec<WorkerId> {
        let asked = |effect: &Effect| match effect {
            Effect::AskReveal { worker, .. } => Some(*worker),
            _ => None,
        };
        self.effects.iter().filter_map(asked).collect()
    }

    fn has(&self, effect: &Effect) -> bool {
        self.effects.contains(effect)
    }

    fn task_cause(&self, index: u64) -> TaskCause {
        self.scheduler.explain_task(self.now_ms, task(index)).cause
    }

    fn worker_cause(&self, index: u64) -> WorkerCause {
        self.scheduler.explain_worker(self.now_ms, worker(index)).cause
    }

    /// Task 0 of trust 5: three newcomers compute, contribute and agree; in the first T.
    fn agreed(&mut self) -> &mut Self {
        self.on(added(spec(0, 5)));
        for by in 0..3 {
            self.ready(0, by, truth(0)).contributed(0, by, truth(0));
        }
        let reveal_deadline_ms = self.now_ms + 2 * T_MS;
        self.on(Event::ConsensusReached { task: task(0), hash: truth(0), reveal_deadline_ms })
    }

    fn revealed(&mut self, by: u64) -> &mut Self {
        self.on(Event::RevealSeen { task: task(0), worker: worker(by), digest: digest() })
    }
}

#[test]
fn asks_for_just_as_many_replicas_as_could_agree() {
    for (trust, needed) in [(1, 1), (2, 1), (3, 2), (5, 3), (9, 4), (100, 7)] {
        let mut bench = pool(20);
        bench.on(added(spec(0, trust)));
        assert_eq!(bench.leased().len(), needed, "trust {trust}");
    }
}

#[test]
fn a_worker_of_score_counts_for_more() {
    let mut bench = pool(0);
    let Event::WorkerJoined(newcomer) = joined(0) else { unreachable!() };
    bench.on(Event::WorkerJoined(WorkerSpec { score: 18, ..newcomer }));
    for index in 1..5 {
        bench.on(joined(index));
    }
    // Weight 5 alone carries trust 5.
    bench.on(added(spec(0, 5)));
    assert_eq!(bench.leased(), [(task(0), worker(0))]);
}

#[test]
fn conflict_asks_for_more() {
    let mut bench = pool(8);
    bench.on(added(spec(0, 5)));
    bench.ready(0, 0, lie());
    bench.contributed(0, 0, lie());
    bench.ready(0, 1, truth(0));
    assert_eq!(bench.authorised(), [worker(1)]);
    bench.contributed(0, 1, truth(0));
    bench.ready(0, 2, truth(0));
    bench.contributed(0, 2, truth(0));
    // One lie and two truths: two more must agree with the truth, of which one is leased at each step.
    let leases = bench.scheduler.live_leases().count();
    assert_eq!(leases, 2, "{:?}", bench.task_cause(0));
}

#[test]
fn first_come_first_served() {
    let mut bench = pool(0);
    for index in 0..4 {
        bench.on(added(spec(index, 1)));
    }
    bench.on(joined(0));
    assert_eq!(bench.leased(), [(task(0), worker(0))]);
    bench.ready(0, 0, truth(0));
    assert_eq!(bench.leased(), [(task(1), worker(0))]);
}

#[test]
fn a_solo_task_may_be_done_in_one_call() {
    let mut bench = pool(2);
    bench.on(added(spec(0, 1)));
    bench.ready(0, 0, truth(0));
    let lease = LeaseId::derive(Fence(1), task(0), worker(0));
    assert!(bench.has(&Effect::Authorise { task: task(0), worker: worker(0), lease, solo: true }));
    bench.all(vec![
        Event::ContributionSeen { task: task(0), worker: worker(0), hash: truth(0), weight: 0 },
        Event::ConsensusReached { task: task(0), hash: truth(0), reveal_deadline_ms: START_MS + 2 * T_MS },
        Event::RevealSeen { task: task(0), worker: worker(0), digest: digest() },
        Event::TaskCompleted { task: task(0) },
    ]);
    // It is opened when it is finalised; nothing else is left to do.
    assert_eq!(bench.effects, [Effect::OpenUpload { task: task(0), worker: worker(0), digest: digest() }]);
    assert_eq!(bench.scheduler.open_tasks().count(), 0);
    bench.on(Event::UploadOpened { task: task(0), worker: worker(0), matches: false });
    assert!(matches!(bench.effects[..], [Effect::Ban { .. }]), "it was paid and gave no bytes");
}

#[test]
fn a_worker_that_left_loses_its_lease_soon_and_may_come_back() {
    let mut bench = pool(1);
    bench.on(added(spec(0, 1))).on(Event::WorkerLeft { worker: worker(0) });
    assert_eq!(bench.scheduler.next_deadline(), Some(START_MS + 2_000));
    bench.at(START_MS + 2_000);
    assert_eq!(bench.scheduler.live_leases().count(), 0);
    assert_eq!(bench.task_cause(0), TaskCause::NoWorkers);
    bench.on(joined(0));
    assert_eq!(bench.leased(), [(task(0), worker(0))], "nobody else is there");
}

#[test]
fn a_task_that_nobody_can_run_is_leased_to_nobody_and_conceded() {
    let mut bench = pool(3);
    let why = "the request asks for a secret".to_owned();
    bench.on(added(TaskSpec { refusal: Some(why.clone()), ..spec(0, 1) }));
    assert!(bench.leased().is_empty());
    assert!(bench.has(&Effect::Note { task: task(0), text: why.clone() }));
    assert!(bench.has(&Effect::Concede { task: task(0) }));
    bench.on(Event::ConcedeSeen { task: task(0), effective_at_ms: START_MS + T_MS / 2 });
    let found = bench.scheduler.explain_task(START_MS, task(0));
    assert_eq!(found.cause, TaskCause::Refused { why });
    assert!(found.to_string().starts_with("no worker can run it: the request asks for a secret"), "{found}");
    bench.at(START_MS + T_MS / 2 + 1_500);
    assert!(bench.has(&Effect::Claim { task: task(0) }));
}

#[test]
fn a_worker_that_never_ends_is_stopped() {
    let mut bench = pool(1);
    bench.on(added(spec(0, 1)));
    let lease = bench.lease_of(task(0), worker(0));
    for step in 1..100 {
        bench.at(START_MS + step * 5_000);
        if bench.has(&Effect::RevokeLease { lease, worker: worker(0), reason: RevokeReason::Overrun }) {
            assert_eq!(step * 5_000, 3 * T_MS);
            return;
        }
        bench.on(Event::Heartbeat { worker: worker(0), leases: vec![lease] });
    }
    panic!("the lease lived on for ever");
}

#[test]
fn host_faults_go_elsewhere_three_times_and_then_the_pool_concedes() {
    let mut bench = pool(9);
    bench.on(added(spec(0, 1)));
    for by in 0..4 {
        assert_eq!(bench.leased(), [(task(0), worker(by))]);
        let lease = bench.lease_of(task(0), worker(by));
        bench.on(Event::LeaseFailed { lease, fault: Fault::Host, reason: "wall clock".to_owned() });
    }
    assert!(bench.leased().is_empty());
    assert!(bench.has(&Effect::Concede { task: task(0) }));
    bench.on(Event::ConcedeSeen { task: task(0), effective_at_ms: START_MS + T_MS / 2 });
    bench.at(START_MS + T_MS / 2 + 1_500);
    assert!(bench.has(&Effect::Claim { task: task(0) }));
}

#[test]
fn a_result_between_host_faults_shows_that_the_task_is_sound() {
    let mut bench = pool(12);
    bench.on(added(spec(0, 100)));
    for by in 0..3 {
        let lease = bench.lease_of(task(0), worker(by));
        bench.on(Event::LeaseFailed { lease, fault: Fault::Host, reason: "host".to_owned() });
    }
    bench.ready(0, 3, truth(0));
    let lease = bench.lease_of(task(0), worker(4));
    bench.on(Event::LeaseFailed { lease, fault: Fault::Host, reason: "host".to_owned() });
    assert_eq!(bench.leased().len(), 1, "{:?}", bench.task_cause(0));
}

#[test]
fn a_busy_worker_is_asked_again_and_an_unable_one_is_not() {
    let mut bench = pool(1);
    bench.on(added(spec(0, 1)));
    let lease = bench.lease_of(task(0), worker(0));
    bench.on(Event::LeaseDeclined { lease, reason: DeclineReason::Busy });
    assert_eq!(bench.worker_cause(0), WorkerCause::Busy { until_ms: START_MS + 1_000 });
    bench.at(START_MS + 1_000);
    let lease = bench.lease_of(task(0), worker(0));
    bench.on(Event::LeaseDeclined { lease, reason: DeclineReason::Unable("memory".to_owned()) });
    bench.at(START_MS + 60_000);
    assert!(bench.leased().is_empty());
    assert_eq!(bench.task_cause(0), TaskCause::AllTried { connected: 1, missing: 1 });
}

#[test]
fn reveals_are_asked_for_and_the_first_good_upload_finalises() {
    let mut bench = pool(3);
    bench.agreed();
    assert_eq!(bench.asked(), [worker(0), worker(1), worker(2)]);
    bench.revealed(1);
    assert_eq!(bench.effects, [Effect::OpenUpload { task: task(0), worker: worker(1), digest: digest() }]);
    bench.on(Event::UploadOpened { task: task(0), worker: worker(1), matches: false });
    assert!(
        bench.effects.iter().any(|effect| matches!(effect, Effect::Ban { worker: banned, .. } if *banned == worker(1)))
    );
    bench.revealed(0).on(Event::UploadOpened { task: task(0), worker: worker(0), matches: true });
    assert!(bench.effects.is_empty(), "one holder has not revealed yet");
    bench.revealed(2);
    assert_eq!(bench.effects, [Effect::Finalize { task: task(0), worker: worker(0), digest: digest() }]);
    bench.on(Event::CallFailed { task: task(0), call: Call::Finalize, reason: "full".to_owned() });
    bench.at(START_MS + 2_000);
    assert_eq!(bench.effects, [Effect::Finalize { task: task(0), worker: worker(0), digest: digest() }]);
}

#[test]
fn nothing_is_finalised_without_bytes() {
    let mut bench = pool(3);
    bench.agreed();
    for by in 0..3 {
        bench.revealed(by).on(Event::UploadOpened { task: task(0), worker: worker(by), matches: false });
    }
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Note { .. })));
    assert_eq!(bench.task_cause(0), TaskCause::NoBytes);
    for step in 1..12 {
        bench.at(START_MS + step * T_MS);
        assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Finalize { .. })));
    }
    assert!(bench.scheduler.explain_task(bench.now_ms, task(0)).to_string().contains("claim"));
}

#[test]
fn nobody_reveals_so_the_task_reopens_and_goes_on() {
    let mut bench = pool(6);
    bench.agreed();
    bench.at(START_MS + 2 * T_MS + 1_500);
    assert_eq!(bench.effects, [Effect::Reopen { task: task(0) }]);
    let mut events =
        (0..3).map(|by| Event::ContributionRejected { task: task(0), worker: worker(by) }).collect::<Vec<_>>();
    events.push(Event::TaskReopened { task: task(0) });
    bench.all(events);
    assert_eq!(bench.leased().iter().map(|(_, worker)| *worker).collect::<Vec<_>>(), [worker(3), worker(4), worker(5)]);
    assert!(matches!(bench.worker_cause(0), WorkerCause::Aside { .. }), "silent, not a liar");
}

#[test]
fn once_a_digest_is_public_only_held_results_join() {
    let mut bench = pool_with(5, Policy::default());
    bench.on(added(spec(0, 5)));
    assert_eq!(bench.leased().len(), 4, "three and a reserve, since nobody has ever revealed");
    for by in 0..4 {
        bench.ready(0, by, truth(0));
        assert_eq!(bench.authorised().len(), usize::from(by < 3));
    }
    for by in 0..3 {
        bench.contributed(0, by, truth(0));
    }
    let reveal_deadline_ms = START_MS + 2 * T_MS;
    bench.on(Event::ConsensusReached { task: task(0), hash: truth(0), reveal_deadline_ms });
    assert_eq!(bench.asked().len(), 3, "the reserve is there: nothing to wait for");
    bench.revealed(0).on(Event::UploadOpened { task: task(0), worker: worker(0), matches: true }).revealed(1);
    // The third stays silent: the recount fails.
    bench.at(reveal_deadline_ms + 1_500);
    assert_eq!(bench.effects, [Effect::Finalize { task: task(0), worker: worker(0), digest: digest() }]);
    bench.all(vec![
        Event::ContributionRejected { task: task(0), worker: worker(2) },
        Event::TaskReopened { task: task(0) },
    ]);
    // Nobody new, though worker 4 is idle; the reserve must open first.
    assert_eq!(bench.effects, [Effect::OpenUpload { task: task(0), worker: worker(3), digest: digest() }]);
    bench.on(Event::UploadOpened { task: task(0), worker: worker(3), matches: true });
    assert_eq!(bench.authorised(), [worker(3)]);
    bench.contributed(0, 3, truth(0));
    let reveal_deadline_ms = bench.now_ms + 2 * T_MS;
    bench.on(Event::ConsensusReached { task: task(0), hash: truth(0), reveal_deadline_ms });
    assert_eq!(bench.asked(), [worker(3)]);
    bench.revealed(3);
    assert_eq!(bench.effects, [Effect::Finalize { task: task(0), worker: worker(0), digest: digest() }]);
    bench.on(Event::TaskCompleted { task: task(0) });
    assert!(bench.effects.is_empty());
}

#[test]
fn without_a_reserve_a_public_digest_ends_in_a_claim() {
    let mut bench = pool(5);
    bench.agreed().revealed(0).on(Event::UploadOpened { task: task(0), worker: worker(0), matches: true });
    bench.at(START_MS + 2 * T_MS + 1_500).on(Event::TaskReopened { task: task(0) });
    assert!(bench.leased().is_empty());
    assert_eq!(bench.task_cause(0), TaskCause::DigestPublic);
    bench.at(START_MS + 7 * T_MS + 1_500);
    assert_eq!(bench.effects, [Effect::Claim { task: task(0) }]);
}

#[test]
fn reveals_wait_for_a_reserve_but_not_long() {
    let mut bench = pool_with(3, Policy::default());
    // The reserve starts when consensus is there already.
    bench.agreed();
    assert_eq!(bench.asked().len(), 3, "nobody is free to be the reserve: no waiting");

    let mut bench = pool_with(4, Policy::default());
    bench.agreed();
    assert!(bench.asked().is_empty(), "worker 3 computes the reserve");
    bench.at(START_MS + 6_000);
    bench.ready(0, 3, truth(0));
    assert_eq!(bench.asked().len(), 3);

    let mut bench = pool_with(4, Policy::default());
    bench.agreed();
    let lease = bench.lease_of(task(0), worker(3));
    for step in 1..10 {
        bench.at(START_MS + step * 5_000).on(Event::Heartbeat { worker: worker(3), leases: vec![lease] });
        assert!(bench.asked().is_empty());
    }
    bench.at(START_MS + T_MS / 2);
    assert_eq!(bench.asked().len(), 3, "half a T is enough");
}

#[test]
fn a_busy_worker_is_waited_for_as_reserve() {
    let mut bench = pool_with(3, Policy::default());
    // Task 1 keeps worker 3, the only one that could be the reserve of task 0.
    bench.on(added(spec(0, 5)));
    for by in 0..3 {
        bench.ready(0, by, truth(0)).contributed(0, by, truth(0));
    }
    bench.on(Event::WorkerDraining { worker: worker(0) }).on(Event::WorkerDraining { worker: worker(1) });
    bench.on(Event::WorkerDraining { worker: worker(2) }).on(added(spec(1, 1))).on(joined(3));
    assert_eq!(bench.leased(), [(task(1), worker(3))]);
    let reveal_deadline_ms = bench.now_ms + 2 * T_MS;
    bench.on(Event::ConsensusReached { task: task(0), hash: truth(0), reveal_deadline_ms });
    assert!(bench.asked().is_empty(), "worker 3 will be free");
    bench.ready(1, 3, truth(1));
    assert_eq!(bench.leased(), [(task(0), worker(3))]);
    bench.ready(0, 3, truth(0));
    assert_eq!(bench.asked().len(), 3);
}

#[test]
fn proven_workers_need_no_reserve() {
    let mut bench = pool_with(4, Policy::default());
    for index in 0..4 {
        bench.on(Event::WorkerUpdated { worker: worker(index), score: 1, free_stake: Amount::from_grist(100) });
    }
    bench.on(added(spec(0, 5)));
    assert_eq!(bench.leased().len(), 3);
}

#[test]
fn a_liar_is_banned_and_what_it_holds_is_dropped() {
    let mut bench = pool(5);
    bench.on(added(spec(0, 5))).on(added(spec(1, 100)));
    bench.ready(0, 0, lie()).contributed(0, 0, lie());
    // It works at task 1 by now.
    let lease = bench.lease_of(task(1), worker(0));
    bench.all(vec![Event::ContributionRejected { task: task(0), worker: worker(0) }]);
    assert!(bench.has(&Effect::RevokeLease { lease, worker: worker(0), reason: RevokeReason::Banned }));
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Ban { .. })));
    assert!(matches!(bench.worker_cause(0), WorkerCause::Banned { .. }));
    bench.on(Event::WorkerPardoned { worker: worker(0) });
    assert!(!matches!(bench.worker_cause(0), WorkerCause::Banned { .. }));
}

#[test]
fn what_expired_is_conceded_or_claimed() {
    let mut bench = pool(0);
    bench.on(added(spec(0, 5)));
    bench.at(START_MS + 6 * T_MS);
    assert_eq!(
        bench.effects.last(),
        Some(&Effect::Concede { task: task(0) }),
        "no run fits any more, nobody contributed"
    );

    let mut bench = pool(1);
    bench.on(added(spec(0, 5)));
    bench.ready(0, 0, truth(0)).contributed(0, 0, truth(0));
    bench.at(START_MS + 7 * T_MS);
    assert!(!bench.has(&Effect::Concede { task: task(0) }), "the ledger's clock may be behind");
    bench.at(START_MS + 7 * T_MS + 1_500);
    assert!(bench.has(&Effect::Concede { task: task(0) }));
    bench.on(Event::CallFailed { task: task(0), call: Call::Concede, reason: "?".to_owned() });
    bench.at(START_MS + 10 * T_MS + 1_500);
    assert!(bench.has(&Effect::Claim { task: task(0) }));
    bench.at(START_MS + 10 * T_MS + 31_500);
    assert!(bench.has(&Effect::Claim { task: task(0) }), "asked for again after a while");
    bench.on(Event::TaskFailed { task: task(0) });
    assert_eq!((bench.scheduler.open_tasks().count(), bench.scheduler.next_deadline()), (0, None));
}

#[test]
fn no_lease_when_a_run_would_not_fit() {
    let mut bench = pool(0);
    bench.on(added(spec(0, 1)));
    bench.now_ms = START_MS + 6 * T_MS - 1_000;
    bench.on(joined(0));
    assert_eq!(bench.leased().len(), 1, "T and a second are left");

    let mut bench = pool(0);
    bench.on(added(spec(0, 1)));
    bench.now_ms = START_MS + 6 * T_MS - 999;
    bench.on(joined(0));
    assert!(bench.leased().is_empty());
}

#[test]
fn the_median_run_counts_once_it_is_known() {
    let mut bench = pool(1);
    for index in 0..4 {
        bench.on(added(spec(index, 1)));
    }
    for index in 0..3 {
        bench.now_ms += 2_000;
        bench.ready(index, 0, truth(index)).on(Event::TaskCompleted { task: task(index) });
    }
    let lease = bench.lease_of(task(3), worker(0));
    bench.on(Event::LeaseDeclined { lease, reason: DeclineReason::Unable(String::new()) });
    bench.now_ms = START_MS + 7 * T_MS - 3_000;
    bench.on(joined(1));
    assert_eq!(bench.leased(), [(task(3), worker(1))], "two seconds and one to contribute are left");
}

#[test]
fn a_restart_picks_up_what_the_ledger_and_the_store_have() {
    let mut bench = pool(0);
    let mut spec = spec(0, 5);
    let vote = |by: u64, status| SeenContribution { worker: worker(by), hash: truth(0), weight: 2, status };
    spec.ledger = LedgerState {
        contributions: vec![
            vote(0, ContributionStatus::Proved),
            vote(1, ContributionStatus::Contributed),
            vote(2, ContributionStatus::Contributed),
        ],
        consensus: Some(SeenConsensus { hash: truth(0), reveal_deadline_ms: START_MS + T_MS }),
        digest: Some(digest()),
        held: vec![HeldResult { worker: worker(3), result_hash: truth(0) }],
        ..LedgerState::default()
    };
    bench.on(added(spec));
    assert_eq!(bench.asked(), [worker(1), worker(2)]);
    assert!(bench.has(&Effect::OpenUpload { task: task(0), worker: worker(0), digest: digest() }));
    // A holder that comes back is asked once more.
    bench.on(joined(1));
    assert_eq!(bench.asked(), [worker(1)]);
    bench.on(Event::UploadOpened { task: task(0), worker: worker(0), matches: true }).revealed(1).revealed(2);
    assert_eq!(bench.effects, [Effect::Finalize { task: task(0), worker: worker(0), digest: digest() }]);
    bench.on(Event::TaskCompleted { task: task(0) });
    assert_eq!(bench.effects, [Effect::Forget { task: task(0), worker: worker(3) }]);
}

#[test]
fn an_authorisation_is_repeated_to_a_worker_that_comes_back() {
    let mut bench = pool(1);
    bench.on(added(spec(0, 2)));
    bench.ready(0, 0, truth(0));
    bench.on(Event::WorkerLeft { worker: worker(0) }).on(joined(0));
    assert_eq!(bench.authorised(), [worker(0)]);
}

#[test]
fn a_result_from_before_a_restart_is_adopted() {
    let mut bench = pool(0);
    let lease = LeaseId::derive(Fence(7), task(0), worker(0));
    let ready = Event::ResultReady { worker: worker(0), task: task(0), lease, result_hash: truth(0) };
    bench.all(vec![added(spec(0, 2)), joined(0), ready]);
    assert!(bench.leased().is_empty());
    assert_eq!(bench.authorised(), [worker(0)]);
}

#[test]
fn a_requester_with_many_tasks_does_not_keep_others_waiting() {
    let mut bench = pool(1);
    let of = |requester: u8, index: u64| TaskSpec {
        requester: Address::repeat_byte(requester),
        deal: DealId(B256::repeat_byte(requester)),
        ..spec(index, 1)
    };
    bench.all((0..300).map(|index| added(of(1, index))).collect());
    bench.all((300..303).map(|index| added(of(2, index))).collect());
    let mut served = Vec::new();
    for _ in 0..10 {
        let (lease, task, _) = bench.scheduler.live_leases().next().unwrap();
        served.push(if (300..303).any(|index| task == self::task(index)) { 2 } else { 1 });
        // It cannot, so that the next one comes.
        bench.on(Event::LeaseDeclined { lease, reason: DeclineReason::Unable("no".to_owned()) });
    }
    assert_eq!(served, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1]);
}

#[test]
fn whoever_has_nothing_else_to_do_computes_what_is_late() {
    let policy = Policy {
        reserve_replicas: 0,
        lease_duration_ms: u64::MAX,
        lease_duration_ms_min: u64::MAX,
        ..Policy::default()
    };
    let mut bench = pool_with(6, policy);
    bench.all((0..5).map(|index| added(spec(index, 1))).collect());
    let holder = |bench: &Bench, index: u64| -> Vec<WorkerId> {
        bench.scheduler.live_leases().filter(|(_, of, _)| *of == task(index)).map(|(_, _, worker)| worker).collect()
    };
    assert_eq!(holder(&bench, 4), [worker(4)]);
    // Three take ten seconds: so late is what takes fifteen.
    bench.now_ms = START_MS + 10_000;
    for index in 0..3 {
        bench.ready(index, index, truth(index));
    }
    assert_eq!((holder(&bench, 3).len(), holder(&bench, 4).len()), (1, 1));
    let late_ms = START_MS + 15_000;
    assert_eq!(bench.scheduler.next_deadline(), Some(late_ms));
    bench.now_ms = late_ms;
    bench.on(Event::Tick);
    assert_eq!((holder(&bench, 3).len(), holder(&bench, 4).len()), (2, 2));
    // The copy comes first and counts; the task's end takes the other lease back.
    let copy = holder(&bench, 3).into_iter().find(|holder| *holder != worker(3)).unwrap();
    let index = (0..6).find(|index| worker(*index) == copy).unwrap();
    bench.ready(3, index, truth(3));
    assert_eq!(bench.authorised(), [copy]);
    bench.on(Event::TaskCompleted { task: task(3) });
    assert!(
        bench.effects.iter().any(|effect| matches!(effect, Effect::RevokeLease { worker: of, .. } if *of == worker(3)))
    );
    // A copy of a copy, but no third; and nobody waits for a copy who could do something that is needed.
    bench.now_ms = late_ms + 15_000;
    bench.on(Event::Tick);
    assert_eq!(holder(&bench, 4).len(), 3);
    bench.now_ms = late_ms + 30_000;
    bench.on(Event::Tick);
    assert_eq!(holder(&bench, 4).len(), 3);
}

#[test]
fn explains_what_binds() {
    let mut bench = pool(0);
    assert_eq!((bench.task_cause(0), bench.worker_cause(0)), (TaskCause::Unknown, WorkerCause::Unknown));
    bench.on(added(spec(0, 5)));
    assert_eq!(bench.task_cause(0), TaskCause::NoWorkers);

    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    bench.on(Event::WorkerJoined(WorkerSpec { free_stake: Amount::from_grist(1), ..plain.clone() }));
    let missing = Amount::from_grist(2);
    assert_eq!(bench.task_cause(0), TaskCause::StakeTooLow { worker: worker(0), missing });
    assert_eq!(bench.worker_cause(0), WorkerCause::StakeTooLow { missing });
    let fix = bench.scheduler.explain_task(START_MS, task(0)).fix;
    assert_eq!(fix.as_deref(), Some("deposit 2 GRIST for it"));

    bench.on(Event::WorkerUpdated { worker: worker(0), score: 0, free_stake: Amount::from_grist(3) });
    assert_eq!(bench.task_cause(0), TaskCause::Running { leases: 1 });
    assert_eq!(bench.worker_cause(0), WorkerCause::Working { leases: 1, slots: 1 });
    bench.ready(0, 0, truth(0));
    assert_eq!(bench.task_cause(0), TaskCause::Contributing { authorised: 1 });
    bench.contributed(0, 0, truth(0));
    assert_eq!(bench.task_cause(0), TaskCause::AllTried { connected: 1, missing: 2 });
    assert_eq!(bench.worker_cause(0), WorkerCause::AllTried);

    bench.on(Event::WorkerJoined(WorkerSpec {
        worker: worker(1),
        profile: EngineProfile("e2".to_owned()),
        ..plain.clone()
    }));
    assert_eq!(bench.task_cause(0), TaskCause::ProfileMismatch { profile: "e1".to_owned() });
    assert_eq!(bench.worker_cause(1), WorkerCause::ProfileMismatch { profile: "e2".to_owned() });
    bench.on(Event::WorkerDraining { worker: worker(1) });
    assert_eq!(bench.worker_cause(1), WorkerCause::Draining);
    bench.on(Event::WorkerDraining { worker: worker(0) });
    assert_eq!(bench.task_cause(0), TaskCause::NoneUsable { connected: 2 });
    bench.now_ms = START_MS + 6 * T_MS;
    assert!(matches!(bench.task_cause(0), TaskCause::TooLate { .. }));
    bench.on(Event::WorkerLeft { worker: worker(0) });
    assert_eq!(bench.worker_cause(0), WorkerCause::Disconnected);
}

#[test]
fn a_task_goes_to_a_worker_that_lends_what_it_needs() {
    let mut bench = pool(1);
    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    let join = |index, slots, gpus, network| {
        let offers = Offers { gpus, network };
        Event::WorkerJoined(WorkerSpec { worker: worker(index), slots, offers, ..plain.clone() })
    };
    let needs = Needs { gpu: true, network: false };
    let with_gpu = |index| added(TaskSpec { needs, ..spec(index, 1) });
    bench.on(with_gpu(0));
    assert_eq!(bench.task_cause(0), TaskCause::NeedsMissing { needs });
    assert_eq!(bench.worker_cause(0), WorkerCause::NeedsMissing { needs });
    // A task behind it that needs nothing does not wait for it.
    bench.on(added(spec(1, 1)));
    assert_eq!(bench.task_cause(1), TaskCause::Running { leases: 1 });
    bench.on(join(1, 3, 0, true));
    assert_eq!(bench.task_cause(0), TaskCause::NeedsMissing { needs });

    // One GPU and three slots: one task with a GPU at a time, and others beside it.
    bench.on(join(2, 3, 1, false));
    assert_eq!(bench.task_cause(0), TaskCause::Running { leases: 1 });
    bench.on(with_gpu(2));
    assert_eq!(bench.task_cause(2), TaskCause::AllBusy { workers: 1 });
    assert_eq!(bench.worker_cause(2), WorkerCause::GpusTaken { gpus: 1 });
    bench.on(Event::WorkerLeft { worker: worker(0) });
    bench.on(Event::WorkerLeft { worker: worker(1) });
    bench.on(added(spec(3, 1)));
    assert_eq!(bench.task_cause(3), TaskCause::Running { leases: 1 });
    bench.ready(0, 2, truth(0));
    assert_eq!(bench.task_cause(2), TaskCause::Running { leases: 1 });

    let both = Needs { gpu: true, network: true };
    bench.on(added(TaskSpec { needs: both, ..spec(4, 1) }));
    assert_eq!(bench.worker_cause(2), WorkerCause::NeedsMissing { needs: Needs { gpu: false, network: true } });
}

#[test]
fn explains_who_is_busy_and_what_cannot_win() {
    let mut bench = pool(1);
    bench.on(added(spec(0, 1))).on(added(spec(1, 1)));
    assert_eq!(bench.task_cause(1), TaskCause::AllBusy { workers: 1 });
    assert_eq!(bench.worker_cause(0), WorkerCause::Working { leases: 1, slots: 1 });

    // 31 places taken by different answers: the last cannot bring consensus.
    let mut spec = spec(2, 1_000);
    let vote = |by: u64| SeenContribution {
        worker: worker(100 + by),
        hash: B256::with_last_byte(by as u8 + 1),
        weight: 2,
        status: ContributionStatus::Contributed,
    };
    spec.ledger.contributions = (0..31).map(vote).collect();
    bench.on(added(spec));
    assert_eq!(bench.task_cause(2), TaskCause::NoPlaces);
}

#[test]
fn thousands_of_tasks_and_workers_are_no_burden() {
    const WORKERS: u64 = 2_000;
    const TASKS: u64 = 10_000;
    let id = |index: u64| WorkerId(Address::from_word(B256::from(alloy_primitives::U256::from(index + 1))));
    let mut scheduler = Scheduler::new(Policy::default(), Fence(1));
    let Event::WorkerJoined(plain) = joined(0) else { unreachable!() };
    for index in 0..WORKERS {
        let spec = WorkerSpec { worker: id(index), score: 1, ..plain.clone() };
        scheduler.handle(START_MS, Event::WorkerJoined(spec));
    }
    let mut queue = VecDeque::new();
    for index in 0..TASKS {
        queue.extend(scheduler.handle(START_MS, added(spec(index, 3))));
    }
    let mut landed = BTreeMap::<TaskId, u64>::new();
    let mut completed = 0;
    while let Some(effect) = queue.pop_front() {
        let events = match effect {
            Effect::Lease { lease, task, worker, .. } => {
                let result_hash = hash_of(task, digest());
                vec![Event::LeaseAccepted { lease }, Event::ResultReady { worker, task, lease, result_hash }]
            }
            Effect::Authorise { task, worker, .. } => {
                let hash = hash_of(task, digest());
                let count = landed.entry(task).or_default();
                *count += 1;
                let mut events = vec![Event::ContributionSeen { task, worker, hash, weight: 2 }];
                if *count == 2 {
                    events.push(Event::ConsensusReached { task, hash, reveal_deadline_ms: START_MS + 2 * T_MS });
                }
                events
            }
            Effect::AskReveal { task, worker } => vec![Event::RevealSeen { task, worker, digest: digest() }],
            Effect::OpenUpload { task, worker, .. } => vec![Event::UploadOpened { task, worker, matches: true }],
            Effect::Finalize { task, .. } => {
                completed += 1;
                vec![Event::TaskCompleted { task }]
            }
            _ => Vec::new(),
        };
        queue.extend(scheduler.handle_all(START_MS, events));
    }
    assert_eq!(completed, TASKS);
    assert_eq!((scheduler.leases.len(), scheduler.line.all(Queue::Needy).count(), scheduler.timers.len()), (0, 0, 0));
    assert_eq!(scheduler.idle[0].len() as u64, WORKERS);
}

/// A pool may have a million of them.
#[test]
fn tasks_that_wait_take_little_and_one_timer_a_deal() {
    const TASKS: u64 = 100;
    let (mut bench, like) = (pool(0), spec(0, 3));
    let same = |index| added(TaskSpec { task: task(index), ..like.clone() });
    bench.all((0..TASKS).map(same).collect());
    assert_eq!((bench.scheduler.timers.len(), bench.scheduler.line.all(Queue::Needy).count() as u64), (1, TASKS));
    assert!(std::mem::size_of::<Core>() <= 96, "{}", std::mem::size_of::<Core>());
    // One that is leased has a timer of its own.
    bench.on(joined(0));
    assert_eq!((bench.leased().len(), bench.scheduler.timers.len()), (1, 2));
    bench.on(Event::WorkerLeft { worker: worker(0) });
    // When nobody can be in time any more, all of them are looked at.
    bench.at(START_MS + 7 * T_MS + 10_000);
    let conceded = bench.effects.iter().filter(|effect| matches!(effect, Effect::Concede { .. })).count() as u64;
    assert_eq!(conceded, TASKS);
    bench.all((0..TASKS).map(|index| Event::TaskFailed { task: task(index) }).collect());
    assert!(bench.scheduler.timers.iter().all(|(_, timer)| !matches!(timer, Timer::Task(_) | Timer::Deal(_))));
}
