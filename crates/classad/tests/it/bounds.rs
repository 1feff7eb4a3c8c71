//! What strangers may send: it ends, and says why.

use gristmill_classad::bounds::{EXPRESSION_DEPTH_MAX, SOURCE_BYTES_MAX, STRING_BYTES_MAX};
use gristmill_classad::{ClassAd, Evaluation, Expr, Outcome, ParseFault, Prepared, Symbols, Trouble, Value, matches};

fn run(ad: &ClassAd, name: &str) -> Outcome {
    Evaluation::of(ad).run(ad.get(name).expect("the attribute is there"))
}

fn fault(source: &str) -> String {
    Expr::parse(source).expect_err(source).to_string()
}

#[test]
fn errors_say_where_and_what() {
    for (source, expected) in [
        ("", "line 1, column 1: expected an expression, found the end"),
        ("1 +", "line 1, column 4: expected an expression, found the end"),
        ("1 2", "line 1, column 3: expected an operator or the end, found the number 2"),
        ("(1", "line 1, column 3: expected ) that closes the parenthesis, found the end"),
        ("a ? b", "line 1, column 6: expected : and what holds otherwise, found the end"),
        ("\n  f(1 2)", "line 2, column 7: expected a comma, or ) that closes the arguments, found the number 2"),
        ("{ 1, }", "line 1, column 6: expected an expression, found }"),
        ("\"é\" @", "line 1, column 5: the character '@' means nothing here; text goes between double quotes"),
        ("\"open", "line 1, column 1: nothing closes this quote: add \""),
        ("1 /* open", "line 1, column 3: nothing closes this comment: add */"),
        ("1.", "line 1, column 2: digits must follow \".\" in a number"),
        ("1e+", "line 1, column 2: digits must follow \"e\" in a number"),
        ("010", "line 1, column 1: a whole number cannot begin with 0; write it in decimal without leading zeros"),
        ("0x10", "line 1, column 1: a whole number cannot begin with 0; write it in decimal without leading zeros"),
        (
            "9223372036854775808",
            "line 1, column 1: the number 9223372036854775808 does not fit 64 bits; write a real number, 9223372036854775808.0",
        ),
        ("\"a\\0b\"", "line 1, column 4: text cannot contain the byte 0"),
        ("\"\\377\"", "line 1, column 1: the escapes in this text do not make UTF-8; write the characters themselves"),
        ("absTime(\"soon\")", "line 1, column 1: absTime cannot read \"soon\"; it reads 2026-01-31T12:00:00Z"),
        (
            "[ a = 1 b = 2 ]",
            "line 1, column 9: expected an operator, ; before the next attribute, or ] that closes the ad, found the name b",
        ),
        (
            "[ 1 = 2 ]",
            "line 1, column 3: expected the name of an attribute, or ] that closes the ad, found the number 1",
        ),
        ("''", "line 1, column 1: an attribute's name is empty"),
        ("a.1", "line 1, column 2: expected an operator or the end, found the number 0.1"),
    ] {
        assert_eq!(fault(source), expected, "{source}");
    }
    assert_eq!(
        ClassAd::parse("1").unwrap_err().to_string(),
        "line 1, column 1: expected [ at the beginning of an ad, found the number 1"
    );
}

#[test]
fn malformed_ads_say_where_and_what() {
    for (source, expected) in [
        ("", "line 1, column 1: expected [ at the beginning of an ad, found the end"),
        ("[", "line 1, column 2: expected the name of an attribute, or ] that closes the ad, found the end"),
        ("[ a ]", "line 1, column 5: expected = after the name of the attribute, found ]"),
        ("[ a = ]", "line 1, column 7: expected an expression, found ]"),
        ("[ a == 1 ]", "line 1, column 5: expected = after the name of the attribute, found =="),
        (
            "[\n  a = 1,\n  b = 2\n]",
            "line 2, column 8: expected an operator, ; before the next attribute, or ] that closes the ad, found ,",
        ),
        ("[ a = 1 ] b", "line 1, column 11: expected the end of the ad, found the name b"),
        ("[ a = 1; a b = 2 ]", "line 1, column 12: expected = after the name of the attribute, found the name b"),
        ("[ MY.a = 1 ]", "line 1, column 5: expected = after the name of the attribute, found ."),
        ("[ true = 1 ]", "line 1, column 3: expected the name of an attribute, or ] that closes the ad, found true"),
        ("a = 1\nb = 2\n", "line 1, column 1: expected [ at the beginning of an ad, found the name a"),
        ("[ é = 1 ]", "line 1, column 3: the character 'é' means nothing here; text goes between double quotes"),
        ("[ a = \"\n\" + ]", "line 2, column 5: expected an expression, found ]"),
    ] {
        let error = ClassAd::parse(source).expect_err(source);
        assert_eq!(error.to_string(), expected, "{source}");
    }
}

/// An ad with all that the language has, cut off anywhere, or with a character gone or another in its place, is an ad or is refused at
/// a place that it has.
#[test]
fn spoiled_ads_are_refused_at_a_place_that_they_have() {
    const WHOLE: &str = "[ a = 1 + -2.5e3 * 'odd\\'name'; /* why */ b = { \"té\\n\\101\", a[0], .c } ?: undefined; // end\n\
                         c = [ d = parent.a isnt TARGET.x && MY.b == TRUE; ]; e = f(c.d, 3 >>> 2) ? absTime(\"2024-02-29\") : !b ]";
    ClassAd::parse(WHOLE).expect("the whole is an ad");
    let check = |source: &str| {
        let Err(error) = ClassAd::parse(source) else { return };
        let lines: Vec<&str> = source.split('\n').collect();
        let line = lines.get(error.line - 1).unwrap_or_else(|| panic!("{error}, but there are fewer lines: {source}"));
        assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}, but the line is shorter: {source}");
    };
    for (at, c) in WHOLE.char_indices() {
        let (before, after) = (&WHOLE[..at], &WHOLE[at + c.len_utf8()..]);
        check(before);
        check(&WHOLE[at..]);
        check(&format!("{before}{after}"));
        for other in ["\"", "'", "[", "]", "}", ")", ";", "=", ".", "?", "\\", "\n", "\0", "9", "é", "/*", "//"] {
            check(&format!("{before}{other}{after}"));
            check(&format!("{before}{other}{c}{after}"));
        }
    }
}

/// Ten megabytes, whatever they are made of, are refused before they are looked at; and as much as is read ends, deep as it may be.
#[test]
fn large_ads_end() {
    const TEN_MEGABYTES: usize = 10_000_000;
    let filled = |open: &str, piece: &str, close: &str, bytes: usize| {
        let count = (bytes - open.len() - close.len()) / piece.len();
        format!("{open}{}{close}", piece.repeat(count))
    };
    for (open, piece, close) in [
        ("[ a = \"", "x", "\" ]"),
        ("[ a = \"", "\\101", "\" ]"),
        ("[ ", "a = 1; ", "]"),
        ("[ ", ";", "]"),
        ("[ a = 1", " + 1", " ]"),
        ("[ a = x", " && x", " ]"),
        ("[ a = x", ".x", " ]"),
        ("[ a = x", "[0]", " ]"),
        ("[ a = x", " ?: x", " ]"),
        ("[ a = ", "x ? x : ", "x ]"),
        ("[ a = ", "- ", "1 ]"),
        ("[ a = ", "(", ""),
        ("[ a = ", "f(", ""),
        ("[ a = { 0", ", 0", " } ]"),
        ("[ a = f(0", ", 0", ") ]"),
        ("", "[a=", ""),
        ("", "{", ""),
        ("[ a = ", "9", " ]"),
        ("[ a = 0.", "9", " ]"),
        ("[ a = 1e", "9", " ]"),
        ("[ ", "/* */ ", "a = 1 ]"),
        ("[ /*", "*", "*/ a = 1 ]"),
        ("[ ", "\n", "a = ]"),
        ("[ ", "a", " = 1 ]"),
        ("[ a = '", "x", "' ]"),
    ] {
        let large = filled(open, piece, close, TEN_MEGABYTES);
        let refused = ClassAd::parse(&large).expect_err(piece).fault;
        assert_eq!(refused, ParseFault::TooLong { got: large.len() }, "{piece}");
        if let Ok(ad) = ClassAd::parse(&filled(open, piece, close, SOURCE_BYTES_MAX)) {
            let mut symbols = Symbols::new();
            let ready = Prepared::new(ad.clone(), &mut symbols);
            assert!(!ready.matches(&ready.clone()), "{piece}");
            for (_, expression) in ad.iter() {
                _ = Evaluation::of(&ad).run(expression);
            }
        }
    }
}

#[test]
fn deep_and_long_sources_are_refused() {
    for (open, close) in [
        ("(", ")"),
        ("!", ""),
        ("-", ""),
        ("{", "}"),
        ("[a=", "]"),
        ("f(", ")"),
        ("1 ? ", " : 2"),
        ("a[", "]"),
        ("a ?: ", ""),
    ] {
        for depth in [EXPRESSION_DEPTH_MAX + 1, 20_000] {
            let source = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(Expr::parse(&source).expect_err(open).fault, ParseFault::TooDeep, "{open}");
        }
    }
    for (link, depth) in [(" + 1", 1_000), (".a", 1_000), ("[0]", 50_000), (" == 1", 50_000)] {
        assert_eq!(
            Expr::parse(&format!("a{}", link.repeat(depth))).expect_err(link).fault,
            ParseFault::TooDeep,
            "{link}"
        );
    }
    let long = "x".repeat(SOURCE_BYTES_MAX + 1);
    assert_eq!(Expr::parse(&long).unwrap_err().fault, ParseFault::TooLong { got: SOURCE_BYTES_MAX + 1 });
    assert!(fault(&"x".repeat(300)).contains("an attribute's name has 300 bytes; 256 are allowed"));
    let many: String = (0..5_000).map(|number| format!("a{number} = 1; ")).collect();
    let refused = ClassAd::parse(&format!("[ {many} ]")).unwrap_err();
    assert_eq!(refused.fault.to_string(), "no room for the attribute a4096: an ad has at most 4096");
}

#[test]
fn chains_of_conditions_may_be_long() {
    let hosts: Vec<String> = (0..10_000).map(|number| format!("Machine == \"host{number}\"")).collect();
    let ad = ClassAd::parse("[ Machine = \"HOST9999\" ]").unwrap();
    let any = Expr::parse(&hosts.join(" || ")).unwrap();
    assert_eq!(any.evaluate_in(&ad, None), Value::Boolean(true));
    let all = Expr::parse(&hosts.join(" && ")).unwrap();
    assert_eq!(all.conjuncts().len(), 10_000);
    assert_eq!(all.evaluate_in(&ad, None), Value::Boolean(false));
}

#[test]
fn cycles_are_errors() {
    let ad = ClassAd::parse(
        "[ a = b; b = c + 1; c = a; self_made = self_made; through = { through }; it = it[0]; ad = [ x = parent.ad.x ]; \
         known = isError(a); text = eval(\"text\"); kept = unknown ?: kept ]",
    )
    .unwrap();
    for name in ["a", "b", "c", "self_made", "it", "kept", "text"] {
        assert_eq!(run(&ad, name), Outcome { value: Value::Error, trouble: Some(Trouble::Cycle) }, "{name}");
    }
    assert_eq!(run(&ad, "known"), Outcome { value: Value::Boolean(true), trouble: Some(Trouble::Cycle) });
    assert_eq!(run(&ad, "through"), Outcome { value: Value::Error, trouble: Some(Trouble::Depth) });
    let x = Expr::parse("ad.x").unwrap();
    assert_eq!(x.evaluate_in(&ad, None), Value::Error);
    let (left, right) = ("[ Requirements = TARGET.Requirements ]", "[ Requirements = TARGET.Requirements || true ]");
    let (left, right) = (ClassAd::parse(left).unwrap(), ClassAd::parse(right).unwrap());
    assert!(!matches(&left, &right));
    let mut symbols = Symbols::new();
    assert!(!Prepared::new(left, &mut symbols).matches(&Prepared::new(right, &mut symbols)));
}

#[test]
fn work_that_doubles_ends() {
    // Each attribute asks for the next one twice: 2^60 steps.
    let doubling: String = (0..60).map(|number| format!("a{number} = a{n} + a{n}; ", n = number + 1)).collect();
    let ad = ClassAd::parse(&format!("[ {doubling} a60 = TARGET.x; Requirements = a0 > 0 ]")).unwrap();
    assert_eq!(run(&ad, "a0"), Outcome { value: Value::Error, trouble: Some(Trouble::Steps) });
    let mut symbols = Symbols::new();
    let prepared = Prepared::new(ad, &mut symbols);
    let other = Prepared::new(ClassAd::parse("[ x = 1; Requirements = true ]").unwrap(), &mut symbols);
    assert!(!prepared.matches(&other));
    // With a constant at its end it is computed once for each attribute.
    let ad = ClassAd::parse(&format!("[ {doubling} a60 = 1; Requirements = a0 != 1 ]")).unwrap();
    assert!(Prepared::new(ad, &mut symbols).matches(&other));
}

#[test]
fn text_and_lists_do_not_grow_without_end() {
    let growing: String = (0..40).map(|number| format!("s{number} = strcat(s{n}, s{n}); ", n = number + 1)).collect();
    let ad = ClassAd::parse(&format!("[ {growing} s40 = \"{}\" ]", "x".repeat(1_000))).unwrap();
    assert_eq!(run(&ad, "s0").value, Value::Error);
    assert_eq!(run(&ad, "s35").value, Value::string(&"x".repeat(32_000)));
    assert_eq!(run(&ad, "s33"), Outcome { value: Value::Error, trouble: Some(Trouble::Size) });
    let commas = ",".repeat(STRING_BYTES_MAX / 2);
    let ad = ClassAd::parse(&format!("[ commas = \"{commas}\"; parts = size(split(commas)) ]")).unwrap();
    assert_eq!(run(&ad, "parts"), Outcome { value: Value::Error, trouble: Some(Trouble::Size) });
}

/// What takes longer than one step costs more.
#[test]
fn long_texts_and_lists_cost_steps() {
    let long = "ab".repeat(30_000);
    let ad = format!(
        "[ s = \"{long}\"; t = \"{long}\"; fields = \"{}\"; items = \"{}\"; sum = \"{}1\"; l = {{ {} }}; TARGET = 1 ]",
        "%c".repeat(500),
        "a,".repeat(5_000),
        "1+".repeat(100),
        vec!["[]"; 5_000].join(", "),
    );
    let ad = ClassAd::parse(&ad).unwrap();
    for condition in [
        "s == t",
        "strcmp(s, t) == 0",
        "versioncmp(s, t) == 0",
        "size(toUpper(s)) > 0",
        "!regexp(\"(a|b)*a(a|b){15}c\", s)",
        "replaceAll(\"x\", s, \"y\") == t",
        "size(formatTime(0, fields)) >= 0",
        "eval(sum) > 0",
        "size(split(items)) > 0",
        "stringListMember(\"b\", items) == false",
        "sum(l.x) is error || true",
        "countMatches(l, l) == 0",
        "size(evalInEachContext((my), l)) > 0",
    ] {
        let once = Evaluation::of(&ad).run(&Expr::parse(condition).unwrap());
        assert_eq!(once, Outcome { value: Value::Boolean(true), trouble: None }, "{condition}");
        let often = Expr::parse(&vec![condition; 2_000].join(" && ")).unwrap();
        assert_eq!(
            Evaluation::of(&ad).run(&often),
            Outcome { value: Value::Error, trouble: Some(Trouble::Steps) },
            "{condition}"
        );
    }
}

#[test]
fn patterns_cannot_backtrack() {
    let ad = ClassAd::parse(&format!("[ text = \"{}\" ]", "a".repeat(30_000))).unwrap();
    for (source, expected) in [
        ("regexp(\"(a*)*b\", text)", Value::Boolean(false)),
        ("regexp(\"(a|aa)+$\", text)", Value::Boolean(true)),
        ("regexp(\"(a)\\\\1\", text)", Value::Error),
        ("regexp(\"(?=a)\", text)", Value::Error),
        ("regexp(\"(a{1000}){1000}\", text)", Value::Error),
    ] {
        assert_eq!(Expr::parse(source).unwrap().evaluate_in(&ad, None), expected, "{source}");
    }
}

/// The deepest that is allowed fits a small stack: 1 MiB, half of what a thread has.
#[test]
fn the_deepest_fits_the_stack() {
    let deepest = || {
        let depth = EXPRESSION_DEPTH_MAX - 5;
        let mut source = String::new();
        for number in 0..4 {
            let (open, close) = [("(", ")"), ("!", ""), ("ifThenElse(true, ", ", 1)"), ("{ ", " }[0]")][number];
            // A subscript has two levels.
            let depth = if number == 3 { depth / 2 } else { depth };
            source += &format!("a{number} = {}a{}{}; ", open.repeat(depth), number + 1, close.repeat(depth));
        }
        let ad = ClassAd::parse(&format!("[ {source} a4 = TARGET.x; Requirements = a0; last = a3 ]")).unwrap();
        assert_eq!(run(&ad, "Requirements").trouble, Some(Trouble::Depth));
        assert_eq!(run(&ad, "last").value, Value::Undefined);
        assert_eq!(ClassAd::parse(&ad.to_string()).unwrap(), ad);
        let mut symbols = Symbols::new();
        let prepared = Prepared::new(ad.clone(), &mut symbols);
        assert!(!prepared.matches(&prepared.clone()));
        assert!(ad.get("a0").unwrap().external_references(&ad).iter().any(|name| name.as_str() == "x"));
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(deepest).unwrap();
    thread.join().unwrap();
}
