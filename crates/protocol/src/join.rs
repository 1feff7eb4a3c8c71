//! Redeem an invitation: one line that names a pool and carries a token, and what the keys that join sign.
//!
//! The token is the only secret in it. The pool keeps its hash and never the token, and whoever redeems it does so over a connection
//! that only the pool with the named key can have answered.

use std::{fmt, str::FromStr};

use crate::{
    check,
    convert::{FieldError, fixed},
    tls::{KeyHash, PoolUrl},
    wire::{JoinReply, JoinRequest},
};

const SCHEME: &str = "grist+invite://";
/// Characters of a name of a user, a group or a machine.
pub const NAME_CHARS_MAX: usize = 32;
/// Bytes of an invitation's line: the longest host name, a port, two hashes.
pub const INVITATION_BYTES_MAX: usize = 512;

/// 32 random bytes that let somebody join. Not shown when it is printed for a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// What the pool keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(*blake3::hash(&self.0).as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// The BLAKE3 hash of a token, by which an invitation is known; written as hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenHash({self})")
    }
}

impl FromStr for TokenHash {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let bytes = hex::decode(text).unwrap_or_default();
        fixed("token_hash", &bytes).map(Self)
    }
}

/// An invitation as it is handed to somebody: `grist+invite://HOST:PORT/KEYHASH/TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The pool.
    pub pool: PoolUrl,
    /// What lets its holder join.
    pub token: Token,
}

/// A line that is no invitation. The line itself is not repeated, since its token may be good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no invitation: {reason}; it looks like grist+invite://HOST:PORT/KEYHASH/TOKEN, as `gristmill pool invite` prints it: copy the whole line"
)]
pub struct InvitationError {
    /// What is wrong with it.
    pub reason: String,
}

impl Invitation {
    /// The line, with its secret.
    pub fn line(&self) -> String {
        let pool = self.pool.to_string();
        let rest = pool.split_once("://").map_or(pool.as_str(), |(_, rest)| rest);
        format!("{SCHEME}{rest}/{}", hex::encode(self.token.0))
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let bad = |reason: &str| InvitationError { reason: reason.to_owned() };
        let text = text.trim();
        if text.len() > INVITATION_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad("it does not begin with grist+invite://"))?;
        let (pool, token) = rest.rsplit_once('/').ok_or_else(|| bad("the token is missing"))?;
        let pool = format!("grist://{pool}").parse::<PoolUrl>().map_err(|error| bad(error.reason))?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(token, &mut bytes).map_err(|_| bad("the token is not 64 hexadecimal digits"))?;
        Ok(Self { pool, token: Token(bytes) })
    }
}

/// What is wrong with the name of a user, a group or a machine; nothing if it is good. A good name needs no quotes in a shell, a table or
/// comma-separated values.
pub fn name_objection(name: &str) -> Option<&'static str> {
    let good =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "-_.".contains(character);
    match name.chars().next() {
        None => Some("a name has at least one character"),
        Some(first) if !first.is_ascii_lowercase() => Some("a name begins with a lower-case letter, a to z"),
        _ if name.len() > NAME_CHARS_MAX => Some("a name has at most 32 characters"),
        _ if !name.chars().all(good) => Some("a name has lower-case letters, digits, - _ and . only"),
        _ => None,
    }
}

/// The text that each key which joins signs (EIP-191, `personal_sign`). It names the pool's key and the invitation, so that a signature is
/// of no use anywhere else, and both keys, so that neither can be put beside another one.
pub fn signing_text(request: &JoinRequest, pool_key: &KeyHash) -> Vec<u8> {
    format!(
        "Gristmill join\npool key: {pool_key}\ninvitation: {}\nrequester: 0x{}\nworker: 0x{}\nuser: {}\nchosen: {}\nmachine: {}",
        blake3::hash(&request.token).to_hex(),
        hex::encode(&request.requester),
        hex::encode(&request.worker),
        request.user,
        request.user_chosen,
        request.machine,
    )
    .into_bytes()
}

/// Checks what somebody says who joins: lengths, and names that are good or empty.
///
/// # Errors
/// [`FieldError`] naming the first field that is wrong.
pub fn check_request(request: &JoinRequest) -> Result<(), FieldError> {
    fixed::<32>("join.token", &request.token)?;
    for (field, name) in [("join.user", &request.user), ("join.machine", &request.machine)] {
        check::line(field, name)?;
        if !name.is_empty() && name_objection(name).is_some() {
            let expected = "a name: a lower-case letter, then at most 31 lower-case letters, digits, - _ or .";
            return Err(FieldError::Range { field, expected, got: name.len() as u64 });
        }
    }
    let keys = [
        ("join.requester", &request.requester, "join.requester_signature", &request.requester_signature),
        ("join.worker", &request.worker, "join.worker_signature", &request.worker_signature),
    ];
    if keys.iter().all(|(_, key, _, _)| key.is_empty()) {
        return Err(FieldError::Missing { field: "join.requester" });
    }
    for (field, key, signature_field, signature) in keys {
        if key.is_empty() && signature.is_empty() {
            continue;
        }
        fixed::<20>(field, key)?;
        fixed::<65>(signature_field, signature)?;
    }
    Ok(())
}

/// Checks what a pool answers: lengths, names that are good or empty.
///
/// # Errors
/// [`FieldError`] naming the first field that is wrong.
pub fn check_reply(reply: &JoinReply) -> Result<(), FieldError> {
    for (field, name) in
        [("join.user", &reply.user), ("join.group", &reply.group), ("join.worker_name", &reply.worker_name)]
    {
        if !name.is_empty() && name_objection(name).is_some() {
            return Err(FieldError::Range { field, expected: "a name", got: name.len() as u64 });
        }
    }
    fixed::<20>("join.hub_address", &reply.hub_address)?;
    for (field, url) in [("join.rpc_url", &reply.rpc_url), ("join.store_url", &reply.store_url)] {
        if url.len() > check::URL_BYTES_MAX {
            let (unit, limit) = ("bytes", check::URL_BYTES_MAX);
            return Err(FieldError::TooMuch { field, unit, limit, got: url.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut JoinRequest);

    fn invitation(host: &str) -> Invitation {
        let pool = PoolUrl { host: host.to_owned(), port: 4_480, key: KeyHash([7; 32]) };
        Invitation { pool, token: Token([0xab; 32]) }
    }

    fn request() -> JoinRequest {
        JoinRequest {
            token: vec![1; 32],
            user: "alice".to_owned(),
            machine: "pc-17".to_owned(),
            requester: vec![2; 20],
            requester_signature: vec![3; 65],
            ..JoinRequest::default()
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_printed_and_never_logged() {
        for host in ["lab.example", "10.0.0.1", "2001:db8::1"] {
            let invitation = invitation(host);
            let line = invitation.line();
            assert_eq!(line.parse::<Invitation>().unwrap(), invitation, "{line}");
            assert_eq!(format!(" {line}\n").parse::<Invitation>().unwrap(), invitation);
            assert!(!format!("{invitation:?}").contains("abab") && line.contains("abab"));
            assert!(line.len() < INVITATION_BYTES_MAX);
        }
        let hash = Token([1; 32]).hash();
        assert_eq!(hash.to_string().parse::<TokenHash>().unwrap(), hash);
        assert!("xyz".parse::<TokenHash>().is_err());
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_and_keeps_its_token() {
        let good = invitation("lab.example").line();
        let (cut, long) = (good[..good.len() - 2].to_owned(), "x".repeat(600));
        for (line, expected) in [
            ("", "does not begin with"),
            ("grist://h:1/2", "does not begin with"),
            ("grist+invite://h:1", "token"),
            ("grist+invite://h/KEY/TOKEN", "port is missing"),
            (&cut, "not 64 hexadecimal digits"),
            (&long, "too long"),
        ] {
            let error = line.parse::<Invitation>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("gristmill pool invite"), "{line}: {error}");
            assert!(!error.contains("abab"), "{error}");
        }
    }

    #[test]
    fn names_need_no_quotes() {
        for good in ["a", "alice", "pc-17", "b.o_b", &"a".repeat(32)] {
            assert_eq!(name_objection(good), None, "{good}");
        }
        for bad in ["", "Alice", "1a", "a b", "a,b", "-a", "0xab", &"a".repeat(33)] {
            assert!(name_objection(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_signed_text_holds_every_field_and_the_pool_but_not_the_token() {
        let key = KeyHash([9; 32]);
        let text = signing_text(&request(), &key);
        let changes: [Change; 6] = [
            |request| request.token[0] ^= 1,
            |request| request.requester[0] ^= 1,
            |request| request.worker = vec![4; 20],
            |request| request.user.push('x'),
            |request| request.user_chosen = true,
            |request| request.machine.push('x'),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            assert_ne!(signing_text(&other, &key), text);
        }
        assert_ne!(signing_text(&request(), &KeyHash([8; 32])), text);
        assert!(!String::from_utf8(text).unwrap().contains(&"01".repeat(32)));
    }

    #[test]
    fn replies_out_of_bounds_are_named() {
        let good = JoinReply { user: "alice".to_owned(), hub_address: vec![1; 20], ..JoinReply::default() };
        assert_eq!(check_reply(&good), Ok(()));
        for (bad, field) in [
            (JoinReply { user: "\u{1b}[31m".to_owned(), ..good.clone() }, "join.user"),
            (JoinReply { hub_address: vec![1; 19], ..good.clone() }, "join.hub_address"),
            (JoinReply { store_url: "x".repeat(5_000), ..good.clone() }, "join.store_url"),
        ] {
            assert!(check_reply(&bad).unwrap_err().to_string().starts_with(field), "{field}");
        }
    }

    #[test]
    fn requests_out_of_bounds_are_named() {
        assert_eq!(check_request(&request()), Ok(()));
        let changes: [(Change, &str); 7] = [
            (|request| request.token.truncate(31), "join.token"),
            (|request| request.user = "two\nlines".to_owned(), "join.user"),
            (|request| request.machine = "PC".to_owned(), "join.machine"),
            (|request| request.machine = "x".repeat(2_000), "join.machine"),
            (|request| request.requester.clear(), "join.requester"),
            (|request| request.requester_signature.truncate(64), "join.requester_signature"),
            (|request| request.worker = vec![1; 20], "join.worker_signature"),
        ];
        for (change, field) in changes {
            let mut bad = request();
            change(&mut bad);
            assert!(check_request(&bad).unwrap_err().to_string().starts_with(field), "{field}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_no_panic_and_an_invitation_is_read_back(text in "(grist\\+invite://)?[a-z0-9:\\[\\]./-]{0,150}") {
            if let Ok(invitation) = text.parse::<Invitation>() {
                proptest::prop_assert_eq!(invitation.line().parse::<Invitation>(), Ok(invitation));
            }
        }
    }
}
