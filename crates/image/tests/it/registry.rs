//! Images of registries, honest ones and others.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gristmill_image::{
    Access, Credentials, Digest, Fetched, Host, Image, ImageError, JSON_BYTES_MAX, LayerStore, Limits, Logins,
    OnProgress, Pace, Reference, RegistryError, Source,
};
use serde_json::json;

use crate::build::{INDEX, LAYER_TAR, Made, Tar, gzip, random, zstd};
use crate::server::{Answer, NAME, Server, blob, honest, is_blob};

pub fn base() -> Vec<u8> {
    Tar::default().file("bin/app", b"#!/bin/sh\n").end()
}

/// Of some size, and not to be pressed.
pub fn upper(seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    let bytes: Vec<u8> = (0..300_000).map(|_| random(256) as u8).collect();
    Tar::default().file("data", &bytes).end()
}

pub fn access() -> Access {
    Access { private: true, ..Access::default() }
}

/// All of an image, into `folder`.
pub fn pull(
    reference: &Reference,
    folder: &Path,
    access: &Access,
) -> Result<(Image, Vec<std::path::PathBuf>), ImageError> {
    let mut source = Source::pull(reference, &folder.join("pulled"), access)?;
    let image = source.image(&Host::this(), None)?;
    let layers = LayerStore::open(&folder.join("layers"))?.unpack(&mut source, &image, Limits::default())?;
    Ok((image, layers))
}

/// Why the image `top` is not to be had.
pub fn error_of(server: &Server, top: Digest, access: &Access) -> RegistryError {
    let place = tempfile::tempdir().unwrap();
    match pull(&server.reference(top), place.path(), access) {
        Err(ImageError::Registry(error)) => {
            for entry in fs::read_dir(place.path().join("pulled/blobs/sha256")).unwrap() {
                let path = entry.unwrap().path();
                let found = Digest::of(&fs::read(&path).unwrap()).hex();
                assert_eq!(path.file_name().unwrap().to_str(), Some(found.as_str()), "a lie was kept");
            }
            error
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_comes_by_its_digest_and_stays() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let server = Server::start({
        let made = made.clone();
        move |asked| honest(&made, asked)
    });
    let place = tempfile::tempdir().unwrap();
    let reference = server.reference(top);
    drop(Source::pull(&reference, &place.path().join("pulled"), &access()).unwrap());
    assert_eq!(server.paths(), [format!("/v2/{NAME}/manifests/{top}")], "more was fetched than was needed");

    let (image, layers) = pull(&reference, place.path(), &access()).unwrap();
    assert_eq!(image.digest, top);
    assert_eq!(fs::read(layers[0].join("bin/app")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::metadata(layers[1].join("data")).unwrap().len(), 300_000);
    // Manifest, configuration, two layers, each once.
    assert_eq!(server.asked().len(), 4);
    pull(&reference, place.path(), &access()).unwrap();
    assert_eq!(server.asked().len(), 4, "what is here was asked for again");

    // What came is an image layout like any other, and an image like any other.
    let mut source = Source::open(&place.path().join("pulled")).unwrap();
    assert_eq!(source.image(&Host::this(), None).unwrap(), image);
    let archive = place.path().join("image.tar");
    fs::write(&archive, made.archive()).unwrap();
    assert_eq!(Source::open(&archive).unwrap().image(&Host::this(), None).unwrap(), image);
}

#[test]
fn what_is_unpacked_already_is_not_fetched() {
    let (first, second) = (Made::new(&[base(), upper(1)]), Made::new(&[base(), upper(2)]));
    let place = tempfile::tempdir().unwrap();
    let count = |made: &Made| {
        let server = Server::start({
            let made = made.clone();
            move |asked| honest(&made, asked)
        });
        let top = made.top();
        // Another folder each time: only the unpacked layers are shared.
        let folder = place.path().join(server.address.to_string());
        let mut source = Source::pull(&server.reference(top), &folder, &access()).unwrap();
        let image = source.image(&Host::this(), None).unwrap();
        let store = LayerStore::open(&place.path().join("layers")).unwrap();
        store.unpack(&mut source, &image, Limits::default()).unwrap();
        server.asked().len()
    };
    assert_eq!([count(&first), count(&second), count(&first)], [4, 3, 2]);
}

#[test]
fn the_image_for_this_machine_is_fetched_and_no_other() {
    let mut made = Made::new(&[base()]);
    let layer = made.put(base(), LAYER_TAR);
    let diff_ids = [Digest::of(&base()).to_string()];
    let other = Host { os: "linux".to_owned(), architecture: "riscv64".to_owned() };
    let mut manifests = Vec::new();
    for host in [&other, &Host::this()] {
        let mut manifest = made.manifest(std::slice::from_ref(&layer), &diff_ids, host);
        manifest["platform"] = json!({"os": host.os, "architecture": host.architecture});
        manifests.push(manifest);
    }
    let theirs = manifests[0]["digest"].as_str().unwrap().to_owned();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let index = made.put(index.to_string().into_bytes(), INDEX);
    made.index = json!({"schemaVersion": 2, "manifests": [index]});
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));

    let place = tempfile::tempdir().unwrap();
    let (image, _) = pull(&server.reference(top), place.path(), &access()).unwrap();
    assert_eq!(image.host, Host::this());
    let paths = server.paths();
    assert!(paths.len() == 4 && !paths.iter().any(|path| path.contains(&theirs)), "{paths:?}");
}

#[test]
fn types_of_docker_and_each_compression_are_read() {
    let tars: Vec<Vec<u8>> =
        (0..5).map(|number| Tar::default().file(&format!("file{number}"), &[number; 999]).end()).collect();
    let (oci, docker) = ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar");
    for (layer_types, of_docker) in [([oci, docker], false), ([docker, oci], true)] {
        let mut made = Made { blobs: Default::default(), index: json!(null) };
        let mut layers = Vec::new();
        for (number, tar) in tars.iter().enumerate() {
            let kind = layer_types[number % 2];
            let zstd_end = ["+zstd", ".zstd"][usize::from(kind == docker)];
            layers.push(match number {
                0 => made.put(tar.clone(), kind),
                1 => made.put(gzip(tar), &format!("{docker}.gzip")),
                2 => made.put(gzip(tar), &format!("{oci}+gzip")),
                _ => made.put(zstd(tar), &format!("{kind}{zstd_end}")),
            });
        }
        let diff_ids: Vec<String> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
        made.finish(&layers, &diff_ids, &Host::this());
        if of_docker {
            let mut manifest: serde_json::Value = serde_json::from_slice(&made.blobs[&made.top()]).unwrap();
            let kind = "application/vnd.docker.distribution.manifest.v2+json";
            manifest["mediaType"] = json!(kind);
            manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
            let mut manifest = made.put(manifest.to_string().into_bytes(), kind);
            let host = Host::this();
            manifest["platform"] = json!({"os": host.os, "architecture": host.architecture});
            let list = "application/vnd.docker.distribution.manifest.list.v2+json";
            let index = json!({"schemaVersion": 2, "mediaType": list, "manifests": [manifest]}).to_string();
            made.index = json!({"manifests": [made.put(index.into_bytes(), list)]});
        }
        let top = made.top();
        let server = Server::start(move |asked| honest(&made, asked));
        let place = tempfile::tempdir().unwrap();
        let (_, folders) = pull(&server.reference(top), place.path(), &access()).unwrap();
        for (number, folder) in folders.iter().enumerate() {
            assert_eq!(fs::read(folder.join(format!("file{number}"))).unwrap(), [number as u8; 999]);
        }
        assert_eq!(server.asked().len(), if of_docker { 8 } else { 7 });
    }
}

#[test]
fn who_waits_is_told_how_far_it_is() {
    let large = Tar::default().file("data", &vec![7; 5 << 20]).end();
    let mut made = Made { blobs: Default::default(), index: json!(null) };
    let layer = made.put(large.clone(), LAYER_TAR);
    made.finish(&[layer], &[Digest::of(&large).to_string()], &Host::this());
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress: OnProgress = {
        let told = told.clone();
        Arc::new(move |fetched: Fetched| told.lock().unwrap().push(fetched))
    };
    let place = tempfile::tempdir().unwrap();
    pull(&server.reference(top), place.path(), &Access { progress: Some(progress), ..access() }).unwrap();
    let told = told.lock().unwrap();
    let of_layer: Vec<&Fetched> = told.iter().filter(|fetched| fetched.digest == Digest::of(&large)).collect();
    assert!((5..=8).contains(&of_layer.len()), "{of_layer:?}");
    assert!(of_layer.is_sorted_by(|one, other| one.bytes < other.bytes), "{of_layer:?}");
    let last = of_layer.last().unwrap();
    assert_eq!((last.bytes, last.size), (large.len() as u64, large.len() as u64));
}

#[test]
fn blobs_come_no_quicker_than_they_may() {
    let large = Tar::default().file("data", &vec![7; 5 << 20]).end();
    let mut made = Made { blobs: Default::default(), index: json!(null) };
    let layer = made.put(large.clone(), LAYER_TAR);
    made.finish(&[layer], &[Digest::of(&large).to_string()], &Host::this());
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));
    let came = Arc::new(AtomicU64::new(0));
    let pace: Pace = {
        let came = came.clone();
        // Ten megabytes a second.
        Arc::new(move |bytes| {
            came.fetch_add(bytes, Ordering::Relaxed);
            Duration::from_nanos(bytes * 100)
        })
    };
    let place = tempfile::tempdir().unwrap();
    let started = Instant::now();
    pull(&server.reference(top), place.path(), &Access { pace: Some(pace), ..access() }).unwrap();
    assert!(came.load(Ordering::Relaxed) >= large.len() as u64);
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn a_token_is_fetched_and_fetched_again_when_it_is_old() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let tokens = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let tokens = tokens.clone();
        move |asked| {
            if asked.path.starts_with("/token?") {
                let token = tokens.fetch_add(1, Ordering::SeqCst) + 1;
                return Answer::new(200, json!({"token": format!("t{token}"), "expires_in": 60}).to_string());
            }
            // The first token lets the manifest out and nothing else.
            let wanted = if is_blob(asked) { "Bearer t2" } else { "Bearer t1" };
            if asked.header("authorization") == Some(wanted) {
                return honest(&made, asked);
            }
            let realm = format!("http://{}/token", asked.header("host").unwrap());
            let scope = format!("repository:{NAME}:pull");
            Answer::new(401, "")
                .with("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="us",scope="{scope}""#))
        }
    });
    let place = tempfile::tempdir().unwrap();
    pull(&server.reference(top), place.path(), &access()).unwrap();
    let token_paths: Vec<String> = server.paths().into_iter().filter(|path| path.starts_with("/token")).collect();
    assert_eq!(token_paths, vec![format!("/token?service=us&scope=repository%3Asome%2Fapp%3Apull"); 2]);
    let asked = server.asked();
    let mut for_tokens = asked.iter().filter(|asked| asked.path.starts_with("/token"));
    assert!(for_tokens.all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_login_is_used_and_a_missing_one_is_missed() {
    let made = Made::new(&[base()]);
    let top = made.top();
    // As RFC 7617 writes Aladdin's.
    let basic = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    let known = |server: &Server| {
        let mut logins = Logins::default();
        let (user, password) = ("Aladdin".to_owned(), "open sesame".to_owned());
        logins.insert(&server.address.to_string(), Credentials::Password { user, password });
        Access { logins, ..access() }
    };
    for challenge in ["Basic realm=\"us\"", "Bearer realm=\"http://HOST/token\"", "Digest realm=\"us\"", ""] {
        let made = made.clone();
        let server = Server::start(move |asked| {
            let authorization = asked.header("authorization");
            if asked.path.starts_with("/token") {
                return match authorization {
                    Some(found) if found == basic => Answer::new(200, r#"{"access_token":"t"}"#),
                    _ => Answer::new(401, ""),
                };
            }
            if authorization == Some(basic) || authorization == Some("Bearer t") {
                return honest(&made, asked);
            }
            Answer::new(401, "").with("WWW-Authenticate", challenge.replace("HOST", asked.header("host").unwrap()))
        });
        let error = error_of(&server, top, &access());
        assert!(matches!(error, RegistryError::Login { .. }), "{challenge}: {error}");
        let place = tempfile::tempdir().unwrap();
        let is_let_in = pull(&server.reference(top), place.path(), &known(&server)).is_ok();
        assert_eq!(is_let_in, challenge.starts_with('B'), "{challenge}");
    }
    let server = Server::start(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic"));
    let error = error_of(&server, top, &known(&server));
    assert!(matches!(&error, RegistryError::Login { .. }) && !format!("{error:?}").contains("sesame"), "{error:?}");
    let server = Server::start(|_| {
        Answer::new(401, "").with("WWW-Authenticate", "Bearer realm=\"http://registry.example/token\"")
    });
    assert!(
        matches!(error_of(&server, top, &known(&server)), RegistryError::Plain { .. }),
        "a password would go out in the open"
    );
}

/// What `docker login` has written, with a token that only who gives tokens may see.
#[test]
fn an_identity_token_is_changed_for_a_token() {
    let made = Made::new(&[base()]);
    let top = made.top();
    let server = Server::start(move |asked| match asked.header("authorization") {
        _ if asked.path == "/token" => {
            assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
            let form = "grant_type=refresh_token&service=us&client_id=gristmill&scope=repository%3Asome%2Fapp%3Apull\
                        &refresh_token=open%20sesame";
            if asked.body == form { Answer::new(200, r#"{"access_token":"t"}"#) } else { Answer::new(401, "") }
        }
        Some("Bearer t") => honest(&made, asked),
        _ => {
            let realm = format!("http://{}/token", asked.header("host").unwrap());
            Answer::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\",service=\"us\""))
        }
    });
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("config.json");
    let with = |token: &str| {
        let auths = json!({"auths": {server.address.to_string(): {"auth": "PHRva2VuPjo=", "identitytoken": token}}});
        fs::write(&config, auths.to_string()).unwrap();
        Access { logins: Logins::read(&config).unwrap(), ..access() }
    };
    let error = error_of(&server, top, &with("close sesame"));
    assert!(matches!(error, RegistryError::Login { .. }), "{error}");
    let words = format!("{error} {error:?} {:?}", with("close sesame"));
    assert!(!words.contains("sesame"), "{words}");
    pull(&server.reference(top), place.path(), &with("open sesame")).unwrap();
    fs::write(&config, json!({"credHelpers": {server.address.to_string(): "pass"}}).to_string()).unwrap();
    let error = error_of(&server, top, &Access { logins: Logins::read(&config).unwrap(), ..access() });
    assert!(matches!(&error, RegistryError::Login { .. }) && error.to_string().contains("another program"), "{error}");
}

#[test]
fn a_password_stays_with_the_registry_when_it_sends_us_on() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let content = Server::start({
        let made = made.clone();
        move |asked| honest(&made, asked)
    });
    let elsewhere = content.address;
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some(_) if is_blob(asked) => Answer::moved(format!("http://{elsewhere}{}", asked.path)),
        Some(_) => honest(&made, asked),
        None => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"us\""),
    });
    let mut logins = Logins::default();
    let credentials = Credentials::Password { user: "Aladdin".to_owned(), password: "open sesame".to_owned() };
    logins.insert(&server.address.to_string(), credentials);
    let place = tempfile::tempdir().unwrap();
    pull(&server.reference(top), place.path(), &Access { logins, ..access() }).unwrap();
    assert_eq!(content.asked().len(), 3);
    assert!(content.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_content_server_is_believed_no_more_and_told_no_secret() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let content = {
        let made = made.clone();
        move |asked: &crate::server::Asked| {
            assert!(asked.header("authorization").is_none(), "it was told the token");
            let digest: Digest = asked.path.strip_prefix("/content/").unwrap().parse().unwrap();
            blob(&made.blobs[&digest], asked)
        }
    };
    let plain = Server::start(content.clone());
    let (secure, certificate) = Server::start_tls(content);
    let run = |target: String, access: &Access| {
        let made = made.clone();
        let server = Server::start(move |asked| match asked.header("authorization") {
            None if asked.path.starts_with("/token?") => Answer::new(200, r#"{"token":"t"}"#),
            Some("Bearer t") if is_blob(asked) => {
                Answer::moved(format!("{target}/{}", asked.path.rsplit('/').next().unwrap()))
            }
            Some("Bearer t") => honest(&made, asked),
            _ => {
                let realm = format!("http://{}/token", asked.header("host").unwrap());
                Answer::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\",scope=\"\""))
            }
        });
        let place = tempfile::tempdir().unwrap();
        let pulled = pull(&server.reference(top), place.path(), access).map(|(image, _)| image.layers.len());
        (pulled, server.asked().len())
    };
    assert_eq!(run(format!("http://{}/content", plain.address), &access()).0.unwrap(), 2);
    let tls = format!("https://localhost:{}/content", secure.address.port());
    let trusting = Access { roots: vec![certificate], ..access() };
    assert_eq!(run(tls.clone(), &trusting).0.unwrap(), 2);
    let (unknown, _) = run(tls, &access());
    assert!(matches!(unknown, Err(ImageError::Registry(RegistryError::Unreachable { .. }))), "{unknown:?}");
    let (open, _) = run("http://registry.example/content".to_owned(), &access());
    assert!(matches!(open, Err(ImageError::Registry(RegistryError::Plain { .. }))), "{open:?}");
    // Around in a circle: every path below here is a blob's again.
    let (circle, asked) = run(format!("/v2/{NAME}/blobs"), &access());
    assert!(
        matches!(circle, Err(ImageError::Registry(RegistryError::Answer { .. }))) && asked < 20,
        "{circle:?}, {asked}"
    );
    let (nowhere, _) = run("ht tp://".to_owned(), &access());
    assert!(matches!(nowhere, Err(ImageError::Registry(RegistryError::Answer { .. }))), "{nowhere:?}");
}

/// What has come stays, however often the connection breaks.
#[test]
fn fetching_goes_on_where_it_was_cut() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    for knows_ranges in [true, false] {
        let (cuts, made) = (AtomicUsize::new(0), made.clone());
        let server = Server::start(move |asked| {
            let mut answer = honest(&made, asked);
            if is_blob(asked) && answer.body.len() > 200_000 && (knows_ranges || cuts.load(Ordering::SeqCst) < 2) {
                cuts.fetch_add(1, Ordering::SeqCst);
                answer.cut = Some(100_000);
            }
            if !knows_ranges && is_blob(asked) {
                let mut whole = asked.clone();
                whole.headers.remove("range");
                answer = Answer { cut: answer.cut, ..honest(&made, &whole) };
            }
            answer
        });
        let place = tempfile::tempdir().unwrap();
        let (_, layers) = pull(&server.reference(top), place.path(), &access()).unwrap();
        assert_eq!(fs::metadata(layers[1].join("data")).unwrap().len(), 300_000);
        let ranges: Vec<String> =
            server.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges, ["bytes=100000-", if knows_ranges { "bytes=200000-" } else { "bytes=100000-" }]);
    }
}

#[test]
fn a_beginning_on_the_disk_is_used_if_it_is_one() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let image = {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("image.tar"), made.archive()).unwrap();
        Source::open(&place.path().join("image.tar")).unwrap().image(&Host::this(), None).unwrap()
    };
    let layer = &image.layers[1];
    let bytes = made.blobs[&layer.digest].clone();
    let server = Server::start(move |asked| honest(&made, asked));
    let damaged = [&bytes[..5_000], &[bytes[5_000] ^ 1]].concat();
    let longer = [&bytes[..], b"more"].concat();
    for (beginning, first_range) in
        [(&bytes[..5_000], Some("bytes=5000-")), (&damaged[..], Some("bytes=5001-")), (&longer[..], None)]
    {
        let place = tempfile::tempdir().unwrap();
        let partial = place.path().join("pulled/partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join(layer.digest.hex()), beginning).unwrap();
        let before = server.asked().len();
        pull(&server.reference(top), place.path(), &access()).unwrap();
        let asked = server.asked().split_off(before);
        let wanted: Vec<_> = asked.iter().filter(|asked| asked.path.ends_with(&layer.digest.to_string())).collect();
        assert_eq!(wanted[0].header("range"), first_range);
        assert_eq!(wanted.len(), if beginning == damaged { 2 } else { 1 });
        assert_eq!(fs::read_dir(&partial).unwrap().count(), 0);
        // The same for a blob that has gone bad since: it is fetched anew.
        let kept = place.path().join("pulled/blobs/sha256").join(layer.digest.hex());
        fs::write(&kept, vec![0; bytes.len()]).unwrap();
        fs::remove_dir_all(place.path().join("layers")).unwrap();
        pull(&server.reference(top), place.path(), &access()).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), bytes);
    }
}

#[test]
fn lies_are_found_out() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let lie = |lie: fn(&mut Answer), about_blobs: bool| {
        let made = made.clone();
        Server::start(move |asked| {
            let mut answer = honest(&made, asked);
            if is_blob(asked) == about_blobs {
                lie(&mut answer);
            }
            answer
        })
    };
    let endless: fn(&mut Answer) = |answer| {
        answer.body = vec![7; 64 << 10];
        answer.endless = Some(Duration::ZERO);
    };
    let error = error_of(&lie(|answer| answer.body[9] ^= 1, true), top, &access());
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    let error = error_of(&lie(|answer| answer.body.push(0), true), top, &access());
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    let error = error_of(&lie(|answer| answer.length = Some(u64::MAX / 2), true), top, &access());
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    let error = error_of(&lie(endless, true), top, &access());
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    let error = error_of(&lie(endless, false), top, &access());
    assert!(matches!(error, RegistryError::TooLarge { limit: JSON_BYTES_MAX, .. }), "{error}");
    let error = error_of(&lie(|answer| answer.length = Some(JSON_BYTES_MAX + 1), false), top, &access());
    assert!(matches!(error, RegistryError::TooLarge { limit: JSON_BYTES_MAX, .. }), "{error}");
    let error = error_of(&lie(|answer| answer.body = b"no JSON".to_vec(), false), top, &access());
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    // The right manifest of another image.
    let other = Made::new(&[base(), upper(2)]);
    let server = Server::start(move |asked| {
        if is_blob(asked) { honest(&other, asked) } else { Answer::new(200, other.blobs[&other.top()].clone()) }
    });
    let error = error_of(&server, top, &access());
    assert!(matches!(error, RegistryError::Digest { expected, .. } if expected == top), "{error}");

    let server = lie(|answer| answer.body.push(b' '), false);
    let place = tempfile::tempdir().unwrap();
    let error = Source::pull(&server.reference(top), place.path(), &access()).unwrap_err();
    assert!(matches!(error, ImageError::Registry(RegistryError::Digest { .. })), "{error}");
    assert!(error.is_this_hosts(), "another host may be told the truth");
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    for range in ["bytes 5-9/10", "bytes 0-99999/300000", "something", ""] {
        let made = made.clone();
        let server = Server::start(move |asked| {
            let mut answer = honest(&made, asked);
            if is_blob(asked) && answer.body.len() > 200_000 {
                match asked.header("range") {
                    None => answer.cut = Some(100_000),
                    Some(_) => answer.headers = vec![("Content-Range", range.to_owned())],
                }
            }
            answer
        });
        let error = error_of(&server, top, &access());
        assert!(matches!(error, RegistryError::Answer { .. } | RegistryError::Size { .. }), "{range}: {error}");
    }
}

#[test]
fn nothing_is_asked_for_that_is_too_much() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));
    let error = error_of(&server, top, &Access { bytes_max: 200_000, ..access() });
    assert!(matches!(error, RegistryError::TooLarge { limit: 200_000, .. }), "{error}");
    // Manifest, configuration and the small layer fit.
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_registry_that_says_no_is_quoted_and_one_that_is_busy_is_asked_again() {
    let (made, refused) = (Made::new(&[base()]), AtomicUsize::new(0));
    let top = made.top();
    let server = Server::start(|_| Answer::new(404, ""));
    let error = error_of(&server, top, &access());
    let wanted = format!("{}/{NAME}@{top}", server.address);
    assert!(matches!(&error, RegistryError::NotFound { .. }) && error.to_string().contains(&wanted), "{error}");
    let words = r#"{"errors":[{"code":"DENIED","message":"pay\u001b[2J first"}]}"#;
    let error = error_of(&Server::start(move |_| Answer::new(403, words)), top, &access()).to_string();
    assert!(error.contains("403") && error.contains("DENIED pay") && !error.contains('\u{1b}'), "{error}");
    let endless = Answer { endless: Some(Duration::ZERO), ..Answer::new(403, vec![b'x'; 4096]) };
    let error = error_of(&Server::start(move |_| endless.clone()), top, &access());
    assert!(matches!(error, RegistryError::Refused { status: 403, .. }), "{error}");

    let server = Server::start(move |asked| match refused.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(503, ""),
        1 => Answer::new(429, "").with("Retry-After", "0"),
        // A connection that is closed before a word.
        2 => Answer { cut: Some(0), length: Some(10), ..Answer::new(200, "") },
        _ => honest(&made, asked),
    });
    let place = tempfile::tempdir().unwrap();
    pull(&server.reference(top), place.path(), &access()).unwrap();
    let server = Server::start(|_| Answer::new(500, ""));
    let error = error_of(&server, top, &access());
    assert!(matches!(error, RegistryError::Refused { status: 500, .. }), "{error}");
    assert!((2..=10).contains(&server.asked().len()));
}

#[test]
fn without_a_network_it_says_so() {
    // Nobody listens where somebody did.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reference: Reference = format!("{address}/{NAME}@{}", Digest::of(b"")).parse().unwrap();
    let place = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let error = Source::pull(&reference, place.path(), &access()).unwrap_err();
    assert!(matches!(&error, ImageError::Registry(RegistryError::Unreachable { .. })), "{error}");
    assert!(error.to_string().contains("is there a network") && started.elapsed() < Duration::from_secs(5));
    // Strangers do not make this machine knock at its owner's doors.
    let server = Server::start(|_| Answer::new(200, ""));
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let reference: Reference =
            format!("{host}:{}/{NAME}@{}", server.address.port(), Digest::of(b"")).parse().unwrap();
        let error = Source::pull(&reference, place.path(), &Access::default()).unwrap_err();
        assert!(matches!(&error, ImageError::Registry(RegistryError::Private { .. })), "{host}: {error}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn it_stops_when_told_and_goes_on_another_time() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let slow = Arc::new(AtomicBool::new(true));
    let server = Server::start({
        let slow = slow.clone();
        move |asked| {
            let mut answer = honest(&made, asked);
            if slow.load(Ordering::SeqCst) && is_blob(asked) && answer.body.len() > 200_000 {
                answer.length = None;
                answer.body.truncate(1_000);
                answer.endless = Some(Duration::from_millis(20));
            }
            answer
        }
    });
    let place = tempfile::tempdir().unwrap();
    let stopping = access();
    let stop = stopping.stop.clone();
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(700));
        stop.store(true, Ordering::SeqCst);
        Instant::now()
    });
    let error = pull(&server.reference(top), place.path(), &stopping).unwrap_err();
    let stopped = stopper.join().unwrap();
    assert!(matches!(error, ImageError::Registry(RegistryError::Stopped)), "{error}");
    assert!(stopped.elapsed() < Duration::from_secs(2));
    assert_eq!(fs::read_dir(place.path().join("pulled/partial")).unwrap().count(), 1);

    slow.store(false, Ordering::SeqCst);
    // What came slowly was not the blob's beginning, which is only seen at its end.
    pull(&server.reference(top), place.path(), &access()).unwrap();
}

#[test]
fn several_pull_into_one_folder_and_each_blob_comes_once() {
    let made = Made::new(&[base(), upper(1)]);
    let top = made.top();
    let server = Server::start(move |asked| {
        // So slowly that all want it at the same time.
        thread::sleep(Duration::from_millis(if is_blob(asked) { 300 } else { 0 }));
        honest(&made, asked)
    });
    let place = tempfile::tempdir().unwrap();
    let run = |number: usize| {
        let mut source = Source::pull(&server.reference(top), &place.path().join("pulled"), &access()).unwrap();
        let image = source.image(&Host::this(), None).unwrap();
        let store = LayerStore::open(&place.path().join(format!("layers {number}"))).unwrap();
        store.unpack(&mut source, &image, Limits::default()).unwrap();
    };
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || run(number));
        }
    });
    assert_eq!(server.asked().iter().filter(|asked| is_blob(asked)).count(), 3);
    assert_eq!(fs::read_dir(place.path().join("pulled/partial")).unwrap().count(), 0);
}

/// The crate blocks; whoever calls it from asynchronous code is blocked, no more.
#[test]
fn it_may_be_called_from_asynchronous_code() {
    let made = Made::new(&[base()]);
    let top = made.top();
    let server = Server::start(move |asked| honest(&made, asked));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = tempfile::tempdir().unwrap();
        pull(&server.reference(top), place.path(), &access()).unwrap();
    });
}
