//! Who a pool is, on the network: the hash of its key.
//!
//! There is no certificate authority. A pool makes a key once ([`ServerTls`]), its address carries the key's hash
//! ([`PoolUrl`]), and whoever dials it accepts that key and no other ([`client_config`]). Names and dates in the
//! certificate mean nothing.

mod identity;
mod pin;
mod url;

pub use identity::{IdentityError, ServerTls};
pub(crate) use pin::mismatch_in;
pub use pin::{PinMismatch, client_config};
pub use url::{KeyHash, PoolUrl, PoolUrlError};

/// The application protocol that both ends name in the handshake: HTTP/2.
pub(crate) const ALPN: &[u8] = b"h2";
