//! Ask and tell a running worker, through a socket in its folder.
//!
//! One JSON object a line: [`Ask`] goes in, [`Answer`] comes out. The socket is a Unix socket of mode 0600, and only processes of the
//! same user, or of root, are heard. What the owner says is kept in a file, so that it holds after a restart.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_datadir::write_atomic;
use gristmill_owner::Command;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::error::WorkerError;
use crate::status::{Reporter, Status};

/// The socket's name in a worker's folder.
pub const SOCKET_FILE: &str = "control.sock";
/// The file that keeps what the owner said by hand.
pub(crate) const COMMAND_FILE: &str = "command.json";
/// Bytes of a question.
const ASK_BYTES_MAX: u64 = 4 << 10;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Who may ask at a time.
const CONNECTIONS_MAX: usize = 8;
/// How long one of them has for everything.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long whoever asks waits for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What the file of the owner's word may have.
const COMMAND_BYTES_MAX: u64 = 4 << 10;

/// What a worker is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// What it does.
    Status,
    /// To hold still at once, until it is told to go on.
    Pause,
    /// To go on, as its policy says.
    Resume,
    /// To finish what it has, take nothing more, and end.
    Drain,
    /// What the machine is.
    Ad,
}

/// A question as it stands on the line. Of one that says more than is understood, nothing is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    command: Ask,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it does, after what it was told.
    Status(Box<Status>),
    /// What the machine is: a ClassAd.
    Ad(String),
    /// It did not understand, or could not do it.
    Error(String),
}

/// A worker could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens there.
    #[error(
        "no worker runs in {}: start it with `gristmill worker`, or name the folder of the one you mean with --data-dir",
        folder.display()
    )]
    NotRunning {
        /// The worker's folder.
        folder: PathBuf,
    },
    /// It is another user's.
    #[error("the worker in {} is another user's: ask as that user, or as root", folder.display())]
    Denied {
        /// The worker's folder.
        folder: PathBuf,
    },
    /// It did not answer.
    #[error("the worker in {} did not answer", folder.display())]
    Silent {
        /// The worker's folder.
        folder: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Its answer makes no sense.
    #[error("the answer of the worker in {} makes no sense: is it of another version?", folder.display())]
    Malformed {
        /// The worker's folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It refused.
    #[error("the worker in {} answers: {text}", folder.display())]
    Refused {
        /// The worker's folder.
        folder: PathBuf,
        /// Its words.
        text: String,
    },
}

/// Asks the worker whose folder (of [`crate::WorkerConfig::data_dir`]) this is. Blocks, for seconds at most.
///
/// # Errors
/// [`ControlError`].
pub fn ask(folder: &Path, ask: Ask) -> Result<Status, ControlError> {
    match exchange(folder, ask)? {
        Answer::Status(status) => Ok(*status),
        _ => Err(ControlError::Refused { folder: folder.to_path_buf(), text: "something else was asked".to_owned() }),
    }
}

/// Asks for the machine's ad. As [`ask`].
///
/// # Errors
/// [`ControlError`].
pub fn ask_ad(folder: &Path) -> Result<String, ControlError> {
    match exchange(folder, Ask::Ad)? {
        Answer::Ad(ad) => Ok(ad),
        _ => Err(ControlError::Refused { folder: folder.to_path_buf(), text: "something else was asked".to_owned() }),
    }
}

fn exchange(folder: &Path, ask: Ask) -> Result<Answer, ControlError> {
    let silent = |source| ControlError::Silent { folder: folder.to_path_buf(), source };
    let malformed = |source| ControlError::Malformed { folder: folder.to_path_buf(), source };
    let stream = at_socket(folder, |path| UnixStream::connect(path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning { folder: folder.to_path_buf() }
        }
        io::ErrorKind::PermissionDenied => ControlError::Denied { folder: folder.to_path_buf() },
        _ => silent(error),
    })?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(silent)?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX)).map_err(silent)?;
    let mut line = serde_json::to_vec(&Line { command: ask }).map_err(malformed)?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(silent)?;
    let mut answer = Vec::new();
    BufReader::new(&stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer).map_err(silent)?;
    if answer.is_empty() {
        return Err(silent(io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_slice(&answer).map_err(malformed)? {
        Answer::Error(text) => Err(ControlError::Refused { folder: folder.to_path_buf(), text }),
        answer => Ok(answer),
    }
}

/// Uses the socket's path, by a way that is short enough: the kernel takes 107 bytes of a socket's name, and folders may lie deep.
fn at_socket<T>(folder: &Path, mut act: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
    const NAME_BYTES_MAX: usize = 107;
    let path = folder.join(SOCKET_FILE);
    if path.as_os_str().len() <= NAME_BYTES_MAX {
        return act(&path);
    }
    let handle = std::fs::File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(SOCKET_FILE))
}

/// Listens. Who asks is answered in the background, until the returned guard is dropped.
pub(crate) fn listen(folder: &Path, reporter: Reporter) -> Result<Listening, WorkerError> {
    let socket = folder.join(SOCKET_FILE);
    let failed = |source| WorkerError::Control { path: socket.clone(), source };
    // The folder's lock is ours, so a socket that lies there is of a process that is gone.
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = at_socket(folder, |path| UnixListener::bind(path)).map_err(failed)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let task = tokio::spawn(serve(listener, reporter, folder.join(COMMAND_FILE)));
    Ok(Listening { socket: socket.clone(), task })
}

/// The socket is there. Dropping it takes it away.
pub(crate) struct Listening {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        // One that is gone already is just as well.
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn serve(listener: UnixListener, reporter: Reporter, command_file: PathBuf) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (reporter, command_file) = (reporter.clone(), command_file.clone());
        tokio::spawn(async move {
            // Whoever is too slow, or goes away, loses the answer and nothing else.
            let _ = tokio::time::timeout(CONNECTION_TIME_MAX, converse(stream, &reporter, &command_file)).await;
            drop(place);
        });
    }
}

async fn converse(mut stream: tokio::net::UnixStream, reporter: &Reporter, command_file: &Path) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let me = nix::unistd::Uid::effective().as_raw();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(ASK_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Line>(&line) {
            _ if peer != me && peer != 0 => Answer::Error("only this worker's user and root may ask it".to_owned()),
            _ if !line.ends_with(b"\n") => {
                Answer::Error(format!("a question is one line of {ASK_BYTES_MAX} bytes at most"))
            }
            Err(error) => Answer::Error(format!("that is no question ({error}): ask {{\"command\":\"status\"}}")),
            Ok(Line { command }) => perform(command, reporter, command_file),
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        writer.write_all(&text).await?;
        if !line.ends_with(b"\n") {
            return Ok(());
        }
    }
}

fn perform(ask: Ask, reporter: &Reporter, command_file: &Path) -> Answer {
    let command = match ask {
        Ask::Status => None,
        Ask::Pause => Some(Command::Pause),
        Ask::Resume => Some(Command::Run),
        Ask::Drain => Some(Command::Drain),
        Ask::Ad => return reporter.ad().map_or_else(Answer::Error, Answer::Ad),
    };
    if let Some(command) = command {
        // First done, then remembered: a full disk must not keep the owner from the machine.
        reporter.board.command(command);
        if let Err(error) = remember(command_file, command) {
            return Answer::Error(format!("done, but a restart will forget it: {error}"));
        }
    }
    Answer::Status(Box::new(reporter.status()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    command: Word,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Run,
    Pause,
    Drain,
}

/// Keeps what the owner said.
pub(crate) fn remember(file: &Path, command: Command) -> Result<(), gristmill_datadir::FileError> {
    let word = match command {
        Command::Run => Word::Run,
        Command::Pause => Word::Pause,
        Command::Drain => Word::Drain,
    };
    let text = serde_json::to_vec(&Said { command: word }).unwrap_or_default();
    write_atomic(file, &text, 0o600)
}

/// What the owner said last. A file that cannot be read or understood is taken for a pause: whoever wrote it had something to say.
pub(crate) fn remembered(file: &Path) -> Command {
    let mut text = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(COMMAND_BYTES_MAX).read_to_end(&mut text));
    match read.map(|_| serde_json::from_slice::<Said>(&text)) {
        Ok(Ok(Said { command: Word::Run })) => Command::Run,
        Ok(Ok(Said { command: Word::Drain })) => Command::Drain,
        Ok(Ok(Said { command: Word::Pause })) => Command::Pause,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Command::Run,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(file = %file.display(), "what the owner said last cannot be read: paused until `gristmill worker resume`");
            Command::Pause
        }
    }
}

#[cfg(test)]
mod tests;
