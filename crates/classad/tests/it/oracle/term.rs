//! Expressions as the generator builds them: trees of which parts can be taken.

use std::fmt;

/// A part of an expression. Written out it gets the parentheses that it needs where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A constant, or what is written as it stands.
    Text(String),
    Name(String),
    Select(Box<Term>, String),
    Subscript(Box<[Term; 2]>),
    Unary(&'static str, Box<Term>),
    /// Operands with operators between them, and no parentheses: one operand more than operators.
    Chain(Vec<Term>, Vec<&'static str>),
    Ternary(Box<[Term; 3]>),
    /// `a ?: b`
    Default(Box<[Term; 2]>),
    Parentheses(Box<Term>),
    Call(String, Vec<Term>),
    List(Vec<Term>),
    Ad(Vec<(String, Term)>),
}

/// How tightly a term holds together; each may stand where a looser one may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Any,
    Unary,
    Postfix,
}

/// Operators from the loosest to the tightest.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!=", "=?=", "=!=", "is", "isnt"],
    &["<", "<=", ">", ">="],
    &["<<", ">>", ">>>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Term {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Without what makes no difference around it.
    pub fn bare(&self) -> &Self {
        match self {
            Self::Parentheses(inner) => inner.bare(),
            Self::Chain(terms, operators) if operators.is_empty() => terms[0].bare(),
            _ => self,
        }
    }

    /// The function that this calls, in lower case, and its arguments.
    pub fn call(&self) -> Option<(String, &[Self])> {
        match self.bare() {
            Self::Call(name, arguments) => Some((name.to_ascii_lowercase(), arguments)),
            _ => None,
        }
    }

    /// The terms that this is made of.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Text(_) | Self::Name(_) => Vec::new(),
            Self::Select(of, _) | Self::Unary(_, of) | Self::Parentheses(of) => vec![of],
            Self::Subscript(parts) | Self::Default(parts) => parts.iter().collect(),
            Self::Ternary(parts) => parts.iter().collect(),
            Self::Chain(terms, _) | Self::Call(_, terms) | Self::List(terms) => terms.iter().collect(),
            Self::Ad(attributes) => attributes.iter().map(|(_, term)| term).collect(),
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Text(_) | Self::Name(_) => Vec::new(),
            Self::Select(of, _) | Self::Unary(_, of) | Self::Parentheses(of) => vec![of],
            Self::Subscript(parts) | Self::Default(parts) => parts.iter_mut().collect(),
            Self::Ternary(parts) => parts.iter_mut().collect(),
            Self::Chain(terms, _) | Self::Call(_, terms) | Self::List(terms) => terms.iter_mut().collect(),
            Self::Ad(attributes) => attributes.iter_mut().map(|(_, term)| term).collect(),
        }
    }

    pub fn size(&self) -> usize {
        1 + self.children().into_iter().map(Self::size).sum::<usize>()
    }

    /// This, with something in it, or all of it, simpler: one step of what can be done, each way once. `value` says what a part of
    /// it is worth, `definition` what a name stands for.
    pub fn simpler(
        &self,
        value: &dyn Fn(&Self) -> Option<Self>,
        definition: &dyn Fn(&str) -> Option<Self>,
    ) -> Vec<Self> {
        let mut found: Vec<Self> = self.children().into_iter().cloned().collect();
        found.extend(self.children().into_iter().flat_map(Self::children).cloned());
        match self {
            Self::Text(text) => {
                found.extend(definition(text));
                found.extend(shorter(text).map(Self::Text));
            }
            Self::Chain(terms, operators) if operators.len() > 1 => found.push(grouped(terms, operators)),
            Self::List(elements) => found.extend(without_one(elements).map(Self::List)),
            Self::Ad(attributes) => found.extend(without_one(attributes).map(Self::Ad)),
            Self::Call(name, arguments) => {
                found.extend(without_one(arguments).map(|fewer| Self::Call(name.clone(), fewer)));
            }
            Self::Name(name) | Self::Select(_, name) => found.extend(definition(name)),
            _ => {}
        }
        found.extend(value(self));
        for (number, child) in self.children().into_iter().enumerate() {
            found.extend(child.simpler(value, definition).into_iter().map(|simple| {
                let mut whole = self.clone();
                if let Some(place) = whole.children_mut().into_iter().nth(number) {
                    *place = simple;
                }
                whole
            }));
        }
        found
    }

    fn level(&self) -> Level {
        match self {
            Self::Chain(..) | Self::Ternary(_) => Level::Any,
            // Where more than a number may stand, the sign would be an operator.
            Self::Unary(..) => Level::Unary,
            Self::Text(text) if text.starts_with('-') => Level::Unary,
            _ => Level::Postfix,
        }
    }

    fn at(&self, level: Level) -> String {
        if self.level() < level { format!("({self})") } else { self.to_string() }
    }
}

/// A text without a piece of it, a half, a quarter, and so on down to a character; and all pieces of a short one.
fn shorter(text: &str) -> impl Iterator<Item = String> {
    const SHORT: usize = 40;
    let all: Vec<char> = text.chars().collect();
    let count = all.len();
    let lengths = std::iter::successors(Some(count / 2), |length| Some(length / 2)).take_while(|length| *length > 0);
    let rests = lengths.flat_map(|length| (0..count).step_by(length).map(move |at| (at, (at + length).min(count))));
    let mut found: Vec<String> = rests.map(|(from, to)| all[..from].iter().chain(&all[to..]).collect()).collect();
    if count <= SHORT {
        let pieces = (0..count).flat_map(|from| (from + 1..=count).map(move |to| (from, to)));
        found.extend(pieces.map(|(from, to)| all[from..to].iter().collect::<String>()));
    }
    found.into_iter()
}

fn without_one<T: Clone>(all: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..all.len()).map(|number| {
        let mut fewer = all.to_vec();
        fewer.remove(number);
        fewer
    })
}

/// A chain as a tree of chains of two, as the levels of the operators have it.
fn grouped(terms: &[Term], operators: &[&'static str]) -> Term {
    if operators.is_empty() {
        return terms[0].clone();
    }
    let level = |operator: &str| LEVELS.iter().position(|level| level.contains(&operator)).unwrap_or(LEVELS.len());
    let loosest = operators.iter().map(|operator| level(operator)).min().unwrap_or(0);
    // All of them take the left side first.
    let split = operators.iter().rposition(|operator| level(operator) == loosest).unwrap_or(0);
    let left = grouped(&terms[..=split], &operators[..split]);
    let right = grouped(&terms[split + 1..], &operators[split + 1..]);
    Term::Chain(vec![left, right], vec![operators[split]])
}

pub fn list(terms: &[Term], separator: &str) -> String {
    terms.iter().map(Term::to_string).collect::<Vec<_>>().join(separator)
}

/// An ad of these attributes.
pub fn ad(attributes: &[(String, Term)]) -> String {
    let attributes: Vec<String> = attributes.iter().map(|(name, term)| format!("{name} = {term}")).collect();
    format!("[ {} ]", attributes.join("; "))
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Name(text) => f.write_str(text),
            // Behind a number the point would be its own.
            Self::Select(of, name) => match &**of {
                Self::Text(text) if text.starts_with(|c: char| c.is_ascii_digit()) => write!(f, "({text}).{name}"),
                of => write!(f, "{}.{name}", of.at(Level::Postfix)),
            },
            Self::Subscript(parts) => write!(f, "{}[{}]", parts[0].at(Level::Postfix), parts[1]),
            Self::Unary(sign, operand) => write!(f, "{sign}{}", operand.at(Level::Unary)),
            Self::Chain(terms, operators) => {
                for (number, term) in terms.iter().enumerate() {
                    if number > 0 {
                        write!(f, " {} ", operators[number - 1])?;
                    }
                    f.write_str(&term.at(Level::Unary))?;
                }
                Ok(())
            }
            Self::Ternary(parts) => write!(f, "{} ? {} : {}", parts[0].at(Level::Unary), parts[1], parts[2]),
            Self::Default(parts) => {
                // A chain of them would be read from the other side.
                let left = match &parts[0] {
                    left @ Self::Default(_) => format!("({left})"),
                    left => left.at(Level::Postfix),
                };
                write!(f, "{left} ?: {}", parts[1].at(Level::Postfix))
            }
            Self::Parentheses(inner) => write!(f, "({inner})"),
            Self::Call(name, arguments) => write!(f, "{name}({})", list(arguments, ", ")),
            Self::List(elements) => write!(f, "{{ {} }}", list(elements, ", ")),
            Self::Ad(attributes) => f.write_str(&ad(attributes)),
        }
    }
}
