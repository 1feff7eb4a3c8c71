//! Start child processes, and keep a few that may work again.
//!
//! A child is used again only for the same app, deal, profile and limits: its [`Key`]. One that saw a fault, a cancel, a timeout
//! or a run that did not end by itself is never kept. All children are started by one thread of the pool, since a child dies with
//! the thread that started it, and the threads that run tasks come and go.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gristmill_types::{ContentId, ResourceLimits};

use crate::error::SandboxError;
use crate::execution::ChildCommand;
use crate::process::Process;
use crate::profile::EngineProfile;
use crate::wire::{Request, Work};

/// Tasks that one child works at, at most, so that nothing can add up for ever.
const TASKS_MAX: u32 = 1000;

/// How long after a ready child was taken another is started, so that the two do not compete for the processor at once.
const REFILL_AFTER: Duration = Duration::from_millis(20);

/// How many children a [`crate::Runner`] keeps that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Children that have worked for a deal and may work for it again. The one idle for longest goes first. Default 4.
    pub idle_max: usize,
    /// Time after which such a child goes. Default 10 s.
    pub idle_time: Duration,
    /// Children that are started before anybody needs them, locked down and with nothing of any task in them, for the default
    /// profile. Default 0.
    pub ready: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { idle_max: 4, idle_time: Duration::from_secs(10), ready: 0 }
    }
}

/// What a child must have worked for to be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) deal: [u8; 32],
    pub(crate) app: ContentId,
    pub(crate) profile: EngineProfile,
    /// A process can lower its limits only once.
    pub(crate) limits: ResourceLimits,
}

/// A child for a task.
pub(crate) struct Hired {
    pub(crate) process: Process,
    /// Guarantees that it could not give; none before it has said so.
    pub(crate) missing: Option<Vec<String>>,
    /// Tasks it has worked at. Past the first it has the app loaded.
    pub(crate) tasks: u32,
    /// It was there before the task, so it may be dying without anybody having noticed.
    pub(crate) waited: bool,
}

struct Idle {
    key: Key,
    hired: Hired,
    since: Instant,
}

#[derive(Default)]
struct Children {
    /// The one idle for longest comes first.
    idle: Vec<Idle>,
    ready: Vec<(EngineProfile, Process)>,
}

/// What the starting thread is asked.
enum Ask {
    /// Start this and hand it over.
    Start(Work, SyncSender<Result<Process, SandboxError>>),
    /// Look at the children: some are idle, or fewer than wanted are ready.
    Look,
}

/// Children of one runner. Dropping it leaves none.
pub(crate) struct Pool {
    config: PoolConfig,
    children: Arc<Mutex<Children>>,
    /// The starting thread, once there is one.
    starter: Mutex<Option<(Sender<Ask>, JoinHandle<()>)>>,
    command: ChildCommand,
}

impl Pool {
    /// Starts nothing, unless children are to be ready.
    pub(crate) fn new(command: ChildCommand, config: PoolConfig) -> Self {
        let pool = Self { config, children: Arc::default(), starter: Mutex::default(), command };
        if config.ready > 0 {
            pool.ask(Ask::Look);
        }
        pool
    }

    /// A child to serve: one that has worked for the same, one that is ready, or a new one.
    pub(crate) fn hire(&self, profile: EngineProfile, key: Option<&Key>) -> Result<Hired, SandboxError> {
        let found = {
            let mut children = lock(&self.children);
            let idle = key.and_then(|key| children.idle.iter().rposition(|idle| idle.key == *key));
            let ready = children.ready.iter().position(|(of, _)| *of == profile);
            match (idle, ready) {
                (Some(at), _) => Some(children.idle.remove(at).hired),
                (None, Some(at)) => {
                    let process = children.ready.remove(at).1;
                    Some(Hired { process, missing: None, tasks: 0, waited: true })
                }
                (None, None) => None,
            }
        };
        if self.config.ready > 0 {
            self.ask(Ask::Look);
        }
        if let Some(mut hired) = found
            && hired.process.lives()
        {
            return Ok(hired);
        }
        self.hire_new(profile)
    }

    /// A child that nobody has used.
    pub(crate) fn hire_new(&self, profile: EngineProfile) -> Result<Hired, SandboxError> {
        Ok(Hired { process: self.start(Work::Serve(profile))?, missing: None, tasks: 0, waited: false })
    }

    /// Starts a child for this work alone.
    pub(crate) fn start(&self, work: Work) -> Result<Process, SandboxError> {
        let (reply, answer) = sync_channel(1);
        self.ask(Ask::Start(work, reply));
        answer.recv().unwrap_or_else(|_| {
            let source = std::io::Error::other("the thread that starts processes is gone");
            Err(SandboxError::Spawn { program: self.command.program.clone(), source })
        })
    }

    /// Takes back a child whose task came to a good end.
    pub(crate) fn keep(&self, key: Key, mut hired: Hired) {
        if self.config.idle_max == 0 || hired.tasks >= TASKS_MAX {
            return;
        }
        hired.process.release();
        hired.waited = true;
        let gone = {
            let mut children = lock(&self.children);
            children.idle.push(Idle { key, hired, since: Instant::now() });
            let over = children.idle.len().saturating_sub(self.config.idle_max);
            children.idle.drain(..over).collect::<Vec<_>>()
        };
        // Killing and reaping takes a while; nobody has to wait for the lock meanwhile.
        drop(gone);
        self.ask(Ask::Look);
    }

    fn ask(&self, ask: Ask) {
        let mut starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner);
        let (asks, _) = starter.get_or_insert_with(|| {
            let (sender, asks) = channel();
            let starter =
                Starter { command: self.command.clone(), config: self.config, children: Arc::clone(&self.children) };
            (sender, std::thread::spawn(move || starter.work(&asks)))
        });
        // Should the thread be gone, whoever waits for its answer notices.
        let _ = asks.send(ask);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some((asks, thread)) = self.starter.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(asks);
            let _ = thread.join();
        }
        *lock(&self.children) = Children::default();
    }
}

/// The thread that starts children, keeps some ready and sends idle ones away.
struct Starter {
    command: ChildCommand,
    config: PoolConfig,
    children: Arc<Mutex<Children>>,
}

impl Starter {
    fn work(&self, asks: &Receiver<Ask>) {
        let mut refill = None;
        loop {
            let idle = lock(&self.children).idle.first().map(|idle| idle.since + self.config.idle_time);
            let ask = match idle.into_iter().chain(refill).min() {
                Some(next) => asks.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => asks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match ask {
                Ok(Ask::Start(work, reply)) => {
                    // Whoever asked may have gone: then the child goes too.
                    let _ = reply.send(self.start(work));
                }
                Ok(Ask::Look) => refill = Some(Instant::now() + REFILL_AFTER),
                Err(RecvTimeoutError::Timeout) => {
                    self.send_away();
                    if refill.take_if(|at| *at <= Instant::now()).is_some() {
                        self.make_ready();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn start(&self, work: Work) -> Result<Process, SandboxError> {
        let mut process = Process::start(&self.command, &Request { parent: std::process::id(), work })?;
        process.send();
        Ok(process)
    }

    fn send_away(&self) {
        let gone: Vec<Idle> = {
            let mut children = lock(&self.children);
            let stays = |idle: &Idle| idle.since.elapsed() < self.config.idle_time;
            let first = children.idle.iter().position(stays).unwrap_or(children.idle.len());
            children.idle.drain(..first).collect()
        };
        drop(gone);
    }

    fn make_ready(&self) {
        let profile = EngineProfile::default();
        while lock(&self.children).ready.len() < self.config.ready {
            match self.start(Work::Serve(profile)) {
                Ok(process) => lock(&self.children).ready.push((profile, process)),
                Err(error) => {
                    tracing::warn!(%error, "no sandbox process could be started ahead of its task");
                    return;
                }
            }
        }
    }
}

fn lock(children: &Mutex<Children>) -> MutexGuard<'_, Children> {
    // INVARIANT: no code that can panic half-way runs under this lock.
    children.lock().unwrap_or_else(PoisonError::into_inner)
}
