use proptest::prelude::*;

use super::{SEGMENT_BYTES, Tree, TreeHasher, content_id};

/// Bytes that differ from place to place, so that swapped segments would show.
fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn tree_of(bytes: &[u8], step: usize) -> Tree {
    let mut hasher = TreeHasher::new();
    for part in bytes.chunks(step) {
        hasher.update(part);
    }
    assert_eq!(hasher.len(), bytes.len() as u64);
    hasher.finish()
}

fn segments(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.is_empty() { vec![&[]] } else { bytes.chunks(SEGMENT_BYTES).collect() }
}

#[test]
fn the_tree_has_the_content_id_at_each_length_around_the_borders() {
    for count in 0..6 {
        for around in [-1025_i64, -1024, -1, 0, 1, 63, 1024, 1025] {
            let Ok(len) = usize::try_from(count * SEGMENT_BYTES as i64 + around) else { continue };
            let bytes = bytes(len);
            let tree = tree_of(&bytes, 100_003);
            assert_eq!(tree.content(), content_id(&bytes), "{len}");
            assert_eq!(tree.len(), len as u64);
            let segments = segments(&bytes);
            assert_eq!(tree.segment_count(), segments.len() as u64, "{len}");
            for (index, segment) in segments.iter().enumerate() {
                assert!(tree.matches(index as u64, segment), "{len} {index}");
            }
            assert!(!tree.matches(segments.len() as u64, &[]), "{len}");
            assert!(!tree.matches(u64::MAX, &[]), "{len}");
        }
    }
}

#[test]
fn segments_at_other_places_do_not_match() {
    // All segments have the same bytes: only their place tells them apart.
    let bytes = vec![5; 4 * SEGMENT_BYTES];
    let tree = tree_of(&bytes, 1 << 20);
    assert!(tree.matches(1, &bytes[..SEGMENT_BYTES]));
    let other = tree_of(&bytes[..3 * SEGMENT_BYTES], 1 << 20);
    assert_ne!(tree.content(), other.content());
    let mut swapped = super::tests::bytes(2 * SEGMENT_BYTES);
    let tree = tree_of(&swapped, 1 << 20);
    swapped.rotate_left(SEGMENT_BYTES);
    assert!(!tree.matches(0, &swapped[..SEGMENT_BYTES]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// One flipped bit anywhere is seen in its segment and only there.
    #[test]
    fn a_flipped_bit_is_seen_in_its_segment(
        len in 1_usize..(4 * SEGMENT_BYTES),
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        step in 1_usize..700_000,
    ) {
        let mut bytes = bytes(len);
        let tree = tree_of(&bytes, step.max(4096));
        prop_assert_eq!(tree.content(), content_id(&bytes));
        let at = place.index(len);
        bytes[at] ^= 1 << bit;
        for (index, segment) in segments(&bytes).iter().enumerate() {
            let damaged = index == at / SEGMENT_BYTES;
            prop_assert_eq!(tree.matches(index as u64, segment), !damaged);
        }
        // A short or long segment does not match either.
        prop_assert!(!tree.matches(0, &bytes[..segments(&bytes)[0].len() - 1]));
    }
}
