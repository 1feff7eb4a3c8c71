//! Say exactly what a result is: manifest, root, witness, digest, pack, seal and receipt.
//!
//! The result of a task is a folder. Its [`Manifest`] lists every output file that counts, sorted, with how the app
//! ended; the manifest's hash is the *root*: the same files give the same root in every run. Root, witness and answer
//! give the *digest* that replicas compare and the hub settles ([`Commitment`]). The bytes travel in a [`pack`], which
//! carries all that is needed to recompute the digest, and which stays sealed ([`seal`]) until the digest is revealed.
//!
//! Pure: it reads from and writes to what it is handed, and opens no file itself. Parsers are bounded.
//!
//! ```
//! use gristmill_result::{Ending, Manifest, Part};
//! let manifest = Manifest::new(vec![Part { item: None, ending: Ending::Exited(0), files: vec![] }]).unwrap();
//! assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
//! ```

mod codec;
pub mod computed;
pub mod digest;
pub mod items;
pub mod manifest;
pub mod pack;
pub mod receipt;
pub mod seal;

pub use computed::Computed;
pub use digest::{Commitment, Digest, Root, Witness, result_hash, result_seal};
pub use manifest::{Ending, FileEntry, Manifest, ManifestError, Part};
pub use receipt::Receipt;

/// Domain of the witness chain, for whoever computes one.
pub const WITNESS_CONTEXT: &str = "gristmill 2026 witness v1";
