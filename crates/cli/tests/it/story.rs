//! The demonstration, as a newcomer runs it.

use std::process::Command;

use serde_json::Value;

use crate::harness::{GRISTMILL, alone, text, tree};

fn demo(out: &std::path::Path) -> Value {
    let output = Command::new(GRISTMILL).args(["demo", "--json", "--out"]).arg(out).output().expect("gristmill runs");
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The digests that the host build of the application gives in one process (its own test holds it to them).
fn host_digests() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/efast/check/result.sha256");
    std::fs::read_to_string(path).expect("the host build's digests are checked in")
}

#[test]
fn the_demonstration_catches_the_cheater_adds_up_and_gives_what_the_host_build_gives() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    let report = demo(&out);
    assert_eq!((report["invariants"]["i1"].as_bool(), report["invariants"]["i2"].as_bool()), (Some(true), Some(true)));
    assert_eq!(report["invariants"]["all"], true, "{}", report["invariants"]);
    assert_eq!((report["tasks_completed"].as_u64(), report["tasks_failed"].as_u64()), (Some(13), Some(0)));
    let workers = report["workers"].as_array().unwrap();
    let cheater = workers.iter().find(|worker| worker["honest"] == false).expect("one cheats");
    assert_eq!((cheater["paid"].as_str(), cheater["score"].as_u64()), (Some("0"), Some(0)));
    assert_ne!(cheater["slashed"], "0");
    assert!(workers.iter().filter(|worker| worker["honest"] == true).all(|worker| worker["slashed"] == "0"));
    assert!(!report["caught"].as_array().unwrap().is_empty());
    assert!(report["result"]["pictures"].as_array().unwrap().len() >= 2);
    same_bytes_as_the_host_build(&out);
    // A second run is another network with other keys; the fingerprint is the same.
    let again = demo(&out);
    assert_eq!(report["result"]["root"], again["result"]["root"]);
    assert!(report["result"]["root"].is_string());
}

fn same_bytes_as_the_host_build(out: &std::path::Path) {
    let files = tree(out);
    let mut compared = 0;
    for line in host_digests().lines() {
        let Some((digest, name)) = line.split_once("  ") else { continue };
        let name = name.trim_start_matches("./");
        let bytes = files.get(name).unwrap_or_else(|| panic!("the network did not give {name}"));
        assert_eq!(sha256(bytes), digest, "{name} differs from the host build's");
        compared += 1;
    }
    assert!(compared > 12, "only {compared} files were compared");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
