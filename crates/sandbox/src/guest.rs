//! Run a module once an item, each time in a fresh instance.

use std::rc::Rc;

use gristmill_result::Ending;
use wasmtime::{Engine, InstancePre, Store, Trap, Val};

use crate::execution::{HostFault, HostFaultKind, RunReport};
use crate::meter::{FUEL_EXPORT, START_EXPORT};
use crate::preview1::{FUEL_MAX, Host, Limiter, World};
use crate::stop::Stop;
use crate::vfs::Vfs;
use crate::vfs::input::InputTree;
use crate::vfs::output::{OutputTree, Quota};
use crate::vfs::storage::Storage;
use crate::wire::{Item, Placed, Task};
use crate::witness::WitnessHasher;
use crate::{IEXEC_IN, IEXEC_OUT, LOG_BYTES_MAX};

/// Bytes of WebAssembly's unit of memory.
const WASM_PAGE_BYTES: u64 = 65536;
/// Bytes of log that a run may leave even when there are very many.
const LOG_BYTES_MIN: usize = 1024;

/// Runs the items of a task, one after the other.
pub(crate) struct Guests<'a> {
    task: &'a Task,
    engine: Engine,
    start: InstancePre<Host>,
    storage: Rc<dyn Storage>,
    /// Inputs that all runs share.
    shared: Rc<InputTree>,
    args: Vec<String>,
    quota: Quota,
    witness: WitnessHasher,
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) report: RunReport,
    pub(crate) log: Vec<u8>,
    /// What is still to be put into its output folder, and the bytes of it.
    pub(crate) left: Vec<Placed>,
    pub(crate) bytes: Vec<u8>,
}

/// Why a run came to its end.
enum End {
    Result(Ending),
    /// With the reason in words for the log.
    Failed(Ending, String),
}

impl<'a> Guests<'a> {
    /// Makes ready what all runs share.
    pub(crate) fn new(
        task: &'a Task,
        engine: Engine,
        start: InstancePre<Host>,
        storage: Rc<dyn Storage>,
    ) -> Result<Self, HostFault> {
        let shared = InputTree::empty(Rc::clone(&storage)).with(&task.inputs, &mut &[][..]).map_err(stop_fault)?;
        let quota = Quota { bytes_left: task.limits.output_bytes, files_left: task.limits.output_files };
        let args = std::iter::once("app".to_owned()).chain(task.args.iter().cloned()).collect();
        let (shared, witness) = (Rc::new(shared), WitnessHasher::new());
        Ok(Self { task, engine, start, storage, shared, args, quota, witness })
    }

    /// The witness of the runs so far.
    pub(crate) fn witness(&self) -> [u8; 32] {
        self.witness.finish()
    }

    /// Makes one run. The bytes of its small inputs are taken off the front of `small`.
    pub(crate) fn run(&mut self, run: &Item, small: &mut &[u8]) -> Result<Ran, HostFault> {
        let mut store = self.store(run, small)?;
        let end = self.execute(&mut store)?;
        let (ending, reason) = match end {
            End::Result(ending) => (ending, None),
            End::Failed(ending, reason) => (ending, Some(reason)),
        };
        let left = if ending == Ending::OutOfFuel { 0 } else { Host::fuel_left(&mut store) };
        let fuel = self.task.limits.fuel.min(FUEL_MAX).saturating_sub(left);
        let memory = store.data().memory;
        let memory = memory.map_or(&[][..], |memory| memory.data(&store));
        self.witness.add(run.index, fuel, memory);
        let memory_bytes = memory.len() as u64;
        let log = self.log(run, store.data().fs.stderr(), reason);
        let delivered = store.into_data().fs.output.deliver().map_err(stop_fault)?;
        self.quota = delivered.left;
        let report = RunReport {
            index: run.index,
            ending,
            fuel,
            memory_bytes,
            output_bytes: delivered.bytes,
            output_files: delivered.files,
        };
        Ok(Ran { report, log, left: delivered.rest, bytes: delivered.rest_bytes })
    }

    fn store(&self, run: &Item, small: &mut &[u8]) -> Result<Store<Host>, HostFault> {
        let input = match run.inputs.is_empty() {
            true => Rc::clone(&self.shared),
            false => Rc::new(self.shared.with(&run.inputs, small).map_err(stop_fault)?),
        };
        let mut env = std::collections::BTreeMap::new();
        env.extend([("IEXEC_IN", IEXEC_IN), ("IEXEC_OUT", IEXEC_OUT)]);
        env.extend(self.task.env.iter().chain(&run.env).map(|(key, value)| (key.as_str(), value.as_str())));
        let host = Host {
            fs: Vfs::new(input, OutputTree::new(Rc::clone(&self.storage), self.quota)),
            world: World::new(&self.args, env, &self.task.seed, run.index),
            limiter: Limiter::new(self.task.limits.memory_bytes),
            memory: None,
            fuel: self.task.limits.fuel.min(FUEL_MAX),
            meter: None,
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.limiter);
        Ok(store)
    }

    fn execute(&self, store: &mut Store<Host>) -> Result<End, HostFault> {
        // The engine would ask the operating system for all of it before it asks the limiter.
        let pages = self.start.module().resources_required().max_initial_memory_size.unwrap_or(0);
        if pages.saturating_mul(WASM_PAGE_BYTES) > self.task.limits.memory_bytes {
            return Ok(End::Failed(Ending::OutOfMemory, Stop::OutOfMemory.to_string()));
        }
        let outcome = self.start.instantiate(&mut *store).and_then(|instance| {
            let memory = instance.get_memory(&mut *store, "memory");
            let meter = instance.get_global(&mut *store, FUEL_EXPORT);
            let fuel = store.data().fuel;
            if let Some(meter) = meter {
                meter.set(&mut *store, Val::I64(fuel.cast_signed()))?;
            }
            let host = store.data_mut();
            (host.memory, host.meter) = (memory, meter);
            if instance.get_func(&mut *store, START_EXPORT).is_some() {
                instance.get_typed_func::<(), ()>(&mut *store, START_EXPORT)?.call(&mut *store, ())?;
            }
            instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(&mut *store, ())
        });
        match outcome {
            Ok(()) => Ok(End::Result(Ending::Exited(0))),
            Err(error) => classify(&error, Host::fuel_spent(store)),
        }
    }

    /// The end of what a run wrote to stderr, with the reason when it failed, marked with its index among several.
    fn log(&self, run: &Item, stderr: Vec<u8>, reason: Option<String>) -> Vec<u8> {
        let runs = self.task.items;
        let limit = (LOG_BYTES_MAX / runs.max(1)).max(LOG_BYTES_MIN);
        if stderr.is_empty() && reason.is_none() {
            return Vec::new();
        }
        let mut log = Vec::new();
        if runs > 1 {
            log.extend_from_slice(format!("--- item {} ---\n", run.index).as_bytes());
        }
        let reason = reason.map(|reason| format!("[sandbox] {reason}\n")).unwrap_or_default();
        let room = limit.saturating_sub(log.len() + reason.len() + 1);
        log.extend_from_slice(&stderr[stderr.len().saturating_sub(room)..]);
        if !log.is_empty() && !log.ends_with(b"\n") {
            log.push(b'\n');
        }
        log.extend_from_slice(reason.as_bytes());
        log
    }
}

/// Tells results from faults of this host.
fn classify(error: &wasmtime::Error, fuel_spent: bool) -> Result<End, HostFault> {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let ending = match stop {
            Stop::Exit(code) => return Ok(End::Result(Ending::Exited(*code))),
            Stop::OutOfFuel => Ending::OutOfFuel,
            Stop::OutOfMemory => Ending::OutOfMemory,
            Stop::OutputLimit => Ending::OutputLimit,
            Stop::FileLimit => Ending::FileLimit,
            Stop::Host(_) => return Err(stop_fault(stop.clone())),
        };
        return Ok(End::Failed(ending, stop.to_string()));
    }
    match error.downcast_ref::<Trap>() {
        // A charge that cannot be paid leaves less than nothing.
        Some(Trap::UnreachableCodeReached) if fuel_spent => {
            Ok(End::Failed(Ending::OutOfFuel, Stop::OutOfFuel.to_string()))
        }
        Some(Trap::StackOverflow) => Err(HostFault {
            kind: HostFaultKind::StackOverflow,
            reason: "the program's calls went deeper than the stack of this host".to_owned(),
        }),
        Some(trap) => Ok(End::Failed(Ending::Trapped(*trap as u32), trap.to_string())),
        None => Err(io_fault(format!("the engine failed: {error:#}"))),
    }
}

fn io_fault(reason: String) -> HostFault {
    HostFault { kind: HostFaultKind::Io, reason }
}

/// A stop that is no result, as a fault.
pub(crate) fn stop_fault(stop: Stop) -> HostFault {
    match stop {
        Stop::Host(problem) => problem.into(),
        other => io_fault(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
