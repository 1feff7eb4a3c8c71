//! Find apps and datasets that are offered on the ledger, by name or address.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::U256;
use alloy_sol_types::SolEvent;
use gristmill_hub::abi::IHub;
use gristmill_hub::ledger::LogQuery;
use gristmill_hub::{AppInfo, DatasetInfo, HubClient, NewApp, OpenOrder, OrderBook};
use gristmill_types::{Address, AppCode, AppOrder, DatasetOrder};

use crate::error::RequesterError;
use crate::inputs::LocalFile;
use crate::local_app::LocalApp;

/// Blocks read at once.
const CHUNK_BLOCKS: u64 = 10_000;
/// Offered assets that are looked through for a name, the newest.
const ASSETS_MAX: usize = 4_096;
/// Names that an error lists.
const HINT_NAMES: usize = 8;
/// The type of an app, as iExec's clients know it.
const APP_KIND: &str = "DOCKER";

/// An app that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct AppChoice {
    /// Its address on the ledger, where it stands or will stand.
    pub address: Address,
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub code: AppCode,
    /// The open order that offers it; `None` for an app of ours that nobody offers yet.
    pub order: Option<OpenOrder<AppOrder>>,
    /// What has to be uploaded: module or image, comparator.
    pub files: Vec<LocalFile>,
    /// What to register, when it is not yet.
    pub new: Option<NewApp>,
}

impl AppChoice {
    /// What a task of it costs.
    pub fn price(&self) -> U256 {
        self.order.as_ref().map_or(U256::ZERO, |open| open.signed.order.appprice)
    }
}

/// What an app of `owner` is registered as.
pub fn new_app(owner: Address, app: &LocalApp) -> NewApp {
    NewApp {
        owner,
        name: app.name.clone(),
        kind: APP_KIND.to_owned(),
        multiaddr: app.code.to_string().into_bytes().into(),
        checksum: app.checksum(),
        mrenclave: Default::default(),
    }
}

/// The app that `owner` makes of a module or an image.
///
/// # Errors
/// The ledger cannot be asked.
pub async fn app_of_ours(
    hub: &HubClient,
    book: &OrderBook,
    owner: Address,
    app: LocalApp,
) -> Result<AppChoice, RequesterError> {
    let new = new_app(owner, &app);
    let address = hub.predict_app(&new).await?;
    let registered = hub.is_registered(hub.app_registry, address).await?;
    let order = if registered { book.app_order_of(address).await? } else { None };
    // Our own app, offered only to somebody else: we make an order that fits.
    let order = order.filter(|open| is_unrestricted(&open.signed.order));
    let LocalApp { name, code, files } = app;
    Ok(AppChoice { address, name, code, order, files, new: (!registered).then_some(new) })
}

fn is_unrestricted(order: &AppOrder) -> bool {
    [order.datasetrestrict, order.workerpoolrestrict, order.requesterrestrict] == [Address::ZERO; 3]
}

/// A registered app that is offered.
///
/// # Errors
/// [`RequesterError::NoAsset`], [`RequesterError::UnusableAsset`], [`RequesterError::NotOffered`].
pub async fn app_at(hub: &HubClient, book: &OrderBook, address: Address) -> Result<AppChoice, RequesterError> {
    let info = hub.view_app(address).await?.ok_or(RequesterError::NoAsset { kind: "app", address })?;
    let order = book.app_order_of(address).await?;
    app_choice(info, order)
}

fn app_choice(info: AppInfo, order: Option<OpenOrder<AppOrder>>) -> Result<AppChoice, RequesterError> {
    let address = info.address;
    let expected =
        "an app that workers run (its multiaddr is no `wasm:<content id>`, `oci:<content id>` or pinned image)";
    let code = info.code().map_err(|_| RequesterError::UnusableAsset { kind: "app", address, expected })?;
    let order = Some(order.ok_or(RequesterError::NotOffered { kind: "app", address })?);
    Ok(AppChoice { address, name: info.name, code, order, files: Vec::new(), new: None })
}

/// The offered app of this name.
///
/// # Errors
/// [`RequesterError::UnknownAsset`], [`RequesterError::AmbiguousAsset`], and as [`app_at`].
pub async fn app_named(hub: &HubClient, book: &OrderBook, name: &str) -> Result<AppChoice, RequesterError> {
    let names = offered_apps(hub).await?;
    let mut found = Vec::new();
    for address in by_name(&names, name) {
        if let Some(order) = book.app_order_of(address).await? {
            found.push((address, order));
        }
    }
    let addresses: Vec<Address> = found.iter().map(|(address, _)| *address).collect();
    match found.pop() {
        None => Err(unknown("app", name, &names)),
        Some(_) if addresses.len() > 1 => {
            Err(RequesterError::AmbiguousAsset { kind: "app", name: name.to_owned(), addresses })
        }
        Some((address, order)) => {
            let info = hub.view_app(address).await?.ok_or(RequesterError::NoAsset { kind: "app", address })?;
            app_choice(info, Some(order))
        }
    }
}

/// The names of all apps that somebody broadcast an order of, used up or not.
///
/// # Errors
/// The ledger cannot be asked.
pub async fn offered_apps(hub: &HubClient) -> Result<BTreeMap<Address, String>, RequesterError> {
    let logs = topics(hub, IHub::BroadcastAppOrder::SIGNATURE_HASH).await?;
    let addresses = logs.iter().filter_map(|(topics, data)| {
        IHub::BroadcastAppOrder::decode_raw_log(topics, data).ok().map(|event| event.apporder.app)
    });
    let addresses = newest(addresses);
    let calls = addresses.iter().map(|&app| (hub.hub, IHub::viewAppCall { app })).collect();
    let names = hub.views(calls).await?.into_iter().map(|answer| answer.ok().map(|app| app.m_appName));
    Ok(addresses.iter().copied().zip(names).filter_map(|(address, name)| Some((address, name?))).collect())
}

/// A dataset that is offered, by name or address.
///
/// # Errors
/// As [`app_named`] and [`app_at`], of datasets.
pub async fn dataset(
    hub: &HubClient,
    book: &OrderBook,
    text: &str,
) -> Result<(DatasetInfo, OpenOrder<DatasetOrder>), RequesterError> {
    let kind = "dataset";
    let (address, order) = match text.parse::<Address>() {
        Ok(address) => (address, book.dataset_order_of(address).await?),
        Err(_) => {
            let names = offered_datasets(hub).await?;
            let mut found = Vec::new();
            for address in by_name(&names, text) {
                if let Some(order) = book.dataset_order_of(address).await? {
                    found.push((address, order));
                }
            }
            let addresses: Vec<Address> = found.iter().map(|(address, _)| *address).collect();
            match found.pop() {
                None => return Err(unknown(kind, text, &names)),
                Some(_) if addresses.len() > 1 => {
                    return Err(RequesterError::AmbiguousAsset { kind, name: text.to_owned(), addresses });
                }
                Some((address, order)) => (address, Some(order)),
            }
        }
    };
    let info = hub.view_dataset(address).await?.ok_or(RequesterError::NoAsset { kind, address })?;
    let order = order.ok_or(RequesterError::NotOffered { kind, address })?;
    let expected = "content of the store (its address is no `blake3:<content id>`)";
    info.content().ok_or(RequesterError::UnusableAsset { kind, address, expected })?;
    Ok((info, order))
}

/// An app by its name or address, offered or not: where it is, and who owns it on the ledger.
///
/// # Errors
/// [`RequesterError::UnknownAsset`], [`RequesterError::AmbiguousAsset`], [`RequesterError::NoAsset`].
pub async fn app_and_owner(hub: &HubClient, text: &str) -> Result<(Address, Address), RequesterError> {
    let kind = "app";
    let address = match text.parse::<Address>() {
        Ok(address) => address,
        Err(_) => the_one(kind, text, &offered_apps(hub).await?)?,
    };
    let info = hub.view_app(address).await?.ok_or(RequesterError::NoAsset { kind, address })?;
    Ok((address, info.owner))
}

/// The same of a dataset.
///
/// # Errors
/// As [`app_and_owner`].
pub async fn dataset_and_owner(hub: &HubClient, text: &str) -> Result<(Address, Address), RequesterError> {
    let kind = "dataset";
    let address = match text.parse::<Address>() {
        Ok(address) => address,
        Err(_) => the_one(kind, text, &offered_datasets(hub).await?)?,
    };
    let info = hub.view_dataset(address).await?.ok_or(RequesterError::NoAsset { kind, address })?;
    Ok((address, info.owner))
}

fn the_one(kind: &'static str, name: &str, names: &BTreeMap<Address, String>) -> Result<Address, RequesterError> {
    match by_name(names, name)[..] {
        [] => Err(unknown(kind, name, names)),
        [address] => Ok(address),
        ref addresses => {
            Err(RequesterError::AmbiguousAsset { kind, name: name.to_owned(), addresses: addresses.to_vec() })
        }
    }
}

async fn offered_datasets(hub: &HubClient) -> Result<BTreeMap<Address, String>, RequesterError> {
    let logs = topics(hub, IHub::BroadcastDatasetOrder::SIGNATURE_HASH).await?;
    let addresses = logs.iter().filter_map(|(topics, data)| {
        IHub::BroadcastDatasetOrder::decode_raw_log(topics, data).ok().map(|event| event.datasetorder.dataset)
    });
    let addresses = newest(addresses);
    let calls = addresses.iter().map(|&dataset| (hub.hub, IHub::viewDatasetCall { dataset })).collect();
    let names = hub.views(calls).await?.into_iter().map(|answer| answer.ok().map(|it| it.m_datasetName));
    Ok(addresses.iter().copied().zip(names).filter_map(|(address, name)| Some((address, name?))).collect())
}

/// The last [`ASSETS_MAX`] different addresses.
fn newest(addresses: impl Iterator<Item = Address>) -> Vec<Address> {
    let mut seen = BTreeSet::new();
    let all: Vec<Address> = addresses.collect();
    let mut kept: Vec<Address> =
        all.into_iter().rev().filter(|address| seen.insert(*address)).take(ASSETS_MAX).collect();
    kept.reverse();
    kept
}

type RawLog = (Vec<alloy_primitives::B256>, alloy_primitives::Bytes);

async fn topics(hub: &HubClient, event: alloy_primitives::B256) -> Result<Vec<RawLog>, RequesterError> {
    Ok(logs_of(hub, vec![event]).await?.into_iter().map(|log| (log.topics, log.data)).collect())
}

/// All logs of the hub with one of these events, the oldest first.
pub(crate) async fn logs_of(
    hub: &HubClient,
    events: Vec<alloy_primitives::B256>,
) -> Result<Vec<gristmill_hub::ledger::Log>, RequesterError> {
    let head = hub.ledger().head().await?;
    let mut logs = Vec::new();
    let mut from = 0;
    while from <= head {
        let to = head.min(from + CHUNK_BLOCKS - 1);
        let query = LogQuery { from, to, addresses: vec![hub.hub], events: events.clone() };
        logs.extend(hub.ledger().logs(query).await?);
        from = to + 1;
    }
    Ok(logs)
}

fn by_name(names: &BTreeMap<Address, String>, name: &str) -> Vec<Address> {
    names.iter().filter(|(_, other)| *other == name).map(|(address, _)| *address).collect()
}

fn unknown(kind: &'static str, name: &str, names: &BTreeMap<Address, String>) -> RequesterError {
    let known: BTreeSet<&str> = names.values().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let hint = if known.is_empty() {
        String::new()
    } else {
        format!(" (there is: {})", known.into_iter().take(HINT_NAMES).collect::<Vec<_>>().join(", "))
    };
    RequesterError::UnknownAsset { kind, name: name.chars().take(80).collect(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_registered_under_its_file_name_and_content() {
        let content = gristmill_types::ContentId([7; 32]);
        let app = LocalApp { name: "hello".into(), code: AppCode::wasm(content), files: vec![] };
        let new = new_app(Address::repeat_byte(1), &app);
        assert_eq!((new.name.as_str(), new.kind.as_str()), ("hello", "DOCKER"));
        assert_eq!(&new.multiaddr[..], format!("wasm:{content}").as_bytes());
        assert_eq!(new.checksum.0, content.0);
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let names = BTreeMap::from([(Address::repeat_byte(1), "efast".to_owned())]);
        let text = unknown("app", "efats", &names).to_string();
        assert!(text.contains("`efats`") && text.contains("efast)"), "{text}");
        assert_eq!(by_name(&names, "efast"), [Address::repeat_byte(1)]);
    }
}
