//! Lead one child through one task, from the parent's side.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use gristmill_result::Witness;

use crate::LOG_BYTES_MAX;
use crate::control::Control;
use crate::execution::{Execution, Finished, HostFault, HostFaultKind, ItemRun, Left, Outcome, RunReport, SmallFile};
use crate::pool::Hired;
use crate::process::Heard;
use crate::shelf::{Inputs, Outputs, Room, Shelf};
use crate::stop::HostProblem;
use crate::wire::{Entry, Item, Order, Placed, Reply, Task};

/// Items that the child is told of in one message.
const BATCH_ITEMS_MAX: usize = 64;
/// Items that it has been told of and that have not ended.
const AHEAD_ITEMS_MAX: usize = 2 * BATCH_ITEMS_MAX;
/// Bytes of small outputs that a task keeps in memory; the rest goes to the disk.
const LEFT_BYTES_MAX: u64 = 16 << 20;
/// CPU time beyond the wall clock, so that the parent's watch is the one that ends a run.
const CPU_MARGIN_S: u64 = 10;
/// Time the child has to start and lock down, before its own time begins.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How it went.
pub(crate) enum Last {
    /// With where the outputs of each run are.
    Outcome(Outcome, Vec<Left>),
    /// The child could not use the compiled module; nothing was run.
    CodeInvalid,
    /// The child had died while it waited for work; nothing was run.
    Gone,
}

/// The items of an execution, in the hands of one child.
pub(crate) struct Lead<'a> {
    execution: &'a Execution,
    /// Small inputs of each run; none when nothing is to stay in memory.
    small: Option<&'a [Vec<SmallFile>]>,
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
    left: Vec<Left>,
    /// Bytes of small outputs that may still be kept in memory.
    left_budget: u64,
    log: VecDeque<u8>,
}

impl<'a> Lead<'a> {
    /// Nothing is begun.
    pub(crate) fn new(
        (execution, small): (&'a Execution, Option<&'a [Vec<SmallFile>]>),
        control: &'a Control,
        on_run: &'a mut dyn FnMut(&RunReport),
        hired: &'a mut Hired,
    ) -> Self {
        let limits = &execution.limits;
        let room = Room { bytes: limits.output_bytes, files: limits.output_files };
        Self {
            execution,
            small,
            control,
            on_run,
            hired,
            shared: Inputs::default(),
            room,
            shelves: VecDeque::new(),
            told: 0,
            runs: vec![],
            left: vec![],
            left_budget: LEFT_BYTES_MAX,
            log: VecDeque::new(),
        }
    }

    /// Works all items through. The code is handed over unless the child has it.
    pub(crate) fn run(mut self, code: Option<OwnedFd>) -> Last {
        let listening = self.hired.process.listen(self.control);
        let outcome = self.work(code);
        drop(listening);
        outcome.unwrap_or_else(|fault| Last::Outcome(Outcome::HostFault(fault), vec![]))
    }

    fn work(&mut self, code: Option<OwnedFd>) -> Result<Last, HostFault> {
        let fresh = self.hired.missing.is_none();
        self.begin(code)?;
        self.tell_items()?;
        let mut deadline = after(if fresh { START_TIME_MAX } else { self.execution.wall_clock });
        let mut silent = self.hired.waited;
        loop {
            let (reply, bytes) = match self.hired.process.hear(self.control, &mut deadline) {
                Heard::Reply(reply, bytes) => (reply, bytes),
                Heard::Cancelled => return Ok(Last::Outcome(Outcome::Cancelled, vec![])),
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
                    match shelf.serve(want, &bytes, &mut self.shared, &mut self.room) {
                        Ok(file) => self.tell(&Order::Done, &[], file.map(OwnedFd::from))?,
                        // The child ends the task with this.
                        Err(problem) => self.tell(&Order::Refused(problem), &[], None)?,
                    }
                }
                Reply::Ran { report, log, left } => self.ran(report, log, (&left, &bytes))?,
                Reply::Finished { witness } if self.runs.len() == self.execution.runs.len() => {
                    let left = std::mem::take(&mut self.left);
                    return Ok(Last::Outcome(Outcome::Finished(self.finished(witness)), left));
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
        self.tell(&Order::Task(Box::new(task)), &[], code)
    }

    /// Tells the child of more items, so that it never waits for them.
    fn tell_items(&mut self) -> Result<(), HostFault> {
        let runs = &self.execution.runs;
        while self.told < runs.len() && self.told - self.runs.len() + BATCH_ITEMS_MAX <= AHEAD_ITEMS_MAX {
            let batch = &runs[self.told..runs.len().min(self.told + BATCH_ITEMS_MAX)];
            let mut items = Vec::with_capacity(batch.len());
            let mut bytes = Vec::new();
            for (number, ItemRun { index, env, inputs, output_dir }) in (self.told..).zip(batch) {
                let (own, mut inputs) = Inputs::list(inputs)?;
                for file in self.small.and_then(|small| small.get(number)).into_iter().flatten() {
                    inputs.push(Entry { at: file.path.clone(), size: Some(file.bytes.len() as u64), small: true });
                    bytes.extend_from_slice(&file.bytes);
                }
                let outputs = match self.small {
                    Some(_) => Outputs::lazy(output_dir.clone()),
                    None => Outputs::new(output_dir.clone()),
                };
                self.shelves.push_back(Shelf { own, outputs });
                items.push(Item { index: *index, env: env.clone(), inputs });
            }
            self.told += batch.len();
            self.tell(&Order::Items(items), &bytes, None)?;
            if self.told == runs.len() {
                self.tell(&Order::End, &[], None)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, order: &Order, bytes: &[u8], descriptor: Option<OwnedFd>) -> Result<(), HostFault> {
        let told = self.hired.process.tell(order, bytes, descriptor);
        Ok(told.map_err(|error| HostProblem::Io(format!("cannot tell the sandbox process what to do: {error}")))?)
    }

    fn ran(&mut self, report: RunReport, piece: Vec<u8>, left: (&[Placed], &[u8])) -> Result<(), HostFault> {
        // A child that tells of other runs than it was given is not believed.
        let expected = self.execution.runs.get(self.runs.len()).map(|run| run.index);
        let (Some(mut shelf), true) = (self.shelves.pop_front(), expected == Some(report.index)) else {
            return Err(unexpected(&Reply::Ran { report, log: vec![], left: vec![] }));
        };
        shelf.check_inputs(&self.shared)?;
        let kept = match self.small {
            Some(_) => shelf.outputs.keep(left.0, left.1, &mut self.room, &mut self.left_budget)?,
            None => None,
        };
        match kept {
            Some(files) => self.left.push(Left::InMemory(files)),
            None => {
                shelf.outputs.place(left.0, left.1, &mut self.room)?;
                self.left.push(Left::OnDisk);
            }
        }
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
