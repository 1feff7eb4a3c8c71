//! Look at the machine four times a second and tell the board, from a thread of its own.
//!
//! It is no task of the runtime: whoever comes back to the machine has it back within a second, also while the service waits for its
//! disk or its threads are all busy.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use gristmill_owner::{Command, Moment, Sensors};

use crate::board::Board;

/// How often the guard looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The time, and what can be read of the machine.
pub trait Senses: fmt::Debug + Send {
    /// Now. Its `monotonic_ms` never goes back.
    fn moment(&mut self) -> Moment;

    /// What the sensors say. May take milliseconds, and is asked about four times a second.
    fn sensors(&mut self, now: Moment) -> Sensors;
}

/// One look: what [`Guard`] does again and again.
pub(crate) fn look(senses: &mut dyn Senses, board: &Board) {
    let now = senses.moment();
    let sensors = senses.sensors(now);
    board.look(now, sensors);
}

/// Nothing runs unseen: should the guard's thread die of a fault, the work stops until the owner says otherwise.
struct Alarm<'a>(&'a Board);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.command(Command::Pause);
        }
    }
}

/// The guard's thread. Dropping it ends the thread soon.
pub(crate) struct Guard {
    _leash: Sender<()>,
}

impl Guard {
    /// Looks once, so that nothing is begun unseen, then again and again in the background.
    pub(crate) fn start(mut senses: Box<dyn Senses>, board: Board) -> std::io::Result<Self> {
        look(senses.as_mut(), &board);
        let (leash, ended) = channel();
        std::thread::Builder::new().name("guard".to_owned()).spawn(move || watch(senses.as_mut(), &board, &ended))?;
        Ok(Self { _leash: leash })
    }
}

fn watch(senses: &mut dyn Senses, board: &Board, ended: &Receiver<()>) {
    let _alarm = Alarm(board);
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
        look(senses, board);
    }
}
