//! Read and check everything a job starts from, before anything is sent or spent.

use futures_util::future::BoxFuture;
use std::path::Path;

use alloy_primitives::{B256, U256};
use gristmill_classad::Expr;
use gristmill_hub::{DatasetInfo, OpenOrder, OrderBook};
use gristmill_types::params::join_args;
use gristmill_types::{Address, Amount, Category, DatasetOrder, JobParams, Needs, OrderHash, Reach, Trust};

use crate::catalog::{self, AppChoice};
use crate::error::RequesterError;
use crate::inputs::{LocalFile, read_inputs};
use crate::items::{PackedItems, pack_anew, pack_items, read_items};
use crate::local_app::{self, LocalApp};
use crate::offers::Fit;
use crate::pool::{PoolChoice, PoolLink};
use crate::request::{AppSource, CATEGORY_DEFAULT, CompareRequest, JobRequest, TASKS_MAX};
use crate::sender::Requester;

/// The storage that results go to.
const RESULT_STORAGE: &str = "gristmill";

/// A job whose files are read and whose app is known: it can be priced and submitted.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The app.
    pub app: AppChoice,
    /// The dataset and the order that offers it.
    pub dataset: Option<(DatasetInfo, OpenOrder<DatasetOrder>)>,
    /// The last step.
    pub reduce: Option<PreparedReduce>,
    /// The size class.
    pub category: Category,
    /// How sure the results must be.
    pub trust: Trust,
    /// What a task of the map needs besides a processor.
    pub needs: Needs,
    /// Tasks, without the reduce.
    pub tasks: u64,
    /// The items.
    pub items: Option<PackedItems>,
    /// Whether the user said how many tasks there are to be.
    pub tasks_given: bool,
    /// Files that every task gets.
    pub inputs: Vec<LocalFile>,
    /// What the map's request carries.
    pub params: JobParams,
    /// What the whole job may cost.
    pub max_price: Option<Amount>,
    /// The only pool that may do it.
    pub pool: Option<Address>,
    /// A connection to that pool, when it was named by its URL.
    pub pool_link: Option<PoolLink>,
    /// Whether missing deposit may be taken from the wallet's tokens.
    pub may_deposit: bool,
    /// What makes equal jobs different; `None`: chance. Who writes it down first finds the job by it on the ledger, whatever crashes.
    pub salt: Option<B256>,
}

/// The last step of a prepared job.
#[derive(Clone, Debug)]
pub struct PreparedReduce {
    /// Its app.
    pub app: AppChoice,
    /// Its arguments.
    pub args: Vec<String>,
    /// Which hosts must agree on it.
    pub reach: Reach,
}

impl PreparedReduce {
    /// What its request carries, when `map` is the request whose results it gets.
    pub fn params(&self, map: OrderHash) -> JobParams {
        JobParams {
            iexec_args: join_args(&self.args),
            iexec_result_storage_provider: Some(RESULT_STORAGE.to_owned()),
            gristmill_after: Some(map),
            gristmill_engine: self.reach,
            ..JobParams::default()
        }
    }
}

impl Prepared {
    /// The same job with its items in another number of tasks. Blocks.
    pub(crate) fn in_tasks(self, tasks: u64) -> Result<Self, RequesterError> {
        let Some(items) = &self.items else { return Ok(self) };
        let items = pack_anew(items, tasks)?;
        let tasks = items.packs.len() as u64;
        if tasks > TASKS_MAX {
            return Err(RequesterError::TooManyTasks { got: tasks, max: TASKS_MAX });
        }
        let params = JobParams { gristmill_items: Some(items.index_id), ..self.params };
        Ok(Self { params, tasks, items: Some(items), ..self })
    }

    /// What the offers of pools have to go with, for the map.
    pub fn fit(&self, requester: Address) -> Fit<'_> {
        Fit {
            app: self.app.address,
            app_order: self.app.order.as_ref().map(|open| &open.signed.order),
            dataset_order: self.dataset.as_ref().map(|(_, open)| &open.signed.order),
            requester,
            tag: self.needs.tag(),
            pool: self.pool,
            max_price: U256::MAX,
        }
    }

    /// The same for the reduce; the map's when there is none.
    pub fn reduce_fit(&self, requester: Address) -> Fit<'_> {
        let fit = self.fit(requester);
        let Some(reduce) = &self.reduce else { return fit };
        let app_order = reduce.app.order.as_ref().map(|open| &open.signed.order);
        Fit { app: reduce.app.address, app_order, dataset_order: None, tag: B256::ZERO, ..fit }
    }
}

/// What the user's own files hold.
struct Files {
    app: Option<LocalApp>,
    reduce: Option<LocalApp>,
    inputs: Vec<LocalFile>,
    items: Option<PackedItems>,
}

impl Requester {
    /// Reads and checks everything that `request` names. Nothing is sent, nothing is spent.
    ///
    /// # Errors
    /// [`RequesterError`]: a file that is missing, empty, no module, or changes while it is read; an app, dataset, size or
    /// pool that is not there.
    pub fn prepare<'a>(&'a self, request: &'a JobRequest) -> BoxFuture<'a, Result<Prepared, RequesterError>> {
        Box::pin(async move {
            let files = {
                let request = request.clone();
                let read = tokio::task::spawn_blocking(move || read_files(&request)).await;
                read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?
            };
            let tasks = match &files.items {
                Some(items) => items.packs.len() as u64,
                None => request.tasks.unwrap_or(1),
            };
            if tasks > TASKS_MAX {
                return Err(RequesterError::TooManyTasks { got: tasks, max: TASKS_MAX });
            }
            let params = JobParams {
                iexec_args: join_args(&request.args),
                iexec_input_files: files.inputs.iter().map(LocalFile::input).collect(),
                iexec_result_storage_provider: Some(RESULT_STORAGE.to_owned()),
                gristmill_require: expression("require", request.require.as_deref())?,
                gristmill_prefer: expression("prefer", request.prefer.as_deref())?,
                gristmill_favor: request.favor.map(|favor| favor.to_string()).unwrap_or_default(),
                gristmill_items: files.items.as_ref().map(|items| items.index_id),
                gristmill_engine: request.reach,
                ..JobParams::default()
            };
            params.encode()?;
            let (pool, pool_link) = self.chosen_pool(request.pool.as_ref()).await?;
            let hub = &self.network.hub;
            let mut book = OrderBook::new(hub.clone());
            book.refresh().await?;
            let app = self.choose_app(&book, &request.app, files.app).await?;
            let reduce = match &request.reduce {
                None => None,
                Some(reduce) => {
                    let app = self.choose_app(&book, &reduce.app, files.reduce).await?;
                    let reduce = PreparedReduce { app, args: reduce.args.clone(), reach: request.reach };
                    reduce.params(OrderHash::default()).encode()?;
                    Some(reduce)
                }
            };
            let dataset = match &request.dataset {
                None => None,
                Some(text) => Some(catalog::dataset(hub, &book, text).await?),
            };
            Ok(Prepared {
                app,
                dataset,
                reduce,
                category: self.category(request.category.as_deref()).await?,
                trust: request.trust,
                needs: request.needs,
                tasks,
                items: files.items,
                tasks_given: request.tasks.is_some(),
                inputs: files.inputs,
                params,
                max_price: request.max_price,
                pool,
                pool_link,
                may_deposit: request.may_deposit,
                salt: None,
            })
        })
    }

    async fn choose_app(
        &self,
        book: &OrderBook,
        source: &AppSource,
        ours: Option<LocalApp>,
    ) -> Result<AppChoice, RequesterError> {
        let hub = &self.network.hub;
        match (source, ours) {
            (_, Some(app)) => catalog::app_of_ours(hub, book, self.address(), app).await,
            (AppSource::Address(address), None) => catalog::app_at(hub, book, *address).await,
            (AppSource::Named(name), None) => catalog::app_named(hub, book, name).await,
            (AppSource::File(path), None) => catalog::app_named(hub, book, &path.to_string_lossy()).await,
            (AppSource::Image(reference), None) => catalog::app_named(hub, book, reference).await,
        }
    }

    async fn chosen_pool(
        &self,
        choice: Option<&PoolChoice>,
    ) -> Result<(Option<Address>, Option<PoolLink>), RequesterError> {
        match choice {
            None => Ok((None, None)),
            Some(PoolChoice::Url(url)) => {
                let link = PoolLink::dial(url).await?;
                Ok((Some(link.workerpool), Some(link)))
            }
            Some(PoolChoice::Address(address)) => {
                let known = self.network.hub.view_workerpool(*address).await?;
                known.ok_or(RequesterError::NoAsset { kind: "pool", address: *address })?;
                Ok((Some(*address), None))
            }
        }
    }

    /// The size class of this name or number.
    ///
    /// # Errors
    /// [`RequesterError::UnknownCategory`] naming those there are.
    pub fn category<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, Result<Category, RequesterError>> {
        Box::pin(async move {
            let all = self.network.hub.view_categories().await?;
            let name = name.unwrap_or(CATEGORY_DEFAULT);
            let found = all.iter().find(|category| category.name.eq_ignore_ascii_case(name));
            let found =
                found.or_else(|| name.parse::<u64>().ok().and_then(|id| all.iter().find(|category| category.id == id)));
            found.cloned().ok_or_else(|| RequesterError::UnknownCategory {
                name: name.chars().take(80).collect(),
                known: all.iter().map(|category| category.name.as_str()).collect::<Vec<_>>().join(", "),
            })
        })
    }
}

/// A wish as it was written, if it can be read.
fn expression(option: &'static str, text: Option<&str>) -> Result<String, RequesterError> {
    let text = text.unwrap_or_default().trim();
    if !text.is_empty() {
        Expr::parse(text).map_err(|source| RequesterError::Expression { option, source })?;
    }
    Ok(text.to_owned())
}

fn read_files(request: &JobRequest) -> Result<Files, RequesterError> {
    let app = own_app(&request.app, request.compare.as_ref())?;
    let reduce = match &request.reduce {
        Some(reduce) => own_app(&reduce.app, reduce.compare.as_ref())?,
        None => None,
    };
    let items = match &request.items {
        None => None,
        Some(path) => Some(packed(path, request.tasks)?),
    };
    let inputs = read_inputs(&request.inputs, items.is_some())?;
    Ok(Files { app, reduce, inputs, items })
}

fn own_app(source: &AppSource, compare: Option<&CompareRequest>) -> Result<Option<LocalApp>, RequesterError> {
    let app = local_app::read(source, compare)?;
    if app.is_none() && compare.is_some() {
        return Err(RequesterError::CompareOfRegistered);
    }
    Ok(app)
}

fn packed(path: &Path, tasks: Option<u64>) -> Result<PackedItems, RequesterError> {
    let items = read_items(path)?;
    Ok(pack_items(path, &items, tasks)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_refused_before_anything_else_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("app.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(path("native"), b"\x7fELF\x02\x01\x01\0\0").unwrap();
        std::fs::write(path("empty.wasm"), b"").unwrap();
        let good = JobRequest::new(AppSource::File(path("app.wasm")));
        assert!(read_files(&good).is_ok());
        let cases: [(JobRequest, &str); 5] = [
            (JobRequest::new(AppSource::File(path("native"))), "native Linux program"),
            (JobRequest::new(AppSource::File(path("empty.wasm"))), "it is empty"),
            (JobRequest::new(AppSource::File(path("absent.wasm"))), "does not exist"),
            (JobRequest { inputs: vec![path("absent")], ..good.clone() }, "does not exist"),
            (JobRequest { inputs: vec![path("empty.wasm")], ..good.clone() }, "is empty"),
        ];
        for (request, expected) in cases {
            let error = read_files(&request).err().expect("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_reduce_names_its_map_and_nothing_else() {
        let app = AppChoice {
            address: Address::ZERO,
            name: "r".into(),
            code: gristmill_types::AppCode::wasm(gristmill_types::ContentId([0; 32])),
            order: None,
            files: vec![],
            new: None,
        };
        let reduce = PreparedReduce { app, args: vec!["two words".into()], reach: Reach::SameArchitecture };
        let map = OrderHash(alloy_primitives::B256::repeat_byte(5));
        let params = reduce.params(map);
        assert_eq!(JobParams::parse(&params.encode().unwrap()).unwrap(), params);
        assert_eq!((params.gristmill_after, params.iexec_args.as_str()), (Some(map), "'two words'"));
    }
}
