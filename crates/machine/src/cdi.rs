//! Names of devices for containers, from descriptions by the Container Device Interface.
//!
//! Only the names are read: whoever hands a device to a container reads its description whole. Descriptions are JSON, or YAML as the
//! tools that make them write it: one key or list item a line. What is written otherwise is not found.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::places::Places;

/// Folders of descriptions; what a running system makes stands in the second.
const FOLDERS: [&str; 2] = ["etc/cdi", "var/run/cdi"];
/// Descriptions that are read.
const FILES_MAX: usize = 64;
/// Names that are kept.
pub(crate) const DEVICES_MAX: usize = 32;
/// Bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 128;

#[derive(Default, Deserialize)]
struct Description {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
}

/// The devices that are described, as `vendor/class=device`, sorted.
pub(crate) fn look(places: &Places) -> Vec<String> {
    let mut names = BTreeSet::new();
    for folder in FOLDERS {
        let files = places.names(folder);
        let described = files.iter().filter(|name| [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)));
        for file in described.take(FILES_MAX) {
            let Some(text) = places.text(&format!("{folder}/{file}")) else { continue };
            // JSON is YAML too, whatever the file is called.
            let read = if text.starts_with('{') { serde_json::from_str(&text).ok() } else { yaml(&text) };
            let Some(description) = read else { continue };
            let devices = description.devices.iter().map(|device| format!("{}={}", description.kind, device.name));
            names.extend(devices.filter(|name| is_name(name)));
        }
    }
    names.into_iter().take(DEVICES_MAX).collect()
}

/// `vendor/class=device`, of the characters that the interface allows.
fn is_name(name: &str) -> bool {
    let word = |text: &str, others: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        outer(text.chars().next()) && outer(text.chars().last()) && text.chars().all(inner)
    };
    let parts = name.split_once('=').and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    name.len() <= NAME_BYTES_MAX
        && parts
            .is_some_and(|((vendor, class), device)| word(vendor, "-_.") && word(class, "-_") && word(device, "-_.:"))
}

/// The `kind`, and the `name` of each item of `devices`.
fn yaml(text: &str) -> Option<Description> {
    let mut found = Description::default();
    let mut in_devices = false;
    // Where the items of `devices` begin, and where the keys of the present one stand: what is deeper belongs to something else.
    let (mut item_at, mut keys_at) = (None, None);
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') || content == "---" {
            continue;
        }
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let item = content == "-" || content.starts_with("- ");
        if indentation == 0 && !item {
            let (key, value) = content.split_once(':')?;
            in_devices = scalar(key) == "devices";
            (item_at, keys_at) = (None, None);
            if scalar(key) == "kind" {
                found.kind = scalar(value).to_owned();
            }
            continue;
        }
        if !in_devices {
            continue;
        }
        let (mut pair, mut column) = (content, indentation);
        if item && *item_at.get_or_insert(indentation) == indentation {
            pair = content[1..].trim_start();
            column = indentation + content.len() - pair.len();
            // A dash alone: the next line has the first key.
            keys_at = (!pair.is_empty()).then_some(column);
        } else if keys_at.is_none() && item_at.is_some_and(|item_at| column > item_at) {
            keys_at = Some(column);
        }
        if keys_at == Some(column)
            && let Some(("name", value)) = pair.split_once(':').map(|(key, value)| (scalar(key), value))
        {
            found.devices.push(Device { name: scalar(value).to_owned() });
        }
    }
    Some(found)
}

/// A plain or quoted word; a comment behind it is dropped.
fn scalar(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some((inner, _)) = text.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inner;
        }
    }
    text.split(" #").next().unwrap_or_default().trim_end()
}
