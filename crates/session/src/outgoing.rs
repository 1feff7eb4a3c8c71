//! The sending direction.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Messages on their way to the peer: numbered from 1, kept until acknowledged, never more than the window at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing<T> {
    /// Number of the last message that the peer acknowledged; 0 for none.
    acked: u64,
    // INVARIANT: `unacked[i]` has number `acked + 1 + i`, and there are at most `window` of them.
    unacked: VecDeque<T>,
    window: usize,
}

/// The window is full: the peer has to acknowledge something before more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{window} messages are unacknowledged, which is the most that a session keeps")]
pub struct WindowFull {
    /// The bound.
    pub window: usize,
}

/// The peer acknowledged what was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer acknowledged message {ack}, but {last_sent} is the last one sent")]
pub struct AckError {
    /// What it acknowledged.
    pub ack: u64,
    /// The last number sent.
    pub last_sent: u64,
}

impl<T> Outgoing<T> {
    /// An empty direction that keeps at most `window` unacknowledged messages (at least 1).
    pub fn new(window: usize) -> Self {
        Self { acked: 0, unacked: VecDeque::new(), window: window.max(1) }
    }

    /// Takes a message and gives its number.
    ///
    /// # Errors
    /// [`WindowFull`] when as many as the window are unacknowledged; the message is dropped, so ask
    /// [`Outgoing::has_room`] before moving a value that must not be lost.
    pub fn push(&mut self, message: T) -> Result<u64, WindowFull> {
        if !self.has_room() {
            return Err(WindowFull { window: self.window });
        }
        self.unacked.push_back(message);
        Ok(self.last_sent())
    }

    /// Whether [`Outgoing::push`] would succeed.
    pub fn has_room(&self) -> bool {
        self.unacked.len() < self.window
    }

    /// Drops what the peer took, up to number `ack`, and gives how many messages that freed. An acknowledgement older
    /// than one seen before changes nothing.
    ///
    /// # Errors
    /// [`AckError`] when nothing with that number was ever sent; nothing changes.
    pub fn on_ack(&mut self, ack: u64) -> Result<usize, AckError> {
        if ack > self.last_sent() {
            return Err(AckError { ack, last_sent: self.last_sent() });
        }
        // The difference is at most the length of the queue, which fits a usize.
        let freed = ack.saturating_sub(self.acked) as usize;
        self.unacked.drain(..freed);
        self.acked = self.acked.max(ack);
        Ok(freed)
    }

    /// The unacknowledged messages with a number above `seq`, in order, each with its number. With 0 it is all of
    /// them: what has to be sent on a new connection.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = (u64, &T)> {
        let skip = usize::try_from(seq.saturating_sub(self.acked)).unwrap_or(usize::MAX);
        (self.acked + 1..).zip(&self.unacked).skip(skip)
    }

    /// How many messages wait for an acknowledgement.
    pub fn unacked_len(&self) -> usize {
        self.unacked.len()
    }

    /// Number of the last message pushed; 0 for none.
    pub fn last_sent(&self) -> u64 {
        self.acked + self.unacked.len() as u64
    }

    /// Number of the last message acknowledged; 0 for none.
    pub fn last_acked(&self) -> u64 {
        self.acked
    }

    /// The unacknowledged messages themselves, for a session that ends.
    pub fn into_unacked(self) -> Vec<T> {
        self.unacked.into()
    }
}
