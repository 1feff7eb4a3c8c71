//! The pool's end: the streams of all its workers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use gristmill_session::{Answer, Offer, SessionId};
use gristmill_types::Address;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    line::{Connection, Fault, Item, Line, Note, Received, SendError},
    refuse,
};
use crate::{
    PROTOCOL_VERSION, check,
    convert::{address, fixed},
    hello::signing_text,
    server::PeerAddr,
    tls::KeyHash,
    wire::{Heartbeat, Hello, PoolFrame, Refuse, RefuseReason, Welcome, WorkerFrame, pool_frame, worker_frame},
};

type PoolLine = Line<PoolFrame, WorkerFrame, PoolNote>;
type PoolConnection = Arc<Connection<pool_frame::Body>>;

/// The frames that go to one worker, as the generated service wants them.
pub type PoolFrames = Pin<Box<dyn Stream<Item = Result<PoolFrame, Status>> + Send>>;

/// The frames that come from one worker.
pub trait Inbound: Stream<Item = Result<WorkerFrame, Status>> + Send + Unpin + 'static {}

impl<S: Stream<Item = Result<WorkerFrame, Status>> + Send + Unpin + 'static> Inbound for S {}

/// Messages that wait for one worker besides those in its session's window: a few for each slot that one may have.
pub const QUEUE_MAX: usize = 4_096;

/// What a pool puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// For a worker's hello, once it opened its stream. Default 10 s.
    pub hello_timeout: Duration,
    /// How long the session of a worker that is away is kept. Default 10 min.
    pub session_retention: Duration,
    /// Sessions at a time, of workers connected and away. Past it the one away longest is dropped, and when all are
    /// connected the newcomer is refused. Default 16384.
    pub sessions_max: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(10),
            session_retention: Duration::from_secs(600),
            sessions_max: 16_384,
        }
    }
}

/// Decides who may work for the pool.
#[tonic::async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Takes a worker in or turns it away. `hello` has passed [`check`] and has the right protocol version; `text` is
    /// what [`Hello::signature`] must be the EIP-191 signature of, by the key of [`Hello::worker_address`]. **The
    /// implementation checks that signature.** The fields `resumed` and `last_received` of the welcome are filled in
    /// by the link.
    async fn admit(&self, hello: &Hello, text: &[u8], peer: Option<SocketAddr>) -> Result<Welcome, Refuse>;
}

/// Something about one worker.
#[derive(Debug)]
pub struct PoolEvent {
    /// The worker.
    pub worker: Address,
    /// What.
    pub kind: PoolEventKind,
}

/// What a pool's listener hears.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// The worker is there (again).
    Connected {
        /// What it says of itself.
        hello: Box<Hello>,
        /// True if it knows nothing of what was sent before: tell it what still matters.
        new_session: bool,
        /// Where it comes from.
        peer: Option<SocketAddr>,
    },
    /// Its connection is gone. Its session is kept for a while.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// Its latest sign of life.
    Heartbeat(Heartbeat),
    /// A message.
    Message(worker_frame::Body),
}

/// The streams of all workers of a pool. Clones share them.
#[derive(Clone)]
pub struct PoolLinks {
    inner: Arc<Inner>,
}

/// Listens to all workers, in turn, so that a talkative one does not keep the others waiting.
pub struct PoolEvents {
    inner: Arc<Inner>,
}

struct Inner {
    admission: Box<dyn Admission>,
    key: KeyHash,
    limits: LinkLimits,
    /// Guards who has a session.
    workers: Mutex<Workers>,
    /// Guards whose turn it is to be listened to.
    ready: Mutex<Ready>,
    /// The listener should look again.
    arrived: Notify,
}

#[derive(Default)]
struct Workers {
    by_address: HashMap<Address, Worker>,
    stopped: bool,
}

struct Worker {
    line: Arc<PoolLine>,
    /// None while it is connected.
    away_since: Option<Instant>,
}

#[derive(Default)]
struct Ready {
    // INVARIANT: `queue` and `listed` hold the same addresses, each once.
    queue: VecDeque<Address>,
    listed: HashSet<Address>,
    stopped: bool,
}

impl PoolLinks {
    /// Links of the pool whose key has the hash `key`; `admission` decides who gets in.
    pub fn new(admission: impl Admission, key: KeyHash, limits: LinkLimits) -> (Self, PoolEvents) {
        let inner = Arc::new(Inner {
            admission: Box::new(admission),
            key,
            limits,
            workers: Mutex::default(),
            ready: Mutex::default(),
            arrived: Notify::new(),
        });
        (Self { inner: Arc::clone(&inner) }, PoolEvents { inner })
    }

    /// Handles one call of the service's `Session`: hand every such request to it and return what it gives.
    ///
    /// # Errors
    /// [`Status`] when the stream breaks or does not begin with a hello in time. Who is turned away for another reason
    /// gets a stream with a `Refuse`.
    pub async fn session(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<PoolFrames>, Status> {
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
        self.converse(request.into_inner(), peer).await.map(Response::new)
    }

    /// As [`PoolLinks::session`], whatever carries the frames: a worker may be in the same process.
    ///
    /// # Errors
    /// As [`PoolLinks::session`].
    pub async fn converse(&self, mut inbound: impl Inbound, peer: Option<SocketAddr>) -> Result<PoolFrames, Status> {
        let hello = match self.hello(&mut inbound).await? {
            Ok(hello) => hello,
            Err(refuse) => return Ok(only(refuse)),
        };
        let text = signing_text(&hello, &self.inner.key);
        match self.inner.admission.admit(&hello, &text, peer).await {
            Ok(welcome) => Ok(self.inner.take_in(hello, welcome, peer, inbound)),
            Err(refuse) => Ok(only(refuse)),
        }
    }

    /// Sends a message to a worker. It never waits: the message is kept until the worker takes it, and goes out at
    /// once if the worker is connected and has taken the ones before.
    ///
    /// # Errors
    /// [`SendError::UnknownWorker`] without a session, [`SendError::WindowFull`] when
    /// [`crate::SESSION_WINDOW`] and [`QUEUE_MAX`] messages more wait for it, [`SendError::Field`] and
    /// [`SendError::NotAMessage`] for a message that no link sends.
    pub fn send(&self, worker: Address, body: pool_frame::Body) -> Result<(), SendError> {
        let line = self.inner.line(worker).ok_or(SendError::UnknownWorker)?;
        line.send_later(body, QUEUE_MAX)
    }

    /// Whether a worker is connected now.
    pub fn is_connected(&self, worker: Address) -> bool {
        self.inner.line(worker).is_some_and(|line| line.is_connected())
    }

    /// Ends a worker's connection and forgets its session. Events of it that were not taken are dropped. That it
    /// stays away is the business of [`Admission`].
    pub fn dismiss(&self, worker: Address, why: Refuse) {
        if let Some(worker) = self.inner.workers().by_address.remove(&worker) {
            worker.line.close(Some(pool_frame::Body::Refuse(why)));
        }
    }

    /// Ends all connections, refuses new ones, and lets [`PoolEvents::recv`] end when what waits is taken.
    pub fn shutdown(&self) {
        let mut workers = self.inner.workers();
        workers.stopped = true;
        for worker in workers.by_address.values() {
            worker.line.close(Some(pool_frame::Body::Refuse(stopping())));
        }
        drop(workers);
        lock(&self.inner.ready).stopped = true;
        self.inner.arrived.notify_one();
    }

    /// The first frame, as far as it needs no opinion.
    async fn hello(&self, inbound: &mut impl Inbound) -> Result<Result<Hello, Refuse>, Status> {
        let limit = self.inner.limits.hello_timeout;
        let frame = timeout(limit, inbound.next())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no hello came within {limit:?}")))?
            .ok_or_else(|| Status::invalid_argument("the stream ended before a hello"))??;
        let (0, Some(body)) = (frame.seq, frame.body) else {
            return Ok(Err(refuse(RefuseReason::Malformed, "the first frame is not an unnumbered hello")));
        };
        if let worker_frame::Body::Hello(hello) = &body
            && hello.protocol_version != PROTOCOL_VERSION
        {
            // Before the rest is checked: another version may have other rules.
            let text = format!(
                "this pool speaks protocol version {PROTOCOL_VERSION}, the worker {}: run the same release as the pool",
                hello.protocol_version
            );
            return Ok(Err(refuse(RefuseReason::Version, text)));
        }
        if let Err(error) = check::worker_body(&body) {
            return Ok(Err(refuse(RefuseReason::Malformed, error.to_string())));
        }
        match body {
            worker_frame::Body::Hello(hello) => Ok(Ok(hello)),
            _ => Ok(Err(refuse(RefuseReason::Malformed, "the first frame is not a hello"))),
        }
    }
}

impl PoolEvents {
    /// The next event; none after [`PoolLinks::shutdown`], once all is taken. A message counts as taken when this
    /// returns it, and is then never sent again: the caller answers for it.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<PoolEvent> {
        loop {
            if let Some(event) = self.inner.next_event() {
                return Some(event);
            }
            if lock(&self.inner.ready).stopped {
                return None;
            }
            self.inner.arrived.notified().await;
        }
    }

    /// The next event, if one waits.
    pub fn try_recv(&mut self) -> Option<PoolEvent> {
        self.inner.next_event()
    }
}

impl Inner {
    /// Puts an admitted worker on its line and answers it.
    fn take_in(
        self: &Arc<Self>,
        hello: Hello,
        mut welcome: Welcome,
        peer: Option<SocketAddr>,
        inbound: impl Inbound,
    ) -> PoolFrames {
        let (worker, offer) = match identify(&hello) {
            Ok(identity) => identity,
            Err(error) => return only(refuse(RefuseReason::Malformed, error.to_string())),
        };
        let connection = Connection::new();
        let (line, answer) = {
            let mut workers = self.workers();
            let line = match workers.line_for(worker, &self.limits) {
                Ok(line) => line,
                Err(refuse) => return only(refuse),
            };
            let replaced = refuse(RefuseReason::Replaced, "another connection with this worker's key took over");
            let hello = Box::new(hello);
            let answer = line.accept(&offer, &connection, pool_frame::Body::Refuse(replaced), |new_session| {
                PoolNote::Connected { hello, new_session, peer }
            });
            (line, answer)
        };
        self.mark_ready(worker);
        (welcome.resumed, welcome.last_received) = match answer {
            Answer::Resumed { last_received } => (true, last_received),
            Answer::Fresh | Answer::Begun => (false, 0),
        };
        let first = PoolFrame { seq: 0, ack: 0, body: Some(pool_frame::Body::Welcome(welcome)) };
        let outbound = line.outbound(&connection, Some(first)).map(Ok);
        tokio::spawn(Arc::clone(self).read(worker, line, connection, inbound));
        Box::pin(outbound)
    }

    /// Moves frames from one connection to its line until it ends.
    async fn read(
        self: Arc<Self>,
        worker: Address,
        line: Arc<PoolLine>,
        connection: PoolConnection,
        mut inbound: impl Inbound,
    ) {
        let reason = loop {
            let frame = tokio::select! {
                biased;
                () = connection.ended() => break "the pool ended the connection".to_owned(),
                frame = inbound.next() => frame.transpose(),
            };
            let fault = match frame {
                Ok(Some(frame)) => match line.receive(&connection, frame) {
                    Ok(Received::Nothing) => continue,
                    Ok(Received::Waiting) => {
                        self.mark_ready(worker);
                        continue;
                    }
                    Ok(Received::Handshake(_)) => Fault::OutOfPlace,
                    Err(fault) => fault,
                },
                Ok(None) => break "the worker ended the stream".to_owned(),
                Err(status) => break format!("the stream broke: {}", status.message()),
            };
            let text = chain(&fault);
            let reason = match fault {
                Fault::Field(_) | Fault::OutOfPlace | Fault::Misnumbered { .. } => RefuseReason::Malformed,
                Fault::Gap { .. } | Fault::Overrun { .. } | Fault::Ack(_) => RefuseReason::Session,
            };
            connection.end(Some(pool_frame::Body::Refuse(refuse(reason, text.clone()))));
            break text;
        };
        connection.end(None);
        tracing::debug!(%worker, reason, "a worker's connection ended");
        // Under the lock, so that a new connection of this worker cannot be marked as away.
        let mut workers = self.workers();
        if line.detach(&connection, PoolNote::Disconnected { reason })
            && let Some(entry) = workers.by_address.get_mut(&worker)
            && Arc::ptr_eq(&entry.line, &line)
        {
            entry.away_since = Some(Instant::now());
        }
        drop(workers);
        self.mark_ready(worker);
    }

    fn next_event(&self) -> Option<PoolEvent> {
        loop {
            let worker = {
                let mut ready = lock(&self.ready);
                let worker = ready.queue.pop_front()?;
                ready.listed.remove(&worker);
                worker
            };
            let Some(item) = self.line(worker).and_then(|line| line.take()) else { continue };
            // There may be more of it: it goes to the end of the queue.
            self.mark_ready(worker);
            return Some(PoolEvent { worker, kind: item.into() });
        }
    }

    fn mark_ready(&self, worker: Address) {
        let mut ready = lock(&self.ready);
        if ready.listed.insert(worker) {
            ready.queue.push_back(worker);
        }
        drop(ready);
        self.arrived.notify_one();
    }

    fn line(&self, worker: Address) -> Option<Arc<PoolLine>> {
        self.workers().by_address.get(&worker).map(|worker| Arc::clone(&worker.line))
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        lock(&self.workers)
    }
}

impl Workers {
    /// The line of a worker that just came, known or new.
    fn line_for(&mut self, worker: Address, limits: &LinkLimits) -> Result<Arc<PoolLine>, Refuse> {
        if self.stopped {
            return Err(stopping());
        }
        if let Some(entry) = self.by_address.get_mut(&worker) {
            let kept = entry.away_since.take().is_none_or(|since| since.elapsed() <= limits.session_retention);
            if !kept {
                entry.line = PoolLine::new();
            }
            return Ok(Arc::clone(&entry.line));
        }
        if self.by_address.len() >= limits.sessions_max {
            let away = self.by_address.iter().filter_map(|(address, worker)| Some((worker.away_since?, *address)));
            let Some((_, longest_away)) = away.min() else {
                return Err(refuse(RefuseReason::Full, "the pool has as many workers as it can take: try later"));
            };
            self.by_address.remove(&longest_away);
        }
        let line = PoolLine::new();
        self.by_address.insert(worker, Worker { line: Arc::clone(&line), away_since: None });
        Ok(line)
    }
}

enum PoolNote {
    Connected { hello: Box<Hello>, new_session: bool, peer: Option<SocketAddr> },
    Disconnected { reason: String },
}

impl Note for PoolNote {
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

impl From<Item<PoolNote, worker_frame::Body>> for PoolEventKind {
    fn from(item: Item<PoolNote, worker_frame::Body>) -> Self {
        match item {
            Item::Message(worker_frame::Body::Heartbeat(heartbeat)) => Self::Heartbeat(heartbeat),
            Item::Message(body) => Self::Message(body),
            Item::Note(PoolNote::Connected { hello, new_session, peer }) => {
                Self::Connected { hello, new_session, peer }
            }
            Item::Note(PoolNote::Disconnected { reason }) => Self::Disconnected { reason },
        }
    }
}

fn identify(hello: &Hello) -> Result<(Address, Offer), crate::convert::FieldError> {
    let worker = address("hello.worker_address", &hello.worker_address)?;
    let resume = match hello.session_id.as_slice() {
        [] => None,
        id => Some((SessionId(fixed("hello.session_id", id)?), hello.last_received)),
    };
    let fresh = SessionId(fixed("hello.new_session_id", &hello.new_session_id)?);
    Ok((worker, Offer { resume, fresh }))
}

fn only(refuse: Refuse) -> PoolFrames {
    let body = Some(pool_frame::Body::Refuse(refuse));
    Box::pin(stream::iter([Ok(PoolFrame { seq: 0, ack: 0, body })]))
}

fn stopping() -> Refuse {
    refuse(RefuseReason::Stopping, "the pool stops")
}

/// An error with its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks leaves its state half changed, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
