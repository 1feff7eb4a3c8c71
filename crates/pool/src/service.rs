//! Start a pool: its listener, its calls, its loop.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::Address;
use gristmill_credibility::Seed;
use gristmill_datadir::DataDir;
use gristmill_hub::{Follower, FollowerConfig, GivenPosition, HubClient, Outbox, OutboxConfig};
use gristmill_protocol::check;
use gristmill_protocol::control::Listening;
use gristmill_protocol::convert::{FieldError, address, fixed};
use gristmill_protocol::link::{Admission, LinkLimits, PoolEvents, PoolFrames, PoolLinks, refuse};
use gristmill_protocol::page::{self, Content, Pages};
use gristmill_protocol::server::{self, ListenLimits};
use gristmill_protocol::tls::{KeyHash, PoolUrl, ServerTls};
use gristmill_protocol::tonic::{self, Request, Response, Status, Streaming};
use gristmill_protocol::wire::{
    ExplainReply, ExplainRequest, Hello, JoinReply, JoinRequest, LogsReply, LogsRequest, QuoteReply, QuoteRequest,
    Refuse, RefuseReason, StatusReply, StatusRequest, TaskLog, Welcome, WorkerFrame, WorkersReply, WorkersRequest,
    explain_request, pool_server,
};
use gristmill_result::pack::{LOG_BYTES_MAX, read_header};
use gristmill_scheduler::{Fence, Scheduler};
use gristmill_store::Client;
use gristmill_types::{Amount, DealId, OrderHash, TaskId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::claim::{self, Claim};
use crate::config::{HEARTBEAT_MS, PoolConfig};
use crate::control::{self, Answer, Ask};
use crate::engine::{About, Engine, News, Parts, Query, found, unix_ms};
use crate::error::PoolError;
use crate::joining::{found_members, not_invited, parse_join, settle_privacy};
use crate::journal::Journal;
use crate::keeper::{Keeper, Wanted};
use crate::members::Members;
use crate::settings::Base;
use crate::{belief, metrics, public, setup};

/// Kind and version of a pool's data folder.
pub const DATA_KIND: &str = "pool";
/// See [`DATA_KIND`].
pub const DATA_VERSION: u32 = 1;
/// Questions of clients that wait.
const QUERIES_MAX: usize = 256;
/// What a worker stakes of the pool's price, in percent: iExec's default policy, which this pool keeps.
const WORKER_STAKE_RATIO: u128 = 30;
/// Bytes of a pack that are read for its log: the sections before the files.
const LOG_PACK_BYTES_MAX: u64 = 256 << 20;

/// A running pool. Dropping the handle does not stop it; [`PoolHandle::shutdown`] does.
pub struct PoolHandle {
    url: PoolUrl,
    workerpool: Address,
    local_addr: SocketAddr,
    metrics: Option<SocketAddr>,
    drained: Arc<AtomicBool>,
    queries: mpsc::Sender<Query>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    task: JoinHandle<Result<(), PoolError>>,
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle").field("url", &self.url.to_string()).finish_non_exhaustive()
    }
}

impl PoolHandle {
    /// Where workers and clients dial it.
    pub fn url(&self) -> &PoolUrl {
        &self.url
    }

    /// Its workerpool on the ledger.
    pub fn workerpool(&self) -> Address {
        self.workerpool
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where its metrics are, if they are served.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Has it read its settings again, as [`Ask::Reload`]; the pool's log says what came of it.
    pub fn reload(&self) -> BoxFuture<'static, Result<Answer, String>> {
        Box::pin(control::pass_on(Ask::Reload, self.queries.clone()))
    }

    /// True once it has ended since its operator had it drained: no deal of it is open.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// True once its loop has ended by itself: it is drained, the ledger is gone for good, or its disk failed.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops it. Leases end; what the ledger and the journal hold goes on after the next start.
    ///
    /// # Errors
    /// What ended it, if it ended before.
    pub fn shutdown(self) -> BoxFuture<'static, Result<(), PoolError>> {
        Box::pin(async move {
            let _ = self.stop.send(());
            let result = match self.task.await {
                Ok(result) => result,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Ok(()),
            };
            self.serving.abort();
            result
        })
    }
}

/// Starts a pool inside the current tokio runtime: registers it on the ledger where that is still to do, takes up
/// every deal that is not finished, and listens.
///
/// # Errors
/// [`PoolError`].
pub fn start(config: PoolConfig) -> BoxFuture<'static, Result<PoolHandle, PoolError>> {
    Box::pin(async move {
        let hub = HubClient::connect(&config.rpc_url, config.hub).await?;
        open(config, hub).await
    })
}

/// As [`start`], on a ledger that is reached in another way than by [`PoolConfig::rpc_url`], which workers are told all the same.
///
/// # Errors
/// [`PoolError`].
pub fn start_on(config: PoolConfig, hub: HubClient) -> BoxFuture<'static, Result<PoolHandle, PoolError>> {
    Box::pin(open(config, hub))
}

async fn open(mut config: PoolConfig, hub: HubClient) -> Result<PoolHandle, PoolError> {
    let dir = DataDir::open(&config.data_dir, DATA_KIND, DATA_VERSION)?;
    let tls = ServerTls::load_or_create(dir.file("tls.pem")?)?;
    if config.public.is_some() && config.listen.port() != 0 {
        claim::refuse_second(&public::url(&config, &tls, config.listen)).await?;
    }
    let listen_error = |source| PoolError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;
    let url = public::url(&config, &tls, local_addr);
    config.description = public::description(&config, &url)?;
    let (queries, query_queue) = mpsc::channel(QUERIES_MAX);
    // First, so that an address that is taken is said before anything is done on the ledger.
    let pages = config.metrics.map(|address| serve_metrics(address, queries.clone())).transpose()?;
    let control = control::listen(dir.path(), queries.clone())?;
    let metrics = pages.as_ref().map(Pages::address);
    let store = Client::new(&config.store_url)?;
    let (ground, claim) = stand(&config, hub, &dir, &url).await?;
    let Assembled { engine, follower, links, events, welcome, news } = assemble(config, ground, &store).await?;
    let workerpool = engine.workerpool();
    let operator = queries.clone();
    let service = Service { key: tls.key_hash(), identity: Identity { welcome }, links, queries, store };
    let (stop, stopped) = oneshot::channel();
    let incoming = server::incoming(listener, &tls, ListenLimits::default());
    let serving = tokio::spawn(async move {
        // Ended by abort: the streams are closed by the engine before.
        if let Err(error) = server::serve(incoming, service, std::future::pending()).await {
            tracing::error!(%error, "the pool's listener failed");
        }
    });
    let drained = Arc::new(AtomicBool::new(false));
    let is_drained = Arc::clone(&drained);
    let watchers: (Listening, Option<Pages>, DataDir, Claim) = (control, pages, dir, claim);
    let task = tokio::spawn(async move {
        let result = engine.run(follower, events, news, query_queue, stopped).await;
        drop(watchers);
        is_drained.store(matches!(result, Ok(true)), Ordering::Release);
        result.map(drop)
    });
    tracing::info!(%url, %workerpool, "the pool is open");
    Ok(PoolHandle { url, workerpool, local_addr, metrics, drained, queries: operator, stop, serving, task })
}

/// What a pool stands on.
pub(crate) struct Ground {
    pub hub: HubClient,
    pub outbox: Outbox,
    pub journal: Journal,
    /// The secret from which its draws follow.
    pub seed: Seed,
    pub scratch: PathBuf,
    /// Where it is dialled, with its key.
    pub url: PoolUrl,
}

/// A pool that is ready to run.
pub(crate) struct Assembled {
    pub engine: Engine,
    pub follower: Follower,
    pub links: PoolLinks,
    pub events: PoolEvents,
    pub welcome: Welcome,
    pub news: mpsc::UnboundedReceiver<News>,
}

/// Claims the key on the ledger, and opens what is in the pool's folder.
async fn stand(
    config: &PoolConfig,
    hub: HubClient,
    dir: &DataDir,
    url: &PoolUrl,
) -> Result<(Ground, Claim), PoolError> {
    // Before the outbox sends anything.
    let claim = Claim::take(&hub, config.wallet.address()).await?;
    let (root, ledger) = (dir.subdir("outbox")?, Arc::clone(hub.ledger()));
    let outbox = Outbox::open(root, config.wallet.clone(), ledger, OutboxConfig::default()).await?;
    let journal = Journal::open(dir.database("journal.redb")?)?;
    let (seed, scratch) = (belief::seed(dir)?, dir.subdir("scratch")?);
    Ok((Ground { hub, outbox, journal, seed, scratch, url: url.clone() }, claim))
}

/// Registers the pool where that is still to do, puts its orders right, and reads what it has to go on with.
pub(crate) async fn assemble(mut config: PoolConfig, ground: Ground, store: &Client) -> Result<Assembled, PoolError> {
    let since_unix_ms = unix_ms();
    let Ground { hub, outbox, journal, seed, scratch, url } = ground;
    let base = Base::of(&config, &hub.view_categories().await?);
    let held = base.read()?;
    base.apply(&held.settings, &mut config);
    let is_private = settle_privacy(&config, &journal)?;
    let workerpool = setup::register(&config, &hub, &outbox).await?;
    let bans = Arc::new(RwLock::new(journal.bans()?));
    let stake_needed = stake_needed(&config.prices);
    let stake_told = Arc::new(AtomicU64::new(told(stake_needed)));
    let (wallet, newcomers, overflow) = (config.wallet.clone(), config.newcomers.clone(), config.overflow.clone());
    let about =
        About { since_unix_ms, url: url.to_string(), rpc: config.rpc_url.clone(), store: config.store_url.clone() };
    let scheduler = Scheduler::new(config.policy.clone(), Fence(journal.next_fence_epoch()?));
    let scheduler = match config.credibility.clone() {
        Some(policy) => scheduler.believing(belief::recall(policy, seed, &journal)?),
        None => scheduler,
    };
    let welcome = Welcome {
        rpc_url: config.rpc_url.clone(),
        hub_address: config.hub.to_vec(),
        chain_id: hub.chain_id(),
        store_url: config.store_url.clone(),
        pool_address: workerpool.to_vec(),
        pool_owner: wallet.address().to_vec(),
        heartbeat_ms: HEARTBEAT_MS,
        stake_needed: told(stake_needed),
        ..Welcome::default()
    };
    let members = found_members(&config, &journal, is_private)?;
    let keeper = Keeper::new(wallet.clone(), hub.clone(), outbox.clone(), workerpool);
    let keeping = keeper.start(Wanted::of(&base, &held.settings), journal.is_draining()?).await?;
    let found = found::find(&hub, workerpool, |deal| Ok(journal.is_finished(deal)?)).await?;
    let own = overflow.as_ref().map(|overflow| overflow.worker);
    let gate = Gate {
        welcome: welcome.clone(),
        stake_told: Arc::clone(&stake_told),
        bans: Arc::clone(&bans),
        members: Arc::clone(&members),
        is_private,
        own,
    };
    let (links, events) = PoolLinks::new(gate, url.key, LinkLimits::default());
    let parts = Parts {
        hub,
        outbox,
        wallet,
        workerpool,
        links: links.clone(),
        store: store.clone(),
        scheduler,
        journal,
        scratch,
        bans,
        members,
        is_private,
        newcomers,
        overflow,
        stake_needed,
        stake_told,
        keeping,
        base,
        held,
        about,
    };
    let (news_sender, news) = mpsc::unbounded_channel();
    let follower_config = FollowerConfig { start_block: found.next_block, ..FollowerConfig::default() };
    let follower = Follower::open(&parts.hub, GivenPosition(None), follower_config).await?;
    let mut engine = Engine::new(parts, news_sender);
    engine.restore(found).await?;
    Ok(Assembled { engine, follower, links, events, welcome, news })
}

/// Serves `/metrics`, each time as the pool is then.
fn serve_metrics(address: SocketAddr, queries: mpsc::Sender<Query>) -> Result<Pages, PoolError> {
    let pages = page::serve(address, "/metrics", move |path| {
        let queries = queries.clone();
        async move {
            if path != "/metrics" {
                return None;
            }
            match control::pass_on(Ask::Metrics, queries).await {
                Ok(Answer::Metrics(body)) => Some(Content { kind: metrics::CONTENT_TYPE, body }),
                _ => None,
            }
        }
    });
    let pages = pages.map_err(|source| PoolError::Metrics { address, source })?;
    tracing::info!("the metrics are at http://{}/metrics", pages.address());
    Ok(pages)
}

/// The stake of the dearest category.
pub(crate) fn stake_needed(prices: &[(u64, Amount)]) -> Amount {
    let stake = |price: &Amount| price.checked_ratio(WORKER_STAKE_RATIO, 100).unwrap_or(Amount::MAX);
    prices.iter().map(|(_, price)| stake(price)).max().unwrap_or(Amount::ZERO)
}

/// An amount as a worker is told it.
pub(crate) fn told(amount: Amount) -> u64 {
    u64::try_from(amount.ngrist()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug)]
struct Identity {
    welcome: Welcome,
}

/// Lets workers in whose hello is signed by their ledger key, and nobody who is banned; into a private pool only members.
struct Gate {
    welcome: Welcome,
    /// The stake that a worker needs: it changes with the prices.
    stake_told: Arc<AtomicU64>,
    bans: Arc<RwLock<BTreeMap<Address, String>>>,
    members: Arc<RwLock<Members>>,
    is_private: bool,
    /// The worker of this process, if there is one: it needs no invitation.
    own: Option<Address>,
}

#[tonic::async_trait]
impl Admission for Gate {
    async fn admit(&self, hello: &Hello, text: &[u8], _: Option<SocketAddr>) -> Result<Welcome, Refuse> {
        let worker = address("hello.worker_address", &hello.worker_address)
            .map_err(|error| refuse(RefuseReason::Malformed, error.to_string()))?;
        match gristmill_wallet::recover_message(text, &hello.signature) {
            Ok(signer) if signer == worker => {}
            _ => return Err(refuse(RefuseReason::Signature, "the hello is not signed by the worker's key")),
        }
        if let Some(reason) = self.bans.read().unwrap_or_else(PoisonError::into_inner).get(&worker) {
            let text = check::shorten(format!("this pool gives you no more work: {reason}"));
            return Err(refuse(RefuseReason::Banned, text));
        }
        let is_member = || self.members.read().unwrap_or_else(PoisonError::into_inner).worker(worker).is_some();
        if self.is_private && self.own != Some(worker) && !is_member() {
            return Err(refuse(RefuseReason::NotMember, not_invited()));
        }
        Ok(Welcome { stake_needed: self.stake_told.load(Ordering::Acquire), ..self.welcome.clone() })
    }
}

struct Service {
    key: KeyHash,
    identity: Identity,
    links: PoolLinks,
    queries: mpsc::Sender<Query>,
    store: Client,
}

pub(crate) fn invalid(error: FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

impl Service {
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Status> {
        let stopping = || Status::unavailable("the pool is stopping");
        let (reply, answer) = oneshot::channel();
        self.queries.send(query(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    async fn log_of(&self, worker: Address, pack: gristmill_types::ContentId) -> Option<TaskLog> {
        let bytes = self.store.get_bytes(pack, LOG_PACK_BYTES_MAX).await.ok()?;
        let header = read_header(&mut bytes.as_slice(), None).ok()?;
        Some(TaskLog { worker: worker.to_vec(), truncated: header.log.len() >= LOG_BYTES_MAX, log: header.log })
    }
}

#[tonic::async_trait]
impl pool_server::Pool for Service {
    type SessionStream = PoolFrames;

    async fn session(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<PoolFrames>, Status> {
        self.links.session(request).await
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let welcome = &self.identity.welcome;
        let figures = self.ask(Query::Status).await?;
        Ok(Response::new(StatusReply {
            pool_address: welcome.pool_address.clone(),
            pool_owner: welcome.pool_owner.clone(),
            hub_address: welcome.hub_address.clone(),
            chain_id: welcome.chain_id,
            rpc_url: welcome.rpc_url.clone(),
            store_url: welcome.store_url.clone(),
            protocol_version: gristmill_protocol::PROTOCOL_VERSION,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..figures
        }))
    }

    async fn workers(&self, request: Request<WorkersRequest>) -> Result<Response<WorkersReply>, Status> {
        let request = request.into_inner();
        let after = match request.after.as_slice() {
            [] => None,
            bytes => Some(address("workers.after", bytes).map_err(invalid)?),
        };
        let limit = request.limit;
        self.ask(|reply| Query::Workers { after, limit, reply }).await.map(Response::new)
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        use explain_request::Subject;
        let id = |field, bytes: &[u8]| fixed::<32>(field, bytes).map_err(invalid);
        let reply = match request.into_inner().subject {
            Some(Subject::TaskId(bytes)) => {
                let task = TaskId(id("explain.task_id", &bytes)?.into());
                self.ask(|reply| Query::ExplainTask(task, reply)).await?
            }
            Some(Subject::DealId(bytes)) => {
                let deal = DealId(id("explain.deal_id", &bytes)?.into());
                self.ask(|reply| Query::ExplainDeal(deal, reply)).await?
            }
            Some(Subject::RequestHash(bytes)) => {
                let request = OrderHash(id("explain.request_hash", &bytes)?.into());
                self.ask(|reply| Query::ExplainRequest(request, reply)).await?
            }
            Some(Subject::Worker(bytes)) => {
                let worker = address("explain.worker", &bytes).map_err(invalid)?;
                self.ask(|reply| Query::ExplainWorker(worker, reply)).await?
            }
            None => return Err(Status::invalid_argument("explain: no subject is given")),
        };
        Ok(Response::new(reply))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<LogsReply>, Status> {
        let task = TaskId(fixed::<32>("logs.task_id", &request.into_inner().task_id).map_err(invalid)?.into());
        let packs = self.ask(|reply| Query::Logs(task, reply)).await?;
        let mut logs = Vec::new();
        for (worker, pack) in packs {
            logs.extend(self.log_of(worker, pack).await);
        }
        Ok(Response::new(LogsReply { logs }))
    }

    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteReply>, Status> {
        let request = request.into_inner();
        check::quote_request(&request).map_err(invalid)?;
        let answer = self.ask(|reply| Query::Quote(request, reply)).await?;
        answer.map(Response::new).map_err(Status::invalid_argument)
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let join = parse_join(&request.into_inner(), &self.key)?;
        let joined = self.ask(|reply| Query::Join(Box::new(join), reply)).await?;
        let joined = joined.map_err(|error| Status::failed_precondition(error.to_string()))?;
        let welcome = &self.identity.welcome;
        Ok(Response::new(JoinReply {
            user: joined.user,
            group: joined.group.unwrap_or_default(),
            requester: joined.requester,
            worker_name: joined.worker.unwrap_or_default(),
            hub_address: welcome.hub_address.clone(),
            chain_id: welcome.chain_id,
            rpc_url: welcome.rpc_url.clone(),
            store_url: welcome.store_url.clone(),
        }))
    }
}
