//! The list of what may differ, when, and why. It is the table of `oracle/README.md`: a test holds the two together.

use std::fmt;

use gristmill_classad::{Expr, NameError, ParseFault, Trouble};

use super::Found;
use super::generate::Question;
use super::library::{Answer, Seen};
use super::term::Term;

macro_rules! differences {
    ($($name:ident, $what:literal, $why:literal;)*) => {
        /// An intended difference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Difference {
            $($name,)*
        }

        impl Difference {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its row in the table.
            pub fn row(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("| ", $what, " | ", $why, " |"),)*
                }
            }
        }

        impl fmt::Display for Difference {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $what,)*
                })
            }
        }
    };
}

differences! {
    IntegerRange, "Whole numbers beyond 64 bits are refused when read",
        "the library reads 0; a limit that somebody wrote must not silently become 0";
    LeadingZero, "`-010` is refused when read, as `010` is",
        "the library refuses only the one without a sign, and another reader may take it for 8";
    NotText, "Escapes that do not make UTF-8 are refused when read",
        "text is UTF-8 here, bytes there; sizes and offsets count bytes in both";
    TwoPoints, "`a..b` is refused when read",
        "the library overlooks one of the points";
    EmptyName, "An empty name, `''`, is refused when read",
        "no attribute can have it; to the library it is a name that nobody has";
    OnlySemicolons, "`[;]` is an ad without attributes",
        "so it is with one attribute behind or before; the library wants one";
    BrokenText, "A character of which a function takes a part is left out, or U+FFFD",
        "text is UTF-8 here; the library returns the bytes";
    Cycle, "An attribute that refers to itself is `error`",
        "so says HTCondor's manual; the library says `undefined`, which would look like an attribute that is merely missing, and `x ?: 5` would hide it";
    Bounds, "What takes too many steps, goes too deep or becomes too long is `error`, as a whole",
        "whoever sends an ad must not decide how long it takes; the library allows 400 levels and ten million steps";
    Spans, "`relTime(\"1d\")` with a constant text is a relative time",
        "so say HTCondor's own tests; the package takes it for a real number, and spans in lists that `evalInEachContext` and `{ ... }.name` make too";
    TextAsTime, "`absTime` and `relTime` of a text that is computed read it, or are `error`",
        "the library returns the text itself, and 0";
    SecondBefore, "`absTime` may be a second before 1970, and its zone a second west of Greenwich",
        "the library takes -1 for a failure";
    ListsOfFunctions, "`=?=` of two lists is `error`, whoever made them",
        "lists that functions make are of a type of their own in the library";
    Outermost, "`.name`, `root`, `toplevel` and `parent` go no further than the own outermost ad, also in a match",
        "in the library there is an ad around both, in which `LEFT`, `ad` and others can be named; `MY` and `TARGET` are the same";
    Contexts, "`evalInEachContext` and `countMatches` look up their second argument where they stand; lists and ads among the values are copied",
        "in the library the look-up of the first one moves the place of the second, and lists and ads come out empty";
    SpanMatches, "`Requirements` that are a relative time match nothing",
        "`relTime(5) && true` is an error too; the package takes such a span for a number, and so for true";
    UnparsedLines, "`unparse` of a list or an ad gives one line",
        "the library breaks it into several";
    UnparsedQuotes, "`unparse` of a name in quotes finds it",
        "the library looks for a name with the quotes in it";
    FarYears, "Years beyond what 32 bits hold, and weekdays of years beyond five million, are computed",
        "the library overflows";
    FarSpans, "`absTime` of a span beyond 32 bits is that far from 1970",
        "the library has 32 bits of the seconds here; but every time must have a text that reads back";
    FormatFlags, "`formatTime` knows the fields of the C standard",
        "flags and widths, as in `%-d`, are those of one C library; here such a field is copied";
    Patterns, "Patterns are those of the crate `regex`: look-around and references are `error`, and so is a brace that begins no repetition; `$` is the very end",
        "in return matching takes linear time, whatever the pattern";
    RegexpMember, "`stringListRegexpMember` is there",
        "it is in the library's source, but not in the package";
    Absent, "`random` is `error`, and so are `userHome`, `userMap`, `unresolved` and functions of HTCondor's submit files",
        "the same ads must always match, or nobody could explain a decision; a stranger's ad must not look into the host";
    Clock, "`time()` and its kin give the time that the caller gave, and are `undefined` if he gave none",
        "the library looks at the clock";
}

/// What the library has, and we have not.
const ABSENT: [&str; 8] =
    ["random", "userhome", "usermap", "unresolved", "envv1tov2", "mergeenvironment", "argstolist", "listtoargs"];
const CLOCKS: [&str; 4] = ["time", "currenttime", "daytime", "timezoneoffset"];
/// These look at the clock if they have no arguments.
const CLOCKS_WITHOUT_ARGUMENTS: [&str; 2] = ["abstime", "formattime"];
const CONTEXTS: [&str; 2] = ["evalineachcontext", "countmatches"];
const REGULAR: [&str; 6] = ["regexp", "regexps", "regexpmember", "replace", "replaceall", "stringlistregexpmember"];
/// Names that mean the outermost ad, or something in the one that the library has around both.
const OUTERMOST: [&str; 13] = [
    "root",
    "toplevel",
    "parent",
    "left",
    "right",
    "ad",
    "lctx",
    "rctx",
    "symmetricmatch",
    "leftmatchesright",
    "rightmatchesleft",
    "leftrankvalue",
    "rightrankvalue",
];
/// The end of the last year that 32 bits hold, in seconds, and its like before 1970; a little less.
const FAR: u64 = 67_000_000_000_000_000;
/// The same of the last year whose days 32 bits can count.
const FAR_DAYS: u64 = 185_000_000_000_000;

impl Difference {
    /// The one that this is, if it is one.
    pub fn of(found: &Found<'_>) -> Option<Self> {
        match (&found.question, &found.ours.answer, &found.theirs) {
            (_, Answer::Refused, _) => Self::of_fault(found.ours.fault.as_ref()?),
            (Question::Match(left, right), ..) => {
                let is_span = |term: &Term| matches!(found.value(term), Some(Seen::RelTime(_)));
                if is_span(left) || is_span(right) {
                    return Some(Self::SpanMatches);
                }
                // Matches have no clock here.
                (asks_for_time(left) || asks_for_time(right)).then_some(Self::Clock)
            }
            (Question::Both(term) | Question::Swapped(term) | Question::Alone(term), Answer::Value(ours), theirs) => {
                match found.ours.trouble {
                    Some(Trouble::Cycle) => {
                        let Answer::Value(theirs) = theirs else { return None };
                        return is_cycle(ours, theirs).then_some(Self::Cycle);
                    }
                    Some(_) => return (*ours == Seen::Error).then_some(Self::Bounds),
                    None => {}
                }
                match theirs {
                    Answer::Unreadable => Some(Self::BrokenText),
                    Answer::Unsteady => {
                        term.to_string().to_ascii_lowercase().contains("random(").then_some(Self::Absent)
                    }
                    Answer::Value(theirs) => Self::of_values(found, term.bare(), ours, theirs),
                    Answer::Refused if is_ad_of_semicolons(&term.to_string()) => Some(Self::OnlySemicolons),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What we refuse and the library does not.
    fn of_fault(fault: &ParseFault) -> Option<Self> {
        match fault {
            ParseFault::IntegerRange { .. } => Some(Self::IntegerRange),
            ParseFault::LeadingZero => Some(Self::LeadingZero),
            ParseFault::NotText => Some(Self::NotText),
            ParseFault::Name(NameError::Empty) => Some(Self::EmptyName),
            ParseFault::Expected { expected: "the name of an attribute after the point", found }
                if found == "." || found.starts_with("the number 0") =>
            {
                Some(Self::TwoPoints)
            }
            _ => None,
        }
    }

    fn of_values(found: &Found<'_>, term: &Term, ours: &Seen, theirs: &Seen) -> Option<Self> {
        // The place that is moved stays so for what follows.
        if CONTEXTS.iter().any(|name| term.to_string().to_ascii_lowercase().contains(&format!("{name}("))) {
            return Some(Self::Contexts);
        }
        if let Some((function, arguments)) = term.call() {
            return Self::of_call(found, &function, arguments, ours, theirs);
        }
        match term {
            Term::Chain(terms, operators) => {
                let are_lists = terms.iter().all(|term| matches!(found.value(term), Some(Seen::List(_))));
                let is_identity = matches!(operators.as_slice(), ["is" | "isnt" | "=?=" | "=!="]);
                let differ = *ours == Seen::Error && matches!(theirs, Seen::Boolean(_));
                (are_lists && is_identity && differ).then_some(Self::ListsOfFunctions)
            }
            Term::Text(text) if let Some((function, arguments)) = call_in(text) => {
                Self::of_call(found, &function, &arguments, ours, theirs)
            }
            Term::Name(text) | Term::Text(text) => is_outermost(text).then_some(Self::Outermost),
            Term::Select(..) if in_lists(ours, theirs, is_span) => Some(Self::Spans),
            Term::Select(of, _) => is_outermost(&of.to_string()).then_some(Self::Outermost),
            _ => None,
        }
    }

    fn of_call(found: &Found<'_>, function: &str, arguments: &[Term], ours: &Seen, theirs: &Seen) -> Option<Self> {
        let values: Vec<Option<Seen>> = arguments.iter().map(|argument| found.value(argument)).collect();
        let is_text = |number: usize| matches!(values.get(number), Some(Some(Seen::Text(_))));
        let far = if function == "formattime" { FAR_DAYS } else { FAR };
        let is_far = |value: &Option<Seen>| matches!(value, Some(Seen::AbsTime(seconds, _) | Seen::Integer(seconds)) if seconds.unsigned_abs() > far);
        match function {
            _ if ABSENT.contains(&function) && *ours == Seen::Error => Some(Self::Absent),
            _ if CLOCKS.contains(&function) && arguments.is_empty() => Some(Self::Clock),
            _ if CLOCKS_WITHOUT_ARGUMENTS.contains(&function) && arguments.is_empty() => Some(Self::Clock),
            "stringlistregexpmember" if *theirs == Seen::Error => Some(Self::RegexpMember),
            _ if REGULAR.contains(&function) => match values.first() {
                Some(Some(Seen::Text(pattern))) => {
                    let is_refused = *ours == Seen::Error && regex::bytes::Regex::new(pattern).is_err();
                    let is_end = pattern.contains('$') && values[1..].iter().flatten().any(ends_in_line);
                    (is_refused || is_end).then_some(Self::Patterns)
                }
                _ => None,
            },
            "reltime" if is_span(ours, theirs) => Some(Self::Spans),
            "reltime" if is_text(0) && *theirs == Seen::RelTime(0) => Some(Self::TextAsTime),
            "abstime" if is_text(0) && values.first() == Some(&Some(theirs.clone())) => Some(Self::TextAsTime),
            "abstime" if matches!(ours, Seen::AbsTime(-1, _) | Seen::AbsTime(_, -1)) && *theirs == Seen::Error => {
                Some(Self::SecondBefore)
            }
            "abstime" => match (ours, values.first()) {
                (Seen::AbsTime(seconds, _), Some(Some(Seen::RelTime(_)))) if i32::try_from(*seconds).is_err() => {
                    Some(Self::FarSpans)
                }
                _ => None,
            },
            "unparse" => match (arguments, ours, theirs) {
                ([Term::Name(name) | Term::Text(name)], _, Seen::Text(theirs))
                    if name.starts_with('\'') && theirs.is_empty() =>
                {
                    Some(Self::UnparsedQuotes)
                }
                (_, Seen::Text(ours), Seen::Text(theirs)) if without_spaces(ours) == without_spaces(theirs) => {
                    Some(Self::UnparsedLines)
                }
                _ => None,
            },
            // What is refused when read is refused in a text too.
            "eval" if *ours == Seen::Error => {
                let text = Term::Call("string".to_owned(), arguments.to_vec());
                match found.value(&text) {
                    Some(Seen::Text(text)) => Self::of_fault(&Expr::parse(&text).err()?.fault),
                    _ => None,
                }
            }
            "formattime" if matches!(values.get(1), Some(Some(Seen::Text(format))) if has_flags(format)) => {
                Some(Self::FormatFlags)
            }
            _ if values.iter().any(is_far) => Some(Self::FarYears),
            _ => None,
        }
    }
}

/// The call that a text is, with the function's name in lower case, if it is one.
fn call_in(text: &str) -> Option<(String, Vec<Term>)> {
    let (name, inner) = text.strip_suffix(')')?.split_once('(')?;
    if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (mut arguments, mut start, mut open, mut quoted, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' if open == 0 => return None,
            ')' | ']' | '}' => open -= 1,
            ',' if open == 0 => {
                arguments.push(Term::text(inner[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = inner[start..].trim();
    if !last.is_empty() {
        arguments.push(Term::text(last));
    }
    Some((name.to_ascii_lowercase(), arguments))
}

/// Whether a call in it looks at the clock.
fn asks_for_time(term: &Term) -> bool {
    let text = term.to_string().to_ascii_lowercase();
    CLOCKS.iter().chain(&CLOCKS_WITHOUT_ARGUMENTS).any(|name| text.contains(&format!("{name}()")))
}

/// Whether a name, or a path, leads to the outermost ad.
fn is_outermost(text: &str) -> bool {
    let folded = text.to_ascii_lowercase();
    folded.starts_with('.') || folded.split('.').any(|part| OUTERMOST.contains(&part))
}

/// Whether it is text with the end of a line at its end, or a list with such.
fn ends_in_line(value: &Seen) -> bool {
    match value {
        Seen::Text(text) => text.ends_with('\n'),
        Seen::List(elements) => elements.iter().any(ends_in_line),
        _ => false,
    }
}

/// Whether a field of a format has a flag, a width or a modifier.
fn has_flags(format: &str) -> bool {
    format.split('%').skip(1).any(|field| {
        field.starts_with(['-', '_', '^', '#', '+', 'E', 'O']) || field.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// An ad with nothing but semicolons in it, and perhaps something around.
fn is_ad_of_semicolons(text: &str) -> bool {
    text.split('[').skip(1).any(|inner| {
        let inner = inner.trim_start_matches([';', ' ']);
        inner.starts_with(']')
    })
}

/// An error, or a list with errors in it.
fn is_cycle(ours: &Seen, theirs: &Seen) -> bool {
    *ours == Seen::Error || in_lists(ours, theirs, is_cycle)
}

/// A span that the package takes for a number, or a list with such.
fn is_span(ours: &Seen, theirs: &Seen) -> bool {
    matches!((ours, theirs), (Seen::RelTime(ours), Seen::Real(theirs)) if ours == theirs)
        || in_lists(ours, theirs, is_span)
}

/// Whether two lists have the same length, and elements that are equal or differ in that way.
fn in_lists(ours: &Seen, theirs: &Seen, differ: fn(&Seen, &Seen) -> bool) -> bool {
    match (ours, theirs) {
        (Seen::List(ours), Seen::List(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).all(|(ours, theirs)| ours == theirs || differ(ours, theirs))
        }
        _ => false,
    }
}

/// Without the spaces and ends of lines of a layout.
fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}
