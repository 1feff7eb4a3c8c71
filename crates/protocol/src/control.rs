//! Ask and tell a running service, through a socket in its folder.
//!
//! One JSON object a line goes in, `{"command": ...}`, and one comes out: the answer, or `{"error": TEXT}`. The socket is a Unix socket
//! of mode 0600, and only processes of the same user, or of root, are heard. What is asked and answered is the service's own; here is
//! how it travels.

use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::admit::admit;

/// The socket's name in a service's folder.
pub const SOCKET_FILE: &str = "control.sock";
/// Bytes of a question.
pub const ASK_BYTES_MAX: u64 = 4 << 10;
/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Who may ask at a time.
const CONNECTIONS_MAX: usize = 8;

/// What kind of service is asked: for messages, and for how long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// What it is called: `worker`.
    pub name: &'static str,
    /// The command that starts one.
    pub start: &'static str,
    /// How long whoever asks waits for an answer, and how long a connection may live.
    pub time_max: Duration,
}

/// A question as it stands on the line. Of one that says more than is understood, nothing is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<A> {
    command: A,
}

/// What stands on the line instead of an answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    error: String,
}

/// A service could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens there.
    #[error(
        "no {} runs in {}: start it with `{}`, or name the folder of the one you mean with --data-dir",
        service.name,
        folder.display(),
        service.start
    )]
    NotRunning {
        /// What was asked.
        service: Service,
        /// Its folder.
        folder: PathBuf,
    },
    /// It is another user's.
    #[error("the {} in {} is another user's: ask as that user, or as root", service.name, folder.display())]
    Denied {
        /// What was asked.
        service: Service,
        /// Its folder.
        folder: PathBuf,
    },
    /// It did not answer.
    #[error("the {} in {} did not answer", service.name, folder.display())]
    Silent {
        /// What was asked.
        service: Service,
        /// Its folder.
        folder: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Its answer makes no sense.
    #[error("the answer of the {} in {} makes no sense: is it of another version?", service.name, folder.display())]
    Malformed {
        /// What was asked.
        service: Service,
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It refused.
    #[error("the {} in {} answers: {text}", service.name, folder.display())]
    Refused {
        /// What was asked.
        service: Service,
        /// Its folder.
        folder: PathBuf,
        /// Its words.
        text: String,
    },
}

impl ControlError {
    /// Whether nobody listens in that folder.
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. })
    }
}

/// Asks the service in this folder. Blocks, for [`Service::time_max`] at most.
///
/// # Errors
/// [`ControlError`].
pub fn ask<A: Serialize, B: DeserializeOwned>(service: Service, folder: &Path, ask: &A) -> Result<B, ControlError> {
    let silent = |source| ControlError::Silent { service, folder: folder.to_path_buf(), source };
    let malformed = |source| ControlError::Malformed { service, folder: folder.to_path_buf(), source };
    let stream = at_socket(folder, |path| UnixStream::connect(path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning { service, folder: folder.to_path_buf() }
        }
        io::ErrorKind::PermissionDenied => ControlError::Denied { service, folder: folder.to_path_buf() },
        _ => silent(error),
    })?;
    stream.set_read_timeout(Some(service.time_max)).map_err(silent)?;
    stream.set_write_timeout(Some(service.time_max)).map_err(silent)?;
    let mut line = serde_json::to_vec(&Line { command: ask }).map_err(malformed)?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(silent)?;
    let mut answer = Vec::new();
    BufReader::new(&stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer).map_err(silent)?;
    if answer.is_empty() {
        return Err(silent(io::ErrorKind::UnexpectedEof.into()));
    }
    if let Ok(Refusal { error }) = serde_json::from_slice(&answer) {
        return Err(ControlError::Refused { service, folder: folder.to_path_buf(), text: error });
    }
    serde_json::from_slice(&answer).map_err(malformed)
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

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the control socket {}", path.display())]
pub struct ListenError {
    /// The socket.
    pub path: PathBuf,
    /// What the operating system answered.
    #[source]
    pub source: io::Error,
}

/// Listens in a folder whose lock is the caller's. Who asks is answered by `perform`, in the background, until the returned guard is
/// dropped. The words of an error go to whoever asked.
///
/// # Errors
/// [`ListenError`].
pub fn listen<A, B, P, F>(service: Service, folder: &Path, perform: P) -> Result<Listening, ListenError>
where
    A: DeserializeOwned + Send + 'static,
    B: Serialize + Send + 'static,
    P: Fn(A) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<B, String>> + Send + 'static,
{
    let socket = folder.join(SOCKET_FILE);
    let failed = |source| ListenError { path: socket.clone(), source };
    // The folder's lock is ours, so a socket that lies there is of a process that is gone.
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = at_socket(folder, |path| UnixListener::bind(path)).map_err(failed)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let task = tokio::spawn(serve(service, listener, perform));
    Ok(Listening { socket: socket.clone(), task })
}

/// The socket is there. Dropping it takes it away.
#[derive(Debug)]
pub struct Listening {
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

async fn serve<A, B, P, F>(service: Service, listener: UnixListener, perform: P)
where
    A: DeserializeOwned + Send + 'static,
    B: Serialize + Send + 'static,
    P: Fn(A) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<B, String>> + Send + 'static,
{
    let next = async || Ok(listener.accept().await?.0);
    let talk = |stream| {
        let perform = perform.clone();
        async move { converse(service, stream, &perform).await }
    };
    admit("the control socket", (CONNECTIONS_MAX, service.time_max), next, talk).await;
}

async fn converse<A, B, P, F>(service: Service, mut stream: tokio::net::UnixStream, perform: &P) -> io::Result<()>
where
    A: DeserializeOwned,
    B: Serialize,
    P: Fn(A) -> F,
    F: Future<Output = Result<B, String>>,
{
    let peer = stream.peer_cred()?.uid();
    let me = nix::unistd::Uid::effective().as_raw();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(ASK_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Line<A>>(&line) {
            _ if peer != me && peer != 0 => Err(format!("only this {}'s user and root may ask it", service.name)),
            _ if !line.ends_with(b"\n") => Err(format!("a question is one line of {ASK_BYTES_MAX} bytes at most")),
            Err(error) => Err(format!("that is no question ({error}): ask {{\"command\":\"status\"}}")),
            Ok(Line { command }) => perform(command).await,
        };
        let mut text = match answer {
            Ok(answer) => serde_json::to_vec(&answer)?,
            Err(error) => serde_json::to_vec(&Refusal { error })?,
        };
        text.push(b'\n');
        writer.write_all(&text).await?;
        if !line.ends_with(b"\n") {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
