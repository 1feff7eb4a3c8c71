use std::fs;

use gristmill_image::{Digest, Host, ImageError, Source};
use serde_json::{Value, json};

use crate::build::{INDEX, LAYER_GZIP, LAYER_TAR, Made, Place, Tar, gzip, random};

fn small() -> Vec<u8> {
    Tar::default().file("a", b"some content").end()
}

/// Each of these would write, or read, outside of its layer.
#[test]
fn no_entry_leaves_its_layer() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let above = "../../precious";
    let attempts: Vec<(&str, Tar)> = vec![
        ("absolute", Tar::default().file(&format!("{target}/evil"), b"x")),
        ("dots", Tar::default().file("../evil", b"x")),
        ("dots inside", Tar::default().folder("a", 0o755).file("a/../../../precious", b"x")),
        ("through a link", Tar::default().symlink("a", target).file("a/evil", b"x")),
        ("through a relative link", Tar::default().symlink("a", "../..").file("a/precious", b"x")),
        ("through a deep link", Tar::default().symlink("b/a", target).file("b/a/c/evil", b"x")),
        ("a folder through a link", Tar::default().symlink("a", target).folder("a/evil", 0o777)),
        ("a link through a link", Tar::default().symlink("a", target).symlink("a/evil", "x")),
        ("a hard link out", Tar::default().link("a", above)),
        ("a hard link through a link", Tar::default().symlink("b", "../..").link("a", "b/precious")),
        ("a hard link to a link", Tar::default().symlink("b", above).link("a", "b")),
        ("a whiteout through a link", Tar::default().symlink("a", "../..").file("a/.wh.precious", b"")),
        ("an opaque mark through a link", Tar::default().symlink("a", target).file("a/.wh..wh..opq", b"")),
        ("a whiteout of the parent", Tar::default().file("a/.wh...", b"")),
    ];
    for (what, tar) in attempts {
        let place = Place::new();
        let result = place.unpack_layer(tar.end());
        assert!(matches!(result, Err(ImageError::Entry { .. })), "{what}: {result:?}");
        place.assert_untouched();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{what}");
    }
}

/// A file that replaces a link to something replaces the link, and nothing is written to, or set on, what it led to.
#[test]
fn what_a_link_leads_to_is_not_touched() {
    let place = Place::new();
    let before = fs::metadata(place.path("precious")).unwrap();
    let precious = place.path("precious").to_str().unwrap().to_owned();
    let tar = Tar::default()
        .symlink("a", &precious)
        .file("a", b"overwritten")
        .symlink("b", &precious)
        .folder("b", 0o777)
        .symlink("c", &precious)
        .link("c", "a")
        .end();
    let layer = place.unpack_layer(tar).unwrap();
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"overwritten");
    let after = fs::metadata(place.path("precious")).unwrap();
    assert_eq!(before.permissions(), after.permissions());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    place.assert_untouched();
}

#[test]
fn bombs_are_stopped() {
    let place = Place::new();
    // 64 MiB of zeros in 64 kB, where 8 MiB may be.
    let mut made = Made::new(&[]);
    let tar = Tar::default().file("zeros", &vec![0; 64 << 20]).end();
    let layer = made.put(gzip(&tar), LAYER_GZIP);
    made.finish(&[layer], &[Digest::of(&tar).to_string()], &Host::this());
    let result = place.unpack(&made.archive());
    assert!(matches!(result, Err(ImageError::TooLarge { limit, .. }) if limit == 8 << 20), "{result:?}");
    place.assert_untouched();

    // Zeros behind the tar's end, which no entry has.
    let tar = [small(), vec![0; 64 << 20]].concat();
    let layer = made.put(gzip(&tar), LAYER_GZIP);
    made.finish(&[layer], &[Digest::of(&tar).to_string()], &Host::this());
    let result = place.unpack(&made.archive());
    assert!(matches!(result, Err(ImageError::TooLarge { .. })), "{result:?}");

    // A thousand and one files.
    let tar = (0..=1_000).fold(Tar::default(), |tar, number| tar.file(&format!("{number}"), b""));
    let result = place.unpack_layer(tar.end());
    assert!(matches!(result, Err(ImageError::TooLarge { limit: 1_000, .. })), "{result:?}");

    // Two layers that are small enough alone.
    let (first, second) = ("a", "b");
    let half = |name| Tar::default().file(name, &vec![0; 5 << 20]).end();
    let result = place.unpack(&Made::new(&[half(first), half(second)]).archive());
    assert!(matches!(result, Err(ImageError::TooLarge { limit, .. }) if limit == 8 << 20), "{result:?}");

    // A file of 4 GiB that is a hole.
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize[..11].copy_from_slice(b"40000000000");
    gnu.sparse[0].offset[..11].copy_from_slice(b"40000000000");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
    header.set_cksum();
    let result = place.unpack_layer(Tar::default().raw(header.as_bytes()).end());
    assert!(matches!(result, Err(ImageError::TooLarge { .. })), "{result:?}");
    place.assert_untouched();
}

#[test]
fn every_digest_and_size_is_checked() {
    let place = Place::new();
    let tar = small();
    let spoil = |change: &dyn Fn(&mut Made, Digest)| {
        let mut made = Made::new(&[]);
        let layer = made.put(tar.clone(), LAYER_TAR);
        let digest = Digest::of(&tar);
        made.finish(&[layer], &[digest.to_string()], &Host::this());
        change(&mut made, digest);
        let result = place.unpack(&made.archive());
        place.assert_untouched();
        result.unwrap_err()
    };
    let flip = |made: &mut Made, digest: Digest| {
        // In the file's content, where the tar notices nothing.
        made.blobs.get_mut(&digest).unwrap()[512] ^= 1;
    };
    assert!(matches!(spoil(&flip), ImageError::Digest { .. }));
    let cut = |made: &mut Made, digest: Digest| made.blobs.get_mut(&digest).unwrap().truncate(700);
    assert!(matches!(spoil(&cut), ImageError::Size { .. }));
    let lose = |made: &mut Made, digest: Digest| drop(made.blobs.remove(&digest));
    assert!(matches!(spoil(&lose), ImageError::Missing { .. }));
    let other = |made: &mut Made, digest: Digest| {
        let layer = json!({"mediaType": LAYER_TAR, "digest": digest.to_string(), "size": tar.len()});
        made.finish(&[layer], &[Digest::of(b"else").to_string()], &Host::this());
    };
    assert!(matches!(spoil(&other), ImageError::Digest { expected, .. } if expected == Digest::of(b"else")));
    let none = |made: &mut Made, digest: Digest| {
        let layer = json!({"mediaType": LAYER_TAR, "digest": digest.to_string(), "size": tar.len()});
        made.finish(&[layer], &[], &Host::this());
    };
    assert!(matches!(spoil(&none), ImageError::Malformed { .. }));
    let manifest = |made: &mut Made, _: Digest| {
        let digest = made.index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
        made.blobs.get_mut(&digest).unwrap()[1] = b' ';
    };
    assert!(matches!(spoil(&manifest), ImageError::Digest { .. }));
}

#[test]
fn what_is_no_image_says_what_to_do() {
    let place = Place::new();
    let says = |bytes: &[u8], words: &str| {
        let error = place.unpack(bytes).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    says(b"", "no index.json");
    says(b"hello, world, this is no tar at all", "no tar");
    says(&gzip(&Made::new(&[small()]).archive()), "gunzip");
    says(&Tar::default().file("manifest.json", b"[]").end(), "docker save");
    says(&Tar::default().file("index.json", b"{").end(), "index.json");
    says(&Tar::default().file("index.json", br#"{"manifests":[]}"#).end(), "no image");
    assert!(Source::open(&place.path("nothing")).unwrap_err().to_string().contains("nothing"));
    fs::create_dir(place.path("empty")).unwrap();
    assert!(Source::open(&place.path("empty")).unwrap_err().to_string().contains("skopeo"));
    fs::remove_dir(place.path("empty")).unwrap();

    let elsewhere = Host { os: "linux".to_owned(), architecture: "s390x".to_owned() };
    let mut made = Made::new(&[]);
    made.finish(&[], &[], &elsewhere);
    says(&made.archive(), "linux/s390x");
    let other = made.put(small(), "application/vnd.oci.image.layer.v1.tar+xz");
    made.finish(&[other], &[Digest::of(&small()).to_string()], &Host::this());
    says(&made.archive(), "only tar, tar+gzip and tar+zstd");
    let layer = made.put(small(), LAYER_TAR);
    made.finish(&vec![layer; 128], &vec![Digest::of(&small()).to_string(); 128], &Host::this());
    says(&made.archive(), "squash");
    let deep = (0..5).fold(json!({"manifests": []}), |inner, _| {
        let inner = made.put(inner.to_string().into_bytes(), INDEX);
        json!({"manifests": [inner]})
    });
    made.index = deep;
    says(&made.archive(), "indexes inside indexes");
    let (one, two) = (Made::new(&[small()]), Made::new(&[Tar::default().file("b", b"").end()]));
    let mut both = one.clone();
    both.blobs.extend(two.blobs);
    let manifests: Vec<Value> = [one.index, two.index].iter().map(|index| index["manifests"][0].clone()).collect();
    both.index = json!({ "manifests": manifests });
    says(&both.archive(), "name one");
    place.assert_untouched();
}

/// Damaged archives of every kind: an error or an image, and nothing else on the disk.
#[test]
fn damage_is_an_error() {
    let base = Tar::default().folder("a", 0o755).file("a/b", &[7; 2_000]).symlink("c", "a").link("d", "a/b").end();
    let whole = Made::new(&[base.clone(), base]).archive();
    let mut random = random(0x9e37_79b9_7f4a_7c15);
    let (mut refused, place) = (0, Place::new());
    for round in 0..600 {
        let mut damaged = whole.clone();
        if round % 3 == 0 {
            damaged.truncate(random(whole.len()));
        } else {
            for _ in 0..=random(4) {
                let place = random(damaged.len());
                damaged[place] ^= 1 << random(8);
            }
        }
        refused += usize::from(place.unpack(&damaged).is_err());
        place.assert_untouched();
        fs::remove_dir_all(place.path("layers")).ok();
    }
    // The rest was damaged where it does not matter: padding, times of the outer tar.
    assert!(refused > 400, "{refused} of 600 were refused");
}

/// The same for the tar of a layer, whose hashes are right: what a stranger would write.
#[test]
fn strange_layers_are_an_error_or_stay_in_their_folder() {
    let tar = Tar::default()
        .folder("a", 0o755)
        .symlink("l", "..")
        .file("a/b", b"content")
        .link("c", "a/b")
        .file("a/.wh.x", b"")
        .file("l2/precious", b"x")
        .end();
    let mut random = random(0x0dd0_5eed);
    let place = Place::new();
    for _ in 0..600 {
        let mut strange = tar.clone();
        for _ in 0..=random(3) {
            // In a header's name, kind or link name, and its checksum made right again.
            let header = random(5) * 512;
            let offset = if random(4) == 0 { 156 } else { random(8) + if random(2) == 0 { 0 } else { 157 } };
            strange[header + offset] = random(128) as u8;
            let header = &mut strange[header..header + 512];
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let _ = place.unpack_layer(strange);
        place.assert_untouched();
        fs::remove_dir_all(place.path("layers")).ok();
    }
}
