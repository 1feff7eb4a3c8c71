//! Run containers, from the worker's side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gristmill_result::Witness;
use gristmill_sandbox::{
    ChildCommand, Control, Finished, HostFault, HostFaultKind, Input, ItemRun, LOG_BYTES_MAX, Outcome, RunReport,
};

use crate::cgroup::{Allowance, Cgroups, Group};
use crate::container::Container;
use crate::cores::Cores;
use crate::device::{Devices, add_env};
use crate::error::ContainerError;
use crate::helper::{Conversation, Heard, Helper};
use crate::network::{Network, PROXY_PORT, PROXY_VARIABLES};
use crate::proxy::Proxy;
use crate::rootfs::{page_bytes, plain_name};
use crate::runtime::{Foreign, Runtime};
use crate::wire::{Reply, Request};
use crate::{PROCESSES_MAX, SCRATCH_BYTES};

/// Time that making the sandbox may take, before the run's own time begins.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How often the group is asked whether somebody in it was killed for memory.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// CPU time beyond the wall clock, so that the runner's watch is the one that ends a run.
const CPU_MARGIN_S: u64 = 10;
/// Bytes of the name of a file or folder (Linux, NAME_MAX), and of a path below the input folder.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 2048;
/// Names that are tried for the folder of a trial.
const TRIAL_NAMES_MAX: u32 = 100;
/// Bytes of all arguments, or of all variables of one run.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Memory of the helper and of process 1.
const OWN_BYTES: u64 = 32 << 20;
/// Processes of ours in the group.
const OWN_PROCESSES: u64 = 2;

/// Whom of the host containers run as. It owns the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// Whoever the helper process is, which must not be root.
    Ourselves,
    /// A user who owns nothing else. The helper is root at first and becomes this user.
    Spare {
        /// Its number, not 0.
        uid: u32,
        /// Its group's.
        gid: u32,
    },
}

impl RunAs {
    /// The user that is taken when nobody names one: past all that Debian gives to people and services (policy 9.2.2), and none that
    /// others use for nobody.
    pub const SPARE_DEFAULT: Self = Self::Spare { uid: 64_783, gid: 64_783 };

    /// What a worker does that is asked nothing: the spare user when it is root, itself otherwise.
    pub fn by_default() -> Self {
        if nix::unistd::geteuid().is_root() { Self::SPARE_DEFAULT } else { Self::Ourselves }
    }

    /// The spare user's number and its group's.
    pub fn spare(self) -> Option<(u32, u32)> {
        match self {
            Self::Ourselves => None,
            Self::Spare { uid, gid } => Some((uid, gid)),
        }
    }
}

/// How a [`ContainerRunner`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// How to start a helper process.
    pub child: ChildCommand,
    /// Whom of the host containers run as.
    pub run_as: RunAs,
    /// Whether cgroups are made where they can be.
    pub cgroups: bool,
    /// Which program makes the containers.
    pub runtime: Runtime,
}

impl RunnerConfig {
    /// With the defaults.
    pub fn new(child: ChildCommand) -> Self {
        Self { child, run_as: RunAs::by_default(), cgroups: true, runtime: Runtime::Own }
    }
}

/// Runs containers, each run in namespaces of its own. Shared freely between threads.
#[derive(Clone, Debug)]
pub struct ContainerRunner {
    config: RunnerConfig,
    cgroups: Cgroups,
    cores: Cores,
    /// The runtime's programs, once somebody looked for them.
    runtime: Arc<OnceLock<Option<Foreign>>>,
    /// A helper that waits for the next run, in a group of its own.
    ready: Arc<Mutex<Option<Helper>>>,
}

impl ContainerRunner {
    /// A runner. Looks for cgroups, and removes those that dead workers left.
    pub fn new(config: RunnerConfig) -> Self {
        let cgroups = if config.cgroups { Cgroups::find() } else { Cgroups::default() };
        Self { config, cgroups, cores: Cores::of_this_process(), runtime: Arc::default(), ready: Arc::default() }
    }

    /// Whom of the host containers run as: the layers must be theirs.
    pub fn run_as(&self) -> RunAs {
        self.config.run_as
    }

    /// Tries whether this host runs containers, without running any program. Returns the guarantees that it does not give.
    ///
    /// # Errors
    /// [`ContainerError::Unable`], saying what is missing.
    pub fn probe(&self) -> Result<Vec<String>, ContainerError> {
        let runtime = self.runtime()?;
        let folder = trial_folder()?;
        let output =
            |error: std::io::Error| ContainerError::Output { path: folder.clone(), problem: error.to_string() };
        let (layer, outputs) = (folder.join("layer"), folder.join("out"));
        std::fs::create_dir(&layer).and_then(|()| std::fs::create_dir(&outputs)).map_err(output)?;
        let request = Request {
            layers: vec![layer],
            argv: vec![],
            env: vec![],
            working_dir: String::new(),
            inputs: vec![],
            output_dir: outputs,
            memory_bytes: 64 << 20,
            output_bytes: 1 << 20,
            output_files: 10,
            cpu_s: 10,
            core: None,
            memory_is_bounded: true,
            runtime,
            devices: Devices::default(),
            has_network: false,
            number: 0,
        };
        let heard = self
            .new_helper()
            .and_then(|helper| helper.begin(&request, &Control::new()))
            .map(|mut conversation| conversation.hear(Instant::now() + START_TIME_MAX));
        let _ = std::fs::remove_dir_all(&folder);
        match heard? {
            Heard::Reply(reply) => match *reply {
                Reply::Ended { .. } => Ok(self.cgroups.missing()),
                Reply::Unable { reason } => Err(ContainerError::Unable(reason)),
                other => Err(ContainerError::Unable(format!("the trial ended with {other:?}"))),
            },
            Heard::Died(how) => Err(ContainerError::Unable(how)),
            Heard::Cancelled | Heard::TimedOut => Err(ContainerError::Unable("the trial does not end".to_owned())),
        }
    }

    /// Runs a container to its end. Blocks.
    ///
    /// # Errors
    /// When it cannot begin on this host. What replicas agree on and what this host failed at are [`Outcome`]s.
    pub fn run(&self, container: &Container, control: &Control) -> Result<Outcome, ContainerError> {
        self.run_with(container, control, &mut |_| {})
    }

    /// As [`ContainerRunner::run`], telling `on_run` of each run that has ended.
    ///
    /// # Errors
    /// As [`ContainerRunner::run`].
    pub fn run_with(
        &self,
        container: &Container,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Outcome, ContainerError> {
        check(container)?;
        if self.config.runtime != Runtime::Own && (!container.devices.is_empty() || container.network.is_some()) {
            let what = format!(
                "with {} no devices and no network are given: that is done by our own helper alone",
                self.config.runtime
            );
            return Err(ContainerError::Unable(what));
        }
        let devices = Devices::of(&container.devices)?;
        let mut deadline = Instant::now() + container.wall_clock.min(Duration::from_secs(100 * 365 * 86_400));
        let (mut bytes_left, mut files_left) = (container.limits.output_bytes, container.limits.output_files);
        let mut finished =
            Finished { runs: Vec::new(), witness: Witness::default(), log: Vec::new(), missing_guarantees: Vec::new() };
        for item in &container.runs {
            let mut request = self.request(container, item, &devices)?;
            (request.output_bytes, request.output_files) = (bytes_left, files_left);
            let missing = &mut finished.missing_guarantees;
            let network = container.network.as_ref();
            let (report, log) = match self.run_one(request, network, control, &mut deadline, missing)? {
                Ran::Ended(report, log) => (RunReport { index: item.index, ..report }, log),
                Ran::Fault(fault) => return Ok(Outcome::HostFault(fault)),
                Ran::Cancelled => return Ok(Outcome::Cancelled),
            };
            bytes_left = bytes_left.saturating_sub(report.output_bytes);
            files_left = files_left.saturating_sub(report.output_files);
            on_run(&report);
            finished.runs.push(report);
            keep_log(&mut finished.log, container.runs.len(), item.index, &log);
        }
        Ok(Outcome::Finished(finished))
    }

    /// The programs of a runtime that is not our own.
    fn runtime(&self) -> Result<Option<Foreign>, ContainerError> {
        if let Some(found) = self.runtime.get() {
            return Ok(found.clone());
        }
        // What is missing may be installed before the next run.
        let found = self.config.runtime.find()?;
        Ok(self.runtime.get_or_init(|| found).clone())
    }

    fn request(&self, container: &Container, item: &ItemRun, devices: &Devices) -> Result<Request, ContainerError> {
        let mut env: Vec<(String, String)> = Vec::new();
        let way_out = format!("http://127.0.0.1:{PROXY_PORT}");
        let way_out = PROXY_VARIABLES.map(|key| (key.to_owned(), way_out.clone()));
        let way_out = if container.network.is_some() { &way_out[..] } else { &[] };
        let ours = [("IEXEC_IN", gristmill_sandbox::IEXEC_IN), ("IEXEC_OUT", gristmill_sandbox::IEXEC_OUT)];
        let ours = ours.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let add = |env: &mut Vec<(String, String)>, key: &String, value: &String| {
            env.retain(|(other, _)| other != key);
            env.push((key.clone(), value.clone()));
        };
        container.env.iter().chain(&item.env).for_each(|(key, value)| add(&mut env, key, value));
        add_env(&container.devices, devices, &mut env);
        way_out.iter().chain(&ours).for_each(|(key, value)| add(&mut env, key, value));
        let resolve = |input: &Input| -> Result<Input, ContainerError> {
            let host = std::path::absolute(&input.host)
                .map_err(|error| ContainerError::Input { path: input.host.clone(), problem: error.to_string() })?;
            Ok(Input { at: input.at.clone(), host })
        };
        let output_dir = std::path::absolute(&item.output_dir)
            .map_err(|error| ContainerError::Output { path: item.output_dir.clone(), problem: error.to_string() })?;
        Ok(Request {
            layers: container.layers.clone(),
            argv: container.argv.clone(),
            env,
            working_dir: container.working_dir.clone(),
            inputs: container.inputs.iter().chain(&item.inputs).map(resolve).collect::<Result<_, _>>()?,
            output_dir,
            memory_bytes: container.limits.memory_bytes,
            output_bytes: container.limits.output_bytes,
            output_files: container.limits.output_files,
            cpu_s: container.wall_clock.as_secs().saturating_add(CPU_MARGIN_S),
            core: None,
            memory_is_bounded: false,
            runtime: self.runtime()?,
            devices: devices.clone(),
            has_network: container.network.is_some(),
            number: item.index,
        })
    }

    fn run_one(
        &self,
        mut request: Request,
        network: Option<&Network>,
        control: &Control,
        deadline: &mut Instant,
        missing: &mut Vec<String>,
    ) -> Result<Ran, ContainerError> {
        let outputs = request.output_bytes.saturating_add(request.output_files.saturating_mul(page_bytes()));
        let (bytes, processes) = request.runtime.as_ref().map_or((0, 0), Foreign::needs);
        let memory = request.memory_bytes.saturating_add(outputs).saturating_add(SCRATCH_BYTES + OWN_BYTES + bytes);
        let allowance = Allowance { memory_bytes: memory, processes: PROCESSES_MAX + OWN_PROCESSES + processes };
        let names = request.devices.names.clone();
        let helper = self.helper()?;
        let core = self.cores.take();
        request.core = core.as_ref().map(|core| core.number);
        request.memory_is_bounded = helper.group.bound(allowance);
        let mut conversation = helper.begin(&request, control)?;
        // While this one works, the next can start.
        self.keep_ready();
        let mut until = Instant::now() + START_TIME_MAX;
        let mut is_ready = false;
        // It ends before the helper does, and with it all that goes by it.
        let mut proxy = None;
        let heard = loop {
            let now = Instant::now();
            let look = now.checked_sub(conversation.held()).unwrap_or(now) + LOOK_EVERY;
            match conversation.hear(until.min(look)) {
                // The kernel kills one process after the other, and a program whose others wait for it would never end.
                Heard::TimedOut if conversation.helper.group.was_killed_for_memory() => {
                    break Err(Heard::Died("one of its processes was killed".to_owned()));
                }
                Heard::TimedOut if look < until => {}
                Heard::Reply(reply) => match *reply {
                    Reply::Ready { missing: found } if !is_ready => {
                        *missing = found.into_iter().chain(self.cgroups.missing()).collect();
                        (until, is_ready) = (*deadline, true);
                        if let Some(network) = network {
                            proxy = Some(serve(network, &mut conversation, control)?);
                        }
                        conversation.helper.group.be_polite();
                    }
                    reply => break Ok(reply),
                },
                other => break Err(other),
            }
        };
        drop(proxy);
        let group = &conversation.helper.group;
        group.hurry();
        // Time that it was held still does not count for the runs that follow either.
        *deadline += conversation.held();
        self.judge(heard, group, is_ready, &names)
    }

    /// What the helper's last word, or its silence, says of the run.
    fn judge(
        &self,
        heard: Result<Reply, Heard>,
        group: &Group,
        is_ready: bool,
        devices: &str,
    ) -> Result<Ran, ContainerError> {
        let fault = |kind, reason: String| Ok(Ran::Fault(HostFault { kind, reason }));
        match heard {
            // Version 1 of cgroups kills one process, not all: what the others made of that is no result.
            Ok(Reply::Ended { log, .. }) if group.was_killed_for_memory() => {
                let reason = "a process of the program was killed: they used more memory than was granted".to_owned();
                fault(HostFaultKind::Killed, with_log(reason, &log))
            }
            Ok(Reply::Ended { ending, delivered, peak_bytes, log }) => {
                let report = RunReport {
                    index: 0,
                    ending,
                    fuel: 0,
                    memory_bytes: peak_bytes,
                    output_bytes: delivered.bytes,
                    output_files: delivered.files,
                };
                Ok(Ran::Ended(report, log))
            }
            Ok(Reply::Fault { kind, reason, log }) => {
                let memory = group.was_killed_for_memory();
                let reason = if memory { format!("{reason}: it used more memory than it was granted") } else { reason };
                fault(kind, with_log(reason, &log))
            }
            Ok(Reply::Unable { reason }) => Err(ContainerError::Unable(reason)),
            Ok(Reply::NoDevice { problem }) => Err(ContainerError::Device { name: devices.to_owned(), problem }),
            Ok(reply @ Reply::Ready { .. }) => {
                fault(HostFaultKind::Killed, format!("the container process said something out of turn: {reply:?}"))
            }
            Err(Heard::Cancelled) => Ok(Ran::Cancelled),
            Err(Heard::Died(how)) if group.was_killed_for_memory() => {
                fault(HostFaultKind::Killed, format!("the program used more memory than it was granted ({how})"))
            }
            Err(Heard::Died(how)) => fault(HostFaultKind::Killed, how),
            Err(Heard::TimedOut) if !is_ready => Err(ContainerError::Unable(format!(
                "the container process was not ready within {} s; is {} the right program?",
                START_TIME_MAX.as_secs(),
                self.config.child.program.display()
            ))),
            Err(Heard::TimedOut | Heard::Reply(_)) => {
                fault(HostFaultKind::WallClock, "not finished within its time of wall clock; killed".to_owned())
            }
        }
    }

    fn helper(&self) -> Result<Helper, ContainerError> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that waited for long may have been killed meanwhile.
        match ready.and_then(|mut helper| helper.is_there().then_some(helper)) {
            Some(helper) => Ok(helper),
            None => self.new_helper(),
        }
    }

    fn new_helper(&self) -> Result<Helper, ContainerError> {
        let group = self.cgroups.make().map_err(|error| ContainerError::Unable(format!("a cgroup: {error}")))?;
        Helper::start(&self.config.child, self.config.run_as, group)
    }

    fn keep_ready(&self) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_none() {
            // The next run says it better.
            *ready = self.new_helper().ok();
        }
    }
}

/// Serves the way out that the helper opened.
fn serve(network: &Network, conversation: &mut Conversation, control: &Control) -> Result<Proxy, ContainerError> {
    let lost = |what: String| ContainerError::Unable(format!("the container's way out: {what}"));
    let door = conversation.take_door().ok_or_else(|| lost("the container process handed none over".to_owned()))?;
    Proxy::start(door, network.clone(), control.clone()).map_err(|error| lost(error.to_string()))
}

enum Ran {
    Ended(RunReport, Vec<u8>),
    Fault(HostFault),
    Cancelled,
}

/// The end of what the program said, for whoever has to find out why it was killed.
fn with_log(reason: String, log: &[u8]) -> String {
    const TAIL_BYTES: usize = 500;
    let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]).trim().to_owned();
    if tail.is_empty() { reason } else { format!("{reason}; it said last: {tail}") }
}

fn keep_log(kept: &mut Vec<u8>, runs: usize, index: u64, log: &[u8]) {
    /// Bytes of log that a run may leave even when there are very many.
    const RUN_BYTES_MIN: usize = 1024;
    if log.is_empty() {
        return;
    }
    if runs > 1 {
        kept.extend_from_slice(format!("--- item {index} ---\n").as_bytes());
    }
    let room = (LOG_BYTES_MAX / runs.max(1)).max(RUN_BYTES_MIN);
    kept.extend_from_slice(&log[log.len().saturating_sub(room)..]);
    if !kept.ends_with(b"\n") {
        kept.push(b'\n');
    }
    let over = kept.len().saturating_sub(LOG_BYTES_MAX);
    kept.drain(..over);
}

/// Checks what can be checked before a helper is started, and makes the output folders.
fn check(container: &Container) -> Result<(), ContainerError> {
    let malformed = |problem: &str| Err(ContainerError::Malformed(problem.to_owned()));
    if container.runs.is_empty() {
        return malformed("there is no run in it");
    }
    if container.layers.is_empty() {
        return malformed("the image has no layers");
    }
    if container.argv.first().is_none_or(String::is_empty) {
        return malformed("neither the image nor the task says which program is run");
    }
    if let Some(problem) = container.network.as_ref().and_then(|network| network.egress.check().err()) {
        return malformed(&problem);
    }
    check_texts(container.argv.iter().chain([&container.working_dir]))?;
    for env in std::iter::once(&container.env).chain(container.runs.iter().map(|run| &run.env)) {
        check_texts(env.iter().flat_map(|(key, value)| [key, value]))?;
        if env.iter().any(|(key, _)| key.is_empty() || key.contains('=')) {
            return malformed("a variable's name is empty or contains `=`");
        }
    }
    container.inputs.iter().try_for_each(check_input)?;
    for run in &container.runs {
        run.inputs.iter().try_for_each(check_input)?;
        check_names(container.inputs.iter().chain(&run.inputs))?;
    }
    let mut folders = BTreeSet::new();
    for run in &container.runs {
        if !folders.insert(&run.output_dir) {
            return malformed("two runs share an output folder");
        }
        prepare_output(&run.output_dir)?;
    }
    Ok(())
}

fn check_texts<'a>(texts: impl Iterator<Item = &'a String>) -> Result<(), ContainerError> {
    let mut bytes: usize = 0;
    for text in texts {
        if text.contains('\0') {
            return Err(ContainerError::Malformed("an argument or variable contains a NUL".to_owned()));
        }
        bytes = bytes.saturating_add(text.len() + 1);
    }
    if bytes > TEXT_BYTES_MAX {
        let problem = format!("arguments or variables take {bytes} bytes; {TEXT_BYTES_MAX} are allowed");
        return Err(ContainerError::Malformed(problem));
    }
    Ok(())
}

/// That no input of a run lies inside another.
fn check_names<'a>(inputs: impl Iterator<Item = &'a Input> + Clone) -> Result<(), ContainerError> {
    let names: BTreeSet<String> = inputs.clone().map(|input| plain_name(&input.at)).collect();
    for input in inputs {
        let name = plain_name(&input.at);
        let outer = name.match_indices('/').map(|(at, _)| &name[..at]).find(|outer| names.contains(*outer));
        if let Some(outer) = outer {
            let problem = format!("its name in the input folder, `{name}`, lies inside another input, `{outer}`");
            return Err(ContainerError::Input { path: input.host.clone(), problem });
        }
    }
    Ok(())
}

fn check_input(input: &Input) -> Result<(), ContainerError> {
    let refuse = |problem: String| Err(ContainerError::Input { path: input.host.clone(), problem });
    let metadata = match std::fs::symlink_metadata(&input.host) {
        Ok(metadata) => metadata,
        Err(error) => return refuse(error.to_string()),
    };
    if !metadata.is_file() && !metadata.is_dir() {
        return refuse("it is neither a file nor a folder".to_owned());
    }
    if metadata.is_file() && input.at.split('/').all(str::is_empty) {
        return refuse("a file needs a name in the input folder".to_owned());
    }
    if input.at.contains('\0') || input.at.split('/').any(|name| name == "." || name == "..") {
        return refuse(format!("its name in the input folder, `{}`, leads elsewhere", input.at.escape_default()));
    }
    if input.at.len() > PATH_BYTES_MAX || input.at.split('/').any(|name| name.len() > NAME_BYTES_MAX) {
        let length = input.at.len();
        return refuse(format!(
            "its name in the input folder is too long: {length} bytes; {NAME_BYTES_MAX} a part, {PATH_BYTES_MAX} in all are allowed"
        ));
    }
    Ok(())
}

/// A new folder for a trial: one that is there already may be somebody else's trap, where everybody may make folders.
fn trial_folder() -> Result<PathBuf, ContainerError> {
    let name = |number| std::env::temp_dir().join(format!("gristmill-probe-{}-{number}", std::process::id()));
    let mut number = 0;
    loop {
        let path = name(number);
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < TRIAL_NAMES_MAX => number += 1,
            Err(error) => return Err(ContainerError::Output { path, problem: error.to_string() }),
        }
    }
}

fn prepare_output(path: &Path) -> Result<(), ContainerError> {
    let refuse = |problem: String| ContainerError::Output { path: path.to_path_buf(), problem };
    std::fs::create_dir_all(path).map_err(|error| refuse(error.to_string()))?;
    let mut entries = std::fs::read_dir(path).map_err(|error| refuse(error.to_string()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(refuse("it is not empty".to_owned())),
    }
}
