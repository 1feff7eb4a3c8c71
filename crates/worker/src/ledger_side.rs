//! Act on the ledger with the worker's own key: contribute, reveal, and what its owner would do if the pool were gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use gristmill_hub::{ContributeArgs, HubClient, HubError, Outbox, OutboxConfig, OutboxError, Outcome, sign};
use gristmill_types::{TaskId, TaskStatus};
use gristmill_wallet::Wallet;
use tokio::sync::Mutex;

use crate::error::WorkerError;
use crate::journal::{Phase, Record};
use crate::plan::KnownTerms;

/// After the final deadline the worker waits so long for somebody else to claim, in seconds of the ledger's clock.
const CLAIM_PATIENCE_S: u64 = 5;
/// After the time from which a revealer may finalise, the worker still leaves it to the pool for so long, in seconds.
const FINALIZE_PATIENCE_S: u64 = 1;
/// Tasks looked up in one request.
const LOOKUP_MAX: usize = 200;

/// The hub as this worker uses it. Clones share one outbox.
#[derive(Clone, Debug)]
pub struct LedgerSide {
    /// Reads.
    pub hub: HubClient,
    /// Writes.
    pub outbox: Outbox,
    /// The deals that were read last.
    pub known: KnownTerms,
    /// The worker's own key.
    wallet: Wallet,
}

/// What the ledger asks of one result now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The task is over.
    Over,
    /// It cannot be contributed any more.
    TooLate,
    /// The contribution is there.
    Contributed,
    /// Reveal it.
    Reveal,
    /// The reveal is there.
    Revealed,
    /// The pool is silent: finalise it.
    Finalize,
    /// Everybody is silent: claim it.
    Claim,
}

/// The one ledger that all pools of a worker are on. Its key's transactions are counted once, so they have one outbox.
#[derive(Debug)]
pub(crate) struct SharedLedger {
    folder: PathBuf,
    /// That of the pool that connected first.
    first: Mutex<Option<LedgerSide>>,
}

impl SharedLedger {
    /// With its outbox in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, first: Mutex::default() }
    }

    /// The ledger through this pool's address of it. The first who asks opens it; what the others write goes through the same outbox.
    ///
    /// # Errors
    /// [`WorkerError::OtherLedger`] when it is not the first one's.
    pub(crate) async fn connect(&self, rpc: &str, hub: Address, wallet: &Wallet) -> Result<LedgerSide, WorkerError> {
        let mut first = self.first.lock().await;
        let Some(side) = &*first else {
            let side = LedgerSide::open(rpc, hub, wallet.clone(), &self.folder).await?;
            return Ok(first.insert(side).clone());
        };
        let here = HubClient::connect(rpc, hub).await?;
        let (known, met) = (identity(&side.hub).await?, identity(&here).await?);
        if known != met {
            return Err(WorkerError::OtherLedger { known: name(known), met: name(met) });
        }
        Ok(LedgerSide { hub: here, ..side.clone() })
    }

    /// Ends the outbox; what is in it goes on with the next start.
    pub(crate) async fn shutdown(&self) {
        if let Some(side) = self.first.lock().await.take() {
            side.outbox.shutdown().await;
        }
    }
}

/// Chain id, hash of the first block, hub.
type Identity = (u64, B256, Address);

async fn identity(hub: &HubClient) -> Result<Identity, HubError> {
    let genesis = hub.ledger().blocks(vec![0]).await?.into_iter().flatten().next();
    Ok((hub.chain_id(), genesis.map(|block| block.hash).unwrap_or_default(), hub.contracts().hub))
}

fn name((chain, genesis, hub): Identity) -> String {
    format!("chain {chain} with genesis {genesis} and hub {hub}")
}

impl LedgerSide {
    /// Connects to the hub, and opens the outbox in `folder`.
    pub async fn open(rpc_url: &str, hub: Address, wallet: Wallet, folder: &Path) -> Result<Self, WorkerError> {
        let hub = HubClient::connect(rpc_url, hub).await?;
        let outbox = Outbox::open(folder, wallet.clone(), Arc::clone(hub.ledger()), OutboxConfig::default()).await?;
        Ok(Self { hub, outbox, known: KnownTerms::default(), wallet })
    }

    /// Contributes, or contributes and finalises at once where trust 1 allows it.
    ///
    /// A deal that asks for an enclave exists only on a network that simulates them: there the worker's own key stands for the
    /// enclave's and vouches for the result. It proves nothing, and whoever shows such a task says so.
    pub async fn contribute(&self, record: &Record, signature: Bytes) -> Result<Outcome, OutboxError> {
        let (challenge, enclave_sign) = match record.enclave {
            true => (self.outbox.address(), sign::enclave(&self.wallet, record.result_hash, record.result_seal)),
            false => (Address::ZERO, Bytes::new()),
        };
        let call = if record.trust == 1 {
            let (hint, data) = (record.results_hint(), record.callback_data());
            let (task, digest) = (record.task, record.digest.0);
            match record.enclave {
                true => self.hub.contribute_and_finalize_in_enclave(
                    task,
                    digest,
                    hint,
                    data,
                    challenge,
                    enclave_sign,
                    signature,
                ),
                false => self.hub.contribute_and_finalize(task, digest, hint, data, signature),
            }
        } else {
            self.hub.contribute(&ContributeArgs {
                task: record.task,
                result_hash: record.result_hash,
                result_seal: record.result_seal,
                enclave_challenge: challenge,
                enclave_sign,
                authorization: signature,
            })
        };
        self.outbox.execute(call.intent(format!("contribute:{}", record.task))).await
    }

    /// Reveals.
    pub async fn reveal(&self, record: &Record) -> Result<Outcome, OutboxError> {
        let call = self.hub.reveal(record.task, record.digest.0);
        self.outbox.execute(call.intent(format!("reveal:{}", record.task))).await
    }

    /// Finalises in the pool's place.
    pub async fn finalize(&self, record: &Record) -> Result<Outcome, OutboxError> {
        let call = self.hub.finalize(record.task, record.results_hint(), record.callback_data());
        self.outbox.execute(call.intent(format!("finalize:{}", record.task))).await
    }

    /// Claims in everybody's place.
    pub async fn claim(&self, task: TaskId) -> Result<Outcome, OutboxError> {
        self.outbox.execute(self.hub.claim(task).intent(format!("claim:{task}"))).await
    }

    /// What the ledger asks of each record now; nothing for those that just wait. `asked`: tasks that the pool wants revealed.
    pub async fn look(&self, records: &[Record], asked: &BTreeSet<TaskId>) -> Result<Vec<(TaskId, Verdict)>, HubError> {
        let head = self.hub.ledger().head().await?;
        let now =
            self.hub.ledger().blocks(vec![head]).await?.into_iter().flatten().next().map_or(0, |block| block.timestamp);
        let me = self.outbox.address();
        let mut verdicts = Vec::new();
        for chunk in records.chunks(LOOKUP_MAX) {
            let tasks: Vec<TaskId> = chunk.iter().map(|record| record.task).collect();
            for (record, task) in chunk.iter().zip(self.hub.view_tasks(&tasks).await?) {
                if let Some(verdict) = judge(record, &task, me, now, asked.contains(&record.task)) {
                    verdicts.push((record.task, verdict));
                }
            }
        }
        Ok(verdicts)
    }
}

fn judge(record: &Record, task: &gristmill_hub::Task, me: Address, now: u64, asked: bool) -> Option<Verdict> {
    let contributed = task.contributors.contains(&me);
    match task.status {
        TaskStatus::Completed | TaskStatus::Failed => return Some(Verdict::Over),
        TaskStatus::Unset => return None,
        TaskStatus::Active | TaskStatus::Revealing => {}
    }
    if now >= task.final_deadline.saturating_add(CLAIM_PATIENCE_S) {
        return Some(Verdict::Claim);
    }
    if !contributed {
        return (now >= task.contribution_deadline).then_some(Verdict::TooLate);
    }
    let holds_consensus = task.status == TaskStatus::Revealing && task.consensus == record.result_hash;
    match record.phase {
        Phase::Offered | Phase::Authorised { .. } => Some(Verdict::Contributed),
        Phase::Contributed => {
            // The first reveal makes the digest public, and ends the pool's chance to hold a replica in reserve: so it is the
            // pool that says when. The window is two T long; a pool that is silent for the first of them is not waited for.
            let alone_from = task.reveal_deadline.saturating_sub(task.work_clock_s);
            let is_time = asked || now >= alone_from;
            (holds_consensus && now < task.reveal_deadline && is_time).then_some(Verdict::Reveal)
        }
        Phase::Revealed => {
            // A revealer may finalise from reveal deadline + T/2 on.
            let from = task.reveal_deadline + record.work_clock_s / 2 + FINALIZE_PATIENCE_S;
            (holds_consensus && now >= from).then_some(Verdict::Finalize)
        }
    }
}

#[cfg(test)]
mod tests;
