//! Make the call data of each write.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use gristmill_types::{Amount, AppOrder, DatasetOrder, DealId, RequestOrder, Signed, TaskId, WorkerpoolOrder};

use crate::abi::{AppRegistry, DatasetRegistry, Grist, IHub, IexecLibOrders_v5 as wire, WorkerpoolRegistry};
use crate::gas;
use crate::ledger::Call;
use crate::outbox::Intent;

/// A write that has not been sent: give it to an [`crate::Outbox`] with [`CallData::intent`], or try it with
/// [`crate::HubClient::try_call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallData {
    /// The contract.
    pub to: Address,
    /// The function and its arguments.
    pub data: Bytes,
    /// A gas limit that always suffices, where one is known; the outbox estimates otherwise.
    pub gas: Option<u64>,
    /// Whether the outbox tries the call before it is sent, so that a refusal is known before anything is stored. An estimate
    /// does that too; where the gas limit is known this is one run instead of ten.
    pub preflight: bool,
}

impl CallData {
    pub(crate) fn new(to: Address, call: &impl SolCall) -> Self {
        Self { to, data: call.abi_encode().into(), gas: None, preflight: true }
    }

    /// With a limit that always suffices.
    fn limited(self, gas: u64) -> Self {
        Self { gas: Some(gas), ..self }
    }

    /// As an intent named `key`: the same key never takes effect twice.
    pub fn intent(self, key: impl Into<String>) -> Intent {
        let Self { to, data, gas, preflight } = self;
        Intent { key: key.into(), to: Some(to), data, value: U256::ZERO, gas, preflight }
    }

    /// With a gas limit of the caller's (see [`crate::gas`]), and neither estimated nor tried before it is sent: the quickest,
    /// and a refusal is seen in the block only.
    pub fn with_gas(self, gas: u64) -> Self {
        Self { gas: Some(gas), preflight: false, ..self }
    }

    /// As a call by `from` that changes nothing.
    pub fn call(self, from: Address) -> Call {
        Call { from: Some(from), to: Some(self.to), data: self.data, value: U256::ZERO, gas: self.gas }
    }
}

/// What an owner does with an order on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OrderOperation {
    /// Counts as signed from now on.
    Sign = 0,
    /// Cannot be matched any more.
    Close = 1,
}

/// A vote with everything that the hub checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContributeArgs {
    /// The task.
    pub task: TaskId,
    /// keccak256(task ++ digest).
    pub result_hash: B256,
    /// keccak256(worker ++ task ++ digest).
    pub result_seal: B256,
    /// The enclave's key; zero without one.
    pub enclave_challenge: Address,
    /// The enclave's signature; empty without one.
    pub enclave_sign: Bytes,
    /// The pool owner's permission: see [`crate::sign::authorization`].
    pub authorization: Bytes,
}

/// What a new app is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    /// Its owner.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Its type; `DOCKER` for clients of the SDK.
    pub kind: String,
    /// Where its code is, such as `wasm:<content id>`.
    pub multiaddr: Bytes,
    /// A checksum of the code.
    pub checksum: B256,
    /// The enclave measurement; empty without one.
    pub mrenclave: Bytes,
}

/// What a new dataset is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDataset {
    /// Its owner.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Where its bytes are, such as `blake3:<content id>`.
    pub multiaddr: Bytes,
    /// A checksum of the bytes.
    pub checksum: B256,
}

/// The contracts that writes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// The hub.
    pub hub: Address,
    /// The token it keeps.
    pub token: Address,
    /// The register of apps.
    pub app_registry: Address,
    /// The register of datasets.
    pub dataset_registry: Address,
    /// The register of pools.
    pub workerpool_registry: Address,
}

/// Writes of money.
impl Contracts {
    /// Moves `amount` of the caller's tokens into its account at the hub: one transaction, no allowance before.
    pub fn deposit(&self, amount: Amount) -> CallData {
        let call = Grist::approveAndCallCall { spender: self.hub, amount: amount.to_u256(), data: Bytes::new() };
        CallData::new(self.token, &call)
    }

    /// Moves `amount` of the caller's tokens into the account of `target`; needs [`Contracts::approve`] before.
    pub fn deposit_for(&self, amount: Amount, target: Address) -> CallData {
        CallData::new(self.hub, &IHub::depositForCall { amount: amount.to_u256(), target })
    }

    /// Moves tokens of the caller into many accounts; needs [`Contracts::approve`] of the sum before.
    pub fn deposit_for_many(&self, deposits: &[(Address, Amount)]) -> CallData {
        let (targets, amounts) = deposits.iter().map(|(target, amount)| (*target, amount.to_u256())).unzip();
        CallData::new(self.hub, &IHub::depositForArrayCall { amounts, targets })
    }

    /// Lets the hub take up to `amount` of the caller's tokens.
    pub fn approve(&self, amount: Amount) -> CallData {
        CallData::new(self.token, &Grist::approveCall { spender: self.hub, value: amount.to_u256() })
    }

    /// Pays free stake out as tokens.
    pub fn withdraw(&self, amount: Amount) -> CallData {
        CallData::new(self.hub, &IHub::withdrawCall { amount: amount.to_u256() })
    }

    /// Gives tokens to somebody.
    pub fn transfer_tokens(&self, to: Address, amount: Amount) -> CallData {
        CallData::new(self.token, &Grist::transferCall { to, value: amount.to_u256() })
    }

    /// Lends a worker stake for its votes on tasks of the caller's pools, `limit` at most under lock or owed; zero ends it.
    pub fn lend_stake(&self, worker: Address, limit: Amount) -> CallData {
        CallData::new(self.hub, &IHub::lendStakeCall { worker, limit: limit.to_u256() })
    }

    /// Pays the caller's debt, `amount` at most, from its free stake.
    pub fn repay_debt(&self, amount: Amount) -> CallData {
        CallData::new(self.hub, &IHub::repayDebtCall { amount: amount.to_u256() })
    }

    /// Gives free stake to somebody.
    pub fn transfer_stake(&self, to: Address, amount: Amount) -> CallData {
        CallData::new(self.hub, &IHub::transferCall { recipient: to, amount: amount.to_u256() })
    }
}

/// Writes of orders and deals.
impl Contracts {
    /// Makes a deal of four orders, paid by the requester. Without a dataset: [`crate::sign::no_dataset`].
    pub fn match_orders(
        &self,
        app: &Signed<AppOrder>,
        dataset: &Signed<DatasetOrder>,
        workerpool: &Signed<WorkerpoolOrder>,
        request: &Signed<RequestOrder>,
    ) -> CallData {
        let call = IHub::matchOrdersCall {
            apporder: app.into(),
            datasetorder: dataset.into(),
            workerpoolorder: workerpool.into(),
            requestorder: request.into(),
        };
        CallData::new(self.hub, &call)
    }

    /// As [`Contracts::match_orders`], paid by the caller.
    pub fn sponsor_match_orders(
        &self,
        app: &Signed<AppOrder>,
        dataset: &Signed<DatasetOrder>,
        workerpool: &Signed<WorkerpoolOrder>,
        request: &Signed<RequestOrder>,
    ) -> CallData {
        let call = IHub::sponsorMatchOrdersCall {
            apporder: app.into(),
            datasetorder: dataset.into(),
            workerpoolorder: workerpool.into(),
            requestorder: request.into(),
        };
        CallData::new(self.hub, &call)
    }

    /// Deposits `amount` and matches, in one transaction of the requester.
    pub fn deposit_and_match(&self, amount: Amount, match_orders: CallData) -> CallData {
        let call = Grist::approveAndCallCall { spender: self.hub, amount: amount.to_u256(), data: match_orders.data };
        CallData::new(self.token, &call)
    }

    /// Writes an app order into the ledger's log, for order books.
    pub fn broadcast_app_order(&self, order: &Signed<AppOrder>) -> CallData {
        CallData::new(self.hub, &IHub::broadcastAppOrderCall { order: order.into() })
    }

    /// Writes a dataset order into the ledger's log.
    pub fn broadcast_dataset_order(&self, order: &Signed<DatasetOrder>) -> CallData {
        CallData::new(self.hub, &IHub::broadcastDatasetOrderCall { order: order.into() })
    }

    /// Writes a pool's order into the ledger's log.
    pub fn broadcast_workerpool_order(&self, order: &Signed<WorkerpoolOrder>) -> CallData {
        CallData::new(self.hub, &IHub::broadcastWorkerpoolOrderCall { order: order.into() })
    }

    /// Writes a request order into the ledger's log.
    pub fn broadcast_request_order(&self, order: &Signed<RequestOrder>) -> CallData {
        CallData::new(self.hub, &IHub::broadcastRequestOrderCall { order: order.into() })
    }

    /// Signs or closes an app order on the ledger; the caller owns the app.
    pub fn manage_app_order(&self, order: &Signed<AppOrder>, operation: OrderOperation) -> CallData {
        let operation = wire::AppOrderOperation { order: order.into(), operation: operation as u8, sign: Bytes::new() };
        CallData::new(self.hub, &IHub::manageAppOrderCall { operation })
    }

    /// Signs or closes a dataset order on the ledger; the caller owns the dataset.
    pub fn manage_dataset_order(&self, order: &Signed<DatasetOrder>, operation: OrderOperation) -> CallData {
        let operation =
            wire::DatasetOrderOperation { order: order.into(), operation: operation as u8, sign: Bytes::new() };
        CallData::new(self.hub, &IHub::manageDatasetOrderCall { operation })
    }

    /// Signs or closes a pool's order on the ledger; the caller owns the pool.
    pub fn manage_workerpool_order(&self, order: &Signed<WorkerpoolOrder>, operation: OrderOperation) -> CallData {
        let operation =
            wire::WorkerpoolOrderOperation { order: order.into(), operation: operation as u8, sign: Bytes::new() };
        CallData::new(self.hub, &IHub::manageWorkerpoolOrderCall { operation })
    }

    /// Signs or closes a request order on the ledger; the caller is the requester.
    pub fn manage_request_order(&self, order: &Signed<RequestOrder>, operation: OrderOperation) -> CallData {
        let operation =
            wire::RequestOrderOperation { order: order.into(), operation: operation as u8, sign: Bytes::new() };
        CallData::new(self.hub, &IHub::manageRequestOrderCall { operation })
    }
}

/// Writes of a task's life.
impl Contracts {
    /// Opens a task of a deal for contributions.
    pub fn initialize(&self, deal: DealId, index: u64) -> CallData {
        CallData::new(self.hub, &IHub::initializeCall { dealid: deal.0, index: U256::from(index) })
            .limited(gas::INITIALIZE)
    }

    /// Opens many tasks of a deal in one transaction.
    pub fn initialize_many(&self, deal: DealId, indices: impl IntoIterator<Item = u64>) -> CallData {
        let indexes: Vec<U256> = indices.into_iter().map(U256::from).collect();
        CallData::new(self.hub, &IHub::initializeArrayCall { dealids: vec![deal.0; indexes.len()], indexes })
    }

    /// Commits to a result.
    pub fn contribute(&self, args: &ContributeArgs) -> CallData {
        let call = IHub::contributeCall {
            taskid: args.task.0,
            resultHash: args.result_hash,
            resultSeal: args.result_seal,
            enclaveChallenge: args.enclave_challenge,
            enclaveSign: args.enclave_sign.clone(),
            authorizationSign: args.authorization.clone(),
        };
        let enclave = if args.enclave_challenge.is_zero() { 0 } else { gas::ENCLAVE };
        CallData::new(self.hub, &call).limited(gas::CONTRIBUTE + enclave)
    }

    /// Opens a commitment.
    pub fn reveal(&self, task: TaskId, digest: B256) -> CallData {
        CallData::new(self.hub, &IHub::revealCall { taskid: task.0, resultDigest: digest }).limited(gas::REVEAL)
    }

    /// Takes a task back to contributions after nobody revealed.
    pub fn reopen(&self, task: TaskId) -> CallData {
        CallData::new(self.hub, &IHub::reopenCall { taskid: task.0 }).limited(gas::REOPEN)
    }

    /// Pays a task. `results` is the hint where the result is; `callback_data` the answer whose digest was revealed.
    pub fn finalize(&self, task: TaskId, results: Bytes, callback_data: Bytes) -> CallData {
        let limit = gas::FINALIZE + gas::CALLBACK + gas::of_bytes(results.len() + callback_data.len());
        let call = IHub::finalizeCall { taskid: task.0, results, resultsCallback: callback_data };
        CallData::new(self.hub, &call).limited(limit)
    }

    /// Commits, opens and pays at once: trust 1 and the first contribution only.
    pub fn contribute_and_finalize(
        &self,
        task: TaskId,
        digest: B256,
        results: Bytes,
        callback_data: Bytes,
        authorization: Bytes,
    ) -> CallData {
        let limit = gas::SOLO + gas::CALLBACK + gas::of_bytes(results.len() + callback_data.len());
        let call = IHub::contributeAndFinalizeCall {
            taskid: task.0,
            resultDigest: digest,
            results,
            resultsCallback: callback_data,
            enclaveChallenge: Address::ZERO,
            enclaveSign: Bytes::new(),
            authorizationSign: authorization,
        };
        CallData::new(self.hub, &call).limited(limit)
    }

    /// As [`Contracts::contribute_and_finalize`] for a deal that asks for an enclave: `challenge` is its key, `enclave_sign`
    /// its signature (see [`crate::sign::enclave`]), and the authorisation names the challenge.
    #[expect(clippy::too_many_arguments, reason = "the hub's own list")]
    pub fn contribute_and_finalize_in_enclave(
        &self,
        task: TaskId,
        digest: B256,
        results: Bytes,
        callback_data: Bytes,
        challenge: Address,
        enclave_sign: Bytes,
        authorization: Bytes,
    ) -> CallData {
        let limit = gas::SOLO + gas::ENCLAVE + gas::CALLBACK + gas::of_bytes(results.len() + callback_data.len());
        let call = IHub::contributeAndFinalizeCall {
            taskid: task.0,
            resultDigest: digest,
            results,
            resultsCallback: callback_data,
            enclaveChallenge: challenge,
            enclaveSign: enclave_sign,
            authorizationSign: authorization,
        };
        CallData::new(self.hub, &call).limited(limit)
    }

    /// Fails a task that cannot complete any more, and refunds it.
    pub fn claim(&self, task: TaskId) -> CallData {
        CallData::new(self.hub, &IHub::claimCall { taskid: task.0 }).limited(gas::CLAIM)
    }

    /// Fails many tasks.
    pub fn claim_many(&self, tasks: &[TaskId]) -> CallData {
        CallData::new(self.hub, &IHub::claimArrayCall { taskids: tasks.iter().map(|task| task.0).collect() })
    }

    /// Opens and at once fails tasks that nobody initialised in time.
    pub fn initialize_and_claim_many(&self, tasks: &[(DealId, u64)]) -> CallData {
        let (dealids, indexes) = tasks.iter().map(|(deal, index)| (deal.0, U256::from(*index))).unzip();
        CallData::new(self.hub, &IHub::initializeAndClaimArrayCall { dealids, indexes })
    }

    /// The pool gives a task up, so that the requester is refunded early.
    pub fn concede(&self, task: TaskId) -> CallData {
        CallData::new(self.hub, &IHub::concedeCall { taskid: task.0 }).limited(gas::CLAIM)
    }
}

/// Writes of assets and settings.
impl Contracts {
    /// Registers an app; [`crate::HubClient::predict_app`] tells its address before.
    pub fn create_app(&self, app: &NewApp) -> CallData {
        let app = app.clone();
        let call = AppRegistry::createAppCall {
            owner: app.owner,
            name: app.name,
            kind: app.kind,
            multiaddr: app.multiaddr,
            checksum: app.checksum,
            mrenclave: app.mrenclave,
        };
        CallData::new(self.app_registry, &call)
    }

    /// Registers a dataset; [`crate::HubClient::predict_dataset`] tells its address before.
    pub fn create_dataset(&self, dataset: &NewDataset) -> CallData {
        let dataset = dataset.clone();
        let call = DatasetRegistry::createDatasetCall {
            owner: dataset.owner,
            name: dataset.name,
            multiaddr: dataset.multiaddr,
            checksum: dataset.checksum,
        };
        CallData::new(self.dataset_registry, &call)
    }

    /// Registers a pool; [`crate::HubClient::predict_workerpool`] tells its address before.
    pub fn create_workerpool(&self, owner: Address, description: &str) -> CallData {
        let call = WorkerpoolRegistry::createWorkerpoolCall { owner, description: description.to_owned() };
        CallData::new(self.workerpool_registry, &call)
    }

    /// Sets what workers stake and what the pool keeps, in percent, for the deals to come. The caller owns the pool.
    pub fn change_policy(&self, workerpool: Address, worker_stake_ratio: u64, scheduler_reward_ratio: u64) -> CallData {
        let call = crate::abi::IWorkerpool::changePolicyCall {
            newWorkerStakeRatio: U256::from(worker_stake_ratio),
            newSchedulerRewardRatio: U256::from(scheduler_reward_ratio),
        };
        CallData::new(workerpool, &call)
    }

    /// Adds a size class; T in seconds. The hub's owner only, which is a timelock: make it a [`crate::upgrade::Change`].
    pub fn create_category(&self, name: &str, description: &str, work_clock_s: u64) -> CallData {
        let call = IHub::createCategoryCall {
            name: name.to_owned(),
            description: description.to_owned(),
            workClockTimeRef: U256::from(work_clock_s),
        };
        CallData::new(self.hub, &call)
    }
}
