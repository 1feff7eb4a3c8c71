//! Turn the vocabulary's orders into the contracts' structs and back.

use gristmill_types::{AppOrder, DatasetOrder, RequestOrder, Signed, WorkerpoolOrder};

use crate::abi::IexecLibOrders_v5 as wire;

/// The orders are the contracts' structs without the signature at the end.
macro_rules! order {
    ($order:ident { $($field:ident),* $(,)? }) => {
        impl From<&Signed<$order>> for wire::$order {
            fn from(signed: &Signed<$order>) -> Self {
                let Signed { order, sign } = signed.clone();
                Self { $($field: order.$field,)* sign }
            }
        }

        impl From<wire::$order> for Signed<$order> {
            fn from(wire: wire::$order) -> Self {
                Self { order: $order { $($field: wire.$field,)* }, sign: wire.sign }
            }
        }
    };
}

order!(AppOrder { app, appprice, volume, tag, datasetrestrict, workerpoolrestrict, requesterrestrict, salt });
order!(DatasetOrder { dataset, datasetprice, volume, tag, apprestrict, workerpoolrestrict, requesterrestrict, salt });
order!(WorkerpoolOrder {
    workerpool,
    workerpoolprice,
    volume,
    tag,
    category,
    trust,
    apprestrict,
    datasetrestrict,
    requesterrestrict,
    salt,
});
order!(RequestOrder {
    app,
    appmaxprice,
    dataset,
    datasetmaxprice,
    workerpool,
    workerpoolmaxprice,
    requester,
    volume,
    tag,
    category,
    trust,
    beneficiary,
    callback,
    params,
    salt,
});
