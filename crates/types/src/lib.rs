//! Name the things of the market once: ids, amounts, units, orders and statuses.
//!
//! Every other crate speaks in these words. The crate is tiny on purpose: no I/O, no async, no clock.
//!
//! - [`id`]: [`TaskId`], [`DealId`], [`OrderHash`], [`ContentId`].
//! - [`amount`]: [`Amount`] in nGRIST and its printed form in GRIST.
//! - [`needs`]: [`Needs`], what a task needs besides a processor, as flags of a tag.
//! - [`trust`]: [`Trust`] (t means confidence 1 - 1/t).
//! - [`category`]: [`Category`] and the [`ResourceLimits`] that follow from it.
//! - [`code`]: [`AppCode`], what an app's multiaddr on the ledger names: module, image, comparator.
//! - [`status`]: the state machines' states of task and contribution, as the hub numbers them.
//! - [`order`]: the four kinds of order with their EIP-712 hashes, and deal/task id derivation.
//! - [`params`]: [`JobParams`], the JSON a request order carries.
//! - [`results`]: the hint on the ledger where a task's result lies.
//! - [`address_book`]: [`AddressBook`], where the parts of a network listen and live.
//!
//! ```
//! use gristmill_types::{Amount, Trust};
//! assert_eq!(Amount::from_ngrist(1_500_000_000).to_string(), "1.5 GRIST");
//! assert_eq!("80%".parse::<Trust>().unwrap(), Trust::new(5));
//! ```

pub mod address_book;
pub mod amount;
pub mod category;
pub mod code;
pub mod id;
pub mod needs;
pub mod order;
pub mod params;
pub mod results;
pub mod status;
pub mod trust;

pub use address_book::AddressBook;
pub use alloy_primitives::Address;
pub use amount::Amount;
pub use category::{Category, ResourceLimits};
pub use code::{AppCode, Comparator, Program};
pub use id::{ContentId, DealId, OrderHash, TaskId};
pub use needs::Needs;
pub use order::{AppOrder, DatasetOrder, RequestOrder, Signed, WorkerpoolOrder};
pub use params::{BagPlace, InputFile, JobParams, Reach, ReachError};
pub use status::{ContributionStatus, TaskStatus};
pub use trust::Trust;

/// Chain id of a local Gristmill network unless its genesis says otherwise.
pub const CHAIN_ID_LOCAL: u64 = 26_482;
