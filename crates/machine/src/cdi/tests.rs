//! Descriptions as tools write them, and as nobody should.

use std::fs;
use std::time::{Duration, Instant};

use super::{CDI_BYTES_MAX, CdiDevices, CdiError, CdiLink, CdiMount, CdiNode};
use crate::Places;

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            let path = host.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        host
    }

    fn look(&self) -> CdiDevices {
        CdiDevices::look(&Places { root: self.folder.path().into(), data: "/".into(), architecture: "x86_64" })
    }
}

/// In the form of what `nvidia-ctk cdi generate` writes, shortened.
const NVIDIA: &str = r#"---
cdiVersion: 0.5.0
containerEdits:
  additionalGids:
  - 44
  deviceNodes:
  - path: /dev/nvidiactl
  - path: /dev/nvidia-uvm
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  - EMPTY=
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
    - --link=../libGL.so::/usr/lib/x/libGLX_indirect.so.0
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  - args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu, --folder, /usr/lib/vdpau]
    hookName: createContainer
    path: /usr/bin/nvidia-ctk
    env:
    - NVIDIA_CTK_DEBUG=false
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, disable-device-node-modification]
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.14
    hostPath: /usr/lib64/libcuda.so.550.54.14
    options: [ro, nosuid, nodev, bind]
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      hostPath: /dev/nvidia7
      major: 195
      minor: 7
      permissions: rw
    - path: /dev/dri/renderD128
      permissions: r
  name: "0"
- name: empty
kind: nvidia.com/gpu
"#;

fn node(path: &str) -> CdiNode {
    CdiNode { path: path.to_owned(), host_path: path.to_owned(), numbers: None, read: true, write: true }
}

#[test]
fn a_description_is_read_whole() {
    let json = serde_json::to_string(&super::yaml::read(NVIDIA).unwrap()).unwrap();
    for (file, text) in [("etc/cdi/nvidia.yaml", NVIDIA), ("var/run/cdi/nvidia.json", json.as_str())] {
        let devices = Host::new(&[(file, text)]).look();
        assert_eq!(devices.names().collect::<Vec<_>>(), ["nvidia.com/gpu=0", "nvidia.com/gpu=empty"]);
        let device = devices.device("nvidia.com/gpu=0").unwrap();
        assert_eq!(device.name, "nvidia.com/gpu=0");
        let gpu = CdiNode { host_path: "/dev/nvidia7".into(), numbers: Some((195, 7)), ..node("/dev/nvidia0") };
        let render = CdiNode { write: false, ..node("/dev/dri/renderD128") };
        assert_eq!(device.nodes, [node("/dev/nvidiactl"), node("/dev/nvidia-uvm"), gpu, render]);
        let mount = CdiMount {
            host_path: "/usr/lib64/libcuda.so.550.54.14".into(),
            container_path: "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.14".into(),
            options: ["ro", "nosuid", "nodev", "bind"].map(str::to_owned).into(),
        };
        assert_eq!(device.mounts, [mount]);
        let env = [("NVIDIA_VISIBLE_DEVICES", "void"), ("EMPTY", "")];
        assert_eq!(device.env, env.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let link = |target: &str, path: &str| CdiLink { path: path.to_owned(), target: target.to_owned() };
        let first = link("libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so");
        assert_eq!(device.links, [first, link("../libGL.so", "/usr/lib/x/libGLX_indirect.so.0")]);
        assert_eq!(device.library_folders, ["/usr/lib/x86_64-linux-gnu", "/usr/lib/vdpau"]);
        assert_eq!(device.additional_gids, [44]);
        assert_eq!(devices.device("nvidia.com/gpu=empty").unwrap().nodes.len(), 2);
    }
}

fn one(edits: &str) -> Result<super::CdiDevice, CdiError> {
    let text = format!(r#"{{"kind":"a.com/b","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#);
    Host::new(&[("etc/cdi/a.json", &text)]).look().device("a.com/b=x")
}

#[test]
fn a_hook_that_is_not_known_is_named() {
    for (hook, shown) in [
        (
            r#"{"hookName":"prestart","path":"/usr/bin/evil","args":["evil","create-symlinks","--link","a::b"]}"#,
            "/usr/bin/evil` to be run (`create-symlinks --link a::b`",
        ),
        (
            r#"{"hookName":"x","path":"/usr/bin/nvidia-ctk","args":["nvidia-ctk","hook","dance"]}"#,
            "/usr/bin/nvidia-ctk` to be run (`hook dance`",
        ),
        (r#"{"hookName":"x","path":"/usr/bin/nvidia-cdi-hook"}"#, "/usr/bin/nvidia-cdi-hook` to be run (``"),
        (r#"{"hookName":"x","path":"nvidia-ctk/sh","args":["a","noop"]}"#, "nvidia-ctk/sh` to be run (`noop`"),
    ] {
        let error = one(&format!(r#"{{"hooks":[{hook}]}}"#)).unwrap_err();
        assert!(matches!(error, CdiError::Hook { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("a.com/b=x") && text.contains("/etc/cdi/a.json") && text.contains(shown), "{text}");
    }
}

#[test]
fn what_is_not_given_or_makes_no_sense_is_said() {
    for (edits, shown) in [
        (r#"{"intelRdt":{"closID":"x"}}"#, "intelRdt"),
        (r#"{"netDevices":[{}]}"#, "network devices"),
        (r#"{"deviceNodes":[{"path":"/dev/sda","type":"b"}]}"#, "/dev/sda of type `b`"),
        (r#"{"mounts":[{"hostPath":"none","containerPath":"/x","type":"tmpfs"}]}"#, "type `tmpfs` at /x"),
        (r#"{"mounts":[{"hostPath":"/x"}]}"#, "containerPath is missing"),
        (r#"{"mounts":{"hostPath":"/x"}}"#, "mounts is no list"),
        (r#"{"deviceNodes":[{"hostPath":"/dev/x"}]}"#, "path is missing"),
        (r#"{"deviceNodes":["/dev/x"]}"#, "path is missing"),
        (r#"{"deviceNodes":[{"path":"/dev/x","major":"y"}]}"#, "`y` is no number"),
        (r#"{"deviceNodes":[{"path":"/dev/x","minor":1}]}"#, "no major one"),
        (r#"{"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]}"#, "`rx`"),
        (r#"{"env":["=x"]}"#, "NAME=value"),
        (r#"{"env":["NAME"]}"#, "NAME=value"),
        (r#"{"env":["A=\u0000"]}"#, "NUL"),
        (r#"{"additionalGids":[-1]}"#, "no group's number"),
        (r#"[]"#, "no mapping"),
        (r#"{"hooks":[{"path":"/nvidia-ctk","args":["a","create-symlinks","--link","b"]}]}"#, "target::path"),
    ] {
        let text = one(edits).unwrap_err().to_string();
        assert!(text.contains(shown) && text.contains("a.com/b=x"), "{edits}: {text}");
    }
    let many = vec![r#"{"path":"/dev/null"}"#; 1025].join(",");
    assert!(one(&format!(r#"{{"deviceNodes":[{many}]}}"#)).unwrap_err().to_string().contains("1025 items"));
    assert!(one(&format!(r#"{{"env":["A={}"]}}"#, "x".repeat(5000))).unwrap_err().to_string().contains("5002 bytes"));
}

#[test]
fn of_two_descriptions_the_running_systems_counts_and_equals_cancel_out() {
    let describe = |path: &str| {
        format!(
            r#"{{"kind":"a.com/b","devices":[{{"name":"x","containerEdits":{{"deviceNodes":[{{"path":"{path}"}}]}}}}]}}"#
        )
    };
    let (one, other) = (describe("/dev/one"), describe("/dev/other"));
    let host = Host::new(&[("etc/cdi/z.json", &one), ("var/run/cdi/a.json", &other)]);
    assert_eq!(host.look().device("a.com/b=x").unwrap().nodes, [node("/dev/other")]);
    let host = Host::new(&[("etc/cdi/a.json", &one), ("etc/cdi/b.json", &other)]);
    let devices = host.look();
    assert_eq!(devices.names().count(), 0);
    let error = devices.device("a.com/b=x").unwrap_err();
    let (first, second) = ("/etc/cdi/a.json".to_owned(), "/etc/cdi/b.json".to_owned());
    assert_eq!(error, CdiError::Twice { name: "a.com/b=x".to_owned(), first, second });
    // One kind in two files, each with devices of its own, is as it should be.
    let third = other.replace(r#""x""#, r#""y""#);
    let host = Host::new(&[("etc/cdi/a.json", &one), ("etc/cdi/b.json", &third)]);
    assert_eq!(host.look().names().collect::<Vec<_>>(), ["a.com/b=x", "a.com/b=y"]);
    let error = host.look().device("a.com/b=z").unwrap_err();
    assert_eq!(error, CdiError::Unknown { name: "a.com/b=z".to_owned(), known: 2 });
}

#[test]
fn a_huge_or_deep_description_says_nothing_and_takes_no_time() {
    let large = format!("kind: a.com/b\ndevices:\n{}", "- name: x\n".repeat(1 << 20));
    assert!(large.len() > 10_000_000 && large.len() > CDI_BYTES_MAX);
    let just = format!("kind: a.com/b\ndevices:\n{}", "- name: x\n".repeat(CDI_BYTES_MAX / 10 - 10));
    let bomb: String = (0..30).map(|level| format!("k{level}: &a{level} [*a{0}, *a{0}]\n", level - 1)).collect();
    let (deep, flow) = ("[".repeat(1 << 20), format!("kind: a.com/b\ndevices: {}", "{a: ".repeat(1 << 17)));
    for (text, count) in [(&large, 0), (&just, 0), (&bomb, 0), (&deep, 0), (&flow, 0)] {
        let began = Instant::now();
        for name in ["a.yaml", "a.json"] {
            let host = Host::new(&[(&format!("etc/cdi/{name}"), text)]);
            assert_eq!(host.look().names().count(), count, "{}", &text[..text.len().min(60)]);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{}: {:?}", &text[..30], began.elapsed());
    }
}
