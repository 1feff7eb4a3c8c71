//! Gather the facts: register, orders and events of the ledger, and a question to each public pool.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gristmill_hub::{Activity, HubClient, HubError, OrderBook, WorkerpoolInfo};
use gristmill_protocol::PROTOCOL_VERSION;
use gristmill_protocol::client::{Timeouts, connect, pool_client};
use gristmill_protocol::public::PublicPool;
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::tonic::Request;
use gristmill_protocol::wire::{StatusReply, StatusRequest};
use gristmill_types::{Address, Amount, DealId};
use serde::Serialize;

use super::plain;
use super::rank::{Asker, Facts, Offer, Reply, Row, Said, rank};
use super::vicinity::Vicinity;
use crate::earnings::LedgerPlace;
use crate::job::chain;

/// How far back payments are looked at, in seconds: a week.
pub const WINDOW_S: u64 = 7 * 86_400;
/// Registered pools that are looked at: those of which there was an event in the window, and the newest.
pub const REGISTERED_MAX: u64 = 10_000;
/// Public pools that are compared: those that paid most, and the newest.
pub const COMPARED_MAX: usize = 256;
/// Pools of one host that are asked: nobody makes workers call upon a stranger's machine for ever.
pub const ASKED_OF_HOST_MAX: usize = 8;
/// Pools asked at a time.
const ASKED_AT_ONCE: usize = 32;
/// How long a pool is given to answer, its name's look-up aside.
const ASK_TIME: Duration = Duration::from_secs(4);
/// How long all of it may take.
pub const LOOK_TIME: Duration = Duration::from_secs(180);
/// Deals looked up in one request.
const LOOKUP_MAX: usize = 200;

/// The public pools of a ledger, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Where the ledger is.
    pub ledger: LedgerPlace,
    /// The newest block that was looked at.
    pub block: u64,
    /// The window of what was paid, in seconds.
    pub window_seconds: u64,
    /// Pools that are registered.
    pub registered: u64,
    /// Of these, public ones that were looked at.
    pub public: u64,
    /// The slots that are reckoned with.
    pub slots_offered: u64,
    /// The pools, as [`rank`] sorts them; of the public ones [`COMPARED_MAX`] at most.
    pub pools: Vec<Row>,
}

/// The pools could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// The ledger could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// It took too long.
    #[error(
        "the ledger at {rpc} did not say within {LOOK_TIME:?} which pools there are: name one with --pool, or another server of it"
    )]
    TooSlow {
        /// Where the ledger is.
        rpc: String,
    },
}

/// A public pool as the ledger has it.
struct Listed {
    info: WorkerpoolInfo,
    public: PublicPool,
}

/// Compares the public pools of the ledger at `place`, at the time `now` in Unix seconds.
///
/// # Errors
/// [`LookError`] when the ledger cannot be read to the end: half a comparison is none.
pub async fn look(place: &LedgerPlace, asker: &Asker, now: u64) -> Result<Comparison, LookError> {
    let too_slow = |_| LookError::TooSlow { rpc: place.rpc.clone() };
    tokio::time::timeout(LOOK_TIME, compare(place, asker, now)).await.map_err(too_slow)?
}

async fn compare(place: &LedgerPlace, asker: &Asker, now: u64) -> Result<Comparison, LookError> {
    let hub = HubClient::connect(&place.rpc, place.hub).await?;
    let activity = Activity::read(&hub, now, WINDOW_S).await?;
    let registered = hub.count_workerpools().await?;
    let mut listed = list(&hub, &activity, registered).await?;
    let public = listed.len() as u64;
    // The newest are first; the order of equals stays.
    listed.sort_by_key(|listed| {
        Reverse(activity.pools.get(&listed.info.address).map_or(Amount::ZERO, |pool| pool.rewards))
    });
    listed.truncate(COMPARED_MAX);
    let offers = offers(&hub, listed.iter().map(|listed| listed.info.address).collect()).await?;
    let fees = last_fees(&hub, &activity, &listed).await?;
    let replies = ask_all(&hub, Vicinity::of_url(&place.rpc).await, &listed).await;
    let facts: Vec<Facts> = listed
        .into_iter()
        .zip(replies)
        .map(|(Listed { info, public }, reply)| Facts {
            workerpool: info.address,
            owner: info.owner,
            name: public.name().to_owned(),
            url: public.url().to_string(),
            fee_percent: info.scheduler_reward_ratio,
            fee_percent_before: fees.get(&info.address).copied(),
            stake_percent: info.worker_stake_ratio,
            offers: offers.get(&info.address).cloned().unwrap_or_default(),
            activity: activity.of(info.address),
            reply,
        })
        .collect();
    Ok(Comparison {
        ledger: place.clone(),
        block: activity.last_block,
        window_seconds: activity.seconds,
        registered,
        public,
        slots_offered: asker.slots,
        pools: rank(&facts, asker, activity.seconds),
    })
}

/// The public ones among the newest [`REGISTERED_MAX`] of `registered` pools, the newest first, and then among those that were active: so
/// nobody is hidden behind pools that somebody registered by the thousand.
async fn list(hub: &HubClient, activity: &Activity, registered: u64) -> Result<Vec<Listed>, HubError> {
    let mut addresses = hub.workerpools(registered.saturating_sub(REGISTERED_MAX)..registered).await?;
    addresses.reverse();
    let known: BTreeSet<Address> = addresses.iter().copied().collect();
    addresses.extend(activity.pools.keys().filter(|pool| !known.contains(*pool)));
    let records = hub.view_workerpools(&addresses).await?;
    let listed = records.into_iter().flatten().filter_map(|info| {
        let public = PublicPool::read(&info.description)?;
        Some(Listed { info, public })
    });
    Ok(listed.collect())
}

/// The open orders of these pools that anybody may use.
async fn offers(hub: &HubClient, pools: BTreeSet<Address>) -> Result<BTreeMap<Address, Vec<Offer>>, HubError> {
    let clocks: BTreeMap<u64, u64> =
        hub.view_categories().await?.into_iter().map(|category| (category.id, category.work_clock_s)).collect();
    let mut book = OrderBook::new(hub.clone());
    book.refresh().await?;
    let mut offers: BTreeMap<Address, Vec<Offer>> = BTreeMap::new();
    for open in book.workerpool_orders_of_all(&pools).await? {
        let order = &open.signed.order;
        if [order.apprestrict, order.datasetrestrict, order.requesterrestrict] != [Address::ZERO; 3] {
            continue;
        }
        // An order of a class that does not exist, or for more than there is, cannot be matched.
        let class = u64::try_from(order.category).ok().and_then(|id| Some((id, *clocks.get(&id)?)));
        let price = Amount::try_from(order.workerpoolprice).ok();
        if let (Some((category, work_clock_s)), Some(price)) = (class, price) {
            offers.entry(order.workerpool).or_default().push(Offer {
                category,
                work_clock_s,
                price,
                tasks_left: open.remaining,
            });
        }
    }
    Ok(offers)
}

/// What each pool kept in its newest deal of the window.
async fn last_fees(
    hub: &HubClient,
    activity: &Activity,
    listed: &[Listed],
) -> Result<BTreeMap<Address, u64>, HubError> {
    let last_deal = |listed: &Listed| activity.pools.get(&listed.info.address)?.last_deal;
    let deals: Vec<DealId> = listed.iter().filter_map(last_deal).collect();
    let mut fees = BTreeMap::new();
    for page in deals.chunks(LOOKUP_MAX) {
        let deals = hub.view_deals(page).await?;
        fees.extend(deals.into_iter().flatten().map(|deal| (deal.workerpool.address, deal.scheduler_reward_ratio)));
    }
    Ok(fees)
}

/// Asks each pool, some at a time; the answers are in the order of the pools. An address that several claim is asked once: what answers
/// there says which of them it is.
async fn ask_all(hub: &HubClient, ledger: Vicinity, listed: &[Listed]) -> Vec<Reply> {
    let mut urls: BTreeMap<String, PoolUrl> = BTreeMap::new();
    let mut of_host: BTreeMap<&str, usize> = BTreeMap::new();
    for listed in listed {
        let url = listed.public.url();
        let count = of_host.entry(&url.host).or_default();
        if *count < ASKED_OF_HOST_MAX && urls.insert(url.to_string(), url.clone()).is_none() {
            *count += 1;
        }
    }
    let asked = stream::iter(urls).map(|(text, url)| async move { (text, ask(ledger, &url).await) });
    let answers: BTreeMap<String, Result<StatusReply, String>> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
    let reply = |listed: &Listed| match answers.get(&listed.public.url().to_string()) {
        None => Reply::Trouble(format!("not asked: more than {ASKED_OF_HOST_MAX} pools name its host")),
        Some(Err(trouble)) => Reply::Trouble(trouble.clone()),
        Some(Ok(status)) => match is_who_it_claims(hub, &listed.info, status) {
            Ok(()) => Reply::Said(said(status)),
            Err(why) => Reply::Trouble(why),
        },
    };
    listed.iter().map(reply).collect()
}

/// Asks the pool at `url` for its status, unless it or its store is nearer than the ledger.
async fn ask(ledger: Vicinity, url: &PoolUrl) -> Result<StatusReply, String> {
    let ip = ledger.admit(&url.host, url.port).await?;
    // What was looked up is dialled: a name may lead elsewhere a moment later. The key is checked, whatever the host.
    let dialled = PoolUrl { host: ip.to_string(), ..url.clone() };
    let asked = async {
        let timeouts = Timeouts { connect: ASK_TIME, ..Timeouts::default() };
        let channel = connect(&dialled, &timeouts).await.map_err(|error| plain(&chain(&error)))?;
        let answer = pool_client(channel).status(Request::new(StatusRequest {})).await;
        answer.map(|answer| answer.into_inner()).map_err(|status| format!("it answers: {}", plain(status.message())))
    };
    let status =
        tokio::time::timeout(ASK_TIME, asked).await.map_err(|_| format!("no answer within {ASK_TIME:?}")).flatten()?;
    match ledger.objection_to_url(&status.store_url).await {
        Some(why) => Err(format!("its store: {}", plain(&why))),
        None => Ok(status),
    }
}

/// Whether who answers is the pool whose address the ledger gives. The key is that of the address already; but anybody may register a
/// pool with another's address.
fn is_who_it_claims(hub: &HubClient, info: &WorkerpoolInfo, status: &StatusReply) -> Result<(), String> {
    if status.pool_address != info.address.as_slice() {
        return Err("another pool answers at its address".to_owned());
    }
    if status.pool_owner != info.owner.as_slice() {
        return Err("who answers is not its owner on the ledger".to_owned());
    }
    if status.hub_address != hub.hub.as_slice() || status.chain_id != hub.chain_id() {
        return Err("it works on another ledger or hub".to_owned());
    }
    if status.protocol_version != PROTOCOL_VERSION {
        let version = status.protocol_version;
        return Err(format!("it speaks version {version} of the protocol, this worker {PROTOCOL_VERSION}"));
    }
    Ok(())
}

fn said(status: &StatusReply) -> Said {
    /// Ten days: longer than any task.
    const TASK_MS_MAX: f64 = 864_000_000.0;
    let task_ms = status.task_seconds_mean * 1_000.0;
    Said {
        workers: status.workers_total,
        slots: status.slots_total,
        tasks_waiting: status.tasks_waiting,
        // Not a number, and no time at all, is nothing said; the cast is within the bounds.
        task_ms: (task_ms >= 1.0).then(|| task_ms.min(TASK_MS_MAX) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pools_figures_are_taken_within_reason() {
        let of = |task_seconds_mean| said(&StatusReply { task_seconds_mean, ..StatusReply::default() }).task_ms;
        for (seconds, expected) in [
            (1.5, Some(1_500)),
            (0.0, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, Some(864_000_000)),
            (f64::MAX, Some(864_000_000)),
        ] {
            assert_eq!(of(seconds), expected, "{seconds}");
        }
        assert_eq!(plain("\u{1b}[31mred\n\u{202e}"), "[31mred");
    }
}
