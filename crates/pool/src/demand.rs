//! What the tasks of a deal ask of a machine, as an ad.

use std::sync::Arc;

use alloy_primitives::Address;
use gristmill_classad::{ClassAd, Expr, ParseError, Value};
use gristmill_hub::Deal;
use gristmill_scheduler::index::Demand;
use gristmill_scheduler::rank::{Favor, FavorError, REFERENCE_OPERATIONS_PER_SECOND, Work};
use gristmill_types::{JobParams, Needs};

/// A task is guessed to be so much shorter than its category allows.
const SHORTER: u64 = 4;
/// Inputs of fewer bytes are fetched so soon that it does not matter who has them. Tasks with the same large inputs, and nothing else
/// that differs, are one kind of demand.
const INPUT_BYTES_MIN: u64 = 8 << 20;

/// A wish that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemandError {
    /// What is required.
    #[error("what it requires of machines cannot be read: {0}")]
    Require(#[source] ParseError),
    /// What is preferred.
    #[error("what it prefers of machines cannot be read: {0}")]
    Prefer(#[source] ParseError),
    /// What is favoured.
    #[error("what it favours cannot be read: {0}")]
    Favor(#[from] FavorError),
}

/// What tells a task apart from others, for machines that require something of it.
pub(crate) struct About {
    pub requester: Address,
    /// `None` while it is only asked for a price.
    pub app: Option<Address>,
    pub category: u64,
    pub work_clock_s: u64,
    pub trust: u64,
    pub needs: Needs,
}

/// What the tasks of a deal ask for.
///
/// # Errors
/// [`DemandError`]: nobody can do what cannot be read.
pub(crate) fn of_deal(deal: &Deal, work_clock_s: u64, params: &JobParams) -> Result<Demand, DemandError> {
    let about = About {
        requester: deal.requester,
        app: Some(deal.app.address),
        category: deal.category,
        work_clock_s,
        trust: deal.trust.value(),
        needs: Needs::of_tag(deal.tag),
    };
    let large = params.iexec_input_files.iter().filter(|input| input.size >= INPUT_BYTES_MIN);
    let mut inputs = large.map(|input| (input.content, input.size)).collect::<Vec<_>>();
    inputs.sort_unstable();
    inputs.dedup();
    let operations = (work_clock_s / SHORTER).max(1).saturating_mul(REFERENCE_OPERATIONS_PER_SECOND);
    let work = Work { operations, is_known: false, inputs, upload_bytes: 0 };
    let favor = match params.gristmill_favor.as_str() {
        "" => Favor::default(),
        text => text.parse()?,
    };
    let ad = ad(&about, &params.gristmill_require, &params.gristmill_prefer)?;
    Ok(Demand { ad: Arc::new(ad), favor, work })
}

/// The ad of such a task.
///
/// # Errors
/// [`DemandError`].
pub(crate) fn ad(about: &About, require: &str, prefer: &str) -> Result<ClassAd, DemandError> {
    let mut ad = ClassAd::new();
    let mut put = |name: &str, value: Expr| {
        // INVARIANT: a dozen attributes of short names fit into an ad.
        let _ = ad.insert(name, value);
    };
    let number = |number: u64| Expr::constant(Value::from(i64::try_from(number).unwrap_or(i64::MAX)));
    put("MyType", Expr::constant(Value::from("Task")));
    put("Requester", Expr::constant(Value::from(about.requester.to_string().as_str())));
    if let Some(app) = about.app {
        put("App", Expr::constant(Value::from(app.to_string().as_str())));
    }
    put("Category", number(about.category));
    put("WorkClock", number(about.work_clock_s));
    put("Trust", number(about.trust));
    put("NeedsGpu", Expr::constant(Value::from(about.needs.gpu)));
    put("NeedsNetwork", Expr::constant(Value::from(about.needs.network)));
    let required = match require.trim() {
        "" => Expr::constant(Value::from(true)),
        text => Expr::parse(text).map_err(DemandError::Require)?,
    };
    put("Requirements", required);
    if !prefer.trim().is_empty() {
        put("Rank", Expr::parse(prefer).map_err(DemandError::Prefer)?);
    }
    Ok(ad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        let needs = Needs { gpu: true, network: false };
        let requester = Address::repeat_byte(1);
        About { requester, app: None, category: 1, work_clock_s: 60, trust: 5, needs }
    }

    #[test]
    fn a_tasks_ad_says_what_it_is_and_what_it_wants() {
        let ad = ad(&about(), "Cpus >= 8 && TARGET.Memory > 4096", "Speed").unwrap();
        let machine = |text: &str| ClassAd::parse(text).unwrap();
        let good =
            machine("[Cpus = 8; Memory = 8000; Speed = 2.5; Requirements = TARGET.NeedsGpu && TARGET.Trust < 10]");
        assert!(gristmill_classad::matches(&ad, &good));
        assert!((gristmill_classad::rank(&ad, &good) - 2.5).abs() < 1e-9);
        for bad in [
            "[Cpus = 4; Memory = 8000; Requirements = true]",
            "[Cpus = 8; Memory = 8000; Requirements = TARGET.Trust > 9]",
        ] {
            assert!(!gristmill_classad::matches(&ad, &machine(bad)), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let error = ad(&about(), "Cpus >= && 3", "").unwrap_err().to_string();
        assert!(error.contains("requires of machines"), "{error}");
        let error = ad(&about(), "", "Speed +").unwrap_err().to_string();
        assert!(error.contains("prefers of machines"), "{error}");
    }
}
