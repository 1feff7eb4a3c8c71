use alloy_primitives::Bytes;
use gristmill_types::{RequestOrder, WorkerpoolOrder};

use super::*;
use crate::book::{Source, Status};
use crate::order::Order;

fn fields(pairs: &[(&str, String)]) -> Fields {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn pool_order(change: impl Fn(&mut WorkerpoolOrder)) -> Entry {
    let mut order = WorkerpoolOrder {
        workerpool: Address::repeat_byte(1),
        workerpoolprice: U256::from(5),
        volume: U256::from(10),
        tag: B256::with_last_byte(9),
        category: U256::from(2),
        trust: U256::from(5),
        apprestrict: Address::ZERO,
        datasetrestrict: Address::ZERO,
        requesterrestrict: Address::ZERO,
        salt: B256::ZERO,
    };
    change(&mut order);
    entry(Order::Workerpool(order))
}

fn entry(order: Order) -> Entry {
    Entry {
        order,
        sign: Bytes::new(),
        signer: Address::repeat_byte(7),
        remaining: U256::from(3),
        status: Status::Open,
        source: Source::Published,
        published_ms: 0,
    }
}

#[test]
fn each_filter_lets_through_what_it_should() {
    let (app, other) = (Address::repeat_byte(0xa), Address::repeat_byte(0xb));
    let plain = pool_order(|_| {});
    let mine = pool_order(|order| order.apprestrict = app);
    let show =
        |entry: &Entry, pairs: &[(&str, String)]| Filter::read(Kind::Workerpool, &fields(pairs)).unwrap().shows(entry);
    let tag = |byte| B256::with_last_byte(byte).to_string();
    for (pairs, plain_shown, mine_shown) in [
        (vec![], true, false),
        (vec![("app", app.to_string())], true, true),
        (vec![("app", other.to_string())], true, false),
        (vec![("app", "any".to_owned())], true, true),
        (vec![("app", app.to_string()), ("isAppStrict", "true".to_owned())], false, true),
        (vec![("app", app.to_string()), ("isAppStrict", "false".to_owned())], true, true),
        (vec![("workerpool", Address::repeat_byte(1).to_string())], true, false),
        (vec![("workerpool", other.to_string())], false, false),
        (vec![("workerpoolOwner", Address::repeat_byte(7).to_string())], true, false),
        (vec![("workerpoolOwner", other.to_string())], false, false),
        (vec![("category", "2".to_owned())], true, false),
        (vec![("category", "1".to_owned())], false, false),
        (vec![("minTrust", "5".to_owned())], true, false),
        (vec![("minTrust", "6".to_owned())], false, false),
        (vec![("minVolume", "3".to_owned())], true, false),
        (vec![("minVolume", "4".to_owned())], false, false),
        (vec![("minTag", tag(9))], true, false),
        (vec![("minTag", tag(0))], true, false),
        (vec![("minTag", tag(2))], false, false),
        (vec![("maxTag", tag(0xf))], true, false),
        (vec![("maxTag", tag(1))], false, false),
    ] {
        assert_eq!((show(&plain, &pairs), show(&mine, &pairs)), (plain_shown, mine_shown), "{pairs:?}");
    }
}

#[test]
fn requests_are_listed_with_the_app_they_name() {
    let request = RequestOrder {
        app: Address::repeat_byte(1),
        appmaxprice: U256::ZERO,
        dataset: Address::ZERO,
        datasetmaxprice: U256::ZERO,
        workerpool: Address::ZERO,
        workerpoolmaxprice: U256::ZERO,
        requester: Address::repeat_byte(7),
        volume: U256::from(1),
        tag: B256::ZERO,
        category: U256::ZERO,
        trust: U256::from(1),
        beneficiary: Address::repeat_byte(8),
        callback: Address::ZERO,
        params: String::new(),
        salt: B256::ZERO,
    };
    let request = entry(Order::Request(request));
    for (pairs, shown) in [
        (vec![("category", "0".to_owned())], true),
        (vec![("requester", Address::repeat_byte(7).to_string())], true),
        (vec![("requester", Address::repeat_byte(9).to_string())], false),
        (vec![("beneficiary", Address::repeat_byte(9).to_string())], false),
        (vec![("app", Address::repeat_byte(1).to_string())], true),
        (vec![("app", Address::repeat_byte(2).to_string())], false),
        (vec![("maxTrust", "1".to_owned())], true),
        (vec![("maxTrust", "0".to_owned())], false),
    ] {
        assert_eq!(Filter::read(Kind::Request, &fields(&pairs)).unwrap().shows(&request), shown, "{pairs:?}");
    }
    assert!(!Filter::read(Kind::App, &Fields::new()).unwrap().shows(&request));
}

#[test]
fn what_cannot_be_read_is_named() {
    for (field, text, expected) in [
        ("app", "0x12", "`app` is an address or `any`, not `0x12`"),
        ("minTag", "tee", "`minTag` is 32 bytes"),
        ("minVolume", "-1", "`minVolume` is a whole number"),
        ("pageSize", "ten", "`pageSize` is a whole number"),
    ] {
        let error = Filter::read(Kind::Workerpool, &fields(&[(field, text.to_owned())])).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let huge = [("pageIndex", U256::MAX.to_string()), ("pageSize", "1000000".to_owned())];
    let filter = Filter::read(Kind::App, &fields(&huge)).unwrap();
    assert_eq!((filter.page, filter.page_size), (usize::MAX, PAGE_SIZE_MAX));
}
