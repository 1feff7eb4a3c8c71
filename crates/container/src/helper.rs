//! Keep a helper process: start it, hand it a run, hear what it says, and leave nothing of it behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use gristmill_sandbox::{ChildCommand, Control, Registration, Wish};

use crate::cgroup::Group;
use crate::error::ContainerError;
use crate::runner::RunAs;
use crate::wire::{Place, REPLY_BYTES_MAX, Reply, Request, WORD_FREEZE, WORD_THAW};

/// Events that wait to be heard.
const EVENTS_MAX: usize = 16;
/// Bytes that a socket takes whether anybody reads them or not (socket(7), `wmem_default`, with what the kernel adds to each piece).
const LEASH_BYTES: usize = 32 << 10;
/// Time in which a helper that is let go ends by itself, its process 1 reaped, before it is killed.
const FAREWELL_MS: u16 = 1000;
/// Bytes of the helper's own stderr that are kept to explain its death.
const COMPLAINT_BYTES_MAX: u64 = 4096;

enum Event {
    Reply(Box<Reply>),
    /// The helper said something that is no reply, or ended.
    Closed,
    /// Somebody wishes something else of it: look at the control.
    Wish,
}

/// What ended the wait.
pub(crate) enum Heard {
    Reply(Box<Reply>),
    /// It ended without another word; how, in words.
    Died(String),
    Cancelled,
    TimedOut,
}

/// A running helper. Dropping it ends it, and with it all that it started; then it is reaped, and its group removed.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    /// Files come back by it too.
    leash: Option<UnixStream>,
    /// After the process, which is in it.
    pub(crate) group: Group,
}

impl Helper {
    /// Starts one that goes into the group and waits for its request. It is ready when that comes, so the time it takes to start need
    /// not be waited for.
    pub(crate) fn start(command: &ChildCommand, run_as: RunAs, group: Group) -> Result<Self, ContainerError> {
        let failed = |source| ContainerError::Spawn { program: command.program.clone(), source };
        let (leash, its_end) = UnixStream::pair().map_err(failed)?;
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(its_end))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut helper = Self { leash: Some(leash), child, group };
        // One that dies at once is noticed when it gets its request.
        if let (Some(leash), Ok(line)) =
            (&mut helper.leash, to_line(&Place { doors: helper.group.doors(), user: run_as.spare() }))
        {
            let _ = leash.write_all(&line);
        }
        Ok(helper)
    }

    /// Whether it still waits.
    pub(crate) fn is_there(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Hands it its run.
    pub(crate) fn begin(mut self, request: &Request, control: &Control) -> Result<Conversation, ContainerError> {
        let line = to_line(request)?;
        let (Some(leash), Some(stdout), Some(stderr)) =
            (self.leash.take(), self.child.stdout.take(), self.child.stderr.take())
        else {
            return Err(ContainerError::Unable("the pipes to the container process are missing".to_owned()));
        };
        let lost = |error| ContainerError::Unable(format!("the socket to the container process: {error}"));
        let door = request.has_network.then(|| leash.try_clone()).transpose().map_err(lost)?;
        let leash = Leash::hand_over(leash, line);
        let (sender, events) = sync_channel(EVENTS_MAX);
        let wishes = sender.clone();
        // A full queue is no loss: the control is looked at after each event.
        let registration = control.listen(move || drop(wishes.try_send(Event::Wish)));
        std::thread::spawn(move || hear(stdout, &sender));
        Ok(Conversation {
            leash,
            door,
            helper: self,
            events,
            stderr: Some(stderr),
            control: control.clone(),
            frozen: None,
            held: Duration::ZERO,
            _registration: registration,
        })
    }
}

fn to_line(said: &impl serde::Serialize) -> Result<Vec<u8>, ContainerError> {
    let mut line = serde_json::to_vec(said).map_err(|error| ContainerError::Malformed(error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It is let go rather than killed: then it reaps process 1 itself. Who adopts orphans may be slow to do so, or nobody.
        drop(self.leash.take());
        if !self.ends_within(FAREWELL_MS) {
            // Process 1 of its namespace dies with it, and with that all others.
            let _ = self.child.kill();
        }
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, pid = self.child.id(), "a container process could not be reaped");
        }
    }
}

impl Helper {
    fn ends_within(&mut self, milliseconds: u16) -> bool {
        // Once it is reaped its number may be another process's.
        if !self.is_there() {
            return true;
        }
        // SAFETY: a plain system call without pointers. The child was not reaped yet, so the number is its own.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, self.child.id(), 0) };
        let Ok(number @ 0..) = i32::try_from(number) else { return false };
        // SAFETY: it was just opened, and nobody else has it.
        let process = unsafe { OwnedFd::from_raw_fd(number) };
        let mut files = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut files, PollTimeout::from(milliseconds)), Ok(1..))
    }
}

/// The socket by which a helper is told things. It ends when this is dropped, whatever becomes of the runner.
enum Leash {
    Direct(UnixStream),
    /// By way of a thread, which waits in the runner's place while nobody reads.
    Through(Sender<u8>),
}

impl Leash {
    /// Writes the request. A helper that has died meanwhile is noticed by its silence.
    fn hand_over(mut socket: UnixStream, request: Vec<u8>) -> Self {
        if request.len() <= LEASH_BYTES {
            let _ = socket.write_all(&request);
            return Self::Direct(socket);
        }
        let (words, to_say) = channel();
        std::thread::spawn(move || {
            let _ = socket.write_all(&request);
            for word in to_say {
                let _ = socket.write_all(&[word]);
            }
        });
        Self::Through(words)
    }

    fn say(&mut self, word: u8) {
        let _ = match self {
            Self::Direct(socket) => socket.write_all(&[word]).is_ok(),
            Self::Through(words) => words.send(word).is_ok(),
        };
    }
}

/// A helper at work.
pub(crate) struct Conversation {
    /// Before the helper: what is dropped first tells it to end.
    leash: Leash,
    /// The same socket, until the run's way out has come by it; before the helper, since it would hold on to it as well.
    door: Option<UnixStream>,
    pub(crate) helper: Helper,
    events: Receiver<Event>,
    stderr: Option<std::process::ChildStderr>,
    control: Control,
    /// Since when it holds still.
    frozen: Option<Instant>,
    /// How long it was held still before.
    held: Duration,
    _registration: Registration,
}

impl Conversation {
    /// The socket of the run's way out. It was sent before the word that the sandbox stands.
    pub(crate) fn take_door(&mut self) -> Option<OwnedFd> {
        self.door.take().and_then(|socket| crate::door::take(&socket))
    }

    /// For how long it was held still.
    pub(crate) fn held(&self) -> Duration {
        self.held + self.frozen.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits for the next event until `deadline`, and for as long as the run was held still.
    pub(crate) fn hear(&mut self, deadline: Instant) -> Heard {
        loop {
            match self.control.wish() {
                Wish::Cancel => return Heard::Cancelled,
                Wish::Freeze if self.frozen.is_none() => {
                    self.frozen = Some(Instant::now());
                    self.leash.say(WORD_FREEZE);
                }
                Wish::Run => {
                    if let Some(since) = self.frozen.take() {
                        self.held += since.elapsed();
                        self.leash.say(WORD_THAW);
                    }
                }
                Wish::Freeze => {}
            }
            let event = match self.frozen {
                Some(_) => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                None => {
                    let left = (deadline + self.held).saturating_duration_since(Instant::now());
                    self.events.recv_timeout(left)
                }
            };
            return match event {
                Ok(Event::Reply(reply)) => Heard::Reply(reply),
                Ok(Event::Wish) => continue,
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => Heard::Died(self.autopsy()),
                Err(RecvTimeoutError::Timeout) => Heard::TimedOut,
            };
        }
    }

    fn autopsy(&mut self) -> String {
        let _ = self.helper.child.kill();
        let how = match self.helper.child.wait() {
            Ok(status) => format!("the container process ended early ({status})"),
            Err(error) => format!("the container process is lost: {error}"),
        };
        let mut complaint = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint);
        }
        let complaint = String::from_utf8_lossy(&complaint);
        if complaint.trim().is_empty() { how } else { format!("{how}: {}", complaint.trim()) }
    }
}

/// Passes the replies on until the helper ends or says something that is none.
fn hear(stdout: impl Read, events: &SyncSender<Event>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(REPLY_BYTES_MAX).read_until(b'\n', &mut line);
        let event = match read {
            Ok(_) => serde_json::from_slice(&line).map_or(Event::Closed, |reply| Event::Reply(Box::new(reply))),
            Err(_) => Event::Closed,
        };
        let last = matches!(event, Event::Closed);
        if events.send(event).is_err() || last {
            return;
        }
    }
}
