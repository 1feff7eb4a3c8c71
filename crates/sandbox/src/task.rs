//! Lead one child through one task, from the parent's side.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use gristmill_result::Witness;

use crate::LOG_BYTES_MAX;
use crate::control::Control;
use crate::execution::{Execution, Finished, HostFault, HostFaultKind, ItemRun, Outcome, RunReport};
use crate::pool::Hired;
use crate::process::Heard;
use crate::shelf::{Inputs, Outputs, Room, Shelf};
use crate::stop::HostProblem;
use crate::wire::{Item, Order, Reply, Task};

/// Items that the child is told of in one message.
const BATCH_ITEMS_MAX: usize = 64;
/// Items that it has been told of and that have not ended.
const AHEAD_ITEMS_MAX: usize = 2 * BATCH_ITEMS_MAX;
/// CPU time beyond the wall clock, so that the parent's watch is the one that ends a run.
const CPU_MARGIN_S: u64 = 10;
/// Time the child has to start and lock down, before its own time begins.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How it went.
pub(crate) enum Last {
    Outcome(Outcome),
    /// The child could not use the compiled module; nothing was run.
    CodeInvalid,
    /// The child had died while it waited for work; nothing was run.
    Gone,
}

/// The items of an execution, in the hands of one child.
pub(crate) struct Lead<'a> {
    execution: &'a Execution,
    control: &'a Control,
    on_run: &'a mut dyn FnMut(&RunReport),
    hired: &'a mut Hired,
    shared: Inputs,
    room: Room,
    /// Files of the items that the child was told of, the one under way first.
    shelves: VecDeque<Shelf>,
    /// Items it was told of.
    told: usize,
    runs: Vec<RunReport>,
    log: VecDeque<u8>,
}

impl<'a> Lead<'a> {
    /// Nothing is begun.
    pub(crate) fn new(
        execution: &'a Execution,
        control: &'a Control,
        on_run: &'a mut dyn FnMut(&RunReport),
        hired: &'a mut Hired,
    ) -> Self {
        let limits = &execution.limits;
        let room = Room { bytes: limits.output_bytes, files: limits.output_files };
        let (shelves, log) = (VecDeque::new(), VecDeque::new());
        Self { execution, control, on_run, hired, shared: Inputs::default(), room, shelves, told: 0, runs: vec![], log }
    }

    /// Works all items through. The code is handed over unless the child has it.
    pub(crate) fn run(mut self, code: Option<OwnedFd>) -> Last {
        let listening = self.hired.process.listen(self.control);
        let outcome = self.work(code);
        drop(listening);
        outcome.unwrap_or_else(|fault| Last::Outcome(Outcome::HostFault(fault)))
    }

    fn work(&mut self, code: Option<OwnedFd>) -> Result<Last, HostFault> {
        let fresh = self.hired.missing.is_none();
        self.begin(code)?;
        self.tell_items()?;
        let mut deadline = after(if fresh { START_TIME_MAX } else { self.execution.wall_clock });
        let mut silent = self.hired.waited;
        loop {
            let reply = match self.hired.process.hear(self.control, &mut deadline) {
                Heard::Reply(reply) => reply,
                Heard::Cancelled => return Ok(Last::Outcome(Outcome::Cancelled)),
                Heard::TimedOut => {
                    let time = self.execution.wall_clock.as_secs_f64();
                    let reason = format!("not finished after {time} s of wall clock; killed");
                    return Err(HostFault { kind: HostFaultKind::WallClock, reason });
                }
                Heard::Died(_) if silent => return Ok(Last::Gone),
                Heard::Died(reason) => return Err(HostFault { kind: HostFaultKind::Killed, reason }),
            };
            silent = false;
            match reply {
                Reply::Locked { missing } if self.hired.missing.is_none() => {
                    self.hired.missing = Some(missing);
                    deadline = after(self.execution.wall_clock);
                }
                Reply::Wants(want) => {
                    let Some(shelf) = self.shelves.front_mut() else { return Err(unexpected(&Reply::Wants(want))) };
                    match shelf.serve(want, &mut self.shared, &mut self.room) {
                        Ok(file) => self.tell(&Order::Done, file.map(OwnedFd::from))?,
                        // The child ends the task with this.
                        Err(problem) => self.tell(&Order::Refused(problem), None)?,
                    }
                }
                Reply::Ran { report, log } => self.ran(report, log)?,
                Reply::Finished { witness } if self.runs.len() == self.execution.runs.len() => {
                    return Ok(Last::Outcome(Outcome::Finished(self.finished(witness))));
                }
                Reply::CodeInvalid if self.runs.is_empty() => return Ok(Last::CodeInvalid),
                Reply::Fault(fault) => return Err(fault),
                reply => return Err(unexpected(&reply)),
            }
        }
    }

    fn begin(&mut self, code: Option<OwnedFd>) -> Result<(), HostFault> {
        let execution = self.execution;
        let (shared, inputs) = Inputs::list(&execution.inputs)?;
        self.shared = shared;
        let task = Task {
            args: execution.args.clone(),
            env: execution.env.clone(),
            seed: execution.seed,
            limits: execution.limits,
            cpu_s: execution.wall_clock.as_secs().saturating_add(CPU_MARGIN_S),
            items: execution.runs.len(),
            inputs,
        };
        self.hired.tasks += 1;
        self.tell(&Order::Task(Box::new(task)), code)
    }

    /// Tells the child of more items, so that it never waits for them.
    fn tell_items(&mut self) -> Result<(), HostFault> {
        let runs = &self.execution.runs;
        while self.told < runs.len() && self.told - self.runs.len() + BATCH_ITEMS_MAX <= AHEAD_ITEMS_MAX {
            let batch = &runs[self.told..runs.len().min(self.told + BATCH_ITEMS_MAX)];
            let mut items = Vec::with_capacity(batch.len());
            for ItemRun { index, env, inputs, output_dir } in batch {
                let (own, inputs) = Inputs::list(inputs)?;
                self.shelves.push_back(Shelf { own, outputs: Outputs::new(output_dir.clone()) });
                items.push(Item { index: *index, env: env.clone(), inputs });
            }
            self.told += batch.len();
            self.tell(&Order::Items(items), None)?;
            if self.told == runs.len() {
                self.tell(&Order::End, None)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, order: &Order, descriptor: Option<OwnedFd>) -> Result<(), HostFault> {
        let told = self.hired.process.tell(order, descriptor);
        Ok(told.map_err(|error| HostProblem::Io(format!("cannot tell the sandbox process what to do: {error}")))?)
    }

    fn ran(&mut self, report: RunReport, piece: Vec<u8>) -> Result<(), HostFault> {
        // A child that tells of other runs than it was given is not believed.
        let expected = self.execution.runs.get(self.runs.len()).map(|run| run.index);
        let (Some(shelf), true) = (self.shelves.pop_front(), expected == Some(report.index)) else {
            return Err(unexpected(&Reply::Ran { report, log: vec![] }));
        };
        shelf.check_inputs(&self.shared)?;
        (self.on_run)(&report);
        self.runs.push(report);
        self.log.extend(piece);
        let over = self.log.len().saturating_sub(LOG_BYTES_MAX);
        self.log.drain(..over);
        self.tell_items()
    }

    fn finished(&mut self, witness: [u8; 32]) -> Finished {
        Finished {
            runs: std::mem::take(&mut self.runs),
            witness: Witness(witness.into()),
            log: std::mem::take(&mut self.log).into(),
            missing_guarantees: self.hired.missing.clone().unwrap_or_default(),
        }
    }
}

/// The moment so long from now; a wait without end is cut at a century.
pub(crate) fn after(time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    Instant::now() + time.min(CENTURY)
}

/// The fault of a child that speaks out of turn.
pub(crate) fn unexpected(reply: &Reply) -> HostFault {
    let reason = format!("the sandbox process said something out of turn: {reply:?}");
    HostFault { kind: HostFaultKind::Killed, reason }
}
