//! Machines whose ads match alike, and which of them a conjunct leaves.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_classad::{BinaryOperator, ClassAd, Comparison, Evaluation, Expr, Name, Prepared, Scope, Symbols, Value};

use super::signature;

/// Attributes by which machines are told apart. Demands that mention more are matched machine by machine.
pub const SIGNIFICANT_MAX: usize = 256;
/// Values of an attribute with which a conjunct that is no comparison is tried; where there are more, it is evaluated in full.
const VALUES_MAX: usize = 4_096;

/// The groups of a pool's machines.
// INVARIANT: each machine's group has the signature of its ad. `attributes` has each group once in each attribute.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    pub list: Vec<Group>,
    by_signature: BTreeMap<Box<str>, u32>,
    vacant: Vec<u32>,
    /// In the order in which they were first mentioned.
    attributes: Vec<Attribute>,
    stamps: u32,
}

/// Machines with equal signatures.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Of all groups that ever had this number.
    pub stamp: u32,
    pub members: u32,
    /// The ad of the first of them, which stands for all.
    pub ad: Prepared,
    signature: Box<str>,
}

/// The values of one attribute.
#[derive(Clone, Debug)]
struct Attribute {
    name: Name,
    values: BTreeMap<Key, (Value, BTreeSet<u32>)>,
    /// Groups whose value depends on the other ad, or is a list or an ad.
    open: BTreeSet<u32>,
    missing: BTreeSet<u32>,
}

/// A value in an order in which comparisons with a number are true of a beginning or an end of all numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The bits of the number in an order, then what tells equal ones apart.
    Number(i64, i64, bool),
    /// In lower case, and as it is.
    Text(String, String),
    Other(String),
}

impl Key {
    fn of(value: &Value) -> Self {
        let order = |number: f64| {
            // Negative zero is equal to zero; -1 and 1 differ in the sign, and of negative numbers the bits run backward.
            let bits = (number + 0.0).to_bits().cast_signed();
            if bits < 0 { bits ^ i64::MAX } else { bits }
        };
        match value {
            Value::Integer(number) => Self::Number(order(*number as f64), *number, false),
            Value::Real(number) if !number.is_nan() => {
                Self::Number(order(*number), number.to_bits().cast_signed(), true)
            }
            Value::String(text) => Self::Text(text.to_ascii_lowercase(), text.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// A conjunct of a task's requirements.
pub(super) struct Conjunct<'a> {
    pub expression: &'a Expr,
    /// The one attribute that it asks the machine for, if it is one and the index has it.
    pub attribute: Option<Name>,
}

impl<'a> Conjunct<'a> {
    /// Those of prepared requirements.
    pub fn of(demand: &'a Prepared) -> Vec<Self> {
        let conjuncts = demand.requirements().map(Expr::conjuncts).unwrap_or_default();
        let with_attribute = |expression: &'a Expr| {
            let mut external = expression.external_references(demand.ad());
            let is_clear = signature::is_transparent(expression, &expression.references());
            let attribute = external.pop_first().filter(|_| external.is_empty() && is_clear);
            // An own attribute that it asks for may ask for more, in ways that only its text shows.
            let own = expression.references();
            let is_clear = own.any.iter().chain(&own.my).all(|name| signature::closure(demand.ad(), name).is_some());
            Self { expression, attribute: attribute.filter(|_| is_clear) }
        };
        conjuncts.into_iter().map(with_attribute).collect()
    }

    /// The comparison with a constant that it is, if the attribute is the machine's.
    pub fn comparison(&self, own: &ClassAd) -> Option<Comparison<'a>> {
        let comparison = self.expression.as_comparison()?;
        let of_machine = match comparison.scope {
            Scope::Target => true,
            Scope::Any => own.lookup(comparison.name).is_none(),
            Scope::My => false,
        };
        Some(comparison).filter(|_| of_machine)
    }
}

impl Conjunct<'_> {
    /// The text to which the machine's attribute must be equal, if that is all it asks.
    fn equal_text(&self, own: &ClassAd) -> Option<&str> {
        let comparison = self.comparison(own)?;
        comparison.constant.text().filter(|_| comparison.operator == BinaryOperator::Equal)
    }
}

impl Groups {
    /// By how many attributes machines are told apart.
    pub fn attributes(&self) -> usize {
        self.attributes.len()
    }

    /// Whether machines are told apart by this attribute.
    pub fn has(&self, name: &Name) -> bool {
        self.attributes.iter().any(|attribute| attribute.name == *name)
    }

    /// The signature of an ad: equal ones match alike, whatever is asked of them by the attributes that are known to matter.
    pub fn sign(&self, ad: &ClassAd, requirements: &Name) -> String {
        let mut text = String::new();
        let clear = signature::sign(&mut text, ad, requirements)
            && self.attributes.iter().all(|attribute| signature::sign(&mut text, ad, &attribute.name));
        if clear { text } else { signature::whole(ad) }
    }

    /// Counts a machine in, and says where.
    pub fn join(&mut self, ad: &ClassAd, requirements: &Name, symbols: &mut Symbols) -> u32 {
        let text = self.sign(ad, requirements);
        self.join_as(text, ad, symbols)
    }

    fn join_as(&mut self, signature: String, ad: &ClassAd, symbols: &mut Symbols) -> u32 {
        if let Some(group) = self.by_signature.get(signature.as_str()).copied() {
            self.list[group as usize].members += 1;
            return group;
        }
        self.stamps = self.stamps.wrapping_add(1);
        let signature = signature.into_boxed_str();
        let new = Group {
            stamp: self.stamps,
            members: 1,
            ad: Prepared::new(ad.clone(), symbols),
            signature: signature.clone(),
        };
        let group = match self.vacant.pop() {
            Some(vacant) => {
                self.list[vacant as usize] = new;
                vacant
            }
            None => {
                self.list.push(new);
                // Groups are no more than machines, which are fewer than 2^32.
                (self.list.len() - 1) as u32
            }
        };
        self.by_signature.insert(signature, group);
        for attribute in &mut self.attributes {
            attribute.enter(group, ad);
        }
        group
    }

    /// Counts a machine out.
    pub fn leave(&mut self, group: u32) {
        let Some(left) = self.list.get_mut(group as usize) else { return };
        left.members = left.members.saturating_sub(1);
        if left.members > 0 {
            return;
        }
        self.by_signature.remove(&left.signature);
        let ad = left.ad.ad().clone();
        for attribute in &mut self.attributes {
            attribute.leave(group, &ad);
        }
        self.vacant.push(group);
    }

    /// Tells machines apart by more attributes. `machines` are all of them with their groups, which are changed; the groups that
    /// were there before are given back by the number of what became of them: each new one is a part of one old one.
    pub fn refine<'a>(
        &mut self,
        names: impl IntoIterator<Item = Name>,
        machines: impl Iterator<Item = (&'a ClassAd, &'a mut u32)>,
        symbols: &mut Symbols,
    ) -> BTreeMap<u32, u32> {
        let old = std::mem::take(&mut self.list);
        self.by_signature.clear();
        self.vacant.clear();
        let known = self.attributes.len();
        for name in names {
            self.attributes.push(Attribute::new(name));
        }
        for attribute in &mut self.attributes {
            *attribute = Attribute::new(attribute.name.clone());
        }
        let added = self.attributes[known..].iter().map(|attribute| attribute.name.clone()).collect::<Vec<_>>();
        let mut parents = BTreeMap::new();
        for (ad, group) in machines {
            let Some(parent) = old.get(*group as usize) else { continue };
            let mut text = parent.signature.to_string();
            // The signature of a whole ad says everything already.
            if !text.starts_with('*') && !added.iter().all(|name| signature::sign(&mut text, ad, name)) {
                text = signature::whole(ad);
            }
            let before = *group;
            *group = self.join_as(text, ad, symbols);
            parents.insert(*group, before);
        }
        parents
    }

    /// By group: whether all conjuncts that the index can answer are true of its machines. The rest is to be evaluated in full.
    pub fn survivors(&self, demand: &Prepared) -> Vec<bool> {
        let mut surviving = vec![true; self.list.len()];
        for conjunct in Conjunct::of(demand) {
            let Some(excluded) = self.excluded(demand, &conjunct) else { continue };
            excluded.into_iter().for_each(|group| surviving[group as usize] = false);
        }
        surviving
    }

    /// The groups of which a conjunct is not true; `None` if the index cannot say.
    fn excluded(&self, demand: &Prepared, conjunct: &Conjunct<'_>) -> Option<Vec<u32>> {
        let name = conjunct.attribute.as_ref()?;
        let attribute = self.attributes.iter().find(|attribute| attribute.name == *name)?;
        let holds = |value: Option<&Value>| {
            let mut probe = ClassAd::new();
            if let Some(value) = value {
                // INVARIANT: the name is an attribute's already, and one fits into an ad.
                let _ = probe.insert(name.as_str(), Expr::constant(value.clone()));
            }
            Evaluation::of(demand.ad()).with_target(Some(&probe)).holds(conjunct.expression)
        };
        let mut excluded = Vec::new();
        if !holds(None) {
            excluded.extend(&attribute.missing);
        }
        let values = attribute.values.iter().collect::<Vec<_>>();
        let numbers = values.partition_point(|(key, _)| matches!(key, Key::Number(..)));
        let comparison = conjunct.comparison(demand.ad()).filter(|comparison| comparison.constant.number().is_some());
        let mut tried = &values[..];
        if let Some(comparison) =
            comparison.filter(|comparison| comparison.constant.number().is_some_and(|it| !it.is_nan()))
        {
            use BinaryOperator::{Greater, GreaterOrEqual, Less, LessOrEqual};
            let holds_first = matches!(comparison.operator, Less | LessOrEqual);
            if holds_first || matches!(comparison.operator, Greater | GreaterOrEqual) {
                let turn = values[..numbers].partition_point(|(_, (value, _))| holds(Some(value)) == holds_first);
                let failing = if holds_first { turn..numbers } else { 0..turn };
                excluded.extend(values[failing].iter().flat_map(|(_, (_, groups))| groups));
                tried = &values[numbers..];
            }
        }
        if let Some(text) = conjunct.equal_text(demand.ad()) {
            // Only texts that are equal but for case can be equal; everything else is another value or of another type.
            let folded = text.to_ascii_lowercase();
            let is_text = |key: &Key| matches!(key, Key::Text(of, _) if *of == folded);
            let equal = tried.iter().position(|(key, _)| is_text(key)).unwrap_or(tried.len());
            let after = equal + tried[equal..].iter().take_while(|(key, _)| is_text(key)).count();
            let other = tried[..equal].iter().chain(&tried[after..]);
            excluded.extend(other.flat_map(|(_, (_, groups))| groups));
            tried = &tried[equal..after];
        }
        if tried.len() > VALUES_MAX {
            return None;
        }
        let failing = tried.iter().filter(|(_, (value, _))| !holds(Some(value)));
        excluded.extend(failing.flat_map(|(_, (_, groups))| groups));
        Some(excluded)
    }
}

impl Attribute {
    fn new(name: Name) -> Self {
        Self { name, values: BTreeMap::new(), open: BTreeSet::new(), missing: BTreeSet::new() }
    }

    /// The value in an ad, if it is there and depends on nothing.
    fn value(&self, ad: &ClassAd) -> Option<Option<Value>> {
        let expression = ad.lookup(&self.name)?;
        Some(expression.flatten(ad).as_constant().cloned())
    }

    fn enter(&mut self, group: u32, ad: &ClassAd) {
        match self.value(ad) {
            None => _ = self.missing.insert(group),
            Some(None) => _ = self.open.insert(group),
            Some(Some(value)) => {
                let (_, groups) = self.values.entry(Key::of(&value)).or_insert_with(|| (value, BTreeSet::new()));
                groups.insert(group);
            }
        }
    }

    fn leave(&mut self, group: u32, ad: &ClassAd) {
        match self.value(ad) {
            None => _ = self.missing.remove(&group),
            Some(None) => _ = self.open.remove(&group),
            Some(Some(value)) => {
                let key = Key::of(&value);
                if let Some((_, groups)) = self.values.get_mut(&key) {
                    groups.remove(&group);
                    if groups.is_empty() {
                        self.values.remove(&key);
                    }
                }
            }
        }
    }
}
