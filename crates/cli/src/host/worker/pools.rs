//! `gristmill worker pools`: how the public pools of a ledger compare, for this machine.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use gristmill_types::Address;
use gristmill_wallet::Wallet;
use gristmill_worker::Settings;
use gristmill_worker::earnings::LedgerPlace;
use gristmill_worker::pools::{Asker, Choice, Comparison, Row, look};
use gristmill_worker::settings::SETTINGS_FILE;

use super::{FilesArgs, MIB};
use crate::exit::Exit;
use crate::output;

/// Compare the public pools of the ledger for this machine: fee, payments, expected income. None is joined
///
/// The best comes first: it is the one that `gristmill worker` joins when it is told of no pool. What is expected is what the pool paid
/// to workers in the last days, shared by all slots, and what its waiting tasks will pay; docs/worker.md has the formula.
#[derive(Debug, Args)]
pub struct PoolsArgs {
    #[command(flatten)]
    files: FilesArgs,
}

pub async fn run(args: PoolsArgs, json: bool) -> anyhow::Result<Exit> {
    let root = args.files.folder.root()?;
    let settings = args.files.settings(&root)?;
    let place = settings.ledger.place().with_context(|| no_ledger(&root))?;
    // A look makes no key.
    let key = root.join("wallet.json");
    let worker = match key.exists() {
        true => Wallet::load(&key).context("the worker's key cannot be read")?.address(),
        false => Address::ZERO,
    };
    let choice = Choice::remembered(&root, &place);
    let asker = asker(worker, &settings, &choice);
    let comparison = look(&place, &asker, unix_s()).await?;
    output::either(json, &comparison, text)?;
    Ok(Exit::Ok)
}

/// Why there is nothing to compare.
fn no_ledger(root: &Path) -> String {
    let file = root.join(SETTINGS_FILE);
    format!(
        "say where the ledger is: `--ledger URL --hub ADDRESS`, or rpc and hub under [ledger] in {}",
        file.display()
    )
}

/// Why no pool can be worked for, before any was looked for.
pub fn no_pool(root: &Path) -> String {
    let file = root.join(SETTINGS_FILE);
    format!(
        "no pool to work for: name one with `--pool grist://HOST:PORT/KEYHASH`, or as `pool = \"...\"` in {}; or say with `--ledger URL \
         --hub ADDRESS` on which ledger to look for one",
        file.display()
    )
}

/// Why none of these pools can be joined.
pub fn none_to_join(comparison: &Comparison, place: &LedgerPlace) -> String {
    let why: Vec<String> = comparison.pools.iter().filter_map(objection).take(10).collect();
    let why = if why.is_empty() { String::new() } else { format!("\n  {}", why.join("\n  ")) };
    format!(
        "none of the public pools on the ledger at {} can be joined ({} registered, {} of them public): name one with `--pool \
         grist://HOST:PORT/KEYHASH`, or start one: `gristmill up --public NAME`{why}",
        place.rpc,
        output::count(comparison.registered, "pool"),
        comparison.public
    )
}

/// Who compares: this machine, as its settings have it.
pub fn asker(worker: Address, settings: &Settings, choice: &Choice) -> Asker {
    let slots = settings.slots.unwrap_or_else(gristmill_worker::config::slots_default);
    Asker {
        worker,
        slots: slots.into(),
        memory_bytes: settings.memory_mib.saturating_mul(MIB),
        wanted: settings.policy.pools.clone(),
        left: choice.left(unix_s()).collect(),
    }
}

/// Now, in Unix seconds.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn objection(row: &Row) -> Option<String> {
    row.objection.as_ref().map(|why| format!("{} ({}): {why}", row.name, row.workerpool))
}

/// The comparison as a table.
pub fn text(comparison: &Comparison) -> String {
    let days = output::seconds(comparison.window_seconds as f64);
    let mut text = format!(
        "{} registered, {} of them public; payments of the last {days}, to block {}\n",
        output::count(comparison.registered, "pool"),
        comparison.public,
        comparison.block
    );
    let known = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let rows: Vec<Vec<String>> = comparison
        .pools
        .iter()
        .map(|row| {
            let expected = match (&row.objection, row.untried) {
                (Some(_), _) => "-".to_owned(),
                (None, true) => format!("{} (untried)", row.expected_per_day),
                (None, false) => row.expected_per_day.to_string(),
            };
            let per_task = row.paid_per_task.map_or_else(|| "-".to_owned(), |paid| paid.to_string());
            vec![
                row.name.clone(),
                expected,
                format!("{} %", row.fee_percent),
                format!("{} %", row.stake_percent),
                known(row.workers),
                known(row.tasks_waiting),
                row.paid.to_string(),
                per_task,
                format!("{} + {}", row.tasks_completed, row.tasks_failed),
                row.workerpool.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let slots = format!("expected a day ({})", output::count(comparison.slots_offered, "slot"));
        let head =
            ["pool", &slots, "fee", "stake", "workers", "waiting", "paid", "a payment", "done + failed", "workerpool"];
        text += &output::table(&head, &rows);
    }
    let objections: Vec<String> = comparison.pools.iter().filter_map(objection).collect();
    if !objections.is_empty() {
        text += &format!("\nnot to be joined:\n  {}\n", objections.join("\n  "));
    }
    text
}
