//! `gristmill worker` without a pool: find one, work for it, and find another when it is gone.
//!
//! A pool is chosen when the worker starts, and again only when its pool has been away for long. A worker with a task, or with a result
//! whose stake is not settled, stays where it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use gristmill_protocol::tls::PoolUrl;
use gristmill_types::Address;
use gristmill_wallet::Wallet;
use gristmill_worker::earnings::LedgerPlace;
use gristmill_worker::pools::choice::{GONE_S, GONE_WITH_WORK_S, Joined, NOTE_INTERVAL_S, unsettled};
use gristmill_worker::pools::{Choice, Comparison, Row, look, rank};
use gristmill_worker::{Settings, Status, WorkerError, WorkerHandle};

use super::pools::{asker, none_to_join, text, unix_s};
use super::{service_dir, worker_config};
use crate::exit::Exit;
use crate::host::Stop;
use crate::output;

/// How often it is looked whether the pool is there.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait before looking again, when there was nothing to choose from.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Looks for a pool, and remembers what it found.
struct Search {
    /// The folder of the key and the settings.
    root: PathBuf,
    settings: Settings,
    place: LedgerPlace,
    worker: Address,
    choice: Choice,
    /// Pools that have turned this worker away since it started, and why.
    turned_away: BTreeMap<Address, String>,
}

/// A pool to work for.
struct Found {
    url: PoolUrl,
    pool: Joined,
    row: Option<Row>,
}

/// Why a worker no longer works for its pool.
enum Ended {
    /// It ended by itself.
    ByItself(Result<(), WorkerError>),
    /// The pool has been away for long, and there is another.
    Gone,
}

/// Works until Ctrl-C, a terminate signal, until it is drained, or until no pool is left that would have it.
pub async fn work(root: &Path, settings: Settings, place: LedgerPlace, wait: bool, json: bool) -> anyhow::Result<Exit> {
    let wallet = Wallet::load_or_generate(root.join("wallet.json"))?;
    let mut stop = Stop::listen()?;
    let mut search = Search::new(root, settings, place, wallet.address());
    let mut is_announced = false;
    loop {
        let found = tokio::select! {
            found = search.find(wait, json) => found?,
            () = stop.requested() => return Ok(Exit::Interrupted),
        };
        let mut worker = search.start(&found, wallet.clone())?;
        announce(&found, &worker, json && !is_announced)?;
        is_announced = true;
        let ended = tokio::select! {
            ended = search.watch(&mut worker) => ended,
            () = stop.requested() => {
                return match stop.or_now(worker.shutdown()).await {
                    Some(stopped) => stopped.map(|()| Exit::Ok).map_err(Into::into),
                    None => Ok(Exit::Interrupted),
                };
            }
        };
        match ended {
            Ended::ByItself(Ok(())) => return Ok(Exit::Ok),
            Ended::ByItself(Err(error)) => search.turned_away(&found, error)?,
            Ended::Gone => worker.shutdown().await?,
        }
    }
}

fn announce(found: &Found, worker: &WorkerHandle, json: bool) -> anyhow::Result<()> {
    let slots = worker.status().slots;
    if json {
        return output::json(&serde_json::json!({
            "worker": worker.address(), "pools": [found.url.to_string()], "slots": slots, "workerpool": found.pool.workerpool,
            "found": found.row,
        }));
    }
    let (worker, name, workerpool) = (worker.address(), &found.pool.name, found.pool.workerpool);
    let slots = output::count(slots.into(), "slot");
    output::note(&format!("worker {worker} for {name} ({workerpool} at {}) with {slots}; Ctrl-C stops it", found.url));
    Ok(())
}

impl Search {
    fn new(root: &Path, settings: Settings, place: LedgerPlace, worker: Address) -> Self {
        let choice = Choice::remembered(root, &place);
        Self { root: root.to_path_buf(), settings, place, worker, choice, turned_away: BTreeMap::new() }
    }

    /// The pool to work for. With `wait` it is looked for until there is one.
    async fn find(&mut self, wait: bool, json: bool) -> anyhow::Result<Found> {
        if let Some(found) = self.unfinished()? {
            return Ok(found);
        }
        loop {
            let trouble = match self.compare().await {
                Ok(comparison) => {
                    if !json {
                        output::note(text(&comparison).trim_end());
                    }
                    match self.take(&comparison)? {
                        Some(found) => return Ok(found),
                        None => anyhow::anyhow!(none_to_join(&comparison, &self.place)),
                    }
                }
                // A machine that starts before its network goes back to the pool that it had.
                Err(error) => match self.current() {
                    Some(found) => {
                        output::note(&format!("the pools cannot be compared ({error:#}); back to the last one"));
                        return Ok(found);
                    }
                    None => error,
                },
            };
            if !wait {
                return Err(trouble);
            }
            output::note(&format!("gristmill: {trouble:#}\nlooking again in {} s", LOOK_AGAIN.as_secs()));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The pool that was joined last, unless it has turned this worker away.
    fn current(&self) -> Option<Found> {
        let pool = self.choice.pool.clone().filter(|pool| !self.turned_away.contains_key(&pool.workerpool))?;
        Some(Found { url: pool.url.parse().ok()?, pool, row: None })
    }

    /// The pool that was joined last, while results of its tasks are not settled.
    fn unfinished(&self) -> anyhow::Result<Option<Found>> {
        let Some(found) = self.current() else { return Ok(None) };
        let away_s = unix_s().saturating_sub(found.pool.seen_unix_s);
        let results = unsettled(&service_dir(&self.root), &found.url)?;
        if results == 0 || away_s >= GONE_WITH_WORK_S {
            return Ok(None);
        }
        let results = output::count(results as u64, "result");
        output::note(&format!("back to {}: {results} of its tasks wait to be settled", found.pool.name));
        Ok(Some(found))
    }

    async fn compare(&mut self) -> anyhow::Result<Comparison> {
        let asker = asker(self.worker, &self.settings, &self.choice);
        let mut comparison = look(&self.place, &asker, unix_s()).await?;
        for row in &mut comparison.pools {
            if let Some(why) = self.turned_away.get(&row.workerpool) {
                row.objection = Some(format!("it turned this worker away: {why}"));
            }
        }
        let now = unix_s();
        if self.choice.judge(&comparison.pools, now) {
            for row in comparison.pools.iter_mut().filter(|row| self.choice.left.contains_key(&row.workerpool)) {
                row.expected_per_day = gristmill_types::Amount::ZERO;
            }
        }
        rank::sort(&mut comparison.pools);
        Ok(comparison)
    }

    /// Takes the pool to join, and remembers it.
    fn take(&mut self, comparison: &Comparison) -> anyhow::Result<Option<Found>> {
        let current = self.choice.pool.as_ref().map(|pool| pool.workerpool);
        let Some(row) = rank::choose(&comparison.pools, current) else { return Ok(None) };
        self.choice.take(row, unix_s());
        self.remember();
        let pool = self.choice.pool.clone().context("a pool was just taken")?;
        Ok(Some(Found { url: row.url.parse()?, pool, row: Some(row.clone()) }))
    }

    fn remember(&self) {
        if let Err(error) = self.choice.remember(&self.root) {
            tracing::warn!(%error, "which pool was joined cannot be noted: the next start compares them anew");
        }
    }

    fn start(&self, found: &Found, wallet: Wallet) -> anyhow::Result<WorkerHandle> {
        let settings = Settings { pools: vec![found.url.clone()], ..self.settings.clone() };
        let mut config = worker_config(&self.root, wallet, settings)?;
        config.found_on = Some(self.place.clone());
        Ok(gristmill_worker::start(config)?)
    }

    /// Keeps an eye on the pool while the worker works.
    async fn watch(&mut self, worker: &mut WorkerHandle) -> Ended {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked_unix_s = unix_s();
        loop {
            tokio::select! {
                ended = worker.join() => return Ended::ByItself(ended),
                _ = watch.tick() => {}
            }
            let (status, now) = (worker.status(), unix_s());
            self.note(&status, now);
            let Some(pool) = self.choice.pool.as_ref().filter(|pool| is_gone(pool, &status, now)) else { continue };
            if now.saturating_sub(looked_unix_s) < GONE_S {
                continue;
            }
            looked_unix_s = now;
            let gone = pool.workerpool;
            output::note(&format!("{} does not answer any more: looking for another pool", pool.name));
            let compared = tokio::select! {
                ended = worker.join() => return Ended::ByItself(ended),
                compared = self.compare() => compared,
            };
            // It may have come back meanwhile, with a task.
            let is_gone = self.choice.pool.as_ref().is_some_and(|pool| is_gone(pool, &worker.status(), unix_s()));
            let is_other = |row: &Row| row.workerpool != gone;
            match compared {
                Ok(found) if is_gone && rank::choose(&found.pools, Some(gone)).is_some_and(is_other) => {
                    return Ended::Gone;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the pools cannot be compared"),
            }
        }
    }

    /// Notes that the pool is connected, now and then on the disk.
    fn note(&mut self, status: &Status, now: u64) {
        let connected = status.pools.iter().any(|pool| pool.connected);
        if connected && self.choice.see(now) {
            self.remember();
        }
    }

    /// A pool that turns the worker away is left, and another is looked for; anything else ends the worker.
    fn turned_away(&mut self, found: &Found, error: WorkerError) -> anyhow::Result<()> {
        if !matches!(error, WorkerError::Link(_) | WorkerError::Welcome(_)) {
            return Err(error.into());
        }
        let (name, why) = (&found.pool.name, format!("{:#}", anyhow::Error::from(error)));
        output::note(&format!("{name} turns this worker away: {why}"));
        self.turned_away.insert(found.pool.workerpool, why);
        self.choice.leave(found.pool.workerpool, unix_s());
        self.choice.pool = None;
        self.remember();
        Ok(())
    }
}

/// Whether the worker may go: the pool has been away for long, and nothing of its is under way.
fn is_gone(pool: &Joined, status: &Status, now: u64) -> bool {
    if status.pools.iter().any(|pool| pool.connected) || !status.tasks.is_empty() {
        return false;
    }
    let away_s = now.saturating_sub(pool.seen_unix_s);
    // It is noted every five minutes only that the pool is there.
    let patience_s = if status.results_waiting == 0 { GONE_S } else { GONE_WITH_WORK_S };
    away_s >= patience_s + NOTE_INTERVAL_S
}

#[cfg(test)]
mod tests {
    use gristmill_worker::status::{Counters, PoolStatus, TaskStatus};

    use super::*;

    fn status(connected: bool, results_waiting: u64, tasks: Vec<TaskStatus>) -> Status {
        let url = format!("grist://127.0.0.1:9/{:064x}", 1);
        Status {
            worker: Address::ZERO,
            version: String::new(),
            since_unix_ms: 0,
            verdict: "work".to_owned(),
            reasons: vec![],
            command: "run".to_owned(),
            pools: vec![PoolStatus { url, address: None, connected, trouble: None, results_waiting }],
            slots: 1,
            tasks,
            results_waiting,
            counters: Counters { leases: 0, declined: 0, results: 0, contributions: 0, failures: 0 },
            sensors: None,
            speed: None,
            missing_guarantees: vec![],
        }
    }

    #[test]
    fn it_stays_while_it_has_work() {
        let pool = Joined {
            workerpool: Address::ZERO,
            name: "pool".to_owned(),
            url: String::new(),
            since_unix_s: 0,
            seen_unix_s: 1_000,
            served_s: 0,
        };
        let task = TaskStatus {
            task: Default::default(),
            app: None,
            requester: None,
            own: false,
            items_done: 0,
            items_total: 0,
            seconds: 0,
            frozen: false,
            frozen_seconds: 0,
            frozen_because: None,
        };
        let (soon, long, longest) = (1_000 + GONE_S, 2_000 + GONE_S, 2_000 + GONE_WITH_WORK_S);
        for (status, now, gone) in [
            (status(false, 0, vec![]), soon, false),
            (status(false, 0, vec![]), long, true),
            (status(true, 0, vec![]), longest, false),
            (status(false, 1, vec![]), long, false),
            (status(false, 1, vec![]), longest, true),
            (status(false, 0, vec![task]), longest, false),
        ] {
            assert_eq!(is_gone(&pool, &status, now), gone, "{now}: {status:?}");
        }
    }
}
