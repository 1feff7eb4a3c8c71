use alloy_primitives::B256;
use proptest::prelude::*;

use super::*;

const WORKER: Address = Address::repeat_byte(3);

fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    seal(digest(), task(), WORKER, &mut &plain[..], &mut out).unwrap();
    assert_eq!(out.len() as u64, sealed_length(plain.len() as u64));
    out
}

fn digest() -> Digest {
    Digest(B256::repeat_byte(1))
}

fn task() -> TaskId {
    TaskId(B256::repeat_byte(2))
}

fn opened(bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut out = Vec::new();
    open(digest(), task(), WORKER, &mut &bytes[..], &mut out).map(|()| out)
}

#[test]
fn a_seal_opens_at_every_chunk_border() {
    for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
        let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        assert_eq!(opened(&sealed(&plain)).unwrap(), plain, "{length}");
    }
}

#[test]
fn only_the_right_digest_task_and_worker_open() {
    let bytes = sealed(b"secret");
    let attempt = |digest, task, worker| open(digest, task, worker, &mut bytes.as_slice(), &mut Vec::new());
    assert!(attempt(digest(), task(), WORKER).is_ok());
    assert!(attempt(Digest(B256::ZERO), task(), WORKER).is_err());
    assert!(attempt(digest(), TaskId(B256::ZERO), WORKER).is_err());
    assert!(attempt(digest(), task(), Address::ZERO).is_err());
}

#[test]
fn dropped_and_swapped_chunks_are_noticed() {
    let bytes = sealed(&vec![5; 3 * CHUNK_BYTES]);
    let step = CHUNK_BYTES + TAG_BYTES;
    let (head, body) = bytes.split_at(8);
    let without_first = [head, &body[step..]].concat();
    let swapped = [head, &body[step..2 * step], &body[..step], &body[2 * step..]].concat();
    assert!(opened(&without_first).is_err());
    assert!(opened(&swapped).is_err());
    assert!(opened(&bytes[..8 + 2 * step]).is_err());
}

proptest! {
    #[test]
    fn a_flipped_bit_never_opens(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = sealed(b"some plain bytes of a result");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(opened(&bytes).is_err());
    }
}
