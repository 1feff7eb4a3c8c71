//! What happens when.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use gristmill_session::Answer;

/// Something that happens at its time. What it concerns may have changed by then: `life` (of a worker's process or of the
/// pool's) and `connection` tell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A machine becomes available, or is needed by its owner again.
    HostUp {
        host: u32,
    },
    HostDown {
        host: u32,
    },
    /// A worker's process dies, is started again.
    WorkerCrash {
        host: u32,
        life: u32,
    },
    WorkerStart {
        host: u32,
        life: u32,
    },
    /// A whitewasher comes back under a new name.
    Rename {
        host: u32,
    },
    Dial {
        host: u32,
        connection: u32,
    },
    Offer {
        host: u32,
        connection: u32,
    },
    Answer {
        host: u32,
        connection: u32,
        answer: Answer,
    },
    /// A numbered message arrives; its text is in the sender's session.
    Arrive {
        host: u32,
        connection: u32,
        way: Way,
        seq: u64,
    },
    /// The receiver of that way acknowledges what it has taken by now; the acknowledgement arrives.
    AckSent {
        host: u32,
        connection: u32,
        way: Way,
    },
    AckArrives {
        host: u32,
        connection: u32,
        way: Way,
        ack: u64,
    },
    /// The sender of that way looks whether `seq` was acknowledged.
    AckTimeout {
        host: u32,
        connection: u32,
        way: Way,
        seq: u64,
    },
    /// The pool notices that a host is gone.
    Silence {
        host: u32,
        connection: u32,
    },
    Heartbeat {
        host: u32,
        life: u32,
    },
    HeartbeatArrives {
        host: u32,
        connection: u32,
    },
    /// A run ends, its result uploaded.
    RunEnds {
        host: u32,
        run: u32,
    },
    /// A bag is ordered.
    Order {
        bag: u32,
    },
    Block,
    /// The pool hears of the oldest block that it has not heard of.
    BlockSeen {
        life: u32,
    },
    /// The pool opened an upload.
    Opened {
        host: u32,
        incarnation: u32,
        task: u32,
        matches: bool,
        life: u32,
    },
    PoolCrash,
    PoolStart,
    Sample,
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the worker to the pool.
    Up,
    /// From the pool to the worker.
    Down,
}

/// What is to come is sorted into slices of 2^12 ms, some four seconds.
const SLICE_BITS: u32 = 12;

/// A queue by time; at the same time, first come first served.
///
/// Most of what is to come is hours away. So only the nearest slice of time is a heap, small enough to be at hand at every step; the
/// others are unsorted until it is their turn.
// INVARIANT: `near` has exactly what comes before the slice `horizon`; it is empty only if `far` is.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    near: BinaryHeap<Entry>,
    far: BTreeMap<u64, Vec<Entry>>,
    horizon: u64,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    at_ms: u64,
    sequence: u64,
    act: Act,
}

impl Agenda {
    pub fn add(&mut self, at_ms: u64, act: Act) {
        self.sequence += 1;
        let entry = Entry { at_ms, sequence: self.sequence, act };
        let slice = at_ms >> SLICE_BITS;
        if slice < self.horizon {
            self.near.push(entry);
        } else {
            self.far.entry(slice).or_default().push(entry);
            self.refill();
        }
    }

    /// When the next one is.
    pub fn next_ms(&self) -> Option<u64> {
        self.near.peek().map(|entry| entry.at_ms)
    }

    pub fn pop(&mut self) -> Option<Act> {
        let entry = self.near.pop()?;
        self.refill();
        Some(entry.act)
    }

    /// The next slice, once there is nothing before it.
    fn refill(&mut self) {
        if self.near.is_empty()
            && let Some((slice, entries)) = self.far.pop_first()
        {
            self.near = entries.into();
            self.horizon = slice + 1;
        }
    }
}

// The heap gives its largest first, so the earliest is the largest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.sequence).cmp(&(self.at_ms, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests;
