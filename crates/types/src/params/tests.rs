use proptest::prelude::*;

use super::*;
use crate::{Amount, Trust};

fn input(name: &str) -> InputFile {
    InputFile { content: ContentId([7; 32]), name: name.to_owned(), size: 12 }
}

#[test]
fn params_survive_a_round_trip() {
    let params = JobParams {
        iexec_args: join_args(&["--title", "it's a \"test\"", ""]),
        iexec_input_files: vec![input("prix été 100%.csv")],
        gristmill_items: Some(ContentId([1; 32])),
        gristmill_require: "Cpus >= 8 && Arch == \"X86_64\"".to_owned(),
        gristmill_prefer: "Speed".to_owned(),
        gristmill_favor: "cost=3,speed=1".to_owned(),
        gristmill_engine: Reach::SameArchitecture,
        ..JobParams::default()
    };
    let text = params.encode().unwrap();
    assert!(text.contains("\"gristmill_engine\":\"same-architecture\""), "{text}");
    assert_eq!(JobParams::parse(&text).unwrap(), params);
    assert_eq!(split_args(&params.iexec_args).unwrap(), ["--title", "it's a \"test\"", ""]);
}

#[test]
fn malformed_params_are_refused_with_a_reason() {
    for (text, expected) in [
        ("{", "EOF"),
        (r#"{"iexec_argz":"x"}"#, "unknown field"),
        (r#"{"iexec_input_files":["ftp://example.org/x"]}"#, "only content of the store"),
        (r#"{"iexec_input_files":["http://example.org/x"]}"#, "may change"),
        (r#"{"iexec_input_files":["http://example.org"]}"#, "may change"),
        (r#"{"iexec_input_files":["https://example.org/ipfs/Qm00"]}"#, "CID is none of ours"),
        (r#"{"iexec_result_encryption":true}"#, "iexec_result_encryption"),
        (r#"{"iexec_secrets":{"1":"key"}}"#, "no secret is kept"),
        (r#"{"bulk_cid":"bafy"}"#, "bulk_cid"),
        (r#"{"iexec_result_storage_provider":"dropbox"}"#, "use `ipfs`"),
        (r#"{"iexec_input_files":["blake3:00?name=a&size=1"]}"#, "content id is malformed"),
        (r#"{"iexec_args":"'open"}"#, "inside a quote"),
        (r#"{"gristmill_engine":"fast"}"#, "same-architecture"),
    ] {
        let error = JobParams::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let traversal = format!("blake3:{}?name=..&size=1", ContentId([0; 32]));
    assert!(traversal.parse::<InputFile>().unwrap_err().to_string().contains("plain file name"));
}

#[test]
fn a_place_in_a_bag_is_one_that_a_task_has() {
    let of = |index, first, size| {
        let place = BagPlace { index, first, size };
        JobParams { gristmill_place: Some(place), ..JobParams::default() }
    };
    for (index, first, size) in [(0, 0, 1), (11, 0, 12), (5, 4, 2), (BAG_TASKS_MAX - 1, 0, BAG_TASKS_MAX)] {
        let params = of(index, first, size);
        assert_eq!(JobParams::parse(&params.encode().unwrap()).unwrap(), params);
        assert_eq!(params.place_of(0, 0, 1), Ok(BagPlace { index, first, size }));
        assert_eq!(params.place_of(1, 1, 1), Err(ParamsError::PlaceOfMany { tasks: 2 }));
        assert_eq!(params.place_of(0, 0, 3), Err(ParamsError::PlaceOfMany { tasks: 3 }));
    }
    let plain = JobParams::default();
    assert_eq!(plain.place_of(3, 2, 5), Ok(BagPlace { index: 3, first: 2, size: 5 }));
    let impossible = [(0, 0, 0), (12, 0, 12), (3, 4, 2), (6, 4, 2), (BAG_TASKS_MAX, 0, u64::MAX), (1, u64::MAX, 2)];
    for (index, first, size) in impossible {
        let error = of(index, first, size).encode().unwrap_err();
        assert_eq!(error, ParamsError::Place { index, first, size });
        let text = format!(r#"{{"gristmill_place":{{"index":{index},"first":{first},"size":{size}}}}}"#);
        assert_eq!(JobParams::parse(&text).unwrap_err(), error, "{text}");
    }
    let reduce = JobParams { gristmill_after: Some(OrderHash::default()), ..of(0, 0, 1) };
    assert_eq!(reduce.encode().unwrap_err(), ParamsError::PlaceOfReduce);
    for text in
        [r#"{"gristmill_place":{"index":0,"size":1}}"#, r#"{"gristmill_place":{"index":-1,"first":0,"size":1}}"#]
    {
        assert!(JobParams::parse(text).unwrap_err().to_string().contains("not usable"), "{text}");
    }
}

#[test]
fn a_wish_is_short() {
    let params = JobParams { gristmill_require: "x".repeat(WISH_BYTES_MAX + 1), ..JobParams::default() };
    let error = params.encode().unwrap_err().to_string();
    assert!(error.contains("gristmill_require") && error.contains("2049"), "{error}");
}

#[test]
fn what_iexec_clients_write_is_read() {
    let text = r#"{"iexec_args":"a b","iexec_result_encryption":false,"iexec_secrets":{},"iexec_result_storage_provider":"ipfs"}"#;
    let params = JobParams::parse(text).unwrap();
    assert_eq!(params.iexec_args, "a b");
    let content = ContentId([9; 32]);
    for (url, name, size) in [
        (format!("http://127.0.0.1:1/v1/blobs/{content}"), content.to_string(), 0),
        (format!("http://127.0.0.1:1/v1/blobs/{content}?name=a%20b.csv&size=7"), "a b.csv".to_owned(), 7),
        (format!("https://x.example/ipfs/{}", content.to_cid()), content.to_cid(), 0),
        (format!("https://x.example/ipfs/{}/prices.csv#top", content.to_cid()), "prices.csv".to_owned(), 0),
        (format!("https://x.example/ipfs/{}?filename=p.csv", content.to_cid()), "p.csv".to_owned(), 0),
    ] {
        assert_eq!(url.parse::<InputFile>().unwrap(), InputFile { content, name, size }, "{url}");
    }
    let outside = format!("https://x.example/ipfs/{}/a/b", content.to_cid());
    assert!(outside.parse::<InputFile>().unwrap_err().to_string().contains("plain file name"));
}

#[test]
fn plain_text_params_are_the_arguments() {
    assert_eq!(JobParams::parse("a b").unwrap().iexec_args, "a b");
}

#[test]
fn confidence_and_trust_mean_the_same() {
    for (text, trust) in [("80%", 5), ("99 %", 100), ("0.5", 2), ("1", 1), ("0%", 1), ("100", 100), ("99.9%", 1000)] {
        assert_eq!(text.parse::<Trust>().unwrap().value(), trust, "{text}");
    }
    for text in ["100%", "-1", "x", "0", "2.5", "150%"] {
        assert!(text.parse::<Trust>().is_err(), "{text}");
    }
    assert_eq!(Trust::new(5).to_string(), "80 %");
    assert_eq!([1, 2, 3, 5, 9].map(|t| Trust::new(t).replicas_of_newcomers()), [1, 1, 2, 3, 4]);
}

#[test]
fn amounts_print_and_parse() {
    for (text, ngrist) in [("1.5", 1_500_000_000), ("0.000000001 GRIST", 1), ("12 nGRIST", 12), (".5", 500_000_000)] {
        assert_eq!(text.parse::<Amount>().unwrap(), Amount::from_ngrist(ngrist), "{text}");
    }
    for text in ["", ".", "1.0000000001", "-1", "1e3", "1 EUR"] {
        assert!(text.parse::<Amount>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_arguments_survive(args in proptest::collection::vec(any::<String>(), 0..6)) {
        prop_assert_eq!(split_args(&join_args(&args)).unwrap(), args);
    }

    #[test]
    fn any_amount_survives(ngrist in any::<u128>()) {
        let amount = Amount::from_ngrist(ngrist);
        prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,200}") {
        let _ = JobParams::parse(&text);
        let _ = text.parse::<InputFile>();
    }
}
