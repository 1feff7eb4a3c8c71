//! Expressions with the values that HTCondor's library gives them.
//!
//! A file of vectors has a line `my AD`, a line `target AD`, and then lines `EXPRESSION<tab>VALUE`, where the value is an expression
//! too, one that needs no ad, or `refused` if the library does not parse the expression; or lines
//! `match<tab>EXPRESSION<tab>EXPRESSION<tab>VALUE`: whether the two ads match if those are their requirements. Lines that begin with
//! `#` are comments.

use gristmill_classad::{AbsTime, ClassAd, Evaluation, Expr, Outcome, Prepared, Symbols, Trouble, Value, matches};

/// The clock of all vectors: what asks for the time is not among them.
const NOW: AbsTime = AbsTime { seconds: 1_800_000_000, offset: 0 };
const REFUSED: &str = "refused";

/// A vector that does not hold.
pub struct Difference {
    pub expression: String,
    pub expected: String,
    pub got: String,
    pub trouble: Option<Trouble>,
}

/// Holds every vector of a text against our values. Returns how many there are, and those that differ.
pub fn check(text: &str) -> (usize, Vec<Difference>) {
    let (mut my, mut target) = (ClassAd::new(), ClassAd::new());
    let (mut count, mut differences) = (0, Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(ad) = line.strip_prefix("my ") {
            my = ClassAd::parse(ad).expect("the own ad is an ad");
        } else if let Some(ad) = line.strip_prefix("target ") {
            target = ClassAd::parse(ad).expect("the target is an ad");
        } else {
            let (question, expected) = line.rsplit_once('\t').expect("a tab stands before the value");
            count += 1;
            differences.extend(match question.strip_prefix("match\t") {
                Some(requirements) => match_difference(&my, &target, requirements, expected),
                None => difference(&my, &target, question, expected),
            });
        }
    }
    (count, differences)
}

fn difference(my: &ClassAd, target: &ClassAd, expression: &str, expected: &str) -> Option<Difference> {
    let outcome =
        Expr::parse(expression).map(|expression| Evaluation::of(my).with_target(Some(target)).at(NOW).run(&expression));
    let (holds, got, trouble) = match outcome {
        Err(error) => (expected == REFUSED, format!("{REFUSED}: {error}"), None),
        Ok(Outcome { value, trouble }) => {
            let holds = expected != REFUSED
                && Expr::parse(expected).is_ok_and(|expected| same(&value, &Evaluation::bare().evaluate(&expected)));
            (holds, value.to_string(), trouble)
        }
    };
    (!holds).then(|| Difference { expression: expression.to_owned(), expected: expected.to_owned(), got, trouble })
}

fn match_difference(my: &ClassAd, target: &ClassAd, requirements: &str, expected: &str) -> Option<Difference> {
    let (left, right) = requirements.split_once('\t').expect("a tab stands between the requirements");
    let got = match (Expr::parse(left), Expr::parse(right)) {
        (Ok(left), Ok(right)) => {
            let (mut my, mut target) = (my.clone(), target.clone());
            my.insert("Requirements", left).expect("room for them");
            target.insert("Requirements", right).expect("room for them");
            let found = matches(&my, &target);
            let mut symbols = Symbols::new();
            let ready = (Prepared::new(my, &mut symbols), Prepared::new(target, &mut symbols));
            if ready.0.matches(&ready.1) == found { found.to_string() } else { "otherwise if prepared".to_owned() }
        }
        _ => REFUSED.to_owned(),
    };
    let expression = format!("match\t{requirements}");
    (got != expected).then(|| Difference { expression, expected: expected.to_owned(), got, trouble: None })
}

/// The same value to the last bit; one NaN is as good as another.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Real(left), Value::Real(right)) | (Value::RelTime(left), Value::RelTime(right)) => {
            left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
        }
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| same(left, right))
        }
        (Value::Ad(left), Value::Ad(right)) => left == right || left.to_string() == right.to_string(),
        _ => left == right,
    }
}
