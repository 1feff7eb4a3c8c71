//! Random expressions, and the random ads that they are about.

use gristmill_classad::Expr;

use super::term::Term;

/// Attributes that every own ad has.
const MINE: [(&str, &str); 30] = [
    ("i", "5"),
    ("j", "-7"),
    ("zero", "0"),
    ("r", "2.5"),
    ("s", "\"Hello\""),
    ("v", "\"10.2.1\""),
    ("t", "true"),
    ("f", "false"),
    ("u", "undefined"),
    ("e", "error"),
    ("items", "\"red, green,blue\""),
    ("l", "{ 1, 2.5, \"x\", i + 1, undefined }"),
    ("nums", "{ 3, 1, 2 }"),
    ("words", "{ \"ab\", \"b\", \"cab\" }"),
    ("n", "[ i = 50; deep = [ k = i; up = parent.i ]; here = m; mine = MY.i ]"),
    ("ads", "{ [ c = 1; d = i ], [ c = 7 ], n }"),
    ("at", "absTime(\"2024-02-29T12:34:56+01:00\")"),
    ("rt", "relTime(93784)"),
    ("expr", "i * 2 + r"),
    ("cond", "TARGET.m > i"),
    ("text", "\"i + r\""),
    ("Memory", "2048"),
    ("Shared", "\"mine\""),
    ("'odd name'", "3"),
    ("loop", "pool + 1"),
    ("pool", "loop"),
    ("big", "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""),
    ("bigger", "strcat(big, big, big, big, big, big, big, big, big, big, big, big)"),
    ("huge", "strcat(bigger, bigger, bigger, bigger, bigger, bigger, bigger, bigger, bigger, bigger, bigger, bigger)"),
    ("endless", "strcat(huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge)"),
];
/// Those of them that end an evaluation, or are long: a few are enough.
const SELDOM: [&str; 6] = ["loop", "pool", "big", "bigger", "huge", "endless"];
/// Attributes that every other ad has.
const THEIRS: [(&str, &str); 13] = [
    ("m", "7"),
    ("w", "\"world\""),
    ("Memory", "4096"),
    ("Cpus", "16"),
    ("Arch", "\"X86_64\""),
    ("Shared", "\"theirs\""),
    ("back", "TARGET.i"),
    ("own", "MY.m + Cpus"),
    ("load", "0.25"),
    ("gpus", "{ [ mem = 8; name = \"a\" ], [ mem = 24; name = \"b\" ] }"),
    ("tl", "{ m, m + 1 }"),
    ("HasX", "true"),
    ("odd", "['odd name' = 1; q = TARGET.i].'odd name'"),
];
/// Random attributes of each ad.
const RANDOM_MINE: [&str; 6] = ["a0", "a1", "a2", "a3", "a4", "a5"];
const RANDOM_THEIRS: [&str; 4] = ["b0", "b1", "b2", "b3"];
const PATHS: [&str; 27] = [
    "n.i",
    "n.deep.k",
    "n.deep.up",
    "n.here",
    "n.mine",
    "ads.c",
    "ads.d",
    "l[1]",
    "l[3]",
    "nums[0]",
    "n[\"i\"]",
    "gpus.mem",
    "TARGET.gpus[1].mem",
    "ads[0].c",
    "ads[2].deep",
    "tl[0]",
    "n.nope",
    "l.i",
    "nums.x",
    "TARGET.back",
    "n.deep",
    "MY.n.i",
    "MY",
    "TARGET",
    "self.i",
    "other.m",
    "n.deep.nope",
];

const STRINGS: [&str; 38] = [
    "",
    "a",
    "A",
    "abc",
    "ABC",
    "Hello",
    "hello",
    "world",
    "x y",
    "a,b,c",
    "a, b ,c",
    "1,2,3",
    "1.5, 2",
    "3",
    "-2.5e1x",
    "true",
    "FALSE",
    "1.2.3",
    "1.10",
    "8.9.12",
    "user@host",
    "slot1@h",
    "é",
    "tab\\there",
    "q\\\"q",
    "back\\\\slash",
    "1 + 2",
    "i + 1",
    "TARGET.m",
    "{ 1,",
    "red",
    "aab",
    "0x1F",
    " 7",
    "inf",
    "a;b;c",
    "2024-02-29T01:02:03",
    "1+02:03:04",
];
const PIECES: [&str; 34] = [
    "a",
    "b",
    "Z",
    "q",
    "0",
    "7",
    "19",
    " ",
    ",",
    ";",
    ".",
    "-",
    "+",
    "@",
    "%",
    "$",
    "é",
    "∀",
    "\\n",
    "\\t",
    "\\r",
    "\\\\",
    "\\\"",
    "\\'",
    "'",
    "\\101",
    "\\7",
    "\\12x",
    "\\303\\251",
    "\\b",
    "\\f",
    "//",
    "/*",
    "\\1",
];
const TIMES: [&str; 13] = [
    "absTime(\"2024-02-29T12:34:56Z\")",
    "absTime(\"1999-12-31T23:59:59-11:30\")",
    "absTime(\"20240229T123456\")",
    "absTime(1700000000, 3600)",
    "absTime(0)",
    "absTime(-86400, -3600)",
    "relTime(93784)",
    "relTime(0.25)",
    "relTime(-3.5)",
    "relTime(3e9)",
    "relTime(-1e17)",
    "relTime(1e300)",
    "at - absTime(0)",
];
const PATTERNS: [&str; 18] = [
    "a",
    "^a",
    "b$",
    "a.c",
    "[a-c]+",
    "(a)(b)?",
    "(x)|(b)",
    "l+",
    "o.*",
    "h(.)l",
    "[",
    "(",
    "a{2}",
    "\\\\d+",
    "^$",
    ".",
    "x*y",
    "(?i)HELLO",
];
const OPTIONS: [&str; 10] = ["", "i", "m", "s", "x", "f", "g", "fg", "ig", "z"];
const DELIMITERS: [&str; 7] = [",", ";", " ", ", ", "", ".", "-"];
const COMPARISONS: [&str; 9] = ["<", "<=", "==", "!=", ">=", ">", "is", "isnt", "=?="];
const FORMATS: [&str; 12] = [
    "%Y-%m-%d",
    "%H:%M:%S",
    "%a %A %b %B",
    "%c",
    "%j %U %W %V %G %g %u %w",
    "%I %p %P %l %k %e",
    "%y %C %D %F %R %T %r %x %X",
    "%%",
    "%Q",
    "plain",
    "%s",
    "%-d",
];
const VERSIONS: [&str; 11] =
    ["1.2", "1.10", "1.02", "8.9.12", "8.10", "1.2a", "", "v1", "10", "010", "$CondorVersion: 8.9 $"];
const SUBSTITUTES: [&str; 4] = ["<\\\\0>", "\\\\1", "-", "\\\\2x"];
const FIELDS: [&str; 7] = ["i", "c", "k", "mem", "q", "nope", "Memory"];
const BINARY: [&str; 27] = [
    "+", "-", "*", "/", "%", "+", "-", "*", "<", "<=", ">", ">=", "==", "!=", "=?=", "=!=", "is", "isnt", "&&", "||",
    "&", "|", "^", "<<", ">>", ">>>", "==",
];
const UNARY: [&str; 5] = ["-", "!", "~", "+", "- "];
/// What the library has and we have not, and what asks for the time.
const ABSENT: [&str; 12] = [
    "random()",
    "random(10)",
    "time()",
    "currentTime()",
    "dayTime()",
    "absTime()",
    "formatTime()",
    "userHome(\"root\")",
    "unresolved(nope + 1)",
    "envV1ToV2(\"a=b\")",
    "argsToList(\"a b\")",
    "stringListRegexpMember(\"^a\", \"a, b\")",
];
/// Numbers and text that are written in ways of their own.
const ODD: [&str; 19] = [
    "010",
    "0x10",
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "\"\\377\"",
    "\"a\\0b\"",
    "\"\\q\"",
    "1.",
    "absTime(\"soon\")",
    "relTime(\"1d\")",
    "relTime(\"soon\")",
    ".i",
    "parent",
    "root",
    "toplevel.i",
    "[ ; ]",
    "-010",
    "''",
];

/// What an argument of a function should be.
#[derive(Clone, Copy)]
enum Kind {
    Any,
    Text,
    Number,
    List,
    Nested,
    Context,
    Pattern,
    Option,
    Delimiter,
    Comparison,
    Format,
    Version,
    Time,
    Substitute,
    Name,
}

use Kind::{
    Any, Comparison, Context, Delimiter, Format, List, Name, Nested, Number, Option as Options, Pattern, Substitute,
    Text, Time, Version,
};

/// Functions with their arguments, more than once if there are several ways to call them.
const FUNCTIONS: [(&[&str], &[Kind]); 58] = [
    (
        &[
            "isUndefined",
            "isError",
            "isBoolean",
            "isInteger",
            "isReal",
            "isString",
            "isList",
            "isClassAd",
            "isAbsTime",
            "isRelTime",
        ],
        &[Any],
    ),
    (&["member", "identicalMember"], &[Any, List]),
    (&["size"], &[Any]),
    (&["size"], &[List]),
    (&["sum", "avg", "min", "max"], &[List]),
    (&["anyCompare", "allCompare"], &[Comparison, List, Any]),
    (&["strcat"], &[Any, Any, Any]),
    (&["strcat"], &[Text, Any]),
    (&["join"], &[Delimiter, List]),
    (&["join"], &[Delimiter, Any, Any]),
    (&["join"], &[List]),
    (&["toUpper", "toLower"], &[Any]),
    (&["substr"], &[Text, Any]),
    (&["substr"], &[Text, Number, Number]),
    (&["strcmp", "stricmp"], &[Text, Text]),
    (&["versioncmp", "versionLE", "versionLT", "versionGE", "versionGT", "versionEQ"], &[Version, Version]),
    (&["version_in_range"], &[Version, Version, Version]),
    (&["regexp"], &[Pattern, Text]),
    (&["regexp"], &[Pattern, Text, Options]),
    (&["regexpMember"], &[Pattern, List]),
    (&["regexpMember"], &[Pattern, List, Options]),
    (&["regexps", "replace", "replaceAll"], &[Pattern, Text, Substitute]),
    (&["regexps", "replace", "replaceAll"], &[Pattern, Text, Substitute, Options]),
    (&["int", "real", "string", "bool"], &[Any]),
    (&["floor", "ceil", "ceiling", "round"], &[Any]),
    (&["floor", "ceil", "ceiling", "round"], &[Number]),
    (&["pow"], &[Number, Number]),
    (&["pow"], &[Any, Any]),
    (&["quantize"], &[Any, Any]),
    (&["quantize"], &[Number, List]),
    (&["ifThenElse"], &[Any, Any, Any]),
    (&["interval"], &[Any]),
    (&["eval"], &[Text]),
    (&["eval"], &[Any]),
    (&["unparse"], &[Name]),
    (&["debug"], &[Any]),
    (&["split"], &[Text]),
    (&["split"], &[Text, Delimiter]),
    (&["splitUserName", "splitSlotName"], &[Text]),
    (&["stringListSize", "stringListSum", "stringListAvg", "stringListMin", "stringListMax"], &[Text]),
    (&["stringListSize", "stringListSum", "stringListAvg", "stringListMin", "stringListMax"], &[Text, Delimiter]),
    (&["stringListMember", "stringListIMember"], &[Text, Text]),
    (&["stringListSubsetMatch", "stringListISubsetMatch"], &[Text, Text]),
    (
        &["stringListMember", "stringListIMember", "stringListSubsetMatch", "stringListISubsetMatch"],
        &[Text, Text, Delimiter],
    ),
    (&["stringListsIntersect"], &[Text, Text]),
    (&["stringListsIntersect"], &[Text, Text, Delimiter]),
    (&["evalInEachContext", "countMatches"], &[Context, Nested]),
    (&["absTime"], &[Number, Number]),
    (&["absTime", "relTime"], &[Time]),
    (&["splitTime"], &[Time]),
    (&["formatTime"], &[Time, Format]),
    (&["formatTime"], &[Time]),
    (
        &[
            "getYear",
            "getMonth",
            "getDayOfYear",
            "getDayOfMonth",
            "getDayOfWeek",
            "getDays",
            "getHours",
            "getMinutes",
            "getSeconds",
        ],
        &[Time],
    ),
    (&["isReal", "isAbsTime", "isRelTime", "isError"], &[Time]),
    (&["string", "strcat", "unparse"], &[Time]),
    (&["member"], &[Text, List]),
    (&["sum", "avg", "min", "max", "join"], &[List]),
    (&["nosuch"], &[Any]),
];

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as usize) as i64
    }

    /// So many times of a thousand.
    fn chance(&mut self, permille: usize) -> bool {
        self.below(1_000) < permille
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Two ads, each a list of attributes.
pub struct Ads {
    pub my: Vec<(String, Term)>,
    pub target: Vec<(String, Term)>,
}

impl Ads {
    /// What a name stands for in the own ad, or in the other.
    pub fn definition(&self, name: &str) -> Option<Term> {
        let found = self.my.iter().chain(&self.target).find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, term)| term.clone())
    }
}

/// What is asked about two ads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The value of an expression in the own ad.
    Both(Term),
    /// Likewise in the other one.
    Swapped(Term),
    /// Likewise in the own one, without another.
    Alone(Term),
    /// Whether they match with these requirements.
    Match(Term, Term),
}

pub struct Generator {
    pub random: Random,
    /// Attributes from this number on may be named: an attribute of an ad names later ones only, mostly.
    first: usize,
    /// Whether there is what is known to differ: where it could not be told from the rest there is not.
    odd: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), first: 0, odd: true }
    }

    pub fn ads(&mut self) -> Ads {
        let fixed = |attributes: &[(&str, &str)]| -> Vec<(String, Term)> {
            attributes.iter().map(|(name, text)| ((*name).to_owned(), Term::text(text))).collect()
        };
        let (mut my, mut target) = (fixed(&MINE), fixed(&THEIRS));
        self.odd = false;
        for (ad, names) in [(&mut my, &RANDOM_MINE[..]), (&mut target, &RANDOM_THEIRS[..])] {
            for (number, name) in names.iter().enumerate() {
                self.first = if self.random.chance(50) { 0 } else { number + 1 };
                let depth = self.random.below(4);
                // What is refused has no place in an ad.
                let term = Some(self.term(depth)).filter(|term| Expr::parse(&term.to_string()).is_ok());
                ad.push(((*name).to_owned(), term.unwrap_or_else(|| Term::text("1"))));
            }
        }
        (self.first, self.odd) = (0, true);
        Ads { my, target }
    }

    pub fn question(&mut self) -> Question {
        match self.random.below(100) {
            0..10 => Question::Match(self.requirements(2), self.requirements(2)),
            10..15 => Question::Alone(self.expression()),
            15..22 => Question::Swapped(self.expression()),
            22..27 => Question::Both(self.mutated()),
            _ => Question::Both(self.expression()),
        }
    }

    /// An expression of at most so many bytes, lest the deep ones take all the time.
    fn expression(&mut self) -> Term {
        const BYTES_MAX: usize = 300;
        loop {
            let depth = self.random.below(5);
            let term = self.term(depth);
            if term.to_string().len() <= BYTES_MAX {
                return term;
            }
        }
    }

    /// The text of an expression with a few characters changed: often none any more.
    fn mutated(&mut self) -> Term {
        const WORDS: [&str; 26] = [
            "(", ")", "[", "]", "{", "}", ",", ";", ".", "\"", "'", "?", ":", "?:", "=", "==", "-", "!", "&", "|", " ",
            "1", "a", "is", "//", "\\",
        ];
        self.odd = false;
        let mut text: Vec<char> = self.expression().to_string().chars().collect();
        self.odd = true;
        for _ in 0..=self.random.below(2) {
            let at = self.random.below(text.len());
            match self.random.below(3) {
                0 if !text.is_empty() => _ = text.remove(at),
                1 if !text.is_empty() => {
                    let other = self.random.below(text.len());
                    text.swap(at, other);
                }
                _ => {
                    let word = self.random.pick(&WORDS);
                    text.splice(at..at, word.chars());
                }
            }
        }
        Term::Text(text.into_iter().collect())
    }

    fn quoted(&mut self, from: &[&str]) -> Term {
        Term::Text(format!("\"{}\"", self.random.pick(from)))
    }

    fn string(&mut self) -> Term {
        if self.random.chance(600) {
            return self.quoted(&STRINGS);
        }
        let pieces: String = (0..self.random.below(6)).map(|_| self.random.pick(&PIECES)).collect();
        Term::Text(format!("\"{pieces}\""))
    }

    fn number(&mut self) -> Term {
        const BORDERS: [&str; 14] = [
            "0",
            "1",
            "-1",
            "63",
            "64",
            "65",
            "2147483647",
            "-2147483648",
            "2147483648",
            "4294967296",
            "9007199254740993",
            "9223372036854775807",
            "-9223372036854775807",
            "-9223372036854775808",
        ];
        const REALS: [&str; 26] = [
            "0.0",
            "-0.0",
            "0.5",
            "1.5",
            "2.5",
            "-3.5",
            "0.1",
            "1e10",
            "1e300",
            "-1e308",
            "1.7976931348623157e308",
            "1e-5",
            ".5",
            "3.0",
            "1e400",
            "-1e400",
            "5e-324",
            "-1e-310",
            "2.2250738585072014e-308",
            "1E3",
            "4.9e-1",
            "9223372036854775808.0",
            "9007199254740993.0",
            "real(\"NaN\")",
            "real(\"INF\")",
            "real(\"-INF\")",
        ];
        match self.random.below(10) {
            0..4 => Term::Text(self.random.between(-3, 12).to_string()),
            4 => Term::Text(self.random.between(-100_000, 100_000).to_string()),
            5 => Term::text(self.random.pick(&BORDERS)),
            6 | 7 => Term::text(self.random.pick(&REALS)),
            8 => Term::Text(format!("{:?}", self.random.between(-1_000_000, 1_000_000) as f64 / 1_000.0)),
            _ => match f64::from_bits(self.random.next()) {
                real if real.is_finite() => Term::Text(format!("{real:e}")),
                _ => Term::Text((self.random.next() as i64).to_string()),
            },
        }
    }

    fn name(&mut self) -> Term {
        let own = RANDOM_MINE.len().saturating_sub(self.first);
        let all = MINE.len() + THEIRS.len() + 2 * own + 4;
        let number = self.random.below(all);
        let name = match number {
            _ if number < MINE.len() => MINE[number].0,
            _ if number < MINE.len() + THEIRS.len() => THEIRS[number - MINE.len()].0,
            _ if number < all - 4 => RANDOM_MINE[self.first + self.random.below(own)],
            _ => self.random.pick(&["nope", "b2", "b3", "I"]),
        };
        let name = if SELDOM.contains(&name) && !self.random.chance(100) { "i" } else { name };
        Term::Name(name.to_owned())
    }

    fn atom(&mut self) -> Term {
        match self.random.below(1_000) {
            0..250 => self.number(),
            250..410 => self.string(),
            410..520 => {
                Term::text(self.random.pick(&["true", "false", "TRUE", "undefined", "UNDEFINED", "error", "Error"]))
            }
            520..720 => self.name(),
            720..760 => {
                let scope = self.random.pick(&["MY", "my", "self"]);
                Term::Select(Box::new(Term::text(scope)), self.bare_name())
            }
            760..840 => {
                let scope = self.random.pick(&["TARGET", "target", "other"]);
                Term::Select(Box::new(Term::text(scope)), self.bare_name())
            }
            840..940 => Term::text(self.random.pick(&PATHS)),
            940..998 => Term::text(self.random.pick(&TIMES)),
            // A few are enough: each that differs is asked many times.
            998 if self.odd && self.random.chance(500) => Term::text(self.random.pick(&ABSENT)),
            999 if self.odd && self.random.chance(500) => Term::text(self.random.pick(&ODD)),
            _ => self.number(),
        }
    }

    fn bare_name(&mut self) -> String {
        match self.name() {
            Term::Name(name) => name,
            other => other.to_string(),
        }
    }

    fn term(&mut self, depth: usize) -> Term {
        if depth == 0 {
            return self.atom();
        }
        match self.random.below(100) {
            0..8 => self.atom(),
            8..32 => self.chain(depth),
            32..38 => Term::Unary(self.random.pick(&UNARY), Box::new(self.inner(depth))),
            38..42 => Term::Ternary(Box::new([self.inner(depth), self.inner(depth), self.inner(depth)])),
            42..45 => Term::Default(Box::new([self.inner(depth), self.inner(depth)])),
            45..51 => Term::Parentheses(Box::new(self.inner(depth))),
            51..80 => self.call(depth),
            80..84 => self.list(depth),
            84..88 => self.ad(depth),
            88..91 => {
                let field = self.random.pick(&FIELDS).to_owned();
                Term::Select(Box::new(self.ad(depth)), field)
            }
            91..95 => {
                let of = if self.random.chance(800) { self.list(depth) } else { self.inner(depth) };
                let index = if self.random.chance(700) {
                    Term::Text(self.random.between(-1, 3).to_string())
                } else {
                    self.inner(depth)
                };
                Term::Subscript(Box::new([of, index]))
            }
            _ => {
                let field = self.random.pick(&FIELDS).to_owned();
                Term::Select(Box::new(self.inner(depth)), field)
            }
        }
    }

    fn inner(&mut self, depth: usize) -> Term {
        let less = 1 + self.random.below(2);
        self.term(depth.saturating_sub(less))
    }

    fn chain(&mut self, depth: usize) -> Term {
        let operators: Vec<&'static str> =
            (0..1 + self.random.below(10) / 7).map(|_| self.random.pick(&BINARY)).collect();
        let terms = (0..=operators.len()).map(|_| self.inner(depth)).collect();
        Term::Chain(terms, operators)
    }

    fn list(&mut self, depth: usize) -> Term {
        Term::List((0..self.random.below(5)).map(|_| self.inner(depth)).collect())
    }

    fn ad(&mut self, depth: usize) -> Term {
        const NAMES: [&str; 6] = ["q", "p", "i", "c", "k", "mem"];
        let count = self.random.below(4);
        let attributes = (0..count).map(|number| {
            let term = match self.random.below(8) {
                0 => Term::text(self.random.pick(&[
                    "parent.i",
                    "parent.q",
                    "parent.parent.i",
                    "q",
                    "p",
                    "MY.q",
                    "TARGET.m",
                ])),
                _ => self.inner(depth),
            };
            (NAMES[(number * 2 + self.random.below(2)) % NAMES.len()].to_owned(), term)
        });
        Term::Ad(attributes.collect())
    }

    fn call(&mut self, depth: usize) -> Term {
        let (names, kinds) = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        let name = self.random.pick(names);
        let mut arguments: Vec<Term> = kinds.iter().map(|kind| self.argument(*kind, depth)).collect();
        if self.random.chance(30) {
            if self.random.chance(500) {
                arguments.pop();
            } else {
                arguments.push(self.inner(depth));
            }
        }
        let name = match self.random.below(10) {
            0 => name.to_ascii_lowercase(),
            1 => name.to_ascii_uppercase(),
            _ => name.to_owned(),
        };
        Term::Call(name, arguments)
    }

    fn argument(&mut self, kind: Kind, depth: usize) -> Term {
        if self.random.chance(100) {
            return self.inner(depth);
        }
        match kind {
            Any => self.inner(depth),
            Text => match self.random.below(10) {
                0..6 => self.string(),
                6 | 7 => Term::text(self.random.pick(&["s", "v", "items", "w", "text", "Arch"])),
                _ => self.inner(depth),
            },
            Number => self.number(),
            List => match self.random.below(6) {
                0 | 1 => self.list(depth),
                2 => Term::List((0..self.random.below(5)).map(|_| self.number()).collect()),
                3 => Term::List((0..self.random.below(5)).map(|_| self.string()).collect()),
                4 => Term::text(self.random.pick(&["l", "nums", "words", "ads", "TARGET.tl", "gpus"])),
                _ => self.inner(depth),
            },
            Nested => match self.random.below(4) {
                0 => Term::List((0..self.random.below(4)).map(|_| self.ad(depth)).collect()),
                1 => self.list(depth),
                _ => Term::text(self.random.pick(&["ads", "gpus", "TARGET.gpus"])),
            },
            Context => match self.random.below(3) {
                0 => Term::text(self.random.pick(&["(c)", "c > 2", "mem >= 10", "i", "expr"])),
                1 => self.inner(depth),
                _ => Term::Parentheses(Box::new(self.inner(depth))),
            },
            Pattern => self.quoted(&PATTERNS),
            Options => self.quoted(&OPTIONS),
            Delimiter => self.quoted(&DELIMITERS),
            Comparison => self.quoted(&COMPARISONS),
            Format => self.quoted(&FORMATS),
            Version => self.quoted(&VERSIONS),
            Substitute => self.quoted(&SUBSTITUTES),
            Time => match self.random.below(4) {
                0 => Term::text(self.random.pick(&["at", "rt"])),
                1 => Term::text(self.random.pick(&TIMES)),
                2 => self.number(),
                _ => self.inner(depth),
            },
            Name => self.name(),
        }
    }

    /// What an ad may ask of another: true, false and undefined about equally often.
    fn requirements(&mut self, depth: usize) -> Term {
        const NUMBERS: [&str; 15] = [
            "i",
            "j",
            "r",
            "m",
            "Cpus",
            "Memory",
            "load",
            "nope",
            "TARGET.m",
            "TARGET.i",
            "TARGET.Memory",
            "MY.Memory",
            "n.i",
            "gpus[0].mem",
            "own",
        ];
        const TEXTS: [&str; 8] = ["s", "w", "Arch", "TARGET.Arch", "TARGET.s", "Shared", "TARGET.Shared", "nope"];
        const TRUTHS: [&str; 10] = [
            "t",
            "f",
            "HasX",
            "TARGET.HasX",
            "!f",
            "cond",
            "TARGET.t",
            "true",
            "nope is undefined",
            "regexp(\"^X\", Arch, \"i\")",
        ];
        let terms: Vec<Term> = (0..1 + self.random.below(3))
            .map(|_| match self.random.below(14) {
                0..5 => {
                    let operator = self.random.pick(&["<", "<=", ">", ">=", "==", "!="]);
                    let left = Term::text(self.random.pick(&NUMBERS));
                    let right =
                        if self.random.chance(500) { self.number() } else { Term::text(self.random.pick(&NUMBERS)) };
                    Term::Chain(vec![left, right], vec![operator])
                }
                5..8 => {
                    let operator = self.random.pick(&["==", "!=", "=?=", "=!="]);
                    let left = Term::text(self.random.pick(&TEXTS));
                    let right =
                        if self.random.chance(500) { self.string() } else { Term::text(self.random.pick(&TEXTS)) };
                    Term::Chain(vec![left, right], vec![operator])
                }
                8..12 => Term::text(self.random.pick(&TRUTHS)),
                12 if depth > 0 => self.requirements(depth - 1),
                12 if self.random.chance(50) => Term::text("rt"),
                _ => self.term(2),
            })
            .collect();
        let operators = (1..terms.len()).map(|_| self.random.pick(&["&&", "||"])).collect();
        Term::Chain(terms, operators)
    }
}
