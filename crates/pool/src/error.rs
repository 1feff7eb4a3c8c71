//! What ends a pool.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use alloy_primitives::Address;
use gristmill_credibility::PolicyError;
use gristmill_datadir::secret::SecretError;
use gristmill_datadir::{DataDirError, DbError};
use gristmill_hub::{FollowError, HubError, OutboxError};
use gristmill_protocol::control::ListenError;
use gristmill_protocol::public::PublicPoolError;
use gristmill_protocol::tls::{IdentityError, PoolUrl};
use gristmill_store::ClientError;

use crate::members::MembersError;
use crate::settings::SettingsError;

/// A pool could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// Its database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// How far it is to believe its workers.
    #[error(transparent)]
    Belief(#[from] PolicyError),
    /// What its operator wrote down.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The secret from which its draws follow.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// That secret has another length.
    #[error("{} is {got} bytes long, and the secret in it has {expected}: remove the file, and the pool makes another", path.display())]
    Seed {
        /// The file.
        path: PathBuf,
        /// How long it should be.
        expected: usize,
        /// How long it is.
        got: usize,
    },
    /// Another pool on this machine works with its key.
    #[error(
        "another pool on this machine works with the key of {owner} on this ledger, from another folder: stop it first, or give this one a key of its own (--wallet FILE)"
    )]
    KeyInUse {
        /// Whose key.
        owner: Address,
    },
    /// That cannot be seen.
    #[error("it cannot be seen whether another pool on this machine works with the key of {owner}")]
    Claim {
        /// Whose key.
        owner: Address,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The same pool runs on another machine.
    #[error(
        "this pool runs already, on another machine: it answers at {url} with the same TLS key. Stop it there first, or give this one a folder and a key of its own"
    )]
    Elsewhere {
        /// Its address.
        url: PoolUrl,
    },
    /// Its TLS key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its address is taken, or not one of this machine.
    #[error("the pool cannot listen on {address}: choose another address, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// Its control socket.
    #[error(transparent)]
    Control(#[from] ListenError),
    /// Its metrics.
    #[error("the pool cannot serve its metrics at {address}: choose another address or port with --metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The hub could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The ledger could not be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A transaction that the pool needs failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A public pool's name.
    #[error(transparent)]
    PublicName(#[from] PublicPoolError),
    /// A public pool's address names no machine.
    #[error(
        "a pool at {host} cannot be public, since nobody else can dial that: let it listen on the address that others dial"
    )]
    PublicHost {
        /// The host in its address.
        host: String,
    },
    /// It is to be found by all and to take nobody.
    #[error("this pool is private, and a public one is for everybody: leave --public out, or say --private=false")]
    PrivateAndPublic,
    /// Its founder cannot be a member.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ClientError),
}

impl PoolError {
    /// Whether asking again later may help: the ledger was not reached, or did not answer in time.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Hub(error) | Self::Follow(FollowError::Hub(error)) if error.is_transient())
    }
}
