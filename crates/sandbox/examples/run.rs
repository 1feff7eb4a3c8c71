//! Run a WASI module in the sandbox, without a network:
//!
//! `run APP.wasm OUTPUT_FOLDER [--input NAME=FILE].. [--env KEY=VALUE].. [--items N] [--arg ARG]..`
//!
//! The program is its own child: started as `run sandbox-child` it is the inside of the sandbox.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gristmill_sandbox::{
    ChildCommand, Control, Execution, Input, ItemRun, Outcome, Runner, RunnerConfig, engine_profile,
};
use gristmill_types::{ContentId, ResourceLimits};

/// T of the category whose limits are used.
const WORK_CLOCK_S: u64 = 300;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "sandbox-child") {
        return gristmill_sandbox::child_main();
    }
    match read(&args).and_then(|execution| run(&execution)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read(args: &[String]) -> Result<Execution, Box<dyn std::error::Error>> {
    let [app, out, options @ ..] = args else {
        return Err("usage: run APP.wasm OUTPUT_FOLDER [OPTION VALUE]..".into());
    };
    let app_id = ContentId(*blake3::hash(&std::fs::read(app)?).as_bytes());
    let limits = ResourceLimits::of_work_clock(WORK_CLOCK_S);
    let mut execution = Execution {
        app: app.into(),
        app_id,
        args: vec![],
        env: vec![],
        seed: [0; 32],
        inputs: vec![],
        runs: vec![ItemRun { index: 0, env: vec![], inputs: vec![], output_dir: out.into() }],
        limits,
        wall_clock: Duration::from_secs(10 * WORK_CLOCK_S),
    };
    for option in options.chunks(2) {
        let [option, value] = option else { return Err(format!("{} needs a value", option[0]).into()) };
        let pair = || value.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let pair = || pair().ok_or_else(|| format!("{value} is not NAME=VALUE"));
        match option.as_str() {
            "--arg" => execution.args.push(value.clone()),
            "--env" => execution.env.push(pair()?),
            "--input" => pair().map(|(at, host)| execution.inputs.push(Input { at, host: host.into() }))?,
            "--items" => execution.runs = items(out, value.parse()?),
            _ => return Err(format!("{option} is not known").into()),
        }
    }
    Ok(execution)
}

fn items(out: &str, count: u64) -> Vec<ItemRun> {
    let item = |index: u64| ItemRun {
        index,
        env: vec![("IEXEC_BOT_TASK_INDEX".to_owned(), index.to_string())],
        inputs: vec![],
        output_dir: PathBuf::from(out).join(format!("{index:06}")),
    };
    (0..count).map(item).collect()
}

fn run(execution: &Execution) -> Result<(), Box<dyn std::error::Error>> {
    let child = ChildCommand { program: std::env::current_exe()?, args: vec!["sandbox-child".into()] };
    let runner =
        Runner::new(RunnerConfig { child, cache_dir: std::env::temp_dir().join("gristmill-sandbox-example") })?;
    let started = Instant::now();
    let outcome = runner.run(execution, &Control::new())?;
    println!("{} in {:.3} s", engine_profile(), started.elapsed().as_secs_f64());
    match outcome {
        Outcome::Finished(finished) => {
            for run in finished.runs.iter().take(20) {
                println!(
                    "item {}: {} (fuel {}, memory {} bytes, {} files with {} bytes)",
                    run.index, run.ending, run.fuel, run.memory_bytes, run.output_files, run.output_bytes
                );
            }
            println!("witness {}", finished.witness);
            print!("{}", String::from_utf8_lossy(&finished.log));
            for missing in finished.missing_guarantees {
                println!("not guaranteed here: {missing}");
            }
        }
        Outcome::HostFault(fault) => println!("fault of this host ({:?}): {fault}", fault.kind),
        Outcome::Cancelled => println!("cancelled"),
    }
    Ok(())
}
