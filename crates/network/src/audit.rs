//! Hold a network against what must always hold: replay the ledger from its first block, compare every view, and fetch
//! every accepted result.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};
use gristmill_hub::audit::{self, AuditError};
use gristmill_hub::{Event, Follower, FollowerConfig, GivenPosition, HubClient};
use gristmill_poco::Replay;
use gristmill_poco::check::Shown;
use gristmill_result::Digest;
use gristmill_result::pack::verify_pack;
use gristmill_store::Client;
use gristmill_types::results::results_pack;
use gristmill_types::{OrderHash, TaskStatus};

/// Bytes of a result pack that an audit reads.
const PACK_BYTES_MAX: u64 = 2 << 30;

/// A hub's whole history, and what its views say at the same block.
#[derive(Debug)]
pub struct Audit {
    ledger: audit::Audit,
}

impl Audit {
    /// Reads a hub's history and its views at the newest block.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn read(hub: &HubClient) -> BoxFuture<'_, Result<Self, AuditError>> {
        Box::pin(async move {
            let volumes = broadcast_volumes(hub).await?;
            Ok(Self { ledger: audit::audit(hub, volumes).await? })
        })
    }

    /// The history.
    pub fn replay(&self) -> &Replay {
        &self.ledger.replay
    }

    /// The views.
    pub fn view(&self) -> &gristmill_poco::check::LedgerView {
        &self.ledger.view
    }

    /// All of I1 to I8, with what `store` delivers for each completed task. `ended`: no task may be open any more.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check<'a>(&'a self, store: &'a Client, ended: bool) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(async move {
            let shown = self.shown(store).await;
            self.ledger.check(&[shown], ended)
        })
    }

    /// What the store delivers for each completed task, by the ledger's own hint.
    async fn shown(&self, store: &Client) -> Shown {
        let mut shown = Shown { source: "store".to_owned(), ..Shown::default() };
        for (id, task) in &self.replay().books().tasks {
            if task.status == TaskStatus::Completed {
                let digest = task.digest.map(Digest);
                shown.accepted.insert(*id, delivered(store, &task.results, digest).await);
            }
        }
        shown
    }
}

/// For how many tasks each broadcast order was signed.
async fn broadcast_volumes(hub: &HubClient) -> Result<BTreeMap<OrderHash, u64>, AuditError> {
    let mut follower = Follower::open(
        hub,
        GivenPosition(None),
        FollowerConfig { confirmations: Some(0), ..FollowerConfig::default() },
    )
    .await?;
    let mut volumes = BTreeMap::new();
    loop {
        let batch = follower.next().await?;
        for event in &batch.events {
            let (hash, volume): (OrderHash, U256) = match &event.event {
                Event::AppOrder(signed) => (hub.order_hash(&signed.order), signed.order.volume),
                Event::DatasetOrder(signed) => (hub.order_hash(&signed.order), signed.order.volume),
                Event::WorkerpoolOrder(signed) => (hub.order_hash(&signed.order), signed.order.volume),
                Event::RequestOrder(signed) => (hub.order_hash(&signed.order), signed.order.volume),
                _ => continue,
            };
            volumes.insert(hash, volume.saturating_to());
        }
        follower.commit(&batch)?;
        if batch.caught_up {
            return Ok(volumes);
        }
    }
}

/// The digest to which the bytes that the store delivers hash; `None` when it delivers none that match.
async fn delivered(store: &Client, hint: &[u8], digest: Option<Digest>) -> Option<B256> {
    let pack = results_pack(hint)?;
    let bytes = store.get_bytes(pack, PACK_BYTES_MAX).await.ok()?;
    verify_pack(&mut bytes.as_slice(), digest?).ok().map(|header| header.commitment.digest().0)
}
