//! Hold what one run of a guest can see and use: its virtual world and its allowances.

use wasmtime::{Global, ResourceLimiter, Store};

use crate::engine::MEMORY_RESERVATION_BYTES;
use crate::stop::{HostProblem, Stop};
use crate::vfs::Vfs;

/// Where the virtual clock begins: 2026-01-01T00:00:00Z, in nanoseconds since 1970.
pub(crate) const EPOCH_NS: u64 = 1_767_225_600_000_000_000;
/// The virtual clock moves on by this at each look at it, so that a program that waits for time to pass gets on.
pub(crate) const TICK_NS: u64 = 1_000;
/// Entries of all tables of a guest together. A constant of the engine profile, not of the category.
pub(crate) const TABLE_ENTRIES_MAX: usize = 1_000_000;
/// Tables of a guest.
pub(crate) const TABLES_MAX: usize = 8;
/// Fuel of a run, at most: it is counted in a signed number.
pub(crate) const FUEL_MAX: u64 = i64::MAX as u64;
/// Separates this stream of bytes from every other use of the seed.
const RANDOM_CONTEXT: &str = "gristmill 2026 sandbox randomness v1";

/// The parts of the world that are not files.
pub(crate) struct World {
    /// Arguments, each without its NUL.
    pub(crate) args: Vec<Vec<u8>>,
    /// `KEY=value`, each without its NUL.
    pub(crate) env: Vec<Vec<u8>>,
    elapsed_ns: u64,
    random: blake3::OutputReader,
}

impl World {
    /// A world in which randomness follows from the task's seed and the item's index.
    pub(crate) fn new<'a>(
        args: &[String],
        env: impl IntoIterator<Item = (&'a str, &'a str)>,
        seed: &[u8; 32],
        item: u64,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(RANDOM_CONTEXT);
        hasher.update(seed).update(&item.to_le_bytes());
        Self {
            args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: env.into_iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect(),
            elapsed_ns: 0,
            random: hasher.finalize_xof(),
        }
    }

    /// Nanoseconds of virtual time since the run began; looking makes it pass.
    pub(crate) fn elapsed_ns(&mut self) -> u64 {
        self.elapsed_ns = self.elapsed_ns.saturating_add(TICK_NS);
        self.elapsed_ns
    }

    /// Sleeps until `elapsed_ns`; the past needs no sleep.
    pub(crate) fn sleep_until(&mut self, elapsed_ns: u64) {
        self.elapsed_ns = self.elapsed_ns.max(elapsed_ns);
    }

    /// The next bytes of the random stream.
    pub(crate) fn fill_random(&mut self, buffer: &mut [u8]) {
        self.random.fill(buffer);
    }
}

/// What wasmtime keeps for the host beside a guest.
pub(crate) struct Host {
    pub(crate) fs: Vfs,
    pub(crate) world: World,
    pub(crate) limiter: Limiter,
    pub(crate) memory: Option<wasmtime::Memory>,
    /// Fuel left, valid while a call of the guest is served, and before it runs.
    pub(crate) fuel: u64,
    /// Where the guest counts it.
    pub(crate) meter: Option<Global>,
}

impl Host {
    /// Fuel left when the guest does not run.
    pub(crate) fn fuel_left(store: &mut Store<Host>) -> u64 {
        match store.data().meter {
            Some(meter) => meter.get(store).i64().unwrap_or(0).max(0).cast_unsigned(),
            None => store.data().fuel,
        }
    }

    /// True when a charge could not be paid.
    pub(crate) fn fuel_spent(store: &mut Store<Host>) -> bool {
        store.data().meter.is_some_and(|meter| meter.get(store).i64().is_none_or(|left| left < 0))
    }

    /// Takes fuel for work that the host does.
    pub(crate) fn charge(&mut self, fuel: u64) -> Result<(), Stop> {
        self.fuel = self.fuel.checked_sub(fuel).ok_or(Stop::OutOfFuel)?;
        Ok(())
    }
}

/// Bounds linear memory and tables. Past the bound the run ends: a guest that saw its `memory.grow` fail could go on
/// differently, and replicas with the same limits must not depend on who refused.
pub(crate) struct Limiter {
    memory_bytes_max: u64,
    table_entries: usize,
    /// The growth under way was allowed, so that its failure is the host's.
    allowed: bool,
}

impl Limiter {
    /// Allows so many bytes of linear memory.
    pub(crate) fn new(memory_bytes_max: u64) -> Self {
        Self { memory_bytes_max, table_entries: 0, allowed: false }
    }

    fn failed(&self, what: &str, error: wasmtime::Error) -> wasmtime::Result<()> {
        if self.allowed {
            return Err(Stop::Host(HostProblem::Io(format!("the host gave no {what}: {error}"))).into());
        }
        Ok(())
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // A maximum of the whole address space is no maximum: the engine names it where the module names none.
        let maximum = maximum.filter(|maximum| (*maximum as u64) < MEMORY_RESERVATION_BYTES);
        self.allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if self.allowed && desired as u64 > self.memory_bytes_max {
            return Err(Stop::OutOfMemory.into());
        }
        Ok(self.allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("memory", error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let maximum = maximum.filter(|maximum| *maximum < TABLE_ENTRIES_MAX);
        self.allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if self.allowed {
            self.table_entries = self.table_entries.saturating_add(desired.saturating_sub(current));
            if self.table_entries > TABLE_ENTRIES_MAX {
                return Err(Stop::OutOfMemory.into());
            }
        }
        Ok(self.allowed)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("table", error)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        1
    }
}
