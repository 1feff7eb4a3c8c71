//! Where an app's code is, as its registration on the ledger says.

use std::fmt;
use std::str::FromStr;

use crate::id::ContentId;
use crate::params::{PercentEncoded, join_args, percent_decode, split_args};

/// Bytes of a multiaddr that are read.
pub const MULTIADDR_BYTES_MAX: usize = 1_024;

/// What an app is made of. It is written into the app's multiaddr, so that it is fixed with the app:
///
/// - `wasm:<content id>`: a WASI preview 1 module of the store;
/// - `oci:<content id>`: a container image, an OCI archive of the store;
/// - `<registry>/<name>@sha256:<64 hex digits>`: a container image of a registry;
///
/// each optionally followed by `?compare=<content id>`, and that by `&args=<percent-encoded arguments>`: the comparator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppCode {
    /// What is run.
    pub program: Program,
    /// What is run after it; without one its outputs are compared byte for byte.
    pub compare: Option<Comparator>,
}

/// A module that makes the canonical form of what an app left: that is what replicas compare and what the requester gets. It finds the
/// app's outputs in `IEXEC_IN` and writes to `IEXEC_OUT`; it is deterministic as any module is, so that anybody can run it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Comparator {
    /// A WASI preview 1 module of the store.
    pub module: ContentId,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// A WASI preview 1 module.
    Wasm(ContentId),
    /// A container image in an OCI archive.
    Archive(ContentId),
    /// A container image of a registry, by its digest: `registry/name@sha256:...`.
    Registry(String),
}

/// A multiaddr that names no code that workers run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no app that workers run: expected `wasm:<content id>`, `oci:<content id>` or \
     `<registry>/<name>@sha256:<64 hex digits>`"
)]
pub struct AppCodeError {
    text: String,
}

impl AppCode {
    /// A module, compared byte for byte.
    pub fn wasm(module: ContentId) -> Self {
        Self { program: Program::Wasm(module), compare: None }
    }

    /// Reads a multiaddr as the ledger has it.
    ///
    /// # Errors
    /// [`AppCodeError`].
    pub fn of_multiaddr(bytes: &[u8]) -> Result<Self, AppCodeError> {
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.len() <= MULTIADDR_BYTES_MAX => text.parse(),
            _ => Err(AppCodeError { text: shown(&String::from_utf8_lossy(bytes)) }),
        }
    }

    /// The word for its kind: `wasm` or `oci`.
    pub fn kind(&self) -> &'static str {
        match self.program {
            Program::Wasm(_) => "wasm",
            Program::Archive(_) | Program::Registry(_) => "oci",
        }
    }

    /// The blob of the store that is its program, when it is one.
    pub fn content(&self) -> Option<ContentId> {
        match self.program {
            Program::Wasm(id) | Program::Archive(id) => Some(id),
            Program::Registry(_) => None,
        }
    }
}

impl fmt::Display for AppCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Program::Wasm(id) => write!(f, "wasm:{id}")?,
            Program::Archive(id) => write!(f, "oci:{id}")?,
            Program::Registry(reference) => f.write_str(reference)?,
        }
        let Some(Comparator { module, args }) = &self.compare else { return Ok(()) };
        write!(f, "?compare={module}")?;
        if args.is_empty() { Ok(()) } else { write!(f, "&args={}", PercentEncoded(&join_args(args))) }
    }
}

impl FromStr for AppCode {
    type Err = AppCodeError;

    fn from_str(text: &str) -> Result<Self, AppCodeError> {
        let refuse = || AppCodeError { text: shown(text) };
        let (place, compare) = match text.split_once('?') {
            None => (text, None),
            Some((place, query)) => (place, Some(comparator(query).ok_or_else(refuse)?)),
        };
        let program = if let Some(id) = place.strip_prefix("wasm:") {
            Program::Wasm(id.parse().map_err(|_| refuse())?)
        } else if let Some(id) = place.strip_prefix("oci:") {
            Program::Archive(id.parse().map_err(|_| refuse())?)
        } else if is_pinned_reference(place) {
            Program::Registry(place.to_owned())
        } else {
            return Err(refuse());
        };
        Ok(Self { program, compare })
    }
}

fn comparator(query: &str) -> Option<Comparator> {
    let query = query.strip_prefix("compare=")?;
    let (module, args) = match query.split_once("&args=") {
        None => (query, Vec::new()),
        Some((module, args)) => (module, split_args(&percent_decode(args)?).ok().filter(|args| !args.is_empty())?),
    };
    Some(Comparator { module: module.parse().ok()?, args })
}

/// True for `registry/name@sha256:<64 lower-case hex digits>`: an image that nobody can change behind its name.
pub fn is_pinned_reference(text: &str) -> bool {
    let Some((name, digest)) = text.split_once("@sha256:") else { return false };
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"./_-:".contains(&c);
    digest.len() == 64
        && digest.bytes().all(is_hex)
        && name.bytes().all(plain)
        && name.split('/').count() > 1
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_written_alike() {
        let (id, module) = (ContentId([1; 32]), ContentId([2; 32]));
        let digest = "ab".repeat(32);
        let registry = format!("registry.example:5000/some/app@sha256:{digest}");
        let args = "--digits%206%20%27two%20words%27";
        for (text, kind, content) in [
            (format!("wasm:{id}"), "wasm", Some(id)),
            (format!("oci:{id}"), "oci", Some(id)),
            (registry.clone(), "oci", None),
            (format!("oci:{id}?compare={module}"), "oci", Some(id)),
            (format!("{registry}?compare={module}"), "oci", None),
            (format!("wasm:{id}?compare={module}&args={args}"), "wasm", Some(id)),
        ] {
            let code = AppCode::of_multiaddr(text.as_bytes()).unwrap();
            assert_eq!((code.to_string(), code.kind(), code.content()), (text.clone(), kind, content));
            assert_eq!(code.compare.is_some(), text.contains('?'));
            if text.contains("args") {
                assert_eq!(code.compare.unwrap().args, ["--digits", "6", "two words"]);
            }
        }
    }

    #[test]
    fn what_could_change_or_is_unknown_is_refused_by_its_name() {
        let digest = "ab".repeat(32);
        for text in [
            "",
            "wasm:",
            "wasm:12",
            "docker.io/library/hello-world:latest",
            "hello-world@sha256:12",
            &format!("name@sha256:{digest}"),
            &format!("a//b@sha256:{digest}"),
            &format!("a/../b@sha256:{digest}"),
            &format!("a/b c@sha256:{digest}"),
            &format!("a/b@sha256:{}", "AB".repeat(32)),
            &format!("wasm:{digest}?other=1"),
            &format!("wasm:{digest}?compare="),
            &format!("wasm:{digest}?compare={digest}&args="),
            &format!("wasm:{digest}?compare={digest}&args=%27open"),
            &format!("wasm:{digest}?compare={digest}&other=1"),
        ] {
            let error = AppCode::of_multiaddr(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{}", text.get(..60).unwrap_or(text))), "{error}");
        }
        assert!(AppCode::of_multiaddr(&[0xff; 4]).is_err());
        assert!(AppCode::of_multiaddr(&[b'a'; MULTIADDR_BYTES_MAX + 1]).is_err());
    }
}
