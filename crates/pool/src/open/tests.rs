use alloy_primitives::B256;
use gristmill_result::pack::{Header, write_pack};
use gristmill_result::{Ending, FileEntry, Manifest, Part, Witness};
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Store, StoreLimits};

use super::*;

const WORKER: Address = Address::repeat_byte(5);

fn task() -> TaskId {
    TaskId(B256::repeat_byte(6))
}

/// A result that ended so, with a file of so many bytes, sealed for [`WORKER`], and its digest.
fn sealed(exit_code: i32, length: usize) -> (Vec<u8>, Digest) {
    let bytes = vec![7; length];
    let content = gristmill_store::content_id(&bytes);
    let file = FileEntry { path: "grain".to_owned(), length: length as u64, content };
    let part = Part { item: None, ending: Ending::Exited(exit_code), files: vec![file] };
    let header = Header::new(Manifest::new(vec![part]).unwrap(), Witness::default(), vec![], vec![]);
    let (mut pack, mut out) = (Vec::new(), Vec::new());
    write_pack(&header, |_| Ok(bytes.as_slice()), &mut pack).unwrap();
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
    let ((good, digest), (other, _)) = (sealed(0, 100), sealed(1, 100));
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
    // What a worker says of the size does not matter.
    let (large, digest) = sealed(0, SMALL_BYTES_MAX as usize);
    let large = store.put_bytes(&large).unwrap();
    let opening = open_upload(&client, folder.path(), task(), WORKER, digest, (large, 10)).await;
    assert!(matches!(opening, Opening::Matches(_)), "{opening:?}");
    server.stop().await;
}
