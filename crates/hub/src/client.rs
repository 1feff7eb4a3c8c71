//! Read the hub.

use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Eip712Domain, SolCall};
use gristmill_poco::Loan;
use gristmill_types::{Amount, Category, DealId, OrderHash, TaskId, order};

use crate::abi::{AppRegistry, DatasetRegistry, Grist, IAsset, IHub, WorkerpoolRegistry};
use crate::calls::{CallData, Contracts, NewApp, NewDataset};
use crate::error::HubError;
use crate::ledger::{Call, LedgerError, LedgerPort};
use crate::rpc::RpcClient;
use crate::sign::Order;
use crate::views::{
    Account, AppInfo, Contribution, DatasetInfo, Deal, Task, TaskState, WorkerpoolInfo, amount, category, number,
};

/// Categories a hub may have, as far as this client reads them.
const CATEGORIES_MAX: u64 = 1_024;

/// A hub on a ledger. Clones are cheap. Derefs to [`Contracts`], which makes the writes.
#[derive(Clone)]
pub struct HubClient {
    ledger: Arc<dyn LedgerPort>,
    contracts: Contracts,
    chain_id: u64,
    domain: Arc<Eip712Domain>,
    kitty: Address,
    first_block: u64,
    /// Views are of the state after this block; of the newest when there is none.
    block: Option<u64>,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient").field("hub", &self.contracts.hub).field("chain_id", &self.chain_id).finish()
    }
}

impl std::ops::Deref for HubClient {
    type Target = Contracts;

    fn deref(&self) -> &Contracts {
        &self.contracts
    }
}

/// What it is and how it is reached.
impl HubClient {
    /// Connects to the hub at `hub` on the ledger at `rpc_url`.
    ///
    /// # Errors
    /// As [`HubClient::on`], and [`LedgerError::BadUrl`].
    pub fn connect(rpc_url: &str, hub: Address) -> BoxFuture<'_, Result<Self, HubError>> {
        Box::pin(async move { Self::on(Arc::new(RpcClient::new(rpc_url)?), hub).await })
    }

    /// Connects to the hub at `hub` on `ledger`: finds its token and its registries.
    ///
    /// # Errors
    /// [`HubError::NoHub`] when something else, or nothing, is at the address.
    pub fn on(ledger: Arc<dyn LedgerPort>, hub: Address) -> BoxFuture<'static, Result<Self, HubError>> {
        Box::pin(async move {
            let chain_id = ledger.chain_id().await?;
            let calls = vec![
                Call::view(hub, IHub::tokenCall {}.abi_encode()),
                Call::view(hub, IHub::appregistryCall {}.abi_encode()),
                Call::view(hub, IHub::datasetregistryCall {}.abi_encode()),
                Call::view(hub, IHub::workerpoolregistryCall {}.abi_encode()),
                Call::view(hub, IHub::kitty_addressCall {}.abi_encode()),
                Call::view(hub, IHub::firstBlockCall {}.abi_encode()),
            ];
            let mut answers = ledger.call(calls, None).await?;
            let first_block = first_block(&ledger, answers.pop()).await?;
            let no_hub = || HubError::NoHub { address: hub, chain_id };
            let mut addresses = answers.into_iter().map(|answer| match answer {
                // These five functions return one address.
                Ok(bytes) => IHub::tokenCall::abi_decode_returns(&bytes).map_err(|_| no_hub()),
                Err(LedgerError::Revert(_)) => Err(no_hub()),
                Err(error) => Err(error.into()),
            });
            let mut next = || addresses.next().unwrap_or_else(|| Err(no_hub()));
            let contracts = Contracts {
                hub,
                token: next()?,
                app_registry: next()?,
                dataset_registry: next()?,
                workerpool_registry: next()?,
            };
            let kitty = next()?;
            let domain = Arc::new(order::domain(chain_id, hub));
            Ok(Self { ledger, contracts, chain_id, domain, kitty, first_block, block: None })
        })
    }

    /// The same hub as it was after `block`, on a ledger that keeps old states: all its views fit together.
    pub fn at(&self, block: u64) -> Self {
        Self { block: Some(block), ..self.clone() }
    }

    /// The ledger it is on.
    pub fn ledger(&self) -> &Arc<dyn LedgerPort> {
        &self.ledger
    }

    /// The addresses of its contracts.
    pub fn contracts(&self) -> Contracts {
        self.contracts
    }

    /// The block the hub was made in, or one before: its log has nothing older.
    pub fn first_block(&self) -> u64 {
        self.first_block
    }

    /// The ledger's chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The domain that orders are signed under.
    pub fn domain(&self) -> &Eip712Domain {
        &self.domain
    }

    /// The hash under which the hub counts the use of an order.
    pub fn order_hash<T: Order>(&self, order: &T) -> OrderHash {
        order::order_hash(order, &self.domain)
    }

    /// Runs a write without sending it: what it would return.
    ///
    /// # Errors
    /// With [`HubError::revert`] when the contract would refuse it.
    pub fn try_call(&self, call: CallData, from: Address) -> BoxFuture<'_, Result<Bytes, HubError>> {
        Box::pin(
            async move { first(self.ledger.call(vec![call.call(from)], self.block).await?)?.map_err(HubError::from) },
        )
    }

    /// One view of the contract `to`.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, HubError> {
        first(self.views(vec![(to, call)]).await?)?
    }

    /// Many views of one kind in one request; each has its own answer.
    ///
    /// # Errors
    /// When the ledger could not be asked.
    pub async fn views<C: SolCall>(
        &self,
        calls: Vec<(Address, C)>,
    ) -> Result<Vec<Result<C::Return, HubError>>, HubError> {
        let calls = calls.into_iter().map(|(to, call)| Call::view(to, call.abi_encode())).collect();
        let answers = self.ledger.call(calls, self.block).await?;
        Ok(answers.into_iter().map(|answer| decode::<C>(&answer?)).collect())
    }

    /// Many views, none of which may take more than `gas`.
    pub(crate) async fn views_within<C: SolCall>(
        &self,
        gas: u64,
        calls: Vec<(Address, C)>,
    ) -> Result<Vec<Result<C::Return, HubError>>, HubError> {
        let call = |(to, call): (Address, C)| Call { gas: Some(gas), ..Call::view(to, call.abi_encode()) };
        let answers = self.ledger.call(calls.into_iter().map(call).collect(), self.block).await?;
        Ok(answers.into_iter().map(|answer| decode::<C>(&answer?)).collect())
    }

    async fn hub_views<C: SolCall>(&self, calls: impl IntoIterator<Item = C>) -> Result<Vec<C::Return>, HubError> {
        let hub = self.contracts.hub;
        self.views(calls.into_iter().map(|call| (hub, call)).collect()).await?.into_iter().collect()
    }
}

/// Deals and tasks.
impl HubClient {
    /// A deal; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_deal(&self, deal: DealId) -> BoxFuture<'_, Result<Option<Deal>, HubError>> {
        Box::pin(async move { first(self.view_deals(&[deal]).await?) })
    }

    /// Many deals in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_deals<'a>(&'a self, deals: &'a [DealId]) -> BoxFuture<'a, Result<Vec<Option<Deal>>, HubError>> {
        Box::pin(async move {
            let records = self.hub_views(deals.iter().map(|deal| IHub::viewDealCall { dealid: deal.0 })).await?;
            deals.iter().zip(records).map(|(id, record)| Deal::read(*id, record)).collect()
        })
    }

    /// A task; status `Unset` when it was never initialised.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_task(&self, task: TaskId) -> BoxFuture<'_, Result<Task, HubError>> {
        Box::pin(async move { first(self.view_tasks(&[task]).await?) })
    }

    /// Many tasks in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_tasks<'a>(&'a self, tasks: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Task>, HubError>> {
        Box::pin(async move {
            let records = self.hub_views(tasks.iter().map(|task| IHub::viewTaskCall { taskid: task.0 })).await?;
            tasks.iter().zip(records).map(|(id, record)| Task::read(*id, record)).collect()
        })
    }

    /// What a task's record has no room for.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_task_state(&self, task: TaskId) -> BoxFuture<'_, Result<TaskState, HubError>> {
        Box::pin(async move { first(self.view_task_states(&[task]).await?) })
    }

    /// The same of many tasks in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_task_states<'a>(&'a self, tasks: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<TaskState>, HubError>> {
        Box::pin(async move {
            let calls = tasks.iter().map(|task| IHub::viewTaskStateCall { taskid: task.0 });
            let read = |state: IHub::viewTaskStateReturn| {
                Ok(TaskState {
                    recomputed: state.recomputed,
                    conceded_at: Some(number(state.concededAt)?).filter(|&at| at != 0),
                    pot_account: state.potAccount,
                    pot: amount(state.pot)?,
                })
            };
            self.hub_views(calls).await?.into_iter().map(read).collect()
        })
    }

    /// A worker's vote on a task; status `Unset` for none.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_contribution(&self, task: TaskId, worker: Address) -> BoxFuture<'_, Result<Contribution, HubError>> {
        Box::pin(async move { first(self.view_contributions(&[(task, worker)]).await?) })
    }

    /// Many votes in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_contributions<'a>(
        &'a self,
        votes: &'a [(TaskId, Address)],
    ) -> BoxFuture<'a, Result<Vec<Contribution>, HubError>> {
        Box::pin(async move {
            let calls =
                votes.iter().map(|(task, worker)| IHub::viewContributionCall { taskid: task.0, worker: *worker });
            self.hub_views(calls).await?.into_iter().map(Contribution::read).collect()
        })
    }

    /// The reputation of a worker.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_score(&self, worker: Address) -> BoxFuture<'_, Result<u64, HubError>> {
        Box::pin(async move { first(self.view_scores(&[worker]).await?) })
    }

    /// The reputation of many workers in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_scores<'a>(&'a self, workers: &'a [Address]) -> BoxFuture<'a, Result<Vec<u64>, HubError>> {
        Box::pin(async move {
            let scores = self.hub_views(workers.iter().map(|&worker| IHub::viewScoreCall { worker })).await?;
            scores.into_iter().map(number).collect()
        })
    }

    /// A size class.
    ///
    /// # Errors
    /// [`HubError`]; a refusal when there is none of this id.
    pub fn view_category(&self, id: u64) -> BoxFuture<'_, Result<Category, HubError>> {
        Box::pin(
            async move { category(id, self.view(self.hub, IHub::viewCategoryCall { catid: U256::from(id) }).await?) },
        )
    }

    /// All size classes, in the order of their ids.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_categories(&self) -> BoxFuture<'_, Result<Vec<Category>, HubError>> {
        Box::pin(async move {
            let count = number(self.view(self.hub, IHub::countCategoryCall {}).await?)?.min(CATEGORIES_MAX);
            let records = self.hub_views((0..count).map(|id| IHub::viewCategoryCall { catid: U256::from(id) })).await?;
            (0..count).zip(records).map(|(id, record)| category(id, record)).collect()
        })
    }

    /// How many tasks of an order were used; all of them for a closed one.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_consumed(&self, order: OrderHash) -> BoxFuture<'_, Result<U256, HubError>> {
        Box::pin(async move { self.view(self.hub, IHub::viewConsumedCall { orderHash: order.0 }).await })
    }
}

/// Money.
impl HubClient {
    /// What somebody has at the hub.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_account(&self, account: Address) -> BoxFuture<'_, Result<Account, HubError>> {
        Box::pin(async move { first(self.view_accounts(&[account]).await?) })
    }

    /// What many have at the hub, in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_accounts<'a>(&'a self, accounts: &'a [Address]) -> BoxFuture<'a, Result<Vec<Account>, HubError>> {
        Box::pin(async move {
            let records = self.hub_views(accounts.iter().map(|&account| IHub::viewAccountCall { account })).await?;
            records
                .into_iter()
                .map(|record| Ok(Account { stake: amount(record.stake)?, locked: amount(record.locked)? }))
                .collect()
        })
    }

    /// What each worker has of another's stake under lock, and what it owes; `None` for who has and owes nothing.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn view_loans(&self, workers: &[Address]) -> Result<Vec<Option<Loan>>, HubError> {
        let records = self.hub_views(workers.iter().map(|&worker| IHub::viewLoanCall { worker })).await?;
        records
            .into_iter()
            .map(|record| {
                let loan = Loan { lender: record.lender, locked: amount(record.locked)?, debt: amount(record.debt)? };
                Ok(Some(loan).filter(|loan| !(loan.locked.is_zero() && loan.debt.is_zero())))
            })
            .collect()
    }

    /// How much of its stake a lender is ready to have locked for, or owed by, a worker.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn view_loan_limit(&self, lender: Address, worker: Address) -> Result<Amount, HubError> {
        amount(self.view(self.hub, IHub::viewLoanLimitCall { lender, worker }).await?)
    }

    /// Whose stake a vote locked: the worker's or its pool owner's; zero for none.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn view_stake_owner(&self, task: TaskId, worker: Address) -> Result<Address, HubError> {
        self.view(self.hub, IHub::viewStakeOwnerCall { taskid: task.0, worker }).await
    }

    /// The account whose locked amount is the kitty.
    pub fn kitty_address(&self) -> Address {
        self.kitty
    }

    /// What the kitty holds.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn kitty(&self) -> BoxFuture<'_, Result<Amount, HubError>> {
        Box::pin(async move { Ok(self.view_account(self.kitty).await?.locked) })
    }

    /// All money at the hub.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn total_supply(&self) -> BoxFuture<'_, Result<Amount, HubError>> {
        Box::pin(async move { amount(self.view(self.hub, IHub::totalSupplyCall {}).await?) })
    }

    /// The tokens somebody holds outside the hub.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn token_balance(&self, holder: Address) -> BoxFuture<'_, Result<Amount, HubError>> {
        Box::pin(async move { first(self.token_balances(&[holder]).await?) })
    }

    /// The tokens many hold outside the hub, in one request.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn token_balances<'a>(&'a self, holders: &'a [Address]) -> BoxFuture<'a, Result<Vec<Amount>, HubError>> {
        Box::pin(async move {
            let calls = holders.iter().map(|&account| (self.token, Grist::balanceOfCall { account })).collect();
            self.views(calls).await?.into_iter().map(|balance| amount(balance?)).collect()
        })
    }
}

/// Assets.
impl HubClient {
    /// A registered app; `None` when nothing of this address is registered.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_app(&self, address: Address) -> BoxFuture<'_, Result<Option<AppInfo>, HubError>> {
        Box::pin(async move {
            if !self.is_registered(self.app_registry, address).await? {
                return Ok(None);
            }
            let app = self.view(self.hub, IHub::viewAppCall { app: address }).await?;
            Ok(Some(AppInfo {
                address,
                owner: app.owner,
                name: app.m_appName,
                kind: app.m_appType,
                multiaddr: app.m_appMultiaddr,
                checksum: app.m_appChecksum,
                mrenclave: app.m_appMREnclave,
            }))
        })
    }

    /// A registered dataset; `None` when nothing of this address is registered.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_dataset(&self, address: Address) -> BoxFuture<'_, Result<Option<DatasetInfo>, HubError>> {
        Box::pin(async move {
            if !self.is_registered(self.dataset_registry, address).await? {
                return Ok(None);
            }
            let dataset = self.view(self.hub, IHub::viewDatasetCall { dataset: address }).await?;
            Ok(Some(DatasetInfo {
                address,
                owner: dataset.owner,
                name: dataset.m_datasetName,
                multiaddr: dataset.m_datasetMultiaddr,
                checksum: dataset.m_datasetChecksum,
            }))
        })
    }

    /// A registered pool; `None` when nothing of this address is registered.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn view_workerpool(&self, address: Address) -> BoxFuture<'_, Result<Option<WorkerpoolInfo>, HubError>> {
        Box::pin(async move {
            if !self.is_registered(self.workerpool_registry, address).await? {
                return Ok(None);
            }
            let pool = self.view(self.hub, IHub::viewWorkerpoolCall { workerpool: address }).await?;
            Ok(Some(WorkerpoolInfo::read(address, pool)?))
        })
    }

    /// The apps (or datasets, or pools) somebody owns, `max` at most, in one of the registries.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn assets_of(
        &self,
        registry: Address,
        owner: Address,
        max: u64,
    ) -> BoxFuture<'_, Result<Vec<Address>, HubError>> {
        Box::pin(async move {
            let count = number(self.view(registry, AppRegistry::balanceOfCall { owner }).await?)?.min(max);
            let calls = (0..count)
                .map(|index| (registry, AppRegistry::tokenOfOwnerByIndexCall { owner, index: U256::from(index) }))
                .collect();
            let tokens = self.views(calls).await?;
            tokens.into_iter().map(|token| Ok(Address::from_word(B256::from(token?)))).collect()
        })
    }

    /// Who owns an asset.
    ///
    /// # Errors
    /// [`HubError`]; also when the address is no asset.
    pub fn asset_owner(&self, asset: Address) -> BoxFuture<'_, Result<Address, HubError>> {
        Box::pin(async move { self.view(asset, IAsset::ownerCall {}).await })
    }

    /// Where [`Contracts::create_app`] will put an app.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn predict_app<'a>(&'a self, app: &'a NewApp) -> BoxFuture<'a, Result<Address, HubError>> {
        Box::pin(async move {
            let app = app.clone();
            let call = AppRegistry::predictAppCall {
                owner: app.owner,
                name: app.name,
                kind: app.kind,
                multiaddr: app.multiaddr,
                checksum: app.checksum,
                mrenclave: app.mrenclave,
            };
            self.view(self.app_registry, call).await
        })
    }

    /// Where [`Contracts::create_dataset`] will put a dataset.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn predict_dataset<'a>(&'a self, dataset: &'a NewDataset) -> BoxFuture<'a, Result<Address, HubError>> {
        Box::pin(async move {
            let dataset = dataset.clone();
            let call = DatasetRegistry::predictDatasetCall {
                owner: dataset.owner,
                name: dataset.name,
                multiaddr: dataset.multiaddr,
                checksum: dataset.checksum,
            };
            self.view(self.dataset_registry, call).await
        })
    }

    /// Where [`Contracts::create_workerpool`] will put a pool.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn predict_workerpool<'a>(
        &'a self,
        owner: Address,
        description: &'a str,
    ) -> BoxFuture<'a, Result<Address, HubError>> {
        Box::pin(async move {
            let call = WorkerpoolRegistry::predictWorkerpoolCall { owner, description: description.to_owned() };
            self.view(self.workerpool_registry, call).await
        })
    }

    /// Whether `entry` was made by this registry.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn is_registered(&self, registry: Address, entry: Address) -> BoxFuture<'_, Result<bool, HubError>> {
        Box::pin(async move { self.view(registry, AppRegistry::isRegisteredCall { entry }).await })
    }
}

fn decode<C: SolCall>(bytes: &[u8]) -> Result<C::Return, HubError> {
    C::abi_decode_returns(bytes).map_err(|error| HubError::malformed(C::SIGNATURE, error))
}

fn first<T>(answers: Vec<T>) -> Result<T, HubError> {
    answers.into_iter().next().ok_or_else(|| HubError::malformed("a request", "there is no answer"))
}

/// What the hub says of the block it was made in. Zero for a hub that does not say, and on a chain whose contracts count the
/// blocks of another, so that the number lies ahead.
async fn first_block(
    ledger: &Arc<dyn LedgerPort>,
    answer: Option<Result<Bytes, LedgerError>>,
) -> Result<u64, HubError> {
    let said = match answer {
        Some(Ok(bytes)) => IHub::firstBlockCall::abi_decode_returns(&bytes).unwrap_or_default(),
        None | Some(Err(LedgerError::Revert(_))) => return Ok(0),
        Some(Err(error)) => return Err(error.into()),
    };
    if said.is_zero() {
        return Ok(0);
    }
    let head = ledger.head().await?;
    Ok(u64::try_from(said).ok().filter(|block| *block <= head).unwrap_or_default())
}
