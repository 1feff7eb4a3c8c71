//! Look at the contracts with slither (what patterns are known to go wrong) and halmos (what holds for all inputs).
//!
//! Both are Python programs. They are installed from a pinned list into a folder under `target/`, and run in `cargo xtask test
//! --slow` and `cargo xtask analysis` only.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::contracts::folder;
use crate::step::{Program, command};
use crate::{npm, python};

const REQUIREMENTS: &str = "analysis/requirements.txt";
const TRIAGE: &str = "analysis/slither.json";

/// Runs slither; anything of high or medium impact without a written reason is an error, and so is a reason for nothing.
pub fn slither() -> Result<()> {
    let tools = install()?;
    let report = crate::root().join("target/slither.json");
    // It refuses to overwrite a report.
    if report.exists() {
        fs::remove_file(&report).context("cannot remove the last report")?;
    }
    let (program, report_name) = (tools.join("bin/slither"), report.display().to_string());
    let only_what_counts = ["--exclude-informational", "--exclude-optimization", "--exclude-low", "--fail-none"];
    let mut args = vec![".", "--filter-paths", "node_modules|test/", "--json", &report_name];
    args.extend(only_what_counts);
    tool(&program.display().to_string(), &args, "slither")?.run()?;

    let findings = findings_of(&fs::read_to_string(&report).context("slither wrote no report")?)?;
    let reasons = reasons_of(&fs::read_to_string(folder().join(TRIAGE)).context("the triage is missing")?)?;
    let faults = compare(&findings, &reasons);
    if !faults.is_empty() {
        bail!("{} findings of slither and contracts/{TRIAGE} differ:\n  {}", faults.len(), faults.join("\n  "));
    }
    eprintln!("slither: {} findings, each with its reason", findings.len());
    Ok(())
}

/// Has halmos prove the properties of `contracts/test/symbolic`.
pub fn halmos() -> Result<()> {
    let program = install()?.join("bin/halmos").display().to_string();
    // The hub's namespace begins at a hash, which the default model of storage does not expect.
    let compiled = "out/halmos";
    let args =
        ["--root", ".", "--contract", "SymbolicTest", "--storage-layout", "generic", "--forge-build-out", compiled];
    // What the properties import is enough.
    let only = "test/symbolic";
    tool(&program, &args, "halmos")?.env("FOUNDRY_SRC", only).env("FOUNDRY_TEST", only).run()
}

/// A tool that has forge compile the contracts: into a folder of its own, since what forge keeps of a build depends on what it was
/// asked for.
fn tool(program: &str, args: &[&str], name: &str) -> Result<Program> {
    Ok(command(program, args)
        .current_dir(&folder())
        .env("PATH", path()?)
        .env("FOUNDRY_OUT", format!("out/{name}"))
        .env("FOUNDRY_CACHE_PATH", format!("cache/{name}")))
}

/// A virtual environment with the pinned tools, made anew when the list has changed.
fn install() -> Result<PathBuf> {
    npm::install(&folder())?;
    python::environment("analysis", &folder().join(REQUIREMENTS))
}

/// Both call forge, which npm has put below the contracts.
fn path() -> Result<String> {
    let places = folder().join("node_modules/@foundry-rs");
    let forge = fs::read_dir(&places)
        .with_context(|| format!("there is no forge in {}", places.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .find(|place| place.join("forge").exists())
        .with_context(|| format!("there is no forge in {}", places.display()))?;
    Ok(format!("{}:{}", forge.display(), std::env::var("PATH").unwrap_or_default()))
}

/// What a finding is known by: its detector and the function (or contract) it is about. Lines would change with each edit.
type Known = (String, String);

/// The findings of a report.
fn findings_of(report: &str) -> Result<Vec<Known>> {
    let report: Value = serde_json::from_str(report).context("slither's report is not JSON")?;
    if report["success"] != true {
        bail!("slither failed: {}", report["error"]);
    }
    let empty = Vec::new();
    let findings = report["results"]["detectors"].as_array().unwrap_or(&empty);
    findings.iter().map(|finding| Ok((text(finding, "check")?, place_of(finding)?))).collect()
}

fn place_of(finding: &Value) -> Result<String> {
    let element = &finding["elements"][0];
    let name = text(element, "name")?;
    // A variable's parent is its function, a function's is its contract.
    let mut words = vec![name];
    let mut parent = &element["type_specific_fields"]["parent"];
    while let Some(name) = parent["name"].as_str() {
        words.push(name.to_owned());
        parent = &parent["type_specific_fields"]["parent"];
    }
    words.reverse();
    Ok(words.join("."))
}

/// The triage: a list of objects with `check`, `where` and `reason`.
fn reasons_of(triage: &str) -> Result<Vec<Known>> {
    let triage: Value = serde_json::from_str(triage).context("the triage is not JSON")?;
    let entries = triage.as_array().context("the triage is not a list")?;
    entries
        .iter()
        .map(|entry| {
            if text(entry, "reason")?.len() < 20 {
                bail!("the triage gives no reason: {entry}");
            }
            Ok((text(entry, "check")?, text(entry, "where")?))
        })
        .collect()
}

fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("no `{field}` in {value}"))
}

/// Findings without a reason, and reasons without a finding.
fn compare(findings: &[Known], reasons: &[Known]) -> Vec<String> {
    let new = findings.iter().filter(|finding| !reasons.contains(finding));
    let stale = reasons.iter().filter(|reason| !findings.contains(reason));
    new.map(|(check, place)| format!("{check} in {place} has no reason"))
        .chain(stale.map(|(check, place)| format!("{check} in {place} is explained, but not found any more")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"success": true, "results": {"detectors": [
        {"check": "unused-return", "elements": [{"name": "f", "type_specific_fields": {"parent": {"name": "C"}}}]},
        {"check": "uninitialized-local", "elements": [{"name": "v", "type_specific_fields": {"parent":
            {"name": "g", "type_specific_fields": {"parent": {"name": "C"}}}}}]}]}}"#;

    #[test]
    fn every_finding_needs_a_reason_and_every_reason_a_finding() {
        let findings = findings_of(REPORT).unwrap();
        let known = |check: &str, place: &str| (check.to_owned(), place.to_owned());
        assert_eq!(findings, [known("unused-return", "C.f"), known("uninitialized-local", "C.g.v")]);
        let reasons = r#"[{"check": "unused-return", "where": "C.f", "reason": "what it returns is known before"},
            {"check": "unused-return", "where": "C.h", "reason": "this was true of an older version"}]"#;
        let reasons = reasons_of(reasons).unwrap();
        let faults = compare(&findings, &reasons);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("C.g.v") && faults[1].contains("C.h"), "{faults:?}");
        assert!(compare(&findings, &findings).is_empty());
    }

    #[test]
    fn a_report_of_a_failure_and_an_empty_reason_are_errors() {
        findings_of(r#"{"success": false, "error": "no compiler"}"#).unwrap_err();
        findings_of("").unwrap_err();
        reasons_of(r#"[{"check": "a", "where": "b", "reason": ""}]"#).unwrap_err();
        reasons_of(r#"[{"check": "a", "where": "b"}]"#).unwrap_err();
        assert!(findings_of(r#"{"success": true, "results": {}}"#).unwrap().is_empty());
    }
}
