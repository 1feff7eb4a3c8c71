//! Run a module once an item, each time in a fresh instance.

use std::rc::Rc;

use gristmill_result::Ending;
use wasmtime::{Engine, InstancePre, Module, Store, Trap};

use crate::execution::{Execution, HostFault, HostFaultKind, ItemRun, RunReport};
use crate::preview1::{Host, Limiter, World};
use crate::stop::{HostProblem, Stop};
use crate::vfs::Vfs;
use crate::vfs::input::InputTree;
use crate::vfs::output::{OutputTree, Quota};
use crate::witness::WitnessHasher;
use crate::{IEXEC_IN, IEXEC_OUT, LOG_BYTES_MAX, module};

/// Bytes of log that a run may leave even when there are very many.
const LOG_BYTES_MIN: usize = 1024;

/// Runs the items of an execution, one after the other.
pub(crate) struct Guests<'a> {
    execution: &'a Execution,
    engine: Engine,
    start: InstancePre<Host>,
    /// Inputs that all runs share.
    shared: Rc<InputTree>,
    quota: Quota,
    witness: WitnessHasher,
}

/// Why a run came to its end.
enum End {
    Result(Ending),
    /// With the reason in words for the log.
    Failed(Ending, String),
}

impl<'a> Guests<'a> {
    /// Makes ready what all runs share.
    pub(crate) fn new(execution: &'a Execution, engine: Engine, module: &Module) -> Result<Self, HostFault> {
        let engine_fault = |error: wasmtime::Error| io_fault(format!("the engine cannot begin: {error:#}"));
        let start = module::linker(&engine).and_then(|linker| linker.instantiate_pre(module)).map_err(engine_fault)?;
        let shared = InputTree::empty().with(&execution.inputs).map_err(stop_fault)?;
        let limits = &execution.limits;
        let quota = Quota { bytes_left: limits.output_bytes, files_left: limits.output_files };
        Ok(Self { execution, engine, start, shared: Rc::new(shared), quota, witness: WitnessHasher::new() })
    }

    /// The witness of the runs so far.
    pub(crate) fn witness(&self) -> [u8; 32] {
        self.witness.finish()
    }

    /// Makes one run; says how it ended and what it logged.
    pub(crate) fn run(&mut self, run: &ItemRun) -> Result<(RunReport, Vec<u8>), HostFault> {
        let mut store = self.store(run)?;
        let end = self.execute(&mut store)?;
        store.data().fs.check_inputs().map_err(stop_fault)?;
        let (ending, reason) = match end {
            End::Result(ending) => (ending, None),
            End::Failed(ending, reason) => (ending, Some(reason)),
        };
        let left = if ending == Ending::OutOfFuel { 0 } else { store.get_fuel().unwrap_or(0) };
        let fuel = self.execution.limits.fuel.saturating_sub(left);
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
        Ok((report, log))
    }

    fn store(&self, run: &ItemRun) -> Result<Store<Host>, HostFault> {
        let input = match run.inputs.is_empty() {
            true => Rc::clone(&self.shared),
            false => Rc::new(self.shared.with(&run.inputs).map_err(stop_fault)?),
        };
        let mut args = vec!["app".to_owned()];
        args.extend(self.execution.args.iter().cloned());
        let mut env = std::collections::BTreeMap::new();
        env.insert("IEXEC_IN".to_owned(), IEXEC_IN.to_owned());
        env.insert("IEXEC_OUT".to_owned(), IEXEC_OUT.to_owned());
        env.extend(self.execution.env.iter().chain(&run.env).cloned());
        let env: Vec<(String, String)> = env.into_iter().collect();
        let host = Host {
            fs: Vfs::new(input, OutputTree::new(run.output_dir.clone(), self.quota)),
            world: World::new(&args, &env, &self.execution.seed, run.index),
            limiter: Limiter::new(self.execution.limits.memory_bytes),
            memory: None,
            fuel: 0,
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.limiter);
        store.set_fuel(self.execution.limits.fuel).map_err(|error| io_fault(format!("{error:#}")))?;
        Ok(store)
    }

    fn execute(&self, store: &mut Store<Host>) -> Result<End, HostFault> {
        let outcome = self.start.instantiate(&mut *store).and_then(|instance| {
            if store.data().memory.is_none() {
                let memory = instance.get_memory(&mut *store, "memory");
                store.data_mut().memory = memory;
            }
            instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(&mut *store, ())
        });
        match outcome {
            Ok(()) => Ok(End::Result(Ending::Exited(0))),
            Err(error) => classify(&error),
        }
    }

    /// The end of what a run wrote to stderr, with the reason when it failed, marked with its index among several.
    fn log(&self, run: &ItemRun, stderr: Vec<u8>, reason: Option<String>) -> Vec<u8> {
        let runs = self.execution.runs.len();
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
fn classify(error: &wasmtime::Error) -> Result<End, HostFault> {
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
        Some(Trap::OutOfFuel) => Ok(End::Failed(Ending::OutOfFuel, Stop::OutOfFuel.to_string())),
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
    let kind = match &stop {
        Stop::Host(HostProblem::InputChanged(_)) => HostFaultKind::InputChanged,
        _ => HostFaultKind::Io,
    };
    HostFault { kind, reason: stop.to_string() }
}

#[cfg(test)]
mod tests;
