//! What the tasks of a deal have in common, read from the ledger once for many of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use gristmill_hub::{Deal, HubClient};
use gristmill_types::params::is_plain_file_name;
use gristmill_types::{AppCode, DealId, InputFile};

use super::{Admit, PlanError};

/// Deals that are remembered; of more the oldest is forgotten.
const DEALS_MAX: usize = 32;
/// They are read again after so long: a ledger that reorganises may have another deal under the same id.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// What the tasks of a deal have in common.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The deal.
    pub deal: Deal,
    /// What its app is made of.
    pub code: AppCode,
    /// The dataset's file.
    pub dataset: Option<InputFile>,
    /// T of its category, in seconds.
    pub work_clock_s: u64,
}

/// The terms that were read last, of one ledger. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownTerms(Arc<Mutex<VecDeque<Known>>>);

#[derive(Debug)]
struct Known {
    deal: DealId,
    since: Instant,
    terms: Arc<Terms>,
}

impl KnownTerms {
    /// Those of a deal, as the ledger has them or had them a minute ago at most. Of an unknown deal nothing more is read before
    /// `admit` has agreed.
    ///
    /// # Errors
    /// [`PlanError`].
    pub(super) async fn read(&self, hub: &HubClient, id: DealId, admit: Admit<'_>) -> Result<Arc<Terms>, PlanError> {
        if let Some(terms) = self.of(id, Instant::now()) {
            admit(&terms.deal)?;
            return Ok(terms);
        }
        let terms = Arc::new(read(hub, id, admit).await?);
        self.keep(id, Instant::now(), &terms);
        Ok(terms)
    }

    fn of(&self, id: DealId, now: Instant) -> Option<Arc<Terms>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|known| known.deal == id)?;
        (now.saturating_duration_since(found.since) < KEPT_FOR).then(|| Arc::clone(&found.terms))
    }

    fn keep(&self, deal: DealId, since: Instant, terms: &Arc<Terms>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.deal != deal);
        known.push_back(Known { deal, since, terms: Arc::clone(terms) });
        while known.len() > DEALS_MAX {
            known.pop_front();
        }
    }
}

async fn read(hub: &HubClient, id: DealId, admit: Admit<'_>) -> Result<Terms, PlanError> {
    let refuse = |text: String| PlanError::Contradiction(text);
    let deal = hub.view_deal(id).await?.ok_or_else(|| refuse(format!("the hub knows no deal {id}")))?;
    admit(&deal)?;
    let app = hub.view_app(deal.app.address).await?;
    let app = app.ok_or_else(|| refuse(format!("the hub knows no app {}", deal.app.address)))?;
    let code = app.code().map_err(|error| refuse(format!("app {}: {error}", deal.app.address)))?;
    let category = hub.view_category(deal.category).await?;
    let dataset = dataset_of(hub, deal.dataset.address).await?;
    Ok(Terms { deal, code, dataset, work_clock_s: category.work_clock_s })
}

async fn dataset_of(hub: &HubClient, address: Address) -> Result<Option<InputFile>, PlanError> {
    if address.is_zero() {
        return Ok(None);
    }
    let refuse = || PlanError::Contradiction(format!("dataset {address} is no `blake3:<content id>`"));
    let dataset = hub.view_dataset(address).await?.ok_or_else(refuse)?;
    let content = dataset.content().ok_or_else(refuse)?;
    let name = if is_plain_file_name(&dataset.name) { dataset.name } else { "dataset".to_owned() };
    Ok(Some(InputFile { content, name, size: 0 }))
}
