//! Run one task: lay out its inputs, run the app, produce the sealed result.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use gristmill_result::items::{ITEMS_PACK_BYTES_MAX, Item, ItemsError, decode_items};
use gristmill_result::pack::{PackError, read_files, read_header};
use gristmill_sandbox::{
    Control, EngineProfile, Execution, Finished, HostFault, Input, ItemRun, LOG_BYTES_MAX, Left, Outcome, RunOptions,
    RunReport, SMALL_FILE_BYTES_MAX, SmallFile,
};
use gristmill_types::{ContentId, Needs, Program};

use crate::fetch::{FetchError, Fetcher};
use crate::gate::{thawed, wait_thawed};
use crate::plan::{Plan, ResultInput};
use crate::produce::{ProduceError, Produced, Run, RunFiles, produce};
use crate::runners::{ImagePlace, RunError, Runners};

/// A task may run so many T of wall clock; past it this host is too slow for it.
const WALL_CLOCK_RATIO: u32 = 6;
/// The shortest wall clock, whatever T.
const WALL_CLOCK_MIN: Duration = Duration::from_secs(10);
/// Where the canonical forms lie, beside the runs' own folders, which have numbers.
const CANONICAL: &str = "canonical";
/// Bytes of a task's items that are kept in memory; the others are put on the disk.
const ITEMS_IN_MEMORY_BYTES_MAX: usize = 8 << 20;
/// The input file that is a run's item.
const ITEM_FILE: &str = "item";
const SEED_CONTEXT: &str = "gristmill 2026 task seed v1";

/// How far a task is; shared with whoever reports it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Items that have ended.
    pub done: AtomicU64,
    /// Items in all; 1 without items, 0 before it is known.
    pub total: AtomicU64,
    /// What the sandbox could not promise on this host; known once the app has run.
    pub missing_guarantees: OnceLock<Vec<String>>,
    /// What a module's runs used; known once the app has run.
    pub used: OnceLock<Used>,
    /// How long the app ran, all items together, pauses included; known once it has run.
    pub ran: OnceLock<Duration>,
}

/// What the runs of a task used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// The app.
    pub app: ContentId,
    /// Fuel, of all runs.
    pub fuel: u64,
    /// Wall clock, pauses included.
    pub time: Duration,
}

/// What an attempt works with.
#[derive(Debug)]
pub struct Means<'a> {
    /// Fetches app and inputs.
    pub fetcher: &'a Fetcher,
    /// Run the app.
    pub runners: Runners,
    /// Stops it.
    pub cancel: Control,
    /// Told how far it is.
    pub progress: Arc<Progress>,
}

/// Why a task brought no result here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The app could not be fetched.
    #[error("the app cannot be fetched")]
    App(#[source] FetchError),
    /// An input could not be fetched.
    #[error("an input cannot be fetched")]
    Input(#[source] FetchError),
    /// The items' pack is not what its index says.
    #[error(transparent)]
    Items(#[from] ItemsError),
    /// Another task's result is not what the ledger settled.
    #[error("the result of task {index}, an input, is refused")]
    Result {
        /// The task's index.
        index: u64,
        /// Why.
        #[source]
        source: PackError,
    },
    /// This host cannot read or write what it must.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The sandbox did not begin.
    #[error(transparent)]
    Run(RunError),
    /// The sandbox did not come to an end that replicas agree on.
    #[error("{0}")]
    Fault(HostFault),
    /// The lease was taken back.
    #[error("the lease was taken back")]
    Cancelled,
    /// The sealed result could not be uploaded.
    #[error("the sealed result cannot be uploaded")]
    Upload(#[source] Box<gristmill_store::ClientError>),
    /// The result could not be put together.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl From<RunError> for AttemptError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Cancelled => Self::Cancelled,
            error => Self::Run(error),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AttemptError {
    let path = path.to_path_buf();
    move |source| AttemptError::Io { path, source }
}

/// Runs `plan` in `folder` (made, and removed again whatever happens); the sealed result is put into `results`.
pub async fn run(
    plan: Plan,
    worker: Address,
    means: Means<'_>,
    folder: PathBuf,
    results: PathBuf,
) -> Result<Produced, AttemptError> {
    let Means { fetcher, runners, cancel, progress } = means;
    progress.total.store(plan.items.as_ref().map_or(1, |items| items.count), Ordering::Relaxed);
    let _cleanup = RemoveOnDrop(folder.clone());
    thawed(&cancel).await;
    let layout = lay_out(&plan, fetcher, &folder).await?;
    let span = tracing::Span::current();
    let blocking = move || span.in_scope(|| execute(&plan, worker, &layout, &runners, (&cancel, &progress), &results));
    match tokio::task::spawn_blocking(blocking).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(AttemptError::Cancelled),
    }
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.0.display(), %error, "a task's folder could not be removed");
        }
    }
}

/// Where the inputs of a task lie on this host.
struct Layout {
    app: PathBuf,
    comparator: Option<PathBuf>,
    inputs: Vec<Input>,
    items: Vec<LaidOut>,
    outputs: PathBuf,
}

/// An item, where its run finds it.
struct LaidOut {
    /// Global.
    index: u64,
    name: String,
    bytes: ItemBytes,
}

/// The bytes of an item.
enum ItemBytes {
    OnDisk(PathBuf),
    InMemory(Vec<u8>),
}

/// True when small files of a task need not be on the disk: a container has no other place for them, nor does a comparator find them
/// elsewhere.
fn keeps_in_memory(plan: &Plan) -> bool {
    matches!(plan.code.program, Program::Wasm(_)) && plan.code.compare.is_none()
}

async fn lay_out(plan: &Plan, fetcher: &Fetcher, folder: &Path) -> Result<Layout, AttemptError> {
    let outputs = folder.join("out");
    // Folders of a task that keeps its files in memory are made when one turns out to be too large.
    if !keeps_in_memory(plan) {
        fs::create_dir_all(&outputs).map_err(at(&outputs))?;
    }
    let app = match plan.code.content() {
        Some(content) => fetcher.file(content).await.map_err(AttemptError::App)?,
        // It comes from a registry, by itself.
        None => PathBuf::new(),
    };
    let comparator = match &plan.code.compare {
        Some(comparator) => Some(fetcher.file(comparator.module).await.map_err(AttemptError::App)?),
        None => None,
    };
    let mut inputs = Vec::new();
    for file in plan.inputs.iter().chain(&plan.dataset) {
        let host = fetcher.file(file.content).await.map_err(AttemptError::Input)?;
        inputs.push(Input { at: file.name.clone(), host });
    }
    let mut items = Vec::new();
    if let Some(task) = &plan.items {
        let bytes = fetcher.passing_bytes(task.pack, task.size, ITEMS_PACK_BYTES_MAX as u64).await;
        let found = decode_items(&bytes.map_err(AttemptError::Input)?, task.count)?;
        let room = keeps_in_memory(plan).then_some(ITEMS_IN_MEMORY_BYTES_MAX);
        items = lay_out_items(found, task.first, &folder.join("items"), room)?;
    }
    if !plan.results.is_empty() {
        let tree = folder.join("results");
        for result in &plan.results {
            let pack = fetcher.file(result.pack).await.map_err(AttemptError::Input)?;
            let (result, tree) = (*result, tree.clone());
            let unpacked = tokio::task::spawn_blocking(move || unpack(&result, &pack, &tree)).await;
            unpacked.map_err(|_| AttemptError::Cancelled)??;
        }
        inputs.push(Input { at: String::new(), host: tree });
    }
    Ok(Layout { app, comparator, inputs, items, outputs })
}

/// Keeps small items in memory, as far as `room` bytes go if there are any, and writes the others below `folder`.
fn lay_out_items(
    items: Vec<Item>,
    first: u64,
    folder: &Path,
    mut room: Option<usize>,
) -> Result<Vec<LaidOut>, AttemptError> {
    let mut is_made = false;
    let place = |(index, Item { name, bytes }): (u64, Item)| {
        let left = room.and_then(|room| room.checked_sub(bytes.len()));
        let bytes = match left.filter(|_| bytes.len() <= SMALL_FILE_BYTES_MAX) {
            Some(left) => {
                room = Some(left);
                ItemBytes::InMemory(bytes)
            }
            None => {
                let path = folder.join(format!("{index:06}"));
                if !is_made {
                    fs::create_dir_all(folder).map_err(at(folder))?;
                    is_made = true;
                }
                fs::write(&path, bytes).map_err(at(&path))?;
                ItemBytes::OnDisk(path)
            }
        };
        Ok(LaidOut { index, name, bytes })
    };
    (first..).zip(items).map(place).collect()
}

/// Unpacks another task's result below `tree`, checked against the ledger's digest: one folder an item, or one for
/// the task when it has no items.
fn unpack(input: &ResultInput, pack: &Path, tree: &Path) -> Result<(), AttemptError> {
    let refused = |source| AttemptError::Result { index: input.index, source };
    let mut source = BufReader::new(File::open(pack).map_err(at(pack))?);
    let header = read_header(&mut source, Some(input.digest)).map_err(refused)?;
    let single = format!("{:06}/", input.index);
    for part in header.manifest.parts() {
        let folder = tree.join(if part.item.is_some() { part.folder() } else { single.clone() });
        fs::create_dir_all(&folder).map_err(at(&folder))?;
    }
    let has_items = header.manifest.parts().iter().any(|part| part.item.is_some());
    read_files(&header, &mut source, |path| {
        let path = if has_items { tree.join(path) } else { tree.join(&single).join(path) };
        fs::create_dir_all(path.parent().unwrap_or(tree))?;
        File::create(path)
    })
    .map_err(refused)
}

fn execute(
    plan: &Plan,
    worker: Address,
    layout: &Layout,
    runners: &Runners,
    (control, progress): (&Control, &Progress),
    results: &Path,
) -> Result<Produced, AttemptError> {
    wait_thawed(control);
    let execution = execution_of(plan, layout);
    let mut count = |_: &RunReport| {
        progress.done.fetch_add(1, Ordering::Relaxed);
    };
    let needs = Needs::of_tag(plan.deal.tag);
    let started = Instant::now();
    // Tasks of one deal run the same app for the same requester: they may share a process.
    let options = RunOptions::new().profile(EngineProfile::reaching(plan.reach)).reuse(*plan.deal_id.as_bytes());
    let mut left = Vec::new();
    let outcome = match &plan.code.program {
        Program::Wasm(_) if keeps_in_memory(plan) => {
            let small = small_files(layout);
            let ran = runners.wasm.run_small(&execution, &options, &small, control, &mut count);
            let (outcome, found) = ran.map_err(RunError::from)?;
            left = found;
            outcome
        }
        Program::Wasm(_) => runners.wasm.run_as(&execution, &options, control, &mut count).map_err(RunError::from)?,
        Program::Archive(_) => {
            runners.run_image(&ImagePlace::Archive(&layout.app), &execution, needs, control, &mut count)?
        }
        Program::Registry(reference) => {
            runners.run_image(&ImagePlace::Registry(reference), &execution, needs, control, &mut count)?
        }
    };
    let Finished { runs: reports, witness, mut log, missing_guarantees } = finished(outcome)?;
    let _ = progress.missing_guarantees.set(missing_guarantees);
    let _ = progress.ran.set(started.elapsed());
    if let Program::Wasm(app) = plan.code.program {
        let fuel = reports.iter().map(|report| report.fuel).sum();
        let _ = progress.used.set(Used { app, fuel, time: started.elapsed() });
    }
    let mut left = left.into_iter();
    let mut runs: Vec<Run> = reports
        .iter()
        .zip(&execution.runs)
        .map(|(report, run)| Run {
            item: plan.items.as_ref().map(|_| report.index),
            ending: report.ending,
            files: match left.next() {
                Some(Left::InMemory(files)) => RunFiles::InMemory(files),
                Some(Left::OnDisk) | None => RunFiles::OnDisk(run.output_dir.clone()),
            },
        })
        .collect();
    if let (Some(comparator), Some(app)) = (&plan.code.compare, &layout.comparator) {
        let module = (app.clone(), comparator.module, comparator.args.clone());
        let folder = layout.outputs.join(CANONICAL);
        let compared = finished(runners.canonical(module, &execution, &folder, control)?)?;
        log.extend_from_slice(&compared.log);
        log.drain(..log.len().saturating_sub(LOG_BYTES_MAX));
        for (run, report) in runs.iter_mut().zip(&compared.runs) {
            run.files = RunFiles::OnDisk(folder.join(format!("{:06}", report.index)));
            // A form that could not be made is no success, however the app ended.
            if run.ending.is_success() {
                run.ending = report.ending;
            }
        }
    }
    Ok(produce(plan.task, worker, &runs, witness, log, results, control)?)
}

/// What each run is handed in memory: its item, if that is not on the disk.
fn small_files(layout: &Layout) -> Vec<Vec<SmallFile>> {
    if layout.items.is_empty() {
        return vec![vec![]];
    }
    let of_item = |item: &LaidOut| match &item.bytes {
        ItemBytes::InMemory(bytes) => vec![SmallFile { path: ITEM_FILE.to_owned(), bytes: bytes.clone() }],
        ItemBytes::OnDisk(_) => vec![],
    };
    layout.items.iter().map(of_item).collect()
}

fn finished(outcome: Outcome) -> Result<Finished, AttemptError> {
    match outcome {
        Outcome::Finished(finished) => Ok(finished),
        Outcome::HostFault(fault) => Err(AttemptError::Fault(fault)),
        Outcome::Cancelled => Err(AttemptError::Cancelled),
    }
}

fn execution_of(plan: &Plan, layout: &Layout) -> Execution {
    let variable = |key: &str, value: String| (key.to_owned(), value);
    let mut env = vec![
        variable("IEXEC_BOT_TASK_INDEX", plan.place.index.to_string()),
        variable("IEXEC_BOT_TASK_SIZE", plan.place.size.to_string()),
        variable("IEXEC_BOT_TASK_FIRST", plan.place.first.to_string()),
        // The names that iExec's own workers set.
        variable("IEXEC_BOT_SIZE", plan.place.size.to_string()),
        variable("IEXEC_BOT_FIRST_INDEX", plan.place.first.to_string()),
        variable("IEXEC_INPUT_FILES_NUMBER", plan.inputs.len().to_string()),
    ];
    for (number, file) in plan.inputs.iter().enumerate() {
        env.push(variable(&format!("IEXEC_INPUT_FILE_NAME_{}", number + 1), file.name.clone()));
    }
    if let Some(dataset) = &plan.dataset {
        env.push(variable("IEXEC_DATASET_FILENAME", dataset.name.clone()));
    }
    let runs = if layout.items.is_empty() {
        let output_dir = layout.outputs.join("task");
        vec![ItemRun { index: plan.place.index, env: vec![], inputs: vec![], output_dir }]
    } else {
        layout
            .items
            .iter()
            .map(|LaidOut { index, name, bytes }| ItemRun {
                index: *index,
                env: vec![
                    variable("GRISTMILL_ITEM_INDEX", index.to_string()),
                    variable("GRISTMILL_ITEM_NAME", name.clone()),
                ],
                inputs: match bytes {
                    ItemBytes::OnDisk(file) => vec![Input { at: ITEM_FILE.to_owned(), host: file.clone() }],
                    ItemBytes::InMemory(_) => vec![],
                },
                output_dir: layout.outputs.join(format!("{index:06}")),
            })
            .collect()
    };
    let wall_clock = Duration::from_secs(plan.work_clock_s).saturating_mul(WALL_CLOCK_RATIO).max(WALL_CLOCK_MIN);
    Execution {
        app: layout.app.clone(),
        app_id: plan.code.content().unwrap_or(ContentId([0; 32])),
        args: plan.args.clone(),
        env,
        seed: seed_of(plan),
        inputs: layout.inputs.clone(),
        runs,
        limits: plan.limits,
        wall_clock,
    }
}

/// The seed of the virtual randomness follows from the work alone, so that replicas agree and a second job of the same
/// work gives the same root.
fn seed_of(plan: &Plan) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(SEED_CONTEXT);
    // A module's id as it stands: what ran before images could be run keeps its seed, and its result.
    match &plan.code.program {
        Program::Wasm(module) => hasher.update(module.as_bytes()),
        _ => hasher.update(plan.code.to_string().as_bytes()),
    };
    hasher.update(&plan.place.index.to_le_bytes());
    for arg in &plan.args {
        hasher.update(&(arg.len() as u64).to_le_bytes());
        hasher.update(arg.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
