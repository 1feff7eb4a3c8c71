//! What is written is what is read back.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gristmill_image::{Host, ImageError, LayerStore, Limits, PackedLayer, Run, Source, Times, Writer};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

/// A name that does not fit the header of a tar entry.
const LONG: &str =
    "a name of more than a hundred bytes, which a tar entry's header has no room for, so that it is written twice";

fn put(folder: &Path, name: &str, content: &[u8], mode: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

/// `backwards`: made in another order, at another time.
fn lower(folder: &Path, backwards: bool) {
    let names = ["bin/app", "etc/b", "etc/a", "z", LONG];
    let mut order: Vec<&str> = names.to_vec();
    if backwards {
        order.reverse();
    }
    for name in order {
        put(folder, name, name.as_bytes(), if name == "bin/app" { 0o755 } else { 0o640 });
    }
    fs::create_dir(folder.join("closed")).unwrap();
    put(folder, "closed/inside", &vec![7; 300_000], 0o444);
    fs::set_permissions(folder.join("closed"), Permissions::from_mode(0o711)).unwrap();
    fs::hard_link(folder.join("etc/a"), folder.join("etc/same")).unwrap();
    symlink("/nowhere/at/all", folder.join("lost")).unwrap();
    mknodat(CWD, folder.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(if backwards { 1_600_000_000 } else { 1_500_000_000 });
    File::open(folder.join("z")).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
}

/// As overlayfs leaves it when it is mounted by somebody else than root.
fn upper(folder: &Path) {
    put(folder, "etc/new", b"alone here", 0o644);
    setxattr(folder.join("etc"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    put(folder, "closed/more", b"more", 0o644);
    mknodat(CWD, folder.join("closed/inside"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn run() -> Run {
    Run {
        entrypoint: vec!["/bin/app".to_owned(), "--all".to_owned()],
        cmd: vec!["--help".to_owned()],
        env: vec!["LC_ALL=C".to_owned()],
        working_dir: "/etc".to_owned(),
    }
}

fn fresh(place: &Path, name: &str) -> PathBuf {
    let path = place.join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn pack(folder: &Path, times: Times) -> PackedLayer {
    PackedLayer::of_folder(folder, times, folder.parent().unwrap()).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let place = tempfile::tempdir().unwrap();
    let (low, high) = (fresh(place.path(), "low"), fresh(place.path(), "high"));
    lower(&low, false);
    upper(&high);
    let (low, high) = (pack(&low, Times::Kept), pack(&high, Times::Zero));
    let archive = place.path().join("app.oci.tar");
    let digest = Writer::new(Host::this()).layer(&low).layer(&high).write(&archive, "app:1", &run()).unwrap();

    let mut source = Source::open(&archive).unwrap();
    let image = source.image(&Host::this(), Some("app:1")).unwrap();
    assert_eq!(image.digest, digest);
    assert_eq!(image.command(), ["/bin/app", "--all", "--help"]);
    assert_eq!((image.env.join(" ").as_str(), image.working_dir.as_str()), ("LC_ALL=C", "/etc"));
    let written: Vec<_> = [&low, &high].map(|layer| (layer.digest(), layer.diff_id(), layer.size())).into();
    let read: Vec<_> = image.layers.iter().map(|layer| (layer.digest, layer.diff_id, layer.size)).collect();
    assert_eq!(read, written);

    let store = LayerStore::open(&place.path().join("store")).unwrap();
    let folders = store.unpack(&mut source, &image, Limits::default()).unwrap();
    let low = &folders[0];
    for name in ["bin/app", "etc/b", "z", LONG] {
        assert_eq!(fs::read(low.join(name)).unwrap(), name.as_bytes());
    }
    let mode = |name: &str| fs::metadata(low.join(name)).unwrap().mode() & 0o7777;
    assert_eq!([mode("bin/app"), mode("etc/b"), mode("closed"), mode("closed/inside")], [0o755, 0o640, 0o711, 0o444]);
    assert_eq!(fs::metadata(low.join("z")).unwrap().mtime(), 1_500_000_000);
    let ino = |name: &str| fs::metadata(low.join(name)).unwrap().ino();
    assert_eq!(ino("etc/a"), ino("etc/same"));
    assert_eq!(fs::read_link(low.join("lost")).unwrap().to_str(), Some("/nowhere/at/all"));
    assert!(fs::symlink_metadata(low.join("pipe")).is_err() && fs::symlink_metadata(low.join("socket")).is_err());
}

#[test]
fn the_same_folders_are_the_same_bytes() {
    let write = |backwards| {
        let place = tempfile::tempdir().unwrap();
        let folder = fresh(place.path(), "low");
        lower(&folder, backwards);
        let (layer, archive) = (pack(&folder, Times::Zero), place.path().join("app.oci.tar"));
        // A layer twice is in the archive once.
        Writer::new(Host::this()).layer(&layer).layer(&layer).write(&archive, "app", &run()).unwrap();
        let bytes = fs::read(&archive).unwrap();
        assert!(layer.size() < bytes.len() as u64 && (bytes.len() as u64) < 2 * layer.size() + 16 * 1024);
        assert_ne!(pack(&folder, Times::Kept).diff_id(), layer.diff_id());
        bytes
    };
    assert!(write(false) == write(true));
}

#[test]
fn what_is_removed_stays_removed() {
    let place = tempfile::tempdir().unwrap();
    let folder = fresh(place.path(), "high");
    upper(&folder);
    let layer = pack(&folder, Times::Zero);
    let archive = place.path().join("app.oci.tar");
    Writer::new(Host::this()).layer(&layer).write(&archive, "app", &run()).unwrap();
    let mut source = Source::open(&archive).unwrap();
    let image = source.image(&Host::this(), None).unwrap();
    let store = LayerStore::open(&place.path().join("store")).unwrap();
    let unpacked = store.unpack(&mut source, &image, Limits::default()).unwrap().remove(0);

    let gone = fs::symlink_metadata(unpacked.join("closed/inside")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(!unpacked.join("etc/.wh..wh..opq").exists());
    // The unpacked folder is again one that overlayfs could have made: packed it is the layer that it came from.
    assert_eq!(pack(&unpacked, Times::Zero).diff_id(), layer.diff_id());
    setxattr(unpacked.join("etc"), "user.overlay.opaque", b"n", XattrFlags::empty()).unwrap();
    assert_ne!(pack(&unpacked, Times::Zero).diff_id(), layer.diff_id());
}

#[test]
fn what_a_layer_cannot_say_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = fresh(place.path(), "low");
    put(&folder, "etc/.wh.passwd", b"a file, no whiteout", 0o644);
    let error = PackedLayer::of_folder(&folder, Times::Zero, place.path()).unwrap_err();
    assert!(matches!(&error, ImageError::Malformed { place, .. } if place.ends_with("etc/.wh.passwd")), "{error}");
    fs::remove_file(folder.join("etc/.wh.passwd")).unwrap();
    setxattr(folder.join("etc"), "user.overlay.redirect", b"/elsewhere", XattrFlags::empty()).unwrap();
    let error = PackedLayer::of_folder(&folder, Times::Zero, place.path()).unwrap_err();
    assert!(error.to_string().contains("redirect_dir=off"), "{error}");
    let missing = PackedLayer::of_folder(&place.path().join("nothing"), Times::Zero, place.path()).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
}
