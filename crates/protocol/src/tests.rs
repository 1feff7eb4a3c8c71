//! Addresses, keys, bounds, and that the checked-in code is of the checked-in proto.

use std::os::unix::fs::PermissionsExt;

use gristmill_types::{Address, TaskId};
use proptest::prelude::*;
use prost::Message;

use crate::{
    check,
    convert::{self, FieldError, LeaseId},
    hello::signing_text,
    tls::{IdentityError, KeyHash, PoolUrl, ServerTls},
    wire::{
        Heartbeat, Hello, Input, Lease, LeaseDeclined, LeaseProgress, PoolFrame, WorkerFrame, pool_frame, worker_frame,
    },
};

#[test]
fn generated_code_is_of_this_proto() {
    let proto = include_bytes!("../proto/gristmill/pool/v1/pool.proto");
    let generated = include_str!("gen/gristmill.pool.v1.rs");
    let recorded = generated.lines().find_map(|line| line.strip_prefix("// proto-blake3: "));
    let hash = blake3::hash(proto).to_string();
    assert_eq!(
        recorded,
        Some(hash.as_str()),
        "pool.proto changed: cargo run --release -p gristmill-protocol --features generate --example generate"
    );
}

#[test]
fn pool_urls_are_printed_as_they_are_read() {
    let key = "0123456789abcdef".repeat(4);
    for authority in ["127.0.0.1:4480", "pool.example:1", "[::1]:65535", "a-b_c.d:80"] {
        let text = format!("grist://{authority}/{key}");
        let url: PoolUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), text);
        assert_eq!(format!("{text}/").parse(), Ok(url), "a slash at the end is forgiven");
    }
    let upper: PoolUrl = format!("grist://h:1/{}", key.to_uppercase()).parse().unwrap();
    assert_eq!(upper.key.to_string(), key);
}

#[test]
fn bad_pool_urls_say_what_is_wrong() {
    let key = "ab".repeat(32);
    let cases = [
        ("".to_owned(), "it does not begin with grist://"),
        (format!("https://h:1/{key}"), "it does not begin with grist://"),
        ("grist://h:1".to_owned(), "the key's hash is missing"),
        (format!("grist://h/{key}"), "the port is missing"),
        (format!("grist://:1/{key}"), "the host is missing"),
        (format!("grist://h:0/{key}"), "the port is not a number between 1 and 65535"),
        (format!("grist://h:65536/{key}"), "the port is not a number between 1 and 65535"),
        (format!("grist://::1:80/{key}"), "an IPv6 address must stand in brackets, as in [::1]:4480"),
        (format!("grist://[h]:80/{key}"), "the host in brackets is not an IPv6 address"),
        (format!("grist://user@h:80/{key}"), "the host holds a character that no host name has"),
        (format!("grist://{}:80/{key}", "h".repeat(254)), "the host is longer than any host name"),
        (format!("grist://h:80/{}", &key[2..]), "the key's hash is not 64 hexadecimal digits"),
        (format!("grist://h:80/x{}", &key[1..]), "the key's hash is not 64 hexadecimal digits"),
    ];
    for (text, reason) in cases {
        let error = text.parse::<PoolUrl>().expect_err(&text);
        assert_eq!(error.reason, reason, "{text}");
        assert!(error.to_string().contains("grist://HOST:PORT/KEYHASH"), "{error}");
    }
}

#[test]
fn a_key_is_made_once_and_kept_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.key");
    let made = ServerTls::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = ServerTls::load_or_create(&path).unwrap();
    assert_eq!(made.key_hash(), loaded.key_hash());
    assert_ne!(made.key_hash(), ServerTls::ephemeral().unwrap().key_hash());
    assert!(!format!("{made:?}").contains("PRIVATE"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = ServerTls::load_or_create(&path).expect_err("others may read the key");
    assert!(matches!(error, IdentityError::File(_)) && error.to_string().contains("chmod 600"), "{error}");

    gristmill_datadir::secret::write(&path, b"not a key").unwrap();
    let error = ServerTls::load_or_create(&path).expect_err("the file holds no key");
    assert!(matches!(error, IdentityError::NotAKey { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"not a key", "the file is left as it was");
}

#[test]
fn ids_are_converted_or_their_field_is_named() {
    assert_eq!(convert::task_id("f", &[7; 32]), Ok(TaskId([7; 32].into())));
    assert_eq!(convert::lease_id("f", &[7; 16]), Ok(LeaseId([7; 16])));
    assert_eq!(convert::address("f", &[7; 20]), Ok(Address::from([7; 20])));
    for length in [0, 19, 21, 32] {
        let field = "hello.worker_address";
        let error = convert::address(field, &vec![0; length]).expect_err("not 20 bytes");
        assert_eq!(error, FieldError::Length { field, expected: 20, got: length });
        assert_eq!(error.to_string(), format!("hello.worker_address has {length} bytes, 20 are needed"));
    }
}

fn hello() -> Hello {
    Hello {
        session_id: vec![],
        last_received: 0,
        new_session_id: vec![1; 16],
        worker_address: vec![2; 20],
        protocol_version: 1,
        engine_profile: "wasm 1".into(),
        slots: 2,
        memory_bytes: 3,
        software_version: "0.1.0".into(),
        unix_ms: 4,
        signature: vec![0; 65],
        gpus: 0,
        network: false,
    }
}

#[test]
fn the_signed_text_holds_every_field_and_the_pool() {
    let key = KeyHash([5; 32]);
    let text = String::from_utf8(signing_text(&hello(), &key)).unwrap();
    let expected = format!(
        "Gristmill worker hello\npool key: {}\nworker: 0x{}\nprotocol: 1\nresume:  at 0\nnew session: {}\n\
         slots: 2\nmemory: 3\ntime: 4\nengine: wasm 1\nsoftware: 0.1.0",
        "05".repeat(32),
        "02".repeat(20),
        "01".repeat(16)
    );
    assert_eq!(text, expected);

    let changes: [fn(&mut Hello); 12] = [
        |hello| hello.session_id = vec![9; 16],
        |hello| hello.last_received = 9,
        |hello| hello.new_session_id = vec![9; 16],
        |hello| hello.worker_address = vec![9; 20],
        |hello| hello.protocol_version = 9,
        |hello| hello.engine_profile = "9".into(),
        |hello| hello.slots = 9,
        |hello| hello.memory_bytes = 9,
        |hello| hello.software_version = "9".into(),
        |hello| hello.unix_ms = 9,
        |hello| hello.gpus = 9,
        |hello| hello.network = true,
    ];
    for change in changes {
        let mut other = hello();
        change(&mut other);
        assert_ne!(signing_text(&other, &key), text.as_bytes(), "{other:?}");
    }
    assert_ne!(signing_text(&hello(), &KeyHash([6; 32])), text.as_bytes());
}

#[test]
fn hellos_out_of_bounds_are_named() {
    assert_eq!(check::worker_body(&worker_frame::Body::Hello(hello())), Ok(()));
    type Case = (&'static str, fn(&mut Hello));
    let cases: [Case; 9] = [
        ("hello.session_id", |hello| hello.session_id = vec![1; 15]),
        ("hello.new_session_id", |hello| hello.new_session_id = vec![]),
        ("hello.worker_address", |hello| hello.worker_address = vec![1; 32]),
        ("hello.signature", |hello| hello.signature = vec![1; 64]),
        ("hello.slots", |hello| hello.slots = 0),
        ("hello.slots", |hello| hello.slots = check::SLOTS_MAX + 1),
        ("hello.gpus", |hello| hello.gpus = check::GPUS_MAX + 1),
        ("hello.engine_profile", |hello| hello.engine_profile = "wasm\nsoftware: forged".into()),
        ("hello.software_version", |hello| hello.software_version = "x".repeat(check::NAME_BYTES_MAX + 1)),
    ];
    for (field, spoil) in cases {
        let mut spoilt = hello();
        spoil(&mut spoilt);
        let error = check::worker_body(&worker_frame::Body::Hello(spoilt)).expect_err(field);
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn leases_out_of_bounds_are_named() {
    let input = |kind| Input { name: "in".into(), cid: vec![1; 32], size: 1, kind };
    let plain = crate::wire::input::Kind::Plain(crate::wire::PlainInput {});
    let lease = |inputs| {
        pool_frame::Body::Lease(Lease {
            lease_id: vec![1; 16],
            task_id: vec![1; 32],
            deal_id: vec![1; 32],
            app_cid: vec![1; 32],
            inputs,
            ..Lease::default()
        })
    };
    assert_eq!(check::pool_body(&lease(vec![input(Some(plain.clone()))])), Ok(()));
    let missing = FieldError::Missing { field: "lease.inputs.kind" };
    assert_eq!(check::pool_body(&lease(vec![input(None)])), Err(missing));
    let many = lease(vec![input(Some(plain)); check::INPUTS_MAX + 1]);
    assert!(matches!(check::pool_body(&many), Err(FieldError::TooMuch { field: "lease.inputs", .. })));
}

#[test]
fn the_largest_heartbeat_fits_a_message() {
    let lease = LeaseProgress { lease_id: vec![1; 16], items_done: u64::MAX, items_total: u64::MAX };
    let heartbeat = Heartbeat { leases: vec![lease; check::HEARTBEAT_LEASES_MAX], unix_ms: u64::MAX };
    let body = worker_frame::Body::Heartbeat(heartbeat);
    assert_eq!(check::worker_body(&body), Ok(()));
    let frame = WorkerFrame { seq: u64::MAX, ack: u64::MAX, body: Some(body) };
    assert!(frame.encoded_len() <= crate::WORKER_MESSAGE_BYTES_MAX, "{}", frame.encoded_len());
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let text = check::shorten("ä".repeat(check::TEXT_BYTES_MAX));
    assert_eq!(text.len(), check::TEXT_BYTES_MAX);
    assert_eq!(check::shorten(format!("x{}", "ä".repeat(check::TEXT_BYTES_MAX))).len(), check::TEXT_BYTES_MAX - 1);
    let body = worker_frame::Body::LeaseDeclined(LeaseDeclined { lease_id: vec![1; 16], reason: 1, text });
    assert_eq!(check::worker_body(&body), Ok(()));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(WorkerFrame { body: Some(body), .. }) = WorkerFrame::decode(bytes.as_slice()) {
            let _ = check::worker_body(&body);
        }
        if let Ok(PoolFrame { body: Some(body), .. }) = PoolFrame::decode(bytes.as_slice()) {
            let _ = check::pool_body(&body);
        }
    }

    #[test]
    fn arbitrary_text_is_no_panic_and_a_url_is_read_back(text in "(grist://)?[a-z0-9:\\[\\]./-]{0,90}") {
        if let Ok(url) = text.parse::<PoolUrl>() {
            prop_assert_eq!(url.to_string().parse(), Ok(url));
        }
    }
}
