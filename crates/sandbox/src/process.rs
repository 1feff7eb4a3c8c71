//! Keep a child process: start it, hear what it says, and leave nothing of it behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::control::{Control, Registration, Wish};
use crate::error::SandboxError;
use crate::execution::ChildCommand;
use crate::wire::{REPLY_BYTES_MAX, Reply, Request};

/// Bytes of the child's own stderr that are kept to explain its death.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// Events that wait to be heard; a child that says more than that has to wait.
const EVENTS_MAX: usize = 64;

/// What can happen to an execution under way.
pub(crate) enum Event {
    Reply(Reply),
    /// The child said something that is no reply, or ended.
    Closed,
    /// Somebody wishes something else of it: look at the control.
    Wish,
}

/// What ended the wait for an [`Event`].
pub(crate) enum Heard {
    Reply(Reply),
    /// The child ended without another word; how, in words.
    Died(String),
    Cancelled,
    TimedOut,
}

/// A running child. Dropping it kills its whole process group and reaps it.
pub(crate) struct Process {
    child: Child,
    events: Receiver<Event>,
    complaint: Option<JoinHandle<Vec<u8>>>,
    control: Control,
    /// Since when it holds still.
    frozen: Option<Instant>,
    _registration: Registration,
}

impl Process {
    /// Starts the child and hands it its request.
    pub(crate) fn start(command: &ChildCommand, request: &Request, control: &Control) -> Result<Self, SandboxError> {
        let spawn_error = |source| SandboxError::Spawn { program: command.program.clone(), source };
        let mut line = serde_json::to_vec(request).map_err(|error| SandboxError::Malformed(error.to_string()))?;
        line.push(b'\n');
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(spawn_error)?;
        let (sender, events) = sync_channel(EVENTS_MAX);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut leash), Some(stdout), Some(stderr)) = pipes else {
            return Err(spawn_error(std::io::Error::other("the pipes to it are missing")));
        };
        let wishes = sender.clone();
        // A full queue is no loss: the control is looked at after each event.
        let registration = control.listen(move || drop(wishes.try_send(Event::Wish)));
        let complaint = std::thread::spawn(move || keep_end(stderr));
        std::thread::spawn(move || {
            // A child that dies before it has read everything is noticed by its silence.
            let _ = leash.write_all(&line).and_then(|()| leash.flush());
            // The leash is kept for as long as the child is heard: it dies when this end closes, whatever becomes of
            // the parent.
            hear(stdout, &sender);
            drop(leash);
        });
        let control = control.clone();
        Ok(Self { child, events, complaint: Some(complaint), control, frozen: None, _registration: registration })
    }

    /// Waits for the next event until `deadline`, which moves on by the time that the child was held still.
    pub(crate) fn hear(&mut self, deadline: &mut Instant) -> Heard {
        loop {
            match self.control.wish() {
                Wish::Cancel => return Heard::Cancelled,
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
                Wish::Freeze => {}
            }
            let event = match self.frozen {
                Some(_) => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                None => self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            return match event {
                Ok(Event::Reply(reply)) => Heard::Reply(reply),
                Ok(Event::Wish) => continue,
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => Heard::Died(self.autopsy()),
                Err(RecvTimeoutError::Timeout) => Heard::TimedOut,
            };
        }
    }

    /// Reaps the child, which said its last word, and tells how it died.
    fn autopsy(&mut self) -> String {
        self.kill();
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
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        if complaint.trim().is_empty() { how } else { format!("{how}: {}", complaint.trim()) }
    }

    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&mut self, signal: Signal) {
        // The id is ours for as long as the child was not reaped, and only this type reaps it. The group may hold no
        // process any more, which is what is wanted.
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, pid = self.child.id(), "a sandbox process could not be reaped");
        }
    }
}

/// Passes the child's replies on until it ends or says something that is none.
fn hear(stdout: impl Read, events: &SyncSender<Event>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = (&mut stdout).take(REPLY_BYTES_MAX).read_until(b'\n', &mut line);
        let event = match read {
            Ok(_) => serde_json::from_slice(&line).map_or(Event::Closed, Event::Reply),
            Err(_) => Event::Closed,
        };
        let last = matches!(event, Event::Closed);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// Reads to the end and keeps the last bytes.
fn keep_end(mut stderr: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..over);
    }
    kept
}
