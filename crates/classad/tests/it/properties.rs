//! Properties of random expressions.

use gristmill_classad::{AbsTime, ClassAd, Evaluation, Expr, Prepared, Symbols, Value, accepts, rank};
use proptest::prelude::*;

use crate::vectors::same;

/// Cases of each property, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 2_000;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn own() -> ClassAd {
    let source = "[ a = 3; b = -2.5; c = \"Text\"; d = a * 2 + b; e = error; f = TARGET.x + a; g = { 1, a, x }; h = [ i = a; j = x ]; \
                  k = true; l = k && TARGET.k; m = o; o = m ]";
    ClassAd::parse(source).expect("an ad")
}

fn other() -> ClassAd {
    ClassAd::parse("[ a = 4; x = 7; y = \"text\"; k = false; z = x + TARGET.a; w = { 2 } ]").expect("an ad")
}

const LEAVES: [&str; 37] = [
    "true",
    "false",
    "undefined",
    "error",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "k",
    "l",
    "m",
    "x",
    "y",
    "z",
    "w",
    "MY.a",
    "MY.f",
    "TARGET.x",
    "TARGET.z",
    "TARGET.k",
    "h.i",
    "h.j",
    "g[1]",
    "'a b'",
    ".a",
    "self.a",
    "parent.a",
    "nope",
    "absTime(\"0000 02\")",
    "time()",
    "absTime(\"2024-01-01T00:00:00Z\")",
    "relTime(\"1+02:03:04\")",
    "real(\"NaN\")",
];
const OPERATORS: [&str; 21] = [
    "+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "=?=", "=!=", "&&", "||", "&", "|", "^", "<<", ">>",
    ">>>",
];
const FUNCTIONS: [&str; 34] = [
    "strcat",
    "isUndefined",
    "isError",
    "size",
    "int",
    "real",
    "string",
    "bool",
    "floor",
    "toUpper",
    "eval",
    "member",
    "sum",
    "max",
    "regexp",
    "replaceAll",
    "substr",
    "split",
    "join",
    "ifThenElse",
    "pow",
    "quantize",
    "interval",
    "formatTime",
    "splitTime",
    "absTime",
    "relTime",
    "versioncmp",
    "stringListMember",
    "evalInEachContext",
    "countMatches",
    "unparse",
    "anyCompare",
    "nosuch",
];

/// Source that parses, nearly always.
fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (-20_i64..20).prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| format!("{number:?}")),
        "[a-zA-Z0-9 ,.@é]{0,6}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(&LEAVES[..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        let all = prop::collection::vec(inner.clone(), 0..4);
        let operator = prop::sample::select(&OPERATORS[..]);
        let sign = prop::sample::select(&["-", "- ", "!", "~", "+"][..]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            (sign, inner.clone()).prop_map(|(sign, inner)| format!("{sign}{inner}")),
            (pair.clone(), inner.clone()).prop_map(|((a, b), c)| format!("{a} ? {b} : {c}")),
            pair.clone().prop_map(|(a, b)| format!("({a}) ?: ({b})")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            (prop::sample::select(&FUNCTIONS[..]), all.clone())
                .prop_map(|(name, all)| format!("{name}({})", all.join(", "))),
            all.prop_map(|all| format!("{{ {} }}", all.join(", "))),
            pair.clone().prop_map(|(a, b)| format!("[ p = {a}; q = {b} ].q")),
            pair.prop_map(|(a, b)| format!("({a})[{b}]")),
            inner.prop_map(|inner| format!("({inner}).a")),
        ]
    })
}

fn evaluate(expression: &Expr) -> Value {
    let (own, other) = (own(), other());
    Evaluation::of(&own)
        .with_target(Some(&other))
        .at(AbsTime { seconds: 1_800_000_000, offset: 3_600 })
        .evaluate(expression)
}

/// Found at random: the first thousand years have fewer than four digits.
#[test]
fn early_years_parse_back() {
    for source in
        ["absTime(\"0000 02\")", "strcat({ absTime(\"0000 02\") })", "strcat({ absTime(\"0999-12-31T00:00:00Z\") })"]
    {
        let expression = Expr::parse(source).unwrap();
        let again = Expr::parse(&expression.to_string()).unwrap();
        assert_eq!(again.to_string(), expression.to_string());
        assert!(same(&evaluate(&again), &evaluate(&expression)), "{source}: {expression}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_printed_parses_back(source in source()) {
        let Ok(expression) = Expr::parse(&source) else { return Ok(()) };
        let printed = expression.to_string();
        let again = Expr::parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(again.to_string(), printed.clone());
        prop_assert!(same(&evaluate(&again), &evaluate(&expression)), "{} {}", source, printed);
    }

    #[test]
    fn values_parse_back(source in source()) {
        let Ok(expression) = Expr::parse(&source) else { return Ok(()) };
        let value = evaluate(&expression);
        if matches!(value, Value::Ad(_) | Value::List(_)) {
            return Ok(());
        }
        let again = Expr::parse(&value.to_string()).map_err(|error| TestCaseError::fail(format!("{value}: {error}")))?;
        prop_assert!(same(&Evaluation::bare().evaluate(&again), &value), "{} {}", source, value);
    }

    #[test]
    fn evaluation_gives_the_same_twice(source in source()) {
        let Ok(expression) = Expr::parse(&source) else { return Ok(()) };
        prop_assert!(same(&evaluate(&expression), &evaluate(&expression)));
    }

    #[test]
    fn flat_expressions_have_the_same_value(source in source()) {
        let Ok(expression) = Expr::parse(&source) else { return Ok(()) };
        let flat = expression.flatten(&own());
        prop_assert!(same(&evaluate(&flat), &evaluate(&expression)), "{} {} {}", flat, evaluate(&flat), evaluate(&expression));
        let again = Expr::parse(&flat.to_string()).map_err(|error| TestCaseError::fail(format!("{flat}: {error}")))?;
        prop_assert!(same(&evaluate(&again), &evaluate(&flat)), "{} {}", source, flat);
    }

    #[test]
    fn prepared_ads_match_like_plain_ones(requirements in source(), preference in source(), theirs in source()) {
        let (mut left, mut right) = (own(), other());
        let parsed = [&requirements, &preference, &theirs].map(|source| Expr::parse(source));
        let [Ok(requirements), Ok(preference), Ok(theirs)] = parsed else { return Ok(()) };
        left.insert("Requirements", requirements).expect("room for it");
        left.insert("Rank", preference).expect("room for it");
        right.insert("x", theirs).expect("room for it");
        let mut symbols = Symbols::new();
        let ready = (Prepared::new(left.clone(), &mut symbols), Prepared::new(right.clone(), &mut symbols));
        prop_assert_eq!(ready.0.accepts(&ready.1), accepts(&left, &right));
        prop_assert_eq!(ready.0.rank(&ready.1).to_bits(), rank(&left, &right).to_bits());
        prop_assert_eq!(ready.0.binding(&ready.1).is_none(), accepts(&left, &right));
    }

    #[test]
    fn any_text_is_parsed_or_refused(source in "\\PC{0,60}", code in "[a-c0-9.()\\[\\]{}=?:;,!&|<>+*/%~^\"'\\\\ -]{0,60}") {
        for source in [source, code] {
            if let Ok(expression) = Expr::parse(&source) {
                evaluate(&expression);
            }
            _ = ClassAd::parse(&format!("[ a = {source} ]"));
        }
    }
}
