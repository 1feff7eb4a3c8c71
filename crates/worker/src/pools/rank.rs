//! Estimate what a machine would earn at each pool, and sort.
//!
//! For a slot and a day, in nGRIST, net of the pool's fee:
//!
//! ```text
//! expected = min(busy, (paid + waiting) / slots + trial)
//!
//! busy     what a slot earns that is never idle: mean payment * 86,400 s / mean time of a task; a pool that has no history is taken
//!          to pay, for a class of tasks, its price less its fee for each replica and T of the class (the best of its classes)
//! paid     what it paid to workers in the window, scaled to a day (not from less than one) and, if its fee has changed, to the fee of now;
//!          0 for a pool that offers nothing that this machine takes
//! waiting  tasks that wait * replicas * mean payment: paid within the day
//! slots    those connected, and this machine's
//! trial    a pool without history: busy / 20; of such a pool no more is expected than half of what the best other one promises
//! ```
//!
//! The ledger says: payments, fee, prices, replicas (payments a completed task). The pool says: connected slots, tasks that wait, the
//! mean time of a task. Of its words the worse for it counts where the ledger knows a bound: as many slots as workers were paid, at
//! least, and no more tasks wait than deals have open. Assumed are three replicas where there is no history, equal shares, and that
//! tomorrow is as the window was. An unsold price counts only up to the cheapest that another pool asks: anybody can ask for anything.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_hub::PoolActivity;
use gristmill_types::{Address, Amount, ResourceLimits};
use serde::Serialize;

/// Replicas of a task at a pool without history: what the default confidence needs of newcomers.
pub const REPLICAS_ASSUMED: u128 = 3;
/// A pool without history is taken to keep a slot busy for so many hundredths of the time.
pub const TRIAL_PERCENT: u128 = 5;
/// Of a pool without history this part of what the best with one promises is expected at most.
pub const UNTRIED_PART: u128 = 2;
/// A worker leaves its pool, when it starts, only for one that promises so many hundredths more.
pub const SWITCH_GAIN_PERCENT: u128 = 20;
const DAY_S: u128 = 86_400;

/// Who compares.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its account.
    pub worker: Address,
    /// Tasks at a time.
    pub slots: u64,
    /// Memory that it lends to a task, in bytes.
    pub memory_bytes: u64,
    /// Only these pools; any when empty.
    pub wanted: Vec<Address>,
    /// Pools where it was and earned nothing, or that turned it away.
    pub left: BTreeSet<Address>,
}

/// What a pool offers of a size class: an order that can be matched now, or the sum of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// The size class.
    pub category: u64,
    /// Its T, in seconds.
    pub work_clock_s: u64,
    /// What the pool asks for a task; the least of several.
    pub price: Amount,
    /// Tasks that are left of it.
    pub tasks_left: u64,
}

/// What a pool says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Workers connected.
    pub workers: u64,
    /// Their slots.
    pub slots: u64,
    /// Tasks that wait for a worker.
    pub tasks_waiting: u64,
    /// Mean time of a task, in milliseconds.
    pub task_ms: Option<u64>,
}

/// What came of asking a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It answered.
    Said(Said),
    /// It did not, or as somebody else, or must not be asked; why.
    Trouble(String),
}

/// What is known of a public pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its workerpool on the ledger.
    pub workerpool: Address,
    /// Who owns that.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Where it is dialled.
    pub url: String,
    /// What it keeps of a reward.
    pub fee_percent: u64,
    /// What it kept in its newest deal.
    pub fee_percent_before: Option<u64>,
    /// What a worker stakes, in percent of the price.
    pub stake_percent: u64,
    /// Its open orders.
    pub offers: Vec<Offer>,
    /// What it did in the window.
    pub activity: PoolActivity,
    /// What it says.
    pub reply: Reply,
}

/// A line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its workerpool on the ledger.
    pub workerpool: Address,
    /// Who owns that.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Where it is dialled.
    pub url: String,
    /// What it keeps of a reward.
    pub fee_percent: u64,
    /// What a worker stakes, in percent of the price.
    pub stake_percent: u64,
    /// Workers connected, as it says; nothing if it does not answer.
    pub workers: Option<u64>,
    /// Slots of the connected workers, as it says.
    pub slots: Option<u64>,
    /// Tasks that wait, as it says.
    pub tasks_waiting: Option<u64>,
    /// What it offers of each size class.
    pub offers: Vec<Offer>,
    /// What workers were paid in the window.
    pub paid: Amount,
    /// The mean of these payments, one a worker and task.
    pub paid_per_task: Option<Amount>,
    /// Of this, what was paid to this worker.
    pub paid_here: Amount,
    /// Tasks completed in the window.
    pub tasks_completed: u64,
    /// Tasks failed in the window.
    pub tasks_failed: u64,
    /// What a slot that is never idle would earn in an hour.
    pub busy_per_hour: Option<Amount>,
    /// What this machine, all its slots, is expected to earn in a day.
    pub expected_per_day: Amount,
    /// Whether there is no history, and the expectation stands on prices alone.
    pub untried: bool,
    /// Why this pool is not to be joined, if so.
    pub objection: Option<String>,
}

/// The comparison: the pools that can be joined first, the best first; then the others. The same facts give the same order, whatever
/// theirs was.
pub fn rank(facts: &[Facts], asker: &Asker, window_s: u64) -> Vec<Row> {
    let objections: Vec<Option<String>> = facts.iter().map(|facts| objection(facts, asker)).collect();
    let joinable = facts.iter().zip(&objections).filter(|(_, objection)| objection.is_none());
    let market = market_prices(joinable.map(|(facts, _)| facts));
    let estimate = |(facts, objection): (&Facts, Option<String>)| row(facts, objection, asker, &market, window_s);
    let mut rows: Vec<Row> = facts.iter().zip(objections).map(estimate).collect();
    // Anybody can register pools by the dozen and ask a good price: one that has paid goes before one that has not.
    let best =
        rows.iter().filter(|row| !row.untried).map(|row| row.expected_per_day.ngrist()).max().unwrap_or_default();
    for row in rows.iter_mut().filter(|row| row.untried && best > 0) {
        row.expected_per_day = row.expected_per_day.min(Amount::from_ngrist(best / UNTRIED_PART));
    }
    sort(&mut rows);
    rows
}

/// Sorts the lines of a comparison, the pool to join first.
pub fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| {
        let joinable_first = a.objection.is_some().cmp(&b.objection.is_some());
        let best_first = b.expected_per_day.cmp(&a.expected_per_day);
        joinable_first.then(best_first).then(a.fee_percent.cmp(&b.fee_percent)).then(a.workerpool.cmp(&b.workerpool))
    });
}

/// The pool to join: the best, or that of now while no other promises [`SWITCH_GAIN_PERCENT`] more.
pub fn choose(rows: &[Row], current: Option<Address>) -> Option<&Row> {
    let mut joinable = rows.iter().filter(|row| row.objection.is_none());
    let best = joinable.clone().next()?;
    let Some(now) = joinable.find(|row| Some(row.workerpool) == current) else { return Some(best) };
    let wanted = now.expected_per_day.ngrist().saturating_mul(100 + SWITCH_GAIN_PERCENT) / 100;
    Some(if best.expected_per_day.ngrist() > wanted { best } else { now })
}

fn objection(facts: &Facts, asker: &Asker) -> Option<String> {
    if !asker.wanted.is_empty() && !asker.wanted.contains(&facts.workerpool) {
        return Some("the machine's owner does not want it (policy.pools)".to_owned());
    }
    if let Reply::Trouble(trouble) = &facts.reply {
        return Some(trouble.clone());
    }
    if facts.fee_percent >= 100 {
        return Some("it keeps all of a reward".to_owned());
    }
    if !facts.offers.is_empty() && usable(facts, asker).next().is_none() {
        return Some("its tasks need more memory than this machine lends (memory_mib)".to_owned());
    }
    None
}

/// The orders whose tasks this machine takes.
fn usable<'a>(facts: &'a Facts, asker: &'a Asker) -> impl Iterator<Item = &'a Offer> + Clone {
    let fits =
        move |offer: &&Offer| ResourceLimits::of_work_clock(offer.work_clock_s).memory_bytes <= asker.memory_bytes;
    facts.offers.iter().filter(fits)
}

/// One offer a size class, by their ids.
fn sum_by_class(offers: &[Offer]) -> Vec<Offer> {
    let mut sums: BTreeMap<u64, Offer> = BTreeMap::new();
    for offer in offers {
        let sum = sums.entry(offer.category).or_insert(Offer { tasks_left: 0, ..*offer });
        sum.price = sum.price.min(offer.price);
        sum.tasks_left = sum.tasks_left.saturating_add(offer.tasks_left);
    }
    sums.into_values().collect()
}

/// The cheapest price of each size class.
fn market_prices<'a>(facts: impl Iterator<Item = &'a Facts>) -> BTreeMap<u64, Amount> {
    let mut prices = BTreeMap::new();
    for offer in facts.flat_map(|facts| &facts.offers) {
        let price = prices.entry(offer.category).or_insert(offer.price);
        *price = offer.price.min(*price);
    }
    prices
}

/// `amount * numerator / denominator`, as much as an amount can say at most.
fn scale(amount: u128, numerator: u128, denominator: u128) -> u128 {
    match amount.checked_mul(numerator) {
        Some(product) => product / denominator.max(1),
        None => (amount / denominator.max(1)).saturating_mul(numerator),
    }
}

/// What is estimated of a pool, in nGRIST.
struct Estimate {
    /// A slot that is never idle, in a day.
    busy: Option<u128>,
    /// All slots of this machine, in a day.
    expected: u128,
    /// Whether it has paid nobody that could be reckoned with.
    untried: bool,
}

fn estimate(facts: &Facts, said: Said, asker: &Asker, market: &BTreeMap<u64, Amount>, window_s: u64) -> Estimate {
    let activity = &facts.activity;
    let (payments, keeps) = (u128::from(activity.payments), u128::from(100 - facts.fee_percent.min(100)));
    let kept_before = 100 - u128::from(facts.fee_percent_before.unwrap_or(facts.fee_percent).min(100));
    // Who kept everything has paid nothing that could be scaled.
    let rewards = if kept_before == 0 { 0 } else { scale(activity.rewards.ngrist(), keeps, kept_before) };
    let has_history = payments > 0 && rewards > 0;
    let replicas = match u128::from(activity.tasks_completed) {
        completed @ 1.. if has_history => payments.div_ceil(completed),
        _ => REPLICAS_ASSUMED,
    };
    let offered = |offer: &Offer| {
        let price = market.get(&offer.category).map_or(offer.price, |market| offer.price.min(*market));
        scale(price.ngrist(), keeps, 100 * replicas)
    };
    let of_prices = usable(facts, asker).map(|offer| (offered(offer), offer.work_clock_s.max(1)));
    let by_price = of_prices.clone().map(|(payment, clock_s)| scale(payment, DAY_S, clock_s.into())).max();
    let payment = match has_history {
        true => rewards / payments,
        false => of_prices.map(|(payment, _)| payment).min().unwrap_or_default(),
    };
    let busy = match said.task_ms {
        Some(task_ms) if has_history => Some(scale(payment, DAY_S * 1_000, task_ms.into())),
        _ if has_history => None,
        _ => by_price,
    };
    let paid = if by_price.is_some() { scale(rewards, DAY_S, u128::from(window_s).max(DAY_S)) } else { 0 };
    let waiting =
        u128::from(said.tasks_waiting.min(activity.tasks_open())).saturating_mul(replicas).saturating_mul(payment);
    let others = said.slots.max(activity.workers.keys().filter(|worker| **worker != asker.worker).count() as u64);
    let slots = u128::from(others.saturating_add(asker.slots)).max(1);
    let trial = if has_history { 0 } else { scale(busy.unwrap_or_default(), TRIAL_PERCENT, 100) };
    let shared = (paid.saturating_add(waiting) / slots).saturating_add(trial);
    let of_a_slot = busy.map_or(shared, |busy| shared.min(busy));
    Estimate { busy, expected: of_a_slot.saturating_mul(asker.slots.into()), untried: !has_history }
}

fn row(facts: &Facts, objection: Option<String>, asker: &Asker, market: &BTreeMap<u64, Amount>, window_s: u64) -> Row {
    let activity = &facts.activity;
    let said = match &facts.reply {
        Reply::Said(said) => Some(*said),
        Reply::Trouble(_) => None,
    };
    let Estimate { busy, expected, untried } = estimate(facts, said.unwrap_or_default(), asker, market, window_s);
    let is_expected = objection.is_none() && !asker.left.contains(&facts.workerpool);
    let payments = u128::from(activity.payments);
    Row {
        workerpool: facts.workerpool,
        owner: facts.owner,
        name: facts.name.clone(),
        url: facts.url.clone(),
        fee_percent: facts.fee_percent,
        stake_percent: facts.stake_percent,
        workers: said.map(|said| said.workers),
        slots: said.map(|said| said.slots),
        tasks_waiting: said.map(|said| said.tasks_waiting),
        offers: sum_by_class(&facts.offers),
        paid: activity.rewards,
        paid_per_task: activity.rewards.ngrist().checked_div(payments).map(Amount::from_ngrist),
        paid_here: activity.workers.get(&asker.worker).copied().unwrap_or_default(),
        tasks_completed: activity.tasks_completed,
        tasks_failed: activity.tasks_failed,
        busy_per_hour: busy.map(|day| Amount::from_ngrist(day / 24)),
        expected_per_day: Amount::from_ngrist(if is_expected { expected } else { 0 }),
        untried,
        objection,
    }
}

#[cfg(test)]
mod tests;
