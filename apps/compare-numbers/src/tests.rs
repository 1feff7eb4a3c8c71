//! Tests of the program, built by `test.sh` with `rustc --test`.

use super::*;

/// What Python's decimal arithmetic makes of numbers: see `check/make_numbers.py`.
const NUMBERS: &str = include_str!("../check/numbers.txt");
const MUTATIONS: u64 = 4_000;

fn settings(words: &str) -> Settings {
    Settings::read(words.split_whitespace().map(OsString::from)).expect("right arguments")
}

fn converted(arguments: &str, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    text::convert(text, &mut out, &settings(arguments).rules).expect("a text");
    out
}

/// Checks a text, and that its canonical form is its own.
fn check(arguments: &str, text: &str, expected: &str) {
    for text in [text, expected] {
        let out = String::from_utf8(converted(arguments, text.as_bytes())).expect("text");
        assert_eq!(out, expected, "{} {:?}", arguments, text);
    }
}

fn grid(name: &str) -> (Grid, bool) {
    let (grid, integers) = match name.strip_suffix(",i") {
        Some(grid) => (grid, true),
        None => (name, false),
    };
    let grid = match grid.strip_prefix('d') {
        Some(digits) => Grid::Digits(digits.parse().expect("a number")),
        None => Grid::step(grid.trim_start_matches('s')).expect("a step"),
    };
    (grid, integers)
}

#[test]
fn numbers_become_what_decimal_arithmetic_says() {
    let mut count = 0;
    for line in NUMBERS.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (grid, integers) = grid(words[0]);
        let out = number::canonical(words[1].as_bytes(), grid, integers);
        let expected = if words[2] == "=" { None } else { Some(words[2].as_bytes().to_vec()) };
        assert_eq!(out, expected, "{}", line);
        let out = out.unwrap_or_else(|| words[1].into());
        let again = number::canonical(&out, grid, integers).unwrap_or_else(|| out.clone());
        assert_eq!(again, out, "{}, again", line);
        count += 1;
    }
    assert!(count > 3_000);
}

#[test]
fn halves_and_carries_are_exact() {
    check("--digits 4", "9.9995 9.9985 9.99949999 9.99950001", "10 9.998 9.999 10");
    // As binary floats, 2.675 is below the half and 1.115 above.
    check("--step 0.01", "2.675 2.665 1.115 1.125 -2.675", "2.68 2.66 1.12 1.12 -2.68");
    check("--step 0.001", "-0.0004 -0.0005 -0.0006 -0.0 0.0005", "0 0 -0.001 0 0");
    check("--step 5", "12.5 7.5 7.4999 2.5 2.50001 17.5", "10 10 5 0 5 20");
    check("--step 2", "3.0 5.0 2.9 3.1 -1.0", "4 4 2 4 0");
}

#[test]
fn what_counts_as_a_number_is_found_in_texts() {
    check("", "x=1.23456789,y:-2.00000001;(3.5000000)%", "x=1.23457,y:-2;(3.5)%");
    check("", "{\"a\":[1.0,-0.0,1e-05],\"b\":\"2.50\"}\r\n", "{\"a\":[1,0,0.00001],\"b\":\"2.5\"}\r\n");
    check("", "a\t1.50\t\t2.50\n\n 3.50", "a\t1.5\t\t2.5\n\n 3.5");
    for same in [
        "nan NaN inf -Infinity",
        "A1B2 10.0.0.1 1.2.3 v1.0 1.50kg 1.50\u{b0}C \u{2212}1.50",
        "2024-01-05T12:30:15.2500Z 2024-01-05 12:30:15.2500 7:05:09.50",
        "1.50-2.50 550e8400-e29b-41d4-a716-446655440000 0x1.80p3",
        "007 1234567890 -0 the end is 1.50.",
    ] {
        check("", same, same);
    }
    check("", "1:0.50 2:0.250 3:15.50", "1:0.5 2:0.25 3:15.5");
    check("--integers --digits 3", "1234567 -0 +5 007 1.2345", "1230000 0 5 007 1.23");
}

#[test]
fn lines_are_skipped_and_marks_kept() {
    let rules = "--skip-lines Date: --skip-lines #";
    check(rules, "Date: 1.50\nDated 1.50\n #1.50\n#1.50\n1.50", "Dated 1.5\n #1.5\n1.5");
    check(rules, "\u{feff}1.50\n", "\u{feff}1.5\n");
    check(rules, "\u{feff}#1.50\n2.50\n", "\u{feff}2.5\n");
    check(rules, "", "");
}

#[test]
fn columns_stay_where_they_are() {
    let arguments = "--columns --step 0.01";
    check(arguments, "ATOM   9.9996  -0.001\n", "ATOM       10       0\n");
    check(arguments, "ATOM  10.0004   0.001\n", "ATOM       10       0\n");
    // One that starts the line, one without spaces before it, and one that grows.
    check(arguments, "-1.000,1.000 x   1e5 1e5", "    -1,1 x 100000 100000");
    let (below, above) = ("  9.9996  1.0", " 10.0004  1.0");
    assert_eq!(converted(arguments, below.as_bytes()), converted(arguments, above.as_bytes()));
}

#[test]
fn long_lines_and_long_numbers_are_read() {
    let nines = format!("0.{}\n", "9".repeat(1 << 20));
    check("--digits 1000", &nines, "1\n");
    let threes = "3".repeat(1 << 20);
    check("", &format!("{}.5", threes), "3.33333e1048575");
    check("--step 0.1", &format!("1.{}", threes), "1.3");
    check("", &format!("{}\n", "1.50 ".repeat(1 << 18)), &format!("{}\n", "1.5 ".repeat(1 << 18)));
    let too_long = vec![b' '; LINE_BYTES_MAX + 1];
    let answer = text::convert(&too_long[..], &mut std::io::sink(), &settings("").rules);
    assert!(matches!(answer, Err(TextError::Long(1))), "{:?}", answer);
    let fits = text::convert(&too_long[1..], &mut std::io::sink(), &settings("").rules);
    assert!(fits.is_ok(), "{:?}", fits);
}

#[test]
fn texts_are_told_from_other_files() {
    // A reader that gives little at a time, so that characters are cut.
    struct Little<'a>(&'a [u8]);
    impl std::io::Read for Little<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = 3.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let is_text = |bytes: &[u8]| text::is_text(Little(bytes)).expect("readable");
    let all = "a\u{e9}\u{20ac}\u{1f600}\n".repeat(20_000);
    assert!(is_text(b"") && is_text(all.as_bytes()));
    assert!(text::is_text(all.as_bytes()).expect("readable"));
    for other in [&b"\xff"[..], b"a\0", b"\xe2\x82", b"\xc3(", b"abc\xf0\x9f\x98", b"\xed\xa0\x80"] {
        assert!(!is_text(other), "{:?}", other);
    }
    assert!(!is_text(&[all.as_bytes(), b"\xe2\x82"].concat()));
}

#[test]
fn any_bytes_have_a_form_that_is_its_own() {
    const PIECES: [&[u8]; 24] = [
        b"1",
        b"9",
        b"0",
        b"5",
        b".",
        b"-",
        b"+",
        b"e",
        b"E",
        b" ",
        b" ",
        b"\n",
        b",",
        b":",
        b"12:30:",
        b"\xc3\xa9",
        b"x",
        b"e999999999",
        b"\xff",
        b"00000",
        b"99999",
        b"#",
        b"\xef\xbb\xbf",
        b"\r",
    ];
    for seed in 0..MUTATIONS {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let text: Vec<u8> = (0..next() % 60).flat_map(|_| PIECES[next() % PIECES.len()].to_vec()).collect();
        for arguments in ["", "--digits 2 --integers", "--step 0.05 --columns", "--step 1 --integers --skip-lines #"] {
            let once = converted(arguments, &text);
            let again = converted(arguments, &once);
            assert_eq!(again, once, "seed {}, {}: {:?}", seed, arguments, String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn patterns_fit_names_and_paths() {
    for (pattern, path, fits) in [
        ("*.csv", "a.csv", true),
        ("*.csv", "deep/er/a.csv", true),
        ("*.csv", "a.csv.gz", false),
        ("a*b*c", "aXbXbc", true),
        ("a*b*c", "aXcXb", false),
        ("*", ".hidden", true),
        ("out/*.csv", "out/a.csv", true),
        ("out/*.csv", "out/b/a.csv", false),
        ("*/*", "a", false),
        ("a.csv", "aXcsv", false),
        ("", "a", false),
        ("**a", "a", true),
        ("?", "a", false),
    ] {
        assert_eq!(glob::fits(pattern, path), fits, "{} {}", pattern, path);
    }
    let stars = "*a".repeat(200);
    assert!(!glob::fits(&stars, &format!("{}b", "a".repeat(100_000))));
}

#[test]
fn arguments_are_understood() {
    let read = |words: &[&str]| Settings::read(words.iter().map(|word| OsString::from(*word)));
    assert_eq!(settings("").rules.grid, Grid::Digits(6));
    assert_eq!(settings("--step 0.500").rules.grid, Grid::Step { factor: 5, power: -1 });
    assert_eq!(settings("--step 2e-4").rules.grid, Grid::Step { factor: 2, power: -4 });
    assert_eq!(settings("--step 100").rules.grid, Grid::Step { factor: 1, power: 2 });
    assert_eq!(settings("--only *.a --only b --as-is c").only, ["*.a", "b"]);
    for wrong in [
        &["--digits"][..],
        &["--digits", "0"],
        &["--digits", "1001"],
        &["--digits", "-1"],
        &["--step", "0"],
        &["--step", "0.3"],
        &["--step", "0.25"],
        &["--step", "-0.1"],
        &["--step", "0.1x"],
        &["--digits", "3", "--step", "0.1"],
        &["--digits", "3", "--digits", "3"],
        &["--skip-lines", ""],
        &["--only"],
        &["file.csv"],
    ] {
        assert_eq!(read(wrong), Err(Failure::Usage(USAGE.into())), "{:?}", wrong);
    }
}
