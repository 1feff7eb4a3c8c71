//! Compare the public pools that a ledger knows, and remember which one was joined.
//!
//! A worker that is told only where the ledger and the hub are looks ([`mod@look`]) at the register of pools, at what each paid its
//! workers lately, and asks those that say where they are how busy they are. [`rank`](mod@rank) is the comparison itself, a pure function:
//! facts in, a sorted table out. [`choice`] keeps which pool was joined, and [`vicinity`] keeps strangers from sending the worker to
//! addresses of its owner's network.
//!
//! Of each fact it matters whose word it is. Fee, stake, orders and payments are the ledger's. Connected slots, waiting tasks and the
//! length of a task are the pool's, and count only as far as the ledger bears them out.

pub mod choice;
pub mod look;
pub mod rank;
pub mod vicinity;

pub use choice::Choice;
pub use look::{Comparison, LookError, look};
pub use rank::{Asker, Row, rank};

use gristmill_protocol::convert::address;
use gristmill_protocol::wire::Welcome;

use crate::earnings::LedgerPlace;
use crate::error::WorkerError;
use vicinity::Vicinity;

/// Where a pool that the worker found on `place` says the ledger is: `place`, or the pool is not what the ledger says of it. Its own
/// address of the ledger is not asked: a stranger could make up one. Nor may its store be nearer to this machine than the ledger.
///
/// # Errors
/// [`WorkerError::Welcome`].
pub(crate) async fn admit(place: &LedgerPlace, welcome: &Welcome) -> Result<LedgerPlace, WorkerError> {
    let refuse = WorkerError::Welcome;
    let hub = address("welcome.hub_address", &welcome.hub_address).map_err(|error| refuse(error.to_string()))?;
    if hub != place.hub {
        return Err(refuse(format!("it works on the hub {hub}, the ledger says on {}", place.hub)));
    }
    let ledger = Vicinity::of_url(&place.rpc).await;
    match ledger.objection_to_url(&welcome.store_url).await {
        Some(why) => Err(refuse(format!("its store: {why}"))),
        None => Ok(place.clone()),
    }
}

/// A stranger's text, fit for a terminal: no control characters, and not long.
pub(crate) fn plain(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    text.chars().filter(|c| c.is_alphanumeric() || c.is_ascii_graphic() || *c == ' ').take(CHARS_MAX).collect()
}
