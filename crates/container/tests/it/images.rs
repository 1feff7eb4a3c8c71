//! Hostile images, and odd but honest ones: what lies in the places that are mounted on, and how layers are stacked.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gristmill_image::{Digest, Host, LayerStore, Limits, Source};
use gristmill_result::Ending;

use crate::bench::{Bench, give, kinds, probe, tree};

/// A layer with the probe in which somebody laid traps.
fn trapped(bench: &Bench, lay: impl FnOnce(&Path)) -> PathBuf {
    let layer = bench.layer("trapped", &[("bin/probe", &std::fs::read(probe()).unwrap())]);
    lay(&layer);
    give(&layer, bench.user());
    layer
}

/// A folder and a file of the host that whoever runs containers may write: what a mistake would reach.
fn victim(bench: &Bench) -> PathBuf {
    let folder = bench.path("victim");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "precious").unwrap();
    give(&folder, bench.user());
    folder
}

#[test]
fn links_in_the_places_of_mounts_lead_nowhere() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let victim = victim(&bench);
        for target in [
            victim.as_path(),
            Path::new("/etc"),
            Path::new("../../../.."),
            Path::new("/proc/1/root"),
            Path::new("nowhere"),
        ] {
            let layer = trapped(&bench, |layer| {
                for name in ["proc", "dev", "sys", "iexec_in", "iexec_out", "tmp", "work"] {
                    symlink(target, layer.join(name)).unwrap();
                }
            });
            let words = [
                "/bin/probe",
                "list /dev",
                "list /sys",
                "cat /iexec_in/given.txt",
                "write /iexec_out/result right",
                "descriptors",
            ];
            let mut container = bench.container(vec![layer.clone()], words.map(str::to_owned).into());
            container.inputs = vec![bench.input("given.txt", "input\n")];
            let printed = bench.printed(&container);
            let expected = "list /dev: fd full null random shm stderr stdin stdout urandom zero\nlist /sys:\ninput\ndescriptors past 2: 0\n";
            assert_eq!(printed, expected, "{kind:?}: {}", target.display());
            assert_eq!(tree(&container.runs[0].output_dir)["result"], b"right", "{kind:?}: {}", target.display());
            assert_eq!(tree(&victim)["file"], b"precious", "{kind:?}: {}", target.display());
            std::fs::remove_dir_all(layer).unwrap();
        }
    }
}

#[test]
fn links_below_the_places_of_mounts_lead_nowhere() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let victim = victim(&bench);
        let file = victim.join("file");
        let layer = trapped(&bench, |layer| {
            for name in ["dev", "iexec_in", "iexec_out", "sys", "proc/self"] {
                std::fs::create_dir_all(layer.join(name)).unwrap();
            }
            for name in ["null", "zero", "shm", "fd", "stdout", "sda", "random"] {
                symlink(&file, layer.join("dev").join(name)).unwrap();
            }
            symlink(&victim, layer.join("iexec_in/inner")).unwrap();
            symlink(&file, layer.join("iexec_in/given.txt")).unwrap();
            symlink(&file, layer.join("iexec_out/result")).unwrap();
            std::fs::write(layer.join("sys/made-up"), "x").unwrap();
            std::fs::write(layer.join("iexec_in/of-the-image"), "x").unwrap();
            symlink(&file, layer.join("proc/self/exe")).unwrap();
        });
        let words = [
            "/bin/probe",
            "list /dev",
            "list /sys",
            "list /iexec_in",
            "list /iexec_in/inner",
            "cat /iexec_in/given.txt",
            "cat /iexec_in/inner/deep",
            "write /iexec_out/result right",
            "can-write /dev/null",
        ];
        let mut container = bench.container(vec![layer], words.map(str::to_owned).into());
        container.inputs = vec![bench.input("given.txt", "input\n"), bench.input("inner/deep", "deep\n")];
        let printed = bench.printed(&container);
        let expected = "list /dev: fd full null random shm stderr stdin stdout urandom zero\nlist /sys:\nlist /iexec_in: given.txt inner\n\
                        list /iexec_in/inner: deep\ninput\ndeep\nwrite /dev/null: done\n";
        assert_eq!(printed, expected, "{kind:?}");
        assert_eq!(tree(&container.runs[0].output_dir)["result"], b"right", "{kind:?}");
        assert_eq!(tree(&victim)["file"], b"precious", "{kind:?}");
    }
}

/// Folders that images really have, as `debootstrap` and others leave them.
#[test]
fn an_image_that_brings_its_own_devices_runs() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let layer = trapped(&bench, |layer| {
            for name in ["dev/shm", "dev/pts", "proc", "sys", "tmp", "run"] {
                std::fs::create_dir_all(layer.join(name)).unwrap();
            }
            std::fs::write(layer.join("dev/null"), "").unwrap();
            for (name, target) in [
                ("fd", "/proc/self/fd"),
                ("stdin", "/proc/self/fd/0"),
                ("stdout", "/proc/self/fd/1"),
                ("core", "/proc/kcore"),
            ] {
                symlink(target, layer.join("dev").join(name)).unwrap();
            }
        });
        let container = bench.container(
            vec![layer],
            ["/bin/probe", "list /dev", "can-write /dev/shm", "can-write /tmp"].map(str::to_owned).into(),
        );
        let expected = "list /dev: fd full null random shm stderr stdin stdout urandom zero\nwrite /dev/shm: done\nwrite /tmp: done\n";
        assert_eq!(bench.printed(&container), expected, "{kind:?}");
    }
}

/// CVE-2024-21626: a working folder that is a descriptor somebody forgot.
#[test]
fn the_working_folder_is_inside_whatever_it_is_called() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let numbers = (0..24).flat_map(|number| {
            [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}"), format!("link-{number}")]
        });
        let layer = trapped(&bench, |layer| {
            for number in 0..24 {
                symlink(format!("/proc/1/fd/{number}"), layer.join(format!("link-{number}"))).unwrap();
            }
        });
        let more = [
            "/proc/1/cwd",
            "/proc/1/root",
            "/proc/self/cwd",
            "../../..",
            "/proc/1/root/../..",
            "/proc/self/task/1/cwd",
        ];
        let mut entered = 0;
        for folder in numbers.chain(more.map(str::to_owned)) {
            let words = ["/bin/probe", "cwd", "upwards", "read ../../../../../../../../etc/shadow"];
            let mut container = bench.container(vec![layer.clone()], words.map(str::to_owned).into());
            container.working_dir = if folder.starts_with("link") { format!("/{folder}") } else { folder.clone() };
            let finished = bench.finish(&container);
            let files = tree(&container.runs[0].output_dir);
            let printed = String::from_utf8_lossy(files.get("stdout.txt").map_or(&[], Vec::as_slice)).into_owned();
            match finished.runs[0].ending {
                Ending::Exited(0) => {
                    entered += 1;
                    assert!(
                        printed.starts_with("cwd /") && !printed.contains("unreachable"),
                        "{kind:?}: {folder}: {printed}"
                    );
                    assert!(
                        !printed.contains("OUT") && printed.contains("shadow: ENOENT"),
                        "{kind:?}: {folder}: {printed}"
                    );
                }
                // No such folder: the same on each host.
                other => assert!(matches!(other, Ending::Exited(126 | 127)), "{kind:?}: {folder}: {other:?}"),
            }
        }
        assert!(entered > 0, "{kind:?}");
    }
}

/// A /tmp or working folder that leads to what process 1 has open, while it is still being made.
#[test]
fn folders_that_are_made_are_made_inside() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        for number in 0..16 {
            let layer = trapped(&bench, |layer| {
                symlink(format!("/proc/1/fd/{number}"), layer.join("tmp")).unwrap();
                symlink(format!("/proc/1/fd/{number}/made"), layer.join("work")).unwrap();
            });
            let mut container =
                bench.container(vec![layer.clone()], vec!["/bin/probe".to_owned(), "echo hello".to_owned()]);
            container.working_dir = "/work".to_owned();
            std::fs::set_permissions(&container.runs[0].output_dir, std::fs::Permissions::from_mode(0o700)).unwrap();
            bench.finish(&container);
            let mode = std::fs::metadata(&container.runs[0].output_dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{kind:?}: {number}");
            assert!(!container.runs[0].output_dir.join("made").exists(), "{kind:?}: {number}");
            std::fs::remove_dir_all(layer).unwrap();
        }
    }
}

/// CVE-2019-5736: the program is this program, and then overwrites it.
#[test]
fn the_helpers_own_program_is_not_to_be_had() {
    let helper = Path::new(env!("CARGO_BIN_EXE_gristmill-container-child"));
    let before = std::fs::read(helper).unwrap();
    for kind in kinds() {
        let bench = Bench::new(kind);
        let layer = trapped(&bench, |layer| {
            symlink("/proc/self/exe", layer.join("bin/link")).unwrap();
            symlink("/proc/1/exe", layer.join("bin/first")).unwrap();
            for (name, line) in
                [("script", "#!/proc/self/exe x\n"), ("twice", "#!/bin/script\n"), ("other", "#! \t/bin/link\n")]
            {
                std::fs::write(layer.join("bin").join(name), line).unwrap();
                std::fs::set_permissions(layer.join("bin").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        });
        for name in [
            "/proc/self/exe",
            "/bin/link",
            "/bin/first",
            "/proc/1/exe",
            "/bin/script",
            "/bin/twice",
            "/bin/other",
            "/proc/self/task/1/exe",
        ] {
            let container = bench.container(vec![layer.clone()], vec![name.to_owned()]);
            let finished = bench.finish(&container);
            let log = String::from_utf8_lossy(&finished.log).into_owned();
            assert!(
                matches!(finished.runs[0].ending, Ending::Exited(126 | 127)),
                "{kind:?}: {name}: {:?}: {log}",
                finished.runs[0]
            );
            assert!(log.contains("cannot run"), "{kind:?}: {name}: {log}");
        }
        // From the inside it is the probe.
        let lines = bench.lines(&[
            "readlink /proc/self/exe",
            "can-write /proc/self/exe",
            "can-write /proc/1/exe",
            "run /proc/self/exe echo again",
        ]);
        assert_eq!(lines[0], "readlink /proc/self/exe: /bin/probe", "{kind:?}");
        assert_eq!(lines[1..3], ["write /proc/self/exe: ETXTBSY", "write /proc/1/exe: EACCES"], "{kind:?}");
    }
    assert!(std::fs::read(helper).unwrap() == before);
}

/// A tar of these entries: a path that ends in `/` is a folder, text that begins with `->` a link.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, bytes) in entries {
        let link = bytes.strip_prefix(b"->");
        let kind = if link.is_some() {
            b'2'
        } else if path.ends_with('/') {
            b'5'
        } else {
            b'0'
        };
        let body = if link.is_some() { &[][..] } else { bytes };
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, path.as_bytes());
        put(100, b"0000755\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", body.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.unwrap_or(&[]));
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A folder as the image specification describes it, with these layers.
fn layout(folder: &Path, layers: &[Vec<u8>]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.to_string(), "size": bytes.len()})
    };
    let descriptors: Vec<_> = layers.iter().map(|layer| put(layer, "layer.v1.tar")).collect();
    let host = Host::this();
    let config = serde_json::json!({
        "architecture": host.architecture, "os": "linux", "config": {"Entrypoint": ["/bin/probe"]},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| Digest::of(layer).to_string()).collect::<Vec<_>>()},
    });
    let config = put(config.to_string().as_bytes(), "config.v1+json");
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": descriptors});
    let manifest = put(manifest.to_string().as_bytes(), "manifest.v1+json");
    std::fs::write(
        folder.join("index.json"),
        serde_json::json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
    )
    .unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Unpacks a layout as a worker does, and hands it to whoever runs containers.
fn unpacked(bench: &Bench, layers: &[Vec<u8>]) -> Vec<PathBuf> {
    let folder = bench.path("image");
    layout(&folder, layers);
    let mut source = Source::open(&folder).unwrap();
    let image = source.image(&Host::this(), None).unwrap();
    let store = LayerStore::open(&bench.path("store")).unwrap();
    let found = store.unpack(&mut source, &image, Limits::default()).unwrap();
    // The store is closed to others; an ordinary user's worker owns its own.
    give(&bench.path("store"), bench.user());
    found
}

#[test]
fn layers_hide_replace_and_add() {
    let program = std::fs::read(probe()).unwrap();
    for kind in kinds() {
        let bench = Bench::new(kind);
        let layers = unpacked(
            &bench,
            &[
                tar(&[
                    ("bin/probe", &program),
                    ("a/one", b"1"),
                    ("a/two", b"2"),
                    ("b/old", b"old"),
                    ("c/deep/under", b"x"),
                    ("link", b"->a"),
                    ("file", b"a file"),
                ]),
                tar(&[("a/.wh.one", b""), ("b/.wh..wh..opq", b""), ("b/new", b"new"), ("a/two", b"two again")]),
                tar(&[(".wh.c", b""), ("a/one", b"one again"), ("file/", b""), ("file/inner", b"a folder now")]),
                tar(&[(".wh.link", b""), ("c/", b""), ("c/fresh", b"f")]),
            ],
        );
        assert_eq!(layers.len(), 4);
        let words = [
            "/bin/probe",
            "list /a",
            "list /b",
            "list /c",
            "list /link",
            "cat /a/one",
            "cat /a/two",
            "cat /file/inner",
            "remove /a/one",
            "mkdir /a/one",
            "rename /b /moved",
            "list /moved",
            "list /b",
        ];
        let printed = bench.printed(&bench.container(layers, words.map(str::to_owned).into()));
        let expected = "list /a: one two\nlist /b: new\nlist /c: fresh\nlist: ENOENT\none againtwo againa folder now";
        assert!(printed.starts_with(expected), "{kind:?}: {printed}");
        // A folder of a layer may be moved or not, as overlayfs can; programs copy when it says so.
        let rest = &printed[expected.len()..];
        assert!(
            rest == "rename: EXDEV\nlist: ENOENT\nlist /b: new\n" || rest == "list /moved: new\nlist: ENOENT\n",
            "{kind:?}: {rest}"
        );
    }
}

#[test]
fn as_many_layers_as_an_image_may_have_are_stacked() {
    let program = std::fs::read(probe()).unwrap();
    for kind in kinds() {
        let bench = Bench::new(kind);
        let count = gristmill_image::LAYERS_MAX;
        let mut layers = vec![tar(&[("bin/probe", &program), ("top", b"0")])];
        for number in 1..count {
            let (own, top) = (format!("layers/{number}"), number.to_string());
            layers.push(tar(&[(&own, b"x"), ("top", top.as_bytes())]));
        }
        let layers = unpacked(&bench, &layers);
        assert_eq!(layers.len(), count);
        let container =
            bench.container(layers, ["/bin/probe", "cat /top", "echo", "list /layers"].map(str::to_owned).into());
        let printed = bench.printed(&container);
        assert!(printed.starts_with(&format!("{}\nlist /layers: 1 10 100", count - 1)), "{kind:?}: {printed}");
        assert_eq!(printed.split_whitespace().count(), count + 2, "{kind:?}");
    }
}

#[test]
fn what_is_written_is_not_in_the_layers_and_not_in_the_next_run() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let words = ["/bin/probe", "stat /left", "write /left behind", "remove /bin/other", "cat /left", "list /bin"];
        let layer = bench.layer("both", &[("bin/probe", &std::fs::read(probe()).unwrap()), ("bin/other", b"other")]);
        for _ in 0..2 {
            let container = bench.container(vec![layer.clone()], words.map(str::to_owned).into());
            assert_eq!(bench.printed(&container), "stat: ENOENT\nbehindlist /bin: probe\n", "{kind:?}");
        }
        assert!(layer.join("bin/other").exists());
    }
}
