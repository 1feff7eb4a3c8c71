//! Read what somebody says who joins, and find the first members of a private pool.

use std::sync::{Arc, RwLock};

use alloy_primitives::Address;
use gristmill_protocol::convert::{address, fixed};
use gristmill_protocol::join::{self, Token};
use gristmill_protocol::tls::KeyHash;
use gristmill_protocol::tonic::Status;
use gristmill_protocol::wire::JoinRequest;

use crate::config::PoolConfig;
use crate::engine::unix_ms;
use crate::error::PoolError;
use crate::journal::Journal;
use crate::members::{Join, Members};
use crate::service::invalid;

/// What a worker is told that was never invited, or was expelled.
pub(crate) fn not_invited() -> String {
    "this pool takes only workers that were invited: ask its operator for an invitation (`gristmill pool invite`), then type `gristmill join LINE --worker` here"
        .to_owned()
}

/// What somebody says who joins, once it is known that the keys are theirs.
pub(crate) fn parse_join(request: &JoinRequest, pool: &KeyHash) -> Result<Join, Status> {
    join::check_request(request).map_err(invalid)?;
    let text = join::signing_text(request, pool);
    let key = |field, bytes: &[u8], signature: &[u8]| -> Result<Option<Address>, Status> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let key = address(field, bytes).map_err(invalid)?;
        match gristmill_wallet::recover_message(&text, signature) {
            Ok(signer) if signer == key => Ok(Some(key)),
            _ => Err(Status::unauthenticated(format!("{field} did not sign this"))),
        }
    };
    let token = fixed::<32>("join.token", &request.token).map_err(invalid)?;
    Ok(Join {
        hash: Token(token).hash(),
        user: request.user.clone(),
        user_chosen: request.user_chosen,
        machine: request.machine.clone(),
        requester: key("join.requester", &request.requester, &request.requester_signature)?,
        worker: key("join.worker", &request.worker, &request.worker_signature)?,
    })
}

/// Whether the pool is private: as its operator says now, or as it was. A private pool that asks strangers in would refuse them all.
pub(crate) fn settle_privacy(config: &PoolConfig, journal: &Journal) -> Result<bool, PoolError> {
    if let Some(private) = config.private {
        journal.set_private(private)?;
    }
    let is_private = journal.is_private()?;
    match is_private && config.public.is_some() {
        true => Err(PoolError::PrivateAndPublic),
        false => Ok(is_private),
    }
}

/// The members as the journal has them; of a private pool, those too who found it.
pub(crate) fn found_members(
    config: &PoolConfig,
    journal: &Journal,
    is_private: bool,
) -> Result<Arc<RwLock<Members>>, PoolError> {
    let mut members = journal.members()?;
    if let Some(founder) = config.founder.as_ref().filter(|_| is_private) {
        let changes = members.found(&founder.name, founder.requester, &founder.workers, unix_ms())?;
        journal.write_members(&changes)?;
        members.apply(changes);
    }
    Ok(Arc::new(RwLock::new(members)))
}
