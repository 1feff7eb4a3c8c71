//! Evaluation: names looked up, operators applied, all within bounds.

use std::sync::Arc;

use crate::ad::ClassAd;
use crate::bounds::{BYTES_PER_STEP, EVALUATION_DEPTH_MAX, EVALUATION_STEPS_MAX, LIST_ELEMENTS_MAX, STRING_BYTES_MAX};
use crate::expr::{Expr, Node};
use crate::functions;
use crate::name::{Name, Special};
use crate::operators;
use crate::value::{AbsTime, Value};

/// What an evaluation met besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Trouble {
    /// An attribute refers, through others perhaps, to itself; it is `error`.
    Cycle,
    /// It took more than `EVALUATION_STEPS_MAX` steps; all of it is `error`.
    Steps,
    /// It went deeper than `EVALUATION_DEPTH_MAX`; all of it is `error`.
    Depth,
    /// It made a longer string or list than is allowed; all of it is `error`.
    Size,
}

/// A value, and what was met on the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The value.
    pub value: Value,
    /// The worst trouble.
    pub trouble: Option<Trouble>,
}

/// The surroundings of an evaluation: the own ad, perhaps the ad it is matched with, perhaps the time.
///
/// It reads no clock. Without a time, `time()` and its kin are `undefined`, and the zone is Greenwich's.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    my: Option<&'a ClassAd>,
    target: Option<&'a ClassAd>,
    now: Option<AbsTime>,
}

impl<'a> Evaluation<'a> {
    /// With nothing around: every name is undefined.
    pub fn bare() -> Self {
        Self { my: None, target: None, now: None }
    }

    /// In an ad.
    pub fn of(my: &'a ClassAd) -> Self {
        Self { my: Some(my), target: None, now: None }
    }

    /// With an ad for `TARGET`.
    #[must_use]
    pub fn with_target(self, target: Option<&'a ClassAd>) -> Self {
        Self { target, ..self }
    }

    /// With the time, and with the zone in which years, days and hours are counted.
    #[must_use]
    pub fn at(self, now: AbsTime) -> Self {
        Self { now: Some(now), ..self }
    }

    /// The value of an expression. Never panics, always ends.
    pub fn evaluate(&self, expression: &Expr) -> Value {
        self.run(expression).value
    }

    /// The value of an expression, and what was met on the way.
    pub fn run(&self, expression: &Expr) -> Outcome {
        self.run_within(expression, &mut { EVALUATION_STEPS_MAX })
    }

    /// Likewise, with so many steps, of which those that it takes are taken off.
    pub(crate) fn run_within(&self, expression: &Expr, steps: &mut u32) -> Outcome {
        let mut evaluator = Evaluator { steps_left: *steps, ..Evaluator::new(*self) };
        let place = evaluator.start();
        let found = evaluator.eval(expression, place);
        let value = evaluator.outside(found, place);
        *steps = evaluator.steps_left;
        evaluator.outcome(value)
    }

    /// Whether an expression is true: `true`, or a number that is not 0. What is undefined or an error is not.
    pub fn holds(&self, expression: &Expr) -> bool {
        let mut evaluator = Evaluator::new(*self);
        let place = evaluator.start();
        let found = evaluator.eval(expression, place);
        found.truth() == Some(true) && !evaluator.is_exhausted()
    }
}

/// A value within an evaluation: lists and ads are not evaluated yet, and know where they stand.
#[derive(Debug, Clone)]
pub(crate) enum Val {
    /// INVARIANT: no list and no ad.
    Plain(Value),
    /// Expressions, and the ad around them.
    List(Arc<[Expr]>, ScopeId),
    /// An ad that is on the evaluator's list.
    Ad(ScopeId),
}

impl Val {
    pub(crate) const UNDEFINED: Self = Self::Plain(Value::Undefined);
    pub(crate) const ERROR: Self = Self::Plain(Value::Error);

    pub(crate) fn bool(value: bool) -> Self {
        Self::Plain(Value::Boolean(value))
    }

    pub(crate) fn int(value: i64) -> Self {
        Self::Plain(Value::Integer(value))
    }

    pub(crate) fn real(value: f64) -> Self {
        Self::Plain(Value::Real(value))
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Plain(Value::Undefined))
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Plain(Value::Error))
    }

    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::Plain(value) => value.truth(),
            _ => None,
        }
    }
}

/// An ad of an evaluation: 0 is the own one, 1 the other one, then nested ones as they are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScopeId(u32);

const MY: ScopeId = ScopeId(0);
const TARGET: ScopeId = ScopeId(1);
/// No ad: every name is undefined there.
const NOWHERE: ScopeId = ScopeId(u32::MAX);
const FIRST_NESTED: u32 = 2;

/// A nested ad and the one around it.
struct Nested {
    ad: Arc<ClassAd>,
    parent: ScopeId,
    /// Whether names that are not found are looked for in the ad on the other side.
    looks_across: bool,
}

/// Where in an evaluation something is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Place<'s> {
    /// Where names are looked up.
    pub(crate) scope: ScopeId,
    /// Where the expression is written: what is around the ads and lists in it. It is the scope, but for elements of lists that
    /// stand elsewhere.
    written: ScopeId,
    depth: u32,
    active: Option<&'s Active<'s>>,
}

/// Attributes that are being evaluated, each because of the one before.
struct Active<'s> {
    attribute: *const Expr,
    because_of: Option<&'s Active<'s>>,
}

impl Place<'_> {
    /// In an ad.
    pub(crate) fn within(self, scope: ScopeId) -> Self {
        Self { scope, written: scope, ..self }
    }

    /// Here, for what is written in another ad.
    pub(crate) fn written_in(self, written: ScopeId) -> Self {
        Self { written, ..self }
    }

    /// In an ad, for what is written where this is.
    pub(crate) fn looking_in(self, scope: ScopeId) -> Self {
        Self { scope, ..self }
    }
}

/// The expression of an attribute, without a copy of it.
pub(crate) enum Definition<'a> {
    Outer(&'a Expr),
    Nested(Arc<ClassAd>, usize),
}

impl Definition<'_> {
    pub(crate) fn expression(&self) -> &Expr {
        match self {
            Self::Outer(expression) => expression,
            Self::Nested(ad, slot) => ad.at(*slot),
        }
    }
}

/// What a name stands for.
enum Found {
    /// An attribute, in that ad, at that place.
    Attribute(ScopeId, usize),
    /// An ad itself.
    Ad(ScopeId),
    /// The time in seconds.
    Time,
    Nothing,
}

pub(crate) struct Evaluator<'a> {
    around: Evaluation<'a>,
    nested: Vec<Nested>,
    /// The own ad and the other one, once they have become values.
    copies: [Option<Arc<ClassAd>>; 2],
    steps_left: u32,
    trouble: Option<Trouble>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(around: Evaluation<'a>) -> Self {
        Self { around, nested: Vec::new(), copies: [None, None], steps_left: EVALUATION_STEPS_MAX, trouble: None }
    }

    pub(crate) fn start(&self) -> Place<'static> {
        let scope = if self.around.my.is_some() { MY } else { NOWHERE };
        Place { scope, written: scope, depth: 0, active: None }
    }

    pub(crate) fn now(&self) -> Option<AbsTime> {
        self.around.now
    }

    /// The zone, in seconds east of Greenwich.
    pub(crate) fn zone(&self) -> i32 {
        self.around.now.map_or(0, |now| now.offset)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.trouble.is_some_and(|trouble| trouble > Trouble::Cycle)
    }

    fn outcome(&self, value: Value) -> Outcome {
        Outcome { value: if self.is_exhausted() { Value::Error } else { value }, trouble: self.trouble }
    }

    /// Notes trouble; the worst stays.
    fn meet(&mut self, trouble: Trouble) -> Val {
        self.trouble = self.trouble.max(Some(trouble));
        if self.is_exhausted() {
            // Whatever is still asked is an error at once: the whole is.
            self.steps_left = 0;
        }
        Val::ERROR
    }

    /// Takes steps for work that is not the visit of a node. `false` if there are none left.
    pub(crate) fn charge(&mut self, steps: usize) -> bool {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.steps_left.checked_sub(steps) {
            Some(left) => self.steps_left = left,
            None => _ = self.meet(Trouble::Steps),
        }
        self.steps_left > 0
    }

    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> bool {
        self.charge(1 + bytes / BYTES_PER_STEP)
    }

    /// A string that the evaluation made.
    pub(crate) fn made_string(&mut self, text: &str) -> Val {
        if text.len() > STRING_BYTES_MAX {
            return self.meet(Trouble::Size);
        }
        self.charge_bytes(text.len());
        Val::Plain(Value::string(text))
    }

    /// A list that the evaluation made; nothing is around its elements.
    pub(crate) fn made_list(&mut self, elements: Vec<Expr>) -> Val {
        if elements.len() > LIST_ELEMENTS_MAX {
            return self.meet(Trouble::Size);
        }
        self.charge(elements.len());
        Val::List(elements.into(), NOWHERE)
    }

    /// An ad that the evaluation made.
    pub(crate) fn made_ad(&mut self, ad: ClassAd) -> Val {
        self.charge(ad.len());
        Val::Ad(self.nest(Arc::new(ad), NOWHERE, false))
    }

    fn nest(&mut self, ad: Arc<ClassAd>, parent: ScopeId, looks_across: bool) -> ScopeId {
        let id = ScopeId(FIRST_NESTED + self.nested.len() as u32);
        // INVARIANT: each costs a step, so that there are far fewer than 2^32.
        self.nested.push(Nested { ad, parent, looks_across });
        id
    }

    /// Evaluates an expression at a place.
    pub(crate) fn eval(&mut self, expression: &Expr, place: Place<'_>) -> Val {
        if self.steps_left == 0 {
            return self.meet(Trouble::Steps);
        }
        self.steps_left -= 1;
        if place.depth >= EVALUATION_DEPTH_MAX {
            return self.meet(Trouble::Depth);
        }
        let inner = Place { depth: place.depth + 1, ..place };
        match &expression.0 {
            Node::Literal(value) => Val::Plain(value.clone()),
            Node::Attribute(name) => {
                let found = self.find(name, place.scope, true);
                self.follow(found, inner)
            }
            Node::Binary(operator, parts) => {
                let [left, right] = &**parts;
                if let (Some(left), Some(right)) = (self.peek(left, place.scope), self.peek(right, place.scope)) {
                    let value = operators::binary_plain(*operator, left, right);
                    // The visits that were saved count all the same.
                    let steps = 2 + operators::steps_of(left, right);
                    self.charge(steps);
                    return value;
                }
                let left = self.eval(left, inner);
                let right = self.eval(right, inner);
                if let (Val::Plain(left), Val::Plain(right)) = (&left, &right) {
                    self.charge(operators::steps_of(left, right));
                }
                operators::binary(*operator, &left, &right)
            }
            Node::All(terms) => self.chain(terms, inner, operators::and, false),
            Node::Any(terms) => self.chain(terms, inner, operators::or, true),
            Node::Select(of, name) => {
                let of = self.eval(of, inner);
                self.select(of, name, inner)
            }
            Node::Unary(operator, operand) => operators::unary(*operator, self.eval(operand, inner)),
            Node::Parentheses(wrapped) => self.eval(wrapped, inner),
            Node::Root(name) => {
                let found = self.find(name, self.root_of(place.scope), false);
                self.follow(found, inner)
            }
            Node::Subscript(parts) => self.subscript(parts, inner),
            Node::Ternary(parts) => {
                let condition = self.eval(&parts[0], inner);
                match condition.truth() {
                    Some(true) => self.eval(&parts[1], inner),
                    Some(false) => self.eval(&parts[2], inner),
                    None if condition.is_undefined() => Val::UNDEFINED,
                    None => Val::ERROR,
                }
            }
            Node::Default(parts) => {
                let value = self.eval(&parts[0], inner);
                if value.is_undefined() { self.eval(&parts[1], inner) } else { value }
            }
            Node::Call(call) => functions::call(self, call, inner),
            Node::List(elements) => Val::List(elements.clone(), place.written),
            Node::Ad(ad) => Val::Ad(self.nest(ad.clone(), place.written, false)),
        }
    }

    /// An attribute of the other ad.
    pub(crate) fn other_attribute(&mut self, name: &Name) -> Val {
        let found = self.find(name, TARGET, false);
        let place = self.start();
        self.follow(found, place)
    }

    fn chain(&mut self, terms: &[Expr], place: Place<'_>, join: fn(&Val, Val) -> Val, ends: bool) -> Val {
        let Some((first, rest)) = terms.split_first() else { return Val::ERROR };
        let mut joined = self.eval(first, place);
        for term in rest {
            // What is decided, or makes no sense, is not looked into further.
            match joined.truth() {
                Some(value) if value == ends => return Val::bool(ends),
                None if joined.is_error() => return Val::ERROR,
                _ => {}
            }
            let term = self.eval(term, place);
            joined = join(&joined, term);
        }
        joined
    }

    /// The value of an expression that is a constant, or an attribute which is one: by reference, for most comparisons are
    /// between such.
    fn peek<'e>(&'e self, expression: &'e Expr, scope: ScopeId) -> Option<&'e Value> {
        match &expression.0 {
            Node::Literal(value) => Some(value),
            Node::Parentheses(inner) => self.peek(inner, scope),
            Node::Attribute(name) => self.peek_found(&self.find(name, scope, true)),
            Node::Select(of, name) => match &of.0 {
                Node::Attribute(of) if of.special() != Special::None => match self.find(of, scope, true) {
                    Found::Ad(ad) => self.peek_found(&self.find(name, ad, false)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    fn peek_found(&self, found: &Found) -> Option<&Value> {
        match found {
            Found::Attribute(scope, slot) => match &self.ad(*scope)?.at(*slot).0 {
                Node::Literal(value) => Some(value),
                _ => None,
            },
            Found::Nothing => Some(&Value::Undefined),
            Found::Ad(_) | Found::Time => None,
        }
    }

    fn ad(&self, scope: ScopeId) -> Option<&ClassAd> {
        match scope {
            MY => self.around.my,
            TARGET => self.around.target,
            NOWHERE => None,
            ScopeId(nested) => self.nested.get((nested - FIRST_NESTED) as usize).map(|nested| &*nested.ad),
        }
    }

    fn parent(&self, scope: ScopeId) -> ScopeId {
        match scope {
            MY | TARGET | NOWHERE => NOWHERE,
            ScopeId(nested) => {
                self.nested.get((nested - FIRST_NESTED) as usize).map_or(NOWHERE, |nested| nested.parent)
            }
        }
    }

    fn root_of(&self, scope: ScopeId) -> ScopeId {
        let mut root = scope;
        loop {
            match self.parent(root) {
                NOWHERE => return root,
                parent => root = parent,
            }
        }
    }

    /// The ad on the other side of the match.
    fn across(&self, scope: ScopeId) -> Option<ScopeId> {
        match self.root_of(scope) {
            MY if self.around.target.is_some() => Some(TARGET),
            TARGET if self.around.my.is_some() => Some(MY),
            _ => None,
        }
    }

    /// What a name stands for in an ad: an attribute of it, or of the ads around it. A name without a scope (`free`) is looked
    /// for in the ad on the other side too, if the ad is no nested one.
    fn find(&self, name: &Name, scope: ScopeId, free: bool) -> Found {
        let mut current = scope;
        while let Some(ad) = self.ad(current) {
            if let Some(slot) = ad.slot(name) {
                return Found::Attribute(current, slot);
            }
            match name.special() {
                Special::None | Special::Target => {}
                Special::My => return Found::Ad(current),
                Special::Root => return Found::Ad(self.root_of(scope)),
                Special::Parent => match self.parent(current) {
                    NOWHERE => return Found::Nothing,
                    parent => return Found::Ad(parent),
                },
                Special::Time => return if self.around.now.is_some() { Found::Time } else { Found::Nothing },
            }
            current = self.parent(current);
        }
        if name.special() == Special::Target {
            return self.across(scope).map_or(Found::Nothing, Found::Ad);
        }
        if free
            && self.looks_across(scope)
            && let Some(other) = self.across(scope)
            && let Some(slot) = self.ad(other).and_then(|ad| ad.slot(name))
        {
            return Found::Attribute(other, slot);
        }
        Found::Nothing
    }

    fn looks_across(&self, scope: ScopeId) -> bool {
        match scope {
            MY | TARGET => true,
            NOWHERE => false,
            ScopeId(nested) => {
                self.nested.get((nested - FIRST_NESTED) as usize).is_some_and(|nested| nested.looks_across)
            }
        }
    }

    /// The value of what a name stands for.
    fn follow(&mut self, found: Found, place: Place<'_>) -> Val {
        match found {
            Found::Nothing => Val::UNDEFINED,
            Found::Ad(scope) => Val::Ad(scope),
            Found::Time => self.around.now.map_or(Val::UNDEFINED, |now| Val::int(now.seconds)),
            Found::Attribute(scope, slot) => match scope {
                MY => self.attribute(self.around.my, slot, place.within(scope)),
                TARGET => self.attribute(self.around.target, slot, place.within(scope)),
                ScopeId(nested) => {
                    let ad = self.nested.get((nested - FIRST_NESTED) as usize).map(|nested| nested.ad.clone());
                    self.attribute(ad.as_deref(), slot, place.within(scope))
                }
            },
        }
    }

    fn attribute(&mut self, ad: Option<&ClassAd>, slot: usize, place: Place<'_>) -> Val {
        let Some(ad) = ad else { return Val::ERROR };
        let expression = ad.at(slot);
        if let Node::Literal(value) = &expression.0 {
            return Val::Plain(value.clone());
        }
        let mut active = place.active;
        while let Some(earlier) = active {
            if std::ptr::eq(earlier.attribute, expression) {
                return self.meet(Trouble::Cycle);
            }
            active = earlier.because_of;
        }
        let active = Active { attribute: expression, because_of: place.active };
        self.eval(expression, Place { active: Some(&active), ..place })
    }

    /// `of.name`
    pub(crate) fn select(&mut self, of: Val, name: &Name, place: Place<'_>) -> Val {
        match of {
            Val::Plain(Value::Undefined) => Val::UNDEFINED,
            Val::Plain(_) => Val::ERROR,
            Val::Ad(scope) => {
                let found = self.find(name, scope, false);
                self.follow(found, place)
            }
            // The attribute of every element. The elements are evaluated where the reference stands, not where the list does: so
            // has the library it.
            Val::List(elements, scope) => {
                if place.depth >= EVALUATION_DEPTH_MAX {
                    return self.meet(Trouble::Depth);
                }
                let inner = Place { depth: place.depth + 1, written: scope, ..place };
                let mut selected = Vec::new();
                for element in elements.iter() {
                    let element = self.eval(element, inner);
                    let value = self.select(element, name, inner);
                    if self.is_exhausted() {
                        return Val::ERROR;
                    }
                    selected.push(self.expression_of(value));
                }
                self.made_list(selected)
            }
        }
    }

    /// A value as an element of a list that is made.
    pub(crate) fn expression_of(&mut self, value: Val) -> Expr {
        match value {
            Val::Plain(value) => Expr(Node::Literal(value)),
            Val::List(elements, _) => Expr(Node::List(elements)),
            Val::Ad(scope) => match scope {
                MY | TARGET | NOWHERE => {
                    // An ad can be large, and a list can have it ten thousand times.
                    let known = if scope == MY { 0 } else { 1 };
                    if self.copies[known].is_none() {
                        self.copies[known] = Some(Arc::new(self.ad(scope).cloned().unwrap_or_default()));
                    }
                    self.copies[known].clone().map_or(Expr(Node::Literal(Value::Error)), Expr::ad)
                }
                ScopeId(nested) => match self.nested.get((nested - FIRST_NESTED) as usize) {
                    Some(nested) => Expr::ad(nested.ad.clone()),
                    None => Expr(Node::Literal(Value::Error)),
                },
            },
        }
    }

    fn subscript(&mut self, parts: &[Expr; 2], place: Place<'_>) -> Val {
        let of = self.eval(&parts[0], place);
        let index = self.eval(&parts[1], place);
        if of.is_error() || index.is_error() {
            return Val::ERROR;
        }
        if of.is_undefined() || index.is_undefined() {
            return Val::UNDEFINED;
        }
        match (of, index) {
            (Val::List(elements, scope), Val::Plain(Value::Integer(index))) => {
                // The library takes the lower 32 bits of an index.
                match usize::try_from(index as i32).ok().and_then(|index| elements.get(index)) {
                    Some(element) => self.eval(element, place.within(scope)),
                    None => Val::ERROR,
                }
            }
            (Val::Ad(scope), Val::Plain(Value::String(name))) => {
                let slot = Name::new(&name).ok().and_then(|name| self.ad(scope).and_then(|ad| ad.slot(&name)));
                match slot {
                    Some(slot) => self.follow(Found::Attribute(scope, slot), place),
                    None => Val::UNDEFINED,
                }
            }
            _ => Val::ERROR,
        }
    }

    /// The ad as an own value, and the place in it, for functions that evaluate something there. Names that are not found are
    /// looked for on the other side, as in the ad around.
    pub(crate) fn context(&mut self, scope: ScopeId) -> ScopeId {
        match scope {
            MY | TARGET | NOWHERE => scope,
            ScopeId(nested) => match self.nested.get((nested - FIRST_NESTED) as usize) {
                Some(nested) => {
                    let (ad, parent) = (nested.ad.clone(), nested.parent);
                    self.nest(ad, parent, true)
                }
                None => NOWHERE,
            },
        }
    }

    /// The expression of an attribute of the ad at a place, if that ad itself has it; as text.
    pub(crate) fn own_attribute<T>(&self, scope: ScopeId, name: &Name, read: impl FnOnce(&Expr) -> T) -> Option<T> {
        self.ad(scope)?.lookup(name).map(read)
    }

    /// The attribute that a reference stands for, if it is a reference and there is such an attribute, and where it is written.
    pub(crate) fn definition(&mut self, reference: &Expr, place: Place<'_>) -> Option<(Definition<'a>, ScopeId)> {
        let found = match &reference.0 {
            Node::Attribute(name) => self.find(name, place.scope, true),
            Node::Select(of, name) => match self.eval(of, place) {
                Val::Ad(scope) => self.find(name, scope, false),
                _ => return None,
            },
            _ => return None,
        };
        let Found::Attribute(scope, slot) = found else { return None };
        let definition = match scope {
            MY => Definition::Outer(self.around.my?.at(slot)),
            TARGET => Definition::Outer(self.around.target?.at(slot)),
            ScopeId(nested) => Definition::Nested(self.nested.get((nested - FIRST_NESTED) as usize)?.ad.clone(), slot),
        };
        Some((definition, scope))
    }

    /// How many attributes an ad has.
    pub(crate) fn ad_len(&self, scope: ScopeId) -> usize {
        self.ad(scope).map_or(0, ClassAd::len)
    }

    /// An ad of this evaluation.
    pub(crate) fn read_ad<T>(&self, scope: ScopeId, read: impl FnOnce(&ClassAd) -> T) -> Option<T> {
        self.ad(scope).map(read)
    }

    /// A value for the outside: the elements of lists evaluated, ads on their own.
    fn outside(&mut self, value: Val, place: Place<'_>) -> Value {
        match value {
            Val::Plain(value) => value,
            Val::Ad(_) => match self.expression_of(value).0 {
                Node::Ad(ad) => Value::Ad(ad),
                _ => Value::Error,
            },
            Val::List(elements, scope) => {
                if place.depth >= EVALUATION_DEPTH_MAX {
                    self.meet(Trouble::Depth);
                    return Value::Error;
                }
                let inner = Place { scope, written: scope, depth: place.depth + 1, active: place.active };
                let mut evaluated = Vec::new();
                for element in elements.iter() {
                    let element = self.eval(element, inner);
                    evaluated.push(self.outside(element, inner));
                    if self.is_exhausted() {
                        return Value::Error;
                    }
                }
                Value::List(evaluated.into())
            }
        }
    }
}
