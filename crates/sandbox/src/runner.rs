//! Run executions in child processes, from the worker's side.

use std::collections::HashSet;
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_result::{Ending, Witness};
use gristmill_types::{ContentId, ResourceLimits};

use crate::code::Codes;
use crate::control::Control;
use crate::error::SandboxError;
use crate::execution::{
    ChildCommand, Execution, Finished, HostFault, HostFaultKind, Input, ItemRun, Left, Outcome, RunOptions, RunReport,
    SmallFile,
};
use crate::module::{self, PROBE};
use crate::pool::{Key, Pool, PoolConfig};
use crate::process::Heard;
use crate::profile::EngineProfile;
use crate::shelf::prepare_output;
use crate::task::{Last, Lead, after, unexpected};
use crate::wire::{Compile, Reply, Work};
use crate::witness::WitnessHasher;
use crate::{LOG_BYTES_MAX, SMALL_FILE_BYTES_MAX, SMALL_FILES_BYTES_MAX};

/// Time that compiling a module may take. Past it the module is this host's fault: a faster one may manage.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);
/// Times a module is compiled anew because its cached form was damaged.
const COMPILE_ATTEMPTS_MAX: u32 = 2;
/// Bytes of all arguments, or of all variables of one run.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Time of a probe, and the work clock from which its limits follow.
const PROBE_TIME_MAX: Duration = Duration::from_secs(30);
const PROBE_WORK_CLOCK_S: u64 = 60;

/// How a [`Runner`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// How to start a child process.
    pub child: ChildCommand,
    /// Where compiled modules are kept; made when missing (mode 0700). Several runners may share it.
    pub cache_dir: PathBuf,
}

/// Runs executions in child processes. Shared freely between threads; clones share the processes. When the last one goes, none is
/// left.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    config: RunnerConfig,
    pool: Pool,
    codes: Codes,
}

impl Runner {
    /// A runner with the default [`PoolConfig`]. Starts nothing.
    ///
    /// # Errors
    /// When the cache folder cannot be made.
    pub fn new(config: RunnerConfig) -> Result<Self, SandboxError> {
        Self::with_pool(config, PoolConfig::default())
    }

    /// A runner that keeps so many processes. Starts only those that are to be ready.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn with_pool(config: RunnerConfig, pool: PoolConfig) -> Result<Self, SandboxError> {
        make_cache_dir(&config.cache_dir)?;
        let pool = Pool::new(config.child.clone(), pool);
        Ok(Self { shared: Arc::new(Shared { config, pool, codes: Codes::default() }) })
    }

    /// Runs a module that does nothing, and says which guarantees this host does not give. Blocks, for milliseconds.
    ///
    /// # Errors
    /// Why no module can be run here, in words: the host forbids executable memory, for one.
    pub fn probe(&self) -> Result<Vec<String>, String> {
        let folder = &self.shared.config.cache_dir;
        // Others may probe in the same folder.
        let name = format!("probe-{}-{:p}", std::process::id(), Arc::as_ptr(&self.shared));
        let (app, output_dir) = (folder.join(format!("{name}.wasm")), folder.join(name));
        let text = |error: std::io::Error| format!("cannot use {}: {error}", folder.display());
        std::fs::write(&app, PROBE).map_err(text)?;
        let execution = Execution {
            app: app.clone(),
            app_id: ContentId(*blake3::hash(PROBE).as_bytes()),
            args: vec![],
            env: vec![],
            seed: [0; 32],
            inputs: vec![],
            runs: vec![ItemRun { index: 0, env: vec![], inputs: vec![], output_dir: output_dir.clone() }],
            limits: ResourceLimits::of_work_clock(PROBE_WORK_CLOCK_S),
            wall_clock: PROBE_TIME_MAX,
        };
        let outcome = self.run(&execution, &Control::new());
        // Whoever finds them finds nothing.
        let _ = std::fs::remove_file(app).and(std::fs::remove_dir_all(output_dir));
        match outcome.map_err(|error| error.to_string())? {
            Outcome::Finished(finished) if finished.runs.iter().all(|run| run.ending.is_success()) => {
                Ok(finished.missing_guarantees)
            }
            Outcome::Finished(finished) => Err(String::from_utf8_lossy(&finished.log).trim_end().to_owned()),
            Outcome::HostFault(fault) => Err(fault.to_string()),
            Outcome::Cancelled => Err("it was cancelled".to_owned()),
        }
    }

    /// Runs an execution to its end, under the default profile and in a process that is not used again. Blocks: call it from a
    /// thread that may.
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
        self.run_as(execution, &RunOptions::default(), control, on_run)
    }

    /// As [`Runner::run_with`], under these options.
    ///
    /// # Errors
    /// As [`Runner::run`]; and when this host does not support the profile, which is better asked before a task is taken.
    pub fn run_as(
        &self,
        execution: &Execution,
        options: &RunOptions,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Outcome, SandboxError> {
        options.profile.supported()?;
        check(execution)?;
        for run in &execution.runs {
            prepare_output(&run.output_dir)
                .map_err(|problem| SandboxError::Output { path: run.output_dir.clone(), problem })?;
        }
        Ok(self.run_checked(Job { execution, options, small: None }, control, on_run)?.0)
    }

    /// As [`Runner::run_as`], with further inputs of each run, in the order of the runs, that come from memory and replace what has
    /// the same name. Outputs that are small come back in memory, as long as those of all runs take no more than a few megabytes;
    /// the output folders are only made for others.
    ///
    /// # Errors
    /// As [`Runner::run_as`]; and when a file is too large to be a small one, or there are not as many lists as runs.
    pub fn run_small(
        &self,
        execution: &Execution,
        options: &RunOptions,
        small: &[Vec<SmallFile>],
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<(Outcome, Vec<Left>), SandboxError> {
        options.profile.supported()?;
        check(execution)?;
        check_small(execution, small)?;
        self.run_checked(Job { execution, options, small: Some(small) }, control, on_run)
    }

    fn run_checked(
        &self,
        job: Job<'_>,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<(Outcome, Vec<Left>), SandboxError> {
        let Job { execution, options, .. } = job;
        let cache_file = module::cache_file(&self.shared.config.cache_dir, options.profile, execution.app_id);
        if let Some(folder) = cache_file.parent() {
            make_cache_dir(folder)?;
        }
        for _ in 0..COMPILE_ATTEMPTS_MAX {
            if !cache_file.exists()
                && let Some(outcome) = self.compile(execution, options.profile, &cache_file, control)?
            {
                let nothing = vec![Left::InMemory(vec![]); execution.runs.len()];
                return Ok((outcome, nothing));
            }
            if let Some(done) = self.run_compiled(job, &cache_file, control, on_run)? {
                return Ok(done);
            }
            tracing::warn!(file = %cache_file.display(), "a compiled module was damaged; compiling it anew");
            // Should it not go away, the next attempt finds it damaged again and the loop ends.
            let _ = std::fs::remove_file(&cache_file);
            self.shared.codes.forget(&cache_file);
        }
        let reason = format!("the compiled module {} does not stay intact", cache_file.display());
        Ok((Outcome::HostFault(HostFault { kind: HostFaultKind::Io, reason }), vec![]))
    }

    /// Compiles the app into the cache; an outcome when that is the end of it.
    fn compile(
        &self,
        execution: &Execution,
        profile: EngineProfile,
        cache_file: &Path,
        control: &Control,
    ) -> Result<Option<Outcome>, SandboxError> {
        let app =
            absolute(&execution.app).map_err(|source| SandboxError::App { path: execution.app.clone(), source })?;
        let cache_file =
            absolute(cache_file).map_err(|source| SandboxError::Cache { path: cache_file.to_path_buf(), source })?;
        let request = Compile { profile, app, app_id: execution.app_id, cache_file };
        let mut process = self.shared.pool.start(Work::Compile(request))?;
        let _listening = process.listen(control);
        let mut deadline = after(COMPILE_TIME_MAX);
        let mut missing = Vec::new();
        let fault = |kind, reason| Ok(Some(Outcome::HostFault(HostFault { kind, reason })));
        loop {
            return match process.hear(control, &mut deadline) {
                Heard::Reply(Reply::Locked { missing: found }, _) => {
                    missing = found;
                    continue;
                }
                Heard::Reply(Reply::Compiled, _) => Ok(None),
                Heard::Reply(Reply::NotRunnable { reason }, _) => {
                    Ok(Some(Outcome::Finished(not_runnable(execution, &reason, missing))))
                }
                Heard::Reply(Reply::AppUnreadable { code }, _) => {
                    let source = std::io::Error::from_raw_os_error(code);
                    Err(SandboxError::App { path: execution.app.clone(), source })
                }
                Heard::Reply(Reply::AppMismatch { got }, _) => {
                    Err(SandboxError::AppMismatch { path: execution.app.clone(), expected: execution.app_id, got })
                }
                Heard::Reply(Reply::Fault(fault), _) => Ok(Some(Outcome::HostFault(fault))),
                Heard::Reply(reply, _) => Ok(Some(Outcome::HostFault(unexpected(&reply)))),
                Heard::Cancelled => Ok(Some(Outcome::Cancelled)),
                Heard::Died(reason) => fault(HostFaultKind::Killed, reason),
                Heard::TimedOut => {
                    let time = COMPILE_TIME_MAX.as_secs();
                    fault(HostFaultKind::WallClock, format!("not compiled after {time} s of wall clock; killed"))
                }
            };
        }
    }

    /// Runs the compiled app; none when the cached form turned out to be damaged.
    fn run_compiled(
        &self,
        job: Job<'_>,
        cache_file: &Path,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Option<(Outcome, Vec<Left>)>, SandboxError> {
        let Job { execution, options, small } = job;
        let (profile, pool) = (options.profile, &self.shared.pool);
        let key = options.reuse.map(|deal| Key { deal, app: execution.app_id, profile, limits: execution.limits });
        let mut hired = pool.hire(profile, key.as_ref())?;
        loop {
            let code = match hired.tasks {
                0 => match self.shared.codes.get(cache_file, profile) {
                    Ok(Some(code)) => Some(code),
                    Ok(None) => return Ok(None),
                    Err(source) => return Err(SandboxError::Cache { path: cache_file.to_path_buf(), source }),
                },
                _ => None,
            };
            match Lead::new((execution, small), control, on_run, &mut hired).run(code) {
                Last::CodeInvalid => return Ok(None),
                // At most once: a new child has not waited.
                Last::Gone => hired = pool.hire_new(profile)?,
                Last::Outcome(outcome, left) => {
                    if let (Some(key), Outcome::Finished(finished)) = (key, &outcome)
                        && finished.runs.iter().all(|run| matches!(run.ending, Ending::Exited(_)))
                    {
                        pool.keep(key, hired);
                    }
                    return Ok(Some((outcome, left)));
                }
            }
        }
    }
}

/// What is to be run, and how.
#[derive(Clone, Copy)]
struct Job<'a> {
    execution: &'a Execution,
    options: &'a RunOptions,
    /// Small inputs of each run; none when nothing is to stay in memory.
    small: Option<&'a [Vec<SmallFile>]>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

fn make_cache_dir(path: &Path) -> Result<(), SandboxError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| SandboxError::Cache { path: path.to_path_buf(), source })
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

/// Checks what can be checked before a child is started.
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
    let mut folders = HashSet::new();
    for run in &execution.runs {
        if !folders.insert(run.output_dir.as_path()) {
            return malformed("two runs share an output folder");
        }
    }
    Ok(())
}

fn check_small(execution: &Execution, small: &[Vec<SmallFile>]) -> Result<(), SandboxError> {
    let malformed = |problem: String| Err(SandboxError::Malformed(problem));
    if small.len() != execution.runs.len() {
        return malformed(format!("there are {} runs and small files of {}", execution.runs.len(), small.len()));
    }
    for files in small {
        if files.iter().any(|file| file.bytes.len() > SMALL_FILE_BYTES_MAX) {
            return malformed(format!("a small file has more than {SMALL_FILE_BYTES_MAX} bytes"));
        }
        if files.iter().map(|file| file.bytes.len()).sum::<usize>() > SMALL_FILES_BYTES_MAX {
            return malformed(format!("the small files of a run have more than {SMALL_FILES_BYTES_MAX} bytes"));
        }
        let leads_elsewhere = |path: &str| path.split('/').any(|name| matches!(name, "" | "." | ".."));
        if let Some(file) = files.iter().find(|file| leads_elsewhere(&file.path)) {
            return malformed(format!("the name of a small file, `{}`, leads elsewhere", file.path));
        }
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

fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}
