//! Expressions as trees.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use crate::ad::ClassAd;
use crate::eval::Evaluation;
use crate::functions::{Function, Pattern};
use crate::name::{Name, Special};
use crate::parse::{self, ParseError};
use crate::print;
use crate::value::Value;

/// An operator between two operands that are both evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `!=`: of strings, whatever their case.
    NotEqual,
    /// `==`: of strings, whatever their case.
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `is`, `=?=`: same type and same value, never undefined.
    Is,
    /// `isnt`, `=!=`: not `is`.
    Isnt,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulus,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `&`
    BitAnd,
    /// `<<`
    ShiftLeft,
    /// `>>`: keeps the sign.
    ShiftRight,
    /// `>>>`: fills with zeros.
    ShiftRightUnsigned,
}

/// An operator of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `!`
    Not,
    /// `~`
    BitNot,
}

/// Where a reference is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// No scope is named: the own ad first, then the other one.
    Any,
    /// `MY.`
    My,
    /// `TARGET.`
    Target,
}

/// A comparison of an attribute with a constant, with the attribute on the left: what an index can answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    /// Where the attribute is looked up.
    pub scope: Scope,
    /// The attribute.
    pub name: &'a Name,
    /// How it is compared: one of the eight comparisons.
    pub operator: BinaryOperator,
    /// With what.
    pub constant: &'a Value,
}

/// The attributes that an expression names, by where they are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Named without a scope.
    pub any: BTreeSet<Name>,
    /// Named with `MY.`
    pub my: BTreeSet<Name>,
    /// Named with `TARGET.`
    pub target: BTreeSet<Name>,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr(pub(crate) Node);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// INVARIANT: no list and no ad; those are nodes of their own.
    Literal(Value),
    Attribute(Name),
    /// `.name`: of the outermost ad.
    Root(Name),
    Select(Box<Expr>, Name),
    Subscript(Box<[Expr; 2]>),
    Unary(UnaryOperator, Box<Expr>),
    Binary(BinaryOperator, Box<[Expr; 2]>),
    /// A chain of `&&`, from the left. INVARIANT: two terms at least; the first is no chain of the same kind.
    All(Vec<Expr>),
    /// A chain of `||`, likewise.
    Any(Vec<Expr>),
    Ternary(Box<[Expr; 3]>),
    /// `a ?: b`
    Default(Box<[Expr; 2]>),
    Parentheses(Box<Expr>),
    Call(Box<Call>),
    List(Arc<[Expr]>),
    Ad(Arc<ClassAd>),
}

#[derive(Debug)]
pub(crate) struct Call {
    /// As it was written.
    pub(crate) name: Box<str>,
    pub(crate) function: Function,
    pub(crate) arguments: Vec<Expr>,
    /// The compiled pattern, if pattern and options are constants; `None` within if it cannot be compiled.
    pub(crate) pattern: OnceLock<Option<Pattern>>,
}

impl Clone for Call {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            function: self.function,
            arguments: self.arguments.clone(),
            pattern: self.pattern.clone(),
        }
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name) && self.arguments == other.arguments
    }
}

impl Expr {
    /// Reads an expression; all of the source must be one.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        parse::expression(source)
    }

    /// The attribute of that name, wherever it is found.
    pub fn attribute(name: Name) -> Self {
        Self(Node::Attribute(name))
    }

    /// A constant.
    pub fn constant(value: Value) -> Self {
        match value {
            Value::List(elements) => Self(Node::List(elements.iter().cloned().map(Self::constant).collect())),
            Value::Ad(ad) => Self::ad(ad),
            scalar => Self(Node::Literal(scalar)),
        }
    }

    pub(crate) fn ad(ad: Arc<ClassAd>) -> Self {
        Self(Node::Ad(ad))
    }

    /// All of these: `a && b && ...`, and `true` for none. What binds less tightly gets parentheses.
    pub fn all(terms: Vec<Expr>) -> Self {
        let mut chain = Vec::with_capacity(terms.len());
        for term in terms {
            match term.0 {
                Node::All(inner) if chain.is_empty() => chain.extend(inner),
                Node::All(_) | Node::Any(_) | Node::Ternary(_) => chain.push(Self(Node::Parentheses(Box::new(term)))),
                _ => chain.push(term),
            }
        }
        match chain.len() {
            0 => Self(Node::Literal(Value::Boolean(true))),
            1 => chain.remove(0),
            _ => Self(Node::All(chain)),
        }
    }

    /// The constant that this is, if it is one.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.bare().0 {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Without the parentheses around it.
    pub fn bare(&self) -> &Self {
        let mut bare = self;
        while let Node::Parentheses(inner) = &bare.0 {
            bare = inner;
        }
        bare
    }

    /// The terms that must all be true for this to be true, from left to right: `a && (b && c)` has three. Each can be evaluated
    /// on its own; the first that is not true is what binds.
    pub fn conjuncts(&self) -> Vec<&Self> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(term) = open.pop() {
            match &term.bare().0 {
                Node::All(terms) => open.extend(terms.iter().rev()),
                _ => found.push(term),
            }
        }
        found
    }

    /// What this compares, if it compares one attribute with one constant, in either order.
    pub fn as_comparison(&self) -> Option<Comparison<'_>> {
        let Node::Binary(operator, operands) = &self.bare().0 else { return None };
        let mirrored = operator.mirrored()?;
        let [left, right] = &**operands;
        if let (Some((scope, name)), Some(constant)) = (left.as_reference(), right.as_constant()) {
            return Some(Comparison { scope, name, operator: *operator, constant });
        }
        let (constant, (scope, name)) = (left.as_constant()?, right.as_reference()?);
        Some(Comparison { scope, name, operator: mirrored, constant })
    }

    /// The attribute that this is, if it is nothing but one, `MY.` or `TARGET.` before it or nothing.
    pub fn as_reference(&self) -> Option<(Scope, &Name)> {
        match &self.bare().0 {
            Node::Attribute(name) => Some((Scope::Any, name)),
            Node::Select(of, name) => match &of.bare().0 {
                Node::Attribute(scope) if scope.special() == Special::Target => Some((Scope::Target, name)),
                Node::Attribute(scope) if scope.special() == Special::My => Some((Scope::My, name)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The attributes that this names. What nested ads name is among them, and so is what is named in the text of constants given
    /// to `eval` not: nobody can know that before it is evaluated.
    pub fn references(&self) -> References {
        let mut found = References::default();
        self.visit(&mut |expression| {
            match expression.as_reference_here() {
                Some((Scope::Any, name)) => found.any.insert(name.clone()),
                Some((Scope::My, name)) => found.my.insert(name.clone()),
                Some((Scope::Target, name)) => found.target.insert(name.clone()),
                None => return true,
            };
            false
        });
        found
    }

    /// The attributes of another ad that this, evaluated in `ad`, may ask for: named with `TARGET.`, or without a scope and not in
    /// `ad`; attributes of `ad` are followed.
    pub fn external_references(&self, ad: &ClassAd) -> BTreeSet<Name> {
        let (mut external, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![self];
        while let Some(expression) = open.pop() {
            let references = expression.references();
            external.extend(references.target);
            for (name, own_only) in references
                .any
                .into_iter()
                .map(|name| (name, false))
                .chain(references.my.into_iter().map(|name| (name, true)))
            {
                match ad.lookup(&name) {
                    Some(inner) if seen.insert(name.clone()) => open.push(inner),
                    None if !own_only => _ = external.insert(name),
                    _ => {}
                }
            }
        }
        external
    }

    /// Evaluates this in an ad, and perhaps with another one as `TARGET`.
    pub fn evaluate_in(&self, ad: &ClassAd, target: Option<&ClassAd>) -> Value {
        Evaluation::of(ad).with_target(target).evaluate(self)
    }

    fn as_reference_here(&self) -> Option<(Scope, &Name)> {
        if matches!(self.0, Node::Parentheses(_)) { None } else { self.as_reference() }
    }

    /// Shows every node to `look`, from the root down; below one for which it returns `false` it does not go.
    fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Self) -> bool) {
        let mut open = vec![self];
        while let Some(expression) = open.pop() {
            if !look(expression) {
                continue;
            }
            match &expression.0 {
                Node::Literal(_) | Node::Attribute(_) | Node::Root(_) => {}
                Node::Select(inner, _) | Node::Unary(_, inner) | Node::Parentheses(inner) => open.push(inner),
                Node::Subscript(pair) | Node::Binary(_, pair) | Node::Default(pair) => open.extend(pair.iter()),
                Node::All(terms) | Node::Any(terms) => open.extend(terms),
                Node::Ternary(parts) => open.extend(parts.iter()),
                Node::Call(call) => open.extend(&call.arguments),
                Node::List(elements) => open.extend(elements.iter()),
                Node::Ad(ad) => open.extend(ad.iter().map(|(_, value)| value)),
            }
        }
    }
}

impl BinaryOperator {
    /// The operator that says the same with the operands exchanged; `None` if this is no comparison.
    fn mirrored(self) -> Option<Self> {
        Some(match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Greater => Self::Less,
            Self::NotEqual | Self::Equal | Self::Is | Self::Isnt => self,
            _ => return None,
        })
    }
}

impl<V: Into<Value>> From<V> for Expr {
    fn from(value: V) -> Self {
        Self::constant(value.into())
    }
}

/// So that it can be parsed back to an equal expression.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        print::expression(&mut text, self, print::Style::Exact);
        f.write_str(&text)
    }
}

impl FromStr for Expr {
    type Err = ParseError;

    fn from_str(source: &str) -> Result<Self, ParseError> {
        Self::parse(source)
    }
}
