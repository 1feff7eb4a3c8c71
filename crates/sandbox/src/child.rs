//! Be the child process: read one request, lock down, do the work, reply.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use gristmill_types::ContentId;

use crate::engine::{self, MEMORY_RESERVATION_BYTES, WASM_STACK_BYTES};
use crate::execution::{HostFault, HostFaultKind};
use crate::guest::Guests;
use crate::lockdown::{self, Allowance};
use crate::module::{self, MODULE_BYTES_MAX};
use crate::vfs::input::host_paths;
use crate::wire::{Compile, REQUEST_BYTES_MAX, Reply, Request, Run, Work};

/// Exit code when the request makes no sense or the parent is gone.
const EXIT_NO_WORK: u8 = 3;
/// Stack of the thread that runs guests: theirs, and as much again for the host's own functions.
const THREAD_STACK_BYTES: usize = 2 * WASM_STACK_BYTES;
/// Memory of the child beyond the guest's.
const OWN_BYTES: u64 = 1 << 30;
/// Memory that compiling may take.
const COMPILE_BYTES: u64 = 8 << 30;
/// CPU time that compiling may take.
const COMPILE_CPU_S: u64 = 600;
/// CPU time beyond the wall clock, so that the parent's watch is the one that ends a run.
const CPU_MARGIN_S: u64 = 10;
/// Bytes of a file beyond the output limit, so that the deal's limit is the one that ends a run.
const FILE_MARGIN_BYTES: u64 = 1 << 20;

/// The whole life of the child process. Call it first thing in `main` of the program that [`crate::ChildCommand`]
/// names, before any thread is started or file opened: it closes every descriptor past 2.
///
/// Reads a request from stdin and replies on stdout; not for people.
pub fn child_main() -> ExitCode {
    lockdown::close_inherited();
    let Some(request) = read_request() else {
        eprintln!("this is the inside of the sandbox: it is started by gristmill itself");
        return ExitCode::from(EXIT_NO_WORK);
    };
    if !lockdown::die_with(request.parent) {
        return ExitCode::from(EXIT_NO_WORK);
    }
    let missing = lockdown::lock_down(&allowance(&request.work));
    std::thread::spawn(die_when_let_go);
    reply(&Reply::Locked { missing });
    let work = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || match &request.work {
        Work::Compile(compile) => reply(&compile_module(compile)),
        Work::Run(run) => reply(&run_all(run)),
    });
    match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn read_request() -> Option<Request> {
    // Up to the line's end and not to the pipe's: the parent keeps its end open.
    let mut line = Vec::new();
    std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Ends the process when the parent closes its end of stdin, which it does at the latest when it dies.
fn die_when_let_go() {
    let mut buffer = [0; 64];
    while let Ok(1..) = std::io::stdin().lock().read(&mut buffer) {}
    std::process::exit(i32::from(EXIT_NO_WORK));
}

fn reply(reply: &Reply) {
    let Ok(mut line) = serde_json::to_vec(reply) else { return };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(i32::from(EXIT_NO_WORK));
    }
}

fn allowance(work: &Work) -> Allowance {
    match work {
        Work::Compile(compile) => Allowance {
            cpu_s: COMPILE_CPU_S,
            file_bytes: COMPILE_BYTES,
            data_bytes: COMPILE_BYTES,
            address_bytes: COMPILE_BYTES + 2 * MEMORY_RESERVATION_BYTES,
            read: vec![compile.app.clone()],
            write: compile.cache_file.parent().map(Path::to_path_buf).into_iter().collect(),
        },
        Work::Run(run) => {
            let execution = &run.execution;
            let memory = execution.limits.memory_bytes.min(MEMORY_RESERVATION_BYTES);
            let items = execution.runs.iter().flat_map(|run| host_paths(&run.inputs));
            Allowance {
                cpu_s: execution.wall_clock.as_secs().saturating_add(CPU_MARGIN_S),
                file_bytes: execution.limits.output_bytes.saturating_add(FILE_MARGIN_BYTES),
                data_bytes: memory + OWN_BYTES,
                address_bytes: OWN_BYTES + 3 * MEMORY_RESERVATION_BYTES,
                read: host_paths(&execution.inputs).chain(items).chain([&run.cache_file]).cloned().collect(),
                write: execution.runs.iter().map(|run| run.output_dir.clone()).collect(),
            }
        }
    }
}

fn compile_module(compile: &Compile) -> Reply {
    let bytes = match module::read_bounded(&compile.app, MODULE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return Reply::AppUnreadable { code: error.raw_os_error().unwrap_or(nix::libc::EIO) },
    };
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Reply::NotRunnable { reason: format!("it is larger than {MODULE_BYTES_MAX} bytes") };
    }
    let got = ContentId(*blake3::hash(&bytes).as_bytes());
    if got != compile.app_id {
        return Reply::AppMismatch { got };
    }
    let engine = match engine::engine() {
        Ok(engine) => engine,
        Err(error) => return engine_fault(&error),
    };
    match module::compile(&engine, &bytes) {
        Err(reason) => Reply::NotRunnable { reason },
        Ok(compiled) => match module::store(&compile.cache_file, &compiled) {
            Ok(()) => Reply::Compiled,
            Err(error) => Reply::Fault(HostFault {
                kind: HostFaultKind::Io,
                reason: format!("cannot write {}: {error}", compile.cache_file.display()),
            }),
        },
    }
}

fn run_all(run: &Run) -> Reply {
    let engine = match engine::engine() {
        Ok(engine) => engine,
        Err(error) => return engine_fault(&error),
    };
    let Some(module) = module::load(&engine, &run.cache_file) else { return Reply::CacheInvalid };
    let mut guests = match Guests::new(&run.execution, engine, &module) {
        Ok(guests) => guests,
        Err(fault) => return Reply::Fault(fault),
    };
    for item in &run.execution.runs {
        match guests.run(item) {
            Ok((report, log)) => reply(&Reply::Ran { report, log }),
            Err(fault) => return Reply::Fault(fault),
        }
    }
    Reply::Finished { witness: guests.witness() }
}

fn engine_fault(error: &wasmtime::Error) -> Reply {
    Reply::Fault(HostFault { kind: HostFaultKind::Io, reason: format!("the engine cannot begin: {error:#}") })
}
