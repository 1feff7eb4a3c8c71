//! Values, expressions and ads as text.
//!
//! There are two styles. The exact one is ours: what it prints parses back to an equal expression, and people can read it. The
//! other is the C++ library's: `string`, `strcat`, `unparse` and others give values as it writes them, with 16 digits of a real,
//! octal escapes and attributes ordered by the length of their names.

use std::fmt::Write;

use crate::ad::ClassAd;
use crate::calendar;
use crate::expr::{BinaryOperator, Expr, Node, UnaryOperator};
use crate::name::Name;
use crate::number;
use crate::value::{AbsTime, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Parses back.
    Exact,
    /// As the C++ library writes it.
    Library,
}

// Writing to a string cannot fail, so that the results of `write!` below are dropped.

pub(crate) fn value(text: &mut String, value: &Value, style: Style) {
    match value {
        Value::Undefined => text.push_str("undefined"),
        Value::Error => text.push_str("error"),
        Value::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => _ = write!(text, "{value}"),
        Value::Real(value) => real(text, *value, style),
        Value::String(value) => quoted(text, value, '"', style),
        Value::AbsTime(time) => absolute(text, *time, style),
        Value::RelTime(seconds) => relative(text, *seconds, style),
        Value::List(elements) => list(text, elements.iter(), |text, element| self::value(text, element, style)),
        Value::Ad(inner) => ad(text, inner, style),
    }
}

fn absolute(text: &mut String, time: AbsTime, style: Style) {
    text.push_str("absTime(");
    // The text has years of four digits and whole minutes of the zone. What does not fit goes as numbers, and by way of a span,
    // for a number of seconds is taken for one of 32 bits.
    if style == Style::Library || calendar::has_text(time) {
        text.push('"');
        let digits = if style == Style::Library { calendar::YEAR_DIGITS_OF_LIBRARY } else { calendar::YEAR_DIGITS };
        calendar::write_absolute(text, time, digits);
        text.push('"');
    } else {
        _ = write!(text, "relTime({}.0), {}", time.seconds, time.offset);
    }
    text.push(')');
}

fn relative(text: &mut String, seconds: f64, style: Style) {
    text.push_str("relTime(");
    let mut shown = String::new();
    calendar::write_relative(&mut shown, seconds);
    // The text has six digits of the seconds; what it loses goes as a number.
    if style == Style::Library
        || calendar::parse_relative(&shown).is_some_and(|read| read.to_bits() == seconds.to_bits())
    {
        _ = write!(text, "\"{shown}\"");
    } else {
        real(text, seconds, style);
    }
    text.push(')');
}

pub(crate) fn real(text: &mut String, value: f64, style: Style) {
    if value.is_nan() {
        text.push_str("real(\"NaN\")");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "real(\"INF\")" } else { "real(\"-INF\")" });
    } else if value == 0.0 {
        text.push_str(if value.is_sign_negative() { "-0.0" } else { "0.0" });
    } else if style == Style::Library {
        number::write_scientific(text, value);
    } else {
        // The shortest digits that read back to the same number, always with a point or an exponent.
        _ = write!(text, "{value:?}");
    }
}

pub(crate) fn expression(text: &mut String, expression: &Expr, style: Style) {
    let print = |text: &mut String, inner: &Expr| self::expression(text, inner, style);
    match &expression.0 {
        Node::Literal(literal) => value(text, literal, style),
        Node::Attribute(reference) => name(text, reference, style),
        Node::Root(reference) => {
            text.push('.');
            name(text, reference, style);
        }
        Node::Select(of, selected) => {
            print(text, of);
            select(text, of, selected, style);
        }
        Node::Subscript(parts) => {
            print(text, &parts[0]);
            text.push('[');
            print(text, &parts[1]);
            text.push(']');
        }
        Node::Unary(operator, inner) => {
            text.push_str(unary_sign(*operator, style));
            // A minus before a number would become part of it.
            if *operator == UnaryOperator::Minus && style == Style::Exact {
                text.push(' ');
            }
            print(text, inner);
        }
        Node::Binary(operator, parts) => {
            print(text, &parts[0]);
            _ = write!(text, " {} ", binary_sign(*operator));
            print(text, &parts[1]);
        }
        Node::All(terms) => chain(text, terms, " && ", style),
        Node::Any(terms) => chain(text, terms, " || ", style),
        Node::Ternary(parts) => {
            print(text, &parts[0]);
            text.push_str(" ? ");
            print(text, &parts[1]);
            text.push_str(" : ");
            print(text, &parts[2]);
        }
        Node::Default(parts) => {
            print(text, &parts[0]);
            text.push_str(" ?: ");
            print(text, &parts[1]);
        }
        Node::Parentheses(inner) => {
            text.push('(');
            print(text, inner);
            text.push(')');
        }
        Node::Call(call) => {
            call_name(text, &call.name, style);
            for (number, argument) in call.arguments.iter().enumerate() {
                text.push_str(if number == 0 { "" } else { separator(style) });
                print(text, argument);
            }
            text.push(')');
        }
        Node::List(elements) => list_of(text, elements, style),
        Node::Ad(inner) => ad(text, inner, style),
    }
}

/// `.name`, behind what it is selected of.
fn select(text: &mut String, of: &Expr, selected: &Name, style: Style) {
    match style {
        Style::Exact => {
            // Behind a number the point would be its own.
            let is_number = matches!(of.0, Node::Literal(Value::Integer(_) | Value::Real(_)));
            text.push_str(if is_number { " ." } else { "." });
            name(text, selected, style);
        }
        // The library forgets the quotes here.
        Style::Library => {
            text.push('.');
            text.push_str(selected.as_str());
        }
    }
}

fn call_name(text: &mut String, called: &str, style: Style) {
    match style {
        Style::Library => text.push_str(called),
        Style::Exact => identifier(text, called, style),
    }
    text.push('(');
}

fn chain(text: &mut String, terms: &[Expr], sign: &str, style: Style) {
    for (number, term) in terms.iter().enumerate() {
        if number > 0 {
            text.push_str(sign);
        }
        expression(text, term, style);
    }
}

fn separator(style: Style) -> &'static str {
    if style == Style::Exact { ", " } else { "," }
}

pub(crate) fn list_of(text: &mut String, elements: &[Expr], style: Style) {
    text.push_str("{ ");
    for (number, element) in elements.iter().enumerate() {
        text.push_str(if number == 0 { "" } else { separator(style) });
        expression(text, element, style);
    }
    text.push_str(" }");
}

fn list<'a>(text: &mut String, elements: impl Iterator<Item = &'a Value>, print: impl Fn(&mut String, &Value)) {
    text.push_str("{ ");
    for (number, element) in elements.enumerate() {
        text.push_str(if number == 0 { "" } else { ", " });
        print(text, element);
    }
    text.push_str(" }");
}

pub(crate) fn ad(text: &mut String, ad: &ClassAd, style: Style) {
    let mut attributes: Vec<(&Name, &Expr)> = ad.iter().collect();
    if style == Style::Library {
        attributes.sort_by(|(left, _), (right, _)| {
            left.folded().len().cmp(&right.folded().len()).then_with(|| left.folded().cmp(right.folded()))
        });
    }
    text.push_str("[ ");
    for (number, (attribute, value)) in attributes.into_iter().enumerate() {
        text.push_str(if number == 0 { "" } else { "; " });
        name(text, attribute, style);
        text.push_str(" = ");
        expression(text, value, style);
    }
    text.push_str(" ]");
}

pub(crate) fn name(text: &mut String, name: &Name, style: Style) {
    identifier(text, name.as_str(), style);
}

fn identifier(text: &mut String, name: &str, style: Style) {
    let plain = name
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()));
    let reserved = ["error", "false", "is", "isnt", "parent", "true", "undefined"];
    // `parent` is none for the parser; the library quotes it all the same.
    let reserved = reserved.into_iter().filter(|word| style == Style::Library || *word != "parent");
    if plain && !name.is_empty() && !reserved.into_iter().any(|word| word.eq_ignore_ascii_case(name)) {
        text.push_str(name);
    } else {
        quoted(text, name, '\'', style);
    }
}

fn quoted(text: &mut String, content: &str, quote: char, style: Style) {
    text.push(quote);
    for c in content.chars() {
        match c {
            '\x07' => text.push_str("\\a"),
            '\x08' => text.push_str("\\b"),
            '\x0c' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\x0b' => text.push_str("\\v"),
            '\\' => text.push_str("\\\\"),
            _ if c == quote => _ = write!(text, "\\{c}"),
            ' '..='~' => text.push(c),
            _ if style == Style::Exact && !c.is_control() => text.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    _ = write!(text, "\\{byte:03o}");
                }
            }
        }
    }
    text.push(quote);
}

fn unary_sign(operator: UnaryOperator, style: Style) -> &'static str {
    let sign = match operator {
        UnaryOperator::Plus => " +",
        UnaryOperator::Minus => " -",
        UnaryOperator::Not => " !",
        UnaryOperator::BitNot => " ~",
    };
    if style == Style::Library { sign } else { &sign[1..] }
}

pub(crate) fn binary_sign(operator: BinaryOperator) -> &'static str {
    match operator {
        BinaryOperator::Less => "<",
        BinaryOperator::LessOrEqual => "<=",
        BinaryOperator::NotEqual => "!=",
        BinaryOperator::Equal => "==",
        BinaryOperator::GreaterOrEqual => ">=",
        BinaryOperator::Greater => ">",
        BinaryOperator::Is => "is",
        BinaryOperator::Isnt => "isnt",
        BinaryOperator::Add => "+",
        BinaryOperator::Subtract => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulus => "%",
        BinaryOperator::BitOr => "|",
        BinaryOperator::BitXor => "^",
        BinaryOperator::BitAnd => "&",
        BinaryOperator::ShiftLeft => "<<",
        BinaryOperator::ShiftRight => ">>",
        BinaryOperator::ShiftRightUnsigned => ">>>",
    }
}
