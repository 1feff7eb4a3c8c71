//! Ask for work and get it back: everything a requester does.
//!
//! - [`Network::find`]: where the ledger, the store and the pools are.
//! - [`Requester`]: a network and a key: [`Requester::prepare`] reads and checks a [`JobRequest`], [`Requester::quote`]
//!   prices it ([`Requester::price`] packs its items by what the pool has measured first), [`Requester::submit`] puts it on the ledger.
//! - [`Job`]: a job by its id, re-derived from the ledger alone: progress, waiting, [`Job::fetch`] with verification
//!   against the ledger's digests, [`Requester::cancel`], [`Job::explain`].
//! - [`verify_receipt`] and [`verify_task`]: check files against the ledger again, later.
//!
//! A job is known by the hash of its map's request order. Nothing about it is kept on this machine but the outbox of the
//! key, so any machine with the same network can follow it.
//!
//! ```no_run
//! use std::time::Duration;
//! use gristmill_requester::{AppSource, Job, JobRequest, Network, Place, Requester, RequesterError, default_data_dir};
//!
//! # async fn example() -> Result<(), RequesterError> {
//! let network = Network::find(&Place::DataDir(default_data_dir()?)).await?;
//! let requester = Requester::new(network.clone(), &network.wallet_file(None)?)?;
//! let prepared = requester.prepare(&JobRequest::new(AppSource::parse("hello.wasm"))).await?;
//! let quote = requester.quote(&prepared).await?;
//! let id = requester.submit(&prepared, &quote).await?;
//! let mut job = Job::open(&network, id).await?;
//! job.wait(Duration::from_millis(200), |status| println!("{}", status.state)).await?;
//! println!("{:?}", job.fetch("results".as_ref(), |_, _| {}).await?.root);
//! # Ok(())
//! # }
//! ```

mod account;
pub mod catalog;
mod detail;
mod error;
mod explain;
mod fetch;
mod find;
mod index;
pub mod inputs;
pub mod items;
mod job;
mod local_app;
mod module;
mod offers;
pub mod packing;
mod pool;
mod prepare;
mod quote;
mod request;
mod sender;
mod submit;
mod verify;

pub use account::{AccountView, Closed};
pub use detail::{ContributionDetail, DealDetail, DealTask, SIMULATED_ENCLAVE, TaskDetail, TaskLogs};
pub use error::{RequesterError, chain};
pub use explain::{Explanation, Source};
pub use fetch::{
    Delivery, FailedItem, Fate, JOB_FILE, RECEIPTS_FOLDER, REDUCE_FOLDER, Stage, TaskDelivery, check_output, job_root,
};
pub use find::{ADDRESS_FILE, Network, Place, default_data_dir, default_wallet_file, load_wallet};
pub use gristmill_scheduler::rank::Favor;
pub use index::{DealRecord, JobIndex, RequestRecord};
pub use inputs::InputError;
pub use job::{Job, JobState, JobStatus, ReduceStatus, TaskView, task_word};
pub use local_app::LocalApp;
pub use module::{NotAModule, check_module};
pub use pool::{PoolChoice, PoolLink};
pub use prepare::{Prepared, PreparedReduce};
pub use quote::{PoolView, Quote, QuoteLine};
pub use request::{AppSource, CATEGORY_DEFAULT, CompareRequest, JobRequest, ReduceRequest, TASKS_MAX};
pub use sender::{Notice, Requester};
pub use verify::{Verification, verify_receipt, verify_task};
