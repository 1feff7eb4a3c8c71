//! Expressions with what is known filled in.

use std::collections::BTreeMap;

use crate::ad::ClassAd;
use crate::bounds::{EVALUATION_DEPTH_MAX, EVALUATION_STEPS_MAX};
use crate::eval::{Evaluation, Val};
use crate::expr::{Call, Expr, Node, Scope};
use crate::name::{Name, Special};
use crate::operators;
use crate::value::Value;

impl Expr {
    /// This, with the attributes of `ad` that are constants, or can be computed without another ad, filled in, and what can be
    /// computed then computed. In `ad` it has the same value, with any other ad as `TARGET`; it is faster, and its conjuncts
    /// compare the other ad with constants.
    ///
    /// Lists and nested ads stay as they are, and so do functions whose arguments are not all known.
    #[must_use]
    pub fn flatten(&self, ad: &ClassAd) -> Self {
        Flattener::new(ad).flat(self)
    }
}

/// What is known of the attributes of one ad.
pub(crate) struct Flattener<'a> {
    ad: &'a ClassAd,
    /// The value of each attribute that was looked into, `None` while it is, and if it has none without another ad.
    known: BTreeMap<Name, Option<Value>>,
    /// Expressions that are looked into at the moment, one within the other: the guard of the stack.
    depth: u32,
    /// When none are left, what is not known yet stays as it is.
    steps_left: u32,
}

impl<'a> Flattener<'a> {
    pub(crate) fn new(ad: &'a ClassAd) -> Self {
        Self { ad, known: BTreeMap::new(), depth: 0, steps_left: EVALUATION_STEPS_MAX }
    }

    /// The value of an own attribute, if it needs no other ad.
    pub(crate) fn value(&mut self, name: &Name) -> Option<Value> {
        let expression = self.ad.lookup(name)?;
        if let Node::Literal(value) = &expression.0 {
            return Some(value.clone());
        }
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        // An attribute that refers to itself finds itself unknown.
        self.known.insert(name.clone(), None);
        let value = self.flat(expression).into_constant();
        self.known.insert(name.clone(), value.clone());
        value
    }

    pub(crate) fn flat(&mut self, expression: &Expr) -> Expr {
        if self.depth >= EVALUATION_DEPTH_MAX || self.steps_left == 0 {
            return expression.clone();
        }
        self.steps_left -= 1;
        self.depth += 1;
        let flat = self.flat_within(expression);
        self.depth -= 1;
        flat
    }

    // Whatever stood behind a condition or a `?:` was whole there, or in parentheses, and is where the condition was: what is put
    // in place of something needs no parentheses of its own.
    fn flat_within(&mut self, expression: &Expr) -> Expr {
        match &expression.0 {
            Node::Attribute(name) => self.value(name).map_or_else(|| expression.clone(), literal),
            Node::Select(..) => match expression.as_reference() {
                Some((Scope::My, name)) if self.means_my(expression) => {
                    self.value(name).map_or_else(|| expression.clone(), literal)
                }
                _ => expression.clone(),
            },
            Node::Parentheses(inner) => match self.flat(inner) {
                constant @ Expr(Node::Literal(_)) => constant,
                inner => Expr(Node::Parentheses(Box::new(inner))),
            },
            Node::Unary(operator, inner) => match self.flat(inner) {
                Expr(Node::Literal(value)) => constant(operators::unary(*operator, Val::Plain(value))),
                inner => Expr(Node::Unary(*operator, Box::new(inner))),
            },
            Node::Binary(operator, parts) => match parts.each_ref().map(|part| self.flat(part)) {
                [Expr(Node::Literal(left)), Expr(Node::Literal(right))] => {
                    let steps = u32::try_from(operators::steps_of(&left, &right)).unwrap_or(u32::MAX);
                    self.steps_left = self.steps_left.saturating_sub(steps);
                    constant(operators::binary_plain(*operator, &left, &right))
                }
                parts => Expr(Node::Binary(*operator, Box::new(parts))),
            },
            Node::All(terms) => self.chain(terms, false),
            Node::Any(terms) => self.chain(terms, true),
            Node::Ternary(parts) => {
                let parts = parts.each_ref().map(|part| self.flat(part));
                match parts[0].as_constant().and_then(Value::truth) {
                    Some(condition) => parts[if condition { 1 } else { 2 }].clone(),
                    None => Expr(Node::Ternary(Box::new(parts))),
                }
            }
            Node::Default(parts) => {
                let parts = parts.each_ref().map(|part| self.flat(part));
                match &parts[0].0 {
                    Node::Literal(Value::Undefined) => parts[1].clone(),
                    Node::Literal(_) => parts[0].clone(),
                    _ => Expr(Node::Default(Box::new(parts))),
                }
            }
            Node::Call(call) => self.call(call).map_or_else(|| expression.clone(), literal),
            Node::Literal(_) | Node::Root(_) | Node::Subscript(_) | Node::List(_) | Node::Ad(_) => expression.clone(),
        }
    }

    /// Whether `MY` is the own ad here, and not the name of an attribute of it.
    fn means_my(&self, select: &Expr) -> bool {
        match &select.0 {
            Node::Select(of, _) => match &of.bare().0 {
                Node::Attribute(name) => name.special() == Special::My && self.ad.lookup(name).is_none(),
                _ => false,
            },
            _ => false,
        }
    }

    /// The value of a call whose arguments are all known, if it depends on nothing else.
    fn call(&mut self, call: &Call) -> Option<Value> {
        if !call.function.is_plain() {
            return None;
        }
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(self.flat(argument).into_constant().map(literal)?);
        }
        let call = Call { arguments, pattern: Default::default(), ..call.clone() };
        let outcome = Evaluation::bare().run_within(&Expr(Node::Call(Box::new(call))), &mut self.steps_left);
        match (outcome.trouble, outcome.value) {
            (None, value) if !matches!(value, Value::List(_) | Value::Ad(_)) => Some(value),
            _ => None,
        }
    }

    /// A chain without the constants that decide nothing. `decides` is `false` for `&&`, `true` for `||`.
    ///
    /// Terms behind one that decides are dropped. One that does not decide is dropped too: a chain gives a boolean, whatever its
    /// terms are.
    fn chain(&mut self, terms: &[Expr], decides: bool) -> Expr {
        let mut kept = Vec::with_capacity(terms.len());
        for term in terms {
            let term = self.flat(term);
            match term.as_constant().map(Value::truth) {
                Some(Some(truth)) if truth != decides => {}
                Some(Some(_)) => {
                    if kept.is_empty() {
                        return literal(Value::Boolean(decides));
                    }
                    kept.push(literal(Value::Boolean(decides)));
                    break;
                }
                _ => kept.push(term),
            }
        }
        if kept.len() < 2 {
            // What is left alone might be no boolean: the chain makes it one.
            if kept.is_empty() {
                return literal(Value::Boolean(!decides));
            }
            kept.push(literal(Value::Boolean(!decides)));
        }
        Expr(if decides { Node::Any(kept) } else { Node::All(kept) })
    }
}

impl Expr {
    fn into_constant(self) -> Option<Value> {
        match self.0 {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }
}

fn literal(value: Value) -> Expr {
    Expr(Node::Literal(value))
}

fn constant(value: Val) -> Expr {
    match value {
        Val::Plain(value) => literal(value),
        // INVARIANT: operators of constants give no list and no ad.
        _ => literal(Value::Error),
    }
}
