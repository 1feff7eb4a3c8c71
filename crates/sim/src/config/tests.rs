use super::*;

/// The error that a text gives, which must name line and key.
fn check(text: &str, line: usize, words: &[&str]) {
    let error = Config::parse(text).expect_err("a text that is to be refused").to_string();
    assert!(error.contains(&format!("line {line},")), "line {line} is not in: {error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

const JOB: &str = "[[jobs]]\nname = \"a\"\nbags = 1\ntasks = 1\ncategory = \"XS\"\nwork_s = 1\n";

#[test]
fn nothing_said_is_the_default() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
    assert_eq!(Config::default().scheduler.lease_duration_ms, 900_000);
}

#[test]
fn what_is_said_counts() {
    let text = format!(
        "seed = 7\n[hosts]\ncount = 9\nalways_on = 0.5\nunavailable = {{ law = \"fixed\", hours = 2 }}\n[scheduler]\nreserve_replicas = 0\n\
        {JOB}trust = 100\nprice = \"2.5 GRIST\"\n[[saboteurs]]\nkind = \"lazy\"\nfraction = 0.25"
    );
    let config = Config::parse(&text).unwrap();
    assert_eq!((config.seed, config.hosts.count, config.hosts.always_on), (7, 9, Share(0.5)));
    assert_eq!(config.hosts.unavailable, Law::Fixed { hours: NonNegative(2.0) });
    assert_eq!((config.scheduler.reserve_replicas, config.scheduler.lease_duration_ms), (0, 900_000));
    assert_eq!(config.jobs[0].price, Amount::from_ngrist(2_500_000_000));
    assert_eq!((config.jobs[0].trust, config.jobs[0].work_clock_s()), (Trust::new(100), 300));
    assert_eq!(config.saboteurs, [Saboteurs { kind: Kind::Lazy, fraction: Share(0.25), rate: Share(1.0) }]);
}

#[test]
fn faults_name_line_and_key() {
    check("seed = 1\nspeed = 2", 2, &["unknown field `speed`", "seed"]);
    check("[network]\nlatency_ms = 1\nloss = 1.5", 3, &["loss = 1.5", "it must be from 0 to 1"]);
    check("[hosts]\ncount = 0", 2, &["count = 0", "from 1 to 2000000"]);
    check("[hosts]\nspeed_factor = -1", 2, &["speed_factor = -1", "above 0"]);
    check("[hosts]\nspeed_factor = \"fast\"", 2, &["speed_factor", "a number was expected"]);
    check("[hosts]\navailable = { law = \"weibull\", shape = 0, scale_h = 1 }", 2, &["available", "above 0"]);
    check("[hosts]\navailable = { law = \"normal\" }", 2, &["unknown variant `normal`"]);
    check("[hosts]\ninterruption = \"sometimes\"", 2, &["unknown variant `sometimes`", "lost", "paused"]);
    check("[hosts]\ndeposit = \"much\"", 2, &["deposit", "is not an amount"]);
    check("[ledger]\nblock_ms = 0", 2, &["block_ms = 0", "from 1 to 3600000"]);
    check("[scheduler]\nlease = 1", 1, &["unknown field `lease`"]);
    check("\n[[saboteurs]]\nkind = \"evil\"\nfraction = 0.1", 3, &["unknown variant `evil`"]);
    check(&JOB.replace("XS", "XXS"), 5, &["category", "`XXS` is no category", "XS, S, M, L, XL, DEV"]);
    check(&JOB.replace("work_s = 1\n", ""), 1, &["missing field `work_s`"]);
    check(&JOB.replace("bags = 1", "bags = 0"), 3, &["bags = 0", "from 1"]);
    let half = "[[saboteurs]]\nkind = \"lazy\"\nfraction = 0.6\n";
    check(&format!("{half}{half}"), 1, &["`fraction` of all saboteurs adds up to 1.2"]);
    let many = JOB.replace("bags = 1", "bags = 1000").replace("tasks = 1", "tasks = 100000");
    check(&many, 1, &["make 100000000 tasks; 20000000 are allowed"]);
    check("duration_s = 40_000_000", 1, &["duration_s", "from 1 to 31622400"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/market.toml")).expect_err("no such file");
    assert_eq!(error.to_string(), "cannot read /nowhere/market.toml");
}

#[test]
fn categories_have_their_times() {
    for (name, work_clock_s) in GENESIS_CATEGORIES {
        let config = Config::parse(&JOB.replace("XS", name)).unwrap();
        assert_eq!(config.jobs[0].work_clock_s(), work_clock_s);
    }
}
