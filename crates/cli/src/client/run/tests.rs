use clap::Parser;
use gristmill_requester::{FailedItem, Fate, QuoteLine, Stage, TaskDelivery};
use gristmill_result::Ending;
use gristmill_types::{DealId, TaskId};

use super::*;
use crate::cli::{Cli, Command};
use crate::client::ClientCommand;

fn parse(line: &str) -> Result<RunArgs, clap::Error> {
    let cli = Cli::try_parse_from(line.split_whitespace())?;
    match cli.command {
        Command::Client(ClientCommand::Run(args)) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_whole_synopsis_is_understood() {
    let key = "ab".repeat(32);
    let args = parse(&format!(
        "gristmill run app.wasm --dataset D --pool grist://127.0.0.1:1/{key} --arg --x --arg -1 --input f --input g \
         --items list --tasks 3 --reduce r.wasm --reduce-arg z --confidence 99% --category S --max-price 2.5 --out o --json"
    ))
    .unwrap();
    let request = args.request();
    assert_eq!(request.args, ["--x", "-1"]);
    assert_eq!(request.inputs, [PathBuf::from("f"), PathBuf::from("g")]);
    assert_eq!((request.tasks, request.trust, request.category.as_deref()), (Some(3), Trust::new(100), Some("S")));
    assert_eq!(request.max_price, Some(Amount::from_ngrist(2_500_000_000)));
    let reduce = request.reduce.unwrap();
    assert_eq!((reduce.app, reduce.args), (AppSource::File("r.wasm".into()), vec!["z".to_owned()]));
}

#[test]
fn confidence_and_trust_say_the_same() {
    for (line, trust) in [
        ("--confidence 80%", 5),
        ("--confidence 80", 5),
        ("--confidence 0.8", 5),
        ("--confidence 0", 1),
        ("--confidence 99", 100),
        ("--trust 100", 100),
        ("", 5),
    ] {
        let args = parse(&format!("gristmill run app.wasm {line}")).unwrap();
        assert_eq!(args.request().trust, Trust::new(trust), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "gristmill run",
        "gristmill run a.wasm --tasks 0",
        "gristmill run a.wasm --trust 0",
        "gristmill run a.wasm --trust 80%",
        "gristmill run a.wasm --confidence 100%",
        "gristmill run a.wasm --confidence 80% --trust 5",
        "gristmill run a.wasm --reduce-arg x",
        "gristmill run a.wasm --detach --out o",
        "gristmill run a.wasm --detach --dry-run",
        "gristmill run a.wasm --max-price much",
        "gristmill run a.wasm --pool nowhere",
        "gristmill run a.wasm --data-dir d --rpc http://127.0.0.1:1",
        "gristmill job",
        "gristmill job show",
        "gristmill nonsense",
    ] {
        let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

fn delivery(failed: Vec<FailedItem>, root: bool) -> Delivery {
    let task = TaskDelivery {
        stage: Stage::Task,
        task: TaskId::default(),
        deal: DealId::default(),
        index: 0,
        fate: Fate::Delivered,
        root: None,
        receipt: None,
        note: String::new(),
    };
    Delivery {
        job: OrderHash::default(),
        dir: "out".into(),
        root: root.then(Default::default),
        items_delivered: 2,
        failed_items: failed,
        tasks_cancelled: 0,
        tasks: vec![task],
        reduce_missing: false,
    }
}

#[test]
fn a_job_with_a_failed_item_does_not_exit_well() {
    assert_eq!(exit_of(&delivery(vec![], true)).code(), 0);
    assert_eq!(exit_of(&delivery(vec![], false)).code(), 3);
    let ending = Ending::Exited(7);
    let failed = FailedItem { stage: Stage::Task, task_index: 0, item: Some(4), ending, text: ending.to_string() };
    let delivery = delivery(vec![failed], true);
    assert_eq!(exit_of(&delivery).code(), 3);
    assert!(render_delivery(&delivery).contains("item 4: exit code 7"));
}

#[test]
fn a_quote_line_multiplies() {
    let line = QuoteLine { what: "pool".into(), each: Amount::from_grist(2), tasks: 3, total: Amount::from_grist(6) };
    assert_eq!(serde_json::to_value(&line).unwrap()["total"], "6000000000");
}
