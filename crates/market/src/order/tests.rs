use super::*;

#[test]
fn an_order_survives_the_wire_however_its_numbers_are_written() {
    let app = Address::repeat_byte(0xab);
    for volume in [json!(1_000_000), json!("1000000"), json!("0xf4240")] {
        let zero = Address::ZERO;
        let value = json!({
            "app": app, "appprice": "0", "volume": volume, "tag": B256::with_last_byte(9), "datasetrestrict": zero,
            "workerpoolrestrict": zero, "requesterrestrict": zero, "salt": B256::repeat_byte(1), "sign": "0x1234",
        });
        let (order, sign) = Order::from_json(Kind::App, value).unwrap();
        assert_eq!((order.subject(), order.volume()), (app, U256::from(1_000_000)));
        assert!(order.names_enclave());
        let written = order.to_json(&sign);
        assert_eq!(written["volume"], json!(1_000_000));
        assert_eq!(written["app"], json!(app.to_checksum(None)));
        assert_eq!(Order::from_json(Kind::App, written).unwrap(), (order, sign));
    }
}

#[test]
fn numbers_past_what_javascript_reads_are_text() {
    assert_eq!(number(U256::from((1u64 << 53) - 1)), json!(9_007_199_254_740_991u64));
    assert_eq!(number(U256::from(1u64 << 53)), json!("9007199254740992"));
    assert_eq!(number(U256::MAX), json!(U256::MAX.to_string()));
}

#[test]
fn a_malformed_order_says_what_is_wrong() {
    for (value, expected) in [
        (json!({}), "missing field"),
        (json!({ "app": "0x12" }), "invalid"),
        (json!({ "appprice": -1 }), "whole number"),
        (json!({ "appprice": "ten" }), "is no whole number"),
        (json!([]), "invalid"),
        (json!("x"), "invalid type"),
    ] {
        let error = Order::from_json(Kind::App, value.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{value}: {error}");
    }
}
