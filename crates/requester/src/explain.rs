//! Answer "why is nothing running?": always a cause and the smallest fix.

use alloy_primitives::U256;
use futures_util::future::BoxFuture;
use gristmill_hub::{HubError, OpenOrder, OrderBook};
use gristmill_protocol::wire::ExplainReply;
use gristmill_protocol::wire::explain_request::Subject;
use gristmill_types::{Address, Amount, Needs, RequestOrder, TaskId, TaskStatus, Trust, WorkerpoolOrder};
use serde::Serialize;

use crate::error::RequesterError;
use crate::job::{Job, JobState, JobStatus, Part};
use crate::offers::Fit;
use crate::pool::PoolLink;

/// A pool locks so much of its own price for each task, in percent.
const POOL_STAKE_PERCENT: u64 = 30;
/// No pool offers what is asked for.
const NO_OFFER: &str = "no-offer";
/// What a pool answers of something it does not have.
const UNKNOWN: &str = "unknown";

/// Why a job stands where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Stable name of the cause.
    pub code: String,
    /// The cause in a sentence.
    pub cause: String,
    /// The smallest thing that would help; empty when nothing needs to be done.
    pub fix: String,
    /// Who says so.
    pub source: Source,
}

/// Who explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The pool that has the task.
    Pool,
    /// What stands on the ledger.
    Ledger,
}

fn of_ledger(code: &str, cause: impl Into<String>, fix: impl Into<String>) -> Explanation {
    Explanation { code: code.to_owned(), cause: cause.into(), fix: fix.into(), source: Source::Ledger }
}

impl Job {
    /// Why the job stands where it stands.
    ///
    /// # Errors
    /// The ledger cannot be asked. A pool that cannot is no error but an explanation.
    pub fn explain(&mut self) -> BoxFuture<'_, Result<Explanation, RequesterError>> {
        Box::pin(async move {
            let status = self.refresh().await?;
            if let Some(explanation) = of_end(&status) {
                return Ok(explanation);
            }
            let running = |part: &Part| {
                part.placed().find(|(_, _, task)| !task.status.is_final()).map(|(deal, index, task)| {
                    (deal.workerpool.address, index, task.id, task.status, task.final_deadline)
                })
            };
            if let Some((pool, index, task, task_status, deadline)) = running(&self.map) {
                return Ok(self.of_task(pool, task, &format!("task {index}"), task_status, deadline).await);
            }
            if self.map.unmatched > 0 {
                return self.of_unmatched(&self.map).await;
            }
            let Some(reduce) = &self.reduce else {
                return Ok(of_ledger("running", "the job is under way", ""));
            };
            if let Some((pool, _, task, task_status, deadline)) = running(reduce) {
                return Ok(self.of_task(pool, task, "the reduce", task_status, deadline).await);
            }
            self.of_waiting_reduce(reduce).await
        })
    }

    async fn of_task(
        &self,
        workerpool: Address,
        task: TaskId,
        what: &str,
        status: TaskStatus,
        deadline: u64,
    ) -> Explanation {
        let asked = self.ask_pool(workerpool, Subject::TaskId(task.as_bytes().to_vec())).await;
        if let Some(reply) = asked.as_ref().ok().filter(|reply| reply.code != UNKNOWN) {
            let cause = format!("{what} ({}): {}", crate::task_word(status), reply.text);
            return Explanation { code: reply.code.clone(), cause, fix: reply.fix.clone(), source: Source::Pool };
        }
        let why = match asked {
            Ok(_) => "has not taken it up yet".to_owned(),
            Err(why) => why,
        };
        let refund = match deadline {
            0 => "it is refunded when its time is over".to_owned(),
            deadline => format!("it is refunded after {deadline} (Unix time)"),
        };
        let cause = format!("{what} is {}, and its pool {workerpool} {why}; {refund}", crate::task_word(status));
        of_ledger(
            "pool-silent",
            cause,
            "wait for the refund, or ask the pool's operator (on your own network: restart `gristmill up`)",
        )
    }

    /// The pool's own words; or why there are none.
    async fn ask_pool(&self, workerpool: Address, subject: Subject) -> Result<ExplainReply, String> {
        let Some(link) = PoolLink::of_workerpool(&self.network, workerpool).await else {
            return Err("does not answer".to_owned());
        };
        link.explain(subject).await.map_err(|error| format!("cannot say why ({error})"))
    }

    async fn of_waiting_reduce(&self, reduce: &Part) -> Result<Explanation, RequesterError> {
        for pool in self.map.deals.iter().map(|deal| deal.workerpool.address) {
            let asked = self.ask_pool(pool, Subject::RequestHash(reduce.hash.0.to_vec())).await;
            if let Some(reply) = asked.ok().filter(|reply| reply.code != UNKNOWN) {
                let cause = format!("all tasks are completed; {}", reply.text);
                return Ok(Explanation { code: reply.code, cause, fix: reply.fix, source: Source::Pool });
            }
        }
        let explained = self.of_unmatched(reduce).await?;
        Ok(Explanation { cause: format!("all tasks are completed; of the reduce: {}", explained.cause), ..explained })
    }

    /// Why a request has no pool, from the orders and accounts on the ledger.
    async fn of_unmatched(&self, part: &Part) -> Result<Explanation, RequesterError> {
        let Some(signed) = &part.signed else {
            let fix = "whoever has the request must match it or broadcast it";
            return Ok(of_ledger(
                "not-broadcast",
                "the request is not on the ledger, so nobody can match its rest",
                fix,
            ));
        };
        let order = &signed.order;
        let hub = &self.network.hub;
        let mut book = OrderBook::new(hub.clone());
        book.refresh().await?;
        let Some(app) = book.app_order_of(order.app).await? else {
            let cause = format!("the app {} is not offered any more", order.app);
            return Ok(of_ledger(
                "app-not-offered",
                cause,
                format!("cancel the job (`gristmill job cancel {}`)", self.id()),
            ));
        };
        let offers = book.open_workerpool_orders(order.category.saturating_to(), Trust::new(1)).await?;
        if let Some(explanation) = of_offers(order, &app.signed.order, &offers, &self.id().to_string()) {
            let named = (!order.workerpool.is_zero()).then_some(order.workerpool);
            if explanation.code == NO_OFFER
                && let Some(pool) = PoolLink::paused(&self.network, named).await
            {
                let cause = format!("the pool {pool} takes no new deals: its operator drains it");
                return Ok(of_ledger("pool-paused", cause, "its operator takes that back: `gristmill pool resume`"));
            }
            return Ok(explanation);
        }
        let price = |offer: &WorkerpoolOrder| Amount::try_from(offer.workerpoolprice + app.signed.order.appprice).ok();
        let cheapest = offers.iter().find(|open| {
            open.signed.order.workerpoolprice <= order.workerpoolmaxprice && open.signed.order.trust >= order.trust
        });
        if let Some(open) = cheapest {
            let needed =
                price(&open.signed.order).and_then(|price| price.checked_mul(part.unmatched)).unwrap_or(Amount::MAX);
            let account = hub.view_account(order.requester).await?;
            if account.stake < needed {
                let missing = needed.saturating_sub(account.stake);
                let cause = format!("the deposit of {} is {missing} short of the {needed} it costs", order.requester);
                let fix = format!("deposit it: `gristmill account deposit \"{missing}\"`");
                return Ok(of_ledger("deposit-too-low", cause, fix));
            }
            if let Some(explanation) = self.of_pool_stake(open, part.unmatched).await? {
                return Ok(explanation);
            }
        }
        let cause = format!("{} task(s) fit an offer and nobody has matched them", part.unmatched);
        Ok(of_ledger("not-matched", cause, format!("match them: `gristmill job wait {}`", self.id())))
    }

    async fn of_pool_stake(
        &self,
        open: &OpenOrder<WorkerpoolOrder>,
        tasks: u64,
    ) -> Result<Option<Explanation>, HubError> {
        let each = Amount::try_from(open.signed.order.workerpoolprice).unwrap_or(Amount::MAX);
        let each = each.checked_ratio(u128::from(POOL_STAKE_PERCENT), 100).unwrap_or(Amount::MAX);
        let needed = each.checked_mul(tasks).unwrap_or(Amount::MAX);
        let stake = self.network.hub.view_account(open.owner).await?.stake;
        if stake >= needed {
            return Ok(None);
        }
        let cause = format!(
            "the pool {} has {stake} free, and a deal of {tasks} task(s) locks {needed} of its own",
            open.signed.order.workerpool
        );
        let fix = format!("wait until its other tasks are over, or its operator {} deposits more", open.owner);
        Ok(Some(of_ledger("pool-stake-too-low", cause, fix)))
    }
}

/// The explanation of a job that is over.
fn of_end(status: &JobStatus) -> Option<Explanation> {
    let job = status.job;
    Some(match status.state {
        JobState::Completed => of_ledger(
            "completed",
            "everything is completed and paid",
            format!("fetch the results: `gristmill job fetch {job}`"),
        ),
        JobState::Cancelled => {
            of_ledger("cancelled", "it was cancelled before any task had a pool; nothing was paid", "")
        }
        JobState::Failed if status.tasks_failed > 0 => of_ledger(
            "failed",
            format!(
                "{} of {} tasks brought no result in time and were refunded",
                status.tasks_failed, status.tasks_total
            ),
            "run it again; a larger size (--category) gives each task more time",
        ),
        JobState::Failed => of_ledger(
            "failed",
            "the reduce was cancelled, or brought no result in time and was refunded",
            "run it again",
        ),
        JobState::Waiting | JobState::Running | JobState::Reducing => return None,
    })
}

/// What in the pools' offers keeps a request from a pool; `None` when one of them fits.
fn of_offers(
    order: &RequestOrder,
    app: &gristmill_types::AppOrder,
    offers: &[OpenOrder<WorkerpoolOrder>],
    job: &str,
) -> Option<Explanation> {
    let again = format!("cancel it (`gristmill job cancel {job}`) and run it again");
    let pool = (!order.workerpool.is_zero()).then_some(order.workerpool);
    let fit = Fit {
        app: order.app,
        app_order: Some(app),
        dataset_order: None,
        requester: order.requester,
        tag: order.tag,
        pool,
        max_price: U256::MAX,
    };
    let open: Vec<&WorkerpoolOrder> = offers.iter().map(|open| &open.signed.order).collect();
    let of_pool: Vec<&&WorkerpoolOrder> =
        open.iter().filter(|offer| pool.is_none_or(|pool| pool == offer.workerpool)).collect();
    if of_pool.is_empty() {
        return Some(match pool {
            Some(pool) if !open.is_empty() => of_ledger(
                NO_OFFER,
                format!("the pool {pool} offers nothing of this size"),
                format!("{again} without --pool"),
            ),
            _ => of_ledger(
                NO_OFFER,
                "no pool offers anything of this size",
                format!("{again} with another --category, or start a pool"),
            ),
        });
    }
    let fitting: Vec<&&&WorkerpoolOrder> = of_pool.iter().filter(|offer| fit.takes(offer)).collect();
    if fitting.is_empty() {
        let tag = order.tag | app.tag;
        let needs = Needs::of_tag(tag);
        if !needs.is_none() && of_pool.iter().all(|offer| !(tag & !offer.tag).is_zero()) {
            let fix = format!("have a pool offer it (`gristmill up --lend-network`, `--lend-gpu`), or {again} without");
            return Some(of_ledger("needs-not-offered", format!("it needs {needs}, which no offer has"), fix));
        }
        return Some(of_ledger(
            "excluded",
            "every offer excludes this app or requester",
            format!("{again} with another app or pool"),
        ));
    }
    let trusted: Vec<_> = fitting.iter().filter(|offer| offer.trust >= order.trust).collect();
    let Some(cheapest) = trusted.iter().map(|offer| offer.workerpoolprice).min() else {
        let best = fitting.iter().map(|offer| offer.trust).max().unwrap_or_default();
        let (best, wanted) = (Trust::new(best.saturating_to()), Trust::new(order.trust.saturating_to()));
        let cause = format!("it asks for confidence {wanted}, and the pools offer {best} at most");
        return Some(of_ledger("trust-not-offered", cause, format!("{again} with --confidence \"{best}\"")));
    };
    if cheapest > order.workerpoolmaxprice {
        let amount = |price: U256| Amount::try_from(price).unwrap_or(Amount::MAX);
        let cause = format!(
            "it pays {} a task at most, and the cheapest pool asks for {}",
            amount(order.workerpoolmaxprice),
            amount(cheapest)
        );
        return Some(of_ledger("price-too-low", cause, format!("{again}: the price of today is taken")));
    }
    None
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Bytes};
    use gristmill_types::{AppOrder, OrderHash, Signed};

    use super::*;

    fn request() -> RequestOrder {
        RequestOrder {
            app: Address::repeat_byte(1),
            appmaxprice: U256::ZERO,
            dataset: Address::ZERO,
            datasetmaxprice: U256::ZERO,
            workerpool: Address::ZERO,
            workerpoolmaxprice: U256::from(5),
            requester: Address::repeat_byte(2),
            volume: U256::from(1),
            tag: B256::ZERO,
            category: U256::ZERO,
            trust: U256::from(5),
            beneficiary: Address::ZERO,
            callback: Address::ZERO,
            params: String::new(),
            salt: B256::ZERO,
        }
    }

    fn offer(change: impl Fn(&mut WorkerpoolOrder)) -> Vec<OpenOrder<WorkerpoolOrder>> {
        let mut order = WorkerpoolOrder {
            workerpool: Address::repeat_byte(3),
            workerpoolprice: U256::from(5),
            volume: U256::from(10),
            tag: B256::ZERO,
            category: U256::ZERO,
            trust: U256::from(5),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        change(&mut order);
        let signed = Signed { order, sign: Bytes::new() };
        vec![OpenOrder { hash: OrderHash::default(), signed, owner: Address::ZERO, remaining: 10, block: 0 }]
    }

    #[test]
    fn what_keeps_a_request_from_a_pool_is_named_with_a_fix() {
        let app = AppOrder {
            app: Address::repeat_byte(1),
            appprice: U256::ZERO,
            volume: U256::from(1),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        let explain =
            |order: &RequestOrder, offers: &[OpenOrder<WorkerpoolOrder>]| of_offers(order, &app, offers, "0x12");
        let mut chosen = request();
        chosen.workerpool = Address::repeat_byte(9);
        let network = Needs { gpu: false, network: true }.tag();
        for (order, offers, code) in [
            (request(), vec![], Some("no-offer")),
            (chosen, offer(|_| {}), Some("no-offer")),
            (request(), offer(|offer| offer.requesterrestrict = Address::repeat_byte(9)), Some("excluded")),
            (request(), offer(|offer| offer.trust = U256::from(4)), Some("trust-not-offered")),
            (request(), offer(|offer| offer.workerpoolprice = U256::from(6)), Some("price-too-low")),
            (RequestOrder { tag: network, ..request() }, offer(|_| {}), Some("needs-not-offered")),
            (RequestOrder { tag: network, ..request() }, offer(|offer| offer.tag = network), None),
            (request(), offer(|_| {}), None),
        ] {
            let got = explain(&order, &offers);
            assert_eq!(got.as_ref().map(|explanation| explanation.code.as_str()), code);
            assert!(got.is_none_or(|explanation| !explanation.fix.is_empty() && !explanation.cause.is_empty()));
        }
    }
}
