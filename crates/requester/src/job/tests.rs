use alloy_primitives::{B256, Bytes};
use gristmill_hub::Resource;
use gristmill_types::{Address, Trust};

use super::*;

fn task(deal: DealId, index: u64, status: TaskStatus) -> Task {
    Task {
        id: deal.task(index),
        status,
        deal,
        index,
        work_clock_s: 2,
        contribution_deadline: 0,
        reveal_deadline: 0,
        final_deadline: 0,
        consensus: B256::ZERO,
        reveal_counter: 0,
        winner_counter: 0,
        contributors: vec![],
        digest: B256::ZERO,
        results: Bytes::new(),
        callback_data: Bytes::new(),
    }
}

fn part(byte: u8, volume: u64, unmatched: u64, statuses: &[TaskStatus]) -> Part {
    let id = DealId(B256::repeat_byte(byte));
    let resource = |price| Resource { address: Address::ZERO, owner: Address::ZERO, price: Amount::from_grist(price) };
    let deal = Deal {
        id,
        app: resource(0),
        dataset: resource(0),
        workerpool: resource(2),
        trust: Trust::default(),
        category: 0,
        tag: B256::ZERO,
        requester: Address::ZERO,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: String::new(),
        start_time: 5,
        bot_first: 0,
        bot_size: statuses.len() as u64,
        worker_stake: Amount::ZERO,
        scheduler_reward_ratio: 0,
        sponsor: Address::ZERO,
    };
    Part {
        hash: OrderHash(B256::repeat_byte(byte)),
        signed: None,
        deals: if statuses.is_empty() { vec![] } else { vec![deal] },
        tasks: (0..).zip(statuses).map(|(index, status)| task(id, index, *status)).collect(),
        unmatched,
        volume,
    }
}

#[test]
fn the_state_of_a_job_follows_from_its_tasks() {
    use TaskStatus::{Active, Completed, Failed, Unset};
    let map = |statuses: &[TaskStatus]| part(1, 2, 2 - statuses.len() as u64, statuses);
    let reduce = |unmatched, statuses: &[TaskStatus]| Some(part(2, 1, unmatched, statuses));
    for (name, map, reduce, state) in [
        ("nothing matched", map(&[]), None, JobState::Waiting),
        ("closed unmatched", part(1, 2, 0, &[]), None, JobState::Cancelled),
        ("one without a pool", map(&[Completed]), None, JobState::Running),
        ("rest closed", part(1, 2, 0, &[Completed]), None, JobState::Completed),
        ("one to begin", map(&[Completed, Unset]), None, JobState::Running),
        ("all completed", map(&[Completed, Completed]), None, JobState::Completed),
        ("one refunded", map(&[Completed, Failed]), None, JobState::Failed),
        ("reduce to come", map(&[Completed, Completed]), reduce(1, &[]), JobState::Reducing),
        ("reduce runs", map(&[Completed, Completed]), reduce(0, &[Active]), JobState::Reducing),
        ("reduce done", map(&[Completed, Completed]), reduce(0, &[Completed]), JobState::Completed),
        ("reduce refunded", map(&[Completed, Completed]), reduce(0, &[Failed]), JobState::Failed),
        ("reduce cancelled", map(&[Completed, Completed]), reduce(0, &[]), JobState::Failed),
        ("reduce impossible", map(&[Completed, Failed]), reduce(1, &[]), JobState::Failed),
        ("reduce impossible later", map(&[Active, Failed]), reduce(1, &[]), JobState::Running),
    ] {
        let status = status::of(&map, reduce.as_ref(), None);
        assert_eq!(status.state, state, "{name}");
    }
}

#[test]
fn money_is_counted_by_how_the_tasks_ended() {
    use TaskStatus::{Active, Completed, Failed};
    let map = part(1, 4, 0, &[Completed, Failed, Active]);
    let status = status::of(&map, Some(&part(2, 1, 0, &[Completed])), None);
    let grist = Amount::from_grist;
    assert_eq!((status.paid, status.refunded, status.locked), (grist(4), grist(2), grist(2)));
    assert_eq!((status.tasks_completed, status.tasks_failed, status.tasks_cancelled), (1, 1, 1));
}
