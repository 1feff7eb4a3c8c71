//! What a container is to be given, as a description says it.

use serde_json::Value;

use super::CdiError;

/// Items of one list that are read.
const ITEMS_MAX: usize = 1_024;
/// Bytes of a text.
const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a hook that an error repeats.
const SHOWN_BYTES_MAX: usize = 200;
/// Programs whose hooks are known.
const PROGRAMS: [&str; 2] = ["nvidia-cdi-hook", "nvidia-ctk"];
/// Hooks that are known. The last four need nothing: folders are open, the container's own libraries are left to it, and no program
/// in it makes device files.
pub(super) const HOOKS: [&str; 7] = [
    "create-symlinks",
    "update-ldcache",
    "create-soname-symlinks",
    "chmod",
    "enable-cuda-compat",
    "disable-device-node-modification",
    "noop",
];

/// What a container is to be given for a device: what the description says of all its devices, and of this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CdiDevice {
    /// `vendor/class=device`.
    pub name: String,
    /// Device files.
    pub nodes: Vec<CdiNode>,
    /// Files and folders of the host.
    pub mounts: Vec<CdiMount>,
    /// Variables of the environment.
    pub env: Vec<(String, String)>,
    /// Symbolic links, from hooks that make some.
    pub links: Vec<CdiLink>,
    /// Folders whose libraries are to be found by name, from hooks that see to that.
    pub library_folders: Vec<String>,
    /// Groups that may use the device files.
    pub additional_gids: Vec<u32>,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiNode {
    /// In the container.
    pub path: String,
    /// On the host.
    pub host_path: String,
    /// Major and minor number, where the description has them.
    pub numbers: Option<(u32, u32)>,
    /// Whether it is to be read.
    pub read: bool,
    /// Whether it is to be written.
    pub write: bool,
}

/// A file or folder of the host that the container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiMount {
    /// On the host.
    pub host_path: String,
    /// In the container.
    pub container_path: String,
    /// As mount(8) has them.
    pub options: Vec<String>,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiLink {
    /// Where it is, in the container.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

/// What is wrong, before it is said of which device.
#[derive(Debug)]
pub(super) enum Fault {
    Malformed(String),
    NotGiven(String),
    Hook { program: String, hook: String },
}

impl Fault {
    pub(super) fn of(self, name: &str, file: &str) -> CdiError {
        let (name, file) = (name.to_owned(), file.to_owned());
        match self {
            Self::Malformed(problem) => CdiError::Malformed { name, file, problem },
            Self::NotGiven(what) => CdiError::NotGiven { name, file, what },
            Self::Hook { program, hook } => CdiError::Hook { name, file, program, hook },
        }
    }
}

/// A text, or a number as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Adds what `containerEdits` say.
pub(super) fn add(edits: &Value, device: &mut CdiDevice) -> Result<(), Fault> {
    match edits {
        Value::Null => return Ok(()),
        Value::Object(_) => {}
        _ => return Err(Fault::Malformed("containerEdits is no mapping".to_owned())),
    }
    for (key, what) in [("intelRdt", "a share of the processor's cache (intelRdt)"), ("netDevices", "network devices")]
    {
        if edits.get(key).is_some_and(|value| !value.is_null()) {
            return Err(Fault::NotGiven(what.to_owned()));
        }
    }
    for each in list(edits, "deviceNodes")? {
        device.nodes.push(node(each)?);
    }
    for each in list(edits, "mounts")? {
        device.mounts.push(mount(each)?);
    }
    for each in texts(edits, "env")? {
        let Some((key, value)) = each.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Fault::Malformed(format!("env: `{each}` is not NAME=value")));
        };
        device.env.push((key.to_owned(), value.to_owned()));
    }
    for each in list(edits, "additionalGids")?.iter().chain(list(edits, "additionalGIDs")?) {
        let gid = text(each).and_then(|text| text.parse().ok());
        device.additional_gids.push(gid.ok_or_else(|| Fault::Malformed(format!("{each} is no group's number")))?);
    }
    list(edits, "hooks")?.iter().try_for_each(|each| hook(each, device))
}

fn list<'a>(from: &'a Value, key: &str) -> Result<&'a [Value], Fault> {
    match from.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= ITEMS_MAX => Ok(items),
        Some(Value::Array(items)) => {
            Err(Fault::Malformed(format!("{key} has {} items; {ITEMS_MAX} are read", items.len())))
        }
        Some(_) => Err(Fault::Malformed(format!("{key} is no list"))),
    }
}

fn texts(from: &Value, key: &str) -> Result<Vec<String>, Fault> {
    list(from, key)?.iter().map(|item| bounded(item, key)).collect()
}

fn bounded(value: &Value, key: &str) -> Result<String, Fault> {
    match text(value) {
        Some(text) if text.len() > TEXT_BYTES_MAX => {
            Err(Fault::Malformed(format!("{key} has {} bytes; {TEXT_BYTES_MAX} are allowed", text.len())))
        }
        Some(text) if text.contains('\0') => Err(Fault::Malformed(format!("{key} contains a NUL"))),
        Some(text) => Ok(text),
        None => Err(Fault::Malformed(format!("{key} is no text"))),
    }
}

fn wanted(from: &Value, key: &str) -> Result<String, Fault> {
    match optional(from, key)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Fault::Malformed(format!("{key} is missing"))),
    }
}

fn optional(from: &Value, key: &str) -> Result<Option<String>, Fault> {
    from.get(key).filter(|value| !value.is_null()).map(|value| bounded(value, key)).transpose()
}

fn node(from: &Value) -> Result<CdiNode, Fault> {
    let path = wanted(from, "path")?;
    if let Some(kind) = optional(from, "type")?
        && !matches!(kind.as_str(), "" | "c" | "u")
    {
        return Err(Fault::NotGiven(format!("{path} of type `{kind}`")));
    }
    let number = |key| match optional(from, key)? {
        None => Ok(None),
        Some(text) => text
            .parse::<u32>()
            .map(Some)
            .map_err(|_| Fault::Malformed(format!("{key} of {path}: `{text}` is no number"))),
    };
    let numbers = match (number("major")?, number("minor")?) {
        // As who writes zeros where nothing is known.
        (Some(0), Some(0) | None) | (None, Some(0) | None) => None,
        (Some(major), minor) => Some((major, minor.unwrap_or(0))),
        (None, Some(_)) => return Err(Fault::Malformed(format!("{path} has a minor number and no major one"))),
    };
    let permissions =
        optional(from, "permissions")?.filter(|text| !text.is_empty()).unwrap_or_else(|| "rwm".to_owned());
    if !permissions.chars().all(|letter| "rwm".contains(letter)) {
        return Err(Fault::Malformed(format!("permissions of {path}: `{permissions}` is not of r, w and m")));
    }
    Ok(CdiNode {
        host_path: optional(from, "hostPath")?.filter(|host| !host.is_empty()).unwrap_or_else(|| path.clone()),
        path,
        numbers,
        read: permissions.contains('r'),
        write: permissions.contains('w'),
    })
}

fn mount(from: &Value) -> Result<CdiMount, Fault> {
    let container_path = wanted(from, "containerPath")?;
    let options = texts(from, "options")?;
    if let Some(kind) = optional(from, "type")?
        && !matches!(kind.as_str(), "" | "bind" | "none")
    {
        return Err(Fault::NotGiven(format!("a mount of type `{kind}` at {container_path}")));
    }
    Ok(CdiMount { host_path: wanted(from, "hostPath")?, container_path, options })
}

/// Does in words what a hook of NVIDIA's would do; no other is known.
fn hook(from: &Value, device: &mut CdiDevice) -> Result<(), Fault> {
    let program = wanted(from, "path")?;
    let args = texts(from, "args")?;
    let unknown = || {
        let mut hook = args.get(1..).unwrap_or_default().join(" ");
        hook.truncate(hook.floor_char_boundary(SHOWN_BYTES_MAX));
        Fault::Hook { program: program.clone(), hook }
    };
    let file = program.rsplit('/').next().unwrap_or_default();
    let mut words = args.iter().map(String::as_str).skip(1).peekable();
    // One program has them directly, the other as `hook create-symlinks`.
    words.next_if_eq(&"hook");
    let Some(name) = words.next().filter(|name| PROGRAMS.contains(&file) && HOOKS.contains(name)) else {
        return Err(unknown());
    };
    for (flag, value) in flags(words) {
        match (name, flag) {
            ("create-symlinks", "--link") => {
                let Some((target, path)) = value.split_once("::") else {
                    return Err(Fault::Malformed(format!("the link `{value}` is not target::path")));
                };
                device.links.push(CdiLink { path: path.to_owned(), target: target.to_owned() });
            }
            ("update-ldcache" | "create-soname-symlinks", "--folder")
                if !device.library_folders.iter().any(|known| known == value) =>
            {
                device.library_folders.push(value.to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// `--flag value` and `--flag=value`; without a value it is empty.
fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let mut words = words.peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => found.push((flag, value)),
            _ if word.starts_with("--") => {
                found.push((word, words.next_if(|next| !next.starts_with("--")).unwrap_or_default()));
            }
            _ => {}
        }
    }
    found
}
