use std::path::Path;

use gristmill_types::{Amount, Category};

use super::*;
use crate::config::{PoolConfig, default_credibility};

const GRIST: fn(u64) -> Amount = Amount::from_grist;

fn categories() -> Vec<Category> {
    let category = |(id, name, work_clock_s): (u64, &str, u64)| Category {
        id,
        name: name.to_owned(),
        description: String::new(),
        work_clock_s,
    };
    [(0, "XS", 300), (4, "XL", 36_000), (5, "DEV", 2)].map(category).to_vec()
}

/// A pool that asks 1 GRIST for XS, 10 for XL, and nothing for DEV.
fn config(path: Option<&Path>, flags: Said) -> PoolConfig {
    let folder = tempfile::tempdir().unwrap();
    PoolConfig {
        data_dir: folder.path().to_path_buf(),
        wallet: gristmill_wallet::Wallet::load_or_generate(folder.path().join("wallet.json")).unwrap(),
        rpc_url: String::new(),
        hub: gristmill_types::Address::ZERO,
        listen: ([127, 0, 0, 1], 0).into(),
        advertised_host: None,
        store_url: String::new(),
        description: String::new(),
        public: None,
        fee_percent: None,
        prices: vec![(0, GRIST(1)), (4, GRIST(10)), (5, Amount::ZERO)],
        offers: Needs::NONE,
        stake_target: GRIST(1_000),
        metrics: None,
        policy: default_policy(),
        credibility: default_credibility(false),
        private: None,
        founder: None,
        settings: Sources { path: path.map(Path::to_path_buf), flags, is_free: false },
        newcomers: None,
        overflow: None,
    }
}

fn base(flags: Said) -> Base {
    Base::of(&config(None, flags), &categories())
}

fn parse(text: &str) -> Result<Held, SettingsError> {
    base(Said::default()).parse(text, Path::new("pool.toml"))
}

#[test]
fn nothing_said_is_the_default_and_what_is_shown_reads_the_same() {
    let held = parse("").unwrap();
    assert_eq!(held.settings.scheduler, SchedulerSettings::default());
    assert!(held.from.values().all(|origin| *origin == Origin::Default), "{:?}", held.from);
    let text = "fee_percent = 7\nstake = 12.5\n[price]\nxs = 0.25\nDEV = \"3 GRIST\"\n[order]\nvolume = 9\n[offer]\ngpu = true\n\
                [scheduler]\nlate_percent = 0\nban_duration_ms = 60000\n[credibility]\nsaboteurs = 0.3\n";
    let held = parse(text).unwrap();
    assert_eq!(parse(&held.to_toml()).unwrap().settings, held.settings, "{}", held.to_toml());
    let base = base(Said::default());
    let mut config = config(None, Said::default());
    base.apply(&held.settings, &mut config);
    let quarter = Amount::from_ngrist(250_000_000);
    assert_eq!(config.prices, [(0, quarter), (4, GRIST(10)), (5, GRIST(3))]);
    assert_eq!((config.fee_percent, config.stake_target.ngrist()), (Some(7), 12_500_000_000));
    assert_eq!((held.settings.order.volume, config.offers.gpu, config.offers.network), (9, true, false));
    assert_eq!((config.policy.late_percent, config.policy.ban_duration_ms), (0, Some(60_000)));
    let unset = Policy { late_percent: 150, ban_duration_ms: None, ..config.policy.clone() };
    assert_eq!(unset, default_policy(), "the rest is as it was");
    assert_eq!(config.credibility.map(|policy| (policy.saboteurs, policy.public)), Some((0.3, false)));
}

#[test]
fn a_flag_goes_before_the_file_and_each_says_so() {
    let mut flags = Said::default();
    flags.fee_percent(5);
    flags.price("xl", GRIST(8));
    let text = "fee_percent = 9\nstake = 3\n[price]\nXL = 7\n";
    let held = base(flags).parse(text, Path::new("pool.toml")).unwrap();
    assert_eq!((held.settings.fee_percent, held.settings.stake.0), (Some(5), GRIST(3)));
    assert_eq!(held.settings.price["XL"].0, GRIST(8));
    let from = |key: &str| held.from[key];
    assert_eq!((from("fee_percent"), from("price.XL"), from("stake")), (Origin::Flag, Origin::Flag, Origin::File));
    assert_eq!((from("price.XS"), from("scheduler.aside_ms")), (Origin::Default, Origin::Default));
    let shown = held.to_toml();
    for line in ["fee_percent = 5 # flag", "stake = \"3\" # file", "XL = \"8\" # flag", "aside_ms = 30000 # default"] {
        let found = shown.lines().any(|shown| shown.split_whitespace().collect::<Vec<_>>().join(" ") == line);
        assert!(found, "{line}: {shown}");
    }
    let mut wrong = Said::default();
    wrong.price("XXL", GRIST(1));
    let error = base(wrong).parse("", Path::new("pool.toml")).unwrap_err().to_string();
    assert!(error.contains("--price XXL") && error.contains("XS, XL, DEV"), "{error}");
}

/// Each with the line and the column at which it stands.
#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let cases = [
        ("fee_percent = 101", "line 1, column 15", "0 to 100"),
        ("fee_percent = -1", "line 1, column 15", "0 to 100"),
        ("fee = 5", "line 1, column 1", "fee_percent"),
        ("\nstake = \"much\"", "line 2, column 9", "much"),
        ("stake = -1", "line 1, column 9", "-1"),
        ("stake = 1e30", "line 1, column 9", "larger than"),
        ("stake = 2000000000", "line 1, column 9", "too much"),
        ("[price]\nXS = 1\nM = 2", "line 3, column 1", "XS, XL, DEV"),
        ("price.XXL = 1", "line 1, column 7", "no such size class"),
        ("[price]\nXS = 1\nxs = 2", "line 3, column 1", "twice"),
        ("[price]\nXS = true", "line 2, column 6", "amount in GRIST"),
        ("[order]\nvolume = 0", "line 2, column 10", "1 to 1000000000"),
        ("[offer]\nnetwork = 1", "line 2, column 11", "boolean"),
        ("[scheduler]\nlease_duration_ms = 100", "line 2, column 21", "3000 to 3600000"),
        ("[scheduler]\n\nbusy_ms = 100", "line 3, column 1", "late_percent"),
        ("[credibility]\nsaboteurs = 0.5", "line 2, column 13", "0.001 to 0.45"),
        ("[credibility]\nverdict_error = 0.0", "line 2, column 17", "to 0.5"),
        ("[credibility]\nsaboteurs = nan", "line 2, column 13", "0.001 to 0.45"),
        ("stake = ", "line 1, column 9", "pool.toml"),
    ];
    for (text, place, word) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(word) && error.contains("pool.toml"), "{text:?}: {error}");
    }
}

#[test]
fn where_nothing_costs_anything_all_prices_are_zero_whatever_is_said() {
    let mut flags = Said::default();
    flags.price("XL", GRIST(8));
    let mut free = config(None, flags);
    free.settings.is_free = true;
    let base = Base::of(&free, &categories());
    for text in ["", "fee_percent = 2\n[price]\nXS = 2\n"] {
        let held = base.parse(text, Path::new("pool.toml")).unwrap();
        assert_eq!(base.prices(&held.settings), [(0, Amount::ZERO), (4, Amount::ZERO), (5, Amount::ZERO)]);
        assert!(held.to_toml().contains("XS = \"0\"") && held.to_toml().contains("XL = \"0\""), "{}", held.to_toml());
        assert_eq!((held.settings.stake.0, held.from["price.XL"]), (GRIST(1_000), Origin::Flag));
    }
    let error = base.parse("[price]\nXXS = 2", Path::new("pool.toml")).unwrap_err().to_string();
    assert!(error.contains("line 2, column 1") && error.contains("no such size class"), "{error}");
}

#[test]
fn what_the_command_line_says_is_not_blamed_on_the_file() {
    let mut flags = Said::default();
    flags.price("xl", GRIST(9));
    flags.price("XL", GRIST(7));
    assert_eq!(base(flags).parse("", Path::new("pool.toml")).unwrap().settings.price["XL"].0, GRIST(7));
    let mut flags = Said::default();
    flags.fee_percent(101);
    let error = base(flags).parse("stake = 3", Path::new("pool.toml")).unwrap_err().to_string();
    assert!(error.contains("command line") && error.contains("0 to 100") && !error.contains("pool.toml"), "{error}");
    assert!("1000000000".parse::<Grist>().is_ok());
    let error = "1000000001".parse::<Grist>().unwrap_err().to_string();
    assert!(error.contains("1000000000 GRIST at most"), "{error}");
}

#[test]
fn what_became_different_is_told_and_what_needs_a_restart_is_refused() {
    let before = parse("fee_percent = 3\n[price]\nXS = 1\n").unwrap();
    assert_eq!(before.changes(&before).unwrap(), []);
    let after = parse("[price]\nXS = 2\n[scheduler]\naside_ms = 5\n").unwrap();
    let told: Vec<String> = before.changes(&after).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["fee_percent: 3 -> not set", "price.XS: 1 -> 2", "scheduler.aside_ms: 30000 -> 5"]);
    let fixed = parse("[price]\nXS = 2\n[credibility]\non = false\nsaboteurs = 0.1\n").unwrap();
    let error = before.changes(&fixed).unwrap_err().to_string();
    assert!(error.starts_with("nothing is changed") && error.ends_with("needs a restart"), "{error}");
    assert!(
        error.contains("credibility.on: true -> false") && error.contains("credibility.saboteurs: 0.2 -> 0.1"),
        "{error}"
    );
}

/// The template is a good file as it is, and stays one with the same meaning when all its lines are put in force; then it has every key.
#[test]
fn the_template_names_every_key_and_its_default() {
    assert_eq!(parse(TEMPLATE).unwrap(), parse("").unwrap());
    let in_force: Vec<&str> = TEMPLATE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line))
        .collect();
    let in_force = in_force.join("\n").replace("\nS = 0.4", "");
    let held = parse(&in_force).unwrap();
    for (key, origin) in &held.from {
        assert!(*origin == Origin::File || key.starts_with("price."), "{key} is missing in the template");
    }
    let defaults = parse("").unwrap().settings;
    assert_eq!(held.settings.fee_percent, Some(1));
    let priced = Settings { price: defaults.price.clone(), fee_percent: None, ..held.settings };
    assert_eq!(priced, defaults);
}

#[test]
fn a_file_that_is_not_there_is_none_and_one_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SETTINGS_FILE);
    let base = Base::of(&config(Some(&path), Said::default()), &categories());
    assert_eq!(base.read().unwrap().settings, parse("").unwrap().settings);
    std::fs::write(&path, "stake = 7\n").unwrap();
    assert_eq!(base.read().unwrap().settings.stake.0, GRIST(7));
    std::fs::write(&path, vec![b'#'; 300 << 10]).unwrap();
    assert!(matches!(base.read(), Err(SettingsError::TooLarge { .. })));
    std::fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(matches!(base.read(), Err(SettingsError::Read { .. })));
}
