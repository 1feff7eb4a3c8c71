//! Both directions together, and the handshake that resumes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Incoming, Outgoing};

/// Name of a session: 16 bytes, drawn at random by the side that dials.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionId({self})")
    }
}

/// One end of a conversation that outlives connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session<T> {
    /// Its name, the same at both ends.
    pub id: SessionId,
    /// What this end sends.
    pub outgoing: Outgoing<T>,
    /// What this end receives.
    pub incoming: Incoming,
}

/// What the side that dials says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The session it would resume, and the last number it took in it.
    pub resume: Option<(SessionId, u64)>,
    /// The session to begin otherwise. The same in every offer until one of them is answered, never used before: so
    /// the other side knows a session whose beginning was lost on the way back.
    pub fresh: SessionId,
}

/// What the side that answers says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The session of the offer goes on.
    Resumed {
        /// The last number that the answering side took.
        last_received: u64,
    },
    /// The fresh session begins; both directions start at 1.
    Fresh,
    /// The fresh session had begun with an earlier offer whose answer did not arrive. It goes on, with all that the
    /// answering side has said in it since. To the side that dials it is the same as [`Answer::Fresh`].
    Begun,
}

/// The other end's numbers cannot belong to this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// It answered with a resumption that was not offered.
    #[error("the peer resumed a session although none was offered")]
    NotOffered,
    /// It claims to have taken what was never sent, or to have lost what it acknowledged.
    #[error(
        "session {id}: the peer says that {claimed} is the last message it took, but between {acked} and {sent} is possible"
    )]
    Impossible {
        /// The session.
        id: SessionId,
        /// What the peer claims.
        claimed: u64,
        /// The last number that it acknowledged.
        acked: u64,
        /// The last number that was sent.
        sent: u64,
    },
}

impl<T> Session<T> {
    /// A session in which nothing was said, with at most `window` unacknowledged messages a direction.
    pub fn new(id: SessionId, window: usize) -> Self {
        Self { id, outgoing: Outgoing::new(window), incoming: Incoming::new(window) }
    }

    /// Takes the peer's word for the last message it took. What comes after it is then in
    /// [`Outgoing::after`]`(0)`, to be sent again.
    ///
    /// # Errors
    /// [`ResumeError::Impossible`] when the numbers cannot be of this session; nothing changes.
    pub fn resume(&mut self, last_received: u64) -> Result<(), ResumeError> {
        let (acked, sent) = (self.outgoing.last_acked(), self.outgoing.last_sent());
        let impossible = ResumeError::Impossible { id: self.id, claimed: last_received, acked, sent };
        if last_received < acked {
            return Err(impossible);
        }
        self.outgoing.on_ack(last_received).map(drop).map_err(|_| impossible)
    }

    /// Answers an offer on the side that is dialled. `known` is the session kept for that peer, if any; when it cannot
    /// go on it is replaced by a new one, and its unacknowledged messages come back.
    ///
    /// An offer that comes late, when its session has long been talking, leaves that session as it is too: whoever
    /// sent it has dialled again since.
    pub fn answer(known: &mut Option<Self>, offer: &Offer, window: usize) -> (Answer, Vec<T>) {
        if let (Some(session), Some((id, last_received))) = (known.as_mut(), offer.resume)
            && session.id == id
            && session.resume(last_received).is_ok()
        {
            return (Answer::Resumed { last_received: session.incoming.ack() }, Vec::new());
        }
        if known.as_ref().is_some_and(|session| session.id == offer.fresh) {
            return (Answer::Begun, Vec::new());
        }
        let old = known.replace(Self::new(offer.fresh, window));
        (Answer::Fresh, old.map(|session| session.outgoing.into_unacked()).unwrap_or_default())
    }

    /// Takes the answer on the side that dialled. `known` is the session that the offer named, if any. Unless it is
    /// [`Answer::Resumed`] it is replaced by a new one, and its unacknowledged messages come back.
    ///
    /// # Errors
    /// [`ResumeError`] when the answer does not fit; `known` is unchanged. The next offer should then name no session
    /// to resume, so that both begin anew.
    pub fn conclude(
        known: &mut Option<Self>,
        offer: &Offer,
        answer: Answer,
        window: usize,
    ) -> Result<Vec<T>, ResumeError> {
        match answer {
            Answer::Resumed { last_received } => {
                let session = known.as_mut().filter(|session| offer.resume.is_some_and(|(id, _)| id == session.id));
                session.ok_or(ResumeError::NotOffered)?.resume(last_received)?;
                Ok(Vec::new())
            }
            Answer::Fresh | Answer::Begun => {
                let old = known.replace(Self::new(offer.fresh, window));
                Ok(old.map(|session| session.outgoing.into_unacked()).unwrap_or_default())
            }
        }
    }
}
