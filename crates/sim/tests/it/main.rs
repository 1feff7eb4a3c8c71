//! Whole markets: every kind of saboteur, every fault, twice under one seed.

use gristmill_sim::config::{Interruption, Kind};
use gristmill_sim::{Config, Report, run};

mod tail;

/// 40 hosts that are there most of the time, and a bag now and then.
fn market(seed: u64, more: &str) -> Config {
    let text = format!(
        r#"
        seed = {seed}
        duration_s = 7_200
        {more}
        [[jobs]]
        name = "bags"
        bags = 8
        tasks = 15
        category = "XS"
        work_s = 40
        spread = 0.3
        trust = 5
        between = {{ law = "exponential", mean_h = 0.1 }}
        "#
    );
    Config::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

const HOSTS: &str = r#"
[hosts]
count = 40
available = { law = "weibull", shape = 0.6, scale_h = 4 }
unavailable = { law = "exponential", mean_h = 0.2 }
"#;

/// The run; the invariants are held against it inside, and every task ends.
fn check(config: &Config) -> Report {
    let report = run(config).unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        panic!("seed {}: {error}: {source}", config.seed)
    });
    let totals = &report.totals;
    assert_eq!(totals.tasks, totals.completed + totals.failed, "seed {}: {totals:?}", config.seed);
    assert!(totals.busy_ms <= totals.available_ms, "seed {}: {totals:?}", config.seed);
    report
}

#[test]
fn honest_hosts_complete_everything_rightly() {
    let report = check(&market(1, "[hosts]\ncount = 40\nalways_on = 1"));
    let totals = &report.totals;
    assert_eq!((totals.tasks, totals.completed, totals.wrong), (120, 120, 0));
    assert_eq!((totals.bans, totals.departures), (0, 0));
    // Three newcomers a task; fewer do once some have a score.
    // Three newcomers of trust 5; fewer once they have a score.
    assert!((2.0..=3.0).contains(&report.contributions_per_task()), "{}", report.contributions_per_task());
    let tails = report.bags.iter().filter_map(|bag| bag.tail_slowdown());
    assert!(tails.clone().count() == 8 && tails.into_iter().all(|tail| tail >= 0.9));
}

#[test]
fn one_seed_gives_one_run_and_another_gives_another() {
    let faults = "[network]\nloss = 0.02\nreorder = 0.01\n[faults]\nworker_crash_h = 1\npool_crash_h = 0.5\n";
    let saboteurs = "[[saboteurs]]\nkind = \"whitewashing\"\nfraction = 0.2\n";
    let of = |seed| check(&market(seed, &format!("{HOSTS}{faults}{saboteurs}")));
    let (one, again, other) = (of(11), of(11), of(12));
    assert_eq!(one, again);
    assert_ne!(one.digest, other.digest);
}

/// Every kind alone, in several doses, with a network and machines that fail.
fn of_kind(kind: Kind, rate: f64) {
    let faults = "[network]\nloss = 0.01\n[faults]\nworker_crash_h = 2\npool_crash_h = 1\npool_restart_s = 20\n";
    for seed in 0..4 {
        let fraction = [0.1, 0.3, 0.6, 1.0][seed as usize];
        let saboteurs = format!("[[saboteurs]]\nkind = \"{}\"\nfraction = {fraction}\nrate = {rate}\n", kind.name());
        let report = check(&market(seed, &format!("{HOSTS}{faults}{saboteurs}")));
        let found = report.kinds.iter().find(|report| report.kind == kind);
        let found = found.unwrap_or_else(|| panic!("seed {seed}: no {kind:?} host among {:?}", report.kinds));
        assert!(found.runs > 0, "seed {seed}: {found:?}");
        if kind == Kind::Withholding {
            assert_eq!((found.wrong, report.totals.wrong), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn the_books_hold_with_lazy_hosts() {
    of_kind(Kind::Lazy, 1.0);
}

#[test]
fn the_books_hold_with_random_answers() {
    of_kind(Kind::Random, 1.0);
}

#[test]
fn the_books_hold_with_colluding_hosts() {
    of_kind(Kind::Colluding, 0.5);
}

#[test]
fn the_books_hold_with_intermittent_saboteurs() {
    of_kind(Kind::Intermittent, 0.2);
}

#[test]
fn the_books_hold_with_whitewashers() {
    of_kind(Kind::Whitewashing, 1.0);
}

#[test]
fn the_books_hold_with_hosts_that_withhold() {
    of_kind(Kind::Withholding, 1.0);
}

#[test]
fn liars_lose_and_the_honest_gain() {
    let config = market(5, "[hosts]\ncount = 40\nalways_on = 1\n[[saboteurs]]\nkind = \"random\"\nfraction = 0.15");
    let report = check(&config);
    let of = |kind| report.kinds.iter().find(|report| report.kind == kind).expect("a kind that is there");
    let (honest, random) = (of(Kind::Honest), of(Kind::Random));
    assert_eq!(report.totals.wrong, 0, "answers that nobody else gives are never accepted");
    assert_eq!((honest.wrong, honest.caught, honest.lost_ngrist), (0, 0, 0));
    assert!(random.caught > 0 && random.gained_ngrist == 0 && random.lost_ngrist > 0, "{random:?}");
    assert!(random.contributions_until_caught.is_some_and(|until| until >= 1.0), "{random:?}");
}

#[test]
fn whitewashers_come_back_under_new_names() {
    let config =
        market(6, "[hosts]\ncount = 40\nalways_on = 1\n[[saboteurs]]\nkind = \"whitewashing\"\nfraction = 0.1");
    let report = check(&config);
    let found = report.kinds.iter().find(|report| report.kind == Kind::Whitewashing).expect("they are there");
    assert_eq!(found.names, found.hosts + report.totals.renames);
    assert!(report.totals.renames > 0 && found.caught >= report.totals.renames, "{found:?}");
}

#[test]
fn colluders_in_the_majority_have_their_way() {
    let config = market(7, "[hosts]\ncount = 40\nalways_on = 1\n[[saboteurs]]\nkind = \"colluding\"\nfraction = 0.8");
    let report = check(&config);
    assert!(report.error_rate() > 0.9, "a simulator that shows no error here shows none anywhere");
}

/// Who does not compute is free again at once, and there is always work: by the hub alone it is asked most of the time.
#[test]
fn who_does_not_compute_takes_nothing_over() {
    let wrong = |by_hub_alone: bool| {
        let config = Config::parse(&format!(
            r#"
            seed = 1
            duration_s = 14_400
            by_hub_alone = {by_hub_alone}
            [hosts]
            count = 200
            [[jobs]]
            name = "bags"
            bags = 24
            tasks = 100
            category = "XS"
            work_s = 200
            trust = 100
            between = {{ law = "exponential", mean_h = 0.15 }}
            [[saboteurs]]
            kind = "lazy"
            fraction = 0.2
            "#
        ));
        check(&config.unwrap_or_else(|error| panic!("{error}"))).error_rate()
    };
    let (by_hub, believed) = (wrong(true), wrong(false));
    assert!(
        by_hub > 0.5 && believed < 0.05,
        "{by_hub} of the results are wrong by the hub alone, {believed} otherwise"
    );
}

#[test]
fn the_pool_dies_and_nothing_is_lost() {
    for seed in 0..6 {
        let faults = "[faults]\npool_crash_h = 0.1\npool_restart_s = 15\n";
        let report = check(&market(seed, &format!("[hosts]\ncount = 40\nalways_on = 1\n{faults}")));
        assert!(report.totals.pool_crashes > 3, "seed {seed}");
        assert_eq!(report.totals.completed, 120, "seed {seed}");
        assert_eq!(report.totals.wrong, 0, "seed {seed}");
    }
}

#[test]
fn workers_die_and_their_runs_begin_anew() {
    let faults = "[faults]\nworker_crash_h = 0.05\nworker_restart_s = 5\n";
    let report = check(&market(2, &format!("[hosts]\ncount = 40\nalways_on = 1\n{faults}")));
    assert!(report.totals.worker_crashes > 500 && report.totals.runs_lost > 20, "{:?}", report.totals);
    assert!(report.totals.completed >= 115, "{:?}", report.totals);
}

#[test]
fn a_network_that_loses_and_overtakes_costs_connections_and_no_message() {
    let network = "[network]\nloss = 0.05\nreorder = 0.05\nack_timeout_ms = 2_000\n";
    let report = check(&market(4, &format!("[hosts]\ncount = 40\nalways_on = 1\n{network}")));
    let messages = &report.messages;
    assert!(messages.lost > 100 && messages.overtaken > 100, "{messages:?}");
    assert!(messages.gaps > 10 && messages.timeouts > 5 && messages.again > 20, "{messages:?}");
    assert!(messages.resumed > 20, "{messages:?}");
    assert_eq!((report.totals.completed, report.totals.wrong), (120, 0));
}

#[test]
fn a_paused_run_goes_on_and_a_lost_one_does_not() {
    let restless = HOSTS.replace("scale_h = 4", "scale_h = 0.2").replace("mean_h = 0.2", "mean_h = 0.02");
    let mut config = market(9, &restless);
    let lost = check(&config).totals;
    config.hosts.interruption = Interruption::Paused;
    let paused = check(&config).totals;
    assert!(lost.runs_lost > 0, "{lost:?}");
    assert_eq!(paused.runs_lost, 0, "{paused:?}");
}

#[test]
fn a_full_ledger_delays_and_loses_nothing() {
    let config = market(8, "[hosts]\ncount = 40\nalways_on = 1\n[ledger]\ntransactions_max = 1\nblock_ms = 2_000");
    let report = check(&config);
    assert_eq!(report.settled.block_max, 1);
    assert_eq!(report.totals.completed, 120);
}

#[test]
fn trust_one_takes_the_first_answer() {
    let mut config = market(1, "[hosts]\ncount = 40\nalways_on = 1");
    config.jobs[0].trust = gristmill_types::Trust::new(1);
    let report = check(&config);
    assert_eq!(report.totals.completed, 120);
    assert_eq!((report.settled.contributions, report.settled.reveals), (120, 0));
}

#[test]
fn a_market_without_hosts_refunds_everything() {
    let never = "[hosts]\ncount = 1\nspeed_factor = 0.0001\nalways_on = 1";
    let report = check(&market(1, never));
    assert_eq!((report.totals.completed, report.totals.failed), (0, 120));
}

#[test]
fn prices_past_the_hub_are_refused_with_the_bag() {
    let mut config = market(1, "");
    config.jobs[0].price = gristmill_types::Amount::from_ngrist(1 << 100);
    let error = run(&config).expect_err("more than the hub can hold").to_string();
    assert!(error.contains("refuses bag 0"), "{error}");
}

#[test]
fn the_ready_configurations_can_be_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut tasks = Vec::new();
    for name in ["lab", "day", "saboteurs", "tail"] {
        let config = Config::load(&folder.join(format!("{name}.toml"))).unwrap_or_else(|error| panic!("{error}"));
        tasks.push((config.hosts.count, config.tasks()));
    }
    assert_eq!(tasks.iter().map(|(hosts, _)| *hosts).collect::<Vec<_>>(), [50, 10_000, 500, 200]);
    assert!(tasks.iter().all(|(_, tasks)| *tasks >= 1_000), "{tasks:?}");
}

#[test]
fn tables_and_plots_are_written() {
    let config = market(1, "[hosts]\ncount = 40\nalways_on = 1\n[[saboteurs]]\nkind = \"lazy\"\nfraction = 0.1");
    let report = check(&config);
    let folder = std::env::temp_dir().join(format!("gristmill-sim-{}", std::process::id()));
    let files = report.write(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert_eq!(files.len(), 10);
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".svg") {
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{name}: {text}");
        } else {
            let mut rows = text.lines().map(|row| row.split(',').count());
            let width = rows.next();
            assert!(rows.all(|count| Some(count) == width), "{name}: {text}");
        }
    }
    let rows = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| text.lines().count() - 1).ok();
    assert_eq!((rows("bags.csv"), rows("hosts.csv"), rows("kinds.csv")), (Some(8), Some(40), Some(2)));
    let figures = std::fs::read_to_string(folder.join("figures.csv")).unwrap_or_default();
    assert!(figures.contains(&report.digest.to_string()));
    std::fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
