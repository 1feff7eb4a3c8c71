//! One order is made at a time, and none that was begun is left half made.

use std::future::Future;
use std::sync::Arc;

use gristmill_worker::NotBrought;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Hands out turns, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<()>>);

/// Nobody else has one.
#[derive(Debug)]
pub struct Turn {
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// The next turn. Cancel safe: who is dropped while it waits has none, and does nothing later.
    pub async fn next(&self) -> Turn {
        Turn { _held: Arc::clone(&self.0).lock_owned().await }
    }

    /// A turn, if nobody has one.
    pub fn now(&self) -> Option<Turn> {
        Arc::clone(&self.0).try_lock_owned().ok().map(|held| Turn { _held: held })
    }
}

impl Turn {
    /// Does `work` to its end, also when the caller is dropped before; the turn lasts as long.
    ///
    /// # Errors
    /// [`NotBrought::Cancelled`]: the process ends.
    pub async fn finish<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<(Self, T), NotBrought> {
        let working = tokio::spawn(async move {
            let done = work.await;
            (self, done)
        });
        match working.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(NotBrought::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_is_dropped_while_it_waits_does_nothing_and_who_has_begun_ends_it() {
        let (turns, orders) = (Turns::default(), Arc::new(AtomicU32::new(0)));
        let order = |answer: oneshot::Receiver<()>| {
            let (turns, orders) = (turns.clone(), Arc::clone(&orders));
            tokio::spawn(async move {
                let turn = turns.next().await;
                let work = async move {
                    orders.fetch_add(1, Ordering::SeqCst);
                    _ = answer.await;
                    orders.fetch_add(10, Ordering::SeqCst);
                };
                turn.finish(work).await.unwrap();
            })
        };
        let (answer, answered) = oneshot::channel();
        let begun = order(answered);
        while orders.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let (_never, unanswered) = oneshot::channel();
        let waiting = order(unanswered);
        tokio::task::yield_now().await;
        for dropped in [waiting, begun] {
            dropped.abort();
            assert!(dropped.await.unwrap_err().is_cancelled());
        }
        assert!(turns.now().is_none(), "what was begun goes on");
        answer.send(()).unwrap();
        drop(turns.next().await);
        assert_eq!(orders.load(Ordering::SeqCst), 11, "one order, made to its end");
    }
}
