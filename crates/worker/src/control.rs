//! Ask and tell a running worker, through the socket in its folder ([`gristmill_protocol::control`]).
//!
//! [`Ask`] goes in, [`Answer`] comes out. What the owner says is kept in a file, so that it holds after a restart.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_datadir::write_atomic;
use gristmill_owner::Command;
use gristmill_protocol::control::{self as socket, Listening, Service};
pub use gristmill_protocol::control::{ControlError, SOCKET_FILE};
use serde::{Deserialize, Serialize};

use crate::error::WorkerError;
use crate::status::{Reporter, Status};

/// The file that keeps what the owner said by hand.
pub(crate) const COMMAND_FILE: &str = "command.json";
/// What the file of the owner's word may have.
const COMMAND_BYTES_MAX: u64 = 4 << 10;
/// Who is asked.
const WORKER: Service = Service { name: "worker", start: "gristmill worker", time_max: Duration::from_secs(10) };

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

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it does, after what it was told.
    Status(Box<Status>),
    /// What the machine is: a ClassAd.
    Ad(String),
}

/// Asks the worker whose folder (of [`crate::WorkerConfig::data_dir`]) this is. Blocks, for seconds at most.
///
/// # Errors
/// [`ControlError`].
pub fn ask(folder: &Path, ask: Ask) -> Result<Status, ControlError> {
    match socket::ask(WORKER, folder, &ask)? {
        Answer::Status(status) => Ok(*status),
        Answer::Ad(_) => Err(other_question(folder)),
    }
}

/// Asks for the machine's ad. As [`ask`].
///
/// # Errors
/// [`ControlError`].
pub fn ask_ad(folder: &Path) -> Result<String, ControlError> {
    match socket::ask(WORKER, folder, &Ask::Ad)? {
        Answer::Ad(ad) => Ok(ad),
        Answer::Status(_) => Err(other_question(folder)),
    }
}

fn other_question(folder: &Path) -> ControlError {
    let text = "something else was asked".to_owned();
    ControlError::Refused { service: WORKER, folder: folder.to_path_buf(), text }
}

/// Listens. Who asks is answered in the background, until the returned guard is dropped.
pub(crate) fn listen(folder: &Path, reporter: Reporter) -> Result<Listening, WorkerError> {
    let command_file = folder.join(COMMAND_FILE);
    Ok(socket::listen(WORKER, folder, move |ask| {
        let (reporter, command_file): (Reporter, PathBuf) = (reporter.clone(), command_file.clone());
        async move { perform(ask, &reporter, &command_file) }
    })?)
}

fn perform(ask: Ask, reporter: &Reporter, command_file: &Path) -> Result<Answer, String> {
    let command = match ask {
        Ask::Status => None,
        Ask::Pause => Some(Command::Pause),
        Ask::Resume => Some(Command::Run),
        Ask::Drain => Some(Command::Drain),
        Ask::Ad => return reporter.ad().map(Answer::Ad),
    };
    if let Some(command) = command {
        // First done, then remembered: a full disk must not keep the owner from the machine.
        reporter.board.command(command);
        if let Err(error) = remember(command_file, command) {
            return Err(format!("done, but a restart will forget it: {error}"));
        }
    }
    Ok(Answer::Status(Box::new(reporter.status())))
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
