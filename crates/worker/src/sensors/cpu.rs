//! How much of the cores other programs use.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use super::{entries, text_of};

/// The load is a mean over so long: a program that starts is noticed within a second, a twitch is not.
const WINDOW_MS: u64 = 2_000;
/// Looks in a window at most.
const SAMPLES_MAX: usize = 64;
/// Processes of the worker's own that are followed.
const DESCENDANTS_MAX: usize = 4_096;

/// Ticks since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at_ms: u64,
    /// Of all cores, idle ones too.
    total: u64,
    /// Of those, spent on programs.
    busy: u64,
    /// Of those, on the worker and its children.
    own: u64,
}

/// Compares what the machine has done with what the worker has.
#[derive(Debug)]
pub(super) struct Meter {
    proc: PathBuf,
    samples: VecDeque<Sample>,
}

impl Meter {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, samples: VecDeque::new() }
    }

    /// The part of the cores that others kept busy lately, 0 to 1. `None` before there is something to compare with, and where the
    /// kernel does not say.
    pub(super) fn load(&mut self, now_ms: u64) -> Option<f64> {
        let (total, busy) = machine(&self.proc)?;
        let newest = Sample { at_ms: now_ms, total, busy, own: own(&self.proc)? };
        while self.samples.len() >= SAMPLES_MAX
            || self.samples.get(1).is_some_and(|next| now_ms.saturating_sub(next.at_ms) >= WINDOW_MS)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(newest);
        let oldest = self.samples.front()?;
        let total = newest.total.saturating_sub(oldest.total);
        if total == 0 {
            // The first look: nothing is known yet, and nothing speaks against work.
            return Some(0.0);
        }
        let busy = newest.busy.saturating_sub(oldest.busy);
        let others = busy.saturating_sub(newest.own.saturating_sub(oldest.own));
        Some((others as f64 / total as f64).min(1.0))
    }
}

/// Ticks of all cores together, and those spent on programs, from the first line of `stat`.
fn machine(proc: &Path) -> Option<(u64, u64)> {
    let text = text_of(&proc.join("stat"))?;
    let fields: Vec<u64> =
        text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is contained in user and nice.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = *fields.first_chunk::<8>()?;
    let busy = user + nice + system + irq + softirq;
    // What the host of a virtual machine took is nobody's load here, and no core that could have been used.
    Some((busy + idle + iowait + steal, busy))
}

/// Ticks of this process, its children that are gone, and all of its living descendants.
fn own(proc: &Path) -> Option<u64> {
    let me = proc.join("self");
    let mut ticks = ticks_of(&text_of(&me.join("stat"))?)?;
    let mut waiting = match children_of(&me) {
        Some(children) => children,
        // A kernel that lists no children: whose parent is whose is looked up once, among all processes.
        None => return Some(ticks + descendants_by_parent(proc)?),
    };
    let mut seen = 0;
    while let Some(child) = waiting.pop() {
        seen += 1;
        if seen > DESCENDANTS_MAX {
            break;
        }
        let process = proc.join(child);
        // One that has just gone was counted by who reaped it, or will be.
        let Some(own) = text_of(&process.join("stat")).as_deref().and_then(ticks_of) else { continue };
        ticks += own;
        waiting.extend(children_of(&process).into_iter().flatten());
    }
    Some(ticks)
}

/// The children of all threads of a process; `None` where the kernel has no such list.
fn children_of(process: &Path) -> Option<Vec<String>> {
    let mut found = None;
    for thread in entries(&process.join("task"), "") {
        if let Some(children) = text_of(&thread.join("children")) {
            found.get_or_insert_with(Vec::new).extend(children.split_whitespace().map(str::to_owned));
        }
    }
    found
}

/// Ticks of this process's descendants, from a list of all processes.
fn descendants_by_parent(proc: &Path) -> Option<u64> {
    let mut processes: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for process in entries(proc, "") {
        let Some(id) = process.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()) else { continue };
        let Some(stat) = text_of(&process.join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)?.parse().ok());
        if let (Some(parent), Some(ticks)) = (parent, ticks_of(&stat)) {
            processes.entry(parent).or_default().push((id, ticks));
        }
    }
    let me = text_of(&proc.join("self/stat"))?.split_once(' ')?.0.parse().ok()?;
    let (mut waiting, mut ticks) = (vec![me], 0);
    while let Some(parent) = waiting.pop() {
        for (child, own) in processes.remove(&parent).unwrap_or_default() {
            ticks += own;
            waiting.push(child);
        }
    }
    Some(ticks)
}

/// User and system time, its own and of children that it has reaped: fields 14 to 17, counted from behind the name, which may hold
/// anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<i64> = fields.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    let [user, system, children_user, children_system] = *times.first_chunk::<4>()?;
    Some([user, system, children_user, children_system].into_iter().map(|ticks| ticks.max(0).unsigned_abs()).sum())
}
