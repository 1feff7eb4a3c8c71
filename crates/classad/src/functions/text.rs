//! Functions of text, regular expressions among them.

use std::cmp::Ordering;

use regex::bytes::{Regex, RegexBuilder};

use super::{arguments, some_arguments, string_in, text_of};
use crate::bounds::{PATTERN_BYTES_MAX, PATTERN_CLASSES, PATTERN_STEPS, PATTERN_TABLES_MAX, STRING_BYTES_MAX};
use crate::eval::{Evaluator, Place, Val};
use crate::expr::{Call, Expr, Node};
use crate::value::Value;

/// All arguments, one behind the other.
pub(super) fn concatenate(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let mut joined = String::new();
    for argument in &call.arguments {
        let value = evaluator.eval(argument, place);
        match text_of(evaluator, &value) {
            Ok(text) => joined.push_str(&text),
            Err(value) => return value,
        }
        if joined.len() > STRING_BYTES_MAX {
            break;
        }
    }
    evaluator.made_string(&joined)
}

/// All arguments but the first, with the first between them; or the elements of a list that is the second, or the only one.
pub(super) fn join(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let empty = Expr(Node::Literal(Value::string("")));
    let mut parts: Vec<&Expr> = call.arguments.iter().collect();
    let list = match call.arguments.last() {
        Some(last) if call.arguments.len() <= 2 => match evaluator.eval(last, place) {
            Val::List(elements, _) => Some(elements),
            _ => None,
        },
        _ => None,
    };
    if let Some(elements) = &list {
        let separator = if call.arguments.len() == 2 { &call.arguments[0] } else { &empty };
        parts = std::iter::once(separator).chain(elements.iter()).collect();
    }
    let (mut joined, mut separator, mut undefined, mut defined) = (String::new(), None, false, false);
    for (number, part) in parts.into_iter().enumerate() {
        let value = evaluator.eval(part, place);
        match text_of(evaluator, &value) {
            Ok(text) if number == 0 => separator = Some(text),
            Ok(text) => {
                // The library puts no separator behind nothing: empty texts at the beginning leave no trace.
                if !joined.is_empty() {
                    joined.push_str(separator.as_deref().unwrap_or(""));
                }
                defined = true;
                joined.push_str(&text);
            }
            Err(value) if value.is_undefined() => undefined = true,
            Err(value) => return value,
        }
        if joined.len() > STRING_BYTES_MAX {
            break;
        }
    }
    if undefined && !defined { Val::UNDEFINED } else { evaluator.made_string(&joined) }
}

pub(super) fn change_case(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    change: fn(&str) -> String,
) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    match text_of(evaluator, &value) {
        Ok(text) => evaluator.made_string(&change(&text)),
        Err(value) => value,
    }
}

/// From an offset in bytes, so many of them: negative ones count from the end. A character that is cut is left out.
pub(super) fn substring(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some(values): Option<[Option<Val>; 3]> = some_arguments(evaluator, call, place, 2) else { return Val::ERROR };
    if values.iter().flatten().any(Val::is_undefined) {
        return Val::UNDEFINED;
    }
    let integer = |value: &Val| match value {
        // The library takes 32 bits.
        Val::Plain(Value::Integer(value)) => Some(i64::from(*value as i32)),
        _ => None,
    };
    let [Some(text), Some(offset), length] = &values else { return Val::ERROR };
    let (Some(text), Some(offset)) = (string_in(text), integer(offset)) else { return Val::ERROR };
    let given = length.as_ref().map(integer);
    if given == Some(None) {
        return Val::ERROR;
    }
    let size = text.len() as i64;
    let offset = if offset < 0 { (size + offset).max(0) } else { offset.min(size) };
    let rest = size - offset;
    let length = match given.flatten() {
        None => rest,
        Some(length @ ..0) => (rest + length).max(0),
        Some(length) => length.min(rest),
    };
    let (mut start, mut end) = (offset as usize, (offset + length) as usize);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    evaluator.made_string(text.get(start..end).unwrap_or(""))
}

pub(super) fn compare(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
    compare: fn(&str, &str) -> Ordering,
) -> Val {
    let Some([left, right]) = arguments(evaluator, call, place) else { return Val::ERROR };
    if left.is_undefined() || right.is_undefined() {
        return Val::UNDEFINED;
    }
    match (text_of(evaluator, &left), text_of(evaluator, &right)) {
        (Ok(left), Ok(right)) => Val::int(compare(&left, &right) as i64),
        _ => Val::ERROR,
    }
}

/// The parts before and behind the first `@`; a text without one is the first part of a user's name, the second of a slot's.
pub(super) fn split_at_sign(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, is_user: bool) -> Val {
    let Some([value]) = arguments(evaluator, call, place) else { return Val::ERROR };
    let Some(text) = string_in(&value) else { return Val::ERROR };
    let (first, second) = text.split_once('@').unwrap_or(if is_user { (text, "") } else { ("", text) });
    evaluator.made_list([first, second].map(|part| Expr(Node::Literal(Value::string(part)))).into())
}

/// The parts between separators. Separators that are white space, alone or around another, count as one; the same other one twice
/// has an empty part between.
pub(super) fn split(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let Some([Some(value), separators]) = some_arguments(evaluator, call, place, 1) else { return Val::ERROR };
    let separators = match &separators {
        None => Some(", \t"),
        Some(separators) => string_in(separators),
    };
    let (Some(text), Some(separators)) = (string_in(&value), separators) else { return Val::ERROR };
    evaluator.charge_bytes(text.len() * (1 + separators.len()));
    let (mut parts, mut start, mut last) = (Vec::new(), 0, None);
    let part = |text: &str| Expr(Node::Literal(Value::string(text)));
    for (at, separator) in text.match_indices(|c| separators.contains(c)) {
        if at > start {
            parts.push(part(&text[start..at]));
        } else if last == Some(separator) {
            parts.push(part(""));
        }
        if !separator.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']).is_empty() {
            last = Some(separator);
        }
        start = at + separator.len();
    }
    if start < text.len() {
        parts.push(part(&text[start..]));
    }
    evaluator.made_list(parts)
}

/// How a pattern is read and applied: the letters of the last argument. Others are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    ignore_case: bool,
    multi_line: bool,
    dot_is_all: bool,
    ignore_blank: bool,
    /// The result is all of the text, not only what replaces the match.
    keep_rest: bool,
    /// All matches are replaced, not only the first.
    all: bool,
}

impl Options {
    pub(super) fn parse(letters: &str) -> Self {
        let has = |letter| letters.contains(letter);
        Self {
            ignore_case: has('i'),
            multi_line: has('m'),
            dot_is_all: has('s'),
            ignore_blank: has('x'),
            keep_rest: has('f'),
            all: has('g'),
        }
    }
}

/// A compiled pattern.
///
/// The engine takes time linear in the text. What only backtracking can do, look-around and references back, it refuses, and the
/// call is `error`. It works on bytes, as the library does.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    bytes_per_step: usize,
}

impl Pattern {
    /// Compiles a pattern, or takes it from the call if the arguments that make it up, at `places`, are constants.
    pub(super) fn get(
        evaluator: &mut Evaluator<'_>,
        call: &Call,
        places: &[usize],
        pattern: &str,
        options: Options,
    ) -> Option<Self> {
        // The same whether it has to be compiled or not: what an expression costs must not depend on what came before.
        if !evaluator.charge(PATTERN_STEPS + pattern.len()) {
            return None;
        }
        let fixed = |place: &usize| call.arguments.get(*place).is_none_or(|argument| argument.as_constant().is_some());
        if places.iter().all(fixed) {
            return call.pattern.get_or_init(|| Self::compile(pattern, options)).clone();
        }
        Self::compile(pattern, options)
    }

    fn compile(pattern: &str, options: Options) -> Option<Self> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return None;
        }
        PATTERN_CLASSES.into_iter().find_map(|(size, bytes_per_step)| {
            let regex = RegexBuilder::new(pattern)
                .unicode(false)
                .case_insensitive(options.ignore_case)
                .multi_line(options.multi_line)
                .dot_matches_new_line(options.dot_is_all)
                .ignore_whitespace(options.ignore_blank)
                .size_limit(size)
                .dfa_size_limit(PATTERN_TABLES_MAX)
                .build();
            regex.ok().map(|regex| Self { regex, bytes_per_step })
        })
    }

    fn pay(&self, evaluator: &mut Evaluator<'_>, bytes: usize) -> bool {
        evaluator.charge(1 + bytes / self.bytes_per_step)
    }

    pub(super) fn is_match(&self, evaluator: &mut Evaluator<'_>, text: &str) -> bool {
        self.pay(evaluator, text.len()) && self.regex.is_match(text.as_bytes())
    }
}

/// The arguments of a function of patterns: errors first, then what is undefined.
fn pattern_arguments<const N: usize>(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    place: Place<'_>,
) -> Result<[Option<Val>; N], Val> {
    let values: [Option<Val>; N] = some_arguments(evaluator, call, place, N - 1).ok_or(Val::ERROR)?;
    if values.iter().flatten().any(Val::is_error) {
        return Err(Val::ERROR);
    }
    if values.iter().flatten().any(Val::is_undefined) {
        return Err(Val::UNDEFINED);
    }
    Ok(values)
}

/// The options of a call, or nothing if they are no text.
fn options_of(value: Option<&Val>, more: &str) -> Option<Options> {
    let letters = match value {
        None => "",
        Some(value) => string_in(value)?,
    };
    Some(Options::parse(&format!("{letters}{more}")))
}

/// Whether a pattern matches anywhere in a text.
pub(super) fn matches(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let [pattern, text, options] = match pattern_arguments(evaluator, call, place) {
        Ok(values) => values,
        Err(value) => return value,
    };
    let Some(options) = options_of(options.as_ref(), "") else { return Val::ERROR };
    let (Some(pattern), Some(text)) = (pattern.as_ref().and_then(string_in), text.as_ref().and_then(string_in)) else {
        return Val::ERROR;
    };
    match Pattern::get(evaluator, call, &[0, 2], pattern, options) {
        Some(pattern) => Val::bool(pattern.is_match(evaluator, text)),
        None => Val::ERROR,
    }
}

/// Whether a pattern matches an element of a list.
pub(super) fn matches_member(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>) -> Val {
    let [pattern, list, options] = match pattern_arguments(evaluator, call, place) {
        Ok(values) => values,
        Err(value) => return value,
    };
    let Some(options) = options_of(options.as_ref(), "") else { return Val::ERROR };
    let (Some(pattern), Some(Val::List(elements, _))) = (pattern.as_ref().and_then(string_in), list) else {
        return Val::ERROR;
    };
    let compiled = Pattern::get(evaluator, call, &[0, 2], pattern, options);
    let mut unknown = false;
    for element in elements.iter() {
        let element = evaluator.eval(element, place);
        match string_in(&element) {
            Some(text) => match &compiled {
                Some(pattern) if pattern.is_match(evaluator, text) => return Val::bool(true),
                // A pattern that is none matches nothing.
                _ => {}
            },
            None if element.is_undefined() => unknown = true,
            None => return Val::ERROR,
        }
    }
    if unknown { Val::UNDEFINED } else { Val::bool(false) }
}

/// What replaces the match of a pattern, or the text with it in place. `\1` and so on stand for groups.
pub(super) fn substitute(evaluator: &mut Evaluator<'_>, call: &Call, place: Place<'_>, more: &str) -> Val {
    let [pattern, text, replacement, options] = match pattern_arguments(evaluator, call, place) {
        Ok(values) => values,
        Err(value) => return value,
    };
    let Some(options) = options_of(options.as_ref(), more) else { return Val::ERROR };
    let texts = [&pattern, &text, &replacement].map(|value| value.as_ref().and_then(string_in));
    let [Some(pattern), Some(text), Some(replacement)] = texts else { return Val::ERROR };
    let Some(pattern) = Pattern::get(evaluator, call, &[0, 3], pattern, options) else { return Val::ERROR };
    match replaced(evaluator, &pattern, text.as_bytes(), replacement.as_bytes(), options) {
        Some(bytes) => evaluator.made_string(&String::from_utf8_lossy(&bytes)),
        None => Val::ERROR,
    }
}

fn replaced(
    evaluator: &mut Evaluator<'_>,
    pattern: &Pattern,
    text: &[u8],
    replacement: &[u8],
    options: Options,
) -> Option<Vec<u8>> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    loop {
        if !pattern.pay(evaluator, text.len() - at) || bytes.len() > STRING_BYTES_MAX {
            // What is over the bound is seen when the string is made.
            return Some(bytes);
        }
        let Some(groups) = pattern.regex.captures_at(text, at) else { break };
        let found = groups.get(0)?;
        if options.keep_rest {
            bytes.extend_from_slice(&text[at..found.start()]);
        }
        // Groups behind the last one that takes part do not exist.
        let last = (0..groups.len()).rev().find(|number| groups.get(*number).is_some()).unwrap_or(0);
        expand(&mut bytes, replacement, |number| {
            (number <= last).then(|| groups.get(number).map_or(&[][..], |group| group.as_bytes()))
        })?;
        at = found.end();
        if found.is_empty() {
            if options.all && at >= text.len() {
                // The library steps over the end here, and then finds that it is nowhere.
                return None;
            }
            if options.all {
                bytes.push(text[at]);
                at += 1;
            }
        }
        if !options.all {
            break;
        }
    }
    if options.keep_rest {
        bytes.extend_from_slice(&text[at..]);
    }
    Some(bytes)
}

/// Writes a replacement with its groups filled in; `None` if one does not exist.
fn expand<'g>(bytes: &mut Vec<u8>, replacement: &[u8], group: impl Fn(usize) -> Option<&'g [u8]>) -> Option<()> {
    let mut rest = replacement.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match rest.peek() {
            Some(digit @ b'0'..=b'9') if byte == b'\\' => {
                bytes.extend_from_slice(group(usize::from(digit - b'0'))?);
                rest.next();
            }
            _ => bytes.push(byte),
        }
    }
    Some(())
}
