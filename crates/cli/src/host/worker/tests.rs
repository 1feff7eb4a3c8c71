use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    worker: WorkerArgs,
}

fn run_args(line: &[&str]) -> RunArgs {
    Line::try_parse_from([&["worker"], line].concat()).unwrap().worker.run
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let pool = |last: u8| format!("grist://127.0.0.1:9/{:064x}", last);
    assert_eq!(run_args(&[]).settings(folder.path()).unwrap(), Settings::default());
    let text = format!("pool = \"{}\"\nslots = 3\nmemory_mib = 100\n[policy]\nmains_only = true\n", pool(1));
    std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
    let from_file = run_args(&[]).settings(folder.path()).unwrap();
    assert_eq!((from_file.slots, from_file.memory_mib, from_file.policy.mains_only), (Some(3), 100, true));
    assert_eq!(from_file.pools[0].to_string(), pool(1));
    let (other, port) = (pool(2), "8642");
    let third = pool(3);
    let flags = ["--pool", &other, "--pool", &third, "--slots", "5", "--memory", "200", "--status-page", port];
    let both = run_args(&flags).settings(folder.path()).unwrap();
    assert_eq!((both.slots, both.memory_mib, both.status_page), (Some(5), 200, Some(8_642)));
    let pools: Vec<String> = both.pools.iter().map(ToString::to_string).collect();
    assert_eq!((pools, both.policy.mains_only), (vec![other, third], true));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("mine.toml").display().to_string();
    let error = run_args(&["--config", &missing]).settings(folder.path()).unwrap_err().to_string();
    assert!(error.contains("mine.toml"), "{error}");
}

#[test]
fn a_question_takes_none_of_the_workers_flags() {
    assert!(Line::try_parse_from(["worker", "status", "--data-dir", "x"]).is_ok());
    assert!(Line::try_parse_from(["worker", "--slots", "2", "status"]).is_err());
    assert!(Line::try_parse_from(["worker", "--slots", "0"]).is_err());
}

#[test]
fn who_says_where_to_look_wants_no_pool_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let hub = format!("0x{}", "11".repeat(20));
    let pool = format!("grist://127.0.0.1:9/{:064x}", 1);
    let text = format!("pool = \"{pool}\"\n[ledger]\nrpc = \"http://h:1\"\nhub = \"0x{}\"\n", "22".repeat(20));
    std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
    let from_file = run_args(&[]).settings(folder.path()).unwrap();
    assert_eq!((from_file.pools.len(), from_file.ledger.place().unwrap().rpc.as_str()), (1, "http://h:1"));
    let looked = run_args(&["--ledger", "http://h:2", "--hub", &hub]).settings(folder.path()).unwrap();
    let place = looked.ledger.place().unwrap();
    assert_eq!((looked.pools.len(), place.rpc.as_str(), place.hub), (0, "http://h:2", hub.parse().unwrap()));
    for line in
        [&["--ledger", "http://h:2"][..], &["--hub", &hub], &["--ledger", "http://h:2", "--hub", &hub, "--pool", &pool]]
    {
        assert!(Line::try_parse_from([&["worker"], line].concat()).is_err(), "{line:?}");
    }
    assert!(Line::try_parse_from(["worker", "pools", "--ledger", "http://h:2", "--hub", &hub]).is_ok());
}
