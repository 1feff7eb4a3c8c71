//! Be the child process: lock down, then compile one module, or serve tasks until the parent lets go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gristmill_types::{ContentId, ResourceLimits};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wasmtime::{Engine, InstancePre, Linker};

use crate::channel::{Channel, Letter, Wait};
use crate::engine::{self, MEMORY_RESERVATION_BYTES, WASM_STACK_BYTES};
use crate::execution::{HostFault, HostFaultKind};
use crate::guest::{Guests, Ran};
use crate::lockdown::{self, Allowance, TaskLimits};
use crate::module::{self, MODULE_BYTES_MAX, Uncompiled};
use crate::preview1::Host;
use crate::stop::Stop;
use crate::vfs::storage::Storage;
use crate::wire::{Compile, ORDER_BYTES_MAX, Order, Placed, Reply, Request, Task, Want, Work};

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
/// Bytes of a file beyond the output limit, so that the deal's limit is the one that ends a run.
const FILE_MARGIN_BYTES: u64 = 1 << 20;
/// What runs reported is sent at the latest after this, should another have ended meanwhile.
const REPORT_WITHIN: Duration = Duration::from_micros(500);

/// The whole life of the child process. Call it first thing in `main` of the program that [`crate::ChildCommand`]
/// names, before any thread is started or file opened: it closes every descriptor past 2.
///
/// Talks with its parent over the socket that its stdin is; not for people.
pub fn child_main() -> ExitCode {
    lockdown::close_inherited();
    let Some((mut channel, request)) = first_request() else {
        eprintln!("this is the inside of the sandbox: it is started by gristmill itself");
        return ExitCode::from(EXIT_NO_WORK);
    };
    if !lockdown::die_with(request.parent) {
        return ExitCode::from(EXIT_NO_WORK);
    }
    let missing = lockdown::lock_down(&allowance(&request.work));
    if !watch_leash(&channel) || !reply(&mut channel, &Reply::Locked { missing }) {
        return ExitCode::from(EXIT_NO_WORK);
    }
    let work = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || match request.work {
        Work::Compile(compile) => {
            let outcome = compile_module(&compile);
            reply(&mut channel, &outcome);
        }
        Work::Serve(_) => serve(channel),
    });
    match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn first_request() -> Option<(Channel, Request)> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    let mut channel = Channel::new(socket, ORDER_BYTES_MAX);
    loop {
        if let Some(Letter { message, .. }) = channel.take().ok()? {
            return Some((channel, message));
        }
        if !channel.read_with_descriptors().ok()? {
            return None;
        }
    }
}

/// Ends the process when the parent closes its end, which it does at the latest when it dies. The kernel's own signal at the
/// parent's death is quicker, and also reaches a child that holds still; but it is lost when the parent's thread ends first.
fn watch_leash(channel: &Channel) -> bool {
    let Ok(socket) = channel.as_fd().try_clone_to_owned() else { return false };
    let watch = move || {
        // The end of a connection is told without being asked for.
        let mut sources = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        while poll(&mut sources, PollTimeout::NONE).is_err() {}
        std::process::exit(i32::from(EXIT_NO_WORK));
    };
    std::thread::Builder::new().spawn(watch).is_ok()
}

/// Says something at once; false when nobody listens any more.
fn reply(channel: &mut Channel, reply: &Reply) -> bool {
    channel.queue(reply, &[], None).and_then(|()| channel.flush(Wait::Yes)).is_ok()
}

fn allowance(work: &Work) -> Allowance {
    match work {
        Work::Compile(compile) => Allowance {
            address_bytes: COMPILE_BYTES + 2 * MEMORY_RESERVATION_BYTES,
            task: Some(TaskLimits { cpu_s: COMPILE_CPU_S, file_bytes: COMPILE_BYTES, data_bytes: COMPILE_BYTES }),
            read: vec![compile.app.clone()],
            write: compile.cache_file.parent().map(Path::to_path_buf).into_iter().collect(),
        },
        Work::Serve(_) => Allowance {
            address_bytes: OWN_BYTES + 3 * MEMORY_RESERVATION_BYTES,
            task: None,
            read: vec![],
            write: vec![],
        },
    }
}

fn task_limits(limits: &ResourceLimits, cpu_s: u64) -> TaskLimits {
    TaskLimits {
        cpu_s,
        file_bytes: limits.output_bytes.saturating_add(FILE_MARGIN_BYTES),
        data_bytes: limits.memory_bytes.min(MEMORY_RESERVATION_BYTES) + OWN_BYTES,
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
    let engine = match engine::compiler(compile.profile) {
        Ok(engine) => engine,
        Err(error) => return Reply::Fault(engine_fault(&error)),
    };
    match module::compile(&engine, compile.profile.reach, &bytes) {
        Err(Uncompiled::Unfit(reason)) => Reply::NotRunnable { reason },
        Err(Uncompiled::Host(reason)) => Reply::Fault(HostFault { kind: HostFaultKind::Io, reason }),
        Ok(compiled) => match module::store(&compile.cache_file, compile.profile, &compiled) {
            Ok(()) => Reply::Compiled,
            Err(error) => Reply::Fault(HostFault {
                kind: HostFaultKind::Io,
                reason: format!("cannot write {}: {error}", compile.cache_file.display()),
            }),
        },
    }
}

/// Serves tasks until the parent lets go.
fn serve(channel: Channel) {
    let link =
        Rc::new(Link { inner: RefCell::new(Inner { channel, orders: VecDeque::new(), flushed: Instant::now() }) });
    let mut bench = match engine::runtime().and_then(|engine| Ok((module::linker(&engine)?, engine))) {
        Ok((linker, engine)) => Bench { engine, linker, start: None },
        Err(error) => return link.say(&Reply::Fault(engine_fault(&error))),
    };
    // An order out of turn ends the process: the parent says what it makes of that.
    while let Some(Letter { message: Order::Task(task), descriptor: code, .. }) = link.order() {
        let last = match bench.run(&task, code, &link) {
            Ok(witness) => Reply::Finished { witness },
            Err(reply) => reply,
        };
        link.say(&last);
        if !matches!(last, Reply::Finished { .. }) {
            return;
        }
    }
}

/// What a child keeps from task to task: nothing of a task but the module, which is the next one's too.
struct Bench {
    engine: Engine,
    linker: Linker<Host>,
    start: Option<InstancePre<Host>>,
}

impl Bench {
    fn run(&mut self, task: &Task, code: Option<OwnedFd>, link: &Rc<Link>) -> Result<[u8; 32], Reply> {
        lockdown::limit_task(&task_limits(&task.limits, task.cpu_s)).map_err(|reason| {
            Reply::Fault(HostFault { kind: HostFaultKind::Io, reason: format!("a limit of this task: {reason}") })
        })?;
        if let Some(code) = code {
            let module = module::load(&self.engine, code.into()).ok_or(Reply::CodeInvalid)?;
            let start = self.linker.instantiate_pre(&module);
            self.start = Some(start.map_err(|error| Reply::Fault(engine_fault(&error)))?);
        }
        let start = self.start.clone().ok_or(Reply::CodeInvalid)?;
        let mut guests =
            Guests::new(task, self.engine.clone(), start, Rc::clone(link) as Rc<dyn Storage>).map_err(Reply::Fault)?;
        loop {
            match link.order() {
                Some(Letter { message: Order::Items(items), bytes, .. }) => {
                    let mut small = bytes.as_slice();
                    for item in &items {
                        let Ran { report, log, left, bytes } = guests.run(item, &mut small).map_err(Reply::Fault)?;
                        link.report(&Reply::Ran { report, log, left }, &bytes);
                    }
                }
                Some(Letter { message: Order::End, .. }) => return Ok(guests.witness()),
                _ => std::process::exit(i32::from(EXIT_NO_WORK)),
            }
        }
    }
}

/// The parent, as whoever runs guests sees it.
struct Link {
    inner: RefCell<Inner>,
}

struct Inner {
    channel: Channel,
    /// Orders that came while something else was waited for.
    orders: VecDeque<Letter<Order>>,
    flushed: Instant,
}

impl Inner {
    /// Sends what was said. There is nothing left to do in a process that nobody listens to.
    fn flush(&mut self) {
        if self.channel.flush(Wait::Yes).is_err() {
            std::process::exit(i32::from(EXIT_NO_WORK));
        }
        self.flushed = Instant::now();
    }

    fn queue(&mut self, reply: &Reply, bytes: &[u8]) {
        if self.channel.queue(reply, bytes, None).is_err() {
            std::process::exit(i32::from(EXIT_NO_WORK));
        }
    }

    /// The next message; none when the parent has let go.
    fn receive(&mut self) -> Option<Letter<Order>> {
        loop {
            match self.channel.take() {
                Ok(Some(order)) => return Some(order),
                Ok(None) => {}
                Err(_) => return None,
            }
            // What is waited for may depend on what was said.
            self.flush();
            if !self.channel.read_with_descriptors().ok()? {
                return None;
            }
        }
    }
}

impl Link {
    /// Says something at once.
    fn say(&self, reply: &Reply) {
        let mut inner = self.inner.borrow_mut();
        inner.queue(reply, &[]);
        inner.flush();
    }

    /// Says something soon: several short runs are reported in one go.
    fn report(&self, reply: &Reply, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        inner.queue(reply, bytes);
        if inner.flushed.elapsed() > REPORT_WITHIN {
            inner.flush();
        }
    }

    fn order(&self) -> Option<Letter<Order>> {
        let mut inner = self.inner.borrow_mut();
        inner.orders.pop_front().or_else(|| inner.receive())
    }

    /// Asks for something and waits for it.
    fn ask(&self, want: Want, bytes: &[u8]) -> Result<Option<OwnedFd>, Stop> {
        let mut inner = self.inner.borrow_mut();
        inner.queue(&Reply::Wants(want), bytes);
        inner.flush();
        loop {
            match inner.receive() {
                Some(Letter { message: Order::Done, descriptor, .. }) => return Ok(descriptor),
                Some(Letter { message: Order::Refused(problem), .. }) => return Err(Stop::Host(problem)),
                Some(order) => inner.orders.push_back(order),
                None => std::process::exit(i32::from(EXIT_NO_WORK)),
            }
        }
    }

    fn ask_for_file(&self, want: Want) -> Result<File, Stop> {
        let file = self.ask(want, &[])?;
        Ok(file.ok_or_else(|| Stop::io("a file of the host", "it was not handed over"))?.into())
    }
}

impl Storage for Link {
    fn input(&self, number: u32) -> Result<File, Stop> {
        self.ask_for_file(Want::Input(number))
    }

    fn scratch(&self, number: u64, create: bool) -> Result<File, Stop> {
        self.ask_for_file(Want::Scratch { number, create })
    }

    fn remove(&self, number: u64) -> Result<(), Stop> {
        self.ask(Want::Remove(number), &[]).map(drop)
    }

    fn place(&self, entries: Vec<Placed>, bytes: Vec<u8>) -> Result<(), Stop> {
        self.ask(Want::Place(entries), &bytes).map(drop)
    }

    fn clear(&self) -> Result<(), Stop> {
        self.ask(Want::Clear, &[]).map(drop)
    }
}

fn engine_fault(error: &wasmtime::Error) -> HostFault {
    HostFault { kind: HostFaultKind::Io, reason: format!("the engine cannot begin: {error:#}") }
}
