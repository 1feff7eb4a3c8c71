//! JSON-RPC over HTTP and WebSocket on one port.

mod blocks;
mod calls;
mod convert;
mod errors;
mod events;
pub(crate) mod filters;
pub mod limits;
mod logs;
mod state;
mod subscriptions;
mod transactions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_consensus::BlockHeader as _;
use gristmill_evm::{BlockError, Chain, ExecutedBlock, View};
use jsonrpsee::RpcModule;
use jsonrpsee::server::{BatchRequestConfig, PingConfig, Server, ServerConfig, ServerHandle};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tower_http::cors::{Any, CorsLayer};
use tracing::warn;

use crate::node::StartError;
use crate::rpc::filters::Filters;
use crate::sequencer::BatchSource;

/// What an RPC method gives.
pub(crate) type RpcResult<T> = Result<T, ErrorObjectOwned>;

/// What the RPC methods work on.
pub(crate) struct Context {
    pub chain: Chain,
    pub source: BatchSource,
    pub blocks: broadcast::Sender<Arc<ExecutedBlock>>,
    pub failed: watch::Receiver<Option<Arc<BlockError>>>,
    pub network_info: Arc<Mutex<Value>>,
    /// Turns true when the node shuts down.
    pub stopping: watch::Receiver<bool>,
    pub filters: Filters,
    /// Tells the server that the context is in use. It comes last, so that it is dropped after the ledger.
    pub user: Option<watch::Receiver<()>>,
}

impl Context {
    pub fn view(&self) -> RpcResult<View> {
        self.chain.view().map_err(errors::store)
    }
}

/// A JSON-RPC server that listens.
#[derive(Debug)]
pub(crate) struct RpcServer {
    address: SocketAddr,
    handle: ServerHandle,
    /// Without receivers once the methods' context, and with it the ledger, is let go.
    users: watch::Sender<()>,
}

impl RpcServer {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for the answers in progress, and until nothing here holds the ledger any more.
    pub async fn stop(self) {
        // It fails only when it has stopped already.
        let _ = self.handle.stop();
        let stopped = async {
            self.handle.stopped().await;
            self.users.closed().await;
        };
        if tokio::time::timeout(limits::SHUTDOWN_WAIT_MAX, stopped).await.is_err() {
            warn!("a client's request did not end in time; shutting down all the same");
        }
    }
}

/// Takes the address for JSON-RPC.
pub(crate) fn bind(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let listener = std::net::TcpListener::bind(address).map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            StartError::AddressInUse { address }
        } else {
            StartError::Listen { address, source }
        }
    })?;
    listener.set_nonblocking(true).map_err(|source| StartError::Listen { address, source })?;
    Ok(listener)
}

/// Serves all methods on `listener`.
pub(crate) fn serve(listener: std::net::TcpListener, mut context: Context) -> Result<RpcServer, std::io::Error> {
    let address = listener.local_addr()?;
    let config = ServerConfig::builder()
        .max_request_body_size(limits::REQUEST_BYTES_MAX)
        .max_response_body_size(limits::RESPONSE_BYTES_MAX)
        .max_connections(limits::CONNECTIONS_MAX)
        .max_subscriptions_per_connection(limits::CONNECTION_SUBSCRIPTIONS_MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(limits::BATCH_REQUESTS_MAX))
        .set_message_buffer_capacity(limits::CONNECTION_MESSAGES_MAX)
        .enable_ws_ping(PingConfig::new())
        .set_id_provider(subscriptions::HexIds)
        .build();
    // Wallets run in web pages of other origins. Nothing here acts in a user's name without a signature.
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any);
    let server = Server::builder()
        .set_config(config)
        .set_http_middleware(tower::ServiceBuilder::new().layer(cors))
        .build_from_tcp(listener)?;
    let (users, user) = watch::channel(());
    context.user = Some(user);
    let handle = server.start(methods(context));
    Ok(RpcServer { address, handle, users })
}

fn methods(context: Context) -> RpcModule<Context> {
    let mut module = RpcModule::new(context);
    general_methods(&mut module);
    state::register(&mut module);
    blocks::register(&mut module);
    transactions::register(&mut module);
    calls::register(&mut module);
    logs::register(&mut module);
    events::register(&mut module);
    subscriptions::register(&mut module);
    module
}

/// Adds a method that reads the ledger, and so may wait for the disk.
pub(crate) fn add<R>(
    module: &mut RpcModule<Context>,
    name: &'static str,
    method: fn(&Context, Params<'_>) -> RpcResult<R>,
) where
    R: Serialize + Clone + Send + 'static,
{
    module
        .register_blocking_method(name, move |params, context, _| method(&context, params))
        .expect("INVARIANT: every method name is registered once");
}

/// Adds a method that answers from memory.
fn add_quick<R>(module: &mut RpcModule<Context>, name: &'static str, method: fn(&Context, Params<'_>) -> RpcResult<R>)
where
    R: Serialize + Clone + Send + 'static,
{
    module
        .register_method(name, move |params, context, _| method(context, params))
        .expect("INVARIANT: every method name is registered once");
}

fn general_methods(module: &mut RpcModule<Context>) {
    add_quick(module, "web3_clientVersion", |_, _| Ok(limits::CLIENT_VERSION));
    add_quick(module, "net_version", |context, _| Ok(context.chain.chain_id().to_string()));
    add_quick(module, "net_listening", |_, _| Ok(true));
    add_quick(module, "net_peerCount", |_, _| Ok(convert::quantity(0)));
    add_quick(module, "eth_chainId", |context, _| Ok(convert::quantity(context.chain.chain_id())));
    add_quick(module, "eth_syncing", |_, _| Ok(false));
    add_quick(module, "eth_blockNumber", |context, _| Ok(convert::quantity(context.chain.head().number())));
    add_quick(module, "eth_accounts", |_, _| Ok(Vec::<String>::new()));
    add_quick(module, "eth_gasPrice", |_, _| Ok(convert::quantity(0)));
    add_quick(module, "eth_maxPriorityFeePerGas", |_, _| Ok(convert::quantity(0)));
    add_quick(module, "eth_blobBaseFee", |_, _| Ok(convert::quantity(1)));
    add_quick(module, "gristmill_network", |context, _| {
        Ok(context.network_info.lock().unwrap_or_else(PoisonError::into_inner).clone())
    });
}
