//! What a registry wants before it answers: its challenge, and the token that meets it.

use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::base64;

/// Bytes of a challenge that are read.
const CHALLENGE_BYTES_MAX: usize = 8 << 10;
/// Bytes of an answer with a token.
pub(super) const TOKEN_ANSWER_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Who asks to be let in. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Name and password, or a token that is used as one.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// What the registry's token server gave out at an earlier login, and changes for tokens.
    IdentityToken(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => f.debug_struct("Password").field("user", user).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.debug_struct("IdentityToken").finish_non_exhaustive(),
        }
    }
}

impl Credentials {
    /// What a request says of who sends it (RFC 7617).
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        match self {
            Self::Password { user, password } => {
                secret(&format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes())))
            }
            Self::IdentityToken(_) => None,
        }
    }
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With name and password.
    Basic,
    /// With a token that `realm` gives (the distribution project's token authentication).
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The first challenge that can be met. Tokens are preferred: they are worth something here only.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let challenges = || {
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| {
                let text = value.to_str().ok().filter(|text| text.len() <= CHALLENGE_BYTES_MAX)?;
                text.trim().split_once(' ').or(Some((text.trim(), "")))
            })
        };
        let bearer = challenges().filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).find_map(|(_, rest)| {
            let mut parameters = parameters(rest);
            let mut take = |key: &str| {
                let place = parameters.iter().position(|(name, _)| name.eq_ignore_ascii_case(key))?;
                Some(parameters.swap_remove(place).1)
            };
            Some(Self::Bearer { realm: take("realm")?, service: take("service"), scope: take("scope") })
        });
        bearer.or_else(|| challenges().any(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).then_some(Self::Basic))
    }
}

/// `name="value", name=value`; what does not fit ends the list.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let value = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                text = &rest[end..];
                rest[..end].trim().to_owned()
            }
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next() {
                        None => return found,
                        Some((at, '"')) => break at,
                        Some((_, '\\')) => value.extend(chars.next().map(|(_, escaped)| escaped)),
                        Some((_, plain)) => value.push(plain),
                    }
                };
                text = &quoted[end + 1..];
                value
            }
        };
        found.push((name.trim().to_owned(), value));
        text = text.trim_start().trim_start_matches(',').trim_start();
    }
    found
}

/// Where the token is: the realm with its questions.
pub(super) fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut url = realm.to_owned();
    url.push(if realm.contains('?') { '&' } else { '?' });
    push_pairs(&mut url, &[("service", service), ("scope", Some(scope))]);
    url
}

/// What the realm is sent to change an identity token for a token (the distribution project's OAuth 2 form of it).
pub(super) fn token_form(identity: &str, service: Option<&str>, scope: &str) -> String {
    let mut form = String::new();
    push_pairs(
        &mut form,
        &[
            ("grant_type", Some("refresh_token")),
            ("service", Some(service.unwrap_or_default())),
            ("client_id", Some("gristmill")),
            ("scope", Some(scope)),
            ("refresh_token", Some(identity)),
        ],
    );
    form
}

/// `name=value&name=value`, percent-encoded.
fn push_pairs(text: &mut String, pairs: &[(&str, Option<&str>)]) {
    let there = pairs.iter().filter_map(|(key, value)| Some((key, (*value)?)));
    for (place, (key, value)) in there.enumerate() {
        if place > 0 {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The header that shows the token of this answer.
pub(super) fn bearer(answer: &[u8]) -> Option<HeaderValue> {
    let TokenAnswer { token, access_token } = serde_json::from_slice(answer).ok()?;
    let token = token.or(access_token).filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX)?;
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) })
        };
        let full = r#"Bearer realm="https://auth.example/token",service="a, b",scope="repository:x/y:pull,push""#;
        assert_eq!(
            challenge(&[full]),
            bearer("https://auth.example/token", Some("a, b"), Some("repository:x/y:pull,push"))
        );
        assert_eq!(challenge(&["Basic realm=x", r#"bearer Realm="q\"r", service=s"#]), bearer("q\"r", Some("s"), None));
        assert_eq!(challenge(&["BASIC"]), Some(Challenge::Basic));
        for nothing in ["", "Bearer", r#"Bearer realm="never closed"#, "Digest realm=x", "Bearer ====", "Bearer ,,,"] {
            assert_eq!(challenge(&[nothing]), None, "{nothing}");
        }
    }

    #[test]
    fn tokens_are_asked_for_and_read() {
        assert_eq!(
            token_url("https://a.example/t", Some("r e"), "repository:x/y:pull"),
            "https://a.example/t?service=r%20e&scope=repository%3Ax%2Fy%3Apull"
        );
        assert_eq!(token_url("https://a.example/t?x=1", None, "s"), "https://a.example/t?x=1&scope=s");
        let form = "grant_type=refresh_token&service=r&client_id=gristmill&scope=s%20s&refresh_token=a%2B%26b";
        assert_eq!(token_form("a+&b", Some("r"), "s s"), form);
        assert_eq!(bearer(br#"{"token":"abc"}"#).unwrap(), "Bearer abc");
        assert_eq!(bearer(br#"{"access_token":"abc","expires_in":60}"#).unwrap(), "Bearer abc");
        for nothing in [&b"{}"[..], b"", br#"{"token":""}"#, br#"{"token":"a\nb"}"#] {
            assert!(bearer(nothing).is_none());
        }
        // RFC 7617, section 2.
        let credentials = Credentials::Password { user: "Aladdin".to_owned(), password: "open sesame".to_owned() };
        assert_eq!(credentials.basic().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{credentials:?}").contains("sesame"));
        let identity = Credentials::IdentityToken("open sesame".to_owned());
        assert!(identity.basic().is_none() && !format!("{identity:?}").contains("sesame"));
    }
}
