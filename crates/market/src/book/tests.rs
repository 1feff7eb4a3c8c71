use alloy_primitives::B256;
use gristmill_types::AppOrder;

use super::*;

fn hash(number: u64) -> OrderHash {
    OrderHash(B256::from(U256::from(number)))
}

fn entry(signer: u8, number: u64, source: Source) -> Entry {
    let order = AppOrder {
        app: Address::repeat_byte(signer),
        appprice: U256::from(number),
        volume: U256::from(10),
        tag: B256::ZERO,
        datasetrestrict: Address::ZERO,
        workerpoolrestrict: Address::ZERO,
        requesterrestrict: Address::ZERO,
        salt: B256::ZERO,
    };
    Entry {
        order: Order::App(order),
        sign: Bytes::from_static(&[1, 2]),
        signer: Address::repeat_byte(signer),
        remaining: U256::from(10),
        status: Status::Open,
        source,
        published_ms: number,
    }
}

fn open(folder: &tempfile::TempDir) -> Book {
    Book::open(Db::open(folder.path().join("market.redb")).unwrap()).unwrap()
}

#[test]
fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, task) = (ContentId([5; 32]), TaskId(B256::repeat_byte(6)));
    let position = Position { next_block: 7, last_hash: B256::repeat_byte(8), genesis: B256::repeat_byte(9) };
    {
        let mut book = open(&folder);
        for number in 1..4 {
            book.put(hash(number), entry(1, number, Source::Published)).unwrap();
        }
        let orders = vec![(hash(1), U256::from(4), Status::Open), (hash(2), U256::ZERO, Status::Filled)];
        let unknown = (hash(99), U256::ZERO, Status::Filled);
        let news = News { orders: [orders, vec![unknown]].concat(), results: vec![(pack, [3; 32], task)] };
        book.apply(news, Some(position)).unwrap();
        book.remove(&[hash(3)]).unwrap();
    }
    let book = open(&folder);
    assert_eq!(book.get(hash(1)).unwrap(), &Entry { remaining: U256::from(4), ..entry(1, 1, Source::Published) });
    assert_eq!(book.get(hash(2)).unwrap().status, Status::Filled);
    assert!(book.get(hash(3)).is_none() && book.get(hash(99)).is_none());
    assert_eq!(book.open_orders().count(), 1);
    assert_eq!(book.position().unwrap(), Some(position));
    assert_eq!(book.task_of(pack, [3; 32]).unwrap(), Some(task));
    assert_eq!(book.task_of(pack, [4; 32]).unwrap(), None);
    assert!(book.is_result(pack).unwrap() && !book.is_result(ContentId([6; 32])).unwrap());
}

#[test]
fn a_signer_has_bounded_room_and_broadcasts_make_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut book = open(&folder);
    let most = ORDERS_PER_SIGNER_MAX as u64;
    for number in 0..most {
        book.put(hash(number), entry(1, number, Source::Published)).unwrap();
    }
    assert!(matches!(book.put(hash(0), entry(1, 0, Source::Published)), Err(PutError::Known)));
    let refused = book.put(hash(most), entry(1, most, Source::Published)).unwrap_err();
    assert!(refused.to_string().contains("unpublish one"), "{refused}");
    book.put(hash(1000), entry(2, 0, Source::Published)).unwrap();
    // One that is used up makes room.
    book.apply(News { orders: vec![(hash(0), U256::ZERO, Status::Filled)], results: vec![] }, None).unwrap();
    book.put(hash(most), entry(1, most, Source::Published)).unwrap();
    let most = BROADCASTS_PER_SIGNER_MAX as u64;
    for number in 0..=most {
        book.put(hash(2000 + number), entry(1, number, Source::Broadcast)).unwrap();
    }
    assert!(book.get(hash(2000)).is_none() && book.get(hash(2000 + most)).is_some());
}

#[test]
fn times_are_written_as_javascript_writes_them() {
    for (unix_ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_827_696_007, "2000-02-29T12:34:56.007Z"),
        (1_795_680_000_000, "2026-11-26T08:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
    ] {
        assert_eq!(iso_time(unix_ms), text);
    }
}
