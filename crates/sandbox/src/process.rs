//! Keep a child process: start it, talk with it, and leave nothing of it behind.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;

use crate::channel::{Channel, Wait};
use crate::control::{Control, Registration, Wish};
use crate::error::SandboxError;
use crate::execution::ChildCommand;
use crate::wire::{REPLY_BYTES_MAX, Reply, Request};

/// Bytes of the child's own stderr that are kept to explain its death.
const COMPLAINT_BYTES_MAX: usize = 4096;
/// Bytes that a pipe of Linux can hold.
const PIPE_BYTES_MAX: u64 = 1 << 20;

/// What ended the wait for the child.
pub(crate) enum Heard {
    /// With the bytes that came with it.
    Reply(Reply, Vec<u8>),
    /// The child ended without another word; how, in words.
    Died(String),
    Cancelled,
    TimedOut,
}

/// A running child. Dropping it kills its whole process group and reaps it.
pub(crate) struct Process {
    child: Child,
    channel: Channel,
    /// Written to when somebody wishes something else of it.
    wake: Arc<EventFd>,
    /// Since when it holds still.
    frozen: Option<Instant>,
}

impl Process {
    /// Starts the child and hands it its request. It dies with the thread that calls this.
    pub(crate) fn start(command: &ChildCommand, request: &Request) -> Result<Self, SandboxError> {
        let spawn_error = |source| SandboxError::Spawn { program: command.program.clone(), source };
        let (ours, theirs) = UnixStream::pair().map_err(spawn_error)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = wake.map_err(|error| spawn_error(error.into()))?;
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(spawn_error)?;
        let channel = Channel::new(ours, REPLY_BYTES_MAX);
        let mut process = Self { child, channel, wake: Arc::new(wake), frozen: None };
        process.tell(request, &[], None).map_err(spawn_error)?;
        Ok(process)
    }

    /// Says something to the child; it is sent while it is heard.
    pub(crate) fn tell(
        &mut self,
        message: &impl Serialize,
        bytes: &[u8],
        descriptor: Option<OwnedFd>,
    ) -> std::io::Result<()> {
        self.channel.queue(message, bytes, descriptor)
    }

    /// Sends what was told, as far as the child takes it now.
    pub(crate) fn send(&mut self) {
        // A child that takes nothing any more is noticed when it is heard.
        let _ = self.channel.flush(Wait::No);
    }

    /// Listens to `control` for as long as the registration is kept.
    pub(crate) fn listen(&self, control: &Control) -> Registration {
        let wake = Arc::clone(&self.wake);
        // Should the count be full, it wakes all the same.
        control.listen(move || {
            let _ = wake.write(1);
        })
    }

    /// Waits for the next reply until `deadline`, which moves on by the time that the child was held still.
    pub(crate) fn hear(&mut self, control: &Control, deadline: &mut Instant) -> Heard {
        loop {
            self.follow(control.wish(), deadline);
            if control.is_cancelled() {
                return Heard::Cancelled;
            }
            match self.channel.take() {
                Ok(Some(letter)) => return Heard::Reply(letter.message, letter.bytes),
                Ok(None) => {}
                Err(error) => return Heard::Died(self.autopsy(&format!(" after it said what is no reply ({error})"))),
            }
            if self.channel.flush(Wait::No).is_err() {
                return Heard::Died(self.autopsy(""));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.frozen.is_none() && left.is_zero() {
                return Heard::TimedOut;
            }
            let timeout = match self.frozen {
                Some(_) => PollTimeout::NONE,
                None => PollTimeout::try_from(left).map_or(PollTimeout::MAX, |left| left),
            };
            let mut events = PollFlags::POLLIN;
            if self.channel.has_outgoing() {
                events |= PollFlags::POLLOUT;
            }
            let mut sources =
                [PollFd::new(self.channel.as_fd(), events), PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
            if poll(&mut sources, timeout).is_err() {
                // Interrupted by a signal: look again.
                continue;
            }
            let readable = sources[0].any().unwrap_or(true);
            if sources[1].any().unwrap_or(true) {
                let _ = self.wake.read();
            }
            if readable && !self.channel.read().unwrap_or(false) {
                return Heard::Died(self.autopsy(""));
            }
        }
    }

    fn follow(&mut self, wish: Wish, deadline: &mut Instant) {
        match wish {
            Wish::Freeze if self.frozen.is_none() => {
                self.frozen = Some(Instant::now());
                self.signal(Signal::SIGSTOP);
            }
            Wish::Run => {
                if let Some(since) = self.frozen.take() {
                    *deadline += since.elapsed();
                    self.signal(Signal::SIGCONT);
                }
            }
            Wish::Freeze | Wish::Cancel => {}
        }
    }

    /// Makes it go on, should it hold still: whoever held it is done with it.
    pub(crate) fn release(&mut self) {
        if self.frozen.take().is_some() {
            self.signal(Signal::SIGCONT);
        }
    }

    /// True while the process lives.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Reaps the child, which said its last word, and tells how it died.
    fn autopsy(&mut self, after: &str) -> String {
        self.signal(Signal::SIGKILL);
        let how = match self.child.wait() {
            Ok(status) => match status.signal() {
                Some(signal) => {
                    let name =
                        Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string());
                    format!("the sandbox process was killed by {name}")
                }
                None => format!("the sandbox process ended early ({status})"),
            },
            Err(error) => format!("the sandbox process is lost: {error}"),
        };
        // Nobody holds the other end any more, so this ends.
        let mut complaint = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(PIPE_BYTES_MAX).read_to_end(&mut complaint);
        }
        let end = &complaint[complaint.len().saturating_sub(COMPLAINT_BYTES_MAX)..];
        let end = String::from_utf8_lossy(end);
        if end.trim().is_empty() { format!("{how}{after}") } else { format!("{how}{after}: {}", end.trim()) }
    }

    fn signal(&mut self, signal: Signal) {
        // The id is ours for as long as the child was not reaped, and only this type reaps it. The group may hold no
        // process any more, which is what is wanted.
        if self.lives() {
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, pid = self.child.id(), "a sandbox process could not be reaped");
        }
    }
}
