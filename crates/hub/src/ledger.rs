//! Say what this crate needs of a ledger: the port that a JSON-RPC server, or a ledger in the same process, answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::revert::Revert;

/// What a port's method returns: boxed, so that a port can be shared as `Arc<dyn LedgerPort>`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// An EVM ledger that can be read, and that takes signed transactions.
///
/// Every method may be repeated without harm: sending the same bytes twice is one transaction. A method that takes a list
/// answers a list of the same length in the same order; an error of the whole list means that the ledger was not reached.
/// No method waits for ever: a ledger that does not answer is [`LedgerError::Unreachable`] or [`LedgerError::Timeout`].
pub trait LedgerPort: Send + Sync + fmt::Debug + 'static {
    /// The chain id.
    fn chain_id(&self) -> Answer<'_, u64>;
    /// The number of the newest block.
    fn head(&self) -> Answer<'_, u64>;
    /// The blocks of these numbers; `None` for one that is not there.
    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>>;
    /// Runs each call on the newest state (or the state after `block`) and returns what it returned.
    fn call(&self, calls: Vec<Call>, block: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>>;
    /// The gas each call needs as a transaction now.
    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>>;
    /// Transactions of `account` in blocks (or, with `pending`, also those waiting for one): its next nonce.
    fn nonce(&self, account: Address, pending: bool) -> Answer<'_, u64>;
    /// Hands in signed transactions in this order; each answer is the hash.
    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>>;
    /// The receipts of these transactions; `None` while one is not in a block.
    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>>;
    /// The events in a range of blocks, in their order.
    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>>;
    /// The events of the next blocks, waiting for the first of them: all that following takes, in one question. `None` from a
    /// ledger that cannot be asked so; it is then asked in pieces, and again and again.
    fn news(&self, _query: NewsQuery) -> Answer<'_, Option<News>> {
        Box::pin(async { Ok(None) })
    }
    /// The code at these addresses; empty where there is none.
    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>>;
    /// The coins (not GRIST) of an account, in wei.
    fn balance(&self, account: Address) -> Answer<'_, U256>;
    /// What a transaction sent now should offer for gas.
    fn fees(&self) -> Answer<'_, Fees>;
    /// How deep it may reorganise, and how often it is worth asking. Ours never does.
    fn finality(&self) -> Answer<'_, Finality> {
        Box::pin(async { Ok(Finality::default()) })
    }
}

/// When what a ledger says is there to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finality {
    /// Blocks after its own before an event or a transaction counts: a reorganisation of so many blocks is survived, a deeper
    /// one is found and reported. 0 on a ledger that never reorganises.
    pub confirmations: u64,
    /// It is not asked for news more often than this, in milliseconds.
    pub poll_ms: u64,
}

/// The depth that is assumed of a ledger that is not ours.
pub const FOREIGN_CONFIRMATIONS: u64 = 4;
/// Foreign ledgers make a block in a second or more, and many count requests.
const FOREIGN_POLL_MS: u64 = 300;

impl Finality {
    /// Of a ledger that is not ours.
    pub fn foreign() -> Self {
        Self { confirmations: FOREIGN_CONFIRMATIONS, poll_ms: FOREIGN_POLL_MS }
    }
}

/// A block's name and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time in Unix seconds.
    pub timestamp: u64,
}

/// A call of a contract, or the making of one when `to` is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Who calls; nobody (the zero address) for most views.
    pub from: Option<Address>,
    /// What is called.
    pub to: Option<Address>,
    /// The call data.
    pub data: Bytes,
    /// Coins sent along, in wei.
    pub value: U256,
    /// The gas it may use; `None` for as much as the ledger allows.
    pub gas: Option<u64>,
}

impl Call {
    /// A view of the contract `to` by nobody in particular.
    pub fn view(to: Address, data: impl Into<Bytes>) -> Self {
        Self { to: Some(to), data: data.into(), ..Self::default() }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its hash.
    pub tx_hash: B256,
    /// The block it is in.
    pub block: u64,
    /// False when it was reverted.
    pub success: bool,
    /// Gas it used.
    pub gas_used: u64,
    /// The contract it made, for a creation.
    pub contract: Option<Address>,
    /// Its events; none when it was reverted.
    pub logs: Vec<Log>,
}

/// An event as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The contract that emitted it.
    pub address: Address,
    /// The event's hash, then its indexed fields.
    pub topics: Vec<B256>,
    /// The other fields.
    pub data: Bytes,
    /// The block it is in.
    pub block: u64,
    /// The block's time in Unix seconds, when the ledger says it with the event.
    pub timestamp: Option<u64>,
    /// The transaction that emitted it.
    pub tx_hash: B256,
    /// Its place among the events of the block.
    pub index: u64,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The first block.
    pub from: u64,
    /// The last block, included.
    pub to: u64,
    /// Only of these contracts; all when empty.
    pub addresses: Vec<Address>,
    /// Only events with one of these first topics; all when empty.
    pub events: Vec<B256>,
}

/// The events of which contracts, from which block on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewsQuery {
    /// The first block.
    pub from: u64,
    /// Blocks of one answer at most.
    pub blocks_max: u64,
    /// Only of these contracts; all when empty.
    pub addresses: Vec<Address>,
    /// How long to wait until block `from` is there, in milliseconds; the ledger may wait less.
    pub wait_ms: u64,
}

/// The answer to a [`NewsQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The number of the newest block.
    pub head: u64,
    /// The block before `from`.
    pub before: Option<BlockHead>,
    /// The last block of which the events are here; `None` if `from` is not there yet.
    pub last: Option<BlockHead>,
    /// The events, in their order.
    pub logs: Vec<Log>,
}

/// What a transaction offers for gas, in wei a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fees {
    /// The base fee of the newest block; `None` on a ledger without base fees, which takes legacy transactions.
    pub base: Option<u128>,
    /// The tip, or the whole gas price where there is no base fee.
    pub tip: u128,
}

/// A ledger did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// No connection, or it broke, more often than it was worth trying again.
    #[error("the ledger at {url} does not answer ({cause}): is it running, and is the address right?")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the operating system or the protocol said.
        cause: String,
    },
    /// It is there and does not answer in time.
    #[error("the ledger at {url} did not answer {method} within {limit_ms} ms: it may be overloaded; try again")]
    Timeout {
        /// Where.
        url: String,
        /// What it was asked.
        method: String,
        /// How long it was given, in milliseconds.
        limit_ms: u64,
    },
    /// The contract refused the call.
    #[error(transparent)]
    Revert(#[from] Revert),
    /// The server refused the request.
    #[error("the ledger refused {method}: {message} (code {code})")]
    Rpc {
        /// What it was asked.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// The answer is not what the question allows.
    #[error("the ledger's answer to {method} makes no sense: {what}")]
    Malformed {
        /// What it was asked.
        method: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The URL is none that can be used.
    #[error("`{url}` is no address of a ledger: {what}; expected `http://HOST:PORT`")]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
}

impl LedgerError {
    /// Whether asking again later may help: the ledger was not reached, or did not answer in time.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// Whether a smaller range of blocks may be answered: public servers bound the blocks, or the events, of one answer.
    pub(crate) fn is_range_refused(&self) -> bool {
        match self {
            Self::Rpc { message, .. } => {
                let text = message.to_ascii_lowercase();
                ["range", "limit", "too many", "too large", "more than"].iter().any(|word| text.contains(word))
            }
            Self::Malformed { what, .. } => what.contains("longer than"),
            _ => false,
        }
    }

    /// Whether a call took more gas than it was given: some servers say so as a refusal of their own.
    pub(crate) fn is_out_of_gas(&self) -> bool {
        matches!(self, Self::Rpc { message, .. } if message.to_ascii_lowercase().contains("gas"))
    }

    /// The contract's refusal, if it is one.
    pub fn revert(&self) -> Option<&Revert> {
        match self {
            Self::Revert(revert) => Some(revert),
            _ => None,
        }
    }
}
