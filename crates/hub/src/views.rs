//! The hub's records, in the words of the vocabulary.

use alloy_primitives::{Address, B256, Bytes, U256};
use gristmill_poco::DealTerms;
use gristmill_types::code::AppCodeError;
use gristmill_types::results::results_pack;
use gristmill_types::{Amount, AppCode, Category, ContentId, ContributionStatus, DealId, TaskId, TaskStatus, Trust};

use crate::abi::IexecLibCore_v5 as wire;
use crate::error::HubError;

/// What an account has at the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Free: may be withdrawn or staked.
    pub stake: Amount,
    /// Held by the hub for what is under way.
    pub locked: Amount,
}

/// An asset in a deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The asset's contract; zero for no dataset.
    pub address: Address,
    /// Its owner when the deal was made.
    pub owner: Address,
    /// Its price a task.
    pub price: Amount,
}

/// The bit of a tag's last byte that asks for a trusted execution environment.
pub const TAG_TEE: u8 = 0b0001;
/// The bit of a tag's last byte that asks for Intel TDX.
pub const TAG_TDX: u8 = 0b1000;

/// Matched orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// The deal's id.
    pub id: DealId,
    /// What is run.
    pub app: Resource,
    /// What it runs on.
    pub dataset: Resource,
    /// Who runs it.
    pub workerpool: Resource,
    /// How sure the requester wants to be.
    pub trust: Trust,
    /// The category's id.
    pub category: u64,
    /// Special needs, as bits.
    pub tag: B256,
    /// Who asked.
    pub requester: Address,
    /// Who may read the results.
    pub beneficiary: Address,
    /// The contract that is told the result; zero for none.
    pub callback: Address,
    /// The request's parameters: see [`gristmill_types::JobParams::parse`].
    pub params: String,
    /// When the orders were matched, in Unix seconds.
    pub start_time: u64,
    /// The index of the deal's first task within its request order.
    pub bot_first: u64,
    /// How many tasks it has.
    pub bot_size: u64,
    /// What a worker stakes on a task.
    pub worker_stake: Amount,
    /// What the pool keeps of a task's reward, in percent.
    pub scheduler_reward_ratio: u64,
    /// Who pays.
    pub sponsor: Address,
}

impl Deal {
    /// The indices of its tasks.
    pub fn indices(&self) -> std::ops::Range<u64> {
        self.bot_first..self.bot_first.saturating_add(self.bot_size)
    }

    /// The ids of its tasks, in order.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.indices().map(|index| self.id.task(index))
    }

    /// Whether its contributions must be vouched for by an enclave. On a network that simulates enclaves any key will do.
    pub fn asks_for_enclave(&self) -> bool {
        self.tag.0[31] & TAG_TEE != 0
    }

    /// What a task costs the sponsor; `None` when no ledger could hold it.
    pub fn price(&self) -> Option<Amount> {
        self.app.price.checked_add(self.dataset.price)?.checked_add(self.workerpool.price)
    }

    /// The same for [`gristmill_poco::Replay`]; T is the category's.
    pub fn terms(&self, work_clock_s: u64) -> DealTerms {
        let resource = |resource: Resource| gristmill_poco::Resource {
            pointer: resource.address,
            owner: resource.owner,
            price: resource.price,
        };
        DealTerms {
            app: resource(self.app),
            dataset: resource(self.dataset),
            workerpool: resource(self.workerpool),
            trust: self.trust,
            category: self.category,
            work_clock_s,
            tag: self.tag,
            requester: self.requester,
            beneficiary: self.beneficiary,
            callback: self.callback,
            start_time: self.start_time,
            bot_first: self.bot_first,
            bot_size: self.bot_size,
            worker_stake: self.worker_stake,
            scheduler_reward_percent: self.scheduler_reward_ratio,
            sponsor: self.sponsor,
        }
    }

    /// `None` for an id without a deal.
    pub(crate) fn read(id: DealId, deal: wire::Deal) -> Result<Option<Self>, HubError> {
        if deal.botSize.is_zero() {
            return Ok(None);
        }
        Ok(Some(Self {
            id,
            app: Resource::read(deal.app)?,
            dataset: Resource::read(deal.dataset)?,
            workerpool: Resource::read(deal.workerpool)?,
            trust: Trust::new(deal.trust.saturating_to()),
            category: number(deal.category)?,
            tag: deal.tag,
            requester: deal.requester,
            beneficiary: deal.beneficiary,
            callback: deal.callback,
            params: deal.params,
            start_time: number(deal.startTime)?,
            bot_first: number(deal.botFirst)?,
            bot_size: number(deal.botSize)?,
            worker_stake: amount(deal.workerStake)?,
            scheduler_reward_ratio: number(deal.schedulerRewardRatio)?,
            sponsor: deal.sponsor,
        }))
    }
}

impl Resource {
    fn read(resource: wire::Resource) -> Result<Self, HubError> {
        Ok(Self { address: resource.pointer, owner: resource.owner, price: amount(resource.price)? })
    }
}

/// A task on the ledger. One that was never initialised has status [`TaskStatus::Unset`] and zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The task's id.
    pub id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// The deal it belongs to.
    pub deal: DealId,
    /// Its index within the request order.
    pub index: u64,
    /// T of its category, in seconds.
    pub work_clock_s: u64,
    /// Contributions are taken before this time (Unix seconds).
    pub contribution_deadline: u64,
    /// Reveals are taken before this time; 0 before consensus.
    pub reveal_deadline: u64,
    /// From this time on it can be claimed.
    pub final_deadline: u64,
    /// The result hash that won; zero before consensus.
    pub consensus: B256,
    /// Holders of the consensus who revealed.
    pub reveal_counter: u64,
    /// Holders of the consensus.
    pub winner_counter: u64,
    /// All who contributed, in order.
    pub contributors: Vec<Address>,
    /// The revealed digest; zero before.
    pub digest: B256,
    /// The hint where the result is (UTF-8 JSON); empty before it is completed.
    pub results: Bytes,
    /// What the callback was given.
    pub callback_data: Bytes,
}

impl Task {
    pub(crate) fn read(id: TaskId, task: wire::Task) -> Result<Self, HubError> {
        Ok(Self {
            id,
            status: TaskStatus::try_from(task.status).map_err(|error| HubError::malformed("viewTask", error))?,
            deal: DealId(task.dealid),
            index: number(task.idx)?,
            work_clock_s: number(task.timeref)?,
            contribution_deadline: number(task.contributionDeadline)?,
            reveal_deadline: number(task.revealDeadline)?,
            final_deadline: number(task.finalDeadline)?,
            consensus: task.consensusValue,
            reveal_counter: number(task.revealCounter)?,
            winner_counter: number(task.winnerCounter)?,
            contributors: task.contributors,
            digest: task.resultDigest,
            results: task.results,
            callback_data: task.resultsCallback,
        })
    }

    /// The result pack that the hint on the ledger names; `None` when there is none, or it is not ours.
    pub fn results_pack(&self) -> Option<ContentId> {
        results_pack(&self.results)
    }
}

/// What PoCo's task record has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Whether a finalize has failed: those who revealed alone did not carry the consensus.
    pub recomputed: bool,
    /// When an announced concession takes effect, in Unix seconds.
    pub conceded_at: Option<u64>,
    /// The account that holds the pot.
    pub pot_account: Address,
    /// Seized stakes that the task will pay out.
    pub pot: Amount,
}

/// A worker's vote on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Where it stands.
    pub status: ContributionStatus,
    /// keccak256(task ++ digest).
    pub result_hash: B256,
    /// keccak256(worker ++ task ++ digest).
    pub result_seal: B256,
    /// The enclave's key; zero without one.
    pub enclave_challenge: Address,
    /// Its share in the reward: log2 of the exact weight, rounded down.
    pub weight_log2: u64,
}

impl Contribution {
    pub(crate) fn read(contribution: wire::Contribution) -> Result<Self, HubError> {
        Ok(Self {
            status: ContributionStatus::try_from(contribution.status)
                .map_err(|error| HubError::malformed("viewContribution", error))?,
            result_hash: contribution.resultHash,
            result_seal: contribution.resultSeal,
            enclave_challenge: contribution.enclaveChallenge,
            weight_log2: number(contribution.weight)?,
        })
    }
}

/// A registered app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppInfo {
    /// Its contract.
    pub address: Address,
    /// Who owns it now.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Its type, `DOCKER` for those that the SDK knows.
    pub kind: String,
    /// Where its code is: see [`AppCode`].
    pub multiaddr: Bytes,
    /// The checksum it was registered with.
    pub checksum: B256,
    /// The enclave measurement; empty without one.
    pub mrenclave: Bytes,
}

impl AppInfo {
    /// What it is made of.
    ///
    /// # Errors
    /// [`AppCodeError`] when its multiaddr names nothing that workers run.
    pub fn code(&self) -> Result<AppCode, AppCodeError> {
        AppCode::of_multiaddr(&self.multiaddr)
    }
}

/// A registered dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Its contract.
    pub address: Address,
    /// Who owns it now.
    pub owner: Address,
    /// Its name.
    pub name: String,
    /// Where its bytes are: `blake3:<content id>` for ours.
    pub multiaddr: Bytes,
    /// The checksum it was registered with.
    pub checksum: B256,
}

impl DatasetInfo {
    /// The content of a dataset of the store: its multiaddr is `blake3:<content id>`.
    pub fn content(&self) -> Option<ContentId> {
        content_of(&self.multiaddr, "blake3:")
    }
}

/// A registered pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerpoolInfo {
    /// Its contract.
    pub address: Address,
    /// Who owns it now.
    pub owner: Address,
    /// A sentence on it.
    pub description: String,
    /// What a worker stakes, in percent of the pool's price.
    pub worker_stake_ratio: u64,
    /// What the pool keeps of a reward, in percent.
    pub scheduler_reward_ratio: u64,
}

impl WorkerpoolInfo {
    pub(crate) fn read(address: Address, pool: wire::WorkerpoolInfo) -> Result<Self, HubError> {
        Ok(Self {
            address,
            owner: pool.owner,
            description: pool.m_workerpoolDescription,
            worker_stake_ratio: number(pool.m_workerStakeRatioPolicy)?,
            scheduler_reward_ratio: number(pool.m_schedulerRewardRatioPolicy)?,
        })
    }
}

pub(crate) fn category(id: u64, category: wire::Category) -> Result<Category, HubError> {
    Ok(Category {
        id,
        name: category.name,
        description: category.description,
        work_clock_s: number(category.workClockTimeRef)?,
    })
}

fn content_of(multiaddr: &[u8], prefix: &str) -> Option<ContentId> {
    std::str::from_utf8(multiaddr).ok()?.strip_prefix(prefix)?.parse().ok()
}

/// Times, counts and ids fit 64 bits on every hub of ours.
pub(crate) fn number(value: U256) -> Result<u64, HubError> {
    u64::try_from(value).map_err(|_| HubError::malformed("a number", format!("{value} is past 2^64")))
}

pub(crate) fn amount(value: U256) -> Result<Amount, HubError> {
    Amount::try_from(value).map_err(|error| HubError::malformed("an amount", error))
}
