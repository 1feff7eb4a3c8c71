//! The result in words and numbers: `summary.txt` for people, `clusters.json`, `stability.csv` and `years.csv` for programs.

use crate::outcome::decimal;
use crate::reduce::{Cluster, Consensus, Period};
use crate::table;

/// Below this share of its samples a stock counts as not with its cluster.
const TOGETHER_LEAST: f64 = 0.5;

/// Names of the companies behind the tickers of the prices that come with the program; another ticker stands for itself.
const COMPANIES: [(&str, &str); 20] = [
    ("AAPL", "Apple"),
    ("AMD", "Advanced Micro Devices"),
    ("BAC", "Bank of America"),
    ("BBY", "Best Buy"),
    ("CVX", "Chevron"),
    ("GE", "General Electric"),
    ("HD", "Home Depot"),
    ("JNJ", "Johnson & Johnson"),
    ("JPM", "JPMorgan Chase"),
    ("KO", "Coca-Cola"),
    ("LLY", "Eli Lilly"),
    ("MRK", "Merck"),
    ("MSFT", "Microsoft"),
    ("PEP", "PepsiCo"),
    ("PFE", "Pfizer"),
    ("PG", "Procter & Gamble"),
    ("RRC", "Range Resources"),
    ("UNH", "UnitedHealth"),
    ("WMT", "Walmart"),
    ("XOM", "Exxon Mobil"),
];

/// The text files of the final result: name and content.
pub fn files(consensus: &Consensus) -> Vec<(&'static str, String)> {
    let share = &consensus.share;
    vec![
        ("stability.csv", table::square("together", &consensus.tickers, |i, j| decimal(share.at(i, j), 6))),
        ("years.csv", years_csv(consensus)),
        ("clusters.json", clusters_json(consensus)),
        ("summary.txt", summary(consensus)),
    ]
}

/// A cluster's name: A to Z, then A2, B2, ...
pub fn cluster_name(label: usize) -> String {
    let letter = (b'A' + (label % 26) as u8) as char;
    match label / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{}", round + 1),
    }
}

/// A share as whole percent, without the sign.
pub fn percent(share: f64) -> String {
    decimal(share * 100.0, 0)
}

/// A window's years: `1990-94`.
pub fn years(period: &Period) -> String {
    let (first, last) = (&period.outcome.first_day[..4], &period.outcome.last_day[..4]);
    if first == last {
        first.to_string()
    } else {
        format!("{first}\u{2013}{}", &last[2..])
    }
}

/// `12345` as `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let mut text = digits[..lead].to_string();
    for place in (lead..digits.len()).step_by(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&digits[place..place + 3]);
    }
    text
}

/// A line a window: its days, its mean correlation, each cluster's stability in it, and its own clusters.
fn years_csv(consensus: &Consensus) -> String {
    let mut header: Vec<String> = ["task", "first_day", "last_day", "mean_correlation"].map(str::to_string).to_vec();
    header.extend((0..consensus.clusters.len()).map(|label| format!("stability_{}", cluster_name(label))));
    header.push("clusters_of_the_window".into());
    let mut text = table::line(&header);
    for (place, period) in consensus.periods.iter().enumerate() {
        let outcome = &period.outcome;
        let mut cells = vec![
            outcome.task.to_string(),
            outcome.first_day.clone(),
            outcome.last_day.clone(),
            decimal(outcome.mean_correlation, 6),
        ];
        cells.extend(consensus.clusters.iter().map(|cluster| decimal(cluster.by_window[place], 6)));
        let groups: Vec<String> = own_groups(period).iter().map(|group| consensus.names(group).join(" ")).collect();
        cells.push(groups.join(" | "));
        text.push_str(&table::line(&cells));
    }
    text
}

/// The window's own clusters.
pub fn own_groups(period: &Period) -> Vec<Vec<usize>> {
    let count = period.labels.iter().max().map_or(0, |last| last + 1);
    (0..count).map(|label| (0..period.labels.len()).filter(|&stock| period.labels[stock] == label).collect()).collect()
}

fn clusters_json(consensus: &Consensus) -> String {
    let settings = &consensus.periods[0].outcome.settings;
    let (first_day, last_day) = consensus.days();
    let clusters: Vec<String> = (0..consensus.clusters.len()).map(|label| cluster_json(consensus, label)).collect();
    let windows: Vec<String> = consensus.periods.iter().map(|period| window_json(consensus, period)).collect();
    let missing: Vec<String> = consensus
        .missing
        .iter()
        .map(|lost| format!("{{\"task\":{},\"why\":{}}}", lost.task, quoted(&lost.why)))
        .collect();
    let stocks: Vec<String> = (0..consensus.tickers.len()).map(|stock| stock_json(consensus, stock)).collect();
    format!(
        "{{\n\"application\":\"efast\",\n\"format\":1,\n\"first_day\":{},\n\"last_day\":{},\n\"samples\":{},\n\
         \"settings\":{{\"samples\":{},\"window_days\":{},\"block_days\":{},\"clusters\":{},\"seed\":{},\"market\":{}}},\n\
         \"clusters\":[\n{}\n],\n\"stocks\":[\n{}\n],\n\"windows\":[\n{}\n],\n\"missing\":[{}]\n}}\n",
        quoted(first_day),
        quoted(last_day),
        consensus.samples,
        settings.samples,
        settings.window_days,
        settings.block_days,
        settings.clusters,
        settings.seed,
        quoted(if settings.remove_market { "remove" } else { "keep" }),
        clusters.join(",\n"),
        stocks.join(",\n"),
        windows.join(",\n"),
        missing.join(",")
    )
}

fn cluster_json(consensus: &Consensus, label: usize) -> String {
    let cluster = &consensus.clusters[label];
    let ticker = |stock: usize| quoted(&consensus.tickers[stock]);
    let weakest = cluster.weakest.map_or("null".to_string(), |(a, b, share)| {
        format!("{{\"stocks\":[{},{}],\"together\":{}}}", ticker(a), ticker(b), decimal(share, 6))
    });
    let nearest = cluster.nearest.map_or("null".to_string(), |(other, share)| {
        format!("{{\"cluster\":{},\"together\":{}}}", quoted(&cluster_name(other)), decimal(share, 6))
    });
    let by_window: Vec<String> = cluster.by_window.iter().map(|share| decimal(*share, 6)).collect();
    format!(
        "{{\"name\":{},\"stocks\":{},\"stability\":{},\"typical\":{},\"weakest\":{weakest},\"nearest\":{nearest},\"stability_by_window\":[{}]}}",
        quoted(&cluster_name(label)),
        list(&consensus.names(&cluster.members)),
        decimal(cluster.stability, 6),
        ticker(cluster.typical),
        by_window.join(",")
    )
}

fn stock_json(consensus: &Consensus, stock: usize) -> String {
    format!(
        "{{\"ticker\":{},\"company\":{},\"cluster\":{},\"alone\":{},\"volatility\":{}}}",
        quoted(&consensus.tickers[stock]),
        quoted(company(&consensus.tickers[stock])),
        quoted(&cluster_name(consensus.labels[stock])),
        decimal(consensus.alone[stock], 6),
        decimal(consensus.volatility[stock], 6)
    )
}

fn window_json(consensus: &Consensus, period: &Period) -> String {
    let outcome = &period.outcome;
    let groups: Vec<String> = own_groups(period).iter().map(|group| list(&consensus.names(group))).collect();
    format!(
        "{{\"task\":{},\"first_day\":{},\"last_day\":{},\"mean_correlation\":{},\"clusters\":[{}]}}",
        outcome.task,
        quoted(&outcome.first_day),
        quoted(&outcome.last_day),
        decimal(outcome.mean_correlation, 6),
        groups.join(",")
    )
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn company(ticker: &str) -> &str {
    COMPANIES.iter().find(|(known, _)| *known == ticker).map_or(ticker, |(_, name)| name)
}

fn summary(consensus: &Consensus) -> String {
    let parts = [
        heading(consensus),
        cluster_table(consensus),
        reading(consensus),
        window_table(consensus),
        changes(consensus),
        handful(consensus),
        "Prices of the past say nothing sure about the future. This is an example of computing, not advice on what to buy.\n".into(),
    ];
    parts.join("\n")
}

fn heading(consensus: &Consensus) -> String {
    let settings = &consensus.periods[0].outcome.settings;
    let (first_day, last_day) = consensus.days();
    let mut text = format!(
        "E-FAST: which stocks move together\n==================================\n\n\
         {} stocks, {first_day} to {last_day}. {} windows of {} trading days, {} samples of each,\n\
         {} trees in all, each cut into {} clusters. {}\n",
        consensus.tickers.len(),
        consensus.periods.len(),
        thousands(settings.window_days as u64),
        thousands(settings.samples),
        thousands(consensus.samples),
        settings.clusters,
        if settings.remove_market {
            "The market's common move is taken out first."
        } else {
            "The market's common move is kept."
        }
    );
    for lost in &consensus.missing {
        text.push_str(&format!("Window {} is missing: {}.\n", lost.task, lost.why));
    }
    text
}

fn cluster_table(consensus: &Consensus) -> String {
    let mut text = String::from("cluster  stability  stocks\n");
    for (label, cluster) in consensus.clusters.iter().enumerate() {
        for (line, &stock) in cluster.members.iter().enumerate() {
            let (name, stability) = match line {
                0 => (cluster_name(label), percent(cluster.stability) + " %"),
                _ => (String::new(), String::new()),
            };
            let ticker = &consensus.tickers[stock];
            text.push_str(format!("{name:<7}  {stability:>9}  {ticker:<5} {}", company(ticker)).trim_end());
            text.push('\n');
        }
    }
    text + "\nStability: of all samples, the share in which two stocks of the cluster fall together (for a stock on its own,\n\
            in which it stays on its own).\n"
}

/// What stands out.
fn reading(consensus: &Consensus) -> String {
    let mut text = String::new();
    let groups = consensus.clusters.iter().filter(|cluster| cluster.members.len() > 1);
    let best = groups.fold(None, |best: Option<&Cluster>, cluster| match best {
        Some(known) if known.stability >= cluster.stability => best,
        _ => Some(cluster),
    });
    if let Some(cluster) = best {
        let names = consensus.names(&cluster.members).join(", ");
        text.push_str(&format!(
            "The surest cluster is {names}: together in {} % of the samples.\n",
            percent(cluster.stability)
        ));
    }
    for (label, cluster) in consensus.clusters.iter().enumerate() {
        if let Some((a, b, share)) = cluster.weakest.filter(|(_, _, share)| *share < 0.75) {
            text.push_str(&format!(
                "The weakest tie in cluster {} is {} with {}: {} %.\n",
                cluster_name(label),
                consensus.tickers[a],
                consensus.tickers[b],
                percent(share)
            ));
        }
    }
    text
}

fn window_table(consensus: &Consensus) -> String {
    let mut text = String::from("How firmly each cluster held in each window (percent of its samples), and how much all stocks moved together\n");
    text.push_str("(mean correlation of two stocks, the market's move included):\n\nyears    ");
    (0..consensus.clusters.len()).for_each(|label| text.push_str(&format!("{:>5}", cluster_name(label))));
    text.push_str("   correlation\n");
    for (place, period) in consensus.periods.iter().enumerate() {
        text.push_str(&format!("{:<9}", years(period)));
        consensus
            .clusters
            .iter()
            .for_each(|cluster| text.push_str(&format!("{:>5}", percent(cluster.by_window[place]))));
        text.push_str(&format!("{:>14}\n", decimal(period.outcome.mean_correlation, 2)));
    }
    let by_correlation = |higher: bool| {
        consensus.periods.iter().fold(None, |best: Option<&Period>, period| match best {
            Some(known) if (known.outcome.mean_correlation >= period.outcome.mean_correlation) == higher => best,
            _ => Some(period),
        })
    };
    if let (Some(most), Some(least)) = (by_correlation(true), by_correlation(false)) {
        text.push_str(&format!(
            "\nStocks moved together most in {} ({}), when spreading money over clusters helped least,\nand least in {} ({}).\n",
            years(most),
            decimal(most.outcome.mean_correlation, 2),
            years(least),
            decimal(least.outcome.mean_correlation, 2)
        ));
    }
    text
}

/// Stocks that were not with their cluster in some windows.
fn changes(consensus: &Consensus) -> String {
    let mut text = String::from("Who strayed (together with its cluster in less than half of a window's samples):\n");
    let mut any = false;
    for &stock in &consensus.order {
        let strayed = consensus.periods.iter().filter(|period| consensus.loyalty(stock, period) < TOGETHER_LEAST);
        let strayed: Vec<String> = strayed.map(years).collect();
        if !strayed.is_empty() {
            any = true;
            let name = cluster_name(consensus.labels[stock]);
            text.push_str(&format!(
                "  {:<5} from cluster {name} in {}\n",
                consensus.tickers[stock],
                strayed.join(", ")
            ));
        }
    }
    if !any {
        text.push_str("  nobody\n");
    }
    text
}

/// One stock of each cluster.
fn handful(consensus: &Consensus) -> String {
    let mut text =
        String::from("One stock a cluster, the one that stands for its cluster best, and its yearly volatility:\n");
    for (label, cluster) in consensus.clusters.iter().enumerate() {
        let ticker = &consensus.tickers[cluster.typical];
        let volatility = percent(consensus.volatility[cluster.typical]);
        text.push_str(&format!("  {} {ticker:<5} {volatility:>3} %  {}\n", cluster_name(label), company(ticker)));
    }
    text
}
