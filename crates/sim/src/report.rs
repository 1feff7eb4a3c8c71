//! What a run showed: figures, tables (CSV), plots (SVG).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use alloy_primitives::B256;

use crate::config::{Config, Kind};
use crate::ledger::Settlements;
use crate::measure::{Messages, Sample};
use crate::world::{START_MS, World};

mod draw;

/// What a run showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The run's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The hash over all decisions of the scheduler, all events of the ledger, and its books at the end: the same for the
    /// same configuration, on any machine.
    pub digest: B256,
    /// From the start to the end of the last task, or of the measured time if that is later.
    pub simulated_ms: u64,
    /// Figures, in the order of the table.
    pub totals: Totals,
    /// What was settled.
    pub settled: Settlements,
    /// What went over the lines.
    pub messages: Messages,
    /// Every bag, as they were ordered.
    pub bags: Vec<BagReport>,
    /// Every kind of host that is there.
    pub kinds: Vec<KindReport>,
    /// Every host.
    pub hosts: Vec<HostReport>,
    /// The market over time.
    pub samples: Vec<Sample>,
    /// From ready to the first lease that a host took, of every task that got one, ascending.
    pub lease_waits_ms: Vec<u64>,
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Tasks that were ordered.
    pub tasks: u64,
    /// Completed.
    pub completed: u64,
    /// Failed and refunded.
    pub failed: u64,
    /// Completed with a result that is not the right one.
    pub wrong: u64,
    /// Leases given.
    pub leases: u64,
    /// Leases taken back.
    pub revoked: u64,
    /// Leases that hosts declined as too long for them.
    pub declined: u64,
    /// Runs begun.
    pub runs: u64,
    /// Results that hosts brought.
    pub results: u64,
    /// Runs lost with their host or its process.
    pub runs_lost: u64,
    /// Runs given up since the pool wanted them no more.
    pub runs_revoked: u64,
    /// Workers banned by the pool.
    pub bans: u64,
    /// New names of whitewashers.
    pub renames: u64,
    /// Times that a host went away.
    pub departures: u64,
    /// Deaths of workers' processes.
    pub worker_crashes: u64,
    /// Deaths of the pool's.
    pub pool_crashes: u64,
    /// Host time that was there, in milliseconds, all slots.
    pub available_ms: u64,
    /// Of it, spent in runs.
    pub busy_ms: u64,
    /// Things that happened.
    pub acts: u64,
    /// Events that the scheduler took.
    pub scheduler_events: u64,
    /// Decisions it made.
    pub decisions: u64,
    /// Events of the ledger.
    pub ledger_events: u64,
}

/// A bag's life. Times are since it was ordered.
#[derive(Clone, Debug, PartialEq)]
pub struct BagReport {
    /// Its kind in the configuration.
    pub jobs: String,
    /// Since the start of the run.
    pub ordered_ms: u64,
    /// Tasks.
    pub tasks: u32,
    /// Completed.
    pub completed: u32,
    /// Failed.
    pub failed: u32,
    /// Completed with a wrong result.
    pub wrong: u32,
    /// Leases for it.
    pub leases: u64,
    /// Contributions to it.
    pub contributions: u64,
    /// Until the first lease.
    pub first_lease_ms: Option<u64>,
    /// Until nine tenths of what was completed were.
    pub nine_tenths_ms: Option<u64>,
    /// Until its last task ended.
    pub makespan_ms: u64,
    /// Until its last task was completed.
    pub last_completed_ms: Option<u64>,
    /// Half of the runs that brought a result were no longer, from the lease to the upload.
    pub median_run_ms: Option<u64>,
}

/// How long the last tenth of a bag took, and how long it could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTenth {
    /// From the completion of nine tenths to that of the last task.
    pub took_ms: u64,
    /// A ninth of what the first nine tenths took: the last tenth at their pace, as if work could be cut as fine as one likes.
    pub pace_ms: u64,
    /// One run, the median of the bag's: a task whose host is lost at the end, or who has none yet, takes another.
    pub run_ms: u64,
}

impl LastTenth {
    /// What it takes where nothing goes wrong: the tasks at the pace of those before them, and none of them less than one run.
    pub fn ideal_ms(&self) -> u64 {
        self.pace_ms.max(self.run_ms).max(1)
    }

    /// How many times as long as ideal it took.
    pub fn slowdown(&self) -> f64 {
        self.took_ms as f64 / self.ideal_ms() as f64
    }

    /// The same against the pace alone.
    pub fn slowdown_of_pace(&self) -> f64 {
        self.took_ms as f64 / self.pace_ms.max(1) as f64
    }
}

/// What the hosts of one kind did and got.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KindReport {
    /// Which.
    pub kind: Kind,
    /// How many.
    pub hosts: u64,
    /// Names they had.
    pub names: u64,
    /// Runs they began.
    pub runs: u64,
    /// Contributions.
    pub contributions: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// Names that were caught: rejected on the ledger or banned by the pool.
    pub caught: u64,
    /// Contributions of a name until it was caught, on average over those caught.
    pub contributions_until_caught: Option<f64>,
    /// Paid to them, in nGRIST.
    pub gained_ngrist: u128,
    /// Taken from them, in nGRIST.
    pub lost_ngrist: u128,
}

/// A host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostReport {
    /// How it behaves.
    pub kind: Kind,
    /// Its speed.
    pub mflops: u64,
    /// How long it was there, within the measured time.
    pub available_ms: u64,
    /// How long its slots were in runs, together.
    pub busy_ms: u64,
    /// Runs it began.
    pub runs: u64,
    /// Contributions.
    pub contributions: u64,
}

impl Report {
    pub(crate) fn of(world: World<'_>) -> Self {
        let config = world.config;
        let measure = &world.measure;
        let mut lease_waits_ms = measure.lease_waits_ms.clone();
        lease_waits_ms.sort_unstable();
        let hosts = world.hosts.iter().map(|host| HostReport {
            kind: host.kind,
            mflops: host.mflops,
            available_ms: host.available_ms,
            busy_ms: host.busy_ms,
            runs: host.figures.leases,
            contributions: host.figures.contributions,
        });
        let hosts = hosts.collect::<Vec<_>>();
        let slots = u64::from(config.hosts.slots);
        let totals = Totals {
            tasks: world.tasks.len() as u64,
            completed: measure.completed,
            failed: measure.failed,
            wrong: measure.wrong,
            leases: measure.leases,
            revoked: measure.revoked,
            declined: measure.declined,
            runs: measure.runs,
            results: measure.results,
            runs_lost: measure.runs_lost,
            runs_revoked: measure.runs_revoked,
            bans: measure.bans,
            renames: measure.renames,
            departures: measure.departures,
            worker_crashes: measure.worker_crashes,
            pool_crashes: measure.pool_crashes,
            available_ms: hosts.iter().map(|host| host.available_ms).sum::<u64>() * slots,
            busy_ms: hosts.iter().map(|host| host.busy_ms).sum(),
            acts: measure.acts + measure.ticks,
            scheduler_events: measure.scheduler_events,
            decisions: world.trace.decisions,
            ledger_events: world.trace.events,
        };
        Self {
            name: config.name.clone(),
            seed: config.seed,
            simulated_ms: world.now_ms - START_MS,
            totals,
            settled: world.ledger.settled,
            messages: measure.messages,
            bags: world.bags.iter().map(|bag| bag_report(config, bag)).collect(),
            kinds: kind_reports(&world),
            hosts,
            samples: measure.samples.clone(),
            lease_waits_ms,
            digest: world.trace.finish(world.ledger.model.books()),
        }
    }

    /// The share of completed tasks whose result is wrong.
    pub fn error_rate(&self) -> f64 {
        ratio(self.totals.wrong, self.totals.completed)
    }

    /// Results computed for each completed task.
    pub fn results_per_task(&self) -> f64 {
        ratio(self.totals.results, self.totals.completed)
    }

    /// Contributions for each completed task.
    pub fn contributions_per_task(&self) -> f64 {
        ratio(self.settled.contributions, self.totals.completed)
    }

    /// The share of the hosts' time that was there and in which they worked.
    pub fn utilisation(&self) -> f64 {
        ratio(self.totals.busy_ms, self.totals.available_ms)
    }

    /// From ready to the first lease that a host took: below it this share of the tasks stayed.
    pub fn lease_wait_ms(&self, share: f64) -> Option<u64> {
        quantile(&self.lease_waits_ms, share)
    }

    /// Every figure: what, value, unit.
    pub fn figures(&self) -> Vec<(&'static str, String, &'static str)> {
        let (totals, settled) = (&self.totals, &self.settled);
        let count = |value: u64| value.to_string();
        let real = |value: f64| format!("{value:.4}");
        let wait = |share: f64| self.lease_wait_ms(share).map_or("-".to_owned(), seconds);
        let whole = self.bags.iter().filter(|bag| bag.failed == 0);
        let mut slowdowns = whole.clone().filter_map(BagReport::tail_slowdown).collect::<Vec<_>>();
        slowdowns.sort_by(f64::total_cmp);
        let mut spans = whole.map(|bag| bag.makespan_ms).collect::<Vec<_>>();
        spans.sort_unstable();
        let span = |share: f64| quantile(&spans, share).map_or("-".to_owned(), seconds);
        let slow = |share: f64| quantile(&slowdowns, share).map_or("-".to_owned(), real);
        let mut figures = vec![
            ("hosts", count(self.hosts.len() as u64), ""),
            ("simulated", seconds(self.simulated_ms), "s"),
            ("tasks", count(totals.tasks), ""),
            ("completed", count(totals.completed), ""),
            ("failed and refunded", count(totals.failed), ""),
            ("wrong results accepted", count(totals.wrong), ""),
            ("error rate", format!("{:.6}", self.error_rate()), ""),
            ("bags done without a failed task", count(spans.len() as u64), ""),
            ("makespan: median", span(0.5), "s"),
            ("makespan: 90 %", span(0.9), "s"),
            ("tail slowdown: median", slow(0.5), ""),
            ("tail slowdown: 90 %", slow(0.9), ""),
            ("ready to lease: median", wait(0.5), "s"),
            ("ready to lease: 90 %", wait(0.9), "s"),
            ("ready to lease: 99 %", wait(0.99), "s"),
            ("results per completed task", real(self.results_per_task()), ""),
            ("contributions per completed task", real(self.contributions_per_task()), ""),
            ("host time there", real(totals.available_ms as f64 / 3_600_000.0), "h"),
            ("utilisation", real(self.utilisation()), ""),
            ("idle share", real(1.0 - self.utilisation()), ""),
            ("leases", count(totals.leases), ""),
            ("leases taken back", count(totals.revoked), ""),
            ("leases declined as too long", count(totals.declined), ""),
            ("runs begun", count(totals.runs), ""),
            ("results", count(totals.results), ""),
            ("runs lost with their host", count(totals.runs_lost), ""),
            ("runs given up", count(totals.runs_revoked), ""),
            ("departures of hosts", count(totals.departures), ""),
            ("deaths of workers", count(totals.worker_crashes), ""),
            ("deaths of the pool", count(totals.pool_crashes), ""),
            ("bans", count(totals.bans), ""),
            ("new names of whitewashers", count(totals.renames), ""),
            ("transactions", count(settled.transactions()), ""),
            ("transactions that reverted", count(settled.reverts), ""),
            ("blocks", count(settled.blocks), ""),
            ("transactions of the largest block", count(settled.block_max), ""),
            ("deals", count(settled.deals), ""),
            ("contributions", count(settled.contributions), ""),
            ("reveals", count(settled.reveals), ""),
            ("finalizes", count(settled.finalizes), ""),
            ("reopens", count(settled.reopens), ""),
            ("claims", count(settled.claims), ""),
            ("concedes", count(settled.concedes), ""),
        ];
        figures.extend(self.figures_of_lines());
        figures
    }

    /// What went over the lines, and how much there was to do.
    fn figures_of_lines(&self) -> Vec<(&'static str, String, &'static str)> {
        let (totals, messages) = (&self.totals, &self.messages);
        let count = |value: u64| value.to_string();
        vec![
            ("messages of workers", count(messages.up), ""),
            ("messages of the pool", count(messages.down), ""),
            ("heartbeats", count(messages.heartbeats), ""),
            ("acknowledgements", count(messages.acks), ""),
            ("messages lost", count(messages.lost), ""),
            ("messages overtaken", count(messages.overtaken), ""),
            ("messages sent again", count(messages.again), ""),
            ("messages that could not be said", count(messages.dropped), ""),
            ("connections tried", count(messages.dials), ""),
            ("connections ended", count(messages.cuts), ""),
            ("connections cut at a gap", count(messages.gaps), ""),
            ("connections cut for want of an answer", count(messages.timeouts), ""),
            ("sessions resumed", count(messages.resumed), ""),
            ("sessions begun", count(messages.begun), ""),
            ("things that happened", count(totals.acts), ""),
            ("events that the scheduler took", count(totals.scheduler_events), ""),
            ("decisions of the scheduler", count(totals.decisions), ""),
            ("events of the ledger", count(totals.ledger_events), ""),
        ]
    }

    /// Writes every table and plot into a folder, which is made if need be, and gives the files.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let tables = [
            ("figures.csv", self.figures_csv()),
            ("bags.csv", self.bags_csv()),
            ("kinds.csv", self.kinds_csv()),
            ("hosts.csv", self.hosts_csv()),
            ("series.csv", self.series_csv()),
        ];
        let mut written = Vec::new();
        for (name, text) in tables.into_iter().chain(draw::plots(self)) {
            let path = folder.join(name);
            fs::write(&path, text)?;
            written.push(path);
        }
        Ok(written)
    }

    /// The figures as CSV.
    pub fn figures_csv(&self) -> String {
        let mut csv = Csv::new("figure,value,unit");
        csv.row(&["name", &self.name, ""]);
        csv.row(&["seed", &self.seed.to_string(), ""]);
        csv.row(&["digest", &self.digest.to_string(), ""]);
        for (figure, value, unit) in self.figures() {
            csv.row(&[figure, &value, unit]);
        }
        csv.text
    }

    /// The bags as CSV.
    pub fn bags_csv(&self) -> String {
        let mut csv = Csv::new(
            "jobs,ordered_s,tasks,completed,failed,wrong,leases,contributions,first_lease_s,nine_tenths_s,makespan_s,tail_slowdown",
        );
        let maybe = |ms: Option<u64>| ms.map(seconds).unwrap_or_default();
        for bag in &self.bags {
            let counts = [u64::from(bag.tasks), bag.completed.into(), bag.failed.into(), bag.wrong.into()];
            let counts = counts.into_iter().chain([bag.leases, bag.contributions]).map(|count| count.to_string());
            let mut fields = vec![bag.jobs.clone(), seconds(bag.ordered_ms)];
            fields.extend(counts);
            fields.extend([maybe(bag.first_lease_ms), maybe(bag.nine_tenths_ms), seconds(bag.makespan_ms)]);
            fields.push(bag.tail_slowdown().map(|value| format!("{value:.4}")).unwrap_or_default());
            csv.row(&fields);
        }
        csv.text
    }

    /// The kinds of hosts as CSV.
    pub fn kinds_csv(&self) -> String {
        let mut csv = Csv::new(
            "kind,hosts,names,runs,contributions,wrong,caught,contributions_until_caught,gained_grist,lost_grist",
        );
        for kind in &self.kinds {
            let until = kind.contributions_until_caught.map(|value| format!("{value:.2}")).unwrap_or_default();
            let counts = [kind.hosts, kind.names, kind.runs, kind.contributions, kind.wrong, kind.caught];
            let mut fields = vec![kind.kind.name().to_owned()];
            fields.extend(counts.map(|count| count.to_string()));
            fields.extend([until, grist(kind.gained_ngrist), grist(kind.lost_ngrist)]);
            csv.row(&fields);
        }
        csv.text
    }

    /// The hosts as CSV.
    pub fn hosts_csv(&self) -> String {
        let mut csv = Csv::new("host,kind,mflops,available_s,busy_s,runs,contributions");
        for (number, host) in self.hosts.iter().enumerate() {
            csv.row(&[
                number.to_string(),
                host.kind.name().to_owned(),
                host.mflops.to_string(),
                seconds(host.available_ms),
                seconds(host.busy_ms),
                host.runs.to_string(),
                host.contributions.to_string(),
            ]);
        }
        csv.text
    }

    /// The market over time as CSV.
    pub fn series_csv(&self) -> String {
        let mut csv = Csv::new("after_s,available,busy,open,completed,failed,transactions,messages");
        for sample in &self.samples {
            let Sample { after_ms, available, busy, open, completed, failed, transactions, messages } = *sample;
            let counts = [available, busy, open, completed, failed, transactions, messages];
            let mut fields = vec![seconds(after_ms)];
            fields.extend(counts.map(|count| count.to_string()));
            csv.row(&fields);
        }
        csv.text
    }
}

impl BagReport {
    /// How much longer it took than if the pace of its first nine tenths had lasted: 1 for no tail at all. `None` without a
    /// completed task.
    pub fn tail_slowdown(&self) -> Option<f64> {
        let ideal_ms = self.nine_tenths_ms? as f64 / 0.9;
        Some(self.last_completed_ms? as f64 / ideal_ms.max(1.0))
    }

    /// Its last tenth. `None` without a completed task.
    pub fn last_tenth(&self) -> Option<LastTenth> {
        let nine_tenths_ms = self.nine_tenths_ms?;
        let took_ms = self.last_completed_ms?.saturating_sub(nine_tenths_ms);
        Some(LastTenth { took_ms, pace_ms: nine_tenths_ms / 9, run_ms: self.median_run_ms? })
    }
}

fn bag_report(config: &Config, bag: &crate::world::Bag) -> BagReport {
    let jobs = &config.jobs[bag.jobs];
    let since = |at_ms: u64| at_ms.saturating_sub(bag.ordered_ms);
    let completed = bag.completed_ms.len();
    let mut runs_ms = bag.runs_ms.clone();
    runs_ms.sort_unstable();
    BagReport {
        jobs: jobs.name.clone(),
        ordered_ms: bag.ordered_ms - START_MS,
        tasks: jobs.tasks,
        // No more than `tasks`.
        completed: completed as u32,
        failed: bag.failed,
        wrong: bag.wrong,
        leases: bag.leases,
        contributions: bag.contributions,
        first_lease_ms: bag.first_lease_ms.map(since),
        nine_tenths_ms: (completed * 9).div_ceil(10).checked_sub(1).map(|at| since(bag.completed_ms[at])),
        makespan_ms: since(bag.ended_ms),
        last_completed_ms: bag.completed_ms.last().copied().map(since),
        median_run_ms: quantile(&runs_ms, 0.5),
    }
}

fn kind_reports(world: &World<'_>) -> Vec<KindReport> {
    let of_kind = |kind: Kind| {
        let hosts = world.hosts.iter().filter(move |host| host.kind == kind);
        let total = |figure: fn(&crate::host::Host) -> u64| hosts.clone().map(figure).sum::<u64>();
        let measure = &world.measure.kinds[kind.index()];
        KindReport {
            kind,
            hosts: hosts.clone().count() as u64,
            names: total(|host| u64::from(host.incarnation) + 1),
            runs: total(|host| host.figures.leases),
            contributions: total(|host| host.figures.contributions),
            wrong: total(|host| host.figures.wrong),
            caught: measure.caught,
            contributions_until_caught: (measure.caught > 0)
                .then(|| ratio(measure.contributions_until_caught, measure.caught)),
            gained_ngrist: measure.gained_ngrist,
            lost_ngrist: measure.lost_ngrist,
        }
    };
    Kind::ALL.into_iter().map(of_kind).filter(|report| report.hosts > 0).collect()
}

/// A table: names of columns, then rows; a field with a comma, a quote or a line's end is quoted.
struct Csv {
    text: String,
}

impl Csv {
    fn new(head: &str) -> Self {
        Self { text: format!("{head}\n") }
    }

    fn row<T: AsRef<str>>(&mut self, fields: &[T]) {
        for (number, field) in fields.iter().enumerate() {
            let field = field.as_ref();
            let comma = if number == 0 { "" } else { "," };
            let quoted = field.contains([',', '"', '\n', '\r']);
            // Writing to a string cannot fail.
            let _ = if quoted {
                write!(self.text, "{comma}\"{}\"", field.replace('"', "\"\""))
            } else {
                write!(self.text, "{comma}{field}")
            };
        }
        self.text.push('\n');
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn grist(ngrist: u128) -> String {
    format!("{}.{:09}", ngrist / 1_000_000_000, ngrist % 1_000_000_000)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Of ascending values: the one below which this share of them stays.
fn quantile<T: Copy>(values: &[T], share: f64) -> Option<T> {
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.saturating_sub(1).min(values.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests;
