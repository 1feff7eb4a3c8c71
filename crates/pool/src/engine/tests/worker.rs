//! A worker as the pool sees one: it speaks the wire's messages, computes in no time, and keeps its results whatever the pool does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use futures_util::StreamExt;
use gristmill_hub::ContributeArgs;
use gristmill_protocol::PROTOCOL_VERSION;
use gristmill_protocol::hello::signing_text;
use gristmill_protocol::wire::{self, WorkerFrame, pool_frame, worker_frame};
use gristmill_result::pack::{Header, write_pack};
use gristmill_result::{Ending, Manifest, Part, Witness, result_hash, result_seal, seal};
use gristmill_types::results::results_hint;
use gristmill_types::{ContentId, TaskId, TaskStatus};
use gristmill_wallet::Wallet;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::machine::Moment;
use super::town::{Door, KEY, Random, Town};

/// Messages under way to the pool.
const FRAMES_MAX: usize = 1_024;
/// The longest computation, in milliseconds.
const COMPUTING_MS_MAX: u64 = 25;
const HEARTBEAT: Duration = Duration::from_millis(100);
const SLOTS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offered,
    Contributed,
    Over,
}

#[derive(Clone)]
struct Record {
    lease: Vec<u8>,
    digest: gristmill_result::Digest,
    sealed: ContentId,
    sealed_size: u64,
    pack: ContentId,
    trust: u64,
    phase: Phase,
}

/// How many of a hundred results are wrong, and of a hundred reveals left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vices {
    pub wrong_percent: u64,
    pub silent_percent: u64,
}

pub struct Worker {
    town: Arc<Town>,
    wallet: Wallet,
    peer: SocketAddr,
    vices: Vices,
    random: Random,
    records: BTreeMap<TaskId, Record>,
    running: BTreeMap<Vec<u8>, TaskId>,
    done: (mpsc::Sender<wire::Lease>, mpsc::Receiver<wire::Lease>),
    sessions: u64,
}

/// A connection to one process of the pool.
struct Line {
    life: u64,
    out: mpsc::Sender<Result<WorkerFrame, gristmill_protocol::tonic::Status>>,
    sent: u64,
    received: u64,
}

/// The connection is gone.
struct Gone;

fn task_of(bytes: &[u8]) -> TaskId {
    TaskId(B256::from_slice(bytes))
}

impl Worker {
    /// The worker of this number, in a network of its own, with money.
    pub fn new(town: &Arc<Town>, number: u64, seed: u64, vices: Vices) -> Self {
        let wallet = super::town::wallet(100 + number);
        town.fund(wallet.address());
        Self {
            town: Arc::clone(town),
            wallet,
            peer: SocketAddr::from(([10, number as u8, 0, 1], 4_000)),
            vices,
            random: Random(seed ^ number.wrapping_mul(0x9e37_79b9)),
            records: BTreeMap::new(),
            running: BTreeMap::new(),
            done: mpsc::channel(FRAMES_MAX),
            sessions: 0,
        }
    }

    pub fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Works for whatever process the pool is, until it is aborted.
    pub async fn work(mut self) {
        let mut doors = self.town.doors.subscribe();
        let mut tried = 0;
        loop {
            let door = doors.borrow_and_update().clone();
            if let Some(door) = door.filter(|door| door.life != tried) {
                tried = door.life;
                self.serve(door, &mut doors).await;
            }
            let changed = tokio::time::timeout(HEARTBEAT, doors.changed()).await;
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                // Turned away, or without a pool. A door that was tried is not tried again.
                Err(_) => self.look().await,
            }
        }
    }

    /// What its owner would do if the pool were gone: a result that is accepted is revealed before it is too late.
    async fn look(&mut self) {
        let now = super::clock::now_ms().unwrap_or_default() / 1_000;
        for task in self.of_phase(Phase::Contributed) {
            let Ok(seen) = self.town.hub.view_task(task).await else { return };
            let mine = self.records.get(&task).is_some_and(|record| result_hash(task, record.digest) == seen.consensus);
            if seen.status == TaskStatus::Revealing && mine && now + seen.work_clock_s >= seen.reveal_deadline {
                self.reveal(task);
            }
        }
    }

    /// Serves one process of the pool until the connection ends.
    async fn serve(&mut self, door: Door, doors: &mut watch::Receiver<Option<Door>>) {
        let (out, inbound) = mpsc::channel(FRAMES_MAX);
        let mut line = Line { life: door.life, out, sent: 0, received: 0 };
        let hello = self.hello();
        if self.put(&line, WorkerFrame { seq: 0, ack: 0, body: Some(worker_frame::Body::Hello(hello)) }).is_err() {
            return;
        }
        let Ok(mut frames) = door.links.converse(ReceiverStream::new(inbound), Some(self.peer)).await else { return };
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let done = tokio::select! {
                frame = frames.next() => match frame {
                    Some(Ok(frame)) => self.hear(&mut line, frame),
                    _ => Err(Gone),
                },
                Some(lease) = self.done.1.recv() => self.computed(&mut line, &lease),
                _ = heartbeat.tick() => {
                    self.look().await;
                    self.heartbeat(&line)
                }
                changed = doors.changed() => match changed {
                    // The process is gone, and with it the session.
                    Ok(()) => { doors.mark_changed(); Err(Gone) }
                    Err(_) => Err(Gone),
                },
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn hello(&mut self) -> wire::Hello {
        self.sessions += 1;
        let mut session = [0; 16];
        session[..8].copy_from_slice(&self.sessions.to_be_bytes());
        session[8..].copy_from_slice(&self.wallet.address()[..8]);
        let mut hello = wire::Hello {
            session_id: Vec::new(),
            new_session_id: session.to_vec(),
            worker_address: self.wallet.address().to_vec(),
            protocol_version: PROTOCOL_VERSION,
            engine_profile: "test".to_owned(),
            slots: SLOTS,
            memory_bytes: 1 << 30,
            software_version: "test".to_owned(),
            unix_ms: 1,
            ..wire::Hello::default()
        };
        hello.signature = self.wallet.sign_message(&signing_text(&hello, &KEY)).to_vec();
        hello
    }

    fn put(&self, line: &Line, frame: WorkerFrame) -> Result<(), Gone> {
        let sent = self.town.machine.pass(line.life, Moment::FromWorker, || line.out.try_send(Ok(frame)).is_ok());
        if matches!(sent, Ok(true)) { Ok(()) } else { Err(Gone) }
    }

    fn say(&self, line: &mut Line, body: worker_frame::Body) -> Result<(), Gone> {
        line.sent += 1;
        self.put(line, WorkerFrame { seq: line.sent, ack: line.received, body: Some(body) })
    }

    /// Not counted as something that happened: all may be quiet although everybody lives.
    fn heartbeat(&self, line: &Line) -> Result<(), Gone> {
        if !self.town.machine.is_alive(line.life) {
            return Err(Gone);
        }
        let leases = self
            .running
            .keys()
            .map(|lease| wire::LeaseProgress { lease_id: lease.clone(), ..wire::LeaseProgress::default() })
            .collect();
        let body = worker_frame::Body::Heartbeat(wire::Heartbeat { leases, unix_ms: 1 });
        line.out.try_send(Ok(WorkerFrame { seq: 0, ack: line.received, body: Some(body) })).map_err(|_| Gone)
    }

    fn hear(&mut self, line: &mut Line, frame: wire::PoolFrame) -> Result<(), Gone> {
        let Some(body) = frame.body else { return Ok(()) };
        let heard = self.town.machine.pass(line.life, Moment::ToWorker, || ());
        heard.map_err(|_| Gone)?;
        line.received = line.received.max(frame.seq);
        match body {
            pool_frame::Body::Welcome(_) => {
                let offered: Vec<TaskId> = self.of_phase(Phase::Offered);
                self.heartbeat(line)?;
                offered.into_iter().try_for_each(|task| self.offer(line, task))
            }
            pool_frame::Body::Refuse(refuse) => {
                if refuse.reason() == wire::RefuseReason::Banned {
                    self.town.seen().turned_away.insert(self.wallet.address());
                }
                Err(Gone)
            }
            pool_frame::Body::Lease(lease) => self.leased(line, lease),
            pool_frame::Body::Authorise(authorise) => {
                self.contribute(line, task_of(&authorise.task_id), authorise.signature.into())
            }
            pool_frame::Body::Reveal(reveal) => {
                self.reveal(task_of(&reveal.task_id));
                Ok(())
            }
            pool_frame::Body::Cancel(cancel) => {
                self.running.remove(&cancel.lease_id);
                Ok(())
            }
            pool_frame::Body::Forget(forget) => {
                let task = task_of(&forget.task_id);
                if self.records.get(&task).is_some_and(|record| record.phase == Phase::Offered) {
                    self.records.remove(&task);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn of_phase(&self, phase: Phase) -> Vec<TaskId> {
        self.records.iter().filter(|(_, record)| record.phase == phase).map(|(task, _)| *task).collect()
    }

    fn leased(&mut self, line: &mut Line, lease: wire::Lease) -> Result<(), Gone> {
        let (task, me) = (task_of(&lease.task_id), self.wallet.address());
        self.town.seen().leases.push((line.life, lease.fence, lease.lease_id.clone(), task, me));
        self.say(line, worker_frame::Body::LeaseAccepted(wire::LeaseAccepted { lease_id: lease.lease_id.clone() }))?;
        if let Some(record) = self.records.get_mut(&task) {
            record.lease = lease.lease_id;
            return self.offer(line, task);
        }
        self.running.insert(lease.lease_id.clone(), task);
        let (done, pause) = (self.done.0.clone(), Duration::from_millis(self.random.below(COMPUTING_MS_MAX)));
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = done.send(lease).await;
        });
        Ok(())
    }

    /// A computation is over: its result is sealed and put into the store, then the pool is told.
    fn computed(&mut self, line: &mut Line, lease: &wire::Lease) -> Result<(), Gone> {
        let task = task_of(&lease.task_id);
        if self.running.remove(&lease.lease_id).is_none() || self.records.contains_key(&task) {
            return Ok(());
        }
        let code = i32::from(self.random.chance(self.vices.wrong_percent));
        let part = Part { item: None, ending: Ending::Exited(code), files: vec![] };
        let header = Header::new(Manifest::new(vec![part]).unwrap(), Witness::default(), vec![], vec![]);
        let (mut pack, mut sealed) = (Vec::new(), Vec::new());
        write_pack(&header, |_| -> std::io::Result<std::io::Empty> { unreachable!("it has no files") }, &mut pack)
            .unwrap();
        let digest = header.commitment.digest();
        seal::seal(digest, task, self.wallet.address(), &mut pack.as_slice(), &mut sealed).unwrap();
        let record = Record {
            lease: lease.lease_id.clone(),
            digest,
            sealed: self.town.store.put_bytes(&sealed).unwrap(),
            sealed_size: sealed.len() as u64,
            pack: gristmill_store::content_id(&pack),
            trust: lease.trust,
            phase: Phase::Offered,
        };
        self.records.insert(task, record);
        self.offer(line, task)
    }

    fn offer(&self, line: &mut Line, task: TaskId) -> Result<(), Gone> {
        let Some(record) = self.records.get(&task) else { return Ok(()) };
        let ready = wire::ResultReady {
            lease_id: record.lease.clone(),
            task_id: task.as_bytes().to_vec(),
            result_hash: result_hash(task, record.digest).to_vec(),
            result_seal: result_seal(self.wallet.address(), task, record.digest).to_vec(),
            sealed_cid: record.sealed.as_bytes().to_vec(),
            sealed_size: record.sealed_size,
            ..wire::ResultReady::default()
        };
        self.say(line, worker_frame::Body::ResultReady(ready))
    }

    fn contribute(&mut self, line: &mut Line, task: TaskId, signature: Bytes) -> Result<(), Gone> {
        let (me, hub) = (self.wallet.address(), &self.town.hub);
        let Some(record) = self.records.get_mut(&task) else { return Ok(()) };
        let hash = result_hash(task, record.digest);
        self.town.seen().authorised.insert((task, me), hash);
        if record.phase != Phase::Offered {
            return Ok(());
        }
        let call = if record.trust == 1 {
            let hint = results_hint(record.pack).into_bytes().into();
            hub.contribute_and_finalize(task, record.digest.0, hint, Bytes::new(), signature)
        } else {
            hub.contribute(&ContributeArgs {
                task,
                result_hash: hash,
                result_seal: result_seal(me, task, record.digest),
                enclave_challenge: Address::ZERO,
                enclave_sign: Bytes::new(),
                authorization: signature,
            })
        };
        if self.town.call(&self.wallet, call) {
            record.phase = if record.trust == 1 { Phase::Over } else { Phase::Contributed };
            return Ok(());
        }
        let failed = wire::ContributeFailed { task_id: task.as_bytes().to_vec(), text: "refused".to_owned() };
        self.say(line, worker_frame::Body::ContributeFailed(failed))
    }

    fn reveal(&mut self, task: TaskId) {
        let Some(record) = self.records.get_mut(&task).filter(|record| record.phase == Phase::Contributed) else {
            return;
        };
        record.phase = Phase::Over;
        if !self.random.chance(self.vices.silent_percent) {
            let call = self.town.hub.reveal(task, record.digest.0);
            // Too late, or another result than the accepted one: then there is nothing to reveal.
            self.town.call(&self.wallet, call);
        }
    }
}
