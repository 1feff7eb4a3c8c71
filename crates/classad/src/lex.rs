//! Source text to tokens.

use crate::parse::{ParseError, ParseFault};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    End,
    /// Digits only; the sign is not part of it.
    Integer(String),
    Real(f64),
    Text(String),
    /// A name, plain or in single quotes.
    Name(String),
    Word(Keyword),
    /// An operator or a bracket, in its one spelling.
    Sign(&'static str),
}

/// Words that are no names unless they are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    True,
    False,
    Undefined,
    Error,
}

/// Operators and brackets, the longest first where one begins another. `? :` with white space between is `?:`; that is seen to
/// apart.
const SIGNS: [&str; 34] = [
    ">>>", "=?=", "=!=", "==", "!=", "<=", ">=", "<<", ">>", "&&", "||", "<", ">", "=", "!", "&", "|", "^", "~", "+",
    "-", "*", "/", "%", "?", ":", ";", ",", ".", "[", "]", "(", ")", "{",
];
const LAST_SIGN: &str = "}";

pub(crate) struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    /// The next token and where it begins.
    pub(crate) fn next(&mut self) -> Result<(Token, usize), ParseError> {
        self.skip_blank()?;
        let start = self.at;
        let rest = &self.source[start..];
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start)) };
        let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let token = match first {
            '0'..='9' => self.number()?,
            '.' if second_is_digit => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            '"' => Token::Text(self.quoted('"')?),
            '\'' => Token::Name(self.quoted('\'')?),
            _ => self.sign(first)?,
        };
        Ok((token, start))
    }

    /// Whether a number begins right behind the last token.
    pub(crate) fn at_number(&self) -> bool {
        let rest = &self.source.as_bytes()[self.at..];
        let digits = rest.strip_prefix(b".").unwrap_or(rest);
        digits.first().is_some_and(u8::is_ascii_digit)
    }

    /// An error at a place of the source.
    pub(crate) fn fault(&self, at: usize, fault: ParseFault) -> ParseError {
        let before = &self.source[..at.min(self.source.len())];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        ParseError { line, column: before[line_start..].chars().count() + 1, fault }
    }

    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.source[self.at..];
            let trimmed = rest.trim_start_matches(is_blank);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return Err(self.fault(self.at, ParseFault::OpenComment)),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let bytes = self.source.as_bytes();
        let start = self.at;
        let run =
            |from: usize| from + bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = run(start);
        let mut real = false;
        if bytes.get(end) == Some(&b'.') {
            let fraction = run(end + 1);
            if fraction == end + 1 {
                return Err(self.fault(end, ParseFault::BadNumber { after: "." }));
            }
            (real, end) = (true, fraction);
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let digits = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if run(digits) == digits {
                return Err(self.fault(end, ParseFault::BadNumber { after: "e" }));
            }
            (real, end) = (true, run(digits));
        }
        let text = &self.source[start..end];
        self.at = end;
        if real {
            // INVARIANT: digits, a point and an exponent as Rust has them; too large a number becomes infinite.
            return Ok(Token::Real(text.parse().unwrap_or(f64::INFINITY)));
        }
        let marked = text == "0" && matches!(bytes.get(end), Some(b'x' | b'X'));
        if marked || text.len() > 1 && text.starts_with('0') {
            return Err(self.fault(start, ParseFault::LeadingZero));
        }
        Ok(Token::Integer(text.to_owned()))
    }

    fn word(&mut self) -> Token {
        let rest = &self.source[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let word = &rest[..length];
        self.at += length;
        match word.to_ascii_lowercase().as_str() {
            "true" => Token::Word(Keyword::True),
            "false" => Token::Word(Keyword::False),
            "undefined" => Token::Word(Keyword::Undefined),
            "error" => Token::Word(Keyword::Error),
            "is" => Token::Sign("=?="),
            "isnt" => Token::Sign("=!="),
            _ => Token::Name(word.to_owned()),
        }
    }

    /// Text between quotes; pieces with only white space between them are one.
    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let start = self.at;
        let mut bytes = Vec::new();
        loop {
            self.at += 1;
            self.piece(quote, start, &mut bytes)?;
            let rest = &self.source[self.at..];
            let next = rest.trim_start_matches(is_blank);
            if !next.starts_with(quote) {
                return String::from_utf8(bytes).map_err(|_| self.fault(start, ParseFault::NotText));
            }
            self.at += rest.len() - next.len();
        }
    }

    /// From behind a quote to behind the next one.
    fn piece(&mut self, quote: char, start: usize, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
        let source = self.source.as_bytes();
        while let Some(byte) = source.get(self.at).copied() {
            self.at += 1;
            if byte == quote as u8 {
                return Ok(());
            }
            let byte = if byte == b'\\' {
                let Some(escaped) = source.get(self.at).copied() else { break };
                self.at += 1;
                match escaped {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'0'..=b'7' => self.octal(escaped - b'0'),
                    other => other,
                }
            } else {
                byte
            };
            if byte == 0 {
                return Err(self.fault(self.at - 1, ParseFault::ZeroByte));
            }
            bytes.push(byte);
        }
        Err(self.fault(start, ParseFault::OpenQuote { quote }))
    }

    /// Up to two more octal digits, as long as the number fits a byte.
    fn octal(&mut self, first: u8) -> u8 {
        let mut number = first;
        for _ in 0..2 {
            match self.source.as_bytes().get(self.at) {
                Some(digit @ b'0'..=b'7') if number < 0o40 => number = number << 3 | (digit - b'0'),
                _ => break,
            }
            self.at += 1;
        }
        number
    }

    fn sign(&mut self, first: char) -> Result<Token, ParseError> {
        let rest = &self.source[self.at..];
        let Some(sign) = SIGNS.into_iter().chain([LAST_SIGN]).find(|sign| rest.starts_with(sign)) else {
            return Err(self.fault(self.at, ParseFault::Character { found: first }));
        };
        self.at += sign.len();
        if sign == "?" {
            let rest = &self.source[self.at..];
            let next = rest.trim_start_matches(is_blank);
            if next.starts_with(':') {
                self.at += rest.len() - next.len() + 1;
                return Ok(Token::Sign("?:"));
            }
        }
        Ok(Token::Sign(sign))
    }
}

/// White space of the C locale.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
