//! Register the pool, fill its account, and keep a priced order of each category on the ledger.

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::abi::IHub;
use gristmill_hub::{HubClient, OrderBook, Outbox, TAG_TDX, TAG_TEE, sign};
use gristmill_types::{Amount, WorkerpoolOrder};
use gristmill_wallet::Wallet;

use crate::config::{ORDER_TRUST, ORDER_VOLUME, PoolConfig};
use crate::error::PoolError;
use crate::public;

/// Makes sure that the pool stands on the ledger as its config says, and returns the workerpool's address. Running it
/// again changes nothing.
pub async fn register(
    config: &PoolConfig,
    hub: &HubClient,
    outbox: &Outbox,
    wallet: &Wallet,
) -> Result<Address, PoolError> {
    let owner = wallet.address();
    let workerpool = hub.predict_workerpool(owner, &config.description).await?;
    if !hub.is_registered(hub.workerpool_registry, workerpool).await? {
        let call = hub.create_workerpool(owner, &config.description);
        outbox.execute(call.intent(format!("create-workerpool:{workerpool}"))).await?;
        public::warn_of_others(hub, owner, workerpool).await?;
    }
    public::set_fee(config, hub, outbox, workerpool).await?;
    fill_account(hub, outbox, owner, config.stake_target).await?;
    publish_orders(config, hub, outbox, wallet, workerpool).await?;
    Ok(workerpool)
}

async fn fill_account(hub: &HubClient, outbox: &Outbox, owner: Address, target: Amount) -> Result<(), PoolError> {
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

async fn publish_orders(
    config: &PoolConfig,
    hub: &HubClient,
    outbox: &Outbox,
    wallet: &Wallet,
    workerpool: Address,
) -> Result<(), PoolError> {
    let mut book = OrderBook::new(hub.clone());
    book.refresh().await?;
    let standing = book.workerpool_orders_of(workerpool).await?;
    let plain = order_tag(hub).await?;
    // Clients of iExec's show no order whose flags they cannot name: what they can use stands in orders of its own.
    let mut tags = vec![plain];
    if !config.offers.is_none() {
        tags.push(plain | config.offers.tag());
    }
    let wanted: Vec<(u64, Amount, B256)> =
        config.prices.iter().flat_map(|(category, price)| tags.iter().map(|tag| (*category, *price, *tag))).collect();
    for (category, price, tag) in wanted {
        let stands = standing.iter().any(|open| {
            open.signed.order.category == U256::from(category)
                && open.signed.order.workerpoolprice == price.to_u256()
                && open.signed.order.tag == tag
        });
        if stands {
            continue;
        }
        let order = WorkerpoolOrder {
            workerpool,
            workerpoolprice: price.to_u256(),
            volume: U256::from(ORDER_VOLUME),
            tag,
            category: U256::from(category),
            trust: U256::from(ORDER_TRUST),
            apprestrict: Address::ZERO,
            datasetrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: random_salt(),
        };
        let signed = sign::order(wallet, order, hub.domain());
        let key = format!("broadcast:{}", hub.order_hash(&signed.order));
        outbox.execute(hub.broadcast_workerpool_order(&signed).intent(key)).await?;
    }
    Ok(())
}

/// What the pool's orders offer. Where the network simulates enclaves they offer that too; requests that ask for none are
/// served by the same orders.
async fn order_tag(hub: &HubClient) -> Result<B256, PoolError> {
    let simulated = hub.view(hub.hub, IHub::simulatedEnclaveCall {}).await?;
    Ok(B256::with_last_byte(if simulated { TAG_TEE | TAG_TDX } else { 0 }))
}

fn random_salt() -> B256 {
    B256::new(rand::random())
}
