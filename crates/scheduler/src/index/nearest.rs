//! What keeps a demand and the machines apart, and the smallest change that would bring them together.

use std::fmt;

use gristmill_classad::{ClassAd, Evaluation, Expr, Prepared, Value};

use super::group::Conjunct;
use super::{DemandId, MachineIndex};
use crate::id::WorkerId;

/// Whose requirements they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The task's.
    Task,
    /// The machine's.
    Machine,
}

/// What is between a demand and the machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unmet {
    /// Machines that there are.
    pub machines: usize,
    /// Those that match, free or not.
    pub matching: usize,
    /// Those of them that have a free slot.
    pub free: usize,
    /// When the first of them is expected to come free, if none is.
    pub free_at_ms: Option<u64>,
    /// What excludes machines, in the order in which the task's requirements have it; what machines require themselves is one entry,
    /// the last.
    pub failing: Vec<Failing>,
    /// The machine that is nearest, if none matches: the one with the fewest conjuncts that are not true; of these, the one that
    /// lacks the least; of these, the one with the smallest id.
    pub nearest: Option<Nearest>,
}

/// A conjunct that excludes machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Whose.
    pub side: Side,
    /// As text, what the ad itself says filled in.
    pub conjunct: String,
    /// Machines of which it is not true.
    pub excludes: usize,
    /// Those of them that would match if only this were true: the binding conjunct is the one with the most.
    pub alone: usize,
}

/// The machine that nearly matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// Which.
    pub worker: WorkerId,
    /// What is not true, and the values that would have to change: what is required, of whom, and what the other side has.
    pub lacks: Vec<Lack>,
}

/// One thing that keeps two ads apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Lack {
    /// Whose conjunct it is.
    pub side: Side,
    /// The conjunct.
    pub conjunct: String,
    /// The attribute of the other side that it asks for, if it is one, and its value there.
    pub found: Option<(String, Value)>,
}

/// How far apart two ads are.
#[derive(Clone, Debug)]
struct Distance {
    lacks: Vec<Lack>,
    /// By how much numbers miss what they are compared with, in parts of that; 1 for what has no measure.
    gap: f64,
    /// Places of the task's conjuncts that are not true.
    failing: Vec<usize>,
    machine_refuses: bool,
}

impl MachineIndex {
    /// What keeps this demand from running: how many machines each conjunct excludes, and the nearest machine. `None` if there is
    /// no such demand. For people: it looks at every group, and each machine.
    pub fn unmet(&self, id: DemandId) -> Option<Unmet> {
        let want = &self.demands.get(&id)?.want;
        let conjuncts = Conjunct::of(&want.ad);
        let groups = &self.pool.groups.list;
        let by_group = groups
            .iter()
            .map(|group| (want.by_group && group.members > 0).then(|| distance(&want.ad, &conjuncts, group.ad.ad())))
            .collect::<Vec<_>>();
        let mut failing = conjuncts.iter().map(|conjunct| Failing::new(Side::Task, conjunct.expression.to_string()));
        let mut failing = failing.by_ref().collect::<Vec<_>>();
        let mut refusing = Failing::new(Side::Machine, "what the machine requires of the task".to_owned());
        let mut unmet =
            Unmet { machines: self.len(), matching: 0, free: 0, free_at_ms: None, failing: Vec::new(), nearest: None };
        let mut nearest: Option<(usize, f64, Nearest)> = None;
        // By id, so that of equals the smallest is found.
        for (worker, place) in &self.pool.places {
            let Some(machine) = &self.pool.machines[*place as usize] else { continue };
            let own;
            let distance = match by_group.get(machine.group as usize).and_then(Option::as_ref) {
                Some(distance) => distance,
                None => {
                    own = distance(&want.ad, &conjuncts, &machine.ad);
                    &own
                }
            };
            let count = distance.failing.len() + usize::from(distance.machine_refuses);
            for at in &distance.failing {
                failing[*at].excludes += 1;
                failing[*at].alone += usize::from(count == 1);
            }
            if distance.machine_refuses {
                refusing.excludes += 1;
                refusing.alone += usize::from(count == 1);
            }
            if count == 0 {
                unmet.matching += 1;
                unmet.free += usize::from(machine.facts.slots_free > 0);
                unmet.free_at_ms = [unmet.free_at_ms, machine.facts.free_at_ms].into_iter().flatten().min();
            }
            let lacks = distance.lacks.len();
            if count > 0 && nearest.as_ref().is_none_or(|(of, gap, _)| (lacks, distance.gap) < (*of, *gap)) {
                nearest = Some((lacks, distance.gap, Nearest { worker: *worker, lacks: distance.lacks.clone() }));
            }
        }
        unmet.failing = failing.into_iter().chain([refusing]).filter(|conjunct| conjunct.excludes > 0).collect();
        unmet.nearest = nearest.map(|(.., nearest)| nearest).filter(|_| unmet.matching == 0);
        if unmet.free > 0 {
            unmet.free_at_ms = None;
        }
        Some(unmet)
    }
}

impl Failing {
    fn new(side: Side, conjunct: String) -> Self {
        Self { side, conjunct, excludes: 0, alone: 0 }
    }
}

impl Unmet {
    /// The conjunct without which most machines would match.
    pub fn binding(&self) -> Option<&Failing> {
        self.failing.iter().max_by_key(|conjunct| (conjunct.alone, conjunct.excludes))
    }
}

fn distance(task: &Prepared, conjuncts: &[Conjunct<'_>], machine: &ClassAd) -> Distance {
    let mut distance = Distance { lacks: Vec::new(), gap: 0.0, failing: Vec::new(), machine_refuses: false };
    let around = Evaluation::of(task.ad()).with_target(Some(machine));
    if conjuncts.is_empty() {
        // An ad without requirements matches nothing.
        distance.add(Side::Task, None, task.ad(), machine);
    }
    for (at, conjunct) in conjuncts.iter().enumerate() {
        if !around.holds(conjunct.expression) {
            distance.failing.push(at);
            distance.add(Side::Task, Some(conjunct.expression), task.ad(), machine);
        }
    }
    let around = Evaluation::of(machine).with_target(Some(task.ad()));
    let requirements = machine.get("Requirements").map(|requirements| requirements.flatten(machine));
    let refusals = requirements.as_ref().map(Expr::conjuncts).unwrap_or_default();
    if requirements.is_none() {
        distance.machine_refuses = true;
        distance.add(Side::Machine, None, machine, task.ad());
    }
    for refusal in refusals.into_iter().filter(|refusal| !around.holds(refusal)) {
        distance.machine_refuses = true;
        distance.add(Side::Machine, Some(refusal), machine, task.ad());
    }
    distance
}

impl Distance {
    /// A conjunct of `own` that is not true of `other`.
    fn add(&mut self, side: Side, conjunct: Option<&Expr>, own: &ClassAd, other: &ClassAd) {
        let external = conjunct.map(|conjunct| conjunct.external_references(own)).unwrap_or_default();
        let attribute = external.first().filter(|_| external.len() == 1);
        let found = attribute.map(|name| {
            let value = other.lookup(name).map_or(Value::Undefined, |value| value.evaluate_in(other, Some(own)));
            (name.to_string(), value)
        });
        let wanted = conjunct.and_then(Expr::as_comparison).and_then(|comparison| comparison.constant.number());
        let had = found.as_ref().and_then(|(_, value)| value.number());
        self.gap += match (wanted, had) {
            (Some(wanted), Some(had)) if wanted.is_finite() && had.is_finite() => {
                ((wanted - had).abs() / wanted.abs().max(1.0)).min(1.0)
            }
            _ => 1.0,
        };
        let conjunct = conjunct.map_or_else(|| "Requirements: there are none".to_owned(), Expr::to_string);
        self.lacks.push(Lack { side, conjunct, found });
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, other) = match self.side {
            Side::Task => ("the task requires", "there"),
            Side::Machine => ("the machine requires", "of the task"),
        };
        write!(f, "{who} {}", self.conjunct)?;
        match &self.found {
            Some((name, Value::Undefined)) => write!(f, ", and {name} is not known {other}"),
            Some((name, value)) => write!(f, ", and {name} {other} is {value}"),
            None => Ok(()),
        }
    }
}

/// In a few sentences, for whoever waits.
impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.machines, self.matching, self.free) {
            (0, ..) => return f.write_str("there are no machines"),
            (machines, 0, _) => write!(f, "none of {machines} machines matches")?,
            (machines, matching, 0) => write!(f, "{matching} of {machines} machines match, and none of them is free")?,
            (machines, matching, free) => write!(f, "{matching} of {machines} machines match, {free} of them free")?,
        }
        if let Some(binding) = self.binding().filter(|_| self.matching == 0) {
            let Failing { conjunct, excludes, alone, .. } = binding;
            write!(f, "; {conjunct} excludes {excludes}, {alone} of them alone")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; the nearest is {}: ", nearest.worker)?;
            for (at, lack) in nearest.lacks.iter().enumerate() {
                let between = if at == 0 { "" } else { "; " };
                write!(f, "{between}{lack}")?;
            }
        }
        Ok(())
    }
}
