//! Fund the network's own accounts and newcomers, and publish the built-in applications.

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::{HubClient, Intent, NewApp, OrderBook, Outbox, sign};
use gristmill_types::{Amount, AppOrder, ContentId};
use gristmill_wallet::Wallet;
use tokio::sync::mpsc;

use crate::builtin::BuiltinApp;
use crate::error::NetworkError;

/// What a requester of the network's own, and each `--fund` address, finds in its account.
pub const REQUESTER_FUNDS: Amount = Amount::from_grist(10_000);
/// What a worker finds in its account when it joins: stake for a few thousand contributions.
pub const WORKER_STAKE: Amount = Amount::from_grist(200);
/// What the pool may stake.
pub const POOL_STAKE: Amount = Amount::from_grist(100_000);

/// Lets the hub take the treasury's tokens, once.
pub async fn approve(hub: &HubClient, treasury: &Outbox) -> Result<(), NetworkError> {
    treasury.execute(hub.approve(crate::ledger::SUPPLY).intent("approve")).await?;
    Ok(())
}

/// Puts `amount` into the account of `target`, once.
pub async fn deposit(hub: &HubClient, treasury: &Outbox, target: Address, amount: Amount) -> Result<(), NetworkError> {
    treasury.execute(hub.deposit_for(amount, target).intent(format!("deposit:{target}"))).await?;
    Ok(())
}

/// Gives `amount` of tokens to `target`, once.
pub async fn give(hub: &HubClient, treasury: &Outbox, target: Address, amount: Amount) -> Result<(), NetworkError> {
    treasury.execute(hub.transfer_tokens(target, amount).intent(format!("give:{target}"))).await?;
    Ok(())
}

/// Has `amount` wei of coins sent to `target`, once: before whatever the treasury does next.
pub async fn coins(treasury: &Outbox, target: Address, amount: U256) -> Result<(), NetworkError> {
    let intent = Intent {
        key: format!("coins:{target}"),
        to: Some(target),
        data: Default::default(),
        value: amount,
        gas: None,
        preflight: false,
    };
    treasury.submit_nowait(intent).await?;
    Ok(())
}

/// Funds each newcomer once: a worker that has lost its stake is not given another. `gas`: wei that each gets, where gas
/// costs something; `stake`: what each finds in its account.
pub async fn fund_newcomers(
    hub: HubClient,
    treasury: Outbox,
    gas: U256,
    stake: Amount,
    mut newcomers: mpsc::Receiver<Address>,
) {
    let mut funded = std::collections::BTreeSet::new();
    while let Some(worker) = newcomers.recv().await {
        if !funded.insert(worker) {
            continue;
        }
        let funding = async {
            if !gas.is_zero() {
                coins(&treasury, worker, gas).await?;
            }
            if stake.is_zero() {
                return Ok(());
            }
            deposit(&hub, &treasury, worker, stake).await
        };
        match funding.await {
            Ok(()) => tracing::info!(%worker, %stake, "a newcomer has what it needs"),
            Err(error) => {
                tracing::warn!(%worker, %error, "a newcomer could not be funded");
                funded.remove(&worker);
            }
        }
    }
}

/// Registers a built-in application and keeps an order of it on the ledger, at this price or a lower one.
pub async fn publish(
    hub: &HubClient,
    outbox: &Outbox,
    provider: &Wallet,
    app: &BuiltinApp,
    price: Amount,
    content: ContentId,
) -> Result<Address, NetworkError> {
    let new = NewApp {
        owner: provider.address(),
        name: app.name.to_owned(),
        kind: "DOCKER".to_owned(),
        multiaddr: format!("wasm:{content}").into_bytes().into(),
        checksum: B256::new(*content.as_bytes()),
        mrenclave: Default::default(),
    };
    let address = hub.predict_app(&new).await?;
    if hub.view_app(address).await?.is_none() {
        outbox.execute(hub.create_app(&new).intent(format!("create-app:{address}"))).await?;
    }
    let mut book = OrderBook::new(hub.clone());
    book.refresh().await?;
    let offered = book.app_order_of(address).await?;
    if offered.is_none_or(|open| open.signed.order.appprice > price.to_u256()) {
        let order = AppOrder {
            app: address,
            appprice: price.to_u256(),
            volume: U256::from(u64::MAX),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::ZERO,
        };
        let signed = sign::order(provider, order, hub.domain());
        outbox.execute(hub.broadcast_app_order(&signed).intent(broadcast_key(address, app, price))).await?;
    }
    Ok(address)
}

/// The name of the step that offers an app: another price is another step.
fn broadcast_key(address: Address, app: &BuiltinApp, price: Amount) -> String {
    match price == app.price {
        true => format!("broadcast-app:{address}"),
        false => format!("broadcast-app:{address}:{price}"),
    }
}
