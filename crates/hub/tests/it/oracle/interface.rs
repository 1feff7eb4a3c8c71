//! Whoever has PoCo's published ABI can use our hub: every function and event of it is here, with the same arguments and answers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::package::Package;

/// What is left out, and contracts/README.md says why.
const LEFT_OUT: [&str; 8] = [
    "fallback () -> ()",
    "receive () -> ()",
    "function configure(address,string,string,uint8,address,address,address,address) -> ()",
    "function changeRegistries(address,address,address) -> ()",
    "function importScore(address) -> ()",
    "function setCallbackGas(uint256) -> ()",
    "function updateDomainSeparator() -> ()",
    // Of assets and registries: a name at ENS.
    "function setName(address,string) -> ()",
];
/// Ours have no owner, and so nothing that an owner may set.
const LEFT_OUT_OF_REGISTRIES: [&str; 11] = [
    "event OwnershipTransferred(address indexed,address indexed) -> ()",
    "function baseURI() -> (string)",
    "function initialize(address) -> ()",
    "function initialized() -> (bool)",
    "function owner() -> (address)",
    "function previous() -> (address)",
    "function proxyCode() -> (bytes)",
    "function proxyCodeHash() -> (bytes32)",
    "function renounceOwnership() -> ()",
    "function setBaseURI(string) -> ()",
    "function transferOwnership(address) -> ()",
];

/// Our contract and where the package has the ABI of theirs.
const CONTRACTS: [(&str, &str); 7] = [
    ("IHub", "IexecInterfaceToken"),
    ("AppRegistry", "registries/apps/AppRegistry"),
    ("DatasetRegistry", "registries/datasets/DatasetRegistry"),
    ("WorkerpoolRegistry", "registries/workerpools/WorkerpoolRegistry"),
    ("App", "registries/apps/App"),
    ("Dataset", "registries/datasets/Dataset"),
    ("Workerpool", "registries/workerpools/Workerpool"),
];

#[test]
fn the_published_abi_is_ours() {
    let package = Package::open();
    for (ours, theirs) in CONTRACTS {
        let artifact = format!("{}/../../contracts/artifacts/{ours}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&artifact).unwrap_or_else(|error| panic!("{artifact}: {error}"));
        let artifact: Value = serde_json::from_str(&text).unwrap();
        let here = signatures(artifact.get("abi").unwrap_or(&artifact));
        let there = signatures(&package.json(&format!("abis/contracts/{theirs}.json")));
        assert!(there.len() > 3, "{theirs} has an ABI");
        let registry = ours.ends_with("Registry");
        let known = |signature: &&String| {
            LEFT_OUT.contains(&signature.as_str()) || registry && LEFT_OUT_OF_REGISTRIES.contains(&signature.as_str())
        };
        let missing: Vec<&String> = there.difference(&here).filter(|signature| !known(signature)).collect();
        assert!(missing.is_empty(), "{ours} lacks what {theirs} has: {missing:#?}");
        println!(
            "{ours}: {} of the {} functions and events of {theirs}",
            there.intersection(&here).count(),
            there.len()
        );
    }
}

/// Functions and events, as "kind name(types) -> (types)".
fn signatures(abi: &Value) -> BTreeSet<String> {
    let entries = abi.as_array().expect("an ABI is a list").iter();
    let of_interest = entries.filter(|entry| !matches!(entry["type"].as_str(), Some("error" | "constructor")));
    of_interest
        .map(|entry| {
            let (kind, name) = (entry["type"].as_str().unwrap_or(""), entry["name"].as_str().unwrap_or(""));
            format!("{kind} {name}({}) -> ({})", types(&entry["inputs"]), types(&entry["outputs"]))
        })
        .collect()
}

fn types(list: &Value) -> String {
    let name = |field: &Value| {
        let kind = field["type"].as_str().expect("a field has a type");
        let kind = match kind.strip_prefix("tuple") {
            Some(dimensions) => format!("({}){dimensions}", types(&field["components"])),
            None => kind.to_owned(),
        };
        if field["indexed"] == true { format!("{kind} indexed") } else { kind }
    };
    list.as_array().map(|list| list.iter().map(name).collect::<Vec<_>>().join(",")).unwrap_or_default()
}
