//! Register the pool and fill its account; [`crate::keeper`] does the rest.

use alloy_primitives::{Address, B256};
use gristmill_hub::abi::IHub;
use gristmill_hub::{HubClient, Outbox, TAG_TDX, TAG_TEE};
use gristmill_types::Amount;

use crate::config::PoolConfig;
use crate::error::PoolError;
use crate::public;

/// Makes sure that the pool stands on the ledger as its config says, and returns the workerpool's address. Running it
/// again changes nothing.
pub async fn register(config: &PoolConfig, hub: &HubClient, outbox: &Outbox) -> Result<Address, PoolError> {
    let owner = config.wallet.address();
    let workerpool = hub.predict_workerpool(owner, &config.description).await?;
    if !hub.is_registered(hub.workerpool_registry, workerpool).await? {
        let call = hub.create_workerpool(owner, &config.description);
        outbox.execute(call.intent(format!("create-workerpool:{workerpool}"))).await?;
        public::warn_of_others(hub, owner, workerpool).await?;
    }
    public::set_fee(config.fee_percent, hub, outbox, workerpool).await?;
    fill_account(hub, outbox, owner, config.stake_target).await?;
    Ok(workerpool)
}

/// Fills the owner's account up to `target`, as far as its tokens go.
pub(crate) async fn fill_account(
    hub: &HubClient,
    outbox: &Outbox,
    owner: Address,
    target: Amount,
) -> Result<(), PoolError> {
    let account = hub.view_account(owner).await?;
    let held = account.stake.checked_add(account.locked).unwrap_or(Amount::MAX);
    let missing = target.saturating_sub(held).min(hub.token_balance(owner).await?);
    if !missing.is_zero() {
        // A key of its own for each filling: the same sum may be needed twice.
        let key = format!("deposit:{}", random_salt());
        outbox.execute(hub.deposit(missing).intent(key)).await?;
    }
    Ok(())
}

/// What the pool's orders offer. Where the network simulates enclaves they offer that too; requests that ask for none are
/// served by the same orders.
pub(crate) async fn order_tag(hub: &HubClient) -> Result<B256, PoolError> {
    let simulated = hub.view(hub.hub, IHub::simulatedEnclaveCall {}).await?;
    Ok(B256::with_last_byte(if simulated { TAG_TEE | TAG_TDX } else { 0 }))
}

pub(crate) fn random_salt() -> B256 {
    B256::new(rand::random())
}
