//! Look after what a pool has on the ledger: its orders and its stake.
//!
//! Each look compares what stands on the ledger with what the pool wants, and does what is missing: an order whose volume is used up
//! is published anew, one of another price than the pool asks now is closed, and a pool that is drained closes them all.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::{Account, HubClient, OpenOrder, OrderBook, OrderOperation, Outbox, sign};
use gristmill_types::{Amount, Needs, WorkerpoolOrder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{ORDER_TRUST, ORDER_VOLUME, PoolConfig};
use crate::engine::unix_ms;
use crate::error::PoolError;
use crate::setup;
use crate::status::{Cover, OrderStatus, StakeStatus};

/// How often the ledger is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The operator is warned when the free stake is enough for fewer tasks of a category.
pub(crate) const STAKE_TASKS_LOW: u64 = 100;
/// And again after so long, while that is so.
const WARN_AGAIN: Duration = Duration::from_secs(3_600);
/// What the hub locks of the pool's price of a task, in percent (`WORKERPOOL_STAKE_RATIO` of the contracts).
const POOL_STAKE_RATIO: u128 = 30;

/// What stands on the ledger, as of a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub read_unix_ms: u64,
    /// The newest block when it was read.
    pub block: u64,
    pub account: Account,
    /// Tokens outside of the account.
    pub tokens: Amount,
    /// The orders that can be matched.
    pub orders: Vec<OrderStatus>,
    /// The look was made for a pool that is drained.
    pub draining: bool,
    /// Why the last look failed, if it did. The rest is then of the look before.
    pub trouble: Option<String>,
}

/// Does the looking.
pub(crate) struct Keeper {
    config: PoolConfig,
    hub: HubClient,
    outbox: Outbox,
    workerpool: Address,
    book: OrderBook,
    warned_unix_ms: u64,
}

/// A keeper at work. Dropping it stops the work.
#[derive(Debug)]
pub(crate) struct Keeping {
    task: JoinHandle<()>,
    draining: watch::Sender<bool>,
    standing: watch::Receiver<Standing>,
    config: Wanted,
}

/// What the pool wants on the ledger.
#[derive(Clone, Debug)]
struct Wanted {
    prices: Vec<(u64, Amount)>,
    stake_target: Amount,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    pub fn new(config: PoolConfig, hub: HubClient, outbox: Outbox, workerpool: Address) -> Self {
        let book = OrderBook::new(hub.clone());
        Self { config, hub, outbox, workerpool, book, warned_unix_ms: 0 }
    }

    /// Looks once, so that the orders stand when this returns, and goes on looking in the background.
    ///
    /// # Errors
    /// [`PoolError`] of the first look.
    pub async fn start(mut self, draining: bool) -> Result<Keeping, PoolError> {
        let first = self.look(draining).await?;
        let config = Wanted { prices: self.config.prices.clone(), stake_target: self.config.stake_target };
        let (draining, wish) = watch::channel(draining);
        let (told, standing) = watch::channel(first);
        let task = tokio::spawn(self.run(wish, told));
        Ok(Keeping { task, draining, standing, config })
    }

    async fn run(mut self, mut wish: watch::Receiver<bool>, told: watch::Sender<Standing>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                changed = wish.changed() => if changed.is_err() { return },
            }
            let draining = *wish.borrow_and_update();
            match self.look(draining).await {
                Ok(standing) => {
                    told.send_replace(standing);
                }
                Err(error) => {
                    tracing::warn!(%error, "the pool's orders and stake could not be looked after, trying again");
                    told.send_modify(|standing| standing.trouble = Some(error.to_string()));
                }
            }
        }
    }

    async fn look(&mut self, draining: bool) -> Result<Standing, PoolError> {
        self.book.refresh().await?;
        let mut open = self.book.workerpool_orders_of(self.workerpool).await?;
        if self.put_right(&open, draining).await? {
            self.book.refresh().await?;
            open = self.book.workerpool_orders_of(self.workerpool).await?;
        }
        let block = self.hub.ledger().head().await.map_err(gristmill_hub::HubError::from)?;
        let owner = self.config.wallet.address();
        let account = self.hub.view_account(owner).await?;
        let tokens = self.hub.token_balance(owner).await?;
        self.warn_of_stake(account.stake);
        let mut orders: Vec<OrderStatus> = open.iter().map(order_status).collect();
        orders.sort_by_key(|order| (order.category, order.price, order.order));
        Ok(Standing { read_unix_ms: unix_ms(), block, account, tokens, orders, draining, trouble: None })
    }

    /// Publishes and closes orders; whether there was anything to do.
    async fn put_right(&self, open: &[OpenOrder<WorkerpoolOrder>], draining: bool) -> Result<bool, PoolError> {
        let wanted = match draining {
            true => Vec::new(),
            false => self.wanted().await?,
        };
        let mut acted = false;
        for old in open.iter().filter(|old| draining || is_outdated(&old.signed.order, &wanted)) {
            let call = self.hub.manage_workerpool_order(&old.signed, OrderOperation::Close);
            self.outbox.execute(call.intent(format!("close:{}", old.hash))).await?;
            tracing::info!(order = %old.hash, category = %old.signed.order.category, draining, "an order is closed");
            acted = true;
        }
        for wish in &wanted {
            if !open.iter().any(|open| wish.is(&open.signed.order)) {
                self.publish(wish).await?;
                acted = true;
            }
        }
        Ok(acted)
    }

    async fn wanted(&self) -> Result<Vec<Wish>, PoolError> {
        let plain = setup::order_tag(&self.hub).await?;
        // Clients of iExec's show no order whose flags they cannot name: what they can use stands in orders of its own.
        let mut tags = vec![plain];
        if !self.config.offers.is_none() {
            tags.push(plain | self.config.offers.tag());
        }
        let prices = self.config.prices.iter();
        Ok(prices.flat_map(|(category, price)| tags.iter().map(|tag| Wish::new(*category, *price, *tag))).collect())
    }

    async fn publish(&self, wish: &Wish) -> Result<(), PoolError> {
        let order = WorkerpoolOrder {
            workerpool: self.workerpool,
            workerpoolprice: wish.price,
            volume: U256::from(ORDER_VOLUME),
            tag: wish.tag,
            category: wish.category,
            trust: U256::from(ORDER_TRUST),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: setup::random_salt(),
        };
        let signed = sign::order(&self.config.wallet, order, self.hub.domain());
        let key = format!("broadcast:{}", self.hub.order_hash(&signed.order));
        self.outbox.execute(self.hub.broadcast_workerpool_order(&signed).intent(key)).await?;
        Ok(())
    }

    fn warn_of_stake(&mut self, free: Amount) {
        let Some(text) = low_stake(&self.config.prices, free, self.config.wallet.address()) else {
            self.warned_unix_ms = 0;
            return;
        };
        if unix_ms().saturating_sub(self.warned_unix_ms) >= WARN_AGAIN.as_millis() as u64 {
            self.warned_unix_ms = unix_ms();
            tracing::warn!("{text}");
        }
    }
}

impl Keeping {
    /// What stood on the ledger at the last look.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Has the orders closed, or published again.
    pub fn drain(&self, draining: bool) {
        self.draining.send_replace(draining);
    }

    /// Whether the pool is to take no new deals.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Leaves everything as it stands.
    pub fn stop(&self) {
        self.task.abort();
    }

    /// The stake, for the operator.
    pub fn stake(&self) -> StakeStatus {
        let standing = self.standing.borrow();
        let (free, locked) = (standing.account.stake, standing.account.locked);
        StakeStatus {
            free,
            locked,
            tokens: standing.tokens,
            target: self.config.stake_target,
            covers: covers(&self.config.prices, free),
            read_unix_ms: standing.read_unix_ms,
        }
    }

    /// What the operator should look after.
    pub fn warnings(&self, owner: Address) -> Vec<String> {
        let standing = self.standing.borrow();
        let mut warnings: Vec<String> =
            low_stake(&self.config.prices, standing.account.stake, owner).into_iter().collect();
        if let Some(trouble) = &standing.trouble {
            warnings
                .push(format!("the ledger could not be looked at: {trouble}; orders and stake are of the last look"));
        }
        if !standing.draining {
            let is_there = |category: &u64| standing.orders.iter().any(|order| order.category == *category);
            let missing =
                self.config.prices.iter().map(|(category, _)| category).filter(|category| !is_there(category));
            warnings.extend(missing.map(|category| {
                format!(
                    "no order of category {category} stands on the ledger: the pool tries to publish one, see its log"
                )
            }));
        }
        warnings
    }
}

/// An order that should stand.
#[derive(Clone, Debug)]
struct Wish {
    category: U256,
    price: U256,
    tag: B256,
}

impl Wish {
    fn new(category: u64, price: Amount, tag: B256) -> Self {
        Self { category: U256::from(category), price: price.to_u256(), tag }
    }

    fn is(&self, order: &WorkerpoolOrder) -> bool {
        order.category == self.category && order.workerpoolprice == self.price && order.tag == self.tag
    }
}

/// One that the pool published for everybody, and does not want as it is. What its owner published by hand, for one requester or for
/// a few tasks, is left alone.
fn is_outdated(order: &WorkerpoolOrder, wanted: &[Wish]) -> bool {
    let restricted = [order.apprestrict, order.datasetrestrict, order.requesterrestrict] != [Address::ZERO; 3];
    let ours = order.volume == U256::from(ORDER_VOLUME) && order.trust == U256::from(ORDER_TRUST);
    ours && !restricted && !wanted.iter().any(|wish| wish.is(order))
}

fn order_status(open: &OpenOrder<WorkerpoolOrder>) -> OrderStatus {
    let order = &open.signed.order;
    OrderStatus {
        order: open.hash,
        category: order.category.saturating_to(),
        price: Amount::try_from(order.workerpoolprice).unwrap_or(Amount::MAX),
        offers: Needs::of_tag(order.tag).to_string(),
        remaining: open.remaining,
    }
}

/// What the pool stakes on a task of this price; zero for one without a price.
pub fn stake_on(price: Amount) -> Amount {
    price.checked_ratio(POOL_STAKE_RATIO, 100).unwrap_or(Amount::MAX)
}

fn covers(prices: &[(u64, Amount)], free: Amount) -> Vec<Cover> {
    let cover = |(category, price): &(u64, Amount)| {
        let stake = stake_on(*price);
        let tasks = free.ngrist().checked_div(stake.ngrist()).map(|tasks| u64::try_from(tasks).unwrap_or(u64::MAX));
        Cover { category: *category, price: *price, stake, tasks }
    };
    prices.iter().map(cover).collect()
}

/// A sentence on the category for which the free stake is enough for the fewest tasks, if these are few.
fn low_stake(prices: &[(u64, Amount)], free: Amount, owner: Address) -> Option<String> {
    let covers = covers(prices, free);
    let least = covers.iter().filter_map(|cover| Some((cover.tasks?, cover))).min_by_key(|(tasks, _)| *tasks)?;
    let (tasks, cover) = least;
    let enough = cover.stake.checked_mul(STAKE_TASKS_LOW).unwrap_or(Amount::MAX);
    (tasks < STAKE_TASKS_LOW).then(|| {
        format!(
            "the free stake of {free} is enough for {tasks} more tasks of category {}, and deals past it fail: put at least {} more into the account of {owner} (`gristmill account deposit`)",
            cover.category,
            enough.saturating_sub(free)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRIST: fn(u64) -> Amount = Amount::from_grist;

    #[test]
    fn the_stake_is_told_before_it_runs_out() {
        let prices = [(0, GRIST(1)), (4, GRIST(100)), (5, Amount::ZERO)];
        let tasks = |free| covers(&prices, free).iter().map(|cover| cover.tasks).collect::<Vec<_>>();
        assert_eq!(tasks(GRIST(90)), [Some(300), Some(3), None]);
        assert_eq!(tasks(Amount::ZERO), [Some(0), Some(0), None]);
        assert_eq!(low_stake(&prices, GRIST(3_000), Address::ZERO), None);
        let text = low_stake(&prices, GRIST(2_990), Address::repeat_byte(7)).unwrap();
        for part in ["99 more tasks of category 4", "at least 10", &Address::repeat_byte(7).to_string()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(low_stake(&[(5, Amount::ZERO)], Amount::ZERO, Address::ZERO), None);
    }

    #[test]
    fn only_what_the_pool_published_itself_is_outdated() {
        let order = |price: u64| WorkerpoolOrder {
            workerpool: Address::repeat_byte(1),
            workerpoolprice: GRIST(price).to_u256(),
            volume: U256::from(ORDER_VOLUME),
            tag: B256::ZERO,
            category: U256::ZERO,
            trust: U256::from(ORDER_TRUST),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        let wanted = [Wish::new(0, GRIST(2), B256::ZERO)];
        assert!(!is_outdated(&order(2), &wanted));
        assert!(is_outdated(&order(1), &wanted));
        assert!(is_outdated(&WorkerpoolOrder { tag: B256::with_last_byte(1), ..order(2) }, &wanted));
        let by_hand = WorkerpoolOrder { requesterrestrict: Address::repeat_byte(3), ..order(1) };
        assert!(!is_outdated(&by_hand, &wanted));
        assert!(!is_outdated(&WorkerpoolOrder { volume: U256::from(5), ..order(1) }, &wanted));
    }
}
