//! Pass bytes on between two sockets, each way until that way's end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::{Clock, Shared, Stopped, is_to_be_tried_again};
use crate::network::Direction;

/// Bytes that are under way in one direction.
const BUFFER_BYTES: usize = 32 << 10;

/// Why it ended before both ways did.
pub(super) enum Broken {
    Stopped,
    Idle,
    /// One side is gone.
    Gone,
}

impl From<Stopped> for Broken {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// One way.
struct Way {
    direction: Direction,
    /// What is still to be written.
    bytes: Vec<u8>,
    written: usize,
    /// Whoever reads from the world goes no quicker than this.
    not_before: Option<Instant>,
    /// Nothing more comes.
    is_read: bool,
    /// Nothing more goes, and the other side knows.
    is_over: bool,
}

impl Way {
    fn new(direction: Direction, ahead: Vec<u8>) -> Self {
        Self { direction, bytes: ahead, written: 0, not_before: None, is_read: false, is_over: false }
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn wants_to_read(&self) -> bool {
        !self.is_read && self.is_empty()
    }

    fn wants_to_write(&self, now: Instant) -> bool {
        !self.is_empty() && self.not_before.is_none_or(|time| time <= now)
    }

    /// How long it is held back.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let time = self.not_before.filter(|time| *time > now && !self.is_empty())?;
        Some(time.saturating_duration_since(now))
    }

    fn count(&mut self, shared: &Shared, clock: &Clock) {
        let count = self.bytes.len() as u64;
        shared.network.traffic.count(self.direction, count);
        if let Some(pace) = &shared.network.pace {
            self.not_before = clock.now().checked_add(pace.wait(self.direction, count));
        }
    }

    fn read(&mut self, mut from: &TcpStream, shared: &Shared, clock: &Clock) -> io::Result<()> {
        self.bytes.resize(BUFFER_BYTES, 0);
        self.written = 0;
        let read = from.read(&mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.is_read = true,
            Ok(_) => self.count(shared, clock),
            Err(error) if is_to_be_tried_again(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write(&mut self, mut to: &TcpStream) -> io::Result<()> {
        match to.write(&self.bytes[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if is_to_be_tried_again(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells the other side when there is no more.
    fn end(&mut self, to: &TcpStream) {
        if self.is_read && self.is_empty() && !self.is_over {
            self.is_over = true;
            // One that is gone need not be told.
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

/// Passes on until both ways have come to their end. `ahead` is what has come from the client already, `answer` what it is told
/// first.
pub(super) fn relay(
    shared: &Shared,
    client: &TcpStream,
    server: &TcpStream,
    ahead: Vec<u8>,
    answer: Vec<u8>,
    clock: &mut Clock,
) -> Result<(), Broken> {
    // What we say ourselves is nobody's traffic.
    let (mut up, mut down) = (Way::new(Direction::Up, ahead), Way::new(Direction::Down, answer));
    if !up.is_empty() {
        up.count(shared, clock);
    }
    let mut last = clock.now();
    loop {
        up.end(server);
        down.end(client);
        if up.is_over && down.is_over {
            return Ok(());
        }
        let now = clock.now();
        let idle = (last + shared.network.egress.idle_time).saturating_duration_since(now);
        let pauses = [up.pause(now), down.pause(now)];
        if idle.is_zero() && pauses == [None, None] {
            return Err(Broken::Idle);
        }
        let timeout = pauses.into_iter().flatten().chain([idle].into_iter().filter(|idle| !idle.is_zero())).min();
        let event = |is_wanted: bool, event| if is_wanted { event } else { PollFlags::empty() };
        let of_client =
            event(up.wants_to_read(), PollFlags::POLLIN) | event(down.wants_to_write(now), PollFlags::POLLOUT);
        let of_server =
            event(down.wants_to_read(), PollFlags::POLLIN) | event(up.wants_to_write(now), PollFlags::POLLOUT);
        let files = [(client.as_fd(), of_client), (server.as_fd(), of_server)];
        let [is_client, is_server] = shared.wait(files, timeout.unwrap_or_default(), clock)?;
        let now = clock.now();
        for (way, from, to, is_from, is_to) in
            [(&mut up, client, server, is_client, is_server), (&mut down, server, client, is_server, is_client)]
        {
            if is_to && way.wants_to_write(now) {
                way.write(to)?;
                last = now;
            } else if is_from && way.wants_to_read() {
                way.read(from, shared, clock)?;
                last = now;
            }
        }
    }
}
