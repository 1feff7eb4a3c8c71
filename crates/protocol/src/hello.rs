//! What a worker signs when it presents itself.

use crate::{tls::KeyHash, wire::Hello};

/// The text that the worker's ledger key signs (EIP-191, `personal_sign`), all of the hello but the signature.
///
/// It names the pool's key, so that no pool can pass a worker's hello on to another one, and it cannot be taken for
/// any other signed text, since its first line is of this protocol only. It is the fields one a line; the free texts
/// come last and [`crate::check`] keeps line breaks out of them.
pub fn signing_text(hello: &Hello, pool_key: &KeyHash) -> Vec<u8> {
    // A worker that lends nothing but processors says it as it always did.
    let extras = match (hello.gpus, hello.network) {
        (0, false) => String::new(),
        (gpus, network) => format!("gpus: {gpus}\nnetwork: {network}\n"),
    };
    format!(
        "Gristmill worker hello\npool key: {pool_key}\nworker: 0x{}\nprotocol: {}\nresume: {} at {}\nnew session: {}\n\
         slots: {}\nmemory: {}\ntime: {}\n{extras}engine: {}\nsoftware: {}",
        hex::encode(&hello.worker_address),
        hello.protocol_version,
        hex::encode(&hello.session_id),
        hello.last_received,
        hex::encode(&hello.new_session_id),
        hello.slots,
        hello.memory_bytes,
        hello.unix_ms,
        hello.engine_profile,
        hello.software_version,
    )
    .into_bytes()
}
