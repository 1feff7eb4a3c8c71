//! A tiny market under one seed: the scheduler, workers of every kind, and the hub's rules as the ledger.

mod market;
mod world;

use std::collections::BTreeMap;

use gristmill_credibility::Policy as Belief;
use gristmill_scheduler::Policy;
use gristmill_types::{Needs, TaskStatus};
use world::{Kind, World};

fn workers(kinds: &[(Kind, usize)]) -> Vec<Kind> {
    kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count)).collect()
}

/// By the hub alone, believing one's own machines, believing strangers.
fn beliefs() -> [Option<Belief>; 3] {
    [None, Some(Belief::private()), Some(Belief::default())]
}

/// Runs a market to its end and hands it back for more looks.
fn run(seed: u64, kinds: &[(Kind, usize)], tasks: u64, trust: u64, belief: &Option<Belief>) -> World {
    let mut world = World::new(seed, &workers(kinds), Policy::default(), belief.clone());
    world.add_deal(tasks, trust);
    world.run();
    world
}

fn completed(world: &World) -> usize {
    world.statuses().filter(|status| *status == TaskStatus::Completed).count()
}

#[test]
fn honest_workers_complete_everything() {
    for belief in beliefs() {
        for (seed, trust) in [(1, 1), (2, 2), (3, 5), (4, 100)] {
            let world = run(seed, &[(Kind::Honest, 12)], 20, trust, &belief);
            assert_eq!(completed(&world), 20, "seed {seed} trust {trust} {belief:?}");
            assert!(world.rejected().is_empty());
        }
    }
}

#[test]
fn authorises_no_more_than_needed() {
    for belief in beliefs() {
        let world = run(5, &[(Kind::Honest, 12)], 20, 5, &belief);
        assert_eq!(world.contributions(), 60, "three newcomers a task, {belief:?}");
    }
}

#[test]
fn a_liar_is_caught_and_the_result_is_right() {
    let kinds = [(Kind::Honest, 8), (Kind::Liar, 1)];
    for belief in beliefs() {
        let mut caught = 0;
        for seed in 0..10 {
            let world = run(seed, &kinds, 6, 5, &belief);
            assert_eq!(completed(&world), 6, "seed {seed} {belief:?}");
            assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Liar), "seed {seed}");
            caught += usize::from(!world.rejected().is_empty());
        }
        // Among strangers a vote of four is no proof yet: the stake of who lost it is left alone.
        let is_public = belief.as_ref().is_some_and(|belief| belief.public);
        assert!(if is_public { caught == 0 } else { caught >= 9 }, "{caught} {belief:?}");
    }
}

#[test]
fn a_copier_ends_unpaid_and_the_result_is_right() {
    for belief in beliefs() {
        let mut caught = 0;
        for seed in 0..10 {
            let world = run(seed, &[(Kind::Copier, 1), (Kind::Honest, 8)], 4, 5, &belief);
            assert_eq!(completed(&world), 4, "seed {seed} {belief:?}");
            assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Copier), "seed {seed}");
            caught += world.rejected().len();
        }
        assert!(caught >= 5, "{caught} copiers were caught, {belief:?}");
    }
}

#[test]
fn a_worker_that_never_reveals_does_not_cost_the_result() {
    for belief in beliefs() {
        let mut caught = 0;
        for seed in 0..10 {
            let world = run(seed, &[(Kind::Unrevealing, 1), (Kind::Honest, 8)], 4, 5, &belief);
            assert_eq!(completed(&world), 4, "seed {seed} {belief:?}");
            assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Unrevealing), "seed {seed}");
            caught += world.rejected().len();
        }
        assert!(caught >= 5, "{caught} silent ones were caught, {belief:?}");
    }
}

#[test]
fn mute_dying_and_flaky_workers_lose_their_leases_and_nothing_else() {
    for belief in beliefs() {
        for seed in 0..10 {
            let kinds = [(Kind::Mute, 2), (Kind::Dying, 2), (Kind::Flaky, 2), (Kind::Honest, 6)];
            let world = run(seed, &kinds, 10, 5, &belief);
            assert_eq!(completed(&world), 10, "seed {seed} {belief:?}");
            assert!(world.rejected().is_empty());
        }
    }
}

#[test]
fn whoever_takes_part_every_task_ends() {
    let kinds = [Kind::Honest, Kind::Liar, Kind::Copier, Kind::Unrevealing, Kind::Mute, Kind::Dying, Kind::Flaky];
    for belief in beliefs() {
        let mut outcomes = BTreeMap::<String, u64>::new();
        for seed in 0..60 {
            let mut dice = world::Dice(seed);
            let cast = (0..3 + dice.roll(12))
                .map(|_| if dice.roll(2) == 0 { Kind::Honest } else { kinds[dice.roll(7) as usize] });
            let cast = cast.collect::<Vec<_>>();
            let mut world = World::new(seed, &cast, Policy::default(), belief.clone());
            for _ in 0..1 + dice.roll(3) {
                world.add_deal(1 + dice.roll(8), [1, 2, 4, 5, 9][dice.roll(5) as usize]);
            }
            world.run();
            for status in world.statuses() {
                *outcomes.entry(format!("{status:?}")).or_default() += 1;
            }
        }
        println!("{outcomes:?} {belief:?}");
        assert!(outcomes["Completed"] > 200 && outcomes["Failed"] > 20, "{outcomes:?} {belief:?}");
    }
}

#[test]
fn with_somebody_who_has_tasks_run_elsewhere_every_task_ends_and_more_of_them_well() {
    let hurried = Policy { overflow_after_ms: 8_000, ..Policy::default() };
    for belief in beliefs() {
        let (mut bought, mut alone, mut together) = (0, 0, 0);
        for seed in 0..40 {
            let mut dice = world::Dice(seed);
            let cast = (0..1 + dice.roll(4)).map(|_| [Kind::Honest, Kind::Mute, Kind::Dying][dice.roll(3) as usize]);
            let cast = cast.collect::<Vec<_>>();
            let (tasks, trust) = (4 + dice.roll(30), [1, 1, 2][dice.roll(3) as usize]);
            for buys in [false, true] {
                let mut world = World::new(seed, &cast, hurried.clone(), belief.clone());
                if buys {
                    world.buy_elsewhere();
                }
                world.add_deal(tasks, trust);
                if seed % 3 == 0 {
                    world.run_until(5_000);
                    world.restart();
                }
                world.run();
                bought += world.bought();
                *(if buys { &mut together } else { &mut alone }) += completed(&world);
            }
        }
        println!("{bought} bought: {together} completed, without {alone}, {belief:?}");
        assert!(bought > 100 && together > alone + 50, "{bought} {together} {alone} {belief:?}");
    }
}

#[test]
fn tasks_that_need_a_gpu_go_where_one_is_free_and_hold_up_nobody() {
    for belief in beliefs() {
        for seed in 0..20 {
            let cast = workers(&[(Kind::Honest, 12), (Kind::Flaky, 2)]);
            let mut world = World::new(seed, &cast, Policy::default(), belief.clone());
            world.lend_gpus();
            world.add_deal_of(6, 5, Needs { gpu: true, network: false });
            world.add_deal(8, 5);
            world.run();
            assert_eq!(completed(&world), 14, "seed {seed} {belief:?}");
        }
    }
}

#[test]
fn a_restart_in_the_middle_loses_nothing() {
    for belief in beliefs() {
        for seed in 0..20 {
            let cast = workers(&[(Kind::Honest, 9), (Kind::Liar, 1)]);
            let mut world = World::new(seed, &cast, Policy::default(), belief.clone());
            world.add_deal(8, 5);
            for restart in 1..4 {
                world.run_until(restart * (1_000 + seed * 150));
                world.restart();
            }
            world.run();
            assert_eq!(completed(&world), 8, "seed {seed} {belief:?}");
        }
    }
}

#[test]
fn another_policy_in_the_middle_loses_no_task_and_doubles_no_lease() {
    for belief in beliefs() {
        for seed in 0..40 {
            let cast = workers(&[(Kind::Honest, 9), (Kind::Liar, 1), (Kind::Dying, 1), (Kind::Mute, 1)]);
            let mut world = World::new(seed, &cast, Policy::default(), belief.clone());
            world.add_deal(8, 5);
            let mut dice = world::Dice(seed);
            for change in 1..8 {
                world.run_until(change * (500 + dice.roll(1_500)));
                world.change_policy(Policy {
                    lease_duration_ms: 3_000 + dice.roll(20_000),
                    run_limit_ratio: 1 + dice.roll(5),
                    contribution_wait_ms: 4_000 + dice.roll(60_000),
                    host_fault_retries: 3 + dice.roll(3) as u32,
                    reserve_replicas: dice.roll(3) as u32,
                    late_percent: [0, 100, 150, 400][dice.roll(4) as usize],
                    late_ms_min: dice.roll(4_000),
                    copies_max: dice.roll(4) as u32,
                    end_percent: dice.roll(100),
                    end_copies_max: dice.roll(6) as u32,
                    ..Policy::default()
                });
                if change == 3 {
                    world.add_deal(4, 2);
                }
            }
            world.run();
            assert_eq!(completed(&world), 12, "seed {seed} {belief:?}");
        }
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for belief in beliefs() {
        let trace = |seed| run(seed, &[(Kind::Honest, 6), (Kind::Liar, 1), (Kind::Dying, 1)], 8, 5, &belief).trace;
        assert_eq!(trace(7), trace(7));
        assert_ne!(trace(7), trace(8));
    }
}

#[test]
fn a_liar_cannot_stop_those_who_are_just_enough() {
    let kinds = [(Kind::Honest, 3), (Kind::Liar, 1)];
    for belief in beliefs().into_iter().skip(1) {
        for seed in 0..20 {
            let world = run(seed, &kinds, 6, 5, &belief);
            assert_eq!(completed(&world), 6, "seed {seed} {belief:?}");
            assert!(world.rejected().is_empty(), "seed {seed}: nobody is there who would outvote it on the ledger");
        }
    }
}
