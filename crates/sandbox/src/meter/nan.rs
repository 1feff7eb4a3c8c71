//! Say which results of arithmetic have to be made canonical because somebody may look at their bits.
//!
//! Which NaN arithmetic makes depends on the processor, and on the order in which a code generator hands it the operands. As long
//! as such a number only goes into more arithmetic, comparisons and conversions, nobody can tell: those treat all NaNs alike. So a
//! result is made canonical only if it goes anywhere else: into memory, a call, a global, a block's result, an instruction on
//! bits. A local is such a place unless all that is ever read from it goes into arithmetic again. What is only moved, NaNs with a
//! payload included, keeps its bits, as WebAssembly says: only what arithmetic made is touched.
//!
//! The outcome is the same as if every result had been made canonical at once.

use wasmparser::{BlockType, ContType, FrameKind, FuncType, ModuleArity, Operator, RefType, SubType};

use super::{Operators, Shape};

/// What a result consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// The instructions whose result has to be made canonical, in their order.
pub(super) fn canonical(operators: &Operators<'_>, shape: &Shape, locals: u32) -> Vec<(usize, Numbers)> {
    let mut walk = Walk {
        arity: Arity(shape),
        stack: Vec::new(),
        frames: Vec::new(),
        dead: 0,
        looked_at: vec![false; operators.len()],
        locals: (0..locals).map(|_| Local::default()).collect(),
    };
    for (at, (op, _)) in operators.iter().enumerate() {
        walk.step(at, op);
    }
    walk.settle();
    let made = |at: usize| Some((at, makes(&operators[at].0)?)).filter(|_| walk.looked_at[at]);
    (0..operators.len()).filter_map(made).collect()
}

/// Where a value on the stack comes from.
#[derive(Clone, Copy)]
enum Value {
    /// Its bits are the same everywhere.
    Plain,
    /// Arithmetic made it: the instruction.
    Made(usize, Numbers),
    /// Out of a local.
    Got(u32),
}

#[derive(Default)]
struct Local {
    /// Somebody may look at the bits of what is read from it.
    looked_at: bool,
    /// What is put into it.
    put: Vec<Value>,
}

struct Frame {
    height: usize,
    params: u32,
    results: u32,
}

struct Walk<'a> {
    arity: Arity<'a>,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    /// Nothing comes here; blocks begun since, and one.
    dead: usize,
    /// By instruction: somebody may look at the bits of its result.
    looked_at: Vec<bool>,
    locals: Vec<Local>,
}

impl Walk<'_> {
    fn step(&mut self, at: usize, op: &Operator<'_>) {
        if self.dead > 0 {
            match op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => self.dead += 1,
                Operator::End if self.dead > 1 => self.dead -= 1,
                Operator::Else if self.dead > 1 => {}
                Operator::End | Operator::Else => {
                    self.dead = 0;
                    self.boundary(op);
                }
                _ => {}
            }
            return;
        }
        match op {
            Operator::LocalGet { local_index } => self.stack.push(Value::Got(*local_index)),
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                self.put(*local_index, value);
            }
            Operator::LocalTee { local_index } => {
                let value = self.pop();
                self.put(*local_index, value);
                self.stack.push(value);
            }
            Operator::Drop => drop(self.pop()),
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::Unreachable => self.boundary(op),
            op => self.plain(at, op),
        }
    }

    /// An instruction without a label.
    fn plain(&mut self, at: usize, op: &Operator<'_>) {
        // Valid, and without the features of which the parser does not know the arity.
        let (pops, pushes) = op.operator_arity(&self.arity).unwrap_or((0, 0));
        let blind = takes(op);
        for _ in 0..pops {
            match (self.pop(), blind) {
                (Value::Plain, _) => {}
                (Value::Made(_, made), Some(taken)) if made == taken => {}
                // A local holds one type: what arithmetic on scalars takes out of it are scalars.
                (Value::Got(_), Some(Numbers::F32 | Numbers::F64)) => {}
                (value, _) => self.look_at(value),
            }
        }
        let result = makes(op).map_or(Value::Plain, |numbers| Value::Made(at, numbers));
        self.stack.extend((0..pushes).map(|_| result));
    }

    /// An instruction after which the stack may be somebody else's.
    fn boundary(&mut self, op: &Operator<'_>) {
        if matches!(op, Operator::If { .. } | Operator::BrIf { .. } | Operator::BrTable { .. }) {
            self.pop();
        }
        for at in 0..self.stack.len() {
            self.look_at(self.stack[at]);
            self.stack[at] = Value::Plain;
        }
        match op {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                let (params, results) = self.arity.block_type_arity(*blockty).unwrap_or((0, 0));
                let height = self.stack.len().saturating_sub(params as usize);
                self.frames.push(Frame { height, params, results });
            }
            Operator::Else => {
                let (height, params) = self.frames.last().map_or((0, 0), |frame| (frame.height, frame.params));
                self.restore(height, params);
            }
            Operator::End => {
                let frame = self.frames.pop().unwrap_or(Frame { height: 0, params: 0, results: 0 });
                self.restore(frame.height, frame.results);
            }
            Operator::BrIf { .. } => {}
            _ => self.dead = 1,
        }
    }

    fn restore(&mut self, height: usize, values: u32) {
        self.stack.truncate(height);
        self.stack.extend((0..values).map(|_| Value::Plain));
    }

    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Plain)
    }

    fn put(&mut self, local: u32, value: Value) {
        match value {
            Value::Plain => {}
            // A vector may be taken out as one of other lanes.
            Value::Made(_, Numbers::F32x4 | Numbers::F64x2) => self.look_at(value),
            Value::Made(..) | Value::Got(_) => self.locals[local as usize].put.push(value),
        }
    }

    fn look_at(&mut self, value: Value) {
        match value {
            Value::Plain => {}
            Value::Made(at, _) => self.looked_at[at] = true,
            Value::Got(local) => self.locals[local as usize].looked_at = true,
        }
    }

    /// Looks at what was put into locals that are looked at, and into the locals that it came from.
    fn settle(&mut self) {
        let mut pending: Vec<usize> = (0..self.locals.len()).filter(|local| self.locals[*local].looked_at).collect();
        while let Some(local) = pending.pop() {
            for value in std::mem::take(&mut self.locals[local].put) {
                if let Value::Got(from) = value
                    && !self.locals[from as usize].looked_at
                {
                    pending.push(from as usize);
                }
                self.look_at(value);
            }
        }
    }
}

/// What numbers an instruction takes, if it treats all their NaNs alike.
fn takes(op: &Operator<'_>) -> Option<Numbers> {
    use Operator as O;
    Some(match op {
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => Numbers::F32,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => Numbers::F64,
        O::I32TruncF32S | O::I32TruncF32U | O::I64TruncF32S | O::I64TruncF32U | O::F64PromoteF32 => Numbers::F32,
        O::I32TruncSatF32S | O::I32TruncSatF32U | O::I64TruncSatF32S | O::I64TruncSatF32U => Numbers::F32,
        O::I32TruncF64S | O::I32TruncF64U | O::I64TruncF64S | O::I64TruncF64U | O::F32DemoteF64 => Numbers::F64,
        O::I32TruncSatF64S | O::I32TruncSatF64U | O::I64TruncSatF64S | O::I64TruncSatF64U => Numbers::F64,
        O::F32x4Eq | O::F32x4Ne | O::F32x4Lt | O::F32x4Gt | O::F32x4Le | O::F32x4Ge => Numbers::F32x4,
        O::F64x2Eq | O::F64x2Ne | O::F64x2Lt | O::F64x2Gt | O::F64x2Le | O::F64x2Ge => Numbers::F64x2,
        O::F64x2PromoteLowF32x4 => Numbers::F32x4,
        O::F32x4DemoteF64x2Zero => Numbers::F64x2,
        op => makes(op)?,
    })
}

/// What numbers an instruction makes by arithmetic, and so a NaN of the processor's choice.
fn makes(op: &Operator<'_>) -> Option<Numbers> {
    use Operator as O;
    Some(match op {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max | O::F32Sqrt => Numbers::F32,
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32DemoteF64 => Numbers::F32,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max | O::F64Sqrt => Numbers::F64,
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64PromoteF32 => Numbers::F64,
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div | O::F32x4Min | O::F32x4Max | O::F32x4Sqrt => {
            Numbers::F32x4
        }
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest | O::F32x4DemoteF64x2Zero => Numbers::F32x4,
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div | O::F64x2Min | O::F64x2Max | O::F64x2Sqrt => {
            Numbers::F64x2
        }
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest | O::F64x2PromoteLowF32x4 => Numbers::F64x2,
        _ => return None,
    })
}

/// What the parser has to know of the module to say how many values an instruction takes and makes.
struct Arity<'a>(&'a Shape);

impl ModuleArity for Arity<'_> {
    fn sub_type_at(&self, index: u32) -> Option<&SubType> {
        self.0.types.get(index as usize)
    }

    fn type_index_of_function(&self, function: u32) -> Option<u32> {
        self.0.functions.get(function as usize).copied()
    }

    // The rest is of features that are off, or of labels, which are not asked about.

    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }

    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }

    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }

    fn control_stack_height(&self) -> u32 {
        0
    }

    fn label_block(&self, _: u32) -> Option<(BlockType, FrameKind)> {
        None
    }
}
