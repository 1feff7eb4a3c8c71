//! Put into a module, before it is compiled, what makes its runs comparable: a count of its work, and NaNs that are the same
//! everywhere.
//!
//! The engine can do both, and its ways are costly: its fuel calls into the host where it runs out, which keeps numbers out of
//! registers in every loop, and it makes every single NaN canonical, also those that nobody can look at. Here both are WebAssembly:
//!
//! - Fuel is a global that the guest cannot name. [`fuel`] says where it is charged: once a call, once a round of a loop, and
//!   before longer stretches that may be skipped. What is spent follows from the way through the program alone, never from the
//!   code generator, so that it is the same under every profile and on every architecture.
//! - [`nan`] says which results of arithmetic somebody may look at (they are stored, passed on, reinterpreted). Only those are
//!   made canonical.
//!
//! Both are spliced in between the guest's own instructions, which stay byte for byte what they are; sections that hold no code
//! are copied. The module must be valid: an invalid one might become valid by what is added.

mod fuel;
mod nan;

use std::ops::Range;

use wasm_encoder::{Encode, Ieee32, Ieee64, Instruction, RawSection, ValType};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, SubType, TypeRef};

use crate::profile::Reach;

/// Export of the fuel that is left.
pub(crate) const FUEL_EXPORT: &str = "gristmill-fuel";
/// Export of the function that the module names as its start, which the host calls once there is fuel.
pub(crate) const START_EXPORT: &str = "gristmill-start";
/// Names that a module may not export itself.
const RESERVED: &str = "gristmill-";

const GLOBAL_SECTION: u8 = 6;
const EXPORT_SECTION: u8 = 7;
const START_SECTION: u8 = 8;
const CODE_SECTION: u8 = 10;
/// Sections in the order in which a module has them. Others hold names and notes, and are left out.
const SECTIONS: [u8; 12] = [1, 2, 3, 4, 5, GLOBAL_SECTION, EXPORT_SECTION, START_SECTION, 9, 12, CODE_SECTION, 11];
/// Kinds of exports.
const FUNCTION_KIND: u8 = 0;
const GLOBAL_KIND: u8 = 3;

const NAN_32: u32 = 0x7fc0_0000;
const NAN_64: u64 = 0x7ff8_0000_0000_0000;

/// What of a module is needed to understand its functions.
#[derive(Default)]
pub(super) struct Shape {
    types: Vec<SubType>,
    /// Type of each function, imported ones first.
    functions: Vec<u32>,
    imported_functions: u32,
    globals: u32,
}

/// The module with fuel counted and, if it is to be portable, its NaNs canonical. Says why if no host can run it.
pub(crate) fn instrument(module: &[u8], reach: Reach) -> Result<Vec<u8>, String> {
    let text = |error: BinaryReaderError| format!("not a valid module: {error}");
    let mut shape = Shape::default();
    let mut sections: Vec<(u8, Range<usize>)> = Vec::new();
    let mut bodies = Vec::new();
    let mut start = None;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(text)?;
        shape.learn(&payload).map_err(text)?;
        match &payload {
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let name = export.map_err(text)?.name;
                    if name.starts_with(RESERVED) {
                        return Err(format!("its export `{name}` has a name that is the sandbox's own"));
                    }
                }
            }
            Payload::StartSection { func, .. } => start = Some(*func),
            Payload::CodeSectionEntry(body) => bodies.push(body.clone()),
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            sections.push((id, range));
        }
    }
    let mut code = Vec::new();
    (bodies.len() as u32).encode(&mut code);
    for (number, body) in bodies.iter().enumerate() {
        let body = function(module, &shape, number as u32, body, reach).map_err(text)?;
        (body.len() as u32).encode(&mut code);
        code.extend_from_slice(&body);
    }
    let contents =
        |id| sections.iter().find(|(other, _)| *other == id).map_or(&[0][..], |(_, range)| &module[range.clone()]);
    let globals = appended(contents(GLOBAL_SECTION), &[fuel_global()]);
    let mut exports = vec![export(FUEL_EXPORT, GLOBAL_KIND, shape.globals)];
    exports.extend(start.map(|start| export(START_EXPORT, FUNCTION_KIND, start)));
    let exports = appended(contents(EXPORT_SECTION), &exports);
    let mut out = wasm_encoder::Module::new();
    for id in SECTIONS {
        let data = match id {
            GLOBAL_SECTION => &globals,
            EXPORT_SECTION => &exports,
            START_SECTION => continue,
            CODE_SECTION => &code,
            _ if sections.iter().any(|(other, _)| *other == id) => contents(id),
            _ => continue,
        };
        out.section(&RawSection { id, data });
    }
    Ok(out.finish())
}

impl Shape {
    fn learn(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types.clone() {
                    self.types.extend(group?.into_types());
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            self.imported_functions += 1;
                        }
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Table(_) | TypeRef::Memory(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions.clone() {
                    self.functions.push(ty?);
                }
            }
            Payload::GlobalSection(globals) => self.globals += globals.count(),
            _ => {}
        }
        Ok(())
    }

    /// Parameters of the function of this number among those with a body.
    fn parameters(&self, number: u32) -> u32 {
        let ty = self.functions.get((self.imported_functions + number) as usize);
        let ty = ty.and_then(|ty| self.types.get(*ty as usize));
        ty.map_or(0, |ty| ty.unwrap_func().params().len() as u32)
    }
}

/// `mut i64`, zero: what is left of the fuel, set by the host before anything runs.
fn fuel_global() -> Vec<u8> {
    let mut bytes = Vec::new();
    ValType::I64.encode(&mut bytes);
    bytes.push(1);
    Instruction::I64Const(0).encode(&mut bytes);
    Instruction::End.encode(&mut bytes);
    bytes
}

fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    name.encode(&mut bytes);
    bytes.push(kind);
    index.encode(&mut bytes);
    bytes
}

/// A section's contents, which begin with the number of its entries, with more of them.
fn appended(contents: &[u8], entries: &[Vec<u8>]) -> Vec<u8> {
    let (count, rest) = leb(contents);
    let mut bytes = Vec::new();
    (count + entries.len() as u32).encode(&mut bytes);
    bytes.extend_from_slice(rest);
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry));
    bytes
}

/// The number that valid bytes begin with, and what follows.
fn leb(bytes: &[u8]) -> (u32, &[u8]) {
    let (mut value, mut shift) = (0u32, 0);
    for (at, byte) in bytes.iter().enumerate() {
        value |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 28 {
            return (value, &bytes[at + 1..]);
        }
    }
    (value, &[])
}

/// Instructions of one function with the bytes they take.
type Operators<'a> = [(Operator<'a>, Range<usize>)];

/// The body of a function, with what is added.
fn function(
    module: &[u8],
    shape: &Shape,
    number: u32,
    body: &FunctionBody<'_>,
    reach: Reach,
) -> Result<Vec<u8>, BinaryReaderError> {
    let range = body.range();
    let operators = body.get_operators_reader()?;
    let locals_bytes = &module[range.start..operators.original_position()];
    let mut locals = shape.parameters(number);
    for group in body.get_locals_reader()? {
        locals += group?.0;
    }
    let found = operators.into_iter_with_offsets().collect::<Result<Vec<_>, _>>()?;
    let ends = found.iter().skip(1).map(|(_, offset)| *offset).chain([range.end]);
    let operators: Vec<_> = found.iter().zip(ends).map(|((op, start), end)| (op.clone(), *start..end)).collect();
    let plan = fuel::Plan::of(&operators, locals);
    let canonical = match reach {
        Reach::Portable => nan::canonical(&operators, shape, locals),
        Reach::SameArchitecture => Vec::new(),
    };
    let mut splice = Splice { out: Vec::new(), fuel: shape.globals, first: locals, kept: plan.kept };
    // One of each kind: the engine gives a local that is not used neither register nor stack.
    let more: Vec<Vec<u8>> = Splice::LOCALS.iter().map(|ty| local_group(*ty)).collect();
    splice.out = appended(locals_bytes, &more);
    splice.charge(plan.entry, true);
    for (at, (op, bytes)) in operators.iter().enumerate() {
        splice.before(op, plan.leaves(at));
        splice.out.extend_from_slice(&module[bytes.clone()]);
        if let Ok(at) = canonical.binary_search_by_key(&at, |(at, _)| *at) {
            splice.canonicalise(canonical[at].1);
        }
        splice.after(op);
        if let Some(cost) = plan.after(at) {
            splice.charge(cost, false);
        }
    }
    Ok(splice.out)
}

fn local_group(ty: ValType) -> Vec<u8> {
    let mut bytes = Vec::new();
    1u32.encode(&mut bytes);
    ty.encode(&mut bytes);
    bytes
}

/// A function under way.
struct Splice {
    out: Vec<u8>,
    /// The global.
    fuel: u32,
    /// The first of the locals that are added.
    first: u32,
    /// Fuel is kept in a local while the function runs, and written back when anybody else may look.
    kept: bool,
}

impl Splice {
    const LOCALS: [ValType; 5] = [ValType::I64, ValType::I32, ValType::F32, ValType::F64, ValType::V128];
    const KEPT: u32 = 0;
    const SIZE: u32 = 1;
    const SINGLE: u32 = 2;
    const DOUBLE: u32 = 3;
    const VECTOR: u32 = 4;

    fn put(&mut self, instructions: &[Instruction<'_>]) {
        instructions.iter().for_each(|instruction| instruction.encode(&mut self.out));
    }

    /// Takes fuel; ends the run when there is not enough, with less than nothing left in the global.
    fn charge(&mut self, cost: u64, entry: bool) {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        self.begin_charge(entry);
        self.put(&[Instruction::I64Const(cost)]);
        self.end_charge();
    }

    fn begin_charge(&mut self, entry: bool) {
        let kept = Instruction::LocalGet(self.first + Self::KEPT);
        let global = Instruction::GlobalGet(self.fuel);
        self.put(&[if self.kept && !entry { kept } else { global }]);
    }

    fn end_charge(&mut self) {
        let (kept, fuel) = (self.first + Self::KEPT, self.fuel);
        self.put(&[Instruction::I64Sub, Instruction::LocalTee(kept)]);
        if !self.kept {
            self.put(&[Instruction::GlobalSet(fuel), Instruction::LocalGet(kept)]);
        }
        self.put(&[Instruction::I64Const(0), Instruction::I64LtS, Instruction::If(wasm_encoder::BlockType::Empty)]);
        self.flush();
        self.put(&[Instruction::Unreachable, Instruction::End]);
    }

    fn flush(&mut self) {
        if self.kept {
            self.put(&[Instruction::LocalGet(self.first + Self::KEPT), Instruction::GlobalSet(self.fuel)]);
        }
    }

    fn before(&mut self, op: &Operator<'_>, leaves: bool) {
        if leaves || fuel::is_call(op) {
            self.flush();
        }
        // The size is on top of the stack.
        if let Some(shift) = fuel::bulk(op) {
            self.put(&[Instruction::LocalTee(self.first + Self::SIZE)]);
            self.begin_charge(false);
            self.put(&[Instruction::LocalGet(self.first + Self::SIZE), Instruction::I64ExtendI32U]);
            self.put(&match shift {
                fuel::Scale::Divided(by) => [Instruction::I64Const(by), Instruction::I64ShrU],
                fuel::Scale::Times(by) => [Instruction::I64Const(by), Instruction::I64Mul],
            });
            self.end_charge();
        }
    }

    fn after(&mut self, op: &Operator<'_>) {
        if self.kept && fuel::is_call(op) {
            self.put(&[Instruction::GlobalGet(self.fuel), Instruction::LocalSet(self.first + Self::KEPT)]);
        }
    }

    /// Makes the number on top of the stack the canonical NaN if it is one.
    fn canonicalise(&mut self, numbers: nan::Numbers) {
        use nan::Numbers::{F32, F32x4, F64, F64x2};
        let local = self.first
            + match numbers {
                F32 => Self::SINGLE,
                F64 => Self::DOUBLE,
                F32x4 | F64x2 => Self::VECTOR,
            };
        let lanes = |word: u128, bits: u32| (0..128 / bits).fold(0u128, |all, lane| all | word << (lane * bits));
        let (value, equal, choose) = match numbers {
            F32 => (Instruction::F32Const(Ieee32::new(NAN_32)), Instruction::F32Eq, Instruction::Select),
            F64 => (Instruction::F64Const(Ieee64::new(NAN_64)), Instruction::F64Eq, Instruction::Select),
            F32x4 => {
                let value = Instruction::V128Const(lanes(NAN_32.into(), 32).cast_signed());
                (value, Instruction::F32x4Eq, Instruction::V128Bitselect)
            }
            F64x2 => {
                let value = Instruction::V128Const(lanes(NAN_64.into(), 64).cast_signed());
                (value, Instruction::F64x2Eq, Instruction::V128Bitselect)
            }
        };
        self.put(&[Instruction::LocalTee(local), value, Instruction::LocalGet(local), Instruction::LocalGet(local)]);
        self.put(&[equal, choose]);
    }
}

#[cfg(test)]
mod tests;
