//! The receiving direction.

use serde::{Deserialize, Serialize};

/// Which numbers have arrived, and which of them the layer above has taken.
///
/// A message is acknowledged when it is *taken* ([`Incoming::release`]), not when it arrives. So an honest peer never
/// has more than a window of messages waiting here, and whoever queues them needs no other bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    // INVARIANT: released <= received <= released + window.
    received: u64,
    released: u64,
    window: usize,
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: hand it up.
    Deliver,
    /// It was delivered before: drop it.
    Duplicate,
    /// Something before it is missing. Within one connection this cannot happen, so cut the connection and resume.
    Gap {
        /// The number that should have come.
        expected: u64,
    },
    /// It is the next one, but the peer sent more than the window without an acknowledgement: cut the connection.
    Overrun {
        /// The bound that the peer broke.
        window: usize,
    },
}

impl Incoming {
    /// A direction on which nothing has arrived; at most `window` (at least 1) delivered messages may wait for their
    /// release.
    pub fn new(window: usize) -> Self {
        Self { received: 0, released: 0, window: window.max(1) }
    }

    /// Judges the message with number `seq`; on [`Verdict::Deliver`] it counts as received from now on.
    /// A number of 0 belongs to no message and is a [`Verdict::Duplicate`].
    pub fn accept(&mut self, seq: u64) -> Verdict {
        if seq <= self.received {
            return Verdict::Duplicate;
        }
        let expected = self.received + 1;
        if seq != expected {
            return Verdict::Gap { expected };
        }
        if self.waiting() >= self.window as u64 {
            return Verdict::Overrun { window: self.window };
        }
        self.received = seq;
        Verdict::Deliver
    }

    /// Records that the layer above took the oldest delivered message.
    ///
    /// # Panics
    /// If no delivered message waits: to acknowledge a message that nobody took would lose it.
    pub fn release(&mut self) {
        assert!(self.released < self.received, "a message was released that had not been delivered");
        self.released += 1;
    }

    /// What to acknowledge: the last number up to which the layer above took everything; 0 for none.
    pub fn ack(&self) -> u64 {
        self.released
    }

    /// The last number that arrived in order; 0 for none.
    pub fn last_received(&self) -> u64 {
        self.received
    }

    /// Delivered messages that the layer above has not taken yet.
    pub fn waiting(&self) -> u64 {
        self.received - self.released
    }
}
