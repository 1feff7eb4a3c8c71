//! Say what a job is to be.

use std::path::{Path, PathBuf};

use gristmill_scheduler::rank::Favor;
use gristmill_types::code::is_pinned_reference;
use gristmill_types::{Address, Amount, Needs, Reach, Trust};

use crate::pool::PoolChoice;

/// Tasks that one job may have.
pub const TASKS_MAX: u64 = 100_000;
/// The size class of a job unless told otherwise.
pub const CATEGORY_DEFAULT: &str = "XS";

/// Which app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppSource {
    /// A module or an image of the user's.
    File(PathBuf),
    /// An image of a registry, by its digest: `registry/name@sha256:...`.
    Image(String),
    /// A registered app that is offered under this name.
    Named(String),
    /// A registered app.
    Address(Address),
}

impl AppSource {
    /// Reads what a user wrote: `0x` and 40 digits is an address; `registry/name@sha256:...` is an image; a text with a `/` or a
    /// `.`, or the name of an existing file, is a file; anything else is a name.
    pub fn parse(text: &str) -> Self {
        match text.parse::<Address>() {
            Ok(address) if text.starts_with("0x") => Self::Address(address),
            _ if is_pinned_reference(text) => Self::Image(text.to_owned()),
            _ if text.contains(['/', '.']) || Path::new(text).is_file() => Self::File(PathBuf::from(text)),
            _ => Self::Named(text.to_owned()),
        }
    }
}

/// The last step of a job: one more task that gets all results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceRequest {
    /// Its app.
    pub app: AppSource,
    /// Its arguments.
    pub args: Vec<String>,
    /// What makes the canonical form of what it leaves: see [`JobRequest::compare`].
    pub compare: Option<CompareRequest>,
}

/// A module that makes the canonical form of an app's outputs, for an app of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareRequest {
    /// Its file.
    pub module: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a requester wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// Which app.
    pub app: AppSource,
    /// Its arguments.
    pub args: Vec<String>,
    /// What makes the canonical form of what it leaves, which is compared and delivered. Only for an app of the user's own: a
    /// registered one says itself what it needs.
    pub compare: Option<CompareRequest>,
    /// Files that every task gets.
    pub inputs: Vec<PathBuf>,
    /// A folder whose files, or a file whose lines, are the items.
    pub items: Option<PathBuf>,
    /// Tasks; by default 1, or with items [`crate::items::default_tasks`].
    pub tasks: Option<u64>,
    /// The last step.
    pub reduce: Option<ReduceRequest>,
    /// Which hosts must agree on what a module computes, the reduce's too.
    pub reach: Reach,
    /// How sure the results must be.
    pub trust: Trust,
    /// What a task needs of a machine besides a processor; the reduce needs nothing.
    pub needs: Needs,
    /// What machines must be like: a ClassAd expression over their attributes. The reduce may run anywhere.
    pub require: Option<String>,
    /// Which of them are better: an expression of a number.
    pub prefer: Option<String>,
    /// What counts among those that are as good.
    pub favor: Option<Favor>,
    /// The size class by name or number; [`CATEGORY_DEFAULT`] by default.
    pub category: Option<String>,
    /// What the whole job may cost, the reduce included.
    pub max_price: Option<Amount>,
    /// A dataset by name or address.
    pub dataset: Option<String>,
    /// The only pool that may do it.
    pub pool: Option<PoolChoice>,
    /// Whether missing deposit may be taken from the wallet's tokens.
    pub may_deposit: bool,
}

impl JobRequest {
    /// One task of `app` at the default confidence, without anything else.
    pub fn new(app: AppSource) -> Self {
        Self {
            app,
            args: Vec::new(),
            compare: None,
            inputs: Vec::new(),
            items: None,
            tasks: None,
            reduce: None,
            reach: Reach::default(),
            trust: Trust::default(),
            needs: Needs::NONE,
            require: None,
            prefer: None,
            favor: None,
            category: None,
            max_price: None,
            dataset: None,
            pool: None,
            may_deposit: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_a_file_an_address_or_a_name() {
        let address = "0x00000000000000000000000000000000000000aa";
        assert_eq!(AppSource::parse(address), AppSource::Address(address.parse().unwrap()));
        assert_eq!(AppSource::parse("efast"), AppSource::Named("efast".into()));
        for text in ["app.wasm", "./app", "/usr/bin/true"] {
            assert_eq!(AppSource::parse(text), AppSource::File(text.into()));
        }
    }
}
