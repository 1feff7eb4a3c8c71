//! From a lease to a record: plan, run (or cheat), upload.

use std::io::{self, Cursor};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use gristmill_protocol::wire::{DeclineReason, FailReason};
use gristmill_result::pack::Header;
use gristmill_result::{Ending, FileEntry, Manifest, Part, Witness};
use gristmill_sandbox::{Control, HostFaultKind};
use gristmill_types::{ContentId, DealId, TaskId};

use crate::attempt::{self, AttemptError, Means, Progress};
use crate::conduct::{Conduct, SLOW_START};
use crate::elsewhere::{self, Elsewhere, Errand, NotBrought};
use crate::fetch::{FetchError, Fetcher};
use crate::journal::{Phase, Record};
use crate::ledger_side::LedgerSide;
use crate::plan::{self, Admit, Plan, PlanError, Rejection};
use crate::produce::{ProduceError, Produced, Sealed, seal_pack};
use crate::runners::{RunError, Runners};

/// How long a copier waits for somebody to copy from.
const COPY_PATIENCE: Duration = Duration::from_secs(8);

/// A task to work at.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Which.
    pub task: TaskId,
    /// Of which deal.
    pub deal: DealId,
    /// Its index within the request order.
    pub index: u64,
    /// Under which lease, in hex.
    pub lease: String,
    /// Who works.
    pub worker: Address,
    /// How.
    pub conduct: Conduct,
    /// Where, if not on this machine.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Told how far it is.
    pub progress: Arc<Progress>,
    /// Scratch folder of the attempt; removed at its end.
    pub folder: PathBuf,
    /// Where the sealed result goes.
    pub results: PathBuf,
}

/// A result that is sealed and uploaded.
#[derive(Debug)]
pub struct JobOutcome {
    /// What is to be remembered of it.
    pub record: Record,
}

/// A lease that is not worked at.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub reason: DeclineReason,
    /// Why, for people.
    pub text: String,
}

/// Works at a task, if `admit` agrees.
pub async fn run(
    spec: JobSpec,
    ledger: &LedgerSide,
    fetcher: &Fetcher,
    runners: Runners,
    cancel: Control,
    admit: Admit<'_>,
) -> Result<Result<JobOutcome, AttemptError>, Refused> {
    let plan = match plan::read((&ledger.hub, &ledger.known), fetcher, spec.task, spec.deal, spec.index, admit).await {
        Ok(plan) => plan,
        // Where nothing is run nothing counts as a fault of the task's.
        Err(PlanError::Fetch(error)) if spec.elsewhere.is_some() => {
            return Err(Refused { reason: DeclineReason::Busy, text: chain(&error) });
        }
        Err(PlanError::Fetch(error)) => return Ok(Err(AttemptError::Input(error))),
        Err(error @ PlanError::Hub(_)) => return Err(Refused { reason: DeclineReason::Busy, text: chain(&error) }),
        Err(PlanError::Rejected(rejection)) => {
            let reason = match rejection {
                Rejection::Unwanted(_) | Rejection::NotLent(_) => DeclineReason::Policy,
                Rejection::Reserved => DeclineReason::Busy,
            };
            return Err(Refused { reason, text: rejection.to_string() });
        }
        Err(error) => return Err(Refused { reason: DeclineReason::Invalid, text: chain(&error) }),
    };
    match spec.elsewhere.clone() {
        None => Ok(work(&spec, plan, ledger, fetcher, runners, cancel).await),
        Some(elsewhere) => have_done(&spec, plan, elsewhere, fetcher, &cancel).await,
    }
}

/// Has a task run elsewhere. What keeps it from that gives the lease back and is held against nobody.
async fn have_done(
    spec: &JobSpec,
    plan: Plan,
    elsewhere: Arc<dyn Elsewhere>,
    fetcher: &Fetcher,
    cancel: &Control,
) -> Result<Result<JobOutcome, AttemptError>, Refused> {
    spec.progress.total.store(1, Ordering::Relaxed);
    let (folder, results) = (spec.folder.clone(), spec.results.clone());
    let brought = elsewhere::bring(&plan, spec.worker, Errand { elsewhere, fetcher, cancel, folder, results }).await;
    let produced = match brought {
        Ok(produced) => produced,
        Err(NotBrought::Cancelled) => return Ok(Err(AttemptError::Cancelled)),
        Err(NotBrought::Later(text)) => return Err(Refused { reason: DeclineReason::Busy, text }),
        Err(NotBrought::Never(text)) => return Err(Refused { reason: DeclineReason::Policy, text }),
    };
    let hashes = (produced.result_hash, produced.result_seal);
    let outcome = upload(spec, &plan, produced, hashes, fetcher).await;
    outcome.map(Ok).map_err(|error| Refused { reason: DeclineReason::Busy, text: chain(&error) })
}

async fn work(
    spec: &JobSpec,
    plan: Plan,
    ledger: &LedgerSide,
    fetcher: &Fetcher,
    runners: Runners,
    cancel: Control,
) -> Result<JobOutcome, AttemptError> {
    let known = plan.clone();
    let produced = match spec.conduct {
        Conduct::Liar | Conduct::Copier => make_up(spec)?,
        Conduct::Honest | Conduct::Slow | Conduct::Silent | Conduct::Mute => {
            if spec.conduct == Conduct::Slow {
                tokio::time::sleep(SLOW_START).await;
            }
            let (folder, results) = (spec.folder.clone(), spec.results.clone());
            let means = Means { fetcher, runners, cancel, progress: Arc::clone(&spec.progress) };
            attempt::run(plan, spec.worker, means, folder, results).await?
        }
    };
    let hashes = match spec.conduct {
        Conduct::Copier => {
            (somebodys_hash(spec, ledger).await.unwrap_or(produced.result_hash), B256::repeat_byte(0xc0))
        }
        _ => (produced.result_hash, produced.result_seal),
    };
    upload(spec, &known, produced, hashes, fetcher).await
}

/// Uploads a sealed result; what is to be remembered of it.
async fn upload(
    spec: &JobSpec,
    plan: &Plan,
    produced: Produced,
    (result_hash, result_seal): (B256, B256),
    fetcher: &Fetcher,
) -> Result<JobOutcome, AttemptError> {
    let Produced { digest, commitment, pack, sealed, .. } = produced;
    let store = fetcher.client();
    let (sealed, sealed_size, sealed_file) = match sealed {
        Sealed::InMemory(bytes) => {
            let size = bytes.len() as u64;
            (store.put_bytes(bytes).await, size, None)
        }
        Sealed::OnDisk(file) => {
            let size = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
            (store.put_file(&file).await, size, Some(file))
        }
    };
    let sealed = sealed.map_err(|error| AttemptError::Upload(Box::new(error)))?;
    let record = Record {
        task: spec.task,
        deal: spec.deal,
        lease: spec.lease.clone(),
        trust: plan.deal.trust.value(),
        work_clock_s: plan.work_clock_s,
        has_callback: !plan.deal.callback.is_zero(),
        enclave: plan.deal.asks_for_enclave(),
        digest,
        commitment,
        result_hash,
        result_seal,
        pack,
        sealed,
        sealed_size,
        sealed_file,
        fuel_used: 0,
        run_us: spec.progress.ran.get().map_or(0, |ran| u64::try_from(ran.as_micros()).unwrap_or(u64::MAX)),
        items: spec.progress.total.load(Ordering::Relaxed),
        phase: Phase::Offered,
    };
    Ok(JobOutcome { record })
}

/// A result out of thin air, different for each liar: it did not work, so it cannot agree with anybody.
fn make_up(spec: &JobSpec) -> Result<Produced, ProduceError> {
    let text = format!("made up by {}\n", spec.worker).into_bytes();
    let content = ContentId(*blake3::hash(&text).as_bytes());
    let file = FileEntry { path: "result.txt".to_owned(), length: text.len() as u64, content };
    let manifest = Manifest::new(vec![Part { item: None, ending: Ending::Exited(0), files: vec![file] }])?;
    let header = Header::new(manifest, Witness::default(), vec![], vec![]);
    let open = |_: &str| -> io::Result<_> { Ok(Cursor::new(text.clone())) };
    seal_pack(spec.task, spec.worker, &header, open, &spec.results, &Control::new())
}

/// The hash that somebody else has committed to, once there is one.
async fn somebodys_hash(spec: &JobSpec, ledger: &LedgerSide) -> Option<B256> {
    let started = tokio::time::Instant::now();
    while started.elapsed() < COPY_PATIENCE {
        let task = ledger.hub.view_task(spec.task).await.ok()?;
        if let Some(other) = task.contributors.iter().find(|contributor| **contributor != spec.worker) {
            return Some(ledger.hub.view_contribution(spec.task, *other).await.ok()?.result_hash);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// The wire's word for what went wrong.
pub fn fail_reason(error: &AttemptError) -> FailReason {
    match error {
        AttemptError::App(_) | AttemptError::Run(RunError::Image(_) | RunError::Reference(_)) => {
            FailReason::AppUnfetchable
        }
        AttemptError::Input(FetchError::Store(_)) | AttemptError::Items(_) | AttemptError::Result { .. } => {
            FailReason::InputUnfetchable
        }
        AttemptError::Cancelled => FailReason::Cancelled,
        AttemptError::Upload(_) => FailReason::Upload,
        AttemptError::Fault(fault) => match fault.kind {
            HostFaultKind::WallClock => FailReason::WallClock,
            HostFaultKind::StackOverflow => FailReason::StackOverflow,
            _ => FailReason::HostFault,
        },
        AttemptError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => FailReason::DiskFull,
        _ => FailReason::HostFault,
    }
}

/// An error with its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
