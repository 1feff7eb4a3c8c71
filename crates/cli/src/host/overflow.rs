//! The options with which a pool buys on a market what its own machines cannot finish.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gristmill_network::{OVERFLOW_AFTER_DEFAULT, OVERFLOW_SLOTS_DEFAULT, OVERFLOW_TRUST_DEFAULT, OverflowPlan};
use gristmill_pool::OverflowStatus;
use gristmill_requester::Place;
use gristmill_types::{Amount, Trust};

use super::pool::parse_time;
use crate::client::run::parse_trust;

/// What is bought where, and for how much.
#[derive(Debug, Default, Args)]
pub struct OverflowArgs {
    /// Buy on a market what the pool's own machines cannot finish in time: the data folder of a network whose pools work for strangers,
    /// or the JSON-RPC of its ledger
    ///
    /// The account there that pays is shown at the start. docs/lab.md says more.
    #[arg(long, value_name = "DIR|URL", requires = "overflow_max_price")]
    overflow_to: Option<String>,
    /// What a task may cost there, app and pool together, in GRIST; nothing dearer is ordered
    #[arg(long, value_name = "GRIST", requires = "overflow_to")]
    overflow_max_price: Option<Amount>,
    /// Buy a task if the pool's own machines are not expected to have done it so long after it came, such as 90s, 10m or 2h [default: 10m]
    #[arg(long, value_name = "TIME", requires = "overflow_to", value_parser = parse_time)]
    overflow_after: Option<u64>,
    /// The least trust that is asked for there; that of the job if it is more [default: 5, which is 80 %]
    #[arg(long, value_name = "T", requires = "overflow_to", value_parser = parse_trust)]
    overflow_trust: Option<Trust>,
    /// Tasks that are bought at a time [default: 8]
    #[arg(long, value_name = "N", requires = "overflow_to", value_parser = clap::value_parser!(u32).range(1..=i64::from(gristmill_network::OVERFLOW_SLOTS_MAX)))]
    overflow_slots: Option<u32>,
    /// Key file of the account there that pays [default: `overflow/wallet.json` in the data folder, made on first use]
    #[arg(long, value_name = "FILE", requires = "overflow_to")]
    overflow_wallet: Option<PathBuf>,
}

impl OverflowArgs {
    /// What is to be bought, if anything is.
    pub fn plan(self) -> Option<OverflowPlan> {
        // INVARIANT: neither is given without the other.
        let (to, max_price) = (self.overflow_to?, self.overflow_max_price?);
        let is_url = to.starts_with("http://") || to.starts_with("https://");
        Some(OverflowPlan {
            to: if is_url { Place::Rpc(to) } else { Place::DataDir(to.into()) },
            max_price,
            wallet: self.overflow_wallet,
            trust: self.overflow_trust.unwrap_or(Trust::new(OVERFLOW_TRUST_DEFAULT)),
            after: self.overflow_after.map_or(OVERFLOW_AFTER_DEFAULT, Duration::from_secs),
            slots: self.overflow_slots.unwrap_or(OVERFLOW_SLOTS_DEFAULT),
        })
    }
}

/// Where is bought, at what price, and who pays.
pub fn terms_text(status: &OverflowStatus) -> String {
    let left = match status.left {
        Some(left) => format!("has {left}"),
        None => "is not known yet: the market does not answer".to_owned(),
    };
    format!(
        "{}, for {} a task at most, by the account {} there, which {left}",
        status.to, status.max_price, status.account
    )
}

/// What came of it so far.
pub fn sums_text(status: &OverflowStatus) -> String {
    format!(
        "{} done there for {}, {} under way, {} given back",
        status.completed, status.spent, status.under_way, status.failed
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        overflow: OverflowArgs,
    }

    fn read(args: &[&str]) -> Result<Option<OverflowPlan>, String> {
        let line = Line::try_parse_from([&["x"], args].concat()).map_err(|error| error.to_string())?;
        Ok(line.overflow.plan())
    }

    #[test]
    fn a_market_has_a_place_and_a_price_and_the_rest_has_defaults() {
        assert!(read(&[]).unwrap().is_none());
        let plan = read(&["--overflow-to", "/srv/net", "--overflow-max-price", "0.5"]).unwrap().unwrap();
        assert_eq!(plan.to, Place::DataDir("/srv/net".into()));
        assert_eq!((plan.max_price, plan.trust.value()), (Amount::from_ngrist(500_000_000), OVERFLOW_TRUST_DEFAULT));
        assert_eq!((plan.after, plan.slots, plan.wallet), (OVERFLOW_AFTER_DEFAULT, OVERFLOW_SLOTS_DEFAULT, None));
        let more =
            ["--overflow-after", "2h", "--overflow-trust", "20", "--overflow-slots", "3", "--overflow-wallet", "w"];
        let plan = read(&[&["--overflow-to", "http://h:1", "--overflow-max-price", "1"], &more[..]].concat());
        let plan = plan.unwrap().unwrap();
        assert_eq!(plan.to, Place::Rpc("http://h:1".to_owned()));
        assert_eq!((plan.after.as_secs(), plan.trust.value(), plan.slots), (7_200, 20, 3));
    }

    #[test]
    fn what_makes_no_sense_alone_is_refused_with_what_is_missing() {
        for (args, expected) in [
            (["--overflow-to", "/srv/net"], "--overflow-max-price"),
            (["--overflow-max-price", "1"], "--overflow-to"),
            (["--overflow-after", "1m"], "--overflow-to"),
            (["--overflow-trust", "5"], "--overflow-to"),
            (["--overflow-slots", "2"], "--overflow-to"),
            (["--overflow-wallet", "w"], "--overflow-to"),
        ] {
            let error = read(&args).unwrap_err();
            assert!(error.contains("required") && error.contains(expected), "{args:?}: {error}");
        }
        let bad = [("--overflow-max-price", "-1"), ("--overflow-slots", "0"), ("--overflow-trust", "0")];
        for (flag, value) in bad.into_iter().chain([("--overflow-after", "soon")]) {
            assert!(read(&["--overflow-to", "x", "--overflow-max-price", "1", flag, value]).is_err(), "{flag} {value}");
        }
    }
}
