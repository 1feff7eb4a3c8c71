//! The machine that a pool runs on: its disks, its wire to the ledger and its wires to the workers die at one moment.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use gristmill_datadir::faults::{Disk, FaultyBackend};
use gristmill_datadir::redb::StorageBackend;
use gristmill_datadir::{Db, DbError};
use tokio::sync::Notify;

/// Things that a pool does, one of which may be its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A write, or a change of length, of either database.
    Write,
    /// A sync of either database.
    Sync,
    /// Transactions are handed in.
    Send,
    /// The ledger says what became of transactions.
    Receipt,
    /// The ledger tells of events.
    Events,
    /// A worker hears something.
    ToWorker,
    /// A worker says something.
    FromWorker,
}

/// How a pool is to end.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub moment: Moment,
    /// So many of these are left.
    pub after: u64,
    /// Whether the last one still happens.
    pub done: bool,
    /// Whether the power goes: of what was not synced any subset is lost. Else it is a kill -9, and the system keeps what was written.
    pub power: bool,
}

#[derive(Clone)]
pub struct Machine {
    state: Arc<Mutex<State>>,
    disks: [Disk; 2],
    died: Arc<Notify>,
}

struct State {
    /// Processes so far: whatever an earlier one left behind is dead.
    life: u64,
    alive: bool,
    death: Option<Death>,
    /// Things that anybody did, to see when all is quiet.
    steps: u64,
}

/// The process is dead: what it does has no effect.
#[derive(Clone, Copy, Debug)]
pub struct Dead;

impl Machine {
    /// With two fresh databases: accidents begin after their making, as on a real disk (see `Db::open`).
    pub fn new(seed: u64) -> Self {
        let state = State { life: 0, alive: false, death: None, steps: 0 };
        let disks = [Disk::new(seed), Disk::new(seed ^ 0x5eed)];
        for disk in &disks {
            drop(Db::open_on(disk.backend()).unwrap());
        }
        Self { state: Arc::new(Mutex::new(state)), disks, died: Arc::default() }
    }

    /// A new process: its number.
    pub fn start(&self, death: Option<Death>) -> u64 {
        let mut state = self.state();
        state.life += 1;
        (state.alive, state.death) = (true, death);
        state.life
    }

    /// The journal's database, or the outbox's, as the last process left it.
    pub fn database(&self, which: usize, life: u64) -> Result<Db, DbError> {
        Db::open_on(Guarded { backend: self.disks[which].backend(), machine: self.clone(), life })
    }

    /// The disk of the journal, or of the outbox.
    pub fn disk(&self, which: usize) -> &Disk {
        &self.disks[which]
    }

    /// Ends the process of now.
    pub fn kill(&self, power: bool) {
        self.end(&mut self.state(), power);
    }

    /// Done when this process is dead.
    pub async fn dead(&self, life: u64) {
        while self.is_alive(life) {
            self.died.notified().await;
        }
    }

    pub fn is_alive(&self, life: u64) -> bool {
        let state = self.state();
        state.alive && state.life == life
    }

    /// Does something that the process may die of, before it or after it.
    pub fn pass<T>(&self, life: u64, moment: Moment, act: impl FnOnce() -> T) -> Result<T, Dead> {
        let last = {
            let mut state = self.state();
            if !state.alive || state.life != life {
                return Err(Dead);
            }
            state.steps += 1;
            self.is_last(&mut state, moment)
        };
        let Some(Death { done, power, .. }) = last else { return Ok(act()) };
        if !done {
            self.end(&mut self.state(), power);
            return Err(Dead);
        }
        let result = act();
        self.end(&mut self.state(), power);
        Ok(result)
    }

    fn is_last(&self, state: &mut State, moment: Moment) -> Option<Death> {
        let death = state.death.as_mut().filter(|death| death.moment == moment)?;
        match death.after.checked_sub(1) {
            Some(left) => {
                death.after = left;
                None
            }
            None => state.death.take(),
        }
    }

    fn end(&self, state: &mut State, power: bool) {
        if std::mem::replace(&mut state.alive, false) && power {
            self.disks.iter().for_each(Disk::cut_power);
        }
        self.died.notify_waiters();
        self.died.notify_one();
    }

    /// Somebody else did something.
    pub fn bump(&self) {
        self.state().steps += 1;
    }

    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A disk in a machine that may be dead.
struct Guarded {
    backend: FaultyBackend,
    machine: Machine,
    life: u64,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guarded")
    }
}

impl Guarded {
    fn change(&self, moment: Moment, act: impl FnOnce(&FaultyBackend) -> io::Result<()>) -> io::Result<()> {
        self.machine.pass(self.life, moment, || act(&self.backend)).unwrap_or_else(|Dead| Err(gone()))
    }
}

fn gone() -> io::Error {
    io::Error::other("the process is dead")
}

impl StorageBackend for Guarded {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Moment::Write, |backend| backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Moment::Sync, FaultyBackend::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Moment::Write, |backend| backend.write(offset, data))
    }
}
