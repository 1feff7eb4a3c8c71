//! The worker's end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::Stream;
use gristmill_session::{Answer, ResumeError, SessionId};
use gristmill_types::Address;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::Streaming;

use super::line::{Connection, Fault, Item, Line, Note, Received, SendError};
use crate::{
    PROTOCOL_VERSION, check,
    client::{ConnectError, Timeouts, connect, pool_client},
    convert::FieldError,
    hello::signing_text,
    tls::PoolUrl,
    wire::{Hello, PoolFrame, RefuseReason, Welcome, WorkerFrame, pool_frame, worker_frame},
};

type WorkerLine = Line<WorkerFrame, PoolFrame, WorkerNote>;

/// What a worker needs to keep a link.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The pool.
    pub pool: PoolUrl,
    /// Who the worker is.
    pub profile: Profile,
    /// How long it waits for the pool.
    pub timeouts: Timeouts,
    /// For the pool's answer to the hello. Default 10 s.
    pub welcome_timeout: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

impl WorkerConfig {
    /// A link to `pool` with the defaults.
    pub fn new(pool: PoolUrl, profile: Profile) -> Self {
        Self {
            pool,
            profile,
            timeouts: Timeouts::default(),
            welcome_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
        }
    }
}

/// Who a worker is and what it can do, as its hello tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its ledger address.
    pub address: Address,
    /// Engine profile of its sandbox; at most [`check::NAME_BYTES_MAX`] bytes, no control characters.
    pub engine_profile: String,
    /// Tasks that it runs at a time, from 1 to [`check::SLOTS_MAX`].
    pub slots: u32,
    /// Memory that it lends, in bytes.
    pub memory_bytes: u64,
    /// Version of its software; bounds as of the engine profile.
    pub software_version: String,
    /// GPUs that it lends, at most [`check::GPUS_MAX`].
    pub gpus: u32,
    /// Whether its tasks may have a way out to the network.
    pub network: bool,
}

/// Pauses between attempts to connect: each is twice the one before, half of it random so that the workers of a pool
/// that was restarted do not come all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause. Default 200 ms.
    pub min: Duration,
    /// The longest pause. Default 30 s.
    pub max: Duration,
    /// A connection that lived so long was a good one: after it the pauses begin anew. Default 5 s.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(200), max: Duration::from_secs(30), reset_after: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The pause after `failures` (at least 1) attempts in a row.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.min.saturating_mul(1 << doublings).min(self.max);
        whole / 2 + (whole / 2).mul_f64(rand::random::<f64>())
    }
}

/// Signs hellos with the worker's ledger key.
pub trait HelloSigner: Send + Sync + 'static {
    /// The EIP-191 (`personal_sign`) signature of `text`: r, s and v (27 or 28).
    fn sign(&self, text: &[u8]) -> [u8; 65];
}

impl<F: Fn(&[u8]) -> [u8; 65] + Send + Sync + 'static> HelloSigner for F {
    fn sign(&self, text: &[u8]) -> [u8; 65] {
        self(text)
    }
}

/// Why a link has no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The pool could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The pool turned the worker away.
    #[error("the pool refuses this worker ({reason}): {text}", reason = reason.as_str_name())]
    Refused {
        /// Why.
        reason: RefuseReason,
        /// Why, in the pool's words.
        text: String,
    },
    /// The pool did not answer the hello in time.
    #[error("the pool took the connection but did not answer within {waited:?}")]
    NoWelcome {
        /// How long the worker waited.
        waited: Duration,
    },
    /// The stream broke.
    #[error("the stream to the pool broke")]
    Stream(#[source] Box<tonic::Status>),
    /// The pool ended the stream.
    #[error("the pool ended the stream")]
    Ended,
    /// The pool broke the rules of the stream.
    #[error("the pool broke the rules of the stream")]
    Fault(#[from] Fault),
    /// The pool's numbers do not fit the session.
    #[error("the session could not be resumed")]
    Resume(#[from] ResumeError),
    /// What the worker says of itself is malformed.
    #[error("this worker's own profile is malformed")]
    Profile(#[source] FieldError),
}

impl LinkError {
    /// Whether trying again cannot help; `welcomed` tells whether this pool ever took the worker in.
    fn is_final(&self, welcomed: bool) -> bool {
        use RefuseReason::{Banned, Engine, NotMember, Replaced, Signature, Version};
        match self {
            // Replaced: another process has this worker's key. Two that take over from each other help nobody. The
            // link's own reconnects never read it, since it goes to the connection they left.
            Self::Refused { reason, .. } => {
                matches!(reason, Banned | Version | Signature | Engine | Replaced | NotMember)
            }
            // Once it has worked, a wrong key is more likely somebody in between (a captive portal) than an old address.
            Self::Connect(ConnectError::PoolKeyMismatch { .. }) => !welcomed,
            Self::Connect(ConnectError::Tls(_)) | Self::Profile(_) => true,
            _ => false,
        }
    }

    /// Whether the session itself is to blame, so that the next connection must begin a new one.
    fn spoils_session(&self) -> bool {
        use RefuseReason::{Malformed, Session};
        match self {
            Self::Refused { reason, .. } => matches!(reason, Malformed | Session),
            Self::Resume(_) | Self::Fault(_) => true,
            _ => false,
        }
    }
}

/// What a worker's listener hears.
// The large variant is the usual one, so a box would cost an allocation a message and save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// The pool took the worker in.
    Connected {
        /// What the pool says of itself.
        welcome: Box<Welcome>,
        /// True if the pool knows nothing of what was said before: tell it what still matters.
        new_session: bool,
    },
    /// The connection broke, or could not be made.
    Disconnected {
        /// Why.
        error: LinkError,
        /// When the link tries again; none if it gave up, and then no event follows.
        retry_in: Option<Duration>,
    },
    /// A message from the pool.
    Message(pool_frame::Body),
}

/// Speaks to the pool. Clones speak over the same link.
#[derive(Clone)]
pub struct WorkerLink {
    line: Arc<WorkerLine>,
}

/// Listens to the pool. Dropping it ends the link and its task.
pub struct WorkerEvents {
    line: Arc<WorkerLine>,
    driver: JoinHandle<()>,
}

/// Starts a link in the background. It lives until the [`WorkerEvents`] are dropped or the pool refuses for good.
/// Must be called within a tokio runtime.
pub fn start(config: WorkerConfig, signer: impl HelloSigner) -> (WorkerLink, WorkerEvents) {
    let line = WorkerLine::new();
    let driver = Arc::new(Driver { config, signer: Box::new(signer), line: Arc::clone(&line) });
    let events = WorkerEvents { line: Arc::clone(&line), driver: tokio::spawn(driver.run()) };
    (WorkerLink { line }, events)
}

impl WorkerLink {
    /// Sends a message when there is room: waits while the pool has [`crate::SESSION_WINDOW`] messages to take, and
    /// until the first connection. A heartbeat never waits: without a connection it is dropped.
    ///
    /// Cancel safe: a cancelled call has sent nothing.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the link ended, [`SendError::Field`] and [`SendError::NotAMessage`] for a message
    /// that no link sends.
    pub async fn send(&self, body: worker_frame::Body) -> Result<(), SendError> {
        self.line.send(body).await
    }

    /// Sends a message now or not at all.
    ///
    /// # Errors
    /// As [`WorkerLink::send`], and [`SendError::WindowFull`] or [`SendError::NoSession`] where that waits.
    pub fn try_send(&self, body: worker_frame::Body) -> Result<(), SendError> {
        self.line.try_send(body)
    }

    /// Waits until the pool has taken everything sent so far; without a session there is nothing to wait for.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the link ended.
    pub async fn flush(&self) -> Result<(), SendError> {
        self.line.flush().await
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.line.is_connected()
    }
}

impl WorkerEvents {
    /// The next event; none once the link has given up. A message counts as taken when this returns it, and is then
    /// never sent again: the caller answers for it. Events about the connection come before messages that wait.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<WorkerEvent> {
        Some(match self.line.next().await? {
            Item::Message(body) => WorkerEvent::Message(body),
            Item::Note(WorkerNote::Connected { welcome, new_session }) => {
                WorkerEvent::Connected { welcome, new_session }
            }
            Item::Note(WorkerNote::Disconnected { error, retry_in }) => WorkerEvent::Disconnected { error, retry_in },
        })
    }
}

impl Drop for WorkerEvents {
    fn drop(&mut self) {
        self.line.close(None);
        self.driver.abort();
    }
}

enum WorkerNote {
    Connected { welcome: Box<Welcome>, new_session: bool },
    Disconnected { error: LinkError, retry_in: Option<Duration> },
}

impl Note for WorkerNote {
    fn supersedes(&mut self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Connected { new_session, .. }, Self::Connected { new_session: missed, .. }) => {
                *new_session |= missed;
                true
            }
            (Self::Disconnected { .. }, Self::Disconnected { .. }) => true,
            _ => false,
        }
    }
}

/// How far a connection got before it ended.
#[derive(Default)]
struct Progress {
    welcomed_at: Option<Instant>,
}

struct Driver {
    config: WorkerConfig,
    signer: Box<dyn HelloSigner>,
    line: Arc<WorkerLine>,
}

impl Driver {
    async fn run(self: Arc<Self>) {
        let (mut failures, mut ever_welcomed) = (0u32, false);
        let mut fresh = SessionId(rand::random());
        loop {
            let connection = Connection::new();
            let mut progress = Progress::default();
            let Err(error) = Arc::clone(&self).connection(&connection, fresh, &mut progress).await;
            connection.end(None);
            if let Some(welcomed_at) = progress.welcomed_at {
                ever_welcomed = true;
                if welcomed_at.elapsed() >= self.config.backoff.reset_after {
                    failures = 0;
                }
            }
            if error.spoils_session() {
                self.line.forget_session();
            }
            // While no welcome came, the pool may have begun the session that was offered, and have spoken in it.
            if progress.welcomed_at.is_some() || error.spoils_session() {
                fresh = SessionId(rand::random());
            }
            failures = failures.saturating_add(1);
            let is_final = error.is_final(ever_welcomed);
            let retry_in = (!is_final).then(|| self.config.backoff.pause(failures));
            tracing::debug!(pool = %self.config.pool, %error, ?retry_in, "no connection to the pool");
            let note = WorkerNote::Disconnected { error, retry_in };
            if progress.welcomed_at.is_some() {
                self.line.detach(&connection, note);
            } else {
                self.line.note(note);
            }
            match retry_in {
                Some(pause) => sleep(pause).await,
                None => return self.line.close(None),
            }
        }
    }

    /// One connection, from dialling to its end.
    async fn connection(
        self: Arc<Self>,
        connection: &Arc<Connection<worker_frame::Body>>,
        fresh: SessionId,
        progress: &mut Progress,
    ) -> Result<std::convert::Infallible, LinkError> {
        let offer = self.line.offer(fresh);
        let hello = worker_frame::Body::Hello(self.hello(&offer));
        check::worker_body(&hello).map_err(LinkError::Profile)?;
        let channel = connect(&self.config.pool, &self.config.timeouts).await?;
        let first = WorkerFrame { seq: 0, ack: 0, body: Some(hello) };
        let outbound = self.line.outbound(connection, Some(first));
        let waited = self.config.welcome_timeout;
        let (mut inbound, welcome) = timeout(waited, greet(pool_client(channel), outbound))
            .await
            .map_err(|_| LinkError::NoWelcome { waited })??;
        let answer = match welcome.resumed {
            true => Answer::Resumed { last_received: welcome.last_received },
            false => Answer::Fresh,
        };
        self.line.conclude(&offer, answer, connection, |new_session| WorkerNote::Connected {
            welcome: Box::new(welcome),
            new_session,
        })?;
        progress.welcomed_at = Some(Instant::now());
        loop {
            let frame = next_frame(&mut inbound).await?;
            if let Received::Handshake(body) = self.line.receive(connection, frame)? {
                return Err(refusal(body));
            }
        }
    }

    fn hello(&self, offer: &gristmill_session::Offer) -> Hello {
        let Profile { address, engine_profile, slots, memory_bytes, software_version, gpus, network } =
            self.config.profile.clone();
        let (session_id, last_received) =
            offer.resume.map_or((Vec::new(), 0), |(id, last_received)| (id.0.to_vec(), last_received));
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut hello = Hello {
            session_id,
            last_received,
            new_session_id: offer.fresh.0.to_vec(),
            worker_address: address.to_vec(),
            protocol_version: PROTOCOL_VERSION,
            engine_profile,
            slots,
            memory_bytes,
            software_version,
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            signature: Vec::new(),
            gpus,
            network,
        };
        hello.signature = self.signer.sign(&signing_text(&hello, &self.config.pool.key)).to_vec();
        hello
    }
}

/// Opens the stream and waits for the pool's answer to the hello.
async fn greet(
    mut client: crate::wire::pool_client::PoolClient<tonic::transport::Channel>,
    outbound: impl Stream<Item = WorkerFrame> + Send + 'static,
) -> Result<(Streaming<PoolFrame>, Welcome), LinkError> {
    let mut inbound = client.session(outbound).await.map_err(broken)?.into_inner();
    let body = next_frame(&mut inbound).await?.body.ok_or(Fault::OutOfPlace)?;
    check::pool_body(&body).map_err(Fault::Field)?;
    match body {
        pool_frame::Body::Welcome(welcome) => Ok((inbound, welcome)),
        other => Err(refusal(other)),
    }
}

async fn next_frame(inbound: &mut Streaming<PoolFrame>) -> Result<PoolFrame, LinkError> {
    inbound.message().await.map_err(broken)?.ok_or(LinkError::Ended)
}

fn broken(status: tonic::Status) -> LinkError {
    LinkError::Stream(Box::new(status))
}

fn refusal(body: pool_frame::Body) -> LinkError {
    match body {
        pool_frame::Body::Refuse(refuse) => LinkError::Refused { reason: refuse.reason(), text: refuse.text },
        _ => Fault::OutOfPlace.into(),
    }
}
