//! The third at the table: what the crate `poco` makes of each call of our hub.
//!
//! What a call does, the model must do, with the same events. What our hub refuses, the model refuses for the same reason, unless
//! the reason is one that the model leaves to the contracts. Of what the model does not know, no event may change the books.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolInterface};
use gristmill_hub::abi::{Grist, IHub, IHub::IHubCalls as Calls, IexecLibOrders_v5 as wire};
use gristmill_hub::sign::Order;
use gristmill_hub::{CallData, HubClient, HubEvent, audit};
use gristmill_poco::check::{self, LedgerView};
use gristmill_poco::model::SoloProof;
use gristmill_poco::{DealTerms, Matching, Model, OrderUse, Revert};
use gristmill_types::{Amount, AppOrder, DatasetOrder, DealId, RequestOrder, Signed, TaskId, WorkerpoolOrder};

use super::lockstep::Refusal;
use crate::differential::code_of;

/// What only the contracts know: signatures and permissions, enclaves, allowances and the token, how a list is written.
const NOT_THE_MODELS: [&str; 15] = [
    "InvalidAuthorization",
    "invalid-sender-or-signature",
    "invalid-signature-format",
    "EnclaveChallengeMissing",
    "InvalidEnclaveSignature",
    "InsufficientCallbackGas",
    "InsufficientAllowance",
    "ArrayLengthMismatch",
    "invalid-array-length",
    "ERC20InsufficientAllowance",
    "ERC20InsufficientBalance",
    "ERC20InvalidReceiver",
    "CallerIsNotTheRequester",
    "UnsupportedOperation",
    "Ownable: caller is not the owner",
];
/// An operation of `manage...Order` that closes it.
const CLOSE: u8 = 1;

type Verdict = Result<Vec<HubEvent>, Revert>;

/// The model of our hub, with everything that was done there.
pub struct Shadow {
    model: Model,
    client: HubClient,
    /// Tokens that the hub has and owes nobody: those that somebody withdrew to the hub itself.
    surplus: Amount,
}

/// A call at a moment.
struct Asked<'a> {
    sender: Address,
    now: u64,
    client: &'a HubClient,
    /// Of the deal that it made, if it made one.
    terms: Option<DealTerms>,
    surplus: Amount,
}

impl Shadow {
    /// Of a hub where nothing was done but these deposits.
    pub fn new(client: HubClient, deposits: impl IntoIterator<Item = (Address, Amount)>) -> Self {
        let mut model = Model::new(client.hub);
        for (account, amount) in deposits {
            model.deposit(account, amount).expect("the hub took the deposit");
        }
        Self { model, client, surplus: Amount::ZERO }
    }

    /// Our hub refused: so does the model. Whether the model had an opinion.
    pub fn refused(&self, sender: Address, now: u64, call: &CallData, refusal: &Refusal, context: &str) -> bool {
        // What becomes of orders that do not fit, the model does not say.
        let asked = Asked { sender, now, client: &self.client, terms: None, surplus: self.surplus };
        let Some(verdict) = asked.of(&mut self.model.clone(), call) else { return false };
        let found = match refusal {
            Refusal::Words(words) => words.clone(),
            Refusal::Wordless => "panic 0x11".to_owned(),
            Refusal::Named(data) => gristmill_hub::abi::error_name([data[0], data[1], data[2], data[3]])
                .expect("our hub's errors have names")
                .to_owned(),
        };
        if NOT_THE_MODELS.contains(&found.as_str()) {
            return false;
        }
        // The model has one name for an account that cannot hold stake.
        let found = found.replace("ERC20: mint to", "ERC20: transfer to");
        let expected = verdict.as_ref().map_err(code_of);
        assert!(expected == Err(found.clone()), "{context}: our hub refuses with {found}, the model: {expected:?}");
        true
    }

    /// Our hub did it, with these events in the newest block: so does the model. Whether the model had an opinion.
    pub async fn done(&mut self, sender: Address, now: u64, call: &CallData, context: &str) -> bool {
        let found = crate::differential::events_of(&self.client, self.client.ledger().head().await.unwrap()).await;
        let made = found.iter().find_map(|event| match event {
            HubEvent::OrdersMatched { deal, .. } => Some(*deal),
            _ => None,
        });
        let terms = match made {
            Some(deal) => Some(self.terms(deal).await),
            None => None,
        };
        let asked = Asked { sender, now, client: &self.client, terms, surplus: self.surplus };
        let Some(expected) = asked.of(&mut self.model, call) else {
            assert!(found.is_empty(), "{context}: the model does not know this, and it changes the books: {found:?}");
            return false;
        };
        assert!(expected.as_ref() == Ok(&found), "{context}: our hub did {found:#?},\n the model {expected:#?}");
        match Calls::abi_decode(&call.data) {
            Ok(Calls::withdrawTo(call)) if call.target == self.client.hub => {
                let more = amount(call.amount).expect("the hub had it");
                self.surplus = self.surplus.checked_add(more).expect("the hub had it");
            }
            Ok(Calls::recover(_)) => self.surplus = Amount::ZERO,
            _ => {}
        }
        true
    }

    async fn terms(&self, deal: DealId) -> DealTerms {
        let deal = self.client.view_deal(deal).await.unwrap().expect("the deal was just made");
        let categories = self.client.view_categories().await.unwrap();
        let category = categories.iter().find(|category| category.id == deal.category);
        deal.terms(category.expect("a deal has a category").work_clock_s)
    }

    /// The books of the model, those of a replay of the ledger's events, and the ledger's views are the same.
    pub async fn check(&self, context: &str) {
        let audit = audit::audit(&self.client, Default::default()).await.unwrap();
        assert!(audit.replay.books() == self.model.books(), "{context}: the replay and the model differ");
        let broken = |violation: check::Violation| -> () { panic!("{context}: {violation}") };
        check::i1(&audit.replay, &audit.view).unwrap_or_else(broken);
        check::i2(&audit.replay).unwrap_or_else(broken);
        check::i7(&audit.replay, &audit.view).unwrap_or_else(broken);
        check::i8(&audit.replay, &audit.view, &[]).unwrap_or_else(broken);
        let LedgerView { tasks, .. } = LedgerView::of(self.model.books(), audit.view.now, Default::default());
        assert!(audit.view.tasks == tasks, "{context}: the ledger's views and the model differ");
    }
}

impl Asked<'_> {
    /// What the model makes of a call; nothing of one that it does not know.
    fn of(&self, model: &mut Model, call: &CallData) -> Option<Verdict> {
        if call.to == self.client.contracts().token {
            return self.of_token(model, &call.data);
        }
        if call.to != self.client.hub {
            return None;
        }
        let call = Calls::abi_decode(&call.data).ok()?;
        self.of_money(model, &call).or_else(|| self.of_orders(model, &call)).or_else(|| self.of_task(model, call))
    }

    /// An approval of the token with a call: a deposit, and whatever the call is.
    fn of_token(&self, model: &mut Model, data: &[u8]) -> Option<Verdict> {
        let call = Grist::approveAndCallCall::abi_decode(data).ok()?;
        let mut events = match model.deposit(self.sender, amount(call.amount)?) {
            Ok(events) => events,
            refused => return Some(refused),
        };
        if !call.data.is_empty() {
            match self.of_orders(model, &Calls::abi_decode(&call.data).ok()?)? {
                Ok(more) => events.extend(more),
                refused => return Some(refused),
            }
        }
        Some(Ok(events))
    }

    fn of_money(&self, model: &mut Model, call: &Calls) -> Option<Verdict> {
        let sender = self.sender;
        Some(match call {
            Calls::deposit(call) => model.deposit(sender, amount(call.amount)?),
            Calls::depositFor(call) => model.deposit(call.target, amount(call.amount)?),
            Calls::depositForArray(call) => {
                let amounts: Vec<Amount> = call.amounts.iter().map(|value| amount(*value)).collect::<Option<_>>()?;
                let deposit = |model: &mut Model, (amount, target): (Amount, &Address)| model.deposit(*target, amount);
                each(model, amounts.into_iter().zip(&call.targets), deposit)
            }
            Calls::withdraw(call) => model.withdraw(sender, amount(call.amount)?),
            Calls::withdrawTo(call) => model.withdraw(sender, amount(call.amount)?),
            Calls::transfer(call) => model.transfer(sender, call.recipient, amount(call.amount)?),
            Calls::transferFrom(call) => model.transfer(call.sender, call.recipient, amount(call.amount)?),
            Calls::recover(_) => model.deposit(sender, self.surplus),
            _ => return None,
        })
    }

    fn of_orders(&self, model: &mut Model, call: &Calls) -> Option<Verdict> {
        let closed = |operation: u8, hash| (operation == CLOSE).then_some(hash);
        let order = match call {
            Calls::matchOrders(call) => {
                let orders = (&call.apporder, &call.datasetorder, &call.workerpoolorder, &call.requestorder);
                return self.matched(model, orders);
            }
            Calls::sponsorMatchOrders(call) => {
                let orders = (&call.apporder, &call.datasetorder, &call.workerpoolorder, &call.requestorder);
                return self.matched(model, orders);
            }
            Calls::manageAppOrder(IHub::manageAppOrderCall { operation }) => closed(
                operation.operation,
                self.order::<AppOrder>(operation.order.clone(), operation.order.volume).hash,
            ),
            Calls::manageDatasetOrder(IHub::manageDatasetOrderCall { operation }) => closed(
                operation.operation,
                self.order::<DatasetOrder>(operation.order.clone(), operation.order.volume).hash,
            ),
            Calls::manageWorkerpoolOrder(IHub::manageWorkerpoolOrderCall { operation }) => closed(
                operation.operation,
                self.order::<WorkerpoolOrder>(operation.order.clone(), operation.order.volume).hash,
            ),
            Calls::manageRequestOrder(IHub::manageRequestOrderCall { operation }) => closed(
                operation.operation,
                self.order::<RequestOrder>(operation.order.clone(), operation.order.volume).hash,
            ),
            _ => None,
        };
        order.map(|order| model.close_order(order))
    }

    fn order<T: Order>(&self, order: impl Into<Signed<T>>, volume: U256) -> OrderUse {
        OrderUse { hash: self.client.order_hash(&order.into().order), volume: volume.saturating_to() }
    }

    /// A match that was made; of one that was refused the terms are not known.
    fn matched(
        &self,
        model: &mut Model,
        (app, dataset, pool, request): (
            &wire::AppOrder,
            &wire::DatasetOrder,
            &wire::WorkerpoolOrder,
            &wire::RequestOrder,
        ),
    ) -> Option<Verdict> {
        let terms = self.terms.clone()?;
        let with_dataset = !request.dataset.is_zero();
        let matching = Matching {
            app: self.order::<AppOrder>(app.clone(), app.volume),
            dataset: with_dataset.then(|| self.order::<DatasetOrder>(dataset.clone(), dataset.volume)),
            workerpool: self.order::<WorkerpoolOrder>(pool.clone(), pool.volume),
            request: self.order::<RequestOrder>(request.clone(), request.volume),
            terms,
        };
        Some(model.match_orders(self.now, matching).map(|(_, events)| events))
    }

    fn of_task(&self, model: &mut Model, call: Calls) -> Option<Verdict> {
        let (sender, now) = (self.sender, self.now);
        let initialize = |model: &mut Model, (deal, index): (alloy_primitives::B256, U256)| {
            model.initialize(DealId(deal), index.saturating_to())
        };
        let claim = |model: &mut Model, task| model.claim(now, TaskId(task));
        Some(match call {
            Calls::initialize(call) => initialize(model, (call.dealid, call.index)),
            Calls::initializeArray(call) => each(model, call.dealids.into_iter().zip(call.indexes), initialize),
            Calls::initializeAndClaimArray(call) => {
                each(model, call.dealids.into_iter().zip(call.indexes), |model, (deal, index)| {
                    let mut events = initialize(model, (deal, index))?;
                    events.extend(claim(model, DealId(deal).task(index.saturating_to()).0)?);
                    Ok(events)
                })
            }
            Calls::contribute(call) => {
                model.contribute(sender, now, TaskId(call.taskid), call.resultHash, call.resultSeal, true)
            }
            Calls::reveal(call) => model.reveal(sender, now, TaskId(call.taskid), call.resultDigest),
            Calls::reopen(call) => model.reopen(now, TaskId(call.taskid)),
            Calls::finalize(call) => {
                model.finalize(sender, now, TaskId(call.taskid), call.results, &call.resultsCallback)
            }
            Calls::contributeAndFinalize(call) => {
                let callback = call.resultsCallback;
                let proof = SoloProof { digest: call.resultDigest, results: call.results, callback: &callback };
                model.contribute_and_finalize(sender, now, TaskId(call.taskid), proof, true)
            }
            Calls::claim(call) => claim(model, call.taskid),
            Calls::claimArray(call) => each(model, call.taskids, claim),
            _ => return None,
        })
    }
}

/// One after the other, up to the first refusal.
fn each<T>(model: &mut Model, all: impl IntoIterator<Item = T>, one: impl Fn(&mut Model, T) -> Verdict) -> Verdict {
    all.into_iter().try_fold(Vec::new(), |events, item| Ok([events, one(model, item)?].concat()))
}

/// More than the model's amounts hold is more than there is.
fn amount(value: U256) -> Option<Amount> {
    Amount::try_from(value).ok()
}
