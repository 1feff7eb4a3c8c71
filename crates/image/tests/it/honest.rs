use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use gristmill_image::{Digest, Host, ImageError, LayerStore, Limits, Source};
use serde_json::json;

use crate::build::{INDEX, LAYER_TAR, Made, Place, Tar};

fn base() -> Vec<u8> {
    let app = Tar::default().folder("./", 0o755).folder("bin/", 0o755);
    app.entry("bin/app", tar::EntryType::Regular, "", b"#!/bin/sh\n", 0o4755)
        .link("bin/same", "bin/app")
        .symlink("sbin", "bin")
        .symlink("etc", "/nowhere/at/all")
        .folder("closed", 0o555)
        .file("closed/inside", b"kept")
        .entry("dev/null", tar::EntryType::Char, "", &[], 0o666)
        .file("not/named/before", b"folders come by themselves")
        .end()
}

fn upper() -> Vec<u8> {
    Tar::default()
        .file("bin/.wh.same", b"")
        .file("closed/.wh..wh..opq", b"")
        .file("closed/new", b"alone here")
        .file("bin/app", b"another")
        .end()
}

#[test]
fn an_archive_and_a_layout_unpack_alike() {
    let (place, made) = (Place::new(), Made::new(&[base(), upper()]));
    let (image, layers) = place.unpack(&made.archive()).unwrap();
    assert_eq!(image.command(), ["/bin/app", "--help"]);
    assert_eq!((image.working_dir.as_str(), image.user.as_str(), image.env.len()), ("/work", "", 1));
    assert_eq!(layers.len(), 2);

    let low = &layers[0];
    let app = fs::metadata(low.join("bin/app")).unwrap();
    // No set-user-id, the archive's time, and two names of one file.
    assert_eq!((app.permissions().mode() & 0o7777, app.mtime(), app.nlink()), (0o755, 1_500_000_000, 2));
    assert_eq!(fs::read_link(low.join("sbin")).unwrap().to_str(), Some("bin"));
    assert_eq!(fs::read_link(low.join("etc")).unwrap().to_str(), Some("/nowhere/at/all"));
    assert_eq!(fs::metadata(low.join("closed")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read(low.join("not/named/before")).unwrap(), b"folders come by themselves");
    assert!(!low.join("dev/null").exists(), "a task gets its own devices");

    let high = &layers[1];
    let gone = fs::symlink_metadata(high.join("bin/same")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0, "overlayfs takes this for removed");
    assert!(!high.join("closed/.wh..wh..opq").exists());
    assert_eq!(fs::read(high.join("bin/app")).unwrap(), b"another");

    let other = Place::new();
    made.layout(&other.path("layout"));
    let mut source = Source::open(&other.path("layout")).unwrap();
    let same = source.image(&Host::this(), None).unwrap();
    assert_eq!(same, image);
    let store = LayerStore::open(&other.path("layers")).unwrap();
    let again = store.unpack(&mut source, &same, Limits::default()).unwrap();
    assert_eq!(fs::read(again[0].join("closed/inside")).unwrap(), b"kept");
    place.assert_untouched();
}

#[test]
fn a_layer_is_unpacked_once_for_all_images() {
    let place = Place::new();
    let (_, first) = place.unpack(&Made::new(&[base()]).archive()).unwrap();
    fs::write(first[0].join("a mark"), "").unwrap();
    let (_, second) = place.unpack(&Made::new(&[base(), upper()]).archive()).unwrap();
    assert_eq!(first[0], second[0]);
    assert!(second[0].join("a mark").exists(), "it was unpacked anew");
}

#[test]
fn a_store_has_one_user_and_forgets_what_was_interrupted() {
    let place = Place::new();
    let folder = place.path("layers");
    let store = LayerStore::open(&folder).unwrap();
    assert!(matches!(LayerStore::open(&folder), Err(ImageError::Store(_))));
    fs::create_dir_all(folder.join("unfinished/abc/deep")).unwrap();
    drop(store);
    LayerStore::open(&folder).unwrap();
    assert_eq!(fs::read_dir(folder.join("unfinished")).unwrap().count(), 0);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let place = Place::new();
    let tar = Tar::default()
        .file("a", b"first")
        .file("a", b"second")
        .folder("b", 0o755)
        .file("b/c", b"")
        .file("b", b"no folder any more")
        .symlink("d", "/")
        .folder("d", 0o700)
        .file("d/e", b"in the folder")
        .file(".wh.f", b"")
        .file("f/g", b"removed below, and made anew")
        .end();
    let layer = place.unpack_layer(tar).unwrap();
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"second");
    assert_eq!(fs::read(layer.join("b")).unwrap(), b"no folder any more");
    assert_eq!(fs::read(layer.join("d/e")).unwrap(), b"in the folder");
    assert_eq!(fs::read(layer.join("f/g")).unwrap(), b"removed below, and made anew");
    place.assert_untouched();
}

/// As build tools write several machines and a statement about the build into one file.
#[test]
fn the_image_for_this_machine_is_chosen() {
    let place = Place::new();
    let mut made = Made::new(&[base()]);
    let layer = made.put(base(), LAYER_TAR);
    let diff_ids = [Digest::of(&base()).to_string()];
    let other = Host { os: "linux".to_owned(), architecture: "riscv64".to_owned() };
    let platform = |host: &Host| json!({"os": host.os, "architecture": host.architecture});
    let mut mine = made.manifest(std::slice::from_ref(&layer), &diff_ids, &Host::this());
    mine["platform"] = platform(&Host::this());
    let mut theirs = made.manifest(&[layer], &diff_ids, &other);
    theirs["platform"] = platform(&other);
    let mut statement = mine.clone();
    statement["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = json!({"schemaVersion": 2, "manifests": [statement, theirs, mine]});
    let mut inner = made.put(inner.to_string().into_bytes(), INDEX);
    inner["annotations"] = json!({"org.opencontainers.image.ref.name": "vina"});
    made.index = json!({"schemaVersion": 2, "manifests": [inner]});
    fs::write(place.path("image.tar"), made.archive()).unwrap();
    let mut source = Source::open(&place.path("image.tar")).unwrap();
    for name in [None, Some("vina")] {
        let image = source.image(&Host::this(), name).unwrap();
        assert_eq!(image.host, Host::this());
    }
    assert_eq!(source.image(&other, None).unwrap().host, other);
    let error = source.image(&Host::this(), Some("blast")).unwrap_err();
    assert!(matches!(&error, ImageError::NoSuchName { names, .. } if *names == ["vina"]), "{error}");
    let none = Host { os: "plan9".to_owned(), architecture: "mips".to_owned() };
    let error = source.image(&none, None).unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains("plan9/mips"), "{error}");
}
