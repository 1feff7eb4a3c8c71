//! Who logs in where: the file in which Docker's tools and podman keep it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::base64;
use super::error::RegistryError;
use super::login::Credentials;
use crate::reference::Reference;

/// Bytes of such a file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// By which names Docker's tools call `docker.io` in it.
const DEFAULT_REGISTRY_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Logins by registry: each is shown to its registry, and to who gives that registry's tokens, and to nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// By `registry` or `registry/name`.
    known: HashMap<String, Login>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    With(Credentials),
    /// The file names a program that keeps it.
    Helper,
}

/// `config.json`, of which the other fields are somebody else's.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<IgnoredAny>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

impl Logins {
    /// For one registry, as references name it.
    pub fn insert(&mut self, registry: &str, credentials: Credentials) {
        self.known.insert(key_of(registry), Login::With(credentials));
    }

    /// Reads the `auths` of a `config.json` as `docker login` and `podman login` write it. Programs that keep logins (`credsStore`,
    /// `credHelpers`) are never run.
    ///
    /// # Errors
    /// [`RegistryError::Io`], [`RegistryError::Logins`]; neither shows what is in the file.
    pub fn read(path: &Path) -> Result<Self, RegistryError> {
        let wrong = |what: String| RegistryError::Logins { path: path.to_owned(), what };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(RegistryError::io(path))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(RegistryError::io(path))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        // The parser's own words may quote a secret.
        let place = |error: serde_json::Error| {
            wrong(format!("it is not understood at line {}, column {}", error.line(), error.column()))
        };
        let config: ConfigFile = serde_json::from_slice(&bytes).map_err(place)?;
        let mut known = HashMap::new();
        for name in config.helpers.keys() {
            known.insert(key_of(name), Login::Helper);
        }
        for (name, entry) in config.auths {
            let credentials = entry
                .credentials()
                .map_err(|what| wrong(format!("the login for `{}` {what}", name.escape_default())))?;
            match credentials {
                Some(credentials) => drop(known.insert(key_of(&name), Login::With(credentials))),
                None if config.store.is_some() => drop(known.insert(key_of(&name), Login::Helper)),
                None => {}
            }
        }
        Ok(Self { known })
    }

    /// The login for an image: the one that says most exactly what it is for.
    pub(super) fn of(&self, reference: &Reference) -> Option<&Credentials> {
        match self.login(reference)? {
            Login::With(credentials) => Some(credentials),
            Login::Helper => None,
        }
    }

    /// Whether there is a login that only another program knows.
    pub(super) fn is_elsewhere(&self, reference: &Reference) -> bool {
        matches!(self.login(reference), Some(Login::Helper))
    }

    fn login(&self, reference: &Reference) -> Option<&Login> {
        let whole = format!("{}/{}", key_of(reference.registry()), reference.name());
        let mut place = whole.as_str();
        loop {
            match (self.known.get(place), place.rsplit_once('/')) {
                (Some(login), _) => return Some(login),
                (None, Some((shorter, _))) => place = shorter,
                (None, None) => return None,
            }
        }
    }
}

impl Entry {
    fn credentials(self) -> Result<Option<Credentials>, &'static str> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = some(self.identity_token) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(auth) = some(self.auth) {
            let text = base64::decode(&auth).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("is not base 64")?;
            let (user, password) = text.split_once(':').ok_or("is no name and password with a colon between them")?;
            // Docker's tools once padded it.
            let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
            return Ok(Some(Credentials::Password { user, password }));
        }
        match (some(self.username), some(self.password)) {
            (Some(user), Some(password)) => Ok(Some(Credentials::Password { user, password })),
            _ => Ok(None),
        }
    }
}

/// How a registry, or a part of one, is called here: without scheme, version and slashes behind it.
fn key_of(name: &str) -> String {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let name = name.trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    let (host, rest) = name.split_at(name.find('/').unwrap_or(name.len()));
    let host = host.to_ascii_lowercase();
    let host = if DEFAULT_REGISTRY_NAMES.contains(&host.as_str()) { DEFAULT_REGISTRY_NAMES[0] } else { &host };
    format!("{host}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn read(text: &str) -> Result<Logins, RegistryError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Logins::read(file.path())
    }

    fn reference(text: &str) -> Reference {
        format!("{text}@{}", Digest::of(b"image")).parse().unwrap()
    }

    #[test]
    fn a_login_is_found_by_its_registry_and_by_no_other() {
        let of = |text: &str| base64::encode(text.as_bytes());
        let text = serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": of("hub:a:b")},
                "registry.example:5000": {"username": "u", "password": "p"},
                "registry.example/team/tool": {"auth": of("tool:t")},
                "https://Registry.Example/v2/": {"auth": of("<token>:"), "identitytoken": "long"},
                "empty.example": {},
            },
            "credHelpers": {"kept.example": "pass"},
            "HttpHeaders": {"User-Agent": "x"},
        });
        let logins = read(&text.to_string()).unwrap();
        let password = |user: &str, password: &str| {
            Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
        };
        let identity = Some(Credentials::IdentityToken("long".to_owned()));
        let table = [
            ("alpine", password("hub", "a:b")),
            ("docker.io/some/tool", password("hub", "a:b")),
            ("registry.example:5000/x", password("u", "p")),
            ("registry.example/team/tool", password("tool", "t")),
            ("registry.example/team/tool/sub", password("tool", "t")),
            ("registry.example/team/tools", identity.clone()),
            ("registry.example/x", identity),
            ("registry.example:5001/x", None),
            ("registry.example.evil.example/x", None),
            ("empty.example/x", None),
            ("kept.example/x", None),
            ("localhost:5000/x", None),
        ];
        for (text, expected) in table {
            assert_eq!(logins.of(&reference(text)), expected.as_ref(), "{text}");
            assert_eq!(logins.is_elsewhere(&reference(text)), text == "kept.example/x", "{text}");
        }
        let kept = read(r#"{"auths":{"empty.example":{}},"credsStore":"secretservice"}"#).unwrap();
        assert!(kept.is_elsewhere(&reference("empty.example/x")) && !kept.is_elsewhere(&reference("other.example/x")));
        assert_eq!(read("{}").unwrap(), Logins::default());
    }

    #[test]
    fn a_wrong_file_is_refused_without_being_quoted() {
        let colonless = base64::encode(b"sesame");
        for text in [
            "",
            "7",
            "sesame",
            r#"{"auths":"sesame"}"#,
            r#"{"auths":{"a.example":{"password":7,"auth":"sesame"}}}"#,
            r#"{"auths":{"a.example":{"auth":"sesame!"}}}"#,
            &format!(r#"{{"auths":{{"a.example":{{"auth":"{colonless}"}}}}}}"#),
            &" ".repeat(FILE_BYTES_MAX as usize + 1),
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(&error, RegistryError::Logins { .. }), "{error}");
            let words = format!("{error} {error:?}");
            assert!(!words.contains("sesame") && !words.contains(&colonless), "{words}");
        }
        assert!(matches!(Logins::read(Path::new("/nowhere/config.json")), Err(RegistryError::Io { .. })));
    }
}
