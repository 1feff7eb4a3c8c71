//! A strict little JSON reader for the tests, with tests of its own.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub fn get(&self, key: &str) -> &Json {
        match self {
            Json::Object(map) => map.get(key).unwrap_or_else(|| panic!("no key `{key}`")),
            other => panic!("`{key}` of {other:?}"),
        }
    }

    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            other => panic!("not a list: {other:?}"),
        }
    }

    pub fn number(&self) -> f64 {
        match self {
            Json::Number(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }
}

pub fn parse(text: &str) -> Json {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let value = reader.value();
    reader.space();
    assert_eq!(reader.at, text.len(), "something follows the value");
    value
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.at).map_or(false, u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> u8 {
        self.space();
        self.bytes[self.at]
    }

    fn expect(&mut self, byte: u8) {
        assert_eq!(self.peek() as char, byte as char, "at byte {}", self.at);
        self.at += 1;
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            b'{' => {
                let members = self.series(b'{', b'}', |reader| {
                    let key = reader.quoted();
                    reader.expect(b':');
                    (key, reader.value())
                });
                let count = members.len();
                let map: BTreeMap<String, Json> = members.into_iter().collect();
                assert_eq!(map.len(), count, "a key is there twice");
                Json::Object(map)
            }
            b'[' => Json::List(self.series(b'[', b']', Reader::value)),
            b'"' => Json::Text(self.quoted()),
            b'n' => {
                assert_eq!(&self.bytes[self.at..self.at + 4], b"null");
                self.at += 4;
                Json::Null
            }
            _ => self.number(),
        }
    }

    fn series<T>(&mut self, open: u8, close: u8, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        self.expect(open);
        let mut items = Vec::new();
        if self.peek() != close {
            items.push(one(self));
            while self.peek() == b',' {
                self.at += 1;
                items.push(one(self));
            }
        }
        self.expect(close);
        items
    }

    fn quoted(&mut self) -> String {
        self.expect(b'"');
        let start = self.at;
        while self.bytes[self.at] != b'"' {
            assert!(self.bytes[self.at] >= 0x20 && self.bytes[self.at] != b'\\', "plain text only");
            self.at += 1;
        }
        self.at += 1;
        String::from_utf8(self.bytes[start..self.at - 1].to_vec()).expect("UTF-8")
    }

    fn number(&mut self) -> Json {
        let start = self.at;
        while self.bytes.get(self.at).map_or(false, |byte| b"+-.0123456789eE".contains(byte)) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).expect("ASCII");
        Json::Number(text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number")))
    }
}

#[test]
fn reads_values() {
    let value = parse(" {\"a\": [1, -2.5e1, null], \"b\": {\"c\": \"x\"}}\n");
    assert_eq!(value.get("a").list()[1].number(), -25.0);
    assert_eq!(value.get("b").get("c").text(), "x");
}

#[test]
#[should_panic(expected = "something follows")]
fn refuses_a_tail() {
    parse("1 2");
}
