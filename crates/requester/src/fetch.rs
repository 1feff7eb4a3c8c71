//! Bring results home: download, check against the ledger's digest, unpack, and write a receipt for each task.
//!
//! The folder of a job's results:
//!
//! ```text
//! job.json                        what the job is, what came of each task, the fingerprint of all results
//! 000000/ 000001/ ...             the files of each item, or without items of each task
//! reduce/                         the files of the last step
//! receipts/task-000000.json       the receipt of a task; beside it its manifest and, if the app wrote to stderr, its log
//! receipts/reduce.json            the receipt of the last step
//! ```

use futures_util::future::BoxFuture;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use gristmill_datadir::write_atomic;
use gristmill_hub::{Deal, Task};
use gristmill_result::manifest::MANIFEST_BYTES_MAX;
use gristmill_result::pack::{Header, PackError, read_files, read_header};
use gristmill_result::receipt::ReceiptContribution;
use gristmill_result::{Digest, Ending, Receipt, Root};
use gristmill_store::ClientError;
use gristmill_types::{DealId, OrderHash, ResourceLimits, TaskId, TaskStatus};
use serde::{Deserialize, Serialize};

use crate::error::{RequesterError, at, chain};
use crate::job::Job;

/// The summary of a job in its results' folder.
pub const JOB_FILE: &str = "job.json";
/// The folder of the receipts.
pub const RECEIPTS_FOLDER: &str = "receipts";
/// The folder of the last step's files.
pub const REDUCE_FOLDER: &str = "reduce";
/// Where results lie until they are checked.
const SCRATCH_FOLDER: &str = ".unfinished";
/// Domain of the fingerprint of a whole job.
const JOB_ROOT_CONTEXT: &str = "gristmill 2026 job root v1";
/// A pack is in the store later than its task is completed on the ledger: a solo task is opened only then, and the pool needs
/// seconds for a large one. So it is asked for this often, with [`PAUSE`] between: a minute.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(300);
/// Witness, answer, log and lengths of a pack.
const PACK_FRONT_BYTES_MAX: u64 = 1 << 20;

/// Which step of a job a task belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// One of the job's tasks.
    Task,
    /// The last step.
    Reduce,
}

/// What came of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its files are here and are what the ledger settled.
    Delivered,
    /// Completed on the ledger, and its files could not be had.
    NotDelivered,
    /// Failed; its price was refunded.
    Refunded,
    /// Under way.
    Unfinished,
}

/// What came of a task, and where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskDelivery {
    /// Which step.
    pub stage: Stage,
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Its index within its request.
    pub index: u64,
    /// What came of it.
    pub fate: Fate,
    /// Fingerprint of its files.
    pub root: Option<Root>,
    /// Its receipt, relative to the results' folder.
    pub receipt: Option<String>,
    /// What is worth knowing; empty when all is well.
    pub note: String,
}

/// An item, or a task without items, whose app did not end well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedItem {
    /// Which step.
    pub stage: Stage,
    /// The task's index.
    pub task_index: u64,
    /// The item; `None` without items.
    pub item: Option<u64>,
    /// How it ended.
    pub ending: Ending,
    /// The same in words.
    pub text: String,
}

/// What was brought home of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// The job.
    pub job: OrderHash,
    /// The results' folder.
    pub dir: PathBuf,
    /// Fingerprint of the whole job; `None` while anything of it is missing.
    pub root: Option<B256>,
    /// Items delivered, or tasks when there are no items.
    pub items_delivered: u64,
    /// Items and tasks whose app did not end well.
    pub failed_items: Vec<FailedItem>,
    /// Tasks cancelled before they had a pool.
    pub tasks_cancelled: u64,
    /// Task by task.
    pub tasks: Vec<TaskDelivery>,
    /// Whether the last step was asked for and will never be.
    pub reduce_missing: bool,
}

impl Delivery {
    /// Everything asked for is here, and every run of the app ended well.
    pub fn is_success(&self) -> bool {
        self.root.is_some() && self.failed_items.is_empty()
    }

    /// Tasks with this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.tasks.iter().filter(|task| task.fate == fate).count()
    }
}

/// The fingerprint of a whole job: BLAKE3 over the roots of its tasks in the order of their indices, the reduce's last. The
/// same work gives the same fingerprint in every run.
pub fn job_root(roots: &[Root]) -> B256 {
    let mut hasher = blake3::Hasher::new_derive_key(JOB_ROOT_CONTEXT);
    for root in roots {
        hasher.update(root.0.as_slice());
    }
    B256::from(*hasher.finalize().as_bytes())
}

/// Makes sure that results of the job may be put into `dir`: it is absent, empty, or holds results of the same job.
/// `None`: a job that has no id yet. Blocks.
///
/// # Errors
/// [`RequesterError::OutputFolder`], or the folder cannot be read.
pub fn check_output(dir: &Path, job: Option<OrderHash>) -> Result<(), RequesterError> {
    #[derive(Deserialize)]
    struct Owner {
        job: OrderHash,
    }
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("list", dir)(error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let owner = fs::read(dir.join(JOB_FILE)).ok().and_then(|text| serde_json::from_slice::<Owner>(&text).ok());
    match (owner, job) {
        (Some(owner), Some(job)) if owner.job == job => Ok(()),
        _ => Err(RequesterError::OutputFolder { path: dir.to_path_buf() }),
    }
}

/// One task to bring home.
struct Order<'a> {
    stage: Stage,
    deal: &'a Deal,
    index: u64,
    task: &'a Task,
}

impl Job {
    /// Brings the results of all completed tasks to `dir`, each checked against the ledger's digest. May be repeated; what
    /// is there is replaced. `show` is told how many tasks are dealt with, and how many there are.
    ///
    /// # Errors
    /// [`RequesterError::OutputFolder`]; a file cannot be written (the disk is full); the ledger cannot be asked. A result
    /// that cannot be had is no error but [`Fate::NotDelivered`].
    pub async fn fetch(&self, dir: &Path, mut show: impl FnMut(usize, usize)) -> Result<Delivery, RequesterError> {
        check_output(dir, Some(self.id()))?;
        let receipts = dir.join(RECEIPTS_FOLDER);
        fs::create_dir_all(&receipts).map_err(at("make the folder", &receipts))?;
        let mut delivery = Delivery {
            job: self.id(),
            dir: dir.to_path_buf(),
            root: None,
            items_delivered: 0,
            failed_items: Vec::new(),
            tasks_cancelled: self.status().tasks_cancelled,
            tasks: Vec::new(),
            reduce_missing: self.status().reduce.is_some_and(|reduce| reduce.never),
        };
        // From its first file on the folder says whose it is, so that a fetch that was interrupted can be repeated.
        write_summary(&delivery)?;
        let map = self.map.placed().map(|(deal, index, task)| Order { stage: Stage::Task, deal, index, task });
        let reduce = self.reduce.iter().flat_map(|reduce| {
            reduce.placed().map(|(deal, index, task)| Order { stage: Stage::Reduce, deal, index, task })
        });
        let orders: Vec<Order<'_>> = map.chain(reduce).collect();
        for (number, order) in orders.iter().enumerate() {
            show(number, orders.len());
            let brought = self.bring(order, dir, &mut delivery).await;
            let fetched = brought.map(|task| delivery.tasks.push(task));
            if fetched.is_err() {
                let _ = fs::remove_dir_all(dir.join(SCRATCH_FOLDER));
                fetched?;
            }
        }
        show(orders.len(), orders.len());
        let _ = fs::remove_dir_all(dir.join(SCRATCH_FOLDER));
        delivery.root = self.root_of(&delivery);
        write_summary(&delivery)?;
        Ok(delivery)
    }

    fn root_of(&self, delivery: &Delivery) -> Option<B256> {
        let roots: Option<Vec<Root>> = delivery.tasks.iter().map(|task| task.root).collect();
        let all_tasks = self.map.tasks.len() as u64 == self.map.volume;
        let all_reduces = self.reduce.as_ref().is_none_or(|reduce| !reduce.tasks.is_empty());
        roots.filter(|_| all_tasks && all_reduces).map(|roots| job_root(&roots))
    }

    /// Brings one task home.
    fn bring<'a>(
        &'a self,
        order: &'a Order<'a>,
        dir: &'a Path,
        delivery: &'a mut Delivery,
    ) -> BoxFuture<'a, Result<TaskDelivery, RequesterError>> {
        Box::pin(async move {
            let Order { stage, deal, index, task } = *order;
            let mut outcome = TaskDelivery {
                stage,
                task: task.id,
                deal: deal.id,
                index,
                fate: Fate::Unfinished,
                root: None,
                receipt: None,
                note: String::new(),
            };
            match task.status {
                TaskStatus::Completed => {}
                TaskStatus::Failed => {
                    outcome.fate = Fate::Refunded;
                    outcome.note = "no result in time: its price was refunded".to_owned();
                    return Ok(outcome);
                }
                _ => return Ok(outcome),
            }
            let scratch = dir.join(SCRATCH_FOLDER);
            let header = match self.download(task, &scratch).await? {
                Ok(header) => header,
                Err(why) => {
                    outcome.fate = Fate::NotDelivered;
                    outcome.note = why;
                    return Ok(outcome);
                }
            };
            let folder = place(&header, order, &scratch, dir)?;
            let name = name_of(stage, index);
            self.write_receipt(order, &header, &folder, &dir.join(RECEIPTS_FOLDER), &name).await?;
            delivery.items_delivered += header.manifest.parts().len() as u64;
            for part in header.manifest.parts().iter().filter(|part| !part.ending.is_success()) {
                let (item, ending) = (part.item, part.ending);
                delivery.failed_items.push(FailedItem {
                    stage,
                    task_index: index,
                    item,
                    ending,
                    text: text_of(ending),
                });
            }
            outcome.fate = Fate::Delivered;
            outcome.root = Some(header.commitment.root);
            outcome.receipt = Some(format!("{RECEIPTS_FOLDER}/{name}.json"));
            Ok(outcome)
        })
    }

    /// Downloads, checks and unpacks a result below `scratch`. The inner error: it cannot be had, and why.
    async fn download(&self, task: &Task, scratch: &Path) -> Result<Result<Header, String>, RequesterError> {
        let Some(content) = task.results_pack() else {
            return Ok(Err("the ledger does not say where its result is: it cannot be fetched".to_owned()));
        };
        let _ = fs::remove_dir_all(scratch);
        fs::create_dir_all(scratch).map_err(at("make the folder", scratch))?;
        let pack = scratch.join("pack");
        let max = pack_bytes_max(task.work_clock_s);
        for attempt in 1.. {
            match self.network.store.get_file(content, &pack, max).await {
                Ok(_) => break,
                Err(ClientError::NotFound { .. }) if attempt < PATIENCE => tokio::time::sleep(PAUSE).await,
                // Of our own disk, not of the store.
                Err(error @ ClientError::File { .. }) => return Err(error.into()),
                Err(error) => return Ok(Err(chain(&error))),
            }
        }
        let (digest, index, tree) = (Digest(task.digest), task.index, scratch.join("tree"));
        let unpacked = tokio::task::spawn_blocking(move || unpack(&pack, digest, &tree)).await;
        match unpacked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(header) => Ok(Ok(header)),
            Err(PackError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => {
                Err(RequesterError::Pack { index, source: PackError::Io(source) })
            }
            Err(error) => Ok(Err(format!("what the store has is not the accepted result: {}", chain(&error)))),
        }
    }

    /// Brings the packed result of the job's first task to the new file `pack`, checked against the ledger's digest, which is returned.
    /// The inner error: it cannot be had, and why.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn fetch_pack(&self, pack: &Path) -> Result<Result<Digest, String>, RequesterError> {
        let completed = self.map.tasks.first().filter(|task| task.status == TaskStatus::Completed);
        let Some(task) = completed else { return Ok(Err("it has no completed task".to_owned())) };
        let mut scratch = pack.as_os_str().to_owned();
        scratch.push(SCRATCH_FOLDER);
        let scratch = PathBuf::from(scratch);
        let brought = match self.download(task, &scratch).await {
            Ok(Ok(_)) => {
                fs::rename(scratch.join("pack"), pack).map_err(at("write", pack)).map(|()| Ok(Digest(task.digest)))
            }
            Ok(Err(why)) => Ok(Err(why)),
            Err(error) => Err(error),
        };
        let _ = fs::remove_dir_all(&scratch);
        brought
    }

    async fn write_receipt(
        &self,
        order: &Order<'_>,
        header: &Header,
        folder: &str,
        receipts: &Path,
        name: &str,
    ) -> Result<(), RequesterError> {
        let Order { deal, index, task, .. } = *order;
        let hub = &self.network.hub;
        let votes: Vec<_> = task.contributors.iter().map(|worker| (task.id, *worker)).collect();
        let votes = task.contributors.iter().zip(hub.view_contributions(&votes).await?);
        let contributions = votes.map(|(worker, vote)| ReceiptContribution {
            worker: *worker,
            result_hash: vote.result_hash,
            accepted: vote.result_hash == task.consensus,
        });
        let request = match (order.stage, &self.reduce) {
            (Stage::Reduce, Some(reduce)) => reduce.hash,
            _ => self.id(),
        };
        let receipt = Receipt {
            version: 1,
            chain_id: hub.chain_id(),
            hub: hub.hub,
            request,
            deal: deal.id,
            task: task.id,
            index,
            status: task.status,
            digest: Digest(task.digest),
            root: header.commitment.root,
            witness: header.commitment.witness,
            answer: header.commitment.answer.clone(),
            trust: deal.trust.value(),
            paid: deal.price().unwrap_or_default(),
            contributions: contributions.collect(),
            folder: folder.to_owned(),
        };
        write_json(&receipts.join(format!("{name}.manifest.json")), &header.manifest)?;
        if !header.log.is_empty() {
            let path = receipts.join(format!("{name}.log"));
            fs::write(&path, &header.log).map_err(at("write", &path))?;
        }
        write_json(&receipts.join(format!("{name}.json")), &receipt)
    }
}

/// The most bytes that a pack of a task with this work clock can have.
pub(crate) fn pack_bytes_max(work_clock_s: u64) -> u64 {
    ResourceLimits::of_work_clock(work_clock_s).output_bytes + MANIFEST_BYTES_MAX as u64 + PACK_FRONT_BYTES_MAX
}

/// The name of a task's receipt, without an ending.
fn name_of(stage: Stage, index: u64) -> String {
    match stage {
        Stage::Task => format!("task-{index:06}"),
        Stage::Reduce => REDUCE_FOLDER.to_owned(),
    }
}

/// Unpacks the result at `pack` into the new folder `tree`, checked. Blocks.
pub(crate) fn unpack(pack: &Path, digest: Digest, tree: &Path) -> Result<Header, PackError> {
    let mut source = BufReader::new(File::open(pack)?);
    let header = read_header(&mut source, Some(digest))?;
    for part in header.manifest.parts() {
        fs::create_dir_all(tree.join(part.folder()))?;
    }
    read_files(&header, &mut source, |path| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap_or(tree))?;
        File::create_new(path)
    })?;
    Ok(header)
}

/// Moves the unpacked files of a task to their place, and returns the folder of its files relative to its receipt.
fn place(header: &Header, order: &Order<'_>, scratch: &Path, dir: &Path) -> Result<String, RequesterError> {
    let tree = scratch.join("tree");
    let has_items = header.manifest.parts().iter().any(|part| part.item.is_some());
    if order.stage == Stage::Task && has_items {
        for part in header.manifest.parts() {
            let folder = part.folder();
            replace(&tree.join(&folder), &dir.join(folder.trim_end_matches('/')))?;
        }
        return Ok("..".to_owned());
    }
    let name = match order.stage {
        Stage::Task => format!("{:06}", order.index),
        Stage::Reduce => REDUCE_FOLDER.to_owned(),
    };
    replace(&tree, &dir.join(&name))?;
    Ok(format!("../{name}"))
}

/// Puts the folder `from` where `to` is. The results' folder is ours (see [`check_output`]), so what an earlier fetch left
/// there makes room.
fn replace(from: &Path, to: &Path) -> Result<(), RequesterError> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("replace", to)(error)),
        _ => fs::rename(from, to).map_err(at("write", to)),
    }
}

fn write_summary(delivery: &Delivery) -> Result<(), RequesterError> {
    write_json(&delivery.dir.join(JOB_FILE), delivery)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RequesterError> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own records are always JSON");
    text.push(b'\n');
    write_atomic(path, &text, 0o644).map_err(|error| at("write", path)(error.source))
}

/// How it ended, and what would help.
fn text_of(ending: Ending) -> String {
    match ending {
        Ending::OutOfFuel => format!("{ending}; run it again with a larger size (--category)"),
        _ => ending.to_string(),
    }
}

#[cfg(test)]
mod tests;
