//! Sign what the hub and the pools ask of a key: orders and authorisations.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use gristmill_types::{AppOrder, DatasetOrder, RequestOrder, Signed, TaskId, WorkerpoolOrder};
use gristmill_wallet::{RecoverError, Wallet, recover_message};

/// One of the four kinds of order.
pub trait Order: SolStruct + Clone + Send + Sync + 'static {}

impl Order for AppOrder {}
impl Order for DatasetOrder {}
impl Order for WorkerpoolOrder {}
impl Order for RequestOrder {}

/// Signs an order under the hub's domain (see [`crate::HubClient::domain`]).
pub fn order<T: Order>(wallet: &Wallet, order: T, domain: &Eip712Domain) -> Signed<T> {
    let sign = Bytes::from(wallet.sign_typed(&order, domain));
    Signed { order, sign }
}

/// A dataset order that stands for "no dataset": what goes beside a request without one.
pub fn no_dataset() -> Signed<DatasetOrder> {
    let order = DatasetOrder {
        dataset: Address::ZERO,
        datasetprice: Default::default(),
        volume: Default::default(),
        tag: B256::ZERO,
        apprestrict: Address::ZERO,
        workerpoolrestrict: Address::ZERO,
        requesterrestrict: Address::ZERO,
        salt: B256::ZERO,
    };
    Signed { order, sign: Bytes::new() }
}

/// The pool owner's permission for `worker` to contribute to `task`: a personal signature of
/// keccak256(worker ++ task ++ enclave challenge). The challenge is zero without an enclave.
pub fn authorization(wallet: &Wallet, worker: Address, task: TaskId, enclave_challenge: Address) -> Bytes {
    wallet.sign_message(authorization_hash(worker, task, enclave_challenge).as_slice()).into()
}

/// Whose permission `signature` is.
///
/// # Errors
/// [`RecoverError`] when it is no signature at all. Any well-formed one belongs to somebody: compare the address.
pub fn authorization_signer(
    worker: Address,
    task: TaskId,
    enclave_challenge: Address,
    signature: &[u8],
) -> Result<Address, RecoverError> {
    recover_message(authorization_hash(worker, task, enclave_challenge).as_slice(), signature)
}

/// An enclave's word for a contribution: a personal signature of keccak256(result hash ++ result seal).
pub fn enclave(key: &Wallet, result_hash: B256, result_seal: B256) -> Bytes {
    key.sign_message(keccak256([result_hash, result_seal].concat()).as_slice()).into()
}

fn authorization_hash(worker: Address, task: TaskId, enclave_challenge: Address) -> B256 {
    keccak256([worker.as_slice(), task.as_bytes(), enclave_challenge.as_slice()].concat())
}
