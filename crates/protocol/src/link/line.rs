//! One end of one worker's stream: the session, the connection that carries it now, and what waits to be taken.
//!
//! Both ends use it, with the two kinds of frames swapped. It holds the state; the tasks that move frames are in
//! `worker` and `pool`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, stream};
use gristmill_session::{AckError, Answer, Offer, ResumeError, Session, Verdict};
use tokio::sync::Notify;

use super::frame::{Class, Frame};
use crate::{SESSION_WINDOW, convert::FieldError};

/// Frames that a connection takes from the session at a time: few, so that each carries a fresh acknowledgement.
const BATCH_MAX: usize = 16;

/// The other end broke the rules of the stream; the connection is cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A message is missing.
    #[error("message {got} came where {expected} was next")]
    Gap {
        /// The number that came.
        got: u64,
        /// The number that was next.
        expected: u64,
    },
    /// More messages than the window.
    #[error("more than {window} messages came without an acknowledgement")]
    Overrun {
        /// The bound.
        window: usize,
    },
    /// An acknowledgement of something that was never sent.
    #[error("an impossible acknowledgement came")]
    Ack(#[from] AckError),
    /// A message that is not what it should be.
    #[error("a malformed message came")]
    Field(#[from] FieldError),
    /// A message without a number, or a number on a frame that has none.
    #[error("a frame came with the number {seq}, which its kind cannot have")]
    Misnumbered {
        /// The number.
        seq: u64,
    },
    /// A frame that has no place here, such as a second Hello.
    #[error("a frame came that only begins or ends a connection")]
    OutOfPlace,
}

/// A message that could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Too many messages wait for the other end.
    #[error("{window} messages wait for the other end, which is the most that are kept")]
    WindowFull {
        /// The bound.
        window: usize,
    },
    /// There has been no connection yet.
    #[error("the pool has not answered yet")]
    NoSession,
    /// The link has ended.
    #[error("the link to the other end is closed")]
    Closed,
    /// No worker with that address has a session.
    #[error("no such worker has a session here")]
    UnknownWorker,
    /// The message is not one that the link sends: it belongs to the handshake, or to the link itself.
    #[error("this kind of frame is not for sending")]
    NotAMessage,
    /// The message is malformed.
    #[error("the message is malformed")]
    Field(#[from] FieldError),
}

/// Something to tell the listener beside messages. A later note of the same kind takes the place of an earlier one.
pub(crate) trait Note: Send + 'static {
    /// Takes over what must not be lost of `earlier`, if that is of the same kind; else returns false.
    fn supersedes(&mut self, earlier: &Self) -> bool;
}

/// One thing for the listener.
pub(crate) enum Item<N, B> {
    Note(N),
    /// The latest unsequenced message, or a sequenced one.
    Message(B),
}

/// What became of a frame.
pub(crate) enum Received<B> {
    /// Nothing for the listener.
    Nothing,
    /// Something waits for the listener.
    Waiting,
    /// A frame of the handshake.
    Handshake(B),
}

/// One end of one worker's stream. `O` goes out, `I` comes in, `N` are the notes.
pub(crate) struct Line<O: Frame, I: Frame, N> {
    /// Guards everything below; held for a few steps, never across an await.
    state: Mutex<State<O, I, N>>,
    /// Somebody who waits for room in the window should look again.
    room: Notify,
    /// The listener should look again.
    arrived: Notify,
}

struct State<O: Frame, I: Frame, N> {
    session: Option<Session<O::Body>>,
    connection: Option<Arc<Connection<O::Body>>>,
    /// Highest acknowledgement that the current connection has carried.
    ack_sent: u64,
    pong: Option<u64>,
    latest_out: Option<O::Body>,
    /// Messages that wait for room in the session, which gives them their numbers.
    // INVARIANT: empty while there is room.
    queue: VecDeque<O::Body>,
    notes: VecDeque<N>,
    latest_in: Option<I::Body>,
    /// Delivered messages. None stands for one of a kind that this version does not know.
    // INVARIANT: as many as `session.incoming.waiting()`, hence at most the window.
    inbox: VecDeque<Option<I::Body>>,
    closed: bool,
}

/// A connection that carries, carried, or will carry a line.
pub(crate) struct Connection<B> {
    phase: Mutex<Phase<B>>,
    /// The stream that goes out should look again. It is the only one that waits for it.
    wake: Notify,
    /// The connection has ended. Only the reader waits for it.
    ended: Notify,
}

enum Phase<B> {
    /// The handshake is not over: nothing but it may go out.
    Opening,
    Open,
    /// To end, after this last frame.
    Ending(Option<B>),
}

impl<B> Connection<B> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { phase: Mutex::new(Phase::Opening), wake: Notify::new(), ended: Notify::new() })
    }

    /// Ends the connection, with a last word. Only the first call counts.
    pub(crate) fn end(&self, last: Option<B>) {
        let mut phase = lock(&self.phase);
        if !matches!(*phase, Phase::Ending(_)) {
            *phase = Phase::Ending(last);
            self.wake.notify_one();
            self.ended.notify_one();
        }
    }

    /// Done when [`Connection::end`] was called.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn open(&self) {
        let mut phase = lock(&self.phase);
        if matches!(*phase, Phase::Opening) {
            *phase = Phase::Open;
        }
    }
}

impl<O: Frame, I: Frame, N: Note> Line<O, I, N> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            session: None,
            connection: None,
            ack_sent: 0,
            pong: None,
            latest_out: None,
            queue: VecDeque::new(),
            notes: VecDeque::new(),
            latest_in: None,
            inbox: VecDeque::new(),
            closed: false,
        };
        Arc::new(Self { state: Mutex::new(state), room: Notify::new(), arrived: Notify::new() })
    }

    /// Sends a message, or gives it back when there is no room or no session. A heartbeat without a connection is
    /// dropped.
    fn push(&self, body: O::Body) -> Result<Option<O::Body>, SendError> {
        O::check_outgoing(&body)?;
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(SendError::Closed);
        }
        match (O::class(&body), &mut state.session) {
            (Class::Message, Some(session)) if state.queue.is_empty() && session.outgoing.has_room() => {
                // Cannot fail: there is room, and nobody else can take it while the lock is held.
                session.outgoing.push(body).map_err(|full| SendError::WindowFull { window: full.window })?;
            }
            (Class::Message, _) => return Ok(Some(body)),
            (Class::Latest, _) if state.connection.is_none() => return Ok(None),
            (Class::Latest, _) => state.latest_out = Some(body),
            (Class::Ping(_) | Class::Pong | Class::Handshake, _) => return Err(SendError::NotAMessage),
        }
        state.wake();
        Ok(None)
    }

    /// Sends a message now or fails.
    pub(crate) fn try_send(&self, body: O::Body) -> Result<(), SendError> {
        match self.push(body)? {
            None => Ok(()),
            Some(_) if self.lock().session.is_none() => Err(SendError::NoSession),
            Some(_) => Err(SendError::WindowFull { window: SESSION_WINDOW }),
        }
    }

    /// Sends a message now, or when there is room: up to `queue_max` wait for that, in their order. It fails without a session.
    pub(crate) fn send_later(&self, body: O::Body, queue_max: usize) -> Result<(), SendError> {
        let Some(body) = self.push(body)? else { return Ok(()) };
        let mut state = self.lock();
        if state.session.is_none() {
            return Err(SendError::NoSession);
        }
        if state.queue.len() >= queue_max {
            return Err(SendError::WindowFull { window: SESSION_WINDOW + queue_max });
        }
        state.queue.push_back(body);
        // Room may have been made since.
        state.advance();
        Ok(())
    }

    /// Sends a message when there is room.
    pub(crate) async fn send(&self, mut body: O::Body) -> Result<(), SendError> {
        loop {
            let changed = self.room.notified();
            tokio::pin!(changed);
            // Registered before the look, so that room made in between is not missed.
            changed.as_mut().enable();
            match self.push(body)? {
                None => return Ok(()),
                Some(returned) => body = returned,
            }
            changed.await;
        }
    }

    /// Done when the other end has taken all that was sent.
    pub(crate) async fn flush(&self) -> Result<(), SendError> {
        loop {
            let changed = self.room.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.closed {
                    return Err(SendError::Closed);
                }
                if state.session.as_ref().is_none_or(|session| session.outgoing.unacked_len() == 0) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// What to offer on a new connection, with `fresh` as the id of a session to begin: the same until one began.
    pub(crate) fn offer(&self, fresh: gristmill_session::SessionId) -> Offer {
        let state = self.lock();
        Offer { resume: state.session.as_ref().map(|session| (session.id, session.incoming.ack())), fresh }
    }

    /// The dialled side: takes an offer and puts the line on `connection`. The connection that carried it before ends
    /// with `last`.
    pub(crate) fn accept(
        &self,
        offer: &Offer,
        connection: &Arc<Connection<O::Body>>,
        last: O::Body,
        note: impl FnOnce(bool) -> N,
    ) -> Answer {
        let mut state = self.lock();
        let (answer, _lost) = Session::answer(&mut state.session, offer, SESSION_WINDOW);
        let fresh = answer == Answer::Fresh;
        state.attach(connection, fresh, Some(last));
        state.note(note(fresh));
        drop(state);
        self.changed();
        answer
    }

    /// The dialling side: takes the answer and puts the line on `connection`.
    pub(crate) fn conclude(
        &self,
        offer: &Offer,
        answer: Answer,
        connection: &Arc<Connection<O::Body>>,
        note: impl FnOnce(bool) -> N,
    ) -> Result<(), ResumeError> {
        let mut state = self.lock();
        Session::conclude(&mut state.session, offer, answer, SESSION_WINDOW)?;
        let fresh = !matches!(answer, Answer::Resumed { .. });
        state.attach(connection, fresh, None);
        state.note(note(fresh));
        drop(state);
        self.changed();
        Ok(())
    }

    /// Leaves `connection`; the session waits for the next one. False if another connection carries the line by now.
    pub(crate) fn detach(&self, connection: &Arc<Connection<O::Body>>, note: N) -> bool {
        let mut state = self.lock();
        if !state.is_on(connection) {
            return false;
        }
        state.connection = None;
        state.note(note);
        drop(state);
        self.changed();
        true
    }

    /// Tells the listener something.
    pub(crate) fn note(&self, note: N) {
        self.lock().note(note);
        self.changed();
    }

    /// Gives up the session: the next offer names none.
    pub(crate) fn forget_session(&self) {
        let mut state = self.lock();
        state.session = None;
        state.queue.clear();
        state.inbox.clear();
    }

    /// Ends the line and its connection; who waits to send is told.
    pub(crate) fn close(&self, last: Option<O::Body>) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(connection) = state.connection.take() {
            connection.end(last);
        }
        drop(state);
        self.changed();
    }

    /// Whether a connection carries the line now.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connection.is_some()
    }

    /// Takes a frame that came over `connection`.
    pub(crate) fn receive(&self, connection: &Arc<Connection<O::Body>>, frame: I) -> Result<Received<I::Body>, Fault> {
        let (seq, ack, body) = frame.into_parts();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.is_on(connection) {
            return Ok(Received::Nothing);
        }
        let Some(session) = &mut state.session else { return Ok(Received::Nothing) };
        if session.outgoing.on_ack(ack)? > 0 {
            state.advance();
            self.room.notify_waiters();
        }
        let Some(session) = &mut state.session else { return Ok(Received::Nothing) };
        if let Some(body) = &body {
            I::check(body)?;
        }
        let class = body.as_ref().map(I::class);
        match (seq, class, body) {
            (0, None | Some(Class::Pong), _) => Ok(Received::Nothing),
            (0, Some(Class::Ping(nonce)), _) => {
                state.pong = Some(nonce);
                state.wake();
                Ok(Received::Nothing)
            }
            (0, Some(Class::Latest), Some(body)) => {
                state.latest_in = Some(body);
                self.arrived.notify_one();
                Ok(Received::Waiting)
            }
            (0, Some(Class::Handshake), Some(body)) => Ok(Received::Handshake(body)),
            // A kind that this version does not know is counted like any other message.
            (1.., None | Some(Class::Message), body) => match session.incoming.accept(seq) {
                Verdict::Deliver => {
                    state.inbox.push_back(body);
                    self.arrived.notify_one();
                    Ok(Received::Waiting)
                }
                Verdict::Duplicate => Ok(Received::Nothing),
                Verdict::Gap { expected } => Err(Fault::Gap { got: seq, expected }),
                Verdict::Overrun { window } => Err(Fault::Overrun { window }),
            },
            _ => Err(Fault::Misnumbered { seq }),
        }
    }

    /// The next thing for the listener: notes first, then the latest unsequenced message, then messages in order.
    /// A message counts as taken from here on.
    pub(crate) fn take(&self) -> Option<Item<N, I::Body>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(note) = state.notes.pop_front() {
            return Some(Item::Note(note));
        }
        if let Some(body) = state.latest_in.take() {
            return Some(Item::Message(body));
        }
        while let Some(body) = state.inbox.pop_front() {
            if let Some(session) = &mut state.session {
                session.incoming.release();
            }
            state.wake();
            if let Some(body) = body {
                return Some(Item::Message(body));
            }
        }
        None
    }

    /// As [`Line::take`], waiting for it; none once the line is closed and all is taken.
    pub(crate) async fn next(&self) -> Option<Item<N, I::Body>> {
        loop {
            if let Some(item) = self.take() {
                return Some(item);
            }
            if self.lock().closed {
                return None;
            }
            self.arrived.notified().await;
        }
    }

    /// The frames that go out over `connection`, `first` before all others. It waits until the line is on the
    /// connection, and ends when the connection ends or another one carries the line.
    pub(crate) fn outbound(
        self: &Arc<Self>,
        connection: &Arc<Connection<O::Body>>,
        first: Option<O>,
    ) -> impl Stream<Item = O> + Send + use<O, I, N> {
        let writer = Writer {
            line: Arc::clone(self),
            connection: Arc::clone(connection),
            queue: first.into_iter().collect(),
            cursor: 0,
        };
        stream::unfold(Some(writer), |writer| async {
            let mut writer = writer?;
            loop {
                if let Some(frame) = writer.queue.pop_front() {
                    return Some((frame, Some(writer)));
                }
                match writer.fill() {
                    Filled::Some => {}
                    Filled::Nothing => writer.connection.wake.notified().await,
                    Filled::End(None) => return None,
                    Filled::End(Some(last)) => return Some((O::new(0, 0, Some(last)), None)),
                }
            }
        })
    }

    fn changed(&self) {
        self.room.notify_waiters();
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<O, I, N>> {
        lock(&self.state)
    }
}

impl<O: Frame, I: Frame, N: Note> State<O, I, N> {
    fn attach(&mut self, connection: &Arc<Connection<O::Body>>, fresh: bool, last: Option<O::Body>) {
        if fresh {
            // What was not taken belongs to a conversation that the other end has forgotten.
            self.inbox.clear();
            self.latest_in = None;
            self.queue.clear();
        }
        self.advance();
        self.latest_out = None;
        self.pong = None;
        self.ack_sent = self.session.as_ref().map_or(0, |session| session.incoming.ack());
        connection.open();
        if let Some(previous) = self.connection.replace(Arc::clone(connection)) {
            previous.end(last);
        }
        self.wake();
    }

    /// Gives numbers to those that wait for it, as far as there is room.
    fn advance(&mut self) {
        let Some(session) = &mut self.session else { return };
        let mut moved = false;
        while session.outgoing.has_room()
            && let Some(body) = self.queue.pop_front()
        {
            // Cannot fail: there is room.
            moved |= session.outgoing.push(body).is_ok();
        }
        if moved {
            self.wake();
        }
    }

    fn note(&mut self, mut note: N) {
        self.notes.retain(|earlier| !note.supersedes(earlier));
        self.notes.push_back(note);
    }

    fn is_on(&self, connection: &Arc<Connection<O::Body>>) -> bool {
        self.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection))
    }

    fn wake(&self) {
        if let Some(connection) = &self.connection {
            connection.wake.notify_one();
        }
    }
}

/// What goes out over one connection.
struct Writer<O: Frame, I: Frame, N> {
    line: Arc<Line<O, I, N>>,
    connection: Arc<Connection<O::Body>>,
    queue: VecDeque<O>,
    /// Number of the last message that this connection carried.
    cursor: u64,
}

enum Filled<B> {
    Some,
    Nothing,
    End(Option<B>),
}

impl<O: Frame, I: Frame, N: Note> Writer<O, I, N> {
    fn fill(&mut self) -> Filled<O::Body> {
        match &mut *lock(&self.connection.phase) {
            Phase::Opening => return Filled::Nothing,
            Phase::Open => {}
            Phase::Ending(last) => return Filled::End(last.take()),
        }
        let mut guard = self.line.lock();
        let state = &mut *guard;
        if !state.is_on(&self.connection) {
            return Filled::End(None);
        }
        let Some(session) = &mut state.session else { return Filled::End(None) };
        let ack = session.incoming.ack();
        let unnumbered = [state.pong.take().map(O::pong), state.latest_out.take()];
        self.queue.extend(unnumbered.into_iter().flatten().map(|body| O::new(0, ack, Some(body))));
        for (seq, body) in session.outgoing.after(self.cursor).take(BATCH_MAX) {
            self.queue.push_back(O::new(seq, ack, Some(body.clone())));
            self.cursor = seq;
        }
        if self.queue.is_empty() {
            if ack == state.ack_sent {
                return Filled::Nothing;
            }
            self.queue.push_back(O::new(0, ack, None));
        }
        state.ack_sent = ack;
        Filled::Some
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks leaves its state half changed, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
