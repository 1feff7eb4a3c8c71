//! A small stroke font for the pixel pictures: each letter is a few lines and curves, drawn with a round pen, so it is smooth at any size.

use crate::scene::{Point, Step};

/// Height of a capital letter in the font's units; a small letter is 7 high, what hangs below the line is 3.
const CAPITAL: f64 = 10.0;
/// Height of a capital as a share of the text size, as in common fonts.
const CAPITAL_SHARE: f64 = 0.70;
/// Room between two letters.
const GAP: f64 = 2.7;
const SPACE: f64 = 2.6;
/// Width of the pen.
const PEN: f64 = 1.15;
const PEN_BOLD: f64 = 1.75;

/// A letter: its width, and its strokes in the units above, y up from the line.
struct Letter {
    width: f64,
    strokes: &'static str,
}

/// Font units to picture units for a text size.
pub fn unit(size: f64) -> f64 {
    size * CAPITAL_SHARE / CAPITAL
}

/// Width of the pen in picture units.
pub fn pen(size: f64, bold: bool) -> f64 {
    unit(size) * if bold { PEN_BOLD } else { PEN }
}

/// Width of the words in picture units.
pub fn width(words: &str, size: f64) -> f64 {
    let advances = words.chars().map(|letter| advance(&find(letter)));
    let total = advances.fold(0.0, |total, advance| total + advance);
    ((total - GAP) * unit(size)).max(0.0)
}

/// The strokes of each letter, placed along the x axis from 0, y down, with the line at 0.
pub fn strokes(words: &str, size: f64) -> Vec<Vec<Step>> {
    let scale = unit(size);
    let mut pen_x = 0.0;
    let mut letters = Vec::new();
    for letter in words.chars() {
        let letter = find(letter);
        let place = |(x, y): Point| ((pen_x + x) * scale, -y * scale);
        let moved = parse(letter.strokes).into_iter().map(|step| match step {
            Step::Move(p) => Step::Move(place(p)),
            Step::Line(p) => Step::Line(place(p)),
            Step::Curve(a, b, p) => Step::Curve(place(a), place(b), place(p)),
        });
        letters.push(moved.collect());
        pen_x += advance(&letter);
    }
    letters
}

fn advance(letter: &Letter) -> f64 {
    letter.width + GAP
}

/// Reads strokes: `M x y` begins, `L x y` draws a line, `C x y x y x y` a curve.
fn parse(strokes: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = strokes;
    while let Some(kind) = rest.chars().next() {
        let end = rest[1..].find(|letter: char| letter.is_ascii_uppercase()).map_or(rest.len(), |at| at + 1);
        let numbers: Vec<f64> = rest[1..end].split(' ').filter_map(|number| number.parse().ok()).collect();
        match (kind, numbers.as_slice()) {
            ('M', &[x, y]) => steps.push(Step::Move((x, y))),
            ('L', &[x, y]) => steps.push(Step::Line((x, y))),
            ('C', &[ax, ay, bx, by, x, y]) => steps.push(Step::Curve((ax, ay), (bx, by), (x, y))),
            _ => debug_assert!(false, "strokes `{}`", &rest[..end]),
        }
        rest = &rest[end..];
    }
    steps
}

fn find(letter: char) -> Letter {
    let (width, strokes) = match letter {
        'A'..='Z' => capital(letter),
        'a'..='z' => small(letter),
        _ => sign(letter),
    };
    Letter { width, strokes }
}

fn capital(letter: char) -> (f64, &'static str) {
    match letter {
        'A' => (8.0, "M0 0L4 10L8 0M1.3 3.2L6.7 3.2"),
        'B' => (6.9, "M0 0L0 10L3.8 10C7.2 10 7.2 5.4 3.8 5.4L0 5.4M3.8 5.4C7.9 5.4 7.9 0 3.8 0L0 0"),
        'C' => (7.6, "M7.6 8C6.8 9.3 5.6 10 4.2 10C1.8 10 0 7.8 0 5C0 2.2 1.8 0 4.2 0C5.6 0 6.8 .7 7.6 2"),
        'D' => (7.6, "M0 0L0 10L3 10C6 10 7.6 8 7.6 5C7.6 2 6 0 3 0L0 0"),
        'E' => (6.0, "M6 10L0 10L0 0L6 0M0 5.2L5.2 5.2"),
        'F' => (5.8, "M5.8 10L0 10L0 0M0 5.1L5 5.1"),
        'G' => (7.8, "M7.6 8C6.8 9.3 5.6 10 4.2 10C1.8 10 0 7.8 0 5C0 2.2 1.8 0 4.2 0C6.3 0 7.8 1.2 7.8 3.2L7.8 4.6L4.6 4.6"),
        'H' => (7.4, "M0 0L0 10M7.4 0L7.4 10M0 5.2L7.4 5.2"),
        'I' => (0.0, "M0 0L0 10"),
        'J' => (4.6, "M4.6 10L4.6 2.6C4.6 .8 3.8 0 2.3 0C1.1 0 .3 .6 0 1.8"),
        'K' => (6.8, "M0 0L0 10M6.6 10L0 3.8M2.4 6L6.8 0"),
        'L' => (5.4, "M0 10L0 0L5.4 0"),
        'M' => (8.8, "M0 0L0 10L4.4 3L8.8 10L8.8 0"),
        'N' => (7.4, "M0 0L0 10L7.4 0L7.4 10"),
        'O' => (8.4, "M4.2 10C6.5 10 8.4 7.8 8.4 5C8.4 2.2 6.5 0 4.2 0C1.9 0 0 2.2 0 5C0 7.8 1.9 10 4.2 10"),
        'P' => (6.6, "M0 0L0 10L3.6 10C7.6 10 7.6 4.6 3.6 4.6L0 4.6"),
        'Q' => (8.4, "M4.2 10C6.5 10 8.4 7.8 8.4 5C8.4 2.2 6.5 0 4.2 0C1.9 0 0 2.2 0 5C0 7.8 1.9 10 4.2 10M5 2.6L8.2 -.8"),
        'R' => (7.0, "M0 0L0 10L3.6 10C7.6 10 7.6 4.6 3.6 4.6L0 4.6M3.6 4.6L7 0"),
        'S' => (6.6, "M6.2 8.2C5.6 9.4 4.7 10 3.4 10C1.7 10 .4 9 .4 7.5C.4 4.2 6.6 6 6.6 2.7C6.6 1 5.2 0 3.4 0C1.7 0 .6 .7 0 2.1"),
        'T' => (7.0, "M0 10L7 10M3.5 10L3.5 0"),
        'U' => (7.2, "M0 10L0 3.4C0 1.2 1.4 0 3.6 0C5.8 0 7.2 1.2 7.2 3.4L7.2 10"),
        'V' => (8.0, "M0 10L4 0L8 10"),
        'W' => (11.0, "M0 10L2.8 0L5.5 10L8.2 0L11 10"),
        'X' => (7.2, "M0 0L7.2 10M0 10L7.2 0"),
        'Y' => (7.4, "M0 10L3.7 4.8L7.4 10M3.7 4.8L3.7 0"),
        _ => (6.6, "M0 10L6.6 10L0 0L6.6 0"),
    }
}

fn small(letter: char) -> (f64, &'static str) {
    match letter {
        'a' => (5.4, "M5.4 7L5.4 0M5.4 3.5C5.4 5.6 4.4 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.7 0C4.4 0 5.4 1.4 5.4 3.5"),
        'b' => (5.4, "M0 10L0 0M0 3.5C0 5.6 1 7 2.7 7C4.3 7 5.4 5.5 5.4 3.5C5.4 1.5 4.3 0 2.7 0C1 0 0 1.4 0 3.5"),
        'c' => (4.8, "M4.8 5.8C4.3 6.6 3.6 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.7 0C3.6 0 4.3 .4 4.8 1.2"),
        'd' => (5.4, "M5.4 10L5.4 0M5.4 3.5C5.4 5.6 4.4 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.7 0C4.4 0 5.4 1.4 5.4 3.5"),
        'e' => (5.4, "M0 3.7L5.4 3.7C5.4 5.7 4.3 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.8 0C3.8 0 4.6 .4 5.1 1.3"),
        'f' => (3.4, "M3.6 9.9C2 10.3 1.2 9.6 1.2 8L1.2 0M0 6.6L3.2 6.6"),
        'g' => (5.4, "M5.4 3.5C5.4 5.6 4.4 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.7 0C4.4 0 5.4 1.4 5.4 3.5M5.4 7L5.4 -.6C5.4 -2.2 4.3 -3 2.7 -3C1.6 -3 .8 -2.6 .3 -1.8"),
        'h' => (5.0, "M0 10L0 0M0 4C0 5.8 1 7 2.7 7C4.2 7 5 6 5 4.4L5 0"),
        'i' => (0.0, "M0 7L0 0M0 9.6L0 9.8"),
        'j' => (1.6, "M1.6 7L1.6 -1.2C1.6 -2.5 1 -3 0 -3M1.6 9.6L1.6 9.8"),
        'k' => (4.8, "M0 10L0 0M4.6 7L0 2.7M1.7 4.2L4.8 0"),
        'l' => (0.0, "M0 10L0 0"),
        'm' => (8.4, "M0 7L0 0M0 4.2C0 5.9 .8 7 2.2 7C3.5 7 4.2 6.1 4.2 4.6L4.2 0M4.2 4.2C4.2 5.9 5 7 6.4 7C7.7 7 8.4 6.1 8.4 4.6L8.4 0"),
        'n' => (5.0, "M0 7L0 0M0 4C0 5.8 1 7 2.7 7C4.2 7 5 6 5 4.4L5 0"),
        'o' => (5.6, "M2.8 7C4.4 7 5.6 5.5 5.6 3.5C5.6 1.5 4.4 0 2.8 0C1.2 0 0 1.5 0 3.5C0 5.5 1.2 7 2.8 7"),
        'p' => (5.4, "M0 7L0 -3M0 3.5C0 5.6 1 7 2.7 7C4.3 7 5.4 5.5 5.4 3.5C5.4 1.5 4.3 0 2.7 0C1 0 0 1.4 0 3.5"),
        'q' => (5.4, "M5.4 7L5.4 -3M5.4 3.5C5.4 5.6 4.4 7 2.7 7C1.1 7 0 5.5 0 3.5C0 1.5 1.1 0 2.7 0C4.4 0 5.4 1.4 5.4 3.5"),
        'r' => (3.0, "M0 7L0 0M0 3.8C0 5.8 1.2 7 3 6.8"),
        's' => (4.4, "M4.2 5.8C3.7 6.6 3.1 7 2.2 7C1 7 .2 6.4 .2 5.3C.2 3 4.4 4.2 4.4 1.8C4.4 .7 3.5 0 2.2 0C1.1 0 .4 .4 0 1.3"),
        't' => (3.2, "M1.2 9L1.2 1.8C1.2 .4 1.9 -.2 3.2 .1M0 6.6L3 6.6"),
        'u' => (5.0, "M0 7L0 2.6C0 1 .9 0 2.4 0C4 0 5 1.2 5 3M5 7L5 0"),
        'v' => (5.2, "M0 7L2.6 0L5.2 7"),
        'w' => (7.8, "M0 7L2 0L3.9 7L5.8 0L7.8 7"),
        'x' => (5.0, "M0 0L5 7M0 7L5 0"),
        'y' => (5.2, "M0 7L2.6 0M5.2 7L2 -1.6C1.6 -2.7 1 -3.1 0 -2.9"),
        _ => (4.6, "M0 7L4.6 7L0 0L4.6 0"),
    }
}

fn sign(letter: char) -> (f64, &'static str) {
    match letter {
        '0' => (6.0, "M3 10C4.8 10 6 8.2 6 5C6 1.8 4.8 0 3 0C1.2 0 0 1.8 0 5C0 8.2 1.2 10 3 10"),
        '1' => (6.0, "M1 8.1L3.4 10L3.4 0"),
        '2' => (6.0, "M.3 7.6C.5 9.2 1.5 10 3 10C4.7 10 5.8 8.9 5.8 7.4C5.8 5 2.6 3.2 0 0L6 0"),
        '3' => (6.0, "M.4 8.4C.9 9.5 1.8 10 3 10C4.6 10 5.6 9.1 5.6 7.7C5.6 6.2 4.4 5.4 2.4 5.4C4.6 5.4 6 4.4 6 2.7C6 1 4.8 0 3 0C1.6 0 .6 .6 0 1.8"),
        '4' => (6.2, "M4.6 0L4.6 10L0 3L6.2 3"),
        '5' => (6.0, "M5.4 10L1 10L.5 5.4C1.2 6 2 6.3 3 6.3C4.8 6.3 6 5.1 6 3.2C6 1.2 4.8 0 2.9 0C1.6 0 .6 .5 0 1.6"),
        '6' => (6.0, "M5.2 9.3C4.6 9.8 4 10 3.3 10C1.2 10 0 7.8 0 4C0 1.5 1.2 0 3 0C4.8 0 6 1.3 6 3.1C6 4.9 4.8 6.1 3.1 6.1C1.6 6.1 .4 5.2 0 3.8"),
        '7' => (6.0, "M0 10L6 10L2.2 0"),
        '8' => (6.0, "M3 5.4C1.4 5.4 .4 6.3 .4 7.7C.4 9.1 1.4 10 3 10C4.6 10 5.6 9.1 5.6 7.7C5.6 6.3 4.6 5.4 3 5.4C1.2 5.4 0 4.4 0 2.7C0 1 1.2 0 3 0C4.8 0 6 1 6 2.7C6 4.4 4.8 5.4 3 5.4"),
        '9' => (6.0, "M.8 .7C1.4 .2 2 0 2.7 0C4.8 0 6 2.2 6 6C6 8.5 4.8 10 3 10C1.2 10 0 8.7 0 6.9C0 5.1 1.2 3.9 2.9 3.9C4.4 3.9 5.6 4.8 6 6.2"),
        ' ' => (SPACE, ""),
        '.' => (0.0, "M0 0L0 .2"),
        ',' => (0.8, "M.8 .3L0 -1.8"),
        ':' => (0.0, "M0 .2L0 .4M0 5.6L0 5.8"),
        ';' => (0.8, "M.8 .3L0 -1.8M.8 5.6L.8 5.8"),
        '-' | '\u{2010}' => (3.2, "M0 3.6L3.2 3.6"),
        '\u{2013}' | '\u{2212}' => (5.0, "M0 3.6L5 3.6"),
        '_' => (6.0, "M0 -1L6 -1"),
        '+' => (5.6, "M0 4.2L5.6 4.2M2.8 1.4L2.8 7"),
        '=' => (5.6, "M0 2.8L5.6 2.8M0 5.6L5.6 5.6"),
        '%' => (9.2, "M7.6 10L1.6 0M2.1 10C3.3 10 4.2 9 4.2 7.6C4.2 6.2 3.3 5.2 2.1 5.2C.9 5.2 0 6.2 0 7.6C0 9 .9 10 2.1 10M7.1 4.8C8.3 4.8 9.2 3.8 9.2 2.4C9.2 1 8.3 0 7.1 0C5.9 0 5 1 5 2.4C5 3.8 5.9 4.8 7.1 4.8"),
        '(' => (2.2, "M2.2 11C.7 9.2 0 7 0 4.5C0 2 .7 -.2 2.2 -2"),
        ')' => (2.2, "M0 11C1.5 9.2 2.2 7 2.2 4.5C2.2 2 1.5 -.2 0 -2"),
        '/' => (4.4, "M0 -1.2L4.4 10.6"),
        '\'' => (0.0, "M0 10L0 7.6"),
        '^' => (4.8, "M0 6.6L2.4 10L4.8 6.6"),
        '<' => (5.0, "M5 7.2L0 4.2L5 1.2"),
        '>' => (5.0, "M0 7.2L5 4.2L0 1.2"),
        '&' => (7.6, "M7.6 0L2.2 6.4C.8 8.2 1.5 10 3.2 10C5.2 10 5.6 7.6 3.8 6.2L2 4.8C-.8 2.8 .2 0 3 0C5.2 0 6.6 1.8 7 4.4"),
        '\u{d7}' => (5.0, "M0 1.6L5 6.6M0 6.6L5 1.6"),
        '\u{b7}' => (0.0, "M0 3.6L0 3.8"),
        _ => (6.0, "M0 0L6 0L6 10L0 10L0 0"),
    }
}
