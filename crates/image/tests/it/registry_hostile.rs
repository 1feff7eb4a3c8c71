//! Registries that lie, dawdle or send us where we must not go, and images that are traps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gristmill_image::{Access, BLOB_BYTES_MAX, Digest, Host, ImageError, PARTS_MAX, RegistryError};
use serde_json::{Value, json};

use crate::build::{INDEX, LAYER_TAR, MANIFEST, Made};
use crate::registry::{access, base, error_of, pull, upper};
use crate::server::{Answer, NAME, Server, honest, is_blob};

/// Pulls what begins with these bytes, from a registry that has the other blobs too. Returns what is wrong and how often it was asked.
fn pull_top(mut made: Made, top: &[u8]) -> (ImageError, usize) {
    let digest = Digest::of(top);
    made.blobs.insert(digest, top.to_vec());
    let server = Server::start(move |asked| honest(&made, asked));
    let place = tempfile::tempdir().unwrap();
    let error = pull(&server.reference(digest), place.path(), &access()).unwrap_err();
    (error, server.asked().len())
}

#[test]
fn hostile_manifests_are_refused() {
    let made = Made::new(&[base()]);
    let good: Value = serde_json::from_slice(&made.blobs[&made.top()]).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        manifest.to_string()
    };
    let index = |manifests: Value| json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let size = made.blobs[&made.top()].len();
    let own = made.top().to_string();
    let tops = [
        String::new(),
        "no JSON".to_owned(),
        "7".to_owned(),
        "[".repeat(100_000),
        format!("{}1{}", "{\"mediaType\":".repeat(50_000), "}".repeat(50_000)),
        json!({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": own}], "history": []}).to_string(),
        json!({"schemaVersion": 2, "mediaType": "application/vnd.example.thing"}).to_string(),
        index(json!([])),
        index(json!({})),
        index(json!([{"mediaType": MANIFEST, "digest": own}])),
        index(json!([{"mediaType": MANIFEST, "digest": own, "size": size + 1}])),
        index(json!([{"mediaType": MANIFEST, "digest": own, "size": u64::MAX}])),
        index(json!([{"mediaType": INDEX, "digest": own, "size": u64::MAX}])),
        index(json!([{"mediaType": MANIFEST, "digest": format!("{own}0"), "size": size}])),
        index(json!([{"mediaType": MANIFEST, "digest": "sha256:../../../../etc/passwd", "size": size}])),
        index(json!([{"mediaType": MANIFEST, "digest": Digest::of(b"nowhere").to_string(), "size": 7}])),
        with(&|manifest| manifest["layers"] = json!(vec![manifest["layers"][0].clone(); 1_000])),
        with(&|manifest| manifest["layers"] = json!([])),
        with(&|manifest| manifest["layers"][0]["size"] = json!(-1)),
        with(&|manifest| manifest["layers"][0]["size"] = json!(1.5)),
        with(&|manifest| manifest["layers"][0]["size"] = json!(0)),
        with(&|manifest| manifest["layers"][0]["size"] = json!(u64::MAX)),
        with(&|manifest| manifest["layers"][0]["size"] = json!(BLOB_BYTES_MAX + 1)),
        with(&|manifest| manifest["layers"][0]["digest"] = json!(format!("sha512:{}", "ab".repeat(64)))),
        with(&|manifest| manifest["layers"][0]["mediaType"] = json!("application/x-executable\u{1b}[2J")),
        with(&|manifest| manifest["layers"][0]["mediaType"] = json!(format!("{LAYER_TAR}+gzip"))),
        with(&|manifest| manifest["layers"][0]["mediaType"] = json!(format!("{LAYER_TAR}+zstd"))),
        with(&|manifest| manifest["config"]["size"] = json!(u64::MAX)),
        with(&|manifest| manifest["config"]["size"] = json!(1)),
        // A layer is no configuration.
        with(&|manifest| manifest["config"] = manifest["layers"][0].clone()),
        with(&|manifest| manifest["config"]["digest"] = json!("../../config")),
    ];
    for top in tops {
        let shown: String = top.chars().take(300).collect();
        let (error, asked) = pull_top(made.clone(), top.as_bytes());
        assert!(asked <= 4, "{shown}: asked {asked} times");
        let words = error.to_string();
        assert!(words.len() < 1_000 && !words.contains('\u{1b}'), "{shown}: {words}");
        // What the registry may have made up, or a bound of this host's, is no verdict on the image.
        let of_registry = matches!(
            error,
            ImageError::Registry(
                RegistryError::NotFound { .. }
                    | RegistryError::Size { .. }
                    | RegistryError::Digest { .. }
                    | RegistryError::TooLarge { .. }
            )
        );
        assert!(of_registry || !error.is_this_hosts(), "{shown}: {error:?}");
    }
    // And the one that they were made of is good.
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));
    pull(&server.reference(top), tempfile::tempdir().unwrap().path(), &access()).unwrap();
}

#[test]
fn indexes_in_indexes_come_to_an_end() {
    let index = |manifests: Value| json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    // One in the other, deep.
    let mut made = Made::new(&[base()]);
    let mut inner = made.index["manifests"][0].clone();
    for _ in 0..10 {
        inner = made.put(index(json!([inner])).into_bytes(), INDEX);
    }
    let top = made.blobs[&inner["digest"].as_str().unwrap().parse().unwrap()].clone();
    let (error, asked) = pull_top(made.clone(), &top);
    assert!(matches!(error, ImageError::TooLarge { .. }) && asked < 10, "{error}, asked {asked} times");
    // Side by side, and each of them empty.
    let many =
        (0..2_000).map(|number| made.put(format!("{}{}", index(json!([])), " ".repeat(number)).into_bytes(), INDEX));
    let top = index(json!(many.collect::<Vec<_>>()));
    let (error, asked) = pull_top(made, top.as_bytes());
    assert!(matches!(error, ImageError::Registry(RegistryError::TooMany { limit: PARTS_MAX })), "{error}");
    assert_eq!(asked as u64, PARTS_MAX);
}

#[test]
fn an_image_for_other_machines_only_is_said_to_be_one() {
    let made = Made::new(&[base()]);
    let mut manifests = Vec::new();
    for (os, architecture) in [("linux", "riscv64"), ("windows", "amd64")] {
        let mut manifest = made.index["manifests"][0].clone();
        manifest["platform"] = json!({"os": os, "architecture": architecture});
        manifests.push(manifest);
    }
    let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let (error, asked) = pull_top(made, top.as_bytes());
    let ImageError::OtherPlatform { has, wanted } = &error else { panic!("{error}") };
    assert_eq!((has.as_str(), wanted), ("linux/riscv64, windows/amd64", &Host::this().to_string()));
    assert!(error.is_this_hosts() && asked == 1, "asked {asked} times");
}

/// Whoever is slow enough is given up, wherever he is slow.
#[test]
fn dawdling_comes_to_an_end() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let trickle = |answer: &mut Answer| {
        answer.body.truncate(1);
        answer.endless = Some(Duration::from_millis(50));
    };
    for (what, of_blobs) in [("manifests", false), ("blobs", true)] {
        for silent in [true, false] {
            let made = made.clone();
            let server = Server::start(move |asked| {
                let mut answer = honest(&made, asked);
                match (is_blob(asked) == of_blobs, silent) {
                    (true, true) => thread::sleep(Duration::from_secs(20)),
                    (true, false) => trickle(&mut answer),
                    _ => {}
                }
                answer
            });
            let started = Instant::now();
            let error = error_of(&server, top, &Access { time_max: Duration::from_millis(1_200), ..access() });
            assert!(matches!(error, RegistryError::Slow { .. }), "{what}, silent {silent}: {error}");
            let took = started.elapsed();
            assert!((1_200..4_000).contains(&took.as_millis()), "{what}, silent {silent}: {took:?}");
        }
    }
}

#[test]
fn a_registry_that_breaks_off_each_time_is_given_up() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let server = Server::start(move |asked| {
        let mut answer = honest(&made, asked);
        if is_blob(asked) {
            answer.cut = Some(0);
        }
        answer
    });
    let error = error_of(&server, top, &access());
    let asked = server.asked().len();
    assert!(matches!(error, RegistryError::Cut { .. }) && asked <= 10, "{error}, asked {asked} times");
}

#[test]
fn who_wants_to_be_left_alone_is() {
    let made = Made::new(&[base()]);
    let (top, refused) = (made.top(), AtomicBool::new(false));
    let server = Server::start(move |asked| match refused.swap(true, Ordering::SeqCst) {
        false => Answer::new(429, "").with("Retry-After", "2"),
        true => honest(&made, asked),
    });
    let started = Instant::now();
    pull(&server.reference(top), tempfile::tempdir().unwrap().path(), &access()).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2));
    // But not longer than we have.
    let server = Server::start(|_| Answer::new(429, "").with("Retry-After", "86400"));
    let error = error_of(&server, top, &Access { time_max: Duration::from_secs(1), ..access() });
    assert!(matches!(error, RegistryError::Slow { .. }) && server.asked().len() == 1, "{error}");
}

/// A registry on this machine may send us to others on this machine. Into the owner's network, or to where clouds tell machines their
/// secrets, it may not: not by a redirection, and not by naming who gives tokens.
#[test]
fn nobody_is_sent_into_a_network_where_the_registry_is_not() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    for host in [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.5.5:8443",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "0.0.0.0",
    ] {
        for by_realm in [true, false] {
            let made = made.clone();
            let server = Server::start(move |asked| match (is_blob(asked), by_realm) {
                (false, _) => honest(&made, asked),
                (true, false) => Answer::moved(format!("https://{host}{}", asked.path)),
                (true, true) => {
                    let realm = format!("Bearer realm=\"https://{host}/token\",scope=\"repository:{NAME}:pull\"");
                    Answer::new(401, "").with("WWW-Authenticate", realm)
                }
            });
            let started = Instant::now();
            let error = error_of(&server, top, &access());
            assert!(matches!(error, RegistryError::Private { .. }), "{host}: {error}");
            assert!(started.elapsed() < Duration::from_secs(2), "{host} was asked");
        }
    }
}
