//! Say in a runtime's own words what it is to make: the `config.json` of a bundle (OCI runtime specification, 1.0.2).
//!
//! The file system with all its mounts is there already, `/proc` included, so that it looks as ever; the runtime stacks nothing and
//! mounts nothing but `/dev`, which it would else fill by itself. User, network, IPC, host name and cgroup namespaces are those that
//! it is started in, and the process namespace is one that waits.

use std::path::Path;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use crate::payload::{OOM_SCORE, Program};
use crate::seccomp;
use crate::starter;

/// Name of the file in its folder.
pub(crate) const NAME: &str = "config.json";

/// Where things are.
pub(crate) struct Places<'a> {
    /// The file system.
    pub(crate) root: &'a Path,
    /// Its devices.
    pub(crate) devices: &'a Path,
    /// The process namespace.
    pub(crate) processes: &'a Path,
}

/// The configuration of a container that runs the starter.
pub(crate) fn config(program: &Program, places: &Places<'_>) -> Result<Value, String> {
    let none: [&str; 0] = [];
    let mut capabilities = Map::new();
    for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        capabilities.insert(set.to_owned(), json!(none));
    }
    let rlimits = program.limits().into_iter().filter_map(|(resource, limit)| rlimit(resource, limit));
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "args": [format!("/proc/self/fd/{}", starter::FILE)],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": capabilities,
            "rlimits": rlimits.collect::<Vec<_>>(),
            "noNewPrivileges": true,
            "oomScoreAdj": OOM_SCORE.parse::<i32>().map_err(|error| error.to_string())?,
        },
        "root": {"path": places.root, "readonly": false},
        "mounts": [{"destination": "/dev", "type": "bind", "source": places.devices, "options": ["rbind", "nosuid"]}],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid", "path": places.processes}],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": libc::ENOSYS,
                "architectures": ARCHITECTURES,
                "syscalls": [{"names": seccomp::names().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW"}],
            },
        },
    }))
}

/// Calls of another ABI end the program, but those of x32: the starter's list says of them that there are none.
const ARCHITECTURES: &[&str] =
    if cfg!(target_arch = "x86_64") { &["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"] } else { &["SCMP_ARCH_AARCH64"] };

/// Memory is limited by the starter: some runtimes set the limits of a process while they still work in it.
fn rlimit(resource: Resource, limit: u64) -> Option<Value> {
    if resource == Resource::RLIMIT_DATA {
        return None;
    }
    let (_, hard) = getrlimit(resource).ok()?;
    let limit = limit.min(hard);
    Some(json!({"type": format!("{resource:?}"), "hard": limit, "soft": limit}))
}

/// What an engine's own configuration adds: hooks, labels and annotations. Everything else of it would be seen by programs.
pub(crate) fn merge(ours: &mut Value, engine: &Value) {
    const KEPT: [&str; 5] =
        ["/hooks", "/annotations", "/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"];
    for path in KEPT {
        let Some(value) = engine.pointer(path) else { continue };
        let Some((parent, name)) = path.rsplit_once('/') else { continue };
        if let Some(Value::Object(fields)) = ours.pointer_mut(parent) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_engines_configuration_hooks_and_labels_are_kept_and_no_more() {
        let mut ours = json!({"process": {"args": ["a"], "env": []}, "linux": {"namespaces": []}});
        let engine = json!({
            "process": {"args": ["b"], "env": ["X=1"], "apparmorProfile": "profile", "selinuxLabel": "label"},
            "hooks": {"prestart": []},
            "annotations": {"a": "b"},
            "mounts": [{"destination": "/secret"}],
            "linux": {"mountLabel": "mounts", "maskedPaths": ["/proc/kcore"]},
        });
        merge(&mut ours, &engine);
        let expected = json!({
            "process": {"args": ["a"], "env": [], "apparmorProfile": "profile", "selinuxLabel": "label"},
            "linux": {"namespaces": [], "mountLabel": "mounts"},
            "hooks": {"prestart": []},
            "annotations": {"a": "b"},
        });
        assert_eq!(ours, expected);
        let before = ours.clone();
        merge(&mut ours, &json!("no configuration"));
        assert_eq!(ours, before);
    }
}
