//! The table of saboteurs of the README: `configs/saboteurs.toml` with one kind at a time, f = 0.2, several seeds together.
//!
//! `cargo run --release -p gristmill-sim --example kinds -- [SEEDS [credibility]]`: with the second argument not by the hub alone.

use std::collections::BTreeMap;

use gristmill_sim::config::Kind;
use gristmill_sim::{Config, run};

const KINDS: [(&str, &str, f64); 8] = [
    ("none", "lazy", 0.0),
    ("lazy", "lazy", 1.0),
    ("random", "random", 1.0),
    ("colluding", "colluding", 1.0),
    ("colluding 0.5", "colluding", 0.5),
    ("intermittent 0.1", "intermittent", 0.1),
    ("whitewashing", "whitewashing", 1.0),
    ("withholding", "withholding", 1.0),
];

/// Sums over the seeds.
#[derive(Default)]
struct Sums {
    completed: u64,
    failed: u64,
    wrong: u64,
    results: f64,
    tasks: u64,
    caught: u64,
    names: u64,
    until: f64,
    gained_ngrist: u128,
    lost_ngrist: u128,
    honest_hit: u64,
}

fn main() {
    let seeds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let both = std::env::args().nth(2).is_none();
    for by_hub_alone in [true, false].into_iter().filter(|by_hub_alone| both || !by_hub_alone) {
        println!("\n{}\n", if by_hub_alone { "By the hub's rule alone:" } else { "With `credibility`:" });
        println!(
            "| kind, rate | trust | completed | failed | wrong | results per task | caught | contributions until | gained | lost | honest hit |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for trust in [5, 100] {
            for (name, kind, rate) in KINDS {
                let mut sums = Sums::default();
                (1..=seeds)
                    .for_each(|seed| add(&mut sums, &config(seed, trust, kind, rate, name == "none", by_hub_alone)));
                row(name, trust, &sums);
            }
        }
    }
}

fn config(seed: u64, trust: u64, kind: &str, rate: f64, none: bool, by_hub_alone: bool) -> Config {
    let bags = "name = \"bags\"\nbags = 60\ntasks = 100\ncategory = \"XS\"\nwork_s = 200\nspread = 0.4";
    let arrival = "between = { law = \"exponential\", mean_h = 0.15 }";
    let mut text = format!(
        "seed = {seed}\nduration_s = 28_800\nby_hub_alone = {by_hub_alone}\n[hosts]\ncount = 500\n[network]\nloss = 0.005\n\
         [[jobs]]\n{bags}\ntrust = {trust}\n{arrival}\n"
    );
    if !none {
        text += &format!("[[saboteurs]]\nkind = \"{kind}\"\nfraction = 0.2\nrate = {rate}\n");
    }
    Config::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn add(sums: &mut Sums, config: &Config) {
    let report = run(config).unwrap_or_else(|error| panic!("seed {}: {error}", config.seed));
    let totals = &report.totals;
    sums.completed += totals.completed;
    sums.failed += totals.failed;
    sums.wrong += totals.wrong;
    sums.results += report.results_per_task() * totals.tasks as f64;
    sums.tasks += totals.tasks;
    let kinds = report.kinds.iter().map(|kind| (kind.kind.name(), kind)).collect::<BTreeMap<_, _>>();
    for kind in kinds.values() {
        if kind.kind == Kind::Honest {
            sums.honest_hit += kind.caught;
            continue;
        }
        sums.caught += kind.caught;
        sums.names += kind.names;
        sums.until += kind.contributions_until_caught.unwrap_or(0.0) * kind.caught as f64;
        sums.gained_ngrist += kind.gained_ngrist;
        sums.lost_ngrist += kind.lost_ngrist;
    }
}

fn row(name: &str, trust: u64, sums: &Sums) {
    let grist = |ngrist: u128| ngrist / 1_000_000_000;
    let (caught, until, gained, lost) = match name {
        "none" => ("-".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()),
        _ => (
            format!("{}/{}", sums.caught, sums.names),
            format!("{:.1}", sums.until / sums.caught.max(1) as f64),
            grist(sums.gained_ngrist).to_string(),
            grist(sums.lost_ngrist).to_string(),
        ),
    };
    let results = sums.results / sums.tasks.max(1) as f64;
    println!(
        "| {name} | {trust} | {} | {} | {} | {results:.2} | {caught} | {until} | {gained} | {lost} | {} |",
        sums.completed, sums.failed, sums.wrong, sums.honest_hit
    );
}
