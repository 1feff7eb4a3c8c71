//! Price a job and say who could do it, without spending anything.

use alloy_primitives::{B256, U256};
use futures_util::future::BoxFuture;
use gristmill_hub::{OpenOrder, OrderBook};
use gristmill_protocol::wire::QuoteRequest;
use gristmill_types::{Address, Amount, JobParams, Needs, Trust, WorkerpoolOrder};
use serde::Serialize;

use crate::error::{RequesterError, needs_clause};
use crate::index::JobIndex;
use crate::job::Job;
use crate::offers::{Allotment, Fit, allot};
use crate::packing::{Measured, Packing, by_run_time};
use crate::pool::PoolLink;
use crate::prepare::Prepared;
use crate::sender::Requester;

/// What a job costs and what it would find.
#[derive(Clone, Debug, Serialize)]
pub struct Quote {
    /// The app's name.
    pub app: String,
    /// The app's address.
    pub app_address: Address,
    /// Whether the app's file is put on the ledger first.
    pub app_is_new: bool,
    /// Tasks, without the reduce.
    pub tasks: u64,
    /// Items, if any.
    pub items: Option<u64>,
    /// How they are packed, and why, if that was decided by what a pool has measured.
    pub packing: Option<Packing>,
    /// Whether a reduce follows.
    pub reduce: bool,
    /// Name of the size class.
    pub category: String,
    /// T of the size class, in seconds.
    pub work_clock_s: u64,
    /// Trust asked for.
    pub trust: Trust,
    /// The same in words.
    pub confidence: String,
    /// What is paid for, line by line.
    pub lines: Vec<QuoteLine>,
    /// All of it.
    pub total: Amount,
    /// Free at the hub.
    pub stake: Amount,
    /// Of it, what reduces of other jobs wait for.
    pub reserved: Amount,
    /// Outside the hub.
    pub tokens: Amount,
    /// What would be deposited from the wallet's tokens.
    pub deposit: Amount,
    /// What neither account nor wallet has.
    pub missing: Amount,
    /// The pools that would do it, as they see it.
    pub pools: Vec<PoolView>,
    /// Seconds until the last task, when a pool can tell.
    pub seconds_expected: Option<f64>,
    /// Worth knowing.
    pub notes: Vec<String>,
    /// Which offers would be used for the map.
    #[serde(skip)]
    pub(crate) map_price_max: U256,
    #[serde(skip)]
    pub(crate) reduce_price_max: U256,
}

/// One line of a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuoteLine {
    /// For what.
    pub what: String,
    /// The price of one task.
    pub each: Amount,
    /// How many tasks.
    pub tasks: u64,
    /// The product.
    pub total: Amount,
}

/// A pool that would do a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolView {
    /// Its address on the ledger.
    pub workerpool: Address,
    /// Tasks that it would get, the reduce included.
    pub tasks: u64,
    /// Whether it answers.
    pub reachable: bool,
    /// Connected workers that could run it.
    pub workers_matching: u64,
    /// Seconds until its last task; `None` when it cannot tell.
    pub seconds_expected: Option<f64>,
    /// Whether its workers can reach the confidence asked for.
    pub trust_reachable: bool,
    /// What stands in the way; empty when nothing does.
    pub note: String,
    /// What keeps each of its machines from it; empty when one matches.
    pub unmet: String,
    /// Why it would refuse the job, and what to do; empty when it would take it.
    pub refusal: String,
    /// Slots of the workers that match.
    pub slots_matching: u64,
    /// How long an item of the app runs there, in milliseconds; `None` when it does not know.
    pub item_ms: Option<f64>,
    /// Processor time of a settlement there, in milliseconds.
    pub settlement_ms: f64,
}

impl Requester {
    /// Prices a prepared job with the open offers of pools, the cheapest first.
    ///
    /// # Errors
    /// [`RequesterError::NoOffer`] when the pools' offers do not suffice; the ledger cannot be asked.
    pub fn quote<'a>(&'a self, prepared: &'a Prepared) -> BoxFuture<'a, Result<Quote, RequesterError>> {
        Box::pin(async move {
            let hub = &self.network.hub;
            let mut book = OrderBook::new(hub.clone());
            book.refresh().await?;
            let all = book.open_workerpool_orders(prepared.category.id, prepared.trust).await?;
            let of = |fit: &Fit<'_>| -> Vec<OpenOrder<WorkerpoolOrder>> {
                all.iter().filter(|open| fit.takes(&open.signed.order)).cloned().collect()
            };
            let (map, missing) = allot(&of(&prepared.fit(self.address())), prepared.tasks);
            if missing > 0 {
                return Err(self.no_offer(&book, prepared, missing).await?);
            }
            let reduce = match &prepared.reduce {
                None => Vec::new(),
                Some(_) => {
                    let offers = less(of(&prepared.reduce_fit(self.address())), &map);
                    let (reduce, missing) = allot(&offers, 1);
                    if missing > 0 {
                        return Err(self.no_offer(&book, prepared, missing).await?);
                    }
                    reduce
                }
            };
            let reserved = self.reserved(&book).await?;
            self.assemble(prepared, map, reduce, reserved).await
        })
    }

    /// Prices a job as [`Requester::quote`], with its items packed by what the pool that gets most of them has measured of the app, unless
    /// the user said how many tasks there are to be, or nothing is known of the app.
    ///
    /// # Errors
    /// As [`Requester::quote`].
    pub fn price(&self, prepared: Prepared) -> BoxFuture<'_, Result<(Prepared, Quote), RequesterError>> {
        Box::pin(async move {
            let quote = self.quote(&prepared).await?;
            let Some(packing) = packing_of(&prepared, &quote) else { return Ok((prepared, quote)) };
            if packing.tasks == prepared.tasks {
                // So many items in so many tasks are always packed the same.
                return Ok((prepared, Quote { packing: Some(packing), ..quote }));
            }
            let packed = tokio::task::spawn_blocking(move || prepared.in_tasks(packing.tasks)).await;
            let prepared = packed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            // Where a pack would have been too large there are more tasks.
            let items_a_task = packing.items.div_ceil(prepared.tasks.max(1));
            let packing = Packing { tasks: prepared.tasks, items_a_task, ..packing };
            let quote = Quote { packing: Some(packing), ..self.quote(&prepared).await? };
            Ok((prepared, quote))
        })
    }

    /// What reduces of this requester's jobs will cost when their time comes: it is not free for another job.
    pub(crate) async fn reserved(&self, book: &OrderBook) -> Result<Amount, RequesterError> {
        let mut index = None;
        let mut sum = Amount::ZERO;
        for open in book.request_orders().await? {
            let order = &open.signed.order;
            let after = JobParams::parse(&order.params).ok().and_then(|params| params.gristmill_after);
            let Some(map) = after.filter(|_| order.requester == self.address()) else { continue };
            let index = match &mut index {
                Some(index) => index,
                none => none.insert(JobIndex::read(&self.network.hub).await?),
            };
            let Some(record) = index.get(map) else { continue };
            let status = Job::of(&self.network, record, index.get(open.hash)).await?.status();
            if status.reduce.is_some_and(|reduce| !reduce.never) {
                let price = Amount::try_from(order.appmaxprice.saturating_add(order.workerpoolmaxprice));
                sum = price.ok().and_then(|price| sum.checked_add(price)).unwrap_or(Amount::MAX);
            }
        }
        Ok(sum)
    }

    async fn assemble(
        &self,
        prepared: &Prepared,
        map: Vec<Allotment>,
        reduce: Vec<Allotment>,
        reserved: Amount,
    ) -> Result<Quote, RequesterError> {
        let lines = lines_of(prepared, &map, &reduce)?;
        let total: Amount = lines.iter().map(|line| line.total).sum();
        let account = self.network.hub.view_account(self.address()).await?;
        let tokens = self.network.hub.token_balance(self.address()).await?;
        let lacking = total.checked_add(reserved).unwrap_or(Amount::MAX).saturating_sub(account.stake);
        let deposit = if prepared.may_deposit { lacking.min(tokens) } else { Amount::ZERO };
        let pools = self.pool_views(prepared, &map, &reduce).await;
        let seconds = pools
            .iter()
            .filter_map(|pool| pool.seconds_expected)
            .fold(None, |most: Option<f64>, seconds| Some(most.map_or(seconds, |most| most.max(seconds))));
        let dearest = |allotments: &[Allotment]| {
            allotments.iter().map(|allotment| allotment.offer.signed.order.workerpoolprice).max().unwrap_or_default()
        };
        let notes = pools.iter().filter(|pool| !pool.note.is_empty()).map(|pool| pool.note.clone()).collect();
        Ok(Quote {
            app: prepared.app.name.clone(),
            app_address: prepared.app.address,
            app_is_new: prepared.app.new.is_some(),
            tasks: prepared.tasks,
            items: prepared.items.as_ref().map(|items| items.index.count),
            packing: None,
            reduce: prepared.reduce.is_some(),
            category: prepared.category.name.clone(),
            work_clock_s: prepared.category.work_clock_s,
            trust: prepared.trust,
            confidence: prepared.trust.to_string(),
            lines,
            total,
            stake: account.stake,
            reserved,
            tokens,
            deposit,
            missing: lacking.saturating_sub(deposit),
            pools,
            seconds_expected: seconds,
            notes,
            map_price_max: dearest(&map),
            reduce_price_max: dearest(&reduce),
        })
    }

    async fn pool_views(&self, prepared: &Prepared, map: &[Allotment], reduce: &[Allotment]) -> Vec<PoolView> {
        let mut tasks: Vec<(Address, u64)> = Vec::new();
        for allotment in map.iter().chain(reduce) {
            let workerpool = allotment.offer.signed.order.workerpool;
            match tasks.iter_mut().find(|(other, _)| *other == workerpool) {
                Some((_, count)) => *count += allotment.tasks,
                None => tasks.push((workerpool, allotment.tasks)),
            }
        }
        let mut views = Vec::new();
        for (workerpool, tasks) in tasks {
            let named = prepared.pool_link.clone().filter(|link| link.workerpool == workerpool);
            let link = match named {
                Some(link) => Some(link),
                None => PoolLink::of_workerpool(&self.network, workerpool).await,
            };
            views.push(self.pool_view(prepared, workerpool, tasks, link).await);
        }
        views
    }

    async fn pool_view(
        &self,
        prepared: &Prepared,
        workerpool: Address,
        tasks: u64,
        link: Option<PoolLink>,
    ) -> PoolView {
        let mut view = PoolView {
            workerpool,
            tasks,
            reachable: false,
            workers_matching: 0,
            seconds_expected: None,
            trust_reachable: false,
            note: format!("the pool {workerpool} does not answer, so nothing is known of its workers"),
            unmet: String::new(),
            refusal: String::new(),
            slots_matching: 0,
            item_ms: None,
            settlement_ms: 0.0,
        };
        let Some(link) = link else { return view };
        let Needs { gpu, network } = prepared.needs;
        let dataset = prepared.dataset.as_ref().map(|(_, open)| open.signed.order.dataset);
        let request = QuoteRequest {
            category_id: prepared.category.id,
            work_clock_s: prepared.category.work_clock_s,
            trust: prepared.trust.value(),
            tasks,
            app_type: "wasm".to_owned(),
            gpu,
            network,
            require: prepared.params.gristmill_require.clone(),
            requester: self.address().to_vec(),
            app: if prepared.app.new.is_none() { prepared.app.address.to_vec() } else { Vec::new() },
            dataset: dataset.map(|address| address.to_vec()).unwrap_or_default(),
        };
        match link.quote(request).await {
            Err(error) => view.note = error.to_string(),
            Ok(reply) => {
                view.reachable = true;
                view.workers_matching = reply.workers_matching;
                view.seconds_expected = Some(reply.seconds_expected).filter(|seconds| *seconds > 0.0);
                view.trust_reachable = reply.trust_reachable;
                view.note = reply.note;
                view.unmet = reply.unmet;
                view.refusal = reply.refusal;
                view.slots_matching = reply.slots_matching;
                view.item_ms = Some(reply.item_ms).filter(|ms| *ms > 0.0);
                view.settlement_ms = reply.settlement_ms;
            }
        }
        view
    }

    /// Why there is no offer, as an error with the smallest fix.
    async fn no_offer(
        &self,
        book: &OrderBook,
        prepared: &Prepared,
        missing: u64,
    ) -> Result<RequesterError, RequesterError> {
        let id = prepared.category.id;
        let any_trust = book.open_workerpool_orders(id, Trust::new(1)).await?;
        let ours =
            |open: &&OpenOrder<WorkerpoolOrder>| prepared.pool.is_none_or(|pool| pool == open.signed.order.workerpool);
        let app_tag = prepared.app.order.as_ref().map_or(B256::ZERO, |open| open.signed.order.tag);
        let tag = prepared.needs.tag() | app_tag;
        let offers_all = |open: &&OpenOrder<WorkerpoolOrder>| (tag & !open.signed.order.tag).is_zero();
        let is_lacking =
            any_trust.iter().any(|open| ours(&open)) && !any_trust.iter().filter(ours).any(|open| offers_all(&open));
        let best = any_trust.iter().filter(ours).map(|open| open.signed.order.trust).max();
        let wanted = U256::from(prepared.trust.value());
        let needs = Needs::of_tag(tag);
        let paused = match best {
            None => PoolLink::paused(&self.network, prepared.pool).await,
            Some(_) => None,
        };
        let fix = match best {
            None if let Some(pool) = paused => paused_fix(pool),
            Some(_) if is_lacking && !needs.is_none() => {
                format!("choose a pool that offers {needs}, or start one (`gristmill up --lend-network`, `--lend-gpu`)")
            }
            None if prepared.pool.is_some() => "leave --pool out, or choose another size with --category".to_owned(),
            None => "choose another size with --category, or start a pool (`gristmill up`)".to_owned(),
            Some(trust) if trust < wanted => {
                format!("ask for less confidence; --trust {trust} is the highest offered")
            }
            Some(_) => {
                "the offers there are do not suffice or exclude this app or requester; ask for fewer tasks, or wait"
                    .to_owned()
            }
        };
        Ok(RequesterError::NoOffer {
            missing,
            category: prepared.category.name.clone(),
            confidence: format!("{} (trust {})", prepared.trust, prepared.trust.value()),
            with: needs_clause(tag),
            at_most: String::new(),
            fix,
        })
    }
}

/// How the items of a job are to be packed; `None` where that was said, or where no pool knows the app.
fn packing_of(prepared: &Prepared, quote: &Quote) -> Option<Packing> {
    let items = prepared.items.as_ref().filter(|_| !prepared.tasks_given)?.index.count;
    let pool = quote.pools.iter().filter(|pool| pool.item_ms.is_some()).max_by_key(|pool| pool.tasks)?;
    let measured = Measured {
        item_ms: pool.item_ms?,
        settlement_ms: pool.settlement_ms,
        slots: pool.slots_matching,
        replicas: u64::from(prepared.trust.replicas_of_newcomers()),
    };
    by_run_time(items, prepared.category.work_clock_s, &measured)
}

/// What to do about a pool that takes no new deals.
pub(crate) fn paused_fix(pool: Address) -> String {
    format!(
        "the pool {pool} is drained and takes no new deals; its operator takes that back with `gristmill pool resume`"
    )
}

/// The offers without what the map takes of them.
fn less(offers: Vec<OpenOrder<WorkerpoolOrder>>, taken: &[Allotment]) -> Vec<OpenOrder<WorkerpoolOrder>> {
    let used = |offer: &OpenOrder<WorkerpoolOrder>| {
        taken
            .iter()
            .filter(|allotment| allotment.offer.hash == offer.hash)
            .map(|allotment| allotment.tasks)
            .sum::<u64>()
    };
    offers
        .into_iter()
        .map(|offer| OpenOrder { remaining: offer.remaining.saturating_sub(used(&offer)), ..offer })
        .collect()
}

fn lines_of(prepared: &Prepared, map: &[Allotment], reduce: &[Allotment]) -> Result<Vec<QuoteLine>, RequesterError> {
    let mut lines = vec![line(format!("app {}", prepared.app.name), prepared.app.price(), prepared.tasks)?];
    if let Some((info, open)) = &prepared.dataset {
        lines.push(line(format!("dataset {}", info.name), open.signed.order.datasetprice, prepared.tasks)?);
    }
    for allotment in map {
        let order = &allotment.offer.signed.order;
        lines.push(line(format!("pool {}", order.workerpool), order.workerpoolprice, allotment.tasks)?);
    }
    if let (Some(reduction), Some(allotment)) = (&prepared.reduce, reduce.first()) {
        let order = &allotment.offer.signed.order;
        lines.push(line(format!("reduce: app {}", reduction.app.name), reduction.app.price(), 1)?);
        lines.push(line(format!("reduce: pool {}", order.workerpool), order.workerpoolprice, 1)?);
    }
    Ok(lines)
}

fn line(what: String, each: U256, tasks: u64) -> Result<QuoteLine, RequesterError> {
    let malformed = |why: String| gristmill_hub::HubError::Malformed { what: "an order's price", why };
    let each = Amount::try_from(each).map_err(|error| malformed(error.to_string()))?;
    let total =
        each.checked_mul(tasks).ok_or_else(|| malformed(format!("{each} for {tasks} tasks is past any ledger")))?;
    Ok(QuoteLine { what, each, tasks, total })
}
