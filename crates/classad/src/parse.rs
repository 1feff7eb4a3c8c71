//! Tokens to expressions.

use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::ad::{ClassAd, InsertError};
use crate::bounds::{EXPRESSION_DEPTH_MAX, SOURCE_BYTES_MAX};
use crate::calendar;
use crate::expr::{BinaryOperator, Call, Expr, Node, UnaryOperator};
use crate::functions::Function;
use crate::lex::{Keyword, Lexer, Token};
use crate::name::{Name, NameError};
use crate::value::Value;

/// Why a source is no expression or no ad, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: ParseFault,
}

/// What is wrong at a place of the source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseFault {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// The language does not know this character.
    #[error("the character {found:?} means nothing here; text goes between double quotes")]
    Character {
        /// It.
        found: char,
    },
    /// A quote that nothing closes.
    #[error("nothing closes this quote: add {quote}")]
    OpenQuote {
        /// The quote.
        quote: char,
    },
    /// A comment that nothing closes.
    #[error("nothing closes this comment: add */")]
    OpenComment,
    /// Text with a zero byte in it.
    #[error("text cannot contain the byte 0")]
    ZeroByte,
    /// Escapes that make no UTF-8.
    #[error("the escapes in this text do not make UTF-8; write the characters themselves")]
    NotText,
    /// A number that stops in the middle.
    #[error("digits must follow {after:?} in a number")]
    BadNumber {
        /// Its last character.
        after: &'static str,
    },
    /// `010`, `0x10`: some read them as decimal, some as octal, some as 0.
    #[error("a whole number cannot begin with 0; write it in decimal without leading zeros")]
    LeadingZero,
    /// A whole number outside of 64 bits.
    #[error("the number {digits} does not fit 64 bits; write a real number, {digits}.0")]
    IntegerRange {
        /// As it was written.
        digits: String,
    },
    /// The text given to `absTime` or `relTime` is no time.
    #[error("{function} cannot read {text:?}; it reads {example}")]
    Time {
        /// The function.
        function: &'static str,
        /// The text.
        text: String,
        /// A time as it should be written.
        example: &'static str,
    },
    /// An attribute's name that cannot be one.
    #[error(transparent)]
    Name(NameError),
    /// An attribute that the ad does not take.
    #[error(transparent)]
    Insert(InsertError),
    /// Nested further than anybody needs.
    #[error("nested more than {EXPRESSION_DEPTH_MAX} levels deep; give parts of it names of their own")]
    TooDeep,
    /// Longer than anybody needs.
    #[error("the source has {got} bytes; {SOURCE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        got: usize,
    },
}

/// Reads one expression.
pub(crate) fn expression(source: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(source)?;
    let deep = parser.expression()?;
    parser.end("an operator or the end")?;
    Ok(deep.expr)
}

/// Reads one ad.
pub(crate) fn ad(source: &str) -> Result<ClassAd, ParseError> {
    let mut parser = Parser::new(source)?;
    if parser.token != Token::Sign("[") {
        return Err(parser.expected("[ at the beginning of an ad"));
    }
    let (ad, _) = parser.ad()?;
    parser.end("the end of the ad")?;
    Ok(ad)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, and where it begins.
    token: Token,
    at: usize,
    /// Expressions that are being read at the moment, one within the other.
    level: usize,
}

/// An expression and how many levels it has.
struct Deep {
    expr: Expr,
    depth: usize,
}

/// Binary operators but for `&&` and `||`, which make chains: their binding strength, weakest first.
const BINARY: [(&str, u8, BinaryOperator); 19] = [
    ("|", 3, BinaryOperator::BitOr),
    ("^", 4, BinaryOperator::BitXor),
    ("&", 5, BinaryOperator::BitAnd),
    ("==", 6, BinaryOperator::Equal),
    ("!=", 6, BinaryOperator::NotEqual),
    ("=?=", 6, BinaryOperator::Is),
    ("=!=", 6, BinaryOperator::Isnt),
    ("<", 7, BinaryOperator::Less),
    ("<=", 7, BinaryOperator::LessOrEqual),
    (">", 7, BinaryOperator::Greater),
    (">=", 7, BinaryOperator::GreaterOrEqual),
    ("<<", 8, BinaryOperator::ShiftLeft),
    (">>", 8, BinaryOperator::ShiftRight),
    (">>>", 8, BinaryOperator::ShiftRightUnsigned),
    ("+", 9, BinaryOperator::Add),
    ("-", 9, BinaryOperator::Subtract),
    ("*", 10, BinaryOperator::Multiply),
    ("/", 10, BinaryOperator::Divide),
    ("%", 10, BinaryOperator::Modulus),
];
const OR: u8 = 1;
const AND: u8 = 2;

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Result<Self, ParseError> {
        let mut lexer = Lexer::new(source);
        if source.len() > SOURCE_BYTES_MAX {
            return Err(lexer.fault(0, ParseFault::TooLong { got: source.len() }));
        }
        let (token, at) = lexer.next()?;
        Ok(Self { lexer, token, at, level: 0 })
    }

    fn advance(&mut self) -> Result<Token, ParseError> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn takes(&mut self, sign: &'static str) -> Result<bool, ParseError> {
        let takes = self.token == Token::Sign(sign);
        if takes {
            self.advance()?;
        }
        Ok(takes)
    }

    fn expect(&mut self, sign: &'static str, expected: &'static str) -> Result<(), ParseError> {
        if self.takes(sign)? { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Integer(digits) => format!("the number {digits}"),
            Token::Real(value) => format!("the number {value}"),
            Token::Text(text) => format!("the text {text:?}"),
            Token::Name(name) => format!("the name {name}"),
            Token::Word(word) => format!("{word:?}").to_lowercase(),
            Token::Sign(sign) => (*sign).to_owned(),
        };
        self.lexer.fault(self.at, ParseFault::Expected { expected, found })
    }

    fn end(&self, expected: &'static str) -> Result<(), ParseError> {
        if self.token == Token::End { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn node(&self, node: Node, deepest: usize) -> Result<Deep, ParseError> {
        if deepest >= EXPRESSION_DEPTH_MAX {
            return Err(self.lexer.fault(self.at, ParseFault::TooDeep));
        }
        Ok(Deep { expr: Expr(node), depth: deepest + 1 })
    }

    /// Reads what is nested in something: the guard of the stack.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.level >= EXPRESSION_DEPTH_MAX {
            return Err(self.lexer.fault(self.at, ParseFault::TooDeep));
        }
        self.level += 1;
        let read = read(self);
        self.level -= 1;
        read
    }

    fn expression(&mut self) -> Result<Deep, ParseError> {
        self.nested(|parser| {
            let condition = parser.binary(OR)?;
            if !parser.takes("?")? {
                return Ok(condition);
            }
            let chosen = parser.expression()?;
            parser.expect(":", ": and what holds otherwise")?;
            let otherwise = parser.expression()?;
            let depth = condition.depth.max(chosen.depth).max(otherwise.depth);
            parser.node(Node::Ternary(Box::new([condition.expr, chosen.expr, otherwise.expr])), depth)
        })
    }

    /// Operators that bind at least as tightly as `weakest`.
    fn binary(&mut self, weakest: u8) -> Result<Deep, ParseError> {
        let mut left = self.unary()?;
        loop {
            let Token::Sign(sign) = self.token else { return Ok(left) };
            left = match sign {
                "||" if weakest <= OR => self.chain(left, "||", OR)?,
                "&&" if weakest <= AND => self.chain(left, "&&", AND)?,
                _ => {
                    let found = BINARY.iter().find(|(name, strength, _)| *name == sign && *strength >= weakest);
                    let Some((_, strength, operator)) = found else { return Ok(left) };
                    self.advance()?;
                    let right = self.binary(strength + 1)?;
                    let depth = left.depth.max(right.depth);
                    self.node(Node::Binary(*operator, Box::new([left.expr, right.expr])), depth)?
                }
            };
        }
    }

    fn chain(&mut self, first: Deep, sign: &'static str, strength: u8) -> Result<Deep, ParseError> {
        let mut depth = first.depth;
        let mut terms = vec![first.expr];
        while self.takes(sign)? {
            let term = self.binary(strength + 1)?;
            depth = depth.max(term.depth);
            terms.push(term.expr);
        }
        self.node(if strength == OR { Node::Any(terms) } else { Node::All(terms) }, depth)
    }

    fn unary(&mut self) -> Result<Deep, ParseError> {
        let operator = match &self.token {
            Token::Sign("+") => UnaryOperator::Plus,
            Token::Sign("-") if !self.is_negative_number() => UnaryOperator::Minus,
            Token::Sign("!") => UnaryOperator::Not,
            Token::Sign("~") => UnaryOperator::BitNot,
            _ => return self.postfix(),
        };
        self.advance()?;
        let inner = self.nested(Self::unary)?;
        self.node(Node::Unary(operator, Box::new(inner.expr)), inner.depth)
    }

    /// Whether the minus that comes next has a number right behind it: then it is part of the number.
    fn is_negative_number(&self) -> bool {
        self.lexer.at_number()
    }

    fn postfix(&mut self) -> Result<Deep, ParseError> {
        let mut left = self.primary()?;
        loop {
            left = if self.takes(".")? {
                let name = self.name("the name of an attribute after the point")?;
                self.node(Node::Select(Box::new(left.expr), name), left.depth)?
            } else if self.takes("[")? {
                let index = self.expression()?;
                self.expect("]", "] after the subscript")?;
                let depth = left.depth.max(index.depth);
                self.node(Node::Subscript(Box::new([left.expr, index.expr])), depth)?
            } else if self.takes("?:")? {
                // It binds as tightly as a subscript: `1 + a ?: 2` is `1 + (a ?: 2)`.
                let otherwise = self.nested(Self::postfix)?;
                let depth = left.depth.max(otherwise.depth);
                self.node(Node::Default(Box::new([left.expr, otherwise.expr])), depth)?
            } else {
                return Ok(left);
            };
        }
    }

    fn primary(&mut self) -> Result<Deep, ParseError> {
        let start = self.at;
        let value = match &self.token {
            Token::Sign(sign) => return self.bracketed(sign),
            Token::End => return Err(self.expected("an expression")),
            Token::Name(_) => {
                let Token::Name(name) = self.advance()? else { unreachable!("it was a name") };
                if self.token == Token::Sign("(") {
                    return self.call(name, start);
                }
                let name = Name::new(&name).map_err(|error| self.lexer.fault(start, ParseFault::Name(error)))?;
                return self.node(Node::Attribute(name), 0);
            }
            Token::Integer(digits) => self.integer(digits, "")?,
            Token::Real(value) => Value::Real(*value),
            Token::Text(text) => Value::string(text),
            Token::Word(Keyword::True) => Value::Boolean(true),
            Token::Word(Keyword::False) => Value::Boolean(false),
            Token::Word(Keyword::Undefined) => Value::Undefined,
            Token::Word(Keyword::Error) => Value::Error,
        };
        self.advance()?;
        self.node(Node::Literal(value), 0)
    }

    fn integer(&self, digits: &str, sign: &str) -> Result<Value, ParseError> {
        let digits = format!("{sign}{digits}");
        match digits.parse() {
            Ok(value) => Ok(Value::Integer(value)),
            Err(_) => Err(self.lexer.fault(self.at, ParseFault::IntegerRange { digits })),
        }
    }

    /// What begins with a sign, but with no unary operator.
    fn bracketed(&mut self, sign: &'static str) -> Result<Deep, ParseError> {
        match sign {
            "(" => {
                self.advance()?;
                let inner = self.expression()?;
                self.expect(")", ") that closes the parenthesis")?;
                self.node(Node::Parentheses(Box::new(inner.expr)), inner.depth)
            }
            "." => {
                self.advance()?;
                let name = self.name("the name of an attribute after the point")?;
                self.node(Node::Root(name), 0)
            }
            "[" => {
                let (ad, depth) = self.nested(Self::ad)?;
                self.node(Node::Ad(Arc::new(ad)), depth)
            }
            "{" => {
                self.advance()?;
                let (elements, depth) = self.sequence("}", "a comma, or } that closes the list")?;
                self.node(Node::List(elements.into()), depth)
            }
            "-" if self.is_negative_number() => {
                self.advance()?;
                let value = match &self.token {
                    Token::Integer(digits) => self.integer(digits, "-")?,
                    Token::Real(value) => Value::Real(-value),
                    _ => return Err(self.expected("a number")),
                };
                self.advance()?;
                self.node(Node::Literal(value), 0)
            }
            _ => Err(self.expected("an expression")),
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<Name, ParseError> {
        let at = self.at;
        match &self.token {
            Token::Name(_) => {
                let Token::Name(text) = self.advance()? else { unreachable!("it was a name") };
                Name::new(&text).map_err(|error| self.lexer.fault(at, ParseFault::Name(error)))
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// Expressions with commas between them, up to the sign that closes them.
    fn sequence(&mut self, close: &'static str, expected: &'static str) -> Result<(Vec<Expr>, usize), ParseError> {
        let (mut elements, mut depth) = (Vec::new(), 0);
        if self.takes(close)? {
            return Ok((elements, depth));
        }
        loop {
            let element = self.expression()?;
            depth = depth.max(element.depth);
            elements.push(element.expr);
            if self.takes(close)? {
                return Ok((elements, depth));
            }
            // Arguments may have semicolons between them too.
            if !self.takes(",")? && (close != ")" || !self.takes(";")?) {
                return Err(self.expected(expected));
            }
        }
    }

    fn call(&mut self, name: String, start: usize) -> Result<Deep, ParseError> {
        self.advance()?;
        let (arguments, depth) = self.sequence(")", "a comma, or ) that closes the arguments")?;
        if let [Expr(Node::Literal(Value::String(text)))] = arguments.as_slice()
            && let Some(value) = self.constant_call(&name, text, start)?
        {
            return self.node(Node::Literal(value), 0);
        }
        let function = Function::named(&name);
        let call = Call { name: name.into(), function, arguments, pattern: OnceLock::new() };
        self.node(Node::Call(Box::new(call)), depth)
    }

    /// Calls that stand for constants which have no other spelling.
    fn constant_call(&self, name: &str, text: &str, start: usize) -> Result<Option<Value>, ParseError> {
        let fault =
            |function, example| self.lexer.fault(start, ParseFault::Time { function, text: text.to_owned(), example });
        Ok(match name.to_ascii_lowercase().as_str() {
            "abstime" => {
                let time = calendar::parse_absolute(text, 0);
                Some(Value::AbsTime(time.ok_or_else(|| fault("absTime", "2026-01-31T12:00:00Z"))?))
            }
            "reltime" => {
                let time = calendar::parse_relative(text);
                Some(Value::RelTime(time.ok_or_else(|| fault("relTime", "1+02:03:04.5"))?))
            }
            "real" => match text {
                "INF" => Some(Value::Real(f64::INFINITY)),
                "-INF" => Some(Value::Real(f64::NEG_INFINITY)),
                "NaN" => Some(Value::Real(f64::NAN)),
                _ => None,
            },
            _ => None,
        })
    }

    /// From `[` to behind `]`.
    fn ad(&mut self) -> Result<(ClassAd, usize), ParseError> {
        self.expect("[", "[ at the beginning of an ad")?;
        let (mut ad, mut depth) = (ClassAd::new(), 0);
        loop {
            while self.takes(";")? {}
            if self.takes("]")? {
                return Ok((ad, depth));
            }
            let at = self.at;
            let name = self.name("the name of an attribute, or ] that closes the ad")?;
            self.expect("=", "= after the name of the attribute")?;
            let value = self.expression()?;
            depth = depth.max(value.depth);
            ad.put(name, value.expr).map_err(|error| self.lexer.fault(at, ParseFault::Insert(error)))?;
            if self.token != Token::Sign(";") && self.token != Token::Sign("]") {
                return Err(self.expected("an operator, ; before the next attribute, or ] that closes the ad"));
            }
        }
    }
}
