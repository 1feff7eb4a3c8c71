//! The JSON that a request order carries: what the app gets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{ContentId, OrderHash};

/// A params string may be so long at most, in bytes: it is stored in the deal on the ledger.
pub const PARAMS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of what is required, and of what is preferred.
pub const WISH_BYTES_MAX: usize = 2_048;
/// Input files a request may name.
pub const INPUT_FILES_MAX: usize = 100;
/// No task of a larger bag than this is run as one of it: more than the ledger settles of any request.
pub const BAG_TASKS_MAX: u64 = 1 << 40;

/// What the app gets. Keys of iExec keep their names; ours begin with `gristmill_`. Unknown keys are refused, and so is what
/// iExec has and we have not ([`ParamsError::Unsupported`]): a result that lacks what was asked for must not be paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobParams {
    /// Arguments, quoted as a shell would: see [`split_args`] and [`join_args`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub iexec_args: String,
    /// Files that appear in `IEXEC_IN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iexec_input_files: Vec<InputFile>,
    /// Where results go: `gristmill`, or `ipfs` as iExec's clients write. Both mean the pool's store, which offers a result
    /// under its CID; any other is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iexec_result_storage_provider: Option<String>,
    /// Results that only the beneficiary can read: refused when true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub iexec_result_encryption: bool,
    /// Secrets of the requester, by number: refused unless empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub iexec_secrets: BTreeMap<String, String>,
    /// A list of datasets on IPFS: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk_cid: Option<String>,
    /// The index of the items, when the job has items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gristmill_items: Option<ContentId>,
    /// The request order whose results are this one's input: a reduce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gristmill_after: Option<OrderHash>,
    /// What machines must be like, as a ClassAd expression over their attributes, such as `Cpus >= 8 && Memory > 4096`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gristmill_require: String,
    /// Which of them are better, as an expression of a number: the larger the better.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gristmill_prefer: String,
    /// What counts among those that are as good: weights such as `cost=3,speed=1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gristmill_favor: String,
    /// Which hosts must agree on what a module computes; containers have no choice.
    #[serde(default, skip_serializing_if = "Reach::is_default")]
    pub gristmill_engine: Reach,
    /// The one task of the request is run as this task of another, larger bag, whose results are then the same bit for bit. A pool
    /// that buys elsewhere what its own machines cannot finish asks so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gristmill_place: Option<BagPlace>,
}

/// Where a task stands in the bag that its request is: what an app reads of it in `IEXEC_BOT_TASK_INDEX` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BagPlace {
    /// The task's index within the whole request; in `first..first + size`.
    pub index: u64,
    /// Index of the first task of its deal.
    pub first: u64,
    /// Tasks of its deal, at least 1.
    pub size: u64,
}

impl BagPlace {
    /// Whether there is such a task: `index` lies within the deal, and that ends within [`BAG_TASKS_MAX`].
    pub fn is_possible(&self) -> bool {
        let end = self.first.checked_add(self.size).filter(|end| *end <= BAG_TASKS_MAX);
        end.is_some_and(|end| (self.first..end).contains(&self.index))
    }
}

/// Which hosts agree on a result. A deal fixes it; engine version, processor features and host interface are those of the worker
/// that gets the first replica of a task, and the pool gives the others to workers that have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Hosts of any architecture: every NaN that a guest can look at is the canonical one. The default.
    #[default]
    Portable,
    /// Hosts of one architecture and one set of features. They run the same machine code, which makes the same NaNs, so that
    /// nothing is spent on them.
    SameArchitecture,
}

impl Reach {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Reach {
    type Err = ReachError;

    fn from_str(name: &str) -> Result<Self, ReachError> {
        match name {
            "portable" => Ok(Self::Portable),
            "same-architecture" => Ok(Self::SameArchitecture),
            _ => Err(ReachError(name.chars().take(60).collect())),
        }
    }
}

/// A name that is no [`Reach`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no engine: it is `portable`, or `same-architecture` for speed where all replicas may need the same processor"
)]
pub struct ReachError(String);

/// Params that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// Not the JSON that was expected.
    #[error("the request's params are not usable: {0}")]
    Json(String),
    /// Longer than [`PARAMS_BYTES_MAX`].
    #[error(
        "the request's params have {got} bytes; {PARAMS_BYTES_MAX} are allowed: put data into an input file instead"
    )]
    TooLong {
        /// Bytes met.
        got: usize,
    },
    /// More than [`INPUT_FILES_MAX`] inputs.
    #[error("the request names {got} input files; {INPUT_FILES_MAX} are allowed: pack them into one archive")]
    TooManyInputs {
        /// Files named.
        got: usize,
    },
    /// A wish of more than [`WISH_BYTES_MAX`].
    #[error("the request's `{key}` has {got} bytes; {WISH_BYTES_MAX} are allowed: say it in fewer words")]
    WishTooLong {
        /// The key in the params.
        key: &'static str,
        /// Bytes met.
        got: usize,
    },
    /// A place in a bag that no task has.
    #[error(
        "the request's `gristmill_place` names task {index} of {size} from {first} on: there is none, or the bag ends past {BAG_TASKS_MAX}"
    )]
    Place {
        /// The index named.
        index: u64,
        /// The first of its deal.
        first: u64,
        /// Tasks of its deal.
        size: u64,
    },
    /// A place in a bag for what is no task of a bag.
    #[error(
        "the request's `gristmill_place` cannot be given to a reduce (`gristmill_after`): leave one of the two out"
    )]
    PlaceOfReduce,
    /// A place in a bag for more than one task.
    #[error(
        "the request says with `gristmill_place` that it is run as one task of another bag, and has {tasks} tasks itself: make a request of each"
    )]
    PlaceOfMany {
        /// Tasks that it has, at least.
        tasks: u64,
    },
    /// Something that iExec has and we have not.
    #[error("the request asks for `{key}`: {why}")]
    Unsupported {
        /// The key in the params.
        key: &'static str,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// A quote is not closed.
    #[error("the arguments end inside a quote: {0}")]
    Quote(String),
}

impl JobParams {
    /// Reads a params string. An empty one has no arguments and no inputs. iExec also allows plain text: it is the arguments.
    pub fn parse(text: &str) -> Result<Self, ParamsError> {
        if text.len() > PARAMS_BYTES_MAX {
            return Err(ParamsError::TooLong { got: text.len() });
        }
        if !text.trim_start().starts_with('{') {
            return Ok(Self { iexec_args: text.to_owned(), ..Self::default() });
        }
        let params: Self = serde_json::from_str(text).map_err(|error| ParamsError::Json(error.to_string()))?;
        params.check()?;
        Ok(params)
    }

    /// What task `index` of a deal of `size` tasks from `first` on is told of its place: that, or what [`JobParams::gristmill_place`] says.
    ///
    /// # Errors
    /// [`ParamsError::PlaceOfMany`]: which of several tasks is meant could not be told.
    pub fn place_of(&self, index: u64, first: u64, size: u64) -> Result<BagPlace, ParamsError> {
        match self.gristmill_place {
            None => Ok(BagPlace { index, first, size }),
            Some(place) if first == 0 && size == 1 => Ok(place),
            Some(_) => Err(ParamsError::PlaceOfMany { tasks: first.saturating_add(size) }),
        }
    }

    /// The canonical params string.
    pub fn encode(&self) -> Result<String, ParamsError> {
        self.check()?;
        let text = serde_json::to_string(self).map_err(|error| ParamsError::Json(error.to_string()))?;
        if text.len() > PARAMS_BYTES_MAX {
            return Err(ParamsError::TooLong { got: text.len() });
        }
        Ok(text)
    }

    fn check(&self) -> Result<(), ParamsError> {
        if self.iexec_input_files.len() > INPUT_FILES_MAX {
            return Err(ParamsError::TooManyInputs { got: self.iexec_input_files.len() });
        }
        let wishes = [
            ("gristmill_require", &self.gristmill_require),
            ("gristmill_prefer", &self.gristmill_prefer),
            ("gristmill_favor", &self.gristmill_favor),
        ];
        if let Some((key, wish)) = wishes.into_iter().find(|(_, wish)| wish.len() > WISH_BYTES_MAX) {
            return Err(ParamsError::WishTooLong { key, got: wish.len() });
        }
        if let Some(place) = self.gristmill_place {
            let BagPlace { index, first, size } = place;
            if !place.is_possible() {
                return Err(ParamsError::Place { index, first, size });
            }
            if self.gristmill_after.is_some() {
                return Err(ParamsError::PlaceOfReduce);
            }
        }
        if let Some((key, why)) = self.unsupported() {
            return Err(ParamsError::Unsupported { key, why });
        }
        split_args(&self.iexec_args).map(drop)
    }

    /// The first thing asked for that no worker here can do.
    fn unsupported(&self) -> Option<(&'static str, &'static str)> {
        if self.iexec_result_encryption {
            return Some((
                "iexec_result_encryption",
                "results are not encrypted for their beneficiary here; leave it out, or encrypt inside the app",
            ));
        }
        if !self.iexec_secrets.is_empty() {
            return Some((
                "iexec_secrets",
                "no secret is kept for apps here, since nothing could keep it from the worker",
            ));
        }
        if self.bulk_cid.is_some() {
            return Some(("bulk_cid", "lists of datasets are not read here; make one request a dataset"));
        }
        match self.iexec_result_storage_provider.as_deref() {
            None | Some("" | "ipfs" | "gristmill") => None,
            Some(_) => Some(("iexec_result_storage_provider", "results are kept in the pool's own store; use `ipfs`")),
        }
    }
}

/// A file of the store that appears in `IEXEC_IN`, written `blake3:<hex>?name=<percent-encoded>&size=<bytes>`.
///
/// iExec's clients know URLs only. One whose path names content, `http(s)://ANY/v1/blobs/<hex>` or
/// `http(s)://ANY/ipfs/<CID>[/<name>]`, is read as that content, with the name from `name=` or `filename=`, else from the
/// path. The host is not asked: the pool's store is. Other URLs are refused, since what lies there may differ from worker to
/// worker and from day to day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InputFile {
    /// Its content.
    pub content: ContentId,
    /// Its name in `IEXEC_IN`: one path component.
    pub name: String,
    /// Its length in bytes; 0 when it was not said.
    pub size: u64,
}

/// A line in params that names no input file of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no input file: {why}; expected `blake3:<64 hex digits>?name=<name>&size=<bytes>`")]
pub struct InputFileError {
    text: String,
    why: &'static str,
}

/// True when `name` can be a file's name in `IEXEC_IN`: one component of 1 to 255 bytes without control characters.
pub fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

impl fmt::Display for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}?name={}&size={}", self.content, PercentEncoded(&self.name), self.size)
    }
}

impl FromStr for InputFile {
    type Err = InputFileError;

    fn from_str(text: &str) -> Result<Self, InputFileError> {
        let error = |why| InputFileError { text: text.chars().take(120).collect(), why };
        if ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Self::of_url(text).map_err(error);
        }
        let rest = text.strip_prefix("blake3:").ok_or_else(|| error("only content of the store can be an input"))?;
        let (content, query) = rest.split_once('?').ok_or_else(|| error("the name is missing"))?;
        let content = content.parse().map_err(|_| error("the content id is malformed"))?;
        let (mut name, mut size) = (None, None);
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("name", value)) => name = percent_decode(value),
                Some(("size", value)) => size = value.parse().ok(),
                _ => return Err(error("an unknown field follows the content id")),
            }
        }
        let name =
            name.filter(|name| is_plain_file_name(name)).ok_or_else(|| error("the name is not a plain file name"))?;
        let size = size.ok_or_else(|| error("the size is missing"))?;
        Ok(Self { content, name, size })
    }
}

impl InputFile {
    fn of_url(url: &str) -> Result<Self, &'static str> {
        const NOT_CONTENT: &str =
            "what lies at a URL may change: only one that names content by its hash can be an input";
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).ok_or(NOT_CONTENT)?.1;
        let path = path.split('#').next().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (content, tail) = match path.strip_prefix("v1/blobs/") {
            Some(id) => (id.parse().map_err(|_| "the content id is malformed")?, None),
            None => {
                let rest = path.strip_prefix("ipfs/").ok_or(NOT_CONTENT)?;
                let (cid, tail) = rest.split_once('/').map_or((rest, None), |(cid, tail)| (cid, Some(tail)));
                (ContentId::from_cid(cid).map_err(|_| "the CID is none of ours (raw, BLAKE3)")?, tail)
            }
        };
        let last = path.rsplit('/').next().unwrap_or_default();
        let mut name = percent_decode(tail.filter(|tail| !tail.is_empty()).unwrap_or(last));
        let mut size = 0;
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "name" | "filename" => name = percent_decode(value),
                "size" => size = value.parse().map_err(|_| "the size is no number")?,
                _ => {}
            }
        }
        let name = name.filter(|name| is_plain_file_name(name)).ok_or("the name is not a plain file name")?;
        Ok(Self { content, name, size })
    }
}

/// Writes a text as a URL's query has it (RFC 3986, section 2.1).
pub(crate) struct PercentEncoded<'a>(pub(crate) &'a str);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", byte as char)?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl Serialize for InputFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InputFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Splits arguments as a POSIX shell would without expanding anything: blanks separate; `'..'`, `".."` and `\` quote.
pub fn split_args(text: &str) -> Result<Vec<String>, ParamsError> {
    let mut args = Vec::new();
    let mut current: Option<String> = None;
    let mut chars = text.chars();
    let open = || ParamsError::Quote(text.chars().take(120).collect());
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => args.extend(current.take()),
            '\'' => {
                let word = current.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(open)? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = current.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(open)? {
                        '"' => break,
                        '\\' => word.push(chars.next().ok_or_else(open)?),
                        other => word.push(other),
                    }
                }
            }
            '\\' => current.get_or_insert_default().push(chars.next().ok_or_else(open)?),
            other => current.get_or_insert_default().push(other),
        }
    }
    args.extend(current);
    Ok(args)
}

/// The inverse of [`split_args`].
pub fn join_args<S: AsRef<str>>(args: &[S]) -> String {
    let quote = |arg: &S| {
        let arg = arg.as_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.to_owned()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    args.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
