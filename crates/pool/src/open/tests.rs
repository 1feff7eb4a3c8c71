use alloy_primitives::B256;
use gristmill_result::pack::{Header, write_pack};
use gristmill_result::{Ending, Manifest, Part, Witness};
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Store, StoreLimits};

use super::*;

const WORKER: Address = Address::repeat_byte(5);

fn task() -> TaskId {
    TaskId(B256::repeat_byte(6))
}

/// A result with this log, sealed for [`WORKER`], and its digest.
fn sealed(exit_code: i32) -> (Vec<u8>, Digest) {
    let part = Part { item: None, ending: Ending::Exited(exit_code), files: vec![] };
    let header = Header::new(Manifest::new(vec![part]).unwrap(), Witness::default(), vec![], vec![]);
    let (mut pack, mut out) = (Vec::new(), Vec::new());
    write_pack(&header, |_| -> std::io::Result<std::io::Empty> { unreachable!("it has no files") }, &mut pack).unwrap();
    let digest = header.commitment.digest();
    seal::seal(digest, task(), WORKER, &mut pack.as_slice(), &mut out).unwrap();
    (out, digest)
}

#[tokio::test]
async fn only_the_bytes_of_the_revealed_digest_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), StoreLimits::default()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ServerHandle::start(listener, store.clone(), ServerLimits::default()).unwrap();
    let client = Client::new(&server.url()).unwrap();
    let ((good, digest), (other, _)) = (sealed(0), sealed(1));
    let (good, other) = (store.put_bytes(&good).unwrap(), store.put_bytes(&other).unwrap());
    // In memory, and in files.
    for size in [1_000, SMALL_BYTES_MAX + 1] {
        let open = |worker, upload| open_upload(&client, folder.path(), task(), worker, digest, (upload, size));
        let Opening::Matches(opened) = open(WORKER, good).await else { panic!("the right upload opens") };
        assert!(store.has(opened.pack).unwrap(), "the open pack is in the store");
        assert_eq!(alloy_primitives::keccak256(&opened.commitment), digest.0);
        assert_eq!(open(WORKER, other).await, Opening::Wrong, "another result");
        assert_eq!(open(Address::ZERO, good).await, Opening::Wrong, "another worker's upload");
        assert_eq!(open(WORKER, ContentId([0; 32])).await, Opening::Unavailable, "no bytes");
    }
    server.stop().await;
}
