//! HTCondor's library, in a process that runs `oracle/library.py`.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use gristmill_classad::{ClassAd, Evaluation, Expr, Value};

/// The variable that says which Python has the library; `cargo xtask test` sets it.
const PYTHON_VARIABLE: &str = "GRISTMILL_HTCONDOR_PYTHON";
/// The version that is compared with.
pub const VERSION: &str = "25.14.1";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/library.py");

/// A value as both sides see it: the same means the same type and the same bits, but one NaN is as good as another. Ads are seen as
/// the text that `string` makes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Undefined,
    Error,
    Boolean(bool),
    Integer(i64),
    Real(u64),
    Text(String),
    AbsTime(i64, i32),
    RelTime(u64),
    List(Vec<Seen>),
    Ad(String),
}

impl Seen {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Undefined => Self::Undefined,
            Value::Error => Self::Error,
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Integer(value) => Self::Integer(*value),
            Value::Real(value) => Self::Real(bits(*value)),
            Value::String(text) => Self::Text(text.to_string()),
            Value::AbsTime(time) => Self::AbsTime(time.seconds, time.offset),
            Value::RelTime(seconds) => Self::RelTime(bits(*seconds)),
            Value::List(elements) => Self::List(elements.iter().map(Self::of).collect()),
            Value::Ad(ad) => Self::Ad(text_of(ad)),
        }
    }
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// What `string` makes of an ad.
fn text_of(ad: &ClassAd) -> String {
    let mut around = ClassAd::new();
    around.insert("ad", Expr::constant(Value::Ad(ad.clone().into()))).expect("room for one");
    let text = Expr::parse("string(ad)").expect("an expression");
    match Evaluation::of(&around).evaluate(&text) {
        Value::String(text) => text.to_string(),
        other => format!("{other}: the ad is {ad}"),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str("undefined"),
            Self::Error => f.write_str("error"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Real(bits) => write!(f, "{}", Value::Real(f64::from_bits(*bits))),
            Self::Text(text) => write!(f, "{}", Value::string(text)),
            Self::AbsTime(seconds, offset) => write!(f, "absTime(relTime({seconds}.0), {offset})"),
            // With a text for its argument the library would take it for a number.
            Self::RelTime(bits) => write!(f, "relTime({})", Value::Real(f64::from_bits(*bits))),
            Self::List(elements) => {
                f.write_str("{ ")?;
                for (number, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if number == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Self::Ad(text) => f.write_str(text),
        }
    }
}

/// What a side says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Value(Seen),
    /// It is no expression.
    Refused,
    /// It is text of bytes that are not UTF-8.
    Unreadable,
    /// It has not the same type twice.
    Unsteady,
    /// The library crashed, or was stopped.
    Lost,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Refused => f.write_str("(refused)"),
            Self::Unreadable => f.write_str("(not UTF-8)"),
            Self::Unsteady => f.write_str("(now this, now that)"),
            Self::Lost => f.write_str("(did not survive)"),
        }
    }
}

/// The library's process.
pub struct Library {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Library {
    pub fn start() -> Self {
        let Some(python) = std::env::var_os(PYTHON_VARIABLE) else {
            panic!(
                "{PYTHON_VARIABLE} is not set: this test asks HTCondor's library, which is in the Python package htcondor {VERSION}. Run \
                 `cargo xtask test`, or set it to what `cargo xtask htcondor` prints"
            );
        };
        let mut process = Command::new(&python)
            .arg(SCRIPT)
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", python.display()));
        let input = process.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut library = Self { process, input, output };
        let version = library.line();
        assert_eq!(version, VERSION, "{} has another version of htcondor", python.display());
        library
    }

    /// The answers to questions about two ads.
    pub fn ask(&mut self, my: &str, target: &str, questions: &[String]) -> Vec<Answer> {
        let mut batch = format!("{}\n{my}\n{target}\n", questions.len());
        for question in questions {
            assert!(!question.contains('\n'), "a question is one line: {question:?}");
            batch.push_str(question);
            batch.push('\n');
        }
        // It reads all of a batch before it answers, so that neither side waits for the other.
        self.input.write_all(batch.as_bytes()).and_then(|()| self.input.flush()).expect("the library reads questions");
        questions.iter().map(|_| read(&self.line())).collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.output.read_line(&mut line).expect("the library answers in UTF-8");
        assert!(count > 0, "the library's process has ended; what it printed says why");
        line.trim_end_matches('\n').to_owned()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn read(line: &str) -> Answer {
    match line {
        "refused" => Answer::Refused,
        "unreadable" => Answer::Unreadable,
        "unsteady" => Answer::Unsteady,
        "lost" => Answer::Lost,
        _ => {
            let mut rest = line;
            let value = read_value(&mut rest).filter(|_| rest.is_empty());
            Answer::Value(value.unwrap_or_else(|| panic!("not a value of library.py: {line}")))
        }
    }
}

fn read_value(rest: &mut &str) -> Option<Seen> {
    if let Some(mut inner) = rest.strip_prefix('{') {
        let mut elements = Vec::new();
        while !inner.starts_with('}') {
            elements.push(read_value(&mut inner)?);
            inner = inner.strip_prefix(';')?;
        }
        *rest = inner.strip_prefix('}')?;
        return Some(Seen::List(elements));
    }
    let end = rest.find([';', '}']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    Some(match word {
        "undefined" => Seen::Undefined,
        "error" => Seen::Error,
        "true" => Seen::Boolean(true),
        "false" => Seen::Boolean(false),
        _ => {
            let (kind, data) = word.split_at_checked(1)?;
            match kind {
                "i" => Seen::Integer(data.parse().ok()?),
                "r" => Seen::Real(bits(f64::from_bits(u64::from_str_radix(data, 16).ok()?))),
                "t" => Seen::RelTime(bits(f64::from_bits(u64::from_str_radix(data, 16).ok()?))),
                "s" => Seen::Text(text(data)?),
                "d" => Seen::Ad(text(data)?),
                "a" => {
                    let (seconds, offset) = data.split_once(',')?;
                    Seen::AbsTime(seconds.parse().ok()?, offset.parse().ok()?)
                }
                _ => return None,
            }
        }
    })
}

fn text(hexadecimal: &str) -> Option<String> {
    let pairs = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}
