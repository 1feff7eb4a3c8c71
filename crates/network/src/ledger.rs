//! The ledger of a local network, and the hub on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::U256;
use gristmill_datadir::{DataDir, Db};
use gristmill_hub::deploy::{DeployOptions, Deployment, deploy};
use gristmill_hub::{HubClient, Outbox, OutboxConfig, RpcClient};
use gristmill_node::{Genesis, Node, NodeConfig, NodeHandle};
use gristmill_types::{Amount, CHAIN_ID_LOCAL};
use gristmill_wallet::Wallet;

use crate::error::NetworkError;

/// All GRIST of a local network: as many as there are RLC.
pub const SUPPLY: Amount = Amount::from_grist(87_000_000);
/// Coins (which pay for nothing here, since gas is free) of the treasury, so that tools that look at a balance are content.
const COINS_WEI: u128 = 1_000_000_000_000_000_000_000_000;

/// A running ledger with a hub on it.
pub struct Ledger {
    /// The ledger's node.
    pub node: NodeHandle,
    /// The hub.
    pub hub: HubClient,
    /// The treasury's transactions.
    pub treasury: Outbox,
    /// Where everything stands.
    pub deployment: Deployment,
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
    let node = Node::start(NodeConfig::new(db, genesis, listen)).await?;
    let outbox_folder = dir.subdir("treasury")?;
    let (treasury, deployment) = deploy_hub(&node, treasury, &outbox_folder, simulated_enclave).await?;
    let hub = HubClient::connect(&node.rpc_url(), deployment.hub).await?;
    Ok(Ledger { node, hub, treasury, deployment })
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
