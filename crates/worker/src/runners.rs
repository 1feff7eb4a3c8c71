//! Run a task's program, whichever kind it is, and bring what it left into canonical form.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_container::{Container, ContainerError, ContainerRunner, Network, RunAs, RunnerConfig, Runtime};
use gristmill_image::{
    Access, Host, Image, ImageError, LayerStore, Limits, Logins, Pace, Reference, ReferenceError, RegistryError, Source,
};
use gristmill_machine::{CdiDevices, Places};
use gristmill_result::{Ending, Witness};
use gristmill_sandbox::{
    ChildCommand, Control, Execution, Finished, Input, ItemRun, Outcome, RunReport, Runner, SandboxError,
};
use gristmill_store::Bandwidth;
use gristmill_types::{ContentId, Needs};
use serde::{Deserialize, Serialize};

use crate::lend::{Gpu, Gpus, Lends};

/// What this program is started with to be a container's helper.
pub const CONTAINER_CHILD: &str = "container-child";

/// glibc takes other variants of `exp`, `sin` and the like on processors that have these, and their last digits differ. Without
/// them it computes the same on every x86-64.
const GLIBC_BASELINE: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-AVX,-AVX_Usable";

/// The folder, beside that of the layers, of what was fetched from registries.
const PULLS_FOLDER: &str = "pulls";

/// All sandboxes of a worker. Clones share them.
#[derive(Clone, Debug)]
pub struct Runners {
    /// For modules.
    pub wasm: Runner,
    /// What this host does not guarantee to modules, in words; or why it can run none.
    pub modules: Result<Vec<String>, String>,
    /// For images, where this host can run them.
    pub containers: Result<Containers, String>,
}

/// What runs images.
#[derive(Clone, Debug)]
pub struct Containers {
    runner: ContainerRunner,
    /// One unpacks at a time: two tasks of one image would unpack the same.
    layers: Arc<Mutex<LayerStore>>,
    /// What was fetched of registries' images and is not unpacked yet.
    pulls: PathBuf,
    registries: Registries,
    bandwidth: Bandwidth,
    lends: Lends,
    gpus: Gpus,
    /// What this host does not guarantee, in words.
    pub missing: Vec<String>,
}

/// Which registries the machine's owner lets images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registries {
    /// Only these, by host (`docker.io`, `localhost:5000`); none by an empty list. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// Whether those in private networks and on this machine may be asked. A stranger names the registry, so by default they may
    /// not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// A `config.json` as docker and podman write it, with the logins to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<PathBuf>,
}

impl Registries {
    /// Why images of this registry are not taken, if so.
    pub fn objection(&self, registry: &str) -> Option<String> {
        let only = self.only.as_ref()?;
        let listed = only.iter().any(|listed| listed.eq_ignore_ascii_case(registry));
        (!listed).then(|| format!("the machine's owner takes no images from {registry}"))
    }
}

/// What the sandboxes of a worker are made of.
#[derive(Clone, Debug)]
pub struct RunnersConfig<'a> {
    /// How a container's helper is started.
    pub container_child: &'a ChildCommand,
    /// Folder of unpacked layers.
    pub layers: &'a Path,
    /// Where images may come from.
    pub registries: &'a Registries,
    /// How quick they may.
    pub bandwidth: &'a Bandwidth,
    /// What is lent besides processors.
    pub lends: &'a Lends,
    /// What makes containers.
    pub runtime: &'a Runtime,
}

/// Where an image is.
#[derive(Clone, Debug)]
pub enum ImagePlace<'a> {
    /// In an archive.
    Archive(&'a Path),
    /// In a registry: `registry/name@sha256:...`.
    Registry(&'a str),
}

/// Why a program could not be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The sandbox of modules did not begin.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The container did not begin.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The image cannot be used on this host.
    #[error("the app's image cannot be used here")]
    Image(#[source] ImageError),
    /// The reference names no image of a registry. Every host sees that.
    #[error("the app is no image of a registry")]
    Reference(#[from] ReferenceError),
    /// The machine's owner does not want it.
    #[error("{0}")]
    Unwanted(String),
    /// Other tasks have all that are lent.
    #[error("all GPUs that this worker lends are in use")]
    GpusTaken,
    /// It was taken back before it ran.
    #[error("the task was taken back")]
    Cancelled,
    /// This host runs no containers.
    #[error("this worker runs no container images: {0}")]
    NoContainers(String),
}

impl Runners {
    /// Modules by `wasm`; images as `config` says, if this host can run them.
    pub fn new(wasm: Runner, config: &RunnersConfig<'_>) -> Self {
        let containers = Containers::new(config);
        match &containers {
            Ok(found) if found.missing.is_empty() => tracing::info!("container images can be run here"),
            Ok(found) => {
                tracing::info!(missing = ?found.missing, "container images can be run here, but for some guarantees")
            }
            Err(why) => tracing::info!(%why, "container images cannot be run here; modules can"),
        }
        let modules = wasm.probe();
        match &modules {
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => tracing::info!(?missing, "modules can be run here, but for some guarantees"),
            Err(why) => tracing::warn!(%why, "modules cannot be run here"),
        }
        Self { wasm, modules, containers }
    }

    /// What a task may need here besides a processor. Only images have a use of it.
    pub fn lent(&self) -> Needs {
        self.containers.as_ref().map_or(Needs::NONE, Containers::lent)
    }

    /// GPUs that are lent, whether a task has them or not.
    pub fn gpus_lent(&self) -> u32 {
        self.containers.as_ref().map_or(0, |containers| containers.gpus.count())
    }

    /// Runs an image as `execution` says, with what it needs besides. Blocks; what has to come from a registry comes first.
    ///
    /// # Errors
    /// [`RunError`]: what only this host saw. An image that no host could run is a result.
    pub fn run_image(
        &self,
        place: &ImagePlace<'_>,
        execution: &Execution,
        needs: Needs,
        control: &Control,
        on_run: &mut dyn FnMut(&RunReport),
    ) -> Result<Outcome, RunError> {
        let containers = self.containers.as_ref().map_err(|why| RunError::NoContainers(why.clone()))?;
        let unpacked = match place {
            ImagePlace::Archive(archive) => Source::open(archive).and_then(|source| containers.unpack(source)),
            ImagePlace::Registry(reference) => containers.pull(reference, control)?,
        };
        let (image, layers) = match unpacked {
            Ok(found) => found,
            Err(ImageError::Registry(RegistryError::Stopped)) => return Err(RunError::Cancelled),
            Err(error) if error.is_this_hosts() => return Err(RunError::Image(error)),
            Err(error) => return Ok(Outcome::Finished(not_runnable(&execution.runs, &error.to_string()))),
        };
        let extras = containers.extras(needs)?;
        let container = container_of(&image, layers, execution, &extras);
        if container.argv.is_empty() {
            let why = "the image names no program, and the task gives no arguments that could be one";
            return Ok(Outcome::Finished(not_runnable(&execution.runs, why)));
        }
        let outcome = containers.runner.run_with(&container, control, on_run)?;
        if let Some(traffic) = extras.network.map(|network| network.traffic) {
            let (up, down, connections) = (traffic.up_bytes(), traffic.down_bytes(), traffic.connections());
            tracing::info!(up, down, connections, refused = traffic.refused(), "a task used the network");
        }
        Ok(outcome)
    }

    /// Runs the comparator over what a program left: each run's output folder is a run's input. The canonical forms lie in
    /// `folder`, one a run, in the reports' order.
    ///
    /// # Errors
    /// [`RunError`], as of any module.
    pub fn canonical(
        &self,
        module: (PathBuf, ContentId, Vec<String>),
        execution: &Execution,
        folder: &Path,
        control: &Control,
    ) -> Result<Outcome, RunError> {
        let (app, app_id, args) = module;
        let run = |run: &ItemRun| ItemRun {
            index: run.index,
            env: vec![],
            inputs: vec![Input { at: String::new(), host: run.output_dir.clone() }],
            output_dir: folder.join(format!("{:06}", run.index)),
        };
        let runs = execution.runs.iter().map(run).collect();
        let comparing = Execution { app, app_id, args, env: vec![], inputs: vec![], runs, ..execution.clone() };
        Ok(self.wasm.run(&comparing, control)?)
    }
}

/// An image and its layers, lowest first.
type Unpacked = Result<(Image, Vec<PathBuf>), ImageError>;

impl Containers {
    fn new(config: &RunnersConfig<'_>) -> Result<Self, String> {
        let runtime = config.runtime.clone();
        let is_own = runtime == Runtime::Own;
        let runner =
            ContainerRunner::new(RunnerConfig { runtime, ..RunnerConfig::new(config.container_child.clone()) });
        let mut missing = runner.probe().map_err(|error| error.to_string())?;
        let lends = if is_own { config.lends.clone() } else { Lends::default() };
        if lends != *config.lends {
            missing.push(format!(
                "nothing is lent with {}: only Gristmill's own runtime gives devices and the network",
                config.runtime
            ));
        }
        let (gpus, not_lent) = Gpus::find(&lends.gpus, &CdiDevices::look(&Places::of_this_machine(config.layers)));
        missing.extend(not_lent);
        let layers = LayerStore::open(config.layers).map_err(|error| error.to_string())?;
        let layers = match runner.run_as() {
            RunAs::Spare { uid, gid } => layers.owned_by(uid, gid),
            RunAs::Ourselves => layers,
        };
        let pulls = config.layers.with_file_name(PULLS_FOLDER);
        Ok(Self {
            runner,
            layers: Arc::new(Mutex::new(layers)),
            pulls,
            registries: config.registries.clone(),
            bandwidth: config.bandwidth.clone(),
            lends,
            gpus,
            missing,
        })
    }

    fn lent(&self) -> Needs {
        Needs { gpu: self.gpus.count() > 0, network: self.lends.network }
    }

    /// What a task gets that needs this.
    fn extras(&self, needs: Needs) -> Result<Extras, RunError> {
        let lacking = needs.without(self.lent());
        if !lacking.is_none() {
            return Err(RunError::Unwanted(format!("the machine's owner does not lend {lacking}")));
        }
        let gpu = match needs.gpu {
            true => Some(self.gpus.take().ok_or(RunError::GpusTaken)?),
            false => None,
        };
        Ok(Extras { gpu, network: needs.network.then(|| self.lends.way_out(&self.bandwidth)) })
    }

    /// Has an image come from its registry, and unpacks it. What is unpacked is not kept packed.
    fn pull(&self, reference: &str, control: &Control) -> Result<Unpacked, RunError> {
        let reference: Reference = reference.parse()?;
        if let Some(why) = self.registries.objection(reference.registry()) {
            return Err(RunError::Unwanted(why));
        }
        let logins = match &self.registries.logins {
            Some(path) => Logins::read(path).map_err(|error| RunError::Image(error.into()))?,
            None => Logins::default(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (told, asked) = (Arc::clone(&stop), control.clone());
        let _listening = control.listen(move || told.store(asked.is_cancelled(), Ordering::Relaxed));
        stop.store(control.is_cancelled(), Ordering::Relaxed);
        let bandwidth = self.bandwidth.clone();
        let pace: Option<Pace> = Some(Arc::new(move |bytes| bandwidth.pause_down(bytes)));
        let access = Access { logins, private: self.registries.private, pace, stop, ..Access::default() };
        let folder = self.pulls.join(reference.digest().hex());
        tracing::info!(%reference, "the image is looked for at its registry");
        let unpacked = Source::pull(&reference, &folder, &access).and_then(|source| self.unpack(source));
        if let Ok((image, _)) = &unpacked {
            for layer in &image.layers {
                // Manifest and configuration stay, so that the next task needs no network.
                let _ = fs::remove_file(folder.join("blobs/sha256").join(layer.digest.hex()));
            }
        }
        Ok(unpacked)
    }

    fn unpack(&self, mut source: Source) -> Unpacked {
        let image = source.image(&Host::this(), None)?;
        // INVARIANT: an unpacking that panicked has left its unfinished folder, which the next start removes.
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = layers.unpack(&mut source, &image, Limits::default())?;
        Ok((image, stack))
    }
}

/// What a task gets besides a processor, for as long as it runs.
#[derive(Default)]
struct Extras {
    gpu: Option<Gpu>,
    network: Option<Network>,
}

fn container_of(image: &Image, layers: Vec<PathBuf>, execution: &Execution, extras: &Extras) -> Container {
    let mut argv = image.entrypoint.clone();
    argv.extend(if execution.args.is_empty() { image.cmd.clone() } else { execution.args.clone() });
    let pair = |variable: &String| {
        let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
        (key.to_owned(), value.to_owned())
    };
    let mut env: Vec<(String, String)> = image.env.iter().map(pair).collect();
    if cfg!(target_arch = "x86_64") {
        env.push(("GLIBC_TUNABLES".to_owned(), GLIBC_BASELINE.to_owned()));
    }
    env.extend(execution.env.iter().cloned());
    Container {
        layers,
        argv,
        env,
        working_dir: image.working_dir.clone(),
        inputs: execution.inputs.clone(),
        runs: execution.runs.clone(),
        limits: execution.limits,
        wall_clock: execution.wall_clock,
        devices: extras.gpu.iter().map(|gpu| gpu.device().clone()).collect(),
        network: extras.network.clone(),
    }
}

/// What every host reports of an image that none can run.
fn not_runnable(runs: &[ItemRun], reason: &str) -> Finished {
    let report = |run: &ItemRun| RunReport {
        index: run.index,
        ending: Ending::NotRunnable,
        fuel: 0,
        memory_bytes: 0,
        output_bytes: 0,
        output_files: 0,
    };
    Finished {
        runs: runs.iter().map(report).collect(),
        witness: Witness::default(),
        log: format!("[sandbox] the app cannot be run: {reason}\n").into_bytes(),
        missing_guarantees: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gristmill_types::ResourceLimits;

    use super::*;

    #[test]
    fn arguments_replace_the_images_own_and_variables_of_the_task_go_before_its() {
        let image = Image {
            digest: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            host: Host::this(),
            layers: vec![],
            entrypoint: vec!["/tool".into()],
            cmd: vec!["--help".into()],
            env: vec!["PATH=/bin".into(), "A=image".into()],
            working_dir: "/work".into(),
            user: String::new(),
        };
        let mut execution = Execution {
            app: PathBuf::new(),
            app_id: ContentId([0; 32]),
            args: vec![],
            env: vec![("A".into(), "task".into())],
            seed: [0; 32],
            inputs: vec![],
            runs: vec![],
            limits: ResourceLimits::of_work_clock(300),
            wall_clock: Duration::from_secs(1),
        };
        let container = container_of(&image, vec![], &execution, &Extras::default());
        assert_eq!(container.argv, ["/tool", "--help"]);
        assert_eq!(container.env.last().unwrap(), &("A".to_owned(), "task".to_owned()));
        assert!(container.env.iter().any(|(key, _)| key == "GLIBC_TUNABLES") == cfg!(target_arch = "x86_64"));
        execution.args = vec!["run".into()];
        assert_eq!(container_of(&image, vec![], &execution, &Extras::default()).argv, ["/tool", "run"]);
    }
}
