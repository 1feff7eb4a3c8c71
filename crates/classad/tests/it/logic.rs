//! The whole tables of three-valued logic.

use gristmill_classad::{Evaluation, Expr, Value};

/// true, false, undefined, error, and what is no truth value.
const OPERANDS: [&str; 5] = ["true", "false", "undefined", "error", "\"text\""];

fn value(source: &str) -> Value {
    let expression = Expr::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    Evaluation::bare().evaluate(&expression)
}

/// One letter a value: T, F, U, E.
fn letter(source: &str) -> char {
    match value(source) {
        Value::Boolean(true) => 'T',
        Value::Boolean(false) => 'F',
        Value::Undefined => 'U',
        Value::Error => 'E',
        other => panic!("{source} is {other}"),
    }
}

/// A row for each left operand, in it a letter for each right one.
fn table(operator: &str) -> [String; 5] {
    OPERANDS.map(|left| OPERANDS.map(|right| letter(&format!("{left} {operator} {right}"))).into_iter().collect())
}

#[test]
fn and_and_or_look_from_left_to_right() {
    assert_eq!(table("&&"), ["TFUEE", "FFFFF", "UFUEE", "EEEEE", "EEEEE"]);
    assert_eq!(table("||"), ["TTTTT", "TFUEE", "TUUEE", "EEEEE", "EEEEE"]);
}

#[test]
fn numbers_are_conditions() {
    for (number, truth) in [("2", 'T'), ("0", 'F'), ("-0.5", 'T'), ("0.0", 'F'), ("real(\"NaN\")", 'T')] {
        assert_eq!(letter(&format!("true && {number}")), truth, "{number}");
        assert_eq!(letter(&format!("false || {number}")), truth, "{number}");
        assert_eq!(letter(&format!("{number} ? true : false")), truth, "{number}");
        assert_eq!(letter(&format!("!{number}")), if truth == 'T' { 'F' } else { 'T' }, "{number}");
    }
}

#[test]
fn not_and_conditions() {
    assert_eq!(OPERANDS.map(|operand| letter(&format!("!{operand}"))), ['F', 'T', 'U', 'E', 'E']);
    assert_eq!(OPERANDS.map(|operand| letter(&format!("{operand} ? true : false"))), ['T', 'F', 'U', 'E', 'E']);
    assert_eq!(
        OPERANDS.map(|operand| letter(&format!("ifThenElse({operand}, true, false)"))),
        ['T', 'F', 'U', 'E', 'E']
    );
    assert_eq!(letter("undefined ?: false"), 'F');
    assert_eq!(letter("error ?: false"), 'E');
    assert_eq!(letter("false ?: true"), 'F');
}

#[test]
fn identity_is_always_known() {
    assert_eq!(table("=?="), ["TFFFF", "FTFFF", "FFTFF", "FFFTF", "FFFFT"]);
    assert_eq!(table("=!="), ["FTTTT", "TFTTT", "TTFTT", "TTTFT", "TTTTF"]);
    assert_eq!(table("is"), table("=?="));
    assert_eq!(table("isnt"), table("=!="));
    for (source, expected) in [
        ("1 =?= 1.0", 'F'),
        ("1 =?= true", 'F'),
        ("\"a\" =?= \"A\"", 'F'),
        ("{1} =?= {1}", 'E'),
        ("{1} =?= 1", 'F'),
        ("2.0 is 2.0", 'T'),
    ] {
        assert_eq!(letter(source), expected, "{source}");
    }
}

#[test]
fn comparisons_are_strict() {
    assert_eq!(table("=="), ["TFUEE", "FTUEE", "UUUEU", "EEEEE", "EEUET"]);
    assert_eq!(table("<"), ["FFUEE", "TFUEE", "UUUEU", "EEEEE", "EEUEF"]);
    for operator in ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "<<", ">>", ">>>"] {
        for (left, right, expected) in [
            ("undefined", "error", 'E'),
            ("error", "undefined", 'E'),
            ("undefined", "\"a\"", 'U'),
            ("{1}", "undefined", 'U'),
            ("1", "undefined", 'U'),
        ] {
            assert_eq!(letter(&format!("{left} {operator} {right}")), expected, "{left} {operator} {right}");
        }
    }
    assert_eq!(letter("\"ABC\" == \"abc\""), 'T');
    assert_eq!(letter("true == 1"), 'T');
    assert_eq!(letter("1 == \"1\""), 'E');
}

#[test]
fn arithmetic_of_the_borders() {
    for (source, expected) in [
        ("9223372036854775807 + 1", Value::Integer(i64::MIN)),
        ("-9223372036854775808 / -1", Value::Integer(i64::MAX)),
        ("-9223372036854775808 % -1", Value::Integer(0)),
        ("-7 / 2", Value::Integer(-3)),
        ("-7 % 3", Value::Integer(-1)),
        ("5 / 0", Value::Error),
        ("5 % 0", Value::Error),
        ("1.0 / 0", Value::Error),
        ("-1.0 / 0", Value::Real(f64::NEG_INFINITY)),
        ("7.5 % 2", Value::Error),
        ("1 << 65", Value::Integer(2)),
        ("-5 >> 1", Value::Integer(-3)),
        ("-5 >>> 1", Value::Integer(9_223_372_036_854_775_805)),
        ("true + true", Value::Integer(2)),
        ("-true", Value::Error),
        ("round(2.5)", Value::Integer(2)),
        ("round(3.5)", Value::Integer(4)),
        ("1 + nobody ?: 2", Value::Integer(3)),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
    assert!(matches!(value("0.0 / 0"), Value::Real(nan) if nan.is_nan()));
}

/// Found by asking the library at random.
#[test]
fn texts_and_times_of_the_borders() {
    for (source, expected) in [
        ("unparse(MY.i)", Value::string("")),
        ("unparse(.i)", Value::string("")),
        ("unparse(1)", Value::Error),
        ("string(absTime(1, -2147483648))", Value::string("1901-12-13T20:45:53-596523:14")),
        ("string(relTime(3e9))", Value::string("--24855+-3:-14:-8")),
        ("int(relTime(3e9))", Value::Integer(-2_147_483_648)),
        ("getDays(relTime(1e17))", Value::Integer(-24_855)),
        ("int(relTime(2147483647.5))", Value::Integer(2_147_483_647)),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}
