//! A worker that computes nothing: it seals a small result for each lease and contributes it, over the real link.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, Bytes};
use gristmill_poco::model::SoloProof;
use gristmill_protocol::link::{self, Profile, WorkerConfig, WorkerEvent, WorkerEvents, WorkerLink};
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::wire::{self, pool_frame, worker_frame};
use gristmill_result::pack::{Header, write_pack};
use gristmill_result::{Digest, Ending, Manifest, Part, Witness, result_hash, result_seal, seal};
use gristmill_store::Store;
use gristmill_types::results::results_hint;
use gristmill_types::{ContentId, TaskId};
use gristmill_wallet::Wallet;

use crate::ledger::ModelLedger;

/// What all workers did.
#[derive(Debug, Default)]
pub struct Counters {
    pub leases: AtomicU64,
    pub authorised: AtomicU64,
    pub contributed: AtomicU64,
    pub reveals: AtomicU64,
    /// Packs that have to lie open in the end.
    pub packs: Mutex<Vec<ContentId>>,
}

pub struct Worker {
    pub wallet: Wallet,
    pub ledger: ModelLedger,
    pub store: Store,
    pub counters: Arc<Counters>,
    pub slots: u32,
}

struct Held {
    digest: Digest,
    pack: ContentId,
    trust: u64,
}

impl Worker {
    /// Works until the link ends.
    pub fn start(self, pool: &PoolUrl) -> tokio::task::JoinHandle<()> {
        let profile = Profile {
            address: self.wallet.address(),
            engine_profile: "bench".to_owned(),
            slots: self.slots,
            memory_bytes: 1 << 30,
            software_version: "bench".to_owned(),
            gpus: 0,
            network: false,
        };
        let signer = self.wallet.clone();
        let config = WorkerConfig::new(pool.clone(), profile);
        let (link, events) = link::start(config, move |text: &[u8]| signer.sign_message(text));
        tokio::spawn(self.work(link, events))
    }

    async fn work(self, link: WorkerLink, mut events: WorkerEvents) {
        let mut held: HashMap<TaskId, Held> = HashMap::new();
        let mut heartbeat = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = heartbeat.tick() => {
                    let _ = link.send(worker_frame::Body::Heartbeat(wire::Heartbeat { leases: vec![], unix_ms: 1 })).await;
                    continue;
                }
            };
            let Some(event) = event else { return };
            let WorkerEvent::Message(body) = event else { continue };
            match body {
                pool_frame::Body::Lease(lease) => self.leased(&link, &mut held, lease).await,
                pool_frame::Body::Authorise(authorise) => {
                    self.counters.authorised.fetch_add(1, Ordering::Relaxed);
                    self.contribute(&link, &mut held, TaskId(B256::from_slice(&authorise.task_id))).await;
                }
                pool_frame::Body::Reveal(reveal) => {
                    let task = TaskId(B256::from_slice(&reveal.task_id));
                    if let Some(held) = held.remove(&task) {
                        let me = self.wallet.address();
                        let done = self.ledger.act(|model, now| model.reveal(me, now, task, held.digest.0));
                        self.counters.reveals.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
                    }
                }
                pool_frame::Body::Refuse(refuse) => panic!("the pool refuses a worker: {}", refuse.text),
                _ => {}
            }
        }
    }

    async fn leased(&self, link: &WorkerLink, held: &mut HashMap<TaskId, Held>, lease: wire::Lease) {
        self.counters.leases.fetch_add(1, Ordering::Relaxed);
        let (task, me) = (TaskId(B256::from_slice(&lease.task_id)), self.wallet.address());
        let accepted = wire::LeaseAccepted { lease_id: lease.lease_id.clone() };
        let _ = link.send(worker_frame::Body::LeaseAccepted(accepted)).await;
        // Each task has its own bytes: what it says is its id.
        let part = Part { item: None, ending: Ending::Exited(0), files: vec![] };
        let manifest = Manifest::new(vec![part]).expect("a manifest of one part");
        let header = Header::new(manifest, Witness::default(), vec![], task.as_bytes().to_vec());
        let (mut pack, mut sealed) = (Vec::new(), Vec::new());
        write_pack(&header, |_| -> std::io::Result<std::io::Empty> { unreachable!("it has no files") }, &mut pack)
            .expect("memory takes it");
        let digest = header.commitment.digest();
        seal::seal(digest, task, me, &mut pack.as_slice(), &mut sealed).expect("memory takes it");
        let sealed_cid = self.store.put_bytes(&sealed).expect("the store takes it");
        let pack = gristmill_store::content_id(&pack);
        self.counters.packs.lock().unwrap_or_else(PoisonError::into_inner).push(pack);
        held.insert(task, Held { digest, pack, trust: lease.trust });
        let ready = wire::ResultReady {
            lease_id: lease.lease_id,
            task_id: task.as_bytes().to_vec(),
            result_hash: result_hash(task, digest).to_vec(),
            result_seal: result_seal(me, task, digest).to_vec(),
            sealed_cid: sealed_cid.as_bytes().to_vec(),
            sealed_size: sealed.len() as u64,
            ..wire::ResultReady::default()
        };
        let _ = link.send(worker_frame::Body::ResultReady(ready)).await;
    }

    async fn contribute(&self, link: &WorkerLink, held: &mut HashMap<TaskId, Held>, task: TaskId) {
        let me: Address = self.wallet.address();
        let Some(result) = held.get(&task) else { return };
        let (digest, trust) = (result.digest, result.trust);
        let done = self.ledger.act(|model, now| {
            if trust == 1 {
                let results: Bytes = results_hint(result.pack).into_bytes().into();
                let proof = SoloProof { digest: digest.0, results, callback: &[] };
                model.contribute_and_finalize(me, now, task, proof, true)
            } else {
                let (hash, seal) = (result_hash(task, digest), result_seal(me, task, digest));
                model.contribute(me, now, task, hash, seal, true)
            }
        });
        if let Err(revert) = done {
            // The others were enough before it came.
            let failed = wire::ContributeFailed { task_id: task.as_bytes().to_vec(), text: revert.to_string() };
            let _ = link.send(worker_frame::Body::ContributeFailed(failed)).await;
            return;
        }
        self.counters.contributed.fetch_add(1, Ordering::Relaxed);
        if trust == 1 {
            held.remove(&task);
        }
    }
}
