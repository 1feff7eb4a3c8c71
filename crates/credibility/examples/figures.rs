//! Measure what each scheme costs and how often it errs: the tables of the README. The argument is the number of seeds.

#[path = "../tests/it/market.rs"]
#[allow(dead_code)]
mod market;
#[path = "../tests/it/schemes.rs"]
#[allow(dead_code)]
mod schemes;

use gristmill_credibility::Policy;
use market::{Kind, Outcome, Scheme, Setup, run};
use schemes::{Boinc, Ours, Poco, Spotters, Voting};

const JOBS: usize = 10_000;
const WORKERS: usize = 100;

const KINDS: [(&str, Kind); 14] = [
    ("lazy: garbage, every other time", Kind::Lazy(0.5)),
    ("random: errs three times of ten, each time otherwise", Kind::Random(0.3)),
    ("colluding, always", Kind::Colluding(1.0)),
    ("colluding, s = 0.3", Kind::Colluding(0.3)),
    ("intermittent, s = 0.1", Kind::Colluding(0.1)),
    ("intermittent, s = 0.03", Kind::Colluding(0.03)),
    ("intermittent, s = 0.1, each for itself", Kind::Published(0.1)),
    ("whitewashing, always", Kind::Whitewashing(1.0)),
    ("whitewashing, s = 0.1", Kind::Whitewashing(0.1)),
    ("withholding every other, s = 0.3", Kind::Withholding(0.3)),
    ("turncoat after 30", Kind::Turncoat(30)),
    ("turncoat after 90", Kind::Turncoat(90)),
    ("pack after 5", Kind::Pack(5)),
    ("pack after 15", Kind::Pack(15)),
];

fn mean(seeds: u64, setup: Setup, scheme: &dyn Fn(u64) -> Box<dyn Scheme>) -> Outcome {
    let mut sum = Outcome::default();
    for seed in 1..=seeds {
        sum.add(run(Setup { seed, ..setup }, scheme(seed).as_mut()));
    }
    sum
}

fn cell(outcome: Outcome) -> String {
    let error = match outcome.error() {
        0.0 => "0".to_owned(),
        error if error >= 0.01 => format!("{error:.3}"),
        error => format!("{error:.5}"),
    };
    format!("{:.2} / {error}", outcome.cost())
}

fn ours(setup: Setup, policy: Policy, trust: u64, by_hub: bool) -> impl Fn(u64) -> Box<dyn Scheme> {
    move |seed| Box::new(Ours::new(setup.jobs, policy.clone(), trust, by_hub, seed))
}

fn main() {
    let seeds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("{JOBS} jobs, {WORKERS} workers, {seeds} seeds: results a job / error");
    for saboteurs in [0.05, 0.2, 0.35] {
        println!("\nf = {saboteurs}, trust 100 (error at most 0.01)\n");
        println!(
            "| saboteurs | credibility | with the hub's rule | hub's rule (PoCo) | Sarmenta, oracle | 2-first | BOINC |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (name, kind) in KINDS {
            let setup = Setup { jobs: JOBS, workers: WORKERS, saboteurs, kind, seed: 0 };
            let policy = Policy { saboteurs, ..Policy::default() };
            let cells = [
                mean(seeds, setup, &ours(setup, policy.clone(), 100, false)),
                mean(seeds, setup, &ours(setup, policy, 100, true)),
                mean(seeds, setup, &|_| Box::new(Poco::new(JOBS, 100, 0, WORKERS))),
                mean(seeds, setup, &|seed| Box::new(Spotters::new(JOBS, saboteurs, 0.01, 0.1, true, seed))),
                mean(seeds, setup, &|_| Box::new(Voting::new(JOBS, 2))),
                mean(seeds, setup, &|seed| Box::new(Boinc::new(JOBS, seed))),
            ];
            println!("| {name} | {} |", cells.map(cell).join(" | "));
        }
    }
    println!("\ncredibility alone, other settings\n");
    println!("| setting | colluding, always | intermittent, s = 0.1 | turncoat after 30 | pack after 15 |");
    println!("|---|---|---|---|---|");
    let usual = Policy::default();
    let settings = [
        ("f = 0.2, trust 5", 0.2, 5, JOBS, WORKERS, usual.clone()),
        ("f = 0.2, trust 1,000", 0.2, 1_000, JOBS, WORKERS, usual.clone()),
        ("f = 0.35, trust 1,000", 0.35, 1_000, JOBS, WORKERS, Policy { saboteurs: 0.35, ..usual.clone() }),
        ("f = 0.2, trust 1,000, one by one", 0.2, 1_000, JOBS, WORKERS, Policy { one_by_one: true, ..usual.clone() }),
        (
            "f = 0.35, trust 100, one by one",
            0.35,
            100,
            JOBS,
            WORKERS,
            Policy { saboteurs: 0.35, one_by_one: true, ..usual.clone() },
        ),
        ("f = 0.2, trust 100, ten times the jobs", 0.2, 100, 10 * JOBS, WORKERS, usual.clone()),
        ("f = 0.2, trust 100, 12 workers, 1,200 jobs", 0.2, 100, 1_200, 12, usual.clone()),
        ("f = 0, trust 100", 0.0, 100, JOBS, WORKERS, usual.clone()),
        ("f = 0.35 where 0.2 is assumed, trust 100", 0.35, 100, JOBS, WORKERS, usual.clone()),
        ("f = 0.45 where 0.2 is assumed, trust 100", 0.45, 100, JOBS, WORKERS, usual),
    ];
    for (name, saboteurs, trust, jobs, workers, policy) in settings {
        let kinds = [Kind::Colluding(1.0), Kind::Colluding(0.1), Kind::Turncoat(30), Kind::Pack(15)];
        let cells = kinds.map(|kind| {
            let setup = Setup { jobs, workers, saboteurs, kind, seed: 0 };
            cell(mean(seeds, setup, &ours(setup, policy.clone(), trust, false)))
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}
