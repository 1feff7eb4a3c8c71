//! Describe machines, tasks and pools in ads, and say which suit each other: the ClassAd language of HTCondor, as a pure core.
//!
//! A [`ClassAd`] is a set of named expressions. A name stands for an attribute of the own ad, or of the ad that it is matched with
//! (`TARGET`); what nobody has is `undefined`, and what makes no sense is `error`, both of them values. Two ads match
//! ([`matches()`]) if the `Requirements` of each are true of the other, and [`rank`] says how much one likes the other.
//!
//! ```
//! use gristmill_classad::{ClassAd, Value, matches, rank};
//!
//! let machine = ClassAd::parse(r#"[ Cpus = 16; Memory = 65536; Arch = "x86_64"; Requirements = TARGET.Owner != "mallory" ]"#)?;
//! let job = ClassAd::parse(r#"[ Owner = "alice"; Requirements = Cpus >= 8 && Memory > 4096 && Arch == "X86_64"; Rank = Memory / 1024 ]"#)?;
//! assert!(matches(&machine, &job));
//! assert_eq!(rank(&job, &machine), 64.0);
//! assert_eq!(job.evaluate("Requirements"), Value::Undefined);
//! # Ok::<(), gristmill_classad::ParseError>(())
//! ```
//!
//! [`Expr::conjuncts`], [`Expr::as_comparison`] and [`Expr::flatten`] take requirements apart for an index, [`Prepared::binding`]
//! names what keeps two ads apart, and [`Evaluation`] gives the surroundings by hand, the time among them.
//!
//! # Against HTCondor's library
//!
//! The same, to the last bit: the syntax of ads and expressions, the types, all operators and what they make of `undefined` and
//! `error`, where names are looked up, 86 functions, matches. The tests put random expressions to HTCondor's C++ library and to this
//! crate, and fail if the two differ in anything that is not on the list in `oracle/README.md` of this crate. The list says why.
//! What is on it, in short:
//!
//! - An ad means the same to everybody, always: there is no `random`, no function looks at the host, and the time is the caller's.
//! - What a stranger sends must end: [`bounds`] on sources, steps, levels and sizes, and patterns that take linear time. Patterns
//!   that look around or refer back are `error`.
//! - A mistake must not pass for something else: numbers beyond 64 bits, leading zeros, doubled points and text that is not UTF-8 are
//!   refused when read, with line and column ([`ParseError`]); an attribute that refers to itself is `error`, not `undefined`.
//! - No ad is around the two that are matched: `root`, `.name` and `parent` end at the own outermost ad.
//! - Where the library errs (times at -1, spans from texts, contexts of `evalInEachContext`, far years) we do what is documented.
//!
//! Whoever sends an ad is a stranger. Parsing and evaluation end within [`bounds`], never panic, never overflow the stack, and
//! the same ads always give the same value.

pub mod bounds;

mod ad;
mod calendar;
mod eval;
mod expr;
mod flatten;
mod functions;
mod lex;
mod matching;
mod name;
mod number;
mod operators;
mod parse;
mod prepared;
mod print;
mod value;

pub use ad::{ClassAd, InsertError};
pub use eval::{Evaluation, Outcome, Trouble};
pub use expr::{BinaryOperator, Comparison, Expr, References, Scope, UnaryOperator};
pub use matching::{accepts, matches, rank};
pub use name::{Name, NameError};
pub use parse::{ParseError, ParseFault};
pub use prepared::{Prepared, Symbols};
pub use value::{AbsTime, Value};
