//! A tiny market under one seed: the scheduler, workers of every kind, and the hub's rules as the ledger.

mod market;
mod world;

use std::collections::BTreeMap;

use gristmill_scheduler::Policy;
use gristmill_types::{Needs, TaskStatus};
use world::{Kind, World};

fn workers(kinds: &[(Kind, usize)]) -> Vec<Kind> {
    kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count)).collect()
}

/// Runs a market to its end and hands it back for more looks.
fn run(seed: u64, kinds: &[(Kind, usize)], tasks: u64, trust: u64) -> World {
    let mut world = World::new(seed, &workers(kinds), Policy::default());
    world.add_deal(tasks, trust);
    world.run();
    world
}

fn completed(world: &World) -> usize {
    world.statuses().filter(|status| *status == TaskStatus::Completed).count()
}

#[test]
fn honest_workers_complete_everything() {
    for (seed, trust) in [(1, 1), (2, 2), (3, 5), (4, 100)] {
        let world = run(seed, &[(Kind::Honest, 12)], 20, trust);
        assert_eq!(completed(&world), 20, "seed {seed} trust {trust}");
        assert!(world.rejected().is_empty());
    }
}

#[test]
fn authorises_no_more_than_needed() {
    let world = run(5, &[(Kind::Honest, 12)], 20, 5);
    assert_eq!(world.contributions(), 60, "three newcomers a task");
}

#[test]
fn a_liar_is_caught_and_the_result_is_right() {
    for seed in 0..10 {
        let world = run(seed, &[(Kind::Honest, 8), (Kind::Liar, 1)], 6, 5);
        assert_eq!(completed(&world), 6, "seed {seed}");
        assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Liar), "seed {seed}");
    }
    let caught = (0..10).filter(|seed| !run(*seed, &[(Kind::Honest, 8), (Kind::Liar, 1)], 6, 5).rejected().is_empty());
    assert!(caught.count() >= 9);
}

#[test]
fn a_copier_ends_unpaid_and_the_result_is_right() {
    let mut caught = 0;
    for seed in 0..10 {
        let world = run(seed, &[(Kind::Copier, 1), (Kind::Honest, 8)], 4, 5);
        assert_eq!(completed(&world), 4, "seed {seed}");
        assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Copier), "seed {seed}");
        caught += world.rejected().len();
    }
    assert!(caught >= 5, "{caught} copiers were caught");
}

#[test]
fn a_worker_that_never_reveals_does_not_cost_the_result() {
    let mut caught = 0;
    for seed in 0..10 {
        let world = run(seed, &[(Kind::Unrevealing, 1), (Kind::Honest, 8)], 4, 5);
        assert_eq!(completed(&world), 4, "seed {seed}");
        assert!(world.rejected().iter().all(|worker| world.kind(*worker) == Kind::Unrevealing), "seed {seed}");
        caught += world.rejected().len();
    }
    assert!(caught >= 5, "{caught} silent ones were caught");
}

#[test]
fn mute_dying_and_flaky_workers_lose_their_leases_and_nothing_else() {
    for seed in 0..10 {
        let kinds = [(Kind::Mute, 2), (Kind::Dying, 2), (Kind::Flaky, 2), (Kind::Honest, 6)];
        let world = run(seed, &kinds, 10, 5);
        assert_eq!(completed(&world), 10, "seed {seed}");
        assert!(world.rejected().is_empty());
    }
}

#[test]
fn whoever_takes_part_every_task_ends() {
    let kinds = [Kind::Honest, Kind::Liar, Kind::Copier, Kind::Unrevealing, Kind::Mute, Kind::Dying, Kind::Flaky];
    let mut outcomes = BTreeMap::<String, u64>::new();
    for seed in 0..60 {
        let mut dice = world::Dice(seed);
        let cast =
            (0..3 + dice.roll(12)).map(|_| if dice.roll(2) == 0 { Kind::Honest } else { kinds[dice.roll(7) as usize] });
        let cast = cast.collect::<Vec<_>>();
        let mut world = World::new(seed, &cast, Policy::default());
        for _ in 0..1 + dice.roll(3) {
            world.add_deal(1 + dice.roll(8), [1, 2, 4, 5, 9][dice.roll(5) as usize]);
        }
        world.run();
        for status in world.statuses() {
            *outcomes.entry(format!("{status:?}")).or_default() += 1;
        }
    }
    assert!(outcomes["Completed"] > 200 && outcomes["Failed"] > 20, "{outcomes:?}");
}

#[test]
fn tasks_that_need_a_gpu_go_where_one_is_free_and_hold_up_nobody() {
    for seed in 0..20 {
        let mut world = World::new(seed, &workers(&[(Kind::Honest, 12), (Kind::Flaky, 2)]), Policy::default());
        world.lend_gpus();
        world.add_deal_of(6, 5, Needs { gpu: true, network: false });
        world.add_deal(8, 5);
        world.run();
        assert_eq!(completed(&world), 14, "seed {seed}");
    }
}

#[test]
fn a_restart_in_the_middle_loses_nothing() {
    for seed in 0..20 {
        let mut world = World::new(seed, &workers(&[(Kind::Honest, 9), (Kind::Liar, 1)]), Policy::default());
        world.add_deal(8, 5);
        for restart in 1..4 {
            world.run_until(restart * (1_000 + seed * 150));
            world.restart();
        }
        world.run();
        assert_eq!(completed(&world), 8, "seed {seed}");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| run(seed, &[(Kind::Honest, 6), (Kind::Liar, 1), (Kind::Dying, 1)], 8, 5).trace;
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
