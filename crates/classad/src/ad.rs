//! An ad: named expressions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::bounds::ATTRIBUTES_MAX;
use crate::eval::Evaluation;
use crate::expr::Expr;
use crate::name::{Name, NameError};
use crate::parse::{self, ParseError};
use crate::print;
use crate::value::Value;

/// Why an attribute was not taken into an ad.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InsertError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The ad is full.
    #[error("no room for the attribute {name}: an ad has at most {ATTRIBUTES_MAX}")]
    Full {
        /// The attribute's name.
        name: String,
    },
}

/// The table's mark of an empty place: no attribute has that slot.
const EMPTY: u64 = u64::MAX;
/// The bits of a place that are the slot; the others are those of the hash, so that most names need not be compared.
const SLOT: u64 = 0xffff;

/// A classified ad: attributes in the order in which they came, found by name whatever its case.
#[derive(Clone, Default)]
pub struct ClassAd {
    attributes: Vec<(Name, Expr)>,
    /// Where each attribute stands in `attributes`, by its name's hash; a power of two of places, at most half of them taken.
    table: Box<[u64]>,
}

impl ClassAd {
    /// An ad without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `[ name = expression; ... ]`.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        parse::ad(source)
    }

    /// Sets an attribute. One that is there already keeps its place and the case of its name.
    pub fn insert(&mut self, name: &str, value: impl Into<Expr>) -> Result<(), InsertError> {
        self.put(Name::new(name)?, value.into())
    }

    pub(crate) fn put(&mut self, name: Name, value: Expr) -> Result<(), InsertError> {
        if let Some(slot) = self.slot(&name) {
            self.attributes[slot].1 = value;
            return Ok(());
        }
        if self.attributes.len() >= ATTRIBUTES_MAX {
            return Err(InsertError::Full { name: name.to_string() });
        }
        self.attributes.push((name, value));
        if self.attributes.len() * 2 > self.table.len() {
            self.index();
        } else {
            self.enter(self.attributes.len() - 1);
        }
        Ok(())
    }

    /// Takes an attribute out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Expr> {
        let slot = self.slot(&Name::known(name))?;
        let (_, value) = self.attributes.remove(slot);
        self.index();
        Some(value)
    }

    /// The expression of an attribute.
    pub fn get(&self, name: &str) -> Option<&Expr> {
        self.lookup(&Name::known(name))
    }

    /// The expression of an attribute whose name is at hand.
    pub fn lookup(&self, name: &Name) -> Option<&Expr> {
        self.slot(name).map(|slot| &self.attributes[slot].1)
    }

    /// Evaluates an attribute, with nothing around the ad; `undefined` if the ad has none of that name.
    pub fn evaluate(&self, name: &str) -> Value {
        match self.get(name) {
            Some(expression) => Evaluation::of(self).evaluate(expression),
            None => Value::Undefined,
        }
    }

    /// The attributes, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Expr)> {
        self.attributes.iter().map(|(name, value)| (name, value))
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    pub(crate) fn slot(&self, name: &Name) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        let mask = self.table.len() - 1;
        let mut place = name.hash_value() as usize & mask;
        loop {
            let entry = self.table[place];
            if entry == EMPTY {
                return None;
            }
            let slot = (entry & SLOT) as usize;
            if (entry ^ name.hash_value()) & !SLOT == 0 && self.attributes[slot].0 == *name {
                return Some(slot);
            }
            place = (place + 1) & mask;
        }
    }

    pub(crate) fn at(&self, slot: usize) -> &Expr {
        &self.attributes[slot].1
    }

    /// Builds the table anew, with room to double.
    fn index(&mut self) {
        let places = (self.attributes.len() * 4).next_power_of_two().max(8);
        self.table = vec![EMPTY; places].into();
        for slot in 0..self.attributes.len() {
            self.enter(slot);
        }
    }

    fn enter(&mut self, slot: usize) {
        let mask = self.table.len() - 1;
        let hash = self.attributes[slot].0.hash_value();
        let mut place = hash as usize & mask;
        while self.table[place] != EMPTY {
            place = (place + 1) & mask;
        }
        // INVARIANT: slots are below ATTRIBUTES_MAX, which is below SLOT.
        self.table[place] = hash & !SLOT | slot as u64;
    }
}

/// The same attributes with the same expressions; their order, and the case of names, do not matter.
impl PartialEq for ClassAd {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.lookup(name) == Some(value))
    }
}

impl fmt::Display for ClassAd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        print::ad(&mut text, self, print::Style::Exact);
        f.write_str(&text)
    }
}

impl fmt::Debug for ClassAd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClassAd {
    type Err = ParseError;

    fn from_str(source: &str) -> Result<Self, ParseError> {
        Self::parse(source)
    }
}

impl From<ClassAd> for Expr {
    fn from(ad: ClassAd) -> Self {
        Self::ad(Arc::new(ad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_in_more_than_case() {
        let mut ad = ClassAd::new();
        ad.insert("Cpus", Value::Integer(4)).unwrap();
        ad.insert("CPUS", Value::Integer(8)).unwrap();
        ad.insert("Memory", Value::Integer(2048)).unwrap();
        assert_eq!(ad.to_string(), "[ Cpus = 8; Memory = 2048 ]");
        assert_eq!(ad.evaluate("cpuS"), Value::Integer(8));
        assert_eq!(ad.remove("cpus"), Some(Value::Integer(8).into()));
        assert_eq!(ad.evaluate("Cpus"), Value::Undefined);
        assert_eq!(ad.evaluate("memory"), Value::Integer(2048));
    }

    #[test]
    fn a_full_ad_takes_no_more() {
        let mut ad = ClassAd::new();
        for number in 0..ATTRIBUTES_MAX {
            ad.insert(&format!("a{number}"), Value::Integer(number as i64)).unwrap();
        }
        let refused = ad.insert("one_more", Value::Undefined).unwrap_err();
        assert_eq!(refused, InsertError::Full { name: "one_more".into() });
        ad.insert("A17", Value::Integer(-1)).unwrap();
        assert_eq!(ad.evaluate("a17"), Value::Integer(-1));
        assert_eq!(ad.evaluate("a4095"), Value::Integer(4095));
        assert_eq!(ad.insert("", Value::Undefined), Err(InsertError::Name(NameError::Empty)));
    }
}
