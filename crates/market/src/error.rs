//! What ends a market, or keeps it from starting.

use std::io;
use std::net::SocketAddr;

use gristmill_datadir::{DataDirError, DbError};
use gristmill_hub::{FollowError, HubError};

/// A market could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarketError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// Its database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The hub could not be read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The ledger is not the one it followed before, or went back.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Its address is taken, or not one of this machine.
    #[error("the market cannot listen on {address}: choose another address with --market, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}
