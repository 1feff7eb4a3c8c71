//! What a worker does by itself, and when.

use alloy_primitives::B256;
use gristmill_result::{Commitment, Digest, Root, Witness};
use gristmill_types::{ContentId, DealId};

use super::*;

const ME: Address = Address::repeat_byte(7);
const HASH: B256 = B256::repeat_byte(1);
/// T in seconds; consensus came at 1,000, so reveals are taken until 1,020.
const T: u64 = 10;
const REVEAL_DEADLINE: u64 = 1_000 + 2 * T;

fn record(phase: Phase) -> Record {
    let commitment = Commitment { root: Root(B256::ZERO), witness: Witness::default(), answer: vec![] };
    Record {
        task: TaskId(B256::repeat_byte(2)),
        deal: DealId(B256::repeat_byte(3)),
        lease: String::new(),
        trust: 5,
        work_clock_s: T,
        has_callback: false,
        enclave: false,
        digest: Digest(B256::ZERO),
        commitment,
        result_hash: HASH,
        result_seal: B256::ZERO,
        pack: ContentId([0; 32]),
        sealed: ContentId([0; 32]),
        sealed_size: 0,
        sealed_file: None,
        fuel_used: 0,
        run_us: 0,
        items: 1,
        phase,
    }
}

fn revealing(consensus: B256) -> gristmill_hub::Task {
    gristmill_hub::Task {
        id: TaskId(B256::repeat_byte(2)),
        status: TaskStatus::Revealing,
        deal: DealId(B256::repeat_byte(3)),
        index: 0,
        work_clock_s: T,
        contribution_deadline: 1_050,
        reveal_deadline: REVEAL_DEADLINE,
        final_deadline: 1_080,
        consensus,
        reveal_counter: 0,
        winner_counter: 3,
        contributors: vec![ME],
        digest: B256::ZERO,
        results: Bytes::new(),
        callback_data: Bytes::new(),
    }
}

#[test]
fn reveals_when_the_pool_asks_and_alone_only_in_the_second_half_of_the_window() {
    let contributed = record(Phase::Contributed);
    let at = |now, asked| judge(&contributed, &revealing(HASH), ME, now, asked);
    assert_eq!(at(1_000, false), None, "the pool may be waiting for a reserve");
    assert_eq!(at(1_000, true), Some(Verdict::Reveal));
    assert_eq!(at(REVEAL_DEADLINE - T - 1, false), None);
    assert_eq!(at(REVEAL_DEADLINE - T, false), Some(Verdict::Reveal), "a silent pool costs nobody a stake");
    assert_eq!(at(REVEAL_DEADLINE, true), None, "too late: the hub would refuse it");
    assert_eq!(judge(&contributed, &revealing(B256::repeat_byte(9)), ME, 1_000, true), None, "another hash won");
}

#[test]
fn finalises_in_the_place_of_a_silent_pool() {
    let revealed = record(Phase::Revealed);
    let from = REVEAL_DEADLINE + T / 2 + FINALIZE_PATIENCE_S;
    assert_eq!(judge(&revealed, &revealing(HASH), ME, from - 1, true), None);
    assert_eq!(judge(&revealed, &revealing(HASH), ME, from, false), Some(Verdict::Finalize));
    assert_eq!(judge(&revealed, &revealing(HASH), ME, 1_080 + CLAIM_PATIENCE_S, false), Some(Verdict::Claim));
}
