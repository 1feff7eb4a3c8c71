//! Ads made ready to be matched many times: names resolved to places, constants computed, the rest a small program.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ad::ClassAd;
use crate::bounds::{CODE_NODES_MAX, EVALUATION_DEPTH_MAX, SYMBOLS_MAX};
use crate::eval::{Evaluation, Evaluator, Val};
use crate::expr::{BinaryOperator, Expr, Node, Scope, UnaryOperator};
use crate::flatten::Flattener;
use crate::matching::{RANK, REQUIREMENTS, as_rank};
use crate::name::{Name, Special};
use crate::operators;
use crate::value::Value;

/// The names that a set of prepared ads has in common, numbered. Ads that are matched with each other are prepared with the same one.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    numbers: BTreeMap<Name, u32>,
    /// What tells this set of names from others.
    family: Arc<()>,
}

impl Symbols {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a name. Names that come when the table is full have none, and are looked up by their text.
    fn number(&mut self, name: &Name) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.numbers.len() >= SYMBOLS_MAX {
            return None;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(name.clone(), number);
        Some(number)
    }
}

/// An ad made ready.
///
/// It matches as the ad does, except that what would take the plain evaluation too many steps may come within bounds here, because
/// constants are computed once.
#[derive(Debug, Clone)]
pub struct Prepared {
    ad: ClassAd,
    requirements: Option<Expr>,
    accepts: Option<Code>,
    rank: Option<Code>,
    /// What other ads find under a name's number; names behind the end are not there.
    cells: Box<[Cell]>,
    family: Arc<()>,
}

#[derive(Debug, Clone)]
enum Cell {
    /// No such attribute.
    Missing,
    /// Its value, whatever the other ad.
    Known(Value),
    /// It depends on the other ad, or is a list or an ad.
    Open,
}

/// What is left of an expression when all about the own ad is known.
#[derive(Debug, Clone)]
enum Code {
    Constant(Value),
    /// An attribute of the other ad.
    Other(u32, Name),
    Unary(UnaryOperator, Box<Code>),
    Binary(BinaryOperator, Box<[Code; 2]>),
    All(Box<[Code]>),
    Any(Box<[Code]>),
    Ternary(Box<[Code; 3]>),
    Default(Box<[Code; 2]>),
    /// Anything else, evaluated as it stands.
    Plain(Box<Expr>),
}

impl Prepared {
    /// Makes an ad ready to be matched with others that are prepared with the same symbols.
    pub fn new(ad: ClassAd, symbols: &mut Symbols) -> Self {
        let mut flattener = Flattener::new(&ad);
        let requirements = ad.lookup(&REQUIREMENTS).map(|requirements| flattener.flat(requirements));
        let rank = ad.lookup(&RANK).map(|rank| flattener.flat(rank));
        let mut cells = Vec::new();
        for (name, _) in ad.iter() {
            let Some(number) = symbols.number(name) else { continue };
            let place = number as usize;
            if cells.len() <= place {
                cells.resize(place + 1, Cell::Missing);
            }
            cells[place] = flattener.value(name).map_or(Cell::Open, Cell::Known);
        }
        let mut compiler =
            Compiler { ad: &ad, flattener, symbols, nodes_left: CODE_NODES_MAX, depth: 0, open: Vec::new() };
        let accepts = requirements.as_ref().map(|requirements| compiler.code(requirements));
        let rank = rank.as_ref().map(|rank| compiler.code(rank));
        let family = symbols.family.clone();
        Self { requirements, accepts, rank, cells: cells.into(), family, ad }
    }

    /// The ad.
    pub fn ad(&self) -> &ClassAd {
        &self.ad
    }

    /// The `Requirements`, with what the ad says itself filled in: their conjuncts are what an index is built of, and what an
    /// explanation names.
    pub fn requirements(&self) -> Option<&Expr> {
        self.requirements.as_ref()
    }

    /// Whether the two ads match; as [`matches`](crate::matches).
    pub fn matches(&self, other: &Self) -> bool {
        self.accepts(other) && other.accepts(self)
    }

    /// Whether the `Requirements` of this ad are true of another; as [`accepts`](crate::accepts).
    pub fn accepts(&self, other: &Self) -> bool {
        self.accepts.as_ref().is_some_and(|code| {
            let mut evaluator = Evaluator::new(self.around(other));
            self.run(code, other, &mut evaluator).truth() == Some(true) && !evaluator.is_exhausted()
        })
    }

    /// How much this ad likes another; as [`rank`](crate::rank).
    pub fn rank(&self, other: &Self) -> f64 {
        self.rank.as_ref().map_or(0.0, |code| {
            let mut evaluator = Evaluator::new(self.around(other));
            match self.run(code, other, &mut evaluator) {
                Val::Plain(value) if !evaluator.is_exhausted() => as_rank(&value),
                _ => 0.0,
            }
        })
    }

    /// The first conjunct of the `Requirements` that is not true of another ad, from left to right: what keeps the two apart.
    pub fn binding(&self, other: &Self) -> Option<&Expr> {
        let evaluation = self.around(other);
        self.requirements.as_ref()?.conjuncts().into_iter().find(|conjunct| !evaluation.holds(conjunct))
    }

    fn around<'a>(&'a self, other: &'a Self) -> Evaluation<'a> {
        Evaluation::of(&self.ad).with_target(Some(&other.ad))
    }

    /// The value of code that needs no computing, by reference.
    fn peek<'c>(&self, code: &'c Code, other: &'c Self) -> Option<&'c Value> {
        match code {
            Code::Constant(value) => Some(value),
            Code::Other(number, _) if Arc::ptr_eq(&self.family, &other.family) => {
                match other.cells.get(*number as usize).unwrap_or(&Cell::Missing) {
                    Cell::Known(value) => Some(value),
                    Cell::Missing => Some(&Value::Undefined),
                    Cell::Open => None,
                }
            }
            _ => None,
        }
    }

    /// Runs code. Its own nodes are few, by `CODE_NODES_MAX`; what the evaluator is asked for shares one budget.
    fn run(&self, code: &Code, other: &Self, evaluator: &mut Evaluator<'_>) -> Val {
        match code {
            Code::Constant(value) => Val::Plain(value.clone()),
            Code::Other(_, name) => match self.peek(code, other) {
                Some(value) => Val::Plain(value.clone()),
                None => evaluator.other_attribute(name),
            },
            Code::Binary(operator, parts) => {
                let [left, right] = &**parts;
                if let (Some(left), Some(right)) = (self.peek(left, other), self.peek(right, other)) {
                    evaluator.charge(operators::steps_of(left, right));
                    return operators::binary_plain(*operator, left, right);
                }
                let left = self.run(left, other, evaluator);
                let right = self.run(right, other, evaluator);
                operators::binary(*operator, &left, &right)
            }
            Code::All(terms) => self.chain(terms, other, evaluator, operators::and, false),
            Code::Any(terms) => self.chain(terms, other, evaluator, operators::or, true),
            Code::Unary(operator, operand) => operators::unary(*operator, self.run(operand, other, evaluator)),
            Code::Ternary(parts) => {
                let condition = self.run(&parts[0], other, evaluator);
                match condition.truth() {
                    Some(true) => self.run(&parts[1], other, evaluator),
                    Some(false) => self.run(&parts[2], other, evaluator),
                    None if condition.is_undefined() => Val::UNDEFINED,
                    None => Val::ERROR,
                }
            }
            Code::Default(parts) => {
                let value = self.run(&parts[0], other, evaluator);
                if value.is_undefined() { self.run(&parts[1], other, evaluator) } else { value }
            }
            Code::Plain(expression) => {
                let place = evaluator.start();
                evaluator.eval(expression, place)
            }
        }
    }

    fn chain(
        &self,
        terms: &[Code],
        other: &Self,
        evaluator: &mut Evaluator<'_>,
        join: fn(&Val, Val) -> Val,
        ends: bool,
    ) -> Val {
        let Some((first, rest)) = terms.split_first() else { return Val::ERROR };
        let mut joined = self.run(first, other, evaluator);
        for term in rest {
            match joined.truth() {
                Some(value) if value == ends => return Val::bool(ends),
                None if joined.is_error() => return Val::ERROR,
                _ => {}
            }
            let term = self.run(term, other, evaluator);
            joined = join(&joined, term);
        }
        joined
    }
}

struct Compiler<'a, 's> {
    ad: &'a ClassAd,
    flattener: Flattener<'a>,
    symbols: &'s mut Symbols,
    nodes_left: usize,
    /// Expressions that are being compiled, one within the other: the guard of the stack.
    depth: u32,
    /// Attributes that are being compiled in place of their names.
    open: Vec<Name>,
}

impl Compiler<'_, '_> {
    fn code(&mut self, expression: &Expr) -> Code {
        let expression = expression.bare();
        if self.nodes_left == 0 || self.depth >= EVALUATION_DEPTH_MAX {
            return plain(expression);
        }
        self.nodes_left -= 1;
        self.depth += 1;
        let code = self.code_within(expression);
        self.depth -= 1;
        code
    }

    fn code_within(&mut self, expression: &Expr) -> Code {
        match &expression.0 {
            Node::Literal(value) => Code::Constant(value.clone()),
            Node::Attribute(_) | Node::Select(..) => self.reference(expression),
            Node::Unary(operator, inner) => Code::Unary(*operator, Box::new(self.code(inner))),
            Node::Binary(operator, parts) => {
                Code::Binary(*operator, Box::new(parts.each_ref().map(|part| self.code(part))))
            }
            Node::All(terms) => Code::All(terms.iter().map(|term| self.code(term)).collect()),
            Node::Any(terms) => Code::Any(terms.iter().map(|term| self.code(term)).collect()),
            Node::Ternary(parts) => Code::Ternary(Box::new(parts.each_ref().map(|part| self.code(part)))),
            Node::Default(parts) => Code::Default(Box::new(parts.each_ref().map(|part| self.code(part)))),
            _ => plain(expression),
        }
    }

    fn reference(&mut self, expression: &Expr) -> Code {
        let Some((scope, name)) = expression.as_reference() else { return plain(expression) };
        let special = name.special() != Special::None || scope != Scope::Any && self.scope_is_attribute(expression);
        if special {
            return plain(expression);
        }
        match (scope, self.ad.lookup(name)) {
            (Scope::Any | Scope::My, Some(own)) if !self.open.contains(name) => {
                // An own attribute that depends on the other ad: its code goes in its name's place.
                self.open.push(name.clone());
                let flat = self.flattener.flat(own);
                let code = self.code(&flat);
                self.open.pop();
                code
            }
            (Scope::Any | Scope::My, Some(_)) => plain(expression),
            (Scope::My, None) => Code::Constant(Value::Undefined),
            (Scope::Any | Scope::Target, _) => match self.symbols.number(name) {
                Some(number) => Code::Other(number, name.clone()),
                None => plain(expression),
            },
        }
    }

    /// Whether what looks like `MY` or `TARGET` is an attribute of the own ad.
    fn scope_is_attribute(&self, select: &Expr) -> bool {
        match &select.0 {
            Node::Select(of, _) => match &of.bare().0 {
                Node::Attribute(scope) => self.ad.lookup(scope).is_some(),
                _ => true,
            },
            _ => true,
        }
    }
}

fn plain(expression: &Expr) -> Code {
    Code::Plain(Box::new(expression.clone()))
}
