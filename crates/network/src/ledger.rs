//! The ledger of a local network, and the hub on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use futures_util::future::BoxFuture;
use gristmill_datadir::{DataDir, Db};
use gristmill_hub::deploy::{DeployOptions, Deployment, deploy};
use gristmill_hub::{HubClient, LedgerPort, Outbox, OutboxConfig, RpcClient};
use gristmill_node::{Genesis, Node, NodeConfig, NodeHandle};
use gristmill_types::{Amount, CHAIN_ID_LOCAL};
use gristmill_wallet::Wallet;

use crate::config::ForeignLedger;
use crate::error::NetworkError;

/// All GRIST of a local network: as many as there are RLC.
pub const SUPPLY: Amount = Amount::from_grist(87_000_000);
/// Coins (which pay for nothing here, since gas is free) of the treasury, so that tools that look at a balance are content.
const COINS_WEI: u128 = 1_000_000_000_000_000_000_000_000;

/// Shortest time between two blocks: a person does not feel it, and under load it halves what everybody does for each block.
const BLOCK_SPACING: Duration = Duration::from_millis(20);

/// A running ledger with a hub on it.
pub struct Ledger {
    /// The ledger's node; `None` for a chain that somebody else runs.
    pub node: Option<NodeHandle>,
    /// JSON-RPC of the ledger.
    pub rpc: String,
    /// The hub.
    pub hub: HubClient,
    /// The treasury's transactions.
    pub treasury: Outbox,
}

/// Starts the ledger, and deploys the hub with the treasury's key or finds the one that is there.
///
/// `simulated_enclave`: what a new hub is born with. It is part of what the hub's deployment is known by, so the folder of an
/// older network must be given what it was born with.
pub async fn start(
    dir: &DataDir,
    listen: SocketAddr,
    treasury: &Wallet,
    simulated_enclave: bool,
) -> Result<Ledger, NetworkError> {
    let db = Db::open(dir.subdir("ledger")?.join("ledger.redb"))?;
    let genesis = Genesis::new(CHAIN_ID_LOCAL).fund(treasury.address(), U256::from(COINS_WEI));
    let node = Node::start(NodeConfig { spacing: BLOCK_SPACING, ..NodeConfig::new(db, genesis, listen) }).await?;
    let outbox_folder = dir.subdir("treasury")?;
    let (treasury, deployment) = deploy_hub(&node, treasury, &outbox_folder, simulated_enclave).await?;
    let hub = HubClient::connect(&node.rpc_url(), deployment.hub).await?;
    Ok(Ledger { rpc: node.rpc_url(), node: Some(node), hub, treasury })
}

/// Finds the hub on somebody else's chain.
pub async fn join(dir: &DataDir, foreign: &ForeignLedger) -> Result<Ledger, NetworkError> {
    let hub = HubClient::connect(&foreign.rpc, foreign.hub).await?;
    let wallet = Wallet::load(&foreign.treasury)?;
    let address = wallet.address();
    require_coins(hub.ledger().as_ref(), address).await?;
    let config = OutboxConfig { key_file: Some(foreign.treasury.clone()), ..OutboxConfig::default() };
    let treasury = Outbox::open(dir.subdir("treasury")?, wallet, Arc::clone(hub.ledger()), config).await?;
    Ok(Ledger { node: None, rpc: foreign.rpc.clone(), hub, treasury })
}

/// Deploys a hub with all its contracts on the chain at `rpc`, from `wallet`, which then has all GRIST; or finishes what was
/// begun: `folder` keeps the transactions.
///
/// # Errors
/// [`NetworkError`]; [`NetworkError::NoCoins`] when the account cannot pay for gas.
pub fn deploy_on<'a>(
    rpc: &'a str,
    wallet: &'a Wallet,
    folder: &'a Path,
    options: &'a DeployOptions,
) -> BoxFuture<'a, Result<Deployment, NetworkError>> {
    Box::pin(async move {
        let rpc = Arc::new(RpcClient::new(rpc).map_err(gristmill_hub::HubError::from)?);
        require_coins(rpc.as_ref(), wallet.address()).await?;
        let outbox = Outbox::open(folder, wallet.clone(), rpc.clone(), OutboxConfig::default()).await?;
        let deployed = deploy(rpc.as_ref(), &outbox, options).await;
        outbox.shutdown().await;
        Ok(deployed?)
    })
}

/// Gas costs something on this chain, and who sends has nothing.
pub async fn require_coins(ledger: &dyn LedgerPort, address: Address) -> Result<(), NetworkError> {
    let unreached = gristmill_hub::HubError::from;
    let base = ledger.fees().await.map_err(unreached)?.base;
    if base != Some(0) && ledger.balance(address).await.map_err(unreached)?.is_zero() {
        let chain_id = ledger.chain_id().await.map_err(unreached)?;
        return Err(NetworkError::NoCoins { address, chain_id });
    }
    Ok(())
}

async fn deploy_hub(
    node: &NodeHandle,
    wallet: &Wallet,
    folder: &Path,
    simulated_enclave: bool,
) -> Result<(Outbox, Deployment), NetworkError> {
    let rpc = Arc::new(RpcClient::new(&node.rpc_url()).map_err(gristmill_hub::HubError::from)?);
    let outbox = Outbox::open(folder, wallet.clone(), rpc.clone(), OutboxConfig::default()).await?;
    let options = DeployOptions { simulated_enclave, ..DeployOptions::local(wallet.address(), SUPPLY) };
    let deployment = deploy(rpc.as_ref(), &outbox, &options).await?;
    Ok((outbox, deployment))
}
