//! Look after what a pool has on the ledger: its orders, its stake and its fee.
//!
//! Each look compares what stands on the ledger with what the pool wants, and does what is missing: an order whose volume is used up
//! is published anew, one of another price than the pool asks now is closed, and a pool that is drained closes them all. When the
//! operator wants something else the next look is at once.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::{Account, HubClient, OpenOrder, OrderBook, OrderOperation, Outbox, sign};
use gristmill_types::{Amount, Needs, WorkerpoolOrder};
use gristmill_wallet::Wallet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{ORDER_TRUST, ORDER_VOLUME};
use crate::engine::unix_ms;
use crate::error::PoolError;
use crate::settings::{Base, Settings};
use crate::status::{Cover, OrderStatus, StakeStatus};
use crate::{public, setup};

/// How often the ledger is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The operator is warned when the free stake is enough for fewer tasks of a category.
pub(crate) const STAKE_TASKS_LOW: u64 = 100;
/// And again after so long, while that is so.
const WARN_AGAIN: Duration = Duration::from_secs(3_600);
/// What the hub locks of the pool's price of a task, in percent (`WORKERPOOL_STAKE_RATIO` of the contracts).
const POOL_STAKE_RATIO: u128 = 30;
/// With this the salt of an order begins that a keeper published: so it knows its own, whatever they offer.
const OWN_SALT: &[u8; 8] = b"gm-order";

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
    /// The number of the [`Aim`] of the last look, whether it succeeded or not.
    pub aim: u64,
    /// Why the last look failed, if it did. The rest is then of the look before.
    pub trouble: Option<String>,
}

/// Does the looking.
pub(crate) struct Keeper {
    wallet: Wallet,
    hub: HubClient,
    outbox: Outbox,
    workerpool: Address,
    book: OrderBook,
    warned_unix_ms: u64,
    /// The fee and the stake that were last brought about, as they were wanted.
    reached: (Option<u64>, Amount),
}

/// A keeper at work. Dropping it stops the work.
#[derive(Debug)]
pub(crate) struct Keeping {
    task: JoinHandle<()>,
    aim: watch::Sender<Aim>,
    standing: watch::Receiver<Standing>,
}

/// What a keeper is to bring about.
#[derive(Clone, Debug)]
struct Aim {
    /// It grows by one when something else is wanted.
    number: u64,
    draining: bool,
    wanted: Wanted,
}

impl Aim {
    /// Takes in what is wanted from now on; whether that is something else.
    fn want(&mut self, wanted: Wanted) -> bool {
        let is_other = self.wanted != wanted;
        if is_other {
            (self.number, self.wanted) = (self.number + 1, wanted);
        }
        is_other
    }
}

/// What the pool wants on the ledger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    prices: Vec<(u64, Amount)>,
    offers: Needs,
    volume: u64,
    trust_max: u64,
    stake_target: Amount,
    fee_percent: Option<u64>,
}

impl Wanted {
    /// By a pool's settings.
    pub fn of(base: &Base, settings: &Settings) -> Self {
        Self {
            prices: base.prices(settings),
            offers: settings.offer.needs(),
            volume: settings.order.volume,
            trust_max: settings.order.trust_max,
            stake_target: settings.stake.0,
            fee_percent: settings.fee_percent,
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    pub fn new(wallet: Wallet, hub: HubClient, outbox: Outbox, workerpool: Address) -> Self {
        let book = OrderBook::new(hub.clone());
        Self { wallet, hub, outbox, workerpool, book, warned_unix_ms: 0, reached: (None, Amount::ZERO) }
    }

    /// Looks once, so that the orders stand when this returns, and goes on looking in the background. Fee and stake are as wanted already.
    ///
    /// # Errors
    /// [`PoolError`] of the first look.
    pub async fn start(mut self, wanted: Wanted, draining: bool) -> Result<Keeping, PoolError> {
        self.reached = (wanted.fee_percent, wanted.stake_target);
        let aim = Aim { number: 0, draining, wanted };
        let first = self.look(&aim).await?;
        let (aim, wish) = watch::channel(aim);
        let (told, standing) = watch::channel(first);
        let task = tokio::spawn(self.run(wish, told));
        Ok(Keeping { task, aim, standing })
    }

    async fn run(mut self, mut wish: watch::Receiver<Aim>, told: watch::Sender<Standing>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                changed = wish.changed() => if changed.is_err() { return },
            }
            let aim = wish.borrow_and_update().clone();
            match self.look(&aim).await {
                Ok(standing) => {
                    told.send_replace(standing);
                }
                Err(error) => {
                    tracing::warn!(%error, "the pool's orders and stake could not be looked after, trying again");
                    told.send_modify(|standing| {
                        standing.aim = aim.number;
                        standing.trouble = Some(error.to_string());
                    });
                }
            }
        }
    }

    async fn look(&mut self, aim: &Aim) -> Result<Standing, PoolError> {
        let (owner, draining) = (self.wallet.address(), aim.draining);
        // What is in the account falls and rises with every task: it is filled up when something else is wanted, not at every look.
        let Wanted { fee_percent, stake_target, .. } = aim.wanted;
        if self.reached.0 != fee_percent {
            public::set_fee(fee_percent, &self.hub, &self.outbox, self.workerpool).await?;
            self.reached.0 = fee_percent;
        }
        if self.reached.1 != stake_target {
            setup::fill_account(&self.hub, &self.outbox, owner, stake_target).await?;
            self.reached.1 = stake_target;
        }
        self.book.refresh().await?;
        let mut open = self.book.workerpool_orders_of(self.workerpool).await?;
        if self.put_right(&open, aim).await? {
            self.book.refresh().await?;
            open = self.book.workerpool_orders_of(self.workerpool).await?;
        }
        let block = self.hub.ledger().head().await.map_err(gristmill_hub::HubError::from)?;
        let account = self.hub.view_account(owner).await?;
        let tokens = self.hub.token_balance(owner).await?;
        self.warn_of_stake(&aim.wanted, account.stake);
        let mut orders: Vec<OrderStatus> = open.iter().map(order_status).collect();
        orders.sort_by_key(|order| (order.category, order.price, order.order));
        let read_unix_ms = unix_ms();
        Ok(Standing { read_unix_ms, block, account, tokens, orders, draining, aim: aim.number, trouble: None })
    }

    /// Publishes and closes orders; whether there was anything to do.
    async fn put_right(&self, open: &[OpenOrder<WorkerpoolOrder>], aim: &Aim) -> Result<bool, PoolError> {
        let draining = aim.draining;
        let wanted = match draining {
            true => Vec::new(),
            false => self.wishes(&aim.wanted).await?,
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

    async fn wishes(&self, wanted: &Wanted) -> Result<Vec<Wish>, PoolError> {
        let plain = setup::order_tag(&self.hub).await?;
        // Clients of iExec's show no order whose flags they cannot name: what they can use stands in orders of its own.
        let mut tags = vec![plain];
        if !wanted.offers.is_none() {
            tags.push(plain | wanted.offers.tag());
        }
        let wish = |(category, price): &(u64, Amount), tag| Wish {
            category: U256::from(*category),
            price: price.to_u256(),
            tag,
            volume: U256::from(wanted.volume),
            trust: U256::from(wanted.trust_max),
        };
        Ok(wanted.prices.iter().flat_map(|priced| tags.iter().map(move |tag| wish(priced, *tag))).collect())
    }

    async fn publish(&self, wish: &Wish) -> Result<(), PoolError> {
        let order = WorkerpoolOrder {
            workerpool: self.workerpool,
            workerpoolprice: wish.price,
            volume: wish.volume,
            tag: wish.tag,
            category: wish.category,
            trust: wish.trust,
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: own_salt(),
        };
        let signed = sign::order(&self.wallet, order, self.hub.domain());
        let key = format!("broadcast:{}", self.hub.order_hash(&signed.order));
        self.outbox.execute(self.hub.broadcast_workerpool_order(&signed).intent(key)).await?;
        Ok(())
    }

    fn warn_of_stake(&mut self, wanted: &Wanted, free: Amount) {
        let Some(text) = low_stake(&wanted.prices, free, self.wallet.address()) else {
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
        self.aim.send_modify(|aim| aim.draining = draining);
    }

    /// Has it brought about what is wanted from now on; completes when that was tried, with what went wrong. It goes on trying. Where
    /// nothing else is wanted nothing is done, and the last look is the answer.
    pub fn want(&self, wanted: Wanted) -> impl Future<Output = Option<String>> + Send + use<> {
        self.aim.send_if_modified(|aim| aim.want(wanted));
        let number = self.aim.borrow().number;
        let mut standing = self.standing.clone();
        async move {
            match standing.wait_for(|standing| standing.aim >= number).await {
                Ok(standing) => standing.trouble.clone(),
                Err(_) => Some("the pool is stopping".to_owned()),
            }
        }
    }

    /// Whether the pool is to take no new deals.
    pub fn is_draining(&self) -> bool {
        self.aim.borrow().draining
    }

    /// Leaves everything as it stands.
    pub fn stop(&self) {
        self.task.abort();
    }

    /// The stake, for the operator.
    pub fn stake(&self) -> StakeStatus {
        let (standing, wanted) = (self.standing.borrow(), self.aim.borrow().wanted.clone());
        let (free, locked) = (standing.account.stake, standing.account.locked);
        StakeStatus {
            free,
            locked,
            tokens: standing.tokens,
            target: wanted.stake_target,
            covers: covers(&wanted.prices, free),
            read_unix_ms: standing.read_unix_ms,
        }
    }

    /// What the operator should look after.
    pub fn warnings(&self, owner: Address) -> Vec<String> {
        let (standing, wanted) = (self.standing.borrow(), self.aim.borrow().wanted.clone());
        let mut warnings: Vec<String> = low_stake(&wanted.prices, standing.account.stake, owner).into_iter().collect();
        if let Some(trouble) = &standing.trouble {
            warnings
                .push(format!("the ledger could not be looked at: {trouble}; orders and stake are of the last look"));
        }
        if !standing.draining {
            let is_there = |category: &u64| standing.orders.iter().any(|order| order.category == *category);
            let missing = wanted.prices.iter().map(|(category, _)| category).filter(|category| !is_there(category));
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
    volume: U256,
    trust: U256,
}

impl Wish {
    fn is(&self, order: &WorkerpoolOrder) -> bool {
        let offered = (order.category, order.tag, order.volume, order.trust);
        order.workerpoolprice == self.price && offered == (self.category, self.tag, self.volume, self.trust)
    }
}

/// A salt by which the order is known for one of the pool's own.
fn own_salt() -> B256 {
    let mut salt = setup::random_salt();
    salt[..OWN_SALT.len()].copy_from_slice(OWN_SALT);
    salt
}

/// One that the pool published for everybody, and does not want as it is. What its owner published by hand, for one requester or for
/// a few tasks, is left alone.
fn is_outdated(order: &WorkerpoolOrder, wanted: &[Wish]) -> bool {
    let restricted = [order.apprestrict, order.datasetrestrict, order.requesterrestrict] != [Address::ZERO; 3];
    // Orders of before there was a mark had these.
    let unmarked = order.volume == U256::from(ORDER_VOLUME) && order.trust == U256::from(ORDER_TRUST);
    let ours = order.salt.starts_with(OWN_SALT) || unmarked;
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
    fn the_aim_is_another_only_when_something_else_is_wanted() {
        let wanted = Wanted {
            prices: vec![(0, GRIST(1))],
            offers: Needs::NONE,
            volume: 5,
            trust_max: 6,
            stake_target: GRIST(7),
            fee_percent: None,
        };
        let mut aim = Aim { number: 3, draining: true, wanted: wanted.clone() };
        assert!(!aim.want(wanted.clone()));
        assert_eq!((aim.number, aim.draining), (3, true));
        for other in [
            Wanted { prices: vec![(0, GRIST(2))], ..wanted.clone() },
            Wanted { volume: 6, ..wanted.clone() },
            Wanted { stake_target: GRIST(8), ..wanted.clone() },
            Wanted { fee_percent: Some(1), ..wanted },
        ] {
            let before = aim.number;
            assert!(aim.want(other.clone()) && !aim.want(other.clone()));
            assert_eq!((aim.number, aim.draining, &aim.wanted), (before + 1, true, &other));
        }
    }

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
        let wish = |price: u64| Wish {
            category: U256::ZERO,
            price: GRIST(price).to_u256(),
            tag: B256::ZERO,
            volume: U256::from(ORDER_VOLUME),
            trust: U256::from(ORDER_TRUST),
        };
        let wanted = [wish(2)];
        assert!(!is_outdated(&order(2), &wanted));
        assert!(is_outdated(&order(1), &wanted));
        assert!(is_outdated(&WorkerpoolOrder { tag: B256::with_last_byte(1), ..order(2) }, &wanted));
        let by_hand = WorkerpoolOrder { requesterrestrict: Address::repeat_byte(3), ..order(1) };
        assert!(!is_outdated(&by_hand, &wanted));
        assert!(!is_outdated(&WorkerpoolOrder { volume: U256::from(5), ..order(1) }, &wanted));
        // What it published with another volume is known by its salt.
        let five = WorkerpoolOrder { volume: U256::from(5), salt: own_salt(), ..order(2) };
        assert!(is_outdated(&five, &wanted));
        assert!(!is_outdated(&five, &[Wish { volume: U256::from(5), ..wish(2) }]));
        assert!(!is_outdated(&WorkerpoolOrder { requesterrestrict: Address::repeat_byte(3), ..five }, &wanted));
    }
}
