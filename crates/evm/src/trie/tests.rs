use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};
use alloy_trie::root::storage_root;
use proptest::prelude::*;

use super::*;

#[derive(Default, Debug)]
struct MemoryNodes(BTreeMap<Vec<u8>, Vec<u8>>);

impl NodeSource for MemoryNodes {
    fn node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, TrieError> {
        Ok(self.0.get(path).cloned())
    }
}

impl MemoryNodes {
    fn apply(&mut self, changes: NodeChanges) {
        for path in changes.removed {
            self.0.remove(&path);
        }
        self.0.extend(changes.written);
    }
}

fn encode(value: u64) -> Vec<u8> {
    alloy_rlp::encode(U256::from(value))
}

/// Keys that share long prefixes, so that extensions are made, split and merged.
fn key_of(seed: u16) -> B256 {
    let mut key = B256::ZERO;
    key[0] = (seed >> 12) as u8;
    key[1] = ((seed >> 8) & 0x0f) as u8;
    key[15] = ((seed >> 4) & 0x0f) as u8;
    key[31] = (seed & 0x0f) as u8;
    key
}

fn full_root(values: &BTreeMap<B256, u64>) -> B256 {
    storage_root(values.iter().map(|(key, value)| (*key, U256::from(*value))))
}

/// Applies rounds of changes, and after each compares root and stored nodes with a recomputation from nothing.
fn check(rounds: &[Vec<(B256, u64)>], forget_each: bool) {
    let mut trie = Trie::new(EMPTY_ROOT_HASH);
    let mut nodes = MemoryNodes::default();
    let mut values = BTreeMap::new();
    for round in rounds {
        for (key, value) in round {
            if *value == 0 {
                values.remove(key);
                trie.set(&nodes, *key, None).expect("readable");
            } else {
                values.insert(*key, *value);
                trie.set(&nodes, *key, Some(encode(*value))).expect("readable");
            }
        }
        let (root, changes) = trie.commit();
        nodes.apply(changes);
        assert_eq!(root, full_root(&values));
        assert_eq!(root, trie.root_hash());
        check_no_garbage(&nodes, &values, root);
        if forget_each {
            trie.forget();
        }
    }
}

/// The store holds exactly the nodes of a trie that was built from nothing.
fn check_no_garbage(nodes: &MemoryNodes, values: &BTreeMap<B256, u64>, root: B256) {
    let mut fresh = Trie::new(EMPTY_ROOT_HASH);
    let empty = MemoryNodes::default();
    for (key, value) in values {
        fresh.set(&empty, *key, Some(encode(*value))).expect("in memory");
    }
    let (fresh_root, changes) = fresh.commit();
    assert_eq!(fresh_root, root);
    let mut fresh_nodes = MemoryNodes::default();
    fresh_nodes.apply(changes);
    assert_eq!(nodes.0, fresh_nodes.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn root_equals_full_recomputation_on_shared_prefixes(
        rounds in prop::collection::vec(
            prop::collection::vec((any::<u16>().prop_map(|seed| key_of(seed & 0x3333)), 0u64..4), 1..24),
            1..8,
        ),
        forget_each in any::<bool>(),
    ) {
        check(&rounds, forget_each);
    }

    #[test]
    fn root_equals_full_recomputation_on_hashed_keys(
        rounds in prop::collection::vec(
            prop::collection::vec((0u64..200, prop_oneof![Just(0u64), any::<u64>()]), 1..60),
            1..6,
        ),
        forget_each in any::<bool>(),
    ) {
        let rounds: Vec<Vec<(B256, u64)>> = rounds
            .into_iter()
            .map(|round| {
                round.into_iter().map(|(key, value)| (keccak256(key.to_be_bytes()), value)).collect()
            })
            .collect();
        check(&rounds, forget_each);
    }
}

#[test]
fn removing_everything_gives_the_empty_root_and_an_empty_store() {
    let keys: Vec<B256> = (0..50u16).map(|seed| key_of(seed * 37)).collect();
    let fill = keys.iter().map(|key| (*key, 7)).collect();
    let clear = keys.iter().map(|key| (*key, 0)).collect();
    check(&[fill, clear], true);
}

#[test]
fn proofs_verify_for_present_and_absent_keys() {
    let mut trie = Trie::new(EMPTY_ROOT_HASH);
    let mut nodes = MemoryNodes::default();
    for key in 0..300u64 {
        trie.set(&nodes, keccak256(key.to_be_bytes()), Some(encode(key + 1))).expect("readable");
    }
    let (root, changes) = trie.commit();
    nodes.apply(changes);
    for key in 0..400u64 {
        let hashed = keccak256(key.to_be_bytes());
        let expected = (key < 300).then(|| encode(key + 1));
        let proof = proof(&nodes, root, hashed).expect("readable");
        let proof: Vec<alloy_primitives::Bytes> = proof.into_iter().map(Into::into).collect();
        alloy_trie::proof::verify_proof(root, Nibbles::unpack(hashed), expected, proof.iter())
            .unwrap_or_else(|error| panic!("key {key}: {error}"));
    }
}

#[test]
fn damaged_and_missing_nodes_are_reported() {
    let mut trie = Trie::new(EMPTY_ROOT_HASH);
    let mut nodes = MemoryNodes::default();
    for key in 0..100u64 {
        trie.set(&nodes, keccak256(key.to_be_bytes()), Some(encode(key + 1))).expect("readable");
    }
    let (root, changes) = trie.commit();
    nodes.apply(changes);

    let mut damaged = Trie::new(root);
    nodes.0.get_mut(&Vec::new()).expect("root is stored")[5] ^= 1;
    let error = damaged.set(&nodes, keccak256([1]), Some(encode(1))).expect_err("damaged");
    assert!(matches!(error, TrieError::Mismatch { ref path } if path.is_empty()), "{error}");

    nodes.0.remove(&Vec::new());
    let error = Trie::new(root).set(&nodes, keccak256([1]), None).expect_err("missing");
    assert!(matches!(error, TrieError::Missing { .. }), "{error}");
}
