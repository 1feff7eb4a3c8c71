//! `gristmill worker earnings`.

use std::path::Path;

use anyhow::Context;
use gristmill_wallet::Wallet;
use gristmill_worker::earnings::{Earnings, Sum, ledger_place, read};

use super::service_dir;
use crate::exit::Exit;
use crate::output;

pub async fn run(root: &Path, json: bool) -> anyhow::Result<Exit> {
    let key = root.join("wallet.json");
    if !key.exists() {
        anyhow::bail!("no worker ever ran in {}: name its folder with --data-dir", root.display());
    }
    let wallet = Wallet::load(&key).context("the worker's key cannot be read")?;
    let place = ledger_place(&service_dir(root))?;
    let earnings = read(&place, wallet.address()).await?;
    output::either(json, &earnings, text)?;
    Ok(Exit::Ok)
}

fn text(earnings: &Earnings) -> String {
    let total = &earnings.total;
    let mut text = output::fields([
        ("worker", earnings.worker.to_string()),
        ("earned", format!("{} in {}", total.rewards, output::count(total.tasks_paid, "payment"))),
        ("lost", format!("{} in {}", total.seized, output::count(total.tasks_seized, "task"))),
        ("free", format!("{} (may be withdrawn or staked)", earnings.free)),
        ("locked", format!("{} (stake for what is under way)", earnings.locked)),
        ("as of", format!("block {}", earnings.block)),
    ]);
    text += &table("day", earnings.by_day.iter().map(|(day, sum)| (day.clone(), sum)));
    text += &table("pool", earnings.by_pool.iter().map(|(pool, sum)| (pool.to_string(), sum)));
    text += &table("app", earnings.by_app.iter().map(|(app, sum)| (app.to_string(), sum)));
    text
}

fn table<'a>(name: &str, sums: impl Iterator<Item = (String, &'a Sum)>) -> String {
    let rows: Vec<Vec<String>> = sums
        .map(|(of, sum)| vec![of, sum.rewards.to_string(), sum.seized.to_string(), sum.tasks_paid.to_string()])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    String::from("\n") + &output::table(&[name, "earned", "lost", "payments"], &rows)
}
