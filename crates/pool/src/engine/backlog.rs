//! Messages that a worker has no room for: they wait, in their order, instead of being lost.
//!
//! A link holds so many messages that its worker has not taken; a worker with hundreds of slots whose results come in together is
//! owed more at a time. What waits here goes out as soon as there is room. Whoever takes nothing for too long is sent away, and told
//! what still matters when it comes back.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::Address;
use gristmill_protocol::link::{PoolLinks, refuse};
use gristmill_protocol::wire::{RefuseReason, pool_frame};

/// Messages that wait for one worker: a few for each slot that one may have.
pub(super) const BACKLOG_MAX: usize = 8_192;

/// What waits, by worker.
// INVARIANT: no queue is empty.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<Address, VecDeque<pool_frame::Body>>,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends a message, now or when there is room; `false` if the worker is not there, or was sent away for taking nothing.
    pub fn send(&mut self, links: &PoolLinks, worker: Address, body: pool_frame::Body) -> bool {
        if let Some(queue) = self.waiting.get_mut(&worker) {
            if queue.len() < BACKLOG_MAX {
                queue.push_back(body);
                return true;
            }
            self.waiting.remove(&worker);
            tracing::warn!(%worker, messages = BACKLOG_MAX, "a worker takes no messages, and is sent away");
            let text = format!("{BACKLOG_MAX} messages waited for this worker, which took none of them: connect again");
            links.dismiss(worker, refuse(RefuseReason::Session, text));
            return false;
        }
        match links.offer(worker, body) {
            Ok(None) => true,
            Ok(Some(body)) => {
                self.waiting.insert(worker, [body].into());
                true
            }
            Err(error) => {
                tracing::debug!(%worker, %error, "a message could not be sent");
                false
            }
        }
    }

    /// Sends what there is room for by now.
    pub fn flush(&mut self, links: &PoolLinks) {
        self.waiting.retain(|worker, queue| {
            while let Some(body) = queue.pop_front() {
                match links.offer(*worker, body) {
                    Ok(None) => {}
                    Ok(Some(body)) => {
                        queue.push_front(body);
                        return true;
                    }
                    Err(error) => {
                        tracing::debug!(%worker, %error, "messages could not be sent");
                        return false;
                    }
                }
            }
            false
        });
    }

    /// A worker begins anew, and is told all that matters.
    pub fn forget(&mut self, worker: Address) {
        self.waiting.remove(&worker);
    }
}
