//! Look names up, by the host's own means.
//!
//! That may take long and cannot be broken off, so it is done by a few threads of the worker's own, which no run has to wait for. They
//! hold nothing of a run but a name. A run may ask for a few names at once, so that one does not have them all.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{Clock, Failure, LOOK_EVERY, Over, STACK_BYTES, Shared};

/// Threads that look up, of one worker.
const THREADS: usize = 8;
/// Names that wait for them.
const WAITING_MAX: usize = 64;
/// Names that one run may ask for at once.
const ASKED_MAX: usize = 4;

type Answer = io::Result<Vec<IpAddr>>;
type LookUp = fn(&str) -> Answer;

struct Question {
    name: String,
    answer: SyncSender<Answer>,
    /// Counts those of its run that are not answered, until this is dropped.
    _ticket: Ticket,
}

/// What one run asks of the threads.
#[derive(Clone)]
pub(super) struct Resolver {
    questions: SyncSender<Question>,
    asked: Arc<AtomicUsize>,
}

impl Resolver {
    /// The worker's.
    pub(super) fn of_this_process() -> Self {
        static QUESTIONS: OnceLock<SyncSender<Question>> = OnceLock::new();
        let questions =
            QUESTIONS.get_or_init(|| start(|name| Ok((name, 0).to_socket_addrs()?.map(|it| it.ip()).collect())));
        Self { questions: questions.clone(), asked: Arc::default() }
    }

    /// One that looks up in another way.
    #[cfg(test)]
    pub(super) fn by(look_up: LookUp) -> Self {
        Self { questions: start(look_up), asked: Arc::default() }
    }

    /// The addresses of a name; none when it has none.
    pub(super) fn look_up(
        &self,
        name: &str,
        timeout: Duration,
        shared: &Shared,
        clock: &mut Clock,
    ) -> Result<Vec<IpAddr>, Over> {
        let until = clock.now() + timeout;
        let (answer, answers) = sync_channel(1);
        let mut answer = Some(answer);
        loop {
            // No file is waited for, only the end.
            shared.wait([], Duration::ZERO, clock)?;
            if clock.now() >= until {
                return Err(Over::Failed(if answer.is_some() { Failure::Busy } else { Failure::Silent }));
            }
            if let Some(sender) = answer.take_if(|_| Ticket::is_free(&self.asked)) {
                let question = Question { name: name.to_owned(), answer: sender, _ticket: Ticket::new(&self.asked) };
                if self.questions.try_send(question).is_err() {
                    return Err(Over::Failed(Failure::Busy));
                }
            }
            match answers.recv_timeout(LOOK_EVERY) {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Ok(Vec::new()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// A question that is not answered yet.
struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn is_free(asked: &AtomicUsize) -> bool {
        asked.load(Ordering::Relaxed) < ASKED_MAX
    }

    /// One more than allowed, now and then, when several threads ask at once: the bound is for fairness.
    fn new(asked: &Arc<AtomicUsize>) -> Self {
        asked.fetch_add(1, Ordering::Relaxed);
        Self(asked.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the threads. Without any, nobody is answered.
fn start(look_up: LookUp) -> SyncSender<Question> {
    let (sender, questions) = sync_channel(WAITING_MAX);
    let questions = Arc::new(Mutex::new(questions));
    for _ in 0..THREADS {
        let questions = questions.clone();
        let thread = std::thread::Builder::new().name("resolver".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || answer_all(&questions, look_up)) {
            tracing::warn!(%error, "no thread to look names up");
        }
    }
    sender
}

fn answer_all(questions: &Mutex<Receiver<Question>>, look_up: LookUp) {
    loop {
        // INVARIANT: no code that can panic runs under this lock.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { name, answer, _ticket }) = next else { return };
        // Whoever asked may be gone.
        let _ = answer.try_send(look_up(&name));
    }
}
