//! Stop or freeze an execution from another thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on executions under way: it can end them for good, or hold them still for a while. Clones share one state.
#[derive(Clone, Default)]
pub struct Control {
    state: Arc<Mutex<State>>,
}

/// What whoever holds the [`Control`] wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Hold still: no processor time from now on; memory and files stay. Wall clock does not count meanwhile.
    Freeze,
    /// End, for good.
    Cancel,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    wish: Wish,
    registered: u64,
    /// Executions under way, by the number of their registration.
    waiting: BTreeMap<u64, Wake>,
}

/// An execution listens to its [`Control`] for as long as it keeps this.
#[derive(Debug)]
pub struct Registration {
    control: Control,
    number: u64,
}

impl Control {
    /// One that lets run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every execution that was handed this, now and from now on. Their processes are killed.
    pub fn cancel(&self) {
        self.set(Wish::Cancel);
    }

    /// Holds every execution that was handed this still, until [`Control::thaw`].
    pub fn freeze(&self) {
        self.set(Wish::Freeze);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.set(Wish::Run);
    }

    /// True once [`Control::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.wish() == Wish::Cancel
    }

    /// What is wanted now.
    pub fn wish(&self) -> Wish {
        self.lock().wish
    }

    /// Calls `wake` each time the wish changes, from the thread that changes it; it must not block. What was wished before is for
    /// the caller to look at.
    pub fn listen(&self, wake: impl Fn() + Send + Sync + 'static) -> Registration {
        let mut state = self.lock();
        state.registered += 1;
        let number = state.registered;
        state.waiting.insert(number, Arc::new(wake));
        Registration { control: self.clone(), number }
    }

    fn set(&self, wish: Wish) {
        let waiting: Vec<Wake> = {
            let mut state = self.lock();
            // What was cancelled stays so.
            if state.wish == Wish::Cancel || state.wish == wish {
                return;
            }
            state.wish = wish;
            state.waiting.values().cloned().collect()
        };
        for wake in waiting {
            wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // INVARIANT: no code that can panic runs under this lock, so a poisoned one is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.control.lock().waiting.remove(&self.number);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("wish", &self.wish()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn whoever_listens_is_woken_by_each_change_and_a_cancel_is_for_good() {
        let control = Control::new();
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        let listening = control.listen(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        control.freeze();
        control.freeze();
        assert_eq!((control.wish(), woken.load(Ordering::Relaxed)), (Wish::Freeze, 1));
        control.thaw();
        control.cancel();
        control.thaw();
        assert_eq!((control.wish(), woken.load(Ordering::Relaxed)), (Wish::Cancel, 3));
        drop(listening);
        let other = control.clone();
        other.freeze();
        assert!(control.is_cancelled());
        assert_eq!(woken.load(Ordering::Relaxed), 3);
    }
}
