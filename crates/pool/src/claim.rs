//! See to it that one pool at a time works with a key on a ledger, as far as that can be seen.
//!
//! Two pools with one key would give the same workers two schedulers, and take each other's transaction numbers. What can be seen:
//! a folder has a lock (`DataDir`); on one machine a name in the kernel ([`Claim`]) has one holder, whatever folders and copies of the
//! key there are, and is free again when its holder dies in whatever way; and who answers at a public pool's own address with its own
//! TLS key is that pool ([`refuse_second`]). Two machines with a copy of the key, whose pools are not public, cannot be seen before
//! they have taken a number of each other's: that is in `status` (`Outbox::displaced`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use alloy_primitives::{Address, keccak256};
use gristmill_hub::{HubClient, HubError};
use gristmill_protocol::client::{Timeouts, connect};
use gristmill_protocol::tls::PoolUrl;

use crate::error::PoolError;

/// How long whoever may be at the pool's own address is given to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// The right to work with a key on a ledger. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim {
    /// An abstract socket, which nobody connects to: its name is what counts. It belongs to the machine (to be exact: to the network
    /// namespace), not to a folder or a user.
    _held: UnixListener,
}

impl Claim {
    /// Claims the key of `owner` on the ledger of this hub.
    ///
    /// # Errors
    /// [`PoolError::KeyInUse`], or the ledger does not answer.
    pub async fn take(hub: &HubClient, owner: Address) -> Result<Self, PoolError> {
        // The same key on another ledger is another pool.
        let genesis = hub.ledger().blocks(vec![0]).await.map_err(HubError::from)?;
        let genesis = genesis.into_iter().flatten().next().map(|block| block.hash).unwrap_or_default();
        let what = [genesis.as_slice(), hub.hub.as_slice(), owner.as_slice(), &hub.chain_id().to_be_bytes()].concat();
        Self::hold(&format!("gristmill-pool-{:x}", keccak256(what)), owner)
    }

    fn hold(name: &str, owner: Address) -> Result<Self, PoolError> {
        let held = SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
        match held {
            Ok(held) => Ok(Self { _held: held }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(PoolError::KeyInUse { owner }),
            Err(source) => Err(PoolError::Claim { owner, source }),
        }
    }
}

/// Refuses to be a second pool at `url`, its own address: who answers there has its TLS key. Before it listens itself.
///
/// # Errors
/// [`PoolError::Elsewhere`].
pub(crate) async fn refuse_second(url: &PoolUrl) -> Result<(), PoolError> {
    let timeouts = Timeouts { connect: ANSWER_TIME, ..Timeouts::default() };
    match connect(url, &timeouts).await {
        Ok(_) => Err(PoolError::Elsewhere { url: url.clone() }),
        // Nobody, or somebody else.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder_at_a_time() {
        let name = format!("gristmill-pool-test-{}", std::process::id());
        let owner = Address::repeat_byte(3);
        let first = Claim::hold(&name, owner).unwrap();
        let second = Claim::hold(&name, owner).unwrap_err();
        assert!(matches!(second, PoolError::KeyInUse { .. }), "{second}");
        for part in [owner.to_string().as_str(), "stop it", "--wallet"] {
            assert!(second.to_string().contains(part), "{part}: {second}");
        }
        drop(first);
        Claim::hold(&name, owner).unwrap();
    }
}
