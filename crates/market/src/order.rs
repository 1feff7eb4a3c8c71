//! An order as the gateway lists it, and the JSON in which iExec's clients send and read it.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_hub::{HubClient, TAG_TEE};
use gristmill_types::{AppOrder, DatasetOrder, OrderHash, RequestOrder, WorkerpoolOrder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// The bits of a tag's last byte that name a framework of enclaves.
pub const TAG_FRAMEWORKS: u8 = 0b1110;
/// The largest whole number that JavaScript reads exactly; a larger one is written as text.
const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An app provider's offer.
    App,
    /// A dataset provider's offer.
    Dataset,
    /// A pool's offer.
    Workerpool,
    /// A requester's wish.
    Request,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::App, Self::Dataset, Self::Workerpool, Self::Request];

    /// What iExec calls an order of it, such as `apporder`.
    pub fn order_name(self) -> &'static str {
        match self {
            Self::App => "apporder",
            Self::Dataset => "datasetorder",
            Self::Workerpool => "workerpoolorder",
            Self::Request => "requestorder",
        }
    }

    /// The field that names whose orders are meant: the asset, or the requester.
    pub fn subject(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Dataset => "dataset",
            Self::Workerpool => "workerpool",
            Self::Request => "requester",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.order_name())
    }
}

/// An order of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Kind`")]
pub enum Order {
    App(AppOrder),
    Dataset(DatasetOrder),
    Workerpool(WorkerpoolOrder),
    Request(RequestOrder),
}

impl Order {
    /// Which of the four.
    pub fn kind(&self) -> Kind {
        match self {
            Self::App(_) => Kind::App,
            Self::Dataset(_) => Kind::Dataset,
            Self::Workerpool(_) => Kind::Workerpool,
            Self::Request(_) => Kind::Request,
        }
    }

    /// The hash under which the hub counts its use.
    pub fn hash(&self, hub: &HubClient) -> OrderHash {
        match self {
            Self::App(order) => hub.order_hash(order),
            Self::Dataset(order) => hub.order_hash(order),
            Self::Workerpool(order) => hub.order_hash(order),
            Self::Request(order) => hub.order_hash(order),
        }
    }

    /// What is offered; the requester of a request.
    pub fn subject(&self) -> Address {
        match self {
            Self::App(order) => order.app,
            Self::Dataset(order) => order.dataset,
            Self::Workerpool(order) => order.workerpool,
            Self::Request(order) => order.requester,
        }
    }

    /// The register its asset must be in; `None` for a request.
    pub fn registry(&self, hub: &HubClient) -> Option<Address> {
        match self {
            Self::App(_) => Some(hub.app_registry),
            Self::Dataset(_) => Some(hub.dataset_registry),
            Self::Workerpool(_) => Some(hub.workerpool_registry),
            Self::Request(_) => None,
        }
    }

    /// Tasks it was signed for.
    pub fn volume(&self) -> U256 {
        match self {
            Self::App(order) => order.volume,
            Self::Dataset(order) => order.volume,
            Self::Workerpool(order) => order.volume,
            Self::Request(order) => order.volume,
        }
    }

    /// What it asks of an enclave and of hardware, as bits.
    pub fn tag(&self) -> B256 {
        match self {
            Self::App(order) => order.tag,
            Self::Dataset(order) => order.tag,
            Self::Workerpool(order) => order.tag,
            Self::Request(order) => order.tag,
        }
    }

    /// Whether it names an enclave, or a framework of them.
    pub fn names_enclave(&self) -> bool {
        self.tag().0[31] & (TAG_TEE | TAG_FRAMEWORKS) != 0
    }

    /// By what a list is sorted: the asset's price rising; a request's prices falling.
    pub fn rank(&self) -> U256 {
        match self {
            Self::App(order) => order.appprice,
            Self::Dataset(order) => order.datasetprice,
            Self::Workerpool(order) => order.workerpoolprice,
            Self::Request(order) => U256::MAX.saturating_sub(order.workerpoolmaxprice),
        }
    }

    /// The size class; `None` for the orders of apps and datasets.
    pub fn category(&self) -> Option<U256> {
        match self {
            Self::Workerpool(order) => Some(order.category),
            Self::Request(order) => Some(order.category),
            _ => None,
        }
    }

    /// The trust; `None` for the orders of apps and datasets.
    pub fn trust(&self) -> Option<U256> {
        match self {
            Self::Workerpool(order) => Some(order.trust),
            Self::Request(order) => Some(order.trust),
            _ => None,
        }
    }

    /// To whom it is restricted, by the other's kind; zero for everybody. `None` where it has no such restriction. A request
    /// names its app, dataset and pool in the same way.
    pub fn restriction(&self, to: Kind) -> Option<Address> {
        match (self, to) {
            (Self::App(order), Kind::Dataset) => Some(order.datasetrestrict),
            (Self::App(order), Kind::Workerpool) => Some(order.workerpoolrestrict),
            (Self::App(order), Kind::Request) => Some(order.requesterrestrict),
            (Self::Dataset(order), Kind::App) => Some(order.apprestrict),
            (Self::Dataset(order), Kind::Workerpool) => Some(order.workerpoolrestrict),
            (Self::Dataset(order), Kind::Request) => Some(order.requesterrestrict),
            (Self::Workerpool(order), Kind::App) => Some(order.apprestrict),
            (Self::Workerpool(order), Kind::Dataset) => Some(order.datasetrestrict),
            (Self::Workerpool(order), Kind::Request) => Some(order.requesterrestrict),
            (Self::Request(order), Kind::App) => Some(order.app),
            (Self::Request(order), Kind::Dataset) => Some(order.dataset),
            (Self::Request(order), Kind::Workerpool) => Some(order.workerpool),
            _ => None,
        }
    }

    /// Reads a signed order as a client sends it: whole numbers as numbers, decimal text or `0x` text.
    ///
    /// # Errors
    /// What is missing or malformed.
    pub fn from_json(kind: Kind, value: Value) -> Result<(Self, Bytes), serde_json::Error> {
        Ok(match kind {
            Kind::App => serde_json::from_value::<AppJson>(value)?.read(),
            Kind::Dataset => serde_json::from_value::<DatasetJson>(value)?.read(),
            Kind::Workerpool => serde_json::from_value::<WorkerpoolJson>(value)?.read(),
            Kind::Request => serde_json::from_value::<RequestJson>(value)?.read(),
        })
    }

    /// The same, written.
    pub fn to_json(&self, sign: &Bytes) -> Value {
        let mut fields = match self {
            Self::App(order) => json!({
                "app": text(order.app),
                "appprice": number(order.appprice),
                "volume": number(order.volume),
                "tag": order.tag,
                "datasetrestrict": text(order.datasetrestrict),
                "workerpoolrestrict": text(order.workerpoolrestrict),
                "requesterrestrict": text(order.requesterrestrict),
                "salt": order.salt,
            }),
            Self::Dataset(order) => json!({
                "dataset": text(order.dataset),
                "datasetprice": number(order.datasetprice),
                "volume": number(order.volume),
                "tag": order.tag,
                "apprestrict": text(order.apprestrict),
                "workerpoolrestrict": text(order.workerpoolrestrict),
                "requesterrestrict": text(order.requesterrestrict),
                "salt": order.salt,
            }),
            Self::Workerpool(order) => json!({
                "workerpool": text(order.workerpool),
                "workerpoolprice": number(order.workerpoolprice),
                "volume": number(order.volume),
                "tag": order.tag,
                "category": number(order.category),
                "trust": number(order.trust),
                "apprestrict": text(order.apprestrict),
                "datasetrestrict": text(order.datasetrestrict),
                "requesterrestrict": text(order.requesterrestrict),
                "salt": order.salt,
            }),
            Self::Request(order) => json!({
                "app": text(order.app),
                "appmaxprice": number(order.appmaxprice),
                "dataset": text(order.dataset),
                "datasetmaxprice": number(order.datasetmaxprice),
                "workerpool": text(order.workerpool),
                "workerpoolmaxprice": number(order.workerpoolmaxprice),
                "requester": text(order.requester),
                "volume": number(order.volume),
                "tag": order.tag,
                "category": number(order.category),
                "trust": number(order.trust),
                "beneficiary": text(order.beneficiary),
                "callback": text(order.callback),
                "params": order.params,
                "salt": order.salt,
            }),
        };
        let map: Option<&mut Map<String, Value>> = fields.as_object_mut();
        if let Some(map) = map {
            map.insert("sign".to_owned(), json!(sign));
        }
        fields
    }
}

/// With the checksum in its capitals, as iExec's clients compare addresses.
fn text(address: Address) -> String {
    address.to_checksum(None)
}

/// A number where JavaScript reads it exactly, else decimal text.
pub fn number(value: U256) -> Value {
    match u64::try_from(value) {
        Ok(small) if small <= JSON_INTEGER_MAX => small.into(),
        _ => value.to_string().into(),
    }
}

/// A whole number as a client may write it.
struct Number(U256);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Number(number)) => Ok(Self(U256::from(number))),
            Ok(Written::Text(text)) => {
                text.parse().map(Self).map_err(|_| D::Error::custom(format!("`{text:.80}` is no whole number")))
            }
            Err(_) => Err(D::Error::custom("a whole number of 0 or more is expected")),
        }
    }
}

macro_rules! order_json {
    ($name:ident, $variant:ident, $order:ident, [$($plain:ident: $type:ty),*], [$($number:ident),*]) => {
        #[derive(Deserialize)]
        struct $name {
            $($plain: $type,)*
            $($number: Number,)*
            sign: Bytes,
        }

        impl $name {
            fn read(self) -> (Order, Bytes) {
                let order = $order { $($plain: self.$plain,)* $($number: self.$number.0,)* };
                (Order::$variant(order), self.sign)
            }
        }
    };
}

order_json!(
    AppJson,
    App,
    AppOrder,
    [app: Address, tag: B256, datasetrestrict: Address, workerpoolrestrict: Address, requesterrestrict: Address, salt: B256],
    [appprice, volume]
);
order_json!(
    DatasetJson,
    Dataset,
    DatasetOrder,
    [dataset: Address, tag: B256, apprestrict: Address, workerpoolrestrict: Address, requesterrestrict: Address, salt: B256],
    [datasetprice, volume]
);
order_json!(
    WorkerpoolJson,
    Workerpool,
    WorkerpoolOrder,
    [workerpool: Address, tag: B256, apprestrict: Address, datasetrestrict: Address, requesterrestrict: Address, salt: B256],
    [workerpoolprice, volume, category, trust]
);
order_json!(
    RequestJson,
    Request,
    RequestOrder,
    [
        app: Address,
        dataset: Address,
        workerpool: Address,
        requester: Address,
        tag: B256,
        beneficiary: Address,
        callback: Address,
        params: String,
        salt: B256
    ],
    [appmaxprice, datasetmaxprice, workerpoolmaxprice, volume, category, trust]
);

#[cfg(test)]
mod tests;
