//! Say whose libraries the program contains: name, version and license of each, and the notices that come with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::step::command;

/// The crate that the program is made of.
const PROGRAM: &str = "gristmill-cli";
/// How the files begin that a crate keeps its license and notices in.
const NOTICE_FILES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
/// A notice is no longer.
const NOTICE_BYTES_MAX: u64 = 256 << 10;
/// What is in the program and in no crate.
const OTHERS: &str = "The Rust standard library, MIT OR Apache-2.0, Copyright (c) The Rust Project Contributors.\n";
/// Data in the program, with its notice.
const DATA_NOTICE: &str = "apps/efast/data/NOTICE.md";

/// A library in the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Library {
    name: String,
    version: String,
    license: String,
    /// Its `Cargo.toml`.
    manifest: String,
}

/// The text for a program of this machine.
pub fn third_party(machine: &str) -> Result<String> {
    let target = format!("{machine}-unknown-linux-gnu");
    let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &target];
    let metadata = command("cargo", &args).output()?;
    let metadata: Value = serde_json::from_str(&metadata).context("what cargo says of the crates is no JSON")?;
    let libraries = libraries(&metadata)?;
    let data =
        fs::read_to_string(crate::root().join(DATA_NOTICE)).with_context(|| format!("cannot read {DATA_NOTICE}"))?;
    text(&libraries, &data)
}

/// The crates of others that the program is linked with, sorted. What only helps to build it, or to test it, is not in it.
fn libraries(metadata: &Value) -> Result<BTreeSet<Library>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let by_id = |list: Vec<Value>| -> BTreeMap<String, Value> {
        list.into_iter().map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one)).collect()
    };
    let packages = by_id(list(&metadata["packages"]));
    let nodes = by_id(list(&metadata["resolve"]["nodes"]));
    let is_macro = |package: &Value| {
        list(&package["targets"]).iter().any(|target| list(&target["kind"]).iter().any(|kind| kind == "proc-macro"))
    };
    let program = packages.iter().find(|(_, package)| package["name"] == PROGRAM);
    let mut open = vec![program.with_context(|| format!("there is no crate {PROGRAM}"))?.0.clone()];
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        let package = packages.get(&id).with_context(|| format!("cargo says nothing of {id}"))?;
        if is_macro(package) || !seen.insert(id.clone()) {
            continue;
        }
        // Our own have no source.
        if !package["source"].is_null() {
            found.insert(library(package)?);
        }
        for dependency in list(&nodes.get(&id).with_context(|| format!("cargo says nothing of {id}"))?["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.push(dependency["pkg"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    Ok(found)
}

fn library(package: &Value) -> Result<Library> {
    let field = |key: &str| package[key].as_str().map(str::to_owned);
    let name = field("name").context("a crate has no name")?;
    let Some(license) = field("license").or_else(|| field("license_file")) else {
        bail!("the crate {name} names no license: it cannot be shipped");
    };
    Ok(Library {
        version: field("version").unwrap_or_default(),
        license,
        manifest: field("manifest_path").unwrap_or_default(),
        name,
    })
}

/// The list, then each notice once, with the libraries that it came with.
fn text(libraries: &BTreeSet<Library>, data_notice: &str) -> Result<String> {
    let mut text = String::from("The program gristmill contains these libraries.\n\n");
    let mut notices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for library in libraries {
        let label = format!("{} {}", library.name, library.version);
        writeln!(text, "{label:<44} {}", library.license)?;
        for notice in notices_beside(Path::new(&library.manifest))? {
            let holders = notices.entry(notice).or_default();
            if !holders.contains(&label) {
                holders.push(label.clone());
            }
        }
    }
    write!(text, "\n{OTHERS}\nData in it, and its notice:\n\n{data_notice}")?;
    let mut notices: Vec<(Vec<String>, String)> = notices.into_iter().map(|(notice, of)| (of, notice)).collect();
    notices.sort();
    for (holders, notice) in notices {
        write!(text, "\n{}\nOf {}:\n\n{notice}", "-".repeat(80), holders.join(", "))?;
    }
    Ok(text)
}

/// The notices in a crate's folder, in the order of their files' names.
fn notices_beside(manifest: &Path) -> Result<Vec<String>> {
    let folder = manifest.parent().context("a crate lies nowhere")?;
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if NOTICE_FILES.iter().any(|beginning| name.starts_with(beginning)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        if length > NOTICE_BYTES_MAX {
            bail!("{} is too long for a notice", path.display());
        }
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        Ok(format!("{}\n", text.trim_matches('\n')))
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, source: Value, kind: &str) -> Value {
        let targets = json!([{ "kind": [kind] }]);
        json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source, "targets": targets,
            "manifest_path": "/nowhere/Cargo.toml" })
    }

    fn metadata(crates: &[(&str, &str)], dependencies: &[(&str, &str, Value)]) -> Value {
        let mut packages = vec![package(PROGRAM, Value::Null, "bin")];
        packages.extend(crates.iter().map(|(name, kind)| package(name, json!("registry"), kind)));
        let nodes: Vec<Value> = packages
            .iter()
            .map(|package| {
                let own = dependencies.iter().filter(|(from, ..)| package["id"] == *from);
                let deps: Vec<Value> =
                    own.map(|(_, to, kind)| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] })).collect();
                json!({ "id": package["id"], "deps": deps })
            })
            .collect();
        json!({ "packages": packages, "resolve": { "nodes": nodes } })
    }

    #[test]
    fn what_is_linked_is_named_and_what_builds_or_tests_is_not() {
        let crates =
            [("linked", "lib"), ("below", "lib"), ("derive", "proc-macro"), ("syntax", "lib"), ("tests", "lib")];
        let metadata = metadata(
            &crates,
            &[
                (PROGRAM, "linked", Value::Null),
                (PROGRAM, "derive", Value::Null),
                (PROGRAM, "tests", json!("dev")),
                ("derive", "syntax", Value::Null),
                ("linked", "below", Value::Null),
                ("below", "linked", json!("build")),
            ],
        );
        let names: Vec<String> = libraries(&metadata).unwrap().into_iter().map(|library| library.name).collect();
        assert_eq!(names, ["below", "linked"]);
        let mut unlicensed = metadata;
        unlicensed["packages"][1]["license"] = Value::Null;
        assert!(libraries(&unlicensed).unwrap_err().to_string().contains("linked"));
    }

    #[test]
    fn the_programs_own_libraries_come_with_their_notices() {
        let text = third_party("x86_64").unwrap();
        for words in
            ["\nwasmtime 48.", "Copyright (c) 2023-2026 The skfolio developers", "Permission is hereby granted"]
        {
            assert!(text.contains(words), "{words}");
        }
        let head = text.lines().take_while(|line| !line.starts_with("----")).collect::<Vec<_>>().join("\n");
        for word in ["criterion ", "serde_derive ", "gristmill-worker "] {
            assert!(!head.contains(&format!("\n{word}")), "{word} is no library of others in the program");
        }
    }
}
