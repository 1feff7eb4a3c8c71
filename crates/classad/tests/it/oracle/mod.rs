//! Random expressions and matches are the same to HTCondor's library and to us, but for the differences of [`differences`], which are
//! the table of `oracle/README.md`.
//!
//! What differs is made simpler as long as it differs; what is left must be one of those differences, and nothing else.
//!
//! `GRISTMILL_ORACLE_STEPS` and `GRISTMILL_ORACLE_SEED` ask for other questions. With `GRISTMILL_REFRESH=1` the first of those on which
//! both agree become `tests/data/vectors.txt`.

mod differences;
mod generate;
mod library;
mod term;

use std::collections::{BTreeMap, HashSet};

use gristmill_classad::{AbsTime, ClassAd, Evaluation, Expr, ParseFault, Prepared, Symbols, Trouble, matches};

use differences::Difference;
use generate::{Ads, Generator, Question, Random};
use library::{Answer, Library, Seen};
use term::Term;

use crate::vectors::check;

/// Questions of the short run and of the one that `GRISTMILL_SLOW_TESTS` asks for.
const QUESTIONS_FAST: usize = 10_000;
const QUESTIONS_SLOW: usize = 1_000_000;
/// Questions about the same two ads.
const BATCH: usize = 200;
/// Steps in which one difference is made simpler, and what is tried in each.
const STEPS_MAX: usize = 60;
const CANDIDATES_MAX: usize = 1_000;
/// What is tried before it is looked at: the first ones are the simplest.
const CANDIDATES_AT_ONCE: usize = 100;
/// Of a thousand questions, those that the library may not survive.
const LOST_PERMILLE_MAX: usize = 5;
/// Vectors that are kept, and the bytes of each.
const VECTORS: usize = 9_000;
const VECTOR_BYTES_MAX: usize = 160;
const VECTORS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors.txt");
/// What our clock shows. Values that depend on it are among the differences.
const NOW: AbsTime = AbsTime { seconds: 1_800_000_000, offset: 0 };

#[test]
fn expressions_are_what_they_are_to_the_library() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let slow = std::env::var_os("GRISTMILL_SLOW_TESTS").is_some();
    let count = number("GRISTMILL_ORACLE_STEPS")
        .map_or(if slow { QUESTIONS_SLOW } else { QUESTIONS_FAST }, |count| count as usize);
    let seed = number("GRISTMILL_ORACLE_SEED").unwrap_or(1);
    let refresh = std::env::var_os("GRISTMILL_REFRESH").is_some();
    let vectors = refresh.then(|| format!("# htcondor {}, seed {seed}\n", library::VERSION));
    let mut run = Run { library: Library::start(), tally: Tally::default(), vectors, kept: 0 };
    let mut seeds = Random(seed);
    while run.tally.questions < count {
        run.batch(seeds.next(), BATCH.min(count - run.tally.questions));
    }
    run.tally.print(seed);
    assert!(run.tally.unexplained.is_empty(), "{} differences are none of those known", run.tally.unexplained.len());
    assert!(run.tally.lost * 1_000 <= count * LOST_PERMILLE_MAX, "the library survives too few");
    // A run in which everything is refused proves nothing.
    assert!(run.tally.refused * 10 <= count, "too many are refused");
    let met = |difference: &Difference| run.tally.differences.contains_key(difference);
    let unmet: Vec<&Difference> = Difference::ALL.iter().filter(|difference| !met(difference)).collect();
    assert!(!slow || unmet.is_empty(), "these differences were never met, and so do not belong on the list: {unmet:?}");
    if let Some(vectors) = run.vectors {
        std::fs::write(VECTORS_FILE, vectors).expect("the vectors can be written");
    }
}

/// The table of `oracle/README.md` is the list, in this order.
#[test]
fn the_table_is_the_list() {
    const README: &str = include_str!("../../../oracle/README.md");
    // The first two rows are the head of the table.
    let rows: Vec<&str> = README.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let expected: Vec<&str> = Difference::ALL.iter().map(|difference| difference.row()).collect();
    assert_eq!(rows, expected, "the table in oracle/README.md is not the list of the test");
}

/// What we say to a question, and what else there is to say.
struct Ours {
    answer: Answer,
    trouble: Option<Trouble>,
    fault: Option<ParseFault>,
}

impl Ours {
    fn refused(fault: ParseFault) -> Self {
        Self { answer: Answer::Refused, trouble: None, fault: Some(fault) }
    }
}

/// A question to which the two say different things.
struct Found<'a> {
    question: Question,
    ours: Ours,
    theirs: Answer,
    sides: &'a Sides,
}

impl Found<'_> {
    /// What we say of a part of the question.
    fn value(&self, term: &Term) -> Option<Seen> {
        let part = match &self.question {
            Question::Both(_) | Question::Match(..) => Question::Both(term.clone()),
            Question::Swapped(_) => Question::Swapped(term.clone()),
            Question::Alone(_) => Question::Alone(term.clone()),
        };
        match self.sides.ours(&part).answer {
            Answer::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Whether another is of the same kind: while one is made simpler it must not become another.
    fn is_like(&self, other: &Self) -> bool {
        let kind = |found: &Self| {
            let fault = found.ours.fault.as_ref().map(std::mem::discriminant);
            let words = [&found.ours.answer, &found.theirs].map(std::mem::discriminant);
            (words, fault, found.ours.trouble)
        };
        kind(self) == kind(other)
    }
}

/// Two ads, as generated and as we read them.
struct Sides {
    ads: Ads,
    my: ClassAd,
    target: ClassAd,
}

impl Sides {
    fn new(ads: Ads) -> Self {
        let read = |attributes: &[(String, Term)]| ClassAd::parse(&term::ad(attributes)).expect("an ad");
        Self { my: read(&ads.my), target: read(&ads.target), ads }
    }

    fn ours(&self, question: &Question) -> Ours {
        match question {
            Question::Both(term) => value(&self.my, Some(&self.target), term),
            Question::Swapped(term) => value(&self.target, Some(&self.my), term),
            Question::Alone(term) => value(&self.my, None, term),
            Question::Match(left, right) => self.matches(left, right),
        }
    }

    fn matches(&self, left: &Term, right: &Term) -> Ours {
        let (mut my, mut target) = (self.my.clone(), self.target.clone());
        for (ad, term) in [(&mut my, left), (&mut target, right)] {
            match Expr::parse(&term.to_string()) {
                Ok(expression) => ad.insert("Requirements", expression).expect("room for them"),
                Err(error) => return Ours::refused(error.fault),
            };
        }
        let found = matches(&my, &target);
        let trouble = |ad: &ClassAd, other| {
            let requirements = ad.get("Requirements").expect("it has them");
            Evaluation::of(ad).with_target(Some(other)).at(NOW).run(requirements).trouble
        };
        let trouble = trouble(&my, &target).max(trouble(&target, &my));
        let mut symbols = Symbols::new();
        let ready = (Prepared::new(my, &mut symbols), Prepared::new(target, &mut symbols));
        assert_eq!(ready.0.matches(&ready.1), found, "otherwise if prepared: {left} and {right}");
        Ours { answer: Answer::Value(Seen::Boolean(found)), trouble, fault: None }
    }
}

/// The value of a term, as an attribute of an ad: so asks the library.
fn value(ad: &ClassAd, target: Option<&ClassAd>, term: &Term) -> Ours {
    const ASKED: &str = "x_";
    let expression = match Expr::parse(&term.to_string()) {
        Ok(expression) => expression,
        Err(error) => return Ours::refused(error.fault),
    };
    let mut ad = ad.clone();
    ad.insert(ASKED, expression).expect("room for it");
    let asked = Expr::parse(ASKED).expect("a name");
    let outcome = Evaluation::of(&ad).with_target(target).at(NOW).run(&asked);
    Ours { answer: Answer::Value(Seen::of(&outcome.value)), trouble: outcome.trouble, fault: None }
}

impl Question {
    /// As `library.py` reads it.
    fn line(&self) -> String {
        match self {
            Self::Both(term) => format!("both\t{term}"),
            Self::Swapped(term) => format!("swapped\t{term}"),
            Self::Alone(term) => format!("alone\t{term}"),
            Self::Match(left, right) => format!("match\t{left}\t{right}"),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Both(term) | Self::Swapped(term) | Self::Alone(term) => term.size(),
            Self::Match(left, right) => 1 + left.size() + right.size(),
        }
    }

    /// The term, unless it is about a match.
    fn term(&self) -> Option<&Term> {
        match self {
            Self::Both(term) | Self::Swapped(term) | Self::Alone(term) => Some(term),
            Self::Match(..) => None,
        }
    }

    fn simpler(&self, sides: &Sides) -> Vec<Self> {
        let around = |wrap: fn(Term) -> Self, term: &Term| -> Vec<Self> {
            let value = |part: &Term| match sides.ours(&wrap(part.clone())).answer {
                Answer::Value(Seen::List(_) | Seen::Ad(_)) => None,
                Answer::Value(value) => Some(Term::Text(value.to_string())),
                _ => None,
            };
            let mut found: Vec<Self> =
                term.simpler(&value, &|name| sides.ads.definition(name)).into_iter().map(wrap).collect();
            if let Term::Name(name) | Term::Text(name) | Term::Select(_, name) = term.bare()
                && let Some(definition) = sides.ads.definition(name)
            {
                // It may stand in the other ad.
                found.extend([Self::Both(definition.clone()), Self::Swapped(definition)]);
            }
            found
        };
        match self {
            Self::Both(term) => around(Self::Both, term),
            Self::Swapped(term) => around(Self::Swapped, term),
            Self::Alone(term) => around(Self::Alone, term),
            Self::Match(left, right) => {
                let anything = || Term::text("true");
                let mut found = vec![
                    Self::Both(left.clone()),
                    Self::Swapped(right.clone()),
                    Self::Match(left.clone(), anything()),
                    Self::Match(anything(), right.clone()),
                ];
                for simple in around(Self::Both, left) {
                    found.extend(simple.term().map(|left| Self::Match(left.clone(), right.clone())));
                }
                for simple in around(Self::Swapped, right) {
                    found.extend(simple.term().map(|right| Self::Match(left.clone(), right.clone())));
                }
                found
            }
        }
    }
}

/// A question and its answer as `vectors.rs` reads them, if it can.
fn vector(question: &Question, answer: &Answer) -> Option<String> {
    let line = match (question, answer) {
        (Question::Match(left, right), Answer::Value(value)) => format!("match\t{left}\t{right}\t{value}"),
        (Question::Both(term), Answer::Refused) => format!("{term}\trefused"),
        (Question::Both(term), Answer::Value(Seen::Ad(text))) => {
            format!("string({term})\t{}", Seen::Text(text.clone()))
        }
        (Question::Both(term), Answer::Value(value)) => format!("{term}\t{value}"),
        _ => return None,
    };
    // A line that begins so would be a comment, or an ad.
    let is_other = line.starts_with('#') || line.starts_with("my ") || line.starts_with("target ");
    (line.len() <= VECTOR_BYTES_MAX && !is_other).then_some(line)
}

struct Run {
    library: Library,
    tally: Tally,
    /// The file of vectors, if one is made, and how many it has.
    vectors: Option<String>,
    kept: usize,
}

impl Run {
    /// Asks both sides about two random ads.
    fn batch(&mut self, seed: u64, count: usize) {
        let mut generator = Generator::new(seed);
        let sides = Sides::new(generator.ads());
        let questions: Vec<Question> = (0..count).map(|_| generator.question()).collect();
        let differing = self.ask(&sides, questions, true);
        for found in differing {
            let first = found.question.line();
            let simple = self.simplest(found);
            match Difference::of(&simple) {
                Some(difference) => {
                    let tally = self.tally.differences.entry(difference).or_default();
                    tally.0 += 1;
                    if tally.1.is_empty() {
                        let (ours, theirs) = (brief(&simple.ours.answer), brief(&simple.theirs));
                        tally.1 = format!("{}: {ours} here, {theirs} there", simple.question.line());
                    }
                }
                None => {
                    let line = format!(
                        "{first}\n    simplest: {}\n    ours: {} {:?} {:?}\n    theirs: {}\n    own ad: {}\n    other ad: {}",
                        simple.question.line(),
                        simple.ours.answer,
                        simple.ours.trouble,
                        simple.ours.fault,
                        simple.theirs,
                        sides.my,
                        sides.target
                    );
                    self.tally.unexplained.push(line);
                }
            }
        }
    }

    /// The questions to which both sides say different things.
    fn ask<'s>(&mut self, sides: &'s Sides, questions: Vec<Question>, count: bool) -> Vec<Found<'s>> {
        let lines: Vec<String> = questions.iter().map(Question::line).collect();
        let answers = self.library.ask(&term::ad(&sides.ads.my), &term::ad(&sides.ads.target), &lines);
        let mut differing = Vec::new();
        let mut agreed = Vec::new();
        for (question, theirs) in questions.into_iter().zip(answers) {
            if count {
                self.tally.count(&question, &theirs);
            }
            // Without chance in it what has now this type, now that, is what was freed and is read again.
            let is_lost = theirs == Answer::Lost
                || theirs == Answer::Unsteady && !question.line().to_ascii_lowercase().contains("random(");
            if is_lost {
                self.tally.lost += usize::from(count);
                continue;
            }
            let ours = sides.ours(&question);
            if ours.answer == theirs {
                agreed.extend(vector(&question, &theirs).filter(|_| count));
            } else {
                differing.push(Found { question, ours, theirs, sides });
            }
        }
        self.keep(sides, agreed);
        differing
    }

    /// Adds vectors to the file, if one is made and has room.
    fn keep(&mut self, sides: &Sides, agreed: Vec<String>) {
        let Some(vectors) = self.vectors.as_mut().filter(|_| self.kept < VECTORS && !agreed.is_empty()) else { return };
        let ads = format!("my {}\ntarget {}\n", sides.my, sides.target);
        vectors.push_str(&ads);
        for vector in agreed {
            // They are asked there in another way: not as an attribute.
            if check(&format!("{ads}{vector}\n")).1.is_empty() {
                vectors.push_str(&vector);
                vectors.push('\n');
                self.kept += 1;
            }
        }
    }

    /// The simplest question of which the two still say different things.
    fn simplest<'s>(&mut self, mut found: Found<'s>) -> Found<'s> {
        let mut been = HashSet::new();
        for _ in 0..STEPS_MAX {
            been.insert(found.question.line());
            let mut seen = been.clone();
            let mut candidates = found.question.simpler(found.sides);
            candidates.sort_by_cached_key(|candidate| (candidate.size(), candidate.line().len()));
            candidates.retain(|candidate| seen.insert(candidate.line()));
            candidates.truncate(CANDIDATES_MAX);
            let mut rest = candidates.into_iter();
            let simpler = loop {
                let some: Vec<Question> = rest.by_ref().take(CANDIDATES_AT_ONCE).collect();
                if some.is_empty() {
                    break None;
                }
                let like = self.ask(found.sides, some, false).into_iter().find(|candidate| candidate.is_like(&found));
                if like.is_some() {
                    break like;
                }
            };
            match simpler {
                Some(simpler) => found = simpler,
                None => break,
            }
        }
        found
    }
}

/// The beginning of an answer.
fn brief(answer: &Answer) -> String {
    const CHARACTERS_MAX: usize = 100;
    answer.to_string().chars().take(CHARACTERS_MAX).collect()
}

/// What a run met.
#[derive(Default)]
struct Tally {
    questions: usize,
    matches: usize,
    refused: usize,
    lost: usize,
    /// How often, and the first of them.
    differences: BTreeMap<Difference, (usize, String)>,
    unexplained: Vec<String>,
}

impl Tally {
    fn count(&mut self, question: &Question, theirs: &Answer) {
        self.questions += 1;
        self.matches += usize::from(matches!(question, Question::Match(..)));
        self.refused += usize::from(*theirs == Answer::Refused);
    }

    fn print(&self, seed: u64) {
        let Self { questions, matches, refused, lost, .. } = self;
        println!(
            "seed {seed}: {questions} questions, {matches} of them matches; the library refused {refused} and did not survive {lost}"
        );
        for (difference, (count, example)) in &self.differences {
            println!("  difference \"{difference}\": {count}, such as {example}");
        }
        for line in &self.unexplained {
            println!("  {line}");
        }
    }
}
