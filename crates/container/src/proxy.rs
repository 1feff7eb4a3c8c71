//! Serve a container's one way out: accept on its socket, hear what is wanted, connect, pass bytes on.
//!
//! A thread accepts and one serves each connection; all of them, and all that they have open, end with the [`Proxy`]. Whatever a
//! thread waits for, it waits for the end too, and while the container is held still nothing moves here either.

mod dialogue;
mod relay;
mod resolve;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gristmill_sandbox::{Control, Wish};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use nix::unistd::pipe2;

use crate::network::{AddressRange, Network, own_networks};
use dialogue::{Dialogue, Failure, Host, Order, Step};
use resolve::Resolver;

/// Stack of a thread that serves.
const STACK_BYTES: usize = 256 << 10;
/// How often it is looked whether a place is free, or whether the container may move again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long somebody who was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes that are taken at once while it is not known what is wanted.
const READ_BYTES: usize = 4 << 10;

/// A way out. Dropping it ends all that goes by it, and waits for that.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Nothing is ever written: that it is closed says that this is the end.
    stop: Option<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Serves who connects to the listening socket.
    pub(crate) fn start(listener: OwnedFd, network: Network, control: Control) -> io::Result<Self> {
        Self::start_with(listener, network, control, Resolver::of_this_process(), own_networks)
    }

    fn start_with(
        listener: OwnedFd,
        network: Network,
        control: Control,
        resolver: Resolver,
        own: fn() -> Vec<AddressRange>,
    ) -> io::Result<Self> {
        let (stopped, stop) = pipe2(OFlag::O_CLOEXEC)?;
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared { network, control, resolver, own, stopped });
        let acceptor = std::thread::Builder::new()
            .name("container-proxy".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || accept(&listener, &shared))?;
        Ok(Self { stop: Some(stop), acceptor: Some(acceptor) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(acceptor) = self.acceptor.take() {
            // One that panicked has ended too.
            let _ = acceptor.join();
        }
    }
}

/// The proxy was dropped.
struct Stopped;

/// Why a connection is over before its time.
enum Over {
    Stopped,
    Failed(Failure),
    /// Whoever it was is gone.
    Gone,
}

impl From<Stopped> for Over {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What the threads of one proxy have in common.
struct Shared {
    network: Network,
    control: Control,
    resolver: Resolver,
    /// The networks that the host is in.
    own: fn() -> Vec<AddressRange>,
    stopped: OwnedFd,
}

/// Until when something is waited for, in time in which the container was not held still.
struct Clock {
    held: Duration,
}

impl Clock {
    fn new() -> Self {
        Self { held: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.held).unwrap_or(now)
    }
}

impl Shared {
    /// Waits until one of the files is ready, or for so long: which of them are. Longer for as long as the container is held still.
    fn wait<const COUNT: usize>(
        &self,
        files: [(BorrowedFd<'_>, PollFlags); COUNT],
        timeout: Duration,
        clock: &mut Clock,
    ) -> Result<[bool; COUNT], Stopped> {
        // In whole milliseconds, upwards: a wait that is over too early would be begun again at once.
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(3_600_000);
        let timeout = i32::try_from(milliseconds).ok().and_then(|it| PollTimeout::try_from(it).ok());
        let mut polled = vec![PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
        // A file of which nothing is wanted would still wake us when it is closed.
        let is_wanted = files.map(|(_, events)| !events.is_empty());
        polled.extend(
            files.iter().filter(|(_, events)| !events.is_empty()).map(|(file, events)| PollFd::new(*file, *events)),
        );
        match poll(&mut polled, timeout.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Err(Stopped),
        }
        let mut ready = polled.iter().map(|file| file.any().unwrap_or(true));
        if ready.next() == Some(true) {
            return Err(Stopped);
        }
        let ready = is_wanted.map(|wanted| wanted && ready.next() == Some(true));
        self.hold_still(clock)?;
        Ok(ready)
    }

    /// Waits for as long as the container is held still.
    fn hold_still(&self, clock: &mut Clock) -> Result<(), Stopped> {
        if self.control.wish() != Wish::Freeze {
            return Ok(());
        }
        let since = Instant::now();
        while self.control.wish() == Wish::Freeze {
            let milliseconds = u16::try_from(LOOK_EVERY.as_millis()).unwrap_or(u16::MAX);
            let mut stopped = [PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
            if poll(&mut stopped, milliseconds).is_ok_and(|count| count > 0) {
                return Err(Stopped);
            }
        }
        clock.held += since.elapsed();
        Ok(())
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut clock = Clock::new();
    let mut serving: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let is_full = serving.len() >= shared.network.egress.connections;
        let wanted = if is_full { PollFlags::empty() } else { PollFlags::POLLIN };
        let timeout = if serving.is_empty() { Duration::from_secs(3600) } else { LOOK_EVERY };
        let Ok([is_ready]) = shared.wait([(listener.as_fd(), wanted)], timeout, &mut clock) else { break };
        serving.retain(|thread| !thread.is_finished());
        if !is_ready {
            continue;
        }
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(_) => {
                // No more files, perhaps: others may free some.
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name("container-proxy".to_owned()).stack_size(STACK_BYTES);
        // Without a thread the connection is closed.
        serving.extend(thread.spawn(move || serve(&shared, &client)));
    }
    for thread in serving {
        let _ = thread.join();
    }
}

/// One connection, from its begin to its end.
fn serve(shared: &Shared, client: &TcpStream) {
    if client.set_nonblocking(true).is_err() {
        return;
    }
    let _ = client.set_nodelay(true);
    let mut clock = Clock::new();
    let mut dialogue = Dialogue::new(shared.network.egress.head_bytes);
    let mut bytes = Vec::new();
    let order = match hear(shared, client, &mut dialogue, &mut bytes, &mut clock) {
        Ok(Ok(order)) => order,
        Ok(Err(answer)) => return farewell(shared, client, &answer, &mut clock),
        Err(Over::Failed(failure)) => {
            return farewell(shared, client, &dialogue.give_up(&bytes, &failure), &mut clock);
        }
        Err(Over::Stopped | Over::Gone) => return,
    };
    let server = match reach(shared, &order, &mut clock) {
        Ok(server) => server,
        Err(Over::Failed(failure)) => {
            if failure == Failure::Denied {
                shared.network.traffic.count_refusal();
            }
            return farewell(shared, client, &order.dialect.failed(&failure), &mut clock);
        }
        Err(Over::Stopped | Over::Gone) => return,
    };
    shared.network.traffic.count_connection();
    let ahead = [order.first, bytes].concat();
    if relay::relay(shared, client, &server, ahead, order.dialect.done(), &mut clock).is_err() {
        // Nothing of it is to go on by itself when this is closed.
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = socket::setsockopt(&server, sockopt::Linger, &at_once);
        let _ = socket::setsockopt(client, sockopt::Linger, &at_once);
    }
}

/// Hears what is wanted; or what to say to one who wants nothing sensible. What came after it is left in `bytes`.
fn hear(
    shared: &Shared,
    client: &TcpStream,
    dialogue: &mut Dialogue,
    bytes: &mut Vec<u8>,
    clock: &mut Clock,
) -> Result<Result<Order, Vec<u8>>, Over> {
    let until = clock.now() + shared.network.egress.head_time;
    let mut buffer = [0; READ_BYTES];
    loop {
        match dialogue.next(bytes) {
            Step::More => {}
            Step::Say(taken, answer) => {
                bytes.drain(..taken);
                say(shared, client, &answer, until, clock)?;
                continue;
            }
            Step::Connect(taken, order) => {
                bytes.drain(..taken);
                return Ok(Ok(order));
            }
            Step::End(answer) => return Ok(Err(answer)),
        }
        let left = until.saturating_duration_since(clock.now());
        if left.is_zero() {
            return Err(Over::Failed(Failure::TooSlow));
        }
        if shared.wait([(client.as_fd(), PollFlags::POLLIN)], left, clock)? == [false] {
            continue;
        }
        match io::Read::read(&mut &*client, &mut buffer) {
            Ok(0) => return Err(Over::Gone),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if is_to_be_tried_again(&error) => {}
            Err(_) => return Err(Over::Gone),
        }
    }
}

fn is_to_be_tried_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Says all of it, until a time.
fn say(shared: &Shared, client: &TcpStream, mut answer: &[u8], until: Instant, clock: &mut Clock) -> Result<(), Over> {
    while !answer.is_empty() {
        match io::Write::write(&mut &*client, answer) {
            Ok(count) => answer = &answer[count..],
            Err(error) if is_to_be_tried_again(&error) => {
                let left = until.saturating_duration_since(clock.now());
                if left.is_zero() {
                    return Err(Over::Gone);
                }
                shared.wait([(client.as_fd(), PollFlags::POLLOUT)], left, clock)?;
            }
            Err(_) => return Err(Over::Gone),
        }
    }
    Ok(())
}

/// Says a last word, and lets the other read it: a socket that is closed while bytes wait in it takes back what it said.
fn farewell(shared: &Shared, client: &TcpStream, answer: &[u8], clock: &mut Clock) {
    let until = clock.now() + FAREWELL;
    if say(shared, client, answer, until, clock).is_err() || client.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut buffer = [0; READ_BYTES];
    loop {
        let left = until.saturating_duration_since(clock.now());
        if left.is_zero() || shared.wait([(client.as_fd(), PollFlags::POLLIN)], left, clock).is_err() {
            return;
        }
        match io::Read::read(&mut &*client, &mut buffer) {
            Ok(1..) => {}
            Err(error) if is_to_be_tried_again(&error) => {}
            _ => return,
        }
    }
}

/// Connects to the first address that is allowed and answers. The address that is checked is the one that is connected to.
fn reach(shared: &Shared, order: &Order, clock: &mut Clock) -> Result<TcpStream, Over> {
    let egress = &shared.network.egress;
    let addresses = match &order.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            // Not even asked for when it could not be used.
            if egress.ports_denied.contains(&order.port) {
                return Err(Over::Failed(Failure::Denied));
            }
            shared.resolver.look_up(name, egress.connect_time, shared, clock)?
        }
    };
    if addresses.is_empty() {
        return Err(Over::Failed(Failure::NoAddress));
    }
    let own = (shared.own)();
    let allowed = addresses.into_iter().filter(|address| egress.allows(*address, order.port, &own));
    let mut last = Failure::Denied;
    for address in allowed.take(ADDRESSES_MAX) {
        match connect(shared, address, order.port, clock) {
            Err(Over::Failed(failure)) => last = failure,
            other => return other,
        }
    }
    Err(Over::Failed(last))
}

fn connect(shared: &Shared, address: IpAddr, port: u16, clock: &mut Clock) -> Result<TcpStream, Over> {
    let failed = |error: Errno| {
        Over::Failed(match error {
            Errno::ECONNREFUSED => Failure::Refused,
            Errno::ETIMEDOUT => Failure::Silent,
            _ => Failure::Unreachable,
        })
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = TcpStream::from(socket::socket(family, SockType::Stream, flags, None).map_err(failed)?);
    let until = clock.now() + shared.network.egress.connect_time;
    match socket::connect(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port))) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS | Errno::EINTR) => loop {
            let left = until.saturating_duration_since(clock.now());
            if left.is_zero() {
                return Err(Over::Failed(Failure::Silent));
            }
            if shared.wait([(stream.as_fd(), PollFlags::POLLOUT)], left, clock)? == [true] {
                break;
            }
        },
        Err(error) => return Err(failed(error)),
    }
    match socket::getsockopt(&stream, sockopt::SocketError) {
        Ok(0) => {}
        Ok(error) => return Err(failed(Errno::from_raw(error))),
        Err(error) => return Err(failed(error)),
    }
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
