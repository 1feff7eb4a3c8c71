//! Keep the house in order: arrows point downward, rooms are named, files and functions do not grow past bounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::step::command;

/// The crates from the bottom up. A crate may depend on crates of lower rows, and on the listed ones of its own row.
const LAYERS: [&[(&str, &[&str])]; 7] = [
    &[("types", &[])],
    &[
        ("result", &[]),
        ("session", &[]),
        ("owner", &[]),
        ("classad", &[]),
        ("poco", &[]),
        ("credibility", &["poco"]),
        ("scheduler", &["poco", "credibility", "classad"]),
    ],
    &[("sim", &[])],
    &[
        ("datadir", &[]),
        ("wallet", &["datadir"]),
        ("store", &["datadir"]),
        ("protocol", &["datadir", "wallet"]),
        ("sandbox", &[]),
        ("image", &["datadir"]),
        ("container", &["sandbox", "image"]),
        ("machine", &[]),
        ("evm", &["datadir"]),
        ("hub", &["wallet", "datadir", "evm"]),
    ],
    &[("node", &[]), ("pool", &[]), ("worker", &[]), ("requester", &[]), ("market", &[])],
    &[("network", &[])],
    &[("cli", &[]), ("xtask", &[])],
];

/// Each heavy dependency has one home; axum has two, the crates that serve HTTP for others to use.
const HOMES: [(&str, &[&str]); 10] = [
    ("revm", &["evm"]),
    ("alloy-evm", &["evm"]),
    ("wasmtime", &["sandbox"]),
    ("wasmparser", &["sandbox"]),
    ("wasm-encoder", &["sandbox"]),
    ("tonic", &["protocol"]),
    ("tonic-prost", &["protocol"]),
    ("prost", &["protocol"]),
    ("redb", &["datadir"]),
    ("axum", &["store", "market"]),
];

/// Lines of a source file, tests and generated code aside.
const FILE_LINES_MAX: usize = 1000;
/// Lines of a function before it needs an entry in the ratchet.
const FUNCTION_LINES_MAX: usize = 70;
const RATCHET: &str = "xtask/ratchet.json";

/// All checks.
pub fn check() -> Result<()> {
    let mut faults = layer_faults()?;
    faults.extend(room_faults()?);
    faults.extend(size_faults()?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "))
}

fn short(name: &str) -> &str {
    name.strip_prefix("gristmill-").unwrap_or(name)
}

fn layer_of(name: &str) -> Option<(usize, &'static [&'static str])> {
    LAYERS
        .iter()
        .enumerate()
        .find_map(|(height, row)| row.iter().find(|(room, _)| *room == name).map(|(_, same_row)| (height, *same_row)))
}

fn layer_faults() -> Result<Vec<String>> {
    let text = command("cargo", &["metadata", "--format-version", "1", "--no-deps", "--locked"]).output()?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let name = short(package["name"].as_str().unwrap_or_default());
        let Some((height, same_row)) = layer_of(name) else {
            faults.push(format!("crate `{name}` stands in no layer: add it to LAYERS in xtask/src/tidy.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            if let Some((_, homes)) = HOMES.iter().find(|(heavy, _)| *heavy == target)
                && !homes.contains(&name)
            {
                faults.push(format!("`{name}` depends on `{target}`, which only {} may", homes.join(" and ")));
            }
            if !target.starts_with("gristmill-") {
                continue;
            }
            let target = short(target);
            let allowed = layer_of(target).is_some_and(|(below, _)| below < height || same_row.contains(&target));
            // End-to-end tests may use `network` from anywhere.
            let end_to_end = dependency["kind"] == "dev" && target == "network";
            if !allowed && !end_to_end {
                faults.push(format!("`{name}` depends on `{target}`, which is not below it"));
            }
        }
    }
    Ok(faults)
}

/// Every room is named in ARCHITECTURE.md, in bold or code.
fn room_faults() -> Result<Vec<String>> {
    let page = fs::read_to_string(crate::root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md is missing")?;
    let rooms = LAYERS.iter().flat_map(|row| row.iter().map(|(room, _)| *room)).chain(["contracts", "apps"]);
    Ok(rooms
        .filter(|room| !page.contains(&format!("`{room}`")))
        .map(|room| format!("ARCHITECTURE.md does not name the room `{room}`"))
        .collect())
}

/// A function's place and its length in lines.
struct Function {
    name: String,
    lines: usize,
}

/// The functions of rustfmt-formatted source: from `fn` to the closing brace at the same indentation.
fn functions(source: &str) -> Vec<Function> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let Some(at) =
            ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "]
                .iter()
                .find_map(|prefix| words.strip_prefix(prefix))
        else {
            continue;
        };
        let name: String = at.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // A declaration without a body, in a trait.
        let head_end = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if head_end.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indentation));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push(Function { name, lines: length + 1 });
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", "gen", "out", "cache"].contains(&name.as_str()) {
            sources(&path, found)?;
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Functions past the bound, by `file::function`, with their lengths; and files past theirs.
fn measure() -> Result<(BTreeMap<String, usize>, Vec<String>)> {
    let root = crate::root();
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "apps"] {
        sources(&root.join(folder), &mut files)?;
    }
    files.sort();
    let (mut long, mut faults) = (BTreeMap::new(), Vec::new());
    for file in files {
        let place = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let source = fs::read_to_string(&file).with_context(|| format!("cannot read {place}"))?;
        let count = source.lines().count();
        let is_test = place.contains("/tests/") || place.ends_with("/tests.rs");
        if count > FILE_LINES_MAX && !is_test {
            faults.push(format!("{place} has {count} lines; {FILE_LINES_MAX} are allowed: split it"));
        }
        for function in functions(&source).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            long.insert(format!("{place}::{}", function.name), function.lines);
        }
    }
    Ok((long, faults))
}

fn size_faults() -> Result<Vec<String>> {
    let (long, mut faults) = measure()?;
    let text = fs::read_to_string(crate::root().join(RATCHET)).with_context(|| format!("{RATCHET} is missing"))?;
    let allowed: BTreeMap<String, usize> =
        serde_json::from_str(&text).with_context(|| format!("{RATCHET} is not JSON"))?;
    for (function, lines) in long {
        match allowed.get(&function) {
            None => faults.push(format!("{function} has {lines} lines; {FUNCTION_LINES_MAX} are allowed")),
            Some(bound) if lines > *bound => faults.push(format!("{function} grew from {bound} to {lines} lines")),
            Some(_) => {}
        }
    }
    Ok(faults)
}

/// Writes today's long functions as the bound from now on.
pub fn write_ratchet() -> Result<()> {
    let (long, _) = measure()?;
    let text = serde_json::to_string_pretty(&long)? + "\n";
    fs::write(crate::root().join(RATCHET), text).with_context(|| format!("cannot write {RATCHET}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let source =
            "fn a() {\n    if x {\n    }\n}\nimpl X {\n    pub fn b(\n        x: u8,\n    ) {\n        y\n    }\n}\n";
        let found: Vec<(String, usize)> = functions(source).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 4), ("b".to_owned(), 5)]);
    }

    #[test]
    fn arrows_point_downward() {
        assert_eq!(layer_faults().unwrap(), Vec::<String>::new());
    }
}
