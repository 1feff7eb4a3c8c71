//! Stop an execution from another thread.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::Event;

/// A kill switch. Clones share one switch; once used it stays used.
#[derive(Clone, Default)]
pub struct CancelToken {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    registered: u64,
    /// Executions under way, by the number of their registration.
    waiting: BTreeMap<u64, SyncSender<Event>>,
}

/// An execution listens to its token for as long as it keeps this.
pub(crate) struct Registration {
    token: CancelToken,
    number: u64,
}

impl CancelToken {
    /// A switch that was not used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops every execution that was handed this token, now and from now on. Their processes are killed.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        for waiting in state.waiting.values() {
            // One that is just ending no longer listens; one with a full queue looks at the switch after each event.
            let _ = waiting.try_send(Event::Cancelled);
        }
    }

    /// True once [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Wakes `waiting` when the switch is used. One that was used before is for the caller to look at.
    pub(crate) fn listen(&self, waiting: SyncSender<Event>) -> Registration {
        let mut state = self.lock();
        state.registered += 1;
        let number = state.registered;
        state.waiting.insert(number, waiting);
        Registration { token: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // INVARIANT: no code that can panic runs under this lock, so a poisoned one is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.token.lock().waiting.remove(&self.number);
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}
