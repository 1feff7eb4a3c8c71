//! Decide how much to believe: how many replicas a task needs, who may compute them, who is checked, and who is out.
//!
//! A pure core: events go in, answers come out; there is no clock, socket, file, thread or randomness but what follows from a secret
//! [`Seed`]. The same events give the same state, bit for bit, on all machines: numbers are f64 with `+ - * /` and comparisons alone,
//! in a fixed order, and ordered maps.
//!
//! - [`Credibility`]: the machine. [`Event`]: what it is told. [`Policy`]: what it assumes and asks.
//! - [`Credibility::wants`] and [`Credibility::may`]: what a task lacks, and whether a worker may give it.
//! - [`Credibility::verdict`]: whether an answer may be accepted. [`Credibility::credibility`]: what a worker's word is worth.
//! - [`Memory`]: what is kept of workers across restarts. [`Snapshot`]: all that is remembered. [`formula`]: Sarmenta's formulas. [`adaptive`]: BOINC's rule, for comparison.
//!
//! **How a scheduler asks.** It leases to whom [`Credibility::may`] allows, the smallest [`Credibility::order`] first, and reports each
//! lease. A sealed upload is an answer: reported at once, and held back until [`Credibility::verdict`] accepts one hash; only then
//! are its holders authorised to contribute, and only as many as the hub's rule wants. So nobody sees on the ledger that others
//! compute the same task, which would tell it that it is checked. Nothing here keeps time: a lease that ran out is reported as
//! withheld.
//!
//! What never happens: an answer accepted whose probability of being wrong, as far as the assumed fraction of saboteurs is right,
//! may exceed what was paid for; on a public pool, two replicas of one task at workers that share owner, range of addresses or stake;
//! a lease for who is blacklisted; a check by a task whose result is public.
//!
//! ```
//! use alloy_primitives::{Address, B256};
//! use gristmill_credibility::{AddressRange, Credibility, Event, Origin, Policy, Role, Seed, TaskSpec, Verdict};
//! use gristmill_types::{TaskId, Trust};
//!
//! let mut pool = Credibility::new(Policy::default(), Seed([7; 32]))?;
//! let task = TaskId(B256::repeat_byte(1));
//! let spec = TaskSpec { task, trust: Trust::new(10), requester: Address::ZERO, by_hub: false };
//! pool.observe(Event::TaskOpened(spec))?;
//! for number in 1..=2 {
//!     let (worker, account) = (Address::repeat_byte(number), Address::repeat_byte(0x10 + number));
//!     let origin = Origin { owner: account, stake_source: account, range: AddressRange::V4([10, 0, number]) };
//!     pool.observe(Event::WorkerJoined { worker, origin, score: 0 })?;
//!     assert_eq!(pool.verdict(task), Verdict::Open);
//!     assert_eq!(pool.may(worker, task), Ok(Role::Vote));
//!     pool.observe(Event::Leased { task, worker })?;
//!     pool.observe(Event::Answered { task, worker, hash: B256::repeat_byte(9) })?;
//! }
//! // One of five may be a saboteur: both are with a probability of 1 : 1 + 16, which is less than a tenth.
//! assert!(matches!(pool.verdict(task), Verdict::Accept { doubt, .. } if doubt < 0.1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod belief;
mod credibility;
mod event;
mod origin;
mod policy;
mod seed;
mod task;
mod tasks;
mod worker;

pub mod adaptive;
pub mod formula;

pub use credibility::{Credibility, Memory, Snapshot};
pub use event::{Cause, Changes, Event, ObserveError, Refusal, Role, Stance, TaskSpec, Verdict, Wants};
pub use origin::{AddressRange, Origin, Shared};
pub use policy::{Policy, PolicyError, SABOTEURS_MAX};
pub use seed::Seed;
