//! Tell a pool what this machine is: after each welcome, when its speed was measured anew, and now and then.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_classad::ClassAd;
use gristmill_machine::{AdError, History};
use gristmill_protocol::check::AD_BYTES_MAX;
use gristmill_protocol::wire::{Describe, worker_frame};
use tokio::time::Instant;

use crate::about::About;
use crate::board::Board;
use crate::service::WorkerCounters;

/// What changes all the time, such as the free disk, is told no oftener.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The machine's ad, with what became of the tasks of this process.
///
/// # Errors
/// [`AdError`].
pub(crate) fn ad(about: &About, board: &Board, counters: &WorkerCounters) -> Result<ClassAd, AdError> {
    let history = History {
        tasks_done: counters.contributions.load(Ordering::Relaxed),
        tasks_failed: counters.failures.load(Ordering::Relaxed),
    };
    about.ad(history, board.view().missing_guarantees)
}

/// What a pool was told last.
#[derive(Debug, Default)]
pub(crate) struct Description {
    told: Option<(Instant, Option<f64>)>,
}

impl Description {
    /// A new connection: whoever is there may have forgotten.
    pub fn renew(&mut self) {
        self.told = None;
    }

    /// What is to be said now, if anything.
    pub fn due(&mut self, about: &About, board: &Board, counters: &WorkerCounters) -> Option<worker_frame::Body> {
        let speed = about.speed();
        if self.told.is_some_and(|(at, of)| at.elapsed() < AGAIN_AFTER && of == speed) {
            return None;
        }
        self.told = Some((Instant::now(), speed));
        let ad = ad(about, board, counters).map(|ad| ad.to_string());
        let ad = ad.inspect_err(|error| tracing::warn!(%error, "the pool cannot be told what this machine is")).ok()?;
        if ad.len() > AD_BYTES_MAX {
            tracing::warn!(bytes = ad.len(), AD_BYTES_MAX, "the machine's ad is too long for the pool");
            return None;
        }
        Some(worker_frame::Body::Describe(Describe { ad }))
    }
}
