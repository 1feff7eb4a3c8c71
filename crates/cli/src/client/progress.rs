//! Show how a job goes: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use gristmill_requester::{JobState, JobStatus};
use gristmill_types::TaskStatus;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one job.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<(Instant, JobState)>,
}

impl Progress {
    /// Progress on standard error.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} [{elapsed}]");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, last_line: None }
    }

    /// Shows where the job stands.
    pub fn show(&mut self, status: &JobStatus) {
        let text = describe(status);
        if let Some(bar) = &self.bar {
            let (done, total) = units(status);
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text);
            return;
        }
        let due = self.last_line.is_none_or(|(at, state)| state != status.state || at.elapsed() >= LINE_EVERY);
        if due {
            let (done, total) = units(status);
            output::note(&format!("{done}/{total} {text}"));
            self.last_line = Some((Instant::now(), status.state));
        }
    }

    /// Shows how many results are brought home.
    pub fn fetching(&self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message("results fetched");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Tasks done and in all, the reduce among them.
fn units(status: &JobStatus) -> (u64, u64) {
    let reduced = |status: &JobStatus| {
        status.reduce.as_ref().and_then(|reduce| reduce.task.as_ref()).is_some_and(|task| task.status.is_final())
    };
    let done = status.tasks_completed + status.tasks_failed + u64::from(reduced(status));
    (done, status.tasks_total + u64::from(status.reduce.is_some()))
}

/// Where the job stands and what it is doing, in a few words.
pub fn summary(status: &JobStatus) -> String {
    match status.state {
        JobState::Running | JobState::Waiting => format!("{} ({})", status.state, describe(status)),
        JobState::Reducing | JobState::Completed | JobState::Failed | JobState::Cancelled => describe(status),
    }
}

/// What the job is doing, in a few words.
fn describe(status: &JobStatus) -> String {
    let count = |wanted| status.tasks.iter().filter(|task| task.status == wanted).count() as u64;
    let mut words = Vec::new();
    if let (Some(done), Some(total)) = (status.items_done, status.items_total) {
        words.push(format!("{done} of {total} items done"));
    }
    match status.state {
        JobState::Running | JobState::Waiting => {
            for (number, word) in [
                (count(TaskStatus::Active), "running"),
                (count(TaskStatus::Revealing), "being checked"),
                (count(TaskStatus::Unset), "about to begin"),
                (status.tasks_unmatched, "without a pool"),
            ] {
                if number > 0 {
                    words.push(format!("{number} {word}"));
                }
            }
        }
        state => words.push(state.to_string()),
    }
    if status.tasks_failed > 0 {
        words.push(format!("{} refunded", status.tasks_failed));
    }
    words.join(", ")
}
