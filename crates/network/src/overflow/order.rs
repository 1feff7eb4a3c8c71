//! Make of a pool's task a job of one task for the market: the same bits will come of it.

use gristmill_hub::{HubClient, OrderBook};
use gristmill_requester::inputs::{LocalFile, read_file};
use gristmill_requester::{
    Job, JobIndex, LocalApp, Network as Market, PoolView, Prepared, Quote, RequestRecord, Requester, RequesterError,
    catalog, chain,
};
use gristmill_types::{Address, Amount, ContentId, JobParams, Needs, OrderHash, Reach, Trust};
use gristmill_worker::NotBrought;
use gristmill_worker::fetch::Fetcher;
use gristmill_worker::plan::Plan;

use super::book::Purchase;

/// Why a task is never run elsewhere.
pub fn objection(plan: &Plan) -> Option<&'static str> {
    if !plan.results.is_empty() {
        Some("not for the market: it is a reduce, whose input is the lab's own results")
    } else if plan.dataset.is_some() {
        Some("not for the market: its dataset has an owner, whose terms hold here")
    } else if !Needs::of_tag(plan.deal.tag).is_none() {
        Some("not for the market: it needs a GPU or a way out to the network")
    } else if plan.deal.asks_for_enclave() {
        Some("not for the market: it asks for an enclave")
    } else if plan.reach == Reach::SameArchitecture {
        Some("not for the market: its bits are those of one kind of processor")
    } else {
        None
    }
}

/// Copies what a task is made of to the market's store, as far as it is not there, and writes the order; nothing is spent.
///
/// # Errors
/// [`NotBrought`]: a file cannot be had here or put there, the market lacks the size class.
pub async fn prepare(
    plan: &Plan,
    fetcher: &Fetcher,
    (lab, market): (&HubClient, &Market),
    requester: &Requester,
    (purchase, trust, max_price): (&Purchase, Trust, Amount),
) -> Result<Prepared, NotBrought> {
    let categories = market.hub.view_categories().await.map_err(|error| later(&error))?;
    let category = categories.into_iter().find(|category| category.work_clock_s == plan.work_clock_s);
    let category = category.ok_or_else(|| {
        // What a task may use follows from it, and running out of that is a result too.
        NotBrought::Never(format!("the market has no size class of {} s", plan.work_clock_s))
    })?;
    let params = JobParams::parse(&plan.deal.params).map_err(|error| NotBrought::Never(error.to_string()))?;
    let mut inputs = Vec::new();
    for input in &plan.inputs {
        inputs.push(file(fetcher, input.content).await?);
    }
    if let (Some(items), Some(index)) = (&plan.items, params.gristmill_items) {
        for content in [index, items.pack] {
            copy(fetcher, market, content).await?;
        }
    }
    let params = JobParams { gristmill_place: Some(plan.place), ..params };
    params.encode().map_err(|error| NotBrought::Never(format!("it cannot be ordered: {error}")))?;
    Ok(Prepared {
        app: app(plan, fetcher, (lab, market), requester).await?,
        dataset: None,
        reduce: None,
        category,
        trust: trust.max(plan.deal.trust),
        needs: Needs::NONE,
        tasks: 1,
        tasks_given: true,
        items: None,
        inputs,
        params,
        max_price: Some(max_price),
        pool: None,
        pool_link: None,
        may_deposit: true,
        salt: Some(purchase.salt),
    })
}

/// The same app on the market: one that is offered there under its name, else one of our own.
async fn app(
    plan: &Plan,
    fetcher: &Fetcher,
    (lab, market): (&HubClient, &Market),
    requester: &Requester,
) -> Result<catalog::AppChoice, NotBrought> {
    let mut files = Vec::new();
    let comparator = plan.code.compare.as_ref().map(|compare| compare.module);
    for content in plan.code.content().into_iter().chain(comparator) {
        files.push(file(fetcher, content).await?);
    }
    let known = lab.view_app(plan.deal.app.address).await.map_err(|error| later(&error))?;
    let name = known.map(|app| app.name).unwrap_or_default();
    let mut book = OrderBook::new(market.hub.clone());
    book.refresh().await.map_err(|error| later(&error))?;
    if let Ok(choice) = catalog::app_named(&market.hub, &book, &name).await
        && choice.code == plan.code
    {
        return Ok(catalog::AppChoice { files, ..choice });
    }
    let app = LocalApp { name, code: plan.code.clone(), files };
    catalog::app_of_ours(&market.hub, &book, requester.address(), app).await.map_err(|error| failed(&error))
}

/// Why an order is not made now that these pools would be given.
///
/// # Errors
/// [`NotBrought::Later`].
pub fn check_pools(quote: &Quote) -> Result<(), NotBrought> {
    let cannot = |pool: &&PoolView| !pool.reachable || !pool.trust_reachable || pool.workers_matching == 0;
    match quote.pools.iter().find(cannot) {
        None => Ok(()),
        Some(PoolView { workerpool, note, .. }) => {
            Err(NotBrought::Later(format!("the market's pool {workerpool} cannot do it now: {note}")))
        }
    }
}

/// All orders of the market's ledger, when what this key sent before has taken effect.
pub async fn settled_index(requester: &Requester) -> Result<JobIndex, RequesterError> {
    requester.settle().await?;
    JobIndex::read(&requester.network().hub).await
}

/// The order of this purchase, as the market's ledger has it.
pub fn record_of<'a>(index: &'a JobIndex, account: Address, purchase: &Purchase) -> Option<&'a RequestRecord> {
    let is_it =
        |record: &&RequestRecord| record.signed.as_ref().is_some_and(|signed| signed.order.salt == purchase.salt);
    index.jobs(Some(account)).into_iter().find(is_it)
}

/// Takes back an order that nobody wants any more, unless it has a pool: then it stands.
pub async fn withdraw(
    requester: &Requester,
    record: Option<&RequestRecord>,
) -> Result<Option<OrderHash>, RequesterError> {
    let Some(record) = record else { return Ok(None) };
    let mut job = Job::of(requester.network(), record, None).await?;
    requester.cancel(&mut job).await?;
    Ok((!job.deals().is_empty()).then_some(record.hash))
}

async fn file(fetcher: &Fetcher, content: ContentId) -> Result<LocalFile, NotBrought> {
    let path = fetcher.file(content).await.map_err(|error| later(&error))?;
    let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
    let read = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    read.map_err(|error| later(&error))
}

/// Puts content of the lab's store into the market's, unless it is there.
async fn copy(fetcher: &Fetcher, market: &Market, content: ContentId) -> Result<(), NotBrought> {
    if market.store.has(content).await.map_err(|error| later(&error))? {
        return Ok(());
    }
    let path = fetcher.file(content).await.map_err(|error| later(&error))?;
    market.store.put_file(&path).await.map(drop).map_err(|error| later(&error))
}

fn later(error: &dyn std::error::Error) -> NotBrought {
    NotBrought::Later(format!("the market cannot be used now: {}", chain(error)))
}

/// What a step on the market failed with.
pub fn failed(error: &RequesterError) -> NotBrought {
    let text = match error {
        RequesterError::TooDear { price, max } => {
            format!("the market asks {price} for it, more than --overflow-max-price ({max})")
        }
        RequesterError::NotEnough { price, missing, .. } => {
            format!("the account on the market lacks {missing} of the {price} that it costs there")
        }
        RequesterError::NoOffer { .. } | RequesterError::PoolRefuses { .. } | RequesterError::NoMachine { .. } => {
            format!("the market: {}", chain(error))
        }
        _ => return later(error),
    };
    NotBrought::Later(text)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use gristmill_hub::{Deal, Resource};
    use gristmill_types::{AppCode, BagPlace, DealId, ResourceLimits};

    use super::*;

    fn plan(reach: Reach) -> Plan {
        let resource = Resource { address: Address::ZERO, owner: Address::ZERO, price: Amount::ZERO };
        let deal = Deal {
            id: DealId::default(),
            app: resource,
            dataset: resource,
            workerpool: resource,
            trust: Trust::new(1),
            category: 0,
            tag: B256::ZERO,
            requester: Address::ZERO,
            beneficiary: Address::ZERO,
            callback: Address::ZERO,
            params: String::new(),
            start_time: 0,
            bot_first: 0,
            bot_size: 1,
            worker_stake: Amount::ZERO,
            scheduler_reward_ratio: 1,
            sponsor: Address::ZERO,
        };
        Plan {
            task: deal.id.task(0),
            place: BagPlace { index: 0, first: 0, size: 1 },
            deal_id: deal.id,
            deal,
            code: AppCode::wasm(ContentId([1; 32])),
            reach,
            args: Vec::new(),
            inputs: Vec::new(),
            dataset: None,
            items: None,
            results: Vec::new(),
            limits: ResourceLimits::of_work_clock(60),
            work_clock_s: 60,
        }
    }

    #[test]
    fn what_depends_on_the_processor_is_not_bought() {
        assert_eq!(objection(&plan(Reach::Portable)), None);
        assert!(objection(&plan(Reach::SameArchitecture)).unwrap().contains("one kind of processor"));
    }
}
