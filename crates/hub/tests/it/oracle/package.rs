//! PoCo as it was published: the bytecode of the npm package `@iexec/poco`, deployed as its own deployment script does.

use std::fs;
use std::path::PathBuf;

use alloy_primitives::{Address, Bytes, FixedBytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use gristmill_hub::ledger::Call;
use gristmill_wallet::Wallet;
use serde_json::Value;

use crate::chain::TestChain;

/// The variable that says where the installed package is; `cargo xtask test` sets it.
pub const PACKAGE_VARIABLE: &str = "GRISTMILL_POCO_PACKAGE";
/// The version that is compared with.
const VERSION: &str = "6.1.0";
/// The selectors under which PoCo's diamond finds what it does without a function and without data.
const FALLBACK: FixedBytes<4> = FixedBytes([0xff; 4]);
const RECEIVE: FixedBytes<4> = FixedBytes([0; 4]);
/// The gas of a callback: what 6.2 set it to, and what it is here.
const CALLBACK_GAS: u64 = 200_000;

/// Facets that come with every diamond. The package has them, the token and the initialiser as it deployed them only.
const DIAMOND_FACETS: [&str; 3] = ["DiamondCutFacet", "DiamondLoupeFacet", "OwnershipFacet"];
/// Facets of PoCo itself, in the order of its deployment script.
const FACETS: [&str; 11] = [
    "IexecAccessorsABILegacyFacet",
    "IexecCategoryManagerFacet",
    "IexecConfigurationExtraFacet",
    "IexecConfigurationFacet",
    "IexecERC20Facet",
    "IexecEscrowTokenFacet",
    "IexecOrderManagementFacet",
    "IexecPoco1Facet",
    "IexecPoco2Facet",
    "IexecPocoAccessorsFacet",
    "IexecRelayFacet",
];
const REGISTRIES: [(&str, &str); 3] =
    [("apps", "AppRegistry"), ("datasets", "DatasetRegistry"), ("workerpools", "WorkerpoolRegistry")];

sol! {
    struct FacetCut {
        address facetAddress;
        uint8 action;
        bytes4[] functionSelectors;
    }

    struct DiamondArgs {
        address owner;
        address init;
        bytes initCalldata;
    }

    interface Setup {
        function init() external;
        function configure(address token, string name, string symbol, uint8 decimals, address apps, address datasets,
            address workerpools, address oldHub) external;
        function setCallbackGas(uint256 gas) external;
        function createCategory(string name, string description, uint256 workClockTimeRef) external;
        function initialize(address previous) external;
    }
}

/// The installed package.
pub struct Package {
    folder: PathBuf,
}

/// Contracts of PoCo that play a part on both sides: they are called, and asked, by both hubs.
#[derive(Clone, Copy, Debug)]
pub struct Bystanders {
    /// Takes callbacks and logs them.
    pub callback: Address,
    /// Takes callbacks and burns all its gas.
    pub waster: Address,
    /// Logs approvals; refuses those of nothing.
    pub receiver: Address,
    /// Signs whatever begins with the hash of `valid-signature`.
    pub signer: Address,
    /// A group of accounts.
    pub group: Address,
}

impl Package {
    /// # Panics
    /// When the package is not installed, or is another version.
    pub fn open() -> Self {
        let Some(folder) = std::env::var_os(PACKAGE_VARIABLE).map(PathBuf::from) else {
            panic!(
                "{PACKAGE_VARIABLE} is not set: this test runs PoCo's published bytecode. Run `cargo xtask test`, or `npm ci` in \
                 contracts/oracle and set it to the absolute path of contracts/oracle/node_modules/@iexec/poco"
            );
        };
        let package = Self { folder };
        let manifest = package.json("package.json");
        assert_eq!(manifest["version"], VERSION, "another version of @iexec/poco is in {}", package.folder.display());
        package
    }

    /// Deploys token, diamond, registries and categories, all owned by `owner`, and returns the diamond.
    pub fn deploy(
        &self,
        chain: &TestChain,
        owner: &Wallet,
        names: [&str; 2],
        categories: &[(String, String, u64)],
    ) -> Address {
        let token = create(chain, owner, self.deployed("RLC"));
        let diamond = self.diamond(chain, owner);
        let registries = REGISTRIES.map(|(folder, name)| {
            let registry = create(chain, owner, self.code(&format!("registries/{folder}"), name, Address::ZERO));
            send(chain, owner, registry, &Setup::initializeCall { previous: Address::ZERO });
            registry
        });
        let configure = Setup::configureCall {
            token,
            name: names[0].to_owned(),
            symbol: names[1].to_owned(),
            decimals: 9,
            apps: registries[0],
            datasets: registries[1],
            workerpools: registries[2],
            oldHub: Address::ZERO,
        };
        send(chain, owner, diamond, &configure);
        send(chain, owner, diamond, &Setup::setCallbackGasCall { gas: U256::from(CALLBACK_GAS) });
        for (name, description, work_clock_s) in categories {
            let call = Setup::createCategoryCall {
                name: name.clone(),
                description: description.clone(),
                workClockTimeRef: U256::from(*work_clock_s),
            };
            send(chain, owner, diamond, &call);
        }
        diamond
    }

    pub fn bystanders(&self, chain: &TestChain, owner: &Wallet) -> Bystanders {
        let make = |name| create(chain, owner, self.code("tools/testing", name, Address::ZERO));
        Bystanders {
            callback: make("TestClient"),
            waster: make("GasWasterClient"),
            receiver: make("TestReceiver"),
            signer: make("ERC1271Mock"),
            group: make("ERC734Mock"),
        }
    }

    fn diamond(&self, chain: &TestChain, owner: &Wallet) -> Address {
        let library = create(chain, owner, self.code("libs", "IexecLibOrders_v5", Address::ZERO));
        let mut known: Vec<FixedBytes<4>> = Vec::new();
        let mut cuts = Vec::new();
        let published = DIAMOND_FACETS.map(|name| (self.deployed(name), self.json(&deployment(name))));
        let own = FACETS.map(|name| (self.code("facets", name, library), self.json(&artifact("facets", name))));
        for (code, json) in published.into_iter().chain(own) {
            // Two facets have some functions both; the first one keeps them.
            let mut selectors = selectors(&json["abi"]);
            selectors.retain(|selector| !known.contains(selector));
            known.extend(&selectors);
            let facet = create(chain, owner, code);
            cuts.push(FacetCut { facetAddress: facet, action: 0, functionSelectors: selectors });
        }
        let arguments = DiamondArgs {
            owner: owner.address(),
            init: create(chain, owner, self.deployed("DiamondInit")),
            initCalldata: Setup::initCall {}.abi_encode().into(),
        };
        let code = self.code("", "Diamond", Address::ZERO);
        create(chain, owner, [code.to_vec(), (cuts, arguments).abi_encode_params()].concat().into())
    }

    /// The creation code of a contract of PoCo, linked with its one library.
    fn code(&self, folder: &str, name: &str, library: Address) -> Bytes {
        let json = self.json(&artifact(folder, name));
        let mut text = json["bytecode"].as_str().expect("an artifact has bytecode").to_owned();
        while let Some(place) = text.find("__$") {
            assert_ne!(library, Address::ZERO, "{name} needs a library");
            text.replace_range(place..place + 40, &hex::encode(library));
        }
        hex::decode(text).unwrap_or_else(|error| panic!("{name}: {error}")).into()
    }

    /// The creation code of a contract that the package has as it was deployed.
    fn deployed(&self, name: &str) -> Bytes {
        let json = self.json(&deployment(name));
        let text = json["bytecode"].as_str().expect("a deployment has bytecode");
        hex::decode(text).unwrap_or_else(|error| panic!("{name}: {error}")).into()
    }

    pub fn json(&self, path: &str) -> Value {
        let path = self.folder.join(path);
        let text = fs::read(&path).unwrap_or_else(|error| {
            panic!("{PACKAGE_VARIABLE} does not lead to an installed @iexec/poco: {}: {error}", path.display())
        });
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn artifact(folder: &str, name: &str) -> String {
    format!("artifacts/contracts/{folder}/{name}.sol/{name}.json")
}

fn deployment(name: &str) -> String {
    format!("deployments/arbitrum/{name}.json")
}

/// The selectors of an ABI's functions.
fn selectors(abi: &Value) -> Vec<FixedBytes<4>> {
    let entries = abi.as_array().expect("an ABI is a list");
    let selector = |entry: &Value| match entry["type"].as_str() {
        Some("function") => {
            let signature = format!("{}({})", entry["name"].as_str()?, types(&entry["inputs"]));
            Some(FixedBytes::from_slice(&keccak256(signature)[..4]))
        }
        Some("fallback") => Some(FALLBACK),
        Some("receive") => Some(RECEIVE),
        _ => None,
    };
    entries.iter().filter_map(selector).collect()
}

/// The types of parameters as a signature has them: a tuple is its members in brackets.
fn types(parameters: &Value) -> String {
    let one = |parameter: &Value| {
        let kind = parameter["type"].as_str().expect("a parameter has a type");
        match kind.strip_prefix("tuple") {
            Some(array) => format!("({}){array}", types(&parameter["components"])),
            None => kind.to_owned(),
        }
    };
    parameters.as_array().expect("parameters are a list").iter().map(one).collect::<Vec<_>>().join(",")
}

fn create(chain: &TestChain, owner: &Wallet, code: Bytes) -> Address {
    let address = owner.address().create(chain.nonce_of(owner.address()));
    let call = Call { from: Some(owner.address()), to: None, data: code, value: U256::ZERO, gas: None };
    let receipts = chain.execute_block(owner, &[call]);
    assert!(receipts[0].success, "a published contract cannot be created");
    address
}

fn send(chain: &TestChain, owner: &Wallet, to: Address, call: &impl SolCall) {
    let call = Call {
        from: Some(owner.address()),
        to: Some(to),
        data: call.abi_encode().into(),
        value: U256::ZERO,
        gas: None,
    };
    let answer = chain.execute_block(owner, std::slice::from_ref(&call));
    assert!(answer[0].success, "a call of the deployment fails: {:?}", chain.simulate(&call));
}
