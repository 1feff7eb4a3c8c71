//! Propose, read and make changes of the hub: it belongs to a timelock, so each is announced and waits.

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::abi::{ITimelock, Timelock as wire};
use crate::calls::CallData;
use crate::client::HubClient;
use crate::error::HubError;
use crate::views::number;

/// A change: what will be called, why, and which code it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whom to call: the hub, or the timelock itself for its delay and its proposer.
    pub target: Address,
    /// The function and its arguments.
    pub data: Bytes,
    /// What it does and why, for people: 1 to 4096 bytes.
    pub text: String,
    /// Each contract whose code the change trusts, and keccak256 of that code; 32 at most. Every facet that a cut adds or
    /// replaces, and its initialiser, has to be here.
    pub codes: Vec<(Address, B256)>,
}

/// Where a proposed change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStatus {
    /// Its delay is not over.
    Waiting,
    /// It can be made, by anybody.
    Ready,
    /// It was not made in time.
    Expired,
    /// It was made.
    Executed,
    /// Its proposer gave it up.
    Cancelled,
}

/// A proposed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What it changes.
    pub change: Change,
    /// Where it stands.
    pub status: ChangeStatus,
    /// It can be made from then on, in seconds since 1970.
    pub ready_at: u64,
}

impl Change {
    /// The call on the hub as a change, with a text and the code it trusts.
    pub fn new(call: CallData, text: impl Into<String>, codes: Vec<(Address, B256)>) -> Self {
        Self { target: call.to, data: call.data, text: text.into(), codes }
    }

    /// Announces it. The proposer only.
    pub fn propose(self, timelock: Address) -> CallData {
        let codes = self.codes.into_iter();
        let codes = codes.map(|(target, hash)| ITimelock::Code { target, codeHash: hash }).collect();
        let call = wire::proposeCall { target: self.target, data: self.data, text: self.text, codes };
        CallData::new(timelock, &call)
    }
}

/// Makes an announced change that is ready. Anybody.
pub fn execute(timelock: Address, id: u64) -> CallData {
    CallData::new(timelock, &wire::executeCall { id: U256::from(id) })
}

/// Gives up an announced change. The proposer only.
pub fn cancel(timelock: Address, id: u64) -> CallData {
    CallData::new(timelock, &wire::cancelCall { id: U256::from(id) })
}

/// Changes of the hub.
impl HubClient {
    /// The hub's owner: a timelock, unless its last change gave it to somebody else; zero if it can never change again.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn owner(&self) -> Result<Address, HubError> {
        self.view(self.hub, crate::abi::IHub::ownerCall {}).await
    }

    /// How many changes were proposed; their ids are 0, 1, ...
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn count_proposals(&self, timelock: Address) -> Result<u64, HubError> {
        number(self.view(timelock, wire::countProposalsCall {}).await?)
    }

    /// A proposed change; `None` for an unknown id.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn view_proposal(&self, timelock: Address, id: u64) -> Result<Option<Proposal>, HubError> {
        let found = self.view(timelock, wire::viewProposalCall { id: U256::from(id) }).await?;
        let status = match found.found {
            0 => return Ok(None),
            1 => ChangeStatus::Waiting,
            2 => ChangeStatus::Ready,
            3 => ChangeStatus::Expired,
            4 => ChangeStatus::Executed,
            5 => ChangeStatus::Cancelled,
            other => return Err(HubError::malformed("viewProposal", format!("there is no status {other}"))),
        };
        let proposal = found.proposal;
        let change = Change {
            target: proposal.target,
            data: proposal.data,
            text: proposal.text,
            codes: proposal.codes.into_iter().map(|code| (code.target, code.codeHash)).collect(),
        };
        Ok(Some(Proposal { change, status, ready_at: number(found.readyAt)? }))
    }
}
