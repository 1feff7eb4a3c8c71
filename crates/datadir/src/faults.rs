//! A disk for tests that fills up, breaks, and loses power.
//!
//! [`Disk`] lives in memory and outlives the databases opened on it. It keeps apart what was written and what was
//! synced. When the power goes, each 512-byte sector written since the last sync is kept or lost by chance, whatever the
//! order of the writes, as on a real disk; after a failed sync nobody knows what was kept, and a later sync does not
//! bring it back. The same seed and the same calls give the same outcome.
//!
//! ```
//! use gristmill_datadir::{Db, faults::Disk};
//!
//! let disk = Disk::new(7);
//! // A database is whole before it gets its name (see `Db::open`): accidents begin after its making.
//! let db = Db::open_on(disk.backend())?;
//! db.table("paid").put(b"task", b"once")?;
//! disk.cut_power();
//! assert!(db.table("paid").put(b"task", b"twice").is_err());
//!
//! let db = Db::open_on(disk.backend())?; // the power is back
//! assert_eq!(db.table("paid").get(b"task")?.as_deref(), Some(&b"once"[..]));
//! # Ok::<(), gristmill_datadir::DbError>(())
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// The unit that a power cut keeps or loses, in bytes.
const SECTOR_BYTES: usize = 512;

/// How one operation of a [`Disk`] goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with "no space left on device".
    Full,
    /// The operation fails with an input/output error; of a failed sync nobody knows what it kept.
    Broken,
    /// The power goes during the operation: everything fails until [`Disk::backend`] is called again.
    PowerCut,
}

/// A disk in memory with faults that are injected on purpose. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// What is read back now.
    current: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pending: Vec<Pending>,
    /// Counts [`Disk::backend`] calls; a backend of an earlier one is a ghost of before the power cut.
    generation: u64,
    powered: bool,
    /// Writes, length changes and syncs so far.
    operations: u64,
    planned: Option<(u64, Fault)>,
    capacity: u64,
}

#[derive(Debug)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl Disk {
    /// An empty disk without limit, whose accidents are drawn from `seed`.
    pub fn new(seed: u64) -> Disk {
        Disk {
            state: Arc::new(Mutex::new(State {
                random: Random(seed),
                current: Vec::new(),
                durable: Vec::new(),
                pending: Vec::new(),
                generation: 0,
                powered: true,
                operations: 0,
                planned: None,
                capacity: u64::MAX,
            })),
        }
    }

    /// A storage for [`crate::Db::open_on`]. If the power was cut, it is back; backends of before it stay dead.
    pub fn backend(&self) -> FaultyBackend {
        let mut state = self.lock();
        if !state.pending.is_empty() {
            // The old owner went away without a sync and without a power cut: a kill -9. The system keeps its writes.
            state.sync();
        }
        state.generation += 1;
        state.powered = true;
        FaultyBackend { disk: self.clone(), generation: state.generation }
    }

    /// Lets the operation (write, length change or sync) that comes after `count` more ones go wrong, once.
    pub fn fail_after(&self, count: u64, fault: Fault) {
        let mut state = self.lock();
        state.planned = Some((state.operations + count, fault));
    }

    /// Cuts the power now.
    pub fn cut_power(&self) {
        self.lock().cut_power();
    }

    /// Limits the disk to `bytes`: whatever would grow past them fails with "no space left on device".
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Takes back what [`Disk::fail_after`] and [`Disk::set_capacity`] ordered.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.planned = None;
        state.capacity = u64::MAX;
    }

    /// Writes, length changes and syncs so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already; its disk can still be looked at.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation and lets it fail if that was planned. `Ok` means: carry it out.
    fn operation(&mut self, pending: Option<Pending>) -> io::Result<()> {
        let fault = match self.planned {
            Some((at, fault)) if at == self.operations => {
                self.planned = None;
                Some(fault)
            }
            _ => None,
        };
        self.operations += 1;
        match fault {
            None => {}
            Some(Fault::Full) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Broken) => {
                if pending.is_none() {
                    self.settle_by_chance();
                }
                return Err(broken());
            }
            Some(Fault::PowerCut) => {
                self.pending.extend(pending);
                self.cut_power();
                return Err(broken());
            }
        }
        match pending {
            Some(pending) => {
                pending.apply(&mut self.current);
                self.pending.push(pending);
            }
            None => self.sync(),
        }
        Ok(())
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.durable);
        }
    }

    fn cut_power(&mut self) {
        self.settle_by_chance();
        self.current = self.durable.clone();
        self.powered = false;
    }

    /// Decides for each sector since the last sync whether it reached the disk.
    fn settle_by_chance(&mut self) {
        // From "all lost" to "all kept" in quarters: the extremes are as likely as the mixtures.
        let kept_quarters = self.random.below(5);
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::SetLen(_) => {
                    if self.random.below(4) < kept_quarters {
                        pending.apply(&mut self.durable);
                    }
                }
                Pending::Write { offset, data } => {
                    for (at, sector) in sectors(offset, &data) {
                        if self.random.below(4) < kept_quarters {
                            write_at(&mut self.durable, at, sector);
                        }
                    }
                }
            }
        }
    }
}

impl Pending {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Pending::Write { offset, data } => write_at(image, *offset, data),
            Pending::SetLen(len) => image.resize(*len, 0),
        }
    }

    fn end(&self) -> u64 {
        match self {
            Pending::Write { offset, data } => (offset + data.len()) as u64,
            Pending::SetLen(len) => *len as u64,
        }
    }
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

/// Cuts `data` at the borders of sectors.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == data.len() {
            return None;
        }
        let at = offset + done;
        let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(data.len() - done);
        let sector = &data[done..done + len];
        done += len;
        Some((at, sector))
    })
}

fn broken() -> io::Error {
    const EIO: i32 = 5;
    io::Error::from_raw_os_error(EIO)
}

/// The storage of one database on a [`Disk`].
#[derive(Debug)]
pub struct FaultyBackend {
    disk: Disk,
    generation: u64,
}

impl FaultyBackend {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if !state.powered || state.generation != self.generation {
            return Err(broken());
        }
        Ok(state)
    }

    fn change(&self, pending: Pending) -> io::Result<()> {
        let mut state = self.state()?;
        let grows = pending.end() > state.current.len() as u64;
        if grows && pending.end() > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.operation(Some(pending))
    }
}

impl StorageBackend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state()?;
        let source = usize::try_from(offset)
            .ok()
            .and_then(|offset| state.current.get(offset..)?.get(..out.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(source);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        self.change(Pending::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.operation(None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        self.change(Pending::Write { offset, data: data.to_vec() })
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for drawing accidents, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which is small, so that the bias does not matter).
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests;
