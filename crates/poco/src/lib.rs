//! Execute, replay and check the hub's rules without a chain.
//!
//! A pure core: no clock, socket, file or randomness. The contracts and this crate agree to the letter.
//!
//! - [`consensus`]: weights, groups and the trust rule.
//! - [`Model`]: the rules as an executable machine: each entry point of the hub returns its events or its revert.
//! - [`Replay`]: the hub's [`Books`] rebuilt from its events ([`HubEvent`]) and the terms of its deals.
//! - [`check`]: what must always hold, I1 to I8, over a replay and what a ledger, a store or an API says.
//! - [`bill`]: what a job cost: each payment, each slashed stake, and that it adds up.
//!
//! ```
//! use alloy_primitives::Address;
//! use gristmill_poco::Model;
//! use gristmill_types::Amount;
//! let (hub, alice) = (Address::repeat_byte(1), Address::repeat_byte(2));
//! let mut model = Model::new(hub);
//! model.deposit(alice, Amount::from_grist(5)).unwrap();
//! assert_eq!(model.books().account(alice).stake, Amount::from_grist(5));
//! ```

pub mod bill;
pub mod books;
pub mod check;
pub mod consensus;
pub mod event;
pub mod model;
pub mod replay;

pub use books::{Account, Books, Contribution, Deal, DealTerms, KITTY, Loan, Resource, Task, pot_of};
pub use event::{HubEvent, Logged};
pub use model::{Matching, Model, OrderUse, Revert};
pub use replay::{Replay, ReplayError};
