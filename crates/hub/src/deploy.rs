//! Put the token, the registries, the facets and the hub on a ledger.
//!
//! Everything is plain transactions of one outbox, each under a key that follows from what it makes: a deployment that was
//! interrupted goes on where it was, and running it again finds what is there.

use alloy_primitives::{Address, Bytes, FixedBytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolConstructor};
use futures_util::future::BoxFuture;
use gristmill_types::category::GENESIS_CATEGORIES;
use gristmill_types::{Amount, Category};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::abi::creation::{Grist, Hub, IDiamond, IexecLibCore_v5};
use crate::abi::{IHub, Timelock};
use crate::error::HubError;
use crate::ledger::{Call, LedgerError, LedgerPort};
use crate::outbox::{Intent, Outbox, OutboxError, Outcome};

/// The longest code that a ledger takes for one contract, in bytes (EIP-170).
pub const CODE_BYTES_MAX: usize = 24_576;

macro_rules! artifact {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../contracts/artifacts/", $name, ".json")))
    };
}

const FACETS: &str = include_str!("../../../contracts/artifacts/facets.json");

const ARTIFACTS: [(&str, &str); 15] = [
    artifact!("Grist"),
    artifact!("AppRegistry"),
    artifact!("DatasetRegistry"),
    artifact!("WorkerpoolRegistry"),
    artifact!("Timelock"),
    artifact!("Hub"),
    artifact!("AdminFacet"),
    artifact!("DiamondFacet"),
    artifact!("EscrowFacet"),
    artifact!("LegacyViewFacet"),
    artifact!("LoanFacet"),
    artifact!("MatchFacet"),
    artifact!("OrderFacet"),
    artifact!("TaskFacet"),
    artifact!("ViewFacet"),
];

/// How long a change of a local network's hub waits, in seconds: long enough to be seen, short enough to be tried.
pub const LOCAL_UPGRADE_DELAY_S: u64 = 60;

/// What a new hub is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployOptions {
    /// All GRIST that will ever be; its owner gets them.
    pub supply: Amount,
    /// The size classes it is born with; their ids are their places.
    pub categories: Vec<Category>,
    /// Who holds the supply, and proposes changes of the hub. The hub's owner is a timelock.
    pub owner: Address,
    /// How long a proposed change of the hub waits before it can be made, in seconds: 1 to a year. Where strangers trade, more
    /// than 10 T of the longest category, so that no deal made before is caught by it.
    pub upgrade_delay_s: u64,
    /// Whether deals may ask for an enclave that is only simulated: development networks.
    pub simulated_enclave: bool,
    /// Tells deployments by one key on one ledger apart; usually empty.
    pub label: String,
}

impl DeployOptions {
    /// A local network's hub: the genesis categories, owned by `owner`.
    pub fn local(owner: Address, supply: Amount) -> Self {
        let categories = (0..).zip(GENESIS_CATEGORIES).map(|(id, (name, work_clock_s))| Category {
            id,
            name: name.to_owned(),
            description: format!("tasks of up to {work_clock_s} s"),
            work_clock_s,
        });
        Self {
            supply,
            categories: categories.collect(),
            owner,
            upgrade_delay_s: LOCAL_UPGRADE_DELAY_S,
            simulated_enclave: true,
            label: String::new(),
        }
    }
}

/// A hub on a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The hub.
    pub hub: Address,
    /// The hub's owner, through which it is changed.
    pub timelock: Address,
    /// The token.
    pub token: Address,
    /// The register of apps.
    pub app_registry: Address,
    /// The register of datasets.
    pub dataset_registry: Address,
    /// The register of pools.
    pub workerpool_registry: Address,
    /// The block the hub was made in.
    pub block: u64,
}

/// A hub could not be deployed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// A transaction failed.
    #[error("cannot deploy {contract}")]
    Transaction {
        /// The contract.
        contract: &'static str,
        /// Why.
        #[source]
        source: OutboxError,
    },
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The hub could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A compiled contract of this build is not usable.
    #[error("the compiled contract {contract} cannot be used: {what}")]
    Artifact {
        /// The contract.
        contract: String,
        /// What is wrong with it.
        what: String,
    },
    /// The code on the ledger is not what was sent.
    #[error("the code of {contract} at {address} is not the one of this build")]
    Code {
        /// The contract.
        contract: &'static str,
        /// Where it is.
        address: Address,
    },
    /// The hub does not route its functions as it should.
    #[error("the hub at {hub} does not serve the functions of {facet}")]
    Facet {
        /// The hub.
        hub: Address,
        /// The facet.
        facet: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    bytecode: String,
    deployed_bytecode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FacetSelectors {
    contract_name: String,
    selectors: Vec<FixedBytes<4>>,
}

/// A contract of this build.
struct Contract {
    name: &'static str,
    creation: Bytes,
    runtime: Bytes,
}

/// Deploys with the key of `outbox`, or finishes an earlier deployment with the same options, and checks what is there.
///
/// # Errors
/// [`DeployError`]. It may be called again with the same options.
pub fn deploy<'a>(
    ledger: &'a dyn LedgerPort,
    outbox: &'a Outbox,
    options: &'a DeployOptions,
) -> BoxFuture<'a, Result<Deployment, DeployError>> {
    Box::pin(async move {
        let contracts = contracts()?;
        let facets = facets()?;
        let mut parts = Vec::new();
        for contract in contracts.iter().filter(|contract| contract.name != "Hub") {
            let mut creation = contract.creation.to_vec();
            if contract.name == "Grist" {
                let supply = options.supply.to_u256();
                creation.extend(Grist::constructorCall { holder: options.owner, supply }.abi_encode());
            } else if contract.name == "Timelock" {
                let delay_ = U256::from(options.upgrade_delay_s);
                creation.extend(Timelock::constructorCall { proposer_: options.owner, delay_ }.abi_encode());
            }
            parts.push((contract.name, creation.into()));
        }
        let made = create_all(outbox, &options.label, parts).await?;
        let address = |name: &str| {
            let found = made.iter().find(|(made, _)| *made == name).and_then(|(_, outcome)| outcome.contract);
            found.ok_or_else(|| DeployError::Artifact {
                contract: name.to_owned(),
                what: "it was not deployed".to_owned(),
            })
        };
        let mut cuts = Vec::new();
        for facet in &facets {
            let cut = IDiamond::FacetCut {
                facetAddress: address(&facet.contract_name)?,
                action: 0,
                functionSelectors: facet.selectors.clone(),
            };
            cuts.push(cut);
        }
        let (token, app_registry) = (address("Grist")?, address("AppRegistry")?);
        let (dataset_registry, workerpool_registry) = (address("DatasetRegistry")?, address("WorkerpoolRegistry")?);
        let settings = Hub::Settings {
            token,
            appRegistry: app_registry,
            datasetRegistry: dataset_registry,
            workerpoolRegistry: workerpool_registry,
            simulatedEnclave: options.simulated_enclave,
            categories: options.categories.iter().map(wire_category).collect(),
        };
        let timelock = address("Timelock")?;
        let arguments = Hub::constructorCall { owner: timelock, cuts, settings }.abi_encode();
        let creation = contracts.iter().find(|contract| contract.name == "Hub").map(|hub| hub.creation.to_vec());
        let creation = [creation.unwrap_or_default(), arguments].concat();
        let hub = create_all(outbox, &options.label, vec![("Hub", creation.into())]).await?;
        let (hub, block) = match hub.first() {
            Some((_, Outcome { contract: Some(hub), block, .. })) => (*hub, *block),
            _ => {
                return Err(DeployError::Artifact { contract: "Hub".to_owned(), what: "it has no address".to_owned() });
            }
        };
        let mut addresses: Vec<(&'static str, Address)> =
            made.iter().filter_map(|(name, outcome)| Some((*name, outcome.contract?))).collect();
        addresses.push(("Hub", hub));
        verify_code(ledger, &contracts, &addresses).await?;
        verify_routes(ledger, hub, &facets, &addresses).await?;
        Ok(Deployment { hub, timelock, token, app_registry, dataset_registry, workerpool_registry, block })
    })
}

fn wire_category(category: &Category) -> IexecLibCore_v5::Category {
    IexecLibCore_v5::Category {
        name: category.name.clone(),
        description: category.description.clone(),
        workClockTimeRef: U256::from(category.work_clock_s),
    }
}

/// Creates contracts side by side.
async fn create_all(
    outbox: &Outbox,
    label: &str,
    parts: Vec<(&'static str, Bytes)>,
) -> Result<Vec<(&'static str, Outcome)>, DeployError> {
    let mut creations = JoinSet::new();
    for (name, creation) in parts {
        let outbox = outbox.clone();
        let key = format!("deploy:{label}:{name}:{:x}", keccak256(&creation));
        let intent = Intent { key, to: None, data: creation, value: U256::ZERO, gas: None, preflight: true };
        creations.spawn(async move { (name, outbox.execute(intent).await) });
    }
    let mut made = Vec::new();
    while let Some(joined) = creations.join_next().await {
        let (name, outcome) = joined.map_err(|_| failed("a contract", OutboxError::Stopped))?;
        made.push((name, outcome.map_err(|source| failed(name, source))?));
    }
    Ok(made)
}

fn failed(contract: &'static str, source: OutboxError) -> DeployError {
    DeployError::Transaction { contract, source }
}

fn contracts() -> Result<Vec<Contract>, DeployError> {
    ARTIFACTS
        .into_iter()
        .map(|(name, text)| {
            let bad = |what: String| DeployError::Artifact { contract: name.to_owned(), what };
            let artifact: Artifact = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
            let bytes = |text: &str| hex::decode(text).map(Bytes::from).map_err(|error| bad(error.to_string()));
            let (creation, runtime) = (bytes(&artifact.bytecode)?, bytes(&artifact.deployed_bytecode)?);
            if runtime.is_empty() || runtime.len() > CODE_BYTES_MAX {
                return Err(bad(format!("its code has {} bytes, 1 to {CODE_BYTES_MAX} are possible", runtime.len())));
            }
            Ok(Contract { name, creation, runtime })
        })
        .collect()
}

fn facets() -> Result<Vec<FacetSelectors>, DeployError> {
    serde_json::from_str(FACETS)
        .map_err(|error| DeployError::Artifact { contract: "facets".to_owned(), what: error.to_string() })
}

async fn verify_code(
    ledger: &dyn LedgerPort,
    contracts: &[Contract],
    addresses: &[(&'static str, Address)],
) -> Result<(), DeployError> {
    let codes = ledger.code(addresses.iter().map(|(_, address)| *address).collect()).await?;
    for ((name, address), code) in addresses.iter().zip(codes) {
        let expected = contracts.iter().find(|contract| contract.name == *name);
        if !expected.is_some_and(|expected| is_code_of(&code, &expected.runtime)) {
            return Err(DeployError::Code { contract: name, address: *address });
        }
    }
    Ok(())
}

/// The compiler leaves zeros where the constructor puts its immutables.
fn is_code_of(code: &[u8], runtime: &[u8]) -> bool {
    code.len() == runtime.len() && code.iter().zip(runtime).all(|(byte, expected)| byte == expected || *expected == 0)
}

async fn verify_routes(
    ledger: &dyn LedgerPort,
    hub: Address,
    facets: &[FacetSelectors],
    addresses: &[(&'static str, Address)],
) -> Result<(), DeployError> {
    let answer = ledger.call(vec![Call::view(hub, IHub::facetsCall {}.abi_encode())], None).await?;
    let answer = answer.into_iter().next().ok_or_else(|| HubError::malformed("facets", "there is no answer"))??;
    let routes = IHub::facetsCall::abi_decode_returns(&answer).map_err(|error| HubError::malformed("facets", error))?;
    for facet in facets {
        let address = addresses.iter().find(|(name, _)| *name == facet.contract_name).map(|(_, address)| *address);
        let served = routes.iter().find(|route| Some(route.facetAddress) == address);
        let all = served
            .is_some_and(|served| facet.selectors.iter().all(|selector| served.functionSelectors.contains(selector)));
        if !all {
            return Err(DeployError::Facet { hub, facet: facet.contract_name.clone() });
        }
    }
    Ok(())
}
