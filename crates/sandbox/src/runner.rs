//! Run executions in child processes, from the worker's side.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gristmill_result::{Ending, Witness};

use crate::LOG_BYTES_MAX;
use crate::control::Control;
use crate::error::SandboxError;
use crate::execution::{ChildCommand, Execution, Finished, HostFault, HostFaultKind, Input, Outcome, RunReport};
use crate::module;
use crate::process::{Heard, Process};
use crate::wire::{Compile, Reply, Request, Run, Work};
use crate::witness::WitnessHasher;

/// Time that compiling a module may take. Past it the module is this host's fault: a faster one may manage.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);
/// Times a module is compiled anew because its cached form was damaged.
const COMPILE_ATTEMPTS_MAX: u32 = 2;
/// Time the child has to start and lock down, before its own time begins.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of all arguments, or of all variables of one run.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How a [`Runner`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// How to start a child process.
    pub child: ChildCommand,
    /// Where compiled modules are kept; made when missing (mode 0700). Several runners may share it.
    pub cache_dir: PathBuf,
}

/// Runs executions, each in a child process of its own. Shared freely between threads.
#[derive(Clone, Debug)]
pub struct Runner {
    config: RunnerConfig,
}

/// A child has said its last.
enum Last {
    Reply(Reply),
    Outcome(Outcome),
}

impl Runner {
    /// A runner. Starts nothing.
    ///
    /// # Errors
    /// When the cache folder cannot be made.
    pub fn new(config: RunnerConfig) -> Result<Self, SandboxError> {
        let runner = Self { config };
        runner.make_cache_dir(&runner.config.cache_dir)?;
        Ok(runner)
    }

    /// Runs an execution to its end. Blocks: call it from a thread that may, and that lives until it returns (the
    /// child dies with the thread that started it).
    ///
    /// # Errors
    /// When the execution cannot begin on this host. What replicas agree on and what this host failed at are
    /// [`Outcome`]s.
    pub fn run(&self, execution: &Execution, control: &Control) -> Result<Outcome, SandboxError> {
        self.run_with(execution, control, &mut |_| {})
    }

    /// As [`Runner::run`], telling `on_run` of each run that has ended.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_with(
        &self,
        execution: &Execution,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Outcome, SandboxError> {
        check(execution)?;
        let cache_file = module::cache_file(&self.config.cache_dir, execution.app_id);
        if let Some(folder) = cache_file.parent() {
            self.make_cache_dir(folder)?;
        }
        for _ in 0..COMPILE_ATTEMPTS_MAX {
            if !cache_file.exists()
                && let Some(outcome) = self.compile(execution, &cache_file, control)?
            {
                return Ok(outcome);
            }
            if let Some(outcome) = self.run_compiled(execution, &cache_file, control, on_run)? {
                return Ok(outcome);
            }
            tracing::warn!(file = %cache_file.display(), "a compiled module was damaged; compiling it anew");
            // Should it not go away, the next attempt finds it damaged again and the loop ends.
            let _ = std::fs::remove_file(&cache_file);
        }
        let reason = format!("the compiled module {} does not stay intact", cache_file.display());
        Ok(Outcome::HostFault(HostFault { kind: HostFaultKind::Io, reason }))
    }

    fn make_cache_dir(&self, path: &Path) -> Result<(), SandboxError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| SandboxError::Cache { path: path.to_path_buf(), source })
    }

    /// Compiles the app into the cache; an outcome when that is the end of it.
    fn compile(
        &self,
        execution: &Execution,
        cache_file: &Path,
        control: &Control,
    ) -> Result<Option<Outcome>, SandboxError> {
        let app =
            absolute(&execution.app).map_err(|source| SandboxError::App { path: execution.app.clone(), source })?;
        let request = Compile { app, app_id: execution.app_id, cache_file: cache_file.to_path_buf() };
        let mut missing = Vec::new();
        let last = self.converse(Work::Compile(request), COMPILE_TIME_MAX, control, &mut |reply| match reply {
            Reply::Locked { missing: found } => {
                missing = found;
                None
            }
            reply => Some(reply),
        })?;
        match last {
            Last::Outcome(outcome) => Ok(Some(outcome)),
            Last::Reply(Reply::Compiled) => Ok(None),
            Last::Reply(Reply::NotRunnable { reason }) => {
                Ok(Some(Outcome::Finished(not_runnable(execution, &reason, missing))))
            }
            Last::Reply(Reply::AppUnreadable { code }) => {
                Err(SandboxError::App { path: execution.app.clone(), source: std::io::Error::from_raw_os_error(code) })
            }
            Last::Reply(Reply::AppMismatch { got }) => {
                Err(SandboxError::AppMismatch { path: execution.app.clone(), expected: execution.app_id, got })
            }
            Last::Reply(Reply::Fault(fault)) => Ok(Some(Outcome::HostFault(fault))),
            Last::Reply(reply) => Ok(Some(unexpected(&reply))),
        }
    }

    /// Runs the compiled app; none when the cached form turned out to be damaged.
    fn run_compiled(
        &self,
        execution: &Execution,
        cache_file: &Path,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Option<Outcome>, SandboxError> {
        let work = Work::Run(Box::new(Run { execution: resolved(execution)?, cache_file: cache_file.to_path_buf() }));
        let mut runs = Vec::new();
        let mut log = VecDeque::new();
        let mut missing = Vec::new();
        let last = self.converse(work, execution.wall_clock, control, &mut |reply| match reply {
            Reply::Locked { missing: found } => {
                missing = found;
                None
            }
            // A child that tells of other runs than it was given is not believed.
            Reply::Ran { report, .. } if execution.runs.get(runs.len()).map(|run| run.index) != Some(report.index) => {
                Some(Reply::Ran { report, log: vec![] })
            }
            Reply::Ran { report, log: piece } => {
                on_run(&report);
                runs.push(report);
                log.extend(piece);
                let over = log.len().saturating_sub(LOG_BYTES_MAX);
                log.drain(..over);
                None
            }
            reply => Some(reply),
        })?;
        Ok(Some(match last {
            Last::Outcome(outcome) => outcome,
            Last::Reply(Reply::CacheInvalid) => return Ok(None),
            Last::Reply(Reply::Fault(fault)) => Outcome::HostFault(fault),
            Last::Reply(Reply::Finished { witness }) if runs.len() == execution.runs.len() => {
                let (witness, log) = (Witness(witness.into()), log.into());
                Outcome::Finished(Finished { runs, witness, log, missing_guarantees: missing })
            }
            Last::Reply(reply) => unexpected(&reply),
        }))
    }

    /// Starts a child and hears it out, until `sort` calls a reply the last. The child is gone when this returns.
    /// Its time begins when it is locked down.
    fn converse(
        &self,
        work: Work,
        time: Duration,
        control: &Control,
        sort: &mut dyn FnMut(Reply) -> Option<Reply>,
    ) -> Result<Last, SandboxError> {
        let request = Request { parent: std::process::id(), work };
        let mut deadline = after(START_TIME_MAX);
        let mut process = Process::start(&self.config.child, &request, control)?;
        loop {
            let fault = match process.hear(&mut deadline) {
                Heard::Reply(reply) => {
                    if matches!(reply, Reply::Locked { .. }) {
                        deadline = after(time);
                    }
                    match sort(reply) {
                        Some(last) => return Ok(Last::Reply(last)),
                        None => continue,
                    }
                }
                Heard::Cancelled => return Ok(Last::Outcome(Outcome::Cancelled)),
                Heard::TimedOut => HostFault {
                    kind: HostFaultKind::WallClock,
                    reason: format!("not finished after {} s of wall clock; killed", time.as_secs_f64()),
                },
                Heard::Died(reason) => HostFault { kind: HostFaultKind::Killed, reason },
            };
            return Ok(Last::Outcome(Outcome::HostFault(fault)));
        }
    }
}

/// The moment so long from now; a wait without end is cut at a century.
fn after(time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + time.min(CENTURY)
}

/// What every host reports of an app that none can run.
fn not_runnable(execution: &Execution, reason: &str, missing_guarantees: Vec<String>) -> Finished {
    let mut witness = WitnessHasher::new();
    let runs = execution.runs.iter().map(|run| {
        witness.add(run.index, 0, &[]);
        let ending = Ending::NotRunnable;
        RunReport { index: run.index, ending, fuel: 0, memory_bytes: 0, output_bytes: 0, output_files: 0 }
    });
    let runs = runs.collect();
    let mut log = format!("[sandbox] the app cannot be run: {reason}\n").into_bytes();
    log.truncate(LOG_BYTES_MAX);
    Finished { runs, witness: Witness(witness.finish().into()), log, missing_guarantees }
}

fn unexpected(reply: &Reply) -> Outcome {
    let reason = format!("the sandbox process said something out of turn: {reply:?}");
    Outcome::HostFault(HostFault { kind: HostFaultKind::Killed, reason })
}

/// Checks what can be checked before a child is started, and makes the output folders.
fn check(execution: &Execution) -> Result<(), SandboxError> {
    let malformed = |problem: &str| Err(SandboxError::Malformed(problem.to_owned()));
    if execution.runs.is_empty() {
        return malformed("there is no run in it");
    }
    check_texts(execution.args.iter())?;
    for env in std::iter::once(&execution.env).chain(execution.runs.iter().map(|run| &run.env)) {
        check_texts(env.iter().flat_map(|(key, value)| [key, value]))?;
        if env.iter().any(|(key, _)| key.is_empty() || key.contains('=')) {
            return malformed("a variable's name is empty or contains `=`");
        }
    }
    let inputs = execution.runs.iter().flat_map(|run| &run.inputs);
    for input in execution.inputs.iter().chain(inputs) {
        check_input(input)?;
    }
    let mut folders = BTreeSet::new();
    for run in &execution.runs {
        if !folders.insert(&run.output_dir) {
            return malformed("two runs share an output folder");
        }
        prepare_output(&run.output_dir)?;
    }
    Ok(())
}

fn check_texts<'a>(texts: impl Iterator<Item = &'a String>) -> Result<(), SandboxError> {
    let mut bytes: usize = 0;
    for text in texts {
        if text.contains('\0') {
            return Err(SandboxError::Malformed("an argument or variable contains a NUL".to_owned()));
        }
        bytes = bytes.saturating_add(text.len() + 1);
    }
    if bytes > TEXT_BYTES_MAX {
        return Err(SandboxError::Malformed(format!(
            "arguments or variables take {bytes} bytes; {TEXT_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

fn check_input(input: &Input) -> Result<(), SandboxError> {
    let refuse = |problem: String| Err(SandboxError::Input { path: input.host.clone(), problem });
    let metadata = match std::fs::symlink_metadata(&input.host) {
        Ok(metadata) => metadata,
        Err(error) => return refuse(error.to_string()),
    };
    if metadata.is_symlink() {
        return refuse("it is a symbolic link; name the file it leads to".to_owned());
    }
    if !metadata.is_file() && !metadata.is_dir() {
        return refuse("it is neither a file nor a folder".to_owned());
    }
    if metadata.is_file() && input.at.split('/').all(str::is_empty) {
        return refuse("a file needs a name in the input folder".to_owned());
    }
    if input.at.split('/').any(|name| name == "." || name == "..") {
        return refuse(format!("its name in the input folder, `{}`, leads elsewhere", input.at));
    }
    Ok(())
}

fn prepare_output(path: &Path) -> Result<(), SandboxError> {
    let refuse = |problem: String| SandboxError::Output { path: path.to_path_buf(), problem };
    std::fs::create_dir_all(path).map_err(|error| refuse(error.to_string()))?;
    let mut entries = std::fs::read_dir(path).map_err(|error| refuse(error.to_string()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(refuse("it is not empty".to_owned())),
    }
}

/// The execution with paths that hold in the child's working directory too.
fn resolved(execution: &Execution) -> Result<Execution, SandboxError> {
    let mut resolved = execution.clone();
    let input_error = |path: &Path, error: std::io::Error| SandboxError::Input {
        path: path.to_path_buf(),
        problem: error.to_string(),
    };
    let items = resolved.runs.iter_mut().flat_map(|run| &mut run.inputs);
    for input in resolved.inputs.iter_mut().chain(items) {
        input.host = absolute(&input.host).map_err(|error| input_error(&input.host, error))?;
    }
    for run in &mut resolved.runs {
        run.output_dir = absolute(&run.output_dir)
            .map_err(|error| SandboxError::Output { path: run.output_dir.clone(), problem: error.to_string() })?;
    }
    Ok(resolved)
}

fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}
