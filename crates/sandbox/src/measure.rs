//! Take parts of the sandbox's work apart, for its benchmarks; nothing here is for anybody else.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::error::SandboxError;
use crate::execution::ChildCommand;
use crate::process::{Heard, Process};
use crate::profile::EngineProfile;
use crate::wire::{Reply, Request, Work};
use crate::witness::WitnessHasher;
use crate::{code, engine, module};

/// Starts a child to serve; the time until it says that it is locked down. It is gone when this returns.
pub fn lock_a_child(command: &ChildCommand) -> Result<Duration, SandboxError> {
    let started = Instant::now();
    let work = Work::Serve(EngineProfile::default());
    let mut process = Process::start(command, &Request { parent: std::process::id(), work })?;
    match process.hear(&Control::new(), &mut (started + Duration::from_secs(30))) {
        Heard::Reply(Reply::Locked { .. }, _) => Ok(started.elapsed()),
        _ => Err(SandboxError::Malformed("the child did not lock down".to_owned())),
    }
}

/// The witness of one run that leaves this memory.
pub fn witness(memory: &[u8]) -> [u8; 32] {
    let mut hasher = WitnessHasher::new();
    hasher.add(0, 0, memory);
    hasher.finish()
}

/// Times of what happens to a module before its first run.
#[derive(Clone, Copy, Debug)]
pub struct ModuleTimes {
    /// Compiling, once in a module's life on a host.
    pub compile: Duration,
    /// Reading the cache, checking and sealing, once in a runner's life.
    pub fetch: Duration,
    /// An engine without a compiler, and the host's functions, once in a child's life.
    pub engine: Duration,
    /// Mapping and linking, once in a child's life.
    pub load: Duration,
    /// Bytes of the compiled form.
    pub bytes: u64,
}

/// Compiles, caches and loads a module in this process.
///
/// # Panics
/// When it is no module, or `folder` cannot be written to.
pub fn module_times(bytes: &[u8], folder: &Path) -> ModuleTimes {
    let profile = EngineProfile::default();
    let compiler = engine::compiler(profile).expect("an engine");
    let started = Instant::now();
    let compiled = module::compile(&compiler, profile.reach, bytes).expect("a module");
    let compile = started.elapsed();
    let path = folder.join("module.cwasm");
    module::store(&path, profile, &compiled).expect("a cache");
    let started = Instant::now();
    let file = code::Codes::default().get(&path, profile).expect("a sealed file").expect("an intact module");
    let fetch = started.elapsed();
    let started = Instant::now();
    let runtime = engine::runtime().expect("an engine");
    let linker = module::linker(&runtime).expect("a linker");
    let engine = started.elapsed();
    let started = Instant::now();
    let loaded = module::load(&runtime, file.into()).expect("the module again");
    linker.instantiate_pre(&loaded).expect("a command");
    ModuleTimes { compile, fetch, engine, load: started.elapsed(), bytes: compiled.len() as u64 }
}
