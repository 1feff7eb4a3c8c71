//! Turns what a block did to the accounts into writes of the store and the new state root.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use revm::database::BundleState;

use crate::error::StoreError;
use crate::schema::{StoredAccount, encode_value};
use crate::state::State;
use crate::trie::{NodeChanges, Trie};

/// Trie nodes kept in memory between blocks, over all tries together.
const CACHED_NODES_MAX: usize = 100_000;

/// What one block did to one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub address: Address,
    /// Nonce, balance and code hash; `None` when the account is gone.
    pub info: Option<(u64, U256, B256)>,
    /// New values of slots.
    pub storage: Vec<(U256, U256)>,
    /// All older slots are gone.
    pub wiped: bool,
}

/// What a block writes into the state tables.
#[derive(Debug, Default)]
pub(crate) struct StateChanges {
    /// Address, old and new entry; an empty entry means none.
    pub accounts: Vec<(Address, Vec<u8>, Vec<u8>)>,
    /// Address, slot, old and new value.
    pub storage: Vec<(Address, U256, U256, U256)>,
    pub codes: Vec<(B256, Bytes)>,
    pub account_nodes: NodeChanges,
    pub storage_nodes: Vec<(B256, NodeChanges)>,
    pub root: B256,
}

/// The tries of the last block, with the nodes that recent blocks touched in memory.
#[derive(Debug)]
pub(crate) struct Tries {
    accounts: Trie,
    /// By hash of the address.
    storage: HashMap<B256, Trie>,
}

impl Tries {
    pub fn new(state_root: B256) -> Self {
        Self { accounts: Trie::new(state_root), storage: HashMap::new() }
    }

    /// Drops what is in memory when it is too much.
    pub fn trim(&mut self) {
        let storage: usize = self.storage.values().map(Trie::loaded_count).sum();
        if storage + self.accounts.loaded_count() > CACHED_NODES_MAX {
            self.storage.clear();
            self.accounts.forget();
        }
    }

    /// Applies a block's changes to the state of its parent.
    ///
    /// After an error, or when the result is not stored, these tries must be dropped: they are ahead of the store.
    pub fn apply(&mut self, parent: &State, mut changes: Vec<AccountChange>) -> Result<StateChanges, StoreError> {
        changes.sort_by_key(|change| change.address);
        let mut written = StateChanges::default();
        for change in changes {
            self.apply_account(parent, change, &mut written)?;
        }
        (written.root, written.account_nodes) = self.accounts.commit();
        Ok(written)
    }

    fn apply_account(
        &mut self,
        parent: &State,
        change: AccountChange,
        written: &mut StateChanges,
    ) -> Result<(), StoreError> {
        let address = change.address;
        let hashed = keccak256(address);
        let old = parent.account(address)?;
        let slots = slot_changes(parent, &change)?;
        let old_root = old.as_ref().map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let storage_root = self.apply_storage(parent, hashed, old_root, &change, &slots, written)?;
        written.storage.extend(slots.iter().map(|(slot, old, new)| (address, *slot, *old, *new)));

        let new =
            change.info.map(|(nonce, balance, code_hash)| StoredAccount { nonce, balance, storage_root, code_hash });
        if new == old {
            return Ok(());
        }
        // The entry of the table is, byte for byte, the leaf of the account trie.
        let encoded = new.as_ref().map(alloy_rlp::encode);
        self.accounts.set(&parent.account_nodes(), hashed, encoded.clone())?;
        let old = old.as_ref().map(alloy_rlp::encode);
        written.accounts.push((address, old.unwrap_or_default(), encoded.unwrap_or_default()));
        Ok(())
    }

    fn apply_storage(
        &mut self,
        parent: &State,
        hashed: B256,
        old_root: B256,
        change: &AccountChange,
        slots: &[(U256, U256, U256)],
        written: &mut StateChanges,
    ) -> Result<B256, StoreError> {
        if change.wiped {
            self.storage.remove(&hashed);
            let removed = parent.storage_node_paths(hashed)?;
            written.storage_nodes.push((hashed, NodeChanges { removed, written: Vec::new() }));
        }
        let root = if change.wiped { EMPTY_ROOT_HASH } else { old_root };
        if slots.is_empty() {
            return Ok(root);
        }
        let trie = self.storage.entry(hashed).or_insert_with(|| Trie::new(root));
        let nodes = parent.storage_nodes(hashed);
        for (slot, _, new) in slots {
            // After a wipe the trie starts empty, so that older slots need no removal.
            if change.wiped && new.is_zero() {
                continue;
            }
            let key = keccak256(slot.to_be_bytes::<32>());
            let value = (!new.is_zero()).then(|| alloy_rlp::encode(new));
            trie.set(&nodes, key, value)?;
        }
        let (root, changes) = trie.commit();
        written.storage_nodes.push((hashed, changes));
        Ok(root)
    }
}

/// Slot, old value, new value, for the slots that really change.
fn slot_changes(parent: &State, change: &AccountChange) -> Result<Vec<(U256, U256, U256)>, StoreError> {
    let mut slots = std::collections::BTreeMap::new();
    if change.wiped {
        for (slot, old) in parent.all_storage(change.address)? {
            slots.insert(slot, (old, U256::ZERO));
        }
    }
    for (slot, new) in &change.storage {
        match slots.get_mut(slot) {
            Some((_, value)) => *value = *new,
            None => {
                let old = parent.storage(change.address, *slot)?;
                slots.insert(*slot, (old, *new));
            }
        }
    }
    // After a wipe a slot that keeps its value must still be put into the new trie.
    slots.retain(|_, (old, new)| change.wiped || old != new);
    Ok(slots.into_iter().map(|(slot, (old, new))| (slot, old, new)).collect())
}

/// What the execution of a block did, account by account.
pub(crate) fn changes_of(bundle: &BundleState) -> Vec<AccountChange> {
    let mut changes = Vec::with_capacity(bundle.state.len());
    for (address, account) in &bundle.state {
        let wiped = account.was_destroyed();
        let info = account.info.as_ref().filter(|info| !info.is_empty());
        let storage = account
            .storage
            .iter()
            .filter(|(_, slot)| wiped || slot.is_changed())
            .map(|(slot, value)| (*slot, value.present_value))
            .collect();
        changes.push(AccountChange {
            address: *address,
            info: info.map(|info| {
                let hash = if info.code_hash.is_zero() { KECCAK256_EMPTY } else { info.code_hash };
                (info.nonce, info.balance, hash)
            }),
            storage,
            wiped,
        });
    }
    changes
}

/// Writes `old -> new` pairs as the values of the tables.
pub(crate) fn slot_entry(value: U256) -> Option<Vec<u8>> {
    (!value.is_zero()).then(|| encode_value(value))
}
