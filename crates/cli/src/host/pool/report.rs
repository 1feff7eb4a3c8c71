//! `gristmill pool report`.

use clap::{Args, ValueEnum};
use gristmill_pool::control::{self, Answer, Ask};
use gristmill_pool::report::{By, Report, Row, Sum};
use gristmill_types::Amount;

use super::FolderArgs;
use crate::exit::Exit;
use crate::output;

const MS_PER_HOUR: f64 = 3_600_000.0;

/// Add up what the pool did since its first deal, from the ledger and from the pool's journal
///
/// Members of the pool stand there by their names. CPU-hours are the durations of the leases: a lease takes one slot of a worker. By
/// worker there are no tasks and no cost, since several workers do a task; what they were paid is there.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// By what to add up
    #[arg(long, value_enum, default_value_t = Key::User)]
    by: Key,
    /// Print comma-separated values, the total last
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// Who asked for the work
    User,
    /// The app that was run
    App,
    /// The worker that did it
    Worker,
    /// The group of who asked for it
    Group,
}

impl Key {
    fn by(self) -> By {
        match self {
            Self::User => By::User,
            Self::App => By::App,
            Self::Worker => By::Worker,
            Self::Group => By::Group,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::App => "app",
            Self::Worker => "worker",
            Self::Group => "group",
        }
    }
}

pub fn run(args: &ReportArgs, json: bool) -> anyhow::Result<Exit> {
    if args.csv && json {
        anyhow::bail!("--csv and --json are two ways to print one thing: leave one out");
    }
    let folder = args.folder.pool()?;
    let Answer::Report(report) = control::ask(&folder, &Ask::Report(args.by.by()))? else {
        return Err(control::other_question(&folder).into());
    };
    if args.csv {
        output::text_out(&csv(&report, args.by.name()))?;
    } else {
        output::either(json, &report, |report| text(report, args.by.name()))?;
    }
    Ok(Exit::Ok)
}

/// Name and value of each column.
fn columns(sum: &Sum, amount: impl Fn(Amount) -> String, none: &str) -> [(&'static str, String); 12] {
    let count = |count: Option<u64>| count.map_or_else(|| none.to_owned(), |count| count.to_string());
    [
        ("tasks", count(sum.tasks)),
        ("completed", count(sum.completed)),
        ("failed", count(sum.failed)),
        ("cost", sum.cost.map_or_else(|| none.to_owned(), &amount)),
        ("leases", sum.leases.to_string()),
        ("failures", sum.failures.to_string()),
        ("cpu_hours", format!("{:.6}", sum.lease_ms as f64 / MS_PER_HOUR)),
        ("results", sum.results.to_string()),
        ("rejected", sum.rejected.to_string()),
        ("bytes", sum.bytes.to_string()),
        ("paid", amount(sum.paid)),
        ("seized", amount(sum.seized)),
    ]
}

/// The rows and the total, each with what it is of.
fn lines(report: &Report) -> impl Iterator<Item = (String, &Sum)> {
    let of = |row: &Row| match (&row.name, row.of) {
        (Some(name), _) => name.clone(),
        (None, Some(of)) => of.to_string(),
        (None, None) => "other".to_owned(),
    };
    report.rows.iter().map(move |row| (of(row), &row.sum)).chain([("total".to_owned(), &report.total)])
}

fn text(report: &Report, by: &'static str) -> String {
    let head: Vec<&str> = std::iter::once(by)
        .chain(columns(&report.total, |amount| amount.to_string(), "-").into_iter().map(|(name, _)| name))
        .collect();
    let row = |(of, sum): (String, &Sum)| -> Vec<String> {
        let values = columns(sum, |amount| amount.to_string(), "-").into_iter().map(|(_, value)| value);
        std::iter::once(of).chain(values).collect()
    };
    let rows: Vec<Vec<String>> = lines(report).map(row).collect();
    format!("as of block {}\n{}", report.block, output::table(&head, &rows))
}

/// Amounts are in nGRIST, so that they can be added up. No value needs quotes.
fn csv(report: &Report, by: &'static str) -> String {
    let names = columns(&report.total, |amount| amount.ngrist().to_string(), "").map(|(name, _)| match name {
        "cost" => "cost_ngrist",
        "paid" => "paid_ngrist",
        "seized" => "seized_ngrist",
        name => name,
    });
    let mut text = format!("{by},{}\n", names.join(","));
    for (of, sum) in lines(report) {
        let values = columns(sum, |amount| amount.ngrist().to_string(), "").map(|(_, value)| value);
        text += &format!("{of},{}\n", values.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use gristmill_types::Address;

    use super::*;

    #[test]
    fn a_report_reads_as_a_table_and_as_csv() {
        let sum = Sum {
            leases: 3,
            failures: 1,
            lease_ms: 5_400_000,
            results: 2,
            bytes: 77,
            paid: Amount::from_ngrist(1_500_000_000),
            ..Sum::default()
        };
        let tasks =
            Sum { tasks: Some(2), completed: Some(1), failed: Some(1), cost: Some(Amount::from_grist(2)), ..sum };
        let worker = Address::repeat_byte(7);
        let name = Some("pc-17".to_owned());
        let rows = vec![Row { of: Some(worker), name: None, sum }, Row { of: Some(worker), name, sum: Sum::default() }];
        let report = Report { by: By::Worker, block: 9, rows, total: tasks };
        let expected = format!(
            "worker,tasks,completed,failed,cost_ngrist,leases,failures,cpu_hours,results,rejected,bytes,paid_ngrist,seized_ngrist\n\
             {worker},,,,,3,1,1.500000,2,0,77,1500000000,0\n\
             pc-17,,,,,0,0,0.000000,0,0,0,0,0\n\
             total,2,1,1,2000000000,3,1,1.500000,2,0,77,1500000000,0\n"
        );
        assert_eq!(csv(&report, "worker"), expected);
        let table = text(&report, "worker");
        assert!(table.starts_with("as of block 9\nworker ") && table.contains("1.5 GRIST"), "{table}");
    }
}
