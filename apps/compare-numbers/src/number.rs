//! Rounds a decimal number as it is written, digit by digit: no float is involved, so a half is a half.

use std::cmp::Ordering;

/// Digits of an exponent, zeros in front aside. A word with more is no number.
const EXPONENT_DIGITS_MAX: usize = 9;
/// Numbers whose first digit stands for 10^-7 to 10^20 are written without exponent.
const PLAIN: std::ops::RangeInclusive<i64> = -7..=20;
/// Significant digits that may be asked for.
pub const DIGITS_MAX: usize = 1000;

/// What numbers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// So many significant digits.
    Digits(usize),
    /// The multiples of `factor` times 10^`power`; the factor is 1, 2 or 5.
    Step { factor: u8, power: i64 },
}

impl Grid {
    /// Understands a step such as 0.001, 0.5 or 2e-4.
    pub fn step(text: &str) -> Option<Grid> {
        let step = Number::read(text.as_bytes())?.trimmed();
        match step.digits[..] {
            [factor] if !step.negative && [1, 2, 5].contains(&factor) => Some(Grid::Step { factor, power: step.last }),
            _ => None,
        }
    }
}

/// The canonical text of a word that is a number; none if the word stays as it is.
pub fn canonical(word: &[u8], grid: Grid, integers: bool) -> Option<Vec<u8>> {
    let number = Number::read(word)?;
    if number.integer && !(integers && !number.padded) {
        return None;
    }
    let number = number.trimmed();
    let rounded = match grid {
        Grid::Digits(count) => {
            let power = number.last + number.digits.len() as i64 - count as i64;
            number.to_grid(1, power)
        }
        Grid::Step { factor, power } => number.to_grid(factor, power),
    };
    Some(rounded.trimmed().text())
}

/// A sign, and digits of which the last stands for 10^`last`.
#[derive(Debug)]
struct Number {
    negative: bool,
    digits: Vec<u8>,
    last: i64,
    /// Written without point and exponent.
    integer: bool,
    /// Written with a zero before other digits of the whole part.
    padded: bool,
}

impl Number {
    /// Reads `[+-] (digits [. [digits]] | . digits) [e [+-] digits]`, and nothing else.
    fn read(word: &[u8]) -> Option<Number> {
        let (negative, rest) = sign(word);
        let (whole, rest) = digits(rest);
        let (fraction, point, rest) = match rest.split_first() {
            Some((b'.', rest)) => {
                let (fraction, rest) = digits(rest);
                (fraction, true, rest)
            }
            _ => (&rest[..0], false, rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest.split_first() {
            None => None,
            Some((b'e' | b'E', rest)) => Some(exponent(rest)?),
            Some(_) => return None,
        };
        let digits = whole.iter().chain(fraction).map(|digit| digit - b'0').collect();
        let last = exponent.unwrap_or(0) - fraction.len() as i64;
        let padded = whole.len() > 1 && whole[0] == b'0';
        Some(Number { negative, digits, last, integer: !point && exponent.is_none(), padded })
    }

    /// Without zeros in front and behind; zero has no digits and no sign.
    fn trimmed(mut self) -> Number {
        let front = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..front);
        let behind = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        self.digits.truncate(self.digits.len() - behind);
        self.last += behind as i64;
        self.negative &= !self.digits.is_empty();
        self
    }

    /// The nearest multiple of `factor` times 10^`power`, of two the one with the even quotient.
    fn to_grid(self, factor: u8, power: i64) -> Number {
        // Ten times the power is a multiple of the factors 1, 2 and 5.
        if self.digits.is_empty() || self.last > power {
            return self;
        }
        let cut = (power - self.last) as u64;
        let length = self.digits.len() as u64;
        let (high, low) = self.digits.split_at(length.saturating_sub(cut) as usize);
        // What is cut off, against one half of 10^power.
        let half = match low.split_first() {
            Some((first, rest)) if cut <= length => first.cmp(&5).then(rest.iter().any(|digit| *digit > 0).cmp(&false)),
            _ => Ordering::Less,
        };
        let nothing = low.iter().all(|digit| *digit == 0);
        let (mut quotient, rest) = divide(high, factor);
        let nearer = match (2 * rest + factor % 2).cmp(&factor) {
            Ordering::Equal if factor % 2 == 1 => half,
            Ordering::Equal if nothing => Ordering::Equal,
            Ordering::Equal => Ordering::Greater,
            other => other,
        };
        let odd = quotient.last().map_or(false, |digit| digit % 2 == 1);
        if nearer == Ordering::Greater || (nearer == Ordering::Equal && odd) {
            increase(&mut quotient);
        }
        Number { digits: multiply(&quotient, factor), last: power, ..self }
    }

    /// The canonical text of a trimmed number.
    fn text(&self) -> Vec<u8> {
        let figures = || self.digits.iter().map(|digit| digit + b'0');
        let count = self.digits.len() as i64;
        if count == 0 {
            return b"0".to_vec();
        }
        let mut text = Vec::with_capacity(self.digits.len() + 24);
        if self.negative {
            text.push(b'-');
        }
        let first = self.last + count - 1;
        if !PLAIN.contains(&first) {
            text.extend(figures().take(1));
            if count > 1 {
                text.push(b'.');
                text.extend(figures().skip(1));
            }
            text.extend_from_slice(format!("e{}", first).as_bytes());
        } else if self.last >= 0 {
            text.extend(figures());
            text.extend((0..self.last).map(|_| b'0'));
        } else if first >= 0 {
            let whole = first as usize + 1;
            text.extend(figures().take(whole));
            text.push(b'.');
            text.extend(figures().skip(whole));
        } else {
            text.extend_from_slice(b"0.");
            text.extend((first + 1..0).map(|_| b'0'));
            text.extend(figures());
        }
        text
    }
}

fn sign(word: &[u8]) -> (bool, &[u8]) {
    match word.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, word),
    }
}

/// The digits at the beginning, and what follows.
fn digits(word: &[u8]) -> (&[u8], &[u8]) {
    word.split_at(word.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn exponent(word: &[u8]) -> Option<i64> {
    let (negative, rest) = sign(word);
    let (figures, rest) = digits(rest);
    if figures.is_empty() || !rest.is_empty() {
        return None;
    }
    let zeros = figures.iter().take_while(|digit| **digit == b'0').count();
    if figures.len() - zeros > EXPONENT_DIGITS_MAX {
        return None;
    }
    let value = figures[zeros..].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

/// Quotient and rest.
fn divide(digits: &[u8], by: u8) -> (Vec<u8>, u8) {
    let mut rest = 0;
    let quotient = digits.iter().map(|digit| {
        let value = rest * 10 + digit;
        rest = value % by;
        value / by
    });
    (quotient.collect(), rest)
}

fn increase(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
}

fn multiply(digits: &[u8], by: u8) -> Vec<u8> {
    let mut carry = 0;
    let mut product: Vec<u8> = Vec::with_capacity(digits.len() + 1);
    for digit in digits.iter().rev() {
        let value = digit * by + carry;
        product.push(value % 10);
        carry = value / 10;
    }
    product.push(carry);
    product.reverse();
    product
}
