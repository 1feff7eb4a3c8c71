//! What can go wrong between a wish and its results.

use std::path::PathBuf;

use alloy_primitives::B256;
use gristmill_hub::{HubError, LedgerError, OutboxError};
use gristmill_protocol::client::ConnectError;
use gristmill_result::items::ItemsError;
use gristmill_result::pack::PackError;
use gristmill_store::ClientError;
use gristmill_types::params::ParamsError;
use gristmill_types::{Address, Amount, Needs, OrderHash};
use gristmill_wallet::WalletFileError;

use crate::inputs::InputError;

/// Something a requester asked for could not be done. Every message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequesterError {
    /// No network was ever started from this data folder.
    #[error("no network was started from {}: start one with `gristmill up --data-dir {}`, or name another with --data-dir or --rpc", path.display(), path.display())]
    NoNetwork {
        /// The data folder.
        path: PathBuf,
    },
    /// The network of this data folder does not answer.
    #[error("the network of {} does not run: start it with `gristmill up --data-dir {}`", path.display(), path.display())]
    NotRunning {
        /// The data folder.
        path: PathBuf,
        /// How its ledger failed to answer.
        #[source]
        source: Box<HubError>,
    },
    /// The address file of a data folder, or the answer of a ledger, does not describe a network.
    #[error("{origin} does not describe a network ({reason}): is it the right one, and of this version?")]
    BadAddressBook {
        /// The file or the URL.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The ledger is another one than the address file says.
    #[error(
        "the ledger at {url} is chain {found}, and chain {expected} was expected: another network took its address; restart yours with `gristmill up`"
    )]
    OtherChain {
        /// Its address.
        url: String,
        /// The chain id written down.
        expected: u64,
        /// The chain id met.
        found: u64,
    },
    /// Neither a data folder nor a home folder is known.
    #[error("the home folder is not known: set HOME, or name the data folder with --data-dir")]
    NoHome,
    /// The command needs a key, and there is no file of one.
    #[error("there is no wallet at {}: make one with `gristmill wallet new`, or name one with --wallet FILE", path.display())]
    NoWallet {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A wallet could not be used.
    #[error(transparent)]
    Wallet(#[from] WalletFileError),
    /// The ledger or the hub.
    #[error(transparent)]
    Hub(Box<HubError>),
    /// A transaction.
    #[error(transparent)]
    Outbox(Box<OutboxError>),
    /// The store.
    #[error(transparent)]
    Store(Box<ClientError>),
    /// A pool could not be reached.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// A pool answered with an error.
    #[error("the pool at {url} answered: {message}")]
    Pool {
        /// The pool.
        url: String,
        /// Its words.
        message: String,
    },
    /// The text names no pool.
    #[error(
        "`{text}` names no pool: give its address on the ledger (0x and 40 digits) or `grist://HOST:PORT/KEYHASH`, as `gristmill up` prints it"
    )]
    BadPool {
        /// As given.
        text: String,
    },
    /// The text names no pool either.
    #[error(transparent)]
    PoolUrl(#[from] gristmill_protocol::tls::PoolUrlError),
    /// A file of the user's.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The request's parameters.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The items.
    #[error(transparent)]
    Items(#[from] ItemsError),
    /// No app or dataset of that name.
    #[error("no {kind} called `{name}` is offered on this ledger: give the file or the address of one{hint}")]
    UnknownAsset {
        /// "app" or "dataset".
        kind: &'static str,
        /// The name.
        name: String,
        /// Names that are offered, as a clause; or nothing.
        hint: String,
    },
    /// Several apps or datasets of that name.
    #[error("{count} {kind}s are called `{name}`; give the address of one: {list}", count = addresses.len(), list = list(addresses))]
    AmbiguousAsset {
        /// "app" or "dataset".
        kind: &'static str,
        /// The name.
        name: String,
        /// Their addresses.
        addresses: Vec<Address>,
    },
    /// Nothing is registered at this address.
    #[error("there is no {kind} at {address} on this ledger: is the address right, and is this the right network?")]
    NoAsset {
        /// "app" or "dataset".
        kind: &'static str,
        /// The address.
        address: Address,
    },
    /// The app or dataset is none that workers can use.
    #[error("the {kind} {address} cannot be used here: it is not {expected}")]
    UnusableAsset {
        /// "app" or "dataset".
        kind: &'static str,
        /// The address.
        address: Address,
        /// What it should be.
        expected: &'static str,
    },
    /// A comparator for an app that has its own, or none, on the ledger.
    #[error(
        "a registered app says itself how its results are compared: leave --compare out, or run your own file of the app"
    )]
    CompareOfRegistered,
    /// Its owner offers it to nobody, or not to us.
    #[error("the {kind} {address} is not offered to you at present: ask its owner for an order")]
    NotOffered {
        /// "app" or "dataset".
        kind: &'static str,
        /// The address.
        address: Address,
    },
    /// No size class of this name.
    #[error("there is no size `{name}` on this ledger; there are {known}")]
    UnknownCategory {
        /// As given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No pool offers what is asked for.
    #[error(
        "no pool offers {missing} more task(s) of size {category} at confidence {confidence}{with}{at_most}: {fix}"
    )]
    NoOffer {
        /// Tasks without an offer.
        missing: u64,
        /// The size class.
        category: String,
        /// The confidence asked for.
        confidence: String,
        /// What a task needs besides a processor, as a clause; or nothing.
        with: String,
        /// The price bound as a clause; or nothing.
        at_most: String,
        /// What to do.
        fix: String,
    },
    /// A wish that cannot be read.
    #[error("--{option} cannot be read: {source}")]
    Expression {
        /// `require` or `prefer`.
        option: &'static str,
        /// Where and why.
        source: gristmill_classad::ParseError,
    },
    /// No machine is what is required.
    #[error(
        "no machine of pool {workerpool} can do it: {unmet}; require less, choose another pool with --pool, or start such a worker first. Nothing was spent"
    )]
    NoMachine {
        /// The pool.
        workerpool: Address,
        /// What keeps each machine from it, with the nearest.
        unmet: String,
    },
    /// Dearer than the requester allows.
    #[error("the job costs {price}, more than the {max} that --max-price allows; nothing was spent")]
    TooDear {
        /// What it costs.
        price: Amount,
        /// What is allowed.
        max: Amount,
    },
    /// The pool whose offer is the cheapest would give the job back.
    #[error("the pool refuses this job, and nothing was ordered: {why}")]
    PoolRefuses {
        /// Why, and what to do, in the pool's words.
        why: String,
    },
    /// Not enough money.
    #[error(
        "the job costs {price}; account {account} has {stake} deposited and {tokens} in its wallet, so {missing} are missing: {fix}"
    )]
    NotEnough {
        /// What it costs.
        price: Amount,
        /// Whose money.
        account: Address,
        /// Free at the hub.
        stake: Amount,
        /// Outside the hub.
        tokens: Amount,
        /// What is missing.
        missing: Amount,
        /// What to do.
        fix: String,
    },
    /// Not enough money to move.
    #[error(
        "{amount} cannot be moved: account {account} has {stake} deposited and {tokens} in its wallet, so {missing} are missing: {fix}"
    )]
    Money {
        /// What was to be moved.
        amount: Amount,
        /// Whose money.
        account: Address,
        /// Free at the hub.
        stake: Amount,
        /// Outside the hub.
        tokens: Amount,
        /// What is missing.
        missing: Amount,
        /// What to do.
        fix: String,
    },
    /// What was sent before has no effect yet.
    #[error(
        "{count} transactions that this wallet sent before have had no effect within {seconds} s: the ledger is slow or stands still; try again later"
    )]
    Unsettled {
        /// How many.
        count: u64,
        /// How long they were waited for.
        seconds: u64,
    },
    /// More tasks than a job may have.
    #[error("{got} tasks are too many: a job has {max} at most; put several items into a task with --tasks")]
    TooManyTasks {
        /// As asked.
        got: u64,
        /// The bound.
        max: u64,
    },
    /// What was uploaded is not what was read before.
    #[error("{} changed after it was read: wait until nothing writes to it, then run the job again; nothing was spent", path.display())]
    ChangedSince {
        /// The file.
        path: PathBuf,
    },
    /// No job of this name.
    #[error("no job begins with `{text}` on this ledger: `gristmill job list --all` shows those there are")]
    UnknownJob {
        /// As given.
        text: String,
    },
    /// Several jobs of this name.
    #[error("several jobs begin with `{text}`: give more digits of one of {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    AmbiguousJob {
        /// As given.
        text: String,
        /// Some of those.
        ids: Vec<OrderHash>,
    },
    /// Not an id at all.
    #[error("`{text}` is not a job's id: it has up to 64 hexadecimal digits, and at least four")]
    BadJobId {
        /// As given.
        text: String,
    },
    /// The job belongs to somebody else.
    #[error("job {job} belongs to {owner}, not to {wallet}: use its owner's wallet")]
    NotYours {
        /// The job.
        job: OrderHash,
        /// Whose it is.
        owner: Address,
        /// Whose wallet was used.
        wallet: Address,
    },
    /// The ledger contradicts itself, or another program changed the order.
    #[error("job {job}: {reason}")]
    Job {
        /// The job.
        job: OrderHash,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No task or deal of this id.
    #[error("there is no {what} {id} on this ledger: is the id right, and is this the right network?")]
    NotFound {
        /// "task" or "deal".
        what: &'static str,
        /// As given.
        id: String,
    },
    /// A file or folder of the results.
    #[error("cannot {action} {}{}", path.display(), advice(source))]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// The folder for the results is somebody else's.
    #[error("{} is not empty and not a folder of this job's results: choose a new or empty folder with --out", path.display())]
    OutputFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A result could not be unpacked.
    #[error("the result of task {index} cannot be unpacked")]
    Pack {
        /// The task's index.
        index: u64,
        /// Why.
        #[source]
        source: PackError,
    },
    /// A receipt that cannot be read.
    #[error("{} is not a receipt ({reason})", path.display())]
    BadReceipt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A clause that says what to do about an error of the disk.
fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            ", the disk is full: free some space or choose a folder on another disk, then try again"
        }
        PermissionDenied | ReadOnlyFilesystem => ", it may not be written: choose another folder",
        _ => "",
    }
}

fn list(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

macro_rules! boxed {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for RequesterError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(HubError => Hub, OutboxError => Outbox, ClientError => Store, ConnectError => Connect);

impl From<LedgerError> for RequesterError {
    fn from(error: LedgerError) -> Self {
        HubError::from(error).into()
    }
}

/// Returns a closure for `map_err` that records what was tried on which file.
pub(crate) fn at(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> RequesterError {
    let path = path.to_path_buf();
    move |source| RequesterError::File { action, path, source }
}

/// An error with its sources in one line, without repeating what a transparent wrapper says twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let part = inner.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = inner.source();
    }
    text
}

/// What a tag asks for besides a processor, as a clause of [`RequesterError::NoOffer`].
pub(crate) fn needs_clause(tag: B256) -> String {
    let needs = Needs::of_tag(tag);
    if needs.is_none() { String::new() } else { format!(" with {needs}") }
}
