//! What an evaluation gives.

use std::fmt;
use std::sync::Arc;

use crate::ad::ClassAd;
use crate::print;

/// A point in time, with the offset of the zone in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Seconds to add for the zone's clock; positive east of Greenwich.
    pub offset: i32,
}

/// A value of the language.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing is known: an attribute that no ad has.
    Undefined,
    /// What was asked makes no sense, or took too long.
    Error,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number; arithmetic wraps.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// Text.
    String(Arc<str>),
    /// A point in time.
    AbsTime(AbsTime),
    /// A span of time, in seconds.
    RelTime(f64),
    /// A list, its elements evaluated.
    List(Arc<[Value]>),
    /// A nested ad, its attributes as they were written.
    Ad(Arc<ClassAd>),
}

impl Value {
    /// A string.
    pub fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    /// Exactly `true`: what a match asks for. A number is not.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Boolean(true))
    }

    /// As a condition: booleans, and numbers, of which all but 0 are true. Everything else is no condition.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Integer(value) => Some(*value != 0),
            Self::Real(value) => Some(*value != 0.0),
            _ => None,
        }
    }

    /// As a number: integers, reals, and booleans as 1 and 0.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            Self::Integer(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Error => "error",
            Self::Boolean(_) => "boolean",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::String(_) => "string",
            Self::AbsTime(_) => "absolute time",
            Self::RelTime(_) => "relative time",
            Self::List(_) => "list",
            Self::Ad(_) => "ad",
        }
    }
}

/// As an expression that evaluates to the value again.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        print::value(&mut text, self, print::Style::Exact);
        f.write_str(&text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::string(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}
