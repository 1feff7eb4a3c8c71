use super::*;

const WEEK: u64 = 7 * 86_400;
const ME: Address = Address::repeat_byte(0xee);

fn asker() -> Asker {
    Asker { worker: ME, slots: 2, memory_bytes: 1 << 30, wanted: vec![], left: BTreeSet::new() }
}

fn ngrist(ngrist: u128) -> Amount {
    Amount::from_ngrist(ngrist)
}

/// A pool that has paid 7,000 for 7 tasks of three replicas to three workers in the week, whose tasks take ten seconds.
fn pool(number: u8) -> Facts {
    let workers = (1..=3).map(|worker| (Address::repeat_byte(worker), ngrist(7_000))).collect();
    Facts {
        workerpool: Address::repeat_byte(number),
        owner: Address::repeat_byte(0x80 + number),
        name: format!("pool {number}"),
        url: format!("grist://pool-{number}:1/"),
        fee_percent: 10,
        fee_percent_before: Some(10),
        stake_percent: 30,
        offers: vec![Offer { category: 0, work_clock_s: 300, price: ngrist(10_000), tasks_left: 9 }],
        activity: PoolActivity {
            last_deal: None,
            tasks_ordered: 7,
            tasks_completed: 7,
            tasks_failed: 0,
            rewards: ngrist(21_000),
            payments: 21,
            workers,
        },
        reply: Reply::Said(Said { workers: 4, slots: 4, tasks_waiting: 0, task_ms: Some(10_000) }),
    }
}

fn new_pool(number: u8) -> Facts {
    let reply = Reply::Said(Said { workers: 0, slots: 0, tasks_waiting: 0, task_ms: None });
    Facts { activity: PoolActivity::default(), fee_percent_before: None, reply, ..pool(number) }
}

/// The pools' numbers in the order in which they come out, and what is expected there.
fn ranked(facts: &[Facts]) -> Vec<(u8, u128)> {
    let rows = rank(facts, &asker(), WEEK);
    rows.iter().map(|row| (row.workerpool.0[0], row.expected_per_day.ngrist())).collect()
}

fn said(facts: &mut Facts) -> &mut Said {
    match &mut facts.reply {
        Reply::Said(said) => said,
        Reply::Trouble(trouble) => panic!("{trouble}"),
    }
}

#[test]
fn what_was_paid_is_shared_by_all_slots() {
    // 21,000 in seven days are 3,000 a day; four slots and these two share them.
    assert_eq!(ranked(&[pool(1)]), [(1, 1_000)]);
    let row = &rank(&[pool(1)], &asker(), WEEK)[0];
    assert_eq!((row.paid_per_task, row.busy_per_hour), (Some(ngrist(1_000)), Some(ngrist(360_000))));
    assert!(!row.untried);
}

#[test]
fn the_better_one_comes_first() {
    let mut busier = pool(2);
    said(&mut busier).slots = 1;
    let mut dearer = pool(3);
    (dearer.fee_percent, dearer.fee_percent_before) = (55, Some(10));
    let mut waiting = pool(4);
    (said(&mut waiting).tasks_waiting, waiting.activity.tasks_ordered) = (2, 9);
    // Its three paid workers count, though it says it has one slot: 3,000 * 2 / 5. Half of what is left of a reward: half the pay. Two
    // tasks that wait, three replicas each, are 6,000 more to share.
    let expected = [(4, 3_000), (2, 1_200), (1, 1_000), (3, 500)];
    assert_eq!(ranked(&[pool(1), busier.clone(), dearer.clone(), waiting.clone()]), expected);
    assert_eq!(ranked(&[waiting, dearer, pool(1), busier]), expected);
}

#[test]
fn equals_go_by_fee_and_then_by_address() {
    let mut cheap = pool(9);
    // Nothing is expected of either.
    (cheap.fee_percent, cheap.activity, cheap.offers) = (5, PoolActivity::default(), vec![]);
    let none = |number| Facts { offers: vec![], activity: PoolActivity::default(), ..pool(number) };
    assert_eq!(ranked(&[none(7), none(3), cheap]), [(9, 0), (3, 0), (7, 0)]);
}

#[test]
fn a_pools_word_counts_only_as_far_as_the_ledger_goes() {
    let mut boaster = pool(1);
    (*said(&mut boaster)) = Said { workers: 0, slots: 0, tasks_waiting: u64::MAX, task_ms: Some(1) };
    // No open task on the ledger: nothing waits. No slot: the three that were paid.
    assert_eq!(ranked(&[boaster]), [(1, 1_200)]);
    let mut crowded = pool(1);
    said(&mut crowded).slots = u64::MAX;
    assert_eq!(ranked(&[crowded]), [(1, 0)]);
}

#[test]
fn nobody_earns_more_than_a_busy_slot() {
    let mut slow = pool(1);
    // A day a task: a payment a day and slot.
    said(&mut slow).task_ms = Some(86_400_000);
    slow.activity.rewards = ngrist(21_000_000);
    said(&mut slow).slots = 0;
    assert_eq!(ranked(&[slow.clone()]), [(1, 1_200_000)]);
    slow.activity.payments = 210;
    slow.activity.tasks_completed = 70;
    assert_eq!(ranked(&[slow]), [(1, 200_000)]);
}

#[test]
fn a_new_pool_is_tried_at_the_markets_price() {
    let mut usurer = new_pool(2);
    usurer.offers[0].price = Amount::MAX;
    let mut thrifty = new_pool(3);
    thrifty.fee_percent = 0;
    // 10,000 less a tenth, over three replicas, every 300 s, a twentieth of the day, two slots. Who asks for more gets no more.
    let price = |keeps: u128| 2 * ((10_000 * keeps / 300) * 86_400 / 300 * 5 / 100);
    assert_eq!(ranked(&[new_pool(1), usurer, thrifty]), [(3, price(100)), (1, price(90)), (2, price(90))]);
    let row = &rank(&[new_pool(1)], &asker(), WEEK)[0];
    assert!(row.untried && row.paid_per_task.is_none());
    // Alone with its price it still overflows nothing.
    let mut alone = new_pool(4);
    alone.offers[0] = Offer { category: 7, work_clock_s: 0, price: Amount::MAX, tasks_left: 1 };
    assert_eq!(ranked(&[alone]).len(), 1);
}

#[test]
fn who_has_paid_goes_before_who_has_not() {
    // A new pool alone would promise 86,400.
    assert_eq!(ranked(&[new_pool(1), pool(2)]), [(2, 1_000), (1, 500)]);
    let mut dry = pool(2);
    dry.offers = vec![];
    assert_eq!(ranked(&[new_pool(1), dry]), [(1, 86_400), (2, 0)]);
    // Half an hour of luck is not taken for a day of it.
    let rows = rank(&[pool(1)], &asker(), 1_800);
    assert_eq!(rows[0].expected_per_day, ngrist(7_000));
}

#[test]
fn a_raised_fee_scales_what_was_paid() {
    let mut raised = pool(1);
    (raised.fee_percent, raised.fee_percent_before) = (99, Some(0));
    assert_eq!(ranked(&[raised.clone()]), [(1, 10)]);
    // It kept all: nothing of it can be scaled, and it counts as new.
    (raised.fee_percent, raised.fee_percent_before) = (0, Some(100));
    raised.activity.rewards = Amount::ZERO;
    assert!(ranked(&[raised])[0].1 > 0);
}

#[test]
fn who_is_not_to_be_joined_comes_last_and_says_why() {
    let trouble = Facts { reply: Reply::Trouble("no pool answers".to_owned()), ..pool(1) };
    let mut greedy = pool(2);
    greedy.fee_percent = 100;
    let mut large = pool(3);
    large.offers = vec![Offer { category: 2, work_clock_s: 3_600, price: ngrist(1), tasks_left: 1 }];
    let unwanted = pool(4);
    let poor = Facts { offers: vec![], activity: PoolActivity::default(), ..pool(5) };
    let asker = Asker { wanted: [1, 2, 3, 5].map(Address::repeat_byte).to_vec(), ..asker() };
    let rows = rank(&[trouble, greedy, large, unwanted, poor], &asker, WEEK);
    let said: Vec<(u8, &str)> =
        rows.iter().map(|row| (row.workerpool.0[0], row.objection.as_deref().unwrap_or_default())).collect();
    assert_eq!(said[0], (5, ""));
    let words = [(2, "keeps all"), (1, "no pool answers"), (3, "memory_mib"), (4, "policy.pools")];
    for (number, word) in words {
        let why = said.iter().find(|(found, _)| *found == number).unwrap().1;
        assert!(why.contains(word), "{number}: {why}");
    }
    assert!(rows[1..].iter().all(|row| row.expected_per_day.is_zero()));
    assert_eq!(choose(&rows, None).map(|row| row.workerpool.0[0]), Some(5));
    assert_eq!(choose(&rows[1..], None), None);
}

#[test]
fn it_moves_only_for_a_fifth_more() {
    let with_slots = |number, slots| {
        let mut facts = pool(number);
        said(&mut facts).slots = slots;
        facts
    };
    let chosen = |facts: &[Facts], current: u8| {
        let rows = rank(facts, &asker(), WEEK);
        choose(&rows, Some(Address::repeat_byte(current))).map(|row| row.workerpool.0[0])
    };
    // 1,000 here; 1,200 there is not more than a fifth more, 1,500 of a pool of two slots would be if it had not paid three workers.
    let (here, there) = (with_slots(1, 4), with_slots(2, 3));
    assert_eq!(chosen(&[here.clone(), there.clone()], 1), Some(1));
    assert_eq!(chosen(&[here.clone(), there.clone()], 9), Some(2));
    let crowded = with_slots(1, 5);
    assert_eq!(chosen(&[crowded, there.clone()], 1), Some(2));
    let gone = Facts { reply: Reply::Trouble("gone".to_owned()), ..here.clone() };
    assert_eq!(chosen(&[gone, there.clone()], 1), Some(2));
    // Where it has earned nothing it expects nothing, whatever others are said to have had.
    let asker = Asker { left: BTreeSet::from([Address::repeat_byte(2)]), ..asker() };
    let rows = rank(&[here, there], &asker, WEEK);
    assert_eq!(rows.iter().map(|row| row.workerpool.0[0]).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn orders_of_a_class_are_shown_as_one() {
    let offer = |category, price, tasks_left| Offer { category, work_clock_s: 300, price: ngrist(price), tasks_left };
    let facts = Facts { offers: vec![offer(1, 5, u64::MAX), offer(0, 7, 2), offer(1, 3, 4)], ..pool(1) };
    assert_eq!(rank(&[facts], &asker(), WEEK)[0].offers, [offer(0, 7, 2), offer(1, 3, u64::MAX)]);
}
