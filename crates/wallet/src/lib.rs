//! Keep a secp256k1 key and sign with it: transactions, orders (EIP-712) and messages (EIP-191).
//!
//! A [`Wallet`] is one key and its address. On disk it is a JSON file with mode 0600; in memory the key is erased when
//! the wallet is dropped, and no `Debug`, `Display` or error of this crate contains any part of it.
//!
//! ```
//! use alloy_primitives::keccak256;
//! use gristmill_wallet::{Wallet, recover};
//!
//! let wallet = Wallet::generate();
//! let hash = keccak256("three sacks of wheat");
//! let signature = wallet.sign_hash(hash);
//! assert_eq!(recover(hash, &signature)?, wallet.address());
//! # Ok::<(), gristmill_wallet::RecoverError>(())
//! ```

mod file;
mod key;
mod sign;

pub use file::{WALLET_FILE_MAX_BYTES, WALLET_FILE_VERSION, WalletFileError};
pub use key::{KeyError, Wallet};
pub use sign::{RecoverError, SIGNATURE_BYTES, recover, recover_message, recover_typed};

#[cfg(test)]
mod tests;
