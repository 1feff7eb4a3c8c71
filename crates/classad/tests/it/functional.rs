//! The functional tests of HTCondor's ClassAd library (`tests/data/functional_tests.txt`).
//!
//! `eval NAME = EXPRESSION` evaluates and remembers, `$NAME` stands for what was remembered, `same A, B` and `diff A, B` compare.

use std::collections::BTreeMap;

use gristmill_classad::{Evaluation, Expr, Value};

/// What does not hold, and why.
const KNOWN: [(&str, &str); 3] = [
    (r#"$x["c"], error"#, "the library itself gives undefined"),
    ("sum($list0), undefined", "the library itself gives 0"),
    ("avg($list0), undefined", "the library itself gives 0"),
];
/// Lines about XML, which there is none of here.
const XML: [&str; 4] = ["writexml", "readxml", "same $x, $z[0]", "same $y, $z[1]"];

#[test]
fn the_functional_tests_of_htcondor_hold() {
    let mut tester = Tester::default();
    let mut statement = String::new();
    for line in include_str!("../data/functional_tests.txt").lines() {
        let is_comment =
            statement.is_empty() && (line.starts_with('#') || line.starts_with("//") || line.trim().is_empty());
        if is_comment || line.starts_with("echo") || XML.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        statement.push_str(line);
        statement.push('\n');
        if is_balanced(&statement) {
            tester.run(statement.trim());
            statement.clear();
        }
    }
    assert!(statement.is_empty(), "left over: {statement}");
    let known: Vec<&str> = KNOWN.iter().map(|(comparison, _)| *comparison).collect();
    assert_eq!(tester.failed, known, "of {} comparisons", tester.count);
    assert_eq!(tester.count, 225, "comparisons, the two about XML aside");
}

#[derive(Default)]
struct Tester {
    variables: BTreeMap<String, String>,
    count: usize,
    failed: Vec<String>,
}

impl Tester {
    fn run(&mut self, statement: &str) {
        let (verb, rest) = statement.split_once(' ').expect("a verb and something");
        match verb {
            "eval" => {
                let (name, expression) = rest.split_once('=').expect("a name and an expression");
                let value = self.value(expression);
                self.variables.insert(name.trim().to_owned(), value.to_string());
            }
            "same" | "diff" => {
                let (left, right) = split_at_comma(rest);
                self.count += 1;
                if (self.value(left) == self.value(right)) != (verb == "same") {
                    self.failed.push(rest.to_owned());
                }
            }
            other => panic!("unknown verb {other}"),
        }
    }

    fn value(&self, expression: &str) -> Value {
        let mut source = expression.trim().trim_end_matches(';').to_owned();
        // Longer names first: one may begin another.
        let mut names: Vec<&String> = self.variables.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names {
            source = source.replace(&format!("${name}"), &format!("({})", self.variables[name]));
        }
        let parsed = Expr::parse(&source).or_else(|_| {
            // A few lines close one parenthesis too many.
            Expr::parse(source.trim_end_matches(')'))
        });
        let expression = parsed.unwrap_or_else(|error| panic!("{source}: {error}"));
        Evaluation::bare().evaluate(&expression)
    }
}

/// Where each bracket and comma outside of text stands, and how many brackets are open before it.
fn marks(statement: &str) -> Vec<(usize, char, i32)> {
    let (mut marks, mut open, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in statement.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' | '(' => {
                marks.push((at, c, open));
                open += 1;
            }
            ']' | '}' | ')' => {
                open -= 1;
                marks.push((at, c, open));
            }
            ',' => marks.push((at, c, open)),
            _ => {}
        }
    }
    marks
}

fn is_balanced(statement: &str) -> bool {
    let of = |brackets: &[char]| marks(statement).iter().filter(|(_, c, _)| brackets.contains(c)).count();
    // Some lines close one too many.
    of(&['[', '{', '(']) <= of(&[']', '}', ')'])
}

fn split_at_comma(pair: &str) -> (&str, &str) {
    let comma = marks(pair).into_iter().find(|(_, c, open)| *c == ',' && *open == 0);
    let (at, ..) = comma.unwrap_or_else(|| panic!("no comma in {pair}"));
    (&pair[..at], &pair[at + 1..])
}
