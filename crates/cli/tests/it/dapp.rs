//! `gristmill new dapp`, followed as its README says, against real workers.

use std::path::Path;
use std::process::Command;

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolValue, sol};
use gristmill_hub::HubClient;
use serde_json::Value;

use crate::harness::*;

sol! {
    function primesBelow(uint256 n) external view returns (uint256);
}

/// pi(10^6), OEIS A006880.
const PRIMES_BELOW_A_MILLION: u64 = 78_498;

/// A new project, and the network that its scripts are to find.
struct Project<'a> {
    dir: &'a Path,
    net: &'a Path,
}

impl Project<'_> {
    /// Ends well or not, with all it printed.
    fn npm(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new("npm");
        command.args(args).current_dir(self.dir).env("GRISTMILL", GRISTMILL).env("GRISTMILL_DATA_DIR", self.net);
        let output =
            command.output().unwrap_or_else(|error| panic!("this test needs npm, which does not start: {error}"));
        (output.status.success(), text(&output))
    }

    #[track_caller]
    fn npm_well(&self, args: &[&str]) -> String {
        let (ok, said) = self.npm(args);
        assert!(ok, "npm {args:?}: {said}");
        said
    }

    fn json(&self, name: &str) -> Value {
        let text = std::fs::read(self.dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn a_new_dapp_gets_a_verified_answer() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (dir, net) = (folder.path().join("dapp"), folder.path().join("net"));
    let made = Command::new(GRISTMILL).args(["new", "dapp"]).arg(&dir).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let project = Project { dir: &dir, net: &net };
    project.npm_well(&["ci"]);
    project.npm_well(&["run", "build"]);
    let tested = project.npm_well(&["test"]);
    assert!(tested.contains("6 tests passed, 0 failed"), "{tested}");

    let (ok, said) = project.npm(&["run", "deploy"]);
    let address = project.json("key.json")["address"].as_str().unwrap().to_owned();
    assert!(!ok && said.contains(&format!("gristmill up --workers 4 --fund {address}")), "{said}");
    let up = Up::start(&net, &["--workers", "4", "--fund", &address]);
    let (ok, said) = project.npm(&["run", "ask", "--", "10"]);
    assert!(!ok && said.contains("nothing is deployed yet"), "{said}");
    project.npm_well(&["run", "deploy"]);
    let said = project.npm_well(&["run", "ask", "--", "1000000"]);
    assert!(said.contains(&format!("{PRIMES_BELOW_A_MILLION} primes below 1000000")), "{said}");
    assert!(said.contains("certified by 3 workers"), "{said}");

    // What the contract holds, read from the ledger, and what the network shows of it.
    let counter: Address = project.json("deployment.json")["address"].as_str().unwrap().parse().unwrap();
    let (n, count) = (U256::from(1_000_000), U256::from(PRIMES_BELOW_A_MILLION));
    assert_eq!(held(&up, counter, n), count);
    let task = said.lines().find_map(|line| line.strip_prefix("task")).unwrap().trim();
    let shown = up.json(&["task", "show", task]);
    assert_eq!(shown["answer"], alloy_primitives::hex::encode_prefixed((n, count).abi_encode()));
    let deal = up.json(&["deal", "show", shown["deal"].as_str().unwrap()]);
    assert_eq!(deal["callback"].as_str().unwrap().parse::<Address>().unwrap(), counter);

    // A question that the app refuses ends too, and is paid: several workers agreed that there is no answer.
    let (ok, said) = project.npm(&["run", "ask", "--", "99999999999"]);
    assert!(!ok && said.contains("has no answer to this"), "{said}");
    up.assert_invariants();
}

fn held(up: &Up, counter: Address, n: U256) -> U256 {
    let book = up.book();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let hub = HubClient::connect(&book.rpc, book.hub).await.expect("the hub answers");
        hub.view(counter, primesBelowCall { n }).await.expect("the contract has it")
    })
}
