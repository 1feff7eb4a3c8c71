//! Say where a function is charged for its work, and how much.
//!
//! An instruction costs one unit, those that only mark a place nothing. Straight stretches are charged at their beginning. A
//! stretch that may be skipped is charged on its own when it is long; shorter ones are charged with the stretch that leads to them,
//! skipped or not, up to [`SKIPPED_MAX`] units: a charge takes longer than many of them. What leads to a stretch is always in the
//! same loop, so that a round of a loop pays at least for itself, and every loop and every function is charged: nothing runs for
//! ever.

use wasmparser::Operator;

use super::Operators;

/// Units that a charge may hold for work that is skipped.
const SKIPPED_MAX: u64 = 32;
/// Fuel of a call, for both sides.
const CALL_FUEL: u64 = 4;
/// Locals that a unit clears at a function's beginning.
const LOCALS_A_UNIT: u64 = 4;
/// Bytes of memory that a unit moves or clears, as a power of two.
const BYTES_A_UNIT: i64 = 3;
/// Fuel of growing a memory or a table: a call to the operating system. What it grows by is bounded by the limits, and must not
/// cost anything when the growth is refused.
const GROW_FUEL: u64 = 2_000;

/// Charges of one function.
pub(super) struct Plan {
    /// At the function's beginning.
    pub(super) entry: u64,
    /// After the instructions of these numbers, in their order.
    charges: Vec<(usize, u64)>,
    /// Instructions after which the function may be left, in their order.
    leaves: Vec<usize>,
    /// There is a loop, so that the fuel is better kept in a register.
    pub(super) kept: bool,
}

/// How fuel follows from a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// By a power of two.
    Divided(i64),
    Times(i64),
}

/// Instructions whose work follows from the size on top of the stack.
pub(super) fn bulk(op: &Operator<'_>) -> Option<Scale> {
    match op {
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => {
            Some(Scale::Divided(BYTES_A_UNIT))
        }
        Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. }
        | Operator::TableGrow { .. } => Some(Scale::Times(1)),
        _ => None,
    }
}

/// Calls that come back.
pub(super) fn is_call(op: &Operator<'_>) -> bool {
    matches!(op, Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. })
}

fn cost(op: &Operator<'_>) -> u64 {
    match op {
        Operator::Nop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End
        | Operator::Drop
        | Operator::Unreachable => 0,
        Operator::MemoryGrow { .. } | Operator::TableGrow { .. } => GROW_FUEL,
        op if is_call(op) => CALL_FUEL,
        _ => 1,
    }
}

impl Plan {
    /// For these instructions, of a function with so many locals.
    pub(super) fn of(operators: &Operators<'_>, locals: u32) -> Self {
        let mut walk = Walk {
            points: vec![Point { after: None, cost: CALL_FUEL + u64::from(locals) / LOCALS_A_UNIT, skipped: 0 }],
            frames: Vec::new(),
            active: 0,
            exact: true,
            from: 0,
            pending: 0,
            dead: false,
            leaves: Vec::new(),
            loops: false,
        };
        for (at, (op, _)) in operators.iter().enumerate() {
            walk.step(at, op);
        }
        walk.absorb();
        let entry = walk.points[0].cost;
        let mut charges: Vec<(usize, u64)> =
            walk.points.iter().filter_map(|point| Some((point.after?, point.cost))).collect();
        charges.sort_unstable();
        Self { entry, charges, leaves: walk.leaves, kept: walk.loops }
    }

    /// What is charged after the instruction of this number.
    pub(super) fn after(&self, at: usize) -> Option<u64> {
        let found = self.charges.binary_search_by_key(&at, |(after, _)| *after).ok()?;
        Some(self.charges[found].1)
    }

    /// True when the instruction of this number may leave the function.
    pub(super) fn leaves(&self, at: usize) -> bool {
        self.leaves.binary_search(&at).is_ok()
    }
}

/// A place where fuel is taken.
struct Point {
    /// After which instruction; none for the function's beginning.
    after: Option<usize>,
    cost: u64,
    /// The part of it that may be skipped.
    skipped: u64,
}

/// A block, loop or branch that has begun.
struct Frame {
    kind: Kind,
    /// The point that leads to it.
    outer: usize,
    /// Something branches to its end.
    targeted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    If,
}

struct Walk {
    points: Vec<Point>,
    frames: Vec<Frame>,
    /// The last point that every way here has passed, since this round of the loop began.
    active: usize,
    /// What runs at `active` runs here too.
    exact: bool,
    /// The instruction after which the stretch under way began, when it is not exact.
    from: usize,
    /// Its cost so far.
    pending: u64,
    /// Nothing comes here.
    dead: bool,
    leaves: Vec<usize>,
    loops: bool,
}

impl Walk {
    fn step(&mut self, at: usize, op: &Operator<'_>) {
        if !self.dead {
            self.add(cost(op));
        }
        match op {
            Operator::Block { .. } => self.enter(Kind::Block),
            Operator::Loop { .. } => {
                self.enter(Kind::Loop);
                self.loops = true;
                self.absorb();
                // At least one unit a round.
                self.points.push(Point { after: Some(at), cost: 1, skipped: 0 });
                (self.active, self.exact) = (self.points.len() - 1, true);
            }
            Operator::If { .. } => {
                self.enter(Kind::If);
                self.stretch(at, self.active);
            }
            Operator::Else => {
                let outer = self.frames.last().map_or(0, |frame| frame.outer);
                self.stretch(at, outer);
            }
            Operator::End => self.leave(at),
            Operator::Br { relative_depth } => {
                self.branch(at, *relative_depth);
                self.dead = true;
            }
            Operator::BrIf { relative_depth } => {
                self.branch(at, *relative_depth);
                self.may_skip(at);
            }
            Operator::BrTable { targets } => {
                // Valid, so all of them can be read.
                let all = targets.targets().filter_map(Result::ok).chain([targets.default()]);
                all.for_each(|depth| self.branch(at, depth));
                self.dead = true;
            }
            Operator::Return | Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } => {
                self.note_leave(at);
                self.dead = true;
            }
            Operator::Unreachable => self.dead = true,
            _ => {}
        }
    }

    fn enter(&mut self, kind: Kind) {
        self.frames.push(Frame { kind, outer: self.active, targeted: false });
    }

    fn leave(&mut self, at: usize) {
        match self.frames.pop() {
            // The end of the function.
            None => self.note_leave(at),
            Some(Frame { kind: Kind::Block, targeted: false, .. }) if !self.dead => {}
            Some(frame) => self.stretch(at, frame.outer),
        }
    }

    fn note_leave(&mut self, at: usize) {
        if self.leaves.last() != Some(&at) {
            self.leaves.push(at);
        }
    }

    fn branch(&mut self, at: usize, depth: u32) {
        match self.frames.len().checked_sub(1 + depth as usize) {
            Some(frame) => self.frames[frame].targeted = true,
            None => self.note_leave(at),
        }
    }

    fn may_skip(&mut self, at: usize) {
        if !self.dead {
            self.stretch(at, self.active);
        }
    }

    /// Begins a stretch after the instruction `at`, to which `leads` leads.
    fn stretch(&mut self, at: usize, leads: usize) {
        self.absorb();
        (self.active, self.exact, self.from, self.pending, self.dead) = (leads, false, at, 0, false);
    }

    fn add(&mut self, cost: u64) {
        if self.exact {
            self.points[self.active].cost += cost;
            return;
        }
        self.pending += cost;
        if self.points[self.active].skipped + self.pending > SKIPPED_MAX {
            self.points.push(Point { after: Some(self.from), cost: self.pending, skipped: 0 });
            (self.active, self.exact, self.pending) = (self.points.len() - 1, true, 0);
        }
    }

    /// Ends a stretch that was too short for a charge of its own.
    fn absorb(&mut self) {
        if !self.exact {
            let point = &mut self.points[self.active];
            point.cost += self.pending;
            point.skipped += self.pending;
            self.pending = 0;
        }
    }
}
