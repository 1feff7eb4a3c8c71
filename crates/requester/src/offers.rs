//! Choose among the pools' open orders.

use alloy_primitives::{B256, U256};
use gristmill_hub::OpenOrder;
use gristmill_types::{Address, AppOrder, DatasetOrder, WorkerpoolOrder};

/// What an offer has to go with.
#[derive(Clone, Debug)]
pub struct Fit<'a> {
    /// The app.
    pub app: Address,
    /// Its order, when there is one already.
    pub app_order: Option<&'a AppOrder>,
    /// The dataset's order, when there is a dataset.
    pub dataset_order: Option<&'a DatasetOrder>,
    /// Who asks.
    pub requester: Address,
    /// The request's own tag.
    pub tag: B256,
    /// The only pool that may do it.
    pub pool: Option<Address>,
    /// What a task may cost at the pool.
    pub max_price: U256,
}

impl Fit<'_> {
    /// Whether the hub would match `offer` with the rest. Category and trust are the caller's to compare.
    pub fn takes(&self, offer: &WorkerpoolOrder) -> bool {
        let allows = |restriction: Address, who: Address| restriction.is_zero() || restriction == who;
        let dataset = self.dataset_order.map_or(Address::ZERO, |order| order.dataset);
        let pool = offer.workerpool;
        let tag = self.tag
            | self.app_order.map_or(Default::default(), |order| order.tag)
            | self.dataset_order.map_or(Default::default(), |order| order.tag);
        let by_offer = allows(offer.apprestrict, self.app)
            && allows(offer.datasetrestrict, dataset)
            && allows(offer.requesterrestrict, self.requester);
        let by_app = self.app_order.is_none_or(|order| {
            allows(order.workerpoolrestrict, pool)
                && allows(order.datasetrestrict, dataset)
                && allows(order.requesterrestrict, self.requester)
        });
        let by_dataset = self.dataset_order.is_none_or(|order| {
            allows(order.workerpoolrestrict, pool)
                && allows(order.apprestrict, self.app)
                && allows(order.requesterrestrict, self.requester)
        });
        let by_request = self.pool.is_none_or(|chosen| chosen == pool) && offer.workerpoolprice <= self.max_price;
        by_offer && by_app && by_dataset && by_request && (tag & !offer.tag).is_zero()
    }
}

/// Tasks given to an offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Allotment {
    /// The offer.
    pub offer: OpenOrder<WorkerpoolOrder>,
    /// How many tasks.
    pub tasks: u64,
}

/// Gives `tasks` tasks to `offers`, which are in the order of preference. Also how many remain without an offer.
pub fn allot(offers: &[OpenOrder<WorkerpoolOrder>], tasks: u64) -> (Vec<Allotment>, u64) {
    let mut missing = tasks;
    let mut allotments = Vec::new();
    for offer in offers {
        let tasks = missing.min(offer.remaining);
        if tasks > 0 {
            allotments.push(Allotment { offer: offer.clone(), tasks });
            missing -= tasks;
        }
    }
    (allotments, missing)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Bytes;
    use gristmill_types::{OrderHash, Signed};

    use super::*;

    fn offer(price: u64, remaining: u64) -> OpenOrder<WorkerpoolOrder> {
        let order = WorkerpoolOrder {
            workerpool: Address::repeat_byte(9),
            workerpoolprice: U256::from(price),
            volume: U256::from(remaining),
            tag: B256::ZERO,
            category: U256::ZERO,
            trust: U256::from(100),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        let signed = Signed { order, sign: Bytes::new() };
        OpenOrder { hash: OrderHash::default(), signed, owner: Address::ZERO, remaining, block: 0 }
    }

    #[test]
    fn the_first_offers_are_used_up_before_the_next() {
        let offers = [offer(1, 3), offer(2, 0), offer(5, 10)];
        let (allotments, missing) = allot(&offers, 7);
        let split: Vec<(u64, u64)> = allotments
            .iter()
            .map(|allotment| (allotment.offer.signed.order.workerpoolprice.to::<u64>(), allotment.tasks))
            .collect();
        assert_eq!((split, missing), (vec![(1, 3), (5, 4)], 0));
        assert_eq!(allot(&offers, 20).1, 7);
    }

    #[test]
    fn every_restriction_is_heeded() {
        let app = Address::repeat_byte(1);
        let requester = Address::repeat_byte(2);
        let other = Address::repeat_byte(3);
        let app_order = AppOrder {
            app,
            appprice: U256::ZERO,
            volume: U256::from(1),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        let check = |expected: bool, change: &dyn Fn(&mut WorkerpoolOrder, &mut AppOrder, &mut Fit<'_>)| {
            let (mut offer, mut app_order) = (offer(5, 1).signed.order, app_order.clone());
            let max_price = U256::from(5);
            let tag = B256::ZERO;
            let mut fit = Fit { app, app_order: None, dataset_order: None, requester, tag, pool: None, max_price };
            change(&mut offer, &mut app_order, &mut fit);
            let fit = Fit { app_order: Some(&app_order), ..fit };
            assert_eq!(fit.takes(&offer), expected, "{offer:?} {app_order:?}");
        };
        check(true, &|_, _, _| {});
        check(true, &|offer, _, _| offer.apprestrict = app);
        check(false, &|offer, _, _| offer.apprestrict = other);
        check(false, &|offer, _, _| offer.requesterrestrict = other);
        check(false, &|offer, _, _| offer.datasetrestrict = other);
        check(false, &|offer, _, _| offer.workerpoolprice = U256::from(6));
        check(false, &|_, app_order, _| app_order.workerpoolrestrict = other);
        check(false, &|_, app_order, _| app_order.requesterrestrict = other);
        check(false, &|_, app_order, _| app_order.tag = B256::with_last_byte(1));
        check(false, &|_, _, fit| fit.pool = Some(other));
        check(false, &|_, _, fit| fit.tag = B256::with_last_byte(2));
        check(true, &|offer, _, fit| (offer.tag, fit.tag) = (B256::with_last_byte(3), B256::with_last_byte(2)));
        check(true, &|_, _, fit| fit.pool = Some(Address::repeat_byte(9)));
    }
}
