//! Read YAML into the tree that JSON is read into.
//!
//! Of YAML's types only what descriptions have is told apart: texts, lists, mappings and nothing. A number stays the text that it is
//! written as. Aliases are refused: no tool writes them, and by them a small file becomes a large tree.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Lists and mappings in each other.
const DEPTH_MAX: usize = 32;

/// A list or mapping that is being read.
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

impl Open {
    /// None when that cannot be: a key that is no text.
    fn put(&mut self, value: Value) -> Option<()> {
        match self {
            Self::List(values) => values.push(value),
            Self::Mapping(entries, key) => match key.take() {
                Some(key) => drop(entries.insert(key, value)),
                None => {
                    let Value::String(name) = value else { return None };
                    *key = Some(name);
                }
            },
        }
        Some(())
    }
}

/// The first document; none when it is not to be read.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let closed = match event.ok()?.0 {
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEPTH_MAX => return None,
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(values) => Value::Array(values),
                Open::Mapping(entries, _) => Value::Object(entries),
            },
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => Value::Null,
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(_) => return None,
            Event::DocumentEnd | Event::StreamEnd => return None,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        match open.last_mut() {
            Some(outer) => outer.put(closed)?,
            None => return Some(closed),
        }
    }
    None
}
