//! Turn logs into the hub's events.

use alloy_sol_types::SolEventInterface;
use gristmill_poco::HubEvent;
use gristmill_types::{AppOrder, DatasetOrder, DealId, OrderHash, RequestOrder, Signed, TaskId, WorkerpoolOrder};

use crate::abi::IHub::IHubEvents;
use crate::error::HubError;
use crate::ledger::Log;
use crate::views::{amount, number};

/// An event of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It changes the hub's books.
    Hub(HubEvent),
    /// Somebody published an app order; nobody has checked it.
    AppOrder(Box<Signed<AppOrder>>),
    /// Somebody published a dataset order; nobody has checked it.
    DatasetOrder(Box<Signed<DatasetOrder>>),
    /// Somebody published a pool's order; nobody has checked it.
    WorkerpoolOrder(Box<Signed<WorkerpoolOrder>>),
    /// Somebody published a request; nobody has checked it.
    RequestOrder(Box<Signed<RequestOrder>>),
    /// Its owner signed this order on the ledger.
    OrderSigned(OrderHash),
    /// Any other: allowances, categories, the hub's owner and facets.
    Other(Box<IHubEvents>),
}

impl Event {
    /// The event that changes the books, if it is one.
    pub fn as_hub(&self) -> Option<&HubEvent> {
        match self {
            Self::Hub(event) => Some(event),
            _ => None,
        }
    }
}

/// Reads a log of the hub.
///
/// # Errors
/// [`HubError::Malformed`] for an event that no hub of ours emits.
pub(crate) fn decode(log: &Log) -> Result<Event, HubError> {
    let bad = |why: &dyn ToString| {
        let place = format!("block {}, log {}: {}", log.block, log.index, why.to_string());
        HubError::malformed("an event", place)
    };
    let event = IHubEvents::decode_raw_log(&log.topics, &log.data).map_err(|error| bad(&error))?;
    convert(event).map_err(|error| bad(&error))
}

fn convert(event: IHubEvents) -> Result<Event, HubError> {
    use IHubEvents as E;
    Ok(match event {
        E::BroadcastAppOrder(event) => Event::AppOrder(Box::new(event.apporder.into())),
        E::BroadcastDatasetOrder(event) => Event::DatasetOrder(Box::new(event.datasetorder.into())),
        E::BroadcastWorkerpoolOrder(event) => Event::WorkerpoolOrder(Box::new(event.workerpoolorder.into())),
        E::BroadcastRequestOrder(event) => Event::RequestOrder(Box::new(event.requestorder.into())),
        E::SignedAppOrder(event) => Event::OrderSigned(OrderHash(event.appHash)),
        E::SignedDatasetOrder(event) => Event::OrderSigned(OrderHash(event.datasetHash)),
        E::SignedWorkerpoolOrder(event) => Event::OrderSigned(OrderHash(event.workerpoolHash)),
        E::SignedRequestOrder(event) => Event::OrderSigned(OrderHash(event.requestHash)),
        other => match books(other)? {
            Ok(event) => Event::Hub(event),
            Err(other) => Event::Other(Box::new(other)),
        },
    })
}

/// The events that change the books; the others come back.
fn books(event: IHubEvents) -> Result<Result<HubEvent, IHubEvents>, HubError> {
    use IHubEvents as E;
    Ok(Ok(match event {
        E::Transfer(event) => HubEvent::Transfer { from: event.from, to: event.to, value: amount(event.value)? },
        E::Lock(event) => HubEvent::Lock { owner: event.owner, amount: amount(event.amount)? },
        E::Unlock(event) => HubEvent::Unlock { owner: event.owner, amount: amount(event.amount)? },
        E::Reward(event) => {
            HubEvent::Reward { owner: event.owner, amount: amount(event.amount)?, task: TaskId(event.r#ref) }
        }
        E::Seize(event) => {
            HubEvent::Seize { owner: event.owner, amount: amount(event.amount)?, task: TaskId(event.r#ref) }
        }
        E::SchedulerNotice(event) => {
            HubEvent::SchedulerNotice { workerpool: event.workerpool, deal: DealId(event.dealid) }
        }
        E::OrdersMatched(event) => HubEvent::OrdersMatched {
            deal: DealId(event.dealid),
            app: OrderHash(event.appHash),
            dataset: OrderHash(event.datasetHash),
            workerpool: OrderHash(event.workerpoolHash),
            request: OrderHash(event.requestHash),
            volume: number(event.volume)?,
        },
        E::ClosedAppOrder(event) => HubEvent::OrderClosed { order: OrderHash(event.appHash) },
        E::ClosedDatasetOrder(event) => HubEvent::OrderClosed { order: OrderHash(event.datasetHash) },
        E::ClosedWorkerpoolOrder(event) => HubEvent::OrderClosed { order: OrderHash(event.workerpoolHash) },
        E::ClosedRequestOrder(event) => HubEvent::OrderClosed { order: OrderHash(event.requestHash) },
        E::TaskInitialize(event) => {
            HubEvent::TaskInitialize { task: TaskId(event.taskid), workerpool: event.workerpool }
        }
        E::TaskContribute(event) => {
            HubEvent::TaskContribute { task: TaskId(event.taskid), worker: event.worker, hash: event.hash }
        }
        E::TaskConsensus(event) => HubEvent::TaskConsensus { task: TaskId(event.taskid), hash: event.consensus },
        E::TaskReveal(event) => {
            HubEvent::TaskReveal { task: TaskId(event.taskid), worker: event.worker, digest: event.digest }
        }
        E::TaskReopen(event) => HubEvent::TaskReopen { task: TaskId(event.taskid) },
        E::TaskFinalize(event) => HubEvent::TaskFinalize { task: TaskId(event.taskid), results: event.results },
        E::TaskClaimed(event) => HubEvent::TaskClaimed { task: TaskId(event.taskid) },
        E::TaskConcede(event) => {
            HubEvent::TaskConcede { task: TaskId(event.taskid), effective_at: number(event.effectiveAt)? }
        }
        E::AccurateContribution(event) => {
            HubEvent::AccurateContribution { worker: event.worker, task: TaskId(event.taskid) }
        }
        E::FaultyContribution(event) => {
            HubEvent::FaultyContribution { worker: event.worker, task: TaskId(event.taskid) }
        }
        other => return loans(other),
    }))
}

/// Of these, the ones of lent stake.
fn loans(event: IHubEvents) -> Result<Result<HubEvent, IHubEvents>, HubError> {
    use IHubEvents as E;
    Ok(Ok(match event {
        E::LoanLimit(event) => {
            HubEvent::LoanLimit { lender: event.lender, worker: event.worker, limit: amount(event.limit)? }
        }
        E::StakeLent(event) => HubEvent::StakeLent {
            task: TaskId(event.taskid),
            worker: event.worker,
            lender: event.lender,
            amount: amount(event.amount)?,
        },
        E::StakeReturned(event) => HubEvent::StakeReturned {
            task: TaskId(event.taskid),
            worker: event.worker,
            lender: event.lender,
            amount: amount(event.amount)?,
        },
        E::StakeLost(event) => HubEvent::StakeLost {
            task: TaskId(event.taskid),
            worker: event.worker,
            lender: event.lender,
            amount: amount(event.amount)?,
        },
        E::DebtRepaid(event) => {
            HubEvent::DebtRepaid { worker: event.worker, lender: event.lender, amount: amount(event.amount)? }
        }
        other => return Ok(Err(other)),
    }))
}
