//! Number, acknowledge and resume a stream of messages, so that each is delivered once and in order whatever the
//! connections below it do.
//!
//! A [`Session`] is one end of a conversation that outlives connections. Each direction has its own numbers, from 1.
//! [`Outgoing`] keeps what was sent until the peer acknowledges it, within a window; [`Incoming`] says of each number
//! that arrives whether it is to be delivered. After a cut, each side tells the last number it took
//! ([`Offer`], [`Answer`]), and the other sends again what comes after it.
//!
//! A session has an id, drawn by the side that dials. If the side that answers does not know the id (it was
//! restarted), the two begin a new session under a fresh id, and what the old one had not acknowledged is handed back
//! to the layer above, which tells its state anew. That id must be fresh each time: were an old one used again, an
//! answer lost on the way could pair the numbers of two different conversations.
//!
//! Everything here is pure: no clock, no socket, no randomness.
//!
//! ```
//! use gristmill_session::{Session, SessionId, Verdict};
//!
//! let id = SessionId([7; 16]);
//! let mut worker = Session::new(id, 8);
//! let mut pool: Session<&str> = Session::new(id, 8);
//! let seq = worker.outgoing.push("result ready")?;
//! assert_eq!(pool.incoming.accept(seq), Verdict::Deliver);
//! // The connection is cut before the acknowledgement arrives: the message is sent again, and not delivered again.
//! let again: Vec<u64> = worker.outgoing.after(0).map(|(seq, _)| seq).collect();
//! assert_eq!(again, [seq]);
//! assert_eq!(pool.incoming.accept(seq), Verdict::Duplicate);
//! pool.incoming.release();
//! worker.outgoing.on_ack(pool.incoming.ack())?;
//! assert_eq!(worker.outgoing.after(0).count(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod incoming;
mod outgoing;
mod resume;

#[cfg(test)]
mod tests;

pub use incoming::{Incoming, Verdict};
pub use outgoing::{AckError, Outgoing, WindowFull};
pub use resume::{Answer, Offer, ResumeError, Session, SessionId};
